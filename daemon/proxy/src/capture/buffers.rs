//! The space that records are written into, lent by the thread that writes and given back by whoever is done with the
//! record, on whichever thread that is.
//!
//! Most chunks are small (a request of a kilobyte) and some are large (a bulk body), so spaces come in three sizes and a
//! chunk begins in the one that its first observation asks for. A stream without an open chunk holds none.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// The sizes of spaces, and how many unused ones of each are kept; those above are freed. The largest takes two full reads
/// of the relay. In all at most 6 MiB a thread.
const SIZES: [(usize, usize); 3] = [(8 * 1024, 128), (32 * 1024, 32), (144 * 1024, 28)];

/// A thread's unused spaces. Its lock is taken twice a record, by the thread that writes and by the one that is done, and
/// for no longer than a pointer takes to move.
#[derive(Clone)]
pub struct Buffers {
    spare: Arc<Mutex<Spare>>,
}

type Spare = [Vec<Vec<u8>>; SIZES.len()];

impl Default for Buffers {
    fn default() -> Self {
        Self { spare: Arc::new(Mutex::new(SIZES.map(|(_, count)| Vec::with_capacity(count)))) }
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Buffers")
    }
}

impl Buffers {
    /// Takes the bytes of a record back, if they are a space's; for a sink that was given them.
    pub fn keep(&self, mut bytes: Vec<u8>) {
        let Some(size) = SIZES.iter().position(|(size, _)| *size == bytes.capacity()) else { return };
        bytes.clear();
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare[size].len() < SIZES[size].1 {
            spare[size].push(bytes);
        }
    }

    /// An empty space for at least `bytes_min` bytes, and no more than `bytes_max` unless that is less.
    pub(super) fn lend(&self, bytes_min: usize, bytes_max: usize) -> Space {
        let size = SIZES.iter().position(|(size, _)| *size >= bytes_min);
        let spare = size.and_then(|size| self.spare.lock().unwrap_or_else(PoisonError::into_inner)[size].pop());
        let bytes = spare.unwrap_or_else(|| Vec::with_capacity(size.map_or(bytes_min, |size| SIZES[size].0)));
        let usable = bytes.capacity().min(bytes_max.max(bytes_min));
        Space { bytes, usable, home: self.clone() }
    }
}

/// Bytes of one chunk.
pub(super) struct Space {
    pub(super) bytes: Vec<u8>,
    /// How much of it may be used, in bytes.
    usable: usize,
    home: Buffers,
}

impl Space {
    /// How many more bytes it takes.
    pub(super) fn left(&self) -> usize {
        self.usable - self.bytes.len()
    }

    /// How many bytes of memory it is.
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// The bytes alone; whoever has them gives them back with [`Buffers::keep`].
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// The same bytes in a space for so many more, and no more than `bytes_max` in all.
    pub(super) fn grown(self, more: usize, bytes_max: usize) -> Self {
        let mut larger = self.home.lend(self.bytes.len() + more, bytes_max);
        larger.bytes.extend_from_slice(&self.bytes);
        larger
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.home.keep(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that a space comes back whole to be lent again, that sizes fit what is asked, and that a limit is kept.
    #[test]
    fn spaces_fit_and_come_back() {
        let buffers = Buffers::default();
        let count = |size: usize| buffers.spare.lock().unwrap()[size].len();
        let mut small = buffers.lend(100, 1 << 20);
        small.bytes.extend_from_slice(b"abc");
        assert_eq!((small.held(), small.left()), (8 * 1024, 8 * 1024 - 3));
        let large = small.grown(100_000, 1 << 20);
        assert_eq!((large.held(), large.bytes.as_slice()), (144 * 1024, &b"abc"[..]));
        assert_eq!((count(0), count(2)), (1, 0), "the small one is home already");
        drop(large);
        assert_eq!(count(2), 1);
        let again = buffers.lend(100_000, 1 << 20);
        assert!(again.bytes.is_empty() && count(2) == 0);
        assert_eq!(buffers.lend(150, 200).left(), 200);
        let measured = buffers.lend(300_000, 1 << 20);
        assert_eq!(measured.left(), 300_000);
        drop(measured);
        assert_eq!(count(2), 0, "what was made to measure is not kept");
    }
}
