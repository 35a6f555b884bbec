//! What goes wrong with a real broker, one after the other, under the built program: hanging, cut off, silent, slow,
//! killed, its topic deleted and made anew, its disk full. After each, what clients were told, what the cluster has, what
//! the topic has and what the list of losses says must agree.
//!
//! Both policies are tried on the same broker at the same time, each by a proxy of its own with a topic of its own.

#![expect(clippy::print_stdout, reason = "the figures that a run has seen")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::Value;
use tidegate_tests::{
    clock,
    relay::{Relay, Road},
    servers::{
        Process, built_binary, free_port,
        kafka::{Broker, broker_at},
    },
};

use super::{START_MAX, captured, cluster::Cluster, connected, topic, write};
use crate::support::{assert_quiet, control};

/// The policies.
const HOW: [&str; 2] = ["refuse", "forward"];

/// How many clients write to each proxy.
const CLIENTS: u32 = 2;

/// How long clients write before a fault, and after all is well again.
const PART: Duration = Duration::from_millis(1500);

/// How long capture may take to work again once nothing is wrong any more.
const BACK_MAX: Duration = Duration::from_mins(1);

/// How often something is looked at that nobody announces.
const LOOK: Duration = Duration::from_millis(50);

/// What the proxy says on purpose while its log fails.
const EXPECTED: [&str; 4] = ["the capture log fails", "was deleted and made anew", "cannot capture", "capture"];

/// What clients were told is stored, and when.
type Told = BTreeMap<String, Instant>;

/// One proxy with its cluster and its clients.
struct Lane {
    how: &'static str,
    topic: String,
    folder: PathBuf,
    cluster: Cluster,
    proxy: Process,
    port: u16,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Told>>,
}

impl Lane {
    /// A proxy that captures into a topic of its own, without clients yet.
    fn start(folder: &Path, name: &str, how: &'static str, brokers: &str, more: &[&str]) -> Self {
        let folder = folder.join(format!("{name}-{how}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (cluster, topic, port) = (Cluster::start(), format!("{name}-{how}"), free_port());
        let mut command = Command::new(built_binary());
        command.args(["proxy", "--plaintext", "--listen", &format!("127.0.0.1:{port}"), "--source"]);
        command.arg(format!("http://127.0.0.1:{}", cluster.port)).args(["--capture", "kafka", "--kafka", brokers]);
        command.args(["--topic", &topic, "--kafka-timeout", "2s", "--on-capture-failure", how]).args(more);
        command.arg("--control").arg(format!("unix:{}", folder.join("control").display()));
        command.arg("--loss-log").arg(folder.join("losses.jsonl")).current_dir(&folder);
        let mut proxy = Process::start("proxy", &folder, command);
        proxy.wait_for_port(port, START_MAX);
        Self { how, topic, folder, cluster, proxy, port, stop: Arc::default(), clients: Vec::new() }
    }

    /// Lets clients write.
    fn write(&mut self) {
        for number in 0..CLIENTS {
            let (port, stop) = (self.port, Arc::clone(&self.stop));
            self.clients.push(std::thread::spawn(move || client(port, number, &stop)));
        }
    }

    /// What the proxy says of its log.
    fn capture(&self) -> Value {
        let status = control(&self.folder.join("control"), "GET", "/v1/status", None);
        status.unwrap_or_else(|why| panic!("{why}\n{}", self.proxy.log()))["capture"][0].clone()
    }

    /// Waits until the proxy says so of its log; how long that took.
    fn wait(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Duration {
        let start = clock::now();
        loop {
            let capture = self.capture();
            if wanted(&capture) {
                return start.elapsed();
            }
            assert!(start.elapsed() < BACK_MAX, "{}: never {what}: {capture}\n{}", self.topic, self.proxy.log());
            std::thread::sleep(LOOK);
        }
    }

    /// Ends clients, deletes the topic and ends the proxy at once: each client's last write is on the list, and so are all that
    /// came between one that is listed and that.
    fn end_without_topic(mut self, brokers: &str) {
        let deletion = topic::Deletion::prepare(brokers);
        self.stop.store(true, Ordering::Relaxed);
        let told: Vec<Told> = self.clients.drain(..).map(|client| client.join().expect("no client panics")).collect();
        deletion.of(&self.topic);
        let begun = clock::now();
        self.proxy.signal("TERM");
        assert!(self.proxy.wait(START_MAX).success(), "{}", self.proxy.log());
        let ended = begun.elapsed();
        assert_quiet(&self.proxy, &EXPECTED);
        assert!(!self.proxy.log().contains("was not seen to have them since"), "{}", self.proxy.log());
        let listed = listed(&self.folder.join("losses.jsonl"));
        println!("{}: ended within {ended:?}, {} listed", self.topic, listed.forwarded.len());
        for told in told {
            let mut last: Vec<_> = told.iter().collect();
            last.sort_by_key(|(_, at)| **at);
            let is_listed = |(id, _): &(&String, &Instant)| listed.forwarded.contains(*id);
            let first = last.iter().position(is_listed);
            let first = first
                .unwrap_or_else(|| panic!("{}: none of {}: {listed:?}\n{}", self.topic, last.len(), self.proxy.log()));
            assert!(last[first..].iter().all(is_listed), "{}: {last:?} {listed:?}", self.topic);
        }
        assert!(listed.records > 0 && listed.phantoms.is_empty(), "{}: {listed:?}", self.topic);
    }

    /// Ends clients and proxy, and compares what everybody says. `gone` is by when the topic was deleted, if it was.
    fn check(mut self, brokers: &str, gone: Option<Instant>) -> Sum {
        self.stop.store(true, Ordering::Relaxed);
        let mut told = Told::new();
        for client in self.clients.drain(..) {
            told.extend(client.join().expect("no client panics"));
        }
        self.proxy.signal("TERM");
        assert!(self.proxy.wait(START_MAX).success(), "{}", self.proxy.log());
        assert_quiet(&self.proxy, &EXPECTED);
        let (stored, captured) = (self.cluster.stored(), captured(brokers, &self.topic));
        let listed = listed(&self.folder.join("losses.jsonl"));
        let sum = Sum {
            told: told.len(),
            stored: stored.len(),
            captured: captured.len(),
            forwarded: listed.forwarded.len(),
            phantoms: listed.phantoms.len(),
        };
        println!("{}: {sum:?}", self.topic);
        let not_stored: Vec<_> = told.keys().filter(|id| !stored.contains(*id)).take(5).collect();
        assert!(not_stored.is_empty(), "{}: acknowledged and not stored: {not_stored:?}", self.topic);
        // What was acknowledged before its topic was deleted was there, and is counted; from the first write of a client on
        // that is listed, each one must be.
        let place = |id: &str| {
            let (client, number) = id.split_once('-').expect("a client and a number");
            (client.to_owned(), number.parse::<u64>().ok())
        };
        let mut first = BTreeMap::new();
        for (client, number) in listed.forwarded.iter().map(|id| place(id)) {
            let first = first.entry(client).or_insert(number);
            *first = number.min(*first);
        }
        let was_there = |id: &String| {
            let (client, number) = place(id);
            gone.is_some_and(|gone| told.get(id).is_some_and(|at| *at < gone))
                && first.get(&client).is_none_or(|first| number < *first)
        };
        let unknown: Vec<_> = stored
            .iter()
            .filter(|id| !captured.contains(*id) && !listed.forwarded.contains(*id) && !was_there(id))
            .take(5)
            .collect();
        assert!(unknown.is_empty(), "{}: stored, and neither captured nor listed: {unknown:?}", self.topic);
        let phantoms: Vec<_> =
            captured.iter().filter(|id| !stored.contains(*id) && !listed.phantoms.contains(*id)).take(5).collect();
        assert!(phantoms.is_empty(), "{}: captured, and neither stored nor listed: {phantoms:?}", self.topic);
        if gone.is_some() {
            assert!(listed.records > 0, "{}: the list counts what went with the topic", self.topic);
        } else if self.how == "refuse" {
            assert!(listed.forwarded.is_empty(), "{}: nothing goes out uncaptured: {listed:?}", self.topic);
        }
        sum
    }
}

#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "they are printed")]
struct Sum {
    told: usize,
    stored: usize,
    captured: usize,
    forwarded: usize,
    phantoms: usize,
}

/// What the list of losses says.
#[derive(Debug, Default)]
struct Listed {
    /// Stored and not captured.
    forwarded: BTreeSet<String>,
    /// Perhaps captured and not stored.
    phantoms: BTreeSet<String>,
    /// Records that went with their topic.
    records: u64,
}

fn listed(path: &Path) -> Listed {
    let text = std::fs::read_to_string(path).expect("the list of losses");
    let mut listed = Listed::default();
    for line in text.lines() {
        let loss: Value = serde_json::from_str(line).expect("a loss is JSON");
        if let Some(records) = loss["records"].as_u64() {
            listed.records += records;
            continue;
        }
        let target = loss["target"].as_str().expect("a target").trim_start_matches("/docs/_create/").to_owned();
        if loss["forwarded"] == true {
            listed.forwarded.insert(target)
        } else {
            listed.phantoms.insert(target)
        };
    }
    listed
}

/// Writes documents, one after the other, until it is told to stop.
fn client(port: u16, number: u32, stop: &AtomicBool) -> Told {
    let mut told = Told::new();
    let mut connection: Option<TcpStream> = None;
    for document in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("{number}-{document}");
        let mut stream = connection.take().unwrap_or_else(|| connected(port));
        // A connection may end; what became of its last write is then not known to its client.
        if let Ok(status) = write(&mut stream, &id) {
            match status {
                201 => drop(told.insert(id, clock::now())),
                _ => assert_eq!(status, 503, "a write is stored, or refused because it was not captured"),
            }
            connection = Some(stream);
        }
        std::thread::sleep(Duration::from_millis(4));
    }
    told
}

/// A broker behind a road, and what is tried on it.
struct World {
    broker: Broker,
    road: Relay,
    folder: tempfile::TempDir,
}

impl World {
    fn new(settings: &[&str]) -> Self {
        Self::within(tempfile::tempdir().expect("a folder"), settings)
    }

    fn within(folder: tempfile::TempDir, settings: &[&str]) -> Self {
        let ports: [u16; 5] = std::array::from_fn(|_| free_port());
        let road = Relay::start(free_port(), ports[0]);
        let advertised = format!("advertised.listeners=PLAINTEXT://127.0.0.1:{}", road.port);
        let settings: Vec<&str> = settings.iter().copied().chain([advertised.as_str()]).collect();
        let broker = broker_at(folder.path(), ports, &settings);
        Self { broker, road, folder }
    }

    fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.road.port)
    }

    /// A lane for each policy, to which clients have written for a while, and go on.
    fn lanes(&self, name: &str) -> Vec<Lane> {
        let start = |how| Lane::start(self.folder.path(), name, how, &self.brokers(), &["--create-topic", "4"]);
        let mut lanes: Vec<Lane> = HOW.into_iter().map(start).collect();
        lanes.iter_mut().for_each(Lane::write);
        std::thread::sleep(PART);
        lanes
    }

    /// One fault under both policies: clients write before it, while it lasts and after it.
    fn fault(&mut self, name: &str, lasts: impl FnOnce(&mut Self, &[Lane]) -> Option<Instant>) -> Vec<Sum> {
        let (brokers, lanes) = (self.brokers(), self.lanes(name));
        let gone = lasts(self, &lanes);
        for lane in &lanes {
            let took = lane.wait("works again", |capture| capture["works"] == true);
            println!("{}: works again after {took:?}", lane.topic);
        }
        std::thread::sleep(PART);
        lanes.into_iter().map(|lane| lane.check(&brokers, gone)).collect()
    }
}

/// Waits until every lane knows that its log fails.
fn known(lanes: &[Lane]) {
    for lane in lanes {
        let took = lane.wait("known to fail", |capture| capture["works"] == false);
        println!("{}: known to fail after {took:?}", lane.topic);
    }
}

/// Proves with a broker that hangs, is cut off, falls silent, is slow, is killed and has its topics deleted and made anew:
/// with `refuse` no write that the cluster has is absent from the topic, with `forward` each that is absent is on the list;
/// what the topic has and the cluster has not is on the list too; and capture works again by itself. A broker that is slow
/// costs nobody more than time. And a proxy that ends as its topic is deleted lists the writes that went out last.
#[test]
fn whatever_a_broker_does_no_write_is_unaccounted_for() {
    let mut world = World::new(&["auto.create.topics.enable=true"]);
    world.fault("stopped", |world, lanes| {
        world.broker.process.signal("STOP");
        known(lanes);
        std::thread::sleep(PART);
        world.broker.process.signal("CONT");
        None
    });
    for (name, road) in [("cut", Road::Cut), ("silent", Road::Silent)] {
        world.fault(name, |world, lanes| {
            world.road.set(road);
            known(lanes);
            std::thread::sleep(PART);
            world.road.set(Road::Open);
            None
        });
    }
    let slow = world.fault("slow", |world, _| {
        world.road.set(Road::Slow(Duration::from_millis(150)));
        std::thread::sleep(2 * PART);
        world.road.set(Road::Open);
        None
    });
    assert!(slow.iter().all(|sum| sum.forwarded == 0 && sum.captured == sum.told), "slow is no failure: {slow:?}");
    world.fault("killed", |world, lanes| {
        world.broker.kill();
        known(lanes);
        world.broker.start_again();
        None
    });
    world.fault("replaced", |world, lanes| {
        let brokers = world.brokers();
        for lane in lanes {
            topic::replace(&brokers, &lane.topic);
        }
        let gone = clock::now();
        for lane in lanes {
            let took = lane.wait("known to be another", |capture| capture["life"].as_u64() > Some(0));
            println!("{}: known to be another after {took:?}", lane.topic);
        }
        Some(gone)
    });
    for lane in world.lanes("gone") {
        lane.end_without_topic(&world.brokers());
    }
}

/// A disk of its own, gone with the value.
struct Small(PathBuf);

impl Small {
    /// `None` where we may not mount.
    fn mount(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).expect("a folder");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=64m", "tidegate-test"]).arg(folder).output();
        let mounted = mounted.is_ok_and(|mounted| mounted.status.success()).then(|| Self(folder.to_owned()));
        if mounted.is_none() {
            println!("not root: no small disk can be mounted");
        }
        mounted
    }

    /// Takes all the room there is; dropped files give it back.
    fn fill(&self) {
        let piece = vec![0; 64 * 1024];
        let mut filler = std::fs::File::create(self.0.join("filler")).expect("a file");
        while filler.write_all(&piece).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("the filler is there");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}

/// Small files, so that the disk is full soon.
const SEGMENT: &str = "log.segment.bytes=2097152";
const INDEX: &str = "log.index.size.max.bytes=65536";

/// Proves the same where something else fills the disk under a part of the partitions, or under all of the broker, until it
/// has room again and the broker is started anew. Needs root for the small disk; without, it says so and proves nothing.
#[test]
fn a_full_disk_leaves_no_write_unaccounted_for() {
    for part in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(small) = Small::mount(&folder.path().join("small")) else { return };
        let (large, data) = (folder.path().join("large"), small.0.join("data"));
        let logs = format!("log.dirs={},{}", large.display(), data.display());
        let metadata = format!("metadata.log.dir={}", large.display());
        let whole = format!("log.dirs={}", data.display());
        let (name, settings) = if part {
            ("part", vec![&*logs, &*metadata, SEGMENT, INDEX])
        } else {
            ("whole", vec![&*whole, SEGMENT, INDEX])
        };
        let mut world = World::within(folder, &settings);
        world.fault(name, |world, lanes| {
            small.fill();
            known(lanes);
            std::thread::sleep(PART);
            if part {
                world.broker.kill();
            } else {
                world.broker.process.wait(BACK_MAX);
            }
            small.make_room();
            world.broker.start_again();
            None
        });
        // Its files are unmounted before its folder goes.
        drop(small);
        drop(world);
    }
}

/// Proves that a proxy which starts while its broker is down serves: reads pass, writes are forwarded and listed or refused,
/// as the policy says, and it is said why; and that it captures by itself once the broker is there.
#[test]
fn a_proxy_that_starts_in_an_outage_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports: [u16; 5] = std::array::from_fn(|_| free_port());
    let brokers = format!("127.0.0.1:{}", ports[0]);
    let starting: Vec<JoinHandle<Lane>> = HOW
        .into_iter()
        .map(|how| {
            let (folder, brokers) = (folder.path().to_owned(), brokers.clone());
            std::thread::spawn(move || Lane::start(&folder, "outage", how, &brokers, &["--create-topic", "1"]))
        })
        .collect();
    let mut lanes: Vec<Lane> = starting.into_iter().map(|lane| lane.join().expect("the proxy starts")).collect();
    for lane in &lanes {
        let url = format!("http://127.0.0.1:{}/docs/_search", lane.port);
        let read = Command::new("curl").args(["--silent", "--fail", &url]).output().expect("curl is installed");
        assert!(read.status.success(), "{}: a read passes", lane.topic);
        let mut stream = TcpStream::connect(("127.0.0.1", lane.port)).expect("the proxy listens");
        let status = write(&mut stream, "in-the-outage").expect("an answer");
        assert_eq!(status, if lane.how == "refuse" { 503 } else { 201 }, "{}", lane.topic);
        let capture = lane.capture();
        let why = format!("no broker at {brokers} answered within");
        assert!(capture["failed_why"].as_str().is_some_and(|said| said.starts_with(&why)), "{capture}");
        let health = control(&lane.folder.join("control"), "GET", "/health", None).expect("health");
        assert_eq!(health["status"], "ok", "{health}");
        assert!(health["not_captured"]["source"].as_str().is_some_and(|said| said.starts_with(&why)), "{health}");
    }
    let _broker = broker_at(folder.path(), ports, &["auto.create.topics.enable=false"]);
    lanes.iter_mut().for_each(Lane::write);
    for lane in &lanes {
        let took = lane.wait("works", |capture| capture["works"] == true);
        println!("{}: works {took:?} after the broker was there", lane.topic);
    }
    std::thread::sleep(PART);
    for lane in lanes {
        let sum = lane.check(&brokers, None);
        assert!(sum.captured > 0, "{sum:?}");
    }
}
