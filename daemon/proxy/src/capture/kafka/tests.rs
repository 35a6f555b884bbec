//! What becomes of records when their producer is given up, their topic is made anew or their log comes back: without a broker, so
//! that none is acknowledged but by the test.

use std::task::{Context, Waker};

use super::{
    super::{
        breaker::Reopen,
        sink::{Answer, Budget, Mailbox, Receipt, unanswered},
    },
    *,
};

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// So many are given to librdkafka before records wait for their turn.
const FLYING: usize = 5;

/// A log without threads of its own.
struct Bench {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    answers: Vec<Answer>,
}

impl Bench {
    fn new(message_timeout: Duration) -> Self {
        let options = Options { message_timeout: Some(message_timeout), ..Options::new("127.0.0.1:1", "t") };
        let shared = Arc::new(Shared::new(options, Arc::new(Breaker::new(Reopen::WhenReady))));
        *shared.producer.write().unwrap() = Some(shared.connect().unwrap());
        Self { shared, mailbox: Arc::default(), answers: Vec::new() }
    }

    /// Polls for what librdkafka has to say until the test is over.
    fn polled(&self) -> JoinHandle<()> {
        let theirs = Arc::clone(&self.shared);
        std::thread::spawn(move || theirs.poll())
    }

    /// Gives a record away, as the log does; all are of one lane.
    fn take(&self, tag: u64, life: u64, generation: u64) {
        self.add(tag, life, generation);
        for group in self.shared.lanes.due() {
            self.shared.send(group, &mut |_, _| ());
        }
    }

    fn add(&self, tag: u64, life: u64, generation: u64) {
        let (key, charge): (Arc<str>, _) = ("k".into(), Budget::new(usize::MAX).charge(1).unwrap());
        let verdict = unanswered();
        let answer = Answer { key: Arc::clone(&key), tag, life, generation, charge, verdict, space: None };
        let receipt = Receipt::new(Arc::clone(&self.mailbox), answer);
        self.shared.lanes.add(Parcel { key, value: vec![1], receipt });
    }

    /// A record that is under way until the test answers for it.
    fn held(&self, tag: u64) -> Sent {
        self.add(tag, 0, 0);
        let parcel = self.shared.lanes.due().remove(0).parcels.remove(0);
        Sent { lane: 0, last: true, receipt: parcel.receipt }
    }

    /// Why the records were lost that were answered, by their tags, once there are so many.
    fn lost(&mut self, count: usize) -> Vec<(u64, Why, bool)> {
        let deadline = clock::now() + PATIENCE;
        while self.answers.len() < count {
            let cx = Context::from_waker(Waker::noop());
            let waits = self.mailbox.poll_take(&cx, &mut self.answers).is_pending();
            assert!(clock::now() < deadline, "{} of {count} were answered", self.answers.len());
            if waits {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let mut lost: Vec<_> = self
            .answers
            .iter()
            .filter_map(|answer| match &answer.verdict {
                Verdict::Lost(lost) => Some((answer.tag, lost.why, lost.perhaps_there)),
                Verdict::Safe => None,
            })
            .collect();
        lost.sort_by_key(|(tag, ..)| *tag);
        lost
    }
}

/// Proves that a producer that is given up answers for everything that it has although a thread still holds it, that what waits
/// behind is not lost in silence, and that its lane takes records again.
#[test]
fn a_producer_that_is_given_up_answers_for_everything() {
    let mut bench = Bench::new(PATIENCE);
    let held = bench.shared.producer().unwrap();
    let polling = bench.polled();
    for tag in 0..8 {
        bench.take(tag, 0, 0);
    }
    bench.shared.replace("it gave up");
    let lost = bench.lost(8);
    let (given, waited) = lost.split_at(FLYING);
    assert!(given.iter().all(|(_, why, perhaps)| *why == Why::Refused && *perhaps), "{lost:?}");
    assert!(waited.iter().all(|(_, why, perhaps)| *why == Why::BreakerOpen && !*perhaps), "{lost:?}");
    bench.add(8, 0, 0);
    assert_eq!(bench.shared.lanes.due().len(), 1, "nothing holds the lane up");
    assert_eq!(bench.shared.retired().len(), 1, "as long as it is held");
    drop(held);
    let deadline = clock::now() + PATIENCE;
    while !bench.shared.retired().is_empty() {
        assert!(clock::now() < deadline, "it is let go");
        std::thread::sleep(Duration::from_millis(5));
    }
    bench.shared.ended.store(true, Ordering::Relaxed);
    polling.join().unwrap();
}

/// Proves that a record which waited for its turn while the topic was made anew is not sent into the new one, where it would be the
/// middle of a stream without a beginning; and that those of the new topic go on.
#[test]
fn a_record_of_an_earlier_life_is_not_sent() {
    let mut bench = Bench::new(PATIENCE);
    let held = bench.held(0);
    for tag in 1..=FLYING as u64 {
        bench.take(tag, 0, 0);
    }
    bench.shared.log.replaced("a test");
    bench.take(6, 1, 0);
    bench.shared.answered(held, Verdict::Safe);
    assert_eq!(bench.lost(2), [(5, Why::TopicReplaced, false)]);
    assert_eq!(bench.answers.len(), 2, "the one of the new topic is under way");
    let mut other = Bench::new(PATIENCE);
    other.shared.log.replaced("a test");
    other.take(0, 0, 0);
    assert_eq!(other.lost(1), [(0, Why::TopicReplaced, false)], "and neither without a wait");
}

/// Proves that records which were sent before the log failed and came back do not take along those that wait now, when they are lost
/// at last; and that those of now do.
#[test]
fn a_late_loss_gives_up_nothing_that_waits() {
    for (came_back, wanted) in [(true, Why::TimedOut), (false, Why::BreakerOpen)] {
        let mut bench = Bench::new(Duration::from_millis(400));
        for tag in 0..FLYING as u64 {
            bench.take(tag, 0, 0);
        }
        let mut generation = 0;
        if came_back {
            let breaker = &bench.shared.breaker;
            breaker.open(clock::now(), &"a test".into());
            breaker.ready();
            generation = breaker.admit(clock::now()).unwrap();
            breaker.succeeded(generation);
            generation = breaker.admit(clock::now()).unwrap();
        }
        bench.take(5, 0, generation);
        bench.take(6, 0, generation);
        let polling = bench.polled();
        let lost = bench.lost(7);
        assert!(lost[..FLYING].iter().all(|(_, why, _)| *why == Why::TimedOut), "{lost:?}");
        assert!(lost[FLYING..].iter().all(|(_, why, _)| *why == wanted), "came back: {came_back}, {lost:?}");
        bench.shared.ended.store(true, Ordering::Relaxed);
        polling.join().unwrap();
    }
}
