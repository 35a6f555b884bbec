//! More than one connection behind a client's: two sides, and requests that are sent once more.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, mpsc},
};

use proxy::{Config, Handle, capture::Sink, config::Retry};

use crate::{
    kept::Kept,
    rig::{OK, Rig, Setup, Source, a_while},
    support::{Peer, get, plain_with, post, upstream, weigh},
};

/// A proxy before two sides, each captured into a log of its own.
fn two(source: SocketAddr, target: SocketAddr, change: impl FnOnce(&mut Config)) -> (Handle, [Arc<Kept>; 2]) {
    let logs = [Arc::new(Kept::default()), Arc::new(Kept::default())];
    let handle = plain_with(source, Some(target), |config| {
        change(config);
        for (side, log) in [Some(&mut config.source), config.target.as_mut()].into_iter().flatten().zip(&logs) {
            side.capture = Some(Setup::default().captured(Arc::clone(log) as Arc<dyn Sink>).0);
        }
    });
    (handle, logs)
}

/// The requests that a log has, as text, each with whether it has a response; all whole, numbered without a gap.
fn requests(log: &Kept) -> Vec<(String, bool)> {
    let exchanges = log.exchanges();
    for (number, exchange) in (0..).zip(&exchanges) {
        assert!(exchange.complete && exchange.number == number, "{exchange:?}");
    }
    let text = |bytes| String::from_utf8(bytes).unwrap();
    exchanges.into_iter().map(|exchange| (text(exchange.request), exchange.response.is_some())).collect()
}

/// Proves that one client connection is one stream for each captured side, each with its own name, numbers and counts, as
/// the weight goes back and forth.
#[test]
fn each_side_has_its_own_stream() {
    let (source, target) = (Source::ok(), Source::ok());
    let (handle, logs) = two(source.address, target.address, |_| ());
    let mut client = Peer::connect(handle.local_addr());
    let mut told = [Vec::new(), Vec::new()];
    for round in 0..6 {
        let side = round % 2;
        weigh(&handle, if side == 0 { 0 } else { 1000 }, round as u64 + 1);
        for request in [get(&format!("/{round}")), post(&format!("/{round}"), "x")] {
            assert_eq!(client.ask(&request).status(), 200);
            told[side].push((request, true));
        }
    }
    drop(client);
    for (log, told) in logs.iter().zip(&told) {
        log.wait_closed(1);
        assert_eq!(requests(log), *told);
    }
    let name = |log: &Kept| log.look(|log| Arc::clone(&log.given[0].key));
    assert_ne!(name(&logs[0]), name(&logs[1]));
    assert_eq!((source.whole(), target.whole()), (6, 6));
}

/// Proves that what goes to a side that is not captured is in no stream, and does not wait.
#[test]
fn a_side_without_capture_is_in_no_stream() {
    let (source, target) = (Source::ok(), Source::ok());
    let log = Arc::new(Kept::default());
    let handle = plain_with(source.address, Some(target.address), |config| {
        config.source.capture = Some(Setup::default().captured(Arc::clone(&log) as Arc<dyn Sink>).0);
    });
    let mut client = Peer::connect(handle.local_addr());
    assert_eq!(client.ask(post("/captured", "x")).status(), 200);
    log.pause();
    weigh(&handle, 1000, 1);
    assert_eq!(client.ask(post("/free", "x")).status(), 200);
    log.resume();
    drop(client);
    log.wait_closed(1);
    assert_eq!(requests(&log), [(post("/captured", "x"), true)]);
}

/// Proves that a read that is answered by the other side after its own failed is in both streams once: without an answer
/// where there was none, and with it where it came from.
#[test]
fn a_retried_read_is_in_both_streams() {
    let source = Source::ok();
    let target = upstream(|mut peer| drop(peer.request()));
    let (handle, logs) = two(source.address, target, |config| config.retry = Retry::Reads);
    weigh(&handle, 1000, 1);
    let mut client = Peer::connect(handle.local_addr());
    let search = post("/i/_search", &"q".repeat(20_000));
    let asked = [get("/a"), search, get("/b")];
    for request in &asked {
        assert_eq!(client.ask(request).status(), 200);
    }
    drop(client);
    for (log, answered) in logs.iter().zip([true, false]) {
        log.wait_closed(1);
        let wanted: Vec<_> = asked.iter().map(|request| (request.clone(), answered)).collect();
        assert_eq!(requests(log), wanted);
    }
}

/// Proves that a request whose reused connection died under it is recorded once, with the answer that came in the end.
#[test]
fn a_request_that_is_sent_once_more_is_recorded_once() {
    let source = upstream(|mut peer| {
        let Some(_) = peer.request() else { return };
        peer.send(OK);
        drop(peer.request());
    });
    let rig = Rig::with(source, Setup::default(), |config| config.workers = std::num::NonZeroUsize::new(1));
    let mut client = rig.client();
    let search = post("/i/_search", &"q".repeat(100));
    let asked: Vec<String> = (0..6).map(|number| if number % 2 == 0 { get("/") } else { search.clone() }).collect();
    for request in &asked {
        assert_eq!(client.ask(request).status(), 200);
    }
    drop(client);
    rig.log.wait_closed(1);
    let wanted: Vec<_> = asked.into_iter().map(|request| (request, true)).collect();
    assert_eq!(requests(&rig.log), wanted);
}

/// Proves that a write whose connection dies while it is held goes out on another one once the log has it, and not before:
/// once to the source, once in the log.
#[test]
fn a_held_write_outlives_its_connection() {
    for write in ["DELETE /i HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), post("/i", "hello")] {
        let (end, ends) = mpsc::channel::<()>();
        let ends = Mutex::new(ends);
        let writes = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&writes);
        let source = upstream(move |mut peer| {
            let Some(first) = peer.request() else { return };
            if first.line().starts_with("GET") {
                peer.send(OK);
                ends.lock().unwrap().recv().unwrap();
            } else {
                seen.lock().unwrap().push(first.line().to_owned());
                peer.send(OK);
                drop(peer.request());
            }
        });
        let rig = Rig::with(source, Setup::default(), |config| config.workers = std::num::NonZeroUsize::new(1));
        let mut client = rig.client();
        assert_eq!(client.ask(get("/")).status(), 200);
        rig.log.pause();
        client.send(&write);
        rig.log.wait("the write", |log| !log.given.is_empty());
        a_while();
        end.send(()).unwrap();
        a_while();
        assert!(writes.lock().unwrap().is_empty());
        rig.log.resume();
        assert_eq!(client.response().status(), 200);
        drop(client);
        rig.log.wait_closed(1);
        assert_eq!(requests(&rig.log), [(get("/"), true), (write, true)]);
        assert_eq!((writes.lock().unwrap().len(), rig.behind.lines()), (1, 0));
    }
}
