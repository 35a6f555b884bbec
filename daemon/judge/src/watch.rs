//! What must not wait for a guard: a target that fails outright, one that gets nothing, a share that is not the
//! weight's.
//!
//! The rules are blunt on purpose, with wide margins, and each asks about the source too: an outage that both sides
//! share is no reason to go back.

use serde::{Deserialize, Serialize};

use crate::evidence::{Pair, Tolerance};
use crate::share::ShareWatch;
use crate::words::{count, share};
use crate::{Act, Alarm, AlarmKind};

/// The failing target is looked at over stretches of at least this length, in milliseconds.
const LOOK_MILLIS: u64 = 10_000;
/// Fewer requests of the target than this in a stretch say nothing.
const LOOK_REQUESTS: f64 = 20.0;
/// What the watch on the source keeps after a minute.
const SOURCE_KEEP: f64 = 0.5;
/// Fewer (fading) requests of the source than this say nothing.
const SOURCE_REQUESTS: f64 = 5.0;
/// At once: the target fails half of its requests while the source fails less than a tenth.
const HOT: (f64, f64) = (0.5, 0.1);
/// Twice in a row: the target fails a fifth while the source fails less than a fiftieth.
const WARM: (f64, f64) = (0.2, 0.02);
/// The target is silent once so many requests should have come to it and none did.
const SILENT_EXPECTED: f64 = 30.0;
/// After so many bursts of silence the cutover reverts.
const SILENT_BURSTS: u64 = 3;

/// One block as the watch sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glance {
    pub(crate) millis: u64,
    pub(crate) weight: u16,
    pub(crate) errors: Pair,
    pub(crate) source_live: bool,
}

/// Watches the whole cutover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Watch {
    open_millis: u64,
    open_hits: f64,
    open_requests: f64,
    source_hits: f64,
    source_requests: f64,
    warm: bool,
    /// Shares of target and source at which the target failed outright; stays.
    failing: Option<(f64, f64)>,
    expected: f64,
    silent_millis: u64,
    both_silent: bool,
    shares: ShareWatch,
}

impl Watch {
    /// Takes one block. `tolerance` is that of the errors guard; without one nothing fails outright.
    pub(crate) fn observe(&mut self, glance: &Glance, tolerance: Option<Tolerance>) {
        let Glance { millis, weight, errors, source_live } = *glance;
        self.both_silent = errors.target <= 0.0 && errors.source <= 0.0;
        self.look(millis, &errors, tolerance);
        let w = f64::from(weight.min(999)) / 1000.0;
        if errors.target > 0.0 || weight == 0 {
            self.expected = 0.0;
            self.silent_millis = 0;
        } else if source_live && errors.source > 0.0 {
            self.expected += errors.source * w / (1.0 - w);
            self.silent_millis = self.silent_millis.saturating_add(millis);
        }
        if source_live {
            self.shares.observe(weight, errors.target as u64, errors.source as u64);
        }
    }

    fn look(&mut self, millis: u64, errors: &Pair, tolerance: Option<Tolerance>) {
        let keep = SOURCE_KEEP.powf(millis as f64 / 60_000.0);
        self.source_hits = keep * self.source_hits + errors.source_hits;
        self.source_requests = keep * self.source_requests + errors.source;
        self.open_millis = self.open_millis.saturating_add(millis);
        self.open_hits += errors.target_hits;
        self.open_requests += errors.target;
        if self.open_millis < LOOK_MILLIS {
            return;
        }
        let (hits, requests) = (self.open_hits, self.open_requests);
        (self.open_millis, self.open_hits, self.open_requests) = (0, 0.0, 0.0);
        let Some(tolerance) = tolerance else { return };
        if requests < LOOK_REQUESTS || self.source_requests < SOURCE_REQUESTS {
            self.warm = false;
            return;
        }
        let (target, source) = (hits / requests, self.source_hits / self.source_requests);
        let beyond = target > tolerance.ratio * source + tolerance.margin;
        let exceeds = |(most, least): (f64, f64)| beyond && target >= most && source < least;
        if exceeds(HOT) || exceeds(WARM) && self.warm {
            self.failing = Some((target, source));
        }
        self.warm = exceeds(WARM);
    }

    /// Whether the target fails outright.
    pub(crate) fn failing(&self) -> bool {
        self.failing.is_some()
    }

    /// What its alarms ask for at most, without the words.
    pub(crate) fn act(&self, burst_millis: u64) -> Act {
        if self.failing() {
            return Act::Revert;
        }
        match self.silent(burst_millis) {
            Some(act) => act,
            None if self.both_silent => Act::Hold,
            None => Act::Tell,
        }
    }

    /// What a target that should have had requests and had none asks for; `None` while that may be chance.
    fn silent(&self, burst_millis: u64) -> Option<Act> {
        let long = self.silent_millis >= burst_millis.saturating_mul(SILENT_BURSTS);
        (self.expected >= SILENT_EXPECTED).then_some(if long { Act::Revert } else { Act::Hold })
    }

    /// What is wrong, most urgent first.
    pub(crate) fn alarms(&self, burst_millis: u64) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        if let Some((target, source)) = self.failing {
            alarms.push(Alarm {
                kind: AlarmKind::TargetFailing,
                act: Act::Revert,
                sentence: format!(
                    "the target failed {} of its requests while the source failed {}",
                    share(target),
                    share(source)
                ),
            });
        }
        if let Some(act) = self.silent(burst_millis) {
            alarms.push(Alarm {
                kind: AlarmKind::TargetSilent,
                act,
                sentence: format!(
                    "the target receives nothing: about {} requests should have come to it in the last {} s and none did",
                    count(self.expected as u64),
                    self.silent_millis / 1000
                ),
            });
        }
        if self.both_silent {
            alarms.push(Alarm {
                kind: AlarmKind::BothSilent,
                act: Act::Hold,
                sentence: "neither side had a request".to_owned(),
            });
        }
        if let Some(seen) = self.shares.mismatch() {
            alarms.push(Alarm {
                kind: AlarmKind::ShareMismatch,
                act: Act::Tell,
                sentence: format!(
                    "the target gets {} of the requests where its weight says {}",
                    share(seen),
                    share(f64::from(self.shares.weight()) / 1000.0)
                ),
            });
        }
        alarms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Option<Tolerance> = Some(Tolerance { ratio: 1.1, margin: 1e-4 });

    fn glance(kt: u64, nt: u64, ks: u64, ns: u64) -> Glance {
        Glance { millis: 10_000, weight: 100, errors: Pair::new(kt, nt, ks, ns), source_live: true }
    }

    #[test]
    fn a_dead_target_is_seen_in_one_look_and_a_shared_outage_never() {
        let mut watch = Watch::default();
        watch.observe(&glance(30, 50, 5, 450), TOLERANCE);
        assert!(watch.failing());
        let mut shared = Watch::default();
        for _ in 0..100 {
            shared.observe(&glance(40, 50, 300, 450), TOLERANCE);
        }
        assert!(!shared.failing());
    }

    #[test]
    fn a_fifth_failing_is_seen_in_two_looks_in_a_row() {
        let mut watch = Watch::default();
        watch.observe(&glance(15, 50, 0, 450), TOLERANCE);
        watch.observe(&glance(0, 50, 0, 450), TOLERANCE);
        watch.observe(&glance(15, 50, 0, 450), TOLERANCE);
        assert!(!watch.failing());
        watch.observe(&glance(15, 50, 0, 450), TOLERANCE);
        assert!(watch.failing());
    }

    #[test]
    fn what_the_policy_tolerates_or_does_not_ask_never_fails_outright() {
        let mut watch = Watch::default();
        watch.observe(&glance(50, 50, 0, 450), Some(Tolerance { ratio: 1.0, margin: 1.0 }));
        watch.observe(&glance(50, 50, 0, 450), None);
        assert!(!watch.failing());
    }

    #[test]
    fn a_silent_target_holds_at_once_and_reverts_after_three_bursts() {
        let mut watch = Watch::default();
        let acts: Vec<Option<Act>> = (0..20)
            .map(|_| {
                watch.observe(&glance(0, 0, 0, 450), TOLERANCE);
                watch.alarms(60_000).iter().find(|a| a.kind == AlarmKind::TargetSilent).map(|a| a.act)
            })
            .collect();
        assert_eq!(acts[0], Some(Act::Hold));
        assert_eq!(acts[16], Some(Act::Hold));
        assert_eq!(acts[17], Some(Act::Revert));
    }

    #[test]
    fn nobody_is_silent_where_nothing_is_expected() {
        // No weight, or a source that is silent too.
        let mut watch = Watch::default();
        for _ in 0..100 {
            watch.observe(&Glance { weight: 0, ..glance(0, 0, 0, 450) }, TOLERANCE);
            assert!(watch.alarms(60_000).is_empty());
        }
        watch.observe(&glance(0, 0, 0, 0), TOLERANCE);
        let alarms = watch.alarms(60_000);
        assert_eq!(alarms.len(), 1);
        assert_eq!((alarms[0].kind, alarms[0].act), (AlarmKind::BothSilent, Act::Hold));
    }
}
