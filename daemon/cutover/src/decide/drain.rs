//! Draining: the target has everything, and the source must really fall silent.
//!
//! Silence is proven by counted intervals in which the source had no request, one after the other; an interval that
//! could not be counted proves nothing and begins the silence anew.

use super::turn::Turn;
use super::{bake, revert};
use crate::command::Command;
use crate::cutover::{Armed, Blocker, BlockerKind, Cutover, HaltKind, Phase};
use crate::policy::DrainTimeout;

/// The source, as a blocker of done.
pub(super) fn blockers(cutover: &Cutover, blockers: &mut Vec<Blocker>) {
    let quiet = cutover.policy.drain.quiet;
    let silent = cutover.evidence.source_silent;
    if silent < quiet {
        let text = format!("the source has been silent for {} of {} s", silent.as_secs(), quiet.as_secs());
        blockers.push(bake::blocker(BlockerKind::Source, text));
    }
}

/// Done when the source is silent and everything agrees; otherwise the time-out acts.
pub(super) fn follow(turn: &mut Turn) {
    if turn.next.phase != Phase::Draining {
        return;
    }
    let blockers = bake::blockers(&turn.next, turn.now);
    if blockers.is_empty() {
        let silent = turn.next.evidence.source_silent.as_secs();
        done(turn, "drained", format!("the source has had no request for {silent} s; it can be taken offline"));
        return;
    }
    if turn.next.budgets.phase < turn.next.policy.drain.timeout {
        return;
    }
    let text = format!(
        "the source was not drained within {} s: {}",
        turn.next.policy.drain.timeout.as_secs(),
        blockers[0].text
    );
    match turn.next.policy.drain.on_timeout {
        DrainTimeout::Hold => turn.halt(HaltKind::Drain, text),
        // What still comes to the source is accepted; that something else is unknown is not.
        DrainTimeout::Accept if blockers.iter().all(|blocker| blocker.kind == BlockerKind::Source) => {
            done(turn, "drain_accepted", format!("{text}; the policy accepts that"));
        }
        DrainTimeout::Accept => turn.halt(HaltKind::Drain, text),
        DrainTimeout::Revert => revert::begin(turn, "drain_timeout", text),
    }
}

fn done(turn: &mut Turn, kind: &str, text: String) {
    turn.next.halt = None;
    turn.next.armed = Armed::No;
    turn.enter(Phase::Done, kind, text);
    turn.commands.push(Command::Disarm);
}
