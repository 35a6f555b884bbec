//! What is asked of the target: one guard per outcome, each with its own tolerance.

use serde::{Deserialize, Serialize};

/// The outcome a guard looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardKind {
    /// Server errors (5XX and what the side failed to answer) against the source in the same block.
    Errors,
    /// Everything that is not 2XX or 3XX, against the source: the success ratio, seen from its other end.
    Success,
    /// Time to the first response byte, body and tail of its distribution, against the source.
    Latency,
    /// Time to the last response byte, against the source.
    Exchange,
    /// Server errors against the recorded baseline, counted only while the source is itself normal.
    Baseline,
}

/// One guard: what is looked at, and how much worse than its reference the target may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// What is looked at.
    pub kind: GuardKind,
    /// How many times the reference's share (or latency) is still as good as the reference: 1.10 is 10 % worse.
    pub ratio: f64,
    /// What may come on top of that, as a share of requests (0 to 1); 0 for latency.
    pub margin: f64,
    /// The guard's part of the risk of a false revert; the parts of all guards are brought to a sum of 1.
    pub weight: f64,
}

/// All guards of a policy, and what they have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guards {
    /// The guards, in the order of the policy file.
    pub guards: Vec<Guard>,
    /// The greatest chance, over a whole cutover, of reverting a target that is within tolerance (0.05).
    pub false_revert_max: f64,
    /// The fewest requests of the target on a step before any guard may pass.
    pub requests_min: u64,
}
