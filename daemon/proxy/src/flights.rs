//! The requests of one thread that wait for their first response byte: a tripwire must see those that never end.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use crate::count::SideName;

/// Requests by the time they were given to a side.
#[derive(Default)]
pub(crate) struct Flights {
    slots: RefCell<Vec<Option<Waiting>>>,
    free: RefCell<Vec<usize>>,
    waiting: Cell<usize>,
    next: Cell<u64>,
}

/// One of them. It may be over already: then nothing of what is said of it does anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    slot: usize,
    number: u64,
}

struct Waiting {
    /// That of the flight that has the slot now.
    number: u64,
    side: SideName,
    /// `None` while it waits for something else than its side.
    since: Option<Instant>,
}

impl Flights {
    /// A request was given to a side.
    pub(crate) fn take_off(&self, side: SideName, now: Instant) -> Flight {
        self.waiting.set(self.waiting.get() + 1);
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let waiting = Some(Waiting { number, side, since: Some(now) });
        let mut slots = self.slots.borrow_mut();
        let slot = if let Some(slot) = self.free.borrow_mut().pop() {
            slots[slot] = waiting;
            slot
        } else {
            slots.push(waiting);
            slots.len() - 1
        };
        Flight { slot, number }
    }

    /// Since when it waits for its side; `None` while it does not, since it is held back here.
    pub(crate) fn waits_since(&self, flight: Flight, since: Option<Instant>) {
        let mut slots = self.slots.borrow_mut();
        if let Some(waiting) = slots[flight.slot].as_mut().filter(|waiting| waiting.number == flight.number) {
            waiting.since = since;
        }
    }

    /// It was answered, or is over.
    pub(crate) fn land(&self, flight: Flight) {
        let mut slots = self.slots.borrow_mut();
        if slots[flight.slot].take_if(|waiting| waiting.number == flight.number).is_some() {
            self.waiting.set(self.waiting.get() - 1);
            self.free.borrow_mut().push(flight.slot);
        }
    }

    /// How long each request of a side has waited by `now`.
    pub(crate) fn waited(&self, side: SideName, now: Instant) -> Vec<Duration> {
        if self.waiting.get() == 0 {
            return Vec::new();
        }
        let slots = self.slots.borrow();
        let since = slots.iter().flatten().filter(|waiting| waiting.side == side).filter_map(|waiting| waiting.since);
        since.map(|since| now.saturating_duration_since(since)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// Proves that a request that was answered and then ends takes nobody else out of the count, though its place was given
    /// to another; and that one that is held back here is not counted until it is not.
    #[test]
    fn each_lands_once_and_waits_for_its_side_alone() {
        let (flights, now) = (Flights::default(), clock::now());
        let answered = flights.take_off(SideName::Source, now);
        flights.land(answered);
        let other = flights.take_off(SideName::Source, now);
        assert_eq!(other.slot, answered.slot);
        flights.land(answered);
        assert_eq!(flights.waited(SideName::Source, now).len(), 1);
        assert!(flights.waited(SideName::Target, now).is_empty());
        flights.waits_since(other, None);
        assert!(flights.waited(SideName::Source, now).is_empty());
        let later = now + Duration::from_secs(1);
        flights.waits_since(other, Some(later));
        assert_eq!(flights.waited(SideName::Source, later + Duration::from_secs(2)), [Duration::from_secs(2)]);
        flights.waits_since(answered, None);
        assert_eq!(flights.waited(SideName::Source, later).len(), 1);
        flights.land(other);
        assert!(flights.waited(SideName::Source, later).is_empty());
    }
}
