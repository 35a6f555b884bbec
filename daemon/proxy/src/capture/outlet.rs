//! One serving thread's way into the capture log: order by key, the byte budget, the breaker.
//!
//! A connection belongs to one thread for its life, so the order of its records is kept here without a lock: the next
//! record of a key goes to the sink only after the one before is safe. That costs a bulk request one round trip for each
//! megabyte, and is what makes a hole impossible: had two been under way, the log could lose the first and keep the
//! second, and a reader would join what does not belong together. A key that lost a record takes no more.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::{
    Buffers,
    breaker::{Breaker, Position},
    lag::Lag,
    sink::{Answer, Budget, Charge, Entry, Keeps, Lost, Mailbox, Outcome, Parcel, Receipt, Refused, Returned, Sink},
    sink::{VALUE_BYTES_MAX, Verdict, Why, unanswered},
};
use crate::clock;

/// A capture log in use: the sink, and what all threads share on the way to it.
#[derive(Clone)]
pub struct Capture {
    shared: Arc<Shared>,
}

struct Shared {
    sink: Arc<dyn Sink>,
    breaker: Arc<Breaker>,
    budget: Arc<Budget>,
    ending: AtomicBool,
    tally: Tally,
    /// The life of the log whose beginning was told.
    life_told: AtomicU64,
    vanished_told: AtomicU64,
    lag: Lag,
}

#[derive(Debug, Default)]
struct Tally {
    safe: AtomicU64,
    lost: AtomicU64,
    perhaps_there: AtomicU64,
    refused_budget: AtomicU64,
    refused_breaker: AtomicU64,
}

/// What a capture log did since the process started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Which sink.
    pub sink: &'static str,
    /// Records that are safe.
    pub safe: u64,
    /// Records that are lost.
    pub lost: u64,
    /// How many of the lost ones may be in the log all the same.
    pub perhaps_there: u64,
    /// Records that were not taken because the byte budget was spent.
    pub refused_budget: u64,
    /// Records that were not taken because the breaker was open.
    pub refused_breaker: u64,
    /// Bytes under way, of the budget.
    pub under_way_bytes: usize,
    /// Where the breaker stands.
    pub breaker: Position,
    /// Whether the log is known to take records.
    pub works: bool,
    /// How often it opened.
    pub opened_times: u64,
    /// Why it opened the last time.
    pub opened_why: Option<Arc<str>>,
    /// Which life of the log this is; anything but 0 means that it lost what it had acknowledged.
    pub life: u64,
    /// How long the oldest record has waited for the log, a quarter of a second more at most; `None` when none waits.
    pub oldest: Option<Duration>,
    /// What holds the records: a topic, a folder.
    pub place: String,
    /// How long the log keeps what it has; `None` where that is not known.
    pub keeps: Option<Keeps>,
}

impl Capture {
    /// Puts a sink to use. `budget_bytes` bounds what all unacknowledged records take together.
    pub fn new(sink: Arc<dyn Sink>, breaker: Arc<Breaker>, budget_bytes: usize) -> Self {
        let budget = Budget::new(budget_bytes);
        let (ending, tally, lag) = (AtomicBool::new(false), Tally::default(), Lag::new(clock::now()));
        let (life_told, vanished_told) = (AtomicU64::new(sink.life()), AtomicU64::new(sink.vanished()));
        Self { shared: Arc::new(Shared { sink, breaker, budget, ending, tally, life_told, vanished_told, lag }) }
    }

    /// The way in for one thread; the space of records goes back to `home` once nobody needs it.
    pub fn outlet(&self, home: Buffers) -> Outlet {
        Outlet {
            shared: Arc::clone(&self.shared),
            mailbox: Arc::default(),
            chains: HashMap::new(),
            broken: Vec::new(),
            answers: Vec::new(),
            home,
            task: None,
            gathered: false,
        }
    }

    /// What was done so far.
    pub fn figures(&self) -> Figures {
        let Shared { sink, breaker, budget, tally, lag, .. } = &*self.shared;
        let (opened_times, opened_why) = breaker.opened_times();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let answered = count(&tally.safe) + count(&tally.lost);
        Figures {
            sink: sink.name(),
            safe: count(&tally.safe),
            lost: count(&tally.lost),
            perhaps_there: count(&tally.perhaps_there),
            refused_budget: count(&tally.refused_budget),
            refused_breaker: count(&tally.refused_breaker),
            under_way_bytes: budget.used(),
            breaker: breaker.position(),
            works: breaker.works(),
            opened_times,
            opened_why,
            life: sink.life(),
            oldest: lag.oldest(answered, clock::now()),
            place: sink.place(),
            keeps: sink.keeps(),
        }
    }

    /// Takes no more records and blocks until all that were taken have their outcome, at the latest until `deadline`,
    /// when the rest is lost. The threads must go on polling their outlets meanwhile. Answers whether all had theirs.
    pub fn flush(&self, deadline: Instant) -> bool {
        self.shared.ending.store(true, Ordering::SeqCst);
        let flushed = self.shared.budget.wait_empty(deadline);
        self.shared.sink.end(deadline);
        flushed
    }
}

/// One thread's way in. Not shared: records of one key always pass through one outlet.
pub struct Outlet {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    /// Keys with something under way, and keys that broke since the last look.
    chains: HashMap<Arc<str>, Chain>,
    /// Broken keys with nothing under way, forgotten at the next look: whoever sends has heard of it by then.
    broken: Vec<Arc<str>>,
    answers: Vec<Answer>,
    home: Buffers,
    /// The task that looks for outcomes, once it has looked.
    task: Option<Waker>,
    /// Whether the sink was given records since it was last told to dispatch what it has.
    gathered: bool,
}

/// The records of one key.
#[derive(Default)]
struct Chain {
    flying: bool,
    broken: bool,
    /// Bounded by the byte budget.
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    value: Vec<u8>,
    tag: u64,
    generation: u64,
    charge: Charge,
}

impl Outlet {
    /// Gives a record away. It never blocks; the outcome comes with [`Self::poll_outcomes`].
    ///
    /// # Errors
    /// The record was not taken, and comes back. After [`Refused::Broken`] the key must not be used again; after the
    /// others, whoever drops the record must end the stream, since the next record would leave a hole.
    pub fn send(&mut self, entry: Entry, now: Instant) -> Result<(), Returned> {
        match self.admit(&entry.key, entry.life, entry.value.len(), now) {
            Ok((generation, charge)) => {
                self.shared.lag.sent(now);
                let Entry { key, life, value, tag } = entry;
                let chain = self.chains.entry(Arc::clone(&key)).or_default();
                let next = Waiting { value, tag, generation, charge };
                if chain.flying {
                    chain.waiting.push_back(next);
                    return Ok(());
                }
                chain.flying = true;
                let first = !self.gathered;
                self.give(key, life, next);
                match &self.task {
                    // Its turn comes after the tasks that are ready now, which may have records to send, too.
                    Some(task) if first => task.wake_by_ref(),
                    Some(_) => {}
                    None => self.dispatch(),
                }
                Ok(())
            }
            Err(why) => Err(Returned { why, entry }),
        }
    }

    fn admit(&self, key: &Arc<str>, life: u64, value_bytes: usize, now: Instant) -> Result<(u64, Charge), Refused> {
        let Shared { sink, breaker, budget, ending, tally, .. } = &*self.shared;
        if value_bytes > VALUE_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        if life != sink.life() || self.chains.get(key).is_some_and(|chain| chain.broken) {
            return Err(Refused::Broken);
        }
        if ending.load(Ordering::Relaxed) {
            return Err(Refused::Ending);
        }
        let Some(charge) = budget.charge(value_bytes) else {
            tally.refused_budget.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::BudgetSpent);
        };
        // Last, since a half-open breaker counts on the outcome of the record that it admits.
        let Some(generation) = breaker.admit(now) else {
            tally.refused_breaker.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::BreakerOpen);
        };
        Ok((generation, charge))
    }

    fn give(&mut self, key: Arc<str>, life: u64, next: Waiting) {
        let Waiting { value, tag, generation, charge } = next;
        let verdict = unanswered();
        let answer = Answer { key: Arc::clone(&key), tag, life, generation, charge, verdict, space: None };
        let receipt = Receipt::new(Arc::clone(&self.mailbox), answer);
        self.gathered = true;
        if let Some(space) = self.shared.sink.take(Parcel { key, value, receipt }) {
            self.home.keep(space);
        }
    }

    fn dispatch(&mut self) {
        if std::mem::take(&mut self.gathered) {
            let Self { shared, home, .. } = self;
            shared.sink.dispatch(&mut |space| home.keep(space));
        }
    }

    /// Ready with the outcomes of a batch, added to `outcomes`: those of one key in the order in which its records were
    /// sent. Without any, the task of `cx` is woken once for the next batch, and what was sent since the last look goes out
    /// in common. One task a thread polls this, until it is pending, whenever it is woken.
    pub fn poll_outcomes(&mut self, cx: &Context<'_>, now: Instant, outcomes: &mut Vec<Outcome>) -> Poll<()> {
        for key in self.broken.drain(..) {
            self.chains.remove(&key);
        }
        let mut answers = std::mem::take(&mut self.answers);
        let taken = self.mailbox.poll_take(cx, &mut answers);
        for answer in answers.drain(..) {
            self.answered(answer, now, outcomes);
        }
        self.answers = answers;
        if taken.is_pending() {
            if !self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                self.task = Some(cx.waker().clone());
            }
            self.dispatch();
        }
        taken
    }

    fn answered(&mut self, answer: Answer, now: Instant, outcomes: &mut Vec<Outcome>) {
        let Answer { key, tag, life, generation, charge, verdict, space } = answer;
        drop(charge);
        if let Some(space) = space {
            self.home.keep(space);
        }
        let breaker = Arc::clone(&self.shared.breaker);
        match &verdict {
            Verdict::Safe => breaker.succeeded(generation),
            Verdict::Lost(lost) if lost.why.is_of_the_log() => breaker.failed(generation, now, &lost.detail),
            Verdict::Lost(_) => breaker.unknown(generation),
        }
        let chain = self.chains.get_mut(&key).expect("a key has its chain while a record is under way");
        chain.flying = false;
        let lost = match &verdict {
            Verdict::Safe => None,
            Verdict::Lost(lost) => Some(lost.clone()),
        };
        // A log that began a new life has forgotten how this key's stream began.
        let ends = lost.is_some() || life != self.shared.sink.life();
        self.tell(Outcome { key: Arc::clone(&key), tag, verdict }, outcomes);
        let chain = self.chains.get_mut(&key).expect("it was there above");
        if ends {
            chain.broken = true;
            let why = lost.map_or_else(|| "the log began anew".into(), |lost| lost.detail);
            for follower in std::mem::take(&mut chain.waiting) {
                breaker.unknown(follower.generation);
                let verdict = Verdict::Lost(Lost::new(Why::Follows, Arc::clone(&why)));
                self.home.keep(follower.value);
                self.tell(Outcome { key: Arc::clone(&key), tag: follower.tag, verdict }, outcomes);
            }
            self.broken.push(key);
        } else if let Some(next) = chain.waiting.pop_front() {
            chain.flying = true;
            self.give(key, life, next);
        } else {
            self.chains.remove(&key);
        }
    }

    fn tell(&self, outcome: Outcome, outcomes: &mut Vec<Outcome>) {
        let tally = &self.shared.tally;
        match &outcome.verdict {
            Verdict::Safe => tally.safe.fetch_add(1, Ordering::Relaxed),
            Verdict::Lost(lost) => {
                tally.perhaps_there.fetch_add(u64::from(lost.perhaps_there), Ordering::Relaxed);
                tally.lost.fetch_add(1, Ordering::Relaxed)
            }
        };
        outcomes.push(outcome);
    }

    /// Ready once a record of so many bytes may fit into the budget again; for a write that found it spent.
    pub fn poll_room(&self, cx: &Context<'_>, value_bytes: usize) -> Poll<()> {
        self.shared.budget.poll_room(cx, value_bytes)
    }

    /// Which life of the log this is: what the records of a stream that begins now are sent with.
    pub fn life(&self) -> u64 {
        self.shared.sink.life()
    }

    /// Up to when what was acknowledged is known to have been there afterwards; see [`Sink::sound_until`].
    pub(super) fn sound_until(&self) -> Option<Instant> {
        self.shared.sink.sound_until()
    }

    /// Has what [`Self::sound_until`] says told sooner: whoever asks ends.
    pub(super) fn hurry(&self) {
        self.shared.sink.hurry();
    }

    /// How many records vanished with earlier lives of the log, said once for each beginning of a new one.
    pub(super) fn vanished(&self) -> Option<u64> {
        let life = self.life();
        (self.shared.life_told.fetch_max(life, Ordering::AcqRel) < life).then(|| {
            let all = self.shared.sink.vanished();
            all.saturating_sub(self.shared.vanished_told.swap(all, Ordering::AcqRel))
        })
    }

    /// Whether the log is known to fail: a write need not wait for its outcome then, and `refuse` answers 503 at once.
    /// Once a record may try this is `false`, until one does.
    pub fn is_open(&self, now: Instant) -> bool {
        self.shared.breaker.refuses(now)
    }

    /// Whether every record has its outcome.
    pub fn is_idle(&self) -> bool {
        self.chains.values().all(|chain| !chain.flying)
    }

    /// How often the thread was woken for outcomes, for measuring.
    pub fn wakes(&self) -> u64 {
        self.mailbox.wakes()
    }
}
