//! The built program against the lab, as an operator has it: endpoint and keys in the environment, nothing else.

use std::path::PathBuf;
use std::process::{Command, Output};

use lab::faults::FaultName;
use lab::model::REGION;
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_tests::servers::{aws::towards, built_binary};

use crate::cloudwatch::{MINUTE, ago, usual};
use crate::support::{SPEED, Stand};

/// Runs the program to its end beside the lab.
pub(crate) async fn tidegate(stand: &Stand, arguments: &[&str]) -> Output {
    let mut command = Command::new(built_binary());
    command.args(arguments);
    if arguments.first() == Some(&"preflight") {
        // The lab's clock runs fast; one that ran as time does would differ from it.
        command.args(["--clock-speed", &SPEED.to_string()]);
    }
    towards(&mut command, &stand.lab.endpoint(), REGION);
    let ended = tokio::task::spawn_blocking(move || command.output()).await;
    ended.expect("waiting does not panic").expect("the program can be run")
}

/// The policy that discovery writes for the lab's listener, and the folder that holds it.
pub(crate) async fn discovered(stand: &Stand) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("migration.toml");
    let path = file.to_str().expect("the folder's name is text");
    let found = tidegate(stand, &["aws", "discover", "--write", path]).await;
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    (folder, file)
}

#[tokio::test]
async fn a_discovered_listener_becomes_a_policy_that_is_sound() {
    // Proves the way from an account to a policy: found by its target groups, written once, taken by `policy check`, and
    // with the permissions that it needs, by ARN.
    let stand = Stand::start().await;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("migration.toml");
    let path = file.to_str().expect("the folder's name is text");
    let found = tidegate(&stand, &["aws", "discover", "--json", "--write", path]).await;
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let listed: Value = serde_json::from_slice(&found.stdout).expect("it is JSON and nothing else");
    assert_eq!(listed[0]["listener"], stand.lab.scene().listener_arn.as_str());
    let checked = tidegate(&stand, &["policy", "check", path]).await;
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let text = std::fs::read_to_string(&file).expect("it was written");
    for word in [&stand.lab.scene().source_tg, &stand.lab.scene().target_tg, &stand.lab.scene().cluster] {
        assert!(text.contains(word.as_str()), "{text}");
    }
    let again = tidegate(&stand, &["aws", "discover", "--write", path]).await;
    assert_eq!(again.status.code(), Some(1), "a file is not overwritten");
    let rights = tidegate(&stand, &["aws", "iam", "--json", "--policy", path]).await;
    let rights = String::from_utf8(rights.stdout).expect("it is text");
    assert!(rights.contains(&format!("\"Resource\":[\"{}\"]", stand.lab.scene().listener_arn)), "{rights}");
}

#[tokio::test]
async fn what_is_not_aws_and_what_is_not_allowed_is_said_so() {
    // Proves that a captive portal and a missing permission end with words and not with an empty list.
    let stand = Stand::start().await;
    for (fault, word) in [(FaultName::NotAws, "list the load balancers"), (FaultName::AccessDenied, "tidegate aws iam")]
    {
        stand.fault(fault, "DescribeLoadBalancers", 50);
        let ended = tidegate(&stand, &["aws", "discover"]).await;
        let words = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.code() == Some(1) && words.contains(word), "{words}");
        stand.mend();
    }
}

/// The outcome of a check in what preflight printed; empty where it is not in the list.
fn outcome(printed: &Output, name: &str) -> String {
    let list: Value = serde_json::from_slice(&printed.stdout).expect("it is JSON and nothing else");
    let mut checks = list["checks"].as_array().expect("there is a list").iter();
    let found = checks.find(|check| check["name"] == name);
    found.and_then(|check| check["outcome"].as_str()).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn preflight_says_what_stands_in_the_way_and_what_to_do() {
    // Proves that preflight needs no daemon, passes a fresh deployment with traffic, writes back what stands when asked to,
    // and that missing figures, a denied write and a target that has traffic already each stand in the way.
    let stand = Stand::start().await;
    let (_folder, file) = discovered(&stand).await;
    let path = file.to_str().expect("the folder's name is text");
    let silent = tidegate(&stand, &["preflight", path, "--json"]).await;
    assert_eq!((silent.status.code(), outcome(&silent, "numbers").as_str()), (Some(1), "unknown"));

    let first = ago(&stand, 60);
    for minute in 0..70 {
        usual(&stand, first + MINUTE * minute, false);
    }
    let ready = tidegate(&stand, &["preflight", path, "--json", "--write-check", "--expected-rps", "10"]).await;
    let text = String::from_utf8_lossy(&ready.stdout).into_owned();
    assert!(ready.status.success(), "{text}");
    for name in ["weights", "write", "numbers", "target healthy", "target service", "expected rate"] {
        assert_eq!(outcome(&ready, name), "pass", "{name}: {text}");
    }
    let many = tidegate(&stand, &["preflight", path, "--json", "--expected-rps", "1000"]).await;
    assert_eq!((many.status.code(), outcome(&many, "expected rate").as_str()), (Some(1), "fail"));
    let list = tidegate(&stand, &["preflight", path]).await;
    assert!(String::from_utf8_lossy(&list.stdout).contains("nothing stands in the way"));

    stand.fault(FaultName::AccessDenied, "ModifyListener", 50);
    let denied = tidegate(&stand, &["preflight", path, "--json", "--write-check"]).await;
    let text = String::from_utf8_lossy(&denied.stdout).into_owned();
    assert!(outcome(&denied, "write") == "fail" && text.contains("tidegate aws iam --feature shift"), "{text}");
    stand.mend();
    let scene = stand.lab.scene();
    let group = |arn: &String, weight: u8| json!({"TargetGroupArn": arn, "Weight": weight});
    let groups = [group(&scene.source_tg, 1), group(&scene.target_tg, 1)];
    let action = json!([{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]);
    stand.foreign("ModifyListener", &json!({"ListenerArn": scene.listener_arn, "DefaultActions": action}));
    let half = tidegate(&stand, &["preflight", path, "--json"]).await;
    assert_eq!((half.status.code(), outcome(&half, "weights").as_str()), (Some(1), "fail"));
}

#[tokio::test]
async fn keys_that_end_before_the_cutover_does_are_refused() {
    // Proves that preflight takes the end of exported keys for what it is, and says what to do.
    let stand = Stand::start().await;
    let (_folder, file) = discovered(&stand).await;
    let path = file.to_str().expect("the folder's name is text");
    for (end, wanted) in [("2026-01-01T00:00:00+00:00", "fail"), ("2126-01-01T00:00:00+00:00", "pass")] {
        let mut command = Command::new(built_binary());
        towards(command.args(["preflight", path, "--json"]), &stand.lab.endpoint(), REGION);
        command.env("AWS_SESSION_TOKEN", "stand-in").env("AWS_CREDENTIAL_EXPIRATION", end);
        let printed = tokio::task::spawn_blocking(move || command.output()).await;
        let printed = printed.expect("waiting does not panic").expect("the program can be run");
        assert_eq!(outcome(&printed, "credentials"), wanted, "{}", String::from_utf8_lossy(&printed.stdout));
    }
}

#[tokio::test]
async fn preflight_reports_each_setting_that_undoes_a_cutover_and_what_to_do() {
    // Proves that a fresh deployment has none of them but its lenient health checks, and that each one that is set is in the list
    // of the built program by itself, with its value and with what to do, and stands in nobody's way.
    let stand = Stand::start().await;
    let (_folder, file) = discovered(&stand).await;
    let path = file.to_str().expect("the folder's name is text");
    let scene = stand.lab.scene().clone();
    let balancer = stand.lab.shared().read(|model| model.load_balancers.keys().next().expect("there is one").clone());
    let set = |operation: &str, named: (&str, &String), pairs: &[(&str, &str)]| {
        let pairs: Vec<Value> = pairs.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
        let mut input = json!({ "Attributes": pairs });
        input[named.0] = json!(named.1);
        stand.foreign(operation, &input);
    };
    let names = [
        ("group stickiness", "172800 s", "switch it off"),
        ("source stickiness", "one target", "stickiness.enabled"),
        ("source slow start", "90 s", "slow_start.duration_seconds"),
        ("target cross-zone", "its own zone", "load_balancing.cross_zone.enabled"),
        ("target DNS failover", "fewer than 2", "minimum to 1"),
        ("target fail-open", "50 %", "minimum to 1"),
        ("client keep-alive", "7200 s", "keep_alive = \"60s\""),
    ];
    let fresh = tidegate(&stand, &["preflight", path, "--json"]).await;
    for (name, ..) in names {
        assert_eq!(outcome(&fresh, name), "", "{name}: {}", String::from_utf8_lossy(&fresh.stdout));
    }
    for name in ["source health check", "target health check"] {
        assert_eq!(outcome(&fresh, name), "warn");
    }

    let group = |arn: &String, weight: u8| json!({"TargetGroupArn": arn, "Weight": weight});
    let sticky = json!([{"Type": "forward", "ForwardConfig": {
        "TargetGroups": [group(&scene.source_tg, 1), group(&scene.target_tg, 0)],
        "TargetGroupStickinessConfig": {"Enabled": true, "DurationSeconds": 172_800},
    }}]);
    stand.foreign("ModifyListener", &json!({"ListenerArn": scene.listener_arn, "DefaultActions": sticky}));
    let health = "target_group_health";
    let dns = format!("{health}.dns_failover.minimum_healthy_targets.count");
    let routing = format!("{health}.unhealthy_state_routing.minimum_healthy_targets.percentage");
    let groups = "ModifyTargetGroupAttributes";
    let of_source = [("stickiness.enabled", "true"), ("slow_start.duration_seconds", "90")];
    set(groups, ("TargetGroupArn", &scene.source_tg), &of_source);
    let of_target = [("load_balancing.cross_zone.enabled", "false"), (&*dns, "2"), (&*routing, "50")];
    set(groups, ("TargetGroupArn", &scene.target_tg), &of_target);
    set("ModifyLoadBalancerAttributes", ("LoadBalancerArn", &balancer), &[("client_keep_alive.seconds", "7200")]);
    let set = tidegate(&stand, &["preflight", path, "--json"]).await;
    let list: Value = serde_json::from_slice(&set.stdout).expect("it is JSON and nothing else");
    for (name, evidence, fix) in names {
        let found = list["checks"].as_array().expect("there is a list").iter().find(|check| check["name"] == name);
        let found = found.unwrap_or_else(|| panic!("no `{name}` in {list}"));
        let says = |key: &str, word: &str| found[key].as_str().is_some_and(|text| text.contains(word));
        assert!(found["outcome"] == "warn" && says("evidence", evidence) && says("fix", fix), "{found}");
    }
}
