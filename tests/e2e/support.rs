//! Proxies under test, the control API through curl, and the second program that counts again.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tidegate_tests::servers::{Process, built_binary};

/// How long the proxy may take to listen; builds may run beside the tests.
const START_MAX: Duration = Duration::from_secs(20);

/// How long a proxy with nothing in flight may take to end.
const STOP_MAX: Duration = Duration::from_secs(2);

/// A running `tidegate proxy`.
pub(crate) struct Proxy {
    pub(crate) process: Process,
    pub(crate) port: u16,
    pub(crate) control: PathBuf,
    generation: u64,
}

impl Proxy {
    /// Starts a plaintext proxy between two ports of this machine.
    pub(crate) fn start(folder: &Path, source: u16, target: u16, weight: u16, more: &[&str]) -> Self {
        let control = folder.join("proxy.sock");
        let mut command = Command::new(built_binary());
        command
            .args(["proxy", "--listen", "127.0.0.1:0", "--plaintext"])
            .args((!more.contains(&"--capture")).then_some("--no-capture"))
            .args([
                "--source",
                &format!("http://127.0.0.1:{source}"),
                "--target",
                &format!("http://127.0.0.1:{target}"),
            ])
            .args(["--weight", &weight.to_string(), "--control", &format!("unix:{}", control.display())])
            .args(more)
            .current_dir(folder);
        let mut process = Process::start("proxy", folder, command);
        let line = process.wait_for_line("listening on http://127.0.0.1:", START_MAX);
        let port = line.split("http://127.0.0.1:").nth(1).and_then(|rest| rest.split(',').next());
        let port = port.and_then(|port| port.trim().parse().ok()).unwrap_or_else(|| panic!("no port in `{line}`"));
        Self { process, port, control, generation: 0 }
    }

    /// One call of the control API; the answer's body, which must be JSON with status 200.
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        control(&self.control, method, path, body).unwrap_or_else(|why| panic!("{why}\n{}", self.process.log()))
    }

    /// Moves the target's weight, reads and writes alike, and returns when the proxy says that it holds.
    pub(crate) fn set_weight(&mut self, target: u16) {
        self.generation += 1;
        let status = self.call(
            "PUT",
            "/v1/weight",
            Some(&serde_json::json!({ "target": target, "generation": self.generation })),
        );
        assert_eq!((&status["reads"], &status["writes"]), (&target.into(), &target.into()), "{status}");
    }

    /// Stops it and checks that it ended well and in time, and that its log has no warning but the expected ones.
    pub(crate) fn finish(mut self, expected: &[&str]) {
        self.process.signal("TERM");
        let status = self.process.wait(STOP_MAX);
        assert!(status.success(), "the proxy ended with {status}:\n{}", self.process.log());
        assert_quiet(&self.process, expected);
    }
}

/// One call over a Unix socket, by curl; the answer's body, or what went wrong.
pub(crate) fn control(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--fail-with-body",
        "--max-time",
        "10",
        "--request",
        method,
        "--unix-socket",
    ])
    .arg(socket);
    if let Some(body) = body {
        curl.args(["--header", "Content-Type: application/json", "--data-binary", &body.to_string()]);
    }
    let answer = curl.arg(format!("http://control{path}")).output().expect("curl is installed: run tests/run once");
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    if !answer.status.success() {
        return Err(format!("{method} {path}: {text} {}", String::from_utf8_lossy(&answer.stderr)));
    }
    serde_json::from_str(&text).map_err(|why| format!("{method} {path} answered `{text}`: {why}"))
}

/// Fails if a log holds a warning, an error or a panic that the test does not expect.
pub(crate) fn assert_quiet(process: &Process, expected: &[&str]) {
    let log = process.log();
    let loud: Vec<&str> = log
        .lines()
        .filter(|line| ["WARN", "ERROR", "panicked"].iter().any(|word| line.contains(word)))
        .filter(|line| !expected.iter().any(|known| line.contains(known)))
        .collect();
    assert!(loud.is_empty(), "unexpected warnings:\n{}\n\nthe whole log:\n{log}", loud.join("\n"));
}

/// Runs the second program, which computes every number of the verdicts, the dossier and what was explained again from the
/// journal; what it checked, or the first number that is not the same.
pub(crate) fn recount(journal: &Path, dossier: &Path, explained: &[PathBuf]) -> Result<String, String> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/recount.py");
    let ended = Command::new("python3").arg(program).arg(journal).arg(dossier).args(explained).output();
    let ended = ended.expect("python3 is installed: run tests/run once");
    let said = String::from_utf8_lossy(if ended.status.success() { &ended.stdout } else { &ended.stderr });
    if ended.status.success() { Ok(said.into_owned()) } else { Err(said.into_owned()) }
}
