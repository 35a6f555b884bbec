//! What may stand where in a policy file, walked from the generated JSON Schema.
//!
//! The schema is made from the types in [`super::raw`]; this is the same tree in a form that is quick to check a file
//! against. It understands only what our own types generate and panics, in its first use and so in every test, on
//! anything else: a new type must not be let through unchecked.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::raw;

/// What may stand at one place.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// A table with these keys and, when `others` is some, any other key with that shape.
    Table { keys: BTreeMap<String, Self>, others: Option<Box<Self>> },
    /// An array.
    List(Box<Self>),
    /// One of these words.
    Word(Vec<String>),
    /// A text, a number, or both, in a format of [`super::formats`].
    Format { name: String, numbers: bool, example: String },
    /// Any text.
    Text,
    /// True or false.
    Flag,
    /// A whole number.
    Whole { least: u64, most: u64 },
    /// Any number.
    Number,
    /// The first of these whose kind fits what stands there.
    Either(Vec<Self>),
}

/// The JSON Schema of a policy file, for editors.
pub fn schema() -> Value {
    let mut schema = serde_json::to_value(schemars::schema_for!(raw::Document)).expect("a schema is plain JSON");
    tidy(&mut schema);
    // Nothing is required: `defaults.toml` is checked by the same schema, and any layer may say what is missing here.
    schema["title"] = "Tidegate policy".into();
    schema
}

/// TOML has no null, so "or null" says nothing; nor do defaults, which are in the built-in layer. Unknown keys are errors.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("default");
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|kind| kind != "null");
                if types.len() == 1 {
                    let only = types.remove(0);
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(options)) = map.get_mut("anyOf") {
                options.retain(|option| option != &serde_json::json!({"type": "null"}));
                if options.len() == 1 {
                    let Value::Object(only) = options.remove(0) else { return };
                    map.remove("anyOf");
                    map.extend(only);
                }
            }
            // A table of a policy may have a key of that name, too.
            let table = map.get("type").is_some_and(|kind| kind == "object");
            if table && map.contains_key("properties") && !map.contains_key("additionalProperties") {
                map.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// The shape of a whole file.
pub(super) fn document() -> &'static Shape {
    static DOCUMENT: OnceLock<Shape> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let schema = schema();
        let definitions = schema["$defs"].as_object().cloned().unwrap_or_default();
        walk(&schema, &definitions)
    })
}

fn walk(schema: &Value, definitions: &Map<String, Value>) -> Shape {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.trim_start_matches("#/$defs/");
        return walk(definitions.get(name).expect("a schema refers to its own definitions"), definitions);
    }
    if let Some(format) = schema["format"].as_str().filter(|_| schema["examples"].is_array()) {
        return Shape::Format {
            name: format.to_owned(),
            numbers: schema["type"].is_array(),
            example: schema["examples"][0].as_str().unwrap_or_default().to_owned(),
        };
    }
    if let Some(words) = schema["enum"].as_array() {
        return Shape::Word(words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect());
    }
    if let Some(word) = schema["const"].as_str() {
        return Shape::Word(vec![word.to_owned()]);
    }
    for alternatives in [&schema["oneOf"], &schema["anyOf"]] {
        if let Some(alternatives) = alternatives.as_array() {
            return either(alternatives.iter().map(|alternative| walk(alternative, definitions)).collect());
        }
    }
    match schema["type"].as_str() {
        Some("object") => Shape::Table {
            keys: schema["properties"]
                .as_object()
                .map(|keys| keys.iter().map(|(key, value)| (key.clone(), walk(value, definitions))).collect())
                .unwrap_or_default(),
            others: schema["additionalProperties"]
                .as_object()
                .map(|_| Box::new(walk(&schema["additionalProperties"], definitions))),
        },
        Some("array") => Shape::List(Box::new(walk(&schema["items"], definitions))),
        Some("string") => Shape::Text,
        Some("boolean") => Shape::Flag,
        Some("number") => Shape::Number,
        Some("integer") => Shape::Whole {
            least: schema["minimum"].as_f64().unwrap_or(0.0) as u64,
            most: schema["maximum"].as_f64().map_or_else(
                || if schema["format"] == "uint32" { u64::from(u32::MAX) } else { i64::MAX.unsigned_abs() },
                |most| most as u64,
            ),
        },
        other => unreachable!("the schema of a policy has a part nobody can check: {other:?} in {schema}"),
    }
}

/// Alternatives as one shape; words are joined to one list.
fn either(alternatives: Vec<Shape>) -> Shape {
    let mut words = Vec::new();
    let mut rest = Vec::new();
    for alternative in alternatives {
        match alternative {
            Shape::Word(more) => words.extend(more),
            Shape::Either(more) => rest.extend(more),
            other => rest.push(other),
        }
    }
    match (words.is_empty(), rest.len()) {
        (false, 0) => Shape::Word(words),
        (true, 1) => rest.remove(0),
        (true, _) => Shape::Either(rest),
        (false, _) => {
            rest.push(Shape::Word(words));
            Shape::Either(rest)
        }
    }
}
