//! A broker that is killed, stopped and restarted under load: what was said to be safe is in the topic.

use std::{collections::BTreeMap, time::Duration};

use proxy::capture::{Lost, Position, Refused, Verdict, Why};

use crate::{
    client::{Client, missing, options, read, timed},
    servers::kafka::broker,
};

/// Streams of fresh keys, three records each, until `enough` says so; what was sent is noted.
fn load(
    client: &mut Client,
    name: &str,
    sent: &mut BTreeMap<u64, (String, usize)>,
    mut enough: impl FnMut(&Client) -> bool,
) {
    for stream in 0.. {
        if enough(client) {
            return;
        }
        let key = format!("{name}-{stream}");
        for number in 0..3 {
            match client.send(&key, number, 500) {
                Ok(tag) => drop(sent.insert(tag, (key.clone(), number))),
                Err(Refused::BudgetSpent | Refused::BreakerOpen | Refused::Broken) => break,
                Err(refused) => panic!("{refused}"),
            }
        }
        if stream % 50 == 49 && client.capture.figures().under_way_bytes > 0 {
            client.wait();
        }
    }
}

/// Proves that nothing that was said to be safe is missing after the broker was killed in the middle of it, that the
/// breaker makes the outage cost one bounded delay, and that records are taken again once the broker is back.
#[test]
fn a_killed_broker_loses_nothing_that_was_safe() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = broker(folder.path(), &[]);
    let mut client = Client::start(options(&broker.plaintext(), "killed", 2)).unwrap();
    let mut sent = BTreeMap::new();
    load(&mut client, "before", &mut sent, |client| client.safe() > 3000);
    broker.kill();
    let ((), took) =
        timed(|| load(&mut client, "dead", &mut sent, |client| client.breaker.position() == Position::Open));
    println!("the breaker opened {took:?} after the broker was killed");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(client.one("refused"), Err(Refused::BreakerOpen));
    broker.start_again();
    let ((), back) = timed(|| client.until_safe("back"));
    println!("records are taken again {back:?} after the broker is");
    client.settle();
    let before = client.safe();
    load(&mut client, "after", &mut sent, |client| client.safe() > before + 300);
    client.settle();
    let found = read(&broker.plaintext(), "killed");
    let (safe, lost) = (client.safe(), client.outcomes.len() - client.safe());
    client.outcomes.retain(|outcome| sent.contains_key(&outcome.tag));
    println!("killed: {safe} safe, {lost} lost, {} missing", missing(&client, &sent, &found));
    assert_eq!(missing(&client, &sent, &found), 0);
}

/// Proves that a broker which hangs (its process is stopped) opens the breaker before the first record has run out of time,
/// that its records are said to be perhaps there, and that all goes on when it does.
#[test]
fn a_stopped_broker_costs_one_bounded_delay() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &[]);
    let mut client = Client::start(options(&broker.plaintext(), "stopped", 1)).unwrap();
    assert_eq!(client.one("before"), Ok(Verdict::Safe));
    broker.process.signal("STOP");
    let tag = client.send("hanging", 0, 0).unwrap();
    let ((), opened) =
        timed(|| client.until("the breaker opens", |client| client.breaker.position() == Position::Open));
    let ((), lost) = timed(|| client.settle());
    println!("the breaker opened after {opened:?}, the record was lost {lost:?} later");
    assert!(opened + lost < Duration::from_secs(20));
    let outcome = client.outcomes.iter().find(|outcome| outcome.tag == tag).unwrap();
    assert!(
        matches!(&outcome.verdict, Verdict::Lost(Lost { why: Why::TimedOut, perhaps_there: true, .. })),
        "{outcome:?}"
    );
    let (refused, took) = timed(|| client.one("refused"));
    assert_eq!(refused, Err(Refused::BreakerOpen));
    assert!(took < Duration::from_secs(1), "a dead log costs later requests nothing: {took:?}");
    broker.process.signal("CONT");
    client.until_safe("again");
    assert_eq!(client.capture.figures().opened_times, 1);
    let found = read(&broker.plaintext(), "stopped");
    println!(
        "the record that was lost {} there: a phantom",
        if found.contains_key("hanging") { "is" } else { "is not" }
    );
}
