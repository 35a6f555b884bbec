//! Proxies that await their weight while no cutover looks after them: before the first, in its preflight, and after the last.
//!
//! Proxies that nobody has told anything are not ready, so whoever runs them so runs a daemon for them. Nothing is written to a
//! proxy that was told a weight, by whomever.

use std::sync::Arc;
use std::time::Duration;

use cutover::Policy;
use cutover::policy::BalancerPolicy;
use tokio::task::JoinSet;

use super::Daemon;
use crate::controller::looks_at_balancer;
use crate::proxies::welcome::{self, Standing};
use crate::proxies::{Known, Proxies, each};
use crate::run::standing;

/// How often is looked whether a proxy awaits its weight.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Daemon {
    /// Gives proxies that await their weight what stands, until it is dropped.
    pub async fn welcome_newcomers(self: Arc<Self>) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let mut looks = JoinSet::new();
            for (policy, standing) in self.alone() {
                if let Ok(proxies) = self.shared.proxies(&policy) {
                    looks.spawn(look(proxies, standing));
                }
            }
            while looks.join_next().await.is_some() {}
        }
    }

    /// The services whose own proxies no cutover looks after now, with what stands.
    fn alone(&self) -> Vec<(Policy, Standing)> {
        let services = self.services();
        let alone = services.values().filter_map(|service| {
            let view = service.running.as_ref().map(|running| (running.view(), running.has_ended()));
            let cutover = view.as_ref().map(|(view, _)| &view.cutover);
            let looked_after = view.as_ref().is_some_and(|(view, ended)| !ended && looks_at_balancer(&view.cutover));
            let current = cutover.filter(|cutover| cutover.closed.is_none()).map(|cutover| &*cutover.policy);
            let policy = current.or(service.policy.as_ref()).filter(|_| !looked_after)?;
            let ours = matches!(&policy.balancer, BalancerPolicy::Listener { proxies, .. } if !proxies.is_empty());
            ours.then(|| (policy.clone(), cutover.map(standing).unwrap_or_default()))
        });
        alone.collect()
    }
}

/// Looks once at the proxies of a service.
async fn look(proxies: Proxies, standing: Standing) {
    let Known { remotes, failed } = proxies.now().await;
    let answers = each(&remotes, |proxy| async move { proxy.status().await }).await;
    let known: Vec<_> = answers.into_iter().filter_map(|(proxy, answer)| Some((proxy, answer.ok()?))).collect();
    if failed.is_some() {
        // Those that are not known may have another share, and may be all the others.
        return;
    }
    let Some(given) = welcome::given(known.iter().map(|(_, status)| status), standing) else { return };
    for (proxy, _) in known.iter().filter(|(_, status)| status.awaits_weight) {
        if let Err(error) = welcome::give(proxy, &given).await {
            tracing::warn!(proxy = proxy.name(), share = %given.share, %error, "a proxy that awaits its weight did not take it");
        }
    }
}
