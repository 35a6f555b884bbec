//! One call, from what was read to what is answered: which service carries it out, and AWS's refusals that have nothing
//! to do with what is asked.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use crate::clock::Time;
use crate::faults::FaultName;
use crate::model::{ACCOUNT, Model, Refusal};
use crate::shared::Shared;
use crate::wire::params::Params;
use crate::wire::{self, Answer, Call, Protocol};
use crate::{autoscaling, cloudwatch, dynamodb, ec2, ecs, elbv2, messages};

/// Carries out a call. `past` is an older account that reads are answered from.
///
/// # Errors
/// As the service refuses.
pub(crate) fn operate(shared: &Shared, call: &Call, past: Option<&Model>) -> Result<Value, Refusal> {
    let (operation, params) = (&call.operation[..], Params(&call.parameters));
    let now = shared.clock.now();
    let read = |model: &Model| match call.service {
        "elasticloadbalancing" => elbv2::read(model, now, operation, params),
        "ecs" => ecs::read(model, operation, params),
        "application-autoscaling" => autoscaling::read(model, operation, params),
        "dynamodb" => dynamodb::read(model, operation, params),
        "ec2" => ec2::read(model, operation, params),
        "sts" => messages::sts(operation),
        "sns" => messages::sns(&shared.history, now, operation, params),
        "events" => messages::events(&shared.history, now, operation, params),
        _ => None,
    };
    if let Some(answer) = past.map_or_else(|| shared.read(read), read) {
        return answer;
    }
    shared.change(|model, now| {
        let written = match call.service {
            "elasticloadbalancing" => elbv2::write(model, now, operation, params),
            "ecs" => ecs::write(model, now, operation, params),
            "application-autoscaling" => autoscaling::write(model, now, operation, params),
            "dynamodb" => dynamodb::write(model, now, operation, params),
            _ => None,
        };
        written.unwrap_or_else(|| Err(unknown(call)))
    })
}

/// Whether an operation only reads, by its name as AWS names them.
pub(crate) fn reads(operation: &str) -> bool {
    ["Describe", "List", "Get"].iter().any(|prefix| operation.starts_with(prefix))
}

fn unknown(call: &Call) -> Refusal {
    let code = match call.protocol {
        Protocol::Query | Protocol::Ec2 => "InvalidAction",
        Protocol::Json(_) | Protocol::Cbor => "UnknownOperationException",
    };
    Refusal::new(code, format!("the lab has no operation {} of {}", call.operation, call.service))
}

/// The refusal that a fault stands for; `None` for one that is not answered with a refusal.
pub(crate) fn refusal(name: FaultName, call: &Call) -> Option<Refusal> {
    let query = matches!(call.protocol, Protocol::Query | Protocol::Ec2);
    Some(match name {
        FaultName::Throttle => throttled(call),
        FaultName::AccessDenied => {
            let what = format!("{}:{}", call.service.replace("monitoring", "cloudwatch"), call.operation);
            let params = Params(&call.parameters);
            let mut named = ["ListenerArn", "RuleArn", "TargetGroupArn", "LoadBalancerArn"].into_iter();
            let named = named.find_map(|name| params.text(name)).filter(|_| !reads(&call.operation));
            let on = named.map(|arn| format!(" on resource: {arn}")).unwrap_or_default();
            let why = format!(
                "User: arn:aws:iam::{ACCOUNT}:user/lab is not authorized to perform: {what}{on} because no identity-based \
                 policy allows the {what} action"
            );
            match call.protocol {
                Protocol::Ec2 => Refusal::new("UnauthorizedOperation", why).with_status(403),
                Protocol::Query => Refusal::new("AccessDenied", why).with_status(403),
                Protocol::Json(_) => Refusal::new("AccessDeniedException", why),
                Protocol::Cbor => Refusal::new("AccessDenied", why).with_status(403),
            }
        }
        FaultName::ExpiredToken => {
            let why = "The security token included in the request is expired";
            if query || call.protocol == Protocol::Cbor {
                Refusal::new("ExpiredToken", why).with_status(403)
            } else {
                Refusal::new("ExpiredTokenException", why)
            }
        }
        FaultName::Error500 => Refusal::new("InternalFailure", "An internal error occurred").with_status(500),
        _ => return None,
    })
}

/// As each protocol says that there were too many calls.
pub(crate) fn throttled(call: &Call) -> Refusal {
    if call.service == "dynamodb" && ["GetItem", "PutItem"].contains(&&call.operation[..]) {
        let why = "The level of configured provisioned throughput for the table was exceeded. Consider increasing your \
                   provisioning level with the UpdateTable API.";
        return Refusal::new("ProvisionedThroughputExceededException", why);
    }
    let query = matches!(call.protocol, Protocol::Query | Protocol::Cbor);
    let code = match call.protocol {
        Protocol::Ec2 => "RequestLimitExceeded",
        _ if query => "Throttling",
        _ => "ThrottlingException",
    };
    Refusal::new(code, "Rate exceeded")
}

/// The answer to a call as HTTP.
pub(crate) fn respond(call: &Call, request_id: &str, outcome: Result<Value, Refusal>, now: Time) -> Response<Bytes> {
    let (status, (kind, body)) = match outcome {
        Ok(value) => (200, wire::spell(call, request_id, &Answer::Value(value))),
        Err(refusal) if call.service == "monitoring" => {
            return cloudwatch::wire::refused(call.protocol, &refusal, now);
        }
        Err(refusal) => (refusal.status, wire::spell_refusal(call.protocol, call.service, request_id, &refusal)),
    };
    build(status, &kind, body)
}

/// A response with a body of a kind.
pub(crate) fn build(status: u16, kind: &str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(kind) = HeaderValue::from_str(kind) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}
