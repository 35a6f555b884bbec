//! The nodes of a load balancer, and how each learns of changed rules: late, and each in its own time.
//!
//! AWS documents no bound for how long a change takes to reach all nodes, and a read of the listener shows the new rules at
//! once. So a change is put in a queue for each node with the time at which that node has it; until then the node goes on
//! with what it had.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::live::{Algorithm, Group, Place};
use super::meter::Meter;
use super::pool::Pool;
use super::routes::Routes;
use crate::clock::Time;

/// The most changes that wait for one node; with more, the oldest of them are not waited for any longer.
const COMING_MAX: usize = 1000;

/// Connections that are open, and the most that were at once since somebody asked.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: AtomicI64,
    most: AtomicI64,
    /// How many were made since somebody asked.
    new: AtomicI64,
}

impl Connections {
    /// Counts one more, until what it returns is dropped.
    pub(super) fn open(self: &Arc<Self>) -> Open {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(open, Ordering::Relaxed);
        self.new.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// Counts one that was made before and stays open by another name, until what it returns is dropped: an upgraded
    /// connection, of which HTTP knows nothing any more.
    pub(super) fn stays(self: &Arc<Self>) -> Open {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(open, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// The most that were open at once, and how many were made, since the last call.
    pub(super) fn taken(&self) -> (i64, i64) {
        let open = self.open.load(Ordering::Relaxed);
        (self.most.swap(open, Ordering::Relaxed), self.new.swap(0, Ordering::Relaxed))
    }

    /// How many are open.
    pub(super) fn now_open(&self) -> i64 {
        self.open.load(Ordering::Relaxed)
    }
}

/// One open connection.
#[derive(Debug)]
pub(super) struct Open(Arc<Connections>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One node of a load balancer.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) meter: Meter,
    pub(super) pool: Pool,
    pub(super) connections: Arc<Connections>,
    rng: Mutex<fastrand::Rng>,
    /// Whose turn it is, by target group.
    turns: Mutex<BTreeMap<String, usize>>,
    /// How many requests each target has from this node.
    outstanding: Mutex<BTreeMap<SocketAddr, usize>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    pub(super) fn new(meter: Meter, seed: u64) -> Self {
        Self {
            meter,
            pool: Pool::default(),
            connections: Arc::default(),
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
            turns: Mutex::default(),
            outstanding: Mutex::default(),
        }
    }

    /// A number of at least 0 and below 1.
    pub(super) fn roll(&self) -> f64 {
        locked(&self.rng).f64()
    }

    /// A target of the group: the one that the client is stuck to if it may still get requests, else by the group's
    /// algorithm. `None` if the group has no targets.
    pub(super) fn choose(&self, group: &Group, stuck_to: Option<&str>) -> Option<Place> {
        let candidates = group.candidates();
        let count = candidates.len();
        if count == 0 {
            return None;
        }
        let stuck =
            candidates.iter().find(|target| stuck_to.is_some_and(|to| to == format!("{}:{}", target.id, target.port)));
        if let Some(target) = stuck {
            return Some((*target).clone());
        }
        let turn = {
            let mut turns = locked(&self.turns);
            let turn = turns.entry(group.arn.clone()).or_default();
            *turn = turn.wrapping_add(1);
            *turn
        };
        let chosen = match group.algorithm {
            Algorithm::RoundRobin => turn % count,
            Algorithm::Random => locked(&self.rng).usize(..count),
            Algorithm::LeastOutstanding => {
                let outstanding = locked(&self.outstanding);
                let load = |index: &usize| {
                    let address = candidates[*index % count].address;
                    address.and_then(|address| outstanding.get(&address)).copied().unwrap_or(0)
                };
                (turn..turn + count).min_by_key(load).unwrap_or(turn) % count
            }
        };
        Some(candidates[chosen].clone())
    }

    /// Counts a request to a target, until what it returns is dropped.
    pub(super) fn begin(self: &Arc<Self>, to: SocketAddr) -> Outstanding {
        *locked(&self.outstanding).entry(to).or_default() += 1;
        Outstanding { node: Arc::clone(self), to }
    }
}

/// One request under way to a target.
#[derive(Debug)]
pub(super) struct Outstanding {
    node: Arc<Node>,
    to: SocketAddr,
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        let mut outstanding = locked(&self.node.outstanding);
        if let Some(count) = outstanding.get_mut(&self.to) {
            *count -= 1;
            if *count == 0 {
                outstanding.remove(&self.to);
            }
        }
    }
}

/// The rules of one listener on one node: those in force, and those on their way.
#[derive(Debug)]
pub(super) struct Schedule(Mutex<Versions>);

#[derive(Debug)]
struct Versions {
    in_force: Arc<Routes>,
    coming: VecDeque<(Time, Arc<Routes>)>,
}

impl Schedule {
    pub(super) fn new(routes: Arc<Routes>) -> Self {
        Self(Mutex::new(Versions { in_force: routes, coming: VecDeque::new() }))
    }

    /// The rules in force.
    pub(super) fn at(&self, now: Time) -> Arc<Routes> {
        let mut inner = locked(&self.0);
        while inner.coming.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, routes)) = inner.coming.pop_front() {
                inner.in_force = routes;
            }
        }
        Arc::clone(&inner.in_force)
    }

    /// The last rules that are known of, in force or on their way.
    pub(super) fn latest(&self) -> Arc<Routes> {
        let inner = locked(&self.0);
        Arc::clone(inner.coming.back().map_or(&inner.in_force, |(_, routes)| routes))
    }

    /// Puts new rules on their way. They do not overtake earlier ones.
    pub(super) fn put(&self, routes: Arc<Routes>, now: Time, delay: Duration) {
        let mut inner = locked(&self.0);
        let at = inner.coming.back().map_or(now + delay, |(before, _)| (now + delay).max(*before));
        inner.coming.push_back((at, routes));
        if inner.coming.len() > COMING_MAX {
            inner.coming.pop_front();
        }
    }

    /// When the last change is in force; `None` if nothing is on its way.
    pub(super) fn settled(&self, now: Time) -> Option<Time> {
        locked(&self.0).coming.back().map(|(at, _)| *at).filter(|at| *at > now)
    }
}
