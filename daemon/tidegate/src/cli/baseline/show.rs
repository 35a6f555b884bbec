//! `tidegate baseline show`: what a baseline holds, for people and as JSON.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use cutover::Timestamp;
use cutover::baseline::{Class, Origin, Read};
use judge::record::{Depth, HOURS, Hour, HourOfWeek, OutageKind, Record};
use serde_json::{Value, json};

use crate::baselines;
use crate::cli::{Context, Exit};
use crate::clock::rfc3339;
use crate::screen::format;
use crate::screen::look::{Look, Signs, ascii};
use crate::screen::trend::block;

/// The arguments of `tidegate baseline show`.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The baseline.
    file: PathBuf,
    /// Print each hour in figures, too.
    #[arg(long)]
    hours: bool,
}

impl Show {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Exit> {
        print(&baselines::read(&self.file)?, self.hours, context)?;
        Ok(Exit::Done)
    }
}

/// Prints what a baseline holds.
pub(super) fn print(read: &Read, hours: bool, context: &Context) -> anyhow::Result<()> {
    if context.json {
        return context.print_json(&as_json(read));
    }
    // As in reports: what is written to a file is read elsewhere.
    let signs = if std::io::stdout().is_terminal() { Look::of_process().signs } else { Signs::Unicode };
    context.print(&page(read, hours, signs))
}

fn latency(hour: &judge::Counts) -> Option<[f64; 3]> {
    let quantile = |q| hour.latency.quantile_micros(q).map(|micros| micros / 1000.0);
    Some([quantile(0.5)?, quantile(0.9)?, quantile(0.99)?])
}

fn error_share(counts: &judge::Counts) -> Option<f64> {
    (counts.requests > 0).then(|| counts.errors() as f64 / counts.requests as f64)
}

fn minutes(millis: u64) -> u64 {
    millis / 60_000
}

/// Whether it is thin, why, and what that means.
fn depth(record: &Record) -> String {
    let hours = (record.to - record.from) as f64 / 3.6e6;
    match record.depth() {
        Depth::Week => "a week or more: each hour of the week has a normal of its own".to_owned(),
        Depth::Thin => {
            format!("thin: {hours:.1} h are on record, and a week has {HOURS}, so one normal is used for all hours")
        }
    }
}

fn as_json(read: &Read) -> Value {
    let document = &read.document;
    let record = &document.record;
    let normal = record.baseline.normal();
    let hours: Vec<Value> = record
        .hours
        .iter()
        .map(|hour| {
            json!({
                "hour": hour.hour, "name": hour.hour.to_string(), "minutes": minutes(hour.millis),
                "outage_minutes": minutes(hour.outage_millis), "requests": hour.counts.requests,
                "requests_a_minute": hour.requests_a_minute(), "errors": error_share(&hour.counts),
                "latency_ms": latency(&hour.counts),
            })
        })
        .collect();
    let outages: Vec<Value> = record
        .outages
        .iter()
        .map(|outage| {
            json!({
                "from": rfc3339(Timestamp(outage.from)), "to": rfc3339(Timestamp(outage.to)), "kind": outage.kind,
                "requests": outage.requests, "errors": outage.errors,
            })
        })
        .collect();
    json!({
        "service": document.service, "source": document.source, "origin": document.origin, "class": document.class,
        "reads_apart": document.reads.is_some(), "tool": document.tool, "written": rfc3339(document.written),
        "digest": read.digest, "from": rfc3339(Timestamp(record.from)), "to": rfc3339(Timestamp(record.to)),
        "seconds": (record.to - record.from) / 1000, "intervals": record.baseline.intervals(),
        "row_seconds": record.row_millis / 1000, "requests": record.baseline.requests(),
        "thin": record.depth() == Depth::Thin, "depth": depth(record),
        "errors": normal.errors, "errors_high": normal.errors_high, "bad": normal.bad,
        "latency_ms": latency(record.baseline.counts()),
        "dispersion": {
            "errors": normal.errors_phi, "bad": normal.bad_phi, "latency": normal.latency_phi,
            "requests": record.arrivals_phi,
        },
        "outage_minutes": minutes(record.outage_millis), "outages": outages,
        "troubled_minutes": minutes(record.troubled_millis), "hours": hours,
    })
}

fn page(read: &Read, hours: bool, signs: Signs) -> String {
    let mut text = String::new();
    head(read, &mut text);
    charts(&read.document.record, signs, &mut text);
    if hours {
        table(&read.document.record, &mut text);
    }
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    writeln!(text, "{name:<10} {value}").expect("text takes what is written");
}

fn head(read: &Read, text: &mut String) {
    let document = &read.document;
    let record = &document.record;
    let normal = record.baseline.normal();
    let origin = match document.origin {
        Origin::Proxies => "counted by",
        Origin::Daemon => "from what was known to",
        Origin::File => "imported from",
    };
    let class = match (document.class, &document.reads) {
        (Class::All, Some(_)) => "reads and writes, and reads alone",
        (Class::All, None) => "all requests; reads cannot be told apart",
        (Class::Reads, _) => "reads alone",
    };
    line(text, "baseline", &format!("of {}, {origin} {}", document.service, document.source));
    let length = std::time::Duration::from_millis((record.to - record.from).unsigned_abs());
    line(
        text,
        "recorded",
        &format!(
            "{} to {}: {} in {} intervals",
            rfc3339(Timestamp(record.from)),
            rfc3339(Timestamp(record.to)),
            format::duration(length),
            format::count(u64::from(record.baseline.intervals()))
        ),
    );
    line(text, "depth", &depth(record));
    line(text, "requests", &format!("{} ({class})", format::count(record.baseline.requests())));
    let errors = format!(
        "{} of requests, {} at most with 95 % certainty; {} are not 2XX or 3XX",
        format::share(normal.errors),
        format::share(normal.errors_high),
        format::share(normal.bad)
    );
    line(text, "errors", &errors);
    let latency = latency(record.baseline.counts()).map_or_else(
        || "not recorded: nothing is judged by it, and the shape is learnt during the cutover".to_owned(),
        |millis| {
            let [median, p90, p99] = millis.map(format::millis);
            format!("{median} median, {p90} 90th percentile, {p99} 99th percentile")
        },
    );
    line(text, "latency", &latency);
    let scatter = format!(
        "errors {:.1} over a minute and {:.1} over longer, requests {:.1}; 1 is what chance does",
        normal.errors_phi.minute, normal.errors_phi.longest, record.arrivals_phi
    );
    line(text, "scatter", &scatter);
    if record.row_millis > 60_000 {
        let seconds = record.row_millis / 1000;
        line(text, "", &format!("rows are up to {seconds} s long, so scatter within less than that is not known"));
    }
    outages(record, text);
    line(text, "written", &format!("{} by tidegate {}", rfc3339(document.written), document.tool));
    line(text, "digest", &read.digest);
}

fn outages(record: &Record, text: &mut String) {
    let troubled = minutes(record.troubled_millis);
    let left_out = minutes(record.outage_millis);
    if troubled > 0 {
        line(
            text,
            "outages",
            &format!(
                "{troubled} min look like outages and count as normal: there are too many of them to be accidents"
            ),
        );
    } else if left_out == 0 {
        line(text, "outages", "none");
    } else {
        line(text, "outages", &format!("{left_out} min were left out of what is normal:"));
    }
    for outage in &record.outages {
        let minutes = minutes((outage.to - outage.from).unsigned_abs());
        let what = match outage.kind {
            OutageKind::Failing => {
                format!("{} of {} requests failed", format::count(outage.errors), format::count(outage.requests))
            }
            OutageKind::Silent => format!("{} requests where there are usually many", format::count(outage.requests)),
        };
        line(text, "", &format!("{}, {minutes} min: {what}", rfc3339(Timestamp(outage.from))));
    }
}

/// A chart of a line for each day, for each of three figures.
fn charts(record: &Record, signs: Signs, text: &mut String) {
    type Figure = fn(&Hour) -> Option<f64>;
    type Words = fn(f64) -> String;
    let figures: [(&str, Figure, Words); 3] = [
        ("requests a minute", Hour::requests_a_minute, |most| format::count(most.round() as u64)),
        ("errors", |hour| error_share(&hour.counts), format::share),
        ("99th percentile of latency", |hour| latency(&hour.counts).map(|millis| millis[2]), format::millis),
    ];
    for (name, figure, words) in figures {
        let most = record.hours.iter().filter_map(figure).fold(0.0, f64::max);
        if most <= 0.0 {
            continue;
        }
        writeln!(text, "\n{name}, by hour of the week in UTC (the highest is {})", words(most)).expect("it is text");
        for day in 0..7 {
            let hours: Vec<Option<&Hour>> = (0..24).map(|hour| of(record, day * 24 + hour)).collect();
            if hours.iter().all(Option::is_none) {
                continue;
            }
            let chart: String = hours
                .iter()
                .map(|hour| hour.and_then(figure).map_or(' ', |value| block(value / most)))
                .map(|sign| if signs == Signs::Ascii && !sign.is_ascii() { ascii(sign) } else { sign })
                .collect();
            let name = HourOfWeek::try_from(day * 24).map(|hour| hour.to_string()).unwrap_or_default();
            writeln!(text, "  {} {}", name.split(' ').next().unwrap_or_default(), chart.trim_end())
                .expect("it is text");
        }
    }
}

fn of(record: &Record, hour: u8) -> Option<&Hour> {
    HourOfWeek::try_from(hour).ok().and_then(|hour| record.hour(hour))
}

fn table(record: &Record, text: &mut String) {
    text.push_str("\nhour     minutes  left out   requests/min     errors     median    90 %      99 %\n");
    for hour in &record.hours {
        let latency = latency(&hour.counts).map(|millis| millis.map(format::millis));
        let [median, p90, p99] = latency.unwrap_or_else(|| ["-", "-", "-"].map(str::to_owned));
        writeln!(
            text,
            "{:<8} {:>7} {:>9} {:>14} {:>10} {:>10} {:>9} {:>9}",
            hour.hour.to_string(),
            minutes(hour.millis),
            minutes(hour.outage_millis),
            hour.requests_a_minute().map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
            error_share(&hour.counts).map_or_else(|| "-".to_owned(), format::share),
            median,
            p90,
            p99
        )
        .expect("it is text");
    }
}

#[cfg(test)]
mod tests {
    use cutover::baseline;
    use expect_test::expect;

    use super::*;
    use crate::baselines::tests::document;

    fn read() -> Read {
        baseline::read(&baseline::write(&document()), "b.json").unwrap()
    }

    #[test]
    fn a_thin_baseline_says_what_it_is_and_why() {
        // Proves: how long, how thin and why, what was left out, and each hour as a sign and in figures.
        let text = page(&read(), true, Signs::Unicode);
        expect![[r"
            baseline   of search, imported from a test
            recorded   2026-01-05T00:00:00Z to 2026-01-05T02:00:00Z: 2 h 00 m in 120 intervals
            depth      thin: 2.0 h are on record, and a week has 168, so one normal is used for all hours
            requests   7,200 (all requests; reads cannot be told apart)
            errors     0 % of requests, 0.041 % at most with 95 % certainty; 0 % are not 2XX or 3XX
            latency    5.1 ms median, 5.1 ms 90th percentile, 5.1 ms 99th percentile
            scatter    errors 1.2 over a minute and 1.2 over longer, requests 1.0; 1 is what chance does
            outages    none
            written    2026-01-05T08:00:00Z by tidegate 0.1.0
            digest     d5ee8b1862edac3a0df934ea954d51e7c3b62c43df7893cf8beca3285d9e01de

            requests a minute, by hour of the week in UTC (the highest is 60)
              Mon ██

            99th percentile of latency, by hour of the week in UTC (the highest is 5.1 ms)
              Mon ██

            hour     minutes  left out   requests/min     errors     median    90 %      99 %
            Mon 00        60         0           60.0        0 %     5.1 ms    5.1 ms    5.1 ms
            Mon 01        60         0           60.0        0 %     5.1 ms    5.1 ms    5.1 ms
        "]]
        .assert_eq(&text);
        assert!(page(&read(), false, Signs::Ascii).is_ascii());
    }

    #[test]
    fn json_says_the_same() {
        // Proves: a script finds depth, length, hours and outages without parsing words.
        let value = as_json(&read());
        let pick = |key: &str| value[key].clone();
        assert_eq!((pick("thin"), pick("seconds"), pick("requests")), (true.into(), 7_200.into(), 7_200.into()));
        assert_eq!((pick("outage_minutes"), value["hours"].as_array().unwrap().len()), (0.into(), 2));
        assert_eq!(value["hours"][1]["name"], "Mon 01");
    }
}
