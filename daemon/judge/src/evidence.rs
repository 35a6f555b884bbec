//! How much one block says: the e-variables of counts.
//!
//! Each function gives the logarithm of a number `e` whose expectation is at most 1 as long as the target is within
//! tolerance, whatever the source's true share of failures is. Their running product is therefore a bet that a fair
//! target cannot be expected to win: it exceeds 20 with a chance of at most 1/20, at whatever moment one looks (Ville).
//!
//! The two-by-two form generalises Turner, Ly and Grünwald's `safestats` (Statistics & Probability Letters 2024;
//! arXiv 2106.02693) from `p_T = p_S` to `p_T <= r p_S + d`. Conditioning on both sides of one block is what removes
//! everything the sides share, as in Lindon and Malek (arXiv 2011.03567).

use serde::{Deserialize, Serialize};

/// The guess of the source's share is kept inside this range; it costs power, never validity.
const SHARE_MIN: f64 = 1e-9;
const SHARE_MAX: f64 = 0.9;
/// What a tolerance may allow at most; one that allows more allows everything.
const BOUND_MAX: f64 = 0.999;

/// Ratios of errors that the errors test bets on.
pub const ERROR_RATIOS: [f64; 7] = [1.3, 1.7, 2.3, 3.5, 6.0, 12.0, 40.0];
/// Ratios that the success test bets on.
pub const BAD_RATIOS: [f64; 6] = [1.25, 1.6, 2.2, 3.5, 7.0, 20.0];
/// Ratios over the baseline that the baseline test bets on.
pub const BASELINE_RATIOS: [f64; 4] = [1.5, 2.5, 5.0, 15.0];
/// Ratios below the bound that the gate to the next step bets on.
pub const PASS_RATIOS: [f64; 5] = [0.15, 0.35, 0.55, 0.75, 0.88];

/// What both sides did in one block, for one outcome. Counts are floats since blocks are also planned with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Requests of the target that had the outcome.
    pub target_hits: f64,
    /// Requests of the target.
    pub target: f64,
    /// Requests of the source that had the outcome.
    pub source_hits: f64,
    /// Requests of the source.
    pub source: f64,
}

impl Pair {
    /// A pair of shares as whole counts.
    pub fn new(target_hits: u64, target: u64, source_hits: u64, source: u64) -> Self {
        Self {
            target_hits: target_hits as f64,
            target: target as f64,
            source_hits: source_hits as f64,
            source: source as f64,
        }
    }

    /// Whether there is nothing to compare.
    pub fn is_one_sided(&self) -> bool {
        self.target <= 0.0 || self.source <= 0.0
    }
}

/// The tolerance of a two-by-two test: the target may have `ratio` times the source's share, and `margin` on top.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// `r`, at least 0.
    pub ratio: f64,
    /// `d`, a share of requests.
    pub margin: f64,
}

/// The size `h` of the bet that corresponds to a ratio `R` of the target's share to the bound of the tolerance.
///
/// `share` is the guess of the source's share, made before the block. Above 1 the bet is that the target is worse than
/// the tolerance; below 1 that it is better, which is the test that opens the next step.
///
/// ```
/// use judge::evidence::{Pair, Tolerance, bet};
/// let h = bet(&Pair::new(5, 1500, 28, 28500), Tolerance { ratio: 1.1, margin: 1e-4 }, 0.001, 2.3);
/// assert!((h - 1.158_581_870_773_560_7).abs() < 1e-12);
/// ```
pub fn bet(pair: &Pair, tolerance: Tolerance, share: f64, ratio: f64) -> f64 {
    let Some((ps, p0)) = guess(tolerance, share) else { return 0.0 };
    let r = tolerance.ratio;
    let h = (ratio - 1.0) / (1.0 + r * pair.target / pair.source * (r * ps / p0) * ratio);
    if h >= 0.0 {
        // `g` must stay below 1: the source's hits must not be able to lose everything at once.
        let excess = r * pair.target * (1.0 - ps) - pair.source * p0;
        if excess > 0.0 { h.min(0.9 * pair.source / excess) } else { h }
    } else {
        // The same for a bet on a better target, where the source's share under the alternative would leave 1.
        h.max(-0.9 / (p0 + r * ps * pair.target / pair.source)).max(-0.999)
    }
}

/// The guess of the source's share, and the most that the target's may then be; `None` when that is everything.
///
/// The guess gives way, not the bound: the proof needs the bound to be exactly that of the guess.
fn guess(tolerance: Tolerance, share: f64) -> Option<(f64, f64)> {
    let room = (BOUND_MAX - tolerance.margin) / tolerance.ratio.max(f64::MIN_POSITIVE);
    let share = if share.is_nan() { SHARE_MIN } else { share };
    (room > SHARE_MIN).then(|| {
        let ps = share.clamp(SHARE_MIN, SHARE_MAX.min(room));
        (ps, tolerance.ratio * ps + tolerance.margin)
    })
}

/// Log of the two-by-two e-variable of a bet `h`; 0 when either side is empty.
///
/// `E[e] <= 1` for every source share `p` as long as the target's is at most `r p + d`: the log of the expectation is
/// concave in `p`, and `g` is chosen so that it is flat, and 0, at the guess.
///
/// ```
/// use judge::evidence::{Pair, Tolerance, log_e22};
/// // Forty digits (mpmath): 5 of 1500 against 28 of 28500, r = 1.1, d = 0.0001, guess 0.001, R = 2.3.
/// let pair = Pair::new(5, 1500, 28, 28500);
/// let log_e = log_e22(&pair, Tolerance { ratio: 1.1, margin: 1e-4 }, 0.001, 1.158_581_870_773_560_7);
/// assert!((log_e - 1.731_053_008_585_671_7).abs() < 1e-9);
///
/// // With r = 1 and d = 0 it is the e-value of `safestats` (R 4.2.2, calculateETwoProportions).
/// let odds = |p: f64| p / (1.0 - p);
/// let h = odds(0.2) / odds(0.125) - 1.0;
/// let log_e = log_e22(&Pair::new(40, 200, 10, 200), Tolerance { ratio: 1.0, margin: 0.0 }, 0.125, h);
/// assert!((log_e.exp() / 55_521.806_127_285_59 - 1.0).abs() < 1e-9);
/// ```
pub fn log_e22(pair: &Pair, tolerance: Tolerance, share: f64, h: f64) -> f64 {
    if pair.is_one_sided() {
        return 0.0;
    }
    let Some((ps, p0)) = guess(tolerance, share) else { return 0.0 };
    let a = tolerance.ratio * pair.target * h;
    let g = a / (pair.source * (1.0 + p0 * h) + a * ps);
    hits_won(pair.target_hits, h) + hits_won(pair.source_hits, -g)
        - pair.target * (p0 * h).ln_1p()
        - pair.source * (-ps * g).ln_1p()
}

/// What so many hits win at a bet: `hits ln(1 + h)`. Most blocks of a second have none, and a logarithm costs more than a
/// look.
fn hits_won(hits: f64, h: f64) -> f64 {
    if hits > 0.0 { hits * h.ln_1p() } else { 0.0 }
}

/// Log of the e-variable of the target against a fixed share `p0` that a baseline allows, betting on `ratio` times it.
///
/// Errors are taken as Poisson, which a binomial never exceeds: `E[e] <= 1` while the target's share is at most `p0`.
///
/// ```
/// // 3 errors of 100 where 1 % is allowed, betting on five times that: 3 ln 5 - 100 * 0.01 * 4.
/// let log_e = judge::evidence::log_e_fixed(3.0, 100.0, 0.01, 5.0);
/// assert!((log_e - (3.0 * 5f64.ln() - 4.0)).abs() < 1e-12);
/// ```
pub fn log_e_fixed(hits: f64, requests: f64, p0: f64, ratio: f64) -> f64 {
    hits * ratio.ln() - requests * p0 * (ratio - 1.0)
}

/// Log of the e-variable that the target's share is at least `p0`, betting that it is `ratio` (below 1) of it.
///
/// ```
/// // Nothing bad in 100 requests where 5 % would be too much: -100 ln(1 - 0.05 * 0.85).
/// let log_e = judge::evidence::log_e_below(0.0, 100.0, 0.05, 0.15);
/// assert!((log_e - 4.343).abs() < 1e-3);
/// ```
pub fn log_e_below(hits: f64, requests: f64, p0: f64, ratio: f64) -> f64 {
    let h = ratio - 1.0;
    hits_won(hits, h) - requests * (p0.min(0.999) * h).ln_1p()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Binomial probabilities of 0 to n hits.
    fn binomial(n: u32, p: f64) -> Vec<f64> {
        let mut row = vec![1.0];
        for _ in 0..n {
            let mut next = vec![0.0; row.len() + 1];
            for (k, mass) in row.iter().enumerate() {
                next[k] += mass * (1.0 - p);
                next[k + 1] += mass * p;
            }
            row = next;
        }
        row
    }

    /// `E[e]` over all tables of two binomials.
    fn expectation(n: (u32, u32), p: (f64, f64), e: impl Fn(f64, f64) -> f64) -> f64 {
        let (target, source) = (binomial(n.0, p.0), binomial(n.1, p.1));
        let mut sum = 0.0;
        for (kt, pt) in target.iter().enumerate() {
            for (ks, ps) in source.iter().enumerate() {
                sum += pt * ps * e(kt as f64, ks as f64).exp();
            }
        }
        sum
    }

    proptest! {
        #[test]
        fn a_target_within_tolerance_is_never_expected_to_win(
            nt in 1u32..25, ns in 1u32..25, r in 1.0f64..1.6, d in 0.0f64..0.2,
            guess in 0.0f64..1.0, p in 0.0f64..1.0, alternative in 1.01f64..50.0,
        ) {
            // By enumeration of all tables: with the target exactly at the edge of its tolerance, E[e] <= 1, whatever
            // the source's true share, the guess of it and the alternative.
            let tolerance = Tolerance { ratio: r, margin: d };
            let p = p * (1.0 - d) / r;
            let pt = (r * p + d).min(1.0);
            let e = expectation((nt, ns), (pt, p), |kt, ks| {
                let pair = Pair { target_hits: kt, target: f64::from(nt), source_hits: ks, source: f64::from(ns) };
                log_e22(&pair, tolerance, guess, bet(&pair, tolerance, guess, alternative))
            });
            prop_assert!(e <= 1.0 + 1e-9, "{e}");
        }

        #[test]
        fn a_target_beyond_the_budget_is_never_expected_to_pass(
            nt in 1u32..25, ns in 1u32..25, r in 1.0f64..1.6, d in 0.001f64..0.5,
            guess in 0.0f64..1.0, p in 0.0f64..1.0, alternative in 0.05f64..0.99,
        ) {
            // The same with the bet turned round: the target's share is at (or above) the budget's edge.
            let tolerance = Tolerance { ratio: r, margin: d };
            let p = p * (1.0 - d) / r;
            let pt = (r * p + d).min(1.0);
            let e = expectation((nt, ns), (pt, p), |kt, ks| {
                let pair = Pair { target_hits: kt, target: f64::from(nt), source_hits: ks, source: f64::from(ns) };
                log_e22(&pair, tolerance, guess, bet(&pair, tolerance, guess, alternative))
            });
            prop_assert!(e <= 1.0 + 1e-9, "{e}");
        }

        #[test]
        fn against_a_fixed_share_neither_side_is_expected_to_win(
            n in 1u32..40, p0 in 0.0001f64..0.9, up in 1.01f64..20.0, down in 0.05f64..0.99,
        ) {
            let bad: f64 = binomial(n, p0).iter().enumerate()
                .map(|(k, mass)| mass * log_e_fixed(k as f64, f64::from(n), p0, up).exp()).sum();
            let good: f64 = binomial(n, p0).iter().enumerate()
                .map(|(k, mass)| mass * log_e_below(k as f64, f64::from(n), p0, down).exp()).sum();
            prop_assert!(bad <= 1.0 + 1e-9 && good <= 1.0 + 1e-9, "{bad} {good}");
        }

        #[test]
        fn more_errors_of_the_target_never_lower_the_evidence(
            nt in 1u64..1000, ns in 1u64..1000, kt in 0u64..1000, ks in 0u64..1000, guess in 0.0f64..1.0,
            index in 0usize..7,
        ) {
            let tolerance = Tolerance { ratio: 1.1, margin: 1e-4 };
            let (kt, ks) = (kt.min(nt - 1), ks.min(ns));
            let e = |kt| {
                let pair = Pair::new(kt, nt, ks, ns);
                log_e22(&pair, tolerance, guess, bet(&pair, tolerance, guess, ERROR_RATIOS[index]))
            };
            prop_assert!(e(kt + 1) >= e(kt));
        }

        #[test]
        fn any_counts_give_a_number(
            nt: u64, ns: u64, kt: u64, ks: u64, guess in -1.0f64..2.0, alternative in 0.05f64..50.0,
            r in 0.0f64..10.0, d in 0.0f64..1.0,
        ) {
            let pair = Pair::new(kt, nt, ks, ns);
            let tolerance = Tolerance { ratio: r, margin: d };
            let e = log_e22(&pair, tolerance, guess, bet(&pair, tolerance, guess, alternative));
            prop_assert!(pair.is_one_sided() || e.is_finite(), "{e}");
            prop_assert!(log_e_fixed(kt as f64, nt as f64, d, alternative).is_finite());
        }
    }
}
