//! The control API over HTTP; what it says is in [`crate::api`].
//!
//! Over a Unix socket its permissions decide who may call (its owner alone). Over TCP every call must bear the token. Who
//! only looks whether it lives and is ready, as the kubelet, has a port of its own where it needs none.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs, io,
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
    },
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    task::JoinSet,
};

use crate::{
    api::Problem,
    config::{Control, ControlAddress},
    state::{Refused, State},
};

/// The largest body of a call.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Connections to the control API at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;

/// How long a call may take to come whole.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);

/// A bound control socket.
pub(crate) enum Bound {
    Unix(StdUnixListener),
    Tcp(std::net::TcpListener, String),
    /// The port for probes.
    Probes(std::net::TcpListener),
}

/// Who may ask for what on a connection.
#[derive(Clone)]
enum Guard {
    /// Everything: the socket's permissions have decided.
    Open,
    /// Everything, for who bears the token of this digest.
    Token(Arc<[u8]>),
    /// Probes, for anyone.
    Probes,
}

/// Binds the port for probes, and says where it is.
pub(crate) fn bind_probes(address: SocketAddr) -> io::Result<(Bound, SocketAddr)> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((Bound::Probes(listener), address))
}

/// Binds the control API, and says where it is.
pub(crate) fn bind(control: &Control) -> io::Result<(Bound, ControlAddress)> {
    match control {
        Control::Unix(path) => {
            remove_stale(path)?;
            let listener = StdUnixListener::bind(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            Ok((Bound::Unix(listener), ControlAddress::Unix(path.clone())))
        }
        Control::Tcp { address, token } => {
            if token.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "over TCP it needs a token, and there is none",
                ));
            }
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = ControlAddress::Tcp(listener.local_addr()?.to_string());
            Ok((Bound::Tcp(listener, token.clone()), address))
        }
    }
}

/// A socket that a killed process left behind is removed; one that somebody serves is not taken away.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name that is no socket"))
        }
        Ok(_) if StdUnixStream::connect(path).is_ok() => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it"))
        }
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Serves the control API, or probes, until it is dropped.
pub(crate) async fn serve(state: Arc<State>, bound: Bound) -> io::Result<()> {
    let (listener, guard) = match bound {
        Bound::Unix(listener) => {
            let listener = UnixListener::from_std(listener)?;
            let mut calls = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept(), if calls.len() < CONNECTIONS_MAX => {
                        if let Some((stream, _)) = rest_on_error(accepted).await {
                            calls.spawn(connection(Arc::clone(&state), stream, Guard::Open));
                        }
                    }
                    Some(_) = calls.join_next() => {}
                }
            }
        }
        Bound::Tcp(listener, token) => (listener, Guard::Token(Sha256::digest(token.as_bytes()).as_slice().into())),
        Bound::Probes(listener) => (listener, Guard::Probes),
    };
    let listener = TcpListener::from_std(listener)?;
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if calls.len() < CONNECTIONS_MAX => {
                if let Some((stream, _)) = rest_on_error(accepted).await {
                    calls.spawn(connection(Arc::clone(&state), stream, guard.clone()));
                }
            }
            Some(_) = calls.join_next() => {}
        }
    }
}

async fn rest_on_error<T>(accepted: io::Result<T>) -> Option<T> {
    match accepted {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection to the control API");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn connection(state: Arc<State>, stream: impl AsyncRead + AsyncWrite + Unpin, guard: Guard) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (state, guard) = (Arc::clone(&state), guard.clone());
        async move {
            Ok::<_, Infallible>(match &guard {
                Guard::Probes => probed(&state, &request),
                Guard::Token(token) if !allowed(&request, token) => {
                    problem(StatusCode::UNAUTHORIZED, "the call bears no valid token: send `Authorization: Bearer`")
                }
                Guard::Open | Guard::Token(_) => answer(&state, request).await,
            })
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CALL_TIME_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the control API broke");
    }
}

/// Whether a call bears the token. Digests are compared, so that how long it takes tells nothing of the token.
fn allowed(request: &Request<Incoming>, token: &[u8]) -> bool {
    let given = request.headers().get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let given = match given.split_first_chunk::<7>() {
        Some((scheme, given)) if scheme.eq_ignore_ascii_case(b"bearer ") => given,
        _ => return false,
    };
    let difference = Sha256::digest(given).iter().zip(token).fold(0, |difference, (a, b)| difference | (a ^ b));
    difference == 0
}

async fn answer(state: &State, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let answered = match (&method, path.as_str()) {
        (&Method::GET | &Method::HEAD, "/health") => health(state),
        (&Method::GET | &Method::HEAD, "/ready") => ready(state),
        (&Method::GET, "/v1/status") => Ok(json(&state.status())),
        (&Method::GET, "/metrics") => Ok(counted(crate::metrics::text(&state.counters(), &state.capture()))),
        (&Method::GET, "/v1/counters") => Ok(json(&state.counters())),
        (&Method::PUT, "/v1/weight") => match body(request).await {
            Ok(weight) => state.set_weight(&weight).map(|status| json(&status)).map_err(|why| refused(&why)),
            Err(problem) => Err(problem),
        },
        (&Method::PUT, "/v1/tripwires") => match body(request).await {
            Ok(armed) => state.arm(armed).map(|status| json(&status)).map_err(|why| refused(&why)),
            Err(problem) => Err(problem),
        },
        (&Method::PUT, "/v1/close") => match body(request).await {
            Ok(close) => Ok(json(&state.close_connections(&close))),
            Err(problem) => Err(problem),
        },
        (&Method::PUT, "/v1/reload") => state
            .reload()
            .map(|()| json(&state.status()))
            .map_err(|error| (StatusCode::UNPROCESSABLE_ENTITY, error.to_string())),
        (
            _,
            "/health" | "/ready" | "/metrics" | "/v1/status" | "/v1/counters" | "/v1/weight" | "/v1/tripwires"
            | "/v1/close" | "/v1/reload",
        ) => Err((StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not what {path} is called with"))),
        _ => Err((StatusCode::NOT_FOUND, format!("there is no {path}"))),
    };
    answered.unwrap_or_else(|(status, why)| problem(status, &why))
}

type Answer = Result<Response<Full<Bytes>>, (StatusCode, String)>;

/// Whether it serves.
fn health(state: &State) -> Answer {
    if state.draining() {
        Err((StatusCode::SERVICE_UNAVAILABLE, "it drains".to_owned()))
    } else {
        // Traffic is served, whatever becomes of its capture; who wants to know that reads on.
        let failing = state.capture().into_iter().filter(|capture| !capture.works);
        let failing: BTreeMap<String, Option<String>> =
            failing.map(|capture| (capture.side, capture.failed_why)).collect();
        Ok(json(&serde_json::json!({ "status": "ok", "not_captured": failing })))
    }
}

/// Whether it shall be given traffic.
fn ready(state: &State) -> Answer {
    match state.unready() {
        Some(why) => Err((StatusCode::SERVICE_UNAVAILABLE, why.to_owned())),
        None => Ok(json(&serde_json::json!({ "status": "ok" }))),
    }
}

/// What anyone may ask.
fn probed(state: &State, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let answered = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/health") => health(state),
        (&Method::GET | &Method::HEAD, "/ready") => ready(state),
        (method, "/health" | "/ready") => {
            Err((StatusCode::METHOD_NOT_ALLOWED, format!("a probe is not asked with {method}")))
        }
        (_, path) => Err((StatusCode::NOT_FOUND, format!("there is no {path}: this port answers /health and /ready"))),
    };
    answered.unwrap_or_else(|(status, why)| problem(status, &why))
}

fn refused(refused: &Refused) -> (StatusCode, String) {
    let status = match refused {
        Refused::Older { .. } | Refused::Fired { .. } => StatusCode::CONFLICT,
        Refused::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (status, refused.to_string())
}

async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, (StatusCode, String)> {
    let body = tokio::time::timeout(CALL_TIME_MAX, Limited::new(request.into_body(), BODY_BYTES_MAX).collect()).await;
    let bytes = match body {
        Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "the body did not come in time".to_owned())),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {BODY_BYTES_MAX} bytes")));
        }
        Ok(Err(error)) => return Err((StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}"))),
        Ok(Ok(body)) => body.to_bytes(),
    };
    serde_json::from_slice(&bytes)
        .map_err(|error| (StatusCode::BAD_REQUEST, format!("the body is not understood: {error}")))
}

fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    respond(StatusCode::OK, value)
}

/// Counters for Prometheus.
fn counted(text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    let media_type = http::HeaderValue::from_static(crate::metrics::MEDIA_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

fn problem(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    let mut response = respond(status, &Problem { error: why.to_owned() });
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
    }
    response
}

fn respond(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(value).expect("the bodies are plain values");
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}
