//! A flow through a node of an NLB: bytes both ways between a client and one target, which is picked when the connection
//! is made and stays.
//!
//! Weights therefore move new connections alone. A flow to an ALB ends at that ALB's own listener. Who reset a flow is
//! counted as AWS counts it: the target (one that refuses a connection as well), the client, or the NLB itself, which has
//! nowhere to send it. A reset is told from an end by what the system says of the connection.

use std::io::ErrorKind;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::front::Front;
use super::meter;
use super::pool::CONNECT_TIMEOUT;
use super::routes::{Held, pick};
use super::world::World;
use crate::model::action::What;

/// How much is passed on at once.
const BUFFER: usize = 16 * 1024;

/// Passes one connection on. One that cannot be is closed, which is all that a client of an NLB sees.
pub(super) async fn flow(world: Arc<World>, front: Arc<Front>, number: usize, client: TcpStream) {
    let _ = client.set_nodelay(true);
    let now = world.shared.clock.now();
    let node = &front.nodes()[number];
    let routes = front.routes(number, now);
    let Some(What::Forward(forward)) = routes.of_connection() else { return };
    let live = world.live();
    let group = pick(forward, Held::default(), node.roll()).and_then(|arn| live.groups.get(arn));
    let count = |kind| node.meter.note(world.shared.clock.now(), "", &[(kind, 1.0, 1)]);
    let Some(address) = group.and_then(|group| node.choose(group, None)).and_then(|target| target.address) else {
        count(meter::OWN_RESETS);
        return;
    };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let target = match connected {
        Ok(Ok(target)) => target,
        Ok(Err(_)) => return count(meter::TARGET_RESETS),
        Err(_) => return count(meter::OWN_RESETS),
    };
    let _ = target.set_nodelay(true);
    let open = node.connections.open();
    node.meter.note(world.shared.clock.now(), "", &[(meter::NEW_FLOWS, 1.0, 1)]);
    // Nothing of the snapshot is held on to for as long as the flow lasts.
    drop(live);
    drop(routes);
    let (from_client, to_client) = client.into_split();
    let (from_target, to_target) = target.into_split();
    let (up, down) = tokio::join!(pass(from_client, to_target), pass(from_target, to_client));
    drop(open);
    node.meter.note(world.shared.clock.now(), "", &[(meter::BYTES, (up.bytes + down.bytes) as f64, 1)]);
    if down.reset {
        count(meter::TARGET_RESETS);
    } else if up.reset {
        count(meter::CLIENT_RESETS);
    }
}

/// What went one way.
struct Passed {
    bytes: u64,
    /// Whether the end that was read from reset the connection.
    reset: bool,
}

/// Passes bytes on until their sender ends, and tells the receiver so.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> Passed {
    let (mut bytes, mut buffer) = (0, vec![0; BUFFER]);
    let reset = loop {
        match from.read(&mut buffer).await {
            Ok(0) => break false,
            Ok(length) if to.write_all(&buffer[..length]).await.is_ok() => bytes += length as u64,
            // The receiver has gone; its own way tells how.
            Ok(_) => break false,
            Err(error) => break error.kind() == ErrorKind::ConnectionReset,
        }
    };
    // One that is gone already needs not be told.
    let _ = to.shutdown().await;
    Passed { bytes, reset }
}
