//! The fields of one protobuf message, one after the other, without believing any length.

use super::decode::DecodeError;

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(Slice<'a>),
    /// Eight or four bytes that no field of ours has.
    Fixed,
}

/// Some of a record's bytes, and where in the record they begin.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slice<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

/// Goes through a message.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    rest: Slice<'a>,
}

impl<'a> Fields<'a> {
    pub(super) const fn new(message: Slice<'a>) -> Self {
        Self { rest: message }
    }

    /// The next field: its number, what it holds, and where it begins.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Value<'a>, usize)>, DecodeError> {
        let at = self.rest.at;
        if self.rest.bytes.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let field = u32::try_from(key >> 3).ok().filter(|field| (1..=0x1fff_ffff).contains(field));
        let Some(field) = field else { return Err(DecodeError::Tag { at }) };
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // 3 and 4 are groups, which no version of the format has.
            _ => return Err(DecodeError::Tag { at }),
        };
        Ok(Some((field, value, at)))
    }

    fn take(&mut self, count: usize) -> Result<Slice<'a>, DecodeError> {
        let Slice { bytes, at } = self.rest;
        let Some((taken, rest)) = bytes.split_at_checked(count) else {
            return Err(DecodeError::Cut { at, wanted: count, left: bytes.len() });
        };
        self.rest = Slice { bytes: rest, at: at + count };
        Ok(Slice { bytes: taken, at })
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let Slice { bytes, at } = self.rest;
        let mut value = 0;
        for (place, &byte) in bytes.iter().enumerate().take(10) {
            // The tenth byte has room for one bit alone.
            if place == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                self.rest = Slice { bytes: &bytes[place + 1..], at: at + place + 1 };
                return Ok(value);
            }
        }
        Err(if bytes.len() < 10 && bytes.iter().all(|byte| *byte >= 0x80) {
            DecodeError::Cut { at, wanted: bytes.len() + 1, left: bytes.len() }
        } else {
            DecodeError::Varint { at }
        })
    }
}
