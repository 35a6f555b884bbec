//! What a connection becomes after 101: bytes both ways, until both ends said that they are done or nothing moved for
//! long. It stays on the side where it began, whatever the weight.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
};

use crate::{
    buffer::Buffer,
    clock,
    flow::Flow,
    guest::{Guest, poll_fill},
    pool::Connection,
    socket::Socket,
    worker::Worker,
};

/// Moves bytes between client and upstream until the tunnel ends.
pub(crate) async fn tunnel(worker: &Worker, guest: &mut Guest, mut upstream: Connection) {
    let idle = worker.state.config.timeouts.tunnel_idle;
    let mut moved = clock::now();
    let (mut up, mut down) = (Direction::default(), Direction::default());
    let guest = &mut *guest;
    poll_fn(|cx| {
        loop {
            let sent = pump(cx, worker, &mut guest.socket, &mut guest.input, &mut up, &mut upstream.socket);
            let received = pump(cx, worker, &mut upstream.socket, &mut upstream.input, &mut down, &mut guest.socket);
            match (sent, received) {
                (Err(_), _) | (_, Err(_)) => return Poll::Ready(()),
                (Ok(0), Ok(0)) if up.shut && down.shut => return Poll::Ready(()),
                (Ok(0), Ok(0)) => return guest.timer.poll_until(cx, moved + idle),
                (Ok(sent), Ok(received)) => {
                    worker.tally.sent(upstream.side, sent);
                    worker.tally.received(upstream.side, received);
                    moved = clock::now();
                }
            }
        }
    })
    .await;
}

/// One way through the tunnel.
#[derive(Default)]
struct Direction {
    flow: Flow,
    /// Whether the receiver was told that nothing more comes.
    shut: bool,
}

/// Moves bytes one way until one of the sockets is not ready, and hands the end on; how many were moved. Half a closed
/// tunnel is still a tunnel for the other direction.
fn pump(
    cx: &mut Context<'_>,
    worker: &Worker,
    from: &mut Socket,
    input: &mut Option<Buffer>,
    direction: &mut Direction,
    to: &mut Socket,
) -> io::Result<usize> {
    let flow = &mut direction.flow;
    let mut moved = 0;
    loop {
        flow.ready = input.as_ref().map_or(0, Buffer::len);
        match flow.poll_send(cx, input, to, |_| ()) {
            Poll::Ready(Ok(0)) => {}
            Poll::Ready(sent) => {
                moved += sent?;
                continue;
            }
            Poll::Pending => return Ok(moved),
        }
        if flow.ended {
            if !direction.shut && to.poll_shutdown(cx)?.is_ready() {
                direction.shut = true;
            }
            return Ok(moved);
        }
        match poll_fill(from, input, &worker.buffers, cx) {
            Poll::Ready(Ok(0)) => flow.ended = true,
            Poll::Ready(read) => drop(read?),
            Poll::Pending => return Ok(moved),
        }
    }
}
