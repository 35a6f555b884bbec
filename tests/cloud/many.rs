//! Hundreds of services in one daemon, some of them shifting: what that asks of AWS, what it costs, and what it takes here.
//!
//! The account is on paper: no request flows, and CloudWatch has the figures of services that are well. AWS's token buckets
//! are the lab's. What is real is the daemon and every call it makes.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use lab::clock::Time;
use lab::cloudwatch::store::Metric;
use lab::history::CallNote;
use lab::model::{Action, REGION};
use lab::scenario::Scene;
use lab::{Lab, LabConfig, Shared, Traffic};
use tidegate::aws::find;
use tidegate_tests::servers::{Process, aws::towards, built_binary};

/// How many services the daemon has, and how many of them shift, one figure after the other.
const SERVICES: u16 = 500;
const SHIFTING: [usize; 2] = [20, 30];

/// Between the last of these and this the largest number is looked for whose polls keep [`KEPT`]. Looks take turns at a
/// fifth of a second and a little more, so it must be below 50.
const SEARCH_MAX: usize = 60;

/// How often each service that shifts is to be looked at.
const KEPT: Duration = Duration::from_secs(10);

/// How many times as fast as real time.
const SPEED: u32 = 6;

/// For how long it is measured, in minutes of the lab.
const MINUTES: u32 = 5;

/// How long so many services may take until all of them shift, in real time.
const READY_MAX: Duration = Duration::from_mins(8);

/// Requests a minute of each service.
const REQUESTS: u64 = 6_000;

/// What CloudWatch takes for a thousand metrics, in dollars (us-east-1, `GetMetricData`).
const DOLLARS_A_THOUSAND: f64 = 0.01;

/// How often the checks of one cutover read the health of targets: both groups, every 30 s.
const HEALTH_OF_CHECKS: f64 = 4.0;

const MINUTE: Duration = Duration::from_mins(1);

/// Puts one minute of one service into CloudWatch, as it comes a minute late.
fn publish(shared: &Shared, scene: &Scene, minute: Time) {
    let weights = shared.read(|model| {
        let actions = model.listeners[&scene.listener_arn].default_actions.first().map(Action::spelled);
        let groups = actions.as_ref().and_then(|action| action["ForwardConfig"]["TargetGroups"].as_array().cloned());
        let groups = groups.unwrap_or_default();
        let weight = |arn: &str| {
            let group = groups.iter().find(|group| group["TargetGroupArn"] == arn);
            group.and_then(|group| group["Weight"].as_u64()).unwrap_or_default()
        };
        [weight(&scene.source_tg), weight(&scene.target_tg)]
    });
    let all = weights.iter().sum::<u64>().max(1);
    let balancer = find::balancer_of(&scene.listener_arn).expect("it is a listener");
    let mut store = shared.cloudwatch.store();
    let mut put = |group: Option<&str>, name: &str, value: f64, count: u64| {
        let mut dimensions = BTreeMap::from([("LoadBalancer".to_owned(), balancer.clone())]);
        dimensions.extend(group.map(|arn| ("TargetGroup".to_owned(), find::dimension(arn).expect("it is a group"))));
        let metric = Metric { namespace: "AWS/ApplicationELB".to_owned(), name: name.to_owned(), dimensions };
        if let Some(series) = store.open(metric, "Count") {
            store.measured(series, minute, minute + MINUTE).add(value, count);
        }
    };
    put(None, "RequestCount", 1.0, REQUESTS);
    for (arn, weight) in [&scene.source_tg, &scene.target_tg].into_iter().zip(weights) {
        let requests = REQUESTS * weight / all;
        if requests > 0 {
            put(Some(arn), "RequestCount", 1.0, requests);
            put(Some(arn), "HTTPCode_Target_2XX_Count", 1.0, requests);
            for (seconds, share) in [(0.010, 60), (0.020, 30), (0.080, 10)] {
                put(Some(arn), "TargetResponseTime", seconds, requests * share / 100);
            }
        }
    }
}

/// Keeps CloudWatch going until it is dropped.
struct Feeder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Feeder {
    fn start(shared: Arc<Shared>, scenes: Vec<Scene>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut next = shared.clock.now().minute() - MINUTE * 5;
            while !stopped.load(Ordering::Relaxed) {
                while next < shared.clock.now().minute() {
                    for scene in &scenes {
                        publish(&shared, scene, next);
                    }
                    next = next + MINUTE;
                }
                sleep(Duration::from_millis(200));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so; what was measured without it shows.
            drop(thread.join());
        }
    }
}

/// What the daemon says of itself under `/metrics`.
fn metrics(socket: &PathBuf) -> String {
    let mut text = String::new();
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: tidegate\r\nConnection: close\r\n\r\n").expect("it reads");
    stream.read_to_string(&mut text).expect("it answers in text");
    text
}

/// The sum of the samples of a metric whose labels hold `label`.
fn sum(text: &str, name: &str, label: &str) -> f64 {
    let samples = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn name(nth: usize) -> String {
    format!("service-{nth}")
}

/// The daemon, and which of its services shift.
struct Bench<'a> {
    lab: &'a Lab,
    daemon: &'a mut Process,
    socket: PathBuf,
    api: String,
    shifting: Vec<usize>,
    /// The first that was never started.
    next: usize,
}

impl Bench<'_> {
    fn say(&self, arguments: &[&str]) {
        let mut command = Command::new(built_binary());
        let output = command.args(arguments).env("TIDEGATE_API", &self.api).output().expect("the program can be run");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Lets exactly so many services shift, and measures; how often each of them is looked at.
    fn measure(&mut self, count: usize, row: &mut impl FnMut(&str)) -> Duration {
        while self.shifting.len() > count
            && let Some(nth) = self.shifting.pop()
        {
            self.say(&["abort", &name(nth), "--yes", "--reason", "fewer shall shift"]);
        }
        while self.shifting.len() < count {
            self.say(&["start", &name(self.next), "--yes"]);
            self.shifting.push(self.next);
            self.next += 1;
        }
        let socket = &self.socket;
        self.daemon.wait_until(&format!("{count} services bake their first step"), READY_MAX, |_| {
            sum(&metrics(socket), "tidegate_phase", "phase=\"baking\"") as usize == count
        });
        let shared = self.lab.shared();
        let (before, usage, since) = (metrics(socket), self.daemon.usage(), shared.clock.now());
        sleep(MINUTE * MINUTES / SPEED);
        let (after, used) = (metrics(socket), self.daemon.usage());
        // By time: the history forgets its oldest calls.
        let refused = |call: &&CallNote| call.at >= since && call.error.is_some();
        let throttled = shared.history.calls().iter().filter(refused).count();
        let minutes = f64::from(MINUTES);
        let gained = |name: &str, label: &str| (sum(&after, name, label) - sum(&before, name, label)) / minutes;
        let looks = gained("tidegate_aws_calls", "DescribeTargetHealth") - HEALTH_OF_CHECKS * count as f64;
        let asked = gained("tidegate_aws_metrics", "");
        let every = count as f64 * 60.0 / looks;
        row(&format!(
            "| {count} | {:.0} | {} | {every:.1} | {asked:.0} | {:.2} | {:.2} | {} |",
            gained("tidegate_aws_calls", ""),
            throttled,
            asked * 1440.0 / 1000.0 * DOLLARS_A_THOUSAND,
            used.cpu.saturating_sub(usage.cpu).as_secs_f64() / minutes,
            used.memory_bytes / (1 << 20),
        ));
        Duration::try_from_secs_f64(every).unwrap_or(Duration::MAX)
    }
}

/// Gives `row` each row of the table as soon as it is known.
pub(crate) fn table(mut row: impl FnMut(&str)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime needs threads alone");
    let config = LabConfig {
        speed: SPEED,
        deployments: SERVICES,
        limited: true,
        traffic: Traffic::None,
        ..LabConfig::default()
    };
    let lab = runtime.block_on(Lab::start(config)).expect("a lab starts");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("policies")).expect("a new folder");
    for (nth, scene) in lab.scenes().iter().enumerate() {
        let name = name(nth);
        let policy = format!(
            "service = \"{name}\"\n[balancer]\nkind = \"alb\"\nlistener = \"{}\"\n[source]\ntarget_group = \"{}\"\n\
             [target]\ntarget_group = \"{}\"\n[baseline]\nrecord = \"3m\"\nintervals_min = 2\n\
             [shift]\nsteps = [20, 95, 100]\nwrites = \"split\"\nbake_min = \"3h\"\nwarm_up = \"1m\"\n",
            scene.listener_arn, scene.source_tg, scene.target_tg
        );
        std::fs::write(path(&format!("policies/{name}.toml")), policy).expect("a file of ours");
    }
    // Those that were aborted on the way are not started again, so more are fed than ever shift at once.
    let fed = SEARCH_MAX * 2;
    let _feeder = Feeder::start(Arc::clone(lab.shared()), lab.scenes()[..fed].to_vec());
    let socket = path("control.sock");
    let api = format!("unix:{}", socket.display());
    let mut command = Command::new(built_binary());
    command.args(["run", "--clock-speed", &SPEED.to_string(), "--state"]).arg(path("state")).arg("--policies");
    command.arg(path("policies")).args(["--control", &api]);
    towards(&mut command, &lab.endpoint(), REGION);
    let mut daemon = Process::start("daemon", folder.path(), command);
    daemon.wait_for_line("ready", READY_MAX);
    row(&format!(
        "| of {SERVICES} services shifting | calls/min | of them throttled | health looks: one every, s | CloudWatch \
         metrics/min | $ a day | CPU-s/min | memory, MiB |\n|---|---|---|---|---|---|---|---|"
    ));
    let mut bench = Bench { lab: &lab, daemon: &mut daemon, socket, api, shifting: Vec::new(), next: 0 };
    let mut keeps = 0;
    for count in SHIFTING {
        if bench.measure(count, &mut row) <= KEPT {
            keeps = count;
        }
    }
    // Bisection: `keeps` is known to keep it, `fails` not to. Six rounds at most.
    let mut fails = SEARCH_MAX;
    if bench.measure(SEARCH_MAX, &mut row) <= KEPT {
        (keeps, fails) = (SEARCH_MAX, SEARCH_MAX + 1);
    }
    while fails - keeps > 1 {
        let middle = keeps.midpoint(fails);
        if bench.measure(middle, &mut row) <= KEPT {
            keeps = middle;
        } else {
            fails = middle;
        }
    }
    let more = if keeps == SEARCH_MAX { "; more were not tried" } else { "" };
    row(&format!("\n{keeps} shifting services are the most that are looked at every {} s{more}", KEPT.as_secs()));
    daemon.stop();
    runtime.block_on(lab.stop());
}
