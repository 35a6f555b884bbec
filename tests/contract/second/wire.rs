//! AWS's protocols, spelled by hand: what the cases set up and look at does not go through the code that they test, nor
//! through the SDK, whose types cannot spell what AWS must refuse.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use tidegate::aws::xml;

use super::relay::{Call, Http, send};

/// What a service said that does not do what it is asked: the code, or the status where there is none.
pub(crate) type Refused = String;

/// How a service is spoken to.
enum Speech {
    /// A form with this version, and XML back.
    Form(&'static str),
    /// JSON of this version, with this prefix of the target.
    Json(&'static str, &'static str),
}

fn speech(service: &str) -> Speech {
    match service {
        "elasticloadbalancing" => Speech::Form("2015-12-01"),
        "ec2" => Speech::Form("2016-11-15"),
        "ecs" => Speech::Json("1.1", "AmazonEC2ContainerServiceV20141113"),
        "application-autoscaling" => Speech::Json("1.1", "AnyScaleFrontendService"),
        "monitoring" => Speech::Json("1.0", "GraniteServiceVersion20100801"),
        "acm" => Speech::Json("1.1", "CertificateManager"),
        other => panic!("no case speaks to {other}"),
    }
}

/// Calls `operation` of `service` at `endpoint`. `Null` for an answer that says nothing.
///
/// # Errors
/// The code of the refusal; the status where there is none.
///
/// # Panics
/// If there is no answer at all.
pub(crate) async fn call(
    endpoint: &str,
    http: &Http,
    service: &str,
    operation: &str,
    input: &Value,
) -> Result<Value, Refused> {
    let mut headers = HeaderMap::new();
    let mut say = |name, value: &str| headers.insert(name, HeaderValue::from_str(value).expect("it is plain text"));
    // Nobody checks it; moto reads from it which service is meant.
    let scope = format!("Credential=stand-in/20260101/us-east-1/{service}/aws4_request");
    say(AUTHORIZATION, &format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"));
    let body = match speech(service) {
        Speech::Form(version) => {
            say(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8");
            let mut fields = vec![("Action".to_owned(), operation.to_owned()), ("Version".to_owned(), version.into())];
            flatten(&mut fields, "", input);
            form(&fields)
        }
        Speech::Json(version, prefix) => {
            say(CONTENT_TYPE, &format!("application/x-amz-json-{version}"));
            say(http::HeaderName::from_static("x-amz-target"), &format!("{prefix}.{operation}"));
            input.to_string()
        }
    };
    let call = Call { path: "/".to_owned(), headers, body: Bytes::from(body) };
    let answer = send(endpoint, http, call).await.unwrap_or_else(|why| panic!("{operation}: {why}"));
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let read = match speech(service) {
        // EC2 calls the parts of a list otherwise.
        Speech::Form(_) => xml::read(&text.replace("item>", "member>")).unwrap_or_default(),
        Speech::Json(..) => serde_json::from_str(&text).unwrap_or_default(),
    };
    if answer.status.is_success() {
        let wrapped = format!("/{operation}Response/{operation}Result");
        return Ok(match speech(service) {
            Speech::Form(_) if service != "ec2" => read.pointer(&wrapped).cloned().unwrap_or_default(),
            Speech::Form(_) => read.pointer(&format!("/{operation}Response")).cloned().unwrap_or_default(),
            Speech::Json(..) => read,
        });
    }
    let codes = ["/ErrorResponse/Error/Code", "/Response/Errors/Error/Code", "/__type"];
    let code = codes.iter().find_map(|place| read.pointer(place)).and_then(Value::as_str);
    Err(code.map_or_else(|| answer.status.as_u16().to_string(), |code| code.rsplit('#').next().unwrap_or("").into()))
}

/// Names of fields as AWS's forms have them: `DefaultActions.member.1.Type`.
fn flatten(fields: &mut Vec<(String, String)>, name: &str, value: &Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(fields, &name, value);
            }
        }
        Value::Array(list) => {
            for (at, value) in list.iter().enumerate() {
                flatten(fields, &format!("{name}.member.{}", at + 1), value);
            }
        }
        Value::String(text) => fields.push((name.to_owned(), text.clone())),
        Value::Null => {}
        other => fields.push((name.to_owned(), other.to_string())),
    }
}

/// A form of these fields.
pub(crate) fn form(fields: &[(String, String)]) -> String {
    let escaped = |text: &str| -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        text.bytes()
            .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
            .collect()
    };
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    pairs.join("&")
}
/// The fields of a form.
pub(crate) fn fields(form: &[u8]) -> Vec<(String, String)> {
    let plain = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            match byte {
                b'+' => bytes.push(b' '),
                b'%' => {
                    let digits = [rest.next(), rest.next()].map(Option::unwrap_or_default).map(char::from);
                    let digits: String = digits.into_iter().collect();
                    bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
                }
                other => bytes.push(other),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let text = String::from_utf8_lossy(form);
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (plain(name), plain(value))).collect()
}
