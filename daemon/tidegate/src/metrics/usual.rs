//! The rate of the last whole hour against the same hour of earlier days: whether all of the traffic is there.

use std::time::Duration;

use cutover::event::{Check, CheckOutcome};

/// By what the past is compared: the same hour of other days.
pub(super) const HOUR: Duration = Duration::from_hours(1);

/// Below this part of what is usual at this hour, traffic is missing.
const USUAL_MIN: f64 = 0.5;

/// `now` requests of the source in the last whole hour, against those of the same hour of earlier days, in any order.
pub(super) fn usual(now: f64, mut before: Vec<f64>) -> Check {
    before.sort_by(f64::total_cmp);
    let rate = |requests: f64| format!("{:.1}", requests / HOUR.as_secs_f64());
    let (outcome, evidence, fix) = match before.get(before.len() / 2).copied() {
        None => (
            CheckOutcome::Warn,
            format!(
                "the source had {} requests a second in the last whole hour, and no earlier day to compare",
                rate(now)
            ),
            "make sure by other means that all clients come this way",
        ),
        Some(median) => (
            if now >= median * USUAL_MIN { CheckOutcome::Pass } else { CheckOutcome::Warn },
            format!(
                "the source had {} requests a second in the last whole hour, and {} in the same hour of {} earlier days",
                rate(now),
                rate(median),
                before.len()
            ),
            "find out which clients went away, or go another way, before anything is moved",
        ),
    };
    Check::new("usual rate", outcome, evidence, fix)
}
