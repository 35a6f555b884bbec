//! The only file of the tests' library that reads a clock.

use std::time::Instant;

/// Now.
#[expect(clippy::disallowed_methods, reason = "this is the file that may")]
pub fn now() -> Instant {
    Instant::now()
}
