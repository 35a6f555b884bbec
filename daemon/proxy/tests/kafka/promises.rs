//! What the port promises, with a healthy broker: order, sizes, one wake-up a batch, the flush.

use std::{collections::BTreeMap, time::Duration};

use proxy::capture::{
    Position, Refused, VALUE_BYTES_MAX,
    kafka::{Compression, Options, StartError},
};

use crate::{
    client::{Client, PATIENCE, missing, options, read, timed},
    clock,
    servers::kafka::{broker, broker_at},
};

/// Proves that records are in the topic in the order of their key, over several partitions, with and without
/// compression, up to the largest record; and that a thread is woken less often than there are records.
#[test]
fn records_are_in_the_topic_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &[]);
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let topic = format!("order-{}", compression.word());
        let asked = Options { compression: Some(compression), ..options(&broker.plaintext(), &topic, 3) };
        let mut client = Client::start(asked).unwrap();
        let there = client.kafka.topic().unwrap();
        assert_eq!((there.partitions, there.replicas), (3, 1));
        assert_eq!(there.settings.unwrap().batch_bytes_max, 1_048_588);
        let mut sent = BTreeMap::new();
        for number in 0..100 {
            for key in 0..20 {
                let key = format!("connection-{key}");
                let bytes = if number == 50 { VALUE_BYTES_MAX } else { 300 };
                loop {
                    match client.send(&key, number, bytes) {
                        Ok(tag) => break drop(sent.insert(tag, (key.clone(), number))),
                        Err(Refused::BudgetSpent) => drop(client.wait()),
                        Err(refused) => panic!("{refused}"),
                    }
                }
            }
        }
        client.settle();
        assert_eq!((client.safe(), client.outcomes.len()), (2000, 2000));
        let found = read(&broker.plaintext(), &topic);
        assert_eq!(found.len(), 20);
        assert_eq!(missing(&client, &sent, &found), 0);
        let wakes = client.outlet.wakes();
        println!("{topic}: 2000 records, {wakes} wake-ups");
        assert!(wakes < 2000, "one wake-up a record is what group commit is there to avoid");
    }
    not_there(&broker.plaintext());
    flushed(&broker.plaintext());
}

/// A topic that is not there is neither made unasked nor waited for.
fn not_there(brokers: &str) {
    let error = Client::start(Options::new(brokers, "nowhere")).err().unwrap();
    assert_eq!(error, StartError::Missing { topic: "nowhere".to_owned() });
    assert!(Client::start(Options::new(brokers, "nowhere")).is_err(), "asking for it has not made it");
}

/// The flush for the end of the process waits for what is under way.
fn flushed(brokers: &str) {
    let mut client = Client::start(options(brokers, "flushed", 1)).unwrap();
    for key in 0..50 {
        client.send(&format!("k-{key}"), 0, 0).unwrap();
    }
    let capture = client.capture.clone();
    let flush = std::thread::spawn(move || capture.flush(clock::now() + PATIENCE));
    client.settle();
    assert!(flush.join().unwrap());
    assert_eq!((client.safe(), client.send("late", 0, 0)), (50, Err(Refused::Ending)));
}

/// Proves that brokers that are not there at the start are waited for so long and no longer, that the log begins with its
/// breaker open then and says why, and that capture begins by itself once they answer: the topic made as was asked.
#[test]
fn a_start_without_brokers_waits_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let ports: [u16; 5] = std::array::from_fn(|_| crate::servers::free_port());
    let brokers = format!("127.0.0.1:{}", ports[0]);
    let asked = |topic: &str| Options { start_timeout: Duration::from_secs(1), ..options(&brokers, topic, 2) };
    let (client, took) = timed(|| Client::start(asked("late")));
    let mut client = client.unwrap();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!((client.breaker.position(), client.kafka.topic()), (Position::Open, None));
    let why = client.capture.figures().opened_why.unwrap();
    assert!(why.starts_with(&format!("no broker at {brokers} answered within")), "{why}");
    assert_eq!(client.one("refused"), Err(Refused::BreakerOpen));
    // The same, with a topic that nobody makes.
    let nowhere = Client::start(Options { create: None, ..asked("nowhere") }).unwrap();
    let _broker = broker_at(folder.path(), ports, &["auto.create.topics.enable=false"]);
    client.until_safe("there");
    assert_eq!(client.kafka.topic().unwrap().partitions, 2);
    assert_eq!(read(&brokers, "late").len(), client.safe());
    nowhere.until("it is known that the topic is not there", |client| {
        client.capture.figures().opened_why.is_some_and(|why| why.starts_with("there is no topic `nowhere`"))
    });
    assert_eq!(nowhere.breaker.position(), Position::Open);
}
