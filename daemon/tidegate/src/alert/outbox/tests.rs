//! The outbox on a real journal, a real receiver and a real program.

use std::sync::Mutex;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use cutover::command::Severity;
use cutover::{Alert, Episode, Event, Reason};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::alert::command::Command;
use crate::alert::webhook::Webhook;
use crate::outbound::Outbound;
use crate::store::sqlite::Sqlite;
use crate::store::{Draft, Lease};
use crate::testing::cutover;

/// What a receiver got, and what it answers: a failure first, then success.
#[derive(Clone, Default)]
struct Receiver {
    got: Arc<Mutex<Vec<(HeaderMap, String)>>>,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: String) -> StatusCode {
    let mut got = receiver.got.lock().unwrap();
    got.push((headers, body));
    if got.len() == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT }
}

fn message(to: AlertPolicy, at: Timestamp) -> Message {
    Message {
        id: "search-1/revert/1/0".to_owned(),
        cutover: "search-1".to_owned(),
        service: "search".to_owned(),
        at,
        to,
        alert: Alert {
            episode: "search-1/revert/1".to_owned(),
            change: Episode::Opened,
            severity: Severity::Critical,
            title: "reverting".to_owned(),
            text: "the target fails".to_owned(),
        },
    }
}

/// An outbox with one message in its store; the tasks run until the set is dropped.
async fn outbox_with(dir: &TempDir, to: AlertPolicy) -> (Arc<Sqlite>, Outbox, JoinSet<()>) {
    let store = Arc::new(Sqlite::open(dir.path()).unwrap());
    let now = crate::clock::now();
    let lease: Lease = store.lease("search", "test", now).await.unwrap();
    let draft = Draft {
        at: now,
        event: Event::Tick,
        next: cutover("search"),
        commands: Vec::new(),
        reason: Reason::new("test", "test"),
        messages: vec![message(to, now)],
    };
    store.append(&lease, draft).await.unwrap();
    let webhook = Arc::new(Webhook::new(Outbound::new().unwrap(), Clock::system()));
    let shared: Arc<dyn Store> = Arc::<Sqlite>::clone(&store);
    let (outbox, deliverer) = outbox(shared, webhook, Arc::new(Command), Clock::system());
    let mut tasks = JoinSet::new();
    tasks.spawn(deliverer.run());
    (store, outbox, tasks)
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited in vain for {what}");
}

/// Proves that a message is tried again after a failure, under the same id, signed each time, and then not any more.
#[tokio::test]
async fn a_failed_message_is_tried_again_under_its_id() {
    let receiver = Receiver::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let service = Router::new().route("/hook", post(receive)).with_state(receiver.clone());
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, service).await.unwrap() });
    let dir = TempDir::new().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    let to = AlertPolicy::Webhook { url, secret: Some(format!("file:{}", secret.display())) };
    let (store, outbox, _tasks) = outbox_with(&dir, to).await;
    outbox.look();
    until("two tries", async || receiver.got.lock().unwrap().len() == 2).await;
    let far = Timestamp(i64::MAX);
    until("an empty outbox", async || store.due(far, 1).await.unwrap().is_empty()).await;
    let got = receiver.got.lock().unwrap();
    for (headers, body) in got.iter() {
        assert_eq!(headers["webhook-id"], "search-1/revert/1/0");
        let seconds: i64 = headers["webhook-timestamp"].to_str().unwrap().parse().unwrap();
        assert!((crate::clock::now().0 / 1000 - seconds).abs() < 60);
        assert!(headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["type"], "tidegate.alert");
        assert_eq!(body["data"]["severity"], "critical");
    }
}

/// Proves that a program gets the alert as JSON on its stdin.
#[tokio::test]
async fn a_program_gets_the_alert_on_its_stdin() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("heard");
    let argv = ["sh", "-c", "cat > \"$0\"", file.to_str().unwrap()];
    let to = AlertPolicy::Command { argv: argv.iter().map(|&word| word.to_owned()).collect() };
    let (store, outbox, _tasks) = outbox_with(&dir, to).await;
    outbox.look();
    until("an empty outbox", async || store.due(Timestamp(i64::MAX), 1).await.unwrap().is_empty()).await;
    let heard: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(heard["data"]["episode"], "search-1/revert/1");
}

/// Proves that waits grow and stay below their limit.
#[test]
fn waits_double_up_to_a_limit() {
    assert_eq!(backoff(0), Duration::from_secs(1));
    assert_eq!(backoff(3), Duration::from_secs(8));
    assert_eq!(backoff(30), backoff(13));
}

/// A sink that never answers for one program and notes what the others get.
#[derive(Default)]
struct OneHangs {
    got: Mutex<Vec<String>>,
    is_told: tokio::sync::Notify,
}

impl AlertSink for OneHangs {
    fn send<'a>(&'a self, message: &'a Message) -> crate::port::Answer<'a, ()> {
        Box::pin(async move {
            if message.to == (AlertPolicy::Command { argv: vec!["hangs".to_owned()] }) {
                return std::future::pending().await;
            }
            self.got.lock().unwrap().push(message.id.clone());
            self.is_told.notify_one();
            Ok(())
        })
    }
}

/// Proves that a receiver which hangs keeps no other one waiting.
#[tokio::test]
async fn receivers_do_not_wait_for_one_another() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(Sqlite::open(dir.path()).unwrap());
    let now = crate::clock::now();
    let lease: Lease = store.lease("search", "test", now).await.unwrap();
    let to = |program: &str| AlertPolicy::Command { argv: vec![program.to_owned()] };
    let mut messages = Vec::new();
    for number in 0..20 {
        messages.push(Message { id: format!("chat/{number}"), ..message(to("hangs"), now) });
    }
    messages.push(Message { id: "pager/0".to_owned(), ..message(to("pages"), now) });
    let draft = Draft {
        at: now,
        event: Event::Tick,
        next: cutover("search"),
        commands: Vec::new(),
        reason: Reason::new("test", "test"),
        messages,
    };
    store.append(&lease, draft).await.unwrap();
    let sink = Arc::new(OneHangs::default());
    let both: Arc<dyn AlertSink> = Arc::<OneHangs>::clone(&sink);
    let (outbox, deliverer) = outbox(store, Arc::clone(&both), both, Clock::system());
    outbox.look();
    let mut tasks = JoinSet::new();
    tasks.spawn(deliverer.run());
    // One try at the program that hangs takes longer than this.
    tokio::time::timeout(TRY_MAX * 4 / 5, sink.is_told.notified()).await.expect("the pager is told");
    assert_eq!(*sink.got.lock().unwrap(), ["pager/0"]);
}
