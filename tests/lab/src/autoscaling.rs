//! Application Auto Scaling: the bounds of a service's count, and what is suspended. What it does about them is in
//! [`crate::ecs::drive`].

use serde_json::{Value, json};

use crate::clock::Time;
use crate::model::fleet::Scalable;
use crate::model::{ACCOUNT, Model, REGION, Refusal};
use crate::wire::params::Params;

const DIMENSION: &str = "ecs:service:DesiredCount";

/// What reads the account.
pub fn read(model: &Model, operation: &str, params: Params<'_>) -> Option<Result<Value, Refusal>> {
    Some(match operation {
        "DescribeScalableTargets" => describe(model, params),
        "DescribeScalingPolicies" => namespace(params).map(|()| json!({"ScalingPolicies": []})),
        _ => return None,
    })
}

/// What changes the account.
pub fn write(model: &mut Model, now: Time, operation: &str, params: Params<'_>) -> Option<Result<Value, Refusal>> {
    Some(match operation {
        "RegisterScalableTarget" => register(model, now, params),
        "DeregisterScalableTarget" => deregister(model, params),
        _ => return None,
    })
}

fn refuse(why: impl Into<String>) -> Refusal {
    Refusal::new("ValidationException", why)
}

fn namespace(params: Params<'_>) -> Result<(), Refusal> {
    match params.text("ServiceNamespace") {
        Some("ecs") => Ok(()),
        Some(other) => Err(refuse(format!("the lab scales services of ECS only, not '{other}'"))),
        None => Err(refuse("1 validation error detected: Value at 'serviceNamespace' must not be null")),
    }
}

fn spelled(target: &Scalable) -> Value {
    json!({
        "ServiceNamespace": "ecs",
        "ResourceId": target.resource,
        "ScalableDimension": DIMENSION,
        "MinCapacity": target.min,
        "MaxCapacity": target.max,
        "RoleARN": format!("arn:aws:iam::{ACCOUNT}:role/aws-service-role/ecs.application-autoscaling.amazonaws.com/\
            AWSServiceRoleForApplicationAutoScaling_ECSService"),
        "CreationTime": target.created.seconds(),
        "SuspendedState": {
            "DynamicScalingInSuspended": target.in_suspended,
            "DynamicScalingOutSuspended": target.out_suspended,
            "ScheduledScalingSuspended": target.scheduled_suspended,
        },
        "ScalableTargetARN": arn(&target.resource),
    })
}

fn arn(resource: &str) -> String {
    let id = resource.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    format!("arn:aws:application-autoscaling:{REGION}:{ACCOUNT}:scalable-target/0ec5{id:016x}")
}

fn describe(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    namespace(params)?;
    let wanted = params.texts("ResourceIds");
    let found: Vec<Value> = model
        .fleet
        .scalable
        .values()
        .filter(|target| wanted.is_empty() || wanted.contains(&&target.resource[..]))
        .map(spelled)
        .collect();
    Ok(json!({"ScalableTargets": found}))
}

/// What is not given stays as it is, also within `SuspendedState`.
fn register(model: &mut Model, now: Time, params: Params<'_>) -> Result<Value, Refusal> {
    namespace(params)?;
    let resource = params.text("ResourceId").ok_or_else(|| refuse("ResourceId must not be null"))?;
    if params.text("ScalableDimension") != Some(DIMENSION) {
        return Err(refuse(format!("the scalable dimension of a service is {DIMENSION}")));
    }
    if !model.fleet.services.contains_key(&crate::ecs::arn(resource)) {
        return Err(refuse(format!("ECS service doesn't exist: {resource}")));
    }
    let invalid = |refusal: Refusal| refuse(refusal.message);
    let min = params.number("MinCapacity", 0..=10_000_u32).map_err(invalid)?;
    let max = params.number("MaxCapacity", 0..=10_000_u32).map_err(invalid)?;
    let mut target = match (model.fleet.scalable.get(resource), min, max) {
        (Some(old), ..) => old.clone(),
        (None, Some(min), Some(max)) => Scalable {
            resource: resource.to_owned(),
            min,
            max,
            in_suspended: false,
            out_suspended: false,
            scheduled_suspended: false,
            created: now,
        },
        (None, ..) => return Err(refuse("MinCapacity and MaxCapacity are required for a new scalable target")),
    };
    target.min = min.unwrap_or(target.min);
    target.max = max.unwrap_or(target.max);
    if target.min > target.max {
        return Err(refuse("Maximum capacity cannot be less than minimum capacity"));
    }
    if let Some(state) = params.table("SuspendedState") {
        let flag = |name: &str, old: bool| Ok::<_, Refusal>(state.flag(name).map_err(invalid)?.unwrap_or(old));
        target.in_suspended = flag("DynamicScalingInSuspended", target.in_suspended)?;
        target.out_suspended = flag("DynamicScalingOutSuspended", target.out_suspended)?;
        target.scheduled_suspended = flag("ScheduledScalingSuspended", target.scheduled_suspended)?;
    }
    model.fleet.scalable.insert(resource.to_owned(), target);
    Ok(json!({"ScalableTargetARN": arn(resource)}))
}

fn deregister(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    namespace(params)?;
    let resource = params.text("ResourceId").unwrap_or("");
    match model.fleet.scalable.remove(resource) {
        Some(_) => Ok(json!({})),
        None => Err(Refusal::new(
            "ObjectNotFoundException",
            format!("No scalable target found for service namespace: ecs, resource ID: {resource}"),
        )),
    }
}
