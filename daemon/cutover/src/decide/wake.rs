//! When the next look is due: one `WakeAt` in each decision of a cutover that is under way.

use std::time::Duration;

use super::turn::Turn;
use super::{bake, count, gate, lever, preflight, shift};
use crate::command::Command;
use crate::cutover::{GateState, Phase};

/// The longest time without a look.
pub(super) const WAKE_MAX: Duration = Duration::from_secs(10);
/// The shortest: a condition that is overdue must not make the loop spin.
pub(super) const WAKE_MIN: Duration = Duration::from_millis(50);

/// Asks for the next tick.
pub(super) fn ask(turn: &mut Turn) {
    let next = &turn.next;
    let busy = match next.phase {
        Phase::Pending | Phase::Aborted => false,
        Phase::Done => next.closed.is_none(),
        Phase::Reverted => next.closed.is_none() && next.budgets.reassert < next.policy.revert.reassert,
        Phase::Preflight
        | Phase::Baseline
        | Phase::Gated { .. }
        | Phase::Shifting { .. }
        | Phase::Baking { .. }
        | Phase::Draining
        | Phase::Reverting { .. }
        | Phase::Stuck { .. } => true,
    };
    if !busy && !lever::concerns(next) {
        return;
    }
    let mut wait = WAKE_MAX;
    let mut within = |due: Duration| wait = wait.min(due);
    if let Some(write) = &next.write
        && let Some(answered) = write.answered
        && !write.probed
    {
        within(answered.plus(next.policy.shift.settle).since(turn.now));
    }
    if count::counts(next) {
        within(
            next.evidence
                .counted_to
                .plus(next.policy.shift.interval)
                .since(turn.now)
                .max(next.evidence.asked.map_or(Duration::ZERO, |asked| asked.again.since(turn.now))),
        );
    }
    if shift::reads(next) && next.read_asked.is_none() {
        within(shift::read_every(next).saturating_sub(next.budgets.read));
    }
    if preflight::checks(&next.phase) && next.check_asked.is_none() {
        within(preflight::check_every(&next.phase).saturating_sub(next.budgets.check));
    }
    // The one gate that waits, and where gates wait: a time of another one has long passed and would wake for nothing.
    // One that is due all the same waits for something else.
    if let Some(gate) = gate::waiting(next, turn.now)
        && let Some(GateState::Later { again, .. }) = next.gates.get(&gate.name)
        && *again > turn.now
    {
        within(again.since(turn.now));
    }
    if let Some(due) = lever::due(next) {
        within(due);
    }
    for left in bake::budgets_left(next, turn.now) {
        within(left);
    }
    turn.commands.push(Command::WakeAt(turn.now.plus(wait.max(WAKE_MIN))));
}
