//! What must hold before an action list is taken: AWS's rules for lists, and for who may forward to what.

use std::collections::BTreeSet;

use super::action::{self, Action, Forward, What};
use super::{BalancerKind, Health, HealthState, Listener, LoadBalancer, Model, Protocol, Refusal, TargetType};

/// Target groups in one forward action (quota, not adjustable).
pub const GROUPS_PER_ACTION_MAX: usize = 5;
/// Different target groups behind one load balancer (quota).
pub const GROUPS_PER_BALANCER_MAX: usize = 100;
/// Numbered rules of a load balancer, all its listeners together (quota).
pub const RULES_MAX: usize = 100;
/// Listeners of a load balancer (quota).
pub const LISTENERS_MAX: usize = 50;

impl Model {
    /// Whether a listener with such a protocol on such a load balancer may have these actions.
    pub fn check_actions(
        &self,
        balancer: &LoadBalancer,
        protocol: Protocol,
        actions: &[Action],
    ) -> Result<(), Refusal> {
        let refuse = |why: &str| Err(Refusal::new("InvalidLoadBalancerAction", why));
        if actions.is_empty() {
            return Err(Refusal::invalid("At least one action must be specified"));
        }
        if actions.len() > 1 {
            let orders: BTreeSet<Option<u32>> = actions.iter().map(|action| action.order).collect();
            if orders.len() != actions.len() || orders.contains(&None) {
                return refuse("Each of several actions must have an order of its own");
            }
        }
        let mut sorted: Vec<&Action> = actions.iter().collect();
        sorted.sort_by_key(|action| action.order);
        let (last, before) = sorted.split_last().expect("the list is not empty");
        if !last.what.routes() || before.iter().any(|action| action.what.routes()) {
            return refuse(
                "Exactly one action must be of type forward, redirect or fixed-response, and it must be the last one",
            );
        }
        if before.len() > 1 {
            return refuse("There can be at most one action that authenticates");
        }
        if let Some(first) = before.first()
            && protocol != Protocol::Https
        {
            return refuse(&format!("Actions of type '{}' are supported only on HTTPS listeners", first.what.kind()));
        }
        match &last.what {
            What::Forward(forward) => self.check_forward(balancer, protocol, forward),
            _ if balancer.kind == BalancerKind::Network => {
                refuse("Network load balancers support actions of type forward only")
            }
            _ => Ok(()),
        }
    }

    fn check_forward(&self, balancer: &LoadBalancer, protocol: Protocol, forward: &Forward) -> Result<(), Refusal> {
        let names: BTreeSet<&str> = forward.groups.iter().map(|group| &group.arn[..]).collect();
        if names.len() != forward.groups.len() {
            return Err(Refusal::new(
                "InvalidLoadBalancerAction",
                "A target group can be specified only once in a forward action",
            ));
        }
        if names.len() > GROUPS_PER_ACTION_MAX {
            return Err(Refusal::invalid(format!(
                "A forward action can have at most {GROUPS_PER_ACTION_MAX} target groups"
            )));
        }
        for arn in &names {
            let group = self.target_group(arn)?;
            if let Some(other) = self.users_of(arn).iter().find(|user| **user != balancer.arn) {
                // The sentence is AWS's (hashicorp/terraform-provider-aws#22005); whose they are is added.
                return Err(Refusal::new(
                    "TargetGroupAssociationLimit",
                    format!(
                        "The following target groups cannot be associated with more than one load balancer: {arn} \
                         (it is with {other})"
                    ),
                ));
            }
            let fits = match protocol {
                Protocol::Http | Protocol::Https => group.protocol.is_http(),
                Protocol::Tcp => group.protocol == Protocol::Tcp || group.protocol == Protocol::TcpUdp,
                Protocol::Tls => matches!(group.protocol, Protocol::Tcp | Protocol::Tls),
                Protocol::Udp | Protocol::TcpUdp => group.protocol == protocol,
            };
            if !fits {
                return Err(Refusal::new(
                    "IncompatibleProtocols",
                    format!(
                        "Listener protocol '{}' is not supported with target group protocol '{}'",
                        protocol.name(),
                        group.protocol.name()
                    ),
                ));
            }
            if group.target_type == TargetType::Alb && protocol != Protocol::Tcp {
                return Err(Refusal::new(
                    "InvalidConfigurationRequest",
                    format!("Target type 'alb' is not supported with listener protocol '{}'", protocol.name()),
                ));
            }
            if names.len() > 1 && group.attribute("stickiness.enabled") == "true" && !forward.stickiness.enabled {
                // AWS's own sentence, argoproj/argo-rollouts#1577.
                return Err(Refusal::new(
                    "InvalidLoadBalancerAction",
                    "You must enable group stickiness on a rule if you enabled target stickiness on one of its target \
                     groups",
                ));
            }
        }
        let listeners = self.listeners_of(&balancer.arn);
        let used = listeners.iter().flat_map(|listener| listener.action_lists()).filter_map(action::forward);
        let all: BTreeSet<&str> = used.flat_map(|forward| &forward.groups).map(|group| &group.arn[..]).collect();
        if all.union(&names).count() > GROUPS_PER_BALANCER_MAX {
            return Err(Refusal::new(
                "TooManyUniqueTargetGroupsPerLoadBalancer",
                format!("A load balancer can have at most {GROUPS_PER_BALANCER_MAX} different target groups"),
            ));
        }
        Ok(())
    }

    /// Gives a listener another default rule, checked.
    pub fn set_default_actions(&mut self, listener: &str, actions: Vec<Action>) -> Result<&Listener, Refusal> {
        let of = self.listener(listener)?;
        self.check_actions(self.load_balancer(&of.load_balancer)?, of.protocol, &actions)?;
        self.listeners.get_mut(listener).expect("looked up above").default_actions = actions;
        self.refresh_use();
        self.listener(listener)
    }

    /// After any change of who forwards to what: targets of groups that nobody uses are `unused`, and those of groups that
    /// somebody uses again begin anew.
    pub fn refresh_use(&mut self) {
        let used: BTreeSet<String> = self
            .listeners
            .values()
            .flat_map(Listener::action_lists)
            .filter_map(action::forward)
            .flat_map(|forward| forward.groups.iter().map(|group| group.arn.clone()))
            .collect();
        for (arn, group) in &mut self.target_groups {
            for target in group.targets.iter_mut().filter(|target| target.draining_until.is_none()) {
                match (used.contains(arn), target.health.state) {
                    (true, HealthState::Unused) => target.health = Health::registering(),
                    (false, state) if state != HealthState::Unused => target.health = Health::not_in_use(),
                    _ => {}
                }
            }
        }
    }
}
