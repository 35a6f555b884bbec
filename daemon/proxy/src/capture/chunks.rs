//! The chunks of one connection: numbered, cut to size, opened at their first observation.
//!
//! A chunk is handed out when it is asked for, when it is full, or when it would have to move to a larger space with more
//! in it than is worth copying again. Data that does not fit becomes segments, cut where the Java proxy cuts them. What
//! order observations may have is [`super::stream`]'s.

use super::{
    ConnectionId, Pieces, Record, Recorder, Timestamp,
    buffers::Space,
    record::{
        INDEX_BYTES_MAX, Index, Observation, Opening, observation_bytes, observe, open, opening_bytes, seal,
        varint_bytes,
    },
};

/// The largest chunk, in bytes: 1 MiB, which brokers and the Replayer take unless told otherwise, without the 500 bytes
/// that the Java proxy keeps for the key and for what Kafka puts around a record.
pub const CHUNK_BYTES_MAX: usize = 1024 * 1024 - 500;

/// The smallest limit on chunks, in bytes: names, counts, an end of message and a byte of data fit with room to spare.
pub const CHUNK_BYTES_MIN: usize = 200;

/// A chunk with more in it than so many bytes is handed out rather than moved to a larger space: no more than this of it is
/// copied twice. With spaces of 144 KiB a large body makes a record for every other read.
const MOVED_BYTES_MAX: usize = 16 * 1024;

/// In which direction data went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// From the client.
    Read,
    /// To the client.
    Write,
}

impl Data {
    const fn whole(self, pieces: Pieces<'_>) -> Observation<'_> {
        match self {
            Self::Read => Observation::Read(pieces),
            Self::Write => Observation::Write(pieces),
        }
    }

    const fn segment(self, pieces: Pieces<'_>) -> Observation<'_> {
        match self {
            Self::Read => Observation::ReadSegment(pieces),
            Self::Write => Observation::WriteSegment(pieces),
        }
    }
}

/// The chunks under one connection's name.
pub struct Chunks {
    connection: ConnectionId,
    /// The open chunk; there is one only while it has at least one observation.
    space: Option<Space>,
    /// The index of the open chunk, or of the next one.
    index: u32,
    /// Ends of message so far.
    requests: u32,
    /// Whether a request was begun and neither ended nor dropped.
    unterminated: bool,
}

impl Chunks {
    /// No chunk yet.
    pub const fn new(connection: ConnectionId) -> Self {
        Self { connection, space: None, index: 1, requests: 0, unterminated: false }
    }

    /// Whose they are.
    pub const fn connection(&self) -> &ConnectionId {
        &self.connection
    }

    /// How many requests have ended.
    pub const fn requests(&self) -> u32 {
        self.requests
    }

    /// How many bytes of memory the open chunk holds.
    pub fn held_bytes(&self) -> usize {
        self.space.as_ref().map_or(0, Space::held)
    }

    /// Throws the open chunk away.
    pub fn discard(&mut self) {
        self.space = None;
    }

    /// Records data, in segments if it must be.
    pub fn data(&mut self, recorder: &Recorder, at: Timestamp, way: Data, pieces: Pieces<'_>, out: &mut Vec<Record>) {
        let length = pieces[0].len() + pieces[1].len();
        let whole = way.whole(pieces);
        // What surrounds the bytes, with lengths as long as the whole would need: a segment never needs more.
        let around = observation_bytes(at, &whole) + INDEX_BYTES_MAX - length;
        if self.left(recorder) < around + 2 {
            self.flush(out);
        }
        if length == 0 || around + length <= self.left(recorder) {
            self.add(recorder, at, &whole, out);
        } else {
            let mut done = 0;
            while done < length {
                let left = self.left(recorder);
                let count = (left - around - varint_bytes(left as u64)).min(length - done);
                self.add(recorder, at, &way.segment(cut(pieces, done, count)), out);
                done += count;
                if done < length {
                    self.flush(out);
                }
            }
            self.add(recorder, at, &Observation::SegmentEnd, out);
        }
    }

    /// Records an observation that is no data.
    pub fn note(&mut self, recorder: &Recorder, at: Timestamp, observation: &Observation<'_>, out: &mut Vec<Record>) {
        self.add(recorder, at, observation, out);
    }

    /// Hands the open chunk out, if there is one.
    pub fn flush(&mut self, out: &mut Vec<Record>) {
        self.seal(false, false, out);
    }

    /// Hands the open chunk out, which ends with the end of a write.
    pub fn end_write(&mut self, out: &mut Vec<Record>) {
        self.seal(false, true, out);
    }

    /// Records the end of the connection and hands the last chunk out.
    pub fn close(&mut self, recorder: &Recorder, at: Timestamp, out: &mut Vec<Record>) {
        self.add(recorder, at, &Observation::Close, out);
        self.seal(true, false, out);
    }

    /// How many bytes of text an exception may have so that it fits into a chunk.
    pub fn exception_bytes_max(&self, recorder: &Recorder, at: Timestamp) -> usize {
        let around = observation_bytes(at, &Observation::Exception(" ")) + INDEX_BYTES_MAX;
        // Lengths of two bytes instead of one, three times.
        recorder.chunk_bytes_max - opening_bytes(&self.opening(recorder)) - around - 3
    }

    fn opening<'a>(&'a self, recorder: &'a Recorder) -> Opening<'a> {
        Opening {
            connection: &self.connection,
            node: &recorder.node,
            prior_requests: self.requests,
            unterminated_read: self.unterminated,
        }
    }

    /// How many bytes fit into the open chunk, or into a new one.
    fn left(&self, recorder: &Recorder) -> usize {
        let used = self.space.as_ref().map_or_else(|| opening_bytes(&self.opening(recorder)), |open| open.bytes.len());
        recorder.chunk_bytes_max - used
    }

    fn add(&mut self, recorder: &Recorder, at: Timestamp, observation: &Observation<'_>, out: &mut Vec<Record>) {
        let bytes = observation_bytes(at, observation);
        let needed = bytes + INDEX_BYTES_MAX;
        if self.left(recorder) < needed
            || self.space.as_ref().is_some_and(|open| open.left() < needed && open.bytes.len() > MOVED_BYTES_MAX)
        {
            self.flush(out);
        }
        let most = recorder.chunk_bytes_max;
        let space = match self.space.take() {
            Some(open) if open.left() >= needed => open,
            Some(open) => open.grown(needed, most),
            None => {
                let opening = self.opening(recorder);
                let mut fresh = recorder.buffers.lend(opening_bytes(&opening) + needed, most);
                open(recorder.version, &mut fresh.bytes, &opening);
                fresh
            }
        };
        let space = self.space.insert(space);
        let before = space.bytes.len();
        observe(&mut space.bytes, at, observation);
        debug_assert_eq!(space.bytes.len() - before, bytes, "the size is known beforehand");
        match observation {
            Observation::Read(_) | Observation::ReadSegment(_) => self.unterminated = true,
            Observation::Dropped => self.unterminated = false,
            Observation::EndOfMessage { .. } => {
                self.requests += 1;
                self.unterminated = false;
            }
            Observation::Write(_)
            | Observation::WriteSegment(_)
            | Observation::SegmentEnd
            | Observation::Exception(_)
            | Observation::Close => {}
        }
    }

    fn seal(&mut self, last: bool, ends_write: bool, out: &mut Vec<Record>) {
        let Some(mut space) = self.space.take() else { return };
        let index = self.index;
        seal(&mut space.bytes, if last { Index::Last(index) } else { Index::Number(index) });
        self.index += 1;
        out.push(Record { space, connection: self.connection, index, last, ends_write });
    }
}

/// `count` bytes of the pieces, from byte `from` on.
fn cut([first, second]: Pieces<'_>, from: usize, count: usize) -> Pieces<'_> {
    let to = from + count;
    let middle = first.len();
    [&first[from.min(middle)..to.min(middle)], &second[from.saturating_sub(middle)..to.saturating_sub(middle)]]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that a cut of two pieces is the cut of what they are together.
    #[test]
    fn pieces_are_cut_as_if_they_were_one() {
        let whole = b"abcdefgh";
        for middle in 0..=whole.len() {
            let (first, second) = whole.split_at(middle);
            for from in 0..whole.len() {
                for count in 0..=whole.len() - from {
                    assert_eq!(cut([first, second], from, count).concat(), &whole[from..from + count]);
                }
            }
        }
    }
}
