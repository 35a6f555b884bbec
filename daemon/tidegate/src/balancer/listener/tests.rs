//! Against real proxies: one in this process, one behind its control API.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use cutover::Weight;
use proxy::config::{Control, ControlAddress, Side, Upstream};
use proxy::{Config, Handle, Proxy};
use tempfile::TempDir;

use super::*;
use crate::testing::START;

const TEN: Share = Share::both(Weight::new(100).unwrap());
const HALF: Share = Share::both(Weight::new(500).unwrap());

fn start(control: Option<&Path>) -> Handle {
    let nowhere: Upstream = "http://127.0.0.1:9".parse().unwrap();
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let mut config = Config::new(listen, Side::new(vec![nowhere.clone()]));
    config.target = Some(Side::new(vec![nowhere]));
    config.workers = std::num::NonZeroUsize::new(1);
    config.control = control.map(|path| Control::Unix(path.to_owned()));
    Proxy::start(config).unwrap()
}

fn tripwire() -> Tripwire {
    Tripwire {
        name: "errors".to_owned(),
        kind: TripwireKind::Errors,
        limit: 0.5,
        requests_min: 10,
        window: Duration::from_secs(2),
        source_limit: 0.5,
    }
}

/// A proxy in this process and one behind a socket.
fn two(dir: &TempDir) -> (Handle, Handle, Listener) {
    let socket = dir.path().join("proxy.sock");
    let (near, far) = (start(None), start(Some(&socket)));
    let remotes = vec![Remote::in_process(near.clone()), Remote::api(ControlAddress::Unix(socket), None)];
    (near, far, Listener::new(remotes, START))
}

/// Proves that a share counts as configured when all proxies have it, and that one which has not is named.
#[tokio::test]
async fn a_proxy_that_disagrees_is_named() {
    let dir = TempDir::new().unwrap();
    let (near, far, listener) = two(&dir);
    listener.write(TEN, Generation(1)).await.unwrap();
    let reading = listener.read(START).await.unwrap();
    assert_eq!((reading.share, reading.disagreeing), (TEN, Vec::new()));
    assert_eq!((near.status().reads, far.status().writes), (100, 100));
    let generation = near.status().generation + 1;
    near.set_weight(&proxy::api::SetWeight { target: 0, reads: None, writes: None, generation }).unwrap();
    let reading = listener.read(START).await.unwrap();
    assert_eq!(reading.share, TEN, "of two shares the higher one is believed");
    assert_eq!(reading.disagreeing, ["own proxy (0 %)"]);
    drop(far);
    let reading = listener.read(START).await.unwrap();
    assert_eq!(reading.share, Share::NONE);
    assert_eq!(reading.disagreeing.len(), 1);
    assert!(reading.disagreeing[0].contains("no answer"), "{:?}", reading.disagreeing);
}

/// Proves that a write which was given up cannot land after a revert: its number is lower.
#[tokio::test]
async fn a_late_write_is_refused() {
    let dir = TempDir::new().unwrap();
    let (near, _far, listener) = two(&dir);
    let original = listener.read(START).await.unwrap().action;
    listener.write(HALF, Generation(1)).await.unwrap();
    listener.restore(&original, Generation(3)).await.unwrap();
    // The second write, sent long ago, arrives now.
    let late = Remote::in_process(near.clone());
    let error = late.set_weight(HALF, listener.number(Generation(2))).await.unwrap_err();
    assert!(error.outdated, "{error}");
    let reading = listener.read(START).await.unwrap();
    assert_eq!((reading.share, reading.action), (Share::NONE, original));
}

/// Proves that a revert goes over a foreign write with a higher number.
#[tokio::test]
async fn a_revert_wins_over_a_foreign_write() {
    let dir = TempDir::new().unwrap();
    let (near, _far, listener) = two(&dir);
    let original = listener.read(START).await.unwrap().action;
    let generation = u64::MAX / 2;
    near.set_weight(&proxy::api::SetWeight { target: 900, reads: None, writes: None, generation }).unwrap();
    listener.restore(&original, Generation(1)).await.unwrap();
    assert_eq!(near.status().reads, 0);
}

/// Proves that a proxy which comes up again is armed and given the current share.
#[tokio::test]
async fn a_restarted_proxy_is_mended() {
    let dir = TempDir::new().unwrap();
    let (_near, far, listener) = two(&dir);
    listener.arm(&[tripwire()], Share::NONE).await.unwrap();
    listener.write(TEN, Generation(1)).await.unwrap();
    far.drain(Duration::ZERO).await;
    drop(far);
    let again = start(Some(&dir.path().join("proxy.sock")));
    assert_eq!((again.status().reads, again.status().armed), (0, None));
    assert_eq!(listener.watch().await.unwrap(), []);
    assert_eq!(again.status().reads, 100);
    assert!(again.status().armed.is_some());
}

/// Proves that an action of another balancer is refused for good.
#[tokio::test]
async fn a_foreign_action_is_refused() {
    let dir = TempDir::new().unwrap();
    let (_near, _far, listener) = two(&dir);
    let error = listener.restore(&serde_json::json!({"alb": []}), Generation(1)).await.unwrap_err();
    assert_eq!(error.retry, cutover::event::Retry::Never);
}

/// Proves that a tripwire which fired while nobody looked is not forgotten by arming again, as a restarted daemon does:
/// the proxy keeps it until it was told of.
#[tokio::test]
async fn arming_again_does_not_hide_what_fired() {
    let near = start(None);
    let remotes = vec![Remote::in_process(near.clone())];
    let listener = Listener::new(remotes.clone(), Timestamp(0));
    listener.arm(&[tripwire()], Share::NONE).await.unwrap();
    listener.write(Share::ALL, Generation(1)).await.unwrap();
    let fired = async {
        while near.status().fired.is_none() {
            // Nobody listens at the target, so each request fails.
            let mut client = tokio::net::TcpStream::connect(near.local_addr()).await.unwrap();
            let request = b"GET / HTTP/1.1\r\nhost: search\r\nconnection: close\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut client, request).await.unwrap();
            tokio::io::AsyncReadExt::read_to_end(&mut client, &mut Vec::new()).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), fired).await.expect("the tripwire fires");
    let restarted = Listener::new(remotes, Timestamp(0));
    let error = restarted.arm(&[tripwire()], Share::NONE).await.unwrap_err();
    assert!(error.to_string().contains("has fired"), "{error}");
    assert!(near.status().fired.is_some(), "the proxy still knows");
    assert_eq!(restarted.watch().await.unwrap().len(), 1);
}
