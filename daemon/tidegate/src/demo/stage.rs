//! The stage of the demo: puts clusters, proxy, controller and clients together, breaks the target when its time has
//! come, and tells how it ended.
//!
//! Everything is joined by sockets. The stage looks at the cutover only through what an operator can see (its view and
//! its journal), and never tells it anything but `start`.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cutover::cutover::{Cutover, Phase};
use cutover::policy::ProxyRetry;
use cutover::{Order, Policy, Timestamp, Verb};
use proxy::config::{Retry, Side, Upstream};
use proxy::{Config, Handle, Proxy};
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

#[cfg(feature = "lab")]
use super::cloud::{self, Cloud};
use super::fault::Fault;
use super::load::{self, Ledger, Marks, Plan, Tally};
use super::upstream::Hello;
use crate::clock::{self, Clock};
use crate::controller::{OrderError, Running, View};
use crate::port::PortError;
use crate::report::{self, ReportError};
#[cfg(feature = "lab")]
use crate::run::embedded_in;
use crate::run::{Embedded, RunError, embedded};
use crate::store::{Entry, Query, Store};

/// The policy, with places for the two addresses.
const POLICY: &str = include_str!("../../assets/demo-policy.toml");
/// How many clients there are; each keeps one connection.
const CLIENTS: usize = 48;
/// The mean pause of a client between two requests: with [`CLIENTS`] about 800 requests a second.
const THINK: Duration = Duration::from_millis(45);
/// The step at which the target breaks: midway up the ladder.
const BREAK_STEP: usize = 2;
/// The same for the shorter ladder of a load balancer in AWS.
const BREAK_STEP_AWS: usize = 1;
/// The mean pause there: about 500 requests a second, for there are more sockets between a client and its answer.
#[cfg(feature = "lab")]
const THINK_AWS: Duration = Duration::from_millis(90);
/// How long that step has baked when the target breaks.
const BREAK_AFTER: Duration = Duration::from_secs(2);
/// How long the clients go on after a revert, to show that they are well again.
const AFTERMATH: Duration = Duration::from_secs(3);
/// How long the clients run before the cutover is started: connections and caches are cold at first, and what is
/// recorded of the source then would not be what is usual.
const LEAD: Duration = Duration::from_millis(1500);
/// After this a demo is given up: no scenario takes as long.
const DEMO_MAX: Duration = Duration::from_secs(200);
/// The same for a load balancer in AWS.
const DEMO_AWS_MAX: Duration = Duration::from_secs(130);
/// How long a server may take to say where it listens.
const HELLO_MAX: Duration = Duration::from_secs(10);
/// How long clients get to finish what they are at, and the proxy to drain.
const FINISH_MAX: Duration = Duration::from_secs(4);

/// What is to be shown.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// How the target breaks; `None` for a clean cutover.
    pub fault: Option<Fault>,
    /// Decides what clients ask and how long servers take.
    pub seed: u64,
    /// The program whose verb `demo-upstream` is a server; this program, outside of tests.
    pub program: PathBuf,
    /// Where journal and dossier go.
    pub state_dir: PathBuf,
    /// Whether the weights are those of a load balancer in an AWS on this machine, and not those of our own proxy.
    pub aws: bool,
}

/// How a cutover ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Through every step, and drained.
    Done,
    /// The original is back.
    Reverted,
    /// A revert could not be confirmed.
    Stuck,
    /// Ended by order, or out of time.
    Aborted,
}

/// The demo's last line.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// How it ended.
    pub outcome: Outcome,
    /// Requests of the clients.
    pub requests: u64,
    /// Those that failed, as the clients saw them.
    pub failed_requests: u64,
    /// The source's weight at the end, in per mille.
    pub source_weight: u16,
    /// The target's weight at the end, in per mille.
    pub target_weight: u16,
    /// When the first answer came that the fault spoiled, in milliseconds since the start.
    pub first_bad_ms: Option<u64>,
    /// When the last one came.
    pub last_bad_ms: Option<u64>,
    /// How long the demo took.
    pub seconds: f64,
    /// Where the dossier is.
    pub dossier: PathBuf,
    /// What there is to say of a load balancer in AWS; its fields stand beside the others.
    #[serde(flatten)]
    pub aws: Option<OfAws>,
    /// What a person is told besides; not in the line of JSON, whose keys are fixed.
    #[serde(skip)]
    pub tale: Tale,
}

/// What a demo in AWS says besides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OfAws {
    /// The listener's default actions before anything was changed, in AWS's own spelling.
    pub listener_before: Value,
    /// The same at the end.
    pub listener_after: Value,
    /// How often AWS was called, each try of its own.
    pub api_calls: u64,
}

/// The course of a demo, for people; all times are since its start.
#[derive(Clone, Debug, Default)]
pub struct Tale {
    /// What the clients saw.
    pub tally: Tally,
    /// When each share was confirmed.
    pub steps: Vec<(Duration, String)>,
    /// When the target was broken.
    pub broken: Option<Duration>,
    /// The way back, if there was one.
    pub reverted: Option<WayBack>,
    /// Why the cutover is where it is, in a sentence.
    pub reason: String,
}

/// A revert, for people.
#[derive(Clone, Debug)]
pub struct WayBack {
    /// When it was decided.
    pub decided: Duration,
    /// When the original was confirmed; `None` when it was not.
    pub confirmed: Option<Duration>,
    /// The target's share before.
    pub from: String,
    /// Why, in a sentence.
    pub why: String,
}

impl Tale {
    fn new(
        entries: &[Entry],
        (stood, began): (Duration, Timestamp),
        clock: &Clock,
        tally: Tally,
        broken: Option<Duration>,
    ) -> Self {
        let mut tale = Self { tally, broken, ..Self::default() };
        let mut before: Option<&Entry> = None;
        for entry in entries {
            let at = stood + clock.real(entry.at.since(began));
            let entered = before.is_none_or(|before| before.next.phase.name() != entry.next.phase.name());
            match entry.next.phase {
                Phase::Baking { .. } | Phase::Draining if entered => {
                    tale.steps.push((at, entry.next.desired.to_string()));
                }
                Phase::Reverting { .. } if tale.reverted.is_none() => {
                    let from = before.map_or(entry.next.desired, |before| before.next.desired).to_string();
                    tale.reverted =
                        Some(WayBack { decided: at, confirmed: None, from, why: entry.reason.text.clone() });
                }
                Phase::Reverted => {
                    if let Some(reverted) = &mut tale.reverted {
                        reverted.confirmed.get_or_insert(at);
                    }
                }
                _ => {}
            }
            tale.reason.clone_from(&entry.reason.text);
            before = Some(entry);
        }
        tale
    }
}

impl Summary {
    /// Whether it ended as a scenario with this fault should.
    pub fn as_it_should(&self, fault: Option<Fault>) -> bool {
        self.outcome == if fault.is_some() { Outcome::Reverted } else { Outcome::Done }
    }
}

/// Why a demo could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A server could not be started.
    #[error("cannot start the {side}'s server with `{}`: {source}", program.display())]
    Server {
        /// Which side.
        side: &'static str,
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The proxy could not be started.
    #[error("cannot start the demo's proxy: {0}")]
    Proxy(#[from] proxy::StartError),
    /// The AWS on this machine could not be started, or does not answer.
    #[error("the lab for the demo fails: {0}")]
    Lab(String),
    /// This program cannot show it.
    #[error("this program was built without the feature `lab`: cargo run --features lab -- demo --aws")]
    NoLab,
    /// The built-in policy does not hold.
    #[error("the demo's policy is wrong: {0}")]
    Policy(String),
    /// The controller could not be started.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The journal, or the controller's lease on it, failed.
    #[error(transparent)]
    Port(#[from] PortError),
    /// An order was not taken.
    #[error("cannot order the cutover: {0}")]
    Order(#[from] OrderError),
    /// The dossier could not be made.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The dossier could not be written.
    #[error("cannot write the dossier `{}`: {source}", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A demo that is under way.
pub struct Stage {
    scenario: Scenario,
    started: Instant,
    /// How long it took until everything stood, and when that was by the journal's clock.
    began: (Duration, Timestamp),
    clock: Clock,
    embedded: Embedded,
    ledger: Arc<Ledger>,
    stop: watch::Sender<bool>,
    load: JoinSet<()>,
    behind: Behind,
    broken: Option<Instant>,
}

/// What stands around the cutover.
enum Behind {
    /// Our own proxy and two clusters.
    Proxy { proxy: Handle, servers: Box<[Server; 2]> },
    /// A load balancer in an AWS on this machine.
    #[cfg(feature = "lab")]
    Cloud(Box<Cloud>),
}

impl Behind {
    /// Ends it, when nobody is left who would ask. The target's weight at the end in per mille, and what AWS says besides.
    async fn end(self) -> Result<(u16, Option<OfAws>), DemoError> {
        match self {
            Self::Proxy { proxy, servers } => {
                let weight = proxy.status().reads;
                proxy.drain(FINISH_MAX).await;
                // They end with their handles.
                drop(servers);
                Ok((weight, None))
            }
            #[cfg(feature = "lab")]
            Self::Cloud(cloud) => {
                let (told, weight) = cloud.told()?;
                cloud.stop().await;
                Ok((weight, Some(told)))
            }
        }
    }
}

/// What stands around the cutover, and the cutover that knows nothing of it.
struct Set {
    behind: Behind,
    embedded: Embedded,
    clock: Clock,
    address: SocketAddr,
    think: Duration,
    marks: Marks,
}

impl Set {
    async fn with_proxy(scenario: &Scenario) -> Result<Self, DemoError> {
        let (source, target) = tokio::try_join!(Server::start(scenario, "source"), Server::start(scenario, "target"))?;
        let policy = policy(source.address, target.address)?;
        let proxy = Proxy::start(proxy_config(&policy, source.address, target.address, scenario.seed))?;
        let embedded = Box::pin(embedded(policy, Some(proxy.clone()), &scenario.state_dir)).await?;
        let address = proxy.local_addr();
        let behind = Behind::Proxy { proxy, servers: Box::new([source, target]) };
        Ok(Self { behind, embedded, clock: Clock::system(), address, think: THINK, marks: load::OWN_MARKS })
    }

    #[cfg(feature = "lab")]
    async fn with_cloud(scenario: &Scenario) -> Result<Self, DemoError> {
        let cloud = Cloud::start(scenario.seed).await?;
        let clock = Clock::fast(cloud::SPEED);
        let aws = cloud.aws(&clock).await;
        let embedded = embedded_in(cloud.policy()?, Cloud::REGION, aws, clock.clone(), &scenario.state_dir).await?;
        let address = cloud.address()?;
        let behind = Behind::Cloud(Box::new(cloud));
        Ok(Self { behind, embedded, clock, address, think: THINK_AWS, marks: cloud::MARKS })
    }

    #[cfg(not(feature = "lab"))]
    #[expect(clippy::unused_async, reason = "with the lab it starts one, which takes time")]
    async fn with_cloud(_: &Scenario) -> Result<Self, DemoError> {
        Err(DemoError::NoLab)
    }
}

/// What the audience sees between two moments of a demo.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The cutover.
    pub view: Arc<View>,
    /// What the clients saw.
    pub tally: Tally,
    /// How long it has been going.
    pub since: Duration,
    /// What the cutover's clock shows.
    pub now: Timestamp,
    /// What broke, and how long ago.
    pub broken: Option<(Fault, Duration)>,
}

impl Stage {
    /// Starts servers, proxy, controller and clients, and orders the cutover to start.
    ///
    /// # Errors
    /// When one of them cannot be started.
    pub async fn open(scenario: Scenario) -> Result<Self, DemoError> {
        let started = clock::instant();
        let set = if scenario.aws {
            Box::pin(Set::with_cloud(&scenario)).await?
        } else {
            Box::pin(Set::with_proxy(&scenario)).await?
        };
        let Set { behind, embedded, clock, address, think, marks } = set;
        let began = (clock::instant().saturating_duration_since(started), clock.now());
        let ledger = Ledger::new(started);
        let (stop, stopped) = watch::channel(false);
        let plan = Plan { address, seed: scenario.seed, clients: CLIENTS, think, marks };
        let mut load = JoinSet::new();
        load.spawn(load::run(plan, Arc::clone(&ledger), stopped));
        tokio::time::sleep(LEAD).await;
        let start = Order { verb: Verb::Start, actor: "demo".to_owned(), reason: "to show a cutover".to_owned() };
        embedded.running.order(start).await?;
        Ok(Self { scenario, started, began, clock, embedded, ledger, stop, load, behind, broken: None })
    }

    /// Who takes orders and tells the story.
    pub fn running(&self) -> &Running {
        &self.embedded.running
    }

    /// Every decision from now on.
    pub fn story(&self) -> broadcast::Receiver<Arc<View>> {
        self.embedded.running.story()
    }

    /// What can be seen now.
    pub fn scene(&self) -> Scene {
        let now = clock::instant();
        Scene {
            view: self.embedded.running.view(),
            tally: self.ledger.tally(),
            since: now.saturating_duration_since(self.started),
            now: self.clock.now(),
            broken: self.scenario.fault.zip(self.broken.map(|at| now.saturating_duration_since(at))),
        }
    }

    /// Waits until the cutover is over: done, or reverted with the clients well again, or stuck, aborted, or out of
    /// time. Breaks the target on the way, when the scenario says so. Can be dropped and called again.
    ///
    /// # Errors
    /// When the target cannot be broken, or the order that ends a demo out of time is not taken.
    pub async fn play(&mut self) -> Result<(), DemoError> {
        let mut views = self.embedded.running.watch();
        loop {
            let now = clock::instant();
            let view = Arc::clone(&views.borrow_and_update());
            let since = now.saturating_duration_since(self.started);
            let rest = self.aftermath(&view.cutover);
            if rest == Some(Duration::ZERO) {
                return Ok(());
            }
            let demo_max = if self.scenario.aws { DEMO_AWS_MAX } else { DEMO_MAX };
            if since >= demo_max {
                let reason = format!("the demo took more than {} s", demo_max.as_secs());
                let order = Order { verb: Verb::Abort, actor: "demo".to_owned(), reason };
                self.embedded.running.order(order).await?;
                return Ok(());
            }
            let due = self.due(&view.cutover);
            if due == Some(Duration::ZERO) {
                self.break_target().await?;
                continue;
            }
            let wait = due.or(rest).unwrap_or(Duration::MAX).min(demo_max.saturating_sub(since));
            tokio::select! {
                changed = views.changed() => if changed.is_err() { return Ok(()) },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// How long until the target breaks; `None` when that is not in sight.
    fn due(&self, cutover: &Cutover) -> Option<Duration> {
        if self.scenario.fault.is_none() || self.broken.is_some() {
            return None;
        }
        match cutover.phase {
            Phase::Baking { step } if step >= if self.scenario.aws { BREAK_STEP_AWS } else { BREAK_STEP } => {
                Some(BREAK_AFTER.saturating_sub(self.since(cutover)))
            }
            _ => None,
        }
    }

    async fn break_target(&mut self) -> Result<(), DemoError> {
        let Some(fault) = self.scenario.fault else { return Ok(()) };
        self.broken = Some(clock::instant());
        self.ledger.broken();
        let program = self.scenario.program.clone();
        match &mut self.behind {
            Behind::Proxy { servers, .. } => {
                let [_, target] = &mut **servers;
                target.suffer(fault).await.map_err(|source| DemoError::Server { side: "target", program, source })
            }
            #[cfg(feature = "lab")]
            Behind::Cloud(cloud) => {
                cloud.suffer(fault);
                Ok(())
            }
        }
    }

    /// How long the cutover has been where it is, in real time.
    fn since(&self, cutover: &Cutover) -> Duration {
        self.clock.real(self.clock.now().since(cutover.since))
    }

    /// How long the clients still go on once a cutover has ended; `None` before that. Counted from its end, since whoever
    /// plays may be interrupted and begin again.
    fn aftermath(&self, cutover: &Cutover) -> Option<Duration> {
        match cutover.phase {
            Phase::Done | Phase::Aborted | Phase::Stuck { .. } => Some(Duration::ZERO),
            Phase::Reverted => Some(AFTERMATH.saturating_sub(self.since(cutover))),
            Phase::Pending
            | Phase::Preflight
            | Phase::Baseline
            | Phase::Gated { .. }
            | Phase::Shifting { .. }
            | Phase::Baking { .. }
            | Phase::Draining
            | Phase::Reverting { .. } => None,
        }
    }

    /// Ends everything, writes the dossier and says how it ended.
    ///
    /// # Errors
    /// When the journal cannot be read or the dossier not be written.
    pub async fn close(mut self) -> Result<Summary, DemoError> {
        self.stop.send_replace(true);
        if tokio::time::timeout(FINISH_MAX, self.load.join_next()).await.is_err() {
            self.load.abort_all();
        }
        let tally = self.ledger.tally();
        let seconds = clock::instant().saturating_duration_since(self.started).as_secs_f64();
        let cutover = self.embedded.running.view().cutover.clone();
        let outcome = match cutover.phase {
            Phase::Done => Outcome::Done,
            Phase::Reverted => Outcome::Reverted,
            Phase::Stuck { .. } => Outcome::Stuck,
            _ => Outcome::Aborted,
        };
        let store = Arc::clone(&self.embedded.store);
        let entries = entries(store.as_ref(), &cutover.id).await?;
        let samples = store.samples(&cutover.id).await?;
        drop(store);
        let dossier = self.scenario.state_dir.join("dossier.html");
        let page = report::html(&entries, &samples)?;
        std::fs::write(&dossier, page).map_err(|source| DemoError::Write { path: dossier.clone(), source })?;
        self.embedded.finish().await?;
        let (target_weight, aws) = self.behind.end().await?;
        let broken = self.broken.map(|at| at.saturating_duration_since(self.started));
        let tale = Tale::new(&entries, self.began, &self.clock, tally.clone(), broken);
        Ok(Summary {
            outcome,
            requests: tally.requests,
            failed_requests: tally.failed,
            source_weight: 1000_u16.saturating_sub(target_weight),
            target_weight,
            first_bad_ms: tally.first_bad_millis,
            last_bad_ms: tally.last_bad_millis,
            seconds: (seconds * 1000.0).round() / 1000.0,
            dossier,
            aws,
            tale,
        })
    }
}

/// The demo's policy for servers at these addresses, read as any policy is.
fn policy(source: SocketAddr, target: SocketAddr) -> Result<Policy, DemoError> {
    let text = POLICY.replace("{source}", &source.to_string()).replace("{target}", &target.to_string());
    cutover::policy::read(&text, "demo-policy.toml")
        .map_err(|problems| DemoError::Policy(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
}

fn proxy_config(policy: &Policy, source: SocketAddr, target: SocketAddr, seed: u64) -> Config {
    let side = |address: SocketAddr| {
        Side::new(vec![Upstream { tls: false, host: address.ip().to_string(), port: address.port() }])
    };
    let mut config = Config::new(SocketAddr::from(([127, 0, 0, 1], 0)), side(source));
    config.target = Some(side(target));
    if let cutover::policy::BalancerPolicy::Listener { retry, .. } = &policy.balancer {
        config.retry = match retry {
            ProxyRetry::Reads => Retry::Reads,
            ProxyRetry::None => Retry::None,
        };
    }
    config.seed = Some(seed);
    config
}

async fn entries(store: &dyn Store, cutover: &str) -> Result<Vec<Entry>, PortError> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry| entry.id);
        let query =
            Query { cutover: Some(cutover.to_owned()), after, limit: crate::store::ENTRIES_MAX, ..Query::default() };
        let more = store.history(query).await?;
        if more.is_empty() {
            return Ok(entries);
        }
        entries.extend(more);
    }
}

/// A new directory for a demo's journal and dossier, below the system's directory for temporary files.
///
/// # Errors
/// When it cannot be made.
pub fn state_dir(now: Timestamp) -> io::Result<PathBuf> {
    let stamp: String = clock::rfc3339(now).chars().filter(char::is_ascii_alphanumeric).collect();
    let dir = std::path::absolute(std::env::temp_dir())?.join(format!("tidegate-demo-{stamp}-{}", std::process::id()));
    // It must be new: what lies there already is somebody else's.
    std::fs::create_dir(&dir)?;
    Ok(dir)
}

/// One cluster: a process of its own, which ends when this is dropped.
struct Server {
    child: Child,
    orders: ChildStdin,
    address: SocketAddr,
}

impl Server {
    async fn start(scenario: &Scenario, side: &'static str) -> Result<Self, DemoError> {
        let failed = |source| DemoError::Server { side, program: scenario.program.clone(), source };
        Self::spawn(&scenario.program, side, scenario.seed).await.map_err(failed)
    }

    async fn spawn(program: &Path, side: &str, seed: u64) -> io::Result<Self> {
        let seed = if side == "source" { seed } else { seed.wrapping_add(1) };
        let mut child = Command::new(program)
            .args(["demo-upstream", "--side", side, "--seed", &seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            // Ctrl-C in the terminal is for the demo alone, which ends its servers when it is done with them.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let orders = child.stdin.take().ok_or_else(|| io::Error::other("it has no stdin"))?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("it has no stdout"))?;
        let mut hello = String::new();
        tokio::time::timeout(HELLO_MAX, tokio::io::BufReader::new(stdout).read_line(&mut hello)).await??;
        let Hello { address } = serde_json::from_str(&hello)?;
        Ok(Self { child, orders, address })
    }

    /// Breaks it: an outage is `kill -9`, everything else it does itself.
    async fn suffer(&mut self, fault: Fault) -> io::Result<()> {
        if fault == Fault::Outage {
            return self.child.kill().await;
        }
        self.orders.write_all(format!("{fault}\n").as_bytes()).await?;
        self.orders.flush().await
    }
}
