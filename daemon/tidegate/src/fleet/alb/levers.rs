//! The levers of a fleet behind an ALB: ECS's desired count of the target's service, whether Application Auto Scaling may
//! take tasks away from it, and how long the load balancer lets a client's connection live.
//!
//! When they are moved is the core's to say. Each move looks first, so that what somebody else has set since is not
//! overwritten, and reads back afterwards: what AWS acknowledged and what a lost answer did are told apart by nothing else.

use std::time::Duration;

use aws_sdk_applicationautoscaling::types::{ScalableDimension, ScalableTarget, ServiceNamespace, SuspendedState};
use aws_sdk_elasticloadbalancingv2::types::LoadBalancerAttribute;
use cutover::{Lever, Stands};

use super::{AlbFleet, PORT};
use crate::aws::{failed, find};
use crate::port::PortError;

/// The attribute of a load balancer that ends old connections of clients (API reference, `LoadBalancerAttribute`).
pub(super) const KEEP_ALIVE: &str = "client_keep_alive.seconds";

/// How often a lever is read back after it was moved, and the pause before each time: AWS reads may lag a write.
const READ_BACK_MAX: usize = 5;
const READ_BACK_PAUSE: Duration = Duration::from_millis(300);

/// What Application Auto Scaling knows of a service, if it scales it.
struct Scaled {
    most: Option<u32>,
    suspended: SuspendedState,
}

impl Scaled {
    fn of(target: &ScalableTarget) -> Self {
        let none = SuspendedState::builder().build();
        let most = u32::try_from(target.max_capacity()).ok();
        Self { most, suspended: target.suspended_state().cloned().unwrap_or(none) }
    }

    fn in_suspended(&self) -> bool {
        self.suspended.dynamic_scaling_in_suspended() == Some(true)
    }
}

/// The name under which Application Auto Scaling knows a service of ECS.
pub(super) fn resource(cluster: &str, service: &str) -> String {
    format!("service/{cluster}/{service}")
}

impl AlbFleet {
    /// The cluster and the target's service in it, or why there is nothing to move.
    fn target_service(&self) -> Result<(&str, &str), PortError> {
        let named = self.groups.cluster.as_ref().and_then(|(cluster, _, target)| Some((cluster, target.as_ref()?)));
        named.map(|(cluster, service)| (cluster.as_str(), service.as_str())).ok_or_else(|| {
            PortError::never(PORT, "the policy names no service of the target: say it under `[fleet]` and `[target]`")
        })
    }

    /// How the levers stand. What the policy names no service for stands nowhere.
    pub(super) async fn stands(&self) -> Result<Stands, PortError> {
        let mut stands = Stands::default();
        if let Some((cluster, source, target)) = &self.groups.cluster {
            let wanted: Vec<String> = [source, target].into_iter().flatten().cloned().collect();
            let found = if wanted.is_empty() { Vec::new() } else { self.described(cluster, wanted).await? };
            let count = |name: &Option<String>| {
                let (_, told) = found.iter().find(|(known, _)| Some(known) == name.as_ref())?;
                u32::try_from(told.desired).ok()
            };
            (stands.source_count, stands.target_count) = (count(source), count(target));
            if let Some(target) = target
                && let Some(scaled) = self.scaled(cluster, target).await?
            {
                (stands.count_max, stands.scale_in_suspended) = (scaled.most, Some(scaled.in_suspended()));
            }
        }
        stands.keep_alive = self.keep_alive().await?;
        Ok(stands)
    }

    /// Moves a lever, unless it stands elsewhere than `from`; where it stands in the end.
    pub(super) async fn move_lever(&self, lever: Lever, from: Option<u32>, to: u32) -> Result<u32, PortError> {
        let stands = self.lever(lever).await?;
        let higher = lever == Lever::Count && from.is_none() && stands > to;
        if stands == to || higher || from.is_some_and(|from| from != stands) {
            return Ok(stands);
        }
        match lever {
            Lever::ScaleIn => self.suspend(to != 0).await?,
            Lever::Count => self.scale(to).await?,
            Lever::KeepAlive => self.live_for(to).await?,
        }
        let mut shown = stands;
        for _ in 0..READ_BACK_MAX {
            shown = self.lever(lever).await?;
            if shown == to {
                break;
            }
            tokio::time::sleep(READ_BACK_PAUSE).await;
        }
        Ok(shown)
    }

    /// Where one lever stands.
    async fn lever(&self, lever: Lever) -> Result<u32, PortError> {
        let missing = |what: &str| PortError::later(PORT, format!("cannot read {what}: it is gone"));
        match lever {
            Lever::ScaleIn => {
                let (cluster, service) = self.target_service()?;
                let scaled = self.scaled(cluster, service).await?;
                scaled
                    .map(|scaled| u32::from(scaled.in_suspended()))
                    .ok_or_else(|| missing("the service's autoscaling"))
            }
            Lever::Count => {
                let (cluster, service) = self.target_service()?;
                let found = self.described(cluster, vec![service.to_owned()]).await?;
                let desired = found.first().and_then(|(_, told)| u32::try_from(told.desired).ok());
                desired.ok_or_else(|| missing(&format!("the service `{service}`")))
            }
            Lever::KeepAlive => self.keep_alive().await?.ok_or_else(|| missing(&format!("`{KEEP_ALIVE}`"))),
        }
    }

    /// What scales a service; `None` where nothing does.
    async fn scaled(&self, cluster: &str, service: &str) -> Result<Option<Scaled>, PortError> {
        let answer = self.scaling.describe_scalable_targets().service_namespace(ServiceNamespace::Ecs);
        let answer = answer.scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
        let answer = answer.resource_ids(resource(cluster, service)).send().await;
        let answer = answer.map_err(|error| failed(PORT, &format!("read what scales `{service}`"), &error))?;
        Ok(answer.scalable_targets().first().map(Scaled::of))
    }

    /// Suspends scale-in of the target's service, or allows it again. What else is suspended is sent as it stands: AWS's
    /// words leave open whether a part that is left out keeps its value.
    async fn suspend(&self, suspended: bool) -> Result<(), PortError> {
        let (cluster, service) = self.target_service()?;
        let Some(Scaled { suspended: stands, .. }) = self.scaled(cluster, service).await? else { return Ok(()) };
        let state = SuspendedState::builder()
            .dynamic_scaling_in_suspended(suspended)
            .set_dynamic_scaling_out_suspended(stands.dynamic_scaling_out_suspended())
            .set_scheduled_scaling_suspended(stands.scheduled_scaling_suspended())
            .build();
        let call = self.scaling.register_scalable_target().service_namespace(ServiceNamespace::Ecs);
        let call = call.scalable_dimension(ScalableDimension::EcsServiceDesiredCount);
        let answer = call.resource_id(resource(cluster, service)).suspended_state(state).send().await;
        let doing = format!("{} scale-in of `{service}`", if suspended { "suspend" } else { "allow" });
        answer.map_err(|error| failed(PORT, &doing, &error)).map(drop)
    }

    /// Gives the target's service this desired count, which starts no deployment (service model, `UpdateService`).
    async fn scale(&self, count: u32) -> Result<(), PortError> {
        let (cluster, service) = self.target_service()?;
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let answer =
            self.containers.update_service().cluster(cluster).service(service).desired_count(count).send().await;
        let doing = format!("set the desired count of `{service}` to {count}");
        answer.map_err(|error| failed(PORT, &doing, &error)).map(drop)
    }

    /// For how many seconds a client's connection may live; `None` where the load balancer has no such attribute.
    async fn keep_alive(&self) -> Result<Option<u32>, PortError> {
        let balancer = find::balancer(&self.balancing, PORT, &self.groups.source).await?;
        let answer = self.balancing.describe_load_balancer_attributes().load_balancer_arn(balancer).send().await;
        let answer = answer.map_err(|error| failed(PORT, "read the attributes of the load balancer", &error))?;
        let mut pairs = answer.attributes().iter();
        let found = pairs.find(|pair| pair.key() == Some(KEEP_ALIVE));
        Ok(found.and_then(|pair| pair.value()?.parse().ok()))
    }

    async fn live_for(&self, seconds: u32) -> Result<(), PortError> {
        let balancer = find::balancer(&self.balancing, PORT, &self.groups.source).await?;
        let attribute = LoadBalancerAttribute::builder().key(KEEP_ALIVE).value(seconds.to_string()).build();
        let call = self.balancing.modify_load_balancer_attributes().load_balancer_arn(balancer);
        let answer = call.attributes(attribute).send().await;
        let doing = format!("set `{KEEP_ALIVE}` of the load balancer to {seconds}");
        answer.map_err(|error| failed(PORT, &doing, &error)).map(drop)
    }
}
