//! The counters for Prometheus, in its text format 0.0.4 ("Exposition formats").
//!
//! Each series is there from the start, so that one that grows is never one that was made: a reader who looks at
//! differences would not know what it began with. Response times have the buckets of [`judge::Histogram`] from 64 µs to 67 s,
//! all of them: the judge's default tolerance is one bucket, and coarser ones could not carry it. That makes some thirteen
//! hundred series of a proxy.

use std::fmt::Write as _;

use judge::{Counts, Histogram};

use crate::api::{CaptureStatus, Counters, SideCounters};

/// The media type of the answer.
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The first bound: 64 µs.
const FIRST: u16 = 96;

/// The last: 67 s.
const LAST: u16 = 416;

/// One counter with a label of its own, and what it is of a side and class.
type Counted = (&'static str, fn(&Counts) -> u64);

const ANSWERS: [Counted; 4] = [
    ("code=\"2xx\",", |counts| counts.status_2xx),
    ("code=\"3xx\",", |counts| counts.status_3xx),
    ("code=\"4xx\",", |counts| counts.status_4xx),
    ("code=\"5xx\",", |counts| counts.status_5xx),
];

/// A figure of capture: its name, what it is, of which kind, and its value.
type OfCapture = (&'static str, &'static str, &'static str, fn(&CaptureStatus) -> u64);

const CAPTURE: [OfCapture; 10] = [
    ("capture_works", "Whether the capture log takes records", "gauge", |capture| u64::from(capture.works)),
    ("capture_safe_total", "Records the capture log has", "counter", |capture| capture.safe),
    ("capture_lost_total", "Records the capture log lost", "counter", |capture| capture.lost),
    ("capture_not_given_total", "Records that a failing or full log was not given", "counter", |capture| {
        capture.not_given
    }),
    ("capture_under_way_bytes", "Bytes that wait for the capture log", "gauge", |capture| capture.under_way_bytes),
    ("capture_oldest_milliseconds", "How long the oldest record waits for the capture log", "gauge", |capture| {
        capture.oldest_millis
    }),
    ("capture_life", "Times the capture log lost what it had acknowledged", "gauge", |capture| capture.life),
    (
        "capture_losses_total",
        "Requests forwarded uncaptured, and times the log lost what it had, since capture began, both sides",
        "counter",
        |capture| capture.losses,
    ),
    ("capture_losses_unlisted_total", "How many of capture_losses_total could not be listed", "counter", |capture| {
        capture.losses_unlisted + capture.losses_unlisted_before
    }),
    (
        "capture_phantoms_total",
        "Requests refused that the log may have all the same, since capture began, both sides",
        "counter",
        |capture| capture.phantoms,
    ),
];

/// Everything counted so far.
pub(crate) fn text(counters: &Counters, capture: &[CaptureStatus]) -> String {
    let mut text = String::with_capacity(128 * 1024);
    let requests: Counted = ("", |counts| counts.requests);
    family(&mut text, counters, "requests_total", "Requests that belong to a side, by class", &[requests]);
    family(&mut text, counters, "responses_total", "Answers of a side, by class and status class", &ANSWERS);
    let failed: Counted = ("", |counts| counts.failed);
    family(&mut text, counters, "failed_total", "Requests a side failed to answer, by class", &[failed]);
    let abandoned: Counted = ("", |counts| counts.abandoned);
    let what = "Requests whose client left before the side answered, by class";
    family(&mut text, counters, "abandoned_total", what, &[abandoned]);
    head(&mut text, "latency_seconds", "Last request byte sent to first response byte, by side and class", "histogram");
    for (side, class, counts) in each(counters) {
        histogram(&mut text, &format!("side=\"{side}\",class=\"{class}\""), &counts.latency);
    }
    for (name, what, kind, value) in CAPTURE.iter().filter(|_| !capture.is_empty()) {
        head(&mut text, name, what, kind);
        for capture in capture {
            let (side, sink, value) = (&capture.side, &capture.sink, value(capture));
            writeln!(text, "tidegate_proxy_{name}{{side=\"{side}\",sink=\"{sink}\"}} {value}")
                .expect("a String takes everything");
        }
    }
    text
}

fn each(counters: &Counters) -> impl Iterator<Item = (&'static str, &'static str, &Counts)> {
    [(&counters.source, "source"), (&counters.target, "target")].into_iter().flat_map(
        |(counted, side): (&SideCounters, _)| [(side, "reads", &counted.reads), (side, "writes", &counted.writes)],
    )
}

fn head(text: &mut String, name: &str, what: &str, kind: &str) {
    writeln!(text, "# HELP tidegate_proxy_{name} {what}\n# TYPE tidegate_proxy_{name} {kind}")
        .expect("a String takes everything");
}

fn family(text: &mut String, counters: &Counters, name: &str, what: &str, counted: &[Counted]) {
    head(text, name, what, "counter");
    for (side, class, counts) in each(counters) {
        for (label, value) in counted {
            let value = value(counts);
            writeln!(text, "tidegate_proxy_{name}{{{label}side=\"{side}\",class=\"{class}\"}} {value}")
                .expect("a String takes everything");
        }
    }
}

/// A histogram by its upper bounds. No sum: buckets are what is counted, and a sum of their bounds would only look exact.
fn histogram(text: &mut String, labels: &str, histogram: &Histogram) {
    let mut counted = histogram.iter().peekable();
    let mut upto = 0;
    for bucket in FIRST..=LAST {
        while let Some((_, count)) = counted.next_if(|(place, _)| *place <= bucket) {
            upto += count;
        }
        let bound = Histogram::upper_micros(bucket) / 1e6;
        writeln!(text, "tidegate_proxy_latency_seconds_bucket{{{labels},le=\"{bound}\"}} {upto}")
            .expect("a String takes everything");
    }
    let total = histogram.total();
    writeln!(
        text,
        "tidegate_proxy_latency_seconds_bucket{{{labels},le=\"+Inf\"}} {total}\ntidegate_proxy_latency_seconds_count{{{labels}}} {total}"
    )
    .expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that each series is there before anything was counted, that counts are in the series that is named for them, and
    /// that buckets are cumulative up to all that was counted.
    #[test]
    fn every_series_is_there_from_the_start() {
        let lines = |counters: &Counters| -> Vec<String> {
            text(counters, &[]).lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
        };
        let mut counters = Counters::default();
        let before = lines(&counters);
        assert!(before.iter().all(|line| line.ends_with(" 0")), "nothing was counted");
        let writes = &mut counters.target.writes;
        (writes.requests, writes.status_5xx, writes.failed) = (9, 2, 7);
        for (micros, count) in [(1, 3), (70_000, 4), (200_000_000, 2)] {
            writes.latency.record(micros, count);
        }
        let after = lines(&counters);
        let names = |lines: &[String]| -> Vec<String> {
            lines.iter().filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
        };
        assert_eq!(names(&before), names(&after));
        let of = |name: &str| {
            let found = after.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            found.unwrap_or_else(|| panic!("no {name}")).to_owned()
        };
        assert_eq!(of("tidegate_proxy_requests_total{side=\"target\",class=\"writes\"}"), "9");
        assert_eq!(of("tidegate_proxy_responses_total{code=\"5xx\",side=\"target\",class=\"writes\"}"), "2");
        assert_eq!(of("tidegate_proxy_failed_total{side=\"target\",class=\"writes\"}"), "7");
        assert_eq!(of("tidegate_proxy_failed_total{side=\"source\",class=\"writes\"}"), "0");
        let bucket =
            |le: &str| format!("tidegate_proxy_latency_seconds_bucket{{side=\"target\",class=\"writes\",le=\"{le}\"}}");
        assert_eq!([of(&bucket("0.000064")), of(&bucket("0.065536")), of(&bucket("67.108864"))], ["3", "3", "7"]);
        assert_eq!(of(&bucket("+Inf")), "9");
    }
}
