//! The daemon killed after each journal entry: what is on disk is enough to go on from, and traffic never notices.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::clock;

use crate::{
    daemon::{Daemon, SERVICE, World, verb},
    load::{Pool, assert_no_failure, by_side},
    support::assert_quiet,
};

/// How long one life of the daemon may take to its next decision.
const LIFE_MAX: Duration = Duration::from_mins(1);

/// How many times a cutover may be killed before it counts as one that does not come to an end.
const LIVES_MAX: u32 = 250;

/// Where a cutover is, as its last journal entry says: phase, step and share.
fn place(world: &World) -> Value {
    let state = world.path("state").display().to_string();
    let report = verb(&["report", SERVICE, "--state", &state, "--json"], &[]).expect(0).json().remove(0);
    let last = report["entries"].as_array().and_then(|entries| entries.last()).expect("entries").clone();
    // Not the whole phase: it counts how often something was tried.
    json!([last["next"]["phase"]["phase"], last["next"]["phase"]["step"], last["next"]["desired"]])
}

/// Runs the daemon again and again, each life killed right after its journal has an entry, until the cutover is in
/// `phase`. The answer is how many lives that took. `at` is called in each life as soon as the daemon answers.
///
/// A life begins with entries of its own (that it began, that it armed the proxies again). So the first life at a place is
/// killed after one entry, the next after two, and so on, until one is killed right after the decision that left the place:
/// every decision of the cutover, and every step on the way to it, is the last thing before a crash once.
fn live(world: &mut World, phase: &str, mut at: impl FnMut(&World, &Daemon)) -> u32 {
    let (mut known, mut entries) = (place(world), 1);
    for life in 1..LIVES_MAX {
        let after = world.verify() + entries;
        let mut daemon = world.daemon_at_once(&[("TIDEGATE_CRASH_AFTER_ENTRY", &after.to_string())]);
        let start = clock::now();
        while daemon.process.try_ended().is_none() {
            if let Some(summary) = daemon.summary() {
                if summary["phase"] == phase {
                    daemon.process.signal("KILL");
                    return life;
                }
                at(world, &daemon);
            }
            assert!(start.elapsed() < LIFE_MAX, "neither ended nor killed:\n{}", daemon.process.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = daemon.process.log();
        assert_eq!(world.verify(), after, "killed right after the entry it was told:\n{log}");
        // A disk that is slow because the machine is busy is coped with, and said: nothing rises until it answers.
        assert_quiet(&daemon.process, &["the journal cannot be written", "target", "proxy"]);
        let now = place(world);
        entries = if now == known { entries + 1 } else { 1 };
        known = now;
    }
    panic!("not {phase} after {LIVES_MAX} lives, but at {known}");
}

/// Proves that a cutover whose daemon is killed after each decision still ends done, and that no client notices.
#[test]
fn a_daemon_killed_after_each_entry_finishes_its_cutover() {
    let mut world = World::new(&[], "");
    let clients = world.clients();
    // The first life is killed by the order itself, so the command that gave it loses its answer.
    let mut daemon = world.daemon(&[("TIDEGATE_CRASH_AFTER_ENTRY", "1")]);
    daemon.say(&["start", SERVICE, "--yes"]).expect(1);
    daemon.process.wait(LIFE_MAX);
    let lives = live(&mut world, "done", |_, _| ());
    println!("done in {lives} lives, {} entries", world.verify());
    assert_eq!(world.weight(), 1000);
    for answers in clients.map(Pool::stop) {
        assert_no_failure(&answers);
        assert!(by_side(&answers, "target") > 0, "the target was used");
    }
    // The last life is an ordinary one: it finds everything done and does nothing.
    let daemon = world.daemon(&[]);
    assert_eq!(daemon.summary().expect("an answer")["phase"], "done");
    daemon.finish(&[]);
    world.proxy.finish(&[]);
}

/// Proves the same for a revert that an operator orders at half of the traffic.
#[test]
fn a_daemon_killed_after_each_entry_finishes_its_revert() {
    let mut world = World::new(&[], "");
    let clients = world.clients();
    let mut daemon = world.daemon(&[]);
    daemon.say(&["start", SERVICE, "--yes"]).expect(0);
    daemon.wait_for("baking", 500);
    daemon.process.signal("KILL");
    daemon.process.wait(LIFE_MAX);
    // The order is the entry behind the one that the new life begins with, and the last thing it does.
    let after = world.verify() + 2;
    let mut daemon = world.daemon(&[("TIDEGATE_CRASH_AFTER_ENTRY", &after.to_string())]);
    daemon.say(&["revert", SERVICE, "--yes"]);
    daemon.process.wait(LIFE_MAX);
    let mut ordered = 0;
    let lives = live(&mut world, "reverted", |_, daemon| {
        // Another decision may have come before the order: then it is given again.
        let summary = daemon.summary();
        if summary.is_some_and(|summary| summary["phase"] == "baking") {
            ordered += 1;
            daemon.say(&["revert", SERVICE, "--yes"]);
        }
    });
    println!("reverted in {lives} lives, {} entries, ordered {ordered} times again", world.verify());
    assert_eq!(world.weight(), 0);
    for answers in clients.map(Pool::stop) {
        assert_no_failure(&answers);
    }
    let daemon = world.daemon(&[]);
    assert_eq!(daemon.summary().expect("an answer")["phase"], "reverted");
    daemon.finish(&[]);
}
