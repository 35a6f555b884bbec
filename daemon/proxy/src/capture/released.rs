//! Writes that went out on the word of a log that may turn out to have lost what it had acknowledged.
//!
//! A topic that is deleted takes acknowledged records along, and nobody is told. What was acknowledged before the last
//! look that found the log whole was there then, and is gone by the will of whoever deleted it: that is counted. What was
//! acknowledged since may have been gone at once, so each of those writes is kept until the next look, to be listed.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use super::{Lost, Why, loss::Loss};
use crate::clock;

/// Writes that a thread keeps: those of a second, at any rate that a thread is able to serve. Older ones are only counted.
const RELEASED_MAX: usize = 32 * 1024;

/// The bytes that they may take together: a usual write takes a hundred, one with the longest target that is kept four thousand.
const RELEASED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a write takes beside its method and target, its place in the queue and its connection's name among it.
const OVERHEAD_BYTES: usize = 192;

/// A write, as far as a list of losses names it.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) at_millis: i64,
    pub(crate) key: Arc<str>,
    pub(crate) number: u32,
    pub(crate) bytes: u64,
    /// Method and target, with a space between.
    pub(crate) line: Box<[u8]>,
}

impl Write {
    fn kept_bytes(&self) -> usize {
        self.line.len() + OVERHEAD_BYTES
    }

    /// What the list of losses says of it.
    pub(crate) fn loss(&self, lost: &Lost, forwarded: bool) -> Loss {
        let mut parts = self.line.splitn(2, |byte| *byte == b' ');
        let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        Loss {
            at_millis: self.at_millis,
            connection: self.key.as_ref().to_owned(),
            request: u64::from(self.number),
            method: text(),
            target: text(),
            bytes: self.bytes,
            why: lost.why.word().to_owned(),
            forwarded,
            perhaps_there: lost.perhaps_there,
            records: 0,
        }
    }
}

impl Loss {
    /// So many records that were safe are not any more.
    pub(crate) fn of_log(why: Why, records: u64) -> Self {
        Self {
            at_millis: clock::unix_millis(),
            connection: String::new(),
            request: 0,
            method: String::new(),
            target: String::new(),
            bytes: 0,
            why: why.word().to_owned(),
            forwarded: true,
            perhaps_there: false,
            records,
        }
    }
}

/// See the module. One a thread and side.
#[derive(Default)]
pub(crate) struct Released {
    /// With when and in which life of the log each went out, oldest first.
    writes: VecDeque<(Instant, u64, Write)>,
    /// What they take.
    bytes: usize,
}

impl Released {
    /// A write goes out.
    pub(crate) fn add(&mut self, now: Instant, life: u64, write: Write) {
        self.bytes += write.kept_bytes();
        self.writes.push_back((now, life, write));
        while self.writes.len() > RELEASED_MAX || self.bytes > RELEASED_BYTES_MAX {
            self.forget();
        }
    }

    /// How many writes are kept, of which nobody knows yet whether the log still has them.
    pub(crate) fn kept(&self) -> usize {
        self.writes.len()
    }

    fn forget(&mut self) {
        if let Some((_, _, write)) = self.writes.pop_front() {
            self.bytes -= write.kept_bytes();
        }
    }

    /// Answers what went out in an earlier life than this, and forgets what of this one was acknowledged before `sound_until`.
    pub(crate) fn gone(&mut self, life: u64, sound_until: Instant) -> Vec<Write> {
        let mut gone = Vec::new();
        if self.writes.iter().any(|(_, theirs, _)| *theirs < life) {
            self.writes.retain(|(_, theirs, write)| {
                let goes = *theirs < life;
                if goes {
                    gone.push(write.clone());
                }
                !goes
            });
            self.bytes -= gone.iter().map(Write::kept_bytes).sum::<usize>();
        }
        // After that: the look that showed the new life goes on, and may find the new log sound itself.
        while self.writes.front().is_some_and(|(at, _, _)| *at < sound_until) {
            self.forget();
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn write(number: u32) -> Write {
        Write { at_millis: 1, key: "c".into(), number, bytes: 9, line: (*b"PUT /i/_doc/1").into() }
    }

    /// Proves that a write is kept until a later look found the log whole, that a new life of the log gives up those of the
    /// old one alone, and that the oldest are forgotten beyond the limit.
    #[test]
    fn writes_are_kept_until_they_are_known_to_be_there() {
        let (mut released, start) = (Released::default(), clock::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        released.add(at(1), 0, write(1));
        released.add(at(3), 0, write(2));
        assert!(released.gone(0, at(2)).is_empty());
        released.add(at(4), 1, write(3));
        // However late the look that was sound: it was of the new life.
        let gone: Vec<u32> = released.gone(1, at(4)).iter().map(|write| write.number).collect();
        assert_eq!(gone, [2]);
        assert!(released.gone(1, at(5)).is_empty() && released.writes.is_empty());
        for number in 0..=RELEASED_MAX as u32 {
            released.add(at(6), 1, write(number));
        }
        assert_eq!(released.gone(2, at(0)).len(), RELEASED_MAX);
        assert_eq!((released.writes.len(), released.bytes), (0, 0));
    }

    /// Proves that writes with long targets are forgotten by what they take, the oldest first.
    #[test]
    fn long_targets_take_no_more_than_their_bytes() {
        let mut released = Released::default();
        for number in 0..RELEASED_MAX as u32 {
            released.add(clock::now(), 0, Write { line: vec![b'x'; 4096].into(), ..write(number) });
            assert!(released.bytes <= RELEASED_BYTES_MAX, "{}", released.bytes);
        }
        let gone = released.gone(1, clock::now());
        assert_eq!(gone.len(), RELEASED_BYTES_MAX / (4096 + OVERHEAD_BYTES));
        assert_eq!((gone.last().map(|write| write.number), released.bytes), (Some(RELEASED_MAX as u32 - 1), 0));
    }

    /// Proves that a loss names the request of which it is.
    #[test]
    fn a_write_is_listed_by_its_name() {
        let loss = write(7).loss(&Lost::perhaps(Why::GivenUp, "x"), false);
        assert_eq!((loss.method.as_str(), loss.target.as_str(), loss.request), ("PUT", "/i/_doc/1", 7));
        assert_eq!((loss.why.as_str(), loss.forwarded, loss.perhaps_there), ("given-up", false, true));
    }
}
