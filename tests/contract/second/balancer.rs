//! The balancer port over an ALB, wherever that is.

use cutover::event::Retry;
use cutover::{Generation, Share, Timestamp};
use serde_json::{Value, json};
use tidegate::balancer::Balancer as _;

use super::ground::{Ground, both, forward, weights};
use super::{BOTH, Case, LAB, Ran};

/// The cases.
pub(crate) const CASES: [Case; 12] = [
    Case { name: "every share that is written is read back", on: BOTH, unlike: "", run: every_share },
    Case { name: "the recorded action comes back whole", on: BOTH, unlike: "", run: comes_back },
    Case { name: "a third group, stickiness and a log-in are kept", on: BOTH, unlike: "", run: kept },
    Case { name: "a secret that is never told is kept", on: LAB, unlike: "the secret of a log-in", run: secret },
    Case { name: "what somebody else changes meanwhile is kept", on: BOTH, unlike: "", run: foreign },
    Case { name: "the listener is found by its target groups", on: BOTH, unlike: "", run: found },
    Case { name: "a listener that is not there is final", on: BOTH, unlike: "", run: no_listener },
    Case { name: "an ARN of another kind is final", on: BOTH, unlike: "", run: another_kind },
    Case { name: "weights of 0 and 0 are refused", on: BOTH, unlike: "", run: no_weight },
    Case { name: "a listener that does not forward is refused", on: BOTH, unlike: "", run: no_forward },
    Case { name: "a listener without the target is refused", on: BOTH, unlike: "", run: no_target },
    Case {
        name: "what AWS refuses to be put back is final and changes nothing",
        on: LAB,
        unlike: "a weight of 1000",
        run: refused,
    },
];

fn every_share(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let alb = ground.alb(None);
        let read = alb.read(Timestamp(7)).await.expect("it is read");
        assert_eq!((read.share, read.begun), (Share::NONE, Timestamp(7)));
        for (generation, per_mille) in [10, 333, 500, 999, 1000, 0].into_iter().enumerate() {
            alb.write(both(per_mille), Generation(generation as u64)).await.expect("it is written");
            assert_eq!(alb.read(Timestamp(8)).await.expect("it is read").share, both(per_mille));
            let (source, target) = match per_mille {
                0 => (1, 0),
                1000 => (0, 1),
                other => (1000 - other, other),
            };
            assert_eq!(weights(&ground.actions().await), [source.to_string(), target.to_string()]);
        }
    })
}

fn comes_back(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let alb = ground.alb(Some(ground.scene.listener.clone()));
        // Not what we would write: the original numbers come back, and not the share that they make.
        ground.set_actions(json!([forward(&[(&ground.scene.source, 7), (&ground.scene.target, 0)])])).await;
        let before = ground.actions().await;
        let original = alb.read(Timestamp(1)).await.expect("it is read");
        alb.write(both(250), Generation(1)).await.expect("it is written");
        assert_eq!(weights(&ground.actions().await), ["750", "250"]);
        alb.restore(&original.action, Generation(2)).await.expect("it is put back");
        assert_eq!(ground.actions().await, before, "the list of actions is the same in depth");
        let after = alb.read(Timestamp(2)).await.expect("it is read");
        assert_eq!((after.share, &after.action), (original.share, &original.action));
    })
}

/// Three groups, stickiness, and a log-in before them.
fn chain(ground: &Ground, login: &Value) -> Value {
    let scene = &ground.scene;
    let mut action = forward(&[(&scene.source, 100), (&scene.other, 7), (&scene.target, 0)]);
    action["ForwardConfig"]["TargetGroupStickinessConfig"] = json!({"Enabled": true, "DurationSeconds": 60});
    action["Order"] = json!(2);
    json!([login, action])
}

async fn only_weights_move(ground: &Ground, login: &Value) {
    ground.set_actions(chain(ground, login)).await;
    let before = ground.actions().await;
    assert_eq!(before.as_array().map(Vec::len), Some(2), "{before}");
    let alb = ground.alb(Some(ground.scene.listener.clone()));
    let original = alb.read(Timestamp(1)).await.expect("it is read");
    alb.write(both(50), Generation(1)).await.expect("it is written");
    let mut during = ground.actions().await;
    assert_eq!(weights(&during), ["950", "7", "50"]);
    let groups = during.pointer_mut("/1/ForwardConfig/TargetGroups").and_then(Value::as_array_mut).expect("a forward");
    for (group, weight) in groups.iter_mut().zip(["100", "7", "0"]) {
        group["Weight"] = json!(weight);
    }
    assert_eq!(during, before, "nothing but two weights changed");
    alb.restore(&original.action, Generation(2)).await.expect("it is put back");
    assert_eq!(ground.actions().await, before);
}

fn kept(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let login = json!({"Type": "authenticate-cognito", "Order": 1, "AuthenticateCognitoConfig": {
            "UserPoolArn": "arn:aws:cognito-idp:us-east-1:123456789012:userpool/us-east-1_Ab1Cd2Ef3",
            "UserPoolClientId": "1example23456789", "UserPoolDomain": "search", "SessionCookieName": "session",
            "Scope": "openid", "SessionTimeout": 3600, "OnUnauthenticatedRequest": "authenticate"}});
        only_weights_move(ground, &login).await;
    })
}

/// A log-in with a secret.
pub(crate) fn oidc() -> Value {
    json!({"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": {
        "Issuer": "https://id.example", "AuthorizationEndpoint": "https://id.example/a",
        "TokenEndpoint": "https://id.example/t", "UserInfoEndpoint": "https://id.example/u",
        "ClientId": "search", "ClientSecret": "nobody reads this", "OnUnauthenticatedRequest": "authenticate"}})
}

fn secret(ground: &Ground) -> Ran<'_> {
    Box::pin(async move { only_weights_move(ground, &oidc()).await })
}

fn foreign(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let scene = &ground.scene;
        let alb = ground.alb(Some(scene.listener.clone()));
        alb.write(both(100), Generation(1)).await.expect("it is written");
        let theirs = forward(&[(&scene.source, 900), (&scene.target, 100), (&scene.other, 3)]);
        ground.set_actions(json!([theirs])).await;
        assert_eq!(alb.read(Timestamp(1)).await.expect("it is read").share, both(100), "their group is not counted");
        alb.write(both(200), Generation(2)).await.expect("it is written");
        assert_eq!(weights(&ground.actions().await), ["800", "200", "3"], "and it is not lost");
    })
}

fn found(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let Ground { scene, aws, .. } = ground;
        let client = aws.balancing();
        let found = tidegate::aws::find::listener(&client, "balancer", &scene.source, &scene.target).await;
        assert_eq!(found.expect("it is found"), scene.listener);
        let mistaken = tidegate::aws::find::listener(&client, "balancer", &scene.source, &scene.other).await;
        let told = mistaken.expect_err("nothing weighs these two").to_string();
        assert!(told.contains("tidegate aws discover"), "{told}");
        let all = tidegate::aws::find::weighted(&client, "aws").await.expect("they are listed");
        assert!(all.iter().any(|one| one.listener == scene.listener && one.port == "HTTPS:443"), "{all:?}");
    })
}

/// A listener that cannot be read is not to be tried again; with what is said of it.
async fn is_final(ground: &Ground, listener: String) -> String {
    let alb = ground.alb(Some(listener));
    let told = alb.read(Timestamp(1)).await.expect_err("it cannot be read");
    assert_eq!(told.retry, Retry::Never, "{told}");
    let written = alb.write(both(50), Generation(1)).await.expect_err("it cannot be written");
    assert_eq!(written.retry, Retry::Never, "{written}");
    assert_eq!(weights(&ground.actions().await), ["1", "0"], "and nothing else was touched");
    told.to_string()
}

fn no_listener(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let listener = &ground.scene.listener;
        let other = format!("{}0000", &listener[..listener.len() - 4]);
        let told = is_final(ground, other).await;
        assert!(told.contains("ListenerNotFound"), "{told}");
    })
}

fn another_kind(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        is_final(ground, ground.scene.source.clone()).await;
    })
}

async fn refused_with(ground: &Ground, action: Value, words: &str) {
    ground.set_actions(json!([action])).await;
    let before = ground.actions().await;
    let alb = ground.alb(Some(ground.scene.listener.clone()));
    let told = alb.read(Timestamp(1)).await.expect_err("it is refused");
    assert!(told.retry == Retry::Never && told.to_string().contains(words), "{told}");
    alb.write(both(50), Generation(1)).await.expect_err("and not written either");
    assert_eq!(ground.actions().await, before, "nothing is changed");
}

fn no_weight(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let scene = &ground.scene;
        let action = forward(&[(&scene.source, 0), (&scene.target, 0), (&scene.other, 1)]);
        ground.set_actions(json!([action])).await;
        let alb = ground.alb(Some(scene.listener.clone()));
        let told = alb.read(Timestamp(1)).await.expect_err("nobody gets anything");
        assert!(told.retry == Retry::Never && told.to_string().contains("have weight 0"), "{told}");
        for (share, written) in [(0, ["1", "0", "1"]), (1000, ["0", "1", "1"])] {
            alb.write(both(share), Generation(1)).await.expect("it is written");
            assert_eq!(weights(&ground.actions().await), written, "one side has always a weight");
        }
    })
}

fn no_forward(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let redirect = json!({"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301", "Port": "8443"}});
        refused_with(ground, redirect, "`redirect`").await;
        let fixed = json!({"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}});
        refused_with(ground, fixed, "`fixed-response`").await;
    })
}

fn no_target(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let alone = json!({"Type": "forward", "TargetGroupArn": ground.scene.source});
        refused_with(ground, alone, "targetClusterProxyServiceEnabled").await;
    })
}

fn refused(ground: &Ground) -> Ran<'_> {
    Box::pin(async move {
        let scene = &ground.scene;
        let alb = ground.alb(Some(scene.listener.clone()));
        let before = ground.actions().await;
        let mut six = vec![(scene.source.clone(), 1), (scene.target.clone(), 0)];
        for number in 0..4 {
            let input = json!({"Name": format!("more-{number}"), "Protocol": "HTTPS", "Port": 9200, "TargetType": "ip",
                "VpcId": "vpc-0a1b2c3d4e5f60718"});
            let made = ground.done("elasticloadbalancing", "CreateTargetGroup", &input).await;
            let arn = made["TargetGroups"][0]["TargetGroupArn"].as_str().expect("it is made");
            six.push((arn.to_owned(), 0));
        }
        let six: Vec<(&str, i32)> = six.iter().map(|(arn, weight)| (arn.as_str(), *weight)).collect();
        let gone = format!("{}0000", &scene.target[..scene.target.len() - 4]);
        for (what, action, code) in [
            ("a weight of 1000", forward(&[(&scene.source, 1000), (&scene.target, 0)]), "ValidationError"),
            ("six groups", forward(&six), "ValidationError"),
            ("a deleted group", forward(&[(&scene.source, 1), (&gone, 0)]), "TargetGroupNotFound"),
            ("a listener for a group", forward(&[(&scene.source, 1), (&scene.listener, 0)]), "ValidationError"),
            ("a group twice", forward(&[(&scene.source, 1), (&scene.source, 0)]), "InvalidLoadBalancerAction"),
        ] {
            let original = json!({"ListenerArn": scene.listener, "DefaultActions": [action]});
            let told = alb.restore(&original, Generation(1)).await.expect_err(what);
            assert!(told.retry == Retry::Never && told.to_string().contains(code), "{what}: {told}");
            assert_eq!(ground.actions().await, before, "{what} changed something");
        }
    })
}
