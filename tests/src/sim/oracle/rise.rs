//! What must be true when the target is given more.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover::event::{About, Check, CheckOutcome};
use cutover::policy::{CaptureNeed, DriftPolicy, GateBefore, GateKind, GateTimeout};
use cutover::{Cutover, Generation, Share, Timestamp, Weight};

use super::{BROKEN, LOOK_MAX, MINUTE, Oracle, REPLAY_MAX, SIGHT_MAX, WORSE, WORSE_REQUESTS};

impl Oracle {
    /// A share goes out.
    pub(super) fn write(
        &mut self,
        share: Share,
        generation: Generation,
        after: &Cutover,
        disk: &Cutover,
        now: Timestamp,
    ) {
        let last = self.generation;
        self.insist(generation > last, "belief", || format!("write {} after write {}", generation.0, last.0));
        self.insist(self.restoring.is_none(), "revert", || format!("{share} was written after a revert"));
        self.insist(!self.ended_by_abort, "orders", || format!("{share} was written after an abort"));
        if generation.0 == 1 || self.generation == Generation::default() {
            self.first_write();
        }
        let known = self.last_read.as_ref().map_or(self.asked, |reading| reading.share);
        self.insist(!self.reverted_unknown, "revert", || format!("{share} was written over a revert"));
        // A share that was adopted, and was ours before, is no rung and may be written again.
        let had = !share.raises(self.highest) || !share.raises(known) || self.taken == Some(share);
        let adopted = had && !self.policy.shift.steps.contains(&share);
        // Someone else may have given the target more than this: to take some of it back is no rise. That no more than
        // was earned is taken as ours then is for `wanted`.
        let takes_back = !share.raises(known) && known != self.asked;
        if share.raises(self.asked) && !adopted && !takes_back {
            let on_disk = disk.generation >= generation && disk.desired == share && disk.original.is_some();
            self.insist(on_disk, "journal", || format!("a rise to {share} went out before it was on disk"));
            self.insist(self.journal_writable, "journal", || format!("a rise to {share} with the journal unwritable"));
            self.climb(share, after, now);
            (self.rewritten, self.adopted) = (0, 0);
        } else if share.raises(known) && self.steady_clock {
            self.back_up(share, now);
        }
        self.highest =
            Share { reads: self.highest.reads.max(share.reads), writes: self.highest.writes.max(share.writes) };
        self.generation = generation;
        self.asked = share;
        self.written = Some((generation, None));
        self.begin_step();
    }

    /// Before the first write, the original is what was read last.
    fn first_write(&mut self) {
        if let Some(reading) = &self.last_read {
            self.original = reading.share;
            self.original_action.clone_from(&reading.action);
            self.highest = reading.share;
            self.asked = reading.share;
        }
    }

    /// A share that was ours before is written over one that gives the target less: no new evidence is needed, but all
    /// else that a rise needs.
    fn back_up(&mut self, share: Share, now: Timestamp) {
        self.insist(!self.standing, "orders", || format!("a rise back to {share} while held"));
        self.insist(self.journal_writable, "journal", || format!("a rise back to {share} with the journal unwritable"));
        self.change_window(share, now);
    }

    /// The books of a step begin anew.
    pub(super) fn begin_step(&mut self) {
        self.confirmed = false;
        self.counted = Duration::ZERO;
        self.target_requests = 0;
    }

    /// The target is given more than before: was it earned?
    fn climb(&mut self, share: Share, after: &Cutover, now: Timestamp) {
        let steps = self.policy.shift.steps.clone();
        let rung = steps.iter().position(|&step| step == share);
        let Some(rung) = rung else {
            self.accuse("evidence", format!("{share} is no step of the policy"));
            return;
        };
        // Weight that somebody else gave and that was adopted is what was baked.
        let read = self.last_read.as_ref().map_or(self.asked, |reading| reading.share);
        let adopts = self.policy.drift == DriftPolicy::Adopt && read.raises(self.asked);
        let from = if adopts { read } else { self.asked };
        let below = steps.iter().rposition(|&step| !step.raises(from));
        let first = below.is_none();
        let next = below.map_or(0, |step| step + 1);
        // Adopted weight lies between the rungs, and earned ones may be climbed again after a drift.
        self.insist(rung <= next, "evidence", || format!("from {from} to {share} skips a step"));
        self.insist(!self.standing, "orders", || format!("a rise to {share} while held"));
        self.standing_checks(share);
        self.captured(share, from);
        self.change_window(share, now);
        self.gates(share, rung, after);
        let sight = self.last_read.clone();
        let seen = sight.as_ref().is_some_and(|reading| {
            reading.disagreeing.is_empty()
                && (reading.share == from
                    || self.policy.drift != DriftPolicy::Halt
                    || self.consented == Some(reading.share))
                && (!self.steady_clock || now.since(reading.begun) <= SIGHT_MAX)
        });
        self.insist(self.armed, "revert", || format!("a rise to {share} with unarmed proxies"));
        self.insist(seen, "belief", || format!("a rise to {share} without a fresh read of {from}: {sight:?}"));
        if first {
            return;
        }
        if self.generation > Generation::default() && self.foreign_at.is_none() {
            self.insist(self.confirmed, "belief", || format!("a rise to {share} before {from} was confirmed"));
            let counted = self.counted;
            let bake = self.policy.shift.bake_min;
            self.insist(counted >= bake, "evidence", || {
                format!("a rise to {share} after {} s of counted time", counted.as_secs())
            });
            let requests = self.target_requests;
            self.insist(requests >= self.policy.shift.requests_min, "evidence", || {
                format!("a rise to {share} on {requests} requests of the target")
            });
            self.insist(self.share_shown, "evidence", || format!("a rise to {share}: the requests do not show {from}"));
            let for_long = |since: Option<i64>, time| since.is_some_and(|since| self.now - since > time);
            let broken = (for_long(self.worse_since, WORSE) && self.worse_requests >= WORSE_REQUESTS)
                || for_long(self.broken_since, BROKEN);
            let (errors, requests) = (self.worse_errors, self.worse_requests);
            self.insist(!broken, "evidence", || {
                format!("a rise to {share} with a broken target: {errors} errors in {requests} requests so far")
            });
        }
    }

    /// No check may fail or be unknown when something rises.
    fn standing_checks(&mut self, share: Share) {
        let bad: Vec<Check> = self
            .checks
            .iter()
            .filter(|check| matches!(check.outcome, CheckOutcome::Fail | CheckOutcome::Unknown))
            .cloned()
            .collect();
        let other = bad.iter().any(|check| check.about == About::Fleet);
        self.insist(!other, "evidence", || format!("a rise to {share} against the checks"));
    }

    /// Whether the last checks found capture whole.
    fn capture_is_whole(&self) -> bool {
        let mut seen = self.checks.iter().filter(|check| check.about == About::Capture).peekable();
        seen.peek().is_some() && seen.all(|check| matches!(check.outcome, CheckOutcome::Pass | CheckOutcome::Warn))
    }

    /// Where the policy relies on capture, writes are moved only while it is known to be whole, by a look of just before.
    fn captured(&mut self, share: Share, from: Share) {
        if self.policy.capture.need != CaptureNeed::Required || share.writes <= from.writes {
            return;
        }
        let whole = self.capture_is_whole();
        self.insist(whole, "capture", || format!("a rise to {share} while capture is not known to be whole"));
        let age = self.now - self.checks_begun;
        self.insist(age <= LOOK_MAX || !self.steady_clock, "capture", || {
            format!("a rise to {share} on a look at capture {} s ago", age / 1000)
        });
    }

    /// Preflight is over: where the policy relies on capture, only while that is known to be whole.
    pub(super) fn begun(&mut self) {
        let whole = self.policy.capture.need != CaptureNeed::Required || self.capture_is_whole();
        self.insist(whole, "capture", || "a start while capture is not known to be whole".to_owned());
    }

    /// The worlds' change window is 8:00 to 9:00 in Berlin, in winter: 7:00 to 8:00 UTC.
    fn change_window(&mut self, share: Share, now: Timestamp) {
        if self.windows {
            let minute = now.0.rem_euclid(24 * 60 * MINUTE) / MINUTE;
            self.insist((7 * 60..8 * 60).contains(&minute), "orders", || {
                format!("a rise to {share} at {}:{:02} UTC, outside of the change window", minute / 60, minute % 60)
            });
        }
    }

    /// Each gate before this step said yes, or ran out of a time whose end means yes.
    fn gates(&mut self, share: Share, rung: usize, after: &Cutover) {
        let steps = &self.policy.shift.steps;
        let earlier = if rung == 0 { self.original } else { steps[rung - 1] };
        let (mut shut, mut aged) = (BTreeMap::new(), BTreeMap::new());
        for gate in &self.policy.gates {
            let asked = match gate.before {
                GateBefore::EachStep => true,
                GateBefore::Weight(weight) => {
                    share.reads.max(share.writes) >= weight && earlier.reads.max(earlier.writes) < weight
                }
                GateBefore::Writes => share.writes > earlier.writes && earlier.writes == Weight::NONE,
                GateBefore::EachWrites => share.writes > earlier.writes,
            };
            let open = self.open_gates.get(&(gate.name.clone(), rung)).copied();
            let lapsed = gate.on_timeout == GateTimeout::Continue;
            if asked && open.is_none() && !lapsed {
                shut.insert(gate.name.clone(), gate.kind == GateKind::Manual);
            }
            // How far a replay is, is known for a moment only.
            let age = open.map_or(0, |asked| self.now.saturating_sub(asked));
            let old = asked && matches!(gate.kind, GateKind::ReplayLag(_)) && age > REPLAY_MAX;
            if old && !lapsed && self.steady_clock {
                aged.insert(gate.name.clone(), age / 1000);
            }
        }
        let phase = after.phase.name();
        self.insist(shut.is_empty(), "orders", || format!("a rise to {share} through shut gates {shut:?} ({phase})"));
        self.insist(aged.is_empty(), "gates", || {
            format!("a rise to {share} on what gates said so many seconds ago: {aged:?} ({phase})")
        });
    }
}
