//! All services of one daemon: which policies there are, which cutovers run, and who may order what.
//!
//! It finds the running cutover of a service or makes one, and loads policies again when it is told to. What an order
//! does is the core's to say.

mod newcomers;
mod past;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use cutover::event::{Order, Verb};
use cutover::policy::{BalancerPolicy, Severity};
use cutover::{Cutover, Event, Phase, Policy, Price, Share, Timestamp, price};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::baselines::{self, BaselineError, Sent};
use crate::controller::{Controller, OrderError, Running, View, policy_change};
use crate::policy_files;
use crate::port::PortError;
use crate::run::{RunError, Shared, cutover_id};
use crate::store::{End, Entry, Query};

/// The daemon's own file, which may lie beside the policies and is none.
const OWN_FILE: &str = "tidegate.toml";

/// How many started loops may wait to be taken up; they are taken up at once.
const LOOPS_WAITING_MAX: usize = 64;

/// How long the loop of the cutover before may take to end: a write of it may still be under way.
const LOOP_END_MAX: Duration = Duration::from_secs(10);

/// How long a loop may not turn before it counts as hanging. It turns at least every 5 s, and waits for a disk that
/// hangs for less than that.
const LOOP_SILENCE_MAX: Duration = Duration::from_secs(15);

/// A loop that wants to be run, and its first event.
pub type Loop = (Box<Controller>, Option<Event>);

/// All services. Shared by the HTTP API and the main task.
pub struct Daemon {
    shared: Shared,
    policies_dir: PathBuf,
    services: Mutex<BTreeMap<String, Service>>,
    /// One start at a time: two could both find no cutover running.
    starting: tokio::sync::Mutex<()>,
    loops: mpsc::Sender<Loop>,
}

#[derive(Default)]
struct Service {
    policy: Option<Policy>,
    problems: Vec<String>,
    running: Option<Running>,
}

/// One service in a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Its name.
    pub service: String,
    /// The id of its last cutover, if there was one.
    pub cutover: Option<String>,
    /// Where that is; `idle` without one.
    pub phase: String,
    /// The target's wanted share.
    pub desired: Option<Share>,
    /// What happens next and on what it waits.
    pub outlook: String,
    /// What is wrong with the policy file, one problem a line.
    pub problems: Vec<String>,
}

/// One service in full.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Detail {
    /// Its name.
    pub service: String,
    /// The daemon's time.
    pub now: Timestamp,
    /// Its last cutover; `None` when there was none.
    pub view: Option<View>,
    /// What a revert would cost now.
    pub price: Option<Price>,
    /// The policy file as it is now; `None` when it is gone or cannot be used.
    pub policy: Option<Policy>,
    /// What is wrong with the policy file, one problem a line.
    pub problems: Vec<String>,
}

/// What can be asked of a service over the API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// `start`, `advance`, `hold`, `pause`, `resume`, `revert`, `abort` or `close`.
    pub verb: String,
    /// Who orders.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// With `resume`: go on by the policy file as it is now.
    #[serde(default)]
    pub adopt_policy: bool,
    /// With `start`: a recorded baseline, in place of the one that the policy names.
    #[serde(default)]
    pub baseline: Option<Sent>,
}

/// What came of an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OrderAnswer {
    /// Whether it was accepted; a refused order changes nothing.
    pub accepted: bool,
    /// The reason's stable word.
    pub kind: String,
    /// Why, in one sentence.
    pub text: String,
    /// Which cutover.
    pub cutover: String,
    /// Where it is now.
    pub phase: String,
    /// The journal entry; `None` when it could not be written.
    pub entry: Option<u64>,
}

/// What the one who ordered is told. An order is obeyed though the journal cannot be written, and must not be taken for
/// one that a restart knows.
fn answer_text(view: &View) -> String {
    let text = &view.reason.text;
    if view.accepted && view.entry.is_none() {
        return format!("{text}; the journal cannot be written, so a restart before it can would forget this order");
    }
    text.clone()
}

/// Why something asked for was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No policy and no cutover of that name.
    #[error("there is no service `{service}`; known are: {known}")]
    Unknown {
        /// What was asked for.
        service: String,
        /// What there is.
        known: String,
    },
    /// There is no cutover to order about.
    #[error("`{service}` has no cutover; `tidegate start {service}` begins one")]
    Idle {
        /// The service.
        service: String,
    },
    /// A verb nobody knows.
    #[error("unknown order `{verb}`; known are start, advance, hold, pause, resume, revert, abort and close")]
    Verb {
        /// What was asked for.
        verb: String,
    },
    /// The policy cannot be used.
    #[error("the policy of `{service}` cannot be used: {problems}")]
    Policy {
        /// The service.
        service: String,
        /// What is wrong.
        problems: String,
    },
    /// The recorded baseline cannot be used.
    #[error(transparent)]
    Baseline(#[from] BaselineError),
    /// A baseline came with an order that begins nothing.
    #[error("a baseline goes with `start` alone: one that runs keeps the one it began with")]
    Misplaced,
    /// A cutover is in the way.
    #[error("`{service}` has cutover {cutover} in `{phase}`: {hint}")]
    Standing {
        /// The service.
        service: String,
        /// The cutover.
        cutover: String,
        /// Where it is.
        phase: String,
        /// What to do.
        hint: String,
    },
    /// Two cutovers would write the weights of one proxy.
    #[error(
        "the proxy at {proxy} is moved by cutover {cutover} of `{other}`, which is in `{phase}`: `tidegate close {other}` \
         when that is over, or give `{service}` proxies of its own"
    )]
    Taken {
        /// The service that was to start.
        service: String,
        /// The proxy.
        proxy: String,
        /// Whose it is now.
        other: String,
        /// That service's cutover.
        cutover: String,
        /// Where that is.
        phase: String,
    },
    /// The loop did not take it.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// Nothing could be set up.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The journal did not answer.
    #[error(transparent)]
    Port(#[from] PortError),
}

impl Daemon {
    /// Loads the policies. The loops of cutovers come out of the receiver and want to be run.
    pub fn new(shared: Shared, policies_dir: &Path) -> (Arc<Self>, mpsc::Receiver<Loop>) {
        let (loops, waiting) = mpsc::channel(LOOPS_WAITING_MAX);
        let daemon = Self {
            shared,
            policies_dir: policies_dir.to_owned(),
            services: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
            loops,
        };
        daemon.load_policies();
        (Arc::new(daemon), waiting)
    }

    /// Goes on with every cutover that the journal knows; the answer wants to be run. Called once, before anything else
    /// is ordered.
    ///
    /// # Errors
    /// When the journal cannot be read, or a cutover in it that is not closed not be gone on with.
    pub async fn resume(&self) -> Result<Vec<Loop>, RunError> {
        let mut loops: Vec<Loop> = Vec::new();
        for found in self.shared.store.load().await? {
            let service = found.policy.service.clone();
            let closed = found.closed.is_some();
            match self.shared.controller(found).await {
                Ok((controller, running)) => {
                    self.services().entry(service).or_default().running = Some(running);
                    loops.push((Box::new(controller), Some(Event::Restarted)));
                }
                // History: that its proxies are gone by now must not keep the daemon from starting.
                Err(error) if closed => tracing::warn!(service, %error, "a closed cutover is not shown"),
                Err(error) => return Err(error),
            }
        }
        self.tell_policies().await;
        Ok(loops)
    }

    /// The services whose loop hangs.
    pub fn hanging(&self, now: Instant) -> Vec<String> {
        let services = self.services();
        let hangs = |service: &Service| {
            let running = service.running.as_ref().filter(|running| !running.has_ended());
            running.is_some_and(|running| running.silent_for(now) > LOOP_SILENCE_MAX)
        };
        services.iter().filter(|(_, service)| hangs(service)).map(|(name, _)| name.clone()).collect()
    }

    /// Who moves a proxy that `policy` is about already, if anybody does.
    fn taken(&self, name: &str, policy: &Policy) -> Option<Refused> {
        let proxies = |policy: &Policy| match &policy.balancer {
            BalancerPolicy::Listener { proxies, .. } => proxies.clone(),
            // Two cutovers of one listener are told apart by what each wrote: drift.
            BalancerPolicy::Alb { .. } => Vec::new(),
        };
        let wanted = proxies(policy);
        self.services().iter().filter(|(other, _)| *other != name).find_map(|(other, service)| {
            let view = service.running.as_ref()?.view();
            if view.cutover.closed.is_some() || view.cutover.phase == Phase::Pending {
                return None;
            }
            let theirs = proxies(&view.cutover.policy);
            let proxy = wanted.iter().find(|proxy| theirs.contains(proxy))?.clone();
            Some(Refused::Taken {
                service: name.to_owned(),
                proxy,
                other: other.clone(),
                cutover: view.cutover.id.clone(),
                phase: view.cutover.phase.name().to_owned(),
            })
        })
    }

    fn services(&self) -> MutexGuard<'_, BTreeMap<String, Service>> {
        self.services.lock().expect("nobody panics while holding it")
    }

    fn load_policies(&self) {
        let files = match policy_files::files_in(&self.policies_dir) {
            Ok(files) => files,
            Err(error) => {
                tracing::error!(dir = %self.policies_dir.display(), %error, "cannot read the policies");
                return;
            }
        };
        let mut seen: BTreeMap<String, &PathBuf> = BTreeMap::new();
        let mut services = self.services();
        for service in services.values_mut() {
            (service.policy, service.problems) = (None, Vec::new());
        }
        for file in files.iter().filter(|file| file.file_name().is_none_or(|name| name != OWN_FILE)) {
            let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            match policy_files::load(file, &policy_files::environment()) {
                Ok(loaded) => {
                    let sound = loaded.is_sound();
                    let errors = loaded.problems.iter().filter(|problem| problem.severity == Severity::Error);
                    let problems: Vec<String> = errors.map(ToString::to_string).collect();
                    if !sound {
                        let first = problems.first().map(String::as_str).unwrap_or_default();
                        tracing::error!(
                            file = %file.display(),
                            problems = problems.len(),
                            first,
                            "a policy cannot be used; `tidegate policy check` shows every problem with its place"
                        );
                    }
                    let name = loaded.policy.as_ref().map_or(stem, |policy| policy.service.clone());
                    let service = services.entry(name.clone()).or_default();
                    if let Some(first) = seen.insert(name, file) {
                        // Neither is taken: which one was meant is not ours to guess.
                        let (first, second) = (first.display(), file.display());
                        tracing::error!(%first, %second, "two files state the policy of one service");
                        service.policy = None;
                        service.problems.push(format!("`{first}` and `{second}` both state its policy: take one away"));
                        continue;
                    }
                    service.policy = loaded.policy.filter(|_| sound);
                    service.problems = problems;
                }
                Err(error) => {
                    tracing::error!(file = %file.display(), %error, "a policy cannot be read");
                    services.entry(stem).or_default().problems = vec![error.to_string()];
                }
            }
        }
    }

    /// Tells running cutovers whether their policy file still says what they run by.
    async fn tell_policies(&self) {
        let told: Vec<(Running, Option<String>)> = {
            let services = self.services();
            services
                .values()
                .filter_map(|service| {
                    let running = service.running.clone().filter(|running| !running.has_ended())?;
                    let change = match &service.policy {
                        Some(policy) => policy_change(&running.view().cutover.policy, policy),
                        None if service.problems.is_empty() => Some("the policy file is gone".to_owned()),
                        None => Some("the policy file cannot be used".to_owned()),
                    };
                    Some((running, change))
                })
                .collect()
        };
        for (running, change) in told {
            if running.view().cutover.policy_change != change {
                running.policy_changed(change).await;
            }
        }
    }

    /// Loads the policies again; running cutovers are told of changes and keep what they started with.
    pub async fn reload(&self) {
        self.load_policies();
        self.tell_policies().await;
        tracing::info!(dir = %self.policies_dir.display(), "policies loaded again");
    }

    /// The policy of a service as its file is now.
    pub fn policy(&self, service: &str) -> Option<Policy> {
        self.services().get(service).and_then(|service| service.policy.clone())
    }

    /// Every service, by name.
    pub fn list(&self) -> Vec<Summary> {
        self.services()
            .iter()
            .map(|(name, service)| {
                let view = service.running.as_ref().map(Running::view);
                let cutover = view.as_ref().map(|view| &view.cutover);
                Summary {
                    service: name.clone(),
                    cutover: cutover.map(|cutover| cutover.id.clone()),
                    phase: cutover.map_or("idle", |cutover| cutover.phase.name()).to_owned(),
                    desired: cutover.map(|cutover| cutover.desired),
                    outlook: cutover.map_or_else(|| "waits for `start`".to_owned(), |cutover| cutover.outlook.clone()),
                    problems: service.problems.clone(),
                }
            })
            .collect()
    }

    /// The daemon's time.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Every running or ended cutover's last view, for the metrics.
    pub fn views(&self) -> Vec<Arc<View>> {
        self.services().values().filter_map(|service| Some(service.running.as_ref()?.view())).collect()
    }

    fn unknown(&self, service: &str) -> Refused {
        let known = self.services().keys().cloned().collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "none".to_owned() } else { known };
        Refused::Unknown { service: service.to_owned(), known }
    }

    /// One service in full.
    ///
    /// # Errors
    /// When there is no such service.
    pub fn detail(&self, name: &str) -> Result<Detail, Refused> {
        let now = self.shared.clock.now();
        let services = self.services();
        let Some(service) = services.get(name) else {
            drop(services);
            return Err(self.unknown(name));
        };
        let view = service.running.as_ref().map(|running| View::clone(&running.view()));
        let price = view.as_ref().map(|view| price(&view.cutover, now));
        let (policy, problems) = (service.policy.clone(), service.problems.clone());
        Ok(Detail { service: name.to_owned(), now, view, price, policy, problems })
    }

    /// The running cutover of a service.
    ///
    /// # Errors
    /// When there is no such service, or it has no cutover.
    pub fn running(&self, name: &str) -> Result<Running, Refused> {
        let services = self.services();
        let Some(service) = services.get(name) else {
            drop(services);
            return Err(self.unknown(name));
        };
        service.running.clone().ok_or_else(|| Refused::Idle { service: name.to_owned() })
    }

    /// Gives an order, beginning a cutover when it is `start`.
    ///
    /// # Errors
    /// When there is no such service or cutover, another is in the way, or the policy cannot be used.
    pub async fn order(&self, name: &str, request: OrderRequest) -> Result<OrderAnswer, Refused> {
        let OrderRequest { verb, actor, reason, adopt_policy, baseline } = request;
        if baseline.is_some() && verb != "start" {
            return Err(Refused::Misplaced);
        }
        let verb = match verb.as_str() {
            "start" => Verb::Start,
            "advance" => Verb::Advance,
            "hold" => Verb::Hold,
            "pause" => Verb::Pause,
            "resume" => {
                if adopt_policy {
                    // As the file is now: who edited and checked it means that one.
                    self.load_policies();
                }
                let policy = if adopt_policy { Some(Box::new(self.usable(name)?)) } else { None };
                Verb::Resume { adopt_policy: policy }
            }
            "revert" => Verb::Revert,
            "abort" => Verb::Abort,
            "close" => Verb::Close,
            _ => return Err(Refused::Verb { verb }),
        };
        let order = Order { verb, actor, reason };
        let view = if order.verb == Verb::Start {
            Box::pin(self.start(name, order, baseline)).await?
        } else {
            self.running(name)?.order(order).await?
        };
        Ok(OrderAnswer {
            accepted: view.accepted,
            kind: view.reason.kind.clone(),
            text: answer_text(&view),
            cutover: view.cutover.id.clone(),
            phase: view.cutover.phase.name().to_owned(),
            entry: view.entry,
        })
    }

    fn usable(&self, name: &str) -> Result<Policy, Refused> {
        let services = self.services();
        let Some(service) = services.get(name) else {
            drop(services);
            return Err(self.unknown(name));
        };
        service.policy.clone().ok_or_else(|| {
            let problems = service.problems.join("; ");
            let problems = if problems.is_empty() { "its file is gone".to_owned() } else { problems };
            Refused::Policy { service: name.to_owned(), problems }
        })
    }

    async fn start(&self, name: &str, order: Order, sent: Option<Sent>) -> Result<Arc<View>, Refused> {
        let _one_at_a_time = self.starting.lock().await;
        self.load_policies();
        let policy = self.usable(name)?;
        if let Some(taken) = self.taken(name, &policy) {
            return Err(taken);
        }
        let given = baselines::given(&self.shared.state_dir, &policy, sent.as_ref())?;
        if let Ok(running) = self.running(name) {
            self.make_way(name, &running, &order).await?;
        }
        let now = self.shared.clock.now();
        let mut cutover = Cutover::new(cutover_id(name, now), policy, now);
        cutover.given = given.map(Arc::new);
        let (controller, running) = self.shared.controller(cutover).await?;
        self.services().entry(name.to_owned()).or_default().running = Some(running.clone());
        drop(self.loops.send((Box::new(controller), None)).await);
        Ok(running.order(order).await?)
    }

    /// Ends the cutover before the new one, where it may be ended without asking: reverted, aborted or closed.
    async fn make_way(&self, name: &str, running: &Running, order: &Order) -> Result<(), Refused> {
        let view = running.view();
        let standing = |hint: &str| Refused::Standing {
            service: name.to_owned(),
            cutover: view.cutover.id.clone(),
            phase: view.cutover.phase.name().to_owned(),
            hint: hint.to_owned(),
        };
        match view.cutover.phase {
            _ if view.cutover.closed.is_some() => {}
            // A cutover that was refused at the start never moved anything.
            Phase::Pending => running.stop().await,
            Phase::Reverted | Phase::Aborted => {
                let reason = "a new cutover starts".to_owned();
                let closing = running.order(Order { verb: Verb::Close, actor: order.actor.clone(), reason }).await?;
                if !closing.accepted {
                    return Err(standing(&closing.reason.text));
                }
            }
            Phase::Done => return Err(standing("it can still be reverted; `tidegate close` makes it history")),
            Phase::Stuck { .. } => {
                return Err(standing(
                    "look at the weights of the balancer; when they are right, `tidegate abort` ends it",
                ));
            }
            Phase::Preflight
            | Phase::Baseline
            | Phase::Gated { .. }
            | Phase::Shifting { .. }
            | Phase::Baking { .. }
            | Phase::Draining
            | Phase::Reverting { .. } => return Err(standing("it is under way")),
        }
        // Two loops on one service would fence each other off.
        match tokio::time::timeout(LOOP_END_MAX, running.loop_ended()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(standing("its last command is still under way; try again")),
        }
    }

    /// Entries of a service's journal, oldest first.
    ///
    /// # Errors
    /// When there is no such service or the journal does not answer.
    pub async fn history(
        &self,
        name: &str,
        cutover: Option<String>,
        after: u64,
        limit: usize,
        end: End,
    ) -> Result<Vec<Entry>, Refused> {
        if !self.services().contains_key(name) {
            return Err(self.unknown(name));
        }
        let query = Query { service: Some(name.to_owned()), cutover, after, limit, end };
        Ok(self.shared.store.history(query).await?)
    }

    /// Ends every loop, when what is in flight has ended.
    pub async fn stop(&self) {
        let running: Vec<Running> = self.services().values().filter_map(|service| service.running.clone()).collect();
        for running in running {
            running.stop().await;
        }
    }
}
