//! What the counts prove so far: baseline, judge, observed share, and how far the counted time reaches.
//!
//! Counted time is a chain of closed intervals, each beginning where the one before it ended. A step bakes for as long
//! as the chain covers, never for as long as the clock says: a late reply about one minute must not end a bake of five.
//! Where an interval cannot be counted the chain has a gap, which covers nothing.

use std::sync::Arc;
use std::time::Duration;

use judge::{Baseline, Block, Judge, Judgement, Recorder};
use serde::{Deserialize, Serialize};

use crate::policy::{Policy, millis};
use crate::units::{Timestamp, Weight, Window};

/// The evidence of one cutover.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// What is recorded of the source before the shift.
    pub recorder: Arc<Recorder>,
    /// How much time the record covers.
    #[serde(with = "millis")]
    pub recorded: Duration,
    /// The baseline, once recorded.
    pub baseline: Option<Arc<Baseline>>,
    /// The judge, from the end of the baseline on.
    pub judge: Option<Arc<Judge>>,
    /// What the judge said last.
    pub judgement: Option<Arc<Judgement>>,
    /// Whether the next judged interval is the first of its step.
    pub step_begins: bool,
    /// The interval judged last.
    pub judged: Option<Window>,
    /// How much of this step the judged intervals cover.
    #[serde(with = "millis")]
    pub baked: Duration,
    /// Where the next interval begins.
    pub counted_to: Timestamp,
    /// The interval that was asked for and has not been answered.
    pub asked: Option<Asked>,
    /// Intervals that begin before this are counted but not judged: a share is under way, or its step warms up.
    pub unjudged_until: Timestamp,
    /// The share that the requests of this step show.
    pub observed: Observed,
    /// What is wrong with the last interval by itself, or was with one that those after it have not made good; `None` when
    /// nothing is.
    pub last_interval: Option<String>,
    /// How many requests each side has had, at least, in the intervals after that one.
    pub sound_requests: u64,
    /// Whether an interval was counted since the daemon came up: what was shown before says nothing about now.
    pub fresh: bool,
    /// For how long, at a stretch and up to `counted_to`, the source has had no request at all.
    #[serde(with = "millis")]
    pub source_silent: Duration,
    /// The same of the target, since its revert was confirmed.
    #[serde(default, with = "millis")]
    pub target_silent: Duration,
    /// How many intervals could not be counted.
    pub gaps: u32,
}

/// An interval that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Which one.
    pub window: Window,
    /// How often asking for it failed.
    pub failures: u32,
    /// When it is asked for again if no answer comes.
    pub again: Timestamp,
}

/// What the requests of a step show of the share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Reads.
    pub reads: ObservedClass,
    /// Writes; everything, where the counts cannot tell reads from writes.
    pub writes: ObservedClass,
}

/// What the requests of one class show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedClass {
    /// Requests of the target on this step.
    pub target: u64,
    /// Requests of both sides on this step.
    pub both: u64,
    /// Requests of the target in the last interval.
    pub last_target: u64,
    /// Requests of both sides in the last interval.
    pub last_both: u64,
}

impl ObservedClass {
    /// The target's share (0 to 1) of this step's requests; `None` without any.
    pub fn share(&self) -> Option<f64> {
        (self.both > 0).then(|| self.target as f64 / self.both as f64)
    }

    /// How far the share of this step's requests may lie from `weight` (0 to 1): `share_tolerance` and, on top,
    /// what chance does to that many requests.
    pub fn tolerance(&self, weight: Weight, share_tolerance: f64) -> f64 {
        tolerance(self.both, weight, share_tolerance)
    }

    /// Whether the requests of this step, and those of its last interval, show `weight`. A class without requests
    /// shows nothing and contradicts nothing.
    pub fn agrees(&self, weight: Weight, share_tolerance: f64) -> bool {
        agrees(self.target, self.both, weight, share_tolerance)
            && agrees(self.last_target, self.last_both, weight, share_tolerance)
    }

    /// Takes an interval's requests. When the share of the whole step is wrong but that of the interval is right, the
    /// requests have only now come to follow the weight (stickiness, slow nodes): the step is counted from here.
    pub(crate) fn count(&mut self, block: &Block, weight: Weight, share_tolerance: f64) {
        self.last_target = block.target.requests;
        self.last_both = block.target.requests.saturating_add(block.source.requests);
        self.target = self.target.saturating_add(self.last_target);
        self.both = self.both.saturating_add(self.last_both);
        if !agrees(self.target, self.both, weight, share_tolerance)
            && agrees(self.last_target, self.last_both, weight, share_tolerance)
        {
            (self.target, self.both) = (self.last_target, self.last_both);
        }
    }
}

/// Whether `target` of `both` requests may be a share of `weight`.
fn agrees(target: u64, both: u64, weight: Weight, share_tolerance: f64) -> bool {
    let share = target as f64 / both as f64;
    both == 0 || (share - weight.fraction()).abs() <= tolerance(both, weight, share_tolerance)
}

/// How many standard deviations of a binomial count are still chance.
const CHANCE_DEVIATIONS: f64 = 4.0;

/// `share_tolerance` and [`CHANCE_DEVIATIONS`] standard deviations of a share of `requests` split by `weight`. At the
/// ends of the ladder chance does nothing: a weight of 0 means none.
fn tolerance(requests: u64, weight: Weight, share_tolerance: f64) -> f64 {
    let w = weight.fraction();
    let deviation = if requests == 0 { 1.0 } else { (w * (1.0 - w) / requests as f64).sqrt() };
    (share_tolerance + CHANCE_DEVIATIONS * deviation).min(1.0)
}

impl Evidence {
    /// No evidence at all; counting begins at `now`.
    pub fn new(_policy: &Policy, now: Timestamp) -> Self {
        Self {
            recorder: Arc::default(),
            recorded: Duration::ZERO,
            baseline: None,
            judge: None,
            judgement: None,
            step_begins: true,
            judged: None,
            baked: Duration::ZERO,
            counted_to: now,
            asked: None,
            unjudged_until: now,
            observed: Observed::default(),
            last_interval: None,
            sound_requests: 0,
            fresh: true,
            source_silent: Duration::ZERO,
            target_silent: Duration::ZERO,
            gaps: 0,
        }
    }
}
