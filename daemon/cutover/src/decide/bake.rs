//! Baking: what stands between now and the next rise, and what a spent budget does.
//!
//! [`blockers`] is the one list of conditions. A step ends when it is empty, a budget runs while something unknown is
//! in it, and the screen shows it as it is: there is no second opinion anywhere on why traffic does not rise.

use std::time::Duration;

use judge::{Act, AlarmKind, Verdict};

use super::turn::Turn;
use super::{capture, drain, gate, lever, preflight, revert, shift};
use crate::cutover::{Blocker, BlockerKind, Cutover, HaltKind, Phase, StandingKind};
use crate::event::{About, Check, CheckOutcome};
use crate::lag;
use crate::policy::{BalancerPolicy, OnTimeout, OnUnknown};
use crate::units::{Share, Timestamp};
use crate::windows::{Opening, opening};

/// After how many intervals without an answer the data counts as late, beside [`DATA_GRACE`].
pub(super) const INTERVALS_MISSED_MAX: u32 = 3;
/// What an answer may take beyond that.
pub(super) const DATA_GRACE: Duration = Duration::from_secs(5);

/// What withholds any rise, evidence or not: a halt, an operator, the journal, the calendar.
pub(super) fn withheld(cutover: &Cutover, now: Timestamp) -> Vec<Blocker> {
    let mut blockers = stays(cutover);
    if !cutover.journal_writable {
        blockers.push(blocker(BlockerKind::Journal, "the journal cannot be written, so nothing rises"));
    }
    match opening(&cutover.policy.windows, now) {
        Opening::Open => {}
        Opening::Frozen => blockers.push(blocker(BlockerKind::Window, "changes are frozen")),
        Opening::Closed { until: Some(until) } => blockers.push(blocker(
            BlockerKind::Window,
            format!("outside of the change windows of {}; the next opens at {until}", cutover.policy.windows.zone),
        )),
        Opening::Closed { until: None } => blockers.push(blocker(
            BlockerKind::Window,
            format!("outside of the change windows of {}, and none opens soon", cutover.policy.windows.zone),
        )),
    }
    blockers
}

/// What keeps a cutover on its step: a halt or an operator.
fn stays(cutover: &Cutover) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    if let Some(halt) = &cutover.halt {
        blockers.push(blocker(BlockerKind::Halt, halt.text.clone()));
    }
    if let Some(standing) = &cutover.standing {
        let verb = match standing.kind {
            StandingKind::Hold => "held",
            StandingKind::Pause => "paused",
        };
        let text = format!("{verb} by {} since {}: {}", standing.actor, standing.since, standing.reason);
        blockers.push(blocker(BlockerKind::Standing, text));
    }
    blockers
}

/// What stands between now and the next phase.
pub(super) fn blockers(cutover: &Cutover, now: Timestamp) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    match cutover.phase {
        Phase::Preflight => {
            blockers.extend(stays(cutover));
            checks(cutover, &mut blockers);
            capture::blockers(cutover, &mut blockers);
            lever::blockers(cutover, &mut blockers);
            configured(cutover, None, &mut blockers);
        }
        Phase::Baseline => {
            blockers.extend(stays(cutover));
            checks(cutover, &mut blockers);
            configured(cutover, Some(cutover.desired), &mut blockers);
            recorded(cutover, &mut blockers);
            last_interval(cutover, &mut blockers);
        }
        Phase::Gated { step } => {
            blockers.extend(withheld(cutover, now));
            blockers.extend(gate::blockers(cutover, now));
            checks(cutover, &mut blockers);
            capture::blockers(cutover, &mut blockers);
            lever::blockers(cutover, &mut blockers);
            configured(cutover, Some(cutover.desired), &mut blockers);
            data(cutover, &mut blockers);
            if step > 0 {
                proven(cutover, &mut blockers);
            } else {
                last_interval(cutover, &mut blockers);
            }
            if blockers.is_empty() && capture::stale(cutover, now) {
                blockers.push(looked_at());
            }
            if blockers.is_empty() && shift::unarmed(cutover, cutover.step_share(step)) {
                blockers.push(blocker(BlockerKind::Armed, "the proxies do not hold the armed revert yet"));
            }
        }
        Phase::Shifting { .. } => {
            if shift::raises(cutover, cutover.desired) {
                blockers.extend(withheld(cutover, now));
                checks(cutover, &mut blockers);
                capture::blockers(cutover, &mut blockers);
                if cutover.write.is_none() {
                    blockers.extend(gate::blockers(cutover, now));
                }
                if capture::awaited(cutover, now) {
                    blockers.push(looked_at());
                }
            } else {
                blockers.extend(stays(cutover));
            }
            moving(cutover, &mut blockers);
            data(cutover, &mut blockers);
        }
        Phase::Baking { .. } => {
            blockers.extend(stays(cutover));
            checks(cutover, &mut blockers);
            configured(cutover, Some(cutover.desired), &mut blockers);
            data(cutover, &mut blockers);
            proven(cutover, &mut blockers);
        }
        Phase::Draining => {
            // A halt calls a human and stops nothing here: the source may still fall silent by itself.
            blockers.extend(stays(cutover).into_iter().filter(|blocker| blocker.kind != BlockerKind::Halt));
            checks(cutover, &mut blockers);
            configured(cutover, Some(cutover.desired), &mut blockers);
            data(cutover, &mut blockers);
            drain::blockers(cutover, &mut blockers);
        }
        Phase::Pending
        | Phase::Done
        | Phase::Reverting { .. }
        | Phase::Reverted
        | Phase::Aborted
        | Phase::Stuck { .. } => {}
    }
    blockers
}

/// A look at capture is under way.
fn looked_at() -> Blocker {
    blocker(BlockerKind::Capture, "capture is being looked at afresh, before writes are moved")
}

pub(super) fn blocker(kind: BlockerKind, text: impl Into<String>) -> Blocker {
    Blocker { kind, text: text.into() }
}

/// Whether the checks passed, and not long ago.
pub(super) fn checks_pass(cutover: &Cutover) -> bool {
    let mut blockers = Vec::new();
    checks(cutover, &mut blockers);
    capture::blockers(cutover, &mut blockers);
    blockers.is_empty()
}

/// The checks, but for those on capture: passed, and not long ago.
fn checks(cutover: &Cutover, blockers: &mut Vec<Blocker>) {
    if cutover.checks.is_empty() {
        blockers.push(blocker(BlockerKind::Checks, "the checks have not been made yet"));
    } else if cutover.checked.is_none() {
        let text = "the checks have not been made since the daemon came up, or its clock was set back";
        blockers.push(blocker(BlockerKind::Checks, text));
    } else if cutover.budgets.unchecked > preflight::CHECKS_AGE_MAX {
        let text = format!("the last checks are {} s old", cutover.budgets.unchecked.as_secs());
        blockers.push(blocker(BlockerKind::Checks, text));
    }
    for check in cutover.checks.iter().filter(|check| check.about == About::Fleet && check.outcome.stops()) {
        blockers.push(blocker(BlockerKind::Checks, told(check)));
    }
}

/// What a check says that stands in the way.
pub(super) fn told(check: &Check) -> String {
    let what = if check.outcome == CheckOutcome::Unknown { "could not be made" } else { "fails" };
    let fix = if check.fix.is_empty() { String::new() } else { format!("; {}", check.fix) };
    format!("check `{}` {what}: {}{fix}", check.name, check.evidence)
}

/// The balancer: read lately, by all of its parts, and as we want it.
fn configured(cutover: &Cutover, desired: Option<Share>, blockers: &mut Vec<Blocker>) {
    let kind = BlockerKind::Configured;
    let Some(reading) = &cutover.configured else {
        blockers.push(blocker(kind, "the balancer has not been read yet"));
        return;
    };
    let age_max = shift::read_every(cutover) * shift::READS_MISSED_MAX + DATA_GRACE;
    if cutover.budgets.unread > age_max {
        let text = format!("the balancer was last read {} s ago", cutover.budgets.unread.as_secs());
        blockers.push(blocker(kind, text));
    } else if !cutover.reread && matches!(cutover.phase, Phase::Preflight | Phase::Gated { .. }) {
        blockers.push(blocker(kind, "the balancer is being read afresh"));
    }
    if !reading.disagreeing.is_empty() {
        let text = format!("{} do not have {}, or did not answer", reading.disagreeing.join(", "), reading.share);
        blockers.push(blocker(kind, text));
    }
    if let Some(desired) = desired
        && reading.share != desired
    {
        let text = format!("the balancer gives the target {} and not {desired}", reading.share);
        blockers.push(blocker(kind, text));
    }
}

/// A share on its way.
fn moving(cutover: &Cutover, blockers: &mut Vec<Blocker>) {
    let desired = cutover.desired;
    // What holds the write is said, and is known: this is not.
    let held = |blocker: &Blocker| matches!(blocker.kind, BlockerKind::Gate | BlockerKind::Capture);
    if cutover.write.is_none() && !blockers.is_empty() && blockers.iter().all(held) {
        return;
    }
    let text = match &cutover.write {
        None => format!("{desired} is not written"),
        Some(write) if write.answered.is_none() => format!("{desired} is being written"),
        Some(_) => format!("{desired} is written and not confirmed by a read yet"),
    };
    blockers.push(blocker(BlockerKind::Configured, text));
}

/// The data: an interval came lately, and to this daemon.
fn data(cutover: &Cutover, blockers: &mut Vec<Blocker>) {
    if !cutover.evidence.fresh {
        blockers.push(blocker(BlockerKind::Data, "no interval was counted since the daemon came up"));
        return;
    }
    let age_max = cutover.policy.shift.interval * INTERVALS_MISSED_MAX + cutover.policy.metrics.late() + DATA_GRACE;
    if cutover.budgets.silence > age_max {
        let text = format!("no interval was counted for {} s", cutover.budgets.silence.as_secs());
        blockers.push(blocker(BlockerKind::Data, text));
    }
}

/// The baseline: long enough.
fn recorded(cutover: &Cutover, blockers: &mut Vec<Blocker>) {
    let record = cutover.recording();
    let recorded = cutover.evidence.recorded;
    if recorded < record {
        let text = format!("{} of {} s of the source are recorded", recorded.as_secs(), record.as_secs());
        blockers.push(blocker(BlockerKind::Baseline, text));
    }
}

/// The evidence of the step that stands: long enough, enough requests, the share seen in them, every guard satisfied.
fn proven(cutover: &Cutover, blockers: &mut Vec<Blocker>) {
    let shift = &cutover.policy.shift;
    let evidence = &cutover.evidence;
    if evidence.baked < shift.bake_min {
        let left = shift.bake_min.saturating_sub(evidence.baked);
        blockers.push(blocker(BlockerKind::Bake, format!("{} s of the bake are left", left.as_secs_f64().ceil())));
    }
    let observed = &evidence.observed;
    for (class, name, weight) in
        [(&observed.reads, "reads", cutover.desired.reads), (&observed.writes, "writes", cutover.desired.writes)]
    {
        if !class.agrees(weight, shift.share_tolerance) {
            let text = format!(
                "the target has {:.1} % of {} {name} ({:.1} % of the last {}), not {weight}",
                100.0 * class.share().unwrap_or(0.0),
                class.both,
                100.0 * class.last_target as f64 / (class.last_both.max(1)) as f64,
                class.last_both,
            );
            let text = format!("{text}{}", lags(cutover));
            blockers.push(blocker(BlockerKind::Observed, text));
        }
    }
    let requests = observed.reads.target.saturating_add(observed.writes.target);
    // Without a single request nothing is proven, whatever the policy asks for.
    let requests_min = shift.requests_min.max(1);
    if requests < requests_min {
        let text = format!("the target has had {requests} of {requests_min} requests on this step");
        blockers.push(blocker(BlockerKind::Requests, text));
    }
    judged(cutover, blockers);
}

/// Why a share lags, as far as the checks tell: our own proxies split each request, so there is nothing to look for there.
pub(super) fn lags(cutover: &Cutover) -> String {
    match cutover.policy.balancer {
        BalancerPolicy::Listener { .. } => String::new(),
        BalancerPolicy::Alb { .. } => format!("; {}", lag::told(&cutover.checks)),
    }
}

/// What the judge says, guard by guard.
fn judged(cutover: &Cutover, blockers: &mut Vec<Blocker>) {
    let Some(judgement) = &cutover.evidence.judgement else {
        blockers.push(blocker(BlockerKind::Guard, "nothing has been judged yet"));
        return;
    };
    // The judgement may still be of the step before: the first interval of this one is not judged yet.
    if cutover.evidence.step_begins {
        blockers.push(blocker(BlockerKind::Guard, "this step has not been judged yet"));
    }
    let mut needed = 0;
    for wanted in cutover.policy.guards.iter().filter(|guard| guard.on_unknown == OnUnknown::Hold) {
        let Some(guard) = judgement.guards.iter().find(|guard| guard.guard == wanted.guard.kind) else { continue };
        if !guard.on {
            continue;
        }
        needed += 1;
        if guard.verdict != Verdict::Pass {
            // The sentence says how many more requests it takes, where that is known and what is missing.
            blockers.push(blocker(BlockerKind::Guard, guard.sentence.clone()));
        } else if guard.target_requests < wanted.requests_min {
            let text = format!(
                "{:?} stands on {} of {} requests of the target",
                guard.guard, guard.target_requests, wanted.requests_min
            );
            blockers.push(blocker(BlockerKind::Requests, text));
        }
    }
    if needed == 0 {
        blockers.push(blocker(BlockerKind::Guard, "no guard judges here, so nothing can be proven"));
    }
    if judgement.verdict == Verdict::Fail || judgement.evidence >= cutover.policy.pass.suspicion_max {
        let text = format!(
            "evidence against the target is {:.1}; no step ends at {:.1} or more, and {:.0} reverts",
            judgement.evidence, cutover.policy.pass.suspicion_max, judgement.evidence_max
        );
        blockers.push(blocker(BlockerKind::Guard, text));
    }
    for alarm in judgement.alarms.iter().filter(|alarm| alarm.act != Act::Tell) {
        let kind = match alarm.kind {
            AlarmKind::TargetFailing | AlarmKind::OtherAnswers | AlarmKind::TargetSilent => BlockerKind::Guard,
            AlarmKind::BothSilent | AlarmKind::BadBlock => BlockerKind::Data,
            AlarmKind::ShareMismatch => BlockerKind::Observed,
        };
        let why = if kind == BlockerKind::Observed { lags(cutover) } else { String::new() };
        blockers.push(blocker(kind, format!("{}{why}", alarm.sentence)));
    }
    last_interval(cutover, blockers);
}

/// What the last interval says by itself, whatever all of them together say.
fn last_interval(cutover: &Cutover, blockers: &mut Vec<Blocker>) {
    if let Some(text) = &cutover.evidence.last_interval {
        blockers.push(blocker(BlockerKind::Guard, text.clone()));
    }
}

/// A step that has all its evidence earns the next one.
pub(super) fn follow(turn: &mut Turn) {
    let Phase::Baking { step } = turn.next.phase else { return };
    if !blockers(&turn.next, turn.now).is_empty() {
        return;
    }
    if step + 1 >= turn.next.policy.shift.steps.len() {
        turn.halt(HaltKind::Timeout, "the ladder ends below the whole of the traffic; adopt a policy that goes on");
        return;
    }
    let earned = turn.step_share(step + 1);
    if earned.raises(turn.next.earned) {
        turn.next.earned = earned;
        turn.next.drifts = 0;
    }
    let evidence = &turn.next.evidence;
    let requests = evidence.observed.reads.target.saturating_add(evidence.observed.writes.target);
    let text = format!(
        "step {} passed on {} s and {requests} requests of the target; {earned} is earned",
        step + 1,
        evidence.baked.as_secs()
    );
    turn.next.gates.clear();
    turn.enter(Phase::Gated { step: step + 1 }, "step_passed", text);
    shift::ask_read(turn);
}

/// What spent budgets do.
pub(super) fn timeouts(turn: &mut Turn) {
    let unknown = &turn.next.policy.unknown;
    let budgets = &turn.next.budgets;
    if super::time::exposed(turn) && budgets.blind >= unknown.blind_budget {
        let text = format!("the target carried traffic for {} s without any data", budgets.blind.as_secs());
        revert::begin(turn, "blind", text);
        return;
    }
    let climbing = matches!(
        turn.next.phase,
        Phase::Gated { .. } | Phase::Shifting { .. } | Phase::Baking { .. } | Phase::Draining
    );
    if !climbing || turn.next.halt.as_ref().is_some_and(|halt| halt.kind == HaltKind::Timeout) {
        return;
    }
    let spent = if budgets.hold >= unknown.hold_budget {
        format!("this step held for {} s because something is unknown", budgets.hold.as_secs())
    } else if matches!(turn.next.phase, Phase::Baking { .. }) && budgets.bake >= turn.next.policy.shift.bake_max {
        format!("this step has baked for {} s and its evidence does not suffice", budgets.bake.as_secs())
    } else {
        return;
    };
    let blockers = &turn.next.blockers;
    let cause = blockers.iter().find(|blocker| blocker.kind.unknown()).or(blockers.first());
    let first = cause.map_or(String::new(), |blocker| format!(": {}", blocker.text));
    // Before the first write there is nothing to take back: a human is called, and the cutover is not over.
    let untouched = turn.next.generation == crate::Generation::default();
    match unknown.on_timeout {
        _ if untouched => turn.halt(HaltKind::Timeout, format!("{spent}{first}")),
        OnTimeout::Hold => turn.halt(HaltKind::Timeout, format!("{spent}{first}")),
        OnTimeout::StepBack => step_back(turn, format!("{spent}{first}")),
        OnTimeout::Revert => revert::begin(turn, "timeout", format!("{spent}{first}")),
    }
}

/// Goes back to the last step that passed; once for each step, and where there is one.
fn step_back(turn: &mut Turn, text: String) {
    let (Phase::Shifting { .. } | Phase::Baking { .. } | Phase::Draining) = turn.next.phase else {
        // A gated step stands on the last step that passed already.
        turn.halt(HaltKind::Timeout, text);
        return;
    };
    // One write at a time: the budget stays spent, and the answer or the end of patience comes within a minute.
    if turn.next.write.as_ref().is_some_and(|write| write.answered.is_none()) {
        return;
    }
    let step = turn.next.step().unwrap_or(0);
    let Some(last_good) = step.checked_sub(1).filter(|_| !turn.next.stepped_back.contains(&step)) else {
        turn.halt(HaltKind::Timeout, text);
        return;
    };
    let share = turn.step_share(last_good);
    // A step back only ever takes traffic from the target: where somebody has put back less, it would be a rise on nothing.
    if turn.next.configured.as_ref().is_none_or(|reading| share.raises(reading.share)) {
        turn.halt(HaltKind::Timeout, format!("{text}; a step back to {share} would give the target more than it has"));
        return;
    }
    turn.next.stepped_back.insert(step);
    // What stood may still be on its way to somewhere; a read that shows it again is no drift.
    let stood = turn.next.desired;
    turn.remember_late(stood);
    turn.next.budgets.hold = Duration::ZERO;
    turn.next.budgets.bake = Duration::ZERO;
    shift::begin(turn, last_good, share, "step_back", format!("{text}; back to {share}"));
}

/// How long the running budgets still last, for the next look.
pub(super) fn budgets_left(cutover: &Cutover, now: Timestamp) -> Vec<Duration> {
    let budgets = &cutover.budgets;
    let policy = &cutover.policy;
    let mut left = Vec::new();
    match cutover.phase {
        Phase::Gated { .. } => {
            left.push(policy.unknown.blind_budget.saturating_sub(budgets.blind));
            if let Some(gate) = gate::waiting(cutover, now) {
                left.push(gate.timeout.saturating_sub(budgets.gate));
            }
        }
        Phase::Shifting { .. } | Phase::Baking { .. } => {
            left.push(policy.unknown.blind_budget.saturating_sub(budgets.blind));
            left.push(policy.unknown.hold_budget.saturating_sub(budgets.hold));
        }
        Phase::Draining => {
            left.push(policy.unknown.blind_budget.saturating_sub(budgets.blind));
            left.push(policy.drain.timeout.saturating_sub(budgets.phase));
        }
        Phase::Reverting { .. } => left.push(policy.revert.deadline.saturating_sub(budgets.phase)),
        Phase::Pending
        | Phase::Preflight
        | Phase::Baseline
        | Phase::Done
        | Phase::Reverted
        | Phase::Aborted
        | Phase::Stuck { .. } => {}
    }
    // A budget that is spent and was answered by a halt needs no look of its own.
    left.retain(|left| *left > Duration::ZERO);
    left
}
