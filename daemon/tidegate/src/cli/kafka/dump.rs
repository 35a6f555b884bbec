//! `tidegate kafka dump`: the records of a topic as lines, as the Replayer's dump modes read them with `-i`.
//!
//! One base64 record a line, or `KEY|` before each as archives have it; `capture cat --file` reads both. The records of one
//! partition are in their order, those of several stand between one another. Nothing is committed. Records that no capture proxy
//! wrote are told; those that have a value are written all the same, since this says what is there.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use proxy::capture::kafka::{
    Options,
    read::{self, Range, Stored},
};

use super::{Reading, Strangers};
use crate::cli::{Context, Exit, Wrong};

/// So often a progress line says how far the reading is, in records.
const PROGRESS_RECORDS: u64 = 200_000;

/// The arguments of `tidegate kafka dump`.
#[derive(Debug, clap::Args)]
pub(super) struct Dump {
    #[command(flatten)]
    reading: Reading,

    /// Only this partition.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,

    /// From this offset of the partition on.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(0..), conflicts_with = "start_time")]
    start_offset: Option<i64>,

    /// Up to this offset of the partition, and without it: an end as `describe-topic-records` prints it.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(0..), conflicts_with = "end_time")]
    end_offset: Option<i64>,

    /// From the first record on that came at this time or later, such as 2026-11-22T05:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = millis)]
    start_time: Option<i64>,

    /// Up to the first record that came at this time or later, and without it.
    #[arg(long, value_name = "TIME", value_parser = millis)]
    end_time: Option<i64>,

    /// Write `KEY|` before each record, as archives have it.
    #[arg(long)]
    keys: bool,

    /// Where the lines go; stdout by default. A file that is there is not overwritten.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn millis(text: &str) -> Result<i64, String> {
    let at: jiff::Timestamp =
        text.parse().map_err(|_| format!("`{text}` is no time: write it as 2026-11-22T05:00:00Z"))?;
    Ok(at.as_millisecond())
}

impl Dump {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let options = self.reading.options()?;
        let wanted = self.wanted(&options)?;
        let mut out: Box<dyn Write> = match &self.out {
            Some(path) => Box::new(BufWriter::new(
                File::create_new(path).with_context(|| format!("cannot make `{}`", path.display()))?,
            )),
            None => Box::new(BufWriter::new(std::io::stdout().lock())),
        };
        let mut reader = read::read_within(&options, &wanted)?;
        let (mut records, mut line, mut strangers) = (0_u64, Vec::new(), Strangers::default());
        while let Some(stored) = reader.next_stored().map_err(anyhow::Error::msg)? {
            strangers.read(&stored, context)?;
            if stored.value.is_empty() {
                // A line without a record would be none.
                continue;
            }
            line.clear();
            write_line(&mut line, &stored, self.keys);
            crate::cli::printed(out.write_all(&line))?;
            records += 1;
            if records % PROGRESS_RECORDS == 0 {
                let all: i64 = wanted.values().map(|range| range.end - range.first).sum();
                context.say(&format!("wrote {records} of about {all} records"))?;
            }
        }
        crate::cli::printed(out.flush())?;
        context.say(&format!("{records} records{}", strangers.clause()))?;
        Ok(Exit::Done)
    }

    /// Which part of each partition is written.
    fn wanted(&self, options: &Options) -> anyhow::Result<BTreeMap<i32, Range>> {
        let mut ranges = read::ranges(options)?;
        if let Some(partition) = self.partition {
            let known = ranges.len();
            ranges.retain(|&number, _| number == partition);
            ensure!(
                !ranges.is_empty(),
                "there is no partition {partition} in `{}`: it has {known}, from 0 on",
                options.topic
            );
        }
        if ranges.len() > 1 && (self.start_offset.is_some() || self.end_offset.is_some()) {
            return Err(Wrong::because(format!(
                "an offset is one partition's own, and `{}` has {}: name --partition",
                options.topic,
                ranges.len()
            )));
        }
        let since = |time: Option<i64>| time.map(|time| read::offsets_at(options, time)).transpose();
        let (start, end) = (since(self.start_time)?, since(self.end_time)?);
        for (partition, range) in &mut ranges {
            let at =
                |offsets: &Option<BTreeMap<i32, i64>>| offsets.as_ref().and_then(|found| found.get(partition).copied());
            let (first, last) = (self.start_offset.or_else(|| at(&start)), self.end_offset.or_else(|| at(&end)));
            *range = within(*range, first, last);
        }
        Ok(ranges)
    }
}

/// The part of a partition from `first` on and before `end`, as far as it is kept.
fn within(kept: Range, first: Option<i64>, end: Option<i64>) -> Range {
    let first = first.unwrap_or(kept.first).clamp(kept.first, kept.end);
    Range { first, end: end.unwrap_or(kept.end).clamp(first, kept.end) }
}

fn write_line(line: &mut Vec<u8>, stored: &Stored, keys: bool) {
    if keys {
        // A stranger's key may have what would be the end of the line.
        line.extend(stored.key.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')));
        line.push(b'|');
    }
    line.extend_from_slice(STANDARD.encode(&stored.value).as_bytes());
    line.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that a part lies within what is kept, whatever is asked for, and that its end is not in it.
    #[test]
    fn a_part_lies_within_what_is_kept() {
        let kept = Range { first: 5, end: 20 };
        for ((first, end), wanted) in [
            ((None, None), (5, 20)),
            ((Some(0), Some(7)), (5, 7)),
            ((Some(7), None), (7, 20)),
            ((Some(7), Some(100)), (7, 20)),
            ((Some(30), None), (20, 20)),
            ((Some(12), Some(8)), (12, 12)),
            ((None, Some(1)), (5, 5)),
        ] {
            let Range { first: found, end: found_end } = within(kept, first, end);
            assert_eq!((found, found_end), wanted, "{first:?} to {end:?}");
        }
    }

    /// Proves that a record becomes the line that the Replayer reads, and an archive's line with its key, one line whatever the
    /// key has.
    #[test]
    fn a_record_becomes_a_line() {
        let stored =
            Stored { partition: 0, offset: 0, at_millis: None, key: b"node.1".to_vec(), value: b"\x00\xffx".to_vec() };
        let mut lines = Vec::new();
        write_line(&mut lines, &stored, false);
        write_line(&mut lines, &stored, true);
        let stranger = Stored { key: b"a\r\n|b".to_vec(), ..stored };
        write_line(&mut lines, &stranger, true);
        assert_eq!(String::from_utf8(lines).unwrap(), "AP94\nnode.1|AP94\na|b|AP94\n");
    }
}
