//! A fleet of proxies behind a name in DNS that comes and goes while a daemon drives it, as pods behind a headless Service.

use std::{net::Ipv4Addr, process::Command, time::Duration};

use tidegate_tests::{
    clock,
    servers::{Process, built_binary, free_port, resolver::Resolver},
};

use crate::{
    daemon::{Daemon, SERVICE, World, clients},
    load::{Pool, assert_no_failure, by_side},
    support::assert_quiet,
};

const TOKEN: &str = "the token of the pods";
const NAME: &str = "shop-pods.ma.svc.cluster.local";

/// How long a pod may take to start, and to be ready; builds may run beside the tests.
const START_MAX: Duration = Duration::from_secs(20);

struct Pod {
    process: Process,
    address: Ipv4Addr,
    /// Of its control API; that of its probes is the next.
    port: u16,
    /// Where clients reach it.
    clients_port: u16,
}

impl Pod {
    /// Starts `tidegate proxy` on an address of its own, as a manifest does, and waits until it listens.
    fn start(world: &World, number: u8, port: u16) -> Self {
        let address = Ipv4Addr::new(127, 0, 2, number);
        let upstream = |side: &tidegate_tests::servers::nginx::Nginx| format!("http://127.0.0.1:{}", side.ports[0]);
        let mut command = Command::new(built_binary());
        command
            .args(["proxy", "--listen", "127.0.0.1:0", "--plaintext", "--no-capture", "--await-weight"])
            .args(["--source", &upstream(&world.source), "--target", &upstream(&world.target)])
            .args(["--control", &format!("{address}:{port}"), "--probes", &format!("{address}:{}", port + 1)])
            .env("TIDEGATE_TOKEN", TOKEN)
            .current_dir(world.path(""));
        let mut process = Process::start(&format!("pod-{number}"), &world.path(""), command);
        let line = process.wait_for_line("listening on http://127.0.0.1:", START_MAX);
        let told = line.split("http://127.0.0.1:").nth(1).and_then(|rest| rest.split(',').next()?.trim().parse().ok());
        let clients_port = told.unwrap_or_else(|| panic!("no port in `{line}`"));
        Self { process, address, port, clients_port }
    }

    /// The status of the answer to a probe.
    fn probe(&self, path: &str) -> String {
        let url = format!("http://{}:{}{path}", self.address, self.port + 1);
        let mut curl = Command::new("curl");
        let answer = curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &url]).output().expect("curl is there");
        String::from_utf8_lossy(&answer.stdout).into_owned()
    }

    /// The share that it has, once it is ready.
    fn share(&self) -> u64 {
        let start = clock::now();
        while self.probe("/ready") != "200" {
            assert!(start.elapsed() < START_MAX, "the pod is never ready:\n{}", self.process.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut curl = Command::new("curl");
        curl.args(["-s", "-H", &format!("Authorization: Bearer {TOKEN}")]);
        let answer = curl.arg(format!("http://{}:{}/v1/status", self.address, self.port)).output();
        let status: serde_json::Value = serde_json::from_slice(&answer.expect("curl is there").stdout).expect("JSON");
        status["reads"].as_u64().expect("a share")
    }

    fn finish(mut self) {
        self.process.signal("TERM");
        assert!(self.process.wait(Duration::from_secs(2)).success(), "{}", self.process.log());
        assert_quiet(&self.process, &[]);
    }
}

fn addresses(pods: &[&Pod]) -> Vec<Ipv4Addr> {
    pods.iter().map(|pod| pod.address).collect()
}

/// A world whose policy names the pods by their name in DNS, with a gate that waits for a person before the second step.
fn world(resolver: &Resolver, port: u16) -> World {
    let world = World::new(&[], "");
    let policy =
        world.policy("\n[gates.half]\nkind = \"manual\"\nbefore = 50\ntimeout = \"5m\"\non_timeout = \"hold\"\n");
    let own = policy.lines().find(|line| line.starts_with("proxies = ")).expect("it names a proxy").to_owned();
    let named = format!("proxies = [\"dns://{}/{NAME}:{port}\"]", resolver.address());
    world.write_policy(&policy.replace(&own, &named));
    world
}

fn daemon(world: &mut World) -> Daemon {
    world.daemon(&[("TIDEGATE_TOKEN", TOKEN)])
}

/// Proves that pods which come and go are followed through a whole cutover: none is ready before a daemon gave it the weight;
/// one that comes in the middle is given the share of that moment before it is ready, with one gone the cutover goes on, a
/// resolver that fails holds it, and after the end a fleet that comes up anew with nobody left of it gets what stood.
#[test]
fn pods_come_and_go_while_a_cutover_runs() {
    let (resolver, port) = (Resolver::start(NAME), free_port());
    let mut world = world(&resolver, port);
    let (first, second) = (Pod::start(&world, 1, port), Pod::start(&world, 2, port));
    assert_eq!((first.probe("/ready"), first.probe("/health")), ("503".to_owned(), "200".to_owned()));
    resolver.stand_for(&addresses(&[&first, &second]));
    let daemon = daemon(&mut world);
    assert_eq!((first.share(), second.share()), (0, 0), "no cutover, and they are looked after");

    let pools = clients(first.clients_port, 6);
    daemon.say(&["start", SERVICE, "--yes"]).expect(0);
    daemon.wait_for("gated", 100);
    let third = Pod::start(&world, 3, port);
    assert_eq!(third.probe("/ready"), "503", "nobody knows of it");
    resolver.stand_for(&addresses(&[&first, &second, &third]));
    assert_eq!(third.share(), 100, "what the others have, when it is ready");
    let more = clients(third.clients_port, 4);
    second.process.signal("KILL");
    resolver.stand_for(&addresses(&[&first, &third]));
    daemon.say(&["advance", SERVICE]).expect(0);
    daemon.wait_for("baking", 500);
    assert_eq!((first.share(), third.share()), (500, 500));

    resolver.fail();
    let held =
        daemon.wait_until("word of the resolver", |detail| detail.to_string().contains("nobody knows which proxies"));
    assert_eq!(held["view"]["cutover"]["desired"]["reads"], 500, "{held}");
    resolver.stand_for(&addresses(&[&first, &third]));
    daemon.wait_for("done", 1000);
    assert_eq!((first.share(), third.share()), (1000, 1000));
    for answers in pools.into_iter().chain(more).map(Pool::stop) {
        assert_no_failure(&answers);
        assert!(by_side(&answers, "target") > 0, "{} answers", answers.len());
    }
    // The whole fleet comes up anew, and then once more with the cutover closed.
    let fresh = [false, true].map(|close| {
        if close {
            daemon.say(&["close", SERVICE, "--yes"]).expect(0);
        }
        let fresh = Pod::start(&world, if close { 5 } else { 4 }, port);
        resolver.stand_for(&addresses(&[&fresh]));
        assert_eq!(fresh.share(), 1000, "closed: {close}");
        fresh
    });
    daemon.finish(&[NAME, "127.0.2."]);
    world.verify();
    // Nobody drives them any more: they keep what they have.
    assert_eq!((first.share(), third.share()), (1000, 1000));
    [first, third].into_iter().chain(fresh).for_each(Pod::finish);
}
