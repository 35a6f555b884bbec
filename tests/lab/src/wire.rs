//! How calls come in and answers go out: which service and operation is meant, and the protocols that AWS speaks.
//!
//! Signatures are not checked: any credentials do. Which service is meant is told as AWS's own front doors tell it for a
//! service behind its own name, from what every protocol carries: the target header of the JSON protocols, the path of
//! Smithy's RPC, and for the query protocols the credential scope of the `Authorization` field.

pub mod params;
pub mod query;
pub mod xml;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use crate::model::Refusal;

/// The protocol of a call, in which it is also answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A form in, XML out, lists as `member`: ELBv2, STS, SNS, and CloudWatch of old.
    Query,
    /// The same with EC2's own XML.
    Ec2,
    /// JSON 1.0 or 1.1, by `X-Amz-Target`; the version comes back in the content type.
    Json(&'static str),
    /// Smithy RPC v2 with CBOR bodies, as the Rust SDK speaks to CloudWatch.
    Cbor,
}

/// A call that has been read.
#[derive(Clone, Debug)]
pub struct Call {
    /// As credentials are scoped: `elasticloadbalancing`, `monitoring`, `ecs`, …
    pub service: &'static str,
    /// `ModifyListener`.
    pub operation: String,
    /// How it came.
    pub protocol: Protocol,
    /// The parameters: a tree of strings from a form, any JSON from JSON; `Null` for CBOR, which its service reads itself.
    pub parameters: Value,
    /// The body as it came.
    pub body: Bytes,
}

/// What a service answers: the value to be spelled in the call's protocol, or for CBOR the bytes themselves.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To be spelled in the protocol of the call.
    Value(Value),
    /// Already spelled.
    Bytes(Bytes),
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

/// Prefixes of `X-Amz-Target`, with the service that each means.
const TARGETS: [(&str, &str); 5] = [
    ("AmazonEC2ContainerServiceV20141113", "ecs"),
    ("AnyScaleFrontendService", "application-autoscaling"),
    ("AWSEvents", "events"),
    ("DynamoDB_20120810", "dynamodb"),
    ("GraniteServiceVersion20100801", "monitoring"),
];

/// The services of the query protocols, with the versions that their calls carry.
const QUERIES: [(&str, &str); 5] = [
    ("elasticloadbalancing", "2015-12-01"),
    ("sts", "2011-06-15"),
    ("sns", "2010-03-31"),
    ("ec2", "2016-11-15"),
    ("monitoring", "2010-08-01"),
];

/// Reads a call.
///
/// # Errors
/// What is no call to any service of the lab, with the code that AWS has for it.
pub fn read(path: &str, headers: &HeaderMap, body: Bytes) -> Result<Call, Refusal> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(rest) = path.strip_prefix("/service/") {
        let (service, operation) = rest.split_once("/operation/").unwrap_or((rest, ""));
        let service = service_of_target(service)?;
        return Ok(Call {
            service,
            operation: operation.to_owned(),
            protocol: Protocol::Cbor,
            parameters: Value::Null,
            body,
        });
    }
    if let Some(target) = text("x-amz-target") {
        let (prefix, operation) = target.rsplit_once('.').unwrap_or((target, ""));
        let service = service_of_target(prefix)?;
        let version = match text("content-type") {
            Some(kind) if kind.contains("json-1.0") => "1.0",
            _ => "1.1",
        };
        let parameters = match &body[..] {
            [] => Value::Object(serde_json::Map::new()),
            body => serde_json::from_slice(body).map_err(|why| {
                Refusal::new("SerializationException", format!("cannot read the body as JSON: {why}"))
            })?,
        };
        return Ok(Call {
            service,
            operation: operation.to_owned(),
            protocol: Protocol::Json(version),
            parameters,
            body,
        });
    }
    let parameters = query::parse(&body)?;
    let given = |name: &str| parameters.get(name).and_then(Value::as_str);
    let Some(operation) = given("Action").map(str::to_owned) else {
        return Err(Refusal::new("MissingAction", "the request names no operation: neither a target nor an Action"));
    };
    let scope = text("authorization").and_then(scope);
    let version = given("Version");
    let service = QUERIES
        .iter()
        .find(|(service, _)| scope == Some(service))
        .or_else(|| QUERIES.iter().find(|(_, of)| version == Some(of)))
        .map(|(service, _)| *service)
        .ok_or_else(|| Refusal::new("InvalidAction", format!("the lab has no service for {operation}")))?;
    let protocol = if service == "ec2" { Protocol::Ec2 } else { Protocol::Query };
    Ok(Call { service, operation, protocol, parameters, body })
}

fn service_of_target(prefix: &str) -> Result<&'static str, Refusal> {
    TARGETS
        .iter()
        .find(|(target, _)| *target == prefix)
        .map(|(_, service)| *service)
        .ok_or_else(|| Refusal::new("UnknownOperationException", format!("the lab has no service {prefix}")))
}

/// The service in `Credential=KEY/DATE/REGION/SERVICE/aws4_request`.
fn scope(authorization: &str) -> Option<&str> {
    authorization.split("Credential=").nth(1)?.split([',', ' ']).next()?.split('/').nth(3)
}

/// An answer in the protocol of its call: content type and body.
pub fn spell(call: &Call, request_id: &str, answer: &Answer) -> (String, Bytes) {
    let value = match answer {
        Answer::Bytes(bytes) => return (content_type(call.protocol), bytes.clone()),
        Answer::Value(value) => value,
    };
    let body = match call.protocol {
        Protocol::Query => xml::answer(call, request_id, value).into(),
        Protocol::Ec2 => xml::ec2_answer(&call.operation, request_id, value).into(),
        Protocol::Json(_) | Protocol::Cbor => value.to_string().into(),
    };
    (content_type(call.protocol), body)
}

/// A refusal in a protocol: content type and body. CBOR's is spelled by its service.
pub fn spell_refusal(protocol: Protocol, namespace: &str, request_id: &str, refusal: &Refusal) -> (String, Bytes) {
    let body = match protocol {
        Protocol::Query => xml::refusal(namespace, request_id, refusal).into(),
        Protocol::Ec2 => xml::ec2_refusal(request_id, refusal).into(),
        Protocol::Json(_) | Protocol::Cbor => {
            let mut body = refusal.more.clone();
            let of = if namespace == "dynamodb" { "com.amazonaws.dynamodb.v20120810#" } else { "" };
            body.insert("__type".to_owned(), Value::String(format!("{of}{}", refusal.code)));
            body.insert("message".to_owned(), Value::String(refusal.message.clone()));
            Value::Object(body).to_string().into()
        }
    };
    (content_type(protocol), body)
}

fn content_type(protocol: Protocol) -> String {
    match protocol {
        Protocol::Query | Protocol::Ec2 => "text/xml".into(),
        Protocol::Json(version) => format!("application/x-amz-json-{version}"),
        Protocol::Cbor => "application/cbor".into(),
    }
}
