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

/// How many bytes at the front a line may hold: HTAB, SP, visible ASCII and obs-text; no control character, CR and LF
/// among them. Eight are looked at together, since every byte of every head passes here.
fn sound(bytes: &[u8]) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    let is_sound = |byte: u8| byte == b'\t' || (byte >= 0x20 && byte != 0x7f);
    let mut at = 0;
    while let Some(eight) = bytes[at..].first_chunk() {
        let eight = u64::from_le_bytes(*eight);
        // The high bit of each byte that is below 0x20, or DEL. A borrow may set it in a byte above such a one, never
        // in one below: so the lowest is right.
        let del = eight ^ (0x7f * EACH);
        let odd = ((eight.wrapping_sub(0x20 * EACH) & !eight) | (del.wrapping_sub(EACH) & !del)) & HIGH;
        if odd == 0 {
            at += 8;
            continue;
        }
        at += odd.trailing_zeros() as usize / 8;
        if !is_sound(bytes[at]) {
            return at;
        }
        at += 1;
    }
    at + bytes[at..].iter().take_while(|&&byte| is_sound(byte)).count()
}

impl Scan {
    /// Looks for the end of the next line among the first `bytes_max` bytes of `input`, which is what the whole head may
    /// have.
    #[expect(
        clippy::inline_always,
        reason = "once for each line of each head: the calls would cost as much as the work"
    )]
    #[inline(always)]
    pub(super) fn line(&mut self, input: &[u8], bytes_max: usize) -> Result<Found, Refusal> {
        let seen = &input[..input.len().min(bytes_max)];
        self.at += sound(&seen[self.at..]);
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
#[expect(clippy::inline_always, reason = "once for each line of each head: the calls would cost as much as the work")]
#[inline(always)]
pub(super) fn field(input: &[u8], from: usize, to: usize, sender: Sender) -> Result<Field, Refusal> {
    let line = &input[from..to];
    let name_bytes = line.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(line.len());
    let (name, mut rest) = line.split_at(name_bytes);
    if sender == Sender::Upstream {
        rest = without_space(rest);
    }
    let (false, Some(rest)) = (name.is_empty(), rest.strip_prefix(b":")) else {
        let is_folded = matches!(line, [b' ' | b'\t', ..]);
        return Err(if is_folded { Refusal::Folded } else { Refusal::FieldLine });
    };
    let mut value = without_space(rest);
    let value_from = to - value.len();
    while let [before @ .., b' ' | b'\t'] = value {
        value = before;
    }
    Ok(Field {
        name: Part::new(from, from + name_bytes),
        value: Part::new(value_from, value_from + value.len()),
        line: Part::new(from, to + 2),
        known: Known::of(name),
    })
}

/// The fields of a head or of trailers that a reader found sound: each line that is one.
pub(crate) fn field_lines(bytes: &[u8]) -> impl Iterator<Item = Field> {
    let mut scan = Scan::default();
    let lines = std::iter::from_fn(move || match scan.line(bytes, usize::MAX) {
        Ok(Found::Line { from, to }) => Some((from, to)),
        Ok(Found::More) | Err(_) => None,
    });
    lines.filter_map(|(from, to)| field(bytes, from, to, Sender::Upstream).ok())
}

fn without_space(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', after @ ..] = bytes {
        bytes = after;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that looking at eight bytes together finds the same byte as looking at each: every value of a byte, at
    /// every place, behind every neighbour that could borrow from it.
    #[test]
    fn eight_bytes_together_are_judged_like_each() {
        let plainly = |bytes: &[u8]| {
            let odd = |&byte: &u8| byte != b'\t' && (byte < 0x20 || byte == 0x7f);
            bytes.iter().position(odd).unwrap_or(bytes.len())
        };
        for byte in 0..=u8::MAX {
            for place in 0..20 {
                for other in [b'a', b' ', b'\t', 0x1f, 0x7e, 0x7f, 0x80, 0x9f, 0xa0, 0xff] {
                    let mut bytes = [b'x'; 21];
                    bytes[place] = byte;
                    bytes[place + 1] = other;
                    assert_eq!(sound(&bytes), plainly(&bytes), "{bytes:?}");
                }
            }
        }
        assert_eq!(sound(b""), 0);
    }
}
