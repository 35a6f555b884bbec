//! Whether a snapshot is young enough: what clients wrote before every one of them came by the proxy is in no capture, so a
//! snapshot that is older than that lacks it for good.

use std::path::Path;

use cutover::Timestamp;
use cutover::event::{Check, CheckOutcome};

use crate::config::Config;
use crate::reroute::keep;
use crate::reroute::record::{Record, Stage};

/// Reads a moment, as `2026-11-22T05:00:00Z`.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    let moment: jiff::Timestamp = text.parse().map_err(|error| format!("{error}"))?;
    Ok(Timestamp(moment.as_millisecond()))
}

/// What the record of a service's reroute says of a snapshot; nothing, where there is neither.
pub(super) fn check(state: Option<&Path>, service: &str, taken: Option<Timestamp>) -> Option<Check> {
    let default = Config::default().state_dir;
    match keep::look(state.unwrap_or(&default), service) {
        Ok(record) => weighed(record.as_ref(), taken),
        Err(error) => taken.map(|_| {
            let fix = "run as who may read the state directory, or name it by --state";
            Check::new("snapshot", CheckOutcome::Unknown, error.to_string(), fix)
        }),
    }
}

fn weighed(record: Option<&Record>, taken: Option<Timestamp>) -> Option<Check> {
    let one = |outcome, evidence: String, fix: &str| Some(Check::new("snapshot", outcome, evidence, fix));
    match (record, taken) {
        (None, None) => None,
        (None, Some(_)) => one(
            CheckOutcome::Unknown,
            "since when every client comes by the proxy is not on record".to_owned(),
            "bring clients there by `tidegate reroute`, or name the state directory by --state",
        ),
        (Some(Record { complete: Some(since), .. }), None) => one(
            CheckOutcome::Warn,
            format!("capture is complete since {since}"),
            "say when the snapshot was taken by --snapshot-taken",
        ),
        (Some(Record { complete: Some(since), .. }), Some(taken)) if taken < *since => one(
            CheckOutcome::Fail,
            format!("it was taken at {taken}, and capture is complete since {since} only"),
            "take a new snapshot: what was written before then and after this one is in neither",
        ),
        (Some(Record { complete: Some(since), .. }), Some(taken)) => {
            one(CheckOutcome::Pass, format!("taken at {taken}, after capture was complete ({since})"), "")
        }
        (Some(record), _) if record.stage == Stage::Undone => one(
            CheckOutcome::Fail,
            "the reroute was undone: clients go past the proxy".to_owned(),
            "bring clients to the proxy by `tidegate reroute start`, then take a snapshot",
        ),
        (Some(_), _) => one(
            CheckOutcome::Fail,
            "not every client comes by the proxy yet".to_owned(),
            "finish `tidegate reroute`, then take a snapshot",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves that a snapshot must be at least as young as the capture of every client, and that without a record nobody
    /// says that it is.
    #[test]
    fn a_snapshot_older_than_the_capture_is_refused() {
        let at = |text: &str| moment(text).unwrap();
        let mut record = crate::reroute::testing::record();
        let taken = Some(at("2026-11-22T05:00:00Z"));
        let outcome = |record: Option<&Record>, taken| weighed(record, taken).map(|check| check.outcome);
        assert_eq!(outcome(None, None), None);
        assert_eq!(outcome(None, taken), Some(CheckOutcome::Unknown));
        assert_eq!(outcome(Some(&record), taken), Some(CheckOutcome::Fail), "it is under way");
        record.complete = taken;
        record.stage = Stage::Complete;
        assert_eq!(outcome(Some(&record), taken), Some(CheckOutcome::Pass));
        assert_eq!(outcome(Some(&record), Some(at("2026-11-22T06:00:00+02:00"))), Some(CheckOutcome::Fail));
        assert_eq!(outcome(Some(&record), None), Some(CheckOutcome::Warn));
        (record.complete, record.stage) = (None, Stage::Undone);
        assert_eq!(outcome(Some(&record), taken), Some(CheckOutcome::Fail));
        assert!(moment("yesterday").is_err());
    }
}
