//! Clients that no one here wrote: boto3 and the official command line, unmodified, with any credentials.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::support::start;

/// The interpreter or a program of the Python environment that `tests/run` makes.
fn python(program: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let venv = test.ancestors().nth(3).unwrap().join("tests/venv/bin").join(program);
    assert!(venv.exists(), "{} is missing: `tests/run` installs what tests need", venv.display());
    Command::new(venv)
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name)
}

/// The environment of a client: the endpoint, credentials that nobody checks, and nothing of the machine's.
fn client(mut command: Command, endpoint: &str) -> Command {
    command
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_ACCESS_KEY_ID", "any")
        .env("AWS_SECRET_ACCESS_KEY", "any")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_PAGER", "")
        .env("AWS_MAX_ATTEMPTS", "1")
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN");
    command
}

/// Proves that boto3 reads, changes, creates and deletes what a cutover touches, and understands every refusal: its parsers
/// are made from AWS's own service models, so a shape that is wrong here fails there.
#[test]
fn boto3_works_against_the_lab() {
    let lab = start(60, false);
    let scene = serde_json::to_string(lab.lab().scene()).unwrap();
    let mut command = client(python("python"), &lab.lab().endpoint());
    let output = command.arg("-B").arg(script("boto.py")).arg(scene).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    let done: Vec<&str> = out.lines().collect();
    assert!(done.len() >= 10 && done.last() == Some(&"all done"), "{out}\n{err}");
}

/// Proves that the official command line shifts weights and reads them back, and that its words for a refusal are AWS's.
#[test]
fn the_official_command_line_works_against_the_lab() {
    let lab = start(1, false);
    let scene = lab.lab().scene().clone();
    let aws = |arguments: &[&str]| {
        let mut command = client(python("aws"), &lab.lab().endpoint());
        let output = command.args(arguments).args(["--output", "text"]).output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), out.trim().to_owned(), String::from_utf8(output.stderr).unwrap())
    };
    let weights = "Listeners[0].DefaultActions[0].ForwardConfig.TargetGroups[].Weight";
    let read = ["elbv2", "describe-listeners", "--listener-arns", &scene.listener_arn, "--query", weights];
    let (good, out, err) = aws(&read);
    assert!(good && out == "1\t0", "{out}\n{err}");
    let actions = |source: u32, target: u32| {
        json!([{"Type": "forward", "ForwardConfig": {"TargetGroups": [
            {"TargetGroupArn": scene.source_tg, "Weight": source}, {"TargetGroupArn": scene.target_tg, "Weight": target}]}}])
        .to_string()
    };
    let write = |actions: &str| {
        aws(&["elbv2", "modify-listener", "--listener-arn", &scene.listener_arn, "--default-actions", actions])
    };
    let (good, _, err) = write(&actions(90, 10));
    assert!(good, "{err}");
    assert_eq!(aws(&read).1, "90\t10");
    let (good, _, err) = write(&actions(1000, 0));
    assert!(!good && err.contains("(ValidationError) when calling the ModifyListener operation"), "{err}");
    let service = ["ecs", "describe-services", "--cluster", &scene.cluster, "--services", &scene.target_service];
    let (good, out, err) = aws(&[&service[..], &["--query", "services[0].[runningCount,desiredCount]"]].concat());
    assert!(good && out == "2\t2", "{out}\n{err}");
    let (good, out, err) = aws(&["sts", "get-caller-identity", "--query", "Account"]);
    assert!(good && out == "123456789012", "{out}\n{err}");
    lab.fault("expired-token", "DescribeListeners", 1);
    let (good, _, err) = aws(&read);
    assert!(!good && err.contains("(ExpiredToken)"), "{err}");
}
