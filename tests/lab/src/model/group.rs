//! Target groups, their targets and what is known of each target's health.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Protocol;
use crate::clock::Time;

/// What a target is named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetType {
    /// By the id of an EC2 instance; nothing is behind one in the lab.
    Instance,
    /// By its address.
    Ip,
    /// An ALB, by its ARN; behind an NLB only.
    Alb,
}

impl TargetType {
    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Ip => "ip",
            Self::Alb => "alb",
        }
    }
}

/// How a load balancer asks a target how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthCheck {
    /// Off is allowed for functions only, so always on here.
    pub enabled: bool,
    /// HTTP, HTTPS or TCP.
    pub protocol: Protocol,
    /// `None` is `traffic-port`: the target's own.
    pub port: Option<u16>,
    /// For HTTP and HTTPS.
    pub path: String,
    /// Between two checks, 5 to 300 s.
    pub interval: Duration,
    /// 2 to 120 s.
    pub timeout: Duration,
    /// Checks in a row before it is healthy again, 2 to 10.
    pub healthy_threshold: u32,
    /// Checks in a row before it is unhealthy, 2 to 10.
    pub unhealthy_threshold: u32,
    /// Such as `200`, `200,202`, `200-499`; for HTTP and HTTPS.
    pub matcher: String,
}

impl HealthCheck {
    /// Whether an answer with this status passes.
    pub fn matches(&self, status: u16) -> bool {
        self.matcher.split(',').any(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let (low, high) = (low.trim().parse::<u16>(), high.trim().parse::<u16>());
            matches!((low, high), (Ok(low), Ok(high)) if (low..=high).contains(&status))
        })
    }
}

/// A target group.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TargetGroup {
    /// `…:targetgroup/NAME/ID`.
    pub arn: String,
    /// Up to 32 letters, digits and hyphens.
    pub name: String,
    /// What the load balancer speaks to targets.
    pub protocol: Protocol,
    /// For targets that are registered without one.
    pub port: u16,
    /// Where it lies.
    pub vpc: String,
    /// What targets are named by.
    pub target_type: TargetType,
    /// How they are checked.
    pub health_check: HealthCheck,
    /// Only those that were set; see [`TargetGroup::attribute`].
    pub attributes: BTreeMap<String, String>,
    /// By (id, port), in the order of registration; with those that are draining.
    pub targets: Vec<Target>,
}

impl TargetGroup {
    /// The part of the ARN that metrics name it by: `targetgroup/NAME/ID`.
    pub fn dimension(&self) -> &str {
        self.arn.rsplit_once(':').map_or(&self.arn, |(_, dimension)| dimension)
    }

    /// What an attribute is set to, or its default; empty for one that does not exist.
    pub fn attribute(&self, key: &str) -> &str {
        let default = || attributes(self).iter().find(|(name, _)| *name == key).map_or("", |(_, value)| value);
        self.attributes.get(key).map_or_else(default, String::as_str)
    }

    /// An attribute in seconds; 0 for one that is no number.
    pub fn seconds(&self, key: &str) -> Duration {
        Duration::from_secs(self.attribute(key).parse().unwrap_or(0))
    }

    /// How long a target that was taken out keeps what it has under way.
    pub fn deregistration_delay(&self) -> Duration {
        self.seconds("deregistration_delay.timeout_seconds")
    }

    /// A target by name.
    pub fn target(&self, id: &str, port: u16) -> Option<&Target> {
        self.targets.iter().find(|target| target.id == id && target.port == port)
    }

    /// A target by name, to be changed.
    pub fn target_mut(&mut self, id: &str, port: u16) -> Option<&mut Target> {
        self.targets.iter_mut().find(|target| target.id == id && target.port == port)
    }
}

/// Attributes with their defaults of a target group behind an ALB.
pub const HTTP_ATTRIBUTES: [(&str, &str); 14] = [
    ("stickiness.enabled", "false"),
    ("deregistration_delay.timeout_seconds", "300"),
    ("stickiness.type", "lb_cookie"),
    ("stickiness.lb_cookie.duration_seconds", "86400"),
    ("stickiness.app_cookie.cookie_name", ""),
    ("stickiness.app_cookie.duration_seconds", "86400"),
    ("slow_start.duration_seconds", "0"),
    ("load_balancing.algorithm.type", "round_robin"),
    ("load_balancing.algorithm.anomaly_mitigation", "off"),
    ("load_balancing.cross_zone.enabled", "use_load_balancer_configuration"),
    ("target_group_health.dns_failover.minimum_healthy_targets.count", "1"),
    ("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "off"),
];

/// The same behind an NLB.
pub const TCP_ATTRIBUTES: [(&str, &str); 10] = [
    ("stickiness.enabled", "false"),
    ("deregistration_delay.timeout_seconds", "300"),
    ("deregistration_delay.connection_termination.enabled", "false"),
    ("stickiness.type", "source_ip"),
    ("proxy_protocol_v2.enabled", "false"),
    ("preserve_client_ip.enabled", "false"),
    ("load_balancing.cross_zone.enabled", "use_load_balancer_configuration"),
    ("target_health_state.unhealthy.connection_termination.enabled", "true"),
    ("target_group_health.dns_failover.minimum_healthy_targets.count", "1"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1"),
];

/// The attributes of a target group, with their defaults.
pub fn attributes(group: &TargetGroup) -> &'static [(&'static str, &'static str)] {
    if group.protocol.is_http() { &HTTP_ATTRIBUTES } else { &TCP_ATTRIBUTES }
}

/// One target: AWS knows it by id *and* port, so two on one address are two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Target {
    /// An address, or the ARN of an ALB.
    pub id: String,
    /// Where it listens.
    pub port: u16,
    /// As given, or the zone of its subnet.
    pub zone: Option<String>,
    /// What the prober says.
    pub health: Health,
    /// When it was registered: slow start and the first check count from here.
    pub registered: Time,
    /// Until then it finishes what it has; then it is gone. `None` unless it was deregistered.
    pub draining_until: Option<Time>,
}

/// The states of the service model, without those that only other kinds of load balancers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    Initial,
    Healthy,
    Unhealthy,
    Unused,
    Draining,
    Unavailable,
}

impl HealthState {
    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unused => "unused",
            Self::Draining => "draining",
            Self::Unavailable => "unavailable",
        }
    }
}

/// How a target is, and why if it is not well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// The state.
    pub state: HealthState,
    /// Such as `Target.ResponseCodeMismatch`.
    pub reason: Option<&'static str>,
    /// Such as `Health checks failed with these codes: [503]`.
    pub description: Option<String>,
}

impl Health {
    /// Well.
    pub fn healthy() -> Self {
        Self { state: HealthState::Healthy, reason: None, description: None }
    }

    /// Anything else.
    pub fn of(state: HealthState, reason: &'static str, description: impl Into<String>) -> Self {
        Self { state, reason: Some(reason), description: Some(description.into()) }
    }

    /// Registered, and not yet asked.
    pub fn registering() -> Self {
        Self::of(HealthState::Initial, "Elb.RegistrationInProgress", "Target registration is in progress")
    }

    /// In a target group that no load balancer uses.
    pub fn not_in_use() -> Self {
        let why = "Target group is not configured to receive traffic from the load balancer";
        Self::of(HealthState::Unused, "Target.NotInUse", why)
    }

    /// Taken out.
    pub fn draining() -> Self {
        let why = "Target deregistration is in progress";
        Self::of(HealthState::Draining, "Target.DeregistrationInProgress", why)
    }
}
