//! The bodies of the control API: what a controller and a proxy say to each other, as JSON.
//!
//! | call | body | answer |
//! |---|---|---|
//! | `GET /v1/status` | | [`Status`] |
//! | `PUT /v1/weight` | [`SetWeight`] | [`Status`], once it holds for every request whose head is complete from now on |
//! | `GET /v1/counters` | | [`Counters`] |
//! | `PUT /v1/tripwires` | [`Armed`] or `null` | [`Status`] |
//! | `PUT /v1/close` | [`CloseConnections`] | [`Status`] |
//! | `PUT /v1/reload` | | [`Status`], once new connections get the certificate that lies on disk now |
//! | `GET /metrics` | | the same for Prometheus, in its text format |
//! | `GET /health` | | 200 when it serves, 503 when it drains |
//! | `GET /ready` | | 200 when it takes traffic, 503 when it drains or awaits its first weight |

use judge::Counts;
use serde::{Deserialize, Serialize};

/// A weight for the target, in per mille. `reads` and `writes` default to `target`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetWeight {
    /// The target's weight for every class not named beside it, 0 to 1000.
    pub target: u16,
    /// The target's weight for reads, 0 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<u16>,
    /// The target's weight for writes, 0 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<u16>,
    /// The number of this change; one that is older than the last applied is refused with 409.
    pub generation: u64,
}

/// What the proxy is and does now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Unique for each start of the process; counters start at zero with it.
    pub instance: String,
    /// The version of the program.
    pub version: String,
    /// Milliseconds since it started.
    pub uptime_millis: u64,
    /// The target's weight for reads, in per mille.
    pub reads: u16,
    /// The target's weight for writes, in per mille.
    pub writes: u16,
    /// The number of the last applied change; 0 before the first.
    pub generation: u64,
    /// Whether it takes no new connections any more.
    pub draining: bool,
    /// Whether it is not ready because no controller has given it a weight yet.
    #[serde(default)]
    pub awaits_weight: bool,
    /// The armed tripwires, if any.
    pub armed: Option<Armed>,
    /// The tripwire that fired since they were last armed, if one did.
    pub fired: Option<Fired>,
    /// The source's endpoints.
    pub source: Vec<Endpoint>,
    /// The target's endpoints; empty when the proxy was started without any.
    pub target: Vec<Endpoint>,
    /// What is captured, and whether it is kept; empty when nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capture: Vec<CaptureStatus>,
}

/// How the capture of one side goes. Counts are since the process started unless they say otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureStatus {
    /// `source` or `target`.
    pub side: String,
    /// Where records go: `kafka`, `file`.
    pub sink: String,
    /// What becomes of a write that was not captured: `forward` or `refuse`.
    pub on_failure: String,
    /// Whether the log takes records now.
    pub works: bool,
    /// Why it failed the last time, if it did.
    pub failed_why: Option<String>,
    /// How often it began to fail.
    pub failed_times: u64,
    /// Records that are safe.
    pub safe: u64,
    /// Records that are lost after they were given to the log.
    pub lost: u64,
    /// How many of those may be in it all the same.
    pub perhaps_there: u64,
    /// Records that were not given to the log, since it was known to fail or had no room.
    pub not_given: u64,
    /// Bytes that wait for the log now.
    pub under_way_bytes: u64,
    /// Anything but 0 means that the log lost what it had acknowledged: its topic was deleted, or deleted and made anew.
    pub life: u64,
    /// Requests that were forwarded uncaptured, and times that the log lost what it had: since capture began, those of
    /// earlier processes and of the other side included.
    pub losses: u64,
    /// Losses of this process that could not be listed.
    pub losses_unlisted: u64,
    /// Losses of earlier processes that could not be listed.
    #[serde(default)]
    pub losses_unlisted_before: u64,
    /// Requests that were refused and that the log may have all the same, so that a replay would send what the source never
    /// had; since capture began, like the losses, and none of them. 0 from a version that counts them as losses.
    #[serde(default)]
    pub phantoms: u64,
    /// What holds the records: a topic, a folder.
    #[serde(default)]
    pub place: String,
    /// When capture began, in milliseconds since 1970: with the first process that had this list of losses.
    #[serde(default)]
    pub began_millis: i64,
    /// Where the list of losses is, on the proxy's machine.
    #[serde(default)]
    pub loss_log: String,
    /// Which list that is, wherever the proxy is; empty from one that does not say.
    #[serde(default)]
    pub loss_log_id: String,
    /// For how many milliseconds the oldest record has waited for the log; 0 when none waits.
    #[serde(default)]
    pub oldest_millis: u64,
    /// How long the log keeps what it has; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeps: Option<Keeping>,
}

/// How long a log keeps what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeping {
    /// For how many milliseconds; `None` is for ever.
    pub millis: Option<u64>,
    /// How many bytes, of each partition in Kafka; the oldest beyond go. `None` is any number.
    pub bytes: Option<u64>,
}

/// One endpoint of a side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its URL as configured.
    pub url: String,
    /// Whether it gets requests.
    pub healthy: bool,
    /// Why not, or what the last check said.
    pub note: String,
}

/// Limits at which the proxy puts back a share by itself, without asking anyone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Armed {
    /// The share to put back: the target's weight for reads, in per mille.
    pub reads: u16,
    /// The same for writes.
    pub writes: u16,
    /// The limits.
    pub limits: Vec<Limit>,
}

/// One limit; looked at each 100 ms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Its name, for the sentence that says why it fired.
    #[serde(default)]
    pub name: String,
    /// What is limited.
    pub kind: LimitKind,
    /// The limit: a share of the target's requests (0 to 1), or milliseconds for latency. It fires at or above.
    pub limit: f64,
    /// Fewest requests of the target in the window before it may fire.
    pub requests_min: u64,
    /// Over how many milliseconds the target is looked at.
    pub window_millis: u64,
    /// It does not fire while the source's own figure is above this.
    pub source_limit: f64,
}

/// What a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitKind {
    /// Requests the target answered with 5XX or failed.
    Errors,
    /// Requests whose client left, or that timed out, before the target answered; those still waiting longer than the
    /// window count as well.
    Unanswered,
    /// The 99th percentile of the time to the first response byte, in milliseconds.
    Latency,
}

/// A tripwire that fired: the armed share is back already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fired {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub at_millis: i64,
    /// Which limit, and on which figures, in one sentence.
    pub why: String,
    /// The generation the proxy gave its own change: the last applied plus one.
    pub generation: u64,
}

/// For how long replies carry `Connection: close`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseConnections {
    /// Milliseconds from now; 0 ends it.
    pub millis: u64,
}

/// Everything counted since the process started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// As in [`Status::instance`]: another instance starts from zero.
    pub instance: String,
    /// When it was counted: milliseconds since 1970-01-01T00:00:00Z.
    pub at_millis: i64,
    /// How many milliseconds after the start of the process; `None` from one that does not say.
    #[serde(default)]
    pub uptime_millis: Option<u64>,
    /// The source's share of the work.
    pub source: SideCounters,
    /// The target's share of the work.
    pub target: SideCounters,
    /// What never belonged to a side: refused requests, and those that neither side could be asked for.
    pub we: OwnCounters,
    /// Client connections.
    pub clients: ClientCounters,
}

/// What one side did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SideCounters {
    /// Reads, as the judge sees them.
    pub reads: Counts,
    /// Writes, as the judge sees them.
    pub writes: Counts,
    /// Requests first tried on the other side; not in `reads` or `writes` of this one.
    pub retried: u64,
    /// Failed requests by cause: no connection.
    pub failed_connect: u64,
    /// Failed requests by cause: connection lost or answer cut short.
    pub failed_reset: u64,
    /// Failed requests by cause: a time-out.
    pub failed_timeout: u64,
    /// Failed requests by cause: an answer that is not HTTP.
    pub failed_protocol: u64,
    /// Connections that became something else (WebSocket).
    pub upgraded: u64,
    /// Bytes of requests sent to this side.
    pub bytes_sent: u64,
    /// Bytes of responses received from it.
    pub bytes_received: u64,
    /// Upstream connections opened.
    pub connections_new: u64,
    /// Upstream connections open now.
    pub connections_open: u64,
    /// Requests under way now.
    pub in_flight: u64,
}

/// What never belonged to a side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnCounters {
    /// Requests refused for their form, by status.
    pub refused: std::collections::BTreeMap<u16, u64>,
    /// Requests of health probes of load balancers, and of the health endpoint.
    pub probes: u64,
    /// Clients that left before their request was whole.
    pub incomplete: u64,
    /// Times a tripwire fired.
    pub fired: u64,
}

/// Client connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientCounters {
    /// Accepted since the start.
    pub connections_new: u64,
    /// Open now.
    pub connections_open: u64,
    /// Turned away because a limit was reached.
    pub connections_refused: u64,
    /// TLS handshakes that failed.
    pub tls_failed: u64,
    /// Requests by how many came before them on their connection: 0, 1, 2-9, 10-99, 100 and more.
    pub requests_by_reuse: [u64; 5],
}

/// What the answer to a refused call says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong, and what to do.
    pub error: String,
}
