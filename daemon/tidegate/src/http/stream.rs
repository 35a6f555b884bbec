//! The live view: server-sent events, one for each answer of the control loop.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use cutover::price;
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{self, error::RecvError};

use super::App;
use crate::controller::{Running, View};

/// After so long without an answer a comment is sent, so that a dead connection is noticed. It is also how long the end
/// of the loop may go unnoticed.
const STILL_THERE_EVERY: Duration = Duration::from_secs(1);

/// What one event carries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Update {
    /// The cutover after the answer.
    pub view: View,
    /// What a revert would cost then.
    pub price: cutover::Price,
}

/// The cutover as it is, then every answer: `event: view`, with view and price as JSON. Ends when the cutover is closed
/// or the daemon stops.
#[utoipa::path(
    get,
    path = "/v1/cutovers/{service}/events",
    params(("service" = String, Path, description = "The service's name")),
    responses(
        (status = 200, description = "Server-sent events", content_type = "text/event-stream"),
        (status = 404, description = "No such service, or it has no cutover"),
    )
)]
pub(super) async fn events(State(app): State<App>, Path(service): Path<String>) -> Response {
    let running = match app.daemon.running(&service) {
        Ok(running) => running,
        Err(refused) => return refused.into_response(),
    };
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    (headers, Body::new(Events::new(running))).into_response()
}

type Next = Pin<Box<dyn Future<Output = (Option<Bytes>, Source)> + Send>>;

/// A body that waits for the next answer when it is asked for more: nothing is queued beside the story itself.
struct Events {
    first: Option<Bytes>,
    next: Option<Next>,
}

struct Source {
    story: broadcast::Receiver<Arc<View>>,
    running: Running,
}

impl Events {
    fn new(running: Running) -> Self {
        // Listening begins before the first view is taken, so that nothing falls between the two.
        let story = running.story();
        let first = Some(line(&running.view()));
        Self { first, next: Some(Box::pin(wait(Source { story, running }))) }
    }
}

fn line(view: &View) -> Bytes {
    let update = Update { price: price(&view.cutover, view.at), view: view.clone() };
    let json = serde_json::to_string(&update).expect("a view is plain values with text for keys");
    Bytes::from(format!("event: view\ndata: {json}\n\n"))
}

async fn wait(mut source: Source) -> (Option<Bytes>, Source) {
    let next = match tokio::time::timeout(STILL_THERE_EVERY, source.story.recv()).await {
        Ok(Ok(view)) => Some(line(&view)),
        // The reader was too slow: it gets what is now, which is what it wants to show.
        Ok(Err(RecvError::Lagged(_))) => {
            source.story = source.story.resubscribe();
            Some(line(&source.running.view()))
        }
        Ok(Err(RecvError::Closed)) => None,
        Err(_) if source.running.has_ended() => None,
        Err(_) => Some(Bytes::from_static(b": still here\n\n")),
    };
    (next, source)
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(bytes) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let Some(next) = self.next.as_mut() else { return Poll::Ready(None) };
        match next.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready((Some(bytes), source)) => {
                self.next = Some(Box::pin(wait(source)));
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Poll::Ready((None, _)) => {
                self.next = None;
                Poll::Ready(None)
            }
        }
    }
}
