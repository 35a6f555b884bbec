//! From the fault to the call that takes the traffic back, by what is looked at.

use std::fmt::Write as _;
use std::thread::sleep;
use std::time::Duration;

use crate::cloud::{SERVICE, Setup, World};

/// How many times as fast as real time. Our proxies' counters are read in a hundredth of a second at the most often, so a
/// faster clock would show them later than they are.
const SPEED: u32 = 10;

/// How long the step is left alone before the fault, in seconds of the lab: past the propagation of its weight.
const REST: Duration = Duration::from_mins(1);

/// What breaks behind the target's group.
#[derive(Clone, Copy)]
enum Broken {
    /// The cluster answers 500 to everything, health checks too.
    Errors,
    /// The cluster closes its connections; our proxy answers 502.
    Cluster,
    /// Our proxy itself is gone.
    Proxy,
}

/// What is looked at: whether the policy names our proxies, and `healthy_min`.
const LOOKS: [(&str, bool, u32); 3] =
    [("CloudWatch alone", false, 0), ("with target health", false, 1), ("with our proxies' counters", true, 0)];

fn run(broken: Broken, named: bool, healthy_min: u32) -> f64 {
    let world = World::new(&Setup { speed: SPEED, proxies: true, named, healthy_min, ..Setup::default() });
    let clients = world.clients();
    let mut daemon = world.daemon();
    world.say(&["start", SERVICE, "--yes"]);
    world.wait_for(&mut daemon, &["baking"], Some(200));
    sleep(REST / SPEED);
    let began = world.now();
    match broken {
        Broken::Errors => world.target_answers(Some(500)),
        Broken::Cluster => world.target_answers(None),
        Broken::Proxy => world.proxies[1].signal("KILL"),
    }
    world.wait_for(&mut daemon, &["reverted"], None);
    clients.stop();
    let changed = world.changes().into_iter().find(|at| *at >= began).expect("the original came back");
    (changed - began) as f64 / 1000.0
}

/// The table.
pub(crate) fn table() -> String {
    let mut text = String::from("| seconds from the fault to ModifyListener |");
    for (name, ..) in LOOKS {
        write!(text, " {name} |").expect("a String takes everything");
    }
    text.push_str("\n|---|---|---|---|\n");
    let rows = [
        ("target's cluster answers 500", Broken::Errors),
        ("target's cluster gone (502)", Broken::Cluster),
        ("target's proxy gone", Broken::Proxy),
    ];
    for (name, broken) in rows {
        write!(text, "| {name} |").expect("a String takes everything");
        for (_, named, healthy_min) in LOOKS {
            write!(text, " {:.0} |", run(broken, named, healthy_min)).expect("a String takes everything");
        }
        text.push('\n');
    }
    text
}
