//! The permissions that `tidegate aws iam` prints, held against the calls that the lab got: each call is allowed by a feature,
//! each action of a feature is called by something, and whoever lacks one is told which, and whose it is.

use std::collections::BTreeSet;

use cutover::{Generation, Share, Timestamp, Weight};
use lab::Lab;
use lab::faults::FaultName;
use serde_json::{Value, json};
use tidegate::balancer::Balancer as _;
use tidegate::balancer::alb::{Alb, Place};
use tidegate::rights::FEATURES;

use crate::cloudwatch::{MINUTE, ago, usual};
use crate::program::{discovered, tidegate};
use crate::support::Stand;

/// AWS asks for this of whoever creates something with tags; it is no call of its own.
const NO_CALL: &str = "elasticloadbalancing:AddTags";

/// Whoever discovers makes this call, and a cutover of what was discovered does not.
const DISCOVERY: &str = "elasticloadbalancing:DescribeLoadBalancers";

/// What the policies of these features allow.
fn allowed(features: &[&str]) -> BTreeSet<String> {
    let wanted = FEATURES.iter().filter(|(name, ..)| features.contains(name));
    let documents = wanted.map(|(.., text)| serde_json::from_str::<Value>(text).expect("it is JSON"));
    let statements = documents.flat_map(|document| document["Statement"].as_array().cloned().unwrap_or_default());
    let allowing = statements.filter(|statement| statement["Effect"] == "Allow");
    let actions = allowing.flat_map(|statement| statement["Action"].as_array().cloned().unwrap_or_default());
    actions.map(|action| action.as_str().expect("an action is text").to_owned()).collect()
}

/// What the lab was asked for.
fn called(lab: &Lab) -> BTreeSet<String> {
    lab.shared().history.counts().keys().map(|call| call.replace("monitoring:", "cloudwatch:")).collect()
}

/// Asserts that these features allow every call that was made.
pub(crate) fn assert_allowed(lab: &Lab, features: &[&str]) {
    let missing: Vec<String> = called(lab).difference(&allowed(features)).cloned().collect();
    assert!(missing.is_empty(), "{missing:?} are called, and {features:?} do not allow them");
}

/// Asserts that what these features allow was called, but for what another scenario shows.
pub(crate) fn assert_used(lab: &Lab, features: &[&str]) {
    let idle: Vec<String> = allowed(features).difference(&called(lab)).cloned().collect();
    assert!(
        idle.iter().all(|action| [NO_CALL, DISCOVERY].contains(&&action[..])),
        "{idle:?} of {features:?} are called by nothing"
    );
}

#[test]
fn no_feature_is_without_a_scenario() {
    // Proves that a feature which is added is held against calls somewhere: those that are, by name.
    let held = ["observe", "services", "shift", "scale", "keep-alive", "rules", "lease", "reroute"];
    assert_eq!(FEATURES.map(|(name, ..)| name), held);
}

#[tokio::test]
async fn whoever_looks_and_lacks_a_permission_is_told_which_and_whose_it_is() {
    // Proves it for every action of `observe`, `services` and `shift`: preflight stands in the way, or warns where nothing
    // hangs on it, and names the action and the feature. What discovery and preflight call is what these allow.
    let stand = Stand::start().await;
    let (_folder, file) = discovered(&stand).await;
    let path = file.to_str().expect("the folder's name is text");
    assert_allowed(&stand.lab, &["observe"]);
    assert!(called(&stand.lab).contains(DISCOVERY));
    let first = ago(&stand, 30);
    for minute in 0..40 {
        usual(&stand, first + MINUTE * minute, false);
    }
    let ready = tidegate(&stand, &["preflight", path, "--json", "--write-check"]).await;
    assert!(ready.status.success(), "{}", String::from_utf8_lossy(&ready.stdout));
    let features = ["observe", "services", "shift"];
    assert_allowed(&stand.lab, &features);
    assert_used(&stand.lab, &features);
    for feature in features {
        for action in allowed(&[feature]) {
            let (_, operation) = action.split_once(':').expect("an action has a service");
            stand.fault(FaultName::AccessDenied, operation, 500);
            let told = format!("`{action}` is missing: `tidegate aws iam --feature {feature}`");
            if action == DISCOVERY {
                let denied = tidegate(&stand, &["aws", "discover"]).await;
                stand.mend();
                let words = String::from_utf8_lossy(&denied.stderr).into_owned();
                assert!(denied.status.code() == Some(1) && words.contains(&told), "{words}");
                continue;
            }
            let denied = tidegate(&stand, &["preflight", path, "--json", "--write-check"]).await;
            stand.mend();
            let list: Value = serde_json::from_slice(&denied.stdout).expect("it is JSON and nothing else");
            let checks = list["checks"].as_array().expect("there is a list");
            let found = checks.iter().find(|check| check["evidence"].as_str().is_some_and(|text| text.contains(&told)));
            let found = found.unwrap_or_else(|| panic!("nothing says {told}: {list}"));
            // Autoscaling that cannot be read is a warning where the policy does not scale.
            let outcome =
                if action.starts_with("application-autoscaling:") { &["warn"][..] } else { &["fail", "unknown"] };
            assert!(outcome.iter().any(|outcome| found["outcome"] == *outcome), "{action}: {found}");
        }
    }
}

#[tokio::test]
async fn rules_are_moved_by_what_their_feature_allows() {
    // Proves that a cutover whose numbered rules move with it needs `rules`, and that without it the error says so.
    let stand = Stand::start().await;
    let scene = stand.lab.scene().clone();
    let group = |arn: &String, weight: u8| json!({"TargetGroupArn": arn, "Weight": weight});
    let groups = [group(&scene.source_tg, 1), group(&scene.target_tg, 0)];
    stand.foreign(
        "CreateRule",
        &json!({
            "ListenerArn": scene.listener_arn, "Priority": "7",
            "Conditions": [{"Field": "path-pattern", "Values": ["/search*"]}],
            "Actions": [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}],
        }),
    );
    let rule = stand.lab.shared().read(|model| model.listeners[&scene.listener_arn].rules[0].arn.clone());
    let place = Place {
        listener: Some(scene.listener_arn.clone()),
        rules: vec![rule],
        source: scene.source_tg.clone(),
        target: scene.target_tg.clone(),
    };
    let alb = Alb::new(&stand.aws, place);
    let half = Share::both(Weight::new(500).expect("it is at most 1000"));
    alb.write(half, Generation(1)).await.expect("it is written");
    assert_eq!(alb.read(Timestamp(1)).await.expect("it is read").share, half);
    assert_allowed(&stand.lab, &["observe", "shift", "rules"]);
    assert_used(&stand.lab, &["shift", "rules"]);
    stand.fault(FaultName::AccessDenied, "ModifyRule", 50);
    let denied = alb.write(Share::NONE, Generation(2)).await.expect_err("it is denied");
    let told = "`elasticloadbalancing:ModifyRule` is missing: `tidegate aws iam --feature rules`";
    assert!(denied.to_string().contains(told), "{denied}");
}
