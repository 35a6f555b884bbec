//! The world a cutover runs in, and the shell that carries out what the core asks for.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

use cutover::event::{Check, CheckOutcome, CommandKind, GateAnswer, Observation, Order, Reading, Retry, Verb};
use cutover::policy::{GateKind, Policy};
use cutover::{Command, Cutover, Event, Generation, Phase, Share, Timestamp, Weight, Window};
use fastrand::Rng;
use judge::Block;
use serde_json::{Value, json};

use super::coverage::Coverage;
use super::faults::{Fault, Faults};
use super::mutants::{Mutant, answer};
use super::oracle::{Oracle, Violation};
use super::policy;
use super::service::{self, Health, Load};

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
    /// An event reaches the daemon that had this incarnation.
    Deliver(Box<Event>, u32),
    /// A write reaches the balancer.
    Land(Value, Share),
    /// The daemon asked to be woken.
    Wake(u32),
    /// The last moments are counted.
    Glance,
    /// The daemon dies.
    Crash,
    /// It comes back.
    Restart,
    /// Someone orders something.
    Order(Verb),
    /// Someone else changes the weights.
    Foreign(Share),
    /// The daemon's clock steps.
    StepClock(i64),
    /// A side gets better or worse.
    Health { source: Option<Health>, target: Option<Health> },
    /// The journal fails or works again.
    Journal(bool),
    /// The policy file changes.
    PolicyChanged,
    /// One of the switches of the world is turned.
    Switch(Fault, bool),
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
    switches: BTreeMap<Fault, bool>,
    write_under_way: Option<Generation>,
    wake: Option<i64>,
    armed: Option<Share>,
    gates_asked: BTreeMap<String, u32>,
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
            write_under_way: None,
            wake: None,
            armed: None,
            gates_asked: BTreeMap::new(),
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

    /// Plans `item` for `at`.
    fn plan(&mut self, at: i64, item: Item) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence)));
        self.items.insert(self.sequence, item);
    }

    /// Delivers `event` to the daemon as it is now, in `delay`.
    fn deliver(&mut self, delay: i64, event: Event) {
        let item = Item::Deliver(Box::new(event), self.incarnation);
        self.plan(self.now + delay, item);
    }

    /// A moment of the time in which faults happen.
    fn moment(&mut self) -> i64 {
        self.rng.i64(2 * MINUTE..FAULTS_END)
    }

    /// Plans every fault of this world, its end, the start and the nurse's rounds.
    fn schedule_faults(&mut self) {
        self.plan(SECOND, Item::Order(Verb::Start));
        self.plan(GLANCE, Item::Glance);
        self.plan(FAULTS_END, Item::Heal);
        for fault in self.faults.clone().iter() {
            for _ in 0..self.rng.u32(1..4) {
                self.schedule(fault);
            }
        }
    }

    /// Plans one occurrence of `fault`.
    fn schedule(&mut self, fault: Fault) {
        let at = self.moment();
        let end = (at + self.rng.i64(MINUTE..25 * MINUTE)).min(FAULTS_END);
        let target = |health| Item::Health { source: None, target: Some(health) };
        match fault {
            Fault::Crash => {
                self.plan(at, Item::Crash);
                let down = self.rng.i64(SECOND..5 * MINUTE);
                self.plan(at + down, Item::Restart);
            }
            Fault::ClockStep => {
                let step = self.rng.i64(-3 * 60 * MINUTE..3 * 60 * MINUTE);
                self.plan(at, Item::StepClock(step));
            }
            Fault::TargetErrors => {
                let share = [0.05, 0.1, 0.3, 0.6][self.rng.usize(0..4)];
                self.plan(at, target(Health::Failing(share)));
            }
            Fault::TargetSlow => self.plan(at, target(Health::Slow(3.0))),
            Fault::TargetOutage => self.plan(at, target(Health::Failing(1.0))),
            Fault::TargetSilent => self.plan(at, target(Health::Silent)),
            Fault::SourceOutage => {
                self.plan(at, Item::Health { source: Some(Health::Failing(0.9)), target: None });
                self.plan(end, Item::Health { source: Some(Health::Good), target: None });
            }
            Fault::BothOutage => {
                let both = |health| Item::Health { source: Some(health), target: Some(health) };
                self.plan(at, both(Health::Failing(0.9)));
                self.plan(end, both(Health::Good));
            }
            Fault::Drift => {
                let share = Share::both(Weight::new(self.rng.u16(0..=1000)).expect("up to 1000"));
                self.plan(at, Item::Foreign(share));
            }
            Fault::Operator => {
                let verbs = [
                    Verb::Advance,
                    Verb::Hold,
                    Verb::Pause,
                    Verb::Resume { adopt_policy: None },
                    Verb::Revert,
                    Verb::Abort,
                    Verb::Start,
                    Verb::Close,
                ];
                for _ in 0..self.rng.u32(1..5) {
                    let verb = verbs[self.rng.usize(0..verbs.len())].clone();
                    // Some order while the checks still run.
                    let at = if self.rng.u32(0..4) == 0 { self.rng.i64(SECOND..3 * SECOND) } else { self.moment() };
                    self.plan(at, Item::Order(verb));
                }
                if self.rng.u32(0..3) == 0 {
                    // Some operators come back when all is over.
                    let late = FAULTS_END + self.rng.i64(0..20 * 60 * MINUTE);
                    let verb = [Verb::Revert, Verb::Close, Verb::Hold, Verb::Abort][self.rng.usize(0..4)].clone();
                    self.plan(late, Item::Order(verb));
                }
            }
            Fault::JournalFull => {
                self.plan(at, Item::Journal(false));
                self.plan(end, Item::Journal(true));
            }
            Fault::PolicyChange => self.plan(at, Item::PolicyChanged),
            Fault::RefusedWrite | Fault::Disagreement | Fault::DataGap | Fault::ChecksFail | Fault::Gates => {
                self.plan(at, Item::Switch(fault, true));
                self.plan(end, Item::Switch(fault, false));
            }
            // These are drawn for each reply, or belong to the world from its beginning.
            Fault::LateReply
            | Fault::LostReply
            | Fault::ReorderedReply
            | Fault::LateWrite
            | Fault::StaleRead
            | Fault::ThinTraffic
            | Fault::Windows
            | Fault::WeightedStart => {}
        }
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
            self.oracle.ended(&self.cutover.phase, &self.action, self.now);
        }
        let by_evidence = matches!(self.cutover.phase, Phase::Reverted) && self.oracle.reverted_on_evidence;
        Outcome {
            violation: self.oracle.violation,
            phase: self.cutover.phase.name(),
            false_revert: by_evidence && !self.sick,
            decisions: self.decisions,
            trace: self.trace.into(),
            faults: self.faults,
        }
    }

    /// Whether nothing more will happen, for good reasons.
    fn finished(&self) -> bool {
        let quiet_since = self.oracle.last_landing + 15 * MINUTE;
        let start_refused = matches!(self.cutover.phase, Phase::Pending) && self.faults.has(Fault::WeightedStart);
        (self.cutover.ended() || start_refused)
            && self.alive
            && self.now > quiet_since
            && self.now > FAULTS_END + MINUTE
    }

    /// One thing happens.
    fn happen(&mut self, item: Item) {
        match item {
            Item::Deliver(event, incarnation) => {
                if incarnation == self.incarnation && self.alive {
                    if let Event::Written { generation, .. } | Event::Failed { generation: Some(generation), .. } =
                        &*event
                        && self.write_under_way == Some(*generation)
                    {
                        self.write_under_way = None;
                    }
                    self.step(&event);
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
            Item::Crash => self.crash(),
            Item::Restart => {
                if !self.alive {
                    self.alive = true;
                    self.cutover = self.disk.clone();
                    self.oracle.restarted(&self.cutover);
                    self.step(&Event::Restarted);
                }
            }
            Item::Order(verb) => self.order(verb),
            Item::Foreign(share) => {
                if !self.healed && self.cutover.generation > Generation::default() {
                    self.action = action(share, "someone was here");
                    self.set_truth(|truth| truth.share = share);
                    self.oracle.foreign(self.now);
                }
            }
            Item::StepClock(step) => {
                self.offset += step;
                self.oracle.clock_stepped();
            }
            Item::Health { source, target } => {
                if target.is_some_and(|health| health != Health::Good) {
                    self.sick = true;
                }
                self.set_truth(|truth| {
                    truth.source = source.unwrap_or(truth.source);
                    truth.target = target.unwrap_or(truth.target);
                });
                let health = self.truth.last().expect("the truth begins with the world").target;
                self.oracle.target_is(health, self.now);
            }
            Item::Journal(works) => {
                self.journal_works = works;
                if works && !self.journal_told && self.alive {
                    self.journal_told = true;
                    self.step(&Event::Journal { writable: true });
                }
            }
            Item::PolicyChanged => {
                if self.alive {
                    let change = Some("`source.headers` changed".to_owned());
                    self.step(&Event::PolicyChanged { change });
                    if self.rng.bool() {
                        let policy = policy::changed(&self.cutover.policy);
                        self.order(Verb::Resume { adopt_policy: Some(Box::new(policy)) });
                    }
                }
            }
            Item::Switch(fault, on) => {
                self.switches.insert(fault, on);
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
    fn crash(&mut self) {
        if self.alive {
            self.alive = false;
            self.incarnation += 1;
            self.write_under_way = None;
            self.wake = None;
            self.journal_told = true;
        }
    }

    /// All faults end; the daemon runs, the target is well, a person looks after what waits for one.
    fn heal(&mut self) {
        self.healed = true;
        self.switches.clear();
        self.load.reads = self.load.reads.max(40.0);
        self.load.writes = self.load.writes.max(10.0);
        self.set_truth(|truth| {
            truth.source = Health::Good;
            truth.target = Health::Good;
        });
        self.oracle.target_is(Health::Good, self.now);
        self.plan(self.now + 10 * MINUTE, Item::Nurse);
    }

    /// Ends holds and pauses, opens gates, starts what was refused, every ten minutes.
    fn nurse(&mut self) {
        if self.alive && !self.cutover.ended() {
            if self.cutover.standing.is_some() {
                self.order(Verb::Resume { adopt_policy: None });
            }
            if matches!(self.cutover.phase, Phase::Pending) && !self.faults.has(Fault::WeightedStart) {
                self.order(Verb::Start);
            }
            if self.cutover.halt.is_some() || matches!(self.cutover.phase, Phase::Gated { .. }) {
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
    }

    /// The truth changes now.
    fn set_truth(&mut self, change: impl FnOnce(&mut Truth)) {
        let mut next = *self.truth.last().expect("the truth begins with the world");
        next.since = self.now;
        change(&mut next);
        self.truth.push(next);
    }

    /// One event: decide, journal, carry out. In that order, always.
    fn step(&mut self, event: &Event) {
        let now = self.clock();
        let decision = answer(self.mutant, &self.cutover, event, now);
        self.decisions += 1;
        self.coverage.reached(&self.cutover.phase, event);
        if self.decisions.is_multiple_of(REPEAT_EVERY) {
            let again = answer(self.mutant, &self.cutover, event, now);
            self.oracle.repeated(&decision, &again);
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
        self.oracle.answered(event, &before, &self.cutover, &self.disk, &decision.commands, decision.accepted, now);
        // Some crashes come between the entry and its commands.
        if !self.healed && self.faults.has(Fault::Crash) && decision.journal && self.rng.u32(0..40) == 0 {
            self.crash();
            self.plan(self.now + 20 * SECOND, Item::Restart);
            return;
        }
        for command in decision.commands {
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

    /// How long a reply takes in this world.
    fn delay(&mut self) -> i64 {
        if !self.healed && self.faults.has(Fault::LateReply) && self.rng.u32(0..5) == 0 {
            return self.rng.i64(SECOND..TIMEOUT);
        }
        self.rng.i64(20..800)
    }

    /// Whether a reply is lost in this world.
    fn lost(&mut self) -> bool {
        !self.healed && self.faults.has(Fault::LostReply) && self.rng.u32(0..6) == 0
    }

    /// Whether a switch of the world is on.
    fn on(&self, fault: Fault) -> bool {
        !self.healed && self.switches.get(&fault).copied().unwrap_or(false)
    }

    /// Delivers a reply as this world does, or the shell's word that none came.
    fn reply(&mut self, what: CommandKind, generation: Option<Generation>, event: Event) {
        if self.lost() {
            let begun = self.clock();
            let error = "no answer in time".to_owned();
            self.deliver(TIMEOUT, Event::Failed { what, generation, retry: Retry::Later, error, begun });
            return;
        }
        let delay = self.delay();
        if !self.healed && self.faults.has(Fault::ReorderedReply) && self.rng.u32(0..5) == 0 {
            let again = self.rng.i64(0..3 * MINUTE);
            self.deliver(again, event.clone());
        }
        self.deliver(delay, event);
    }

    /// Carries out one command.
    fn carry_out(&mut self, command: Command) {
        let begun = self.clock();
        match command {
            Command::Check => {
                let checks = self.checks();
                self.reply(CommandKind::Check, None, Event::Checked { checks, begun });
            }
            Command::Read => {
                let stale = !self.healed && self.faults.has(Fault::StaleRead) && self.rng.u32(0..5) == 0;
                let truth = self.truth.last().expect("the truth begins with the world").share;
                let disagreeing = if self.on(Fault::Disagreement) { vec!["proxy-2".to_owned()] } else { Vec::new() };
                let reading = Event::Read(Reading { share: truth, action: self.action.clone(), begun, disagreeing });
                if stale {
                    let late = self.rng.i64(5 * SECOND..2 * MINUTE);
                    self.deliver(late, reading);
                } else {
                    self.reply(CommandKind::Read, None, reading);
                }
            }
            Command::Write { share, generation } => {
                let action = action(share, "as the operator left it");
                self.write(CommandKind::Write, action, share, generation);
            }
            Command::Restore { action, generation } => {
                let weight = |key: &str| {
                    let per_mille = action.get(key).and_then(Value::as_u64).unwrap_or(0);
                    Weight::new(per_mille as u16).unwrap_or_default()
                };
                let share = Share { reads: weight("reads"), writes: weight("writes") };
                self.write(CommandKind::Restore, action, share, generation);
            }
            Command::Arm { share, .. } => {
                self.armed = Some(share);
                self.reply(CommandKind::Arm, None, Event::Armed);
            }
            Command::Disarm => self.armed = None,
            Command::Observe(window) => self.observe(window),
            Command::AskGate { gate, step } => self.gate(gate, step),
            Command::WakeAt(at) => {
                let due = (at.0 - EPOCH - self.offset).max(self.now + 1);
                self.wake = Some(due);
                let item = Item::Wake(self.incarnation);
                self.plan(due, item);
            }
            Command::CloseConnections { .. } | Command::Alert(_) => {}
        }
    }

    /// A write or a restore goes to the balancer.
    fn write(&mut self, what: CommandKind, action: Value, share: Share, generation: Generation) {
        let begun = self.clock();
        let failed = |retry, error: &str| Event::Failed {
            what,
            generation: Some(generation),
            retry,
            error: error.to_owned(),
            begun,
        };
        if let Some(earlier) = self.write_under_way.replace(generation) {
            self.oracle.second_write(what, earlier, generation);
        }
        if self.on(Fault::RefusedWrite) {
            let retry = if self.rng.u32(0..4) == 0 { Retry::Never } else { Retry::Later };
            let delay = self.delay();
            self.deliver(delay, failed(retry, "refused"));
            return;
        }
        if !self.healed && self.faults.has(Fault::LateWrite) && self.rng.u32(0..3) == 0 {
            // The attempt times out; two times in three it lands all the same, later.
            if self.rng.u32(0..3) > 0 {
                let late = TIMEOUT + self.rng.i64(0..4 * MINUTE);
                self.plan(self.now + late, Item::Land(action, share));
            }
            self.deliver(TIMEOUT, failed(Retry::Later, "no answer in time"));
            return;
        }
        let landing = self.rng.i64(10..2 * SECOND);
        self.plan(self.now + landing, Item::Land(action, share));
        if self.lost() {
            self.deliver(TIMEOUT, failed(Retry::Later, "no answer in time"));
        } else {
            let delay = landing + self.delay();
            self.deliver(delay, Event::Written { generation, begun });
        }
    }

    /// What the checks find.
    fn checks(&mut self) -> Vec<Check> {
        let trouble = self.on(Fault::ChecksFail);
        let outcome = |bad: bool, unknown: bool| match (trouble && bad, unknown) {
            (true, true) => CheckOutcome::Unknown,
            (true, false) => CheckOutcome::Fail,
            (false, _) => CheckOutcome::Pass,
        };
        let capture = self.rng.bool();
        let unknown = self.rng.bool();
        let check = |name: &str, outcome| Check {
            name: name.to_owned(),
            outcome,
            evidence: "seen by the world".to_owned(),
            fix: String::new(),
        };
        vec![
            check("target healthy", outcome(!capture, unknown)),
            check("capture without loss", outcome(capture, unknown)),
        ]
    }

    /// What a window of the daemon's time held, in truth.
    fn counted(&mut self, window: Window) -> Observation {
        let (from, to) = (window.from.0 - EPOCH - self.offset, window.to.0 - EPOCH - self.offset);
        let (mut reads, mut writes) = (Block::default(), Block::default());
        // Most windows lie in the last stretch of truth: those that ended before this window are passed over.
        let first = self.truth.partition_point(|truth| truth.since <= from).saturating_sub(1);
        for at in first..self.truth.len() {
            let segment = self.truth[at];
            let begin = segment.since.max(from);
            let end = self.truth.get(at + 1).map_or(i64::MAX, |next| next.since).min(to).min(self.now);
            if end > begin {
                let seconds = (end - begin) as f64 / 1000.0;
                let (more_reads, more_writes) =
                    service::count(&mut self.rng, self.load, seconds, segment.share, segment.source, segment.target);
                service::merge(&mut reads, &more_reads);
                service::merge(&mut writes, &more_writes);
            }
        }
        let millis = u64::try_from(window.to.0 - window.from.0).unwrap_or(0);
        reads.millis = millis;
        writes.millis = millis;
        Observation { window, reads, writes }
    }

    /// Counts a window for the judge.
    fn observe(&mut self, window: Window) {
        let begun = self.clock();
        if self.on(Fault::DataGap) || window.to > begun {
            let error = "the window is not counted".to_owned();
            self.deliver(
                200,
                Event::Failed { what: CommandKind::Observe, generation: None, retry: Retry::Later, error, begun },
            );
            return;
        }
        let observation = self.counted(window);
        self.reply(CommandKind::Observe, None, Event::Observed(observation));
    }

    /// The proxies look at themselves, and put the armed share back when the target fails and the source does not.
    fn proxies_fire(&mut self) {
        let Some(share) = self.armed else { return };
        let truth = *self.truth.last().expect("the truth begins with the world");
        let bad = truth.target.failing() >= 0.5 && truth.source.failing() < 0.1 && truth.share.raises(share);
        if bad && self.load.reads > 5.0 && self.rng.bool() {
            self.land(action(share, "as the operator left it"), share);
            let why = "the target fails more than half of its requests".to_owned();
            let at = self.clock();
            self.deliver(SECOND, Event::Fired { why, share, at });
        }
    }

    /// Counts the last moments for the tripwires.
    fn glance(&mut self) {
        self.proxies_fire();
        if self.alive && self.cutover.watched() && !self.on(Fault::DataGap) {
            let to = self.clock();
            let window = Window { from: Timestamp(to.0 - 10 * SECOND), to };
            let observation = self.counted(window);
            self.step(&Event::Glanced(observation));
        }
        self.plan(self.now + GLANCE, Item::Glance);
    }

    /// A gate is asked.
    fn gate(&mut self, gate: String, step: usize) {
        let manual = self.cutover.policy.gates.iter().any(|g| g.name == gate && g.kind == GateKind::Manual);
        if manual {
            self.oracle.accuse("limits", format!("the manual gate `{gate}` was sent to a program"));
            return;
        }
        let asked = self.gates_asked.entry(format!("{gate}/{step}")).or_default();
        *asked += 1;
        let answer = match (self.on(Fault::Gates), self.rng.u32(0..4)) {
            (true, 0) => GateAnswer::No { why: "the world says so".to_owned() },
            (true, 1) => return,
            (true, _) => GateAnswer::Later,
            (false, _) => GateAnswer::Yes,
        };
        self.reply(CommandKind::Gate, None, Event::GateAnswered { gate, step, answer });
    }
}
