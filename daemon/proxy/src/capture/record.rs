//! The bytes of a record: one `TrafficStream` message, written by hand.
//!
//! The message is five nested fields, and all sizes are known before the first byte is written, so nothing is moved or
//! patched afterwards and nothing is allocated. Order and presence of the fields are those of the Java proxy, byte for byte
//! (the golden vectors hold that); a reader would take any order. Which observations may follow which is not decided here.
//!
//! ```text
//! TrafficStream       1 connection id, 5 node id, 6 requests before (if any), 7 read unfinished (if so),
//!                     2 observation…, and at last 3 the index, or 4 in the last chunk
//! TrafficObservation  1 time { 1 seconds, 2 nanoseconds (if not 0) }, then one of
//!                     4 read {1}  5 read segment {2}  8 write {1}  9 write segment {2}  11 close {}
//!                     12 exception {1}  14 segment end {}  15 end of message {1, 2}  16 request dropped {}
//! ```

use super::{ConnectionId, NodeId, Pieces, Timestamp, buffers::Space};

/// Which format is written. Migration Assistant announced another one, which no reader of this one will understand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// `TrafficStream` as the capture proxy and the Replayer of Migration Assistant 3.3.6 have it.
    #[default]
    V3_3_6,
}

/// What a chunk begins with.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// Whose chunk it is.
    pub connection: &'a ConnectionId,
    /// Who writes it.
    pub node: &'a NodeId,
    /// Ends of message in the connection's earlier chunks.
    pub prior_requests: u32,
    /// Whether a request was begun in them and neither ended nor dropped.
    pub unterminated_read: bool,
}

/// The index a chunk ends with, counted from 1 in its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// Others follow.
    Number(u32),
    /// It is the last one.
    Last(u32),
}

/// One thing that was seen.
#[derive(Clone, Copy, Debug)]
pub enum Observation<'a> {
    /// Bytes from the client.
    Read(Pieces<'a>),
    /// Some of the bytes of one read; more segments or [`Self::SegmentEnd`] follow.
    ReadSegment(Pieces<'a>),
    /// Bytes to the client.
    Write(Pieces<'a>),
    /// Some of the bytes of one write.
    WriteSegment(Pieces<'a>),
    /// The segments before it are one read or write.
    SegmentEnd,
    /// The request is whole; the lengths are -1 where they are not known.
    EndOfMessage {
        /// Bytes of the request line without its CRLF.
        first_line: i32,
        /// Bytes of all field lines without their CRLFs.
        headers: i32,
    },
    /// What was read of this request is not to be replayed.
    Dropped,
    /// The connection failed.
    Exception(&'a str),
    /// The connection is over.
    Close,
}

/// The most bytes that an index takes: a tag and the largest positive `int32`.
pub const INDEX_BYTES_MAX: usize = 6;

/// A chunk that is whole: the value of one record. Dropping it gives its space back.
pub struct Record {
    pub(super) space: Space,
    pub(super) connection: ConnectionId,
    pub(super) index: u32,
    pub(super) last: bool,
    pub(super) ends_write: bool,
}

impl Record {
    /// The key: the connection's name, so that all its records are in one partition.
    pub fn key(&self) -> &str {
        self.connection.as_str()
    }

    /// Whose record it is.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// The value.
    pub fn bytes(&self) -> &[u8] {
        &self.space.bytes
    }

    /// The value alone, for a sink.
    pub fn into_bytes(self) -> Vec<u8> {
        self.space.into_bytes()
    }

    /// Which of its connection's records it is, from 1.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Whether no other follows of this connection.
    pub fn is_last(&self) -> bool {
        self.last
    }

    /// Whether it ends with the end of a write: once it is acknowledged, with every record of the connection before it,
    /// the held end of that request may go upstream.
    pub fn ends_write(&self) -> bool {
        self.ends_write
    }

    /// How many bytes of memory it holds; its value is at most as long.
    pub fn held_bytes(&self) -> usize {
        self.space.held()
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{} ({} bytes)", self.key(), self.index, self.bytes().len())
    }
}

// The fields of a message that is nothing but bytes, text or another message have the wire type 2, numbers 0.
const fn tag(field: u32, wire: u32) -> u32 {
    field << 3 | wire
}

/// How many bytes a number takes as a varint.
pub(super) const fn varint_bytes(value: u64) -> usize {
    (u64::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

fn varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// An `int32`: a negative one is written as 64 bits, as the format has it.
const fn int32(value: i32) -> u64 {
    value as i64 as u64
}

/// How many bytes a field of so many bytes takes with its tag and its length.
const fn nested_bytes(field: u32, length: usize) -> usize {
    varint_bytes(tag(field, 2) as u64) + varint_bytes(length as u64) + length
}

fn nested(into: &mut Vec<u8>, field: u32, length: usize) {
    varint(into, u64::from(tag(field, 2)));
    varint(into, length as u64);
}

fn text(into: &mut Vec<u8>, field: u32, text: &str) {
    nested(into, field, text.len());
    into.extend_from_slice(text.as_bytes());
}

/// How many bytes the beginning of a chunk takes.
pub fn opening_bytes(opening: &Opening<'_>) -> usize {
    let prior = opening.prior_requests;
    nested_bytes(1, opening.connection.as_str().len())
        + nested_bytes(5, opening.node.as_str().len())
        + if prior > 0 { 1 + varint_bytes(u64::from(prior)) } else { 0 }
        + if opening.unterminated_read { 2 } else { 0 }
}

/// Begins a chunk.
pub fn open(version: Version, into: &mut Vec<u8>, opening: &Opening<'_>) {
    let Version::V3_3_6 = version;
    text(into, 1, opening.connection.as_str());
    text(into, 5, opening.node.as_str());
    if opening.prior_requests > 0 {
        varint(into, u64::from(tag(6, 0)));
        varint(into, u64::from(opening.prior_requests));
    }
    // Never written when false: a reader that finds it at all counts one request more.
    if opening.unterminated_read {
        varint(into, u64::from(tag(7, 0)));
        into.push(1);
    }
}

/// Ends a chunk.
pub fn seal(into: &mut Vec<u8>, index: Index) {
    let (field, number) = match index {
        Index::Number(number) => (3, number),
        Index::Last(number) => (4, number),
    };
    varint(into, u64::from(tag(field, 0)));
    varint(into, u64::from(number));
}

fn time_bytes(at: Timestamp) -> usize {
    let nanos = if at.nanos() > 0 { 1 + varint_bytes(u64::from(at.nanos())) } else { 0 };
    1 + varint_bytes(at.seconds() as u64) + nanos
}

fn time(into: &mut Vec<u8>, at: Timestamp) {
    nested(into, 1, time_bytes(at));
    varint(into, u64::from(tag(1, 0)));
    varint(into, at.seconds() as u64);
    if at.nanos() > 0 {
        varint(into, u64::from(tag(2, 0)));
        varint(into, u64::from(at.nanos()));
    }
}

impl Observation<'_> {
    /// Its number in a `TrafficObservation`.
    const fn field(&self) -> u32 {
        match self {
            Self::Read(_) => 4,
            Self::ReadSegment(_) => 5,
            Self::Write(_) => 8,
            Self::WriteSegment(_) => 9,
            Self::Close => 11,
            Self::Exception(_) => 12,
            Self::SegmentEnd => 14,
            Self::EndOfMessage { .. } => 15,
            Self::Dropped => 16,
        }
    }

    /// How many bytes its own message takes.
    fn body_bytes(&self) -> usize {
        match self {
            Self::Read([a, b]) | Self::ReadSegment([a, b]) | Self::Write([a, b]) | Self::WriteSegment([a, b]) => {
                optional_bytes(a.len() + b.len())
            }
            Self::Exception(text) => optional_bytes(text.len()),
            Self::EndOfMessage { first_line, headers } => {
                2 + varint_bytes(int32(*first_line)) + varint_bytes(int32(*headers))
            }
            Self::SegmentEnd | Self::Dropped | Self::Close => 0,
        }
    }
}

/// Bytes and texts without anything in them are left out; both variants of the field's number make a tag of one byte.
const fn optional_bytes(length: usize) -> usize {
    if length == 0 { 0 } else { nested_bytes(1, length) }
}

/// How many bytes an observation takes within its chunk.
pub fn observation_bytes(at: Timestamp, observation: &Observation<'_>) -> usize {
    nested_bytes(2, content_bytes(at, observation))
}

fn content_bytes(at: Timestamp, observation: &Observation<'_>) -> usize {
    nested_bytes(1, time_bytes(at)) + nested_bytes(observation.field(), observation.body_bytes())
}

/// Adds an observation to a chunk.
pub fn observe(into: &mut Vec<u8>, at: Timestamp, observation: &Observation<'_>) {
    nested(into, 2, content_bytes(at, observation));
    time(into, at);
    nested(into, observation.field(), observation.body_bytes());
    match observation {
        Observation::Read(pieces) | Observation::Write(pieces) => data(into, 1, pieces),
        // The segments have their bytes under another number than the whole ones.
        Observation::ReadSegment(pieces) | Observation::WriteSegment(pieces) => data(into, 2, pieces),
        Observation::Exception(message) if !message.is_empty() => text(into, 1, message),
        Observation::EndOfMessage { first_line, headers } => {
            varint(into, u64::from(tag(1, 0)));
            varint(into, int32(*first_line));
            varint(into, u64::from(tag(2, 0)));
            varint(into, int32(*headers));
        }
        Observation::Exception(_) | Observation::SegmentEnd | Observation::Dropped | Observation::Close => {}
    }
}

fn data(into: &mut Vec<u8>, field: u32, [first, second]: &Pieces<'_>) {
    let length = first.len() + second.len();
    if length > 0 {
        nested(into, field, length);
        into.extend_from_slice(first);
        into.extend_from_slice(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that the size of a varint is known before it is written, at every power of two and beside it.
    #[test]
    fn varints_are_as_long_as_was_said() {
        let mut bytes = Vec::new();
        for power in 0..64 {
            for value in [(1u64 << power) - 1, 1 << power, (1 << power) + 1] {
                bytes.clear();
                varint(&mut bytes, value);
                assert_eq!(bytes.len(), varint_bytes(value), "{value}");
            }
        }
        assert_eq!(varint_bytes(u64::MAX), 10);
        assert_eq!(varint_bytes(int32(-1)), 10);
    }
}
