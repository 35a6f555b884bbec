//! The data plane: load balancers that carry real requests over loopback, by the rules and weights of the account.
//!
//! Each load balancer has two or more nodes, one in each of its zones. A listener is one address whose connections are
//! spread over the nodes; a node picks a target group for each request (an NLB's: for each connection) and a target in it,
//! speaks HTTP/1.1 to both sides, and notes what it served in the metric store and in the history. Nothing is made up: a
//! metric exists because a request was served. Not here: TLS (an HTTPS listener speaks plain HTTP in the lab), HTTP/2, slow
//! start.

mod answers;
mod controls;
mod cookies;
mod front;
mod health;
mod live;
mod meter;
mod nlb;
mod node;
mod past;
mod pool;
mod routes;
mod serve;
mod tasks;
#[cfg(test)]
mod tests;
mod upstream;
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use controls::{Controls, Pinning, Switches};
pub use past::{DAYS_MAX, Past};
pub use upstream::{Behaviour, Manner, SERVED_BY, SPOILED_BY};

use node::Connections;
use world::World;

use crate::Shared;
use crate::clock::Time;

/// The nodes of a load balancer that is in no zone.
pub const NODES_DEFAULT: usize = 2;

/// How long a listener waits after it could not accept, in real time.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// The shortest between two notes of the gauges, in real time, however fast the clock runs.
const GAUGE_MIN: Duration = Duration::from_millis(50);

/// A running data plane.
#[derive(Debug)]
pub struct Plane {
    world: Arc<World>,
}

impl Plane {
    /// Opens all listeners of the account and follows it from then on. Delays, picks and arrivals are drawn from `seed`.
    ///
    /// # Errors
    /// When the system gives no port.
    pub async fn start(shared: Arc<Shared>, seed: u64) -> std::io::Result<Self> {
        let world = Arc::new(World::new(shared, seed));
        // Subscribed before the first look, so that no change falls between the two.
        let mut changes = world.shared.changes();
        world.follow().await?;
        let follower = Arc::clone(&world);
        world.tasks.spawn(async move {
            while changes.changed().await.is_ok() {
                if let Err(why) = follower.follow().await {
                    // Without a port there is no data plane to test against: end loudly.
                    panic!("the lab cannot open what the account holds: {why}");
                }
            }
        });
        world.tasks.spawn(health::probe(Arc::clone(&world)));
        let gauges = Arc::clone(&world);
        world.tasks.spawn(async move {
            loop {
                gauges.note_gauges(gauges.shared.clock.now());
                tokio::time::sleep((meter::GAUGE_EVERY / gauges.shared.clock.speed()).max(GAUGE_MIN)).await;
            }
        });
        Ok(Self { world })
    }

    /// Where a listener really listens.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.world.fronts().get(listener).map(|front| front.address)
    }

    /// When the last node of a listener has its newest rules; `None` if all have them.
    pub fn settled(&self, listener: &str) -> Option<Time> {
        self.world.fronts().get(listener).and_then(|front| front.settled(self.world.shared.clock.now()))
    }

    /// Gives a target group a past: minutes of requests that nobody sent.
    pub fn fill_past(&self, group: &str, past: Past) {
        past::fill(&self.world, group, past, self.world.shared.clock.now());
    }

    /// Closes all listeners and ends all servers, and waits until that is done.
    pub async fn stop(self) {
        self.world.stop().await;
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // What runs holds on to what it runs in: without this, nothing of it would ever end.
        self.world.abandon();
    }
}
