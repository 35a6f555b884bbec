//! A cutover under each fault: where it ended, what its clients saw, and whether everything is as it was.

use std::time::Duration;

use lab::cloudwatch::{Broken, BrokenSeries};
use lab::faults::FaultName;
use lab::lab_api::{self, Action};
use lab::plane::{Behaviour, Manner};
use serde_json::{Value, json};
use tidegate_tests::servers::Process;

use crate::cloud::{SERVICE, Setup, World};

/// What goes wrong while the first step is baked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wrong {
    /// Calls, so many or for so many seconds, and all servers of the target are gone at the same time.
    Calls(FaultName, &'static str, Option<u32>, Option<f64>),
    /// The write of the last step is applied after a minute, when a person has ordered the revert.
    Late,
    /// Somebody else gives both sides half.
    ForeignEdit,
    /// Somebody deploys the stack again.
    CdkReset,
    /// The target's group has no targets any more.
    Empty,
    /// The target's servers are gone.
    Gone,
    /// The target answers 500.
    Errors,
    /// CloudWatch calls its series partial, for minutes.
    Partial,
    /// CloudWatch fails, for minutes.
    NoMetrics,
}

/// All of them, with their names.
pub(crate) const CASES: [(&str, Wrong); 18] = [
    ("all calls throttled for 2 min, target gone", calls(FaultName::Throttle, "*", None, Some(120.0))),
    ("writes denied for 3 min, target gone", calls(FaultName::AccessDenied, "ModifyListener", None, Some(180.0))),
    ("credentials expired for 3 min, target gone", calls(FaultName::ExpiredToken, "*", None, Some(180.0))),
    (
        "control plane fails for 3 min, target gone",
        calls(FaultName::Error500, "elasticloadbalancing:*", None, Some(180.0)),
    ),
    ("2 writes hang, target gone", calls(FaultName::Hang, "ModifyListener", Some(2), None)),
    ("4 writes reset, target gone", calls(FaultName::Reset, "ModifyListener", Some(4), None)),
    ("2 writes applied, reply dropped, target gone", calls(FaultName::ApplyThenDrop, "ModifyListener", Some(2), None)),
    ("6 reads stale, target gone", calls(FaultName::StaleRead, "DescribeListeners", Some(6), None)),
    ("4 answers truncated, target gone", calls(FaultName::Truncated, "DescribeListeners", Some(4), None)),
    ("3 answers not AWS's, target gone", calls(FaultName::NotAws, "*", Some(3), None)),
    ("a write applied 1 min late, revert ordered", Wrong::Late),
    ("foreign edit to half", Wrong::ForeignEdit),
    ("CDK deployed again", Wrong::CdkReset),
    ("target group empty", Wrong::Empty),
    ("target gone", Wrong::Gone),
    ("target answers 500", Wrong::Errors),
    ("CloudWatch partial for a while", Wrong::Partial),
    ("CloudWatch fails for 3 min", Wrong::NoMetrics),
];

const fn calls(name: FaultName, op: &'static str, times: Option<u32>, seconds: Option<f64>) -> Wrong {
    Wrong::Calls(name, op, times, seconds)
}

/// How many times as fast as real time; slow enough that a time-out of the network is not most of what is shown.
const SPEED: u32 = 20;

/// How long a write that lands late is waited for after the revert, in seconds of the lab.
const LATE_SECONDS: u64 = 120;

/// How one ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The phase, or `halted`.
    pub(crate) phase: String,
    /// The weights of source and target.
    pub(crate) weights: [i64; 2],
    /// Requests, and how many of them failed, as clients saw them.
    pub(crate) requests: (u64, u64),
    /// From the fault to the original's being back for good, in seconds of the lab; `None` where it did not go back.
    pub(crate) seconds: Option<f64>,
    /// Whether the list of actions is what it was, in depth; after success, but for the two weights.
    pub(crate) same: bool,
}

fn behave(world: &World, behaviour: Behaviour) {
    let target = world.lab().scene().target_tg.clone();
    world.lab().shared().plane.behave(&target, behaviour);
}

fn gone(world: &World) {
    behave(world, Behaviour { manner: Manner::Gone, ..Behaviour::default() });
}

/// Lets it go wrong.
fn begin(world: &World, daemon: &mut Process, wrong: Wrong) {
    let act = |action| lab_api::act(world.lab().shared(), action).expect("the account has what it names");
    match wrong {
        Wrong::Calls(name, op, times, seconds) => {
            world.fault(name, op, times, seconds);
            gone(world);
        }
        Wrong::Late => {
            world.fault(FaultName::DelayedApply, "ModifyListener", Some(1), Some(60.0));
            world.wait_for(daemon, &["shifting"], Some(1000));
            world.say(&["revert", SERVICE, "--yes", "--reason", "to see what becomes of it"]);
        }
        Wrong::ForeignEdit => {
            let weights = [("source".to_owned(), 500), ("target".to_owned(), 500)].into();
            act(Action::ForeignEdit { listener: None, weights, actions: None });
        }
        Wrong::CdkReset => act(Action::CdkReset {}),
        Wrong::Empty => {
            let group = world.lab().scene().target_tg.clone();
            let targets: Vec<Value> = world.lab().shared().read(|model| {
                let targets = &model.target_groups[&group].targets;
                targets.iter().map(|target| json!({"Id": target.id, "Port": target.port})).collect()
            });
            world.elb("DeregisterTargets", &json!({"TargetGroupArn": group, "Targets": targets}));
        }
        Wrong::Gone => gone(world),
        Wrong::Errors => behave(world, Behaviour { error_share: 1.0, ..Behaviour::default() }),
        Wrong::Partial => {
            let broken =
                |metric: &str| BrokenSeries { metric: metric.to_owned(), status: "PartialData".to_owned(), times: 20 };
            let series = vec![broken("RequestCount"), broken("HTTPCode_Target_5XX_Count")];
            *world.lab().shared().cloudwatch.broken() = Broken { series, page_points: None };
        }
        Wrong::NoMetrics => world.fault(FaultName::Error500, "GetMetricData", None, Some(180.0)),
    }
}

/// One cutover.
pub(crate) fn run(wrong: Wrong) -> Ended {
    let world = World::new(&Setup { speed: SPEED, ..Setup::default() });
    let before = world.actions();
    let clients = world.clients();
    let mut daemon = world.daemon();
    world.say(&["start", SERVICE, "--yes"]);
    world.wait_for(&mut daemon, &["baking"], Some(200));
    let mut began = world.now();
    begin(&world, &mut daemon, wrong);
    if matches!(wrong, Wrong::Late) {
        // What brings the original back is the order.
        began = world.now();
    }
    let phase = match wrong {
        Wrong::ForeignEdit | Wrong::CdkReset => {
            let mut phase = String::new();
            daemon.wait_until("the drift is seen", Duration::from_mins(3), |_| {
                let cutover = world.cutover();
                phase = if cutover["halt"].is_null() { String::new() } else { "halted".to_owned() };
                !phase.is_empty()
            });
            phase
        }
        Wrong::Partial | Wrong::NoMetrics => world.wait_for(&mut daemon, &["done", "reverted"], None),
        _ => world.wait_for(&mut daemon, &["reverted"], None),
    };
    if matches!(wrong, Wrong::Late) {
        std::thread::sleep(Duration::from_secs(LATE_SECONDS) / SPEED);
        world.wait_for(&mut daemon, &["reverted"], None);
    }
    let reverted = phase == "reverted";
    let seconds = reverted.then(|| world.changes().last().copied()).flatten().map(|at| (at - began) as f64 / 1000.0);
    let (requests, after) = (clients.stop(), world.actions());
    let mut wanted = before;
    if phase == "done" {
        let target = world.lab().scene().target_tg.clone();
        let groups = wanted.pointer_mut("/0/ForwardConfig/TargetGroups").and_then(Value::as_array_mut);
        for group in groups.expect("it forwards") {
            group["Weight"] = json!(u8::from(group["TargetGroupArn"] == target.as_str()));
        }
    }
    Ended { phase, weights: world.weights(), requests, seconds, same: after == wanted }
}
