//! What a connection becomes after 101: bytes both ways, until both ends said that they are done or nothing moved for
//! long. It stays on the side where it began, whatever the weight.

use std::{future::poll_fn, io, task::Poll};

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
    let (mut up, mut down) = (Flow::default(), Flow::default());
    let guest = &mut *guest;
    poll_fn(|cx| {
        loop {
            let sent = pump(cx, worker, &mut guest.socket, &mut guest.input, &mut up, &mut upstream.socket);
            let received = pump(cx, worker, &mut upstream.socket, &mut upstream.input, &mut down, &mut guest.socket);
            match (sent, received) {
                (Err(_), _) | (_, Err(_)) => return Poll::Ready(()),
                (Ok(0), Ok(0)) if up.is_done() && down.is_done() => return Poll::Ready(()),
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

/// Moves bytes one way until one of the sockets is not ready, and hands the end on; how many were moved.
fn pump(
    cx: &mut std::task::Context<'_>,
    worker: &Worker,
    from: &mut Socket,
    input: &mut Option<Buffer>,
    flow: &mut Flow,
    to: &mut Socket,
) -> io::Result<usize> {
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
            return Ok(moved);
        }
        match poll_fill(from, input, &worker.buffers, cx) {
            Poll::Ready(Ok(0)) => {
                flow.ended = true;
                // Half a closed tunnel is still a tunnel for the other direction.
                drop(to.poll_shutdown(cx));
            }
            Poll::Ready(read) => drop(read?),
            Poll::Pending => return Ok(moved),
        }
    }
}
