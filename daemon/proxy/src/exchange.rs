//! One request, from its head to the end of its answer: whose it is, on which connection, what happens when that
//! fails, and how it is counted.

use std::{
    future::poll_fn,
    task::Poll,
    time::{Duration, Instant},
};

use crate::{
    answer,
    capture::{Why, tap::Recorded},
    class::{Class, repeatable},
    clock,
    config::{self, Retry, Sticky},
    count::{Ended, Failure, Outcome, SideName},
    flights::Flight,
    flow::{Flow, consume},
    guest::{Guest, refuse},
    pool::Connection,
    relay::{Finish, Held, LEFT_AFTER, Relay},
    socket::Sure,
    split,
    wire::{self, Asked, Forwarded, Method, RequestRewrite, upstream_head},
    worker::Worker,
};

/// What follows an exchange.
pub(crate) enum Next {
    /// The connection carries another request.
    Request {
        /// When this exchange was over.
        ended: Instant,
    },
    /// The client has its answer, and the connection ends.
    Close,
    /// The connection is cut: whatever the client has is no whole answer.
    Break,
    /// It is no longer HTTP.
    Tunnel(Box<Connection>),
}

/// What is known of a request once its head is complete.
struct Request {
    class: Class,
    /// Whether it is counted: probes of load balancers are not.
    counted: bool,
    asked: Asked,
    began: Instant,
}

/// Endpoints of a side that are tried for one request when they cannot be reached.
const ENDPOINTS_TRIED_MAX: usize = 3;

/// A request on one side: counted as under way for as long as this lives.
struct Belonging<'a> {
    worker: &'a Worker,
    side: SideName,
    flight: Flight,
    counted: bool,
}

impl<'a> Belonging<'a> {
    fn new(worker: &'a Worker, side: SideName, counted: bool, now: Instant) -> Self {
        if counted {
            worker.tally.began(side);
        }
        Self { worker, side, flight: worker.flights.take_off(side, now), counted }
    }
}

impl Drop for Belonging<'_> {
    fn drop(&mut self) {
        self.worker.flights.land(self.flight);
        if self.counted {
            self.worker.tally.over(self.side);
        }
    }
}

/// Serves the request whose head is the first `head_bytes` bytes of the guest's input; `began` is when they were there.
pub(crate) async fn exchange(worker: &Worker, guest: &mut Guest, head_bytes: usize, began: Instant) -> Next {
    let config = &worker.state.config;
    let mut kept = worker.spare_held();
    kept.head_bytes = head_bytes;
    kept.bytes.extend_from_slice(&guest.input.as_ref().expect("the head was framed in it").filled()[..head_bytes]);
    consume(&mut guest.input, head_bytes);
    guest.request.clear();
    guest.response.clear();

    let head = guest.reader.head();
    let bytes = &kept.bytes[..];
    let method = head.method_part.of(bytes);
    let class = config.read_list.class(method, head.target.of(bytes));
    let asked = match head.method {
        Method::Head => Asked::Head,
        _ if head.websocket => Asked::Upgrade,
        _ => Asked::Plain,
    };
    if let Some(status) = own_answer(worker, guest, bytes) {
        return answer_ourselves(worker, guest, status, asked).await;
    }
    let probe = head
        .user_agent(bytes)
        .is_some_and(|agent| config.probe_agents.iter().any(|probe| agent.starts_with(probe.as_bytes())));
    let request = Request { class, counted: !probe, asked, began };
    if probe {
        worker.tally.probe();
    } else {
        worker.tally.reuse(guest.requests);
    }
    kept.body_kept = repeatable(class, method);
    // The head is complete by now, so the weight that holds from here on is the one that was last acknowledged.
    let weight = worker.state.weights.of(class);
    let side = split::split(weight, sticky(config, guest, bytes), &mut worker.chance.borrow_mut());

    let next = attempt(worker, guest, &request, &mut kept, side, weight).await;
    for tap in guest.taps.iter_mut().flatten() {
        tap.over(Why::GivenUp);
    }
    worker.keep_held(kept);
    next
}

/// Tries a request on its side, and where that is allowed once more.
async fn attempt(
    worker: &Worker,
    guest: &mut Guest,
    request: &Request,
    kept: &mut Held,
    mut side: SideName,
    weight: u16,
) -> Next {
    let mut retried = false;
    let mut recorded = <[Recorded; 2]>::default();
    let mut using = if kept.body_kept { Using::Idle(Sure::Told) } else { Using::Idle(Sure::Asked) };
    let mut since = request.began;
    loop {
        let captured = is_captured(worker, guest, kept, side);
        if captured && request.class == Class::Write && worker.refuses_writes(side) {
            return refuse_uncaptured(worker, guest, request).await;
        }
        let belonging = Belonging::new(worker, side, request.counted, since);
        let mut upstream = match reach(worker, guest, side, using, since).await {
            Ok(upstream) => upstream,
            Err(unreached) => {
                let (outcome, waited) = match unreached {
                    Unreached::Left { waited } => (Outcome::Abandoned, Some(waited)),
                    Unreached::Failed(failure) => (Outcome::Failed(failure), None),
                };
                count(worker, request, side, outcome, waited, waited, retried);
                drop(belonging);
                let Unreached::Failed(failure) = unreached else { return Next::Break };
                since = clock::now();
                if !retried && may_retry(worker, request, side, weight) {
                    (retried, side, using) = (true, side.other(), Using::Idle(Sure::Asked));
                    continue;
                }
                return answer_failure(worker, guest, request, failure).await;
            }
        };
        let endpoint = upstream.endpoint;
        guest.response.clear();
        guest.must_break = false;
        compose(worker, guest, kept, &upstream);
        upstream.reader.expect(request.asked);
        // A connection that was not in the pool was made only now.
        let ready = since.max(upstream.idle_since);
        show(worker, guest, side, request, captured);
        let mut relay = Relay::new(worker, guest, &mut upstream, kept, belonging.flight, request.began, ready);
        if captured {
            relay = relay.captured(request.class, &mut recorded[side as usize]);
        }
        let finish = poll_fn(|cx| relay.poll(cx)).await;

        worker.over(side, endpoint);
        let now = clock::now();
        since = now;
        let (sent, first_byte, status) = (relay.sent, relay.first_byte, relay.status);
        let (relayed, answered, close) = (relay.relayed, relay.heard, relay.close);
        let untouched = !relay.begun;
        drop(relay);
        // A response that began before the request ended took no time.
        let end = guest.left.filter(|_| first_byte.is_none()).unwrap_or(now);
        let latency = sent.map(|sent| first_byte.unwrap_or(end).saturating_duration_since(sent));
        let latency = latency.or(first_byte.map(|_| Duration::ZERO));
        let exchange = sent.map(|sent| end.saturating_duration_since(sent)).or(latency);
        let outcome = match finish {
            Finish::Complete | Finish::Tunnel => Outcome::Answered(status),
            Finish::Left if first_byte.is_some() => Outcome::Answered(status),
            Finish::Left => Outcome::Abandoned,
            Finish::Failed(failure) => Outcome::Failed(failure),
            Finish::Incomplete { .. } | Finish::Refused(_) => {
                return unfinished(worker, guest, finish, relayed).await;
            }
            // Interim answers may come before any other.
            Finish::Uncaptured if first_byte.is_some() || !guest.response.is_empty() => return Next::Break,
            Finish::Uncaptured => {
                drop(belonging);
                return refuse_uncaptured(worker, guest, request).await;
            }
        };
        if let Outcome::Failed(failure) = outcome {
            // The system took no byte of it: then nobody has seen it, and even a write may be sent (RFC 9110 9.2.2).
            let again = !relayed && (kept.body_kept || untouched);
            let reused_died = upstream.reused && !answered && failure == Failure::Reset;
            if reused_died && again && using != Using::Fresh {
                using = Using::Fresh;
                continue;
            }
            worker.failed(side, endpoint, failure, now);
            count(worker, request, side, outcome, latency, exchange, retried);
            if again && !retried && may_retry(worker, request, side, weight) {
                (retried, side, using) = (true, side.other(), Using::Idle(Sure::Asked));
                continue;
            }
            drop(belonging);
            if relayed {
                return Next::Break;
            }
            return answer_failure(worker, guest, request, failure).await;
        }
        count(worker, request, side, outcome, latency, exchange, retried);
        if first_byte.is_some() {
            worker.answered(side, endpoint);
        }
        guest.must_break &= !matches!(finish, Finish::Complete);
        return match finish {
            Finish::Complete => complete(worker, guest, upstream, close, now),
            Finish::Tunnel => {
                worker.tally.upgraded(side);
                Next::Tunnel(upstream)
            }
            _ => Next::Break,
        };
    }
}

/// What the client of a write is told that the log did not take.
const NOT_CAPTURED: &str = "the request could not be captured, and nothing of it was applied: try again later";

/// Refuses a write that the log did not take, or would not.
async fn refuse_uncaptured(worker: &Worker, guest: &mut Guest, request: &Request) -> Next {
    worker.tally.refused(503);
    answer_ourselves(worker, guest, (503, NOT_CAPTURED), request.asked).await
}

/// Makes the client's tap for a side that is captured; a request that is left out is told to it.
fn show(worker: &Worker, guest: &mut Guest, side: SideName, request: &Request, captured: bool) {
    let tap = guest.tap(worker, side, request.began);
    if let Some(tap) = tap
        && !captured
    {
        tap.leave_out(request.began);
    }
}

/// Whether the request is captured on that side.
fn is_captured(worker: &Worker, guest: &Guest, kept: &Held, side: SideName) -> bool {
    worker
        .desk(side)
        .is_some_and(|desk| !desk.captured.suppress.matches(guest.reader.head(), &kept.bytes[..kept.head_bytes]))
}

/// The response was relayed whole: the upstream connection is kept if nothing of this exchange is left on it, and the
/// client's goes on unless it was told otherwise.
fn complete(worker: &Worker, guest: &mut Guest, mut upstream: Box<Connection>, close: bool, now: Instant) -> Next {
    let clean = guest.request.is_done() && upstream.input.is_none();
    let head = upstream.reader.head();
    if clean && head.keep_alive && head.body != wire::Body::UntilClose {
        upstream.reused = true;
        upstream.idle_since = now;
        worker.keep(upstream);
    }
    if close || !guest.request.ended {
        return Next::Close;
    }
    let rest = std::mem::take(&mut guest.request.ready);
    consume(&mut guest.input, rest);
    Next::Request { ended: now }
}

/// Whether a failed request is tried on the other side: reads only, and only where that side takes part. A failing
/// source never sends requests to a target that has no weight yet.
fn may_retry(worker: &Worker, request: &Request, side: SideName, weight: u16) -> bool {
    let config = &worker.state.config;
    let other_takes_part = match side {
        SideName::Target => true,
        SideName::Source => config.target.is_some() && weight > 0,
    };
    config.retry == Retry::Reads && request.class == Class::Read && other_takes_part
}

fn count(
    worker: &Worker,
    request: &Request,
    side: SideName,
    outcome: Outcome,
    latency: Option<Duration>,
    exchange: Option<Duration>,
    retried: bool,
) {
    if request.counted {
        worker.tally.ended(&Ended { side, class: request.class, outcome, latency, exchange, retried });
    }
}

/// The client's body never came whole, or is malformed: that is nobody's failure but the client's.
async fn unfinished(worker: &Worker, guest: &mut Guest, finish: Finish, relayed: bool) -> Next {
    let (status, why) = match finish {
        Finish::Refused(refusal) => (refusal.status(), refusal.to_string()),
        Finish::Incomplete { slow: true } => (408, "the request body did not come in time".to_owned()),
        _ => {
            worker.tally.incomplete();
            return Next::Break;
        }
    };
    if relayed {
        worker.tally.refused(status);
        return Next::Break;
    }
    refuse(worker, guest, status, &why).await;
    Next::Break
}

/// Tells the client that the side failed; its connection goes on when the whole request was read.
async fn answer_failure(worker: &Worker, guest: &mut Guest, request: &Request, failure: Failure) -> Next {
    let status = if failure == Failure::Timeout { 504 } else { 502 };
    answer_ourselves(worker, guest, (status, answer::failure_text(status)), request.asked).await
}

async fn answer_ourselves(
    worker: &Worker,
    guest: &mut Guest,
    (status, text): (u16, &'static str),
    asked: Asked,
) -> Next {
    let body_read = skip_body(guest);
    let head = guest.reader.head();
    let close = !body_read || !head.keep_alive || worker.draining.get() || worker.state.closes(clock::now());
    let then = if close { answer::Then::Close } else { answer::Then::Continue };
    let body = if asked == Asked::Head { answer::Body::Withheld } else { answer::Body::Sent };
    guest.response.clear();
    guest.must_break = false;
    answer::compose(&mut guest.response.head, status, text, then, body);
    match guest.send_head(worker).await {
        Err(_) => Next::Break,
        Ok(()) if close => Next::Close,
        Ok(()) => Next::Request { ended: clock::now() },
    }
}

/// Drops what of the body came already; whether that was all of it.
fn skip_body(guest: &mut Guest) -> bool {
    guest.request.head.clear();
    let ready = std::mem::take(&mut guest.request.ready);
    consume(&mut guest.input, ready);
    while !guest.request.ended {
        let input = guest.input.as_ref().map_or(&[][..], crate::buffer::Buffer::filled);
        match guest.reader.next(input) {
            Ok(wire::Span::End) => guest.request.ended = true,
            Ok(span) if !span.is_empty() => consume(&mut guest.input, span.len()),
            _ => return false,
        }
    }
    true
}

/// What we answer ourselves: our health where that has a path, and requests whose hops are used up.
fn own_answer(worker: &Worker, guest: &Guest, bytes: &[u8]) -> Option<(u16, &'static str)> {
    let head = guest.reader.head();
    if head.max_forwards == Some(0) {
        return Some(if head.method == Method::Options { (200, "") } else { (405, "this is a reverse proxy") });
    }
    let path = worker.state.config.health_path.as_deref()?;
    if head.path(bytes) == path.as_bytes() && matches!(head.method, Method::Get | Method::Head) {
        worker.tally.probe();
        let unready = if worker.draining.get() { Some("draining") } else { worker.state.unready() };
        return Some(unready.map_or((200, "ok"), |why| (503, why)));
    }
    None
}

/// The value that keeps a client on its side, where it has one.
fn sticky<'b>(config: &config::Config, guest: &Guest, bytes: &'b [u8]) -> Option<&'b [u8]> {
    let head = guest.reader.head();
    match config.sticky.as_ref()? {
        Sticky::Header(name) => head.field(bytes, name),
        Sticky::Cookie(name) => head
            .fields
            .iter()
            .filter(|field| field.name.of(bytes).eq_ignore_ascii_case(b"cookie"))
            .find_map(|field| split::cookie(field.value.of(bytes), name)),
    }
}

/// Puts the head for this side, and what of the body was sent before, into the request flow.
fn compose(worker: &Worker, guest: &mut Guest, kept: &Held, upstream: &Connection) {
    let address;
    let scheme = if guest.socket.is_tls() { "https" } else { "http" };
    let forwarded = match worker.state.config.forwarded {
        config::Forwarded::Untouched => Forwarded::Untouched,
        config::Forwarded::Append => {
            address = guest.address.to_string();
            Forwarded::Append { client: &address, scheme }
        }
        config::Forwarded::Replace => {
            address = guest.address.to_string();
            Forwarded::Replace { client: &address, scheme }
        }
    };
    let route = &worker.routes[upstream.side as usize];
    let how = RequestRewrite { overrides: &route.overrides, forwarded, host: &route.hosts[upstream.endpoint] };
    let (head, body) = kept.bytes.split_at(kept.head_bytes);
    let Flow { ready, ended, trailer_bytes, held, .. } = guest.request;
    guest.request.clear();
    (guest.request.ready, guest.request.ended, guest.request.held) = (ready, ended, held);
    guest.request.trailer_bytes = trailer_bytes;
    upstream_head(head, guest.reader.head(), &how, &mut guest.request.head);
    guest.request.head.extend_from_slice(body);
}

/// Why a side could not be asked.
enum Unreached {
    /// Nobody was there.
    Failed(Failure),
    /// The client left meanwhile.
    Left {
        /// How long it had waited.
        waited: Duration,
    },
}

/// Which connections a request may go out on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Using {
    /// An idle one, if it is alive, or a new one.
    Idle(Sure),
    /// A new one: an idle one has just died under it.
    Fresh,
}

/// A connection to the side, to another endpoint if the first cannot be reached. The endpoint counts as having a request
/// under way until [`Worker::over`].
async fn reach(
    worker: &Worker,
    guest: &mut Guest,
    side: SideName,
    using: Using,
    since: Instant,
) -> Result<Box<Connection>, Unreached> {
    let mut shunned = Vec::new();
    loop {
        let endpoint = worker.choose(side, &shunned, since);
        if let Using::Idle(sure) = using
            && let Some(connection) = worker.reuse(side, endpoint, sure, since)
        {
            return Ok(connection);
        }
        let mut connect = Box::pin(worker.connect(side, endpoint));
        let connected = poll_fn(|cx| {
            if let Poll::Ready(connected) = connect.as_mut().poll(cx) {
                return Poll::Ready(Some(connected));
            }
            while guest.left.is_none() {
                match guest.poll_read(cx, &worker.buffers) {
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(None),
                    Poll::Pending => break,
                }
            }
            guest
                .left
                .map_or(Poll::Pending, |left| guest.timer.poll_until(cx, left.max(since) + LEFT_AFTER).map(|()| None))
        })
        .await;
        match connected {
            Some(Ok(connection)) => return Ok(connection),
            Some(Err(failure)) => {
                worker.over(side, endpoint);
                worker.failed(side, endpoint, failure, clock::now());
                shunned.push(endpoint);
                if shunned.len() >= ENDPOINTS_TRIED_MAX.min(worker.endpoints(side)) {
                    return Err(Unreached::Failed(failure));
                }
            }
            None => {
                worker.over(side, endpoint);
                let left = guest.left.unwrap_or_else(clock::now);
                return Err(Unreached::Left { waited: left.saturating_duration_since(since) });
            }
        }
    }
}
