//! Tags of whatever has an ARN.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model::{Model, Refusal};
use crate::wire::params::Params;

/// Tags of one resource (quota).
const TAGS_MAX: usize = 50;
/// Resources in one `DescribeTags`.
const RESOURCES_MAX: usize = 20;

/// The list under `Tags`.
pub(super) fn parse(params: Params<'_>) -> Result<BTreeMap<String, String>, Refusal> {
    let mut out = BTreeMap::new();
    for tag in params.tables("Tags") {
        let (key, value) = (tag.need("Key")?, tag.text("Value").unwrap_or(""));
        if key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(Refusal::invalid(format!("Tag key '{key}' or its value is too long")));
        }
        if out.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Refusal::new("DuplicateTagKeys", format!("Tag key '{key}' was specified more than once")));
        }
    }
    if out.len() > TAGS_MAX {
        return Err(Refusal::new("TooManyTags", format!("A resource can have at most {TAGS_MAX} tags")));
    }
    Ok(out)
}

fn check(model: &Model, arn: &str) -> Result<(), Refusal> {
    let resource = arn.splitn(6, ':').nth(5).unwrap_or("");
    match resource.split('/').next().unwrap_or("") {
        "loadbalancer" => model.load_balancer(arn).map(|_| ()),
        "targetgroup" => model.target_group(arn).map(|_| ()),
        "listener" => model.listener(arn).map(|_| ()),
        "listener-rule" => {
            let all = model.listeners.values();
            let found =
                all.into_iter().any(|one| one.default_rule == arn || one.rules.iter().any(|rule| rule.arn == arn));
            if found { Ok(()) } else { Err(Refusal::not_found("RuleNotFound", "rules", arn)) }
        }
        _ => Err(Refusal::invalid(format!("'{arn}' is not a valid ARN"))),
    }
}

pub(super) fn describe(model: &Model, params: Params<'_>) -> Result<Value, Refusal> {
    let arns = params.texts("ResourceArns");
    if arns.is_empty() || arns.len() > RESOURCES_MAX {
        return Err(Refusal::invalid(format!("Between 1 and {RESOURCES_MAX} resource ARNs must be specified")));
    }
    let mut out = Vec::new();
    for arn in arns {
        check(model, arn)?;
        let tags: Vec<Value> =
            model.tags.get(arn).into_iter().flatten().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
        out.push(json!({"ResourceArn": arn, "Tags": tags}));
    }
    Ok(json!({"TagDescriptions": out}))
}

pub(super) fn add(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let tags = parse(params)?;
    let arns = params.texts("ResourceArns");
    arns.iter().try_for_each(|arn| check(model, arn))?;
    for arn in arns {
        model.tags.entry(arn.to_owned()).or_default().extend(tags.clone());
    }
    Ok(json!({}))
}

pub(super) fn remove(model: &mut Model, params: Params<'_>) -> Result<Value, Refusal> {
    let keys = params.texts("TagKeys");
    let arns = params.texts("ResourceArns");
    arns.iter().try_for_each(|arn| check(model, arn))?;
    for arn in arns {
        if let Some(tags) = model.tags.get_mut(arn) {
            tags.retain(|key, _| !keys.contains(&&key[..]));
        }
    }
    Ok(json!({}))
}
