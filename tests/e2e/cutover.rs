//! Whole cutovers by the built daemon, driven by the command line, with the proxy in a process of its own.
#![expect(clippy::print_stdout, reason = "the figures are the point of these tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tidegate_tests::servers::Process;

use crate::{
    daemon::{SERVICE, World, clients},
    load::{Pool, assert_no_failure, by_side},
    receiver::{Receiver, SECRET, said},
    support::{control, recount},
};

/// How far the observed share may be from the weight, in standard deviations; the interval that saw the weight move is
/// not counted.
const DEVIATIONS_MAX: f64 = 5.0;

/// Proves the main job: one command moves real traffic to the target, step by step, with no failure visible to a client,
/// and everything that shows a cutover says the same.
#[test]
fn one_command_moves_all_traffic() {
    let receiver = Receiver::start();
    let mut world = World::new(&[], "");
    world.write_policy(&world.policy(&receiver.alerts()));
    let clients = world.clients();
    let mut wrk = wrk(&world);
    let daemon = world.daemon(&[("TEST_WEBHOOK_SECRET", SECRET)]);

    let refused = daemon.say(&["start", SERVICE]).expect(1);
    assert!(refused.err.contains("--yes"), "without a terminal nobody can be asked: {refused:?}");
    let start = ["start", SERVICE, "--yes", "--wait", "--json", "--reason", "the test"];
    let followed = std::thread::scope(|scope| {
        let followed = scope.spawn(|| daemon.say(&start));
        daemon.wait_for("baking", 100);
        // Before the first judged interval there is nothing to explain.
        daemon.wait_until("judged", |detail| !detail["view"]["cutover"]["evidence"]["judgement"].is_null());
        fs::write(world.path("explained.json"), daemon.say(&["explain", SERVICE, "--json"]).expect(0).out)
            .expect("a file of the test's");
        let watched = daemon.say(&["watch", SERVICE, "--json"]).expect(0).json();
        let phases: BTreeSet<&str> =
            watched.iter().filter_map(|line| line["view"]["cutover"]["phase"]["phase"].as_str()).collect();
        for seen in ["baking", "shifting", "draining", "done"] {
            assert!(phases.contains(seen), "who watches sees `{seen}`: {phases:?}");
        }
        let picture = daemon.say(&["watch", SERVICE, "--once"]).expect(0).out;
        assert!(
            picture.to_lowercase().contains(SERVICE) && !picture.contains('\u{1b}'),
            "plain text without a terminal: {picture}"
        );
        followed.join().expect("no panic").expect(0)
    });
    let lines = followed.json();
    let last = lines.last().expect("how it ended");
    assert_eq!(last["outcome"], "done", "{last}");
    assert_eq!(world.weight(), 1000);

    let answers = clients.map(Pool::stop);
    for answers in &answers {
        assert_no_failure(answers);
        assert!(by_side(answers, "source") > 0 && by_side(answers, "target") > 0, "both sides were used");
    }

    wrk.signal("INT");
    let status = wrk.wait(Duration::from_secs(10));
    let seen = wrk.log();
    assert!(status.success() && seen.contains("Requests/sec"), "wrk ended with {status}:\n{seen}");
    assert!(!seen.contains("Non-2xx") && !seen.contains("Socket errors"), "wrk saw failures:\n{seen}");

    assert_eq!(daemon.summary().expect("an answer")["phase"], "done");
    let entries = daemon.history();
    let ids: Vec<u64> = entries.iter().filter_map(|entry| entry["id"].as_u64()).collect();
    assert_eq!(ids, (1..=entries.len() as u64).collect::<Vec<_>>(), "entries without gaps");
    let desired: Vec<u64> = entries.iter().filter_map(|entry| entry["next"]["desired"]["reads"].as_u64()).collect();
    for step in [0, 100, 500, 950, 1000] {
        assert!(desired.contains(&step), "a decision for {step}: {desired:?}");
    }
    assert!(desired.is_sorted(), "a clean cutover only rises: {desired:?}");
    assert_eq!(
        entries[0]["event"].to_string().matches("the test").count(),
        1,
        "the order's reason is kept: {}",
        entries[0]["event"]
    );
    let explained = daemon.say(&["explain", SERVICE]).expect(0);
    assert!(explained.out.contains("the source has had no request"), "{}", explained.out);

    let get = |path: &str| control(daemon.socket(), "GET", path, None);
    assert!(get("/v1/openapi.json").expect("a document")["paths"]["/v1/cutovers/{service}/orders"].is_object());
    // Neither is JSON; what came back is in the message.
    assert!(get("/health").expect_err("plain text").contains("ok"));
    let metrics = get("/metrics").expect_err("plain text");
    for line in
        ["tidegate_share{", "tidegate_alerts_sent_total", "tidegate_journal_writable{service=\"shop\"} 1", "# EOF"]
    {
        assert!(metrics.contains(line), "no `{line}` in {metrics}");
    }

    let told = said(&receiver.wait_for("cutover done"));
    assert!(told.iter().any(|alert| alert == "shop: cutover done: opened"), "{told:?}");

    let again = daemon.say(&["start", SERVICE, "--yes"]).expect(1);
    assert!(again.err.contains("close"), "a cutover that can be reverted is not replaced: {again:?}");
    daemon.say(&["close", SERVICE, "--yes"]).expect(0);

    // From here on nothing more is counted: what the dossier and the second program read is the same journal.
    let closed = daemon.history();
    assert!(closed.len() > entries.len(), "the close is in the journal");
    let dossier = world.path("dossier.html");
    let (state, output) = (world.path("state").display().to_string(), dossier.display().to_string());
    daemon.say(&["report", SERVICE, "--state", &state, "--output", &output]).expect(0);
    let page = fs::read_to_string(&dossier).expect("the dossier");
    assert!(page.contains("<svg") && page.contains("</html>"), "a page with charts");
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http"), "a page that needs nothing else");
    let journal = world.path("state/journal.sqlite");
    let explained = [world.path("explained.json")];
    println!("{}", recount(&journal, &dossier, &explained).expect("every number is the journal's"));
    let report = daemon.say(&["report", SERVICE, "--state", &state, "--json"]).expect(0).json().remove(0);
    assert_eq!(report["entries"].as_array().map(Vec::len), Some(closed.len()), "the dossier has every decision");

    assert!(report["answer"].is_object(), "whether the source can be taken offline: {}", report["answer"]);
    observed_share_is_the_weight(&report["samples"]);

    daemon.finish(&[]);
    assert!(world.verify() >= closed.len() as u64, "the journal is whole");
    world.proxy.finish(&[]);
}

/// wrk, which asks as fast as it can, until it is interrupted.
fn wrk(world: &World) -> Process {
    let mut command = Command::new("wrk");
    command.args(["--threads", "1", "--connections", "4", "--duration", "240s"]);
    command.arg(format!("http://127.0.0.1:{}/1k", world.proxy.port));
    Process::start("wrk", &world.path(""), command)
}

/// Fails unless at each step the requests that were counted fit the weight, as far as chance goes.
fn observed_share_is_the_weight(samples: &Value) {
    let mut steps: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let samples = samples.as_array().expect("a list of intervals");
    for pair in samples.windows(2) {
        let [before, sample] = pair else { continue };
        let steady = |sample: &Value| sample["configured"] == sample["desired"];
        // An interval is of one weight when the one before it ended with that as well.
        if before["desired"] != sample["desired"] || !steady(before) || !steady(sample) {
            continue;
        }
        let weight = sample["desired"]["reads"].as_u64().expect("a weight");
        let (target, both) = steps.entry(weight).or_default();
        for class in ["reads", "writes"] {
            let requests =
                |side: &str| sample["observation"][class][side]["requests"].as_u64().expect("a count of requests");
            *target += requests("target");
            *both += requests("target") + requests("source");
        }
    }
    for (weight, (target, both)) in &steps {
        let share = *weight as f64 / 1000.0;
        let deviation = (*both as f64 * share * (1.0 - share)).sqrt();
        let off = (*target as f64 - *both as f64 * share).abs();
        println!("at {weight} of 1000: {target} of {both} requests, {off:.0} off, standard deviation {deviation:.0}");
        assert!(off <= DEVIATIONS_MAX * deviation, "at {weight}: {target} of {both} requests");
        assert!(*both > 1000, "{both} requests prove nothing");
    }
    for step in [100, 500, 950, 1000] {
        assert!(steps.contains_key(&step), "step {step} was counted: {steps:?}");
    }
}

/// Proves that the daemon does the whole job in one process as well, and that a cutover that is done can be taken back
/// until it is closed, at a price that is said first.
#[test]
fn the_daemon_with_a_proxy_of_its_own_moves_all_traffic_and_takes_it_back() {
    let mut world = World::new(&[], "");
    let own = world.policy("").replace(&format!("\"unix:{}\"", world.proxy.control.display()), "");
    assert!(own.contains("proxies = []"), "{own}");
    world.write_policy(&own);
    world.configure(&format!("\n[proxy]\nservice = \"{SERVICE}\"\nlisten = \"127.0.0.1:0\"\nplaintext = true\n"));
    let mut daemon = world.daemon(&[]);
    let line = daemon.process.wait_for_line("the own proxy serves", Duration::from_secs(1));
    let line: Value = serde_json::from_str(&line).expect("the log is JSON");
    let port = line["address"].as_str().and_then(|address| address.rsplit(':').next()?.parse().ok());
    let clients = clients(port.unwrap_or_else(|| panic!("no port in {line}")), 6);

    let said = daemon.follow(0, || ());
    assert_eq!(said.json().last().expect("how it ended")["outcome"], "done", "{said:?}");
    let said = daemon.say(&["revert", SERVICE, "--yes", "--wait", "--reason", "second thoughts"]).expect(3);
    assert!(said.err.contains("target"), "the price is said first: {said:?}");
    assert_eq!(daemon.summary().expect("an answer")["phase"], "reverted");
    let answers = clients.map(Pool::stop);
    for answers in &answers {
        assert_no_failure(answers);
        assert!(by_side(answers, "target") > 0, "the target was used");
        let last = answers.iter().max_by_key(|answer| answer.asked).expect("an answer");
        assert_eq!(last.side.as_deref(), Some("source"), "the source has it again");
    }
    daemon.say(&["close", SERVICE, "--yes"]).expect(0);
    let refused = daemon.say(&["revert", SERVICE, "--yes"]).expect(1);
    assert!(refused.err.contains("closed"), "what is history stays: {refused:?}");
    daemon.finish(&[]);
    world.verify();
}
