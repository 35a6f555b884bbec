//! DynamoDB, for the leases of listeners: JSON 1.0, signed by hand, one attempt a call.
//!
//! Its generated client takes longer to compile than any other of AWS's that this program has but ECS's, for three calls.
//! Whoever asks for a lease asks again soon, so nothing is tried twice here.

use std::time::Duration;

use bytes::Bytes;
use cutover::Timestamp;
use http::{Request, header};
use http_body_util::Full;
use serde_json::Value;

use super::Aws;
use super::sign::Signer;
use crate::clock::Clock;
use crate::events;
use crate::outbound::Outbound;
use crate::port::in_one_line;
use crate::rights;

/// How long one call may take, in real time: a revert waits for one of them at most.
const CALL_MAX: Duration = Duration::from_secs(3);

/// The longest answer that is read; an item of ours has a few hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The API's version, as calls name it.
const TARGET: &str = "DynamoDB_20120810";

/// A condition of a write did not hold.
const CONDITION: &str = "ConditionalCheckFailedException";

/// DynamoDB in one region.
pub struct Dynamodb {
    aws: Aws,
    outbound: Outbound,
    clock: Clock,
}

/// What was answered, and AWS's time when it was; `None` where the answer does not say it.
#[derive(Debug)]
pub struct Answered {
    /// The answer.
    pub body: Value,
    /// AWS's time, in whole seconds.
    pub at: Option<Timestamp>,
}

/// Why a call did nothing, or is not known to have done something.
#[derive(Debug, thiserror::Error)]
pub enum Unasked {
    /// The write's condition did not hold; the item that stands, where there is one.
    #[error("the conditional request failed")]
    Condition(Option<Value>),
    /// Anything else, in words.
    #[error("{0}")]
    Failed(String),
}

impl Dynamodb {
    /// Asks by the credentials and in the region of `aws`.
    pub fn new(aws: Aws, outbound: Outbound, clock: Clock) -> Self {
        Self { aws, outbound, clock }
    }

    /// AWS's clock, as far as it is known.
    pub fn now(&self) -> Timestamp {
        self.aws.clock.at(self.clock.now())
    }

    fn url(&self) -> String {
        let region = self.aws.region();
        let china = if region.starts_with("cn-") { ".cn" } else { "" };
        self.aws.endpoint("DYNAMODB").unwrap_or_else(|| format!("https://dynamodb.{region}.amazonaws.com{china}"))
    }

    /// Makes one call.
    ///
    /// # Errors
    /// When the condition of a write did not hold, or the call is not known to have been carried out.
    pub async fn ask(&self, operation: &'static str, input: &Value) -> Result<Answered, Unasked> {
        let failed = |why: String| Unasked::Failed(format!("cannot ask DynamoDB for {operation}: {why}"));
        let keys = self.aws.keys().await.map_err(&failed)?;
        let (url, region, body) = (self.url(), self.aws.region(), input.to_string());
        let uri: http::Uri = url.parse().map_err(|_| failed(format!("`{url}` is no URL")))?;
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let signer = Signer { keys: &keys, region: &region, service: "dynamodb", now: self.now() };
        let target = format!("{TARGET}.{operation}");
        let given = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target.as_str())];
        let fields = signer.fields(&authority, &given, &body).ok_or_else(|| failed("the clock is off".to_owned()))?;
        let mut request = Request::post(uri);
        for (name, value) in fields.into_iter().filter(|(name, _)| *name != "host") {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| failed(error.to_string()))?;
        events::AwsCalled { service: "DynamoDB", operation }.emit();
        let answer = tokio::time::timeout(CALL_MAX, self.outbound.send(request, ANSWER_BYTES_MAX)).await;
        let answer = answer.map_err(|_| failed(format!("no answer within {} s", CALL_MAX.as_secs())))?;
        let answer = answer.map_err(|error| failed(in_one_line(&error)))?;
        let date = answer.headers().get(header::DATE).and_then(|date| date.to_str().ok());
        let at = date.and_then(|date| self.aws.hear(date, self.clock.now()));
        let told: Value = serde_json::from_slice(answer.body())
            .map_err(|_| failed(format!("what answered with {} is not AWS", answer.status())))?;
        if answer.status().is_success() {
            return Ok(Answered { body: told, at });
        }
        let code = told["__type"].as_str().unwrap_or("no code");
        let code = code.rsplit('#').next().unwrap_or(code);
        if code == CONDITION {
            return Err(Unasked::Condition(told.get("Item").cloned()));
        }
        let message = told["message"].as_str().or_else(|| told["Message"].as_str()).unwrap_or_default();
        let hint = match code {
            "AccessDeniedException" => rights::hint(message),
            "ExpiredTokenException" | "UnrecognizedClientException" => "; renew the credentials".to_owned(),
            _ => String::new(),
        };
        Err(failed(format!("{code}: {message}{hint}")))
    }
}
