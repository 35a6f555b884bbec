//! The state machine for responses.

use super::{Limits, Refusal, ResponseHead, Span};

/// What a response answers: its framing depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// Any request that is none of the others.
    #[default]
    Plain,
    /// HEAD: no body, whatever the head says.
    Head,
    /// CONNECT: 2xx makes it a tunnel. Never asked by the relay.
    Connect,
    /// An upgrade: 101 makes it something else.
    Upgrade,
}

/// Reads the responses of one upstream connection, one after the other.
#[derive(Debug)]
pub struct ResponseReader {
    limits: Limits,
    head: ResponseHead,
}

impl ResponseReader {
    /// A reader at the beginning of a connection: nothing was asked yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, head: ResponseHead::default() }
    }

    /// A request was sent, or is about to be: the next response answers it.
    ///
    /// # Panics
    ///
    /// When a response is still due, or the connection is no longer HTTP.
    pub fn expect(&mut self, asked: Asked) {
        let _ = (asked, self.limits);
        unimplemented!()
    }

    /// What the first bytes of `input` are. Drop as many as the span covers, then ask again with the rest. An interim
    /// response is a `Head` without `End`. When no response is due, any byte is refused.
    ///
    /// # Errors
    ///
    /// Why it is no response of ours. The connection is lost then: every later call says the same.
    pub fn next(&mut self, input: &[u8]) -> Result<Span, Refusal> {
        let _ = input;
        unimplemented!()
    }

    /// The upstream closed its end, and all input before it was consumed: `Ok` when the response ends with it (a body
    /// until close, a tunnel) or none is due.
    ///
    /// # Errors
    ///
    /// [`Refusal::Cut`] when the response is cut short.
    pub fn end_of_input(&mut self) -> Result<Span, Refusal> {
        unimplemented!()
    }

    /// What is in the head: from its [`Span::Head`] until the next one.
    pub fn head(&self) -> &ResponseHead {
        &self.head
    }
}
