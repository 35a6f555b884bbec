//! The lab's own API under `/_lab/`: what is to go wrong, what others do to the account, and what happened.
//!
//! `PUT|GET|DELETE faults`, `POST actions`, `PUT|GET switches`, `PUT|GET upstreams`, `PUT metrics`, `GET history`,
//! `GET calls`, `GET state`, `GET clock`. JSON in and out.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cloudwatch::Broken;
use crate::faults::Fault;
use crate::later::Job;
use crate::model::{Model, Refusal, action};
use crate::operate;
use crate::plane::{Behaviour, Switches};
use crate::shared::Shared;
use crate::wire::params::Params;
use crate::{ecs, elbv2};

/// What somebody else does to the account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// Writes a listener's default rule: other weights for its target groups (by ARN, or `source` and `target`), or a
    /// whole list of actions in AWS's own spelling.
    ForeignEdit {
        /// Which; the weighted one if none is named.
        #[serde(default)]
        listener: Option<String>,
        /// Other weights.
        #[serde(default)]
        weights: BTreeMap<String, u32>,
        /// Another list.
        #[serde(default)]
        actions: Option<Value>,
    },
    /// Deploys the stack again: every listener and every count that the scenario made is as it made it.
    CdkReset {},
    /// Application Auto Scaling takes a service to its smallest count, if scaling in is not suspended.
    ScaleIn {
        /// The service's name.
        service: String,
    },
    /// A service's tasks cannot start any more, or can again if no reason is given.
    CannotStart {
        /// The service's name.
        service: String,
        /// What ECS says of the tasks.
        #[serde(default)]
        reason: Option<String>,
    },
    /// One of a service's tasks ends by itself, as one that crashed.
    Crash {
        /// The service's name.
        service: String,
    },
    /// A service is deployed by something that moves weights itself.
    Strategy {
        /// The service's name.
        service: String,
        /// `ROLLING`, `BLUE_GREEN`, `LINEAR`, `CANARY`.
        strategy: String,
        /// `ECS`, `CODE_DEPLOY`, `EXTERNAL`.
        #[serde(default)]
        controller: Option<String>,
    },
}

/// An action, and how much later in lab time it is done.
#[derive(Deserialize)]
struct Announced {
    #[serde(default)]
    in_seconds: Option<f64>,
    #[serde(flatten)]
    action: Value,
}

/// Answers a call to `/_lab/PATH`.
pub(crate) fn answer(
    shared: &Shared,
    method: &Method,
    path: &str,
    query: Option<&str>,
    body: &Bytes,
) -> Response<Bytes> {
    let done = match (method.as_str(), path.trim_end_matches('/')) {
        ("PUT" | "POST", "faults") => put_fault(shared, body),
        ("GET", "faults") => Ok(json!({"faults": shared.faults.standing(shared.clock.now())})),
        ("DELETE", "faults") => {
            shared.faults.clear();
            Ok(json!({"faults": []}))
        }
        ("PUT" | "POST", "actions") => announce(shared, body),
        ("PUT" | "POST", "switches") => put_switches(shared, body),
        ("GET", "switches") => Ok(json!(shared.plane.switches())),
        ("PUT" | "POST", "upstreams") => put_upstreams(shared, body),
        ("GET", "upstreams") => Ok(upstreams(shared)),
        ("PUT" | "POST", "metrics") => put_metrics(shared, body),
        ("GET", "history") => Ok(history(shared, query)),
        ("GET", "calls") => Ok(json!({"now": shared.clock.now(), "calls": shared.history.calls()})),
        ("GET", "state") => Ok(shared.read(|model| json!({"scene": shared.scene, "account": model}))),
        ("GET", "clock") => {
            let now = shared.clock.now();
            Ok(json!({"now": now, "time": now.rfc3339(), "speed": shared.clock.speed()}))
        }
        (_, "faults" | "actions" | "switches" | "upstreams" | "metrics" | "history" | "calls" | "state" | "clock") => {
            return json_response(405, &json!({"error": format!("{method} is not for _lab/{path}")}));
        }
        _ => return json_response(404, &json!({"error": format!("there is no _lab/{path}")})),
    };
    match done {
        Ok(value) => json_response(200, &value),
        Err(why) => json_response(400, &json!({"error": why})),
    }
}

fn json_response(status: u16, value: &Value) -> Response<Bytes> {
    operate::build(status, "application/json", value.to_string().into())
}

fn put_fault(shared: &Shared, body: &Bytes) -> Result<Value, String> {
    let fault: Fault = serde_json::from_slice(body).map_err(|why| format!("cannot read the fault: {why}"))?;
    let now = shared.clock.now();
    shared.read(|model| shared.faults.put(fault, model, now))?;
    Ok(json!({"faults": shared.faults.standing(now)}))
}

/// What AWS does not document of carrying traffic, as it shall be from now on; what is not named is as it is by default.
fn put_switches(shared: &Shared, body: &Bytes) -> Result<Value, String> {
    let switches: Switches = serde_json::from_slice(body).map_err(|why| format!("cannot read the switches: {why}"))?;
    shared.plane.set_switches(switches);
    Ok(json!(switches))
}

/// How the servers of a target group behave from now on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    /// By ARN, or `source` and `target`.
    group: String,
    /// What is not named is as it is by default.
    #[serde(default)]
    behaviour: Behaviour,
}

fn put_upstreams(shared: &Shared, body: &Bytes) -> Result<Value, String> {
    let told: Told = serde_json::from_slice(body).map_err(|why| format!("cannot read the behaviour: {why}"))?;
    let group = match &told.group[..] {
        "source" => shared.scene.source_tg.clone(),
        "target" => shared.scene.target_tg.clone(),
        _ => told.group,
    };
    if !shared.read(|model| model.target_groups.contains_key(&group)) {
        return Err(format!("there is no target group {group}: name its ARN, `source` or `target`"));
    }
    shared.plane.behave(&group, told.behaviour);
    Ok(upstreams(shared))
}

/// What is wrong with reading metrics though the call succeeds: series that fail, pages that are small. Replaces what was.
fn put_metrics(shared: &Shared, body: &Bytes) -> Result<Value, String> {
    let broken: Broken = serde_json::from_slice(body).map_err(|why| format!("cannot read what is wrong: {why}"))?;
    *shared.cloudwatch.broken() = broken.clone();
    Ok(json!(broken))
}

fn upstreams(shared: &Shared) -> Value {
    let groups: Vec<String> = shared.read(|model| model.target_groups.keys().cloned().collect());
    groups.into_iter().map(|group| (group.clone(), json!(shared.plane.behaviour(&group)))).collect()
}

fn announce(shared: &Shared, body: &Bytes) -> Result<Value, String> {
    let unreadable = |why: serde_json::Error| format!("cannot read the action: {why}");
    let announced: Announced = serde_json::from_slice(body).map_err(unreadable)?;
    let action: Action = serde_json::from_value(announced.action).map_err(unreadable)?;
    match announced.in_seconds {
        None => act(shared, action).map_err(|refusal| refusal.to_string())?,
        Some(seconds) => {
            let wait = Duration::try_from_secs_f64(seconds).map_err(|why| format!("in_seconds {seconds}: {why}"))?;
            shared.later.add(shared.clock.now() + wait, Job::Action(action))?;
        }
    }
    Ok(json!({"now": shared.clock.now()}))
}

/// What happened: `actions` (each list with the time it came into force), `requests` by second, target group and status,
/// `calls` by operation, `messages`. With `?since=MS` only what is not older.
fn history(shared: &Shared, query: Option<&str>) -> Value {
    let since = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("since=")));
    let since: i64 = since.and_then(|text| text.parse().ok()).unwrap_or(i64::MIN);
    let actions: Vec<Value> = shared
        .history
        .actions(None)
        .into_iter()
        .filter(|note| note.at.0 >= since)
        .map(|note| json!({"at": note.at, "time": note.at.rfc3339(), "arn": note.arn, "actions": note.actions}))
        .collect();
    let requests: Vec<Value> = shared
        .history
        .served()
        .into_iter()
        .filter(|((second, ..), _)| second.saturating_mul(1000) >= since)
        .map(|((second, group, status), requests)| {
            json!({"second": second, "target_group": group, "status": status, "requests": requests})
        })
        .collect();
    json!({
        "now": shared.clock.now(),
        "actions": actions,
        "requests": requests,
        "calls": shared.history.counts(),
        "messages": shared.history.messages(),
    })
}

/// Does what somebody else does.
///
/// # Errors
/// As AWS would refuse it, or if it names what is not there.
pub fn act(shared: &Shared, action: Action) -> Result<(), Refusal> {
    match action {
        Action::ForeignEdit { listener, weights, actions } => {
            let listener = listener.unwrap_or_else(|| shared.scene.listener_arn.clone());
            shared.change(|model, now| match actions {
                Some(actions) => {
                    let params = json!({"ListenerArn": listener, "DefaultActions": actions});
                    elbv2::write(model, now, "ModifyListener", Params(&params)).expect("it is an operation").map(|_| ())
                }
                None => reweigh(shared, model, &listener, &weights),
            })
        }
        Action::CdkReset {} => shared.change(|model, _| {
            for (arn, listener) in &shared.origin.listeners {
                if model.listeners.contains_key(arn) {
                    model.set_default_actions(arn, listener.default_actions.clone())?;
                }
            }
            for (arn, service) in &shared.origin.fleet.services {
                if let Some(mine) = model.fleet.services.get_mut(arn) {
                    mine.desired = service.desired;
                }
            }
            Ok(())
        }),
        Action::ScaleIn { service } => shared.change(|model, _| {
            let arn = service_arn(model, &service)?;
            let resource = arn.rsplit(':').next().unwrap_or_default();
            let bounds = model.fleet.scalable.get(resource);
            if let Some(min) = bounds.filter(|bounds| !bounds.in_suspended).map(|bounds| bounds.min) {
                model.fleet.services.get_mut(&arn).expect("looked up above").desired = min;
            }
            Ok(())
        }),
        Action::CannotStart { service, reason } => shared.change(|model, _| {
            let arn = service_arn(model, &service)?;
            model.fleet.services.get_mut(&arn).expect("looked up above").cannot_start = reason;
            Ok(())
        }),
        Action::Crash { service } => shared.change(|model, now| {
            let arn = service_arn(model, &service)?;
            let crashed = ecs::drive::crash(model, &arn, now);
            if crashed { Ok(()) } else { Err(Refusal::new("InvalidParameterException", "no task of it runs")) }
        }),
        Action::Strategy { service, strategy, controller } => shared.change(|model, _| {
            let arn = service_arn(model, &service)?;
            let service = model.fleet.services.get_mut(&arn).expect("looked up above");
            service.strategy = strategy;
            service.controller = controller.unwrap_or_else(|| service.controller.clone());
            Ok(())
        }),
    }
}

fn service_arn(model: &Model, name: &str) -> Result<String, Refusal> {
    let found = model.fleet.services.values().find(|service| service.name == name || service.arn == name);
    let found = found.ok_or_else(|| Refusal::new("ServiceNotFoundException", format!("no service '{name}'")))?;
    Ok(found.arn.clone())
}

/// A default rule with other weights, everything else as it is.
fn reweigh(shared: &Shared, model: &mut Model, listener: &str, weights: &BTreeMap<String, u32>) -> Result<(), Refusal> {
    let mut actions = model.listener(listener)?.default_actions.clone();
    for (name, weight) in weights {
        let arn = match &name[..] {
            "source" => &shared.scene.source_tg,
            "target" => &shared.scene.target_tg,
            _ => name,
        };
        let forwards = actions.iter_mut().filter_map(|action| match &mut action.what {
            action::What::Forward(forward) => Some(forward),
            _ => None,
        });
        let mut groups = forwards.flat_map(|forward| &mut forward.groups);
        let group = groups.find(|group| group.arn == *arn);
        let group = group.ok_or_else(|| Refusal::not_found("TargetGroupNotFound", "target groups", arn))?;
        group.weight = *weight;
    }
    model.set_default_actions(listener, actions).map(|_| ())
}
