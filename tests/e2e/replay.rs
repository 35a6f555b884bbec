//! How far the replay is behind, on a real broker with a consumer group that commits behind: the built program tells it, and a
//! cutover waits for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    producer::{BaseProducer, BaseRecord, Producer as _},
    topic_partition_list::{Offset, TopicPartitionList},
};
use serde_json::Value;
use tidegate_tests::{clock, servers::kafka::broker};

use crate::{
    daemon::{SERVICE, World, verb},
    load::Pool,
};

const TOPIC: &str = "logging-traffic-topic";
const GROUP: &str = "replayer-target";

/// How long a broker may take for one thing; builds may run beside the tests.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long one look for the next record lasts.
const LOOK: Duration = Duration::from_millis(100);

/// A member of the Replayer's group, which commits what it is told to.
struct Replayer {
    done: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Replayer {
    fn start(brokers: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("group.id", GROUP).set("enable.auto.commit", "false");
        config.set("auto.offset.reset", "earliest").set("reconnect.backoff.max.ms", "500");
        let consumer: BaseConsumer = config.create().expect("sound settings");
        consumer.subscribe(&[TOPIC]).expect("a sound name");
        let (done, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (done, stop) = (Arc::clone(&done), Arc::clone(&stop));
            move || {
                let mut committed = 0;
                while !stop.load(Ordering::Relaxed) {
                    drop(consumer.poll(LOOK));
                    let upto = done.load(Ordering::Relaxed);
                    let mut list = TopicPartitionList::new();
                    list.add_partition_offset(TOPIC, 0, Offset::Offset(upto)).expect("a sound place");
                    // Refused while the group is being joined, or the broker is away; then it is done at the next look.
                    if upto > committed && consumer.commit(&list, CommitMode::Sync).is_ok() {
                        committed = upto;
                    }
                }
            }
        });
        Self { done, stop, thread: Some(thread) }
    }

    /// Everything before this offset is replayed.
    fn has_replayed(&self, upto: i64) {
        self.done.store(upto, Ordering::Relaxed);
    }
}

impl Drop for Replayer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Captures so many records, a minute ago by their own time.
fn captured(brokers: &str, records: usize) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).create().expect("sound settings");
    let at = tidegate::clock::now().0 - 60_000;
    for number in 0..records {
        let text = format!("record {number}");
        let record = BaseRecord::to(TOPIC).key("connection").payload(&text).timestamp(at);
        producer.send(record).map_err(|(error, _)| error).expect("room for a few records");
    }
    producer.flush(PATIENCE).expect("the broker takes them");
}

/// What the verb says of the group, which is not there before its first member is.
fn described(brokers: &str) -> Value {
    verb(&["kafka", "describe-consumer-group", "--kafka", brokers, "--group", GROUP, "--json"], &[]).json().remove(0)
}

/// Waits until the verb says so.
fn until(brokers: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let start = clock::now();
    loop {
        let told = described(brokers);
        if wanted(&told) {
            return told;
        }
        assert!(start.elapsed() < PATIENCE, "no {what}: {told}");
        std::thread::sleep(LOOK);
    }
}

fn says(detail: &Value, text: &str) -> bool {
    detail.to_string().contains(text)
}

/// Proves that the lag of a real group is told by the verb, that preflight and each step that moves writes wait while it is
/// above the limit, with the numbers, or cannot be known since the broker is away; and that the cutover goes on by itself once
/// the replay has caught up.
#[test]
fn writes_move_only_behind_a_replay_that_has_caught_up() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut broker = broker(folder.path(), &["num.partitions=1"]);
    let brokers = broker.plaintext();
    let unknown = verb(&["kafka", "describe-consumer-group", "--kafka", &brokers, "--group", GROUP], &[]).expect(1);
    assert!(unknown.out.contains("there is no group `replayer-target`"), "{unknown:?}");
    captured(&brokers, 10);
    let by_name =
        ["kafka", "describe-consumer-group", "--kafka", &brokers, "--group", GROUP, "--topic", TOPIC, "--json"];
    let unbegun = verb(&by_name, &[]).expect(1).json().remove(0);
    let partition = &unbegun["partitions"][0];
    assert_eq!((&partition["lag_records"], &partition["note"]), (&10.into(), &"no commit yet".into()), "{unbegun}");
    assert!(unbegun["lag_seconds"].as_f64().is_some_and(|lag| lag >= 60.0), "a replay that has not begun: {unbegun}");
    let replayer = Replayer::start(&brokers);
    replayer.has_replayed(4);
    let there = |told: &Value| told["partitions"][0]["committed"] == 4 && told["state"] == "Stable";
    let told = until(&brokers, "commit", there);
    assert_eq!(told["members"], 1, "{told}");
    let partition = &told["partitions"][0];
    assert_eq!((&partition["end_offset"], &partition["lag_records"]), (&10.into(), &6.into()), "{told}");
    assert_eq!((&partition["probed_offset"], &partition["note"]), (&4.into(), &Value::Null), "{told}");
    assert!(told["lag_seconds"].as_f64().is_some_and(|lag| (60.0..600.0).contains(&lag)), "{told}");

    let gate = format!(
        "[gates.replay]\nkind = \"replay_lag\"\nbrokers = [\"{brokers}\"]\ngroup = \"{GROUP}\"\n\
         topic = \"{TOPIC}\"\nmax = \"30s\"\n"
    );
    let mut world = World::new(&[], &gate);
    let clients = world.clients();
    let policy = world.path(&format!("policies/{SERVICE}.toml")).display().to_string();
    let found = verb(&["preflight", &policy, "--json"], &[]).expect(1).json().remove(0);
    assert!(says(&found, "behind, and may be 30s: 6 records; `logging-traffic-topic` 0:"), "{found}");

    let daemon = world.daemon(&[]);
    daemon.say(&["start", SERVICE, "--yes"]).expect(0);
    let held = daemon.wait_until("gate at preflight", |detail| says(detail, "behind, and may be 30s: 6 records"));
    assert!(says(&held, "\"preflight\""), "{held}");
    replayer.has_replayed(10);
    until(&brokers, "end", |told| told["lag_seconds"] == 0.0);
    daemon.wait_for("baking", 100);

    captured(&brokers, 3);
    daemon.wait_until("gate at a step", |detail| {
        says(detail, "gate `replay` says later: the replay is 1m") && says(detail, "and may be 30s: 3 records")
    });
    assert_eq!(world.weight(), 100, "a step that moves writes waits");
    replayer.has_replayed(13);
    daemon.wait_for("baking", 500);

    broker.kill();
    daemon.wait_until("gate without a broker", |detail| says(detail, "gate `replay` says later: gate: no broker at"));
    assert_eq!(world.weight(), 500, "what is not known moves nothing");
    broker.start_again();
    daemon.wait_for("baking", 950);
    daemon.say(&["revert", SERVICE, "--yes", "--wait"]).expect(3);
    // They are here for their traffic; what becomes of each request is the matter of other tests.
    drop(clients.map(Pool::stop));
    daemon.finish(&["no broker at"]);
    world.proxy.finish(&[]);
}
