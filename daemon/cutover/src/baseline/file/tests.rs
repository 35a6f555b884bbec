//! Files that make a record, and what is said of those that do not.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

const HEAD: &str = "time,requests,2xx,4xx,5xx,le_10ms,le_100ms,le_inf\n";

fn minutes(of: impl Fn(i64) -> Option<String>) -> String {
    let mut text = HEAD.to_owned();
    for minute in 0..90 {
        if let Some(rest) = of(minute) {
            writeln!(text, "{},{rest}", 1_767_571_200 + minute * 60).unwrap();
        }
    }
    text
}

fn read(text: &str) -> Result<Record, String> {
    record(text, "b.csv", "search", Totals::Each).map_err(|refusals| told(&refusals))
}

fn told(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn refused(text: &str, expected: &Expect) {
    expected.assert_eq(&read(text).map(|_| ()).unwrap_err());
}

#[test]
fn csv_and_json_say_the_same() {
    // Proves: the same minutes in both forms, array or lines, give the same record.
    let csv = minutes(|at| Some(format!("100,98,1,{},30,90,100", at % 2)));
    let record = read(&csv).unwrap();
    assert_eq!((record.baseline.intervals(), record.baseline.requests()), (90, 9_000));
    assert_eq!(record.baseline.counts().status_5xx, 45);
    let latency = &record.baseline.counts().latency;
    assert_eq!(latency.total(), 9_000);
    assert_eq!(latency.above(Histogram::bucket_of(10_000)), 6_300);
    assert_eq!(latency.above(Histogram::bucket_of(100_000)), 900);
    let rows: Vec<String> = csv
        .lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            let time = jiff::Timestamp::from_second(fields[0].parse().unwrap()).unwrap();
            format!(
                "{{\"time\":\"{time}\",\"requests\":{}.0,\"2xx\":98,\"4xx\":1,\"5xx\":{},\"le_0.01s\":30,\"le_100ms\":90,\"le_inf\":100,\"service\":\"search\"}}",
                fields[1], fields[4]
            )
        })
        .collect();
    assert_eq!(read(&format!("[\n{}\n]\n", rows.join(",\n"))).unwrap(), record);
    assert_eq!(read(&rows.join("\n")).unwrap(), record);
}

#[test]
fn running_totals_are_taken_apart_and_may_not_fall() {
    // Proves: a counter's readings give what was counted between them; one that began anew is refused by its line.
    let counter = |reset: i64| {
        minutes(|at| {
            let at = if at >= reset { at - reset } else { at };
            Some(format!("{},{},0,{at},{},{},{}", 100 * at, 99 * at, 50 * at, 90 * at, 100 * at))
        })
    };
    let sound = record(&counter(1_000), "b.csv", "search", Totals::Running).unwrap();
    assert_eq!((sound.baseline.requests(), sound.baseline.counts().errors()), (8_900, 89));
    let back = told(&record(&counter(50), "b.csv", "search", Totals::Running).unwrap_err());
    expect!["b.csv:52: `requests` ran backwards, from 4900 to 0 (hint: the counter began anew: cut the file there, or give the counts of each row without --totals)"].assert_eq(&back);
    refused(
        &counter(1_000),
        &expect!["b.csv:2: `requests` rises in each of 90 rows: these are running totals (hint: say --totals)"],
    );
}

#[test]
fn gaps_and_disorder_are_refused_by_their_line() {
    // Proves: a missing minute, one that comes twice and one before its time are no record.
    let row = || Some("100,99,0,1,0,0,0".to_owned());
    refused(
        &minutes(|at| if (7..9).contains(&at) { None } else { row() }),
        &expect![
            "b.csv:9: 120 s are missing before it (hint: give the rows of that time, with zeros if nothing came, or cut there)"
        ],
    );
    let twice = minutes(|_| row());
    refused(
        &format!("{twice}{}\n", twice.lines().nth(5).unwrap()),
        &expect!["b.csv:92: its time is not after that of line 91 (hint: rows come in order of time, each once)"],
    );
    refused(
        &twice.lines().take(2).collect::<Vec<_>>().join("\n"),
        &expect!["b.csv:2: fewer than two rows are no record (hint: record for longer)"],
    );
    refused(
        "time,requests,5xx\n0,1,1\n2026-01-05,1,1\n2026-01-05T02:00:00Z,2,0\n",
        &expect![["
            b.csv:2: `0` is no time of this age (hint: write `2026-01-05T00:00:00Z`, or seconds since 1970)
            b.csv:3: `2026-01-05` is no time with a zone (hint: write `2026-01-05T00:00:00Z`, or seconds since 1970)"]],
    );
    refused(
        "time,requests,5xx\n2026-01-05T00:00:00Z,1,1\n2026-01-05T02:00:00Z,2,0\n",
        &expect!["b.csv:3: rows are 2.0 h apart (hint: an hour at most; minutes are best)"],
    );
}

#[test]
fn every_problem_of_a_row_is_told_with_what_to_do() {
    // Proves: unknown columns, other services, rates, negative and contradicting counts are refused by line.
    refused(
        "",
        &expect![
            "b.csv:1: the file is empty (hint: its first line names the columns: time, requests, 2xx, 3xx, 4xx, 5xx, failed, abandoned, le_25ms (and the like), le_inf, service)"
        ],
    );
    refused(
        "timestamp,RequestCount,errors,p99\n",
        &expect![["
            b.csv:1: unknown column `timestamp` (hint: did you mean `time`?)
            b.csv:1: unknown column `RequestCount` (hint: did you mean `requests`?)
            b.csv:1: unknown column `errors` (hint: did you mean `5xx`?)
            b.csv:1: unknown column `p99` (hint: leave it out; known are time, requests, 2xx, 3xx, 4xx, 5xx, failed, abandoned, le_25ms (and the like), le_inf, service)
            b.csv:1: the column `time` is missing (when a row begins) (hint: columns are time, requests, 2xx, 3xx, 4xx, 5xx, failed, abandoned, le_25ms (and the like), le_inf, service)
            b.csv:1: the column `requests` is missing (how many there were) (hint: columns are time, requests, 2xx, 3xx, 4xx, 5xx, failed, abandoned, le_25ms (and the like), le_inf, service)
            b.csv:1: the column `5xx` is missing (the errors) (hint: columns are time, requests, 2xx, 3xx, 4xx, 5xx, failed, abandoned, le_25ms (and the like), le_inf, service)"]],
    );
    refused(
        "time;requests;5xx\n",
        &expect!["b.csv:1: the columns are not separated by commas (hint: write it with commas)"],
    );
    refused(
        "time,requests,5xx,service\n1767571200,1.5,0,search\n1767571260,-3,0,search\n\n# two more\n1767571320,,0,orders\n1767571380,9\n1767571440,x,,search\n",
        &expect![["
            b.csv:2: `requests` is 1.5, which is no count: a rate or a share? (hint: counts are whole numbers from 0)
            b.csv:3: `requests` is -3, less than nothing (hint: counts are whole numbers from 0)
            b.csv:6: `requests` is empty: nobody knows what happened here (hint: write 0 where nothing came, or cut the file where numbers are missing)
            b.csv:6: this row is of `orders`, and the baseline is to be of `search` (hint: leave the rows of other services out, or name the right one with --service)
            b.csv:7: 2 fields, and the first line names 4 columns (hint: a field for each column; an empty one is nothing between two commas)
            b.csv:8: `requests` is `x`, which is no number (hint: counts are whole numbers from 0)"]],
    );
    refused(
        "time,requests,5xx\n1767571200,5,0\n1767571260,5,6\n",
        &expect![
            "b.csv:3: 6 requests ended where only 5 were counted (hint: counts are of this stretch alone, and each request has one outcome)"
        ],
    );
    refused(
        "time,requests,5xx,le_10ms,le_20ms\n1767571200,5,0,4,3\n1767571260,5,0,3,4\n",
        &expect![
            "b.csv:2: fewer answers within a longer time (3 after 4) (hint: latency columns are running totals: each holds those of the shorter bounds, too)"
        ],
    );
}

#[test]
fn json_that_is_none_is_refused_by_its_line() {
    // Proves: cut off, nested and unknown keys, each with the line of its object.
    let good = "{\"time\":1767571200,\"requests\":5,\"5xx\":0}";
    refused(
        &format!("[\n{good},\n{{\"time\":1767571260,\"requ"),
        &expect!["b.csv:3: this is no JSON: EOF while parsing a string (hint: was the file cut off?)"],
    );
    refused(
        &format!("{good}\n\n{{\"time\":1767571260,\"count\":5,\"5xx\":[0]}}"),
        &expect![["
            b.csv:3: unknown key `count` (hint: did you mean `requests`?)
            b.csv:3: `5xx` is no number (hint: rows are flat objects)
            b.csv:3: `requests` is missing (hint: keys are time, requests, 2xx, 3xx, 4xx, 5xx, failed, abandoned, le_25ms (and the like), le_inf, service)
            b.csv:3: `5xx` is missing (hint: keys are time, requests, 2xx, 3xx, 4xx, 5xx, failed, abandoned, le_25ms (and the like), le_inf, service)"]],
    );
    refused(
        &format!("[{good}]\n\n[{good}]"),
        &expect!["b.csv:1: there is something after the end of the array (hint: leave it out)"],
    );
    refused("[1, 2]", &expect!["b.csv:1: this is no object (hint: rows are flat objects, in an array or one a line)"]);
    refused(
        "{\"rows\":[]}",
        &expect![["
            b.csv:1: unknown key `rows` (hint: leave it out; known are time, requests, 2xx, 3xx, 4xx, 5xx, failed, abandoned, le_25ms (and the like), le_inf, service)
            b.csv:1: `rows` is no number (hint: rows are flat objects)
            b.csv:1: `time` is missing (hint: keys are time, requests, 2xx, 3xx, 4xx, 5xx, failed, abandoned, le_25ms (and the like), le_inf, service)
            b.csv:1: `requests` is missing (hint: keys are time, requests, 2xx, 3xx, 4xx, 5xx, failed, abandoned, le_25ms (and the like), le_inf, service)
            b.csv:1: `5xx` is missing (hint: keys are time, requests, 2xx, 3xx, 4xx, 5xx, failed, abandoned, le_25ms (and the like), le_inf, service)"]],
    );
}

proptest! {
    #[test]
    fn no_answer_is_lost_between_bounds(totals in prop::collection::vec(0u64..1_000_000, 1..12), open: bool) {
        // Proves: however coarse the bounds, each answer is in the histogram once, on the right side of each bound.
        let mut sum = 0;
        let mut bounds: Vec<(u64, u64)> = totals
            .iter()
            .enumerate()
            .map(|(index, count)| {
                sum += count;
                (1_000u64 << index, sum)
            })
            .collect();
        if open {
            bounds.push((u64::MAX, sum + 5));
        }
        let histogram = spread(&bounds);
        prop_assert_eq!(histogram.total(), bounds.last().unwrap().1);
        for &(bound, total) in bounds.iter().filter(|(bound, _)| *bound != u64::MAX) {
            prop_assert_eq!(histogram.total() - histogram.above(Histogram::bucket_of(bound)), total);
        }
    }

    #[test]
    fn no_text_panics(text in "(time|requests|5xx|le_1ms|[0-9a-z,.\\[\\]{}\":\n-]){0,60}") {
        // Proves: whatever a file says, it is a record or a list of problems.
        let told = record(&text, "b", "search", Totals::Running);
        prop_assert!(told.is_ok() || !told.unwrap_err().is_empty());
    }
}
