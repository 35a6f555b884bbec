//! Whole minutes, for numbers that come by the minute.

use std::time::Duration;

use cutover::{Timestamp, Window};

/// What CloudWatch counts by.
pub(super) const MINUTE: Duration = Duration::from_mins(1);

/// The whole minute in which `at` lies.
pub(super) fn floor(at: Timestamp) -> Timestamp {
    Timestamp(at.0.div_euclid(60_000) * 60_000)
}

/// The minutes that begin in a window.
pub(super) fn beginning_in(window: Window) -> Vec<Timestamp> {
    let mut at = floor(window.from);
    if at < window.from {
        at = at.plus(MINUTE);
    }
    let mut minutes = Vec::new();
    while at < window.to {
        minutes.push(at);
        at = at.plus(MINUTE);
    }
    minutes
}
