//! The calls of the control API, and the document that describes them.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::OpenApi;

use super::App;
use crate::daemon::{OrderRequest, Refused};
use crate::port::in_one_line;
use crate::store::{ENTRIES_MAX, End};

/// The longest name of who orders, in bytes.
const ACTOR_BYTES_MAX: usize = 200;

/// The longest reason of an order, in bytes: the journal repeats it in each entry while it stands.
const REASON_BYTES_MAX: usize = 2000;

/// What the answer to a refused call says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong, and what to do.
    pub error: String,
}

/// A refusal with its status.
pub(super) fn problem(status: StatusCode, error: impl Into<String>) -> Response {
    (status, Json(Problem { error: error.into() })).into_response()
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Unknown { .. } | Self::Idle { .. } => StatusCode::NOT_FOUND,
            Self::Verb { .. } | Self::Misplaced => StatusCode::BAD_REQUEST,
            Self::Policy { .. } | Self::Baseline(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Standing { .. } | Self::Taken { .. } => StatusCode::CONFLICT,
            Self::Order(_) | Self::Run(_) | Self::Port(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        problem(status, in_one_line(&self))
    }
}

/// Every service with its last cutover in a line.
#[utoipa::path(get, path = "/v1/cutovers", responses((status = 200, description = "A list of summaries")))]
pub(super) async fn list(State(app): State<App>) -> Response {
    Json(app.daemon.list()).into_response()
}

/// One service in full: the cutover, its evidence, the price of a revert, and the policy file.
#[utoipa::path(
    get,
    path = "/v1/cutovers/{service}",
    params(("service" = String, Path, description = "The service's name")),
    responses((status = 200, description = "The service in full"), (status = 404, description = "No such service"))
)]
pub(super) async fn show(State(app): State<App>, Path(service): Path<String>) -> Response {
    match app.daemon.detail(&service) {
        Ok(detail) => Json(detail).into_response(),
        Err(refused) => refused.into_response(),
    }
}

/// Gives an order. A refused one changes nothing and is answered with 409 and why.
#[utoipa::path(
    post,
    path = "/v1/cutovers/{service}/orders",
    params(("service" = String, Path, description = "The service's name")),
    request_body(
        content_type = "application/json",
        content = serde_json::Value,
        description = "`verb` (start, advance, hold, pause, resume, revert, abort, close), `actor`, `reason`, with resume `adopt_policy`, with start `baseline` (`name` and the whole `document`)"
    ),
    responses(
        (status = 200, description = "Accepted; with the reason, the phase and the journal entry"),
        (status = 400, description = "Not an order"),
        (status = 404, description = "No such service, or it has no cutover"),
        (status = 409, description = "Refused, and why"),
        (status = 422, description = "The policy cannot be used"),
        (status = 503, description = "Not now"),
    )
)]
pub(super) async fn order(
    State(app): State<App>,
    Path(service): Path<String>,
    request: Result<Json<OrderRequest>, JsonRejection>,
) -> Response {
    let request = match request {
        Ok(Json(request)) => request,
        Err(rejection) => return problem(StatusCode::BAD_REQUEST, rejection.body_text()),
    };
    if !app.is_ready() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the daemon starts or stops; try again");
    }
    if request.actor.trim().is_empty() || request.reason.trim().is_empty() {
        return problem(StatusCode::BAD_REQUEST, "an order needs `actor` and `reason`: the journal keeps both");
    }
    for (name, text, max) in [("actor", &request.actor, ACTOR_BYTES_MAX), ("reason", &request.reason, REASON_BYTES_MAX)]
    {
        // They are printed on terminals, in logs and alerts, where a control character would be obeyed.
        if text.len() > max || text.chars().any(char::is_control) {
            let why = format!("`{name}` must be one line of {max} bytes at most, without control characters");
            return problem(StatusCode::BAD_REQUEST, why);
        }
    }
    match Box::pin(app.daemon.order(&service, request)).await {
        Ok(answer) if answer.accepted => Json(answer).into_response(),
        Ok(answer) => (StatusCode::CONFLICT, Json(answer)).into_response(),
        Err(refused) => refused.into_response(),
    }
}

/// Which entries are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// Only of this cutover.
    cutover: Option<String>,
    /// Only those after this entry.
    #[serde(default)]
    after: u64,
    /// At most so many, the oldest.
    limit: Option<usize>,
    /// Instead: so many, the newest.
    last: Option<usize>,
}

/// The service's journal, oldest first.
#[utoipa::path(
    get,
    path = "/v1/cutovers/{service}/journal",
    params(
        ("service" = String, Path, description = "The service's name"),
        ("cutover" = Option<String>, Query, description = "Only of this cutover"),
        ("after" = Option<u64>, Query, description = "Only entries after this one"),
        ("limit" = Option<usize>, Query, description = "At most so many, the oldest; 1000 is the most"),
        ("last" = Option<usize>, Query, description = "Instead of `limit`: so many, the newest; oldest first as well"),
    ),
    responses((status = 200, description = "A list of entries"), (status = 404, description = "No such service"))
)]
pub(super) async fn journal(State(app): State<App>, Path(service): Path<String>, Query(page): Query<Page>) -> Response {
    let (limit, end) = match page.last {
        Some(last) => (last, End::Newest),
        None => (page.limit.unwrap_or(ENTRIES_MAX), End::Oldest),
    };
    match app.daemon.history(&service, page.cutover, page.after, limit, end).await {
        Ok(entries) => Json(entries).into_response(),
        Err(refused) => refused.into_response(),
    }
}

/// How far back is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Back {
    /// Seconds.
    seconds: u64,
}

/// What is still known of the service's past, by minutes, for a baseline.
#[utoipa::path(
    get,
    path = "/v1/cutovers/{service}/past",
    params(
        ("service" = String, Path, description = "The service's name"),
        ("seconds" = u64, Query, description = "How far back"),
    ),
    responses(
        (status = 200, description = "A list of observations, oldest first and without gaps; empty where nothing is kept"),
        (status = 404, description = "No such service"),
    )
)]
pub(super) async fn past(State(app): State<App>, Path(service): Path<String>, Query(back): Query<Back>) -> Response {
    match app.daemon.past(&service, Duration::from_secs(back.seconds)).await {
        Ok(rows) => Json(rows).into_response(),
        Err(refused) => refused.into_response(),
    }
}

/// Everything that the daemon's own proxy counted since it started, as a proxy's own control API says it.
#[utoipa::path(
    get,
    path = "/v1/counters",
    responses((status = 200, description = "Counters of both sides"), (status = 404, description = "No own proxy"))
)]
pub(super) async fn counters(State(app): State<App>) -> Response {
    match app.daemon.own_counters() {
        Some(counters) => Json(counters).into_response(),
        None => problem(StatusCode::NOT_FOUND, "this daemon runs no proxy of its own; ask the proxies themselves"),
    }
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", responses((status = 200, description = "An OpenAPI 3.1 document")))]
pub(super) async fn openapi() -> Response {
    Json(document()).into_response()
}

/// Whether the process lives; it answers, so it does.
#[utoipa::path(get, path = "/health", responses((status = 200, description = "It lives")))]
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// Whether orders are taken.
#[utoipa::path(
    get,
    path = "/ready",
    responses((status = 200, description = "Orders are taken"), (status = 503, description = "Not yet, or not any more"))
)]
pub(super) async fn ready(State(app): State<App>) -> Response {
    if app.is_ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Tidegate control API", description = "What the command line and the live screen are made of."),
    paths(
        list,
        show,
        order,
        journal,
        past,
        counters,
        super::stream::events,
        openapi,
        super::metrics::metrics,
        health,
        ready
    )
)]
struct Document;

/// The document that describes the API.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}
