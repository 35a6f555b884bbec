//! What has been won so far by betting against the target, and how much may be staked.
//!
//! Each alternative is a gambler with a wealth of its own. Its stake is not laid down at the beginning: a part at each
//! new step, because most defects are there from the first request on, and a trickle in between, so that a fault that
//! appears late is bet against as freshly as an early one. All stakes together are at most 1 (Shiryaev-Roberts with a
//! total start mass of 1), so that the chance of a false alarm over the whole cutover stays bounded.

use serde::{Deserialize, Serialize};

use crate::numbers::{LOG_ZERO, log_add_exp, log_sum_exp};

/// The part of the stake that is laid down at new steps; the rest trickles.
const STEP_MASS: f64 = 0.8;
/// The part of [`STEP_MASS`] that the first step gets.
const FIRST_SHARE: f64 = 0.6;
/// Half of the trickle is laid down after so many minutes.
const TRICKLE_MINUTES: f64 = 30.0;

/// No block speaks more for the target than this, so that sums stay numbers whatever is counted.
const EVIDENCE_MIN: f64 = -1e200;

/// The stakes that are still to be laid down.
///
/// ```
/// // Seven steps, the first beginning with the first minute: 0.8 * 0.6 + 0.2 * 30 / (30 * 31).
/// let mut stakes = judge::wealth::Stakes::new(7);
/// assert!((stakes.lay(1.0, true) - 0.486_451_612_903_225_75).abs() < 1e-12);
/// assert!((stakes.rest() - 0.513_548_387_096_774_2).abs() < 1e-12);
/// // A minute without a new step: 0.2 * 30 / (31 * 32).
/// assert!((stakes.lay(1.0, false) - 0.006_048_387_096_774_193).abs() < 1e-12);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stakes {
    steps: u32,
    minutes: f64,
    stepped: bool,
    step_rest: f64,
    trickle_rest: f64,
}

impl Stakes {
    /// The stakes of a ladder of so many steps (at least 1).
    pub fn new(steps: u32) -> Self {
        Self { steps: steps.max(1), minutes: 0.0, stepped: false, step_rest: STEP_MASS, trickle_rest: 1.0 - STEP_MASS }
    }

    /// What is laid down before a block of so many minutes. A ladder climbed again gets what the steps have left.
    pub fn lay(&mut self, minutes: f64, new_step: bool) -> f64 {
        let laid = |minutes: f64| (1.0 - STEP_MASS) * minutes / (minutes + TRICKLE_MINUTES);
        let mut stake = laid(self.minutes + minutes) - laid(self.minutes);
        self.minutes += minutes;
        stake = stake.clamp(0.0, self.trickle_rest);
        self.trickle_rest -= stake;
        if new_step {
            let share = match (self.stepped, self.steps) {
                (false, 1) => 1.0,
                (false, _) => FIRST_SHARE,
                (true, 1) => 0.0,
                (true, steps) => (1.0 - FIRST_SHARE) / f64::from(steps - 1),
            };
            let step = (STEP_MASS * share).min(self.step_rest);
            self.stepped = true;
            self.step_rest -= step;
            stake += step;
        }
        stake
    }

    /// What has not been laid down yet, 0 to 1.
    pub fn rest(&self) -> f64 {
        self.step_rest + self.trickle_rest
    }
}

/// The wealth of the alternatives of one guard (Shiryaev and Roberts' recursion, in logarithms).
///
/// ```
/// // Half of all is staked and wins 5, of which one burst may take in 3; in the next burst another tenth is staked, and
/// // both lose 1: ln((0.5 e^3 + 0.1) e^-1).
/// let mut wealth = judge::wealth::Wealth::new(1, 3.0);
/// wealth.take([5.0], 0.5f64.ln(), 1.0);
/// wealth.take([-1.0], 0.1f64.ln(), 1.0);
/// let worked = ((0.5 * 3f64.exp() + 0.1) * (-1f64).exp()).ln();
/// assert!((wealth.log_mean() - worked).abs() < 1e-12);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wealth {
    /// Log wealth of each alternative.
    logs: Vec<f64>,
    /// How much log evidence each alternative may still take in.
    levels: Vec<f64>,
    /// The capacities of `levels`, which come back once a burst.
    caps: Vec<f64>,
}

impl Wealth {
    /// Nothing won and nothing staked, for so many alternatives. One burst can add no more log evidence than `cap`: so
    /// a single bad minute of a single instance cannot revert.
    pub fn new(alternatives: usize, cap: f64) -> Self {
        Self { logs: vec![LOG_ZERO; alternatives], levels: vec![cap; alternatives], caps: vec![cap; alternatives] }
    }

    /// Lets one burst add no more than `cap` to the alternatives from `from` on. To be said before the first block.
    pub fn hold(&mut self, from: usize, cap: f64) {
        for (level, most) in self.levels.iter_mut().zip(&mut self.caps).skip(from) {
            *most = most.min(cap);
            *level = level.min(cap);
        }
    }

    /// Lays down a stake (its log) and takes in one block's log evidence per alternative, in the order of the
    /// alternatives. `bursts` is how long the block is, in bursts.
    pub fn take(&mut self, evidence: impl IntoIterator<Item = f64>, log_stake: f64, bursts: f64) {
        for (((log, level), &cap), evidence) in self.logs.iter_mut().zip(&mut self.levels).zip(&self.caps).zip(evidence)
        {
            *log = log_add_exp(*log, log_stake) + dampened(evidence, level, cap, bursts);
        }
    }

    /// Log of the mean wealth.
    pub fn log_mean(&self) -> f64 {
        log_sum_exp(self.logs.iter().copied()) - (self.logs.len() as f64).ln()
    }

    /// Each alternative's log wealth.
    pub fn logs(&self) -> &[f64] {
        &self.logs
    }
}

/// A leaky bucket: it refills by its capacity once a burst, and only evidence against the target spends it. What is no
/// number is no evidence.
pub(crate) fn dampened(evidence: f64, level: &mut f64, cap: f64, bursts: f64) -> f64 {
    let evidence = if evidence.is_nan() { 0.0 } else { evidence.max(EVIDENCE_MIN) };
    *level = (*level + cap * bursts).min(cap);
    let taken = evidence.min(*level);
    *level -= taken.max(0.0);
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_more_than_one_is_ever_staked(
            steps in 1u32..12, blocks in prop::collection::vec((0.01f64..20.0, any::<bool>()), 1..200),
        ) {
            // Any ladder, climbed in any way, any block lengths.
            let mut stakes = Stakes::new(steps);
            let mut laid = 0.0;
            for (minutes, new_step) in blocks {
                let stake = stakes.lay(minutes, new_step);
                prop_assert!(stake >= 0.0);
                laid += stake;
                prop_assert!((laid + stakes.rest() - 1.0).abs() < 1e-9 && stakes.rest() >= 0.0);
            }
        }

        #[test]
        fn a_burst_takes_in_no_more_than_two_caps(evidence in prop::collection::vec(-5.0f64..5.0, 60)) {
            // Sixty one-second blocks: what was in the bucket plus what came back in the minute.
            let mut level = 3.0;
            let taken: f64 = evidence.iter().map(|&e| dampened(e, &mut level, 3.0, 1.0 / 60.0).max(0.0)).sum();
            prop_assert!(taken <= 6.0 + 1e-9);
        }
    }

    #[test]
    fn alternatives_that_are_held_take_in_less_of_a_burst() {
        let mut wealth = Wealth::new(2, 2.5);
        wealth.hold(1, 1.0);
        wealth.take([9.0, 9.0], 0.0, 1.0);
        // The stake is all there is, so that the wealth is what was taken in.
        assert!((wealth.logs()[0] - 2.5).abs() < 1e-12 && (wealth.logs()[1] - 1.0).abs() < 1e-12);
    }

    #[test]
    fn with_blocks_of_a_burst_the_bucket_is_a_plain_cap() {
        let mut level = 3.0;
        let taken: Vec<f64> = [5.0, -1.0, 2.0, 9.0].iter().map(|&e| dampened(e, &mut level, 3.0, 1.0)).collect();
        assert_eq!(taken, [3.0, -1.0, 2.0, 3.0]);
    }
}
