//! Whole cutovers on simulated services: what passes, what fails, how soon.
//!
//! Requests are independent here, except where a test says otherwise; the seeds are fixed, so that a failure repeats.

use judge::{Baseline, Block, Context, Counts, Guard, GuardKind, Guards, Judge, Judgement, Pass, Verdict};

/// How one side behaves.
#[derive(Clone, Copy)]
struct Behaviour {
    errors: f64,
    bad: f64,
    /// Median latency in microseconds, of a log-normal distribution with a spread of 0.7.
    median: f64,
    /// What a body adds to each exchange, in microseconds.
    body: f64,
}

const HEALTHY: Behaviour = Behaviour { errors: 0.001, bad: 0.01, median: 20_000.0, body: 2_000.0 };

fn normal(rng: &mut fastrand::Rng) -> f64 {
    let (u, v) = (rng.f64().max(1e-12), rng.f64());
    (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
}

fn side(rng: &mut fastrand::Rng, requests: u64, behaviour: Behaviour) -> Counts {
    let mut counts = Counts { requests, ..Counts::default() };
    for _ in 0..requests {
        let luck = rng.f64();
        if luck < behaviour.errors {
            counts.status_5xx += 1;
        } else if luck < behaviour.errors + behaviour.bad {
            counts.status_4xx += 1;
        } else {
            counts.status_2xx += 1;
        }
        let first = behaviour.median * (0.7 * normal(rng)).exp();
        counts.latency.record(first as u64, 1);
        counts.exchange.record((first + behaviour.body) as u64, 1);
    }
    counts
}

/// A block at a rate and a weight (per mille), each request's side drawn.
fn block(rng: &mut fastrand::Rng, millis: u64, rate: f64, weight: u16, source: Behaviour, target: Behaviour) -> Block {
    let mean = rate * millis as f64 / 1_000.0;
    let all = (mean + mean.sqrt() * normal(rng)).max(0.0) as u64;
    let to_target = (0..all).filter(|_| rng.u16(0..1000) < weight).count() as u64;
    Block { millis, source: side(rng, all - to_target, source), target: side(rng, to_target, target) }
}

/// What the embedded demonstration asks: short steps, wide budgets, and bursts of seconds.
fn demo_guards() -> Guards {
    Guards {
        guards: [GuardKind::Errors, GuardKind::Latency, GuardKind::Exchange, GuardKind::Baseline]
            .map(Guard::usual)
            .to_vec(),
        requests_min: 20,
        burst_millis: 10_000,
        pass: Pass {
            errors_budget: 0.03,
            latency_budgets: [0.15, 0.08, 0.04],
            bake_min_millis: 5_000,
            bake_last_min_millis: 8_000,
            ..Pass::default()
        },
        ..Guards::default()
    }
}

const STEPS: [u16; 4] = [100, 250, 500, 950];

/// How a cutover with evidence-gated steps ended.
#[derive(Debug)]
struct Ended {
    judgement: Judgement,
    /// Seconds judged on each step.
    seconds: Vec<f64>,
    /// Seconds from the onset of the fault to the end.
    after_onset: f64,
}

/// Climbs the ladder as the judge allows; the fault begins with step `onset`. Ends at the top, at a revert, or after
/// `limit` seconds.
fn climb(
    rng: &mut fastrand::Rng,
    guards: Guards,
    baseline: Baseline,
    (rate, millis, limit): (f64, u64, f64),
    (fault, onset): (Behaviour, usize),
) -> Ended {
    let mut judge = Judge::new(guards, baseline, STEPS.len() as u32);
    let (mut seconds, mut after_onset, mut all) = (vec![0.0], 0.0, 0.0);
    let mut new_step = true;
    loop {
        let step = seconds.len() - 1;
        let target = if step >= onset { fault } else { HEALTHY };
        let counted = block(rng, millis, rate, STEPS[step], HEALTHY, target);
        let next_weight = STEPS.get(step + 1).copied();
        judge.observe(&counted, &Context { new_step, weight: STEPS[step], next_weight, source_live: true });
        let length = millis as f64 / 1_000.0;
        seconds[step] += length;
        all += length;
        after_onset += if step >= onset { length } else { 0.0 };
        let judgement = judge.verdict();
        new_step = judgement.verdict == Verdict::Pass;
        if judgement.verdict == Verdict::Fail || new_step && next_weight.is_none() || all >= limit {
            return Ended { judgement, seconds, after_onset };
        }
        if new_step {
            seconds.push(0.0);
        }
    }
}

/// Ten seconds of the source alone, as the demonstration records them: thin.
fn short_baseline(rng: &mut fastrand::Rng, rate: f64) -> Baseline {
    let blocks: Vec<Block> = (0..10).map(|_| block(rng, 1_000, rate, 0, HEALTHY, HEALTHY)).collect();
    let baseline = Baseline::from_blocks(&blocks, 30);
    assert!(baseline.is_thin());
    baseline
}

#[test]
fn a_healthy_target_climbs_a_short_ladder_within_seconds() {
    // A thin baseline, 1-s intervals, 100 and 300 requests a second: every step passes soon, none reverts.
    for rate in [100.0, 300.0] {
        for seed in 0..20 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let baseline = short_baseline(&mut rng, rate);
            let ended = climb(&mut rng, demo_guards(), baseline, (rate, 1_000, 120.0), (HEALTHY, 0));
            assert_eq!(ended.judgement.verdict, Verdict::Pass, "{rate} {seed} {ended:#?}");
            assert!(ended.seconds.iter().sum::<f64>() < 75.0, "{rate} {seed} {ended:#?}");
        }
    }
}

#[test]
fn a_target_three_times_slower_is_found_within_a_minute_or_two() {
    // The fault appears with the third step; latency's guard, or exchange's, names it.
    for rate in [100.0, 300.0] {
        for seed in 0..20 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let baseline = short_baseline(&mut rng, rate);
            let slow = Behaviour { median: 3.0 * HEALTHY.median, ..HEALTHY };
            let ended = climb(&mut rng, demo_guards(), baseline, (rate, 1_000, 300.0), (slow, 2));
            assert_eq!(ended.judgement.verdict, Verdict::Fail, "{rate} {seed} {ended:#?}");
            assert!(ended.after_onset < 60.0, "{rate} {seed} {ended:#?}");
            let failed: Vec<GuardKind> =
                ended.judgement.guards.iter().filter(|g| g.verdict == Verdict::Fail).map(|g| g.guard).collect();
            assert!(matches!(failed[..], [GuardKind::Latency | GuardKind::Exchange]), "{failed:?}");
        }
    }
}
