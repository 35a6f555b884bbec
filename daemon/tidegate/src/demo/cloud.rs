//! An AWS on loopback for the demo: Migration Assistant's load balancer with real traffic behind its weights, CloudWatch's late
//! minutes, ECS. The adapters are those of production; the lab keeps a clock that runs many times as fast, and the cutover the
//! same one.

use std::net::SocketAddr;

use cutover::Policy;
use lab::plane::{Behaviour, Manner, SERVED_BY, SPOILED_BY};
use lab::wire::params::Params;
use lab::{Lab, LabConfig, model};
use serde_json::{Value, json};

use super::fault::Fault;
use super::load::Marks;
use super::stage::{DemoError, OfAws};
use crate::aws::Aws;
use crate::clock::Clock;

/// The policy, with places for what the lab names.
const POLICY: &str = include_str!("../../assets/demo-aws-policy.toml");

/// How many times as fast as real time lab and cutover run: an hour of minutes of CloudWatch in two minutes.
pub(super) const SPEED: u32 = 30;

/// What the lab's servers say of an answer.
pub(super) const MARKS: Marks = Marks { side: SERVED_BY, spoiled: SPOILED_BY };

/// A lab, and what stood in it before anything was changed.
pub(super) struct Cloud {
    lab: Lab,
    before: Value,
}

impl Cloud {
    /// Starts a lab whose clock agrees with `clock`.
    pub(super) async fn start(seed: u64) -> Result<Self, DemoError> {
        let config = LabConfig { speed: SPEED, seed, ..LabConfig::default() };
        let lab = Lab::start(config).await.map_err(|error| DemoError::Lab(format!("{error:#}")))?;
        let before = actions(&lab)?;
        Ok(Self { lab, before })
    }

    /// Where clients send their requests.
    pub(super) fn address(&self) -> Result<SocketAddr, DemoError> {
        let url = self.lab.alb_url().unwrap_or_default();
        url.trim_start_matches("http://").parse().map_err(|_| DemoError::Lab(format!("no load balancer at `{url}`")))
    }

    /// The way to it.
    pub(super) async fn aws(&self, clock: &Clock) -> Aws {
        Aws::at(&self.lab.endpoint(), model::REGION, clock.clone()).await
    }

    /// The region that it is.
    pub(super) const REGION: &'static str = model::REGION;

    /// The demo's policy for what is in it, read as any policy is.
    pub(super) fn policy(&self) -> Result<Policy, DemoError> {
        let scene = self.lab.scene();
        let mut text = POLICY.to_owned();
        for (place, name) in [
            ("{cluster}", &scene.cluster),
            ("{source}", &scene.source_tg),
            ("{target}", &scene.target_tg),
            ("{source_service}", &scene.source_service),
            ("{target_service}", &scene.target_service),
        ] {
            text = text.replace(place, name);
        }
        cutover::policy::read(&text, "demo-aws-policy.toml").map_err(|problems| {
            DemoError::Policy(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })
    }

    /// Breaks the servers of the target.
    pub(super) fn suffer(&self, fault: Fault) {
        let usual = Behaviour::default();
        let behaviour = match fault {
            Fault::Errors => Behaviour { error_share: 0.3, ..usual },
            Fault::Slow => Behaviour { latency_factor: 3.0, ..usual },
            Fault::Outage => Behaviour { manner: Manner::Gone, ..usual },
            // A body that drips is refused before anything starts: CloudWatch times the first byte.
            Fault::Drip | Fault::Silent => Behaviour { manner: Manner::Silent, ..usual },
        };
        self.lab.shared().plane.behave(&self.lab.scene().target_tg, behaviour);
    }

    /// What stood before and stands now, and how often AWS was called; and the target's weight in per mille.
    pub(super) fn told(&self) -> Result<(OfAws, u16), DemoError> {
        let after = actions(&self.lab)?;
        let target = target_weight(&after, &self.lab.scene().source_tg, &self.lab.scene().target_tg);
        let api_calls = self.lab.shared().history.counts().values().sum();
        Ok((OfAws { listener_before: self.before.clone(), listener_after: after, api_calls }, target))
    }

    /// Ends it.
    pub(super) async fn stop(self) {
        self.lab.stop().await;
    }
}

/// The weighted listener's actions in AWS's own spelling, as `DescribeListeners` answers.
fn actions(lab: &Lab) -> Result<Value, DemoError> {
    let shared = lab.shared();
    let input = json!({ "ListenerArns": [lab.scene().listener_arn] });
    let answer = shared.read(|model| lab::elbv2::read(model, shared.clock.now(), "DescribeListeners", Params(&input)));
    match answer {
        Some(Ok(answer)) => Ok(answer["Listeners"][0]["DefaultActions"].clone()),
        Some(Err(refusal)) => Err(DemoError::Lab(format!("the listener cannot be read: {refusal:?}"))),
        None => Err(DemoError::Lab("it has no `DescribeListeners`".to_owned())),
    }
}

/// The target's weight of both, in per mille.
fn target_weight(actions: &Value, source: &str, target: &str) -> u16 {
    let groups = actions.as_array().into_iter().flatten();
    let groups = groups.filter_map(|action| action.pointer("/ForwardConfig/TargetGroups")?.as_array()).flatten();
    let mut weights = [0, 0];
    for group in groups {
        let weight = group["Weight"].as_u64().unwrap_or_default();
        for (sum, arn) in weights.iter_mut().zip([source, target]) {
            *sum += if group["TargetGroupArn"] == arn { weight } else { 0 };
        }
    }
    let [source, target] = weights;
    u16::try_from((target * 1000).checked_div(source + target).unwrap_or_default()).unwrap_or(1000)
}
