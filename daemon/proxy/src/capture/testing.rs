//! A serving thread for tests: one outlet, polled until what was sent has its outcome.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{Breaker, Buffers, Capture, Entry, Outcome, Outlet, Refused, Reopen, Sink, Verdict};
use crate::clock;

/// Longer than any test may take; it is only there to end one that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Bench {
    pub(crate) capture: Capture,
    pub(crate) outlet: Outlet,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) home: Buffers,
    runtime: tokio::runtime::Runtime,
    tag: u64,
}

impl Bench {
    pub(crate) fn new(sink: Arc<dyn Sink>, reopen: Reopen) -> Self {
        Self::with_budget(sink, reopen, super::BUDGET_BYTES)
    }

    pub(crate) fn with_budget(sink: Arc<dyn Sink>, reopen: Reopen, budget_bytes: usize) -> Self {
        let breaker = Arc::new(Breaker::new(reopen));
        let capture = Capture::new(sink, Arc::clone(&breaker), budget_bytes);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let home = Buffers::default();
        Self { outlet: capture.outlet(home.clone()), capture, breaker, home, runtime, tag: 0 }
    }

    /// Sends a record; answers its tag.
    pub(crate) fn send(&mut self, key: &str, value: Vec<u8>) -> Result<u64, Refused> {
        let life = self.outlet.life();
        self.send_in(life, key, value)
    }

    /// Sends a record of a stream that began in that life of the log.
    pub(crate) fn send_in(&mut self, life: u64, key: &str, value: Vec<u8>) -> Result<u64, Refused> {
        let now = clock::now();
        self.tag += 1;
        let entry = Entry { key: key.into(), life, value, tag: self.tag };
        self.outlet.send(entry, now).map_err(|returned| returned.why)?;
        Ok(self.tag)
    }

    /// The next batch of outcomes.
    pub(crate) fn outcomes(&mut self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let outlet = &mut self.outlet;
        let polled = poll_fn(|cx| outlet.poll_outcomes(cx, clock::now(), &mut outcomes));
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, polled).await }).expect("an outcome comes");
        outcomes
    }

    /// The outcomes of the next `count` records.
    pub(crate) fn next_outcomes(&mut self, count: usize) -> Vec<Outcome> {
        let mut all = Vec::new();
        while all.len() < count {
            all.append(&mut self.outcomes());
        }
        assert_eq!(all.len(), count, "each record has one outcome");
        all
    }

    /// What is there without waiting.
    pub(crate) fn ready(&mut self) -> Option<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        let cx = Context::from_waker(Waker::noop());
        match self.outlet.poll_outcomes(&cx, clock::now(), &mut outcomes) {
            Poll::Ready(()) => Some(outcomes),
            Poll::Pending => None,
        }
    }

    /// Sends a record and waits until it is safe.
    pub(crate) fn safe(&mut self, key: &str, value: Vec<u8>) {
        let tag = self.send(key, value).unwrap();
        let outcomes = self.next_outcomes(1);
        assert_eq!(outcomes, [Outcome { key: key.into(), tag, verdict: Verdict::Safe }]);
    }

    /// Flushes with nothing under way.
    pub(crate) fn flush(&mut self) {
        assert!(self.capture.flush(clock::now() + PATIENCE));
    }
}
