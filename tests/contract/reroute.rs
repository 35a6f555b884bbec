//! `tidegate reroute`, the built program, over a lab that carries traffic through an NLB: the three ways, what goes wrong on
//! them, and what is left afterwards.
//!
//! Where TLS would end in AWS, it ends in a tunnel of the test here, since the lab speaks none: the program goes through it by
//! `--connect-to`, as an operator outside of the network does.

mod clients;
mod resolver;
mod stage;

use std::time::Duration;

use lab::faults::FaultName;
use serde_json::{Value, json};

use self::clients::Clients;
use self::resolver::Resolver;
use self::stage::{NLB_PORT, Stage};

/// Nothing more to say to the program.
const NOTHING: [&str; 0] = [];

/// How long one run of the program may take.
const RUN_MAX: Duration = Duration::from_mins(4);

/// Proves the whole way of an NLB in front of a load balancer: checks, a test address that real clients can try while nothing
/// of the live listener has changed, the switch on evidence, the end by a quiet old path, what preflight says of a snapshot,
/// and an undo that leaves nothing; no request fails all the while, and every call is one that `aws iam` lists.
#[test]
fn a_live_listener_is_switched_without_a_failed_request_and_back() {
    let stage = Stage::in_front_of_a_balancer();
    let clients = Clients::start(stage.live());
    stage.minutes_pass(8);
    let before = stage.live_actions();

    let planned = stage.run(&["plan", "--json"], &stage.asked());
    assert_eq!(planned.exit, 0, "{planned:?}");
    assert_eq!((&planned.json["ok"], &planned.json["way"]), (&json!(true), &json!("switch")));
    assert_eq!(stage.made(), 0, "a plan makes nothing");

    let started = stage.run(&["start", "--json"], &stage.asked());
    assert_eq!((started.exit, &started.json["stage"]), (0, &json!("testing")), "{started:?}");
    assert_eq!(stage.live_actions(), before, "nothing of the live listener has changed");
    assert_eq!(started.json["address"], format!("{}:{NLB_PORT}", stage.nlb_name()).as_str());
    assert!(clients::ask(stage.address_of(NLB_PORT)).expect("the test listener takes connections"));
    let early = stage.preflight(&["--snapshot-taken", "2099-01-01T00:00:00Z"]);
    assert_eq!(early["outcome"], "fail", "capture is not complete: {early}");

    let ended = stage.run(&["advance", "--json", "--yes"], &NOTHING);
    assert_eq!((ended.exit, &ended.json["stage"]), (0, &json!("complete")), "{ended:?}");
    assert_eq!(ended.json["switched_percent"], 100);
    assert_eq!(stage.listener_count(), 1, "the listener for the test is gone");
    let since = ended.json["capture_complete_since"].as_str().expect("it is complete since then").to_owned();
    assert_eq!(stage.preflight(&["--snapshot-taken", "2001-01-01T00:00:00Z"])["outcome"], "fail");
    assert_eq!(stage.preflight(&["--snapshot-taken", &since])["outcome"], "pass");
    assert!(stage.source_requests_now(), "clients come by the proxy");

    let undone = stage.run(&["undo", "--json", "--yes"], &NOTHING);
    assert_eq!((undone.exit, &undone.json["stage"]), (0, &json!("undone")), "{undone:?}");
    assert_eq!(stage.live_actions(), before, "the action list is the same in depth");
    assert_eq!(stage.made(), 0, "nothing is left");
    assert_eq!(stage.preflight(&["--snapshot-taken", &since])["outcome"], "fail", "it was undone");
    assert_eq!(clients.stop(), 0, "no request failed");
    stage.assert_every_call_is_listed();
}

/// Proves that a new path which fails goes back by itself, whole and verified, with the exit code of a revert; and that it can
/// be undone then.
#[test]
fn a_switch_that_fails_goes_back_by_itself() {
    let stage = Stage::in_front_of_a_balancer();
    let clients = Clients::start(stage.live());
    stage.minutes_pass(8);
    let before = stage.live_actions();
    let started = stage.run(&["start", "--json"], &stage.asked());
    assert_eq!(started.exit, 0, "{started:?}");
    stage.spoil_the_proxies(0.6);
    let ended = stage.run(&["advance", "--json", "--yes"], &NOTHING);
    assert_eq!((ended.exit, &ended.json["stage"]), (3, &json!("reverted")), "{ended:?}");
    assert!(ended.json["why"].as_str().is_some_and(|why| why.contains("failed") || why.contains("worse")), "{ended:?}");
    assert_eq!(stage.live_actions(), before, "the action list is the same in depth");
    assert!(clients.stop() > 0, "there was something to see");
    let undone = stage.run(&["undo", "--json", "--yes", "--now"], &NOTHING);
    assert_eq!((undone.exit, stage.made()), (0, 0), "{undone:?}");
}

/// Proves the way of an NLB in front of the cluster itself: the live listener is left alone, clients move to the new one, a
/// person says that the old path is empty since AWS does not, and the new listener stays.
#[test]
fn beside_a_live_listener_clients_move_to_a_new_one() {
    let stage = Stage::in_front_of_the_cluster();
    let clients = Clients::start(stage.live());
    let before = stage.live_actions();
    let started = stage.run(&["start", "--json"], &stage.asked());
    assert_eq!((started.exit, &started.json["way"]), (0, &json!("beside")), "{started:?}");
    clients.move_to(stage.address_of(NLB_PORT));
    let ended =
        stage.run(&["advance", "--json", "--yes", "--accept", "old path=nobody is connected to the source"], &NOTHING);
    assert_eq!((ended.exit, &ended.json["stage"]), (0, &json!("complete")), "{ended:?}");
    assert_eq!(
        (stage.listener_count(), stage.live_actions()),
        (2, before),
        "the new listener stays, the live one as well"
    );
    assert_eq!(clients.stop(), 0, "no request failed");
}

/// Proves the way without an NLB: the name is looked at, the instruction is said, and it is complete only when the name leads
/// to the load balancer, its time to live has passed and the old path is quiet.
#[test]
fn a_name_is_led_to_the_load_balancer_and_checked() {
    let stage = Stage::in_front_of_a_balancer();
    // Its health checks would be requests of the old path for ever.
    stage.take_the_nlb_away();
    let clients = Clients::start(stage.old_balancer());
    let resolver = Resolver::start(&stage.weighted_name(), 300);
    let asked = stage.asked_by_name(resolver.address());
    let started = stage.run(&["start", "--json"], &asked);
    assert_eq!((started.exit, &started.json["way"]), (0, &json!("dns")), "{started:?}");
    assert_eq!(stage.made(), 0, "nothing is made in AWS");

    let mut advance = stage.begin(&["advance", "--json", "--yes"], &Stage::resolver(resolver.address()));
    advance.wait_for_line("lead it to", RUN_MAX);
    resolver.lead_here();
    clients.move_to(stage.weighted());
    let ended = Stage::end(advance);
    assert_eq!((ended.exit, &ended.json["stage"]), (0, &json!("complete")), "{ended:?}");
    assert_eq!(clients.stop(), 0, "no request failed");
}

/// Proves that a program which is killed while any of its writes is under way, done or not, goes on where AWS is: each thing
/// is made once, and the way back is whole.
#[test]
fn a_program_that_is_killed_goes_on_where_aws_is() {
    let stage = Stage::in_front_of_a_balancer();
    let clients = Clients::start(stage.live());
    stage.minutes_pass(8);
    let before = stage.live_actions();
    for (fault, operation) in [
        (FaultName::DelayedApply, "CreateTargetGroup"),
        (FaultName::Hang, "RegisterTargets"),
        (FaultName::DelayedApply, "CreateListener"),
    ] {
        stage.killed_during(fault, operation, &["start", "--json"], &stage.asked());
    }
    let started = stage.run(&["start", "--json"], &stage.asked());
    assert_eq!((started.exit, &started.json["stage"]), (0, &json!("testing")), "{started:?}");
    assert_eq!(stage.made(), 2, "one target group and one listener");
    for fault in [FaultName::Hang, FaultName::DelayedApply] {
        stage.killed_during(fault, "ModifyListener", &["advance", "--json", "--yes"], &NOTHING);
    }
    stage.killed_during(FaultName::DelayedApply, "DeleteListener", &["advance", "--json", "--yes"], &NOTHING);
    let ended = stage.run(&["advance", "--json", "--yes"], &NOTHING);
    assert_eq!((ended.exit, &ended.json["stage"]), (0, &json!("complete")), "{ended:?}");
    stage.killed_during(FaultName::Hang, "ModifyListener", &["undo", "--json", "--yes", "--now"], &NOTHING);
    stage.killed_during(FaultName::DelayedApply, "DeleteTargetGroup", &["undo", "--json", "--yes", "--now"], &NOTHING);
    let undone = stage.run(&["undo", "--json", "--yes", "--now"], &NOTHING);
    assert_eq!((undone.exit, stage.made()), (0, 0), "{undone:?}");
    assert_eq!(stage.live_actions(), before, "the action list is the same in depth");
    assert_eq!(clients.stop(), 0, "no request failed");
}

/// Proves for each call that changes something that whoever may not make it is told which permission is missing and which
/// feature has it, and that with the permission the next run goes on from there and leaves nothing in the end.
#[test]
fn a_missing_permission_is_named_and_the_next_run_goes_on() {
    let stage = Stage::in_front_of_a_balancer();
    let clients = Clients::start(stage.live());
    stage.minutes_pass(8);
    let before = stage.live_actions();
    for operation in ["CreateTargetGroup", "RegisterTargets", "CreateListener"] {
        stage.denied(operation, &["start", "--json"], &stage.asked());
    }
    let started = stage.run(&["start", "--json"], &stage.asked());
    assert_eq!((started.exit, &started.json["stage"]), (0, &json!("testing")), "{started:?}");
    for operation in ["ModifyListener", "DeleteListener"] {
        stage.denied(operation, &["advance", "--json", "--yes"], &NOTHING);
    }
    let ended = stage.run(&["advance", "--json", "--yes"], &NOTHING);
    assert_eq!((ended.exit, &ended.json["stage"]), (0, &json!("complete")), "{ended:?}");
    for operation in ["ModifyListener", "DeregisterTargets", "DeleteTargetGroup"] {
        stage.denied(operation, &["undo", "--json", "--yes", "--now"], &NOTHING);
    }
    let undone = stage.run(&["undo", "--json", "--yes", "--now"], &NOTHING);
    assert_eq!((undone.exit, stage.made(), stage.live_actions()), (0, 0, before), "{undone:?}");
    assert_eq!(clients.stop(), 0, "no request failed");
}

/// Proves that each obstacle is named before anything is changed, with what to do.
#[test]
fn each_refusal_comes_before_anything_is_changed() {
    let stage = Stage::in_front_of_a_balancer();
    let refused_of = |asked: &[String], name: &str, words: &str| {
        let ended = stage.run(&["start", "--json"], asked);
        let text = ended.json.to_string();
        let outcome = |check: &&Value| check["name"] == name && check["outcome"] == "fail";
        let found = ended.json["checks"].as_array().is_some_and(|checks| checks.iter().any(|check| outcome(&check)));
        assert!(ended.exit == 1 && found && text.contains(words), "{name}: {ended:?}");
        assert_eq!(stage.made(), 0);
    };
    let refused = |name: &str, words: &str| refused_of(&stage.asked(), name, words);
    stage.weigh(3, 1);
    refused("weights", "100 % source");
    stage.weigh(1, 0);
    stage.cross_zone("false");
    refused("cross-zone", "503");
    stage.cross_zone("true");
    let open = stage.close_the_balancer();
    refused("security groups", "443");
    stage.open_the_balancer(open);
    let authority = stage.other_authority();
    refused("certificate", "albAcmCertArn");
    stage.right_authority(authority);
    refused_of(&stage.asked_of_tls(), "listener protocol", "ways out");
    stage.deny_ec2();
    let ended = stage.run(&["plan", "--json"], &stage.asked());
    assert!(ended.exit == 0 && ended.json.to_string().contains("a connection from here was made"), "{ended:?}");
    let unknown = stage.run(&["advance", "--json", "--yes"], &NOTHING);
    assert!(unknown.exit == 1 && unknown.words.contains("no reroute of"), "{unknown:?}");
}
