//! The gate to the next step: proof that the next weight would do no more than a stated harm.
//!
//! The same e-variables as against the target, with the bet turned round: the claim to be refuted is "at the next
//! weight, more than the budget of all requests would be worse". The gate begins anew with each step. A target that
//! merely shows no sign of trouble does not open it; enough requests do.

use serde::{Deserialize, Serialize};

use crate::evidence::{PASS_RATIOS, Pair, Tolerance, bet, log_e_below, log_e22};
use crate::numbers::log_sum_exp;
use crate::wealth::dampened;

/// One burst cannot prove more than this, as log evidence.
const CAP: f64 = 3.0;
/// A budget that allows this share of all requests to be hit asks for no proof.
const TRIVIAL: f64 = 0.97;

/// One thing that must be shown before a step ends: errors, bad answers, or answers slower than one quantile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    against_source: Route,
    against_baseline: Route,
    cleared: bool,
}

/// One way of showing it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Route {
    logs: [f64; PASS_RATIOS.len()],
    levels: [f64; PASS_RATIOS.len()],
}

impl Route {
    const NEW: Self = Self { logs: [0.0; PASS_RATIOS.len()], levels: [CAP; PASS_RATIOS.len()] };

    fn take(&mut self, evidence: impl Fn(f64) -> f64, bursts: f64) {
        for ((log, level), ratio) in self.logs.iter_mut().zip(&mut self.levels).zip(PASS_RATIOS) {
            *log += dampened(evidence(ratio), level, CAP, bursts);
        }
    }

    fn log_mean(&self) -> f64 {
        log_sum_exp(self.logs) - (PASS_RATIOS.len() as f64).ln()
    }
}

/// What a leg must know about a block besides the counts.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// What would be too much at the next weight: `ratio` times the source's share plus `budget / weight`.
    pub tolerance: Tolerance,
    /// The guess of the source's share, made before the block.
    pub share: f64,
    /// The dispersion, made before the block.
    pub phi: f64,
    /// The baseline's share, where there is a baseline to judge by: a second way to pass.
    pub baseline: Option<f64>,
    /// The greatest chance of passing a target that does more harm.
    pub wrong_pass_max: f64,
    /// How long the block is, in bursts.
    pub bursts: f64,
}

impl Default for Leg {
    /// Nothing is shown.
    fn default() -> Self {
        Self { against_source: Route::NEW, against_baseline: Route::NEW, cleared: false }
    }
}

impl Leg {
    /// Takes one block. What is shown can be lost again: a target that turns bad after the proof must not rise on it.
    pub fn observe(&mut self, pair: &Pair, asked: &Asked) {
        let Asked { tolerance, share, phi, .. } = *asked;
        if !(tolerance.ratio.is_finite() && tolerance.margin.is_finite()) {
            // Nothing can be proven about a budget that is no number.
            self.cleared = false;
            return;
        }
        if tolerance.ratio * share + tolerance.margin >= TRIVIAL {
            self.cleared = true;
            return;
        }
        if !pair.is_one_sided() {
            let evidence = |ratio| log_e22(pair, tolerance, share, bet(pair, tolerance, share, ratio)) / phi;
            self.against_source.take(evidence, asked.bursts);
        }
        if let Some(baseline) = asked.baseline {
            let p0 = tolerance.ratio * baseline + tolerance.margin;
            let evidence = |ratio| log_e_below(pair.target_hits, pair.target, p0, ratio) / phi;
            self.against_baseline.take(evidence, asked.bursts);
        }
        let needed = needed(asked);
        self.cleared = self.against_source.log_mean() >= needed
            || asked.baseline.is_some() && self.against_baseline.log_mean() >= needed;
    }

    /// Whether it is shown.
    pub fn cleared(&self) -> bool {
        self.cleared
    }

    /// About how many more requests of the target it takes, if both sides go on as a healthy pair would and as `pair`
    /// was mixed; 0 when shown, `None` when no number of requests would do.
    pub fn requests_missing(&self, pair: &Pair, asked: &Asked) -> Option<u64> {
        if self.cleared || asked.tolerance.ratio * asked.share + asked.tolerance.margin >= TRIVIAL {
            return Some(0);
        }
        if pair.is_one_sided() {
            return None;
        }
        // What a healthy block of this mix adds to the best alternative, which leads the mean of five by ln(5)/2 or so.
        let healthy = Pair { target_hits: pair.target * asked.share, source_hits: pair.source * asked.share, ..*pair };
        let gain = PASS_RATIOS
            .iter()
            .map(|&ratio| {
                log_e22(&healthy, asked.tolerance, asked.share, bet(&healthy, asked.tolerance, asked.share, ratio))
            })
            .fold(0.0, f64::max)
            / asked.phi;
        let to_go = needed(asked) + (PASS_RATIOS.len() as f64).ln() / 2.0 - self.against_source.log_mean().max(0.0);
        let requests = to_go.max(0.0) / gain * pair.target;
        (gain > 0.0 && to_go.is_finite() && requests.is_finite()).then_some((requests.ceil() as u64).max(1))
    }
}

/// Log evidence at which a leg is shown; two routes share the risk.
fn needed(asked: &Asked) -> f64 {
    let routes = if asked.baseline.is_some() { 2.0 } else { 1.0 };
    (routes / asked.wrong_pass_max).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(baseline: Option<f64>) -> Asked {
        Asked {
            tolerance: Tolerance { ratio: 1.25, margin: 0.01 },
            share: 0.001,
            phi: 1.0,
            baseline,
            wrong_pass_max: 0.05,
            bursts: 1.0,
        }
    }

    #[test]
    fn no_sign_of_trouble_is_not_enough() {
        // The gate opens after about the number of healthy requests that the plan foretells, and not with a tenth.
        let block = Pair::new(0, 50, 1, 950);
        let mut leg = Leg::default();
        let foretold = leg.requests_missing(&block, &asked(None)).unwrap();
        let mut seen = 0;
        while !leg.cleared() {
            leg.observe(&block, &asked(None));
            seen += 50;
            assert!(seen > 100 || !leg.cleared());
            assert!(seen < 5_000);
        }
        assert!(foretold / 3 < seen && seen < foretold * 3, "foretold {foretold}, needed {seen}");
    }

    #[test]
    fn a_target_at_the_budget_does_not_pass() {
        // 1.125 % where the budget's edge is 1.125 %: nothing is proven, however long it takes.
        let mut leg = Leg::default();
        for _ in 0..2_000 {
            leg.observe(&Pair::new(9, 800, 1, 1000), &asked(Some(0.001)));
        }
        assert!(!leg.cleared());
    }

    #[test]
    fn a_proof_is_lost_when_the_target_turns_bad() {
        // Shown by ten good minutes, and no longer shown after two in which 5 % fail.
        let mut leg = Leg::default();
        for _ in 0..10 {
            leg.observe(&Pair::new(1, 1_000, 1, 1_000), &asked(None));
        }
        assert!(leg.cleared());
        for _ in 0..2 {
            leg.observe(&Pair::new(50, 1_000, 1, 1_000), &asked(None));
        }
        assert!(!leg.cleared());
    }

    #[test]
    fn a_budget_that_is_no_number_proves_nothing() {
        let mut leg = Leg::default();
        let wrong = Asked { tolerance: Tolerance { ratio: 1.0, margin: f64::NAN }, ..asked(None) };
        leg.observe(&Pair::new(0, 1_000_000, 0, 1_000_000), &wrong);
        assert!(!leg.cleared());
        assert_eq!(leg.requests_missing(&Pair::new(0, 100, 0, 100), &wrong), None);
    }

    #[test]
    fn one_burst_alone_opens_nothing() {
        let mut leg = Leg::default();
        leg.observe(&Pair::new(0, 1_000_000, 1_000, 1_000_000), &asked(Some(0.001)));
        assert!(!leg.cleared());
    }

    #[test]
    fn without_one_side_nothing_is_shown_or_foretold() {
        let mut leg = Leg::default();
        leg.observe(&Pair::new(0, 0, 1, 1000), &asked(None));
        leg.observe(&Pair::new(0, 1000, 0, 0), &asked(None));
        assert!(!leg.cleared());
        assert_eq!(leg.requests_missing(&Pair::new(0, 0, 1, 1000), &asked(None)), None);
    }
}
