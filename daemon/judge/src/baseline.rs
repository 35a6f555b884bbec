//! The source's own record from before the shift.
//!
//! It says what is normal: how often the source fails, how its latency is distributed, and how much it scatters from
//! minute to minute. A record of too few intervals is *thin*: then nothing is judged by it, and what it holds serves
//! only as a first guess and as the shape that latency is binned by, which cost power when wrong, never validity.

use serde::{Deserialize, Serialize};

use crate::dispersion::{Phi, phi_baseline};
use crate::latency::{Cuts, SLOW};
use crate::numbers::wilson_hilferty;
use crate::table::Normal;
use crate::{Block, Counts, Histogram};

/// Dispersion is taken from the last day of a longer record.
const MINUTES_MAX: usize = 1_440;
/// What is thought of a source of which nothing is known: one error in a thousand, two bad answers in a hundred.
const ERRORS_UNKNOWN: f64 = 0.001;
const BAD_UNKNOWN: f64 = 0.02;
/// And of redirects, which some services have none of and some many: about as many as bad answers.
const REDIRECTS_UNKNOWN: f64 = 0.02;
/// Dispersion where too few minutes are on record: errors cluster a little, the rest scatters more. Above 1, because a
/// guess of none would let the first bursts prove too much; near 1, because with it the first steps wait longer.
const PHI_ERRORS_UNKNOWN: Phi = Phi { minute: 1.25, longest: 1.25 };
const PHI_OTHERS_UNKNOWN: Phi = Phi { minute: 1.5, longest: 1.5 };

/// A minute in which the source failed this share of its requests, and ten times what it usually does, was an outage...
const OUTAGE_SHARE: f64 = 0.1;
const OUTAGE_TIMES: f64 = 10.0;
/// ...and is left out of what is normal, as long as no more than this part of all minutes is.
const OUTAGES_MAX: f64 = 0.1;

/// One minute of the source: requests, and how many of them were what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Minute {
    millis: u64,
    requests: u64,
    errors: u64,
    bad: u64,
    client_errors: u64,
    redirects: u64,
    /// Time to the first byte: all, and those above the three quantiles.
    latency: (u64, [u64; 3]),
    /// The same of whole exchanges.
    exchange: (u64, [u64; 3]),
}

/// Gathers blocks of the source alone until the shift begins; serializes, so that a restart goes on recording.
///
/// Its size is bounded by a day of minutes, whatever the length of the record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recorder {
    intervals: u32,
    millis: u64,
    counts: Counts,
    minutes: Vec<Minute>,
    open: Minute,
    latency_cuts: Option<Cuts>,
    exchange_cuts: Option<Cuts>,
}

impl Recorder {
    /// Takes the next block; only its source is read. A block without requests, or whose counts contradict each other,
    /// is left out.
    pub fn record(&mut self, block: &Block) {
        let source = &block.source;
        if source.requests == 0 || block.millis == 0 || source.contradiction().is_some() {
            return;
        }
        self.intervals = self.intervals.saturating_add(1);
        self.millis = self.millis.saturating_add(block.millis);
        self.counts.merge(source);
        // The quantiles are settled as soon as there is something to settle them by: what is counted against them must
        // not move.
        self.latency_cuts = self.latency_cuts.take().or_else(|| Cuts::of(&self.counts.latency));
        self.exchange_cuts = self.exchange_cuts.take().or_else(|| Cuts::of(&self.counts.exchange));
        let open = &mut self.open;
        open.millis = open.millis.saturating_add(block.millis);
        open.requests = open.requests.saturating_add(source.requests);
        open.errors = open.errors.saturating_add(source.errors());
        open.bad = open.bad.saturating_add(source.bad());
        open.client_errors = open.client_errors.saturating_add(source.client_errors());
        open.redirects = open.redirects.saturating_add(source.redirects());
        for (sums, histogram, cuts) in [
            (&mut open.latency, &source.latency, &self.latency_cuts),
            (&mut open.exchange, &source.exchange, &self.exchange_cuts),
        ] {
            let Some(cuts) = cuts else { continue };
            sums.0 = sums.0.saturating_add(histogram.total());
            for (sum, slow) in sums.1.iter_mut().zip(cuts.slow) {
                *sum = sum.saturating_add(histogram.above(slow));
            }
        }
        if open.millis >= 60_000 {
            if self.minutes.len() >= MINUTES_MAX {
                self.minutes.remove(0);
            }
            self.minutes.push(std::mem::take(&mut self.open));
        }
    }

    /// How many blocks with traffic were recorded.
    pub fn intervals(&self) -> u32 {
        self.intervals
    }

    /// All that was no outage, as one long minute; without latencies.
    fn ordinary(&self) -> Minute {
        let counts = &self.counts;
        let all = Minute {
            requests: counts.requests,
            errors: counts.errors(),
            bad: counts.bad(),
            client_errors: counts.client_errors(),
            redirects: counts.redirects(),
            ..Minute::default()
        };
        let share = |minute: &Minute| minute.errors as f64 / minute.requests.max(1) as f64;
        let mut shares: Vec<f64> = self.minutes.iter().map(share).collect();
        shares.sort_by(f64::total_cmp);
        let Some(&usual) = shares.get(shares.len() / 2) else { return all };
        let limit = OUTAGE_SHARE.max(OUTAGE_TIMES * usual);
        let outages: Vec<&Minute> = self.minutes.iter().filter(|minute| share(minute) >= limit).collect();
        if outages.len() as f64 > OUTAGES_MAX * self.minutes.len() as f64 {
            return all;
        }
        outages.iter().fold(all, |left, minute| Minute {
            requests: left.requests.saturating_sub(minute.requests),
            errors: left.errors.saturating_sub(minute.errors),
            bad: left.bad.saturating_sub(minute.bad),
            client_errors: left.client_errors.saturating_sub(minute.client_errors),
            redirects: left.redirects.saturating_sub(minute.redirects),
            ..left
        })
    }

    /// The baseline so far; thin when it stands on fewer than `intervals_min` blocks.
    pub fn baseline(&self, intervals_min: u32) -> Baseline {
        let counts = &self.counts;
        let thin = self.intervals < intervals_min.max(1);
        let column = |of: &dyn Fn(&Minute) -> u64| self.minutes.iter().map(|m| of(m) as f64).collect::<Vec<f64>>();
        let requests = column(&|m| m.requests);
        let phi = |of: &dyn Fn(&Minute) -> u64, unknown| phi_baseline(&column(of), &requests).unwrap_or(unknown);
        let slow = |of: fn(&Minute) -> (u64, [u64; 3])| {
            let all = column(&|m| of(m).0);
            std::array::from_fn(|i| phi_baseline(&column(&|m| of(m).1[i]), &all).unwrap_or(PHI_OTHERS_UNKNOWN))
        };
        let ordinary = self.ordinary();
        let share = |hits: f64, unknown: f64| match ordinary.requests {
            0 => unknown,
            requests => hits / requests as f64,
        };
        // The upper limit of a Poisson count (Garwood 1936): half a chi-squared quantile.
        let errors_high = wilson_hilferty(0.95, 2.0 * ordinary.errors as f64 + 2.0) / 2.0;
        let above = |histogram: &Histogram| {
            let total = histogram.total().max(1) as f64;
            Cuts::of(histogram)
                .map_or(SLOW.map(|q| 1.0 - q), |cuts| cuts.slow.map(|edge| histogram.above(edge) as f64 / total))
        };
        let minutes = self.millis as f64 / 60_000.0;
        let normal = Normal {
            errors: share(ordinary.errors as f64, ERRORS_UNKNOWN),
            errors_high: share(errors_high, 1.0).min(1.0),
            bad: share(ordinary.bad as f64, BAD_UNKNOWN),
            client_errors: share(ordinary.client_errors as f64, BAD_UNKNOWN),
            redirects: share(ordinary.redirects as f64, REDIRECTS_UNKNOWN),
            requests: if minutes > 0.0 { counts.requests as f64 / minutes } else { 0.0 },
            errors_phi: phi(&|m| m.errors, PHI_ERRORS_UNKNOWN),
            bad_phi: phi(&|m| m.bad, PHI_OTHERS_UNKNOWN),
            client_errors_phi: phi(&|m| m.client_errors, PHI_OTHERS_UNKNOWN),
            redirects_phi: phi(&|m| m.redirects, PHI_OTHERS_UNKNOWN),
            latency_phi: slow(|m| m.latency),
            exchange_phi: slow(|m| m.exchange),
            latency_slow: above(&counts.latency),
            exchange_slow: above(&counts.exchange),
            trusted: !thin,
        };
        Baseline { intervals: self.intervals, millis: self.millis, counts: counts.clone(), normal }
    }
}

/// What was normal for the source before the shift.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    intervals: u32,
    millis: u64,
    counts: Counts,
    normal: Normal,
}

impl Default for Baseline {
    /// No record at all.
    fn default() -> Self {
        Self::none()
    }
}

impl Baseline {
    /// A baseline from blocks of the source alone, oldest first; thin when fewer than `intervals_min` have traffic.
    ///
    /// ```
    /// use judge::{Baseline, Block, Counts};
    /// let minute = Block {
    ///     millis: 60_000,
    ///     source: Counts { requests: 1000, status_2xx: 998, status_5xx: 2, ..Counts::default() },
    ///     target: Counts::default(),
    /// };
    /// let baseline = Baseline::from_blocks(&vec![minute; 40], 30);
    /// assert!(!baseline.is_thin());
    /// assert!((baseline.normal().errors - 0.002).abs() < 1e-12);
    /// ```
    pub fn from_blocks<'a>(blocks: impl IntoIterator<Item = &'a Block>, intervals_min: u32) -> Self {
        let blocks: Vec<&Block> = blocks.into_iter().collect();
        let (mut latency, mut exchange) = (Histogram::default(), Histogram::default());
        for block in &blocks {
            latency.merge(&block.source.latency);
            exchange.merge(&block.source.exchange);
        }
        let mut recorder =
            Recorder { latency_cuts: Cuts::of(&latency), exchange_cuts: Cuts::of(&exchange), ..Recorder::default() };
        for block in blocks {
            recorder.record(block);
        }
        recorder.baseline(intervals_min)
    }

    /// No record at all: thin, and everything that needs one stays off.
    pub fn none() -> Self {
        Recorder::default().baseline(1)
    }

    /// The same record, to be judged by when it stands on at least `intervals_min` intervals with traffic.
    pub fn trusted_from(&self, intervals_min: u32) -> Self {
        let trusted = self.intervals >= intervals_min.max(1);
        Self { normal: Normal { trusted, ..self.normal.clone() }, ..self.clone() }
    }

    /// Whether it stands on too few intervals to judge by.
    pub fn is_thin(&self) -> bool {
        !self.normal.trusted
    }

    /// How many intervals with traffic it stands on.
    pub fn intervals(&self) -> u32 {
        self.intervals
    }

    /// How many requests it stands on.
    pub fn requests(&self) -> u64 {
        self.counts.requests
    }

    /// How long it is, in milliseconds of intervals with traffic.
    pub fn millis(&self) -> u64 {
        self.millis
    }

    /// All that the source did.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether the slowest hundredth of the answers came in bursts, by the time to their first byte.
    pub fn latency_pauses(&self) -> bool {
        let Normal { latency_phi: [.., phi], latency_slow: [.., share], .. } = &self.normal;
        phi.comes_in_bursts(share * self.a_minute(self.counts.latency.total()))
    }

    /// The same by the time to their last byte.
    pub fn exchange_pauses(&self) -> bool {
        let Normal { exchange_phi: [.., phi], exchange_slow: [.., share], .. } = &self.normal;
        phi.comes_in_bursts(share * self.a_minute(self.counts.exchange.total()))
    }

    fn a_minute(&self, count: u64) -> f64 {
        count as f64 * 60_000.0 / self.millis.max(1) as f64
    }

    /// What was normal, as the evidence uses it.
    pub fn normal(&self) -> &Normal {
        &self.normal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(requests: u64, errors: u64, bucket: u16) -> Block {
        let mut source = Counts { requests, status_2xx: requests - errors, status_5xx: errors, ..Counts::default() };
        source.latency.add(bucket, requests / 2);
        source.latency.add(bucket + 20, requests - requests / 2);
        Block { millis: 60_000, source, target: Counts::default() }
    }

    #[test]
    fn few_intervals_are_thin_and_none_are_thinnest() {
        let blocks = vec![minute(1000, 1, 100); 29];
        assert!(Baseline::from_blocks(&blocks, 30).is_thin());
        assert!(!Baseline::from_blocks(&blocks, 29).is_thin());
        assert!(Baseline::none().is_thin());
        assert!(Baseline::from_blocks(&[], 0).is_thin());
    }

    #[test]
    fn seconds_and_minutes_give_the_same_dispersion() {
        // The same hour, recorded in blocks of 1 s and of 60 s.
        let mut whole = Vec::new();
        let mut parts = Vec::new();
        for at in 0..60u64 {
            whole.push(minute(6_000, 60 * (at % 3), 100));
            for _ in 0..60 {
                let mut second = minute(100, at % 3, 100);
                second.millis = 1_000;
                parts.push(second);
            }
        }
        let (whole, parts) = (Baseline::from_blocks(&whole, 10), Baseline::from_blocks(&parts, 10));
        assert_eq!(whole.normal(), parts.normal());
        assert!(whole.normal().errors_phi.minute > 10.0);
        assert_eq!(SLOW.len(), whole.normal().latency_phi.len());
    }

    #[test]
    fn outages_in_the_record_are_not_normal() {
        // Two minutes of sixty fail wholly: what is normal stays one in a thousand. Ten of sixty are no accident.
        let hour = |outages: u64| {
            let minutes = (0..60).map(|at| minute(1_000, if at < outages { 1_000 } else { 1 }, 100));
            Baseline::from_blocks(&minutes.collect::<Vec<Block>>(), 30).normal().errors
        };
        assert!((hour(2) - 0.001).abs() < 1e-12);
        assert!(hour(10) > 0.1);
    }

    #[test]
    fn a_short_record_without_errors_allows_some() {
        // Nothing in 3,000 requests: up to about 3 may have been chance; in 3 million requests that is nothing.
        let high = |minutes| Baseline::from_blocks(&vec![minute(100, 0, 100); minutes], 30).normal().errors_high;
        assert!((high(30) - 0.001).abs() < 2e-4);
        assert!(high(30_000) < 2e-6);
    }

    #[test]
    fn contradicting_and_empty_blocks_are_left_out() {
        let mut wrong = minute(100, 1, 100);
        wrong.source.status_5xx = 1_000;
        let baseline = Baseline::from_blocks(&[wrong, Block::default(), minute(100, 1, 100)], 1);
        assert_eq!((baseline.intervals(), baseline.requests()), (1, 100));
    }

    #[test]
    fn a_long_record_stays_bounded() {
        let mut recorder = Recorder::default();
        for _ in 0..MINUTES_MAX + 100 {
            recorder.record(&minute(10, 1, 100));
        }
        assert_eq!(recorder.minutes.len(), MINUTES_MAX);
        assert_eq!(recorder.intervals() as usize, MINUTES_MAX + 100);
    }
}
