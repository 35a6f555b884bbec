//! Load balancers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Time;
use crate::model::{BalancerKind, LoadBalancer, Model, Refusal};
use crate::wire::params::Params;

/// How long a new one is `provisioning`: minutes in AWS.
const PROVISIONING: Duration = Duration::from_mins(2);

fn spelled(balancer: &LoadBalancer, now: Time) -> Value {
    let zones: Vec<Value> = balancer
        .zones
        .iter()
        .map(|(zone, subnet)| json!({"ZoneName": zone, "SubnetId": subnet, "LoadBalancerAddresses": []}))
        .collect();
    let kind = if balancer.kind == BalancerKind::Application { "application" } else { "network" };
    json!({
        "LoadBalancerArn": balancer.arn,
        "DNSName": balancer.dns_name,
        "CanonicalHostedZoneId": "Z35SXDOTRQ7X7K",
        "CreatedTime": balancer.created.rfc3339(),
        "LoadBalancerName": balancer.name,
        "Scheme": balancer.scheme,
        "VpcId": balancer.vpc,
        "State": {"Code": if now < balancer.active_from { "provisioning" } else { "active" }},
        "Type": kind,
        "AvailabilityZones": zones,
        "SecurityGroups": balancer.security_groups,
        "IpAddressType": "ipv4",
    })
}

pub(super) fn describe(model: &Model, now: Time, params: Params<'_>) -> Result<Value, Refusal> {
    let (arns, names) = (params.texts("LoadBalancerArns"), params.texts("Names"));
    if !arns.is_empty() && !names.is_empty() {
        return Err(Refusal::invalid(
            "Load balancer names and load balancer ARNs cannot be specified at the same time",
        ));
    }
    let mut found = Vec::new();
    for arn in &arns {
        super::check_arn(arn, &["loadbalancer"], "load balancer")?;
        found.push(model.load_balancer(arn)?);
    }
    for name in &names {
        let one = model.load_balancers.values().find(|balancer| balancer.name == *name);
        found.push(
            one.ok_or_else(|| Refusal::new("LoadBalancerNotFound", format!("Load balancers '[{name}]' not found")))?,
        );
    }
    if arns.is_empty() && names.is_empty() {
        found = model.load_balancers.values().collect();
    }
    let parts = found.into_iter().map(|balancer| (balancer.arn.clone(), spelled(balancer, now))).collect();
    super::page("LoadBalancers", params, parts)
}

pub(super) fn describe_capacity(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    model.load_balancer(params.need("LoadBalancerArn")?)?;
    Ok(json!({"CapacityReservationState": []}))
}

pub(super) fn create(model: &mut Model, now: Time, params: Params<'_>) -> Result<Value, Refusal> {
    let name = params.need("Name")?;
    super::check_name(name, "Load balancer")?;
    let kind = match params.word("Type", &["application", "network"])?.unwrap_or("application") {
        "network" => BalancerKind::Network,
        _ => BalancerKind::Application,
    };
    let scheme = params.word("Scheme", &["internet-facing", "internal"])?.unwrap_or("internet-facing");
    let mut wanted = params.texts("Subnets");
    wanted.extend(params.tables("SubnetMappings").filter_map(|mapping| mapping.text("SubnetId")));
    let mut zones = Vec::new();
    for id in wanted {
        let subnet = model.network.subnets.get(id);
        let subnet =
            subnet.ok_or_else(|| Refusal::new("SubnetNotFound", format!("The subnet ID '{id}' does not exist")))?;
        zones.push((subnet.zone.clone(), subnet.id.clone()));
    }
    let different: BTreeSet<&String> = zones.iter().map(|(zone, _)| zone).collect();
    if different.len() != zones.len() {
        let why = "A load balancer cannot be attached to multiple subnets in the same Availability Zone";
        return Err(Refusal::new("InvalidConfigurationRequest", why));
    }
    if zones.is_empty() || (kind == BalancerKind::Application && zones.len() < 2) {
        return Err(Refusal::invalid("At least two subnets in two different Availability Zones must be specified"));
    }
    let groups: Vec<String> = params.texts("SecurityGroups").into_iter().map(str::to_owned).collect();
    check_security_groups(model, &groups)?;
    if let Some(other) = model.load_balancers.values().find(|balancer| balancer.name == name) {
        // Asked for once more with the same settings, the same one is answered.
        if other.kind == kind && other.scheme == scheme && other.zones == zones {
            return Ok(json!({"LoadBalancers": [spelled(other, now)]}));
        }
        let why = format!("A load balancer with the same name '{name}' exists, but with different settings");
        return Err(Refusal::new("DuplicateLoadBalancerName", why));
    }
    let tags = super::tags::parse(params)?;
    let balancer = new(model, name, kind, scheme, zones, groups, now, now + PROVISIONING);
    let answer = json!({"LoadBalancers": [spelled(&balancer, now)]});
    model.tags.insert(balancer.arn.clone(), tags);
    model.load_balancers.insert(balancer.arn.clone(), balancer);
    Ok(answer)
}

/// A load balancer that is not in the account yet.
#[expect(clippy::too_many_arguments, reason = "each is one field; a struct of them would be the load balancer itself")]
pub(crate) fn new(
    model: &mut Model,
    name: &str,
    kind: BalancerKind,
    scheme: &str,
    zones: Vec<(String, String)>,
    security_groups: Vec<String>,
    created: Time,
    active_from: Time,
) -> LoadBalancer {
    let id = model.fresh_id(16);
    let (short, domain) = match kind {
        BalancerKind::Application => ("app", "elb"),
        BalancerKind::Network => ("net", "elb"),
    };
    let prefix = if scheme == "internal" { "internal-" } else { "" };
    LoadBalancer {
        arn: super::arn(&format!("loadbalancer/{short}/{name}/{id}")),
        name: name.to_owned(),
        kind,
        scheme: scheme.to_owned(),
        dns_name: format!("{prefix}{name}-{}.{}.{domain}.amazonaws.com", &id[..9], crate::model::REGION),
        vpc: model.network.vpc.clone(),
        zones,
        security_groups,
        created,
        active_from,
        attributes: BTreeMap::new(),
    }
}

fn check_security_groups(model: &Model, groups: &[String]) -> Result<(), Refusal> {
    match groups.iter().find(|id| !model.network.security_groups.contains_key(*id)) {
        Some(id) => Err(Refusal::new("InvalidSecurityGroup", format!("The security group '{id}' does not exist"))),
        None => Ok(()),
    }
}

pub(super) fn set_security_groups(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let arn = params.need("LoadBalancerArn")?;
    model.load_balancer(arn)?;
    let groups: Vec<String> = params.texts("SecurityGroups").into_iter().map(str::to_owned).collect();
    check_security_groups(model, &groups)?;
    model.load_balancers.get_mut(arn).expect("looked up above").security_groups.clone_from(&groups);
    Ok(json!({"SecurityGroupIds": groups}))
}

/// Deleting one that is not there is no mistake; its listeners go with it.
pub(super) fn delete(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let arn = params.need("LoadBalancerArn")?;
    super::check_arn(arn, &["loadbalancer"], "load balancer")?;
    let Some(balancer) = model.load_balancers.get(arn) else { return Ok(json!({})) };
    if balancer.attribute("deletion_protection.enabled") == "true" {
        let why = format!("Load balancer '{arn}' cannot be deleted because deletion protection is enabled");
        return Err(Refusal::new("OperationNotPermitted", why));
    }
    if model.target_groups.values().any(|group| group.targets.iter().any(|target| target.id == arn)) {
        let why = format!("Load balancer '{arn}' cannot be deleted because it is registered as a target");
        return Err(Refusal::new("ResourceInUse", why));
    }
    model.load_balancers.remove(arn);
    model.listeners.retain(|_, listener| listener.load_balancer != arn);
    model.tags.remove(arn);
    model.refresh_use();
    Ok(json!({}))
}
