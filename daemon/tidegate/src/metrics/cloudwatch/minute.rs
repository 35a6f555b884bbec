//! What CloudWatch says of one minute of two target groups, and what both sides did in it.
//!
//! An ALB publishes what is not zero: no errors are no figure, and no figure can also mean that none has arrived. What tells
//! them apart is the number of requests: where a target group's `RequestCount` is there, everything that is not there is
//! zero (the Elastic Load Balancing user guide, "CloudWatch metrics for your Application Load Balancer"). Where it is not,
//! the balancer's own count or a count of hosts shows that the minute was published at all; without any of them nothing is
//! known of it.
//!
//! Errors that the balancer makes in a target's stead (502, 504) are counted for the whole balancer only, and a target that
//! is dead has no `HTTPCode_Target_5XX_Count` at all. So what a target group did not answer is the difference between the
//! requests it was given and the answers it gave.

use std::collections::BTreeMap;

use judge::{Counts, Histogram, Side};

use super::grid::{self, Grid};
use super::poller::Query;

/// What one series is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// Requests for which a target of the group was chosen.
    Requests,
    /// Answers of its targets with this first digit of their status.
    Answers(u8),
    /// Connections to a target that could not be made.
    Unconnected,
    /// TLS with a target that did not come about.
    Unsecured,
    /// The most healthy hosts that any node saw.
    Hosts,
    /// Response times in this bin, or at this percentile.
    Latency(u8),
}

/// One series: of a side, or of the balancer as a whole.
pub(super) type Key = (Option<Side>, What);

/// What is known of one minute: the series that were published.
pub(super) type Minute = BTreeMap<Key, f64>;

/// How response times are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// As counts between edges.
    Counts(Grid),
    /// As percentiles, where counts are refused.
    Percentiles,
}

impl Times {
    fn statistics(&self, side: Side) -> Vec<String> {
        match self {
            Self::Counts(grid) => grid::statistics(edges(grid, side)),
            Self::Percentiles => grid::percentiles(),
        }
    }
}

fn edges(grid: &Grid, side: Side) -> &[u16] {
    match side {
        Side::Source => &grid.source,
        Side::Target => &grid.target,
    }
}

/// A balancer and its two target groups as CloudWatch's dimensions have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dimensions {
    /// As `app/search/50dc6c495c0c9188`.
    pub(super) balancer: String,
    /// As `targetgroup/source/73e2d6bc24d8a067`.
    pub(super) source: String,
    /// The same of the target's.
    pub(super) target: String,
}

impl Dimensions {
    /// Everything that is asked of a minute.
    pub(super) fn series(&self, times: &Times) -> Vec<(Key, Query)> {
        let mut series = vec![self.balancer_requests()];
        for side in [Side::Source, Side::Target] {
            series.extend(self.counts_of(side));
            series.extend(self.times_of(side, times));
        }
        series
    }

    /// What is asked of the past: everything of the source, and whether the target had requests.
    pub(super) fn past(&self, times: &Times) -> Vec<(Key, Query)> {
        let mut series = vec![self.balancer_requests()];
        series.extend(self.counts_of(Side::Source));
        series.extend(self.times_of(Side::Source, times));
        series.extend(self.counts_of(Side::Target));
        series
    }

    /// The source's response times at the quantiles of the grid.
    pub(super) fn quantiles(&self) -> Vec<Query> {
        grid::percentiles().into_iter().map(|at| self.query(Some(Side::Source), "TargetResponseTime", at)).collect()
    }

    fn balancer_requests(&self) -> (Key, Query) {
        ((None, What::Requests), self.query(None, "RequestCount", "Sum".to_owned()))
    }

    fn counts_of(&self, side: Side) -> Vec<(Key, Query)> {
        let sums = [
            (What::Requests, "RequestCount"),
            (What::Answers(2), "HTTPCode_Target_2XX_Count"),
            (What::Answers(3), "HTTPCode_Target_3XX_Count"),
            (What::Answers(4), "HTTPCode_Target_4XX_Count"),
            (What::Answers(5), "HTTPCode_Target_5XX_Count"),
            (What::Unconnected, "TargetConnectionErrorCount"),
            (What::Unsecured, "TargetTLSNegotiationErrorCount"),
        ];
        let sums = sums.map(|(what, metric)| ((Some(side), what), self.query(Some(side), metric, "Sum".to_owned())));
        let hosts = self.query(Some(side), "HealthyHostCount", "Maximum".to_owned());
        sums.into_iter().chain([((Some(side), What::Hosts), hosts)]).collect()
    }

    fn times_of(&self, side: Side, times: &Times) -> Vec<(Key, Query)> {
        let statistics = times.statistics(side).into_iter().zip(0..);
        statistics
            .map(|(statistic, bin)| {
                ((Some(side), What::Latency(bin)), self.query(Some(side), "TargetResponseTime", statistic))
            })
            .collect()
    }

    pub(super) fn query(&self, side: Option<Side>, metric: &'static str, statistic: String) -> Query {
        let mut dimensions = vec![("LoadBalancer", self.balancer.clone())];
        dimensions.extend(side.map(|side| {
            let group = match side {
                Side::Source => &self.source,
                Side::Target => &self.target,
            };
            ("TargetGroup", group.clone())
        }));
        Query { metric, dimensions, statistic }
    }
}

/// Whether anything of a minute was published that is there while the pipeline lives.
pub(super) fn is_published(minute: &Minute) -> bool {
    let sides = [None, Some(Side::Source), Some(Side::Target)];
    sides.iter().any(|side| [What::Requests, What::Hosts].iter().any(|what| minute.contains_key(&(*side, *what))))
}

/// What a side did in a published minute.
///
/// Where a dead target group is not even counted requests, the connections that could not be made are its requests.
pub(super) fn counts(minute: &Minute, side: Side, times: &Times) -> Counts {
    let count = |what| minute.get(&(Some(side), what)).map_or(0, |value| value.max(0.0).round() as u64);
    let [status_2xx, status_3xx, status_4xx, status_5xx] = [2, 3, 4, 5].map(|digit| count(What::Answers(digit)));
    let answered = status_2xx.saturating_add(status_3xx).saturating_add(status_4xx).saturating_add(status_5xx);
    let refused = count(What::Unconnected).saturating_add(count(What::Unsecured));
    let given = count(What::Requests);
    let requests = if given == 0 { answered.saturating_add(refused) } else { given.max(answered) };
    let latency = match times {
        Times::Counts(grid) => {
            let edges = edges(grid, side);
            grid::histogram(edges, (0..=edges.len()).map(|bin| count(What::Latency(bin as u8))))
        }
        Times::Percentiles => {
            let at = |bin| minute.get(&(Some(side), What::Latency(bin))).copied();
            let told: Option<Vec<f64>> = (0..grid::QUANTILES.len()).map(|bin| at(bin as u8)).collect();
            told.map_or_else(Histogram::default, |told| grid::from_percentiles(&told, answered))
        }
    };
    let failed = requests.saturating_sub(answered);
    Counts { requests, status_2xx, status_3xx, status_4xx, status_5xx, failed, latency, ..Counts::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times() -> Times {
        Times::Counts(Grid { source: vec![200, 220], target: vec![201, 221] })
    }

    fn minute(figures: &[(Key, f64)]) -> Minute {
        figures.iter().copied().collect()
    }

    const TARGET: Option<Side> = Some(Side::Target);

    #[test]
    fn a_dead_target_is_all_failures() {
        // Proves that requests without an answer are failures, though no error of the target was ever published.
        let dead = minute(&[((None, What::Requests), 1000.0), ((TARGET, What::Requests), 100.0)]);
        let counted = counts(&dead, Side::Target, &times());
        assert_eq!((counted.requests, counted.failed, counted.status_5xx), (100, 100, 0));
        let uncounted = minute(&[((None, What::Requests), 1000.0), ((TARGET, What::Unconnected), 40.0)]);
        let counted = counts(&uncounted, Side::Target, &times());
        assert_eq!((counted.requests, counted.failed), (40, 40));
    }

    #[test]
    fn each_request_ends_in_one_way() {
        // Proves that answers and failures add up to the requests, late answers to the requests before them included.
        let figures = [
            ((TARGET, What::Requests), 100.0),
            ((TARGET, What::Answers(2)), 90.0),
            ((TARGET, What::Answers(4)), 4.0),
            ((TARGET, What::Answers(5)), 1.0),
            ((TARGET, What::Latency(0)), 50.0),
            ((TARGET, What::Latency(2)), 45.0),
        ];
        let counted = counts(&minute(&figures), Side::Target, &times());
        assert_eq!((counted.requests, counted.failed, counted.errors(), counted.status_3xx), (100, 5, 6, 0));
        assert_eq!((counted.latency.total(), counted.latency.count_of(201), counted.latency.above(221)), (95, 50, 45));
        assert_eq!(counted.contradiction(), None);
        let late = minute(&[((TARGET, What::Requests), 10.0), ((TARGET, What::Answers(2)), 12.0)]);
        let counted = counts(&late, Side::Target, &times());
        assert_eq!((counted.requests, counted.failed), (12, 0));
    }

    #[test]
    fn zero_not_published_and_not_arrived_are_three_things() {
        // Proves that a group without requests has none where the balancer or its hosts were published, and that without
        // either nothing is known.
        let quiet = minute(&[((Some(Side::Source), What::Hosts), 2.0)]);
        assert!(is_published(&quiet));
        assert_eq!(counts(&quiet, Side::Target, &times()), Counts::default());
        assert!(is_published(&minute(&[((None, What::Requests), 0.0)])));
        assert!(!is_published(&Minute::new()));
        // Single figures that came early say nothing of the rest.
        assert!(!is_published(&minute(&[((TARGET, What::Answers(5)), 3.0)])));
    }

    #[test]
    fn every_series_is_asked_for_once() {
        // Proves that no two series are the same question and that target groups are asked with their balancer.
        let dimensions = Dimensions {
            balancer: "app/a/1".to_owned(),
            source: "targetgroup/s/2".to_owned(),
            target: "targetgroup/t/3".to_owned(),
        };
        for times in [times(), Times::Percentiles] {
            let series = dimensions.series(&times);
            for (at, (key, query)) in series.iter().enumerate() {
                assert!(series[at + 1..].iter().all(|(other, asked)| other != key && asked != query), "{key:?}");
                assert_eq!(query.dimensions[0], ("LoadBalancer", "app/a/1".to_owned()));
                assert_eq!(query.dimensions.len(), if key.0.is_some() { 2 } else { 1 });
            }
        }
        assert_eq!(dimensions.series(&times()).len(), 1 + 2 * (8 + 3));
    }
}
