//! One client's connection to a node of an ALB, and each request on it: rules, target group, target, answer, and what is
//! noted of it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::answers;
use super::controls::Pinning;
use super::cookies;
use super::front::Front;
use super::live::{Group, Limits};
use super::meter::{self, Note};
use super::node::Node;
use super::pool::Failure;
use super::routes::{Asked, Held, pick};
use super::world::World;
use crate::clock::Time;
use crate::cloudwatch::distribution::three_digits;
use crate::model::action::{Forward, What};

/// The body of an answer: a target's, or one of our own.
pub(super) type Body = BoxBody<Bytes, hyper::Error>;

/// How often an open connection is looked at, whether it has been silent for too long.
const IDLE_LOOK: Duration = Duration::from_secs(1);

/// What is known of a client's connection.
struct Connection {
    world: Arc<World>,
    front: Arc<Front>,
    node: Arc<Node>,
    /// Its place among the nodes of the load balancer.
    number: usize,
    client: SocketAddr,
    opened: Time,
    /// The target group that the connection began with.
    began_with: Mutex<Option<String>>,
    under_way: AtomicUsize,
    /// When the last request ended, in real milliseconds since the lab began.
    last_ms: AtomicU64,
}

/// Serves a connection until either side ends it.
pub(super) async fn connection(
    world: Arc<World>,
    front: Arc<Front>,
    number: usize,
    stream: TcpStream,
    client: SocketAddr,
) {
    let _ = stream.set_nodelay(true);
    let node = Arc::clone(&front.nodes()[number]);
    let open = node.connections.open();
    let (opened, last_ms) = (world.shared.clock.now(), AtomicU64::new(world.real_ms()));
    let (began_with, under_way) = (Mutex::default(), AtomicUsize::new(0));
    let connection =
        Arc::new(Connection { world, front, node, number, client, opened, began_with, under_way, last_ms });
    let service = service_fn(|request| {
        let connection = Arc::clone(&connection);
        async move { Ok::<_, Infallible>(connection.request(request).await) }
    });
    let served = http1::Builder::new().preserve_header_case(true).serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served.with_upgrades());
    let mut looks = tokio::time::interval(IDLE_LOOK);
    loop {
        tokio::select! {
            // How it ended concerns the client; what was under way has been noted.
            _ = served.as_mut() => break,
            _ = looks.tick() => if connection.is_idle() { break },
        }
    }
    drop(open);
}

impl Connection {
    fn limits(&self) -> Limits {
        let live = self.world.live();
        live.balancers
            .get(&self.front.balancer)
            .copied()
            .unwrap_or(Limits { keep_alive: Duration::MAX, idle: Duration::MAX })
    }

    fn is_idle(&self) -> bool {
        let silent = self.world.real_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed));
        self.under_way.load(Ordering::Relaxed) == 0 && u128::from(silent) > self.limits().idle.as_millis()
    }

    /// Answers one request and notes it.
    async fn request(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let mut ticket = Ticket { connection: &self, group: None, done: false };
        let mut answered = self.route(request, &mut ticket).await;
        let now = self.world.shared.clock.now();
        ticket.note(now, &answered);
        if now.since(self.opened) >= self.limits().keep_alive {
            // "One more request", and then the client has to come again.
            answered.answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answered.answer
    }

    async fn route(&self, request: Request<Incoming>, ticket: &mut Ticket<'_>) -> Answered {
        let now = self.world.shared.clock.now();
        let routes = self.front.routes(self.number, now);
        let uri = request.uri();
        let asked = Asked {
            method: request.method(),
            path: uri.path(),
            query: uri.query().unwrap_or_default(),
            headers: request.headers(),
            client: self.client.ip(),
        };
        match routes.of_request(&asked) {
            Some(What::Forward(forward)) => self.forward(forward, request, now, ticket).await,
            Some(What::FixedResponse(config)) => Answered::ours(answers::fixed(config), Own::Fixed),
            Some(What::Redirect(config)) => {
                Answered::ours(answers::redirect(config, &request, self.front.port, self.front.scheme), Own::Redirect)
            }
            // A rule without an action that routes is refused when it is made; were there one, this is the answer.
            _ => Answered::ours(answers::error(500), Own::Error),
        }
    }

    async fn forward(
        &self,
        forward: &Forward,
        mut request: Request<Incoming>,
        now: Time,
        ticket: &mut Ticket<'_>,
    ) -> Answered {
        let switches = self.world.shared.plane.switches();
        let sticky = forward.stickiness.enabled;
        let cookie = if sticky { cookies::named(request.headers(), cookies::GROUP, now) } else { None };
        let pinned = match switches.pinning {
            Pinning::None => None,
            Pinning::UntilClose => self.began_with.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        let held = Held {
            by_cookie: cookie.as_deref(),
            cookie_beats_zero: switches.cookie_beats_zero,
            by_connection: pinned.as_deref(),
        };
        let live = self.world.live();
        let Some(group) = pick(forward, held, self.node.roll()).and_then(|arn| live.groups.get(arn)) else {
            return Answered::ours(answers::error(503), Own::Error);
        };
        self.began_with.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| group.arn.clone());
        let stuck_to = group.sticky.and_then(|_| cookies::named(request.headers(), cookies::TARGET, now));
        let Some(target) = self.node.choose(group, stuck_to.as_deref()) else {
            let mut answered = Answered::ours(answers::error(503), Own::Error);
            answered.group = Some(group.clone());
            return answered;
        };
        // From here on a target has been chosen: a client that leaves is counted as having left it.
        ticket.group = Some(group.clone());
        let mut answered = match target.address {
            None => Answered::failed(Failure::ConnectTimeout),
            Some(address) => {
                self.dress(request.headers_mut(), now);
                let _outstanding = self.node.begin(address);
                self.exchange(address, request).await
            }
        };
        answered.group = Some(group.clone());
        answered.sticky = cookie.is_some() || stuck_to.is_some();
        let headers = answered.answer.headers_mut();
        if let (true, Some(seconds)) = (sticky, forward.stickiness.seconds) {
            cookies::set(headers, cookies::GROUP, &group.arn, now, Duration::from_secs(seconds.into()));
        }
        if let Some(lasting) = group.sticky {
            cookies::set(headers, cookies::TARGET, &format!("{}:{}", target.id, target.port), now, lasting);
        }
        answered
    }

    /// Sends a request to a target and takes the head of its answer; the body follows by itself.
    async fn exchange(&self, address: SocketAddr, mut request: Request<Incoming>) -> Answered {
        let upgrade = is_websocket(request.headers());
        let client_side = upgrade.then(|| hyper::upgrade::on(&mut request));
        strip(request.headers_mut(), upgrade);
        *request.version_mut() = Version::HTTP_11;
        let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        *request.uri_mut() = path.parse::<Uri>().unwrap_or_default();
        let sent = self.world.shared.clock.real();
        let patience = self.limits().idle;
        match self.node.pool.send(address, request, patience, &self.node.connections).await {
            Err(failure) => Answered::failed(failure),
            Ok(mut answer) => {
                let took = self.world.shared.clock.real().saturating_sub(sent);
                let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
                if let (true, Some(client_side)) = (switched, client_side) {
                    let target_side = hyper::upgrade::on(&mut answer);
                    let open = [self.node.connections.stays(), self.node.connections.stays()];
                    self.world.tasks.spawn(async move {
                        if let (Ok(client), Ok(target)) = tokio::join!(client_side, target_side) {
                            let (mut client, mut target) = (TokioIo::new(client), TokioIo::new(target));
                            let _ = tokio::io::copy_bidirectional(&mut client, &mut target).await;
                        }
                        drop(open);
                    });
                }
                strip(answer.headers_mut(), switched);
                let status = answer.status().as_u16();
                let from = From::Target { took: three_digits(took.as_secs_f64()) };
                Answered { answer: answer.map(BodyExt::boxed), status, from, group: None, sticky: false }
            }
        }
    }

    /// What an ALB adds to a request.
    fn dress(&self, headers: &mut HeaderMap, now: Time) {
        let client = self.client.ip().to_string();
        let before = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
        let path = before.map_or_else(|| client.clone(), |before| format!("{before}, {client}"));
        let trace = match headers.get("x-amzn-trace-id").and_then(|value| value.to_str().ok()) {
            // A trace that has begun keeps its root; this hop is named beside it.
            Some(trace) if trace.contains("Root=") => format!("Self={};{trace}", trace_id(now)),
            _ => format!("Root={}", trace_id(now)),
        };
        for (name, value) in [
            ("x-forwarded-for", path),
            ("x-forwarded-proto", self.front.scheme.to_owned()),
            ("x-forwarded-port", self.front.port.to_string()),
            ("x-amzn-trace-id", trace),
        ] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// `1-TIME-RANDOM` as X-Ray spells it.
fn trace_id(now: Time) -> String {
    format!("1-{:08x}-{:024x}", now.0 / 1000, fastrand::u128(..) >> 32)
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Takes off what belongs to one connection and not to the message (RFC 9110, 7.6.1).
fn strip(headers: &mut HeaderMap, upgrade: bool) {
    let listed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| !(upgrade && *name == header::UPGRADE))
        .collect();
    for name in listed {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"] {
        headers.remove(name);
    }
    if upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    } else {
        headers.remove(header::CONNECTION);
        headers.remove(header::UPGRADE);
    }
}

/// Where an answer is from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum From {
    /// A target, after so many seconds.
    Target { took: f64 },
    /// The load balancer, since the target did not answer.
    Instead(Failure),
    /// The load balancer.
    Balancer(Own),
}

/// Answers that a load balancer gives by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Fixed,
    Redirect,
    Error,
}

/// A request's answer and what there is to note of it.
struct Answered {
    answer: Response<Body>,
    status: u16,
    from: From,
    /// Whose share of the traffic it was.
    group: Option<Group>,
    /// Whether it was routed by a cookie.
    sticky: bool,
}

impl Answered {
    fn ours(answer: Response<Body>, own: Own) -> Self {
        Self { status: answer.status().as_u16(), answer, from: From::Balancer(own), group: None, sticky: false }
    }

    fn failed(failure: Failure) -> Self {
        let status = failure.status();
        Self { answer: answers::error(status), status, from: From::Instead(failure), group: None, sticky: false }
    }
}

/// A request that is under way. One that is dropped before it was noted is a client that left: 460, as an ALB counts it.
struct Ticket<'a> {
    connection: &'a Connection,
    /// The group of the target that was chosen, once one was.
    group: Option<Group>,
    done: bool,
}

impl Ticket<'_> {
    fn note(&mut self, now: Time, answered: &Answered) {
        let Connection { world, node, .. } = self.connection;
        let group = answered.group.as_ref();
        let mut notes: Vec<Note> = Vec::with_capacity(6);
        let own = |notes: &mut Vec<Note>| notes.extend(meter::own_codes(answered.status).map(|kind| (kind, 1.0, 1)));
        if let Some(chosen) = &self.group {
            notes.push((meter::REQUESTS, 1.0, 1));
            notes.push((meter::REQUESTS_PER_TARGET, 1.0 / chosen.targets.len().max(1) as f64, 1));
        }
        match answered.from {
            From::Target { took } => {
                notes.push((meter::target_code(answered.status), 1.0, 1));
                notes.push((meter::RESPONSE_TIME, took, 1));
            }
            From::Instead(failure) => {
                own(&mut notes);
                if failure.is_connection_error() {
                    notes.push((meter::CONNECTION_ERRORS, 1.0, 1));
                }
            }
            From::Balancer(Own::Fixed) => notes.push((meter::FIXED_RESPONSES, 1.0, 1)),
            From::Balancer(Own::Redirect) => {
                own(&mut notes);
                notes.push((meter::REDIRECTS, 1.0, 1));
            }
            From::Balancer(Own::Error) => own(&mut notes),
        }
        if group.is_some_and(|group| group.sticky.is_some()) && !answered.sticky {
            notes.push((meter::NOT_STICKY, 1.0, 1));
        }
        // An answer that no target had a part in belongs to no group's metrics, though it was its share of the traffic.
        let dimension = self.group.as_ref().map_or("", |group| &group.dimension);
        node.meter.note(now, dimension, &notes);
        world.shared.history.note_served(now, group.map_or("", |group| &group.arn), answered.status);
        self.done = true;
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let connection = self.connection;
        connection.under_way.fetch_sub(1, Ordering::Relaxed);
        connection.last_ms.store(connection.world.real_ms(), Ordering::Relaxed);
        if self.done {
            return;
        }
        let now = connection.world.shared.clock.now();
        let mut notes: Vec<Note> = meter::own_codes(460).map(|kind| (kind, 1.0, 1)).collect();
        let group = self.group.as_ref();
        if let Some(chosen) = group {
            notes.push((meter::REQUESTS, 1.0, 1));
            notes.push((meter::REQUESTS_PER_TARGET, 1.0 / chosen.targets.len().max(1) as f64, 1));
        }
        connection.node.meter.note(now, group.map_or("", |group| &group.dimension), &notes);
        connection.world.shared.history.note_served(now, group.map_or("", |group| &group.arn), 0);
    }
}
