//! One cutover's judge: blocks in, a judgement out.

use serde::{Deserialize, Serialize};

use crate::{Baseline, Block, GuardKind, GuardVerdict, Guards, Judgement, Reference, Verdict};

/// What the counts alone do not say about a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Whether the block is the first of its step. A step judged again after a hold or a restart is no new step; one
    /// that was left and climbed again is.
    pub new_step: bool,
    /// The target's weight while the block was counted, in per mille of this class of traffic (0 to 1000).
    pub weight: u16,
    /// The weight of the step that would come next, in per mille; `None` on the last judged step, whose own weight
    /// then stands in.
    pub next_weight: Option<u16>,
    /// Whether the source served clients in this block. `false` where its counts are but probes or left-overs (at a
    /// weight of 1000): it is then no reference.
    pub source_live: bool,
}

/// The judge of one cutover and one class of traffic.
///
/// Its state is a few kilobytes whatever the length of the cutover, and serializes: written after a block and read
/// back, it goes on exactly. Reads and writes that are shifted at different weights need a judge each, with a part of
/// `false_revert_max` each, because only requests that were split by one weight can be compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Judge {
    guards: Guards,
    baseline: Baseline,
    steps: u32,
}

impl Judge {
    /// A judge that has seen nothing. `steps` is how many steps the ladder has: they share the evidence's head start.
    pub fn new(guards: Guards, baseline: Baseline, steps: u32) -> Self {
        Self { guards, baseline, steps }
    }

    /// Takes the next block, of any length from 1 to 60 s, each exactly once and in order of time.
    pub fn observe(&mut self, block: &Block, context: &Context) {
        let _ = (block, context);
    }

    /// What is proven after the last block.
    pub fn verdict(&self) -> Judgement {
        let max = 1.0 / self.guards.false_revert_max;
        Judgement {
            verdict: Verdict::Unknown,
            guards: self
                .guards
                .guards
                .iter()
                .map(|guard| GuardVerdict {
                    guard: guard.kind,
                    verdict: Verdict::Unknown,
                    on: guard.kind != GuardKind::Baseline || !self.baseline.is_thin(),
                    reference: Reference::Source,
                    reference_value: None,
                    target_value: None,
                    bound: None,
                    reference_requests: 0,
                    target_requests: 0,
                    evidence: 1.0,
                    evidence_max: max,
                    requests_missing: None,
                    sentence: String::from("nothing judged yet"),
                })
                .collect(),
            evidence: 1.0,
            evidence_max: max,
            p_value: 1.0,
            judged_millis: 0,
            alarms: Vec::new(),
        }
    }
}
