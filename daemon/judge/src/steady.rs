//! A target that is steadily a little slower: minute for minute, without asking how much minutes scatter.
//!
//! The other tests on latency count every answer as a witness of its own and divide what they say by the dispersion of
//! minutes, which nobody knows at the beginning and which must then be thought large. This one takes each burst (a minute)
//! as *one* witness: how much slower was the target than the source in it, in numbers `z` that a target at its tolerance
//! has above 0 no more often, and by no more, than below? Whoever bets on the sign of such a number, more on a large one
//! than on a small one, cannot be expected to win: `E[1 + tanh(k z)] <= 1` for every `z` that is as likely to be `x` as
//! `-x` or tends to be lower, whatever its spread, and whatever `k > 0` was settled before (the sign test of Dixon and Mood
//! 1946 as a bet; the general form is in Ramdas and others, "Admissible anytime-valid sequential inference must rely on
//! nonnegative martingales", arXiv 2009.03167, under symmetry). A burst can at most double the wealth, so that no cap is
//! needed: pauses of one side weigh no more than a coin that fell on it.
//!
//! What is assumed is symmetry: that the sides' own good and bad minutes are alike. That a side which wanders stays where it
//! is for minutes breaks the independence of the coins; the wealth is therefore divided as the dispersion's `psi` is. What
//! is given up: nothing is seen within a burst, and a disaster takes as long as a trifle, which others see at once.

use serde::{Deserialize, Serialize};

use crate::latency::{Bins, MOVED_BODY, MOVED_TAIL, Shape};

/// The ways of being slower that are looked for: a little in the body, a little in the tail.
pub const WAYS: usize = 2;
/// Where they stand among a shape's alternatives: the smallest shifts of each part.
const ALTERNATIVES: [usize; WAYS] = [MOVED_BODY.start, MOVED_TAIL.start];
/// What the memory of a way keeps of the past with each burst.
const KEEP: f64 = 0.9;
/// For how many bursts the first guess counts, ...
const GUESS_BURSTS: f64 = 2.0;
/// ... which is that the target is slower by one deviation, ...
const GUESS: f64 = 1.0;
/// ... and how far the bets may go: not below this, or nothing could be won back, ...
const BET_MIN: f64 = 0.3;
/// ... and not above, or one burst on the other side would lose everything.
const BET_MAX: f64 = 3.0;
/// A variance below this is an accident of few bursts.
const VARIANCE_MIN: f64 = 0.3;
/// With so many answers (`n m / (n + m)`, `n` and `m` those of the sides) chance moves a minute as much as it does that
/// each side wanders by a quarter of a percent, and stays there for minutes. So the more traffic there is, the less is a
/// minute a witness of its own; what is steady in much traffic is found by the other guards at once.
const WANDERING_ANSWERS: f64 = 40_000.0;
/// The part of the wealth that is bet at most.
const STAKE_MAX: f64 = 0.999_99;
/// Autocorrelation is not thought to be higher than this.
const RHO_MAX: f64 = 0.9;

/// One side's scores in a burst that is not complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Scores {
    answers: f64,
    sums: [f64; WAYS],
}

impl Scores {
    fn add(&mut self, bins: &Bins, shape: &Shape) {
        self.answers += bins.iter().sum::<f64>();
        for (sum, alternative) in self.sums.iter_mut().zip(ALTERNATIVES) {
            *sum += bins.iter().enumerate().map(|(bin, count)| count * score(shape, alternative, bin)).sum::<f64>();
        }
    }

    fn mean(&self, way: usize) -> f64 {
        self.sums[way] / self.answers
    }
}

/// How much an answer in a bin speaks for an alternative; never falls from bin to bin.
fn score(shape: &Shape, alternative: usize, bin: usize) -> f64 {
    let masses = shape.alternatives.get(alternative).and_then(|alternative| alternative.masses.get(bin));
    match (masses, shape.reference.get(bin)) {
        (Some(a), Some(r)) => (a / r).ln(),
        _ => 0.0,
    }
}

/// The variance of the score over the reference; settled before the burst, so that a slower answer only adds to `z`.
fn variance(shape: &Shape, alternative: usize) -> f64 {
    let (mut mean, mut square) = (0.0, 0.0);
    for (bin, mass) in shape.reference.iter().enumerate() {
        let score = score(shape, alternative, bin);
        mean += mass * score;
        square += mass * score * score;
    }
    square - mean * mean
}

/// What is remembered of one way of being slower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Memory {
    bursts: f64,
    sum: f64,
    squares: f64,
    /// What is left of the last `z` when its guess is taken off, and sums for the autocorrelation of that.
    last: Option<f64>,
    products: f64,
    roots: f64,
    pairs: f64,
}

impl Memory {
    fn mean(&self) -> f64 {
        (self.sum + GUESS * GUESS_BURSTS) / (self.bursts + GUESS_BURSTS)
    }

    /// `k`: what wins most against a normal distribution of this mean and variance.
    fn bet(&self) -> f64 {
        let mean = self.mean();
        let square = (self.squares + (1.0 + GUESS * GUESS) * GUESS_BURSTS) / (self.bursts + GUESS_BURSTS);
        (mean / (square - mean * mean).max(VARIANCE_MIN)).clamp(BET_MIN, BET_MAX)
    }

    /// How many bursts say no more than one does: `(1 + rho) / (1 - rho)`, `rho` as far as it is more than chance.
    fn psi(&self) -> f64 {
        if self.roots <= 0.0 {
            return 1.0;
        }
        let rho = (self.products / self.roots - 1.0 / self.pairs.sqrt()).clamp(0.0, RHO_MAX);
        (1.0 + rho) / (1.0 - rho)
    }

    fn learn(&mut self, z: f64) {
        let rest = z - self.mean();
        if let Some(last) = self.last {
            self.products += last * rest;
            self.roots += rest * rest;
            self.pairs += 1.0;
        }
        self.last = Some(rest);
        self.bursts = KEEP * self.bursts + 1.0;
        self.sum = KEEP * self.sum + z;
        self.squares = KEEP * self.squares + z * z;
    }
}

/// Follows whether the target is steadily slower than its tolerance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Steady {
    millis: u64,
    target: Scores,
    source: Scores,
    memory: [Memory; WAYS],
}

impl Steady {
    /// Adds a block and gives the log evidence of each way: 0 but at the end of a burst. Bins of the target are those
    /// whose edges were moved by the tolerance. A step that begins before a burst has ended begins a new one, since what
    /// was counted at different weights cannot be added up.
    ///
    /// ```
    /// use judge::latency::{Alternative, Bins, Part, Shape};
    /// use judge::steady::Steady;
    /// // Two bins; a slower target has 60 % above the median. A score is ln(0.8) or ln(1.2), of variance 0.0411; in both,
    /// // 60 of 100 against 500 of 1000 are z = 0.1 (ln 1.2 - ln 0.8) / sqrt(0.0411 (1/100 + 1/1000)) = 1.907.
    /// let slower = Alternative { part: Part::Body, masses: vec![0.4, 0.6] };
    /// let shape = Shape { reference: vec![0.5, 0.5], alternatives: vec![slower; 10] };
    /// let bins = |counts: [f64; 2]| -> Bins { counts.into_iter().collect() };
    /// let evidence = Steady::default().observe(&shape, &bins([40.0, 60.0]), &bins([500.0, 500.0]), 60_000, 60_000, true);
    /// // The first bet is on one deviation, and 91 answers wander hardly: ln(1 + tanh(1.907)) / (1 + 91 / 40 000).
    /// assert!((evidence[0] - 0.6701).abs() < 1e-3 && evidence[0] == evidence[1]);
    /// ```
    pub fn observe(
        &mut self,
        shape: &Shape,
        target: &Bins,
        source: &Bins,
        millis: u64,
        burst_millis: u64,
        new_step: bool,
    ) -> [f64; WAYS] {
        if new_step {
            (self.millis, self.target, self.source) = Default::default();
        }
        self.millis = self.millis.saturating_add(millis);
        self.target.add(target, shape);
        self.source.add(source, shape);
        if self.millis < burst_millis {
            return [0.0; WAYS];
        }
        let (target, source) = (std::mem::take(&mut self.target), std::mem::take(&mut self.source));
        self.millis = 0;
        std::array::from_fn(|way| {
            let both = 1.0 / (1.0 / target.answers + 1.0 / source.answers);
            let z = (target.mean(way) - source.mean(way)) * (both / variance(shape, ALTERNATIVES[way])).sqrt();
            if !z.is_finite() {
                return 0.0;
            }
            let memory = &mut self.memory[way];
            let alike = memory.psi() * (1.0 + both / WANDERING_ANSWERS);
            let evidence = (STAKE_MAX * (memory.bet() * z).tanh()).ln_1p() / alike;
            memory.learn(z);
            evidence
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Histogram;
    use crate::latency::Cuts;

    /// A service whose answers are spread over fifty buckets, and a shape of it.
    fn shape() -> (Cuts, Shape) {
        let mut reference = Histogram::default();
        for bucket in 0..50u16 {
            reference.add(200 + bucket, u64::from(1 + bucket.min(49 - bucket)));
        }
        let cuts = Cuts::of(&reference).unwrap();
        let shape = cuts.shape(&reference);
        (cuts, shape)
    }

    /// A side's answers in a minute, as bins.
    fn side() -> impl Strategy<Value = Bins> {
        prop::collection::vec(0u32..60, 11).prop_map(|counts| counts.into_iter().map(f64::from).collect())
    }

    /// The same answers on both sides, so that both have equally many.
    fn doubled(bins: &Bins, other: &Bins) -> (Bins, Bins) {
        let (a, b): (f64, f64) = (bins.iter().sum(), other.iter().sum());
        let filled = |bins: &Bins, more: f64| {
            bins.iter().enumerate().map(|(bin, count)| count + if bin == 0 { more } else { 0.0 }).collect()
        };
        (filled(bins, (b - a).max(0.0)), filled(other, (a - b).max(0.0)))
    }

    proptest! {
        #[test]
        fn whichever_side_a_minute_falls_to_nothing_is_won_on_average(
            past in prop::collection::vec((side(), side()), 0..12), a in side(), b in side(),
        ) {
            // Sides that are alike could have changed places. Whatever was before, the bets on a minute and on the same
            // minute with its sides exchanged win on average nothing; dividing by psi can only lower that.
            let (_, shape) = shape();
            let mut steady = Steady::default();
            for (target, source) in &past {
                steady.observe(&shape, target, source, 60_000, 60_000, false);
            }
            let (a, b) = doubled(&a, &b);
            let one = steady.clone().observe(&shape, &a, &b, 60_000, 60_000, false);
            let other = steady.clone().observe(&shape, &b, &a, 60_000, 60_000, false);
            for (one, other) in one.into_iter().zip(other) {
                prop_assert!(f64::midpoint(one.exp(), other.exp()) <= 1.0 + 1e-9, "{one} {other}");
                prop_assert!(one <= std::f64::consts::LN_2);
            }
        }

        #[test]
        fn a_slower_answer_never_lowers_the_evidence(target in side(), source in side(), from in 0usize..10) {
            let (_, shape) = shape();
            prop_assume!(target[from] >= 1.0 && source.iter().sum::<f64>() >= 1.0);
            let moved = |bin: usize| f64::from(u8::from(bin == from + 1)) - f64::from(u8::from(bin == from));
            let slower: Bins = target.iter().enumerate().map(|(bin, count)| count + moved(bin)).collect();
            let evidence = |target| Steady::default().observe(&shape, target, &source, 60_000, 60_000, false);
            for (slower, as_it_was) in evidence(&slower).into_iter().zip(evidence(&target)) {
                prop_assert!(slower >= as_it_was - 1e-12);
            }
        }

        #[test]
        fn a_minute_says_the_same_however_it_is_split(
            minutes in prop::collection::vec(prop::collection::vec((side(), side()), 6), 1..6),
        ) {
            let (_, shape) = shape();
            let sum = |sides: Vec<&Bins>| -> Bins {
                (0..11).map(|bin| sides.iter().map(|bins| bins[bin]).sum()).collect()
            };
            let (mut whole, mut parts) = (Steady::default(), Steady::default());
            for minute in &minutes {
                let target = sum(minute.iter().map(|(target, _)| target).collect());
                let source = sum(minute.iter().map(|(_, source)| source).collect());
                let at_once = whole.observe(&shape, &target, &source, 60_000, 60_000, false);
                let mut last = [f64::NAN; WAYS];
                for (at, (target, source)) in minute.iter().enumerate() {
                    last = parts.observe(&shape, target, source, 10_000, 60_000, false);
                    prop_assert!(at == 5 || last.iter().all(|evidence| evidence.abs() < f64::MIN_POSITIVE));
                }
                for (one, other) in at_once.into_iter().zip(last) {
                    prop_assert!((one - other).abs() < 1e-9, "{one} {other}");
                }
            }
        }
    }

    #[test]
    fn a_target_a_little_slower_all_the_time_is_found_and_one_at_its_tolerance_is_not() {
        // Bins moved by the tolerance: the target at its tolerance falls into the bins of the source.
        let (cuts, shape) = shape();
        let grown = |slower: u16, seed: u64| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut steady = Steady::default();
            let mut sum = [0.0; WAYS];
            for _ in 0..20 {
                let mut draw = |answers: usize, slower: u16| {
                    let mut histogram = Histogram::default();
                    for _ in 0..answers {
                        histogram.add(200 + slower + rng.u16(0..25) + rng.u16(0..25), 1);
                    }
                    cuts.bins(&histogram, 0)
                };
                let (target, source) = (draw(400, slower), draw(3_000, 0));
                for (sum, evidence) in
                    sum.iter_mut().zip(steady.observe(&shape, &target, &source, 60_000, 60_000, false))
                {
                    *sum += evidence;
                }
            }
            sum
        };
        for seed in 0..20 {
            let (slower, same) = (grown(2, seed), grown(0, seed));
            assert!(slower[0] > 4.0, "{slower:?}");
            assert!(same[0] < 3.0 && same[1] < 3.0, "{same:?}");
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "nothing is exactly 0")]
    fn one_empty_side_and_a_step_that_begins_within_a_burst_say_nothing() {
        let (_, shape) = shape();
        let some: Bins = [5.0; 11].into_iter().collect();
        let mut steady = Steady::default();
        assert_eq!(steady.observe(&shape, &Bins::default(), &some, 60_000, 60_000, true), [0.0; WAYS]);
        assert_eq!(steady.observe(&shape, &some, &some, 50_000, 60_000, false), [0.0; WAYS]);
        // Ten seconds of a new step do not complete the burst of the old one.
        assert_eq!(steady.observe(&shape, &some, &some, 10_000, 60_000, true), [0.0; WAYS]);
        assert_eq!(steady.millis, 10_000);
    }
}
