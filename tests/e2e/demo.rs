//! The demo by the built binary: it ends as its scenario should, says so in the documented form, and in time.
#![expect(clippy::print_stdout, reason = "the figures are the point of these tests")]

use std::{
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use crate::{daemon::verb, support::recount};

/// A demo is clients, proxy and two clusters: two at a time are what a small machine can show in time.
static STAGES: [Mutex<()>; 2] = [Mutex::new(()), Mutex::new(())];

/// The keys of the last line, in order.
const KEYS: [&str; 9] = [
    "outcome",
    "requests",
    "failed_requests",
    "source_weight",
    "target_weight",
    "first_bad_ms",
    "last_bad_ms",
    "seconds",
    "dossier",
];

/// Runs a demo on one of the stages; its last line.
fn demo(stage: usize, fault: Option<&str>, seconds_max: f64) -> Value {
    // A demo that failed on this stage says nothing about the next one.
    let _alone = STAGES[stage].lock().unwrap_or_else(PoisonError::into_inner);
    let mut arguments = vec!["demo", "--json"];
    arguments.extend(fault.iter().flat_map(|fault| ["--fault", fault]));
    let said = verb(&arguments, &[]).expect(0);
    let lines = said.json();
    let last = lines.last().expect("a line").clone();
    println!("{fault:?}: {last}");
    let object = last.as_object().expect("one object");
    for key in KEYS {
        assert!(object.contains_key(key), "no `{key}` in {last}");
    }
    assert_eq!(object.len(), KEYS.len(), "nothing else: {last}");
    let seconds = last["seconds"].as_f64().expect("a number");
    assert!(seconds <= seconds_max, "it took {seconds} s of at most {seconds_max} s");
    assert!(last["requests"].as_u64() > Some(1000), "clients were there: {last}");
    let dossier = Path::new(last["dossier"].as_str().expect("a path"));
    assert!(dossier.is_absolute(), "{last}");
    let page = std::fs::read_to_string(dossier).expect("the dossier");
    assert!(page.contains("<svg") && page.contains("</html>") && page.contains("thin"), "charts, and a thin baseline");
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http"), "a page that needs nothing else");
    let folder = dossier.parent().expect("its folder");
    let journal = folder.join("journal.sqlite");
    println!("{fault:?}: {}", recount(&journal, dossier, &[]).expect("every number is the journal's"));
    falsify(&journal);
    let found = recount(&journal, dossier, &[]).expect_err("a count that was changed by one is found");
    assert!(found.contains("requests of the target"), "{found}");
    // A demo makes a folder of its own; what it shows is shown.
    std::fs::remove_dir_all(folder).expect("a folder of the demo's");
    last
}

/// Makes the first judged interval have one request more of the target than were counted.
fn falsify(journal: &Path) {
    let script = "import json, sqlite3, sys\n\
                  base = sqlite3.connect(sys.argv[1])\n\
                  rows = base.execute('SELECT cutover, at, body FROM sample ORDER BY at').fetchall()\n\
                  cutover, at, body = [row for row in rows if json.loads(row[2])['guards']][0]\n\
                  body = json.loads(body)\n\
                  body['observation']['reads']['target']['requests'] += 1\n\
                  base.execute('UPDATE sample SET body = ? WHERE cutover = ? AND at = ?', (json.dumps(body), cutover, at))\n\
                  base.commit()\n";
    let ended = Command::new("python3").args(["-c", script]).arg(journal).output().expect("python3 is installed");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

/// A demo whose target breaks: everything is back with the source, and bad answers came for so long at most.
fn broken(stage: usize, fault: &str, seconds_max: f64, bad_ms_max: u64) {
    let last = demo(stage, Some(fault), seconds_max);
    assert_eq!((&last["outcome"], &last["target_weight"]), (&"reverted".into(), &0.into()), "{last}");
    assert_eq!(last["source_weight"], 1000, "{last}");
    let (first, end) = (last["first_bad_ms"].as_u64(), last["last_bad_ms"].as_u64());
    let (first, end) = first.zip(end).unwrap_or_else(|| panic!("a broken target spoils answers: {last}"));
    assert!(first <= end && end - first <= bad_ms_max, "bad for {} ms: {last}", end.saturating_sub(first));
}

/// Proves that a clean demo moves everything without a failure, within a minute and a half.
#[test]
fn a_clean_demo_is_done() {
    let last = demo(0, None, 90.0);
    assert_eq!(last["outcome"], "done", "{last}");
    assert_eq!((&last["source_weight"], &last["target_weight"]), (&0.into(), &1000.into()), "{last}");
    assert_eq!(last["failed_requests"], 0, "no failure visible to a client: {last}");
    assert!(last["first_bad_ms"].is_null() && last["last_bad_ms"].is_null(), "nothing was spoiled: {last}");
}

/// Proves that a target of whose answers 30 % are errors is left within seconds.
#[test]
fn errors_revert_within_seconds() {
    broken(1, "errors", 180.0, 5_000);
}

/// Proves that a target whose process is gone is left within seconds.
#[test]
fn an_outage_reverts_within_seconds() {
    broken(1, "outage", 180.0, 5_000);
}

/// Proves that a target that accepts and never answers is left within seconds.
#[test]
fn silence_reverts_within_seconds() {
    broken(1, "silent", 180.0, 15_000);
}

/// Proves that a target that is three times as slow is found out by the judge.
#[test]
fn a_slow_target_is_reverted() {
    broken(0, "slow", 180.0, 180_000);
}

/// Proves that a target whose bodies come byte by byte is found out by the judge.
#[test]
fn a_dripping_target_is_reverted() {
    broken(1, "drip", 180.0, 180_000);
}
