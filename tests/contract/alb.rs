//! The balancer port over an ALB: what is written is read, what was recorded comes back whole, and failures say whether to
//! try again.

use cutover::event::Retry;
use cutover::{Generation, Share, Timestamp, Weight};
use lab::faults::FaultName;
use serde_json::{Value, json};
use tidegate::balancer::Balancer;
use tidegate::balancer::alb::{Alb, Place};

use crate::support::Stand;

fn alb(stand: &Stand, listener: Option<String>) -> Alb {
    let scene = stand.lab.scene();
    let (source, target) = (scene.source_tg.clone(), scene.target_tg.clone());
    Alb::new(&stand.aws, Place { listener, rules: Vec::new(), source, target })
}

fn both(per_mille: u16) -> Share {
    Share::both(Weight::new(per_mille).expect("it is at most 1000"))
}

/// The default actions as the lab has them, in AWS's spelling.
fn actions(stand: &Stand) -> Value {
    let arn = &stand.lab.scene().listener_arn;
    let input = json!({ "ListenerArns": [arn] });
    let shared = stand.lab.shared();
    let answer = shared.read(|model| {
        lab::elbv2::read(model, shared.clock.now(), "DescribeListeners", lab::wire::params::Params(&input))
    });
    answer.expect("the lab has this operation").expect("the listener is there")["Listeners"][0]["DefaultActions"]
        .clone()
}

async fn read(alb: &Alb) -> cutover::event::Reading {
    alb.read(Timestamp(7)).await.expect("it is read")
}

#[tokio::test]
async fn every_share_that_is_written_is_read_back_and_the_original_returns() {
    // Proves the round trip over the wire: shares, ends, and the recorded action byte for byte as the core compares it.
    let stand = Stand::start().await;
    let alb = alb(&stand, None);
    let original = read(&alb).await;
    assert_eq!((original.share, original.begun), (Share::NONE, Timestamp(7)));
    let before = actions(&stand);
    for (generation, per_mille) in [10, 50, 333, 500, 999, 1000, 0].into_iter().enumerate() {
        alb.write(both(per_mille), Generation(generation as u64)).await.expect("it is written");
        assert_eq!(read(&alb).await.share, both(per_mille));
    }
    alb.write(both(250), Generation(8)).await.expect("it is written");
    alb.restore(&original.action, Generation(9)).await.expect("it is put back");
    let after = read(&alb).await;
    assert_eq!((after.share, &after.action), (original.share, &original.action));
    assert_eq!(actions(&stand), before, "the list of actions is the same in depth");
}

#[tokio::test]
async fn a_login_a_third_group_and_stickiness_survive_a_cutover() {
    // Proves that only two weights move, that the secret which AWS never tells is kept, and that the revert brings back the
    // original numbers.
    let stand = Stand::start().await;
    let scene = stand.lab.scene().clone();
    let others = stand.lab.shared().read(|model| {
        let known = [&scene.source_tg, &scene.target_tg];
        model.target_groups.keys().find(|arn| !known.contains(arn)).cloned().expect("there is a third group")
    });
    let login = json!({"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": {
        "Issuer": "https://id.example", "AuthorizationEndpoint": "https://id.example/a",
        "TokenEndpoint": "https://id.example/t", "UserInfoEndpoint": "https://id.example/u",
        "ClientId": "search", "ClientSecret": "nobody reads this", "OnUnauthenticatedRequest": "authenticate",
    }});
    let forward = json!({"Type": "forward", "Order": 2, "ForwardConfig": {
        "TargetGroups": [
            {"TargetGroupArn": scene.source_tg, "Weight": 100}, {"TargetGroupArn": others, "Weight": 7},
            {"TargetGroupArn": scene.target_tg, "Weight": 0},
        ],
        "TargetGroupStickinessConfig": {"Enabled": true, "DurationSeconds": 60},
    }});
    stand.foreign("ModifyListener", &json!({"ListenerArn": scene.listener_arn, "DefaultActions": [login, forward]}));
    let before = actions(&stand);
    let alb = alb(&stand, Some(scene.listener_arn.clone()));
    let original = read(&alb).await;
    alb.write(both(50), Generation(1)).await.expect("it is written");
    let mut during = actions(&stand);
    let groups = during.pointer_mut("/1/ForwardConfig/TargetGroups").and_then(Value::as_array_mut).expect("a forward");
    let weights: Vec<i64> = groups.iter().filter_map(|group| group["Weight"].as_i64()).collect();
    assert_eq!(weights, [950, 7, 50]);
    for (group, weight) in groups.iter_mut().zip([100, 7, 0]) {
        group["Weight"] = json!(weight);
    }
    assert_eq!(during, before, "nothing but two weights changed");
    alb.restore(&original.action, Generation(2)).await.expect("it is put back");
    assert_eq!(actions(&stand), before);
}

#[tokio::test]
async fn a_failed_call_says_whether_another_makes_sense() {
    // Proves it for refusals, throttling and lost answers; and that a write whose answer was lost may stand.
    let stand = Stand::start().await;
    let alb = alb(&stand, Some(stand.lab.scene().listener_arn.clone()));
    stand.fault(FaultName::AccessDenied, "ModifyListener", 1);
    let denied = alb.write(both(50), Generation(1)).await.expect_err("it is denied");
    assert_eq!(denied.retry, Retry::Never);
    assert!(denied.to_string().contains("tidegate aws iam"), "{denied}");
    assert_eq!(read(&alb).await.share, Share::NONE);

    stand.fault(FaultName::Throttle, "DescribeListeners", 50);
    let throttled = alb.read(Timestamp(1)).await.expect_err("it is throttled");
    assert_eq!(throttled.retry, Retry::Later);
    assert!(throttled.to_string().contains("Throttling"), "{throttled}");
    stand.mend();

    stand.fault(FaultName::ApplyThenDrop, "ModifyListener", 50);
    let lost = alb.write(both(50), Generation(2)).await.expect_err("the answer is lost");
    assert_eq!(lost.retry, Retry::Later);
    stand.mend();
    assert_eq!(read(&alb).await.share, both(50), "it was done all the same");

    stand.fault(FaultName::NotAws, "DescribeListeners", 50);
    assert!(alb.read(Timestamp(1)).await.is_err(), "a page of a captive portal is no answer");
    stand.mend();
    let gone = Alb::new(
        &stand.aws,
        Place {
            listener: Some(format!("{}0", stand.lab.scene().listener_arn)),
            rules: Vec::new(),
            source: stand.lab.scene().source_tg.clone(),
            target: stand.lab.scene().target_tg.clone(),
        },
    );
    assert_eq!(gone.read(Timestamp(1)).await.expect_err("there is no such listener").retry, Retry::Never);
}

#[tokio::test]
async fn a_listener_that_cannot_be_a_cutovers_is_refused_with_words() {
    // Proves that a redirect, both weights at 0 and a listener without both groups are refused before anything is changed.
    let stand = Stand::start().await;
    let scene = stand.lab.scene().clone();
    let alb = alb(&stand, Some(scene.listener_arn.clone()));
    let set = |action: Value| {
        stand.foreign("ModifyListener", &json!({"ListenerArn": scene.listener_arn, "DefaultActions": [action]}));
    };
    set(json!({"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301", "Port": "8443"}}));
    let told = alb.read(Timestamp(1)).await.expect_err("it does not forward");
    assert!(told.retry == Retry::Never && told.to_string().contains("`redirect`"), "{told}");
    set(json!({"Type": "forward", "TargetGroupArn": scene.source_tg}));
    let told = alb.read(Timestamp(1)).await.expect_err("it lacks a group");
    assert!(told.to_string().contains("targetClusterProxyServiceEnabled"), "{told}");
    let client = stand.aws.balancing();
    let found = tidegate::aws::find::listener(&client, "balancer", &scene.source_tg, &scene.target_tg);
    assert!(found.await.expect_err("none weighs both").to_string().contains("tidegate aws discover"));
}

#[tokio::test]
async fn the_weighted_listener_is_found_whatever_its_port() {
    // Proves that discovery finds Migration Assistant's listener by its target groups, with both ARNs and weights.
    let stand = Stand::start().await;
    let scene = stand.lab.scene();
    let found = tidegate::aws::find::weighted(&stand.aws.balancing(), "aws").await.expect("it is listed");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&found[0].listener, found[0].port.as_str()), (&scene.listener_arn, "HTTPS:443"));
    let groups: Vec<(&str, i32)> = found[0].groups.iter().map(|group| (group.arn.as_str(), group.weight)).collect();
    assert_eq!(groups, [(scene.source_tg.as_str(), 1), (scene.target_tg.as_str(), 0)]);
}
