//! What all parts of the data plane hold in common, and how it follows the account: listeners open and close, changed
//! rules set out for the nodes, servers start for tasks and for targets that are not of this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::NODES_DEFAULT;
use super::front::Front;
use super::live::Live;
use super::meter::{self, Meter};
use super::node::Node;
use super::tasks::Tasks;
use super::upstream::Upstreams;
use crate::Shared;
use crate::clock::Time;
use crate::cloudwatch::arrivals::Arrivals;
use crate::model::fleet::TaskState;
use crate::model::{BalancerKind, LoadBalancer, Model, TargetType};

/// The data plane, as its own parts see it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) shared: Arc<Shared>,
    pub(super) upstreams: Upstreams,
    pub(super) tasks: Tasks,
    seed: u64,
    rng: Mutex<fastrand::Rng>,
    live: Mutex<Arc<Live>>,
    fronts: Mutex<BTreeMap<String, Arc<Front>>>,
    nodes: Mutex<BTreeMap<String, Vec<Arc<Node>>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(super) fn new(shared: Arc<Shared>, seed: u64) -> Self {
        Self {
            shared,
            seed,
            upstreams: Upstreams::default(),
            tasks: Tasks::default(),
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
            live: Mutex::default(),
            fronts: Mutex::default(),
            nodes: Mutex::default(),
        }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn live(&self) -> Arc<Live> {
        Arc::clone(&locked(&self.live))
    }

    pub(super) fn fronts(&self) -> BTreeMap<String, Arc<Front>> {
        locked(&self.fronts).clone()
    }

    /// The load balancers with their nodes.
    pub(super) fn nodes(&self) -> BTreeMap<String, Vec<Arc<Node>>> {
        locked(&self.nodes).clone()
    }

    /// Real milliseconds since the lab began.
    pub(super) fn real_ms(&self) -> u64 {
        u64::try_from(self.shared.clock.real().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long one change takes to reach each of so many nodes: each in a part of the whole span of its own, so that they
    /// differ, and in an order of chance.
    pub(super) fn delays(&self, nodes: usize) -> Vec<Duration> {
        let most = self.shared.plane.switches().propagation_max();
        let mut rng = locked(&self.rng);
        let turn = rng.usize(..nodes.max(1));
        let part = |node: usize, roll: f64| ((node + turn) % nodes) as f64 + 0.25 + 0.75 * roll;
        (0..nodes).map(|node| most.mul_f64(part(node, rng.f64()) / nodes as f64)).collect()
    }

    /// Where each ALB's listeners are, by ARN and port: what an NLB's targets of type `alb` lead to.
    pub(super) fn ports(&self) -> BTreeMap<(String, u16), SocketAddr> {
        let fronts = locked(&self.fronts);
        fronts.values().map(|front| ((front.balancer.clone(), front.port), front.address)).collect()
    }

    /// Looks at the account anew, without opening or closing anything.
    pub(super) fn refresh(&self) {
        let ports = self.ports();
        let live = self.shared.read(|model| Live::of(model, &self.upstreams, &ports));
        *locked(&self.live) = Arc::new(live);
    }

    /// Follows the account.
    pub(super) async fn follow(self: &Arc<Self>) -> std::io::Result<()> {
        self.follow_servers().await?;
        let (listeners, balancers) = self.shared.read(|model| (model.listeners.clone(), model.load_balancers.clone()));
        let now = self.shared.clock.now();
        for (arn, listener) in &listeners {
            let open = locked(&self.fronts).get(arn).cloned();
            let Some(balancer) = balancers.get(&listener.load_balancer) else { continue };
            match open {
                Some(front) if front.port == listener.port => front.change(listener, now, self),
                other => {
                    // New, or moved to another port: clients find it there anew.
                    if let Some(front) = other {
                        front.close().await;
                    }
                    let front = Front::open(self, listener, balancer.kind, self.nodes_of(balancer)).await?;
                    let address = front.address;
                    locked(&self.fronts).insert(arn.clone(), front);
                    self.shared.happen(|model, _| model.set_listener_address(arn, address));
                }
            }
        }
        let gone: Vec<Arc<Front>> = {
            let mut fronts = locked(&self.fronts);
            let gone: Vec<String> = fronts.keys().filter(|arn| !listeners.contains_key(*arn)).cloned().collect();
            gone.iter().filter_map(|arn| fronts.remove(arn)).collect()
        };
        for front in gone {
            front.close().await;
        }
        self.refresh();
        Ok(())
    }

    /// The nodes of a load balancer, one in each of its zones, made when they are first asked for.
    fn nodes_of(&self, balancer: &LoadBalancer) -> Vec<Arc<Node>> {
        let mut nodes = locked(&self.nodes);
        let seed = balancer.arn.bytes().fold(self.seed, |seed, byte| seed.rotate_left(5) ^ u64::from(byte));
        let made = nodes.entry(balancer.arn.clone()).or_insert_with(|| {
            let zones: Vec<&str> = balancer.zones.iter().map(|(zone, _)| zone.as_str()).collect();
            let count = if zones.is_empty() { NODES_DEFAULT } else { zones.len() };
            let namespace = match balancer.kind {
                BalancerKind::Application => "AWS/ApplicationELB",
                BalancerKind::Network => "AWS/NetworkELB",
            };
            let arrivals = Arrivals { seed, nodes: count as u16 };
            let node = |number: usize| {
                let zone = zones.get(number).copied().unwrap_or("");
                let shared = Arc::clone(&self.shared);
                let meter = Meter::new(shared, arrivals, number as u16, namespace, balancer.dimension(), zone);
                Arc::new(Node::new(meter, seed.wrapping_add(number as u64)))
            };
            (0..count).map(node).collect()
        });
        made.clone()
    }

    /// Starts servers for tasks that wait for one and for targets elsewhere, and ends those that nobody needs any more.
    async fn follow_servers(&self) -> std::io::Result<()> {
        let wanted = self.shared.read(wanted);
        for server in &wanted {
            let address = self
                .upstreams
                .start(&server.id, server.port, self.shared.plane.follow(&server.group), &server.cluster)
                .await?;
            if server.is_task {
                self.shared.happen(|model, _| model.set_task_address(&server.id, address));
            }
        }
        let kept = self.shared.read(kept);
        self.upstreams.retain(|id, port| kept.contains(&(id.to_owned(), port)));
        Ok(())
    }

    /// Notes the gauges of all nodes: hosts by group, connections and flows.
    pub(super) fn note_gauges(&self, now: Time) {
        let live = self.live();
        let (users, kinds) = self.shared.read(|model| {
            let users: Vec<(String, Vec<String>)> =
                model.target_groups.keys().map(|group| (group.clone(), model.users_of(group))).collect();
            let kinds: BTreeMap<String, BalancerKind> =
                model.load_balancers.values().map(|balancer| (balancer.arn.clone(), balancer.kind)).collect();
            (users, kinds)
        });
        for (balancer, nodes) in self.nodes() {
            let groups: Vec<_> = users
                .iter()
                .filter(|(_, users)| users.contains(&balancer))
                .filter_map(|(group, _)| live.groups.get(group))
                .collect();
            for node in nodes {
                for group in &groups {
                    let (healthy, unhealthy) = group.hosts();
                    let hosts = [(meter::HEALTHY, healthy as f64, 1), (meter::UNHEALTHY, unhealthy as f64, 1)];
                    node.meter.note(now, &group.dimension, &hosts);
                    if kinds.get(&balancer) == Some(&BalancerKind::Application) {
                        // "Always reported" (ELB guide): a minute without requests has a zero here.
                        node.meter.note(now, &group.dimension, &[(meter::REQUESTS_PER_TARGET, 0.0, 1)]);
                    }
                }
                let (most, new) = node.connections.taken();
                let new = u64::try_from(new).unwrap_or(0);
                match kinds.get(&balancer) {
                    Some(BalancerKind::Application) if most > 0 || new > 0 => {
                        let notes = [(meter::ACTIVE_CONNECTIONS, most as f64, 1), (meter::NEW_CONNECTIONS, 1.0, new)];
                        node.meter.note(now, "", &notes);
                    }
                    Some(BalancerKind::Network) => {
                        node.meter.note(now, "", &[(meter::ACTIVE_FLOWS, node.connections.now_open() as f64, 1)]);
                    }
                    _ => {}
                }
                node.pool.sweep();
            }
        }
    }

    /// Ends everything at once, without waiting until it has.
    pub(super) fn abandon(&self) {
        self.tasks.abandon();
        for front in std::mem::take(&mut *locked(&self.fronts)).values() {
            front.abandon();
        }
        self.upstreams.retain(|_, _| false);
    }

    /// Ends everything, and waits until it has.
    pub(super) async fn stop(&self) {
        self.tasks.stop().await;
        let fronts = std::mem::take(&mut *locked(&self.fronts));
        for front in fronts.values() {
            front.close().await;
        }
        for node in locked(&self.nodes).values().flatten() {
            node.pool.sweep();
        }
        self.upstreams.retain(|_, _| false);
    }
}

/// A server that is to run.
struct Wanted {
    id: String,
    port: u16,
    group: String,
    cluster: String,
    is_task: bool,
}

/// What a server of a group says that it is: a part of the target group's name tells the sides apart.
fn cluster_of(model: &Model, group: &str) -> String {
    let name = model.target_groups.get(group).map_or("", |group| group.name.as_str()).to_ascii_lowercase();
    let side = if name.contains("target") { "target" } else { "source" };
    format!("{side}-cluster")
}

/// Whether a target of a group is not of this machine, so that the lab puts a server in its place.
fn is_elsewhere(kind: TargetType, id: &str) -> bool {
    kind == TargetType::Ip && id.parse::<IpAddr>().is_ok_and(|ip| !ip.is_loopback())
}

/// The servers that are to be started: for tasks that have none yet, and for targets elsewhere.
fn wanted(model: &Model) -> Vec<Wanted> {
    let waits = |state| matches!(state, TaskState::Provisioning | TaskState::Pending);
    let tasks = model.fleet.tasks.values().filter(|task| task.address.is_none() && waits(task.state)).map(|task| {
        let group =
            model.fleet.services.get(&task.service).map(|service| service.target_group.clone()).unwrap_or_default();
        Wanted { id: task.arn.clone(), port: 0, cluster: cluster_of(model, &group), group, is_task: true }
    });
    let targets = model.target_groups.values().flat_map(|group| {
        let elsewhere = group.targets.iter().filter(|target| is_elsewhere(group.target_type, &target.id));
        elsewhere.map(|target| Wanted {
            id: target.id.clone(),
            port: target.port,
            group: group.arn.clone(),
            cluster: cluster_of(model, &group.arn),
            is_task: false,
        })
    });
    tasks.chain(targets).collect()
}

/// The servers that somebody needs: of tasks that have not stopped, and of targets elsewhere, draining ones included.
fn kept(model: &Model) -> BTreeSet<(String, u16)> {
    let tasks = model.fleet.tasks.values().filter(|task| task.state != TaskState::Stopped);
    let targets = model.target_groups.values().flat_map(|group| {
        let elsewhere = group.targets.iter().filter(|target| is_elsewhere(group.target_type, &target.id));
        elsewhere.map(|target| (target.id.clone(), target.port))
    });
    tasks.map(|task| (task.arn.clone(), 0)).chain(targets).collect()
}
