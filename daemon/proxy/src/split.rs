//! Which side a request belongs to: by the weight of its class, and by its sticky value where there is one.
//!
//! Without stickiness each request is drawn for itself, from a seeded generator of the thread. A counter or a
//! low-discrepancy sequence would come closer to the weight, but it aliases with traffic that repeats itself (every
//! second request a heavy one), and then the two sides are not comparable any more, which is what the judge lives on.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::{class::Class, config::WEIGHT_MAX, count::SideName};

/// The target's weights, shared by all threads; the only thing shared on the way of a request.
#[derive(Debug)]
pub(crate) struct Weights(AtomicU32);

impl Weights {
    /// Both weights, in per mille (0 to 1000).
    pub(crate) fn new(reads: u16, writes: u16) -> Self {
        Self(AtomicU32::new(pack(reads, writes)))
    }

    /// Sets both at once; every split that begins after it returns sees them.
    pub(crate) fn set(&self, reads: u16, writes: u16) {
        self.0.store(pack(reads, writes), Ordering::SeqCst);
    }

    /// Reads and writes.
    pub(crate) fn both(&self) -> (u16, u16) {
        let packed = self.0.load(Ordering::SeqCst);
        ((packed >> 16) as u16, (packed & 0xffff) as u16)
    }

    /// The weight of a class.
    pub(crate) fn of(&self, class: Class) -> u16 {
        match (class, self.both()) {
            (Class::Read, (reads, _)) => reads,
            (Class::Write, (_, writes)) => writes,
        }
    }
}

fn pack(reads: u16, writes: u16) -> u32 {
    assert!(reads <= WEIGHT_MAX && writes <= WEIGHT_MAX, "weights are checked where they come in");
    (u32::from(reads) << 16) | u32::from(writes)
}

/// The side of one request. `sticky` is the value that keeps a client on its side.
pub(crate) fn split(weight: u16, sticky: Option<&[u8]>, chance: &mut fastrand::Rng) -> SideName {
    let target = match weight {
        0 => false,
        WEIGHT_MAX.. => true,
        weight => match sticky {
            Some(value) => place(value) < weight,
            None => chance.u16(0..WEIGHT_MAX) < weight,
        },
    };
    if target { SideName::Target } else { SideName::Source }
}

/// The fixed place of a value among the 1000 per mille, the same in every proxy and every release: those below the
/// weight are the target's, so a higher weight moves only the places between the old weight and the new one.
fn place(value: &[u8]) -> u16 {
    // FNV-1a, whose low bits are good and whose high bits are not, then the finalizer of MurmurHash3.
    let mut hash = value
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    ((u128::from(hash) * u128::from(WEIGHT_MAX)) >> 64) as u16
}

/// The value of a cookie in one `Cookie` field, if it is there.
pub(crate) fn cookie<'a>(field: &'a [u8], name: &str) -> Option<&'a [u8]> {
    field.split(|&byte| byte == b';').find_map(|pair| {
        let pair = pair.trim_ascii();
        let at = pair.iter().position(|&byte| byte == b'=')?;
        (&pair[..at] == name.as_bytes()).then(|| pair[at + 1..].trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that the drawn share lies within five standard errors of the weight, at many weights.
    #[test]
    fn drawn_share_is_binomial() {
        let mut chance = fastrand::Rng::with_seed(7);
        for weight in [0_u16, 1, 50, 500, 950, 999, 1000] {
            let n = 50_000;
            let target = (0..n).filter(|_| split(weight, None, &mut chance) == SideName::Target).count();
            let p = f64::from(weight) / 1000.0;
            let error = (f64::from(n) * p * (1.0 - p)).sqrt();
            assert!((target as f64 - f64::from(n) * p).abs() <= 5.0 * error, "weight {weight}: {target} of {n}");
        }
    }

    /// Proves that raising the weight moves sticky values in one direction only, and about as many as it should.
    #[test]
    fn raising_the_weight_moves_only_the_share_that_must_move() {
        let mut chance = fastrand::Rng::with_seed(7);
        let values: Vec<String> = (0..10_000).map(|n| format!("session-{n}")).collect();
        let mut side = |weight| -> Vec<bool> {
            values.iter().map(|v| split(weight, Some(v.as_bytes()), &mut chance) == SideName::Target).collect()
        };
        let (low, high) = (side(200), side(300));
        assert!(low.iter().zip(&high).all(|(low, high)| !low || *high), "nobody moves back");
        let moved = low.iter().zip(&high).filter(|(low, high)| low != high).count();
        assert!((800..1200).contains(&moved), "{moved} of 10000 moved");
        assert_eq!(low, side(200), "the same weight gives the same sides");
    }

    /// Proves that a cookie is found by its exact name among others.
    #[test]
    fn a_cookie_is_found_by_its_exact_name() {
        assert_eq!(cookie(b"a=1; sid=xyz ;b=2", "sid"), Some(&b"xyz"[..]));
        assert_eq!(cookie(b"asid=1; SID=2", "sid"), None);
    }
}
