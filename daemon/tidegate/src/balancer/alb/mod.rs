//! The default rule of an ALB's listener as a balancer.
//!
//! The default rule is changed by `ModifyListener` with the whole list of actions and by nothing else: `ModifyRule` is
//! refused for it. There is no conditional write, so what stands is read again and again by the core, and every write here
//! begins with a read: everything but the two weights is written back as it stands now. A revert writes the recorded
//! original instead. Numbered rules that the policy names move with the default rule, after it, and go back before it.
//!
//! Where the policy has a lease, each attempt of each write is looked at right before it is sent: another daemon may have the
//! listener by then.

use std::sync::Mutex;

use aws_sdk_elasticloadbalancingv2 as elb;
use cutover::event::Reading;
use cutover::policy::Tripwire;
use cutover::{Generation, Share, Timestamp};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{Balancer, Fired};
use crate::aws::action::{self, Action, ActionError};
use crate::aws::lease::{Fence, Lease};
use crate::aws::{Aws, Raw, failed, find, xml};
use crate::port::{Answer, PortError};

const PORT: &str = "balancer";

/// Which rules and which target groups.
#[derive(Clone, Debug)]
pub struct Place {
    /// The listener's ARN, or the one that weighs both target groups.
    pub listener: Option<String>,
    /// ARNs of numbered rules that move with it.
    pub rules: Vec<String>,
    /// The source's target group.
    pub source: String,
    /// The target's.
    pub target: String,
}

/// A listener of an ALB.
pub struct Alb {
    reads: elb::Client,
    writes: elb::Client,
    place: Place,
    listener: OnceCell<String>,
    spelled: Mutex<Spelled>,
    lease: Option<Lease>,
}

/// How the same was spelled before: AWS may spell it otherwise, and whoever compares must not be told of a difference that
/// means nothing.
#[derive(Default)]
struct Spelled {
    /// What was put back last, as it was recorded.
    restored: Option<Value>,
    /// What was read last.
    read: Option<Value>,
}

/// What stands: the default actions of the listener, and those of the rules by their ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stands {
    /// The listener's ARN; empty where what was recorded does not say it.
    listener: String,
    default: Vec<Action>,
    rules: Vec<(String, Vec<Action>)>,
}

impl Stands {
    /// As the journal keeps it.
    fn spelled(&self) -> Value {
        let mut value = json!({ "ListenerArn": self.listener, "DefaultActions": action::spelled(&self.default) });
        if !self.rules.is_empty() {
            let rules: serde_json::Map<String, Value> =
                self.rules.iter().map(|(arn, actions)| (arn.clone(), action::spelled(actions))).collect();
            value["Rules"] = Value::Object(rules);
        }
        value
    }

    /// Whether both mean the same.
    fn same(&self, other: &Self) -> bool {
        action::same(&self.default, &other.default)
            && self.rules.len() == other.rules.len()
            && self
                .rules
                .iter()
                .zip(&other.rules)
                .all(|(one, other)| one.0 == other.0 && action::same(&one.1, &other.1))
    }

    /// From the journal.
    fn read(value: &Value) -> Result<Self, ActionError> {
        let none = Value::Array(Vec::new());
        let default = action::read(value.get("DefaultActions").unwrap_or(&none))?;
        let rules = value.get("Rules").and_then(Value::as_object).into_iter().flatten();
        let rules = rules.map(|(arn, actions)| Ok((arn.clone(), action::read(actions)?))).collect::<Result<_, _>>()?;
        let listener = value.get("ListenerArn").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self { listener, default, rules })
    }
}

impl Alb {
    /// The listener of `place`, found at the first call where the policy does not name it.
    pub fn new(aws: &Aws, place: Place) -> Self {
        Self {
            reads: aws.balancing(),
            writes: aws.balancing_writes(),
            place,
            listener: OnceCell::new(),
            spelled: Mutex::default(),
            lease: None,
        }
    }

    /// The same under a lease: without it nothing rises.
    pub fn under(self, lease: Option<Lease>) -> Self {
        Self { lease, ..self }
    }

    /// The ARN of the listener.
    async fn listener(&self) -> Result<&str, PortError> {
        let found = self.listener.get_or_try_init(|| async {
            match &self.place.listener {
                Some(arn) => Ok(arn.clone()),
                None => find::listener(&self.reads, PORT, &self.place.source, &self.place.target).await,
            }
        });
        found.await.map(String::as_str)
    }

    /// What stands now.
    async fn stands(&self) -> Result<Stands, PortError> {
        let arn = self.listener().await?;
        let raw = Raw::default();
        let call = self.reads.describe_listeners().listener_arns(arn).customize().interceptor(raw.clone());
        call.send().await.map_err(|error| failed(PORT, "read the listener", &error))?;
        let body = body(&raw)?;
        let listener = body
            .pointer("/DescribeListenersResponse/DescribeListenersResult/Listeners/0")
            .filter(|listener| listener.get("ListenerArn").and_then(Value::as_str) == Some(arn))
            .ok_or_else(|| PortError::later(PORT, format!("the answer does not speak of the listener `{arn}`")))?;
        let default = known(listener.get("DefaultActions").unwrap_or(&Value::Null))?;
        let rules = if self.place.rules.is_empty() { Vec::new() } else { self.rules().await? };
        Ok(Stands { listener: arn.to_owned(), default, rules })
    }

    /// The actions of the numbered rules, in the order of the policy.
    async fn rules(&self) -> Result<Vec<(String, Vec<Action>)>, PortError> {
        let raw = Raw::default();
        let call = self.reads.describe_rules().set_rule_arns(Some(self.place.rules.clone()));
        let answer = call.customize().interceptor(raw.clone()).send().await;
        answer.map_err(|error| failed(PORT, "read the numbered rules", &error))?;
        let body = body(&raw)?;
        let members = body.pointer("/DescribeRulesResponse/DescribeRulesResult/Rules").and_then(Value::as_array);
        let rule = |arn: &String| {
            let found =
                members.into_iter().flatten().find(|rule| rule.get("RuleArn").and_then(Value::as_str) == Some(arn));
            let found = found
                .ok_or_else(|| PortError::later(PORT, format!("the answer does not speak of the rule `{arn}`")))?;
            Ok((arn.clone(), known(found.get("Actions").unwrap_or(&Value::Null))?))
        };
        self.place.rules.iter().map(rule).collect()
    }

    /// Writes the default actions.
    async fn modify(&self, actions: &[Action], fence: Option<Fence>) -> Result<(), PortError> {
        let arn = self.listener().await?;
        let call = self.writes.modify_listener().listener_arn(arn).set_default_actions(Some(action::sdk(actions)));
        let mut call = call.customize();
        if let Some(fence) = fence {
            call = call.interceptor(fence);
        }
        call.send().await.map(drop).map_err(|error| failed(PORT, "change the listener's default action", &error))
    }

    /// Writes the actions of a numbered rule.
    async fn modify_rule(&self, arn: &str, actions: &[Action], fence: Option<Fence>) -> Result<(), PortError> {
        let call = self.writes.modify_rule().rule_arn(arn).set_actions(Some(action::sdk(actions)));
        let mut call = call.customize();
        if let Some(fence) = fence {
            call = call.interceptor(fence);
        }
        call.send().await.map(drop).map_err(|error| failed(PORT, "change a numbered rule", &error))
    }

    /// What stands, as it was spelled before if it means the same.
    fn as_before(&self, stands: &Stands) -> Value {
        let mut spelled = self.spelled.lock().expect("nobody panics while holding it");
        let same = |value: &&Value| Stands::read(value).is_ok_and(|before| before.same(stands));
        let before = [&spelled.restored, &spelled.read].into_iter().flatten().find(same).cloned();
        let value = before.unwrap_or_else(|| stands.spelled());
        spelled.read = Some(value.clone());
        value
    }

    fn share_of(&self, actions: &[Action]) -> Result<Share, PortError> {
        action::share(actions, &self.place.source, &self.place.target).map_err(|error| PortError::never(PORT, error))
    }
}

/// The answer's body, whole.
fn body(raw: &Raw) -> Result<Value, PortError> {
    let text = raw.take().ok_or_else(|| PortError::later(PORT, "the answer had no body"))?;
    xml::read(&text).map_err(|error| PortError::later(PORT, error))
}

fn known(actions: &Value) -> Result<Vec<Action>, PortError> {
    action::read(actions).map_err(|error| PortError::never(PORT, error))
}

impl Balancer for Alb {
    fn read(&self, begun: Timestamp) -> Answer<'_, Reading> {
        Box::pin(async move {
            let stands = self.stands().await?;
            let share = self.share_of(&stands.default)?;
            let mut disagreeing = Vec::new();
            for (arn, actions) in &stands.rules {
                if self.share_of(actions)? != share {
                    disagreeing.push(arn.clone());
                }
            }
            Ok(Reading { share, action: self.as_before(&stands), begun, disagreeing })
        })
    }

    fn write(&self, share: Share, _: Generation) -> Answer<'_, ()> {
        Box::pin(async move {
            if let Some(lease) = &self.lease {
                lease.may_rise().await?;
            }
            let fence = self.lease.as_ref().map(Lease::rising);
            let stands = self.stands().await?;
            let moved = |actions: &[Action]| {
                action::with_share(actions, &self.place.source, &self.place.target, share)
                    .map_err(|error| PortError::never(PORT, error))
            };
            // All are made before the first is written: what cannot be done is done nowhere.
            let default = moved(&stands.default)?;
            let rules: Vec<_> = stands
                .rules
                .iter()
                .map(|(arn, actions)| Ok((arn, moved(actions)?)))
                .collect::<Result<_, PortError>>()?;
            self.modify(&default, fence.clone()).await?;
            for (arn, actions) in rules {
                self.modify_rule(arn, &actions, fence.clone()).await?;
            }
            Ok(())
        })
    }

    fn restore<'a>(&'a self, action: &'a Value, _: Generation) -> Answer<'a, ()> {
        Box::pin(async move {
            let original = Stands::read(action).map_err(|error| PortError::never(PORT, error))?;
            if original.default.is_empty() {
                return Err(PortError::never(PORT, "what was recorded is not an action of a listener"));
            }
            let arn = self.listener().await?;
            if !original.listener.is_empty() && original.listener != arn {
                let text =
                    format!("what was recorded is of the listener `{}`, and this one is `{arn}`", original.listener);
                return Err(PortError::never(PORT, text));
            }
            if let Some(lease) = &self.lease {
                lease.may_revert().await?;
            }
            let fence = self.lease.as_ref().map(Lease::reverting);
            self.spelled.lock().expect("nobody panics while holding it").restored = Some(action.clone());
            // The default rule has most of the traffic. Whatever becomes of it, the others are tried as well.
            let mut result = self.modify(&original.default, fence.clone()).await;
            for (arn, actions) in &original.rules {
                result = result.and(self.modify_rule(arn, actions, fence.clone()).await);
            }
            result
        })
    }

    fn arm<'a>(&'a self, _: &'a [Tripwire], _: Share) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn disarm(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn close_connections(&self, _: Timestamp, _: Timestamp) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn watch(&self) -> Answer<'_, Vec<Fired>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}
