//! Argo Rollouts: a success rate every five minutes, and a limit on failed measurements.
//!
//! From <https://argo-rollouts.readthedocs.io/en/stable/features/analysis/>: the template `success-rate` of its examples,
//! `interval: 5m`, `successCondition: result[0] >= 0.95`, `failureLimit: 3`, on the share of responses that are not 5XX.
//! `failureLimit` is the number of failed measurements that are still allowed, so the fourth fails the analysis and
//! aborts the rollout; a measurement without a result is an error, and more than `consecutiveErrorLimit` (4) errors in a
//! row fail it too.

use judge::{Block, Counts};

use super::error_share;
use crate::judged::rule::Peer;

/// The example configuration of its documentation.
#[derive(Clone, Debug)]
pub struct Argo {
    /// Minutes between measurements, each over that long (5).
    pub interval_minutes: u32,
    /// The least share of requests that are not 5XX (0.95).
    pub success_min: f64,
    /// How many measurements may fail (3).
    pub failure_limit: u32,
    /// How many in a row may have no result (4).
    pub consecutive_error_limit: u32,
    minutes: u32,
    open: Counts,
    failed: u32,
    errors: u32,
}

impl Default for Argo {
    fn default() -> Self {
        Self {
            interval_minutes: 5,
            success_min: 0.95,
            failure_limit: 3,
            consecutive_error_limit: 4,
            minutes: 0,
            open: Counts::default(),
            failed: 0,
            errors: 0,
        }
    }
}

impl Peer for Argo {
    fn minute(&mut self, minute: &Block) -> bool {
        let Counts { requests, status_5xx, failed, .. } = minute.target;
        self.open.merge(&Counts { requests, status_5xx, failed, ..Counts::default() });
        self.minutes += 1;
        if self.minutes.is_multiple_of(self.interval_minutes) {
            match error_share(&std::mem::take(&mut self.open)) {
                None => self.errors += 1,
                Some(errors) => {
                    self.errors = 0;
                    self.failed += u32::from(1.0 - errors < self.success_min);
                }
            }
        }
        self.failed > self.failure_limit || self.errors > self.consecutive_error_limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(requests: u64, errors: u64) -> Block {
        let target = Counts { requests, status_5xx: errors, status_2xx: requests - errors, ..Counts::default() };
        Block { millis: 60_000, target, ..Block::default() }
    }

    /// After how many minutes it aborts.
    fn aborts(minutes: &[Block]) -> Option<usize> {
        let mut argo = Argo::default();
        minutes.iter().position(|minute| argo.minute(minute)).map(|at| at + 1)
    }

    #[test]
    fn the_fourth_failed_measurement_aborts() {
        // Three are allowed: measurements at 5, 10, 15 and 20 minutes.
        assert_eq!(aborts(&vec![minute(1000, 51); 70]), Some(20));
        assert_eq!(aborts(&vec![minute(1000, 50); 70]), None);
        // Failed measurements need not follow each other.
        let mixed: Vec<Block> = (0..70).map(|at| minute(1000, if at / 5 % 2 == 0 { 51 } else { 0 })).collect();
        assert_eq!(aborts(&mixed), Some(35));
    }

    #[test]
    fn a_minute_is_not_measured_alone() {
        // One minute in five at 20 % errors is 4 % of five minutes.
        let mixed: Vec<Block> = (0..70).map(|at| minute(1000, if at % 5 == 0 { 200 } else { 0 })).collect();
        assert_eq!(aborts(&mixed), None);
    }

    #[test]
    fn five_measurements_without_a_result_abort() {
        assert_eq!(aborts(&vec![Block::default(); 70]), Some(25));
    }
}
