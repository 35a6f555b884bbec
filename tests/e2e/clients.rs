//! Clients that no one here wrote, while the weight moves from nothing to everything and back: no failure visible to any.

use std::{fs, process::Command, time::Duration};

use serde_json::Value;
use tidegate_tests::servers::{Process, nginx, search};

use crate::{
    load::{Plan, Until, assert_no_failure, by_side},
    support::Proxy,
};

/// There and back again.
const WEIGHTS: [u16; 9] = [10, 50, 250, 500, 950, 1000, 500, 50, 0];

/// Documents that both sides have.
const DOCUMENTS: usize = 50;

/// Proves that wrk and a keep-alive pool of readers and writers see no failure while the weight moves.
#[test]
fn wrk_and_a_keep_alive_pool_see_no_failure_while_the_weight_moves() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let upstreams = nginx::upstreams(folder.path(), &["source", "target"]);
    let mut proxy = Proxy::start(folder.path(), upstreams.ports[0], upstreams.ports[1], 0, &[]);
    let mut command = Command::new("wrk");
    command.args([
        "--threads",
        "1",
        "--connections",
        "16",
        "--duration",
        "60s",
        &format!("http://127.0.0.1:{}/1k", proxy.port),
    ]);
    let mut wrk = Process::start("wrk", folder.path(), command);
    let mut writes = Plan::reads(proxy.port, 4, Until::Stopped);
    (writes.request, writes.body_bytes, writes.pause) = (("POST", "/documents/_doc"), 20_000, Duration::from_millis(1));
    let mut reads = Plan::reads(proxy.port, 8, Until::Stopped);
    reads.pause = Duration::from_millis(1);
    let (writes, reads) = (writes.start(), reads.start());
    for weight in WEIGHTS {
        proxy.set_weight(weight);
        std::thread::sleep(Duration::from_millis(700));
    }
    let (writes, reads) = (writes.stop(), reads.stop());
    // wrk ends its test and prints its findings at SIGINT.
    wrk.signal("INT");
    let status = wrk.wait(Duration::from_secs(10));
    for answers in [&writes, &reads] {
        assert_no_failure(answers);
        assert!(by_side(answers, "target") > 0 && by_side(answers, "source") > 0, "both sides were used");
    }
    let report = wrk.log();
    assert!(status.success() && report.contains("Requests/sec"), "wrk ended with {status}:\n{report}");
    assert!(!report.contains("Non-2xx") && !report.contains("Socket errors"), "wrk saw failures:\n{report}");
    proxy.finish(&[]);
}

/// A request to a node by curl; the answer must be JSON.
fn ask(port: u16, method: &str, path: &str, body: Option<&str>) -> Value {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "60", "--request", method]);
    if let Some(body) = body {
        curl.args(["--header", "Content-Type: application/x-ndjson", "--data-binary", body]);
    }
    let answer =
        curl.arg(format!("http://127.0.0.1:{port}{path}")).output().expect("curl is installed: run tests/run once");
    let text = String::from_utf8_lossy(&answer.stdout);
    assert!(answer.status.success(), "{method} {path}: {text} {}", String::from_utf8_lossy(&answer.stderr));
    serde_json::from_str(&text).unwrap_or_else(|why| panic!("{method} {path} answered `{text}`: {why}"))
}

fn documents(port: u16, index: &str) -> u64 {
    ask(port, "POST", &format!("/{index}/_refresh"), None);
    ask(port, "GET", &format!("/{index}/_count"), None)["count"].as_u64().expect("a count")
}

/// Proves that the official Python client in front of two real OpenSearch nodes sees no failure while the weight moves, that
/// each search finds everything, and that each acknowledged document is on exactly one side.
#[test]
fn the_python_client_sees_no_failure_in_front_of_real_nodes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let nodes = ["source", "target"].map(|name| search::node(folder.path(), name, &[]));
    for node in &nodes {
        let bulk: Vec<String> = (0..DOCUMENTS)
            .map(|id| format!("{{\"index\":{{\"_id\":\"{id}\"}}}}\n{{\"text\":\"tide {id}\"}}\n"))
            .collect();
        let answer = ask(node.port, "POST", "/catalog/_bulk?refresh=true", Some(&bulk.concat()));
        assert_eq!(answer["errors"], false, "{answer}");
        ask(node.port, "PUT", "/documents", None);
    }
    let mut proxy = Proxy::start(folder.path(), nodes[0].port, nodes[1].port, 0, &[]);
    let stop = folder.path().join("stop");
    let mut command = search::python_client();
    command.args([&proxy.port.to_string(), "documents", "catalog", &DOCUMENTS.to_string()]).arg(&stop);
    let mut client = Process::start("client", folder.path(), command);
    for weight in WEIGHTS {
        proxy.set_weight(weight);
        std::thread::sleep(Duration::from_secs(2));
    }
    fs::write(&stop, "").expect("a new file");
    let status = client.wait(Duration::from_mins(1));
    assert!(status.success(), "the client ended with {status}:\n{}", client.log());
    let found: Value =
        serde_json::from_str(client.log().trim()).unwrap_or_else(|why| panic!("{why}:\n{}", client.log()));
    println!("the client's own account: {found}");
    assert_eq!(found["failures"], Value::Array(Vec::new()), "failures visible to the client");
    assert!(
        found["searches"].as_u64() > Some(100) && found["documents"].as_u64() > Some(500),
        "it had work to do: {found}"
    );
    let kept = nodes.each_ref().map(|node| documents(node.port, "documents"));
    assert_eq!(Some(kept.iter().sum()), found["documents"].as_u64(), "each document is on one side: {kept:?}");
    assert!(kept.iter().all(|&count| count > 0), "both sides took writes: {kept:?}");
    proxy.finish(&[]);
}
