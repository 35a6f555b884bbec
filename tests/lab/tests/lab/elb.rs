//! Elastic Load Balancing: what AWS refuses, what it keeps, what it never shows.

use serde_json::{Value, json};

use crate::support::{Running, start};

fn listener(lab: &Running) -> Value {
    lab.lab().scene().listener_arn.clone().into()
}

/// Proves that the default rule and the listener are one: a write to one is read from the other, and the rule itself
/// cannot be written to.
#[test]
fn the_default_rule_and_the_listener_are_one() {
    let lab = start(1, false);
    lab.elb("ModifyListener", &lab.weighing(95, 5)).ok();
    let rules = lab.elb("DescribeRules", &json!({"ListenerArn": listener(&lab)})).ok();
    assert_eq!(rules.texts("Priority"), ["default"]);
    assert_eq!(rules.texts("Weight"), ["95", "5"]);
    let rule = rules.texts("RuleArn")[0].to_owned();
    let mut write = lab.weighing(50, 50);
    let actions = write["DefaultActions"].take();
    let refusal = lab.elb("ModifyRule", &json!({"RuleArn": rule, "Actions": actions})).refused("OperationNotPermitted");
    assert!(refusal.texts("Message")[0].starts_with("Default rule '"), "{}", refusal.body);
    lab.elb("DeleteRule", &json!({"RuleArn": rule})).refused("OperationNotPermitted");
    assert_eq!(lab.weights(), ("95".into(), "5".into()));
}

/// Proves that action lists which AWS refuses are refused with its codes, and that nothing changes then.
#[test]
fn what_aws_refuses_changes_nothing() {
    let lab = start(1, false);
    let (source, target) = (lab.lab().scene().source_tg.clone(), lab.lab().scene().target_tg.clone());
    let group = |arn: &str, weight: i64| json!({"TargetGroupArn": arn, "Weight": weight});
    let forward = |groups: Value| json!([{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]);
    let sticky = |stickiness: Value| {
        json!([{"Type": "forward", "ForwardConfig": {
            "TargetGroups": [group(&source, 1), group(&target, 0)], "TargetGroupStickinessConfig": stickiness}}])
    };
    let gone = source.replace("ALBSourceProxy", "Gone");
    let fixed = json!({"Type": "fixed-response", "Order": 2, "FixedResponseConfig": {"StatusCode": "503"}});
    let oidc = json!({"Issuer": "https://i", "AuthorizationEndpoint": "https://i/a", "TokenEndpoint": "https://i/t",
                      "UserInfoEndpoint": "https://i/u", "ClientId": "c", "ClientSecret": "s"});
    let six: Vec<Value> = (0..6)
        .map(|index| {
            let name = format!("six-{index}");
            let vpc = "vpc-0a1b2c3d4e5f60718";
            let made = lab.elb(
                "CreateTargetGroup",
                &json!({"Name": name, "Protocol": "HTTPS", "Port": 9200, "VpcId": vpc,
                                                            "TargetType": "ip"}),
            );
            group(made.ok().texts("TargetGroupArn")[0], 1)
        })
        .collect();
    let refused: Vec<(&str, Value, &str)> = vec![
        ("weight 1000", forward(json!([group(&source, 1000), group(&target, 0)])), "ValidationError"),
        ("weight -1", forward(json!([group(&source, 1), group(&target, -1)])), "ValidationError"),
        ("no weights", forward(json!([{"TargetGroupArn": source}, {"TargetGroupArn": target}])), "ValidationError"),
        ("six groups", forward(six.into()), "ValidationError"),
        ("one twice", forward(json!([group(&source, 1), group(&source, 0)])), "InvalidLoadBalancerAction"),
        ("unknown group", forward(json!([group(&gone, 1), group(&target, 0)])), "TargetGroupNotFound"),
        ("no group's ARN", forward(json!([group("arn:aws:s3:::x", 1)])), "ValidationError"),
        ("no groups", json!([{"Type": "forward"}]), "ValidationError"),
        ("sticky for nothing", sticky(json!({"Enabled": true, "DurationSeconds": 0})), "ValidationError"),
        ("sticky for how long", sticky(json!({"Enabled": true})), "ValidationError"),
        ("sticky for ever", sticky(json!({"Enabled": true, "DurationSeconds": 604_801})), "ValidationError"),
        ("off with 0", sticky(json!({"Enabled": false, "DurationSeconds": 0})), "ValidationError"),
        (
            "two forwards",
            json!([{"Type": "forward", "Order": 1, "TargetGroupArn": source},
                                {"Type": "forward", "Order": 2, "TargetGroupArn": target}]),
            "InvalidLoadBalancerAction",
        ),
        (
            "forward, then fixed",
            json!([{"Type": "forward", "Order": 1, "TargetGroupArn": source}, fixed]),
            "InvalidLoadBalancerAction",
        ),
        (
            "no orders",
            json!([{"Type": "authenticate-oidc", "AuthenticateOidcConfig": oidc},
                             {"Type": "forward", "TargetGroupArn": source}]),
            "InvalidLoadBalancerAction",
        ),
        (
            "both ways at odds",
            json!([{"Type": "forward", "TargetGroupArn": target, "ForwardConfig": {"TargetGroups":
            [group(&source, 1)]}}]),
            "InvalidLoadBalancerAction",
        ),
        ("unknown type", json!([{"Type": "teleport"}]), "ValidationError"),
        ("order 0", json!([{"Type": "forward", "Order": 0, "TargetGroupArn": source}]), "ValidationError"),
        ("no type", json!([{"Order": 1}]), "MissingParameter"),
    ];
    let before = lab.own("GET", "state", &Value::Null)["account"]["Listeners"].clone();
    for (what, actions, code) in refused {
        let answer = lab.elb("ModifyListener", &json!({"ListenerArn": listener(&lab), "DefaultActions": actions}));
        assert_eq!((answer.status, answer.code()), (400, code.to_owned()), "{what}: {}", answer.body);
    }
    lab.elb("ModifyListener", &json!({"ListenerArn": source})).refused("ValidationError");
    let nobody = listener(&lab).as_str().unwrap().replace("listener/app/Mig", "listener/app/Nob");
    lab.elb("ModifyListener", &json!({"ListenerArn": nobody})).refused("ListenerNotFound");
    assert_eq!(lab.own("GET", "state", &Value::Null)["account"]["Listeners"], before);
}

/// Proves that a chain with a log-in, a third target group and stickiness comes back as it was sent but for the secret,
/// which nobody sees again, can be kept, and cannot be both kept and sent.
#[test]
fn a_chain_comes_back_whole_but_for_its_secret() {
    let lab = start(1, false);
    let (source, target) = (lab.lab().scene().source_tg.clone(), lab.lab().scene().target_tg.clone());
    let made = lab
        .elb(
            "CreateTargetGroup",
            &json!({"Name": "third", "Protocol": "HTTPS", "Port": 9200,
        "VpcId": "vpc-0a1b2c3d4e5f60718", "TargetType": "ip"}),
        )
        .ok();
    let third = made.texts("TargetGroupArn")[0].to_owned();
    let chain = |secret: Value, weight: u32| {
        let mut oidc = json!({"Issuer": "https://i", "AuthorizationEndpoint": "https://i/a", "TokenEndpoint": "https://i/t",
            "UserInfoEndpoint": "https://i/u", "ClientId": "c", "SessionTimeout": 3600,
            "AuthenticationRequestExtraParams": {"entry": [{"key": "prompt", "value": "login"}]}});
        for (name, value) in secret.as_object().unwrap() {
            oidc[name] = value.clone();
        }
        // The map has its entries without `member`, which is what the reader of forms takes them to be.
        json!({"ListenerArn": listener(&lab), "DefaultActions": [
            {"Type": "authenticate-oidc", "Order": 10, "AuthenticateOidcConfig": oidc},
            {"Type": "forward", "Order": 20, "ForwardConfig": {
                "TargetGroups": [{"TargetGroupArn": third, "Weight": 7}, {"TargetGroupArn": source, "Weight": weight},
                                 {"TargetGroupArn": target, "Weight": 0}],
                "TargetGroupStickinessConfig": {"Enabled": true, "DurationSeconds": 77}}}]})
    };
    let kept = json!({"UseExistingClientSecret": "true"});
    lab.elb("ModifyListener", &chain(kept.clone(), 1)).refused("InvalidLoadBalancerAction");
    lab.elb("ModifyListener", &chain(json!({}), 1)).refused("InvalidLoadBalancerAction");
    lab.elb("ModifyListener", &chain(json!({"ClientSecret": "s3cr3t", "UseExistingClientSecret": "false"}), 1)).ok();
    lab.elb("ModifyListener", &chain(json!({"ClientSecret": "s3cr3t", "UseExistingClientSecret": "true"}), 1))
        .refused("InvalidLoadBalancerAction");
    let shown = lab.elb("ModifyListener", &chain(kept, 2)).ok();
    assert_eq!(shown.texts("Weight"), ["7", "2", "0"]);
    let read = lab.elb("DescribeListeners", &json!({"ListenerArns": [listener(&lab)]})).ok();
    let rules = lab.elb("DescribeRules", &json!({"ListenerArn": listener(&lab)})).ok();
    for answer in [&shown, &read, &rules] {
        assert_eq!(answer.texts("Order"), ["10", "20"]);
        assert_eq!(answer.texts("DurationSeconds"), ["77"]);
        assert_eq!(answer.texts("SessionTimeout"), ["3600"]);
        assert_eq!((answer.texts("key"), answer.texts("value")), (vec!["prompt"], vec!["login"]));
        assert!(!answer.body.contains("s3cr3t") && !answer.body.contains("Secret"), "{}", answer.body);
    }
    let everything = format!("{}{}", lab.own("GET", "history", &Value::Null), lab.own("GET", "state", &Value::Null));
    assert!(!everything.contains("s3cr3t"), "the lab's own API shows the secret");
}

/// Proves that pages follow each other without gap or repetition, and that a page's size is bounded.
#[test]
fn pages_follow_each_other() {
    let lab = start(1, false);
    let all = lab.elb("DescribeTargetGroups", &json!({})).ok();
    let all: Vec<String> = all.texts("TargetGroupArn").into_iter().map(str::to_owned).collect();
    let (mut seen, mut marker) = (Vec::new(), None::<String>);
    loop {
        let mut params = json!({"PageSize": 1});
        if let Some(marker) = &marker {
            params["Marker"] = marker.clone().into();
        }
        let page = lab.elb("DescribeTargetGroups", &params).ok();
        assert_eq!(page.texts("TargetGroupArn").len(), 1);
        seen.push(page.texts("TargetGroupArn")[0].to_owned());
        marker = page.texts("NextMarker").first().map(|marker| (*marker).to_owned());
        if marker.is_none() {
            break;
        }
    }
    assert_eq!(seen, all);
    assert_eq!(seen.len(), 3);
    lab.elb("DescribeTargetGroups", &json!({"PageSize": 401})).refused("ValidationError");
    lab.elb("DescribeTargetGroups", &json!({"Marker": "bm9uZQ"})).refused("ValidationError");
}

/// Proves that targets are told apart by id and port, that one which leaves drains first, and that a group which nobody
/// uses has unused targets only.
#[test]
fn targets_are_pairs_of_id_and_port() {
    let lab = start(60, false);
    let group = lab.lab().scene().target_tg.clone();
    let health = |lab: &Running, port: u16| {
        let params = json!({"TargetGroupArn": group, "Targets": [{"Id": "10.0.1.200", "Port": port}]});
        let answer = lab.elb("DescribeTargetHealth", &params).ok();
        (answer.texts("State")[0].to_owned(), answer.texts("Reason").first().map_or("", |reason| reason).to_owned())
    };
    let both = json!([{"Id": "10.0.1.200", "Port": 9200}, {"Id": "10.0.1.200", "Port": 9300}]);
    lab.elb("RegisterTargets", &json!({"TargetGroupArn": group, "Targets": both})).ok();
    for port in [9200, 9300] {
        lab.wait("healthy", |lab| (health(lab, port).0 == "healthy").then_some(()));
    }
    lab.elb("DeregisterTargets", &json!({"TargetGroupArn": group, "Targets": [{"Id": "10.0.1.200", "Port": 9300}]}))
        .ok();
    let leaving = health(&lab, 9300);
    assert_eq!(leaving, ("draining".into(), "Target.DeregistrationInProgress".into()));
    assert_eq!(health(&lab, 9200).0, "healthy");
    // Five minutes of lab time, as the group's deregistration delay says.
    lab.wait("gone", |lab| (health(lab, 9300) == ("unused".into(), "Target.NotRegistered".into())).then_some(()));
    lab.elb("DeregisterTargets", &json!({"TargetGroupArn": group, "Targets": [{"Id": "10.0.1.200", "Port": 9300}]}))
        .refused("InvalidTarget");
    lab.elb("RegisterTargets", &json!({"TargetGroupArn": group, "Targets": [{"Id": "elsewhere"}]}))
        .refused("ValidationError");
}

/// Proves that attributes have AWS's defaults and bounds, and that what contradicts a rule is refused from both ends.
#[test]
fn attributes_are_bounded() {
    let lab = start(1, false);
    let scene = lab.lab().scene().clone();
    let balancer = lab.elb("DescribeLoadBalancers", &json!({})).ok().texts("LoadBalancerArn")[0].to_owned();
    let shown = lab.elb("DescribeLoadBalancerAttributes", &json!({"LoadBalancerArn": balancer})).ok();
    for (key, value) in [("client_keep_alive.seconds", "3600"), ("routing.http2.enabled", "false")] {
        assert!(shown.body.contains(&format!("<Key>{key}</Key><Value>{value}</Value>")), "{}", shown.body);
    }
    let set = |key: &str, value: &str| {
        let pair = json!([{"Key": key, "Value": value}]);
        lab.elb("ModifyLoadBalancerAttributes", &json!({"LoadBalancerArn": balancer, "Attributes": pair}))
    };
    set("client_keep_alive.seconds", "60").ok();
    for (key, value) in [
        ("client_keep_alive.seconds", "59"),
        ("client_keep_alive.seconds", "604801"),
        ("idle_timeout.timeout_seconds", "0"),
        ("load_balancing.cross_zone.enabled", "false"),
        ("routing.http2.enabled", "perhaps"),
        ("nonsense", "1"),
    ] {
        set(key, value).refused("InvalidConfigurationRequest");
    }
    let of_group = |key: &str, value: &str| {
        let pair = json!([{"Key": key, "Value": value}]);
        lab.elb("ModifyTargetGroupAttributes", &json!({"TargetGroupArn": scene.source_tg, "Attributes": pair}))
    };
    of_group("slow_start.duration_seconds", "30").ok();
    of_group("slow_start.duration_seconds", "29").refused("InvalidConfigurationRequest");
    of_group("stickiness.type", "source_ip").refused("InvalidConfigurationRequest");
    // Behind a rule without group stickiness, target stickiness is refused; with it, it is not, and then the rule may not
    // lose its own again.
    of_group("stickiness.enabled", "true").refused("InvalidConfigurationRequest");
    let mut sticky = lab.weighing(1, 0);
    sticky["DefaultActions"][0]["ForwardConfig"]["TargetGroupStickinessConfig"] =
        json!({"Enabled": true, "DurationSeconds": 60});
    lab.elb("ModifyListener", &sticky).ok();
    of_group("stickiness.enabled", "true").ok();
    lab.elb("ModifyListener", &lab.weighing(1, 0)).refused("InvalidLoadBalancerAction");
}

/// Proves that numbered rules keep their conditions, actions and rewrites, stand in order, and that priorities are unique.
#[test]
fn numbered_rules_stand_in_order() {
    let lab = start(1, false);
    let target = lab.lab().scene().target_tg.clone();
    let rule = |priority: u32| {
        json!({"ListenerArn": listener(&lab), "Priority": priority,
            "Conditions": [{"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "x-test", "Values": ["*yes*"]}},
                           {"Field": "path-pattern", "Values": ["/a/*"]}],
            "Actions": [{"Type": "forward", "TargetGroupArn": target}],
            "Transforms": [{"Type": "url-rewrite", "UrlRewriteConfig": {"Rewrites": [{"Regex": "^/a", "Replace": "/b"}]}}]})
    };
    let second = lab.elb("CreateRule", &rule(20)).ok().texts("RuleArn")[0].to_owned();
    let first = lab.elb("CreateRule", &rule(10)).ok().texts("RuleArn")[0].to_owned();
    lab.elb("CreateRule", &rule(10)).refused("PriorityInUse");
    let priorities = |lab: &Running| {
        let rules = lab.elb("DescribeRules", &json!({"ListenerArn": listener(lab)})).ok();
        rules.texts("Priority").into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(priorities(&lab), ["10", "20", "default"]);
    lab.elb("SetRulePriorities", &json!({"RulePriorities": [{"RuleArn": first, "Priority": 20}]}))
        .refused("PriorityInUse");
    let swap = json!([{"RuleArn": first, "Priority": 20}, {"RuleArn": second, "Priority": 10}]);
    lab.elb("SetRulePriorities", &json!({"RulePriorities": swap})).ok();
    let shown = lab.elb("DescribeRules", &json!({"RuleArns": [first]})).ok();
    assert_eq!(shown.texts("Priority"), ["20"]);
    for kept in ["<Regex>^/a</Regex>", "<HttpHeaderName>x-test</HttpHeaderName>", "<member>/a/*</member>"] {
        assert!(shown.body.contains(kept), "{kept} is not in {}", shown.body);
    }
    lab.elb("DeleteTargetGroup", &json!({"TargetGroupArn": target})).refused("ResourceInUse");
    lab.elb("DeleteRule", &json!({"RuleArn": first})).ok();
    assert_eq!(priorities(&lab), ["10", "default"]);
}

/// Proves that what is no call of the lab is refused as AWS refuses it, in its own protocol.
#[test]
fn what_is_no_call_is_refused() {
    let lab = start(1, false);
    lab.elb("Teleport", &json!({})).refused("InvalidAction");
    lab.ecs("Teleport", &json!({})).refused("UnknownOperationException");
    lab.json("Kinesis_20131202", "GetRecords", &json!({})).refused("UnknownOperationException");
    lab.elb("DescribeListeners", &json!({})).refused("ValidationError");
    let caller = lab.query("sts", "GetCallerIdentity", &json!({})).ok();
    assert_eq!(caller.texts("Account"), ["123456789012"]);
}
