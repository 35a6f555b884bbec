//! The ECS services behind the target groups: whether they run, as many as they should, and nothing is being rolled out.

use aws_sdk_ecs::types::{DeploymentRolloutState, Service};
use cutover::event::{Check, CheckOutcome};

use super::{AlbFleet, PORT, unknown};
use crate::aws::{failed, find};
use crate::port::PortError;

/// The CDK key without which Migration Assistant makes no proxies for the target.
const CDK_TARGET: &str = "`targetClusterProxyServiceEnabled`";
/// The CDK key that says how many there are.
const CDK_TARGET_COUNT: &str = "`targetClusterProxyDesiredCount`";
/// The same for the capture proxies.
const CDK_SOURCE: &str = "`captureProxyServiceEnabled`";
const CDK_SOURCE_COUNT: &str = "`captureProxyDesiredCount`";

/// A service as ECS tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) status: String,
    pub(super) desired: i32,
    pub(super) running: i32,
    pub(super) pending: i32,
    /// Deployments that stand beside each other: more than one is a roll-out.
    pub(super) deployments: usize,
    /// Whether the newest is complete; services without a controller of ECS's own do not say.
    pub(super) complete: bool,
    pub(super) failed_tasks: i32,
    /// Who deploys it, where that is not ECS by replacing tasks: `CODE_DEPLOY`, `BLUE_GREEN` and so on.
    pub(super) deployed_by: Option<String>,
}

impl Told {
    fn of(service: &Service) -> Self {
        let primary = service.deployments().iter().find(|deployment| deployment.status() == Some("PRIMARY"));
        let state = primary.and_then(|deployment| deployment.rollout_state());
        let controller = service.deployment_controller().map(|controller| controller.r#type().as_str());
        let strategy = service.deployment_configuration().and_then(|how| how.strategy());
        let strategy = strategy.map(aws_sdk_ecs::types::DeploymentStrategy::as_str);
        let other = controller.filter(|by| *by != "ECS").or(strategy.filter(|by| *by != "ROLLING"));
        Self {
            status: service.status().unwrap_or_default().to_owned(),
            desired: service.desired_count(),
            running: service.running_count(),
            pending: service.pending_count(),
            deployments: service.deployments().len(),
            complete: state.is_none_or(|state| *state == DeploymentRolloutState::Completed),
            failed_tasks: primary.map_or(0, aws_sdk_ecs::types::Deployment::failed_tasks),
            deployed_by: other.map(str::to_owned),
        }
    }

    fn is_steady(&self) -> bool {
        self.status == "ACTIVE"
            && self.running == self.desired
            && self.pending == 0
            && self.deployments <= 1
            && self.complete
            && self.failed_tasks == 0
    }
}

/// How a service is made larger, and who does it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scaling<'a> {
    /// Of the cluster.
    pub(super) region: &'a str,
    pub(super) cluster: &'a str,
    /// Whether the cutover does it by itself when it starts.
    pub(super) by_us: bool,
}

impl Scaling<'_> {
    /// What to do so that a service has `count` tasks.
    fn fix(self, service: &str, count: i32, cdk: &str) -> String {
        let Self { region, cluster, by_us } = self;
        if by_us {
            return format!(
                "nothing: the cutover raises it when it starts (`fleet.scale`); say it in the CDK too ({cdk}), or its \
                 next deployment takes the tasks away"
            );
        }
        format!(
            "run `aws ecs update-service --region {region} --cluster {cluster} --service {service} --desired-count \
             {count}` (in the CDK {cdk}, or its next deployment takes the tasks away), or say `scale = true` under `[fleet]`"
        )
    }
}

/// Whether a side's service is fit. `told` is `None` where ECS does not know it.
pub(super) fn fit(side: &str, name: &str, told: Option<&Told>, scaling: Scaling<'_>) -> Check {
    let title = format!("{side} service");
    let (cdk, cdk_count) =
        if side == "source" { (CDK_SOURCE, CDK_SOURCE_COUNT) } else { (CDK_TARGET, CDK_TARGET_COUNT) };
    let Some(told) = told else {
        let fix = format!("deploy it (Migration Assistant does with {cdk}), or name the right service");
        return Check::new(&title, CheckOutcome::Fail, format!("ECS knows no service `{name}`"), &fix);
    };
    let Told { status, desired, running, pending, deployments, failed_tasks, .. } = told;
    let evidence = format!(
        "`{name}` is {status}: {desired} desired, {running} running, {pending} pending, {deployments} deployments, \
         {failed_tasks} failed tasks"
    );
    if *desired == 0 {
        let by_us = scaling.by_us && side == "target";
        let fix = Scaling { by_us, ..scaling }.fix(name, 2, cdk_count);
        // Until it is done nothing rises: that is the cutover's own doing, which it waits for.
        return Check::new(&title, if by_us { CheckOutcome::Warn } else { CheckOutcome::Fail }, evidence, &fix);
    }
    if told.is_steady() {
        return Check::new(&title, CheckOutcome::Pass, evidence, "");
    }
    // The source has its traffic whatever its service does; the target must not be given any while it changes.
    let outcome = if side == "source" && *running > 0 { CheckOutcome::Warn } else { CheckOutcome::Fail };
    Check::new(&title, outcome, evidence, "wait until the deployment is over and every task runs")
}

/// Whether something else writes the weights of the listener when a service is deployed: nothing would keep the two from
/// undoing each other.
pub(super) fn deployed_by_others(side: &str, name: &str, told: &Told) -> Option<Check> {
    let by = told.deployed_by.as_ref()?;
    Some(Check::new(
        format!("{side} deployment"),
        CheckOutcome::Fail,
        format!("`{name}` is deployed by `{by}`, which moves weights of listeners itself"),
        "deploy it by ECS with the strategy ROLLING for the time of the cutover",
    ))
}

/// Whether the proxies are as many as they should be: one capture proxy alone is lost with its host, and the target's carry
/// the same traffic as the source's.
pub(super) fn counts(source: &Told, target: &Told, name: &str, scaling: Scaling<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    if source.desired == 1 {
        checks.push(Check::new(
            "source count",
            CheckOutcome::Warn,
            "the source's service has one task: traffic and capture stand or fall with it",
            &format!("run at least two (in the CDK {CDK_SOURCE_COUNT})"),
        ));
    }
    if target.desired < source.desired {
        checks.push(Check::new(
            "target count",
            if scaling.by_us { CheckOutcome::Warn } else { CheckOutcome::Fail },
            format!("{} tasks are desired for the target, and {} for the source", target.desired, source.desired),
            &scaling.fix(name, source.desired, CDK_TARGET_COUNT),
        ));
    }
    checks
}

impl AlbFleet {
    /// The checks of the services that the policy names, and how many tasks the target's shall have.
    pub(super) async fn services(&self) -> (Vec<Check>, Option<i32>) {
        let Some((cluster, source, target)) = &self.groups.cluster else { return (Vec::new(), None) };
        let sides: Vec<(&str, &String)> = [("source", source), ("target", target)]
            .into_iter()
            .filter_map(|(side, name)| Some((side, name.as_ref()?)))
            .collect();
        if sides.is_empty() {
            return (Vec::new(), None);
        }
        let wanted: Vec<String> = sides.iter().map(|(_, name)| (*name).clone()).collect();
        let found = match self.described(cluster, wanted).await {
            Ok(found) => found,
            Err(error) => {
                let unknown = |(side, _): &(&str, &String)| unknown(&format!("{side} service"), &error);
                return (sides.iter().map(unknown).collect(), None);
            }
        };
        let told = |name: &String| found.iter().find(|(known, _)| known == name).map(|(_, told)| told);
        let region = find::region(&self.groups.source).unwrap_or_default();
        let scaling = Scaling { region, cluster, by_us: self.groups.scale };
        let mut checks: Vec<Check> = sides.iter().map(|(side, name)| fit(side, name, told(name), scaling)).collect();
        let foreign = sides.iter().filter_map(|(side, name)| deployed_by_others(side, name, told(name)?));
        checks.extend(foreign.collect::<Vec<_>>());
        if let [Some(source), Some(tells)] = [source, target].map(|name| name.as_ref().and_then(told)) {
            checks.extend(counts(source, tells, target.as_deref().unwrap_or_default(), scaling));
        }
        let desired = target.as_ref().and_then(told).map(|told| told.desired);
        (checks, desired)
    }

    pub(super) async fn described(&self, cluster: &str, wanted: Vec<String>) -> Result<Vec<(String, Told)>, PortError> {
        let answer = self.containers.describe_services().cluster(cluster).set_services(Some(wanted)).send().await;
        let doing = format!("read the services of the cluster `{cluster}`");
        let answer = answer.map_err(|error| failed(PORT, &doing, &error))?;
        let services = answer.services().iter();
        Ok(services.filter_map(|service| Some((service.service_name()?.to_owned(), Told::of(service)))).collect())
    }
}
