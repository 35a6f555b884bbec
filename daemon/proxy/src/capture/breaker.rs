//! The circuit breaker between requests and a log that fails: a dead log costs one bounded delay, not one a request.
//!
//! *Closed*: records pass. A loss that says something about the log as a whole opens it. *Open*: records are refused at
//! once. *Half open*: one record passes as a probe; if it is safe the breaker closes, if it is lost it opens again.
//!
//! When an open breaker becomes half open depends on the log. One that can be asked without a client's record (Kafka's
//! metadata) says so itself ([`Breaker::ready`]), since a record would cost its request the whole produce timeout; one
//! that cannot (a disk) fails at once anyway, and is tried after a pause that doubles.
//!
//! Losses of records that were sent before the breaker last changed say nothing about the log now and are not counted:
//! every admission carries the generation it was given in.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The first pause before an open breaker lets a record try, and the longest, when the log cannot be asked.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// How an open breaker comes to let a record try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reopen {
    /// After a pause.
    AfterPause,
    /// When the log was asked and answered.
    WhenReady,
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Records pass.
    Closed,
    /// Records are refused.
    Open,
    /// One record tries.
    HalfOpen,
}

/// See the module.
#[derive(Debug)]
pub struct Breaker {
    reopen: Reopen,
    /// The generation while closed, shifted left by one; the lowest bit is set while it is not closed. Read alone on the
    /// way of a record.
    fast: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    position: Position,
    generation: u64,
    /// Whether the probe of a half-open breaker is under way.
    probing: bool,
    until: Option<Instant>,
    pause: Duration,
    why: Option<Arc<str>>,
    opened_times: u64,
    /// Whether a lost record opened it, and not a look: then only a record shows that it may close.
    by_record: bool,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(reopen: Reopen) -> Self {
        Self {
            reopen,
            fast: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                position: Position::Closed,
                generation: 0,
                probing: false,
                until: None,
                pause: PAUSE_FIRST,
                why: None,
                opened_times: 0,
                by_record: false,
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics while holding it")
    }

    fn settle(&self, inner: &mut Inner, position: Position) {
        inner.position = position;
        inner.generation += 1;
        inner.probing = false;
        self.fast.store(inner.generation << 1 | u64::from(position != Position::Closed), Ordering::Release);
    }

    /// Whether a record may pass at `now`; the number goes back with its outcome.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let fast = self.fast.load(Ordering::Acquire);
        if fast & 1 == 0 {
            return Some(fast >> 1);
        }
        let mut inner = self.inner();
        if inner.position == Position::Open && inner.until.is_some_and(|until| until <= now) {
            self.settle(&mut inner, Position::HalfOpen);
        }
        match inner.position {
            Position::Closed => Some(inner.generation),
            Position::HalfOpen if !inner.probing => {
                inner.probing = true;
                Some(inner.generation)
            }
            Position::HalfOpen | Position::Open => None,
        }
    }

    /// Whether a record would not pass at `now`. Asking changes nothing: it is what lets a record try that does.
    pub fn refuses(&self, now: Instant) -> bool {
        if self.fast.load(Ordering::Acquire) & 1 == 0 {
            return false;
        }
        let inner = self.inner();
        match inner.position {
            Position::Closed => false,
            Position::HalfOpen => inner.probing,
            Position::Open => inner.until.is_none_or(|until| until > now),
        }
    }

    /// Whether the log is known to take records again since one was admitted in `generation`, which says nothing of it any more.
    pub fn is_past(&self, generation: u64) -> bool {
        let fast = self.fast.load(Ordering::Acquire);
        fast & 1 == 0 && fast >> 1 != generation
    }

    /// A record admitted in `generation` is safe.
    pub fn succeeded(&self, generation: u64) {
        // Nearly always so: nothing to do, and no lock.
        if self.fast.load(Ordering::Acquire) == generation << 1 {
            return;
        }
        let mut inner = self.inner();
        if inner.position == Position::HalfOpen && inner.generation == generation {
            self.settle(&mut inner, Position::Closed);
            inner.pause = PAUSE_FIRST;
            inner.until = None;
            inner.by_record = false;
            tracing::info!("the capture log takes records again");
        }
    }

    /// A record admitted in `generation` was lost, for a reason that is the log's.
    pub fn failed(&self, generation: u64, now: Instant, why: &Arc<str>) {
        let mut inner = self.inner();
        if inner.generation == generation && inner.position != Position::Open {
            inner.by_record = true;
            self.opened(&mut inner, now, why);
        }
    }

    /// A record admitted in `generation` ended in a way that says nothing about the log.
    pub fn unknown(&self, generation: u64) {
        let mut inner = self.inner();
        if inner.generation == generation && inner.position == Position::HalfOpen {
            inner.probing = false;
        }
    }

    /// The log is known to fail, whatever records say.
    pub fn open(&self, now: Instant, why: &Arc<str>) {
        let mut inner = self.inner();
        if inner.position == Position::Open {
            inner.why = Some(Arc::clone(why));
        } else {
            self.opened(&mut inner, now, why);
        }
    }

    fn opened(&self, inner: &mut Inner, now: Instant, why: &Arc<str>) {
        if inner.position == Position::Closed {
            inner.opened_times += 1;
            tracing::error!(%why, "the capture log fails");
        }
        self.settle(inner, Position::Open);
        inner.why = Some(Arc::clone(why));
        inner.until = match self.reopen {
            Reopen::AfterPause => Some(now + inner.pause),
            Reopen::WhenReady => None,
        };
        inner.pause = (inner.pause * 2).min(PAUSE_MAX);
    }

    /// The log was asked and is ready: one record may try.
    pub fn ready(&self) {
        if self.fast.load(Ordering::Acquire) & 1 == 0 {
            return;
        }
        let mut inner = self.inner();
        if inner.position == Position::Open {
            self.settle(&mut inner, Position::HalfOpen);
        }
    }

    /// Whether the log is known to take records. One that looks alone found silent and now find well again does, though no
    /// record has tried it: where nothing is recorded none would.
    pub fn works(&self) -> bool {
        let inner = self.inner();
        match inner.position {
            Position::Closed => true,
            Position::HalfOpen => !inner.by_record,
            Position::Open => false,
        }
    }

    /// Where it stands.
    pub fn position(&self) -> Position {
        self.inner().position
    }

    /// How often it opened, and why the last time.
    pub fn opened_times(&self) -> (u64, Option<Arc<str>>) {
        let inner = self.inner();
        (inner.opened_times, inner.why.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that a record's admission is past once the log has failed and come back since, and not before.
    #[test]
    fn an_admission_is_past_once_the_log_is_back() {
        let (breaker, now) = (Breaker::new(Reopen::WhenReady), crate::clock::now());
        let first = breaker.admit(now).unwrap();
        assert!(!breaker.is_past(first));
        breaker.failed(first, now, &why());
        assert!(!breaker.is_past(first), "it is what opened it");
        breaker.ready();
        let probe = breaker.admit(now).unwrap();
        assert!(!breaker.is_past(first));
        breaker.succeeded(probe);
        assert!(breaker.is_past(first) && !breaker.is_past(breaker.admit(now).unwrap()));
    }

    fn why() -> Arc<str> {
        "no answer".into()
    }

    /// Proves that one loss opens it, that only one record tries when the pause is over, and that its success closes it.
    #[test]
    fn a_loss_opens_it_and_one_probe_closes_it() {
        let breaker = Breaker::new(Reopen::AfterPause);
        let start = clock_now();
        let admitted = breaker.admit(start).unwrap();
        breaker.failed(admitted, start, &why());
        assert_eq!(breaker.admit(start), None);
        let later = start + PAUSE_FIRST;
        let probe = breaker.admit(later).unwrap();
        assert_eq!(breaker.admit(later), None, "one probe at a time");
        breaker.succeeded(probe);
        assert_eq!(breaker.position(), Position::Closed);
        assert!(breaker.admit(later).is_some());
        assert_eq!(breaker.opened_times(), (1, Some(why())));
    }

    /// Proves that records which were under way when it opened neither close it nor, once it closed, open it again.
    #[test]
    fn outcomes_of_an_earlier_generation_say_nothing() {
        let breaker = Breaker::new(Reopen::WhenReady);
        let start = clock_now();
        let old = breaker.admit(start).unwrap();
        breaker.failed(old, start, &why());
        breaker.succeeded(old);
        assert_eq!(breaker.position(), Position::Open);
        breaker.ready();
        let probe = breaker.admit(start).unwrap();
        breaker.succeeded(old);
        assert_eq!(breaker.position(), Position::HalfOpen);
        breaker.succeeded(probe);
        breaker.failed(old, start, &why());
        assert_eq!(breaker.position(), Position::Closed);
    }

    /// Proves that a log which can be asked is not tried by a client's record before it answered, and that the pause of
    /// one that cannot be asked doubles up to its limit.
    #[test]
    fn a_log_that_can_be_asked_is_asked_first() {
        let start = clock_now();
        let asked = Breaker::new(Reopen::WhenReady);
        asked.open(start, &why());
        assert_eq!(asked.admit(start + PAUSE_MAX * 100), None);
        asked.ready();
        assert!(asked.admit(start).is_some());

        let tried = Breaker::new(Reopen::AfterPause);
        let (mut now, mut pause) = (start, PAUSE_FIRST);
        tried.open(now, &why());
        for _ in 0..10 {
            let end = now + pause;
            assert_eq!(tried.admit(now), None);
            assert_eq!(tried.admit(now + pause.mul_f64(0.99)), None);
            now = end;
            let probe = tried.admit(now).unwrap();
            tried.failed(probe, now, &why());
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Proves that a log which a look found silent works again once a look finds it well, with no record to try it, and that
    /// one which lost a record does not before one is safe.
    #[test]
    fn where_nothing_is_recorded_a_look_is_enough() {
        let breaker = Breaker::new(Reopen::WhenReady);
        assert!(breaker.works());
        breaker.open(clock_now(), &why());
        assert!(!breaker.works());
        breaker.ready();
        assert!(breaker.works());
        let probe = breaker.admit(clock_now()).unwrap();
        breaker.failed(probe, clock_now(), &why());
        breaker.ready();
        assert!(!breaker.works());
        let probe = breaker.admit(clock_now()).unwrap();
        breaker.succeeded(probe);
        assert!(breaker.works());
    }

    /// Proves that a probe which ended without a word on the log lets another try.
    #[test]
    fn a_probe_without_a_word_lets_another_try() {
        let breaker = Breaker::new(Reopen::WhenReady);
        breaker.open(clock_now(), &why());
        breaker.ready();
        let probe = breaker.admit(clock_now()).unwrap();
        breaker.unknown(probe);
        assert!(breaker.admit(clock_now()).is_some());
    }

    fn clock_now() -> Instant {
        crate::clock::now()
    }
}
