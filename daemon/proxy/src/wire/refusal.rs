//! Why a message is turned away, and with which status.

use thiserror::Error;

/// Why bytes are not taken as HTTP. For a request, [`Refusal::status`] is what the client is told before its connection
/// is closed; a response that is refused is a failure of its side, and the client is told 502 if nothing was relayed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Refusal {
    /// LF without CR before it (RFC 9112 2.2 allows to take it; peers that differ about it are how requests are smuggled).
    #[error("a line ends with LF alone")]
    BareLf,
    /// CR without LF after it.
    #[error("CR stands alone")]
    BareCr,
    /// NUL, or another control character.
    #[error("a control character in the head")]
    ControlCharacter,
    /// More empty lines before the request line than are ignored.
    #[error("too many empty lines before the request line")]
    EmptyLines,
    /// Not method, target and version with one space between each.
    #[error("the request line is not a method, a target and a version, with one space between")]
    RequestLine,
    /// A target that is in none of the four forms, or in one that its method does not have.
    #[error("the request target is not valid for its method")]
    Target,
    /// CONNECT: this is no tunnel.
    #[error("CONNECT is not implemented")]
    Connect,
    /// A major version other than 1.
    #[error("only HTTP/1 is understood")]
    Version,
    /// A name that is no token, no colon, or white space before the colon.
    #[error("a field line is not `name: value`")]
    FieldLine,
    /// A field line that begins with white space.
    #[error("a field line is folded, or begins with white space")]
    Folded,
    /// No Host in HTTP/1.1.
    #[error("no Host")]
    HostMissing,
    /// More than one Host.
    #[error("more than one Host")]
    HostDuplicate,
    /// Host is not `host[:port]`.
    #[error("Host is not `host` or `host:port`")]
    HostInvalid,
    /// Content-Length is not a number, or one too great.
    #[error("Content-Length is not a number")]
    Length,
    /// Content-Length more than once, or as a list; RFC 9110 8.6 lets a recipient reject equal ones too.
    #[error("more than one Content-Length")]
    LengthDuplicate,
    /// Content-Length and Transfer-Encoding together.
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    /// Transfer-Encoding in a message of HTTP/1.0.
    #[error("Transfer-Encoding in HTTP/1.0")]
    EncodingInHttp10,
    /// Transfer-Encoding does not end with one `chunked`.
    #[error("Transfer-Encoding is not `chunked`")]
    Encoding,
    /// A transfer coding before `chunked`.
    #[error("a transfer coding that is not understood")]
    EncodingUnknown,
    /// The target is too long.
    #[error("the request target is too long")]
    TargetTooLong,
    /// The head, or the trailers, are too long.
    #[error("the head is too long")]
    HeadTooLong,
    /// Too many field lines.
    #[error("too many field lines")]
    TooManyFields,
    /// A chunk does not begin with a hexadecimal number and sound extensions, or does not end with CRLF.
    #[error("a chunk is malformed")]
    Chunk,
    /// A chunk size that no number holds.
    #[error("a chunk size is too great")]
    ChunkSize,
    /// A chunk line, or all chunk extensions together, are too long.
    #[error("a chunk line is too long")]
    ChunkLineTooLong,
    /// A trailer field that would change how the message is framed or routed (RFC 9110 6.5.1).
    #[error("a trailer field that must not be one")]
    Trailer,
    /// The status line is not `HTTP/1.1 STATUS REASON`.
    #[error("the status line is not `HTTP/1.1 STATUS REASON`")]
    StatusLine,
    /// More interim responses than are relayed.
    #[error("too many interim responses")]
    TooManyInterim,
    /// 101 that nobody asked for.
    #[error("101 without having been asked to upgrade")]
    UnaskedUpgrade,
    /// Bytes where no response is due.
    #[error("bytes where no response is due")]
    UnaskedBytes,
    /// The input ended within a message.
    #[error("the connection ended within a message")]
    Cut,
}

impl Refusal {
    /// The status that a client is told when its request is refused.
    pub const fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::HeadTooLong | Self::TooManyFields => 431,
            Self::Connect | Self::EncodingUnknown => 501,
            Self::Version => 505,
            _ => 400,
        }
    }
}
