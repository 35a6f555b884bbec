//! A share that lags behind its weight: what keeps clients where they are is told, in the order in which it is worth looking at.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lab::plane::{Pinning, Switches};
use serde_json::{Value, json};

use crate::cloud::{SERVICE, Setup, World};

/// How long a cause may take to be told, in real time: CloudWatch's last ten minutes must show it.
const TOLD_MAX: Duration = Duration::from_mins(1);

/// Clients that keep their connection and their cookie: those that come before the shift have the source's, those that come
/// after it have either's. The share lags by the first; by the others it is not nothing, which would be taken for a target
/// that is out of reach. However the others fall, the share is wrong by more than chance makes it in a minute.
const EARLY: usize = 60;
const LATE: usize = 14;

/// How long each rests after an answer: few requests go by each open connection.
const REST: Duration = Duration::from_secs(2);

/// Connections that are upgraded.
const UPGRADED: usize = 60;

/// How often it is looked at what is explained.
const LOOK: Duration = Duration::from_millis(200);

const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Clients with a connection and a cookie each.
struct Kept {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

/// One request by a kept connection; whether it was answered with 200, and whether the connection stays.
fn exchange(stream: &mut TcpStream, cookie: &mut String) -> std::io::Result<(bool, bool)> {
    write!(stream, "GET /search HTTP/1.1\r\nHost: search.example\r\nCookie: {cookie}\r\n\r\n")?;
    let mut reader = BufReader::new(stream);
    let (mut status, mut length, mut stays) = (String::new(), 0, true);
    reader.read_line(&mut status)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
        stays &= !lower.starts_with("connection: close");
        if lower.starts_with("set-cookie: awsalbtg=") {
            let value = line[12..].split(';').next().unwrap_or_default();
            value.trim().clone_into(cookie);
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    Ok((status.starts_with("HTTP/1.1 200"), stays))
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("the load balancer listens");
    stream.set_read_timeout(Some(ANSWER_MAX)).expect("a time-out is no zero");
    stream
}

impl Kept {
    fn start(to: SocketAddr, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = || {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let (mut failed, mut cookie) = (0, "session=1".to_owned());
                let mut stream = connect(to);
                while !stop.load(Ordering::Relaxed) {
                    let (good, stays) = exchange(&mut stream, &mut cookie).unwrap_or((false, false));
                    failed += u64::from(!good);
                    if !stays {
                        stream = connect(to);
                    }
                    std::thread::sleep(REST);
                }
                failed
            })
        };
        let threads = (0..count).map(|_| client()).collect();
        Self { stop, threads }
    }

    /// Ends them; how many requests failed.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a client does not panic")).sum()
    }
}

/// A connection that is upgraded, and open until it is dropped.
fn upgraded(to: SocketAddr) -> TcpStream {
    let mut stream = connect(to);
    let asked = "GET /live HTTP/1.1\r\nHost: search.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(asked.as_bytes()).expect("an open connection");
    let mut head = [0; 12];
    stream.read_exact(&mut head).expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 101");
    stream
}

/// A Network Load Balancer whose flows lead to the source's target past the load balancer.
fn flows_past(world: &World) {
    let made = |operation: &str, input: Value, list: &str, field: &str| {
        let done = world.lab().shared().change(|model, now| {
            lab::elbv2::write(model, now, operation, lab::wire::params::Params(&input)).expect("the lab has it")
        });
        let done = done.unwrap_or_else(|refusal| panic!("{operation}: {refusal:?}"));
        done[list][0][field].as_str().expect("it was made").to_owned()
    };
    let (subnets, vpc, targets) = world.lab().shared().read(|model| {
        let subnets: Vec<String> = model.network.subnets.keys().cloned().collect();
        let targets = &model.target_groups[&world.lab().scene().source_tg].targets;
        let targets: Vec<Value> = targets.iter().map(|one| json!({"Id": one.id, "Port": one.port})).collect();
        (subnets, model.network.vpc.clone(), targets)
    });
    let input = json!({"Name": "front", "Type": "network", "Scheme": "internal", "Subnets": subnets});
    let nlb = made("CreateLoadBalancer", input, "LoadBalancers", "LoadBalancerArn");
    let input = json!({"Name": "past", "Protocol": "TCP", "Port": 9200, "VpcId": vpc, "TargetType": "ip"});
    let group = made("CreateTargetGroup", input, "TargetGroups", "TargetGroupArn");
    world.elb("RegisterTargets", &json!({"TargetGroupArn": group, "Targets": targets}));
    let action = json!([{"Type": "forward", "TargetGroupArn": group}]);
    let input = json!({"LoadBalancerArn": nlb, "Port": 9200, "Protocol": "TCP", "DefaultActions": action});
    made("CreateListener", input, "Listeners", "ListenerArn");
}

/// Whether the words come in this order, and all of them.
fn in_order(text: &str, words: &[&str]) -> bool {
    let places: Vec<Option<usize>> = words.iter().map(|word| text.find(word)).collect();
    places.iter().all(Option::is_some) && places.is_sorted()
}

/// Waits until what is explained is as it shall be.
fn told(world: &World, what: &str, is: impl Fn(&str) -> bool) {
    let begun = tidegate_tests::clock::now();
    loop {
        let text = world.say(&["explain", SERVICE]);
        if is(&text) {
            return;
        }
        assert!(begun.elapsed() < TOLD_MAX, "{what} within {TOLD_MAX:?}:\n{text}");
        std::thread::sleep(LOOK);
    }
}

/// Proves with clients that keep a cookie, upgraded connections, listeners beside the weighted one, an NLB past it, a target
/// group that keeps to its zones, where connections pin their group: the cutover stays where it is, tells these causes in
/// their order with the evidence of each, and a revert leaves everything as it was.
#[test]
fn a_share_that_lags_is_told_with_its_causes_in_order() {
    // How quickly this machine answers is no matter here.
    let more = "[unknown]\nhold_budget = \"20h\"\n[guards.latency]\nenabled = false\n".to_owned();
    let world = World::new(&Setup { proxies: true, steps: "[50, 100]", more, ..Setup::default() });
    let scene = world.lab().scene().clone();
    // Clients that come after the shift find it done at every node.
    let switches = Switches { pinning: Pinning::UntilClose, propagation_max_seconds: 1.0, ..Switches::default() };
    world.lab().shared().plane.set_switches(switches);
    let group = |arn: &String, weight: u8| json!({"TargetGroupArn": arn, "Weight": weight});
    let sticky = json!([{"Type": "forward", "ForwardConfig": {
        "TargetGroups": [group(&scene.source_tg, 1), group(&scene.target_tg, 0)],
        "TargetGroupStickinessConfig": {"Enabled": true, "DurationSeconds": 604_800},
    }}]);
    world.elb("ModifyListener", &json!({"ListenerArn": scene.listener_arn, "DefaultActions": sticky}));
    let zones = json!([{"Key": "load_balancing.cross_zone.enabled", "Value": "false"}]);
    world.elb("ModifyTargetGroupAttributes", &json!({"TargetGroupArn": scene.target_tg, "Attributes": zones}));
    flows_past(&world);
    let before = world.actions();
    let address: SocketAddr = {
        let url = world.lab().alb_url().expect("it carries traffic");
        url.trim_start_matches("http://").parse().expect("it is an address")
    };
    let early = Kept::start(address, EARLY);
    let sockets: Vec<TcpStream> = (0..UPGRADED).map(|_| upgraded(address)).collect();

    let mut daemon = world.daemon();
    world.say(&["start", SERVICE, "--yes"]);
    world.wait_for(&mut daemon, &["baking"], Some(500));
    let late = Kept::start(address, LATE);
    let words = [
        "What stands in the way of the next step:",
        "likely causes in order: stickiness: a client stays with its target group for 604800 s",
        "; WebSockets: ",
        "; other listeners: requests come past the weights by port 9201 to the source, port 9202 to the target",
        "; NLB flows: flows come by the NLB's group `past` to the source",
        "; zones: each zone's node uses only the targets of its own zone",
    ];
    told(&world, "the causes in order", |text| in_order(text, &words) && !text.contains("pinned connections:"));

    assert_eq!((world.cutover()["phase"]["phase"].as_str(), world.weights()), (Some("baking"), [500, 500]));
    drop(sockets);
    world.say(&["revert", SERVICE, "--yes", "--reason", "its causes were told"]);
    world.wait_for(&mut daemon, &["reverted"], None);
    assert_eq!(world.actions(), before);
    assert_eq!(early.stop() + late.stop(), 0, "no request failed");
}
