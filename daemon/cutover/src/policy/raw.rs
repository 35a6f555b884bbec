//! A policy file as it is written: every key, its type and its words.
//!
//! This tree is the one source of what may stand in a file. The JSON Schema for editors is generated from it, and the
//! parser walks that schema, so the two cannot disagree. Everything is optional here, since a layer may say as little as
//! it likes; what must be said in the end, and what contradicts what, is `resolve`'s business. Descriptions are what an
//! editor shows while typing, so they speak to the operator.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    BackfillTells, CaptureNeed, Counted, DrainTimeout, DriftPolicy, GateTimeout, LatencyUnit, OnBaselineDrift,
    OnTimeout, OnUnknown, Preset, ProxyRetry, TripwireKind, WeightedStart, Writes, formats,
};

/// A Tidegate policy: how one service moves from its source to its target.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Document {
    /// The service's name; it names the cutover and its alerts. Letters, digits, `-`, `_` and `.`.
    pub service: Option<formats::Name>,
    /// What to do when someone else changes the weights while a cutover runs.
    pub drift: Option<DriftPolicy>,
    /// Where the weights live.
    pub balancer: Balancer,
    /// Where the judge's numbers come from.
    pub metrics: Metrics,
    /// The cluster that has the traffic.
    pub source: Side,
    /// The cluster that shall get it.
    pub target: Side,
    /// What is known of the service's clients: preflight asks as one of them, and says whether they are all there.
    pub clients: Clients,
    /// What runs the sides' proxies.
    pub fleet: Fleet,
    /// Who may drive the listener, where daemons of more than one machine could.
    pub lease: Lease,
    /// Whether the cutover relies on captured traffic.
    pub capture: Capture,
    /// How the source is recorded before the first step.
    pub baseline: Baseline,
    /// The ladder and its pace.
    pub shift: Shift,
    /// What the target is compared with the source on.
    pub guards: Guards,
    /// What lets a step end: how much harm the next step may do to the service as a whole.
    pub pass: Pass,
    /// Absolute limits that take the traffic back at once, by name.
    pub tripwires: BTreeMap<String, Trip>,
    /// What happens while something is not known.
    pub unknown: Unknown,
    /// What must say yes before a step, by name.
    pub gates: BTreeMap<String, Gate>,
    /// When traffic may rise. A revert never waits for a window.
    pub windows: Windows,
    /// How a revert is carried out.
    pub revert: Revert,
    /// When the source counts as drained.
    pub drain: Drain,
    /// Who is told, by name.
    pub alerts: BTreeMap<String, Receiver>,
}

/// Which balancer holds the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BalancerKind {
    /// Tidegate's own proxies.
    Listener,
    /// The default rule of an AWS Application Load Balancer's listener.
    Alb,
}

/// Where the weights live.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Balancer {
    /// Which balancer holds the weights.
    pub kind: Option<BalancerKind>,
    /// Control addresses of the proxies, `unix:PATH` or `HOST:PORT`, or `dns://NAME:PORT` for all that the name stands for. Leave
    /// it out for the proxy inside the daemon.
    pub proxies: Option<Vec<formats::Control>>,
    /// Which failed requests the daemon's own proxy tries once more on the other side.
    pub retry: Option<ProxyRetry>,
    /// What keeps a client on one side: `header:NAME` or `cookie:NAME`.
    pub sticky: Option<formats::StickyBy>,
    /// The listener's ARN, for `alb`. Leave it out where exactly one listener's default action weighs the two target
    /// groups of this policy.
    pub listener: Option<formats::ListenerArn>,
    /// ARNs of numbered rules of that listener that weigh the same two target groups and move with its default rule,
    /// for `alb`.
    pub rules: Option<Vec<formats::RuleArn>>,
}

/// Where the judge's numbers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MetricsKind {
    /// The counters of Tidegate's own proxies.
    Proxy,
    /// Amazon CloudWatch, for the target groups of an ALB.
    Cloudwatch,
    /// A Prometheus server, or what answers its HTTP API.
    Prometheus,
}

/// Where the judge's numbers come from.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Metrics {
    /// Where they come from. Left out, it follows the balancer: `proxy` for `listener`, `cloudwatch` for `alb`.
    pub kind: Option<MetricsKind>,
    /// How long after its end a minute of CloudWatch counts as complete. Newer ones are partial: an ALB's nodes report
    /// one by one. For `prometheus`: how long after any moment its next sample must be there; a sample that comes later
    /// counts as missing. Twice the scrape interval, at least.
    pub settle: Option<formats::Period>,
    /// Where Prometheus answers, without `/api/v1`; for `prometheus`.
    pub url: Option<formats::Url>,
    /// Where the `Authorization` value for Prometheus comes from: `env:NAME` or `file:PATH`. Never the value itself. It is
    /// the whole value, such as `Bearer …` or `Basic …`.
    pub authorization: Option<formats::Secret>,
    /// The authority that signed the certificate of Prometheus, as a PEM file; the usual ones where it is left out.
    pub ca: Option<formats::AbsolutePath>,
    /// Whose figures they are; it says the queries that `[metrics.queries]` does not.
    pub preset: Option<Preset>,
    /// What `{side}` in a query stands for on the source's side: matchers such as `upstream="blue"`.
    pub source: Option<formats::Matchers>,
    /// The same on the target's side.
    pub target: Option<formats::Matchers>,
    /// What the samples are. Follows the preset; without one, `counters`.
    pub counts: Option<Counted>,
    /// In what the buckets of `latency` are bounded. Follows the preset; without one, `seconds`.
    pub latency_unit: Option<LatencyUnit>,
    /// What is asked for each quantity, for `prometheus`.
    pub queries: Queries,
}

/// Selectors of series, one for each quantity: `NAME{MATCHERS}` without any function, since increases are worked out from
/// the samples themselves. `{side}` stands for the matchers of a side, and `{class}`, where reads and writes are counted
/// apart, for `class="reads"` or `class="writes"`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Queries {
    /// All requests of a side. Left out, the sum of the others.
    pub requests: Option<formats::Selector>,
    /// Answers with 2XX.
    pub status_2xx: Option<formats::Selector>,
    /// Answers with 3XX.
    pub status_3xx: Option<formats::Selector>,
    /// Answers with 4XX.
    pub status_4xx: Option<formats::Selector>,
    /// Answers with 5XX.
    pub status_5xx: Option<formats::Selector>,
    /// Requests that the side failed to answer, where they are not among its 5XX.
    pub failed: Option<formats::Selector>,
    /// Requests whose client left before the side answered.
    pub abandoned: Option<formats::Selector>,
    /// The buckets of a histogram of response times, with their bounds in `le`.
    pub latency: Option<formats::Selector>,
    /// Something that is there for every minute that was published at all; for `counts = "minutes"`.
    pub published: Option<formats::Selector>,
}

/// What runs the sides' proxies.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Fleet {
    /// The ECS cluster in which the sides' services run, by its name; for `alb`. With it, the services of both sides are
    /// checked before traffic moves and while it does.
    pub cluster: Option<formats::Name>,
    /// Fewest healthy targets in the target's group, for `alb`: with fewer, while it has weight and the source's group has
    /// that many, the traffic goes back at once. 0 looks at no health.
    pub healthy_min: Option<u32>,
    /// Whether the desired count of the target's service is raised to the source's before traffic moves, and kept from
    /// being scaled in while it does. It is never lowered while the target serves anything.
    pub scale: Option<bool>,
}

/// Who may drive the listener, where daemons of more than one machine could.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Lease {
    /// The DynamoDB table with the leases of listeners, in their region and account, for `alb`; its partition key is the
    /// text `listener`. With it nothing is written to the listener by a daemon that does not hold its lease. Left out,
    /// another daemon is noticed only by what it writes.
    pub table: Option<formats::Name>,
    /// How long a lease lasts that nobody renews: 30 s to 10 min, 60 s where it is left out. So long another daemon waits
    /// for one that died; half of it is how long a daemon that cannot reach the table may still raise traffic.
    pub expiry: Option<formats::Period>,
}

/// One side.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Side {
    /// The ARN of its target group, for `alb`.
    pub target_group: Option<formats::TargetGroupArn>,
    /// The ECS service that runs its proxies, by its name; for `alb`, with `fleet.cluster`.
    pub service: Option<formats::Name>,
    /// Control addresses of Tidegate's own proxies behind its target group, for `alb`: `unix:PATH` or `HOST:PORT`. Each of
    /// them serves this side alone, and their counters are what the tripwires look at, within seconds.
    pub proxies: Option<Vec<formats::Control>>,
    /// Its endpoints, `http://HOST:PORT` or `https://HOST:PORT`.
    pub endpoints: Option<Vec<formats::Endpoint>>,
    /// Header fields set on each request to this side; an empty value removes the field.
    pub headers: BTreeMap<String, String>,
    /// Where the `Authorization` value for this side comes from: `env:NAME` or `file:PATH`. Never the value itself.
    pub authorization: Option<formats::Secret>,
}

/// What is known of the service's clients: who one of them is, and how much they ask. `tidegate preflight` uses it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Clients {
    /// The authorities that clients trust, as a PEM file; the usual ones where it is left out.
    pub ca: Option<formats::AbsolutePath>,
    /// The name that clients ask for, and that the certificate must be good for; for a test listener that is asked by another.
    pub server_name: Option<formats::Name>,
    /// Where a client's `Authorization` value comes from: `env:NAME` or `file:PATH`. Never the value itself. It is the whole
    /// value, such as `Basic …`, `ApiKey …` or `Bearer …`.
    pub authorization: Option<formats::Secret>,
    /// A client's own certificate, as a PEM file, where the clusters ask for one.
    pub certificate: Option<formats::AbsolutePath>,
    /// The key of that certificate, as a PEM file.
    pub key: Option<formats::AbsolutePath>,
    /// How many requests a second the service has at this time of the day; fewer mean clients that go another way.
    pub expected_rps: Option<f64>,
    /// How many fewer there may be. Left out, 20 %.
    pub rps_tolerance: Option<formats::Percent>,
}

/// Whether the cutover relies on captured traffic, and what it asks of it then.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Capture {
    /// Whether the start, and steps that move writes, need capture without loss.
    pub need: Option<CaptureNeed>,
    /// How many losses of all proxies together were looked at and taken care of: so many may be on their lists.
    pub losses_accepted: Option<u64>,
    /// For how long the oldest record may wait for the log.
    pub lag_max: Option<formats::Period>,
    /// How long the replay may still take: the log must keep everything from the start of capture until then. `0s` where
    /// it is not to be asked how long it keeps anything.
    pub replay_max: Option<formats::Period>,
}

/// How the source is recorded before the first step.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Baseline {
    /// How long the source is recorded at the start of a cutover.
    pub record: Option<formats::Period>,
    /// With fewer recorded intervals than this the baseline is thin, and a thin baseline judges nothing.
    pub intervals_min: Option<u32>,
    /// A baseline of `tidegate baseline`, an absolute path on the daemon's machine; it stands in for the recording.
    pub file: Option<formats::AbsolutePath>,
    /// The same by its name among the daemon's own baselines: `NAME` is `baselines/NAME.json` in its state directory.
    #[serde(rename = "use")]
    pub name: Option<formats::Name>,
    /// What preflight does when the source is no longer as the recorded baseline says.
    pub on_drift: Option<OnBaselineDrift>,
}

/// The ladder and its pace.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Shift {
    /// The target's shares in percent, in order, the last one 100; or `"linear 10"`, or `"exponential 2"`.
    pub steps: Option<Steps>,
    /// What a split means for writes: they stay with the source until the `last` step, or are `split` like reads. A
    /// write that went to one cluster only is missing in the other, so every policy must say this.
    pub writes: Option<Writes>,
    /// How long one judged interval is: whole seconds.
    pub interval: Option<formats::Period>,
    /// How long a step is baked at least.
    pub bake_min: Option<formats::Period>,
    /// How long a step may bake before `unknown.on_timeout` decides.
    pub bake_max: Option<formats::Period>,
    /// What is not judged at the beginning of a step, while caches warm up.
    pub warm_up: Option<formats::Period>,
    /// How long after a weight was written a reading must begin to be believed.
    pub settle: Option<formats::Period>,
    /// How far the observed share may lie from the configured one, in percentage points.
    pub share_tolerance: Option<formats::Percent>,
    /// Fewest requests of the target on a step before it may end.
    pub requests_min: Option<u64>,
    /// How many times one write or read of the balancer is tried.
    #[schemars(range(min = 1, max = 100))]
    pub attempts_max: Option<u32>,
    /// What a start does when the target has weight already.
    pub on_weighted_start: Option<WeightedStart>,
    /// How long a client's connection to the load balancer may live while the share moves, for `alb`: at least a minute.
    /// Where `client_keep_alive.seconds` is longer it is lowered to this, and put back at the end. It holds for the whole
    /// load balancer. Left out, it is not touched.
    pub keep_alive: Option<formats::Period>,
}

/// The ladder.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Steps {
    /// One share after the other.
    List(Vec<Step>),
    /// `linear [BY] [from A] [to B]` or `exponential [FACTOR] [from A] [to B]`, in percent; 100 follows by itself.
    Shorthand(formats::Ladder),
}

/// One share of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Step {
    /// In percent, tenths allowed.
    Percent(formats::StepPercent),
    /// Reads and writes apart, in percent, tenths allowed.
    Apart {
        /// The target's share of reads.
        reads: formats::StepPercent,
        /// The target's share of writes.
        writes: formats::StepPercent,
    },
}

/// What the target is compared with the source on.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Guards {
    /// The greatest chance, over the whole cutover, that a healthy target is reverted.
    pub false_revert_max: Option<formats::Percent>,
    /// How long one burst of trouble may last and still count as one accident. Shorter reverts sooner and is less robust.
    pub burst: Option<formats::Period>,
    /// Server errors: 5XX and what the side failed to answer.
    pub errors: Guard,
    /// Everything that is not 2XX or 3XX: the success ratio, seen from its other end.
    pub success: Guard,
    /// Client errors (4XX) by themselves.
    pub client_errors: Guard,
    /// Redirects (3XX): a target that sends everyone to a login page has no errors. Even while this guard is off, a
    /// target that redirects most of what the source answers reverts, and `pass.redirects_budget` is asked for.
    pub redirects: Guard,
    /// Time to the first response byte, body and tail of its distribution.
    pub latency: Guard,
    /// Time to the first response byte, looking only for a whole distribution that moved.
    pub latency_body: Guard,
    /// Time to the first response byte, looking only for a slowest tenth that moved.
    pub latency_tail: Guard,
    /// Time to the first response byte, looking only for a share of answers that became very slow.
    pub latency_slow: Guard,
    /// Time to the first response byte, minute for minute: finds a target that is a little slower all the time, sooner than
    /// `latency` does.
    pub latency_steady: Guard,
    /// Time to the last response byte: sees a target that answers at once and then drips.
    pub exchange: Guard,
    /// Server errors against the recorded baseline instead of the source of this minute.
    pub baseline: Guard,
}

/// One guard.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Guard {
    /// Whether the guard judges at all.
    pub enabled: Option<bool>,
    /// How much worse than its reference the target may be: `"10 %"` lets 1 % of errors become 1.1 %.
    pub tolerance: Option<formats::Tolerance>,
    /// What may come on top of that, as a share of all requests: `"0.01 %"`. Not for latencies and exchange.
    pub extra: Option<formats::Percent>,
    /// The guard's part of the risk of a false revert, against the other guards' parts.
    pub importance: Option<f64>,
    /// Fewest requests of the target on a step before this guard may pass.
    pub requests_min: Option<u64>,
    /// What this guard does to an advance while it is unknown.
    pub on_unknown: Option<OnUnknown>,
}

/// What lets a step end. A budget is a share of all requests of the service: the smaller the next step, the less proof
/// of the target it takes to keep it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Pass {
    /// The greatest chance, for each step, that a target which does more harm than this passes.
    pub wrong_pass_max: Option<formats::Percent>,
    /// Server errors: how much worse than the source the target may be and still pass. Above the guard's tolerance.
    pub errors_tolerance: Option<formats::Tolerance>,
    /// Server errors: the share of all requests that may fail on top of that.
    pub errors_budget: Option<formats::Percent>,
    /// Answers that are not 2XX or 3XX: how much worse than the source the target may be and still pass.
    pub success_tolerance: Option<formats::Tolerance>,
    /// Answers that are not 2XX or 3XX: the share of all requests that may be so on top of that.
    pub success_budget: Option<formats::Percent>,
    /// Redirects (3XX): how much more often than the source the target may redirect and still pass.
    pub redirects_tolerance: Option<formats::Tolerance>,
    /// Redirects (3XX): the share of all requests that may be redirected on top of that. `"100 %"` says that redirects
    /// are no matter: then a target that redirects everything neither reverts nor is kept from passing.
    pub redirects_budget: Option<formats::Percent>,
    /// Latency and exchange: how much slower than the source's quantiles an answer may be and still count as fast.
    pub latency_tolerance: Option<formats::Tolerance>,
    /// Latency and exchange: the shares of all requests that may become slower than the source's median, 90th and 99th
    /// percentile.
    #[schemars(length(min = 3, max = 3))]
    pub latency_budgets: Option<Vec<formats::Percent>>,
    /// No step ends while the evidence against the target is this high: 1 is none, 20 reverts at a risk of 5 %.
    pub suspicion_max: Option<f64>,
}

/// One absolute limit.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Trip {
    /// Whether it is armed at all.
    pub enabled: Option<bool>,
    /// What is limited; may be left out when the tripwire's name says it.
    pub kind: Option<TripwireKind>,
    /// The limit: a share of the target's requests (`"50 %"`), or a time (`"800ms"`) for `latency`.
    pub limit: Option<formats::Limit>,
    /// Fewest requests of the target in the window before it may fire.
    #[schemars(range(min = 1))]
    pub requests_min: Option<u64>,
    /// Over how long the target is looked at.
    pub window: Option<formats::Period>,
    /// It does not fire while the source is itself above this, since then the world is broken and not the target.
    pub source_limit: Option<formats::Limit>,
}

/// What happens while something is not known.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Unknown {
    /// How long, in all, a step may hold because something is unknown.
    pub hold_budget: Option<formats::Period>,
    /// How long, at a stretch, the target may carry traffic with no data at all before the cutover reverts.
    pub blind_budget: Option<formats::Period>,
    /// What a spent hold budget, or a bake past its maximum, does.
    pub on_timeout: Option<OnTimeout>,
}

/// How a gate is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AskKind {
    /// A person says `tidegate advance`.
    Manual,
    /// A program: exit 0 is yes, any other is no. It gets the cutover as JSON on stdin.
    Command,
    /// A URL: 200 is yes, 202 is "ask again", anything else is no.
    Webhook,
    /// A program that says how far the backfill is, such as Migration Assistant's `console backfill status --deep-check`.
    /// Asked at preflight, too.
    Backfill,
    /// How far the Traffic Replayer is behind, by what its consumer group has committed in Kafka. A late replay would write
    /// over what is newer on the target. Asked at preflight, too, and after the other gates of a step.
    #[serde(rename = "replay_lag")]
    ReplayLag,
}

/// Something that must say yes before a step.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Gate {
    /// How it is asked.
    pub kind: Option<AskKind>,
    /// Before which step: `"each-step"`, `"writes"` (the step that moves the writes), `"each-writes"` (each step that moves
    /// more of them; what `backfill` and `replay_lag` have where nothing is said), or a share in percent (the first step
    /// that reaches it).
    pub before: Option<formats::Before>,
    /// The program and its arguments, for `command` and `backfill`; no shell in between.
    pub argv: Option<Vec<String>>,
    /// How the program says that the backfill is complete, for `backfill`: by what it prints (`"status"`, as Migration
    /// Assistant's console does) or by its exit code (`"exit-code"`, for any other program).
    pub tells: Option<BackfillTells>,
    /// Where the signed question goes, for `webhook`.
    pub url: Option<formats::Url>,
    /// Where the signing secret comes from, for `webhook`: `env:NAME` or `file:PATH`.
    pub secret: Option<formats::Secret>,
    /// The brokers, each `HOST:PORT`, for `replay_lag`.
    pub brokers: Option<Vec<formats::Broker>>,
    /// The Replayer's consumer group, for `replay_lag`: `replayer-TARGET` in a workflow of Migration Assistant,
    /// `logging-group-default` in older ones.
    pub group: Option<formats::Group>,
    /// The capture topic, for `replay_lag`: by its name even a replay that has not begun is seen to be behind.
    pub topic: Option<formats::Topic>,
    /// How far the replay may be behind, for `replay_lag`: the age of the oldest record that is not committed.
    pub max: Option<formats::Period>,
    /// A producer's properties file for those brokers, with Java's names, as an absolute path on the daemon's machine; for
    /// `replay_lag`. It has who we are, by what password, and whom we trust. Left out, plaintext without a login.
    pub properties: Option<formats::AbsolutePath>,
    /// How long it has to answer.
    pub timeout: Option<formats::Period>,
    /// What no answer in that time means.
    pub on_timeout: Option<GateTimeout>,
}

/// When traffic may rise.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Windows {
    /// The time zone of the windows, such as `Europe/Berlin`.
    pub zone: Option<formats::Zone>,
    /// When a rise may begin, such as `"Mon-Thu 09:00-16:00"`; empty means always.
    pub allow: Option<Vec<formats::Weekly>>,
    /// Nothing rises while this is set.
    pub freeze: Option<bool>,
}

/// How a revert is carried out.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Revert {
    /// How long a revert may stay unconfirmed before the cutover is stuck and a human is called.
    pub deadline: Option<formats::Period>,
    /// How long the original is read and written again after a confirmed revert, against writes that land late.
    pub reassert: Option<formats::Period>,
    /// For how long replies carry `Connection: close` after a revert; `"0s"` for never. Our own proxies only.
    pub close_connections: Option<formats::Period>,
}

/// When the source counts as drained.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Drain {
    /// For how long the source must have had no request at all.
    pub quiet: Option<formats::Period>,
    /// How long the drain may take.
    pub timeout: Option<formats::Period>,
    /// What a drain past its time-out does.
    pub on_timeout: Option<DrainTimeout>,
    /// For how long replies carry `Connection: close` at the beginning of the drain. Our own proxies only.
    pub close_connections: Option<formats::Period>,
}

/// How a receiver of alerts is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TellKind {
    /// A Standard Webhooks receiver.
    Webhook,
    /// A program that gets the alert as JSON on stdin.
    Command,
}

/// A receiver of alerts.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Receiver {
    /// How it is reached.
    pub kind: Option<TellKind>,
    /// Where the signed alert goes, for `webhook`.
    pub url: Option<formats::Url>,
    /// Where the signing secret comes from, for `webhook`: `env:NAME` or `file:PATH`.
    pub secret: Option<formats::Secret>,
    /// The program and its arguments, for `command`; no shell in between.
    pub argv: Option<Vec<String>>,
}
