//! How far a group is, asked from outside: against a group of librdkafka's own consumer, on a real broker.

use std::{collections::BTreeMap, time::Duration};

use proxy::capture::kafka::{
    Options, StartError,
    group::{Group, Next, Place, look},
};
use rdkafka::{
    ClientConfig, Message as _,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    topic_partition_list::{Offset, TopicPartitionList},
};

use crate::{
    client::{Client, PATIENCE, options},
    clock,
    servers::kafka::broker,
};

const GROUP: &str = "replayer-target";

/// How long one look for the next record lasts.
const LOOK: Duration = Duration::from_millis(100);

fn member(brokers: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", GROUP).set("enable.auto.commit", "false");
    config.set("auto.offset.reset", "earliest").create().unwrap()
}

fn commit(member: &BaseConsumer, topic: &str, partition: i32, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
    member.commit(&list, CommitMode::Sync).unwrap();
}

/// Makes a topic of one partition with so many records.
fn filled(brokers: &str, topic: &str, records: usize) {
    let mut client = Client::start(options(brokers, topic, 1)).unwrap();
    for number in 0..records {
        client.send("connection", number, 0).unwrap();
    }
    client.settle();
    assert_eq!(client.safe(), records);
}

/// Forgets the records of a partition before `offset`, as retention does.
fn expire(brokers: &str, topic: &str, offset: i64) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    runtime.block_on(admin.delete_records(&list, &AdminOptions::new().operation_timeout(Some(PATIENCE)))).unwrap();
}

fn place(group: &Group, topic: &str) -> Place {
    group.places.get(&(topic.to_owned(), 0)).cloned().unwrap_or_else(|| panic!("{topic}: {group:?}"))
}

/// Proves that a group's place is told as its consumers have committed it: unknown, behind, at the end, with records that
/// expired unread, above the end; the first record that is not committed has its own time; and asking leaves the group as it
/// was, neither joined nor committed to.
#[test]
fn a_group_is_told_as_its_consumers_left_it() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path(), &[]);
    let brokers = broker.plaintext();
    let asked = Options::new(&brokers, "");
    for topic in ["behind", "done", "expired", "above", "others"] {
        filled(&brokers, topic, 10);
    }
    let nobody = look(&asked, GROUP, None).unwrap();
    assert_eq!(nobody, Group { state: None, members: 0, places: BTreeMap::new() });
    let unread = place(&look(&asked, GROUP, Some("behind")).unwrap(), "behind");
    assert_eq!((unread.committed, unread.range.first, unread.range.end), (None, 0, 10));
    assert!(matches!(unread.next, Next::Record { offset: 0, .. }), "{unread:?}");
    assert_eq!(look(&asked, GROUP, Some("nowhere")).unwrap_err(), StartError::Missing { topic: "nowhere".to_owned() });
    let refused = look(&asked, GROUP, Some("no name of a topic")).unwrap_err();
    assert!(matches!(&refused, StartError::Topic { topic, .. } if topic == "no name of a topic"), "{refused:?}");

    let consumer = member(&brokers);
    consumer.subscribe(&["behind"]).unwrap();
    let mut times = BTreeMap::new();
    let deadline = clock::now() + PATIENCE;
    while times.len() < 10 {
        assert!(clock::now() < deadline, "the topic's records come: {times:?}");
        if let Some(message) = consumer.poll(LOOK) {
            let message = message.unwrap();
            times.insert(message.offset(), message.timestamp().to_millis());
        }
    }
    commit(&consumer, "behind", 0, 7);
    let now = i64::try_from(clock::unix_seconds()).unwrap() * 1000;
    let group = look(&asked, GROUP, None).unwrap();
    assert_eq!((group.state.as_deref(), group.members, group.places.len()), (Some("Stable"), 1, 1));
    let behind = place(&group, "behind");
    assert_eq!((behind.committed, behind.range.end), (Some(7), 10));
    let Next::Record { offset: 7, at_millis: Some(millis) } = behind.next else { panic!("{behind:?}") };
    assert_eq!(Some(millis), times[&7], "the record's own time");
    assert!((now - millis).abs() < 120_000, "{millis} at {now}");

    for (topic, offset) in [("done", 10), ("expired", 3), ("above", 1000)] {
        commit(&consumer, topic, 0, offset);
    }
    expire(&brokers, "expired", 5);
    let group = look(&asked, GROUP, None).unwrap();
    assert_eq!(group.places.len(), 4, "a topic in which the group has no part is not told: {group:?}");
    assert_eq!(place(&group, "done").next, Next::None);
    let expired = place(&group, "expired");
    assert_eq!((expired.committed, expired.range.first), (Some(3), 5));
    assert!(matches!(expired.next, Next::Record { offset: 5, .. }), "{expired:?}");
    let above = place(&group, "above");
    assert_eq!((above.committed, above.next), (Some(1000), Next::None));

    let again = look(&asked, GROUP, None).unwrap();
    assert_eq!(again, group, "to be asked changes nothing");
    drop(consumer);
    let left = look(&asked, GROUP, Some("done")).unwrap();
    assert_eq!((left.state.as_deref(), left.members), (Some("Empty"), 0), "{left:?}");
}
