//! Where the numbers come from. The port, and in files of their own the adapters: [`proxy`] (our own counters),
//! [`prometheus`] (samples of anyone's), `cloudwatch` (Amazon's minutes of an ALB's target groups) and [`two_speeds`] (those,
//! with the counters of our own proxies behind both groups for what must be fast).
//!
//! Counts, never rates; and what is not there is an error, never a zero: missing data is unknown, and unknown is never
//! a pass.

#[cfg(feature = "aws")]
pub mod cloudwatch;
mod minutes;
pub mod prometheus;
pub mod proxy;
pub mod two_speeds;
mod usual;

use std::time::Duration;

use cutover::event::{Check, Observation};
use cutover::{Timestamp, Window};

use crate::port::Answer;

/// Something that counts what both sides do.
pub trait MetricSource: Send + Sync {
    /// What both sides did in a closed window, once the window is over and its counts are settled: the answer waits for
    /// that, up to the caller's deadline. The age of the data is the time since [`Window::to`].
    ///
    /// Windows that touch share no request and lose none.
    ///
    /// # Errors
    /// When the counts of the whole window are not known, now or for good.
    fn observe(&self, window: Window) -> Answer<'_, Observation>;

    /// What both sides did in about the last `length`, at once and without waiting for anything to settle: for
    /// tripwires.
    ///
    /// # Errors
    /// When this source has no fast counts, or has none of the last moments.
    fn glance(&self, now: Timestamp, length: Duration) -> Answer<'_, Observation>;

    /// What is still known of the past, for a baseline: closed stretches of about `every`, oldest first and without gaps
    /// between them, that lie in `window`; of a history with gaps, what came after the last one. Nothing, where no
    /// history is kept.
    ///
    /// # Errors
    /// When there is a history and it cannot be read.
    fn history(&self, window: Window, every: Duration) -> Answer<'_, Vec<Observation>> {
        let _ = (window, every);
        Box::pin(async { Ok(Vec::new()) })
    }

    /// What there is to say of the traffic as a whole before any of it moves; nothing, where only two sides are counted.
    ///
    /// # Errors
    /// When it cannot be found out.
    fn survey(&self) -> Answer<'_, Vec<Check>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// What may keep clients where they are while the share lags behind the weight, by the names in [`cutover::lag`];
    /// nothing, where requests alone are counted.
    ///
    /// # Errors
    /// When it cannot be found out.
    fn lag(&self) -> Answer<'_, Vec<Check>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}
