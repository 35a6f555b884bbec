//! Flagger: absolute thresholds each minute, and a count of the checks that failed.
//!
//! From <https://docs.flagger.app/usage/metrics> (built-in checks: `request-success-rate` at least 99 %, "non 5xx
//! responses"; `request-duration`, the 99 % quantile, at most 500 ms; interval 1 m) and
//! <https://docs.flagger.app/usage/how-it-works> (`threshold`: "max number of failed metric checks before rollback", 5 in
//! the examples; "on each run … if the failed checks threshold is reached, stops the analysis and rolls back"). The count
//! is over the whole analysis. A metric without values fails its check ("Halt advancement no values found"). A failed
//! check also halts the weight for that run; here the ladder is the same for all.

use judge::Block;

use super::{error_share, quantile_millis};
use crate::judged::rule::Peer;

/// The example configuration of its documentation.
#[derive(Clone, Debug)]
pub struct Flagger {
    /// The least share of requests that are not 5XX (0.99).
    pub success_min: f64,
    /// The greatest 99 % quantile of latency, in milliseconds (500).
    pub duration_max_millis: f64,
    /// How many failed checks roll back (5).
    pub threshold: u32,
    failed_checks: u32,
}

impl Default for Flagger {
    fn default() -> Self {
        Self { success_min: 0.99, duration_max_millis: 500.0, threshold: 5, failed_checks: 0 }
    }
}

impl Peer for Flagger {
    fn minute(&mut self, minute: &Block) -> bool {
        let target = &minute.target;
        let success = error_share(target).is_some_and(|errors| 1.0 - errors >= self.success_min);
        let quick = quantile_millis(&target.latency, 0.99).is_some_and(|millis| millis <= self.duration_max_millis);
        // One check a run: the first metric that fails ends it.
        if !(success && quick) {
            self.failed_checks += 1;
        }
        self.failed_checks >= self.threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(requests: u64, errors: u64, micros: u64) -> Block {
        let mut block = Block { millis: 60_000, ..Block::default() };
        block.target.requests = requests;
        block.target.status_5xx = errors;
        block.target.status_2xx = requests - errors;
        block.target.latency.record(micros, requests);
        block
    }

    /// After how many of the minutes it rolls back.
    fn rolls_back(minutes: &[Block]) -> Option<usize> {
        let mut flagger = Flagger::default();
        minutes.iter().position(|minute| flagger.minute(minute)).map(|at| at + 1)
    }

    #[test]
    fn the_fifth_failed_check_rolls_back() {
        // As its log has it: "failed checks threshold reached 5". The count is not reset by a good minute.
        let (good, bad) = (minute(1000, 9, 100_000), minute(1000, 11, 100_000));
        assert_eq!(rolls_back(&vec![bad.clone(); 9]), Some(5));
        let mixed: Vec<Block> = (0..10).flat_map(|_| [good.clone(), bad.clone()]).collect();
        assert_eq!(rolls_back(&mixed), Some(10));
        assert_eq!(rolls_back(&vec![good; 70]), None);
    }

    #[test]
    fn at_the_threshold_a_check_passes() {
        // Exactly 99 % and a quantile under 500 ms; one request more or half a millisecond, and it fails.
        assert_eq!(rolls_back(&vec![minute(1000, 10, 480_000); 9]), None);
        assert_eq!(rolls_back(&vec![minute(1000, 0, 530_000); 9]), Some(5));
    }

    #[test]
    fn no_values_fail_and_a_minute_counts_once() {
        assert_eq!(rolls_back(&vec![Block::default(); 9]), Some(5));
        // Both metrics fail in the same run: one failed check.
        assert_eq!(rolls_back(&vec![minute(1000, 100, 900_000); 9]), Some(5));
    }
}
