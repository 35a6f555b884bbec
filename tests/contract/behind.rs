//! `kafka describe-topic-records --expect-from alb` as an operator runs it: what the load balancer counted of the target group
//! that holds the proxies, beside what a real broker has of them.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lab::faults::FaultName;
use lab::model::{HealthState, REGION};
use serde_json::{Value, json};
use tidegate_tests::servers::kafka::{Broker, broker};
use tidegate_tests::servers::{Process, aws::towards, built_binary};

use crate::cloud::{Setup, World};
use crate::rights::assert_allowed;
use crate::support::{SPEED, Stand};

const TOPIC: &str = "captured";

/// How long a look may take; most of it goes by on the lab's clock.
const LOOK_MAX: Duration = Duration::from_mins(3);

/// The verb at work, beside an AWS whose clock runs so fast.
struct Look<'a> {
    folder: &'a Path,
    broker: &'a Broker,
    aws: String,
    speed: u32,
}

impl Look<'_> {
    fn start(&self, name: &str, more: &[&str]) -> Process {
        let mut command = Command::new(built_binary());
        command.args(["kafka", "describe-topic-records", "--kafka", &self.broker.plaintext(), "--topic", TOPIC]);
        command.args(["--json", "--clock-speed", &self.speed.to_string(), "--expect-from", "alb"]).args(more);
        towards(&mut command, &self.aws, REGION);
        Process::start(name, self.folder, command)
    }

    /// Runs it to its end; what it said.
    fn end(&self, name: &str, code: i32, more: &[&str]) -> String {
        let mut verb = self.start(name, more);
        let ended = verb.wait(LOOK_MAX);
        assert_eq!(ended.code(), Some(code), "{}", verb.log());
        verb.log()
    }
}

/// The JSON of what a verb printed, which comes last.
fn told(log: &str) -> Value {
    serde_json::from_str(log.lines().last().unwrap_or_default()).unwrap_or_else(|error| panic!("{error}: {log}"))
}

/// Puts the target's proxy, which captures nothing, beside the source's in its target group.
fn put_beside(world: &mut World) {
    let (shared, scene) = (Arc::clone(world.lab().shared()), world.lab().scene().clone());
    let port = shared.read(|model| model.target_groups[&scene.target_tg].targets[0].port);
    let new = json!([{"Id": "127.0.0.1", "Port": port}]);
    world.elb("RegisterTargets", &json!({"TargetGroupArn": scene.source_tg, "Targets": new}));
    world.proxies[0].wait_until("both proxies are healthy in one target group", LOOK_MAX, |_| {
        shared.read(|model| {
            let targets = &model.target_groups[&scene.source_tg].targets;
            targets.len() == 2 && targets.iter().all(|target| target.health.state == HealthState::Healthy)
        })
    });
}

/// Proves that each request that the load balancer gave to a capturing proxy is found, health checks left out; that one which
/// went to a target that captures nothing is missed; and that what is denied, and a group without requests, are told as that.
#[test]
fn what_the_balancer_counted_is_held_against_the_topic() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = broker(folder.path(), &[]);
    let lost = folder.path().join("lost.jsonl").display().to_string();
    let capture = ["--capture", "kafka", "--kafka", &broker.plaintext(), "--topic", TOPIC, "--create-topic", "2"];
    let capture = [&capture[..], &["--loss-log", &lost]].concat().into_iter().map(str::to_owned).collect();
    let setup = Setup { proxies: true, capture, ..Setup::default() };
    let mut world = World::new(&setup);
    let scene = world.lab().scene().clone();
    let policy = world.path("policies/migration.toml").display().to_string();
    let look = Look { folder: folder.path(), broker: &broker, aws: world.lab().endpoint(), speed: setup.speed };

    // Requests come well after the first minute has begun and end well before the last one is over.
    let during = |world: &World, name: &str, code: i32, more: &[&str]| -> (Value, u64) {
        let mut verb = look.start(name, &[&["--interval", "6m"], more].concat());
        verb.wait_for_line("the load balancer counts whole minutes", LOOK_MAX);
        std::thread::sleep(Duration::from_secs(4));
        let clients = world.clients();
        std::thread::sleep(Duration::from_secs(4));
        let (asked, failed) = clients.stop();
        assert_eq!((asked > 100, failed), (true, 0), "{asked} requests");
        let ended = verb.wait(LOOK_MAX);
        let log = verb.log();
        assert_eq!(ended.code(), Some(code), "{log}");
        assert!(log.contains("requests are captured; CloudWatch's minutes are complete by"), "{log}");
        (told(&log), asked)
    };
    let (whole, asked) = during(&world, "whole", 0, &["--policy", &policy, "--tolerance", "0%"]);
    println!("whole: {whole}");
    assert_eq!((whole["captured"].as_u64(), whole["expected"].as_u64()), (Some(asked), Some(asked)), "{whole}");
    assert_eq!(
        (&whole["ok"], &whole["expect_from"], whole["seconds"].as_f64()),
        (&true.into(), &"alb".into(), Some(360.0))
    );
    assert!(whole["probes"].as_u64() > Some(0), "health checks are captured, and nobody counts them: {whole}");
    assert_allowed(world.lab(), &["observe"]);

    put_beside(&mut world);
    let (partly, asked) = during(&world, "partly", 1, &["--target-group", &scene.source_tg]);
    println!("partly: {partly}");
    let captured = partly["captured"].as_u64();
    assert!(
        partly["expected"].as_u64() == Some(asked) && captured > Some(0) && captured < Some(asked * 9 / 10),
        "{partly}"
    );

    let none = look.end("none", 1, &["--interval", "60s", "--target-group", &scene.target_tg]);
    assert_eq!((told(&none)["expected"].as_u64(), &told(&none)["ok"]), (Some(0), &false.into()), "{none}");
    for (op, service) in [("GetMetricData", "cloudwatch"), ("DescribeTargetGroups", "elasticloadbalancing")] {
        world.fault(FaultName::AccessDenied, op, Some(50), None);
        let denied = look.end(op, 1, &["--interval", "10m", "--target-group", &scene.source_tg]);
        let wanted = format!("`{service}:{op}` is missing: `tidegate aws iam --feature observe`");
        assert!(denied.contains(&wanted) && !denied.contains("are over"), "{denied}");
        world.lab().shared().faults.clear();
    }
    for (more, wanted) in [
        (&[][..], "name --policy FILE, or --target-group ARN"),
        (&["--target-group", &scene.listener_arn], "is not the ARN of a target group"),
        (
            &["--target-group", &scene.source_tg, "--proxy", "unix:/nowhere"],
            "--expect-from proxy and --proxy go together",
        ),
    ] {
        let refused = look.end("refused", 2, &[&["--interval", "60s"], more].concat());
        assert!(refused.contains(wanted), "{refused}");
    }

    // An account in which nothing was ever measured.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime needs threads alone");
    let stand = runtime.block_on(Stand::start());
    let look = Look { aws: stand.lab.endpoint(), speed: SPEED, ..look };
    let silent = look.end("silent", 1, &["--interval", "60s", "--target-group", &stand.lab.scene().source_tg]);
    let why = "CloudWatch has nothing of the minute from";
    assert!(silent.contains(&format!("waiting: {why}")), "{silent}");
    assert!(
        silent.lines().last().is_some_and(|line| line.contains(why) && line.contains("600 s after it was due")),
        "{silent}"
    );
}
