//! The shift between two samples by ranks, with its confidence interval: Mann and Whitney, Hodges and Lehmann.
//!
//! As R's `wilcox.test(exact = FALSE, correct = TRUE, conf.int = TRUE)` documents it, which Kayenta's judge follows: the
//! interval holds every shift `d` for which the standardised rank statistic of `x - d` against `y`, with corrections for
//! continuity and ties, lies between the normal quantiles; the estimate is where it is 0. Kayenta and R stop their search
//! at a width of 1e-4; here it ends at the very difference where the statistic jumps, which is kinder to them: most minutes
//! of a quiet service have no error on either side, and a shift of nothing must not come out as one of 1e-5.

use judge::numbers::qnorm;

/// How far one sample is shifted against the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The Hodges-Lehmann estimate, found the same way.
    pub estimate: f64,
}

/// How often the search for an end halves: the first width times 2^-80 is below any difference.
const HALVINGS: u32 = 80;

/// The shift of `experiment` against `control` at a level of confidence (0 to 1); `None` when either is empty or all
/// values are the same.
pub fn shift(experiment: &[f64], control: &[f64], confidence: f64) -> Option<Shift> {
    let sorted = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        values
    };
    let (x, y) = (sorted(experiment), sorted(control));
    let (least, most) = (x.first()? - y.last()?, x.last()? - y.first()?);
    if most <= least {
        return None;
    }
    let z = qnorm(1.0 - (1.0 - confidence) / 2.0);
    let root = |quantile: f64, correct: bool| {
        let beyond = |d: f64| statistic(&x, &y, d, correct) - quantile;
        if beyond(least) <= 0.0 {
            return least;
        }
        if beyond(most) >= 0.0 {
            return most;
        }
        let (mut low, mut high) = (least, most);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            let value = beyond(middle);
            if value > 0.0 {
                low = middle;
            } else if value < 0.0 {
                high = middle;
            } else {
                return middle;
            }
            if high - low <= f64::EPSILON * low.abs().max(high.abs()) {
                break;
            }
        }
        jump(&x, &y, low, high)
    };
    Some(Shift { low: root(z, true), high: root(-z, true), estimate: root(0.0, true) })
}

/// Where the statistic jumps between two shifts that the search has come down to: a difference between a value of `x` and
/// one of `y`, both ascending. Their middle if there is none.
fn jump(x: &[f64], y: &[f64], low: f64, high: f64) -> f64 {
    let near = f64::EPSILON * 4.0 * x.iter().chain(y).fold(0.0, |most: f64, value| most.max(value.abs()));
    let middle = f64::midpoint(low, high);
    let differences = x.iter().filter_map(|&x| {
        // The smallest y that is not too far below: x - y falls with y.
        let at = y.partition_point(|&y| x - y > high + near);
        y.get(at).map(|&y| x - y).filter(|&d| d >= low - near)
    });
    differences.min_by(|a, b| (a - middle).abs().total_cmp(&(b - middle).abs())).unwrap_or(middle)
}

/// The standardised rank statistic of `x` moved down by `shifted` against `y`, both ascending; falls with `shifted`.
fn statistic(x: &[f64], y: &[f64], shifted: f64, correct: bool) -> f64 {
    let (count_x, count_y) = (x.len() as f64, y.len() as f64);
    let all = count_x + count_y;
    // The sum of x's ranks, equal values at the middle of theirs, over both in ascending order.
    let (mut at_x, mut at_y) = (0, 0);
    let (mut ranks, mut ties, mut before) = (0.0, 0.0, 0.0);
    while at_x < x.len() || at_y < y.len() {
        let next_x = x.get(at_x).map_or(f64::INFINITY, |value| value - shifted);
        let next_y = y.get(at_y).copied().unwrap_or(f64::INFINITY);
        let next = next_x.min(next_y);
        let (from_x, from_y) = (at_x, at_y);
        while x.get(at_x).is_some_and(|value| value - shifted <= next) {
            at_x += 1;
        }
        while y.get(at_y).is_some_and(|value| *value <= next) {
            at_y += 1;
        }
        let (equal_x, equal_y) = ((at_x - from_x) as f64, (at_y - from_y) as f64);
        let equal = equal_x + equal_y;
        ranks += equal_x * (before + f64::midpoint(equal, 1.0));
        ties += equal * equal * equal - equal;
        before += equal;
    }
    let centred = ranks - count_x * (count_x + 1.0) / 2.0 - count_x * count_y / 2.0;
    let correction = if correct && centred.abs() > 0.0 { 0.5f64.copysign(centred) } else { 0.0 };
    let variance = count_x * count_y / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    (centred - correction) / variance.max(f64::MIN_POSITIVE).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kayentas_own_examples_are_reproduced() {
        // Its MannWhitneySuite: a small example, and "Tie out with R Version", at 95 %.
        let examples: serde_json::Value = serde_json::from_str(include_str!("kayenta.json")).unwrap();
        let numbers = |value: &serde_json::Value| -> Vec<f64> { serde_json::from_value(value.clone()).unwrap() };
        let examples = examples["shifts"].as_array().unwrap();
        assert!(examples.len() >= 2);
        for example in examples {
            let (experiment, control) = (numbers(&example["experiment"]), numbers(&example["control"]));
            let shift = shift(&experiment, &control, example["confidence"].as_f64().unwrap()).unwrap();
            let mut expected = numbers(&example["ci"]);
            expected.push(example["estimate"].as_f64().unwrap());
            for (computed, expected) in [shift.low, shift.high, shift.estimate].into_iter().zip(expected) {
                let within = example["tolerance"].as_f64().unwrap();
                assert!((computed - expected).abs() <= within, "computed {computed}, expected {expected}");
            }
        }
    }

    #[test]
    fn samples_that_are_mostly_nothing_are_shifted_by_nothing() {
        // Two errors here and one there among minutes without any: the ties lie at 0, and so does every root.
        let (mut experiment, mut control) = (vec![0.0; 40], vec![0.0; 40]);
        (experiment[3], experiment[9], control[5]) = (1.0 / 15.0, 1.0 / 31.0, 1.0 / 287.0);
        assert_eq!(shift(&experiment, &control, 0.98), Some(Shift { low: 0.0, high: 0.0, estimate: 0.0 }));
    }

    #[test]
    fn nothing_and_sameness_have_no_shift() {
        assert_eq!(shift(&[], &[1.0], 0.95), None);
        assert_eq!(shift(&[1.0, 1.0], &[1.0, 1.0, 1.0], 0.95), None);
    }

    #[test]
    fn a_moved_sample_is_shifted_by_as_much() {
        let control: Vec<f64> = (0..40).map(f64::from).collect();
        let moved: Vec<f64> = control.iter().map(|value| value + 7.25).collect();
        let Shift { low, high, estimate } = shift(&moved, &control, 0.98).unwrap();
        assert!((estimate - 7.25).abs() < 0.5 && low < 7.25 && high > 7.25, "{low} {estimate} {high}");
        let wide = high - low;
        let narrow = shift(&moved, &control, 0.8).unwrap();
        assert!(narrow.high - narrow.low < wide);
    }
}
