//! `tidegate policy simulate` by the built program: from somebody's counts to figures, the same each time.

use std::{fmt::Write as _, fs, path::Path};

use serde_json::Value;

use crate::daemon::verb;

/// A policy of one small step, so that a debug build is done in seconds.
const POLICY: &str = "service = \"search\"\nsource.endpoints = [\"http://10.0.0.1:9200\"]\n\
    target.endpoints = [\"http://10.0.1.1:9200\"]\nshift.writes = \"last\"\nshift.steps = [20, 100]\n";

/// Six hours of minutes with 100 requests a second.
fn minutes(file: &Path) {
    let mut text = "time,requests,5xx,4xx,le_10ms,le_50ms,le_200ms,le_inf\n".to_owned();
    for minute in 0..360 {
        let time = 1_767_571_200 + minute * 60;
        writeln!(text, "{time},6000,{},100,1000,4000,5900,6000", 5 + minute % 3).expect("text takes what is written");
    }
    fs::write(file, text).expect("a new file");
}

/// Proves that counts become a baseline and the baseline figures: healthy targets go through, an outage is taken back by
/// a tripwire, the same seed says the same, stdout is JSON alone, and the page lies among the temporary files.
#[test]
fn a_policy_is_simulated_on_what_was_imported() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let temporary = path("temporary");
    fs::create_dir(&temporary).expect("a new folder");
    minutes(&folder.path().join("minutes.csv"));
    fs::write(path("search.toml"), POLICY).expect("a new file");
    let import = ["baseline", "import", &path("minutes.csv"), "--service", "search", "--class", "reads", "--out"];
    verb(&[&import[..], &[&path("search.json")]].concat(), &[]).expect(0);

    let (policy, baseline) = (path("search.toml"), path("search.json"));
    let simulate =
        ["policy", "simulate", &policy, "--baseline", &baseline, "--cutovers", "5", "--fault", "outage:100%"];
    let figures = |more: &[&str]| -> Value {
        let said = verb(&[&simulate[..], more, &["--json"]].concat(), &[("TMPDIR", &temporary)]).expect(0);
        let mut lines = said.json();
        assert_eq!(lines.len(), 1, "{said:?}");
        lines.remove(0)
    };
    let mut first = figures(&["--seed", "3"]);
    let told = &first["policies"][0];
    assert_eq!((&told["healthy"]["done"]["count"], &told["healthy"]["done"]["of"]), (&5.into(), &5.into()), "{told}");
    let fault = &told["faults"][0];
    assert_eq!((&fault["detected"]["share"], &fault["reverted_by"]["tripwire"]), (&1.0.into(), &5.into()), "{fault}");
    assert!(first["warnings"][0].as_str().is_some_and(|warning| warning.contains("thin")), "{}", first["warnings"]);
    let page = first["page"].take();
    let page = Path::new(page.as_str().expect("a path"));
    assert!(page.starts_with(&temporary) && page.is_file(), "{}", page.display());
    let mut again = figures(&["--seed", "3"]);
    again["page"].take();
    assert_eq!(first, again);

    let text = verb(&simulate, &[("TMPDIR", &temporary)]).expect(0);
    for words in
        ["search: 5 cutovers", "mind: the baseline is thin", "a healthy target", "outage:100%", "with charts: "]
    {
        assert!(text.out.contains(words), "no `{words}` in\n{}", text.out);
    }
    let refused = verb(&[&simulate[..], &["--fault", "errors:0"]].concat(), &[]).expect(2);
    assert!(refused.err.contains("write `errors:1%`"), "{refused:?}");
}
