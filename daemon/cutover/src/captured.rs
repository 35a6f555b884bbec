//! How the capture that a cutover relies on goes, as its last checks saw it.

use crate::cutover::Cutover;
use crate::event::{About, CheckOutcome};
use crate::policy::CaptureNeed;

/// Whether it is known to be without loss; `None` where the cutover does not rely on it.
pub fn whole(cutover: &Cutover) -> Option<bool> {
    let mut seen = cutover.checks.iter().filter(|check| check.about == About::Capture).peekable();
    let relies = cutover.policy.capture.need == CaptureNeed::Required;
    let stands = |outcome| matches!(outcome, CheckOutcome::Pass | CheckOutcome::Warn);
    relies.then(|| seen.peek().is_some() && seen.all(|check| stands(check.outcome)))
}

/// The same in one line, for people.
pub fn told(cutover: &Cutover) -> Option<String> {
    let whole = whole(cutover)?;
    let of_capture = cutover.checks.iter().filter(|check| check.about == About::Capture);
    let told: Vec<&str> = of_capture
        .filter(|check| whole || matches!(check.outcome, CheckOutcome::Fail | CheckOutcome::Unknown))
        .map(|check| check.evidence.as_str())
        .collect();
    Some(match (told.as_slice(), whole) {
        ([], _) => "not looked at yet".to_owned(),
        (told, true) => told.join("; "),
        (told, false) => format!("NOT WHOLE: {}", told.join("; ")),
    })
}
