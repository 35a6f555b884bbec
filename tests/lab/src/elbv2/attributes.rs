//! Attributes of load balancers, listeners and target groups: names, defaults, and which values each takes.
//!
//! Ranges are those in the documentation of `LoadBalancerAttribute` and `TargetGroupAttribute` in the service model.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::{Value, json};

use crate::model::balancer::{self, BalancerKind};
use crate::model::{Model, Refusal, TargetGroup, TargetType, group};
use crate::wire::params::Params;

/// What the values of an attribute may be.
enum Values {
    Words(&'static [&'static str]),
    Number(RangeInclusive<u32>),
    NumberOrOff(RangeInclusive<u32>),
    Any,
}

const FLAG: Values = Values::Words(&["true", "false"]);

fn values(key: &str) -> Values {
    match key {
        "idle_timeout.timeout_seconds" => Values::Number(1..=4000),
        "client_keep_alive.seconds" => Values::Number(60..=604_800),
        "deregistration_delay.timeout_seconds" => Values::Number(0..=3600),
        "stickiness.lb_cookie.duration_seconds" | "stickiness.app_cookie.duration_seconds" => {
            Values::Number(1..=604_800)
        }
        "tcp.idle_timeout.seconds" => Values::Number(60..=6000),
        key if key.ends_with("minimum_healthy_targets.count") => Values::NumberOrOff(1..=1000),
        key if key.ends_with("minimum_healthy_targets.percentage") => Values::NumberOrOff(1..=100),
        "routing.http.desync_mitigation_mode" => Values::Words(&["monitor", "defensive", "strictest"]),
        "routing.http.xff_header_processing.mode" => Values::Words(&["append", "preserve", "remove"]),
        "load_balancing.algorithm.type" => {
            Values::Words(&["round_robin", "least_outstanding_requests", "weighted_random"])
        }
        "load_balancing.algorithm.anomaly_mitigation" => Values::Words(&["on", "off"]),
        "stickiness.type" => {
            Values::Words(&["lb_cookie", "app_cookie", "source_ip", "source_ip_dest_ip", "source_ip_dest_ip_proto"])
        }
        "dns_record.client_routing_policy" => Values::Words(&[
            "any_availability_zone",
            "availability_zone_affinity",
            "partial_availability_zone_affinity",
        ]),
        "slow_start.duration_seconds" => Values::Number(0..=900),
        key if key.ends_with(".enabled") => FLAG,
        _ => Values::Any,
    }
}

/// The pairs under `Attributes`, each with a key that `known` has and a value that it takes.
fn parse(params: Params<'_>, thing: &str, known: &[(&str, &str)]) -> Result<BTreeMap<String, String>, Refusal> {
    let refuse = |why: String| Err(Refusal::new("InvalidConfigurationRequest", why));
    let mut out = BTreeMap::new();
    for pair in params.tables("Attributes") {
        let (key, value) = (pair.need("Key")?, pair.text("Value").unwrap_or(""));
        if !known.iter().any(|(name, _)| *name == key) {
            return refuse(format!("{thing} attribute key '{key}' is not recognized"));
        }
        let within = |range: &RangeInclusive<u32>| value.parse().is_ok_and(|number: u32| range.contains(&number));
        let fits = match values(key) {
            Values::Words(words) if key == "load_balancing.cross_zone.enabled" => {
                words.contains(&value) || (value == "use_load_balancer_configuration" && thing == "Target group")
            }
            Values::Words(words) => words.contains(&value),
            Values::Number(range) if key == "slow_start.duration_seconds" => {
                within(&range) && (value == "0" || value.parse().is_ok_and(|number: u32| number >= 30))
            }
            Values::Number(range) => within(&range),
            Values::NumberOrOff(range) => value == "off" || within(&range),
            Values::Any => value.len() <= 1024,
        };
        if !fits {
            return refuse(format!("{thing} attribute value '{value}' is not valid for the key '{key}'"));
        }
        out.insert(key.to_owned(), value.to_owned());
    }
    if out.is_empty() {
        return Err(Refusal::missing("Attributes"));
    }
    Ok(out)
}

fn spelled<'a>(known: &[(&'a str, &str)], of: impl Fn(&'a str) -> String) -> Value {
    let pairs: Vec<Value> = known.iter().map(|(key, _)| json!({"Key": key, "Value": of(key)})).collect();
    json!({"Attributes": pairs})
}

fn given(attributes: &BTreeMap<String, String>) -> Value {
    let pairs: Vec<Value> = attributes.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
    json!({"Attributes": pairs})
}

pub(super) fn describe_balancer(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let arn = params.need("LoadBalancerArn")?;
    super::check_arn(arn, &["loadbalancer"], "load balancer")?;
    let of = model.load_balancer(arn)?;
    Ok(spelled(balancer::attributes(of.kind), |key| of.attribute(key).to_owned()))
}

pub(super) fn modify_balancer(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let arn = params.need("LoadBalancerArn")?;
    super::check_arn(arn, &["loadbalancer"], "load balancer")?;
    let of = model.load_balancer(arn)?;
    let attributes = parse(params, "Load balancer", balancer::attributes(of.kind))?;
    if of.kind == BalancerKind::Application
        && attributes.get("load_balancing.cross_zone.enabled").is_some_and(|value| value == "false")
    {
        let why = "Cross-zone load balancing cannot be turned off for an Application Load Balancer";
        return Err(Refusal::new("InvalidConfigurationRequest", why));
    }
    let answer = given(&attributes);
    model.load_balancers.get_mut(arn).expect("looked up above").attributes.extend(attributes);
    Ok(answer)
}

/// Those of a listener: the idle time-out of TCP flows, and headers that an ALB adds.
fn of_listener(model: &Model, arn: &str) -> Result<&'static [(&'static str, &'static str)], Refusal> {
    super::check_arn(arn, &["listener"], "listener")?;
    let http = model.listener(arn)?.protocol.is_http();
    Ok(if http { &[("routing.http.response.server.enabled", "true")] } else { &[("tcp.idle_timeout.seconds", "350")] })
}

pub(super) fn describe_listener(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let arn = params.need("ListenerArn")?;
    let known = of_listener(model, arn)?;
    let set = &model.listener(arn)?.attributes;
    let default = |key: &str| known.iter().find(|(name, _)| *name == key).map_or("", |(_, value)| value);
    Ok(spelled(known, |key| set.get(key).map_or(default(key), String::as_str).to_owned()))
}

pub(super) fn modify_listener(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let arn = params.need("ListenerArn")?;
    let attributes = parse(params, "Listener", of_listener(model, arn)?)?;
    let answer = given(&attributes);
    model.listeners.get_mut(arn).expect("looked up above").attributes.extend(attributes);
    Ok(answer)
}

pub(super) fn describe_group(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let arn = params.need("TargetGroupArn")?;
    super::check_arn(arn, &["targetgroup"], "target group")?;
    let of = model.target_group(arn)?;
    Ok(spelled(group::attributes(of), |key| of.attribute(key).to_owned()))
}

pub(super) fn modify_group(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let arn = params.need("TargetGroupArn")?;
    super::check_arn(arn, &["targetgroup"], "target group")?;
    let of = model.target_group(arn)?;
    let attributes = parse(params, "Target group", group::attributes(of))?;
    let mut after = of.clone();
    after.attributes.extend(attributes.clone());
    check_group(model, &after)?;
    model.target_group_mut(arn)?.attributes = after.attributes;
    Ok(given(&attributes))
}

/// What must hold between the attributes of a target group, and between them and the rules that use it.
fn check_group(model: &Model, group: &TargetGroup) -> Result<(), Refusal> {
    let refuse = |why: String| Err(Refusal::new("InvalidConfigurationRequest", why));
    let has = |key: &str, value: &str| group.attribute(key) == value;
    if group.target_type == TargetType::Alb && !group.attributes.is_empty() {
        return refuse("Attributes cannot be modified for target groups with target type 'alb'".into());
    }
    if !has("slow_start.duration_seconds", "0")
        && group.protocol.is_http()
        && !has("load_balancing.algorithm.type", "round_robin")
    {
        return refuse("Slow start is supported with the round robin algorithm only".into());
    }
    if has("load_balancing.algorithm.anomaly_mitigation", "on")
        && !has("load_balancing.algorithm.type", "weighted_random")
    {
        return refuse("Anomaly mitigation is supported with the weighted random algorithm only".into());
    }
    let kind = group.attribute("stickiness.type");
    if kind.ends_with("_cookie") != group.protocol.is_http() {
        // AWS's own sentence, ansible-collections/community.aws#74.
        let protocol = group.protocol.name();
        return refuse(format!(
            "Stickiness type '{kind}' is not supported for target groups with the {protocol} protocol"
        ));
    }
    let behind_weights = model
        .listeners
        .values()
        .flat_map(crate::model::Listener::action_lists)
        .filter_map(crate::model::action::forward)
        .filter(|forward| forward.groups.len() > 1 && forward.groups.iter().any(|one| one.arn == group.arn));
    if has("stickiness.enabled", "true") && group.protocol.is_http() {
        for forward in behind_weights {
            if kind == "app_cookie" {
                return refuse("Application-based stickiness is not supported with weighted target groups".into());
            }
            if !forward.stickiness.enabled {
                // AWS's own sentence, kubernetes-sigs/aws-load-balancer-controller#2734.
                return refuse("This target group appears behind a rule with group stickiness disabled".into());
            }
        }
    }
    Ok(())
}
