//! How a proxy ends, and how its clients do.

use std::{sync::mpsc, thread, time::Duration};

use proxy::Ended;

use crate::{
    clock,
    support::{PATIENCE, Peer, client, counted, echo, get, nobody, ok, proxy_for, proxy_with, upstream},
};

fn drain(handle: &proxy::Handle, timeout: Duration) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(handle.drain(timeout))
}

/// Proves that with nothing in flight it ends at once, although idle clients hold their connections open.
#[test]
fn an_idle_proxy_ends_at_once() {
    let handle = proxy_for(echo("source"));
    let mut idle: Vec<_> = (0..20).map(|_| client(&handle)).collect();
    for client in &mut idle {
        client.ask(get("/"));
    }
    let fresh = client(&handle);
    counted(&handle, |counters| counters.clients.connections_open == 21);
    let began = clock::now();
    assert_eq!(drain(&handle, PATIENCE), Ended::Drained);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for mut client in idle {
        assert!(client.rest().0.is_empty());
    }
    drop(fresh);
    assert!(std::net::TcpStream::connect(handle.local_addr()).is_err(), "it no longer listens");
}

/// Proves that a proxy that is told to end while its threads are only starting ends all the same.
#[test]
fn a_proxy_that_has_just_started_ends() {
    for _ in 0..50 {
        assert_eq!(drain(&proxy_for(nobody()), PATIENCE), Ended::Drained);
    }
}

/// Proves that requests under way end while new connections are turned away, and that their answers say `close`.
#[test]
fn what_is_under_way_ends_before_the_proxy_does() {
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = std::sync::Mutex::new(may_go_on);
    let source = upstream(move |mut peer| {
        peer.request();
        may_go_on.lock().unwrap().recv().unwrap();
        peer.send(ok("at last"));
    });
    let handle = proxy_for(source);
    let mut waiting = client(&handle);
    waiting.send(get("/"));
    counted(&handle, |counters| counters.source.in_flight == 1);
    let draining = thread::spawn({
        let handle = handle.clone();
        move || drain(&handle, PATIENCE)
    });
    let began = clock::now();
    while std::net::TcpStream::connect(handle.local_addr()).is_ok() {
        assert!(began.elapsed() < PATIENCE, "it still listens");
        thread::yield_now();
    }
    assert!(!draining.is_finished() && handle.status().draining);
    go_on.send(()).unwrap();
    let answer = waiting.response();
    assert_eq!((answer.text(), answer.field("connection")), ("at last", Some("close")));
    assert_eq!(draining.join().unwrap(), Ended::Drained);
}

/// Proves that after the time-out what is left is cut off, and a half answer until close does not look whole.
#[test]
fn the_drain_has_an_end() {
    let source = upstream(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n\r\nhalf");
        drop(peer.rest());
    });
    let handle = proxy_for(source);
    let mut waiting = client(&handle);
    waiting.send(get("/"));
    waiting.head().unwrap();
    let began = clock::now();
    drain(&handle, Duration::from_millis(200));
    assert!(began.elapsed() < Duration::from_secs(2));
    assert!(waiting.rest().1.is_err());
}

/// Proves that clients that send nothing, or a head too slowly, are ended: silently, or with a 408.
#[test]
fn clients_that_do_not_come_to_the_point_are_ended() {
    let handle = proxy_with(echo("source"), None, |config| {
        config.timeouts.client_idle = Duration::from_millis(200);
        config.timeouts.head = Duration::from_millis(300);
    });
    let mut idle = client(&handle);
    assert!(idle.rest().0.is_empty());

    let mut slow = client(&handle);
    let began = clock::now();
    let mut said = String::new();
    for byte in "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: yes, very slow indeed".bytes().cycle() {
        if std::io::Write::write_all(&mut slow.stream, &[byte]).is_err() || began.elapsed() > Duration::from_millis(600)
        {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    said.push_str(&String::from_utf8(slow.rest().0).unwrap());
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{said}");
    counted(&handle, |counters| counters.we.refused.get(&408) == Some(&1));
}

/// Proves that above the limit connections are turned away and counted, and that room is made again.
#[test]
fn connections_above_the_limit_are_turned_away() {
    let handle = proxy_with(echo("source"), None, |config| config.limits.connections_max = 2);
    let mut kept: Vec<Peer> = (0..2).map(|_| client(&handle)).collect();
    for client in &mut kept {
        client.ask(get("/"));
    }
    assert!(client(&handle).rest().0.is_empty());
    assert_eq!(handle.counters().clients.connections_refused, 1);
    kept.pop();
    counted(&handle, |counters| counters.clients.connections_open == 1);
    client(&handle).ask(get("/"));
}

/// Proves that a client that leaves after any byte of its request does no harm: the next one is served, nothing stays
/// in flight, and nobody gets another's answer.
#[test]
fn a_client_may_leave_at_any_byte() {
    let handle = proxy_for(echo("source"));
    let request = "POST /leaving HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for cut in 0..=request.len() {
        let mut leaving = client(&handle);
        leaving.send(&request[..cut]);
        if cut % 2 == 0 {
            leaving.reset();
        } else {
            drop(leaving);
        }
        assert_eq!(client(&handle).ask(get("/next")).text(), "source GET /next HTTP/1.1", "after {cut} bytes");
    }
    counted(&handle, |counters| counters.source.in_flight == 0 && counters.clients.connections_open == 0);
}

/// Proves that the last handle takes the proxy with it.
#[test]
fn dropping_the_handle_ends_the_proxy() {
    let handle = proxy_for(echo("source"));
    let address = handle.local_addr();
    let mut connected = client(&handle);
    connected.ask(get("/"));
    drop(handle);
    assert!(connected.rest().0.is_empty());
    let began = clock::now();
    while std::net::TcpStream::connect(address).is_ok() {
        assert!(began.elapsed() < PATIENCE, "it still listens");
    }
}
