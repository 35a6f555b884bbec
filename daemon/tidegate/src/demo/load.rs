//! The demo's clients: a pool of keep-alive connections that searches and writes, and counts what it saw.
//!
//! The clients know nothing of sides, weights or faults. What they count is the truth the demo is measured by: a request
//! failed when its client could not use the answer, whatever the proxy thinks of it. Each client is a closed loop (ask,
//! wait, think), as an application server's connection pool is: when answers take longer, fewer questions are asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::corpus::{self, Ask};
use super::upstream;
use crate::clock;

/// After how long without a whole answer a client gives up: shorter than any human's patience with a search box.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a client waits before it connects again after a failure.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);

/// How the clients behave.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where they connect to.
    pub address: SocketAddr,
    /// Decides what each client asks and when.
    pub seed: u64,
    /// How many clients there are; each keeps one connection.
    pub clients: usize,
    /// The mean pause of a client between an answer and its next question.
    pub think: Duration,
    /// What answers say of themselves.
    pub marks: Marks,
}

/// The header fields by which the servers of a demo mark their answers, for whoever counts; clients act on neither.
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    /// Whose answer it is: it begins with `source` or `target`.
    pub side: &'static str,
    /// There on an answer that a fault spoiled.
    pub spoiled: &'static str,
}

/// The marks of the demo's own servers.
pub const OWN_MARKS: Marks = Marks { side: upstream::SERVED_BY, spoiled: upstream::SPOILED_BY };

/// What the clients saw since they started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Requests that ended, one way or the other.
    pub requests: u64,
    /// Requests whose client could not use the answer: the sum of the causes below.
    pub failed: u64,
    /// Failed: an answer of 500 or above.
    pub failed_status: u64,
    /// Failed: no whole answer within [`CLIENT_TIMEOUT`].
    pub failed_timeout: u64,
    /// Failed: no connection, or a connection lost before the answer was whole.
    pub failed_connection: u64,
    /// Answers of the source.
    pub by_source: u64,
    /// Answers of the target.
    pub by_target: u64,
    /// Answers the fault spoiled, slow ones too.
    pub spoiled: u64,
    /// When the first spoiled answer ended (or was given up), in milliseconds since the start.
    pub first_bad_millis: Option<u64>,
    /// When the last one did.
    pub last_bad_millis: Option<u64>,
    /// Connections made; with keep-alive and no failures, one a client.
    pub connections: u64,
}

/// Why a request failed, as its client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Status,
    Timeout,
    Connection,
}

/// What came of one request.
#[derive(Clone, Debug, Default)]
struct Outcome {
    failure: Option<Failure>,
    side: Option<String>,
    /// Whether the server marked the answer as spoiled.
    marked: bool,
}

/// The clients' common record.
#[derive(Debug)]
pub struct Ledger {
    started: Instant,
    inner: Mutex<(Tally, bool)>,
}

impl Ledger {
    /// An empty record; times in it count from `started`.
    pub fn new(started: Instant) -> Arc<Self> {
        Arc::new(Self { started, inner: Mutex::default() })
    }

    /// Says that the target is broken from now on, so that failures without an answer are put down to the fault.
    pub fn broken(&self) {
        self.lock().1 = true;
    }

    /// What was seen so far.
    pub fn tally(&self) -> Tally {
        self.lock().0.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Tally, bool)> {
        // Plain counts: a panic elsewhere leaves them usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connected(&self) {
        self.lock().0.connections += 1;
    }

    fn count(&self, outcome: &Outcome, now: Instant) {
        let millis = u64::try_from(now.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX);
        let mut inner = self.lock();
        let broken = inner.1;
        let tally = &mut inner.0;
        tally.requests += 1;
        match outcome.side.as_deref() {
            Some(side) if side.starts_with("source") => tally.by_source += 1,
            Some(side) if side.starts_with("target") => tally.by_target += 1,
            Some(_) | None => {}
        }
        if let Some(failure) = outcome.failure {
            tally.failed += 1;
            match failure {
                Failure::Status => tally.failed_status += 1,
                Failure::Timeout => tally.failed_timeout += 1,
                Failure::Connection => tally.failed_connection += 1,
            }
        }
        if outcome.marked || (broken && outcome.failure.is_some()) {
            tally.spoiled += 1;
            tally.first_bad_millis.get_or_insert(millis);
            tally.last_bad_millis = Some(millis);
        }
    }
}

/// Runs all clients until `stop` is true (or its sender is gone); each finishes the request it is at.
pub async fn run(plan: Plan, ledger: Arc<Ledger>, stop: watch::Receiver<bool>) {
    let mut clients = JoinSet::new();
    for number in 0..plan.clients {
        let client = Client { plan, rng: client_rng(plan.seed, number), ledger: Arc::clone(&ledger), connection: None };
        clients.spawn(client.run(stop.clone()));
    }
    while clients.join_next().await.is_some() {}
}

/// The generator of client `number`: each client has its own, so that one that waits does not change what others ask.
fn client_rng(seed: u64, number: usize) -> Rng {
    Rng::with_seed(seed ^ (number as u64 + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93))
}

/// One client.
struct Client {
    plan: Plan,
    rng: Rng,
    ledger: Arc<Ledger>,
    connection: Option<Connection>,
}

/// A connection and the task that moves its bytes; the task ends with the connection.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut drivers = JoinSet::new();
        loop {
            let think = self.plan.think.mul_f64(-(1.0 - self.rng.f64()).ln());
            tokio::select! {
                () = tokio::time::sleep(think) => {}
                _ = stop.wait_for(|&stop| stop) => return,
            }
            while drivers.try_join_next().is_some() {}
            let ask = corpus::ask(&mut self.rng);
            let outcome = match tokio::time::timeout(CLIENT_TIMEOUT, self.exchange(ask, &mut drivers)).await {
                Ok(outcome) => outcome,
                Err(_) => Outcome { failure: Some(Failure::Timeout), ..Outcome::default() },
            };
            self.ledger.count(&outcome, clock::instant());
            if matches!(outcome.failure, Some(Failure::Timeout | Failure::Connection)) {
                // Half an answer may still be on its way on this connection: it is of no use any more.
                self.connection = None;
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
        }
    }

    /// Sends one request and reads its whole answer.
    async fn exchange(&mut self, ask: Ask, drivers: &mut JoinSet<()>) -> Outcome {
        let marks = self.plan.marks;
        let lost = |marked| Outcome { failure: Some(Failure::Connection), side: None, marked };
        let Ok(connection) = self.connected(drivers).await else { return lost(false) };
        let request = Request::builder()
            .method(ask.method)
            .uri(ask.path)
            .header(HOST, "search.example")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(ask.body))
            .expect("method, path and headers come from the corpus and are well formed");
        let Ok(response) = connection.sender.send_request(request).await else { return lost(false) };
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok().map(str::to_owned));
        let (side, marked) = (header(marks.side), response.headers().contains_key(marks.spoiled));
        let status = response.status();
        if read_whole(response.into_body()).await.is_err() {
            return lost(marked);
        }
        let failure = (status >= StatusCode::INTERNAL_SERVER_ERROR).then_some(Failure::Status);
        Outcome { failure, side, marked }
    }

    /// The open connection, or a new one when there is none that can still be used.
    async fn connected(&mut self, drivers: &mut JoinSet<()>) -> Result<&mut Connection, ConnectError> {
        // `ready` fails on a connection the proxy has closed meanwhile: that is a reconnect, no failure.
        let usable = match &mut self.connection {
            Some(connection) => connection.sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            self.connection = None;
            let stream = TcpStream::connect(self.plan.address).await?;
            stream.set_nodelay(true)?;
            let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
            let driver = drivers.spawn(async move {
                // Its error is the same as the one the request gets.
                let _ = driver.await;
            });
            self.ledger.connected();
            self.connection = Some(Connection { sender, driver });
        }
        self.connection.as_mut().ok_or(ConnectError::Lost)
    }
}

async fn read_whole(mut body: Incoming) -> Result<(), hyper::Error> {
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

/// Why there is no connection. Every case counts the same; the type keeps `?` readable.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("cannot connect: {0}")]
    Io(#[from] std::io::Error),
    #[error("cannot speak HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the connection is gone")]
    Lost,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::fault::Fault;
    use crate::demo::upstream::{Switch, Upstream, serve};

    /// Enough requests for shares to mean something, few enough for a test.
    const REQUESTS: u64 = 300;

    /// Runs the clients straight against one server until they have seen `requests`, breaking the server at `break_at`.
    async fn seen(requests: u64, fault: Option<Fault>) -> Tally {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let switch = Switch::default();
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Upstream { side: "target".to_owned(), seed: 1 }, switch.clone()));
        let ledger = Ledger::new(clock::instant());
        let (stop, stopped) = watch::channel(false);
        if let Some(fault) = fault {
            ledger.broken();
            switch.set(fault);
        }
        let plan = Plan { address, seed: 1, clients: 8, think: Duration::from_millis(2), marks: OWN_MARKS };
        let mut load = JoinSet::new();
        load.spawn(run(plan, Arc::clone(&ledger), stopped));
        while ledger.tally().requests < requests {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if fault == Some(Fault::Outage) {
                server.abort_all();
            }
        }
        stop.send(true).unwrap();
        load.join_next().await;
        ledger.tally()
    }

    /// Proves that a healthy server gives no failure, that every answer is counted once, and that connections are kept.
    #[tokio::test]
    async fn a_healthy_server_fails_nobody() {
        let tally = seen(REQUESTS, None).await;
        assert!(tally.requests >= REQUESTS);
        assert_eq!(tally.failed, 0, "{tally:?}");
        assert_eq!(tally.by_target, tally.requests, "{tally:?}");
        assert_eq!(tally.by_source, 0);
        assert_eq!(tally.connections, 8, "one connection a client: {tally:?}");
        assert_eq!((tally.spoiled, tally.first_bad_millis, tally.last_bad_millis), (0, None, None));
    }

    /// Proves that 500s are counted as failures, in the share the fault promises, and as spoiled answers.
    #[tokio::test]
    async fn errors_are_counted_in_their_share() {
        let tally = seen(600, Some(Fault::Errors)).await;
        let share = tally.failed_status as f64 / tally.requests as f64;
        assert!((0.22..0.38).contains(&share), "{share}: {tally:?}");
        assert_eq!(tally.failed, tally.failed_status, "{tally:?}");
        assert_eq!(tally.spoiled, tally.failed, "{tally:?}");
        assert!(tally.first_bad_millis.unwrap() <= tally.last_bad_millis.unwrap());
    }

    /// Proves that slow answers are no failures but spoiled all the same.
    #[tokio::test]
    async fn slow_answers_are_spoiled_but_no_failures() {
        let tally = seen(100, Some(Fault::Slow)).await;
        assert_eq!(tally.failed, 0, "{tally:?}");
        assert_eq!(tally.spoiled, tally.requests, "{tally:?}");
    }

    /// Proves that a client gives up on a server that never answers, and says that it was a time-out.
    #[tokio::test]
    async fn silence_is_a_time_out() {
        let tally = seen(8, Some(Fault::Silent)).await;
        assert_eq!(tally.failed, tally.failed_timeout, "{tally:?}");
        assert_eq!(tally.failed, tally.requests, "{tally:?}");
        assert!(tally.first_bad_millis.unwrap() >= CLIENT_TIMEOUT.as_millis() as u64);
    }

    /// Proves that a body sent a byte at a time is a time-out too, though its head was in time.
    #[tokio::test]
    async fn a_dripping_body_is_a_time_out() {
        let tally = seen(8, Some(Fault::Drip)).await;
        assert!(tally.failed_timeout > 0, "{tally:?}");
        assert_eq!(tally.spoiled, tally.requests, "{tally:?}");
    }

    /// Proves that a server that goes away is counted as lost connections, and the clients go on trying.
    #[tokio::test]
    async fn an_outage_is_lost_connections() {
        let tally = seen(40, Some(Fault::Outage)).await;
        assert!(tally.failed_connection > 8, "{tally:?}");
        assert_eq!(tally.spoiled, tally.failed, "{tally:?}");
    }

    /// Proves that a seed gives each client its own questions, the same ones each time.
    #[test]
    fn each_client_has_its_own_questions() {
        let questions = |number| {
            let mut rng = client_rng(9, number);
            (0..50).map(|_| corpus::ask(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(questions(0), questions(0));
        assert_ne!(questions(0), questions(1));
    }
}
