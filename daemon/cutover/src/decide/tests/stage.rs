//! A small world that answers at once: enough to bring a cutover into any state.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use judge::{Block, Counts, Guard, GuardKind};
use serde_json::{Value, json};

use crate::command::{Alert, Command};
use crate::cutover::{Armed, Cutover, Phase};
use crate::decide::{Decision, decide};
use crate::event::{
    Check, CheckOutcome, CommandKind, Event, GateAnswer, Health, Observation, Order, Reading, Retry, Targets, Verb,
};
use crate::lever::{Lever, Stands};
use crate::policy::{
    BalancerPolicy, BaselinePolicy, CapturePolicy, ClientsPolicy, DrainPolicy, DrainTimeout, DriftPolicy, FleetPolicy,
    Gate, GateBefore, GateKind, GateTimeout, GuardPolicy, MetricsPolicy, OnBaselineDrift, OnTimeout, OnUnknown, Policy,
    ProxyRetry, RevertPolicy, ShiftPolicy, SidePolicy, Tripwire, TripwireKind, UnknownPolicy, WeightedStart,
    WindowPolicy, Writes,
};
use crate::units::{Share, Timestamp, Weight, Window};

/// 2026-01-12T06:00:00Z, a Monday.
pub(super) const START: Timestamp = Timestamp(1_768_197_600_000);

pub(super) fn weight(per_mille: u16) -> Weight {
    Weight::new(per_mille).unwrap()
}

pub(super) fn both(per_mille: u16) -> Share {
    Share::both(weight(per_mille))
}

/// A manual gate before half of the traffic.
pub(super) fn manual_gate() -> Gate {
    Gate {
        name: "person".to_owned(),
        before: GateBefore::Weight(weight(500)),
        kind: GateKind::Manual,
        timeout: Duration::from_mins(15),
        on_timeout: GateTimeout::Hold,
    }
}

/// A program before each step.
pub(super) fn asked_gate() -> Gate {
    Gate {
        name: "cache-warm".to_owned(),
        before: GateBefore::EachStep,
        kind: GateKind::Command { argv: vec!["/bin/true".to_owned()] },
        timeout: Duration::from_mins(2),
        on_timeout: GateTimeout::Hold,
    }
}

pub(super) fn policy() -> Policy {
    let side = |port: u16| SidePolicy { endpoints: vec![format!("http://127.0.0.1:{port}")], ..SidePolicy::default() };
    let minute = Duration::from_mins(1);
    Policy {
        service: "search".to_owned(),
        balancer: BalancerPolicy::Listener { proxies: Vec::new(), retry: ProxyRetry::None, sticky: None },
        metrics: MetricsPolicy::Proxy,
        clients: ClientsPolicy::default(),
        fleet: FleetPolicy { cluster: None, healthy_min: 1, scale: false },
        lease: None,
        source: side(1),
        target: side(2),
        capture: CapturePolicy::default(),
        baseline: BaselinePolicy {
            record: 2 * minute,
            intervals_min: 5,
            recorded: None,
            on_drift: OnBaselineDrift::Warn,
        },
        shift: ShiftPolicy {
            steps: vec![both(100), both(500), both(950), Share::ALL],
            writes: Writes::Split,
            interval: Duration::from_secs(10),
            bake_min: minute,
            bake_max: 30 * minute,
            warm_up: Duration::from_secs(10),
            settle: Duration::from_secs(2),
            share_tolerance: 0.02,
            requests_min: 100,
            attempts_max: 3,
            on_weighted_start: WeightedStart::Refuse,
            keep_alive: None,
        },
        guards: [GuardKind::Errors, GuardKind::Success]
            .into_iter()
            .map(|kind| GuardPolicy { guard: Guard::usual(kind), requests_min: 50, on_unknown: OnUnknown::Hold })
            .collect(),
        false_revert_max: 0.05,
        burst: Duration::from_secs(20),
        pass: judge::Pass { errors_budget: 0.005, ..judge::Pass::default() },
        tripwires: vec![Tripwire {
            name: "errors".to_owned(),
            kind: TripwireKind::Errors,
            limit: 0.25,
            requests_min: 20,
            window: Duration::from_secs(10),
            source_limit: 0.10,
        }],
        unknown: UnknownPolicy { hold_budget: 10 * minute, blind_budget: 5 * minute, on_timeout: OnTimeout::Hold },
        gates: Vec::new(),
        windows: WindowPolicy { zone: "UTC".to_owned(), allow: Vec::new(), freeze: false },
        drift: DriftPolicy::Halt,
        revert: RevertPolicy { deadline: minute, reassert: minute, close_connections: Duration::ZERO },
        drain: DrainPolicy {
            quiet: minute,
            timeout: 30 * minute,
            on_timeout: DrainTimeout::Hold,
            close_connections: Duration::ZERO,
        },
        alerts: Vec::new(),
    }
}

/// The world and the shell in one.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) cutover: Cutover,
    pub(super) now: Timestamp,
    /// What the balancer has.
    pub(super) share: Share,
    /// What else is in its action.
    pub(super) note: String,
    /// Requests a second.
    pub(super) rate: u64,
    /// The share of the target's answers that are errors.
    pub(super) target_errors: f64,
    /// The share of the source's answers that are errors.
    pub(super) source_errors: f64,
    /// Commands that nobody answers.
    pub(super) mute: BTreeSet<&'static str>,
    /// Writes that are refused.
    pub(super) refuse: Option<Retry>,
    /// Whether a check fails.
    pub(super) unhealthy: bool,
    /// What the check on capture says; nothing where nobody looks.
    pub(super) capture: Option<CheckOutcome>,
    pub(super) gate: GateAnswer,
    /// How the levers of the fleet stand.
    pub(super) stands: Stands,
    /// Every lever that was moved, from where, and where to.
    pub(super) moved: Vec<(Lever, Option<u32>, u32)>,
    pub(super) alerts: Vec<Alert>,
    /// Every share that was written, and every action that was restored.
    pub(super) writes: Vec<Result<Share, Value>>,
    /// Every gate that was asked.
    pub(super) asked: Vec<String>,
    /// Every reason that was journalled.
    pub(super) journal: Vec<String>,
    queue: VecDeque<Event>,
    wake: Option<Timestamp>,
    glanced: Timestamp,
}

pub(super) fn kind(command: &Command) -> &'static str {
    match command {
        Command::Check => "check",
        Command::Read => "read",
        Command::Write { .. } => "write",
        Command::Restore { .. } => "restore",
        Command::Arm { .. } => "arm",
        Command::Disarm => "disarm",
        Command::Observe(_) => "observe",
        Command::AskGate { .. } => "ask_gate",
        Command::CloseConnections { .. } => "close_connections",
        Command::ReadLevers => "read_levers",
        Command::SetLever { .. } => "set_lever",
        Command::Alert(_) => "alert",
        Command::WakeAt(_) => "wake_at",
    }
}

pub(super) fn order(verb: Verb) -> Event {
    Event::Ordered(Order { verb, actor: "alice".to_owned(), reason: "a test".to_owned() })
}

impl Stage {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            cutover: Cutover::new("search-1", policy, START),
            now: START,
            share: Share::NONE,
            note: "as it was".to_owned(),
            rate: 400,
            target_errors: 0.0,
            source_errors: 0.0,
            mute: BTreeSet::new(),
            refuse: None,
            unhealthy: false,
            capture: None,
            gate: GateAnswer::Yes,
            stands: Stands::default(),
            moved: Vec::new(),
            alerts: Vec::new(),
            writes: Vec::new(),
            asked: Vec::new(),
            journal: Vec::new(),
            queue: VecDeque::new(),
            wake: None,
            glanced: START,
        }
    }

    /// A stage whose cutover was ordered to start.
    pub(super) fn started(policy: Policy) -> Self {
        let mut stage = Self::new(policy);
        stage.send(&order(Verb::Start));
        stage
    }

    /// The balancer's action.
    pub(super) fn action(&self) -> Value {
        action(self.share, &self.note)
    }

    pub(super) fn reading(&self) -> Reading {
        Reading { share: self.share, action: self.action(), begun: self.now, disagreeing: Vec::new() }
    }

    /// One event: decide, and carry out.
    pub(super) fn send(&mut self, event: &Event) -> Decision {
        let decision = decide(&self.cutover, event, self.now);
        if decision.journal {
            self.journal.push(decision.reason.kind.clone());
        }
        self.cutover = decision.next.clone();
        for command in &decision.commands {
            self.carry_out(command);
        }
        decision
    }

    fn carry_out(&mut self, command: &Command) {
        match command {
            Command::Alert(alert) => self.alerts.push(alert.clone()),
            Command::WakeAt(at) => self.wake = Some(*at),
            Command::AskGate { gate, step } => self.asked.push(format!("{gate}/{step}")),
            _ => {}
        }
        if let Command::Write { share, .. } = command {
            self.writes.push(Ok(*share));
        }
        if let Command::Restore { action, .. } = command {
            self.writes.push(Err(action.clone()));
        }
        if let Command::SetLever { lever, from, to } = command {
            self.moved.push((*lever, *from, *to));
        }
        if self.mute.contains(kind(command)) {
            return;
        }
        let begun = self.now;
        let event = match command {
            Command::Check => Event::Checked { checks: self.checks(), begun },
            Command::Read => Event::Read(self.reading()),
            Command::Write { generation, .. } | Command::Restore { generation, .. } if self.refuse.is_some() => {
                let what = if kind(command) == "write" { CommandKind::Write } else { CommandKind::Restore };
                let retry = self.refuse.unwrap();
                Event::Failed { what, generation: Some(*generation), retry, error: "refused".to_owned(), begun }
            }
            Command::Write { share, generation } => {
                self.share = *share;
                Event::Written { generation: *generation, begun }
            }
            Command::Restore { action, generation } => {
                let per_mille = |key: &str| weight(u16::try_from(action[key].as_u64().unwrap()).unwrap());
                self.share = Share { reads: per_mille("reads"), writes: per_mille("writes") };
                self.note = action["note"].as_str().unwrap().to_owned();
                Event::Written { generation: *generation, begun }
            }
            Command::Arm { .. } => Event::Armed,
            Command::Observe(window) => Event::Observed(self.count(*window)),
            Command::AskGate { gate, step } => {
                Event::GateAnswered { gate: gate.clone(), step: *step, answer: self.gate.clone(), begun }
            }
            Command::ReadLevers => Event::LeversRead { stands: self.stands, begun },
            Command::SetLever { lever, from, to } => {
                let value = self.set_lever(*lever, *from, *to);
                Event::LeverMoved { lever: *lever, value, begun }
            }
            Command::Disarm | Command::CloseConnections { .. } | Command::Alert(_) | Command::WakeAt(_) => return,
        };
        self.queue.push_back(event);
    }

    /// Moves a lever as the fleet does; where it stands then.
    pub(super) fn set_lever(&mut self, lever: Lever, from: Option<u32>, to: u32) -> u32 {
        let stands = match lever {
            Lever::ScaleIn => u32::from(self.stands.scale_in_suspended == Some(true)),
            Lever::Count => self.stands.target_count.unwrap_or_default(),
            Lever::KeepAlive => self.stands.keep_alive.unwrap_or_default(),
        };
        let higher = lever == Lever::Count && from.is_none() && stands >= to;
        if higher || from.is_some_and(|from| from != stands) {
            return stands;
        }
        match lever {
            Lever::ScaleIn => self.stands.scale_in_suspended = Some(to == 1),
            Lever::Count => self.stands.target_count = Some(to),
            Lever::KeepAlive => self.stands.keep_alive = Some(to),
        }
        to
    }

    pub(super) fn checks(&self) -> Vec<Check> {
        let outcome = if self.unhealthy { CheckOutcome::Fail } else { CheckOutcome::Pass };
        let capture =
            self.capture.iter().map(|outcome| Check::of_capture("capture losses", *outcome, "0 of 0", "look"));
        [Check::new("target healthy", outcome, "6 of 6", "")].into_iter().chain(capture).collect()
    }

    /// What a window held.
    pub(super) fn count(&self, window: Window) -> Observation {
        let seconds = u64::try_from(window.length().as_millis()).unwrap() / 1000;
        let class = |rate: u64, weight: Weight| {
            let all = rate * seconds;
            let target = (all as f64 * weight.fraction()).round() as u64;
            Block {
                millis: seconds * 1000,
                source: side(all - target, self.source_errors),
                target: side(target, self.target_errors),
            }
        };
        Observation {
            window,
            reads: class(self.rate * 4 / 5, self.share.reads),
            writes: class(self.rate / 5, self.share.writes),
        }
    }

    /// The last ten seconds.
    pub(super) fn glance(&self) -> Event {
        let window = Window { from: self.now.minus(Duration::from_secs(10)), to: self.now };
        Event::Glanced(self.count(window))
    }

    /// So many of the target's two targets are healthy, and both of the source's.
    pub(super) fn health(&self, healthy: u32) -> Event {
        let targets = |healthy| Targets { all: 2, healthy, unknown: 0, ill: String::new() };
        Event::Health(Health { source: Some(targets(2)), target: targets(healthy), begun: self.now })
    }

    /// Lets the world run until `end` holds, for `limit` at most; whether it came to hold.
    pub(super) fn run(&mut self, limit: Duration, end: impl Fn(&Cutover) -> bool) -> bool {
        let until = self.now.plus(limit);
        while !end(&self.cutover) {
            if self.now > until {
                return false;
            }
            if let Some(event) = self.queue.pop_front() {
                self.now = self.now.plus(Duration::from_millis(20));
                self.send(&event);
                continue;
            }
            let due = self.wake.take().unwrap_or(self.now.plus(Duration::from_secs(1)));
            self.now = due.max(self.now.plus(Duration::from_millis(1)));
            if self.cutover.watched()
                && self.now.since(self.glanced) >= Duration::from_secs(5)
                && !self.mute.contains("glance")
            {
                self.glanced = self.now;
                self.send(&self.glance());
            }
            self.send(&Event::Tick);
        }
        true
    }

    /// Runs until a phase of that name is reached.
    pub(super) fn reach(&mut self, phase: &str) {
        let reached = self.run(Duration::from_hours(2), |cutover| cutover.phase.name() == phase);
        assert!(reached, "{phase} is not reached: {} {}", self.cutover.phase.name(), self.cutover.outlook);
    }

    /// Runs until the proxies are being armed for the first rise.
    pub(super) fn arm(&mut self) {
        let asked = self.run(Duration::from_hours(2), |cutover| matches!(cutover.armed, Armed::Asked { .. }));
        assert!(asked, "nothing is armed: {} {}", self.cutover.phase.name(), self.cutover.outlook);
    }

    /// Runs until a step bakes.
    pub(super) fn bake(&mut self, step: usize) {
        let reached = self.run(Duration::from_hours(2), |cutover| cutover.phase == Phase::Baking { step });
        assert!(reached, "step {step} does not bake: {} {}", self.cutover.phase.name(), self.cutover.outlook);
    }

    /// Runs for a while.
    pub(super) fn pass(&mut self, time: Duration) {
        self.run(time, |_| false);
    }

    /// Drops what is on its way to the cutover, as a dying daemon does, and comes back.
    pub(super) fn restart(&mut self) -> Decision {
        self.queue.clear();
        self.wake = None;
        self.send(&Event::Restarted)
    }
}

pub(super) fn action(share: Share, note: &str) -> Value {
    json!({ "reads": share.reads.per_mille(), "writes": share.writes.per_mille(), "note": note })
}

fn side(requests: u64, errors: f64) -> Counts {
    let bad = (requests as f64 * errors).round() as u64;
    let mut counts = Counts { requests, status_2xx: requests - bad, status_5xx: bad, ..Counts::default() };
    counts.latency.record(20_000, requests - requests / 10);
    counts.latency.record(80_000, requests / 10);
    counts.exchange = counts.latency.clone();
    counts
}

/// A cutover that bakes its first step.
pub(super) fn baking() -> Stage {
    let mut stage = Stage::started(policy());
    stage.bake(0);
    stage
}
