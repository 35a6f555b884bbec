//! The state machine for requests.

use super::{Limits, Refusal, RequestHead, Span};

/// Reads the requests of one connection, one after the other.
#[derive(Debug)]
pub struct RequestReader {
    limits: Limits,
    head: RequestHead,
}

impl RequestReader {
    /// A reader at the beginning of a connection.
    pub fn new(limits: Limits) -> Self {
        Self { limits, head: RequestHead::default() }
    }

    /// What the first bytes of `input` are. Drop as many as the span covers, then ask again with the rest.
    ///
    /// # Errors
    ///
    /// Why the request is refused. The connection is lost then: every later call says the same.
    pub fn next(&mut self, input: &[u8]) -> Result<Span, Refusal> {
        let _ = (input, self.limits);
        unimplemented!()
    }

    /// What is in the head: from its [`Span::Head`] until the next one.
    pub fn head(&self) -> &RequestHead {
        &self.head
    }

    /// Whether no request has begun: between two of them, with nothing scanned of the next but empty lines.
    pub fn idle(&self) -> bool {
        unimplemented!()
    }

    /// Whether the head was seen and the end was not: a body is due.
    pub fn in_body(&self) -> bool {
        unimplemented!()
    }
}
