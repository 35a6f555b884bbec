//! The stages as a table: what is on record and what is seen, and what follows.

use cutover::Policy;

use super::*;
use crate::reroute::record::{Accepted, Name, OldGroup};
use crate::reroute::testing::{OLD, record};
use crate::testing::{START, policy};

const NEW: &str = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/tidegate-0a1b2c3d/9";

/// A policy whose times can be told apart: 1 s of bake, 60 s of hold, 20 s of blindness, 1 s of reassert, 30 s of drain.
fn rules() -> Policy {
    policy("search")
}

#[expect(clippy::unnecessary_wraps, reason = "as it is seen")]
fn group(health: Health) -> Option<SeenGroup> {
    Some(SeenGroup { arn: NEW.to_owned(), misfit: None, health })
}

#[expect(clippy::unnecessary_wraps, reason = "as it is seen")]
fn listener(ours: bool) -> Option<SeenListener> {
    Some(SeenListener { arn: "test".to_owned(), ours })
}

/// The live listener with a share for the new path.
#[expect(clippy::unnecessary_wraps, reason = "as it is seen")]
fn live(percent: u8) -> Option<Vec<Action>> {
    let original = action::read(&record().front.unwrap().original).unwrap();
    Some(if percent == 0 { original } else { weigh::with_new(&original, NEW, percent).unwrap() })
}

/// All is well, and nothing is proven.
fn seen() -> Seen {
    Seen {
        live: live(0),
        all_source: true,
        group: group(Health::Well),
        listener: listener(true),
        smoke: Some(Ok("200".to_owned())),
        finding: Finding::Unknown("few requests".to_owned()),
        old: OldPath::Busy("it is in use".to_owned()),
        new_quiet: None,
        resolves: Resolves::Here,
    }
}

fn after(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn at(stage: Stage) -> Record {
    let mut record = record();
    record.stage = stage;
    record
}

/// At a step that was written at the start.
fn on(stage: Stage, steps: &[(u8, bool)]) -> Record {
    let mut record = at(stage);
    record.advanced = true;
    record.switched = steps.iter().map(|&(percent, confirmed)| Switched { percent, at: START, confirmed }).collect();
    record
}

fn follows(record: &Record, seen: &Seen, seconds: u64) -> Do {
    next(record, seen, &rules(), after(seconds))
}

fn goes(what: &Do) -> Option<Stage> {
    if let Do::Go(stage, _) = what { Some(*stage) } else { None }
}

fn stops(what: &Do, word: &str) {
    assert!(matches!(what, Do::Stop(why) if why.contains(word)), "{what:?}");
}

/// Proves that each thing is made when it is not there and never twice, whatever was killed in between, and that nothing is
/// taken over that is somebody else's.
#[test]
fn the_new_path_is_made_of_what_is_missing() {
    let record = at(Stage::Preparing);
    let of = |change: &dyn Fn(&mut Seen)| {
        let mut seen = seen();
        change(&mut seen);
        follows(&record, &seen, 1)
    };
    assert_eq!(of(&|seen| (seen.group, seen.listener) = (None, None)), Do::MakeGroup);
    assert_eq!(of(&|seen| seen.group = group(Health::Absent)), Do::Register(NEW.to_owned()));
    assert_eq!(of(&|seen| seen.listener = None), Do::MakeListener(NEW.to_owned()));
    let waiting = || Health::Waiting("initial".to_owned());
    assert!(matches!(of(&|seen| seen.group = group(waiting())), Do::Wait(_)));
    assert_eq!(of(&|seen| seen.smoke = None), Do::Smoke);
    assert_eq!(goes(&of(&|_| {})), Some(Stage::Testing));
    stops(&of(&|seen| seen.all_source = false), "100 % source");
    stops(&of(&|seen| seen.listener = listener(false)), "somebody else");
    stops(&of(&|seen| seen.smoke = Some(Err("502".to_owned()))), "502");
    let misfit = || Some(SeenGroup { arn: NEW.to_owned(), misfit: Some("port".to_owned()), health: Health::Well });
    stops(&of(&|seen| seen.group = misfit()), "not ours");
    let mut late = seen();
    late.group = group(waiting());
    stops(&follows(&record, &late, 601), "not healthy");
    let mut accepted = record.clone();
    accepted.accepted.push(Accepted { what: "smoke".to_owned(), reason: "elsewhere".to_owned(), at: START });
    let failed = Seen { smoke: Some(Err("no route".to_owned())), ..seen() };
    assert_eq!(goes(&follows(&accepted, &failed, 1)), Some(Stage::Testing));
}

/// Proves that nothing of the live listener moves before a person says so, and what moves then in each of the three ways.
#[test]
fn nothing_moves_before_a_person_says_so() {
    let mut record = at(Stage::Testing);
    assert_eq!(follows(&record, &seen(), 1), Do::Ask);
    record.advanced = true;
    for (way, stage) in [(Way::Switch, Stage::Switching), (Way::Beside, Stage::Leaving), (Way::Dns, Stage::Leaving)] {
        record.way = way;
        assert_eq!(goes(&follows(&record, &seen(), 1)), Some(stage), "{way:?}");
    }
    stops(&follows(&record, &Seen { all_source: false, ..seen() }, 1), "100 % source");
    record.way = Way::Switch;
    stops(&follows(&record, &Seen { group: group(Health::Ill("timeout".to_owned())), ..seen() }, 1), "timeout");
}

/// Proves the switch: each share is written, seen, judged and only then followed by the next; one that got lost is written
/// again; what is worse, blind or unproven for too long goes back.
#[test]
fn new_connections_move_on_evidence() {
    let pass = || Finding::Pass("good".to_owned());
    let first = on(Stage::Switching, &[]);
    assert_eq!(follows(&first, &seen(), 1), Do::Write(10, live(10).unwrap()));
    stops(&follows(&first, &Seen { live: live(30), ..seen() }, 1), "not what it was");
    stops(&follows(&first, &Seen { all_source: false, ..seen() }, 1), "100 % source");

    let written = on(Stage::Switching, &[(10, false)]);
    assert_eq!(follows(&written, &seen(), 1), Do::Write(10, live(10).unwrap()), "it did not land");
    assert_eq!(follows(&written, &Seen { live: live(10), ..seen() }, 1), Do::Confirm);

    let step = on(Stage::Switching, &[(10, true)]);
    let of = |finding: Finding, seconds| follows(&step, &Seen { live: live(10), finding, ..seen() }, seconds);
    assert!(matches!(of(pass(), 0), Do::Wait(_)), "it is not baked");
    assert_eq!(of(pass(), 1), Do::Write(50, live(50).unwrap()));
    assert!(matches!(of(Finding::Unknown("few".to_owned()), 60), Do::Wait(_)));
    assert_eq!(goes(&of(Finding::Unknown("few".to_owned()), 61)), Some(Stage::Reverting));
    assert!(matches!(of(Finding::Blind("none".to_owned()), 19), Do::Wait(_)));
    assert_eq!(goes(&of(Finding::Blind("none".to_owned()), 20)), Some(Stage::Reverting));
    assert_eq!(goes(&of(Finding::Fail("worse".to_owned()), 0)), Some(Stage::Reverting));
    let ill = Seen { live: live(10), group: group(Health::Ill("x".to_owned())), finding: pass(), ..seen() };
    assert_eq!(goes(&follows(&step, &ill, 1)), Some(Stage::Reverting));

    let second = on(Stage::Switching, &[(10, true), (50, false)]);
    assert_eq!(follows(&second, &Seen { live: live(10), ..seen() }, 1), Do::Write(50, live(50).unwrap()));
    let all = on(Stage::Switching, &[(10, true), (50, true), (100, true)]);
    assert_eq!(goes(&follows(&all, &Seen { live: live(100), ..seen() }, 0)), Some(Stage::Leaving));
}

/// Proves that somebody else's change is not written over, and that an original which is back is taken for a revert.
#[test]
fn what_others_write_is_not_written_over() {
    let step = on(Stage::Switching, &[(10, true)]);
    stops(&follows(&step, &Seen { live: live(70), ..seen() }, 1), "somebody else changed");
    assert_eq!(goes(&follows(&step, &seen(), 1)), Some(Stage::Reverting));
    let moved = on(Stage::Leaving, &[(100, true)]);
    stops(&follows(&moved, &Seen { live: live(70), ..seen() }, 1), "somebody else changed");
}

/// Proves that it is complete only when the old path is quiet, in each way, and that until then the new path is still watched.
#[test]
fn it_is_complete_when_the_old_path_is_quiet() {
    let moved = on(Stage::Leaving, &[(100, true)]);
    let quiet = OldPath::Quiet(after(7));
    let there = || Seen { live: live(100), ..seen() };
    assert!(matches!(follows(&moved, &there(), 30), Do::Wait(_)));
    stops(&follows(&moved, &there(), 31), "drain.timeout");
    let fail = Seen { finding: Finding::Fail("worse".to_owned()), old: quiet.clone(), ..there() };
    assert_eq!(goes(&follows(&moved, &fail, 1)), Some(Stage::Reverting));
    let blind = Seen { finding: Finding::Blind("none".to_owned()), old: quiet.clone(), ..there() };
    assert!(matches!(follows(&moved, &blind, 1), Do::Wait(_)));
    let mut counted = moved.clone();
    counted.old = vec![OldGroup { balancer: "app/old/1".to_owned(), group: "targetgroup/old/1".to_owned() }];
    (counted.old_idle_seconds, counted.alone) = (5, None);
    let alone = weigh::alone(&live(0).unwrap(), NEW).unwrap();
    assert!(matches!(follows(&counted, &there(), 4), Do::Wait(_)));
    assert_eq!(follows(&counted, &there(), 5), Do::Alone(alone.clone()), "health checks are counted as requests");
    counted.alone = Some(START);
    assert_eq!(follows(&counted, &there(), 5), Do::Alone(alone.clone()), "it did not land");
    assert!(matches!(follows(&counted, &Seen { live: Some(alone), ..seen() }, 5), Do::Wait(_)));
    let still = Seen { old: quiet.clone(), ..there() };
    assert_eq!(goes(&follows(&moved, &still, 1)), Some(Stage::CleaningUp));

    let cleaning = on(Stage::CleaningUp, &[(100, true)]);
    assert_eq!(follows(&cleaning, &still, 1), Do::DeleteListener("test".to_owned()));
    for gone in [None, listener(false)] {
        assert_eq!(follows(&cleaning, &Seen { listener: gone, ..still.clone() }, 1), Do::Complete(after(7)));
    }
    let mut beside = on(Stage::Leaving, &[]);
    beside.way = Way::Beside;
    assert_eq!(
        follows(&beside, &Seen { old: quiet.clone(), ..seen() }, 1),
        Do::Complete(after(7)),
        "the listener stays"
    );
    let mut name = beside.clone();
    (name.way, name.front) = (Way::Dns, None);
    name.name = Some(Name { name: "search".to_owned(), ttl_seconds: 60, since: None });
    let elsewhere = Resolves::Elsewhere("it resolves elsewhere".to_owned());
    let asked = Seen { old: quiet.clone(), resolves: elsewhere, live: None, ..seen() };
    assert!(matches!(follows(&name, &asked, 1), Do::Wait(_)));
    assert_eq!(follows(&name, &Seen { old: quiet, live: None, ..seen() }, 1), Do::Complete(after(7)));
    for ended in [Stage::Complete, Stage::Reverted, Stage::Undone] {
        assert_eq!(follows(&at(ended), &seen(), 1), Do::End);
    }
}

/// Proves that a revert puts the whole original back, believes a read and nothing else, and looks on for late writes.
#[test]
fn the_original_goes_back_whole_and_stays() {
    let mut back = on(Stage::Reverting, &[(10, true), (50, false)]);
    let original = live(0).unwrap();
    for percent in [10, 50, 70] {
        assert_eq!(follows(&back, &Seen { live: live(percent), ..seen() }, 1), Do::Restore(original.clone()));
    }
    assert_eq!(follows(&back, &seen(), 1), Do::Restored);
    back.restored = Some(START);
    assert!(matches!(follows(&back, &seen(), 0), Do::Wait(_)));
    assert_eq!(follows(&back, &Seen { live: live(50), ..seen() }, 0), Do::Restore(original.clone()), "a late write");
    assert_eq!(goes(&follows(&back, &seen(), 1)), Some(Stage::Reverted));
    assert!(original[0].target_group_arn.as_deref() == Some(OLD));
}

/// Proves that an undo first gives the clients back, waits until the new path is empty, and then takes away what was made in
/// the order that AWS takes, and only that.
#[test]
fn an_undo_takes_away_what_was_made() {
    let fresh = at(Stage::Undoing);
    assert_eq!(follows(&fresh, &seen(), 1), Do::DeleteListener("test".to_owned()), "nothing was carried");
    let no_listener = || Seen { listener: None, ..seen() };
    assert_eq!(follows(&fresh, &no_listener(), 1), Do::Deregister(NEW.to_owned()));
    let empty = Seen { group: group(Health::Absent), ..no_listener() };
    assert_eq!(follows(&fresh, &empty, 1), Do::DeleteGroup(NEW.to_owned()));
    let gone = Seen { group: None, ..no_listener() };
    assert_eq!(goes(&follows(&fresh, &gone, 1)), Some(Stage::Undone));

    let mut moved = on(Stage::Undoing, &[(100, true)]);
    assert_eq!(follows(&moved, &Seen { live: live(100), ..seen() }, 1), Do::Restore(live(0).unwrap()));
    moved.restored = Some(START);
    assert_eq!(follows(&moved, &seen(), 2), Do::DeleteListener("test".to_owned()), "it was for the test");
    assert!(matches!(follows(&moved, &no_listener(), 2), Do::Wait(_)), "clients are still there");
    let idle = Seen { new_quiet: Some(Duration::from_mins(1)), ..no_listener() };
    assert_eq!(follows(&moved, &idle, 2), Do::Deregister(NEW.to_owned()));
    let mut beside = fresh.clone();
    (beside.way, beside.advanced) = (Way::Beside, true);
    stops(&follows(&beside, &seen(), 1), "undo --now");
    let sure = || Accepted { what: "new path".to_owned(), reason: "now".to_owned(), at: START };
    beside.accepted.push(sure());
    assert_eq!(follows(&beside, &seen(), 1), Do::DeleteListener("test".to_owned()));
    moved.accepted.push(sure());
    assert_eq!(follows(&moved, &no_listener(), 2), Do::Deregister(NEW.to_owned()));
    assert_eq!(
        follows(&moved, &Seen { listener: listener(false), ..seen() }, 2),
        Do::Deregister(NEW.to_owned()),
        "a listener of somebody else stays"
    );
    let mut name = at(Stage::Undoing);
    (name.way, name.front) = (Way::Dns, None);
    assert_eq!(goes(&follows(&name, &gone, 1)), Some(Stage::Undone));
}
