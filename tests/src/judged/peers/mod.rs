//! The rules of others, from their documentation, and what they read out of a minute.
//!
//! No code is theirs; each file says which page or published example it follows, and its tests are those examples.

pub mod argo;
pub mod flagger;
pub mod kayenta;
pub mod mann_whitney;

use judge::{Counts, Histogram};

/// Share of a minute's requests that are server errors, or were not answered; `None` without requests.
pub(crate) fn error_share(counts: &Counts) -> Option<f64> {
    (counts.requests > 0).then(|| counts.errors() as f64 / counts.requests as f64)
}

/// Mean latency in milliseconds, each answer taken at the (geometric) middle of its bucket; `None` without answers.
pub(crate) fn mean_millis(latency: &Histogram) -> Option<f64> {
    let total = latency.total();
    let half = 2f64.powf(-0.5 / 16.0);
    let sum: f64 = latency.iter().map(|(bucket, count)| Histogram::upper_micros(bucket) * half * count as f64).sum();
    (total > 0).then(|| sum / total as f64 / 1000.0)
}

/// A quantile of latency in milliseconds, between the edges of its bucket as Prometheus' `histogram_quantile` has it (for
/// native histograms: geometrically); `None` without answers.
pub(crate) fn quantile_millis(latency: &Histogram, q: f64) -> Option<f64> {
    let total = latency.total();
    if total == 0 {
        return None;
    }
    let rank = q * total as f64;
    let mut before = 0.0;
    let mut found = None;
    for (bucket, count) in latency.iter() {
        let upper = Histogram::upper_micros(bucket);
        let part = ((rank - before) / count as f64).clamp(0.0, 1.0);
        found = Some(upper * 2f64.powf((part - 1.0) / 16.0) / 1000.0);
        before += count as f64;
        if before >= rank {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_inside_its_bucket_by_rank() {
        // A hundred answers in one bucket of 4.4 %: the median lies half way between its edges, by ratio.
        let mut latency = Histogram::default();
        latency.add(160, 100);
        let [low, middle, high] = [0.0, 0.5, 1.0].map(|q| quantile_millis(&latency, q).unwrap());
        assert!((high - 1.024).abs() < 1e-9 && (high / low - 2f64.powf(1.0 / 16.0)).abs() < 1e-9);
        assert!((middle - (low * high).sqrt()).abs() < 1e-9);
        assert!((mean_millis(&latency).unwrap() - middle).abs() < 1e-9);
        latency.add(200, 300);
        assert!(quantile_millis(&latency, 0.5).unwrap() > 5.0);
    }

    #[test]
    fn nothing_has_no_figures() {
        let counts = Counts::default();
        assert_eq!(
            (error_share(&counts), mean_millis(&counts.latency), quantile_millis(&counts.latency, 0.99)),
            (None, None, None)
        );
    }
}
