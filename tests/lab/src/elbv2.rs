//! Elastic Load Balancing v2: its operations as functions of the account, without sockets and without time of their own.
//!
//! Shapes and codes are those of the service model (botocore, `elbv2/2015-12-01`); checks the model does not show follow
//! AWS's user guide and replies quoted in public issues, named where they are made. Where only the range is known and not
//! the code, it is `ValidationError`, as AWS has it for the one range violation that is on record (the duration of
//! stickiness).

mod actions;
mod attributes;
mod balancers;
mod conditions;
mod groups;
mod listeners;
mod rules;
mod tags;
mod targets;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::clock::Time;
use crate::model::{Model, Refusal};
use crate::wire::params::Params;

/// The longest page, and the one that a client gets who asks for none.
pub const PAGE_MAX: u32 = 400;

/// What reads the account: `None` if there is no such operation among those that read.
pub fn read(model: &Model, now: Time, operation: &str, params: Params<'_>) -> Option<Result<Value, Refusal>> {
    Some(match operation {
        "DescribeLoadBalancers" => balancers::describe(model, now, params),
        "DescribeLoadBalancerAttributes" => attributes::describe_balancer(model, params),
        "DescribeListeners" => listeners::describe(model, params),
        "DescribeListenerAttributes" => attributes::describe_listener(model, params),
        "DescribeListenerCertificates" => listeners::describe_certificates(model, params),
        "DescribeRules" => rules::describe(model, params),
        "DescribeTargetGroups" => groups::describe(model, params),
        "DescribeTargetGroupAttributes" => attributes::describe_group(model, params),
        "DescribeTargetHealth" => targets::describe_health(model, params),
        "DescribeTags" => tags::describe(model, params),
        "DescribeCapacityReservation" => balancers::describe_capacity(model, params),
        _ => return None,
    })
}

/// What changes the account.
pub fn write(model: &mut Model, now: Time, operation: &str, params: Params<'_>) -> Option<Result<Value, Refusal>> {
    Some(match operation {
        "CreateLoadBalancer" => balancers::create(model, now, params),
        "DeleteLoadBalancer" => balancers::delete(model, params),
        "SetSecurityGroups" => balancers::set_security_groups(model, params),
        "ModifyLoadBalancerAttributes" => attributes::modify_balancer(model, params),
        "CreateListener" => listeners::create(model, params),
        "ModifyListener" => listeners::modify(model, params),
        "DeleteListener" => listeners::delete(model, params),
        "ModifyListenerAttributes" => attributes::modify_listener(model, params),
        "CreateRule" => rules::create(model, params),
        "ModifyRule" => rules::modify(model, params),
        "DeleteRule" => rules::delete(model, params),
        "SetRulePriorities" => rules::set_priorities(model, params),
        "CreateTargetGroup" => groups::create(model, params),
        "ModifyTargetGroup" => groups::modify(model, params),
        "DeleteTargetGroup" => groups::delete(model, params),
        "ModifyTargetGroupAttributes" => attributes::modify_group(model, params),
        "RegisterTargets" => targets::register(model, now, params),
        "DeregisterTargets" => targets::deregister(model, now, params),
        "AddTags" => tags::add(model, params),
        "RemoveTags" => tags::remove(model, params),
        _ => return None,
    })
}

/// One page of a list: `{name: […], "NextMarker": …}`. A marker names the last part that was shown, so that a list which
/// changes between two pages shows nothing twice.
fn page(name: &str, params: Params<'_>, parts: Vec<(String, Value)>) -> Result<Value, Refusal> {
    let size = params.number("PageSize", 1..=PAGE_MAX)?.unwrap_or(PAGE_MAX) as usize;
    let start = match params.text("Marker").filter(|marker| !marker.is_empty()) {
        None => 0,
        Some(marker) => {
            let last = URL_SAFE_NO_PAD.decode(marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let at = last.and_then(|last| parts.iter().position(|(key, _)| *key == last));
            at.ok_or_else(|| Refusal::invalid(format!("The marker '{marker}' is not valid")))? + 1
        }
    };
    let total = parts.len();
    let shown: Vec<(String, Value)> = parts.into_iter().skip(start).take(size).collect();
    let mut out = Map::new();
    if start + shown.len() < total
        && let Some((last, _)) = shown.last()
    {
        out.insert("NextMarker".into(), URL_SAFE_NO_PAD.encode(last).into());
    }
    let shown: Vec<Value> = shown.into_iter().map(|(_, value)| value).collect();
    out.insert(name.to_owned(), shown.into());
    Ok(out.into())
}

/// An ARN of ELBv2.
fn arn(rest: &str) -> String {
    format!("arn:aws:elasticloadbalancing:{}:{}:{rest}", crate::model::REGION, crate::model::ACCOUNT)
}

/// Refuses an ARN of another kind, as AWS does: with `ValidationError` and not with `…NotFound`.
fn check_arn(arn: &str, kinds: &[&str], thing: &str) -> Result<(), Refusal> {
    let mut parts = arn.splitn(6, ':');
    let fits = parts.next() == Some("arn")
        && parts.nth(1) == Some("elasticloadbalancing")
        && parts.nth(2).is_some_and(|resource| kinds.iter().any(|kind| resource.starts_with(&format!("{kind}/"))));
    if fits { Ok(()) } else { Err(Refusal::invalid(format!("'{arn}' is not a valid {thing} ARN"))) }
}

/// A name of a load balancer or target group.
fn check_name(name: &str, thing: &str) -> Result<(), Refusal> {
    let refuse = |why: &str| Err(Refusal::invalid(format!("{thing} name '{name}' {why}")));
    match name {
        name if name.len() > 32 => refuse("cannot be longer than '32' characters"),
        name if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => {
            refuse("can only contain characters that are alphanumeric characters and hyphens(-)")
        }
        name if name.starts_with('-') || name.ends_with('-') => refuse("cannot begin or end with '-'"),
        name if thing == "Load balancer" && name.starts_with("internal-") => refuse("cannot begin with 'internal-'"),
        _ => Ok(()),
    }
}
