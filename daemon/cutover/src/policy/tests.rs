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
        let layers = [builtin(), &layer];
        let resolved = resolve(&layers, &merge(&layers));
        assert_ne!(resolved.problems, [], "{name}");
        let hintless = resolved.problems.iter().find(|problem| problem.hint.is_empty());
        assert!(hintless.is_none(), "{hintless:?}");
        let lines: Vec<String> = resolved.problems.iter().map(ToString::to_string).collect();
        expect_test::expect_file![file.with_extension("txt")].assert_eq(&(lines.join("\n") + "\n"));
    }
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
