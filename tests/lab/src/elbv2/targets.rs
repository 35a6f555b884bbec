//! Targets: who is in a target group, and how each is.

use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use crate::clock::Time;
use crate::model::{BalancerKind, Health, Model, Refusal, Target, TargetGroup, TargetType};
use crate::wire::params::Params;

/// Targets in one target group (quota).
const TARGETS_MAX: usize = 1000;

fn spelled(group: &TargetGroup, target: &Target, all: bool) -> Value {
    let health = &target.health;
    let mut name = json!({"Id": target.id, "Port": target.port});
    if let Some(zone) = &target.zone {
        name["AvailabilityZone"] = zone.clone().into();
    }
    let mut state = Map::new();
    state.insert("State".into(), health.state.name().into());
    if let Some(reason) = health.reason {
        state.insert("Reason".into(), reason.into());
    }
    if let Some(description) = &health.description {
        state.insert("Description".into(), description.clone().into());
    }
    let mut out = json!({
        "Target": name,
        "HealthCheckPort": group.health_check.port.unwrap_or(target.port).to_string(),
        "TargetHealth": state,
    });
    if all && group.protocol.is_http() {
        out["AnomalyDetection"] = json!({"Result": "normal", "MitigationInEffect": "no"});
    }
    out
}

pub(super) fn describe_health(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let arn = params.need("TargetGroupArn")?;
    super::check_arn(arn, &["targetgroup"], "target group")?;
    let group = model.target_group(arn)?;
    let all = params.texts("Include").iter().any(|word| *word == "All" || *word == "AnomalyDetection");
    let mut out = Vec::new();
    if params.has("Targets") {
        for wanted in params.tables("Targets") {
            let (id, port) = (wanted.need("Id")?, wanted.number("Port", 1..=65_535_u16)?.unwrap_or(group.port));
            match group.target(id, port) {
                Some(target) => out.push(spelled(group, target, all)),
                None => out.push(json!({
                    "Target": {"Id": id, "Port": port},
                    "TargetHealth": {
                        "State": "unused",
                        "Reason": "Target.NotRegistered",
                        "Description": "Target is not registered to the target group",
                    },
                })),
            }
        }
    } else {
        out.extend(group.targets.iter().map(|target| spelled(group, target, all)));
    }
    Ok(json!({"TargetHealthDescriptions": out}))
}

pub(super) fn register(model: &mut Model, now: Time, params: Params<'_>) -> Result<Value, Refusal> {
    let arn = params.need("TargetGroupArn")?;
    super::check_arn(arn, &["targetgroup"], "target group")?;
    let mut wanted = Vec::new();
    for target in params.tables("Targets") {
        let port = target.number("Port", 1..=65_535_u16)?.unwrap_or(model.target_group(arn)?.port);
        wanted.push((target.need("Id")?, port, target.text("AvailabilityZone")));
    }
    if wanted.is_empty() {
        return Err(Refusal::missing("Targets"));
    }
    for (id, port, _) in &wanted {
        model.check_target(arn, id, *port)?;
    }
    for (id, port, zone) in wanted {
        model.register(arn, id, port, zone, now)?;
    }
    Ok(json!({}))
}

/// With a port, that one; without, every target of this id.
pub(super) fn deregister(model: &mut Model, now: Time, params: Params<'_>) -> Result<Value, Refusal> {
    let arn = params.need("TargetGroupArn")?;
    super::check_arn(arn, &["targetgroup"], "target group")?;
    let group = model.target_group(arn)?;
    let mut leaving = Vec::new();
    for target in params.tables("Targets") {
        let (id, port) = (target.need("Id")?, target.number("Port", 1..=65_535_u16)?);
        let found: Vec<(String, u16)> = group
            .targets
            .iter()
            .filter(|target| target.id == id && port.is_none_or(|port| port == target.port))
            .map(|target| (target.id.clone(), target.port))
            .collect();
        if found.is_empty() {
            let why = format!("The following targets are not registered in target group '{arn}': '{id}'");
            return Err(Refusal::new("InvalidTarget", why));
        }
        leaving.extend(found);
    }
    for (id, port) in leaving {
        model.deregister(arn, &id, port, now)?;
    }
    Ok(json!({}))
}

impl Model {
    fn check_target(&self, arn: &str, id: &str, port: u16) -> Result<(), Refusal> {
        let group = self.target_group(arn)?;
        let refuse = |code, why: String| Err(Refusal::new(code, why));
        match group.target_type {
            TargetType::Instance if !id.starts_with("i-") => {
                refuse("ValidationError", format!("Instance ID '{id}' is not valid"))
            }
            TargetType::Instance => {
                refuse("InvalidTarget", format!("The following targets are not in a running state: '{id}'"))
            }
            TargetType::Ip if id.parse::<Ipv4Addr>().is_err() => {
                refuse("ValidationError", format!("The IP address '{id}' is not a valid IPv4 address"))
            }
            TargetType::Ip if group.targets.len() >= TARGETS_MAX && group.target(id, port).is_none() => {
                refuse("TooManyTargets", format!("A target group can have at most {TARGETS_MAX} targets"))
            }
            TargetType::Ip => Ok(()),
            TargetType::Alb => self.check_alb_target(group, id, port),
        }
    }

    /// An ALB as a target: one per group, with a listener on the group's port (user guide, "Use an ALB as a target of an
    /// NLB"), behind at most two NLBs.
    fn check_alb_target(&self, group: &TargetGroup, id: &str, port: u16) -> Result<(), Refusal> {
        let invalid = |why: String| Err(Refusal::new("InvalidTarget", why));
        let Some(balancer) = self.load_balancers.get(id).filter(|one| one.kind == BalancerKind::Application) else {
            return invalid(format!("'{id}' is not an Application Load Balancer"));
        };
        if port != group.port {
            return invalid(format!("The port of the target must be that of the target group, {}", group.port));
        }
        if group.targets.iter().any(|target| target.id != id) {
            let why = "A target group with target type 'alb' can have one target only";
            return Err(Refusal::new("TooManyTargets", why));
        }
        if !self.listeners_of(&balancer.arn).iter().any(|listener| listener.port == port) {
            return invalid(format!("The following targets do not have a listener on port {port}: '{id}'"));
        }
        let others = self
            .target_groups
            .values()
            .filter(|other| {
                other.arn != group.arn && other.targets.iter().any(|target| target.id == id && target.port == port)
            })
            .count();
        if others >= 2 {
            let why = format!("The load balancer '{id}' is registered with too many target groups");
            return Err(Refusal::new("TooManyRegistrationsForTargetId", why));
        }
        Ok(())
    }

    /// Puts a target into a group, checked. One that is there already stays as it is; one that is draining comes back.
    pub fn register(&mut self, group: &str, id: &str, port: u16, zone: Option<&str>, now: Time) -> Result<(), Refusal> {
        self.check_target(group, id, port)?;
        let used = !self.users_of(group).is_empty();
        let health = if used { Health::registering() } else { Health::not_in_use() };
        let group = self.target_group_mut(group)?;
        let zone = zone.map(str::to_owned);
        match group.target_mut(id, port) {
            Some(target) if target.draining_until.is_none() => {}
            Some(target) => {
                *target = Target { id: id.into(), port, zone, health, registered: now, draining_until: None }
            }
            None => {
                group.targets.push(Target { id: id.into(), port, zone, health, registered: now, draining_until: None });
            }
        }
        Ok(())
    }

    /// Takes a target out: it drains for as long as its group says, or goes at once if nobody uses the group.
    pub fn deregister(&mut self, group: &str, id: &str, port: u16, now: Time) -> Result<(), Refusal> {
        let used = !self.users_of(group).is_empty();
        let group = self.target_group_mut(group)?;
        if !used {
            group.targets.retain(|target| target.id != id || target.port != port);
            return Ok(());
        }
        let until = now + group.deregistration_delay();
        if let Some(target) = group.target_mut(id, port).filter(|target| target.draining_until.is_none()) {
            target.draining_until = Some(until);
            target.health = Health::draining();
        }
        Ok(())
    }

    /// Lets go of targets whose time is over. Gives the next moment at which one is.
    pub fn finish_draining(&mut self, now: Time) -> Option<Time> {
        let mut next: Option<Time> = None;
        for group in self.target_groups.values_mut() {
            group.targets.retain(|target| target.draining_until.is_none_or(|until| now < until));
            for until in group.targets.iter().filter_map(|target| target.draining_until) {
                next = Some(next.map_or(until, |next| next.min(until)));
            }
        }
        next
    }
}
