//! A cutover that AWS stops answering in the middle: it stays where it is, tells people, and goes back when it must.

use std::time::Duration;

use lab::faults::FaultName;

use crate::cloud::{SERVICE, Setup, World};
use crate::faults;

/// How long people may take to be told, in real time.
const TOLD_MAX: Duration = Duration::from_mins(1);

/// Proves that credentials which end in the middle hold the cutover and call people with the way back by hand, and that it
/// goes on by itself with new ones.
#[test]
fn credentials_that_end_hold_a_cutover_and_people_are_told_the_way_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let told = folder.path().join("alerts");
    let more = format!(
        "[alerts.test]\nkind = \"command\"\nargv = [\"sh\", \"-c\", \"cat >> {}; echo >> {0}\"]\n",
        told.display()
    );
    let setup = Setup { more, ..Setup::default() };
    let world = World::new(&setup);
    let clients = world.clients();
    let mut daemon = world.daemon();
    world.say(&["start", SERVICE, "--yes"]);
    world.wait_for(&mut daemon, &["baking"], Some(200));
    world.fault(FaultName::ExpiredToken, "*", None, None);
    daemon.wait_until("the alert says what is wrong and the way back", TOLD_MAX, |_| {
        let told = std::fs::read_to_string(&told).unwrap_or_default();
        told.lines().any(|line| line.contains("ExpiredToken") && line.contains("aws elbv2 modify-listener"))
    });
    assert_eq!(world.cutover()["phase"]["phase"], "baking", "it stays where it is");
    world.lab().shared().faults.clear();
    world.wait_for(&mut daemon, &["done"], None);
    assert_eq!(clients.stop().1, 0, "no request failed");
}

/// Proves that a cutover whose CloudWatch is gone for longer than the blind budget goes back, though everything else of AWS
/// answers.
#[test]
fn a_cutover_without_cloudwatch_goes_back_when_its_blind_budget_is_spent() {
    let setup = Setup { more: "[unknown]\nblind_budget = \"6m\"\n".to_owned(), ..Setup::default() };
    let world = World::new(&setup);
    let before = world.actions();
    let clients = world.clients();
    let mut daemon = world.daemon();
    world.say(&["start", SERVICE, "--yes"]);
    world.wait_for(&mut daemon, &["baking"], Some(200));
    world.fault(FaultName::Error500, "GetMetricData", None, None);
    world.wait_for(&mut daemon, &["reverted"], None);
    assert_eq!(world.actions(), before);
    let told = world.say(&["history", SERVICE]);
    assert!(told.contains("without any data"), "{told}");
    assert_eq!(clients.stop().1, 0, "no request failed");
}

/// Proves for three ways in which AWS fails while the target is gone, and for a write that lands after its revert, that the
/// listener ends as it was, to the last word: a small version of `tests/bench/cloud faults`.
#[test]
fn whatever_fails_meanwhile_the_listener_ends_as_it_was() {
    let wanted = ["all calls throttled", "2 writes applied", "a write applied 1 min late"];
    let mut seen = 0;
    for (name, wrong) in faults::CASES.into_iter().filter(|(name, _)| wanted.iter().any(|word| name.starts_with(word)))
    {
        let ended = faults::run(wrong);
        assert!(ended.same && ended.phase == "reverted" && ended.weights == [1, 0], "{name}: {ended:?}");
        assert!(ended.seconds.is_some() && ended.requests.0 > 100, "{name}: {ended:?}");
        seen += 1;
    }
    assert_eq!(seen, wanted.len());
}
