//! How time passes for a cutover: by the differences between events, each of them bounded.
//!
//! The daemon's clock does not step while it runs, but it may have stepped whenever the daemon comes up, and a machine
//! may sleep. So nothing is decided by the difference of two distant times. Each event adds the time since the one
//! before it to the budgets that run, at most [`GAP_MAX`] of it; a restart adds none. Where a time must be compared
//! (a read with the write before it), both are of one run of the daemon, since a restart asks for everything again.

use std::sync::Arc;
use std::time::Duration;

use super::turn::Turn;
use super::{capture, gate};
use crate::cutover::{Armed, BlockerKind, GateState, Phase, StandingKind};
use crate::event::Event;
use crate::units::{Share, Timestamp};

/// The longest time that one event may add to a budget. Ticks come at least each [`super::wake::WAKE_MAX`], so more
/// than this is time in which nobody was there.
pub(super) const GAP_MAX: Duration = Duration::from_secs(20);

/// Lets the time since the last event pass.
pub(super) fn pass(turn: &mut Turn, event: &Event) {
    let now = turn.now;
    if now < turn.next.seen {
        rebase(turn, now);
    }
    let gap = if matches!(event, Event::Restarted) { Duration::ZERO } else { now.since(turn.next.seen).min(GAP_MAX) };
    turn.next.seen = now;

    let paused = turn.next.standing.as_ref().is_some_and(|standing| standing.kind == StandingKind::Pause);
    let exposed = exposed(turn);
    let unknown = turn.next.blockers.iter().any(|blocker| blocker.kind.unknown());
    let awaited = turn.next.blockers.iter().any(|blocker| {
        matches!(blocker.kind, BlockerKind::Bake | BlockerKind::Requests | BlockerKind::Guard) || blocker.kind.unknown()
    });
    let baking = matches!(turn.next.phase, Phase::Baking { .. });
    let climbing = matches!(
        turn.next.phase,
        Phase::Gated { .. } | Phase::Shifting { .. } | Phase::Baking { .. } | Phase::Draining
    );
    let asked = gate::timed(&turn.next);

    let uncaptured = capture::wrong(&turn.next).next().is_some();
    let budgets = &mut turn.next.budgets;
    for always in [
        &mut budgets.silence,
        &mut budgets.unread,
        &mut budgets.unchecked,
        &mut budgets.write,
        &mut budgets.read,
        &mut budgets.check,
        &mut budgets.reassert,
        &mut budgets.lever,
    ] {
        *always = always.saturating_add(gap);
    }
    budgets.unknown = if unknown { budgets.unknown.saturating_add(gap) } else { Duration::ZERO };
    budgets.uncaptured = if uncaptured { budgets.uncaptured.saturating_add(gap) } else { Duration::ZERO };
    if paused {
        return;
    }
    budgets.phase = budgets.phase.saturating_add(gap);
    if exposed {
        budgets.blind = budgets.blind.saturating_add(gap);
    }
    if climbing && unknown {
        budgets.hold = budgets.hold.saturating_add(gap);
    }
    // A step that has all its evidence and waits for a person, a window or a gate does not use up its bake.
    if baking && awaited {
        budgets.bake = budgets.bake.saturating_add(gap);
    }
    if asked {
        budgets.gate = budgets.gate.saturating_add(gap);
    }
}

/// Whether the target carries traffic of a running cutover, as far as anyone knows.
pub(super) fn exposed(turn: &Turn) -> bool {
    let next = &turn.next;
    let carries = next.desired != Share::NONE
        || next.configured.as_ref().is_some_and(|reading| reading.share != Share::NONE)
        || next.write.as_ref().is_some_and(|write| write.share != Share::NONE);
    match next.phase {
        Phase::Gated { .. } | Phase::Shifting { .. } | Phase::Baking { .. } | Phase::Draining => carries,
        Phase::Pending
        | Phase::Preflight
        | Phase::Baseline
        | Phase::Done
        | Phase::Reverting { .. }
        | Phase::Reverted
        | Phase::Aborted
        | Phase::Stuck { .. } => false,
    }
}

/// The clock ran back: no remembered time may lie in what is now the future. Clamping makes every wait that was under
/// way begin again at most, which is on the safe side.
fn rebase(turn: &mut Turn, now: Timestamp) {
    let clamp = |at: &mut Timestamp| *at = (*at).min(now);
    let settle_end = now.plus(turn.next.policy.shift.settle).plus(turn.next.policy.shift.warm_up);
    let next = &mut turn.next;
    clamp(&mut next.since);
    clamp(&mut next.started);
    if let Some(reading) = &mut next.configured {
        clamp(&mut Arc::make_mut(reading).begun);
    }
    if let Some(write) = &mut next.write {
        clamp(&mut write.asked);
        if let Some(answered) = &mut write.answered {
            clamp(answered);
        }
    }
    for at in [&mut next.read_asked, &mut next.check_asked].into_iter().flatten() {
        clamp(at);
    }
    // How old these are must not begin again: what moves on them asks anew.
    next.checked = None;
    gate::forget(next);
    if let Armed::Asked { at } = &mut next.armed {
        clamp(at);
    }
    if let Some(asked) = &mut next.levers.asked {
        clamp(&mut asked.at);
    }
    for gate in next.gates.values_mut() {
        if let GateState::Asked { at } | GateState::Later { again: at, .. } = gate {
            clamp(at);
        }
    }
    let evidence = &mut next.evidence;
    if evidence.counted_to > now {
        evidence.counted_to = now;
        evidence.asked = None;
    }
    evidence.unjudged_until = evidence.unjudged_until.min(settle_end);
}

/// The daemon came up: everything is asked for again, at the same place.
pub(super) fn restarted(turn: &mut Turn) {
    let now = turn.now;
    let warm_up = turn.next.policy.shift.warm_up;
    // Whether a step was warm is known from the chain of counted intervals, not from a clock that may have stepped.
    if turn.next.evidence.counted_to < turn.next.evidence.unjudged_until {
        turn.next.evidence.unjudged_until = now.plus(warm_up);
    }
    // Nobody counted while the daemon was gone: what the target took then is missing from the price of a revert.
    if turn.next.evidence.counted_to < now && super::count::counts(&turn.next) {
        turn.next.evidence.gaps = turn.next.evidence.gaps.saturating_add(1);
    }
    turn.next.evidence.fresh = false;
    turn.next.evidence.asked = None;
    turn.next.evidence.counted_to = now;
    turn.next.since = turn.next.since.min(now);
    // An aborted cutover is not read any more: what it had then is the last that is known of it.
    if turn.next.phase != Phase::Aborted {
        turn.next.configured = None;
    }
    turn.next.reread = false;
    turn.next.read_asked = None;
    turn.next.check_asked = None;
    turn.next.checked = None;
    gate::forget(&mut turn.next);
    turn.next.journal_writable = true;
    turn.next.armed = Armed::No;
    turn.next.budgets.write = Duration::ZERO;
    turn.drop_write();
    turn.note("restarted", format!("the daemon came up; the cutover goes on in `{}`", turn.next.phase.name()));
}
