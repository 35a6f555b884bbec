//! The requests of one thread that wait for their first response byte: a tripwire must see those that never end.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use crate::count::SideName;

/// Requests by the time they were given to a side.
#[derive(Default)]
pub(crate) struct Flights {
    slots: RefCell<Vec<Option<(SideName, Instant)>>>,
    free: RefCell<Vec<usize>>,
    waiting: Cell<usize>,
}

impl Flights {
    /// A request was given to a side.
    pub(crate) fn take_off(&self, side: SideName, now: Instant) -> usize {
        self.waiting.set(self.waiting.get() + 1);
        let mut slots = self.slots.borrow_mut();
        if let Some(slot) = self.free.borrow_mut().pop() {
            slots[slot] = Some((side, now));
            slot
        } else {
            slots.push(Some((side, now)));
            slots.len() - 1
        }
    }

    /// It was answered, or is over.
    pub(crate) fn land(&self, slot: usize) {
        if self.slots.borrow_mut()[slot].take().is_some() {
            self.waiting.set(self.waiting.get() - 1);
            self.free.borrow_mut().push(slot);
        }
    }

    /// How long each request of a side has waited by `now`.
    pub(crate) fn waited(&self, side: SideName, now: Instant) -> Vec<Duration> {
        if self.waiting.get() == 0 {
            return Vec::new();
        }
        let slots = self.slots.borrow();
        let of_side = slots.iter().flatten().filter(|(whose, _)| *whose == side);
        of_side.map(|(_, since)| now.saturating_duration_since(*since)).collect()
    }
}
