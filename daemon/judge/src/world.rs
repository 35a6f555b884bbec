//! Whether the source itself is as it was recorded: what tells "the target is worse" from "the world got worse".
//!
//! A verdict compares the target with the source of the same time, so that a shared trouble reverts nothing. The person on
//! call asks a second question: is the trouble shared? Here the source of this step is held against its own record from
//! before the shift. It moves no verdict; it explains one.
//!
//! The comparison stands on intervals that may be looked at at any time ([`bernoulli_against`]): *worse* is said when the
//! whole interval lies beyond what the record allows, *as recorded* when the whole interval lies within it, and otherwise
//! that there are too few requests to tell. As in every shown interval, errors that come in clusters make it too narrow.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::interval::{SHOWN_ALPHA, SHOWN_OPT, bernoulli_against, bernoulli_interval};
use crate::words::{count, millis, share};
use crate::{Counts, Guard, GuardKind, Histogram};

/// How many buckets of 2^(1/16) an answer may take longer than nine of ten in the record and still be as recorded: half as
/// long again and a little more, since hours of a day differ by as much.
const SLOWER_BUCKETS: u16 = 10;
/// The share of recorded answers that take longer than nine of ten of them.
const SLOW: f64 = 0.1;
/// A tenth of the answers is slow by definition; so many times as many are a slower source.
const SLOW_TIMES: f64 = 1.5;

/// What is known of the source itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is as it was recorded.
    AsRecorded,
    /// It is worse than it was recorded.
    Worse,
    /// Nobody can tell: there is no record to speak of, no traffic, or too little of it.
    Unknown,
}

/// The source of this step against its own record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct World {
    /// What is known.
    pub standing: Standing,
    /// Share of the source's requests that end in a server error on this step (0 to 1).
    pub errors: Option<f64>,
    /// Of how many requests.
    pub requests: u64,
    /// Above which share the source is worse than recorded.
    pub errors_bound: Option<f64>,
    /// All of it in one sentence for a person, without a full stop.
    pub sentence: String,
}

impl Default for World {
    fn default() -> Self {
        Self::unknown("the source has no record from before the shift to be held against".to_owned())
    }
}

/// What was recorded of the source before the shift.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded<'a> {
    /// Whether there is too little of it to judge by.
    pub(crate) thin: bool,
    /// The most that its share of errors may really have been (0 to 1).
    pub(crate) errors_high: f64,
    /// Its share of errors as it was counted.
    pub(crate) errors: f64,
    /// Its latencies.
    pub(crate) latency: &'a Histogram,
}

impl World {
    fn unknown(sentence: String) -> Self {
        Self { standing: Standing::Unknown, errors: None, requests: 0, errors_bound: None, sentence }
    }

    /// Holds the source's counts of a step against its record.
    pub(crate) fn of(recorded: &Recorded<'_>, source: &Counts) -> Self {
        if recorded.thin {
            return Self::unknown(
                "the baseline is thin, so nobody can tell whether the source itself is as it was before".to_owned(),
            );
        }
        if source.requests == 0 {
            return Self::unknown("the source has had no request on this step".to_owned());
        }
        let (hits, requests) = (source.errors() as f64, source.requests as f64);
        // What the target may have against the record, the source may have as well.
        let tolerance = Guard::usual(GuardKind::Baseline);
        let bound = (tolerance.ratio * recorded.errors_high + tolerance.margin).min(1.0);
        let failing = bernoulli_against(hits, requests, SHOWN_ALPHA, SHOWN_OPT, bound);
        let slower = slower(recorded.latency, &source.latency);
        let compared = format!(
            "{} of the source's requests end in a server error ({} of {}), {} in the baseline",
            share(hits / requests),
            count(source.errors()),
            count(source.requests),
            share(recorded.errors),
        );
        let (standing, sentence) = match (failing, slower) {
            (Ordering::Greater, _) => {
                (Standing::Worse, format!("the source itself fails more than it was recorded to: {compared}"))
            }
            (_, Slower::Yes { now, then }) => (
                Standing::Worse,
                format!(
                    "the source itself is slower than it was recorded: nine of ten answers begin within {}, {} in the baseline",
                    millis(now),
                    millis(then)
                ),
            ),
            (Ordering::Less, Slower::No) => {
                (Standing::AsRecorded, format!("the source itself is as recorded: {compared}"))
            }
            _ => (
                Standing::Unknown,
                format!("too few requests to tell whether the source itself is as recorded: {compared}"),
            ),
        };
        Self { standing, errors: Some(hits / requests), requests: source.requests, errors_bound: Some(bound), sentence }
    }

    /// Between what and what the source's share of errors really lies, at every look of the step together but with
    /// chance 5 %; for showing, since making it costs more than all verdicts of an interval.
    pub fn errors_interval(&self) -> Option<(f64, f64)> {
        let requests = self.requests as f64;
        // A count is the share times the requests, to the nearest.
        self.errors.map(|share| bernoulli_interval((share * requests).round(), requests, SHOWN_ALPHA, SHOWN_OPT))
    }
}

/// Whether the source's answers take longer than they were recorded to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Slower {
    /// They do: nine of ten take so many milliseconds now, and took so many then.
    Yes { now: f64, then: f64 },
    /// They do not.
    No,
    /// There are too few answers to tell.
    Unknown,
}

fn slower(recorded: &Histogram, seen: &Histogram) -> Slower {
    let (Some(usual), Some(now)) = (recorded.quantile_bucket(1.0 - SLOW), seen.quantile_micros(1.0 - SLOW)) else {
        // Without latencies there is nothing to be slower in.
        return if recorded.total() == 0 { Slower::No } else { Slower::Unknown };
    };
    let above = seen.above(usual.saturating_add(SLOWER_BUCKETS)) as f64;
    let against = |share| bernoulli_against(above, seen.total() as f64, SHOWN_ALPHA, SHOWN_OPT, share);
    match (against(SLOW), against(SLOW_TIMES * SLOW)) {
        (Ordering::Greater, _) => Slower::Yes { now: now / 1_000.0, then: Histogram::upper_micros(usual) / 1_000.0 },
        (_, Ordering::Less) => Slower::No,
        _ => Slower::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(requests: u64, errors: u64, bucket: u16) -> Counts {
        let mut counts = Counts { requests, status_2xx: requests - errors, status_5xx: errors, ..Counts::default() };
        counts.latency.add(bucket, requests);
        counts
    }

    fn world(thin: bool, source: &Counts) -> World {
        let before = side(100_000, 100, 250);
        World::of(&Recorded { thin, errors_high: 0.0012, errors: 0.001, latency: &before.latency }, source)
    }

    #[test]
    fn a_source_that_fails_as_before_is_as_recorded() {
        let world = world(false, &side(50_000, 50, 250));
        assert_eq!(world.standing, Standing::AsRecorded);
        assert_eq!(
            world.sentence,
            "the source itself is as recorded: 0.1 % of the source's requests end in a server error (50 of 50,000), \
             0.1 % in the baseline"
        );
    }

    #[test]
    fn a_source_that_fails_more_or_is_slower_is_a_world_that_got_worse() {
        let failing = world(false, &side(50_000, 500, 250));
        assert_eq!(failing.standing, Standing::Worse);
        assert!(failing.sentence.starts_with("the source itself fails more"), "{}", failing.sentence);
        let slow = world(false, &side(50_000, 50, 250 + SLOWER_BUCKETS + 1));
        assert_eq!(slow.standing, Standing::Worse);
        assert!(slow.sentence.starts_with("the source itself is slower"), "{}", slow.sentence);
        // A little slower is the hour of the day.
        assert_eq!(world(false, &side(50_000, 50, 250 + SLOWER_BUCKETS)).standing, Standing::AsRecorded);
    }

    #[test]
    fn too_little_says_nothing() {
        for (thin, source) in [(true, side(50_000, 500, 250)), (false, Counts::default()), (false, side(100, 0, 250))] {
            assert_eq!(world(thin, &source).standing, Standing::Unknown, "{thin} {source:?}");
        }
    }
}
