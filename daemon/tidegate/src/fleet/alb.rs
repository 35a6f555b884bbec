//! Whether both target groups of an Application Load Balancer are fit for traffic, and what of their settings would undo a
//! cutover.
//!
//! Health is a precondition and never evidence of good behaviour: Migration Assistant's health checks take 200 to 499 for
//! healthy. A state that this version does not know counts as not healthy. The settings change seldom and are read seldom;
//! the states of targets are read each time. Nothing is changed but the levers, and those in [`levers`] alone.

mod levers;
mod services;
mod settings;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use aws_sdk_applicationautoscaling as scaling;
use aws_sdk_ecs as ecs;
use aws_sdk_elasticloadbalancingv2 as elb;
use aws_sdk_elasticloadbalancingv2::types::{TargetHealthDescription, TargetHealthStateEnum};
use cutover::event::{Check, CheckOutcome, Health, Targets};
use cutover::{Lever, Stands, Timestamp};
use tokio::sync::OnceCell;

use super::Fleet;
use crate::aws::pace::Pace;
use crate::aws::{Aws, failed, find, is_throttled};
use crate::clock::Clock;
use crate::port::{Answer, PortError};

const PORT: &str = "fleet";

/// How long settings that were read count: they are changed by hand or by a deployment.
const SETTINGS_AGE_MAX: Duration = Duration::from_mins(5);

/// How many targets are named in a sentence.
const NAMED_MAX: usize = 5;

/// Which target groups, and what runs behind them.
#[derive(Clone, Debug)]
pub struct Groups {
    /// The listener's ARN, where the policy says it.
    pub listener: Option<String>,
    /// ARNs of numbered rules that move with it.
    pub rules: Vec<String>,
    /// The source's target group.
    pub source: String,
    /// The target's.
    pub target: String,
    /// The ECS cluster, and the services of source and target in it.
    pub cluster: Option<(String, Option<String>, Option<String>)>,
    /// Fewest healthy targets in the target's group; 0 looks at none.
    pub healthy_min: u32,
    /// Whether the cutover makes the target's service as large as the source's by itself.
    pub scale: bool,
}

/// The two target groups of a cutover.
pub struct AlbFleet {
    balancing: elb::Client,
    containers: ecs::Client,
    scaling: scaling::Client,
    groups: Groups,
    pace: Pace,
    clock: Clock,
    listener: OnceCell<String>,
    settings: Mutex<Option<(Instant, Vec<Check>)>>,
}

/// A check that could not be made.
fn unknown(name: &str, error: &PortError) -> Check {
    Check::new(name, CheckOutcome::Unknown, error.source.to_string(), "make it possible to read this, and look again")
}

/// One target as the balancer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    /// `10.0.1.7:9200`.
    address: String,
    /// Where it is; unknown for targets outside of the balancer's network.
    zone: Option<String>,
    state: String,
    /// Why it is in that state, in AWS's word.
    reason: String,
}

impl Target {
    fn of(told: &TargetHealthDescription) -> Self {
        let target = told.target();
        let health = told.target_health();
        let id = target.and_then(|target| target.id()).unwrap_or("?");
        let port = target.and_then(elb::types::TargetDescription::port).map(|port| format!(":{port}"));
        Self {
            address: format!("{id}{}", port.unwrap_or_default()),
            zone: target.and_then(|target| target.availability_zone()).filter(|zone| *zone != "all").map(str::to_owned),
            state: health.and_then(|health| health.state()).map_or("unknown", |state| state.as_str()).to_owned(),
            reason: health.and_then(|health| health.reason()).map_or("", |reason| reason.as_str()).to_owned(),
        }
    }

    fn is_healthy(&self) -> bool {
        self.state == TargetHealthStateEnum::Healthy.as_str()
    }
}

/// Those that are not healthy, in a sentence.
fn ill(targets: &[Target]) -> String {
    let ill: Vec<&Target> = targets.iter().filter(|target| !target.is_healthy()).collect();
    let named = ill.iter().take(NAMED_MAX).map(|target| match &target.reason[..] {
        "" => format!("{} is {}", target.address, target.state),
        reason => format!("{} is {} ({reason})", target.address, target.state),
    });
    let more = ill.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{}{more}", named.collect::<Vec<_>>().join(", "))
}

/// Whether a group's targets can take traffic. The source has it and may go on with some of them ill; the target may not
/// begin so.
fn healthy(side: &str, targets: &[Target], strict: bool) -> Check {
    let name = format!("{side} healthy");
    let well = targets.iter().filter(|target| target.is_healthy()).count();
    let evidence = format!("{well} of {} targets are healthy", targets.len());
    if targets.is_empty() {
        let fix = format!("register the {side}'s targets, or start its service; an empty group answers 503");
        return Check::new(&name, CheckOutcome::Fail, "the target group has no targets", &fix);
    }
    if well == targets.len() {
        return Check::new(&name, CheckOutcome::Pass, evidence, "");
    }
    let outcome = if strict || well == 0 { CheckOutcome::Fail } else { CheckOutcome::Warn };
    let fix = format!("wait until no target of the {side} is starting or draining, and look at those that stay ill");
    Check::new(&name, outcome, format!("{evidence}: {}", ill(targets)), &fix)
}

/// Whether the target has as many healthy targets as the source: each of them is a proxy of the same kind.
fn large_enough(source: &[Target], target: &[Target]) -> Check {
    let count = |targets: &[Target]| targets.iter().filter(|target| target.is_healthy()).count();
    let (source, target) = (count(source), count(target));
    let evidence = format!("{target} healthy targets, and the source has {source}");
    let outcome = if target >= source { CheckOutcome::Pass } else { CheckOutcome::Warn };
    Check::new("target large enough", outcome, evidence, "scale the target's proxies to at least the source's count")
}

/// Whether both groups have the fewest healthy targets that the policy asks for: with fewer of the target the traffic goes
/// back as soon as there is any, and with fewer of the source the target's ill health brings nothing back.
fn least(healthy_min: u32, source: &[Target], target: &[Target]) -> Check {
    let name = "healthy targets";
    let count = |targets: &[Target]| targets.iter().filter(|target| target.is_healthy()).count();
    let (source, target) = (count(source), count(target));
    let evidence = format!("the target has {target} and the source {source}; `fleet.healthy_min` is {healthy_min}");
    let enough = |count: usize| u32::try_from(count).is_ok_and(|count| count >= healthy_min);
    let outcome = match (enough(source), enough(target)) {
        (true, true) => CheckOutcome::Pass,
        (false, true) => CheckOutcome::Warn,
        (_, false) => CheckOutcome::Fail,
    };
    Check::new(name, outcome, evidence, "start more of that side's proxies, or lower `fleet.healthy_min`")
}

/// A group's targets in figures. Those that are being taken out serve nothing new. Only what AWS says for certain counts as
/// ill: `unavailable` is its own trouble, and a word that this version does not know says nothing.
fn figures(targets: &[Target]) -> Targets {
    use TargetHealthStateEnum as State;
    let certain =
        [State::Healthy, State::Unhealthy, State::Initial, State::Draining, State::UnhealthyDraining, State::Unused];
    let count = |is: &dyn Fn(&Target) -> bool| {
        u32::try_from(targets.iter().filter(|target| is(target)).count()).unwrap_or(u32::MAX)
    };
    Targets {
        all: count(&|_| true),
        healthy: count(&Target::is_healthy),
        unknown: count(&|target| certain.iter().all(|state| target.state != state.as_str())),
        ill: ill(targets),
    }
}

/// Whether each task that the target's service shall have is a healthy target: one that runs and is not registered yet has
/// no request.
fn registered(well: usize, desired: i32) -> Check {
    let evidence = format!("{well} healthy targets, and {desired} desired tasks");
    let outcome = if i64::try_from(well).is_ok_and(|well| well >= i64::from(desired)) {
        CheckOutcome::Pass
    } else {
        CheckOutcome::Fail
    };
    Check::new("target registered", outcome, evidence, "wait until every task runs and is a healthy target")
}

/// Whether the target has healthy targets in each zone in which the source has them.
fn zones(source: &[Target], target: &[Target]) -> Check {
    let of = |targets: &[Target]| -> BTreeMap<String, usize> {
        let mut zones = BTreeMap::new();
        for zone in targets.iter().filter(|target| target.is_healthy()).filter_map(|target| target.zone.clone()) {
            *zones.entry(zone).or_default() += 1;
        }
        zones
    };
    let (source, target) = (of(source), of(target));
    let told = |zones: &BTreeMap<String, usize>| match zones.len() {
        0 => "none known".to_owned(),
        _ => zones.iter().map(|(zone, count)| format!("{zone}: {count}")).collect::<Vec<_>>().join(", "),
    };
    let missing: BTreeSet<&String> = source.keys().filter(|zone| !target.contains_key(*zone)).collect();
    let evidence = format!("healthy targets of the target by zone: {}", told(&target));
    if missing.is_empty() {
        return Check::new("target zones", CheckOutcome::Pass, evidence, "");
    }
    let missing: Vec<&str> = missing.into_iter().map(String::as_str).collect();
    let evidence = format!("{evidence}; the source has some in {} too", missing.join(", "));
    Check::new(
        "target zones",
        CheckOutcome::Warn,
        evidence,
        "run the target's proxies in every zone in which the source's run",
    )
}

impl AlbFleet {
    /// Looks after `groups`; the health of targets is read at the `pace` of their region.
    pub fn new(aws: &Aws, groups: Groups, pace: Pace, clock: Clock) -> Self {
        let (balancing, containers, scaling) = (aws.balancing_looks(), aws.containers(), aws.scaling());
        let (listener, settings) = (OnceCell::new(), Mutex::new(None));
        Self { balancing, containers, scaling, groups, pace, clock, listener, settings }
    }

    async fn targets(&self, group: &str) -> Result<Vec<Target>, PortError> {
        let answer = self.balancing.describe_target_health().target_group_arn(group).send().await;
        self.pace.answered(answer.as_ref().err().is_some_and(is_throttled));
        let answer = answer.map_err(|error| failed(PORT, "read the health of targets", &error))?;
        Ok(answer.target_health_descriptions().iter().map(Target::of).collect())
    }

    /// The checks of both groups' targets, and how many of the target's are healthy.
    async fn health(&self) -> (Vec<Check>, Option<usize>) {
        // These do not take turns with the looks of other cutovers: nothing rises while they are missing.
        let (source, target) = tokio::join!(self.targets(&self.groups.source), self.targets(&self.groups.target));
        let mut checks = Vec::new();
        checks.push(match &source {
            Ok(targets) => healthy("source", targets, false),
            Err(error) => unknown("source healthy", error),
        });
        checks.push(match &target {
            Ok(targets) => healthy("target", targets, true),
            Err(error) => unknown("target healthy", error),
        });
        if let (Ok(source), Ok(target)) = (&source, &target) {
            checks.push(large_enough(source, target));
            if self.groups.healthy_min > 0 {
                checks.push(least(self.groups.healthy_min, source, target));
            }
            checks.push(zones(source, target));
        }
        let well = target.ok().map(|targets| targets.iter().filter(|target| target.is_healthy()).count());
        (checks, well)
    }

    /// The target's health, and the source's where it decides: one call while all is well.
    async fn looked(&self) -> Result<Option<Health>, PortError> {
        if self.groups.healthy_min == 0 {
            return Ok(None);
        }
        self.pace.turn().await;
        let begun: Timestamp = self.clock.now();
        let target = figures(&self.targets(&self.groups.target).await?);
        let source = if target.healthy.saturating_add(target.unknown) < self.groups.healthy_min {
            Some(figures(&self.targets(&self.groups.source).await?))
        } else {
            None
        };
        Ok(Some(Health { source, target, begun }))
    }

    async fn settings(&self) -> Vec<Check> {
        let now = crate::clock::instant();
        let kept = self.settings.lock().expect("nobody panics while holding it").clone();
        if let Some((_, checks)) = kept.filter(|(read, _)| now.duration_since(*read) < SETTINGS_AGE_MAX) {
            return checks;
        }
        let checks = self.read_settings().await;
        // What could not be found out, or is to be mended, is asked again the next time.
        if !checks.iter().any(|check| check.outcome.stops()) {
            *self.settings.lock().expect("nobody panics while holding it") = Some((now, checks.clone()));
        }
        checks
    }

    async fn listener(&self) -> Result<&str, PortError> {
        let Groups { listener, source, target, .. } = &self.groups;
        let found = self.listener.get_or_try_init(|| async {
            match listener {
                Some(arn) => Ok(arn.clone()),
                None => find::listener(&self.balancing, PORT, source, target).await,
            }
        });
        found.await.map(String::as_str)
    }
}

impl Fleet for AlbFleet {
    fn check(&self) -> Answer<'_, Vec<Check>> {
        Box::pin(async move {
            let (health, settings, services) = tokio::join!(self.health(), self.settings(), self.services());
            let (mut checks, well) = health;
            if let (Some(well), Some(desired)) = (well, services.1) {
                checks.push(registered(well, desired));
            }
            checks.extend(services.0);
            checks.extend(settings);
            Ok(checks)
        })
    }

    fn health(&self) -> Answer<'_, Option<Health>> {
        Box::pin(self.looked())
    }

    fn levers(&self) -> Answer<'_, Stands> {
        Box::pin(self.stands())
    }

    fn set_lever(&self, lever: Lever, from: Option<u32>, to: u32) -> Answer<'_, u32> {
        Box::pin(self.move_lever(lever, from, to))
    }
}

#[cfg(test)]
mod tests;
