//! Gates: what outside must say yes before a step.
//!
//! They are asked in the order of the policy, one at a time, each once for a step; only "later" and a restart make it
//! be asked again. Judging goes on all the while, with the authority to revert.
//!
//! A gate whose answer ages ([`GateKind::ages`]) is asked when nothing else is in the way, and its yes is believed for
//! [`FRESH`]; a share that is written once more asks it once more. What a person or a time-out opens stays open.

use std::time::Duration;

use super::turn::Turn;
use super::{bake, revert, shift};
use crate::command::Command;
use crate::cutover::{Blocker, BlockerKind, Cutover, GateState, Phase};
use crate::event::{GateAnswer, Retry};
use crate::policy::{Gate, GateBefore, GateKind, GateTimeout};
use crate::units::{Share, Timestamp, Weight};

/// The pause before a gate that said "later", or failed, is asked again.
pub(super) const GATE_PAUSE: Duration = Duration::from_secs(10);
/// How long ago a gate whose answer ages may have been asked for its yes to be believed. Above what asking takes at most
/// together with the look at capture that follows it, so that one does not wait for the other in turns.
pub(super) const FRESH: Duration = Duration::from_secs(30);

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

/// Which gates are waited for.
type Concerned = fn(&Gate) -> bool;

/// The step whose gates are waited for now. A share that is to be written once more waits for those alone whose answers
/// age: the others were open when the step began.
fn place(cutover: &Cutover) -> Option<(usize, Concerned)> {
    match cutover.phase {
        Phase::Gated { step } => Some((step, |_| true)),
        Phase::Shifting { step, .. } if shift::raises(cutover, cutover.desired) => {
            Some((step, |gate| gate.kind.ages()))
        }
        Phase::Pending
        | Phase::Preflight
        | Phase::Baseline
        | Phase::Shifting { .. }
        | Phase::Baking { .. }
        | Phase::Draining
        | Phase::Done
        | Phase::Reverting { .. }
        | Phase::Reverted
        | Phase::Aborted
        | Phase::Stuck { .. } => None,
    }
}

/// The first gate that is not open.
pub(super) fn waiting(cutover: &Cutover, now: Timestamp) -> Option<&Gate> {
    let (step, concerned) = place(cutover)?;
    let gates = cutover.policy.gates.iter().filter(|gate| concerned(gate) && applies(cutover, gate, step));
    gates.into_iter().find(|gate| !is_open(cutover.gates.get(&gate.name), now))
}

/// Whether a gate is open: it was opened, and not too long ago where that counts.
fn is_open(gate: Option<&GateState>, now: Timestamp) -> bool {
    match gate {
        // What claims to be of the future was asked by another clock.
        Some(GateState::Open { asked: Some(asked), .. }) => *asked <= now && now.since(*asked) <= FRESH,
        Some(GateState::Open { asked: None, .. }) => true,
        Some(GateState::Asked { .. } | GateState::Later { .. } | GateState::Shut { .. }) | None => false,
    }
}

/// Forgets every yes that ages: by this clock nobody can say how old it is.
pub(super) fn forget(cutover: &mut Cutover) {
    cutover.gates.retain(|_, gate| !matches!(gate, GateState::Open { asked: Some(_), .. }));
}

/// A step begins to move its share: of its gates those stay open that are asked again should it be written again.
pub(super) fn begin(turn: &mut Turn, step: usize) {
    let rises = turn.next.phase == (Phase::Gated { step });
    let policy = turn.next.policy.clone();
    let ages = |name: &str| policy.gates.iter().any(|gate| gate.name == name && gate.kind.ages());
    turn.next.gates.retain(|name, gate| rises && ages(name) && matches!(gate, GateState::Open { .. }));
}

/// The gate that is not open, as a blocker.
pub(super) fn blockers(cutover: &Cutover, now: Timestamp) -> Vec<Blocker> {
    let Some(gate) = waiting(cutover, now) else { return Vec::new() };
    let text = match (cutover.gates.get(&gate.name), &gate.kind) {
        (Some(GateState::Shut { why }), _) => format!("gate `{}` is shut: {why}; `advance` goes on", gate.name),
        (_, GateKind::Manual) => format!("gate `{}` waits for a person: `advance` opens it", gate.name),
        (Some(GateState::Later { why, .. }), _) => format!("gate `{}` says later{}", gate.name, because(why)),
        (Some(GateState::Asked { .. }), _) => format!("gate `{}` is asked", gate.name),
        (Some(GateState::Open { .. }) | None, _) if gate.kind.ages() => {
            format!("gate `{}` is asked once nothing else is in the way", gate.name)
        }
        (Some(GateState::Open { .. }) | None, _) => format!("gate `{}` is asked", gate.name),
    };
    vec![bake::blocker(BlockerKind::Gate, text)]
}

/// Whether nothing but gates is in the way.
fn alone(cutover: &Cutover, now: Timestamp) -> bool {
    match cutover.phase {
        Phase::Shifting { .. } => shift::due(cutover, now),
        _ => bake::blockers(cutover, now).iter().all(|blocker| blocker.kind == BlockerKind::Gate),
    }
}

/// Whether the time-out of the gate that is asked runs: not while one whose answer ages cannot be asked.
pub(super) fn timed(cutover: &Cutover) -> bool {
    // A share is written once more whatever the data say.
    let passed = |kind| matches!(kind, BlockerKind::Gate | BlockerKind::Data);
    let alone = cutover.blockers.iter().all(|blocker| passed(blocker.kind));
    cutover.gates.iter().any(|(name, state)| {
        let ages = || cutover.policy.gates.iter().any(|gate| gate.name == *name && gate.kind.ages());
        matches!(state, GateState::Asked { .. } | GateState::Later { .. }) && (alone || !ages())
    })
}

/// What is told behind "later".
fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(": {why}") }
}

/// Asks the next gate, and lets time-outs act.
pub(super) fn follow(turn: &mut Turn) {
    let now = turn.now;
    let Some((step, gate)) = turn.next.step().zip(waiting(&turn.next, now).cloned()) else { return };
    let early = gate.kind.ages() && !alone(&turn.next, now);
    match turn.next.gates.get(&gate.name) {
        // Nobody is bothered for a step that somebody holds.
        None if turn.next.standing.is_some() || turn.next.halt.is_some() => {}
        None | Some(GateState::Open { .. }) if !early => {
            turn.next.budgets.gate = Duration::ZERO;
            ask(turn, &gate, step);
        }
        Some(GateState::Asked { .. } | GateState::Later { .. }) if turn.next.budgets.gate >= gate.timeout => {
            timed_out(turn, &gate);
        }
        Some(GateState::Later { again, .. }) if now >= *again && !early => ask(turn, &gate, step),
        Some(GateState::Asked { .. } | GateState::Later { .. } | GateState::Open { .. } | GateState::Shut { .. })
        | None => {}
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
            let open = GateState::Open { by: "its time-out".to_owned(), asked: None };
            turn.next.gates.insert(gate.name.clone(), open);
            turn.because("gate_timeout", format!("{text}; the policy goes on as if it had said yes"));
        }
        GateTimeout::Revert => revert::begin(turn, "gate_timeout", text),
    }
}

/// A gate answered what it was asked at `begun`.
pub(super) fn answered(turn: &mut Turn, name: &str, step: usize, answer: &GateAnswer, begun: Timestamp) {
    let gate = turn.next.policy.gates.iter().find(|gate| gate.name == name);
    // A manual gate is opened by an order, with who and why, and by nothing else.
    let manual = gate.is_some_and(|gate| gate.kind == GateKind::Manual);
    let ages = gate.is_some_and(|gate| gate.kind.ages());
    let here = place(&turn.next).is_some_and(|(waits, _)| waits == step);
    let asked = here && !manual && matches!(turn.next.gates.get(name), Some(GateState::Asked { .. }));
    if !asked {
        turn.note("late_gate", format!("gate `{name}` answered when nobody waited for it"));
        return;
    }
    let (state, kind, text) = match answer {
        GateAnswer::Yes => {
            let open = GateState::Open { by: "its answer".to_owned(), asked: ages.then_some(begun) };
            (open, "gate_open", format!("gate `{name}` said yes"))
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
    let Some(gate) = waiting(&turn.next, turn.now).cloned() else { return false };
    let shut = matches!(turn.next.gates.get(&gate.name), Some(GateState::Shut { .. }));
    if gate.kind != GateKind::Manual && !shut {
        return false;
    }
    turn.next.gates.insert(gate.name, GateState::Open { by: actor.to_owned(), asked: None });
    true
}

/// After a restart a gate that was asked is asked again: the answer went to a daemon that is gone. One whose answer ages
/// is asked as soon as nothing else is in the way.
pub(super) fn ask_again(turn: &mut Turn) {
    let Some((step, gate)) = turn.next.step().zip(waiting(&turn.next, turn.now).cloned()) else { return };
    if matches!(turn.next.gates.get(&gate.name), Some(GateState::Asked { .. } | GateState::Later { .. })) {
        if gate.kind.ages() {
            let later = GateState::Later { again: turn.now, why: String::new() };
            turn.next.gates.insert(gate.name, later);
        } else {
            ask(turn, &gate, step);
        }
    }
}
