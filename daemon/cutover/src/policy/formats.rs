//! The little languages inside values: durations, percents, endpoints, windows, ladders.
//!
//! Each is a type that can only hold what was understood, a word (`format` in the JSON Schema) by which the checker finds
//! its parser, and a parser that says what is wrong *and* what to write instead. Nothing here knows about files or lines.

mod arn;
mod kafka;
mod series;
mod time;

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use super::{GateBefore, Sticky};
use crate::units::Weight;

pub use arn::{ListenerArn, RuleArn, TargetGroupArn};
pub use kafka::{Broker, Group, Topic};
pub use series::{Matchers, Selector};
pub use time::{Period, Weekly, Zone, period_text};

/// A tolerance above this (a factor of eleven) guards nothing.
const TOLERANCE_MAX: f64 = 10.0;

/// More steps than this are no ladder: each is baked, alerted on and journalled.
pub(super) const STEPS_MAX: usize = 100;

/// The longest service name; it becomes part of file names and alert ids.
const NAME_BYTES_MAX: usize = 64;

/// What is wrong with a value, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// What is wrong, with the value.
    pub(super) what: String,
    /// What to write instead; empty when nobody can say.
    pub(super) hint: String,
}

impl Mistake {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }
}

/// A scalar as it stands in a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input<'a> {
    Text(&'a str),
    Number(f64),
}

/// A value with a little language of its own.
trait Format: Sized {
    /// Its `format` in the schema.
    const NAME: &'static str;
    /// Whether a bare number is one, too.
    const NUMBERS: bool;
    /// What an editor shows as an example.
    const EXAMPLE: &'static str;

    fn read(input: Input<'_>) -> Result<Self, Mistake>;
}

/// Gives a [`Format`] its place in the schema and reads it from the checked document.
macro_rules! formats {
    ($($type:ident),* $(,)?) => {
        $(
            impl JsonSchema for $type {
                fn inline_schema() -> bool {
                    true
                }

                fn schema_name() -> std::borrow::Cow<'static, str> {
                    <$type as Format>::NAME.into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    if <$type as Format>::NUMBERS {
                        json_schema!({"type": ["string", "number"], "format": <$type as Format>::NAME, "examples": [<$type as Format>::EXAMPLE]})
                    } else {
                        json_schema!({"type": "string", "format": <$type as Format>::NAME, "examples": [<$type as Format>::EXAMPLE]})
                    }
                }
            }

            impl<'de> Deserialize<'de> for $type {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let value = serde_json::Value::deserialize(deserializer)?;
                    let input = match &value {
                        serde_json::Value::String(text) => Input::Text(text),
                        serde_json::Value::Number(number) => Input::Number(number.as_f64().unwrap_or(f64::NAN)),
                        _ => return Err(de::Error::custom(concat!("not a ", stringify!($type)))),
                    };
                    <$type as Format>::read(input).map_err(|mistake| de::Error::custom(mistake.what))
                }
            }
        )*

        /// Reads a value of the named format only to see what is wrong with it. An unknown format is anything.
        pub(super) fn check(format: &str, input: Input<'_>) -> Result<(), Mistake> {
            match format {
                $(<$type as Format>::NAME => <$type as Format>::read(input).map(drop),)*
                _ => Ok(()),
            }
        }
    };
}

formats!(
    Name,
    Control,
    Broker,
    Topic,
    Group,
    StickyBy,
    Endpoint,
    Url,
    Secret,
    AbsolutePath,
    Period,
    Percent,
    Tolerance,
    StepPercent,
    Ladder,
    Limit,
    Before,
    Zone,
    Weekly,
    ListenerArn,
    RuleArn,
    TargetGroupArn,
    Matchers,
    Selector,
);

/// The name of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub String);

impl Format for Name {
    const NAME: &'static str = "name";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str = "orders-search";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let text = text_of(input, "a name", Self::EXAMPLE)?;
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return Err(Mistake::new(
                format!("the name is {} characters long", text.len()),
                format!("use 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` or `.`"),
            ));
        }
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !text.chars().all(fine) || !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            let mended: String = text.chars().map(|c| if fine(c) { c } else { '-' }).collect();
            let mended = mended.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
            return Err(Mistake::new(
                format!("`{text}` cannot be a name: it becomes part of file names and alert ids"),
                format!(
                    "use letters, digits, `-`, `_` and `.`, beginning with a letter or digit{}",
                    if mended.is_empty() { String::new() } else { format!(", such as `{mended}`") }
                ),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The control address of a proxy, or of all that stand behind a name in DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control(pub String);

impl Format for Control {
    const NAME: &'static str = "control-address";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str = "unix:/run/tidegate/proxy.sock";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let text = text_of(input, "a control address", Self::EXAMPLE)?;
        let with_port = |text: &str| host_and_port(text).is_some_and(|(_, port)| port.is_some());
        let fine = match (text.strip_prefix("unix:"), text.strip_prefix("dns://")) {
            (Some(path), _) => path.starts_with('/'),
            (None, Some(behind)) => {
                let (resolver, name) = behind.split_once('/').map_or((None, behind), |(who, name)| (Some(who), name));
                resolver.is_none_or(|who| who.parse::<core::net::SocketAddr>().is_ok())
                    && with_port(name)
                    && !name.starts_with('[')
            }
            (None, None) => !text.contains("://") && with_port(text),
        };
        if fine {
            Ok(Self(text.to_owned()))
        } else {
            Err(Mistake::new(
                format!("`{text}` is not the control address of a proxy"),
                "write `unix:/absolute/path.sock`, `HOST:PORT`, or `dns://NAME:PORT` for all that the name stands for",
            ))
        }
    }
}

/// What keeps a client on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickyBy(pub Sticky);

impl Format for StickyBy {
    const NAME: &'static str = "sticky";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str = "header:X-Client-Id";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let text = text_of(input, "stickiness", Self::EXAMPLE)?;
        match text.split_once(':') {
            Some(("header", name)) if is_field_name(name) => Ok(Self(Sticky::Header(name.to_owned()))),
            Some(("cookie", name)) if is_field_name(name) => Ok(Self(Sticky::Cookie(name.to_owned()))),
            _ => Err(Mistake::new(
                format!("`{text}` names neither a header nor a cookie"),
                "write `header:NAME` or `cookie:NAME`",
            )),
        }
    }
}

/// One endpoint of a side, with its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(pub String);

impl Format for Endpoint {
    const NAME: &'static str = "endpoint";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str = "http://10.0.0.1:9200";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let text = text_of(input, "an endpoint", Self::EXAMPLE)?;
        let (scheme, port_default, rest) = scheme_of(text)?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err(Mistake::new(
                "an endpoint carries no user and password",
                "say `authorization = \"env:NAME\"` or `\"file:PATH\"` for the side",
            ));
        }
        if authority.contains(['/', '?', '#']) {
            return Err(Mistake::new(
                format!("`{text}` has a path: an endpoint is an address, and requests keep their own path"),
                format!("write `{scheme}://{}`", authority.split(['/', '?', '#']).next().unwrap_or_default()),
            ));
        }
        match host_and_port(authority) {
            Some((host, port)) => Ok(Self(format!("{scheme}://{host}:{}", port.unwrap_or(port_default)))),
            None => {
                Err(Mistake::new(format!("`{text}` is not an endpoint"), format!("write it as `{scheme}://HOST:PORT`")))
            }
        }
    }
}

/// Where a webhook goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(pub String);

impl Format for Url {
    const NAME: &'static str = "http-url";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str = "https://hooks.example.com/tidegate";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let text = text_of(input, "a URL", Self::EXAMPLE)?;
        let (_, _, rest) = scheme_of(text)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if host_and_port(authority).is_some() && text.chars().all(|c| c.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Mistake::new(format!("`{text}` is not a URL"), format!("write it as `{}`", Self::EXAMPLE)))
        }
    }
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret(pub String);

impl Format for Secret {
    const NAME: &'static str = "secret-reference";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str = "env:TARGET_AUTHORIZATION";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let text = text_of(input, "a reference to a secret", Self::EXAMPLE)?;
        match text.split_once(':') {
            Some(("env" | "file", name)) if !name.is_empty() => Ok(Self(text.to_owned())),
            // The value is not repeated: it may be the secret itself.
            _ => Err(Mistake::new(
                "a secret is never written into a policy",
                "say where it comes from: `env:NAME` or `file:PATH`",
            )),
        }
    }
}

/// A file on the daemon's machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsolutePath(pub String);

impl Format for AbsolutePath {
    const NAME: &'static str = "absolute-path";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str = "/etc/tidegate/baselines/search.json";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let text = text_of(input, "a path", Self::EXAMPLE)?;
        // The daemon's working directory is not the operator's, so a relative path would mean two files.
        if text.starts_with('/') && !text.ends_with('/') && !text.contains(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Mistake::new(
                format!("`{text}` is not the absolute path of a file"),
                format!("write it from `/` on, such as `{}`", Self::EXAMPLE),
            ))
        }
    }
}

/// A share of something, written in percent (`5`, `"5 %"`, `"0.01 %"`), held from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent(pub f64);

impl Format for Percent {
    const NAME: &'static str = "percent";
    const NUMBERS: bool = true;
    const EXAMPLE: &'static str = "5 %";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let percent = read_percent(input, "5 %")?;
        if (0.0..=100.0).contains(&percent) {
            Ok(Self(percent / 100.0))
        } else {
            Err(Mistake::new(format!("{percent} % is no share"), "a share is 0 to 100 percent"))
        }
    }
}

/// How much worse something may be, written in percent, held as a fraction: `"10 %"` is 0.1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance(pub f64);

impl Format for Tolerance {
    const NAME: &'static str = "tolerance";
    const NUMBERS: bool = true;
    const EXAMPLE: &'static str = "10 %";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let percent = read_percent(input, "10 %")?;
        if (0.0..=TOLERANCE_MAX * 100.0).contains(&percent) {
            Ok(Self(percent / 100.0))
        } else if percent < 0.0 {
            Err(Mistake::new(
                format!("a tolerance of {percent} % asks the target to be better than the source"),
                "a tolerance is 0 % or more; 10 % lets the target be 10 % worse",
            ))
        } else {
            Err(Mistake::new(
                format!("a tolerance of {percent} % guards nothing"),
                format!("at most {} %; switch the guard off with `enabled = false`", TOLERANCE_MAX * 100.0),
            ))
        }
    }
}

/// The share of a step: percent with at most one decimal, since weights are per mille.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepPercent(pub Weight);

impl Format for StepPercent {
    const NAME: &'static str = "step-percent";
    const NUMBERS: bool = true;
    const EXAMPLE: &'static str = "12.5 %";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let percent = read_percent(input, "12.5")?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(Mistake::new(format!("{percent} % is no share of the traffic"), "a step is 0 to 100 percent"));
        }
        let tenths = (percent * 10.0).round();
        if (percent * 10.0 - tenths).abs() > 1e-6 {
            return Err(Mistake::new(
                format!("{percent} % has more than one decimal, and weights are per mille"),
                format!("write {}", tenths / 10.0),
            ));
        }
        Weight::new(tenths as u16).map(Self).ok_or_else(|| Mistake::new("no share", ""))
    }
}

/// The nearest share to one of a step that has too many decimals.
pub(super) fn rounded(format: &str, input: Input<'_>) -> Option<f64> {
    let percent = read_percent(input, "").ok().filter(|percent| (0.0..=100.0).contains(percent))?;
    (format == StepPercent::NAME).then_some((percent * 10.0).round() / 10.0)
}

/// A ladder by rule: `linear 10`, `exponential 2 from 0.5 to 90`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder(pub Vec<Weight>);

impl Format for Ladder {
    const NAME: &'static str = "ladder";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str = "linear 10";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let text = text_of(input, "a ladder", Self::EXAMPLE)?;
        let forms =
            "write a list such as `[1, 5, 20, 50, 95, 100]`, or `\"linear 10\"`, or `\"exponential 2 from 1 to 95\"`";
        let wrong = |what: String| Mistake::new(what, forms);
        let mut words = text.split_whitespace().filter(|word| *word != "%").peekable();
        let rule = words.next().unwrap_or_default();
        if rule != "linear" && rule != "exponential" {
            return Err(wrong(format!("`{text}` is not a ladder")));
        }
        let number = |word: Option<&str>| -> Result<f64, Mistake> {
            let word = word.ok_or_else(|| wrong(format!("`{text}` ends where a number is due")))?;
            let number = word.trim_end_matches('%').parse().ok().filter(|number: &f64| number.is_finite());
            number.ok_or_else(|| wrong(format!("`{word}` in `{text}` is not a number")))
        };
        let by = match words.peek() {
            Some(word) if !matches!(*word, "from" | "to" | "by") => Some(number(words.next())?),
            _ => None,
        };
        let (mut by, mut from, mut to) = (by, None, None);
        while let Some(word) = words.next() {
            let slot = match word {
                "from" => &mut from,
                "to" => &mut to,
                "by" => &mut by,
                _ => return Err(wrong(format!("`{word}` in `{text}` is not understood"))),
            };
            *slot = Some(number(words.next())?);
        }
        let by = by.unwrap_or(if rule == "linear" { 10.0 } else { 2.0 });
        let from = from.unwrap_or(if rule == "linear" { by } else { 1.0 });
        let to = to.unwrap_or(95.0);
        rungs(rule, by, from, to).map(Self)
    }
}

/// The rungs of a ladder by rule, the last one 100 percent.
fn rungs(rule: &str, by: f64, from: f64, to: f64) -> Result<Vec<Weight>, Mistake> {
    let tenth = |percent: f64| (percent * 10.0).round().clamp(0.0, 1000.0) as u16;
    if !(0.1..=100.0).contains(&from) || !(0.1..=100.0).contains(&to) || from > to {
        return Err(Mistake::new(
            format!("a ladder from {from} % to {to} % has no rungs"),
            "both lie between 0.1 and 100, and `from` is not above `to`",
        ));
    }
    let grows = if rule == "linear" { by >= 0.1 } else { by >= 1.01 };
    if !grows {
        return Err(Mistake::new(
            format!("`{rule} {by}` does not rise"),
            if rule == "linear" {
                "write `linear 10` for steps of 10 %"
            } else {
                "write `exponential 2` to double each step"
            },
        ));
    }
    let mut rungs = Vec::new();
    let mut at = from;
    while tenth(at) < tenth(to) && rungs.len() <= STEPS_MAX {
        if rungs.last().is_none_or(|last: &u16| *last < tenth(at)) {
            rungs.push(tenth(at));
        }
        // A factor close to one moves less than a tenth at first: a tenth is the least there is.
        at = if rule == "linear" { at + by } else { (at * by).max(at + 0.1) };
    }
    rungs.push(tenth(to));
    if tenth(to) < 1000 {
        rungs.push(1000);
    }
    if rungs.len() > STEPS_MAX {
        return Err(Mistake::new(format!("this ladder has more than {STEPS_MAX} steps"), "take larger steps"));
    }
    Ok(rungs.into_iter().filter_map(Weight::new).collect())
}

/// The limit of a tripwire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// A share of the target's requests, 0 to 1.
    Share(f64),
    /// A time to the first byte.
    Time(Duration),
}

impl Format for Limit {
    const NAME: &'static str = "limit";
    const NUMBERS: bool = true;
    const EXAMPLE: &'static str = "50 %";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        match input {
            Input::Text(text) if !text.contains('%') && text.contains(|c: char| c.is_ascii_alphabetic()) => {
                Period::read(input).map(|Period(time)| Self::Time(time))
            }
            _ => Percent::read(input).map(|Percent(share)| Self::Share(share)),
        }
    }
}

/// Before which step a gate is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before(pub GateBefore);

impl Format for Before {
    const NAME: &'static str = "gate-before";
    const NUMBERS: bool = true;
    const EXAMPLE: &'static str = "each-step";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        match input {
            Input::Text("each-step") => Ok(Self(GateBefore::EachStep)),
            Input::Text("writes") => Ok(Self(GateBefore::Writes)),
            Input::Text("each-writes") => Ok(Self(GateBefore::EachWrites)),
            Input::Text(text) if text.contains(|c: char| c.is_ascii_alphabetic()) => Err(Mistake::new(
                format!("`{text}` names no step"),
                "write `each-step`, `writes`, `each-writes`, or a share such as `50` for the first step that reaches it",
            )),
            _ => StepPercent::read(input).map(|StepPercent(weight)| Self(GateBefore::Weight(weight))),
        }
    }
}

/// The text, or what to write when a number stands there.
fn text_of<'a>(input: Input<'a>, what: &str, example: &str) -> Result<&'a str, Mistake> {
    match input {
        Input::Text(text) => Ok(text),
        Input::Number(number) => {
            Err(Mistake::new(format!("{number} is not {what}"), format!("write it as text: `\"{example}\"`")))
        }
    }
}

/// A number of percent, from a bare number or from text with or without the sign.
fn read_percent(input: Input<'_>, example: &str) -> Result<f64, Mistake> {
    let number = match input {
        Input::Number(number) => Some(number),
        Input::Text(text) => text.trim().trim_end_matches('%').trim_end().parse().ok(),
    };
    number.filter(|number| number.is_finite()).ok_or_else(|| {
        let given = match input {
            Input::Number(number) => number.to_string(),
            Input::Text(text) => text.to_owned(),
        };
        Mistake::new(format!("`{given}` is not a percentage"), format!("write it as `{example}`"))
    })
}

/// The scheme, its port, and what follows.
fn scheme_of(text: &str) -> Result<(&'static str, u16, &str), Mistake> {
    if let Some(rest) = text.strip_prefix("http://") {
        Ok(("http", 80, rest))
    } else if let Some(rest) = text.strip_prefix("https://") {
        Ok(("https", 443, rest))
    } else {
        let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
        Err(Mistake::new(
            format!("`{text}` does not begin with `http://` or `https://`"),
            format!("write `http://{bare}` or `https://{bare}`"),
        ))
    }
}

/// Host and port of `HOST`, `HOST:PORT` or `[V6]:PORT`.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            address.parse::<core::net::Ipv6Addr>().ok()?;
            (&text[..address.len() + 2], if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let named = host.starts_with('[') || host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if host.is_empty() || !named {
        return None;
    }
    match port {
        None => Some((host, None)),
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
            port.parse().ok().filter(|port: &u16| *port > 0).map(|port| (host, Some(port)))
        }
        Some(_) => None,
    }
}

/// Whether this can be the name of a header field or a cookie (RFC 9110 5.6.2, `token`).
pub(super) fn is_field_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
