//! A cutover that relies on captured traffic, with a real broker that is killed in the middle of it.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;
use tidegate_tests::{
    clock,
    servers::kafka::{Broker, broker},
};

use crate::{
    daemon::{SERVICE, World, clients, verb},
    load::Pool,
    receiver::Pager,
    support::assert_quiet,
};

/// How soon a dead broker and a broker that is back must show.
const SEEN_MAX: Duration = Duration::from_secs(30);

/// How long a proxy may take to end that archives what it captured, tens of megabytes, before it does.
const SEALED_MAX: Duration = Duration::from_secs(30);

/// What warns while a broker is gone.
const AWAY: [&str; 4] = ["capture log", "captured", "loss", "lost"];

fn capturing<'a>(brokers: &'a str, losses: &'a str) -> Vec<&'a str> {
    let mut flags = vec!["--capture", "kafka", "--kafka", brokers, "--topic", "captured", "--create-topic", "1"];
    flags.extend(["--kafka-timeout", "2s", "--loss-log", losses]);
    flags
}

/// Whether the daemon says this of the service, wherever it stands.
fn says(detail: &Value, text: &str) -> bool {
    detail.to_string().contains(text)
}

/// How many losses are listed, once no more come.
fn listed(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// Waits until a proxy says of its capture what is wanted.
fn wait_for_capture(world: &World, wanted: impl Fn(&Value) -> bool) -> Value {
    let start = clock::now();
    loop {
        let status = world.proxy.call("GET", "/v1/status", None);
        if wanted(&status["capture"][0]) {
            return status;
        }
        assert!(start.elapsed() < SEEN_MAX, "{status}\n{}", world.proxy.process.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn relying(world: &World, capture: &str, more: &str) -> String {
    let capture = format!("\n[capture]\nneed = \"required\"\n{capture}");
    world.policy(&(capture + more)).replace("bake_min = \"3s\"", "bake_min = \"8s\"")
}

/// Proves that a cutover which relies on capture goes on while it is whole, that a loss made by killing the broker under
/// clients' writes holds the next step and takes nothing back, with a person told by the daemon and by the proxy itself; that
/// the broker's return opens nothing, since what was lost is lost; and that it goes on once somebody has taken the losses on
/// themselves, and not before.
#[test]
fn a_loss_holds_the_cutover_until_somebody_answers_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut broker: Broker = broker(folder.path(), &["auto.create.topics.enable=false"]);
    let losses = folder.path().join("losses.jsonl");
    let (brokers, loss_log) = (broker.plaintext(), losses.display().to_string());
    let told_by_proxy = folder.path().join("proxy-pages");
    fs::create_dir(&told_by_proxy).expect("a new folder");
    let (pager, own_pager) = (Pager::new(folder.path()), Pager::new(&told_by_proxy));
    let mut flags = capturing(&brokers, &loss_log);
    let own = own_pager.argv();
    for argument in &own {
        flags.extend(["--alert-command", argument]);
    }
    let mut world = World::new(&flags, "");
    world.write_policy(&relying(&world, "", &pager.alerts()));
    let policy = world.path(&format!("policies/{SERVICE}.toml")).display().to_string();
    let passed = verb(&["preflight", &policy, "--json"], &[]).expect(0).out;
    for check in ["capture live", "capture losses", "capture lag", "capture kept"] {
        assert!(passed.contains(check), "{check}: {passed}");
    }

    let pools = world.clients();
    let daemon = world.daemon(&[]);
    daemon.say(&["start", SERVICE, "--yes"]).expect(0);
    daemon.wait_for("baking", 100);
    let picture = daemon.say(&["status", SERVICE]).expect(0).out;
    assert!(picture.contains("1 of 1 proxies record the source to kafka (topic captured)"), "{picture}");

    broker.kill();
    wait_for_capture(&world, |capture| capture["losses"].as_u64() > Some(0) && capture["works"] == false);
    let held =
        daemon.wait_until("hold", |detail| says(detail, "\"gated\"") && says(detail, "check `capture losses` fails"));
    assert!(says(&held, "losses_accepted"), "what to do is said: {held}");
    own_pager.wait_for(&format!(
        "proxy 127.0.0.1:{}: capture fails: the source to topic captured: opened",
        world.proxy.port
    ));
    let begins = "shop: capture is not whole, so no writes are moved: capture live";
    let told = pager.wait_until(begins, |alert| alert.starts_with(begins));
    assert!(told.iter().all(|alert| !alert.contains("revert")), "{told:?}");

    broker.start_again();
    wait_for_capture(&world, |capture| capture["works"] == true);
    own_pager.wait_for(&format!(
        "proxy 127.0.0.1:{}: capture fails: the source to topic captured: closed",
        world.proxy.port
    ));
    let lost = listed(&losses);
    daemon.wait_until("live again", |detail| !says(detail, "check `capture live` fails"));
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(world.weight(), 100, "a broker that is back brings no loss back");
    assert_eq!(listed(&losses), lost, "and nothing more is lost");
    assert_eq!(daemon.summary().expect("an answer")["phase"], "gated");

    let accept = |world: &World, count: usize| {
        world.write_policy(&relying(world, &format!("losses_accepted = {count}\n"), &pager.alerts()));
        daemon.say(&["resume", SERVICE, "--adopt-policy", "--reason", "each was sent again by hand"]).expect(0);
    };
    accept(&world, lost - 1);
    std::thread::sleep(Duration::from_secs(15));
    assert_eq!(world.weight(), 100, "one fewer than were lost is not all");
    accept(&world, lost);
    daemon.wait_for("baking", 500);
    daemon.say(&["revert", SERVICE, "--yes", "--wait"]).expect(3);
    for answers in pools.map(Pool::stop) {
        crate::load::assert_no_failure(&answers);
    }
    daemon.finish(&["capture"]);
    world.proxy.finish(&AWAY);
}

/// Proves that nothing starts where one proxy of a fleet captures nothing, and with each thing that is not as it must be, that
/// it is said which proxy it is and what to do; and that it starts by itself once all capture.
#[test]
fn nothing_starts_before_every_proxy_captures() {
    let folder = tempfile::tempdir().expect("a folder");
    let dirs = ["one", "two"].map(|name| folder.path().join(name).display().to_string());
    let [first, second] = dirs.each_ref().map(|dir| ["--capture", "file", "--capture-dir", dir]);
    let mut world = World::new(&first, "");
    fs::create_dir(world.path("sibling")).expect("a new folder");
    world.siblings.push(world.sibling(0, &[]));
    world.write_policy(&relying(&world, "", ""));
    let pools = world.clients();
    let daemon = world.daemon(&[]);
    daemon.say(&["start", SERVICE, "--yes"]).expect(0);
    let name = world.siblings[0].control.display().to_string();
    let held = daemon.wait_until("preflight", |detail| says(detail, "captures nothing of the source"));
    assert!(says(&held, &name) && says(&held, "\"preflight\""), "{held}");
    let explained = daemon.say(&["explain", SERVICE]).expect(0).out;
    assert!(explained.contains("captures nothing of the source"), "{explained}");
    world.siblings.remove(0).finish(&[]);
    daemon.wait_until("silent", |detail| says(detail, "`capture live` could not be made"));
    world.siblings.push(world.sibling(0, &second));
    daemon.wait_for("baking", 100);
    daemon.say(&["revert", SERVICE, "--yes", "--wait"]).expect(3);
    for answers in pools.map(Pool::stop) {
        crate::load::assert_no_failure(&answers);
    }
    daemon.finish(&["capture", "preflight", "command failed"]);
    for mut proxy in [world.proxy, world.siblings.remove(0)] {
        let start = clock::now();
        proxy.process.signal("TERM");
        let status = proxy.process.wait(SEALED_MAX);
        println!("{} ended after {:?}", proxy.control.display(), start.elapsed());
        assert!(status.success(), "the proxy ended with {status}:\n{}", proxy.process.log());
        assert_quiet(&proxy.process, &[]);
    }
}

/// Proves that the proxy which a daemon runs itself captures by the keys of its section, that a cutover which relies on it
/// moves writes, and that what clients wrote is in the files; and that without those keys nothing starts.
#[test]
fn the_own_proxy_of_a_daemon_captures() {
    let mut world = World::new(&[], "");
    let named = format!("\"unix:{}\"", world.proxy.control.display());
    let policy = relying(&world, "", "").replace(&named, "").replace("bake_min = \"8s\"", "bake_min = \"3s\"");
    world.write_policy(&policy);
    let section =
        |more: &str| format!("\n[proxy]\nservice = \"{SERVICE}\"\nlisten = \"127.0.0.1:0\"\nplaintext = true\n{more}");
    let serve = |world: &mut World, more: &str| {
        world.configure(&section(more));
        let mut daemon = world.daemon(&[]);
        let line = daemon.process.wait_for_line("the own proxy serves", Duration::from_secs(1));
        let line: Value = serde_json::from_str(&line).expect("the log is JSON");
        let port = line["address"].as_str().and_then(|address| address.rsplit(':').next()?.parse().ok());
        let port: u16 = port.unwrap_or_else(|| panic!("no port in {line}"));
        (daemon, clients(port, 6))
    };
    let (daemon, pools) = serve(&mut world, "");
    daemon.say(&["start", SERVICE, "--yes"]).expect(0);
    daemon.wait_until("preflight", |detail| says(detail, "captures nothing of the source"));
    daemon.say(&["abort", SERVICE, "--yes"]).expect(0);
    drop(pools.map(Pool::stop));
    daemon.finish(&["capture", "preflight"]);

    let (daemon, pools) =
        serve(&mut world, "capture = \"file\"\nsuppress_path = [\"/nothing\"]\nredact_header = \"Cookie\"\n");
    daemon.say(&["start", SERVICE, "--yes"]).expect(0);
    daemon.wait_for("baking", 500);
    daemon.say(&["revert", SERVICE, "--yes", "--wait"]).expect(3);
    for answers in pools.map(Pool::stop) {
        crate::load::assert_no_failure(&answers);
    }
    daemon.finish(&[]);
    let dir = world.path("state/capture").display().to_string();
    let captured = verb(&["capture", "cat", "--dir", &dir, "--json"], &[]).expect(0).json();
    let whole = captured.iter().filter(|exchange| exchange["complete"] == true).count();
    assert!(whole > 100, "{whole} of {}", captured.len());
}
