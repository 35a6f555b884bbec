//! What cannot work is refused at once, and says what is wrong, where, and what to do.

use std::{fs, net::TcpListener, process::Command, time::Duration};

use tidegate_tests::servers::{Process, built_binary};

use crate::daemon::{SERVICE, Said, World, verb};

/// How long a proxy may take to listen or to end; builds may run beside the tests.
const START_MAX: Duration = Duration::from_secs(20);

/// Fails unless a refusal ended with `code`, said nothing on stdout, and has every word.
fn check(what: &str, said: &Said, code: i32, words: &[&str]) {
    assert_eq!(said.code, Some(code), "{what}: {said:?}");
    assert!(said.out.is_empty(), "{what}: words go to stderr: {said:?}");
    assert!(!said.err.contains("panicked"), "{what}: {said:?}");
    for word in words {
        assert!(said.err.contains(word), "{what}: no `{word}` in {said:?}");
    }
}

/// Proves that a daemon whose settings make no sense says everything that is wrong with them, with its place, and ends
/// with 2; and that one which cannot have what they ask for ends with 1.
#[test]
fn a_daemon_that_cannot_start_says_why() {
    let world = World::new(&[], "");
    let own = world.policy("").replace(&format!("\"unix:{}\"", world.proxy.control.display()), "");
    world.write_policy(&own);
    let config = world.path("tidegate.toml").display().to_string();
    let run = |more: &str| {
        world.configure(more);
        verb(&["run", "--config", &config], &[])
    };
    let proxy = |keys: &str| format!("\n[proxy]\nservice = \"{SERVICE}\"\n{keys}\n");

    check("malformed", &run("= 1"), 2, &["tidegate.toml:", "hint:"]);
    let all = run("sockt = \"/x\"\nlisten = \"127.0.0.1:0\"\n\n[proxy]\nlisten = 5");
    check("several", &all, 2, &["unknown key `sockt`", "known are socket", "`listen` without `token`", "`service`"]);
    let missing = verb(&["run", "--config", "/nowhere/tidegate.toml"], &[]);
    check("no file", &missing, 2, &["/nowhere/tidegate.toml", "No such file", "--config"]);
    check("a flag", &verb(&["run", "--sttae", "/x"], &[]), 2, &["--sttae", "--state"]);
    let secret = run("listen = \"127.0.0.1:0\"\ntoken = \"file:/nowhere/token\"");
    check("no token", &secret, 1, &["control API over TCP", "file:/nowhere/token", "No such file"]);

    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound socket").to_string();
    let said = run(&proxy(&format!("listen = \"{address}\"\nplaintext = true")));
    check("a port in use", &said, 1, &[&address, "in use", "another process listens there"]);
    let said = run(&format!("listen = \"{address}\"\ntoken = \"env:PATH\""));
    check("the API's port in use", &said, 1, &[&address, "in use", "choose another address"]);
    let said = run(&proxy("listen = \"127.0.0.1:0\"\ntls_cert = \"/nowhere/c.pem\"\ntls_key = \"/nowhere/k.pem\""));
    check("no certificate", &said, 1, &["/nowhere/c.pem", "No such file"]);
    let said = run(&proxy("listen = \"127.0.0.1:0\"\ntls_cert = \"/nowhere/c.pem\""));
    check("no key named", &said, 2, &["`tls_key`", "name both or none"]);
    let said = run("\n[proxy]\nservice = \"nothing\"\nlisten = \"127.0.0.1:0\"\nplaintext = true");
    check("no such service", &said, 1, &["`nothing`", "no policy for it in"]);
    world.write_policy("service = \"shop\"\nsorce = 1\n");
    let said = run(&proxy("listen = \"127.0.0.1:0\"\nplaintext = true"));
    check("a broken policy of the own proxy", &said, 1, &["shop.toml:2:1", "`sorce`", "`source`"]);
    world.configure("");
    fs::write(world.path("file"), "").expect("a new file");
    let below = world.path("file/state").display().to_string();
    let said = verb(&["run", "--config", &config, "--state", &below], &[]);
    check("a state directory below a file", &said, 1, &["cannot open the journal", &below]);
}

/// Proves that a socket which another daemon serves is not taken from it.
#[test]
fn a_socket_in_use_is_not_taken() {
    let mut world = World::new(&[], "");
    let daemon = world.daemon(&[]);
    let state = world.path("other").display().to_string();
    let config = world.path("tidegate.toml").display().to_string();
    let said = verb(&["run", "--config", &config, "--state", &state], &[]);
    let socket = daemon.socket().display().to_string();
    check("a socket in use", &said, 1, &[&socket, "another process answers there", "--control"]);
    assert!(daemon.summary().is_some(), "the first goes on");
    daemon.finish(&[]);
}

/// Proves that a broken policy keeps one service from starting, not the daemon: the log, `status` and `start` name the
/// problem with its place.
#[test]
fn a_broken_policy_stops_its_service_alone() {
    let mut world = World::new(&[], "");
    let broken = world.policy("").replace(SERVICE, "broken").replace("bake_min = \"3s\"", "bake_min = \"3 parsecs\"");
    fs::write(world.path("policies/broken.toml"), broken).expect("a new file");
    let daemon = world.daemon(&[]);
    let log = daemon.process.log();
    assert!(log.contains("broken.toml:") && log.contains("parsecs"), "the log names file, line and value: {log}");
    let said = daemon.say(&["start", "broken", "--yes"]).expect(1);
    assert!(said.err.contains("broken.toml:") && said.err.contains("parsecs"), "{said:?}");
    let said = daemon.say(&["status"]).expect(0);
    assert!(said.out.contains("problems"), "{said:?}");
    daemon.say(&["start", SERVICE, "--yes"]).expect(0);
    daemon.wait_for("baseline", 0);
    daemon.finish(&["a policy cannot be used"]);
}

/// Proves that a proxy which cannot start says why, and ends with 2 for what makes no sense and 1 for what cannot be had.
#[test]
fn a_proxy_that_cannot_start_says_why() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = |arguments: &[&str]| {
        let mut all = vec!["proxy", "--source", "http://127.0.0.1:9", "--no-capture"];
        all.extend(arguments);
        verb(&all, &[])
    };
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound socket").to_string();
    let said = run(&["--listen", &address, "--plaintext"]);
    check("a port in use", &said, 1, &[&address, "in use", "another process listens there"]);
    let missing = ["--listen", "127.0.0.1:0", "--tls-cert", "/nowhere/c.pem", "--tls-key", "/nowhere/k.pem"];
    check("no certificate", &run(&missing), 1, &["/nowhere/c.pem", "No such file"]);
    let garbage = folder.path().join("garbage.pem").display().to_string();
    fs::write(&garbage, "nothing\n").expect("a new file");
    let said = run(&["--listen", "127.0.0.1:0", "--tls-cert", &garbage, "--tls-key", &garbage]);
    check("no PEM", &said, 1, &[&garbage]);
    check("half a certificate", &run(&["--listen", "127.0.0.1:0", "--tls-cert", "/c"]), 2, &["--tls-key"]);
    let said = run(&["--listen", "127.0.0.1:0", "--plaintext", "--weight", "10"]);
    check("a weight for nobody", &said, 1, &["weight 10", "target"]);
    let said = run(&["--listen", "127.0.0.1:0", "--plaintext", "--weight", "1001"]);
    check("too much weight", &said, 2, &["1001", "0..=1000"]);
    check("no address", &run(&["--listen", "nowhere", "--plaintext"]), 1, &["`nowhere`", "HOST:PORT"]);
    let said = run(&["--listen", "127.0.0.1:0", "--plaintext", "--control", "127.0.0.1:0"]);
    check("TCP control without a token", &said, 1, &["TIDEGATE_TOKEN"]);
}

/// Proves that a proxy whose flags on capture make no sense, or would record nothing, ends with 2 and says what to say; that
/// the same keys of a daemon's section are told by their place; and that the Java proxy's own buffer size is taken.
#[test]
fn a_capture_that_makes_no_sense_says_why() {
    let start = ["proxy", "--listen", "127.0.0.1:0", "--plaintext", "--source", "http://127.0.0.1:9"];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = folder.path().join("log").display().to_string();
    let (file, kafka) =
        (["--capture", "file", "--capture-dir", &dir], ["--capture", "kafka", "--kafka", "127.0.0.1:9"]);
    for (given, more, words) in [
        (&[][..], &["--capture", "file"][..], &["--capture-dir"][..]),
        (&[], &["--capture-dir", &dir], &["--capture-dir", "say --capture file"]),
        (&[], &["--topic", "t"], &["--topic", "say --capture kafka"]),
        (&[], &["--loss-log", "f"], &["--loss-log", "say --capture file or --capture kafka"]),
        (&["--no-capture"], &["--on-capture-failure", "refuse"], &["--on-capture-failure", "nothing is captured"]),
        (&file, &["--topic", "t"], &["--topic", "capture goes to files"]),
        (&file, &["--target-capture-dir", &dir, "--target", "http://127.0.0.1:9"], &["the same folder", &dir]),
        (&file, &["--target-capture-dir", "other"], &["--target-capture-dir", "name --target"]),
        (&file, &["--capture-record-max", "5"], &["--capture-record-max 5", "200 to 1048076"]),
        (&file, &["--suppress-path", "("], &["--suppress-path", "`(`"]),
        (&file, &["--redact-header", "bad name"], &["--redact-header", "'bad name'", "write the name alone"]),
        (&kafka, &["--topic", "t", "--target-topic", "t", "--target", "http://127.0.0.1:9"], &["same topic `t`"]),
        (&kafka, &["--target-topic", "t"], &["--target-topic", "name --target"]),
        (&["--capture", "kafka"], &[], &["name them with --kafka"]),
    ] {
        let said = verb(&[&start[..], given, more].concat(), &[]);
        check(&format!("{given:?} {more:?}"), &said, 2, words);
    }
    assert!(!folder.path().join("log").exists(), "what is refused leaves nothing behind");

    let world = World::new(&[], "");
    let config = world.path("tidegate.toml").display().to_string();
    world.configure(&format!("\n[proxy]\nservice = \"{SERVICE}\"\nlisten = \"127.0.0.1:0\"\nloss_log = \"/l\"\n"));
    check("a daemon's", &verb(&["run", "--config", &config], &[]), 2, &["tidegate.toml:", "--loss-log is given"]);

    let json = format!(
        "{{\"destinationUri\": \"http://127.0.0.1:9\", \"listenPort\": 0, \"maxTrafficBufferSize\": 1048576, \
         \"traceDirectory\": \"{dir}\"}}"
    );
    let flags = ["--destinationUri", "http://127.0.0.1:9", "--listenPort", "0", "--maxTrafficBufferSize", "1048576"];
    let flags = [&flags[..], &["--setHeader", "X-One: 1", "--traceDirectory", &dir]].concat();
    for (name, words) in [("java-flags", &flags[..]), ("java-json", &["---INLINE-JSON", &json])] {
        let mut command = Command::new(built_binary());
        command.arg("proxy").args(words).current_dir(folder.path());
        let mut proxy = Process::start(name, folder.path(), command);
        proxy.wait_for_line("listening on http://0.0.0.0:", START_MAX);
        proxy.signal("TERM");
        assert!(proxy.wait(START_MAX).success(), "{}", proxy.log());
    }
}
