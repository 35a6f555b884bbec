//! The heads that are sent on, made of the bytes that came: only what belongs to one hop goes.

use super::{RequestHead, ResponseHead};

/// Header fields that a side gets instead of the client's own: credentials, Host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    fields: Vec<(String, String)>,
}

impl Overrides {
    /// Fields to set, each in place of all that the client sent of that name (any case).
    ///
    /// # Errors
    ///
    /// Which name or value cannot be a field, or must not be set because it frames the message or belongs to one hop.
    pub fn new(fields: impl IntoIterator<Item = (String, String)>) -> Result<Self, String> {
        Ok(Self { fields: fields.into_iter().collect() })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

/// What X-Forwarded-* fields are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded<'a> {
    /// Nothing is added or taken away.
    Untouched,
    /// Ours is added behind what the client sent.
    Append {
        /// The client's address.
        client: &'a str,
        /// `http` or `https`.
        scheme: &'a str,
    },
    /// Ours stands in place of what the client sent.
    Replace {
        /// The client's address.
        client: &'a str,
        /// `http` or `https`.
        scheme: &'a str,
    },
}

/// How a request's head is sent on.
#[derive(Clone, Copy, Debug)]
pub struct RequestRewrite<'a> {
    /// The side's own fields.
    pub overrides: &'a Overrides,
    /// What becomes of X-Forwarded-*.
    pub forwarded: Forwarded<'a>,
    /// Host for a request of HTTP/1.0 without one: the upstream's own authority.
    pub host: &'a str,
}

/// How a response's head is sent on.
#[derive(Clone, Copy, Debug)]
pub struct ResponseRewrite<'a> {
    /// The head of the request it answers: its version decides on chunks and on what `Connection` says.
    pub request: &'a RequestHead,
    /// Whether the client's connection is closed after it, for whatever reason of ours.
    pub close: bool,
}

/// Appends to `out` the head to be sent upstream, from the empty line's end to be followed by the body's own bytes.
/// `bytes` are those of the head.
pub fn upstream_head(bytes: &[u8], head: &RequestHead, how: &RequestRewrite<'_>, out: &mut Vec<u8>) {
    let _ = (bytes, head, how, out);
    unimplemented!()
}

/// Appends to `out` the head to be sent to the client. `bytes` are those of the head. Answers how the body is sent.
pub fn client_head(bytes: &[u8], head: &ResponseHead, how: &ResponseRewrite<'_>, out: &mut Vec<u8>) -> ClientBody {
    let _ = (bytes, head, how, out);
    unimplemented!()
}

/// How the spans after a response's head go to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientBody {
    /// Only `Data` and `ChunkData` are sent, without the lines and trailers around them: the client is of HTTP/1.0 and
    /// knows no chunks.
    pub unchunk: bool,
    /// The client's connection must be closed after the last byte.
    pub close: bool,
    /// Send nothing of this response: an interim one, to a client of HTTP/1.0 (RFC 9110 15.2). `out` is untouched.
    pub suppress: bool,
}
