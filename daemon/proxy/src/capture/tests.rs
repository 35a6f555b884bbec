//! What the port promises, over all sinks that need no server, and over one that answers only when told.
//!
//! The same promises are held by the Kafka sink against a real broker in the tests package.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use super::{testing::Bench, *};
use crate::clock;

/// A sink whose answers a test gives.
#[derive(Default)]
struct Told {
    parcels: Mutex<Vec<Parcel>>,
    life: AtomicU64,
}

impl Told {
    fn keys(&self) -> Vec<String> {
        self.parcels.lock().unwrap().iter().map(|parcel| parcel.key.to_string()).collect()
    }

    fn answer(&self, verdicts: impl IntoIterator<Item = Verdict>) {
        let mut batch = Batch::default();
        for verdict in verdicts {
            let parcel = self.parcels.lock().unwrap().remove(0);
            batch.add(parcel.receipt, verdict, Some(parcel.value));
        }
        batch.deliver();
    }
}

impl Sink for Told {
    fn name(&self) -> &'static str {
        "told"
    }

    fn take(&self, parcel: Parcel) -> Option<Vec<u8>> {
        self.parcels.lock().unwrap().push(parcel);
        None
    }

    fn life(&self) -> u64 {
        self.life.load(Ordering::Relaxed)
    }

    fn end(&self, _deadline: Instant) {
        self.parcels.lock().unwrap().clear();
    }
}

fn told() -> (Arc<Told>, Bench) {
    let told = Arc::new(Told::default());
    (Arc::clone(&told), Bench::new(told, Reopen::WhenReady))
}

fn lost(why: Why) -> Verdict {
    Verdict::Lost(Lost::new(why, "as the test says"))
}

fn verdicts(outcomes: &[Outcome]) -> Vec<(u64, Option<Why>)> {
    let why = |verdict: &Verdict| match verdict {
        Verdict::Safe => None,
        Verdict::Lost(lost) => Some(lost.why),
    };
    outcomes.iter().map(|outcome| (outcome.tag, why(&outcome.verdict))).collect()
}

/// Runs a promise over every sink that needs no server.
fn each_sink(promise: impl Fn(&mut Bench)) {
    let dir = tempfile::tempdir().unwrap();
    promise(&mut Bench::new(Arc::new(Nowhere), Reopen::AfterPause));
    for (name, sync) in [("batch", file::Sync::Batch), ("never", file::Sync::Never)] {
        let options = file::Options { sync, ..file::Options::new(dir.path().join(name)) };
        promise(&mut Bench::new(Arc::new(file::Files::start(&options).unwrap()), Reopen::AfterPause));
    }
}

/// Proves that each record has exactly one outcome, those of one key in the order in which they were sent.
#[test]
fn each_record_has_one_outcome_in_its_keys_order() {
    each_sink(|bench| {
        let mut sent = Vec::new();
        for number in 0..300_usize {
            let key = format!("key-{}", number % 7);
            sent.push((key.clone(), bench.send(&key, vec![7; number * 10]).unwrap()));
        }
        let outcomes = bench.next_outcomes(300);
        for key in 0..7 {
            let key = format!("key-{key}");
            let of = |pairs: Vec<(String, u64)>| -> Vec<u64> {
                pairs.into_iter().filter(|(other, _)| *other == key).map(|(_, tag)| tag).collect()
            };
            let got = outcomes.iter().map(|outcome| (outcome.key.to_string(), outcome.tag)).collect();
            assert_eq!(of(got), of(sent.clone()), "{key}");
        }
        assert!(outcomes.iter().all(|outcome| outcome.verdict == Verdict::Safe));
        assert_eq!((bench.capture.figures().safe, bench.capture.figures().under_way_bytes), (300, 0));
        bench.flush();
    });
}

/// Proves that after the flush for the end nothing is taken, and that what was taken before has its outcome.
#[test]
fn nothing_is_taken_after_the_flush() {
    each_sink(|bench| {
        bench.safe("a", vec![1]);
        bench.flush();
        assert_eq!(bench.send("a", vec![2]), Err(Refused::Ending));
    });
}

/// Proves that buffers come back from every sink and are used again.
#[test]
fn buffers_come_back() {
    each_sink(|bench| {
        let space = bench.home.lend(10_000, 20_000);
        let mut bytes = space.into_bytes();
        bytes.resize(10_000, 1);
        let address = bytes.as_ptr();
        bench.safe("a", bytes);
        let again = bench.home.lend(10_000, 20_000);
        assert_eq!((again.bytes.as_ptr(), again.bytes.len()), (address, 0));
    });
}

/// Proves that the second record of a key is not given to the log before the first is safe, and other keys do not wait.
#[test]
fn one_record_of_a_key_is_under_way() {
    let (told, mut bench) = told();
    for key in ["a", "a", "b"] {
        bench.send(key, vec![0]).unwrap();
    }
    assert_eq!(told.keys(), ["a", "b"]);
    told.answer([Verdict::Safe]);
    assert_eq!(verdicts(&bench.outcomes()), [(1, None)]);
    assert_eq!(told.keys(), ["b", "a"]);
}

/// Proves that a lost record ends its key: what waited behind it is lost with it and never given to the log, and nothing
/// more is taken for it before whoever sends has heard.
#[test]
fn a_key_with_a_lost_record_takes_no_more() {
    let (told, mut bench) = told();
    for _ in 0..3 {
        bench.send("a", vec![0]).unwrap();
    }
    told.answer([lost(Why::Unfit)]);
    assert_eq!(verdicts(&bench.outcomes()), [(1, Some(Why::Unfit)), (2, Some(Why::Follows)), (3, Some(Why::Follows))]);
    assert_eq!(told.keys(), [""; 0]);
    assert_eq!(bench.send("a", vec![0]), Err(Refused::Broken));
    bench.send("b", vec![0]).unwrap();
    assert_eq!(bench.capture.figures().lost, 3);
}

/// Proves that a log which began a new life breaks the streams that began before, even those whose record it kept.
#[test]
fn a_new_life_of_the_log_breaks_old_streams() {
    let (told, mut bench) = told();
    bench.send("a", vec![0]).unwrap();
    bench.send("a", vec![0]).unwrap();
    told.life.store(1, Ordering::Relaxed);
    assert_eq!(bench.send_in(0, "a", vec![0]), Err(Refused::Broken));
    assert_eq!(bench.send_in(0, "idle since", vec![0]), Err(Refused::Broken));
    told.answer([Verdict::Safe]);
    assert_eq!(verdicts(&bench.outcomes()), [(1, None), (2, Some(Why::Follows))]);
    bench.send("fresh", vec![0]).unwrap();
    assert_eq!(told.keys(), ["fresh"]);
}

/// Proves that a spent budget answers at once, that whoever waits for room is woken when some is given back, and that one
/// record larger than the whole budget still passes alone.
#[test]
fn a_spent_budget_answers_at_once() {
    let told = Arc::new(Told::default());
    let mut bench = Bench::with_budget(Arc::clone(&told) as Arc<dyn Sink>, Reopen::WhenReady, 4096);
    bench.send("large", vec![0; 100_000]).unwrap();
    assert_eq!(bench.send("b", vec![0; 10]), Err(Refused::BudgetSpent));
    let woken = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&woken));
    assert!(bench.outlet.poll_room(&Context::from_waker(&waker), 10).is_pending());
    told.answer([Verdict::Safe]);
    bench.outcomes();
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(bench.outlet.poll_room(&Context::from_waker(&waker), 10).is_ready());
    bench.send("b", vec![0; 10]).unwrap();
    assert_eq!(bench.capture.figures().refused_budget, 1);
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Proves the group commit: a batch of answers wakes its thread once, and answers that come before the thread has looked
/// do not wake it again.
#[test]
fn a_thread_is_woken_once_for_a_batch() {
    let (told, mut bench) = told();
    for number in 0..100 {
        bench.send(&format!("key-{number}"), vec![0]).unwrap();
    }
    let woken = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut outcomes = Vec::new();
    let polled = bench.outlet.poll_outcomes(&Context::from_waker(&waker), clock::now(), &mut outcomes);
    assert_eq!(polled, Poll::Pending);
    told.answer(vec![Verdict::Safe; 60]);
    told.answer(vec![Verdict::Safe; 40]);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert_eq!(bench.ready().unwrap().len(), 100);
    assert_eq!(bench.outlet.wakes(), 1);
}

/// Proves that a record which a sink forgets is lost rather than waited for.
#[test]
fn a_forgotten_record_is_lost() {
    let (told, mut bench) = told();
    bench.send("a", vec![0]).unwrap();
    told.parcels.lock().unwrap().clear();
    let outcomes = bench.outcomes();
    assert_eq!(verdicts(&outcomes), [(1, Some(Why::Ending))]);
    assert_eq!(bench.capture.figures().perhaps_there, 1);
}

/// Proves that a loss of the log's opens the breaker, that later records are refused at once, and that one probe, once the
/// log says it is ready, closes it.
#[test]
fn a_failed_log_costs_one_loss_and_then_nothing() {
    let (told, mut bench) = told();
    bench.send("a", vec![0]).unwrap();
    told.answer([lost(Why::TimedOut)]);
    bench.outcomes();
    for number in 0..10 {
        assert_eq!(bench.send(&format!("b-{number}"), vec![0]), Err(Refused::BreakerOpen));
    }
    assert_eq!(bench.capture.figures().under_way_bytes, 0, "what is refused holds nothing of the budget");
    bench.breaker.ready();
    bench.send("probe", vec![0]).unwrap();
    assert_eq!(bench.send("second", vec![0]), Err(Refused::BreakerOpen));
    told.answer([Verdict::Safe]);
    bench.outcomes();
    bench.send("again", vec![0]).unwrap();
    assert_eq!(bench.capture.figures().breaker, Position::Closed);
}

/// Proves that a flush whose deadline passes says so, and that what was under way is answered.
#[test]
fn a_flush_ends_at_its_deadline() {
    let (_told, mut bench) = told();
    bench.send("a", vec![0]).unwrap();
    assert!(!bench.capture.flush(clock::now() + Duration::from_millis(1)));
    assert_eq!(verdicts(&bench.outcomes()), [(1, Some(Why::Ending))]);
}

/// Proves that a value which no Kafka record could carry is refused before it costs anything.
#[test]
fn a_record_beyond_a_mebibyte_is_refused() {
    let (_told, mut bench) = told();
    assert_eq!(bench.send("a", vec![0; VALUE_BYTES_MAX + 1]), Err(Refused::TooLarge));
    bench.send("a", vec![0; VALUE_BYTES_MAX]).unwrap();
}
