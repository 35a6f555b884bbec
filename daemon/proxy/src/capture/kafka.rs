//! The capture log in Kafka.
//!
//! Serving threads hand records to librdkafka themselves, at the end of a turn: it takes them under a lock of its own and
//! never waits. One thread polls for acknowledgements, another watches the topic. All replicas acknowledge, the producer
//! is idempotent, and keys go to the partitions that the reference's producer would choose.
//!
//! The watch is there because acknowledgements do not tell everything. A topic that was deleted and made anew (brokers
//! make topics by themselves unless told otherwise) acknowledges as if nothing had happened, and what it had is gone. Any of
//! four things begins a new *life* of the log: another id of the topic, an end of a partition below what was acknowledged
//! or seen before, an acknowledged offset that does not rise, brokers that say for [`MISSING_MAX`] that there is no topic.
//! Streams that began in the old one are broken, which their senders learn at their next record, the acknowledged records
//! are counted as vanished, and the breaker opens until the new topic was looked at and held against what capture needs,
//! as the first one was. Reading an end twice before believing it costs a second and keeps a changing leader from raising a
//! false alarm.
//!
//! The watch also closes the breaker: it asks the brokers, so that no client's request has to find out by waiting. And
//! where neither questions nor records are answered it opens it, which is sooner than the first record runs out of time.
//!
//! Brokers that do not answer at the start are waited for: the breaker is open until they have answered and the topic was
//! held against what capture needs, so that a proxy which restarts in an outage serves all the same.

mod certificate;
mod client;
mod consumer;
pub mod group;
mod lanes;
mod properties;
pub mod read;
mod settings;
#[cfg(test)]
mod tests;
mod topic;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rdkafka::{
    error::KafkaError,
    producer::{BaseProducer, BaseRecord, Producer as _, PurgeConfig},
};

pub use properties::{Properties, PropertiesError};
pub use settings::{CLIENT_ID, Compression, Create, Options, Scram, Secret, Security, Tls, Token, TokenProvider};
pub use topic::{Settings, StartError, Topic};

use self::{
    client::{Hooks, Log, Sent},
    lanes::{Group, Lanes},
    topic::Found,
};
use super::{
    breaker::{Breaker, Position},
    sink::{Keeps, Lost, Parcel, Sink, Verdict, Why},
};
use crate::clock;

/// How long one call for acknowledgements lasts; how soon the polling thread sees that it should end.
const POLL: Duration = Duration::from_millis(100);

/// The same while a producer that was given up still has to answer for something.
const POLL_RETIRED: Duration = Duration::from_millis(10);

/// How often a log that fails is looked at.
const WATCH_WHILE_OPEN: Duration = Duration::from_millis(250);

/// The same when whoever ends waits for what is found.
const WATCH_HURRIED: Duration = Duration::from_millis(100);

/// How long brokers say that there is no topic until what it acknowledged counts as gone: one that has just started may not
/// know of it yet.
const MISSING_MAX: Duration = Duration::from_secs(3);

/// The same when whoever ends waits for it.
const MISSING_HURRIED_MAX: Duration = Duration::from_secs(1);

/// How long the check of the topic may wait for brokers that did not answer at the start, each time.
const CHECK_LATE: Duration = Duration::from_millis(500);

/// How often it is asked how long the topic keeps records.
const KEEPS_EVERY: Duration = Duration::from_secs(20);

/// Looks in a row without an answer, and without an acknowledgement meanwhile, after which the brokers count as gone.
const SILENT_LOOKS_MAX: u32 = 3;

type Producer = BaseProducer<Hooks>;

/// See the module.
pub struct Kafka {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    options: Options,
    log: Arc<Log>,
    breaker: Arc<Breaker>,
    lanes: Lanes,
    /// How long the topic keeps records, as it was set when last asked.
    keeps: Mutex<Option<Keeps>>,
    /// Replaced when librdkafka gives one up for good; `None` after the end.
    producer: RwLock<Option<Arc<Producer>>>,
    /// Producers that were given up, until everything that they had is answered for. Each is gone within moments, unless a thread of
    /// librdkafka hangs.
    retired: Mutex<Vec<Arc<Producer>>>,
    /// What the topic was when it was last held against what capture needs; `None` until then.
    topic: Mutex<Option<Topic>>,
    ended: AtomicBool,
    pace: Mutex<Pace>,
    paced: Condvar,
}

/// How the watch goes about its looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// One now and then.
    Usual,
    /// Somebody who ends waits for them.
    Hurried,
    /// No more.
    Ended,
}

impl Kafka {
    /// Connects, holds the topic against what capture needs (or makes it), and starts the threads. Blocks for at most
    /// [`Options::start_timeout`] while the brokers do not answer; then the log begins with its breaker open, and all of
    /// this is done when they do.
    ///
    /// # Errors
    /// What waiting does not cure: options that make no client, brokers that refuse us, a topic that is missing or unfit.
    pub fn start(options: Options, breaker: Arc<Breaker>) -> Result<Self, StartError> {
        for name in options.properties.passed_over() {
            tracing::info!(name, "a setting of the properties file means nothing to this producer");
        }
        let shared = Arc::new(Shared::new(options, breaker));
        let producer = shared.connect().map_err(|error| StartError::Client(error.to_string()))?;
        *shared.producer.write().expect("nobody panics while holding it") = Some(Arc::clone(&producer));
        let kafka = Self { threads: Mutex::default(), shared: Arc::clone(&shared) };
        // Before the check, since tokens and complaints come by polling.
        let theirs = Arc::clone(&shared);
        kafka.spawn("capture-kafka", move || theirs.poll())?;
        // On a thread of its own, since whoever starts may be inside a runtime, and the check runs one.
        let checked = std::thread::scope(|scope| {
            let check = scope.spawn(|| shared.check(&shared.options, &producer, shared.options.start_timeout));
            check.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        match checked {
            Ok(partitions) => {
                let looked = clock::now();
                if let Ok(ends) = topic::ends(&shared.options, &producer, partitions) {
                    shared.log.seen(ends, looked, shared.log.life());
                }
            }
            Err(error @ StartError::Unreachable { .. }) => shared.fail(&error.to_string()),
            Err(error) => return Err(error),
        }
        drop(producer);
        let theirs = Arc::clone(&shared);
        kafka.spawn("capture-watch", move || theirs.watch())?;
        Ok(kafka)
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        let thread = thread.map_err(|error| StartError::Thread(error.to_string()))?;
        self.threads.lock().expect("nobody panics while holding it").push(thread);
        Ok(())
    }

    /// What the topic was when it was last held against what capture needs: at the first answer of a broker, and once it was made
    /// anew.
    pub fn topic(&self) -> Option<Topic> {
        self.shared.topic().clone()
    }

    /// How it was seen that the topic was deleted, or made anew, the last time.
    pub fn replaced_why(&self) -> Option<String> {
        self.shared.log.vanished().1
    }
}

impl Sink for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn take(&self, parcel: Parcel) -> Option<Vec<u8>> {
        self.shared.lanes.add(parcel);
        None
    }

    fn dispatch(&self, done: &mut dyn FnMut(Vec<u8>)) {
        for group in self.shared.lanes.due() {
            self.shared.send(group, &mut |_, space| done(space));
        }
    }

    fn life(&self) -> u64 {
        self.shared.log.life()
    }

    fn sound_until(&self) -> Option<Instant> {
        Some(self.shared.log.sound_until())
    }

    fn hurry(&self) {
        self.shared.set_pace(Pace::Hurried);
    }

    fn vanished(&self) -> u64 {
        self.shared.log.vanished().0
    }

    fn place(&self) -> String {
        format!("topic {}", self.shared.options.topic)
    }

    fn keeps(&self) -> Option<Keeps> {
        *self.shared.keeps()
    }

    fn end(&self, deadline: Instant) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.shared.set_pace(Pace::Ended);
        for thread in std::mem::take(&mut *self.threads.lock().expect("nobody panics while holding it")) {
            drop(thread.join());
        }
        for parcel in self.shared.lanes.empty() {
            parcel.receipt.answer(Verdict::Lost(Lost::new(Why::Ending, "the process ended before it was sent")));
        }
        let last = self.shared.producer.write().expect("nobody panics while holding it").take();
        let retired = std::mem::take(&mut *self.shared.retired());
        for producer in last.into_iter().chain(retired) {
            loop {
                give_up(&producer);
                if producer.in_flight_count() == 0 || clock::now() >= deadline {
                    break;
                }
            }
        }
        self.shared.lanes.deliver();
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.end(clock::now());
    }
}

/// Has a producer answer for everything that it has.
fn give_up(producer: &Producer) {
    producer.purge(PurgeConfig::default().queue().inflight());
    // Each purge brings lines of librdkafka's log with it, one event each: more than one look takes.
    producer.poll(POLL_RETIRED);
}

impl Shared {
    /// Without a producer yet.
    fn new(options: Options, breaker: Arc<Breaker>) -> Self {
        Self {
            log: Arc::new(Log::new(Arc::clone(&breaker), clock::now())),
            options,
            breaker,
            lanes: Lanes::default(),
            keeps: Mutex::default(),
            producer: RwLock::new(None),
            retired: Mutex::default(),
            topic: Mutex::new(None),
            ended: AtomicBool::new(false),
            pace: Mutex::new(Pace::Usual),
            paced: Condvar::new(),
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Arc<Producer>>> {
        self.retired.lock().expect("nobody panics while holding it")
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().expect("nobody panics while holding it")
    }

    fn set_pace(&self, pace: Pace) {
        let mut now = self.pace();
        if *now != Pace::Ended {
            *now = pace;
        }
        drop(now);
        self.paced.notify_all();
    }

    /// Waits until the next look is due; `false` if there is none.
    fn await_look(&self) -> bool {
        let begun = clock::now();
        let mut pace = self.pace();
        loop {
            let pause = match (*pace, self.breaker.position()) {
                (Pace::Ended, _) => return false,
                (Pace::Hurried, _) => WATCH_HURRIED,
                (Pace::Usual, Position::Closed) => self.options.watch,
                (Pace::Usual, Position::Open | Position::HalfOpen) => WATCH_WHILE_OPEN,
            };
            let left = pause.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return true;
            }
            pace = self.paced.wait_timeout(pace, left).expect("nobody panics while holding it").0;
        }
    }

    fn keeps(&self) -> MutexGuard<'_, Option<Keeps>> {
        self.keeps.lock().expect("nobody panics while holding it")
    }

    /// Asks again how long the topic keeps records, now and then: somebody may have changed that. Not while the log fails or
    /// somebody waits for a look, since whoever waits here does not look.
    fn ask_keeps(&self, watch: &mut Watch) {
        let now = clock::now();
        let due = watch.keeps_asked.is_none_or(|asked| now.saturating_duration_since(asked) >= KEEPS_EVERY);
        if due && self.breaker.position() == Position::Closed && *self.pace() == Pace::Usual {
            watch.keeps_asked = Some(now);
            if let Some(settings) = topic::settings(&self.options) {
                *self.keeps() = Some(settings.keeps());
            }
        }
    }

    fn producer(&self) -> Option<Arc<Producer>> {
        self.producer.read().expect("nobody panics while holding it").clone()
    }

    fn topic(&self) -> MutexGuard<'_, Option<Topic>> {
        self.topic.lock().expect("nobody panics while holding it")
    }

    /// Holds the topic against what capture needs, or makes it; answers how many partitions it has.
    fn check(&self, options: &Options, producer: &Producer, within: Duration) -> Result<usize, StartError> {
        let topic = topic::check(options, producer, &self.log, within)?;
        self.lanes.split(topic.partitions);
        *self.keeps() = topic.settings.as_ref().map(Settings::keeps);
        Ok(self.topic().insert(topic).partitions)
    }

    /// Hands records to librdkafka, which copies them: `done` is given their lane and the space of their values. A record
    /// that it does not take is answered at once.
    fn send(&self, group: Group, done: &mut dyn FnMut(usize, Vec<u8>)) {
        let mut groups = VecDeque::from([group]);
        while let Some(Group { lane, parcels }) = groups.pop_front() {
            let producer = self.producer();
            let count = parcels.len();
            for (number, Parcel { key, value, receipt }) in parcels.into_iter().enumerate() {
                let is_late = receipt.life() != self.log.life();
                let sent = Box::new(Sent { lane, last: number + 1 == count, receipt });
                let taken = match &producer {
                    // It waited while the topic was made anew, which has nothing of what came before it.
                    _ if is_late => {
                        let why = "the topic was deleted and made anew before the record was sent";
                        Err((Verdict::Lost(Lost::new(Why::TopicReplaced, why)), sent))
                    }
                    None => Err((Verdict::Lost(Lost::new(Why::Ending, "the process is ending")), sent)),
                    Some(producer) => {
                        let record = BaseRecord::with_opaque_to(&self.options.topic, sent).key(&*key).payload(&*value);
                        producer
                            .send(record)
                            .map_err(|(error, record)| (Verdict::Lost(client::lost(&error)), record.delivery_opaque))
                    }
                };
                done(lane, value);
                if let Err((verdict, sent)) = taken {
                    groups.extend(self.settle(*sent, verdict));
                }
            }
        }
    }

    /// A record was answered: answers for it, and says what may be sent now. After a failure what waits is lost, since it
    /// would only be lost later, and its clients wait.
    fn settle(&self, sent: Sent, verdict: Verdict) -> Option<Group> {
        let Sent { lane, last, receipt } = sent;
        let failed = matches!(&verdict, Verdict::Lost(lost) if lost.why.is_of_the_log());
        // What was sent before the log failed and came back says nothing of what waits now.
        if failed && !self.breaker.is_past(receipt.generation()) {
            for parcel in self.lanes.give_up(lane) {
                let why = "the log failed while the record waited for its turn";
                parcel.receipt.answer(Verdict::Lost(Lost::new(Why::BreakerOpen, why)));
            }
        }
        self.lanes.answered(lane, receipt, verdict, last)
    }

    /// librdkafka answered a record: answers for it, and sends what waited for that.
    fn answered(&self, sent: Sent, verdict: Verdict) {
        if let Some(group) = self.settle(sent, verdict) {
            self.send(group, &mut |lane, space| self.lanes.done(lane, space));
        }
    }

    fn connect(self: &Arc<Self>) -> Result<Arc<Producer>, KafkaError> {
        let sender = Arc::downgrade(self);
        let hooks = Hooks::new(Arc::clone(&self.log), self.options.tokens(), &self.options.topic, sender);
        Ok(Arc::new(self.options.client_config().create_with_context(hooks)?))
    }

    fn poll(&self) {
        while !self.has_ended() {
            let retired = self.retired().clone();
            match self.producer() {
                Some(producer) => producer.poll(if retired.is_empty() { POLL } else { POLL_RETIRED }),
                None => return,
            }
            // Not under the lock, since answers let records go. And again each time, since a thread may have given it one meanwhile.
            for producer in &retired {
                give_up(producer);
            }
            if !retired.is_empty() {
                drop(retired);
                self.retired().retain(|producer| producer.in_flight_count() > 0 || Arc::strong_count(producer) > 1);
            }
            // A group that librdkafka did not send as one may wait for its last answer.
            self.lanes.deliver();
        }
    }

    fn watch(self: &Arc<Self>) {
        let mut watch = Watch::default();
        while self.await_look() {
            let Some(producer) = self.producer() else { return };
            if let Some((code, why)) = producer.client().fatal_error() {
                self.replace(&format!("{code}: {why}"));
                continue;
            }
            self.look(&producer, &mut watch);
            drop(producer);
            self.ask_keeps(&mut watch);
        }
    }

    /// librdkafka gives a producer up when it can no longer promise order; a new one begins a new sequence.
    fn replace(self: &Arc<Self>, why: &str) {
        match self.connect() {
            Ok(producer) => {
                tracing::warn!(why, "the Kafka producer gave up; began a new one");
                let old = self.producer.write().expect("nobody panics while holding it").replace(producer);
                // Nobody else asks it for answers any more, and whoever holds it still keeps it from giving them at its end.
                self.retired().extend(old);
            }
            Err(error) => self.breaker.open(clock::now(), &format!("cannot set up the Kafka client: {error}").into()),
        }
    }

    fn look(&self, producer: &Producer, watch: &mut Watch) {
        let (looked, life) = (clock::now(), self.log.life());
        if !self.is_fit(producer, watch, life) {
            return;
        }
        let acknowledged = self.log.acknowledged();
        let expected = self.log.expected();
        let seen = match topic::find(&self.options, producer) {
            Ok(Found::Topic(topic)) => {
                watch.missing_since = None;
                self.lanes.split(topic.partitions);
                topic::ends(&self.options, producer, topic.partitions)
            }
            Ok(Found::Missing) => {
                watch.silent = 0;
                return self.missing(*watch.missing_since.get_or_insert_with(clock::now), life);
            }
            Ok(Found::Later(why)) => Err(why),
            Err(error) => {
                (watch.silent, watch.missing_since) = (0, None);
                return self.fail(&error.to_string());
            }
        };
        let ends = match seen {
            Ok(ends) => ends,
            Err(why) => {
                watch.missing_since = None;
                watch.silent = if self.log.acknowledged() == acknowledged { watch.silent + 1 } else { 0 };
                if watch.silent >= SILENT_LOOKS_MAX {
                    if let Some((code, reason)) = self.log.take_complaint() {
                        let refused = topic::refused(&self.options, &self.options.client_config(), code, &reason);
                        watch.complaint = Some(refused.map_or(reason, |refused| refused.to_string()));
                    }
                    self.fail(watch.complaint.as_ref().unwrap_or(&why));
                }
                return;
            }
        };
        (watch.silent, watch.complaint) = (0, None);
        let short = expected.iter().find_map(|(partition, end)| {
            let now = ends.get(partition).copied().unwrap_or(0);
            (now < *end).then(|| format!("partition {partition} ends at {now}, and had {end}"))
        });
        match short {
            None => {
                watch.short = false;
                if self.log.seen(ends, looked, life) {
                    self.breaker.ready();
                }
            }
            // Once more, at once: a leader that has just changed may not know yet.
            Some(_) if !watch.short => {
                watch.short = true;
                self.look(producer, watch);
            }
            Some(why) => {
                watch.short = false;
                self.log.replaced(&why);
            }
        }
    }

    /// There has been no topic since then, in this life of the log.
    fn missing(&self, since: Instant, life: u64) {
        let why = format!("there is no topic `{}`", self.options.topic);
        let max = if *self.pace() == Pace::Hurried { MISSING_HURRIED_MAX } else { MISSING_MAX };
        if since.elapsed() >= max {
            self.log.deleted(&why, life);
        }
        self.fail(&why);
    }

    /// Whether the topic of this life of the log was held against what capture needs: the first one, where no broker answered at the
    /// start, and each that was made anew, by whomever and however.
    fn is_fit(&self, producer: &Producer, watch: &mut Watch, life: u64) -> bool {
        let before = self.topic().clone();
        if before.is_some() && watch.checked == life {
            return true;
        }
        // Made only where it never was there: one that was deleted would come back empty, as if nothing had happened.
        let create = self.options.create.filter(|_| before.is_none());
        let options = Options { create, ..self.options.clone() };
        match self.check(&options, producer, CHECK_LATE) {
            Ok(partitions) => {
                (watch.checked, watch.said, watch.missing_since) = (life, None, None);
                let (topic, now) = (&self.options.topic, self.topic().clone());
                match before {
                    None => tracing::info!(topic, partitions, "the capture topic is there"),
                    Some(_) if before == now => {
                        tracing::info!(topic, partitions, "the capture topic is there again, and set as it was");
                    }
                    Some(before) => tracing::warn!(
                        topic,
                        ?before,
                        now = ?now.expect("it was found above"),
                        "the capture topic is there again, fit, and set otherwise than it was"
                    ),
                }
                true
            }
            Err(error) => {
                // Said again only when it is something else: it is tried several times a second.
                let kind = std::mem::discriminant(&error);
                if !matches!(error, StartError::Unreachable { .. }) && watch.said != Some(kind) {
                    watch.said = Some(kind);
                    tracing::error!(%error, "cannot capture");
                }
                self.fail(&error.to_string());
                false
            }
        }
    }

    fn fail(&self, why: &str) {
        self.breaker.open(clock::now(), &why.into());
    }
}

/// What earlier looks found.
#[derive(Debug, Default)]
struct Watch {
    /// Looks in a row without an answer.
    silent: u32,
    /// What was heard meanwhile instead: it is said once for several looks.
    complaint: Option<String>,
    /// Whether the last look found less than was expected.
    short: bool,
    /// Since when brokers say that there is no topic.
    missing_since: Option<Instant>,
    /// In which life of the log the topic was last held against what capture needs.
    checked: u64,
    /// What kind of problem was said that a late check of the topic found.
    said: Option<std::mem::Discriminant<StartError>>,
    /// When it was last asked how long the topic keeps records.
    keeps_asked: Option<Instant>,
}
