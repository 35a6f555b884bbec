//! The interval counted last in a few numbers a side: what a screen shows as "now".
//!
//! The judge's figures are sums over a whole step; they move slowly, as evidence should. Whoever asks whether it is
//! getting worse looks at the last interval and at the ones before it. Nothing is decided by these numbers.

use cutover::{Observation, Window};
use judge::{Counts, Side};
use serde::{Deserialize, Serialize};

/// One counted interval, side by side, reads and writes together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lately {
    /// Which interval.
    pub window: Window,
    /// The source.
    pub source: Figures,
    /// The target.
    pub target: Figures,
}

/// What one side did in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Requests that ended.
    pub requests: u64,
    /// Requests a second.
    pub rate: f64,
    /// The share (0 to 1) of them that the side failed; `None` without requests.
    pub errors: Option<f64>,
    /// The median time to the first byte, in milliseconds; `None` without requests.
    pub p50_millis: Option<f64>,
    /// The 99th percentile of that time, in milliseconds.
    pub p99_millis: Option<f64>,
}

impl Lately {
    /// The figures of an observation.
    pub fn new(observation: &Observation) -> Self {
        let figures = |side| {
            let of = |block: &judge::Block| match side {
                Side::Source => block.source.clone(),
                Side::Target => block.target.clone(),
            };
            let mut counts = of(&observation.reads);
            counts.merge(&of(&observation.writes));
            Figures::new(&counts, observation.window.length().as_secs_f64())
        };
        Self { window: observation.window, source: figures(Side::Source), target: figures(Side::Target) }
    }
}

impl Figures {
    fn new(counts: &Counts, seconds: f64) -> Self {
        let millis = |q| counts.latency.quantile_micros(q).map(|micros| micros / 1000.0);
        Self {
            requests: counts.requests,
            rate: if seconds > 0.0 { counts.requests as f64 / seconds } else { 0.0 },
            errors: (counts.requests > 0).then(|| counts.errors() as f64 / counts.requests as f64),
            p50_millis: millis(0.5),
            p99_millis: millis(0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use cutover::Timestamp;
    use judge::Block;

    use super::*;

    /// Proves that reads and writes are added up, that rates are a second's, and that a side without requests has no
    /// share of errors instead of a good one.
    #[test]
    fn an_interval_in_figures() {
        let mut target = Counts { requests: 30, status_2xx: 27, status_5xx: 3, ..Counts::default() };
        target.latency.record(8_000, 30);
        let block = Block { millis: 2000, source: Counts::default(), target };
        let window = Window { from: Timestamp(0), to: Timestamp(2000) };
        let lately = Lately::new(&Observation { window, reads: block.clone(), writes: block });
        assert_eq!((lately.target.requests, lately.target.rate, lately.target.errors), (60, 30.0, Some(0.1)));
        assert!((7.5..8.5).contains(&lately.target.p99_millis.unwrap()), "{lately:?}");
        assert_eq!((lately.source.requests, lately.source.errors, lately.source.p50_millis), (0, None, None));
    }
}
