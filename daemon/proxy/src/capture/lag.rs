//! How long the oldest record has waited for the log, without keeping a time for each.
//!
//! Now and then it is written down how many records had been sent by then. As many as have their answer are held against
//! that: the oldest that waits was sent after the last such note that lies below. Answers come nearly in the order of the
//! records; what is out of it is off by as little.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How far notes are apart at least: what an answer may be off by.
const NOTE_EVERY: Duration = Duration::from_millis(250);

/// Notes that are kept; with the pause between them some four minutes, and a record that waits for longer is older than any
/// limit.
const NOTES_MAX: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Lag {
    began: Instant,
    sent: AtomicU64,
    /// Milliseconds after `began` at which the next note is due.
    due: AtomicU64,
    notes: Mutex<VecDeque<Note>>,
}

/// How many records had been sent when.
#[derive(Clone, Copy, Debug)]
struct Note {
    sent: u64,
    at: Instant,
}

impl Lag {
    pub(super) fn new(began: Instant) -> Self {
        Self { began, sent: AtomicU64::new(0), due: AtomicU64::new(0), notes: Mutex::default() }
    }

    /// A record is given to the log.
    pub(super) fn sent(&self, now: Instant) {
        let before = self.sent.fetch_add(1, Ordering::Relaxed);
        let millis = now.saturating_duration_since(self.began).as_millis() as u64;
        let due = self.due.load(Ordering::Relaxed);
        let next = millis + NOTE_EVERY.as_millis() as u64;
        if millis >= due && self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let mut notes = self.notes.lock().expect("nobody panics while holding it");
            if notes.len() == NOTES_MAX {
                // The oldest tells for how long at least something has waited; it is the one to keep.
                notes.remove(1);
            }
            notes.push_back(Note { sent: before, at: now });
        }
    }

    /// How long the oldest record has waited when so many have their answer; `None` when none waits.
    pub(super) fn oldest(&self, answered: u64, now: Instant) -> Option<Duration> {
        let mut notes = self.notes.lock().expect("nobody panics while holding it");
        // Of two notes that are below, the older one says nothing any more.
        while notes.get(1).is_some_and(|note| note.sent <= answered) {
            notes.pop_front();
        }
        if self.sent.load(Ordering::Relaxed) <= answered {
            return None;
        }
        notes.front().map(|note| now.saturating_duration_since(note.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// Proves that the age is that of the oldest record without an answer, to a quarter of a second, that it falls as answers
    /// come, and that nothing waits when all have theirs.
    #[test]
    fn the_oldest_that_waits_is_the_age() {
        let start = clock::now();
        let at = |millis| start + Duration::from_millis(millis);
        let lag = Lag::new(start);
        assert_eq!(lag.oldest(0, at(0)), None);
        // A record each 100 ms for ten seconds.
        for record in 0..100 {
            lag.sent(at(record * 100));
        }
        let oldest = |answered: u64| lag.oldest(answered, at(10_000)).map(|age| age.as_millis() as u64);
        for answered in [0, 1, 30, 77, 99] {
            let sent_at = answered * 100;
            let seen = oldest(answered).unwrap();
            assert!((10_000 - sent_at..=10_250 + 100 - sent_at).contains(&seen), "{answered}: {seen}");
        }
        assert_eq!(oldest(100), None);
        // After a long silence the age is that of the new record alone.
        lag.sent(at(60_000));
        assert_eq!(lag.oldest(100, at(60_500)), Some(Duration::from_millis(500)));
    }

    /// Proves that what is kept is bounded however long nothing is answered, and that the oldest is not forgotten.
    #[test]
    fn a_log_that_answers_nothing_fills_no_memory() {
        let start = clock::now();
        let lag = Lag::new(start);
        for record in 0..5_000 {
            lag.sent(start + NOTE_EVERY * record);
        }
        assert_eq!(lag.notes.lock().unwrap().len(), NOTES_MAX);
        assert_eq!(lag.oldest(0, start + NOTE_EVERY * 5_000), Some(NOTE_EVERY * 5_000));
    }
}
