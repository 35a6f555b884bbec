//! What must hold whatever is counted, through the whole judge: fair bets, no credit for failing, the same dispersion
//! however time is cut, and no verdict from nonsense.

use judge::{Baseline, Block, Context, Counts, Guard, GuardKind, Guards, Histogram, Judge, Pass, Verdict};
use proptest::prelude::*;

const CONTEXT: Context = Context { new_step: false, weight: 400, next_weight: Some(600), source_live: true };

/// So many requests, so many of them in each class of trouble; the rest is answered with 2XX.
fn side(requests: u64, redirects: u64, client_errors: u64, errors: u64) -> Counts {
    Counts {
        requests,
        status_2xx: requests - redirects - client_errors - errors,
        status_3xx: redirects,
        status_4xx: client_errors,
        status_5xx: errors,
        ..Counts::default()
    }
}

fn minute(source: Counts, target: Counts) -> Block {
    Block { millis: 60_000, source, target }
}

fn only(kind: GuardKind) -> Guards {
    Guards { guards: vec![Guard::usual(kind)], ..Guards::default() }
}

/// Two hours of a source with some trouble of every class.
fn baseline() -> Baseline {
    let minutes: Vec<Block> =
        (0..120).map(|at| minute(side(3_000, 60, 40 + at % 9, 3 + at % 3), Counts::default())).collect();
    Baseline::from_blocks(&minutes, 30)
}

/// Chances of 0 to n hits.
fn binomial(n: i32, p: f64) -> Vec<f64> {
    (0..=n)
        .map(|k| {
            let ways = (0..k).fold(1.0, |ways, i| ways * f64::from(n - i) / f64::from(i + 1));
            ways * p.powi(k) * (1.0 - p).powi(n - k)
        })
        .collect()
}

#[test]
fn the_whole_judge_is_a_fair_game() {
    // By enumeration of every sequence of three minutes with two requests of the target and three of the source: at the
    // edge of the tolerance, with the source's share changing from minute to minute, the expected evidence never
    // exceeds 1. Stakes, dispersion, caps and the guess of the source's share are all in it.
    for kind in [GuardKind::Errors, GuardKind::ClientErrors, GuardKind::Redirects, GuardKind::Success] {
        let guard = Guard::usual(kind);
        for shares in [[0.0, 0.0, 0.0], [0.01, 0.5, 0.1], [0.3, 0.3, 0.3], [0.7, 0.01, 0.2]] {
            let mut ways = vec![(1.0, Judge::new(only(kind), Baseline::none(), 3))];
            for (at, share) in shares.into_iter().enumerate() {
                let edge = (guard.ratio * share + guard.margin).min(1.0);
                let (target, source) = (binomial(2, edge), binomial(3, share));
                let mut next = Vec::new();
                for (chance, judge) in &ways {
                    for (kt, t) in target.iter().enumerate() {
                        for (ks, s) in source.iter().enumerate() {
                            let hits = |requests, hits| match kind {
                                GuardKind::Redirects => side(requests, hits, 0, 0),
                                GuardKind::Errors => side(requests, 0, 0, hits),
                                _ => side(requests, 0, hits, 0),
                            };
                            let mut judge = judge.clone();
                            let block = minute(hits(3, ks as u64), hits(2, kt as u64));
                            judge.observe(&block, &Context { new_step: at == 0, ..CONTEXT });
                            next.push((chance * t * s, judge));
                        }
                    }
                }
                ways = next;
                let expected: f64 =
                    ways.iter().map(|(chance, judge)| chance * judge.engine().log_evidence().exp()).sum();
                assert!(expected <= 1.0 + 1e-9, "{kind:?} {shares:?}: {expected} after minute {}", at + 1);
            }
        }
    }
}

#[test]
fn counts_that_run_backwards_are_no_interval() {
    // Each count by itself: a counter that was reset gives nothing, rather than a huge number.
    let before = side(100, 10, 10, 10);
    let after = |change: fn(&mut Counts)| {
        let mut after = side(200, 20, 20, 20);
        (after.failed, after.abandoned) = (1, 1);
        change(&mut after);
        after.since(&before)
    };
    assert!(after(|_| {}).is_some());
    let resets: [fn(&mut Counts); 6] = [
        |counts| counts.requests = 99,
        |counts| counts.status_2xx = 0,
        |counts| counts.status_3xx = 9,
        |counts| counts.status_4xx = 9,
        |counts| counts.status_5xx = 9,
        |counts| counts.requests = 0,
    ];
    for reset in resets {
        assert_eq!(after(reset), None);
    }
    let mut failed = before.clone();
    (failed.failed, failed.abandoned) = (5, 5);
    assert_eq!(before.since(&failed), None);
}

#[test]
fn a_pass_that_cannot_be_meant_never_passes_and_says_so() {
    // A risk above all chance, a budget that is no number, one below nothing, a ratio of nothing: a spotless target of
    // any size does not pass, and no step ends by an accident of arithmetic.
    let usual = Pass::default;
    let impossible = [
        Pass { wrong_pass_max: 2.0, ..usual() },
        Pass { wrong_pass_max: 0.0, ..usual() },
        Pass { wrong_pass_max: f64::NAN, ..usual() },
        Pass { errors_budget: f64::NAN, ..usual() },
        Pass { success_budget: -1.0, ..usual() },
        Pass { redirects_ratio: 0.0, ..usual() },
        Pass { latency_ratio: f64::INFINITY, ..usual() },
        Pass { latency_budgets: [0.05, f64::NAN, 0.01], ..usual() },
        Pass { suspicion_max: f64::NAN, ..usual() },
    ];
    for pass in impossible {
        let mut judge = Judge::new(Guards { pass: pass.clone(), ..only(GuardKind::Errors) }, baseline(), 3);
        for at in 0..60 {
            let block = minute(side(90_000, 900, 900, 90), side(60_000, 600, 600, 60));
            judge.observe(&block, &Context { new_step: at == 0, ..CONTEXT });
            assert_eq!(judge.proven(), Verdict::Unknown, "{pass:?}");
        }
        let sentence = &judge.verdict().guards[0].sentence;
        assert!(sentence.ends_with("cannot be meant"), "{sentence}");
    }
}

#[test]
fn an_outage_of_nearly_everything_on_both_sides_passes_nothing() {
    // Nineteen of twenty requests fail at both sides: to be no worse than that is no proof of anything.
    let mut judge = Judge::new(Guards::default(), baseline(), 3);
    for at in 0..120 {
        judge.observe(
            &minute(side(3_000, 0, 10, 2_850), side(2_000, 0, 7, 1_900)),
            &Context { new_step: at == 0, ..CONTEXT },
        );
        assert_eq!(judge.proven(), Verdict::Unknown, "minute {at}");
    }
}

#[test]
fn a_step_passes_minutes_after_an_outage_of_any_kind() {
    // An hour in which both sides fail (the target a little more, or a little less), or in which the target alone fails
    // a share just too small to revert; then both are well. The step passes within a quarter of an hour.
    for (source, target) in [(1_500, 1_060), (1_500, 900), (3, 3)] {
        let mut guards = Guards { pass: Pass { bake_min_millis: 60_000, ..Pass::default() }, ..Guards::default() };
        guards.guards.retain(|guard| !guard.kind.is_timed());
        let mut judge = Judge::new(guards, baseline(), 3);
        let observe = |judge: &mut Judge, source, target, new_step| {
            judge.observe(
                &minute(side(3_000, 60, 44, source), side(2_000, 40, 29, target)),
                &Context { new_step, ..CONTEXT },
            );
        };
        for at in 0..60 {
            observe(&mut judge, source, target, at == 0);
        }
        let mut minutes = 0;
        while judge.proven() != Verdict::Pass {
            observe(&mut judge, 3, 2, false);
            minutes += 1;
            assert!(minutes <= 15, "{source} and {target}: {:#?}", judge.verdict());
        }
    }
}

/// Any counts that do not contradict themselves, of any size.
fn any_side() -> impl Strategy<Value = Counts> {
    let count = prop_oneof![0u64..5, 0u64..10_000, any::<u64>()];
    let bucket = prop_oneof![0u16..512, 200u16..210];
    (count, prop::array::uniform6(0.0f64..1.0), prop::collection::vec((bucket, any::<u64>()), 0..6)).prop_map(
        |(requests, shares, durations)| {
            let mut rest = requests;
            let mut part = |share: f64| {
                let part = ((rest as f64 * share) as u64).min(rest);
                rest -= part;
                part
            };
            let [status_3xx, status_4xx, status_5xx, failed, abandoned, status_2xx] = shares.map(&mut part);
            let mut latency = Histogram::default();
            for (bucket, count) in durations {
                latency.add(bucket, count);
            }
            let exchange = latency.clone();
            Counts { requests, status_2xx, status_3xx, status_4xx, status_5xx, failed, abandoned, latency, exchange }
        },
    )
}

/// All guards that there are, with any tolerances that can be meant.
fn any_guards() -> impl Strategy<Value = Guards> {
    let guard = (1e-9f64..100.0, 0.0f64..0.999, 0.0f64..1e9);
    (prop::collection::vec(guard, 10), 1e-6f64..0.5, 0u64..1 << 40).prop_map(
        |(numbers, false_revert_max, burst_millis)| {
            let kinds = [
                GuardKind::Errors,
                GuardKind::Success,
                GuardKind::ClientErrors,
                GuardKind::Redirects,
                GuardKind::Latency,
                GuardKind::LatencyBody,
                GuardKind::LatencyTail,
                GuardKind::LatencySlow,
                GuardKind::LatencySteady,
                GuardKind::Exchange,
                GuardKind::Baseline,
            ];
            let guards = kinds
                .into_iter()
                .zip(numbers)
                .map(|(kind, (ratio, margin, weight))| Guard { kind, ratio, margin, weight })
                .collect();
            Guards { guards, false_revert_max, burst_millis, ..Guards::default() }
        },
    )
}

proptest! {
    // Each case is a whole cutover, stored and read after each block.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_counts_and_tolerances_give_numbers(
        guards in any_guards(), thin: bool,
        blocks in prop::collection::vec(
            (prop_oneof![1u64..100_000, 1..=u64::MAX], any_side(), any_side(), any::<bool>(), 0u16..=1000, any::<bool>()),
            1..12,
        ),
    ) {
        // No NaN, no infinity and no overflow for any counts, lengths and weights; the verdict without words is the
        // verdict with them; and what was stored goes on as it was.
        let mut judge = Judge::new(guards, if thin { Baseline::none() } else { baseline() }, 3);
        for (millis, source, target, new_step, weight, source_live) in blocks {
            let block = Block { millis, source, target };
            judge.observe(&block, &Context { new_step, weight, next_weight: Some(weight), source_live });
            let judgement = judge.verdict();
            prop_assert_eq!(judgement.verdict, judge.proven());
            prop_assert!(judgement.evidence.is_finite() && (0.0..=1.0).contains(&judgement.p_value));
            prop_assert!(judge.engine().log_evidence().is_finite());
            for guard in &judgement.guards {
                prop_assert!(guard.evidence.is_finite() && guard.evidence_max.is_finite());
                let figures = [guard.reference_value, guard.target_value, guard.bound];
                prop_assert!(figures.into_iter().flatten().all(|figure| figure.is_finite() && figure >= 0.0));
                prop_assert!(!guard.sentence.contains("NaN") && !guard.sentence.contains("inf "), "{}", guard.sentence);
                for (low, high) in guard.intervals(0.05).into_iter().flatten() {
                    prop_assert!((0.0..=1.0).contains(&low) && low <= high && high <= 1.0);
                }
            }
            let restored: Judge = serde_json::from_str(&serde_json::to_string(&judge).unwrap()).unwrap();
            prop_assert_eq!(&restored, &judge);
        }
    }

    #[test]
    fn with_the_same_history_more_trouble_at_the_target_never_lowers_the_evidence(
        history in prop::collection::vec((0u64..40, 0u64..60), 0..8), trouble in 0u64..300, more in 1u64..300,
        class in 0usize..4, weight in 0.1f64..10.0,
    ) {
        // For each class of status, through dispersion, caps and stakes, beside the guards of the default set.
        let kinds = [GuardKind::Errors, GuardKind::Success, GuardKind::ClientErrors, GuardKind::Redirects];
        let mut guards = Guards::default();
        guards.guards.retain(|guard| guard.kind != kinds[class]);
        guards.guards.push(Guard { weight, ..Guard::usual(kinds[class]) });
        let target = |trouble| match kinds[class] {
            GuardKind::Errors => side(1_000, 20, 14, trouble),
            GuardKind::Redirects => side(1_000, trouble, 14, 1),
            _ => side(1_000, 20, trouble, 1),
        };
        let mut judge = Judge::new(guards, baseline(), 3);
        for (at, (kt, ks)) in history.into_iter().enumerate() {
            judge.observe(&minute(side(3_000, 60, 44, ks), target(kt)), &Context { new_step: at == 0, ..CONTEXT });
        }
        let with = |trouble| {
            let mut judge = judge.clone();
            judge.observe(&minute(side(3_000, 60, 44, 4), target(trouble)), &CONTEXT);
            judge.engine().log_evidence()
        };
        prop_assert!(with(trouble + more) >= with(trouble));
    }

    #[test]
    fn dispersion_does_not_depend_on_how_an_interval_is_split(
        minutes in prop::collection::vec((0u64..30, 0u64..90, 0u64..60, 0u64..180), 4..12), seed: u64,
    ) {
        // The same minutes in blocks of 60, 10 and 1 s, the hits strewn over them at random: the next minute is divided
        // by the same dispersions.
        let mut rng = fastrand::Rng::with_seed(seed);
        let phis = [1u64, 6, 60].map(|parts| {
            let mut judge = Judge::new(Guards::default(), baseline(), 3);
            for (at, &(target_errors, source_errors, target_bad, source_bad)) in minutes.iter().enumerate() {
                let mut strewn = |hits: u64| {
                    let mut of = vec![0u64; parts as usize];
                    (0..hits).for_each(|_| of[rng.usize(0..parts as usize)] += 1);
                    of
                };
                let [te, se, tb, sb] = [target_errors, source_errors, target_bad, source_bad].map(&mut strewn);
                for part in 0..parts as usize {
                    let block = Block {
                        millis: 60_000 / parts,
                        source: side(36_000 / parts, 0, sb[part], se[part]),
                        target: side(24_000 / parts, 0, tb[part], te[part]),
                    };
                    judge.observe(&block, &Context { new_step: at == 0 && part == 0, ..CONTEXT });
                }
            }
            judge.observe(&minute(side(36_000, 0, 400, 36), side(24_000, 0, 260, 24)), &CONTEXT);
            judge.engine().phis()
        });
        prop_assert_eq!(phis[0], phis[1]);
        prop_assert_eq!(phis[0], phis[2]);
    }
}
