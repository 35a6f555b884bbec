//! Which records librdkafka has, and which wait here for their turn: what makes one request of many records.
//!
//! An idempotent producer sends no more to a partition while [`FLYING_MAX`] of its *records* are unanswered, however few
//! requests they are. What is queued there meanwhile cannot be sent, and with a `linger.ms` that is over the broker's thread
//! asks for it without a pause: under load half of capture's processor time went there. So a record waits here while its
//! partition is that far behind, and when answers come all that wait are given at once, as much as one request takes.
//! A thread's records wait for the end of its turn, too, so that those of all its connections go together; and the answers
//! of what went together are delivered together, since each wake-up of a thread costs more than the answer it brings.
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

use super::super::sink::{Batch, Parcel, Receipt, Verdict};

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
    /// Answers of a group whose last one has not come yet.
    answers: Batch,
    /// The space of values that were sent, on its way back with the next answers.
    spaces: Vec<Vec<u8>>,
}

/// Records of one lane that may be sent now, and go together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) lane: usize,
    pub(super) parcels: Vec<Parcel>,
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
    fn of(&self, key: &str) -> usize {
        match self.partitions.load(Ordering::Relaxed) {
            0 | 1 => 0,
            partitions => (murmur2(key.as_bytes()) & 0x7fff_ffff) as usize % partitions,
        }
    }

    /// Takes a record, which waits until it is due.
    pub(super) fn add(&self, parcel: Parcel) {
        let number = self.of(&parcel.key);
        let mut lanes = self.lanes();
        if lanes.len() <= number {
            lanes.resize_with(number + 1, Lane::default);
        }
        lanes[number].waiting.push_back(parcel);
    }

    /// A group of each lane that has one due.
    pub(super) fn due(&self) -> Vec<Group> {
        self.lanes().iter_mut().enumerate().filter_map(|(number, lane)| lane.due(number)).collect()
    }

    /// A record of the lane was answered; what its group was answered is delivered with the `last` of it, or with the first
    /// that is lost, so that whoever waits is woken once. Answers what may be sent now.
    pub(super) fn answered(&self, number: usize, receipt: Receipt, verdict: Verdict, last: bool) -> Option<Group> {
        let mut lanes = self.lanes();
        let lane = &mut lanes[number];
        let deliver = last || verdict != Verdict::Safe;
        let space = lane.spaces.pop();
        lane.answers.add(receipt, verdict, space);
        lane.flying -= 1;
        let next = lane.due(number);
        let mut answers = if deliver { std::mem::take(&mut lane.answers) } else { Batch::default() };
        drop(lanes);
        answers.deliver();
        next
    }

    /// Delivers the answers that wait for the last of their group.
    pub(super) fn deliver(&self) {
        let answers: Vec<Batch> = self.lanes().iter_mut().map(|lane| std::mem::take(&mut lane.answers)).collect();
        for mut answers in answers {
            answers.deliver();
        }
    }

    /// The value of a record was sent: its space goes back with an answer.
    pub(super) fn done(&self, number: usize, space: Vec<u8>) {
        self.lanes()[number].spaces.push(space);
    }

    /// The log has just lost a record of this lane: those that wait are given back, since they would only be lost later.
    pub(super) fn give_up(&self, number: usize) -> Vec<Parcel> {
        self.lanes()[number].waiting.drain(..).collect()
    }

    /// Everything that waits, for the end.
    pub(super) fn empty(&self) -> Vec<Parcel> {
        self.lanes().iter_mut().flat_map(|lane| lane.waiting.drain(..)).collect()
    }
}

impl Lane {
    /// What may be sent now, as much as one request takes.
    fn due(&mut self, lane: usize) -> Option<Group> {
        if self.flying >= FLYING_MAX || self.waiting.is_empty() {
            return None;
        }
        let (mut count, mut bytes) = (0, 0);
        for parcel in self.waiting.iter().take(GROUP_RECORDS_MAX) {
            bytes += parcel.value.len();
            if count > 0 && bytes > GROUP_BYTES_MAX {
                break;
            }
            count += 1;
        }
        self.flying += count;
        Some(Group { lane, parcels: self.waiting.drain(..count).collect() })
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
    use std::{
        sync::Arc,
        task::{Context, Waker},
    };

    use super::{
        super::super::sink::{Answer, Budget, Lost, Mailbox, Why, unanswered},
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
        parcel_to(&Arc::default(), number, bytes)
    }

    fn parcel_to(mailbox: &Arc<Mailbox>, number: u64, bytes: usize) -> Parcel {
        let charge = Budget::new(usize::MAX).charge(bytes).unwrap();
        let key: Arc<str> = "k".into();
        let (tag, verdict) = (number, unanswered());
        let answer = Answer { key: Arc::clone(&key), tag, life: 0, generation: 0, charge, verdict, space: None };
        let receipt = Receipt::new(Arc::clone(mailbox), answer);
        Parcel { key, value: vec![0; bytes], receipt }
    }

    fn sizes(group: Option<Group>) -> Vec<usize> {
        group.map(|group| group.parcels.iter().map(|parcel| parcel.value.len()).collect()).unwrap_or_default()
    }

    /// Proves that all that a lane has go together, in their order, up to what one request carries, once fewer than
    /// [`FLYING_MAX`] are unanswered; and that lanes do not wait for each other.
    #[test]
    fn what_waits_goes_together() {
        let lanes = Lanes::default();
        let due = |lanes: &Lanes| sizes(lanes.due().pop());
        let answered = |lanes: &Lanes| sizes(lanes.answered(0, parcel(9, 0).receipt, Verdict::Safe, true));
        for number in 0..=FLYING_MAX as u64 {
            lanes.add(parcel(number, 1));
        }
        assert_eq!(due(&lanes), [1; FLYING_MAX + 1]);
        for bytes in [400_000, 500_000, 200_000, 2_000_000, 7] {
            lanes.add(parcel(9, bytes));
        }
        assert_eq!(due(&lanes), [0; 0], "six are unanswered");
        assert_eq!(answered(&lanes), [0; 0], "five are");
        assert_eq!(answered(&lanes), [400_000, 500_000]);
        assert_eq!(answered(&lanes), [0; 0]);
        assert_eq!(answered(&lanes), [200_000]);
        assert_eq!(answered(&lanes), [2_000_000], "larger than any group, so it goes alone");
        assert_eq!(sizes(Some(Group { lane: 0, parcels: lanes.give_up(0) })), [7]);
        lanes.add(parcel(9, 3));
        lanes.split(7);
        lanes.add(parcel(9, 4));
        assert_eq!(due(&lanes), [4], "another lane");
        assert_eq!(lanes.empty().len(), 1);
    }

    /// Proves that answers of a group are delivered with its last one, at once where one is lost, and when asked for, each
    /// with the space of a value that was sent.
    #[test]
    fn a_group_is_answered_in_common() {
        let mailbox = Arc::<Mailbox>::default();
        let lanes = Lanes::default();
        let (context, mut got) = (Context::from_waker(Waker::noop()), Vec::new());
        let receipts = || {
            for number in 0..3 {
                lanes.add(parcel_to(&mailbox, number, 1));
            }
            lanes.due().pop().unwrap().parcels.into_iter().map(|parcel| parcel.receipt).collect::<Vec<_>>()
        };
        let mut came = |mailbox: &Mailbox| {
            got.clear();
            let _ = mailbox.poll_take(&context, &mut got);
            got.iter().map(|answer| (answer.tag, answer.space.is_some())).collect::<Vec<_>>()
        };
        let [first, second, third] = receipts().try_into().unwrap();
        lanes.done(0, vec![1]);
        lanes.answered(0, first, Verdict::Safe, false);
        lanes.answered(0, second, Verdict::Safe, false);
        assert_eq!(came(&mailbox), []);
        lanes.answered(0, third, Verdict::Safe, true);
        assert_eq!(came(&mailbox), [(0, true), (1, false), (2, false)]);
        let [first, second, third] = receipts().try_into().unwrap();
        lanes.answered(0, first, Verdict::Safe, false);
        lanes.answered(0, second, Verdict::Lost(Lost::new(Why::Refused, "no")), false);
        assert_eq!(came(&mailbox).len(), 2);
        lanes.answered(0, third, Verdict::Safe, false);
        assert_eq!(came(&mailbox), []);
        lanes.deliver();
        assert_eq!(came(&mailbox), [(2, false)]);
    }
}
