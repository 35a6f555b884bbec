//! What clients see when the target dies or stops answering at half of the traffic.

use std::time::Duration;

use serde_json::json;
use tidegate_tests::{clock, servers::nginx};

use crate::{
    load::{Answer, Plan, Pool, Until, assert_no_failure, by_side},
    support::Proxy,
};

/// Between dispatching the first and the last request that a client sees fail.
const BAD_MAX: Duration = Duration::from_secs(1);

/// How long the proxy waits for the first byte of an answer in these tests.
const FIRST_BYTE_MAX: Duration = Duration::from_secs(2);

struct Stage {
    folder: tempfile::TempDir,
    _source: nginx::Nginx,
    target: nginx::Nginx,
    proxy: Proxy,
    pool: Pool,
}

/// A pool of readers at weight 500, with the tripwires armed that a cutover arms.
fn at_half(retry: &str) -> Stage {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let side = |name: &str| {
        let home = folder.path().join(name);
        std::fs::create_dir_all(&home).expect("a new folder");
        nginx::upstreams(&home, &[name])
    };
    let (source, target) = (side("source"), side("target"));
    let first_byte = format!("{}s", FIRST_BYTE_MAX.as_secs());
    let proxy = Proxy::start(
        folder.path(),
        source.ports[0],
        target.ports[0],
        500,
        &["--retry", retry, "--first-byte-timeout", &first_byte],
    );
    let limit = |kind: &str, limit: f64| json!({ "kind": kind, "limit": limit, "requests_min": 10, "window_millis": 500, "source_limit": 0.05 });
    let armed = json!({ "reads": 0, "writes": 0, "limits": [limit("errors", 0.2), limit("unanswered", 0.2)] });
    proxy.call("PUT", "/v1/tripwires", Some(&armed));
    let mut plan = Plan::reads(proxy.port, 16, Until::Stopped);
    plan.pause = Duration::from_millis(2);
    let pool = plan.start();
    Stage { folder, _source: source, target, proxy, pool }
}

impl Stage {
    /// Waits until the proxy has put the traffic back by itself, lets clients go on, and returns every answer. The folder
    /// holds the proxy's socket and log, so it has to outlive the proxy.
    fn after_the_tripwire(self) -> (Vec<Answer>, Proxy, tempfile::TempDir) {
        let start = clock::now();
        while self.proxy.call("GET", "/v1/status", None)["fired"].is_null() {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "no tripwire fired; {} requests failed",
                self.pool.failures().len()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let status = self.proxy.call("GET", "/v1/status", None);
        assert_eq!((&status["reads"], &status["writes"]), (&json!(0), &json!(0)), "the armed share is back: {status}");
        // Long enough for what was under way to fail, and for failures that should not come any more to be seen.
        std::thread::sleep(FIRST_BYTE_MAX + Duration::from_secs(1));
        (self.pool.stop(), self.proxy, self.folder)
    }
}

/// From dispatching the first to dispatching the last request that failed.
fn bad_time(answers: &[Answer]) -> Duration {
    let failed = || answers.iter().filter(|answer| answer.failed()).map(|answer| answer.asked);
    let (first, last) = (failed().min().expect("some requests fail"), failed().max().expect("some requests fail"));
    last - first
}

/// Proves that a target that dies at half of the traffic is left within a second, with nothing but our own tripwire.
#[test]
fn a_killed_target_is_bad_for_a_second_at_most() {
    let stage = at_half("none");
    std::thread::sleep(Duration::from_secs(1));
    stage.target.process.signal("KILL");
    let (answers, proxy, _folder) = stage.after_the_tripwire();
    let bad = bad_time(&answers);
    println!(
        "killed: {} of {} requests failed within {bad:?}",
        answers.iter().filter(|a| a.failed()).count(),
        answers.len()
    );
    assert!(bad <= BAD_MAX, "requests failed for {bad:?}");
    assert!(by_side(&answers, "target") > 100, "the target had traffic before");
    proxy.finish(&["tripwire", "target"]);
}

/// Proves that a target that stops without closing anything is left a second after the first-byte time-out.
#[test]
fn a_stopped_target_is_bad_for_its_time_out_and_a_second_at_most() {
    let stage = at_half("none");
    std::thread::sleep(Duration::from_secs(1));
    stage.target.process.signal("STOP");
    let (answers, proxy, _folder) = stage.after_the_tripwire();
    let bad = bad_time(&answers);
    println!(
        "stopped: {} of {} requests failed within {bad:?}",
        answers.iter().filter(|a| a.failed()).count(),
        answers.len()
    );
    assert!(bad <= BAD_MAX + FIRST_BYTE_MAX, "requests failed for {bad:?}");
    proxy.finish(&["tripwire", "target"]);
}

/// Proves that with retries no read fails of which no byte had been relayed, whatever became of the target.
#[test]
fn with_retries_no_read_fails_that_had_not_begun() {
    let stage = at_half("reads");
    std::thread::sleep(Duration::from_secs(1));
    stage.target.process.signal("KILL");
    let (answers, proxy, _folder) = stage.after_the_tripwire();
    let unanswered: Vec<Answer> = answers.iter().filter(|answer| answer.failed() && !answer.began).cloned().collect();
    assert_no_failure(&unanswered);
    let errors: Vec<Answer> =
        answers.iter().filter(|answer| matches!(answer.outcome, Ok(status) if status >= 500)).cloned().collect();
    assert_no_failure(&errors);
    let retried = proxy.call("GET", "/v1/counters", None)["source"]["retried"].as_u64();
    assert!(retried > Some(0), "some reads were tried on the source: {retried:?}");
    proxy.finish(&["tripwire", "target"]);
}
