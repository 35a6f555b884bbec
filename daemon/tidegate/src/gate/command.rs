//! Gates that are programs: exit 0 is yes, 75 (`EX_TEMPFAIL`) is "ask again", any other is no, with what it wrote.

use cutover::event::GateAnswer;

use super::Question;
use crate::port::PortError;
use crate::program::{self, Ended};

/// "Try again later", as mail programs have said it since sysexits.h.
const ASK_AGAIN: i32 = 75;

/// Runs the gate's program with the question on its stdin.
///
/// # Errors
/// When it cannot be started.
pub async fn ask(argv: &[String], question: Question<'_>) -> Result<GateAnswer, PortError> {
    let ended = program::run(argv, &question.body()).await.map_err(|error| PortError::later("gate", error))?;
    Ok(answer(ended))
}

/// What an exit code says.
pub(super) fn answer(ended: Ended) -> GateAnswer {
    match ended.code {
        Some(0) => GateAnswer::Yes,
        Some(ASK_AGAIN) => GateAnswer::Later { why: ended.output },
        Some(code) => GateAnswer::No { why: why(&format!("exit code {code}"), &ended.output) },
        None => GateAnswer::No { why: why("ended by a signal", &ended.output) },
    }
}

fn why(ended: &str, output: &str) -> String {
    if output.is_empty() { ended.to_owned() } else { format!("{ended}: {output}") }
}
