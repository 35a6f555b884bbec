//! What must never happen, judged from what the world did: not from what the core believes.
//!
//! The oracle is told every command that goes out, every event that came in, and what the balancer and the target
//! really were. It keeps its own small books and names the check that was broken. It imports no decision code: the
//! types of events and commands, the phases by name, and nothing else of the core.

mod arrival;
mod rise;

use std::collections::BTreeMap;
use std::time::Duration;

use cutover::cutover::StandingKind;
use cutover::event::{Check, CommandKind, GateAnswer, Reading, Retry, Verb};
use cutover::policy::Policy;
use cutover::{Command, Cutover, Event, Generation, Lever, Phase, Share, Stands, Timestamp};
use serde_json::Value;

use super::faults::{Fault, Faults};
use super::policy::{TRIPWIRE_ERRORS, TRIPWIRE_REQUESTS, TRIPWIRE_SOURCE};
use super::service::Health;

/// One minute of true time, in milliseconds.
const MINUTE: i64 = 60_000;
/// Within how long of its last sight of the weight a rise must follow.
const SIGHT_MAX: Duration = Duration::from_mins(30);
/// How long ago the look at capture may have begun on which writes are moved: it may have been on its way for a while.
const LOOK_MAX: i64 = MINUTE / 2;
/// How long ago the replay may have been asked how far it is for writes to be moved on what it said.
const REPLAY_MAX: i64 = MINUTE / 2;
/// When a gate was asked that a person has opened: it stays open.
const OPENED: i64 = i64::MAX;
/// How many commands one decision may hold.
const COMMANDS_MAX: usize = 24;
/// How long a revert may go on before a human is called, beyond the policy's own deadline.
const REVERT_SLACK: i64 = 3 * MINUTE;
/// How old the counts and reads on which a cutover ends may be.
const SIGHT_OF_THE_END: i64 = 6 * MINUTE;
/// For how long a target must have been somewhat worse for a rise after it to be wrong: the judge needs its time.
const WORSE: i64 = 15 * MINUTE;
/// And this many requests.
const WORSE_REQUESTS: u64 = 500;
/// The same of one that fails most of what it gets: nothing rises on an interval like that, and counts are at most so
/// old.
const BROKEN: i64 = 6 * MINUTE;

/// One thing that must not have happened.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The check: `pure`, `journal`, `belief`, `evidence`, `revert`, `capture`, `limits`, `orders`, `resume`,
    /// `finish`.
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
    /// When the last read and the last checks that came in were begun, in true time.
    read_begun: i64,
    checks_begun: i64,
    /// The gates that said yes, each before its step, with when they were asked.
    open_gates: BTreeMap<(String, usize), i64>,
    standing: bool,
    journal_writable: bool,
    restoring: Option<i64>,
    /// Since when this revert is tried; a confirmed one that was undone begins anew.
    reverting_since: Option<i64>,
    ended_by_abort: bool,
    /// What stood when somebody said that it goes on from there.
    consented: Option<Share>,
    /// Whether an abort is on disk; one that is not, because the disk was full, is forgotten by a restart.
    aborted_on_disk: bool,
    foreign_at: Option<i64>,
    foreign_landed: bool,
    worse_since: Option<i64>,
    /// Requests of the target that were counted since then, while the source was well.
    worse_requests: u64,
    /// And how many of those failed.
    worse_errors: u64,
    broken_since: Option<i64>,
    generation: Generation,
    now: i64,
    downtime: i64,
    /// The most that the target was ever given by us, class by class, or had before.
    highest: Share,
    /// Whether the proxies were asked to hold the revert, and whether they said that they do.
    arming: bool,
    armed: bool,
    /// Whether the requests of the last counted interval showed the share that was asked for.
    share_shown: bool,
    /// Since when the balancer has given the target everything, and until when it last did for long enough.
    all_since: Option<i64>,
    silent_until: Option<i64>,
    draining_since: i64,
    /// Whether somebody has just ordered to go on.
    advanced: bool,
    thin: bool,
    /// How often the same share was written again, and how often a foreign one was adopted, without progress.
    rewritten: u32,
    adopted: u32,
    /// The foreign share that was taken as ours last.
    taken: Option<Share>,
    /// What the balancer gives the target, in truth.
    gives: Share,
    /// Whether a revert stands that was carried out while the journal could not be written.
    reverted_unknown: bool,
}

/// One event and its answer.
#[derive(Debug)]
pub struct Step<'a> {
    /// What happened.
    pub event: &'a Event,
    /// When a reply began on its way, in true time; else now.
    pub begun: i64,
    /// The cutover before it.
    pub before: &'a Cutover,
    /// And after it.
    pub after: &'a Cutover,
    /// What is on disk when the commands go out.
    pub disk: &'a Cutover,
    /// What goes out.
    pub commands: &'a [Command],
    /// Whether an order was taken.
    pub accepted: bool,
    /// Whether the answer is an entry of the journal.
    pub journal: bool,
    /// The daemon's clock.
    pub now: Timestamp,
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
            read_begun: i64::MIN,
            checks_begun: i64::MIN,
            open_gates: BTreeMap::new(),
            standing: false,
            journal_writable: true,
            restoring: None,
            reverting_since: None,
            ended_by_abort: false,
            aborted_on_disk: false,
            consented: None,
            foreign_at: None,
            foreign_landed: false,
            worse_since: None,
            worse_requests: 0,
            worse_errors: 0,
            broken_since: None,
            generation: Generation::default(),
            now: 0,
            downtime: 0,
            highest: share,
            arming: false,
            armed: false,
            share_shown: true,
            all_since: None,
            silent_until: None,
            draining_since: 0,
            advanced: false,
            thin: faults.has(Fault::ThinTraffic),
            rewritten: 0,
            adopted: 0,
            taken: None,
            gives: share,
            reverted_unknown: false,
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
        let (worse, broken) = match health {
            // At 5 % and hundreds of requests a step may still pass, when it was well for long before.
            Health::Failing(share) => (share >= 0.1, share >= 0.3),
            Health::Slow(factor) => (factor >= 2.0, false),
            Health::Good | Health::Silent => (false, false),
        };
        if self.worse_since.is_none() {
            (self.worse_requests, self.worse_errors) = (0, 0);
        }
        self.worse_since = if worse { self.worse_since.or(Some(now)) } else { None };
        self.broken_since = if broken { self.broken_since.or(Some(now)) } else { None };
    }

    /// The balancer changed, by a write of ours.
    pub fn landed(&mut self, share: Share, now: i64) {
        self.last_landing = now;
        self.foreign_landed = false;
        self.gives(share, now);
    }

    /// The balancer changed, by a shot of the proxies: the share is the armed one, all else is as it was.
    pub fn shot(&mut self, share: Share, now: i64) {
        self.last_landing = now;
        self.gives(share, now);
    }

    /// The balancer changed, by someone else.
    pub fn foreign(&mut self, share: Share, now: i64) {
        self.gives(share, now);
        self.last_landing = now;
        self.foreign_at = Some(now);
        self.foreign_landed = true;
    }

    /// The balancer gives the target `share` from `now` on.
    fn gives(&mut self, share: Share, now: i64) {
        self.gives = share;
        self.reverted_unknown &= share == self.original;
        let quiet = i64::try_from(self.policy.drain.quiet.as_millis()).unwrap_or(i64::MAX);
        if share == Share::ALL {
            self.all_since.get_or_insert(now);
        } else if self.all_since.take().is_some_and(|since| now - since >= quiet) {
            self.silent_until = Some(now);
        }
    }

    /// The shell is about to look at the last moments: it must be asked to, in every phase but done and aborted.
    pub fn looks(&mut self, cutover: &Cutover) {
        let must = match cutover.phase {
            Phase::Shifting { .. }
            | Phase::Baking { .. }
            | Phase::Draining
            | Phase::Reverting { .. }
            | Phase::Stuck { .. } => true,
            Phase::Gated { .. } => cutover.generation > Generation::default(),
            Phase::Reverted => cutover.closed.is_none(),
            Phase::Pending | Phase::Preflight | Phase::Baseline | Phase::Done | Phase::Aborted => false,
        };
        self.insist(!must || cutover.watched(), "revert", || {
            format!("nobody looks at the tripwires in {}", cutover.phase.name())
        });
    }

    /// What was on disk was read back.
    pub fn read_back(&mut self, written: &str, read: &Cutover) {
        let again = serde_json::to_string(read).unwrap_or_default();
        self.insist(written == again, "resume", || "what is read from the journal is not what was written".to_owned());
    }

    /// A lever is moved that stands at `stands`: what is on disk must say so, or say where it stood before an earlier move.
    pub fn lever_moves(&mut self, lever: Lever, stands: u32, disk: &Cutover) {
        let pulled = disk.levers.pulled.get(&lever).copied();
        let known = pulled.is_some_and(|pulled| pulled.before == stands || pulled.wanted == stands);
        self.insist(known, "levers", || format!("{lever:?} is moved from {stands}, and on disk is {pulled:?}"));
    }

    /// Tasks of the target are taken away.
    pub fn tasks_go(&mut self, serves: bool) {
        self.insist(!serves, "levers", || "tasks of a target that serves were taken away".to_owned());
    }

    /// How the levers stand when all is over: as before, but for tasks that the target keeps.
    pub fn levers_ended(&mut self, levers: &Stands, before: &Stands) {
        let as_before = levers.scale_in_suspended == before.scale_in_suspended
            && levers.keep_alive == before.keep_alive
            && levers.target_count >= before.target_count;
        self.insist(as_before, "levers", || format!("the levers stand as {levers:?} and were {before:?}"));
    }

    /// The daemon came back with what was on disk: what it did since then without an entry is unknown to it.
    pub fn restarted(&mut self, cutover: &Cutover) {
        self.journal_writable = true;
        self.ended_by_abort &= self.aborted_on_disk;
        self.last_read = None;
        if !matches!(cutover.phase, Phase::Reverting { .. } | Phase::Reverted | Phase::Stuck { .. }) {
            // A revert that was carried out while the journal was unwritable is not on disk.
            self.restoring = None;
        }
        self.standing = cutover.standing.is_some();
        // What was under way is not answered any more: the settle time begins anew.
        self.written = self.written.filter(|(_, answered)| answered.is_some());
        (self.arming, self.armed) = (false, false);
        // The time of a revert is counted in the state, and the last of it may not be on disk.
        self.reverting_since = self.reverting_since.map(|_| self.now);
        self.downtime = 0;
        // Where the journal could not be written, less is on disk than was done.
        let forgotten = cutover.generation < self.generation;
        self.generation = self.generation.min(cutover.generation);
        if forgotten {
            self.asked = cutover.desired;
            self.reverted_unknown = self.restoring_landed(cutover);
            // What the step had counted is known to the state and not to these books any more.
            self.foreign_at = Some(self.now);
            self.written = None;
        }
        if cutover.generation > self.generation {
            // The entry is on disk and its write never went out: what is asked for now was decided then.
            self.asked = cutover.desired;
            self.begin_step();
        }
    }

    /// Whether a revert was carried out that the journal does not know, and stands.
    fn restoring_landed(&self, cutover: &Cutover) -> bool {
        let knows = matches!(cutover.phase, Phase::Reverting { .. } | Phase::Reverted | Phase::Stuck { .. });
        // A first step that was never written looks the same.
        let first = matches!(cutover.phase, Phase::Shifting { step: 0, .. });
        self.reverting_since.is_some()
            && !knows
            && !first
            && self.gives == self.original
            && cutover.desired != self.original
    }

    /// The daemon's clock stepped: where the counted windows ended is a time of another clock.
    pub fn clock_stepped(&mut self) {
        self.counted_to = None;
    }

    /// The same decision was taken twice; both, as text.
    pub fn repeated(&mut self, first: &str, second: &str) {
        self.insist(first == second, "pure", || {
            let differs = first.bytes().zip(second.bytes()).take_while(|(a, b)| a == b).count();
            let around = |text: &str| text.chars().skip(differs.saturating_sub(20)).take(60).collect::<String>();
            format!("one event, two answers: ..{}.. and ..{}..", around(first), around(second))
        });
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
        let known = self.last_read.as_ref().map_or(self.asked, |reading| reading.share);
        commands.iter().any(
            |command| matches!(command, Command::Write { share, .. } if share.raises(self.asked) || share.raises(known)),
        )
    }

    /// One event was answered: what came in, what follows, what is on disk.
    pub fn answered(&mut self, step: &Step<'_>) {
        let &Step { event, begun, before, after, disk, commands, accepted, journal, now } = step;
        self.take_in(event, begun, before, accepted, now);
        self.aborted_on_disk |= matches!(disk.phase, Phase::Aborted);
        self.limits(after, commands);
        self.place(event, before, after, journal);
        for command in commands {
            match command {
                Command::Write { share, generation } => self.write(*share, *generation, after, disk, now),
                Command::Restore { action, generation } => {
                    self.reverted_on_evidence |= after.reason.kind == "verdict_fail";
                    self.restore(action, *generation);
                }
                Command::Arm { share, .. } => {
                    (self.arming, self.armed) = (true, false);
                    // Before the first write the original is what was read last.
                    let untouched = self.last_read.as_ref().filter(|_| self.generation == Generation::default());
                    let original = untouched.map_or(self.original, |reading| reading.share);
                    self.insist(*share == original, "revert", || format!("armed with {share}, not with {original}"));
                }
                Command::Disarm => (self.arming, self.armed) = (false, false),
                _ => {}
            }
            let closed = before.closed.is_some() && matches!(command, Command::Write { .. } | Command::Restore { .. });
            self.insist(!closed, "orders", || "a closed cutover moves traffic".to_owned());
        }
        if before.phase == Phase::Preflight && after.phase == Phase::Baseline {
            self.begun();
        }
        self.wanted(after);
        self.fights(before, after);
        self.tripwire(event, before, after);
        self.unhealthy(event, before, after);
        self.ordered(event, before, after, accepted);
        self.advanced = step.accepted && matches!(event, Event::Ordered(order) if order.verb == Verb::Advance);
        self.arrived(before, after, commands);
    }

    /// A place on the ladder is left only by an entry of the journal, and a restart leaves none.
    fn place(&mut self, event: &Event, before: &Cutover, after: &Cutover, journal: bool) {
        let place = |cutover: &Cutover| (cutover.phase.name(), cutover.step(), cutover.desired, cutover.earned);
        let moved = place(before) != place(after);
        self.insist(journal || !moved, "journal", || {
            format!("{} became {} and no entry says so", before.phase.name(), after.phase.name())
        });
        self.insist(!moved || !matches!(event, Event::Restarted), "resume", || {
            format!("a restart in {} at {} goes on in {}", before.phase.name(), before.desired, after.phase.name())
        });
        let latched = !matches!(before.phase, Phase::Aborted) || matches!(after.phase, Phase::Aborted);
        self.insist(latched, "orders", || format!("an aborted cutover went on in {}", after.phase.name()));
        let paused =
            |cutover: &Cutover| cutover.standing.as_ref().is_some_and(|standing| standing.kind == StandingKind::Pause);
        if paused(before) && paused(after) && !moved {
            let spent = |cutover: &Cutover| {
                let budgets = &cutover.budgets;
                [budgets.hold, budgets.blind, budgets.bake, budgets.gate, budgets.phase]
            };
            let stand_still = spent(before).iter().zip(spent(after)).all(|(before, after)| after <= *before);
            self.insist(stand_still, "orders", || "a budget runs in a pause".to_owned());
        }
    }

    /// What is wanted was earned: nothing that someone else set, and we took over, stands above it.
    fn wanted(&mut self, after: &Cutover) {
        // The step above was earned when the one below had passed, whether or not its gates are open.
        let steps = &self.policy.shift.steps;
        let next = steps.iter().rposition(|step| !step.raises(self.highest)).map_or(0, |rung| rung + 1);
        let (wanted, highest) = (after.desired, steps.get(next).copied().unwrap_or(Share::ALL));
        let judged = matches!(after.phase, Phase::Gated { .. } | Phase::Baking { .. } | Phase::Draining);
        let holds = !judged || self.generation == Generation::default() || !wanted.raises(highest);
        self.insist(holds, "evidence", || format!("{wanted} is taken as ours and only {highest} was earned"));
    }

    /// Two who write each their own share do not go on for ever.
    fn fights(&mut self, before: &Cutover, after: &Cutover) {
        let stood = matches!(before.phase, Phase::Gated { .. } | Phase::Baking { .. } | Phase::Draining);
        let same = before.desired == after.desired;
        self.rewritten += u32::from(stood && same && matches!(after.phase, Phase::Shifting { .. }));
        let stands = matches!(after.phase, Phase::Gated { .. } | Phase::Baking { .. } | Phase::Draining);
        if stood && stands && !same {
            self.adopted += 1;
            self.taken = Some(after.desired);
        }
        let most = 2 * self.policy.shift.attempts_max + 2;
        let (rewritten, adopted) = (self.rewritten, self.adopted);
        self.insist(rewritten <= most && adopted <= most, "limits", || {
            format!("a share was written again {rewritten} times, and a foreign one adopted {adopted} times")
        });
    }

    /// Keeps the books of what came in.
    fn take_in(&mut self, event: &Event, begun: i64, before: &Cutover, accepted: bool, now: Timestamp) {
        match event {
            Event::Read(reading) => {
                // The clock of the daemon may step; true time does not. What claims to be of the future nobody believes.
                if reading.begun <= now && begun >= self.read_begun {
                    self.last_read = Some(reading.clone());
                    self.read_begun = begun;
                }
                self.confirmed |= self.shows(reading, self.asked);
            }
            Event::Written { generation, .. } => self.settle(*generation, now),
            // What was refused for good is not on its way.
            Event::Failed { generation: Some(generation), retry: Retry::Never, .. } => {
                self.written = self.written.filter(|(last, _)| last != generation);
            }
            Event::Failed { generation: Some(generation), .. } => self.settle(*generation, now),
            Event::Observed(observation) => {
                // A clock that steps back counts other stretches of true time by the same names.
                let fresh = self.counted_to.is_none_or(|to| {
                    if self.steady_clock { observation.window.from >= to } else { observation.window.to != to }
                });
                let asked = self.asked;
                self.share_shown = shows_share(&observation.reads, asked.reads, &self.policy)
                    && shows_share(&observation.writes, asked.writes, &self.policy);
                let target = |count: fn(&judge::Counts) -> u64| {
                    count(&observation.reads.target) + count(&observation.writes.target)
                };
                // With a source that is broken itself nothing can be compared.
                let source = &observation.reads.source;
                if fresh && source.errors() * 10 <= source.requests {
                    self.worse_requests += target(|counts| counts.requests);
                    self.worse_errors += target(judge::Counts::errors);
                }
                if self.confirmed && fresh {
                    self.counted += observation.window.to.since(observation.window.from);
                    self.target_requests +=
                        observation.reads.target.requests.saturating_add(observation.writes.target.requests);
                }
                if fresh {
                    self.counted_to = Some(observation.window.to);
                }
            }
            Event::Checked { checks, begun: claimed } if *claimed <= now && begun >= self.checks_begun => {
                self.checks.clone_from(checks);
                self.checks_begun = begun;
            }
            Event::Armed => self.armed |= self.arming,
            Event::GateAnswered { gate, step, answer: GateAnswer::Yes, .. } => {
                let asked = self.open_gates.entry((gate.clone(), *step)).or_insert(begun);
                *asked = begun.max(*asked);
            }
            Event::Journal { writable } => self.journal_writable = *writable,
            Event::Ordered(order) if accepted => {
                (self.rewritten, self.adopted) = (0, 0);
                self.reverted_unknown = false;
                self.obey(&order.verb, before);
            }
            _ => {}
        }
    }

    /// Keeps the books of an order that was taken.
    fn obey(&mut self, verb: &Verb, before: &Cutover) {
        match verb {
            Verb::Hold | Verb::Pause => self.standing = true,
            Verb::Resume { adopt_policy } => {
                self.standing = false;
                self.consented = self.last_read.as_ref().map(|reading| reading.share);
                if let Some(policy) = adopt_policy {
                    self.policy = (**policy).clone();
                }
            }
            Verb::Advance => {
                self.consented = self.last_read.as_ref().map(|reading| reading.share);
                self.open_every_gate(before);
            }
            Verb::Start => {
                self.checks.clear();
                self.standing = false;
            }
            Verb::Abort => self.ended_by_abort = true,
            Verb::Revert | Verb::Close => {}
        }
    }

    /// A person said go on: every gate of the step that waits is open.
    fn open_every_gate(&mut self, before: &Cutover) {
        if let Some(step) = before.step() {
            for gate in &self.policy.gates {
                self.open_gates.insert((gate.name.clone(), step), OPENED);
                self.open_gates.insert((gate.name.clone(), step + 1), OPENED);
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

    /// The true time of what comes next, and how much of it the daemon was not there.
    pub fn at(&mut self, now: i64, down: bool) {
        if down {
            self.downtime += now - self.now;
        }
        self.now = now;
    }

    /// The world has ended: what must be true then.
    pub fn ended(&mut self, phase: &Phase, action: &Value) {
        if matches!(phase, Phase::Reverted) && !self.foreign_landed {
            let original = self.original_action.clone();
            self.insist(*action == original, "revert", || format!("reverted, and the balancer says {action}"));
        }
    }
}

/// Whether the requests of one interval show `weight`, by the policy's tolerance and what chance does to so many.
fn shows_share(block: &judge::Block, weight: cutover::Weight, policy: &Policy) -> bool {
    let (target, both) = (block.target.requests, block.target.requests + block.source.requests);
    let w = weight.fraction();
    let chance = 6.0 * (w * (1.0 - w) / both.max(1) as f64).sqrt();
    both == 0 || (target as f64 / both as f64 - w).abs() <= policy.shift.share_tolerance + chance
}
