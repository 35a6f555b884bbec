//! Which records librdkafka has, and which wait here for their turn: what makes one request of many records.
//!
//! An idempotent producer sends no more to a partition while [`FLYING_MAX`] of its *records* are unanswered, however few
//! requests they are. What is queued there meanwhile cannot be sent, and with a `linger.ms` that is over the broker's thread
//! asks for it without a pause: under load half of capture's processor time went there. So a record waits here while its
//! partition is that far behind, and when answers come all that wait are given at once, as much as one request takes.
//! Nothing waits that could have been sent.
//!
//! A lane is a partition, as far as we know: the same function of the key that librdkafka's partitioner applies. Were they
//! ever to differ, records would wait longer than they need to and nothing else. The order of one key's records is the
//! outlet's, which gives the next one only after the one before is safe.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::super::sink::Parcel;

/// How many unanswered records of a partition keep librdkafka from sending more (`RD_KAFKA_IDEMP_MAX_INFLIGHT`).
const FLYING_MAX: usize = 5;

/// What one request may carry: librdkafka's `batch.size` and `batch.num.messages`.
const GROUP_BYTES_MAX: usize = 1_000_000;
const GROUP_RECORDS_MAX: usize = 10_000;

/// See the module. What waits is bounded by the byte budget.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// 0 while it is not known.
    partitions: AtomicUsize,
    lanes: Mutex<Vec<Lane>>,
}

#[derive(Debug, Default)]
struct Lane {
    flying: usize,
    waiting: VecDeque<Parcel>,
}

impl Lanes {
    fn lanes(&self) -> MutexGuard<'_, Vec<Lane>> {
        self.lanes.lock().expect("nobody panics while holding it")
    }

    /// The topic has so many partitions.
    pub(super) fn split(&self, partitions: usize) {
        self.partitions.store(partitions, Ordering::Relaxed);
    }

    /// The lane of a key.
    pub(super) fn of(&self, key: &str) -> usize {
        match self.partitions.load(Ordering::Relaxed) {
            0 | 1 => 0,
            partitions => (murmur2(key.as_bytes()) & 0x7fff_ffff) as usize % partitions,
        }
    }

    /// The record, if it may be sent now; otherwise it waits.
    pub(super) fn admit(&self, lane: usize, parcel: Parcel) -> Option<Parcel> {
        let mut lanes = self.lanes();
        if lanes.len() <= lane {
            lanes.resize_with(lane + 1, Lane::default);
        }
        let lane = &mut lanes[lane];
        if lane.flying >= FLYING_MAX || !lane.waiting.is_empty() {
            lane.waiting.push_back(parcel);
            return None;
        }
        lane.flying += 1;
        Some(parcel)
    }

    /// A record of the lane was answered: those that may be sent now.
    pub(super) fn answered(&self, lane: usize) -> Vec<Parcel> {
        let mut lanes = self.lanes();
        let Lane { flying, waiting } = &mut lanes[lane];
        *flying -= 1;
        if *flying >= FLYING_MAX {
            return Vec::new();
        }
        let (mut count, mut bytes) = (0, 0);
        for parcel in waiting.iter().take(GROUP_RECORDS_MAX) {
            bytes += parcel.value.len();
            if count > 0 && bytes > GROUP_BYTES_MAX {
                break;
            }
            count += 1;
        }
        *flying += count;
        waiting.drain(..count).collect()
    }

    /// The log has just lost a record of this lane: those that wait are given back, since they would only be lost later.
    pub(super) fn give_up(&self, lane: usize) -> Vec<Parcel> {
        self.lanes()[lane].waiting.drain(..).collect()
    }

    /// Everything that waits, for the end.
    pub(super) fn empty(&self) -> Vec<Parcel> {
        self.lanes().iter_mut().flat_map(|lane| lane.waiting.drain(..)).collect()
    }
}

/// Kafka's own hash of a key (`org.apache.kafka.common.utils.Utils.murmur2`), which decides the partition of a record.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let word = u32::from_le_bytes(*word).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ (word ^ word >> 24).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let last = rest.iter().rev().fold(0, |last, &byte| last << 8 | u32::from(byte));
        hash = (hash ^ last).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{
        super::super::sink::{Answer, Budget, Mailbox, Receipt, unanswered},
        *,
    };

    /// Proves that a key's lane is the partition that Kafka's own clients choose: the hashes of their own test.
    #[test]
    fn a_lane_is_the_partition() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), hash, "{text}");
        }
        let lanes = Lanes::default();
        assert_eq!(lanes.of("21"), 0, "while nobody knows how many there are");
        lanes.split(7);
        assert_eq!(lanes.of("abc"), 479_470_107 % 7);
    }

    fn parcel(number: u64, bytes: usize) -> Parcel {
        let charge = Budget::new(usize::MAX).charge(bytes).unwrap();
        let key: Arc<str> = "k".into();
        let (tag, verdict) = (number, unanswered());
        let answer = Answer { key: Arc::clone(&key), tag, life: 0, generation: 0, charge, verdict, space: None };
        let receipt = Receipt::new(Arc::<Mailbox>::default(), answer);
        Parcel { key, value: vec![0; bytes], receipt }
    }

    /// Proves that a lane sends until [`FLYING_MAX`] are unanswered, that all that waited meanwhile go together, in their
    /// order, up to what one request carries, and that lanes do not wait for each other.
    #[test]
    fn what_waits_goes_together() {
        let lanes = Lanes::default();
        for number in 0..FLYING_MAX as u64 {
            assert!(lanes.admit(3, parcel(number, 1)).is_some());
        }
        for bytes in [400_000, 500_000, 200_000, 2_000_000, 1] {
            assert!(lanes.admit(3, parcel(9, bytes)).is_none());
        }
        assert!(lanes.admit(1, parcel(9, 1)).is_some(), "another lane");
        let sizes = |parcels: Vec<Parcel>| parcels.iter().map(|parcel| parcel.value.len()).collect::<Vec<_>>();
        assert_eq!(sizes(lanes.answered(3)), [400_000, 500_000]);
        assert_eq!(sizes(lanes.answered(3)), [0; 0], "six are unanswered now");
        assert_eq!(sizes(lanes.answered(3)), [200_000]);
        assert_eq!(sizes(lanes.answered(3)), [2_000_000], "larger than any group, so it goes alone");
        assert_eq!(sizes(lanes.give_up(3)), [1]);
        assert!(lanes.admit(3, parcel(9, 1)).is_none(), "five are unanswered");
        assert_eq!(sizes(lanes.empty()), [1]);
    }
}
