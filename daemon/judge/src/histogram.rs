//! Latency as counts in log-linear buckets, mergeable by addition.
//!
//! Bucket `i` holds durations in `(2^((i-1)/16), 2^(i/16)]` microseconds, bucket 0 everything up to 1 µs and the last
//! everything above its lower edge. The growth of 2^(1/16) (4.4 %) is that of a Prometheus native histogram of schema
//! 4, and the judge's default tolerance on latency is a shift by exactly one bucket.

use serde::{Deserialize, Serialize};

/// How many buckets there are: 32 octaves of 16, which ends at 2^32 µs (71 minutes).
pub const BUCKETS: usize = 512;

/// Counts per latency bucket; only buckets that hold something take room, on the wire and in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Buckets")]
pub struct Histogram {
    /// `(bucket, count)`, ascending by bucket, counts above zero.
    buckets: Vec<(u16, u64)>,
}

/// A histogram as it was read, before anyone knows whether it is one.
#[derive(Deserialize)]
struct Buckets {
    #[serde(default)]
    buckets: Vec<(u16, u64)>,
}

impl TryFrom<Buckets> for Histogram {
    type Error = String;

    fn try_from(Buckets { buckets }: Buckets) -> Result<Self, String> {
        if let Some(&(bucket, _)) = buckets.iter().find(|&&(bucket, _)| usize::from(bucket) >= BUCKETS) {
            return Err(format!(
                "cannot read a latency histogram: it has a bucket {bucket} and ours end at {}; its buckets are not ours",
                BUCKETS - 1
            ));
        }
        if let Some(pair) = buckets.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            return Err(format!(
                "cannot read a latency histogram: bucket {} comes before bucket {}; they must ascend",
                pair[0].0, pair[1].0
            ));
        }
        Ok(Self { buckets: buckets.into_iter().filter(|&(_, count)| count > 0).collect() })
    }
}

impl Histogram {
    /// The bucket that a duration in microseconds falls into: the smallest `i` with `micros <= 2^(i/16)`.
    pub fn bucket_of(micros: u64) -> u16 {
        if micros <= 1 {
            return 0;
        }
        let bucket = ((micros as f64).log2() * 16.0).ceil();
        (bucket as usize).min(BUCKETS - 1) as u16
    }

    /// The upper edge of a bucket, in microseconds.
    pub fn upper_micros(bucket: u16) -> f64 {
        (f64::from(bucket) / 16.0).exp2()
    }

    /// Adds `count` durations of `micros` microseconds.
    pub fn record(&mut self, micros: u64, count: u64) {
        self.add(Self::bucket_of(micros), count);
    }

    /// Adds `count` to a bucket; a bucket past the last counts as the last.
    pub fn add(&mut self, bucket: u16, count: u64) {
        if count == 0 {
            return;
        }
        let bucket = bucket.min(BUCKETS as u16 - 1);
        // Most histograms are filled from below.
        if self.buckets.last().is_none_or(|&(last, _)| last < bucket) {
            self.buckets.push((bucket, count));
            return;
        }
        match self.buckets.binary_search_by_key(&bucket, |&(b, _)| b) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(count),
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    /// Forgets everything but keeps the room.
    pub fn clear(&mut self) {
        self.buckets.clear();
    }

    /// Adds every bucket of `other`: both ascend, so one walk over both does, where a search for each bucket would be the
    /// most of what a simulated day costs.
    pub fn merge(&mut self, other: &Self) {
        let mut at = 0;
        for &(bucket, count) in &other.buckets {
            // Both ascend: what is looked for lies at the place of the one before, or after it.
            while self.buckets.get(at).is_some_and(|&(ours, _)| ours < bucket) {
                at += 1;
            }
            match self.buckets.get_mut(at) {
                Some((ours, sum)) if *ours == bucket => *sum = sum.saturating_add(count),
                Some(_) | None => self.buckets.insert(at, (bucket, count)),
            }
        }
    }

    /// What was added since `earlier`, or `None` when a bucket ran backwards (the counter was reset).
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        let mut difference = Self::default();
        for &(bucket, count) in &earlier.buckets {
            if self.count_of(bucket) < count {
                return None;
            }
        }
        for &(bucket, count) in &self.buckets {
            difference.add(bucket, count - earlier.count_of(bucket));
        }
        Some(difference)
    }

    /// How many durations a bucket holds.
    pub fn count_of(&self, bucket: u16) -> u64 {
        self.buckets.binary_search_by_key(&bucket, |&(b, _)| b).map_or(0, |at| self.buckets[at].1)
    }

    /// How many durations there are in all.
    pub fn total(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, &(_, count)| sum.saturating_add(count))
    }

    /// How many durations lie above a bucket's upper edge.
    pub fn above(&self, bucket: u16) -> u64 {
        let from = self.buckets.partition_point(|&(b, _)| b <= bucket);
        self.buckets[from..].iter().fold(0, |sum, &(_, count)| sum.saturating_add(count))
    }

    /// `(bucket, count)`, ascending, counts above zero.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        self.buckets.iter().copied()
    }

    /// The upper edge, in microseconds, of the bucket in which the `q` quantile (0 to 1) lies; `None` when empty.
    pub fn quantile_micros(&self, q: f64) -> Option<f64> {
        self.quantile_bucket(q).map(Self::upper_micros)
    }

    /// The bucket in which the `q` quantile (0 to 1) lies; `None` when empty.
    pub fn quantile_bucket(&self, q: f64) -> Option<u16> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let rank = (q.clamp(0.0, 1.0) * total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.buckets
            .iter()
            .find(|&&(_, count)| {
                seen = count.saturating_add(seen);
                seen >= rank
            })
            .map(|&(bucket, _)| bucket)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bucket_holds_what_its_edges_say() {
        // Every duration lies above the edge of the bucket before and not above its own, up to the last bucket.
        for micros in (0..100_000u64).chain([1_000_000, 60_000_000, 4_000_000_000]) {
            let bucket = Histogram::bucket_of(micros);
            assert!(micros as f64 <= Histogram::upper_micros(bucket) * (1.0 + 1e-12));
            assert!(bucket == 0 || micros as f64 > Histogram::upper_micros(bucket - 1) * (1.0 - 1e-12));
        }
        assert_eq!(Histogram::bucket_of(u64::MAX), BUCKETS as u16 - 1);
    }

    #[test]
    fn histograms_with_other_buckets_are_refused() {
        // Buckets that do not exist, or not in order: from another scale, or spoiled on the way.
        let read = |text: &str| serde_json::from_str::<Histogram>(text).map_err(|error| error.to_string());
        assert!(read(r#"{"buckets":[[512,1]]}"#).unwrap_err().contains("its buckets are not ours"));
        assert!(read(r#"{"buckets":[[7,1],[7,2]]}"#).unwrap_err().contains("must ascend"));
        assert!(read(r#"{"buckets":[[7,-1]]}"#).is_err());
        assert_eq!(read(r#"{"buckets":[[7,0],[9,2]]}"#).unwrap().total(), 2);
    }

    proptest! {
        #[test]
        fn a_merged_histogram_holds_what_both_held(
            ours in prop::collection::vec((0u16..600, 0u64..9), 0..60),
            theirs in prop::collection::vec((0u16..600, 0u64..9), 0..60),
        ) {
            // Merged, or counted one after the other in any order: the same, ascending and without empty buckets.
            let of = |counts: &[(u16, u64)]| {
                let mut histogram = Histogram::default();
                for &(bucket, count) in counts {
                    histogram.add(bucket, count);
                }
                histogram
            };
            let mut merged = of(&ours);
            merged.merge(&of(&theirs));
            prop_assert_eq!(&merged, &of(&[theirs, ours].concat()));
            let buckets: Vec<(u16, u64)> = merged.iter().collect();
            prop_assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0) && buckets.iter().all(|pair| pair.1 > 0));
        }
    }

    #[test]
    fn counts_that_run_backwards_are_noticed() {
        let (mut earlier, mut later) = (Histogram::default(), Histogram::default());
        earlier.add(5, 10);
        later.add(5, 9);
        later.add(6, 100);
        assert_eq!(later.since(&earlier), None);
        later.add(5, 4);
        let since = later.since(&earlier).unwrap();
        assert_eq!((since.count_of(5), since.count_of(6), since.above(5)), (3, 100, 100));
    }
}
