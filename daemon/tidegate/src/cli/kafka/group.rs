//! `tidegate kafka describe-consumer-group`: how far the Replayer is behind, by partition, with the console's columns.

use std::fmt::Write as _;
use std::time::Duration;

use cutover::policy::formats::period_text;
use proxy::capture::kafka::group;

use crate::cli::{Context, Exit, brokers::Brokers};
use crate::clock;
use crate::kafka::lag::{Lag, Lags};

/// The arguments of `tidegate kafka describe-consumer-group`.
///
/// With `--json`: `{group, state, members, lag_seconds, partitions: [{topic, partition, committed, first_offset, end_offset,
/// lag_records, probed_offset, timestamp, lag_seconds, note}]}`; `null` is unknown, and never zero. Exit code 1 where there
/// is no such group.
#[derive(Debug, clap::Args)]
pub(super) struct DescribeGroup {
    #[command(flatten)]
    brokers: Brokers,

    /// The group: replayer-TARGET for a workflow's Replayer, logging-group-default for an older one's.
    #[arg(long, value_name = "NAME")]
    group: String,

    /// Only this topic, and all of it; else each in which the group has committed anything. One that it has not begun is
    /// seen only by its name.
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
}

impl DescribeGroup {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        let options = self.brokers.options(self.topic.as_deref().unwrap_or_default())?;
        let seen = group::look(&options, &self.group, self.topic.as_deref())?;
        let lags = Lags::of(&self.group, seen, clock::now());
        if context.json {
            context.print_json(&lags)?;
        } else {
            context.print(&table(&lags))?;
            if self.topic.is_none() {
                context.say("a topic in which it has committed nothing is not among these: name it with `--topic`")?;
            }
        }
        let unknown = lags.state.is_none() && lags.partitions.iter().all(|lag| lag.committed.is_none());
        Ok(if unknown { Exit::Error } else { Exit::Done })
    }
}

/// The console's columns, and before them the offsets that it takes from Kafka's own tool.
fn table(lags: &Lags) -> String {
    let mut text = String::new();
    let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let lines = lags.partitions.iter().map(|lag| {
        let Lag { topic, partition, committed, end_offset, lag_records, probed_offset, timestamp, .. } = lag;
        let at = timestamp.map_or_else(|| "-".to_owned(), clock::rfc3339);
        let note = lag.note.as_ref().map(ToString::to_string).unwrap_or_default();
        [
            topic.clone(),
            partition.to_string(),
            number(*committed),
            end_offset.to_string(),
            lag_records.map_or_else(|| "?".to_owned(), |records| records.to_string()),
            number(*probed_offset),
            at,
            late(lag.lag_seconds),
            note,
        ]
    });
    let head =
        ["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "PROBED-OFFSET", "TIMESTAMP (UTC)", "TIME-LAG", "NOTE"];
    for [topic, partition, committed, end, lag, probed, at, late, note] in
        std::iter::once(head.map(str::to_owned)).chain(lines)
    {
        let line = format!(
            "{topic:<30} {partition:<10} {committed:<10} {end:<10} {lag:<10} {probed:<14} {at:<21} {late:<10} {note}"
        );
        writeln!(text, "{}", line.trim_end()).expect("a text takes what is written to it");
    }
    let idle = lags.idle();
    let state = lags.state.as_deref().unwrap_or("unknown").to_ascii_lowercase();
    let who = idle.unwrap_or_else(|| format!("group `{}` is {state}, with {} in it", lags.group, lags.members));
    let all = !lags.partitions.is_empty() && lags.partitions.iter().all(|lag| lag.lag_records == Some(0));
    let behind = match lags.lag_seconds {
        _ if lags.partitions.is_empty() => "it has committed nothing".to_owned(),
        Some(_) if all => "everything there is replayed".to_owned(),
        Some(_) => format!("it is {} behind", late(lags.lag_seconds)),
        None => "how far it is behind is not known".to_owned(),
    };
    writeln!(text, "{who}; {behind}").expect("a text takes what is written to it");
    text
}

/// A lag for people. What is unknown is not zero, and what is not zero does not look like it.
fn late(seconds: Option<f64>) -> String {
    match seconds {
        None => "?".to_owned(),
        Some(seconds) if seconds < 10.0 => period_text(Duration::from_secs_f64(seconds)),
        Some(seconds) => period_text(Duration::from_secs(seconds as u64)),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proxy::capture::kafka::group::{Group, Next, Place};
    use proxy::capture::kafka::read::Range;

    use super::*;

    /// Proves what a person is shown: zero only where nothing is left, a question mark where it is unknown.
    #[test]
    fn the_table_has_the_consoles_columns() {
        let now = cutover::Timestamp(1_795_000_000_000);
        let place = |committed, first, end, next| Place { committed, range: Range { first, end }, next };
        let at = |offset, ago: i64| Next::Record { offset, at_millis: Some(now.0 - ago) };
        let places = [
            place(Some(12), 0, 12, Next::None),
            place(Some(7), 0, 10, at(7, 75_400)),
            place(Some(7), 0, 10, at(7, 400)),
            place(Some(3), 5, 10, at(5, 3_600_000)),
            place(Some(12), 0, 10, Next::None),
        ];
        let places = (0..).zip(places).map(|(partition, place)| (("capture".to_owned(), partition), place)).collect();
        let seen = Group { state: Some("Stable".to_owned()), members: 1, places };
        expect![[r"
            TOPIC                          PARTITION  COMMITTED  END        LAG        PROBED-OFFSET  TIMESTAMP (UTC)       TIME-LAG   NOTE
            capture                        0          12         12         0          -              -                     0s
            capture                        1          7          10         3          7              2026-11-18T11:05:24Z  1m15s
            capture                        2          7          10         3          7              2026-11-18T11:06:39Z  400ms
            capture                        3          3          10         7          5              2026-11-18T10:06:40Z  1h         2 records expired unread
            capture                        4          12         10         ?          -              -                     ?          committed above the end: the topic was made anew
            group `replayer-target` is stable, with 1 in it; how far it is behind is not known
        "]]
        .assert_eq(&table(&Lags::of("replayer-target", seen, now)));
    }
}
