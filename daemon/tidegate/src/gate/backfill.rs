//! Gates on the backfill: everything that the source had before capture began must be on the target before writes move, or
//! clients miss it there. Running the backfill is Migration Assistant's work; a program says how far it is.
//!
//! Migration Assistant's `console backfill status` exits with 0 whatever the state, so what it prints is read. Its words
//! have changed over the versions (`console_link/models/backfill_rfs.py`, `backfill_base.py`, `step_state.py` there):
//!
//! - 3.x with `--deep-check`: a line `Backfill status: …` with `Pending`, `Running`, `Paused`, `Completed`,
//!   `CompletedWithErrors` or `Failed` (Python's own spelling of these, `StepStateWithPause.COMPLETED`, by some versions), and
//!   `Backfill shard_total: N`, `Backfill shard_complete: N`; as JSON, the same names as keys.
//! - 2.x with `--deep-check`: `Shards total: N`, `Shards completed: N`.
//!
//! The state of the workers alone (`RUNNING`, `STOPPED`, …) does not say that anything is complete. What is not understood is
//! never taken for complete.

use cutover::event::GateAnswer;
use cutover::policy::BackfillTells;
use serde_json::Value;

use super::command;
use crate::port::PortError;
use crate::program;

/// Asks the program, with `body` on its stdin.
///
/// # Errors
/// When it cannot be started.
pub async fn ask(argv: &[String], tells: BackfillTells, body: &Value) -> Result<GateAnswer, PortError> {
    let ended = program::run(argv, body).await.map_err(|error| PortError::later("gate", error))?;
    Ok(match (tells, ended.code) {
        (BackfillTells::Status, Some(0)) => read(&ended.output),
        (BackfillTells::ExitCode | BackfillTells::Status, _) => command::answer(ended),
    })
}

/// What a status says.
fn read(output: &str) -> GateAnswer {
    let told = Told::of(output);
    let progress = match (told.complete, told.total) {
        (Some(complete), Some(total)) => format!(", {complete} of {total} shards"),
        _ => String::new(),
    };
    match told.state.as_deref() {
        Some("completed") => GateAnswer::Yes,
        Some("completedwitherrors") => {
            GateAnswer::No { why: format!("the backfill completed with errors{progress}: some documents are missing") }
        }
        Some("failed") => GateAnswer::No { why: format!("the backfill failed{progress}") },
        Some(state @ ("pending" | "running" | "paused")) => {
            GateAnswer::Later { why: format!("the backfill is {state}{progress}") }
        }
        Some(other) => GateAnswer::No { why: format!("the backfill's state `{other}` is not known here{progress}") },
        None => match (told.complete, told.total) {
            (Some(complete), Some(total)) if total > 0 && complete >= total => GateAnswer::Yes,
            (Some(_), Some(_)) => GateAnswer::Later { why: format!("the backfill is under way{progress}") },
            _ => GateAnswer::No {
                why: format!(
                    "the status does not say whether the backfill is complete (`--deep-check` does): {output}"
                ),
            },
        },
    }
}

/// What could be read out of a status.
#[derive(Debug, Default)]
struct Told {
    /// The state, as letters in lower case.
    state: Option<String>,
    total: Option<u64>,
    complete: Option<u64>,
}

impl Told {
    fn of(output: &str) -> Self {
        if let Some(Value::Object(object)) = serde_json::from_str(output).ok().or_else(|| last_json(output)) {
            let number = |key: &str| object.get(key).and_then(Value::as_u64);
            let state = object.get("status").and_then(Value::as_str).map(letters);
            return Self { state, total: number("shard_total"), complete: number("shard_complete") };
        }
        let mut told = Self::default();
        for line in output.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            match name.as_str() {
                "backfill status" => told.state = Some(letters(value)),
                "backfill shard_total" | "shards total" => told.total = value.parse().ok(),
                "backfill shard_complete" | "shards completed" => told.complete = value.parse().ok(),
                _ => {}
            }
        }
        told
    }
}

/// The last line that is a JSON object: programs log before they answer.
fn last_json(output: &str) -> Option<Value> {
    output.lines().rev().find_map(|line| serde_json::from_str(line).ok().filter(Value::is_object))
}

/// The last part of a dotted name, its letters in lower case: `StepStateWithPause.COMPLETED_WITH_ERRORS` and
/// `CompletedWithErrors` are the same.
fn letters(text: &str) -> String {
    let last = text.rsplit('.').next().unwrap_or(text);
    last.chars().filter(char::is_ascii_alphabetic).map(|letter| letter.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(output: &str) -> String {
        match read(output) {
            GateAnswer::Yes => "yes".to_owned(),
            GateAnswer::Later { why } => format!("later: {why}"),
            GateAnswer::No { why } => format!("no: {why}"),
        }
    }

    /// Proves what each state of Migration Assistant's status is taken for, in the words of its versions, and that nothing
    /// else is taken for complete.
    #[test]
    fn only_a_complete_backfill_is_complete() {
        let deep = |state: &str, complete: u32| {
            format!(
                "BackfillStatus.RUNNING\nPods - Running: 1, Pending: 0, Desired: 1\nBackfill status: {state}\n\
                 Backfill percentage_completed: 40.0\nBackfill shard_total: 5\nBackfill shard_complete: {complete}"
            )
        };
        assert_eq!(told(&deep("StepStateWithPause.COMPLETED", 5)), "yes");
        assert_eq!(told(&deep("Completed", 5)), "yes");
        assert_eq!(told(&deep("Running", 2)), "later: the backfill is running, 2 of 5 shards");
        assert_eq!(told(&deep("Paused", 2)), "later: the backfill is paused, 2 of 5 shards");
        let errors = told(&deep("StepStateWithPause.COMPLETED_WITH_ERRORS", 5));
        assert!(errors.starts_with("no: the backfill completed with errors, 5 of 5 shards"), "{errors}");
        assert_eq!(told(&deep("Failed", 1)), "no: the backfill failed, 1 of 5 shards");
        assert!(told(&deep("Dreaming", 5)).starts_with("no: the backfill's state `dreaming` is not known"));

        assert_eq!(told("INFO starting\n{\"status\": \"Completed\", \"percentage_completed\": 100.0}"), "yes");
        let json = r#"{"status": "Pending", "shard_total": 7, "shard_complete": 0}"#;
        assert_eq!(told(json), "later: the backfill is pending, 0 of 7 shards");

        let old = |completed: u32| format!("RUNNING\nRunning=1\nShards total: 48\nShards completed: {completed}");
        assert_eq!(told(&old(48)), "yes");
        assert_eq!(told(&old(47)), "later: the backfill is under way, 47 of 48 shards");
        assert!(told("Shards total: 0\nShards completed: 0").starts_with("later"));
        for unsaid in ["BackfillStatus.STOPPED\nPods - Running: 0, Pending: 0, Desired: 0", "", "complete", "{}"] {
            assert!(told(unsaid).starts_with("no: the status does not say"), "{unsaid}");
        }
    }
}
