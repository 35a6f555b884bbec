//! The only file of these tests that reads a clock: they measure real time against real sockets.

use std::time::Instant;

/// Now.
#[expect(clippy::disallowed_methods, reason = "this is the file that may")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
