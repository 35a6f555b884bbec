//! A lab with an NLB in front, the tunnels by which the program reaches it, and the runs of the program.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lab::faults::{Fault, FaultName};
use lab::model::network::Ingress;
use lab::model::{HealthState, Model, REGION};
use lab::plane::Behaviour;
use lab::wire::params::Params;
use lab::{Lab, LabConfig, Shared};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tidegate_tests::servers::{Process, aws::towards, built_binary};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::RUN_MAX;
use crate::rights;

/// How many times as fast as real time lab and program run.
const SPEED: u32 = 30;

/// The one service, and the name by which its clients ask.
const SERVICE: &str = "migration";
const NAME: &str = "search.example.com";

/// The ports of the NLB: the live listener's, and the one that the program is told to take.
const LIVE_PORT: u16 = 9200;
pub(super) const NLB_PORT: u16 = 9443;

/// The security group of the weighted listener's load balancer, as the scenario names it.
const SECURITY_GROUP: &str = "sg-0000000000000a1b0";

const CERTIFICATE: &str = "arn:aws:acm:us-east-1:123456789012:certificate/1b2c3d4e-0000-4000-8000-00000000abcd";

/// How long the lab may take until all in front is healthy.
const READY_MAX: Duration = Duration::from_secs(30);

/// How a run of the program ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) exit: i32,
    /// What it printed; null where it was nothing.
    pub(super) json: Value,
    pub(super) words: String,
}

pub(super) struct Stage {
    runtime: tokio::runtime::Runtime,
    lab: Option<Lab>,
    folder: tempfile::TempDir,
    nlb: String,
    live: String,
    /// The listener and the target group of the old load balancer; empty where there is none.
    old: (String, String),
    /// `--connect-to`.
    tunnels: Vec<String>,
    _tunnelling: JoinSet<()>,
    authority: RefCell<PathBuf>,
    runs: Cell<u32>,
}

fn elb(shared: &Shared, operation: &str, input: &Value) -> Value {
    let done = shared.change(|model, now| {
        lab::elbv2::write(model, now, operation, Params(input)).expect("the lab has this operation")
    });
    done.unwrap_or_else(|refusal| panic!("{operation}: {refusal:?}"))
}

fn arn(answer: &Value, list: &str, field: &str) -> String {
    answer[list][0][field].as_str().expect("it was made").to_owned()
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Authorities are told apart by their names.
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// What ends TLS for the clients' name, by a certificate of `issuer`.
fn acceptor(issuer: &CertifiedIssuer<'static, KeyPair>) -> TlsAcceptor {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, issuer).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = config.expect("versions").with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key);
    TlsAcceptor::from(Arc::new(config.expect("they belong together")))
}

/// Where a listener of the lab is, by its load balancer and port.
fn place(model: &Model, balancer: &str, port: u16) -> Option<SocketAddr> {
    let mut listeners = model.listeners_of(balancer).into_iter();
    listeners.find(|listener| listener.port == port).and_then(|listener| listener.address)
}

/// Ends TLS and passes connections on to a listener, wherever the lab has it by then.
async fn tunnel(shared: Arc<Shared>, balancer: String, port: u16, acceptor: TlsAcceptor, socket: TcpListener) {
    let mut flows = JoinSet::new();
    loop {
        let Ok((client, _)) = socket.accept().await else { continue };
        let (acceptor, to) = (acceptor.clone(), shared.read(|model| place(model, &balancer, port)));
        flows.spawn(async move {
            let (Some(to), Ok(mut client)) = (to, acceptor.accept(client).await) else { return };
            if let Ok(mut lab) = TcpStream::connect(to).await {
                // However it ends, both sides have seen it.
                drop(tokio::io::copy_bidirectional(&mut client, &mut lab).await);
            }
        });
    }
}

impl Stage {
    /// NLB, load balancer, cluster.
    pub(super) fn in_front_of_a_balancer() -> Self {
        Self::new(true)
    }

    /// NLB, cluster.
    pub(super) fn in_front_of_the_cluster() -> Self {
        Self::new(false)
    }

    fn new(with_balancer: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime needs threads alone");
        let config = LabConfig { speed: SPEED, limited: false, ..LabConfig::default() };
        let lab = runtime.block_on(Lab::start(config)).expect("a lab starts");
        let shared = Arc::clone(lab.shared());
        let (vpc, subnets) = shared.read(|model| {
            let network = &model.network;
            (network.vpc.clone(), network.subnets.keys().cloned().collect::<Vec<_>>())
        });
        let balancer = |name: &str, kind: &str| {
            let mut input = json!({"Name": name, "Type": kind, "Scheme": "internal", "Subnets": subnets});
            if kind == "application" {
                input["SecurityGroups"] = json!([SECURITY_GROUP]);
            }
            arn(&elb(&shared, "CreateLoadBalancer", &input), "LoadBalancers", "LoadBalancerArn")
        };
        let group = |name: &str, protocol: &str, port: u16, kind: &str, targets: Value| {
            let mut input = json!({"Name": name, "Protocol": protocol, "Port": port, "VpcId": vpc, "TargetType": kind});
            if kind == "alb" || protocol == "HTTPS" {
                input["HealthCheckProtocol"] = json!("HTTPS");
                input["Matcher"] = json!({"HttpCode": "200-499"});
            }
            let arn = arn(&elb(&shared, "CreateTargetGroup", &input), "TargetGroups", "TargetGroupArn");
            elb(&shared, "RegisterTargets", &json!({"TargetGroupArn": arn, "Targets": targets}));
            arn
        };
        let nodes = json!([{"Id": "10.0.1.101", "Port": 9200}, {"Id": "10.0.2.102", "Port": 9200}]);
        let nlb = balancer("front", "network");
        elb(
            &shared,
            "ModifyLoadBalancerAttributes",
            &json!({"LoadBalancerArn": nlb, "Attributes": [{"Key": "load_balancing.cross_zone.enabled", "Value": "true"}]}),
        );
        let (behind, old) = if with_balancer {
            let old = balancer("old", "application");
            let cluster = group("old-cluster", "HTTPS", 9200, "ip", nodes);
            let listener = elb(
                &shared,
                "CreateListener",
                &json!({
                    "LoadBalancerArn": old, "Port": 443, "Protocol": "HTTPS",
                    "Certificates": [{"CertificateArn": CERTIFICATE}],
                    "DefaultActions": [{"Type": "forward", "TargetGroupArn": cluster}],
                }),
            );
            let behind = group("old-balancer", "TCP", 443, "alb", json!([{"Id": old}]));
            (behind, (arn(&listener, "Listeners", "ListenerArn"), cluster))
        } else {
            (group("old-cluster", "TCP", 9200, "ip", nodes), (String::new(), String::new()))
        };
        let live = elb(
            &shared,
            "CreateListener",
            &json!({
                "LoadBalancerArn": nlb, "Port": LIVE_PORT, "Protocol": "TCP",
                "DefaultActions": [{"Type": "forward", "TargetGroupArn": behind}],
            }),
        );
        let live = arn(&live, "Listeners", "ListenerArn");

        let folder = tempfile::tempdir().expect("a temporary folder");
        let trusted = authority("the clients' authority");
        std::fs::write(folder.path().join("ca.pem"), trusted.pem()).expect("a file of ours");
        std::fs::write(folder.path().join("other.pem"), authority("another authority").pem()).expect("a file of ours");
        let acceptor = acceptor(&trusted);
        let weighted = shared.read(|model| model.listeners[&lab.scene().listener_arn].clone());
        let mut tunnelling = JoinSet::new();
        let mut tunnels = Vec::new();
        for (balancer, port) in [(nlb.clone(), NLB_PORT), (weighted.load_balancer, weighted.port)] {
            let socket = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port");
            let name = shared.read(|model| model.load_balancers[&balancer].dns_name.clone());
            tunnels.push(format!("{name}:{port}={}", socket.local_addr().expect("it is bound")));
            let running = tunnel(Arc::clone(&shared), balancer, port, acceptor.clone(), socket);
            tunnelling.spawn_on(running, runtime.handle());
        }
        let scene = lab.scene();
        let policy = format!(
            "service = \"{SERVICE}\"\n[balancer]\nkind = \"alb\"\n[metrics]\nsettle = \"1m\"\n\
             [source]\ntarget_group = \"{}\"\n[target]\ntarget_group = \"{}\"\n\
             [baseline]\nrecord = \"6m\"\nintervals_min = 2\n\
             [shift]\nsteps = [100]\nwrites = \"split\"\nbake_min = \"2m\"\nwarm_up = \"1m\"\nrequests_min = 20\n\
             [pass]\nerrors_budget = \"2 %\"\nsuccess_budget = \"4 %\"\n\
             [revert]\nreassert = \"1m\"\n[drain]\nquiet = \"2m\"\ntimeout = \"1h\"\n",
            scene.source_tg, scene.target_tg
        );
        std::fs::write(folder.path().join("migration.toml"), policy).expect("a file of ours");
        let authority = RefCell::new(folder.path().join("ca.pem"));
        let (lab, runs) = (Some(lab), Cell::new(0));
        let stage = Self { runtime, lab, folder, nlb, live, old, tunnels, _tunnelling: tunnelling, authority, runs };
        stage.ready();
        stage
    }

    /// Waits until everything in front is healthy and can be reached.
    fn ready(&self) {
        let shared = Arc::clone(self.shared());
        let mut changes = shared.changes();
        let ready = async {
            let all = |model: &Model| {
                let groups = model.target_groups.values().filter(|group| group.name.starts_with("old"));
                groups.flat_map(|group| &group.targets).all(|target| target.health.state == HealthState::Healthy)
                    && model.listeners.values().all(|listener| listener.address.is_some())
            };
            while !shared.read(all) {
                changes.changed().await.expect("the lab runs");
            }
        };
        let waited = self.runtime.block_on(async { tokio::time::timeout(READY_MAX, ready).await });
        waited.expect("all in front is healthy");
    }

    fn lab(&self) -> &Lab {
        self.lab.as_ref().expect("it runs until the end")
    }

    fn shared(&self) -> &Arc<Shared> {
        self.lab().shared()
    }

    fn name_of(&self, balancer: &str) -> String {
        self.shared().read(|model| model.load_balancers[balancer].dns_name.clone())
    }

    pub(super) fn nlb_name(&self) -> String {
        self.name_of(&self.nlb)
    }

    fn weighted_listener(&self) -> lab::model::Listener {
        self.shared().read(|model| model.listeners[&self.lab().scene().listener_arn].clone())
    }

    /// The name of the weighted listener's load balancer.
    pub(super) fn weighted_name(&self) -> String {
        self.name_of(&self.weighted_listener().load_balancer)
    }

    /// Where clients reach the weighted listener.
    pub(super) fn weighted(&self) -> SocketAddr {
        self.weighted_listener().address.expect("it carries traffic")
    }

    /// Where clients reach the load balancer that they use today.
    pub(super) fn old_balancer(&self) -> SocketAddr {
        self.shared().read(|model| model.listeners[&self.old.0].address).expect("it carries traffic")
    }

    /// Where clients reach a port of the NLB, once it is open.
    pub(super) fn address_of(&self, port: u16) -> SocketAddr {
        self.shared().read(|model| place(model, &self.nlb, port)).expect("it carries traffic")
    }

    pub(super) fn live(&self) -> SocketAddr {
        self.address_of(LIVE_PORT)
    }

    /// The live listener's actions, in AWS's own spelling.
    pub(super) fn live_actions(&self) -> Value {
        let input = json!({ "ListenerArns": [self.live] });
        let shared = self.shared();
        let answer = shared
            .read(|model| lab::elbv2::read(model, shared.clock.now(), "DescribeListeners", Params(&input)))
            .expect("the lab has this operation");
        answer.expect("the listener is there")["Listeners"][0]["DefaultActions"].clone()
    }

    /// How many listeners the NLB has.
    pub(super) fn listener_count(&self) -> usize {
        self.shared().read(|model| model.listeners_of(&self.nlb).len())
    }

    /// How much there is that the program made.
    pub(super) fn made(&self) -> usize {
        self.shared().read(|model| {
            let groups = model.target_groups.values().filter(|group| group.name.starts_with("tidegate-")).count();
            let listeners = model.listeners_of(&self.nlb).iter().filter(|one| one.port == NLB_PORT).count();
            groups + listeners
        })
    }

    /// Takes the NLB's live listener away.
    pub(super) fn take_the_nlb_away(&self) {
        elb(self.shared(), "DeleteListener", &json!({"ListenerArn": self.live}));
    }

    /// Lets so many of the lab's minutes go by, so that there is something to compare with.
    pub(super) fn minutes_pass(&self, minutes: u32) {
        self.runtime.block_on(self.shared().clock.sleep(Duration::from_mins(1) * minutes));
    }

    /// Whether the source's proxies are asked right now.
    pub(super) fn source_requests_now(&self) -> bool {
        let count = || -> u64 {
            let served = self.shared().history.served();
            served
                .iter()
                .filter(|((_, group, _), _)| *group == self.lab().scene().source_tg)
                .map(|(_, count)| count)
                .sum()
        };
        let before = count();
        self.minutes_pass(1);
        count() > before + 10
    }

    /// Lets the capture proxies fail this share of requests.
    pub(super) fn spoil_the_proxies(&self, error_share: f64) {
        self.shared().plane.behave(&self.lab().scene().source_tg, Behaviour { error_share, ..Behaviour::default() });
    }

    /// What an operator says of this stage.
    pub(super) fn asked(&self) -> Vec<String> {
        Self::asked_for(&self.live)
    }

    fn asked_for(listener: &str) -> Vec<String> {
        let port = NLB_PORT.to_string();
        ["--nlb-listener", listener, "--server-name", NAME, "--port", &port, "--steps", "20,100"]
            .map(str::to_owned)
            .to_vec()
    }

    /// The same where there is no NLB.
    pub(super) fn asked_by_name(&self, resolver: SocketAddr) -> Vec<String> {
        let mut asked = Self::resolver(resolver);
        asked.extend(["--name", NAME, "--old-group", &self.old.1].map(str::to_owned));
        asked
    }

    pub(super) fn resolver(resolver: SocketAddr) -> Vec<String> {
        vec!["--resolver".to_owned(), resolver.to_string()]
    }

    /// Begins a run of `tidegate reroute`: the verb with its flags, then what is asked for.
    pub(super) fn begin(&self, verb: &[&str], more: &[impl AsRef<str>]) -> Process {
        let mut command = Command::new(built_binary());
        command.arg("reroute").args(verb).arg(self.folder.path().join("migration.toml"));
        command.args(more.iter().map(AsRef::as_ref)).arg("--state").arg(self.folder.path().join("state"));
        command.arg("--client-ca").arg(&*self.authority.borrow()).args(["--clock-speed", &SPEED.to_string()]);
        for tunnel in &self.tunnels {
            command.args(["--connect-to", tunnel]);
        }
        self.start(command)
    }

    fn start(&self, mut command: Command) -> Process {
        towards(&mut command, &self.lab().endpoint(), REGION).current_dir(self.folder.path());
        self.runs.set(self.runs.get() + 1);
        Process::start(&format!("run-{}", self.runs.get()), self.folder.path(), command)
    }

    /// Waits for the end of a run.
    pub(super) fn end(mut process: Process) -> Ended {
        let exit = process.wait(RUN_MAX).code().unwrap_or(-1);
        let words = process.log();
        let json = words.lines().rev().find(|line| line.starts_with('{'));
        let json = json.map_or(Value::Null, |line| serde_json::from_str(line).expect("it is JSON"));
        Ended { exit, json, words }
    }

    /// Runs it to its end.
    pub(super) fn run(&self, verb: &[&str], more: &[impl AsRef<str>]) -> Ended {
        Self::end(self.begin(verb, more))
    }

    /// What `tidegate preflight` says of the snapshot.
    pub(super) fn preflight(&self, more: &[&str]) -> Value {
        let mut command = Command::new(built_binary());
        command.args(["preflight", "--json"]).arg(self.folder.path().join("migration.toml")).args(more);
        command.arg("--state").arg(self.folder.path().join("state"));
        let ended = Self::end(self.start(command));
        let mut checks = ended.json["checks"].as_array().expect("there is a list").iter();
        checks.find(|check| check["name"] == "snapshot").expect("it speaks of the snapshot").clone()
    }

    fn fault(&self, name: FaultName, operation: &str, times: Option<u32>) {
        let fault = Fault { name, op: operation.to_owned(), times, seconds: Some(30.0).filter(|_| times.is_some()) };
        let fault = Fault { seconds: fault.seconds.filter(|_| name == FaultName::DelayedApply), ..fault };
        let shared = self.shared();
        shared.read(|model| shared.faults.put(fault, model, shared.clock.now())).expect("the lab takes this fault");
    }

    /// Begins a run and kills it while its next call of `operation` is under way.
    pub(super) fn killed_during(&self, fault: FaultName, operation: &str, verb: &[&str], more: &[impl AsRef<str>]) {
        self.fault(fault, operation, Some(1));
        let mut process = self.begin(verb, more);
        let shared = Arc::clone(self.shared());
        process.wait_until(&format!("{operation} is under way"), RUN_MAX, |_| {
            shared.faults.standing(shared.clock.now()).is_empty()
        });
        process.signal("KILL");
        process.wait(RUN_MAX);
    }

    /// Gives source and target these weights.
    pub(super) fn weigh(&self, source: u32, target: u32) {
        let scene = self.lab().scene();
        let group = |arn: &String, weight: u32| json!({"TargetGroupArn": arn, "Weight": weight});
        let groups = [group(&scene.source_tg, source), group(&scene.target_tg, target)];
        let action = json!([{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]);
        elb(self.shared(), "ModifyListener", &json!({"ListenerArn": scene.listener_arn, "DefaultActions": action}));
    }

    /// Sets the NLB's cross-zone attribute.
    pub(super) fn cross_zone(&self, value: &str) {
        let attributes = json!([{"Key": "load_balancing.cross_zone.enabled", "Value": value}]);
        let input = json!({"LoadBalancerArn": self.nlb, "Attributes": attributes});
        elb(self.shared(), "ModifyLoadBalancerAttributes", &input);
    }

    /// Lets nobody into the load balancer; what was let in before.
    pub(super) fn close_the_balancer(&self) -> Vec<Ingress> {
        self.shared().happen(|model, _| {
            let group = model.network.security_groups.get_mut(SECURITY_GROUP).expect("the scenario made it");
            std::mem::take(&mut group.ingress)
        })
    }

    pub(super) fn open_the_balancer(&self, ingress: Vec<Ingress>) {
        self.shared().happen(|model, _| {
            model.network.security_groups.get_mut(SECURITY_GROUP).expect("the scenario made it").ingress = ingress;
        });
    }

    /// Lets clients trust another authority than the one that the certificate is of; the one before.
    pub(super) fn other_authority(&self) -> PathBuf {
        self.authority.replace(self.folder.path().join("other.pem"))
    }

    pub(super) fn right_authority(&self, authority: PathBuf) {
        self.authority.replace(authority);
    }

    /// What is asked for of a live listener that speaks TLS, which this makes.
    pub(super) fn asked_of_tls(&self) -> Vec<String> {
        let vpc = self.shared().read(|model| model.network.vpc.clone());
        let group = json!({"Name": "tls-cluster", "Protocol": "TLS", "Port": 9200, "VpcId": vpc, "TargetType": "ip"});
        let group = arn(&elb(self.shared(), "CreateTargetGroup", &group), "TargetGroups", "TargetGroupArn");
        let listener = json!({
            "LoadBalancerArn": self.nlb, "Port": 9201, "Protocol": "TLS",
            "Certificates": [{"CertificateArn": CERTIFICATE}],
            "DefaultActions": [{"Type": "forward", "TargetGroupArn": group}],
        });
        let listener = arn(&elb(self.shared(), "CreateListener", &listener), "Listeners", "ListenerArn");
        let mut asked = Self::asked_for(&listener);
        asked.extend(["--way", "switch"].map(str::to_owned));
        asked
    }

    /// Lets nobody ask EC2.
    pub(super) fn deny_ec2(&self) {
        self.fault(FaultName::AccessDenied, "ec2:*", None);
    }

    /// Asserts that every call that was made of AWS is one that `tidegate aws iam --feature reroute` lists, or looks, and that
    /// all of its actions were called.
    pub(super) fn assert_every_call_is_listed(&self) {
        let lab = self.lab.as_ref().expect("it runs until the end");
        rights::assert_allowed(lab, &["observe", "reroute"]);
        rights::assert_used(lab, &["reroute"]);
    }

    /// Runs the program without the permission to `operation`: it ends with an error that names the action and the feature.
    pub(super) fn denied(&self, operation: &str, verb: &[&str], more: &[impl AsRef<str>]) {
        self.fault(FaultName::AccessDenied, operation, None);
        let ended = self.run(verb, more);
        self.shared().faults.clear();
        let told = format!("`elasticloadbalancing:{operation}` is missing: `tidegate aws iam --feature reroute`");
        let text = format!("{} {}", ended.words, ended.json);
        assert!(ended.exit != 0 && text.contains(&told), "{operation}: {ended:?}");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(lab) = self.lab.take() {
            self.runtime.block_on(lab.stop());
        }
    }
}
