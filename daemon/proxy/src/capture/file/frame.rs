//! One record in a segment: length, checksum, key, value. Bytes in, bytes out; no file is opened here.
//!
//! ```text
//! frame   := length:u32le  crc32:u32le  body
//! body    := key_bytes:u16le  key  value            length bytes, which the checksum covers
//! segment := "TGCAP001" frame*
//! ```
//!
//! A frame whose checksum does not match, or that is longer than what is left, is where a segment ends: the writer was
//! killed there, or the disk lies. What comes after it is not looked for, since a record after a hole is worse than none.

/// The first bytes of every segment, with the version of the framing.
pub(crate) const MAGIC: [u8; 8] = *b"TGCAP001";

/// Length and checksum.
const HEAD_BYTES: usize = 8;

/// The longest body that is believed: a full record and the longest key, with room to spare. A length above it is
/// noise, and must not become an allocation.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A record as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The connection id.
    pub key: String,
    /// The record.
    pub value: Vec<u8>,
}

/// Appends a frame; keys are cut at 65,535 bytes, which no connection id comes near.
pub(crate) fn append(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let key = &key.as_bytes()[..key.len().min(usize::from(u16::MAX))];
    let key_bytes = (key.len() as u16).to_le_bytes();
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&key_bytes);
    checksum.update(key);
    checksum.update(value);
    let body_bytes = 2 + key.len() + value.len();
    out.reserve(HEAD_BYTES + body_bytes);
    out.extend_from_slice(&(body_bytes as u32).to_le_bytes());
    out.extend_from_slice(&checksum.finalize().to_le_bytes());
    out.extend_from_slice(&key_bytes);
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// How many bytes a frame takes.
pub(crate) fn bytes(key: &str, value: &[u8]) -> u64 {
    (HEAD_BYTES + 2 + key.len() + value.len()) as u64
}

/// Reads the next frame; `None` at the end of the whole ones. Answers the record and how many bytes it took.
pub(crate) fn read(from: &mut impl std::io::Read) -> std::io::Result<Option<(Kept, u64)>> {
    let mut head = [0; HEAD_BYTES];
    if !fill(from, &mut head)? {
        return Ok(None);
    }
    let [l0, l1, l2, l3, c0, c1, c2, c3] = head;
    let body_bytes = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if !(2..=BODY_BYTES_MAX).contains(&body_bytes) {
        return Ok(None);
    }
    let mut body = vec![0; body_bytes];
    if !fill(from, &mut body)? || crc32fast::hash(&body) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Ok(None);
    }
    let key_bytes = usize::from(u16::from_le_bytes([body[0], body[1]]));
    let Some(key) = body.get(2..2 + key_bytes) else { return Ok(None) };
    let key = String::from_utf8_lossy(key).into_owned();
    let value = body.split_off(2 + key_bytes);
    Ok(Some((Kept { key, value }, (HEAD_BYTES + body_bytes) as u64)))
}

/// Fills `into`; `false` when the input ends before.
fn fill(from: &mut impl std::io::Read, into: &mut [u8]) -> std::io::Result<bool> {
    match from.read_exact(into) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that frames come back as they were written, and that cut anywhere, or with any one bit turned, only whole
    /// frames before that place do.
    #[test]
    fn only_whole_frames_come_back() {
        let mut all = Vec::new();
        append(&mut all, "one", b"first record");
        let one = all.len();
        append(&mut all, "two", b"");
        let two = all.len();
        assert_eq!(two as u64, bytes("one", b"first record") + bytes("two", b""));
        let count = |mut bytes: &[u8]| {
            let mut read = Vec::new();
            while let Some((kept, _)) = super::read(&mut bytes).unwrap() {
                read.push(kept);
            }
            read.len()
        };
        assert_eq!(count(&all), 2);
        for cut in 0..all.len() {
            assert_eq!(count(&all[..cut]), usize::from(cut >= one), "cut at {cut}");
        }
        for at in 0..all.len() {
            for bit in 0..8 {
                let mut turned = all.clone();
                turned[at] ^= 1 << bit;
                assert_eq!(count(&turned), usize::from(at >= one), "bit {bit} of byte {at} turned");
            }
        }
    }
}
