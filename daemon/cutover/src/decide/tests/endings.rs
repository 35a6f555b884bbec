//! What must still happen when a cutover has ended, and what a restart must not lose.

use std::time::Duration;

use super::stage::{Stage, both, order, policy};
use crate::command::Command;
use crate::cutover::{HaltKind, Phase};
use crate::decide::Decision;
use crate::event::Verb;
use crate::units::{Share, Weight};

fn disarms(decision: &Decision) -> bool {
    decision.commands.contains(&Command::Disarm)
}

fn in_phase(phase: &str) -> Stage {
    let mut stage = Stage::started(policy());
    stage.reach(phase);
    stage
}

#[test]
fn a_restart_after_the_end_disarms_again() {
    // Proves that a daemon which died between the last entry and the call leaves no tripwire armed: after `done` it
    // would send every client back to a source that may be gone.
    let mut done = in_phase("done");
    assert!(disarms(&done.restart()));
    let mut aborted = in_phase("baking");
    aborted.send(&order(Verb::Abort));
    assert!(disarms(&aborted.restart()));
    done.send(&order(Verb::Close));
    assert!(disarms(&done.restart()), "closed in the moment the daemon died");
}

#[test]
fn closing_disarms_though_a_restart_forgot_the_arming() {
    // Proves that what the proxies hold is taken back, whatever this cutover still knows of it.
    let mut stage = in_phase("baking");
    stage.send(&order(Verb::Revert));
    stage.reach("reverted");
    stage.restart();
    assert!(disarms(&stage.send(&order(Verb::Close))));
}

#[test]
fn adopting_a_policy_without_tripwires_disarms_the_old_ones() {
    // Proves that a limit which no policy states any more cannot fire.
    let mut stage = in_phase("baking");
    let mut without = policy();
    without.tripwires.clear();
    let decision = stage.send(&order(Verb::Resume { adopt_policy: Some(Box::new(without)) }));
    assert!(decision.accepted, "{:?}", decision.reason);
    assert!(disarms(&decision));
}

#[test]
fn a_resumed_drain_has_its_time_again() {
    // Proves that an operator can go on waiting for the source: the time-out begins anew and does not halt at once.
    let mut patient = policy();
    patient.unknown.hold_budget = Duration::from_hours(9);
    let mut stage = Stage::started(patient);
    stage.reach("draining");
    // Somebody still asks the source.
    stage.share = Share { reads: Weight::new(990).unwrap(), writes: Weight::ALL };
    stage.mute.insert("read");
    let halted = |cutover: &crate::Cutover| cutover.halt.as_ref().is_some_and(|halt| halt.kind == HaltKind::Drain);
    assert!(stage.run(Duration::from_hours(1), halted), "{}", stage.cutover.outlook);
    assert!(stage.send(&order(Verb::Resume { adopt_policy: None })).accepted);
    assert_eq!(stage.cutover.halt, None);
    assert!(stage.run(Duration::from_hours(1), halted));
}

#[test]
fn an_aborted_cutover_keeps_what_was_read_last_over_restarts() {
    // Proves that where an abort left the weight is still known after two restarts: the own proxy comes up with it.
    let mut stage = in_phase("baking");
    stage.mute.insert("restore");
    stage.send(&order(Verb::Revert));
    stage.send(&order(Verb::Abort));
    for _ in 0..2 {
        stage.restart();
        assert_eq!(stage.cutover.phase, Phase::Aborted);
        assert_eq!(stage.cutover.configured.as_ref().map(|reading| reading.share), Some(both(100)));
    }
}

#[test]
fn the_price_says_when_not_all_was_counted() {
    // Proves that writes of a time in which the daemon was gone are not passed over in silence.
    let mut stage = in_phase("baking");
    let whole = crate::price(&stage.cutover, stage.now);
    assert_eq!((whole.gaps, whole.text.contains("at least")), (0, false), "{}", whole.text);
    stage.now = stage.now.plus(Duration::from_hours(1));
    stage.restart();
    let price = crate::price(&stage.cutover, stage.now);
    assert_eq!(price.gaps, 1);
    assert!(price.text.contains("at least") && price.text.contains("could not be counted"), "{}", price.text);
}

#[test]
fn a_revert_over_a_write_under_way_is_not_closed_before_it_was_watched() {
    // Proves that a write which may still land is waited for as long as the policy says, and no other close is refused.
    let mut stage = Stage::started(policy());
    stage.mute.insert("write");
    stage.reach("shifting");
    stage.pass(Duration::from_secs(5));
    stage.send(&order(Verb::Revert));
    stage.reach("reverted");
    let refused = stage.send(&order(Verb::Close));
    assert!(!refused.accepted && refused.reason.text.contains("may still land"), "{}", refused.reason.text);
    stage.pass(Duration::from_mins(2));
    assert!(stage.send(&order(Verb::Close)).accepted);
    let mut at_rest = in_phase("baking");
    at_rest.send(&order(Verb::Revert));
    at_rest.reach("reverted");
    assert!(at_rest.send(&order(Verb::Close)).accepted);
}
