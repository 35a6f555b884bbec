//! One cluster of the demo: a small HTTP server that answers like a search cluster and breaks when told to.
//!
//! Each side runs in a process of its own (`tidegate demo-upstream`), so that the outage of the demo is a real
//! `kill -9` with refused and reset connections, not a flag. It speaks to its parent over its own stdin and stdout: the
//! first line out says where it listens, a line in names a fault, and the end of stdin ends it, so that no server is
//! left behind by a parent that was killed itself.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited, combinators::BoxBody};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncRead};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::corpus::{self, Answers};
use super::fault::Fault;

/// Says which side answered: the demo's clients count by it, so that what they saw is theirs alone.
pub const SERVED_BY: &str = "x-demo-side";
/// On an answer that the fault spoiled: which fault it was.
pub const SPOILED_BY: &str = "x-demo-fault";

/// The largest request body a server of the demo takes; the demo's own bulk requests stay far below.
const BODY_BYTES_MAX: usize = 8 << 20;
/// The most connections a server of the demo keeps; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4096;
/// The median time a search takes, before the network.
const SEARCH_MICROS: f64 = 7_000.0;
/// The median time a lookup takes.
const LOOKUP_MICROS: f64 = 2_500.0;
/// The median time a bulk write takes.
const BULK_MICROS: f64 = 16_000.0;
/// How wide the log-normal distribution of these times is; 0.45 puts the 99th percentile at 2.8 medians.
const SIGMA: f64 = 0.45;
/// How many times as long everything takes with [`Fault::Slow`].
const SLOW_FACTOR: f64 = 3.0;
/// The share of answers that are 500 with [`Fault::Errors`].
const ERRORS_SHARE: f64 = 0.30;
/// The pause after each byte with [`Fault::Drip`].
const DRIP_PAUSE: Duration = Duration::from_millis(10);

/// What an upstream's process says first, as one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Where it listens.
    pub address: SocketAddr,
}

/// What a server is told at its start.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// What [`SERVED_BY`] says: `source` or `target`.
    pub side: String,
    /// Decides times and bodies.
    pub seed: u64,
}

/// The switch that breaks a server; shared by all its connections.
#[derive(Clone, Debug, Default)]
pub struct Switch(Arc<AtomicU8>);

impl Switch {
    /// Breaks it. [`Fault::Outage`] is nothing a server can do to itself and changes nothing here.
    pub fn set(&self, fault: Fault) {
        let code = match fault {
            Fault::Errors => 1,
            Fault::Slow => 2,
            Fault::Drip => 3,
            Fault::Silent => 4,
            Fault::Outage => 0,
        };
        self.0.store(code, Ordering::Relaxed);
    }

    fn fault(&self) -> Option<Fault> {
        match self.0.load(Ordering::Relaxed) {
            1 => Some(Fault::Errors),
            2 => Some(Fault::Slow),
            3 => Some(Fault::Drip),
            4 => Some(Fault::Silent),
            _ => None,
        }
    }
}

/// Serves until `listener` fails; dropping the future closes every connection.
///
/// # Errors
/// When a connection cannot be accepted.
pub async fn serve(listener: TcpListener, upstream: Upstream, switch: Switch) -> io::Result<()> {
    let requests = Arc::new(AtomicU64::new(0));
    let answers = Arc::new(Answers::new(&mut Rng::with_seed(upstream.seed)));
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            // Ended connections are taken out as they end, so that the set holds only living ones.
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        stream.set_nodelay(true)?;
        let (upstream, switch, requests) = (upstream.clone(), switch.clone(), Arc::clone(&requests));
        let answers = Arc::clone(&answers);
        connections.spawn(async move {
            let service = service_fn(|request| {
                // A number for each request, not for each connection: which answers fail must not depend on which
                // connection the proxy happened to pick from its pool.
                let number = requests.fetch_add(1, Ordering::Relaxed);
                let rng = Rng::with_seed(upstream.seed.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
                respond(request, rng, upstream.side.clone(), switch.clone(), Arc::clone(&answers))
            });
            // A client that goes away in the middle is its own affair.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Runs a server as the child of a demo until `orders` end: one fault's name a line.
///
/// # Errors
/// When no port can be had, or `hello` cannot say which it is.
pub async fn serve_child(
    upstream: Upstream,
    orders: impl AsyncRead + Unpin,
    hello: impl FnOnce(&Hello) -> io::Result<()>,
) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    hello(&Hello { address: listener.local_addr()? })?;
    let switch = Switch::default();
    let server = serve(listener, upstream, switch.clone());
    let mut server = std::pin::pin!(server);
    let mut lines = tokio::io::BufReader::new(orders).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => switch.set(line.trim().parse().map_err(io::Error::other)?),
                None => return Ok(()),
            },
            ended = &mut server => return ended,
        }
    }
}

async fn respond(
    request: Request<Incoming>,
    mut rng: Rng,
    side: String,
    switch: Switch,
    answers: Arc<Answers>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let Ok(body) = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await else {
        return Ok(reply(StatusCode::PAYLOAD_TOO_LARGE, &side, None, Full::new(Bytes::new()).boxed()));
    };
    let body = body.to_bytes();
    let median = match path.as_str() {
        _ if path.contains("/_bulk") => BULK_MICROS,
        _ if path.contains("/_search") => SEARCH_MICROS,
        _ => LOOKUP_MICROS,
    };
    let fault = switch.fault();
    let factor = if fault == Some(Fault::Slow) { SLOW_FACTOR } else { 1.0 };
    let micros = median * (SIGMA * normal(&mut rng)).exp() * factor;
    tokio::time::sleep(Duration::from_micros(micros as u64)).await;
    // Asked again after the wait: what was under way when the target broke is broken too.
    let fault = switch.fault();
    if fault == Some(Fault::Silent) {
        std::future::pending::<()>().await;
    }
    if fault == Some(Fault::Errors) && rng.f64() < ERRORS_SHARE {
        return Ok(reply(StatusCode::INTERNAL_SERVER_ERROR, &side, fault, Full::new(corpus::failure()).boxed()));
    }
    let answer = answers.to(&mut rng, &path, &body);
    Ok(match fault {
        Some(Fault::Drip) => reply(StatusCode::OK, &side, fault, Drip::new(answer).boxed()),
        Some(Fault::Slow) => reply(StatusCode::OK, &side, fault, Full::new(answer).boxed()),
        Some(Fault::Errors | Fault::Outage | Fault::Silent) | None => {
            reply(StatusCode::OK, &side, None, Full::new(answer).boxed())
        }
    })
}

fn reply(
    status: StatusCode,
    side: &str,
    spoiled: Option<Fault>,
    body: BoxBody<Bytes, Infallible>,
) -> Response<BoxBody<Bytes, Infallible>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    if let Ok(side) = HeaderValue::from_str(side) {
        headers.insert(SERVED_BY, side);
    }
    if let Some(fault) = spoiled {
        headers.insert(SPOILED_BY, HeaderValue::from_static(fault.word()));
    }
    response
}

/// A draw from the standard normal distribution (Box and Muller); a crate would be more than these two lines.
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// A body that comes a byte at a time, its length said correctly beforehand.
struct Drip {
    rest: Bytes,
    pause: std::pin::Pin<Box<tokio::time::Sleep>>,
}

impl Drip {
    fn new(rest: Bytes) -> Self {
        Self { rest, pause: Box::pin(tokio::time::sleep(DRIP_PAUSE)) }
    }
}

impl Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return std::task::Poll::Ready(None);
        }
        std::task::ready!(self.pause.as_mut().poll(context));
        let next = self.pause.deadline() + DRIP_PAUSE;
        self.pause.as_mut().reset(next);
        std::task::Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(1)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
