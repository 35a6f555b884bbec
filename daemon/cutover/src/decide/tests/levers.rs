//! Levers: what is moved for the time of a cutover stands where it stood when the cutover has ended, however it ended.

use std::time::Duration;

use super::stage::{Stage, order, policy};
use crate::cutover::Phase;
use crate::event::{CommandKind, Event, Retry, Verb};
use crate::lever::{Lever, Stands};
use crate::policy::Policy;

/// As a load balancer and its services stand before.
const BEFORE: Stands = Stands {
    source_count: Some(4),
    target_count: Some(1),
    count_max: Some(6),
    scale_in_suspended: Some(false),
    keep_alive: Some(3600),
};

/// As they stand while traffic moves.
const MOVED: Stands = Stands { target_count: Some(4), scale_in_suspended: Some(true), keep_alive: Some(60), ..BEFORE };

fn pulling() -> Policy {
    let mut policy = policy();
    policy.fleet.scale = true;
    policy.shift.keep_alive = Some(60);
    policy
}

fn started() -> Stage {
    let mut stage = Stage::new(pulling());
    stage.stands = BEFORE;
    stage.send(&order(Verb::Start));
    stage
}

fn reach(phase: &str) -> Stage {
    let mut stage = started();
    stage.reach(phase);
    stage
}

/// Lets a cutover that has ended put back what it moved.
fn settle(stage: &mut Stage) {
    let back = stage.run(Duration::from_hours(1), |cutover| cutover.levers.pulled.is_empty());
    assert!(back, "not put back: {:?}", stage.cutover.levers);
}

#[test]
fn levers_are_moved_before_traffic_is_and_recorded_before_they_are_moved() {
    // Proves the order: scale-in, count, and only then the record of the source; the connections before the first step.
    let mut stage = started();
    while stage.cutover.phase == Phase::Preflight {
        let decision = stage.run(Duration::from_millis(1), |cutover| cutover.phase != Phase::Preflight);
        for (lever, _, to) in &stage.moved {
            assert!(stage.cutover.levers.pulled.get(lever).is_some_and(|pulled| pulled.wanted == *to), "{lever:?}");
        }
        if decision {
            break;
        }
    }
    assert_eq!(stage.moved, [(Lever::ScaleIn, None, 1), (Lever::Count, None, 4)]);
    stage.reach("shifting");
    assert_eq!(stage.moved[2..], [(Lever::KeepAlive, None, 60)]);
    assert_eq!(stage.stands, MOVED);
    assert_eq!(stage.writes.len(), 1);
}

#[test]
fn done_puts_back_all_but_the_count() {
    // Proves that a target which has everything keeps its tasks, and that nothing else stays changed.
    let mut stage = reach("done");
    settle(&mut stage);
    assert_eq!(stage.stands, Stands { target_count: Some(4), ..BEFORE });
    assert!(stage.send(&order(Verb::Close)).accepted);
}

#[test]
fn aborted_puts_back_all_but_the_count() {
    // Proves it in the middle of the ladder, where the target serves its share.
    let mut stage = reach("baking");
    stage.send(&order(Verb::Abort));
    settle(&mut stage);
    assert_eq!(stage.stands, Stands { target_count: Some(4), ..BEFORE });
}

#[test]
fn reverted_puts_the_count_back_only_once_the_target_serves_nothing() {
    // Proves that connections go back at once, tasks only after minutes without a request, and that it stays open so long.
    let mut stage = reach("baking");
    stage.send(&order(Verb::Revert));
    stage.reach("reverted");
    stage.pass(Duration::from_mins(2));
    assert_eq!(stage.stands, Stands { keep_alive: Some(3600), ..MOVED });
    let refused = stage.send(&order(Verb::Close));
    assert!(!refused.accepted && refused.reason.text.contains("no request"), "{}", refused.reason.text);
    settle(&mut stage);
    assert_eq!(stage.stands, BEFORE);
    assert!(stage.cutover.budgets.phase < super::super::lever::SILENCE_PATIENCE);
    assert!(stage.send(&order(Verb::Close)).accepted);
}

#[test]
fn a_target_of_which_nothing_is_known_after_a_revert_keeps_its_tasks() {
    // Proves that unknown is not silence, and that autoscaling comes back all the same.
    let mut stage = reach("baking");
    stage.mute.insert("observe");
    stage.send(&order(Verb::Revert));
    stage.reach("reverted");
    settle(&mut stage);
    assert_eq!(stage.stands, Stands { target_count: Some(4), ..BEFORE });
}

#[test]
fn a_daemon_killed_at_any_moment_puts_everything_back() {
    // Proves it by killing it after each event of a whole cutover, done and reverted, writes that landed unheard included.
    for verb in [None, Some(Verb::Revert), Some(Verb::Abort)] {
        for kill in 0..60 {
            let mut stage = started();
            let mut events = 0;
            let ordered = |phase: &Phase| matches!(phase, Phase::Baking { .. });
            while !stage.cutover.ended() {
                if events == kill {
                    stage.restart();
                }
                events += 1;
                stage.run(Duration::from_millis(1), |_| false);
                if let (true, Some(verb)) = (ordered(&stage.cutover.phase), &verb) {
                    stage.send(&order(verb.clone()));
                }
            }
            settle(&mut stage);
            let count = if verb == Some(Verb::Revert) { BEFORE.target_count } else { Some(4) };
            assert_eq!(stage.stands, Stands { target_count: count, ..BEFORE }, "{verb:?}, killed after {kill}");
        }
    }
}

#[test]
fn what_somebody_else_has_set_is_left() {
    // Proves that a foreign change is not overwritten at the end, and that it is told.
    let mut stage = reach("draining");
    stage.stands.keep_alive = Some(900);
    stage.reach("done");
    settle(&mut stage);
    assert_eq!(stage.stands.keep_alive, Some(900));
    assert!(stage.moved.contains(&(Lever::KeepAlive, Some(60), 3600)));
}

#[test]
fn what_stood_as_wanted_is_never_touched() {
    // Proves that a policy that asks for what is there already changes nothing, and puts nothing back.
    let mut stage = Stage::new(pulling());
    stage.stands = MOVED;
    stage.send(&order(Verb::Start));
    stage.reach("done");
    stage.pass(Duration::from_mins(5));
    assert_eq!(stage.moved, []);
}

#[test]
fn a_count_beyond_the_most_that_autoscaling_allows_is_refused_with_what_to_do() {
    // Proves that nothing is raised beyond it, that preflight waits, and that it goes on when the limit is raised.
    let mut stage = Stage::new(pulling());
    stage.stands = Stands { count_max: Some(3), ..BEFORE };
    stage.send(&order(Verb::Start));
    stage.pass(Duration::from_mins(2));
    assert_eq!(stage.cutover.phase, Phase::Preflight);
    assert_eq!(stage.stands.target_count, Some(1));
    let told = stage.cutover.blockers.iter().find(|blocker| blocker.text.contains("--max-capacity 4"));
    assert!(told.is_some(), "{:?}", stage.cutover.blockers);
    stage.stands.count_max = Some(4);
    stage.reach("baseline");
    assert_eq!(stage.stands.target_count, Some(4));
}

#[test]
fn the_count_follows_a_source_that_grows() {
    // Proves that a source which is scaled out while traffic moves has its target grow with it, once.
    let mut stage = reach("baking");
    stage.stands.source_count = Some(5);
    stage.reach("draining");
    assert_eq!(stage.stands.target_count, Some(5));
    assert_eq!(stage.cutover.levers.pulled[&Lever::Count].before, 1);
}

#[test]
fn a_count_that_somebody_lowers_is_raised_again() {
    // Proves it for a deployment that resets the count while traffic moves; before and after it, nothing is raised twice.
    let mut stage = reach("baking");
    stage.send(&order(Verb::Hold));
    let moved = stage.moved.len();
    stage.stands.target_count = Some(1);
    stage.pass(Duration::from_mins(7));
    assert_eq!(stage.stands.target_count, Some(4));
    assert_eq!(stage.moved[moved..], [(Lever::Count, None, 4)]);
}

#[test]
fn a_lever_that_cannot_be_moved_keeps_traffic_away_and_calls_people() {
    // Proves that a missing permission stops the start, is told with its words, and changes nothing.
    let mut stage = Stage::new(pulling());
    stage.stands = BEFORE;
    stage.mute.insert("set_lever");
    stage.send(&order(Verb::Start));
    for _ in 0..4 {
        stage.pass(Duration::from_secs(20));
        let begun = stage.now;
        let error = "AccessDenied".to_owned();
        let (what, retry) = (CommandKind::Lever, Retry::Never);
        stage.send(&Event::Failed { what, generation: None, retry, error, begun });
    }
    assert_eq!(stage.cutover.phase, Phase::Preflight);
    assert!(stage.cutover.blockers.iter().any(|blocker| blocker.text.contains("AccessDenied")));
    assert!(stage.alerts.iter().any(|alert| alert.title.contains("cannot be changed")), "{:?}", stage.alerts);
    assert_eq!(stage.stands, BEFORE);
}

#[test]
fn an_attempt_that_lands_after_the_end_is_put_back_too() {
    // Proves it for a change whose answer was lost and which comes true after the lever was let go.
    let mut stage = started();
    stage.mute.insert("set_lever");
    stage.pass(Duration::from_secs(5));
    assert_eq!(stage.moved, [(Lever::ScaleIn, None, 1)]);
    let (what, retry, begun) = (CommandKind::Lever, Retry::Later, stage.now);
    stage.send(&Event::Failed { what, generation: None, retry, error: "time-out".to_owned(), begun });
    stage.mute.clear();
    stage.send(&order(Verb::Abort));
    stage.pass(Duration::from_secs(30));
    assert!(stage.moved.contains(&(Lever::ScaleIn, Some(1), 0)), "{:?}", stage.moved);
    stage.stands.scale_in_suspended = Some(true);
    assert!(!stage.send(&order(Verb::Close)).accepted, "it is looked at once more");
    settle(&mut stage);
    assert_eq!(stage.stands, BEFORE);
}

#[test]
fn an_unwritable_journal_moves_no_lever() {
    // Proves that nothing is moved whose place before is not on disk, and that what was moved is put back without it.
    let mut stage = started();
    stage.moved.clear();
    stage.send(&Event::Journal { writable: false });
    let before = stage.moved.len();
    stage.pass(Duration::from_mins(3));
    assert_eq!(stage.moved.len(), before, "{:?}", stage.moved);
    let mut stage = reach("baking");
    stage.send(&Event::Journal { writable: false });
    stage.send(&order(Verb::Revert));
    stage.reach("reverted");
    settle(&mut stage);
    assert_eq!(stage.stands, BEFORE);
}

#[test]
fn a_failure_that_nothing_follows_from_makes_no_loop_spin() {
    // Proves it for a target that is waited for after a revert: a look each few seconds, and not twenty a second.
    let mut stage = reach("baking");
    stage.mute.insert("observe");
    stage.mute.insert("set_lever");
    stage.send(&order(Verb::Revert));
    stage.reach("reverted");
    let (what, retry, begun) = (CommandKind::Lever, Retry::Later, stage.now);
    stage.send(&Event::Failed { what, generation: None, retry, error: "time-out".to_owned(), begun });
    let mut looks = 0;
    let until = stage.now.plus(Duration::from_mins(5));
    while stage.now < until {
        stage.run(Duration::from_millis(1), |_| false);
        looks += 1;
    }
    assert!(looks < 200, "{looks} looks in five minutes");
}
