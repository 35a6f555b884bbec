//! Each class of status has its own share: targets that answer without errors and yet not as the source does.

use judge::{
    Act, AlarmKind, Baseline, Block, Context, Counts, Guard, GuardKind, Guards, Judge, Judgement, Pass, Reference,
    Verdict,
};

/// Requests answered with 2XX, 3XX, 4XX and 5XX; latencies as ever.
fn side([ok, redirects, client_errors, errors]: [u64; 4]) -> Counts {
    let requests = ok + redirects + client_errors + errors;
    let mut counts = Counts {
        requests,
        status_2xx: ok,
        status_3xx: redirects,
        status_4xx: client_errors,
        status_5xx: errors,
        ..Counts::default()
    };
    for (part, bucket) in [(2, 230), (4, 235), (5, 240), (20, 260)] {
        counts.latency.add(bucket, requests / part);
    }
    counts
}

fn baseline(source: [u64; 4]) -> Baseline {
    let minutes = vec![Block { millis: 60_000, source: side(source), target: Counts::default() }; 60];
    Baseline::from_blocks(&minutes, 30)
}

/// Judges equal blocks at 10 % until there is a verdict, for six hours at most; how many seconds it took, and the
/// judgement.
fn until_verdict(
    guards: &Guards,
    millis: u64,
    next_weight: u16,
    source: [u64; 4],
    target: [u64; 4],
) -> (u64, Judgement) {
    let mut judge = Judge::new(guards.clone(), baseline(source.map(|count| count * 60_000 / millis)), 5);
    let block = Block { millis, source: side(source), target: side(target) };
    let blocks = 6 * 3_600_000 / millis;
    for at in 1..=blocks {
        let context = Context { new_step: at == 1, weight: 100, next_weight: Some(next_weight), source_live: true };
        judge.observe(&block, &context);
        assert_eq!(judge.proven(), judge.verdict().verdict);
        if judge.proven() != Verdict::Unknown || at == blocks {
            return (at * millis / 1_000, judge.verdict());
        }
    }
    unreachable!("the loop ends by itself");
}

fn only(kinds: &[GuardKind]) -> Guards {
    Guards { guards: kinds.iter().copied().map(Guard::usual).collect(), ..Guards::default() }
}

#[test]
fn a_target_that_sends_everyone_to_a_login_page_reverts_within_half_a_minute() {
    // The default guards, of which none looks at redirects; intervals of a second, ten and sixty; and a service whose
    // source redirects now and then.
    for (millis, seconds) in [(1_000, 20), (10_000, 20), (60_000, 120)] {
        let many = |count: u64| count * millis / 1_000;
        for redirects in [0, 3] {
            let source = [450 - redirects, redirects, 4, 0].map(many);
            let (took, judgement) = until_verdict(&Guards::default(), millis, 250, source, [0, 50, 0, 0].map(many));
            assert_eq!((judgement.verdict, took), (Verdict::Fail, seconds));
            let alarm = &judgement.alarms[0];
            assert_eq!((alarm.kind, alarm.act), (AlarmKind::OtherAnswers, Act::Revert));
            assert!(alarm.sentence.contains("100 % of its requests with a redirect (3XX)"), "{}", alarm.sentence);
        }
    }
}

#[test]
fn a_target_that_refuses_everyone_reverts_within_half_a_minute() {
    // It does not know the clients' keys: 401 to all. And it knows no path: 404 to all but a few.
    for target in [[0, 0, 500, 0], [60, 40, 400, 0]] {
        let (took, judgement) = until_verdict(&Guards::default(), 10_000, 250, [4_500, 20, 30, 1], target);
        assert_eq!((judgement.verdict, took), (Verdict::Fail, 20), "{judgement:#?}");
        let failed: Vec<GuardKind> =
            judgement.guards.iter().filter(|guard| guard.verdict == Verdict::Fail).map(|guard| guard.guard).collect();
        assert_eq!(failed, [GuardKind::Success]);
        assert!(judgement.alarms[0].sentence.contains("client error (4XX)"));
    }
}

#[test]
fn a_target_that_redirects_more_than_the_budget_never_passes() {
    // Too few for the hard rule: a tenth at the target, nothing at the source; six hours of it, whatever comes next
    // being 50 or 100 %. And all of them, where the source redirects half, at a next weight so small that its harm to
    // the service would be within any budget.
    let guards = Guards { pass: Pass { bake_min_millis: 60_000, ..Pass::default() }, ..Guards::default() };
    for (next_weight, source, target) in [
        (500, [27_000, 0, 50, 5], [2_700, 300, 5, 0]),
        (1000, [27_000, 0, 50, 5], [2_700, 300, 5, 0]),
        (10, [13_500, 13_500, 50, 5], [20, 2_970, 10, 0]),
    ] {
        let (_, judgement) = until_verdict(&guards, 60_000, next_weight, source, target);
        assert_ne!(judgement.verdict, Verdict::Pass, "{next_weight}: {judgement:#?}");
        if judgement.verdict == Verdict::Unknown {
            let success = judgement.guards.iter().find(|guard| guard.guard == GuardKind::Success).unwrap();
            assert!(success.sentence.contains("get a redirect (3XX)"), "{}", success.sentence);
        }
    }
}

#[test]
fn a_service_that_redirects_much_passes_like_any_other() {
    // A third of all answers are "not modified"; at the target it is a little more, a little less, or none at all. And
    // one percent more redirects where there were none.
    for (source, target) in [
        ([18_000, 9_000, 50, 5], [2_000, 1_000, 5, 0]),
        ([18_000, 9_000, 50, 5], [1_800, 1_200, 5, 0]),
        ([18_000, 9_000, 50, 5], [3_000, 0, 5, 0]),
        ([27_000, 0, 50, 5], [2_970, 30, 5, 0]),
    ] {
        let (took, judgement) = until_verdict(&Guards::default(), 60_000, 250, source, target);
        assert_eq!((judgement.verdict, took), (Verdict::Pass, 180), "{judgement:#?}");
    }
}

#[test]
fn a_policy_may_say_that_redirects_are_no_matter() {
    let guards = Guards { pass: Pass { redirects_budget: 1.0, ..Pass::default() }, ..Guards::default() };
    let (_, judgement) = until_verdict(&guards, 60_000, 250, [27_000, 0, 50, 5], [0, 3_000, 5, 0]);
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:#?}");
    let (_, judgement) = until_verdict(&guards, 60_000, 250, [27_000, 0, 50, 5], [0, 0, 3_000, 0]);
    assert_eq!(judgement.verdict, Verdict::Fail, "but client errors are");
}

#[test]
fn each_class_has_a_guard_of_its_own() {
    // By evidence, not by the hard rule: twice the 4XX, a twentieth redirected. The guard that is asked says so, the
    // guard on the other class does not, and a healthy target passes it.
    let source = [26_000, 270, 540, 27];
    let cases = [
        (GuardKind::ClientErrors, [2_800, 30, 150, 3], "5 % of requests end in a client error (4XX) at the target"),
        (
            GuardKind::Redirects,
            [2_650, 300, 60, 3],
            "10 % of requests are answered with a redirect (3XX) at the target",
        ),
    ];
    for (kind, target, says) in cases {
        let (took, judgement) = until_verdict(&only(&[kind]), 60_000, 250, source, target);
        let guard = &judgement.guards[0];
        assert_eq!((judgement.verdict, guard.verdict), (Verdict::Fail, Verdict::Fail), "{judgement:#?}");
        assert!(took <= 1_800, "{kind:?} took {took} s");
        assert_eq!(guard.reference, Reference::Source);
        assert!(guard.sentence.starts_with(says), "{}", guard.sentence);
        let (_, judgement) = until_verdict(&only(&[kind]), 60_000, 250, source, [2_888, 30, 60, 3]);
        assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:#?}");
    }
    let (_, judgement) = until_verdict(&only(&[GuardKind::ClientErrors]), 60_000, 250, source, [2_650, 300, 60, 3]);
    assert_ne!(judgement.verdict, Verdict::Fail, "redirects are no client errors");
}

#[test]
fn the_parts_of_latency_are_told_apart() {
    // The whole distribution later by half, the slowest twentieth by double, and three percent of answers very slow: the
    // guard that is made for it fails, each alone in its policy.
    let source = side([30_000, 0, 0, 30]);
    let base = side([3_000, 0, 0, 3]);
    let moved = |later: &dyn Fn(u16) -> u16| {
        let mut counts = base.clone();
        counts.latency = judge::Histogram::default();
        for (bucket, count) in base.latency.iter() {
            counts.latency.add(later(bucket), count);
        }
        counts
    };
    let body = moved(&|bucket| bucket + 9);
    let tail = moved(&|bucket| if bucket >= 260 { bucket + 16 } else { bucket });
    let mut slow = base.clone();
    slow.latency.add(400, 90);
    let healthy = Baseline::from_blocks(
        &vec![Block { millis: 60_000, source: source.clone(), target: Counts::default() }; 60],
        30,
    );
    let verdict = |kind: GuardKind, target: &Counts| {
        let mut judge = Judge::new(only(&[kind, GuardKind::Errors]), healthy.clone(), 5);
        for at in 0..30 {
            let block = Block { millis: 60_000, source: source.clone(), target: target.clone() };
            let context = Context { new_step: at == 0, weight: 100, next_weight: Some(250), source_live: true };
            judge.observe(&block, &context);
        }
        let guard = judge.verdict().guards[0].clone();
        (guard.verdict, guard.sentence)
    };
    for (kind, target, says) in [
        (GuardKind::LatencyBody, &body, "half of the answers begin within"),
        (GuardKind::LatencyTail, &tail, "99 % of answers begin within"),
        (GuardKind::LatencySlow, &slow, "2.9 % of answers take longer than"),
    ] {
        assert_eq!(verdict(kind, &base).0, Verdict::Pass, "{kind:?}");
        let (verdict, sentence) = verdict(kind, target);
        assert_eq!(verdict, Verdict::Fail, "{kind:?}: {sentence}");
        assert!(
            sentence.starts_with(says) && sentence.contains("worse than the source by more than 4.4 %;"),
            "{sentence}"
        );
    }
}

#[test]
fn other_guards_leave_the_default_set_as_it_was() {
    // Guards of no weight beside the four of the method change nothing about its evidence, and guards with a weight get
    // their part of the whole.
    let source = [26_000, 270, 540, 27];
    let evidence = |guards: &Guards| {
        let mut judge = Judge::new(guards.clone(), baseline(source), 5);
        for at in 0..5 {
            let block = Block { millis: 60_000, source: side(source), target: side([2_600, 60, 100, 8]) };
            let context = Context { new_step: at == 0, weight: 100, next_weight: Some(250), source_live: true };
            judge.observe(&block, &context);
        }
        (judge.engine().log_evidence(), judge.engine().part_of(GuardKind::Errors))
    };
    let usual = evidence(&Guards::default());
    assert!((usual.1.unwrap() - 0.42).abs() < 1e-12);
    let mut with = Guards::default();
    for kind in [GuardKind::ClientErrors, GuardKind::Redirects, GuardKind::LatencyBody, GuardKind::LatencySlow] {
        with.guards.push(Guard { weight: 0.0, ..Guard::usual(kind) });
    }
    assert_eq!(evidence(&with), usual);
    with.guards[4].weight = 1.0;
    assert!((evidence(&with).1.unwrap() - 0.21).abs() < 1e-12);
}
