//! The only place of this package that reads a clock; everything else is told what time it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
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

/// The wall clock as a value, so that a test can hold it. Clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    held: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The wall clock of the system.
    pub fn system() -> Self {
        Self { held: None }
    }

    /// A clock that shows `at` until [`Clock::set`] moves it.
    pub fn held(at: Timestamp) -> Self {
        Self { held: Some(Arc::new(AtomicI64::new(at.0))) }
    }

    /// Moves a held clock; the system's clock is left alone.
    pub fn set(&self, at: Timestamp) {
        if let Some(held) = &self.held {
            held.store(at.0, Ordering::SeqCst);
        }
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        self.held.as_ref().map_or_else(now, |held| Timestamp(held.load(Ordering::SeqCst)))
    }
}

/// `at` as `2026-11-21T11:22:33Z`, without fractions of a second; as plain milliseconds where no calendar has the date.
pub fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.0.div_euclid(1000)).map_or_else(|_| format!("{} ms", at.0), |at| at.to_string())
}
