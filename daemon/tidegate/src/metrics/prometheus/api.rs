//! Prometheus' HTTP API, as far as it is asked: the samples of series as they were taken.
//!
//! A selector with a range (`x[5m]`) gives samples with their own times, where every function and every stepped query
//! would give something worked out of them ("HTTP API", "Instant queries"). An answer with warnings is not whole: a server
//! in front of several says so when one of them is missing.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover::Timestamp;
use http::StatusCode;
use serde::Deserialize;

use super::series::Series;
use crate::outbound::Outbound;
use crate::port::PortError;
use crate::secret;

pub(super) const PORT: &str = "metrics";

/// The most of one answer: some million samples.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How long one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// The most of what Prometheus says of an error that is handed on.
const SAID_CHARS_MAX: usize = 300;

/// A server.
pub(super) struct Api {
    pub(super) outbound: Outbound,
    /// Without `/api/v1`.
    pub(super) url: String,
    /// Where the `Authorization` value is; read each time, so that it may be renewed.
    pub(super) authorization: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

/// What an answer with this status is: whether another try makes sense, and what to do.
fn refused(status: StatusCode, said: &str) -> PortError {
    let said: String = said.chars().take(SAID_CHARS_MAX).collect();
    match status.as_u16() {
        401 | 403 => PortError::never(
            PORT,
            format!("Prometheus refuses these credentials ({status}): give the whole value in `metrics.authorization`"),
        ),
        404 => PortError::never(PORT, "there is no `/api/v1/query` at `metrics.url`: is it Prometheus?".to_owned()),
        400 | 422 => PortError::never(PORT, format!("Prometheus refuses a query ({status}): {said}")),
        _ => PortError::later(PORT, format!("Prometheus answers {status}: {said}")),
    }
}

impl Api {
    /// The samples of `selector` from `from` to `to`, both ends included, oldest first.
    pub(super) async fn samples(
        &self,
        selector: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Series>, PortError> {
        // A range is open at its beginning since version 3.
        let range = to.since(from).as_millis() + 1;
        let query = format!("{selector}[{range}ms]");
        let time = format!("{}.{:03}", to.0.div_euclid(1000), to.0.rem_euclid(1000));
        let url = format!("{}/api/v1/query", self.url);
        let secret = self.authorization.as_deref().map(secret::read).transpose();
        let secret = secret.map_err(|error| PortError::never(PORT, error))?;
        let form = [("query", query.as_str()), ("time", time.as_str())];
        let asked = self.outbound.ask(&url, secret.as_ref(), &form, ANSWER_BYTES_MAX);
        let (status, body) = match tokio::time::timeout(ANSWER_MAX, asked).await {
            Ok(answered) => answered.map_err(|error| PortError::later(PORT, error))?,
            Err(_) => {
                return Err(PortError::later(
                    PORT,
                    format!("Prometheus gave no answer within {} s", ANSWER_MAX.as_secs()),
                ));
            }
        };
        let answer: Result<Answer, _> = serde_json::from_slice(&body);
        let Ok(answer) = answer else {
            let said = String::from_utf8_lossy(&body);
            return Err(if status.is_success() {
                PortError::later(PORT, "what answers at `metrics.url` is not Prometheus' API".to_owned())
            } else {
                refused(status, &said)
            });
        };
        if !status.is_success() || answer.status != "success" {
            return Err(refused(status, &answer.error));
        }
        if let Some(warning) = answer.warnings.first() {
            let warning: String = warning.chars().take(SAID_CHARS_MAX).collect();
            return Err(PortError::later(PORT, format!("Prometheus' answer is not whole: {warning}")));
        }
        let Some(data) = answer.data.filter(|data| data.kind == "matrix") else {
            return Err(PortError::never(PORT, format!("`{selector}` is not a selector of series")));
        };
        data.result.into_iter().map(|found| series(found, selector)).collect()
    }
}

fn series(found: Found, selector: &str) -> Result<Series, PortError> {
    let mut samples = Vec::with_capacity(found.values.len());
    for (seconds, text) in found.values {
        let value: f64 = text.parse().unwrap_or(f64::NAN);
        if !value.is_finite() || value < 0.0 {
            let why = format!("a sample of `{selector}` is `{text}`, which is no count");
            return Err(PortError::never(PORT, why));
        }
        samples.push((Timestamp((seconds * 1e3).round() as i64), value));
    }
    samples.sort_by_key(|(at, _)| *at);
    Ok(Series { labels: found.metric, samples })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Retry;

    /// Proves that what is no count is refused and never taken for zero, and that times are read to the millisecond.
    #[test]
    fn what_is_no_count_is_refused() {
        let of = |value: &str| {
            let values = vec![(1_700_000_000.123, value.to_owned())];
            series(Found { metric: BTreeMap::new(), values }, "x{}")
        };
        assert_eq!(of("12").unwrap().samples, [(Timestamp(1_700_000_000_123), 12.0)]);
        for wrong in ["NaN", "+Inf", "-1", "many"] {
            assert!(of(wrong).unwrap_err().to_string().contains(wrong), "{wrong}");
        }
    }

    /// Proves which refusals are worth another try.
    #[test]
    fn a_refusal_says_whether_to_try_again() {
        let retry = |status: u16| refused(StatusCode::from_u16(status).unwrap(), "said").retry;
        for status in [400, 401, 403, 404, 422] {
            assert_eq!(retry(status), Retry::Never, "{status}");
        }
        for status in [429, 500, 502, 503] {
            assert_eq!(retry(status), Retry::Later, "{status}");
        }
    }
}
