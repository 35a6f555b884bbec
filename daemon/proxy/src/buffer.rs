//! Buffers that a thread lends to its connections while they have bytes that go nowhere yet.
//!
//! A connection takes one when its socket has something, and gives it back as soon as everything in it was moved on:
//! an idle connection holds none, and a busy thread goes round with very few, which stay in its cache.

use std::{cell::RefCell, rc::Rc};

/// The size of a buffer, unless a limit on heads asks for more: large enough that a 64 KiB body costs one or two reads.
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;

/// How many unused buffers a thread keeps; those above are freed.
const SPARE_MAX: usize = 64;

/// A thread's spare buffers.
#[derive(Clone)]
pub(crate) struct Buffers {
    bytes: usize,
    spare: Rc<RefCell<Vec<Box<[u8]>>>>,
}

impl Buffers {
    /// Buffers of at least `bytes_min` bytes each.
    pub(crate) fn new(bytes_min: usize) -> Self {
        Self { bytes: bytes_min.max(BUFFER_BYTES), spare: Rc::default() }
    }

    /// An empty buffer.
    pub(crate) fn lend(&self) -> Buffer {
        let bytes = self.spare.borrow_mut().pop().unwrap_or_else(|| vec![0; self.bytes].into_boxed_slice());
        Buffer { bytes, start: 0, end: 0, home: Rc::clone(&self.spare) }
    }
}

/// Bytes that came from a socket: `start..end` of a fixed space.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    home: Rc<RefCell<Vec<Box<[u8]>>>>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut spare = self.home.borrow_mut();
        if spare.len() < SPARE_MAX {
            spare.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl Buffer {
    /// What is in it.
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// How many bytes are in it.
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Where more can be put; empty when it is full. Bytes are moved to the front when only that makes room.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }

    /// `count` bytes were put into the space.
    pub(crate) fn added(&mut self, count: usize) {
        assert!(count <= self.bytes.len() - self.end, "a read fills no more than its space");
        self.end += count;
    }

    /// The first `count` bytes are done with.
    pub(crate) fn consume(&mut self, count: usize) {
        assert!(count <= self.len(), "no more is consumed than was filled");
        self.start += count;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that a buffer that is dropped is lent again, and that a full one makes room at its front.
    #[test]
    fn buffers_come_back_and_make_room() {
        let buffers = Buffers::new(0);
        let mut buffer = buffers.lend();
        let all = buffer.space().len();
        buffer.added(all);
        assert!(buffer.space().is_empty());
        buffer.consume(10);
        assert_eq!((buffer.space().len(), buffer.len()), (10, all - 10));
        drop(buffer);
        assert_eq!(buffers.spare.borrow().len(), 1);
        assert_eq!(buffers.lend().len(), 0, "a lent buffer is empty");
        assert_eq!(buffers.spare.borrow().len(), 1);
    }
}
