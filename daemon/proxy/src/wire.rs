//! HTTP/1.1 framing without I/O: bytes in, spans out.
//!
//! [`RequestReader`] and [`ResponseReader`] are asked again and again what the first bytes of the input are, and answer
//! with a [`Span`]: a head, body bytes, the line of a chunk, the trailers, the end, or the [`Refusal`] that ends it all.
//! They own no buffer and copy nothing: a caller keeps what is not yet consumed, and moves the rest on as it came. How
//! the bytes were cut on their way never changes the answer.
//!
//! What is smuggling is decided here, once, for the relay, for the capture tap, for readers of captured streams and for
//! the fuzzers. The rules are those of RFC 9110 and RFC 9112; where they leave a choice, the stricter one is taken unless
//! it would turn away a valid message. Heads are split here and not by httparse, because refusals must come at once, line
//! by line, and httparse takes bare LF as a line's end; the tests hold every head that we accept against httparse.
//!
//! The rest are pure functions on heads: which fields stay on this hop ([`fields`]), what is
//! sent on ([`rewrite`]). Nothing here knows sockets, sides, time or weights.

mod body;
pub mod fields;
pub mod head;
pub mod limits;
pub mod refusal;
pub mod request;
pub mod response;
pub mod rewrite;
mod scan;
mod target;

pub use head::{Body, Field, Method, Part, RequestHead, ResponseHead, TargetForm, Version};
pub use limits::Limits;
pub use refusal::Refusal;
pub use request::RequestReader;
pub use response::{Asked, ResponseReader};
pub use rewrite::{Forwarded, Overrides, RequestRewrite, ResponseRewrite, client_head, upstream_head};
pub(crate) use scan::field_lines;
pub(crate) use target::is_host;

/// What the first bytes of the input are. Spans of framing are always whole; only [`Span::Data`] and
/// [`Span::ChunkData`] are cut as the bytes came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Nothing can be said before more bytes come, and nothing is consumed. Keep the input and append to it; it needs to
    /// hold at most the greatest of the limits on heads, chunk lines and trailers.
    More,
    /// An empty line before a request line, to be thrown away.
    Skip(usize),
    /// A whole head, from the start line to the empty line. The reader's `head()` says what is in it.
    Head(usize),
    /// Body bytes that are not chunked, or bytes of what the connection became (see [`ResponseHead::tunnel`]).
    Data(usize),
    /// The line that begins a chunk, with its CRLF; for the last chunk (size 0) too.
    ChunkLine(usize),
    /// Body bytes inside a chunk.
    ChunkData(usize),
    /// The CRLF behind the bytes of a chunk.
    ChunkEnd(usize),
    /// The trailer fields and the empty line behind them; 2 bytes when there are no fields.
    Trailers(usize),
    /// The message is over. No bytes; said once for each message (not for interim responses).
    End,
}

impl Span {
    /// How many bytes of the input it covers: drop them, then ask again.
    pub const fn len(self) -> usize {
        match self {
            Self::More | Self::End => 0,
            Self::Skip(n)
            | Self::Head(n)
            | Self::Data(n)
            | Self::ChunkLine(n)
            | Self::ChunkData(n)
            | Self::ChunkEnd(n)
            | Self::Trailers(n) => n,
        }
    }

    /// Whether it covers no bytes.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}
