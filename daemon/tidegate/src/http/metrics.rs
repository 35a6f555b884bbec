//! What Prometheus reads: counters from [`crate::events`], and gauges made from the views at the moment of asking.

use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::App;
use crate::controller::View;
use crate::events;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByClass {
    service: String,
    /// `reads` or `writes`.
    class: &'static str,
    /// `desired`, `configured` or `observed`.
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPhase {
    service: String,
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByGuard {
    service: String,
    guard: String,
    verdict: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByService {
    service: String,
}

type Float = Gauge<f64, AtomicU64>;

#[derive(Default)]
struct Gauges {
    share: Family<ByClass, Float>,
    phase: Family<ByPhase, Gauge>,
    verdict: Family<ByGuard, Gauge>,
    evidence: Family<ByService, Float>,
    age: Family<ByService, Float>,
    journal: Family<ByService, Gauge>,
    held: Family<ByService, Gauge>,
    writes_on_target: Family<ByService, Gauge>,
    capture_whole: Family<ByService, Gauge>,
}

impl Gauges {
    fn register(&self, registry: &mut Registry) {
        registry.register("share", "The target's share of requests, 0 to 1", self.share.clone());
        registry.register("phase", "1 for the phase a cutover is in", self.phase.clone());
        registry.register("verdict", "1 for what each guard proves", self.verdict.clone());
        registry.register("evidence", "Evidence against the target, as a factor; 1 is none", self.evidence.clone());
        registry.register("data_age_seconds", "Age of the newest judged counts", self.age.clone());
        registry.register("journal_writable", "1 while the journal can be written", self.journal.clone());
        registry.register("held", "1 while an operator holds or something halted the cutover", self.held.clone());
        registry.register(
            "writes_on_target",
            "Writes that went to the target alone: what a revert would lose",
            self.writes_on_target.clone(),
        );
        registry.register(
            "capture_whole",
            "1 while the capture that a cutover relies on is known to be without loss",
            self.capture_whole.clone(),
        );
    }

    fn set(&self, view: &View, now: cutover::Timestamp) {
        let cutover = &view.cutover;
        let service = cutover.policy.service.clone();
        let share = |class, kind, value: f64| {
            self.share.get_or_create(&ByClass { service: service.clone(), class, kind }).set(value);
        };
        share("reads", "desired", cutover.desired.reads.fraction());
        share("writes", "desired", cutover.desired.writes.fraction());
        if let Some(configured) = &cutover.configured {
            share("reads", "configured", configured.share.reads.fraction());
            share("writes", "configured", configured.share.writes.fraction());
        }
        let observed = &cutover.evidence.observed;
        for (class, seen) in [("reads", &observed.reads), ("writes", &observed.writes)] {
            // A share of no requests is unknown, and what is unknown is not exported as a number.
            if let Some(value) = seen.share() {
                share(class, "observed", value);
            }
        }
        let by_service = ByService { service: service.clone() };
        self.phase.get_or_create(&ByPhase { service: service.clone(), phase: cutover.phase.name() }).set(1);
        if let Some(judgement) = &cutover.evidence.judgement {
            self.evidence.get_or_create(&by_service).set(judgement.evidence);
            for guard in &judgement.guards {
                let label =
                    ByGuard { service: service.clone(), guard: word(&guard.guard), verdict: word(&guard.verdict) };
                self.verdict.get_or_create(&label).set(1);
            }
        }
        self.age.get_or_create(&by_service).set(now.since(cutover.evidence.counted_to).as_secs_f64());
        self.journal.get_or_create(&by_service).set(i64::from(cutover.journal_writable));
        let held = cutover.standing.is_some() || cutover.halt.is_some();
        self.held.get_or_create(&by_service).set(i64::from(held));
        let writes = i64::try_from(cutover.writes_on_target).unwrap_or(i64::MAX);
        self.writes_on_target.get_or_create(&by_service).set(writes);
        if let Some(whole) = cutover::captured::whole(cutover) {
            self.capture_whole.get_or_create(&by_service).set(i64::from(whole));
        }
    }
}

/// A closed enum's word, as in the API.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Everything, in the text format of `OpenMetrics`.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "Metrics for Prometheus")))]
pub(super) async fn metrics(State(app): State<App>) -> Response {
    let mut registry = Registry::with_prefix("tidegate");
    registry.register("build", "The version that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    events::register(&mut registry);
    let gauges = Gauges::default();
    gauges.register(&mut registry);
    let now = app.daemon.now();
    for view in app.daemon.views() {
        gauges.set(&view, now);
    }
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a string does not fail");
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
