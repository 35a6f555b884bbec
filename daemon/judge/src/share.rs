//! Does the observed share fit the weight?
//!
//! The sequential test for a sample ratio mismatch of Lindon and Malek (arXiv 2011.03567; Optimizely's `ssrm`), against
//! the best share inside a dead band around the weight instead of one point: stickiness, keep-alive and the balancer's
//! own rounding move the observed share a little, and that is nobody's fault.

use serde::{Deserialize, Serialize};
use statrs::function::gamma::ln_gamma;

/// The observed share may lie so far from the weight, relative to it.
const DEAD_BAND: f64 = 0.2;
/// The greatest chance of a false alarm over one weight.
const FALSE_ALARM_MAX: f64 = 0.01;

/// Log of the chance of a sequence of counted outcomes when their shares are unknown: a Dirichlet mixture.
///
/// ```
/// // Optimizely ssrm: after (1,0,0), (0,1,0), (1,0,0), (0,1,0), (0,0,1) under a Dirichlet(1,1,1).
/// let log = judge::share::log_marginal(&[2.0, 2.0, 1.0], &[1.0, 1.0, 1.0]);
/// assert!((log - -6.445_719_819_385_578).abs() < 1e-9);
/// ```
pub fn log_marginal(counts: &[f64], prior: &[f64]) -> f64 {
    let log_beta = |values: &mut dyn Iterator<Item = f64>| {
        let (mut logs, mut sum) = (0.0, 0.0);
        for value in values {
            logs += ln_gamma(value);
            sum += value;
        }
        logs - ln_gamma(sum)
    };
    log_beta(&mut counts.iter().zip(prior).map(|(count, prior)| count + prior)) - log_beta(&mut prior.iter().copied())
}

/// Log of the chance of a sequence of counted outcomes whose shares are known.
///
/// ```
/// let log = judge::share::log_likelihood(&[2.0, 2.0, 1.0], &[0.4, 0.4, 0.2]);
/// assert!((log - -5.274_600_839_930_72).abs() < 1e-9);
/// ```
pub fn log_likelihood(counts: &[f64], shares: &[f64]) -> f64 {
    counts.iter().zip(shares).map(|(count, share)| if *count > 0.0 { count * share.ln() } else { 0.0 }).sum()
}

/// Watches whether the requests of both sides are split as the weight says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShareWatch {
    weight: u16,
    target: f64,
    source: f64,
}

impl ShareWatch {
    /// Takes one block at a weight (per mille); another weight begins anew.
    pub fn observe(&mut self, weight: u16, target: u64, source: u64) {
        if weight != self.weight {
            *self = Self { weight, ..Self::default() };
        }
        self.target += target as f64;
        self.source += source as f64;
    }

    /// The weight that is watched, in per mille.
    pub fn weight(&self) -> u16 {
        self.weight
    }

    /// The observed share, when it cannot be that of the weight.
    pub fn mismatch(&self) -> Option<f64> {
        let Self { weight, target, source } = *self;
        let seen = target / (target + source);
        if !(1..=999).contains(&weight) || !seen.is_finite() {
            return None;
        }
        let weight = f64::from(weight) / 1000.0;
        let fair = seen.clamp(weight * (1.0 - DEAD_BAND), (weight * (1.0 + DEAD_BAND)).min(0.9995));
        let log_e =
            log_marginal(&[target, source], &[1.0, 1.0]) - log_likelihood(&[target, source], &[fair, 1.0 - fair]);
        (log_e >= -FALSE_ALARM_MAX.ln()).then_some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_inside_the_dead_band_is_never_expected_to_win() {
        // By enumeration of all counts of up to 40 requests: E[e] is 1 at one known share, and at most 1 where the best
        // share of the dead band stands for the true one, wherever in it that lies.
        let weight = 0.3;
        let band = (weight * (1.0 - DEAD_BAND), weight * (1.0 + DEAD_BAND));
        for requests in 1..=40u32 {
            for truth in [band.0, 0.28, weight, 0.33, band.1] {
                let (mut known, mut best, mut ways) = (0.0, 0.0, 1.0);
                for target in 0..=requests {
                    let (t, s) = (f64::from(target), f64::from(requests - target));
                    let chance = ways * truth.powf(t) * (1.0 - truth).powf(s);
                    let mixed = log_marginal(&[t, s], &[1.0, 1.0]);
                    let fair = (t / (t + s)).clamp(band.0, band.1);
                    known += chance * (mixed - log_likelihood(&[t, s], &[truth, 1.0 - truth])).exp();
                    best += chance * (mixed - log_likelihood(&[t, s], &[fair, 1.0 - fair])).exp();
                    ways *= s / (t + 1.0);
                }
                assert!((known - 1.0).abs() < 1e-9, "{known}");
                assert!(best <= 1.0 + 1e-9, "{best}");
            }
        }
    }

    #[test]
    fn a_share_inside_the_dead_band_is_no_mismatch() {
        // 11 % at a weight of 10 %, a million requests; and 30 % is one at once.
        let mut watch = ShareWatch::default();
        watch.observe(100, 110_000, 890_000);
        assert_eq!(watch.mismatch(), None);
        watch.observe(200, 10, 300);
        assert!(watch.mismatch().is_some_and(|seen| (seen - 10.0 / 310.0).abs() < 1e-12));
    }

    #[test]
    fn a_handful_of_requests_proves_no_mismatch() {
        let mut watch = ShareWatch::default();
        watch.observe(500, 1, 4);
        assert_eq!(watch.mismatch(), None);
    }

    #[test]
    fn the_ends_and_silence_are_never_a_mismatch() {
        let mut watch = ShareWatch::default();
        assert_eq!(watch.mismatch(), None);
        watch.observe(1000, 0, 500);
        assert_eq!(watch.mismatch(), None);
        watch.observe(500, u64::MAX, u64::MAX);
        assert_eq!(watch.mismatch(), None);
    }
}
