//! Lines of heads and trailers, found as the bytes come.
//!
//! A scan remembers how far it got, so that a head which comes a byte at a time costs as much as one that comes whole;
//! and it looks at each line when its CRLF is there, so that what is wrong is refused at once, and refused the same
//! however the bytes were cut.

use super::fields::{Known, is_token_byte};
use super::head::{Field, Part};
use super::refusal::Refusal;

/// Where a scan over one head (or the trailers of one message) is. Offsets count from the head's first byte.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    /// The next byte to look at; those before it are sound.
    at: usize,
    /// Where the line began that is being looked at.
    line_from: usize,
}

/// What a scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The line is not complete yet.
    More,
    /// A complete line, without its CRLF.
    Line {
        /// Its first byte.
        from: usize,
        /// Its CR.
        to: usize,
    },
}

/// What a line may hold: HTAB, SP, visible ASCII and obs-text; no control character, CR and LF among them.
const SOUND: [bool; 256] = {
    let mut sound = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        sound[byte] = byte == 0x09 || (byte >= 0x20 && byte != 0x7f);
        byte += 1;
    }
    sound
};

impl Scan {
    /// Looks for the end of the next line among the first `bytes_max` bytes of `input`, which is what the whole head may
    /// have.
    pub(super) fn line(&mut self, input: &[u8], bytes_max: usize) -> Result<Found, Refusal> {
        let seen = &input[..input.len().min(bytes_max)];
        self.at += seen[self.at..].iter().take_while(|&&byte| SOUND[usize::from(byte)]).count();
        let Some(&stop) = seen.get(self.at) else { return out_of_bytes(seen.len(), bytes_max) };
        match (stop, seen.get(self.at + 1)) {
            (b'\r', Some(b'\n')) => {
                let found = Found::Line { from: self.line_from, to: self.at };
                self.at += 2;
                self.line_from = self.at;
                Ok(found)
            }
            (b'\r', Some(_)) => Err(Refusal::BareCr),
            (b'\r', None) => out_of_bytes(seen.len(), bytes_max),
            (b'\n', _) => Err(Refusal::BareLf),
            _ => Err(Refusal::ControlCharacter),
        }
    }

    /// How many bytes the lines found so far have, CRLFs included.
    pub(super) fn consumed(&self) -> usize {
        self.line_from
    }

    /// How far it looked.
    pub(super) fn looked(&self) -> usize {
        self.at
    }
}

fn out_of_bytes(seen: usize, bytes_max: usize) -> Result<Found, Refusal> {
    if seen == bytes_max { Err(Refusal::HeadTooLong) } else { Ok(Found::More) }
}

/// Whose field lines they are: RFC 9112 5.1 wants white space before a colon refused in a request, and taken away from a
/// response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Upstream,
}

/// Splits a field line, which is neither empty nor holds a control character.
pub(super) fn field(input: &[u8], from: usize, to: usize, sender: Sender) -> Result<(Field, Option<Known>), Refusal> {
    let line = &input[from..to];
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Refusal::Folded);
    }
    let name = line.iter().take_while(|&&byte| is_token_byte(byte)).count();
    let mut colon = name;
    if sender == Sender::Upstream {
        colon += line[name..].iter().take_while(|&&byte| is_space(byte)).count();
    }
    if name == 0 || line.get(colon) != Some(&b':') {
        return Err(Refusal::FieldLine);
    }
    let mut value = colon + 1..line.len();
    while value.start < value.end && is_space(line[value.start]) {
        value.start += 1;
    }
    while value.start < value.end && is_space(line[value.end - 1]) {
        value.end -= 1;
    }
    let field = Field {
        name: Part::new(from, from + name),
        value: Part::new(from + value.start, from + value.end),
        line: Part::new(from, to + 2),
    };
    Ok((field, Known::of(&line[..name])))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}
