//! Capture with the built program: a real broker that is killed and started again, and a real search engine that says what
//! reached it. Everything else that can go wrong with a broker is in `faults.rs`, and real clients under chaos in
//! `tests/chaos`.

#[path = "../chaos/run.rs"]
mod chaos;
mod cluster;
mod faults;
#[path = "../chaos/topic.rs"]
mod topic;

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use tidegate_tests::{
    clock,
    servers::{
        Process, built_binary, free_port,
        kafka::{Broker, broker},
        search::{self, Node},
    },
};

use crate::{
    daemon::{Said, verb},
    support::assert_quiet,
};

const TOPIC: &str = "captured";
const START_MAX: Duration = Duration::from_secs(20);

/// How long a client waits for an answer: longer than a record may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How many clients write, each its own documents one after the other.
const CLIENTS: u32 = 4;

/// How long each part lasts: with the broker, without it, and with it again.
const PART: Duration = Duration::from_secs(4);

/// A client's connection to the proxy.
fn connected(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the proxy listens");
    stream.set_read_timeout(Some(ANSWER_MAX)).expect("a timeout");
    stream
}

/// One client: writes documents until it is told to stop. Answers which were acknowledged to it.
fn client(port: u16, number: u32, stop: &AtomicBool) -> BTreeSet<String> {
    let mut acknowledged = BTreeSet::new();
    let mut connection: Option<TcpStream> = None;
    for document in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("{number}-{document}");
        let mut stream = connection.take().unwrap_or_else(|| connected(port));
        match write(&mut stream, &id) {
            Ok(status) => {
                if status == 201 {
                    acknowledged.insert(id);
                } else {
                    assert_eq!(status, 503, "a write is stored, or refused because it was not captured");
                    std::thread::sleep(Duration::from_millis(20));
                }
                connection = Some(stream);
            }
            // A connection may end; what became of this write is then not known to its client.
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    acknowledged
}

/// Stores one document; the status of the answer.
fn write(stream: &mut TcpStream, id: &str) -> std::io::Result<u16> {
    let body = format!("{{\"id\":\"{id}\",\"pad\":\"{}\"}}", "x".repeat(300));
    let length = body.len();
    let head = format!(
        "PUT /docs/_create/{id} HTTP/1.1\r\nHost: search\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + &body).as_bytes())?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.expect("answers have a length") {
            return Ok(head.get(9..12).and_then(|status| status.parse().ok()).expect("a status"));
        }
    }
}

/// Writes while the broker is there, then is killed, then is there again; what each side says after it.
struct Told {
    /// What clients were told is stored.
    acknowledged: BTreeSet<String>,
    /// What the search engine has.
    stored: BTreeSet<String>,
    /// What is in the topic as a whole request.
    captured: BTreeSet<String>,
    /// What the list of losses says was forwarded.
    listed: BTreeSet<String>,
}

fn proxy(folder: &Path, port: u16, node: &Node, brokers: &str, how: &str) -> Process {
    let mut command = Command::new(built_binary());
    command.args(["proxy", "--plaintext", "--listen", &format!("127.0.0.1:{port}"), "--source"]);
    command.arg(format!("http://127.0.0.1:{}", node.port)).args(["--capture", "kafka", "--kafka", brokers]);
    command.args(["--topic", TOPIC, "--create-topic", "3", "--kafka-timeout", "2s", "--on-capture-failure", how]);
    command.args(["--health-path", "/health", "--loss-log"]).arg(folder.join("losses.jsonl")).current_dir(folder);
    let mut process = Process::start("proxy", folder, command);
    process.wait_for_port(port, START_MAX);
    process
}

fn told(folder: &Path, broker: &mut Broker, node: &Node, port: u16) -> Told {
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<JoinHandle<BTreeSet<String>>> = (0..CLIENTS)
        .map(|number| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || client(port, number, &stop))
        })
        .collect();
    std::thread::sleep(PART);
    broker.kill();
    std::thread::sleep(PART);
    broker.start_again();
    std::thread::sleep(PART);
    stop.store(true, Ordering::Relaxed);
    let acknowledged = clients.into_iter().flat_map(|client| client.join().expect("no client panics")).collect();
    Told {
        acknowledged,
        stored: stored(node),
        captured: captured(&broker.plaintext(), TOPIC),
        listed: listed(&folder.join("losses.jsonl")),
    }
}

/// The ids that the search engine has.
fn stored(node: &Node) -> BTreeSet<String> {
    let ask = |path: &str| -> Value {
        let url = format!("http://127.0.0.1:{}{path}", node.port);
        let output = Command::new("curl").args(["--silent", "--fail", "--max-time", "60", &url]).output();
        let output = output.expect("curl is installed");
        assert!(output.status.success(), "{path}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    ask("/docs/_refresh");
    let mut ids = BTreeSet::new();
    // Each client's documents apart: an answer has ten thousand at most.
    for number in 0..CLIENTS {
        let found = ask(&format!("/docs/_search?size=10000&_source=false&q=id.keyword:{number}-*"));
        let hits = found["hits"]["hits"].as_array().expect("hits");
        assert!(hits.len() < 10_000, "more than an answer holds");
        ids.extend(hits.iter().map(|hit| hit["_id"].as_str().expect("an id").to_owned()));
    }
    ids
}

/// The ids of the whole requests in the topic, as our reader finds them.
fn captured(brokers: &str, topic: &str) -> BTreeSet<String> {
    let said = verb(&["capture", "cat", "--kafka", brokers, "--topic", topic, "--json"], &[]).expect(0);
    let mut ids = BTreeSet::new();
    for exchange in said.json() {
        let request = STANDARD.decode(exchange["request"].as_str().expect("base64")).expect("base64");
        let request = String::from_utf8_lossy(&request).into_owned();
        if exchange["complete"] == true
            && let Some(id) = request.strip_prefix("PUT /docs/_create/").and_then(|rest| rest.split(' ').next())
        {
            let (_, body) = request.split_once("\r\n\r\n").expect("a head has an end");
            assert!(body.starts_with(&format!("{{\"id\":\"{id}\",")) && body.ends_with("x\"}"), "it is whole: {body}");
            assert!(ids.insert(id.to_owned()), "request {id} is in the topic twice");
        }
    }
    ids
}

fn listed(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).expect("the list of losses");
    let losses = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a loss is JSON"));
    let forwarded = losses.filter(|loss| loss["forwarded"] == true);
    forwarded
        .map(|loss| loss["target"].as_str().expect("a target").trim_start_matches("/docs/_create/").to_owned())
        .collect()
}

fn some<'a>(set: impl Iterator<Item = &'a String>) -> Vec<&'a String> {
    set.take(5).collect()
}

/// Proves, with a broker that is killed in the middle and comes back, that with `refuse` each write that the search engine
/// has is in the topic, whole and once, and that with `forward` each is in the topic or in the list of losses; that writes go
/// on in both cases once the broker is back, and that the verbs for looking at topics say so.
#[test]
fn no_write_is_stored_without_being_captured_or_listed() {
    for how in ["refuse", "forward"] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut broker = broker(folder.path(), &["auto.create.topics.enable=false"]);
        let node = search::node(folder.path(), "node", &[]);
        let port = free_port();
        let mut proxy = proxy(folder.path(), port, &node, &broker.plaintext(), how);
        let began = clock::now();
        let Told { acknowledged, stored, captured, listed } = told(folder.path(), &mut broker, &node, port);
        println!(
            "{how}: {} acknowledged, {} stored, {} captured, {} listed, in {:?}",
            acknowledged.len(),
            stored.len(),
            captured.len(),
            listed.len(),
            began.elapsed()
        );
        let (missing, unknown): (Vec<_>, Vec<_>) = (
            some(acknowledged.difference(&stored)),
            some(stored.iter().filter(|id| !captured.contains(*id) && !listed.contains(*id))),
        );
        assert!(missing.is_empty(), "acknowledged and not stored: {missing:?}");
        assert!(unknown.is_empty(), "stored, and neither captured nor listed: {unknown:?}");
        match how {
            "refuse" => assert!(listed.is_empty(), "nothing is forwarded: {listed:?}"),
            _ => assert!(!listed.is_empty(), "the broker was away for seconds"),
        }
        let last = |ids: &BTreeSet<String>| -> u32 {
            ids.iter().filter_map(|id| id.strip_prefix("0-")?.parse().ok()).max().unwrap_or(0)
        };
        let (listed_last, captured_last) = (last(&listed), last(&captured));
        assert!(captured_last > listed_last, "capture went on: {captured_last} after {listed_last}");

        let url = format!("http://127.0.0.1:{port}");
        let kafka = broker.plaintext();
        let verify = |url: &str, wait: &str| -> Said {
            verb(
                &["capture", "verify", "--url", url, "--kafka", &kafka, "--topic", TOPIC, "--wait", wait, "--json"],
                &[],
            )
        };
        assert_eq!(verify(&url, "30").expect(0).json()[0]["found"], 3);
        let past = format!("http://127.0.0.1:{}", node.port);
        assert_eq!(verify(&past, "1").expect(1).json()[0]["found"], 0, "what goes past the proxy is not captured");
        let described = verb(&["kafka", "describe-topic-records", "--kafka", &kafka, "--topic", TOPIC, "--json"], &[]);
        let described = described.expect(0).json().remove(0);
        assert!(described["requests"].as_u64() >= Some(captured.len() as u64), "{described}");
        assert_eq!(described["partitions"].as_array().map(Vec::len), Some(3), "{described}");

        proxy.signal("TERM");
        assert!(proxy.wait(START_MAX).success(), "{}", proxy.log());
        assert_quiet(&proxy, &["the capture log fails", "rdkafka", "librdkafka", "capture"]);
    }
}

/// Proves, for half a minute of real clients, a real search engine and a broker that is slow, cut off, silent, stopped and
/// killed: every request and response is in the topic, in order, byte for byte, as a reader without our code finds it, but
/// writes that are listed and reads that were asked while capture was known to fail.
#[test]
fn chaos_loses_nothing_without_a_reason() {
    chaos::run(Duration::from_secs(30));
}
