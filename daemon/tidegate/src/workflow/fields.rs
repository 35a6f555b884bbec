//! The fields of one map, each asked for once by its name and its kind; what is left in the end is unknown.

use super::Problems;
use super::yaml::{Node, Place, Value};

/// A map whose fields are taken one by one.
pub(super) struct Fields<'n> {
    /// How it is called in messages, such as `traffic.proxies.one`.
    path: String,
    place: Place,
    left: Vec<(&'n str, Place, &'n Node)>,
}

/// What a value is called in messages.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
    }
}

impl<'n> Fields<'n> {
    /// The fields of `node`; nothing is a map without any.
    pub(super) fn of(node: &'n Node, path: impl Into<String>, problems: &mut Problems<'_>) -> Self {
        let path = path.into();
        let left = match &node.value {
            Value::Map(entries) => entries.iter().map(|(name, at, node)| (name.as_str(), *at, node)).collect(),
            Value::Null => Vec::new(),
            other => {
                problems.wrong(node.place, format!("`{path}` is {}, and a map belongs here", kind(other)), "");
                Vec::new()
            }
        };
        Self { path, place: node.place, left }
    }

    /// Where the map stands.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// How a field is called in messages.
    pub(super) fn name(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    /// Takes a field out, unless it is not there or nothing.
    pub(super) fn take(&mut self, field: &str) -> Option<&'n Node> {
        let at = self.left.iter().position(|(name, ..)| *name == field)?;
        let (_, _, node) = self.left.remove(at);
        (node.value != Value::Null).then_some(node)
    }

    /// Takes every field out.
    pub(super) fn all(&mut self) -> Vec<(&'n str, Place, &'n Node)> {
        std::mem::take(&mut self.left)
    }

    /// Takes a field that `read` understands.
    fn read<T>(
        &mut self,
        field: &str,
        what: &str,
        problems: &mut Problems<'_>,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let node = self.take(field)?;
        let found = read(&node.value);
        if found.is_none() {
            let (name, kind) = (self.name(field), kind(&node.value));
            problems.wrong(node.place, format!("`{name}` is {kind}, and {what} belongs here"), "");
        }
        found
    }

    /// Text that is not empty: the workflow takes an empty text for one that is not said.
    pub(super) fn text(&mut self, field: &str, problems: &mut Problems<'_>) -> Option<String> {
        let text = self.read(field, "text", problems, |value| match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        });
        text.filter(|text| !text.is_empty())
    }

    /// The same with its place.
    pub(super) fn text_at(&mut self, field: &str, problems: &mut Problems<'_>) -> Option<(String, Place)> {
        let place = self.left.iter().find(|(name, ..)| *name == field).map(|(_, _, node)| node.place);
        self.text(field, problems).zip(place)
    }

    /// Whether it is said.
    pub(super) fn has(&self, field: &str) -> bool {
        self.left.iter().any(|(name, _, node)| *name == field && node.value != Value::Null)
    }

    pub(super) fn truth(&mut self, field: &str, problems: &mut Problems<'_>) -> Option<bool> {
        self.read(field, "true or false", problems, |value| match value {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        })
    }

    /// A whole number from `min` to `max`.
    pub(super) fn whole(&mut self, field: &str, min: u32, max: u32, problems: &mut Problems<'_>) -> Option<u32> {
        let what = format!("a whole number from {min} to {max}");
        self.read(field, &what, problems, |value| match value {
            Value::Number(number) if number.fract() == 0.0 && (f64::from(min)..=f64::from(max)).contains(number) => {
                Some(*number as u32)
            }
            _ => None,
        })
    }

    /// A list of texts, each with its place.
    pub(super) fn texts(&mut self, field: &str, problems: &mut Problems<'_>) -> Vec<(String, Place)> {
        let Some(node) = self.take(field) else { return Vec::new() };
        let name = self.name(field);
        let Value::List(items) = &node.value else {
            problems.wrong(node.place, format!("`{name}` is {}, and a list belongs here", kind(&node.value)), "");
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items {
            match &item.value {
                Value::Text(text) => texts.push((text.clone(), item.place)),
                other => problems.wrong(item.place, format!("{} in `{name}`, where text belongs", kind(other)), ""),
            }
        }
        texts
    }

    /// Names what means something to the Java proxy alone.
    pub(super) fn java_only(&mut self, fields: &[&str], problems: &mut Problems<'_>) {
        for field in fields {
            if let Some(node) = self.take(field) {
                let name = self.name(field);
                problems.odd(node.place, format!("`{name}` means nothing to this proxy"), "leave it out");
            }
        }
    }

    /// Refuses what is left.
    pub(super) fn end(self, problems: &mut Problems<'_>) {
        for (name, place, _) in &self.left {
            problems.wrong(*place, format!("`{}` is not known here", self.name(name)), "");
        }
    }
}
