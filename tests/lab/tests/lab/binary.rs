//! The program: what it says first, and how it ends.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::clock::Clock;
use serde_json::{Value, json};

use crate::support::http;

/// A lab as a process, ended with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself, as it should.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn run(arguments: &[&str]) -> (Program, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let program = Program(child);
    (program, serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: the first line is {line:?}")))
}

/// Proves that the first line says where everything is, that it is true, and that SIGTERM ends the program within two
/// seconds though a call hangs.
#[test]
fn the_first_line_says_where_everything_is() {
    let (mut program, hello) = run(&["--listen", "127.0.0.1:0", "--scenario", "migration-assistant", "--no-traffic"]);
    let mut names: Vec<&String> = hello.as_object().unwrap().keys().collect();
    names.sort();
    let wanted = [
        "alb_url",
        "cluster",
        "endpoint",
        "listener_arn",
        "source_service",
        "source_tg",
        "target_service",
        "target_tg",
    ];
    assert_eq!(names, wanted);
    let address = hello["endpoint"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    let patience = Duration::from_secs(10);
    let state = http(address, "GET", "/_lab/state", "", "", patience).unwrap().json();
    let listener = &state["account"]["Listeners"][hello["listener_arn"].as_str().unwrap()];
    let groups = &listener["DefaultActions"][0]["ForwardConfig"]["TargetGroups"];
    assert_eq!(groups[0], json!({"TargetGroupArn": hello["source_tg"], "Weight": 1}));
    assert_eq!(groups[1], json!({"TargetGroupArn": hello["target_tg"], "Weight": 0}));
    let services = json!({"cluster": hello["cluster"], "services": [hello["source_service"], hello["target_service"]]});
    let fields = "x-amz-target: AmazonEC2ContainerServiceV20141113.DescribeServices\r\n";
    let services = http(address, "POST", "/", fields, &services.to_string(), patience).unwrap().json();
    assert_eq!((services["services"].as_array().unwrap().len(), &services["failures"]), (2, &json!([])));

    http(address, "PUT", "/_lab/faults", "", r#"{"name": "hang"}"#, patience).unwrap();
    let hanging = std::thread::spawn(move || {
        http(address, "POST", "/", "", "Action=GetCallerIdentity&Version=2011-06-15", patience)
    });
    let hangs = || http(address, "GET", "/_lab/calls", "", "", patience).unwrap().body.contains("hang");
    while !hangs() {}
    let clock = Clock::start(1);
    let pid = program.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let status = program.0.wait().unwrap();
    assert!(status.success() && clock.real() < Duration::from_secs(2), "{status} after {:?}", clock.real());
    assert!(hanging.join().unwrap().is_err());
}

/// Proves that with traffic the load balancer's address answers any path, and that an account may hold several
/// deployments, all of them running when the first line is said.
#[test]
fn the_load_balancer_answers_any_path() {
    let (_program, hello) = run(&["--speed", "60", "--deployments", "3"]);
    let patience = Duration::from_secs(10);
    let at = hello["alb_url"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    for path in ["/", "/_cluster/health", "/any/path?at=all"] {
        assert_eq!(http(at, "GET", path, "", "", patience).unwrap().status, 200, "{path}");
    }
    let endpoint = hello["endpoint"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    let form = "Action=DescribeLoadBalancers&Version=2015-12-01";
    let all = http(endpoint, "POST", "/", "", form, patience).unwrap();
    // AWS promises no order, and neither does the lab.
    let mut names = all.texts("LoadBalancerName");
    names.sort_unstable();
    assert_eq!(names, ["MigrationAssistant-demo", "MigrationAssistant-demo-2", "MigrationAssistant-demo-3"]);
    let state = http(endpoint, "GET", "/_lab/state", "", "", patience).unwrap().json();
    let groups = state["account"]["TargetGroups"].as_object().unwrap();
    let targets: Vec<&Value> = groups.values().flat_map(|group| group["Targets"].as_array().unwrap()).collect();
    assert_eq!(targets.len(), 15);
    assert!(targets.iter().all(|target| target["Health"]["State"] == "healthy"), "{targets:?}");
}

/// Proves that an address which is taken is named, and that nothing is said on standard output then.
#[test]
fn a_taken_address_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_lab")).args(["--listen", &at, "--no-traffic"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(error.contains(&at), "{error}");
}
