//! Captured traffic that a cutover relies on: what starts on it, what moves on it, and what does not.

use std::time::Duration;

use super::stage::{Stage, both, order, policy, weight};
use crate::command::{Command, Episode, Severity};
use crate::cutover::{BlockerKind, Phase};
use crate::event::{CheckOutcome, Event, Verb};
use crate::losses::LossList;
use crate::policy::{CaptureNeed, OnTimeout, Policy, Writes};
use crate::units::{Share, Weight};

const MINUTE: Duration = Duration::from_mins(1);

/// A cutover that relies on capture, which is whole.
fn relying(change: impl Fn(&mut Policy)) -> Stage {
    let mut policy = policy();
    policy.capture.need = CaptureNeed::Required;
    change(&mut policy);
    let mut stage = Stage::new(policy);
    stage.capture = Some(CheckOutcome::Pass);
    stage
}

/// The writes stay until everything goes.
fn writes_last(policy: &mut Policy) {
    let reads = |per_mille| Share { reads: weight(per_mille), writes: Weight::NONE };
    policy.shift.steps = vec![reads(100), reads(500), reads(950), Share::ALL];
    policy.shift.writes = Writes::Last;
}

#[test]
fn nothing_starts_while_capture_is_not_known_to_be_whole() {
    // Proves that a loss, what nobody can tell, and a shell that does not look at all keep preflight, for as long as it takes;
    // and that a cutover that does not rely on capture does not ask.
    for seen in [Some(CheckOutcome::Fail), Some(CheckOutcome::Unknown), None] {
        let mut stage = relying(|_| {});
        stage.capture = seen;
        stage.send(&order(Verb::Start));
        stage.pass(60 * MINUTE);
        assert_eq!(stage.cutover.phase, Phase::Preflight, "{seen:?}");
        assert_eq!(stage.cutover.blockers[0].kind, BlockerKind::Capture, "{:?}", stage.cutover.blockers);
        assert_eq!(stage.alerts.len(), 1, "a person is told once: {:?}", stage.alerts);
        assert!(stage.writes.is_empty() && stage.cutover.halt.is_none());
        stage.capture = Some(CheckOutcome::Warn);
        stage.reach("baking");

        let mut stage = Stage::new(policy());
        stage.capture = seen;
        stage.send(&order(Verb::Start));
        stage.reach("baking");
    }
}

#[test]
fn a_loss_holds_the_step_that_moves_writes_and_takes_nothing_back() {
    // Proves that reads go on rising, that the step which moves the writes waits for hours without spending a budget or
    // reverting, that people are told of the loss when it happens and when it is over, and that the step then goes on.
    let mut stage = relying(|policy| {
        writes_last(policy);
        policy.unknown.on_timeout = OnTimeout::Revert;
    });
    stage.send(&order(Verb::Start));
    stage.bake(0);
    stage.capture = Some(CheckOutcome::Fail);
    stage.pass(MINUTE);
    let told = stage.alerts.last().expect("people are told");
    assert_eq!((told.change, told.severity), (Episode::Opened, Severity::Critical));
    assert_eq!(told.title, "search: capture is not whole, so no writes are moved: capture losses");
    assert_eq!(told.text, "check `capture losses` fails: 0 of 0; look");
    let episode = told.episode.clone();
    stage.bake(2);
    assert!(stage.run(120 * MINUTE, |cutover| cutover.phase == Phase::Gated { step: 3 }));
    stage.pass(300 * MINUTE);
    assert_eq!(stage.cutover.phase, Phase::Gated { step: 3 }, "{}", stage.cutover.outlook);
    assert!(stage.cutover.halt.is_none());
    assert_eq!(stage.share, Share { reads: weight(950), writes: Weight::NONE });
    assert!(stage.cutover.blockers.iter().all(|blocker| blocker.kind == BlockerKind::Capture));
    stage.capture = Some(CheckOutcome::Pass);
    stage.reach("draining");
    let closed = stage.alerts.iter().rfind(|alert| alert.episode == episode).expect("its end");
    assert_eq!(closed.change, Episode::Closed);
}

#[test]
fn capture_is_asked_again_right_before_each_step_that_moves_writes() {
    // Proves that no write of clients is moved on a look from before the step waited, however young, and that a step which
    // moves reads alone does not ask.
    let muted = |change: fn(&mut Policy)| {
        let mut stage = relying(change);
        stage.send(&order(Verb::Start));
        stage.bake(0);
        assert!(stage.run(60 * MINUTE, |cutover| cutover.phase == Phase::Gated { step: 1 }));
        stage.mute.insert("check");
        stage
    };
    let mut stage = muted(|_| {});
    stage.pass(Duration::from_secs(5));
    assert_eq!(stage.share, both(100), "{}", stage.cutover.outlook);
    let [waits] = &stage.cutover.blockers[..] else { panic!("{:?}", stage.cutover.blockers) };
    assert_eq!(
        (waits.kind, &*waits.text),
        (BlockerKind::Capture, "capture is being looked at afresh, before writes are moved")
    );
    assert!(stage.cutover.check_asked.is_some_and(|asked| asked >= stage.cutover.since));
    let found = Event::Checked { checks: stage.checks(), begun: stage.cutover.since.minus(Duration::from_millis(1)) };
    stage.send(&found);
    assert_eq!(stage.cutover.phase, Phase::Gated { step: 1 }, "that look was begun before the step waited");
    stage.mute.clear();
    stage.bake(1);
    muted(writes_last).bake(1);

    let mut stage = relying(writes_last);
    stage.send(&order(Verb::Start));
    stage.bake(0);
    stage.capture = None;
    stage.bake(2);
    assert!(stage.run(60 * MINUTE, |cutover| cutover.phase == Phase::Gated { step: 3 }));
    stage.pass(10 * MINUTE);
    assert_eq!(
        stage.cutover.blockers[0].text,
        "nothing tells whether capture is without loss, and this cutover relies on it"
    );
}

#[test]
fn a_loss_between_the_look_and_the_write_is_seen_by_the_next_attempt() {
    // Proves that a share which is written again, since no read showed it, waits when capture has failed meanwhile.
    let mut stage = relying(|_| {});
    stage.send(&order(Verb::Start));
    stage.bake(0);
    stage.mute.extend(["write", "read"]);
    let shifts = |cutover: &crate::Cutover| matches!(cutover.phase, Phase::Shifting { step: 1, .. });
    stage.mute.remove("read");
    assert!(stage.run(60 * MINUTE, shifts));
    stage.capture = Some(CheckOutcome::Fail);
    let written = stage.writes.len();
    let event = Event::Checked { checks: stage.checks(), begun: stage.now };
    stage.send(&event);
    stage.pass(30 * MINUTE);
    assert_eq!(stage.writes.len(), written, "nothing is written again");
    assert!(stage.cutover.blockers.iter().any(|blocker| blocker.kind == BlockerKind::Capture));
    let decision = stage.send(&Event::Tick);
    assert!(!decision.commands.iter().any(|command| matches!(command, Command::Restore { .. })));
}

#[test]
fn a_look_from_before_a_restart_moves_no_writes() {
    // Proves that a daemon which comes back while a share is being moved writes it on no check from before, however young
    // it seems, and on no look at capture that took too long; and that it asks for another at once.
    let mut stage = relying(|_| {});
    stage.send(&order(Verb::Start));
    stage.bake(0);
    stage.mute.insert("write");
    let shifts = |cutover: &crate::Cutover| matches!(cutover.phase, Phase::Shifting { step: 1, .. });
    assert!(stage.run(60 * MINUTE, shifts));
    let written = stage.writes.len();
    stage.now = stage.now.plus(60 * MINUTE);
    stage.mute.extend(["check"]);
    let back = stage.restart();
    assert!(back.commands.contains(&Command::Check), "{:?}", back.commands);
    stage.pass(5 * MINUTE);
    assert_eq!(stage.writes.len(), written, "{}", stage.cutover.outlook);
    let begun = stage.now.minus(Duration::from_secs(31));
    stage.send(&Event::Checked { checks: stage.checks(), begun });
    stage.pass(Duration::from_secs(5));
    assert_eq!(stage.writes.len(), written, "{}", stage.cutover.outlook);
    stage.capture = Some(CheckOutcome::Fail);
    stage.mute.clear();
    stage.pass(5 * MINUTE);
    assert_eq!(stage.writes.len(), written, "{}", stage.cutover.outlook);
    stage.capture = Some(CheckOutcome::Pass);
    stage.bake(1);
}

#[test]
fn what_cannot_be_found_out_is_told_when_it_lasts() {
    // Proves that one round without an answer alerts nobody, and that one that goes on does.
    let mut stage = relying(|_| {});
    stage.send(&order(Verb::Start));
    stage.bake(0);
    stage.capture = Some(CheckOutcome::Unknown);
    let event = Event::Checked { checks: stage.checks(), begun: stage.now };
    stage.send(&event);
    assert!(stage.alerts.is_empty(), "{:?}", stage.alerts);
    stage.pass(MINUTE);
    assert_eq!(stage.alerts.iter().filter(|alert| alert.title.contains("capture is not whole")).count(), 1);
}

#[test]
fn what_a_proxy_lost_outlives_it() {
    // Proves that a loss which one look has seen holds the step that moves writes though its proxy is gone at the next, that a
    // journal keeps it, that one which knows nothing of it is read, and that it is over when somebody has accepted it.
    let mut stage = relying(|_| {});
    stage.send(&order(Verb::Start));
    stage.bake(0);
    let list = LossList {
        id: "7f".to_owned(),
        proxy: "10.0.0.7:9901".to_owned(),
        path: "/state/losses.jsonl".to_owned(),
        began: None,
        instance: "1".to_owned(),
        losses: 2,
        unlisted: 0,
        unlisted_before: 0,
        phantoms: 0,
    };
    let mut checks = stage.checks();
    checks.last_mut().expect("capture is looked at").lists = vec![list];
    let event = Event::Checked { checks, begun: stage.now };
    stage.send(&event);
    stage.pass(30 * MINUTE);
    let held = |stage: &Stage| stage.cutover.blockers.iter().any(|blocker| blocker.text.contains("of 10.0.0.7:9901"));
    assert!(held(&stage), "{:?}", stage.cutover.blockers);
    assert_eq!(stage.cutover.phase, Phase::Gated { step: 1 });

    let mut journal = serde_json::to_value(&stage.cutover).unwrap();
    let read = |journal| serde_json::from_value::<crate::Cutover>(journal).unwrap().losses;
    assert_eq!(read(journal.clone()), stage.cutover.losses);
    journal.as_object_mut().unwrap().remove("losses").expect("it is there");
    assert!(read(journal).is_empty());

    std::sync::Arc::make_mut(&mut stage.cutover.policy).capture.losses_accepted = 2;
    assert!(stage.run(60 * MINUTE, |cutover| matches!(cutover.phase, Phase::Baking { step: 1 })));
}
