//! A whole lab with traffic, met from outside by clients that no one here wrote.

use std::path::PathBuf;
use std::process::Command;

use lab::{Lab, LabConfig};

/// The interpreter of the Python environment that `tests/run` makes.
fn python() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let venv = test.ancestors().nth(3).expect("it lies in the target folder").join("tests/venv/bin/python");
    assert!(venv.exists(), "{} is missing: `tests/run` installs what tests need", venv.display());
    venv
}

/// Runs a script against a lab of its own, at sixty times the speed.
fn run(script: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime needs threads alone");
    let lab = runtime.block_on(Lab::start(LabConfig { speed: 60, ..LabConfig::default() })).expect("a lab starts");
    let output = Command::new(python())
        .arg("-B")
        .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/traffic").join(script))
        .arg(lab.hello().to_string())
        .env("AWS_ACCESS_KEY_ID", "any")
        .env("AWS_SECRET_ACCESS_KEY", "any")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .output()
        .expect("the interpreter runs");
    runtime.block_on(lab.stop());
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert_eq!(out.lines().last(), Some("all done"), "{out}\n{err}");
}

/// Proves that boto3 reads the metrics of requests that were served over both of CloudWatch's protocols: partial while they
/// are fresh, and exactly what the lab's history has when they have settled.
#[test]
fn boto3_reads_the_metrics_of_what_was_served() {
    run("watch.py");
}

/// Proves that what boto3 writes moves real requests: weights late and node by node, tasks that come and go without a
/// failed request, an NLB whose weights move new connections alone.
#[test]
fn boto3_moves_real_traffic() {
    run("move.py");
}
