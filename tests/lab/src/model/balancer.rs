//! Load balancers and their listeners.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Action, Rule};
use crate::clock::Time;

/// The two kinds that the lab has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BalancerKind {
    /// An ALB: it speaks HTTP and picks per request.
    Application,
    /// An NLB: it passes connections on and picks per connection.
    Network,
}

/// Protocols of listeners and target groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Protocol {
    Http,
    Https,
    Tcp,
    Tls,
    Udp,
    TcpUdp,
}

impl Protocol {
    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Udp => "UDP",
            Self::TcpUdp => "TCP_UDP",
        }
    }

    /// The other way round; `None` for what the lab does not have.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Http, Self::Https, Self::Tcp, Self::Tls, Self::Udp, Self::TcpUdp].into_iter().find(|p| p.name() == name)
    }

    /// Whether it is one of an ALB.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

/// A load balancer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LoadBalancer {
    /// `…:loadbalancer/app/NAME/ID` or `…/net/NAME/ID`.
    pub arn: String,
    /// Up to 32 letters, digits and hyphens.
    pub name: String,
    /// ALB or NLB.
    pub kind: BalancerKind,
    /// `internal` or `internet-facing`.
    pub scheme: String,
    /// The name that clients would resolve in AWS. In the lab nobody resolves it: see `_lab/state` for the addresses.
    pub dns_name: String,
    /// Where it lies.
    pub vpc: String,
    /// Zone and subnet of each zone it is in; one node in each.
    pub zones: Vec<(String, String)>,
    /// What lets clients in.
    pub security_groups: Vec<String>,
    /// When it was asked for.
    pub created: Time,
    /// Until then its state is `provisioning`.
    pub active_from: Time,
    /// Only those that were set; see [`LoadBalancer::attribute`].
    pub attributes: BTreeMap<String, String>,
}

impl LoadBalancer {
    /// The part of the ARN that metrics name it by: `app/NAME/ID`.
    pub fn dimension(&self) -> &str {
        self.arn.split_once(":loadbalancer/").map_or(&self.arn, |(_, dimension)| dimension)
    }

    /// What an attribute is set to, or its default; empty for one that this kind does not have.
    pub fn attribute(&self, key: &str) -> &str {
        self.attributes.get(key).map_or_else(|| default_attribute(self.kind, key), String::as_str)
    }

    /// An attribute in seconds; 0 for one that is no number.
    pub fn seconds(&self, key: &str) -> Duration {
        Duration::from_secs(self.attribute(key).parse().unwrap_or(0))
    }
}

/// Attributes with their defaults, as `DescribeLoadBalancerAttributes` lists them for an ALB.
pub const APPLICATION_ATTRIBUTES: [(&str, &str); 22] = [
    ("access_logs.s3.enabled", "false"),
    ("access_logs.s3.bucket", ""),
    ("access_logs.s3.prefix", ""),
    ("idle_timeout.timeout_seconds", "60"),
    ("deletion_protection.enabled", "false"),
    ("routing.http2.enabled", "true"),
    ("routing.http.drop_invalid_header_fields.enabled", "false"),
    ("routing.http.xff_client_port.enabled", "false"),
    ("routing.http.preserve_host_header.enabled", "false"),
    ("routing.http.xff_header_processing.mode", "append"),
    ("load_balancing.cross_zone.enabled", "true"),
    ("routing.http.desync_mitigation_mode", "defensive"),
    ("client_keep_alive.seconds", "3600"),
    ("waf.fail_open.enabled", "false"),
    ("routing.http.x_amzn_tls_version_and_cipher_suite.enabled", "false"),
    ("zonal_shift.config.enabled", "false"),
    ("connection_logs.s3.enabled", "false"),
    ("connection_logs.s3.bucket", ""),
    ("connection_logs.s3.prefix", ""),
    ("health_check_logs.s3.enabled", "false"),
    ("health_check_logs.s3.bucket", ""),
    ("health_check_logs.s3.prefix", ""),
];

/// The same for an NLB.
pub const NETWORK_ATTRIBUTES: [(&str, &str); 8] = [
    ("access_logs.s3.enabled", "false"),
    ("access_logs.s3.bucket", ""),
    ("access_logs.s3.prefix", ""),
    ("deletion_protection.enabled", "false"),
    ("ipv6.deny_all_igw_traffic", "false"),
    ("load_balancing.cross_zone.enabled", "false"),
    ("dns_record.client_routing_policy", "any_availability_zone"),
    ("zonal_shift.config.enabled", "false"),
];

/// The attributes of a kind, with their defaults.
pub fn attributes(kind: BalancerKind) -> &'static [(&'static str, &'static str)] {
    match kind {
        BalancerKind::Application => &APPLICATION_ATTRIBUTES,
        BalancerKind::Network => &NETWORK_ATTRIBUTES,
    }
}

fn default_attribute(kind: BalancerKind, key: &str) -> &'static str {
    attributes(kind).iter().find(|(name, _)| *name == key).map_or("", |(_, value)| value)
}

/// A listener, which is one with its default rule: whoever changes one has changed the other.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listener {
    /// `…:listener/app/NAME/ID/ID`.
    pub arn: String,
    /// Whose it is.
    pub load_balancer: String,
    /// The port that AWS knows it by. The lab's nodes serve it on ports that the kernel gave them.
    pub port: u16,
    /// What it speaks.
    pub protocol: Protocol,
    /// ARNs; the first is the default one.
    pub certificates: Vec<String>,
    /// For HTTPS and TLS.
    pub ssl_policy: Option<String>,
    /// For TLS.
    pub alpn: Vec<String>,
    /// What the default rule does.
    pub default_actions: Vec<Action>,
    /// The name of the default rule.
    pub default_rule: String,
    /// The numbered rules, lowest first.
    pub rules: Vec<Rule>,
    /// Only those that were set.
    pub attributes: BTreeMap<String, String>,
    /// Where the lab's clients reach it: the data plane says so ([`super::Model::set_listener_address`]). `None` until it
    /// serves.
    pub address: Option<SocketAddr>,
}

impl Listener {
    /// Every action list: those of the numbered rules, then the default rule's.
    pub fn action_lists(&self) -> impl Iterator<Item = &[Action]> {
        self.rules.iter().map(|rule| &rule.actions[..]).chain([&self.default_actions[..]])
    }

    /// The ARN of a rule of this listener with such an id.
    pub fn rule_arn(&self, id: &str) -> String {
        format!("{}/{id}", self.arn.replace(":listener/", ":listener-rule/"))
    }
}
