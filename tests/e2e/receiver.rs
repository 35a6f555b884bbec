//! Who is told: a webhook's receiver that keeps what it was sent, with a signature check that no one here wrote, and a
//! program that is handed alerts.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tidegate_tests::{clock, servers::state_folder};

/// How long a message may take to come.
const MESSAGE_MAX: Duration = Duration::from_secs(20);

/// A secret in the form of Standard Webhooks.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Checks each message of a JSON list with the standard's own library, and that one byte more would not pass.
const CHECK: &str = r#"
import json, sys
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
hook = Webhook(sys.argv[1])
for message in json.load(sys.stdin):
    hook.verify(message["body"], message["headers"])
    try:
        hook.verify(message["body"] + " ", message["headers"])
    except WebhookVerificationError:
        continue
    sys.exit("a changed body passes")
"#;

/// It listens as long as the test runs.
pub(crate) struct Receiver {
    pub(crate) url: String,
    messages: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    /// Listens on a port of the system's choice, and takes everything with 204.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/alerts", listener.local_addr().expect("a bound socket"));
        let messages = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&messages);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut stream = BufReader::new(stream);
                let (mut headers, mut length) = (json!({}), 0);
                for line in stream.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                    if let Some((name, value)) = line.split_once(": ") {
                        let name = name.to_lowercase();
                        if name == "content-length" {
                            length = value.parse().unwrap_or(0);
                        }
                        headers[name] = value.into();
                    }
                }
                let mut body = vec![0; length];
                if stream.read_exact(&mut body).is_ok() {
                    let body = String::from_utf8_lossy(&body).into_owned();
                    kept.lock().expect("no one panics with it").push(json!({ "headers": headers, "body": body }));
                    // A sender that has gone meanwhile tries again.
                    let _ = stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
                }
            }
        });
        Self { url, messages }
    }

    /// Alerts to this receiver, in the words of a policy.
    pub(crate) fn alerts(&self) -> String {
        format!(
            "\n[alerts.receiver]\nkind = \"webhook\"\nurl = \"{}\"\nsecret = \"env:TEST_WEBHOOK_SECRET\"\n",
            self.url
        )
    }

    /// Waits until a message says `title`, checks every signature, and returns what all messages say.
    pub(crate) fn wait_for(&self, title: &str) -> Vec<Value> {
        let start = clock::now();
        let messages = loop {
            let messages = self.messages.lock().expect("no one panics with it").clone();
            let said = |message: &Value| message["body"].as_str().is_some_and(|body| body.contains(title));
            if messages.iter().any(said) {
                break messages;
            }
            assert!(start.elapsed() < MESSAGE_MAX, "no alert says `{title}`: {messages:#?}");
            thread::sleep(Duration::from_millis(50));
        };
        check_signatures(&messages);
        let parse = |message: &Value| serde_json::from_str(message["body"].as_str().expect("a body")).expect("JSON");
        messages.iter().map(parse).collect()
    }
}

/// What alerts said in short: title and change.
pub(crate) fn said(alerts: &[Value]) -> Vec<String> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    alerts
        .iter()
        .map(|alert| format!("{}: {}", word(&alert["data"]["title"]), word(&alert["data"]["change"])))
        .collect()
}

/// A program that takes alerts on its stdin and keeps them.
pub(crate) struct Pager {
    kept: PathBuf,
    program: PathBuf,
}

impl Pager {
    /// Writes the program into `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        let pager = Self { kept: folder.join("pages.jsonl"), program: folder.join("pager") };
        // One write a message, so that two at once do not mix.
        fs::write(&pager.program, "#!/bin/sh\nmessage=$(cat)\nprintf '%s\\n' \"$message\" >>\"$1\"\n")
            .expect("a new file");
        fs::set_permissions(&pager.program, fs::Permissions::from_mode(0o755)).expect("a file of ours");
        pager
    }

    /// The program and its argument.
    pub(crate) fn argv(&self) -> [String; 2] {
        [&self.program, &self.kept].map(|path| path.display().to_string())
    }

    /// Alerts to this program, in the words of a policy.
    pub(crate) fn alerts(&self) -> String {
        let (program, kept) = (self.program.display(), self.kept.display());
        format!("\n[alerts.pager]\nkind = \"command\"\nargv = [\"{program}\", \"{kept}\"]\n")
    }

    /// Waits until a message says `title: change`, and returns what all messages say.
    pub(crate) fn wait_for(&self, wanted: &str) -> Vec<String> {
        self.wait_until(wanted, |alert| alert == wanted)
    }

    /// Waits until a message is as `wanted`, which `what` says in words, and returns what all messages say.
    pub(crate) fn wait_until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let start = clock::now();
        loop {
            let text = fs::read_to_string(&self.kept).unwrap_or_default();
            // What follows the last line end is still being written.
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let messages: Vec<Value> =
                whole.lines().map(|line| serde_json::from_str(line).expect("alerts are JSON")).collect();
            let told = said(&messages);
            if told.iter().any(|alert| wanted(alert)) {
                return told;
            }
            assert!(start.elapsed() < MESSAGE_MAX, "no alert says `{what}`: {told:#?}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn check_signatures(messages: &[Value]) {
    let mut python = Command::new(state_folder().join("venv/bin/python"))
        .args(["-c", CHECK, SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tests/run installs Python packages");
    let mut stdin = python.stdin.take().expect("a pipe");
    stdin.write_all(Value::from(messages.to_vec()).to_string().as_bytes()).expect("it reads its input");
    drop(stdin);
    let ended = python.wait_with_output().expect("it ends when its input does");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}
