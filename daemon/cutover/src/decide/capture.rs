//! Capture: a cutover that relies on it begins, and moves writes, only while what clients write is known to be captured
//! without loss.
//!
//! What is not captured is not replayed, and a target without it is wrong for good: so this holds, for as long as it takes,
//! and neither spends a budget nor reverts, which would bring nothing back. Steps that move reads alone wait for nothing
//! here. Whether capture is whole is found out with the other checks, and asked again right before writes are moved.

use std::time::Duration;

use super::{bake, gate, shift};
use crate::captured::known;
pub(super) use crate::captured::relies;
use crate::cutover::{Blocker, BlockerKind, Cutover, Phase};
use crate::event::Check;
use crate::units::{Share, Timestamp};

/// How long ago a look at capture may have been begun for writes to be moved on it; more than a look may take.
pub(super) const FRESH: Duration = Duration::from_secs(30);

/// Whether what comes next gives the target more of the writes than it has. What is not known counts as nothing.
fn moves_writes(cutover: &Cutover) -> bool {
    let has = cutover.configured.as_ref().map_or(Share::NONE, |reading| reading.share);
    match cutover.phase {
        Phase::Gated { step } => cutover.step_share(step).writes > has.writes,
        Phase::Shifting { .. } => cutover.desired.writes > has.writes,
        Phase::Pending
        | Phase::Preflight
        | Phase::Baseline
        | Phase::Baking { .. }
        | Phase::Draining
        | Phase::Done
        | Phase::Reverting { .. }
        | Phase::Reverted
        | Phase::Aborted
        | Phase::Stuck { .. } => false,
    }
}

/// What is wrong with capture, or not known of it.
pub(super) fn wrong(cutover: &Cutover) -> impl Iterator<Item = &Check> {
    known(cutover).filter(|check| check.outcome.stops())
}

/// Capture, as blockers of a start and of steps that move writes.
pub(super) fn blockers(cutover: &Cutover, blockers: &mut Vec<Blocker>) {
    let starts = cutover.phase == Phase::Preflight;
    if !relies(cutover) || !(starts || moves_writes(cutover)) {
        return;
    }
    // Where nothing was checked at all that is said once, by the checks.
    if known(cutover).next().is_none() && !cutover.checks.is_empty() {
        let text = "nothing tells whether capture is without loss, and this cutover relies on it";
        blockers.push(bake::blocker(BlockerKind::Capture, text));
    }
    blockers.extend(wrong(cutover).map(|check| bake::blocker(BlockerKind::Capture, bake::told(check))));
}

/// Whether writes would be moved on a look at capture that was begun before this step waited, or is not of this moment.
/// None from before a restart, or by a clock that was set back since, is of this moment.
pub(super) fn stale(cutover: &Cutover, now: Timestamp) -> bool {
    let waits = matches!(cutover.phase, Phase::Gated { .. });
    let fresh = |begun: Timestamp| now.since(begun) <= FRESH && (begun >= cutover.since || !waits);
    relies(cutover) && moves_writes(cutover) && !cutover.checked.is_some_and(fresh)
}

/// Whether a look at capture is what a step waits for: nothing else is in its way.
pub(super) fn awaited(cutover: &Cutover, now: Timestamp) -> bool {
    let alone = match cutover.phase {
        Phase::Shifting { .. } => shift::due(cutover, now) && gate::waiting(cutover, now).is_none(),
        _ => bake::blockers(cutover, now).iter().all(|blocker| blocker.kind == BlockerKind::Capture),
    };
    alone && stale(cutover, now)
}
