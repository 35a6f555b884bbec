//! An account in the lab with traffic, our own proxies behind its target groups where that is asked for, clients, and the
//! built daemon beside it. What goes wrong, and what comes of it, is its users' matter.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lab::faults::{Fault, FaultName};
use lab::model::{HealthState, REGION};
use lab::wire::params::Params;
use lab::{Lab, LabConfig};
use serde_json::{Value, json};
use tidegate_tests::servers::{Process, aws::towards, built_binary};

/// How many clients there are, and how long each rests after an answer.
const CLIENTS: usize = 8;
const REST: Duration = Duration::from_millis(20);

/// How long a client waits for an answer; only failures take as long.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How long anything that starts may take.
const START_MAX: Duration = Duration::from_secs(30);

/// How long a cutover may take to come to a phase, in real time.
const PHASE_MAX: Duration = Duration::from_mins(4);

/// The one service.
pub(crate) const SERVICE: &str = "migration";

/// What a cluster does that closes its connections in place of answering.
const CUT: u16 = 0;

/// A cluster that answers everything alike.
struct Cluster {
    address: SocketAddr,
    answers: Arc<AtomicU16>,
    stop: Arc<AtomicBool>,
}

impl Cluster {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (answers, stop) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicBool::new(false)));
        let (shown, stopped) = (Arc::clone(&answers), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let shown = Arc::clone(&shown);
                // A client that leaves ends its thread by an error, and nobody waits for either.
                std::thread::spawn(move || drop(serve(stream, &shown)));
            }
        });
        Self { address, answers, stop }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Whoever accepts looks whether to stop after the next connection.
        drop(TcpStream::connect(self.address));
    }
}

/// Answers requests without bodies on one connection until it is closed.
fn serve(mut stream: TcpStream, answers: &AtomicU16) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        head.extend_from_slice(&buffer[..read]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let upgrade = head.to_ascii_lowercase().windows(18).any(|bytes| bytes == b"upgrade: websocket");
        head.clear();
        if upgrade {
            stream.write_all(b"HTTP/1.1 101 Told\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
            // Nothing is said on it until the client ends it.
            return std::io::copy(&mut stream, &mut std::io::sink()).map(drop);
        }
        let status = answers.load(Ordering::Relaxed);
        if status == CUT {
            return Ok(());
        }
        write!(stream, "HTTP/1.1 {status} Told\r\nContent-Length: 2\r\n\r\n{{}}")?;
    }
}

/// Clients that ask the load balancer until they are stopped.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
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
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = || {
            let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
            std::thread::spawn(move || {
                let mut failed = 0;
                while !stop.load(Ordering::Relaxed) {
                    failed += u64::from(!ask(address).unwrap_or(false));
                    asked.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(REST);
                }
                failed
            })
        };
        let threads = (0..CLIENTS).map(|_| client()).collect();
        Self { stop, asked, threads }
    }

    /// Ends them; how many requests there were, and how many failed.
    pub(crate) fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.threads.into_iter().map(|thread| thread.join().expect("a client does not panic")).sum();
        (self.asked.load(Ordering::Relaxed), failed)
    }
}

/// How a world is to be.
pub(crate) struct Setup {
    /// How many times as fast as real time lab and daemon run.
    pub(crate) speed: u32,
    /// Whether our own proxies are behind the target groups, with a cluster of the world's behind each side.
    pub(crate) proxies: bool,
    /// Where the source's proxy captures, as its flags say it; nowhere without any.
    pub(crate) capture: Vec<String>,
    /// Whether the policy names them.
    pub(crate) named: bool,
    /// `fleet.healthy_min`.
    pub(crate) healthy_min: u32,
    /// How many deployments there are; the policy is about the first, and whoever wants more writes theirs.
    pub(crate) deployments: u16,
    /// The steps of the ladder.
    pub(crate) steps: &'static str,
    /// What else the policy says.
    pub(crate) more: String,
}

impl Default for Setup {
    fn default() -> Self {
        let (capture, more) = (Vec::new(), String::new());
        let steps = "[20, 100]";
        Self { speed: 30, proxies: false, capture, named: false, healthy_min: 1, deployments: 1, steps, more }
    }
}

/// A lab with traffic, a daemon beside it, and a folder for what that keeps.
pub(crate) struct World {
    runtime: tokio::runtime::Runtime,
    lab: Option<Lab>,
    folder: tempfile::TempDir,
    speed: u32,
    /// Our own proxies: the source's, then the target's.
    pub(crate) proxies: Vec<Process>,
    clusters: Vec<Cluster>,
}

impl World {
    /// Starts all but the daemon.
    pub(crate) fn new(setup: &Setup) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime needs threads alone");
        let (speed, deployments) = (setup.speed, setup.deployments);
        let config = LabConfig { speed, deployments, limited: false, ..LabConfig::default() };
        let lab = runtime.block_on(Lab::start(config)).expect("a lab starts");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (proxies, clusters) = (Vec::new(), Vec::new());
        let mut world = Self { runtime, lab: Some(lab), folder, speed: setup.speed, proxies, clusters };
        if setup.proxies {
            world.put_proxies(&setup.capture);
        }
        let socket = |side: &str| world.path(&format!("{side}.sock")).display().to_string();
        let named = |side| if setup.named { format!("proxies = [\"unix:{}\"]\n", socket(side)) } else { String::new() };
        let scene = world.lab().scene();
        let policy = format!(
            "service = \"{SERVICE}\"\n[balancer]\nkind = \"alb\"\n[metrics]\nsettle = \"1m\"\n[fleet]\nhealthy_min = {}\n\
             [source]\ntarget_group = \"{}\"\n{}[target]\ntarget_group = \"{}\"\n{}\
             [baseline]\nrecord = \"3m\"\nintervals_min = 2\n\
             [shift]\nsteps = {}\nwrites = \"split\"\nbake_min = \"2m\"\nwarm_up = \"1m\"\nrequests_min = 20\n\
             [drain]\nquiet = \"2m\"\ntimeout = \"1h\"\n[pass]\nlatency_tolerance = \"100 %\"\n{}",
            setup.healthy_min,
            scene.source_tg,
            named("source"),
            scene.target_tg,
            named("target"),
            setup.steps,
            setup.more,
        );
        std::fs::create_dir(world.path("policies")).expect("a new folder");
        std::fs::write(world.path("policies/migration.toml"), policy).expect("a file of ours");
        world
    }

    /// Puts one proxy of ours behind each target group in place of the lab's own servers, and waits until it is healthy.
    fn put_proxies(&mut self, capture: &[String]) {
        for side in ["source", "target"] {
            let cluster = Cluster::start();
            let mut command = Command::new(built_binary());
            command.args(["proxy", "--listen", "127.0.0.1:0", "--plaintext", "--weight", "0"]);
            match capture {
                [_, ..] if side == "source" => command.args(capture),
                _ => command.arg("--no-capture"),
            };
            command.args(["--source", &format!("http://{}", cluster.address), "--control"]);
            command.arg(format!("unix:{}", self.path(&format!("{side}.sock")).display()));
            let mut proxy = Process::start(side, self.folder.path(), command);
            let line = proxy.wait_for_line("127.0.0.1:", START_MAX);
            let port: u16 = line
                .split("127.0.0.1:")
                .skip(1)
                .find_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
                .unwrap_or_else(|| panic!("no port in `{line}`"));
            let scene = self.lab().scene();
            let group = if side == "source" { &scene.source_tg } else { &scene.target_tg }.clone();
            let old: Vec<Value> = self.lab().shared().read(|model| {
                let targets = &model.target_groups[&group].targets;
                targets.iter().map(|target| json!({"Id": target.id, "Port": target.port})).collect()
            });
            // Those that go have nothing to finish.
            let at_once = json!([{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}]);
            self.elb("ModifyTargetGroupAttributes", &json!({"TargetGroupArn": group, "Attributes": at_once}));
            let new = json!([{"Id": "127.0.0.1", "Port": port}]);
            self.elb("RegisterTargets", &json!({"TargetGroupArn": group, "Targets": new}));
            self.elb("DeregisterTargets", &json!({"TargetGroupArn": group, "Targets": old}));
            proxy.wait_until("the proxy is healthy behind its target group, alone", START_MAX, |_| {
                self.lab().shared().read(|model| {
                    let targets = &model.target_groups[&group].targets;
                    targets.len() == 1 && targets.iter().all(|target| target.health.state == HealthState::Healthy)
                })
            });
            self.proxies.push(proxy);
            self.clusters.push(cluster);
        }
    }

    /// Lets the cluster behind our proxy of the target answer with this status; without one it closes its connections.
    pub(crate) fn target_answers(&self, status: Option<u16>) {
        self.clusters[1].answers.store(status.unwrap_or(CUT), Ordering::Relaxed);
    }

    /// The lab.
    pub(crate) fn lab(&self) -> &Lab {
        self.lab.as_ref().expect("it runs until the end")
    }

    /// A file of this world.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Begins to ask.
    pub(crate) fn clients(&self) -> Clients {
        let url = self.lab().alb_url().expect("it carries traffic");
        Clients::start(url.trim_start_matches("http://").parse().expect("it is an address"))
    }

    /// The environment of whoever speaks to the lab.
    pub(crate) fn aws<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        towards(command, &self.lab().endpoint(), REGION)
    }

    /// Starts the daemon.
    pub(crate) fn daemon(&self) -> Process {
        let mut command = Command::new(built_binary());
        command.args(["run", "--clock-speed", &self.speed.to_string(), "--log", "human", "--state"]);
        command.arg(self.path("state")).arg("--policies").arg(self.path("policies")).arg("--control");
        command.arg(format!("unix:{}", self.path("control.sock").display())).current_dir(self.folder.path());
        self.aws(&mut command);
        let mut process = Process::start("daemon", self.folder.path(), command);
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

    /// The cutover as the daemon shows it.
    pub(crate) fn cutover(&self) -> Value {
        let status: Value = serde_json::from_str(&self.say(&["--json", "status", SERVICE])).expect("it is JSON");
        status["view"]["cutover"].clone()
    }

    /// Waits until the cutover is in one of these phases, with this share of the target in per mille where one is given;
    /// in which.
    pub(crate) fn wait_for(&self, daemon: &mut Process, phases: &[&str], share: Option<u16>) -> String {
        let mut found = String::new();
        daemon.wait_until(&format!("the cutover is in one of {phases:?} with {share:?}"), PHASE_MAX, |_| {
            let cutover = self.cutover();
            cutover["phase"]["phase"].as_str().unwrap_or_default().clone_into(&mut found);
            phases.contains(&&*found) && share.is_none_or(|share| cutover["desired"]["reads"] == share)
        });
        found
    }

    /// The default actions, in AWS's own spelling.
    pub(crate) fn actions(&self) -> Value {
        let input = json!({ "ListenerArns": [self.lab().scene().listener_arn] });
        let shared = self.lab().shared();
        let answer = shared
            .read(|model| lab::elbv2::read(model, shared.clock.now(), "DescribeListeners", Params(&input)))
            .expect("the lab has this operation");
        answer.expect("the listener is there")["Listeners"][0]["DefaultActions"].clone()
    }

    /// Does what somebody else would do by an operation of Elastic Load Balancing.
    pub(crate) fn elb(&self, operation: &str, input: &Value) {
        let done = self.lab().shared().change(|model, now| {
            lab::elbv2::write(model, now, operation, Params(input)).expect("the lab has this operation")
        });
        done.unwrap_or_else(|refusal| panic!("{operation}: {refusal:?}"));
    }

    /// Lets calls of `op` go wrong: so many, or for so many seconds of lab time.
    pub(crate) fn fault(&self, name: FaultName, op: &str, times: Option<u32>, seconds: Option<f64>) {
        let fault = Fault { name, op: op.to_owned(), times, seconds };
        let shared = self.lab().shared();
        shared.read(|model| shared.faults.put(fault, model, shared.clock.now())).expect("the lab takes this fault");
    }

    /// Lab time, in milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.lab().shared().clock.now().0
    }

    /// When the weighted listener got each of its lists of actions, in milliseconds since 1970.
    pub(crate) fn changes(&self) -> Vec<i64> {
        let listener = &self.lab().scene().listener_arn;
        self.lab().shared().history.actions(Some(listener)).iter().map(|note| note.at.0).collect()
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
