//! The check that a recorded baseline is still about this source: made with the checks of the fleet until the first
//! write, by a look at the source's last minute.

use std::sync::Arc;
use std::time::Duration;

use cutover::baseline::{DRIFT_CHECK, Given, LOOK, LOOK_MIN, drift};
use cutover::decide::comparable;
use cutover::event::{Check, CheckOutcome, Retry};
use cutover::{Cutover, Generation, Phase, Policy, Share, Timestamp};

use super::carry::within;
use crate::metrics::MetricSource;
use crate::port::in_one_line;

/// How long one look may take.
const LOOK_ANSWER_MAX: Duration = Duration::from_secs(5);

/// What the check is made of.
pub(super) struct Drifted {
    given: Arc<Given>,
    policy: Arc<Policy>,
    metrics: Arc<dyn MetricSource>,
    now: Timestamp,
}

impl Drifted {
    /// The check for a cutover as it is now; `None` where there is nothing to compare, or the shift has begun: from then
    /// on the source has less traffic, and the judge compares.
    pub(super) fn of(cutover: &Cutover, metrics: &Arc<dyn MetricSource>, now: Timestamp) -> Option<Self> {
        let before = matches!(cutover.phase, Phase::Pending | Phase::Preflight | Phase::Baseline);
        let given = cutover.given.clone().filter(|_| before && cutover.generation == Generation::default())?;
        Some(Self { given, policy: Arc::clone(&cutover.policy), metrics: Arc::clone(metrics), now })
    }

    /// Looks at the last minute, or at what there is of it.
    pub(super) async fn check(self) -> Check {
        let mut why = None;
        for length in [LOOK, LOOK_MIN] {
            match within("metrics", LOOK_ANSWER_MAX, self.metrics.glance(self.now, length)).await {
                Ok(now) => {
                    let block = comparable(&self.policy, Share::NONE, &now);
                    return drift(&self.given, &block, now.window.to, self.policy.baseline.on_drift);
                }
                Err(error) => why = Some(error),
            }
        }
        let never = why.as_ref().is_some_and(|error| error.retry == Retry::Never);
        let why = why.map(|error| in_one_line(&error)).unwrap_or_default();
        // A source of numbers that has no fast ones cannot be waited for.
        let outcome = if never { CheckOutcome::Warn } else { CheckOutcome::Unknown };
        let fix = format!("{} s of counts are needed; the check is made again", LOOK_MIN.as_secs());
        Check::new(DRIFT_CHECK, outcome, format!("the source as it is now is not known: {why}"), &fix)
    }
}
