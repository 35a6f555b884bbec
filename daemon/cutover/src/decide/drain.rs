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
        let who = if silent.is_zero() { bake::lags(cutover) } else { String::new() };
        let text = format!("the source has been silent for {} of {} s{who}", silent.as_secs(), quiet.as_secs());
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
        let alive = turn.next.evidence.observed.writes.last_target + turn.next.evidence.observed.reads.last_target;
        let text = format!(
            "the source has had no request for {silent} s, by counts in which the target had {alive} in the last interval; \
             it can be taken offline"
        );
        done(turn, "drained", text);
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

/// A person takes what still comes to the source as explained; whether there was nothing else to wait for.
pub(super) fn accept(turn: &mut Turn, who: &str) -> bool {
    let halted = turn.next.halt.as_ref().is_some_and(|halt| halt.kind == HaltKind::Drain);
    if turn.next.phase != Phase::Draining || !halted {
        return false;
    }
    let blockers = bake::blockers(&turn.next, turn.now);
    let Some(source) = blockers.first().filter(|_| blockers.iter().all(|left| left.kind == BlockerKind::Source)) else {
        return false;
    };
    let text = format!("{who}; {}", source.text);
    done(turn, "drain_accepted", text);
    true
}

fn done(turn: &mut Turn, kind: &str, text: String) {
    turn.next.halt = None;
    turn.next.armed = Armed::No;
    turn.enter(Phase::Done, kind, text);
    turn.commands.push(Command::Disarm);
}
