//! A topic as requests and responses: what the Replayer of Migration Assistant 3.3.6 makes of records in their order.
//!
//! ```text
//! state       entered by                                        takes
//! Skipping    a first chunk that says a read is unfinished      nothing before a write, an end of message or a drop
//! Waiting     a new name; after a drop or an exception          a read; the rest is ignored
//! Reading     a read                                            reads, end of message, drop, exception
//! Responding  an end of message                                 writes, the next read, exception
//! ```
//!
//! `Close` ends each of them. Names that are silent for longer than the timeout, by the times in the records, are expired.
//! Records are taken in their order: no index is compared, nothing is put right. Where the Replayer throws, an
//! [`Outcome::Breaks`] says so, and reading goes on.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::decode::{Chunk, What};
use crate::capture::Timestamp;

/// After so long without a record, while others go on, a name is expired: the Replayer's `--packet-timeout-seconds`.
pub const TIMEOUT: Duration = Duration::from_mins(6);

/// Names that may be open at once; above that the one that has been silent for longest is expired.
pub const CONNECTIONS_MAX: usize = 1_000_000;

/// The most that is kept of a request, and of a response, in bytes; the rest is counted as [`Exchange::cut_bytes`].
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Something that a topic says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A request, with its response as far as there is one.
    Exchange(Box<Exchange>),
    /// A name is over.
    Closed(Closed),
    /// An observation that means nothing where it stands.
    Ignored(Ignored),
    /// Here the Replayer throws, and reads no further.
    Breaks(Breaks),
}

/// Why an exchange, or a name, was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The next request began.
    NextRequest,
    /// The request was dropped.
    Dropped,
    /// The connection failed.
    Exception,
    /// The connection was closed.
    Close,
    /// Nothing came for too long.
    Expiry,
    /// There are no more records.
    EndOfInput,
}

/// One request and its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Who recorded it.
    pub node: Arc<str>,
    /// On which connection.
    pub connection: Arc<str>,
    /// The index of the chunk in which it began.
    pub chunk: i32,
    /// Which of the connection's requests it is, from 0.
    pub number: i64,
    /// The request as the client sent it, as far as it came.
    pub request: Vec<u8>,
    /// How many reads it came in.
    pub reads: u32,
    /// The response; `None` when not even an empty write came.
    pub response: Option<Vec<u8>>,
    /// How many writes it went out in.
    pub writes: u32,
    /// Whether the request has its end of message: only such requests are replayed.
    pub complete: bool,
    /// What ended the exchange.
    pub end: End,
    /// When its first read was.
    pub read_first: Timestamp,
    /// When its last read was.
    pub read_last: Timestamp,
    /// When its first write was.
    pub write_first: Option<Timestamp>,
    /// When its last write was.
    pub write_last: Option<Timestamp>,
    /// How many bytes of both were left away because they were more than [`MESSAGE_BYTES_MAX`].
    pub cut_bytes: u64,
}

/// The end of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Who recorded it.
    pub node: Arc<str>,
    /// Which connection.
    pub connection: Arc<str>,
    /// The number of the first request that was seen.
    pub first_number: i64,
    /// How many complete requests it had.
    pub requests: u32,
    /// Why.
    pub end: End,
}

/// Something that means nothing where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// On which connection.
    pub connection: Arc<str>,
    /// In which chunk.
    pub chunk: i32,
    /// Where in the connection.
    pub state: State,
    /// How many bytes of data it had.
    pub bytes: usize,
    /// Whether it is an interim or early response: data to the client before the request has ended.
    pub early: bool,
}

/// What the Replayer does not survive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breaks {
    /// A record without any observation: an `IndexOutOfBoundsException`.
    #[error("chunk {chunk} of connection {connection} has no observation")]
    EmptyChunk {
        /// Whose.
        connection: Arc<str>,
        /// Its index.
        chunk: i32,
    },
    /// The end of segments that never began: a `NullPointerException`.
    #[error("chunk {chunk} of connection {connection} ends segments that never began")]
    SegmentEnd {
        /// Whose.
        connection: Arc<str>,
        /// Its index.
        chunk: i32,
    },
    /// A request ends while segments are open: their bytes are lost, and with assertions on it is an `AssertionError`.
    #[error("chunk {chunk} of connection {connection} ends a request within its segments")]
    OpenSegments {
        /// Whose.
        connection: Arc<str>,
        /// Its index.
        chunk: i32,
    },
}

/// Where in a connection a reader is; see the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Passing over the rest of a request whose beginning was not seen.
    Skipping,
    /// No request has begun.
    Waiting,
    /// In a request.
    Reading,
    /// Behind a whole request.
    Responding,
}

/// What is known of one name.
struct Open {
    node: Arc<str>,
    connection: Arc<str>,
    state: State,
    first_number: i64,
    completed: u32,
    /// The exchange under way, in `Reading` and `Responding`.
    exchange: Option<Box<Exchange>>,
    /// Segments that were not ended yet.
    segments: Option<Vec<u8>>,
    /// The second of its latest observation.
    latest: i64,
}

/// Reads a topic. Give it the records of one partition in their order, and after the last one [`Self::finish`] it.
pub struct Accumulator {
    open: BTreeMap<(Arc<str>, Arc<str>), Open>,
    timeout_seconds: i64,
    connections_max: usize,
    /// The latest second of any observation.
    now: i64,
}

impl Default for Accumulator {
    fn default() -> Self {
        Self::new(TIMEOUT, CONNECTIONS_MAX)
    }
}

impl Accumulator {
    /// A reader at the beginning of a topic, with another timeout and another number of open names than the defaults.
    pub fn new(timeout: Duration, connections_max: usize) -> Self {
        Self {
            open: BTreeMap::new(),
            timeout_seconds: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            connections_max: connections_max.max(1),
            now: i64::MIN,
        }
    }

    /// Takes the next record.
    pub fn add(&mut self, chunk: &Chunk<'_>, out: &mut Vec<Outcome>) {
        let connection: Arc<str> = chunk.connection.into();
        let index = chunk.index.map_or(0, super::Index::number);
        if chunk.count == 0 {
            out.push(Outcome::Breaks(Breaks::EmptyChunk { connection, chunk: index }));
            return;
        }
        let key = (Arc::from(chunk.node), connection);
        for observation in chunk.observations() {
            let second = observation.at.seconds();
            let open = self.open.entry(key.clone()).or_insert_with(|| Open::new(&key, chunk));
            open.latest = open.latest.max(second);
            self.expire(second, &key, out);
            let open = self.open.get_mut(&key).expect("it was put there above, and is not expired by itself");
            if open.take(observation.at, observation.what, index, out) {
                self.open.remove(&key);
                // What comes behind it in the same record is not looked at.
                break;
            }
        }
    }

    /// There are no more records.
    pub fn finish(self, out: &mut Vec<Outcome>) {
        for (_, mut open) in self.open {
            open.over(End::EndOfInput, out);
        }
    }

    /// Ends the names that were silent for too long at `second`, but for the one that speaks.
    fn expire(&mut self, second: i64, speaks: &(Arc<str>, Arc<str>), out: &mut Vec<Outcome>) {
        // Once a second of the topic's own time is enough: nothing is told in finer steps.
        if second > self.now {
            self.now = second;
            let limit = second.saturating_sub(self.timeout_seconds);
            for (_, mut open) in self.open.extract_if(.., |key, open| key != speaks && open.latest < limit) {
                open.over(End::Expiry, out);
            }
        }
        if self.open.len() > self.connections_max {
            let others = self.open.iter().filter(|(key, _)| *key != speaks);
            let oldest = others.min_by_key(|(_, open)| open.latest).map(|(key, _)| key.clone());
            if let Some(mut open) = oldest.and_then(|key| self.open.remove(&key)) {
                open.over(End::Expiry, out);
            }
        }
    }
}

impl Open {
    fn new((node, connection): &(Arc<str>, Arc<str>), chunk: &Chunk<'_>) -> Self {
        let prior = i64::from(chunk.prior_requests.unwrap_or(0));
        // Whether it is there counts, not what it says: that is how the Replayer has it.
        let first_number = prior + i64::from(chunk.unterminated_read.is_some());
        let state = if chunk.unterminated_read == Some(true) { State::Skipping } else { State::Waiting };
        Self {
            node: Arc::clone(node),
            connection: Arc::clone(connection),
            state,
            first_number,
            completed: 0,
            exchange: None,
            segments: None,
            latest: i64::MIN,
        }
    }

    /// Takes an observation; whether the name is over with it.
    fn take(&mut self, at: Timestamp, what: Option<What<'_>>, chunk: i32, out: &mut Vec<Outcome>) -> bool {
        match (self.state, what) {
            (_, Some(What::Close)) => {
                self.over(End::Close, out);
                return true;
            }
            (State::Skipping, Some(What::Write(_) | What::WriteSegment(_) | What::EndOfMessage { .. })) => {
                self.state = State::Waiting;
            }
            (State::Skipping, Some(What::Dropped)) => {
                self.first_number -= 1;
                self.state = State::Waiting;
            }
            (State::Skipping, _) => {}
            (State::Waiting | State::Responding, Some(What::Read(_) | What::ReadSegment(_))) => {
                self.end_exchange(End::NextRequest, out);
                self.begin(at, chunk);
                self.reading(at, what);
            }
            (State::Reading, Some(What::Read(_) | What::ReadSegment(_))) => self.reading(at, what),
            (State::Responding, Some(What::Write(_) | What::WriteSegment(_))) => self.writing(at, what),
            (State::Reading | State::Responding, Some(What::SegmentEnd)) => {
                let Some(segments) = self.segments.take() else {
                    let connection = Arc::clone(&self.connection);
                    out.push(Outcome::Breaks(Breaks::SegmentEnd { connection, chunk }));
                    return false;
                };
                self.packet(at, &segments);
            }
            (State::Reading, Some(What::EndOfMessage { .. })) => {
                if self.segments.take().is_some() {
                    let connection = Arc::clone(&self.connection);
                    out.push(Outcome::Breaks(Breaks::OpenSegments { connection, chunk }));
                }
                self.exchange().complete = true;
                self.completed += 1;
                self.state = State::Responding;
            }
            (State::Reading, Some(What::Dropped)) => {
                self.end_exchange(End::Dropped, out);
                self.state = State::Waiting;
            }
            (State::Reading | State::Responding, Some(What::Exception(_))) => {
                self.end_exchange(End::Exception, out);
                self.state = State::Waiting;
            }
            // A connection may fail between two requests.
            (State::Waiting, Some(What::Exception(_))) => {}
            (state, what) => {
                let bytes = match what {
                    Some(What::Write(data) | What::WriteSegment(data)) => data.len(),
                    _ => 0,
                };
                let early = state == State::Reading && matches!(what, Some(What::Write(_) | What::WriteSegment(_)));
                let connection = Arc::clone(&self.connection);
                out.push(Outcome::Ignored(Ignored { connection, chunk, state, bytes, early }));
            }
        }
        false
    }

    fn begin(&mut self, at: Timestamp, chunk: i32) {
        self.state = State::Reading;
        self.exchange = Some(Box::new(Exchange {
            node: Arc::clone(&self.node),
            connection: Arc::clone(&self.connection),
            chunk,
            number: self.first_number + i64::from(self.completed),
            request: Vec::new(),
            reads: 0,
            response: None,
            writes: 0,
            complete: false,
            end: End::EndOfInput,
            read_first: at,
            read_last: at,
            write_first: None,
            write_last: None,
            cut_bytes: 0,
        }));
    }

    fn exchange(&mut self) -> &mut Exchange {
        self.exchange.as_mut().expect("a request that began is there until its exchange is over")
    }

    fn reading(&mut self, at: Timestamp, what: Option<What<'_>>) {
        self.exchange().read_last = at;
        match what {
            Some(What::Read(data)) => self.packet(at, data),
            Some(What::ReadSegment(data)) => self.segment(data),
            _ => unreachable!("only reads come here"),
        }
    }

    fn writing(&mut self, at: Timestamp, what: Option<What<'_>>) {
        let exchange = self.exchange();
        exchange.write_first.get_or_insert(at);
        exchange.write_last = Some(at);
        match what {
            Some(What::Write(data)) => self.packet(at, data),
            Some(What::WriteSegment(data)) => self.segment(data),
            _ => unreachable!("only writes come here"),
        }
    }

    fn segment(&mut self, data: &[u8]) {
        let mut segments = self.segments.take().unwrap_or_default();
        let cut = append(&mut segments, data);
        self.exchange().cut_bytes += cut;
        self.segments = Some(segments);
    }

    /// One whole read or write.
    fn packet(&mut self, at: Timestamp, data: &[u8]) {
        let reading = self.state == State::Reading;
        let exchange = self.exchange();
        if reading {
            exchange.reads += 1;
            exchange.read_last = at;
            exchange.cut_bytes += append(&mut exchange.request, data);
        } else {
            exchange.writes += 1;
            exchange.cut_bytes += append(exchange.response.get_or_insert_default(), data);
        }
    }

    fn end_exchange(&mut self, end: End, out: &mut Vec<Outcome>) {
        let segments = self.segments.take();
        if let Some(mut exchange) = self.exchange.take() {
            // What came of a request that never ended is shown with the segments that it was cut in.
            if !exchange.complete
                && let Some(segments) = segments
            {
                exchange.cut_bytes += append(&mut exchange.request, &segments);
            }
            exchange.end = end;
            out.push(Outcome::Exchange(exchange));
        }
    }

    fn over(&mut self, end: End, out: &mut Vec<Outcome>) {
        self.end_exchange(end, out);
        out.push(Outcome::Closed(Closed {
            node: Arc::clone(&self.node),
            connection: Arc::clone(&self.connection),
            first_number: self.first_number,
            requests: self.completed,
            end,
        }));
    }
}

/// Appends what has room; answers how many bytes had none.
fn append(to: &mut Vec<u8>, data: &[u8]) -> u64 {
    let fits = data.len().min(MESSAGE_BYTES_MAX - to.len());
    to.extend_from_slice(&data[..fits]);
    (data.len() - fits) as u64
}
