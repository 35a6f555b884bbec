//! Reading a topic from its beginning to where it ended when it was opened: for people and for checks, never for replay.
//!
//! Nothing is committed and no group is joined: reading a topic leaves no trace in it. Partitions come interleaved; the
//! records of one in their order.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    Message as _,
    consumer::Consumer as _,
    error::KafkaError,
    topic_partition_list::{Offset, TopicPartitionList},
};

use super::{
    consumer::{Consumer, LOOK, consumer, unanswered},
    settings::Options,
    topic::StartError,
};
use crate::clock;

/// How long one question may take.
const ASK: Duration = Duration::from_secs(2);

/// Where a partition begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first offset that is still kept.
    pub first: i64,
    /// The offset that the next record will have: what Kafka's own tool prints as the number of records.
    pub end: i64,
}

/// A record as it is in the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its time in the topic, in milliseconds since 1970, if it has one.
    pub at_millis: Option<i64>,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// The records of a topic.
pub struct Reader {
    consumer: Consumer,
    ranges: BTreeMap<i32, Range>,
    /// What is still to come: partition, and the offset after the last one wanted.
    open: BTreeMap<i32, i64>,
    patience: Duration,
}

/// The topics of a cluster and how many partitions each has, by name; those of Kafka itself are left out.
///
/// # Errors
/// The brokers do not answer, or refuse us.
pub fn topics(options: &Options) -> Result<BTreeMap<String, usize>, StartError> {
    let consumer = consumer(options, None)?;
    let metadata =
        consumer.fetch_metadata(None, options.start_timeout).map_err(|error| unanswered(options, &consumer, &error))?;
    let topics = metadata.topics().iter().filter(|topic| !topic.name().starts_with("__"));
    Ok(topics.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect())
}

/// Where the partitions of the topic begin and end.
///
/// # Errors
/// The brokers do not answer, or there is no such topic.
pub fn ranges(options: &Options) -> Result<BTreeMap<i32, Range>, StartError> {
    ranges_of(options, &consumer(options, None)?)
}

fn ranges_of(options: &Options, consumer: &Consumer) -> Result<BTreeMap<i32, Range>, StartError> {
    let topic = &options.topic;
    let metadata = consumer
        .fetch_metadata(Some(topic), options.start_timeout)
        .map_err(|error| unanswered(options, consumer, &error))?;
    let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
    let partitions = found.map_or(&[][..], |found| found.partitions());
    if partitions.is_empty() {
        return Err(StartError::Missing { topic: topic.clone() });
    }
    let mut ranges = BTreeMap::new();
    for partition in partitions {
        let (first, end) = consumer
            .fetch_watermarks(topic, partition.id(), ASK)
            .map_err(|error| unanswered(options, consumer, &error))?;
        ranges.insert(partition.id(), Range { first, end });
    }
    Ok(ranges)
}

/// The offset of the first record of each partition that came at that time or later; its end where there is none.
///
/// # Errors
/// The brokers do not answer, or there is no such topic.
pub fn offsets_at(options: &Options, unix_millis: i64) -> Result<BTreeMap<i32, i64>, StartError> {
    let consumer = consumer(options, None)?;
    let ranges = ranges_of(options, &consumer)?;
    let failed = |error: KafkaError| unanswered(options, &consumer, &error);
    let mut list = TopicPartitionList::new();
    for &partition in ranges.keys() {
        list.add_partition_offset(&options.topic, partition, Offset::Offset(unix_millis)).map_err(failed)?;
    }
    let found = consumer.offsets_for_times(list, options.start_timeout).map_err(failed)?;
    let mut offsets: BTreeMap<i32, i64> = ranges.iter().map(|(&partition, range)| (partition, range.end)).collect();
    for place in found.elements() {
        place.error().map_err(failed)?;
        if let Offset::Offset(offset) = place.offset() {
            offsets.insert(place.partition(), offset);
        }
    }
    Ok(offsets)
}

/// Opens the topic for reading, each partition from `from` on (its beginning where that names none).
///
/// # Errors
/// The brokers do not answer, or there is no such topic.
pub fn read(options: &Options, from: &BTreeMap<i32, i64>) -> Result<Reader, StartError> {
    let first = |partition, range: &Range| from.get(&partition).copied().unwrap_or(range.first);
    open(options, |partition, range| Some(Range { first: first(partition, range), end: range.end }))
}

/// Opens parts of the topic for reading: of each partition that is named those of its records that are wanted and kept, of
/// others none.
///
/// # Errors
/// As [`read`].
pub fn read_within(options: &Options, wanted: &BTreeMap<i32, Range>) -> Result<Reader, StartError> {
    open(options, |partition, _| wanted.get(&partition).copied())
}

fn open(options: &Options, wanted: impl Fn(i32, &Range) -> Option<Range>) -> Result<Reader, StartError> {
    let consumer = consumer(options, None)?;
    let ranges = ranges_of(options, &consumer)?;
    let mut list = TopicPartitionList::new();
    let mut open = BTreeMap::new();
    for (&partition, range) in &ranges {
        let Some(wanted) = wanted(partition, range) else { continue };
        let (first, end) = (wanted.first.max(range.first), wanted.end.min(range.end));
        if first < end {
            list.add_partition_offset(&options.topic, partition, Offset::Offset(first))
                .map_err(|error| StartError::Client(error.to_string()))?;
            open.insert(partition, end);
        }
    }
    consumer.assign(&list).map_err(|error| StartError::Client(error.to_string()))?;
    Ok(Reader { consumer, ranges, open, patience: options.start_timeout })
}

impl Reader {
    /// Where the partitions began and ended when the topic was opened.
    pub fn ranges(&self) -> &BTreeMap<i32, Range> {
        &self.ranges
    }

    /// The next record; `None` when all that was there at the opening was read.
    ///
    /// # Errors
    /// Nothing came for as long as the options let the brokers be silent, or they refuse us.
    pub fn next_stored(&mut self) -> Result<Option<Stored>, String> {
        let deadline = clock::now() + self.patience;
        while !self.open.is_empty() {
            match self.consumer.poll(LOOK) {
                Some(Ok(message)) => {
                    let (partition, offset) = (message.partition(), message.offset());
                    let Some(&end) = self.open.get(&partition) else { continue };
                    if offset + 1 >= end {
                        self.open.remove(&partition);
                    }
                    if offset >= end {
                        continue;
                    }
                    return Ok(Some(Stored {
                        partition,
                        offset,
                        at_millis: message.timestamp().to_millis(),
                        key: message.key().unwrap_or_default().to_vec(),
                        value: message.payload().unwrap_or_default().to_vec(),
                    }));
                }
                // The end of a partition may be a mark without a record.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.open.remove(&partition);
                }
                Some(Err(KafkaError::MessageConsumption(code))) if clock::now() < deadline => {
                    tracing::debug!(%code, "reading a topic goes on");
                }
                Some(Err(error)) => return Err(error.to_string()),
                None if clock::now() >= deadline => {
                    return Err(format!("no record came within {:?}, and the topic has more", self.patience));
                }
                None => {}
            }
        }
        Ok(None)
    }
}
