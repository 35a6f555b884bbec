//! What the operator wants. A value of type [`Policy`] is already sound: parsing is the only way to one from text.
//!
//! The way there: [`parse`] reads one layer (a file, an environment variable, the built-in defaults) against the schema of
//! [`raw`], [`merge`] puts layers over one another, [`resolve()`] makes a policy of them or says everything that is wrong.
//! [`read`] does all three for a file that stands alone. Nothing here opens files: the text is an argument.
//!
//! Durations are whole milliseconds, shares of requests run from 0 to 1, weights are per mille.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::{Share, Weight};

mod clients;
pub mod formats;
mod layer;
mod metrics;
mod problem;
pub mod raw;
mod resolve;
mod shape;
#[cfg(test)]
mod tests;
mod words;

pub use clients::{ClientsPolicy, ExpectedRate};
pub use layer::{BUILTIN, Layer, builtin, builtins, join, parse, parse_bytes, parse_variable};
pub use metrics::{Counted, LatencyUnit, MetricsPolicy, Preset, PrometheusPolicy, QueriesPolicy};
pub use problem::{Problem, Severity};
pub use resolve::{Resolved, merge, resolve};
pub use shape::schema;

/// Reads a policy that stands alone: its own text over the built-in defaults. `name` is how problems call the file.
///
/// # Errors
/// Everything that is wrong with it, warnings included, in the order of the text.
pub fn read(text: &str, name: &str) -> Result<Policy, Vec<Problem>> {
    let layer = parse(text, name);
    let mut layers = builtins(std::iter::once(&layer));
    layers.push(&layer);
    let Resolved { policy, problems } = resolve(&layers, &merge(&layers));
    policy.ok_or(problems)
}

/// Durations as whole milliseconds in the journal.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// One service's policy, whole and sound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// The service's name; names the cutover, its alerts and its files.
    pub service: String,
    /// Where the weights live.
    pub balancer: BalancerPolicy,
    /// Where the judge's numbers come from.
    #[serde(default)]
    pub metrics: MetricsPolicy,
    /// The cluster that has the traffic.
    pub source: SidePolicy,
    /// The cluster that shall get it.
    pub target: SidePolicy,
    /// What is known of the clients.
    #[serde(default)]
    pub clients: ClientsPolicy,
    /// What runs the sides' proxies, where that is looked after.
    #[serde(default)]
    pub fleet: FleetPolicy,
    /// By what only one daemon drives the listener; `None` where a second one is noticed by what it writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeasePolicy>,
    /// Whether the cutover relies on captured traffic, and what it asks of it then.
    #[serde(default)]
    pub capture: CapturePolicy,
    /// How the source is recorded before the shift.
    pub baseline: BaselinePolicy,
    /// The ladder.
    pub shift: ShiftPolicy,
    /// What the judge asks.
    pub guards: Vec<GuardPolicy>,
    /// The greatest chance, over the whole cutover, of reverting a healthy target (0 to 1).
    pub false_revert_max: f64,
    /// How long one burst of trouble may last and still count as one accident (60 s); shorter reverts sooner and is
    /// less robust. See `judge::Guards::burst_millis`.
    #[serde(with = "millis")]
    pub burst: Duration,
    /// What lets a step end, beside `shift`: how much harm the next step may do. Its bake times are not used; those of
    /// `shift` are.
    pub pass: judge::Pass,
    /// Absolute limits that revert at once.
    pub tripwires: Vec<Tripwire>,
    /// What happens while something is unknown.
    pub unknown: UnknownPolicy,
    /// What must say yes before a step, and what is asked after a revert.
    pub gates: Vec<Gate>,
    /// When traffic may rise.
    pub windows: WindowPolicy,
    /// What is done when someone else changed the weights.
    pub drift: DriftPolicy,
    /// How a revert is carried out.
    pub revert: RevertPolicy,
    /// When the source counts as drained.
    pub drain: DrainPolicy,
    /// Who is told.
    pub alerts: Vec<AlertPolicy>,
}

impl Policy {
    /// Whether somebody counts the last moments, so that the tripwires need not wait for whole intervals.
    pub fn counts_fast(&self) -> bool {
        let ours = match self.metrics {
            MetricsPolicy::Proxy => true,
            MetricsPolicy::Cloudwatch { .. } => false,
            // Our own proxies are asked for their last moments whoever counts whole intervals.
            MetricsPolicy::Prometheus(_) => matches!(self.balancer, BalancerPolicy::Listener { .. }),
        };
        ours || !self.target.proxies.is_empty()
    }
}

/// Where the weights live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BalancerPolicy {
    /// Our own proxies.
    Listener {
        /// Control APIs of the proxies, as `unix:PATH` or `HOST:PORT`; empty when the daemon's own `[proxy]` is meant.
        proxies: Vec<String>,
        /// Which failed requests the daemon's own proxy tries once more, on the other side.
        retry: ProxyRetry,
        /// What keeps a client on one side, if anything does; only for the daemon's own proxy.
        sticky: Option<Sticky>,
    },
    /// The default rule of an ALB's listener, whose action weighs the two sides' target groups. It cannot tell reads
    /// from writes.
    Alb {
        /// The listener's ARN; `None` for the one listener whose default action holds both target groups.
        listener: Option<String>,
        /// ARNs of numbered rules that move with it.
        rules: Vec<String>,
        /// The ARN of the source's target group.
        source: String,
        /// The ARN of the target's target group.
        target: String,
    },
}

impl BalancerPolicy {
    /// Whether reads and writes can be given to the target apart, and are counted apart.
    pub const fn tells_writes(&self) -> bool {
        matches!(self, Self::Listener { .. })
    }
}

/// Which failed requests our own proxy tries once more, on the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyRetry {
    /// None.
    None,
    /// Reads of which no response byte was relayed. A retried request counts as a failure of the target all the same.
    #[default]
    Reads,
}

/// What keeps a client on one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sticky {
    /// The hash of the header field of this name.
    Header(String),
    /// The hash of the cookie of this name.
    Cookie(String),
}

/// What runs the sides' proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetPolicy {
    /// The ECS cluster in which the services of the sides run; `None` where none is looked after.
    pub cluster: Option<String>,
    /// With fewer healthy targets than this in the target's group the traffic goes back at once; 0 where nobody looks.
    #[serde(default)]
    pub healthy_min: u32,
    /// Whether the target's service is made as large as the source's, and kept so while traffic moves.
    #[serde(default)]
    pub scale: bool,
}

/// A lease on the listener: who holds it may write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasePolicy {
    /// The DynamoDB table.
    pub table: String,
    /// How long it lasts after it was renewed last; at least half a minute.
    #[serde(with = "millis")]
    pub expiry: Duration,
}

/// One side: as our own proxies reach it, or as AWS runs it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SidePolicy {
    /// `http://HOST:PORT` or `https://HOST:PORT`, one for each endpoint.
    pub endpoints: Vec<String>,
    /// Header fields set on each request to this side; an empty value removes the field.
    pub headers: BTreeMap<String, String>,
    /// Where the `Authorization` value for this side comes from: `env:NAME` or `file:PATH`; never the value itself.
    pub authorization: Option<String>,
    /// The ECS service that runs its proxies; `None` where none is looked after.
    #[serde(default)]
    pub service: Option<String>,
    /// Control APIs of our own proxies behind its target group, which serve this side alone; empty where there are none.
    #[serde(default)]
    pub proxies: Vec<String>,
}

/// What a cutover asks of captured traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturePolicy {
    /// Whether it relies on it at all; without that nothing of the rest is asked.
    pub need: CaptureNeed,
    /// How many losses of all proxies together somebody has looked at and taken care of; one more stops it.
    pub losses_accepted: u64,
    /// For how long the oldest record may wait for the log.
    #[serde(with = "millis")]
    pub lag_max: Duration,
    /// How long the replay may still take: the log must keep what it has from the start of capture until then. Zero where
    /// nobody asks how long it keeps it.
    #[serde(with = "millis")]
    pub replay_max: Duration,
}

/// Whether the cutover relies on captured traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CaptureNeed {
    /// Preflight and every step that moves writes ask for capture without loss.
    Required,
    /// Nothing asks.
    #[default]
    NotNeeded,
}

/// How the source is recorded before the shift.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaselinePolicy {
    /// How long the source is recorded at the start of a cutover.
    #[serde(with = "millis")]
    pub record: Duration,
    /// Fewer recorded intervals than this make the baseline thin, and a thin baseline judges nothing.
    pub intervals_min: u32,
    /// A baseline that was recorded before and stands in for the recording; `None` where there is none.
    #[serde(default)]
    pub recorded: Option<RecordedBaseline>,
    /// What preflight does when the source is no longer as that baseline says.
    #[serde(default)]
    pub on_drift: OnBaselineDrift,
}

/// Where a recorded baseline is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedBaseline {
    /// In this file; an absolute path, as the daemon sees it.
    File(String),
    /// Among the daemon's own, under this name.
    Name(String),
}

/// What preflight does when the source is no longer as the recorded baseline says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnBaselineDrift {
    /// Say so and go on: the source of the same minute judges first of all.
    #[default]
    Warn,
    /// Do not start.
    Refuse,
}

/// The ladder and its pace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShiftPolicy {
    /// The shares, in order; none lower than the one before it, the last one is all of the traffic. Empty for a policy
    /// that only captures: such a cutover is never started.
    pub steps: Vec<Share>,
    /// What a split means for writes.
    pub writes: Writes,
    /// How long one judged interval is.
    #[serde(with = "millis")]
    pub interval: Duration,
    /// How long a step is baked at least.
    #[serde(with = "millis")]
    pub bake_min: Duration,
    /// How long a step may bake before `unknown.on_timeout` decides.
    #[serde(with = "millis")]
    pub bake_max: Duration,
    /// What is not judged at the beginning of a step, after the weight is confirmed.
    #[serde(with = "millis")]
    pub warm_up: Duration,
    /// How long after a write a read must have begun to be believed.
    #[serde(with = "millis")]
    pub settle: Duration,
    /// How far the observed share may lie from the configured one, as a share of requests (0 to 1).
    pub share_tolerance: f64,
    /// Fewest requests of the target on a step before it may end.
    pub requests_min: u64,
    /// How many times one write or read is tried before the cutover halts (or, on a revert, is stuck).
    pub attempts_max: u32,
    /// What a start does when the target has weight already.
    pub on_weighted_start: WeightedStart,
    /// For how many seconds a client's connection to the load balancer may live while the share moves; `None` where that
    /// is left as it is. What it was before is put back at the end.
    #[serde(default)]
    pub keep_alive: Option<u32>,
}

/// What a split means for writes: a write that went to one cluster only is the price of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Writes {
    /// Writes stay with the source until one final step.
    Last,
    /// Writes are split like reads.
    Split,
}

/// What a start does when the target has weight already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WeightedStart {
    /// Refuse to start.
    Refuse,
    /// Take it as it is; it earns nothing.
    Adopt,
}

/// One guard of the judge as the policy states it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuardPolicy {
    /// The guard and its tolerance.
    pub guard: judge::Guard,
    /// Fewest requests of the target on a step before this guard may pass.
    pub requests_min: u64,
    /// What this guard does to an advance while it is unknown.
    pub on_unknown: OnUnknown,
}

/// What an unknown guard does to an advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnknown {
    /// The step does not end.
    Hold,
    /// The guard is left out of the decision to advance; it still reverts.
    Ignore,
}

/// An absolute limit that reverts at once, looked at in each fast interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tripwire {
    /// Its name in the policy, for the reason of a revert.
    pub name: String,
    /// What is limited.
    pub kind: TripwireKind,
    /// The limit: a share of the target's requests (0 to 1), or milliseconds for `latency`.
    pub limit: f64,
    /// Fewest requests of the target in the window before it may fire.
    pub requests_min: u64,
    /// Over how long the target is looked at.
    #[serde(with = "millis")]
    pub window: Duration,
    /// It does not fire while the source is itself above this (same unit as `limit`): then the world is broken.
    pub source_limit: f64,
}

/// What a tripwire limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TripwireKind {
    /// The share of requests the target answered with 5XX or failed.
    Errors,
    /// The share of requests that got no answer: the client left first, the time ran out, or the connection failed.
    Unanswered,
    /// The 99th percentile of the time to the first response byte, in milliseconds.
    Latency,
}

/// What happens while something is unknown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnknownPolicy {
    /// How long, in all, a step may hold because something is unknown.
    #[serde(with = "millis")]
    pub hold_budget: Duration,
    /// How long, at a stretch, the target may carry traffic with no data at all before the cutover reverts.
    #[serde(with = "millis")]
    pub blind_budget: Duration,
    /// What a spent hold budget or a bake past its maximum does.
    pub on_timeout: OnTimeout,
}

/// What a spent budget does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnTimeout {
    /// Stay and call a human.
    Hold,
    /// Go back to the last step that passed, once; then hold.
    StepBack,
    /// Put back the original.
    Revert,
}

/// Something outside that must say yes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Its name, unique in the policy.
    pub name: String,
    /// Before which step it is asked.
    pub before: GateBefore,
    /// How it is asked.
    pub kind: GateKind,
    /// How long it has to answer.
    #[serde(with = "millis")]
    pub timeout: Duration,
    /// What no answer in that time means.
    pub on_timeout: GateTimeout,
}

/// Before which step a gate is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateBefore {
    /// Before each step.
    EachStep,
    /// Before the first step at or above this weight (of any class).
    Weight(Weight),
    /// Before the step that moves the writes.
    Writes,
    /// Before each step that raises the target's share of the writes: each step where writes are split like reads.
    EachWrites,
}

/// How a gate is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum GateKind {
    /// A person says `tidegate advance`.
    Manual,
    /// A program: exit 0 is yes, any other is no. It gets the cutover as JSON on stdin.
    Command {
        /// Program and arguments; no shell in between.
        argv: Vec<String>,
    },
    /// A URL: 200 is yes, 202 is "ask again", anything else is no.
    Webhook {
        /// Where the signed request goes.
        url: String,
        /// Where the signing secret comes from: `env:NAME` or `file:PATH`.
        secret: Option<String>,
    },
    /// Whether everything that the source had before capture began is on the target. Asked at preflight, too.
    Backfill {
        /// The program that says how far the backfill is, and its arguments; no shell in between.
        argv: Vec<String>,
        /// How it says so.
        tells: BackfillTells,
    },
    /// Whether the Replayer is close enough behind. Asked at preflight, too.
    #[serde(rename = "replay_lag")]
    ReplayLag(ReplayLag),
}

impl GateKind {
    /// Whether this is asked at preflight, too: it is about the world, and needs no step to be asked.
    pub fn at_preflight(&self) -> bool {
        match self {
            Self::Manual | Self::Command { .. } | Self::Webhook { .. } => false,
            Self::Backfill { .. } | Self::ReplayLag(_) => true,
        }
    }

    /// Whether an answer is soon out of date, so that this is asked last, right before what it is asked for, and again where
    /// that waits. A backfill that is complete stays complete, and a program or a URL decides, once for a step.
    pub fn ages(&self) -> bool {
        matches!(self, Self::ReplayLag(_))
    }
}

/// How far a replay may be behind, and where that is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayLag {
    /// The brokers, each `HOST:PORT`.
    pub brokers: Vec<String>,
    /// The Replayer's consumer group.
    pub group: String,
    /// The capture topic: one that the group never committed to is as far behind as it is long.
    pub topic: String,
    /// How old the oldest record may be that is not committed.
    #[serde(with = "millis")]
    pub max: Duration,
    /// A properties file that says who we are to the brokers; `None` in plaintext, without a login.
    pub properties: Option<String>,
}

/// How a program says that the backfill is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackfillTells {
    /// By what it prints, in the words of Migration Assistant's `console backfill status --deep-check`, which exits with 0
    /// whatever the state. What is not understood is not complete.
    Status,
    /// By its exit code: 0 is complete, 75 is "ask again", any other is no.
    ExitCode,
}

/// What a gate without an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GateTimeout {
    /// Stay and call a human.
    Hold,
    /// Go on as if it had said yes.
    Continue,
    /// Put back the original.
    Revert,
}

/// When traffic may rise. Reverts are never bound to a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowPolicy {
    /// IANA name of the zone the times are in.
    pub zone: String,
    /// When a rise may begin; empty means always.
    pub allow: Vec<ChangeWindow>,
    /// Nothing rises while this is set.
    pub freeze: bool,
}

/// One weekly stretch in which traffic may rise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeWindow {
    /// Days of the week, Monday is 1 and Sunday 7.
    pub days: Vec<u8>,
    /// Minutes after local midnight at which it opens.
    pub from_minute: u16,
    /// Minutes after local midnight at which it closes; 1440 is the end of the day. Not before `from_minute`.
    pub to_minute: u16,
}

/// What is done when someone else changed the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DriftPolicy {
    /// Stay, judge on, call a human.
    Halt,
    /// Take the foreign weight as ours; it earns nothing.
    Adopt,
    /// Write ours again.
    Enforce,
}

/// How a revert is carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevertPolicy {
    /// How long a revert may stay unconfirmed before the cutover is stuck.
    #[serde(with = "millis")]
    pub deadline: Duration,
    /// How long the original is read and written again after a confirmed revert, against writes that land late.
    #[serde(with = "millis")]
    pub reassert: Duration,
    /// For how long replies of our own proxies carry `Connection: close` after a revert; zero for never.
    #[serde(with = "millis")]
    pub close_connections: Duration,
}

/// When the source counts as drained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainPolicy {
    /// For how long the source must have had no request at all.
    #[serde(with = "millis")]
    pub quiet: Duration,
    /// How long the drain may take.
    #[serde(with = "millis")]
    pub timeout: Duration,
    /// What a drain past its time-out does.
    pub on_timeout: DrainTimeout,
    /// For how long replies of our own proxies carry `Connection: close` at the beginning of the drain.
    #[serde(with = "millis")]
    pub close_connections: Duration,
}

/// What a drain past its time-out does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DrainTimeout {
    /// Go on waiting and call a human.
    Hold,
    /// Take what still comes to the source as explained, and say so in the dossier.
    Accept,
    /// Put back the original.
    Revert,
}

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum AlertPolicy {
    /// A Standard Webhooks receiver.
    Webhook {
        /// Where it goes.
        url: String,
        /// Where the signing secret comes from: `env:NAME` or `file:PATH`.
        secret: Option<String>,
    },
    /// A program that gets the alert as JSON on stdin.
    Command {
        /// Program and arguments; no shell in between.
        argv: Vec<String>,
    },
}
