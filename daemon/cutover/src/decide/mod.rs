//! What follows from an event.
//!
//! [`decide`] is total and pure. Each decision is made in the same four moves: time passes ([`time`]), the event is
//! taken in by the concern it belongs to, what follows by itself is followed to its end, and people are told. The
//! concerns, each readable on its own: `order` (what people want), `preflight` (checks and baseline), `capture` (whether
//! writes may move), `gate`, `shift` (write and read back), `count` (intervals and the judge), `bake` (what stands between
//! now and the next rise), `drain`, `drift`, `lever` (settings beside the weights), `tripwire`, `revert`, `alert`, `outlook`, `wake`.
//!
//! For tests that must prove that they would catch a broken core, [`Core`] is the type of `decide`: a simulator runs any
//! function of that type, and a mutant is one that changes what goes into `decide` or what comes out (a read that
//! claims to be begun now, a swallowed `Journal` event, a dropped `Restore`). So the core that ships has no switches.

mod alert;
mod bake;
mod capture;
mod count;
mod drain;
mod drift;
mod gate;
mod lever;
mod order;
mod outlook;
mod preflight;
mod revert;
mod shift;
mod time;
mod tripwire;
mod turn;
mod wake;

#[cfg(test)]
mod tests;

use turn::Turn;

pub use count::{comparable, guards};

use crate::command::Command;
use crate::cutover::{Blocker, BlockerKind, Cutover, Phase};
use crate::event::{CommandKind, Event};
use crate::reason::Reason;
use crate::units::{Generation, Timestamp};

/// What to do, and why.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The cutover from now on.
    pub next: Cutover,
    /// What to carry out once `next` is on disk, in this order.
    pub commands: Vec<Command>,
    /// Why.
    pub reason: Reason,
    /// Whether an order was accepted; `true` for every other event. A refused order changes nothing, and `reason` says
    /// why.
    pub accepted: bool,
    /// Whether this must be an entry of the journal before its commands are carried out: something changed that a
    /// restart, an auditor or the dossier needs. Otherwise `next` only takes the place of the state kept last.
    pub journal: bool,
}

/// The type of [`decide`], so that a simulator can run a broken one.
pub type Core = fn(&Cutover, &Event, Timestamp) -> Decision;

/// How many transitions may follow from one event. The longest way is four: preflight, baseline of no length, a gated
/// step, the shift.
const TRANSITIONS_MAX: usize = 8;

/// Answers one event. Total: every phase has an answer to every event.
pub fn decide(cutover: &Cutover, event: &Event, now: Timestamp) -> Decision {
    let mut turn = Turn::new(cutover, now);
    if cutover.closed.is_none() || matches!(event, Event::Ordered(_)) {
        time::pass(&mut turn, event);
        take(&mut turn, event);
    } else {
        if matches!(event, Event::Restarted) {
            order::disarm(&mut turn);
        }
        turn.note("closed", "this cutover is closed; nothing happens to it any more");
    }
    if turn.accepted && turn.next.closed.is_none() {
        follow(&mut turn);
        ask(&mut turn);
    }
    turn.next.blockers = bake::blockers(&turn.next, now);
    turn.next.outlook = outlook::sentence(&turn.next);
    finish(turn, cutover, event)
}

/// Takes an event in.
fn take(turn: &mut Turn, event: &Event) {
    match event {
        Event::Ordered(order) => order::ordered(turn, order),
        Event::Tick => {}
        Event::Restarted => restarted(turn),
        Event::Checked { checks, begun } => preflight::checked(turn, checks, *begun),
        Event::Read(reading) => shift::read(turn, reading),
        Event::Written { generation, .. } => shift::written(turn, *generation),
        Event::Observed(observation) => count::observed(turn, observation),
        Event::Glanced(glance) => tripwire::glanced(turn, glance),
        Event::Health(health) => tripwire::health(turn, health),
        Event::Armed => shift::armed(turn),
        Event::Fired { why, at, .. } => tripwire::fired(turn, why, *at),
        Event::GateAnswered { gate, step, answer, begun } => gate::answered(turn, gate, *step, answer, *begun),
        Event::LeversRead { stands, begun } => lever::read(turn, stands, *begun),
        Event::LeverMoved { lever, value, begun } => lever::moved(turn, *lever, *value, *begun),
        Event::Failed { what, generation, retry, error, .. } => match what {
            CommandKind::Check => {
                turn.next.check_asked = None;
                turn.note("not_checked", format!("the checks could not be made: {error}"));
            }
            CommandKind::Read => shift::read_failed(turn, error),
            CommandKind::Write | CommandKind::Restore => shift::write_failed(turn, *what, *generation, *retry, error),
            CommandKind::Arm => shift::arm_failed(turn, error),
            CommandKind::Observe => count::failed(turn, *retry, error),
            CommandKind::Gate => gate::failed(turn, *retry, error),
            CommandKind::Lever if turn.next.levers.asked.is_none() => {
                turn.note("late_lever", "a failure about a setting came late");
            }
            CommandKind::Lever => lever::failed(turn, *retry, error),
        },
        Event::PolicyChanged { change } => {
            turn.next.policy_change.clone_from(change);
            match change {
                Some(change) => turn.note("policy_changed", format!("the policy file was changed: {change}")),
                None => turn.note("policy_unchanged", "the policy file says again what the cutover runs by"),
            }
        }
        Event::Journal { writable } => {
            turn.next.journal_writable = *writable;
            let text = if *writable { "the journal can be written again" } else { "the journal cannot be written" };
            turn.note(if *writable { "journal_writable" } else { "journal_unwritable" }, text);
        }
    }
}

/// The daemon came up: everything that was asked for is asked for again, at the same place.
fn restarted(turn: &mut Turn) {
    time::restarted(turn);
    lever::restarted(turn);
    if turn.next.closed.is_some() {
        return;
    }
    if turn.next.watched() && turn.next.generation > Generation::default() {
        match turn.next.phase {
            // What is being put back needs no arming, and shifting arms by itself before it writes.
            Phase::Reverting { .. } | Phase::Stuck { .. } | Phase::Reverted | Phase::Shifting { .. } => {}
            _ => shift::ask_arm(turn),
        }
    }
    match turn.next.phase {
        Phase::Reverting { .. } | Phase::Stuck { .. } => revert::restore(turn),
        Phase::Gated { .. } | Phase::Shifting { .. } => gate::ask_again(turn),
        // The daemon may have died between the entry and the call: a tripwire left armed would send clients back to a
        // source that was taken offline since.
        Phase::Done | Phase::Aborted => order::disarm(turn),
        _ => {}
    }
    if preflight::checks(&turn.next.phase) {
        turn.next.budgets.check = preflight::CHECK_EVERY;
    }
    if shift::reads(&turn.next) {
        shift::ask_read(turn);
    }
}

/// Follows what follows by itself, until nothing does.
fn follow(turn: &mut Turn) {
    for _ in 0..TRANSITIONS_MAX {
        let before = turn.next.phase.clone();
        shift::patience(turn);
        bake::timeouts(turn);
        match turn.next.phase {
            Phase::Preflight => preflight::follow(turn),
            Phase::Baseline => preflight::record(turn),
            Phase::Gated { step } => {
                gate::follow(turn);
                rise(turn, step);
            }
            Phase::Shifting { .. } => {
                gate::follow(turn);
                shift::go_on(turn);
            }
            Phase::Baking { .. } => bake::follow(turn),
            Phase::Draining => drain::follow(turn),
            Phase::Reverting { .. } | Phase::Stuck { .. } => revert::follow(turn),
            Phase::Pending | Phase::Done | Phase::Reverted | Phase::Aborted => {}
        }
        if turn.next.phase == before {
            return;
        }
    }
}

/// Takes the step that waits, when nothing is in its way: the one place where traffic rises. The proxies are armed here
/// and not on the way, since that may take as long as an interval, in which what earned the step may be gone.
fn rise(turn: &mut Turn, step: usize) {
    if turn.next.phase != (Phase::Gated { step }) {
        return;
    }
    match bake::blockers(&turn.next, turn.now).as_slice() {
        [] => {}
        [Blocker { kind: BlockerKind::Armed, .. }] => {
            if shift::arm(turn) {
                turn.because("arming", "the proxies are told to put the original share back when a tripwire fires");
            }
            return;
        }
        _ => return,
    }
    let share = turn.step_share(step);
    // Evidence earned this step when it entered the gate; an adopted policy may have moved the ladder since.
    if share.raises(turn.next.earned) && step > 0 {
        turn.note("not_earned", format!("{share} is more than evidence has earned ({})", turn.next.earned));
        return;
    }
    let had = turn.next.desired;
    shift::begin(turn, step, share, "step_begins", format!("step {}: {had} -> {share}", step + 1));
}

/// Asks for what is due.
fn ask(turn: &mut Turn) {
    preflight::ask(turn);
    shift::ask(turn);
    count::ask(turn);
    lever::ask(turn);
}

/// Says why, tells people, asks for the next look, and says what must be journalled.
fn finish(mut turn: Turn, before: &Cutover, event: &Event) -> Decision {
    turn.note("nothing", "nothing follows");
    let mut changed = turn.accepted && changes(before, &turn.next);
    let reason = turn.reason.clone().unwrap_or_else(|| before.reason.clone());
    if changed {
        turn.next.reason = reason.clone();
    }
    if turn.accepted {
        alert::sync(&mut turn);
    }
    let told = turn.commands.iter().find_map(|command| match command {
        Command::Alert(alert) => Some(alert.clone()),
        _ => None,
    });
    // Where telling people is all that follows, what they are told is the reason.
    let reason = match told {
        Some(alert) if !changed => Reason::new("told", format!("{}: {}", alert.title, alert.text)),
        _ => reason,
    };
    changed |= turn.commands.iter().any(|command| match command {
        Command::Write { .. }
        | Command::Restore { .. }
        | Command::Arm { .. }
        | Command::Disarm
        | Command::AskGate { .. }
        | Command::CloseConnections { .. }
        | Command::SetLever { .. }
        | Command::Alert(_) => true,
        Command::Check | Command::Read | Command::ReadLevers | Command::Observe(_) | Command::WakeAt(_) => false,
    });
    if turn.next.closed.is_none() {
        wake::ask(&mut turn);
    }
    let journal = changed || matches!(event, Event::Ordered(_) | Event::Restarted | Event::Fired { .. });
    Decision { next: turn.next, commands: turn.commands, reason, accepted: turn.accepted, journal }
}

/// Whether what a restart, an auditor or the dossier needs has changed. Evidence, ages and budgets are not among it:
/// they change with each event and overwrite themselves.
fn changes(before: &Cutover, next: &Cutover) -> bool {
    before.phase != next.phase
        || before.desired != next.desired
        || before.earned != next.earned
        || before.generation != next.generation
        || before.original != next.original
        || before.armed != next.armed
        || before.standing != next.standing
        || before.halt != next.halt
        || before.gates != next.gates
        || before.late != next.late
        || before.stepped_back != next.stepped_back
        || before.journal_writable != next.journal_writable
        || before.policy_change != next.policy_change
        || before.levers.pulled != next.levers.pulled
        || before.closed != next.closed
        || before.checks.iter().map(|check| check.outcome).ne(next.checks.iter().map(|check| check.outcome))
}
