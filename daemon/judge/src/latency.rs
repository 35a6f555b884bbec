//! The latency test: histograms of both sides, compared as a whole and one-sidedly.
//!
//! The source's histogram is cut into eleven bins at quantiles of a reference shape, the target's at the same edges
//! *times the tolerance*. If the target is no slower than tolerated, its bins are then stochastically no greater than
//! the source's, and every likelihood ratio that never falls from bin to bin has an expectation of at most 1 under
//! that, whatever the common distribution is. A wrong reference shape costs power, never validity.

use std::ops::{Deref, Range};

use serde::{Deserialize, Serialize};

use crate::Histogram;
use crate::histogram::BUCKETS;

/// How many bins there are at most.
pub const BINS: usize = 11;
/// Quantiles of the reference at which bins are cut.
const CUTS: [f64; BINS - 1] = [0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.98, 0.99, 0.995, 0.999];
/// The quantiles whose exceedance is followed as a contrast and asked for before a step ends.
pub const SLOW: [f64; 3] = [0.50, 0.90, 0.99];
/// No bin of the reference is thought to be rarer than this.
const MASS_MIN: f64 = 1e-7;
/// How many times slower the whole distribution is thought to be.
const BODY_SHIFTS: [f64; 5] = [1.06, 1.15, 1.4, 2.0, 4.0];
/// How many times slower its slowest part is thought to be.
const TAIL_SHIFTS: [f64; 3] = [1.12, 1.35, 2.0];
/// Which fraction is thought to have become very slow.
const SLOW_FRACTIONS: [f64; 2] = [0.02, 0.2];
/// Where among the alternatives of a shape those stand that move the whole distribution, ...
pub const MOVED_BODY: Range<usize> = 0..BODY_SHIFTS.len();
/// ... those that move its slowest part, ...
pub const MOVED_TAIL: Range<usize> = MOVED_BODY.end..MOVED_BODY.end + TAIL_SHIFTS.len();
/// ... those that make a fraction very slow, ...
pub const MOVED_SLOW: Range<usize> = MOVED_TAIL.end..MOVED_TAIL.end + SLOW_FRACTIONS.len();
/// ... and all of them.
pub const MOVED_ANY: Range<usize> = 0..MOVED_SLOW.end;
/// Fewer durations than this make no reference shape.
pub const SHAPE_MIN: u64 = 200;

/// How many buckets a tolerance on latency is: rounded up, so that it is never stricter than was asked; at most one
/// octave short of the whole histogram, and 0 for what is no tolerance.
///
/// ```
/// use judge::latency::buckets_of;
/// assert_eq!([1.0, 1.044_274, 1.1, 2.0].map(buckets_of), [0, 1, 3, 16]);
/// ```
pub fn buckets_of(ratio: f64) -> u16 {
    let buckets = (ratio.max(1.0).log2() * 16.0 - 1e-4).ceil();
    (buckets.max(0.0) as u16).min(BUCKETS as u16 - 16)
}

/// Which part of the distribution an alternative moves; decides whose dispersion it is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// All of it.
    Body,
    /// The slowest tenth.
    Tail,
}

/// One way in which the target could be slower: the masses its bins would have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// What it moves.
    pub part: Part,
    /// Mass of each bin; sums to 1.
    pub masses: Vec<f64>,
}

/// The reference and the alternatives, as bin masses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// Mass of each bin for a side that is as the reference was.
    pub reference: Vec<f64>,
    /// Ten alternatives: five of the body, five of the tail; equally likely.
    pub alternatives: Vec<Alternative>,
}

/// How many durations fall into each bin; as a plain value, since it is made anew for each block.
///
/// ```
/// let bins: judge::latency::Bins = [3.0, 0.0, 1.0].into_iter().collect();
/// assert_eq!(*bins, [3.0, 0.0, 1.0]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bins {
    counts: [f64; BINS],
    bins: usize,
}

impl Deref for Bins {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        &self.counts[..self.bins]
    }
}

impl FromIterator<f64> for Bins {
    /// The counts of the bins in order; what comes after the eleventh belongs to the eleventh.
    fn from_iter<I: IntoIterator<Item = f64>>(counts: I) -> Self {
        let mut bins = Self::default();
        for count in counts {
            bins.bins = (bins.bins + 1).min(BINS);
            bins.counts[bins.bins - 1] += count;
        }
        bins
    }
}

/// Where a histogram is cut: the last bucket of each bin but the last, ascending; and the buckets of the quantiles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cuts {
    edges: Vec<u16>,
    /// The buckets in which the reference's median, 90 % and 99 % quantile lie.
    pub slow: [u16; 3],
}

impl Cuts {
    /// The cuts of a reference histogram; `None` when it holds fewer than [`SHAPE_MIN`] durations.
    pub fn of(reference: &Histogram) -> Option<Self> {
        if reference.total() < SHAPE_MIN {
            return None;
        }
        let mut edges: Vec<u16> = CUTS.iter().filter_map(|&q| reference.quantile_bucket(q)).collect();
        edges.dedup();
        let [Some(a), Some(b), Some(c)] = SLOW.map(|q| reference.quantile_bucket(q)) else { return None };
        Some(Self { edges, slow: [a, b, c] })
    }

    /// How many durations fall into each bin, the edges moved up by `buckets`.
    pub fn bins(&self, histogram: &Histogram, buckets: u16) -> Bins {
        // Stored cuts may have been spoiled on their way; more edges than bins must not end the process.
        let edges = &self.edges[..self.edges.len().min(BINS - 1)];
        let mut bins = Bins { counts: [0.0; BINS], bins: edges.len() + 1 };
        let mut bin = 0;
        for (bucket, count) in histogram.iter() {
            while edges.get(bin).is_some_and(|edge| edge.saturating_add(buckets) < bucket) {
                bin += 1;
            }
            bins.counts[bin] += count as f64;
        }
        bins
    }

    /// How many durations lie above each of the three quantiles, these moved up by `buckets`.
    pub fn slower(&self, histogram: &Histogram, buckets: u16) -> [f64; 3] {
        self.slow.map(|edge| histogram.above(edge.saturating_add(buckets)) as f64)
    }

    /// The shape of the reference that the cuts were made from, and the alternatives to it.
    pub fn shape(&self, reference: &Histogram) -> Shape {
        let distribution = Distribution::of(reference);
        let mut masses = self.bins(reference, 0).to_vec();
        for mass in &mut masses {
            *mass = (*mass / distribution.total).max(MASS_MIN);
        }
        let masses = normalized(masses);
        let body = BODY_SHIFTS.iter().map(|&shift| {
            let moved = self.masses(|edge| distribution.below(edge - 16.0 * f64::log2(shift)));
            (Part::Body, moved)
        });
        let tail = TAIL_SHIFTS.iter().map(|&shift| {
            let moved = self.masses(|edge| distribution.below(distribution.before_tail_shift(edge, shift)));
            (Part::Tail, moved)
        });
        let slow = SLOW_FRACTIONS.iter().map(|&fraction| {
            let mut moved: Vec<f64> = masses.iter().map(|mass| mass * (1.0 - fraction)).collect();
            let last = moved.len();
            for mass in &mut moved[last.saturating_sub(2)..] {
                *mass += fraction / last.min(2) as f64;
            }
            (Part::Tail, moved)
        });
        let alternatives = body
            .chain(tail)
            .chain(slow)
            .map(|(part, moved)| Alternative { part, masses: monotone_lr(&moved, &masses) })
            .collect();
        Shape { reference: masses, alternatives }
    }

    /// Bin masses of a distribution given by its share below each edge (in buckets).
    fn masses(&self, below: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut last = 0.0;
        let mut masses = Vec::with_capacity(self.edges.len() + 1);
        for &edge in &self.edges {
            let now = below(f64::from(edge)).max(last);
            masses.push(now - last);
            last = now;
        }
        masses.push(1.0 - last);
        masses
    }
}

/// A histogram as a distribution function over (fractional) buckets.
struct Distribution {
    cumulated: Vec<f64>,
    total: f64,
}

impl Distribution {
    fn of(histogram: &Histogram) -> Self {
        let mut cumulated = vec![0.0; BUCKETS];
        for (bucket, count) in histogram.iter() {
            cumulated[usize::from(bucket)] += count as f64;
        }
        let mut sum = 0.0;
        for count in &mut cumulated {
            sum += *count;
            *count = sum;
        }
        Self { cumulated, total: sum.max(1.0) }
    }

    /// The share of durations up to a point, in buckets; linear between the edges of a bucket.
    fn below(&self, at: f64) -> f64 {
        if at <= 0.0 {
            return if at < 0.0 { 0.0 } else { self.cumulated[0] / self.total };
        }
        let low = (at as usize).min(BUCKETS - 1);
        let high = (low + 1).min(BUCKETS - 1);
        let part = (at - low as f64).clamp(0.0, 1.0);
        (self.cumulated[low] + part * (self.cumulated[high] - self.cumulated[low])) / self.total
    }

    /// The duration that a shift of the tail moves to `edge`: nothing moves up to the 90 % quantile, and everything
    /// from the 99 % quantile on by the whole `shift`.
    fn before_tail_shift(&self, edge: f64, shift: f64) -> f64 {
        let moved = |at: f64| {
            let part = ((self.below(at) - 0.9) / 0.09).clamp(0.0, 1.0);
            at + 16.0 * (1.0 + (shift - 1.0) * part).log2()
        };
        let (mut low, mut high) = (edge - 16.0 * shift.log2(), edge);
        for _ in 0..50 {
            let middle = f64::midpoint(low, high);
            if moved(middle) <= edge { low = middle } else { high = middle }
        }
        low
    }
}

fn normalized(mut masses: Vec<f64>) -> Vec<f64> {
    let sum: f64 = masses.iter().sum();
    for mass in &mut masses {
        *mass /= sum;
    }
    masses
}

/// The distribution nearest to `alternative` whose ratio to `reference` never falls from bin to bin.
///
/// Pool adjacent violators (Ayer et al. 1955) on the ratio, weighted by the reference; the result sums to 1 and no bin
/// is rarer than 1e-9 of the reference's. A ratio that never falls is what makes the test one-sided: moving requests
/// to faster bins can then only lower the evidence.
///
/// ```
/// // The ratios 2, 0.5 of the first two bins fall; pooled they are 1.
/// let projected = judge::latency::monotone_lr(&[0.4, 0.2, 0.4], &[0.2, 0.4, 0.4]);
/// assert_eq!(projected, [0.2, 0.4, 0.4]);
/// ```
pub fn monotone_lr(alternative: &[f64], reference: &[f64]) -> Vec<f64> {
    /// Bins that share one ratio: their masses and how many they are.
    struct Pool {
        alternative: f64,
        reference: f64,
        bins: usize,
    }
    let mut pools: Vec<Pool> = Vec::with_capacity(reference.len());
    for (&a, &r) in alternative.iter().zip(reference) {
        pools.push(Pool { alternative: a, reference: r, bins: 1 });
        while let [.., before, last] = &pools[..]
            && before.alternative * last.reference > last.alternative * before.reference
        {
            let (alternative, reference, bins) = (last.alternative, last.reference, last.bins);
            pools.pop();
            let before = pools.last_mut().expect("the pattern above saw it");
            before.alternative += alternative;
            before.reference += reference;
            before.bins += bins;
        }
    }
    let mut projected = Vec::with_capacity(reference.len());
    for pool in &pools {
        // A lone bin keeps its mass to the last digit.
        let ratio = (pool.alternative / pool.reference).max(1e-9);
        for _ in 0..pool.bins {
            let r = reference[projected.len()];
            projected.push(if pool.bins == 1 && ratio > 1e-9 { pool.alternative } else { ratio * r });
        }
    }
    normalized(projected)
}

/// Log of the e-variable of one alternative: how much better it explains the bins of both sides than one common
/// distribution does. 0 when either side is empty.
///
/// ```
/// // 10 of 10 slow against 50 of 100, betting that 90 % are slow: 10 ln(0.9/0.5364) + 50 ln(0.5/0.5364) + 50 ln(...).
/// let log_e = judge::latency::log_e_bins(&[0.0, 10.0], &[50.0, 50.0], &[0.1, 0.9], &[0.5, 0.5]);
/// let common = [(10.0 * 0.1 + 100.0 * 0.5) / 110.0, (10.0 * 0.9 + 100.0 * 0.5) / 110.0];
/// let worked = 10.0 * f64::ln(0.9 / common[1]) + 50.0 * f64::ln(0.5 / common[0]) + 50.0 * f64::ln(0.5 / common[1]);
/// assert!((log_e - worked).abs() < 1e-12);
/// ```
pub fn log_e_bins(target: &[f64], source: &[f64], alternative: &[f64], reference: &[f64]) -> f64 {
    let (nt, ns): (f64, f64) = (target.iter().sum(), source.iter().sum());
    if nt <= 0.0 || ns <= 0.0 {
        return 0.0;
    }
    let (wt, ws) = (nt / (nt + ns), ns / (nt + ns));
    let mut sum = 0.0;
    for (((&t, &s), &a), &r) in target.iter().zip(source).zip(alternative).zip(reference) {
        let common = wt * a + ws * r;
        // Most bins of a second are empty, and a logarithm costs more than a look.
        if t > 0.0 {
            sum += t * (a / common).ln();
        }
        if s > 0.0 {
            sum += s * (r / common).ln();
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masses(bins: usize) -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(0.001f64..1.0, bins).prop_map(normalized)
    }

    /// `E[e]` over all ways in which one target and two source requests fall into three bins.
    fn expectation(target: &[f64], source: &[f64], alternative: &[f64], reference: &[f64]) -> f64 {
        let mut sum = 0.0;
        for t in 0..3 {
            for s in 0..3 {
                for u in 0..3 {
                    let (mut ht, mut hs) = ([0.0; 3], [0.0; 3]);
                    ht[t] += 1.0;
                    hs[s] += 1.0;
                    hs[u] += 1.0;
                    let chance = target[t] * source[s] * source[u];
                    sum += chance * log_e_bins(&ht, &hs, alternative, reference).exp();
                }
            }
        }
        sum
    }

    proptest! {
        #[test]
        fn equal_or_faster_targets_are_never_expected_to_win(
            common in masses(3), alternative in masses(3), reference in masses(3), faster in 0.0f64..1.0,
        ) {
            // By enumeration: any common distribution, not only the reference; and a target that is faster than it.
            let alternative = monotone_lr(&alternative, &reference);
            let same = expectation(&common, &common, &alternative, &reference);
            prop_assert!(same <= 1.0 + 1e-9, "{same}");
            let quick = [
                common[0] + faster * common[1],
                common[1] * (1.0 - faster) + faster * common[2],
                common[2] * (1.0 - faster),
            ];
            let quicker = expectation(&quick, &common, &alternative, &reference);
            prop_assert!(quicker <= 1.0 + 1e-9, "{quicker}");
        }

        #[test]
        fn no_small_table_of_equal_sides_is_expected_to_win(
            common in masses(4), alternative in masses(4), reference in masses(4), nt in 1usize..4, ns in 1usize..4,
        ) {
            // By enumeration of every way in which up to three requests of each side fall into four bins.
            let alternative = monotone_lr(&alternative, &reference);
            let mut sum = 0.0;
            for way in 0..4usize.pow((nt + ns) as u32) {
                let (mut target, mut source, mut chance, mut rest) = ([0.0; 4], [0.0; 4], 1.0, way);
                for request in 0..nt + ns {
                    let side = if request < nt { &mut target } else { &mut source };
                    side[rest % 4] += 1.0;
                    chance *= common[rest % 4];
                    rest /= 4;
                }
                sum += chance * log_e_bins(&target, &source, &alternative, &reference).exp();
            }
            prop_assert!(sum <= 1.0 + 1e-9, "{sum}");
        }

        #[test]
        fn slower_answers_never_lower_the_evidence(
            alternative in masses(5), reference in masses(5), target in prop::collection::vec(0u32..50, 5),
            source in prop::collection::vec(1u32..50, 5), from in 0usize..4,
        ) {
            let alternative = monotone_lr(&alternative, &reference);
            let target: Vec<f64> = target.into_iter().map(f64::from).collect();
            let source: Vec<f64> = source.into_iter().map(f64::from).collect();
            prop_assume!(target[from] >= 1.0);
            let mut slower = target.clone();
            slower[from] -= 1.0;
            slower[from + 1] += 1.0;
            prop_assert!(
                log_e_bins(&slower, &source, &alternative, &reference)
                    >= log_e_bins(&target, &source, &alternative, &reference) - 1e-9
            );
        }

        #[test]
        fn any_histogram_gives_a_shape(counts in prop::collection::vec((0u16..520, 1u64..u64::MAX / 64), 1..40)) {
            // Whatever the reference, its masses and those of the alternatives are above zero and sum to one, and the
            // ratios never fall.
            let mut histogram = Histogram::default();
            for (bucket, count) in counts {
                histogram.add(bucket, count);
            }
            let Some(cuts) = Cuts::of(&histogram) else { return Ok(()) };
            let shape = cuts.shape(&histogram);
            prop_assert!((shape.reference.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            for alternative in &shape.alternatives {
                prop_assert!((alternative.masses.iter().sum::<f64>() - 1.0).abs() < 1e-9);
                prop_assert!(alternative.masses.iter().all(|&mass| mass > 0.0));
                let ratios: Vec<f64> = alternative.masses.iter().zip(&shape.reference).map(|(a, r)| a / r).collect();
                prop_assert!(ratios.windows(2).all(|pair| pair[1] >= pair[0] * (1.0 - 1e-9)), "{ratios:?}");
            }
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "counts are whole")]
    fn the_tolerance_is_a_shift_of_the_targets_edges() {
        // A target that is slower by exactly the tolerance falls into the same bins as the source.
        let (mut source, mut target) = (Histogram::default(), Histogram::default());
        for bucket in 100..200u16 {
            source.add(bucket, u64::from(bucket));
            target.add(bucket + 1, u64::from(bucket));
        }
        let cuts = Cuts::of(&source).unwrap();
        assert_eq!(*cuts.bins(&source, 0), *cuts.bins(&target, 1));
        assert_eq!(cuts.slower(&source, 0), cuts.slower(&target, 1));
    }
}
