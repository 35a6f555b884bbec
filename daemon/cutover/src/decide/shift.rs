//! Moving a share: arm, write, read back; and believing what is read.
//!
//! A write is believed only when a read that was *begun* after its answer and the settle time shows it. The answer of a
//! write says that it was taken, its failure says nothing, and a read begun earlier may have seen the world before it.

use std::sync::Arc;
use std::time::Duration;

use super::turn::Turn;
use super::{bake, capture, count, drift, gate, revert};
use crate::command::Command;
use crate::cutover::{Armed, Cutover, HaltKind, Phase, Write};
use crate::event::{CommandKind, Reading, Retry};
use crate::policy::BalancerPolicy;
use crate::units::{Generation, Share, Timestamp};

/// How long the answer to a write is waited for before its outcome counts as unknown. The shell has a deadline of its
/// own, well within this; here it is the last resort.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_mins(1);
/// How long the answer to a read is waited for before it is asked for again.
pub(super) const READ_PATIENCE: Duration = Duration::from_secs(15);
/// How many believed reads may miss a write before it is written again.
pub(super) const READS_PER_WRITE: u32 = 3;
/// The pause before a read is asked for again where a rise waits for a fresh one.
pub(super) const FRESH_PAUSE: Duration = Duration::from_millis(500);
/// The pause after a failed arming.
pub(super) const ARM_PAUSE: Duration = Duration::from_secs(2);
/// How many reads may fail or stay away, in pauses of [`read_every`], before the balancer counts as unread.
pub(super) const READS_MISSED_MAX: u32 = 3;

/// The pause between two reads.
pub(super) fn read_every(cutover: &Cutover) -> Duration {
    match cutover.phase {
        Phase::Stuck { .. } => revert::STUCK_PAUSE,
        _ => cutover.policy.shift.interval.clamp(Duration::from_millis(500), Duration::from_secs(10)),
    }
}

/// Whether the balancer is read again and again now.
pub(super) fn reads(cutover: &Cutover) -> bool {
    match cutover.phase {
        Phase::Preflight | Phase::Baseline | Phase::Gated { .. } | Phase::Baking { .. } | Phase::Draining => true,
        // While a write is under way or settles, a read would say nothing.
        Phase::Shifting { .. } | Phase::Reverting { .. } | Phase::Stuck { .. } => {
            cutover.write.as_ref().is_none_or(|write| write.probed)
        }
        Phase::Reverted => cutover.closed.is_none() && cutover.budgets.reassert < cutover.policy.revert.reassert,
        Phase::Pending | Phase::Done | Phase::Aborted => false,
    }
}

/// Reads the balancer when that is due.
pub(super) fn ask(turn: &mut Turn) {
    let settle = turn.next.policy.shift.settle;
    if let Some(write) = &mut turn.next.write
        && let Some(answered) = write.answered
        && !write.probed
        && turn.now >= answered.plus(settle)
    {
        write.probed = true;
        ask_read(turn);
        return;
    }
    if !reads(&turn.next) {
        return;
    }
    let waited = turn.next.budgets.read;
    let due = match turn.next.read_asked {
        Some(_) if waited >= READ_PATIENCE => {
            // A read that nobody answers is one that did not show the original.
            if let Phase::Reverting { reads, .. } | Phase::Stuck { reads, .. } = &mut turn.next.phase {
                *reads = reads.saturating_add(1);
            }
            true
        }
        Some(_) => false,
        None => {
            waited >= read_every(&turn.next)
                || (!turn.next.reread && fresh_needed(&turn.next.phase) && waited >= FRESH_PAUSE)
        }
    };
    if due {
        ask_read(turn);
    }
}

/// Whether the phase waits for a read of its own and should not wait for the next turn of it.
const fn fresh_needed(phase: &Phase) -> bool {
    matches!(phase, Phase::Gated { .. })
}

/// Reads the balancer.
pub(super) fn ask_read(turn: &mut Turn) {
    turn.next.read_asked = Some(turn.now);
    turn.next.budgets.read = Duration::ZERO;
    turn.commands.push(Command::Read);
}

/// Begins to move to `share` as step `step`.
pub(super) fn begin(turn: &mut Turn, step: usize, share: Share, kind: &str, text: String) {
    turn.drop_write();
    turn.next.desired = share;
    turn.next.halt = None;
    gate::begin(turn, step);
    turn.enter(Phase::Shifting { step, attempts: 0, reads: 0 }, kind, text);
    go_on(turn);
}

/// Whether giving the target `share` may give it more than it has. What is not known counts as nothing.
pub(super) fn raises(cutover: &Cutover, share: Share) -> bool {
    let has = cutover.configured.as_ref().map_or(Share::NONE, |reading| reading.share);
    share.raises(has)
}

/// Whether our proxies must be armed before the target is given `share`.
pub(super) fn unarmed(cutover: &Cutover, share: Share) -> bool {
    !cutover.policy.tripwires.is_empty() && cutover.armed != Armed::Yes && raises(cutover, share)
}

/// Arms our proxies, unless that was asked for or failed a moment ago; whether it is asked for now.
pub(super) fn arm(turn: &mut Turn) -> bool {
    let waited = turn.next.budgets.write;
    let due = match turn.next.armed {
        Armed::No => turn.next.budgets.phase == Duration::ZERO || waited >= ARM_PAUSE,
        Armed::Asked { .. } => waited >= WRITE_PATIENCE,
        Armed::Yes => false,
    };
    if due {
        ask_arm(turn);
    }
    due
}

/// Arms our proxies with the original share, where there is something to arm.
pub(super) fn ask_arm(turn: &mut Turn) {
    if turn.next.policy.tripwires.is_empty() {
        return;
    }
    let share = turn.next.original.as_ref().map_or(Share::NONE, |original| original.share);
    turn.next.armed = Armed::Asked { at: turn.now };
    turn.next.budgets.write = Duration::ZERO;
    turn.commands.push(Command::Arm { tripwires: turn.next.policy.tripwires.clone(), share });
}

/// Whether nothing keeps the desired share from being written but what is asked last: gates whose answers age, and capture.
pub(super) fn due(cutover: &Cutover, now: Timestamp) -> bool {
    let Phase::Shifting { attempts, .. } = cutover.phase else { return false };
    if cutover.write.is_some() || cutover.halt.is_some() {
        return false;
    }
    if !raises(cutover, cutover.desired) {
        return true;
    }
    // A rise is written only on a balancer that was read: after a restart that read has to come first.
    let Some(reading) = &cutover.configured else { return false };
    bake::withheld(cutover, now).is_empty()
        && bake::checks_pass(cutover)
        && (attempts > 0 || reading.disagreeing.is_empty())
}

/// Does what comes next in shifting: arm, if that was not done at the gate, then write.
pub(super) fn go_on(turn: &mut Turn) {
    let Phase::Shifting { step, attempts, .. } = turn.next.phase else { return };
    let now = turn.now;
    if !due(&turn.next, now) || gate::waiting(&turn.next, now).is_some() || capture::stale(&turn.next, now) {
        return;
    }
    if unarmed(&turn.next, turn.next.desired) {
        arm(turn);
        return;
    }
    write(turn, step, attempts);
}

/// Writes the desired share once.
fn write(turn: &mut Turn, step: usize, attempts: u32) {
    let share = turn.next.desired;
    let generation = turn.next.generation.next();
    turn.next.generation = generation;
    turn.next.write = Some(Write { generation, share, asked: turn.now, answered: None, probed: false, failed: None });
    turn.next.budgets.write = Duration::ZERO;
    turn.next.phase = Phase::Shifting { step, attempts: attempts.saturating_add(1), reads: 0 };
    if attempts == 0 {
        let shift = &turn.next.policy.shift;
        let until = turn.now.plus(shift.settle).plus(shift.warm_up);
        turn.next.evidence.unjudged_until = turn.next.evidence.unjudged_until.max(until);
    }
    if share.writes > crate::Weight::NONE && turn.next.writes_since.is_none() {
        turn.next.writes_since = Some(turn.now);
    }
    turn.commands.push(Command::Write { share, generation });
}

/// The proxies hold the armed revert.
pub(super) fn armed(turn: &mut Turn) {
    if matches!(turn.next.armed, Armed::Asked { .. }) {
        turn.next.armed = Armed::Yes;
        let text = match turn.next.policy.balancer {
            BalancerPolicy::Listener { .. } => {
                "the proxies put the original share back by themselves when a tripwire fires"
            }
            BalancerPolicy::Alb { .. } => {
                "the original is recorded; a load balancer puts nothing back by itself, so a revert is this daemon's"
            }
        };
        turn.because("armed", text);
    } else {
        turn.note("armed_late", "the proxies were armed when nothing waited for it");
    }
}

/// Arming or disarming failed.
pub(super) fn arm_failed(turn: &mut Turn, error: &str) {
    if matches!(turn.next.armed, Armed::Asked { .. }) {
        turn.next.armed = Armed::No;
        turn.next.budgets.write = Duration::ZERO;
        turn.because("not_armed", format!("the proxies could not be armed, so nothing rises: {error}"));
    } else {
        turn.note("not_disarmed", format!("the proxies could not be disarmed: {error}"));
    }
}

/// A write or restore was acknowledged.
pub(super) fn written(turn: &mut Turn, generation: Generation) {
    match &mut turn.next.write {
        Some(write) if write.generation == generation => {
            write.answered.get_or_insert(turn.now);
            write.failed = None;
            turn.next.budgets.write = Duration::ZERO;
            turn.note("written", format!("write {} was taken; a read after the settle time decides", generation.0));
        }
        _ => turn.note("late_answer", format!("write {} is of no interest any more", generation.0)),
    }
}

/// A write or restore failed, or nobody knows whether it did.
pub(super) fn write_failed(
    turn: &mut Turn,
    what: CommandKind,
    generation: Option<Generation>,
    retry: Retry,
    error: &str,
) {
    let current = turn.next.write.as_ref().is_some_and(|write| generation.is_none_or(|g| g == write.generation));
    if !current {
        turn.note("late_failure", format!("a write of no interest any more failed: {error}"));
        return;
    }
    match (turn.next.phase.clone(), retry) {
        (Phase::Shifting { .. }, Retry::Never) => {
            turn.next.write = None;
            let share = turn.next.desired;
            turn.halt(HaltKind::Write, format!("the balancer refuses to give the target {share}: {error}"));
        }
        (Phase::Reverting { .. } | Phase::Stuck { .. }, _) => revert::failed(turn, retry, error),
        (_, _) => {
            outcome_unknown(turn);
            turn.note("write_unknown", format!("{what:?} failed and may have been done all the same: {error}"));
        }
    }
}

/// Nobody knows what became of the write: it may land at any time, and a read tells whether it has.
fn outcome_unknown(turn: &mut Turn) {
    if let Some(write) = &mut turn.next.write {
        write.answered.get_or_insert(turn.now);
        let share = write.share;
        turn.next.budgets.write = Duration::ZERO;
        turn.remember_late(share);
    }
}

/// Gives up waiting for an answer that does not come.
pub(super) fn patience(turn: &mut Turn) {
    let unanswered = turn.next.write.as_ref().is_some_and(|write| write.answered.is_none());
    if unanswered && turn.next.budgets.write >= WRITE_PATIENCE {
        outcome_unknown(turn);
        turn.note("write_unknown", format!("no answer to a write for {} s", WRITE_PATIENCE.as_secs()));
    }
}

/// Reading the balancer failed.
pub(super) fn read_failed(turn: &mut Turn, error: &str) {
    turn.next.read_asked = None;
    if let Phase::Reverting { reads, .. } | Phase::Stuck { reads, .. } = &mut turn.next.phase {
        *reads = reads.saturating_add(1);
    }
    turn.note("not_read", format!("the balancer could not be read: {error}"));
}

/// The balancer was read.
pub(super) fn read(turn: &mut Turn, reading: &Reading) {
    let settle = turn.next.policy.shift.settle;
    turn.next.read_asked = None;
    let older = turn.next.configured.as_ref().is_some_and(|last| reading.begun < last.begun);
    if reading.begun > turn.now || older {
        turn.note("stale_read", "an older read came late, or claims to be of the future");
        return;
    }
    if let Some(write) = &turn.next.write
        && write.answered.is_none_or(|answered| reading.begun < answered.plus(settle))
    {
        turn.note("early_read", format!("the read was begun before write {} had settled", write.generation.0));
        return;
    }
    turn.next.configured = Some(Arc::new(reading.clone()));
    turn.next.budgets.unread = Duration::ZERO;
    if reading.begun >= turn.next.since {
        turn.next.reread = true;
    }
    match turn.next.phase {
        Phase::Baseline | Phase::Gated { .. } | Phase::Baking { .. } | Phase::Draining => drift::check(turn),
        Phase::Shifting { .. } => shown(turn, reading),
        Phase::Reverting { .. } | Phase::Stuck { .. } | Phase::Reverted => revert::read(turn, reading),
        Phase::Pending | Phase::Preflight | Phase::Done | Phase::Aborted => {}
    }
    turn.note("read", format!("the balancer gives the target {}", reading.share));
}

/// A believed read while a share is being moved.
fn shown(turn: &mut Turn, reading: &Reading) {
    let Phase::Shifting { step, attempts, reads } = turn.next.phase else { return };
    if turn.next.generation == Generation::default() {
        drift::before_start(turn, reading);
        return;
    }
    let desired = turn.next.desired;
    // With no write under way (it was given up, refused, or asked by a daemon that is gone) an attempt of ours may have
    // landed all the same; it must have settled, too, before the read was begun.
    let begun_ago = turn.now.since(reading.begun);
    let settled =
        turn.next.write.is_some() || turn.next.budgets.write >= turn.next.policy.shift.settle.saturating_add(begun_ago);
    if reading.share == desired && reading.disagreeing.is_empty() && attempts > 0 && settled {
        confirmed(turn, step);
        return;
    }
    // The first step begins at the original; where a later one finds it with no write of ours under way, someone has
    // reverted.
    if step > 0 && turn.next.write.is_none() && reading.share != desired && revert::original_read(&turn.next, reading) {
        drift::original_back(turn);
        return;
    }
    if reading.share != desired && drift::foreign(&turn.next, reading.share) {
        drift::found(turn, reading.share);
        return;
    }
    if turn.next.write.is_none() {
        return;
    }
    let reads = reads.saturating_add(1);
    turn.next.phase = Phase::Shifting { step, attempts, reads };
    let what = if reading.disagreeing.is_empty() {
        format!("the balancer gives the target {} and not {desired}", reading.share)
    } else {
        format!("{} do not have {desired} yet", reading.disagreeing.join(", "))
    };
    if reads < READS_PER_WRITE {
        turn.note("not_yet", format!("{what}; read {reads} of {READS_PER_WRITE}"));
        return;
    }
    turn.drop_write();
    if attempts >= turn.next.policy.shift.attempts_max {
        turn.halt(HaltKind::Write, format!("{what}, after {attempts} writes with {READS_PER_WRITE} reads each"));
    } else {
        turn.because("write_again", format!("{what} after {reads} reads; it is written again"));
    }
}

/// The balancer shows what we want.
fn confirmed(turn: &mut Turn, step: usize) {
    let desired = turn.next.desired;
    turn.next.write = None;
    turn.next.halt = None;
    turn.next.gates.clear();
    count::begin_step(&mut turn.next, turn.now);
    if desired == Share::ALL {
        let close = turn.next.policy.drain.close_connections;
        if close > Duration::ZERO {
            turn.commands.push(Command::CloseConnections { until: turn.now.plus(close) });
        }
        turn.enter(
            Phase::Draining,
            "weight_confirmed",
            "the target has everything, confirmed; the source must fall silent",
        );
    } else if turn.step_share(step).raises(desired) {
        // Less than the lowest step was adopted and written again: that is no step, and earns none.
        turn.enter(
            Phase::Gated { step },
            "weight_confirmed",
            format!("the target has {desired}, confirmed; that is less than step {}", step + 1),
        );
        ask_read(turn);
    } else {
        turn.enter(
            Phase::Baking { step },
            "weight_confirmed",
            format!("step {}: the target has {desired}, confirmed; evidence gathers", step + 1),
        );
    }
}
