//! When something was seen, as records say it.

use std::time::Duration;

/// Nanoseconds in a second.
const NANOS: i64 = 1_000_000_000;

/// A moment of wall time: whole seconds since 1970-01-01T00:00:00Z, and nanoseconds after it. Streams take it as an
/// argument and make it monotone for their connection; a reader never compares it to a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

impl Timestamp {
    /// The moment `nanos` nanoseconds (of either sign, and any size) after `seconds`.
    pub const fn new(seconds: i64, nanos: i64) -> Self {
        let whole = seconds.saturating_add(nanos.div_euclid(NANOS));
        Self { seconds: whole, nanos: nanos.rem_euclid(NANOS) as u32 }
    }

    /// The moment so long after 1970-01-01T00:00:00Z.
    pub fn since_epoch(since: Duration) -> Self {
        Self { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
    }

    /// Whole seconds since 1970-01-01T00:00:00Z.
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after them, below 1,000,000,000.
    pub const fn nanos(self) -> u32 {
        self.nanos
    }

    /// Nanoseconds since 1970, cut to 64 bits: good until 2554, and only ever one part of an identifier.
    pub(crate) const fn wrapped_nanos(self) -> u64 {
        (self.seconds as u64).wrapping_mul(NANOS as u64).wrapping_add(self.nanos as u64)
    }
}
