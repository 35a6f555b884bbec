//! The only place of this package that reads a clock; everything else is told what time it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// The wall clock as a value, so that a test can hold it or let it run. Clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Shows);

#[derive(Clone, Debug, Default)]
enum Shows {
    /// What the system shows.
    #[default]
    System,
    /// What it was set to.
    Held(Arc<AtomicI64>),
    /// What the system showed at `since`, and so many times the time that has gone.
    Fast { from: Timestamp, since: Instant, speed: u32 },
}

impl Clock {
    /// The wall clock of the system.
    pub fn system() -> Self {
        Self(Shows::System)
    }

    /// A clock that shows `at` until [`Clock::set`] moves it.
    pub fn held(at: Timestamp) -> Self {
        Self(Shows::Held(Arc::new(AtomicI64::new(at.0))))
    }

    /// A clock that shows the time of day and runs `speed` times as fast from here on; at 1 it is the system's.
    ///
    /// A cutover of hours fits into minutes by it, where what it moves keeps the same time. What the network times stays
    /// real.
    pub fn fast(speed: u32) -> Self {
        if speed <= 1 { Self::system() } else { Self(Shows::Fast { from: now(), since: instant(), speed }) }
    }

    /// Moves a held clock; others are left alone.
    pub fn set(&self, at: Timestamp) {
        if let Shows::Held(held) = &self.0 {
            held.store(at.0, Ordering::SeqCst);
        }
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Shows::System => now(),
            Shows::Held(held) => Timestamp(held.load(Ordering::SeqCst)),
            Shows::Fast { from, since, speed } => {
                from.plus(instant().saturating_duration_since(*since).saturating_mul(*speed))
            }
        }
    }

    /// How long it really takes until the clock shows that `shown` has gone.
    pub fn real(&self, shown: Duration) -> Duration {
        match &self.0 {
            Shows::System | Shows::Held(_) => shown,
            Shows::Fast { speed, .. } => shown / *speed,
        }
    }

    /// What the system's clock shows when this one shows `at`. A held clock is taken for the system's.
    pub fn really(&self, at: Timestamp) -> Timestamp {
        match &self.0 {
            Shows::System | Shows::Held(_) => at,
            Shows::Fast { from, speed, .. } => {
                Timestamp(from.0.saturating_add(at.0.saturating_sub(from.0) / i64::from(*speed)))
            }
        }
    }

    /// Whether it runs faster than time does, as only a clock beside a stand-in of the world may.
    pub fn runs_fast(&self) -> bool {
        matches!(self.0, Shows::Fast { .. })
    }

    /// How much goes on the clock while `real` goes by.
    pub fn shown(&self, real: Duration) -> Duration {
        match &self.0 {
            Shows::System | Shows::Held(_) => real,
            Shows::Fast { speed, .. } => real.saturating_mul(*speed),
        }
    }

    /// Waits until the clock shows that `shown` has gone; for a held one, for as long in real time.
    pub async fn sleep(&self, shown: Duration) {
        tokio::time::sleep(self.real(shown)).await;
    }
}

/// `at` as `2026-11-21T11:22:33Z`, without fractions of a second; as plain milliseconds where no calendar has the date.
pub fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.0.div_euclid(1000)).map_or_else(|_| format!("{} ms", at.0), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that a fast clock begins at the time of day, shows many times what has gone, and waits as much less.
    #[tokio::test]
    async fn a_fast_clock_runs_ahead_and_waits_less() {
        let (clock, began) = (Clock::fast(60), instant());
        let first = clock.now();
        assert!(first.since(now()) < Duration::from_mins(1) && now().since(first) < Duration::from_secs(1));
        clock.sleep(Duration::from_secs(6)).await;
        let shown = clock.now().since(first);
        assert!(shown >= Duration::from_secs(6), "{shown:?}");
        assert!(began.elapsed() >= Duration::from_millis(100));
        assert_eq!(clock.shown(Duration::from_secs(1)), Duration::from_mins(1));
        let now_really = clock.really(clock.now());
        assert!(now().since(now_really) < Duration::from_secs(1) && now_really.since(now()) < Duration::from_secs(1));
        assert_eq!(Clock::fast(1).real(Duration::from_secs(7)), Duration::from_secs(7));
    }
}
