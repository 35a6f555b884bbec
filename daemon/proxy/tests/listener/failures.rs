//! Sides that are gone, silent, or cut their answers short, and what is tried again.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use proxy::{
    Handle,
    config::{HealthCheck, Retry},
};

use crate::{
    clock,
    support::{PATIENCE, client, counted, echo, get, nobody, ok, post, proxy_for, proxy_with, side, upstream, weigh},
};

/// A target that answers the first request of each connection and ends the second without an answer.
fn dies_when_reused(requests: Arc<AtomicUsize>) -> std::net::SocketAddr {
    upstream(move |mut peer| {
        let Some(request) = peer.request() else { return };
        requests.fetch_add(1, Ordering::Relaxed);
        peer.send(ok(&format!("first {}", request.line())));
        if peer.request().is_some() {
            requests.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// Proves that a side that refuses connections costs the client a 502 that says nothing of what is behind it, is counted
/// as its failure, and leaves the client's connection usable.
#[test]
fn a_refused_connection_is_a_bad_gateway() {
    let gone = nobody();
    let handle = proxy_for(gone);
    let mut client = client(&handle);
    for _ in 0..3 {
        let answer = client.ask(post("/x", "body"));
        assert_eq!(answer.status(), 502);
        let said = format!("{}{}", answer.head, answer.text());
        assert!(!said.contains("127.0.0.1") && !said.contains(&gone.port().to_string()), "{said}");
    }
    let counters = handle.counters();
    assert_eq!(
        (counters.source.failed_connect, counters.source.writes.failed, counters.source.writes.requests),
        (3, 3, 3)
    );
    assert_eq!(counters.source.in_flight, 0);
}

/// Proves that a silent side costs the first-byte time-out and a 504, and that the time waited is in the histogram.
#[test]
fn a_silent_side_times_out() {
    let silent = upstream(|mut peer| drop(peer.rest()));
    let handle = proxy_with(silent, None, |config| config.timeouts.first_byte = Duration::from_millis(300));
    let began = clock::now();
    assert_eq!(client(&handle).ask(get("/")).status(), 504);
    assert!(began.elapsed() >= Duration::from_millis(300));
    let counters = handle.counters();
    assert_eq!((counters.source.failed_timeout, counters.source.reads.failed), (1, 1));
    assert!(counters.source.reads.latency.quantile_micros(1.0).unwrap() >= 300_000.0);
}

/// Proves that an answer that is cut short never looks whole to the client, however its body is framed.
#[test]
fn a_cut_answer_never_looks_whole() {
    for (head, body) in [
        ("Content-Length: 10", "cut"),
        ("Transfer-Encoding: chunked", "5\r\nhe"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\nX: 1\r\n"),
    ] {
        let source = upstream(move |mut peer| {
            peer.request();
            peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}"));
        });
        let handle = proxy_for(source);
        let mut client = client(&handle);
        client.send(get("/"));
        assert!(client.try_response(false).is_err(), "{head} {body:?}");
        let counters = counted(&handle, |counters| counters.source.reads.requests == 1);
        assert_eq!((counters.source.failed_reset, counters.source.reads.status_2xx), (1, 0));
    }
}

/// Proves that a body until close that is cut by a reset, or by a time-out, ends with a reset and not like a whole one.
#[test]
fn a_cut_body_until_close_ends_with_a_reset() {
    let source = upstream(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n\r\nnot all");
        // It stays open and says no more.
        drop(peer.rest());
    });
    let handle = proxy_with(source, None, |config| config.timeouts.stall = Duration::from_millis(200));
    let mut client = client(&handle);
    client.send(get("/"));
    client.head().unwrap();
    assert!(client.rest().1.is_err());
}

/// Proves that a head that is cut, or an end without any answer, is a 502, and the side's failure.
#[test]
fn a_cut_head_is_a_bad_gateway() {
    for head in ["", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let source = upstream(move |mut peer| {
            peer.request();
            peer.send(head);
        });
        let handle = proxy_for(source);
        assert_eq!(client(&handle).ask(get("/")).status(), 502);
        assert_eq!(handle.counters().source.failed_reset, 1);
    }
}

/// Proves that a reused connection that dies before any response byte is tried afresh on the same side, unseen by the
/// client and not counted as a failure; but a write that may have been received is never sent twice.
#[test]
fn a_reused_connection_that_dies_is_tried_afresh() {
    let requests = Arc::new(AtomicUsize::new(0));
    let handle = proxy_with(dies_when_reused(Arc::clone(&requests)), None, |config| {
        config.workers = std::num::NonZeroUsize::new(1);
    });
    let mut client = client(&handle);
    for n in 0..5 {
        assert_eq!(client.ask(get(&format!("/{n}"))).status(), 200);
    }
    let counters = counted(&handle, |counters| counters.source.reads.requests == 5);
    assert_eq!((counters.source.reads.status_2xx, counters.source.reads.failed), (5, 0));
    assert_eq!(requests.load(Ordering::Relaxed), 9, "each but the first was received twice");

    // The connection of the last GET is idle now, so this write goes out on it.
    assert_eq!(client.ask(post("/write", "once")).status(), 502);
    assert_eq!(requests.load(Ordering::Relaxed), 10, "the write was sent once");
}

/// Proves that an idle connection that the upstream has closed in the meantime is never used, not even for a write.
#[test]
fn an_idle_connection_that_was_closed_is_not_used() {
    let (closed, when_closed) = mpsc::channel();
    let source = upstream(move |mut peer| {
        peer.request();
        peer.send(ok("one"));
        drop(peer);
        closed.send(()).unwrap();
    });
    let handle = proxy_for(source);
    let mut client = client(&handle);
    for _ in 0..20 {
        assert_eq!(client.ask(post("/", "x")).status(), 200);
        when_closed.recv_timeout(PATIENCE).unwrap();
    }
    assert_eq!(handle.counters().source.writes.failed, 0);
}

/// Proves that however an upstream drops its connections after an answer, with an end or a reset, at once or while the
/// next write is on its way, no write is received twice, and each that was answered was received once.
#[test]
fn no_write_is_received_twice() {
    const WRITES: usize = 400;
    let received: Arc<Vec<AtomicUsize>> = Arc::new((0..WRITES).map(|_| AtomicUsize::default()).collect());
    let counting = Arc::clone(&received);
    let source = upstream(move |mut peer| {
        let mut answered = 0;
        while let Some(request) = peer.request() {
            let number: usize = request.text().parse().unwrap();
            counting[number].fetch_add(1, Ordering::Relaxed);
            if std::io::Write::write_all(&mut peer.stream, ok("done").as_bytes()).is_err() {
                return;
            }
            answered += 1;
            if answered > number % 3 {
                for _ in 0..number % 50 {
                    std::thread::yield_now();
                }
                return if number.is_multiple_of(2) { peer.reset() } else { drop(peer) };
            }
        }
    });
    let handle = proxy_with(source, None, |config| config.workers = std::num::NonZeroUsize::new(1));
    let mut clients: Vec<_> = (0..8).map(|_| client(&handle)).collect();
    for (number, times) in received.iter().enumerate() {
        let status = clients[number % 8].ask(post("/write", &number.to_string())).status();
        let times = times.load(Ordering::Relaxed);
        assert!(times <= 1 && (status == 200 || status == 502), "write {number}: {status}, received {times} times");
        assert!(status != 200 || times == 1, "write {number} was answered and never received");
    }
}

fn failing_target(retry: Retry, target: std::net::SocketAddr) -> Handle {
    let handle = proxy_with(echo("source"), Some(target), |config| {
        config.retry = retry;
        config.timeouts.first_byte = Duration::from_millis(300);
    });
    weigh(&handle, 1000, 1);
    handle
}

/// Proves that with the retry on a failed read is answered by the source, counted as a failure of the target and as one
/// `retried`, and stays out of the source's judged counts; writes fail as before.
#[test]
fn reads_are_retried_on_the_other_side_and_writes_are_not() {
    let targets = [nobody(), upstream(|mut peer| drop(peer.request())), upstream(|mut peer| drop(peer.rest()))];
    for target in targets {
        let handle = failing_target(Retry::Reads, target);
        let mut client = client(&handle);
        assert_eq!(client.ask(get("/a")).text(), "source GET /a HTTP/1.1");
        assert_eq!(client.ask(post("/_search", "{\"query\":1}")).text(), "source POST /_search HTTP/1.1");
        assert!(client.ask(post("/_doc", "x")).status() >= 502);
        let counters = counted(&handle, |counters| counters.source.retried == 2);
        assert_eq!((counters.target.reads.failed, counters.target.writes.failed), (2, 1));
        assert_eq!((counters.source.reads.requests, counters.source.reads.latency.total()), (0, 0));
    }
}

/// Proves that nothing is retried by default, and nothing of which a response byte was relayed.
#[test]
fn no_retry_by_default_nor_after_the_first_byte() {
    let handle = failing_target(Retry::None, nobody());
    assert_eq!(client(&handle).ask(get("/")).status(), 502);
    assert_eq!(handle.counters().source.retried, 0);

    let cut = upstream(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    });
    let handle = failing_target(Retry::Reads, cut);
    let mut client = client(&handle);
    client.send(get("/"));
    assert!(client.try_response(false).is_err());
    assert_eq!(counted(&handle, |counters| counters.target.reads.failed == 1).source.retried, 0);
}

/// Proves that a failing source never sends reads to a target that has no weight yet.
#[test]
fn a_target_without_weight_gets_no_retries() {
    let handle = proxy_with(nobody(), Some(echo("target")), |config| config.retry = Retry::Reads);
    assert_eq!(client(&handle).ask(get("/")).status(), 502);
    assert_eq!(handle.counters().target.retried, 0);
}

/// Proves that another endpoint of the same side is asked when one cannot be reached, for writes too, since nothing was
/// sent yet; and that the dead one is left out after a few failures.
#[test]
fn another_endpoint_of_the_side_is_asked() {
    let (alive, dead) = (echo("alive"), nobody());
    let handle = proxy_with(alive, None, |config| config.source = side(&[dead, alive]));
    let mut client = client(&handle);
    for _ in 0..40 {
        assert_eq!(client.ask(post("/x", "y")).text(), "alive POST /x HTTP/1.1");
    }
    assert_eq!(handle.counters().source.writes.failed, 0);
    let endpoints = handle.status().source;
    assert_eq!((endpoints[0].healthy, endpoints[1].healthy), (false, true), "{endpoints:?}");
    assert!(!endpoints[0].note.is_empty());
}

/// Proves that configured health checks take an endpoint out and bring it back, and that without them the upstream gets
/// nothing that no client sent.
#[test]
fn health_checks_run_only_where_configured() {
    let (seen, requests) = mpsc::channel();
    let sick = Arc::new(AtomicUsize::new(1));
    let checked = Arc::clone(&sick);
    let source = upstream(move |mut peer| {
        while let Some(request) = peer.request() {
            let status = if checked.load(Ordering::Relaxed) == 1 { "503 Sick" } else { "200 OK" };
            drop(seen.send(request.line().to_owned()));
            peer.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let quiet = upstream(|peer| panic!("nobody asked, but {:?} came", peer.stream.peer_addr()));
    let handle = proxy_with(source, Some(quiet), |config| {
        config.source.health =
            Some(HealthCheck { interval: Duration::from_millis(100), ..HealthCheck::new("/healthz") });
    });
    let healthy = |wanted: bool| {
        let deadline = clock::now() + PATIENCE;
        while handle.status().source[0].healthy != wanted {
            assert!(clock::now() < deadline, "{:?}", handle.status().source);
            assert_eq!(requests.recv_timeout(PATIENCE).unwrap(), "GET /healthz HTTP/1.1");
        }
    };
    healthy(false);
    assert!(handle.status().source[0].note.contains("503"));
    // It is the last endpoint of its side, so it is asked all the same.
    assert_eq!(client(&handle).ask(get("/")).status(), 503);
    while requests.recv_timeout(PATIENCE).unwrap() != "GET / HTTP/1.1" {}
    sick.store(0, Ordering::Relaxed);
    healthy(true);
}

/// Proves that a client that stops sending its body is told 408, and that this is nobody's failure.
#[test]
fn a_client_that_stops_in_its_body_is_told_so() {
    let source = upstream(|mut peer| drop(peer.rest()));
    let handle = proxy_with(source, None, |config| config.timeouts.stall = Duration::from_millis(200));
    let mut client = client(&handle);
    let answer = client.ask("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!((answer.status(), answer.field("connection")), (408, Some("close")));
    let counters = handle.counters();
    assert_eq!((counters.source.writes.requests, counters.we.refused.get(&408)), (0, Some(&1)));
}

/// Proves that an upstream that does not read its request is a time-out of its side and not the client's fault.
#[test]
fn an_upstream_that_does_not_read_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let handle = proxy_with(listener.local_addr().unwrap(), None, |config| {
        config.timeouts.stall = Duration::from_millis(300);
    });
    let mut client = client(&handle);
    let accepted = std::thread::spawn(move || listener.accept().unwrap());
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n");
    // The client writes until nobody takes more; the sockets between hold a few megabytes.
    client.stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    while std::io::Write::write_all(&mut client.stream, &vec![0; 64 * 1024]).is_ok() {}
    assert_eq!(client.response().status(), 504);
    assert_eq!(handle.counters().source.failed_timeout, 1);
    drop(accepted.join().unwrap());
}
