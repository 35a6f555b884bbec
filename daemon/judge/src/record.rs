//! A longer record of the source, by hour of the week: what a recorded baseline is made of.
//!
//! A week has a shape: the errors of a Monday morning say little about a Sunday night. So a record keeps what the source
//! did apart for each of the 168 hours of a week, beside what it did as a whole. Stretches in which the source was down,
//! or had no traffic where it usually has much, are no part of what is normal: they are left out and listed, unless there
//! are so many of them that they are what is normal.
//!
//! A record takes rows in order of time, without gaps; who reads them (from counters, from a file) is somebody else's
//! business. Times are milliseconds since 1970-01-01T00:00:00Z, and hours of the week are hours of UTC, which has no
//! summer time: where the clocks of people change, their habits move by an hour against the record.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::latency::{Cuts, SLOW};
use crate::numbers::wilson_hilferty;
use crate::{Baseline, Block, Counts, Histogram};

/// Hours of a week.
pub const HOURS: u8 = 168;
/// The most rows of a record: eight weeks of minutes.
pub const ROWS_MAX: usize = 8 * 7 * 1_440;
/// The longest row, in milliseconds: an hour, so that every row belongs to one hour of the week.
pub const ROW_MILLIS_MAX: u64 = 3_600_000;
/// The most outages that are listed; all are counted.
pub const OUTAGES_LISTED_MAX: usize = 100;

const MINUTE: u64 = 60_000;
const HOUR: i64 = 3_600_000;
const WEEK: i64 = 168 * HOUR;

/// A row in which the source failed this share of its requests, and ten times what it usually does, was an outage, as
/// long as it is more than a handful.
const FAILING_SHARE: f64 = 0.1;
const FAILING_TIMES: f64 = 10.0;
const FAILING_MIN: u64 = 5;
/// A row with less than this share of the requests that the rows around it have was one too, where those have many.
const SILENT_SHARE: f64 = 0.1;
const SILENT_USUAL_MIN: u64 = 50;
/// How many rows to each side are the ones around it.
const AROUND: usize = 30;
/// Where more than this part of all rows would be an outage, none is.
const OUTAGES_MAX: f64 = 0.1;

/// An hour of the week with less than this on record has no normal of its own.
const HOUR_MILLIS_MIN: u64 = 30 * MINUTE;
/// Requests that the whole record's shares count for in those of one hour: a handful of errors must not make an hour.
const WHOLE_ERRORS: f64 = 2_000.0;
const WHOLE_OTHERS: f64 = 500.0;

/// An hour of the week, 0 to 167 in UTC; 0 is the first hour of Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct HourOfWeek(u8);

impl HourOfWeek {
    /// The hour of the week in which a moment lies, in milliseconds since 1970 (a Thursday).
    ///
    /// ```
    /// use judge::record::HourOfWeek;
    /// assert_eq!(HourOfWeek::of(0).to_string(), "Thu 00");
    /// assert_eq!(u8::from(HourOfWeek::of(4 * 86_400_000)), 0);
    /// assert_eq!(HourOfWeek::of(-1).to_string(), "Wed 23");
    /// ```
    pub fn of(millis: i64) -> Self {
        let hour = (millis.div_euclid(HOUR) + 72).rem_euclid(i64::from(HOURS));
        Self(u8::try_from(hour).expect("a remainder of 168 fits"))
    }
}

impl TryFrom<u8> for HourOfWeek {
    type Error = String;

    fn try_from(hour: u8) -> Result<Self, String> {
        if hour < HOURS { Ok(Self(hour)) } else { Err(format!("hours of the week are 0 to 167, not {hour}")) }
    }
}

impl From<HourOfWeek> for u8 {
    fn from(hour: HourOfWeek) -> Self {
        hour.0
    }
}

/// As `Mon 08`.
impl fmt::Display for HourOfWeek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][usize::from(self.0 / 24)];
        write!(f, "{day} {:02}", self.0 % 24)
    }
}

/// What the source did in one stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// When it began, in milliseconds since 1970.
    pub from: i64,
    /// How long it is, in milliseconds; at most [`ROW_MILLIS_MAX`].
    pub millis: u64,
    /// What the source did.
    pub counts: Counts,
}

/// Why rows make no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which row, from 0.
    pub row: usize,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub hint: String,
}

/// What one hour of the week holds, outages left out; of several weeks, their sum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hour {
    /// Which.
    pub hour: HourOfWeek,
    /// How much time is on record, in milliseconds.
    pub millis: u64,
    /// How much more there was that was left out as an outage, in milliseconds.
    pub outage_millis: u64,
    /// What the source did.
    pub counts: Counts,
}

impl Hour {
    /// Requests a minute; `None` with nothing on record.
    pub fn requests_a_minute(&self) -> Option<f64> {
        (self.millis > 0).then(|| self.counts.requests as f64 * MINUTE as f64 / self.millis as f64)
    }
}

/// What a stretch that was left out was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutageKind {
    /// The source failed a large part of its requests.
    Failing,
    /// The source had next to no requests where it usually has many.
    Silent,
}

/// A stretch that was left out of what is normal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// When it began, in milliseconds since 1970.
    pub from: i64,
    /// When it ended.
    pub to: i64,
    /// What it was.
    pub kind: OutageKind,
    /// Requests in it.
    pub requests: u64,
    /// Errors among them.
    pub errors: u64,
}

/// How much a record can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// At least a week: each hour of the week has a normal of its own.
    Week,
    /// Less than a week: one normal for all hours.
    Thin,
}

/// A record of the source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// When it began, in milliseconds since 1970.
    pub from: i64,
    /// When it ended.
    pub to: i64,
    /// How long its longest row is, in milliseconds: dispersion over less than that is not known.
    pub row_millis: u64,
    /// The whole of it as the judge takes it, outages left out: counts, latency, shares, dispersion.
    pub baseline: Baseline,
    /// The hours of the week that it holds, ascending.
    pub hours: Vec<Hour>,
    /// How much requests scatter from row to row beyond independence, as a factor of their variance; 1 is none.
    pub arrivals_phi: f64,
    /// What was left out, oldest first; the first [`OUTAGES_LISTED_MAX`].
    pub outages: Vec<Outage>,
    /// How much time was left out, in milliseconds.
    pub outage_millis: u64,
    /// How much time looks like an outage and was kept, because there is so much of it that it is what is normal.
    pub troubled_millis: u64,
}

impl Record {
    /// A record of rows in order of time, without gaps. Rows of less than a minute are added up to minutes.
    ///
    /// # Errors
    /// The first row that is no row, contradicts itself, or does not begin where the one before it ended.
    pub fn of(rows: &[Row]) -> Result<Self, Refusal> {
        check(rows)?;
        let rows = minutes(rows);
        if rows.len() > ROWS_MAX {
            let what = format!("there are {} rows, and a record has {ROWS_MAX} at most", rows.len());
            return Err(refusal(ROWS_MAX, what, "eight weeks are enough: leave the oldest out"));
        }
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Err(refusal(0, "there is nothing in it", "record the source for a while first"));
        };
        let (from, to) = (first.from, end(last));
        let mut kinds = outages(&rows);
        let found = kinds.iter().filter(|kind| kind.is_some()).count();
        let mut troubled_millis = 0;
        if found as f64 > OUTAGES_MAX * rows.len() as f64 {
            troubled_millis = length(rows.iter().zip(&kinds).filter(|(_, kind)| kind.is_some()).map(|(row, _)| row));
            kinds.fill(None);
        }
        let with_kind = || rows.iter().zip(kinds.iter().copied());
        let ordinary: Vec<&Row> = with_kind().filter(|(_, kind)| kind.is_none()).map(|(row, _)| row).collect();
        let blocks: Vec<Block> = ordinary
            .iter()
            .map(|row| Block { millis: row.millis, source: row.counts.clone(), target: Counts::default() })
            .collect();
        let baseline = Baseline::from_blocks(&blocks, 1);
        if baseline.requests() == 0 {
            return Err(refusal(0, "the source had no requests in it", "record while it serves clients"));
        }
        let mut hours: Vec<Hour> = Vec::new();
        for (row, kind) in with_kind() {
            let of = HourOfWeek::of(row.from);
            let at = hours.binary_search_by_key(&of, |known| known.hour).unwrap_or_else(|at| {
                hours.insert(at, Hour { hour: of, millis: 0, outage_millis: 0, counts: Counts::default() });
                at
            });
            let hour = &mut hours[at];
            if kind.is_some() {
                hour.outage_millis = hour.outage_millis.saturating_add(row.millis);
            } else {
                hour.millis = hour.millis.saturating_add(row.millis);
                hour.counts.merge(&row.counts);
            }
        }
        Ok(Self {
            from,
            to,
            row_millis: rows.iter().map(|row| row.millis).max().unwrap_or(MINUTE),
            baseline,
            hours,
            arrivals_phi: arrivals_phi(&ordinary),
            outages: listed(with_kind()),
            outage_millis: length(with_kind().filter(|(_, kind)| kind.is_some()).map(|(row, _)| row)),
            troubled_millis,
        })
    }

    /// How much it can tell.
    pub fn depth(&self) -> Depth {
        if self.to.saturating_sub(self.from) >= WEEK { Depth::Week } else { Depth::Thin }
    }

    /// What it holds of an hour of the week.
    pub fn hour(&self, hour: HourOfWeek) -> Option<&Hour> {
        self.hours.binary_search_by_key(&hour, |known| known.hour).ok().map(|at| &self.hours[at])
    }

    /// The whole record as the judge takes it; too thin to judge by when it stands on fewer than `intervals_min` rows.
    pub fn baseline(&self, intervals_min: u32) -> Baseline {
        self.baseline.trusted_from(intervals_min)
    }

    /// What is normal in each hour of the week that is on record, small enough to go with a cutover.
    pub fn week(&self) -> Week {
        let counts = self.baseline.counts();
        let cuts = [Cuts::of(&counts.latency), Cuts::of(&counts.exchange)].map(|cuts| cuts.map(|cuts| cuts.slow));
        let slow = |histogram: &Histogram, edges: Option<[u16; 3]>| {
            let above = edges.map_or([0; 3], |edges| edges.map(|edge| histogram.above(edge)));
            (if edges.is_some() { histogram.total() } else { 0 }, above)
        };
        let hours = self.hours.iter().filter(|hour| hour.millis >= HOUR_MILLIS_MIN && hour.counts.requests > 0);
        let hours = hours.map(|hour| Tally {
            hour: hour.hour,
            millis: hour.millis,
            requests: hour.counts.requests,
            errors: hour.counts.errors(),
            bad: hour.counts.bad(),
            latency: slow(&hour.counts.latency, cuts[0]),
            exchange: slow(&hour.counts.exchange, cuts[1]),
            quantiles: SLOW.map(|q| hour.counts.latency.quantile_bucket(q).map_or(0, |bucket| u64::from(bucket) + 1)),
        });
        Week { hours: hours.collect() }
    }
}

/// What each hour of the week holds, as counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Week {
    hours: Vec<Tally>,
}

/// How many numbers an hour is.
const NUMBERS: usize = 16;

/// One hour: as few numbers as do, since they are stored with every state of a cutover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "[u64; NUMBERS]", into = "[u64; NUMBERS]")]
struct Tally {
    hour: HourOfWeek,
    millis: u64,
    requests: u64,
    errors: u64,
    bad: u64,
    latency: (u64, [u64; 3]),
    exchange: (u64, [u64; 3]),
    /// The buckets of latency's median, 90 % and 99 % quantile, plus one; 0 without latency.
    quantiles: [u64; 3],
}

impl From<Tally> for [u64; NUMBERS] {
    fn from(tally: Tally) -> Self {
        let Tally { hour, millis, requests, errors, bad, latency, exchange, quantiles: [q50, q90, q99] } = tally;
        let ([l50, l90, l99], [x50, x90, x99]) = (latency.1, exchange.1);
        let hour = u64::from(hour.0);
        [hour, millis, requests, errors, bad, latency.0, l50, l90, l99, exchange.0, x50, x90, x99, q50, q90, q99]
    }
}

impl TryFrom<[u64; NUMBERS]> for Tally {
    type Error = String;

    fn try_from(numbers: [u64; NUMBERS]) -> Result<Self, String> {
        let [hour, millis, requests, errors, bad, latency, l50, l90, l99, exchange, x50, x90, x99, quantiles @ ..] =
            numbers;
        let hour = HourOfWeek::try_from(u8::try_from(hour).unwrap_or(u8::MAX))?;
        let (latency, exchange) = ((latency, [l50, l90, l99]), (exchange, [x50, x90, x99]));
        Ok(Self { hour, millis, requests, errors, bad, latency, exchange, quantiles })
    }
}

/// What is normal in one hour of the week, as numbers. Dispersion is that of the whole record: one hour has too few
/// minutes to tell it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HourNormal {
    /// Which hour.
    pub hour: HourOfWeek,
    /// Requests that it stands on.
    pub requests: u64,
    /// Errors among them.
    pub error_count: u64,
    /// Requests a minute.
    pub requests_a_minute: f64,
    /// Share of errors.
    pub errors: f64,
    /// The most that the share of errors may really have been, at 95 %.
    pub errors_high: f64,
    /// Share of answers that are not 2XX or 3XX.
    pub bad: f64,
    /// Share of answers above the whole record's median, 90 % and 99 % quantile; above 0.5, 0.1 and 0.01 in slow hours.
    pub latency_slow: [f64; 3],
    /// The same of whole exchanges.
    pub exchange_slow: [f64; 3],
    /// Median, 90 % and 99 % quantile of the time to the first byte in this hour, in microseconds (the upper edges of
    /// their buckets); `None` without latency.
    pub latency_micros: Option<[f64; 3]>,
}

impl HourNormal {
    /// Requests and errors of the hour, as they were counted.
    pub(crate) fn counts(&self) -> Counts {
        Counts { requests: self.requests, failed: self.error_count, ..Counts::default() }
    }
}

impl Week {
    /// What is normal in an hour, its shares drawn a little to those of the whole record; `None` when too little of that
    /// hour is on record.
    pub fn normal(&self, hour: HourOfWeek, whole: &Baseline) -> Option<HourNormal> {
        let at = self.hours.binary_search_by_key(&hour, |tally| tally.hour).ok()?;
        let tally = &self.hours[at];
        let normal = whole.normal();
        let drawn = |hits: u64, of: u64, share: f64, weight: f64| (hits as f64 + share * weight) / (of as f64 + weight);
        let slow = |(of, above): (u64, [u64; 3]), whole: [f64; 3]| {
            std::array::from_fn(|i| drawn(above[i], of, whole[i], WHOLE_OTHERS))
        };
        // The upper limit of a Poisson count (Garwood 1936), as for a whole baseline.
        let errors = tally.errors as f64 + normal.errors * WHOLE_ERRORS;
        let errors_high = wilson_hilferty(0.95, 2.0 * errors + 2.0) / 2.0 / (tally.requests as f64 + WHOLE_ERRORS);
        Some(HourNormal {
            hour,
            requests: tally.requests,
            error_count: tally.errors,
            requests_a_minute: tally.requests as f64 * MINUTE as f64 / tally.millis.max(1) as f64,
            errors: drawn(tally.errors, tally.requests, normal.errors, WHOLE_ERRORS),
            errors_high: errors_high.min(1.0),
            bad: drawn(tally.bad, tally.requests, normal.bad, WHOLE_OTHERS),
            latency_slow: slow(tally.latency, normal.latency_slow),
            exchange_slow: slow(tally.exchange, normal.exchange_slow),
            latency_micros: tally.quantiles.iter().all(|&bucket| bucket > 0).then(|| {
                tally.quantiles.map(|bucket| Histogram::upper_micros(u16::try_from(bucket - 1).unwrap_or(u16::MAX)))
            }),
        })
    }
}

fn refusal(row: usize, what: impl Into<String>, hint: impl Into<String>) -> Refusal {
    Refusal { row, what: what.into(), hint: hint.into() }
}

fn end(row: &Row) -> i64 {
    row.from.saturating_add(i64::try_from(row.millis).unwrap_or(i64::MAX))
}

fn length<'a>(rows: impl Iterator<Item = &'a Row>) -> u64 {
    rows.fold(0, |sum, row| sum.saturating_add(row.millis))
}

fn check(rows: &[Row]) -> Result<(), Refusal> {
    let mut due: Option<i64> = None;
    for (index, row) in rows.iter().enumerate() {
        if row.millis == 0 || row.millis > ROW_MILLIS_MAX {
            let what = format!("a row of {} s cannot be used", row.millis as f64 / 1000.0);
            return Err(refusal(index, what, "rows are up to an hour long; a minute is best"));
        }
        if let Some(why) = row.counts.contradiction() {
            return Err(refusal(index, why, "counts are of this stretch alone, and each request has one outcome"));
        }
        match due {
            Some(due) if row.from > due => {
                let what = format!("{} s are missing before it", (row.from - due) as f64 / 1000.0);
                return Err(refusal(
                    index,
                    what,
                    "give the rows of that time, with zeros if nothing came, or cut there",
                ));
            }
            Some(due) if row.from < due => {
                let what = format!("it begins {} s before the row above it ended", (due - row.from) as f64 / 1000.0);
                return Err(refusal(index, what, "rows come in order of time, each once, and do not overlap"));
            }
            _ => {}
        }
        due = Some(end(row));
    }
    Ok(())
}

/// The rows, those of less than a minute added up.
fn minutes(rows: &[Row]) -> Vec<Row> {
    let mut whole: Vec<Row> = Vec::new();
    for row in rows {
        let open = whole.last_mut().filter(|last| last.millis < MINUTE && last.millis + row.millis <= MINUTE);
        match open {
            Some(open) => {
                open.millis += row.millis;
                open.counts.merge(&row.counts);
            }
            None => whole.push(row.clone()),
        }
    }
    // A last bit of a minute would pass for a minute with little traffic.
    if whole.len() > 1 && whole.last().is_some_and(|last| last.millis < MINUTE / 2) {
        whole.pop();
    }
    whole
}

/// Which rows were outages.
fn outages(rows: &[Row]) -> Vec<Option<OutageKind>> {
    let share = |row: &Row| row.counts.errors() as f64 / row.counts.requests.max(1) as f64;
    let shares: Vec<f64> = rows.iter().filter(|row| row.counts.requests > 0).map(share).collect();
    let limit = FAILING_SHARE.max(FAILING_TIMES * median(shares).unwrap_or(0.0));
    rows.iter()
        .enumerate()
        .map(|(index, row)| {
            let around = &rows[index.saturating_sub(AROUND)..(index + AROUND + 1).min(rows.len())];
            let usual = median(around.iter().map(|row| row.counts.requests as f64).collect()).unwrap_or(0.0);
            let silent = usual >= SILENT_USUAL_MIN as f64 && (row.counts.requests as f64) < SILENT_SHARE * usual;
            if row.counts.errors() >= FAILING_MIN && share(row) >= limit {
                Some(OutageKind::Failing)
            } else if silent {
                Some(OutageKind::Silent)
            } else {
                None
            }
        })
        .collect()
}

/// The middle value, the higher of two; `None` of nothing.
fn median(mut values: Vec<f64>) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    Some(*values.select_nth_unstable_by(middle, f64::total_cmp).1)
}

/// Neighbouring rows of an outage as one stretch.
fn listed<'a>(rows: impl Iterator<Item = (&'a Row, Option<OutageKind>)>) -> Vec<Outage> {
    let mut found: Vec<Outage> = Vec::new();
    for (row, kind) in rows {
        let Some(kind) = kind else { continue };
        let room = found.len() < OUTAGES_LISTED_MAX;
        match found.last_mut().filter(|last| last.to == row.from && last.kind == kind) {
            Some(last) => {
                last.to = end(row);
                last.requests = last.requests.saturating_add(row.counts.requests);
                last.errors = last.errors.saturating_add(row.counts.errors());
            }
            None if room => found.push(Outage {
                from: row.from,
                to: end(row),
                kind,
                requests: row.counts.requests,
                errors: row.counts.errors(),
            }),
            None => break,
        }
    }
    found
}

/// Mean squared difference of neighbouring rows' requests over what independence gives (their sum), winsorised at the
/// 90 % quantile; at least 1. Rows of other lengths are not compared.
fn arrivals_phi(rows: &[&Row]) -> f64 {
    let mut squares: Vec<f64> = rows
        .windows(2)
        .filter(|pair| pair[0].millis == pair[1].millis && pair.iter().any(|row| row.counts.requests > 0))
        .map(|pair| {
            let (a, b) = (pair[0].counts.requests as f64, pair[1].counts.requests as f64);
            (a - b).powi(2) / (a + b)
        })
        .collect();
    squares.sort_by(f64::total_cmp);
    let Some(&ceiling) = squares.get(squares.len().saturating_mul(9) / 10) else { return 1.0 };
    (squares.iter().map(|square| square.min(ceiling)).sum::<f64>() / squares.len() as f64 / WINSOR_MEAN).max(1.0)
}

/// Mean of a chi-squared variable with one degree of freedom, winsorised at its 90 % quantile, as for the dispersion of
/// errors.
const WINSOR_MEAN: f64 = 0.8205;

#[cfg(test)]
mod tests;
