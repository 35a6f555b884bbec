//! Topics by Kafka's own client, with nothing of ours: read whole, and deleted and made anew by somebody else.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig, Message as _,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    metadata::MetadataPartition,
    producer::{BaseProducer, Producer as _},
    topic_partition_list::{Offset, TopicPartitionList},
};
use tidegate_tests::clock;

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_mins(1);

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

/// Deletes topics without a delay: the brokers are known already.
pub(super) struct Deletion {
    admin: AdminClient<DefaultClientContext>,
}

impl Deletion {
    pub(super) fn prepare(brokers: &str) -> Self {
        let admin: AdminClient<DefaultClientContext> = config(brokers).create().expect("a client");
        admin.inner().fetch_metadata(None, PATIENCE).expect("the broker answers");
        Self { admin }
    }

    pub(super) fn of(&self, topic: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let deleted = runtime.block_on(self.admin.delete_topics(&[topic], &AdminOptions::new()));
        deleted.expect("the broker answers")[0].as_ref().expect("it is deleted");
    }
}

/// Deletes a topic and, as a producer with Kafka's own defaults does, asks for it until the broker has made it anew.
pub(super) fn replace(brokers: &str, topic: &str) {
    Deletion::prepare(brokers).of(topic);
    let other: BaseProducer = config(brokers).create().expect("a client");
    let start = clock::now();
    loop {
        let metadata = other.client().fetch_metadata(Some(topic), PATIENCE).expect("the broker answers");
        if metadata.topics()[0].error().is_none() && !metadata.topics()[0].partitions().is_empty() {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "the broker does not make {topic} anew");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every record's value, one partition after the other.
pub(super) fn records(brokers: &str, topic: &str) -> Vec<Vec<u8>> {
    let mut config = config(brokers);
    config.set("group.id", "reader").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().expect("a client");
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("the broker answers");
    let partitions: Vec<i32> = metadata.topics()[0].partitions().iter().map(MetadataPartition::id).collect();
    let (mut assigned, mut left) = (TopicPartitionList::new(), BTreeMap::new());
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE).expect("the broker answers");
        if low < high {
            assigned.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
            left.insert(partition, high);
        }
    }
    consumer.assign(&assigned).expect("it takes its partitions");
    let mut found: BTreeMap<i32, Vec<Vec<u8>>> = BTreeMap::new();
    while !left.is_empty() {
        let message = consumer.poll(PATIENCE).expect("the rest of the topic comes").expect("a record");
        let value = message.payload().expect("a value").to_vec();
        found.entry(message.partition()).or_default().push(value);
        if left.get(&message.partition()).is_some_and(|high| message.offset() + 1 >= *high) {
            left.remove(&message.partition());
        }
    }
    found.into_values().flatten().collect()
}
