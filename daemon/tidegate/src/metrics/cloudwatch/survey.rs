//! What CloudWatch says of the traffic as a whole, before any of it is moved: whether figures arrive, whether all of the
//! traffic is there, and what else the load balancer does.

use std::sync::Arc;
use std::time::Duration;

use cutover::event::{Check, CheckOutcome};
use cutover::{Timestamp, Window};
use judge::Side;

use super::Cloudwatch;
use super::minute::Dimensions;
use super::poller::{Points, Query};
use crate::metrics::minutes::{MINUTE, floor};
use crate::metrics::usual::{self, HOUR};
use crate::port::PortError;

/// What is looked at as the present.
const PRESENT: Duration = Duration::from_mins(30);
/// How many days back.
const DAYS: u32 = 14;
/// Below this part of the balancer's requests, some pass the two target groups by.
const WHOLE_MIN: f64 = 0.98;
/// Above this many open connections for each new one of a minute, clients keep theirs for long.
const KEPT_MIN: f64 = 10.0;
/// Above this part of all requests, what the balancer answers itself is worth a word.
const OWN_ERRORS_MAX: f64 = 0.001;

fn pass_or_warn(pass: bool) -> CheckOutcome {
    if pass { CheckOutcome::Pass } else { CheckOutcome::Warn }
}

/// Sums over the present.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Present {
    /// Minutes of which the balancer published its requests.
    minutes: usize,
    /// Requests that reached a target of any group.
    balancer: f64,
    source: f64,
    target: f64,
    /// Open connections, summed over minutes, and new ones; the balancer's to its targets are among both.
    open: f64,
    new: f64,
    /// Answers of 500 and above that the balancer made itself.
    own_errors: f64,
}

impl Present {
    fn of(series: &[Points]) -> Self {
        // The sum of nothing is -0, which nobody would understand.
        let sum = |at: usize| series.get(at).map_or(0.0, |points| points.values().sum::<f64>() + 0.0);
        Self {
            minutes: series.first().map_or(0, Points::len),
            balancer: sum(0),
            source: sum(1),
            target: sum(2),
            open: sum(3),
            new: sum(4),
            own_errors: sum(5),
        }
    }

    fn checks(&self) -> Vec<Check> {
        let whole = PRESENT.as_secs() / 60;
        if self.minutes == 0 {
            let evidence = format!("CloudWatch has no request of the last {whole} minutes");
            let fix = "bring clients to the load balancer first, or name the right target groups";
            return vec![Check::new("numbers", CheckOutcome::Unknown, evidence, fix)];
        }
        let evidence = format!("requests in {} of the last {whole} settled minutes", self.minutes);
        let few =
            "with minutes that have no request each step takes longer; let preflight look again when there are more";
        let arrive = pass_or_warn(self.minutes as u64 * 10 >= whole * 9);
        let mut checks = vec![Check::new("numbers", arrive, evidence, few)];
        let both = (self.source + self.target) / self.balancer.max(1.0);
        checks.push(Check::new(
            "all of the balancer's traffic",
            pass_or_warn(both >= WHOLE_MIN),
            format!("{:.1} % of the balancer's requests go to the two target groups", both.min(1.0) * 100.0),
            "what other listeners and rules send elsewhere does not follow the weights; look whether it should",
        ));
        let kept = self.open / self.new.max(1.0);
        let per_minute = |sum: f64| (sum / self.minutes as f64).round();
        checks.push(Check::new(
            "connections",
            pass_or_warn(kept <= KEPT_MIN),
            format!(
                "{} open and {} new connections a minute, those to the targets among them",
                per_minute(self.open),
                per_minute(self.new)
            ),
            "clients keep connections for long: where these pin their target group the share lags behind the weight, and \
             `client_keep_alive.seconds` ends them",
        ));
        let own = self.own_errors / (self.balancer + self.own_errors).max(1.0);
        checks.push(Check::new(
            "balancer's own errors",
            pass_or_warn(own <= OWN_ERRORS_MAX),
            format!("the balancer itself answered {} requests with 500 or above", self.own_errors),
            "find out which targets refuse connections or answer too late, before more traffic moves",
        ));
        checks
    }
}

/// The rate of the last whole hour against the same hour of earlier days. `hours` is the source's requests by hour.
fn usual(hours: &Points, last: Timestamp) -> Check {
    let before = (1..=DAYS).filter_map(|day| hours.get(&last.minus(HOUR * 24 * day)).copied()).collect();
    usual::usual(hours.get(&last).copied().unwrap_or_default(), before)
}

impl Cloudwatch {
    /// What can be said of the traffic.
    pub(super) async fn surveyed(&self) -> Result<Vec<Check>, PortError> {
        let dimensions = self.dimensions().await?;
        let to = floor(self.now().minus(self.groups.settle));
        let window = Window { from: to.minus(PRESENT), to };
        let asked: Arc<[Query]> = present(dimensions).into();
        let series = self.poller.ask(asked, window, MINUTE).await?;
        let mut checks = Present::of(&series).checks();
        let hour = Timestamp(to.0.div_euclid(3_600_000) * 3_600_000);
        let days = Window { from: hour.minus(HOUR * 24 * DAYS + HOUR), to: hour };
        let requests: Arc<[Query]> = [dimensions.query(Some(Side::Source), "RequestCount", "Sum".to_owned())].into();
        let hours = self.poller.ask(requests, days, HOUR).await?;
        let none = Points::new();
        checks.push(usual(hours.first().unwrap_or(&none), hour.minus(HOUR)));
        Ok(checks)
    }
}

/// What [`Present::of`] is made of, in its order.
fn present(dimensions: &Dimensions) -> Vec<Query> {
    let of = |side, metric| dimensions.query(side, metric, "Sum".to_owned());
    vec![
        of(None, "RequestCount"),
        of(Some(Side::Source), "RequestCount"),
        of(Some(Side::Target), "RequestCount"),
        of(None, "ActiveConnectionCount"),
        of(None, "NewConnectionCount"),
        of(None, "HTTPCode_ELB_5XX_Count"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(checks: &[Check], name: &str) -> CheckOutcome {
        checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no `{name}` in {checks:?}")).outcome
    }

    /// Proves that requests which pass the two groups by, connections that are kept and errors of the balancer are seen, and
    /// that silence is unknown and not good.
    #[test]
    fn what_is_not_as_usual_is_told() {
        let good = Present {
            minutes: 30,
            balancer: 30e3,
            source: 30e3,
            target: 0.0,
            open: 900.0,
            new: 300.0,
            own_errors: 0.0,
        };
        assert!(good.checks().iter().all(|check| check.outcome == CheckOutcome::Pass), "{:?}", good.checks());
        let bad = Present { minutes: 30, source: 20e3, new: 10.0, own_errors: 300.0, ..good };
        for name in ["all of the balancer's traffic", "connections", "balancer's own errors"] {
            assert_eq!(outcome(&bad.checks(), name), CheckOutcome::Warn, "{name}");
        }
        assert_eq!(outcome(&Present { minutes: 20, ..good }.checks(), "numbers"), CheckOutcome::Warn);
        assert_eq!(outcome(&Present::default().checks(), "numbers"), CheckOutcome::Unknown);
    }

    /// Proves that an hour is compared with the same hour of other days and with no other.
    #[test]
    fn an_hour_is_held_to_the_same_hour_of_other_days() {
        let last = Timestamp(0).plus(HOUR * 24 * 20);
        let hours = |now: f64| -> Points {
            let same = (1..=5).map(|day| (last.minus(HOUR * 24 * day), 36_000.0));
            let other = (1..=5).map(|day| (last.minus(HOUR * 24 * day + HOUR), 1.0));
            same.chain(other).chain([(last, now)]).collect()
        };
        let usual_of = |now| usual(&hours(now), last);
        assert_eq!(usual_of(30_000.0).outcome, CheckOutcome::Pass);
        let missing = usual_of(9_000.0);
        assert_eq!(missing.outcome, CheckOutcome::Warn);
        assert!(
            missing.evidence.contains("2.5 requests a second")
                && missing.evidence.contains("10.0 in the same hour of 5")
        );
        assert_eq!(usual(&Points::new(), last).outcome, CheckOutcome::Warn);
    }
}
