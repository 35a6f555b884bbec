//! How the capture that a cutover relies on goes, as its last checks saw it.

use crate::cutover::Cutover;
use crate::event::{About, Check};
use crate::policy::CaptureNeed;

/// Whether the cutover relies on capture.
pub(crate) fn relies(cutover: &Cutover) -> bool {
    cutover.policy.capture.need == CaptureNeed::Required
}

/// What is known of capture.
pub(crate) fn known(cutover: &Cutover) -> impl Iterator<Item = &Check> {
    cutover.checks.iter().filter(|check| check.about == About::Capture)
}

/// Whether it is known to be without loss; `None` where the cutover does not rely on it.
pub fn whole(cutover: &Cutover) -> Option<bool> {
    let mut seen = known(cutover).peekable();
    relies(cutover).then(|| seen.peek().is_some() && seen.all(|check| !check.outcome.stops()))
}

/// The same in one line, for people.
pub fn told(cutover: &Cutover) -> Option<String> {
    let whole = whole(cutover)?;
    let told: Vec<&str> =
        known(cutover).filter(|check| whole || check.outcome.stops()).map(|check| check.evidence.as_str()).collect();
    Some(match (told.as_slice(), whole) {
        ([], _) => "not looked at yet".to_owned(),
        (told, true) => told.join("; "),
        (told, false) => format!("NOT WHOLE: {}", told.join("; ")),
    })
}
