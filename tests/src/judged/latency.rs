//! How long answers take in one minute on one side, as chances of histogram buckets.

use std::sync::OnceLock;

use judge::histogram::BUCKETS;
use statrs::function::erf::erfc;

use super::world::PAUSE_MILLIS;

/// The median of an answer that does not wait for a pause, in microseconds.
const MEDIAN_MICROS: f64 = 60_000.0;
/// The standard deviation of its log.
const SIGMA: f64 = 0.7;
/// The standard deviation of the log of one that does.
const PAUSE_SIGMA: f64 = 0.3;
/// Natural logs to buckets: a bucket is a sixteenth of an octave.
const BUCKETS_A_LOG: f64 = 16.0 / std::f64::consts::LN_2;
/// What lies further out than this many deviations is counted with what lies there.
const DEVIATIONS: f64 = 5.0;
/// How many points of the normal distribution are tabled to one deviation; between them it is taken as linear, which is
/// off by less than one in a million.
const POINTS: usize = 512;

/// The normal distribution's share below so many deviations.
pub fn normal_below(deviations: f64) -> f64 {
    static TABLE: OnceLock<Vec<f64>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let points = (2.0 * DEVIATIONS) as usize * POINTS;
        let below = |point: usize| 0.5 * erfc(-(point as f64 / POINTS as f64 - DEVIATIONS) / std::f64::consts::SQRT_2);
        (0..=points).map(below).collect()
    });
    let at = (deviations + DEVIATIONS) * POINTS as f64;
    if at <= 0.0 {
        return 0.0;
    }
    let low = at as usize;
    match table.get(low + 1) {
        Some(next) => table[low] + (at - low as f64) * (next - table[low]),
        None => 1.0,
    }
}

/// How the answers of one side are spread in one minute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The log of a factor on every answer that waits for no pause.
    pub shift: f64,
    /// A factor on the slowest hundredth, rising from 1 at the 90 % quantile: `1 + (tail - 1) clip((u - 0.9) / 0.09)`.
    pub tail: f64,
    /// The share of answers that wait for a pause.
    pub paused: f64,
    /// The median of those, in milliseconds.
    pub pause_millis: f64,
}

impl Spread {
    /// The service as it is: no jitter, no pause, no fault.
    pub const USUAL: Self = Self { shift: 0.0, tail: 1.0, paused: 0.0, pause_millis: PAUSE_MILLIS };

    /// The natural log of the median of an answer that waits for a pause, in microseconds.
    fn pause_log_micros(&self) -> f64 {
        (self.pause_millis * 1000.0).ln()
    }

    /// The share of answers up to a point, given as a natural log of microseconds.
    fn below(&self, log_micros: f64) -> f64 {
        let usual = normal_below(self.before_tail(log_micros - MEDIAN_MICROS.ln() - self.shift));
        if self.paused > 0.0 {
            let paused = normal_below((log_micros - self.pause_log_micros()) / PAUSE_SIGMA);
            (1.0 - self.paused) * usual + self.paused * paused
        } else {
            usual
        }
    }

    /// How many deviations from the median an answer was before its tail was stretched to `distance` (a natural log).
    fn before_tail(&self, distance: f64) -> f64 {
        let stretched = |z: f64| {
            let part = ((normal_below(z) - 0.9) / 0.09).clamp(0.0, 1.0);
            SIGMA * z + (1.0 + (self.tail - 1.0) * part).ln()
        };
        // The 90 % and 99 % quantiles of the normal distribution.
        let (from, to) = (1.281_551_565_544_6, 2.326_347_874_040_84);
        if (self.tail - 1.0).abs() < 1e-12 || distance <= SIGMA * from {
            return distance / SIGMA;
        }
        if distance >= SIGMA * to + self.tail.ln() {
            return (distance - self.tail.ln()) / SIGMA;
        }
        let (mut low, mut high) = (from, to);
        for _ in 0..40 {
            let middle = f64::midpoint(low, high);
            if stretched(middle) <= distance { low = middle } else { high = middle }
        }
        low
    }

    /// The first bucket that matters, and the chance of it and of each after it; they sum to 1.
    pub fn masses(&self, masses: &mut Vec<f64>) -> u16 {
        masses.clear();
        let centre = MEDIAN_MICROS.ln() + self.shift;
        let first = ((centre - DEVIATIONS * SIGMA) * BUCKETS_A_LOG).floor().clamp(0.0, BUCKETS as f64 - 1.0);
        let mut top = centre + DEVIATIONS * SIGMA + self.tail.ln().max(0.0);
        if self.paused > 0.0 {
            top = top.max(self.pause_log_micros() + DEVIATIONS * PAUSE_SIGMA);
        }
        let last = (top * BUCKETS_A_LOG).ceil().clamp(first, BUCKETS as f64 - 1.0);
        let mut before = 0.0;
        let mut bucket = first;
        while bucket < last {
            let below = self.below(bucket / BUCKETS_A_LOG).max(before);
            masses.push(below - before);
            before = below;
            bucket += 1.0;
        }
        masses.push(1.0 - before);
        first as u16
    }
}

#[cfg(test)]
mod tests {
    use judge::Histogram;

    use super::*;

    /// The quantile of a spread, in milliseconds.
    fn quantile(spread: Spread, q: f64) -> f64 {
        let mut masses = Vec::new();
        let first = spread.masses(&mut masses);
        let mut histogram = Histogram::default();
        for (at, mass) in masses.iter().enumerate() {
            histogram.add(first + at as u16, (mass * 1e9) as u64);
        }
        histogram.quantile_micros(q).unwrap() / 1000.0
    }

    #[test]
    fn the_table_is_the_normal_distribution() {
        for (z, below) in [(0.0, 0.5), (1.0, 0.841_344_746), (-2.5, 0.006_209_665), (3.3, 0.999_516_576)] {
            assert!((normal_below(z) - below).abs() < 1e-6, "{z}");
        }
        assert!(normal_below(-9.0) <= 0.0 && normal_below(9.0) >= 1.0);
    }

    #[test]
    fn the_usual_spread_is_the_log_normal_of_its_description() {
        // Quantiles of exp(0.7 z) times 60 ms, to the bucket (4.4 %).
        for (q, millis) in [(0.5, 60.0), (0.9, 147.1), (0.99, 305.8)] {
            let seen = quantile(Spread::USUAL, q);
            assert!((1.0..1.05).contains(&(seen / millis)), "{q}: {seen}");
        }
        for spread in [Spread::USUAL, Spread { shift: 0.3, tail: 2.0, paused: 0.05, ..Spread::USUAL }] {
            let mut masses = Vec::new();
            spread.masses(&mut masses);
            assert!((masses.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!(masses.iter().all(|&mass| mass >= 0.0));
        }
    }

    #[test]
    fn a_slow_tail_leaves_the_body_alone() {
        let slow = Spread { tail: 1.5, ..Spread::USUAL };
        assert!((quantile(slow, 0.5) / quantile(Spread::USUAL, 0.5) - 1.0).abs() < 1e-9);
        let ratio = quantile(slow, 0.99) / quantile(Spread::USUAL, 0.99);
        assert!((ratio / 1.5 - 1.0).abs() < 0.05, "{ratio}");
        // Two in a hundred that wait for a pause are about the slowest two: their median is the 99 % quantile.
        let paused = quantile(Spread { paused: 0.02, ..Spread::USUAL }, 0.99);
        assert!((450.0..560.0).contains(&paused), "{paused}");
    }
}
