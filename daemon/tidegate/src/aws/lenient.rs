//! Numbers and flags that come as text, because XML has nothing else.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// A whole number, as itself or as text.
pub(crate) fn number<'de, D: Deserializer<'de>, N>(deserializer: D) -> Result<Option<N>, D::Error>
where
    N: FromStr<Err: Display>,
{
    read(deserializer)
}

/// A flag, as itself or as text.
pub(crate) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    read(deserializer)
}

fn read<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: Display>,
{
    let text = match Value::deserialize(deserializer)? {
        Value::Null => return Ok(None),
        Value::String(text) => text,
        plain @ (Value::Number(_) | Value::Bool(_)) => plain.to_string(),
        other => return Err(de::Error::custom(format!("`{other}` is neither a number nor a flag"))),
    };
    text.trim().parse().map(Some).map_err(|error| de::Error::custom(format!("`{text}`: {error}")))
}
