//! Putting back the recorded original, whole, and being sure of it.
//!
//! A revert needs the fewest parts: the action was recorded before the first write and the entry that recorded it is
//! the authority to put it back, so nothing is asked and nothing is waited for. It ends verified, or stuck with a human
//! called; stuck is tried on, slowly, since the human may be asleep and the balancer may come back.

use std::time::Duration;

use super::turn::Turn;
use crate::command::Command;
use crate::cutover::{Cutover, Phase, Write};
use crate::event::{Reading, Retry};
use crate::units::{Generation, Share};

/// How many believed reads may miss a restore before it is written again.
pub(super) const READS_PER_RESTORE: u32 = 2;
/// How many writes and reads there must have been before patience may end: with a clock alone, a daemon that slept
/// through the deadline would give up without having looked.
pub(super) const TRIES_MIN: u32 = 3;
/// The pause between two tries when stuck.
pub(super) const STUCK_PAUSE: Duration = Duration::from_secs(10);

/// Reverts.
pub(super) fn begin(turn: &mut Turn, kind: &str, text: impl Into<String>) {
    let text = text.into();
    turn.next.standing = None;
    turn.next.halt = None;
    turn.next.gates.clear();
    let Some(original) = turn.next.original.clone().filter(|_| turn.next.generation > Generation::default()) else {
        turn.next.write = None;
        turn.next.desired = turn.next.original.as_ref().map_or(Share::NONE, |original| original.share);
        turn.enter(Phase::Reverted, kind, format!("{text}; nothing was ever written, so nothing is put back"));
        return;
    };
    turn.next.desired = original.share;
    turn.enter(Phase::Reverting { attempts: 0, reads: 0 }, kind, text);
    restore(turn);
    let close = turn.next.policy.revert.close_connections;
    if close > Duration::ZERO {
        turn.commands.push(Command::CloseConnections { until: turn.now.plus(close) });
    }
}

/// Writes the original once.
pub(super) fn restore(turn: &mut Turn) {
    let Some(original) = turn.next.original.clone() else { return };
    match &mut turn.next.phase {
        Phase::Reverting { attempts, reads } | Phase::Stuck { attempts, reads } => {
            *attempts = attempts.saturating_add(1);
            *reads = 0;
        }
        _ => return,
    }
    // A write under way may land after this one. It is not waited for: the reads after the settle time and the ones of
    // the time of re-assertion find it.
    let failed = turn.next.write.as_ref().and_then(|write| write.failed.clone());
    turn.drop_write();
    let generation = turn.next.generation.next();
    turn.next.generation = generation;
    turn.next.write =
        Some(Write { generation, share: original.share, asked: turn.now, answered: None, probed: false, failed });
    turn.next.budgets.write = Duration::ZERO;
    // Nothing of this turn may go before it, and nothing that it contradicts may be carried out at all.
    turn.commands.retain(|command| !matches!(command, Command::Write { .. } | Command::Arm { .. }));
    turn.commands.insert(0, Command::Restore { action: original.action.clone(), generation });
}

/// Whether a read shows the recorded original, whole and everywhere.
pub(super) fn original_shown(cutover: &Cutover, reading: &Reading) -> bool {
    original_read(cutover, reading) && reading.disagreeing.is_empty()
}

/// Whether what answered has the recorded original, whole. Some parts of the balancer may not have answered.
pub(super) fn original_read(cutover: &Cutover, reading: &Reading) -> bool {
    cutover
        .original
        .as_ref()
        .is_some_and(|original| original.share == reading.share && original.action == reading.action)
}

/// A believed read while the original is, or should be, back.
pub(super) fn read(turn: &mut Turn, reading: &Reading) {
    let shown = original_shown(&turn.next, reading);
    match turn.next.phase.clone() {
        Phase::Reverting { attempts, reads } | Phase::Stuck { attempts, reads } => {
            if shown {
                turn.next.write = None;
                turn.next.budgets.reassert = Duration::ZERO;
                let share = turn.next.desired;
                turn.enter(
                    Phase::Reverted,
                    "reverted",
                    format!("the recorded original is back, confirmed: the target has {share}"),
                );
                return;
            }
            let reads = reads.saturating_add(1);
            let stuck = matches!(turn.next.phase, Phase::Stuck { .. });
            turn.next.phase =
                if stuck { Phase::Stuck { attempts, reads } } else { Phase::Reverting { attempts, reads } };
            let what = missing(&turn.next, reading);
            if reads >= READS_PER_RESTORE && !stuck {
                turn.because("restore_again", format!("{what} after {reads} reads; it is written again"));
                restore(turn);
            } else {
                turn.note("not_yet", what);
            }
        }
        Phase::Reverted if !shown && turn.next.original.is_some() && turn.next.generation > Generation::default() => {
            let text = format!("after the revert {}; the original is written again", missing(&turn.next, reading));
            turn.enter(Phase::Reverting { attempts: 0, reads: 0 }, "revert_undone", text);
            restore(turn);
        }
        _ => {}
    }
}

/// What a read shows in place of the original.
fn missing(cutover: &Cutover, reading: &Reading) -> String {
    if !reading.disagreeing.is_empty() {
        return format!("{} do not have the original", reading.disagreeing.join(", "));
    }
    if reading.share == cutover.desired {
        return "the share is the original one, but the rest of the action is not".to_owned();
    }
    format!("the target has {} and not {}", reading.share, cutover.desired)
}

/// A restore failed.
pub(super) fn failed(turn: &mut Turn, retry: Retry, error: &str) {
    turn.next.budgets.write = Duration::ZERO;
    if let Some(write) = &mut turn.next.write {
        write.answered.get_or_insert(turn.now);
        write.failed = Some(error.to_owned());
    }
    match (turn.next.phase.clone(), retry) {
        (Phase::Reverting { attempts, reads }, Retry::Never) => {
            turn.enter(
                Phase::Stuck { attempts, reads },
                "revert_refused",
                format!("the balancer refuses to put back the original: {error}"),
            );
        }
        (_, _) => turn.note("restore_unknown", format!("putting back the original failed, or is late: {error}")),
    }
}

/// What time brings: patience ends, and stuck is tried again.
pub(super) fn follow(turn: &mut Turn) {
    match turn.next.phase.clone() {
        Phase::Reverting { attempts, reads } => {
            let deadline = turn.next.policy.revert.deadline;
            if turn.next.budgets.phase >= deadline && attempts.saturating_add(reads) >= TRIES_MIN {
                let read = turn.next.configured.as_ref().filter(|reading| reading.begun >= turn.next.since);
                let seen = read.map(|reading| format!(": {}", missing(&turn.next, reading)));
                // The same person who is told that it is not back wants to know what kept it.
                let failed = turn.next.write.as_ref().and_then(|write| write.failed.as_ref());
                let failed = failed.map(|error| format!("; the last answer was a failure: {error}"));
                turn.enter(
                    Phase::Stuck { attempts, reads },
                    "revert_unconfirmed",
                    format!(
                        "the original could not be confirmed within {} s, after {attempts} writes{}{}; a human must look",
                        deadline.as_secs(),
                        seen.unwrap_or_default(),
                        failed.unwrap_or_default()
                    ),
                );
            } else if turn.next.write.as_ref().is_none_or(|write| write.answered.is_some())
                && (turn.next.write.is_none() || reads >= READS_PER_RESTORE)
            {
                restore(turn);
            }
        }
        Phase::Stuck { reads, .. } => {
            let answered = turn.next.write.as_ref().is_none_or(|write| write.answered.is_some());
            let missed = turn.next.write.is_none() || reads >= 1;
            if answered && missed && turn.next.budgets.write >= STUCK_PAUSE {
                turn.note("stuck_retry", "the original is written again");
                restore(turn);
            }
        }
        _ => {}
    }
}
