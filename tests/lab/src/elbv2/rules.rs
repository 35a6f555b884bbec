//! Numbered rules, and the default rule as `DescribeRules` shows it.

use serde_json::{Value, json};

use super::{actions, conditions};
use crate::model::check::RULES_MAX;
use crate::model::{Action, Condition, Listener, Model, Refusal, Rule};
use crate::wire::params::Params;

fn spelled(rule: &Rule) -> Value {
    json!({
        "RuleArn": rule.arn,
        "Priority": rule.priority.to_string(),
        "Conditions": rule.conditions.iter().map(Condition::spelled).collect::<Vec<_>>(),
        "Actions": rule.actions.iter().map(Action::spelled).collect::<Vec<_>>(),
        "IsDefault": false,
        "Transforms": rule.transforms,
    })
}

/// The default rule is the listener itself: there is no second copy of its actions.
fn default(listener: &Listener) -> Value {
    json!({
        "RuleArn": listener.default_rule,
        "Priority": "default",
        "Conditions": [],
        "Actions": listener.default_actions.iter().map(Action::spelled).collect::<Vec<_>>(),
        "IsDefault": true,
        "Transforms": [],
    })
}

/// The listener and, for a numbered rule, its place in it; `None` for the default rule.
fn find(model: &Model, arn: &str) -> Result<(String, Option<usize>), Refusal> {
    super::check_arn(arn, &["listener-rule"], "listener rule")?;
    model
        .listeners
        .values()
        .find_map(|listener| {
            if listener.default_rule == arn {
                return Some((listener.arn.clone(), None));
            }
            let index = listener.rules.iter().position(|rule| rule.arn == arn)?;
            Some((listener.arn.clone(), Some(index)))
        })
        .ok_or_else(|| Refusal::not_found("RuleNotFound", "rules", arn))
}

/// A numbered rule, or AWS's refusal (FeLvi-zzz/tentez#32) to touch the default one.
fn numbered(model: &Model, arn: &str, done: &str) -> Result<(String, usize), Refusal> {
    let (listener, index) = find(model, arn)?;
    let refusal = || Refusal::new("OperationNotPermitted", format!("Default rule '{arn}' cannot be {done}"));
    Ok((listener, index.ok_or_else(refusal)?))
}

pub(super) fn describe(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let arns = params.texts("RuleArns");
    let parts = match params.text("ListenerArn") {
        Some(_) if !arns.is_empty() => {
            return Err(Refusal::invalid("Listener ARN and rule ARNs cannot be specified at the same time"));
        }
        Some(arn) => {
            super::check_arn(arn, &["listener"], "listener")?;
            let listener = model.listener(arn)?;
            let rules = listener.rules.iter().map(|rule| (rule.arn.clone(), spelled(rule)));
            rules.chain([(listener.default_rule.clone(), default(listener))]).collect()
        }
        None if arns.is_empty() => {
            return Err(Refusal::invalid("You must specify either listener rule ARNs or a listener ARN"));
        }
        None => {
            let mut parts = Vec::new();
            for arn in arns {
                let (listener, index) = find(model, arn)?;
                let listener = model.listener(&listener)?;
                let value = index.map_or_else(|| default(listener), |index| spelled(&listener.rules[index]));
                parts.push((arn.to_owned(), value));
            }
            parts
        }
    };
    super::page("Rules", params, parts)
}

pub(super) fn create(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let arn = params.need("ListenerArn")?;
    super::check_arn(arn, &["listener"], "listener")?;
    let listener = model.listener(arn)?;
    let balancer = model.load_balancer(&listener.load_balancer)?;
    if !listener.protocol.is_http() {
        return Err(Refusal::new(
            "UnsupportedProtocol",
            format!("Rules are not supported on {} listeners", listener.protocol.name()),
        ));
    }
    let priority = params.number("Priority", 1..=50_000_u32)?.ok_or_else(|| Refusal::missing("Priority"))?;
    let conditions = conditions::parse(params)?.ok_or_else(|| Refusal::missing("Conditions"))?;
    let actions = actions::parse(model, params, "Actions", &[])?.ok_or_else(|| Refusal::missing("Actions"))?;
    let transforms = conditions::transforms(params)?.unwrap_or_default();
    if listener.rules.iter().any(|rule| rule.priority == priority) {
        return Err(Refusal::new("PriorityInUse", format!("Priority '{priority}' is currently in use")));
    }
    if model.listeners_of(&balancer.arn).iter().map(|listener| listener.rules.len()).sum::<usize>() >= RULES_MAX {
        return Err(Refusal::new("TooManyRules", format!("A load balancer can have at most {RULES_MAX} rules")));
    }
    model.check_actions(balancer, listener.protocol, &actions)?;
    let tags = super::tags::parse(params)?;
    let id = model.fresh_id(16);
    let rule = Rule { arn: model.listener(arn)?.rule_arn(&id), priority, conditions, actions, transforms };
    let answer = json!({"Rules": [spelled(&rule)]});
    model.tags.insert(rule.arn.clone(), tags);
    let listener = model.listeners.get_mut(arn).expect("looked up above");
    listener.rules.push(rule);
    listener.rules.sort_by_key(|rule| rule.priority);
    model.refresh_use();
    Ok(answer)
}

pub(super) fn modify(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let (arn, index) = numbered(model, params.need("RuleArn")?, "modified")?;
    let listener = model.listener(&arn)?;
    let mut rule = listener.rules[index].clone();
    if let Some(conditions) = conditions::parse(params)? {
        rule.conditions = conditions;
    }
    if let Some(actions) = actions::parse(model, params, "Actions", &rule.actions)? {
        rule.actions = actions;
    }
    if let Some(transforms) = conditions::transforms(params)? {
        rule.transforms = transforms;
    }
    if params.flag("ResetTransforms")?.unwrap_or(false) {
        rule.transforms.clear();
    }
    model.check_actions(model.load_balancer(&listener.load_balancer)?, listener.protocol, &rule.actions)?;
    let answer = json!({"Rules": [spelled(&rule)]});
    model.listeners.get_mut(&arn).expect("looked up above").rules[index] = rule;
    model.refresh_use();
    Ok(answer)
}

pub(super) fn delete(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let rule = params.need("RuleArn")?;
    let (arn, index) = numbered(model, rule, "deleted")?;
    model.listeners.get_mut(&arn).expect("looked up above").rules.remove(index);
    model.tags.remove(rule);
    model.refresh_use();
    Ok(json!({}))
}

pub(super) fn set_priorities(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let mut changes = Vec::new();
    for pair in params.tables("RulePriorities") {
        let (listener, index) = numbered(model, pair.need("RuleArn")?, "reprioritized")?;
        let priority = pair.number("Priority", 1..=50_000_u32)?.ok_or_else(|| Refusal::missing("Priority"))?;
        changes.push((listener, index, priority));
    }
    let Some((arn, ..)) = changes.first().cloned() else { return Err(Refusal::missing("RulePriorities")) };
    if changes.iter().any(|(other, ..)| *other != arn) {
        return Err(Refusal::invalid("All rules must belong to the same listener"));
    }
    let mut rules = model.listener(&arn)?.rules.clone();
    for (_, index, priority) in &changes {
        rules[*index].priority = *priority;
    }
    let shown: Vec<Value> = changes.iter().map(|(_, index, _)| spelled(&rules[*index])).collect();
    rules.sort_by_key(|rule| rule.priority);
    if let Some(pair) = rules.windows(2).find(|pair| pair[0].priority == pair[1].priority) {
        return Err(Refusal::new("PriorityInUse", format!("Priority '{}' is currently in use", pair[0].priority)));
    }
    model.listeners.get_mut(&arn).expect("looked up above").rules = rules;
    Ok(json!({"Rules": shown}))
}
