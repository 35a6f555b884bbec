//! Chance from a seed: the distributions that the worlds draw from.
//!
//! The samplers are `rand_distr`'s, exact ones (inversion, BTPE, rejection), since a normal approximation would make the
//! rare errors that everything here is about rarer or more regular than they are. The generator is PCG, whose stream is
//! the same on every machine.

use rand_distr::{Binomial, Distribution, Gamma, Poisson, StandardNormal};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

/// A seeded source of chance.
#[derive(Clone, Debug)]
pub struct Chance {
    generator: Pcg64Mcg,
}

impl Chance {
    /// A source of its own for each combination of numbers: the same ones give the same stream.
    pub fn of(numbers: &[u64]) -> Self {
        // SplitMix64 (Steele, Lea, Flood 2014), so that neighbouring seeds have nothing to do with each other.
        let mixed = numbers.iter().fold(0x9e37_79b9_7f4a_7c15u64, |state, &number| {
            let mut z = (state ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Self { generator: Pcg64Mcg::seed_from_u64(mixed) }
    }

    /// A number from 0 to below 1.
    pub fn share(&mut self) -> f64 {
        // The 53 bits that a mantissa holds.
        (self.generator.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A draw from the standard normal distribution.
    pub fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.generator)
    }

    /// How many of rare, independent events happen where `mean` are expected; 0 for no mean.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        match Poisson::new(mean) {
            Ok(poisson) => {
                let events: f64 = poisson.sample(&mut self.generator);
                events as u64
            }
            Err(_) => 0,
        }
    }

    /// How many of `trials` succeed, each with a chance of `share` (held to 0 to 1).
    pub fn binomial(&mut self, trials: u64, share: f64) -> u64 {
        if trials == 0 {
            return 0;
        }
        Binomial::new(trials, share.clamp(0.0, 1.0)).map_or(0, |binomial| binomial.sample(&mut self.generator))
    }

    /// A share with the given mean (0 to 1) and coefficient of variation: a beta distribution, made of two gammas. The
    /// mean itself where no such distribution exists.
    pub fn beta(&mut self, mean: f64, variation: f64) -> f64 {
        // Var = mean (1 - mean) / (a + b + 1) and CV = sqrt(Var) / mean.
        let both = (1.0 - mean) / (mean * variation * variation) - 1.0;
        let mut gamma = |shape: f64| Gamma::new(shape, 1.0).ok().map(|gamma| gamma.sample(&mut self.generator));
        match (gamma(mean * both), gamma((1.0 - mean) * both)) {
            (Some(hits), Some(rest)) if hits + rest > 0.0 => hits / (hits + rest),
            _ => mean,
        }
    }
}

#[cfg(test)]
mod tests {
    use statrs::distribution::{ChiSquared, ContinuousCDF, Discrete};

    use super::*;

    /// Pearson's test of draws against a distribution's masses: the p-value, cells under five expected pooled.
    fn fit(draws: &[u64], mass: impl Fn(u64) -> f64) -> f64 {
        let top = draws.iter().max().copied().unwrap_or(0);
        let mut seen = vec![0.0; top as usize + 1];
        for &draw in draws {
            seen[draw as usize] += 1.0;
        }
        let all = draws.len() as f64;
        let (mut square, mut cells) = (0.0, 0.0f64);
        let (mut pooled, mut expected, mut left) = (0.0, 0.0, 1.0);
        for (value, count) in seen.iter().enumerate() {
            let here = mass(value as u64);
            pooled += count;
            expected += here * all;
            left -= here;
            if expected >= 5.0 && left * all >= 5.0 {
                square += (pooled - expected) * (pooled - expected) / expected;
                cells += 1.0;
                (pooled, expected) = (0.0, 0.0);
            }
        }
        let rest = expected + left.max(0.0) * all;
        square += (pooled - rest) * (pooled - rest) / rest;
        ChiSquared::new(cells).unwrap().sf(square)
    }

    #[test]
    fn counts_follow_their_distributions() {
        // Small and large means, each by another algorithm; a wrong one fails at a p-value far below this.
        let mut chance = Chance::of(&[1]);
        for mean in [0.02, 0.9, 6.0, 11.0, 13.0, 80.0, 700.0] {
            let draws: Vec<u64> = (0..40_000).map(|_| chance.poisson(mean)).collect();
            let poisson = statrs::distribution::Poisson::new(mean).unwrap();
            let p = fit(&draws, |value| poisson.pmf(value));
            assert!(p > 1e-4, "Poisson {mean}: {p}");
        }
        for (trials, share) in [(7, 0.3), (1000, 0.001), (40_000, 0.002), (500, 0.4), (60, 0.97), (100_000, 0.0005)] {
            let draws: Vec<u64> = (0..40_000).map(|_| chance.binomial(trials, share)).collect();
            let binomial = statrs::distribution::Binomial::new(share, trials).unwrap();
            let p = fit(&draws, |value| binomial.pmf(value));
            assert!(p > 1e-4, "binomial {trials} {share}: {p}");
        }
    }

    #[test]
    fn a_beta_has_the_mean_and_variation_it_was_asked_for() {
        let mut chance = Chance::of(&[2]);
        for (mean, variation) in [(0.001, 0.5), (0.001, 1.0), (0.3, 0.2)] {
            let draws: Vec<f64> = (0..200_000).map(|_| chance.beta(mean, variation)).collect();
            let seen = draws.iter().sum::<f64>() / draws.len() as f64;
            let square = draws.iter().map(|x| (x - seen) * (x - seen)).sum::<f64>() / draws.len() as f64;
            assert!((seen / mean - 1.0).abs() < 0.02, "mean {seen}");
            assert!((square.sqrt() / seen / variation - 1.0).abs() < 0.03, "variation {}", square.sqrt() / seen);
        }
    }

    #[test]
    fn impossible_parameters_draw_nothing() {
        let mut chance = Chance::of(&[3]);
        assert_eq!(
            [chance.poisson(0.0), chance.poisson(-1.0), chance.binomial(0, 0.5), chance.binomial(5, -1.0)],
            [0; 4]
        );
        assert_eq!(chance.binomial(5, 2.0), 5);
        assert!((chance.beta(0.5, 1e9) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn neighbouring_seeds_share_nothing() {
        let first = |seed: &[u64]| Chance::of(seed).share();
        assert!((first(&[1, 0]) - first(&[1, 0])).abs() < f64::EPSILON);
        let draws: Vec<f64> = (0..1000).map(|seed| first(&[7, seed])).collect();
        let mean = draws.iter().sum::<f64>() / 1000.0;
        assert!((mean - 0.5).abs() < 0.05, "{mean}");
    }
}
