//! Where the lab and moto differ, with the AWS source that decides: `differences.json`, held against both.
//!
//! Each row has a probe here, which does one thing on a stand-in and says in a few words what came of it. A row whose words
//! are no longer what a stand-in does fails the test, and so does a probe without a row: the list is what is so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::balancer::oidc;
use super::ground::{Ground, Straight, forward};
use super::moto::Moto;
use super::relay::{Call, send};

/// One row of the list.
#[derive(Debug)]
struct Difference {
    /// What is done, as the probe of the same name does it.
    what: String,
    /// What the lab does.
    lab: String,
    /// What moto does.
    moto: String,
    /// Who does as AWS does: `lab`, `moto`, or `open` where no source says it.
    right: String,
    /// The AWS document, or a reply of AWS's that somebody quotes.
    source: String,
}

/// The list as it is.
fn list() -> Vec<Difference> {
    let rows: Value = serde_json::from_str(include_str!("differences.json")).expect("the list can be read");
    let row = |row: &Value| {
        let text = |name: &str| row[name].as_str().expect("every field is a text").to_owned();
        let [what, lab, moto, right, source] = ["what", "lab", "moto", "right", "source"].map(text);
        Difference { what, lab, moto, right, source }
    };
    rows.as_array().expect("it is a list").iter().map(row).collect()
}

type Told<'a> = Pin<Box<dyn Future<Output = String> + Send + 'a>>;
type Probe = for<'a> fn(&'a Ground) -> Told<'a>;

const ELB: &str = "elasticloadbalancing";

/// What each probe is called, and it.
const PROBES: [(&str, Probe); 26] = [
    ("the default rule by ModifyRule", |ground| Box::pin(default_rule(ground))),
    ("a weight of 1000", |ground| {
        Box::pin(list_of(ground, json!([forward(&[(&ground.scene.source, 1000), (&ground.scene.target, 0)])])))
    }),
    ("a negative weight", |ground| {
        Box::pin(list_of(ground, json!([forward(&[(&ground.scene.source, -1), (&ground.scene.target, 1)])])))
    }),
    ("six target groups in one action", |ground| Box::pin(six(ground))),
    ("a target group twice in one action", |ground| {
        Box::pin(list_of(ground, json!([forward(&[(&ground.scene.source, 1), (&ground.scene.source, 0)])])))
    }),
    ("a target group that is not there", |ground| {
        let gone = format!("{}0000", &ground.scene.target[..ground.scene.target.len() - 4]);
        Box::pin(list_of(ground, json!([forward(&[(&ground.scene.source, 1), (&gone, 0)])])))
    }),
    ("two forward actions", |ground| {
        let one = |order: u8, arn: &str| {
            let mut action = forward(&[(arn, 1)]);
            action["Order"] = json!(order);
            action
        };
        Box::pin(list_of(ground, json!([one(1, &ground.scene.source), one(2, &ground.scene.target)])))
    }),
    ("stickiness for 0 s", |ground| {
        let mut action = forward(&[(&ground.scene.source, 1), (&ground.scene.target, 0)]);
        action["ForwardConfig"]["TargetGroupStickinessConfig"] = json!({"Enabled": true, "DurationSeconds": 0});
        Box::pin(list_of(ground, json!([action])))
    }),
    ("one target group by its ARN", |ground| Box::pin(by_arn(ground))),
    ("the secret of a log-in", |ground| Box::pin(secret(ground))),
    ("an ARN of another kind", |ground| {
        let input = json!({"ListenerArns": [ground.scene.source]});
        Box::pin(async move { word(ground.ask(ELB, "DescribeListeners", &input).await) })
    }),
    ("a second listener on one port", |ground| Box::pin(second_listener(ground))),
    ("two ports of one address", |ground| Box::pin(two_ports(ground))),
    ("a target that is taken out", |ground| Box::pin(taken_out(ground))),
    ("an ill target", |ground| Box::pin(fresh_target(ground))),
    ("connections that live for 5 s", |ground| Box::pin(attribute(ground, "client_keep_alive.seconds", "5"))),
    ("CloudWatch by CBOR", |ground| Box::pin(cbor(ground))),
    ("a metric of AWS's own is put", |ground| {
        let input =
            json!({"Namespace": "AWS/ApplicationELB", "MetricData": [{"MetricName": "RequestCount", "Value": 1}]});
        Box::pin(async move { word(ground.ask("monitoring", "PutMetricData", &input).await) })
    }),
    ("a percentile", |ground| Box::pin(async { asked(ground, &query("q0", "p99", 60), 60).await })),
    ("a count between two values", |ground| {
        Box::pin(async { asked(ground, &query("q0", "TC(0.1:0.5)", 60), 60).await })
    }),
    ("a query whose id begins with a capital", |ground| {
        Box::pin(async { asked(ground, &query("Q0", "Sum", 60), 60).await })
    }),
    ("periods of 7 s", |ground| Box::pin(async { asked(ground, &query("q0", "Sum", 7), 60).await })),
    ("501 metrics in one call", |ground| Box::pin(many(ground))),
    ("pages of metrics", |ground| Box::pin(pages(ground))),
    ("a minute asked for from its middle", |ground| Box::pin(from_the_middle(ground))),
    ("a service that is made larger", |ground| Box::pin(larger(ground))),
];

/// What came of a call.
fn word(answer: Result<Value, String>) -> String {
    match answer {
        Ok(_) => "taken".to_owned(),
        Err(code) => code,
    }
}

async fn list_of(ground: &Ground, actions: Value) -> String {
    word(ground.try_actions(actions).await)
}

async fn default_rule(ground: &Ground) -> String {
    let rules = ground.done(ELB, "DescribeRules", &json!({"ListenerArn": ground.scene.listener})).await;
    let rule = rules["Rules"][0]["RuleArn"].clone();
    let action = forward(&[(&ground.scene.source, 1), (&ground.scene.target, 1)]);
    word(ground.ask(ELB, "ModifyRule", &json!({"RuleArn": rule, "Actions": [action]})).await)
}

/// A target group more; its ARN.
async fn another_group(ground: &Ground, name: &str) -> String {
    let known = json!({"TargetGroupArns": [ground.scene.source]});
    let vpc = ground.done(ELB, "DescribeTargetGroups", &known).await["TargetGroups"][0]["VpcId"].clone();
    // Names are an account's, and moto has one account for all cases.
    let name = format!("{name}-{}", &ground.scene.source[ground.scene.source.len() - 8..]);
    let input = json!({"Name": name, "Protocol": "HTTPS", "Port": 9200, "TargetType": "ip", "VpcId": vpc});
    let made = ground.done(ELB, "CreateTargetGroup", &input).await;
    made["TargetGroups"][0]["TargetGroupArn"].as_str().expect("it is made").to_owned()
}

async fn six(ground: &Ground) -> String {
    let mut arns = vec![ground.scene.source.clone(), ground.scene.target.clone()];
    for number in 0..4 {
        arns.push(another_group(ground, &format!("more-{number}")).await);
    }
    let groups: Vec<(&str, i32)> = arns.iter().map(|arn| (arn.as_str(), 1)).collect();
    list_of(ground, json!([forward(&groups)])).await
}

async fn by_arn(ground: &Ground) -> String {
    ground.set_actions(json!([{"Type": "forward", "TargetGroupArn": ground.scene.source}])).await;
    let shown = ground.actions().await[0].clone();
    let has = |name: &str| shown.get(name).is_some();
    match (has("TargetGroupArn"), has("ForwardConfig")) {
        (true, true) => "shown by both forms",
        (true, false) => "shown by its ARN",
        (false, true) => "shown by its weight",
        (false, false) => "not shown",
    }
    .to_owned()
}

async fn secret(ground: &Ground) -> String {
    let mut action = forward(&[(&ground.scene.source, 1), (&ground.scene.target, 0)]);
    action["Order"] = json!(2);
    ground.set_actions(json!([oidc(), action])).await;
    let shown = ground.actions().await.to_string();
    if shown.contains("nobody reads this") { "told" } else { "not told" }.to_owned()
}

async fn second_listener(ground: &Ground) -> String {
    let known = json!({"ListenerArns": [ground.scene.listener]});
    let first = ground.done(ELB, "DescribeListeners", &known).await["Listeners"][0].clone();
    let action = forward(&[(&ground.scene.source, 1)]);
    let input = json!({"LoadBalancerArn": ground.scene.balancer, "Protocol": "HTTPS", "Port": 443,
        "Certificates": first["Certificates"], "DefaultActions": [action]});
    word(ground.ask(ELB, "CreateListener", &input).await)
}

/// The state of each target of a group.
async fn states(ground: &Ground, group: &str) -> Vec<String> {
    let told = ground.done(ELB, "DescribeTargetHealth", &json!({"TargetGroupArn": group})).await;
    let targets = told["TargetHealthDescriptions"].as_array().cloned().unwrap_or_default();
    targets.iter().map(|one| one["TargetHealth"]["State"].as_str().unwrap_or("none").to_owned()).collect()
}

async fn two_ports(ground: &Ground) -> String {
    let group = another_group(ground, "ports").await;
    let targets = json!([{"Id": "10.0.1.77", "Port": 9201}, {"Id": "10.0.1.77", "Port": 9202}]);
    ground.done(ELB, "RegisterTargets", &json!({"TargetGroupArn": group, "Targets": targets})).await;
    format!("{} of them", states(ground, &group).await.len())
}

async fn taken_out(ground: &Ground) -> String {
    let told = json!({"TargetGroupArn": ground.scene.target});
    let told = ground.done(ELB, "DescribeTargetHealth", &told).await;
    let first = told["TargetHealthDescriptions"][0]["Target"].clone();
    let input = json!({"TargetGroupArn": ground.scene.target, "Targets": [first]});
    ground.done(ELB, "DeregisterTargets", &input).await;
    let states = states(ground, &ground.scene.target).await;
    if states.iter().any(|state| state == "draining") { "draining" } else { "gone" }.to_owned()
}

async fn fresh_target(ground: &Ground) -> String {
    let group = another_group(ground, "fresh").await;
    let targets = json!([{"Id": "10.0.1.78"}]);
    ground.done(ELB, "RegisterTargets", &json!({"TargetGroupArn": group, "Targets": targets})).await;
    states(ground, &group).await.join(" ")
}

async fn attribute(ground: &Ground, key: &str, value: &str) -> String {
    let input = json!({"LoadBalancerArn": ground.scene.balancer, "Attributes": [{"Key": key, "Value": value}]});
    word(ground.ask(ELB, "ModifyLoadBalancerAttributes", &input).await)
}

/// The protocol of the Rust SDK, past the translation.
async fn cbor(ground: &Ground) -> String {
    let headers = [("content-type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")];
    let mut call = Call {
        path: "/service/GraniteServiceVersion20100801/operation/ListMetrics".to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(&[0xa0]),
    };
    for (name, value) in headers {
        call.headers.insert(name, http::HeaderValue::from_static(value));
    }
    send(ground.endpoint(), &super::relay::client(), call).await.expect("it answers").status.as_u16().to_string()
}

fn query(id: &str, stat: &str, period: u32) -> Value {
    let metric = json!({"Namespace": "Probe", "MetricName": "Requests"});
    json!({"Id": id, "MetricStat": {"Metric": metric, "Period": period, "Stat": stat}})
}

/// What comes of asking about the last so many seconds of a metric that was put three minutes ago.
async fn asked(ground: &Ground, query: &Value, seconds: u64) -> String {
    let from = put(ground).await;
    let input = json!({"StartTime": from, "EndTime": from + seconds, "MetricDataQueries": [query]});
    match ground.ask("monitoring", "GetMetricData", &input).await {
        Ok(answer) => format!("{} values", answer["MetricDataResults"][0]["Values"].as_array().map_or(0, Vec::len)),
        Err(code) => code,
    }
}

/// Puts two values into minutes that are over, and waits until they can be read; the beginning of the first minute.
async fn put(ground: &Ground) -> u64 {
    let from = u64::try_from(ground.ago(5).0 / 1000).expect("it is after 1970");
    let datum = |at: u64| json!({"MetricName": "Requests", "Value": 0.3, "Timestamp": at});
    let input = json!({"Namespace": "Probe", "MetricData": [datum(from + 10), datum(from + 70)]});
    ground.done("monitoring", "PutMetricData", &input).await;
    // What one puts oneself can be read after seconds; the clock here runs faster than that.
    let until = ground.clock.now().plus(Duration::from_secs(30));
    while ground.clock.now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    from
}

async fn many(ground: &Ground) -> String {
    let from = put(ground).await;
    let queries: Vec<Value> = (0..501).map(|n| query(&format!("q{n}"), "Sum", 60)).collect();
    let input = json!({"StartTime": from, "EndTime": from + 60, "MetricDataQueries": queries});
    word(ground.ask("monitoring", "GetMetricData", &input).await)
}

async fn pages(ground: &Ground) -> String {
    let from = put(ground).await;
    let input = json!({"StartTime": from, "EndTime": from + 120, "MetricDataQueries": [query("q0", "Sum", 60)],
        "MaxDatapoints": 1});
    let answer = ground.done("monitoring", "GetMetricData", &input).await;
    if answer.get("NextToken").is_some_and(Value::is_string) { "a page and a token" } else { "all at once" }.to_owned()
}

async fn from_the_middle(ground: &Ground) -> String {
    let from = put(ground).await;
    let input = json!({"StartTime": from + 7, "EndTime": from + 120, "MetricDataQueries": [query("q0", "Sum", 60)],
        "ScanBy": "TimestampAscending"});
    let answer = ground.done("monitoring", "GetMetricData", &input).await;
    let first = answer["MetricDataResults"][0]["Timestamps"][0].as_f64().unwrap_or_default();
    if first as u64 == from { "whole minutes" } else { "minutes of its own" }.to_owned()
}

async fn larger(ground: &Ground) -> String {
    let scene = &ground.scene;
    let input = json!({"cluster": scene.cluster, "service": scene.target_service, "desiredCount": 4});
    let told = ground.done("ecs", "UpdateService", &input).await["service"].clone();
    format!("{} of 4 run at once", told["runningCount"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_difference_that_is_listed_still_is_one() {
    // Proves that the list of differences is what is so, row by row, on both stand-ins; that no case leans on a row that is
    // not there; and that where AWS's word is known the lab is right.
    let moto = Moto::start();
    let rows: BTreeMap<String, Difference> = list().into_iter().map(|row| (row.what.clone(), row)).collect();
    let probes: BTreeSet<String> = PROBES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), probes, "each row has a probe, and each probe a row");
    let mut wrong = String::new();
    for (name, probe) in PROBES {
        let lab = probe(&Ground::lab(Arc::new(Straight)).await).await;
        let other = probe(&Ground::moto(&moto).await).await;
        let row = &rows[name];
        if (&row.lab, &row.moto) != (&lab, &other) || lab == other {
            writeln!(wrong, "{name}: listed {:?} and {:?}, seen {lab:?} and {other:?}", row.lab, row.moto)
                .expect("a String takes everything");
        }
        match row.right.as_str() {
            "lab" | "open" => {}
            other => writeln!(wrong, "{name}: `{other}` is right, so the lab is to be mended")
                .expect("a String takes everything"),
        }
        assert!(row.source.len() > 10, "{name}: say which document of AWS decides");
    }
    assert!(wrong.is_empty(), "{wrong}");
    let unlike: Vec<&str> = super::cases().iter().map(|case| case.unlike).filter(|name| !name.is_empty()).collect();
    assert!(unlike.iter().all(|name| probes.contains(*name)), "a case leans on a difference that is not listed");
}
