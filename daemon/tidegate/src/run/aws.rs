//! What cutovers in AWS are carried out with: one connection and one asker of CloudWatch for each region, shared by all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cutover::policy::{BalancerPolicy, MetricsPolicy};
use cutover::{Policy, Timestamp, decide, plan};
use judge::{GuardKind, latency};
use tokio::sync::Mutex;

use super::{Adapters, RunError, prometheus};
use crate::aws::lease::{Holder, Lease};
use crate::aws::pace::Pace;
use crate::aws::{Aws, find, lease};
use crate::balancer::alb::{Alb, Place};
use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::fleet::account::WithAccount;
use crate::fleet::alb::{AlbFleet, Groups as FleetGroups};
use crate::fleet::behind::WithProxies;
use crate::fleet::captured::{Relies, WithCapture};
use crate::fleet::leased::WithLease;
use crate::metrics::MetricSource;
use crate::metrics::cloudwatch::requests::Requests;
use crate::metrics::cloudwatch::{Cloudwatch, Groups, Poller};
use crate::metrics::two_speeds::TwoSpeeds;
use crate::port::PortError;
use crate::reroute::cloud::RealCloud;
use crate::reroute::knock::Knock;

/// The regions that cutovers of this process are in.
#[derive(Clone, Default)]
pub(super) struct Regions(Arc<Mutex<BTreeMap<String, Region>>>);

#[derive(Clone)]
struct Region {
    aws: Aws,
    poller: Poller,
    pace: Pace,
}

impl Region {
    /// What cutovers share that are reached by `aws`. Must be called within a runtime.
    fn new(aws: Aws, clock: Clock) -> Self {
        Self { poller: Poller::new(aws.watching(), clock.clone()), pace: Pace::new(clock), aws }
    }
}

impl Regions {
    /// Takes `aws` for the way to a region. Must be called within a runtime.
    #[cfg(feature = "lab")]
    pub(super) async fn put(&self, name: &str, aws: Aws, clock: Clock) {
        self.0.lock().await.insert(name.to_owned(), Region::new(aws, clock));
    }

    /// The way to a region; made at the first call, and kept, since credentials are found and renewed by it.
    async fn of(&self, name: &str, clock: &Clock) -> Region {
        let mut regions = self.0.lock().await;
        if let Some(region) = regions.get(name) {
            return region.clone();
        }
        let region = Region::new(Aws::new(Some(name.to_owned()), clock.clone()).await, clock.clone());
        regions.insert(name.to_owned(), region.clone());
        region
    }

    /// The adapters for a cutover by a policy that is about an ALB; the token is for proxies behind its target groups. The
    /// holder takes the lease that the policy asks for; without one it is only looked at.
    pub(super) async fn adapters(
        &self,
        policy: &Policy,
        token: Option<&str>,
        holder: Option<Holder>,
        started: Timestamp,
        clock: &Clock,
    ) -> Result<Adapters, RunError> {
        let BalancerPolicy::Alb { listener, rules, source, target } = &policy.balancer else {
            return Err(RunError::NoAws { service: policy.service.clone() });
        };
        // A policy's ARNs were read as such, so the region is there; credentials decide where it is not.
        let Region { aws, poller, pace } = self.of(find::region(source).unwrap_or_default(), clock).await;
        let (listener, rules) = (listener.clone(), rules.clone());
        let (source, target) = (source.clone(), target.clone());
        let place =
            Place { listener: listener.clone(), rules: rules.clone(), source: source.clone(), target: target.clone() };
        let metrics: Arc<dyn MetricSource> = match (&policy.metrics, prometheus::source(policy, clock)?) {
            (_, Some(metrics)) => metrics,
            (MetricsPolicy::Cloudwatch { settle }, None) => {
                let groups = Groups {
                    listener: listener.clone(),
                    source: source.clone(),
                    target: target.clone(),
                    settle: *settle,
                    tolerances: tolerances(policy),
                };
                Arc::new(Cloudwatch::new(poller, aws.balancing(), groups, aws.clock.clone(), clock.clone()))
            }
            (MetricsPolicy::Proxy | MetricsPolicy::Prometheus(_), None) => {
                return Err(RunError::NoAws { service: policy.service.clone() });
            }
        };
        let services =
            |cluster: &String| (cluster.clone(), policy.source.service.clone(), policy.target.service.clone());
        let cluster = policy.fleet.cluster.as_ref().map(services);
        let (healthy_min, scale) = (policy.fleet.healthy_min, policy.fleet.scale);
        let looked_after = FleetGroups { listener, rules, source, target, cluster, healthy_min, scale };
        let lease = match &policy.lease {
            Some(leased) => {
                let place = lease::Place {
                    listener: place.listener.clone(),
                    source: place.source.clone(),
                    target: place.target.clone(),
                };
                let lease = Lease::new(&aws, leased, place, holder, clock.clone()).map_err(RunError::Outbound)?;
                Some(lease)
            }
            None => None,
        };
        let balancer = Arc::new(Alb::new(&aws, place).under(lease.clone()));
        let mut fleet: Arc<dyn Fleet> = Arc::new(AlbFleet::new(&aws, looked_after, pace, clock.clone()));
        if let Some(lease) = lease {
            fleet = Arc::new(WithLease::new(fleet, lease));
        }
        let fleet: Arc<dyn Fleet> = Arc::new(WithAccount::new(fleet, aws, clock.clone(), end(policy, started)));
        if policy.target.proxies.is_empty() {
            return Ok(Adapters { balancer, metrics, fleet });
        }
        let source = super::named(policy, &policy.source.proxies, token)?;
        let target = super::named(policy, &policy.target.proxies, token)?;
        let all = vec![(source.clone(), Relies::Yes), (target.clone(), Relies::No)];
        let fleet = Arc::new(WithProxies::new(fleet, source.clone(), target.clone()));
        Ok(Adapters {
            balancer,
            metrics: Arc::new(TwoSpeeds::new(metrics, source, target, clock)),
            fleet: Arc::new(WithCapture::new(fleet, all, clock.clone())),
        })
    }
}

/// When a cutover that was started at `started` is expected to end, at the traffic that a plan assumes; where its evidence
/// never suffices, when it ends at the earliest.
fn end(policy: &Policy, started: Timestamp) -> Timestamp {
    let plan = plan::plan(policy, plan::Assumed::usual(plan::REQUESTS_PER_SECOND));
    let seconds = plan.expected_seconds.unwrap_or(plan.least_seconds);
    started.plus(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO))
}

/// AWS as a reroute by `policy` needs it; doors are knocked at through `knock`.
pub async fn reroute(policy: &Policy, clock: &Clock, knock: Knock) -> RealCloud {
    let region = match &policy.balancer {
        BalancerPolicy::Alb { source, .. } => find::region(source).map(str::to_owned),
        BalancerPolicy::Listener { .. } => None,
    };
    RealCloud::new(Aws::new(region, clock.clone()).await, clock.clone(), knock)
}

/// What CloudWatch has of the requests of these target groups in a region, whose minutes take as long as `settle` says. Must be
/// called within a runtime.
///
/// # Errors
/// As [`Requests::new`].
pub async fn balancer_requests(
    region: &str,
    groups: &[String],
    settle: Duration,
    clock: &Clock,
) -> Result<Requests, PortError> {
    let aws = Aws::new(Some(region.to_owned()), clock.clone()).await;
    Requests::new(&aws, clock.clone(), groups, settle).await
}

/// By how many buckets the judge moves an edge of response times before it cuts the target: the tolerance of each guard on
/// latency, and that of the gate to the next step, which is always wider.
fn tolerances(policy: &Policy) -> Vec<u16> {
    let guards = decide::guards(policy);
    let on_latency = |kind: GuardKind| {
        matches!(kind, GuardKind::Latency | GuardKind::LatencyBody | GuardKind::LatencyTail | GuardKind::LatencySlow)
    };
    let tolerated: BTreeSet<u16> = guards
        .guards
        .iter()
        .filter(|guard| on_latency(guard.kind))
        .map(|guard| latency::buckets_of(guard.ratio))
        .collect();
    let gate = latency::buckets_of(guards.pass.latency_ratio);
    let passing = tolerated.iter().map(|buckets| gate.max(buckets.saturating_add(1)));
    let all: BTreeSet<u16> = tolerated.iter().copied().chain(passing).chain([gate.max(1)]).collect();
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::policy;

    /// Proves that CloudWatch is asked exactly where the judge looks: for each tolerance on latency and for the gate.
    #[test]
    fn every_tolerance_on_latency_has_edges_of_its_own() {
        let mut policy = policy("search");
        let gate = latency::buckets_of(decide::guards(&policy).pass.latency_ratio);
        assert_eq!(tolerances(&policy), [gate.max(1)]);
        let errors = policy.guards[0].clone();
        for (kind, ratio) in [(GuardKind::Latency, 1.1), (GuardKind::LatencyTail, 1.5)] {
            let mut guard = errors.clone();
            (guard.guard.kind, guard.guard.ratio) = (kind, ratio);
            policy.guards.push(guard);
        }
        let found = tolerances(&policy);
        for buckets in [1.1, 1.5].map(latency::buckets_of) {
            assert!(found.contains(&buckets) && found.contains(&gate.max(buckets + 1)), "{found:?}");
        }
        assert!(found.is_sorted_by(|one, other| one < other), "{found:?}");
    }
}
