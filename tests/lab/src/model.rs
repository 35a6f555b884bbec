//! What exists in the lab's account: load balancers, target groups, services, networks, and what they are set to.
//!
//! Plain values without wire formats, sockets or clocks: whoever asks brings the time along. They lie behind one lock in
//! [`crate::Shared`] and are changed by functions that check first, as AWS would, and answer with AWS's error codes; a
//! refused change leaves everything as it was. What AWS makes happen by itself (a target becomes healthy, a task starts)
//! is done by those who make it happen for real, through the same functions.

pub mod action;
pub mod balancer;
pub mod check;
pub mod fleet;
pub mod group;
pub mod network;
mod refusal;
pub mod rule;

use std::collections::BTreeMap;

use serde::Serialize;

pub use action::Action;
pub use balancer::{BalancerKind, Listener, LoadBalancer, Protocol};
pub use group::{Health, HealthState, Target, TargetGroup, TargetType};
pub use refusal::Refusal;
pub use rule::{Condition, Rule};

/// The account that everything belongs to: the one that AWS's own examples use.
pub const ACCOUNT: &str = "123456789012";
/// The only region there is.
pub const REGION: &str = "us-east-1";

/// Everything that exists, by its ARN or id; in the order of their names where AWS promises none.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Model {
    /// By ARN.
    pub load_balancers: BTreeMap<String, LoadBalancer>,
    /// By ARN; each with its numbered rules and its default rule.
    pub listeners: BTreeMap<String, Listener>,
    /// By ARN.
    pub target_groups: BTreeMap<String, TargetGroup>,
    /// By the ARN of what they hang on.
    pub tags: BTreeMap<String, BTreeMap<String, String>>,
    /// ECS and Application Auto Scaling.
    pub fleet: fleet::Fleet,
    /// The tables of DynamoDB, by name.
    pub tables: BTreeMap<String, crate::dynamodb::Table>,
    /// The parts of EC2 that the others refer to.
    pub network: network::Network,
    /// How many names were given out: the source of ids, so that two runs of a script give the same ones.
    pub named: u64,
}

impl Model {
    /// A name of `digits` hexadecimal digits that nothing else has, as AWS ends its ARNs.
    pub fn fresh_id(&mut self, digits: usize) -> String {
        self.named += 1;
        // The multiplier is odd, so no two counts give one number (Knuth's multiplicative hash); it only has to look random.
        let spread = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17) ^ n;
        let text = format!("{:016x}{:016x}", spread(self.named), spread(self.named ^ (1 << 40)));
        text[..digits.min(text.len())].to_owned()
    }

    /// The listeners of a load balancer, in the order of their ports.
    pub fn listeners_of(&self, load_balancer: &str) -> Vec<&Listener> {
        let mut found: Vec<&Listener> =
            self.listeners.values().filter(|listener| listener.load_balancer == load_balancer).collect();
        found.sort_by_key(|listener| listener.port);
        found
    }

    /// The load balancers that send traffic to a target group, by any action of any rule of any listener. AWS allows one.
    pub fn users_of(&self, target_group: &str) -> Vec<String> {
        let mut found: Vec<String> = self
            .listeners
            .values()
            .filter(|listener| listener.action_lists().any(|actions| action::names(actions, target_group)))
            .map(|listener| listener.load_balancer.clone())
            .collect();
        found.sort();
        found.dedup();
        found
    }

    /// A listener by ARN.
    pub fn listener(&self, arn: &str) -> Result<&Listener, Refusal> {
        self.listeners.get(arn).ok_or_else(|| Refusal::not_found("ListenerNotFound", "listeners", arn))
    }

    /// A target group by ARN.
    pub fn target_group(&self, arn: &str) -> Result<&TargetGroup, Refusal> {
        self.target_groups.get(arn).ok_or_else(|| Refusal::not_found("TargetGroupNotFound", "target groups", arn))
    }

    /// A target group by ARN, to be changed.
    pub fn target_group_mut(&mut self, arn: &str) -> Result<&mut TargetGroup, Refusal> {
        self.target_groups.get_mut(arn).ok_or_else(|| Refusal::not_found("TargetGroupNotFound", "target groups", arn))
    }

    /// A load balancer by ARN.
    pub fn load_balancer(&self, arn: &str) -> Result<&LoadBalancer, Refusal> {
        self.load_balancers.get(arn).ok_or_else(|| Refusal::not_found("LoadBalancerNotFound", "load balancers", arn))
    }

    /// What a prober found out about a target; nothing if the target is gone, or leaving.
    pub fn set_health(&mut self, target_group: &str, id: &str, port: u16, health: Health) {
        let target = self.target_groups.get_mut(target_group).and_then(|group| group.target_mut(id, port));
        if let Some(target) = target.filter(|target| target.draining_until.is_none()) {
            target.health = health;
        }
    }

    /// Where the upstream of a task listens: what lets it go on from pending to running.
    pub fn set_task_address(&mut self, task: &str, address: std::net::SocketAddr) {
        if let Some(task) = self.fleet.tasks.get_mut(task) {
            task.address = Some(address);
        }
    }

    /// Where clients reach a listener, once its nodes serve it.
    pub fn set_listener_address(&mut self, listener: &str, address: std::net::SocketAddr) {
        if let Some(listener) = self.listeners.get_mut(listener) {
            listener.address = Some(address);
        }
    }
}
