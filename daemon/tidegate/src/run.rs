//! The composition root: the only file that knows which adapters exist, and puts them behind the ports.
//!
//! [`embedded`] runs one cutover in this process, for `tidegate demo` and the tests.

use std::path::Path;
use std::sync::Arc;

use cutover::policy::BalancerPolicy;
use cutover::{Cutover, Event, Policy, Timestamp};
use proxy::Handle;
use proxy::config::{ConfigError, ControlAddress};
use tokio::task::JoinSet;

use crate::alert::outbox::{Deliverer, Outbox, outbox};
use crate::alert::{command, webhook};
use crate::balancer::listener::Listener;
use crate::clock::Clock;
use crate::controller::{Controller, Ports, Running};
use crate::fleet::endpoints::Endpoints;
use crate::gate::ByKind;
use crate::metrics::proxy::ProxyCounters;
use crate::outbound::Outbound;
use crate::port::{BoxError, PortError};
use crate::proxies::Remote;
use crate::store::sqlite::Sqlite;
use crate::store::{Store, StoreError};

/// Environment variable that names the journal entry after which the process aborts: a testing aid, so that a test can
/// end the daemon at every place that matters and see that the next start goes on rightly.
pub const CRASH_AFTER_ENTRY: &str = "TIDEGATE_CRASH_AFTER_ENTRY";

/// Environment variable with the token for proxies behind TCP.
pub const TOKEN: &str = "TIDEGATE_TOKEN";

/// Why nothing runs.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The journal cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A port failed before anything ran.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A proxy's address makes no sense.
    #[error("cannot reach the proxies of `{service}`: {source}")]
    Address {
        /// The service.
        service: String,
        /// What is wrong.
        source: ConfigError,
    },
    /// The policy means the daemon's own proxy, and there is none.
    #[error(
        "the policy of `{service}` names no proxies, and this daemon runs none: name them in `balancer.proxies`, or add \
         a `[proxy]` section to tidegate.toml"
    )]
    NoProxy {
        /// The service.
        service: String,
    },
    /// Outgoing TLS could not be set up.
    #[error("cannot set up outgoing connections: {0}")]
    Outbound(BoxError),
}

/// What all cutovers of a process share.
#[derive(Clone)]
pub struct Shared {
    /// The journal.
    pub store: Arc<dyn Store>,
    /// Who is told.
    pub outbox: Outbox,
    /// The time.
    pub clock: Clock,
    /// The proxy in this process, if there is one.
    pub own_proxy: Option<Handle>,
    /// Token for proxies behind TCP.
    pub token: Option<String>,
    outbound: Outbound,
    crash_after_entry: Option<u64>,
}

impl Shared {
    /// Opens the journal in `state_dir` and makes the outbox. The [`Deliverer`] wants to be run.
    ///
    /// # Errors
    /// When the journal cannot be used or outgoing TLS not be set up.
    pub fn open(state_dir: &Path, own_proxy: Option<Handle>, clock: Clock) -> Result<(Self, Deliverer), RunError> {
        let outbound = Outbound::new().map_err(RunError::Outbound)?;
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(state_dir)?);
        let (outbox, deliverer) = outbox(
            Arc::clone(&store),
            Arc::new(webhook::Webhook::new(outbound.clone(), clock.clone())),
            Arc::new(command::Command),
            clock.clone(),
        );
        let crash_after_entry = std::env::var(CRASH_AFTER_ENTRY).ok().and_then(|entry| entry.parse().ok());
        let token = std::env::var(TOKEN).ok();
        Ok((Self { store, outbox, clock, own_proxy, token, outbound, crash_after_entry }, deliverer))
    }

    /// The proxies that a policy is about.
    fn remotes(&self, policy: &Policy) -> Result<Vec<Remote>, RunError> {
        let BalancerPolicy::Listener { proxies, .. } = &policy.balancer;
        if proxies.is_empty() {
            let own = self.own_proxy.clone().ok_or_else(|| RunError::NoProxy { service: policy.service.clone() })?;
            return Ok(vec![Remote::in_process(own)]);
        }
        proxies
            .iter()
            .map(|address| {
                let address: ControlAddress =
                    address.parse().map_err(|source| RunError::Address { service: policy.service.clone(), source })?;
                let token = matches!(address, ControlAddress::Tcp(_)).then(|| self.token.clone()).flatten();
                Ok(Remote::api(address, token))
            })
            .collect()
    }

    /// The adapters for a cutover by `policy` that was started at `started`.
    fn ports(&self, policy: &Policy, started: Timestamp) -> Result<Ports, RunError> {
        let remotes = self.remotes(policy)?;
        let (source, target) = (policy.source.endpoints.clone(), policy.target.endpoints.clone());
        Ok(Ports {
            balancer: Arc::new(Listener::new(remotes.clone(), started)),
            metrics: Arc::new(ProxyCounters::new(remotes.clone(), self.clock.clone())),
            fleet: Arc::new(Endpoints::new(remotes, source, target)),
            gates: Arc::new(ByKind::new(self.outbound.clone(), self.clock.clone())),
            store: Arc::clone(&self.store),
            outbox: self.outbox.clone(),
            clock: self.clock.clone(),
            crash_after_entry: self.crash_after_entry,
        })
    }

    /// A loop for a cutover and what speaks to it. Must be called within a runtime.
    ///
    /// # Errors
    /// When the lease cannot be had or a proxy's address makes no sense.
    pub async fn controller(&self, cutover: Cutover) -> Result<(Controller, Running), RunError> {
        let ports = self.ports(&cutover.policy, cutover.started)?;
        let holder = format!("tidegate {} (process {})", env!("CARGO_PKG_VERSION"), std::process::id());
        let lease = self.store.lease(&cutover.policy.service, &holder, self.clock.now()).await?;
        Ok(Controller::new(ports, lease, cutover))
    }
}

/// The id of a cutover of `service` that is started at `at`: unique as long as two are not started in one second, which
/// the lease on the service prevents.
pub fn cutover_id(service: &str, at: Timestamp) -> String {
    let compact: String = crate::clock::rfc3339(at).chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{service}-{}", compact.to_lowercase())
}

/// One cutover in this process, with a journal of its own and a proxy in this process or elsewhere.
pub struct Embedded {
    /// Orders go in here, and views come out.
    pub running: Running,
    /// The journal, for the history and the dossier.
    pub store: Arc<dyn Store>,
    loops: JoinSet<Result<(), PortError>>,
    deliverer: JoinSet<()>,
}

impl Embedded {
    /// Ends the loop, when what is in flight has ended, and gives alerts a moment to get out.
    ///
    /// # Errors
    /// When the loop had lost its lease.
    pub async fn finish(mut self) -> Result<(), PortError> {
        self.running.stop().await;
        let mut result = Ok(());
        while let Some(ended) = self.loops.join_next().await {
            result = result.and(ended.expect("the loop does not panic, and nobody aborts it"));
        }
        drop(self.running);
        drop(self.store);
        // With the last outbox gone the deliverer tries once more what is due, and ends.
        drop(tokio::time::timeout(crate::alert::outbox::TRY_MAX, self.deliverer.join_next()).await);
        result
    }
}

/// Makes a cutover of `policy` that waits for [`cutover::Verb::Start`], with a journal in `state_dir`. `proxy` is the
/// proxy in this process, for a policy that names no others. Must be called within a runtime.
///
/// # Errors
/// When the journal cannot be used, or a proxy's address makes no sense.
pub async fn embedded(policy: Policy, proxy: Option<Handle>, state_dir: &Path) -> Result<Embedded, RunError> {
    let (shared, deliverer) = Shared::open(state_dir, proxy, Clock::system())?;
    let now = shared.clock.now();
    let cutover = Cutover::new(cutover_id(&policy.service, now), policy, now);
    let (controller, running) = shared.controller(cutover).await?;
    let mut loops = JoinSet::new();
    loops.spawn(controller.run(None::<Event>));
    let mut delivering = JoinSet::new();
    delivering.spawn(deliverer.run());
    Ok(Embedded { running, store: Arc::clone(&shared.store), loops, deliverer: delivering })
}
