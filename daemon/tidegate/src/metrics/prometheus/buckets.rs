//! Histogram buckets as Prometheus has them, in those of the judge.
//!
//! `le` bounds are whatever an exporter chose. What lies between two of them is put into the judge's bucket of the upper
//! one, as for CloudWatch: a cut at a bound then counts exactly what was counted there. Between bounds nothing is known, so
//! both sides must have the same, and a guard whose tolerance is less than the step from one bound to the next compares both
//! sides at the same bound: it has no tolerance at all. [`tolerated`] says how much a guard must tolerate to see any.

use std::collections::{BTreeMap, BTreeSet};

use cutover::Window;
use cutover::policy::LatencyUnit;
use judge::Histogram;

use super::series::{Exporters, Lack, Series};

/// The labels of a histogram, without the bound.
type Others<'a> = Vec<(&'a str, &'a str)>;

/// What is slower than the last bound is placed a doubling beyond it.
const DOUBLING: u16 = 16;

/// The upper bound of a bucket in microseconds; infinite for the last. `None` for what is no bound.
pub(super) fn bound(series: &Series, unit: LatencyUnit) -> Option<f64> {
    let le: f64 = series.labels.get("le")?.parse().ok()?;
    let micros = match unit {
        LatencyUnit::Seconds => le * 1e6,
        LatencyUnit::Milliseconds => le * 1e3,
    };
    (micros > 0.0).then_some(micros)
}

/// The judge's bucket that ends at `micros`, or the one in which that lies.
fn bucket(micros: f64) -> u16 {
    let exact = micros.max(1.0).log2() * 16.0;
    // A bound that is one of ours is written in decimals.
    let nearest = exact.round();
    if (exact - nearest).abs() < 1e-3 { nearest as u16 } else { exact.ceil() as u16 }
}

/// The bounds of all series, as the judge's buckets.
pub(super) fn bounds<'a>(all: impl Iterator<Item = &'a Series>, unit: LatencyUnit) -> BTreeSet<u16> {
    all.filter_map(|series| bound(series, unit)).filter(|micros| micros.is_finite()).map(bucket).collect()
}

/// What the buckets of one side counted in a window.
pub(super) fn histogram(
    list: &[Series],
    unit: LatencyUnit,
    exporters: &Exporters,
    window: Window,
) -> Result<Histogram, Lack> {
    // Buckets are cumulative within one histogram: the series that differ in nothing but their bound.
    let mut groups: BTreeMap<Others<'_>, Vec<(f64, f64)>> = BTreeMap::new();
    for series in list {
        let Some(upper) = bound(series, unit) else { continue };
        let others = series.labels.iter().filter(|(name, _)| *name != "le");
        let group = others.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        groups.entry(group).or_default().push((upper, exporters.grown(series, window)?));
    }
    let mut histogram = Histogram::default();
    for group in groups.values_mut() {
        group.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (mut lower, mut place) = (0.0_f64, 0);
        for &(upper, upto) in group.iter() {
            place = if upper.is_finite() { bucket(upper) } else { place + DOUBLING };
            histogram.add(place, (upto - lower).max(0.0).round() as u64);
            lower = lower.max(upto);
        }
    }
    Ok(histogram)
}

/// The least tolerance, as a ratio, at which a guard has any about `at`: the step to the next bound. `None` past the last.
pub(super) fn tolerated(bounds: &BTreeSet<u16>, at: u16) -> Option<f64> {
    let next = bounds.range(at + 1..).next()?;
    Some(Histogram::upper_micros(*next) / Histogram::upper_micros(at))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cutover::Timestamp;

    use super::*;

    /// A histogram of one exporter that counted `upto` (cumulative) at each bound after nothing.
    fn counted(bounds: &[(&str, f64)]) -> Vec<Series> {
        let of = |&(le, upto): &(&str, f64)| Series {
            labels: [("instance".to_owned(), "a".to_owned()), ("le".to_owned(), le.to_owned())].into(),
            samples: vec![(Timestamp(0), 0.0), (Timestamp(10_000), upto)],
        };
        bounds.iter().map(of).collect()
    }

    fn read(bounds: &[(&str, f64)], unit: LatencyUnit) -> Histogram {
        let list = counted(bounds);
        let exporters = Exporters::of(list.iter(), Duration::from_secs(10));
        let window = Window { from: Timestamp(0), to: Timestamp(10_000) };
        histogram(&list, unit, &exporters, window).unwrap()
    }

    /// Proves that a cut at an exporter's bound counts exactly what lay above it, that nothing is lost past the last one, and
    /// that milliseconds are milliseconds.
    #[test]
    fn a_cut_at_a_bound_is_exact() {
        let seconds = [("0.005", 10.0), ("0.01", 30.0), ("0.1", 90.0), ("+Inf", 100.0)];
        let millis = [("5", 10.0), ("10", 30.0), ("100", 90.0), ("+Inf", 100.0)];
        let histogram = read(&seconds, LatencyUnit::Seconds);
        assert_eq!(histogram, read(&millis, LatencyUnit::Milliseconds));
        assert_eq!(histogram.total(), 100);
        for (micros, above) in [(5_000, 90), (10_000, 70), (100_000, 10)] {
            assert_eq!(histogram.above(Histogram::bucket_of(micros)), above, "{micros}");
        }
    }

    /// Proves that our own bounds come back as the very buckets they are, from decimals.
    #[test]
    fn our_own_bounds_come_back() {
        for place in [96_u16, 97, 145, 200, 255, 416] {
            let text = format!("{}", Histogram::upper_micros(place) / 1e6);
            let histogram = read(&[(&text, 7.0), ("+Inf", 7.0)], LatencyUnit::Seconds);
            assert_eq!(histogram.iter().collect::<Vec<_>>(), [(place, 7)], "{text}");
        }
    }

    /// Proves what a guard must tolerate about each bound to tolerate anything.
    #[test]
    fn coarse_bounds_carry_coarse_tolerances() {
        let bounds = bounds(counted(&[("0.1", 0.0), ("0.25", 0.0), ("+Inf", 0.0)]).iter(), LatencyUnit::Seconds);
        assert_eq!(bounds.len(), 2);
        let first = *bounds.first().unwrap();
        let ratio = tolerated(&bounds, first).unwrap();
        assert!((2.4..2.6).contains(&ratio), "{ratio}");
        assert_eq!(tolerated(&bounds, *bounds.last().unwrap()), None);
    }
}
