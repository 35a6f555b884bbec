//! What the prototype of our method measured, to be printed beside what is measured now.
//!
//! Its report's tables at `false_revert_max` 5 %, blocks of 60 s and 5, 50, 500 and 5,000 requests a second: 1,000 cutovers a
//! cell of false reverts, 300 a cell of detection. Its services are those of [`super::world`] as far as the report tells;
//! what it does not tell was chosen (see there), so that a difference of a tenth says nothing.

/// The rates of its tables.
const RATES: [f64; 4] = [5.0, 50.0, 500.0, 5_000.0];

/// False reverts, in percent, a rate each.
const FALSE_REVERTS: [(&str, [f64; 4]); 14] = [
    ("iid binomial", [0.1, 0.0, 0.0, 0.0]),
    ("latency jitter + GC", [0.2, 0.0, 0.1, 0.0]),
    ("beta-binomial CV .5", [0.0, 0.2, 0.0, 0.0]),
    ("beta-binomial CV 1", [0.3, 0.0, 0.2, 1.6]),
    ("AR(1) shared .6", [0.2, 0.3, 0.0, 0.0]),
    ("AR(1) shared .5 + own .3", [0.1, 0.0, 0.0, 0.3]),
    ("shared outages", [0.0, 0.0, 0.0, 0.0]),
    ("own error bursts", [0.0, 0.0, 0.3, 0.4]),
    ("clustered errors x5", [0.0, 0.5, 0.1, 0.1]),
    ("heavy GC 8%x5%", [1.2, 2.4, 1.4, 0.5]),
    ("base err 1%, jitter", [0.1, 0.0, 0.0, 0.0]),
    ("benign: lat +3%, err x1.05", [0.1, 0.2, 0.0, 0.0]),
    ("at tolerance: err x1.2", [0.1, 0.2, 0.0, 0.0]),
    ("EXTREME own AR sd.4 rho.9", [0.3, 0.7, 2.1, 3.9]),
];

/// How a regression was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// In so many percent of the cutovers.
    pub percent: f64,
    /// Median of the minutes from its onset.
    pub minutes: f64,
    /// Median of the target's requests until then, in thousands.
    pub kilorequests: f64,
}

const fn found(percent: f64, minutes: f64, kilorequests: f64) -> Found {
    Found { percent, minutes, kilorequests }
}

/// Detection, a rate each.
const DETECTION: [(&str, [Found; 4]); 11] = [
    (
        "5xx .1->.2%",
        [found(2.0, 46.0, 4.38), found(44.0, 44.0, 30.2), found(100.0, 20.0, 43.1), found(100.0, 4.0, 48.5)],
    ),
    (
        "5xx .1->1%",
        [found(100.0, 25.0, 0.699), found(100.0, 5.0, 0.725), found(100.0, 2.0, 3.38), found(100.0, 2.0, 30.0)],
    ),
    (
        "5xx 1->2%",
        [found(54.0, 42.0, 2.82), found(100.0, 16.0, 3.28), found(100.0, 3.0, 4.35), found(100.0, 2.0, 29.1)],
    ),
    (
        "5xx .1->1% (CV .5)",
        [found(100.0, 26.0, 0.709), found(100.0, 9.0, 1.06), found(100.0, 3.0, 4.42), found(100.0, 2.0, 32.6)],
    ),
    ("p99 x1.2", [found(24.0, 48.0, 4.31), found(99.0, 28.0, 8.83), found(100.0, 10.0, 15.8), found(100.0, 3.0, 46.1)]),
    ("p99 x1.5", [found(95.0, 29.0, 0.96), found(100.0, 9.0, 1.31), found(100.0, 3.0, 4.96), found(100.0, 3.0, 49.5)]),
    ("p99 x2", [found(100.0, 16.0, 0.314), found(100.0, 3.0, 0.57), found(100.0, 3.0, 4.71), found(100.0, 3.0, 41.8)]),
    (
        "mean +10%",
        [found(40.0, 49.0, 3.93), found(99.0, 23.0, 6.17), found(100.0, 10.0, 12.4), found(100.0, 3.0, 53.0)],
    ),
    (
        "total outage",
        [found(100.0, 2.0, 0.023), found(100.0, 1.0, 0.147), found(100.0, 1.0, 1.56), found(100.0, 1.0, 13.6)],
    ),
    (
        "5xx .1->1% from min 33",
        [found(100.0, 12.0, 2.76), found(100.0, 5.0, 20.3), found(100.0, 4.0, 173.0), found(100.0, 4.0, 1710.0)],
    ),
    (
        "total outage from min 33",
        [found(100.0, 1.0, 1.46), found(100.0, 1.0, 14.5), found(100.0, 1.0, 140.0), found(100.0, 1.0, 1430.0)],
    ),
];

/// Where a rate stands in the tables; `None` where blocks were not a minute, or the rate is none of theirs.
fn place(rate: f64, interval: f64) -> Option<usize> {
    let minute = (interval - 60.0).abs() < 1e-9;
    RATES.iter().position(|known| minute && (known - rate).abs() < 1e-9)
}

/// How many percent of a healthy service's cutovers it reverted; `None` where it was not measured.
pub fn false_reverts(row: &str, rate: f64, interval: f64) -> Option<f64> {
    let (_, percents) = FALSE_REVERTS.iter().find(|(name, _)| *name == row)?;
    Some(percents[place(rate, interval)?])
}

/// How it found a regression; `None` where it was not measured.
pub fn detection(row: &str, rate: f64, interval: f64) -> Option<Found> {
    let (_, found) = DETECTION.iter().find(|(name, _)| *name == row)?;
    Some(found[place(rate, interval)?])
}

#[cfg(test)]
mod tests {
    use super::super::world::{healthy, regressions};
    use super::*;

    #[test]
    fn every_row_of_the_tables_was_measured() {
        for row in healthy() {
            assert!(RATES.iter().all(|&rate| false_reverts(row.row, rate, 60.0).is_some()), "{}", row.row);
        }
        for row in regressions() {
            assert!(RATES.iter().all(|&rate| detection(row.row, rate, 60.0).is_some()), "{}", row.row);
        }
        assert_eq!(false_reverts("heavy GC 8%x5%", 50.0, 60.0), Some(2.4));
        assert_eq!(detection("p99 x2", 5_000.0, 10.0), None);
        assert_eq!(false_reverts("iid binomial", 7.0, 60.0), None);
    }
}
