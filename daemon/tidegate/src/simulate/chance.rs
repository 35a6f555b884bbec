//! Chance, by seed: streams of random numbers that depend on what they are for, and draws of counts.
//!
//! Each stretch of simulated time has a stream of its own, named by the seed and the moment it begins. So two policies
//! that are compared on one seed meet the same luck where they do the same at the same time, and a cutover is the same
//! on any number of threads. The distributions are exact, not normal approximations: what is rare here is what matters.

use rand_distr::{Binomial, Distribution as _, Poisson, StandardNormal, StandardUniform};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::SeedableRng as _;

/// A stream of random numbers.
pub(super) type Stream = Pcg64Mcg;

/// What a stream is for, so that two uses of one moment are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The seed of one cutover out of many.
    Cutover,
    /// When a cutover starts.
    Start,
    /// How the shares of a side wander: 0 is the source, 1 the target.
    Wander(u8),
    /// How many requests a stretch of time has, and how they end.
    Requests,
    /// Where the latencies of a window lie within their cells.
    Latencies,
    /// Where a stretch of time is cut in two.
    Cut,
}

impl Purpose {
    fn number(self) -> u64 {
        match self {
            Self::Cutover => 1,
            Self::Start => 2,
            Self::Wander(side) => 16 + u64::from(side),
            Self::Requests => 4,
            Self::Latencies => 5,
            Self::Cut => 6,
        }
    }
}

/// The stream of `seed` for a purpose, at a moment (or of an index) `at`.
pub(super) fn stream(seed: u64, purpose: Purpose, at: i64) -> Stream {
    Stream::seed_from_u64(mix(seed, purpose, at))
}

/// The seed of the `index`th cutover of a run with `seed`.
pub(super) fn seed_of(seed: u64, index: u64) -> u64 {
    mix(seed, Purpose::Cutover, i64::from_ne_bytes(index.to_ne_bytes()))
}

/// Stirs three numbers into one (the finalizer of `SplitMix64`, Steele, Lea and Flood 2014, after each).
fn mix(seed: u64, purpose: Purpose, at: i64) -> u64 {
    let mut state = seed;
    for part in [purpose.number(), u64::from_ne_bytes(at.to_ne_bytes())] {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_add(part.wrapping_mul(0xd134_2543_de82_ef95));
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 31;
    }
    state
}

/// How many of `n` when each is in with a chance of `share` (0 to 1; what lies outside is the nearer end).
pub(super) fn binomial(rng: &mut Stream, n: u64, share: f64) -> u64 {
    if n == 0 || share <= 0.0 {
        return 0;
    }
    if share >= 1.0 {
        return n;
    }
    // A share strictly between 0 and 1 is all that the constructor asks for; NaN is no share, and nothing of it is in.
    Binomial::new(n, share).map_or(0, |binomial| binomial.sample(rng).min(n))
}

/// A number of events where `mean` are expected.
pub(super) fn poisson(rng: &mut Stream, mean: f64) -> u64 {
    // A mean above 0 is all that the constructor asks for, up to what no service has.
    Poisson::new(mean).map_or(0, |poisson| {
        let drawn: f64 = poisson.sample(rng);
        drawn as u64
    })
}

/// A draw from 0 (inclusive) to 1 (exclusive), all alike.
pub(super) fn uniform(rng: &mut Stream) -> f64 {
    StandardUniform.sample(rng)
}

/// A draw from the standard normal distribution.
pub(super) fn normal(rng: &mut Stream) -> f64 {
    StandardNormal.sample(rng)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that streams for different purposes, moments and seeds are different ones, and the same ones the same.
    #[test]
    fn a_stream_is_named_by_what_it_is_for() {
        let first = |seed, purpose, at| normal(&mut stream(seed, purpose, at)).to_bits();
        let same = first(7, Purpose::Requests, 1_000);
        assert_eq!(same, first(7, Purpose::Requests, 1_000));
        for other in [
            first(8, Purpose::Requests, 1_000),
            first(7, Purpose::Latencies, 1_000),
            first(7, Purpose::Requests, 1_001),
            first(7, Purpose::Wander(0), 1_000),
            first(7, Purpose::Wander(1), 1_000),
        ] {
            assert_ne!(same, other);
        }
    }

    /// Proves that the draws have the mean and the variance of their distributions, at small and large counts.
    #[test]
    fn draws_have_the_moments_of_their_distributions() {
        let mut rng = stream(1, Purpose::Requests, 0);
        let mut check = |mean: f64, variance: f64, draw: &mut dyn FnMut(&mut Stream) -> u64| {
            const DRAWS: u32 = 40_000;
            let values: Vec<f64> = (0..DRAWS).map(|_| draw(&mut rng) as f64).collect();
            let n = f64::from(DRAWS);
            let seen = values.iter().sum::<f64>() / n;
            let spread = values.iter().map(|value| (value - seen).powi(2)).sum::<f64>() / n;
            assert!((seen - mean).abs() < 5.0 * (variance / n).sqrt(), "mean {seen} where {mean} is right");
            assert!((spread / variance - 1.0).abs() < 0.05, "variance {spread} where {variance} is right");
        };
        check(0.3, 0.3, &mut |rng| poisson(rng, 0.3));
        check(5_000.0, 5_000.0, &mut |rng| poisson(rng, 5_000.0));
        check(2.0, 2.0 * 0.998, &mut |rng| binomial(rng, 1_000, 0.002));
        check(70_000.0, 70_000.0 * 0.3, &mut |rng| binomial(rng, 100_000, 0.7));
        assert_eq!((binomial(&mut rng, 9, 1.5), binomial(&mut rng, 9, -0.1), poisson(&mut rng, 0.0)), (9, 0, 0));
    }
}
