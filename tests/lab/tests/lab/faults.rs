//! Faults, from the client's side: what it sees, and what was done all the same.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Running, start};

/// How long the client waits for an answer that does not come.
const SHORT: Duration = Duration::from_millis(300);

fn modify(lab: &Running, source: u32, target: u32) -> std::io::Result<crate::support::Answer> {
    lab.try_query("elasticloadbalancing", "ModifyListener", &lab.weighing(source, target), SHORT)
}

/// Proves that refusals by script have AWS's codes in each protocol and that nothing is done.
#[test]
fn refusals_by_script_do_nothing() {
    let lab = start(1, false);
    for (name, status, code) in [
        ("throttle", 400, "Throttling"),
        ("access-denied", 403, "AccessDenied"),
        ("expired-token", 403, "ExpiredToken"),
        ("error-500", 500, "InternalFailure"),
    ] {
        lab.fault(name, "ModifyListener", 1);
        let answer = lab.elb("ModifyListener", &lab.weighing(50, 50));
        assert_eq!((answer.status, answer.code()), (status, code.to_owned()));
        assert_eq!(lab.weights(), ("1".into(), "0".into()));
    }
    lab.fault("throttle", "ecs:*", 1);
    lab.ecs("ListServices", &json!({})).refused("ThrottlingException");
    lab.elb("ModifyListener", &lab.weighing(50, 50)).ok();
    assert_eq!(lab.weights(), ("50".into(), "50".into()), "a rule is used up");
}

/// Proves that a reset looks the same whether or not the write was done, and that it was in one of the two cases.
#[test]
fn a_reset_does_not_tell_whether_it_was_done() {
    let lab = start(1, false);
    lab.fault("reset", "ModifyListener", 1);
    let reset = modify(&lab, 60, 40).unwrap_err();
    assert_eq!(lab.weights(), ("1".into(), "0".into()));
    lab.fault("apply-then-drop", "ModifyListener", 1);
    let dropped = modify(&lab, 60, 40).unwrap_err();
    assert_eq!(lab.weights(), ("60".into(), "40".into()));
    assert_eq!((reset.kind(), dropped.kind()), (ErrorKind::ConnectionReset, ErrorKind::ConnectionReset));
}

/// Proves that a delayed write lands after a later one, and so undoes it, though its client is long gone.
#[test]
fn a_delayed_write_undoes_a_later_one() {
    let lab = start(60, false);
    lab.own("PUT", "faults", &json!({"name": "delayed-apply", "op": "ModifyListener", "times": 1, "seconds": 120}));
    let late = modify(&lab, 50, 50).unwrap_err();
    assert!(matches!(late.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{late}");
    lab.elb("ModifyListener", &lab.weighing(999, 1)).ok();
    lab.wait("the delayed write", |lab| (lab.weights() == ("50".into(), "50".into())).then_some(()));
    let notes = lab.own("GET", "history", &Value::Null)["actions"].clone();
    let arn = lab.lab().scene().listener_arn.clone();
    let mine: Vec<(i64, u64)> = notes
        .as_array()
        .unwrap()
        .iter()
        .filter(|note| note["arn"] == arn)
        .map(|note| {
            let weight = &note["actions"][0]["ForwardConfig"]["TargetGroups"][0]["Weight"];
            (note["at"].as_i64().unwrap(), weight.as_u64().unwrap())
        })
        .collect();
    assert_eq!(mine.iter().map(|(_, weight)| *weight).collect::<Vec<_>>(), [1, 999, 50]);
    assert!(mine.is_sorted());
}

/// Proves that a hanging call does nothing, that half an answer is seen to be one, and that a page of HTML is no AWS.
#[test]
fn answers_that_are_none() {
    let lab = start(1, false);
    lab.fault("hang", "ModifyListener", 1);
    let hung = modify(&lab, 60, 40).unwrap_err();
    assert!(matches!(hung.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{hung}");
    assert_eq!(lab.weights(), ("1".into(), "0".into()));
    lab.fault("truncated", "ModifyListener", 1);
    assert_eq!(modify(&lab, 60, 40).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(lab.weights(), ("60".into(), "40".into()), "it was done, and the answer cut");
    lab.fault("not-aws", "ModifyListener", 1);
    let page = modify(&lab, 1, 0).unwrap();
    assert!(page.status == 200 && page.body.contains("<html>"), "{}", page.body);
    assert_eq!(lab.weights(), ("60".into(), "40".into()));
}

/// Proves that stale reads show the account as it was when they were asked for, in both operations that show a rule.
#[test]
fn stale_reads_show_what_was() {
    let lab = start(1, false);
    lab.fault("stale-read", "DescribeListeners", 1);
    lab.fault("stale-read", "DescribeRules", 1);
    // Nothing is stale yet, so nothing is used up.
    assert_eq!(lab.weights(), ("1".into(), "0".into()));
    lab.elb("ModifyListener", &lab.weighing(50, 50)).ok();
    assert_eq!(lab.weights(), ("1".into(), "0".into()));
    let rules = lab.elb("DescribeRules", &json!({"ListenerArn": lab.lab().scene().listener_arn})).ok();
    assert_eq!(rules.texts("Weight"), ["1", "0"]);
    assert_eq!(lab.weights(), ("50".into(), "50".into()));
}

/// Proves that reads beyond the bucket are throttled, as AWS throttles them, and only they.
#[test]
fn the_bucket_runs_out() {
    let lab = start(1, true);
    let params = json!({"ListenerArns": [lab.lab().scene().listener_arn]});
    // Ten a second come back: a client that takes a tenth of a second for each call would never see the end of it.
    let calls = (1..=2000).find(|_| lab.elb("DescribeListeners", &params).code() == "Throttling");
    assert!(calls.is_some_and(|calls| calls > 40), "throttled at call {calls:?}");
    lab.elb("ModifyListener", &lab.weighing(2, 1)).ok();
}

/// Proves that edits by others are done when announced, in history, and that a deployment resets what it made.
#[test]
fn others_edit_and_deploy() {
    let lab = start(60, false);
    lab.own("POST", "actions", &json!({"action": "foreign-edit", "weights": {"source": 30, "target": 70}}));
    assert_eq!(lab.weights(), ("30".into(), "70".into()));
    let scene = lab.lab().scene().clone();
    lab.ecs("UpdateService", &json!({"cluster": scene.cluster, "service": scene.target_service, "desiredCount": 4}))
        .ok();
    lab.own("POST", "actions", &json!({"action": "cdk-reset", "in_seconds": 30}));
    lab.wait("the deployment", |lab| (lab.weights() == ("1".into(), "0".into())).then_some(()));
    let services =
        lab.ecs("DescribeServices", &json!({"cluster": scene.cluster, "services": [scene.target_service]})).ok();
    assert_eq!(services.json()["services"][0]["desiredCount"], 2);
    let bad = json!({"action": "foreign-edit", "weights": {"nobody": 1}});
    let answer = crate::support::http(lab.address, "POST", "/_lab/actions", "", &bad.to_string(), SHORT).unwrap();
    assert!(answer.status == 400 && answer.body.contains("TargetGroupNotFound"), "{}", answer.body);
    let unknown = crate::support::http(lab.address, "PUT", "/_lab/faults", "", r#"{"name": "sneeze"}"#, SHORT).unwrap();
    assert!(unknown.status == 400 && unknown.body.contains("throttle"), "it names what there is: {}", unknown.body);
}

/// Proves that the time of an answer is the lab's.
#[test]
fn answers_carry_lab_time() {
    let lab = start(3600, false);
    let date = |lab: &Running| {
        let head = lab.elb("DescribeTargetGroups", &json!({})).ok().head;
        head.lines().find(|line| line.starts_with("date: ")).unwrap().to_owned()
    };
    let first = date(&lab);
    lab.wait("an hour of lab time", |lab| (date(lab)[..25] != first[..25]).then_some(()));
}
