//! Numbers at two speeds: a slow source that is complete, and beside it the counters of our own proxies behind both sides,
//! for the tripwires.
//!
//! Behind a load balancer's target group a proxy serves one cluster, so all of its requests are of the side that it is named
//! under. Of a fleet some may be out of reach; those that are read stand for the rest, since a load balancer gives each the
//! same (the fleet's checks name the others). Nothing of it reaches the judge.

use std::sync::Arc;
use std::time::Duration;

use cutover::event::{Check, Observation};
use cutover::{Timestamp, Window};
use judge::Block;

use super::MetricSource;
use super::proxy::ProxyCounters;
use crate::clock::Clock;
use crate::port::{Answer, PortError};
use crate::proxies::Proxies;

/// A slow source with fast counts beside it.
pub struct TwoSpeeds {
    slow: Arc<dyn MetricSource>,
    source: ProxyCounters,
    target: ProxyCounters,
}

impl TwoSpeeds {
    /// Begins to read the counters of the proxies behind both sides. Must be called within a runtime.
    pub fn new(slow: Arc<dyn MetricSource>, source: Proxies, target: Proxies, clock: &Clock) -> Self {
        let counters = |proxies: Proxies| ProxyCounters::new(proxies, clock.clone());
        Self { slow, source: counters(source), target: counters(target) }
    }

    fn look(&self, now: Timestamp, length: Duration) -> Result<Observation, PortError> {
        // Both are read as often, so the windows of the two lie within one reading of each other.
        let (source, _) = self.source.known(now, length)?;
        let (target, window) = self.target.known(now, length)?;
        let millis = u64::try_from(window.length().as_millis()).unwrap_or(u64::MAX);
        let reads = Block { millis, ..Block::default() };
        Ok(Observation { window, reads, writes: Block { millis, source, target } })
    }
}

impl MetricSource for TwoSpeeds {
    fn observe(&self, window: Window) -> Answer<'_, Observation> {
        self.slow.observe(window)
    }

    fn glance(&self, now: Timestamp, length: Duration) -> Answer<'_, Observation> {
        let answer = self.look(now, length);
        Box::pin(async move { answer })
    }

    fn history(&self, window: Window, every: Duration) -> Answer<'_, Vec<Observation>> {
        self.slow.history(window, every)
    }

    fn survey(&self) -> Answer<'_, Vec<Check>> {
        self.slow.survey()
    }

    fn lag(&self) -> Answer<'_, Vec<Check>> {
        self.slow.lag()
    }
}

/// A slow source with the counters of our own proxies beside it, each of which has both sides.
pub struct Beside {
    slow: Arc<dyn MetricSource>,
    fast: ProxyCounters,
}

impl Beside {
    /// Begins to read the counters of `proxies`. Must be called within a runtime.
    pub fn new(slow: Arc<dyn MetricSource>, proxies: Proxies, clock: &Clock) -> Self {
        Self { slow, fast: ProxyCounters::new(proxies, clock.clone()) }
    }
}

impl MetricSource for Beside {
    fn observe(&self, window: Window) -> Answer<'_, Observation> {
        self.slow.observe(window)
    }

    fn glance(&self, now: Timestamp, length: Duration) -> Answer<'_, Observation> {
        self.fast.glance(now, length)
    }

    fn history(&self, window: Window, every: Duration) -> Answer<'_, Vec<Observation>> {
        self.slow.history(window, every)
    }

    fn survey(&self) -> Answer<'_, Vec<Check>> {
        self.slow.survey()
    }
}
