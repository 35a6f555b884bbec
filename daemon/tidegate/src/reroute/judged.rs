//! What the minutes since a step prove about the new path, against the old path's own minutes.
//!
//! The judge is the one of cutovers, told that the old path is the source and the new one the target: errors, answers that
//! are not good, client errors and redirects, each minute with its own counterpart and the old path's record from before.
//! Response times are not compared: the new path has one balancer and one proxy more, and nobody said how much that may
//! cost. Beside it stand resets of connections at the NLB against the minutes before, and the policy's tripwires.
//!
//! Where AWS counts nothing of the old path (an NLB in front of the cluster itself has no count by target group), there is
//! nothing to compare with: then a step passes when the new path is proven to fail less than `pass.errors_budget` allows,
//! and fails by the tripwires alone.
//!
//! Everything is worked out anew from the minutes at each look, so a program that was killed has lost nothing.

use std::time::Duration;

use cutover::policy::{MetricsPolicy, TripwireKind};
use cutover::{Policy, Timestamp, decide};
use judge::interval::bernoulli_interval;
use judge::{Act, AlarmKind, Block, Context, Counts, GuardKind, Judge, Recorder, Verdict};

use super::record::Switched;

/// What CloudWatch counts by.
pub const MINUTE: Duration = Duration::from_mins(1);

/// What is known of one minute.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Minute {
    /// When it began.
    pub at: Timestamp,
    /// The old path; `None` where nothing was published or nobody counts it.
    pub old: Option<Counts>,
    /// The new path; `None` where nothing was published.
    pub new: Option<Counts>,
    /// The NLB's connections; `None` where nothing was published or there is none.
    pub flows: Option<Flows>,
    /// Whether it is over for long enough, and was read twice with the same result.
    pub settled: bool,
}

/// What an NLB did in a minute, over all its listeners: AWS has no count by listener or target group.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flows {
    /// Connections that were made.
    pub new: f64,
    /// The most that were open at once.
    pub open_max: f64,
    /// Connections that targets or the NLB itself reset.
    pub reset: f64,
}

/// What is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is as good as it must be.
    Pass(String),
    /// It is worse.
    Fail(String),
    /// Neither is shown yet.
    Unknown(String),
    /// There are no figures.
    Blind(String),
}

/// How long after its end a minute counts as complete.
pub fn settle(policy: &Policy) -> Duration {
    if let MetricsPolicy::Cloudwatch { settle } = policy.metrics { settle } else { Duration::ZERO }
}

/// The step that a minute belongs to: its share had reached every node when the minute began, and it was not yet followed
/// by another. `None` for minutes before and between.
fn step_of(switched: &[Switched], at: Timestamp, warm_up: Duration) -> Option<usize> {
    let step = switched.iter().rposition(|step| step.at < at.plus(MINUTE))?;
    (at >= switched[step].at.plus(warm_up)).then_some(step)
}

/// What `minutes`, oldest first, prove about the last step of `switched`, the first of which are the first of `steps` (in
/// percent). `counted` says whether the old path is counted.
pub fn find(policy: &Policy, minutes: &[Minute], switched: &[Switched], steps: &[u8], counted: bool) -> Finding {
    let (Some(first), Some(last)) = (switched.first(), switched.last()) else {
        return Finding::Unknown("nothing was moved yet".to_owned());
    };
    let warm_up = policy.shift.warm_up;
    let before: Vec<&Minute> =
        minutes.iter().filter(|minute| minute.at.plus(MINUTE) <= first.at && minute.settled).collect();
    let since: Vec<(usize, &Minute)> =
        minutes.iter().filter_map(|minute| Some((step_of(switched, minute.at, warm_up)?, minute))).collect();
    // A minute that is not complete yet can prove that something is wrong, and nothing else.
    if let Some(why) = since.iter().find_map(|(_, minute)| tripped(policy, minute)) {
        return Finding::Fail(why);
    }
    let since: Vec<(usize, &Minute)> = since.into_iter().filter(|(_, minute)| minute.settled).collect();
    if let Some(why) = reset_more(policy, &before, &since) {
        return Finding::Fail(why);
    }
    let here = switched.len() - 1;
    let known = since.iter().filter(|(step, minute)| *step == here && minute.new.is_some()).count();
    if known == 0 {
        return Finding::Blind("no minute of this step is complete in CloudWatch".to_owned());
    }
    if counted { compared(policy, &before, &since, steps) } else { bounded(policy, &since, here, last.percent) }
}

/// Why a tripwire fires on a minute.
fn tripped(policy: &Policy, minute: &Minute) -> Option<String> {
    let new = minute.new.as_ref()?;
    let share = |counts: &Counts, kind| {
        let hits = match kind {
            TripwireKind::Errors => counts.errors(),
            TripwireKind::Unanswered => counts.failed,
            TripwireKind::Latency => 0,
        };
        if counts.requests == 0 { 0.0 } else { hits as f64 / counts.requests as f64 }
    };
    policy.tripwires.iter().find_map(|tripwire| {
        let (ours, theirs) =
            (share(new, tripwire.kind), minute.old.as_ref().map_or(0.0, |old| share(old, tripwire.kind)));
        let fires = tripwire.kind != TripwireKind::Latency
            && new.requests >= tripwire.requests_min.max(1)
            && ours >= tripwire.limit
            && theirs <= tripwire.source_limit;
        fires.then(|| {
            format!(
                "{:.1} % of {} requests by the new path failed within a minute (tripwire `{}`: {:.1} %; the old path: {:.1} %)",
                100.0 * ours,
                new.requests,
                tripwire.name,
                100.0 * tripwire.limit,
                100.0 * theirs
            )
        })
    })
}

/// Whether connections are proven to be reset more often than before, by the tolerance of the guard on errors.
fn reset_more(policy: &Policy, before: &[&Minute], since: &[(usize, &Minute)]) -> Option<String> {
    let sum = |flows: &mut dyn Iterator<Item = Flows>| {
        let (made, reset) = flows.fold((0.0, 0.0), |(made, reset), one| (made + one.new, reset + one.reset));
        (reset.min(made), made)
    };
    let (hits, made) = sum(&mut since.iter().filter_map(|(_, minute)| minute.flows));
    let (hits_before, made_before) = sum(&mut before.iter().filter_map(|minute| minute.flows));
    if made_before <= 0.0 {
        return None;
    }
    let guard = policy.guards.iter().find(|guard| guard.guard.kind == GuardKind::Errors)?;
    let alpha = policy.false_revert_max;
    let (low, _) = bernoulli_interval(hits, made, alpha, made.max(1.0));
    let (_, high) = bernoulli_interval(hits_before, made_before, alpha, made_before.max(1.0));
    (low > high * guard.guard.ratio + guard.guard.margin).then(|| {
        format!(
            "{hits} of {made} connections of the NLB were reset since the switch, where {hits_before} of {made_before} were \
             before"
        )
    })
}

/// The judge's word, the old path as its source.
fn compared(policy: &Policy, before: &[&Minute], since: &[(usize, &Minute)], steps: &[u8]) -> Finding {
    let mut recorder = Recorder::default();
    for old in before.iter().filter_map(|minute| minute.old.as_ref()) {
        recorder.record(&Block { millis: 60_000, source: old.clone(), target: Counts::default() });
    }
    let mut guards = decide::guards(policy);
    guards.guards.retain(|guard| !guard.kind.is_timed());
    let judged = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    let mut judge = Judge::new(guards, recorder.baseline(policy.baseline.intervals_min), judged);
    let mut step = None;
    for (of, minute) in since {
        let (Some(source), Some(target)) = (&minute.old, &minute.new) else { continue };
        let all = source.requests.saturating_add(target.requests);
        if all == 0 {
            continue;
        }
        // Connections stay where they are, so what is seen lags behind the share that was written: the weight that counts
        // is the one that requests had.
        let weight = u16::try_from(target.requests.saturating_mul(1000) / all).unwrap_or(1000).clamp(1, 1000);
        let next = steps.get(*of + 1).map_or(1000, |percent| u16::from(*percent) * 10);
        let context = Context {
            new_step: step != Some(*of),
            weight,
            next_weight: Some(next.max(weight)).filter(|next| *next < 1000),
            source_live: source.requests > 0,
        };
        step = Some(*of);
        judge.observe(&Block { millis: 60_000, source: source.clone(), target: target.clone() }, &context);
    }
    let judgement = judge.verdict();
    let told: Vec<&str> =
        judgement.guards.iter().filter(|guard| guard.on).map(|guard| guard.sentence.as_str()).collect();
    let told = told.join("; ");
    let lagging = |kind: AlarmKind| matches!(kind, AlarmKind::ShareMismatch);
    let alarm = judgement.alarms.iter().find(|alarm| alarm.act > Act::Tell && !lagging(alarm.kind));
    match (judgement.verdict, alarm) {
        (Verdict::Fail, _) => Finding::Fail(judgement.diagnosis()),
        (_, Some(alarm)) if alarm.act == Act::Revert => Finding::Fail(alarm.sentence.clone()),
        (_, Some(alarm)) => Finding::Unknown(alarm.sentence.clone()),
        (_, None) => {
            let ignored = policy.guards.iter().filter(|guard| guard.on_unknown == cutover::policy::OnUnknown::Ignore);
            let ignored: Vec<GuardKind> = ignored.map(|guard| guard.guard.kind).collect();
            let mut needed = judgement.guards.iter().filter(|guard| guard.on && !ignored.contains(&guard.guard));
            let any = needed.clone().next().is_some();
            if any && needed.all(|guard| guard.verdict == Verdict::Pass) {
                Finding::Pass(told)
            } else {
                Finding::Unknown(told)
            }
        }
    }
}

/// Whether the new path by itself is proven to fail less than the policy's budget allows.
fn bounded(policy: &Policy, since: &[(usize, &Minute)], here: usize, percent: u8) -> Finding {
    let mut all = Counts::default();
    for new in since.iter().filter(|(step, _)| *step == here).filter_map(|(_, minute)| minute.new.as_ref()) {
        all.merge(new);
    }
    let (errors, requests) = (all.errors() as f64, all.requests as f64);
    let (_, high) = bernoulli_interval(errors, requests, policy.pass.wrong_pass_max, requests.max(1.0));
    let budget = policy.pass.errors_budget / (f64::from(percent.clamp(1, 100)) / 100.0);
    let told = format!(
        "{} of {} requests by the new path failed; at most {:.2} % is proven, {:.2} % is the budget, and AWS counts nothing of \
         the old path to compare with",
        all.errors(),
        all.requests,
        100.0 * high,
        100.0 * budget
    );
    if all.requests >= policy.shift.requests_min && high <= budget {
        Finding::Pass(told)
    } else {
        Finding::Unknown(told)
    }
}

/// For how long the last settled minutes of `count` are all zero, and until when; `None` where the last is not, or is not
/// known.
pub fn quiet(minutes: &[Minute], count: impl Fn(&Minute) -> Option<u64>) -> Option<(Timestamp, Timestamp)> {
    let mut run: Option<(Timestamp, Timestamp)> = None;
    for minute in minutes.iter().filter(|minute| minute.settled) {
        let end = minute.at.plus(MINUTE);
        run = match (count(minute), run) {
            (Some(0), Some((from, until))) if until == minute.at => Some((from, end)),
            (Some(0), _) => Some((minute.at, end)),
            (Some(_) | None, _) => None,
        };
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{START, policy};

    #[expect(clippy::unnecessary_wraps, reason = "as a minute has it")]
    fn counts(requests: u64, failed: u64) -> Option<Counts> {
        Some(Counts { requests, status_2xx: requests - failed, status_5xx: failed, ..Counts::default() })
    }

    #[expect(clippy::needless_pass_by_value, reason = "each minute has its own")]
    fn minutes(from: i64, count: i64, old: Option<Counts>, new: Option<Counts>, reset: f64) -> Vec<Minute> {
        let flows = Some(Flows { new: 600.0, open_max: 40.0, reset });
        let minute = |n: i64| Minute {
            at: Timestamp(START.0 + (from + n) * 60_000),
            old: old.clone(),
            new: new.clone(),
            flows,
            settled: true,
        };
        (0..count).map(minute).collect()
    }

    fn at(minute: i64, percent: u8) -> Switched {
        Switched { percent, at: Timestamp(START.0 + minute * 60_000), confirmed: true }
    }

    fn all(parts: [Vec<Minute>; 2]) -> Vec<Minute> {
        parts.into_iter().flatten().collect()
    }

    /// Proves what passes, what fails and what is unknown: a new path as good as the old, one that fails more, one with too
    /// few requests, none published, resets at the NLB, and a flood within one minute that is not complete yet.
    #[test]
    fn the_old_path_is_what_the_new_one_is_held_to() {
        let policy = policy("search");
        let before = || minutes(-60, 60, counts(1000, 1), counts(0, 0), 0.0);
        let find = |since: Vec<Minute>| find(&policy, &all([before(), since]), &[at(0, 10)], &[10, 50, 100], true);
        assert!(matches!(find(minutes(0, 10, counts(900, 1), counts(1000, 1), 0.0)), Finding::Pass(_)));
        assert!(matches!(find(minutes(0, 10, counts(900, 1), counts(100, 15), 0.0)), Finding::Fail(_)));
        assert!(matches!(find(minutes(0, 1, counts(900, 1), counts(3, 0), 0.0)), Finding::Unknown(_)));
        assert!(matches!(find(minutes(0, 5, counts(900, 1), None, 0.0)), Finding::Blind(_)));
        assert!(matches!(find(Vec::new()), Finding::Blind(_)));
        let Finding::Fail(why) = find(minutes(0, 5, counts(900, 1), counts(100, 0), 60.0)) else { panic!("it fails") };
        assert!(why.contains("were reset"), "{why}");
        let mut flood = minutes(0, 1, counts(900, 1), counts(100, 60), 0.0);
        flood[0].settled = false;
        assert!(matches!(find(flood), Finding::Fail(_)));
    }

    /// Proves that without figures of the old path the budget decides, and that few requests prove nothing.
    #[test]
    fn without_an_old_path_the_budget_decides() {
        let policy = policy("search");
        let find = |since: Vec<Minute>| find(&policy, &since, &[at(0, 10)], &[10, 50, 100], false);
        assert!(matches!(find(minutes(0, 20, None, counts(1000, 0), 0.0)), Finding::Pass(_)));
        assert!(matches!(find(minutes(0, 2, None, counts(20, 0), 0.0)), Finding::Unknown(_)));
        assert!(matches!(find(minutes(0, 20, None, counts(1000, 50), 0.0)), Finding::Unknown(_)));
        assert!(matches!(find(minutes(0, 20, None, counts(100, 40), 0.0)), Finding::Fail(_)));
    }

    /// Proves that a minute in which a share was on its way belongs to no step, and that gaps and late minutes end a quiet
    /// time.
    #[test]
    fn minutes_belong_to_what_stood_all_through_them() {
        let warm_up = Duration::from_mins(2);
        let steps = [at(0, 10), at(10, 50)];
        let of = |minute: i64| step_of(&steps, Timestamp(START.0 + minute * 60_000), warm_up);
        assert_eq!([-1, 0, 1, 2, 9, 10, 11, 12].map(of), [None, None, None, Some(0), Some(0), None, None, Some(1)]);
        let requests = |minute: &Minute| minute.old.as_ref().map(|old| old.requests);
        let busy = minutes(0, 3, counts(5, 0), None, 0.0);
        let still = minutes(3, 4, counts(0, 0), None, 0.0);
        let found = quiet(&all([busy.clone(), still.clone()]), requests).unwrap();
        assert_eq!((found.0.since(START), found.1.since(START)), (MINUTE * 3, MINUTE * 7));
        assert_eq!(quiet(&all([still.clone(), minutes(7, 1, None, None, 0.0)]), requests), None);
        let gap = all([still, minutes(9, 2, counts(0, 0), None, 0.0)]);
        assert_eq!(quiet(&gap, requests).unwrap().0.since(START), MINUTE * 9);
        assert_eq!(quiet(&busy, requests), None);
    }
}
