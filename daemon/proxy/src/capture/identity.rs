//! Who recorded, and which connection: the two names that every record carries.
//!
//! A reader takes both as they are and keys a connection by the pair. Together, with their tags and lengths, they must not
//! take more than 100 bytes of a record; the types here cannot hold more. Chance comes from outside.

use std::{cell::Cell, fmt};

use super::Timestamp;

/// Bytes of a node's name: a UUID as text.
pub const NODE_BYTES: usize = 36;

/// The longest name of a connection, in bytes: what is left of the 100 beside a node's.
pub const CONNECTION_BYTES_MAX: usize = 60;

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a UUID as text.
    #[error(
        "`{0}` is no node id: a UUID is wanted, 36 characters in lower case, as 9a25a4ff-fe62-4014-8034-cfa00000001d"
    )]
    Node(String),
    /// Empty, too long, or not printable ASCII.
    #[error(
        "`{0}` is no connection id: 1 to {CONNECTION_BYTES_MAX} printable ASCII characters without a space are wanted"
    )]
    Connection(String),
}

/// One start of one recording process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId([u8; NODE_BYTES]);

impl NodeId {
    /// The random UUID (version 4) that these 128 bits make.
    pub fn random(bits: u128) -> Self {
        let bits = bits & !(0xf << 76 | 0b11 << 62) | (4 << 76 | 0b10 << 62);
        let mut text = [b'-'; NODE_BYTES];
        let mut place = 0;
        for nibble in (0..32).rev() {
            if matches!(place, 8 | 13 | 18 | 23) {
                place += 1;
            }
            text[place] = hex((bits >> (4 * nibble)) as u8);
            place += 1;
        }
        Self(text)
    }

    /// Takes a UUID as text.
    ///
    /// # Errors
    /// When it is none, or has capital letters.
    pub fn new(text: &str) -> Result<Self, IdentityError> {
        let refuse = || IdentityError::Node(text.to_owned());
        let bytes: [u8; NODE_BYTES] = text.as_bytes().try_into().map_err(|_| refuse())?;
        let fits = bytes.iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
        if fits { Ok(Self(bytes)) } else { Err(refuse()) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        ascii(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One client connection on one captured side; also the key of its records, so that they stay in one partition, in order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    bytes: [u8; CONNECTION_BYTES_MAX],
    length: u8,
}

impl ConnectionId {
    /// Takes a name as it is.
    ///
    /// # Errors
    /// When it is empty, longer than [`CONNECTION_BYTES_MAX`], or not printable ASCII.
    pub fn new(text: &str) -> Result<Self, IdentityError> {
        if text.is_empty() || text.len() > CONNECTION_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(IdentityError::Connection(text.to_owned()));
        }
        let mut bytes = [0; CONNECTION_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self { bytes, length: text.len() as u8 })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        ascii(&self.bytes[..usize::from(self.length)])
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Gives one thread's connections their names, in the shape that Netty gives its channels: machine, process, sequence,
/// time and chance, in hexadecimal. No two of one process are equal as long as each thread has a `thread` of its own and
/// names fewer than 2³² connections.
#[derive(Debug)]
pub struct ConnectionIds {
    machine: u64,
    thread: u32,
    sequence: Cell<u32>,
    chance: Cell<u64>,
}

impl ConnectionIds {
    /// Names for the connections of `thread`; `machine` and `seed` are any random numbers, the first one for the process.
    pub fn new(machine: u64, thread: u32, seed: u64) -> Self {
        Self { machine, thread, sequence: Cell::new(0), chance: Cell::new(seed) }
    }

    /// The next name, for a connection that came at `at`.
    pub fn next(&self, at: Timestamp) -> ConnectionId {
        self.sequence.set(self.sequence.get().wrapping_add(1));
        let parts = [
            (self.machine, 16),
            (u64::from(self.thread), 8),
            (u64::from(self.sequence.get()), 8),
            (at.wrapped_nanos(), 16),
            (self.draw() >> 32, 8),
        ];
        let mut bytes = [b'-'; CONNECTION_BYTES_MAX];
        let mut place = 0;
        for (value, digits) in parts {
            for digit in (0..digits).rev() {
                bytes[place] = hex((value >> (4 * digit)) as u8);
                place += 1;
            }
            place += 1; // the dash that is there already
        }
        debug_assert_eq!(place, CONNECTION_BYTES_MAX + 1, "five parts and four dashes fill a name");
        ConnectionId { bytes, length: CONNECTION_BYTES_MAX as u8 }
    }

    /// Splitmix64: names need to differ, not to be secret.
    fn draw(&self) -> u64 {
        let next = self.chance.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.chance.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The digit of the lowest four bits.
const fn hex(bits: u8) -> u8 {
    b"0123456789abcdef"[(bits & 0xf) as usize]
}

fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("only ASCII was let in")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Proves that names have the shape of Netty's and that of a UUID, and that no name comes twice.
    #[test]
    fn names_have_their_shapes_and_differ() {
        let ids = ConnectionIds::new(0x9a25_a4ff_fe62_0014, 0x34cfa, 7);
        let at = Timestamp::new(1_700_000_000, 5);
        let first = ids.next(at);
        assert!(first.as_str().starts_with("9a25a4fffe620014-00034cfa-00000001-"), "{first:?}");
        assert_eq!(first.as_str().len(), 60);
        assert_eq!(first.as_str().split('-').map(str::len).collect::<Vec<_>>(), [16, 8, 8, 16, 8]);
        let names: BTreeSet<String> = (0..1000).map(|_| ids.next(at).as_str().to_owned()).collect();
        assert_eq!(names.len(), 1000);

        let node = NodeId::random(u128::MAX);
        assert_eq!(node.as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(NodeId::random(0).as_str(), "00000000-0000-4000-8000-000000000000");
        assert_eq!(NodeId::new(node.as_str()), Ok(node));
    }

    /// Proves that what would break a record's bound or a reader is refused.
    #[test]
    fn what_is_no_name_is_refused() {
        for node in ["", "n", "FFFFFFFF-ffff-4fff-bfff-ffffffffffff", "ffffffff_ffff-4fff-bfff-ffffffffffff"] {
            assert!(NodeId::new(node).is_err(), "{node}");
        }
        let long = "a".repeat(61);
        for connection in ["", "a b", "é", long.as_str(), "a\n"] {
            assert!(ConnectionId::new(connection).is_err(), "{connection}");
        }
        assert_eq!(ConnectionId::new(&long[1..]).unwrap().as_str(), &long[1..]);
    }
}
