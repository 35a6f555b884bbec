//! Condition expressions: comparisons, `attribute_exists`, `attribute_not_exists`, `AND`, `OR`, `NOT` and parentheses
//! (DynamoDB developer guide, "Condition and filter expressions, operators, and functions"). What else AWS knows is refused.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Item, invalid};
use crate::model::Refusal;
use crate::wire::params::Params;

/// How deep parentheses may lie in each other; AWS allows 300 operators in all.
const DEPTH_MAX: usize = 50;

/// Whether the condition of a call holds for the item as it is; without a condition it does.
pub(super) fn holds(params: Params<'_>, item: Option<&Item>) -> Result<bool, Refusal> {
    let empty = Map::new();
    let names = params.0.get("ExpressionAttributeNames").and_then(Value::as_object).unwrap_or(&empty);
    let values = params.0.get("ExpressionAttributeValues").and_then(Value::as_object).unwrap_or(&empty);
    let Some(text) = params.text("ConditionExpression") else {
        if names.is_empty() && values.is_empty() {
            return Ok(true);
        }
        let what = if names.is_empty() { "ExpressionAttributeValues" } else { "ExpressionAttributeNames" };
        return Err(invalid(format!("{what} can only be specified when using expressions")));
    };
    let tokens = tokens(text)?;
    let mut reader = Reader { tokens: &tokens, item, names, values, used: BTreeSet::new() };
    let holds = reader.either(0)?;
    if let Some(token) = reader.tokens.first() {
        return Err(syntax(token));
    }
    for (given, what) in [(names, "Names"), (values, "Values")] {
        let idle: Vec<&str> = given.keys().map(String::as_str).filter(|key| !reader.used.contains(*key)).collect();
        if !idle.is_empty() {
            let why = format!("Value provided in ExpressionAttribute{what} unused in expressions: keys: ");
            return Err(invalid(format!("{why}{{{}}}", idle.join(", "))));
        }
    }
    Ok(holds)
}

fn syntax(token: &str) -> Refusal {
    invalid(format!("Invalid ConditionExpression: Syntax error; token: \"{token}\""))
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_#:".contains(c)
}

fn tokens(text: &str) -> Result<Vec<&str>, Refusal> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if ["<>", "<=", ">="].iter().any(|two| rest.starts_with(two)) {
            2
        } else if "()=<>,".contains(first) {
            1
        } else {
            return Err(syntax(&first.to_string()));
        };
        found.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    Ok(found)
}

struct Reader<'a> {
    tokens: &'a [&'a str],
    item: Option<&'a Item>,
    names: &'a Map<String, Value>,
    values: &'a Map<String, Value>,
    used: BTreeSet<&'a str>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<&'a str, Refusal> {
        let (first, rest) = self.tokens.split_first().ok_or_else(|| syntax("<EOF>"))?;
        self.tokens = rest;
        Ok(first)
    }

    fn takes(&mut self, word: &str) -> bool {
        let is_it = self.tokens.first().is_some_and(|token| token.eq_ignore_ascii_case(word));
        if is_it {
            self.tokens = &self.tokens[1..];
        }
        is_it
    }

    fn expect(&mut self, word: &str) -> Result<(), Refusal> {
        let token = self.next()?;
        if token == word { Ok(()) } else { Err(syntax(token)) }
    }

    fn either(&mut self, depth: usize) -> Result<bool, Refusal> {
        let mut holds = self.all(depth)?;
        while self.takes("OR") {
            // Both are read, whatever the first is: a mistake in either is one.
            holds |= self.all(depth)?;
        }
        Ok(holds)
    }

    fn all(&mut self, depth: usize) -> Result<bool, Refusal> {
        let mut holds = self.one(depth)?;
        while self.takes("AND") {
            holds &= self.one(depth)?;
        }
        Ok(holds)
    }

    fn one(&mut self, depth: usize) -> Result<bool, Refusal> {
        if depth == DEPTH_MAX {
            return Err(invalid("Invalid ConditionExpression: The expression is too deep"));
        }
        if self.takes("NOT") {
            return self.one(depth + 1).map(|holds| !holds);
        }
        if self.takes("(") {
            let holds = self.either(depth + 1)?;
            self.expect(")")?;
            return Ok(holds);
        }
        for (function, wanted) in [("attribute_exists", true), ("attribute_not_exists", false)] {
            if self.takes(function) {
                self.expect("(")?;
                let found = self.operand()?.is_some();
                self.expect(")")?;
                return Ok(found == wanted);
            }
        }
        let left = self.operand()?;
        let operator = self.next()?;
        if !["=", "<>", "<", "<=", ">", ">="].contains(&operator) {
            return Err(syntax(operator));
        }
        let right = self.operand()?;
        Ok(compared(left, operator, right))
    }

    /// The value of an attribute or of what was given; `None` for an attribute that the item does not have.
    fn operand(&mut self) -> Result<Option<&'a Value>, Refusal> {
        let token = self.next()?;
        let missing = |what: &str| {
            let kind = if token.starts_with('#') { "name" } else { "value" };
            invalid(format!(
                "Invalid ConditionExpression: An expression attribute {kind} used in {what} is not defined; attribute \
                 {kind}: {token}"
            ))
        };
        if token.starts_with(':') {
            let (key, value) = self.values.get_key_value(token).ok_or_else(|| missing("expression"))?;
            self.used.insert(key);
            return Ok(Some(value));
        }
        if !token.chars().all(is_word) {
            return Err(syntax(token));
        }
        let name = if token.starts_with('#') {
            let (key, name) = self.names.get_key_value(token).ok_or_else(|| missing("the document path"))?;
            self.used.insert(key);
            name.as_str().unwrap_or_default()
        } else {
            token
        };
        Ok(self.item.and_then(|item| item.get(name)))
    }
}

/// A comparison. An attribute that is not there, or of another type, is unequal to everything and in no order.
fn compared(left: Option<&Value>, operator: &str, right: Option<&Value>) -> bool {
    let order = left.zip(right).and_then(|(left, right)| order(left, right));
    match operator {
        "=" => order == Some(Ordering::Equal),
        "<>" => order != Some(Ordering::Equal),
        "<" => order == Some(Ordering::Less),
        "<=" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        ">" => order == Some(Ordering::Greater),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    let text = |value: &'_ Value, kind: &str| value.get(kind).and_then(Value::as_str).map(str::to_owned);
    if let (Some(left), Some(right)) = (text(left, "N"), text(right, "N")) {
        // Of the 38 digits that AWS keeps, a lease needs 13.
        return left.parse::<f64>().ok()?.partial_cmp(&right.parse::<f64>().ok()?);
    }
    if let (Some(left), Some(right)) = (text(left, "S"), text(right, "S")) {
        return Some(left.cmp(&right));
    }
    (left == right).then_some(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(expression: &str, values: &Value) -> String {
        let item = json!({"owner": {"S": "one"}, "generation": {"N": "7"}});
        let params = json!({"ConditionExpression": expression, "ExpressionAttributeValues": values});
        match holds(Params(&params), item.as_object()) {
            Ok(holds) => holds.to_string(),
            Err(refusal) => refusal.message,
        }
    }

    /// Proves operators, their precedence, and what holds for an attribute that is not there.
    #[test]
    fn conditions_hold_as_the_guide_says() {
        let numbers = json!({":a": {"N": "10"}, ":b": {"S": "two"}});
        for (expression, wanted) in [
            ("generation < :a AND owner <> :b", "true"),
            ("generation > :a AND owner <> :b", "false"),
            ("owner = :b AND generation = :a OR attribute_exists(owner)", "true"),
            ("owner = :b AND (generation = :a OR attribute_exists(owner))", "false"),
            ("NOT owner = :b AND NOT attribute_exists(expires) AND generation <= :a", "true"),
            ("expires < :a OR expires >= :a OR owner = :b", "false"),
            ("attribute_not_exists(expires) and expires <> :a and owner <> :b", "true"),
        ] {
            assert_eq!(told(expression, &numbers), wanted, "{expression}");
        }
    }

    /// Proves that what cannot be read is refused with AWS's words, and never taken for a condition that holds.
    #[test]
    fn what_cannot_be_read_is_refused() {
        let one = json!({":a": {"N": "1"}});
        for (expression, word) in [
            ("generation ==", "Syntax error; token: \"=\""),
            ("(generation = :a", "Syntax error; token: \"<EOF>\""),
            ("generation = :z", "attribute value: :z"),
            ("#g = :a", "attribute name: #g"),
            ("attribute_exists(generation)", "unused in expressions: keys: {:a}"),
            ("generation BETWEEN :a AND :a", "Syntax error; token: \"BETWEEN\""),
            ("generation = :a)", "Syntax error; token: \")\""),
        ] {
            let told = told(expression, &one);
            assert!(told.contains(word), "{expression}: {told}");
        }
        assert!(told(&format!("{}generation = :a{}", "(".repeat(99), ")".repeat(99)), &one).contains("too deep"));
    }
}
