//! What a node measures: each request it served goes into the metric store under AWS's names and dimension sets, and from
//! nowhere else.
//!
//! The sets are those of AWS CDK's generated metric types: most metrics of a target exist for the load balancer, its zone,
//! the target group and both, while error codes that the load balancer itself made have no target group. A counter that
//! stays at zero is not published.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::Shared;
use crate::clock::Time;
use crate::cloudwatch::arrivals::Arrivals;
use crate::cloudwatch::store::{Metric, SeriesId};

/// The dimensions under which a metric is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sets {
    /// The load balancer.
    Balancer,
    /// The load balancer, and with its zone.
    Zones,
    /// The load balancer, and with the target group.
    Groups,
    /// The load balancer, its zone, the target group, and both.
    All,
    /// The target group and the load balancer, and with the zone: never the load balancer alone.
    Hosts,
    /// The target group alone, and with the load balancer.
    PerTarget,
}

/// A metric of AWS.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    name: &'static str,
    unit: &'static str,
    sets: Sets,
}

const fn count(name: &'static str, sets: Sets) -> Kind {
    Kind { name, unit: "Count", sets }
}

pub(super) const REQUESTS: Kind = count("RequestCount", Sets::Groups);
pub(super) const REQUESTS_PER_TARGET: Kind = count("RequestCountPerTarget", Sets::PerTarget);
pub(super) const RESPONSE_TIME: Kind = Kind { name: "TargetResponseTime", unit: "Seconds", sets: Sets::All };
pub(super) const CONNECTION_ERRORS: Kind = count("TargetConnectionErrorCount", Sets::All);
pub(super) const HEALTHY: Kind = count("HealthyHostCount", Sets::Hosts);
pub(super) const UNHEALTHY: Kind = count("UnHealthyHostCount", Sets::Hosts);
pub(super) const ACTIVE_CONNECTIONS: Kind = count("ActiveConnectionCount", Sets::Balancer);
pub(super) const NEW_CONNECTIONS: Kind = count("NewConnectionCount", Sets::Balancer);
pub(super) const FIXED_RESPONSES: Kind = count("HTTP_Fixed_Response_Count", Sets::Zones);
pub(super) const REDIRECTS: Kind = count("HTTP_Redirect_Count", Sets::Zones);
pub(super) const NOT_STICKY: Kind = count("NonStickyRequestCount", Sets::Zones);
pub(super) const ACTIVE_FLOWS: Kind = count("ActiveFlowCount", Sets::Zones);
pub(super) const NEW_FLOWS: Kind = count("NewFlowCount", Sets::Zones);
pub(super) const TARGET_RESETS: Kind = count("TCP_Target_Reset_Count", Sets::Zones);
pub(super) const CLIENT_RESETS: Kind = count("TCP_Client_Reset_Count", Sets::Zones);
pub(super) const OWN_RESETS: Kind = count("TCP_ELB_Reset_Count", Sets::Zones);
pub(super) const BYTES: Kind = Kind { name: "ProcessedBytes", unit: "Bytes", sets: Sets::Zones };

/// The class of a status that a target answered.
pub(super) fn target_code(status: u16) -> Kind {
    count(
        match status {
            0..300 => "HTTPCode_Target_2XX_Count",
            300..400 => "HTTPCode_Target_3XX_Count",
            400..500 => "HTTPCode_Target_4XX_Count",
            _ => "HTTPCode_Target_5XX_Count",
        },
        Sets::All,
    )
}

/// What a status that the load balancer made counts as: its class, and itself if it has a metric of its own.
pub(super) fn own_codes(status: u16) -> impl Iterator<Item = Kind> {
    let class = match status {
        300..400 => Some(count("HTTPCode_ELB_3XX_Count", Sets::Balancer)),
        400..500 => Some(count("HTTPCode_ELB_4XX_Count", Sets::Zones)),
        500.. => Some(count("HTTPCode_ELB_5XX_Count", Sets::Zones)),
        _ => None,
    };
    let itself = match status {
        500 => Some("HTTPCode_ELB_500_Count"),
        502 => Some("HTTPCode_ELB_502_Count"),
        503 => Some("HTTPCode_ELB_503_Count"),
        504 => Some("HTTPCode_ELB_504_Count"),
        _ => None,
    };
    class.into_iter().chain(itself.map(|name| count(name, Sets::Balancer)))
}

/// One thing to note: what, how much, how often.
pub(super) type Note = (Kind, f64, u64);

/// The meter of one node.
#[derive(Debug)]
pub(super) struct Meter {
    shared: Arc<Shared>,
    arrivals: Arrivals,
    node: u16,
    namespace: &'static str,
    /// `app/NAME/ID` or `net/NAME/ID`.
    balancer: String,
    zone: String,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    series: BTreeMap<&'static str, BTreeMap<String, Vec<SeriesId>>>,
    minute: Time,
    /// How many were noted in that minute: some of them arrive late.
    noted: u64,
}

impl Meter {
    pub(super) fn new(
        shared: Arc<Shared>,
        arrivals: Arrivals,
        node: u16,
        namespace: &'static str,
        balancer: &str,
        zone: &str,
    ) -> Self {
        let (balancer, zone) = (balancer.to_owned(), zone.to_owned());
        Self { shared, arrivals, node, namespace, balancer, zone, inner: Mutex::default() }
    }

    /// Notes what belongs together (one request): all of it arrives at one time. `group` is a target group's dimension, or
    /// empty for what has none.
    pub(super) fn note(&self, at: Time, group: &str, notes: &[Note]) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.minute != at.minute() {
            inner.minute = at.minute();
            inner.noted = 0;
        }
        let arrives = self.arrivals.of(self.node, at.minute()).of(inner.noted);
        inner.noted += 1;
        let mut store = self.shared.cloudwatch.store();
        for &(kind, value, times) in notes {
            let known = inner.series.get(kind.name).is_some_and(|groups| groups.contains_key(group));
            if !known {
                let opened = self.sets(kind, group).into_iter().filter_map(|metric| store.open(metric, kind.unit));
                let opened = opened.collect();
                inner.series.entry(kind.name).or_default().insert(group.to_owned(), opened);
            }
            for id in inner.series.get(kind.name).and_then(|groups| groups.get(group)).into_iter().flatten() {
                store.measured(*id, at, arrives).add(value, times);
            }
        }
    }

    /// The series of a metric: one for each of its dimension sets.
    fn sets(&self, kind: Kind, group: &str) -> Vec<Metric> {
        let (balancer, zone) = (("LoadBalancer", self.balancer.as_str()), ("AvailabilityZone", self.zone.as_str()));
        let group = ("TargetGroup", group);
        let sets: &[&[(&str, &str)]] = match kind.sets {
            Sets::Balancer => &[&[balancer]],
            Sets::Zones => &[&[balancer], &[balancer, zone]],
            Sets::Groups => &[&[balancer], &[balancer, group]],
            Sets::All => &[&[balancer], &[balancer, zone], &[balancer, group], &[balancer, zone, group]],
            Sets::Hosts => &[&[balancer, group], &[balancer, zone, group]],
            Sets::PerTarget => &[&[group], &[balancer, group]],
        };
        sets.iter()
            .filter(|set| set.iter().all(|(_, value)| !value.is_empty()))
            .map(|set| Metric {
                namespace: self.namespace.to_owned(),
                name: kind.name.to_owned(),
                dimensions: set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            })
            .collect()
    }
}

/// How often a gauge is sampled, in lab time.
pub(super) const GAUGE_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves the dimension sets by a few metrics that differ in them, and that what one node measured in one go arrives
    /// in one go.
    #[test]
    fn metrics_are_published_under_their_own_sets() {
        let (scene, limits) = (crate::scenario::Scene::default(), crate::limits::Limits::new(false));
        let shared =
            Arc::new(Shared::new(crate::clock::Clock::start(1), crate::model::Model::default(), scene, limits));
        let arrivals = Arrivals { seed: 1, nodes: 1 };
        let meter = Meter::new(Arc::clone(&shared), arrivals, 0, "AWS/ApplicationELB", "app/a/1", "use1-a");
        let at = Time(1_800_000_000_000);
        meter.note(at, "targetgroup/t/2", &[(REQUESTS, 1.0, 1), (target_code(502), 1.0, 1), (HEALTHY, 2.0, 1)]);
        meter.note(at, "", &own_codes(503).map(|kind| (kind, 1.0, 1)).collect::<Vec<_>>());
        let store = shared.cloudwatch.store();
        let listed: Vec<String> = store
            .list(at.minute(), at + Duration::from_mins(10))
            .map(|metric| {
                format!("{} {}", metric.name, metric.dimensions.keys().cloned().collect::<Vec<_>>().join("+"))
            })
            .collect();
        assert_eq!(
            listed,
            [
                "HTTPCode_ELB_503_Count LoadBalancer",
                "HTTPCode_ELB_5XX_Count AvailabilityZone+LoadBalancer",
                "HTTPCode_ELB_5XX_Count LoadBalancer",
                "HTTPCode_Target_5XX_Count AvailabilityZone+LoadBalancer",
                "HTTPCode_Target_5XX_Count AvailabilityZone+LoadBalancer+TargetGroup",
                "HTTPCode_Target_5XX_Count LoadBalancer",
                "HTTPCode_Target_5XX_Count LoadBalancer+TargetGroup",
                "HealthyHostCount AvailabilityZone+LoadBalancer+TargetGroup",
                "HealthyHostCount LoadBalancer+TargetGroup",
                "RequestCount LoadBalancer",
                "RequestCount LoadBalancer+TargetGroup",
            ]
        );
        let arrival = arrivals.of(0, at.minute());
        assert_eq!(store.list(at.minute(), arrival.main - Duration::from_millis(1)).count(), 0);
        assert_eq!(store.list(at.minute(), arrival.main).count(), 11);
    }
}
