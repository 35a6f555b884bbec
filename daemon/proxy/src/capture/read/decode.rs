//! One record: a `TrafficStream` message, checked whole, then read in place.
//!
//! Nothing is copied and nothing allocated, whatever a record claims: lengths are compared with what is there, and the
//! observations are read again one by one when they are asked for. Fields may come in any order, unknown ones are passed
//! over, and of a field that comes twice the last one holds, as protobuf has it.

use super::fields::{Fields, Slice, Value};
use crate::capture::Timestamp;

/// The largest record that is read, in bytes: sixteen times what brokers take unless told otherwise.
pub const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why bytes are no record. Places are counted in bytes from the beginning of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is larger than [`RECORD_BYTES_MAX`].
    #[error("cannot read a record of {bytes} bytes: {RECORD_BYTES_MAX} are the most")]
    TooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// It ends within a field.
    #[error("the record is cut off at byte {at}: {wanted} bytes are due there, {left} are left")]
    Cut {
        /// Where the missing bytes should begin.
        at: usize,
        /// How many are due.
        wanted: usize,
        /// How many are left of the message around them.
        left: usize,
    },
    /// A number has more than 64 bits.
    #[error("the number at byte {at} of the record has more than 64 bits")]
    Varint {
        /// Where it begins.
        at: usize,
    },
    /// No field begins like this.
    #[error("what begins at byte {at} of the record is no field: is this a TrafficStream?")]
    Tag {
        /// Where it begins.
        at: usize,
    },
    /// A known field holds something else than it should.
    #[error("field {field} at byte {at} of the record has another type than in a TrafficStream")]
    Type {
        /// Its number.
        field: u32,
        /// Where it begins.
        at: usize,
    },
    /// A text is not UTF-8.
    #[error("the text at byte {at} of the record is not UTF-8")]
    Text {
        /// Where it begins.
        at: usize,
    },
}

/// The index of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// `number`
    Number(i32),
    /// `numberOfThisLastChunk`
    Last(i32),
}

impl Index {
    /// The number.
    pub const fn number(self) -> i32 {
        let (Self::Number(number) | Self::Last(number)) = self;
        number
    }
}

/// One record.
#[derive(Clone, Debug)]
pub struct Chunk<'a> {
    /// The connection's name; empty when there is none.
    pub connection: &'a str,
    /// The name of the process that recorded it; empty when there is none.
    pub node: &'a str,
    /// The index; `None` when there is none.
    pub index: Option<Index>,
    /// Ends of message in earlier chunks, where it is said.
    pub prior_requests: Option<i32>,
    /// Whether an earlier chunk had begun a request without ending it, where it is said.
    pub unterminated_read: Option<bool>,
    /// How many observations it has.
    pub count: usize,
    record: Slice<'a>,
}

/// One observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation<'a> {
    /// When; 1970 when it is not said.
    pub at: Timestamp,
    /// What; `None` when it is nothing that is known.
    pub what: Option<What<'a>>,
}

/// What was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// Never written.
    Bind,
    /// Never written.
    Connect,
    /// Bytes from the client.
    Read(&'a [u8]),
    /// A part of a read.
    ReadSegment(&'a [u8]),
    /// Never written.
    ReleasedDownstream {
        /// Whether it was released because its time was up.
        timed_out: bool,
    },
    /// Bytes to the client.
    Write(&'a [u8]),
    /// A part of a write.
    WriteSegment(&'a [u8]),
    /// Never written.
    Disconnect,
    /// The connection is over.
    Close,
    /// The connection failed.
    Exception(&'a str),
    /// The segments before it are one read or write.
    SegmentEnd,
    /// A request is whole.
    EndOfMessage {
        /// Bytes of its request line without CRLF; -1 or `None` when not known.
        first_line: Option<i32>,
        /// Bytes of its field lines without their CRLFs.
        headers: Option<i32>,
    },
    /// A request is not to be replayed.
    Dropped,
}

impl<'a> Chunk<'a> {
    /// Reads a record's value.
    ///
    /// # Errors
    /// When it is no `TrafficStream`, or too large.
    pub fn decode(record: &'a [u8]) -> Result<Self, DecodeError> {
        if record.len() > RECORD_BYTES_MAX {
            return Err(DecodeError::TooLarge { bytes: record.len() });
        }
        let record = Slice { bytes: record, at: 0 };
        let mut chunk = Self {
            connection: "",
            node: "",
            index: None,
            prior_requests: None,
            unterminated_read: None,
            count: 0,
            record,
        };
        let mut fields = Fields::new(record);
        while let Some((field, value, at)) = fields.next()? {
            match (field, value) {
                (1, Value::Bytes(bytes)) => chunk.connection = text(bytes)?,
                (2, Value::Bytes(bytes)) => {
                    observation(bytes)?;
                    chunk.count += 1;
                }
                (3, Value::Number(number)) => chunk.index = Some(Index::Number(number as i32)),
                (4, Value::Number(number)) => chunk.index = Some(Index::Last(number as i32)),
                (5, Value::Bytes(bytes)) => chunk.node = text(bytes)?,
                (6, Value::Number(number)) => chunk.prior_requests = Some(number as i32),
                (7, Value::Number(number)) => chunk.unterminated_read = Some(number != 0),
                (1..=7, _) => return Err(DecodeError::Type { field, at }),
                _ => {}
            }
        }
        Ok(chunk)
    }

    /// The observations, in order.
    pub fn observations(&self) -> Observations<'a> {
        Observations(Fields::new(self.record))
    }
}

/// See [`Chunk::observations`].
#[derive(Clone, Debug)]
pub struct Observations<'a>(Fields<'a>);

impl<'a> Iterator for Observations<'a> {
    type Item = Observation<'a>;

    fn next(&mut self) -> Option<Observation<'a>> {
        const WHOLE: &str = "the record was read once without an error";
        while let Some((field, value, _)) = self.0.next().expect(WHOLE) {
            if let (2, Value::Bytes(bytes)) = (field, value) {
                return Some(observation(bytes).expect(WHOLE));
            }
        }
        None
    }
}

fn observation(message: Slice<'_>) -> Result<Observation<'_>, DecodeError> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut what = None;
    let mut fields = Fields::new(message);
    while let Some((field, value, at)) = fields.next()? {
        let Value::Bytes(body) = value else {
            if matches!(field, 1..=6 | 8..=12 | 14..=16) {
                return Err(DecodeError::Type { field, at });
            }
            continue;
        };
        what = Some(match field {
            1 => {
                time(body, &mut seconds, &mut nanos)?;
                continue;
            }
            2 => skim(body, What::Bind)?,
            3 => skim(body, What::Connect)?,
            // Twice the same one is one, of which the last field holds.
            4 => What::Read(data(body, 1, if let Some(What::Read(data)) = what { data } else { &[] })?),
            5 => What::ReadSegment(data(body, 2, if let Some(What::ReadSegment(data)) = what { data } else { &[] })?),
            6 => released(body, matches!(what, Some(What::ReleasedDownstream { timed_out: true })))?,
            8 => What::Write(data(body, 1, if let Some(What::Write(data)) = what { data } else { &[] })?),
            9 => What::WriteSegment(data(body, 2, if let Some(What::WriteSegment(data)) = what { data } else { &[] })?),
            10 => skim(body, What::Disconnect)?,
            11 => skim(body, What::Close)?,
            12 => exception(body, if let Some(What::Exception(text)) = what { text } else { "" })?,
            14 => skim(body, What::SegmentEnd)?,
            15 => end_of_message(body, what)?,
            16 => skim(body, What::Dropped)?,
            _ => continue,
        });
    }
    Ok(Observation { at: Timestamp::new(seconds, i64::from(nanos)), what })
}

fn time(message: Slice<'_>, seconds: &mut i64, nanos: &mut i32) -> Result<(), DecodeError> {
    let mut fields = Fields::new(message);
    while let Some((field, value, at)) = fields.next()? {
        match (field, value) {
            (1, Value::Number(number)) => *seconds = number.cast_signed(),
            (2, Value::Number(number)) => *nanos = number as i32,
            (1 | 2, _) => return Err(DecodeError::Type { field, at }),
            _ => {}
        }
    }
    Ok(())
}

fn data<'a>(message: Slice<'a>, number: u32, before: &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let mut found = before;
    let mut fields = Fields::new(message);
    while let Some((field, value, at)) = fields.next()? {
        match value {
            Value::Bytes(bytes) if field == number => found = bytes.bytes,
            _ if field == number => return Err(DecodeError::Type { field, at }),
            _ => {}
        }
    }
    Ok(found)
}

fn released(message: Slice<'_>, before: bool) -> Result<What<'static>, DecodeError> {
    let mut timed_out = before;
    let mut fields = Fields::new(message);
    while let Some((field, value, at)) = fields.next()? {
        match (field, value) {
            (1, Value::Number(number)) => timed_out = number != 0,
            (1, _) => return Err(DecodeError::Type { field, at }),
            _ => {}
        }
    }
    Ok(What::ReleasedDownstream { timed_out })
}

fn exception<'a>(message: Slice<'a>, before: &'a str) -> Result<What<'a>, DecodeError> {
    let mut found = before;
    let mut fields = Fields::new(message);
    while let Some((field, value, at)) = fields.next()? {
        match (field, value) {
            (1, Value::Bytes(bytes)) => found = text(bytes)?,
            (1, _) => return Err(DecodeError::Type { field, at }),
            _ => {}
        }
    }
    Ok(What::Exception(found))
}

fn end_of_message<'a>(message: Slice<'a>, before: Option<What<'a>>) -> Result<What<'a>, DecodeError> {
    let (mut first_line, mut headers) = match before {
        Some(What::EndOfMessage { first_line, headers }) => (first_line, headers),
        _ => (None, None),
    };
    let mut fields = Fields::new(message);
    while let Some((field, value, at)) = fields.next()? {
        match (field, value) {
            (1, Value::Number(number)) => first_line = Some(number as i32),
            (2, Value::Number(number)) => headers = Some(number as i32),
            (1 | 2, _) => return Err(DecodeError::Type { field, at }),
            _ => {}
        }
    }
    Ok(What::EndOfMessage { first_line, headers })
}

/// A message without known fields: whatever is in it must be fields all the same.
fn skim<'a>(message: Slice<'a>, what: What<'a>) -> Result<What<'a>, DecodeError> {
    let mut fields = Fields::new(message);
    while fields.next()?.is_some() {}
    Ok(what)
}

fn text(bytes: Slice<'_>) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes.bytes).map_err(|_| DecodeError::Text { at: bytes.at })
}
