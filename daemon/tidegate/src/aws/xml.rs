//! An answer of AWS's query protocol as plain values, with nothing left out.
//!
//! The SDK's types drop what they do not model. Here every element becomes a key, every list (`member`) an array and
//! every map (`entry` with `key` and `value`) an object; all that has no children is text. An empty element says nothing
//! and is left out, as the SDK leaves it.

use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::{Map, Value};

/// The deepest that answers nest; what is deeper is not from AWS.
const DEPTH_MAX: usize = 64;

/// Why an answer cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// It is not XML.
    #[error("the answer is not XML: {0}")]
    Syntax(String),
    /// It ends in the middle, or nests too deep.
    #[error("the answer is cut short or not from AWS")]
    Shape,
}

/// What one element holds so far.
#[derive(Default)]
struct Element {
    name: String,
    text: String,
    children: Vec<(String, Value)>,
}

impl Element {
    fn value(self) -> Option<Value> {
        if self.children.is_empty() {
            return (!self.text.trim().is_empty()).then(|| Value::String(self.text));
        }
        if self.children.iter().all(|(name, _)| name == "member") {
            return Some(Value::Array(self.children.into_iter().map(|(_, value)| value).collect()));
        }
        let mut map = Map::new();
        if self.children.iter().all(|(name, _)| name == "entry") {
            for (_, entry) in self.children {
                let key = entry.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
                map.insert(key, entry.get("value").cloned().unwrap_or_else(|| Value::String(String::new())));
            }
        } else {
            map.extend(self.children);
        }
        Some(Value::Object(map))
    }
}

/// Reads a whole answer.
///
/// # Errors
/// When it is not XML, or not all of it is there.
pub fn read(text: &str) -> Result<Value, XmlError> {
    let mut reader = Reader::from_str(text);
    let mut open = vec![Element::default()];
    loop {
        let event = reader.read_event().map_err(|error| XmlError::Syntax(error.to_string()))?;
        match event {
            Event::Start(start) => {
                if open.len() > DEPTH_MAX {
                    return Err(XmlError::Shape);
                }
                let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
                open.push(Element { name, ..Element::default() });
            }
            Event::End(_) => {
                let (Some(closed), Some(parent)) = (open.pop(), open.last_mut()) else { return Err(XmlError::Shape) };
                let name = closed.name.clone();
                parent.children.extend(closed.value().map(|value| (name, value)));
            }
            Event::Text(text) => {
                let text = text.decode().map_err(|error| XmlError::Syntax(error.to_string()))?;
                open.last_mut().ok_or(XmlError::Shape)?.text.push_str(&text);
            }
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(|error| XmlError::Syntax(error.to_string()))?;
                let character = match reference.resolve_char_ref() {
                    Ok(Some(character)) => character.to_string(),
                    _ => quick_xml::escape::resolve_predefined_entity(&name)
                        .ok_or_else(|| XmlError::Syntax(format!("unknown entity `{name}`")))?
                        .to_owned(),
                };
                open.last_mut().ok_or(XmlError::Shape)?.text.push_str(&character);
            }
            Event::CData(data) => {
                open.last_mut().ok_or(XmlError::Shape)?.text.push_str(&String::from_utf8_lossy(&data));
            }
            Event::Eof => break,
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    let (Some(root), true) = (open.pop(), open.is_empty()) else { return Err(XmlError::Shape) };
    root.value().filter(Value::is_object).ok_or(XmlError::Shape)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_element_of_an_answer_is_there() {
        // Proves lists, maps, entities and empty elements; and that a new element is kept under its own name.
        let text = "<A xmlns=\"http://x/\"><Result><Actions><member><Type>forward</Type><New>1</New><Empty/></member>\
                    <member><Query>a=1&amp;b=&#50;</Query></member></Actions><Params><entry><key>k</key><value>v</value>\
                    </entry></Params><None></None></Result></A>";
        assert_eq!(
            read(text).unwrap(),
            json!({"A": {"Result": {
                "Actions": [{"Type": "forward", "New": "1"}, {"Query": "a=1&b=2"}],
                "Params": {"k": "v"},
            }}})
        );
    }

    #[test]
    fn what_is_cut_or_something_else_is_refused() {
        // Proves that a truncated answer and a page of a captive portal are told from an answer.
        assert!(read("<A><B>1</B>").is_err());
        assert!(read("not xml").is_err());
        assert!(read("<html><body><p>Please log in<br></body></html>").is_err());
        assert!(read(&"<a>".repeat(100)).is_err());
        assert!(read("").is_err());
    }
}
