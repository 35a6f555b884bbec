//! Connections from a node to targets, kept open between requests as an ALB keeps them.
//!
//! A kept connection that turns out to be closed before the request was written is replaced by a new one; one that dies
//! with the request written is a 502, which is what clients of an ALB see when a target keeps connections for a shorter
//! time than the load balancer does (ELB guide, "HTTP 502").

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Connections;
use super::tasks::Tasks;

/// How long a connection to a target may take to be made (ELB guide, "HTTP 504": "the connection timeout (10 seconds)").
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The most connections that are kept to one target.
const KEPT_MAX: usize = 256;

/// Why a target did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection: refused or reset.
    Refused,
    /// No connection in time.
    ConnectTimeout,
    /// The connection ended, or what came was no HTTP.
    Broken,
    /// Connected, and nothing came in time.
    Silent,
}

impl Failure {
    /// The status that an ALB makes of it.
    pub(super) fn status(self) -> u16 {
        match self {
            Self::Refused | Self::Broken => 502,
            Self::ConnectTimeout | Self::Silent => 504,
        }
    }

    /// Whether it counts as a connection that could not be made.
    pub(super) fn is_connection_error(self) -> bool {
        matches!(self, Self::Refused | Self::ConnectTimeout)
    }
}

/// The connections of one node.
#[derive(Debug, Default)]
pub(super) struct Pool {
    kept: Mutex<BTreeMap<SocketAddr, Vec<SendRequest<Incoming>>>>,
    tasks: Tasks,
}

impl Pool {
    /// Sends a request and waits for the head of the answer, for at most `patience` of real time after it is connected.
    pub(super) async fn send(
        &self,
        to: SocketAddr,
        mut request: Request<Incoming>,
        patience: Duration,
        connections: &Arc<Connections>,
    ) -> Result<Response<Incoming>, Failure> {
        loop {
            let kept = self.take(to);
            let reused = kept.is_some();
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.connect(to, connections).await?,
            };
            let answer = tokio::time::timeout(patience, sender.try_send_request(request)).await;
            match answer {
                Err(_) => return Err(Failure::Silent),
                Ok(Ok(answer)) => {
                    self.keep(to, sender);
                    return Ok(answer);
                }
                Ok(Err(mut why)) => match why.take_message() {
                    Some(unsent) if reused => request = unsent,
                    _ => return Err(Failure::Broken),
                },
            }
        }
    }

    /// Forgets the connections that nobody uses any more.
    pub(super) fn sweep(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
    }

    fn take(&self, to: SocketAddr) -> Option<SendRequest<Incoming>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = kept.get_mut(&to)?;
        senders.retain(|sender| !sender.is_closed());
        // One whose last answer is still being read is not ready yet; it stays for later.
        let ready = senders.iter().position(SendRequest::is_ready)?;
        Some(senders.swap_remove(ready))
    }

    fn keep(&self, to: SocketAddr, sender: SendRequest<Incoming>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = kept.entry(to).or_default();
        if senders.len() < KEPT_MAX {
            senders.push(sender);
        }
    }

    async fn connect(&self, to: SocketAddr, connections: &Arc<Connections>) -> Result<SendRequest<Incoming>, Failure> {
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(to)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) => return Err(Failure::Refused),
            Err(_) => return Err(Failure::ConnectTimeout),
        };
        // Small requests must not wait for acknowledgements; a stream that cannot be told so still works.
        let _ = stream.set_nodelay(true);
        let handshake = http1::Builder::new().preserve_header_case(true).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|_| Failure::Broken)?;
        let open = connections.open();
        self.tasks.spawn(async move {
            // How it ends is seen by whoever waits for an answer on it.
            let _ = connection.with_upgrades().await;
            drop(open);
        });
        Ok(sender)
    }
}
