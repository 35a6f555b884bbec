//! The end of a cutover at an ALB: the source must fall silent for as long as the policy says, or what still comes to it is
//! explained and accepted, by the policy or by a person.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lab::scenario::Scene;
use serde_json::Value;
use tidegate_tests::servers::Process;

use crate::cloud::{Setup, World};

/// How many times as fast as real time lab and daemon run.
const SPEED: u32 = 30;

/// How long a cutover may take to come to a phase, in real time.
const PHASE_MAX: Duration = Duration::from_mins(3);

/// How long each client of a service rests after an answer, and how many there are.
const REST: Duration = Duration::from_millis(80);
const CLIENTS: usize = 3;

/// How often the client comes that comes seldom, in lab time, and for how long the source must have been silent: long enough
/// that a client on a busy machine is not late for it.
const SELDOM: Duration = Duration::from_mins(5);
const QUIET_MINUTES: u64 = 15;

/// How many of its pauses a cutover must not take for silence, and how often it comes at most until then.
const PAUSES: u32 = 3;
const ROUNDS_MAX: u32 = 40;

fn ask(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /search HTTP/1.1\r\nHost: search.example\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

/// One client that asks until it is stopped.
fn client(address: SocketAddr, rest: Duration, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut failed = 0;
        while !stop.load(Ordering::Relaxed) {
            failed += u64::from(!ask(address).unwrap_or(false));
            std::thread::sleep(rest);
        }
        failed
    })
}

/// Where a deployment's weighted listener is, and the one beside it that leads to the source alone.
fn addresses(world: &World, scene: &Scene) -> [SocketAddr; 2] {
    world.lab().shared().read(|model| {
        let weighted = &model.listeners[&scene.listener_arn];
        let beside =
            model.listeners.values().find(|one| one.load_balancer == weighted.load_balancer && one.port == 9201);
        [weighted, beside.expect("the CDK makes one")].map(|one| one.address.expect("it carries traffic"))
    })
}

fn cutover(world: &World, service: &str) -> Value {
    let status: Value = serde_json::from_str(&world.say(&["--json", "status", service])).expect("it is JSON");
    status["view"]["cutover"].clone()
}

fn wait_for(world: &World, daemon: &mut Process, service: &str, what: &str, is: impl Fn(&Value) -> bool) {
    daemon.wait_until(&format!("{service}: {what}"), PHASE_MAX, |_| is(&cutover(world, service)));
}

fn phase(cutover: &Value) -> &str {
    cutover["phase"]["phase"].as_str().unwrap_or_default()
}

/// Proves with three services in one daemon: a source to which a client comes seldom is drained only after a silence that is
/// longer than its pauses, with the target's own requests as proof that the numbers still come; one to which clients come
/// by another listener is accepted by the policy when the time is over, with that listener named; and one whose policy
/// waits is taken as explained by a person who advances.
#[test]
fn a_source_is_drained_by_silence_by_the_policys_word_or_by_a_persons() {
    let world = World::new(&Setup { speed: SPEED, deployments: 3, ..Setup::default() });
    std::fs::remove_file(world.path("policies/migration.toml")).expect("it is there");
    let scenes = world.lab().scenes().to_vec();
    let quiet = format!("quiet = \"{QUIET_MINUTES}m\"\ntimeout = \"6h\"");
    let services = [
        ("seldom", &*quiet),
        ("accepting", "quiet = \"4m\"\ntimeout = \"6m\"\non_timeout = \"accept\""),
        ("waiting", "quiet = \"4m\"\ntimeout = \"6m\"\non_timeout = \"hold\""),
    ];
    for ((service, drain), scene) in services.iter().zip(&scenes) {
        let policy = format!(
            "service = \"{service}\"\n[balancer]\nkind = \"alb\"\n[metrics]\nsettle = \"1m\"\n\
             [source]\ntarget_group = \"{}\"\n[target]\ntarget_group = \"{}\"\n[baseline]\nrecord = \"3m\"\nintervals_min = 2\n\
             [shift]\nsteps = [100]\nwrites = \"split\"\nbake_min = \"2m\"\nwarm_up = \"1m\"\nrequests_min = 20\n\
             [guards.latency]\nenabled = false\n[drain]\n{drain}\n",
            scene.source_tg, scene.target_tg
        );
        std::fs::write(world.path(&format!("policies/{service}.toml")), policy).expect("a file of ours");
    }
    let (stop, beside) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut threads = Vec::new();
    for scene in &scenes {
        let [weighted, _] = addresses(&world, scene);
        threads.extend((0..CLIENTS).map(|_| client(weighted, REST, &stop)));
    }
    let [seldom, accepting, waiting] = [0, 1, 2].map(|nth: usize| addresses(&world, &scenes[nth])[1]);
    // By another listener of the load balancer, some times a minute.
    threads.extend([accepting, waiting].map(|address| client(address, REST * 5, &beside)));

    let mut daemon = world.daemon();
    for (service, _) in services {
        world.say(&["start", service, "--yes"]);
    }
    // It comes from the beginning on: silence counts from the last request, and not from when draining begins.
    let (mut pauses, mut last) = (0, world.now());
    for _ in 0..ROUNDS_MAX {
        assert!(ask(seldom).expect("it listens"));
        last = world.now();
        std::thread::sleep(SELDOM / SPEED);
        let now = cutover(&world, "seldom");
        assert_ne!(phase(&now), "done", "a pause is no silence: {now}");
        pauses += u32::from(phase(&now) == "draining");
        if pauses == PAUSES {
            break;
        }
    }
    assert_eq!(pauses, PAUSES, "it drains: {}", cutover(&world, "seldom"));

    wait_for(&world, &mut daemon, "accepting", "done", |cutover| phase(cutover) == "done");
    let reason = cutover(&world, "accepting")["reason"].clone();
    let text = reason["text"].as_str().expect("a sentence").to_owned();
    assert_eq!(reason["kind"], "drain_accepted", "{reason}");
    for word in ["not drained within 360 s", "other listeners: ", "port 9201 to the source", "the policy accepts that"]
    {
        assert!(text.contains(word), "{text}");
    }

    wait_for(&world, &mut daemon, "waiting", "halted", |cutover| cutover["halt"]["kind"] == "drain");
    assert!(world.say(&["explain", "waiting"]).contains("port 9201 to the source"));
    world.say(&["advance", "waiting", "--reason", "port 9201 is the exporter's, and stays"]);
    wait_for(&world, &mut daemon, "waiting", "done", |cutover| phase(cutover) == "done");
    let reason = cutover(&world, "waiting")["reason"].clone();
    assert!(reason["kind"] == "drain_accepted" && reason.to_string().contains("the exporter's"), "{reason}");

    wait_for(&world, &mut daemon, "seldom", "done", |cutover| phase(cutover) == "done");
    let silent = Duration::from_millis(u64::try_from(world.now() - last).expect("time goes on"));
    assert!(silent >= Duration::from_mins(QUIET_MINUTES), "done {silent:?} after the last request");
    let reason = cutover(&world, "seldom")["reason"].clone();
    let text = reason["text"].as_str().expect("a sentence");
    assert!(reason["kind"] == "drained" && text.contains("it can be taken offline"), "{reason}");
    let alive = text.split("the target had ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
    assert!(alive.is_some_and(|alive| alive > 0), "the numbers still come: {text}");
    for stop in [stop, beside] {
        stop.store(true, Ordering::Relaxed);
    }
    let failed: u64 = threads.into_iter().map(|thread| thread.join().expect("a client does not panic")).sum();
    assert_eq!(failed, 0, "no request failed");
}
