//! The whole way of a healthy cutover.

use std::sync::Arc;
use std::time::Duration;

use super::stage::{Stage, asked_gate, both, order, policy, weight};
use crate::baseline::{self, Given};
use crate::command::{Episode, Severity};
use crate::event::Verb;
use crate::policy::Writes;
use crate::units::{Share, Weight};

#[test]
fn a_healthy_cutover_climbs_each_step_once_and_ends_done() {
    // Proves the way from start to done: each share written once, in order, no restore, an outcome told.
    let mut stage = Stage::started(policy());
    stage.reach("done");
    let shares: Vec<_> = stage.writes.iter().map(|write| write.clone().unwrap()).collect();
    assert_eq!(shares, [both(100), both(500), both(950), Share::ALL]);
    assert_eq!(stage.cutover.earned, Share::ALL);
    let alerts: Vec<_> = stage.alerts.iter().map(|alert| (alert.change, alert.severity, &*alert.title)).collect();
    assert_eq!(alerts, [(Episode::Opened, Severity::Info, "search: cutover done")]);
    expect_test::expect!["started checked preflight_passed baseline_recorded arming step_begins weight_confirmed step_passed step_begins weight_confirmed step_passed step_begins weight_confirmed step_passed step_begins weight_confirmed drained"]
    .assert_eq(&stage.journal.join(" "));
}

#[test]
fn a_step_takes_its_bake_and_not_much_more() {
    // Proves that a step ends by covered time: not before bake_min, and soon after it with ample traffic.
    let mut stage = Stage::started(policy());
    stage.bake(0);
    let confirmed = stage.now;
    stage.reach("gated");
    let took = stage.now.since(confirmed);
    assert!(took >= Duration::from_mins(1), "{took:?}");
    assert!(took <= Duration::from_mins(5), "{took:?}");
}

#[test]
fn writes_that_come_last_jump_from_none_to_all() {
    // Proves that with writes = "last" a ladder of reads is climbed with no write on the target before the last step.
    let mut policy = policy();
    policy.shift.writes = Writes::Last;
    let reads = |w| Share { reads: weight(w), writes: Weight::NONE };
    policy.shift.steps = vec![reads(100), reads(950), Share::ALL];
    let mut stage = Stage::started(policy);
    stage.bake(1);
    assert_eq!(stage.cutover.writes_since, None);
    assert_eq!(crate::price(&stage.cutover, stage.now).since, None);
    stage.reach("done");
    let price = crate::price(&stage.cutover, stage.now);
    assert!(price.since.is_some() && price.writes > 0, "{price:?}");
}

#[test]
fn the_price_grows_after_done_and_a_revert_is_possible_until_close() {
    // Proves that done is not the end of what a revert costs, nor of the revert, and that close is.
    let mut stage = Stage::started(policy());
    stage.reach("done");
    let before = crate::price(&stage.cutover, stage.now).writes;
    stage.pass(Duration::from_mins(2));
    assert!(crate::price(&stage.cutover, stage.now).writes > before);
    let mut closed = stage.clone();
    assert!(closed.send(&order(Verb::Close)).accepted);
    assert!(!closed.send(&order(Verb::Revert)).accepted);
    assert!(stage.send(&order(Verb::Revert)).accepted);
    assert!(crate::price(&closed.cutover, closed.now).text.starts_with("a revert is lossy: "));
    stage.reach("reverted");
    assert_eq!(stage.share, Share::NONE);
    assert!(crate::price(&stage.cutover, stage.now).text.starts_with("the revert is lossy: "), "it was done");
}

#[test]
fn a_gate_is_asked_once_for_each_step() {
    // Proves that a program before each step is asked once for each step of a ladder of four.
    let mut policy = policy();
    policy.gates = vec![asked_gate()];
    let mut stage = Stage::started(policy);
    stage.reach("done");
    assert_eq!(stage.asked, ["cache-warm/0", "cache-warm/1", "cache-warm/2", "cache-warm/3"]);
}

#[test]
fn a_given_baseline_needs_no_recording() {
    // Proves that a cutover with a recorded baseline goes from its checks to the first step at once, is judged by that
    // baseline, and says so in the journal.
    let mut stage = Stage::new(policy());
    let read = baseline::read(&baseline::write(&baseline::tests::document(7 * 1_440)), "search.json").unwrap();
    stage.cutover.given = Some(Arc::new(Given::of(&read, "search.json", &stage.cutover.policy).unwrap()));
    stage.send(&order(Verb::Start));
    let started = stage.now;
    stage.bake(0);
    assert_eq!(stage.cutover.evidence.recorded, Duration::ZERO);
    assert!(stage.now.since(started) < Duration::from_mins(1), "{:?}", stage.now.since(started));
    assert!(stage.journal.iter().any(|kind| kind == "baseline_given"), "{:?}", stage.journal);
    let judge = stage.cutover.evidence.judge.clone().unwrap();
    assert_eq!((judge.baseline().requests(), judge.baseline().is_thin()), (7 * 1_440 * 100, false));
    stage.reach("done");
}
