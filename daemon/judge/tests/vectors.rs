//! Published and computed values, and a whole cutover's stream, against the crate.

#[path = "../examples/vectors/check.rs"]
mod check;

/// Checks a file and wants everything in it to agree.
fn agrees(text: &str, at_least: usize) {
    let mut report = check::Report::default();
    report.file(&serde_json::from_str(text).expect("the file is JSON")).expect("the file has vectors or streams");
    assert_eq!((report.failed(), report.skipped()), (0, 0), "{}", report.lines().join("\n"));
    assert!(report.passed() >= at_least, "only {} values were checked", report.passed());
}

#[test]
fn reference_values_are_reproduced() {
    // R, confseq, safestats, ssrm and forty-digit values of what the crate computes.
    agrees(include_str!("vectors/reference.json"), 40);
}

#[test]
fn a_forty_minute_stream_is_reproduced() {
    // Every dispersion, component and sum of the measured prototype, to 1e-9.
    agrees(include_str!("vectors/golden_stream.json"), 400);
}

#[test]
fn a_wrong_value_is_noticed() {
    // The proof that the checks above can fail: one count changed.
    let mut stream: serde_json::Value = serde_json::from_str(include_str!("vectors/golden_stream.json")).unwrap();
    stream["H1_err"]["blocks"][3]["errT"] = 40.into();
    let mut report = check::Report::default();
    report.file(&stream).unwrap();
    assert!(report.failed() > 0);
}
