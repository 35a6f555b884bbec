//! The lab's time: it starts at the time of day and runs `speed` times as fast as the clock on the wall.
//!
//! Everything that AWS times (how long a task takes to start, when a minute is published, how long a target drains) is
//! told in lab time, so that a cutover of hours fits into minutes. Time-outs of the network are not: a client that waits
//! ten seconds for an answer waits ten real ones. This is the only place of the package that reads a clock.

use std::ops::{Add, Sub};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The fastest a lab may run: an hour in a second. Beyond it the timer's grain of a millisecond is seconds of lab time.
pub const SPEED_MAX: u32 = 3600;

/// A moment of lab time, in milliseconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Time(pub i64);

impl Time {
    /// The start of the minute that holds this moment: what CloudWatch stamps its data with.
    pub fn minute(self) -> Self {
        Self(self.0.div_euclid(60_000) * 60_000)
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Seconds since 1970, as AWS's JSON protocols spell a time.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// As AWS's XML spells a time: `2026-11-21T20:15:00.123000+00:00` without what a second cannot show, in UTC.
    pub fn rfc3339(self) -> String {
        jiff::Timestamp::from_millisecond(self.0).map_or_else(|_| self.0.to_string(), |at| format!("{at:.3}"))
    }

    /// As the `Date` field of HTTP spells it (RFC 9110, 5.6.7).
    pub fn http_date(self) -> String {
        jiff::Timestamp::from_millisecond(self.0)
            .map_or_else(|_| self.0.to_string(), |at| at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, more: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(more.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, less: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(less.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// A clock that shows lab time. Clones show the same.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Start>);

#[derive(Debug)]
struct Start {
    /// Lab time and time of day when the clock was made.
    wall: Time,
    instant: Instant,
    speed: u32,
}

impl Clock {
    /// A clock that shows the time of day and runs `speed` times as fast from here on; brought into 1 to [`SPEED_MAX`].
    #[expect(clippy::disallowed_methods, reason = "this is the package's one reader of the clocks")]
    pub fn start(speed: u32) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Time(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        Self(Arc::new(Start { wall, instant: Instant::now(), speed: speed.clamp(1, SPEED_MAX) }))
    }

    /// What it shows.
    pub fn now(&self) -> Time {
        self.0.wall + self.real().saturating_mul(self.0.speed)
    }

    /// How much real time has gone since the start: for what the network times.
    #[expect(clippy::disallowed_methods, reason = "this is the package's one reader of the clocks")]
    pub fn real(&self) -> Duration {
        Instant::now().duration_since(self.0.instant)
    }

    /// When it was started.
    pub fn started(&self) -> Time {
        self.0.wall
    }

    /// How many times as fast as real time it runs.
    pub fn speed(&self) -> u32 {
        self.0.speed
    }

    /// Waits for so long in lab time.
    pub async fn sleep(&self, lab: Duration) {
        tokio::time::sleep(lab / self.0.speed).await;
    }

    /// Waits until it shows `at`, or not at all if it does.
    pub async fn sleep_until(&self, at: Time) {
        self.sleep(at.since(self.now())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that the spellings are those of AWS and of HTTP.
    #[test]
    fn a_time_is_spelled_as_aws_and_http_spell_it() {
        let at = Time(1_795_292_712_345);
        assert_eq!(at.rfc3339(), "2026-11-21T20:25:12.345Z");
        assert_eq!(at.http_date(), "Sat, 21 Nov 2026 20:25:12 GMT");
        assert_eq!(at.minute().rfc3339(), "2026-11-21T20:25:00.000Z");
    }

    /// Proves that a clock at sixty times the speed shows at least sixty times what has gone, and never goes back.
    #[tokio::test]
    async fn a_fast_clock_runs_ahead() {
        let clock = Clock::start(60);
        let (before, real) = (clock.now(), clock.real());
        clock.sleep(Duration::from_secs(3)).await;
        let gone = clock.now().since(before);
        assert!(gone >= Duration::from_secs(3), "{gone:?} of lab time went by");
        assert!(clock.real().saturating_sub(real) >= Duration::from_millis(50));
    }
}
