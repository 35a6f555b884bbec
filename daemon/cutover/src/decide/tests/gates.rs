//! Gates whose answers age: what they said is believed for a moment, and asked for right before writes are moved.

use std::time::Duration;

use super::stage::{Stage, both, order, policy};
use crate::cutover::{BlockerKind, GateState, Phase};
use crate::event::{CheckOutcome, GateAnswer, Verb};
use crate::policy::{CaptureNeed, Gate, GateBefore, GateKind, GateTimeout, OnTimeout, Policy, ReplayLag};

const MINUTE: Duration = Duration::from_mins(1);

/// A gate on the replay before each step that moves writes.
fn replay() -> Gate {
    Gate {
        name: "replay".to_owned(),
        before: GateBefore::EachWrites,
        kind: GateKind::ReplayLag(ReplayLag {
            brokers: vec!["127.0.0.1:9092".to_owned()],
            group: "replayer-target".to_owned(),
            topic: "logging-traffic-topic".to_owned(),
            max: MINUTE / 2,
            properties: None,
        }),
        timeout: 60 * MINUTE,
        on_timeout: GateTimeout::Hold,
    }
}

/// A cutover whose first step bakes, and whose second waits for the replay.
fn waiting(change: impl Fn(&mut Policy)) -> Stage {
    let mut policy = policy();
    policy.gates = vec![replay()];
    change(&mut policy);
    let mut stage = Stage::new(policy);
    stage.capture = Some(CheckOutcome::Pass);
    stage.send(&order(Verb::Start));
    stage.bake(0);
    stage.asked.clear();
    stage
}

/// Runs until the second step waits.
fn gated(stage: &mut Stage) {
    assert!(stage.run(60 * MINUTE, |cutover| cutover.phase == Phase::Gated { step: 1 }));
}

fn later() -> GateAnswer {
    GateAnswer::Later { why: "the replay is 2m behind".to_owned() }
}

#[test]
fn the_replay_is_asked_when_nothing_else_is_in_the_way() {
    // Proves that a step which waits for hours for something else asks nothing, and asks once right before it moves.
    let mut stage = waiting(|_| {});
    gated(&mut stage);
    stage.send(&order(Verb::Hold));
    stage.pass(180 * MINUTE);
    stage.unhealthy = true;
    stage.pass(MINUTE);
    stage.send(&order(Verb::Resume { adopt_policy: None }));
    stage.pass(5 * MINUTE);
    assert_eq!(stage.cutover.phase, Phase::Gated { step: 1 }, "{}", stage.cutover.outlook);
    assert!(stage.asked.is_empty(), "{:?}", stage.asked);
    stage.unhealthy = false;
    stage.bake(1);
    assert_eq!(stage.asked, ["replay/1"]);
}

#[test]
fn a_yes_of_a_while_ago_is_asked_for_again() {
    // Proves that no write is moved on a yes that has aged while capture was looked at, that the replay is asked again
    // then, and that what it says by then counts.
    let mut stage = waiting(|policy| policy.capture.need = CaptureNeed::Required);
    gated(&mut stage);
    stage.mute.insert("check");
    let open = |cutover: &crate::Cutover| matches!(cutover.gates.get("replay"), Some(GateState::Open { .. }));
    assert!(stage.run(MINUTE, open), "{}", stage.cutover.outlook);
    let kinds: Vec<_> = stage.cutover.blockers.iter().map(|blocker| blocker.kind).collect();
    assert_eq!(kinds, [BlockerKind::Capture], "{}", stage.cutover.outlook);
    stage.gate = later();
    stage.pass(MINUTE);
    stage.mute.clear();
    stage.pass(30 * MINUTE);
    assert_eq!((stage.cutover.phase.clone(), stage.share), (Phase::Gated { step: 1 }, both(100)));
    assert_eq!(stage.cutover.blockers[0].text, "gate `replay` says later: the replay is 2m behind");
    stage.gate = GateAnswer::Yes;
    stage.bake(1);
}

#[test]
fn a_share_that_is_written_again_asks_the_replay_again() {
    // Proves that after a restart between a write and its proof the share is not written again before the replay said yes
    // anew; that this waits without spending a budget; and that no other gate is asked for it.
    let mut stage = waiting(|policy| {
        policy.gates.insert(0, super::stage::asked_gate());
        policy.unknown.on_timeout = OnTimeout::Revert;
    });
    stage.mute.insert("write");
    let shifts = |cutover: &crate::Cutover| matches!(cutover.phase, Phase::Shifting { step: 1, .. });
    assert!(stage.run(60 * MINUTE, shifts));
    assert_eq!(stage.asked, ["cache-warm/1", "replay/1"]);
    let written = stage.writes.len();
    stage.mute.clear();
    stage.gate = later();
    stage.restart();
    stage.pass(30 * MINUTE);
    assert_eq!(stage.writes.len(), written, "{}", stage.cutover.outlook);
    assert!(shifts(&stage.cutover) && stage.cutover.halt.is_none(), "{}", stage.cutover.outlook);
    assert!(stage.asked[2..].iter().all(|asked| asked == "replay/1"), "{:?}", stage.asked);
    stage.gate = GateAnswer::Yes;
    stage.bake(1);
    assert!(stage.cutover.gates.is_empty());
}

#[test]
fn what_a_person_opens_does_not_age() {
    // Proves that `advance` on a gate that said no holds for the step, however long that waits for something else.
    let mut stage = waiting(|_| {});
    stage.gate = GateAnswer::No { why: "5 records expired unread".to_owned() };
    gated(&mut stage);
    stage.pass(MINUTE);
    stage.unhealthy = true;
    stage.pass(MINUTE);
    assert!(stage.send(&order(Verb::Advance)).accepted);
    stage.pass(5 * MINUTE);
    stage.unhealthy = false;
    stage.bake(1);
    assert_eq!(stage.asked, ["replay/1"]);
}

#[test]
fn a_clock_that_is_set_back_makes_no_answer_younger() {
    // Proves that a yes is forgotten when the clock runs back, and the replay asked again.
    let mut stage = waiting(|policy| policy.capture.need = CaptureNeed::Required);
    gated(&mut stage);
    stage.mute.insert("check");
    let open = |cutover: &crate::Cutover| matches!(cutover.gates.get("replay"), Some(GateState::Open { .. }));
    assert!(stage.run(MINUTE, open));
    stage.now = stage.now.minus(MINUTE);
    stage.gate = later();
    stage.send(&crate::event::Event::Tick);
    assert!(!open(&stage.cutover), "{:?}", stage.cutover.gates);
    stage.mute.clear();
    stage.pass(10 * MINUTE);
    assert_eq!(stage.share, both(100), "{}", stage.cutover.outlook);
}
