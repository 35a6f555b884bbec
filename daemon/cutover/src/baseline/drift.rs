//! Whether the source is still as its recorded baseline says: the source now against the same hour of the week.
//!
//! A baseline ages: traffic grows, a release makes answers slower. What is judged by an old one is judged by the past.
//! The limits here are wide, because they shall find a baseline that is no longer about this service, not a bad minute;
//! the source of the same minute stays the first reference in any case.

use std::time::Duration;

use judge::record::{Depth, HourNormal, HourOfWeek};
use judge::{Block, Counts};

use super::Given;
use crate::event::{Check, CheckOutcome};
use crate::policy::OnBaselineDrift;
use crate::units::Timestamp;

/// The name of the check.
pub const DRIFT_CHECK: &str = "baseline drift";

/// How long the source is looked at, where it has been counted for so long...
pub const LOOK: Duration = Duration::from_mins(1);
/// ...and the least that says anything.
pub const LOOK_MIN: Duration = Duration::from_secs(10);

/// The rate has drifted when it is this many times the baseline's, or that part of it.
const RATE_TIMES: f64 = 2.0;
/// So has the share of errors; twice as wide, since errors come in bursts.
const ERRORS_TIMES: f64 = 4.0;
/// A quantile of latency has, when it is this many times the baseline's, or that part of it.
const LATENCY_TIMES: f64 = 1.5;
/// Fewer requests or errors than this, expected or seen, are no rate.
const EXPECTED_MIN: f64 = 30.0;
const ERRORS_MIN: f64 = 10.0;
/// How many answers must lie beyond a quantile for it to be compared.
const BEYOND_MIN: f64 = 20.0;
/// The quantiles that are compared.
const QUANTILES: [(f64, &str); 3] = [(0.50, "median"), (0.90, "90th percentile"), (0.99, "99th percentile")];

/// What the baseline says of one stretch of time.
struct Expected {
    /// In words, what is compared with.
    what: String,
    /// Requests a minute; `None` where no such hour is on record.
    rate: Option<f64>,
    errors: f64,
    quantiles: Option<[f64; 3]>,
}

impl Expected {
    fn of(given: &Given, at: Timestamp) -> Self {
        let hour = HourOfWeek::of(at.0);
        // For what is told here a single hour of a thin record will do; nothing is judged by it.
        let known = given.week.normal(hour, &given.baseline);
        if let Some(HourNormal { requests_a_minute, errors, latency_micros, .. }) = known {
            return Self {
                what: format!("{hour}:00 UTC of the baseline"),
                rate: Some(requests_a_minute),
                errors,
                quantiles: latency_micros,
            };
        }
        let latency = &given.baseline.counts().latency;
        let quantiles = QUANTILES.map(|(q, _)| latency.quantile_micros(q).unwrap_or(0.0));
        Self {
            what: "the baseline as a whole (it lacks this hour)".to_owned(),
            rate: None,
            errors: given.baseline.normal().errors,
            quantiles: (latency.total() > 0).then_some(quantiles),
        }
    }
}

/// The check: `now` is what both sides did in a stretch of about a minute that ended at `at`, of the class of requests
/// that the policy judges. Errors and latency are the source's; the rate is that of both sides, since a target may have
/// a share already.
pub fn drift(given: &Given, now: &Block, at: Timestamp, on_drift: OnBaselineDrift) -> Check {
    let expected = Expected::of(given, at);
    let minutes = now.millis as f64 / 60_000.0;
    let source = &now.source;
    let requests = source.requests.saturating_add(now.target.requests) as f64;
    let mut drifted: Vec<String> = Vec::new();
    drifted.extend(rate(&expected, requests, minutes));
    drifted.extend(errors(&expected, source));
    drifted.extend(latency(&expected, source));
    let thin = match given.depth {
        Depth::Week => String::new(),
        Depth::Thin => format!(
            "; the baseline is thin ({:.1} h, and a week has 168)",
            given.to.since(given.from).as_secs_f64() / 3600.0
        ),
    };
    let now = seen(source, requests, minutes);
    let figures = format!("{}: {}; now, over {:.0} s: {now}{thin}", expected.what, usual(&expected), minutes * 60.0);
    let name = DRIFT_CHECK.to_owned();
    if drifted.is_empty() {
        return Check::new(name, CheckOutcome::Pass, figures, "");
    }
    let outcome = match on_drift {
        OnBaselineDrift::Warn => CheckOutcome::Warn,
        OnBaselineDrift::Refuse => CheckOutcome::Fail,
    };
    let fix = "find out what changed at the source; if that is how it is now, record a new baseline with `tidegate \
               baseline record`"
        .to_owned();
    Check::new(name, outcome, format!("{}; {figures}", drifted.join(", ")), &fix)
}

fn rate(expected: &Expected, requests: f64, minutes: f64) -> Option<String> {
    let usual = expected.rate? * minutes;
    if usual.max(requests) < EXPECTED_MIN {
        return None;
    }
    if requests == 0.0 {
        return Some("no requests at all".to_owned());
    }
    beyond(requests / usual, RATE_TIMES).map(|times| format!("{times} the requests"))
}

fn errors(expected: &Expected, source: &Counts) -> Option<String> {
    let usual = expected.errors * source.requests as f64;
    if usual.max(source.errors() as f64) < ERRORS_MIN {
        return None;
    }
    if source.errors() == 0 {
        return Some(format!("no errors where {usual:.0} were usual"));
    }
    if usual < 1.0 {
        return Some(format!("{} errors where {usual:.1} were usual", source.errors()));
    }
    beyond(source.errors() as f64 / usual, ERRORS_TIMES).map(|times| format!("{times} the share of errors"))
}

fn latency(expected: &Expected, source: &Counts) -> Option<String> {
    let usual = expected.quantiles?;
    QUANTILES.iter().zip(usual).find_map(|(&(q, name), usual)| {
        let now = source.latency.quantile_micros(q)?;
        if (1.0 - q) * (source.latency.total() as f64) < BEYOND_MIN {
            return None;
        }
        beyond(now / usual, LATENCY_TIMES).map(|times| format!("{times} the {name} of latency"))
    })
}

/// A ratio in words, when it is beyond `times` in either direction.
fn beyond(ratio: f64, times: f64) -> Option<String> {
    if ratio >= 10.0 {
        Some(format!("{} times", ratio.min(1e6).round()))
    } else if ratio >= times {
        Some(format!("{ratio:.1} times"))
    } else if ratio <= 1.0 / times {
        Some(format!("{:.0} % of", 100.0 * ratio))
    } else {
        None
    }
}

fn usual(expected: &Expected) -> String {
    let rate = expected.rate.map_or_else(|| "its own rate".to_owned(), |rate| format!("{rate:.0} requests a minute"));
    let quantiles = expected.quantiles.map(millis).unwrap_or_default();
    format!("{rate}, {} errors{quantiles}", percent(expected.errors))
}

fn seen(source: &Counts, requests: f64, minutes: f64) -> String {
    let rate = if minutes > 0.0 { requests / minutes } else { 0.0 };
    let quantiles = QUANTILES.map(|(q, _)| source.latency.quantile_micros(q).unwrap_or(0.0));
    let quantiles = if source.latency.total() > 0 { millis(quantiles) } else { String::new() };
    let share = source.errors() as f64 / source.requests.max(1) as f64;
    format!("{rate:.0} requests a minute, {} errors{quantiles}", percent(share))
}

fn millis(micros: [f64; 3]) -> String {
    let [p50, p90, p99] = micros.map(|micros| {
        let millis = micros / 1000.0;
        if millis < 10.0 { format!("{millis:.1}") } else { format!("{millis:.0}") }
    });
    format!(", latency {p50} / {p90} / {p99} ms (median, 90 %, 99 %)")
}

fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent < 1.0 { format!("{percent:.3} %") } else { format!("{percent:.1} %") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::{Expect, expect};

    use super::super::tests::{MONDAY, document};
    use super::super::{Read, read, write};
    use super::*;
    use crate::policy::Policy;

    fn policy() -> Policy {
        let text = include_str!("../../../../policies/cautious.toml");
        let mut policy = crate::policy::read(text, "cautious.toml").expect("the example is sound");
        policy.service = "search".to_owned();
        policy.shift.writes = crate::policy::Writes::Split;
        policy
    }

    fn given(minutes: i64) -> Arc<Given> {
        let read: Read = read(&write(&document(minutes)), "b.json").expect("it is ours");
        Arc::new(Given::of(&read, "search.json", &policy()).expect("it fits"))
    }

    fn now(requests: u64, errors: u64, micros: u64) -> Block {
        let mut source = Counts { requests, status_2xx: requests - errors, status_5xx: errors, ..Counts::default() };
        source.latency.record(micros, requests);
        Block { millis: 60_000, source, target: Counts::default() }
    }

    /// What is said of several minutes, each beginning so many hours after Monday, a line each.
    fn check(given: &Given, list: &[Block], hour: i64, expected: &Expect) {
        let at = Timestamp(MONDAY + hour * 3_600_000);
        let told = list.iter().map(|now| drift(given, now, at, OnBaselineDrift::Warn));
        let told: Vec<String> = told.map(|check| format!("{:?}: {}", check.outcome, check.evidence)).collect();
        expected.assert_eq(&(told.join("\n") + "\n"));
    }

    #[test]
    fn each_way_to_drift_is_told_with_its_size() {
        // Proves: the same hour of the week is what is compared; rate, errors and latency are told apart, each with its
        // size, and too little traffic to tell is no drift.
        let list = [
            now(110, 1, 20_000),
            now(1_000, 10, 20_000),
            now(10, 0, 20_000),
            now(100, 20, 20_000),
            now(100, 1, 40_000),
            Block { millis: 60_000, ..Block::default() },
        ];
        check(&given(7 * 1_440), &list, 30, &expect![["
            Pass: Tue 06:00 UTC of the baseline: 100 requests a minute, 1.0 % errors, latency 20 / 20 / 20 ms (median, 90 %, 99 %); now, over 60 s: 110 requests a minute, 0.909 % errors, latency 20 / 20 / 20 ms (median, 90 %, 99 %)
            Warn: 10 times the requests; Tue 06:00 UTC of the baseline: 100 requests a minute, 1.0 % errors, latency 20 / 20 / 20 ms (median, 90 %, 99 %); now, over 60 s: 1000 requests a minute, 1.0 % errors, latency 20 / 20 / 20 ms (median, 90 %, 99 %)
            Warn: 10 % of the requests; Tue 06:00 UTC of the baseline: 100 requests a minute, 1.0 % errors, latency 20 / 20 / 20 ms (median, 90 %, 99 %); now, over 60 s: 10 requests a minute, 0.000 % errors, latency 20 / 20 / 20 ms (median, 90 %, 99 %)
            Warn: 20 times the share of errors; Tue 06:00 UTC of the baseline: 100 requests a minute, 1.0 % errors, latency 20 / 20 / 20 ms (median, 90 %, 99 %); now, over 60 s: 100 requests a minute, 20.0 % errors, latency 20 / 20 / 20 ms (median, 90 %, 99 %)
            Warn: 2.0 times the median of latency; Tue 06:00 UTC of the baseline: 100 requests a minute, 1.0 % errors, latency 20 / 20 / 20 ms (median, 90 %, 99 %); now, over 60 s: 100 requests a minute, 1.0 % errors, latency 41 / 41 / 41 ms (median, 90 %, 99 %)
            Warn: no requests at all; Tue 06:00 UTC of the baseline: 100 requests a minute, 1.0 % errors, latency 20 / 20 / 20 ms (median, 90 %, 99 %); now, over 60 s: 0 requests a minute, 0.000 % errors
        "]]);
    }

    #[test]
    fn a_thin_baseline_says_so_and_is_not_blamed_for_hours_it_lacks() {
        // Proves: a record of an hour says nothing of the rate at another one.
        check(&given(60), &[now(1_000, 10, 20_000)], 30, &expect![["
            Pass: the baseline as a whole (it lacks this hour): its own rate, 1.0 % errors, latency 20 / 20 / 20 ms (median, 90 %, 99 %); now, over 60 s: 1000 requests a minute, 1.0 % errors, latency 20 / 20 / 20 ms (median, 90 %, 99 %); the baseline is thin (1.0 h, and a week has 168)
        "]]);
        check(&given(60), &[now(1_000, 10, 20_000)], 0, &expect![["
            Warn: 10 times the requests; Mon 00:00 UTC of the baseline: 100 requests a minute, 1.0 % errors, latency 20 / 20 / 20 ms (median, 90 %, 99 %); now, over 60 s: 1000 requests a minute, 1.0 % errors, latency 20 / 20 / 20 ms (median, 90 %, 99 %); the baseline is thin (1.0 h, and a week has 168)
        "]]);
    }

    #[test]
    fn drift_refuses_where_the_policy_says_so() {
        // Proves: `on_drift = "refuse"` makes of the same facts a check that fails.
        let at = Timestamp(MONDAY);
        let check = drift(&given(7 * 1_440), &now(1_000, 10, 20_000), at, OnBaselineDrift::Refuse);
        assert_eq!((check.outcome, check.fix.is_empty()), (CheckOutcome::Fail, false));
    }

    #[test]
    fn a_baseline_of_another_service_or_class_is_refused() {
        // Proves: both refusals name the baseline, what is wrong and what to do.
        let read = read(&write(&document(60)), "b.json").expect("it is ours");
        let mut other = policy();
        other.service = "orders".to_owned();
        expect!["the baseline `search.json` is a record of `search`, and this is `orders`: name the one of this service, or record it with `tidegate baseline record orders`"].assert_eq(&Given::of(&read, "search.json", &other).expect_err("another service"));
        let mut last = policy();
        last.shift.writes = crate::policy::Writes::Last;
        expect![[r#"the baseline `search.json` cannot be used here: it counts reads and writes together, and with `writes = "last"` only reads are judged: record it from the proxies, or import reads alone with `--class reads`"#]].assert_eq(&Given::of(&read, "search.json", &last).expect_err("another class"));
    }
}
