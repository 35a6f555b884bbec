//! An account with one ALB and two target groups of two targets each, and clients that keep their connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Shared;
use crate::clock::{Clock, Time};
use crate::cloudwatch::distribution::Distribution;
use crate::cloudwatch::store::Metric;
use crate::ecs;
use crate::limits::Limits;
use crate::model::group::HealthCheck;
use crate::model::{
    Action, BalancerKind, Health, HealthState, Listener, LoadBalancer, Model, Protocol, Target, TargetGroup, TargetType,
};
use crate::plane::{Behaviour, Plane, Switches};
use crate::scenario::Scene;

pub(super) const ALB: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/shop/1";
pub(super) const LISTENER: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener/app/shop/1/2";
pub(super) const SOURCE: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/source/3";
pub(super) const TARGET: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/target/4";
pub(super) const SPEED: u32 = 60;

pub(super) fn balancer(arn: &str, kind: BalancerKind) -> LoadBalancer {
    LoadBalancer {
        arn: arn.to_owned(),
        name: "shop".to_owned(),
        kind,
        scheme: "internal".to_owned(),
        dns_name: "shop.invalid".to_owned(),
        vpc: "vpc-1".to_owned(),
        zones: ["us-east-1a", "us-east-1b"].map(|zone| (zone.to_owned(), format!("subnet-{zone}"))).to_vec(),
        security_groups: Vec::new(),
        created: Time(0),
        active_from: Time(0),
        attributes: BTreeMap::new(),
    }
}

pub(super) fn listener(arn: &str, balancer: &str, port: u16, protocol: Protocol, actions: Vec<Action>) -> Listener {
    Listener {
        arn: arn.to_owned(),
        load_balancer: balancer.to_owned(),
        port,
        protocol,
        certificates: Vec::new(),
        ssl_policy: None,
        alpn: Vec::new(),
        default_actions: actions,
        default_rule: format!("{arn}/0"),
        rules: Vec::new(),
        attributes: BTreeMap::new(),
        address: None,
    }
}

/// A group whose targets are elsewhere, so that the lab brings servers for them; healthy from the start.
pub(super) fn group(arn: &str, protocol: Protocol, targets: &[(&str, u16)]) -> TargetGroup {
    let target = |&(id, port): &(&str, u16)| Target {
        id: id.to_owned(),
        port,
        zone: None,
        health: Health::healthy(),
        registered: Time(0),
        draining_until: None,
    };
    TargetGroup {
        arn: arn.to_owned(),
        name: arn.rsplit('/').nth(1).unwrap_or_default().to_owned(),
        protocol,
        port: 9200,
        vpc: "vpc-1".to_owned(),
        target_type: TargetType::Ip,
        health_check: HealthCheck {
            enabled: true,
            protocol: Protocol::Http,
            port: None,
            path: "/".to_owned(),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            healthy_threshold: 2,
            unhealthy_threshold: 2,
            matcher: "200-499".to_owned(),
        },
        attributes: BTreeMap::new(),
        targets: targets.iter().map(target).collect(),
    }
}

pub(super) fn model() -> Model {
    let mut model = Model::default();
    model.load_balancers.insert(ALB.to_owned(), balancer(ALB, BalancerKind::Application));
    let actions = vec![Action::forward(&[(SOURCE, 1), (TARGET, 0)])];
    model.listeners.insert(LISTENER.to_owned(), listener(LISTENER, ALB, 443, Protocol::Https, actions));
    for (arn, net) in [(SOURCE, 1), (TARGET, 2)] {
        let ids = [format!("10.0.{net}.1"), format!("10.0.{net}.2")];
        let targets: Vec<(&str, u16)> = ids.iter().map(|id| (id.as_str(), 9200)).collect();
        model.target_groups.insert(arn.to_owned(), group(arn, Protocol::Https, &targets));
    }
    model
}

/// A running lab without a control plane.
pub(super) struct Lab {
    pub(super) shared: Arc<Shared>,
    pub(super) plane: Plane,
    /// Takes draining targets out.
    _fleet: JoinSet<()>,
}

/// Changes reach all nodes at once, connections are not pinned.
pub(super) fn prompt() -> Switches {
    Switches { propagation_max_seconds: 0.0, ..Switches::default() }
}

impl Lab {
    pub(super) async fn start(model: Model, switches: Switches) -> Self {
        Self::start_at(SPEED, model, switches).await
    }

    /// A lab whose time runs so many times as fast.
    pub(super) async fn start_at(speed: u32, model: Model, switches: Switches) -> Self {
        let (scene, limits) = (Scene::default(), Limits::new(false));
        let shared = Arc::new(Shared::new(Clock::start(speed), model, scene, limits));
        shared.plane.set_switches(switches);
        for group in [SOURCE, TARGET] {
            shared.plane.behave(group, Behaviour { median_ms: 1.0, tail_share: 0.0, ..Behaviour::default() });
        }
        let plane = Plane::start(Arc::clone(&shared), 1).await.unwrap();
        let mut fleet = JoinSet::new();
        fleet.spawn(ecs::drive::run(Arc::clone(&shared)));
        Self { shared, plane, _fleet: fleet }
    }

    /// Changes how the servers of a group behave.
    pub(super) fn behave(&self, group: &str, behaviour: Behaviour) {
        self.shared.plane.behave(group, behaviour);
    }

    pub(super) fn now(&self) -> Time {
        self.shared.clock.now()
    }

    pub(super) async fn client(&self) -> Client {
        Client::connect(self.plane.address(LISTENER).unwrap()).await
    }

    /// Changes the default rule and waits until the data plane has heard of it.
    pub(super) async fn set(&self, listener: &str, actions: Vec<Action>) {
        self.shared.happen(|model, _| model.listeners.get_mut(listener).unwrap().default_actions = actions);
        self.heard().await;
    }

    pub(super) async fn weights(&self, source: u32, target: u32) {
        self.set(LISTENER, vec![Action::forward(&[(SOURCE, source), (TARGET, target)])]).await;
    }

    /// Waits until the data plane has followed the account: it does so when it is next given time.
    pub(super) async fn heard(&self) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    /// Waits until something is so.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Model) -> bool) {
        let patience = self.shared.clock.real() + Duration::from_secs(30);
        while !self.shared.read(&holds) {
            assert!(self.shared.clock.real() < patience, "{what}: not within thirty seconds");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until all targets of a group are in a state.
    pub(super) async fn health(&self, group: &str, state: HealthState) {
        let all = |model: &Model| model.target_groups[group].targets.iter().all(|target| target.health.state == state);
        self.until(&format!("{group} is {state:?}"), all).await;
        self.heard().await;
    }

    /// How many requests of a group had a status.
    pub(super) fn served(&self, group: &str, status: u16) -> u64 {
        let served = self.shared.history.served();
        served.iter().filter(|((_, arn, of), _)| arn == group && *of == status).map(|(_, count)| count).sum()
    }

    /// All that was ever measured of a metric of the ALB, arrived or not.
    pub(super) fn measured(&self, name: &str, group: Option<&str>) -> Distribution {
        self.shared.cloudwatch.store().truth(&metric(name, group))
    }
}

pub(super) fn metric(name: &str, group: Option<&str>) -> Metric {
    let mut dimensions = BTreeMap::from([("LoadBalancer".to_owned(), "app/shop/1".to_owned())]);
    if let Some(group) = group {
        dimensions.insert("TargetGroup".to_owned(), group.rsplit(':').next().unwrap_or_default().to_owned());
    }
    Metric { namespace: "AWS/ApplicationELB".to_owned(), name: name.to_owned(), dimensions }
}

/// A client with one connection that it keeps.
pub(super) struct Client {
    sender: SendRequest<Empty<Bytes>>,
    /// Drives the connection; it ends with the client.
    _connection: JoinSet<()>,
}

/// What a client was answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Reply {
    /// Which side answered.
    pub(super) fn side(&self) -> &'static str {
        match &self.body {
            body if body.contains("source-cluster") => SOURCE,
            body if body.contains("target-cluster") => TARGET,
            _ => "neither",
        }
    }

    /// The cookies that it sets, as a client sends them back.
    pub(super) fn cookies(&self) -> String {
        let lines =
            self.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap().split(';').next().unwrap());
        lines.collect::<Vec<_>>().join("; ")
    }
}

impl Client {
    pub(super) async fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        Self { sender, _connection: tasks }
    }

    /// Asks for `/`; `None` if the connection is over.
    pub(super) async fn try_get(&mut self, headers: &[(&str, &str)]) -> Option<Reply> {
        self.sender.ready().await.ok()?;
        let mut request = Request::get("/").header("host", "shop");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.sender.send_request(request.body(Empty::new()).unwrap()).await.ok()?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        Some(Reply { status: head.status.as_u16(), headers: head.headers, body })
    }

    pub(super) async fn get(&mut self) -> Reply {
        self.get_with(&[]).await
    }

    pub(super) async fn get_with(&mut self, headers: &[(&str, &str)]) -> Reply {
        self.try_get(headers).await.expect("the connection is kept")
    }
}
