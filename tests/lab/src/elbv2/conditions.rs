//! Conditions and rewrites of numbered rules, from parameters.

use serde_json::{Value, json};

use crate::model::{Condition, Refusal};
use crate::wire::params::Params;

/// Values of all conditions of a rule together (quota).
pub(super) const VALUES_MAX: usize = 5;

const FIELDS: [&str; 6] =
    ["http-header", "http-request-method", "host-header", "path-pattern", "query-string", "source-ip"];

/// The list under `Conditions`; `None` if none is given.
pub(super) fn parse(params: Params<'_>) -> Result<Option<Vec<Condition>>, Refusal> {
    if !params.has("Conditions") {
        return Ok(None);
    }
    let conditions: Vec<Condition> = params.tables("Conditions").map(one).collect::<Result<_, _>>()?;
    if conditions.is_empty() {
        return Err(Refusal::invalid("A condition must be specified"));
    }
    if conditions.iter().map(Condition::values).sum::<usize>() > VALUES_MAX {
        return Err(Refusal::invalid(format!("A rule can have at most {VALUES_MAX} condition values")));
    }
    for (index, condition) in conditions.iter().enumerate() {
        let alone = matches!(condition, Condition::Host(_) | Condition::Path(_) | Condition::Method(_));
        let kind = std::mem::discriminant(condition);
        if alone && conditions[..index].iter().any(|other| std::mem::discriminant(other) == kind) {
            return Err(Refusal::invalid("Each rule can have one condition of this kind only"));
        }
    }
    Ok(Some(conditions))
}

fn one(params: Params<'_>) -> Result<Condition, Refusal> {
    let field = params.word("Field", &FIELDS)?.ok_or_else(|| Refusal::missing("Field"))?;
    let config = |name: &str| params.table(name).ok_or_else(|| Refusal::missing(name));
    let values = |params: Params<'_>| -> Result<Vec<String>, Refusal> {
        if !params.texts("RegexValues").is_empty() {
            return Err(Refusal::invalid("the lab's nodes do not match by regular expressions: use Values"));
        }
        let values: Vec<String> = params.texts("Values").into_iter().map(str::to_owned).collect();
        let wrong = values.is_empty() || values.iter().any(|value| value.is_empty() || value.len() > 128);
        if wrong { Err(Refusal::invalid("A condition value must have 1 to 128 characters")) } else { Ok(values) }
    };
    // The two old kinds may have their values outside of the configuration, where clients of 2016 put them.
    let old = |name: &str| values(params.table(name).unwrap_or(params));
    Ok(match field {
        "host-header" => Condition::Host(old("HostHeaderConfig")?),
        "path-pattern" => Condition::Path(old("PathPatternConfig")?),
        "http-header" => {
            let config = config("HttpHeaderConfig")?;
            Condition::Header(config.need("HttpHeaderName")?.to_owned(), values(config)?)
        }
        "http-request-method" => Condition::Method(values(config("HttpRequestMethodConfig")?)?),
        "query-string" => {
            let config = config("QueryStringConfig")?;
            let pairs = config
                .tables("Values")
                .map(|pair| Ok((pair.text("Key").map(str::to_owned), pair.need("Value")?.to_owned())));
            Condition::Query(pairs.collect::<Result<_, Refusal>>()?)
        }
        _ => Condition::SourceIp(values(config("SourceIpConfig")?)?),
    })
}

/// Rewrites of host and path, kept and returned whole; the nodes do not rewrite.
pub(super) fn transforms(params: Params<'_>) -> Result<Option<Vec<Value>>, Refusal> {
    if !params.has("Transforms") {
        return Ok(None);
    }
    let one = |transform: Params<'_>| {
        let kind =
            transform.word("Type", &["host-header-rewrite", "url-rewrite"])?.ok_or_else(|| Refusal::missing("Type"))?;
        let name = if kind == "url-rewrite" { "UrlRewriteConfig" } else { "HostHeaderRewriteConfig" };
        let config = transform.table(name).ok_or_else(|| Refusal::missing(name))?;
        let rewrites: Vec<Value> = config
            .tables("Rewrites")
            .map(|rewrite| {
                Ok(json!({"Regex": rewrite.need("Regex")?, "Replace": rewrite.text("Replace").unwrap_or("")}))
            })
            .collect::<Result<_, Refusal>>()?;
        Ok(json!({"Type": kind, name: {"Rewrites": rewrites}}))
    };
    params.tables("Transforms").map(one).collect::<Result<_, Refusal>>().map(Some)
}
