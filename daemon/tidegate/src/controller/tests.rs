//! The loop with stand-ins for the world: a balancer that can hang or refuse, counts that are always healthy, and a
//! journal whose disk can fill up.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use cutover::event::Verb;
use cutover::event::{Check, CheckOutcome, GateAnswer, Observation, Reading};
use cutover::policy::Tripwire;
use cutover::{Command, Generation, Share, Window};
use judge::{Block, Counts};
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::alert::outbox::outbox;
use crate::alert::{AlertSink, Message as AlertMessage};
use crate::balancer::Fired;
use crate::gate::Question;
use crate::port::Answer;
use crate::store::sqlite::Sqlite;
use crate::store::{Draft, Entry, Fate, Outgoing, Query, Sample};
use crate::testing;

/// How the balancer behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    WritesHang,
    ReadsHang,
    WritesFail,
}

/// A balancer that does what it is told, or does not.
struct Switchboard {
    share: Mutex<Share>,
    mood: Mutex<Mood>,
    /// Every write and restore that was begun, and how many entries the journal had then.
    begun: Mutex<Vec<(Share, Generation, usize)>>,
    fired: Mutex<Vec<Fired>>,
    /// How often disarming still fails.
    disarm_failures: AtomicU32,
    /// How often it was disarmed.
    disarmed: AtomicU32,
    /// Told of each time it was disarmed.
    is_disarmed: tokio::sync::Notify,
    /// Told of each look at it.
    is_watched: tokio::sync::Notify,
    store: Arc<dyn Store>,
}

impl Switchboard {
    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    fn share(&self) -> Share {
        *self.share.lock().unwrap()
    }

    fn set(&self, share: Share, generation: Generation) -> Answer<'_, ()> {
        Box::pin(async move {
            let query = Query { limit: 1000, ..Query::default() };
            let entries = self.store.history(query).await.map_or(0, |entries| entries.len());
            self.begun.lock().unwrap().push((share, generation, entries));
            match self.mood() {
                Mood::WritesHang => std::future::pending().await,
                Mood::WritesFail => Err(PortError::later("balancer", "throttled")),
                Mood::Well | Mood::ReadsHang => {
                    *self.share.lock().unwrap() = share;
                    Ok(())
                }
            }
        })
    }
}

impl Balancer for Switchboard {
    fn read(&self, begun: Timestamp) -> Answer<'_, Reading> {
        Box::pin(async move {
            if self.mood() == Mood::ReadsHang {
                return std::future::pending().await;
            }
            let share = self.share();
            Ok(Reading { share, action: serde_json::to_value(share).unwrap(), begun, disagreeing: Vec::new() })
        })
    }

    fn write(&self, share: Share, generation: Generation) -> Answer<'_, ()> {
        self.set(share, generation)
    }

    fn restore<'a>(&'a self, action: &'a Value, generation: Generation) -> Answer<'a, ()> {
        // A hanging balancer hangs for raises: a restore is what the test is about.
        let share: Share = serde_json::from_value(action.clone()).unwrap();
        Box::pin(async move {
            self.begun.lock().unwrap().push((share, generation, usize::MAX));
            *self.share.lock().unwrap() = share;
            Ok(())
        })
    }

    fn arm<'a>(&'a self, _tripwires: &'a [Tripwire], _share: Share) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn disarm(&self) -> Answer<'_, ()> {
        Box::pin(async {
            // A call over a socket never ends in the turn in which it was begun.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let left = self.disarm_failures.load(Ordering::SeqCst);
            if left > 0 {
                self.disarm_failures.store(left - 1, Ordering::SeqCst);
                return Err(PortError::later("balancer", "no answer"));
            }
            self.disarmed.fetch_add(1, Ordering::SeqCst);
            self.is_disarmed.notify_one();
            Ok(())
        })
    }

    fn close_connections(&self, _now: Timestamp, _until: Timestamp) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn watch(&self) -> Answer<'_, Vec<Fired>> {
        self.is_watched.notify_one();
        let fired = std::mem::take(&mut *self.fired.lock().unwrap());
        Box::pin(async move { Ok(fired) })
    }
}

/// A hundred thousand requests a second, split as the balancer says, none of them failed.
struct Traffic(Arc<Switchboard>);

impl Traffic {
    fn count(&self, window: Window) -> Observation {
        let millis = u64::try_from(window.to.since(window.from).as_millis()).unwrap();
        let counts = |requests: u64| {
            let mut counts = Counts { requests, status_2xx: requests, ..Counts::default() };
            counts.latency.record(2000, requests);
            counts.exchange.record(2500, requests);
            counts
        };
        let share = self.0.share();
        let block = |weight: cutover::Weight| {
            let target = millis * 50 * u64::from(weight.per_mille()) / 1000;
            Block { millis, source: counts(millis * 50 - target), target: counts(target) }
        };
        Observation { window, reads: block(share.reads), writes: block(share.writes) }
    }
}

impl MetricSource for Traffic {
    fn observe(&self, window: Window) -> Answer<'_, Observation> {
        Box::pin(async move { Ok(self.count(window)) })
    }

    fn glance(&self, now: Timestamp, length: Duration) -> Answer<'_, Observation> {
        Box::pin(async move { Ok(self.count(Window { from: now.minus(length), to: now })) })
    }
}

struct Healthy;

impl Fleet for Healthy {
    fn check(&self) -> Answer<'_, Vec<Check>> {
        let check = Check::new("target healthy", CheckOutcome::Pass, "1 of 1", "");
        Box::pin(async move { Ok(vec![check]) })
    }
}

struct NoGates;

impl Gates for NoGates {
    fn ask<'a>(&'a self, _question: Question<'a>) -> Answer<'a, GateAnswer> {
        Box::pin(async { Ok(GateAnswer::Yes) })
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<AlertMessage>>);

impl AlertSink for Heard {
    fn send<'a>(&'a self, message: &'a AlertMessage) -> Answer<'a, ()> {
        self.0.lock().unwrap().push(message.clone());
        Box::pin(async { Ok(()) })
    }
}

/// A journal whose disk can be full.
struct Disk {
    inner: Sqlite,
    full: AtomicBool,
}

impl Disk {
    fn refuse(&self) -> Result<(), PortError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(PortError::later("store", "no space left on device"));
        }
        Ok(())
    }
}

impl Store for Disk {
    fn lease<'a>(&'a self, service: &'a str, holder: &'a str, now: Timestamp) -> Answer<'a, Lease> {
        self.inner.lease(service, holder, now)
    }

    fn append<'a>(&'a self, lease: &'a Lease, draft: Draft) -> Answer<'a, u64> {
        match self.refuse() {
            Ok(()) => self.inner.append(lease, draft),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn save<'a>(&'a self, lease: &'a Lease, state: &'a Cutover) -> Answer<'a, ()> {
        match self.refuse() {
            Ok(()) => self.inner.save(lease, state),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn keep<'a>(&'a self, lease: &'a Lease, cutover: &'a str, sample: &'a Sample) -> Answer<'a, ()> {
        self.inner.keep(lease, cutover, sample)
    }

    fn samples<'a>(&'a self, cutover: &'a str) -> Answer<'a, Vec<Sample>> {
        self.inner.samples(cutover)
    }

    fn load(&self) -> Answer<'_, Vec<Cutover>> {
        self.inner.load()
    }

    fn history(&self, query: Query) -> Answer<'_, Vec<Entry>> {
        self.inner.history(query)
    }

    fn due(&self, now: Timestamp, limit: usize) -> Answer<'_, Vec<Outgoing>> {
        self.inner.due(now, limit)
    }

    fn settle<'a>(&'a self, id: &'a str, fate: Fate) -> Answer<'a, ()> {
        self.inner.settle(id, fate)
    }
}

/// A loop in a world of stand-ins.
struct World {
    running: Running,
    switchboard: Arc<Switchboard>,
    disk: Arc<Disk>,
    heard: Arc<Heard>,
    ports: Ports,
    loops: JoinSet<Result<(), PortError>>,
    _deliverer: JoinSet<()>,
    dir: TempDir,
}

/// The shared policy with a pace for tests: intervals of 200 ms, and an alert receiver.
fn quick() -> Policy {
    let mut policy = testing::policy("search");
    policy.baseline.record = Duration::from_millis(400);
    policy.shift.interval = Duration::from_millis(200);
    policy.shift.bake_min = Duration::from_millis(400);
    policy.drain.quiet = Duration::from_millis(400);
    policy.revert.reassert = Duration::from_millis(200);
    policy.alerts = vec![cutover::policy::AlertPolicy::Command { argv: vec!["heard".to_owned()] }];
    policy
}

async fn world(policy: Policy) -> World {
    let dir = TempDir::new().unwrap();
    let disk = Arc::new(Disk { inner: Sqlite::open(dir.path()).unwrap(), full: AtomicBool::new(false) });
    let store: Arc<dyn Store> = Arc::<Disk>::clone(&disk);
    let switchboard = Arc::new(Switchboard {
        share: Mutex::default(),
        mood: Mutex::new(Mood::Well),
        begun: Mutex::default(),
        fired: Mutex::default(),
        disarm_failures: AtomicU32::new(0),
        disarmed: AtomicU32::new(0),
        is_disarmed: tokio::sync::Notify::new(),
        is_watched: tokio::sync::Notify::new(),
        store: Arc::clone(&store),
    });
    let heard = Arc::new(Heard::default());
    let sink: Arc<dyn AlertSink> = Arc::<Heard>::clone(&heard);
    let (outbox, deliverer) = outbox(Arc::clone(&store), Arc::clone(&sink), sink, Clock::system());
    let mut delivering = JoinSet::new();
    delivering.spawn(deliverer.run());
    let ports = Ports {
        balancer: Arc::<Switchboard>::clone(&switchboard),
        metrics: Arc::new(Traffic(Arc::clone(&switchboard))),
        fleet: Arc::new(Healthy),
        gates: Arc::new(NoGates),
        store,
        outbox,
        clock: Clock::system(),
        undo: None,
        crash_after_entry: None,
    };
    let now = ports.clock.now();
    let cutover = Cutover::new("search-1", policy, now);
    let lease = ports.store.lease("search", "test", now).await.unwrap();
    let (controller, running) = Controller::new(ports.clone(), lease, cutover);
    let mut loops = JoinSet::new();
    loops.spawn(controller.run(None));
    World { running, switchboard, disk, heard, ports, loops, _deliverer: delivering, dir }
}

impl World {
    async fn order(&self, verb: Verb) -> Arc<View> {
        let order = Order { verb, actor: "a.lee".to_owned(), reason: "test".to_owned() };
        self.running.order(order).await.unwrap()
    }

    /// Waits until the cutover is as wanted; a test that waits in vain fails with where it stands.
    async fn until(&self, what: &str, wanted: impl Fn(&View) -> bool) -> Arc<View> {
        let mut view = self.running.watch();
        let found = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let now = Arc::clone(&view.borrow_and_update());
                if wanted(&now) {
                    return now;
                }
                view.changed().await.expect("the loop runs");
            }
        });
        if let Ok(view) = found.await {
            return view;
        }
        let view = self.running.view();
        let blockers = &view.cutover.blockers;
        panic!("waited in vain for {what}: {:?} {:?} {blockers:?}", view.cutover.phase, view.reason);
    }

    async fn phase(&self, name: &str) -> Arc<View> {
        self.until(name, |view| view.cutover.phase.name() == name).await
    }

    async fn entries(&self) -> Vec<Entry> {
        self.ports.store.history(Query { limit: 1000, ..Query::default() }).await.unwrap()
    }
}

/// Proves that a clean cutover reaches `done`, and that each write was on disk before it was begun (invariant 2).
#[tokio::test]
async fn each_write_is_journalled_before_it_is_begun() {
    let world = world(quick()).await;
    let view = world.order(Verb::Start).await;
    assert!(view.accepted, "{:?}", view.reason);
    world.phase("done").await;
    assert_eq!(world.switchboard.share(), Share::ALL);
    let entries = world.entries().await;
    let begun = world.switchboard.begun.lock().unwrap().clone();
    assert!(begun.len() >= 2, "{begun:?}");
    for (share, generation, known) in begun {
        let entry = entries.iter().position(|entry| {
            entry.commands.iter().any(|command| {
                matches!(command, Command::Write { generation: asked, share: wanted } if *asked == generation && *wanted == share)
            })
        });
        assert!(entry.is_some_and(|entry| entry < known), "write {generation:?} was begun with {known} entries");
    }
    assert!(!world.ports.store.samples("search-1").await.unwrap().is_empty());
}

/// Proves that a revert does not wait for a write that hangs, and that only one write is under way at a time.
#[tokio::test]
async fn a_revert_overtakes_a_hanging_write() {
    let world = world(quick()).await;
    *world.switchboard.mood.lock().unwrap() = Mood::WritesHang;
    world.order(Verb::Start).await;
    world.phase("shifting").await;
    world.order(Verb::Revert).await;
    // Eight seconds is when the write itself would have run out of time.
    tokio::time::timeout(Duration::from_secs(5), world.phase("reverted")).await.expect("reverted in time");
    assert_eq!(world.switchboard.share(), Share::NONE);
}

/// Proves that a balancer that cannot be read ends in a failure the core answers, not in a loop that stands still.
#[tokio::test]
async fn orders_are_answered_while_every_port_hangs() {
    let world = world(quick()).await;
    *world.switchboard.mood.lock().unwrap() = Mood::ReadsHang;
    world.order(Verb::Start).await;
    let view = tokio::time::timeout(Duration::from_secs(1), world.order(Verb::Pause)).await.expect("answered at once");
    assert!(view.accepted, "{:?}", view.reason);
    assert_eq!(*world.switchboard.begun.lock().unwrap(), []);
}

/// Proves invariant 2 with a full disk: nothing rises, the armed revert still fires, and the journal catches up.
#[tokio::test]
async fn a_full_disk_stops_rises_and_not_reverts() {
    let mut policy = quick();
    policy.shift.bake_min = Duration::from_millis(1500);
    let world = world(policy).await;
    world.order(Verb::Start).await;
    world.phase("baking").await;
    world.disk.full.store(true, Ordering::SeqCst);
    world.until("the core to know", |view| !view.cutover.journal_writable).await;
    let writes = world.switchboard.begun.lock().unwrap().len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.switchboard.begun.lock().unwrap().len(), writes, "a share rose while the disk was full");
    world.order(Verb::Revert).await;
    world.phase("reverted").await;
    assert_eq!(world.switchboard.share(), Share::NONE);
    assert_ne!(world.entries().await.last().unwrap().next.phase.name(), "reverted");
    world.disk.full.store(false, Ordering::SeqCst);
    world.until("the core to know", |view| view.cutover.journal_writable).await;
    let last = world.entries().await.pop().unwrap();
    assert_eq!(last.next.phase.name(), "reverted");
    assert!(last.next.journal_writable);
    assert!(crate::store::sqlite::verify(world.dir.path()).is_ok());
    // Alerts that could not be stored went out all the same.
    assert!(!world.heard.0.lock().unwrap().is_empty());
}

/// Proves that a tripwire that fired in a proxy reverts the cutover.
#[tokio::test]
async fn a_fired_tripwire_reverts() {
    let world = world(quick()).await;
    world.order(Verb::Start).await;
    world.phase("baking").await;
    *world.switchboard.share.lock().unwrap() = Share::NONE;
    let at = world.ports.clock.now();
    world.switchboard.fired.lock().unwrap().push(Fired { why: "errors".to_owned(), share: Share::NONE, at });
    world.phase("reverted").await;
    assert_eq!(world.switchboard.share(), Share::NONE);
}

/// Proves that a loop that lost its lease ends at once and does nothing more.
#[tokio::test]
async fn a_loop_without_its_lease_ends() {
    let mut world = world(quick()).await;
    world.order(Verb::Start).await;
    world.phase("baking").await;
    world.ports.store.lease("search", "another", world.ports.clock.now()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), world.loops.join_next()).await.expect("ended");
    let error = ended.unwrap().unwrap().unwrap_err();
    assert!(error.to_string().contains("taken over"), "{error}");
}

/// Proves that a loop that was stopped in the middle is gone on with by the next one, from the journal alone.
#[tokio::test]
async fn a_stopped_cutover_is_gone_on_with() {
    let mut world = world(quick()).await;
    world.order(Verb::Start).await;
    world.phase("baking").await;
    world.running.stop().await;
    world.loops.join_next().await.unwrap().unwrap().unwrap();
    let found = world.ports.store.load().await.unwrap().pop().unwrap();
    assert_eq!(found.phase.name(), "baking");
    let lease = world.ports.store.lease("search", "next", world.ports.clock.now()).await.unwrap();
    let (controller, running) = Controller::new(world.ports.clone(), lease, found);
    world.loops.spawn(controller.run(Some(Event::Restarted)));
    world.running = running;
    world.phase("done").await;
    assert_eq!(world.switchboard.share(), Share::ALL);
}

/// Proves that a balancer that refuses every write is told of and does not end in a loop without end.
#[tokio::test]
async fn refused_writes_halt_the_cutover() {
    let world = world(quick()).await;
    *world.switchboard.mood.lock().unwrap() = Mood::WritesFail;
    world.order(Verb::Start).await;
    world.until("a halt", |view| view.cutover.halt.is_some()).await;
    let attempts = world.switchboard.begun.lock().unwrap().len();
    assert!(attempts <= 4, "{attempts} attempts for a maximum of 3");
}

/// Proves that a closed cutover's loop does not end before nothing is armed any more.
#[tokio::test]
async fn closing_waits_until_nothing_is_armed() {
    let mut world = world(quick()).await;
    world.order(Verb::Start).await;
    world.phase("baking").await;
    world.order(Verb::Revert).await;
    world.phase("reverted").await;
    assert_eq!(world.switchboard.disarmed.load(Ordering::SeqCst), 0);
    world.order(Verb::Close).await;
    world.loops.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(world.switchboard.disarmed.load(Ordering::SeqCst), 1);
}

/// Proves that disarming is tried until it is done: a proxy that did not answer once must not stay armed after the end.
#[tokio::test]
async fn disarming_is_tried_again() {
    let world = world(quick()).await;
    world.switchboard.disarm_failures.store(1, Ordering::SeqCst);
    world.order(Verb::Start).await;
    world.phase("done").await;
    let disarmed = world.switchboard.is_disarmed.notified();
    tokio::time::timeout(Duration::from_secs(20), disarmed).await.expect("disarmed at the second try");
}

/// Proves that the balancer is looked at after `done` until the cutover is closed: that look gives a proxy that comes up
/// then the whole of the traffic again.
#[tokio::test]
async fn the_balancer_is_looked_at_after_done() {
    let world = world(quick()).await;
    world.order(Verb::Start).await;
    world.phase("done").await;
    // The first may be of a look that was begun before.
    for _ in 0..3 {
        let watched = world.switchboard.is_watched.notified();
        tokio::time::timeout(Duration::from_secs(5), watched).await.expect("it is looked at");
    }
}

/// Proves that a loop that stands still can be told from one that has nothing to do.
#[tokio::test]
async fn a_loop_that_does_not_turn_is_silent() {
    let world = world(quick()).await;
    let begun = clock::instant();
    world.order(Verb::Start).await;
    assert!(world.running.silent_for(begun) == Duration::ZERO, "it has turned since");
    let idle = Cutover::new("idle-1", testing::policy("idle"), world.ports.clock.now());
    let lease = world.ports.store.lease("idle", "test", world.ports.clock.now()).await.unwrap();
    let (_controller, standing) = Controller::new(world.ports.clone(), lease, idle);
    assert!(standing.silent_for(clock::instant() + Duration::from_mins(1)) >= Duration::from_mins(1));
}
