//! When what a node measured in a minute can be read: late, in parts, and each node by itself.
//!
//! AWS documents none of this; users of the API do. Netflix's Atlas reads load balancers two minutes late "to avoid partial
//! data" (Netflix/atlas#1300), zmon saw half of the final values in the newest minute (zmon-docs#62), other exporters wait
//! up to ten. So: a node's report of a closed minute arrives between [`FIRST`] and [`LAST`] after its end, the nodes one
//! after the other, and a small part of what it measured ([`LATE_EVERY`]) arrives later still, now and then after the two
//! minutes that most readers wait. All of it is drawn from a seed, so that a run can be repeated.

use std::time::Duration;

use crate::clock::Time;

/// The soonest a node's report arrives after the end of its minute.
pub const FIRST: Duration = Duration::from_secs(15);
/// The latest the greater part of a report arrives.
pub const LAST: Duration = Duration::from_secs(90);
/// The latest a correction arrives in an ordinary minute: within the two minutes that readers wait.
pub const CORRECTED: Duration = Duration::from_secs(115);
/// The latest a correction arrives in a minute in [`SLOW_MINUTE_EVERY`].
pub const CORRECTED_SLOWLY: Duration = Duration::from_secs(170);
/// In one minute of so many a correction comes after more than two minutes.
pub const SLOW_MINUTE_EVERY: u64 = 10;
/// One request of so many is reported with the correction.
pub const LATE_EVERY: u64 = 20;

/// The schedule of all nodes of a lab.
#[derive(Clone, Copy, Debug)]
pub struct Arrivals {
    /// What the chances are drawn from.
    pub seed: u64,
    /// How many nodes share the span between the first and the last report; at least 1.
    pub nodes: u16,
}

/// When the two parts of one node's report of one minute arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The greater part.
    pub main: Time,
    /// The rest; later than every node's greater part.
    pub late: Time,
}

impl Arrivals {
    /// When `node` (counted from 0) reports the minute that starts at `minute`.
    pub fn of(self, node: u16, minute: Time) -> Arrival {
        let closed = minute + Duration::from_mins(1);
        let of_minute = self.seed ^ minute.0.cast_unsigned().rotate_left(20);
        let mut rng = fastrand::Rng::with_seed(of_minute ^ (u64::from(node) + 1).rotate_left(48));
        // Each node has a slot of its own in the span, and the slots leave gaps: two reads a while apart differ. Which
        // node is first changes with the minute.
        let nodes = u64::from(self.nodes.max(1));
        let mut shared = fastrand::Rng::with_seed(of_minute);
        let (slowly, turn) = (shared.u64(0..SLOW_MINUTE_EVERY) == 0, shared.u64(0..nodes));
        let slot = (u64::from(node) + turn) % nodes;
        let width = LAST.saturating_sub(FIRST).as_millis() as u64 / nodes;
        let main = FIRST.as_millis() as u64 + slot * width + rng.u64(0..=width / 2);
        let span = if slowly { CORRECTED + Duration::from_secs(10)..CORRECTED_SLOWLY } else { LAST..CORRECTED };
        let late = rng.u64(span.start.as_millis() as u64..=span.end.as_millis() as u64);
        Arrival { main: closed + Duration::from_millis(main), late: closed + Duration::from_millis(late) }
    }
}

impl Arrival {
    /// When the `nth` thing measured in the minute (counted from 0) arrives.
    pub fn of(self, nth: u64) -> Time {
        if nth % LATE_EVERY == LATE_EVERY - 1 { self.late } else { self.main }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that no part of a minute can be read before its end, that nodes arrive apart, and that corrections come last.
    #[test]
    fn nodes_arrive_one_after_the_other_and_corrections_last() {
        let arrivals = Arrivals { seed: 3, nodes: 3 };
        let (mut slow, mut firsts) = (0, [0; 3]);
        for minute in 0..1000 {
            let start = Time(minute * 60_000);
            let closed = start + Duration::from_mins(1);
            let all: Vec<Arrival> = (0..3).map(|node| arrivals.of(node, start)).collect();
            let mut mains: Vec<(Time, usize)> = all.iter().enumerate().map(|(node, at)| (at.main, node)).collect();
            mains.sort();
            firsts[mains[0].1] += 1;
            assert!(mains[0].0 >= closed + FIRST && mains[2].0 <= closed + LAST, "{mains:?}");
            for pair in mains.windows(2) {
                assert!(pair[1].0.since(pair[0].0) >= Duration::from_secs(10), "{pair:?}");
            }
            assert!(all.iter().all(|at| at.late >= closed + LAST && at.late <= closed + CORRECTED_SLOWLY));
            slow += u32::from(all.iter().any(|at| at.late > closed + Duration::from_mins(2)));
        }
        assert!((50..200).contains(&slow), "{slow} of 1000 minutes are corrected after two minutes");
        assert!(firsts.iter().all(|first| *first > 100), "each node is first at times: {firsts:?}");
    }
}
