//! The only file of these tests that reads a clock: they measure real time against a real broker.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Now.
#[expect(clippy::disallowed_methods, reason = "this is the file that may")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970, for tokens.
#[expect(clippy::disallowed_methods, reason = "this is the file that may")]
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
