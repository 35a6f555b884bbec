//! The daemon under test with a world of its own: a folder, nginx on both sides, a proxy in a process of its own, and the
//! command line.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tidegate_tests::{
    clock,
    servers::{Process, built_binary, nginx},
};

use crate::{
    load::{Plan, Pool, Until},
    support::{Proxy, assert_quiet},
};

/// How long the daemon may take to be ready; builds may run beside the tests.
const START_MAX: Duration = Duration::from_secs(30);

/// How long the daemon may take to end, whatever goes on.
const STOP_MAX: Duration = Duration::from_secs(2);

/// How long one verb may take, a whole cutover that it follows among them.
const VERB_MAX: Duration = Duration::from_mins(4);

/// How long a cutover may stay at one place.
const PHASE_MAX: Duration = Duration::from_mins(2);

/// The one service.
pub(crate) const SERVICE: &str = "shop";

/// What a verb said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Standard output as JSON values, one a line; anything else there fails.
    pub(crate) fn json(&self) -> Vec<Value> {
        let parse =
            |line| serde_json::from_str(line).unwrap_or_else(|why| panic!("`{line}` is no JSON ({why}): {self:?}"));
        self.out.lines().map(parse).collect()
    }

    /// Fails unless it ended with `code`.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

/// Runs a verb of the built program to its end, with nothing of the surroundings' settings.
pub(crate) fn verb(arguments: &[&str], settings: &[(&str, &str)]) -> Said {
    // `timeout` kills what does not end: a verb that hangs fails its test by name.
    let mut command = Command::new("timeout");
    command.arg(VERB_MAX.as_secs().to_string()).arg(built_binary()).args(arguments);
    let output =
        clean(&mut command).envs(settings.iter().copied()).output().expect("`timeout` is a program everywhere");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

fn clean(command: &mut Command) -> &mut Command {
    for name in ["TIDEGATE_API", "TIDEGATE_TOKEN", "TIDEGATE_ACTOR", "TIDEGATE_STATE_DIR", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

/// Everything but the daemon: it can be started, killed and started again on it.
pub(crate) struct World {
    pub(crate) source: nginx::Nginx,
    pub(crate) target: nginx::Nginx,
    pub(crate) proxy: Proxy,
    /// The proxy's siblings, if the service has any.
    pub(crate) siblings: Vec<Proxy>,
    folder: tempfile::TempDir,
    starts: u32,
}

impl World {
    /// Two sides, a proxy with `proxy` as further arguments, and a policy with `more` behind what every one here says.
    pub(crate) fn new(proxy: &[&str], more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let side = |name: &str| {
            let home = folder.path().join(name);
            fs::create_dir_all(&home).expect("a new folder");
            nginx::upstreams(&home, &[name])
        };
        let (source, target) = (side("source"), side("target"));
        let proxy = Proxy::start(folder.path(), source.ports[0], target.ports[0], 0, proxy);
        let world = Self { source, target, proxy, siblings: Vec::new(), folder, starts: 0 };
        for name in ["policies", "state"] {
            fs::create_dir(world.path(name)).expect("a new folder");
        }
        world.write_policy(&world.policy(more));
        world.configure("");
        world
    }

    /// As [`World::new`], with one more proxy for the same sides.
    pub(crate) fn with_a_sibling(proxy: &[&str], more: &str) -> Self {
        let mut world = Self::new(proxy, more);
        fs::create_dir(world.path("sibling")).expect("a new folder");
        world.siblings.push(world.sibling(0, proxy));
        world.write_policy(&world.policy(more));
        world
    }

    /// Starts the sibling, where it was before if there was one.
    pub(crate) fn sibling(&self, weight: u16, proxy: &[&str]) -> Proxy {
        Proxy::start(&self.path("sibling"), self.source.ports[0], self.target.ports[0], weight, proxy)
    }

    /// Writes the service's policy file.
    pub(crate) fn write_policy(&self, text: &str) {
        fs::write(self.path(&format!("policies/{SERVICE}.toml")), text).expect("a file of ours");
    }

    /// A place in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the daemon's settings, with `more` behind its section `[http]`: keys of that, or more sections.
    pub(crate) fn configure(&self, more: &str) {
        let place = |name: &str| self.path(name).display().to_string();
        let text = format!(
            "state_dir = \"{}\"\npolicies_dir = \"{}\"\n\n[log]\nformat = \"json\"\n\n[http]\nsocket = \"{}\"\n{more}\n",
            place("state"),
            place("policies"),
            place("tidegate.sock"),
        );
        fs::write(self.path("tidegate.toml"), text).expect("a file of ours");
    }

    /// A policy like any other, only in a hurry. Latency is not judged: two servers on a machine that is busy with other
    /// tests differ by more than any tolerance would say, and a judge that is wrong once in twenty times is doing what it
    /// promises. What latency does is shown by the demo, and with numbers in the judge's own tests.
    pub(crate) fn policy(&self, more: &str) -> String {
        format!(
            "service = \"{SERVICE}\"

[source]
endpoints = [\"http://127.0.0.1:{source}\"]

[target]
endpoints = [\"http://127.0.0.1:{target}\"]

[balancer]
proxies = [{proxies}]

[baseline]
record = \"3s\"

[shift]
steps = [10, 50, 95, 100]
writes = \"split\"
interval = \"1s\"
bake_min = \"3s\"
bake_max = \"60s\"
warm_up = \"1s\"
settle = \"200ms\"
requests_min = 100

[guards.latency]
enabled = false

[pass]
errors_budget = \"0.5 %\"

[tripwires.errors]
kind = \"errors\"
limit = \"20 %\"
window = \"500ms\"
requests_min = 10
source_limit = \"5 %\"

[unknown]
blind_budget = \"20s\"

[revert]
deadline = \"20s\"
reassert = \"2s\"
close_connections = \"1s\"

[drain]
quiet = \"2s\"
timeout = \"60s\"
close_connections = \"1s\"
{more}",
            source = self.source.ports[0],
            target = self.target.ports[0],
            proxies = std::iter::once(&self.proxy)
                .chain(&self.siblings)
                .map(|proxy| format!("\"unix:{}\"", proxy.control.display()))
                .collect::<Vec<_>>()
                .join(", "),
        )
    }

    /// Clients of both classes, with pauses, so that what is shown is not who gets the processor.
    pub(crate) fn clients(&self) -> [Pool; 2] {
        clients(self.proxy.port, 6)
    }

    /// Starts the daemon and waits until it takes orders.
    pub(crate) fn daemon(&mut self, settings: &[(&str, &str)]) -> Daemon {
        let mut daemon = self.daemon_at_once(settings);
        daemon.wait_until_ready();
        daemon
    }

    /// Starts the daemon and does not wait.
    pub(crate) fn daemon_at_once(&mut self, settings: &[(&str, &str)]) -> Daemon {
        let mut command = Command::new(built_binary());
        command.arg("run").arg("--config").arg(self.path("tidegate.toml"));
        self.daemon_by(command, settings)
    }

    /// Starts the daemon by a command that becomes it, and does not wait.
    pub(crate) fn daemon_by(&mut self, mut command: Command, settings: &[(&str, &str)]) -> Daemon {
        self.starts += 1;
        clean(&mut command).envs(settings.iter().copied());
        let process = Process::start(&format!("daemon-{}", self.starts), self.folder.path(), command);
        Daemon { process, socket: self.path("tidegate.sock") }
    }

    /// The journal's file, checked without a daemon; the answer is how many entries there are.
    pub(crate) fn verify(&self) -> u64 {
        let state = self.path("state").display().to_string();
        let said = verb(&["journal", "verify", "--state", &state, "--json"], &[]).expect(0);
        said.json()[0]["entries"].as_u64().expect("a count")
    }

    /// The target's weight for reads, as the proxy has it.
    pub(crate) fn weight(&self) -> u64 {
        self.proxy.call("GET", "/v1/status", None)["reads"].as_u64().expect("a weight")
    }
}

/// `readers` connections that read and two that write, with pauses between their requests.
pub(crate) fn clients(port: u16, readers: usize) -> [Pool; 2] {
    let mut reads = Plan::reads(port, readers, Until::Stopped);
    reads.pause = Duration::from_millis(5);
    let mut writes = Plan::reads(port, 2, Until::Stopped);
    (writes.request, writes.body_bytes, writes.pause) = (("POST", "/orders"), 2000, Duration::from_millis(5));
    [reads.start(), writes.start()]
}

/// A running `tidegate run`.
pub(crate) struct Daemon {
    pub(crate) process: Process,
    socket: PathBuf,
}

impl Daemon {
    /// Runs a verb against this daemon.
    pub(crate) fn say(&self, arguments: &[&str]) -> Said {
        verb(arguments, &[("TIDEGATE_API", &format!("unix:{}", self.socket.display())), ("TIDEGATE_ACTOR", "e2e")])
    }

    /// Waits until it takes orders.
    pub(crate) fn wait_until_ready(&mut self) {
        self.process.wait_for_line("\"ready\"", START_MAX);
    }

    /// What it says of the service, whole.
    pub(crate) fn detail(&self) -> Value {
        self.say(&["status", SERVICE, "--json"]).expect(0).json().remove(0)
    }

    /// Every journal entry of the service.
    pub(crate) fn history(&self) -> Vec<Value> {
        let said = self.say(&["history", SERVICE, "--json"]).expect(0).json().remove(0);
        said.as_array().expect("a list of entries").clone()
    }

    /// Begins the cutover and follows it, while `meanwhile` happens; how the command ended, which must be with `code`.
    pub(crate) fn follow(&self, code: i32, meanwhile: impl FnOnce()) -> Said {
        std::thread::scope(|scope| {
            let followed = scope.spawn(|| self.say(&["start", SERVICE, "--yes", "--wait", "--json"]));
            meanwhile();
            followed.join().expect("no panic").expect(code)
        })
    }

    /// Waits until what the daemon says of the service is as `wanted`.
    pub(crate) fn wait_until(&self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let start = clock::now();
        loop {
            let detail = self.detail();
            if wanted(&detail) {
                return detail;
            }
            assert!(start.elapsed() < PHASE_MAX, "no {what} within {PHASE_MAX:?}: {detail}\n{}", self.process.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Where its control API is.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The service's line in `status`, if the daemon answers.
    pub(crate) fn summary(&self) -> Option<Value> {
        let said = self.say(&["status", "--json"]);
        let ours = |list: &Value| list.as_array()?.iter().find(|summary| summary["service"] == SERVICE).cloned();
        if said.code == Some(0) { ours(&said.json()[0]) } else { None }
    }

    /// Waits until the service is in `phase`, and at or above a share of reads.
    pub(crate) fn wait_for(&self, phase: &str, share: u64) {
        let start = clock::now();
        loop {
            let summary = self.summary().unwrap_or_else(|| panic!("no answer:\n{}", self.process.log()));
            if summary["phase"] == phase && summary["desired"]["reads"].as_u64() >= Some(share) {
                return;
            }
            assert!(
                start.elapsed() < PHASE_MAX,
                "not in {phase} at {share} within {PHASE_MAX:?}: {summary}\n{}",
                self.process.log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ends it and checks that it ended well and in time, and that it warned of nothing but what is expected.
    pub(crate) fn finish(mut self, expected: &[&str]) {
        self.process.signal("TERM");
        let status = self.process.wait(STOP_MAX);
        assert!(status.success(), "the daemon ended with {status}:\n{}", self.process.log());
        assert_quiet(&self.process, expected);
    }
}
