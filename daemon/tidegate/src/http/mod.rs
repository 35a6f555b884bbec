//! The control API: what the command line, the live screen and other programs say to the daemon.
//!
//! Over a Unix socket its permissions decide who may order; over TCP every call needs the token. [`api`] has the calls,
//! [`stream`] the live view, [`metrics`] what Prometheus reads.

pub mod accept;
pub mod api;
pub mod metrics;
pub mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use crate::daemon::Daemon;
use crate::secret::Secret;

/// What every call can use.
#[derive(Clone)]
pub struct App {
    /// All services.
    pub daemon: Arc<Daemon>,
    /// Whether orders are taken: after the journal was gone on with, until the daemon stops.
    pub ready: Arc<AtomicBool>,
}

/// The longest order: a `start` may carry a whole baseline.
const ORDER_BYTES_MAX: usize = cutover::baseline::TEXT_BYTES_MAX + 64 * 1024;

/// Every call there is: method and path, as in the OpenAPI document.
pub const ROUTES: [(&str, &str); 11] = [
    ("get", "/v1/cutovers"),
    ("get", "/v1/cutovers/{service}"),
    ("post", "/v1/cutovers/{service}/orders"),
    ("get", "/v1/cutovers/{service}/journal"),
    ("get", "/v1/cutovers/{service}/past"),
    ("get", "/v1/cutovers/{service}/events"),
    ("get", "/v1/counters"),
    ("get", "/v1/openapi.json"),
    ("get", "/metrics"),
    ("get", "/health"),
    ("get", "/ready"),
];

/// The API without a token, for the Unix socket.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/v1/cutovers", get(api::list))
        .route("/v1/cutovers/{service}", get(api::show))
        .route("/v1/cutovers/{service}/orders", post(api::order).layer(DefaultBodyLimit::max(ORDER_BYTES_MAX)))
        .route("/v1/cutovers/{service}/journal", get(api::journal))
        .route("/v1/cutovers/{service}/past", get(api::past))
        .route("/v1/cutovers/{service}/events", get(stream::events))
        .route("/v1/counters", get(api::counters))
        .route("/v1/openapi.json", get(api::openapi))
        .route("/metrics", get(metrics::metrics))
        .route("/health", get(api::health))
        .route("/ready", get(api::ready))
        .with_state(app)
}

/// The API behind a token, for TCP. Health and readiness need none: a load balancer has no secrets.
pub fn guarded(app: App, token: Secret) -> Router {
    router(app).layer(axum::middleware::from_fn_with_state(token, check))
}

async fn check(State(token): State<Secret>, request: Request, next: Next) -> Response {
    let open = matches!(request.uri().path(), "/health" | "/ready");
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    if open || given.is_some_and(|given| same(given.as_bytes(), token.reveal().as_bytes())) {
        return next.run(request).await;
    }
    let problem = api::problem(StatusCode::UNAUTHORIZED, "this call needs `Authorization: Bearer TOKEN`");
    ([(WWW_AUTHENTICATE, "Bearer")], problem).into_response()
}

/// Compares in a time that does not tell where the first difference is.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

impl App {
    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }
}
