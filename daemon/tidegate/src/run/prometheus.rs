//! Prometheus as the source of a policy's numbers, whatever holds the weights.

use std::sync::Arc;

use cutover::policy::MetricsPolicy;
use cutover::{Policy, decide};
use judge::{GuardKind, latency};

use super::RunError;
use crate::clock::Clock;
use crate::metrics::MetricSource;
use crate::metrics::prometheus::Prometheus;

/// The source of numbers of a policy that names Prometheus; `None` for any other.
pub(super) fn source(policy: &Policy, clock: &Clock) -> Result<Option<Arc<dyn MetricSource>>, RunError> {
    let MetricsPolicy::Prometheus(prometheus) = &policy.metrics else { return Ok(None) };
    let tolerances = decide::guards(policy)
        .guards
        .iter()
        .filter(|guard| guard.kind.is_timed() && guard.kind != GuardKind::Exchange)
        .map(|guard| {
            let name = serde_json::to_value(guard.kind).ok();
            let name = name.as_ref().and_then(serde_json::Value::as_str).unwrap_or("latency");
            (format!("`guards.{name}`"), latency::buckets_of(guard.ratio))
        })
        .collect();
    let made = Prometheus::new((**prometheus).clone(), policy.shift.interval, tolerances, clock.clone());
    match made {
        Ok(made) => Ok(Some(Arc::new(made))),
        Err(why) => Err(RunError::Metrics { service: policy.service.clone(), why }),
    }
}
