//! Answers in XML: the same tree that JSON would show, with `member` (or EC2's `item`) for the parts of a list.
//!
//! A table is a list of elements in its own order; a list is an element for each part; what is absent (`null`) is left
//! out, and an empty list is an empty element, which clients read as an empty list.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Call;
use crate::model::Refusal;

/// The one table of all answers whose keys are the client's: the query protocol has it as a list of entries.
const MAP: &str = "AuthenticationRequestExtraParams";

/// The namespaces that clients of a service expect.
pub fn namespace(service: &str) -> &'static str {
    match service {
        "sts" => "https://sts.amazonaws.com/doc/2011-06-15/",
        "sns" => "http://sns.amazonaws.com/doc/2010-03-31/",
        "ec2" => "http://ec2.amazonaws.com/doc/2016-11-15/",
        "monitoring" => "http://monitoring.amazonaws.com/doc/2010-08-01/",
        _ => "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
    }
}

/// `<OPERATIONResponse><OPERATIONResult>…`.
pub fn answer(call: &Call, request_id: &str, value: &Value) -> String {
    let operation = &call.operation;
    let mut out = format!("<{operation}Response xmlns=\"{}\"><{operation}Result>", namespace(call.service));
    write(&mut out, value, "member");
    let _infallible = write!(
        out,
        "</{operation}Result><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
    );
    out
}

/// EC2's: no result element, lists of `item`.
pub fn ec2_answer(operation: &str, request_id: &str, value: &Value) -> String {
    let mut out = format!("<{operation}Response xmlns=\"{}\"><requestId>{request_id}</requestId>", namespace("ec2"));
    write(&mut out, value, "item");
    let _infallible = write!(out, "</{operation}Response>");
    out
}

/// `<ErrorResponse>`.
pub fn refusal(service: &str, request_id: &str, refusal: &Refusal) -> String {
    let kind = if refusal.status < 500 { "Sender" } else { "Receiver" };
    let mut out = format!("<ErrorResponse xmlns=\"{}\"><Error><Type>{kind}</Type><Code>", namespace(service));
    escape(&mut out, refusal.code);
    out.push_str("</Code><Message>");
    escape(&mut out, &refusal.message);
    let _infallible = write!(out, "</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>");
    out
}

/// EC2's `<Response><Errors>`.
pub fn ec2_refusal(request_id: &str, refusal: &Refusal) -> String {
    let mut out = String::from("<Response><Errors><Error><Code>");
    escape(&mut out, refusal.code);
    out.push_str("</Code><Message>");
    escape(&mut out, &refusal.message);
    let _infallible = write!(out, "</Message></Error></Errors><RequestID>{request_id}</RequestID></Response>");
    out
}

fn write(out: &mut String, value: &Value, part: &str) {
    match value {
        Value::Null => {}
        Value::Bool(is) => out.push_str(if *is { "true" } else { "false" }),
        Value::Number(number) => {
            let _infallible = write!(out, "{number}");
        }
        Value::String(text) => escape(out, text),
        Value::Array(parts) => parts.iter().for_each(|value| element(out, part, value, part)),
        Value::Object(table) => {
            for (name, value) in table.iter().filter(|(_, value)| !value.is_null()) {
                match value {
                    Value::Object(map) if name == MAP => {
                        let entries = map.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
                        element(out, name, &Value::Array(entries), "entry");
                    }
                    value => element(out, name, value, part),
                }
            }
        }
    }
}

fn element(out: &mut String, name: &str, value: &Value, part: &str) {
    let _infallible = write!(out, "<{name}>");
    write(out, value, part);
    let _infallible = write!(out, "</{name}>");
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            // Not to be had in XML 1.0 at all, not even escaped.
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that lists, tables, absent and awkward values come out as AWS's clients read them.
    #[test]
    fn a_tree_comes_out_as_clients_read_it() {
        let mut out = String::new();
        write(&mut out, &json!({"A": [{"B": 1}, {"B": true}], "C": null, "D": [], "E": "<&\u{1}"}), "member");
        assert_eq!(out, "<A><member><B>1</B></member><member><B>true</B></member></A><D></D><E>&lt;&amp;\u{fffd}</E>");
    }
}
