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

#[test]
fn answers_that_drip_are_found_by_the_exchange() {
    // The first byte comes as ever, the last one seconds later.
    for seed in 0..5 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let baseline = short_baseline(&mut rng, 100.0);
        let drip = Behaviour { body: 3_000_000.0, ..HEALTHY };
        let ended = climb(&mut rng, demo_guards(), baseline, (100.0, 1_000, 300.0), (drip, 2));
        assert!(ended.judgement.verdict == Verdict::Fail && ended.after_onset < 60.0, "{seed} {ended:#?}");
        let exchange = ended.judgement.guards.iter().find(|guard| guard.guard == GuardKind::Exchange).unwrap();
        assert_eq!(exchange.verdict, Verdict::Fail);
    }
}

#[test]
fn sides_that_jitter_by_themselves_are_not_reverted() {
    // Each side's latency wanders by some 10 % on its own, correlated from second to second: nobody's regression.
    for seed in 0..10 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut judge = Judge::new(demo_guards(), short_baseline(&mut rng, 200.0), STEPS.len() as u32);
        let mut wander = [0.0f64; 2];
        for second in 0..90 {
            for side in &mut wander {
                *side = 0.7 * *side + 0.07 * normal(&mut rng);
            }
            let [source, target] = wander.map(|by| Behaviour { median: HEALTHY.median * by.exp(), ..HEALTHY });
            let weight = STEPS[second / 23];
            let context = Context { new_step: second % 23 == 0, weight, next_weight: Some(950), source_live: true };
            judge.observe(&block(&mut rng, 1_000, 200.0, weight, source, target), &context);
            assert_ne!(judge.verdict().verdict, Verdict::Fail, "{seed} second {second}: {:#?}", judge.verdict());
        }
    }
}

#[test]
fn the_state_of_a_long_cutover_stays_small() {
    // An hour of seconds: as large at the end as after ten minutes, and well below what is stored each second.
    let mut rng = fastrand::Rng::with_seed(1);
    let mut judge = Judge::new(demo_guards(), short_baseline(&mut rng, 50.0), STEPS.len() as u32);
    let mut sizes = Vec::new();
    for second in 0..3_600 {
        let context = Context { new_step: second == 0, weight: 500, next_weight: None, source_live: true };
        judge.observe(&block(&mut rng, 1_000, 50.0, 500, HEALTHY, HEALTHY), &context);
        if second % 600 == 599 {
            sizes.push(serde_json::to_string(&judge).unwrap().len());
        }
    }
    assert!(sizes.iter().all(|&size| size < 48_000) && sizes[5] < sizes[0] * 3 / 2, "{sizes:?}");
}

/// A service whose minutes are drawn bucket by bucket: many requests at little cost.
struct Service {
    /// Chance of each bucket.
    buckets: Vec<(u16, f64)>,
}

fn poisson(rng: &mut fastrand::Rng, mean: f64) -> u64 {
    if mean > 30.0 {
        return (mean + mean.sqrt() * normal(rng)).round().max(0.0) as u64;
    }
    let (limit, mut product, mut count) = ((-mean).exp(), rng.f64(), 0);
    while product > limit {
        product *= rng.f64();
        count += 1;
    }
    count
}

impl Service {
    fn new() -> Self {
        let density = |at: i32| (-(f64::from(at) / 16.0 * std::f64::consts::LN_2 / 0.7).powi(2) / 2.0).exp();
        let sum: f64 = (-60..=80).map(density).sum();
        Self { buckets: (-60..=80).map(|at| ((250 + at) as u16, density(at) / sum)).collect() }
    }

    /// So many requests (their number is what the buckets come to), some of them errors, all later by some buckets.
    fn side(&self, rng: &mut fastrand::Rng, requests: f64, errors: f64, later: u16) -> Counts {
        let mut counts = Counts::default();
        for &(bucket, chance) in &self.buckets {
            let drawn = poisson(rng, requests * chance);
            counts.latency.add(bucket + later, drawn);
            counts.requests += drawn;
        }
        counts.status_5xx = poisson(rng, counts.requests as f64 * errors).min(counts.requests);
        counts.status_4xx = poisson(rng, counts.requests as f64 * 0.02).min(counts.requests - counts.status_5xx);
        counts.status_2xx = counts.requests - counts.status_5xx - counts.status_4xx;
        counts
    }

    fn baseline(&self, rng: &mut fastrand::Rng, rate: f64) -> Baseline {
        let minutes = (0..120).map(|_| Block {
            millis: 60_000,
            source: self.side(rng, rate * 60.0, 0.001, 0),
            target: Counts::default(),
        });
        let blocks: Vec<Block> = minutes.collect();
        Baseline::from_blocks(&blocks, 30)
    }
}

/// A cutover with the usual guards and fixed steps of ten minutes; how many minutes after the onset (a minute of the
/// cutover) it reverts, if it does.
fn fixed_steps(
    rng: &mut fastrand::Rng,
    (rate, millis): (f64, u64),
    (errors, later, onset): (f64, u16, f64),
) -> Option<f64> {
    let service = Service::new();
    let mut judge = Judge::new(Guards::default(), service.baseline(rng, rate), STEPS.len() as u32);
    let length = millis as f64 / 60_000.0;
    let mut minute = 0.0;
    for (step, weight) in STEPS.into_iter().enumerate() {
        for at in 0..(600_000 / millis) {
            let requests = rate * 60.0 * length;
            let share = f64::from(weight) / 1000.0;
            let (errors, later) = if minute >= onset { (errors, later) } else { (0.001, 0) };
            let block = Block {
                millis,
                source: service.side(rng, requests * (1.0 - share), 0.001, 0),
                target: service.side(rng, requests * share, errors, later),
            };
            let next_weight = STEPS.get(step + 1).copied();
            judge.observe(&block, &Context { new_step: at == 0, weight, next_weight, source_live: true });
            minute += length;
            if judge.verdict().verdict == Verdict::Fail {
                return Some(minute - onset);
            }
        }
    }
    None
}

#[test]
fn healthy_targets_are_hardly_ever_reverted() {
    // 60 s, 10 s and 1 s intervals. At a chance of 5 % at most, more than 6 of 40 would be a wonder (1 in 150).
    for (millis, cutovers) in [(60_000, 40), (10_000, 40), (1_000, 6)] {
        let reverted = (0..cutovers)
            .filter(|&seed| {
                let mut rng = fastrand::Rng::with_seed(1_000 + seed);
                fixed_steps(&mut rng, (50.0, millis), (0.001, 0, 0.0)).is_some()
            })
            .count();
        assert!(reverted <= 3, "{reverted} of {cutovers} at {millis} ms");
    }
}

#[test]
fn regressions_are_found_soon_early_and_late() {
    // Median of nine cutovers at 50 requests a second, in minutes after the onset: errors from 0.1 % to 1 %, from the
    // beginning and from minute 33; latency half as much again; and a dead target in one or two intervals.
    let median = |errors, later, onset, millis| {
        let mut minutes: Vec<f64> = (0..9)
            .map(|seed| {
                let mut rng = fastrand::Rng::with_seed(seed);
                fixed_steps(&mut rng, (50.0, millis), (errors, later, onset)).unwrap_or(f64::INFINITY)
            })
            .collect();
        minutes.sort_by(f64::total_cmp);
        minutes[4]
    };
    assert!(median(0.01, 0, 0.0, 60_000) <= 8.0);
    assert!(median(0.01, 0, 33.0, 60_000) <= 8.0);
    assert!(median(0.001, 9, 0.0, 60_000) <= 10.0);
    assert!(median(1.0, 0, 0.0, 60_000) <= 1.0);
    assert!(median(1.0, 0, 33.0, 10_000) <= 0.4);
}
