//! YAML as values that know where they stand, so that what is wrong with one can be told by its line and column.
//!
//! The parser gives events; this makes a tree of them, by the core schema of YAML 1.2 (JSON is a part of it). What a file can
//! make us do is bounded: its size, its depth, and how much its aliases grow it.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

/// The longest file that is read; the longest sample of Migration Assistant's has 40 KB.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// How deep values may lie in each other.
const DEPTH_MAX: usize = 64;

/// How many values a file may have, those of its aliases counted each time.
const NODES_MAX: usize = 100_000;

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing: `null`, `~`, or no text at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(f64),
    /// Text.
    Text(String),
    /// Values in their order.
    List(Vec<Node>),
    /// Names, where they stand, and their values, in the order of the file.
    Map(Vec<(String, Place, Node)>),
}

/// Why a file is no tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub what: String,
}

fn place(marker: &Marker) -> Place {
    Place { line: marker.line(), column: marker.col() + 1 }
}

/// What is being put together.
enum Open {
    List(Vec<Node>),
    Map { entries: Vec<(String, Place, Node)>, key: Option<(String, Place)> },
}

/// A tree in the making.
#[derive(Default)]
struct Builder {
    open: Vec<(Place, usize, Open)>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

/// Reads one document; a file without any is [`Value::Null`].
///
/// # Errors
/// At the first place where the text is no YAML, says a name twice, or goes beyond what is read.
pub fn read(text: &str) -> Result<Node, Mistake> {
    let start = Place { line: 1, column: 1 };
    if text.len() > FILE_BYTES_MAX {
        return Err(Mistake { place: start, what: format!("the file is longer than {FILE_BYTES_MAX} bytes") });
    }
    let mut builder = Builder::default();
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| Mistake { place: place(error.marker()), what: error.info().to_owned() })?;
        let at = place(&span.start);
        let wrong = |what: &str| Mistake { place: at, what: what.to_owned() };
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(wrong("a second document begins here, and one is read"));
                }
            }
            Event::Alias(anchor) => {
                let node = builder.anchors.get(&anchor).cloned();
                let node = node.ok_or_else(|| wrong("this alias stands for nothing, or for what it lies in"))?;
                builder.nodes += size(&node);
                builder.put(Node { place: at, ..node }, 0)?;
            }
            Event::Scalar(text, style, anchor, _) => {
                builder.put(Node { place: at, value: scalar(&text, style) }, anchor)?;
            }
            Event::SequenceStart(anchor, _) => builder.begin(at, anchor, Open::List(Vec::new()))?,
            Event::MappingStart(anchor, _) => {
                builder.begin(at, anchor, Open::Map { entries: Vec::new(), key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => builder.end()?,
        }
    }
    Ok(builder.root.unwrap_or(Node { place: start, value: Value::Null }))
}

impl Builder {
    fn begin(&mut self, at: Place, anchor: usize, open: Open) -> Result<(), Mistake> {
        if self.open.len() >= DEPTH_MAX {
            return Err(Mistake { place: at, what: format!("values lie more than {DEPTH_MAX} deep in each other") });
        }
        self.open.push((at, anchor, open));
        Ok(())
    }

    fn end(&mut self) -> Result<(), Mistake> {
        let (place, anchor, open) = self.open.pop().expect("the parser ends what it began");
        let value = match open {
            Open::List(items) => Value::List(items),
            Open::Map { entries, .. } => Value::Map(entries),
        };
        self.put(Node { place, value }, anchor)
    }

    /// Puts a whole value where it belongs.
    fn put(&mut self, node: Node, anchor: usize) -> Result<(), Mistake> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let what = format!("the file has more than {NODES_MAX} values, those of aliases counted each time");
            return Err(Mistake { place: node.place, what });
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some((_, _, Open::List(items))) => items.push(node),
            Some((_, _, Open::Map { entries, key })) => match key.take() {
                Some((name, at)) => entries.push((name, at, node)),
                None => *key = Some(name_of(node, entries)?),
            },
        }
        Ok(())
    }
}

/// A value as the name of another.
fn name_of(node: Node, entries: &[(String, Place, Node)]) -> Result<(String, Place), Mistake> {
    let place = node.place;
    let name = match node.value {
        Value::Text(text) => text,
        Value::Number(number) => number.to_string(),
        Value::Bool(bool) => bool.to_string(),
        Value::Null | Value::List(_) | Value::Map(_) => {
            return Err(Mistake { place, what: "a name belongs here".to_owned() });
        }
    };
    if entries.iter().any(|(known, ..)| *known == name) {
        return Err(Mistake { place, what: format!("`{name}` is said twice") });
    }
    Ok((name, place))
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => 1,
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|(_, _, node)| size(node)).sum::<usize>(),
    }
}

/// What a scalar stands for, by the core schema (YAML 1.2.2, section 10.3.2): quoted, it is text.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if !matches!(style, ScalarStyle::Plain) {
        return Value::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => {
            // Rust reads `inf` and `nan` as numbers, too; here they are words.
            let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
            match text.parse() {
                Ok(number) if numeric => Value::Number(number),
                _ => Value::Text(text.to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        let mistake = read(text).expect_err(text);
        format!("{}:{}: {}", mistake.place.line, mistake.place.column, mistake.what)
    }

    /// Proves that values are read as YAML has them, and know where they stand.
    #[test]
    fn values_know_where_they_stand() {
        let node = read("a: 1\nb:\n  - x: \"2\"\n    y: ~\n  - &all {z: true}\nc: *all\n").unwrap();
        let Value::Map(entries) = &node.value else { panic!("{node:?}") };
        assert_eq!(entries[0].2, Node { place: Place { line: 1, column: 4 }, value: Value::Number(1.0) });
        let Value::List(items) = &entries[1].2.value else { panic!("{entries:?}") };
        let Value::Map(inner) = &items[0].value else { panic!("{items:?}") };
        assert_eq!((inner[0].1, &inner[0].2.value), (Place { line: 3, column: 5 }, &Value::Text("2".to_owned())));
        assert_eq!(inner[1].2.value, Value::Null);
        assert_eq!(entries[2].2.value, items[1].value);
        assert_eq!(entries[2].2.place, Place { line: 6, column: 4 });
        assert_eq!(read("").unwrap().value, Value::Null);
        assert_eq!(
            read("{\"a\": [1, \"b\"]}").unwrap(),
            read("{a: [1, b]}").map(|_| read("{\"a\": [1, \"b\"]}").unwrap()).unwrap()
        );
    }

    /// Proves that what is no YAML is told by its place, and that no file can make us do more than it says.
    #[test]
    fn mistakes_are_told_by_their_place() {
        assert_eq!(wrong("a: 1\nb: 2\na: 3\n"), "3:1: `a` is said twice");
        assert!(wrong("a: [1, 2\nb: 3\n").starts_with("2:"), "{}", wrong("a: [1, 2\nb: 3\n"));
        assert!(wrong("a: 1\n---\nb: 2\n").starts_with("2:1: a second document"));
        assert!(wrong("? [a]\n: 1\n").contains("a name belongs here"));
        assert!(wrong(&"[".repeat(100)).contains("more than 64 deep"));
        let laughs = (1..10).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, level| {
            let alias = format!("*a{}, ", level - 1).repeat(10);
            format!("{text}a{level}: &a{level} [{alias}]\n")
        });
        assert!(wrong(&laughs).contains("more than 100000 values"));
        assert!(wrong(&" ".repeat(FILE_BYTES_MAX + 1)).contains("longer than"));
    }
}
