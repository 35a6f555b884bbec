//! Drift: a believed read shows a share that is not ours.
//!
//! A balancer without conditional writes lets anyone write at any time. What a read shows is ours when it is what we
//! want, or what an attempt of unknown outcome would leave behind; everything else is somebody else's. A change that
//! was undone between two reads cannot be seen by anyone.
//!
//! A fight with another controller ends: each share that is answered is counted, whatever the policy, and neither a
//! confirmed write nor an adoption resets the count. Only evidence that earns more does, or an operator who goes on.

use std::sync::Arc;

use super::turn::Turn;
use super::{bake, count, order, preflight, revert, shift};
use crate::cutover::{Cutover, HaltKind, Phase};
use crate::event::Reading;
use crate::policy::{BalancerPolicy, DriftPolicy};
use crate::units::{Generation, Share};

/// Whether `share` cannot be from us: neither wanted, nor late, nor the original, nor a step that was earned.
pub(super) fn foreign(cutover: &Cutover, share: Share) -> bool {
    let steps = &cutover.policy.shift.steps;
    let ours = share == cutover.desired
        || cutover.late.contains(&share)
        || cutover.original.as_ref().is_some_and(|original| original.share == share)
        || steps.iter().any(|step| *step == share && !share.raises(cutover.earned));
    !ours
}

/// Compares a believed read with what we want, outside of a move.
pub(super) fn check(turn: &mut Turn) {
    let Some(reading) = turn.next.configured.clone() else { return };
    if turn.next.generation == Generation::default() {
        before_start(turn, &reading);
        return;
    }
    if reading.share == turn.next.desired {
        if turn.next.halt.as_ref().is_some_and(|halt| halt.kind == HaltKind::Drift) {
            turn.next.halt = None;
            turn.because("drift_over", format!("the balancer gives the target {} again", reading.share));
        }
        return;
    }
    if revert::original_read(&turn.next, &reading) {
        original_back(turn);
        return;
    }
    if turn.next.late.contains(&reading.share) {
        let what = format!("an attempt of ours landed late: the target has {}", reading.share);
        rewrite(turn, "late_write", &what, "ours is written again");
        return;
    }
    found(turn, reading.share);
}

/// A read before our first write. Until we write, the original is what stands: a changed stickiness must survive a
/// revert, too. With other weights the checks and the record no longer speak of what stands.
pub(super) fn before_start(turn: &mut Turn, reading: &Reading) {
    let original = turn.next.original.as_deref();
    if original.is_some_and(|original| original.share != reading.share) {
        changed_before_start(turn, reading.share);
    } else if original.is_none_or(|original| original.action != reading.action) {
        turn.next.original = Some(Arc::new(reading.clone()));
    }
}

/// The weights were changed before our first write: what is recorded as the original is none any more.
fn changed_before_start(turn: &mut Turn, share: Share) {
    let had = turn.next.original.as_ref().map_or(Share::NONE, |original| original.share);
    let text = format!(
        "the weights were changed before our first write: the target has {share} and had {had}; preflight again{}",
        another(&turn.next)
    );
    order::disarm(turn);
    preflight::begin(turn, "changed_before_start", text);
}

/// Who it may have been, where a second daemon can drive the same listener and nothing but this finds it.
fn another(cutover: &Cutover) -> &'static str {
    match cutover.policy.balancer {
        BalancerPolicy::Alb { .. } if cutover.policy.lease.is_none() => {
            " (another machine's Tidegate, if there is one: `lease.table` lets one of them write)"
        }
        _ => "",
    }
}

/// The recorded original is back, whole, and no entry of ours says so: a revert by hand, a shot of the proxies that
/// nobody has heard of yet, or our own revert in a time in which the journal could not be written. To write over a
/// revert is for a person, whatever the policy says about drift.
pub(super) fn original_back(turn: &mut Turn) {
    let desired = turn.next.desired;
    let text = format!(
        "the recorded original is back, and this cutover did not put it there; ours was {desired}. `advance` goes on \
         with it, `revert` ends the cutover"
    );
    halt(turn, text);
}

/// Someone else gave the target `share`.
pub(super) fn found(turn: &mut Turn, share: Share) {
    let desired = turn.next.desired;
    let what = format!("someone else gave the target {share}; ours was {desired}{}", another(&turn.next));
    match turn.next.policy.drift {
        DriftPolicy::Halt => halt(turn, what),
        DriftPolicy::Enforce => rewrite(turn, "drift_enforced", &what, "ours is written again"),
        DriftPolicy::Adopt => adopt(turn, share, &what),
    }
}

/// Counts one more answer to a share that is not ours; when there were too many, a human is called and nothing is
/// answered.
fn too_often(turn: &mut Turn, what: &str) -> bool {
    turn.next.drifts = turn.next.drifts.saturating_add(1);
    let most = turn.next.policy.shift.attempts_max;
    let over = turn.next.drifts > most;
    if over {
        halt(turn, format!("{what}; such a change was answered {most} times, so someone must decide who writes"));
    }
    over
}

fn halt(turn: &mut Turn, text: String) {
    turn.drop_write();
    turn.halt(HaltKind::Drift, text);
}

/// Writes ours again. Where that gives the target more than it has now, it is a rise, and waits for what a rise waits
/// for; somebody may have had a reason.
fn rewrite(turn: &mut Turn, kind: &str, what: &str, then: &str) {
    let desired = turn.next.desired;
    let withheld = bake::withheld(&turn.next, turn.now);
    if shift::raises(&turn.next, desired)
        && let Some(blocker) = withheld.first()
    {
        halt(turn, format!("{what}; {then}, but not now: {}", blocker.text));
        return;
    }
    if too_often(turn, what) {
        return;
    }
    let step = match turn.next.phase {
        // The step that stands is the one before the step that waits.
        Phase::Gated { step } => step.saturating_sub(1),
        _ => turn.next.step().unwrap_or(0),
    };
    shift::begin(turn, step, desired, kind, format!("{what}; {then}"));
}

/// Takes a foreign share as ours where evidence has earned as much; where it has not, ours is written again: a share
/// between the two would be a rise that passed no gate.
fn adopt(turn: &mut Turn, share: Share, what: &str) {
    let earned = turn.next.earned;
    let desired = turn.next.desired;
    if share.raises(earned) {
        let then = format!("evidence has earned {earned}, so it goes back to {desired}");
        rewrite(turn, "drift_limited", what, &then);
        return;
    }
    if too_often(turn, what) {
        return;
    }
    let step = turn.next.policy.shift.steps.iter().rposition(|step| !step.raises(share));
    turn.next.gates.clear();
    turn.drop_write();
    turn.next.desired = share;
    count::begin_step(&mut turn.next, turn.now);
    let text = format!("{what}; it is taken as ours and earns nothing");
    match step {
        Some(_) if share == Share::ALL => turn.enter(Phase::Draining, "drift_adopted", text),
        Some(step) => turn.enter(Phase::Baking { step }, "drift_adopted", text),
        None => turn.enter(Phase::Gated { step: 0 }, "drift_adopted", text),
    }
}
