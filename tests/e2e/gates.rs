//! Gates that are about the world, asked by the built daemon: at preflight, and before each step that moves writes.

use std::fs;

use serde_json::Value;

use crate::{
    daemon::{SERVICE, World, verb},
    load::{Pool, assert_no_failure},
};

/// What Migration Assistant's console prints of a backfill with `--deep-check`.
fn status(state: &str, complete: u32) -> String {
    format!(
        "BackfillStatus.RUNNING\nPods - Running: 1, Pending: 0, Desired: 1\nBackfill status: StepStateWithPause.{state}\n\
         Backfill shard_total: 5\nBackfill shard_complete: {complete}\n"
    )
}

/// Whether the daemon says this of the service, wherever it stands.
fn says(detail: &Value, text: &str) -> bool {
    detail.to_string().contains(text)
}

/// Proves that nothing begins before the backfill is complete, and that a step that moves writes waits while it is not, says
/// how far it is, and goes on by itself when it is.
#[test]
fn writes_move_only_behind_a_complete_backfill() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let told = folder.path().join("status");
    let tell = |state: &str, complete: u32| fs::write(&told, status(state, complete)).expect("a file of ours");
    tell("RUNNING", 2);
    let gate = format!("[gates.data]\nkind = \"backfill\"\nargv = [\"cat\", \"{}\"]\n", told.display());
    let mut world = World::new(&[], &gate);
    let clients = world.clients();

    let policy = world.path(&format!("policies/{SERVICE}.toml")).display().to_string();
    let found = verb(&["preflight", &policy, "--json"], &[]).expect(1).json().remove(0);
    assert!(says(&found, "the backfill is running, 2 of 5 shards"), "{found}");

    let daemon = world.daemon(&[]);
    daemon.say(&["start", SERVICE, "--yes"]).expect(0);
    let held = daemon.wait_until("gate at preflight", |detail| says(detail, "the backfill is running, 2 of 5 shards"));
    assert!(says(&held, "\"preflight\""), "{held}");
    tell("COMPLETED", 5);
    daemon.wait_for("baking", 100);
    tell("RUNNING", 4);
    daemon.wait_until("gate at a step", |detail| {
        says(detail, "gate `data` says later: the backfill is running, 4 of 5 shards")
    });
    assert_eq!(world.weight(), 100, "a step that moves writes waits");
    tell("COMPLETED", 5);
    daemon.wait_for("baking", 500);
    daemon.say(&["revert", SERVICE, "--yes", "--wait"]).expect(3);
    for answers in clients.map(Pool::stop) {
        assert_no_failure(&answers);
    }
    daemon.finish(&[]);
    world.proxy.finish(&[]);
}
