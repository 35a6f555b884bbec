//! What capture adds, in figures that only it has: a write's latency beside the broker's own, memory of many busy
//! connections, one large bulk request.

use std::{
    fs,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use proxy::capture::{
    BUDGET_BYTES, Breaker, Buffers, Capture, Entry, Reopen,
    kafka::{Kafka, Options},
};
use serde_json::{Value, json};
use tidegate_tests::{
    clock,
    servers::{
        Process,
        kafka::{self, Broker},
    },
};

use crate::{
    CONNECTIONS,
    load::{self, CASES, Case, Latency},
    peers::{NAMES, Peer},
};

/// The offered loads at which a write's latency is shown, in requests a second.
const RATES: [f64; 2] = [50.0, 500.0];

/// Connections of the measurement of memory under load.
const BUSY: usize = 1000;

/// The large request, in bytes.
const BULK_BYTES: usize = 100_000_000;

/// The size of each answer that a slow client does not read, in bytes, and how many it has asked for.
const UNREAD_BYTES: usize = 65_536;
const UNREAD: usize = 64;

/// How long somebody is slow: not so long that a log counts as failed.
const SLOW: Duration = Duration::from_millis(1500);

/// How often memory is looked at while something large passes.
const LOOK: Duration = Duration::from_millis(20);

/// A broker with the topic that Tidegate captures into.
pub(crate) fn broker(folder: &std::path::Path) -> Broker {
    let folder = folder.join("kafka");
    fs::create_dir_all(&folder).expect("a new folder");
    // What is captured is thrown away soon: minutes of load are gigabytes.
    let broker = kafka::broker(
        &folder,
        &["log.retention.bytes=268435456", "log.segment.bytes=67108864", "log.retention.check.interval.ms=1000"],
    );
    step_back(&broker);
    broker
}

/// A broker is on a machine of its own where it matters, and here it shares a core with whoever measures: it works when nobody
/// else there wants to, so that it delays those alone who wait for its answer. Threads that it starts later do the same.
fn step_back(broker: &Broker) {
    let threads = fs::read_dir(format!("/proc/{}/task", broker.process.id())).expect("the broker runs");
    let threads = threads.map(|thread| thread.expect("a thread").file_name());
    let reniced = Command::new("renice").args(["-n", "19", "-p"]).args(threads).output().expect("renice is there");
    // A thread may have ended meanwhile.
    assert!(!reniced.stdout.is_empty(), "renice: {}", String::from_utf8_lossy(&reniced.stderr));
}

/// One rate: what the broker takes by itself, and what each proxy does.
pub(crate) struct Write {
    rate: f64,
    produce: Latency,
    peers: Vec<Latency>,
}

/// Everything that only capture has.
pub(crate) struct Extra {
    writes: Vec<Write>,
    /// Memory of each peer with many busy connections, in bytes.
    busy: Vec<u64>,
    /// For each peer: seconds that the large request took, and the most memory meanwhile, in bytes.
    bulk: Vec<(f64, u64)>,
    /// Who was slow, and the most memory of each peer meanwhile, in bytes; `None` where that is nobody to a peer.
    slow: Vec<(&'static str, Vec<Option<u64>>)>,
}

/// Measures it.
pub(crate) async fn measure(
    broker: &Broker,
    upstream: &Process,
    peers: &[Peer],
    length: Duration,
) -> Result<Extra, String> {
    let brokers = &broker.plaintext();
    let write = case("post-1k");
    let mut writes = Vec::new();
    for rate in RATES {
        let produce = produce(brokers, rate, length, write.bytes()).await?;
        let mut found = Vec::new();
        for peer in peers {
            found.push(load::open(write, peer.port, 16, rate, length).await?.latency);
        }
        writes.push(Write { rate, produce, peers: found });
    }
    // Before what takes most, since memory is given back late.
    let slow = vec![
        ("client", slow_client(peers).await?),
        ("source", slow_server(upstream, peers).await?),
        ("Kafka", slow_server(&broker.process, &peers[..1]).await?),
    ];
    let (mut busy, mut bulk) = (Vec::new(), Vec::new());
    for peer in peers {
        load::closed(write, peer.port, BUSY, length).await?;
        busy.push(peer.process.usage().memory_bytes);
    }
    for peer in peers {
        bulk.push(large(peer).await?);
    }
    Ok(Extra { writes, busy, bulk, slow })
}

fn case(name: &str) -> Case {
    CASES.iter().copied().find(|case| case.name == name).expect("it is one of them")
}

/// Clients that ask for much and read none of it for a while.
async fn slow_client(peers: &[Peer]) -> Result<Vec<Option<u64>>, String> {
    let mut found = Vec::new();
    for peer in peers {
        let asked = load::unread(case("get-64k"), peer.port, CONNECTIONS, UNREAD, SLOW);
        let (received, most) = most(peer, asked).await;
        let wanted = (CONNECTIONS * UNREAD * UNREAD_BYTES) as u64;
        if received? < wanted {
            return Err(format!("{}: a client that reads late did not get {wanted} bytes", peer.name));
        }
        found.push(Some(most));
    }
    Ok(found)
}

/// Somebody behind the proxies who does nothing for a while, and writes of 64 KB meanwhile.
async fn slow_server(server: &Process, peers: &[Peer]) -> Result<Vec<Option<u64>>, String> {
    let mut found = Vec::new();
    for peer in peers {
        server.signal("STOP");
        let (answered, most) = most(peer, async {
            let asked = load::closed(case("post-64k"), peer.port, CONNECTIONS, SLOW / 2);
            let goes_on = async {
                tokio::time::sleep(SLOW).await;
                server.signal("CONT");
            };
            tokio::join!(asked, goes_on).0
        })
        .await;
        answered?;
        found.push(Some(most));
    }
    found.resize(NAMES.len(), None);
    Ok(found)
}

/// What comes of it, and the most memory of the peer meanwhile, in bytes.
async fn most<T>(peer: &Peer, done: impl Future<Output = T>) -> (T, u64) {
    let mut most = peer.process.usage().memory_bytes;
    tokio::pin!(done);
    loop {
        tokio::select! {
            done = &mut done => return (done, most),
            () = tokio::time::sleep(LOOK) => most = most.max(peer.process.usage().memory_bytes),
        }
    }
}

/// How long the broker takes for records of that size at that rate, by the producer that Tidegate has: from when one was
/// due to its acknowledgement.
async fn produce(brokers: &str, rate: f64, length: Duration, bytes: usize) -> Result<Latency, String> {
    let options = Options::new(brokers, TOPIC);
    let breaker = Arc::new(Breaker::new(Reopen::WhenReady));
    let kafka = Kafka::start(options, Arc::clone(&breaker)).map_err(|why| why.to_string())?;
    let capture = Capture::new(Arc::new(kafka), breaker, BUDGET_BYTES);
    let mut outlet = capture.outlet(Buffers::default());
    let (mut found, mut outcomes) = (Vec::new(), Vec::new());
    // A producer that has just begun asks the broker for more than to take a record.
    let first = Entry { key: "first".into(), life: outlet.life(), value: vec![b'x'; bytes], tag: 0 };
    outlet.send(first, clock::now()).map_err(|returned| returned.why.to_string())?;
    std::future::poll_fn(|cx| outlet.poll_outcomes(cx, clock::now(), &mut outcomes)).await;
    outcomes.clear();
    let mut due: Vec<Instant> = Vec::new();
    let start = clock::now();
    let gap = Duration::from_secs_f64(1.0 / rate);
    let mut ticks = tokio::time::interval(gap);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    while start.elapsed() < length || found.len() < due.len() {
        tokio::select! {
            tick = ticks.tick(), if start.elapsed() < length => {
                let tag = due.len() as u64;
                due.push(tick.into_std());
                let key = Arc::from(format!("produce-{}", tag % 16));
                let entry = Entry { key, life: outlet.life(), value: vec![b'x'; bytes], tag };
                outlet.send(entry, clock::now()).map_err(|returned| returned.why.to_string())?;
            }
            () = std::future::poll_fn(|cx| outlet.poll_outcomes(cx, clock::now(), &mut outcomes)) => {
                for outcome in outcomes.drain(..) {
                    found.push(due[outcome.tag as usize].elapsed());
                }
            }
        }
    }
    Ok(Latency::of(found))
}

/// The topic of the measurement of the broker alone, and of the captured traffic.
pub(crate) const TOPIC: &str = "bench";

/// One large write.
async fn large(peer: &Peer) -> Result<(f64, u64), String> {
    let start = clock::now();
    let (done, most) = most(peer, load::once(Case::large(BULK_BYTES), peer.port)).await;
    done.map(|()| (start.elapsed().as_secs_f64(), most))
}

fn mib(bytes: u64) -> f64 {
    (bytes as f64 / 1024.0 / 1024.0 * 10.0).round() / 10.0
}

fn latency(found: &Latency) -> Value {
    let micros = |time: Duration| (time.as_secs_f64() * 1e6).round();
    json!({ "p50_us": micros(found.p50), "p99_us": micros(found.p99), "p99.9_us": micros(found.p999) })
}

impl Extra {
    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let named = |values: Vec<Value>| -> Value {
            NAMES
                .iter()
                .zip(values)
                .map(|(name, value)| ((*name).to_owned(), value))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        json!({
            "writes": self.writes.iter().map(|write| json!({
                "rate": write.rate,
                "produce": latency(&write.produce),
                "peers": named(write.peers.iter().map(latency).collect()),
            })).collect::<Vec<_>>(),
            "busy_connections": BUSY,
            "busy_mib": named(self.busy.iter().map(|&bytes| json!(mib(bytes))).collect()),
            "bulk_bytes": BULK_BYTES,
            "bulk": named(self.bulk.iter().map(|&(seconds, bytes)| json!({ "seconds": seconds, "most_mib": mib(bytes) })).collect()),
            "slow_most_mib": self.slow.iter().map(|(who, found)| {
                ((*who).to_owned(), named(found.iter().map(|most| json!(most.map(mib))).collect()))
            }).collect::<serde_json::Map<_, _>>(),
        })
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |words: String| {
            text.push_str(&words);
            text.push('\n');
        };
        line("\na write of 1 KB: median and p99, in ms, at so many a second".to_owned());
        let ms =
            |found: &Latency| format!("{:.2} / {:.2}", found.p50.as_secs_f64() * 1e3, found.p99.as_secs_f64() * 1e3);
        for write in &self.writes {
            line(format!("  {:>4}/s  the broker alone: {}", write.rate, ms(&write.produce)));
            for (name, found) in NAMES.iter().zip(&write.peers) {
                line(format!("          {name}: {}", ms(found)));
            }
        }
        line(format!(
            "\nmemory with {BUSY} busy connections, and with one request of {} MB (and its seconds)",
            BULK_BYTES / 1_000_000
        ));
        for ((name, busy), (seconds, most)) in NAMES.iter().zip(&self.busy).zip(&self.bulk) {
            line(format!("  {name}: {} MiB; {} MiB, {seconds:.2} s", mib(*busy), mib(*most)));
        }
        line(format!(
            "\nthe most memory with {CONNECTIONS} connections while somebody does nothing for {} s",
            SLOW.as_secs_f64()
        ));
        for (who, found) in &self.slow {
            let of = |(name, most): (&&str, &Option<u64>)| most.map(|most| format!("{name} {} MiB", mib(most)));
            let told: Vec<String> = NAMES.iter().zip(found).filter_map(of).collect();
            line(format!("  a slow {who}: {}", told.join(", ")));
        }
        text
    }
}
