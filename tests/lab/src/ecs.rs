//! ECS: services that are so large as they are told to be, after a while.
//!
//! The counts that `DescribeServices` shows are counted from the tasks there are, so that they cannot disagree with
//! `ListTasks`, with each other or with the target group. What AWS does by itself is in [`drive`].

pub mod drive;

use serde_json::{Value, json};

use crate::clock::Time;
use crate::model::fleet::{Deployment, Fleet, Service, Task, TaskState};
use crate::model::{ACCOUNT, Model, REGION, Refusal};
use crate::wire::params::Params;

/// Services in one `DescribeServices`.
const SERVICES_MAX: usize = 10;
/// Tasks in one `DescribeTasks`, and in one page of `ListTasks`.
const TASKS_MAX: usize = 100;

/// An ARN of ECS.
pub(crate) fn arn(rest: &str) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT}:{rest}")
}

/// What reads the account.
pub fn read(model: &Model, operation: &str, params: Params<'_>) -> Option<Result<Value, Refusal>> {
    Some(match operation {
        "DescribeClusters" => Ok(describe_clusters(model, params)),
        "ListClusters" => {
            Ok(json!({"clusterArns": model.fleet.clusters.values().map(|cluster| &cluster.arn).collect::<Vec<_>>()}))
        }
        "ListServices" => list_services(model, params),
        "DescribeServices" => describe_services(model, params),
        "ListTasks" => list_tasks(model, params),
        "DescribeTasks" => describe_tasks(model, params),
        _ => return None,
    })
}

/// What changes the account.
pub fn write(model: &mut Model, now: Time, operation: &str, params: Params<'_>) -> Option<Result<Value, Refusal>> {
    Some(match operation {
        "UpdateService" => update_service(model, now, params),
        _ => return None,
    })
}

/// The name of the cluster that is meant: by name or ARN, `default` if none is.
fn cluster<'a>(model: &Model, params: Params<'a>) -> Result<&'a str, Refusal> {
    let given = params.text("cluster").unwrap_or("default");
    let name = given.rsplit('/').next().unwrap_or(given);
    if model.fleet.clusters.contains_key(name) {
        return Ok(name);
    }
    Err(Refusal::new("ClusterNotFoundException", "Cluster not found."))
}

/// A service of a cluster, by name or ARN.
fn service<'a>(fleet: &'a Fleet, cluster: &str, name: &str) -> Option<&'a Service> {
    let short = name.rsplit('/').next().unwrap_or(name);
    fleet.services.values().find(|service| service.cluster == cluster && service.name == short)
}

fn describe_clusters(model: &Model, params: Params<'_>) -> Value {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    let mut names = params.texts("clusters");
    if names.is_empty() {
        names.push("default");
    }
    for name in names {
        let short = name.rsplit('/').next().unwrap_or(name);
        let Some(cluster) = model.fleet.clusters.get(short) else {
            failures.push(json!({"arn": arn(&format!("cluster/{short}")), "reason": "MISSING"}));
            continue;
        };
        let services: Vec<&Service> = model.fleet.services.values().filter(|one| one.cluster == cluster.name).collect();
        let count = |state: fn(TaskState) -> bool| {
            let mine = |task: &&Task| services.iter().any(|service| service.arn == task.service);
            model.fleet.tasks.values().filter(mine).filter(|task| state(task.state)).count()
        };
        found.push(json!({
            "clusterArn": cluster.arn, "clusterName": cluster.name, "status": "ACTIVE",
            "registeredContainerInstancesCount": 0,
            "runningTasksCount": count(|state| state == TaskState::Running),
            "pendingTasksCount": count(|state| state < TaskState::Running),
            "activeServicesCount": services.len(),
            "statistics": [], "tags": [], "settings": [], "capacityProviders": ["FARGATE"],
            "defaultCapacityProviderStrategy": [],
        }));
    }
    json!({"clusters": found, "failures": failures})
}

fn list_services(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let cluster = cluster(model, params)?;
    let all: Vec<&String> =
        model.fleet.services.values().filter(|one| one.cluster == cluster).map(|one| &one.arn).collect();
    page(params, "serviceArns", &all, 10)
}

fn list_tasks(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let cluster = cluster(model, params)?;
    let stopped = params.text("desiredStatus") == Some("STOPPED");
    let of = match params.text("serviceName") {
        Some(name) => {
            let found = service(&model.fleet, cluster, name);
            Some(found.ok_or_else(|| Refusal::new("ServiceNotFoundException", "Service not found."))?.arn.clone())
        }
        None => None,
    };
    let prefix = arn(&format!("task/{cluster}/"));
    let all: Vec<&String> = model
        .fleet
        .tasks
        .values()
        .filter(|task| task.arn.starts_with(&prefix) && (task.state > TaskState::Running) == stopped)
        .filter(|task| of.as_ref().is_none_or(|of| task.service == *of))
        .map(|task| &task.arn)
        .collect();
    page(params, "taskArns", &all, TASKS_MAX)
}

/// One page of ARNs; the token is the last one shown.
fn page(params: Params<'_>, name: &str, all: &[&String], default: usize) -> Result<Value, Refusal> {
    let size = params.number("maxResults", 1..=100_u32)?.map_or(default, |size| size as usize);
    let start = match params.text("nextToken") {
        None => 0,
        Some(last) => {
            let at = all.iter().position(|arn| arn.as_str() == last);
            at.ok_or_else(|| Refusal::new("InvalidParameterException", "Invalid token"))? + 1
        }
    };
    let shown = &all[start..all.len().min(start + size)];
    let mut out = json!({name: shown});
    if let (true, Some(last)) = (start + shown.len() < all.len(), shown.last()) {
        out["nextToken"] = last.as_str().into();
    }
    Ok(out)
}

fn describe_services(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let cluster = cluster(model, params)?;
    let names = params.texts("services");
    if names.is_empty() {
        return Err(Refusal::new("InvalidParameterException", "Services cannot be empty."));
    }
    if names.len() > SERVICES_MAX {
        return Err(Refusal::new("InvalidParameterException", "Services cannot be more than 10."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        if let Some(service) = service(&model.fleet, cluster, name) {
            found.push(spelled_service(model, service));
            continue;
        }
        let short = name.rsplit('/').next().unwrap_or(name);
        let arn = if name.starts_with("arn:") { name.into() } else { arn(&format!("service/{cluster}/{short}")) };
        failures.push(json!({"arn": arn, "reason": "MISSING"}));
    }
    Ok(json!({"services": found, "failures": failures}))
}

fn count(fleet: &Fleet, service: &Service, deployment: Option<&str>, state: fn(TaskState) -> bool) -> usize {
    fleet
        .tasks
        .values()
        .filter(|task| task.service == service.arn && deployment.is_none_or(|id| task.deployment == id))
        .filter(|task| state(task.state))
        .count()
}

fn running(state: TaskState) -> bool {
    state == TaskState::Running
}

fn pending(state: TaskState) -> bool {
    state < TaskState::Running
}

fn spelled_deployment(model: &Model, service: &Service, index: usize, deployment: &Deployment) -> Value {
    let primary = index == 0;
    json!({
        "id": deployment.id,
        "status": if primary { "PRIMARY" } else { "ACTIVE" },
        "taskDefinition": deployment.task_definition,
        "desiredCount": if primary { service.desired } else { 0 },
        "pendingCount": count(&model.fleet, service, Some(&deployment.id), pending),
        "runningCount": count(&model.fleet, service, Some(&deployment.id), running),
        "failedTasks": deployment.failed,
        "createdAt": deployment.created.seconds(),
        "updatedAt": deployment.updated.seconds(),
        "launchType": "FARGATE",
        "platformVersion": "1.4.0",
        "platformFamily": "Linux",
        "rolloutState": deployment.rollout,
        "rolloutStateReason": format!("ECS deployment {} {}.", deployment.id, match &deployment.rollout[..] {
            "COMPLETED" => "completed",
            "FAILED" => "failed",
            _ => "in progress",
        }),
    })
}

fn spelled_service(model: &Model, service: &Service) -> Value {
    let container = if service.target_group.is_empty() {
        json!([])
    } else {
        json!([{
            "targetGroupArn": service.target_group,
            "containerName": "proxy",
            "containerPort": service.container_port,
        }])
    };
    let deployments: Vec<Value> = service
        .deployments
        .iter()
        .enumerate()
        .map(|(index, deployment)| spelled_deployment(model, service, index, deployment))
        .collect();
    let events: Vec<Value> = service
        .events
        .iter()
        .enumerate()
        .map(|(index, (at, message))| {
            json!({"id": format!("{}-{index}", at.0), "createdAt": at.seconds(), "message": message})
        })
        .collect();
    json!({
        "serviceArn": service.arn,
        "serviceName": service.name,
        "clusterArn": arn(&format!("cluster/{}", service.cluster)),
        "loadBalancers": container,
        "serviceRegistries": [],
        "status": service.status,
        "desiredCount": service.desired,
        "runningCount": count(&model.fleet, service, None, running),
        "pendingCount": count(&model.fleet, service, None, pending),
        "launchType": "FARGATE",
        "platformVersion": "LATEST",
        "platformFamily": "Linux",
        "taskDefinition": service.task_definition,
        "deploymentConfiguration": {
            "deploymentCircuitBreaker": {"enable": false, "rollback": false},
            "maximumPercent": 200,
            "minimumHealthyPercent": 100,
            "strategy": service.strategy,
        },
        "deployments": deployments,
        "events": events,
        "createdAt": service.created.seconds(),
        "placementConstraints": [],
        "placementStrategy": [],
        "networkConfiguration": {"awsvpcConfiguration": {
            "subnets": model.network.subnets.keys().collect::<Vec<_>>(),
            "securityGroups": model.network.security_groups.keys().collect::<Vec<_>>(),
            "assignPublicIp": "DISABLED",
        }},
        "healthCheckGracePeriodSeconds": 0,
        "schedulingStrategy": "REPLICA",
        "deploymentController": {"type": service.controller},
        "enableECSManagedTags": false,
        "propagateTags": "NONE",
        "enableExecuteCommand": false,
    })
}

fn describe_tasks(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let cluster = cluster(model, params)?;
    let names = params.texts("tasks");
    if names.is_empty() || names.len() > TASKS_MAX {
        return Err(Refusal::new("InvalidParameterException", "Tasks must have 1 to 100 entries."));
    }
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        let short = name.rsplit('/').next().unwrap_or(name);
        let arn = arn(&format!("task/{cluster}/{short}"));
        match model.fleet.tasks.get(&arn) {
            Some(task) => found.push(spelled_task(model, task)),
            None => failures.push(json!({"arn": arn, "reason": "MISSING"})),
        }
    }
    Ok(json!({"tasks": found, "failures": failures}))
}

fn spelled_task(model: &Model, task: &Task) -> Value {
    let service = model.fleet.services.get(&task.service);
    let id = task.arn.rsplit('/').next().unwrap_or_default();
    let cluster = service.map_or("", |service| &service.cluster);
    let stopping = task.state > TaskState::Running;
    let address = task.address.map(|address| address.ip().to_string());
    let subnet = model.network.subnets.values().find(|subnet| subnet.zone == task.zone).map(|subnet| subnet.id.clone());
    let details: Vec<Value> = [("subnetId", subnet), ("privateIPv4Address", address.clone())]
        .into_iter()
        .filter_map(|(name, value)| Some(json!({"name": name, "value": value?})))
        .collect();
    let attachment = format!("attachment-{id}");
    let interfaces: Vec<Value> =
        address.iter().map(|ip| json!({"attachmentId": attachment, "privateIpv4Address": ip})).collect();
    // A task in a network of its own has no bindings in AWS. The lab's tasks share a machine, so their ports differ.
    let bindings: Vec<Value> = task
        .address
        .iter()
        .map(|address| {
            let container = service.map_or(0, |service| service.container_port);
            json!({"containerPort": container, "hostPort": address.port(), "protocol": "tcp"})
        })
        .collect();
    let mut out = json!({
        "taskArn": task.arn,
        "clusterArn": arn(&format!("cluster/{cluster}")),
        "taskDefinitionArn": service.map(|service| &service.task_definition),
        "group": service.map(|service| format!("service:{}", service.name)),
        "lastStatus": task.state.name(),
        "desiredStatus": if stopping { "STOPPED" } else { "RUNNING" },
        "launchType": "FARGATE",
        "availabilityZone": task.zone,
        "createdAt": task.created.seconds(),
        "startedBy": task.deployment,
        "healthStatus": "UNKNOWN",
        "version": task.state as u8 + 1,
        "attachments": [{
            "id": attachment, "type": "ElasticNetworkInterface",
            "status": if stopping { "DETACHED" } else { "ATTACHED" }, "details": details,
        }],
        "containers": [{
            "containerArn": arn(&format!("container/{cluster}/{id}")), "taskArn": task.arn, "name": "proxy",
            "lastStatus": task.state.name(), "networkBindings": bindings, "networkInterfaces": interfaces,
        }],
    });
    if task.state == TaskState::Running {
        out["startedAt"] = task.since.seconds().into();
    }
    if task.state == TaskState::Stopped {
        out["stoppedAt"] = task.since.seconds().into();
    }
    if let Some(reason) = &task.stopped_reason {
        out["stoppedReason"] = reason.clone().into();
    }
    out
}

/// A new count starts no deployment (service model, `UpdateService`); a new task definition or `forceNewDeployment` does.
fn update_service(model: &mut Model, now: Time, params: Params<'_>) -> Result<Value, Refusal> {
    let cluster = cluster(model, params)?;
    let name = params.text("service").unwrap_or("");
    if name.is_empty() {
        return Err(Refusal::new("InvalidParameterException", "Service cannot be empty."));
    }
    let found = service(&model.fleet, cluster, name);
    let found = found.ok_or_else(|| Refusal::new("ServiceNotFoundException", "Service not found."))?;
    if found.status != "ACTIVE" {
        return Err(Refusal::new("ServiceNotActiveException", "Service was not ACTIVE."));
    }
    let arn = found.arn.clone();
    let invalid = |refusal: Refusal| Refusal::new("InvalidParameterException", refusal.message);
    let desired = params.number("desiredCount", 0..=5000_u32).map_err(invalid)?;
    let definition = params.text("taskDefinition").map(str::to_owned);
    let force = params.flag("forceNewDeployment").map_err(invalid)?.unwrap_or(false);
    let id = model.fresh_id(19);
    let service = model.fleet.services.get_mut(&arn).expect("looked up above");
    if let Some(desired) = desired {
        service.desired = desired;
        service.deployments[0].updated = now;
    }
    if force || definition.as_ref().is_some_and(|definition| *definition != service.task_definition) {
        service.task_definition = definition.unwrap_or_else(|| service.task_definition.clone());
        service.deployments.insert(
            0,
            Deployment {
                id: format!("ecs-svc/{id}"),
                task_definition: service.task_definition.clone(),
                created: now,
                updated: now,
                failed: 0,
                rollout: "IN_PROGRESS".into(),
            },
        );
    }
    Ok(json!({"service": spelled_service(model, &model.fleet.services[&arn])}))
}
