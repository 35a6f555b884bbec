//! CloudWatch for moto: the SDK's Smithy RPC with CBOR bodies in, the JSON 1.0 that moto speaks out, and back.
//!
//! moto has no CBOR (getmoto/moto#9195). And it answers a whole call with 500 as soon as one series asks for anything but a
//! plain statistic, which is listed among the differences; such series are left out here and come back as series of which
//! nothing was published. So response times are no part of moto's opinion. Every answer says the time of the clock that the
//! adapters are given, since moto knows no other time than the machine's and this one runs faster.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderName, HeaderValue};
use lab::clock::Time;
use lab::cloudwatch::cbor;
use serde_json::{Value, json};
use tidegate::clock::Clock;

use super::relay::{Answer, Call, Twist};

const RPC: &str = "/service/GraniteServiceVersion20100801/operation/";
const STATISTICS: [&str; 5] = ["Sum", "Average", "Minimum", "Maximum", "SampleCount"];

/// The translation.
pub(crate) struct Translation {
    pub(crate) clock: Clock,
}

fn header(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

/// Whether moto knows what a query asks for.
fn is_known(query: &Value) -> bool {
    query["MetricStat"]["Stat"].as_str().is_some_and(|stat| STATISTICS.contains(&stat))
}

impl Twist for Translation {
    fn call(&self, call: &mut Call) {
        let Some(operation) = call.path.strip_prefix(RPC).map(str::to_owned) else { return };
        let Ok(mut input) = cbor::decode(&call.body) else { return };
        if let Some(queries) = input["MetricDataQueries"].as_array_mut() {
            queries.retain(is_known);
        }
        let target = format!("GraniteServiceVersion20100801.{operation}");
        "/".clone_into(&mut call.path);
        call.body = Bytes::from(input.to_string());
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0"));
        call.headers.insert(header("x-amz-target"), HeaderValue::from_str(&target).expect("a name is plain text"));
        call.headers.remove("smithy-protocol");
    }

    fn answer(&self, call: &Call, answer: &mut Answer) {
        let now = Time(self.clock.now().0).http_date();
        answer.headers.insert(DATE, HeaderValue::from_str(&now).expect("a date is plain text"));
        if !call.path.starts_with(RPC) {
            return;
        }
        // What is no JSON stays as it is: a server's own page of trouble is that in every protocol.
        let Ok(mut output) = serde_json::from_slice::<Value>(&answer.body) else { return };
        if let Some(results) = output["MetricDataResults"].as_array_mut() {
            let asked = cbor::decode(&call.body).unwrap_or_default();
            let left_out = asked["MetricDataQueries"].as_array().into_iter().flatten().filter(|query| !is_known(query));
            let silent = |query: &Value| json!({"Id": query["Id"], "Label": "", "Timestamps": [], "Values": [], "StatusCode": "Complete"});
            results.extend(left_out.map(silent));
        }
        answer.body = Bytes::from(cbor::encode(&output));
        answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/cbor"));
        answer.headers.insert(header("smithy-protocol"), HeaderValue::from_static("rpc-v2-cbor"));
    }
}
