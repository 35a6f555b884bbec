//! Before the first write: the checks, the balancer as it stands, and the record of the source.

use std::sync::Arc;
use std::time::Duration;

use super::turn::Turn;
use super::{bake, capture, count};
use crate::command::Command;
use crate::cutover::{HaltKind, Phase};
use crate::event::{Check, CheckOutcome};
use crate::losses;
use crate::policy::WeightedStart;
use crate::units::{Share, Timestamp};

/// The pause between two rounds of checks once the cutover is under way.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(30);
/// The same in preflight, where somebody waits.
pub(super) const PREFLIGHT_CHECK_EVERY: Duration = Duration::from_secs(5);
/// How long the answer to a round of checks is waited for.
pub(super) const CHECK_PATIENCE: Duration = Duration::from_mins(1);
/// How old the last checks may be for traffic to rise.
pub(super) const CHECKS_AGE_MAX: Duration = Duration::from_mins(2);

/// Whether the fleet is checked in this phase.
pub(super) const fn checks(phase: &Phase) -> bool {
    match phase {
        Phase::Preflight
        | Phase::Baseline
        | Phase::Gated { .. }
        | Phase::Shifting { .. }
        | Phase::Baking { .. }
        | Phase::Draining => true,
        Phase::Pending
        | Phase::Done
        | Phase::Reverting { .. }
        | Phase::Reverted
        | Phase::Aborted
        | Phase::Stuck { .. } => false,
    }
}

/// The pause between two rounds of checks.
pub(super) const fn check_every(phase: &Phase) -> Duration {
    if matches!(phase, Phase::Preflight) { PREFLIGHT_CHECK_EVERY } else { CHECK_EVERY }
}

/// Begins a cutover.
pub(super) fn begin(turn: &mut Turn, kind: &str, text: String) {
    turn.next.halt = None;
    turn.next.configured = None;
    turn.next.checks.clear();
    turn.next.levers.stands = None;
    turn.next.gates.clear();
    turn.enter(Phase::Preflight, kind, text);
    ask_checks(turn);
    super::shift::ask_read(turn);
}

/// Asks for checks when they are due.
pub(super) fn ask(turn: &mut Turn) {
    if !checks(&turn.next.phase) {
        return;
    }
    let waited = turn.next.budgets.check;
    let due = match turn.next.check_asked {
        Some(_) => waited >= CHECK_PATIENCE,
        None => waited >= check_every(&turn.next.phase) || capture::awaited(&turn.next, turn.now),
    };
    if due {
        ask_checks(turn);
    }
}

fn ask_checks(turn: &mut Turn) {
    turn.next.check_asked = Some(turn.now);
    turn.next.budgets.check = Duration::ZERO;
    turn.commands.push(Command::Check);
}

/// The checks came back.
pub(super) fn checked(turn: &mut Turn, checks: &[Check], begun: Timestamp) {
    if begun > turn.now || turn.next.checked.is_some_and(|last| begun < last) {
        turn.note("stale_checks", "an older round of checks came late");
        return;
    }
    turn.next.check_asked = None;
    turn.next.budgets.unchecked = Duration::ZERO;
    turn.next.checked = Some(begun);
    turn.next.checks = losses::taken(&turn.next.policy.capture, &mut turn.next.losses, checks, begun);
    let all = turn.next.checks.len();
    let wrong = turn.next.checks.iter().filter(|check| check.outcome.stops()).count();
    turn.note("checked", format!("{all} checks, {wrong} of them stand in the way"));
}

/// Preflight is over when nothing stands in its way.
pub(super) fn follow(turn: &mut Turn) {
    if !bake::blockers(&turn.next, turn.now).is_empty() {
        return;
    }
    let Some(reading) = turn.next.configured.clone() else { return };
    if reading.share != Share::NONE && turn.next.policy.shift.on_weighted_start == WeightedStart::Refuse {
        let text = format!(
            "the target already has {}; give it none, or start with `on_weighted_start = \"adopt\"`",
            reading.share
        );
        turn.enter(Phase::Pending, "weighted_start", text.clone());
        turn.halt(HaltKind::Start, text);
        return;
    }
    let checks = turn.next.checks.len();
    let already = match reading.share {
        Share::NONE => String::new(),
        share => format!(" the target has {share} already, which earns nothing;"),
    };
    let then = if turn.next.given.is_some() { "a recorded baseline is given" } else { "the source is recorded" };
    // The checks of later rounds take the place of these: what they warned of must stay in the journal.
    let warned = turn.next.checks.iter().filter(|check| check.outcome == CheckOutcome::Warn);
    let warned: Vec<String> = warned.map(|check| format!("; warning: {}: {}", check.name, check.evidence)).collect();
    let text = format!("all {checks} checks passed;{already} {then}{}", warned.concat());
    turn.next.desired = reading.share;
    turn.next.original = Some(reading);
    turn.next.evidence = crate::Evidence::new(&turn.next.policy, turn.now);
    turn.next.budgets.silence = Duration::ZERO;
    turn.enter(Phase::Baseline, "preflight_passed", text);
}

/// How much longer than the record the baseline may take, where intervals cannot be counted.
const BASELINE_PATIENCE: u32 = 2;

/// A baseline that was given needs no recording. One that is recorded is over when it covers what the policy asks for, or cannot within twice that time: then it is thin,
/// or at least shorter, and what stands on it stays off.
pub(super) fn record(turn: &mut Turn) {
    let record = turn.next.recording();
    let recorded = turn.next.evidence.recorded;
    let patience = record.saturating_mul(BASELINE_PATIENCE).saturating_add(turn.next.policy.shift.interval * 4);
    let over = recorded >= record || turn.next.budgets.phase >= patience;
    let others =
        bake::blockers(&turn.next, turn.now).iter().any(|blocker| blocker.kind != crate::BlockerKind::Baseline);
    if !over || others {
        return;
    }
    let intervals_min = turn.next.policy.baseline.intervals_min;
    let evidence = &mut turn.next.evidence;
    let (baseline, what) = if let Some(given) = &turn.next.given {
        (given.baseline.trusted_from(intervals_min), given.told())
    } else {
        let baseline = evidence.recorder.baseline(intervals_min);
        let (seconds, intervals, requests) = (recorded.as_secs(), baseline.intervals(), baseline.requests());
        (baseline, format!("the source was recorded for {seconds} s: {intervals} intervals, {requests} requests"))
    };
    let thin = baseline.is_thin();
    let text =
        format!("{what}{}", if thin { "; too thin to judge by, so the recorded baseline stays off" } else { "" });
    evidence.judge = Some(count::new_judge(&turn.next.policy, baseline.clone()));
    evidence.judgement = None;
    evidence.baseline = Some(Arc::new(baseline));
    // What preflight and baseline earn is the first step and nothing more, whatever the target had before.
    turn.next.earned = turn.step_share(0);
    let kind = match (thin, turn.next.given.is_some()) {
        (true, _) => "baseline_thin",
        (false, true) => "baseline_given",
        (false, false) => "baseline_recorded",
    };
    turn.enter(Phase::Gated { step: 0 }, kind, text);
    super::shift::ask_read(turn);
}
