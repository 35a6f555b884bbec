//! Targets that fail for real, below a daemon that has to notice, take everything back and tell.

use std::time::Duration;

use crate::{
    daemon::{SERVICE, World, clients},
    load::{Answer, Pool, assert_no_failure},
    receiver::{Pager, Receiver, SECRET, said},
};

/// Between dispatching the first and the last request that a client sees fail.
const BAD_MAX: Duration = Duration::from_secs(1);

/// How long the proxy waits for the first byte of an answer.
const FIRST_BYTE_MAX: Duration = Duration::from_secs(2);

/// What daemon and proxy warn of when a target dies.
const EXPECTED: [&str; 2] = ["tripwire", "target"];

/// From dispatching the first to dispatching the last request that failed, and how many did.
fn bad(answers: &[Answer]) -> (usize, Duration) {
    let failed: Vec<_> = answers.iter().filter(|answer| answer.failed()).map(|answer| answer.asked).collect();
    let between = failed.iter().max().zip(failed.iter().min()).map_or(Duration::ZERO, |(last, first)| *last - *first);
    (failed.len(), between)
}

/// A cutover that is followed by the command that began it; at half of the traffic the target gets a signal. Returns what
/// clients saw, the world with its proxy, and the alerts on the pager.
fn struck(signal: &str, proxy: &[&str], readers: usize) -> (Vec<Answer>, World, Vec<String>) {
    let mut world = World::new(proxy, "");
    let pager = Pager::new(&world.path(""));
    world.write_policy(&world.policy(&pager.alerts()));
    let clients = clients(world.proxy.port, readers);
    let daemon = world.daemon(&[]);
    let said = daemon.follow(3, || {
        daemon.wait_for("baking", 500);
        world.target.process.signal(signal);
    });
    assert_eq!(said.json().last().expect("how it ended")["outcome"], "reverted", "{said:?}");
    let status = world.proxy.call("GET", "/v1/status", None);
    assert_eq!((&status["reads"], &status["writes"]), (&0.into(), &0.into()), "the original is back: {status}");
    // Long enough for what was under way to fail, and for failures that should not come any more to be seen.
    std::thread::sleep(FIRST_BYTE_MAX);
    let answers: Vec<Answer> = clients.map(Pool::stop).into_iter().flatten().collect();
    let told = pager.wait_for("shop: cutover reverted: opened");
    let desired: Vec<_> = daemon.history().iter().map(|entry| entry["next"]["desired"]["reads"].clone()).collect();
    assert!(desired.iter().all(|share| share.as_u64() <= Some(500)), "nothing rose after that: {desired:?}");
    daemon.finish(&EXPECTED);
    world.verify();
    (answers, world, told)
}

/// Proves that a target that is killed at half of the traffic is left within a second, that the command which follows the
/// cutover ends with 3, and that a program is told.
#[test]
fn a_killed_target_is_left_within_a_second() {
    let (answers, world, told) = struck("KILL", &["--retry", "none"], 14);
    let (failed, bad) = bad(&answers);
    println!("killed: {failed} of {} requests failed, dispatched within {bad:?}", answers.len());
    assert!(failed > 0, "without retries clients notice");
    assert!(bad <= BAD_MAX, "requests failed for {bad:?}");
    for alert in ["shop: reverting: opened", "shop: reverting: closed"] {
        assert!(told.iter().any(|told| told == alert), "no `{alert}`: {told:?}");
    }
    world.proxy.finish(&EXPECTED);
}

/// Proves the same for a target that stops without closing anything: a second after the time-out of the first byte.
#[test]
fn a_stopped_target_is_left_a_second_after_the_time_out() {
    let first_byte = format!("{}s", FIRST_BYTE_MAX.as_secs());
    let (answers, world, _) = struck("STOP", &["--retry", "none", "--first-byte-timeout", &first_byte], 22);
    let (failed, bad) = bad(&answers);
    println!("stopped: {failed} of {} requests failed, dispatched within {bad:?}", answers.len());
    assert!(failed > 0, "without retries clients notice");
    assert!(bad <= FIRST_BYTE_MAX + BAD_MAX, "requests failed for {bad:?}");
    world.proxy.finish(&EXPECTED);
}

/// Proves that with retries no read fails of which nothing had been relayed, that writes fail for a second at most, and
/// that a webhook is told, signed.
#[test]
fn with_retries_no_read_fails_when_the_target_is_killed() {
    let receiver = Receiver::start();
    let mut world = World::new(&["--retry", "reads"], "");
    world.write_policy(&world.policy(&receiver.alerts()));
    let [reads, writes] = clients(world.proxy.port, 14);
    let daemon = world.daemon(&[("TEST_WEBHOOK_SECRET", SECRET)]);
    daemon.say(&["start", SERVICE, "--yes"]).expect(0);
    daemon.wait_for("baking", 500);
    world.target.process.signal("KILL");
    daemon.wait_for("reverted", 0);
    assert_eq!(world.weight(), 0);

    let (reads, writes) = (reads.stop(), writes.stop());
    let lost: Vec<_> = reads.iter().filter(|answer| answer.failed() && !answer.began).cloned().collect();
    assert_no_failure(&lost);
    let (failed, bad) = bad(&writes);
    println!("{failed} of {} writes failed, dispatched within {bad:?}", writes.len());
    assert!(bad <= BAD_MAX, "writes failed for {bad:?}");

    let told = said(&receiver.wait_for("cutover reverted"));
    for alert in ["shop: reverting: opened", "shop: reverting: closed"] {
        assert!(told.iter().any(|told| told == alert), "no `{alert}`: {told:?}");
    }
    daemon.finish(&EXPECTED);
    world.verify();
    world.proxy.finish(&EXPECTED);
}
