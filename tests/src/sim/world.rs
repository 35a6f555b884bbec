//! The world a cutover runs in: what is true, what happens, and what the daemon is told of it.

mod schedule;
mod shell;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

use cutover::cutover::GateState;
use cutover::event::{CommandKind, Order, Retry, Verb};
use cutover::policy::Policy;
use cutover::{Command, Cutover, Decision, Event, Generation, Phase, Share, Stands, Timestamp, Weight};
use fastrand::Rng;
use serde_json::{Value, json};

use super::coverage::Coverage;
use super::faults::{Fault, Faults};
use super::mutants::{Mutant, answer};
use super::oracle::{Oracle, Step, Violation};
use super::policy;
use super::service::{Health, Load};
use schedule::Ambush;

/// One second, in the milliseconds of true time.
const SECOND: i64 = 1_000;
/// One minute.
const MINUTE: i64 = 60 * SECOND;
/// Faults happen before this; then the world is healed.
const FAULTS_END: i64 = 60 * MINUTE;
/// How long a healed world has to finish: two days, because change windows may open once a day.
const PATIENCE: i64 = 48 * 60 * MINUTE;
/// How often the last moments are counted.
const GLANCE: i64 = 45 * SECOND;
/// When the shell gives up on a reply.
const TIMEOUT: i64 = 30 * SECOND;
/// A world that has more events than this is a runaway.
const EVENTS_MAX: usize = 60_000;
/// One decision in so many is taken twice.
const REPEAT_EVERY: usize = 211;
/// Monday 2026-01-12T06:00:00Z: 07:00 in Berlin, an hour before the worlds' change windows open.
const EPOCH: i64 = 1_768_197_600_000;

/// How the fleet's levers stand at first: a target that is smaller than the source.
const LEVERS: Stands = Stands {
    source_count: Some(4),
    target_count: Some(1),
    count_max: Some(8),
    scale_in_suspended: Some(false),
    keep_alive: Some(3600),
};

/// How a world ended.
#[derive(Debug)]
pub struct Outcome {
    /// The faults it had.
    pub faults: Faults,
    /// The first thing that must not have happened, if any.
    pub violation: Option<Violation>,
    /// The phase it ended in.
    pub phase: &'static str,
    /// Whether the target was healthy all the time and the world reverted it all the same, on evidence alone.
    pub false_revert: bool,
    /// Decisions taken.
    pub decisions: usize,
    /// The last decisions, oldest first, for a person.
    pub trace: Vec<String>,
}

/// Something that will happen.
#[derive(Clone, Debug)]
enum Item {
    /// An event reaches the daemon that had this incarnation; and when it began on its way, in true time.
    Deliver(Box<Event>, u32, i64),
    /// A write reaches the balancer.
    Land(Value, Share),
    /// The daemon asked to be woken.
    Wake(u32),
    /// The last moments are counted.
    Glance,
    /// The proxies look at their own figures.
    ProxiesLook,
    /// The daemon dies, for so long.
    Crash { down: i64 },
    /// It comes back.
    Restart,
    /// The cutover is ordered to start.
    Start,
    /// Someone orders something.
    Order(Verb),
    /// Someone else changes the weights, and so often again.
    Foreign { share: Share, again: i64 },
    /// The daemon's clock steps.
    StepClock(i64),
    /// A side gets better or worse.
    Health { fault: Fault, source: Option<Health>, target: Option<Health>, length: Option<i64> },
    /// The journal cannot be written, for so long.
    JournalFails { length: i64 },
    /// It can be written again.
    JournalWorks,
    /// The policy file changes.
    PolicyChanged,
    /// Something is wrong for so long.
    Switch { fault: Fault, length: i64 },
    /// The balancer takes nothing for so long, and somebody orders a revert meanwhile.
    RefusedRevert { length: i64 },
    /// A reply of that kind comes once more.
    Again(&'static str),
    /// All faults end.
    Heal,
    /// Someone looks after a cutover that waits for a person.
    Nurse,
}

/// The piecewise constant truth: what the share and the health were since when.
#[derive(Clone, Copy, Debug)]
struct Truth {
    since: i64,
    share: Share,
    source: Health,
    target: Health,
}

/// The state of a world.
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that is or is not so in the world")]
struct World<'a> {
    rng: Rng,
    faults: Faults,
    load: Load,
    mutant: Option<Mutant>,
    coverage: &'a mut Coverage,
    oracle: Oracle,
    now: i64,
    offset: i64,
    /// When the daemon's clock stepped, in true time, and by how much it was ahead of it until then.
    steps: Vec<(i64, i64)>,
    queue: BinaryHeap<Reverse<(i64, u64)>>,
    items: BTreeMap<u64, Item>,
    sequence: u64,
    action: Value,
    truth: Vec<Truth>,
    healed: bool,
    incarnation: u32,
    alive: bool,
    cutover: Arc<Cutover>,
    disk: Arc<Cutover>,
    journal_works: bool,
    journal_told: bool,
    /// Until when what is wrong.
    switches: BTreeMap<Fault, i64>,
    ambushes: Vec<Ambush>,
    /// The last reply of each kind to this run of the daemon, and when it began.
    replies: BTreeMap<&'static str, (Event, i64)>,
    /// The faults that really happened.
    met: Faults,
    /// A shot of the proxies that no daemon has heard of.
    unheard: Option<Event>,
    write_under_way: Option<Generation>,
    wake: Option<i64>,
    armed: Option<Share>,
    gates_asked: BTreeMap<String, u32>,
    /// How the fleet's levers stand.
    levers: Stands,
    decisions: usize,
    trace: VecDeque<String>,
    sick: bool,
}

/// Runs the world of `seed` with the real core, or with a broken one.
pub fn run(seed: u64, mutant: Option<Mutant>, coverage: &mut Coverage) -> Outcome {
    let mut rng = Rng::with_seed(seed);
    let faults = Faults::draw(&mut rng);
    let mut world = World::new(rng, faults, mutant, coverage);
    world.schedule_faults();
    world.live()
}

/// The action of a balancer that gives the target `share`, with something in it that only a whole restore brings back.
fn action(share: Share, note: &str) -> Value {
    json!({ "reads": share.reads.per_mille(), "writes": share.writes.per_mille(), "note": note })
}

/// The whole of a decision as text, as it would be in the journal.
fn print(decision: &Decision) -> String {
    let Decision { next, commands, reason, accepted, journal } = decision;
    serde_json::to_string(&(reason, accepted, journal, commands, next)).expect("a decision can be written")
}

impl<'a> World<'a> {
    fn new(mut rng: Rng, faults: Faults, mutant: Option<Mutant>, coverage: &'a mut Coverage) -> Self {
        let policy = policy::draw(&mut rng, &faults);
        let start = if faults.has(Fault::WeightedStart) {
            Share::both(Weight::new(rng.u16(1..200)).expect("below 1000"))
        } else {
            Share::NONE
        };
        let rate = if faults.has(Fault::ThinTraffic) { 0.05 } else { [20.0, 60.0, 200.0][rng.usize(0..3)] };
        let original = action(start, "as the operator left it");
        let cutover = Arc::new(Cutover::new("simulated-1", policy, Timestamp(EPOCH)));
        let good = Truth { since: 0, share: start, source: Health::Good, target: Health::Good };
        Self {
            oracle: Oracle::new(Policy::clone(&cutover.policy), start, original.clone(), &faults),
            rng,
            load: Load { reads: rate * 0.8, writes: rate * 0.2, errors: 0.001 },
            mutant,
            coverage,
            now: 0,
            offset: 0,
            steps: Vec::new(),
            queue: BinaryHeap::new(),
            items: BTreeMap::new(),
            sequence: 0,
            action: original,
            truth: vec![good],
            healed: false,
            incarnation: 0,
            alive: true,
            disk: cutover.clone(),
            cutover,
            journal_works: true,
            journal_told: true,
            switches: BTreeMap::new(),
            ambushes: Vec::new(),
            replies: BTreeMap::new(),
            met: faults.from_the_start(),
            unheard: None,
            write_under_way: None,
            wake: None,
            armed: None,
            gates_asked: BTreeMap::new(),
            levers: LEVERS,
            decisions: 0,
            trace: VecDeque::new(),
            sick: false,
            faults,
        }
    }

    /// What the daemon's clock says.
    fn clock(&self) -> Timestamp {
        Timestamp(EPOCH + self.now + self.offset)
    }

    /// When the daemon's clock showed `at`, in true time: the last time that it did. What it skipped by a step forward it
    /// showed at that step.
    fn true_time(&self, at: Timestamp) -> i64 {
        let shown = at.0 - EPOCH;
        let mut until = i64::MAX;
        let mut offset = self.offset;
        for &(stepped, before) in self.steps.iter().rev() {
            if shown - offset >= stepped {
                break;
            }
            (until, offset) = (stepped, before);
        }
        (shown - offset).min(until)
    }

    /// Plans `item` for `at`.
    fn plan(&mut self, at: i64, item: Item) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence)));
        self.items.insert(self.sequence, item);
    }

    /// Delivers `event` to the daemon as it is now, in `delay`.
    fn deliver(&mut self, delay: i64, event: Event) {
        let item = Item::Deliver(Box::new(event), self.incarnation, self.now);
        self.plan(self.now + delay, item);
    }

    /// Runs to the end.
    fn live(mut self) -> Outcome {
        while let Some(Reverse((at, key))) = self.queue.pop() {
            self.now = at;
            self.oracle.at(at, !self.alive);
            let item = self.items.remove(&key).expect("each queued key has its item");
            self.happen(item);
            if self.oracle.violation.is_some() {
                break;
            }
            if self.decisions > EVENTS_MAX {
                self.oracle.accuse("limits", format!("{EVENTS_MAX} decisions and no end"));
                break;
            }
            if self.healed && self.finished() {
                break;
            }
            if self.now > FAULTS_END + PATIENCE {
                let (phase, outlook) = (self.cutover.phase.name(), self.cutover.outlook.clone());
                self.oracle.accuse("finish", format!("a healed world is still {phase}: {outlook}"));
                break;
            }
        }
        if self.oracle.violation.is_none() {
            self.oracle.ended(&self.cutover.phase, &self.action);
            // Somebody may close a cutover whose levers cannot be put back, and is told which those are.
            if self.cutover.levers.pulled.is_empty() {
                self.oracle.levers_ended(&self.levers, &LEVERS);
            }
        }
        let by_evidence = matches!(self.cutover.phase, Phase::Reverted) && self.oracle.reverted_on_evidence;
        Outcome {
            violation: self.oracle.violation,
            phase: self.cutover.phase.name(),
            false_revert: by_evidence && !self.sick,
            decisions: self.decisions,
            trace: self.trace.into(),
            faults: self.met,
        }
    }

    /// Whether nothing more will happen, for good reasons.
    fn finished(&self) -> bool {
        let quiet_since = self.oracle.last_landing + 15 * MINUTE;
        let start_refused = matches!(self.cutover.phase, Phase::Pending) && self.weighted();
        (self.cutover.ended() || start_refused)
            && (self.cutover.levers.pulled.is_empty() || self.cutover.closed.is_some())
            && self.alive
            && self.now > quiet_since
            && self.now > FAULTS_END + MINUTE
    }

    /// Whether the target has weight, so that most policies refuse to start.
    fn weighted(&self) -> bool {
        self.truth.last().is_some_and(|truth| truth.share != Share::NONE)
    }

    /// One thing happens.
    fn happen(&mut self, item: Item) {
        match item {
            Item::Deliver(event, incarnation, begun) => {
                if incarnation == self.incarnation && self.alive {
                    if let Event::Written { generation, .. } | Event::Failed { generation: Some(generation), .. } =
                        &*event
                        && self.write_under_way == Some(*generation)
                    {
                        self.write_under_way = None;
                    }
                    if self.faults.has(Fault::ReorderedReply) {
                        self.replies.insert(super::coverage::name(&event), (Event::clone(&event), begun));
                    }
                    if matches!(*event, Event::Fired { .. }) {
                        self.unheard = None;
                    }
                    self.step_begun(&event, begun);
                }
            }
            Item::Land(action, share) => self.land(action, share),
            Item::Wake(incarnation) => {
                if incarnation == self.incarnation && self.alive && self.wake.is_some_and(|at| at <= self.now) {
                    self.wake = None;
                    self.step(&Event::Tick);
                }
            }
            Item::Glance => self.glance(),
            Item::ProxiesLook => self.proxies_fire(),
            Item::Crash { down } => {
                if !self.healed {
                    self.crash(down);
                }
            }
            Item::Restart => self.restart(),
            Item::Start => self.order(Verb::Start),
            Item::Order(verb) => {
                self.met.add(Fault::Operator);
                self.order(verb);
            }
            Item::Foreign { share, again } => self.foreign(share, again),
            Item::StepClock(step) => {
                self.met.add(Fault::ClockStep);
                self.steps.push((self.now, self.offset));
                self.offset += step;
                self.oracle.clock_stepped();
            }
            Item::Health { fault, source, target, length } => self.sicken(fault, source, target, length),
            Item::JournalFails { length } => {
                if !self.healed {
                    self.met.add(Fault::JournalFull);
                    self.journal_works = false;
                    self.plan(self.now + length, Item::JournalWorks);
                }
            }
            Item::JournalWorks => self.journal_works_again(),
            Item::PolicyChanged => self.policy_changed(),
            Item::Switch { fault, length } => {
                self.switches.insert(fault, self.now + length);
            }
            Item::RefusedRevert { length } => {
                self.switches.insert(Fault::RefusedWrite, self.now + length);
                self.plan(self.now + length / 8, Item::Order(Verb::Revert));
            }
            Item::Again(kind) => {
                let again = self.replies.get(kind).filter(|_| self.alive && !self.healed).cloned();
                if let Some((event, begun)) = again {
                    self.met.add(Fault::ReorderedReply);
                    self.step_begun(&event, begun);
                }
            }
            Item::Heal => self.heal(),
            Item::Nurse => self.nurse(),
        }
    }

    /// Someone orders something.
    fn order(&mut self, verb: Verb) {
        if self.alive {
            let reason = "the world wants it".to_owned();
            self.step(&Event::Ordered(Order { verb, actor: "operator".to_owned(), reason }));
        }
    }

    /// The daemon dies: what was under way is never answered.
    fn crash(&mut self, down: i64) {
        if self.alive {
            self.met.add(Fault::Crash);
            self.alive = false;
            self.incarnation += 1;
            self.write_under_way = None;
            self.wake = None;
            self.journal_told = true;
            self.replies.clear();
            self.plan(self.now + down, Item::Restart);
        }
    }

    /// The daemon comes back with what is on disk, as it was written there.
    fn restart(&mut self) {
        if self.alive {
            return;
        }
        self.alive = true;
        let written = serde_json::to_string(&*self.disk).expect("a cutover can be written");
        let read: Cutover = serde_json::from_str(&written).expect("what was written can be read");
        self.oracle.read_back(&written, &read);
        self.cutover = Arc::new(read);
        self.oracle.restarted(&self.cutover);
        self.step(&Event::Restarted);
        // The proxies report a shot until somebody has heard of it.
        if let Some(shot) = self.unheard.clone() {
            self.deliver(SECOND, shot);
        }
    }

    /// Someone else changes the weights; a controller does so again and again.
    fn foreign(&mut self, share: Share, again: i64) {
        if self.healed || matches!(self.cutover.phase, Phase::Pending) {
            return;
        }
        self.met.add(Fault::Drift);
        self.action = action(share, "someone was here");
        self.set_truth(|truth| truth.share = share);
        self.oracle.foreign(share, self.now);
        if again > 0 {
            let pause = self.rng.i64(20 * SECOND..90 * SECOND);
            self.plan(self.now + pause, Item::Foreign { share, again: again - 1 });
        }
    }

    /// A side gets worse, some for a while only.
    fn sicken(&mut self, fault: Fault, source: Option<Health>, target: Option<Health>, length: Option<i64>) {
        let sick = |health: Option<Health>| health.is_some_and(|health| health != Health::Good);
        if self.healed {
            return;
        }
        self.met.add(fault);
        self.sick |= sick(target);
        if let Some(length) = length {
            let well = |health: Option<Health>| health.map(|_| Health::Good);
            let item = Item::Health { fault, source: well(source), target: well(target), length: None };
            self.plan(self.now + length, item);
        }
        self.set_truth(|truth| {
            truth.source = source.unwrap_or(truth.source);
            truth.target = target.unwrap_or(truth.target);
        });
        self.tell_health();
        self.proxies_will_look();
    }

    /// The proxies look at their figures all the time; it matters soon after something changed.
    fn proxies_will_look(&mut self) {
        if self.armed.is_some() {
            let soon = self.rng.i64(300..3 * SECOND);
            self.plan(self.now + soon, Item::ProxiesLook);
        }
    }

    /// The oracle learns how both sides are.
    fn tell_health(&mut self) {
        let truth = *self.truth.last().expect("the truth begins with the world");
        self.oracle.target_is(truth.target, self.now);
    }

    /// The journal can be written again, and the daemon learns of it.
    fn journal_works_again(&mut self) {
        self.journal_works = true;
        if !self.journal_told && self.alive {
            self.journal_told = true;
            self.step(&Event::Journal { writable: true });
        }
    }

    /// The policy file changes; half of the operators adopt it.
    fn policy_changed(&mut self) {
        if self.alive {
            self.met.add(Fault::PolicyChange);
            let change = Some("`source.headers` changed".to_owned());
            self.step(&Event::PolicyChanged { change });
            if self.rng.bool() {
                let policy = policy::changed(&self.cutover.policy);
                self.order(Verb::Resume { adopt_policy: Some(Box::new(policy)) });
            }
        }
    }

    /// All faults end; the daemon runs, the target is well, a person looks after what waits for one.
    fn heal(&mut self) {
        self.healed = true;
        self.switches.clear();
        self.journal_works_again();
        self.load.reads = self.load.reads.max(40.0);
        self.load.writes = self.load.writes.max(10.0);
        self.set_truth(|truth| {
            truth.source = Health::Good;
            truth.target = Health::Good;
        });
        self.tell_health();
        self.plan(self.now + 10 * MINUTE, Item::Nurse);
    }

    /// Ends holds and pauses, opens gates, starts what was refused, every ten minutes.
    fn nurse(&mut self) {
        if self.alive && !self.cutover.ended() {
            // Evidence that an outage has spoiled may take days to come back: nobody waits so long.
            if self.now > FAULTS_END + PATIENCE / 2 && matches!(self.cutover.phase, Phase::Baking { .. }) {
                self.order(Verb::Revert);
            }
            if self.cutover.standing.is_some() {
                self.order(Verb::Resume { adopt_policy: None });
            }
            if matches!(self.cutover.phase, Phase::Pending) && !self.weighted() {
                self.order(Verb::Start);
            }
            // A gate that said no waits for a person, before a step and before a share is written once more.
            let shut = self.cutover.gates.values().any(|gate| matches!(gate, GateState::Shut { .. }));
            if self.cutover.halt.is_some() || matches!(self.cutover.phase, Phase::Gated { .. }) || shut {
                self.order(Verb::Advance);
            }
        }
        self.plan(self.now + 10 * MINUTE, Item::Nurse);
    }

    /// A write reaches the balancer.
    fn land(&mut self, action: Value, share: Share) {
        self.action = action;
        self.set_truth(|truth| truth.share = share);
        self.oracle.landed(share, self.now);
        self.proxies_will_look();
    }

    /// The truth changes now.
    fn set_truth(&mut self, change: impl FnOnce(&mut Truth)) {
        let mut next = *self.truth.last().expect("the truth begins with the world");
        next.since = self.now;
        change(&mut next);
        self.truth.push(next);
    }

    /// One event that begins now.
    fn step(&mut self, event: &Event) {
        self.step_begun(event, self.now);
    }

    /// One event that began at `begun`: decide, journal, carry out. In that order, always.
    fn step_begun(&mut self, event: &Event, begun: i64) {
        let now = self.clock();
        let decision = answer(self.mutant, &self.cutover, event, now);
        self.decisions += 1;
        self.coverage.reached(&self.cutover.phase, event);
        if self.decisions.is_multiple_of(REPEAT_EVERY) {
            let again = answer(self.mutant, &self.cutover, event, now);
            self.oracle.repeated(&print(&decision), &print(&again));
        }
        if decision.journal || decision.next.phase.name() != self.cutover.phase.name() {
            self.note(event, &decision.reason.text, decision.next.phase.name());
        }
        let next = Arc::new(decision.next);
        let rising = self.oracle.rises(&decision.commands);
        if decision.journal && !self.journal_works {
            if self.journal_told {
                self.journal_told = false;
                self.deliver(0, Event::Journal { writable: false });
            }
            if rising {
                return;
            }
        } else if self.journal_works && (decision.journal || self.rng.u32(0..10) > 0) {
            self.disk = Arc::clone(&next);
        }
        let before = std::mem::replace(&mut self.cutover, next);
        if before.phase.name() != self.cutover.phase.name() {
            self.spring(self.cutover.phase.name());
        }
        self.oracle.answered(&Step {
            event,
            begun,
            before: &before,
            after: &self.cutover,
            disk: &self.disk,
            commands: &decision.commands,
            accepted: decision.accepted,
            journal: decision.journal,
            now,
        });
        // Some crashes come between the entry and its commands.
        if !self.healed && self.faults.has(Fault::Crash) && decision.journal && self.rng.u32(0..40) == 0 {
            self.crash(20 * SECOND);
            return;
        }
        for command in decision.commands {
            // The shell changes no setting whose place before is not on disk.
            if let (Command::SetLever { from: None, .. }, true) = (&command, decision.journal && !self.journal_works) {
                let (what, retry, error) = (CommandKind::Lever, Retry::Later, "the journal is full".to_owned());
                self.deliver(0, Event::Failed { what, generation: None, retry, error, begun: now });
                continue;
            }
            self.carry_out(command);
        }
    }

    /// Keeps the last decisions for a person.
    fn note(&mut self, event: &Event, reason: &str, phase: &str) {
        if self.trace.len() == 40 {
            self.trace.pop_front();
        }
        let name = super::coverage::name(event);
        let minute = self.now as f64 / MINUTE as f64;
        let truth = self.truth.last().expect("the truth begins with the world").share;
        self.trace.push_back(format!("{minute:8.2} min  {name:<14} -> {phase:<10} truth {truth}  {reason}"));
    }
}
