//! What both sides did in one block of time, as counts.

use serde::{Deserialize, Serialize};

use crate::Histogram;

/// One of the two clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The cluster that has the traffic.
    Source,
    /// The cluster that shall get it.
    Target,
}

/// How the requests of one side ended, in one block. Each request is in exactly one of the outcome fields.
///
/// `requests` is the denominator of every guard: what the side answered plus what it failed to answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Requests that belong to this side.
    pub requests: u64,
    /// Answers with a status from 200 to 299 (and 101).
    pub status_2xx: u64,
    /// Answers with a status from 300 to 399.
    pub status_3xx: u64,
    /// Answers with a status from 400 to 499.
    pub status_4xx: u64,
    /// Answers with a status from 500 to 599 that the side itself gave.
    pub status_5xx: u64,
    /// Requests the side failed: no connection, a reset, a cut answer, a time-out; whatever was answered in its stead.
    pub failed: u64,
    /// Requests whose client left before the side answered.
    pub abandoned: u64,
    /// Last request byte sent to first response byte; abandoned and timed-out requests are in it at the time waited.
    pub latency: Histogram,
    /// Last request byte sent to last response byte; the same of those that never ended.
    pub exchange: Histogram,
}

impl Counts {
    /// Server errors: 5XX of the side, and what it failed to answer.
    pub fn errors(&self) -> u64 {
        self.status_5xx.saturating_add(self.failed)
    }

    /// Everything that is not 2XX or 3XX; abandoned requests are not among them.
    pub fn bad(&self) -> u64 {
        self.errors().saturating_add(self.status_4xx)
    }

    /// Client errors: 4XX.
    pub fn client_errors(&self) -> u64 {
        self.status_4xx
    }

    /// Redirects: 3XX, "not modified" among them.
    pub fn redirects(&self) -> u64 {
        self.status_3xx
    }

    /// Answers with 2XX.
    pub fn answered(&self) -> u64 {
        self.status_2xx
    }

    /// Forgets everything but keeps the room, so that counting anew needs no new memory.
    pub fn clear(&mut self) {
        let (mut latency, mut exchange) = (std::mem::take(&mut self.latency), std::mem::take(&mut self.exchange));
        latency.clear();
        exchange.clear();
        *self = Self { latency, exchange, ..Self::default() };
    }

    /// What cannot be about these counts, as half a sentence; `None` when they can be.
    pub fn contradiction(&self) -> Option<String> {
        let outcomes =
            [self.status_2xx, self.status_3xx, self.status_4xx, self.status_5xx, self.failed, self.abandoned];
        let ended: u128 = outcomes.iter().map(|&count| u128::from(count)).sum();
        (ended > u128::from(self.requests))
            .then(|| format!("{ended} requests ended where only {} were counted", self.requests))
    }

    /// Adds every count of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (ours, theirs) in [
            (&mut self.requests, other.requests),
            (&mut self.status_2xx, other.status_2xx),
            (&mut self.status_3xx, other.status_3xx),
            (&mut self.status_4xx, other.status_4xx),
            (&mut self.status_5xx, other.status_5xx),
            (&mut self.failed, other.failed),
            (&mut self.abandoned, other.abandoned),
        ] {
            *ours = ours.saturating_add(theirs);
        }
        self.latency.merge(&other.latency);
        self.exchange.merge(&other.exchange);
    }

    /// What happened since `earlier`, or `None` when a count ran backwards (the counter was reset).
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        Some(Self {
            requests: self.requests.checked_sub(earlier.requests)?,
            status_2xx: self.status_2xx.checked_sub(earlier.status_2xx)?,
            status_3xx: self.status_3xx.checked_sub(earlier.status_3xx)?,
            status_4xx: self.status_4xx.checked_sub(earlier.status_4xx)?,
            status_5xx: self.status_5xx.checked_sub(earlier.status_5xx)?,
            failed: self.failed.checked_sub(earlier.failed)?,
            abandoned: self.abandoned.checked_sub(earlier.abandoned)?,
            latency: self.latency.since(&earlier.latency)?,
            exchange: self.exchange.since(&earlier.exchange)?,
        })
    }
}

/// Both sides in the same block of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Block {
    /// How long the block is, in milliseconds.
    pub millis: u64,
    /// The source's counts.
    pub source: Counts,
    /// The target's counts.
    pub target: Counts,
}
