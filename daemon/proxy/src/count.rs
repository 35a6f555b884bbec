//! What happened, counted by each thread for itself and merged when somebody asks.
//!
//! A thread's [`Tally`] has one writer, so an update is a load and a store, never a locked instruction. A version
//! number around each update lets a reader take the whole tally as it was between two requests: a request is never
//! seen in its status and missing from its latency.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
    time::Duration,
};

use judge::{Counts, Histogram, histogram::BUCKETS};

use crate::{
    api::{ClientCounters, Counters, OwnCounters, SideCounters},
    class::Class,
};

/// One of the two sides, as an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SideName {
    /// The cluster that has the traffic.
    Source,
    /// The cluster that shall get it.
    Target,
}

impl SideName {
    /// Both, in the order of their indices.
    pub(crate) const BOTH: [Self; 2] = [Self::Source, Self::Target];

    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Source => Self::Target,
            Self::Target => Self::Source,
        }
    }

    /// As it is called in messages.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}

/// How a request of a side ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The side answered with this status.
    Answered(u16),
    /// The side failed.
    Failed(Failure),
    /// The client left before the side answered.
    Abandoned,
}

/// Why a side failed a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection.
    Connect,
    /// Connection lost, or the answer cut short.
    Reset,
    /// A time-out.
    Timeout,
    /// The answer was not HTTP.
    Protocol,
}

/// One request that ended, as the judge shall see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// Whose request it was.
    pub(crate) side: SideName,
    /// Its class.
    pub(crate) class: Class,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// Last request byte sent to first response byte, or the time waited; `None` when nothing was ever sent.
    pub(crate) latency: Option<Duration>,
    /// Last request byte sent to last response byte, or to the end.
    pub(crate) exchange: Option<Duration>,
    /// Whether it was first tried on the other side; then it is counted as `retried` and nowhere else.
    pub(crate) retried: bool,
}

/// Statuses of our own refusals; the last entry takes every other.
const REFUSALS: [u16; 16] = [400, 403, 405, 408, 411, 413, 414, 417, 421, 426, 431, 500, 501, 503, 505, 0];

/// A number with one writer and any reader.
#[derive(Debug, Default)]
pub(crate) struct Number(AtomicU64);

impl Number {
    fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    fn subtract(&self, less: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(less), Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Dense(Box<[Number]>);

impl Default for Dense {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| Number::default()).collect())
    }
}

impl Dense {
    fn record(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.0[usize::from(Histogram::bucket_of(micros))].add(1);
    }

    fn sparse(&self) -> Histogram {
        let mut histogram = Histogram::default();
        for (bucket, number) in (0_u16..).zip(&self.0) {
            histogram.add(bucket, number.value());
        }
        histogram
    }
}

#[derive(Debug, Default)]
struct ClassTally {
    status: [Number; 4],
    failed: Number,
    abandoned: Number,
    latency: Dense,
    exchange: Dense,
}

impl ClassTally {
    fn counts(&self) -> Counts {
        let [status_2xx, status_3xx, status_4xx, status_5xx] = [0, 1, 2, 3].map(|at| self.status[at].value());
        let (failed, abandoned) = (self.failed.value(), self.abandoned.value());
        Counts {
            requests: status_2xx + status_3xx + status_4xx + status_5xx + failed + abandoned,
            status_2xx,
            status_3xx,
            status_4xx,
            status_5xx,
            failed,
            abandoned,
            latency: self.latency.sparse(),
            exchange: self.exchange.sparse(),
        }
    }
}

/// What one thread counts for one side.
#[derive(Debug, Default)]
struct SideTally {
    classes: [ClassTally; 2],
    retried: Number,
    failed: [Number; 4],
    upgraded: Number,
    bytes_sent: Number,
    bytes_received: Number,
    connections_new: Number,
    connections_open: Number,
    in_flight: Number,
    /// Requests that wait for their first response byte now, by how long; written each tick.
    waiting: Dense,
}

/// Everything one thread counts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Odd while the owner writes.
    version: AtomicU32,
    sides: [SideTally; 2],
    refused: [Number; REFUSALS.len()],
    probes: Number,
    incomplete: Number,
    connections_new: Number,
    connections_open: Number,
    connections_refused: Number,
    tls_failed: Number,
    reuse: [Number; 5],
}

/// How often a reader tries to see a tally between two updates before it takes what it sees; an update is some tens of
/// nanoseconds, so more than a few attempts mean that the writing thread was put to sleep in the middle.
const READ_ATTEMPTS_MAX: u32 = 64;

impl Tally {
    /// Runs an update that a reader sees whole or not at all. Only the owning thread may call it.
    fn update(&self, update: impl FnOnce()) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        update();
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    fn read<T>(&self, read: impl Fn() -> T) -> T {
        for _ in 0..READ_ATTEMPTS_MAX {
            let before = self.version.load(Ordering::Acquire);
            let value = read();
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && before == self.version.load(Ordering::Relaxed) {
                return value;
            }
            std::thread::yield_now();
        }
        read()
    }

    /// A request of a side ended.
    pub(crate) fn ended(&self, ended: &Ended) {
        let side = &self.sides[ended.side as usize];
        if ended.retried {
            side.retried.add(1);
            return;
        }
        let class = &side.classes[ended.class as usize];
        self.update(|| {
            match ended.outcome {
                Outcome::Answered(status) => class.status[status_class(status)].add(1),
                Outcome::Failed(failure) => {
                    class.failed.add(1);
                    side.failed[failure as usize].add(1);
                }
                Outcome::Abandoned => class.abandoned.add(1),
            }
            if let Some(latency) = ended.latency {
                class.latency.record(latency);
            }
            if let Some(exchange) = ended.exchange {
                class.exchange.record(exchange);
            }
        });
    }

    /// A request was given to a side.
    pub(crate) fn began(&self, side: SideName) {
        self.sides[side as usize].in_flight.add(1);
    }

    /// A request that was given to a side is over, however it ended.
    pub(crate) fn over(&self, side: SideName) {
        self.sides[side as usize].in_flight.subtract(1);
    }

    /// A connection became a tunnel.
    pub(crate) fn upgraded(&self, side: SideName) {
        self.sides[side as usize].upgraded.add(1);
    }

    /// Bytes of requests went to a side.
    pub(crate) fn sent(&self, side: SideName, bytes: usize) {
        self.sides[side as usize].bytes_sent.add(bytes as u64);
    }

    /// Bytes of responses came from a side.
    pub(crate) fn received(&self, side: SideName, bytes: usize) {
        self.sides[side as usize].bytes_received.add(bytes as u64);
    }

    /// An upstream connection was opened.
    pub(crate) fn upstream_opened(&self, side: SideName) {
        self.sides[side as usize].connections_new.add(1);
        self.sides[side as usize].connections_open.add(1);
    }

    /// An upstream connection was closed.
    pub(crate) fn upstream_closed(&self, side: SideName) {
        self.sides[side as usize].connections_open.subtract(1);
    }

    /// How long the requests that wait for a side have waited by now.
    pub(crate) fn waiting(&self, side: SideName, waited: impl Iterator<Item = Duration>) {
        let waiting = &self.sides[side as usize].waiting;
        self.update(|| {
            for number in &waiting.0 {
                number.0.store(0, Ordering::Relaxed);
            }
            for waited in waited {
                waiting.record(waited);
            }
        });
    }

    /// We refused a request.
    pub(crate) fn refused(&self, status: u16) {
        let at = REFUSALS.iter().position(|&known| known == status).unwrap_or(REFUSALS.len() - 1);
        self.refused[at].add(1);
    }

    /// A health probe of a load balancer, or a request for our own health, was answered.
    pub(crate) fn probe(&self) {
        self.probes.add(1);
    }

    /// A client left before its request was whole.
    pub(crate) fn incomplete(&self) {
        self.incomplete.add(1);
    }

    /// A client connected.
    pub(crate) fn client_opened(&self) {
        self.connections_new.add(1);
        self.connections_open.add(1);
    }

    /// A client's connection is over.
    pub(crate) fn client_closed(&self) {
        self.connections_open.subtract(1);
    }

    /// A client was turned away.
    pub(crate) fn client_refused(&self) {
        self.connections_refused.add(1);
    }

    /// A TLS handshake with a client failed.
    pub(crate) fn tls_failed(&self) {
        self.tls_failed.add(1);
    }

    /// A request came after `before` others on its connection.
    pub(crate) fn reuse(&self, before: u64) {
        let at = match before {
            0 => 0,
            1 => 1,
            2..=9 => 2,
            10..=99 => 3,
            _ => 4,
        };
        self.reuse[at].add(1);
    }

    /// Adds this thread's counts to what other threads counted.
    pub(crate) fn add_to(&self, counters: &mut Counters) {
        self.read(|| self.sides.each_ref().map(|side| side.classes.each_ref().map(ClassTally::counts)))
            .into_iter()
            .zip([&mut counters.source, &mut counters.target])
            .for_each(|([reads, writes], side)| {
                side.reads.merge(&reads);
                side.writes.merge(&writes);
            });
        for (ours, all) in self.sides.iter().zip([&mut counters.source, &mut counters.target]) {
            ours.add_to(all);
        }
        let own = &mut counters.we;
        for (status, number) in REFUSALS.iter().zip(&self.refused) {
            if number.value() > 0 {
                *own.refused.entry(*status).or_default() += number.value();
            }
        }
        own.probes += self.probes.value();
        own.incomplete += self.incomplete.value();
        let clients = &mut counters.clients;
        clients.connections_new += self.connections_new.value();
        clients.connections_open += self.connections_open.value();
        clients.connections_refused += self.connections_refused.value();
        clients.tls_failed += self.tls_failed.value();
        for (all, number) in clients.requests_by_reuse.iter_mut().zip(&self.reuse) {
            *all += number.value();
        }
    }

    /// Adds what the tripwires look at.
    pub(crate) fn add_to_glance(&self, glance: &mut [Glance; 2]) {
        let (classes, waiting) = self.read(|| {
            (
                self.sides.each_ref().map(|side| side.classes.each_ref().map(ClassTally::counts)),
                self.sides.each_ref().map(|side| side.waiting.sparse()),
            )
        });
        for (((all, classes), waiting), side) in glance.iter_mut().zip(classes).zip(waiting).zip(&self.sides) {
            for counts in classes {
                all.requests += counts.requests;
                all.errors += counts.errors();
                all.abandoned += counts.abandoned;
                all.latency.merge(&counts.latency);
            }
            all.timeouts += side.failed[Failure::Timeout as usize].value();
            all.waiting.merge(&waiting);
        }
    }
}

/// What a tripwire looks at: cumulative counts of one side, over all threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Glance {
    /// Requests that ended.
    pub(crate) requests: u64,
    /// Those with a 5XX of the side, or failed by it.
    pub(crate) errors: u64,
    /// Those whose client left.
    pub(crate) abandoned: u64,
    /// Those that timed out.
    pub(crate) timeouts: u64,
    /// Time to the first byte.
    pub(crate) latency: Histogram,
    /// Not cumulative: how long the requests without a first byte have waited by now.
    pub(crate) waiting: Histogram,
}

impl SideTally {
    fn add_to(&self, all: &mut SideCounters) {
        let [connect, reset, timeout, protocol] = self.failed.each_ref().map(Number::value);
        for (all, ours) in [
            (&mut all.retried, self.retried.value()),
            (&mut all.failed_connect, connect),
            (&mut all.failed_reset, reset),
            (&mut all.failed_timeout, timeout),
            (&mut all.failed_protocol, protocol),
            (&mut all.upgraded, self.upgraded.value()),
            (&mut all.bytes_sent, self.bytes_sent.value()),
            (&mut all.bytes_received, self.bytes_received.value()),
            (&mut all.connections_new, self.connections_new.value()),
            (&mut all.connections_open, self.connections_open.value()),
            (&mut all.in_flight, self.in_flight.value()),
        ] {
            *all = all.saturating_add(ours);
        }
    }
}

/// Index of a status in a class tally: 101 counts as a success, anything past 599 as a server error.
fn status_class(status: u16) -> usize {
    match status {
        0..=299 => 0,
        300..=399 => 1,
        400..=499 => 2,
        _ => 3,
    }
}

/// Everything counted by all threads.
pub(crate) fn merged<'a>(
    tallies: impl IntoIterator<Item = &'a Tally>,
    instance: &str,
    at_millis: i64,
    fired: u64,
) -> Counters {
    let mut counters = Counters {
        instance: instance.to_owned(),
        at_millis,
        we: OwnCounters { refused: BTreeMap::new(), fired, ..OwnCounters::default() },
        clients: ClientCounters::default(),
        ..Counters::default()
    };
    for tally in tallies {
        tally.add_to(&mut counters);
    }
    counters
}
