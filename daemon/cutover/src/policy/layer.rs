//! One layer of a policy: its text, what it says, and where it says it.
//!
//! Reading a layer finds everything that can be wrong with it alone: syntax, unknown keys, wrong types, units and words.
//! It goes on past each problem and leaves the bad value out, so that one look shows them all. What is missing or
//! contradicts itself can only be known of all layers together; that is `resolve`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::OnceLock;

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::formats::{self, Input};
use super::problem::{Problem, Severity, line_and_column};
use super::shape::{self, Shape};
use super::words::nearest;

/// No policy is longer than this; what is longer is some other file.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Problems beyond this many are only counted: nobody reads them, and a hostile text must not fill memory.
const PROBLEMS_MAX: usize = 200;

/// The name of the layer below all others.
pub const BUILTIN: &str = "built-in";

/// The name of the layer above it for an ALB.
const BUILTIN_ALB: &str = "built-in (alb)";

/// The name of the layer above it for Prometheus, where the weights live at our own proxies.
const BUILTIN_PROMETHEUS: &str = "built-in (prometheus)";

/// One layer, read.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The file, the environment variable, or `built-in`.
    pub name: String,
    /// Its text.
    pub text: String,
    /// What it says, without what is wrong.
    pub value: Value,
    /// What is wrong with it alone, in the order of the text.
    pub problems: Vec<Problem>,
    /// Where each value stands, by path (`shift.steps[2]`).
    places: BTreeMap<String, Place>,
    /// What was left out because it is wrong.
    bad: BTreeSet<String>,
    /// Whether the text is the value of one environment variable.
    variable: bool,
    /// Whether a syntax error may have torn tables apart, so that nothing can be said to be missing.
    torn: bool,
}

/// Where a value stands.
#[derive(Clone, Debug)]
struct Place {
    /// The value.
    value: Range<usize>,
    /// Its key; the value itself in an array.
    key: Range<usize>,
}

impl Layer {
    fn empty(text: &str, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
            value: Value::Object(Map::new()),
            problems: Vec::new(),
            places: BTreeMap::new(),
            bad: BTreeSet::new(),
            variable: false,
            torn: false,
        }
    }

    /// Whether the layer says anything (right or wrong) at this path.
    pub fn says(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// On which line (from 1) it says something at this path, if it does.
    pub fn line_of(&self, path: &str) -> Option<usize> {
        self.places.get(path).map(|place| line_and_column(&self.text, place.key.start).0)
    }

    /// Whether this is the layer below all others.
    pub(super) fn is_builtin(&self) -> bool {
        self.name.starts_with(BUILTIN)
    }

    /// Whether this layer is one environment variable and not a file.
    pub(super) fn is_variable(&self) -> bool {
        self.variable
    }

    /// Whether a syntax error may have torn tables apart, so that nothing can be said to be missing.
    pub(super) fn is_torn(&self) -> bool {
        self.torn
    }

    /// Whether exactly the value at this path was left out because it is wrong.
    pub(super) fn is_left_out(&self, path: &str) -> bool {
        self.bad.contains(path)
    }

    /// Whether what it says at this path, or inside it, was left out because it is wrong.
    pub fn is_bad(&self, path: &str) -> bool {
        let inside = |bad: &String| bad.strip_prefix(path).is_some_and(|rest| rest.starts_with(['.', '[']));
        self.bad.contains(path) || self.bad.range(path.to_owned()..).take_while(|bad| bad.starts_with(path)).any(inside)
    }

    /// A problem at a path of this layer: at its value, or at the key when the value is a whole table.
    pub fn problem(&self, path: &str, severity: Severity, what: String, hint: String) -> Problem {
        let span = self.places.get(path).map_or(0..0, |place| match &place.value {
            value if self.text.get(value.clone()).is_some_and(|text| text.starts_with(['"', '\'', '['])) => {
                value.clone()
            }
            value if value.len() > 40 || value.is_empty() => place.key.clone(),
            value => value.clone(),
        });
        self.problem_at(span, severity, what, hint)
    }

    fn problem_at(&self, span: Range<usize>, severity: Severity, what: String, hint: String) -> Problem {
        let (line, column) = line_and_column(&self.text, span.start);
        Problem { file: self.name.clone(), line, column, span, severity, what, hint }
    }
}

/// Reads what a file holds: like [`parse`], and where it is no UTF-8 that is a problem of its own, with its place.
pub fn parse_bytes(bytes: &[u8], name: &str) -> Layer {
    let error = match std::str::from_utf8(bytes) {
        Ok(text) => return parse(text, name),
        Err(error) => error,
    };
    let mut layer = parse(&String::from_utf8_lossy(bytes), name);
    let at = error.valid_up_to();
    let what = bytes.get(at).map_or_else(String::new, |byte| format!("byte 0x{byte:02x} is no UTF-8 text"));
    let place = at..at + char::REPLACEMENT_CHARACTER.len_utf8();
    let hint = "save the file as UTF-8".to_owned();
    layer.problems.insert(0, layer.problem_at(place, Severity::Error, what, hint));
    layer
}

/// Reads one layer from its text. Never panics, whatever the text; what is wrong is in [`Layer::problems`].
///
/// `name` is the file's name as problems shall print it.
pub fn parse(text: &str, name: &str) -> Layer {
    let layer = Layer::empty(text, name);
    if text.len() > TEXT_BYTES_MAX {
        let what = format!("{} bytes are no policy", text.len());
        let problem =
            layer.problem_at(0..0, Severity::Error, what, format!("a policy is at most {TEXT_BYTES_MAX} bytes"));
        return Layer { problems: vec![problem], ..layer };
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { layer, more: 0 };
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        reader.syntax(span, error.message());
    }
    let broken = !reader.layer.problems.is_empty();
    let value = reader.table("", table.get_ref(), shape::document(), broken);
    let Reader { mut layer, more } = reader;
    layer.value = value;
    layer.problems.sort_by_key(|problem| problem.span.start);
    if more > 0 {
        let what = format!("{more} more problems are not shown");
        let end = layer.text.len();
        layer.problems.push(layer.problem_at(end..end, Severity::Error, what, String::new()));
    }
    layer
}

/// The layer below all others.
pub fn builtin() -> &'static Layer {
    static LAYER: OnceLock<Layer> = OnceLock::new();
    LAYER.get_or_init(|| parse(include_str!("builtin.toml"), BUILTIN))
}

/// What stands between that layer and all others where the weights live at an ALB: its numbers come in minutes.
fn builtin_alb() -> &'static Layer {
    static LAYER: OnceLock<Layer> = OnceLock::new();
    LAYER.get_or_init(|| parse(include_str!("builtin-alb.toml"), BUILTIN_ALB))
}

/// What stands between that layer and all others where our own proxies are counted by Prometheus: its samples lie apart.
fn builtin_prometheus() -> &'static Layer {
    static LAYER: OnceLock<Layer> = OnceLock::new();
    LAYER.get_or_init(|| parse(include_str!("builtin-prometheus.toml"), BUILTIN_PROMETHEUS))
}

/// The layers below those that someone wrote, by the balancer and the numbers that these name last. `written` is given
/// lowest first.
pub fn builtins<'a>(written: impl Iterator<Item = &'a Layer>) -> Vec<&'static Layer> {
    let word = |layer: &'a Layer, path: &str| layer.value.pointer(path).and_then(Value::as_str);
    let (mut balancer, mut metrics) = (None, None);
    for layer in written {
        balancer = word(layer, "/balancer/kind").or(balancer);
        metrics = word(layer, "/metrics/kind").or(metrics);
    }
    let mut layers = vec![builtin()];
    match (balancer, metrics) {
        (Some("alb"), _) => layers.push(builtin_alb()),
        (_, Some("prometheus")) => layers.push(builtin_prometheus()),
        _ => {}
    }
    layers
}

/// Reads one environment variable as a layer: `keys` is the path it names (`["shift", "bake_min"]`), `text` its value.
///
/// Text needs no quotes; lists and tables are written as in TOML. Never panics.
pub fn parse_variable(keys: &[String], text: &str, name: &str) -> Layer {
    let mut layer = Layer { variable: true, ..Layer::empty(text, name) };
    let whole = 0..text.len();
    let mut path = String::new();
    let mut shape = shape::document();
    for key in keys {
        let below = match shape {
            Shape::Table { keys, others } => {
                keys.get(key).or(others.as_deref()).ok_or_else(|| unknown_key(&path, key, keys))
            }
            _ => Err((format!("`{path}` has no keys of its own"), String::new(), None)),
        };
        path = join(&path, key);
        layer.places.insert(path.clone(), Place { value: whole.clone(), key: whole.clone() });
        match below {
            Ok(below) => shape = below,
            Err((what, hint, _)) => {
                layer.problems.push(layer.problem_at(0..0, Severity::Error, what, hint));
                return layer;
            }
        }
    }
    let trimmed = text.trim();
    let plain = takes_text(shape) && !trimmed.starts_with(['[', '{', '"', '\'']);
    let mut reader = Reader { layer, more: 0 };
    let value = if plain {
        let value = DeValue::String(trimmed.into());
        reader.value(&path, &value, whole.clone(), shape)
    } else {
        match DeValue::parse(text) {
            Ok(value) => reader.value(&path, value.get_ref(), whole.clone(), shape),
            // `yes` for a number is not TOML at all, but what belongs there is known.
            Err(_) if !trimmed.starts_with(['[', '{', '"', '\'']) => {
                reader.value(&path, &DeValue::String(trimmed.into()), whole.clone(), shape)
            }
            Err(error) => {
                reader.syntax(error.span().unwrap_or(0..0), error.message());
                None
            }
        }
    };
    let mut layer = reader.layer;
    match value {
        Some(value) => {
            layer.value = keys.iter().rev().fold(value, |value, key| {
                let mut table = Map::new();
                table.insert(key.clone(), value);
                Value::Object(table)
            });
        }
        None => drop(layer.bad.insert(path)),
    }
    layer
}

/// Whether bare text may stand at a place.
fn takes_text(shape: &Shape) -> bool {
    match shape {
        Shape::Word(_) | Shape::Text | Shape::Format { .. } => true,
        Shape::Either(alternatives) => alternatives.iter().any(takes_text),
        _ => false,
    }
}

struct Reader {
    layer: Layer,
    more: usize,
}

impl Reader {
    fn report(&mut self, span: Range<usize>, what: String, hint: String) {
        if self.layer.problems.len() < PROBLEMS_MAX {
            let problem = self.layer.problem_at(span, Severity::Error, what, hint);
            self.layer.problems.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// A syntax error in the words of the TOML parser, with a hint where its words alone do not help.
    fn syntax(&mut self, span: Range<usize>, message: &str) {
        let message = message.lines().next().unwrap_or("this is not TOML").trim().to_owned();
        let hint = if message.contains("duplicate key") {
            "say it once; the second one would silently win or lose"
        } else if message.contains("string values must be quoted") || message.contains("extra content") {
            "text needs quotes: `\"5m\"`"
        } else {
            self.layer.torn = true;
            // The parser ends with what it expected, which is what to write.
            let (what, expected) = message.split_once(", expected ").unwrap_or((&message, "a policy in TOML"));
            let (what, hint) = (what.to_owned(), format!("{expected} is expected here"));
            self.report(span, what, hint);
            return;
        };
        self.report(span, message, hint.to_owned());
    }

    fn table(&mut self, path: &str, table: &DeTable<'_>, shape: &Shape, broken: bool) -> Value {
        let Shape::Table { keys, others } = shape else { return Value::Null };
        let mut value = Map::new();
        for (key, item) in table {
            let name = key.get_ref().as_ref();
            let below = join(path, name);
            self.layer.places.insert(below.clone(), Place { value: item.span(), key: key.span() });
            let Some(shape) = keys.get(name).or(others.as_deref()) else {
                // After a syntax error a key may only look unknown because its line was torn.
                if !(broken && name.is_empty()) {
                    let (what, hint, meant) = unknown_key(path, name, keys);
                    self.report(key.span(), what, hint);
                    // What was meant is there, if misspelt: it is not missing as well.
                    self.layer.bad.extend(meant);
                }
                self.layer.bad.insert(below);
                continue;
            };
            if let Some(fine) = self.value(&below, item.get_ref(), item.span(), shape) {
                value.insert(name.to_owned(), fine);
            } else {
                self.layer.bad.insert(below);
            }
        }
        Value::Object(value)
    }

    /// The value as JSON, or `None` after a problem was reported.
    fn value(&mut self, path: &str, value: &DeValue<'_>, span: Range<usize>, shape: &Shape) -> Option<Value> {
        match (shape, value) {
            (Shape::Either(alternatives), _) => {
                let fitting = alternatives.iter().find(|alternative| fits(alternative, value));
                match fitting {
                    Some(alternative) => self.value(path, value, span, alternative),
                    None => self.wrong_type(path, value, span, shape),
                }
            }
            (Shape::Table { .. }, DeValue::Table(table)) => {
                let inner = self.table(path, table, shape, false);
                self.is_whole(path, &inner, span, shape).then_some(inner)
            }
            (Shape::List(inner), DeValue::Array(items)) => {
                let mut list = Vec::new();
                let mut whole = true;
                for (index, item) in items.iter().enumerate() {
                    let below = format!("{path}[{index}]");
                    let place = Place { value: item.span(), key: item.span() };
                    self.layer.places.insert(below.clone(), place);
                    match self.value(&below, item.get_ref(), item.span(), inner) {
                        Some(fine) => list.push(fine),
                        None => whole = false,
                    }
                }
                // A list with a hole means something else, so none of it is kept.
                whole.then_some(Value::Array(list))
            }
            (Shape::Word(words), DeValue::String(text)) if words.iter().any(|word| word == text) => {
                Some(Value::String(text.to_string()))
            }
            (Shape::Word(words), DeValue::String(text)) => {
                let hint = match nearest(text, words.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `\"{near}\"`? It is one of {}", quoted(words)),
                    None => format!("it is one of {}", quoted(words)),
                };
                self.report(span, format!("`{text}` is not known here"), hint);
                None
            }
            (Shape::Text, DeValue::String(text)) => Some(Value::String(text.to_string())),
            (Shape::Flag, DeValue::Boolean(flag)) => Some(Value::Bool(*flag)),
            (Shape::Whole { least, most }, DeValue::Integer(_)) => {
                let fine = whole(value).filter(|number| (*least..=*most).contains(number));
                if fine.is_none() {
                    let text = self.layer.text.get(span.clone()).unwrap_or_default().to_owned();
                    let range = if *most == i64::MAX.unsigned_abs() {
                        format!("{least} on")
                    } else {
                        format!("{least} to {most}")
                    };
                    self.report(span, format!("{text} is out of range"), format!("it is a whole number from {range}"));
                }
                fine.map(Value::from)
            }
            (Shape::Number, DeValue::Integer(_) | DeValue::Float(_)) => self.number(value, span),
            (Shape::Format { name, .. }, DeValue::String(text)) => {
                self.formatted(name, Input::Text(text), span, || Some(Value::String(text.to_string())))
            }
            (Shape::Format { name, numbers: true, .. }, DeValue::Integer(_) | DeValue::Float(_)) => {
                let number = self.number(value, span.clone())?;
                let input = Input::Number(number.as_f64().unwrap_or(f64::NAN));
                self.formatted(name, input, span, || Some(number))
            }
            _ => self.wrong_type(path, value, span, shape),
        }
    }

    fn formatted(
        &mut self,
        format: &str,
        input: Input<'_>,
        span: Range<usize>,
        fine: impl FnOnce() -> Option<Value>,
    ) -> Option<Value> {
        match formats::check(format, input) {
            Ok(()) => fine(),
            Err(mistake) => {
                self.report(span, mistake.what, mistake.hint);
                // A share with too many decimals still has its place on the ladder, which is looked at next.
                formats::rounded(format, input).map(Value::from)
            }
        }
    }

    /// A finite number, or a problem.
    fn number(&mut self, value: &DeValue<'_>, span: Range<usize>) -> Option<Value> {
        let number = match value {
            DeValue::Integer(_) => whole(value).map(Value::from).or_else(|| {
                let number: f64 = value.as_integer()?.as_str().parse().ok()?;
                serde_json::Number::from_f64(number).map(Value::Number)
            }),
            DeValue::Float(float) => {
                float.as_str().parse().ok().and_then(serde_json::Number::from_f64).map(Value::Number)
            }
            _ => None,
        };
        if number.is_none() {
            self.report(span, "this is not a number one can count with".to_owned(), "write a plain number".to_owned());
        }
        number
    }

    /// Whether a step of two shares has both; says so when one is missing rather than wrong.
    fn is_whole(&mut self, path: &str, value: &Value, span: Range<usize>, shape: &Shape) -> bool {
        let Shape::Table { keys, .. } = shape else { return true };
        let pair = ["reads", "writes"];
        if keys.len() != 2 || !pair.iter().all(|key| keys.contains_key(*key)) {
            return true;
        }
        for key in pair {
            if value.get(key).is_none() && !self.layer.bad.contains(&join(path, key)) {
                let what = format!("a step of two shares needs both, and `{key}` is missing");
                self.report(span.clone(), what, "write `{ reads = 50, writes = 10 }`".to_owned());
            }
        }
        pair.iter().all(|key| value.get(key).is_some())
    }

    fn wrong_type(&mut self, path: &str, value: &DeValue<'_>, span: Range<usize>, shape: &Shape) -> Option<Value> {
        let given = match value {
            DeValue::String(_) => "text",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let (wanted, mut hint) = wanted(shape);
        let bare = self.layer.text.get(span.clone()).unwrap_or_default();
        if let (Shape::Format { name, .. }, DeValue::Integer(_)) = (shape, value)
            && name == "period"
        {
            hint = format!("say the unit: `\"{bare}s\"` or `\"{bare}m\"`");
        } else if let Shape::Table { .. } = shape {
            hint = format!("write its keys under `[{path}]`");
        } else if let (Shape::List(_), DeValue::String(_)) = (shape, value) {
            hint = format!("write `[{bare}]`");
        } else if let (Shape::Whole { .. } | Shape::Number | Shape::Flag, DeValue::String(text)) = (shape, value)
            && (text.parse::<f64>().is_ok() || text.parse::<bool>().is_ok())
        {
            hint = format!("write `{text}` without quotes");
        }
        self.report(span, format!("this is {given}, but {wanted} belongs here"), hint);
        None
    }
}

/// Whether a value is of the kind a shape is about.
fn fits(shape: &Shape, value: &DeValue<'_>) -> bool {
    match (shape, value) {
        (Shape::Table { .. }, DeValue::Table(_)) | (Shape::List(_), DeValue::Array(_)) => true,
        (Shape::Word(_) | Shape::Text | Shape::Format { .. }, DeValue::String(_)) => true,
        (Shape::Flag, DeValue::Boolean(_)) | (Shape::Whole { .. }, DeValue::Integer(_)) => true,
        (Shape::Number | Shape::Format { numbers: true, .. }, DeValue::Integer(_) | DeValue::Float(_)) => true,
        (Shape::Either(alternatives), _) => alternatives.iter().any(|alternative| fits(alternative, value)),
        _ => false,
    }
}

/// What belongs at a place, and how to write it.
fn wanted(shape: &Shape) -> (String, String) {
    match shape {
        Shape::Table { .. } => ("a table".to_owned(), String::new()),
        Shape::List(_) => ("a list".to_owned(), String::new()),
        Shape::Word(words) => ("a word".to_owned(), format!("write one of {}", quoted(words))),
        Shape::Format { name, example, .. } => {
            let name = if name == "period" { "duration" } else { name };
            (format!("a {}", name.replace('-', " ")), format!("write `\"{example}\"`"))
        }
        Shape::Text => ("text".to_owned(), "put it in quotes".to_owned()),
        Shape::Flag => ("true or false".to_owned(), "write `true` or `false`".to_owned()),
        Shape::Whole { .. } => ("a whole number".to_owned(), "write a plain number".to_owned()),
        Shape::Number => ("a number".to_owned(), "write a plain number".to_owned()),
        Shape::Either(alternatives) => {
            let (names, hints): (Vec<_>, Vec<_>) = alternatives.iter().map(wanted).unzip();
            (names.join(" or "), hints.into_iter().find(|hint| !hint.is_empty()).unwrap_or_default())
        }
    }
}

/// What to say about an unknown key, and the path of the key that was meant, if that can be guessed.
fn unknown_key(path: &str, name: &str, keys: &BTreeMap<String, Shape>) -> (String, String, Option<String>) {
    let place = if path.is_empty() { String::new() } else { format!(" in `{path}`") };
    let what = format!("unknown key `{name}`{place}");
    // The right key in the wrong table is as common as a slip of the pen, and surer.
    if let Shape::Table { keys: tables, .. } = shape::document() {
        if tables.contains_key(name) {
            let hint = format!("`{name}` belongs at the top of the file, before any `[table]`");
            return (what, hint, Some(name.to_owned()));
        }
        for (table, shape) in tables {
            if let Shape::Table { keys, .. } = shape
                && keys.contains_key(name)
            {
                return (what, format!("`{name}` belongs under `[{table}]`"), Some(join(table, name)));
            }
        }
    }
    if let Some(near) = nearest(name, keys.keys().map(String::as_str)) {
        return (what, format!("did you mean `{near}`?"), Some(join(path, near)));
    }
    let known: Vec<&str> = keys.keys().map(String::as_str).collect();
    (what, format!("known are {}", known.join(", ")), None)
}

fn whole(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn quoted(words: &[String]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The path of a key below a path (`shift` and `steps` make `shift.steps`); keys that are not bare words are quoted.
pub fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
