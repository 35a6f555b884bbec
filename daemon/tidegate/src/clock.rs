//! The only place of this package that reads a clock; everything else is told what time it is.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use cutover::units::Timestamp;

/// The wall clock, for the journal and for people. It may be set at any moment: nothing may rely on its order.
#[expect(clippy::disallowed_methods, reason = "this is the package's one reader of the wall clock")]
pub fn now() -> Timestamp {
    // Before 1970 the clock is certainly wrong; zero is then as good as any value.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The monotonic clock, for durations within this process.
#[expect(clippy::disallowed_methods, reason = "this is the package's one reader of the monotonic clock")]
pub fn instant() -> Instant {
    Instant::now()
}
