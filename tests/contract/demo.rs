//! `tidegate demo --aws` by the built program: what it says at its end is what the lab has.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tidegate_tests::servers::built_binary;

/// How long such a demo may take.
const SECONDS_MAX: f64 = 140.0;

/// Runs a demo to its end; its last line.
fn demo(more: &[&str]) -> Value {
    let ended = Command::new(built_binary()).args(["demo", "--aws", "--json"]).args(more).output();
    let ended = ended.expect("the program can be run");
    let words = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "it did not end as its scenario should:\n{words}");
    let last: Value = serde_json::from_slice(&ended.stdout).unwrap_or_else(|why| panic!("{why}:\n{words}"));
    assert!(last["seconds"].as_f64().is_some_and(|seconds| seconds <= SECONDS_MAX), "{last}");
    assert!(last["api_calls"].as_u64().is_some_and(|calls| calls > 20), "{last}");
    let dossier = Path::new(last["dossier"].as_str().expect("it is a path"));
    let page = std::fs::read_to_string(dossier).expect("the dossier is there");
    assert!(page.contains("aws elbv2 modify-listener"), "the dossier says the way back by hand");
    let folder = dossier.parent().expect("it lies in a folder of the demo's");
    std::fs::remove_dir_all(folder).expect("a folder of the demo's");
    last
}

/// The actions with these weights for source and target.
fn with_weights(mut actions: Value, weights: [u16; 2]) -> Value {
    let groups = actions.pointer_mut("/0/ForwardConfig/TargetGroups").and_then(Value::as_array_mut);
    for (group, weight) in groups.expect("it forwards").iter_mut().zip(weights) {
        group["Weight"] = json!(weight);
    }
    actions
}

/// Proves that a clean demo moves everything without a failed request and changes two weights and nothing else.
#[test]
fn a_clean_demo_in_aws_moves_everything_and_changes_two_weights() {
    let last = demo(&[]);
    assert_eq!((&last["outcome"], &last["failed_requests"]), (&json!("done"), &json!(0)), "{last}");
    assert_eq!((&last["source_weight"], &last["target_weight"]), (&json!(0), &json!(1000)), "{last}");
    assert_eq!(with_weights(last["listener_before"].clone(), [0, 1]), last["listener_after"], "{last}");
    assert_eq!(last["first_bad_ms"], Value::Null);
}

/// Proves that a target which breaks midway loses its traffic by CloudWatch's minutes, and that the list of actions is then
/// what it was, in depth.
#[test]
fn a_target_that_fails_in_aws_is_left_and_nothing_stays_changed() {
    let last = demo(&["--fault", "errors"]);
    assert_eq!((&last["outcome"], &last["target_weight"]), (&json!("reverted"), &json!(0)), "{last}");
    assert_eq!(last["listener_before"], last["listener_after"], "{last}");
    let [first, end] = ["first_bad_ms", "last_bad_ms"].map(|key| last[key].as_u64().expect("answers were bad"));
    assert!(first < end && last["failed_requests"].as_u64().is_some_and(|failed| failed > 0), "{last}");
}
