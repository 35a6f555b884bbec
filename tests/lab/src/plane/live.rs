//! What nodes see of the account at once: attributes, target groups, targets and their health. Rules and weights are not
//! here, since each node learns of those in its own time (see [`super::node`]).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::upstream::Upstreams;
use crate::model::{HealthState, Model, Target, TargetType};

/// One look at the account.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// By ARN.
    pub(super) balancers: BTreeMap<String, Limits>,
    /// By ARN.
    pub(super) groups: BTreeMap<String, Group>,
}

/// The attributes of a load balancer that its nodes obey.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The oldest a client's connection may get, in lab time.
    pub(super) keep_alive: Duration,
    /// How long a connection may be silent, in real time.
    pub(super) idle: Duration,
}

/// A target group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) arn: String,
    /// `targetgroup/NAME/ID`.
    pub(super) dimension: String,
    pub(super) algorithm: Algorithm,
    /// For how long a client stays with one target, if it does.
    pub(super) sticky: Option<Duration>,
    /// With fewer healthy targets than that, all are used.
    healthy_min: usize,
    pub(super) targets: Vec<Place>,
}

/// How a group picks among its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    RoundRobin,
    LeastOutstanding,
    Random,
}

/// A target that may get requests: all but those that drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: String,
    pub(super) port: u16,
    state: HealthState,
    /// Where to connect to; `None` if nothing is there, as behind the id of an instance.
    pub(super) address: Option<SocketAddr>,
}

impl Live {
    pub(super) fn of(model: &Model, upstreams: &Upstreams, fronts: &BTreeMap<(String, u16), SocketAddr>) -> Self {
        let balancers = model.load_balancers.values().map(|balancer| {
            let keep_alive = balancer.seconds("client_keep_alive.seconds");
            (balancer.arn.clone(), Limits { keep_alive, idle: balancer.seconds("idle_timeout.timeout_seconds") })
        });
        let groups = model.target_groups.values().map(|group| {
            let place = |target: &Target| Place {
                id: target.id.clone(),
                port: target.port,
                state: target.health.state,
                address: address(group.target_type, target, upstreams, fronts),
            };
            let sticky =
                group.attribute("stickiness.enabled") == "true" && group.attribute("stickiness.type") == "lb_cookie";
            let healthy_min =
                group.attribute("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count");
            let live = Group {
                arn: group.arn.clone(),
                dimension: group.dimension().to_owned(),
                algorithm: match group.attribute("load_balancing.algorithm.type") {
                    "least_outstanding_requests" => Algorithm::LeastOutstanding,
                    "weighted_random" => Algorithm::Random,
                    _ => Algorithm::RoundRobin,
                },
                sticky: sticky.then(|| group.seconds("stickiness.lb_cookie.duration_seconds")),
                healthy_min: healthy_min.parse().unwrap_or(1),
                targets: group.targets.iter().filter(|target| target.draining_until.is_none()).map(place).collect(),
            };
            (group.arn.clone(), live)
        });
        Self { balancers: balancers.collect(), groups: groups.collect() }
    }
}

/// Where a target listens: an address of this machine as it is, any other address where the lab runs an upstream in its
/// place, an ALB where its listener of that port is.
pub(super) fn address(
    kind: TargetType,
    target: &Target,
    upstreams: &Upstreams,
    fronts: &BTreeMap<(String, u16), SocketAddr>,
) -> Option<SocketAddr> {
    match kind {
        TargetType::Instance => None,
        TargetType::Alb => fronts.get(&(target.id.clone(), target.port)).copied(),
        TargetType::Ip => {
            let ip: IpAddr = target.id.parse().ok()?;
            let elsewhere = || upstreams.address(&target.id, target.port);
            if ip.is_loopback() { Some(SocketAddr::new(ip, target.port)) } else { elsewhere() }
        }
    }
}

impl Group {
    /// The targets that get requests: the healthy ones, or all of them if there are too few (ELB guide, "fail open").
    pub(super) fn candidates(&self) -> Vec<&Place> {
        let healthy: Vec<&Place> = self.targets.iter().filter(|target| target.state == HealthState::Healthy).collect();
        if healthy.len() >= self.healthy_min.max(1) { healthy } else { self.targets.iter().collect() }
    }

    /// How many are healthy, and how many are unhealthy: new ones are neither.
    pub(super) fn hosts(&self) -> (usize, usize) {
        let count = |state| self.targets.iter().filter(|target| target.state == state).count();
        (count(HealthState::Healthy), count(HealthState::Unhealthy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(healthy: &[bool], healthy_min: usize) -> Group {
        let place = |(number, healthy): (usize, &bool)| Place {
            id: "127.0.0.1".to_owned(),
            port: number as u16 + 1,
            state: if *healthy { HealthState::Healthy } else { HealthState::Unhealthy },
            address: None,
        };
        Group {
            arn: "arn".to_owned(),
            dimension: "targetgroup/t/1".to_owned(),
            algorithm: Algorithm::RoundRobin,
            sticky: None,
            healthy_min,
            targets: healthy.iter().enumerate().map(place).collect(),
        }
    }

    /// Proves that unhealthy targets get nothing while enough are healthy, and everything fails open when too few are.
    #[test]
    fn too_few_healthy_targets_fail_open() {
        let ports = |group: Group| group.candidates().iter().map(|target| target.port).collect::<Vec<_>>();
        assert_eq!(ports(group(&[true, false, true], 1)), [1, 3]);
        assert_eq!(ports(group(&[false, false], 1)), [1, 2]);
        assert_eq!(ports(group(&[true, false, false], 2)), [1, 2, 3]);
        assert_eq!(ports(group(&[], 1)), [] as [u16; 0]);
    }
}
