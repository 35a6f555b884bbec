//! Gates behind a URL: 200 is yes, 202 is "ask again", anything else is no, with what it answered.

use cutover::Timestamp;
use cutover::event::GateAnswer;

use super::Question;
use crate::outbound::{Outbound, shown};
use crate::port::PortError;

/// Posts the question, signed when a secret is named.
///
/// # Errors
/// When there is no answer.
pub async fn ask(
    outbound: &Outbound,
    url: &str,
    secret: Option<&str>,
    question: Question<'_>,
    now: Timestamp,
) -> Result<GateAnswer, PortError> {
    let answer = outbound
        .post(url, secret, &question.id(), now, &question.body())
        .await
        .map_err(|error| PortError::later("gate", error))?;
    Ok(match answer.status.as_u16() {
        200 => GateAnswer::Yes,
        202 => GateAnswer::Later { why: answer.text.trim().to_owned() },
        _ => GateAnswer::No { why: format!("`{}` answered {}: {}", shown(url), answer.status, answer.text) },
    })
}
