//! Proxies that await their weight while no cutover looks after them: before the first, in its preflight, and after the last.
//!
//! Proxies that nobody has told anything are not ready, so whoever runs them so runs a daemon for them. Nothing is written to a
//! proxy that was told a weight, by whomever; one that is of another fleet is told of and left alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cutover::Policy;
use cutover::policy::BalancerPolicy;
use tokio::task::JoinSet;

use super::Daemon;
use crate::controller::looks_at_balancer;
use crate::proxies::welcome::{self, Alike, Standing};
use crate::proxies::{Known, Proxies};
use crate::run::standing;

/// How often is looked whether a proxy awaits its weight.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Daemon {
    /// Gives proxies that await their weight what stands, until it is dropped.
    pub async fn welcome_newcomers(self: Arc<Self>) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut fleets = BTreeMap::new();
        loop {
            every.tick().await;
            let mut looks = JoinSet::new();
            for (fleet, standing) in self.fleets(&mut fleets) {
                looks.spawn(async move { fleet.look(standing).await });
            }
            while looks.join_next().await.is_some() {}
        }
    }

    /// The fleets that no cutover looks after now, with what stands. Each is kept for as long as its policy names the same
    /// proxies: what a name stood for, and who was told of, is remembered from one look to the next.
    fn fleets(&self, kept: &mut BTreeMap<String, Arc<Fleet>>) -> Vec<(Arc<Fleet>, Standing)> {
        let alone = self.alone();
        kept.retain(|service, _| alone.iter().any(|(policy, _)| policy.service == *service));
        let fleets = alone.into_iter().filter_map(|(policy, standing)| {
            let BalancerPolicy::Listener { proxies: named, .. } = &policy.balancer else { return None };
            if let Some(fleet) = kept.get(&policy.service).filter(|fleet| fleet.named == *named) {
                return Some((Arc::clone(fleet), standing));
            }
            let proxies = self.shared.proxies(&policy).ok()?;
            let fleet = Arc::new(Fleet { named: named.clone(), proxies, told: Mutex::default() });
            kept.insert(policy.service, Arc::clone(&fleet));
            Some((fleet, standing))
        });
        fleets.collect()
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

/// The proxies of a service.
struct Fleet {
    /// As its policy names them.
    named: Vec<String>,
    proxies: Proxies,
    /// The strangers that were told of, with what differs.
    told: Mutex<BTreeMap<String, String>>,
}

impl Fleet {
    /// Looks once.
    async fn look(&self, standing: Standing) {
        let Known { remotes, failed } = self.proxies.now().await;
        let (answers, silent) = welcome::asked(&remotes).await;
        if failed.is_some() {
            // Those that are not known may have another share, and may be all the others.
            return;
        }
        let silent = silent.iter().any(|(proxy, _)| !proxy.is_starting());
        let strangers = welcome::strangers(&answers, Alike::Serving);
        for newcomer in answers.iter().filter(|(_, status)| status.awaits_weight) {
            let proxy = &newcomer.0;
            if strangers.contains_key(proxy.name()) {
                continue;
            }
            let Some(given) = welcome::given(newcomer, &answers, Alike::Serving, silent, standing) else { continue };
            if let Err(error) = welcome::give(proxy, &given).await {
                tracing::warn!(proxy = proxy.name(), share = %given.share, %error, "a proxy that awaits its weight did not take it");
            }
        }
        welcome::tell(&mut self.told.lock().expect("nobody panics while holding it"), strangers);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock::Clock;
    use crate::run::Shared;

    const POLICY: &str = "service = \"pods\"\n[source]\nendpoints = [\"http://127.0.0.1:1\"]\n[target]\nendpoints = \
                          [\"http://127.0.0.1:2\"]\n[shift]\nsteps = [100]\nwrites = \"split\"\n[balancer]\nproxies = ";

    fn write(dir: &Path, proxies: &str) {
        std::fs::write(dir.join("pods.toml"), format!("{POLICY}[\"{proxies}\"]\n")).unwrap();
    }

    /// Proves that a fleet is kept from one look to the next, so that what a name stood for is not forgotten each second, and
    /// that it is another one when its policy names another.
    #[tokio::test]
    async fn a_fleet_is_kept_from_look_to_look() {
        let dir = tempfile::TempDir::new().unwrap();
        write(dir.path(), "dns://127.0.0.1:9/pods:9901");
        let (shared, _deliverer) = Shared::open(dir.path(), None, Clock::system()).unwrap();
        let (daemon, _loops) = Daemon::new(shared, dir.path());
        let mut kept = BTreeMap::new();
        let mut look = |daemon: &Daemon| daemon.fleets(&mut kept).pop().expect("nobody else looks after it").0;
        let (first, second) = (look(&daemon), look(&daemon));
        assert!(first.proxies.are(&second.proxies));
        write(dir.path(), "dns://127.0.0.1:9/others:9901");
        daemon.load_policies();
        assert!(!first.proxies.are(&look(&daemon).proxies));
    }
}
