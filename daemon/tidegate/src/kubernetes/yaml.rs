//! JSON values as YAML that people can read and review. What could be read as anything but the text it is, is quoted.

use std::fmt::Write as _;

use serde_json::Value;

/// Documents, each behind a line of its own.
pub fn documents(values: &[Value]) -> String {
    let mut text = String::new();
    for value in values {
        text.push_str("---\n");
        write(value, 0, &mut text);
    }
    text
}

/// Writes a map or a list, each entry on lines of its own, indented by `depth` steps.
fn write(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                indent(depth, out);
                out.push_str(&scalar(name));
                out.push(':');
                behind(value, depth, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                indent(depth, out);
                out.push('-');
                match item {
                    Value::Object(fields) if !fields.is_empty() => {
                        // The first field stands on the line of the dash, the others below it.
                        let mut inner = String::new();
                        write(item, depth + 1, &mut inner);
                        out.push(' ');
                        out.push_str(inner.trim_start());
                    }
                    _ => behind(item, depth, out),
                }
            }
        }
        _ => {
            indent(depth, out);
            out.push_str(&flat(value));
            out.push('\n');
        }
    }
}

/// Writes what stands behind a name or a dash.
fn behind(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push('\n');
            write(value, depth + 1, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            write(value, depth + 1, out);
        }
        Value::String(text) if is_block(text) => {
            out.push_str(if text.ends_with('\n') { " |\n" } else { " |-\n" });
            for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
                if !line.is_empty() {
                    indent(depth + 1, out);
                }
                out.push_str(line);
                out.push('\n');
            }
        }
        _ => writeln!(out, " {}", flat(value)).expect("a String takes everything"),
    }
}

fn indent(depth: usize, out: &mut String) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}

fn flat(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// Whether a text can stand as lines: more than one, none that a reader would take for something else, one line end at most
/// behind the last.
fn is_block(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with([' ', '\t', '\n'])
        && !text.ends_with("\n\n")
        && text
            .chars()
            .all(|c| c == '\n' || c == '\t' || (!c.is_control() && !"\u{85}\u{2028}\u{2029}\u{feff}".contains(c)))
}

/// A text as it is, or in quotes as JSON has them, which YAML reads alike.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 8] = ["null", "true", "false", "yes", "no", "on", "off", "y"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
        && !text.eq_ignore_ascii_case("n");
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    /// Proves the layout, and that what YAML would read otherwise is in quotes.
    #[test]
    fn what_could_be_misread_is_quoted() {
        let value = json!({
            "plain": "a/b.c-d", "port": 9200, "text": "9200", "word": "No", "empty": [], "none": {},
            "list": [{"a": 1, "b": ["x", "1e3"]}, "y:z"],
            "file": "a: 1\n\n  b: \"x\"\n", "odd": " a\nb", "open": "a\nb",
        });
        expect![[r#"
            ---
            plain: a/b.c-d
            port: 9200
            text: "9200"
            word: "No"
            empty: []
            none: {}
            list:
              - a: 1
                b:
                  - x
                  - "1e3"
              - "y:z"
            file: |
              a: 1

                b: "x"
            odd: " a\nb"
            open: |-
              a
              b
        "#]]
        .assert_eq(&documents(&[value]));
    }
}
