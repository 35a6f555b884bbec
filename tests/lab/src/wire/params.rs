//! Reading parameters: what must be there, what a string means, and AWS's sentence when it means nothing.
//!
//! The query protocol brings strings and JSON brings values, so each reader takes both.

use std::ops::RangeInclusive;
use std::str::FromStr;

use serde_json::Value;

use crate::model::Refusal;

/// One table of parameters.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a>(pub &'a Value);

impl<'a> Params<'a> {
    /// A value by name; `None` if it is not given, or `null`.
    fn value(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Whether it is given at all.
    pub fn has(self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// A text.
    pub fn text(self, name: &str) -> Option<&'a str> {
        self.value(name)?.as_str()
    }

    /// A text that must be there, and not be empty.
    pub fn need(self, name: &str) -> Result<&'a str, Refusal> {
        self.text(name).filter(|text| !text.is_empty()).ok_or_else(|| Refusal::missing(name))
    }

    /// A number within `range`.
    pub fn number<T>(self, name: &str, range: RangeInclusive<T>) -> Result<Option<T>, Refusal>
    where
        T: FromStr + TryFrom<u64> + PartialOrd + std::fmt::Display + Copy,
    {
        let Some(value) = self.value(name) else { return Ok(None) };
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let text = shown.trim();
        let number: i128 = text.parse().map_err(|_| {
            Refusal::new("MalformedInput", format!("cannot read '{shown}' at '{name}' as a whole number"))
        })?;
        let constraint = |relation: &str, bound: T| {
            Refusal::invalid(format!(
                "1 validation error detected: Value '{shown}' at '{}' failed to satisfy constraint: Member must have \
                 value {relation} than or equal to {bound}",
                lower(name)
            ))
        };
        match text.parse::<T>() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            Ok(number) if number < *range.start() => Err(constraint("greater", *range.start())),
            Err(_) if number < 0 => Err(constraint("greater", *range.start())),
            _ => Err(constraint("less", *range.end())),
        }
    }

    /// Yes or no.
    pub fn flag(self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(other) => {
                Err(Refusal::new("MalformedInput", format!("cannot read {other} at '{name}' as true or false")))
            }
        }
    }

    /// One of a closed set of words.
    pub fn word(self, name: &str, words: &[&str]) -> Result<Option<&'a str>, Refusal> {
        match self.text(name) {
            Some(word) if !words.contains(&word) => Err(Refusal::invalid(format!(
                "1 validation error detected: Value '{word}' at '{}' failed to satisfy constraint: Member must satisfy \
                 enum value set: [{}]",
                lower(name),
                words.join(", ")
            ))),
            word => Ok(word),
        }
    }

    /// A table within this one.
    pub fn table(self, name: &str) -> Option<Self> {
        self.value(name).filter(|value| value.is_object()).map(Params)
    }

    /// A list of tables; empty if it is not given or given as empty.
    pub fn tables(self, name: &str) -> impl Iterator<Item = Self> + use<'a> {
        self.array(name).iter().map(Params)
    }

    /// A list of texts.
    pub fn texts(self, name: &str) -> Vec<&'a str> {
        self.array(name).iter().filter_map(Value::as_str).collect()
    }

    fn array(self, name: &str) -> &'a [Value] {
        self.value(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

/// `PageSize` as AWS's sentences have it: `pageSize`.
fn lower(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_ascii_lowercase().to_string() + chars.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Proves that numbers are bounded on both sides, from text and from JSON, with AWS's sentence.
    #[test]
    fn numbers_are_bounded_on_both_sides() {
        let value = json!({"A": "400", "B": 0, "C": "-1", "D": "99999999999", "E": "x"});
        let params = Params(&value);
        assert_eq!(params.number("A", 1..=400_u32).unwrap(), Some(400));
        assert_eq!(params.number("Z", 1..=400_u32).unwrap(), None);
        for (name, words) in [("B", "greater than or equal to 1"), ("C", "greater"), ("D", "less than or equal to 400")]
        {
            let refusal = params.number(name, 1..=400_u32).unwrap_err();
            assert_eq!(refusal.code, "ValidationError");
            assert!(refusal.message.contains(words), "{refusal}");
        }
        assert_eq!(params.number("E", 1..=400_u32).unwrap_err().code, "MalformedInput");
    }
}
