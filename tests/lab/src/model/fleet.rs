//! ECS clusters, services and tasks, and what Application Auto Scaling is told about them.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use serde::Serialize;

use crate::clock::Time;

/// How many events a service keeps: as many as AWS shows.
pub const EVENTS_MAX: usize = 100;

/// All of ECS, and the scalable targets.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Fleet {
    /// By name.
    pub clusters: BTreeMap<String, Cluster>,
    /// By ARN.
    pub services: BTreeMap<String, Service>,
    /// By ARN; stopped ones for as long as AWS shows them, about an hour.
    pub tasks: BTreeMap<String, Task>,
    /// By resource id, `service/CLUSTER/SERVICE`.
    pub scalable: BTreeMap<String, Scalable>,
}

/// A cluster.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Cluster {
    /// `…:cluster/NAME`.
    pub arn: String,
    /// Its name.
    pub name: String,
}

/// A service: so many tasks of one kind, registered in a target group.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Service {
    /// `…:service/CLUSTER/NAME`.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// The cluster's name.
    pub cluster: String,
    /// `ACTIVE`, `DRAINING` or `INACTIVE`.
    pub status: String,
    /// How many tasks there shall be.
    pub desired: u32,
    /// What a task runs; another one starts a deployment.
    pub task_definition: String,
    /// Container port of the service's tasks, as its load balancer's entry names it.
    pub container_port: u16,
    /// Where its tasks are registered; empty for none.
    pub target_group: String,
    /// When it was made.
    pub created: Time,
    /// Newest first; the first is `PRIMARY`.
    pub deployments: Vec<Deployment>,
    /// Newest first.
    pub events: VecDeque<(Time, String)>,
    /// `ROLLING`, or one of the strategies that move the listener's weights themselves.
    pub strategy: String,
    /// `ECS`, `CODE_DEPLOY` or `EXTERNAL`.
    pub controller: String,
    /// Set by a fault: its tasks stop before they run, with this reason.
    pub cannot_start: Option<String>,
}

/// A deployment of a service.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Deployment {
    /// `ecs-svc/…`.
    pub id: String,
    /// What its tasks run.
    pub task_definition: String,
    /// When it began.
    pub created: Time,
    /// When it last changed.
    pub updated: Time,
    /// Tasks of it that stopped before they ran.
    pub failed: u32,
    /// `IN_PROGRESS`, `COMPLETED` or `FAILED`.
    pub rollout: String,
}

/// Where a task is in its life, as ECS has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskState {
    Provisioning,
    Pending,
    Running,
    Deactivating,
    Deprovisioning,
    Stopped,
}

impl TaskState {
    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// A task. While it is pending, the data plane starts an upstream for it and says where that listens
/// ([`super::Model::set_task_address`]). While it is deactivating it drains, and still answers; from deprovisioning on its
/// upstream goes away again.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Task {
    /// `…:task/CLUSTER/ID`.
    pub arn: String,
    /// The service's ARN.
    pub service: String,
    /// The deployment it belongs to.
    pub deployment: String,
    /// Where it is.
    pub state: TaskState,
    /// Since when.
    pub since: Time,
    /// When it was asked for.
    pub created: Time,
    /// The zone of its subnet.
    pub zone: String,
    /// The address and port of its upstream: what is registered in the target group. `None` until it has one.
    pub address: Option<SocketAddr>,
    /// Why it stopped.
    pub stopped_reason: Option<String>,
}

/// What Application Auto Scaling may do to a service's count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Scalable {
    /// `service/CLUSTER/SERVICE`.
    pub resource: String,
    /// A count below it is pulled up.
    pub min: u32,
    /// A count above it is pulled down.
    pub max: u32,
    /// Whether scaling in is suspended.
    pub in_suspended: bool,
    /// Whether scaling out is suspended.
    pub out_suspended: bool,
    /// Whether scheduled scaling is suspended.
    pub scheduled_suspended: bool,
    /// When it was registered.
    pub created: Time,
}
