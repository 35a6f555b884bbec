//! `tidegate kafka describe-topic-records`: the console's figure, which is where each partition ends, and beside it what
//! is really there. The end grows by records of which one may hold many requests or a part of one, and does not fall when
//! old records are deleted, so it counts neither requests nor records.

use std::{collections::BTreeMap, fmt::Write as _};

use proxy::capture::{
    kafka::read::{self, Range},
    read::{Accumulator, Chunk, Outcome},
};
use serde::Serialize;

use super::{Reading, Strangers, strangers::clause};
use crate::cli::{Context, Exit};

/// So often a progress line says how far the reading is, in records.
const PROGRESS_RECORDS: u64 = 200_000;

/// The arguments of `tidegate kafka describe-topic-records`.
///
/// With `--json`: `{topic, records, requests, responses, partitions: [{partition, records, requests, responses,
/// unreadable, first_offset, end_offset}]}`. A request counts when it is whole, a response when it answers one and has a byte.
/// `unreadable` are records that no capture proxy wrote: they are told with their places on stderr, and no error. With
/// `--interval`: `{topic, seconds, captured, probes, records, unreadable, expected, expect_from, tolerance, ok}`, and with
/// `--expect-from alb` the `from` and `to` of its minutes. Exit code 1 where they differ, 2 where the flags make no sense.
#[derive(Debug, clap::Args)]
pub(super) struct Describe {
    #[command(flatten)]
    reading: Reading,

    /// Only say where the partitions end, as the console does; reads no record.
    #[arg(long)]
    offsets_only: bool,

    /// Read only what came in about so many of the last records of each partition.
    #[arg(long, value_name = "N", conflicts_with = "offsets_only")]
    last: Option<u64>,

    #[command(flatten)]
    interval: super::interval::Interval,
}

/// What one partition has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Counts {
    records: u64,
    requests: u64,
    responses: u64,
    /// Records that no capture proxy wrote.
    unreadable: u64,
}

#[derive(Debug, Serialize)]
struct OfPartition {
    partition: i32,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
    first_offset: i64,
    end_offset: i64,
}

#[derive(Debug, Serialize)]
struct Description<'a> {
    topic: &'a str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
    partitions: Vec<OfPartition>,
}

impl Describe {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let options = self.reading.options()?;
        if let Some(interval) = self.interval.asked() {
            return self.interval.run(interval, &options, context);
        }
        let (ranges, counts) = if self.offsets_only {
            (read::ranges(&options)?, None)
        } else {
            let ranges = read::ranges(&options)?;
            let from = self.last.map_or_else(BTreeMap::new, |last| last_of(&ranges, last));
            let mut reader = read::read(&options, &from)?;
            let (mut partitions, mut strangers) = (BTreeMap::<i32, Counting>::new(), Strangers::default());
            let all: i64 = ranges.values().map(|range| range.end - range.first).sum();
            let mut done = 0;
            while let Some(stored) = reader.next_stored().map_err(anyhow::Error::msg)? {
                let chunk = strangers.read(&stored, context)?;
                partitions.entry(stored.partition).or_default().add(chunk.as_ref());
                done += 1;
                if done % PROGRESS_RECORDS == 0 {
                    context.say(&format!("read {done} of about {all} records"))?;
                }
            }
            let counts = partitions.into_iter().map(|(partition, counting)| (partition, counting.finish()));
            (reader.ranges().clone(), Some(counts.collect::<BTreeMap<_, _>>()))
        };
        let partitions: Vec<OfPartition> = ranges
            .iter()
            .map(|(&partition, range)| OfPartition {
                partition,
                counts: counts.as_ref().map(|counts| counts.get(&partition).copied().unwrap_or_default()),
                first_offset: range.first,
                end_offset: range.end,
            })
            .collect();
        let all = counts.map(|counts| counts.values().fold(Counts::default(), Counts::with));
        let description = Description { topic: self.reading.topic(), counts: all, partitions };
        if context.json {
            context.print_json(&description)?;
        } else {
            context.print(&table(&description))?;
        }
        Ok(Exit::Done)
    }
}

/// Where to begin so that about the last so many records of each partition are read.
fn last_of(ranges: &BTreeMap<i32, Range>, last: u64) -> BTreeMap<i32, i64> {
    let last = i64::try_from(last).unwrap_or(i64::MAX);
    ranges.iter().map(|(&partition, range)| (partition, range.end.saturating_sub(last).max(range.first))).collect()
}

/// One partition while it is read.
#[derive(Default)]
struct Counting {
    counts: Counts,
    accumulator: Accumulator,
    outcomes: Vec<Outcome>,
}

impl Counting {
    /// A record, `None` for a stranger's.
    fn add(&mut self, record: Option<&Chunk<'_>>) {
        match record {
            Some(chunk) => {
                self.counts.records += 1;
                self.accumulator.add(chunk, &mut self.outcomes);
            }
            None => self.counts.unreadable += 1,
        }
        self.count();
    }

    fn count(&mut self) {
        self.counts.count(&mut self.outcomes);
    }

    fn finish(self) -> Counts {
        let Self { mut counts, accumulator, mut outcomes } = self;
        accumulator.finish(&mut outcomes);
        counts.count(&mut outcomes);
        counts
    }
}

impl Counts {
    fn count(&mut self, outcomes: &mut Vec<Outcome>) {
        for outcome in outcomes.drain(..) {
            if let Outcome::Exchange(exchange) = outcome
                && exchange.complete
            {
                self.requests += 1;
                self.responses += u64::from(exchange.response.is_some_and(|bytes| !bytes.is_empty()));
            }
        }
    }

    fn with(self, other: &Self) -> Self {
        Self {
            records: self.records + other.records,
            requests: self.requests + other.requests,
            responses: self.responses + other.responses,
            unreadable: self.unreadable + other.unreadable,
        }
    }
}

/// The console's three columns, its RECORDS being the end, and behind them what is really there.
fn table(description: &Description<'_>) -> String {
    let mut text = format!("{:<30} {:<10} {:<10}", "TOPIC", "PARTITION", "RECORDS");
    if description.counts.is_some() {
        write!(text, " | {:>10} {:>10} {:>10}", "KEPT", "REQUESTS", "RESPONSES")
            .expect("a text takes what is written to it");
    }
    text.push('\n');
    for partition in &description.partitions {
        let OfPartition { partition, counts, end_offset, .. } = partition;
        write!(text, "{:<30} {partition:<10} {end_offset:<10}", description.topic)
            .expect("a text takes what is written to it");
        if let Some(counts) = counts {
            write!(text, " | {:>10} {:>10} {:>10}", counts.records, counts.requests, counts.responses)
                .expect("a text takes what is written to it");
        }
        text.push('\n');
    }
    if let Some(Counts { records, requests, responses, unreadable }) = description.counts {
        let count = description.partitions.len();
        write!(
            text,
            "in all: {records} records kept in {count} partitions, {requests} requests, {responses} responses"
        )
        .expect("a text takes what is written to it");
        text.push_str(&clause(unreadable));
        text.push('\n');
    }
    text
}
