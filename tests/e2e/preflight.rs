//! `tidegate preflight` among a real OpenSearch node, a TLS listener in front of it that no one here wrote, and clients of
//! which some go past the proxy.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;
use tidegate_tests::servers::{built_binary, free_port, nginx, search};

use crate::{
    load::{Plan, Pool, Until},
    support::Proxy,
};

/// What clients ask for.
const NAME: &str = "search.example.com";

/// An authority in `FOLDER/NAME.pem`, and certificates by it for `NAME.crt`, each with its `.key`.
fn certificates(folder: &Path, authority: &str, names: &[(&str, &str)]) {
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("a sound request");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Authorities are told apart by their names.
    params.distinguished_name.push(DnType::CommonName, authority);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    fs::write(folder.join(format!("{authority}.pem")), issuer.pem()).expect("a new file");
    for (file, name) in names {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![(*name).to_owned()]).expect("a sound request");
        let signed = params.signed_by(&key, &issuer).expect("a signature");
        fs::write(folder.join(format!("{file}.crt")), signed.pem()).expect("a new file");
        fs::write(folder.join(format!("{file}.key")), key.serialize_pem()).expect("a new file");
    }
}

/// The test listener: TLS, a client's certificate, a password, and the node behind it.
fn test_listener(folder: &Path, node: u16) -> nginx::Nginx {
    let port = free_port();
    fs::write(folder.join("users"), "reader:{PLAIN}sesame\n").expect("a new file");
    let text = format!(
        "worker_processes 1;
daemon off;
pid listener.pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    server_name {NAME};
    ssl_certificate server.crt;
    ssl_certificate_key server.key;
    ssl_client_certificate clients.pem;
    ssl_verify_client on;
    auth_basic target;
    auth_basic_user_file users;
    location / {{ proxy_pass http://127.0.0.1:{node}; }}
  }}
}}
"
    );
    nginx::run(folder, "listener", &text, vec![port])
}

/// A policy whose clients are these.
fn policy(folder: &Path, source: u16, target: u16, clients: &str) -> std::path::PathBuf {
    let file = folder.join("search.toml");
    let text = format!(
        "service = \"search\"\n[balancer]\nproxies = [\"unix:{}\"]\n\
         [source]\nendpoints = [\"http://127.0.0.1:{source}\"]\n[target]\nendpoints = [\"http://127.0.0.1:{target}\"]\n\
         [clients]\n{clients}[shift]\nwrites = \"last\"\n",
        folder.join("proxy.sock").display(),
    );
    fs::write(&file, text).expect("a file of ours");
    file
}

fn preflight(file: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let output: Output = Command::new(built_binary())
        .args(["preflight", "--json"])
        .arg(file)
        .args(arguments)
        .env("CLIENT_AUTHORIZATION", "Basic cmVhZGVyOnNlc2FtZQ==")
        .env("WRONG_AUTHORIZATION", "Basic cmVhZGVyOndyb25n")
        .output()
        .expect("the program can be run");
    let list = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|why| panic!("{why}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), list)
}

/// The outcome and evidence of a check; empty where it is not in the list.
fn check<'a>(list: &'a Value, name: &str) -> (&'a str, &'a str) {
    let mut checks = list["checks"].as_array().expect("there is a list").iter();
    let Some(found) = checks.find(|check| check["name"] == name) else { return ("", "") };
    (found["outcome"].as_str().expect("a word"), found["evidence"].as_str().expect("a sentence"))
}

/// Searches on some connections, about 25 a second on each.
fn searches(port: u16, connections: usize) -> Pool {
    let mut plan = Plan::reads(port, connections, Until::Stopped);
    (plan.request, plan.pause) = (("GET", "/catalog/_search?q=tide"), Duration::from_millis(40));
    plan.start()
}

/// Proves over a real node, behind a listener that wants TLS, a client's certificate and a password: preflight gets in as
/// the policy's client and says who is there; without any one of these it fails with words and never leaves it out; the rate is
/// held against the policy's; and who asks the source past the proxy is counted from its own counters, and nobody when
/// nobody does.
#[test]
fn preflight_asks_a_real_node_as_a_client_and_finds_who_goes_past() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    certificates(folder, "clients", &[("server", NAME), ("client", "reader")]);
    certificates(folder, "strangers", &[("stranger", "reader")]);
    let node = search::node(folder, "node", &[]);
    let listener = test_listener(folder, node.port);
    let (url, direct) = (format!("https://127.0.0.1:{}", listener.ports[0]), format!("http://127.0.0.1:{}", node.port));
    let mut put = Command::new("curl");
    put.args(["--silent", "--fail", "--max-time", "30", "--request", "PUT"]).arg(format!("{direct}/catalog"));
    assert!(put.output().expect("curl is installed: run tests/run once").status.success());
    let proxy = Proxy::start(folder, node.port, listener.ports[0], 0, &[]);

    let path = |name: &str| folder.join(name).display().to_string();
    let [ca, strangers] = ["clients.pem", "strangers.pem"].map(path);
    let shown = |name: &str| format!("certificate = \"{0}.crt\"\nkey = \"{0}.key\"\n", path(name));
    let named = format!("server_name = \"{NAME}\"\n");
    let known = "authorization = \"env:CLIENT_AUTHORIZATION\"\n";
    let wrong = "authorization = \"env:WRONG_AUTHORIZATION\"\n";
    let trusting = |ca: &str| format!("ca = \"{ca}\"\n");
    let whole = [trusting(&ca), named.clone(), known.to_owned(), shown("client")];
    let with = |at: usize, other: &str| {
        let mut parts = whole.clone();
        parts[at] = other.to_owned();
        policy(folder, node.port, listener.ports[0], &parts.concat())
    };
    for (at, other, name, word) in [
        (0, &*trusting(&strangers), "smoke: TLS", "UnknownIssuer"),
        (1, "server_name = \"other.example.com\"\n", "smoke: TLS", NAME),
        (2, "", "smoke: answer", "401"),
        (2, wrong, "smoke: answer", "401"),
        (3, "", "smoke: answer", "400"),
        (3, &*shown("stranger"), "smoke: answer", "400"),
        (3, &*shown("nobody"), "smoke: identity", "nobody.key"),
    ] {
        let (code, list) = preflight(&with(at, other), &["--smoke", &url]);
        let (outcome, evidence) = check(&list, name);
        assert!(code == Some(1) && outcome == "fail" && evidence.contains(word), "{other}: {list}");
    }

    let rate = "expected_rps = 60\nrps_tolerance = \"50 %\"\n";
    let file = policy(folder, node.port, listener.ports[0], &(whole.concat() + rate));
    let (here, past) = (searches(proxy.port, 3), searches(node.port, 2));
    let (_, list) = preflight(&file, &["--smoke", &url, "--source-stats", &direct]);
    for name in ["smoke: TLS", "smoke: answer", "smoke: write blocks", "smoke: disks", "expected rate"] {
        assert_eq!(check(&list, name).0, "pass", "{name}: {list}");
    }
    assert!(check(&list, "smoke: TLS").1.contains(NAME), "{list}");
    assert!(check(&list, "smoke: answer").1.contains("cluster `test`, opensearch 2."), "{list}");
    assert!(["pass", "warn"].contains(&check(&list, "smoke: health").0), "one node has no replicas: {list}");
    let (outcome, evidence) = check(&list, "past the listener");
    assert!(outcome == "warn" && evidence.contains("bypass the listener; it answered search "), "{list}");
    let percent = evidence.split('(').nth(1).and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    assert!(percent.is_some_and(|percent| (30.0..50.0).contains(&percent)), "two of five clients go past: {list}");
    assert!(check(&list, "source's own counters").1.contains("one for each shard"), "{list}");
    assert!(past.stop().iter().all(|answer| !answer.failed()));

    let (code, list) = preflight(&file, &["--source-stats", &direct, "--expected-rps", "1000"]);
    assert_eq!(check(&list, "past the listener").0, "pass", "{list}");
    assert_eq!((code, check(&list, "expected rate").0), (Some(1), "fail"), "{list}");
    assert!(here.stop().iter().all(|answer| !answer.failed()));
    proxy.finish(&[]);
}
