//! The first half of a migration: clients are brought to the capture proxy before any weight is shifted.
//!
//! Three ways ([`record::Way`]): the live listener of a Network Load Balancer is switched to the load balancer with the
//! weighted listener, gradually where AWS takes weights there; a listener is put beside it, to which clients move; or a
//! name is led there. [`begin`] finds out what there is; [`stage`] says what comes next from what is on record and what was seen, without I/O; [`check`]
//! what stands in the way; [`judged`] what the minutes since a step prove; [`drive`] looks, asks them, writes the
//! [`record`] ([`keep`]) and acts. AWS is behind [`Cloud`]; [`cloud`] is the real one.
//!
//! It creates and deletes, which the daemon's role must not be able to, so it is a program of its own, which an operator
//! runs and which knows nothing of the daemon. It cannot say what clients do that reach the cluster by yet another way:
//! preflight counts what the source serves.

pub mod begin;
pub mod check;
pub mod cloud;
pub mod drive;
mod ec2;
pub mod judged;
pub mod keep;
pub mod knock;
pub mod record;
pub mod stage;
#[cfg(test)]
pub(crate) mod testing;
mod weigh;

use std::collections::BTreeSet;

use cutover::{Timestamp, Window};

use self::check::Answered;
use self::judged::Minute;
use self::record::OldGroup;
use crate::aws::action::Action;
use crate::port::PortError;

/// The port's name in errors.
pub(crate) const PORT: &str = "reroute";

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its ARN.
    pub arn: String,
    /// Its load balancer's ARN.
    pub balancer: String,
    /// Its port.
    pub port: u16,
    /// `TCP`, `HTTPS`, …
    pub protocol: String,
    /// Its default actions, or why they cannot be read whole.
    pub actions: Result<Vec<Action>, String>,
}

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balancer {
    /// Its ARN.
    pub arn: String,
    /// Its name in DNS.
    pub address: String,
    /// Whether it is an NLB.
    pub network: bool,
    /// Its VPC.
    pub vpc: String,
    /// Its zones.
    pub zones: BTreeSet<String>,
    /// Its security groups.
    pub groups: Vec<String>,
    /// Whether each node sends to the targets of all zones.
    pub cross_zone: bool,
    /// For how long a connection may be silent, in seconds; `None` for an NLB, whose listeners say it.
    pub idle_seconds: Option<u64>,
}

/// A target group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its ARN.
    pub arn: String,
    /// `alb`, `ip`, `instance`.
    pub kind: String,
    /// `TCP`, `HTTPS`, …
    pub protocol: String,
    /// Its port.
    pub port: u16,
    /// Its VPC.
    pub vpc: String,
    /// The load balancers that use it.
    pub users: Vec<String>,
}

/// A target and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// An address, or an ARN.
    pub id: String,
    /// Its port.
    pub port: u16,
    /// `healthy`, `initial`, …
    pub state: String,
    /// Why, in AWS's words; empty if it is healthy.
    pub why: String,
}

/// The target group that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGroup<'a> {
    /// Its name.
    pub name: &'a str,
    /// The weighted listener's port.
    pub port: u16,
    /// Whether health checks are by HTTPS.
    pub secure: bool,
    /// The VPC.
    pub vpc: &'a str,
    /// For whom, as a tag.
    pub service: &'a str,
}

/// What is counted, minute by minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The old path.
    pub old: Vec<OldGroup>,
    /// The new one: the source's target group behind the weighted listener.
    pub new: OldGroup,
    /// The NLB as CloudWatch's dimension has it.
    pub front: Option<String>,
}

/// AWS, as far as a reroute asks and changes it. Every change can be made again.
#[expect(async_fn_in_trait, reason = "the one driver runs it on one thread, so its futures need not be sent")]
pub trait Cloud {
    /// The clock that decides which minutes are over.
    fn now(&self) -> Timestamp;
    /// The one listener that weighs both target groups.
    ///
    /// # Errors
    /// When there is none or more than one, or it cannot be found out.
    async fn weighted(&self, source: &str, target: &str) -> Result<String, PortError>;
    /// A listener.
    ///
    /// # Errors
    /// When it cannot be read; likewise below.
    async fn listener(&self, arn: &str) -> Result<Listener, PortError>;
    /// The listeners of a load balancer.
    async fn listeners(&self, balancer: &str) -> Result<Vec<Listener>, PortError>;
    /// For how long a TCP listener keeps a silent connection, in seconds.
    async fn idle_seconds(&self, listener: &str) -> Result<u64, PortError>;
    /// A load balancer.
    async fn balancer(&self, arn: &str) -> Result<Balancer, PortError>;
    /// A target group by its name; `None` if there is none.
    async fn group_named(&self, name: &str) -> Result<Option<Group>, PortError>;
    /// Target groups by ARN; of the account, if none is named.
    async fn groups(&self, arns: &[String]) -> Result<Vec<Group>, PortError>;
    /// The targets of a group.
    async fn targets(&self, group: &str) -> Result<Vec<Target>, PortError>;
    /// Whether security groups let connections from one load balancer to a port of another, by EC2's description.
    async fn lets_in(&self, from: Option<&Balancer>, to: &Balancer, port: u16) -> Answered;
    /// What the whole minutes that begin in a window hold, oldest first. None of them is called settled yet.
    async fn minutes(&self, counted: &Counted, window: Window) -> Result<Vec<Minute>, PortError>;
    /// Makes a target group of type `alb`.
    async fn make_group(&self, group: &NewGroup<'_>) -> Result<(), PortError>;
    /// Puts a load balancer into a target group.
    async fn register(&self, group: &str, balancer: &str) -> Result<(), PortError>;
    /// Makes a TCP listener that leads to a target group.
    async fn make_listener(&self, balancer: &str, port: u16, group: &str, service: &str) -> Result<(), PortError>;
    /// Replaces a listener's default actions.
    async fn write(&self, listener: &str, actions: &[Action]) -> Result<(), PortError>;
    /// Takes a listener away.
    async fn delete_listener(&self, arn: &str) -> Result<(), PortError>;
    /// Takes a load balancer out of a target group.
    async fn deregister(&self, group: &str, balancer: &str) -> Result<(), PortError>;
    /// Takes a target group away.
    async fn delete_group(&self, arn: &str) -> Result<(), PortError>;
}
