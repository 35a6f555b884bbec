//! Proof that a target does no more than a stated harm: what a step must win before it ends.
//!
//! The same e-variables as against the target, with the bet turned round: the claim to be refuted is "at the next
//! weight, more than the budget of all requests would be worse". It begins anew with each step. A target that merely
//! shows no sign of trouble does not end a step; enough requests do.
//!
//! # Why a proof can begin again, and what that costs
//! An outage throws the wealth of every bet so far down that no traffic of the following days would bring it back: at
//! 250 requests a second, a tenth of them the target's, ten minutes in which half of the target's fail cost the least
//! bold bet 900 nats and the boldest 14,000, and a healthy minute wins at most three. So [`FIRST_STAKE`] is bet at the beginning and the rest is kept
//! for fresh starts: where less is left than the next stake, and the burst that just ended spoke for the target, the
//! next stake is laid down. Whether and how much is staked on a block is settled by the blocks before it, and all
//! stakes together are
//!
//! ```text
//! 0.95 + sum over n >= 1 of 0.05 / (n (n + 1)) = 0.95 + 0.05 = 1.
//! ```
//!
//! Let `A` be the staked wealth, `s` the stake and `e` the e-variable of a block: `A' = (A + s) e`, and let `R` be what is
//! not staked yet, `R' = R - s`. While the target does more harm than the budget, `E[e] <= 1` whatever happened before
//! (dividing its logarithm by a dispersion of at least 1 keeps that by Jensen's inequality; caps only lower it), so
//! `E[A' + R'] <= A + R`, which begins at 1. By Ville's inequality `A + R` ever reaches `1 / b` with a chance of at most
//! `b`, and so does `A`, over the whole step and all its fresh starts together. The first stake costs `ln(1 / 0.95)`, 0.05
//! nats of some 3.7; a proof after the first outage takes 3.6 nats more than the one before it, two or three bursts.

use serde::{Deserialize, Serialize};

use crate::evidence::{PASS_RATIOS, Pair, Tolerance, bet, log_e_below, log_e22};
use crate::guard::TRIVIAL;
use crate::numbers::{log_add_exp, log_sum_exp};
use crate::wealth::dampened;

/// One burst cannot prove more than this, as log evidence.
const CAP: f64 = 3.0;
/// How much is staked when a step begins.
pub const FIRST_STAKE: f64 = 0.95;
/// How many bursts' worth of proof beyond what is needed are kept: what came before must not outweigh what comes now.
const KEPT_BURSTS: f64 = 2.0;

/// One thing that must be shown before a step ends: errors, bad answers, or answers slower than one quantile.
///
/// ```
/// use judge::evidence::{Pair, Tolerance};
/// use judge::pass::{Asked, Leg};
/// // No failure in 600 requests of the target, where "2 % or more" is to be refuted at 5 %. The boldest bet is that only
/// // 15 % of that fail; it alone wins -600 ln(1 - 0.02 * 0.85) = 10.3 nats, and 0.95 / 5 of e^10.3 is above 1 / 5 %; but
/// // one burst proves 3 nats at most, so it takes two.
/// let asked = Asked {
///     tolerance: Tolerance { ratio: 1.0, margin: 0.02 },
///     share: 0.0,
///     phi: 1.0,
///     baseline: None,
///     wrong_pass_max: 0.05,
///     bursts: 1.0,
/// };
/// let mut leg = Leg::default();
/// leg.observe(&Pair::new(0, 600, 0, 5_400), &asked);
/// assert!(!leg.cleared());
/// leg.observe(&Pair::new(0, 600, 0, 5_400), &asked);
/// assert!(leg.cleared());
/// ```
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
    /// Fresh starts so far.
    fresh: u32,
    /// Whether the next block begins with one.
    due: bool,
    /// How long the open burst is, in bursts, and what each bet won in it.
    open: f64,
    won: [f64; PASS_RATIOS.len()],
}

impl Route {
    /// The first stake laid down, nothing won.
    fn new() -> Self {
        Self {
            logs: [FIRST_STAKE.ln(); PASS_RATIOS.len()],
            levels: [CAP; PASS_RATIOS.len()],
            fresh: 0,
            due: false,
            open: 0.0,
            won: [0.0; PASS_RATIOS.len()],
        }
    }

    /// Log of the stake of the next fresh start.
    fn log_next_stake(&self) -> f64 {
        let n = f64::from(self.fresh) + 1.0;
        ((1.0 - FIRST_STAKE) / (n * (n + 1.0))).ln()
    }

    fn take(&mut self, evidence: impl Fn(f64) -> f64, asked: &Asked) {
        let most = needed(asked) + (PASS_RATIOS.len() as f64).ln() + KEPT_BURSTS * CAP;
        let log_stake = self.due.then(|| self.log_next_stake());
        for (at, ratio) in PASS_RATIOS.into_iter().enumerate() {
            let won = dampened(evidence(ratio), &mut self.levels[at], CAP, asked.bursts);
            let staked = log_stake.map_or(self.logs[at], |log_stake| log_add_exp(self.logs[at], log_stake));
            // What is thrown away above `most` only lowers the wealth.
            self.logs[at] = (staked + won).min(most);
            self.won[at] += won;
        }
        if log_stake.is_some() {
            self.fresh = self.fresh.saturating_add(1);
            self.due = false;
        }
        self.open += asked.bursts;
        if self.open >= 1.0 {
            // Not during an outage: then it would be lost at once, and there are ever smaller ones only.
            let spoke_for = self.won.iter().any(|&won| won > 0.0);
            self.due = spoke_for && self.log_mean() < self.log_next_stake();
            (self.open, self.won) = (0.0, [0.0; PASS_RATIOS.len()]);
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

impl Asked {
    /// Whether so much is allowed that nothing needs to be shown.
    fn is_trivial(&self) -> bool {
        self.tolerance.ratio * self.share + self.tolerance.margin >= TRIVIAL
    }
}

impl Default for Leg {
    /// Nothing is shown.
    fn default() -> Self {
        Self { against_source: Route::new(), against_baseline: Route::new(), cleared: false }
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
        if asked.is_trivial() {
            self.cleared = true;
            return;
        }
        if !pair.is_one_sided() {
            let evidence = |ratio| log_e22(pair, tolerance, share, bet(pair, tolerance, share, ratio)) / phi;
            self.against_source.take(evidence, asked);
        }
        if let Some(baseline) = asked.baseline
            && pair.target > 0.0
        {
            let p0 = tolerance.ratio * baseline + tolerance.margin;
            let evidence = |ratio| log_e_below(pair.target_hits, pair.target, p0, ratio) / phi;
            self.against_baseline.take(evidence, asked);
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
        if self.cleared || asked.is_trivial() {
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
        let route = &self.against_source;
        let held = route.log_mean().max(route.log_next_stake());
        let to_go = needed(asked) + (PASS_RATIOS.len() as f64).ln() / 2.0 - held;
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

    /// How many minutes of a healthy target it takes until the leg is shown.
    fn minutes_to_clear(leg: &mut Leg, block: Pair, asked: &Asked) -> u32 {
        let mut minutes = 0;
        while !leg.cleared() {
            leg.observe(&block, asked);
            minutes += 1;
            assert!(minutes < 10_000, "never shown: {leg:?}");
        }
        minutes
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
        // Shown by ten good minutes, or by ten hours of them, and no longer shown after two in which 5 % fail.
        for good in [10, 600] {
            let mut leg = Leg::default();
            for _ in 0..good {
                leg.observe(&Pair::new(1, 1_000, 1, 1_000), &asked(None));
            }
            assert!(leg.cleared());
            for _ in 0..2 {
                leg.observe(&Pair::new(50, 1_000, 1, 1_000), &asked(None));
            }
            assert!(!leg.cleared(), "after {good} good minutes");
        }
    }

    #[test]
    fn a_proof_is_found_again_minutes_after_an_outage() {
        // Ten minutes, an hour and a day in which the target fails half, or both sides do and it the more; then both are
        // well. It takes a few minutes more than from the beginning, where without fresh starts it would take days.
        let healthy = Pair::new(1, 1_500, 13, 13_500);
        let usual = minutes_to_clear(&mut Leg::default(), healthy, &asked(Some(0.001)));
        for outage in [Pair::new(750, 1_500, 13, 13_500), Pair::new(900, 1_500, 6_075, 13_500)] {
            for minutes in [10, 60, 1_440] {
                let mut leg = Leg::default();
                for _ in 0..minutes {
                    leg.observe(&outage, &asked(Some(0.001)));
                    assert!(!leg.cleared());
                }
                let recovered = minutes_to_clear(&mut leg, healthy, &asked(Some(0.001)));
                assert!(recovered <= usual + 4, "{recovered} minutes, usually {usual}, after {minutes}");
            }
        }
    }

    #[test]
    fn ten_outages_cost_a_few_minutes_each() {
        let (healthy, outage) = (Pair::new(1, 1_500, 13, 13_500), Pair::new(900, 1_500, 6_075, 13_500));
        let mut leg = Leg::default();
        for _ in 0..10 {
            for _ in 0..30 {
                leg.observe(&outage, &asked(None));
            }
            assert!(!leg.cleared());
            assert!(minutes_to_clear(&mut leg, healthy, &asked(None)) <= 12);
        }
    }

    #[test]
    fn fresh_starts_in_seconds_are_as_many_as_in_minutes() {
        // An outage of ten minutes in blocks of a second uses up no more stakes than one in blocks of a minute.
        let second = Asked { bursts: 1.0 / 60.0, ..asked(None) };
        let mut leg = Leg::default();
        for _ in 0..600 {
            leg.observe(&Pair::new(12, 25, 112, 225), &second);
        }
        assert!(leg.against_source.fresh <= 1, "{leg:?}");
        let mut seconds = 0;
        while !leg.cleared() {
            leg.observe(&Pair::new(0, 25, 0, 225), &second);
            seconds += 1;
            assert!(seconds < 600);
        }
    }

    #[test]
    fn all_stakes_together_are_one() {
        let mut route = Route::new();
        let mut staked = FIRST_STAKE;
        for _ in 0..100_000 {
            staked += route.log_next_stake().exp();
            route.fresh += 1;
        }
        assert!(staked < 1.0 && staked > 1.0 - 2e-6, "{staked}");
    }

    #[test]
    fn with_its_fresh_starts_a_route_is_never_expected_to_win() {
        // By enumeration of every sequence of three blocks (two requests of each side) after different histories, one of
        // which leaves a fresh start due: what is staked and what is not are worth at most what they were.
        let asked = Asked { tolerance: Tolerance { ratio: 1.25, margin: 0.2 }, share: 0.1, ..asked(None) };
        let unlaid = |route: &Route| {
            (0..route.fresh).fold(1.0 - FIRST_STAKE, |rest, n| {
                let n = f64::from(n) + 1.0;
                rest - (1.0 - FIRST_STAKE) / (n * (n + 1.0))
            })
        };
        let worth = |leg: &Leg| leg.against_source.log_mean().exp() + unlaid(&leg.against_source);
        let mut histories = vec![Leg::default()];
        let mut broken = Leg::default();
        for _ in 0..3 {
            broken.observe(&Pair::new(20, 20, 1, 20), &asked);
        }
        broken.observe(&Pair::new(0, 20, 1, 20), &asked);
        assert!(broken.against_source.due);
        histories.push(broken);
        for (history, source) in histories.into_iter().flat_map(|leg| [0.0, 0.1, 0.4].map(|share| (leg.clone(), share)))
        {
            let target: f64 = 1.25 * source + 0.2;
            let chance = |hits: u64, share: f64| match hits {
                0 => (1.0 - share).powi(2),
                1 => 2.0 * share * (1.0 - share),
                _ => share.powi(2),
            };
            let mut ways = vec![(1.0, history.clone())];
            for _ in 0..3 {
                let mut next = Vec::new();
                for (before, leg) in &ways {
                    for (kt, ks) in (0..3).flat_map(|kt| (0..3).map(move |ks| (kt, ks))) {
                        let mut leg = leg.clone();
                        leg.observe(&Pair::new(kt, 2, ks, 2), &asked);
                        next.push((before * chance(kt, target) * chance(ks, source), leg));
                    }
                }
                ways = next;
                let expected: f64 = ways.iter().map(|(chance, leg)| chance * worth(leg)).sum();
                assert!(expected <= worth(&history) + 1e-9, "{expected} of {}", worth(&history));
            }
        }
    }

    #[test]
    fn at_the_margin_no_more_pass_than_promised() {
        // Simulated: targets exactly at the edge of the budget, with and without an outage in the middle, watched for
        // four hours. Of 1,000 cutovers at 5 %, 50 are promised at most; more than 72 would be a wonder (1 in 1,000).
        let mut passed = [0, 0];
        for (at, outages) in [false, true].into_iter().enumerate() {
            for seed in 0..1_000 {
                let mut rng = fastrand::Rng::with_seed(seed);
                let mut leg = Leg::default();
                let asked = Asked { tolerance: Tolerance { ratio: 1.25, margin: 0.02 }, share: 0.02, ..asked(None) };
                for minute in 0..240 {
                    let broken = outages && minute % 60 < 10;
                    let source = if broken { 0.5 } else { 0.02 };
                    let edge: f64 = 1.25 * source + 0.02;
                    let mut hits =
                        |requests: u64, share: f64| (0..requests).filter(|_| rng.f64() < share).count() as u64;
                    let pair = Pair::new(hits(60, edge.min(1.0)), 60, hits(140, source), 140);
                    leg.observe(&pair, &asked);
                    if leg.cleared() {
                        passed[at] += 1;
                        break;
                    }
                }
            }
        }
        assert!(passed.iter().all(|&passed| passed <= 72), "{passed:?} of 1,000");
        assert!(passed[0] > 0, "a test that no target could fail shows nothing");
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
