//! One counted interval with its counts and verdicts: what the dossier's charts and numbers come from.

use cutover::{Cutover, Observation, Share, Timestamp};
use judge::GuardVerdict;
use serde::{Deserialize, Serialize};

/// The most intervals kept of one cutover: eleven days of intervals of ten seconds. The newest are kept.
pub const SAMPLES_MAX: u32 = 100_000;

/// One counted interval with what was wanted, read and proven at its end.
///
/// Taken after `decide` has answered an `Observed` event, so that evidence and counts belong together; stored beside
/// the journal, so that every number in a dossier can be computed again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The counts of the interval, both sides.
    pub observation: Observation,
    /// The share that was wanted.
    pub desired: Share,
    /// What the balancer had said last.
    pub configured: Option<Share>,
    /// Evidence against the target over all guards, as a factor; `None` before anything was judged.
    pub evidence: Option<f64>,
    /// Where that factor reverts.
    pub evidence_max: Option<f64>,
    /// The verdict of each guard after the interval; empty before anything was judged.
    pub guards: Vec<GuardVerdict>,
}

impl Sample {
    /// The sample of an interval, from the cutover as it is after the interval was answered.
    pub fn new(observation: Observation, after: &Cutover) -> Self {
        let judgement = after.evidence.judgement.as_ref();
        Self {
            observation,
            desired: after.desired,
            configured: after.configured.as_ref().map(|reading| reading.share),
            evidence: judgement.map(|judgement| judgement.evidence),
            evidence_max: judgement.map(|judgement| judgement.evidence_max),
            guards: judgement.map(|judgement| judgement.guards.clone()).unwrap_or_default(),
        }
    }

    /// When the interval ended.
    pub fn at(&self) -> Timestamp {
        self.observation.window.to
    }

    /// Both classes of one side together.
    pub fn side(&self, side: judge::Side) -> judge::Counts {
        let of = |block: &judge::Block| match side {
            judge::Side::Source => block.source.clone(),
            judge::Side::Target => block.target.clone(),
        };
        let mut both = of(&self.observation.reads);
        both.merge(&of(&self.observation.writes));
        both
    }

    /// The target's share of the requests; `None` without any.
    pub fn observed(&self) -> Option<f64> {
        let target = self.side(judge::Side::Target).requests;
        let both = target + self.side(judge::Side::Source).requests;
        (both > 0).then(|| target as f64 / both as f64)
    }
}
