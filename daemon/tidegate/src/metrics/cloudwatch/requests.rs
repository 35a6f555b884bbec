//! How many requests target groups had in whole minutes, for whoever holds something else against them.
//!
//! `RequestCount` of a target group counts the requests for which one of its targets was chosen, over all listeners and rules
//! that lead there, and no health checks. The balancer's own count is of all groups together, and is asked for beside it to
//! tell a minute without requests from one that has not arrived.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cutover::{Timestamp, Window};

use super::poller::{Points, Poller, Query};
use super::{APART, PORT, later};
use crate::aws::{Aws, AwsClock, find};
use crate::clock::Clock;
use crate::metrics::minutes::{MINUTE, beginning_in, floor};
use crate::port::{PortError, Retry};

/// How long after its end a minute counts as complete, at least. A cutover's two minutes miss what arrives later still, now
/// and then; here that would be taken for requests that did not come, and nobody waits for a revert.
pub const SETTLE_MIN: Duration = Duration::from_mins(3);

/// How much later than that minutes may arrive before they are given up.
pub const LATE_MAX: Duration = Duration::from_mins(10);

/// What is asked at once, to see whether CloudWatch may be asked.
const GLANCE: Duration = Duration::from_mins(5);

/// Target groups in CloudWatch.
pub struct Requests {
    poller: Poller,
    aws: AwsClock,
    ours: Clock,
    settle: Duration,
    /// Of each group its requests, its hosts, and its balancer's requests.
    queries: Arc<[Query]>,
}

/// How many series a group has among the queries.
const SERIES: usize = 3;

impl Requests {
    /// Finds the balancers of these target groups, and sees that CloudWatch answers. A minute counts so long after its end as
    /// `settle` says, and not before [`SETTLE_MIN`]. Must be called within a runtime.
    ///
    /// # Errors
    /// An ARN is no target group's, no Application Load Balancer uses it, or AWS refuses or does not answer.
    pub async fn new(aws: &Aws, ours: Clock, groups: &[String], settle: Duration) -> Result<Self, PortError> {
        let balancing = aws.balancing();
        let mut queries = Vec::new();
        for arn in groups {
            let none = || PortError::never(PORT, format!("`{arn}` is not the ARN of a target group"));
            let group = find::dimension(arn).ok_or_else(none)?;
            let balancer = find::balancer(&balancing, PORT, arn).await?;
            queries.extend(series(find::dimension(&balancer).ok_or_else(none)?, group));
        }
        let poller = Poller::new(aws.watching(), ours.clone());
        let settle = settle.max(SETTLE_MIN);
        let requests = Self { poller, aws: aws.clock.clone(), ours, settle, queries: queries.into() };
        let to = floor(requests.now());
        requests.poller.ask(Arc::clone(&requests.queries), Window { from: to.minus(GLANCE), to }, MINUTE).await?;
        Ok(requests)
    }

    /// The time by AWS's clock.
    pub fn now(&self) -> Timestamp {
        self.aws.at(self.ours.now())
    }

    /// The next whole minutes, as many as it takes for `length`.
    pub fn next(&self, length: Duration) -> Window {
        let from = floor(self.now()).plus(MINUTE);
        let minutes = length.as_millis().div_ceil(MINUTE.as_millis());
        Window { from, to: from.plus(MINUTE.saturating_mul(u32::try_from(minutes).unwrap_or(u32::MAX))) }
    }

    /// What the system's clock shows when AWS's shows `at`.
    pub fn here(&self, at: Timestamp) -> Timestamp {
        self.ours.really(Timestamp(at.0.saturating_sub(self.aws.ahead_millis())))
    }

    /// When the minutes of a window are there at the earliest.
    pub fn due(&self, window: Window) -> Timestamp {
        window.to.plus(self.settle)
    }

    /// The requests of a window of whole minutes, once all of it is published and two readings of it are equal. What is
    /// missing meanwhile is told, once.
    ///
    /// # Errors
    /// AWS refuses, or the minutes are not there [`LATE_MAX`] after they are due.
    pub async fn settled(&self, window: Window, mut missing: impl FnMut(&str)) -> Result<u64, PortError> {
        let due = self.due(window);
        let mut before: Option<Vec<Points>> = None;
        let mut told = false;
        loop {
            let wait = due.since(self.now());
            self.ours.sleep(wait).await;
            let why = match self.poller.ask(Arc::clone(&self.queries), window, MINUTE).await {
                Ok(read) => {
                    let silent = silent(&read, window);
                    if silent.is_none() && before.as_ref() == Some(&read) {
                        return Ok(sum(&read));
                    }
                    let changed = before.replace(read).is_some();
                    match silent {
                        Some(at) => Some(format!(
                            "CloudWatch has nothing of the minute from {}: it is late, or the load balancer had no \
                             request and no healthy target",
                            crate::clock::rfc3339(at)
                        )),
                        None => changed.then(|| "the minutes of CloudWatch still change".to_owned()),
                    }
                }
                Err(failure) if failure.retry == Retry::Never => return Err(failure.into()),
                Err(failure) => Some(failure.why),
            };
            if let Some(why) = why {
                if self.now() >= due.plus(LATE_MAX) {
                    return Err(later(format!("{why}, {} s after it was due", LATE_MAX.as_secs())));
                }
                if !told {
                    missing(&why);
                    told = true;
                }
            }
            self.ours.sleep(APART).await;
        }
    }
}

/// What is asked of one group behind one balancer.
fn series(balancer: String, group: String) -> [Query; SERIES] {
    let whole = vec![("LoadBalancer", balancer)];
    let of_group = [whole.clone(), vec![("TargetGroup", group)]].concat();
    let query = |metric, dimensions, statistic: &str| Query { metric, dimensions, statistic: statistic.to_owned() };
    [
        query("RequestCount", of_group.clone(), "Sum"),
        query("HealthyHostCount", of_group, "Maximum"),
        query("RequestCount", whole, "Sum"),
    ]
}

/// The first minute of which nothing was published, of some group.
fn silent(read: &[Points], window: Window) -> Option<Timestamp> {
    let minutes = beginning_in(window);
    let published = |series: &[Points], at: Timestamp| series.iter().any(|points| has(points, at));
    minutes.into_iter().find(|at| read.is_empty() || !read.chunks(SERIES).all(|series| published(series, *at)))
}

fn has(points: &BTreeMap<Timestamp, f64>, at: Timestamp) -> bool {
    points.keys().any(|point| floor(*point) == at)
}

/// The requests of the groups.
fn sum(read: &[Points]) -> u64 {
    let requests = read.iter().step_by(SERIES).flat_map(BTreeMap::values).sum::<f64>();
    requests.max(0.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(minutes: &[(i64, f64)]) -> Points {
        minutes.iter().map(|&(minute, value)| (Timestamp(minute * 60_000), value)).collect()
    }

    /// Proves that a minute counts as published by what shows that the pipeline lives, for each group; and that a group without
    /// requests in it has had none.
    #[test]
    fn what_was_not_published_is_not_zero() {
        let window = Window { from: Timestamp(0), to: Timestamp(120_000) };
        let none = Points::new;
        let both = [points(&[(0, 5.0), (1, 7.0)]), none(), none()];
        assert_eq!((silent(&both, window), sum(&both)), (None, 12));
        let quiet = [points(&[(0, 5.0)]), points(&[(1, 2.0)]), none()];
        assert_eq!((silent(&quiet, window), sum(&quiet)), (None, 5), "its hosts were published");
        let elsewhere = [none(), none(), points(&[(0, 9.0), (1, 9.0)])];
        assert_eq!((silent(&elsewhere, window), sum(&elsewhere)), (None, 0), "its balancer had other requests");
        let late = [points(&[(0, 5.0)]), none(), none()];
        assert_eq!(silent(&late, window), Some(Timestamp(60_000)));
        assert_eq!(silent(&[both.clone(), late].concat(), window), Some(Timestamp(60_000)), "of two groups");
        assert_eq!(sum(&[both, quiet].concat()), 17);
        assert_eq!(silent(&[], window), Some(Timestamp(0)));
    }

    /// Proves that a group is asked for with its balancer, and the balancer alone beside it.
    #[test]
    fn a_group_is_asked_for_with_its_balancer() {
        let [requests, hosts, all] = series("app/a/1".to_owned(), "targetgroup/s/2".to_owned());
        for query in [&requests, &hosts] {
            let wanted = [("LoadBalancer", "app/a/1".to_owned()), ("TargetGroup", "targetgroup/s/2".to_owned())];
            assert_eq!(query.dimensions, wanted);
        }
        assert_eq!((requests.metric, &*requests.statistic, hosts.metric), ("RequestCount", "Sum", "HealthyHostCount"));
        assert_eq!(all.dimensions, [("LoadBalancer", "app/a/1".to_owned())]);
    }
}
