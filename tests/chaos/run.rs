//! Real clients, a real search engine and a real broker that is never left alone: what clients sent and got, as a recorder
//! between them and the proxy saw it, is held against the topic by the reader that has none of our code.
//!
//! Clients come first here (`--on-capture-failure forward`). What is not in the topic must have its reason: a write is on
//! the list of losses, a read was asked while capture was known to fail. While it was not, nothing may be missing.

#![expect(clippy::print_stdout, reason = "the figures that a run has seen")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tidegate_tests::{
    clock,
    relay::{Relay, Road},
    servers::{
        Process, built_binary, free_port,
        kafka::{Broker, broker_at},
        search, state_folder,
    },
};

use super::topic;

const TOPIC: &str = "chaos";
const START_MAX: Duration = Duration::from_secs(30);

/// How long capture may take to work again once nothing is wrong any more.
const BACK_MAX: Duration = Duration::from_mins(1);

/// The pause between two faults.
const CALM: Duration = Duration::from_secs(2);

/// A read that is missing may have been asked so long before a fault was begun: its record was not given away yet.
const KEPT_MILLIS_MAX: u64 = 1500;

/// How often something is looked at that nobody announces.
const LOOK: Duration = Duration::from_millis(50);

/// What is done to the broker, in turn.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Its answers and our questions take so long.
    Slow(Duration),
    /// Its connections are reset, new ones too.
    Cut(Duration),
    /// Nothing passes.
    Silent(Duration),
    /// The process hangs.
    Stopped(Duration),
    /// It is killed and started again.
    Killed,
}

const FAULTS: [Fault; 7] = [
    Fault::Slow(Duration::from_secs(3)),
    Fault::Silent(Duration::from_millis(800)),
    Fault::Killed,
    Fault::Cut(Duration::from_millis(300)),
    Fault::Stopped(Duration::from_millis(800)),
    Fault::Silent(Duration::from_secs(12)),
    Fault::Stopped(Duration::from_secs(6)),
];

/// A time in which capture was known to fail.
type Outage = (Instant, Instant);

/// The proxy's own word on its capture.
fn capture(socket: &Path) -> Value {
    let output = Command::new("curl")
        .args(["--silent", "--fail", "--max-time", "10", "--unix-socket"])
        .arg(socket)
        .arg("http://control/v1/status")
        .output()
        .expect("curl is installed");
    let status: Value = serde_json::from_slice(&output.stdout).expect("the proxy answers with JSON");
    status["capture"][0].clone()
}

/// How often capture did not take something, for any reason.
fn trouble(capture: &Value) -> u64 {
    ["failed_times", "lost", "not_given"].iter().map(|name| capture[name].as_u64().expect("a count")).sum()
}

/// Faults one after the other until it is over; when capture failed because of them.
fn torment(broker: &mut Broker, road: &Relay, socket: &Path, until: Instant) -> (Vec<Outage>, usize) {
    let (mut outages, mut count) = (Vec::new(), 0);
    for fault in FAULTS.into_iter().cycle() {
        std::thread::sleep(CALM);
        if clock::now() >= until {
            break;
        }
        let (before, begin) = (trouble(&capture(socket)), clock::now());
        match fault {
            Fault::Slow(time) => {
                road.set(Road::Slow(Duration::from_millis(200)));
                std::thread::sleep(time);
                road.set(Road::Open);
            }
            Fault::Cut(time) | Fault::Silent(time) => {
                road.set(if matches!(fault, Fault::Cut(_)) { Road::Cut } else { Road::Silent });
                std::thread::sleep(time);
                road.set(Road::Open);
            }
            Fault::Stopped(time) => {
                broker.process.signal("STOP");
                std::thread::sleep(time);
                broker.process.signal("CONT");
            }
            Fault::Killed => {
                broker.kill();
                broker.start_again();
            }
        }
        let healed = clock::now();
        // Nothing may be under way of the time before when it is asked whether it was lost.
        std::thread::sleep(CALM);
        while capture(socket)["works"] != true {
            assert!(healed.elapsed() < BACK_MAX, "capture never works again after {fault:?}");
            std::thread::sleep(LOOK);
        }
        count += 1;
        let lost = trouble(&capture(socket)) - before;
        println!("{fault:?}: healed after {:?}, {lost} times something was not taken", begin.elapsed());
        if lost > 0 {
            outages.push((begin, clock::now()));
        }
    }
    (outages, count)
}

/// curl and wrk, again and again; how many requests curl made.
fn others(port: u16, folder: PathBuf, stop: Arc<AtomicBool>) -> JoinHandle<usize> {
    std::thread::spawn(move || {
        let line = |number: usize| format!("{{\"index\":{{}}}}\n{{\"text\":\"four\",\"n\":{number}}}\n");
        let (small, large) = (folder.join("small.ndjson"), folder.join("large.ndjson"));
        fs::write(&small, (0..40).map(line).collect::<String>()).expect("a file");
        // Long enough for curl to wait for 100 Continue.
        fs::write(&large, (0..30_000).map(line).collect::<String>()).expect("a file");
        let lua = Path::new(env!("CARGO_MANIFEST_DIR")).join("chaos/mixed.lua");
        let mut made = 0;
        for turn in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let url = |path: &str, number: usize| {
                format!("http://127.0.0.1:{port}/mixed/{path}?filter_path=-id_c{turn}_{number}")
            };
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--max-time", "60", "--output", "/dev/null", "--request", "POST"]);
            curl.args(["--header", "Content-Type: application/json", "--header", "Transfer-Encoding: chunked"]);
            curl.arg("--data-binary").arg(format!("@{}", small.display())).args([url("_bulk", 1), url("_bulk", 2)]);
            curl.args(["--output", "/dev/null", "--next", "--silent", "--output", "/dev/null", &url("_count", 3)]);
            curl.args(["--next", "--silent", "--head", "--output", "/dev/null", &url("_doc/nobody", 4)]);
            made += 4;
            if turn % 12 == 6 {
                curl.args(["--next", "--silent", "--output", "/dev/null", "--request", "POST"]);
                curl.args(["--header", "Content-Type: application/json", "--data-binary"]);
                curl.arg(format!("@{}", large.display())).arg(url("_bulk", 5));
                made += 1;
            }
            let ended = curl.output().expect("curl is installed");
            assert!(ended.status.success(), "curl: {}", String::from_utf8_lossy(&ended.stderr));
            if turn % 12 == 0 {
                let mut wrk = Command::new("wrk");
                wrk.args(["--threads", "1", "--connections", "4", "--duration", "1s", "--script"]).arg(&lua);
                wrk.arg(format!("http://127.0.0.1:{port}")).arg("--").arg(turn.to_string());
                assert!(wrk.output().expect("wrk is installed").status.success());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        made
    })
}

/// Lets clients and faults loose for so long, and compares what everybody says.
///
/// # Panics
/// At the first thing that is not as it should be.
pub(super) fn run(lasts: Duration) {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let ports: [u16; 5] = std::array::from_fn(|_| free_port());
    let road = Relay::start(free_port(), ports[0]);
    let advertised = format!("advertised.listeners=PLAINTEXT://127.0.0.1:{}", road.port);
    let mut broker = broker_at(folder, ports, &[&advertised]);
    // Its breaker on memory counts garbage, and would answer 429 after some minutes of a small heap.
    let node = search::node(folder, "node", &["indices.breaker.total.use_real_memory=false"]);
    // Before the clients come: what they are told is then the proxy's doing alone.
    for (method, path) in [("PUT", "mixed"), ("GET", "_cluster/health/mixed?wait_for_status=yellow")] {
        let url = format!("http://127.0.0.1:{}/{path}", node.port);
        let made = Command::new("curl").args(["--silent", "--fail", "--request", method, &url]).output();
        assert!(made.expect("curl is installed").status.success(), "{method} {path}");
    }
    let (port, socket, losses) = (free_port(), folder.join("control"), folder.join("losses.jsonl"));
    let mut command = Command::new(built_binary());
    command.args(["proxy", "--plaintext", "--listen", &format!("127.0.0.1:{port}"), "--source"]);
    command.arg(format!("http://127.0.0.1:{}", node.port)).args(["--capture", "kafka", "--kafka"]);
    command.arg(format!("127.0.0.1:{}", road.port)).args(["--topic", TOPIC, "--create-topic", "1", "--control"]);
    command.arg(format!("unix:{}", socket.display())).arg("--loss-log").arg(&losses).current_dir(folder);
    let mut proxy = Process::start("proxy", folder, command);
    proxy.wait_for_port(port, START_MAX);
    let recorder = Relay::remembering(free_port(), port);

    let (start, stop_file, stop) = (clock::now(), folder.join("stop"), Arc::<AtomicBool>::default());
    let mut python = Command::new(state_folder().join("venv/bin/python"));
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("chaos/mixed_client.py"));
    python.arg(recorder.port.to_string()).arg(&stop_file);
    let mut python = Process::start("python", folder, python);
    let others = others(recorder.port, folder.to_owned(), Arc::clone(&stop));
    let (outages, faults) = torment(&mut broker, &road, &socket, start + lasts);
    fs::write(&stop_file, "").expect("a file");
    stop.store(true, Ordering::Relaxed);
    assert!(python.wait(BACK_MAX).success(), "{}", python.log());
    let by_python: Value = serde_json::from_str(python.log().trim()).expect("the client's own words");
    assert_eq!(by_python["failures"], json!([]), "the client's own view");
    let by_curl = others.join().expect("curl and wrk end well");
    let after = capture(&socket);
    proxy.signal("TERM");
    assert!(proxy.wait(START_MAX).success(), "{}", proxy.log());

    let records = topic::records(&format!("127.0.0.1:{}", road.port), TOPIC);
    let text: String = records.iter().map(|record| STANDARD.encode(record) + "\n").collect();
    fs::write(folder.join("topic"), text).expect("a file");
    let millis = |at: Instant| at.saturating_duration_since(start).as_millis() as u64;
    let mut clients = String::new();
    for passed in recorder.passed() {
        let moments: Vec<Value> = passed.moments.iter().map(|(bytes, at)| json!([bytes, millis(*at)])).collect();
        let (sent, received) = (STANDARD.encode(&passed.sent), STANDARD.encode(&passed.received));
        clients += &json!({ "sent": sent, "received": received, "moments": moments }).to_string();
        clients.push('\n');
    }
    fs::write(folder.join("clients"), clients).expect("a file");
    for how in [&["--strict"][..], &["--clients", "clients"][..]] {
        let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("capture/capture_reader.py");
        let said = Command::new("python3").arg(reader).arg("topic").args(how).current_dir(folder).output();
        let said = said.expect("python3 is installed");
        assert!(said.status.success(), "{how:?}: {}", String::from_utf8_lossy(&said.stderr));
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        if how.len() == 1 {
            println!("{}", said.trim());
            continue;
        }
        let said: Value = serde_json::from_str(&said).expect("the reader's words");
        println!(
            "{:?}: {} requests of {} connections ({} by the Python client, {by_curl} by curl, the rest by wrk), {} answered; \
             {} there, in order, byte for byte ({} bytes, {} records); {} faults, {} of them felt; {} responses cut, \
             {} requests missing",
            start.elapsed(),
            said["requests"],
            said["connections"],
            by_python["requests"],
            said["answered"],
            said["there"],
            said["octets"],
            records.len(),
            faults,
            outages.len(),
            said["cut"].as_array().map_or(0, Vec::len),
            said["missing"].as_array().map_or(0, Vec::len),
        );
        println!("the proxy: {after}");
        account(&said, &listed(&losses), &outages, start);
    }
}

/// The names of the forwarded requests on the list of losses.
fn listed(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).expect("the list of losses");
    let losses = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a loss is JSON"));
    let names = losses.filter(|loss| loss["forwarded"] == true).filter_map(|loss| {
        let name = loss["target"].as_str()?.split("filter_path=-").nth(1)?;
        Some(name.split('&').next().unwrap_or(name).to_owned())
    });
    names.collect()
}

/// Holds what is missing against its reasons.
fn account(said: &Value, listed: &BTreeSet<String>, outages: &[Outage], start: Instant) {
    let millis = |at: Instant| at.saturating_duration_since(start).as_millis() as u64;
    let in_outage =
        |when: u64| outages.iter().any(|(begin, end)| millis(*begin) <= when + KEPT_MILLIS_MAX && when <= millis(*end));
    let (mut reads, mut writes) = (0, 0);
    for missing in said["missing"].as_array().expect("a list") {
        let (name, line) = (missing["name"].as_str().expect("a name"), missing["line"].as_str().expect("a line"));
        let read = line.starts_with("GET ") || line.starts_with("HEAD ") || line.contains("/_search?");
        if read {
            assert!(
                in_outage(missing["when"].as_u64().expect("a time")),
                "a read is missing without a reason: {missing}"
            );
            reads += 1;
        } else {
            assert!(listed.contains(name), "a write is neither in the topic nor on the list: {missing}");
            writes += 1;
        }
    }
    for cut in said["cut"].as_array().expect("a list") {
        assert!(in_outage(cut["when"].as_u64().expect("a time")), "a response is cut without a reason: {cut}");
    }
    println!(
        "missing with a reason: {reads} reads in {} outages, {writes} writes on the list of {}",
        outages.len(),
        listed.len()
    );
    assert!(said["there"].as_u64() > Some(100), "there was traffic");
}
