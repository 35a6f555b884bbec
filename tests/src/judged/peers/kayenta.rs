//! Kayenta: its judge `NetflixACAJudge`, a Mann-Whitney test on the minutes' values of each metric.
//!
//! From its documentation (<https://github.com/spinnaker/kayenta/blob/master/docs/canary-config.md> and the judge's page)
//! and the published behaviour of its classifier: a metric is *High* when the lower end of the 98 % interval of the
//! Hodges-Lehmann shift lies above 0.25 times the estimate's absolute value and the ratio of the means is at least the
//! allowed increase (1.0 if nothing is said); identical and constant samples pass; a side without values is *Nodata*.
//!
//! The canary's configuration here: three metrics, of which a rise is a failure (share of errors, mean latency, 99 %
//! quantile), one value a minute; a window that grows from the start and is judged every five minutes, as Spinnaker's
//! canary stage does with a lookback of 0; and any *High* fails the canary, since a score would let one bad metric of
//! three pass.

use judge::Block;

use super::mann_whitney::{Shift, shift};
use super::{error_share, mean_millis, quantile_millis};
use crate::judged::rule::Peer;

/// The part of the estimate that the interval must clear.
const TOLERANCE: f64 = 0.25;
/// The level of the interval.
const CONFIDENCE: f64 = 0.98;
/// Minutes between two looks.
const LOOK_MINUTES: u32 = 5;

/// One metric's values, a minute each; minutes without one are left out.
#[derive(Clone, Debug, Default)]
struct Metric {
    control: Vec<f64>,
    experiment: Vec<f64>,
}

/// The judge of one canary.
#[derive(Clone, Debug)]
pub struct Kayenta {
    allowed_increase: f64,
    metrics: [Metric; 3],
    minutes: u32,
}

impl Kayenta {
    /// A canary that has seen nothing. `allowed_increase` is the ratio of means from which a rise counts (1.0).
    pub fn new(allowed_increase: f64) -> Self {
        Self { allowed_increase, metrics: Default::default(), minutes: 0 }
    }
}

impl Peer for Kayenta {
    fn minute(&mut self, minute: &Block) -> bool {
        let values = |counts: &judge::Counts| {
            [error_share(counts), mean_millis(&counts.latency), quantile_millis(&counts.latency, 0.99)]
        };
        let (source, target) = (values(&minute.source), values(&minute.target));
        for ((metric, source), target) in self.metrics.iter_mut().zip(source).zip(target) {
            metric.control.extend(source);
            metric.experiment.extend(target);
        }
        self.minutes += 1;
        self.minutes.is_multiple_of(LOOK_MINUTES)
            && self.metrics.iter().any(|metric| {
                is_high(&metric.experiment, &metric.control, TOLERANCE, CONFIDENCE, self.allowed_increase)
            })
    }
}

/// Whether a metric of which a rise is a failure is classified *High*.
fn is_high(experiment: &[f64], control: &[f64], tolerance: f64, confidence: f64, allowed_increase: f64) -> bool {
    let Some(Shift { low, estimate, .. }) = shift(experiment, control, confidence) else { return false };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (experiment, control) = (mean(experiment), mean(control));
    // Of nothing, anything is an increase.
    let effect = if control > 0.0 { experiment / control } else { f64::INFINITY };
    low > tolerance * estimate.abs() && effect >= allowed_increase
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_classifiers_own_examples_are_reproduced() {
        // Its ClassifierSuite: thirty values around 10 or 20 on each side.
        let examples: serde_json::Value = serde_json::from_str(include_str!("kayenta.json")).unwrap();
        let numbers = |value: &serde_json::Value| -> Vec<f64> { serde_json::from_value(value.clone()).unwrap() };
        for example in examples["classifier"]["examples"].as_array().unwrap() {
            let high = is_high(&numbers(&example["experiment"]), &numbers(&example["control"]), 0.10, 0.95, 1.0);
            assert_eq!(high, example["high"].as_bool().unwrap(), "{}", example["name"]);
        }
    }

    #[test]
    fn an_increase_counts_from_what_is_allowed() {
        let control: Vec<f64> = (0..30).map(|at| 100.0 + f64::from(at % 5)).collect();
        let experiment: Vec<f64> = control.iter().map(|value| value * 1.08).collect();
        assert!(is_high(&experiment, &control, TOLERANCE, CONFIDENCE, 1.0));
        assert!(!is_high(&experiment, &control, TOLERANCE, CONFIDENCE, 1.1));
    }

    #[test]
    fn the_same_and_nothing_pass() {
        let values: Vec<f64> = (0..30).map(f64::from).collect();
        assert!(!is_high(&values, &values, TOLERANCE, CONFIDENCE, 1.0));
        assert!(!is_high(&[], &values, TOLERANCE, CONFIDENCE, 1.0));
        assert!(!is_high(&[0.0; 9], &[0.0; 9], TOLERANCE, CONFIDENCE, 1.0));
    }

    #[test]
    fn a_canary_is_judged_every_five_minutes() {
        // A target that fails outright: the first look is after five minutes, and five values a side are enough.
        let mut minute = Block { millis: 60_000, ..Block::default() };
        let mut kayenta = Kayenta::new(1.0);
        let failed: Vec<bool> = (0..5u64)
            .map(|at| {
                (minute.source.requests, minute.source.status_5xx) = (1000, at % 2);
                (minute.target.requests, minute.target.status_5xx) = (100, 95 + at);
                kayenta.minute(&minute)
            })
            .collect();
        assert_eq!(failed, [false, false, false, false, true]);
    }
}
