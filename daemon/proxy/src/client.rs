//! A client of the control API: what a controller drives proxies in other processes with.
//!
//! Each call opens a connection of its own: calls are rare (about one a second), and a connection that is not kept
//! cannot go stale between them. It never retries; whoever calls knows whether a call may be repeated (all may: they
//! are absolute).

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinSet,
};

use crate::{
    api::{Armed, CloseConnections, Counters, Problem, SetWeight, Status},
    config::ControlAddress,
};

/// The largest answer that is read: counters are a few tens of KiB, histograms included.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How one proxy's control API is reached.
#[derive(Clone)]
pub struct Client {
    address: ControlAddress,
    token: Option<String>,
    timeout: Duration,
}

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection; nothing was changed.
    #[error("cannot connect to the proxy at {address}: {source}")]
    Connect {
        /// Where it was looked for.
        address: ControlAddress,
        /// What the system said.
        source: std::io::Error,
    },
    /// No answer in time; a change may have been applied all the same.
    #[error("the proxy at {address} did not answer {call} within {timeout:?}")]
    Timeout {
        /// Where it was asked.
        address: ControlAddress,
        /// Method and path.
        call: String,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// It answered, and refused.
    #[error("the proxy at {address} refused {call} with {status}: {message}")]
    Refused {
        /// Where it was asked.
        address: ControlAddress,
        /// Method and path.
        call: String,
        /// The status of the answer; 409 is an older generation, 401 a wrong token.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The connection was lost or the answer could not be read; a change may have been applied all the same.
    #[error("cannot read the answer of the proxy at {address} to {call}: {why}")]
    Broken {
        /// Where it was asked.
        address: ControlAddress,
        /// Method and path.
        call: String,
        /// What went wrong.
        why: String,
    },
}

impl ClientError {
    /// Whether the same call may succeed when made again: not when the proxy understood and refused.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Broken { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
        }
    }
}

impl Client {
    /// A client of the proxy at `address`; `token` is needed over TCP; `timeout` is for each whole call.
    pub fn new(address: ControlAddress, token: Option<String>, timeout: Duration) -> Self {
        Self { address, token, timeout }
    }

    /// Where the proxy is.
    pub fn address(&self) -> &ControlAddress {
        &self.address
    }

    /// `GET /v1/status`.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.call(Method::GET, "/v1/status", None::<&()>).await
    }

    /// `PUT /v1/weight`: when it returns, the weight holds for every request whose head is complete from now on.
    pub async fn set_weight(&self, weight: &SetWeight) -> Result<Status, ClientError> {
        self.call(Method::PUT, "/v1/weight", Some(weight)).await
    }

    /// `GET /v1/counters`: everything since the proxy started.
    pub async fn counters(&self) -> Result<Counters, ClientError> {
        self.call(Method::GET, "/v1/counters", None::<&()>).await
    }

    /// `PUT /v1/tripwires`: arms them, or disarms with `None`; a tripwire that fired before is forgotten.
    pub async fn arm(&self, armed: Option<&Armed>) -> Result<Status, ClientError> {
        self.call(Method::PUT, "/v1/tripwires", Some(&armed)).await
    }

    /// `PUT /v1/close`: for a while every reply carries `Connection: close`.
    pub async fn close_connections(&self, close: &CloseConnections) -> Result<Status, ClientError> {
        self.call(Method::PUT, "/v1/close", Some(close)).await
    }

    /// `PUT /v1/reload`: reads certificate, key and client authorities again; old ones stay when the new cannot be used.
    pub async fn reload(&self) -> Result<Status, ClientError> {
        self.call(Method::PUT, "/v1/reload", None::<&()>).await
    }

    async fn call<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl serde::Serialize>,
    ) -> Result<A, ClientError> {
        let call = format!("{method} {path}");
        let body = body.map_or_else(Vec::new, |body| serde_json::to_vec(body).expect("the bodies are plain values"));
        match tokio::time::timeout(self.timeout, self.exchange(method, path, body, &call)).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Timeout { address: self.address.clone(), call, timeout: self.timeout }),
        }
    }

    async fn exchange<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        call: &str,
    ) -> Result<A, ClientError> {
        let connect = |source| ClientError::Connect { address: self.address.clone(), source };
        let host = match &self.address {
            ControlAddress::Unix(_) => "localhost",
            ControlAddress::Tcp(address) => address,
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| self.broken(call, &error))?;
        let (status, bytes) = match &self.address {
            ControlAddress::Unix(path) => {
                self.send(UnixStream::connect(path).await.map_err(connect)?, request, call).await?
            }
            ControlAddress::Tcp(address) => {
                self.send(TcpStream::connect(address).await.map_err(connect)?, request, call).await?
            }
        };
        if !status.is_success() {
            let message = serde_json::from_slice::<Problem>(&bytes)
                .map_or_else(|_| String::from_utf8_lossy(&bytes).into_owned(), |problem| problem.error);
            let (address, call) = (self.address.clone(), call.to_owned());
            return Err(ClientError::Refused { address, call, status: status.as_u16(), message });
        }
        serde_json::from_slice(&bytes).map_err(|error| self.broken(call, &error))
    }

    async fn send(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Full<Bytes>>,
        call: &str,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(call, &error))?;
        // The set ends the connection's task when this call returns or is given up.
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| self.broken(call, &error))?;
        let status = answer.status();
        let bytes = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| self.broken(call, &*error))?
            .to_bytes();
        Ok((status, bytes))
    }

    fn broken(&self, call: &str, why: &dyn std::error::Error) -> ClientError {
        let why = why.source().map_or_else(|| why.to_string(), |source| format!("{why}: {source}"));
        ClientError::Broken { address: self.address.clone(), call: call.to_owned(), why }
    }
}
