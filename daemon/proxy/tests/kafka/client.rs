//! A serving thread's part of capture, and an independent reader of topics.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::Arc,
    time::{Duration, Instant},
};

use proxy::capture::{
    BUDGET_BYTES, Breaker, Buffers, Capture, Entry, Outcome, Outlet, Refused, Reopen, Verdict,
    kafka::{Create, Kafka, Options, StartError},
};
use rdkafka::{
    ClientConfig, Message as _,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    metadata::MetadataPartition,
    topic_partition_list::{Offset, TopicPartitionList},
};

use crate::clock;

/// Longer than anything here may take; it only ends a test that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// How often something is looked at that nobody announces.
const LOOK: Duration = Duration::from_millis(10);

pub(crate) struct Client {
    pub(crate) kafka: Arc<Kafka>,
    pub(crate) capture: Capture,
    pub(crate) outlet: Outlet,
    pub(crate) breaker: Arc<Breaker>,
    runtime: tokio::runtime::Runtime,
    tag: u64,
    /// Every outcome so far.
    pub(crate) outcomes: Vec<Outcome>,
}

/// Options that make the topic.
pub(crate) fn options(brokers: &str, topic: &str, partitions: u16) -> Options {
    let create = Some(Create { partitions, replicas: 1, retention: None });
    Options { create, ..Options::new(brokers, topic) }
}

impl Client {
    pub(crate) fn start(options: Options) -> Result<Self, StartError> {
        let breaker = Arc::new(Breaker::new(Reopen::WhenReady));
        let kafka = Arc::new(Kafka::start(options, Arc::clone(&breaker))?);
        let sink: Arc<Kafka> = Arc::clone(&kafka);
        let capture = Capture::new(sink, Arc::clone(&breaker), BUDGET_BYTES);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Ok(Self {
            outlet: capture.outlet(Buffers::default()),
            kafka,
            capture,
            breaker,
            runtime,
            tag: 0,
            outcomes: Vec::new(),
        })
    }

    /// Sends a record whose value names its key and number; answers its tag.
    pub(crate) fn send(&mut self, key: &str, number: usize, bytes: usize) -> Result<u64, Refused> {
        let mut value = text(key, number);
        value.resize(value.len().max(bytes), b'.');
        self.tag += 1;
        let life = self.outlet.life();
        let entry = Entry { key: key.into(), life, value, tag: self.tag };
        self.outlet.send(entry, clock::now()).map_err(|returned| returned.why)?;
        Ok(self.tag)
    }

    /// Waits for the next batch of outcomes, which are kept; answers how many.
    pub(crate) fn wait(&mut self) -> usize {
        let before = self.outcomes.len();
        let (outlet, outcomes) = (&mut self.outlet, &mut self.outcomes);
        let polled = poll_fn(|cx| outlet.poll_outcomes(cx, clock::now(), outcomes));
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, polled).await }).expect("an outcome comes");
        self.outcomes.len() - before
    }

    /// Waits until everything sent has its outcome.
    pub(crate) fn settle(&mut self) {
        while self.capture.figures().under_way_bytes > 0 {
            self.wait();
        }
    }

    /// Sends one record of a fresh key and waits for its outcome.
    pub(crate) fn one(&mut self, key: &str) -> Result<Verdict, Refused> {
        let tag = self.send(key, 0, 0)?;
        self.settle();
        Ok(self.outcomes.iter().rev().find(|outcome| outcome.tag == tag).unwrap().verdict.clone())
    }

    /// Sends one record of a fresh key again and again until one is safe: until the log is back. Each refusal is waited
    /// out by the breaker's own word; the deadline is only there for a log that never comes back.
    pub(crate) fn until_safe(&mut self, name: &str) {
        let deadline = clock::now() + PATIENCE;
        for number in 0.. {
            if self.one(&format!("{name}-{number}")) == Ok(Verdict::Safe) {
                return;
            }
            assert!(clock::now() < deadline, "the log never came back: {:?}", self.capture.figures());
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until `holds`, which nothing announces.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = clock::now() + PATIENCE;
        while !holds(self) {
            assert!(clock::now() < deadline, "{what}: {:?}", self.capture.figures());
            std::thread::sleep(LOOK);
        }
    }

    /// How many records are safe.
    pub(crate) fn safe(&self) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Safe).count()
    }
}

/// What a record says.
pub(crate) fn text(key: &str, number: usize) -> Vec<u8> {
    format!("{key}#{number}#").into_bytes()
}

/// The numbers in a topic's records, a key, in the order in which a reader meets them; read with librdkafka's consumer, which
/// shares no state with the producer.
pub(crate) fn read(brokers: &str, topic: &str) -> BTreeMap<String, Vec<usize>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "reader").set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "false").set("fetch.wait.max.ms", "10");
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let partitions: Vec<i32> = metadata.topics()[0].partitions().iter().map(MetadataPartition::id).collect();
    let mut assigned = TopicPartitionList::new();
    let mut left = BTreeMap::new();
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap();
        if low < high {
            assigned.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
            left.insert(partition, high);
        }
    }
    consumer.assign(&assigned).unwrap();
    let mut found: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    while !left.is_empty() {
        let message = consumer.poll(PATIENCE).expect("the rest of the topic comes").unwrap();
        let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
        let value = String::from_utf8_lossy(message.payload().unwrap()).into_owned();
        let mut parts = value.split('#');
        assert_eq!(parts.next().unwrap(), key, "a record is under its own key");
        found.entry(key).or_default().push(parts.next().unwrap().parse().unwrap());
        if left.get(&message.partition()).is_some_and(|high| message.offset() + 1 >= *high) {
            left.remove(&message.partition());
        }
    }
    found
}

/// How many of the records that were said to be safe are not in the topic; a reader meets those of one key in order.
pub(crate) fn missing(
    client: &Client,
    sent: &BTreeMap<u64, (String, usize)>,
    topic: &BTreeMap<String, Vec<usize>>,
) -> usize {
    for (key, numbers) in topic {
        assert!(numbers.is_sorted_by(|a, b| a < b), "{key} is out of order or doubled: {numbers:?}");
        let gap = numbers.iter().enumerate().any(|(index, number)| index != *number);
        assert!(!gap, "{key} has a hole: {numbers:?}");
    }
    let there = |(key, number): &(String, usize)| topic.get(key).is_some_and(|numbers| numbers.contains(number));
    let safe = client.outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Safe);
    safe.filter(|outcome| !there(&sent[&outcome.tag])).count()
}

/// Makes a topic with these settings.
pub(crate) fn make(brokers: &str, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let asked = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
    runtime.block_on(admin.create_topics([&new], &asked)).unwrap()[0].as_ref().unwrap();
}

/// Deletes a topic, and returns once the broker says that it is gone.
pub(crate) fn delete(brokers: &str, topic: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let asked = AdminOptions::new().operation_timeout(Some(PATIENCE));
    runtime.block_on(admin.delete_topics(&[topic], &asked)).unwrap()[0].as_ref().unwrap();
}

/// How long something took.
pub(crate) fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start: Instant = clock::now();
    let value = run();
    (value, start.elapsed())
}
