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

/// Into so many slots a burst is divided: what was won is remembered by the slot.
const SLOTS: usize = 6;

/// What one alternative has won lately, so that no stretch of a burst's length wins more than the cap.
///
/// A bucket that refills while it is spent from would let one bad minute, counted in blocks of a second, win twice what the
/// same minute wins as one block; measured, that made pauses of one side revert three times as many healthy cutovers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Lately {
    /// What was won in each slot that may still count: those of a burst and the one that is under way.
    won: [f64; SLOTS + 1],
}

/// The wealth of the alternatives of one guard (Shiryaev and Roberts' recursion, in logarithms).
///
/// ```
/// // Half of all is staked and wins 5, of which one burst may take in 3; in the next burst another tenth is staked, and
/// // both lose 1: ln((0.5 e^3 + 0.1) e^-1).
/// let mut wealth = judge::wealth::Wealth::new(1, 3.0, false);
/// wealth.take([5.0], 0.5f64.ln(), 1.0);
/// wealth.take([-1.0], 0.1f64.ln(), 1.0);
/// let worked = ((0.5 * 3f64.exp() + 0.1) * (-1f64).exp()).ln();
/// assert!((wealth.log_mean() - worked).abs() < 1e-12);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wealth {
    /// Log wealth of each alternative.
    logs: Vec<f64>,
    /// What each alternative has won lately.
    lately: Vec<Lately>,
    /// The most log evidence that each alternative may win in a stretch of a burst's length.
    caps: Vec<f64>,
    /// Whether the first burst may win the cap a second time as it goes on.
    head_start: bool,
    /// How many slots have passed.
    at: f64,
}

impl Wealth {
    /// Nothing won and nothing staked, for so many alternatives. No stretch of a burst's length can add more log evidence
    /// than `cap`: so a single bad minute of a single instance cannot revert.
    ///
    /// With a `head_start` the first burst may win up to the cap once more as it goes on, so that blocks shorter than it
    /// find a target that is bad from the first request within it; with blocks of a burst that changes nothing.
    pub fn new(alternatives: usize, cap: f64, head_start: bool) -> Self {
        let (lately, caps) = (vec![Lately::default(); alternatives], vec![cap; alternatives]);
        Self { logs: vec![LOG_ZERO; alternatives], lately, caps, head_start, at: 0.0 }
    }

    /// Lets a stretch of a burst's length add no more than `cap` to the alternatives from `from` on.
    /// To be said before the first block.
    pub fn hold(&mut self, from: usize, cap: f64) {
        for most in self.caps.iter_mut().skip(from) {
            *most = most.min(cap);
        }
    }

    /// Lays down a stake (its log) and takes in one block's log evidence per alternative, in the order of the
    /// alternatives. `bursts` is how long the block is, in bursts.
    pub fn take(&mut self, evidence: impl IntoIterator<Item = f64>, log_stake: f64, bursts: f64) {
        let slots = SLOTS as f64;
        let begun = self.at / slots;
        let times = if self.head_start && begun < 1.0 { 1.0 + begun } else { 1.0 };
        let before = self.at.ceil();
        self.at += bursts * slots;
        // Sixty sixtieths are not quite one.
        if (self.at - self.at.round()).abs() < 1e-6 {
            self.at = self.at.round();
        }
        let now = self.at.ceil();
        // What was won in the oldest slot was won a burst ago when the slot under way is complete.
        let whole = self.at >= now;
        let place = |slot: f64| (slot % (slots + 1.0)) as usize;
        let alternatives = self.logs.iter_mut().zip(&mut self.lately).zip(&self.caps);
        for (((log, lately), &cap), evidence) in alternatives.zip(evidence) {
            for slot in 1..=(now - before).clamp(0.0, slots + 1.0) as usize {
                lately.won[place(before + slot as f64)] = 0.0;
            }
            let old = if whole { lately.won[place(now + 1.0)] } else { 0.0 };
            let room = (times * cap - (lately.won.iter().sum::<f64>() - old)).max(0.0);
            let won = number(evidence).min(room);
            lately.won[place(now)] += won.max(0.0);
            *log = log_add_exp(*log, log_stake) + won;
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

/// Evidence as a number that sums can hold; what is none is no evidence.
fn number(evidence: f64) -> f64 {
    if evidence.is_nan() { 0.0 } else { evidence.max(EVIDENCE_MIN) }
}

/// A leaky bucket, for the proofs that open a step: it refills by its capacity once a burst, and only what is won spends
/// it. What is no number is no evidence.
pub(crate) fn dampened(evidence: f64, level: &mut f64, cap: f64, bursts: f64) -> f64 {
    let evidence = number(evidence);
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
        fn no_stretch_of_a_bursts_length_wins_more_than_the_cap(
            evidence in prop::collection::vec(-1.0f64..3.0, 180), millis in prop::sample::select(vec![1_000u64, 1_500, 7_000, 10_000, 30_000, 60_000]),
        ) {
            // Whatever the blocks, and wherever in them the stretch begins; a lone stake shows what was won.
            let bursts = millis as f64 / 60_000.0;
            let mut wealth = Wealth::new(1, 3.0, false);
            wealth.take([0.0], 0.0, bursts);
            let mut won = Vec::new();
            for &evidence in &evidence {
                let before = wealth.logs()[0];
                wealth.take([evidence], LOG_ZERO, bursts);
                won.push((wealth.logs()[0] - before).max(0.0));
            }
            for stretch in won.windows((60_000 / millis) as usize) {
                let won = stretch.iter().sum::<f64>();
                prop_assert!(won <= 3.0 + 1e-9, "{}", won);
            }
        }

        #[test]
        fn a_leaky_bucket_takes_in_no_more_than_two_caps_a_burst(evidence in prop::collection::vec(-5.0f64..5.0, 60)) {
            // Sixty one-second blocks: what was in the bucket plus what came back in the minute.
            let mut level = 3.0;
            let taken: f64 = evidence.iter().map(|&e| dampened(e, &mut level, 3.0, 1.0 / 60.0).max(0.0)).sum();
            prop_assert!(taken <= 6.0 + 1e-9);
        }
    }

    /// What an alternative wins that is offered more than it may win, block by block.
    fn won(head_start: bool, millis: u64, blocks: usize) -> Vec<f64> {
        let mut wealth = Wealth::new(1, 3.0, head_start);
        let bursts = millis as f64 / 60_000.0;
        let mut last = 0.0;
        let mut won = Vec::new();
        for at in 0..blocks {
            wealth.take([9.0], if at == 0 { 0.0 } else { LOG_ZERO }, bursts);
            won.push(((wealth.logs()[0] - last) * 1e9).round() / 1e9);
            last = wealth.logs()[0];
        }
        won
    }

    #[test]
    fn the_first_burst_may_win_twice_where_the_record_is_calm() {
        // Blocks of 10 s: the cap at once and again a minute later; with a head start half a nat a block in between.
        assert_eq!(won(false, 10_000, 8), [3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0, 0.0]);
        assert_eq!(won(true, 10_000, 6), [3.0, 0.5, 0.5, 0.5, 0.5, 0.5]);
        // Later it is as without.
        assert!(won(true, 10_000, 60)[6..].iter().sum::<f64>() <= 9.0 * 3.0);
        assert_eq!(won(true, 60_000, 3), won(false, 60_000, 3));
    }

    #[test]
    fn alternatives_that_are_held_take_in_less_of_a_burst() {
        let mut wealth = Wealth::new(2, 2.5, true);
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
