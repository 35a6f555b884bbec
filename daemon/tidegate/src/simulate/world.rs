//! One simulated cutover: the real core in virtual time, with a world around it that does what it is asked.
//!
//! The world keeps the promises that the shell's ports make (a write lands and is acknowledged, a read shows what is, an
//! interval is counted once it is closed) and breaks none: how the core copes with late, lost and reordered replies is
//! another simulator's business. What happens here by chance is the traffic, and what is wrong is the target.
//!
//! Gates say yes at once, and a person opens those that wait for one. Change windows are kept: a cutover starts when one
//! opens, and waits for the next when it must.

use std::sync::Arc;
use std::time::Duration;

use cutover::baseline::Given;
use cutover::cutover::GateState;
use cutover::decide::Core;
use cutover::event::{Check, CheckOutcome, GateAnswer, Reading};
use cutover::policy::{GateKind, Policy};
use cutover::windows::{Opening, opening};
use cutover::{Command, Cutover, Event, Order, Phase, Share, Timestamp, Verb, Weight};
use judge::Verdict;
use serde_json::json;

use super::chance::{Purpose, stream, uniform};
use super::fault::{Fault, Onset};
use super::traffic::{GLANCE, Setting, Traffic};

/// How long a reply takes, in virtual time.
const REPLY: Duration = Duration::from_millis(50);
/// How long a write takes to land and to be acknowledged.
const WRITE: Duration = Duration::from_millis(250);
/// A cutover that is not over after this is given up: no policy that is meant takes longer.
pub(super) const PATIENCE: Duration = Duration::from_hours(14 * 24);
/// Monday, 2026-01-05T00:00:00Z: the week from which starts are drawn.
const MONDAY: i64 = 1_767_571_200_000;
/// A week, in seconds.
const WEEK_SECONDS: f64 = 604_800.0;

/// How a simulated cutover ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    /// The target has everything, and the source is drained.
    Done,
    /// It was taken back.
    Reverted(Reverted),
    /// It stays where it is and calls a person.
    Held {
        /// The step (from 0) it stays on.
        step: usize,
        /// Why, in the core's words.
        why: String,
    },
    /// Neither after [`PATIENCE`].
    Unfinished,
}

/// A revert.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reverted {
    /// How long after the start it was decided.
    pub(super) after: Duration,
    /// How long after the fault was there; `None` without one.
    pub(super) delay: Option<Duration>,
    /// The target's share when it was decided.
    pub(super) share: Share,
    /// What decided it.
    pub(super) by: By,
    /// Why, in the core's words.
    pub(super) why: String,
}

/// What decided a revert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum By {
    /// This guard's evidence had the largest part.
    Guard(judge::GuardKind),
    /// The judge, on something that no single guard measures.
    Judge,
    /// A tripwire.
    Tripwire,
    /// A budget of the policy was spent: nothing was proven.
    Patience,
}

/// What one simulated cutover came to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tale {
    /// How it ended.
    pub(super) end: End,
    /// How long it took.
    pub(super) took: Duration,
    /// How long of that it waited for a change window.
    pub(super) waited: Duration,
    /// For each step, how long it lasted from the first write to the next; `None` for steps that did not pass.
    pub(super) steps: Vec<Option<Duration>>,
    /// Whether the fault was ever there.
    pub(super) met: bool,
    /// How many answers it spoiled.
    pub(super) spoiled: u64,
}

/// What is simulated: a policy on a service, with a fault or without.
#[derive(Clone, Debug)]
pub(super) struct Case<'a> {
    pub(super) policy: Arc<Policy>,
    /// The baseline that the cutover takes along; without one it records its own at the start.
    pub(super) given: Option<Arc<Given>>,
    pub(super) setting: Setting<'a>,
    pub(super) fault: Option<Fault>,
    pub(super) core: Core,
}

/// Lives through one cutover.
pub(super) fn live(case: &Case<'_>, seed: u64) -> Tale {
    let start = start(&case.policy, seed);
    let mut cutover = Cutover::new("simulated", Arc::clone(&case.policy), start);
    cutover.given.clone_from(&case.given);
    let mut world = World {
        case,
        start,
        now: start,
        cutover,
        traffic: Traffic::new(&case.setting, seed, start),
        share: Share::NONE,
        landing: None,
        queue: Vec::new(),
        wake: None,
        exposed: None,
        onset: None,
        reverted: None,
        waited: Duration::ZERO,
        entered: vec![None; case.policy.shift.steps.len()],
        passed: vec![None; case.policy.shift.steps.len()],
    };
    let order = Order { verb: Verb::Start, actor: "simulation".to_owned(), reason: "to see what happens".to_owned() };
    world.step(&Event::Ordered(order));
    world.run()
}

/// When the cutover of `seed` starts: at any moment of a week, or when a change window opens next.
fn start(policy: &Policy, seed: u64) -> Timestamp {
    /// Windows that are open for longer than a week of hours are always open.
    const HOURS_MAX: u32 = 24 * 8;
    let drawn = (uniform(&mut stream(seed, Purpose::Start, 0)) * WEEK_SECONDS).floor() as i64;
    let mut at = Timestamp(MONDAY + drawn * 1_000);
    for _ in 0..HOURS_MAX {
        match opening(&policy.windows, at) {
            Opening::Closed { until: Some(until) } => return until,
            Opening::Open if !policy.windows.allow.is_empty() => at = at.plus(Duration::from_hours(1)),
            Opening::Open | Opening::Frozen | Opening::Closed { until: None } => break,
        }
    }
    at
}

/// A cutover that is lived through.
struct World<'a> {
    case: &'a Case<'a>,
    start: Timestamp,
    now: Timestamp,
    cutover: Cutover,
    traffic: Traffic<'a>,
    /// What the balancer gives the target.
    share: Share,
    /// A write that is on its way, and its acknowledgement.
    landing: Option<(Timestamp, Share, Event)>,
    /// Replies that are on their way.
    queue: Vec<(Timestamp, Event)>,
    wake: Option<Timestamp>,
    /// When the target had its first share.
    exposed: Option<Timestamp>,
    /// When the fault began.
    onset: Option<Timestamp>,
    reverted: Option<Reverted>,
    waited: Duration,
    entered: Vec<Option<Timestamp>>,
    passed: Vec<Option<Timestamp>>,
}

impl World<'_> {
    fn run(mut self) -> Tale {
        loop {
            if let Some(end) = self.end() {
                return self.tale(end);
            }
            let Some(next) = self.next() else { return self.tale(End::Unfinished) };
            if matches!(self.cutover.phase, Phase::Gated { .. }) && self.waits_for_window() {
                self.waited = self.waited.saturating_add(next.since(self.now));
            }
            self.now = next;
            self.happen();
        }
    }

    /// How it ended, if it has.
    fn end(&self) -> Option<End> {
        match self.cutover.phase {
            Phase::Done => Some(End::Done),
            Phase::Reverted | Phase::Stuck { .. } => self.reverted.clone().map(End::Reverted),
            Phase::Aborted => Some(End::Unfinished),
            _ if self.now.since(self.start) > PATIENCE => Some(End::Unfinished),
            _ => self
                .cutover
                .halt
                .as_ref()
                .map(|halt| End::Held { step: self.cutover.step().unwrap_or(0), why: halt.text.clone() }),
        }
    }

    /// Makes the traffic up to now: before it is looked at, and before anything about it changes.
    fn catch_up(&mut self) {
        self.traffic.make(self.now, self.share, self.onset.is_some());
    }

    fn tale(mut self, end: End) -> Tale {
        self.catch_up();
        let steps = self.entered.iter().zip(&self.passed);
        Tale {
            took: self.now.since(self.start),
            waited: self.waited,
            steps: steps.map(|(entered, passed)| Some(passed.as_ref()?.since(*entered.as_ref()?))).collect(),
            met: self.onset.is_some(),
            spoiled: self.traffic.spoiled,
            end,
        }
    }

    /// When the next thing happens; `None` when nothing ever will.
    fn next(&mut self) -> Option<Timestamp> {
        let planned = self.queue.iter().map(|(at, _)| *at).chain(self.landing.as_ref().map(|(at, ..)| *at));
        let onset = match (self.case.fault.map(|fault| fault.onset), self.exposed) {
            (Some(Onset::After(after)), Some(exposed)) if self.onset.is_none() => Some(exposed.plus(after)),
            _ => None,
        };
        let next = planned.chain(self.wake).chain(onset).min()?;
        let looked = match self.exposed.filter(|_| self.cutover.watched()) {
            Some(since) => {
                let alert = self.traffic.alert_until(self.now, self.share, self.onset.is_some(), since);
                let glance = Timestamp((self.now.0.div_euclid(GLANCE) + 1) * GLANCE);
                if self.now < alert { glance } else { Traffic::next_change(self.now) }
            }
            None => next,
        };
        Some(next.min(looked).max(self.now))
    }

    fn waits_for_window(&self) -> bool {
        self.cutover.blockers.iter().any(|blocker| blocker.kind == cutover::BlockerKind::Window)
    }

    /// Everything that happens now.
    fn happen(&mut self) {
        if let Some((_, share, answer)) = self.landing.take_if(|(at, ..)| *at <= self.now) {
            self.land(share);
            self.queue.push((self.now, answer));
        }
        if let (Some(Fault { onset: Onset::After(after), .. }), Some(exposed)) = (self.case.fault, self.exposed)
            && self.now >= exposed.plus(after)
        {
            self.catch_up();
            self.onset.get_or_insert(self.now);
        }
        let due: Vec<Event> = self.queue.extract_if(.., |(at, _)| *at <= self.now).map(|(_, event)| event).collect();
        for event in due {
            self.step(&event);
        }
        if self.wake.take_if(|at| *at <= self.now).is_some() {
            self.step(&Event::Tick);
        }
        let alert = self.traffic.alert(self.now) && self.exposed.is_some() && self.cutover.watched();
        if alert && self.now.0 % GLANCE == 0 {
            self.catch_up();
            for window in self.traffic.glances(self.now) {
                let observation = self.traffic.count(window);
                self.step(&Event::Glanced(observation));
            }
        }
        let counted_to = self.cutover.evidence.counted_to;
        self.traffic.forget(counted_to.min(self.now.minus(self.traffic.memory())));
    }

    /// A write reaches the balancer.
    fn land(&mut self, share: Share) {
        self.catch_up();
        self.share = share;
        if share != Share::NONE {
            self.exposed.get_or_insert(self.now);
        }
        let begins = match self.case.fault.map(|fault| fault.onset) {
            Some(Onset::Start) => share != Share::NONE,
            Some(Onset::Share(weight)) => share.reads >= weight,
            Some(Onset::After(_)) | None => false,
        };
        if begins {
            self.onset.get_or_insert(self.now);
        }
    }

    /// One event: decide, and do what is asked for.
    fn step(&mut self, event: &Event) {
        let decision = (self.case.core)(&self.cutover, event, self.now);
        let before = std::mem::replace(&mut self.cutover, decision.next);
        if before.phase != self.cutover.phase {
            self.entered(&before, &decision.reason.kind);
        }
        for command in decision.commands {
            self.carry_out(command);
        }
        self.open_manual_gates();
    }

    /// Takes note of a phase that begins.
    fn entered(&mut self, before: &Cutover, kind: &str) {
        match self.cutover.phase {
            Phase::Shifting { step, .. } if !matches!(before.phase, Phase::Shifting { .. }) => {
                if let Some(entered) = self.entered.get_mut(step) {
                    entered.get_or_insert(self.now);
                }
                if let Some(passed) = step.checked_sub(1).and_then(|step| self.passed.get_mut(step)) {
                    passed.get_or_insert(self.now);
                }
            }
            Phase::Done => {
                if let Some(passed) = self.passed.last_mut() {
                    passed.get_or_insert(self.now);
                }
            }
            Phase::Reverting { .. } | Phase::Reverted if self.reverted.is_none() => {
                self.reverted = Some(Reverted {
                    after: self.now.since(self.start),
                    delay: self.onset.map(|onset| self.now.since(onset)),
                    share: before.desired,
                    by: self.by(kind),
                    why: self.cutover.reason.text.clone(),
                });
            }
            _ => {}
        }
    }

    /// What decided the revert that begins.
    fn by(&self, kind: &str) -> By {
        match kind {
            "tripwire" | "tripwire_fired" => By::Tripwire,
            "verdict_fail" => {
                let judgement = self.cutover.evidence.judgement.as_ref();
                // As the core says it: the first guard that fails is the reason.
                let mut guards = judgement.iter().flat_map(|judgement| &judgement.guards);
                let failed = guards.find(|guard| guard.on && guard.verdict == Verdict::Fail);
                failed.map_or(By::Judge, |guard| By::Guard(guard.guard))
            }
            _ => By::Patience,
        }
    }

    /// Does what the core asks for, as well as it can be done.
    fn carry_out(&mut self, command: Command) {
        let begun = self.now;
        let reply = |event| (begun.plus(REPLY), event);
        match command {
            Command::Check => {
                let fleet = Check::new("simulated", CheckOutcome::Pass, "everything else is in order", "");
                let capture = Check::of_capture("simulated capture", CheckOutcome::Pass, "it is whole", "");
                self.queue.push(reply(Event::Checked { checks: vec![fleet, capture], begun }));
            }
            Command::Read => {
                let reading = Reading { share: self.share, action: action(self.share), begun, disagreeing: Vec::new() };
                self.queue.push(reply(Event::Read(reading)));
            }
            Command::Write { share, generation } => {
                self.landing = Some((begun.plus(WRITE), share, Event::Written { generation, begun }));
            }
            Command::Restore { action: original, generation } => {
                let weight = |class: &str| {
                    let per_mille = original.get(class).and_then(serde_json::Value::as_u64).unwrap_or(0);
                    u16::try_from(per_mille).ok().and_then(Weight::new).unwrap_or(Weight::NONE)
                };
                let share = Share { reads: weight("reads"), writes: weight("writes") };
                self.landing = Some((begun.plus(WRITE), share, Event::Written { generation, begun }));
            }
            Command::Arm { .. } => self.queue.push(reply(Event::Armed)),
            Command::Observe(window) => {
                self.catch_up();
                let observation = self.traffic.count(window);
                self.queue.push(reply(Event::Observed(observation)));
            }
            Command::AskGate { gate, step } => {
                self.queue.push(reply(Event::GateAnswered { gate, step, answer: GateAnswer::Yes, begun }));
            }
            Command::WakeAt(at) => self.wake = Some(at),
            // What is set beside the weights stands as it shall: a policy is tried out here, and not a fleet.
            Command::ReadLevers => {
                self.queue.push(reply(Event::LeversRead { stands: cutover::Stands::default(), begun }));
            }
            Command::SetLever { lever, to, .. } => {
                self.queue.push(reply(Event::LeverMoved { lever, value: to, begun }));
            }
            Command::Disarm | Command::CloseConnections { .. } | Command::Alert(_) => {}
        }
    }

    /// A person opens the gates that wait for one.
    fn open_manual_gates(&mut self) {
        let waits = self.case.policy.gates.iter().any(|gate| {
            gate.kind == GateKind::Manual && matches!(self.cutover.gates.get(&gate.name), Some(GateState::Asked { .. }))
        });
        let coming = self.queue.iter().any(|(_, event)| matches!(event, Event::Ordered(_)));
        if waits && !coming {
            let reason = "gates open at once in a simulation".to_owned();
            let order = Order { verb: Verb::Advance, actor: "simulation".to_owned(), reason };
            self.queue.push((self.now.plus(REPLY), Event::Ordered(order)));
        }
    }
}

/// The action of a balancer that gives the target `share`.
fn action(share: Share) -> serde_json::Value {
    json!({ "reads": share.reads.per_mille(), "writes": share.writes.per_mille() })
}
