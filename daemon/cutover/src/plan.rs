//! What a policy will do: step by step, how long it takes at a given traffic, and what each step can see.
//!
//! The plan is an expectation, not a promise. It uses the judge's own formulas with the counts a healthy service (or one
//! with a regression of a given size) would have on average, so it knows no luck, no bursts and no outages. What it
//! assumes about the service is in [`Assumed`] and is printed with it.

use std::time::Duration;

use judge::GuardKind;
use judge::evidence::{ERROR_RATIOS, PASS_RATIOS, Pair, Tolerance, bet, log_e22};
use judge::pass::FIRST_STAKE;
use serde::Serialize;

use crate::policy::{Gate, GateBefore, OnUnknown, Policy, Tripwire, TripwireKind, Writes};
use crate::units::{Share, Weight};

/// What a plan assumes when nobody says otherwise: requests a second, of both sides together.
pub const REQUESTS_PER_SECOND: f64 = 100.0;

/// One burst of trouble can add or prove no more than this, as a logarithm.
const BURST_CAP: f64 = 3.0;

/// The part of its stake that the judge lays on the first step; the other steps share the second figure.
const STAKE_FIRST: f64 = 0.48;
const STAKE_REST: f64 = 0.32;

/// How many alternatives the latency test has: each gets its part of the stake.
const LATENCY_ALTERNATIVES: f64 = 10.0;

/// A step that needs longer than this needs it for ever.
const STEP_MAX: Duration = Duration::from_hours(366 * 24);

/// The service as the plan imagines it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Assumed {
    /// Requests a second, of both sides together.
    pub requests_per_second: f64,
    /// The share of the requests that are writes.
    pub writes: f64,
    /// The share of its answers that are server errors.
    pub errors: f64,
    /// The share of its answers that are not 2XX or 3XX.
    pub not_ok: f64,
    /// How spread out its latencies are: the standard deviation of their logarithm.
    pub latency_sigma: f64,
}

impl Assumed {
    /// The service that the judge's figures were measured on, with this many requests a second.
    pub fn usual(requests_per_second: f64) -> Self {
        Self { requests_per_second, writes: 0.2, errors: 0.001, not_ok: 0.02, latency_sigma: 0.7 }
    }
}

/// What a policy will do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The service.
    pub service: String,
    /// What was assumed.
    pub assumed: Assumed,
    /// How long the source is recorded first, in seconds.
    pub baseline_seconds: f64,
    /// Each step in order; empty when the policy only captures.
    pub steps: Vec<Step>,
    /// For how long the source must be silent at the end, in seconds.
    pub quiet_seconds: f64,
    /// The shortest time from start to done, in seconds: if every piece of evidence were there at once.
    pub least_seconds: f64,
    /// The expected time from start to done, in seconds, without what people and windows add; `None` when a step does
    /// not end by evidence.
    pub expected_seconds: Option<f64>,
    /// Gates that a person or a program must open, and windows that must be open: what `expected_seconds` leaves out.
    pub waits: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The target's share.
    pub share: Share,
    /// Requests a second that the target gets.
    pub target_per_second: f64,
    /// The gates asked before it.
    pub gates: Vec<String>,
    /// How long it is expected to last, in seconds; `None` when its evidence never suffices.
    pub seconds: Option<f64>,
    /// What decides how long that is.
    pub until: Until,
    /// What it can see while it lasts (until `bake_max` when its evidence never suffices).
    pub sees: Sees,
}

/// What decides how long a step lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// `shift.bake_min`: the evidence is there sooner.
    BakeMin,
    /// `shift.requests_min`, or that of a guard.
    Requests,
    /// Proof that server errors at the next step stay within the budget.
    Errors,
    /// The same for answers that are not 2XX or 3XX.
    Success,
    /// The same for slow answers.
    Latency,
    /// Nothing does within `shift.bake_max`: `unknown.on_timeout` decides.
    Timeout,
    /// Everything is on the target: the source must fall silent.
    Drain,
}

/// The smallest regression that is expected to be seen on a step, if it is there from the step's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sees {
    /// Server errors: the share of the target's answers (0 to 1) from which on the cutover reverts.
    pub errors: Option<f64>,
    /// Slow answers: the share of the target's answers slower than the source's slowest 1 %.
    pub slow: Option<f64>,
    /// A target that fails everything: after so many seconds.
    pub outage_seconds: Option<f64>,
}

/// Plans a policy for a service as it is assumed to be.
///
/// ```
/// let text = r#"
///     service = "search"
///     [source]
///     endpoints = ["http://10.0.0.1:9200"]
///     [target]
///     endpoints = ["http://10.0.1.1:9200"]
///     [shift]
///     writes = "last"
/// "#;
/// let policy = cutover::policy::read(text, "search.toml").expect("it is sound");
/// let plan = cutover::plan::plan(&policy, cutover::plan::Assumed::usual(1000.0));
/// assert_eq!(plan.steps.len(), 6);
/// // With much traffic the policy's own patience decides; with little, the evidence does.
/// let slow = cutover::plan::plan(&policy, cutover::plan::Assumed::usual(10.0));
/// assert!(slow.steps[0].seconds > plan.steps[0].seconds);
/// ```
pub fn plan(policy: &Policy, assumed: Assumed) -> Plan {
    let judged = policy.shift.steps.iter().filter(|share| **share != Share::ALL).count();
    let mut before = Share::NONE;
    let mut steps = Vec::new();
    for (index, share) in policy.shift.steps.iter().enumerate() {
        steps.push(step(policy, &assumed, index, judged, before));
        before = *share;
    }
    // One that was recorded before takes no time.
    let baseline = if policy.baseline.recorded.is_some() { Duration::ZERO } else { policy.baseline.record };
    let quiet = if steps.is_empty() { Duration::ZERO } else { policy.drain.quiet };
    let least = policy.shift.warm_up + policy.shift.bake_min;
    let least = baseline + quiet + least * u32::try_from(judged).unwrap_or(u32::MAX);
    let expected = steps.iter().map(|step| step.seconds).sum::<Option<f64>>();
    Plan {
        service: policy.service.clone(),
        assumed,
        baseline_seconds: baseline.as_secs_f64(),
        quiet_seconds: quiet.as_secs_f64(),
        least_seconds: if steps.is_empty() { 0.0 } else { least.as_secs_f64() },
        expected_seconds: expected.map(|seconds| if steps.is_empty() { 0.0 } else { seconds + baseline.as_secs_f64() }),
        waits: waits(policy, &steps),
        steps,
    }
}

/// What the expected time leaves out.
fn waits(policy: &Policy, steps: &[Step]) -> Vec<String> {
    let mut waits: Vec<String> = Vec::new();
    let windows = &policy.windows;
    if windows.freeze {
        waits.push("nothing rises: `windows.freeze` is set".to_owned());
    }
    if !windows.allow.is_empty() && !steps.is_empty() {
        let minutes: u32 = windows
            .allow
            .iter()
            .map(|window| window.days.len() as u32 * u32::from(window.to_minute.saturating_sub(window.from_minute)))
            .sum();
        let hours = f64::from(minutes) / 60.0;
        waits.push(format!("a step begins only in the change windows: {hours:.1} hours a week ({})", windows.zone));
    }
    for gate in &policy.gates {
        let asked = steps.iter().filter(|step| step.gates.contains(&gate.name)).count();
        if asked > 0 {
            let times = if asked == 1 { "once".to_owned() } else { format!("{asked} times") };
            waits.push(format!(
                "gate `{}` is asked {times} and may take {} each time",
                gate.name,
                crate::policy::formats::period_text(gate.timeout)
            ));
        }
    }
    waits
}

fn step(policy: &Policy, assumed: &Assumed, index: usize, judged: usize, before: Share) -> Step {
    let share = policy.shift.steps[index];
    let traffic = Traffic::of(policy, assumed, share);
    let (target, _) = traffic.all;
    let gates =
        policy.gates.iter().filter(|gate| is_asked(gate, before, share)).map(|gate| gate.name.clone()).collect();
    if share == Share::ALL {
        return Step {
            share,
            target_per_second: target,
            gates,
            seconds: Some(policy.drain.quiet.as_secs_f64()),
            until: Until::Drain,
            sees: Sees { outage_seconds: outage(policy, target), ..Sees::default() },
        };
    }
    let next = policy.shift.steps.get(index + 1).map_or(Weight::ALL, |share| share.reads);
    let (until, evidence) = evidence_time(policy, assumed, &traffic, next);
    let warm_up = policy.shift.warm_up;
    let seconds = (warm_up + evidence).as_secs_f64();
    let late = warm_up + evidence > policy.shift.bake_max;
    let watched = if late { policy.shift.bake_max.saturating_sub(warm_up) } else { evidence };
    let stake = if index == 0 { STAKE_FIRST } else { STAKE_REST / (judged.saturating_sub(1).max(1)) as f64 };
    Step {
        share,
        target_per_second: target,
        gates,
        seconds: (!late).then_some(seconds),
        until: if late { Until::Timeout } else { until },
        sees: sees(policy, assumed, &traffic, watched, stake),
    }
}

/// Whether a gate is asked before a step.
fn is_asked(gate: &Gate, before: Share, share: Share) -> bool {
    match gate.before {
        GateBefore::EachStep => true,
        GateBefore::Weight(weight) => {
            before.reads.max(before.writes) < weight && share.reads.max(share.writes) >= weight
        }
        GateBefore::Writes => before.writes == Weight::NONE && share.writes > Weight::NONE,
        GateBefore::EachWrites => share.writes > before.writes,
    }
}

/// Requests a second on a step, target and source.
struct Traffic {
    /// Everything.
    all: (f64, f64),
    /// What the judge compares: reads with reads, and writes too where both are split alike.
    compared: (f64, f64),
}

impl Traffic {
    fn of(policy: &Policy, assumed: &Assumed, share: Share) -> Self {
        let writes = assumed.requests_per_second * assumed.writes;
        let reads = assumed.requests_per_second - writes;
        let split = |rate: f64, weight: Weight| (rate * weight.fraction(), rate * (1.0 - weight.fraction()));
        let (read, written) = (split(reads, share.reads), split(writes, share.writes));
        let all = (read.0 + written.0, read.1 + written.1);
        let alike = policy.shift.writes == Writes::Split && share.reads == share.writes;
        Self { all, compared: if alike { all } else { read } }
    }
}

/// How long it takes until nothing but the operator's patience keeps the step from ending, warm-up aside.
fn evidence_time(policy: &Policy, assumed: &Assumed, traffic: &Traffic, next: Weight) -> (Until, Duration) {
    let (all, (compared, _)) = (traffic.all.0, traffic.compared);
    let mut longest = (Until::BakeMin, policy.shift.bake_min);
    let mut take = |until: Until, time: Duration| {
        if time > longest.1 {
            longest = (until, time);
        }
    };
    take(Until::Requests, requests_time(policy.shift.requests_min, all));
    for guard in policy.guards.iter().filter(|guard| guard.on_unknown == OnUnknown::Hold) {
        take(Until::Requests, requests_time(guard.requests_min, compared));
        match guard.guard.kind {
            GuardKind::Errors => {
                let asked =
                    Tolerance { ratio: policy.pass.errors_ratio, margin: budget(policy.pass.errors_budget, next) };
                take(Until::Errors, pass_time(policy, traffic, asked, assumed.errors, assumed.errors));
            }
            GuardKind::Success => {
                let asked =
                    Tolerance { ratio: policy.pass.success_ratio, margin: budget(policy.pass.success_budget, next) };
                take(Until::Success, pass_time(policy, traffic, asked, assumed.not_ok, assumed.not_ok));
            }
            GuardKind::ClientErrors => {
                let asked =
                    Tolerance { ratio: policy.pass.success_ratio, margin: budget(policy.pass.success_budget, next) };
                take(Until::Success, pass_time(policy, traffic, asked, assumed.not_ok, assumed.not_ok));
            }
            GuardKind::Redirects => {
                // Nothing is assumed of redirects; a service has about as many of them as it has of the other kind.
                let asked = Tolerance {
                    ratio: policy.pass.redirects_ratio,
                    margin: budget(policy.pass.redirects_budget, next),
                };
                take(Until::Success, pass_time(policy, traffic, asked, assumed.not_ok, assumed.not_ok));
            }
            GuardKind::Latency
            | GuardKind::LatencyBody
            | GuardKind::LatencyTail
            | GuardKind::LatencySlow
            | GuardKind::LatencySteady
            | GuardKind::Exchange => {
                let budgets = policy.pass.latency_budgets;
                let quantiles = [(0.5, budgets[0]), (0.1, budgets[1]), (0.01, budgets[2])];
                let asked_for = match guard.guard.kind {
                    GuardKind::LatencyBody => &quantiles[..1],
                    GuardKind::LatencyTail => &quantiles[1..],
                    GuardKind::LatencySlow => &quantiles[2..],
                    _ => &quantiles[..],
                };
                for &(quantile, share) in asked_for {
                    let asked = Tolerance { ratio: 1.0, margin: budget(share, next) };
                    let slower = beyond(quantile, policy.pass.latency_ratio, assumed.latency_sigma);
                    take(Until::Latency, pass_time(policy, traffic, asked, quantile, slower));
                }
            }
            // Judged against what was recorded: it reverts, and lets a step end with the others.
            GuardKind::Baseline => {}
        }
    }
    longest
}

fn budget(share_of_all: f64, next: Weight) -> f64 {
    share_of_all / next.fraction().clamp(0.001, 1.0)
}

fn requests_time(requests: u64, per_second: f64) -> Duration {
    seconds(if requests == 0 { 0.0 } else { requests as f64 / per_second })
}

/// How long it takes to show that the target does not do too much harm: `facts` of a healthy target against the claim
/// that it is at the edge of `asked`. `source` and `target` are the shares that have the outcome.
fn pass_time(policy: &Policy, traffic: &Traffic, asked: Tolerance, source: f64, target: f64) -> Duration {
    if asked.ratio * source + asked.margin >= 0.97 {
        return Duration::ZERO;
    }
    let (nt, ns) = traffic.compared;
    // An hour of each side, so that the counts are of a size the formulas were made for.
    let hour = 3600.0;
    let pair =
        Pair { target_hits: nt * hour * target, target: nt * hour, source_hits: ns * hour * source, source: ns * hour };
    let gain = PASS_RATIOS
        .iter()
        .map(|ratio| log_e22(&pair, asked, source, bet(&pair, asked, source, *ratio)))
        .fold(0.0, f64::max)
        / hour;
    // The best of the alternatives leads their mean by half of ln 5 or so.
    let needed = (1.0 / policy.pass.wrong_pass_max).ln() - FIRST_STAKE.ln() + (PASS_RATIOS.len() as f64).ln() / 2.0;
    let time = seconds(needed / gain);
    // One burst proves only so much: the rest must come from the bursts after it.
    let bursts = policy.burst.mul_f64(((needed / BURST_CAP).ceil() - 1.0).max(0.0));
    time.max(bursts)
}

/// The share of answers slower than `ratio` times the value that a share of `quantile` exceeds, log-normal latencies.
fn beyond(quantile: f64, ratio: f64, sigma: f64) -> f64 {
    // The three quantiles the judge looks at: median, 90 % and 99 %.
    let z = if quantile >= 0.5 {
        0.0
    } else if quantile >= 0.1 {
        1.281_551_6
    } else {
        2.326_347_9
    };
    upper_tail(z + ratio.ln() / sigma)
}

/// The upper tail of the normal distribution for `z >= 0` (Abramowitz and Stegun 26.2.17, to 1e-7).
fn upper_tail(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let poly =
        t * (0.319_381_53 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * poly
}

/// The smallest regressions that a step is expected to see in the time that is judged.
fn sees(policy: &Policy, assumed: &Assumed, traffic: &Traffic, judged: Duration, stake: f64) -> Sees {
    let weights: f64 = policy.guards.iter().map(|guard| guard.guard.weight).sum();
    let of = |kind: GuardKind| policy.guards.iter().find(|guard| guard.guard.kind == kind).map(|guard| &guard.guard);
    // What one alternative of a guard must win for all guards together to reach the bound.
    let needed = |weight: f64, alternatives: f64| {
        (1.0 / policy.false_revert_max).ln() - (weight / weights).ln() - stake.ln() + alternatives.ln()
    };
    let errors = of(GuardKind::Errors).and_then(|guard| {
        let tolerance = Tolerance { ratio: guard.ratio, margin: guard.margin };
        let needed = needed(guard.weight, ERROR_RATIOS.len() as f64);
        smallest(policy, traffic, tolerance, assumed.errors, judged, needed)
    });
    let slow = of(GuardKind::Latency).and_then(|guard| {
        // The tolerance is in where the line is drawn, so the source's own share beyond it is a little under 1 %.
        let tolerance = Tolerance { ratio: 1.0, margin: 0.0 };
        smallest(policy, traffic, tolerance, 0.01, judged, needed(guard.weight, LATENCY_ALTERNATIVES))
    });
    let by_judge = errors.map(|_| policy.shift.warm_up + policy.shift.interval + policy.burst);
    let outage_seconds = outage(policy, traffic.all.0).or(by_judge.map(|time| time.as_secs_f64()));
    Sees { errors, slow, outage_seconds }
}

/// The smallest share of the target's answers that reverts within `judged`, if the source has `source`.
fn smallest(
    policy: &Policy,
    traffic: &Traffic,
    tolerance: Tolerance,
    source: f64,
    judged: Duration,
    needed: f64,
) -> Option<f64> {
    let time = judged.as_secs_f64();
    let (nt, ns) = traffic.compared;
    let burst = policy.burst.as_secs_f64().max(1.0);
    if needed > BURST_CAP * (1.0 + time / burst) {
        return None;
    }
    let won = |share: f64| {
        let pair = Pair {
            target_hits: nt * time * share,
            target: nt * time,
            source_hits: ns * time * source,
            source: ns * time,
        };
        ERROR_RATIOS
            .iter()
            .map(|ratio| log_e22(&pair, tolerance, source, bet(&pair, tolerance, source, *ratio)))
            .fold(0.0, f64::max)
    };
    if won(1.0) < needed {
        return None;
    }
    let (mut low, mut high) = (source, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if won(middle) >= needed { high = middle } else { low = middle }
    }
    Some(high)
}

/// After how many seconds a tripwire sees a target that fails everything, at so many requests a second.
fn outage(policy: &Policy, per_second: f64) -> Option<f64> {
    if !policy.counts_fast() {
        // Nobody counts the last moments: the tripwires wait for whole intervals, and those come late.
        let (interval, late) = (policy.shift.interval.as_secs_f64(), policy.metrics.late().as_secs_f64());
        let sees = |tripwire: &Tripwire| {
            tripwire.kind == TripwireKind::Errors && tripwire.requests_min as f64 / per_second <= interval
        };
        return policy.tripwires.iter().any(sees).then_some(interval + late);
    }
    policy.tripwires.iter().filter_map(|tripwire| trips(tripwire, per_second)).reduce(f64::min)
}

fn trips(tripwire: &Tripwire, per_second: f64) -> Option<f64> {
    let window = tripwire.window.as_secs_f64();
    let enough = tripwire.requests_min as f64 / per_second;
    if tripwire.kind != TripwireKind::Errors || enough > window {
        return None;
    }
    // The window still holds the good answers from before; it fires when the bad ones are the limit's share of it.
    Some((window * tripwire.limit).max(enough))
}

fn seconds(seconds: f64) -> Duration {
    if seconds.is_finite() && seconds < STEP_MAX.as_secs_f64() {
        Duration::from_secs_f64(seconds.max(0.0))
    } else {
        STEP_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        service = "search"
        [source]
        endpoints = ["http://10.0.0.1:9200"]
        [target]
        endpoints = ["http://10.0.1.1:9200"]
        [shift]
        writes = "split"
        steps = [5, 10, 20, 35, 50, 75, 95, 100]
    "#;

    /// Minutes of proof on errors for each judged step, bursts aside.
    fn minutes(requests_per_second: f64) -> Vec<f64> {
        let mut policy = crate::policy::read(POLICY, "search.toml").unwrap();
        policy.burst = Duration::ZERO;
        let assumed = Assumed::usual(requests_per_second);
        let steps = &policy.shift.steps;
        steps
            .windows(2)
            .map(|pair| {
                let traffic = Traffic::of(&policy, &assumed, pair[0]);
                let asked = Tolerance {
                    ratio: policy.pass.errors_ratio,
                    margin: budget(policy.pass.errors_budget, pair[1].reads),
                };
                pass_time(&policy, &traffic, asked, assumed.errors, assumed.errors).as_secs_f64() / 60.0
            })
            .collect()
    }

    #[test]
    fn proof_takes_as_long_as_was_measured() {
        // Proves: the planning formula gives the minutes that simulated cutovers took (a margin of a quarter either way):
        // 33 to 78 and 214 on the last step at 5 requests a second, a tenth of it at 50, under 1 and 2 at 500.
        for (rate, least, most, last) in [(5.0, 33.0, 78.0, 214.0), (50.0, 3.3, 7.8, 21.4), (500.0, 0.33, 0.78, 2.14)] {
            let minutes = minutes(rate);
            let (end, others) = minutes.split_last().unwrap();
            assert!(others.iter().all(|minutes| (least * 0.75..most * 1.25).contains(minutes)), "{rate}: {minutes:?}");
            assert!((last * 0.75..last * 1.25).contains(end), "{rate}: {minutes:?}");
        }
    }

    #[test]
    fn the_normal_tail_is_right() {
        // Proves: the approximation, against values from R (pnorm, lower.tail = FALSE).
        for (z, tail) in [(0.0, 0.5), (1.0, 0.158_655_253_9), (2.326_347_9, 0.01), (4.0, 3.167_124e-5)] {
            assert!((upper_tail(z) - tail).abs() < 1e-6, "{z}");
        }
    }

    #[test]
    fn more_traffic_sees_smaller_regressions_sooner() {
        // Proves: neither what a step sees nor how long it lasts grows with the traffic.
        let policy = crate::policy::read(POLICY, "search.toml").unwrap();
        let plans: Vec<Plan> = [5.0, 50.0, 500.0, 5000.0].map(|rate| plan(&policy, Assumed::usual(rate))).into();
        for pair in plans.windows(2) {
            for (slow, fast) in pair[0].steps.iter().zip(&pair[1].steps) {
                assert!(fast.seconds.unwrap_or(f64::MAX) <= slow.seconds.unwrap_or(f64::MAX));
                if slow.seconds == fast.seconds {
                    assert!(fast.sees.errors.unwrap_or(1.0) <= slow.sees.errors.unwrap_or(1.0));
                    assert!(fast.sees.slow.unwrap_or(1.0) <= slow.sees.slow.unwrap_or(1.0));
                }
            }
        }
    }

    #[test]
    fn gates_are_asked_before_the_step_that_reaches_them() {
        // Proves: a gate at a share is asked once, and one on writes before the step that moves them.
        let text = POLICY.replace("\"split\"", "\"last\"")
            + "[gates.half]\nkind = \"manual\"\nbefore = 30\n[gates.moved]\nkind = \"manual\"\nbefore = \"writes\"\n";
        let plan = plan(&crate::policy::read(&text, "search.toml").unwrap(), Assumed::usual(100.0));
        let gated: Vec<_> = plan.steps.iter().map(|step| step.gates.join("+")).collect();
        assert_eq!(gated, ["", "", "", "half", "", "", "", "moved"]);
        // Proves: a gate on the backfill is asked before each step that moves writes, and those are all where they are split.
        let whole = "[gates.whole]\nkind = \"backfill\"\nargv = [\"true\"]\n";
        let asked = |text: &str| {
            let policy = crate::policy::read(&(text.to_owned() + whole), "search.toml").unwrap();
            let plan = super::plan(&policy, Assumed::usual(100.0));
            plan.steps.iter().map(|step| step.gates.len()).collect::<Vec<_>>()
        };
        let last = asked(&POLICY.replace("\"split\"", "\"last\""));
        assert_eq!((last.iter().sum::<usize>(), last.last()), (1, Some(&1)));
        assert!(asked(POLICY).iter().all(|&count| count == 1));
        // Proves: how far the replay is behind is asked before those steps, too, and after what may take its time.
        let table = "[gates.a]\nkind = \"replay_lag\"\nbrokers = [\"kafka:9092\"]\ngroup = \"g\"\ntopic = \"t\"\nmax = \"30s\"\n\
                     [gates.b]\nkind = \"manual\"\nbefore = \"each-step\"\n";
        let policy = crate::policy::read(&(POLICY.to_owned() + table), "search.toml").unwrap();
        let plan = super::plan(&policy, Assumed::usual(100.0));
        assert!(plan.steps.iter().all(|step| step.gates == ["b", "a"]), "{:?}", plan.steps);
        assert_eq!(plan.waits.len(), 2);
    }
}
