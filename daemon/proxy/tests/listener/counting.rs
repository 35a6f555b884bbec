//! Who gets the blame, and what is counted where.

use std::{io::Write, net::Shutdown, time::Duration};

use proxy::api::{Armed, CloseConnections, Limit, LimitKind};

use crate::{
    clock,
    support::{PATIENCE, client, counted, echo, get, post, proxy_for, proxy_with, upstream, weigh},
};

/// Proves that each class of status is counted where it belongs, reads apart from writes.
#[test]
fn statuses_are_counted_by_class() {
    let source = upstream(|mut peer| {
        while let Some(request) = peer.request() {
            let status = request.line().split(['/', ' ']).nth(2).unwrap().to_owned();
            peer.send(format!("HTTP/1.1 {status} Reason\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let handle = proxy_for(source);
    let mut client = client(&handle);
    for status in [200, 201, 302, 404, 404, 404, 500, 503] {
        client.ask(get(&format!("/{status}")));
    }
    client.ask(post("/429", ""));
    let counters = counted(&handle, |counters| counters.source.writes.requests == 1);
    let reads = &counters.source.reads;
    assert_eq!((reads.status_2xx, reads.status_3xx, reads.status_4xx, reads.status_5xx), (2, 1, 3, 2));
    assert_eq!((reads.requests, reads.failed, counters.source.writes.status_4xx), (8, 0, 1));
    assert_eq!((reads.latency.total(), reads.exchange.total()), (8, 8));
    assert!(counters.source.bytes_sent > 0 && counters.source.bytes_received > 0);
    assert_eq!(counters.source.connections_new, 1, "the upstream connection is reused");
}

/// Proves that latency begins with the last byte of the request, so that a slow client does not make a side look slow.
#[test]
fn a_slow_client_does_not_count_against_the_side() {
    let handle = proxy_for(echo("source"));
    let mut client = client(&handle);
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na");
    std::thread::sleep(Duration::from_millis(400));
    client.send("b");
    client.response();
    let counters = counted(&handle, |counters| counters.source.writes.requests == 1);
    let micros = counters.source.writes.latency.quantile_micros(1.0).unwrap();
    assert!(micros < 300_000.0, "{micros} µs");
}

/// Proves that a client that leaves while it waits is the side's `abandoned`, in the histogram at the time it waited,
/// and that the side's connection is given up.
#[test]
fn a_client_that_leaves_is_abandoned_by_the_side() {
    let (gone, when_gone) = std::sync::mpsc::channel();
    let silent = upstream(move |mut peer| {
        peer.request();
        drop(peer.rest());
        gone.send(()).unwrap();
    });
    let handle = proxy_for(silent);
    let mut leaving = client(&handle);
    leaving.send(get("/"));
    std::thread::sleep(Duration::from_millis(300));
    drop(leaving);
    when_gone.recv_timeout(PATIENCE).unwrap();
    let counters = counted(&handle, |counters| counters.source.reads.abandoned == 1);
    assert_eq!((counters.source.reads.requests, counters.source.reads.failed), (1, 0));
    let micros = counters.source.reads.latency.quantile_micros(1.0).unwrap();
    assert!((250_000.0..2_000_000.0).contains(&micros), "{micros} µs");

    let mut resetting = client(&handle);
    resetting.send(get("/"));
    std::thread::sleep(Duration::from_millis(50));
    resetting.reset();
    counted(&handle, |counters| counters.source.reads.abandoned == 2);
}

/// Proves that a client that leaves before its request is whole is counted as that, and not to the side.
#[test]
fn an_incomplete_request_belongs_to_nobody() {
    let handle = proxy_for(upstream(|mut peer| drop(peer.rest())));
    for part in ["GET / HT", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"] {
        let mut leaving = client(&handle);
        leaving.send(part);
        leaving.stream.shutdown(Shutdown::Write).unwrap();
        drop(leaving.rest());
    }
    let counters = counted(&handle, |counters| counters.we.incomplete == 2);
    assert_eq!((counters.source.reads.requests, counters.source.writes.requests), (0, 0));
    counted(&handle, |counters| counters.source.in_flight == 0);
}

/// Proves that probes of load balancers are relayed but in no side's counts, and that our own health endpoint leaves
/// `/` to the service.
#[test]
fn probes_stay_out_of_the_counts() {
    let handle = proxy_with(echo("source"), None, |config| config.health_path = Some("/.tidegate/health".to_owned()));
    let mut client = client(&handle);
    let probe = "GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: ELB-HealthChecker/2.0\r\n\r\n";
    assert_eq!(client.ask(probe).text(), "source GET / HTTP/1.1");
    assert_eq!(client.ask(get("/.tidegate/health")).text(), "ok\n");
    assert_eq!(client.ask(get("/")).text(), "source GET / HTTP/1.1");
    let counters = counted(&handle, |counters| counters.source.reads.requests == 1);
    assert_eq!((counters.we.probes, counters.source.reads.status_2xx), (2, 1));
}

/// Proves that for a while replies carry `Connection: close`, so that clients reconnect.
#[test]
fn replies_can_ask_clients_to_reconnect() {
    let handle = proxy_for(echo("source"));
    let mut first = client(&handle);
    assert_eq!(first.ask(get("/")).field("connection"), None);
    handle.close_connections(&CloseConnections { millis: 60_000 });
    assert_eq!(first.ask(get("/")).field("connection"), Some("close"));
    assert!(first.rest().0.is_empty());
    handle.close_connections(&CloseConnections { millis: 0 });
    assert_eq!(client(&handle).ask(get("/")).field("connection"), None);
}

fn limit(kind: LimitKind, limit: f64) -> Armed {
    let limit =
        Limit { name: "a limit".to_owned(), kind, limit, requests_min: 20, window_millis: 1000, source_limit: 0.5 };
    Armed { reads: 0, writes: 0, limits: vec![limit] }
}

/// Proves that a target that fails trips its wire within a second: the armed share is back, with a generation of its
/// own, and a controller that has not noticed cannot override it.
#[test]
fn a_failing_target_trips_its_wire() {
    let target = upstream(|mut peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let handle = proxy_with(echo("source"), Some(target), |_| ());
    weigh(&handle, 500, 7);
    handle.arm(Some(limit(LimitKind::Errors, 0.2))).unwrap();
    let mut client = client(&handle);
    let began = clock::now();
    while handle.status().fired.is_none() {
        assert!(began.elapsed() < PATIENCE, "the tripwire never fired");
        client.ask(get("/"));
    }
    let status = handle.status();
    let fired = status.fired.unwrap();
    assert_eq!((status.reads, status.writes, status.generation, fired.generation), (0, 0, 8, 8));
    assert!(fired.why.contains("errors"), "{}", fired.why);
    for _ in 0..50 {
        assert_eq!(client.ask(get("/")).status(), 200);
    }
    let stale = proxy::api::SetWeight { target: 900, reads: None, writes: None, generation: 8 };
    assert!(handle.set_weight(&stale).is_err());
    assert_eq!(handle.counters().we.fired, 1);
}

/// Proves that a target that accepts and never answers trips its wire although no request of it ever ended.
#[test]
fn a_silent_target_trips_its_wire() {
    let handle = proxy_with(echo("source"), Some(upstream(|mut peer| drop(peer.rest()))), |_| ());
    weigh(&handle, 1000, 1);
    handle.arm(Some(limit(LimitKind::Unanswered, 0.5))).unwrap();
    let mut waiting: Vec<_> = (0..25).map(|_| client(&handle)).collect();
    for client in &mut waiting {
        client.send(get("/"));
    }
    let began = clock::now();
    while handle.status().fired.is_none() {
        assert!(began.elapsed() < PATIENCE, "the tripwire never fired");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(client(&handle).ask(get("/")).text(), "source GET / HTTP/1.1");
}

/// Proves that an early answer to a large upload reaches the client, and that the rest of the upload does no harm.
#[test]
fn an_early_answer_reaches_the_client() {
    let source = upstream(|mut peer| {
        peer.head();
        peer.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
        drop(peer.rest());
    });
    let handle = proxy_for(source);
    let mut client = client(&handle);
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n");
    let answer = client.response();
    assert_eq!((answer.status(), answer.text(), answer.field("connection")), (413, "big", Some("close")));
    drop(client.stream.write_all(&vec![0; 100_000]));
    let counters = counted(&handle, |counters| counters.source.writes.requests == 1);
    assert_eq!(counters.source.writes.status_4xx, 1);
}
