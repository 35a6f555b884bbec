//! The policy of a world: coarse enough that a cutover is a few hundred events, varied enough that every branch is used.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover::policy::{
    BalancerPolicy, BaselinePolicy, CaptureNeed, CapturePolicy, ChangeWindow, ClientsPolicy, DrainPolicy, DrainTimeout,
    DriftPolicy, FleetPolicy, Gate, GateBefore, GateKind, GateTimeout, GuardPolicy, MetricsPolicy, OnBaselineDrift,
    OnTimeout, OnUnknown, Policy, ProxyRetry, ReplayLag, RevertPolicy, ShiftPolicy, SidePolicy, Tripwire, TripwireKind,
    UnknownPolicy, WeightedStart, WindowPolicy, Writes,
};
use cutover::{Share, Weight};
use fastrand::Rng;
use judge::{Guard, GuardKind};

use super::faults::{Fault, Faults};

/// One minute.
const MINUTE: Duration = Duration::from_mins(1);

/// The share of errors at which the world's tripwire fires.
pub const TRIPWIRE_ERRORS: f64 = 0.25;
/// The fewest requests it fires on.
pub const TRIPWIRE_REQUESTS: u64 = 20;
/// The share of errors of the source above which it does not.
pub const TRIPWIRE_SOURCE: f64 = 0.10;

/// Draws a policy.
pub fn draw(rng: &mut Rng, faults: &Faults) -> Policy {
    let writes = if rng.bool() { Writes::Last } else { Writes::Split };
    let ladders: [&[u16]; 3] = [&[100, 500, 950], &[50, 300, 950], &[10, 200, 600, 950]];
    let reads = ladders[rng.usize(0..ladders.len())];
    let share = |w: u16| {
        let weight = Weight::new(w).expect("the ladders hold per mille");
        if writes == Writes::Last { Share { reads: weight, writes: Weight::NONE } } else { Share::both(weight) }
    };
    let mut steps: Vec<Share> = reads.iter().map(|&w| share(w)).collect();
    steps.push(Share::ALL);
    // Drawn from the seed alone, so that worlds without levers are the worlds they were before there were any.
    let levers = rng.get_seed().is_multiple_of(3);
    let side = |port: u16| SidePolicy { endpoints: vec![format!("http://127.0.0.1:{port}")], ..SidePolicy::default() };
    let kinds = [GuardKind::Errors, GuardKind::Success, GuardKind::Latency, GuardKind::Baseline];
    Policy {
        service: "simulated".to_owned(),
        balancer: BalancerPolicy::Listener { proxies: Vec::new(), retry: ProxyRetry::None, sticky: None },
        metrics: MetricsPolicy::Proxy,
        clients: ClientsPolicy::default(),
        fleet: FleetPolicy { cluster: None, healthy_min: 1, scale: levers },
        lease: None,
        source: side(1),
        target: side(2),
        capture: CapturePolicy {
            need: if rng.bool() { CaptureNeed::Required } else { CaptureNeed::NotNeeded },
            ..CapturePolicy::default()
        },
        baseline: BaselinePolicy {
            record: 5 * MINUTE,
            intervals_min: 4,
            recorded: None,
            on_drift: OnBaselineDrift::Warn,
        },
        shift: ShiftPolicy {
            steps,
            writes,
            interval: MINUTE,
            bake_min: 3 * MINUTE,
            bake_max: 40 * MINUTE,
            warm_up: MINUTE / 2,
            settle: Duration::from_secs(10),
            share_tolerance: 0.05,
            requests_min: 100,
            attempts_max: 5,
            on_weighted_start: if rng.bool() { WeightedStart::Refuse } else { WeightedStart::Adopt },
            keep_alive: levers.then_some(60),
        },
        guards: kinds
            .into_iter()
            .map(|kind| GuardPolicy {
                guard: Guard::usual(kind),
                requests_min: 50,
                on_unknown: if kind == GuardKind::Baseline { OnUnknown::Ignore } else { OnUnknown::Hold },
            })
            .collect(),
        false_revert_max: 0.05,
        burst: MINUTE,
        pass: judge::Pass { errors_budget: 0.005, ..judge::Pass::default() },
        tripwires: vec![Tripwire {
            name: "errors".to_owned(),
            kind: TripwireKind::Errors,
            limit: TRIPWIRE_ERRORS,
            requests_min: TRIPWIRE_REQUESTS,
            window: Duration::from_secs(10),
            source_limit: TRIPWIRE_SOURCE,
        }],
        unknown: UnknownPolicy {
            hold_budget: 20 * MINUTE,
            blind_budget: 10 * MINUTE,
            on_timeout: [OnTimeout::Hold, OnTimeout::StepBack, OnTimeout::Revert][rng.usize(0..3)],
        },
        gates: gates(rng, faults),
        windows: WindowPolicy {
            zone: "Europe/Berlin".to_owned(),
            allow: if faults.has(Fault::Windows) {
                vec![ChangeWindow { days: vec![1, 2, 3, 4, 5, 6, 7], from_minute: 8 * 60, to_minute: 9 * 60 }]
            } else {
                Vec::new()
            },
            freeze: false,
        },
        drift: [DriftPolicy::Halt, DriftPolicy::Adopt, DriftPolicy::Enforce][rng.usize(0..3)],
        revert: RevertPolicy { deadline: 5 * MINUTE, reassert: 10 * MINUTE, close_connections: Duration::ZERO },
        drain: DrainPolicy {
            quiet: 3 * MINUTE,
            timeout: 60 * MINUTE,
            on_timeout: [DrainTimeout::Hold, DrainTimeout::Accept, DrainTimeout::Revert][rng.usize(0..3)],
            close_connections: Duration::ZERO,
        },
        alerts: Vec::new(),
    }
}

/// The gates of a world that has any.
fn gates(rng: &mut Rng, faults: &Faults) -> Vec<Gate> {
    if !faults.has(Fault::Gates) {
        return Vec::new();
    }
    let timeout = [GateTimeout::Hold, GateTimeout::Continue, GateTimeout::Revert][rng.usize(0..3)];
    let gate = |name: &str, before, kind| Gate {
        name: name.to_owned(),
        before,
        kind,
        timeout: 15 * MINUTE,
        on_timeout: timeout,
    };
    let asked = GateKind::Command { argv: vec!["/bin/true".to_owned()] };
    let replay = ReplayLag {
        brokers: vec!["127.0.0.1:9092".to_owned()],
        group: "replayer-target".to_owned(),
        topic: "logging-traffic-topic".to_owned(),
        max: MINUTE / 2,
        properties: None,
    };
    let half = Weight::new(500).expect("500 is a weight");
    vec![
        gate("cache-warm", GateBefore::EachStep, asked),
        gate("person", GateBefore::Weight(half), GateKind::Manual),
        gate("replay-lag", GateBefore::EachWrites, GateKind::ReplayLag(replay)),
    ]
}

/// The policy with one thing changed, as an operator would.
pub fn changed(policy: &Policy) -> Policy {
    Policy { source: SidePolicy { headers: BTreeMap::new(), ..policy.source.clone() }, ..policy.clone() }
}
