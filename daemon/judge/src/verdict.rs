//! What the evidence proves.

use serde::{Deserialize, Serialize};

use crate::GuardKind;
use crate::interval::{SHOWN_ALPHA, SHOWN_OPT, bernoulli_interval};
use crate::world::{Standing, World};

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
    /// Whether the guard judges at all here. `false` (the baseline is thin or absent) leaves it out of the overall
    /// verdict: what is off can neither stop a step nor let it pass.
    pub on: bool,
    /// What the target was compared with.
    pub reference: Reference,
    /// The reference's figure on this step: a share of requests (0 to 1), or milliseconds for latency and exchange. Of
    /// `LatencySlow` it is the share of answers that take longer than 99 % of the source's.
    pub reference_value: Option<f64>,
    /// The target's figure on this step, in the same unit.
    pub target_value: Option<f64>,
    /// What the target's figure may be at most, in the same unit.
    pub bound: Option<f64>,
    /// How many requests of the reference it stands on.
    pub reference_requests: u64,
    /// How many requests of the target it stands on.
    pub target_requests: u64,
    /// This guard's own evidence against the target, as a factor: 1 is none.
    pub evidence: f64,
    /// Where this guard's evidence reverts the cutover by itself: 20 at a false-revert chance of 5 %, divided by the
    /// guard's part of all weights. Several guards may do it together sooner.
    pub evidence_max: f64,
    /// About how many more requests of the target the next verdict needs; `None` when it has one or nobody can say.
    pub requests_missing: Option<u64>,
    /// All of it in one sentence for a person.
    pub sentence: String,
}

impl GuardVerdict {
    /// Between what and what the reference's and the target's share really lie (0 to 1), for showing: right at every
    /// look of a step together, but with chance `alpha` each. `None` for latency, and without requests.
    ///
    /// ```
    /// use judge::{Baseline, Block, Context, Counts, Guards, Judge};
    /// let side = |requests, status_5xx| Counts { requests, status_2xx: requests - status_5xx, status_5xx, ..Counts::default() };
    /// let mut judge = Judge::new(Guards::default(), Baseline::none(), 3);
    /// let block = Block { millis: 60_000, source: side(9000, 9), target: side(1000, 10) };
    /// judge.observe(&block, &Context { new_step: true, weight: 100, next_weight: None, source_live: true });
    /// let [source, target] = judge.verdict().guards[0].intervals(0.05).unwrap();
    /// assert!(source.0 < 0.001 && 0.001 < source.1 && source.1 < 0.0035);
    /// assert!(target.0 < 0.01 && 0.01 < target.1 && target.1 < 0.03);
    /// ```
    pub fn intervals(&self, alpha: f64) -> Option<[(f64, f64); 2]> {
        if self.guard.is_timed() {
            return None;
        }
        let interval = |share: Option<f64>, requests: u64| {
            let requests = requests as f64;
            // A count is the share times the requests, to the nearest.
            share.map(|share| bernoulli_interval((share * requests).round(), requests, alpha, SHOWN_OPT))
        };
        Some([
            interval(self.reference_value, self.reference_requests)?,
            interval(self.target_value, self.target_requests)?,
        ])
    }

    /// The intervals that are shown, of a guard that judges: [`intervals`](Self::intervals) at [`SHOWN_ALPHA`].
    pub fn shown_intervals(&self) -> Option<[(f64, f64); 2]> {
        self.intervals(SHOWN_ALPHA).filter(|_| self.on)
    }
}

/// What all guards together say after the last block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Fail when the evidence of all guards together reaches `evidence_max`, or an alarm says revert; pass when every
    /// guard that is on passes and no alarm says hold; unknown otherwise.
    pub verdict: Verdict,
    /// One verdict per guard, in the order of the policy.
    pub guards: Vec<GuardVerdict>,
    /// Evidence against the target over all guards, as a factor: 1 is none.
    pub evidence: f64,
    /// Where the cutover reverts: 1 / `false_revert_max`.
    pub evidence_max: f64,
    /// The chance that a target within tolerance would ever have looked this bad (0 to 1): 1 / the greatest evidence.
    pub p_value: f64,
    /// How long this step has been judged, in milliseconds; blocks without traffic on both sides do not count.
    pub judged_millis: u64,
    /// What else is wrong, most urgent first.
    pub alarms: Vec<Alarm>,
    /// Whether the source itself is as it was recorded.
    #[serde(default)]
    pub world: World,
}

impl Judgement {
    /// Which of the two references is broken, the source of the same time or the record from before, in one sentence
    /// without a full stop: what tells "the target is worse" from "the world got worse".
    pub fn diagnosis(&self) -> String {
        let failing =
            |reference| self.guards.iter().any(|g| g.on && g.verdict == Verdict::Fail && g.reference == reference);
        let alarmed = self.alarms.iter().any(|alarm| alarm.act == Act::Revert);
        // Guards may fail only together, each by itself below its own limit.
        let together = self.verdict == Verdict::Fail && !failing(Reference::Source) && !failing(Reference::Baseline);
        let against_source = failing(Reference::Source) || alarmed || together;
        let what = match (against_source, failing(Reference::Baseline), self.world.standing) {
            (true, _, Standing::Worse) => "the world got worse, and the target is worse still",
            (true, _, Standing::AsRecorded) => "the target is worse, not the world",
            (true, _, Standing::Unknown) => "the target is worse than the source of the same time",
            (false, true, Standing::Worse) => "the world got worse, and the target is worse than the baseline allows",
            (false, true, _) => "the target is worse than the baseline allows",
            (false, false, Standing::Worse) => "the world got worse, and nothing is proven against the target",
            (false, false, _) => "nothing is proven against the target",
        };
        format!("{what}: {}", self.world.sentence)
    }

    /// Whether a step may end when the guards in `ignored` may stay unknown: nothing fails, no alarm holds, and every
    /// other guard that is on passes, of which there is at least one.
    pub fn passes_without(&self, ignored: &[GuardKind]) -> bool {
        let mut needed = self.guards.iter().filter(|g| g.on && !ignored.contains(&g.guard)).peekable();
        self.verdict != Verdict::Fail
            && self.alarms.iter().all(|alarm| alarm.act == Act::Tell)
            && needed.peek().is_some()
            && needed.all(|guard| guard.verdict == Verdict::Pass)
    }
}

/// Something that no guard measures, and that must not wait for one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// What is wrong.
    pub kind: AlarmKind,
    /// What it asks for.
    pub act: Act,
    /// In one sentence for a person.
    pub sentence: String,
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// The target fails most requests while the source fails few.
    TargetFailing,
    /// The target answers with redirects or client errors what the source answers with 2XX.
    OtherAnswers,
    /// The target should have had requests and had none.
    TargetSilent,
    /// Neither side had a request.
    BothSilent,
    /// The observed share is not the weight's.
    ShareMismatch,
    /// The last block could not be used: its counts contradict each other.
    BadBlock,
}

/// What an alarm asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Tell a person; nothing else.
    Tell,
    /// Do not raise the target's share.
    Hold,
    /// Revert.
    Revert,
}
