//! The parts of EC2 that the others refer to: network, subnets, security groups. Only what checks of the path from an NLB
//! to an ALB read; nothing here lets a packet through or stops one.

use std::collections::BTreeMap;

use serde::Serialize;

/// One VPC, with what lies in it.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    /// Its id.
    pub vpc: String,
    /// Its addresses.
    pub cidr: String,
    /// By id.
    pub subnets: BTreeMap<String, Subnet>,
    /// By id.
    pub security_groups: BTreeMap<String, SecurityGroup>,
}

/// A subnet.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Subnet {
    /// Its id.
    pub id: String,
    /// The name of its zone.
    pub zone: String,
    /// Its addresses.
    pub cidr: String,
}

/// A security group: what it lets in.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SecurityGroup {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it lets in; everything may go out.
    pub ingress: Vec<Ingress>,
}

/// One rule of a security group, for TCP.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ingress {
    /// First and last port; `None` for all traffic.
    pub ports: Option<(u16, u16)>,
    /// Address ranges.
    pub cidrs: Vec<String>,
    /// Other groups whose members may come in.
    pub groups: Vec<String>,
}
