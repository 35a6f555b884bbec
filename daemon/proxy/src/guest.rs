//! One client connection, from its first byte to its last: heads are awaited, exchanges follow one another, and the end
//! is made so that the client gets what was sent.

use std::{
    future::poll_fn,
    io,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::net::TcpStream;

use crate::{
    answer,
    buffer::{Buffer, Buffers},
    capture::tap::Tap,
    clock::{self, Timer},
    count::SideName,
    exchange::{self, Next},
    flow::{Flow, consume},
    socket::Socket,
    tunnel,
    wire::{Refusal, RequestReader, Span},
    worker::Worker,
};

/// After the last answer the rest of what the client sends is read and thrown away for so long, since closing a socket
/// with unread bytes resets it, and a reset can destroy the answer on its way.
const LINGER: Duration = Duration::from_secs(1);

/// How much of the rest is read before the connection is closed all the same.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// A client and what is under way with it.
pub(crate) struct Guest {
    pub(crate) socket: Socket,
    pub(crate) reader: RequestReader,
    /// What came and was not moved on yet.
    pub(crate) input: Option<Buffer>,
    pub(crate) request: Flow,
    pub(crate) response: Flow,
    pub(crate) timer: Timer,
    pub(crate) address: IpAddr,
    /// How many requests came before on this connection.
    pub(crate) requests: u64,
    /// When the client said that it sends nothing more. It may have left, or wait for its last answers.
    pub(crate) left: Option<Instant>,
    /// Whether ending the connection now would make half a response look whole.
    pub(crate) must_break: bool,
    /// What captures it, on each side that is captured and was asked.
    pub(crate) taps: [Option<Box<Tap>>; 2],
}

impl Drop for Guest {
    fn drop(&mut self) {
        if self.must_break {
            self.socket.break_off();
        }
    }
}

/// When what is known of the next head became known.
#[derive(Clone, Copy)]
struct Times {
    /// Since when it is awaited; from its first byte on, since then.
    since: Instant,
    /// When its last bytes came, or the exchange before it ended, if they were there by then.
    came: Instant,
}

/// What a client does next.
enum Wanted {
    /// A request, whose head has so many bytes.
    Head(usize),
    /// Nothing any more.
    Nothing,
    /// Something that is refused.
    Refused(Refusal),
    /// It did not finish a head in time.
    Slow,
}

impl Guest {
    /// What captures it on a side, if that is captured.
    pub(crate) fn tap(&mut self, worker: &Worker, side: SideName, now: Instant) -> Option<&mut Tap> {
        let desk = worker.desk(side)?;
        Some(self.taps[side as usize].get_or_insert_with(|| Tap::new(desk, now)))
    }

    /// When something that was captured shall be given to the log at the latest.
    fn due(&self) -> Option<Instant> {
        self.taps.iter().flatten().filter_map(|tap| tap.due()).min()
    }

    /// Gives the log what was kept for long enough.
    fn flush(&mut self, now: Instant) {
        for tap in self.taps.iter_mut().flatten() {
            if tap.due().is_some_and(|due| due <= now) {
                tap.flush();
            }
        }
    }

    /// The same for an exchange that is under way.
    pub(crate) fn due_under_way(&self) -> Option<Instant> {
        self.taps.iter().flatten().filter_map(|tap| tap.due_under_way()).min()
    }

    /// The same for an exchange that is under way.
    pub(crate) fn flush_under_way(&mut self, now: Instant) {
        for tap in self.taps.iter_mut().flatten() {
            if tap.due_under_way().is_some_and(|due| due <= now) {
                tap.flush();
            }
        }
    }

    /// Reads more into the buffer; 0 is the end of what the client sends. Pending too when the buffer is full: then the
    /// caller has something to do first.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffers: &Buffers) -> Poll<io::Result<usize>> {
        if self.left.is_some() {
            return Poll::Ready(Ok(0));
        }
        let read = poll_fill(&mut self.socket, &mut self.input, buffers, cx);
        if let Poll::Ready(Ok(0)) = read {
            self.left = Some(clock::now());
        }
        read
    }

    fn poll_wanted(&mut self, cx: &mut Context<'_>, worker: &Worker, times: &mut Times) -> Poll<Wanted> {
        loop {
            let input = self.input.as_ref().map_or(&[][..], Buffer::filled);
            match self.reader.next(input) {
                Ok(Span::Skip(count)) => {
                    consume(&mut self.input, count);
                    continue;
                }
                Ok(Span::Head(count)) => return Poll::Ready(Wanted::Head(count)),
                Ok(Span::More) => {}
                Ok(span) => unreachable!("between requests only a head is due, not {span:?}"),
                Err(refusal) => return Poll::Ready(Wanted::Refused(refusal)),
            }
            let waiting = self.input.is_none();
            match self.poll_read(cx, &worker.buffers) {
                Poll::Ready(Ok(0) | Err(_)) => {
                    if !waiting {
                        worker.tally.incomplete();
                    }
                    return Poll::Ready(Wanted::Nothing);
                }
                Poll::Ready(Ok(_)) => {
                    times.came = clock::now();
                    if waiting {
                        times.since = times.came;
                    }
                }
                Poll::Pending if waiting && worker.draining.get() => return Poll::Ready(Wanted::Nothing),
                Poll::Pending => {
                    let timeouts = &worker.state.config.timeouts;
                    let limit = times.since + if waiting { timeouts.client_idle } else { timeouts.head };
                    if let Some(due) = self.due().filter(|due| *due < limit) {
                        if self.timer.poll_until(cx, due).is_pending() {
                            return Poll::Pending;
                        }
                        self.flush(due);
                        continue;
                    }
                    return self
                        .timer
                        .poll_until(cx, limit)
                        .map(|()| if waiting { Wanted::Nothing } else { Wanted::Slow });
                }
            }
        }
    }

    /// Sends what is in the head of the response flow, and nothing else.
    pub(crate) async fn send_head(&mut self, worker: &Worker) -> io::Result<()> {
        let deadline = clock::now() + worker.state.config.timeouts.stall;
        poll_fn(|cx| {
            loop {
                match self.response.poll_send(cx, &mut None, &mut self.socket, |_| ()) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        return self.timer.poll_until(cx, deadline).map(|()| Err(io::ErrorKind::TimedOut.into()));
                    }
                }
            }
        })
        .await
    }

    /// Ends the connection after an answer: says so at once, then reads for a while what the client still sends.
    async fn linger(&mut self, worker: &Worker) {
        self.input = None;
        let deadline = clock::now() + LINGER;
        let mut left = LINGER_BYTES_MAX;
        let mut said = false;
        poll_fn(|cx| {
            if !said {
                match self.socket.poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => said = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            loop {
                match self.poll_read(cx, &worker.buffers) {
                    Poll::Ready(Ok(count)) if count > 0 && count < left => {
                        left -= count;
                        self.input = None;
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.timer.poll_until(cx, deadline),
                }
            }
        })
        .await;
    }
}

/// Reads from a socket into its buffer, lending one when it has none and something came; an empty one is given back at
/// once.
pub(crate) fn poll_fill(
    socket: &mut Socket,
    input: &mut Option<Buffer>,
    buffers: &Buffers,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    if input.as_mut().is_some_and(|buffer| buffer.space().is_empty()) {
        return Poll::Pending;
    }
    let read = socket.poll_read(cx, || input.get_or_insert_with(|| buffers.lend()).space());
    if let (Poll::Ready(Ok(count)), Some(buffer)) = (&read, &mut *input) {
        buffer.added(*count);
    }
    consume(input, 0);
    read
}

/// Serves one client until its connection ends.
pub(crate) async fn serve(worker: Rc<Worker>, tcp: TcpStream, address: IpAddr) {
    let socket = match worker.server_tls() {
        None => Socket::Plain(tcp),
        Some(config) => match handshake(&worker, tcp, config).await {
            Some(socket) => socket,
            None => return,
        },
    };
    let mut guest = Guest {
        socket,
        reader: RequestReader::new(worker.state.config.limits.wire),
        input: None,
        request: Flow::default(),
        response: Flow::default(),
        timer: Timer::new(),
        address,
        requests: 0,
        left: None,
        must_break: false,
        taps: [None, None],
    };
    let slot = poll_fn(|cx| Poll::Ready(worker.wakers.add(cx.waker().clone()))).await;
    converse(&worker, &mut guest).await;
    worker.wakers.remove(slot);
}

async fn converse(worker: &Rc<Worker>, guest: &mut Guest) {
    let mut since = clock::now();
    loop {
        let mut times = Times { since, came: since };
        match poll_fn(|cx| guest.poll_wanted(cx, worker, &mut times)).await {
            Wanted::Head(count) => match exchange::exchange(worker, guest, count, times.came).await {
                Next::Request { ended } => {
                    guest.flush(ended);
                    guest.requests += 1;
                    since = ended;
                }
                Next::Close => {
                    guest.linger(worker).await;
                    return;
                }
                Next::Break => return,
                Next::Tunnel(connection) => {
                    tunnel::tunnel(worker, guest, *connection).await;
                    return;
                }
            },
            Wanted::Nothing => {
                // A client of TLS that is only idle learns that this end was meant.
                if guest.socket.is_tls() && guest.left.is_none() {
                    guest.linger(worker).await;
                }
                return;
            }
            Wanted::Refused(refusal) => {
                refuse(worker, guest, refusal.status(), &refusal.to_string()).await;
                return;
            }
            Wanted::Slow => {
                refuse(worker, guest, 408, "the request head did not come in time").await;
                return;
            }
        }
    }
}

/// Answers a request that goes to nobody, and ends the connection.
pub(crate) async fn refuse(worker: &Worker, guest: &mut Guest, status: u16, why: &str) {
    worker.tally.refused(status);
    guest.response.clear();
    guest.must_break = false;
    answer::compose(&mut guest.response.head, status, why, answer::Then::Close, answer::Body::Sent);
    if guest.send_head(worker).await.is_ok() {
        guest.linger(worker).await;
    }
}

async fn handshake(worker: &Rc<Worker>, tcp: TcpStream, config: Arc<rustls::ServerConfig>) -> Option<Socket> {
    let accept = Box::pin(tokio_rustls::TlsAcceptor::from(config).accept(tcp));
    match tokio::time::timeout(worker.state.config.timeouts.head, accept).await {
        Ok(Ok(tls)) => Some(Socket::Tls(Box::new(tls.into()))),
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake with a client failed");
            worker.tally.tls_failed();
            None
        }
        Err(_) => {
            worker.tally.tls_failed();
            None
        }
    }
}
