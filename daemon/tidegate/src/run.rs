//! The composition root: the only file that knows which adapters exist, and puts them behind the ports.
//!
//! [`crate::serve`] runs the daemon on it; [`embedded`] runs one cutover in this process, for `tidegate demo` and the tests.

#[cfg(feature = "aws")]
mod aws;
mod prometheus;

#[cfg(feature = "aws")]
pub use self::aws::{balancer_requests, reroute};

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cutover::cutover::Armed;
use cutover::policy::{AlertPolicy, BalancerPolicy, Gate, GateKind, ProxyRetry, SidePolicy, Sticky};
use cutover::{Cutover, Event, Generation, Phase, Policy, Share, Timestamp};
use proxy::Handle;
use proxy::config::{Certificate, ConfigError, ServerTls, Side, Upstream};
use tokio::task::JoinSet;

use crate::alert::direct::Direct;
use crate::alert::outbox::{Deliverer, Outbox, outbox};
use crate::alert::{command, webhook};
use crate::balancer::Balancer;
use crate::balancer::listener::Listener;
use crate::capture_alerts;
use crate::cli::capture_flags;
use crate::clock::Clock;
use crate::config::{self, OwnProxy, Tls};
use crate::controller::{Controller, Ports, Running};
use crate::fleet::Fleet;
use crate::fleet::captured::{Relies, WithCapture};
use crate::fleet::endpoints::Endpoints;
use crate::gate::ByKind;
use crate::metrics::MetricSource;
use crate::metrics::proxy::ProxyCounters;
use crate::metrics::two_speeds::Beside;
use crate::outbound::Outbound;
use crate::policy_files;
use crate::port::{BoxError, PortError};
use crate::proxies::welcome::Standing;
use crate::proxies::{Place, Proxies, Remote};
use crate::secret;
use crate::store::sqlite::{self, Chain, Sqlite};
use crate::store::{Entry, Sample, Store, StoreError};
use crate::undo;

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
    /// The daemon's own proxy serves another service.
    #[error(
        "the policy of `{service}` names no proxies, and the proxy of this daemon serves `{own}`: name the proxies of \
         `{service}` in `balancer.proxies`"
    )]
    OtherProxy {
        /// The service.
        service: String,
        /// The service of the own proxy.
        own: String,
    },
    /// The proxy in this process did not start.
    #[error("cannot run the own proxy for `{service}`: {why}")]
    OwnProxy {
        /// The service.
        service: String,
        /// What is wrong.
        why: String,
    },
    /// The policy is about AWS, and this program was built without it.
    #[error("the policy of `{service}` is about an ALB, and this program was built without the feature `aws`")]
    NoAws {
        /// The service.
        service: String,
    },
    /// The policy asks Kafka, and this program was built without it.
    #[error(
        "gate `{gate}` of the policy of `{service}` asks Kafka how far the replay is, and this program was built without the \
         feature `kafka`"
    )]
    NoKafka {
        /// The service.
        service: String,
        /// The gate.
        gate: String,
    },
    /// The policy's source of numbers cannot be used.
    #[error("cannot count `{service}`: {why}")]
    Metrics {
        /// The service.
        service: String,
        /// What is wrong.
        why: BoxError,
    },
    /// What this daemon is to others cannot be kept.
    #[error("cannot take a lease for `{service}`: the name of this daemon in `{state_dir}/lease-owner`: {why}")]
    Lease {
        /// The service.
        service: String,
        /// Where the name is kept.
        state_dir: String,
        /// What went wrong.
        why: std::io::Error,
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
    /// The service that the proxy in this process serves; `None` when whoever starts cutovers sees to that.
    pub own_service: Option<String>,
    /// Token for proxies behind TCP.
    pub token: Option<String>,
    /// Where the journal and the baselines are.
    pub state_dir: PathBuf,
    outbound: Outbound,
    crash_after_entry: Option<u64>,
    #[cfg(feature = "aws")]
    aws: aws::Regions,
}

/// What a policy's cutover is carried out with.
pub struct Adapters {
    /// Where the weights live.
    pub balancer: Arc<dyn Balancer>,
    /// Where the numbers come from.
    pub metrics: Arc<dyn MetricSource>,
    /// What must be healthy.
    pub fleet: Arc<dyn Fleet>,
}

/// The adapters of a policy beside any cutover and any daemon. Must be called within a runtime.
///
/// # Errors
/// When it names no proxies or an address that makes no sense, or is about AWS and this program was built without.
#[cfg_attr(
    not(feature = "aws"),
    expect(clippy::unused_async, reason = "with AWS it finds credentials, which takes time")
)]
pub async fn adapters(policy: &Policy, clock: &Clock) -> Result<Adapters, RunError> {
    askable(policy)?;
    if let BalancerPolicy::Listener { proxies, .. } = &policy.balancer {
        if proxies.is_empty() {
            return Err(RunError::NoProxy { service: policy.service.clone() });
        }
        let proxies = named(policy, proxies, std::env::var(TOKEN).ok().as_deref())?;
        return of_proxies(policy, proxies, clock, clock.now(), Standing::default());
    }
    #[cfg(feature = "aws")]
    {
        let token = std::env::var(TOKEN).ok();
        return Box::pin(aws::Regions::default().adapters(policy, token.as_deref(), None, clock.now(), clock)).await;
    }
    #[cfg(not(feature = "aws"))]
    Err(RunError::NoAws { service: policy.service.clone() })
}

/// Whether this program can ask all gates of a policy.
fn askable(policy: &Policy) -> Result<(), RunError> {
    let kafka = |gate: &&Gate| matches!(gate.kind, GateKind::ReplayLag(_));
    match policy.gates.iter().find(kafka) {
        Some(gate) if cfg!(not(feature = "kafka")) => {
            Err(RunError::NoKafka { service: policy.service.clone(), gate: gate.name.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

/// The adapters for our own proxies, for a cutover that was started at `started` and stood so when it was gone on with.
fn of_proxies(
    policy: &Policy,
    proxies: Proxies,
    clock: &Clock,
    started: Timestamp,
    standing: Standing,
) -> Result<Adapters, RunError> {
    let (source, target) = (policy.source.endpoints.clone(), policy.target.endpoints.clone());
    let fleet = Arc::new(Endpoints::new(proxies.clone(), source, target));
    Ok(Adapters {
        balancer: Arc::new(Listener::new(proxies.clone(), started).after(standing)),
        metrics: counters(policy, proxies.clone(), clock)?,
        fleet: Arc::new(WithCapture::new(fleet, vec![(proxies, Relies::Yes)], clock.clone())),
    })
}

/// Where the numbers of our own proxies come from: themselves, unless the policy says otherwise.
fn counters(policy: &Policy, proxies: Proxies, clock: &Clock) -> Result<Arc<dyn MetricSource>, RunError> {
    match prometheus::source(policy, clock)? {
        // The judge waits for samples; tripwires need not.
        Some(metrics) => Ok(Arc::new(Beside::new(metrics, proxies, clock))),
        None => Ok(Arc::new(ProxyCounters::new(proxies, clock.clone()))),
    }
}

/// The proxies at these places; the token is for those behind TCP.
fn named(policy: &Policy, places: &[String], token: Option<&str>) -> Result<Proxies, RunError> {
    let refused = |source| RunError::Address { service: policy.service.clone(), source };
    let places: Vec<Place> =
        places.iter().map(|place| place.parse()).collect::<Result<_, ConfigError>>().map_err(refused)?;
    Ok(Proxies::at(places, token))
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
        let own_service = None;
        let state_dir = state_dir.to_owned();
        let shared = Self {
            store,
            outbox,
            clock,
            own_proxy,
            own_service,
            token,
            state_dir,
            outbound,
            crash_after_entry,
            #[cfg(feature = "aws")]
            aws: aws::Regions::default(),
        };
        Ok((shared, deliverer))
    }

    /// The proxies that a policy is about; none for one that is about an ALB.
    ///
    /// # Errors
    /// When it means the proxy of this daemon and there is none, or an address makes no sense.
    pub fn proxies(&self, policy: &Policy) -> Result<Proxies, RunError> {
        let BalancerPolicy::Listener { proxies, .. } = &policy.balancer else { return Ok(Vec::new().into()) };
        if proxies.is_empty() {
            if let Some(own) = self.own_service.clone().filter(|own| *own != policy.service) {
                return Err(RunError::OtherProxy { service: policy.service.clone(), own });
            }
            let own = self.own_proxy.clone().ok_or_else(|| RunError::NoProxy { service: policy.service.clone() })?;
            return Ok(vec![Remote::in_process(own)].into());
        }
        named(policy, proxies, self.token.as_deref())
    }

    /// Where the numbers of a policy come from, beside any cutover.
    ///
    /// # Errors
    /// When a proxy's address makes no sense, or the policy is about AWS and this program was built without.
    pub async fn metrics(&self, policy: &Policy) -> Result<Arc<dyn MetricSource>, RunError> {
        Ok(self.adapters(policy, self.clock.now(), Standing::default()).await?.metrics)
    }

    /// The adapters for a cutover by `policy` that was started at `started`.
    async fn adapters(&self, policy: &Policy, started: Timestamp, standing: Standing) -> Result<Adapters, RunError> {
        askable(policy)?;
        if let BalancerPolicy::Alb { .. } = &policy.balancer {
            return self.of_aws(policy, started).await;
        }
        of_proxies(policy, self.proxies(policy)?, &self.clock, started, standing)
    }

    /// The adapters for AWS.
    #[cfg(feature = "aws")]
    async fn of_aws(&self, policy: &Policy, started: Timestamp) -> Result<Adapters, RunError> {
        // Finding credentials is a large future, and whoever starts a cutover need not carry it.
        let service = &policy.service;
        let holder =
            match policy.lease {
                Some(_) => Some(crate::aws::lease::holder(&self.state_dir, service).map_err(|why| {
                    RunError::Lease { service: service.clone(), state_dir: self.state_dir.display().to_string(), why }
                })?),
                None => None,
            };
        Box::pin(self.aws.adapters(policy, self.token.as_deref(), holder, started, &self.clock)).await
    }

    /// The adapters for AWS, which this program does not have.
    #[cfg(not(feature = "aws"))]
    #[expect(clippy::unused_async, reason = "with AWS it finds credentials, which takes time")]
    async fn of_aws(&self, policy: &Policy, _: Timestamp) -> Result<Adapters, RunError> {
        Err(RunError::NoAws { service: policy.service.clone() })
    }

    /// What a loop works with.
    async fn ports(&self, cutover: &Cutover) -> Result<Ports, RunError> {
        let (policy, started) = (&cutover.policy, cutover.started);
        let Adapters { balancer, metrics, fleet } = self.adapters(policy, started, standing(cutover)).await?;
        Ok(Ports {
            balancer,
            metrics,
            fleet,
            gates: Arc::new(ByKind::new(self.outbound.clone(), self.clock.clone())),
            store: Arc::clone(&self.store),
            outbox: self.outbox.clone(),
            clock: self.clock.clone(),
            undo: Some(self.state_dir.join(undo::DIRECTORY)),
            crash_after_entry: self.crash_after_entry,
        })
    }

    /// A loop for a cutover and what speaks to it. Must be called within a runtime.
    ///
    /// # Errors
    /// When the lease cannot be had or a proxy's address makes no sense.
    pub async fn controller(&self, cutover: Cutover) -> Result<(Controller, Running), RunError> {
        let ports = self.ports(&cutover).await?;
        let holder = format!("tidegate {} (process {})", env!("CARGO_PKG_VERSION"), std::process::id());
        let lease = self.store.lease(&cutover.policy.service, &holder, self.clock.now()).await?;
        Ok(Controller::new(ports, lease, cutover))
    }
}

/// Checks the chain of the journal in `state_dir`, beside a running daemon or without one.
///
/// # Errors
/// When there is no journal, it is of another version, or its chain is broken.
pub fn verify_journal(state_dir: &Path) -> Result<Chain, StoreError> {
    sqlite::verify(state_dir)
}

/// All of one cutover that the journal in `state_dir` has, oldest first, beside a running daemon or without one.
/// `cutover` is an id or a service, whose last cutover is meant then.
///
/// # Errors
/// As for [`verify_journal`]; and when there is no such cutover.
pub fn read_journal(state_dir: &Path, cutover: &str) -> Result<(Vec<Entry>, Vec<Sample>), StoreError> {
    sqlite::read(state_dir, cutover)
}

/// Starts the proxy in this process. It comes up with the share that the journal wants, so that a restart of the daemon
/// moves no traffic.
///
/// # Errors
/// When its service has no usable policy, the policy's sides make no sense, or the listener cannot be bound.
pub async fn own_proxy(own: &OwnProxy, config: &config::Config, shared: &Shared) -> Result<Handle, RunError> {
    let service = own.service.clone();
    let refused = |why: String| RunError::OwnProxy { service: service.clone(), why };
    let policy = policy_files::of_service(&config.policies_dir, &own.service).map_err(refused)?;
    let last = shared.store.load().await?.into_iter().find(|cutover| cutover.policy.service == own.service);
    let share = last.as_ref().map_or(Share::NONE, share_at_start);
    let side = |side: &SidePolicy| own_side(side).map_err(refused);
    let BalancerPolicy::Listener { retry, sticky, .. } = &policy.balancer else {
        return Err(refused(
            "its policy leaves the weights to an ALB, which needs no proxy of the daemon's".to_owned(),
        ));
    };
    let mut proxy = proxy::Config::new(own.listen, side(&policy.source)?);
    proxy.target = Some(side(&policy.target)?).filter(|target| !target.endpoints.is_empty());
    if !own.capture.is_empty() {
        let listen = own.listen.to_string();
        let logs = capture_flags::open_in(&config.state_dir, &own.capture, &listen);
        let [source, target] = logs.map_err(|why| refused(format!("{why:#}")))?;
        match (&mut proxy.target, target) {
            (Some(side), log) => side.capture = log,
            (None, Some(_)) => {
                return Err(refused("the target's traffic is to be captured, and its policy has no target".to_owned()));
            }
            (None, None) => {}
        }
        proxy.source.capture = source;
    }
    (proxy.reads, proxy.writes) = (share.reads.per_mille(), share.writes.per_mille());
    proxy.workers = own.workers;
    proxy.retry = match retry {
        ProxyRetry::None => proxy::config::Retry::None,
        ProxyRetry::Reads => proxy::config::Retry::Reads,
    };
    proxy.sticky = sticky.as_ref().map(|sticky| match sticky {
        Sticky::Header(name) => proxy::config::Sticky::Header(name.clone()),
        Sticky::Cookie(name) => proxy::config::Sticky::Cookie(name.clone()),
    });
    proxy.tls = match own.tls.clone() {
        Tls::Plaintext => None,
        Tls::SelfSigned { client_ca } => {
            let certificate = Certificate::SelfSigned { directory: config.state_dir.join("tls") };
            Some(ServerTls { certificate, client_ca })
        }
        Tls::Files { cert, key, client_ca } => {
            Some(ServerTls { certificate: Certificate::Files { chain: cert, key }, client_ca })
        }
    };
    let handle = proxy::Proxy::start(proxy).map_err(|error| refused(crate::port::in_one_line(&error)))?;
    tracing::info!(service = own.service, address = %handle.local_addr(), share = %share, "the own proxy serves");
    Ok(handle)
}

/// Tells `receivers` when the capture of a proxy in this process fails, and when it is sound again, until the future is
/// dropped; `name` is what the proxy is called for people. Nobody to tell, or nothing to tell of, makes it wait for ever.
///
/// # Errors
/// When outgoing connections cannot be set up.
pub async fn tell_of_capture(
    name: &str,
    proxy: &Handle,
    receivers: &[AlertPolicy],
    clock: &Clock,
) -> Result<Infallible, RunError> {
    if receivers.is_empty() || proxy.status().capture.is_empty() {
        return Ok(std::future::pending().await);
    }
    let outbound = Outbound::new().map_err(RunError::Outbound)?;
    let mut tasks = JoinSet::new();
    let direct = Direct::new(receivers, &outbound, clock, &mut tasks);
    Ok(capture_alerts::run(name, proxy, clock, |message| direct.send(message)).await)
}

/// The counters of some proxies as a source of numbers, for a recording without a daemon. Must be called within a runtime.
pub fn counters_of(places: Vec<Place>, token: Option<&str>, clock: Clock) -> Arc<dyn MetricSource> {
    Arc::new(ProxyCounters::new(Proxies::at(places, token), clock))
}

/// What a proxy is given that comes up without a weight while no other has one.
pub(crate) fn standing(cutover: &Cutover) -> Standing {
    // Before its first write a cutover has what it found.
    let found = cutover.original.as_ref().filter(|_| cutover.generation == Generation::default());
    let share = found.map_or_else(|| share_at_start(cutover), |original| original.share);
    Standing { share, armed: cutover.armed != Armed::No }
}

/// The share that a proxy of a cutover comes up with.
fn share_at_start(cutover: &Cutover) -> Share {
    let seen = cutover.configured.as_ref().map(|reading| reading.share);
    match cutover.phase {
        // An operator ended it where it was, and that is what was read last.
        Phase::Aborted => seen.unwrap_or(cutover.desired),
        // A rise that was not confirmed is the control loop's to make: armed, within the change windows, and not held.
        Phase::Shifting { step, .. } => {
            let before = step.checked_sub(1).and_then(|before| cutover.policy.shift.steps.get(before)).copied();
            let original = cutover.original.as_ref().map_or(Share::NONE, |original| original.share);
            let stood = seen.or(before).unwrap_or(original);
            if cutover.desired.raises(stood) { stood } else { cutover.desired }
        }
        Phase::Pending
        | Phase::Preflight
        | Phase::Baseline
        | Phase::Gated { .. }
        | Phase::Baking { .. }
        | Phase::Draining
        | Phase::Done
        | Phase::Reverting { .. }
        | Phase::Reverted
        | Phase::Stuck { .. } => cutover.desired,
    }
}

/// A side of the policy as the proxy wants it.
fn own_side(side: &SidePolicy) -> Result<Side, String> {
    let endpoints = side
        .endpoints
        .iter()
        .map(|url| url.parse::<Upstream>().map_err(|error| error.to_string()))
        .collect::<Result<Vec<_>, _>>()?;
    let mut set_headers: Vec<(String, String)> =
        side.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    if let Some(reference) = &side.authorization {
        let secret = secret::read(reference).map_err(|error| error.to_string())?;
        set_headers.push(("authorization".to_owned(), secret.reveal().to_owned()));
    }
    Ok(Side { set_headers, ..Side::new(endpoints) })
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
    embedded_by(policy, shared, deliverer).await
}

/// The same for a policy about a load balancer in an AWS that stands in for the real one, by its clock.
///
/// # Errors
/// When the journal cannot be used.
#[cfg(feature = "lab")]
pub async fn embedded_in(
    policy: Policy,
    region: &str,
    aws: crate::aws::Aws,
    clock: Clock,
    state_dir: &Path,
) -> Result<Embedded, RunError> {
    let (shared, deliverer) = Shared::open(state_dir, None, clock.clone())?;
    shared.aws.put(region, aws, clock).await;
    embedded_by(policy, shared, deliverer).await
}

async fn embedded_by(policy: Policy, shared: Shared, deliverer: Deliverer) -> Result<Embedded, RunError> {
    let now = shared.clock.now();
    let cutover = Cutover::new(cutover_id(&policy.service, now), policy, now);
    let (controller, running) = shared.controller(cutover).await?;
    let mut loops = JoinSet::new();
    loops.spawn(controller.run(None::<Event>));
    let mut delivering = JoinSet::new();
    delivering.spawn(deliverer.run());
    Ok(Embedded { running, store: Arc::clone(&shared.store), loops, deliverer: delivering })
}

#[cfg(test)]
mod tests {
    use cutover::Weight;
    use cutover::event::Reading;

    use super::*;
    use crate::testing::{START, cutover};

    /// Proves that the own proxy comes up with what stood, not with a rise that nobody confirmed, and without a moment's
    /// delay with a share that is lower.
    #[test]
    fn an_unconfirmed_rise_is_not_what_the_own_proxy_comes_up_with() {
        let both = |per_mille| Share::both(Weight::new(per_mille).unwrap());
        let mut cutover = cutover("search");
        cutover.generation = Generation(2);
        cutover.phase = Phase::Shifting { step: 1, attempts: 0, reads: 0 };
        cutover.desired = Share::ALL;
        assert_eq!(share_at_start(&cutover), both(100), "the step before, where nothing was read");
        let reading = |share| Reading { share, action: serde_json::Value::Null, begun: START, disagreeing: Vec::new() };
        cutover.configured = Some(reading(both(70)).into());
        assert_eq!(share_at_start(&cutover), both(70));
        cutover.desired = both(50);
        assert_eq!(share_at_start(&cutover), both(50));
        cutover.phase = Phase::Baking { step: 1 };
        cutover.desired = Share::ALL;
        assert_eq!(share_at_start(&cutover), Share::ALL);
    }
}
