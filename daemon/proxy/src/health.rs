//! Health checks that the proxy sends to endpoints by itself, only where they are configured.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    config::{HealthCheck, Upstream},
    count::SideName,
    state::State,
    tls,
};

/// How much of an answer to a check is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Checks every endpoint of every side that has a check, until it is dropped.
pub(crate) async fn watch(state: Arc<State>) {
    let mut checks = JoinSet::new();
    for name in SideName::BOTH {
        let Some(check) = state.side(name).health.clone().filter(|_| !state.health(name).is_empty()) else { continue };
        for endpoint in 0..state.health(name).len() {
            checks.spawn(endpoint_watch(Arc::clone(&state), name, endpoint, check.clone()));
        }
    }
    while checks.join_next().await.is_some() {}
}

async fn endpoint_watch(state: Arc<State>, name: SideName, endpoint: usize, check: HealthCheck) {
    let mut ticks = tokio::time::interval(check.interval.max(Duration::from_millis(100)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut good, mut bad) = (0_u32, 0_u32);
    loop {
        ticks.tick().await;
        let health = &state.health(name)[endpoint];
        let checked = tokio::time::timeout(check.timeout, ask(&state, name, health.upstream(), &check.path)).await;
        let found =
            checked.unwrap_or_else(|_| Err(format!("no answer to its health check within {:?}", check.timeout)));
        match found {
            Ok(()) => {
                (good, bad) = (good.saturating_add(1), 0);
                if good >= check.threshold {
                    health.checked(None);
                }
            }
            Err(why) => {
                (good, bad) = (0, bad.saturating_add(1));
                if bad >= check.threshold {
                    health.checked(Some(&why));
                }
            }
        }
    }
}

async fn ask(state: &State, name: SideName, upstream: &Upstream, path: &str) -> Result<(), String> {
    let tcp = TcpStream::connect((upstream.host.as_str(), upstream.port)).await;
    let tcp = tcp.map_err(|error| format!("no connection for its health check: {error}"))?;
    if !upstream.tls {
        return ask_over(tcp, upstream, path).await;
    }
    let config = state.client_tls(name).ok_or("the side was given no TLS settings")?;
    let server_name = state.side(name).tls.server_name.as_ref().unwrap_or(&upstream.host).clone();
    let server_name = ServerName::try_from(server_name).map_err(|error| error.to_string())?;
    let tls = tokio_rustls::TlsConnector::from(config).connect(server_name, tcp).await;
    ask_over(tls.map_err(|error| tls::explain(&error))?, upstream, path).await
}

async fn ask_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    upstream: &Upstream,
    path: &str,
) -> Result<(), String> {
    let broken = |error: hyper::Error| format!("its health check broke: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, format!("{}:{}", upstream.host, upstream.port))
        .header(header::USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("its health check cannot be sent: {error}"))?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    let status = answer.status();
    Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| format!("the answer to its health check cannot be read: {error}"))?;
    if status.is_success() { Ok(()) } else { Err(format!("its health check was answered with {status}")) }
}
