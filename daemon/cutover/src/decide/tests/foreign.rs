//! Weights that someone else changed, before the first write and after it.

use std::time::Duration;

use super::stage::{Stage, asked_gate, baking, both, order, policy};
use crate::command::Command;
use crate::cutover::{HaltKind, Phase};
use crate::event::{Event, GateAnswer, Verb};
use crate::policy::{DriftPolicy, WeightedStart};
use crate::units::Share;

const MINUTE: Duration = Duration::from_mins(1);

#[test]
fn a_target_with_weight_is_refused_unless_it_is_adopted_and_then_earns_nothing() {
    // Proves both ways of `on_weighted_start`; adopted weight above the first step goes back to the first step.
    let mut refused = Stage::new(policy());
    refused.share = both(300);
    refused.send(&order(Verb::Start));
    refused.pass(MINUTE);
    assert_eq!(refused.cutover.phase, Phase::Pending);
    assert_eq!(refused.cutover.halt.as_ref().map(|halt| halt.kind), Some(HaltKind::Start));
    let mut policy = policy();
    policy.shift.on_weighted_start = WeightedStart::Adopt;
    let mut adopted = Stage::new(policy);
    adopted.share = both(300);
    adopted.send(&order(Verb::Start));
    adopted.bake(0);
    assert_eq!(adopted.share, both(100));
    adopted.send(&order(Verb::Revert));
    adopted.reach("reverted");
    assert_eq!(adopted.share, both(300), "a revert puts back what was recorded");
}

#[test]
fn weights_changed_before_the_first_write_begin_preflight_anew() {
    // Proves that the recorded original is what stood right before our first write.
    let mut stage = Stage::started(policy());
    stage.reach("baseline");
    stage.share = both(10);
    stage.pass(MINUTE);
    assert_eq!(stage.cutover.phase, Phase::Pending, "the target has weight, so the start is refused");
    assert!(stage.journal.contains(&"changed_before_start".to_owned()));
}

#[test]
fn an_action_changed_while_the_proxies_are_armed_is_what_a_revert_puts_back() {
    // Proves that until the first write went out, the original is what stands: with the same weights its rest is taken
    // anew, and with other weights preflight begins anew.
    let mut stage = Stage::started(policy());
    stage.mute.insert("arm");
    stage.arm();
    let mut weighted = stage.clone();
    stage.note = "someone was here".to_owned();
    stage.restart();
    stage.pass(MINUTE);
    stage.mute.clear();
    stage.bake(0);
    stage.send(&order(Verb::Revert));
    stage.reach("reverted");
    assert_eq!(stage.note, "someone was here");
    weighted.share = both(100);
    weighted.restart();
    weighted.pass(MINUTE);
    assert!(weighted.journal.contains(&"changed_before_start".to_owned()), "{:?}", weighted.journal);
    assert!(weighted.writes.is_empty(), "the share of the first step, given by someone else, is not ours");
}

#[test]
fn a_gate_that_said_later_wakes_nobody_once_preflight_begins_anew() {
    // Proves that the time of a gate that nobody waits for any more does not make the loop spin.
    let mut policy = policy();
    policy.gates = vec![asked_gate()];
    policy.shift.on_weighted_start = WeightedStart::Adopt;
    let mut stage = Stage::started(policy);
    stage.gate = GateAnswer::Later { why: String::new() };
    stage.reach("gated");
    stage.share = both(10);
    stage.reach("preflight");
    stage.send(&order(Verb::Hold));
    stage.pass(MINUTE);
    assert_eq!(stage.cutover.phase, Phase::Preflight);
    let decision = stage.send(&Event::Tick);
    let wake = decision.commands.iter().find_map(|command| match command {
        Command::WakeAt(at) => Some(at.since(stage.now)),
        _ => None,
    });
    assert!(wake.is_some_and(|wait| wait >= Duration::from_secs(1)), "the next look is in {wake:?}");
}

#[test]
fn drift_halts_and_resume_writes_ours_again() {
    // Proves `halt`: nothing is written until a person says so; judging goes on.
    let mut stage = baking();
    stage.share = both(300);
    assert!(stage.run(MINUTE, |cutover| cutover.halt.is_some()));
    assert_eq!(stage.writes.len(), 1);
    stage.send(&order(Verb::Resume { adopt_policy: None }));
    stage.bake(0);
    assert_eq!(stage.share, both(100));
}

#[test]
fn drift_past_the_hold_budget_is_told_once() {
    // Proves that a cutover which waits for a person writes no entry a read: drift is what it waits on, and that time ran
    // out meanwhile is no other reason.
    let mut stage = baking();
    stage.share = both(300);
    stage.run(MINUTE, |cutover| cutover.halt.is_some());
    stage.pass(30 * MINUTE);
    assert_eq!(stage.cutover.halt.as_ref().map(|halt| halt.kind), Some(HaltKind::Drift));
    let told = stage.journal.iter().filter(|kind| ["drift", "timeout"].contains(&kind.as_str())).count();
    assert_eq!(told, 1, "{:?}", stage.journal);
}

#[test]
fn drift_that_goes_away_ends_its_halt() {
    // Proves that a halt for drift ends when the world is as it was.
    let mut stage = baking();
    stage.share = both(300);
    stage.run(MINUTE, |cutover| cutover.halt.is_some());
    stage.share = both(100);
    assert!(stage.run(MINUTE, |cutover| cutover.halt.is_none()));
    assert_eq!(stage.writes.len(), 1);
}

#[test]
fn adopted_weight_may_not_stand_above_what_is_earned() {
    // Proves `adopt` both ways: above what is earned it goes back, below it stays and is baked anew.
    let mut policy = policy();
    policy.drift = DriftPolicy::Adopt;
    let mut stage = Stage::started(policy);
    stage.bake(1);
    stage.share = both(800);
    assert!(stage.run(MINUTE, |cutover| matches!(cutover.phase, Phase::Shifting { .. })));
    stage.bake(1);
    assert_eq!(stage.share, both(500));
    stage.share = both(200);
    assert!(stage.run(MINUTE, |cutover| cutover.desired == both(200)));
    assert_eq!(stage.cutover.phase, Phase::Baking { step: 0 });
    assert_eq!(stage.cutover.evidence.baked, Duration::ZERO);
}

#[test]
fn a_revert_that_nobody_knows_of_is_not_written_over() {
    // Proves that the recorded original, found where a step stood, halts under every policy: it is somebody's revert, and
    // a proxy that does not answer makes it no foreign share.
    for drift in [DriftPolicy::Halt, DriftPolicy::Adopt, DriftPolicy::Enforce] {
        let mut policy = policy();
        policy.drift = drift;
        let mut stage = Stage::started(policy);
        stage.bake(1);
        let writes = stage.writes.len();
        (stage.share, stage.note) = (Share::NONE, "as it was".to_owned());
        stage.restart();
        stage.pass(5 * MINUTE);
        let mut reading = stage.reading();
        reading.disagreeing = vec!["proxy-2".to_owned()];
        stage.send(&Event::Read(reading));
        stage.pass(MINUTE);
        assert_eq!(stage.cutover.halt.as_ref().map(|halt| halt.kind), Some(HaltKind::Drift), "{drift:?}");
        assert_eq!(stage.writes.len(), writes, "{drift:?}");
    }
}

#[test]
fn a_share_waits_unwritten_while_a_check_fails() {
    // Proves that nothing rises on a check that began to fail while the proxies were being armed.
    let mut stage = Stage::started(policy());
    stage.mute.insert("arm");
    stage.arm();
    stage.unhealthy = true;
    let checks = Event::Checked { checks: stage.checks(), begun: stage.now };
    stage.send(&checks);
    stage.send(&Event::Armed);
    assert_eq!(stage.writes.len(), 0);
    stage.unhealthy = false;
    stage.bake(0);
}

#[test]
fn what_was_adopted_below_the_ladder_earns_no_step() {
    // Proves that a weight below the first step, written again after drift, does not bake as that step.
    let mut policy = policy();
    policy.drift = DriftPolicy::Adopt;
    let mut stage = Stage::started(policy);
    stage.bake(0);
    stage.send(&order(Verb::Hold));
    (stage.share, stage.note) = (both(50), "someone's".to_owned());
    assert!(stage.run(MINUTE, |cutover| cutover.desired == both(50)));
    stage.share = both(700);
    assert!(stage.run(MINUTE, |cutover| matches!(cutover.phase, Phase::Shifting { .. })));
    stage.pass(MINUTE);
    assert_eq!((stage.share, stage.cutover.phase), (both(50), Phase::Gated { step: 0 }));
}

#[test]
fn enforced_drift_ends_in_a_halt_when_it_goes_on() {
    // Proves the bound on two writers who fight, though each of our writes is confirmed: the first write, and one for
    // each of `attempts_max` changes; then a human is called, whose word lets it go on.
    let mut policy = policy();
    policy.drift = DriftPolicy::Enforce;
    let mut stage = Stage::started(policy);
    stage.bake(0);
    for _ in 0..20 {
        stage.share = both(300);
        stage.pass(Duration::from_secs(30));
    }
    assert_eq!(stage.writes.len(), 1 + 3);
    assert_eq!(stage.cutover.halt.as_ref().map(|halt| halt.kind), Some(HaltKind::Drift));
    stage.send(&order(Verb::Advance));
    stage.bake(0);
    assert_eq!(stage.share, both(100));
}

#[test]
fn adopted_drift_ends_in_a_halt_when_it_goes_on() {
    // Proves the same bound where the policy adopts: shares that flap begin the evidence anew, but not for ever.
    let mut policy = policy();
    policy.drift = DriftPolicy::Adopt;
    let mut stage = Stage::started(policy);
    stage.bake(1);
    for round in 0..20 {
        stage.share = both(200 + 10 * (round % 2));
        stage.pass(Duration::from_secs(30));
    }
    assert_eq!(stage.cutover.halt.as_ref().map(|halt| halt.kind), Some(HaltKind::Drift));
}
