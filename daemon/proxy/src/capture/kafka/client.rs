//! What librdkafka calls back: acknowledgements, complaints, requests for a token.
//!
//! The topic's id comes in a line of librdkafka's own log, since its Rust binding has no call for it and this house has no
//! unsafe code: `Topic T changed id from A to B`, said at each look that finds another than the look before. The line is
//! part of the version that the lock file pins, and `a_topic_that_outgrew_the_old_one_is_seen_by_its_id` holds it.
//!
//! Acknowledgements come on the polling thread, one call a record. The first of a batch wakes the serving thread that sent
//! it; by the time that thread looks, the rest of the batch has been added (see `sink`).

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use rdkafka::{
    ClientContext, Message,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{DeliveryResult, ProducerContext},
};

use super::{
    super::{
        breaker::Breaker,
        sink::{Lost, Receipt, Verdict, Why},
    },
    Shared,
    settings::TokenProvider,
};
use crate::clock;

/// What stands for an id in librdkafka's lines where a broker did not tell any.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// Looks that find a topic sound after which its id counts as told: brokers hear of a change at different times.
const SAME_LOOKS: u32 = 2;

/// What happened to a topic of which another is seen.
const ANEW: &str = "deleted and made anew";

/// What is known of the topic from acknowledgements and looks, and in which life of it.
#[derive(Debug)]
pub(super) struct Log {
    breaker: Arc<Breaker>,
    life: AtomicU64,
    /// Acknowledgements since the start, for the watch: a broker that acknowledges is not dead.
    acknowledged: AtomicU64,
    ends: Mutex<Ends>,
    complaint: Mutex<Complaint>,
}

#[derive(Debug)]
struct Ends {
    /// The topic's id, once it is known.
    id: Option<String>,
    /// The ids that it had before; one for each time that somebody made it anew.
    left: Vec<String>,
    /// The id that it had when its ends showed that it lost what it had, and how many looks have found it sound since. A change of the
    /// id that is told now is the same event, late; none after [`SAME_LOOKS`] means that it is the same topic, cut off.
    before: Option<(String, u32)>,
    /// When the last look but one began that found everything there: what the last one found may be heard of late.
    sound_until: Instant,
    /// When the last one did.
    looked: Instant,
    /// One past the last offset that was acknowledged to us, a partition.
    acknowledged: BTreeMap<i32, i64>,
    /// The highest end that a look has shown, a partition.
    seen: BTreeMap<i32, i64>,
    /// Records acknowledged in this life of the topic.
    records: u64,
    /// Records acknowledged in earlier ones, which are gone with them.
    vanished: u64,
    why: Option<String>,
}

impl Log {
    /// Nothing is known of the topic at `now`.
    pub(super) fn new(breaker: Arc<Breaker>, now: Instant) -> Self {
        Self {
            breaker,
            life: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            ends: Mutex::new(Ends::new(now, 0, None)),
            complaint: Mutex::default(),
        }
    }

    pub(super) fn life(&self) -> u64 {
        self.life.load(Ordering::Acquire)
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// How many acknowledged records are gone, and how that was seen.
    pub(super) fn vanished(&self) -> (u64, Option<String>) {
        let ends = self.ends();
        (ends.vanished, ends.why.clone())
    }

    /// When the last look began that found everything there.
    pub(super) fn sound_until(&self) -> Instant {
        self.ends().sound_until
    }

    /// What librdkafka complained of last, and forgets it.
    pub(super) fn take_complaint(&self) -> Complaint {
        self.complaint.lock().expect("nobody panics while holding it").take()
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().expect("nobody panics while holding it")
    }

    /// A record of the life `sent` was acknowledged at `offset`; a negative one is not known (a retry that was found to be
    /// there already).
    fn acknowledge(&self, sent: u64, partition: i32, offset: i64) -> Verdict {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        let mut ends = self.ends();
        // What a stream of the old topic has in the new one says nothing about its end.
        if offset >= 0 && sent == self.life() {
            let end = ends.acknowledged.get(&partition).copied().unwrap_or(0);
            if offset < end {
                let why = format!("partition {partition} acknowledged offset {offset} after offset {}", end - 1);
                self.begin_anew(&mut ends, ANEW, &why);
            }
            ends.acknowledged.insert(partition, offset + 1);
        }
        ends.records += 1;
        if sent == self.life() {
            return Verdict::Safe;
        }
        Verdict::Lost(Lost::perhaps(Why::TopicReplaced, "the topic was deleted and made anew"))
    }

    /// What must be there at least when partition ends are asked for from now on.
    pub(super) fn expected(&self) -> BTreeMap<i32, i64> {
        let ends = self.ends();
        let mut expected = ends.acknowledged.clone();
        for (partition, end) in &ends.seen {
            let at_least = expected.entry(*partition).or_default();
            *at_least = (*at_least).max(*end);
        }
        expected
    }

    /// A look that began at `looked`, in the life `life`, showed these ends, no less than was [`Self::expected`] by then;
    /// `false` if another life has begun meanwhile, of which they say nothing.
    pub(super) fn seen(&self, seen: BTreeMap<i32, i64>, looked: Instant, life: u64) -> bool {
        let mut ends = self.ends();
        if life != self.life() {
            return false;
        }
        ends.seen = seen;
        if let Some((id, looks)) = ends.before.take() {
            if looks + 1 < SAME_LOOKS {
                ends.before = Some((id, looks + 1));
            } else {
                ends.id = Some(id);
            }
        }
        ends.sound_until = std::mem::replace(&mut ends.looked, looked);
        true
    }

    /// The topic has this id.
    fn identified(&self, id: &str) {
        let mut ends = self.ends();
        // Brokers that have not heard of the change yet tell the id that was before.
        if id == NO_ID || ends.left.iter().any(|left| left == id) {
            return;
        }
        match (ends.id.take(), ends.before.take()) {
            // As long as it may be the same topic.
            (None, Some(before)) if before.0 == id => {
                ends.before = Some(before);
                return;
            }
            (None, Some((before, _))) => ends.left.push(before),
            (Some(known), _) if known != id => {
                ends.left.push(known.clone());
                self.begin_anew(&mut ends, ANEW, &format!("its id is {id}, and was {known}"));
            }
            (_, None) | (Some(_), Some(_)) => {}
        }
        ends.id = Some(id.to_owned());
    }

    /// The topic lost what it had acknowledged.
    pub(super) fn replaced(&self, why: &str) {
        self.begin_anew(&mut self.ends(), ANEW, why);
    }

    /// The topic of this life is not there any more, with what it had acknowledged; nothing if another has begun meanwhile.
    pub(super) fn deleted(&self, why: &str, life: u64) {
        let mut ends = self.ends();
        if life == self.life() {
            self.begin_anew(&mut ends, "deleted", why);
        }
    }

    fn begin_anew(&self, ends: &mut Ends, what: &str, why: &str) {
        let vanished = ends.records;
        // Its id is not known any more, unless that is what showed it.
        let before = ends.id.take().map(|id| (id, 0)).or_else(|| ends.before.take());
        let (left, vanished_before) = (std::mem::take(&mut ends.left), ends.vanished);
        *ends = Ends { left, before, ..Ends::new(ends.sound_until, vanished_before + vanished, Some(why.to_owned())) };
        self.life.fetch_add(1, Ordering::AcqRel);
        tracing::error!(vanished, why, "the capture topic was {what}: what it had acknowledged is gone");
        self.breaker.open(clock::now(), &format!("the topic was {what}: {why}").into());
    }
}

impl Ends {
    fn new(sound_until: Instant, vanished: u64, why: Option<String>) -> Self {
        let (acknowledged, seen) = (BTreeMap::new(), BTreeMap::new());
        Self {
            id: None,
            left: Vec::new(),
            before: None,
            sound_until,
            looked: sound_until,
            acknowledged,
            seen,
            records: 0,
            vanished,
            why,
        }
    }
}

/// What one client of librdkafka is given.
pub(super) struct Hooks {
    log: Arc<Log>,
    tokens: Option<Arc<dyn TokenProvider>>,
    /// Who sends what waited for an answer; gone where nobody does.
    sender: Weak<Shared>,
    /// What the line that tells the topic's id says before the ids.
    id_changed: String,
}

impl Hooks {
    pub(super) fn new(
        log: Arc<Log>,
        tokens: Option<Arc<dyn TokenProvider>>,
        topic: &str,
        sender: Weak<Shared>,
    ) -> Self {
        Self { log, tokens, sender, id_changed: format!("Topic {topic} changed id from ") }
    }
}

impl ClientContext for Hooks {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    /// What librdkafka says at each attempt is for us; what an operator must know is said once, by the breaker.
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
        if let Some((_, ids)) = message.split_once(&self.id_changed)
            && let Some((_, id)) = ids.split_once(" to ")
        {
            self.log.identified(id.trim_end());
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        complain(&mut self.log.complaint.lock().expect("nobody panics while holding it"), &error, reason);
    }

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        Ok(token(self.tokens.as_deref())?)
    }
}

/// What librdkafka complained of last.
pub(super) type Complaint = Option<(RDKafkaErrorCode, String)>;

/// Keeps what it complains of.
pub(super) fn complain(last: &mut Complaint, error: &KafkaError, reason: &str) {
    if let Some(code) = error.rdkafka_error_code() {
        // "All brokers down" follows the reason and would hide it.
        if code != RDKafkaErrorCode::AllBrokersDown || last.is_none() {
            *last = Some((code, reason.to_owned()));
        }
    }
}

/// A token as librdkafka wants it.
pub(super) fn token(provider: Option<&dyn TokenProvider>) -> Result<OAuthToken, String> {
    let token = provider.ok_or("no token provider was given")?.token()?;
    Ok(OAuthToken { token: token.value.0, principal_name: token.principal, lifetime_ms: token.expires_unix_millis })
}

/// A record that librdkafka has.
pub(super) struct Sent {
    pub(super) lane: usize,
    /// Whether it is the last of those that were given together.
    pub(super) last: bool,
    pub(super) receipt: Receipt,
}

impl ProducerContext for Hooks {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        let sender = self.sender.upgrade();
        let verdict = match result {
            Ok(message) => self.log.acknowledge(sent.receipt.life(), message.partition(), message.offset()),
            Err((error, _)) if is_purged(error) && sender.as_ref().is_some_and(|sender| !sender.has_ended()) => {
                Verdict::Lost(Lost::perhaps(Why::Refused, "the producer was given up before the broker answered"))
            }
            Err((error, _)) => Verdict::Lost(lost(error)),
        };
        match sender {
            Some(sender) => sender.answered(*sent, verdict),
            None => sent.receipt.answer(verdict),
        }
    }
}

fn is_purged(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(error.rdkafka_error_code(), Some(Code::PurgeQueue | Code::PurgeInflight))
}

/// What a failed produce means. Where it cannot be told whether the broker kept the record, it is said to be perhaps
/// there: librdkafka knows more than its Rust binding tells.
pub(super) fn lost(error: &KafkaError) -> Lost {
    use RDKafkaErrorCode as Code;
    let detail = error.to_string();
    match error.rdkafka_error_code() {
        Some(Code::MessageTimedOut | Code::OperationTimedOut) => {
            Lost::perhaps(Why::TimedOut, "the broker did not acknowledge in time")
        }
        // What was sent and is to be sent again waits in the queue, too.
        Some(Code::PurgeQueue | Code::PurgeInflight) => Lost::perhaps(Why::Ending, detail),
        Some(Code::MessageSizeTooLarge | Code::InvalidRecord | Code::InvalidMessageSize) => {
            Lost::new(Why::Unfit, detail)
        }
        Some(
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::QueueFull
            | Code::NotEnoughReplicas
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::PolicyViolation,
        ) => Lost::new(Why::Refused, detail),
        _ => Lost::perhaps(Why::Refused, detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::breaker::{Position, Reopen};

    /// Proves that an acknowledged offset that does not rise begins a new life: its record and all of the old life are
    /// not safe, those of the new one are.
    #[test]
    fn an_offset_that_does_not_rise_is_a_new_topic() {
        let log = log();
        assert_eq!(log.acknowledge(0, 0, 10), Verdict::Safe);
        assert_eq!(log.acknowledge(0, 1, 3), Verdict::Safe);
        assert_eq!(log.acknowledge(0, 0, 11), Verdict::Safe);
        assert_eq!(log.acknowledge(0, 0, -1), Verdict::Safe);
        let Verdict::Lost(lost) = log.acknowledge(0, 0, 0) else { panic!("it must not count as safe") };
        assert_eq!((lost.why, lost.perhaps_there), (Why::TopicReplaced, true));
        assert_eq!(log.life(), 1);
        assert_eq!(log.vanished(), (4, Some("partition 0 acknowledged offset 0 after offset 11".to_owned())));
        assert!(matches!(log.acknowledge(0, 1, 0), Verdict::Lost(_)), "sent before, so its stream began before");
        assert_eq!(log.acknowledge(1, 1, 1), Verdict::Safe);
    }

    fn log() -> Log {
        Log::new(Arc::new(Breaker::new(Reopen::WhenReady)), clock::now())
    }

    /// A client hears a line of librdkafka's log.
    fn said(hooks: &Hooks, line: &str) {
        ClientContext::log(hooks, RDKafkaLogLevel::Debug, "METADATA", line);
    }

    /// A client hears that the id of the topic `t` changed.
    fn changed(hooks: &Hooks, ids: &str) {
        said(hooks, &format!("[thrd:main]: Topic t changed id from {ids}"));
    }

    /// Proves that another id of the topic begins a new life, once, whichever client was told it, that the line of another
    /// topic does not, and that the breaker is open after it.
    #[test]
    fn another_id_is_a_new_topic() {
        let log = Arc::new(log());
        let hooks = |topic: &str| Hooks::new(Arc::clone(&log), None, topic, Weak::new());
        said(&hooks("t"), "[thrd:main]: Topic t changed id from AAAAAAAAAAAAAAAAAAAAAA to one");
        assert_eq!(log.acknowledge(0, 0, 3), Verdict::Safe);
        said(&hooks("t"), "[thrd:main]: Topic t changed id from AAAAAAAAAAAAAAAAAAAAAA to one");
        said(&hooks("other"), "[thrd:main]: Topic other-t changed id from one to two");
        assert_eq!((log.life(), log.breaker.position()), (0, Position::Closed));
        said(&hooks("t"), "[thrd:main]: Topic t changed id from one to two");
        said(&hooks("t"), "[thrd:main]: Topic t changed id from AAAAAAAAAAAAAAAAAAAAAA to two");
        assert_eq!((log.life(), log.breaker.position()), (1, Position::Open));
        assert_eq!(log.vanished(), (1, Some("its id is two, and was one".to_owned())));
        // A broker that tells none, and one that has not heard of the change.
        said(&hooks("t"), "[thrd:main]: Topic t changed id from two to AAAAAAAAAAAAAAAAAAAAAA");
        said(&hooks("t"), "[thrd:main]: Topic t changed id from AAAAAAAAAAAAAAAAAAAAAA to one");
        said(&hooks("t"), "[thrd:main]: Topic t changed id from one to two");
        assert_eq!(log.life(), 1);
        assert!(!log.seen(BTreeMap::new(), clock::now(), 0), "a look that began before it says nothing of it");
        assert!(matches!(log.acknowledge(0, 0, 50), Verdict::Lost(_)), "sent before");
        assert_eq!(log.acknowledge(1, 0, 4), Verdict::Safe);
        assert_eq!(log.life(), 1);
    }

    /// Proves that a topic whose ends showed that it was made anew is not taken for another one again when its new id is told late, nor
    /// when a broker that has not heard of it tells the old one.
    #[test]
    fn an_id_that_is_told_late_is_no_second_replacement() {
        let log = Arc::new(log());
        let hooks = Hooks::new(Arc::clone(&log), None, "t", Weak::new());
        changed(&hooks, "AAAAAAAAAAAAAAAAAAAAAA to one");
        assert_eq!(log.acknowledge(0, 0, 7), Verdict::Safe);
        assert!(matches!(log.acknowledge(0, 0, 0), Verdict::Lost(_)));
        assert_eq!(log.life(), 1, "by its offsets");
        changed(&hooks, "one to two");
        changed(&hooks, "two to one");
        changed(&hooks, "one to two");
        assert_eq!(log.life(), 1, "it is the same event");
        changed(&hooks, "two to three");
        assert_eq!(log.life(), 2, "and this is another");
    }

    /// Proves that a topic which lost its end and kept its id, as after an unclean election, is known when it is made anew afterwards.
    #[test]
    fn a_topic_that_was_cut_off_is_known_when_it_is_made_anew() {
        let log = Arc::new(log());
        let hooks = Hooks::new(Arc::clone(&log), None, "t", Weak::new());
        changed(&hooks, "AAAAAAAAAAAAAAAAAAAAAA to one");
        log.replaced("partition 0 ends at 3, and had 7");
        for _ in 0..SAME_LOOKS {
            assert!(log.seen(BTreeMap::from([(0, 3)]), clock::now(), 1));
        }
        // A client that began anew hears it as its first.
        changed(&hooks, "AAAAAAAAAAAAAAAAAAAAAA to one");
        assert_eq!(log.life(), 1);
        changed(&hooks, "one to two");
        assert_eq!((log.life(), log.vanished().1), (2, Some("its id is two, and was one".to_owned())));
    }

    /// Proves that other writers' records, which a look shows, raise what is expected and yet do not make our own
    /// acknowledgements look late.
    #[test]
    fn other_writers_are_no_replacement() {
        let log = log();
        assert_eq!(log.acknowledge(0, 0, 5), Verdict::Safe);
        assert!(log.seen(BTreeMap::from([(0, 100), (1, 7)]), clock::now(), 0));
        assert_eq!(log.acknowledge(0, 0, 50), Verdict::Safe);
        assert_eq!(log.expected(), BTreeMap::from([(0, 100), (1, 7)]));
    }
}
