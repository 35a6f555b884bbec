//! Gates: what outside must say yes before a step.
//!
//! They are asked in the order of the policy, one at a time, each once for a step; only "later" and a restart make it
//! be asked again. Judging goes on all the while, with the authority to revert.

use std::time::Duration;

use super::turn::Turn;
use super::{bake, revert};
use crate::command::Command;
use crate::cutover::{Blocker, BlockerKind, Cutover, GateState, Phase};
use crate::event::{GateAnswer, Retry};
use crate::policy::{Gate, GateBefore, GateKind, GateTimeout};
use crate::units::{Share, Weight};

/// The pause before a gate that said "later", or failed, is asked again.
pub(super) const GATE_PAUSE: Duration = Duration::from_secs(10);

/// Whether a gate is asked before a step.
pub(super) fn applies(cutover: &Cutover, gate: &Gate, step: usize) -> bool {
    let steps = &cutover.policy.shift.steps;
    let this = steps.get(step).copied().unwrap_or(Share::ALL);
    let before = step.checked_sub(1).and_then(|before| steps.get(before)).copied().unwrap_or(Share::NONE);
    match gate.before {
        GateBefore::EachStep => true,
        GateBefore::Weight(weight) => this.reads.max(this.writes) >= weight && before.reads.max(before.writes) < weight,
        GateBefore::Writes => this.writes > Weight::NONE && before.writes == Weight::NONE,
        GateBefore::EachWrites => this.writes > before.writes,
    }
}

/// The first gate of a step that is not open.
pub(super) fn waiting(cutover: &Cutover, step: usize) -> Option<&Gate> {
    cutover
        .policy
        .gates
        .iter()
        .filter(|gate| applies(cutover, gate, step))
        .find(|gate| !matches!(cutover.gates.get(&gate.name), Some(GateState::Open { .. })))
}

/// The gates that are not open, as blockers.
pub(super) fn blockers(cutover: &Cutover, step: usize) -> Vec<Blocker> {
    let Some(gate) = waiting(cutover, step) else { return Vec::new() };
    let text = match (cutover.gates.get(&gate.name), &gate.kind) {
        (Some(GateState::Shut { why }), _) => format!("gate `{}` is shut: {why}; `advance` goes on", gate.name),
        (_, GateKind::Manual) => format!("gate `{}` waits for a person: `advance` opens it", gate.name),
        (Some(GateState::Later { why, .. }), _) => format!("gate `{}` says later{}", gate.name, because(why)),
        (_, _) => format!("gate `{}` is asked", gate.name),
    };
    vec![bake::blocker(BlockerKind::Gate, text)]
}

/// What is told behind "later".
fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(": {why}") }
}

/// Asks the next gate, and lets time-outs act.
pub(super) fn follow(turn: &mut Turn) {
    let Phase::Gated { step } = turn.next.phase else { return };
    let Some(gate) = waiting(&turn.next, step).cloned() else { return };
    let now = turn.now;
    match turn.next.gates.get(&gate.name) {
        // Nobody is bothered for a step that somebody holds.
        None if turn.next.standing.is_some() || turn.next.halt.is_some() => {}
        None => {
            turn.next.budgets.gate = Duration::ZERO;
            ask(turn, &gate, step);
        }
        Some(GateState::Asked { .. } | GateState::Later { .. }) if turn.next.budgets.gate >= gate.timeout => {
            timed_out(turn, &gate);
        }
        Some(GateState::Later { again, .. }) if now >= *again => ask(turn, &gate, step),
        Some(GateState::Asked { .. } | GateState::Later { .. } | GateState::Open { .. } | GateState::Shut { .. }) => {}
    }
}

fn ask(turn: &mut Turn, gate: &Gate, step: usize) {
    turn.next.gates.insert(gate.name.clone(), GateState::Asked { at: turn.now });
    match gate.kind {
        GateKind::Manual => turn.note("gate_waits", format!("gate `{}` waits for a person", gate.name)),
        GateKind::Command { .. } | GateKind::Webhook { .. } | GateKind::Backfill { .. } | GateKind::ReplayLag(_) => {
            turn.commands.push(Command::AskGate { gate: gate.name.clone(), step });
            turn.note("gate_asked", format!("gate `{}` is asked", gate.name));
        }
    }
}

fn timed_out(turn: &mut Turn, gate: &Gate) {
    let text = format!("gate `{}` did not answer within {} s", gate.name, gate.timeout.as_secs());
    match gate.on_timeout {
        GateTimeout::Hold => {
            turn.next.gates.insert(gate.name.clone(), GateState::Shut { why: text.clone() });
            turn.because("gate_timeout", text);
        }
        GateTimeout::Continue => {
            turn.next.gates.insert(gate.name.clone(), GateState::Open { by: "its time-out".to_owned() });
            turn.because("gate_timeout", format!("{text}; the policy goes on as if it had said yes"));
        }
        GateTimeout::Revert => revert::begin(turn, "gate_timeout", text),
    }
}

/// A gate answered.
pub(super) fn answered(turn: &mut Turn, name: &str, step: usize, answer: &GateAnswer) {
    // A manual gate is opened by an order, with who and why, and by nothing else.
    let manual = turn.next.policy.gates.iter().any(|gate| gate.name == name && gate.kind == GateKind::Manual);
    let here = turn.next.phase == (Phase::Gated { step });
    let asked = here && !manual && matches!(turn.next.gates.get(name), Some(GateState::Asked { .. }));
    if !asked {
        turn.note("late_gate", format!("gate `{name}` answered when nobody waited for it"));
        return;
    }
    let (state, kind, text) = match answer {
        GateAnswer::Yes => {
            (GateState::Open { by: "its answer".to_owned() }, "gate_open", format!("gate `{name}` said yes"))
        }
        GateAnswer::Later { why } => (
            GateState::Later { again: turn.now.plus(GATE_PAUSE), why: why.clone() },
            "gate_later",
            format!("gate `{name}` said later{}; it is asked again", because(why)),
        ),
        GateAnswer::No { why } => {
            (GateState::Shut { why: why.clone() }, "gate_shut", format!("gate `{name}` said no: {why}"))
        }
    };
    turn.next.gates.insert(name.to_owned(), state);
    turn.because(kind, text);
}

/// Asking a gate failed. One gate is asked at a time, so it is the one that waits.
pub(super) fn failed(turn: &mut Turn, retry: Retry, error: &str) {
    let asked = turn.next.gates.iter().find(|(_, gate)| matches!(gate, GateState::Asked { .. }));
    let Some(name) = asked.map(|(name, _)| name.clone()) else {
        turn.note("late_failure", "asking a gate failed when nobody waited for it");
        return;
    };
    let text = format!("gate `{name}` could not be asked: {error}");
    let state = match retry {
        Retry::Later => GateState::Later { again: turn.now.plus(GATE_PAUSE), why: error.to_owned() },
        Retry::Never => GateState::Shut { why: text.clone() },
    };
    turn.next.gates.insert(name, state);
    turn.because("gate_failed", text);
}

/// A person opens what waits for one: a manual gate, or one that is shut. Returns whether there was any.
pub(super) fn open(turn: &mut Turn, actor: &str) -> bool {
    let Phase::Gated { step } = turn.next.phase else { return false };
    let Some(gate) = waiting(&turn.next, step).cloned() else { return false };
    let shut = matches!(turn.next.gates.get(&gate.name), Some(GateState::Shut { .. }));
    if gate.kind != GateKind::Manual && !shut {
        return false;
    }
    turn.next.gates.insert(gate.name, GateState::Open { by: actor.to_owned() });
    true
}

/// After a restart a gate that was asked is asked again: the answer went to a daemon that is gone.
pub(super) fn ask_again(turn: &mut Turn) {
    let Phase::Gated { step } = turn.next.phase else { return };
    let Some(gate) = waiting(&turn.next, step).cloned() else { return };
    if matches!(turn.next.gates.get(&gate.name), Some(GateState::Asked { .. } | GateState::Later { .. })) {
        ask(turn, &gate, step);
    }
}
