//! A listener as clients meet it: one address on loopback, behind which connections are spread over the nodes, as a name
//! with several addresses spreads them in AWS.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;

use super::node::{Node, Schedule};
use super::routes::Routes;
use super::tasks::Tasks;
use super::world::World;
use super::{nlb, serve};
use crate::clock::Time;
use crate::model::{BalancerKind, Listener};

/// A listener that is open.
#[derive(Debug)]
pub(super) struct Front {
    /// Its load balancer's ARN.
    pub(super) balancer: String,
    /// The port that AWS knows it by.
    pub(super) port: u16,
    /// `http` or `https`, as targets are told; the lab itself speaks no TLS.
    pub(super) scheme: &'static str,
    /// Where it really listens.
    pub(super) address: SocketAddr,
    nodes: Vec<Arc<Node>>,
    /// The rules that each node has.
    schedules: Vec<Schedule>,
    turn: AtomicUsize,
    tasks: Tasks,
}

impl Front {
    /// Opens a listener on a port that the system picks. Its first rules are in force at once.
    pub(super) async fn open(
        world: &Arc<World>,
        listener: &Listener,
        kind: BalancerKind,
        nodes: Vec<Arc<Node>>,
    ) -> std::io::Result<Arc<Self>> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let routes = Arc::new(Routes::of(listener));
        let front = Arc::new(Self {
            balancer: listener.load_balancer.clone(),
            port: listener.port,
            scheme: if listener.protocol == crate::model::Protocol::Https { "https" } else { "http" },
            address: socket.local_addr()?,
            schedules: nodes.iter().map(|_| Schedule::new(Arc::clone(&routes))).collect(),
            nodes,
            turn: AtomicUsize::new(0),
            tasks: Tasks::default(),
        });
        let (world, own) = (Arc::clone(world), Arc::clone(&front));
        front.tasks.spawn(async move {
            loop {
                let Ok((stream, client)) = socket.accept().await else {
                    // Out of file descriptors, for one: the next connection may go again.
                    tokio::time::sleep(super::ACCEPT_AGAIN).await;
                    continue;
                };
                let number = own.turn.fetch_add(1, Ordering::Relaxed) % own.nodes.len();
                let (world, front) = (Arc::clone(&world), Arc::clone(&own));
                match kind {
                    BalancerKind::Application => {
                        own.tasks.spawn(serve::connection(world, front, number, stream, client));
                    }
                    BalancerKind::Network => own.tasks.spawn(nlb::flow(world, front, number, stream)),
                }
            }
        });
        Ok(front)
    }

    pub(super) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// The rules that a node has now.
    pub(super) fn routes(&self, node: usize, now: Time) -> Arc<Routes> {
        self.schedules[node].at(now)
    }

    /// Puts changed rules on their way to each node, with a delay of its own for each.
    pub(super) fn change(&self, listener: &Listener, now: Time, world: &World) {
        let routes = Arc::new(Routes::of(listener));
        let delays = world.delays(self.schedules.len());
        for (schedule, delay) in self.schedules.iter().zip(delays) {
            if *schedule.latest() != *routes {
                schedule.put(Arc::clone(&routes), now, delay);
            }
        }
    }

    /// When the last node has the last change; `None` if all have it.
    pub(super) fn settled(&self, now: Time) -> Option<Time> {
        self.schedules.iter().filter_map(|schedule| schedule.settled(now)).max()
    }

    /// Closes it without waiting.
    pub(super) fn abandon(&self) {
        self.tasks.abandon();
    }

    /// Closes it, with all connections.
    pub(super) async fn close(&self) {
        self.tasks.stop().await;
    }
}
