//! The front door: HTTP in and out, and the ways in which an answer can fail to arrive.
//!
//! Every service is behind one address, as `AWS_ENDPOINT_URL` has it; the lab's own API is under `/_lab/`. The `Date` of
//! an answer is lab time: clients that take the time from AWS take the lab's.

use std::fmt;
use std::io;
use std::net::TcpStream as StdStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::cloudwatch;
use crate::faults::{FaultName, Strike};
use crate::history::CallNote;
use crate::later::Job;
use crate::model::Refusal;
use crate::shared::Shared;
use crate::wire::{self, Call, Protocol};
use crate::{lab_api, operate};

/// Connections at once; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 1024;
/// The largest body of a call; `PutMetricData` takes a megabyte.
pub const BODY_BYTES_MAX: usize = 2 << 20;
/// How long a connection may take to send the head of its next request, in real time.
const HEAD_MAX: Duration = Duration::from_secs(75);
/// How late a delayed write is if its rule does not say.
const DELAY: Duration = Duration::from_secs(30);

static CALLS: AtomicU64 = AtomicU64::new(0);

/// Serves until `stopped` says so.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accept = async {
            let permit = Arc::clone(&free).acquire_owned().await.expect("nobody closes it");
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            accepted = accept => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    // A client that goes away is no news.
                    drop(connection(shared, stream).await);
                    drop(permit);
                });
            }
            // Out of descriptors, most likely: who is here must go before anyone else can come.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream) -> io::Result<()> {
    let stream = stream.into_std()?;
    // A second handle on the same socket, to tell the kernel that closing it shall reset the connection.
    let handle = Arc::new(stream.try_clone()?);
    let stream = TcpStream::from_std(stream)?;
    stream.set_nodelay(true)?;
    let service = service_fn(move |request| {
        let (shared, handle) = (Arc::clone(&shared), Arc::clone(&handle));
        async move { answer(&shared, request, &handle).await }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    builder.serve_connection(TokioIo::new(stream), service).await.map_err(io::Error::other)
}

/// No answer: the connection ends.
#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was broken by a fault")
    }
}

impl std::error::Error for Broken {}

fn reset(handle: &StdStream) -> Broken {
    // If the kernel will not, the connection ends in order, which to a client that waits for an answer is as bad.
    drop(SockRef::from(handle).set_linger(Some(Duration::ZERO)));
    Broken
}

async fn answer(shared: &Shared, request: Request<Incoming>, handle: &StdStream) -> Result<Response<LabBody>, Broken> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(finish(shared, operate::build(413, "text/plain", Bytes::new()))),
    };
    let path = head.uri.path();
    if let Some(rest) = path.strip_prefix("/_lab/") {
        return Ok(finish(shared, lab_api::answer(shared, &head.method, rest, head.uri.query(), &body)));
    }
    if head.method != Method::POST && path == "/" && head.uri.query().is_none() {
        let words = "a lab: POST calls of AWS here, or see _lab/state, _lab/history, _lab/faults\n";
        return Ok(finish(shared, operate::build(200, "text/plain", words.into())));
    }
    // Old clients put the form into the address.
    let body = if body.is_empty() && !path.starts_with("/service/") {
        head.uri.query().map_or(body, |query| Bytes::copy_from_slice(query.as_bytes()))
    } else {
        body
    };
    match wire::read(path, &head.headers, body) {
        Ok(call) => carry_out(shared, &call, handle).await,
        Err(refusal) => {
            let json = head.headers.contains_key("x-amz-target");
            let protocol = if json { Protocol::Json("1.1") } else { Protocol::Query };
            let (kind, body) = wire::spell_refusal(protocol, "elasticloadbalancing", &request_id(shared), &refusal);
            Ok(finish(shared, operate::build(refusal.status, &kind, body)))
        }
    }
}

/// A call with its faults.
async fn carry_out(shared: &Shared, call: &Call, handle: &StdStream) -> Result<Response<LabBody>, Broken> {
    let now = shared.clock.now();
    let id = request_id(shared);
    let strike = shared.faults.strike(call.service, &call.operation, now);
    let fault = strike.as_ref().map(|strike| strike.fault.name);
    let note = |status: u16, error: Option<String>| {
        shared.history.note_call(CallNote {
            at: now,
            service: call.service.to_owned(),
            operation: call.operation.clone(),
            status,
            error,
            fault: fault.map(FaultName::name),
        });
    };
    let refused = match fault {
        Some(fault) => operate::refusal(fault, call),
        None if shared.limits.pass(call.service, &call.operation, now) => None,
        None => Some(operate::throttled(call)),
    };
    if let Some(refusal) = refused {
        note(refusal.status, Some(refusal.code.to_owned()));
        return Ok(finish(shared, operate::respond(call, &id, Err(refusal), now)));
    }
    match &strike {
        Some(Strike { fault, .. }) if fault.name == FaultName::Reset => {
            note(0, None);
            Err(reset(handle))
        }
        Some(Strike { fault, .. }) if fault.name == FaultName::Hang => {
            note(0, None);
            std::future::pending().await
        }
        Some(Strike { fault, .. }) if fault.name == FaultName::DelayedApply => {
            // With more delayed writes than may wait this one is lost, which a client cannot tell from a late one.
            drop(shared.later.add(now + fault.delay(DELAY), Job::Call(Box::new(call.clone()))));
            note(0, None);
            std::future::pending().await
        }
        Some(Strike { fault, .. }) if fault.name == FaultName::NotAws => {
            note(200, None);
            let page = "<!DOCTYPE html><html><head><title>Welcome to the guest network</title></head></html>";
            Ok(finish(shared, operate::build(200, "text/html", page.into())))
        }
        strike => {
            let past = strike.as_ref().and_then(|strike| strike.past.as_deref());
            let past = past.filter(|_| operate::reads(&call.operation));
            let response = if call.service == "monitoring" {
                let response = cloudwatch::wire::answer(&shared.cloudwatch, call, now);
                note(response.status().as_u16(), None);
                response
            } else {
                let outcome = operate::operate(shared, call, past);
                if let (Some(strike), Some(_)) = (strike, past)
                    && operate::operate(shared, call, None) == outcome
                {
                    shared.faults.take_back(strike.clone());
                }
                let error = outcome.as_ref().err();
                note(error.map_or(200, |why| why.status), error.map(|why: &Refusal| why.code.to_owned()));
                operate::respond(call, &id, outcome, now)
            };
            match fault {
                Some(FaultName::ApplyThenDrop) => Err(reset(handle)),
                Some(FaultName::Truncated) => Ok(truncated(finish(shared, response))),
                _ => Ok(with_id(finish(shared, response), &id)),
            }
        }
    }
}

fn request_id(shared: &Shared) -> String {
    let count = CALLS.fetch_add(1, Ordering::Relaxed);
    format!("{:08x}-1ab0-4000-8000-{:012x}", count & 0xffff_ffff, shared.clock.now().0)
}

fn with_id(mut response: Response<LabBody>, id: &str) -> Response<LabBody> {
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

fn finish(shared: &Shared, response: Response<Bytes>) -> Response<LabBody> {
    let mut response = response.map(|bytes| LabBody::Whole(Full::new(bytes)));
    if let Ok(date) = HeaderValue::from_str(&shared.clock.now().http_date()) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

/// Half of the body, with a head that promises all of it.
fn truncated(response: Response<LabBody>) -> Response<LabBody> {
    let (mut head, body) = response.into_parts();
    let LabBody::Whole(full) = body else { return Response::from_parts(head, body) };
    let length = full.size_hint().exact().unwrap_or(0);
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Response::from_parts(head, LabBody::Half { full, keep: length / 2, sent: Sent::Nothing })
}

/// The body of an answer.
enum LabBody {
    Whole(Full<Bytes>),
    /// The first `keep` bytes, and then nothing although more was announced.
    Half {
        full: Full<Bytes>,
        keep: u64,
        sent: Sent,
    },
}

/// How far half a body is. The server throws away what it has not written when a body ends too soon, so there is a moment
/// between the last byte and the end in which it writes.
enum Sent {
    Nothing,
    Half,
    Flushed,
}

impl Body for LabBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        // Bytes in memory do not fail.
        let never = |frame: Result<Frame<Bytes>, std::convert::Infallible>| frame.map_err(|never| match never {});
        match self.get_mut() {
            Self::Whole(full) => Pin::new(full).poll_frame(context).map(|frame| frame.map(never)),
            Self::Half { full, keep, sent } => match sent {
                Sent::Nothing => {
                    *sent = Sent::Half;
                    let frame = Pin::new(full).poll_frame(context);
                    frame.map(|frame| {
                        let data = frame.and_then(|frame| never(frame).ok()?.into_data().ok()).unwrap_or_default();
                        let kept = data.slice(..data.len().min(usize::try_from(*keep).unwrap_or(usize::MAX)));
                        Some(Ok(Frame::data(kept)))
                    })
                }
                Sent::Half => {
                    *sent = Sent::Flushed;
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                Sent::Flushed => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(full) if full.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(full) => full.size_hint(),
            Self::Half { .. } => SizeHint::new(),
        }
    }
}
