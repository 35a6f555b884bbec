//! What operators order from the command line, and what they do behind the daemon's back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    daemon::{Daemon, SERVICE, World},
    load::{Pool, assert_no_failure},
    support::control,
};

/// Longer than a step of these policies takes.
const LONGER_THAN_A_STEP: Duration = Duration::from_secs(6);

/// Who ordered what, why, in the order of the journal.
fn orders(daemon: &Daemon) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |event: &Value| (text(&event["verb"]["verb"]), text(&event["actor"]), text(&event["reason"]));
    daemon.history().iter().map(|entry| &entry["event"]).filter(|event| event["event"] == "ordered").map(of).collect()
}

/// Proves that hold, pause, resume and revert do what they say, that the journal keeps who gave them and why, and that
/// what makes no sense is refused.
#[test]
fn orders_are_obeyed_and_remembered() {
    let mut world = World::new(&[], "");
    let clients = world.clients();
    let daemon = world.daemon(&[]);
    daemon.say(&["advance", SERVICE]).expect(1);
    let unknown = daemon.say(&["start", "nothing", "--yes"]).expect(1);
    assert!(unknown.err.contains(SERVICE), "it says which services there are: {unknown:?}");

    daemon.say(&["start", SERVICE, "--yes", "--reason", "ticket 1"]).expect(0);
    let again = daemon.say(&["start", SERVICE, "--yes", "--wait", "--json"]).expect(1);
    assert!(again.out.contains("under way"), "a second start is refused: {again:?}");
    daemon.wait_for("baking", 100);
    daemon.say(&["hold", SERVICE, "--reason", "lunch"]).expect(0);
    std::thread::sleep(LONGER_THAN_A_STEP);
    assert_eq!(world.weight(), 100, "a held cutover stays");
    daemon.say(&["pause", SERVICE, "--actor", "someone else", "--reason", "long lunch"]).expect(0);
    std::thread::sleep(LONGER_THAN_A_STEP / 2);
    assert_eq!(world.weight(), 100, "a paused cutover stays");
    daemon.say(&["resume", SERVICE, "--reason", "back"]).expect(0);
    daemon.wait_for("baking", 500);
    let priced = daemon.say(&["revert", SERVICE, "--yes", "--wait", "--reason", "enough"]).expect(3);
    assert!(!priced.err.is_empty(), "a revert says its price first");
    assert_eq!(world.weight(), 0);
    for answers in clients.map(Pool::stop) {
        assert_no_failure(&answers);
    }
    let order = |verb: &str, actor: &str, reason: &str| (verb.to_owned(), actor.to_owned(), reason.to_owned());
    let expected = [
        order("start", "e2e", "ticket 1"),
        order("hold", "e2e", "lunch"),
        order("pause", "someone else", "long lunch"),
        order("resume", "e2e", "back"),
        order("revert", "e2e", "enough"),
    ];
    assert_eq!(orders(&daemon), expected);
    let told = daemon.say(&["history", SERVICE]).expect(0).out;
    assert!(told.contains("lunch"), "the history tells reasons: {told}");

    let path = format!("/v1/cutovers/{SERVICE}/orders");
    let nobody = json!({ "verb": "revert", "actor": "", "reason": "" });
    assert!(control(daemon.socket(), "POST", &path, Some(&nobody)).expect_err("nobody ordered").contains("actor"));
    daemon.finish(&[]);
    world.verify();
}

/// Proves that a gate for people opens when one says `advance` and not before, and that `abort` ends a cutover with 5 and
/// leaves the weight where it is.
#[test]
fn advance_opens_a_gate_and_abort_leaves_the_weight() {
    let gate = "\n[gates.board]\nkind = \"manual\"\nbefore = 50\ntimeout = \"5m\"\non_timeout = \"hold\"\n";
    let mut world = World::new(&[], gate);
    let clients = world.clients();
    let daemon = world.daemon(&[]);
    let said = daemon.follow(5, || {
        daemon.wait_for("gated", 100);
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(world.weight(), 100, "a closed gate holds");
        let status = daemon.say(&["status", SERVICE]).expect(0);
        assert!(status.out.contains("board"), "what it waits for is named: {status:?}");
        daemon.say(&["advance", SERVICE, "--reason", "the board agreed"]).expect(0);
        daemon.wait_for("baking", 500);
        daemon.say(&["abort", SERVICE, "--yes", "--reason", "we stay here"]).expect(0);
    });
    assert_eq!(said.json().last().expect("how it ended")["outcome"], "aborted", "{said:?}");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(world.weight(), 500, "an aborted cutover leaves the weight");
    for answers in clients.map(Pool::stop) {
        assert_no_failure(&answers);
    }
    daemon.finish(&[]);
}

/// Proves that a weight which someone sets behind our back stops everything, with who has to decide what; that ours is
/// taken up again when it is put back; and that a running cutover keeps its policy when the file breaks or changes.
#[test]
fn drift_halts_and_a_changed_policy_waits() {
    let mut world = World::new(&[], "");
    let clients = world.clients();
    let daemon = world.daemon(&[]);
    daemon.say(&["start", SERVICE, "--yes"]).expect(0);
    daemon.wait_for("baking", 100);

    let set = |weight: u64| {
        // Whoever writes by hand takes a number above the one that is there.
        let generation = world.proxy.call("GET", "/v1/status", None)["generation"].as_u64().expect("a number") + 1;
        world.proxy.call("PUT", "/v1/weight", Some(&json!({ "target": weight, "generation": generation })));
    };
    set(300);
    let halted = daemon.wait_until("drift", |detail| detail["view"]["cutover"]["halt"]["kind"] == "drift");
    let why = halted["view"]["cutover"]["halt"]["text"].as_str().expect("a sentence");
    assert!(why.contains("someone else") && why.contains("30 %") && why.contains("10 %"), "{why}");
    std::thread::sleep(LONGER_THAN_A_STEP);
    assert_eq!(world.weight(), 300, "nobody writes over a person's weight unasked");
    set(100);
    daemon.wait_until("end of the drift", |detail| detail["view"]["cutover"]["halt"].is_null());

    // A policy that cannot be used, and one that says something else: the running cutover keeps its own.
    let sound = world.policy("");
    let reload = || daemon.process.signal("HUP");
    world.write_policy(&sound.replace("steps = [10, 50, 95, 100]", "steps = [10, 5, 95, 100]\nstep = 3"));
    reload();
    let broken = daemon.wait_until("broken policy", |detail| detail["problems"] != json!([]));
    let problems = broken["problems"].to_string();
    assert!(problems.contains("shop.toml:") && problems.contains("`step"), "file, line and key are named: {problems}");
    let change = daemon.wait_until("told of it", |detail| detail["view"]["cutover"]["policy_change"].is_string());
    assert!(change["view"]["cutover"]["policy_change"].to_string().contains("cannot be used"), "{change}");
    let refused = daemon.say(&["resume", SERVICE, "--adopt-policy"]).expect(1);
    assert!(refused.err.contains("cannot be used"), "{refused:?}");
    world.write_policy(&sound.replace("steps = [10, 50, 95, 100]", "steps = [10, 60, 95, 100]"));
    reload();
    daemon.wait_until("sound policy", |detail| detail["problems"] == json!([]));
    daemon.wait_for("baking", 500);
    let kept = daemon.detail();
    assert_eq!(kept["view"]["cutover"]["policy"]["shift"]["steps"][1]["reads"], 500, "it keeps what it began with");
    assert!(kept["view"]["cutover"]["policy_change"].is_string(), "and says that the file differs");

    daemon.say(&["revert", SERVICE, "--yes", "--wait"]).expect(3);
    for answers in clients.map(Pool::stop) {
        assert_no_failure(&answers);
    }
    daemon.finish(&["someone else", "policy"]);
    world.verify();
}
