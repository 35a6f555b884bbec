//! The tap of one client connection on one side: takes what the relay sees, and never says anything that a reader would
//! stumble over, whatever happens on the wire.
//!
//! ```text
//! connection := exchange* (unfinished | Exception)? Close
//! exchange   := read+ Dropped | read+ EndOfMessage write*
//! ```
//!
//! - Chunks are numbered from 1 and have at least one observation; the last one says so and ends with `Close`.
//! - Times never run backwards within a connection; an end of message has the time of its last read.
//! - Between a request's first byte and its end nothing is written: interim responses are not shown to a stream, and a
//!   final response that begins early drops the request ([`Stream::write`]).
//! - The requests of a connection follow one another: the relay shows none of the next one before the response of the one
//!   before was written, however its client sent them.
//! - A stream of which a record was lost is never continued under its name ([`Stream::lost`]): a reader would take what
//!   comes later for what is missing. The next request begins a fresh name.
//!
//! A stream keeps nothing but an open chunk, and between flushes that alone. It reads no clock and knows no sink: the
//! records it hands out must be sent in order, and not after one of the same connection that was lost.

use super::{
    Buffers, ConnectionId, ConnectionIds, NodeId, Pieces, Record, Timestamp,
    chunks::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, Chunks, Data},
    record::{Observation, Version},
};
use crate::{class::Class, wire::RequestHead};

/// The longest text of an exception, in bytes; the rest is cut off.
pub const EXCEPTION_BYTES_MAX: usize = 512;

/// What all streams of one thread share.
#[derive(Debug)]
pub struct Recorder {
    pub(super) version: Version,
    pub(super) node: NodeId,
    pub(super) chunk_bytes_max: usize,
    pub(super) buffers: Buffers,
    ids: ConnectionIds,
}

/// Why streams cannot be recorded with these limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chunks of at most {bytes} bytes cannot be written: say {CHUNK_BYTES_MIN} to {}", i32::MAX)]
pub struct ChunkBytesError {
    /// What was asked for.
    pub bytes: usize,
}

impl Recorder {
    /// A recorder for one thread, with chunks of at most [`CHUNK_BYTES_MAX`] bytes.
    pub fn new(version: Version, node: NodeId, ids: ConnectionIds) -> Self {
        Self { version, node, chunk_bytes_max: CHUNK_BYTES_MAX, buffers: Buffers::default(), ids }
    }

    /// The same with another limit on chunks, in bytes. More than the default needs brokers and readers that were told.
    ///
    /// # Errors
    /// Below [`CHUNK_BYTES_MIN`], and above what the format can count.
    pub fn with_chunk_bytes_max(self, bytes: usize) -> Result<Self, ChunkBytesError> {
        if bytes < CHUNK_BYTES_MIN || i32::try_from(bytes).is_err() {
            return Err(ChunkBytesError { bytes });
        }
        Ok(Self { chunk_bytes_max: bytes, ..self })
    }
}

/// How long the parts of a request's head are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Bytes of the request line without its CRLF; -1 when not known.
    pub first_line: i32,
    /// Bytes of all field lines together without their CRLFs; -1 when not known.
    pub headers: i32,
}

impl Lengths {
    /// Those of a head that was read.
    pub fn of(head: &RequestHead) -> Self {
        let headers: usize = head.fields.iter().map(|field| field.line.len() - 2).sum();
        let counted = |length: usize| i32::try_from(length).unwrap_or(-1);
        Self { first_line: counted(head.line.len()), headers: counted(headers) }
    }
}

/// What the end of a request asks of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the end of a write may not go upstream before it is safe"]
pub enum Ending {
    /// The last record handed out ends a write: the request's end waits until it is acknowledged.
    Held,
    /// It was recorded, and nothing has to wait.
    Free,
    /// Nothing of this request is, or stays, recorded: dropped, left out, or its stream was lost.
    Unrecorded,
}

/// Where in the grammar a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was recorded under this name, or an exchange that was dropped or left out is over.
    Between,
    /// In a request of this class.
    Reading(Class),
    /// A request has ended; its response may come.
    Responding,
    /// What follows of this exchange is not recorded.
    Silent,
    /// The name is used up; the next request gets a fresh one.
    Ended,
}

/// What is recorded of one client connection on one side.
pub struct Stream {
    chunks: Chunks,
    state: State,
    /// The latest time that was recorded.
    latest: Timestamp,
    /// That of the latest read.
    read: Timestamp,
}

impl Stream {
    /// A stream of a connection of which something goes to a side for the first time at `at`.
    pub fn new(recorder: &Recorder, at: Timestamp) -> Self {
        Self { chunks: Chunks::new(recorder.ids.next(at)), state: State::Between, latest: at, read: at }
    }

    /// The name it is recorded under now.
    pub fn connection(&self) -> &ConnectionId {
        self.chunks.connection()
    }

    /// How many requests have ended under that name; the number of the next one, counted from 0.
    pub fn requests(&self) -> u32 {
        self.chunks.requests()
    }

    /// How many bytes of memory it holds for what was not handed out yet; 0 after [`Self::flush`].
    pub fn held_bytes(&self) -> usize {
        self.chunks.held_bytes()
    }

    /// A request begins: its head as the client sent it, and what of its body came with it, read at `at`. One that was not
    /// ended before it is dropped.
    pub fn begin(
        &mut self,
        recorder: &Recorder,
        at: Timestamp,
        class: Class,
        pieces: Pieces<'_>,
        out: &mut Vec<Record>,
    ) {
        match self.state {
            State::Reading(_) => self.drop_request(recorder, at, out),
            State::Ended => self.chunks = Chunks::new(recorder.ids.next(at)),
            State::Between | State::Responding | State::Silent => {}
        }
        self.state = State::Reading(class);
        self.read = self.tick(at);
        self.chunks.data(recorder, self.read, Data::Read, pieces, out);
    }

    /// More of the request, read at `at`: body, framing and trailers as the client sent them.
    pub fn read(&mut self, recorder: &Recorder, at: Timestamp, pieces: Pieces<'_>, out: &mut Vec<Record>) {
        if matches!(self.state, State::Reading(_)) && !is_empty(pieces) {
            self.read = self.tick(at);
            self.chunks.data(recorder, self.read, Data::Read, pieces, out);
        }
    }

    /// The request has ended with what was last read. The end of a write is handed out at once.
    pub fn end(&mut self, recorder: &Recorder, lengths: Lengths, out: &mut Vec<Record>) -> Ending {
        let State::Reading(class) = self.state else { return Ending::Unrecorded };
        let Lengths { first_line, headers } = lengths;
        self.chunks.note(recorder, self.read, &Observation::EndOfMessage { first_line, headers }, out);
        self.state = State::Responding;
        match class {
            Class::Read => Ending::Free,
            Class::Write => {
                self.chunks.end_write(out);
                Ending::Held
            }
        }
    }

    /// Bytes of the final response were written to the client at `at`. Before the request has ended that drops it: a reader
    /// has no place for them, and the relay closes the connection after such a response.
    pub fn write(&mut self, recorder: &Recorder, at: Timestamp, pieces: Pieces<'_>, out: &mut Vec<Record>) {
        match self.state {
            State::Reading(_) => self.drop_request(recorder, at, out),
            State::Responding if !is_empty(pieces) => {
                let at = self.tick(at);
                self.chunks.data(recorder, at, Data::Write, pieces, out);
            }
            State::Responding | State::Between | State::Silent | State::Ended => {}
        }
    }

    /// The request that is being read shall not be replayed, and neither the rest of it nor its response is recorded. Its
    /// end, if it comes, is [`Ending::Unrecorded`]. After its end it is too late, and nothing happens.
    pub fn drop_request(&mut self, recorder: &Recorder, at: Timestamp, out: &mut Vec<Record>) {
        if matches!(self.state, State::Reading(_)) {
            let at = self.tick(at);
            self.chunks.note(recorder, at, &Observation::Dropped, out);
            self.state = State::Silent;
        }
    }

    /// Nothing of the request that comes now is recorded, nor of its response; say it instead of [`Self::begin`].
    pub fn leave_out(&mut self, recorder: &Recorder, at: Timestamp, out: &mut Vec<Record>) {
        self.drop_request(recorder, at, out);
        if self.state != State::Ended {
            self.state = State::Silent;
        }
    }

    /// The connection speaks something else than HTTP from now on: nothing more is recorded but its end.
    pub fn upgraded(&mut self) {
        if self.state == State::Responding {
            self.state = State::Silent;
        }
    }

    /// The connection is over, with a failure if there is a text for one. The last chunk is handed out. A request without an
    /// end stays one; a reader throws it away.
    pub fn close(&mut self, recorder: &Recorder, at: Timestamp, exception: Option<&str>, out: &mut Vec<Record>) {
        if self.state == State::Ended {
            return;
        }
        let at = self.tick(at);
        if let Some(text) = exception {
            let most = self.chunks.exception_bytes_max(recorder, at).min(EXCEPTION_BYTES_MAX);
            let text = &text[..text.floor_char_boundary(most)];
            self.chunks.note(recorder, at, &Observation::Exception(text), out);
        }
        self.chunks.close(recorder, at, out);
        self.state = State::Ended;
    }

    /// A record of this stream was lost, or there is no room for another: it ends without a further one. What of the
    /// exchange is still to come is not recorded; the next request begins under a fresh name.
    pub fn lost(&mut self) {
        self.chunks.discard();
        self.state = State::Ended;
    }

    /// Hands out what was not handed out yet, if there is anything: so that idle connections hold no memory and what they
    /// said is seen.
    pub fn flush(&mut self, out: &mut Vec<Record>) {
        self.chunks.flush(out);
    }

    /// The time to record for what was seen at `at`.
    fn tick(&mut self, at: Timestamp) -> Timestamp {
        self.latest = self.latest.max(at);
        self.latest
    }
}

fn is_empty(pieces: Pieces<'_>) -> bool {
    pieces.iter().all(|piece| piece.is_empty())
}
