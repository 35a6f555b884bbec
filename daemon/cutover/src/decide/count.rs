//! Counted intervals: asking for them, recording the baseline, judging, and what the requests show of the share.

use std::sync::Arc;
use std::time::Duration;

use judge::{Baseline, Block, Context, Guards, Judge, Verdict};

use super::turn::Turn;
use super::{revert, tripwire};
use crate::command::Command;
use crate::cutover::{Cutover, Phase};
use crate::event::{Observation, Retry};
use crate::evidence::{Asked, Evidence, Observed};
use crate::policy::{Policy, TripwireKind, Writes};
use crate::units::{Share, Weight, Window};

/// How many times one interval is asked for before it is left out.
pub(super) const OBSERVE_FAILURES_MAX: u32 = 12;
/// How long an answer is waited for.
pub(super) const OBSERVE_PATIENCE: Duration = Duration::from_secs(30);
/// How many intervals the chain may lie behind before it jumps: after a long silence the present matters.
pub(super) const CATCH_UP_MAX: u32 = 16;
/// Fewest requests of a side on which an interval is called broken, or sound again, by itself.
const INTERVAL_REQUESTS_MIN: u64 = 20;

/// Whether intervals are counted. In done and while reverting they are for the price of a revert; after it, for whether
/// the target's tasks may be taken away again.
pub(super) fn counts(cutover: &Cutover) -> bool {
    match cutover.phase {
        Phase::Baseline
        | Phase::Gated { .. }
        | Phase::Shifting { .. }
        | Phase::Baking { .. }
        | Phase::Draining
        | Phase::Done
        | Phase::Reverting { .. }
        | Phase::Stuck { .. } => true,
        Phase::Reverted => !cutover.levers.pulled.is_empty(),
        Phase::Pending | Phase::Preflight | Phase::Aborted => false,
    }
}

/// The pause between two tries to count an interval.
fn retry_pause(policy: &Policy) -> Duration {
    policy.shift.interval.clamp(Duration::from_millis(500), Duration::from_secs(10))
}

/// Asks for the next interval once it is closed.
pub(super) fn ask(turn: &mut Turn) {
    if !counts(&turn.next) || turn.next.closed.is_some() {
        return;
    }
    let now = turn.now;
    let interval = turn.next.policy.shift.interval;
    let late = turn.next.policy.metrics.late();
    let evidence = &mut turn.next.evidence;
    match &mut evidence.asked {
        Some(asked) if now < asked.again => {}
        Some(asked) => {
            asked.failures = asked.failures.saturating_add(1);
            asked.again = now.plus(OBSERVE_PATIENCE);
            if asked.failures >= OBSERVE_FAILURES_MAX {
                let window = asked.window;
                leave_out(turn, window);
            } else {
                turn.commands.push(Command::Observe(asked.window));
            }
        }
        None => {
            if now.since(evidence.counted_to) > interval.saturating_mul(CATCH_UP_MAX) {
                evidence.counted_to = now.minus(interval);
                evidence.gaps = evidence.gaps.saturating_add(1);
                evidence.source_silent = Duration::ZERO;
                evidence.target_silent = Duration::ZERO;
            }
            let window = Window { from: evidence.counted_to, to: evidence.counted_to.plus(interval) };
            if window.to.plus(late) <= now {
                evidence.asked = Some(Asked { window, failures: 0, again: now.plus(OBSERVE_PATIENCE) });
                turn.commands.push(Command::Observe(window));
            }
        }
    }
}

/// Counting an interval failed.
pub(super) fn failed(turn: &mut Turn, retry: Retry, error: &str) {
    let pause = retry_pause(&turn.next.policy);
    let Some(asked) = &mut turn.next.evidence.asked else {
        turn.note("late_failure", "a failure to count an interval came after its answer");
        return;
    };
    asked.failures = asked.failures.saturating_add(1);
    asked.again = turn.now.plus(pause);
    let window = asked.window;
    if retry == Retry::Never || asked.failures >= OBSERVE_FAILURES_MAX {
        leave_out(turn, window);
    }
    turn.note("not_counted", format!("the interval from {} could not be counted: {error}", window.from));
}

/// Goes on after an interval that cannot be counted. It covers nothing, and nobody knows what the source did in it.
fn leave_out(turn: &mut Turn, window: Window) {
    let evidence = &mut turn.next.evidence;
    evidence.asked = None;
    evidence.counted_to = window.to;
    evidence.gaps = evidence.gaps.saturating_add(1);
    evidence.source_silent = Duration::ZERO;
    evidence.target_silent = Duration::ZERO;
}

/// An interval was counted.
pub(super) fn observed(turn: &mut Turn, observation: &Observation) {
    let window = observation.window;
    // Only the interval that was asked for extends the chain: an answer that comes twice or late must not count twice.
    if turn.next.evidence.asked.is_none_or(|asked| asked.window != window) {
        turn.note("stale_observation", format!("the interval from {} was not asked for, or is counted", window.from));
        return;
    }
    let length = window.length();
    let evidence = &mut turn.next.evidence;
    evidence.asked = None;
    evidence.fresh = true;
    evidence.counted_to = window.to;
    let source_requests = observation.reads.source.requests.saturating_add(observation.writes.source.requests);
    evidence.source_silent =
        if source_requests == 0 { evidence.source_silent.saturating_add(length) } else { Duration::ZERO };
    let target_requests = observation.reads.target.requests.saturating_add(observation.writes.target.requests);
    let after_revert = turn.next.phase == Phase::Reverted && window.from >= turn.next.since;
    evidence.target_silent = if target_requests == 0 && after_revert {
        evidence.target_silent.saturating_add(length)
    } else {
        Duration::ZERO
    };
    turn.next.budgets.silence = Duration::ZERO;
    turn.next.budgets.blind = Duration::ZERO;
    if turn.next.writes_since.is_some_and(|since| window.to > since) {
        let writes = observation.writes.target.requests;
        turn.next.writes_on_target = turn.next.writes_on_target.saturating_add(writes);
    }

    if tripwire::counted(turn, observation) {
        return;
    }
    match turn.next.phase {
        Phase::Baseline => record(turn, observation),
        Phase::Gated { step: 0 } => drop(sound(turn, observation)),
        Phase::Gated { step } => judge(turn, observation, step.checked_sub(1)),
        Phase::Shifting { step, .. } | Phase::Baking { step } => judge(turn, observation, Some(step)),
        Phase::Draining => judge(turn, observation, turn.next.step()),
        Phase::Pending
        | Phase::Preflight
        | Phase::Done
        | Phase::Reverting { .. }
        | Phase::Reverted
        | Phase::Aborted
        | Phase::Stuck { .. } => {}
    }
    turn.note("counted", format!("the interval from {} was counted", window.from));
}

/// The counts of an interval before the first step, unless the source itself is broken: then nothing may begin, and what
/// it does is no record of how it is.
fn sound(turn: &mut Turn, observation: &Observation) -> Option<Block> {
    let block = comparable(&turn.next.policy, turn.next.desired, observation);
    if left_out(turn, &block, "recorded") {
        return None;
    }
    says(&mut turn.next.evidence, None, block.source.requests);
    Some(block)
}

/// Whether an interval is not to be recorded or judged, since the source itself is broken in it: then that stands in the
/// way of every rise, too.
fn left_out(turn: &mut Turn, block: &Block, what: &str) -> bool {
    let Some(text) = broken_world(block, &turn.next.policy) else { return false };
    turn.note(&format!("not_{what}"), format!("an interval is not {what}: {text}"));
    says(&mut turn.next.evidence, Some(text), block.source.requests);
    true
}

/// Keeps what an interval says by itself. That stands in the way of every rise until those after it have together had as
/// many requests as it takes to say it: one of two requests does not lift what one of thousands has shown.
fn says(evidence: &mut Evidence, wrong: Option<String>, requests: u64) {
    if wrong.is_some() {
        evidence.last_interval = wrong;
        evidence.sound_requests = 0;
        return;
    }
    evidence.sound_requests = evidence.sound_requests.saturating_add(requests);
    if evidence.sound_requests >= INTERVAL_REQUESTS_MIN {
        evidence.last_interval = None;
    }
}

/// Records the source before the shift.
fn record(turn: &mut Turn, observation: &Observation) {
    let Some(block) = sound(turn, observation) else {
        // The record waits for the source as long as it takes, and is no thinner for it.
        turn.next.budgets.phase = turn.next.budgets.phase.min(turn.next.evidence.recorded);
        return;
    };
    Arc::make_mut(&mut turn.next.evidence.recorder).record(&block);
    turn.next.evidence.recorded = turn.next.evidence.recorded.saturating_add(observation.window.length());
}

/// The counts of one interval in which like is compared with like.
///
/// Only requests that were split by one weight can be compared: reads with reads. Reads and writes may be summed where
/// their weights are equal, and then must be, so that a target that fails its writes is seen. Where writes come last
/// they are never split at all and stay out from the baseline on.
pub fn comparable(policy: &Policy, share: Share, observation: &Observation) -> Block {
    let mut block = observation.reads.clone();
    if policy.shift.writes == Writes::Split && share.reads == share.writes {
        block.source.merge(&observation.writes.source);
        block.target.merge(&observation.writes.target);
    }
    block.millis = u64::try_from(observation.window.length().as_millis()).unwrap_or(u64::MAX);
    block
}

/// Judges an interval in which the target had the share of `step`.
fn judge(turn: &mut Turn, observation: &Observation, step: Option<usize>) {
    let Some(step) = step else { return };
    let window = observation.window;
    if window.from < turn.next.evidence.unjudged_until {
        turn.note("warming_up", format!("the interval from {} is not judged: the step warms up", window.from));
        return;
    }
    // What the balancer was seen to give, not what we want: while a write fails or someone drifts, they differ.
    let Some(share) = turn.next.configured.as_ref().map(|reading| reading.share) else {
        turn.note("not_judged", "an interval is not judged while the balancer's weight is unknown");
        return;
    };
    if share.reads == Weight::NONE {
        turn.note("not_judged", "an interval is not judged while the target has no weight");
        return;
    }
    let block = comparable(&turn.next.policy, share, observation);
    // An outage of the source is no evidence for the target: pooled with sound intervals it would excuse what they show.
    // What was baked before it says little about what comes after it.
    if left_out(turn, &block, "judged") {
        turn.next.evidence.baked = Duration::ZERO;
        return;
    }
    let draining = turn.next.phase == Phase::Draining;
    let following = turn.next.policy.shift.steps.get(step + 1).map(|share| share.reads);
    let context = Context {
        new_step: turn.next.evidence.step_begins,
        weight: share.reads.per_mille(),
        next_weight: following.filter(|weight| *weight < Weight::ALL).map(Weight::per_mille),
        source_live: !draining && share.reads < Weight::ALL,
    };
    let hour = turn.next.given.as_ref().and_then(|given| given.hour_normal(window.from));
    let evidence = &mut turn.next.evidence;
    let Some(judge) = &mut evidence.judge else { return };
    let judge = Arc::make_mut(judge);
    judge.refer_to(hour.as_ref());
    judge.observe(&block, &context);
    let judgement = judge.verdict();
    evidence.step_begins = false;
    evidence.judged = Some(window);
    evidence.baked = evidence.baked.saturating_add(window.length());
    let share_tolerance = turn.next.policy.shift.share_tolerance;
    evidence.observed.reads.count(&observation.reads, share.reads, share_tolerance);
    evidence.observed.writes.count(&observation.writes, share.writes, share_tolerance);
    let wrong = last_interval(&block, &turn.next.policy);
    let (source, target) = (block.source.requests, block.target.requests);
    says(evidence, wrong, if context.source_live { source.min(target) } else { target });
    let failed = judgement.verdict == Verdict::Fail;
    let why = judgement
        .guards
        .iter()
        .filter(|guard| guard.on && guard.verdict == Verdict::Fail)
        .map(|guard| guard.sentence.clone())
        .chain(
            judgement.alarms.iter().filter(|alarm| alarm.act == judge::Act::Revert).map(|alarm| alarm.sentence.clone()),
        )
        .next();
    let diagnosis = failed.then(|| judgement.diagnosis());
    let evidence_now = judgement.evidence;
    let evidence_max = judgement.evidence_max;
    turn.next.evidence.judgement = Some(Arc::new(judgement));
    if let Some(diagnosis) = diagnosis {
        let text = why.unwrap_or_else(|| {
            format!(
                "all guards together: evidence against the target is {evidence_now:.1}, and {evidence_max:.0} reverts"
            )
        });
        revert::begin(turn, "verdict_fail", format!("{text}; {diagnosis}"));
    } else {
        turn.note("judged", format!("the interval from {} was judged", window.from));
    }
}

/// Why an interval says nothing about the target: the source itself is beyond what the tripwires hold for a broken
/// world, and to be no worse than a side that is down proves nothing.
fn broken_world(block: &Block, policy: &Policy) -> Option<String> {
    /// How many standard deviations of a count are still chance. An interval that is left out because its source happens
    /// to have one error of forty would leave the judge with a source that never fails, and a target that always looks
    /// worse.
    const DEVIATIONS: f64 = 4.0;
    let source_limit = policy
        .tripwires
        .iter()
        .filter(|tripwire| tripwire.kind == TripwireKind::Errors)
        .map(|tripwire| tripwire.source_limit)
        .fold(1.0, f64::min);
    let source = &block.source;
    let source_share = source.errors() as f64 / source.requests.max(1) as f64;
    let expected = source_limit * source.requests as f64;
    let beyond_chance = source.errors() as f64 > expected + DEVIATIONS * expected.max(1.0).sqrt();
    (source.requests >= INTERVAL_REQUESTS_MIN && beyond_chance).then(|| {
        format!(
            "the source itself fails {:.1} % of {} requests, so nothing rises: the world is broken, not the target",
            100.0 * source_share,
            source.requests
        )
    })
}

/// What is wrong with the last interval by itself, if anything is.
///
/// Growing evidence dilutes a failure that comes late; the judge's restarts answer that within a few intervals, and
/// this answers it at once, for the one question of whether to go on: no step ends on an interval whose errors are out
/// of all proportion to the source's.
fn last_interval(block: &Block, policy: &Policy) -> Option<String> {
    /// How many standard deviations of a count are still chance.
    const DEVIATIONS: f64 = 4.0;
    let source = &block.source;
    let target = &block.target;
    if source.requests == 0 || target.requests == 0 {
        return None;
    }
    let errors = policy.guards.iter().find(|guard| guard.guard.kind == judge::GuardKind::Errors)?;
    let tolerated = errors.guard.ratio * source.errors() as f64 / source.requests as f64 + errors.guard.margin;
    let expected = tolerated * target.requests as f64;
    let most = expected + DEVIATIONS * expected.max(1.0).sqrt();
    (target.errors() as f64 > most).then(|| {
        format!(
            "the last interval alone has {} errors in {} requests of the target, {} in {} of the source",
            target.errors(),
            target.requests,
            source.errors(),
            source.requests
        )
    })
}

/// The judge's guards as the policy states them.
pub fn guards(policy: &Policy) -> Guards {
    let bake = u64::try_from(policy.shift.bake_min.as_millis()).unwrap_or(u64::MAX);
    let mut pass = policy.pass.clone();
    pass.bake_min_millis = bake;
    pass.bake_last_min_millis = bake;
    Guards {
        guards: policy.guards.iter().map(|guard| guard.guard.clone()).collect(),
        false_revert_max: policy.false_revert_max,
        requests_min: policy.shift.requests_min,
        pass,
        burst_millis: u64::try_from(policy.burst.as_millis()).unwrap_or(u64::MAX),
    }
}

/// A judge that has seen nothing, for the steps that are judged: all but the last, where everything is on the target.
pub(super) fn new_judge(policy: &Policy, baseline: Baseline) -> Arc<Judge> {
    let judged = policy.shift.steps.iter().filter(|share| **share != Share::ALL).count();
    Arc::new(Judge::new(guards(policy), baseline, u32::try_from(judged).unwrap_or(u32::MAX).max(1)))
}

/// Begins the evidence of a step whose share is confirmed: what was seen before says nothing about it.
pub(super) fn begin_step(next: &mut Cutover, now: crate::Timestamp) {
    let evidence = &mut next.evidence;
    evidence.step_begins = true;
    evidence.baked = Duration::ZERO;
    evidence.observed = Observed::default();
    evidence.last_interval = None;
    evidence.source_silent = Duration::ZERO;
    evidence.unjudged_until = now.plus(next.policy.shift.warm_up);
    next.budgets.hold = Duration::ZERO;
    next.budgets.bake = Duration::ZERO;
}

#[cfg(test)]
mod tests {
    use judge::Counts;

    use super::*;

    fn side(requests: u64, failed: u64) -> Counts {
        Counts { requests, status_2xx: requests - failed, failed, ..Counts::default() }
    }

    /// Proves that an interval in which both sides are down holds the step, though the target is no worse.
    #[test]
    fn a_broken_world_lets_nothing_rise() {
        let policy = crate::policy::read(include_str!("../../../../policies/cautious.toml"), "cautious.toml")
            .expect("the example is sound");
        let block = |source, target| Block { millis: 60_000, source, target };
        assert_eq!(last_interval(&block(side(1_000, 1), side(1_000, 1)), &policy), None);
        assert_eq!(broken_world(&block(side(1_000, 1), side(1_000, 900)), &policy), None);
        let broken = broken_world(&block(side(1_000, 900), side(1_000, 900)), &policy).expect("it holds");
        assert!(broken.contains("the source itself fails 90.0 % of 1000 requests"), "{broken}");
        // One error of few requests is chance, and an interval left out for it would be missing at one side alone.
        let fast = crate::policy::read(include_str!("../../../../policies/fast.toml"), "fast.toml");
        let fast = fast.expect("the example is sound");
        for errors in 0..=4 {
            assert_eq!(broken_world(&block(side(40, errors), side(760, 6)), &fast), None, "{errors} errors of 40");
        }
        assert!(broken_world(&block(side(40, 30), side(760, 600)), &fast).is_some());
        let worse = last_interval(&block(side(1_000, 1), side(1_000, 300)), &policy).expect("it holds");
        assert!(worse.contains("300 errors in 1000 requests of the target"), "{worse}");
    }

    /// Proves that what an interval says stands until those after it have had enough requests to say otherwise.
    #[test]
    fn an_interval_of_two_requests_lifts_nothing() {
        let policy = crate::policy::read(include_str!("../../../../policies/cautious.toml"), "cautious.toml")
            .expect("the example is sound");
        let mut evidence = Evidence::new(&policy, crate::Timestamp(0));
        says(&mut evidence, Some("the world is broken".to_owned()), 3_000);
        for requests in [2, 0, INTERVAL_REQUESTS_MIN - 3] {
            says(&mut evidence, None, requests);
            assert!(evidence.last_interval.is_some(), "after {requests} more");
        }
        says(&mut evidence, None, 1);
        assert_eq!(evidence.last_interval, None);
    }
}
