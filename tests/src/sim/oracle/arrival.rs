//! What must be true where the way changes: a tripwire, an order, a phase that is reached, the end.

use std::time::Duration;

use cutover::command::Severity;
use cutover::event::Verb;
use cutover::policy::{DrainTimeout, DriftPolicy, WeightedStart};
use cutover::{Command, Cutover, Event, Generation, Phase, Share};

use super::{
    MINUTE, Oracle, REVERT_SLACK, SIGHT_OF_THE_END, TRIPWIRE_ERRORS, TRIPWIRE_REQUESTS, TRIPWIRE_SOURCE, WORSE,
};

impl Oracle {
    /// A glance that shows the target failing, and the source well, must have reverted at once.
    pub(super) fn tripwire(&mut self, event: &Event, before: &Cutover, after: &Cutover) {
        let Event::Glanced(observation) = event else { return };
        let sum = |target: bool| {
            let side = |block: &judge::Block| if target { block.target.clone() } else { block.source.clone() };
            let (reads, writes) = (side(&observation.reads), side(&observation.writes));
            (reads.requests + writes.requests, reads.errors() + writes.errors())
        };
        let ((requests, errors), (source_requests, source_errors)) = (sum(true), sum(false));
        let share = |errors: u64, requests: u64| errors as f64 / requests.max(1) as f64;
        let fires = requests >= 2 * TRIPWIRE_REQUESTS
            && share(errors, requests) >= 1.1 * TRIPWIRE_ERRORS
            && share(source_errors, source_requests) <= 0.5 * TRIPWIRE_SOURCE;
        let armed = match before.phase {
            Phase::Shifting { .. } | Phase::Baking { .. } | Phase::Draining => true,
            Phase::Gated { .. } => before.generation > Generation::default(),
            _ => false,
        };
        // A clock that stepped meanwhile makes a glance look old, or like one of the future.
        let window = observation.window;
        let timely = window.to <= after.seen && after.seen.since(window.to) <= window.length();
        let reverting = matches!(after.phase, Phase::Reverting { .. } | Phase::Reverted | Phase::Stuck { .. });
        self.insist(!(fires && armed && timely) || reverting, "revert", || {
            format!(
                "{errors} of {requests} requests of the target failed and the tripwire slept in {}",
                after.phase.name()
            )
        });
    }

    /// A reading without one healthy target of the target, and with healthy ones of the source, must have reverted at once.
    pub(super) fn unhealthy(&mut self, event: &Event, before: &Cutover, after: &Cutover) {
        let Event::Health(health) = event else { return };
        let fires = health.target.healthy == 0 && health.source.as_ref().is_some_and(|source| source.healthy > 0);
        let armed = match before.phase {
            Phase::Shifting { .. } | Phase::Baking { .. } | Phase::Draining => before.desired != Share::NONE,
            _ => false,
        };
        let timely = health.begun <= after.seen && after.seen.since(health.begun) <= Duration::from_secs(15);
        let reverting = matches!(after.phase, Phase::Reverting { .. } | Phase::Reverted | Phase::Stuck { .. });
        self.insist(!(fires && armed && timely) || reverting, "revert", || {
            format!("no target of the target is healthy and nothing came of it in {}", after.phase.name())
        });
    }

    /// What an order must bring about at once.
    pub(super) fn ordered(&mut self, event: &Event, before: &Cutover, after: &Cutover, accepted: bool) {
        let Event::Ordered(order) = event else { return };
        let moving = before.original.is_some() && before.generation > Generation::default();
        match order.verb {
            Verb::Revert if moving && before.closed.is_none() && !matches!(before.phase, Phase::Aborted) => {
                let reverting = matches!(after.phase, Phase::Reverting { .. } | Phase::Reverted | Phase::Stuck { .. });
                self.insist(reverting, "revert", || {
                    format!("a revert ordered in {} came to nothing: {}", before.phase.name(), after.reason.text)
                });
            }
            Verb::Abort if accepted => {
                self.insist(matches!(after.phase, Phase::Aborted), "orders", || {
                    format!("an abort ended in {}", after.phase.name())
                });
            }
            _ => {}
        }
        if !accepted {
            self.insist(before.phase == after.phase && before.desired == after.desired, "orders", || {
                format!("a refused order changed {} into {}", before.phase.name(), after.phase.name())
            });
        }
    }

    /// What must hold where a phase is reached.
    pub(super) fn arrived(&mut self, before: &Cutover, after: &Cutover, commands: &[Command]) {
        let told = |severity: Option<Severity>| {
            commands.iter().any(|command| {
                matches!(command, Command::Alert(alert) if severity.is_none_or(|severity| alert.severity == severity))
            })
        };
        if before.phase.name() == after.phase.name() {
            if let (Phase::Reverting { .. }, Some(since)) = (&after.phase, self.reverting_since) {
                let deadline = i64::try_from(self.policy.revert.deadline.as_millis()).unwrap_or(i64::MAX);
                let spent = self.now - since - self.downtime;
                self.insist(spent <= deadline + REVERT_SLACK, "limits", || {
                    format!("a revert is tried for {} minutes and nobody was called", spent / MINUTE)
                });
            }
            return;
        }
        match after.phase {
            Phase::Reverting { .. } => {
                self.reverting_since = Some(self.now);
                self.downtime = 0;
            }
            Phase::Reverted => {
                let original = self.original_action.clone();
                let seen = self.last_read.clone();
                // What was never written has nothing to show.
                let untouched = self.generation == Generation::default();
                let shown = untouched
                    || seen
                        .as_ref()
                        .is_some_and(|reading| reading.action == original && self.shows(reading, self.original));
                self.insist(shown, "belief", || format!("reverted on the word of {seen:?}"));
                self.insist(told(None), "revert", || "reverted and nobody was told".to_owned());
            }
            Phase::Stuck { .. } => {
                self.insist(told(Some(Severity::Critical)), "revert", || "stuck and no human was called".to_owned());
            }
            Phase::Done => {
                // Someone else may have given the target everything once that was earned, and it was taken as ours.
                let read = self.last_read.as_ref().map(|reading| reading.share);
                let adopted = self.policy.drift == DriftPolicy::Adopt && read == Some(Share::ALL);
                let asked = self.asked;
                self.insist(asked == Share::ALL || adopted, "evidence", || format!("done at {asked}"));
                self.insist(told(None), "orders", || "done and nobody was told".to_owned());
                self.drained();
            }
            Phase::Draining => {
                self.draining_since = self.now;
                self.insist(self.confirmed, "belief", || "the source drains before that was confirmed".to_owned());
            }
            Phase::Baking { .. } => {
                let desired = after.desired;
                let adopted = self.policy.drift == DriftPolicy::Adopt
                    && self.last_read.as_ref().is_some_and(|reading| reading.share == desired);
                let seen = self.confirmed || adopted;
                self.insist(seen, "belief", || format!("{desired} is baked before it was confirmed"));
            }
            Phase::Preflight if self.policy.shift.on_weighted_start == WeightedStart::Refuse => {
                self.restoring = None;
                self.ended_by_abort = false;
            }
            _ => {}
        }
    }

    /// The end: the target is well, and the source has really had nothing for as long as the policy says.
    fn drained(&mut self) {
        if !self.steady_clock || self.thin {
            return;
        }
        let broken = self.broken_since.is_some_and(|since| self.now - since > WORSE);
        self.insist(!broken, "evidence", || "done, with a target that is broken".to_owned());
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let drain = &self.policy.drain;
        // An interval may have had no request of the source by chance before the weight was all.
        let quiet = millis(drain.quiet) - MINUTE / 2;
        let silent = self.all_since.is_some_and(|since| self.now - since >= quiet)
            || self.silent_until.is_some_and(|until| self.now - until <= SIGHT_OF_THE_END);
        // By the policy, or by a person who was called.
        let accepted = (drain.on_timeout == DrainTimeout::Accept || self.advanced)
            && self.now - self.draining_since >= millis(drain.timeout) - MINUTE;
        self.insist(silent || accepted, "evidence", || "done, and the source had requests until now".to_owned());
    }
}
