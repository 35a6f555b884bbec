//! Forms as AWS's query protocol has them: `Actions.member.1.ForwardConfig.TargetGroups.member.2.Weight=5`.
//!
//! They become a tree of the same shape as JSON would have, with strings for leaves: what a string means is for the
//! service to say. EC2 numbers its lists without `member`.

use serde_json::{Map, Value};

use crate::model::Refusal;

/// How many fields a form may have; a full list of rules to reorder has 200.
pub const FIELDS_MAX: usize = 10_000;
/// How deep a name may reach.
const PARTS_MAX: usize = 16;

/// Reads a form.
///
/// # Errors
/// What is no form: text that is not UTF-8, percent signs that stand for nothing, names that contradict each other.
pub fn parse(body: &[u8]) -> Result<Value, Refusal> {
    let malformed = |what: &str| Refusal::new("MalformedQueryString", format!("cannot read the form: {what}"));
    let body = std::str::from_utf8(body).map_err(|_| malformed("it is not UTF-8"))?;
    let mut root = Value::Object(Map::new());
    for (index, field) in body.split('&').filter(|field| !field.is_empty()).enumerate() {
        if index == FIELDS_MAX {
            return Err(malformed("it has too many fields"));
        }
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        let name = unescape(name).ok_or_else(|| malformed(name))?;
        let value = unescape(value).ok_or_else(|| malformed(field))?;
        let parts: Vec<&str> = name.split('.').filter(|part| *part != "member").collect();
        if parts.len() > PARTS_MAX {
            return Err(malformed(&name));
        }
        let mut at = &mut root;
        for part in parts {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            at = at.as_object_mut().expect("made one above").entry(part).or_insert(Value::Null);
        }
        if !at.is_null() {
            return Err(malformed(&name));
        }
        *at = Value::String(value);
    }
    lists(&mut root);
    Ok(root)
}

/// Turns every table whose keys are all numbers into the list that it stands for, in the order of the numbers.
fn lists(value: &mut Value) {
    let Value::Object(table) = value else { return };
    table.values_mut().for_each(lists);
    let mut numbered: Vec<(u32, String)> =
        table.keys().filter_map(|key| Some((key.parse().ok()?, key.clone()))).collect();
    if numbered.is_empty() || numbered.len() != table.len() {
        return;
    }
    numbered.sort_unstable();
    *value = numbered.iter().filter_map(|(_, key)| table.remove(key)).collect();
}

/// Percent signs and plus signs undone.
fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Proves that a form of botocore becomes the tree that it was made of, lists in their order.
    #[test]
    fn a_form_becomes_the_tree_it_was_made_of() {
        let body = "Action=ModifyListener&Actions.member.2.Type=b&Actions.member.10.Type=c&Actions.member.1.Type=a%2Fx+y\
                    &Map.entry.1.key=k&Map.entry.1.value=v&Empty=";
        assert_eq!(
            parse(body.as_bytes()).unwrap(),
            json!({"Action": "ModifyListener", "Actions": [{"Type": "a/x y"}, {"Type": "b"}, {"Type": "c"}],
                   "Map": {"entry": [{"key": "k", "value": "v"}]}, "Empty": ""})
        );
    }

    /// Proves that what is no form is refused, and not guessed at.
    #[test]
    fn what_is_no_form_is_refused() {
        for bad in ["a=%zz", "a=%2", "a=1&a=2", "a.1=x&a=y"] {
            assert_eq!(parse(bad.as_bytes()).unwrap_err().code, "MalformedQueryString", "{bad}");
        }
        assert!(parse(b"\xff").is_err());
    }
}
