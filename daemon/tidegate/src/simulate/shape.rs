//! How long answers take: a recorded histogram, cut into cells that are drawn one by one.
//!
//! Drawing a histogram of a hundred buckets for each moment would cost more than all the rest. So a moment draws only how
//! many answers fall into each *cell*, and the buckets inside of a cell are drawn for a whole window, when it is counted.
//! Cells are cut at the quantiles by which the judge measures dispersion (each part of the distribution wanders by itself)
//! and at the limits of the policy's latency tripwires (so that a moment knows whether one may fire).

use judge::Histogram;
use judge::latency::SLOW;

use super::chance::{Stream, binomial, uniform};

/// Parts of a distribution that wander by themselves: up to the median, to the 90 % and the 99 % quantile, and beyond.
pub(super) const TIERS: usize = SLOW.len() + 1;
/// The most limits that cells are cut at; a tripwire above the highest is looked at as if it had that one's limit.
pub(super) const LIMITS_MAX: usize = 3;
/// The most cells of a distribution.
pub(super) const CELLS: usize = TIERS * (LIMITS_MAX + 1);
/// The quickest answers, up to this quantile, lie in one bucket: the judge's lowest edge is at 10 %.
const QUICKEST: f64 = 0.05;
/// Buckets a duration that doubles moves up.
const BUCKETS_AN_OCTAVE: f64 = 16.0;

/// How many answers fell into each cell.
pub(super) type Cells = [u64; CELLS];

/// Which way answers of the target get slower.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Slower {
    /// All of them take this many times as long.
    All(f64),
    /// The slowest tenth does, from none at the 90 % quantile to this many times at the 99 % quantile and beyond.
    Tail(f64),
}

/// A distribution of durations.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    cells: Vec<Cell>,
    /// The share of all answers in each tier.
    tiers: [f64; TIERS],
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
struct Cell {
    /// Where it is counted.
    index: usize,
    tier: usize,
    /// How many limits its answers lie above.
    above: usize,
    /// The share of all answers.
    mass: f64,
    /// Its buckets, and the share of the cell up to and with each.
    buckets: Vec<(u16, f64)>,
    /// The same as a table of which any place is as likely as another (Walker 1977): what lies below this part of a place
    /// is an answer of its own bucket, the rest one of another's.
    table: Vec<(f64, usize)>,
}

impl Shape {
    /// A recorded distribution, cut at `limits` (milliseconds, ascending, at most [`LIMITS_MAX`]); `None` when nothing is
    /// recorded.
    pub(super) fn of(recorded: &Histogram, limits: &[f64], slower: Option<Slower>) -> Option<Self> {
        let total = recorded.total() as f64;
        if total <= 0.0 {
            return None;
        }
        let edges = SLOW.map(|q| recorded.quantile_bucket(q).unwrap_or(0));
        let lowest = recorded.quantile_bucket(QUICKEST).unwrap_or(0);
        // A tripwire's figure is the upper edge of a bucket, so a bucket belongs above a limit when its upper edge does.
        let above =
            |bucket: u16| limits.iter().filter(|&&limit| Histogram::upper_micros(bucket) / 1_000.0 >= limit).count();
        let mut masses: Vec<Vec<(u16, f64)>> = vec![Vec::new(); CELLS];
        let mut below = 0.0;
        for (bucket, count) in recorded.iter() {
            let mass = count as f64 / total;
            let tier = edges.iter().filter(|&&edge| bucket > edge).count();
            let factor = match slower {
                None => 1.0,
                Some(Slower::All(factor)) => factor,
                Some(Slower::Tail(factor)) => {
                    let reach = ((below + mass / 2.0 - 0.90) / 0.09).clamp(0.0, 1.0);
                    1.0 + (factor - 1.0) * reach
                }
            };
            below += mass;
            for (bucket, mass) in moved(bucket.max(lowest), mass, factor) {
                masses[tier * (LIMITS_MAX + 1) + above(bucket).min(LIMITS_MAX)].push((bucket, mass));
            }
        }
        let mut tiers = [0.0; TIERS];
        let mut cells = Vec::new();
        for (index, mut buckets) in masses.into_iter().enumerate() {
            let mass: f64 = buckets.iter().map(|&(_, mass)| mass).sum();
            if mass <= 0.0 {
                continue;
            }
            buckets.sort_by_key(|&(bucket, _)| bucket);
            buckets.dedup_by(|next, kept| {
                let same = next.0 == kept.0;
                kept.1 += if same { next.1 } else { 0.0 };
                same
            });
            let table = table(&buckets, mass);
            let mut up_to = 0.0;
            for (_, share) in &mut buckets {
                up_to += *share / mass;
                *share = up_to;
            }
            let (tier, above) = (index / (LIMITS_MAX + 1), index % (LIMITS_MAX + 1));
            tiers[tier] += mass;
            cells.push(Cell { index, tier, above, mass, buckets, table });
        }
        Some(Self { cells, tiers })
    }

    /// What the cells of each tier are multiplied by when the tiers above the median are `factors` times what they were;
    /// the first tier gives or takes what that needs.
    fn weights(&self, factors: [f64; TIERS - 1]) -> [f64; TIERS] {
        /// What stays at least in the first tier, or the distribution would be no distribution.
        const REST_MIN: f64 = 0.02;
        let slow: f64 = factors.iter().zip(&self.tiers[1..]).map(|(factor, tier)| factor * tier).sum();
        let held = if slow > 1.0 - REST_MIN { (1.0 - REST_MIN) / slow } else { 1.0 };
        let mut weights = [1.0; TIERS];
        if self.tiers[0] > 0.0 {
            weights[0] = (1.0 - slow * held) / self.tiers[0];
        }
        for (weight, factor) in weights[1..].iter_mut().zip(factors) {
            *weight = factor * held;
        }
        weights
    }

    /// Draws into which cells `answers` fall.
    pub(super) fn draw(&self, answers: u64, factors: [f64; TIERS - 1], rng: &mut Stream) -> Cells {
        let weights = self.weights(factors);
        let mut cells = [0; CELLS];
        let mut left = answers;
        let mut rest: f64 = self.cells.iter().map(|cell| cell.mass * weights[cell.tier]).sum();
        for cell in &self.cells {
            if left == 0 {
                break;
            }
            let mass = cell.mass * weights[cell.tier];
            let here = if rest <= mass { left } else { binomial(rng, left, mass / rest) };
            cells[cell.index] = here;
            left -= here;
            rest -= mass;
        }
        cells
    }

    /// The share of answers above the `limit`th limit (from 0).
    pub(super) fn share_above(&self, limit: usize, factors: [f64; TIERS - 1]) -> f64 {
        let weights = self.weights(factors);
        self.cells.iter().filter(|cell| cell.above > limit).map(|cell| cell.mass * weights[cell.tier]).sum()
    }

    /// Draws the buckets of the answers in each cell into `histogram`.
    pub(super) fn fill(&self, cells: &Cells, rng: &mut Stream, histogram: &mut Histogram) {
        /// Up to so many answers for each bucket, one draw an answer is quicker than one draw a bucket.
        const ONE_BY_ONE: u64 = 16;
        let mut drawn: Vec<u64> = Vec::new();
        for cell in &self.cells {
            let answers = cells[cell.index];
            if answers == 0 {
                continue;
            }
            drawn.clear();
            drawn.resize(cell.buckets.len(), 0);
            if answers <= ONE_BY_ONE * cell.buckets.len() as u64 {
                let (places, last) = (cell.table.len() as f64, cell.table.len() - 1);
                for _ in 0..answers {
                    let point = uniform(rng) * places;
                    let place = (point as usize).min(last);
                    let (own, other) = cell.table[place];
                    drawn[if point - (place as f64) < own { place } else { other }] += 1;
                }
            } else {
                let (mut left, mut below) = (answers, 0.0);
                for (drawn, &(_, up_to)) in drawn.iter_mut().zip(&cell.buckets) {
                    // What rounding leaves of the last bucket is not worth a draw.
                    let rest = up_to >= 1.0 - 1e-12;
                    *drawn = if rest { left } else { binomial(rng, left, (up_to - below) / (1.0 - below)) };
                    left -= *drawn;
                    below = up_to;
                }
            }
            for (&answers, &(bucket, _)) in drawn.iter().zip(&cell.buckets) {
                histogram.add(bucket, answers);
            }
        }
    }
}

/// The table of buckets that hold these parts of `mass`, made as Vose does (1991).
fn table(buckets: &[(u16, f64)], mass: f64) -> Vec<(f64, usize)> {
    let mut left: Vec<f64> = buckets.iter().map(|&(_, part)| part / mass * buckets.len() as f64).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..left.len()).partition(|&at| left[at] < 1.0);
    let mut table: Vec<(f64, usize)> = (0..left.len()).map(|at| (1.0, at)).collect();
    while let (Some(&from), Some(at)) = (large.last(), small.pop()) {
        table[at] = (left[at], from);
        left[from] -= 1.0 - left[at];
        if left[from] < 1.0 {
            large.pop();
            small.push(from);
        }
    }
    // What rounding leaves on either side is a whole place of its own.
    table
}

/// How many answers of `cells` lie above the `limit`th limit (from 0).
pub(super) fn above(cells: &Cells, limit: usize) -> u64 {
    cells.iter().enumerate().filter(|(index, _)| index % (LIMITS_MAX + 1) > limit).map(|(_, count)| count).sum()
}

/// Where a bucket's mass goes when its durations are `factor` times as long: between two buckets, in the proportion in
/// which the factor lies between theirs.
fn moved(bucket: u16, mass: f64, factor: f64) -> [(u16, f64); 2] {
    let up = factor.max(f64::MIN_POSITIVE).log2() * BUCKETS_AN_OCTAVE;
    let part = up - up.floor();
    let at = |steps: f64| (f64::from(bucket) + steps).clamp(0.0, (judge::histogram::BUCKETS - 1) as f64) as u16;
    [(at(up.floor()), mass * (1.0 - part)), (at(up.floor() + 1.0), mass * part)]
}

#[cfg(test)]
mod tests {
    use super::super::chance::{Purpose, stream};
    use super::*;

    /// Twenty thousand answers between 1 ms and about 30 ms, as a lognormal has them.
    fn recorded() -> Histogram {
        let mut histogram = Histogram::default();
        for step in -40..=40i32 {
            let z = f64::from(step) / 10.0;
            let count = (20_000.0 * 0.1 * (-z * z / 2.0).exp() / 2.506_628) as u64;
            histogram.record((5_000.0 * (0.7 * z).exp()) as u64, count);
        }
        histogram
    }

    fn filled(shape: &Shape, answers: u64, factors: [f64; TIERS - 1]) -> Histogram {
        let mut rng = stream(5, Purpose::Latencies, 0);
        let cells = shape.draw(answers, factors, &mut rng);
        assert_eq!(cells.iter().sum::<u64>(), answers);
        let mut histogram = Histogram::default();
        shape.fill(&cells, &mut rng, &mut histogram);
        assert_eq!(histogram.total(), answers);
        histogram
    }

    /// Proves that what is drawn has the distribution that was recorded, bucket by bucket (a chi-squared test).
    #[test]
    fn drawn_answers_have_the_recorded_distribution() {
        let recorded = recorded();
        let shape = Shape::of(&recorded, &[10.0, 25.0], None).unwrap();
        for answers in [200_000, 40] {
            let drawn = filled(&shape, answers, [1.0; TIERS - 1]);
            let scale = answers as f64 / recorded.total() as f64;
            let (mut squares, mut degrees) = (0.0, 0.0);
            let lowest = recorded.quantile_bucket(QUICKEST).unwrap();
            let told = |(bucket, count): &(u16, u64)| *bucket > lowest && *count as f64 * scale >= 1.0;
            for (bucket, count) in recorded.iter().filter(told) {
                let expected = count as f64 * scale;
                squares += (drawn.count_of(bucket) as f64 - expected).powi(2) / expected;
                degrees += 1.0;
            }
            assert!(squares < degrees + 5.0 * f64::sqrt(2.0 * degrees), "{squares} of {degrees}");
        }
    }

    /// Proves that a target twice as slow has twice the quantiles, and one with a slow tail its old median.
    #[test]
    fn a_slower_target_has_slower_quantiles() {
        let recorded = recorded();
        let quantile = |histogram: &Histogram, q| histogram.quantile_micros(q).unwrap();
        let of = |slower| filled(&Shape::of(&recorded, &[], slower).unwrap(), 400_000, [1.0; TIERS - 1]);
        let (base, all, tail) = (of(None), of(Some(Slower::All(2.0))), of(Some(Slower::Tail(2.0))));
        let near = |ratio: f64, wanted: f64| assert!((ratio / wanted - 1.0).abs() < 0.05, "{ratio}, not {wanted}");
        for q in [0.1, 0.5, 0.9, 0.99] {
            near(quantile(&all, q) / quantile(&base, q), 2.0);
        }
        near(quantile(&tail, 0.5) / quantile(&base, 0.5), 1.0);
        near(quantile(&tail, 0.995) / quantile(&base, 0.995), 2.0);
    }

    /// Proves that answers above a limit are counted as the tripwire counts them, before their buckets are drawn.
    #[test]
    fn cells_know_what_lies_above_a_limit() {
        let shape = Shape::of(&recorded(), &[10.0, 25.0], Some(Slower::All(1.5))).unwrap();
        let mut rng = stream(6, Purpose::Latencies, 0);
        let cells = shape.draw(50_000, [1.2, 0.8, 2.0], &mut rng);
        let mut histogram = Histogram::default();
        shape.fill(&cells, &mut rng, &mut histogram);
        for (index, limit) in [10.0, 25.0].into_iter().enumerate() {
            let counted: u64 = histogram
                .iter()
                .filter(|(bucket, _)| Histogram::upper_micros(*bucket) >= limit * 1_000.0)
                .map(|(_, n)| n)
                .sum();
            assert_eq!(above(&cells, index), counted);
            let expected = shape.share_above(index, [1.2, 0.8, 2.0]);
            let error = 5.0 * (expected / 50_000.0).sqrt();
            assert!((counted as f64 / 50_000.0 - expected).abs() < error, "{counted} of 50,000, not {expected}");
        }
    }

    /// Proves that more slow answers come at the cost of quick ones, and that even absurd factors leave a distribution.
    #[test]
    fn tiers_that_grow_take_from_the_first() {
        let recorded = recorded();
        let shape = Shape::of(&recorded, &[], None).unwrap();
        let drawn = filled(&shape, 100_000, [1.0, 1.0, 3.0]);
        let slow = recorded.quantile_bucket(0.99).unwrap();
        let beyond = |histogram: &Histogram| histogram.above(slow) as f64 / histogram.total() as f64;
        assert!((beyond(&drawn) / beyond(&recorded) - 3.0).abs() < 0.4, "{}", beyond(&drawn));
        let weights = shape.weights([1e9; TIERS - 1]);
        let sum: f64 = weights.iter().zip(shape.tiers).map(|(weight, tier)| weight * tier).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    }
}
