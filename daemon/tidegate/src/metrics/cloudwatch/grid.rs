//! Response times as counts between edges, which is how CloudWatch can be asked for a distribution.
//!
//! A `TC(a:b)` statistic is the number of requests that took longer than `a` and at most `b` seconds (user guide,
//! "CloudWatch statistics definitions"): a count, which may be summed over minutes, as a percentile may not. Each bin is a
//! metric of its own and costs as one, so there are as few as the judge can use: it cuts at eleven quantiles. The edges are
//! those of [`judge::Histogram`], and the target is cut at the same edges times each tolerance of the policy, exactly where
//! the judge looks. Where AWS refuses such statistics, percentiles are asked for and the counts between them worked out.

use judge::Histogram;

/// Quantiles of the source at which it is cut: those of the judge.
pub(super) const QUANTILES: [f64; 10] = [0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.98, 0.99, 0.995, 0.999];

/// Where nothing is known of the source: doublings from 2 ms to 8 s, as buckets (16 to a doubling, from 1 µs).
const USUAL: std::ops::RangeInclusive<u16> = 11..=23;

/// Buckets of one doubling: how far beyond the last edge is called where what is slower than it is placed.
const DOUBLING: u16 = 16;

/// The quickest edge: CloudWatch's figures are seconds, and a response in less than half a millisecond is quick enough.
const EDGE_MIN: u16 = 144;

/// Where both sides are cut, as buckets, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) source: Vec<u16>,
    pub(super) target: Vec<u16>,
}

impl Grid {
    /// Cuts where the source's `quantiles` (in seconds) lie; without any, where services usually lie. `tolerances` are the
    /// numbers of buckets by which the judge moves an edge before it cuts the target.
    pub(super) fn new(quantiles: &[f64], tolerances: &[u16]) -> Self {
        let mut source: Vec<u16> = quantiles
            .iter()
            .filter(|seconds| seconds.is_finite() && **seconds > 0.0)
            .map(|seconds| Histogram::bucket_of((seconds * 1e6) as u64).max(EDGE_MIN))
            .collect();
        if source.is_empty() {
            source = USUAL.map(|doublings| doublings * DOUBLING).collect();
        }
        source.sort_unstable();
        source.dedup();
        let mut target: Vec<u16> = if tolerances.is_empty() {
            source.clone()
        } else {
            tolerances.iter().flat_map(|by| source.iter().map(move |edge| edge.saturating_add(*by))).collect()
        };
        target.sort_unstable();
        target.dedup();
        Self { source, target }
    }
}

/// The statistics that count between `edges`: one more than there are edges.
pub(super) fn statistics(edges: &[u16]) -> Vec<String> {
    let bound = |edge: Option<&u16>| edge.map_or_else(String::new, |edge| seconds(*edge));
    (0..=edges.len())
        .map(|bin| {
            let low = bin.checked_sub(1).and_then(|below| edges.get(below));
            format!("TC({}:{})", bound(low), bound(edges.get(bin)))
        })
        .collect()
}

/// An edge as CloudWatch is told it: in seconds, to the microsecond.
fn seconds(edge: u16) -> String {
    let text = format!("{:.6}", Histogram::upper_micros(edge) / 1e6);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Counts between `edges` as a histogram: each lies in the bucket of its upper edge, which is how the judge counts it
/// exactly once; what is slower than the last edge, a doubling beyond it.
pub(super) fn histogram(edges: &[u16], counts: impl IntoIterator<Item = u64>) -> Histogram {
    let mut histogram = Histogram::default();
    let beyond = edges.last().map_or(0, |last| last.saturating_add(DOUBLING));
    for (bin, count) in counts.into_iter().enumerate() {
        histogram.add(edges.get(bin).copied().unwrap_or(beyond), count);
    }
    histogram
}

/// The statistics of [`QUANTILES`].
pub(super) fn percentiles() -> Vec<String> {
    QUANTILES.iter().map(|quantile| format!("p{}", (quantile * 1e4).round() / 100.0)).collect()
}

/// `requests` spread as their quantiles (in seconds) say: what lies between two of them is counted at the slower one.
pub(super) fn from_percentiles(quantiles: &[f64], requests: u64) -> Histogram {
    let mut histogram = Histogram::default();
    let (mut counted, mut last) = (0, 0);
    for (quantile, seconds) in QUANTILES.iter().zip(quantiles) {
        last = Histogram::bucket_of((seconds * 1e6) as u64).max(last);
        let upto = (quantile * requests as f64).round() as u64;
        histogram.add(last, upto.saturating_sub(counted));
        counted = counted.max(upto);
    }
    histogram.add(last.saturating_add(1), requests.saturating_sub(counted));
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_touch_and_their_edges_are_those_of_the_histogram() {
        // Proves that every response time is in exactly one bin, and that what is put into a histogram lies where the judge
        // cuts it: at the source's edge, and at the same edge times the tolerance.
        let grid = Grid::new(&[0.010, 0.020, 0.100], &[1, 3]);
        assert_eq!(statistics(&grid.source).len(), grid.source.len() + 1);
        let told = statistics(&[160, 176]);
        assert_eq!(told, ["TC(:0.001024)", "TC(0.001024:0.002048)", "TC(0.002048:)"]);
        for (edge, seconds) in grid.source.iter().zip([0.010, 0.020, 0.100]) {
            assert!(
                Histogram::upper_micros(*edge) >= seconds * 1e6 && Histogram::upper_micros(edge - 1) < seconds * 1e6
            );
            assert!(grid.target.contains(&(edge + 1)) && grid.target.contains(&(edge + 3)));
        }
        let counted = histogram(&grid.source, [10, 20, 30, 5]);
        assert_eq!((counted.total(), counted.above(grid.source[0]), counted.above(grid.source[2])), (65, 55, 5));
    }

    #[test]
    fn without_a_history_there_is_a_usual_grid() {
        // Proves that nothing, and nonsense, give the edges of services as they usually are.
        let usual = Grid::new(&[], &[1]);
        assert_eq!(usual, Grid::new(&[f64::NAN, -1.0, 0.0], &[1]));
        let millis = |edge: &u16| Histogram::upper_micros(*edge) / 1e3;
        assert!((2.0..2.1).contains(&millis(&usual.source[0])), "{}", millis(&usual.source[0]));
        assert!((8_000.0..9_000.0).contains(&millis(usual.source.last().unwrap())));
    }

    #[test]
    fn percentiles_count_every_request_once() {
        // Proves the fallback: all requests are in the histogram, and its quantiles are those that were told.
        assert_eq!(percentiles(), ["p10", "p25", "p50", "p75", "p90", "p95", "p98", "p99", "p99.5", "p99.9"]);
        let told: Vec<f64> = (1..=10).map(|tenths| f64::from(tenths) / 10.0).collect();
        for requests in [0, 1, 7, 1000, 123_457] {
            assert_eq!(from_percentiles(&told, requests).total(), requests);
        }
        let histogram = from_percentiles(&told, 1000);
        assert_eq!(histogram.quantile_bucket(0.5), Some(Histogram::bucket_of(300_000)));
        assert_eq!(histogram.quantile_bucket(0.99), Some(Histogram::bucket_of(800_000)));
    }
}
