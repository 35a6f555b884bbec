//! How far a consumer group is, without being one of it: what it committed, where its partitions begin and end, and the
//! first record of each that it has not committed.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    Message as _,
    consumer::Consumer as _,
    error::{KafkaError, RDKafkaErrorCode},
    topic_partition_list::{Offset, TopicPartitionList},
};

use super::{
    consumer::{Consumer, LOOK, consumer, unanswered},
    read::Range,
    settings::Options,
    topic::StartError,
};
use crate::clock;

/// How far a group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its state in Kafka's own word (`Stable`, `Empty`, `Dead`, …); `None` where the brokers know of no such group.
    pub state: Option<String>,
    /// How many consumers are in it.
    pub members: usize,
    /// Its partitions, by topic and number.
    pub places: BTreeMap<(String, i32), Place>,
}

/// How far a group is in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The offset that it will read next; `None` when it has committed none.
    pub committed: Option<i64>,
    /// Where the partition begins and ends.
    pub range: Range,
    /// The first record that it has not committed.
    pub next: Next,
}

/// The first record that a group has not committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is none.
    None,
    /// This one.
    Record {
        /// Its offset.
        offset: i64,
        /// Its time in the topic, in milliseconds since 1970, if it has one.
        at_millis: Option<i64>,
    },
    /// There is one, and it could not be read.
    Unread(String),
}

/// Looks at a group: at one topic, or at each in which it has committed anything. Takes as long as the options let brokers be
/// silent, at most.
///
/// # Errors
/// The brokers do not answer or refuse us, there is no such topic, or one of them cannot be looked at.
pub fn look(options: &Options, group: &str, topic: Option<&str>) -> Result<Group, StartError> {
    let deadline = clock::now() + options.start_timeout;
    let left = || deadline.saturating_duration_since(clock::now());
    let consumer = consumer(options, Some(group))?;
    let failed = |error: KafkaError| unanswered(options, &consumer, &error);

    let metadata = consumer.fetch_metadata(topic, left()).map_err(failed)?;
    let mut partitions = TopicPartitionList::new();
    let wanted = |name: &str| topic.map_or(!name.starts_with("__"), |topic| topic == name);
    for found in metadata.topics().iter().filter(|found| wanted(found.name())) {
        let name = found.name().to_owned();
        // What cannot be looked at is not a topic in which nothing is left to do.
        match found.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => match topic {
                Some(_) => return Err(StartError::Missing { topic: name }),
                // One that is being deleted is asked for by nobody.
                None => continue,
            },
            Some(code) => return Err(StartError::Topic { topic: name, why: code.to_string() }),
        }
        for partition in found.partitions() {
            partitions.add_partition(&name, partition.id());
        }
    }
    if let Some(topic) = topic
        && partitions.count() == 0
    {
        return Err(StartError::Missing { topic: topic.to_owned() });
    }

    let groups = settled(left, || consumer.fetch_group_list(Some(group), left())).map_err(failed)?;
    let known = groups.groups().iter().find(|found| found.name() == group);
    let committed = settled(left, || committed(&consumer, partitions.clone(), left())).map_err(failed)?;
    let begun: Vec<String> =
        committed.iter().filter(|(_, offset)| offset.is_some()).map(|((topic, _), _)| topic.clone()).collect();
    let mut places = BTreeMap::new();
    for (place, committed) in committed {
        if topic.is_none() && !begun.contains(&place.0) {
            continue;
        }
        let (first, end) = consumer.fetch_watermarks(&place.0, place.1, left()).map_err(failed)?;
        places.insert(place, Place { committed, range: Range { first, end }, next: Next::None });
    }
    read(&consumer, &mut places, left())?;
    let state = known.map(|found| found.state().to_owned());
    Ok(Group { state, members: known.map_or(0, |found| found.members().len()), places })
}

/// Asks again while the brokers are about to have an answer, and there is time left: who keeps the group's offsets is being
/// found, or has just taken them over.
fn settled<T>(left: impl Fn() -> Duration, ask: impl Fn() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    loop {
        match ask() {
            Err(error) if is_passing(&error) && !left().is_zero() => std::thread::sleep(LOOK),
            answered => return answered,
        }
    }
}

/// Whether brokers say that another answer is to be had soon.
fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::NotCoordinator
                | Code::CoordinatorNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::WaitingForCoordinator
        )
    )
}

/// What the consumer's group has committed.
fn committed(
    consumer: &Consumer,
    partitions: TopicPartitionList,
    patience: Duration,
) -> Result<BTreeMap<(String, i32), Option<i64>>, KafkaError> {
    if partitions.count() == 0 {
        return Ok(BTreeMap::new());
    }
    let mut found = BTreeMap::new();
    for place in consumer.committed_offsets(partitions, patience)?.elements() {
        place.error()?;
        let offset = match place.offset() {
            Offset::Offset(offset) => Some(offset),
            Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
        };
        found.insert((place.topic().to_owned(), place.partition()), offset);
    }
    Ok(found)
}

/// Reads the first record of each partition that is not committed.
fn read(
    consumer: &Consumer,
    places: &mut BTreeMap<(String, i32), Place>,
    patience: Duration,
) -> Result<(), StartError> {
    let client = |error: KafkaError| StartError::Client(error.to_string());
    let mut list = TopicPartitionList::new();
    let mut open = 0;
    for ((topic, partition), place) in places.iter_mut() {
        let from = place.committed.unwrap_or(place.range.first).max(place.range.first);
        if from < place.range.end {
            list.add_partition_offset(topic, *partition, Offset::Offset(from)).map_err(client)?;
            place.next = Next::Unread(format!("it was not read within {patience:?}"));
            open += 1;
        }
    }
    if open == 0 {
        return Ok(());
    }
    consumer.assign(&list).map_err(client)?;
    let deadline = clock::now() + patience;
    while open > 0 && clock::now() < deadline {
        let message = match consumer.poll(LOOK) {
            Some(Ok(message)) => message,
            // A partition with nothing but marks up to its end stays unread, and so unknown. A capture topic has no marks,
            // since nothing in it is written in a transaction.
            Some(Err(error)) => {
                tracing::debug!(%error, "looking at a group goes on");
                continue;
            }
            None => continue,
        };
        let place = places.get_mut(&(message.topic().to_owned(), message.partition()));
        if let Some(place) = place.filter(|place| matches!(place.next, Next::Unread(_))) {
            place.next = Next::Record { offset: message.offset(), at_millis: message.timestamp().to_millis() };
            open -= 1;
        }
    }
    Ok(())
}
