//! What the evidence proves.

use serde::{Deserialize, Serialize};

use crate::GuardKind;

/// What the evidence proves. Unknown is never a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The target is shown to be no worse than the tolerance allows.
    Pass,
    /// The target is shown to be worse than the tolerance allows.
    Fail,
    /// Neither is shown yet.
    Unknown,
}

/// What the target was compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// The source in the same block of time.
    Source,
    /// The source's own record from before the shift.
    Baseline,
}

/// One guard's verdict with the numbers behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuardVerdict {
    /// Which guard.
    pub guard: GuardKind,
    /// What is proven.
    pub verdict: Verdict,
    /// What the target was compared with.
    pub reference: Reference,
    /// The reference's figure on this step: a share of requests (0 to 1), or milliseconds for latency and exchange.
    pub reference_value: Option<f64>,
    /// The target's figure on this step, in the same unit.
    pub target_value: Option<f64>,
    /// What the target's figure may be at most, in the same unit.
    pub bound: Option<f64>,
    /// How many requests of the reference it stands on.
    pub reference_requests: u64,
    /// How many requests of the target it stands on.
    pub target_requests: u64,
    /// Evidence against the target as a factor: 1 is none; at `evidence_max` the cutover reverts.
    pub evidence: f64,
    /// Where the cutover reverts (20 at a false-revert chance of 5 %).
    pub evidence_max: f64,
    /// About how many more requests of the target the next verdict needs; `None` when it has one or nobody can say.
    pub requests_missing: Option<u64>,
    /// All of it in one sentence for a person.
    pub sentence: String,
}
