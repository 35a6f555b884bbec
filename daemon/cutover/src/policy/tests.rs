//! What a policy file may say, and what is said about one that may not.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

const USUAL: &str = r#"
service = "search"
[source]
endpoints = ["http://10.0.0.1:9200"]
[target]
endpoints = ["http://10.0.1.1:9200"]
[shift]
writes = "last"
"#;

fn check(text: &str, expected: &Expect) {
    let problems = match read(text, "search.toml") {
        Ok(_) => "sound\n".to_owned(),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n") + "\n",
    };
    expected.assert_eq(&problems);
}

#[test]
fn a_usual_service_fits_on_one_screen() {
    // Proves: the service, its sides and the writes are all that must be said.
    let policy = read(USUAL, "search.toml").unwrap();
    let steps: Vec<String> = policy.shift.steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        steps.join(" | "),
        "reads 1 %, writes 0 % | reads 5 %, writes 0 % | reads 20 %, writes 0 % | reads 50 %, writes 0 % | reads 95 %, writes 0 % | 100 %"
    );
    assert_eq!(policy.guards.len(), 4);
    assert_eq!(policy.tripwires.len(), 3);
}

#[test]
fn the_builtin_layer_is_sound() {
    // Proves: what we assume passes our own checks, and says every key that has a default.
    assert_eq!(builtin().problems, []);
}

#[test]
fn an_empty_file_is_told_all_that_is_missing() {
    // Proves: what has no default is asked for at once, not one by one.
    check(
        "",
        &expect![[r#"
        search.toml:1:1: the service's name is missing: say `service` (hint: write `service = "NAME"` at the top of the file)
        search.toml:1:1: what a split means for writes is missing: say `shift.writes` (hint: write `writes = "last"` (they stay with the source until the last step) or `writes = "split"`)
        search.toml:1:1: the source has no endpoints: say `source.endpoints` (hint: write `endpoints = ["http://HOST:PORT"]` under `[source]`)
        search.toml:1:1: the target has no endpoints: say `target.endpoints` (hint: write `endpoints = ["http://HOST:PORT"]` under `[target]`)
    "#]],
    );
}

#[test]
fn every_problem_of_a_file_is_reported_at_once() {
    // Proves: syntax, unknown keys, wrong units and types, and contradictions are found in one look.
    check(
        r#"servic = "search"
[source]
endpoints = ["10.0.0.1:9200"]
[target]
endpoints = "http://10.0.1.1:9200"
[shift]
writes = "lats"
steps = [1, 5.25, 4, 50]
bake_min = "5 mins"
bake_max = 300
warm_up = 2h
[guards.errors]
tolerance = "-10 %"
[windows]
zone = "Europe/Belin"
"#,
        &expect![[r#"
            search.toml:1:1: unknown key `servic` (hint: did you mean `service`?)
            search.toml:3:14: `10.0.0.1:9200` does not begin with `http://` or `https://` (hint: write `http://10.0.0.1:9200` or `https://10.0.0.1:9200`)
            search.toml:5:13: this is text, but a list belongs here (hint: write `["http://10.0.1.1:9200"]`)
            search.toml:7:10: `lats` is not known here (hint: did you mean `"last"`? It is one of `last`, `split`)
            search.toml:8:13: 5.25 % has more than one decimal, and weights are per mille (hint: write 5.3)
            search.toml:8:19: the step 4 % goes down from 5.3 % (hint: a ladder only rises; going down is what `revert` is for)
            search.toml:8:22: the last step is 50 %, and the rest would stay with the source for ever (hint: end the ladder with 100)
            search.toml:9:12: `5 mins` is not a duration (hint: write `5m`)
            search.toml:10:12: this is a number, but a duration belongs here (hint: say the unit: `"300s"` or `"300m"`)
            search.toml:11:11: string values must be quoted, expected literal string (hint: text needs quotes: `"5m"`)
            search.toml:13:13: a tolerance of -10 % asks the target to be better than the source (hint: a tolerance is 0 % or more; 10 % lets the target be 10 % worse)
            search.toml:15:8: there is no time zone `Europe/Belin` (hint: did you mean `Europe/Berlin`?)
        "#]],
    );
}

/// The policy of one file.
fn over_builtins(layer: &Layer) -> Resolved {
    let mut layers = builtins(std::iter::once(layer));
    layers.push(layer);
    resolve(&layers, &merge(&layers))
}

#[test]
fn bad_policies_are_told_where_and_what_instead() {
    // Proves: each file of `bad/` gets exactly the problems of the text file beside it, each with its line and a hint.
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/policy/bad");
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() >= 40, "{} files", files.len());
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let layer = parse(&std::fs::read_to_string(&file).unwrap(), &name);
        let resolved = over_builtins(&layer);
        assert_ne!(resolved.problems, [], "{name}");
        let hintless = resolved.problems.iter().find(|problem| problem.hint.is_empty());
        assert!(hintless.is_none(), "{hintless:?}");
        let lines: Vec<String> = resolved.problems.iter().map(ToString::to_string).collect();
        expect_test::expect_file![file.with_extension("txt")].assert_eq(&(lines.join("\n") + "\n"));
    }
}

#[test]
fn a_rehearsal_of_a_minute_can_be_said() {
    // Proves: seconds instead of hours, down to the proxies' own counters, contradict nothing but the recorded baseline.
    let text = r#"
        service = "rehearsal"
        [balancer]
        retry = "none"
        sticky = "cookie:session"
        [source]
        endpoints = ["http://127.0.0.1:1"]
        [target]
        endpoints = ["http://127.0.0.1:2"]
        [baseline]
        record = "5s"
        intervals_min = 30
        [shift]
        steps = [5, 25, 50, 95, 100]
        writes = "split"
        interval = "1s"
        bake_min = "4s"
        bake_max = "60s"
        warm_up = "1s"
        settle = "200ms"
        share_tolerance = "10 %"
        requests_min = 100
        [guards]
        burst = "10s"
        [guards.latency]
        tolerance = "9 %"
        [guards.exchange]
        enabled = true
        tolerance = "13.9 %"
        requests_min = 50
        on_unknown = "ignore"
        [tripwires.errors]
        window = "1s"
        limit = "20 %"
        [tripwires.unanswered]
        window = "3s"
        [tripwires.latency]
        limit = "3s"
        window = "2s"
        [unknown]
        hold_budget = "60s"
        blind_budget = "5s"
        on_timeout = "revert"
        [drain]
        quiet = "3s"
        timeout = "30s"
    "#;
    let layer = parse(text, "rehearsal.toml");
    let resolved = over_builtins(&layer);
    let told: Vec<_> = resolved.problems.iter().map(|problem| (problem.severity, problem.line)).collect();
    assert_eq!(told, [(Severity::Warning, 11)]);
    let policy = resolved.policy.unwrap();
    assert_eq!(policy.guards.len(), 5);
    assert_eq!(policy.shift.settle.as_millis(), 200);
    assert_eq!(policy.tripwires.len(), 4);
    // Latency tolerances are whole buckets, or the judge would round them up by one.
    let exchange = policy.guards.iter().find(|guard| guard.guard.kind == judge::GuardKind::Exchange).unwrap();
    assert!((exchange.guard.ratio.log2() * 16.0 - 3.0).abs() < 1e-9);
}

#[test]
fn a_policy_for_an_alb_needs_two_target_groups_and_counts_in_minutes() {
    // Proves: the layer for an ALB stands below what is written, and what is written stands above it.
    let text = r#"
        service = "search"
        [balancer]
        kind = "alb"
        [source]
        target_group = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/ALBSourceProxy-dev-TG/73e2d6bc24d8a067"
        [target]
        target_group = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/ALBTargetProxy-dev-TG/0123456789abcdef"
        [shift]
        writes = "split"
        warm_up = "3m"
    "#;
    let resolved = over_builtins(&parse(text, "search.toml"));
    assert_eq!(resolved.problems, []);
    let policy = resolved.policy.unwrap();
    let BalancerPolicy::Alb { listener: None, rules, source, target } = &policy.balancer else { panic!("{policy:?}") };
    assert!(rules.is_empty() && source.contains("ALBSourceProxy") && target.contains("ALBTargetProxy"));
    assert_eq!(policy.metrics, MetricsPolicy::Cloudwatch { settle: Duration::from_mins(2) });
    assert_eq!((policy.shift.interval.as_secs(), policy.shift.warm_up.as_secs()), (60, 180));
    // The layer says nothing of proxies, so what it would need is not asked for.
    assert!(policy.source.endpoints.is_empty());
    let again: Policy = serde_json::from_str(&serde_json::to_string(&policy).unwrap()).unwrap();
    assert_eq!(again, policy);
}

#[test]
fn ladders_by_rule_rise_to_all() {
    // Proves: the shorthands give the lists that their words promise, tenths and the last comparison included.
    let percents = |rule: &str| -> Vec<f64> {
        let text = USUAL.replace("\"last\"", "\"split\"") + &format!("steps = \"{rule}\"\n");
        read(&text, "search.toml").unwrap().shift.steps.iter().map(|share| share.reads.fraction() * 100.0).collect()
    };
    assert_eq!(percents("linear"), [10., 20., 30., 40., 50., 60., 70., 80., 90., 95., 100.]);
    assert_eq!(percents("linear 25 %"), [25., 50., 75., 95., 100.]);
    assert_eq!(percents("exponential"), [1., 2., 4., 8., 16., 32., 64., 95., 100.]);
    assert_eq!(percents("exponential 4 from 0.5 to 90"), [0.5, 2., 8., 32., 90., 100.]);
}

#[test]
fn a_window_past_midnight_is_two() {
    // Proves: the evening belongs to its day and the morning to the day after, Sunday night included.
    let text = USUAL.to_owned() + "[windows]\nzone = \"europe/berlin\"\nallow = [\"Sat-Sun 22:00-02:00\"]\n";
    let windows = read(&text, "search.toml").unwrap().windows;
    assert_eq!(windows.zone, "Europe/Berlin");
    let evening = ChangeWindow { days: vec![6, 7], from_minute: 1320, to_minute: 1440 };
    let morning = ChangeWindow { days: vec![1, 7], from_minute: 0, to_minute: 120 };
    assert_eq!(windows.allow, [evening, morning]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}") {
        // Proves: any text gives problems or a policy, and every problem lies inside the text.
        prop_in_bounds(&text)?;
    }

    #[test]
    fn no_torn_policy_makes_the_parser_panic(cut in 0usize..6000, insert in "[\\[\\]{}=\"'\n.,#0-9a-z% -]{0,6}", drop in 0usize..12) {
        // Proves: the same for texts that are nearly policies, which reach much deeper.
        let mut text = include_str!("builtin.toml").to_owned() + USUAL;
        let from = cut.min(text.len());
        let to = (from + drop).min(text.len());
        if text.is_char_boundary(from) && text.is_char_boundary(to) {
            text.replace_range(from..to, &insert);
        }
        prop_in_bounds(&text)?;
    }
}

fn prop_in_bounds(text: &str) -> Result<(), TestCaseError> {
    if let Err(problems) = read(text, "any.toml") {
        prop_assert!(!problems.is_empty());
        for problem in problems {
            prop_assert!(problem.span.start <= problem.span.end && problem.span.end <= text.len(), "{problem:?}");
            prop_assert!(problem.line >= 1 && problem.column >= 1);
        }
    }
    Ok(())
}
