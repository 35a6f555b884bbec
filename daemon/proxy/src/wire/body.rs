//! Where a body ends: by its length, by its chunks (RFC 9112 7.1), or with the connection.

use super::head::Body;
use super::limits::Limits;
use super::refusal::Refusal;
use super::scan::{Found, Scan, Sender, field};
use super::{Span, fields};

/// Where in a body we are.
#[derive(Clone, Copy, Debug)]
enum At {
    /// So many bytes are left of a body of known length.
    Left(u64),
    /// At the beginning of a chunk line, of which so many bytes were looked at.
    ChunkLine(usize),
    /// So many bytes are left of a chunk.
    ChunkLeft(u64),
    /// Behind the bytes of a chunk.
    ChunkEnd,
    /// In the trailers.
    Trailers(Scan),
    /// Until the connection ends.
    UntilClose,
    /// Behind the body.
    Over,
}

/// Reads one body.
#[derive(Clone, Debug)]
pub(super) struct BodyReader {
    at: At,
    sender: Sender,
    extension_bytes: u64,
    trailer_lines: usize,
}

impl BodyReader {
    pub(super) fn new(body: Body, sender: Sender) -> Self {
        let at = match body {
            Body::None => At::Over,
            Body::Length(length) => At::Left(length),
            Body::Chunked => At::ChunkLine(0),
            Body::UntilClose => At::UntilClose,
        };
        Self { at, sender, extension_bytes: 0, trailer_lines: 0 }
    }

    /// Whether the end of the input is the end of the body.
    pub(super) fn ends_with_input(&self) -> bool {
        matches!(self.at, At::UntilClose | At::Over | At::Left(0))
    }

    /// Whether the last-chunk line is behind us.
    pub(super) fn in_trailers(&self) -> bool {
        matches!(self.at, At::Trailers(_))
    }

    /// The next span; [`Span::End`] from the body's end on.
    pub(super) fn next(&mut self, input: &[u8], limits: &Limits) -> Result<Span, Refusal> {
        match self.at {
            At::Over | At::Left(0) => Ok(Span::End),
            _ if input.is_empty() => Ok(Span::More),
            At::Left(left) => {
                let taken = taken(input, left);
                self.at = At::Left(left - taken as u64);
                Ok(Span::Data(taken))
            }
            At::UntilClose => Ok(Span::Data(input.len())),
            At::ChunkLine(looked) => self.chunk_line(input, looked, limits),
            At::ChunkLeft(left) => {
                let taken = taken(input, left);
                self.at = if left == taken as u64 { At::ChunkEnd } else { At::ChunkLeft(left - taken as u64) };
                Ok(Span::ChunkData(taken))
            }
            At::ChunkEnd => match input {
                [b'\r', b'\n', ..] => {
                    self.at = At::ChunkLine(0);
                    Ok(Span::ChunkEnd(2))
                }
                [b'\r'] => Ok(Span::More),
                _ => Err(Refusal::Chunk),
            },
            At::Trailers(scan) => self.trailers(input, scan, limits),
        }
    }

    fn chunk_line(&mut self, input: &[u8], looked: usize, limits: &Limits) -> Result<Span, Refusal> {
        if !input[0].is_ascii_hexdigit() {
            return Err(Refusal::Chunk);
        }
        let seen = &input[..input.len().min(limits.chunk_line_bytes_max)];
        let more =
            || if seen.len() == limits.chunk_line_bytes_max { Err(Refusal::ChunkLineTooLong) } else { Ok(Span::More) };
        let Some(found) = seen[looked..].iter().position(|&byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) else {
            self.at = At::ChunkLine(seen.len());
            return more();
        };
        let end = looked + found;
        match (seen[end], seen.get(end + 1)) {
            (b'\r', Some(b'\n')) => {}
            (b'\r', Some(_)) => return Err(Refusal::BareCr),
            (b'\r', None) => {
                self.at = At::ChunkLine(end);
                return more();
            }
            (b'\n', _) => return Err(Refusal::BareLf),
            _ => return Err(Refusal::ControlCharacter),
        }
        let line = &seen[..end];
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = hexadecimal(&line[..digits]).ok_or(Refusal::ChunkSize)?;
        if !are_extensions(&line[digits..]) {
            return Err(Refusal::Chunk);
        }
        self.extension_bytes += (end - digits) as u64;
        if self.extension_bytes > limits.chunk_extension_bytes_max {
            return Err(Refusal::ChunkLineTooLong);
        }
        self.at = if size == 0 { At::Trailers(Scan::default()) } else { At::ChunkLeft(size) };
        Ok(Span::ChunkLine(end + 2))
    }

    fn trailers(&mut self, input: &[u8], mut scan: Scan, limits: &Limits) -> Result<Span, Refusal> {
        let bytes_max = match self.sender {
            Sender::Client => limits.head_bytes_max,
            Sender::Upstream => limits.response_head_bytes_max,
        };
        loop {
            match scan.line(input, bytes_max)? {
                Found::More => {
                    self.at = At::Trailers(scan);
                    return Ok(Span::More);
                }
                Found::Line { from, to } if from == to => {
                    self.at = At::Over;
                    return Ok(Span::Trailers(scan.consumed()));
                }
                Found::Line { from, to } => {
                    self.trailer_lines += 1;
                    if self.trailer_lines > limits.field_lines_max {
                        return Err(Refusal::TooManyFields);
                    }
                    // Trailers are sent on as they came, so even a response's may not need a repair.
                    let field = field(input, from, to, Sender::Client)?;
                    if field.known.is_some_and(fields::Known::forbidden_trailer) {
                        return Err(Refusal::Trailer);
                    }
                }
            }
        }
    }
}

fn taken(input: &[u8], left: u64) -> usize {
    usize::try_from(left).map_or(input.len(), |left| left.min(input.len()))
}

/// A number of hexadecimal digits, which may begin with any number of zeros; `None` when a `u64` does not hold it.
fn hexadecimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |number, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        number.checked_mul(16)?.checked_add(u64::from(digit))
    })
}

/// `*( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )` of RFC 9112 7.1.1. What they say does not matter to us;
/// that everyone agrees where the line ends does.
fn are_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(after) = without_space(rest).strip_prefix(b";") else { return false };
        let Some(after) = without_token(without_space(after)) else { return false };
        rest = match without_space(after).strip_prefix(b"=") {
            None => after,
            Some(value) => match without_value(without_space(value)) {
                Some(after) => after,
                None => return false,
            },
        };
    }
    true
}

fn without_space(bytes: &[u8]) -> &[u8] {
    let spaces = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &bytes[spaces..]
}

fn without_token(bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes.iter().take_while(|&&byte| fields::is_token_byte(byte)).count();
    (length > 0).then(|| &bytes[length..])
}

/// Behind a token or a quoted string; the line holds no control characters but HTAB.
fn without_value(bytes: &[u8]) -> Option<&[u8]> {
    let Some(mut quoted) = bytes.strip_prefix(b"\"") else { return without_token(bytes) };
    loop {
        quoted = match quoted {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', _, rest @ ..] => rest,
            [b'\\'] | [] => return None,
            [_, rest @ ..] => rest,
        };
    }
}
