//! What ECS and Application Auto Scaling do by themselves: start and stop tasks until there are as many as there shall be.
//!
//! One step is a function of the account and the time, so that it can be tested without waiting; [`run`] calls it
//! whenever something changed or falls due.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Time;
use crate::model::Model;
use crate::model::fleet::{EVENTS_MAX, Service, Task, TaskState};
use crate::shared::Shared;

/// From asked for to an interface of its own.
const PROVISIONING: Duration = Duration::from_secs(10);
/// From there until its image is pulled and it runs. Together about what Fargate takes for a small image.
const PENDING: Duration = Duration::from_secs(20);
/// From drained to stopped.
const DEPROVISIONING: Duration = Duration::from_secs(10);
/// Between two attempts at tasks that cannot start.
const RETRY: Duration = Duration::from_mins(1);
/// How long a stopped task is still shown; "about an hour" in AWS.
const STOPPED_SHOWN: Duration = Duration::from_hours(1);
/// How often Application Auto Scaling looks whether a count is within its bounds.
const SCALING: Duration = Duration::from_mins(1);
/// The longest wait between two steps, so that nothing hangs on a wake-up that was missed.
const IDLE: Duration = Duration::from_mins(1);

/// Keeps the fleet and the draining targets going until the lab ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut changes = shared.changes();
    let mut scaled = shared.clock.now();
    loop {
        changes.mark_unchanged();
        let now = shared.clock.now();
        if now >= scaled + SCALING {
            scaled = now;
            if shared.read(out_of_bounds) {
                shared.happen(|model, _| scale(model));
            }
        }
        // Looking first keeps a lab in which nothing is due from waking everybody with changes that are none.
        let next = shared.read(|model| due(model, now));
        if next.is_some_and(|next| next <= now) {
            shared.happen(|model, now| {
                step(model, now);
                model.finish_draining(now);
            });
            continue;
        }
        let wake = next.unwrap_or(now + IDLE).min(scaled + SCALING);
        tokio::select! {
            () = shared.clock.sleep_until(wake) => {}
            heard = changes.changed() => if heard.is_err() { return },
        }
    }
}

/// When something is to be done next: at once if counts do not fit.
fn due(model: &Model, now: Time) -> Option<Time> {
    let mut next: Option<Time> = None;
    let mut at = |time: Time| next = Some(next.map_or(time, |next| next.min(time)));
    for group in model.target_groups.values() {
        group.targets.iter().filter_map(|target| target.draining_until).for_each(&mut at);
    }
    for task in model.fleet.tasks.values() {
        match task.state {
            TaskState::Provisioning => at(task.since + PROVISIONING),
            TaskState::Pending if task.address.is_some() || cannot_start(model, task) => at(task.since + PENDING),
            TaskState::Pending | TaskState::Running => {}
            TaskState::Deactivating => at(drained(model, task)),
            TaskState::Deprovisioning => at(task.since + DEPROVISIONING),
            TaskState::Stopped => at(task.since + STOPPED_SHOWN),
        }
    }
    for service in model.fleet.services.values() {
        if wrong_count(model, service) {
            at(retry_at(model, service).unwrap_or(now));
        }
        if service.deployments.len() > 1 && rolled_over(model, service) {
            at(now);
        }
    }
    next
}

fn cannot_start(model: &Model, task: &Task) -> bool {
    model.fleet.services.get(&task.service).is_some_and(|service| service.cannot_start.is_some())
}

/// When the target of a task that is going has drained.
fn drained(model: &Model, task: &Task) -> Time {
    let group =
        model.fleet.services.get(&task.service).and_then(|service| model.target_groups.get(&service.target_group));
    let target = group.zip(task.address).and_then(|(group, at)| group.target(&at.ip().to_string(), at.port()));
    target.and_then(|target| target.draining_until).unwrap_or(task.since)
}

fn alive<'a>(model: &'a Model, service: &'a Service, deployment: &'a str) -> impl Iterator<Item = &'a Task> {
    model.fleet.tasks.values().filter(move |task| {
        task.service == service.arn && task.deployment == deployment && task.state <= TaskState::Running
    })
}

fn wrong_count(model: &Model, service: &Service) -> bool {
    alive(model, service, &service.deployments[0].id).count() != service.desired as usize
}

/// Tasks that cannot start are tried again after a pause.
fn retry_at(model: &Model, service: &Service) -> Option<Time> {
    service.cannot_start.as_ref()?;
    let stopped = |task: &&Task| task.service == service.arn && task.state == TaskState::Stopped;
    model.fleet.tasks.values().filter(stopped).map(|task| task.since + RETRY).max()
}

/// Whether the newest deployment has all its tasks, so that the older ones may go.
fn rolled_over(model: &Model, service: &Service) -> bool {
    let runs = |task: &&Task| task.state == TaskState::Running;
    alive(model, service, &service.deployments[0].id).filter(runs).count() == service.desired as usize
}

/// One step of every task and service.
pub fn step(model: &mut Model, now: Time) {
    let tasks: Vec<String> = model.fleet.tasks.keys().cloned().collect();
    for arn in tasks {
        step_task(model, &arn, now);
    }
    let services: Vec<String> = model.fleet.services.keys().cloned().collect();
    for arn in services {
        step_service(model, &arn, now);
    }
}

fn enter(model: &mut Model, arn: &str, state: TaskState, now: Time) {
    if let Some(task) = model.fleet.tasks.get_mut(arn) {
        (task.state, task.since) = (state, now);
    }
}

fn step_task(model: &mut Model, arn: &str, now: Time) {
    let task = model.fleet.tasks[arn].clone();
    let age = now.since(task.since);
    match task.state {
        TaskState::Provisioning if age >= PROVISIONING => enter(model, arn, TaskState::Pending, now),
        TaskState::Pending if age >= PENDING => {
            if let Some(reason) = model.fleet.services.get(&task.service).and_then(|one| one.cannot_start.clone()) {
                enter(model, arn, TaskState::Stopped, now);
                model.fleet.tasks.get_mut(arn).expect("it is there").stopped_reason = Some(reason);
                let service = model.fleet.services.get_mut(&task.service).expect("looked up above");
                if let Some(deployment) = service.deployments.iter_mut().find(|one| one.id == task.deployment) {
                    deployment.failed += 1;
                }
                tell(service, now, "is unable to consistently start tasks successfully.");
            } else if let Some(address) = task.address {
                enter(model, arn, TaskState::Running, now);
                let Some(service) = model.fleet.services.get(&task.service) else { return };
                let group = service.target_group.clone();
                let id = address.ip().to_string();
                let registered =
                    !group.is_empty() && model.register(&group, &id, address.port(), Some(&task.zone), now).is_ok();
                let service = model.fleet.services.get_mut(&task.service).expect("looked up above");
                if registered {
                    tell(service, now, &format!("registered 1 targets in (target-group {group})"));
                }
            }
        }
        TaskState::Deactivating if now >= drained(model, &task) => enter(model, arn, TaskState::Deprovisioning, now),
        TaskState::Deprovisioning if age >= DEPROVISIONING => enter(model, arn, TaskState::Stopped, now),
        TaskState::Stopped if age >= STOPPED_SHOWN => {
            model.fleet.tasks.remove(arn);
        }
        _ => {}
    }
}

fn step_service(model: &mut Model, arn: &str, now: Time) {
    let service = model.fleet.services[arn].clone();
    let newest = service.deployments[0].id.clone();
    let mut living: Vec<Task> = alive(model, &service, &newest).cloned().collect();
    let wanted = service.desired as usize;
    if living.len() < wanted && retry_at(model, &service).is_none_or(|at| at <= now) {
        let started: Vec<String> =
            (living.len()..wanted).map(|index| start(model, &service, &newest, index, now)).collect();
        let names: Vec<String> = started.iter().map(|id| format!("(task {id})")).collect();
        let message = format!("has started {} tasks: {}.", started.len(), names.join(" "));
        tell(model.fleet.services.get_mut(arn).expect("it is there"), now, &message);
    }
    if living.len() > wanted {
        // The youngest go first; AWS spreads over zones and then takes any.
        living.sort_by_key(|task| task.created);
        for task in living.split_off(wanted) {
            stop(model, &task.arn, &format!("Scaling activity initiated by (deployment {newest})"), now);
        }
    }
    let service = model.fleet.services[arn].clone();
    if !rolled_over(model, &service) {
        return;
    }
    let old: Vec<String> = service.deployments[1..]
        .iter()
        .flat_map(|one| alive(model, &service, &one.id))
        .map(|task| task.arn.clone())
        .collect();
    for task in old {
        stop(model, &task, &format!("Scaling activity initiated by (deployment {newest})"), now);
    }
    let service = model.fleet.services.get_mut(arn).expect("it is there");
    service.deployments.truncate(1);
    let first = &mut service.deployments[0];
    if first.rollout == "IN_PROGRESS" {
        (first.rollout, first.updated) = ("COMPLETED".into(), now);
        tell(service, now, &format!("(deployment {newest}) deployment completed."));
    }
    if service.events.front().is_none_or(|(_, message)| !message.ends_with("steady state.")) {
        tell(service, now, "has reached a steady state.");
    }
}

/// A new task of a deployment, in the next zone.
pub(crate) fn start(model: &mut Model, service: &Service, deployment: &str, index: usize, now: Time) -> String {
    let id = model.fresh_id(32);
    let arn = super::arn(&format!("task/{}/{id}", service.cluster));
    let zones: Vec<&String> = model.network.subnets.values().map(|subnet| &subnet.zone).collect();
    let zone = zones.get(index % zones.len().max(1)).map_or_else(String::new, |zone| (*zone).clone());
    let task = Task {
        arn: arn.clone(),
        service: service.arn.clone(),
        deployment: deployment.to_owned(),
        state: TaskState::Provisioning,
        since: now,
        created: now,
        zone,
        address: None,
        stopped_reason: None,
    };
    model.fleet.tasks.insert(arn, task);
    id
}

/// Takes a task out of its target group; it stops when it has drained.
fn stop(model: &mut Model, arn: &str, why: &str, now: Time) {
    let task = model.fleet.tasks[arn].clone();
    let group =
        model.fleet.services.get(&task.service).map_or_else(String::new, |service| service.target_group.clone());
    let mut drains = false;
    if let (Some(address), false) = (task.address, group.is_empty()) {
        drains = model.deregister(&group, &address.ip().to_string(), address.port(), now).is_ok();
    }
    if let Some(service) = model.fleet.services.get_mut(&task.service) {
        let id = arn.rsplit('/').next().unwrap_or_default();
        if drains {
            tell(service, now, "has begun draining connections on 1 tasks.");
            tell(service, now, &format!("deregistered 1 targets in (target-group {group})"));
        }
        tell(service, now, &format!("has stopped 1 running tasks: (task {id})."));
    }
    enter(model, arn, TaskState::Deactivating, now);
    model.fleet.tasks.get_mut(arn).expect("it is there").stopped_reason = Some(why.to_owned());
}

/// Ends one running task of a service at once, as a crash does: what it had under way is lost. Says whether there was one.
pub(crate) fn crash(model: &mut Model, service: &str, now: Time) -> bool {
    let runs = |task: &&Task| task.service == service && task.state == TaskState::Running;
    let Some(task) = model.fleet.tasks.values().find(runs).map(|task| task.arn.clone()) else { return false };
    stop(model, &task, "Essential container in task exited", now);
    enter(model, &task, TaskState::Deprovisioning, now);
    true
}

/// An event as ECS words it: `(service NAME) …`.
fn tell(service: &mut Service, now: Time, what: &str) {
    service.events.push_front((now, format!("(service {}) {what}", service.name)));
    service.events.truncate(EVENTS_MAX);
}

fn out_of_bounds(model: &Model) -> bool {
    model.fleet.scalable.values().any(|target| wanted(model, target).is_some())
}

/// The service of a scalable target and the count that it is pulled to; `None` if it may stay.
fn wanted(model: &Model, target: &crate::model::fleet::Scalable) -> Option<(String, u32)> {
    let service = model.fleet.services.get(&super::arn(&target.resource))?;
    if service.desired < target.min && !target.out_suspended {
        return Some((service.arn.clone(), target.min));
    }
    (service.desired > target.max && !target.in_suspended).then(|| (service.arn.clone(), target.max))
}

/// Pulls every count into its bounds.
fn scale(model: &mut Model) {
    let pulls: Vec<(String, u32)> = model.fleet.scalable.values().filter_map(|target| wanted(model, target)).collect();
    for (arn, count) in pulls {
        model.fleet.services.get_mut(&arn).expect("found above").desired = count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HealthState;
    use crate::scenario;
    use serde_json::json;

    const START: Time = Time(1_795_292_712_345);

    /// Steps as [`run`] does, in moments that are due, until nothing is due before `until`; tasks get an address as soon as
    /// they may have one. Gives the times at which something was done.
    fn play(model: &mut Model, from: Time, until: Time) -> Vec<Time> {
        let mut times = Vec::new();
        let mut now = from;
        loop {
            for (index, task) in model.fleet.tasks.values_mut().enumerate() {
                if task.state == TaskState::Pending && task.address.is_none() {
                    let [high, low] = u16::try_from(index + times.len() * 16 + 1).unwrap().to_be_bytes();
                    task.address = Some(([10, 0, high, low], 9200).into());
                }
            }
            let Some(next) = due(model, now).filter(|next| *next <= until) else { return times };
            now = now.max(next);
            step(model, now);
            model.finish_draining(now);
            times.push(now);
            assert!(times.len() < 1000, "it never comes to rest");
        }
    }

    fn states(model: &Model, service: &str) -> Vec<TaskState> {
        let mut states: Vec<TaskState> =
            model.fleet.tasks.values().filter(|task| task.service.ends_with(service)).map(|task| task.state).collect();
        states.sort();
        states
    }

    fn set(model: &mut Model, parameters: &serde_json::Value) {
        let mut all =
            json!({"cluster": "migration-demo-ecs-cluster", "service": "migration-demo-target-cluster-proxy"});
        all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
        let done = super::super::write(model, START, "UpdateService", crate::wire::params::Params(&all));
        done.unwrap().unwrap();
    }

    /// Proves that a task runs thirty seconds after it was asked for and not before, is a target by then, and that one which
    /// goes drains for as long as its group says before it stops.
    #[test]
    fn tasks_come_and_go_in_their_time() {
        let (mut model, scene) = scenario::migration_assistant("demo", START).unwrap();
        play(&mut model, START, START);
        assert_eq!(states(&model, "target-cluster-proxy"), [TaskState::Running; 2]);
        set(&mut model, &json!({"desiredCount": 3}));
        play(&mut model, START, START + Duration::from_millis(29_999));
        assert_eq!(states(&model, "target-cluster-proxy")[0], TaskState::Pending);
        assert_eq!(model.target_groups[&scene.target_tg].targets.len(), 2);
        play(&mut model, START, START + Duration::from_secs(30));
        assert_eq!(states(&model, "target-cluster-proxy"), [TaskState::Running; 3]);
        assert_eq!(model.target_groups[&scene.target_tg].targets.len(), 3);
        set(&mut model, &json!({"desiredCount": 2}));
        let leaving = START + Duration::from_mins(1);
        play(&mut model, leaving, leaving + Duration::from_secs(299));
        assert_eq!(states(&model, "target-cluster-proxy")[2], TaskState::Deactivating);
        let draining = |model: &Model| {
            let targets = &model.target_groups[&scene.target_tg].targets;
            targets.iter().filter(|target| target.health.state == HealthState::Draining).count()
        };
        assert_eq!(draining(&model), 1);
        play(&mut model, leaving, leaving + Duration::from_secs(310));
        assert_eq!(states(&model, "target-cluster-proxy")[2], TaskState::Stopped);
        assert_eq!((draining(&model), model.target_groups[&scene.target_tg].targets.len()), (0, 2));
        play(&mut model, leaving, leaving + Duration::from_hours(2));
        assert_eq!(states(&model, "target-cluster-proxy"), [TaskState::Running; 2]);
    }

    /// Proves that a forced deployment has new tasks running before the old ones go, and is completed then.
    #[test]
    fn a_deployment_replaces_every_task() {
        let (mut model, _) = scenario::migration_assistant("demo", START).unwrap();
        play(&mut model, START, START);
        let old: Vec<String> = model.fleet.tasks.keys().cloned().collect();
        set(&mut model, &json!({"forceNewDeployment": true}));
        let service = |model: &Model| {
            model
                .fleet
                .services
                .values()
                .find(|service| service.name.ends_with("target-cluster-proxy"))
                .unwrap()
                .clone()
        };
        assert_eq!(
            (service(&model).deployments.len(), &service(&model).deployments[0].rollout[..]),
            (2, "IN_PROGRESS")
        );
        play(&mut model, START, START + Duration::from_secs(29));
        let running = states(&model, "target-cluster-proxy").into_iter().filter(|state| *state == TaskState::Running);
        assert_eq!(running.count(), 2, "the old ones, until the new ones run");
        play(&mut model, START, START + Duration::from_hours(1));
        assert_eq!((service(&model).deployments.len(), &service(&model).deployments[0].rollout[..]), (1, "COMPLETED"));
        let mine = model.fleet.tasks.values().filter(|task| task.service.ends_with("target-cluster-proxy"));
        let (gone, here): (Vec<_>, Vec<_>) = mine.partition(|task| old.contains(&task.arn));
        assert!(gone.iter().all(|task| task.state == TaskState::Stopped) && here.len() == 2);
    }
}
