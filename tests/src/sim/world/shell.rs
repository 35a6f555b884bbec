//! The shell of a world: it carries out what the core asks for, as well or as badly as the world lets it.

use cutover::event::{Check, CheckOutcome, CommandKind, GateAnswer, Observation, Reading, Retry, Targets};
use cutover::policy::GateKind;
use cutover::{Command, Event, Generation, Lever, Share, Timestamp, Weight, Window};
use judge::Block;
use serde_json::Value;

use super::{EPOCH, Fault, GLANCE, Item, MINUTE, SECOND, TIMEOUT, World, action};
use crate::sim::service::{self, Health};

/// A side that fails more than this passes no health check.
const HEALTHY_FAILING_MAX: f64 = 0.5;

impl World<'_> {
    /// How long a reply takes in this world.
    fn delay(&mut self) -> i64 {
        if !self.healed && self.faults.has(Fault::LateReply) && self.rng.u32(0..5) == 0 {
            self.met.add(Fault::LateReply);
            return self.rng.i64(SECOND..TIMEOUT);
        }
        self.rng.i64(20..800)
    }

    /// Whether a reply is lost in this world.
    fn lost(&mut self) -> bool {
        let lost = !self.healed && self.faults.has(Fault::LostReply) && self.rng.u32(0..6) == 0;
        if lost {
            self.met.add(Fault::LostReply);
        }
        lost
    }

    /// Whether a switch of the world is on.
    fn on(&mut self, fault: Fault) -> bool {
        let on = !self.healed && self.switches.get(&fault).is_some_and(|&until| self.now < until);
        if on {
            self.met.add(fault);
        }
        on
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
            self.met.add(Fault::ReorderedReply);
            let again = self.rng.i64(0..3 * MINUTE);
            self.deliver(again, event.clone());
        }
        self.deliver(delay, event);
    }

    /// Carries out one command.
    pub(super) fn carry_out(&mut self, command: Command) {
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
                    self.met.add(Fault::StaleRead);
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
            Command::Disarm => {
                // A shot may be under way in the very moment.
                if self.armed.is_some() && self.faults.has(Fault::TargetOutage) && !self.healed {
                    self.sicken(Fault::TargetOutage, None, Some(Health::Failing(1.0)), None);
                    self.proxies_fire();
                }
                self.armed = None;
            }
            Command::Observe(window) => self.observe(window),
            Command::AskGate { gate, step } => self.gate(gate, step),
            Command::WakeAt(at) => {
                let due = (at.0 - EPOCH - self.offset).max(self.now + 1);
                self.wake = Some(due);
                let item = Item::Wake(self.incarnation);
                self.plan(due, item);
            }
            Command::ReadLevers => {
                let stands = self.levers;
                self.reply(CommandKind::Lever, None, Event::LeversRead { stands, begun });
            }
            Command::SetLever { lever, from, to } => self.set_lever(lever, from, to),
            Command::CloseConnections { .. } | Command::Alert(_) => {}
        }
    }

    /// A lever is moved, or refused, or moved and nobody hears of it.
    fn set_lever(&mut self, lever: Lever, from: Option<u32>, to: u32) {
        let begun = self.clock();
        if from.is_none() {
            self.oracle.lever_moves(lever, self.stands(lever), &self.disk);
        }
        let failed = |retry| Event::Failed {
            what: CommandKind::Lever,
            generation: None,
            retry,
            error: "refused".to_owned(),
            begun,
        };
        if self.on(Fault::RefusedWrite) {
            let delay = self.delay();
            return self.deliver(delay, failed(Retry::Later));
        }
        let stands = self.stands(lever);
        let higher = lever == Lever::Count && from.is_none() && stands >= to;
        let value = if higher || from.is_some_and(|from| from != stands) { stands } else { to };
        match lever {
            Lever::ScaleIn => self.levers.scale_in_suspended = Some(value == 1),
            Lever::Count => self.levers.target_count = Some(value),
            Lever::KeepAlive => self.levers.keep_alive = Some(value),
        }
        if lever == Lever::Count && value < stands {
            self.oracle.tasks_go(self.serves());
        }
        self.reply(CommandKind::Lever, None, Event::LeverMoved { lever, value, begun });
    }

    /// Whether the target has had so much traffic in the last minutes that anyone who counts must have seen it.
    fn serves(&self) -> bool {
        let truth = self.truth.last().expect("the truth begins with the world");
        let rate = self.load.reads * truth.share.reads.fraction() + self.load.writes * truth.share.writes.fraction();
        truth.since < self.now - 8 * MINUTE && rate > 0.2 && truth.target != Health::Silent
    }

    /// Where a lever stands.
    fn stands(&self, lever: Lever) -> u32 {
        match lever {
            Lever::ScaleIn => u32::from(self.levers.scale_in_suspended == Some(true)),
            Lever::Count => self.levers.target_count.unwrap_or_default(),
            Lever::KeepAlive => self.levers.keep_alive.unwrap_or_default(),
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
            self.met.add(Fault::LateWrite);
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
        let seen = "seen by the world";
        vec![
            Check::new("target healthy", outcome(!capture, unknown), seen, ""),
            Check::of_capture("capture without loss", outcome(capture, unknown), seen, ""),
        ]
    }

    /// What a window of the daemon's time held, in truth.
    fn counted(&mut self, window: Window) -> Observation {
        let (from, to) = (self.true_time(window.from), self.true_time(window.to));
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
    pub(super) fn proxies_fire(&mut self) {
        let Some(share) = self.armed else { return };
        let truth = *self.truth.last().expect("the truth begins with the world");
        let bad = truth.target.failing() >= 0.5 && truth.source.failing() < 0.1 && truth.share.raises(share);
        if bad && self.load.reads > 5.0 && self.rng.bool() {
            self.armed = None;
            // A shot moves the share and leaves the rest as it stands.
            let note = self.action.get("note").and_then(Value::as_str).unwrap_or_default().to_owned();
            self.action = action(share, &note);
            self.set_truth(|truth| truth.share = share);
            self.oracle.shot(share, self.now);
            let why = "the target fails more than half of its requests".to_owned();
            let at = self.clock();
            let shot = Event::Fired { why, share, at };
            self.unheard = Some(shot.clone());
            let delay = self.delay();
            self.deliver(SECOND + delay, shot);
        }
    }

    /// Counts the last moments for the tripwires.
    pub(super) fn glance(&mut self) {
        self.proxies_fire();
        if self.alive {
            self.oracle.looks(&self.cutover);
        }
        if self.alive && self.cutover.watched() && !self.on(Fault::DataGap) {
            let to = self.clock();
            let window = Window { from: Timestamp(to.0 - 10 * SECOND), to };
            let observation = self.counted(window);
            let health = self.health();
            if !self.healed && self.faults.has(Fault::LateReply) {
                let delay = self.rng.i64(20..10 * SECOND);
                self.deliver(delay, Event::Glanced(observation));
                self.deliver(delay, health);
            } else {
                self.step(&Event::Glanced(observation));
                if self.alive && self.cutover.watched() {
                    self.step(&health);
                }
            }
        }
        self.plan(self.now + GLANCE, Item::Glance);
    }

    /// What the balancer's own health checks say: a side that fails nearly everything has no healthy target.
    fn health(&self) -> Event {
        let truth = self.truth.last().expect("the truth begins with the world");
        let targets = |health: Health| {
            let healthy = if health.failing() > HEALTHY_FAILING_MAX { 0 } else { 2 };
            Targets { all: 2, healthy, unknown: 0, ill: String::new() }
        };
        let (source, target) = (Some(targets(truth.source)), targets(truth.target));
        Event::Health(cutover::event::Health { source, target, begun: self.clock() })
    }

    /// A gate is asked.
    fn gate(&mut self, gate: String, step: usize) {
        let manual = self.cutover.policy.gates.iter().any(|g| g.name == gate && g.kind == GateKind::Manual);
        if manual {
            self.oracle.accuse("limits", format!("the manual gate `{gate}` was sent to a program"));
            return;
        }
        let begun = self.clock();
        let asked = self.gates_asked.entry(format!("{gate}/{step}")).or_default();
        *asked += 1;
        let answer = match (self.on(Fault::Gates), self.rng.u32(0..4)) {
            (true, 0) => GateAnswer::No { why: "the world says so".to_owned() },
            // Some programs take very long, or never end.
            (true, 1) => {
                let late = self.rng.i64(MINUTE..40 * MINUTE);
                self.deliver(late, Event::GateAnswered { gate, step, answer: GateAnswer::Yes, begun });
                return;
            }
            (true, _) => GateAnswer::Later { why: String::new() },
            (false, _) => GateAnswer::Yes,
        };
        self.reply(CommandKind::Gate, None, Event::GateAnswered { gate, step, answer, begun });
    }
}
