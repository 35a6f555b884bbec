//! The built daemon over a lab that carries traffic: what happens to the listener, and the way back when the daemon is gone.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lab::faults::{Fault, FaultName};
use lab::model::REGION;
use lab::wire::params::Params;
use lab::{Lab, LabConfig};
use serde_json::{Value, json};
use tidegate_tests::servers::{Process, aws::towards, built_binary, state_folder};

/// How many times as fast as real time lab and daemon run.
const SPEED: u32 = 30;

/// How many clients there are, and how long each rests after an answer.
const CLIENTS: usize = 10;
const REST: Duration = Duration::from_millis(15);

/// How long a client waits for an answer; only failures take as long.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How long the daemon may take to be ready, and a cutover to come to a phase.
pub(crate) const START_MAX: Duration = Duration::from_secs(30);
pub(crate) const PHASE_MAX: Duration = Duration::from_mins(3);

/// The one service.
pub(crate) const SERVICE: &str = "migration";

/// Clients that ask the load balancer until they are dropped.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

fn ask(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(b"GET /search HTTP/1.1\r\nHost: search.example\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

impl Clients {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |stop: Arc<AtomicBool>| {
            std::thread::spawn(move || {
                let mut failed = 0;
                while !stop.load(Ordering::Relaxed) {
                    failed += u64::from(!ask(address).unwrap_or(false));
                    std::thread::sleep(REST);
                }
                failed
            })
        };
        let threads = (0..CLIENTS).map(|_| client(Arc::clone(&stop))).collect();
        Self { stop, threads }
    }

    /// Ends them; how many requests failed.
    pub(crate) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a client does not panic")).sum()
    }
}

/// A lab with traffic, a daemon beside it, and a folder for what that keeps.
pub(crate) struct World {
    runtime: tokio::runtime::Runtime,
    lab: Option<Lab>,
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new(steps: &str, more: &str) -> Self {
        Self::with(steps, more, ["", ""])
    }

    /// The same with more to say of each side.
    pub(crate) fn with(steps: &str, more: &str, [of_source, of_target]: [&str; 2]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime needs threads alone");
        let config = LabConfig { speed: SPEED, limited: false, ..LabConfig::default() };
        let lab = runtime.block_on(Lab::start(config)).expect("a lab starts");
        let world = Self { runtime, lab: Some(lab), folder: tempfile::tempdir().expect("a temporary folder") };
        let scene = world.lab().scene();
        let policy = format!(
            "service = \"{SERVICE}\"\n[balancer]\nkind = \"alb\"\n[metrics]\nsettle = \"1m\"\n\
             [source]\ntarget_group = \"{}\"\n{of_source}[target]\ntarget_group = \"{}\"\n{of_target}\
             [baseline]\nrecord = \"3m\"\nintervals_min = 2\n\
             [shift]\nsteps = {steps}\nwrites = \"split\"\nbake_min = \"2m\"\nwarm_up = \"1m\"\nrequests_min = 20\n\
             [drain]\nquiet = \"2m\"\ntimeout = \"1h\"\n[pass]\nlatency_tolerance = \"100 %\"\n{more}",
            scene.source_tg, scene.target_tg
        );
        std::fs::create_dir(world.path("policies")).expect("a new folder");
        std::fs::write(world.path("policies/migration.toml"), policy).expect("a file of ours");
        world
    }

    pub(crate) fn lab(&self) -> &Lab {
        self.lab.as_ref().expect("it runs until the end")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn clients(&self) -> Clients {
        let url = self.lab().alb_url().expect("it carries traffic");
        Clients::start(url.trim_start_matches("http://").parse().expect("it is an address"))
    }

    /// The environment of whoever speaks to the lab.
    pub(crate) fn aws<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        towards(command, &self.lab().endpoint(), REGION)
    }

    pub(crate) fn daemon(&self) -> Process {
        let mut command = Command::new(built_binary());
        command.args(["run", "--clock-speed", &SPEED.to_string(), "--log", "human", "--state"]);
        command.arg(self.path("state")).arg("--policies").arg(self.path("policies")).arg("--control");
        command.arg(format!("unix:{}", self.path("control.sock").display())).current_dir(self.folder.path());
        self.aws(&mut command);
        // Each run has a log of its own, so that nobody takes the word of the one before for its.
        let runs = std::fs::read_dir(self.folder.path()).expect("the folder is there").count();
        let mut process = Process::start(&format!("daemon-{runs}"), self.folder.path(), command);
        process.wait_for_line("ready", START_MAX);
        process
    }

    /// Runs a verb against the daemon; what it printed.
    pub(crate) fn say(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(built_binary());
        command.args(arguments).env("TIDEGATE_API", format!("unix:{}", self.path("control.sock").display()));
        let output = command.output().expect("the program can be run");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it is text")
    }

    /// Waits until the cutover is in a phase, with this share of the target in per mille where one is given.
    pub(crate) fn wait_for(&self, daemon: &mut Process, phase: &str, share: Option<u16>) {
        daemon.wait_until(&format!("the cutover is in `{phase}` with {share:?}"), PHASE_MAX, |_| {
            let status: Value = serde_json::from_str(&self.say(&["--json", "status", SERVICE])).expect("it is JSON");
            let cutover = &status["view"]["cutover"];
            cutover["phase"]["phase"] == phase && share.is_none_or(|share| cutover["desired"]["reads"] == share)
        });
    }

    /// The default actions, in AWS's own spelling.
    pub(crate) fn actions(&self) -> Value {
        let shared = self.lab().shared();
        let input = json!({ "ListenerArns": [self.lab().scene().listener_arn] });
        let answer = shared
            .read(|model| lab::elbv2::read(model, shared.clock.now(), "DescribeListeners", Params(&input)))
            .expect("the lab has this operation");
        answer.expect("the listener is there")["Listeners"][0]["DefaultActions"].clone()
    }

    /// The weights of source and target.
    pub(crate) fn weights(&self) -> [i64; 2] {
        let actions = self.actions();
        let scene = self.lab().scene();
        [&scene.source_tg, &scene.target_tg].map(|arn| {
            let groups = actions[0]["ForwardConfig"]["TargetGroups"].as_array().expect("it forwards");
            let group = groups.iter().find(|group| group["TargetGroupArn"] == arn.as_str()).expect("it is weighed");
            group["Weight"].as_i64().expect("a weight is a number")
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(lab) = self.lab.take() {
            self.runtime.block_on(lab.stop());
        }
    }
}

/// The one file in a folder.
fn only_file(folder: &Path) -> PathBuf {
    let mut files =
        std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("it is read").path());
    let file = files.next().expect("there is a file");
    assert_eq!(files.next(), None);
    file
}

/// Proves that what undoes everything lies in a file before the first write, stands in the alert of a stuck revert and in
/// the dossier, and that with the daemon killed AWS's own command line puts the listener back by it, to the last word.
#[test]
fn the_official_command_line_undoes_a_cutover_whose_daemon_is_dead() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let told = folder.path().join("alerts");
    let receiver = format!(
        "[alerts.test]\nkind = \"command\"\nargv = [\"sh\", \"-c\", \"cat >> {}; echo >> {0}\"]\n",
        told.display()
    );
    let world = World::new("[20, 100]", &receiver);
    let clients = world.clients();
    let before = world.actions();
    let mut daemon = world.daemon();
    world.say(&["start", SERVICE, "--yes"]);
    world.wait_for(&mut daemon, "baking", Some(200));
    assert_eq!(world.weights(), [800, 200]);

    let file = only_file(&world.path("state/undo"));
    let mode = std::fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it is its owner's alone");

    let fault = Fault { name: FaultName::AccessDenied, op: "ModifyListener".to_owned(), times: None, seconds: None };
    let shared = world.lab().shared();
    shared.read(|model| shared.faults.put(fault, model, shared.clock.now())).expect("the lab takes this fault");
    world.say(&["revert", SERVICE, "--yes", "--reason", "to see what becomes of it"]);
    world.wait_for(&mut daemon, "stuck", None);
    let command = "aws elbv2 modify-listener --region";
    daemon.wait_until("the alert of the stuck revert says the way back", PHASE_MAX, |_| {
        let told = std::fs::read_to_string(&told).unwrap_or_default();
        told.lines().any(|line| line.contains("STUCK") && line.contains(command))
    });
    assert!(world.say(&["explain", SERVICE]).contains(command));
    let [state, dossier] = ["state", "dossier.html"].map(|name| world.path(name).display().to_string());
    world.say(&["report", SERVICE, "--state", &state, "--output", &dossier]);
    assert!(std::fs::read_to_string(dossier).expect("it was written").contains(command));

    daemon.signal("KILL");
    daemon.wait(START_MAX);
    world.lab().shared().faults.clear();
    assert_eq!(world.weights(), [800, 200], "nobody puts it back by itself");
    let mut shell = Command::new("sh");
    let programs = format!("{}:/usr/bin:/bin", state_folder().join("venv/bin").display());
    let output = world.aws(shell.arg(&file).env("PATH", programs)).output().expect("a shell can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(world.actions(), before, "the list of actions is the same in depth");
    assert_eq!(clients.stop(), 0, "no request failed");
}

/// Proves that the built daemon takes an ALB from one end to the other by its own clock and CloudWatch's minutes, that
/// nothing but two weights differs then, and that the lines are told which make it last.
#[test]
fn a_cutover_at_an_alb_ends_with_what_makes_it_last() {
    let world = World::new("[20, 100]", "");
    let clients = world.clients();
    let mut before = world.actions();
    let mut daemon = world.daemon();
    world.say(&["start", SERVICE, "--yes"]);
    world.wait_for(&mut daemon, "done", None);
    assert_eq!(world.weights(), [0, 1]);
    let groups = before.pointer_mut("/0/ForwardConfig/TargetGroups").and_then(Value::as_array_mut);
    for group in groups.expect("it forwards") {
        group["Weight"] = json!(u8::from(group["TargetGroupArn"] == world.lab().scene().target_tg.as_str()));
    }
    assert_eq!(world.actions(), before, "nothing but two weights changed");
    let told = world.say(&["explain", SERVICE]);
    for word in ["aws_lb_listener", "weightedForward", &world.lab().scene().target_tg] {
        assert!(told.contains(word), "{told}");
    }
    assert_eq!(clients.stop(), 0, "no request failed");
    daemon.signal("TERM");
    assert!(daemon.wait(START_MAX).success(), "{}", daemon.log());
}

/// Proves that preflight asks the target through its test listener who it is, and takes a way that leads nowhere for a no.
#[test]
fn preflight_asks_the_target_through_its_test_listener() {
    let world = World::new("[20, 100]", "");
    let address = world.lab().shared().read(|model| {
        let target = model.listeners.values().find(|listener| listener.port == 9202).expect("the CDK makes one");
        target.address.expect("it carries traffic")
    });
    let policy = world.path("policies/migration.toml");
    let smoked = |url: &str| -> Value {
        let mut command = Command::new(built_binary());
        command.args(["preflight", "--json", "--smoke", url]).arg(&policy);
        let output = world.aws(&mut command).output().expect("the program can be run");
        serde_json::from_slice(&output.stdout).expect("it is JSON and nothing else")
    };
    let list = smoked(&format!("http://{address}/"));
    let outcome = |list: &Value, name: &str| {
        let checks = list["checks"].as_array().expect("there is a list");
        let found = checks.iter().find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("no `{name}` in {list}"))["outcome"].clone()
    };
    assert_eq!([outcome(&list, "smoke: answer"), outcome(&list, "smoke: health")], ["pass", "pass"], "{list}");
    assert!(list.to_string().contains("target-cluster"), "{list}");
    let nowhere = smoked("http://127.0.0.1:1");
    assert_eq!(outcome(&nowhere, "smoke: answer"), "fail", "{nowhere}");
}
