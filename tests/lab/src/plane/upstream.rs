//! The servers behind target groups that the lab brings along: proxies of the source and of the target, as they look from
//! a load balancer. They really listen, and answer 200 to any path, after a time drawn from a distribution with a body and
//! a tail; by script they fail, slow down, fall silent or are gone.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::tasks::Tasks;

/// The header field that says whose cluster answered: `source-cluster`, `target-cluster`.
pub const SERVED_BY: &str = "x-lab-cluster";
/// The header field of an answer that a script made wrong or slow.
pub const SPOILED_BY: &str = "x-lab-fault";

/// How soon a server that is to come back tries its port again, should something else have taken it.
const REBIND_EVERY: Duration = Duration::from_millis(200);

/// What a server does with connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manner {
    /// Answers.
    #[default]
    Serves,
    /// Does not listen: connections are refused, and those that are open are cut.
    Gone,
    /// Accepts, and never answers.
    Silent,
    /// Accepts, reads a request, and closes the connection.
    Cuts,
}

/// How the servers of a target group behave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// What they do with connections.
    pub manner: Manner,
    /// Which share of requests gets `error_status`, 0 to 1.
    pub error_share: f64,
    /// What an error is.
    pub error_status: u16,
    /// The median time to an answer, in real milliseconds.
    pub median_ms: f64,
    /// How wide the body of the distribution is: the standard deviation of its logarithm.
    pub spread: f64,
    /// Which share of answers is in the tail, 0 to 1.
    pub tail_share: f64,
    /// How many times as long those take.
    pub tail_factor: f64,
    /// How many times as long everything takes.
    pub latency_factor: f64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            manner: Manner::Serves,
            error_share: 0.0,
            error_status: 500,
            median_ms: 4.0,
            spread: 0.3,
            tail_share: 0.02,
            tail_factor: 5.0,
            latency_factor: 1.0,
        }
    }
}

impl Behaviour {
    /// How long the next answer takes, in real time; never more than a minute.
    fn latency(&self) -> Duration {
        // Box and Muller: two even numbers make a normal one.
        let (radius, angle) = ((-2.0 * (1.0 - fastrand::f64()).ln()).sqrt(), std::f64::consts::TAU * fastrand::f64());
        let body = self.median_ms * (self.spread * radius * angle.cos()).exp() * self.latency_factor;
        let all = if fastrand::f64() < self.tail_share { body * self.tail_factor } else { body };
        Duration::from_secs_f64((all / 1000.0).clamp(0.0, 60.0))
    }
}

/// All servers that the lab runs.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    /// By the id and port that a target group knows them by, or by the ARN of a task and 0.
    running: Mutex<BTreeMap<(String, u16), Running>>,
}

#[derive(Debug)]
struct Running {
    address: SocketAddr,
    /// Ends the server when it is dropped.
    _tasks: Tasks,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upstreams {
    /// Where the server runs that stands for this id and port.
    pub(super) fn address(&self, id: &str, port: u16) -> Option<SocketAddr> {
        locked(&self.running).get(&(id.to_owned(), port)).map(|running| running.address)
    }

    /// Starts a server for this id and port if there is none. `cluster` is what it says that it is.
    ///
    /// # Errors
    /// When the system gives no port.
    pub(super) async fn start(
        &self,
        id: &str,
        port: u16,
        behaviour: watch::Receiver<Behaviour>,
        cluster: &str,
    ) -> std::io::Result<SocketAddr> {
        if let Some(address) = self.address(id, port) {
            return Ok(address);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let tasks = Tasks::default();
        tasks.spawn(run(listener, address, behaviour, cluster.into()));
        locked(&self.running).insert((id.to_owned(), port), Running { address, _tasks: tasks });
        Ok(address)
    }

    /// Ends the servers that `keep` does not want.
    pub(super) fn retain(&self, keep: impl Fn(&str, u16) -> bool) {
        locked(&self.running).retain(|(id, port), _| keep(id, *port));
    }
}

/// Runs one server for as long as it is wanted.
async fn run(mut listener: TcpListener, address: SocketAddr, behaviour: watch::Receiver<Behaviour>, cluster: Arc<str>) {
    let mut changes = behaviour.clone();
    loop {
        let connections = Tasks::default();
        // Serves until it is to be gone.
        while changes.borrow_and_update().manner != Manner::Gone {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        connections.spawn(serve(stream, behaviour.clone(), Arc::clone(&cluster)));
                    }
                }
                told = changes.changed() => if told.is_err() { return },
            }
        }
        // Nothing may answer on the port now, so the listener goes; connections go with their tasks.
        connections.stop().await;
        drop(listener);
        if changes.wait_for(|behaviour| behaviour.manner != Manner::Gone).await.is_err() {
            return;
        }
        listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(REBIND_EVERY).await,
            }
        };
    }
}

async fn serve(stream: TcpStream, behaviour: watch::Receiver<Behaviour>, cluster: Arc<str>) {
    let _ = stream.set_nodelay(true);
    let cut = Arc::new(tokio::sync::Notify::new());
    let service = service_fn(|request: Request<Incoming>| {
        let (behaviour, cluster, cut) = (behaviour.borrow().clone(), Arc::clone(&cluster), Arc::clone(&cut));
        async move {
            match behaviour.manner {
                Manner::Serves => {}
                Manner::Cuts => {
                    cut.notify_one();
                    std::future::pending::<()>().await;
                }
                Manner::Gone | Manner::Silent => std::future::pending::<()>().await,
            }
            Ok::<_, Infallible>(answer(request, &behaviour, &cluster).await)
        }
    });
    let mut connection = std::pin::pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // However it ended, the other end has seen it.
        _ = connection.as_mut() => {}
        () = cut.notified() => {}
    }
}

/// The answer to one request.
async fn answer(request: Request<Incoming>, behaviour: &Behaviour, cluster: &str) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    // The body has to be read for the connection to be kept; a client that leaves in the middle ends it anyway.
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    tokio::time::sleep(behaviour.latency()).await;
    let failed = fastrand::f64() < behaviour.error_share;
    let status = if failed { behaviour.error_status } else { 200 };
    let mut answer = Response::new(Full::new(Bytes::from(text(&path, status, cluster))));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    if let Ok(cluster) = HeaderValue::from_str(cluster) {
        headers.insert(SERVED_BY, cluster);
    }
    if failed || behaviour.latency_factor > 1.0 {
        headers.insert(SPOILED_BY, HeaderValue::from_static(if failed { "error" } else { "slow" }));
    }
    answer
}

/// What a search cluster would say: enough of it for a look at its name, version and health.
fn text(path: &str, status: u16, cluster: &str) -> String {
    match (status, path) {
        (400.., _) => format!(r#"{{"error":{{"type":"lab","reason":"by script"}},"status":{status}}}"#),
        (_, "/") => format!(
            r#"{{"name":"{cluster}-node-1","cluster_name":"{cluster}","cluster_uuid":"{cluster}","version":{{"distribution":"opensearch","number":"2.19.1"}},"tagline":"The OpenSearch Project: https://opensearch.org/"}}"#
        ),
        (_, "/_cluster/health") => format!(
            r#"{{"cluster_name":"{cluster}","status":"green","timed_out":false,"number_of_nodes":3,"number_of_data_nodes":3,"active_primary_shards":1,"active_shards":2,"unassigned_shards":0}}"#
        ),
        _ => r#"{"took":1,"timed_out":false,"errors":false,"_shards":{"total":1,"successful":1,"failed":0},"hits":{"total":{"value":0,"relation":"eq"},"hits":[]},"items":[]}"#.to_owned(),
    }
}
