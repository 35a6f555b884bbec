//! What a daemon does about a journal that it must not, or cannot, write.

use std::{path::Path, process::Command, time::Duration};

use tidegate_tests::{clock, servers::built_binary};

use crate::{
    daemon::{Daemon, SERVICE, World, verb},
    load::{Pool, assert_no_failure},
};

/// How long a daemon may take to say that it does not start.
const REFUSAL_MAX: Duration = Duration::from_secs(20);

/// Runs SQL on the journal, by the engine's other owner: Python.
fn change(world: &World, sql: &str) {
    let script = "import sqlite3, sys\nbase = sqlite3.connect(sys.argv[1])\nbase.executescript(sys.argv[2])\n";
    let journal = world.path("state/journal.sqlite");
    let ended = Command::new("python3").args(["-c", script]).arg(&journal).arg(sql).output();
    let ended = ended.expect("python3 is installed: run tests/run once");
    assert!(ended.status.success(), "{sql}: {}", String::from_utf8_lossy(&ended.stderr));
}

/// A daemon that ends by itself with 1; what it said.
fn refused(world: &mut World) -> String {
    let mut daemon = world.daemon_at_once(&[]);
    let status = daemon.process.wait(REFUSAL_MAX);
    assert_eq!(status.code(), Some(1), "{}", daemon.process.log());
    daemon.process.log()
}

fn verified(world: &World) -> (Option<i32>, String) {
    let state = world.path("state").display().to_string();
    let said = verb(&["journal", "verify", "--state", &state], &[]);
    (said.code, said.err)
}

/// Proves that two daemons never drive one journal: the second says why it does not start and the first goes on; and that
/// one that is killed leaves it free.
#[test]
fn a_second_daemon_on_the_same_journal_refuses() {
    let mut world = World::new(&[], "");
    let mut first = world.daemon(&[]);
    let second = verb(
        &[
            "run",
            "--state",
            &world.path("state").display().to_string(),
            "--policies",
            &world.path("policies").display().to_string(),
            "--control",
            &format!("unix:{}", world.path("second.sock").display()),
        ],
        &[],
    )
    .expect(1);
    for word in ["journal.sqlite", "in use by another tidegate", "state_dir"] {
        assert!(second.err.contains(word), "what, where and what to do: no `{word}` in {second:?}");
    }
    assert!(first.summary().is_some(), "the first goes on");
    first.process.signal("KILL");
    first.process.wait(REFUSAL_MAX);
    world.daemon(&[]).finish(&[]);
}

/// Proves that a journal of another version is refused with what to do about it, and left as it is.
#[test]
fn a_journal_of_another_version_is_refused() {
    let mut world = World::new(&[], "");
    world.daemon(&[]).finish(&[]);
    change(&world, "PRAGMA user_version = 99");
    let said = refused(&mut world);
    for word in ["journal.sqlite", "layout 99", "reads layout 1", "run the version that wrote it"] {
        assert!(said.contains(word), "no `{word}` in {said}");
    }
    let (code, said) = verified(&world);
    assert!(code == Some(1) && said.contains("layout 99"), "`journal verify` says the same: {said}");
    change(&world, "PRAGMA user_version = 1");
    world.daemon(&[]).finish(&[]);
}

/// Proves that a journal whose entries were changed, or cut off at the end, is refused by the number of the entry.
#[test]
fn a_journal_with_a_broken_chain_is_refused() {
    let mut world = World::new(&[], "");
    let clients = world.clients();
    let daemon = world.daemon(&[]);
    daemon.say(&["start", SERVICE, "--yes", "--reason", "a test"]).expect(0);
    daemon.wait_for("baking", 100);
    daemon.say(&["revert", SERVICE, "--yes", "--wait"]).expect(3);
    daemon.finish(&[]);
    drop(clients.map(Pool::stop));
    let entries = world.verify();
    let unlocked = "DROP TRIGGER entry_is_never_changed; DROP TRIGGER entry_is_never_removed;";
    change(&world, &format!("{unlocked} UPDATE entry SET body = replace(body, 'a test', 'a lie!') WHERE id = 1"));
    for said in [refused(&mut world), verified(&world).1] {
        for word in ["broken at entry 1:", "does not match its hash", "backup"] {
            assert!(said.contains(word), "no `{word}` in {said}");
        }
    }
    change(&world, "UPDATE entry SET body = replace(body, 'a lie!', 'a test') WHERE id = 1");
    assert_eq!(world.verify(), entries, "put back, it is whole again");
    change(&world, &format!("DELETE FROM entry WHERE id = {entries}"));
    let said = refused(&mut world);
    assert!(said.contains("cut off"), "{said}");
}

/// Bounds the size of every file that the daemon writes from now on: a disk that is full, for one process. `unlimited`
/// ends it. A disk that is full for all would need a file system of our own, which only root can have.
fn bound(daemon: &Daemon, bytes: &str) {
    let process = daemon.process.id().to_string();
    // The soft limit alone, so that it can be lifted again without being root.
    let set = Command::new("prlimit").args(["--pid", &process, &format!("--fsize={bytes}:")]).output();
    let set = set.expect("prlimit is a program everywhere");
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
}

/// Starts the daemon so that a write beyond the bound is an error to it, as on a full disk, and not its death. Its log lies
/// on that disk, too.
fn bounded_daemon(world: &mut World) -> Daemon {
    let mut command = Command::new("bash");
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(built_binary())
        .args(["run", "--config"])
        .arg(world.path("tidegate.toml"));
    let mut daemon = world.daemon_by(command, &[]);
    daemon.wait_until_ready();
    daemon
}

fn wait_for_weight(world: &World, daemon: &Daemon, weight: u64) {
    let start = clock::now();
    while world.weight() != weight {
        assert!(start.elapsed() < Duration::from_mins(1), "never at {weight}:\n{}", daemon.process.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Proves invariant 2 on a full disk: with the journal unwritable nothing rises, the operator gets the armed revert all the
/// same, and when there is room again the journal says so and its chain holds.
#[test]
fn a_full_disk_lets_nothing_rise_and_still_reverts() {
    assert!(Path::new("/proc/self/limits").exists(), "limits of a running process are Linux's");
    let mut world = World::new(&[], "");
    let clients = world.clients();
    let daemon = bounded_daemon(&mut world);
    daemon.say(&["start", SERVICE, "--yes"]).expect(0);
    wait_for_weight(&world, &daemon, 100);
    bound(&daemon, "0");
    daemon.wait_until("word of it", |detail| detail["view"]["cutover"]["journal_writable"] == false);
    // The step has all its evidence, and what is left to wait for is the journal.
    daemon.wait_until("step that waits for the journal alone", |detail| {
        let waits = detail["view"]["cutover"]["blockers"].as_array().expect("a list").clone();
        waits.len() == 1 && waits[0]["kind"] == "journal"
    });
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(world.weight(), 100, "nothing rises without a journal:\n{}", daemon.process.log());
    let said = daemon.say(&["revert", SERVICE, "--yes", "--reason", "the disk is full"]).expect(0);
    assert!(said.out.contains("would forget this order"), "{}", said.out);
    wait_for_weight(&world, &daemon, 0);
    daemon.wait_for("reverted", 0);
    let unwritten = world.verify();
    bound(&daemon, "unlimited");
    daemon.wait_until("a journal again", |detail| detail["view"]["cutover"]["journal_writable"] == true);
    for answers in clients.map(Pool::stop) {
        assert_no_failure(&answers);
    }
    daemon.finish(&["journal"]);
    assert!(world.verify() > unwritten, "what is decided from then on is written again");
    // What was not written is found by the next start: the original is there, whatever the journal missed.
    let daemon = world.daemon(&[]);
    daemon.wait_for("reverted", 0);
    daemon.finish(&[]);
    world.verify();
}
