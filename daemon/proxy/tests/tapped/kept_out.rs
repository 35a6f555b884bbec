//! Requests that are kept out of the log; and the log that is kept in files, behind a whole proxy.

use std::{sync::Arc, time::Duration};

use proxy::capture::{
    Sink,
    file::{self, Files, Options},
    side::Suppress,
};

use crate::{
    clock,
    kept::found,
    rig::{OK, Rig, Setup, Source},
    support::{PATIENCE, Peer, get, plain_with, post},
};

/// Proves that what a rule leaves out is neither recorded nor held, wherever it stands among what is: the numbers of the
/// others have no gap, and their records keep every rule.
#[test]
fn what_is_left_out_is_neither_recorded_nor_held() {
    let mut suppress = Suppress::default();
    suppress.method_and_target("POST /left/.*").unwrap();
    suppress.header("X-Probe", "yes").unwrap();
    let source = Source::ok();
    let rig = Rig::with(source.address, Setup { suppress, ..Setup::default() }, |_| ());
    let left = [post("/left/out", "x"), "GET / HTTP/1.1\r\nHost: x\r\nX-Probe: yes\r\n\r\n".to_owned()];
    let mut client = rig.client();
    let mut kept = Vec::new();
    for round in 0..3 {
        rig.log.pause();
        for request in &left {
            assert_eq!(client.ask(request).status(), 200, "nothing waits");
        }
        rig.log.resume();
        for request in [get(&format!("/{round}")), post(&format!("/{round}"), "x")] {
            assert_eq!(client.ask(&request).status(), 200);
            kept.push(request);
        }
    }
    drop(client);
    let mut only = rig.client();
    assert_eq!(only.ask(&left[0]).status(), 200);
    drop(only);
    rig.log.wait_closed(2);
    let exchanges = rig.log.exchanges();
    let requests: Vec<&[u8]> = exchanges.iter().map(|exchange| exchange.request.as_slice()).collect();
    assert_eq!(requests, kept.iter().map(String::as_bytes).collect::<Vec<_>>());
    assert!(exchanges.iter().all(|exchange| exchange.response.as_deref() == Some(OK.as_bytes())));
    assert_eq!(source.whole(), 3 * 4 + 1);
}

/// Proves that with the log known to fail a write that is not captured passes where captured ones are refused.
#[test]
fn what_is_left_out_is_not_refused() {
    let mut suppress = Suppress::default();
    suppress.target("/left").unwrap();
    let source = Source::ok();
    let rig = Rig::with(source.address, Setup { suppress, ..Setup::default() }, |_| ());
    rig.behind.breaker.open(clock::now(), &"gone".into());
    let mut client = rig.client();
    assert_eq!(client.ask(post("/kept", "x")).status(), 503);
    assert_eq!(client.ask(post("/left", "x")).status(), 200);
}

/// Proves that with the log in files a write that was answered is on the disk, and that what the files hold in the end is
/// what was sent.
#[test]
fn answered_writes_are_in_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let files = Arc::new(Files::start(&Options::new(dir.path())).unwrap());
    let source = Source::ok();
    let (captured, behind) = Setup::default().captured(Arc::clone(&files) as Arc<dyn Sink>);
    let handle = plain_with(source.address, None, |config| config.source.capture = Some(captured));
    let read = || {
        let records = file::read(dir.path()).unwrap();
        found(records.map(|kept| kept.unwrap().value))
    };
    let mut client = Peer::connect(handle.local_addr());
    let mut told = Vec::new();
    for size in [0, 1, 10_000, 300_000] {
        let request = post("/i", &"f".repeat(size));
        assert_eq!(client.ask(&request).status(), 200);
        told.push(request);
        let exchanges = read();
        assert!(exchanges.last().is_some_and(|last| last.complete && last.request == told[told.len() - 1].as_bytes()));
    }
    drop(client);
    let deadline = clock::now() + PATIENCE;
    while read().last().unwrap().response.is_none() {
        assert!(clock::now() < deadline, "the last answer never came");
    }
    let exchanges = read();
    assert_eq!(exchanges.len(), told.len());
    for (exchange, request) in exchanges.iter().zip(&told) {
        assert!(exchange.request == request.as_bytes() && exchange.response.as_deref() == Some(OK.as_bytes()));
    }
    drop(handle);
    assert!(behind.log.flush(clock::now() + Duration::from_secs(5)));
}
