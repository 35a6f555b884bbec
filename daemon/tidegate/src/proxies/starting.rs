//! Which proxies behind a name are starting: they are listed, and have never answered since they came.
//!
//! A pod is listed when it has an address, which is before anything in it runs. Until it answers it has no traffic by any weight of
//! ours, so it is no failure of the fleet and nothing to take traffic back for. Only one counts that came while others were known: of
//! those that are found first nobody knows how long they have been there. After [`STARTING_MAX`] it is as silent as any other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a proxy may take from being listed to its first answer.
pub(super) const STARTING_MAX: Duration = Duration::from_mins(1);

/// How long one that is gone is remembered: one that comes back by then has not come anew.
const GONE_KEPT: Duration = Duration::from_mins(10);

/// How many addresses are remembered; those that have been gone for longest are forgotten first.
const ADDRESSES_MAX: usize = 4000;

/// The start of one proxy.
pub(super) struct Start {
    listed: Instant,
    answered: AtomicBool,
}

impl Start {
    /// Whether it is still going on.
    pub(super) fn lasts(&self, now: Instant) -> bool {
        !self.answered.load(Ordering::Relaxed) && now.saturating_duration_since(self.listed) < STARTING_MAX
    }

    /// The proxy answered.
    pub(super) fn end(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }
}

/// Everybody who stood behind a name lately.
#[derive(Default)]
pub(super) struct Seen(BTreeMap<SocketAddr, Sighting>);

struct Sighting {
    /// When it was listed last.
    last: Instant,
    /// `None` for those that were found first.
    start: Option<Arc<Start>>,
}

impl Seen {
    /// Takes a whole answer of the resolver.
    pub(super) fn take(&mut self, addresses: &[SocketAddr], now: Instant) {
        let first = self.0.is_empty();
        for address in addresses {
            let fresh = || (!first).then(|| Arc::new(Start { listed: now, answered: AtomicBool::new(false) }));
            self.0.entry(*address).or_insert_with(|| Sighting { last: now, start: fresh() }).last = now;
        }
        self.0.retain(|_, sighting| now.saturating_duration_since(sighting.last) <= GONE_KEPT);
        while self.0.len() > ADDRESSES_MAX {
            let Some(longest) = self.0.iter().min_by_key(|(_, sighting)| sighting.last).map(|(address, _)| *address)
            else {
                return;
            };
            self.0.remove(&longest);
        }
    }

    /// The start of the proxy at an address.
    pub(super) fn start(&self, address: SocketAddr) -> Option<Arc<Start>> {
        self.0.get(&address)?.start.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 9901))
    }

    /// Proves that one that came is starting until it answers or its time is over; that those found first are not, nor one that
    /// comes back; and that one which was gone for long has come anew.
    #[test]
    fn one_that_came_is_starting_until_it_answers() {
        let begun = clock::instant();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let starting = |seen: &Seen, last, now| seen.start(address(last)).is_some_and(|start| start.lasts(now));
        let mut seen = Seen::default();
        seen.take(&[address(1)], at(0));
        seen.take(&[address(1), address(2), address(3)], at(5));
        assert_eq!([1, 2, 3].map(|last| starting(&seen, last, at(6))), [false, true, true]);
        seen.start(address(2)).unwrap().end();
        assert_eq!([2, 3].map(|last| starting(&seen, last, at(64))), [false, true]);
        assert!(!starting(&seen, 3, at(65)));
        seen.take(&[address(1)], at(70));
        seen.take(&[address(1), address(2), address(3)], at(600));
        assert_eq!([2, 3].map(|last| starting(&seen, last, at(601))), [false, false]);
        seen.take(&[address(1)], at(1300));
        seen.take(&[address(1), address(2)], at(1301));
        assert!(starting(&seen, 2, at(1302)));
    }

    /// Proves that what is remembered stays bounded.
    #[test]
    fn only_so_many_are_remembered() {
        let begun = clock::instant();
        let mut seen = Seen::default();
        for round in 0..60_u8 {
            let all: Vec<_> = (0..100).map(|last| SocketAddr::from(([10, 0, round, last], 9901))).collect();
            seen.take(&all, begun + Duration::from_secs(round.into()));
        }
        assert_eq!(seen.0.len(), ADDRESSES_MAX);
    }
}
