//! A topic that is deleted under a producer, and made anew by someone else.

use std::time::Duration;

use proxy::capture::{Keeps, Position, Refused, Sink as _, Verdict, kafka::Options};

use crate::{
    client::{Client, delete, make, options, timed},
    servers::kafka::broker,
};

/// Proves that a topic which was deleted and made anew is seen within seconds although no acknowledgement ever failed:
/// streams that began before are broken, what was acknowledged is counted as vanished, and new streams go on. And that our
/// own producer never makes a deleted topic anew, though this broker would.
#[test]
fn a_topic_made_anew_is_a_capture_failure() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &["auto.create.topics.enable=true"]);
    let mut client = Client::start(options(&broker.plaintext(), "anew", 1)).unwrap();
    for number in 0..500 {
        client.send("stream", number, 0).unwrap();
    }
    client.settle();
    assert_eq!(client.safe(), 500);
    client.send("stream", 500, 0).unwrap();
    delete(&broker.plaintext(), "anew");
    client.settle();
    let ((), seen) = timed(|| client.until("the deletion is seen", |client| client.capture.figures().opened_times > 0));
    println!("deleted: seen after {seen:?}, {:?}", client.capture.figures().opened_why);
    assert_eq!(client.one("refused"), Err(Refused::BreakerOpen));
    let why = client.capture.figures().opened_why.unwrap_or_default();
    assert!(why.contains("there is no topic `anew`"), "our producer has not made it anew: {why}");
    // Somebody else does, who asks for the topic with Kafka's own defaults.
    drop(Client::start(options(&broker.plaintext(), "anew", 1)).unwrap());
    let ((), anew) = timed(|| client.until_safe("fresh"));
    let (vanished, why) = (client.kafka.vanished(), client.kafka.replaced_why());
    println!("made anew: seen after {anew:?}, {vanished} acknowledged records vanished, {why:?}");
    assert!((500..=501).contains(&vanished), "{vanished}");
    assert!(anew < Duration::from_secs(5), "{anew:?}");
    assert_eq!(client.one("another"), Ok(Verdict::Safe));
    assert_eq!(client.capture.figures().life, 1, "one loss, whatever showed it");
}

/// Proves that a topic which nobody makes anew is known to be gone within seconds, and sooner where somebody who ends waits for
/// that; and that the one which comes in its place later is no second loss.
#[test]
fn a_topic_that_does_not_come_back_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &["auto.create.topics.enable=false"]);
    let brokers = broker.plaintext();
    for hurried in [false, true] {
        let mut client = Client::start(options(&brokers, "gone", 1)).unwrap();
        assert_eq!(client.one("before"), Ok(Verdict::Safe));
        delete(&brokers, "gone");
        if hurried {
            client.kafka.hurry();
        }
        let ((), seen) = timed(|| client.until("it is gone", |client| client.capture.figures().life > 0));
        println!("hurried: {hurried}: gone after {seen:?}");
        assert!(!hurried || seen < Duration::from_millis(2900), "sooner than without: {seen:?}");
        assert_eq!(
            (client.kafka.vanished(), client.kafka.replaced_why()),
            (1, Some("there is no topic `gone`".into()))
        );
        assert_eq!(client.one("refused"), Err(Refused::BreakerOpen));
        make(&brokers, "gone", 1, &[]);
        client.until_safe("fresh");
        assert_eq!((client.capture.figures().life, client.kafka.vanished()), (1, 1));
    }
}

/// Proves the same between two looks: the first acknowledged offset that does not rise is enough, before the watch has seen
/// anything.
#[test]
fn an_offset_that_does_not_rise_is_seen_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &[]);
    let mut asked = options(&broker.plaintext(), "quick", 1);
    // A watch that never looks while this lasts.
    asked.watch = Duration::from_hours(1);
    let mut client = Client::start(asked).unwrap();
    for number in 0..100 {
        assert_eq!(client.one(&format!("before-{number}")), Ok(Verdict::Safe));
    }
    delete(&broker.plaintext(), "quick");
    drop(Client::start(options(&broker.plaintext(), "quick", 1)).unwrap());
    let mut outcome = client.one("after-0");
    for number in 1..100 {
        if client.capture.figures().life > 0 {
            break;
        }
        // The producer may first hear from the broker that the topic it knew is gone.
        outcome = client.one(&format!("after-{number}"));
    }
    assert_eq!(client.capture.figures().life, 1, "{outcome:?} {:?}", client.capture.figures());
    assert!(!matches!(outcome, Ok(Verdict::Safe)), "the record that showed it is not said to be safe");
    println!("without a look: {:?}", client.kafka.replaced_why());
    assert_eq!(client.breaker.position(), Position::Open, "it is a failure of capture");
}

/// Proves that a topic which was made anew and has more in it than the old one by the time it is looked at is seen by its
/// id alone: no end is below what it was, and nothing was acknowledged meanwhile.
#[test]
fn a_topic_that_outgrew_the_old_one_is_seen_by_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &[]);
    let watch = Duration::from_secs(3);
    let mut client = Client::start(Options { watch, ..options(&broker.plaintext(), "young", 1) }).unwrap();
    assert_eq!(client.one("before"), Ok(Verdict::Safe));
    let ((), took) = timed(|| {
        delete(&broker.plaintext(), "young");
        let mut others = Client::start(options(&broker.plaintext(), "young", 1)).unwrap();
        for number in 0..20 {
            assert_eq!(others.one(&format!("other-{number}")), Ok(Verdict::Safe));
        }
    });
    println!("deleted, made anew and outgrown within {took:?}");
    let ((), seen) = timed(|| client.until("it is seen", |client| client.capture.figures().life > 0));
    println!("seen after {seen:?}: {:?}", client.kafka.replaced_why());
    assert!(client.kafka.replaced_why().unwrap().starts_with("its id is "), "{:?}", client.kafka.replaced_why());
    assert_eq!((client.kafka.vanished(), client.capture.figures().opened_times), (1, 1));
    client.until_safe("fresh");
}

/// Proves that a topic which was made anew is held against what capture needs, as at the start: one that cannot hold capture is a
/// failure that says what to change, for as long as it is there; one that can is taken as it is.
#[test]
fn a_topic_made_anew_is_held_against_what_capture_needs() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &["auto.create.topics.enable=false"]);
    let brokers = broker.plaintext();
    let mut client = Client::start(options(&brokers, "unfit", 1)).unwrap();
    assert_eq!(client.one("before"), Ok(Verdict::Safe));
    let why = |client: &Client| client.capture.figures().opened_why.unwrap_or_default();
    for (life, setting, wanted) in [
        (1, ("cleanup.policy", "compact"), "set cleanup.policy to delete"),
        (2, ("max.message.bytes", "1000"), "set max.message.bytes to at least that"),
        (3, ("min.insync.replicas", "2"), "so it will acknowledge nothing: change one of both"),
    ] {
        delete(&brokers, "unfit");
        make(&brokers, "unfit", 2, &[setting]);
        client.until(wanted, |client| why(client).ends_with(wanted));
        println!("{}", why(&client));
        assert_eq!(client.capture.figures().life, life);
        assert_eq!(client.one("refused"), Err(Refused::BreakerOpen));
    }
    delete(&brokers, "unfit");
    make(&brokers, "unfit", 3, &[("retention.ms", "7200000"), ("max.message.bytes", "1048588")]);
    client.until_safe("fit");
    let topic = client.kafka.topic().unwrap();
    assert_eq!(topic.partitions, 3, "{topic:?}");
    assert_eq!(client.kafka.keeps(), Some(Keeps { time: Some(Duration::from_hours(2)), bytes: None }));
}
