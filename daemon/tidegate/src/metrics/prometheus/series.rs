//! Counters as they were sampled, and what was counted between two moments.
//!
//! As with our own proxies, a window counts from the first sample at or after its beginning to the first at or after its
//! end: windows that touch share no request and lose none, and nothing is worked out that was not sampled, as `increase`
//! would (it extrapolates to the edges of its range). What this cannot know: what a process counted between its last sample
//! and its end is lost with it.
//!
//! A counter that ran backwards began at zero again with its process. One that has passed where it was by its next sample
//! cannot be told from one that went on, and counts what it has more: less than was counted, and never more. A series that
//! was not there when its exporter was sampled, and is later, began at zero: many are made when they are first needed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover::{Timestamp, Window};

/// One series with its samples, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) samples: Vec<(Timestamp, f64)>,
}

/// Who exports a series: its `job` and `instance`.
pub(super) type Origin = (String, String);

impl Series {
    pub(super) fn origin(&self) -> Origin {
        let label = |name: &str| self.labels.get(name).cloned().unwrap_or_default();
        (label("job"), label("instance"))
    }

    /// The first sample at or after `at`, as its place.
    fn first_from(&self, at: Timestamp) -> usize {
        self.samples.partition_point(|(sampled, _)| *sampled < at)
    }
}

/// Why nothing can be said of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// A sample will come.
    NotYet(String),
    /// There is none near enough, and there will be none.
    Missing(String),
}

/// All series that one answer is made of, by their exporters.
#[derive(Debug)]
pub(super) struct Exporters {
    sampled: BTreeMap<Origin, BTreeSet<Timestamp>>,
    /// How long after any moment its next sample must be there.
    settle: Duration,
}

/// One exporter's part of a window: its first and its last sampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edges {
    from: Timestamp,
    to: Timestamp,
}

impl Exporters {
    pub(super) fn of<'a>(all: impl Iterator<Item = &'a Series>, settle: Duration) -> Self {
        let mut sampled: BTreeMap<Origin, BTreeSet<Timestamp>> = BTreeMap::new();
        for series in all {
            sampled.entry(series.origin()).or_default().extend(series.samples.iter().map(|(at, _)| *at));
        }
        Self { sampled, settle }
    }

    pub(super) fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.sampled.keys()
    }

    /// How far apart the samplings of an exporter are, at most and as a rule (the median); `None` with fewer than two.
    pub(super) fn apart(&self) -> Option<(Duration, Duration)> {
        let mut gaps: Vec<Duration> = Vec::new();
        for known in self.sampled.values() {
            let times: Vec<Timestamp> = known.iter().copied().collect();
            gaps.extend(times.windows(2).map(|pair| pair[1].since(pair[0])));
        }
        gaps.sort_unstable();
        Some((*gaps.last()?, gaps[gaps.len() / 2]))
    }

    /// Where a window begins and ends for one exporter; `None` when it had ended before, or began after it.
    fn edges(&self, origin: &Origin, window: Window) -> Result<Option<Edges>, Lack> {
        let Some(known) = self.sampled.get(origin) else { return Ok(None) };
        let next = |at: Timestamp| known.range(at..).next().copied();
        let name = || if origin.1.is_empty() { "the exporter".to_owned() } else { format!("`{}`", origin.1) };
        let Some(to) = next(window.to) else {
            let last = known.last().copied().unwrap_or_default();
            return Err(Lack::NotYet(format!("the last sample of {} is of {last}", name())));
        };
        let from = next(window.from).unwrap_or(to);
        let before = known.range(..window.from).next_back();
        let late = |sample: Timestamp, edge: Timestamp| sample.since(edge) > self.settle;
        if before.is_some() && late(from, window.from) {
            let why = format!("{} was not sampled from {} to {from}", name(), window.from);
            return Err(Lack::Missing(why));
        }
        if late(to, window.to) {
            if before.is_none() && from == to {
                return Ok(None);
            }
            return Err(Lack::Missing(format!("{} was not sampled from {} to {to}", name(), window.to)));
        }
        if before.is_none() && late(from, window.from) && from >= window.to {
            return Ok(None);
        }
        if from == to {
            let why = format!(
                "{} was not sampled within an interval of {} s: make `shift.interval` twice the scrape interval at least",
                name(),
                window.length().as_secs()
            );
            return Err(Lack::Missing(why));
        }
        Ok(Some(Edges { from, to }))
    }

    /// For how long the exporters were looked at: the shortest. Fails when one of them cannot be.
    pub(super) fn seen(&self, window: Window) -> Result<Duration, Lack> {
        let mut shortest: Option<Duration> = None;
        let mut whole = false;
        for (origin, known) in &self.sampled {
            let Some(edges) = self.edges(origin, window)? else { continue };
            let length = edges.to.since(edges.from);
            shortest = Some(shortest.map_or(length, |shortest| shortest.min(length)));
            // One that came up within the window counts what it has; without any that was there all along, nothing of the
            // beginning is known.
            whole |= known.range(..=window.from.plus(self.settle)).next().is_some();
        }
        match shortest {
            Some(shortest) if whole => Ok(shortest),
            Some(_) => Err(Lack::Missing(format!("no exporter was sampled from {} on", window.from))),
            None => Err(Lack::Missing(format!("no exporter was sampled between {} and {}", window.from, window.to))),
        }
    }

    /// By how much a counter grew in a window.
    pub(super) fn grown(&self, series: &Series, window: Window) -> Result<f64, Lack> {
        let origin = series.origin();
        let Some(edges) = self.edges(&origin, window)? else { return Ok(0.0) };
        let first = series.first_from(edges.from);
        let Some(&(at, value)) = series.samples.get(first) else { return Ok(0.0) };
        // One that was there before has samples at times of its own. Another was not there when the rest of its exporter was
        // sampled, and began since.
        let (mut last, next) = if at == edges.from || first > 0 { (value, first + 1) } else { (0.0, first) };
        let mut sum = 0.0;
        for &(_, value) in series.samples.iter().skip(next).take_while(|(at, _)| *at <= edges.to) {
            sum += if value < last { value } else { value - last };
            last = value;
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_secs(20);

    fn at(second: i64) -> Timestamp {
        Timestamp(1_700_000_000_000 + second * 1000)
    }

    fn window(from: i64, to: i64) -> Window {
        Window { from: at(from), to: at(to) }
    }

    /// A series of `instance` with a sample each 15 s from `begin` on.
    fn series(instance: &str, code: &str, begin: i64, values: &[f64]) -> Series {
        let labels = [("job", "proxy"), ("instance", instance), ("code", code)];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let samples = (0..).zip(values).map(|(place, value)| (at(begin + place * 15), *value)).collect();
        Series { labels, samples }
    }

    fn exporters(all: &[Series]) -> Exporters {
        Exporters::of(all.iter(), SETTLE)
    }

    /// Proves that windows which touch share nothing and lose nothing, wherever their edges lie between samples.
    #[test]
    fn windows_that_touch_count_everything_once() {
        let counter = series("a", "2xx", 0, &[5.0, 6.0, 16.0, 16.0, 30.0, 31.0, 40.0]);
        let all = exporters(std::slice::from_ref(&counter));
        for middle in [16, 20, 30, 31, 44] {
            let first = all.grown(&counter, window(1, middle)).unwrap();
            let second = all.grown(&counter, window(middle, 70)).unwrap();
            assert_eq!((first + second).round() as u64, 31 - 6, "{middle}");
        }
        assert_eq!(all.seen(window(1, 46)), Ok(Duration::from_secs(45)));
    }

    /// Proves that a process which came up again counts from zero, that nothing negative comes out, and that a counter which
    /// has passed where it was is never taken for more than it is.
    #[test]
    fn a_restart_counts_from_zero_and_invents_nothing() {
        let falls = series("a", "2xx", 0, &[100.0, 110.0, 4.0, 9.0]);
        let passes = series("a", "5xx", 0, &[1.0, 1.0, 3.0, 3.0]);
        let other = series("b", "2xx", 0, &[100.0, 110.0, 120.0, 130.0]);
        let list = [falls, passes, other];
        let all = exporters(&list);
        let grown = list.each_ref().map(|series| all.grown(series, window(0, 45)).unwrap().round() as u64);
        assert_eq!(grown, [10 + 4 + 5, 2, 30]);
    }

    /// Proves that a counter made when it was first needed began at zero, and that the counters of an exporter which was not
    /// seen before count from their first sample: what they had before is nobody's.
    #[test]
    fn a_new_counter_is_no_new_exporter() {
        let old = series("a", "2xx", 0, &[100.0, 110.0, 120.0, 130.0]);
        let born = series("a", "5xx", 30, &[7.0, 8.0]);
        let joined = series("b", "2xx", 30, &[9000.0, 9005.0]);
        let list = [old, born, joined];
        let all = exporters(&list);
        let grown = list.each_ref().map(|series| all.grown(series, window(0, 45)).unwrap().round() as u64);
        assert_eq!(grown, [30, 8, 5]);
        assert_eq!(all.seen(window(0, 45)), Ok(Duration::from_secs(15)));
    }

    /// Proves that what was not sampled is unknown: not yet, in a hole, or before anything was there.
    #[test]
    fn what_was_not_sampled_is_unknown() {
        let counter = series("a", "2xx", 0, &[1.0, 2.0, 3.0]);
        let all = exporters(std::slice::from_ref(&counter));
        assert!(matches!(all.seen(window(0, 31)), Err(Lack::NotYet(_))));
        assert!(matches!(all.seen(window(-60, 20)), Err(Lack::Missing(_))), "its beginning was not seen");
        let mut torn = series("a", "2xx", 0, &[1.0, 2.0]);
        torn.samples.extend([(at(100), 9.0), (at(115), 10.0)]);
        let all = exporters(std::slice::from_ref(&torn));
        assert!(matches!(all.seen(window(0, 60)), Err(Lack::Missing(_))));
        assert!(matches!(all.seen(window(40, 110)), Err(Lack::Missing(_))));
        assert!(matches!(all.seen(window(3, 8)), Err(Lack::Missing(_))), "no sample of its own");
        let gone = [series("a", "2xx", 0, &[1.0, 2.0, 3.0, 4.0, 5.0]), series("b", "2xx", 0, &[1.0, 2.0])];
        assert!(matches!(exporters(&gone).seen(window(0, 45)), Err(Lack::NotYet(_))), "one exporter fell silent");
    }
}
