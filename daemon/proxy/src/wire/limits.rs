//! How much of everything a message may have. Each limit is a flag of `tidegate proxy`.

/// Limits on what is not body. Bodies stream and have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head, from the request line to the empty line; and of the trailers. More is 431.
    pub head_bytes_max: usize,
    /// Bytes of a request target. More is 414.
    pub target_bytes_max: usize,
    /// Field lines in a head, and in the trailers. More is 431.
    pub field_lines_max: usize,
    /// Bytes of one chunk line with its extensions and CRLF. More is 400.
    pub chunk_line_bytes_max: usize,
    /// Bytes of all chunk extensions of one message: RFC 9112 7.1.1 asks for a limit on the total. More is 400.
    pub chunk_extension_bytes_max: u64,
    /// Empty lines before a request line. RFC 9112 2.2 asks that at least one is ignored. More is 400.
    pub empty_lines_max: usize,
    /// Bytes of a response head; and of the trailers of a response.
    pub response_head_bytes_max: usize,
    /// Interim (1xx) responses before the final one.
    pub interim_responses_max: usize,
}

impl Limits {
    /// What holds unless configured.
    pub const DEFAULT: Self = Self {
        head_bytes_max: 64 * 1024,
        target_bytes_max: 32 * 1024,
        field_lines_max: 256,
        chunk_line_bytes_max: 4 * 1024,
        chunk_extension_bytes_max: 64 * 1024,
        empty_lines_max: 4,
        response_head_bytes_max: 64 * 1024,
        interim_responses_max: 100,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
