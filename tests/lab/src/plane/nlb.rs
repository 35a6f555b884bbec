//! A flow through a node of an NLB: bytes both ways between a client and one target, which is picked when the connection
//! is made and stays.
//!
//! Weights therefore move new connections alone. A flow to an ALB ends at that ALB's own listener.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::front::Front;
use super::meter;
use super::pool::CONNECT_TIMEOUT;
use super::routes::{Held, pick};
use super::world::World;
use crate::model::action::What;

/// Passes one connection on. One that cannot be is closed, which is all that a client of an NLB sees.
pub(super) async fn flow(world: Arc<World>, front: Arc<Front>, number: usize, mut client: TcpStream) {
    let _ = client.set_nodelay(true);
    let now = world.shared.clock.now();
    let node = &front.nodes()[number];
    let routes = front.routes(number, now);
    let Some(What::Forward(forward)) = routes.of_connection() else { return };
    let live = world.live();
    let group = pick(forward, Held::default(), node.roll()).and_then(|arn| live.groups.get(arn));
    let Some(address) = group.and_then(|group| node.choose(group, None)).and_then(|target| target.address) else {
        return;
    };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let Ok(Ok(mut target)) = connected else { return };
    let _ = target.set_nodelay(true);
    let open = node.connections.open();
    node.meter.note(world.shared.clock.now(), "", &[(meter::NEW_FLOWS, 1.0, 1)]);
    // Nothing of the snapshot is held on to for as long as the flow lasts.
    drop(live);
    drop(routes);
    // An end by reset is an end.
    let passed = tokio::io::copy_bidirectional(&mut client, &mut target).await;
    drop(open);
    if let Ok((up, down)) = passed {
        node.meter.note(world.shared.clock.now(), "", &[(meter::BYTES, (up + down) as f64, 1)]);
    }
}
