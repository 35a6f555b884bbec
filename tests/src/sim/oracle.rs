//! What must never happen, judged from what the world did: not from what the core believes.
//!
//! The oracle is told every command that goes out, every event that came in, and what the balancer and the target
//! really were. It keeps its own small books and names the check that was broken. It imports no decision code: the
//! types of events and commands, the phases by name, and nothing else of the core.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover::command::Severity;
use cutover::event::{Check, CheckOutcome, CommandKind, GateAnswer, Reading, Verb};
use cutover::policy::{CaptureNeed, DriftPolicy, GateBefore, GateKind, GateTimeout, Policy, WeightedStart};
use cutover::{Command, Cutover, Decision, Event, Generation, Phase, Share, Timestamp, Weight};
use serde_json::Value;

use super::faults::{Fault, Faults};
use super::policy::{TRIPWIRE_ERRORS, TRIPWIRE_REQUESTS, TRIPWIRE_SOURCE};
use super::service::Health;

/// One minute of true time, in milliseconds.
const MINUTE: i64 = 60_000;
/// Within how long of its last sight of the weight a rise must follow.
const SIGHT_MAX: Duration = Duration::from_mins(30);
/// How many commands one decision may hold.
const COMMANDS_MAX: usize = 24;
/// How long a revert may go on before a human is called, beyond the policy's own deadline.
const REVERT_SLACK: i64 = 20 * MINUTE;
/// How much of a window a target must have been broken in for a rise after it to be wrong.
const BROKEN: i64 = 5 * MINUTE;

/// One thing that must not have happened.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The check: `pure`, `journal`, `belief`, `evidence`, `revert`, `capture`, `limits`, `orders`, `finish`.
    pub check: &'static str,
    /// What happened.
    pub text: String,
}

/// The books of one world.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that is or is not so in the world")]
pub struct Oracle {
    /// The first violation.
    pub violation: Option<Violation>,
    /// When the balancer last changed, in true time.
    pub last_landing: i64,
    /// Whether the last revert was the core's own idea, on evidence.
    pub reverted_on_evidence: bool,
    policy: Policy,
    original: Share,
    original_action: Value,
    steady_clock: bool,
    windows: bool,
    /// The last share that went out, and the highest rung of the ladder among those.
    asked: Share,
    written: Option<(Generation, Option<Timestamp>)>,
    confirmed: bool,
    last_read: Option<Reading>,
    counted: Duration,
    target_requests: u64,
    counted_to: Option<Timestamp>,
    checks: Vec<Check>,
    open_gates: BTreeSet<(String, usize)>,
    standing: bool,
    journal_writable: bool,
    restoring: Option<i64>,
    /// Since when this revert is tried; a confirmed one that was undone begins anew.
    reverting_since: Option<i64>,
    ended_by_abort: bool,
    alerts: u32,
    critical_alerts: u32,
    foreign_at: Option<i64>,
    foreign_landed: bool,
    broken_since: Option<i64>,
    generation: Generation,
    now: i64,
    downtime: i64,
}

impl Oracle {
    /// An oracle for a world that starts with `share` at the balancer.
    pub fn new(policy: Policy, share: Share, action: Value, faults: &Faults) -> Self {
        Self {
            violation: None,
            last_landing: 0,
            reverted_on_evidence: false,
            windows: faults.has(Fault::Windows),
            steady_clock: !faults.has(Fault::ClockStep),
            policy,
            original: share,
            original_action: action,
            asked: share,
            written: None,
            confirmed: false,
            last_read: None,
            counted: Duration::ZERO,
            target_requests: 0,
            counted_to: None,
            checks: Vec::new(),
            open_gates: BTreeSet::new(),
            standing: false,
            journal_writable: true,
            restoring: None,
            reverting_since: None,
            ended_by_abort: false,
            alerts: 0,
            critical_alerts: 0,
            foreign_at: None,
            foreign_landed: false,
            broken_since: None,
            generation: Generation::default(),
            now: 0,
            downtime: 0,
        }
    }

    /// Keeps the first violation.
    pub fn accuse(&mut self, check: &'static str, text: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { check, text });
        }
    }

    /// Accuses unless `holds`.
    fn insist(&mut self, holds: bool, check: &'static str, text: impl FnOnce() -> String) {
        if !holds {
            self.accuse(check, text());
        }
    }

    /// The target's true health from `now` on.
    pub fn target_is(&mut self, health: Health, now: i64) {
        let broken = match health {
            Health::Failing(share) => share >= 0.05,
            Health::Slow(factor) => factor >= 2.0,
            Health::Good | Health::Silent => false,
        };
        self.broken_since = if broken { self.broken_since.or(Some(now)) } else { None };
    }

    /// The balancer changed, by a write of ours.
    pub fn landed(&mut self, _share: Share, now: i64) {
        self.last_landing = now;
        self.foreign_landed = false;
    }

    /// The balancer changed, by someone else.
    pub fn foreign(&mut self, now: i64) {
        self.last_landing = now;
        self.foreign_at = Some(now);
        self.foreign_landed = true;
    }

    /// The daemon came back with what was on disk: what it did since then without an entry is unknown to it.
    pub fn restarted(&mut self, cutover: &Cutover) {
        self.journal_writable = true;
        self.last_read = None;
        if !matches!(cutover.phase, Phase::Reverting { .. } | Phase::Reverted | Phase::Stuck { .. }) {
            // A revert that was carried out while the journal was unwritable is not on disk.
            self.restoring = None;
        }
        self.standing = cutover.standing.is_some();
        if cutover.generation > self.generation {
            // The entry is on disk and its write never went out: what is asked for now was decided then.
            self.asked = cutover.desired;
            self.begin_step();
        }
    }

    /// The daemon's clock stepped: where the counted windows ended is a time of another clock.
    pub fn clock_stepped(&mut self) {
        self.counted_to = None;
    }

    /// The same decision was taken twice.
    pub fn repeated(&mut self, first: &Decision, second: &Decision) {
        let print = |decision: &Decision| {
            let commands = serde_json::to_string(&decision.commands).unwrap_or_default();
            let next = serde_json::to_string(&decision.next).unwrap_or_default();
            (commands, next, decision.reason.clone(), decision.journal, decision.accepted)
        };
        let same = print(first) == print(second);
        self.insist(same, "pure", || format!("one event, two answers: {} / {}", first.reason.text, second.reason.text));
    }

    /// Two writes are under way at once.
    pub fn second_write(&mut self, what: CommandKind, earlier: Generation, later: Generation) {
        // A restore goes before everything else and gives the earlier write up.
        self.insist(what == CommandKind::Restore, "belief", || {
            format!("write {} went out while write {} was under way", later.0, earlier.0)
        });
    }

    /// Whether these commands give the target more than what went out last.
    pub fn rises(&self, commands: &[Command]) -> bool {
        commands.iter().any(|command| matches!(command, Command::Write { share, .. } if share.raises(self.asked)))
    }

    /// One event was answered: what came in, what follows, what is on disk.
    #[expect(clippy::too_many_arguments, reason = "it is told the whole of one step, and keeps none of it")]
    pub fn answered(
        &mut self,
        event: &Event,
        before: &Cutover,
        after: &Cutover,
        disk: &Cutover,
        commands: &[Command],
        accepted: bool,
        now: Timestamp,
    ) {
        self.take_in(event, before, accepted, now);
        self.limits(after, commands);
        for command in commands {
            match command {
                Command::Write { share, generation } => self.write(*share, *generation, after, disk, now),
                Command::Restore { action, generation } => {
                    self.reverted_on_evidence |= after.reason.kind == "verdict_fail";
                    self.restore(action, *generation);
                }
                Command::Alert(alert) => {
                    self.alerts += 1;
                    self.critical_alerts += u32::from(alert.severity == Severity::Critical);
                }
                _ => {}
            }
        }
        self.tripwire(event, before, after);
        self.ordered(event, before, after, accepted);
        self.arrived(before, after, now);
    }

    /// Keeps the books of what came in.
    fn take_in(&mut self, event: &Event, before: &Cutover, accepted: bool, now: Timestamp) {
        match event {
            Event::Read(reading) => {
                let newer =
                    !self.steady_clock || self.last_read.as_ref().is_none_or(|last| last.begun <= reading.begun);
                if newer {
                    self.last_read = Some(reading.clone());
                }
                self.confirmed |= self.shows(reading, self.asked);
            }
            Event::Written { generation, .. } => self.settle(*generation, now),
            Event::Failed { generation: Some(generation), .. } => self.settle(*generation, now),
            Event::Observed(observation) => {
                // A clock that steps back counts other stretches of true time by the same names.
                let fresh = self.counted_to.is_none_or(|to| {
                    if self.steady_clock { observation.window.from >= to } else { observation.window.to != to }
                });
                if self.confirmed && fresh {
                    self.counted += observation.window.to.since(observation.window.from);
                    self.target_requests +=
                        observation.reads.target.requests.saturating_add(observation.writes.target.requests);
                }
                if fresh {
                    self.counted_to = Some(observation.window.to);
                }
            }
            Event::Checked { checks, .. } => self.checks.clone_from(checks),
            Event::GateAnswered { gate, step, answer: GateAnswer::Yes } => {
                self.open_gates.insert((gate.clone(), *step));
            }
            Event::Journal { writable } => self.journal_writable = *writable,
            Event::Ordered(order) if accepted => match &order.verb {
                Verb::Hold | Verb::Pause => self.standing = true,
                Verb::Resume { adopt_policy } => {
                    self.standing = false;
                    if let Some(policy) = adopt_policy {
                        self.policy = (**policy).clone();
                    }
                }
                Verb::Advance => self.open_every_gate(before),
                Verb::Start => {
                    self.checks.clear();
                    self.standing = false;
                }
                Verb::Abort => self.ended_by_abort = true,
                Verb::Revert | Verb::Close => {}
            },
            _ => {}
        }
    }

    /// A person said go on: every gate of the step that waits is open.
    fn open_every_gate(&mut self, before: &Cutover) {
        if let Some(step) = before.step() {
            for gate in &self.policy.gates {
                self.open_gates.insert((gate.name.clone(), step));
                self.open_gates.insert((gate.name.clone(), step + 1));
            }
        }
    }

    /// A write was answered.
    fn settle(&mut self, generation: Generation, now: Timestamp) {
        if let Some((last, answered)) = &mut self.written
            && *last == generation
        {
            answered.get_or_insert(now);
        }
    }

    /// Whether `reading` may be believed about the last write, and shows `share`.
    fn shows(&self, reading: &Reading, share: Share) -> bool {
        let late_enough = match self.written {
            None => true,
            Some((_, None)) => false,
            Some((_, Some(answered))) => !self.steady_clock || reading.begun >= answered.plus(self.policy.shift.settle),
        };
        late_enough && reading.disagreeing.is_empty() && reading.share == share
    }

    /// Every list and every number of commands has its bound; the cutover itself does too.
    fn limits(&mut self, after: &Cutover, commands: &[Command]) {
        let wakes = commands.iter().filter(|command| matches!(command, Command::WakeAt(_))).count();
        self.insist(commands.len() <= COMMANDS_MAX && wakes <= 1, "limits", || {
            format!("{} commands in one decision, {wakes} of them wake-ups", commands.len())
        });
        let lists = [after.late.len(), after.episodes.len(), after.gates.len(), after.blockers.len()];
        self.insist(lists.iter().all(|&length| length <= 64), "limits", || format!("lists of {lists:?}"));
    }

    /// A share goes out.
    fn write(&mut self, share: Share, generation: Generation, after: &Cutover, disk: &Cutover, now: Timestamp) {
        let last = self.generation;
        self.insist(generation > last, "belief", || format!("write {} after write {}", generation.0, last.0));
        self.insist(self.restoring.is_none(), "revert", || format!("{share} was written after a revert"));
        self.insist(!self.ended_by_abort, "orders", || format!("{share} was written after an abort"));
        if share.raises(self.asked) {
            let on_disk = disk.generation >= generation && disk.desired == share && disk.original.is_some();
            self.insist(on_disk, "journal", || format!("a rise to {share} went out before it was on disk"));
            self.insist(self.journal_writable, "journal", || format!("a rise to {share} with the journal unwritable"));
            self.climb(share, after, now);
        }
        self.generation = generation;
        self.asked = share;
        self.written = Some((generation, None));
        self.begin_step();
    }

    /// The books of a step begin anew.
    fn begin_step(&mut self) {
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
        let from = self.asked;
        let below = steps.iter().rposition(|&step| !step.raises(from));
        let first = below.is_none();
        let next = below.map_or(0, |step| step + 1);
        // Adopted weight lies between the rungs, and earned ones may be climbed again after a drift.
        self.insist(rung <= next, "evidence", || format!("from {from} to {share} skips a step"));
        self.insist(!self.standing, "orders", || format!("a rise to {share} while held"));
        self.standing_checks(share);
        self.change_window(share, now);
        self.gates(share, rung, after);
        let sight = self.last_read.clone();
        let seen = sight.as_ref().is_some_and(|reading| {
            reading.disagreeing.is_empty()
                && (reading.share == from || self.policy.drift != DriftPolicy::Halt)
                && (!self.steady_clock || now.since(reading.begun) <= SIGHT_MAX)
        });
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
            let broken = self.broken_since.is_some_and(|since| self.now - since > BROKEN + 10 * MINUTE);
            self.insist(!broken, "evidence", || format!("a rise to {share} with a broken target"));
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
        let capture = bad.iter().any(|check| check.name.starts_with("capture"));
        if capture {
            let relies = self.policy.capture == CaptureNeed::Required || !share.writes.eq(&Weight::NONE);
            self.insist(!relies, "capture", || format!("a rise to {share} while capture is not known to be whole"));
        }
        let other = bad.iter().any(|check| !check.name.starts_with("capture"));
        self.insist(!other, "evidence", || format!("a rise to {share} against the checks"));
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
        let mut shut = BTreeMap::new();
        for gate in &self.policy.gates {
            let asked = match gate.before {
                GateBefore::EachStep => true,
                GateBefore::Weight(weight) => {
                    share.reads.max(share.writes) >= weight && earlier.reads.max(earlier.writes) < weight
                }
                GateBefore::Writes => share.writes > earlier.writes && earlier.writes == Weight::NONE,
            };
            let open = self.open_gates.contains(&(gate.name.clone(), rung));
            let lapsed = gate.on_timeout == GateTimeout::Continue;
            if asked && !open && !lapsed {
                shut.insert(gate.name.clone(), gate.kind == GateKind::Manual);
            }
        }
        let phase = after.phase.name();
        self.insist(shut.is_empty(), "orders", || format!("a rise to {share} through shut gates {shut:?} ({phase})"));
    }

    /// The original goes out.
    fn restore(&mut self, action: &Value, generation: Generation) {
        let original = self.original_action.clone();
        self.insist(*action == original, "revert", || format!("a revert puts back {action}, not {original}"));
        let last = self.generation;
        self.insist(generation > last, "belief", || format!("restore {} after write {}", generation.0, last.0));
        self.insist(!self.ended_by_abort, "orders", || "a revert after an abort".to_owned());
        if self.restoring.is_none() {
            self.restoring = Some(self.now);
        }
        self.generation = generation;
        self.asked = self.original;
        self.written = Some((generation, None));
        self.begin_step();
    }

    /// A glance that shows the target failing, and the source well, must have reverted at once.
    fn tripwire(&mut self, event: &Event, before: &Cutover, after: &Cutover) {
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
        let armed = matches!(before.phase, Phase::Shifting { .. } | Phase::Baking { .. } | Phase::Draining);
        let reverting = matches!(after.phase, Phase::Reverting { .. } | Phase::Reverted | Phase::Stuck { .. });
        self.insist(!(fires && armed) || reverting, "revert", || {
            format!(
                "{errors} of {requests} requests of the target failed and the tripwire slept in {}",
                after.phase.name()
            )
        });
    }

    /// What an order must bring about at once.
    fn ordered(&mut self, event: &Event, before: &Cutover, after: &Cutover, accepted: bool) {
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
    fn arrived(&mut self, before: &Cutover, after: &Cutover, _now: Timestamp) {
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
                self.insist(self.alerts > 0, "revert", || "reverted and nobody was told".to_owned());
            }
            Phase::Stuck { .. } => {
                self.insist(self.critical_alerts > 0, "revert", || "stuck and no human was called".to_owned());
            }
            Phase::Done => {
                let asked = self.asked;
                self.insist(asked == Share::ALL, "evidence", || format!("done at {asked}"));
                self.insist(self.alerts > 0, "orders", || "done and nobody was told".to_owned());
            }
            Phase::Baking { .. } => {
                let asked = self.asked;
                self.insist(self.confirmed, "belief", || format!("{asked} is baked before it was confirmed"));
            }
            Phase::Preflight if self.policy.shift.on_weighted_start == WeightedStart::Refuse => {
                self.restoring = None;
                self.ended_by_abort = false;
            }
            _ => {}
        }
    }

    /// The true time of what comes next, and how much of it the daemon was not there.
    pub fn at(&mut self, now: i64, down: bool) {
        if down {
            self.downtime += now - self.now;
        }
        self.now = now;
    }

    /// The world has ended: what must be true then.
    pub fn ended(&mut self, phase: &Phase, action: &Value, _now: i64) {
        if matches!(phase, Phase::Reverted) && !self.foreign_landed {
            let original = self.original_action.clone();
            self.insist(*action == original, "revert", || format!("reverted, and the balancer says {action}"));
        }
    }
}
