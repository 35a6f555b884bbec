//! One struct for each thing worth knowing: `emit` writes the log line and moves the counter together, so that the two
//! never disagree.
//!
//! error = a human must act; warn = we coped; info = the operator's story, readable alone; debug = ours.

use std::sync::LazyLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tracing::{debug, error, info, warn};

/// The label of what is counted for each service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByService {
    service: String,
}

/// The labels of decisions. The kinds of reasons are a closed list in the core.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    service: String,
    reason: String,
}

/// The labels of calls that failed. Ports are a closed list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPort {
    service: String,
    command: String,
}

/// The labels of calls to AWS. Operations are a closed list: those that this program makes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOperation {
    service: String,
    operation: String,
}

/// Everything counted since the process started; one for the process, as its log is.
#[derive(Default)]
struct Counts {
    aws_calls: Family<ByOperation, Counter>,
    aws_metrics: Counter,
    decisions: Family<ByReason, Counter>,
    events: Family<ByService, Counter>,
    failures: Family<ByPort, Counter>,
    writes: Family<ByService, Counter>,
    unjournalled: Family<ByService, Counter>,
    alerts_sent: Counter,
    alerts_failed: Counter,
    alerts_dropped: Counter,
}

static COUNTS: LazyLock<Counts> = LazyLock::new(Counts::default);

/// Adds every counter to a registry that is about to be printed.
pub fn register(registry: &mut Registry) {
    registry.register("decisions", "Decisions that were journalled, by reason", COUNTS.decisions.clone());
    registry.register("events", "Events that were answered", COUNTS.events.clone());
    registry.register("aws_calls", "Calls to AWS, each try of its own, by operation", COUNTS.aws_calls.clone());
    registry.register(
        "aws_metrics",
        "CloudWatch metrics that were asked for; AWS charges by the thousand",
        COUNTS.aws_metrics.clone(),
    );
    registry.register("command_failures", "Commands that failed or timed out", COUNTS.failures.clone());
    registry.register("balancer_writes", "Writes and restores sent to the balancer", COUNTS.writes.clone());
    registry.register(
        "decisions_not_journalled",
        "Decisions that could not be written to the journal; nothing rose by them",
        COUNTS.unjournalled.clone(),
    );
    registry.register("alerts_sent", "Alerts that a receiver took", COUNTS.alerts_sent.clone());
    registry.register("alerts_failed", "Tries to deliver an alert that failed", COUNTS.alerts_failed.clone());
    registry.register("alerts_dropped", "Alerts that were given up", COUNTS.alerts_dropped.clone());
}

/// A decision that changed something; the operator's story is these lines.
pub struct Decided<'a> {
    /// Which service.
    pub service: &'a str,
    /// Which cutover.
    pub cutover: &'a str,
    /// Its entry in the journal; `None` when it could not be written.
    pub entry: Option<u64>,
    /// The phase from now on.
    pub phase: &'a str,
    /// The share that is wanted from now on.
    pub desired: cutover::Share,
    /// The reason's stable word.
    pub kind: &'a str,
    /// The reason's sentence.
    pub text: &'a str,
}

impl Decided<'_> {
    /// Logs and counts it.
    pub fn emit(&self) {
        let Self { service, cutover, entry, phase, desired, kind, text } = self;
        info!(service, cutover, entry, phase, desired = %desired, reason = kind, "{text}");
        COUNTS.decisions.get_or_create(&ByReason { service: (*service).to_owned(), reason: (*kind).to_owned() }).inc();
    }
}

/// An event that was answered, whatever came of it.
pub struct Answered<'a> {
    /// Which service.
    pub service: &'a str,
    /// The event's stable word.
    pub event: &'a str,
    /// The reason's stable word.
    pub kind: &'a str,
}

impl Answered<'_> {
    /// Logs and counts it.
    pub fn emit(&self) {
        debug!(service = self.service, event = self.event, reason = self.kind, "event answered");
        COUNTS.events.get_or_create(&ByService { service: self.service.to_owned() }).inc();
    }
}

/// A command that failed or ran out of time. The core decides what follows.
pub struct CommandFailed<'a> {
    /// Which service.
    pub service: &'a str,
    /// Which kind of command.
    pub command: &'a str,
    /// What went wrong.
    pub error: &'a str,
}

impl CommandFailed<'_> {
    /// Logs and counts it.
    pub fn emit(&self) {
        let Self { service, command, error } = self;
        warn!(service, command, error, "a command failed");
        COUNTS.failures.get_or_create(&ByPort { service: (*service).to_owned(), command: (*command).to_owned() }).inc();
    }
}

/// A call to AWS is on its way.
pub struct AwsCalled<'a> {
    /// The service, as its SDK calls it.
    pub service: &'a str,
    /// The operation.
    pub operation: &'a str,
}

impl AwsCalled<'_> {
    /// Logs and counts it.
    pub fn emit(&self) {
        let Self { service, operation } = *self;
        debug!(service, operation, "calling AWS");
        let labels = ByOperation { service: service.to_owned(), operation: operation.to_owned() };
        COUNTS.aws_calls.get_or_create(&labels).inc();
    }
}

/// Metrics are asked for, which is what CloudWatch charges for.
pub struct MetricsAsked {
    /// How many.
    pub metrics: usize,
}

impl MetricsAsked {
    /// Logs and counts it.
    pub fn emit(&self) {
        debug!(metrics = self.metrics, "asking CloudWatch");
        COUNTS.aws_metrics.inc_by(self.metrics as u64);
    }
}

/// A write or restore on its way to the balancer.
pub struct Writing<'a> {
    /// Which service.
    pub service: &'a str,
    /// What is written, for a person.
    pub what: &'a str,
    /// Its number.
    pub generation: u64,
}

impl Writing<'_> {
    /// Logs and counts it.
    pub fn emit(&self) {
        info!(service = self.service, what = self.what, generation = self.generation, "writing to the balancer");
        COUNTS.writes.get_or_create(&ByService { service: self.service.to_owned() }).inc();
    }
}

/// The way back by hand is on disk.
pub struct UndoKept<'a> {
    /// Which service.
    pub service: &'a str,
    /// Where it is.
    pub file: &'a std::path::Path,
}

impl UndoKept<'_> {
    /// Logs it.
    pub fn emit(&self) {
        info!(service = self.service, file = %self.file.display(), "this file puts back the original without tidegate");
    }
}

/// The journal cannot be written: nothing rises, and the armed revert still fires.
pub struct JournalFailed<'a> {
    /// Which service's decision it was.
    pub service: &'a str,
    /// What went wrong.
    pub error: &'a str,
}

impl JournalFailed<'_> {
    /// Logs and counts it.
    pub fn emit(&self) {
        error!(service = self.service, error = self.error, "the journal cannot be written: nothing rises until it can");
        COUNTS.unjournalled.get_or_create(&ByService { service: self.service.to_owned() }).inc();
    }
}

/// The journal can be written again.
pub struct JournalRecovered<'a> {
    /// Which service noticed.
    pub service: &'a str,
}

impl JournalRecovered<'_> {
    /// Logs it.
    pub fn emit(&self) {
        info!(service = self.service, "the journal can be written again");
    }
}

/// A receiver took an alert.
pub struct AlertSent<'a> {
    /// The message.
    pub id: &'a str,
    /// At which try.
    pub attempts: u32,
}

impl AlertSent<'_> {
    /// Logs and counts it.
    pub fn emit(&self) {
        debug!(id = self.id, attempts = self.attempts, "alert delivered");
        COUNTS.alerts_sent.inc();
    }
}

/// A try to deliver an alert failed; it is tried again.
pub struct AlertFailed<'a> {
    /// The message.
    pub id: &'a str,
    /// What went wrong.
    pub error: &'a str,
}

impl AlertFailed<'_> {
    /// Logs and counts it.
    pub fn emit(&self) {
        warn!(id = self.id, error = self.error, "an alert was not delivered");
        COUNTS.alerts_failed.inc();
    }
}

/// An alert was given up: nobody was told.
pub struct AlertDropped<'a> {
    /// The message.
    pub id: &'a str,
}

impl AlertDropped<'_> {
    /// Logs and counts it.
    pub fn emit(&self) {
        error!(id = self.id, "an alert was given up; look at the alert's receiver and at `tidegate status`");
        COUNTS.alerts_dropped.inc();
    }
}
