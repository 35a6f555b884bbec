//! What is to go wrong, by script: rules that strike calls to the control plane, and states that the data plane is in.
//!
//! A rule names an operation and how often it strikes. It is looked up when a call has been read and before anything is
//! done, so `throttle` and `access-denied` change nothing, while `apply-then-drop` does what was asked and then breaks the
//! connection: the client cannot tell it from `reset`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::model::Model;

/// How many rules may stand at once.
pub const RULES_MAX: usize = 100;

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultName {
    /// 400 `Throttling`, "Rate exceeded"; nothing is done.
    #[serde(alias = "throttling")]
    Throttle,
    /// 403 `AccessDenied`; nothing is done.
    AccessDenied,
    /// 403 `ExpiredToken`; nothing is done.
    #[serde(alias = "expired-credentials")]
    ExpiredToken,
    /// 500 `InternalFailure`; nothing is done.
    #[serde(rename = "error-500", alias = "internal-failure", alias = "500")]
    Error500,
    /// Never answered; nothing is done. The connection is held until the client gives up.
    Hang,
    /// The connection is reset; nothing is done.
    Reset,
    /// Done, and then the connection is reset.
    #[serde(alias = "apply-but-drop", alias = "apply-but-drop-the-reply")]
    ApplyThenDrop,
    /// Never answered, and done after `seconds` of lab time all the same: after whatever came in between.
    DelayedApply,
    /// Answered from the account as it was when the rule was set. An answer that is the same either way does not count
    /// as a strike: `times` is how often a client reads what is no longer so.
    #[serde(alias = "stale")]
    StaleRead,
    /// The head says more bytes than come before the connection is closed.
    #[serde(alias = "truncated-answer", alias = "truncate")]
    Truncated,
    /// 200 with a page of HTML, as a captive portal gives.
    NotAws,
}

impl FaultName {
    /// As in the script.
    pub fn name(self) -> &'static str {
        match self {
            Self::Throttle => "throttle",
            Self::AccessDenied => "access-denied",
            Self::ExpiredToken => "expired-token",
            Self::Error500 => "error-500",
            Self::Hang => "hang",
            Self::Reset => "reset",
            Self::ApplyThenDrop => "apply-then-drop",
            Self::DelayedApply => "delayed-apply",
            Self::StaleRead => "stale-read",
            Self::Truncated => "truncated",
            Self::NotAws => "not-aws",
        }
    }
}

/// A rule, as `PUT _lab/faults` takes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What happens.
    pub name: FaultName,
    /// To which operation, such as `ModifyListener`, or `elasticloadbalancing:*` for all of a service; `*` for all.
    #[serde(default = "any")]
    pub op: String,
    /// How often it still strikes; absent for ever. 0 takes the rules of this name and operation away.
    #[serde(default)]
    pub times: Option<u32>,
    /// For how long it stands, and how late [`FaultName::DelayedApply`] applies; lab time.
    #[serde(default)]
    pub seconds: Option<f64>,
}

fn any() -> String {
    "*".into()
}

impl Fault {
    /// `seconds` as a duration, or `default`.
    pub fn delay(&self, default: Duration) -> Duration {
        self.seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(default)
    }

    fn hits(&self, service: &str, operation: &str) -> bool {
        match self.op.split_once(':') {
            Some((of, op)) => of == service && (op == "*" || op == operation),
            None => self.op == "*" || self.op == operation,
        }
    }
}

#[derive(Debug)]
struct Rule {
    id: u64,
    fault: Fault,
    until: Option<Time>,
    past: Option<Arc<Model>>,
}

/// A rule that struck.
#[derive(Clone, Debug)]
pub struct Strike {
    rule: u64,
    until: Option<Time>,
    /// What it does.
    pub fault: Fault,
    /// The account when the rule was set, for [`FaultName::StaleRead`].
    pub past: Option<Arc<Model>>,
}

/// The rules that stand, and how many there ever were.
#[derive(Debug, Default)]
pub struct Faults(Mutex<(Vec<Rule>, u64)>);

impl Faults {
    /// Adds a rule, or takes those of its name and operation away if it is to strike 0 times. `model` is the account as
    /// it is now, which stale reads show from here on.
    ///
    /// # Errors
    /// Says so when [`RULES_MAX`] stand already.
    pub fn put(&self, fault: Fault, model: &Model, now: Time) -> Result<(), String> {
        let mut locked = self.lock();
        let (rules, count) = &mut *locked;
        if fault.times == Some(0) {
            rules.retain(|rule| rule.fault.name != fault.name || rule.fault.op != fault.op);
            return Ok(());
        }
        if rules.len() == RULES_MAX {
            return Err(format!("{RULES_MAX} faults stand already: DELETE _lab/faults takes them all away"));
        }
        // For a delayed write the seconds say how late it is, not how long the rule stands.
        let stands = fault.seconds.filter(|_| fault.name != FaultName::DelayedApply);
        let until = stands.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).map(|stands| now + stands);
        let past = (fault.name == FaultName::StaleRead).then(|| Arc::new(model.clone()));
        *count += 1;
        rules.push(Rule { id: *count, fault, until, past });
        Ok(())
    }

    /// Takes all away.
    pub fn clear(&self) {
        self.lock().0.clear();
    }

    /// The rules that stand.
    pub fn standing(&self, now: Time) -> Vec<Fault> {
        let rules = &mut self.lock().0;
        rules.retain(|rule| rule.until.is_none_or(|until| now < until));
        rules.iter().map(|rule| rule.fault.clone()).collect()
    }

    /// The first rule that strikes this call, which is then one strike older.
    pub fn strike(&self, service: &str, operation: &str, now: Time) -> Option<Strike> {
        let rules = &mut self.lock().0;
        rules.retain(|rule| rule.until.is_none_or(|until| now < until));
        let index = rules.iter().position(|rule| rule.fault.hits(service, operation))?;
        let Rule { id, fault, until, past } = &rules[index];
        let strike = Strike { rule: *id, until: *until, fault: fault.clone(), past: past.clone() };
        if let Some(times) = &mut rules[index].fault.times {
            *times -= 1;
            if *times == 0 {
                rules.remove(index);
            }
        }
        Some(strike)
    }

    /// Takes a strike back that made no difference: its rule is as it was before, but for one that was taken away since.
    pub fn take_back(&self, strike: Strike) {
        let rules = &mut self.lock().0;
        let Some(before) = strike.fault.times else { return };
        match rules.iter_mut().find(|rule| rule.id == strike.rule) {
            Some(rule) => rule.fault.times = rule.fault.times.map(|times| times + 1),
            None if before == 1 => {
                let Strike { rule: id, until, fault, past } = strike;
                rules.insert(0, Rule { id, fault, until, past });
            }
            None => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, (Vec<Rule>, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        serde_json::from_str(text).unwrap()
    }

    /// Proves that a rule strikes its own operation, as often as it says, and no other.
    #[test]
    fn a_rule_strikes_as_often_as_it_says() {
        let faults = Faults::default();
        faults
            .put(fault(r#"{"name": "throttle", "op": "ModifyListener", "times": 2}"#), &Model::default(), Time(0))
            .unwrap();
        let strike =
            |operation| faults.strike("elasticloadbalancing", operation, Time(0)).map(|strike| strike.fault.name);
        assert_eq!(strike("DescribeListeners"), None);
        assert_eq!(strike("ModifyListener"), Some(FaultName::Throttle));
        assert_eq!(strike("ModifyListener"), Some(FaultName::Throttle));
        assert_eq!(strike("ModifyListener"), None);
    }

    /// Proves that a rule with a time goes by itself, one with `times` 0 takes others away, and a service can be named.
    #[test]
    fn rules_go_by_time_and_by_order() {
        let faults = Faults::default();
        faults
            .put(fault(r#"{"name": "hang", "op": "monitoring:*", "seconds": 5}"#), &Model::default(), Time(0))
            .unwrap();
        assert!(faults.strike("ecs", "GetMetricData", Time(4_999)).is_none());
        assert!(faults.strike("monitoring", "GetMetricData", Time(4_999)).is_some());
        assert!(faults.strike("monitoring", "GetMetricData", Time(5_000)).is_none());
        faults.put(fault(r#"{"name": "error-500"}"#), &Model::default(), Time(0)).unwrap();
        assert_eq!(faults.standing(Time(0)).len(), 1);
        faults.put(fault(r#"{"name": "error-500", "times": 0}"#), &Model::default(), Time(0)).unwrap();
        assert!(faults.standing(Time(0)).is_empty());
    }
}
