//! One serving thread: its runtime, its listener, its connections, and everything they share among themselves.
//!
//! Threads share nothing with each other on the way of a request but the weights (and flags that rarely change), so a
//! request is served from its first byte to its last by one thread, with that thread's pool, buffers and counters.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    net::{IpAddr, TcpListener as StdListener},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use rustls::{ServerConfig, pki_types::ServerName};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, LocalOptions},
    task::{JoinError, JoinSet},
    time::MissedTickBehavior,
};

use crate::{
    buffer::Buffers,
    capture::{ConnectionIds, Recorder, record, side::OnFailure, tap::Desk},
    clock,
    config::Upstream,
    count::{Failure, SideName, Tally},
    flights::Flights,
    guest,
    pool::Connection,
    relay::Held,
    sides::Side,
    socket::{Socket, Sure},
    state::{Ending, State},
    tls,
    wire::{Overrides, ResponseReader},
};

/// How often a thread looks after its pool and says how long its requests have waited: the tripwires look as often.
const TICK: Duration = Duration::from_millis(100);

/// How long the end of a thread waits for the capture log, and how often it looks.
const CAPTURE_FLUSH_MAX: Duration = Duration::from_secs(5);
const CAPTURE_FLUSH_LOOK: Duration = Duration::from_millis(5);

/// How long it waits for the list of losses.
const LOSSES_MAX: Duration = Duration::from_secs(2);

/// How long a thread does not accept after the system had no more descriptors or memory for it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Vectors for held requests that a thread keeps, and the largest that is kept.
const SPARE_HELD_MAX: usize = 64;
const SPARE_HELD_BYTES_MAX: usize = 16 * 1024;

/// How requests reach the endpoints of a side.
pub(crate) struct Route {
    pub(crate) overrides: Overrides,
    /// `host:port` of each endpoint.
    pub(crate) hosts: Vec<String>,
    tls: Option<Arc<rustls::ClientConfig>>,
    server_name: Option<String>,
}

/// What the connections of one thread share.
pub(crate) struct Worker {
    pub(crate) state: Arc<State>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) buffers: Buffers,
    pub(crate) flights: Flights,
    pub(crate) chance: RefCell<fastrand::Rng>,
    pub(crate) routes: [Route; 2],
    /// Whether connections end as soon as they are idle.
    pub(crate) draining: Cell<bool>,
    pub(crate) wakers: Wakers,
    sides: [RefCell<Side>; 2],
    held: RefCell<Vec<Held>>,
    desks: [Option<Rc<Desk>>; 2],
}

/// How to wake the connections of a thread when it drains.
#[derive(Default)]
pub(crate) struct Wakers {
    slots: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

impl Wakers {
    /// Keeps a connection's waker.
    pub(crate) fn add(&self, waker: Waker) -> usize {
        let mut slots = self.slots.borrow_mut();
        if let Some(slot) = self.free.borrow_mut().pop() {
            slots[slot] = Some(waker);
            slot
        } else {
            slots.push(Some(waker));
            slots.len() - 1
        }
    }

    /// The connection is over.
    pub(crate) fn remove(&self, slot: usize) {
        self.slots.borrow_mut()[slot] = None;
        self.free.borrow_mut().push(slot);
    }

    fn wake(&self) {
        for waker in self.slots.borrow().iter().flatten() {
            waker.wake_by_ref();
        }
    }
}

impl Worker {
    /// The sides, buffers and counters of thread `number`.
    pub(crate) fn new(state: Arc<State>, number: usize) -> Self {
        let config = &state.config;
        let limits = &config.limits;
        // What is framed must fit into a buffer whole, or it could neither be taken nor refused.
        let framed_max = [
            limits.wire.head_bytes_max,
            limits.wire.response_head_bytes_max,
            limits.wire.target_bytes_max,
            limits.wire.chunk_line_bytes_max,
        ];
        let framed_max = framed_max.into_iter().max().unwrap_or(0);
        let side = |side: &crate::config::Side| RefCell::new(Side::new(side, limits.pool_idle_max));
        let sides = [side(&config.source), side(config.target.as_ref().unwrap_or(&config.source))];
        let route = |name: SideName| {
            let side = state.side(name);
            Route {
                overrides: state.overrides(name).clone(),
                hosts: side.endpoints.iter().map(authority).collect(),
                tls: state.client_tls(name),
                server_name: side.tls.server_name.clone(),
            }
        };
        let routes = [route(SideName::Source), route(SideName::Target)];
        // Threads draw from the same seed, but each its own sequence.
        let mut chance = match config.seed {
            Some(seed) => fastrand::Rng::with_seed(seed.wrapping_add(number as u64)),
            None => fastrand::Rng::new(),
        };
        let desks = SideName::BOTH.map(|side| {
            let captured = state.side(side).capture.clone()?;
            // No two names of this process are equal: each thread and side counts its own.
            let thread = 2 * number as u32 + side as u32;
            let ids = ConnectionIds::new(state.machine, thread, chance.u64(..));
            let mut recorder = Recorder::new(record::Version::default(), state.node, ids);
            if let Some(bytes) = captured.record_bytes_max {
                recorder = recorder.with_chunk_bytes_max(bytes).expect("the limit was checked at the start");
            }
            Some(Rc::new(Desk::new(captured, recorder)))
        });
        Self {
            tally: Arc::clone(&state.tallies[number]),
            // The trailers of a held write are framed behind its last-chunk line, which waits with them.
            buffers: Buffers::new(framed_max + limits.wire.chunk_line_bytes_max + 1),
            flights: Flights::default(),
            chance: RefCell::new(chance),
            routes,
            draining: Cell::new(false),
            wakers: Wakers::default(),
            sides,
            held: RefCell::default(),
            desks,
            state,
        }
    }

    /// What TLS is spoken with to a client that connects now.
    pub(crate) fn server_tls(&self) -> Option<Arc<ServerConfig>> {
        self.state.server_tls()
    }

    /// Where the traffic of a side is captured, if it is.
    pub(crate) fn desk(&self, side: SideName) -> Option<&Rc<Desk>> {
        // Without a target the source's settings stand in for its, and it is never asked.
        self.desks[side as usize].as_ref()
    }

    /// Whether a captured write of that side is refused at once, since the log is known to fail.
    pub(crate) fn refuses_writes(&self, side: SideName) -> bool {
        self.desk(side).is_some_and(|desk| desk.captured.on_failure == OnFailure::Refuse && desk.is_open())
    }

    /// Space for a request that may be sent again.
    pub(crate) fn spare_held(&self) -> Held {
        self.held.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives that space back.
    pub(crate) fn keep_held(&self, mut held: Held) {
        let mut spare = self.held.borrow_mut();
        if spare.len() < SPARE_HELD_MAX && held.bytes.capacity() <= SPARE_HELD_BYTES_MAX {
            held.bytes.clear();
            spare.push(held);
        }
    }

    /// How many endpoints a side has.
    pub(crate) fn endpoints(&self, side: SideName) -> usize {
        self.state.health(side).len()
    }

    /// Chooses an endpoint; see [`Side::choose`].
    pub(crate) fn choose(&self, side: SideName, shunned: &[usize], now: Instant) -> usize {
        self.sides[side as usize].borrow_mut().choose(self.state.health(side), shunned, now)
    }

    /// An idle connection; see [`Side::reuse`].
    pub(crate) fn reuse(&self, side: SideName, endpoint: usize, sure: Sure, now: Instant) -> Option<Box<Connection>> {
        let idle_max = self.state.config.timeouts.pool_idle;
        self.sides[side as usize].borrow_mut().reuse(endpoint, idle_max, sure, now)
    }

    /// Keeps an idle connection, unless we are about to end.
    pub(crate) fn keep(&self, connection: Box<Connection>) {
        if !self.draining.get() {
            self.sides[connection.side as usize].borrow_mut().keep(connection);
        }
    }

    /// A request of an endpoint is over.
    pub(crate) fn over(&self, side: SideName, endpoint: usize) {
        self.sides[side as usize].borrow_mut().over(endpoint);
    }

    /// An endpoint answered.
    pub(crate) fn answered(&self, side: SideName, endpoint: usize) {
        self.state.health(side)[endpoint].answered();
    }

    /// An endpoint failed.
    pub(crate) fn failed(&self, side: SideName, endpoint: usize, failure: Failure, now: Instant) {
        let why = match failure {
            Failure::Connect => return,
            Failure::Reset => "it lost a connection or cut an answer short",
            Failure::Timeout => "it did not answer in time",
            Failure::Protocol => "its answer was not HTTP",
        };
        self.state.health(side)[endpoint].failed(now, why);
    }

    /// Opens a connection to an endpoint.
    pub(crate) async fn connect(&self, side: SideName, endpoint: usize) -> Result<Box<Connection>, Failure> {
        let health = &self.state.health(side)[endpoint];
        let limit = self.state.config.timeouts.connect;
        let connected = tokio::time::timeout(limit, open(&self.routes[side as usize], health.upstream())).await;
        let now = clock::now();
        let why = match connected {
            Ok(Ok(socket)) => {
                let reader = ResponseReader::new(self.state.config.limits.wire);
                return Ok(Connection::new(socket, reader, side, endpoint, &self.tally, now));
            }
            Ok(Err(why)) => why,
            Err(_) => format!("no connection within {limit:?}"),
        };
        tracing::debug!(side = side.word(), upstream = %health.upstream(), why, "cannot connect");
        health.failed(now, &why);
        Err(Failure::Connect)
    }

    fn tick(&self, number: u64) {
        let now = clock::now();
        if self.state.is_armed() {
            for side in [SideName::Source, SideName::Target] {
                self.tally.waiting(side, self.flights.waited(side, now).into_iter());
            }
        }
        for desk in self.desks.iter().flatten() {
            desk.tick();
        }
        if number.is_multiple_of(10) {
            for side in &self.sides {
                side.borrow_mut().prune(self.state.config.timeouts.pool_idle, now);
            }
        }
    }

    fn drain(&self) {
        self.draining.set(true);
        for side in &self.sides {
            side.borrow_mut().close_idle();
        }
        self.wakers.wake();
    }
}

fn authority(upstream: &Upstream) -> String {
    let url = upstream.to_string();
    url.split_once("://").map_or_else(|| url.clone(), |(_, authority)| authority.to_owned())
}

async fn open(route: &Route, upstream: &Upstream) -> Result<Socket, String> {
    let tcp = match upstream.host.parse::<IpAddr>() {
        Ok(address) => TcpStream::connect((address, upstream.port)).await,
        Err(_) => TcpStream::connect((upstream.host.as_str(), upstream.port)).await,
    };
    let tcp = tcp.map_err(|error| error.to_string())?;
    tcp.set_nodelay(true).map_err(|error| error.to_string())?;
    if !upstream.tls {
        return Ok(Socket::Plain(tcp));
    }
    let config = route.tls.clone().ok_or("the side was given no TLS settings")?;
    let name = route.server_name.as_ref().unwrap_or(&upstream.host).clone();
    let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
    let tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await;
    let tls = tls.map_err(|error| tls::explain(&error))?;
    Ok(Socket::Tls(Box::new(tls.into())))
}

/// Runs thread `number` until it has drained.
pub(crate) fn run(state: Arc<State>, number: usize, listener: StdListener) -> std::io::Result<()> {
    // A runtime of this thread alone: no task is ever woken through another's queue, as in a set within a runtime.
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let worker = Rc::new(Worker::new(state, number));
    runtime.block_on(async {
        let mut beside = JoinSet::new();
        for desk in worker.desks.iter().flatten() {
            let desk = Rc::clone(desk);
            beside.spawn_local(poll_fn(move |cx| -> Poll<()> {
                desk.poll(cx);
                Poll::Pending
            }));
        }
        let served = serve(&worker, listener).await;
        settle(&worker).await;
        served
    })
}

/// Waits until the log has answered for everything that was captured, until it was looked at and had what went out on its word,
/// and until what it had not is on its list, for as long as that may take.
async fn settle(worker: &Worker) {
    let deadline = clock::now() + CAPTURE_FLUSH_MAX;
    let desks = || worker.desks.iter().flatten();
    loop {
        // What the log is found to have lost is listed now or never.
        desks().for_each(|desk| desk.tick());
        let (is_idle, writes) = (desks().all(|desk| desk.is_idle()), desks().map(|desk| desk.doubt()).sum::<usize>());
        if is_idle && writes == 0 {
            break;
        }
        if clock::now() >= deadline {
            let within = CAPTURE_FLUSH_MAX;
            if !is_idle {
                tracing::error!(?within, "the capture log did not take everything before the end");
            }
            if writes > 0 {
                tracing::warn!(
                    writes,
                    ?within,
                    "the capture log acknowledged writes and was not seen to have them since"
                );
            }
            break;
        }
        tokio::time::sleep(CAPTURE_FLUSH_LOOK).await;
    }
    if !desks().all(|desk| desk.captured.losses.wait_written(clock::now() + LOSSES_MAX)) {
        tracing::error!(within = ?LOSSES_MAX, "losses at the end are not on their list");
    }
}

async fn serve(worker: &Rc<Worker>, listener: StdListener) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut ending = worker.state.ending();
    let mut guests = JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    // It may have been told to end before it was there to hear of it.
    while *ending.borrow_and_update() == Ending::No {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, address)) => welcome(worker, &mut guests, tcp, address.ip()),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(joined) = guests.join_next() => ended(joined),
            _ = ticks.tick() => {
                number += 1;
                worker.tick(number);
            }
            changed = ending.changed() => if changed.is_err() { break },
        }
    }
    // Whoever is in the queue of the listener has connected before we stopped accepting.
    while let Ok(Ok((tcp, address))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        welcome(worker, &mut guests, tcp, address.ip());
    }
    drop(listener);
    worker.drain();
    loop {
        let deadline = match *ending.borrow_and_update() {
            Ending::Drain { deadline } => deadline,
            Ending::No => clock::now(),
        };
        tokio::select! {
            joined = guests.join_next() => match joined {
                Some(joined) => ended(joined),
                None => return Ok(()),
            },
            _ = ticks.tick() => worker.tick(1),
            Ok(()) = ending.changed() => {}
            () = tokio::time::sleep_until(deadline.into()) => {
                // What is under way is cut off; a half response is never made to look whole (see `Guest`).
                guests.shutdown().await;
                return Ok(());
            }
        }
    }
}

fn welcome(worker: &Rc<Worker>, guests: &mut JoinSet<()>, tcp: TcpStream, address: IpAddr) {
    let open = worker.state.clients.fetch_add(1, Ordering::Relaxed);
    let counted = Counted(Rc::clone(worker));
    worker.tally.client_opened();
    if open >= worker.state.config.limits.connections_max || tcp.set_nodelay(true).is_err() {
        worker.tally.client_refused();
        return;
    }
    let worker = Rc::clone(worker);
    guests.spawn_local(async move {
        let _counted = counted;
        guest::serve(worker, tcp, address).await;
    });
}

/// Counts a client connection as open for as long as it lives.
struct Counted(Rc<Worker>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.state.clients.fetch_sub(1, Ordering::Relaxed);
        self.0.tally.client_closed();
    }
}

/// A connection's task ended; a panic in it is a bug of ours, and ends the process rather than hiding.
fn ended(joined: Result<(), JoinError>) {
    if let Err(error) = joined
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}
