//! Target groups and their health checks.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::model::group::HealthCheck;
use crate::model::{Model, Protocol, Refusal, TargetGroup, TargetType};
use crate::wire::params::Params;

fn spelled(model: &Model, group: &TargetGroup) -> Value {
    let check = &group.health_check;
    let http = check.protocol.is_http();
    json!({
        "TargetGroupArn": group.arn,
        "TargetGroupName": group.name,
        "Protocol": group.protocol.name(),
        "Port": group.port,
        "VpcId": group.vpc,
        "HealthCheckProtocol": check.protocol.name(),
        "HealthCheckPort": check.port.map_or_else(|| "traffic-port".to_owned(), |port| port.to_string()),
        "HealthCheckEnabled": check.enabled,
        "HealthCheckIntervalSeconds": check.interval.as_secs(),
        "HealthCheckTimeoutSeconds": check.timeout.as_secs(),
        "HealthyThresholdCount": check.healthy_threshold,
        "UnhealthyThresholdCount": check.unhealthy_threshold,
        "HealthCheckPath": http.then_some(&check.path),
        "Matcher": http.then(|| json!({"HttpCode": check.matcher})),
        "LoadBalancerArns": model.users_of(&group.arn),
        "TargetType": group.target_type.name(),
        "ProtocolVersion": group.protocol.is_http().then_some("HTTP1"),
        "IpAddressType": "ipv4",
    })
}

pub(super) fn describe(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let (arns, names) = (params.texts("TargetGroupArns"), params.texts("Names"));
    let balancer = params.text("LoadBalancerArn");
    if [!arns.is_empty(), !names.is_empty(), balancer.is_some()].iter().filter(|given| **given).count() > 1 {
        return Err(Refusal::invalid(
            "Target group ARNs, target group names and a load balancer ARN cannot be specified at the same time",
        ));
    }
    let mut found = Vec::new();
    for arn in &arns {
        super::check_arn(arn, &["targetgroup"], "target group")?;
        found.push(model.target_group(arn)?);
    }
    for name in &names {
        let one = model.target_groups.values().find(|group| group.name == *name);
        found.push(one.ok_or_else(|| Refusal::not_found("TargetGroupNotFound", "target groups", name))?);
    }
    if let Some(balancer) = balancer {
        super::check_arn(balancer, &["loadbalancer"], "load balancer")?;
        let balancer = &model.load_balancer(balancer)?.arn;
        found = model.target_groups.values().filter(|group| model.users_of(&group.arn).contains(balancer)).collect();
    } else if arns.is_empty() && names.is_empty() {
        found = model.target_groups.values().collect();
    }
    let parts = found.into_iter().map(|group| (group.arn.clone(), spelled(model, group))).collect();
    super::page("TargetGroups", params, parts)
}

/// The health check from parameters over what it was, or over the defaults of its kind.
fn health_check(params: Params<'_>, group: Protocol, old: HealthCheck) -> Result<HealthCheck, Refusal> {
    let protocol = match params.text("HealthCheckProtocol") {
        None => old.protocol,
        Some(name) => Protocol::parse(name)
            .filter(|protocol| matches!(protocol, Protocol::Http | Protocol::Https | Protocol::Tcp))
            .ok_or_else(|| Refusal::invalid(format!("Health check protocol '{name}' must be HTTP, HTTPS or TCP")))?,
    };
    if group.is_http() && protocol == Protocol::Tcp {
        return Err(Refusal::new(
            "InvalidConfigurationRequest",
            format!(
                "Health check protocol 'TCP' is not supported for target groups with the {} protocol",
                group.name()
            ),
        ));
    }
    let port = match params.text("HealthCheckPort") {
        None => old.port,
        Some("traffic-port") => None,
        Some(text) => Some(text.parse().ok().filter(|port| *port > 0_u16).ok_or_else(|| {
            Refusal::invalid(format!("Health check port '{text}' must be 'traffic-port' or between 1 and 65535"))
        })?),
    };
    let path = params.text("HealthCheckPath").map_or(old.path, str::to_owned);
    if !path.starts_with('/') || path.len() > 1024 {
        return Err(Refusal::invalid(format!("Health check path '{path}' must begin with a '/' character")));
    }
    let seconds = |name: &str, range, old: Duration| {
        Ok::<_, Refusal>(params.number::<u32>(name, range)?.map_or(old, |seconds| Duration::from_secs(seconds.into())))
    };
    let interval = seconds("HealthCheckIntervalSeconds", 5..=300, old.interval)?;
    let timeout = seconds("HealthCheckTimeoutSeconds", 2..=120, old.timeout)?;
    if timeout >= interval {
        return Err(Refusal::invalid(format!(
            "Health check timeout '{}' must be smaller than the interval '{}'",
            timeout.as_secs(),
            interval.as_secs()
        )));
    }
    let matcher =
        params.table("Matcher").and_then(|matcher| matcher.text("HttpCode")).map_or(old.matcher, str::to_owned);
    // 200 to 499 behind an ALB, to 599 behind an NLB (service model, Matcher).
    let top = if group.is_http() { 499 } else { 599 };
    let fits = matcher.split(',').all(|part| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        matches!((low.trim().parse::<u16>(), high.trim().parse::<u16>()),
            (Ok(low), Ok(high)) if 200 <= low && low <= high && high <= top)
    });
    if !fits {
        return Err(Refusal::invalid(format!("Health check matcher HTTP code '{matcher}' must be within '200-{top}'")));
    }
    Ok(HealthCheck {
        enabled: params.flag("HealthCheckEnabled")?.unwrap_or(old.enabled),
        protocol,
        port,
        path,
        interval,
        timeout,
        healthy_threshold: params.number("HealthyThresholdCount", 2..=10)?.unwrap_or(old.healthy_threshold),
        unhealthy_threshold: params.number("UnhealthyThresholdCount", 2..=10)?.unwrap_or(old.unhealthy_threshold),
        matcher,
    })
}

/// The health check of a target group that says nothing of it (service model, `CreateTargetGroup`).
pub(crate) fn default_check(protocol: Protocol, target_type: TargetType) -> HealthCheck {
    let http = protocol.is_http();
    HealthCheck {
        enabled: true,
        protocol: match (http, target_type) {
            (true, _) => Protocol::Http,
            (false, TargetType::Alb) => Protocol::Http,
            (false, _) => Protocol::Tcp,
        },
        port: None,
        path: "/".into(),
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(if http { 5 } else { 6 }),
        healthy_threshold: 5,
        unhealthy_threshold: 2,
        matcher: if http { "200".into() } else { "200-399".into() },
    }
}

pub(super) fn create(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let name = params.need("Name")?;
    super::check_name(name, "Target group")?;
    let target_type = match params.word("TargetType", &["instance", "ip", "alb"])?.unwrap_or("instance") {
        "ip" => TargetType::Ip,
        "alb" => TargetType::Alb,
        _ => TargetType::Instance,
    };
    let protocol = params.need("Protocol")?;
    let protocol = Protocol::parse(protocol)
        .ok_or_else(|| Refusal::invalid(format!("Target group protocol '{protocol}' is not supported")))?;
    if target_type == TargetType::Alb && protocol != Protocol::Tcp {
        // AWS's own sentence, aws/aws-cdk#22245.
        return Err(Refusal::new(
            "InvalidConfigurationRequest",
            format!("Target type 'alb' is not supported for target groups with {} protocol", protocol.name()),
        ));
    }
    let port = params.number("Port", 1..=65_535_u16)?;
    let port = port.ok_or_else(|| Refusal::invalid("A port must be specified"))?;
    let vpc = params.text("VpcId").ok_or_else(|| Refusal::invalid("A VPC ID must be specified"))?;
    if vpc != model.network.vpc {
        return Err(Refusal::invalid(format!("The VPC ID '{vpc}' is not found")));
    }
    let health_check = health_check(params, protocol, default_check(protocol, target_type))?;
    if target_type == TargetType::Alb && !health_check.protocol.is_http() {
        let why = "Target type 'alb' is supported with HTTP and HTTPS health checks only";
        return Err(Refusal::new("InvalidConfigurationRequest", why));
    }
    let tags = super::tags::parse(params)?;
    if let Some(other) = model.target_groups.values().find(|group| group.name == name) {
        let same = (other.protocol, other.port, other.target_type) == (protocol, port, target_type)
            && other.health_check == health_check;
        if same {
            return Ok(json!({"TargetGroups": [spelled(model, other)]}));
        }
        let why = format!("A target group with the same name '{name}' exists, but with different settings");
        return Err(Refusal::new("DuplicateTargetGroupName", why));
    }
    let arn = super::arn(&format!("targetgroup/{name}/{}", model.fresh_id(16)));
    let group = TargetGroup {
        arn: arn.clone(),
        name: name.to_owned(),
        protocol,
        port,
        vpc: vpc.to_owned(),
        target_type,
        health_check,
        attributes: BTreeMap::new(),
        targets: Vec::new(),
    };
    let answer = json!({"TargetGroups": [spelled(model, &group)]});
    model.tags.insert(arn.clone(), tags);
    model.target_groups.insert(arn, group);
    Ok(answer)
}

pub(super) fn modify(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let arn = params.need("TargetGroupArn")?;
    super::check_arn(arn, &["targetgroup"], "target group")?;
    let group = model.target_group(arn)?;
    let check = health_check(params, group.protocol, group.health_check.clone())?;
    model.target_group_mut(arn)?.health_check = check;
    Ok(json!({"TargetGroups": [spelled(model, model.target_group(arn)?)]}))
}

pub(super) fn delete(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let arn = params.need("TargetGroupArn")?;
    super::check_arn(arn, &["targetgroup"], "target group")?;
    if !model.users_of(arn).is_empty() {
        let why = format!("Target group '{arn}' is currently in use by a listener or a rule");
        return Err(Refusal::new("ResourceInUse", why));
    }
    model.target_groups.remove(arn);
    model.tags.remove(arn);
    Ok(json!({}))
}
