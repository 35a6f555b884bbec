//! Orders: what a person, a job or the policy wants, each with who and why.
//!
//! An order that makes no sense where the cutover is changes nothing, and the reason says what would.

use std::sync::Arc;

use judge::Baseline;

use super::turn::Turn;
use super::{count, drain, gate, lever, preflight, revert, shift};
use crate::command::Command;
use crate::cutover::{Armed, HaltKind, Phase, Standing, StandingKind};
use crate::event::{Order, Verb};
use crate::policy::Policy;
use crate::units::Generation;

/// Somebody ordered something.
pub(super) fn ordered(turn: &mut Turn, order: &Order) {
    if turn.next.closed.is_some() {
        turn.refuse("this cutover is closed; nothing can be ordered any more");
        return;
    }
    match &order.verb {
        Verb::Start => start(turn, order),
        Verb::Advance => advance(turn, order),
        Verb::Hold => stand(turn, order, StandingKind::Hold),
        Verb::Pause => stand(turn, order, StandingKind::Pause),
        Verb::Resume { adopt_policy } => resume(turn, order, adopt_policy.as_deref()),
        Verb::Revert => revert_(turn, order),
        Verb::Abort => abort(turn, order),
        Verb::Close => close(turn, order),
    }
}

fn says(order: &Order, what: &str) -> String {
    format!("{} {what}: {}", order.actor, order.reason)
}

fn start(turn: &mut Turn, order: &Order) {
    if turn.next.phase != Phase::Pending {
        turn.refuse(format!("it was started already and is in `{}`", turn.next.phase.name()));
        return;
    }
    if turn.next.policy.shift.steps.is_empty() {
        turn.refuse("this policy only captures: it has no steps to take");
        return;
    }
    turn.next.started = turn.now;
    preflight::begin(turn, "started", says(order, "started the cutover"));
}

fn advance(turn: &mut Turn, order: &Order) {
    if drain::accept(turn, &says(order, "takes what still comes to the source as explained")) {
        return;
    }
    if turn.next.halt.as_ref().is_some_and(|halt| halt.kind != HaltKind::Start) {
        end_halt(turn);
        turn.because("advanced", says(order, "ended the halt"));
        return;
    }
    if gate::open(turn, &order.actor) {
        turn.because("advanced", says(order, "opened the gate"));
        return;
    }
    turn.refuse("nothing waits for a person; traffic rises on evidence");
}

/// Ends a halt: budgets begin anew, and what could not be written is tried again.
fn end_halt(turn: &mut Turn) {
    let halt = turn.next.halt.take();
    turn.next.budgets.hold = std::time::Duration::ZERO;
    turn.next.budgets.bake = std::time::Duration::ZERO;
    turn.next.drifts = 0;
    if halt.as_ref().is_some_and(|halt| halt.kind == HaltKind::Drain) {
        turn.next.budgets.phase = std::time::Duration::ZERO;
    }
    if let Phase::Shifting { attempts, .. } = &mut turn.next.phase {
        *attempts = 0;
        return;
    }
    // After a drift, going on means that ours holds again.
    let desired = turn.next.desired;
    let drifted = turn.next.configured.as_ref().is_some_and(|reading| reading.share != desired);
    if drifted && halt.is_some_and(|halt| halt.kind == HaltKind::Drift) {
        let step = match turn.next.phase {
            Phase::Gated { step } => step.saturating_sub(1),
            _ => turn.next.step().unwrap_or(0),
        };
        shift::begin(turn, step, desired, "drift_enforced", format!("{desired} is written again"));
    }
}

fn stand(turn: &mut Turn, order: &Order, kind: StandingKind) {
    match turn.next.phase {
        Phase::Preflight
        | Phase::Baseline
        | Phase::Gated { .. }
        | Phase::Shifting { .. }
        | Phase::Baking { .. }
        | Phase::Draining => {}
        Phase::Reverting { .. } | Phase::Stuck { .. } => {
            turn.refuse("a revert is under way and is not held; `abort` leaves the weight where it is");
            return;
        }
        Phase::Pending | Phase::Done | Phase::Reverted | Phase::Aborted => {
            turn.refuse(format!("nothing is under way: it is in `{}`", turn.next.phase.name()));
            return;
        }
    }
    if turn.next.standing.as_ref().is_some_and(|standing| standing.kind == kind) {
        turn.refuse("that is ordered already; `resume` ends it");
        return;
    }
    turn.next.standing =
        Some(Standing { kind, actor: order.actor.clone(), reason: order.reason.clone(), since: turn.now });
    match kind {
        StandingKind::Hold => turn.because("held", says(order, "holds it here; judging goes on")),
        StandingKind::Pause => turn.because("paused", says(order, "pauses it; judging goes on, budgets stand still")),
    }
}

fn resume(turn: &mut Turn, order: &Order, adopt: Option<&Policy>) {
    if adopt.is_none() && turn.next.standing.is_none() && turn.next.halt.is_none() {
        turn.refuse("it is neither held nor paused nor halted");
        return;
    }
    if let Some(policy) = adopt
        && let Err(why) = adopt_policy(turn, policy)
    {
        turn.refuse(why);
        return;
    }
    turn.next.standing = None;
    if turn.next.halt.as_ref().is_some_and(|halt| halt.kind != HaltKind::Start) {
        end_halt(turn);
    }
    turn.because("resumed", says(order, if adopt.is_some() { "resumes with the new policy" } else { "resumes" }));
}

/// Goes on by another policy. The place on the ladder is the last step that gives the target no more than it has; the
/// evidence begins anew, since its questions may have changed; what is earned stays.
fn adopt_policy(turn: &mut Turn, policy: &Policy) -> Result<(), String> {
    let next = &turn.next;
    if policy.service != next.policy.service {
        return Err(format!("the policy is for `{}` and the cutover for `{}`", policy.service, next.policy.service));
    }
    if policy.balancer != next.policy.balancer
        || policy.source != next.policy.source
        || policy.target != next.policy.target
    {
        return Err("balancer and sides cannot change under way; revert or abort, and start anew".to_owned());
    }
    if policy.shift.steps.is_empty() {
        return Err("the new policy has no steps".to_owned());
    }
    let desired = next.desired;
    let place = policy.shift.steps.iter().rposition(|step| !step.raises(desired));
    let phase = match next.phase {
        Phase::Pending | Phase::Preflight | Phase::Baseline | Phase::Draining => next.phase.clone(),
        Phase::Gated { step: 0 } => Phase::Gated { step: 0 },
        Phase::Gated { .. } | Phase::Baking { .. } => {
            place.map_or(Phase::Gated { step: 0 }, |step| Phase::Baking { step })
        }
        Phase::Shifting { .. } => {
            return Err("a share is being moved; wait until it is confirmed, or hold first".to_owned());
        }
        Phase::Done | Phase::Reverting { .. } | Phase::Reverted | Phase::Aborted | Phase::Stuck { .. } => {
            return Err(format!("it is in `{}`, where a policy decides nothing any more", next.phase.name()));
        }
    };
    turn.next.policy = Arc::new(policy.clone());
    turn.next.policy_change = None;
    turn.next.gates.clear();
    turn.next.stepped_back.clear();
    turn.next.since = turn.now;
    turn.next.phase = phase;
    if let Some(baseline) = turn.next.evidence.baseline.clone() {
        turn.next.evidence.judge = Some(count::new_judge(policy, Baseline::clone(&baseline)));
        turn.next.evidence.judgement = None;
        count::begin_step(&mut turn.next, turn.now);
    }
    // The new tripwires are armed in place of the old ones; where there are none, the old ones must not stay.
    if turn.next.armed != Armed::No {
        if policy.tripwires.is_empty() {
            disarm(turn);
        } else {
            shift::ask_arm(turn);
        }
    }
    Ok(())
}

fn revert_(turn: &mut Turn, order: &Order) {
    match turn.next.phase {
        Phase::Pending => turn.refuse("nothing was started, so nothing can be reverted"),
        Phase::Reverted => turn.refuse("it is reverted already"),
        Phase::Reverting { .. } => turn.refuse("it is being reverted already"),
        // Abort is latched: whoever ordered it has the weights in their own hands, and a late revert would take them.
        Phase::Aborted => turn.refuse("it was aborted, so the weights are no longer ours; set them at the balancer"),
        Phase::Preflight
        | Phase::Baseline
        | Phase::Gated { .. }
        | Phase::Shifting { .. }
        | Phase::Baking { .. }
        | Phase::Draining
        | Phase::Done
        | Phase::Stuck { .. } => {
            let price = crate::price(&turn.next, turn.now);
            revert::begin(turn, "revert_ordered", format!("{}; {}", says(order, "reverts"), price.text));
        }
    }
}

fn abort(turn: &mut Turn, order: &Order) {
    match turn.next.phase {
        Phase::Done | Phase::Reverted | Phase::Aborted => {
            turn.refuse(format!("it has ended: it is in `{}`", turn.next.phase.name()));
            return;
        }
        Phase::Pending
        | Phase::Preflight
        | Phase::Baseline
        | Phase::Gated { .. }
        | Phase::Shifting { .. }
        | Phase::Baking { .. }
        | Phase::Draining
        | Phase::Reverting { .. }
        | Phase::Stuck { .. } => {}
    }
    turn.drop_write();
    turn.next.standing = None;
    turn.next.halt = None;
    turn.next.gates.clear();
    let text = match &turn.next.configured {
        Some(reading) => format!("the target keeps the {} it had when last read", reading.share),
        None => "the weight stays what it is".to_owned(),
    };
    turn.enter(Phase::Aborted, "aborted", format!("{}; {text}", says(order, "aborts")));
    disarm(turn);
}

fn close(turn: &mut Turn, order: &Order) {
    let watched = turn.next.policy.revert.reassert.saturating_sub(turn.next.budgets.reassert);
    match turn.next.phase {
        // Nobody would put the original back once more when it does.
        Phase::Reverted if !watched.is_zero() && may_land(turn) => turn.refuse(format!(
            "a write of ours that was given up may still land, and the original is put back if it does: close it in {} s",
            watched.as_secs() + 1
        )),
        Phase::Done | Phase::Reverted | Phase::Aborted => {
            if let Some(why) = lever::holds_open(&turn.next) {
                turn.refuse(why);
                return;
            }
            turn.next.closed = Some(order.clone());
            let left = lever::left(&turn.next);
            turn.because("closed", says(order, &format!("closed it; nothing can be reverted any more{left}")));
            disarm(turn);
        }
        Phase::Stuck { .. } => turn.refuse("the original is not confirmed; `abort` it first if that is taken care of"),
        Phase::Pending
        | Phase::Preflight
        | Phase::Baseline
        | Phase::Gated { .. }
        | Phase::Shifting { .. }
        | Phase::Baking { .. }
        | Phase::Draining
        | Phase::Reverting { .. } => turn.refuse("it has not ended; `revert` or `abort` it first"),
    }
}

/// Whether an attempt of ours that was given up would change what stands.
fn may_land(turn: &Turn) -> bool {
    turn.next.late.iter().any(|share| *share != turn.next.desired)
}

/// Takes the arming back from our own proxies. What this cutover knows of it is not asked: a restart forgets it and the
/// proxies do not, and to disarm twice harms nothing.
pub(super) fn disarm(turn: &mut Turn) {
    let written = turn.next.generation > Generation::default() && !turn.next.policy.tripwires.is_empty();
    if turn.next.armed != Armed::No || written {
        turn.next.armed = Armed::No;
        turn.commands.push(Command::Disarm);
    }
}
