//! Counts that somebody else wrote down, read into a record: CSV or JSON, one row for each stretch of time.
//!
//! # Columns
//! | column | | what |
//! |---|---|---|
//! | `time` | must | when the row begins: RFC 3339 with a zone (`2026-01-05T00:00:00Z`), or seconds or milliseconds since 1970 |
//! | `requests` | must | requests of the source in this row |
//! | `5xx` | must | those answered 5XX; empty is none |
//! | `2xx`, `3xx`, `4xx` | may | those answered so; without `2xx`, all that no other column names |
//! | `failed` | may | those the source never answered: refused, reset, timed out |
//! | `abandoned` | may | those whose client left first |
//! | `le_25ms`, … `le_inf` | may | answers whose first byte took up to so long (`us`, `ms`, `s`), as running totals over the columns, as Prometheus has them |
//! | `service` | may | the service's name, checked against the one that was asked for |
//!
//! CSV has the columns' names in its first line, commas between fields and no quotes inside of them; empty lines and those
//! that begin with `#` do not count. JSON is an array of flat objects, or an object a line, with the same names as keys.
//! Rows are equally long (a second to an hour), in order of time and without gaps; a row without traffic says 0. With
//! [`Totals::Running`], each count is the total since some start, as a counter shows it, and must never fall.
//!
//! Answers between two bounds are spread over our finer buckets evenly in the logarithm of time; those below the first
//! bound over the octave below it, those above the last over the octave above.

use std::collections::BTreeMap;

use judge::record::{self, ROW_MILLIS_MAX, Record, Row};
use judge::{Counts, Histogram};
use serde_json::Value;

use super::Refusal;

/// The longest text that is read: eight weeks of minutes with thirty columns are half of it.
pub const IMPORT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most problems that are told of one file.
const PROBLEMS_MAX: usize = 20;
/// So many rows of requests that rise from each to the next are a counter that was not said to be one.
const RISING_ROWS_MIN: usize = 60;

/// What the counts of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Totals {
    /// Each row counts its own stretch of time.
    Each,
    /// Each row is the total since some start.
    Running,
}

/// One row as it stands in the file: its line, and the text of each column.
struct Cells {
    line: usize,
    cells: Vec<(String, String)>,
}

/// A row that was understood.
struct Read {
    line: usize,
    at: i64,
    counts: BTreeMap<Count, u64>,
    /// Upper bounds in microseconds (`u64::MAX` for all), with running totals.
    bounds: Vec<(u64, u64)>,
}

/// What is counted in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Count {
    Requests,
    Status2xx,
    Status3xx,
    Status4xx,
    Status5xx,
    Failed,
    Abandoned,
}

const COUNTS: [(&str, Count); 7] = [
    ("requests", Count::Requests),
    ("2xx", Count::Status2xx),
    ("3xx", Count::Status3xx),
    ("4xx", Count::Status4xx),
    ("5xx", Count::Status5xx),
    ("failed", Count::Failed),
    ("abandoned", Count::Abandoned),
];

const COLUMNS: &str = "time, requests, 2xx, 3xx, 4xx, 5xx, failed, abandoned, le_25ms (and the like), le_inf, service";

/// Problems as they are found.
struct Problems<'a> {
    name: &'a str,
    found: Vec<Refusal>,
}

impl Problems<'_> {
    fn add(&mut self, line: usize, what: impl Into<String>, hint: impl Into<String>) {
        if self.found.len() < PROBLEMS_MAX {
            let place = format!("{}:{line}", self.name);
            self.found.push(Refusal { place, what: what.into(), hint: hint.into() });
        }
    }
}

/// Reads a file into a record of `service`. `name` is how problems call the file.
///
/// # Errors
/// Every problem that was found, [`PROBLEMS_MAX`] at most, each with its line and what to do.
pub fn record(text: &str, name: &str, service: &str, totals: Totals) -> Result<Record, Vec<Refusal>> {
    let mut problems = Problems { name, found: Vec::new() };
    if text.len() > IMPORT_BYTES_MAX {
        let what = format!("{} bytes are more than is read ({IMPORT_BYTES_MAX})", text.len());
        problems.add(1, what, "eight weeks of minutes are enough; leave the oldest out");
        return Err(problems.found);
    }
    let text = text.trim_start_matches('\u{feff}');
    let cells = match text.trim_start().chars().next() {
        Some('[' | '{') => json(text, &mut problems),
        _ => csv(text, &mut problems),
    };
    let mut read: Vec<Read> = Vec::with_capacity(cells.len());
    for cells in &cells {
        read.extend(row(cells, service, &mut problems));
    }
    if !problems.found.is_empty() {
        problems
            .found
            .sort_by_key(|refusal| refusal.place.rsplit(':').next().and_then(|line| line.parse::<usize>().ok()));
        return Err(problems.found);
    }
    let (lines, rows) = placed(&read, totals, &mut problems);
    if !problems.found.is_empty() {
        return Err(problems.found);
    }
    Record::of(&rows).map_err(|record::Refusal { row, what, hint }| {
        let line = lines.get(row).or(lines.last()).copied().unwrap_or(1);
        vec![Refusal { place: format!("{name}:{line}"), what, hint }]
    })
}

fn csv(text: &str, problems: &mut Problems<'_>) -> Vec<Cells> {
    let said = |(_, line): &(usize, &str)| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let mut lines = text.lines().enumerate().filter(said);
    let Some((first, header)) = lines.next() else {
        problems.add(1, "the file is empty", format!("its first line names the columns: {COLUMNS}"));
        return Vec::new();
    };
    let fields =
        |line: &str| line.split(',').map(|field| field.trim().trim_matches('"').to_owned()).collect::<Vec<_>>();
    let names = fields(header);
    if names.len() == 1 && header.contains([';', '\t']) {
        problems.add(first + 1, "the columns are not separated by commas", "write it with commas");
        return Vec::new();
    }
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            problems.add(first + 1, format!("there are two columns `{name}`"), "leave one out");
        } else if !known(name) {
            problems.add(first + 1, format!("unknown column `{name}`"), suggestion(name));
        }
    }
    for (must, what) in [("time", "when a row begins"), ("requests", "how many there were"), ("5xx", "the errors")] {
        if !names.iter().any(|name| name == must) {
            problems.add(
                first + 1,
                format!("the column `{must}` is missing ({what})"),
                format!("columns are {COLUMNS}"),
            );
        }
    }
    if !problems.found.is_empty() {
        return Vec::new();
    }
    let mut rows = Vec::new();
    for (number, line) in lines {
        let fields = fields(line);
        if fields.len() == names.len() {
            rows.push(Cells { line: number + 1, cells: names.iter().cloned().zip(fields).collect() });
        } else {
            let what = format!("{} fields, and the first line names {} columns", fields.len(), names.len());
            problems.add(number + 1, what, "a field for each column; an empty one is nothing between two commas");
        }
    }
    rows
}

/// Objects one after the other, in an array or not; read one by one, since that tells where each begins.
fn json(text: &str, problems: &mut Problems<'_>) -> Vec<Cells> {
    let mut at = 0;
    let between = |c: char| c.is_whitespace() || c == ',';
    let skip = |at: usize, array: bool| {
        let rest = &text[at..];
        let mut rest = rest.trim_start_matches(between);
        if array {
            rest = rest.strip_prefix('[').unwrap_or(rest).trim_start_matches(between);
        }
        text.len() - rest.len()
    };
    at = skip(at, true);
    let line_of = |at: usize| text[..at].matches('\n').count() + 1;
    let mut rows = Vec::new();
    let mut lines = (0, 1);
    while at < text.len() && problems.found.len() < PROBLEMS_MAX {
        if text[at..].starts_with(']') {
            if !text[at + 1..].trim().is_empty() {
                problems.add(line_of(at), "there is something after the end of the array", "leave it out");
            }
            return rows;
        }
        // Lines are counted on from the last object: from the beginning each time would take for ever.
        lines = (at, lines.1 + text[lines.0..at].matches('\n').count());
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        match values.next() {
            Some(Ok(Value::Object(map))) => {
                let mut cells = Vec::with_capacity(map.len());
                for (name, value) in map {
                    if !known(&name) {
                        problems.add(lines.1, format!("unknown key `{name}`"), suggestion(&name));
                    }
                    match value {
                        Value::String(text) => cells.push((name, text)),
                        Value::Number(number) => cells.push((name, number.to_string())),
                        Value::Null => cells.push((name, String::new())),
                        _ => problems.add(lines.1, format!("`{name}` is no number"), "rows are flat objects"),
                    }
                }
                rows.push(Cells { line: lines.1, cells });
            }
            Some(Ok(_)) => {
                problems.add(lines.1, "this is no object", "rows are flat objects, in an array or one a line");
                return rows;
            }
            Some(Err(error)) => {
                let line = lines.1 + error.line().saturating_sub(1);
                // Its own line is counted from the object's.
                let what = error.to_string().split(" at line ").next().unwrap_or_default().to_owned();
                problems.add(line, format!("this is no JSON: {what}"), "was the file cut off?");
                return rows;
            }
            None => break,
        }
        at = skip(at + values.byte_offset(), false);
    }
    rows
}

fn known(name: &str) -> bool {
    name == "time" || name == "service" || COUNTS.iter().any(|(known, _)| *known == name) || bound(name).is_some()
}

/// What was meant by an unknown column.
fn suggestion(name: &str) -> String {
    let plain = name.to_lowercase();
    let meant = match plain.as_str() {
        "timestamp" | "date" | "at" | "start" => Some("time"),
        "count" | "total" | "request_count" | "requestcount" => Some("requests"),
        "errors" | "error" | "status_5xx" | "httpcode_target_5xx_count" => Some("5xx"),
        "status_2xx" | "ok" | "httpcode_target_2xx_count" => Some("2xx"),
        "status_3xx" | "httpcode_target_3xx_count" => Some("3xx"),
        "status_4xx" | "httpcode_target_4xx_count" => Some("4xx"),
        _ if plain.starts_with("le") => Some("le_25ms"),
        _ => COUNTS
            .iter()
            .map(|(known, _)| (*known, strsim::jaro_winkler(&plain, known)))
            .filter(|(_, likeness)| *likeness > 0.8)
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(known, _)| known),
    };
    match meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("leave it out; known are {COLUMNS}"),
    }
}

/// The upper bound of a latency column, in microseconds.
fn bound(name: &str) -> Option<u64> {
    let bound = name.strip_prefix("le_")?;
    if bound == "inf" {
        return Some(u64::MAX);
    }
    let (number, micros) = [("us", 1.0), ("ms", 1e3), ("s", 1e6)]
        .iter()
        .find_map(|(unit, micros)| Some((bound.strip_suffix(unit)?.parse::<f64>().ok()?, *micros)))?;
    let micros = number * micros;
    (1.0..=4e9).contains(&micros).then_some(micros.round() as u64)
}

fn row(cells: &Cells, service: &str, problems: &mut Problems<'_>) -> Option<Read> {
    let line = cells.line;
    let before = problems.found.len();
    let mut read = Read { line, at: 0, counts: BTreeMap::new(), bounds: Vec::new() };
    let mut timed = false;
    for (name, text) in &cells.cells {
        match name.as_str() {
            "service" if text != service => problems.add(
                line,
                format!("this row is of `{text}`, and the baseline is to be of `{service}`"),
                "leave the rows of other services out, or name the right one with --service",
            ),
            "service" => {}
            "time" => match moment(text) {
                Ok(at) => (read.at, timed) = (at, true),
                Err(what) => problems.add(line, what, "write `2026-01-05T00:00:00Z`, or seconds since 1970"),
            },
            _ => {
                let count = COUNTS.iter().find(|(known, _)| known == name).map(|(_, count)| *count);
                match (number(text), count) {
                    (Ok(None), Some(Count::Requests)) => problems.add(
                        line,
                        "`requests` is empty: nobody knows what happened here",
                        "write 0 where nothing came, or cut the file where numbers are missing",
                    ),
                    (Ok(value), Some(count)) => {
                        read.counts.insert(count, value.unwrap_or(0));
                    }
                    (Ok(value), None) => read.bounds.extend(bound(name).map(|bound| (bound, value.unwrap_or(0)))),
                    (Err(what), _) => problems.add(line, format!("`{name}` {what}"), "counts are whole numbers from 0"),
                }
            }
        }
    }
    if problems.found.len() == before {
        for (must, missing) in [
            ("time", !timed),
            ("requests", !read.counts.contains_key(&Count::Requests)),
            ("5xx", !read.counts.contains_key(&Count::Status5xx)),
        ] {
            if missing {
                problems.add(line, format!("`{must}` is missing"), format!("keys are {COLUMNS}"));
            }
        }
    }
    read.bounds.sort_unstable();
    if let Some(pair) = read.bounds.windows(2).find(|pair| pair[0].1 > pair[1].1) {
        let what = format!("fewer answers within a longer time ({} after {})", pair[1].1, pair[0].1);
        problems.add(line, what, "latency columns are running totals: each holds those of the shorter bounds, too");
    }
    (problems.found.len() == before).then_some(read)
}

/// A moment as milliseconds since 1970.
fn moment(text: &str) -> Result<i64, String> {
    if let Ok(number) = text.parse::<f64>() {
        // Seconds until the year 5138; larger numbers are milliseconds.
        let millis = if number < 1e11 { number * 1000.0 } else { number };
        return if (1e11..1e14).contains(&millis) {
            Ok(millis.round() as i64)
        } else {
            Err(format!("`{text}` is no time of this age"))
        };
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(moment) => Ok(moment.as_millisecond()),
        Err(_) => Err(format!("`{text}` is no time with a zone")),
    }
}

/// A count; `None` of nothing.
fn number(text: &str) -> Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(number) = text.parse::<u64>() {
        return Ok(Some(number));
    }
    // CloudWatch writes sums as `123.0`.
    match text.parse::<f64>() {
        Ok(number) if number.fract() == 0.0 && (0.0..9e15).contains(&number) => Ok(Some(number as u64)),
        Ok(number) if number < 0.0 => Err(format!("is {text}, less than nothing")),
        Ok(_) => Err(format!("is {text}, which is no count: a rate or a share?")),
        Err(_) => Err(format!("is `{text}`, which is no number")),
    }
}

/// Rows with their length, and the line of each.
fn placed(read: &[Read], totals: Totals, problems: &mut Problems<'_>) -> (Vec<usize>, Vec<Row>) {
    let nothing = (Vec::new(), Vec::new());
    for pair in read.windows(2) {
        if pair[1].at <= pair[0].at {
            let what = format!("its time is not after that of line {}", pair[0].line);
            problems.add(pair[1].line, what, "rows come in order of time, each once");
            return nothing;
        }
    }
    let Some(step) = read.windows(2).map(|pair| pair[1].at - pair[0].at).min() else {
        problems.add(read.first().map_or(1, |row| row.line), "fewer than two rows are no record", "record for longer");
        return nothing;
    };
    let millis = u64::try_from(step).unwrap_or(u64::MAX);
    if millis > ROW_MILLIS_MAX {
        let what = format!("rows are {:.1} h apart", millis as f64 / 3.6e6);
        problems.add(read[1].line, what, "an hour at most; minutes are best");
        return nothing;
    }
    let parts: Vec<(usize, i64, Counts)> = match totals {
        Totals::Each => read.iter().map(|row| (row.line, row.at, counts(&row.counts, &row.bounds))).collect(),
        Totals::Running => {
            let mut parts = Vec::with_capacity(read.len());
            for pair in read.windows(2) {
                match since(&pair[0], &pair[1]) {
                    Ok((of, bounds)) => parts.push((pair[1].line, pair[0].at, counts(&of, &bounds))),
                    Err(what) => problems.add(
                        pair[1].line,
                        what,
                        "the counter began anew: cut the file there, or give the counts of each row without --totals",
                    ),
                }
            }
            parts
        }
    };
    let rising = parts.windows(2).all(|pair| pair[0].2.requests < pair[1].2.requests);
    if totals == Totals::Each && rising && parts.len() >= RISING_ROWS_MIN {
        problems.add(
            read[0].line,
            format!("`requests` rises in each of {} rows: these are running totals", parts.len()),
            "say --totals",
        );
    }
    let lines = parts.iter().map(|(line, ..)| *line).collect();
    (lines, parts.into_iter().map(|(_, from, counts)| Row { from, millis, counts }).collect())
}

/// What was counted from one total to the next.
#[expect(clippy::type_complexity, reason = "the two halves of a row, taken apart at the one place that calls this")]
fn since(earlier: &Read, later: &Read) -> Result<(BTreeMap<Count, u64>, Vec<(u64, u64)>), String> {
    let back = |name: &str, from: u64, to: u64| format!("`{name}` ran backwards, from {from} to {to}");
    let mut of = BTreeMap::new();
    for (name, count) in COUNTS {
        let Some(&to) = later.counts.get(&count) else { continue };
        let from = earlier.counts.get(&count).copied().unwrap_or(0);
        of.insert(count, to.checked_sub(from).ok_or_else(|| back(name, from, to))?);
    }
    let mut bounds = Vec::with_capacity(later.bounds.len());
    for &(bound, to) in &later.bounds {
        let from = earlier.bounds.iter().find(|(known, _)| *known == bound).map_or(0, |(_, total)| *total);
        bounds.push((bound, to.checked_sub(from).ok_or_else(|| back("a latency column", from, to))?));
    }
    Ok((of, bounds))
}

fn counts(of: &BTreeMap<Count, u64>, bounds: &[(u64, u64)]) -> Counts {
    let get = |count| of.get(&count).copied().unwrap_or(0);
    let mut counts = Counts {
        requests: get(Count::Requests),
        status_2xx: get(Count::Status2xx),
        status_3xx: get(Count::Status3xx),
        status_4xx: get(Count::Status4xx),
        status_5xx: get(Count::Status5xx),
        failed: get(Count::Failed),
        abandoned: get(Count::Abandoned),
        latency: spread(bounds),
        exchange: Histogram::default(),
    };
    if !of.contains_key(&Count::Status2xx) {
        let others = [counts.status_3xx, counts.status_4xx, counts.status_5xx, counts.failed, counts.abandoned];
        let others = others.iter().fold(0u64, |sum, other| sum.saturating_add(*other));
        counts.status_2xx = counts.requests.saturating_sub(others);
    }
    counts
}

/// How many of our buckets an octave has.
const OCTAVE: u16 = 16;

/// Running totals at bounds as a histogram in our buckets.
fn spread(bounds: &[(u64, u64)]) -> Histogram {
    let mut histogram = Histogram::default();
    let mut below: Option<u16> = None;
    let mut counted = 0;
    for &(bound, total) in bounds {
        let upper = match (bound, below) {
            (u64::MAX, Some(below)) => below + OCTAVE,
            // Without any other bound nothing is known of how long they took.
            (u64::MAX, None) => return histogram,
            (bound, _) => Histogram::bucket_of(bound),
        };
        let lower = below.unwrap_or_else(|| upper.saturating_sub(OCTAVE));
        let buckets = u64::from(upper.saturating_sub(lower)).max(1);
        let count = total.saturating_sub(counted);
        for part in 1..=buckets {
            // Shares of a whole number, so that nothing is lost to rounding.
            let until = |part: u64| (u128::from(count) * u128::from(part) / u128::from(buckets)) as u64;
            let bucket = upper.saturating_sub(u16::try_from(buckets - part).unwrap_or(0));
            histogram.add(bucket, until(part) - until(part - 1));
        }
        counted = counted.max(total);
        below = Some(upper);
    }
    histogram
}

#[cfg(test)]
mod tests;
