//! The port between whoever records traffic and whatever keeps the records.
//!
//! A serving thread gives a sealed record away without blocking ([`Outlet::send`](super::Outlet::send)) and learns
//! later, for a whole batch at once, which records are safe and which are lost and why. Answers are collected in one
//! [`Mailbox`] a thread; the thread is woken by the first of a batch and not again before it has looked, since a
//! wake-up costs more than the answer it brings.
//!
//! What a sink is given it must answer, exactly once: a [`Receipt`] that is dropped answers "lost" by itself, so that a
//! request never waits for something that nobody works on. The order of one key's records is not a sink's burden: the
//! outlet gives it the next record of a key only after the one before is safe.
//!
//! What a record holds is nobody's business here.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::clock;

/// Bytes that all unacknowledged records together may take unless configured otherwise: about a second of a full
/// gigabit, and a small part of the smallest machine that a proxy is given.
pub const BUDGET_BYTES: usize = 64 * 1024 * 1024;

/// What a record costs beside its value: key, bookkeeping, and the producer's own.
const RECORD_OVERHEAD_BYTES: usize = 256;

/// The largest value of a record: what the reference writer fills, so that key and overhead still fit into a Kafka
/// record of 1 MiB.
pub const VALUE_BYTES_MAX: usize = 1_048_076;

/// A sealed record as an entry of the log, on its way into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The connection id; records of one key are kept in the order in which they were sent.
    pub key: Arc<str>,
    /// [`Outlet::life`](super::Outlet::life) when the first record of this key was made. A log that has begun anew since
    /// has forgotten how the stream began, and does not take its rest.
    pub life: u64,
    /// At most [`VALUE_BYTES_MAX`] bytes.
    pub value: Vec<u8>,
    /// Comes back with the outcome; means nothing here.
    pub tag: u64,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its key.
    pub key: Arc<str>,
    /// Its tag.
    pub tag: u64,
    /// Safe, or lost.
    pub verdict: Verdict,
}

/// Whether a record is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The log has it, as durably as the log was asked to.
    Safe,
    /// It is not known to be in the log and never will be.
    Lost(Lost),
}

/// Why a record is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// What kind of reason.
    pub why: Why,
    /// In words, with what the log said.
    pub detail: Arc<str>,
    /// Whether the log may have it all the same: nobody answered in time. A reader may then find a request that never
    /// reached a cluster.
    pub perhaps_there: bool,
}

impl Lost {
    /// A loss that is certain.
    pub fn new(why: Why, detail: impl Into<Arc<str>>) -> Self {
        Self { why, detail: detail.into(), perhaps_there: false }
    }

    /// A loss that may be none.
    pub fn perhaps(why: Why, detail: impl Into<Arc<str>>) -> Self {
        Self { why, detail: detail.into(), perhaps_there: true }
    }
}

/// What kind of reason a loss has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No acknowledgement in time.
    TimedOut,
    /// The log answered, and refused.
    Refused,
    /// It was not asked, since it is known to fail.
    BreakerOpen,
    /// It had no room left.
    BudgetSpent,
    /// The log refused this one record, and would take another: too large, not readable.
    Unfit,
    /// The disk is full, or failed.
    Storage,
    /// The topic was deleted, and perhaps made anew: what it held is gone.
    TopicReplaced,
    /// A record before it with the same key was lost, and a stream with a hole is worse than one that ends.
    Follows,
    /// The process ended before the answer.
    Ending,
    /// The request was over before the answer: its side failed, or its client left.
    GivenUp,
}

impl Why {
    /// The word for it in logs and lists.
    pub fn word(self) -> &'static str {
        match self {
            Self::TimedOut => "timed-out",
            Self::Refused => "refused",
            Self::BreakerOpen => "breaker-open",
            Self::BudgetSpent => "budget-spent",
            Self::Unfit => "unfit",
            Self::Storage => "storage",
            Self::TopicReplaced => "topic-replaced",
            Self::Follows => "follows",
            Self::Ending => "ending",
            Self::GivenUp => "given-up",
        }
    }

    /// Whether it says something about the log as a whole, so that the breaker counts it.
    pub(crate) fn is_of_the_log(self) -> bool {
        match self {
            Self::TimedOut | Self::Refused | Self::Storage => true,
            Self::BreakerOpen
            | Self::BudgetSpent
            | Self::Unfit
            | Self::TopicReplaced
            | Self::Follows
            | Self::Ending
            | Self::GivenUp => false,
        }
    }
}

/// Why a record was not taken; nothing of it was kept, and no outcome follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The byte budget is spent. A read's record is dropped and its stream ended; a write may wait for room.
    #[error("the byte budget of capture is spent: the log takes records more slowly than clients send")]
    BudgetSpent,
    /// An earlier record of this key was lost, or its log is another by now: go on under a fresh connection id.
    #[error("an earlier record of this connection was lost: its stream must not go on")]
    Broken,
    /// The log is known to fail; waiting for it would only delay.
    #[error("the capture log failed and is not back yet")]
    BreakerOpen,
    /// The process is ending.
    #[error("capture is being flushed for the end of the process")]
    Ending,
    /// The value is longer than [`VALUE_BYTES_MAX`].
    #[error("the record is longer than a Kafka record of 1 MiB may carry")]
    TooLarge,
}

/// An entry that was not taken, and why. [`Refused::BudgetSpent`] is the one that may be sent again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Returned {
    /// Why.
    pub why: Refused,
    /// What was not taken.
    pub entry: Entry,
}

/// Where records are kept. One for the whole process, used by all threads.
pub trait Sink: Send + Sync {
    /// The word for it: `kafka`, `file`, `none`.
    fn name(&self) -> &'static str;

    /// Takes a record and never blocks; its receipt is answered later, or at once. Gives the value's space back if it
    /// is done with it. What it takes may wait for the next [`Self::dispatch`].
    fn take(&self, parcel: Parcel) -> Option<Vec<u8>>;

    /// The thread has given what it had at this turn: what a sink gathered goes out, so that one request carries it all.
    /// Never blocks; gives `done` the space of values that it is done with.
    fn dispatch(&self, _done: &mut dyn FnMut(Vec<u8>)) {}

    /// Which life of the log this is. It changes when the log turns out to have lost what it acknowledged; streams that
    /// began in an earlier life have a hole.
    fn life(&self) -> u64 {
        0
    }

    /// Everything that was acknowledged before this was still there when the log was looked at. `None` for a log that
    /// stays what it is.
    fn sound_until(&self) -> Option<Instant> {
        None
    }

    /// Whoever ends waits for a later [`Self::sound_until`], or for another [`Self::life`].
    fn hurry(&self) {}

    /// How many records it acknowledged and has not any more.
    fn vanished(&self) -> u64 {
        0
    }

    /// What of it holds the records: a topic, a folder.
    fn place(&self) -> String {
        String::new()
    }

    /// How long what it has stays there; `None` where that is not known.
    fn keeps(&self) -> Option<Keeps> {
        None
    }

    /// Answers whatever is still unanswered at `deadline` as lost, after which it takes nothing more. Blocks.
    fn end(&self, deadline: Instant);
}

/// How long a log keeps what it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeps {
    /// For how long; `None` is for ever.
    pub time: Option<Duration>,
    /// How many bytes of a partition, or of all, beyond which the oldest go; `None` is any number.
    pub bytes: Option<u64>,
}

/// A record as a sink gets it.
#[derive(Debug)]
pub struct Parcel {
    /// The connection id.
    pub key: Arc<str>,
    /// The record.
    pub value: Vec<u8>,
    /// Where its answer goes.
    pub receipt: Receipt,
}

/// The duty to answer for one record. Dropped without an answer, it answers "lost".
#[derive(Debug)]
pub struct Receipt {
    /// `None` once answered.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    mailbox: Arc<Mailbox>,
    answer: Answer,
}

/// A receipt's answer, on its way to the thread that sent the record.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) key: Arc<str>,
    pub(crate) tag: u64,
    /// The life of the log when it was sent.
    pub(crate) life: u64,
    /// The breaker's generation when it was sent.
    pub(crate) generation: u64,
    /// What it holds of the budget.
    pub(crate) charge: Charge,
    pub(crate) verdict: Verdict,
    /// The value's space, if the sink kept it so long.
    pub(crate) space: Option<Vec<u8>>,
}

impl Receipt {
    pub(crate) fn new(mailbox: Arc<Mailbox>, answer: Answer) -> Self {
        Self { open: Some(Open { mailbox, answer }) }
    }

    /// The life of the log in which the record was sent.
    pub fn life(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.answer.life)
    }

    /// The breaker's generation when it was sent.
    #[cfg(feature = "kafka")]
    pub(crate) fn generation(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.answer.generation)
    }

    /// Answers this record alone.
    pub fn answer(mut self, verdict: Verdict) {
        if let Some(Open { mailbox, mut answer }) = self.open.take() {
            answer.verdict = verdict;
            mailbox.put([answer]);
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(Open { mailbox, answer }) = self.open.take() {
            mailbox.put([answer]);
        }
    }
}

/// What a receipt says when nobody answers it.
pub(crate) fn unanswered() -> Verdict {
    Verdict::Lost(Lost::perhaps(Why::Ending, "nobody answered for the record"))
}

/// The answers of one batch, sorted by the thread they go to, so that each is woken once.
#[derive(Debug, Default)]
pub struct Batch {
    threads: Vec<(Arc<Mailbox>, Vec<Answer>)>,
}

impl Batch {
    /// Adds an answer, and gives the space of the value back with it.
    pub fn add(&mut self, mut receipt: Receipt, verdict: Verdict, space: Option<Vec<u8>>) {
        let Some(Open { mailbox, mut answer }) = receipt.open.take() else { return };
        answer.verdict = verdict;
        answer.space = space;
        match self.threads.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &mailbox)) {
            Some((_, answers)) => answers.push(answer),
            None => self.threads.push((mailbox, vec![answer])),
        }
    }

    /// Delivers all of them.
    pub fn deliver(&mut self) {
        for (mailbox, answers) in self.threads.drain(..) {
            mailbox.put(answers);
        }
    }
}

/// The answers that one thread has not looked at yet. Bounded by the records that the budget lets be under way.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    inner: Mutex<Letters>,
}

#[derive(Debug, Default)]
struct Letters {
    answers: Vec<Answer>,
    /// Whom to wake; taken by the first answer, put back by the next look.
    waker: Option<Waker>,
    /// How often somebody was woken.
    wakes: u64,
}

impl Mailbox {
    fn letters(&self) -> MutexGuard<'_, Letters> {
        self.inner.lock().expect("nobody panics while holding it")
    }

    /// Adds answers and wakes the thread, unless it was woken already.
    fn put(&self, answers: impl IntoIterator<Item = Answer>) {
        let mut letters = self.letters();
        letters.answers.extend(answers);
        let waker = letters.waker.take();
        letters.wakes += u64::from(waker.is_some());
        drop(letters);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes all answers, in the order in which they came; without any, is woken by the next.
    pub(crate) fn poll_take(&self, cx: &Context<'_>, into: &mut Vec<Answer>) -> Poll<()> {
        let mut letters = self.letters();
        if letters.answers.is_empty() {
            match &mut letters.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        into.append(&mut letters.answers);
        Poll::Ready(())
    }

    /// How often the thread was woken for answers.
    pub(crate) fn wakes(&self) -> u64 {
        self.letters().wakes
    }
}

/// The bytes that all unacknowledged records may take together.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: usize,
    used: AtomicUsize,
    /// Whether anyone waits for room or for the end; keeps the lock out of the way of records.
    watched: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
    emptied: Condvar,
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::SeqCst);
        if self.budget.watched.load(Ordering::SeqCst) {
            let mut waiting = self.budget.waiting.lock().expect("nobody panics while holding it");
            let woken = std::mem::take(&mut *waiting);
            drop(waiting);
            self.budget.emptied.notify_all();
            woken.into_iter().for_each(Waker::wake);
        }
    }
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            used: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
            waiting: Mutex::default(),
            emptied: Condvar::new(),
        })
    }

    /// Room for a record with a value of so many bytes; `None` when the budget is spent. A record larger than the whole
    /// budget passes when nothing else is under way, or it could never.
    pub(crate) fn charge(self: &Arc<Self>, value_bytes: usize) -> Option<Charge> {
        let bytes = value_bytes + RECORD_OVERHEAD_BYTES;
        let fits = |used: usize| (used == 0 || used + bytes <= self.bytes_max).then_some(used + bytes);
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).ok()?;
        Some(Charge { budget: Arc::clone(self), bytes })
    }

    /// Ready once a record of so many bytes may fit; woken whenever room was given back.
    pub(crate) fn poll_room(&self, cx: &Context<'_>, value_bytes: usize) -> Poll<()> {
        let bytes = value_bytes + RECORD_OVERHEAD_BYTES;
        let fits = |used: usize| used == 0 || used + bytes <= self.bytes_max;
        if fits(self.used()) {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.lock().expect("nobody panics while holding it");
        self.watched.store(true, Ordering::SeqCst);
        // What was given back between the look and the lock would wake nobody.
        if fits(self.used()) {
            return Poll::Ready(());
        }
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Bytes under way.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    /// Blocks until nothing is under way; `false` when the deadline came first.
    pub(crate) fn wait_empty(&self, deadline: Instant) -> bool {
        let mut waiting = self.waiting.lock().expect("nobody panics while holding it");
        self.watched.store(true, Ordering::SeqCst);
        loop {
            if self.used() == 0 {
                return true;
            }
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return false;
            }
            waiting = self.emptied.wait_timeout(waiting, left).expect("nobody panics while holding it").0;
        }
    }
}

/// Keeps nothing: for measuring, and for a proxy that shall run the whole way of a record without a log.
#[derive(Debug, Default)]
pub struct Nowhere;

impl Sink for Nowhere {
    fn name(&self) -> &'static str {
        "none"
    }

    fn take(&self, parcel: Parcel) -> Option<Vec<u8>> {
        parcel.receipt.answer(Verdict::Safe);
        Some(parcel.value)
    }

    fn end(&self, _deadline: Instant) {}
}
