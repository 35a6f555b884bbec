//! `tidegate capture verify` on a fleet behind a name in DNS, with a real broker: the four things that it tells apart, each of them
//! well and ill by itself.

use std::{
    net::Ipv4Addr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;
use tidegate_tests::servers::{Process, built_binary, free_port, kafka::broker, nginx, resolver::Resolver};

use crate::{daemon::verb, support::assert_quiet};

const NAME: &str = "capture-pods.ma.svc.cluster.local";
const TOKEN: &str = "the token of the pods";
const TOPIC: &str = "verified";
const START_MAX: Duration = Duration::from_secs(20);

fn address(pod: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 4, pod)
}

/// A capture proxy on an address of its own, with its control API on `port` and its probes on the next.
fn pod(folder: &std::path::Path, number: u8, source: u16, brokers: &str, port: u16) -> (Process, String) {
    let at = address(number);
    let mut command = Command::new(built_binary());
    command
        .args(["proxy", "--listen", "127.0.0.1:0", "--plaintext", "--source", &format!("http://127.0.0.1:{source}")])
        .args(["--capture", "kafka", "--kafka", brokers, "--topic", TOPIC, "--create-topic", "1"])
        .args(["--control", &format!("{at}:{port}"), "--probes", &format!("{at}:{}", port + 1)])
        .args(["--loss-log", &folder.join(format!("losses-{number}.jsonl")).display().to_string()])
        .env("TIDEGATE_TOKEN", TOKEN)
        .current_dir(folder);
    let mut process = Process::start(&format!("pod-{number}"), folder, command);
    let line = process.wait_for_line("listening on http://127.0.0.1:", START_MAX);
    let client = line.split("listening on ").nth(1).and_then(|rest| rest.split(',').next()).expect("it says where");
    let client = client.trim().to_owned();
    (process, client)
}

/// Somebody who asks until they are stopped.
struct Asking {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Asking {
    fn start(url: &str, agent: &'static str) -> Self {
        let (stop, url) = (Arc::new(AtomicBool::new(false)), format!("{url}/1k"));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let asked = Command::new("curl").args(["-s", "-o", "/dev/null", "-A", agent, &url]).status();
                assert!(asked.expect("curl is installed").success());
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Self { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("each was answered");
    }
}

/// Whether each part is well (`null` was not asked), in the order in which they are told, and what is said of it.
fn parts(said: &Value) -> Vec<(Value, String)> {
    let parts = said["parts"].as_array().expect("a list of parts");
    parts.iter().map(|part| (part["ok"].clone(), part["evidence"].to_string())).collect()
}

/// Proves that pods, service, the application's own requests and the components are told apart: with one of them ill the others
/// are well, and that nobody knows which pods there are is not taken for all of them being ready.
#[test]
fn four_things_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = broker(folder.path(), &["auto.create.topics.enable=false"]);
    let source = nginx::upstreams(folder.path(), &["source"]);
    let (resolver, port, brokers) = (Resolver::start(NAME), free_port(), broker.plaintext());
    let (mut first, url) = pod(folder.path(), 1, source.ports[0], &brokers, port);
    let (second, _) = pod(folder.path(), 2, source.ports[0], &brokers, port);
    resolver.stand_for(&[address(1), address(2)]);
    let name = format!("dns://{}/{NAME}", resolver.address());
    let (pods, control) = (format!("{name}:{}", port + 1), format!("{name}:{port}"));
    let verify = |url: &str, wait: &str, code: i32| {
        let asked =
            ["capture", "verify", "--url", url, "--kafka", &brokers, "--topic", TOPIC, "--wait", wait, "--json"];
        let four = ["--path", "/1k", "--expect-traffic", "--pods", &pods, "--proxy", &control];
        let said = verb(&[&asked[..], &four].concat(), &[("TIDEGATE_TOKEN", TOKEN)]);
        parts(&said.expect(code).json()[0])
    };
    let well = |parts: &[(Value, String)]| parts.iter().map(|(ok, _)| ok.as_bool().expect("asked")).collect::<Vec<_>>();

    // In order: pods, service, marked requests captured, the application's own, components.
    let checks = Asking::start(&url, "ELB-HealthChecker/2.0");
    let silent = verify(&url, "2", 1);
    assert_eq!(well(&silent), [true, true, true, false, true], "clients go past the proxy: {silent:?}");
    assert!(silent[3].1.contains("health checks: clients may be silent"), "{silent:?}");
    checks.stop();
    let application = Asking::start(&url, "application");
    let whole = verify(&url, "30", 0);
    assert_eq!(well(&whole), [true; 5], "{whole:?}");
    assert!(whole[0].1.contains("2 of 2") && whole[4].1.contains("2 proxies"), "{whole:?}");

    let past = verify(&format!("http://127.0.0.1:{}", source.ports[0]), "2", 1);
    assert_eq!(well(&past), [true, true, false, true, true], "the service is another one: {past:?}");
    assert!(past[2].1.contains("the URL leads past the capture proxies"), "{past:?}");
    let nobody = verify(&format!("http://127.0.0.1:{}", free_port()), "2", 1);
    assert_eq!((&nobody[1].0, &nobody[0].0), (&false.into(), &true.into()), "nobody is reached there: {nobody:?}");

    second.signal("KILL");
    let dead = verify(&url, "30", 1);
    assert_eq!(well(&dead), [false, true, true, true, false], "{dead:?}");
    assert!(dead[0].1.contains("1 of 2; 127.0.4.2"), "{dead:?}");
    resolver.stand_for(&[]);
    let unknown = verify(&url, "30", 1);
    assert_eq!(well(&unknown), [false, true, true, true, false], "{unknown:?}");
    assert!(unknown[0].1.contains("nobody knows which there are"), "{unknown:?}");

    application.stop();
    first.signal("TERM");
    assert!(first.wait(START_MAX).success(), "{}", first.log());
    assert_quiet(&first, &[]);
}
