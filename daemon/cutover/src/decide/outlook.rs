//! What happens next and on what it waits, in one sentence for a person.

use crate::cutover::{Cutover, Phase};

/// The sentence.
pub(super) fn sentence(cutover: &Cutover) -> String {
    let waits = match cutover.blockers.len() {
        0 => String::new(),
        1 => format!(" when: {}", cutover.blockers[0].text),
        more => format!(" when: {} (and {} more)", cutover.blockers[0].text, more - 1),
    };
    let steps = &cutover.policy.shift.steps;
    match cutover.phase {
        Phase::Pending => "waits for `start`".to_owned(),
        Phase::Preflight => format!("next: record the source{waits}"),
        Phase::Baseline => format!("next: the first step{waits}"),
        Phase::Gated { step } => match steps.get(step) {
            Some(share) => format!("next: {} -> {share}{waits}", cutover.desired),
            None => format!("next: the whole of the traffic{waits}"),
        },
        Phase::Shifting { .. } => format!("next: confirm {}{waits}", cutover.desired),
        Phase::Baking { step } => match steps.get(step + 1) {
            Some(share) => format!("next: {} -> {share}{waits}", cutover.desired),
            None => format!("next: nothing{waits}"),
        },
        Phase::Draining => format!("next: done{waits}"),
        Phase::Done => match cutover.closed {
            None => "done; `revert` is possible until `close`".to_owned(),
            Some(_) => "done and closed".to_owned(),
        },
        Phase::Reverting { attempts, .. } => format!("putting back the original, write {attempts}"),
        Phase::Reverted => "reverted; nothing more happens by itself".to_owned(),
        Phase::Aborted => "aborted; nothing more happens by itself".to_owned(),
        Phase::Stuck { attempts, .. } => {
            format!("a human must look; the original is tried on, slowly, write {attempts}")
        }
    }
}
