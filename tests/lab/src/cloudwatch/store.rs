//! The metric store: per series, minute and node what was measured, and from when on it can be read.
//!
//! Only what was measured is there: a counter that stayed at zero has no point, which is how AWS publishes them too. The
//! store knows nothing of load balancers nor of the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use super::distribution::Distribution;
use crate::clock::Time;

/// How long minutes are kept: CloudWatch keeps points of 60 seconds for 15 days.
pub const RETENTION: Duration = Duration::from_hours(15 * 24);

/// The most series a lab keeps; more would be a mistake of who fills it, and are refused.
pub const SERIES_MAX: usize = 20_000;

/// What a series is called: CloudWatch treats each combination of dimensions as a metric of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metric {
    /// As `AWS/ApplicationELB`.
    pub namespace: String,
    /// As `RequestCount`.
    pub name: String,
    /// Name and value of each dimension, by name.
    pub dimensions: BTreeMap<String, String>,
}

/// A series that has been opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesId(usize);

#[derive(Debug)]
struct Series {
    metric: Metric,
    unit: &'static str,
    minutes: BTreeMap<Time, Vec<Report>>,
}

/// What arrives at one time of one minute.
#[derive(Debug)]
struct Report {
    arrives: Time,
    measured: Distribution,
}

/// All series.
#[derive(Debug, Default)]
pub struct Store {
    ids: BTreeMap<Metric, SeriesId>,
    series: Vec<Series>,
}

impl Store {
    /// The series of that name, which is opened if it is new. `None` if there are [`SERIES_MAX`] already. A series keeps
    /// the unit it was opened with.
    pub fn open(&mut self, metric: Metric, unit: &'static str) -> Option<SeriesId> {
        if let Some(id) = self.ids.get(&metric) {
            return Some(*id);
        }
        if self.series.len() >= SERIES_MAX {
            return None;
        }
        let id = SeriesId(self.series.len());
        self.ids.insert(metric.clone(), id);
        self.series.push(Series { metric, unit, minutes: BTreeMap::new() });
        Some(id)
    }

    /// What was measured in the minute of `at` and can be read from `arrives` on, to be added to.
    pub fn measured(&mut self, id: SeriesId, at: Time, arrives: Time) -> &mut Distribution {
        let minutes = &mut self.series[id.0].minutes;
        let kept_from = at - RETENTION;
        while minutes.first_key_value().is_some_and(|(minute, _)| *minute < kept_from) {
            minutes.pop_first();
        }
        let reports = minutes.entry(at.minute()).or_default();
        let place = reports.iter().position(|report| report.arrives == arrives).unwrap_or_else(|| {
            reports.push(Report { arrives, measured: Distribution::default() });
            reports.len() - 1
        });
        &mut reports[place].measured
    }

    /// The unit of a series that can be read by `now`.
    pub fn unit(&self, metric: &Metric) -> Option<&'static str> {
        self.ids.get(metric).map(|id| self.series[id.0].unit)
    }

    /// What can be read at `now` of the span from `start` up to and without `end`, in steps of `period` counted from
    /// `start`, which is a whole minute. Steps of which nothing has arrived are left out.
    pub fn read(
        &self,
        metric: &Metric,
        start: Time,
        end: Time,
        period: Duration,
        now: Time,
    ) -> Vec<(Time, Distribution)> {
        let Some(id) = self.ids.get(metric) else { return Vec::new() };
        let (oldest, step) = (now - RETENTION, period.as_millis() as i64);
        let mut steps: BTreeMap<Time, Distribution> = BTreeMap::new();
        if start >= end || step <= 0 {
            return Vec::new();
        }
        for (minute, reports) in self.series[id.0].minutes.range(start..end).filter(|(minute, _)| **minute >= oldest) {
            let stamp = Time(start.0 + (minute.0 - start.0) / step * step);
            for report in reports.iter().filter(|report| report.arrives <= now) {
                steps.entry(stamp).or_default().merge(&report.measured);
            }
        }
        steps.into_iter().filter(|(_, measured)| !measured.is_empty()).collect()
    }

    /// The series of which something since `since` can be read at `now`, by name.
    pub fn list(&self, since: Time, now: Time) -> impl Iterator<Item = &Metric> {
        self.ids.iter().filter_map(move |(metric, id)| {
            let mut minutes = self.series[id.0].minutes.range(since..);
            minutes.any(|(_, reports)| reports.iter().any(|report| report.arrives <= now)).then_some(metric)
        })
    }

    /// Every sample of a series that has been measured at all, arrived or not: the truth that tests compare with.
    pub fn truth(&self, metric: &Metric) -> Distribution {
        let mut all = Distribution::default();
        if let Some(id) = self.ids.get(metric) {
            self.series[id.0].minutes.values().flatten().for_each(|report| all.merge(&report.measured));
        }
        all
    }

    /// What the series of that number is called.
    pub fn metric(&self, id: SeriesId) -> &Metric {
        &self.series[id.0].metric
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloudwatch::arrivals::Arrivals;

    fn metric(name: &str) -> Metric {
        let dimensions = BTreeMap::from([("LoadBalancer".to_owned(), "app/a/1".to_owned())]);
        Metric { namespace: "AWS/ApplicationELB".to_owned(), name: name.to_owned(), dimensions }
    }

    const MINUTE: Duration = Duration::from_mins(1);

    /// Proves that a minute cannot be read before its end, is partial at first, grows, and is whole at last.
    #[test]
    fn a_fresh_minute_is_partial_and_grows_to_the_truth() {
        let arrivals = Arrivals { seed: 1, nodes: 2 };
        let mut store = Store::default();
        let id = store.open(metric("RequestCount"), "Count").unwrap();
        let start = Time(1_800_000_000_000).minute();
        for node in 0..2 {
            let arrival = arrivals.of(node, start);
            for nth in 0..600 {
                let at = start + Duration::from_millis(nth * 100);
                store.measured(id, at, arrival.of(nth)).add(1.0, 1);
            }
        }
        let read = |after: u64| {
            let now = start + Duration::from_secs(after);
            store.read(&metric("RequestCount"), start, now, MINUTE, now).first().map(|(_, measured)| measured.count())
        };
        assert_eq!(read(59), None);
        assert_eq!(read(74), None, "nothing arrives within fifteen seconds of the end");
        let sums: Vec<u64> = (75..=240).filter_map(read).collect();
        assert!(sums.is_sorted());
        let mut distinct = sums.clone();
        distinct.dedup();
        assert_eq!(distinct.len(), 4, "two nodes, each in two parts: {distinct:?}");
        assert!((500..700).contains(&distinct[0]), "half at first: {distinct:?}");
        assert_eq!(distinct[3], 1200);
    }

    /// Proves that steps are counted from the start that was asked for, that the end is not in them, and that a step
    /// without data is not there.
    #[test]
    fn steps_are_counted_from_the_start_and_empty_ones_left_out() {
        let mut store = Store::default();
        let id = store.open(metric("X"), "Count").unwrap();
        let start = Time(1_800_000_000_000).minute();
        for minute in [0, 1, 2, 5, 6] {
            let at = start + MINUTE * minute;
            store.measured(id, at, at).add(1.0, u64::from(minute) + 1);
        }
        let read = |from, until, period| {
            let (from, until) = (start + MINUTE * from, start + MINUTE * until);
            let steps = store.read(&metric("X"), from, until, MINUTE * period, start + MINUTE * 60);
            steps.iter().map(|(at, m)| (at.since(start).as_secs() / 60, m.count())).collect::<Vec<_>>()
        };
        assert_eq!(read(0, 6, 1), [(0, 1), (1, 2), (2, 3), (5, 6)]);
        assert_eq!(read(1, 7, 2), [(1, 5), (5, 13)]);
        assert_eq!(read(3, 5, 1), []);
    }

    /// Proves that a series shows in the list once something of it has arrived, and that what is older than fifteen days is
    /// gone.
    #[test]
    fn series_are_listed_once_they_arrived_and_forgotten_after_fifteen_days() {
        let mut store = Store::default();
        let id = store.open(metric("X"), "Count").unwrap();
        let start = Time(1_800_000_000_000).minute();
        store.measured(id, start, start + MINUTE).add(1.0, 1);
        assert_eq!(store.list(start, start).count(), 0);
        assert_eq!(store.list(start, start + MINUTE).count(), 1);
        assert_eq!(store.list(start + MINUTE, start + MINUTE * 5).count(), 0, "not active since");
        let later = start + RETENTION + MINUTE;
        assert_eq!(store.read(&metric("X"), start, later, MINUTE, later).len(), 0);
        store.measured(id, later, later).add(1.0, 1);
        assert_eq!(store.truth(&metric("X")).count(), 1, "the old minute is no longer held");
    }
}
