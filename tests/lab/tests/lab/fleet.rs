//! ECS, Application Auto Scaling, SNS and EventBridge from outside.

use serde_json::{Value, json};

use crate::support::{Running, start};

fn service(lab: &Running) -> Value {
    let scene = lab.lab().scene();
    let params = json!({"cluster": scene.cluster, "services": [scene.target_service]});
    lab.ecs("DescribeServices", &params).ok().json()["services"][0].clone()
}

/// The addresses of the service's running tasks.
fn tasks(lab: &Running) -> Vec<String> {
    let scene = lab.lab().scene();
    let of = json!({"cluster": scene.cluster, "serviceName": scene.target_service});
    let arns = lab.ecs("ListTasks", &of).ok().json()["taskArns"].clone();
    let described = lab.ecs("DescribeTasks", &json!({"cluster": scene.cluster, "tasks": arns})).ok().json();
    let mut found: Vec<String> = described["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|task| task["lastStatus"] == "RUNNING")
        .map(|task| task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"].as_str().unwrap().to_owned())
        .collect();
    found.sort();
    found
}

/// The ids of the group's targets that are not leaving.
fn targets(lab: &Running) -> Vec<String> {
    let health = lab.elb("DescribeTargetHealth", &json!({"TargetGroupArn": lab.lab().scene().target_tg})).ok();
    let all = health.texts("Id").into_iter().zip(health.texts("State"));
    let mut found: Vec<String> = all.filter(|(_, state)| *state != "draining").map(|(id, _)| id.to_owned()).collect();
    found.sort();
    found
}

/// Proves that a larger count takes its time, that counts, tasks and targets agree when it is over, and that no deployment
/// was started for it.
#[test]
fn a_larger_count_takes_its_time() {
    let lab = start(60, false);
    let scene = lab.lab().scene().clone();
    assert_eq!((service(&lab)["runningCount"].clone(), tasks(&lab).len()), (json!(2), 2));
    let update = json!({"cluster": scene.cluster, "service": scene.target_service, "desiredCount": 5});
    let shown = lab.ecs("UpdateService", &update).ok().json()["service"].clone();
    assert_eq!((&shown["desiredCount"], &shown["runningCount"]), (&json!(5), &json!(2)), "not at once");
    assert_eq!(shown["deployments"][0]["desiredCount"], 5);
    lab.wait("five running", |lab| (service(lab)["runningCount"] == 5).then_some(()));
    let now = service(&lab);
    assert_eq!((&now["pendingCount"], now["deployments"].as_array().unwrap().len()), (&json!(0), 1));
    assert_eq!(now["deployments"][0]["rolloutState"], "COMPLETED");
    assert_eq!(tasks(&lab), targets(&lab));
    let events = now["events"].as_array().unwrap();
    let told = |what: &str| events.iter().any(|event| event["message"].as_str().unwrap().contains(what));
    assert!(told("has started 3 tasks: (task ") && told("has reached a steady state."), "{events:?}");
    let fewer = json!({"cluster": scene.cluster, "service": scene.target_service, "desiredCount": 1});
    lab.ecs("UpdateService", &fewer).ok();
    lab.wait("one left", |lab| (tasks(lab).len() == 1 && targets(lab) == tasks(lab)).then_some(()));
}

/// Proves that tasks which cannot start are seen to fail, again and again, and run when they can.
#[test]
fn tasks_that_cannot_start_are_seen_to_fail() {
    let lab = start(600, false);
    let scene = lab.lab().scene().clone();
    let reason = "CannotPullContainerError: no such image";
    lab.own("POST", "actions", &json!({"action": "cannot-start", "service": scene.target_service, "reason": reason}));
    let update = json!({"cluster": scene.cluster, "service": scene.target_service, "desiredCount": 3});
    lab.ecs("UpdateService", &update).ok();
    lab.wait("two failures", |lab| (service(lab)["deployments"][0]["failedTasks"].as_u64() >= Some(2)).then_some(()));
    assert_eq!(service(&lab)["runningCount"], 2);
    let stopped = json!({"cluster": scene.cluster, "serviceName": scene.target_service, "desiredStatus": "STOPPED"});
    let arns = lab.ecs("ListTasks", &stopped).ok().json()["taskArns"].clone();
    let described = lab.ecs("DescribeTasks", &json!({"cluster": scene.cluster, "tasks": arns})).ok().json();
    assert_eq!(described["tasks"][0]["stoppedReason"], reason);
    lab.own("POST", "actions", &json!({"action": "cannot-start", "service": scene.target_service}));
    lab.wait("the third", |lab| (service(lab)["runningCount"] == 3).then_some(()));
}

/// Proves that a task which crashed is replaced by another one.
#[test]
fn a_task_that_crashed_is_replaced() {
    let lab = start(60, false);
    let service_name = lab.lab().scene().target_service.clone();
    let before = tasks(&lab);
    lab.own("POST", "actions", &json!({"action": "crash", "service": service_name}));
    lab.wait("a new one", |lab| {
        let now = tasks(lab);
        (now.len() == 2 && now != before && now == targets(lab)).then_some(())
    });
    let events = service(&lab)["events"].to_string();
    assert!(events.contains("has started 1 tasks"), "{events}");
}

/// Proves that what is missing is named as ECS names it.
#[test]
fn what_is_missing_is_named() {
    let lab = start(1, false);
    let scene = lab.lab().scene().clone();
    let answer = lab.ecs("DescribeServices", &json!({"cluster": scene.cluster, "services": ["nobody"]})).ok().json();
    assert_eq!((&answer["services"], &answer["failures"][0]["reason"]), (&json!([]), &json!("MISSING")));
    lab.ecs("DescribeServices", &json!({"cluster": "nowhere", "services": ["x"]})).refused("ClusterNotFoundException");
    let update = json!({"cluster": scene.cluster, "service": "nobody", "desiredCount": 1});
    lab.ecs("UpdateService", &update).refused("ServiceNotFoundException");
    let eleven: Vec<String> = (0..11).map(|index| index.to_string()).collect();
    lab.ecs("DescribeServices", &json!({"cluster": scene.cluster, "services": eleven}))
        .refused("InvalidParameterException");
}

/// Proves that scaling in takes a count down unless it is suspended, and that registering changes only what it names.
#[test]
fn scaling_in_can_be_suspended() {
    let lab = start(60, false);
    let scene = lab.lab().scene().clone();
    let resource = format!("service/{}/{}", scene.cluster, scene.target_service);
    let scaling = |operation: &str, more: Value| {
        let mut params = json!({"ServiceNamespace": "ecs"});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        lab.json("AnyScaleFrontendService", operation, &params)
    };
    let register = |more: Value| {
        let mut params = json!({"ResourceId": resource, "ScalableDimension": "ecs:service:DesiredCount"});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        scaling("RegisterScalableTarget", params)
    };
    register(json!({"SuspendedState": {"DynamicScalingInSuspended": true}})).ok();
    let shown = scaling("DescribeScalableTargets", json!({"ResourceIds": [resource]})).ok().json();
    let shown = &shown["ScalableTargets"][0];
    assert_eq!((&shown["MinCapacity"], &shown["MaxCapacity"]), (&json!(1), &json!(10)));
    let state = &shown["SuspendedState"];
    assert_eq!(
        (&state["DynamicScalingInSuspended"], &state["DynamicScalingOutSuspended"]),
        (&json!(true), &json!(false))
    );
    let act = json!({"action": "scale-in", "service": scene.target_service});
    lab.own("POST", "actions", &act);
    assert_eq!(service(&lab)["desiredCount"], 2);
    register(json!({"SuspendedState": {"DynamicScalingInSuspended": false}})).ok();
    lab.own("POST", "actions", &act);
    assert_eq!(service(&lab)["desiredCount"], 1);
    register(json!({"MinCapacity": 4})).ok();
    lab.wait("pulled up", |lab| (service(lab)["desiredCount"] == 4).then_some(()));
    register(json!({"MinCapacity": 11})).refused("ValidationException");
    scaling("DescribeScalableTargets", json!({"ServiceNamespace": "dynamodb"})).refused("ValidationException");
}

/// Proves that what is published and put is kept and shown, and that what AWS would not take is refused.
#[test]
fn messages_are_kept() {
    let lab = start(1, false);
    let topic = "arn:aws:sns:us-east-1:123456789012:alerts";
    lab.query("sns", "Publish", &json!({"TopicArn": topic, "Subject": "stuck", "Message": "a & b"})).ok();
    let elsewhere = json!({"TopicArn": "arn:aws:sns:eu-west-1:1:alerts", "Message": "x"});
    lab.query("sns", "Publish", &elsewhere).refused("NotFound");
    let entries = json!({"Entries": [
        {"Source": "tidegate", "DetailType": "step", "Detail": "{\"weight\": 5}"},
        {"Source": "tidegate", "DetailType": "step", "Detail": "no JSON"}]});
    let put = lab.json("AWSEvents", "PutEvents", &entries).ok().json();
    assert_eq!((&put["FailedEntryCount"], &put["Entries"][1]["ErrorCode"]), (&json!(1), &json!("MalformedDetail")));
    let messages = lab.own("GET", "history", &Value::Null)["messages"].clone();
    assert_eq!(messages.as_array().unwrap().len(), 2);
    assert_eq!((&messages[0]["to"], &messages[0]["body"]["Message"]), (&json!(topic), &json!("a & b")));
    assert_eq!(messages[1]["body"]["Detail"]["weight"], 5);
}
