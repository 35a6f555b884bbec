//! Calls to CloudWatch and their answers in both protocols: Smithy RPC v2 with CBOR, and JSON 1.0.
//!
//! Both carry the query-compatible error header, from which SDKs take the code that CloudWatch has always used
//! (`InvalidParameterValue`), while the body names the shape (`InvalidParameterValueException`).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{CloudWatch, cbor};
use crate::clock::Time;
use crate::model::Refusal;
use crate::wire::{Call, Protocol};

/// Carries out a call and spells the answer, good or bad.
pub fn answer(cloudwatch: &CloudWatch, call: &Call, now: Time) -> Response<Bytes> {
    let input = match call.protocol {
        Protocol::Cbor if call.body.is_empty() => Ok(json!({})),
        Protocol::Cbor => cbor::decode(&call.body)
            .map_err(|why| Refusal::new("SerializationException", format!("cannot read the body as CBOR: {why}"))),
        Protocol::Json(_) => Ok(call.parameters.clone()),
        Protocol::Query | Protocol::Ec2 => Err(Refusal::new(
            "InvalidAction",
            "this lab's CloudWatch speaks CBOR and JSON 1.0, and no forms: use a client of 2025 or later",
        )),
    };
    match input.and_then(|input| cloudwatch.carry_out(&call.operation, &input, now)) {
        Ok(output) => spelled(call.protocol, StatusCode::OK, &output, now),
        Err(refusal) => refused(call.protocol, &refusal, now),
    }
}

/// An error in one of the protocols; also for errors that have nothing to do with CloudWatch, such as throttling.
pub fn refused(protocol: Protocol, refusal: &Refusal, now: Time) -> Response<Bytes> {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    let body =
        json!({"__type": format!("com.amazonaws.cloudwatch#{}", shape(refusal.code)), "message": refusal.message});
    let mut answer = spelled(protocol, status, &body, now);
    let fault = if status.is_server_error() { "Receiver" } else { "Sender" };
    if let Ok(code) = HeaderValue::from_str(&format!("{};{fault}", refusal.code)) {
        answer.headers_mut().insert("x-amzn-query-error", code);
    }
    answer
}

/// The name of the shape that the model gives an error code.
fn shape(code: &str) -> &str {
    match code {
        "InvalidParameterValue" => "InvalidParameterValueException",
        "MissingParameter" => "MissingRequiredParameterException",
        "InvalidParameterCombination" => "InvalidParameterCombinationException",
        "InternalServiceError" => "InternalServiceFault",
        other => other,
    }
}

fn spelled(protocol: Protocol, status: StatusCode, body: &Value, now: Time) -> Response<Bytes> {
    let (kind, bytes) = match protocol {
        Protocol::Cbor => ("application/cbor", cbor::encode(body)),
        _ => ("application/x-amz-json-1.0", body.to_string().into_bytes()),
    };
    let mut answer = Response::new(Bytes::from(bytes));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if protocol == Protocol::Cbor {
        headers.insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
    }
    // The time that clients correct their own by is AWS's, here the lab's.
    if let Ok(date) = HeaderValue::from_str(&now.http_date()) {
        headers.insert(header::DATE, date);
    }
    answer
}
