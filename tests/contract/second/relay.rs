//! What stands between a client and a stand-in of AWS: it passes calls on, and may change them and their answers.
//!
//! Two things are made of it: the translation by which moto is asked for metrics, and stand-ins that are wrong on purpose.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How long one call may take: moto answers one at a time, and a cold one loads a service first.
const CALL_MAX: Duration = Duration::from_secs(20);

/// A client that keeps nothing between calls but its connections.
pub(crate) type Http = Client<HttpConnector, Full<Bytes>>;

/// A client.
pub(crate) fn client() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

/// A call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Its answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What is changed on the way. Unchanged, if nothing is said.
pub(crate) trait Twist: Send + Sync {
    /// Changes a call.
    fn call(&self, _call: &mut Call) {}

    /// Changes the answer to `call`, which is as the client sent it.
    fn answer(&self, _call: &Call, _answer: &mut Answer) {}
}

/// A relay that runs. Dropping it ends it.
pub(crate) struct Relay {
    /// Where clients ask.
    pub(crate) endpoint: String,
    _serving: JoinSet<()>,
}

impl Relay {
    /// Passes on to `upstream`.
    pub(crate) async fn start(upstream: &str, twist: Arc<dyn Twist>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (upstream, http) = (upstream.to_owned(), client());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (upstream, http, twist) = (upstream.clone(), http.clone(), Arc::clone(&twist));
                connections.spawn(async move {
                    let service = service_fn(|request| {
                        let (upstream, http, twist) = (upstream.clone(), http.clone(), Arc::clone(&twist));
                        async move { Ok::<_, Infallible>(pass(&upstream, &http, &*twist, request).await) }
                    });
                    // A client that leaves in the middle is no concern of anybody's.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { endpoint, _serving: serving }
    }
}

/// One call through.
async fn pass(upstream: &str, http: &Http, twist: &dyn Twist, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let original = Call { path, headers: head.headers, body };
    let mut call = original.clone();
    twist.call(&mut call);
    match send(upstream, http, call).await {
        Ok(mut answer) => {
            twist.answer(&original, &mut answer);
            let mut response = Response::new(Full::new(answer.body));
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers;
            response.headers_mut().remove(CONTENT_LENGTH);
            response.headers_mut().remove(TRANSFER_ENCODING);
            response
        }
        Err(why) => {
            let mut response = Response::new(Full::new(Bytes::from(why)));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}

/// Sends a call to an endpoint.
///
/// # Errors
/// What went wrong on the way, in words.
pub(crate) async fn send(endpoint: &str, http: &Http, call: Call) -> Result<Answer, String> {
    let mut request = Request::post(format!("{endpoint}{}", call.path));
    if let Some(headers) = request.headers_mut() {
        *headers = call.headers;
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
    }
    let request = request.body(Full::new(call.body)).map_err(|error| error.to_string())?;
    let answered = async {
        let response = http.request(request).await.map_err(|error| format!("{endpoint} cannot be asked: {error}"))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| format!("the answer of {endpoint} broke off: {error}"))?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    };
    let answered = tokio::time::timeout(CALL_MAX, answered).await;
    answered.unwrap_or_else(|_| Err(format!("{endpoint} did not answer within {CALL_MAX:?}")))
}
