//! `tidegate clusters` against two real OpenSearch nodes, one of them behind nginx with TLS, a certificate of the client's,
//! and a password.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use serde_json::Value;
use tidegate_tests::servers::{free_port, nginx, search};

use crate::daemon::{Said, verb};

/// The password that the guarded way asks for.
const PASSWORD: (&str, &str) = ("SEARCH_LOGIN", "operator:tide-and-gate");

/// One call of a node, by curl.
fn ask(port: u16, method: &str, path: &str, body: &str) {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "60", "--request", method]);
    if !body.is_empty() {
        curl.args(["--header", "Content-Type: application/x-ndjson", "--data-binary", body]);
    }
    let answer = curl.arg(format!("http://127.0.0.1:{port}{path}")).output().expect("curl is installed");
    assert!(answer.status.success(), "{method} {path}: {}", String::from_utf8_lossy(&answer.stdout));
}

/// Puts `documents` with ids from 0 into an index, visible at once.
fn fill(port: u16, index: &str, documents: u32) {
    let bulk = (0..documents).fold(String::new(), |mut text, id| {
        writeln!(text, "{{\"index\":{{\"_id\":\"{id}\"}}}}\n{{\"n\":{id}}}").expect("a String takes everything");
        text
    });
    ask(port, "POST", &format!("/{index}/_bulk?refresh=true"), &bulk);
}

/// Certificates of one authority in `folder`: for 127.0.0.1 and for a client.
fn certificates(folder: &Path) {
    let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("a new file");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
    write("ca.pem", authority.pem());
    for (name, usage) in
        [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)]
    {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address is a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        write(&format!("{name}.pem"), params.signed_by(&key, &authority).expect("a signature").pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

/// nginx in front of a node, which lets in only who shows a certificate of the authority and knows the password.
fn guarded(folder: &Path, node: u16) -> nginx::Nginx {
    let port = free_port();
    let (user, password) = PASSWORD.1.split_once(':').expect("a name and a password");
    fs::write(folder.join("users"), format!("{user}:{{PLAIN}}{password}\n")).expect("a new file");
    let folder_text = folder.display();
    let configuration = format!(
        "daemon off; pid guard.pid; error_log stderr warn; events {{}}
http {{
  access_log off;
  client_body_temp_path guard-body; proxy_temp_path guard-proxy;
  fastcgi_temp_path guard-f; uwsgi_temp_path guard-u; scgi_temp_path guard-s;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder_text}/server.pem;
    ssl_certificate_key {folder_text}/server.key;
    ssl_client_certificate {folder_text}/ca.pem;
    ssl_verify_client on;
    auth_basic guarded;
    auth_basic_user_file {folder_text}/users;
    location / {{ proxy_pass http://127.0.0.1:{node}; proxy_set_header Authorization \"\"; }}
  }}
}}
"
    );
    nginx::run(folder, "guard", &configuration, vec![port])
}

/// What `compare --json` found of each index: its verdict and both counts.
fn verdicts(said: &Said) -> Vec<String> {
    let found = &said.json()[0];
    let rows = found["indices"].as_array().unwrap_or_else(|| panic!("no rows in {found}"));
    let told = |row: &Value| {
        format!("{} {} {} {}", row["index"], row["verdict"], row["source"], row["target"]).replace('"', "")
    };
    rows.iter().map(told).collect()
}

/// Proves on real nodes, one of them behind TLS, a client's certificate and a password: the tables of the seed page, who
/// answers, and a comparison that names what differs, what one side has alone, what is called otherwise and what is closed,
/// with an exit code for each outcome.
#[test]
fn clusters_are_shown_checked_and_compared() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let [source, target] = ["source", "target"].map(|name| search::node(folder.path(), name, &[]));
    certificates(folder.path());
    let guard = guarded(folder.path(), target.port);

    for (index, of_source, of_target) in [("same", 8, 8), ("near", 200, 199), ("odd%2Bname", 3, 3)] {
        fill(source.port, index, of_source);
        fill(target.port, index, of_target);
    }
    fill(source.port, "logs-1", 5);
    fill(target.port, "archive-1", 5);
    fill(target.port, "extra", 2);
    fill(target.port, ".hidden", 2);

    let source_url = format!("http://127.0.0.1:{}", source.port);
    let target_url = format!("https://127.0.0.1:{}", guard.ports[0]);
    let (ca, cert, key) = (at("ca.pem"), at("client.pem"), at("client.key"));
    let plain = ["--source", &source_url, "--target", &target_url, "--target-ca", &ca];
    let identity = ["--target-cert", &cert, "--target-key", &key, "--target-basic", "env:SEARCH_LOGIN"];
    let clusters = |what: &str, more: &[&str]| {
        verb(&[&["clusters", what][..], &plain[..], &identity[..], more].concat(), &[PASSWORD])
    };

    let table = clusters("cat-indices", &["--refresh"]).expect(0);
    let titles: Vec<&str> = table.out.lines().filter(|line| line.ends_with("CLUSTER")).collect();
    assert_eq!(titles, ["SOURCE CLUSTER", "TARGET CLUSTER"]);
    let columns = "health status index uuid pri rep docs.count docs.deleted store.size pri.store.size";
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(table.out.lines().filter(|line| words(line) == columns).count(), 2, "{}", table.out);
    assert!(table.err.is_empty(), "{}", table.err);
    let stale = clusters("cat-indices", &["--json"]).expect(0);
    assert!(stale.err.contains("--refresh"), "{}", stale.err);
    let rows = stale.json()[0]["source_cluster"].as_array().cloned().expect("rows");
    assert!(rows.iter().any(|row| row["index"] == "near" && row["docs.count"] == "200"), "{rows:?}");

    let answers = clusters("connection-check", &["--json"]).expect(0).json()[0].clone();
    for side in ["source_cluster", "target_cluster"] {
        assert_eq!(
            (&answers[side]["ok"], &answers[side]["distribution"]),
            (&true.into(), &"opensearch".into()),
            "{answers}"
        );
    }
    let odd =
        verb(&["clusters", "compare", "--source", "http://operator:guess@h", "--target", "ftp://h"], &[]).expect(2);
    assert!(odd.err.contains("a password does not belong into a URL") && !odd.err.contains("guess"), "{odd:?}");
    let anonymous = verb(&[&["clusters", "connection-check"][..], &plain[..]].concat(), &[]).expect(1);
    assert!(anonymous.out.contains("NO: ") && anonymous.out.contains("400"), "no certificate: {}", anonymous.out);
    let wrong = [("SEARCH_LOGIN", "operator:guess")];
    let refused = verb(&[&["clusters", "cat-indices"][..], &plain[..], &identity[..]].concat(), &wrong).expect(1);
    assert!(refused.out.contains("401") && !refused.out.contains("guess"), "{}", refused.out);

    let renamed = ["--rename", "logs-*=archive-*", "--json"];
    let differs = clusters("compare", &renamed).expect(1);
    assert_eq!(
        verdicts(&differs),
        ["extra extra null 2", "logs-1 same 5 5", "near differs 200 199", "odd+name same 3 3", "same same 8 8"]
    );
    assert_eq!(differs.json()[0]["target_system"], serde_json::json!([".hidden"]));
    let near = clusters("compare", &[&renamed[..], &["--tolerance", "0.5%"]].concat()).expect(0);
    assert_eq!(verdicts(&near)[2], "near within 200 199");
    clusters("compare", &[&renamed[..], &["--tolerance", "0.49%"]].concat()).expect(1);
    let missing = clusters("compare", &["--tolerance", "1", "--later"]).expect(75);
    assert!(missing.out.contains("MISSING on the target") && missing.out.contains("1 of 4"), "{}", missing.out);
    let nothing = clusters("compare", &["--index", "none-*"]).expect(1);
    assert!(nothing.out.contains("nothing to compare"), "{}", nothing.out);

    ask(target.port, "POST", "/same/_close", "");
    let closed = clusters("compare", &["--index", "same", "--json"]).expect(1);
    assert_eq!(verdicts(&closed), ["same unknown 8 null"]);
    drop(target);
    let gone = clusters("compare", &["--json", "--later"]).expect(75);
    assert!(gone.json()[0]["error"].as_str().is_some_and(|why| why.contains("502")), "{gone:?}");
}
