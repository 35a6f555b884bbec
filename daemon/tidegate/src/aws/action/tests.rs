//! Whole lists of actions: what is kept, what is changed, what is refused.

use serde_json::json;

use super::*;

const SOURCE: &str = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/source/73e2d6bc24d8a067";
const TARGET: &str = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/target/83e2d6bc24d8a067";
const THIRD: &str = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/third/93e2d6bc24d8a067";

/// A list with one `forward` action, in which numbers are text as XML has them.
fn weighed(source: &str, target: &str) -> Value {
    json!([{
        "Type": "forward",
        "Order": "1",
        "ForwardConfig": {
            "TargetGroups": [
                {"TargetGroupArn": SOURCE, "Weight": source},
                {"TargetGroupArn": TARGET, "Weight": target},
            ],
            "TargetGroupStickinessConfig": {"Enabled": "false"},
        },
    }])
}

/// A login before the two target groups, a third group beside them, and stickiness.
fn everything() -> Value {
    json!([
        {
            "Type": "authenticate-oidc",
            "Order": "1",
            "AuthenticateOidcConfig": {
                "Issuer": "https://id.example", "AuthorizationEndpoint": "https://id.example/a",
                "TokenEndpoint": "https://id.example/t", "UserInfoEndpoint": "https://id.example/u",
                "ClientId": "search", "SessionCookieName": "AWSELBAuth", "Scope": "openid",
                "SessionTimeout": "604800", "OnUnauthenticatedRequest": "authenticate",
                "AuthenticationRequestExtraParams": {"prompt": "login"}, "UseExistingClientSecret": "true",
            },
        },
        {
            "Type": "forward",
            "Order": "2",
            "ForwardConfig": {
                "TargetGroups": [
                    {"TargetGroupArn": SOURCE, "Weight": "100"},
                    {"TargetGroupArn": THIRD, "Weight": "7"},
                    {"TargetGroupArn": TARGET, "Weight": "0"},
                ],
                "TargetGroupStickinessConfig": {"Enabled": "true", "DurationSeconds": "3600"},
            },
        },
    ])
}

fn weights(actions: &[Action]) -> Vec<Option<i32>> {
    forward(actions).unwrap().forward_config.as_ref().unwrap().target_groups.iter().map(|tuple| tuple.weight).collect()
}

#[test]
fn a_shift_changes_two_weights_and_nothing_else() {
    // Proves that a login with its hidden secret, a third target group, stickiness and the order stay as they are.
    let before = read(&everything()).unwrap();
    let after = with_share(&before, SOURCE, TARGET, Share::both(Weight::new(50).unwrap())).unwrap();
    assert_eq!(weights(&after), [Some(950), Some(7), Some(50)]);
    let mut mended = after.clone();
    for (tuple, weight) in mended[1].forward_config.as_mut().unwrap().target_groups.iter_mut().zip([100, 7, 0]) {
        tuple.weight = Some(weight);
    }
    assert_eq!(mended, before, "everything else is as it was");

    let sent = sdk(&after);
    assert_eq!(sent.iter().map(sdk::Action::order).collect::<Vec<_>>(), [Some(1), Some(2)]);
    let oidc = sent[0].authenticate_oidc_config().unwrap();
    assert_eq!((oidc.use_existing_client_secret(), oidc.client_secret()), (Some(true), None));
    assert_eq!((oidc.session_timeout(), oidc.scope()), (Some(604_800), Some("openid")));
    assert_eq!(oidc.authentication_request_extra_params().unwrap().get("prompt").unwrap(), "login");
    let forward = sent[1].forward_config().unwrap();
    let stickiness = forward.target_group_stickiness_config().unwrap();
    assert_eq!((stickiness.enabled(), stickiness.duration_seconds()), (Some(true), Some(3600)));
    assert_eq!(forward.target_groups().len(), 3);
}

#[test]
fn what_the_journal_has_is_what_was_read() {
    // Proves that a list comes back from the journal as the same list, in AWS's own spelling.
    for list in [everything(), weighed("1", "0")] {
        let actions = read(&list).unwrap();
        let kept = spelled(&actions);
        assert_eq!(read(&kept).unwrap(), actions);
        assert_eq!(kept.as_array().unwrap().last().unwrap()["Type"], "forward");
    }
    assert_eq!(spelled(&read(&weighed("1", "0")).unwrap())[0]["ForwardConfig"]["TargetGroups"][0]["Weight"], 1);
}

#[test]
fn what_could_not_be_put_back_is_refused() {
    // Proves that anything these types do not know stops a cutover before it begins, and is named.
    let mut list = weighed("1", "0");
    list[0]["ForwardConfig"]["MirrorConfig"] = json!({"Percent": "5"});
    let told = read(&list).unwrap_err().to_string();
    assert!(told.contains("MirrorConfig") && told.contains("nothing is changed"), "{told}");
    let told = read(&json!([{"Type": "rewrite", "Order": "1"}])).unwrap_err().to_string();
    assert!(told.contains("an action of type `rewrite`"), "{told}");
    let mut list = weighed("many", "0");
    assert!(read(&list).is_err());
    list[0]["ForwardConfig"]["TargetGroups"][0]["Weight"] = json!({"Of": "both"});
    assert!(read(&list).is_err());
}

#[test]
fn lists_without_two_weights_are_refused_with_what_to_do() {
    // Proves that each list which cannot be a cutover's says what it is.
    let share = |list: &Value| share(&read(list).unwrap(), SOURCE, TARGET).unwrap_err();
    assert_eq!(share(&weighed("0", "0")), ActionError::NoWeight);
    let redirect = json!([{"Type": "redirect", "RedirectConfig": {"StatusCode": "HTTP_301", "Port": "443"}}]);
    assert_eq!(share(&redirect), ActionError::NoForward("redirect".to_owned()));
    let short = json!([{"Type": "forward", "TargetGroupArn": SOURCE}]);
    assert_eq!(share(&short), ActionError::NoGroup { found: SOURCE.to_owned(), missing: TARGET.to_owned() });
    assert!(share(&short).to_string().contains("targetClusterProxyServiceEnabled"));
    let twice = json!([{"Type": "forward", "TargetGroupArn": SOURCE}, {"Type": "forward", "TargetGroupArn": TARGET}]);
    assert_eq!(share(&twice), ActionError::Forwards(2));
}

#[test]
fn every_share_of_the_ladder_comes_back_as_it_was_written() {
    // Proves that no weight is outside of what AWS takes, that the ends are 1/0 and 0/1, and that reading gives back what
    // was written.
    let actions = read(&weighed("1", "0")).unwrap();
    for per_mille in 0..=1000 {
        let share_wanted = Share::both(Weight::new(per_mille).unwrap());
        let written = with_share(&actions, SOURCE, TARGET, share_wanted).unwrap();
        assert!(weights(&written).iter().flatten().all(|weight| (0..=999).contains(weight)), "{per_mille}");
        assert_eq!(share(&written, SOURCE, TARGET).unwrap(), share_wanted, "{per_mille}");
    }
    let ends = [Share::NONE, Share::ALL].map(|end| weights(&with_share(&actions, SOURCE, TARGET, end).unwrap()));
    assert_eq!(ends, [[Some(1), Some(0)], [Some(0), Some(1)]]);
}

#[test]
fn a_share_that_is_neither_nothing_nor_all_is_never_rounded_to_it() {
    // Proves that one in a thousand and more is not called nothing, for weights that somebody else chose.
    let share = |source: &str, target: &str| share(&read(&weighed(source, target)).unwrap(), SOURCE, TARGET).unwrap();
    let both = |per_mille| Share::both(Weight::new(per_mille).unwrap());
    assert_eq!(share("999", "1"), both(1));
    assert_eq!(share("1", "999"), both(999));
    assert_eq!(share("2", "1"), both(333));
    assert_eq!(share("100", "0"), Share::NONE);
    assert_eq!(share("0", "7"), Share::ALL);
}

#[test]
fn only_what_differs_in_meaning_differs() {
    // Proves that AWS may spell the same in its own way, and that everything with a meaning is seen.
    let one = read(&weighed("1", "0")).unwrap();
    let mut other = weighed("1", "0");
    other[0].as_object_mut().unwrap().remove("Order");
    other[0]["ForwardConfig"].as_object_mut().unwrap().remove("TargetGroupStickinessConfig");
    other[0]["ForwardConfig"]["TargetGroups"].as_array_mut().unwrap().reverse();
    assert!(same(&one, &read(&other).unwrap()));

    let short = read(&json!([{"Type": "forward", "TargetGroupArn": SOURCE}])).unwrap();
    let long =
        json!([{"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": SOURCE, "Weight": "5"}]}}]);
    assert!(same(&short, &read(&long).unwrap()));

    assert!(!same(&one, &read(&weighed("1", "1")).unwrap()));
    assert!(!same(&one, &read(&weighed("100", "0")).unwrap()), "the original numbers come back");
    let mut sticky = weighed("1", "0");
    sticky[0]["ForwardConfig"]["TargetGroupStickinessConfig"] = json!({"Enabled": "true", "DurationSeconds": "60"});
    assert!(!same(&one, &read(&sticky).unwrap()));
    assert!(!same(&one, &read(&everything()).unwrap()));
    let mut scope = everything();
    scope[0]["AuthenticateOidcConfig"]["Scope"] = json!("email");
    assert!(!same(&read(&everything()).unwrap(), &read(&scope).unwrap()));
}
