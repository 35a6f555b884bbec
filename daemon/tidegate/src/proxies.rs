//! Our own proxies as the adapters see them: in this process or behind their control API, the same calls for both.
//!
//! It speaks to one proxy at a time and knows nothing of weights agreeing, windows or health; that is the adapters'. Which there
//! are is in [`place`], which of them have only just come in `starting`; what one is given that came up and waits for its weight, in
//! [`welcome`].

mod place;
mod starting;
pub mod welcome;

use std::sync::Arc;
use std::time::Duration;

use cutover::Share;
use proxy::api::{Armed, CloseConnections, Counters, SetWeight, Status};
use proxy::client::{Client, ClientError};
use proxy::config::ControlAddress;
use proxy::{Handle, Refused};
use tokio::task::JoinSet;

pub use self::place::{BEHIND_MAX, Known, Name, Place, Proxies};
use self::starting::Start;
use crate::clock;
use crate::port::{PortError, in_one_line};

/// How long one call to a proxy may take. Answers come in milliseconds; a proxy that needs longer is in trouble.
pub const CALL_MAX: Duration = Duration::from_secs(2);

/// One proxy.
#[derive(Clone)]
pub struct Remote {
    name: Arc<str>,
    /// How a policy names it, or those that it is one of.
    place: Arc<str>,
    way: Way,
    /// Since when it is there, where that is known.
    start: Option<Arc<Start>>,
}

#[derive(Clone)]
enum Way {
    InProcess(Handle),
    Api(Client),
}

/// A call to a proxy that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct RemoteError {
    /// What went wrong, with the proxy's name.
    pub why: String,
    /// Whether it may succeed when made again.
    pub transient: bool,
    /// Whether it was refused because a later change was applied already.
    pub outdated: bool,
}

impl RemoteError {
    /// The same as an error of a port.
    pub fn of(self, port: &'static str) -> PortError {
        if self.transient { PortError::later(port, self) } else { PortError::never(port, self) }
    }
}

impl From<ClientError> for RemoteError {
    fn from(error: ClientError) -> Self {
        let outdated = matches!(&error, ClientError::Refused { status: 409, .. });
        // Who reads the status first and writes then may well succeed after a conflict.
        Self { why: in_one_line(&error), transient: outdated || error.is_transient(), outdated }
    }
}

impl From<Refused> for RemoteError {
    fn from(refused: Refused) -> Self {
        let outdated = matches!(refused, Refused::Older { .. } | Refused::Fired { .. });
        Self { why: format!("the own proxy refused: {refused}"), transient: outdated, outdated }
    }
}

impl Remote {
    /// A proxy that runs in this process.
    pub fn in_process(handle: Handle) -> Self {
        let name: Arc<str> = Arc::from("own proxy");
        Self { place: Arc::clone(&name), name, way: Way::InProcess(handle), start: None }
    }

    /// A proxy behind its control API; `token` is needed over TCP.
    pub fn api(address: ControlAddress, token: Option<String>) -> Self {
        let name: Arc<str> = Arc::from(address.to_string());
        Self { place: Arc::clone(&name), name, way: Way::Api(Client::new(address, token, CALL_MAX)), start: None }
    }

    /// Its name: the address of its control API.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How a policy names it: the same, or the name in DNS that it was found behind.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whether it came a moment ago and has not answered yet: it has no traffic by a weight of ours, and is given one when it does.
    pub fn is_starting(&self) -> bool {
        self.start.as_ref().is_some_and(|start| start.lasts(clock::instant()))
    }

    /// It answered.
    fn heard(&self) {
        if let Some(start) = &self.start {
            start.end();
        }
    }

    /// What it is and does now.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self) -> Result<Status, RemoteError> {
        match &self.way {
            Way::InProcess(handle) => Ok(handle.status()),
            Way::Api(client) => Ok(client.status().await.inspect(|_| self.heard())?),
        }
    }

    /// Sets its weight.
    ///
    /// # Errors
    /// When it refuses or does not answer; then it may have been set all the same.
    pub async fn set_weight(&self, share: Share, generation: u64) -> Result<Status, RemoteError> {
        let (reads, writes) = (share.reads.per_mille(), share.writes.per_mille());
        let weight = SetWeight { target: reads, reads: Some(reads), writes: Some(writes), generation };
        match &self.way {
            Way::InProcess(handle) => handle.set_weight(&weight).map_err(RemoteError::from),
            Way::Api(client) => Ok(client.set_weight(&weight).await?),
        }
    }

    /// Everything it counted since it started.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn counters(&self) -> Result<Counters, RemoteError> {
        match &self.way {
            Way::InProcess(handle) => Ok(handle.counters()),
            Way::Api(client) => Ok(client.counters().await.inspect(|_| self.heard())?),
        }
    }

    /// Arms or disarms its tripwires; one that fired before is forgotten.
    ///
    /// # Errors
    /// When it refuses or does not answer.
    pub async fn arm(&self, armed: Option<&Armed>) -> Result<Status, RemoteError> {
        match &self.way {
            Way::InProcess(handle) => handle.arm(armed.cloned()).map_err(RemoteError::from),
            Way::Api(client) => Ok(client.arm(armed).await?),
        }
    }

    /// Lets its replies carry `Connection: close` for a while.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn close_connections(&self, millis: u64) -> Result<Status, RemoteError> {
        let close = CloseConnections { millis };
        match &self.way {
            Way::InProcess(handle) => Ok(handle.close_connections(&close)),
            Way::Api(client) => Ok(client.close_connections(&close).await?),
        }
    }
}

/// Calls every proxy at once and waits for all answers, in the order of `remotes`. When the future is dropped the calls
/// are given up.
pub async fn each<T, F>(remotes: &[Remote], call: impl Fn(Remote) -> F) -> Vec<(Remote, Result<T, RemoteError>)>
where
    T: Send + 'static,
    F: Future<Output = Result<T, RemoteError>> + Send + 'static,
{
    let mut calls = JoinSet::new();
    for (index, remote) in remotes.iter().enumerate() {
        let answer = call(remote.clone());
        calls.spawn(async move { (index, answer.await) });
    }
    let mut answers: Vec<Option<Result<T, RemoteError>>> = remotes.iter().map(|_| None).collect();
    while let Some(ended) = calls.join_next().await {
        let (index, answer) = ended.expect("a call to a proxy does not panic, and nobody else can abort it");
        answers[index] = Some(answer);
    }
    let answers = answers.into_iter().map(|answer| answer.expect("each call ends"));
    remotes.iter().cloned().zip(answers).collect()
}
