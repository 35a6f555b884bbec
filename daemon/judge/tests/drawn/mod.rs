//! A service drawn by chance from a seed, and every guard that can look at it: what the cost of an interval is measured
//! on, in memory by a test and in time by an example.

use judge::{Block, Counts, Guard, GuardKind, Guards};

/// A side with a few errors and latencies in a hundred buckets, drawn.
fn side(rng: &mut fastrand::Rng, requests: u64) -> Counts {
    let mut counts = Counts { requests, ..Counts::default() };
    for _ in 0..requests {
        match rng.u16(0..1_000) {
            0 => counts.status_5xx += 1,
            1..=20 => counts.status_4xx += 1,
            21..=50 => counts.status_3xx += 1,
            _ => counts.status_2xx += 1,
        }
        let bucket = 200 + rng.u16(0..50) + rng.u16(0..50);
        counts.latency.add(bucket, 1);
        counts.exchange.add(bucket + 3, 1);
    }
    counts
}

/// All guards that there are.
pub(crate) fn all_guards() -> Guards {
    let kinds = [
        GuardKind::ClientErrors,
        GuardKind::Redirects,
        GuardKind::LatencyBody,
        GuardKind::LatencyTail,
        GuardKind::LatencySlow,
        GuardKind::LatencySteady,
        GuardKind::Exchange,
    ];
    let mut guards = Guards::default();
    guards.guards.extend(kinds.map(Guard::usual));
    guards
}

/// Blocks of one length, the same each time.
pub(crate) fn blocks(millis: u64, count: usize) -> Vec<Block> {
    let mut rng = fastrand::Rng::with_seed(11);
    (0..count).map(|_| Block { millis, source: side(&mut rng, 400), target: side(&mut rng, 100) }).collect()
}
