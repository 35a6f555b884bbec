//! What was measured in one span of time: values with how often each came, not a list of samples.
//!
//! A minute of a busy load balancer is tens of thousands of response times; kept one by one, a read of a few series takes
//! seconds. Response times have three significant digits here (see [`three_digits`]), so a minute holds a few hundred
//! different values at most, and every statistic over them is exact.

use std::collections::BTreeMap;

/// The most different values that are kept apart for one series, node and minute. Response times of three digits between a
/// microsecond and an hour cannot reach it; custom metrics can, and from there on only their sums are kept.
pub const VALUES_MAX: usize = 10_000;

/// Values and how often each came, and besides them what came as a finished sum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// By the value's place in the order of all floating-point numbers.
    values: BTreeMap<i64, u64>,
    /// What came as a statistic set, of which single values are not known.
    set: Option<Set>,
}

/// A statistic set, as `PutMetricData` takes it instead of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Set {
    /// How many samples it stands for.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The least of them.
    pub minimum: f64,
    /// The greatest of them.
    pub maximum: f64,
}

impl Set {
    fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            sum: self.sum + other.sum,
            minimum: self.minimum.min(other.minimum),
            maximum: self.maximum.max(other.maximum),
        }
    }
}

/// The place of a number in the order of all of them, and the way back: bits of a negative number count downwards.
fn place(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

impl Distribution {
    /// Notes that `value` came `count` times. A value that is no number, or infinite, is none CloudWatch takes: the caller
    /// has refused it before.
    pub fn add(&mut self, value: f64, count: u64) {
        debug_assert!(value.is_finite(), "{value} was let in");
        if count == 0 {
            return;
        }
        let value = if value == 0.0 { 0.0 } else { value }; // -0 and 0 are one value
        let key = place(value.to_bits().cast_signed());
        if self.values.len() >= VALUES_MAX && !self.values.contains_key(&key) {
            self.add_set(Set { count, sum: value * count as f64, minimum: value, maximum: value });
        } else {
            *self.values.entry(key).or_default() += count;
        }
    }

    /// Notes a statistic set. One whose values are known after all, since they are all the same, counts as values; so says
    /// the CloudWatch user guide ("Requirements to use percentiles, trimmed mean, and some other statistics").
    pub fn add_set(&mut self, set: Set) {
        let equal = |one: f64, other: f64| one.total_cmp(&other).is_eq();
        let alike = equal(set.minimum, set.maximum) && equal(set.sum, set.minimum * set.count as f64);
        if set.count > 0 && alike && self.values.len() < VALUES_MAX {
            self.add(set.minimum, set.count);
        } else if set.count > 0 {
            self.set = Some(self.set.map_or(set, |before| before.and(set)));
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (value, count) in other.values() {
            self.add(value, count);
        }
        if let Some(set) = other.set {
            self.add_set(set);
        }
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.set.is_none()
    }

    /// Whether every single value is known and none is negative: what the statistics over ranks and ranges need.
    pub fn is_raw(&self) -> bool {
        self.set.is_none() && self.values().next().is_none_or(|(least, _)| least >= 0.0)
    }

    /// The different values in rising order, each with how often it came.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = (f64, u64)> {
        self.values.iter().map(|(key, count)| (f64::from_bits(place(*key).cast_unsigned()), *count))
    }

    /// How many samples there were.
    pub fn count(&self) -> u64 {
        self.values.values().sum::<u64>() + self.set.map_or(0, |set| set.count)
    }

    /// Their sum.
    pub fn sum(&self) -> f64 {
        self.values().map(|(value, count)| value * count as f64).sum::<f64>() + self.set.map_or(0.0, |set| set.sum)
    }

    /// The least of them, if there is any.
    pub fn minimum(&self) -> Option<f64> {
        let least = self.values().next().map(|(value, _)| value);
        [least, self.set.map(|set| set.minimum)].into_iter().flatten().min_by(f64::total_cmp)
    }

    /// The greatest of them, if there is any.
    pub fn maximum(&self) -> Option<f64> {
        let greatest = self.values().next_back().map(|(value, _)| value);
        [greatest, self.set.map(|set| set.maximum)].into_iter().flatten().max_by(f64::total_cmp)
    }
}

/// A response time in seconds with three significant digits, and never finer than a microsecond: what keeps a minute's
/// different values few. The error is half a per cent at most, far below what one minute differs from the next.
pub fn three_digits(seconds: f64) -> f64 {
    let micros = (seconds.max(0.0) * 1e6).round() as u64;
    let mut step = 1;
    while micros / step >= 1000 {
        step *= 10;
    }
    ((micros + step / 2) / step * step) as f64 / 1e6
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use super::*;

    /// Proves that values come back as they went in and in order, negative ones included.
    #[test]
    fn values_are_kept_exactly_and_in_order() {
        let mut some = Distribution::default();
        for value in [0.25, -3.0, 1e300, 0.0, -0.0, 1e-9, 0.25, -2.5] {
            some.add(value, 1);
        }
        let values: Vec<_> = some.values().collect();
        assert_eq!(values, [(-3.0, 1), (-2.5, 1), (0.0, 2), (1e-9, 1), (0.25, 2), (1e300, 1)]);
        assert_eq!((some.minimum(), some.maximum(), some.count()), (Some(-3.0), Some(1e300), 8));
        assert!(!some.is_raw(), "negative values take the statistics over ranks away");
    }

    /// Proves that merging in any order gives the same, which is what makes two reads of one minute equal.
    #[test]
    fn the_order_of_merging_does_not_show() {
        let parts: Vec<Distribution> = (0..5)
            .map(|part| {
                let mut some = Distribution::default();
                for sample in 0..100 {
                    some.add(three_digits(0.001_7 * f64::from(part + 1) * f64::from(sample % 13 + 1)), 1);
                }
                some
            })
            .collect();
        let (mut forth, mut back) = (Distribution::default(), Distribution::default());
        for part in &parts {
            forth.merge(part);
        }
        for part in parts.iter().rev() {
            back.merge(part);
        }
        assert_eq!(forth, back);
        assert_eq!(forth.sum().to_bits(), back.sum().to_bits());
        assert_eq!(forth.count(), 500);
    }

    /// Proves that a response time keeps three digits, and that a minute of any length stays far below the bound.
    #[test]
    fn response_times_have_three_digits() {
        assert_eq!(three_digits(0.012_345_6), 0.012_3);
        assert_eq!(three_digits(0.999_6), 1.0);
        assert_eq!(three_digits(59.96), 60.0);
        assert_eq!(three_digits(0.000_000_4), 0.0);
        assert_eq!(three_digits(-1.0), 0.0);
        let mut minute = Distribution::default();
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..200_000 {
            minute.add(three_digits(10f64.powf(rng.f64() * 8.0 - 6.0)), 1);
        }
        assert!(minute.values().count() < VALUES_MAX, "{} values", minute.values().count());
        assert_eq!(minute.count(), 200_000);
    }

    /// Proves that a statistic set takes ranks away, unless its values are all the same.
    #[test]
    fn a_set_of_equal_values_is_as_good_as_values() {
        let mut some = Distribution::default();
        some.add_set(Set { count: 4, sum: 8.0, minimum: 2.0, maximum: 2.0 });
        assert!(some.is_raw());
        some.add_set(Set { count: 2, sum: 5.0, minimum: 1.0, maximum: 4.0 });
        assert!(!some.is_raw());
        assert_eq!((some.count(), some.sum(), some.minimum(), some.maximum()), (6, 13.0, Some(1.0), Some(4.0)));
    }
}
