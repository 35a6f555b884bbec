//! Whole cutovers that are judged by a real Prometheus server, which scrapes the proxy through an nginx that may open its
//! control socket.

use std::time::Duration;

use serde_json::Value;
use tidegate_tests::servers::{free_port, nginx, prometheus};

use crate::{
    daemon::{Daemon, SERVICE, World},
    load::{Pool, assert_no_failure, by_side},
};

/// A world with a Prometheus server.
struct Scraped {
    world: World,
    server: prometheus::Prometheus,
    /// Hands the proxy's `/metrics` on; gone with this value.
    _way: nginx::Nginx,
}

impl Scraped {
    /// Everything but the daemon, and a policy that is counted by Prometheus, with `more` behind it.
    fn new(proxy: &[&str], more: &str) -> Self {
        let world = World::new(proxy, "");
        let folder = world.path("scraped");
        std::fs::create_dir(&folder).expect("a new folder");
        let port = free_port();
        let way =
            nginx::run(&folder, "way", &configuration(port, &world.proxy.control.display().to_string()), vec![port]);
        let server = prometheus::start(&folder, &[prometheus::Job { name: "proxy", port, token: None }]);
        let policy = world
            .policy("")
            .replace("[baseline]\nrecord = \"3s\"", "[baseline]\nrecord = \"8s\"")
            .replace("interval = \"1s\"", "interval = \"2s\"")
            .replace("bake_min = \"3s\"", "bake_min = \"6s\"");
        let metrics = format!(
            "\n[metrics]\nkind = \"prometheus\"\nurl = \"{}\"\npreset = \"tidegate\"\nsettle = \"4s\"\n{more}",
            server.url()
        );
        world.write_policy(&(policy + &metrics));
        Self { world, server, _way: way }
    }
}

/// An nginx whose worker is the one who runs the tests, since the socket is its owner's alone.
fn configuration(port: u16, socket: &str) -> String {
    format!(
        "worker_processes 1;
daemon off;
pid way.pid;
error_log stderr error;
user root;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{
    listen 127.0.0.1:{port};
    location = /metrics {{ proxy_pass http://unix:{socket}:/metrics; }}
  }}
}}
"
    )
}

/// The requests of both sides that were judged, by side.
fn judged(daemon: &Daemon, world: &World) -> [u64; 2] {
    let state = world.path("state").display().to_string();
    let output = world.path("dossier.html").display().to_string();
    daemon.say(&["report", SERVICE, "--state", &state, "--output", &output]).expect(0);
    let report = daemon.say(&["report", SERVICE, "--state", &state, "--json"]).expect(0).json().remove(0);
    let samples = report["samples"].as_array().expect("a list of intervals").clone();
    let sum = |side: &str| -> u64 {
        let of = |sample: &Value, class: &str| sample["observation"][class][side]["requests"].as_u64().unwrap_or(0);
        samples.iter().map(|sample| of(sample, "reads") + of(sample, "writes")).sum()
    };
    [sum("source"), sum("target")]
}

/// Proves that a cutover whose numbers are Prometheus' alone moves all traffic, without a failure that a client sees, and that
/// what was judged is no more than what clients had.
#[test]
fn a_cutover_judged_by_prometheus_moves_all_traffic() {
    let mut scraped = Scraped::new(&[], "");
    let clients = scraped.world.clients();
    let daemon = scraped.world.daemon(&[]);
    let said = daemon.follow(0, || ());
    assert_eq!(said.json().last().expect("how it ended")["outcome"], "done", "{said:?}");
    assert_eq!(scraped.world.weight(), 1000);
    let judged = judged(&daemon, &scraped.world);
    let answers = clients.map(Pool::stop);
    for answers in &answers {
        assert_no_failure(answers);
    }
    let all: Vec<_> = answers.into_iter().flatten().collect();
    for (side, judged) in ["source", "target"].into_iter().zip(judged) {
        let had = by_side(&all, side) as u64;
        assert!(judged > had / 4 && judged <= had, "the {side} had {had} requests, and {judged} were counted");
    }
    daemon.finish(&[]);
    scraped.world.verify();
    scraped.world.proxy.finish(&[]);
}

/// Proves that a target which dies is left by Prometheus' word alone, where no tripwire is armed.
#[test]
fn a_dead_target_reverts_by_the_word_of_prometheus() {
    let off = "[tripwires.errors-lasting]\nenabled = false\n[tripwires.unanswered]\nenabled = false\n";
    let mut scraped = Scraped::new(&["--retry", "none"], off);
    let text = std::fs::read_to_string(scraped.world.path(&format!("policies/{SERVICE}.toml"))).expect("a policy");
    scraped.world.write_policy(&text.replace("[tripwires.errors]\n", "[tripwires.errors]\nenabled = false\n"));
    let clients = scraped.world.clients();
    let daemon = scraped.world.daemon(&[]);
    let said = daemon.follow(3, || {
        daemon.wait_for("baking", 500);
        scraped.world.target.process.signal("KILL");
    });
    assert_eq!(said.json().last().expect("how it ended")["outcome"], "reverted", "{said:?}");
    assert_eq!(scraped.world.weight(), 0);
    let entries = daemon.history();
    let reverting = entries.iter().find(|entry| entry["next"]["phase"]["phase"] == "reverting").expect("it reverted");
    assert_eq!(reverting["event"]["event"], "observed", "an interval that was counted did it: {}", reverting["reason"]);
    drop(clients.map(Pool::stop));
    daemon.finish(&["target", "revert"]);
    scraped.world.verify();
    scraped.world.proxy.finish(&["target"]);
}

/// Proves that while Prometheus is stopped nothing rises and nothing reverts, and that the cutover goes on when it is back.
#[test]
fn a_stopped_prometheus_holds_the_cutover() {
    let mut scraped = Scraped::new(&[], "");
    // Patience to be blind for as long as this takes.
    let text = std::fs::read_to_string(scraped.world.path(&format!("policies/{SERVICE}.toml"))).expect("a policy");
    let patient = text.replace("blind_budget = \"20s\"", "blind_budget = \"5m\"");
    assert_ne!(patient, text);
    scraped.world.write_policy(&patient);
    let clients = scraped.world.clients();
    let daemon = scraped.world.daemon(&[]);
    let said = daemon.follow(0, || {
        daemon.wait_for("baking", 100);
        scraped.server.process.stop();
        let port = scraped.server.port;
        daemon
            .wait_until("a hold for lack of data", |detail| detail.to_string().contains("no interval was counted for"));
        let stood = scraped.world.weight();
        std::thread::sleep(Duration::from_secs(10));
        let phase = daemon.summary().expect("an answer")["phase"].clone();
        assert_eq!(
            (scraped.world.weight(), phase),
            (stood, "baking".into()),
            "what is unknown neither rises nor reverts"
        );
        scraped.server = prometheus::again(&scraped.world.path("scraped"), port);
    });
    assert_eq!(said.json().last().expect("how it ended")["outcome"], "done", "{said:?}");
    for answers in clients.map(Pool::stop) {
        assert_no_failure(&answers);
    }
    daemon.finish(&["metrics", "Prometheus"]);
    scraped.world.verify();
}
