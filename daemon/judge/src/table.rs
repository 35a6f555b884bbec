//! What the evidence is made from: one block of both sides as tables of counts, and what was normal before.

use serde::{Deserialize, Serialize};

use crate::dispersion::Phi;
use crate::evidence::Pair;
use crate::latency::{Bins, Shape};

/// What was normal for the source, as numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normal {
    /// Share of errors.
    pub errors: f64,
    /// The most that the share of errors may really have been, at 95 %: what the target is held to. A short record
    /// that happens to hold no error must not make one error of the target a regression.
    pub errors_high: f64,
    /// Share of answers that are not 2XX or 3XX.
    pub bad: f64,
    /// Share of client errors.
    pub client_errors: f64,
    /// Share of redirects.
    pub redirects: f64,
    /// Requests a minute.
    pub requests: f64,
    /// Dispersion of errors.
    pub errors_phi: Phi,
    /// Dispersion of bad answers.
    pub bad_phi: Phi,
    /// Dispersion of client errors.
    pub client_errors_phi: Phi,
    /// Dispersion of redirects.
    pub redirects_phi: Phi,
    /// Dispersion of answers above the median, 90 % and 99 % quantile.
    pub latency_phi: [Phi; 3],
    /// The same of whole exchanges.
    pub exchange_phi: [Phi; 3],
    /// Share of answers above the buckets of the median, 90 % and 99 % quantile: at most 0.5, 0.1 and 0.01.
    pub latency_slow: [f64; 3],
    /// The same of whole exchanges.
    pub exchange_slow: [f64; 3],
    /// Whether it stands on enough to judge the target by.
    pub trusted: bool,
}

/// One block's latencies (or exchanges), binned.
#[derive(Clone, Copy, Debug)]
pub struct Latencies<'a> {
    /// The reference and the alternatives that the bins belong to.
    pub shape: &'a Shape,
    /// The target's bins, their edges moved up by the tolerance of the guard on all of them.
    pub target: Bins,
    /// The same for the guards on body, tail, slow answers and steadiness, which have tolerances of their own; without
    /// bins where the policy has no such guard.
    pub target_parts: [Bins; 4],
    /// The source's bins.
    pub source: Bins,
    /// Both sides' answers above the reference's median, 90 % and 99 % quantile.
    pub slow: [Pair; 3],
    /// The same, with the target's edges moved up by what the gate to the next step tolerates.
    pub over: [Pair; 3],
}

/// One block as tables.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// How long the block is, in milliseconds; above 0.
    pub millis: u64,
    /// Whether a step begins with it.
    pub new_step: bool,
    /// The target's weight after the next step, 0 to 1.
    pub next_weight: f64,
    /// Whether the source serves at all; if not, the baseline judges without asking whether the source is normal.
    pub source_live: bool,
    /// Errors of both sides.
    pub errors: Pair,
    /// Bad answers of both sides.
    pub bad: Pair,
    /// Client errors of both sides.
    pub client_errors: Pair,
    /// Redirects of both sides.
    pub redirects: Pair,
    /// Time to the first byte, when there is a reference shape.
    pub latency: Option<Latencies<'a>>,
    /// Time to the last byte, when there is a reference shape.
    pub exchange: Option<Latencies<'a>>,
}
