//! Quantities with their unit in the type.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The target's share of a class of traffic, in per mille: 0 is none, 1000 is all.
///
/// Per mille because an ALB weight is a whole number up to 999: every value but the ends is exact as the pair
/// `(1000 - w, w)`, so that what is read back can be compared with what was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Weight(u16);

impl Weight {
    /// No traffic.
    pub const NONE: Self = Self(0);
    /// All traffic.
    pub const ALL: Self = Self(1000);

    /// The weight in per mille, or `None` above 1000.
    pub const fn new(per_mille: u16) -> Option<Self> {
        if per_mille <= 1000 { Some(Self(per_mille)) } else { None }
    }

    /// The weight in per mille, 0 to 1000.
    pub const fn per_mille(self) -> u16 {
        self.0
    }

    /// The weight as a share, 0 to 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl TryFrom<u16> for Weight {
    type Error = String;

    fn try_from(per_mille: u16) -> Result<Self, String> {
        Self::new(per_mille).ok_or_else(|| format!("a weight is 0 to 1000 per mille, not {per_mille}"))
    }
}

impl From<Weight> for u16 {
    fn from(weight: Weight) -> Self {
        weight.0
    }
}

/// In percent with at most one decimal: `5 %`, `0.5 %`.
impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 10 {
            0 => write!(f, "{} %", self.0 / 10),
            tenth => write!(f, "{}.{tenth} %", self.0 / 10),
        }
    }
}

/// The target's share of reads and of writes. A balancer that cannot tell them apart keeps both equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Share {
    /// The target's weight for reads.
    pub reads: Weight,
    /// The target's weight for writes.
    pub writes: Weight,
}

impl Share {
    /// Everything to the source.
    pub const NONE: Self = Self { reads: Weight::NONE, writes: Weight::NONE };
    /// Everything to the target.
    pub const ALL: Self = Self { reads: Weight::ALL, writes: Weight::ALL };

    /// The same weight for reads and writes.
    pub const fn both(weight: Weight) -> Self {
        Self { reads: weight, writes: weight }
    }

    /// Whether this share gives the target more of any class than `other` does.
    pub fn raises(self, other: Self) -> bool {
        self.reads > other.reads || self.writes > other.writes
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reads == self.writes {
            write!(f, "{}", self.reads)
        } else {
            write!(f, "reads {}, writes {}", self.reads, self.writes)
        }
    }
}

/// A moment, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment `duration` later.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The moment `duration` earlier.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long it is since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// In UTC to the second: `2026-01-31T02:25:00Z`; the bare milliseconds where the calendar ends.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0.div_euclid(1000)) {
            Ok(moment) => write!(f, "{moment}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// A stretch of time: from (inclusive) to (exclusive).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// Where it begins.
    pub from: Timestamp,
    /// Where it ends; not before `from`.
    pub to: Timestamp,
}

impl Window {
    /// How long it is.
    pub fn length(self) -> Duration {
        self.to.since(self.from)
    }
}

/// The number of a balancer write; each write of a cutover has a higher one than those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}
