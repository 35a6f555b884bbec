//! The service behind the balancer: how many requests come, where they go, how they end.

use cutover::{Share, Weight};
use fastrand::Rng;
use judge::{Block, Counts};

/// How a side is doing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Health {
    /// As ever.
    Good,
    /// This share of its answers are server errors.
    Failing(f64),
    /// Its latency is this many times what it was.
    Slow(f64),
    /// It never gets a request, whatever the weight.
    Silent,
}

impl Health {
    /// The share of requests that fail, on top of what always fails.
    pub fn failing(self) -> f64 {
        match self {
            Self::Failing(share) => share,
            Self::Good | Self::Slow(_) | Self::Silent => 0.0,
        }
    }
}

/// How the world's clients use the service.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Reads a second.
    pub reads: f64,
    /// Writes a second.
    pub writes: f64,
    /// The share of requests that fail on a healthy side.
    pub errors: f64,
}

/// Latency of a healthy side: microseconds and the share of requests that take that long.
const LATENCY: [(u64, f64); 5] = [(20_000, 0.30), (40_000, 0.35), (80_000, 0.25), (160_000, 0.085), (500_000, 0.015)];

/// A number of events from a mean.
pub fn poisson(rng: &mut Rng, mean: f64) -> u64 {
    if mean <= 0.0 {
        return 0;
    }
    if mean < 30.0 {
        let limit = (-mean).exp();
        let mut product = rng.f64();
        let mut events = 0;
        while product > limit {
            product *= rng.f64();
            events += 1;
        }
        return events;
    }
    (mean + mean.sqrt() * normal(rng)).round().max(0.0) as u64
}

/// A draw from the standard normal distribution (Box and Muller).
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// How many of `n` when each is in with a chance of `share`.
fn binomial(rng: &mut Rng, n: u64, share: f64) -> u64 {
    let mean = n as f64 * share;
    if n < 40 {
        return (0..n).filter(|_| rng.f64() < share).count() as u64;
    }
    let drawn = if mean < 30.0 {
        poisson(rng, mean)
    } else if n as f64 - mean < 30.0 {
        n.saturating_sub(poisson(rng, n as f64 - mean))
    } else {
        (mean + (mean * (1.0 - share)).sqrt() * normal(rng)).round().max(0.0) as u64
    };
    drawn.min(n)
}

/// One side's counts of `requests` requests.
fn side(rng: &mut Rng, requests: u64, health: Health, errors: f64) -> Counts {
    let failing = (errors + health.failing()).min(1.0);
    let bad = binomial(rng, requests, failing);
    let failed = if bad > 0 { bad / 3 } else { 0 };
    let factor = if let Health::Slow(factor) = health { factor } else { 1.0 };
    let mut counts =
        Counts { requests, status_2xx: requests - bad, status_5xx: bad - failed, failed, ..Counts::default() };
    let mut left = requests;
    let mut share_left = 1.0;
    for (micros, share) in LATENCY {
        let here = if share_left <= share { left } else { binomial(rng, left, share / share_left) };
        left -= here;
        share_left -= share;
        let micros = (micros as f64 * factor) as u64;
        counts.latency.record(micros, here);
        counts.exchange.record(micros * 2, here);
    }
    counts
}

/// What both sides did with one class of requests in `seconds`, at a constant share and health.
fn class(rng: &mut Rng, rate: f64, seconds: f64, weight: Weight, errors: f64, source: Health, target: Health) -> Block {
    let all = poisson(rng, rate * seconds);
    let to_target = binomial(rng, all, weight.fraction());
    let to_target = if target == Health::Silent { 0 } else { to_target };
    let to_source = if source == Health::Silent { 0 } else { all - binomial(rng, all, weight.fraction()).min(all) };
    let to_source = if weight == Weight::ALL { 0 } else { to_source };
    Block {
        millis: (seconds * 1000.0) as u64,
        source: side(rng, to_source, source, errors),
        target: side(rng, to_target, target, errors),
    }
}

/// What both sides did with reads and with writes in `seconds`, at a constant share and health.
pub fn count(rng: &mut Rng, load: Load, seconds: f64, share: Share, source: Health, target: Health) -> (Block, Block) {
    (
        class(rng, load.reads, seconds, share.reads, load.errors, source, target),
        class(rng, load.writes, seconds, share.writes, load.errors, source, target),
    )
}

/// Adds `more` to `block`.
pub fn merge(block: &mut Block, more: &Block) {
    block.millis += more.millis;
    block.source.merge(&more.source);
    block.target.merge(&more.target);
}
