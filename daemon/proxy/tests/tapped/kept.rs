//! A log that a test holds in its hand: it keeps what it is given, and answers when and what the test says.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use proxy::capture::{
    Lost, Parcel, Receipt, Sink, Verdict,
    read::{Accumulator, Chunk, Exchange, Outcome, What},
};

use crate::{clock, grammar::assert_grammar, support::PATIENCE};

/// The largest chunk that a proxy writes.
const CHUNK_BYTES_MAX: usize = 1024 * 1024 - 500;

/// How long an answer takes that another thread gives.
const SOON: Duration = Duration::from_millis(1);

/// What it does with a record.
#[derive(Clone, Debug, Default)]
pub(crate) enum Answer {
    /// Keeps it and says so.
    #[default]
    Safe,
    /// Says nothing until it is told to.
    Later,
    /// Loses it; keeps it all the same if it says that it perhaps did.
    Lost(Lost),
}

/// See the module.
#[derive(Default)]
pub(crate) struct Kept {
    inner: Mutex<Inner>,
    changed: Condvar,
    life: AtomicU64,
    /// Up to when it says that everything was there later; a log that says nothing of it keeps its word.
    sound_until: Mutex<Option<Instant>>,
    /// Whether somebody who ends waits for a look.
    hurried: AtomicBool,
    /// Whether it forgets names that say much, and does not check them: for tests that send what is not worth keeping.
    forgets: bool,
}

/// A name that says more is forgotten where that is asked.
const FORGOTTEN_BYTES: usize = 4 * 1024 * 1024;

#[derive(Default)]
pub(crate) struct Inner {
    answer: Answer,
    /// What was given, in the order in which it was.
    pub(crate) given: Vec<Given>,
    /// What is not answered yet, with its place in `given`.
    waiting: Vec<(usize, Receipt)>,
    /// How often each thread asked up to when it is sound.
    asked: HashMap<ThreadId, u64>,
}

/// One record that was given.
pub(crate) struct Given {
    pub(crate) key: Arc<str>,
    pub(crate) value: Vec<u8>,
    pub(crate) at: Instant,
    /// Whether a reader of the log finds it.
    pub(crate) is_there: bool,
}

impl Given {
    /// What it says, as words in their order.
    pub(crate) fn words(&self) -> Vec<&'static str> {
        let word = |what| match what {
            What::Read(_) => "read",
            What::ReadSegment(_) => "read-segment",
            What::Write(_) => "write",
            What::WriteSegment(_) => "write-segment",
            What::SegmentEnd => "segment-end",
            What::EndOfMessage { .. } => "end",
            What::Dropped => "dropped",
            What::Exception(_) => "exception",
            What::Close => "close",
            What::Bind | What::Connect | What::ReleasedDownstream { .. } | What::Disconnect => "odd",
        };
        let chunk = Chunk::decode(&self.value).unwrap();
        chunk.observations().map(|observation| observation.what.map_or("odd", word)).collect()
    }

    /// Whether it ends with the end of a request.
    pub(crate) fn ends_request(&self) -> bool {
        self.words().last() == Some(&"end")
    }

    /// Whether it is the last of its name.
    pub(crate) fn is_last(&self) -> bool {
        self.words().last() == Some(&"close")
    }
}

impl Sink for Kept {
    fn name(&self) -> &'static str {
        "test"
    }

    fn take(&self, Parcel { key, value, receipt }: Parcel) -> Option<Vec<u8>> {
        let mut inner = self.inner();
        if self.forgets && inner.bytes(&key) > FORGOTTEN_BYTES {
            receipt.answer(Verdict::Safe);
            return Some(value);
        }
        let place = inner.given.len();
        let given = Given { key, value: value.clone(), at: clock::now(), is_there: false };
        let key = given.is_last().then(|| Arc::clone(&given.key));
        inner.given.push(given);
        match inner.answer.clone() {
            Answer::Safe => inner.say(place, receipt, Verdict::Safe),
            Answer::Lost(lost) => inner.say(place, receipt, Verdict::Lost(lost)),
            Answer::Later => inner.waiting.push((place, receipt)),
        }
        if let Some(key) = key {
            assert!(inner.grammar(&key), "the last record closes");
        }
        drop(inner);
        self.changed.notify_all();
        Some(value)
    }

    fn life(&self) -> u64 {
        self.life.load(Ordering::SeqCst)
    }

    fn sound_until(&self) -> Option<Instant> {
        *self.inner().asked.entry(thread::current().id()).or_default() += 1;
        self.changed.notify_all();
        *self.sound_until.lock().unwrap()
    }

    fn hurry(&self) {
        self.hurried.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    fn vanished(&self) -> u64 {
        self.inner().given.len() as u64
    }

    fn end(&self, _deadline: Instant) {}
}

impl Inner {
    fn say(&mut self, place: usize, receipt: Receipt, verdict: Verdict) {
        self.given[place].is_there = match &verdict {
            Verdict::Safe => true,
            Verdict::Lost(lost) => lost.perhaps_there,
        };
        receipt.answer(verdict);
    }

    fn bytes(&self, key: &Arc<str>) -> usize {
        self.given.iter().filter(|given| given.key == *key).map(|given| given.value.len()).sum()
    }

    /// Holds everything under one name against the rules; whether it was closed.
    fn grammar(&self, key: &Arc<str>) -> bool {
        let records: Vec<&[u8]> =
            self.given.iter().filter(|given| given.key == *key).map(|given| given.value.as_slice()).collect();
        let node = Chunk::decode(records[0]).unwrap().node.to_owned();
        assert_grammar((key, &node), records, CHUNK_BYTES_MAX)
    }

    /// How many records end a request.
    pub(crate) fn ends(&self) -> usize {
        self.given.iter().filter(|given| given.ends_request()).count()
    }

    /// How many names were closed.
    pub(crate) fn closed(&self) -> usize {
        self.given.iter().filter(|given| given.is_last()).count()
    }
}

impl Kept {
    /// One that forgets names that say much.
    pub(crate) fn forgetful() -> Self {
        Self { forgets: true, ..Self::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("the log's rules were kept")
    }

    /// From now on it answers so; what waits for an answer goes on waiting.
    pub(crate) fn answer(&self, answer: Answer) {
        self.inner().answer = answer;
    }

    /// Says nothing more until it is told to.
    pub(crate) fn pause(&self) {
        self.answer(Answer::Later);
    }

    /// Says this of everything that waits.
    pub(crate) fn settle(&self, verdict: &Verdict) {
        let mut inner = self.inner();
        for (place, receipt) in std::mem::take(&mut inner.waiting) {
            inner.say(place, receipt, verdict.clone());
        }
    }

    /// Keeps everything that waits, and whatever comes.
    pub(crate) fn resume(&self) {
        self.answer(Answer::Safe);
        self.settle(&Verdict::Safe);
    }

    /// Turns out to have lost what it had.
    pub(crate) fn begin_anew(&self) {
        self.life.fetch_add(1, Ordering::SeqCst);
    }

    /// Says that everything is there that it has acknowledged by now, and that it may turn out to lose what comes.
    pub(crate) fn is_sound(&self) {
        *self.sound_until.lock().unwrap() = Some(clock::now());
    }

    /// The same, and comes back when every thread that records has heard of it, and has done with what it heard.
    pub(crate) fn looked_at(&self) {
        self.is_sound();
        let before = self.look(|log| log.asked.clone());
        self.wait("its threads", |log| before.iter().all(|(thread, count)| log.asked[thread] >= count + 2));
    }

    /// Waits until somebody who ends waits for a look.
    pub(crate) fn wait_hurried(&self) {
        self.wait("whoever ends", |_| self.hurried.load(Ordering::SeqCst));
    }

    /// Looks at what it was given.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Inner) -> T) -> T {
        look(&self.inner())
    }

    /// From now on each record is answered by another thread a little later, with what `judge` says of it.
    pub(crate) fn answer_soon(self: &Arc<Self>, mut judge: impl FnMut() -> Verdict + Send + 'static) {
        self.pause();
        let log = Arc::downgrade(self);
        thread::spawn(move || {
            while let Some(log) = log.upgrade() {
                let mut inner = log.inner();
                for (place, receipt) in std::mem::take(&mut inner.waiting) {
                    inner.say(place, receipt, judge());
                }
                drop(inner);
                drop(log);
                thread::sleep(SOON);
            }
        });
    }

    /// Waits until what it was given is as wanted.
    pub(crate) fn wait(&self, what: &str, mut wanted: impl FnMut(&Inner) -> bool) {
        let deadline = clock::now() + PATIENCE;
        let mut inner = self.inner();
        while !wanted(&inner) {
            let left = deadline.saturating_duration_since(clock::now());
            let said: Vec<_> = inner.given.iter().map(|given| (given.key.as_ref(), given.words())).collect();
            assert!(!left.is_zero(), "never came: {what}; there is {said:?}");
            inner = self.changed.wait_timeout(inner, left).expect("the log's rules were kept").0;
        }
    }

    /// Waits until so many names were closed.
    pub(crate) fn wait_closed(&self, count: usize) {
        self.wait(&format!("{count} closed names"), |inner| inner.closed() >= count);
    }

    /// What a reader finds: the exchanges, in the order in which they end, with everything else being in order.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        let inner = self.inner();
        let mut names = BTreeMap::new();
        for given in &inner.given {
            names.entry(&given.key).or_insert_with(|| inner.grammar(&given.key));
        }
        found(inner.given.iter().filter(|given| given.is_there).map(|given| &given.value))
    }
}

/// The exchanges that a reader finds in records, in the order in which they end, with everything else being in order.
pub(crate) fn found(records: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<Exchange> {
    let (mut accumulator, mut outcomes) = (Accumulator::default(), Vec::new());
    for record in records {
        accumulator.add(&Chunk::decode(record.as_ref()).unwrap(), &mut outcomes);
    }
    accumulator.finish(&mut outcomes);
    let mut exchanges = Vec::new();
    for outcome in outcomes {
        match outcome {
            Outcome::Exchange(exchange) => exchanges.push(*exchange),
            Outcome::Closed(_) => {}
            odd => panic!("a reader stumbles over {odd:?}"),
        }
    }
    exchanges
}
