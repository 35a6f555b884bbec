//! Stand-ins that are wrong on purpose: the lab, with one thing done as AWS does not do it.
//!
//! A suite that passes on everything proves nothing. Each wrongness here is one that a careless stand-in has, or a careless
//! adapter would not notice; it is put between the adapters and the lab, and the case that must catch it is named.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::StatusCode;
use lab::cloudwatch::cbor;
use serde_json::{Value, json};

use super::ground::Ground;
use super::relay::{Answer, Call, Twist};
use super::{Case, StandIn, cases, outcome, tell, wire};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// Every target group of a list but its first two is lost when it is written.
    ForgetsTheThirdGroup,
    /// Stickiness is lost when a list is written.
    DropsStickiness,
    /// A log-in is lost when a list is written.
    DropsTheLogIn,
    /// The secret of a log-in is told.
    TellsTheSecret,
    /// A write is acknowledged and not done.
    WritesNothing,
    /// Of the weights that are written, the first stays as it was first written.
    KeepsTheFirstWeight,
    /// What was written before last is read.
    ReadsTheWriteBefore,
    /// What AWS refuses is acknowledged.
    AcceptsEverything,
    /// What is not there is an empty list.
    FindsNothing,
    /// What was not published is zero.
    ZeroForNothing,
    /// A series that is not whole is called complete.
    AllIsComplete,
    /// An answer has one page.
    OnePage,
    /// Every target is healthy.
    AllAreHealthy,
    /// A service that is not there is one with nothing in it.
    ServicesForAll,
    /// The count of a service is taken and not set.
    CountsNothing,
    /// What is not said of autoscaling's suspensions is taken back.
    AllowsTheOthers,
    /// An attribute that is set sets another as well.
    SetsTwo,
}

/// Each, with the case that must catch it.
const WRONGS: [(Wrong, &str); 17] = [
    (Wrong::ForgetsTheThirdGroup, "a third group, stickiness and a log-in are kept"),
    (Wrong::DropsStickiness, "a third group, stickiness and a log-in are kept"),
    (Wrong::DropsTheLogIn, "a third group, stickiness and a log-in are kept"),
    (Wrong::TellsTheSecret, "a secret that is never told is kept"),
    (Wrong::WritesNothing, "every share that is written is read back"),
    (Wrong::KeepsTheFirstWeight, "the recorded action comes back whole"),
    (Wrong::ReadsTheWriteBefore, "every share that is written is read back"),
    (Wrong::AcceptsEverything, "what AWS refuses to be put back is final and changes nothing"),
    (Wrong::FindsNothing, "a listener that is not there is final"),
    (Wrong::ZeroForNothing, "what was not published is no zero"),
    (Wrong::AllIsComplete, "a series that is not whole fails the reading"),
    (Wrong::OnePage, "pages are put together"),
    (Wrong::AllAreHealthy, "targets that are not healthy are told from healthy ones"),
    (Wrong::ServicesForAll, "a service that is not there is named"),
    (Wrong::CountsNothing, "the target's count is raised and not lowered"),
    (Wrong::AllowsTheOthers, "scale-in is suspended and nothing else of autoscaling"),
    (Wrong::SetsTwo, "the life of connections is set and put back"),
];

/// A wrongness with what it remembers.
struct Twisted {
    wrong: Wrong,
    /// The first weight that was written, or the answers that were read.
    memory: Mutex<Vec<String>>,
}

type Fields = Vec<(String, String)>;

/// The operation of a call, and its fields where it is a form.
fn told(call: &Call) -> (String, Fields) {
    let target = call.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    if let Some((_, operation)) = target.and_then(|target| target.rsplit_once('.')) {
        return (operation.to_owned(), Vec::new());
    }
    if let Some((_, operation)) = call.path.rsplit_once("/operation/") {
        return (operation.to_owned(), Vec::new());
    }
    let fields = wire::fields(&call.body);
    let operation = fields.iter().find(|(name, _)| name == "Action").map(|(_, value)| value.clone());
    (operation.unwrap_or_default(), fields)
}

/// The place of a target group in the list that a field speaks of, from 1.
fn place(name: &str) -> usize {
    let rest = name.split_once("TargetGroups.member.").map_or("", |(_, rest)| rest);
    rest.split('.').next().and_then(|place| place.parse().ok()).unwrap_or(0)
}

fn replace(answer: &mut Answer, old: &str, new: &str) {
    answer.body = String::from_utf8_lossy(&answer.body).replace(old, new).into();
}

/// Changes an answer of CloudWatch's.
fn metrics(answer: &mut Answer, change: impl FnOnce(&mut Value)) {
    if let Ok(mut output) = cbor::decode(&answer.body) {
        change(&mut output);
        answer.body = cbor::encode(&output).into();
    }
}

/// Changes a call in JSON.
fn input(call: &mut Call, change: impl FnOnce(&mut Value)) {
    if let Ok(mut input) = serde_json::from_slice::<Value>(&call.body) {
        change(&mut input);
        call.body = input.to_string().into();
    }
}

impl Twist for Twisted {
    fn call(&self, call: &mut Call) {
        let (operation, mut fields) = told(call);
        let mut memory = self.memory.lock().expect("nobody panics while holding it");
        match (self.wrong, operation.as_str()) {
            (Wrong::ForgetsTheThirdGroup, "ModifyListener") => fields.retain(|(name, _)| place(name) <= 2),
            (Wrong::DropsStickiness, "ModifyListener") => {
                fields.retain(|(name, _)| !name.contains("TargetGroupStickinessConfig"));
            }
            (Wrong::DropsTheLogIn, "ModifyListener") => {
                let log_in = fields.iter().any(|(_, value)| value.starts_with("authenticate-"));
                fields.retain(|(name, _)| !(log_in && name.starts_with("DefaultActions.member.1.")));
            }
            (Wrong::WritesNothing, "ModifyListener") => {
                fields.retain(|(name, _)| !name.starts_with("DefaultActions."));
            }
            (Wrong::KeepsTheFirstWeight, "ModifyListener") => {
                for (name, value) in &mut fields {
                    if name.ends_with(".Weight") && place(name) == 1 {
                        memory.push(value.clone());
                        value.clone_from(&memory[0]);
                    }
                }
            }
            (Wrong::SetsTwo, "ModifyLoadBalancerAttributes") => {
                let more = [("Key", "idle_timeout.timeout_seconds"), ("Value", "61")];
                fields.extend(more.map(|(name, value)| (format!("Attributes.member.2.{name}"), value.to_owned())));
            }
            (Wrong::CountsNothing, "UpdateService") => {
                return input(call, |input| drop(input.as_object_mut().and_then(|input| input.remove("desiredCount"))));
            }
            (Wrong::AllowsTheOthers, "RegisterScalableTarget") => {
                return input(call, |input| {
                    for name in ["DynamicScalingOutSuspended", "ScheduledScalingSuspended"] {
                        input["SuspendedState"][name] = json!(false);
                    }
                });
            }
            _ => return,
        }
        call.body = wire::form(&fields).into();
    }

    fn answer(&self, call: &Call, answer: &mut Answer) {
        let (operation, _) = told(call);
        let mut memory = self.memory.lock().expect("nobody panics while holding it");
        let failed = !answer.status.is_success();
        match (self.wrong, operation.as_str()) {
            (Wrong::TellsTheSecret, "DescribeListeners") => {
                replace(answer, "<ClientId>", "<ClientSecret>nobody reads this</ClientSecret><ClientId>");
            }
            (Wrong::ReadsTheWriteBefore, "DescribeListeners") => {
                memory.push(String::from_utf8_lossy(&answer.body).into_owned());
                answer.body = Bytes::from(memory[memory.len().saturating_sub(2)].clone());
            }
            (Wrong::AcceptsEverything, "ModifyListener") | (Wrong::FindsNothing, "DescribeListeners") if failed => {
                answer.status = StatusCode::OK;
                let result = format!("<{operation}Result><Listeners></Listeners></{operation}Result>");
                answer.body = format!("<{operation}Response>{result}</{operation}Response>").into();
            }
            (Wrong::ZeroForNothing, "GetMetricData") => {
                let from = cbor::decode(&call.body).unwrap_or_default()["StartTime"].clone();
                metrics(answer, |output| {
                    for series in output["MetricDataResults"].as_array_mut().into_iter().flatten() {
                        if series["Values"].as_array().is_none_or(Vec::is_empty) {
                            (series["Timestamps"], series["Values"]) = (json!([from]), json!([0.0]));
                        }
                    }
                });
            }
            (Wrong::AllIsComplete, "GetMetricData") => metrics(answer, |output| {
                for series in output["MetricDataResults"].as_array_mut().into_iter().flatten() {
                    series["StatusCode"] = json!("Complete");
                }
            }),
            (Wrong::OnePage, "GetMetricData") => metrics(answer, |output| {
                if let Some(output) = output.as_object_mut() {
                    output.remove("NextToken");
                }
            }),
            (Wrong::AllAreHealthy, "DescribeTargetHealth") => {
                for state in ["unhealthy", "draining", "initial", "unavailable"] {
                    replace(answer, &format!("<State>{state}</State>"), "<State>healthy</State>");
                }
            }
            (Wrong::ServicesForAll, "DescribeServices") => {
                let asked: Value = serde_json::from_slice(&call.body).unwrap_or_default();
                let mut output: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let known = output["services"].to_string();
                for name in asked["services"].as_array().into_iter().flatten() {
                    if !known.contains(name.as_str().unwrap_or_default())
                        && let Some(services) = output["services"].as_array_mut()
                    {
                        let service = json!({"serviceName": name, "status": "ACTIVE", "desiredCount": 2,
                            "runningCount": 2, "pendingCount": 0, "deployments": []});
                        services.push(service);
                    }
                }
                output["failures"] = json!([]);
                answer.body = output.to_string().into();
            }
            _ => {}
        }
    }
}

/// Which cases a wrongness fails, and why.
async fn caught(wrong: Wrong) -> BTreeMap<&'static str, String> {
    let mut running = tokio::task::JoinSet::new();
    for case in cases().into_iter().filter(|case: &Case| case.on.contains(&StandIn::Lab)) {
        running.spawn(async move {
            let twist = Twisted { wrong, memory: Mutex::default() };
            (case.name, outcome(case, Ground::lab(Arc::new(twist)).await).await)
        });
    }
    let ended = running.join_all().await;
    ended.into_iter().filter_map(|(name, outcome)| Some((name, outcome.err()?))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stand_in_that_is_wrong_is_caught_by_the_case_that_is_about_it() {
    // Proves that the cases can fail, each for what it is about, and that they do not fail at just anything.
    let (mut said, mut missed) = (String::from("wrong stand-ins and how many cases caught them:\n"), String::new());
    for (wrong, by) in WRONGS {
        let caught = caught(wrong).await;
        let told = if caught.contains_key(by) { &mut said } else { &mut missed };
        writeln!(told, "  {wrong:?}: {} (\"{by}\")", caught.len()).expect("a String takes everything");
        assert!(caught.len() < cases().len() / 2, "{wrong:?} fails what it has nothing to do with: {caught:?}");
    }
    tell(&said);
    assert!(missed.is_empty(), "not caught:\n{missed}");
}
