//! Clients and upstreams that mean harm. What framing refuses is tested beside `wire`; here it is shown that a refusal
//! is answered at once, ends the connection, and never reaches an upstream or somebody else's connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::{client, counted, get, ok, proxy_for, proxy_with, upstream};

/// Proves that requests that smuggle, overflow or make no sense are refused with the status the RFC asks for, at once,
/// with the connection closed after it, and that no part of them reaches the upstream.
#[test]
fn what_is_refused_reaches_nobody() {
    let head = |fields: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
    let chunked = "Transfer-Encoding: chunked";
    let cases: Vec<(String, u16)> = vec![
        (head("Content-Length: 5\r\nTransfer-Encoding: chunked") + "0\r\n\r\n", 400),
        (head("Content-Length: 5\r\nContent-Length: 6") + "hello", 400),
        (head("Content-Length: 5, 6") + "hello", 400),
        (head("Content-Length: +5") + "hello", 400),
        (head("Content-Length: 0x5") + "hello", 400),
        (head("Content-Length: 99999999999999999999"), 400),
        (head("Content-Length: -1"), 400),
        (head("Content-Length: 5 5"), 400),
        (head("Content-Length:"), 400),
        (head("Transfer-Encoding: chunked, chunked"), 400),
        (head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400),
        (head("Transfer-Encoding: identity"), 0),
        (head("Transfer-Encoding: xchunked"), 0),
        (head("Transfer-Encoding: gzip, chunked"), 501),
        (head("Transfer-Encoding : chunked"), 400),
        (head(" Transfer-Encoding: chunked"), 400),
        (head("X: 1\r\n folded"), 400),
        (head("X\0: 1"), 400),
        (head("X: a\0b"), 400),
        (head("X: a\rb"), 400),
        (head("X Y: 1"), 400),
        (head(": nameless"), 400),
        (head("no colon"), 400),
        (head("Host: y"), 400),
        ("POST / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\nHost: x\n\n".to_owned(), 400),
        ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1 \r\nHost: x\r\n\r\n".to_owned(), 400),
        ("GET /\u{1} HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400),
        ("GET /a b HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400),
        ("GET /\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n".to_owned(), 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 0),
        ("CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 501),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}".to_owned(), 400),
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(40_000)), 414),
        (head(&format!("X: {}", "a".repeat(70_000))), 431),
        (head("X: 1\r\n".repeat(300).trim_end()), 431),
        (head(chunked) + "x\r\n", 400),
        (head(chunked) + "-1\r\n", 400),
        (head(chunked) + "5\nhello\r\n0\r\n\r\n", 400),
        (head(chunked) + "5 \r\nhello\r\n0\r\n\r\n", 400),
        (head(chunked) + "5\r\nhelloXX0\r\n\r\n", 400),
        (head(chunked) + "ffffffffffffffffff\r\n", 400),
        (head(chunked) + &format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(5000)), 400),
        (head(chunked) + "0\r\nContent-Length: 5\r\n\r\n", 400),
    ];
    let (whole, reached) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, connections) = (Arc::clone(&whole), Arc::clone(&reached));
    let source = upstream(move |mut peer| {
        connections.fetch_add(1, Ordering::Relaxed);
        while peer.request().is_some() {
            count.fetch_add(1, Ordering::Relaxed);
            peer.send(ok("passed"));
        }
    });
    let handle = proxy_for(source);
    for (request, status) in &cases {
        let mut client = client(&handle);
        client.send(format!("{request}{}", get("/smuggled")));
        let answer = client.response();
        let shown: String = request.chars().take(120).collect();
        assert!(answer.status() == *status || (*status == 0 && answer.status() >= 400), "{shown:?}: {}", answer.head);
        assert_eq!(answer.field("connection"), Some("close"), "{shown:?}");
        assert!(client.rest().0.is_empty(), "{shown:?}: nothing follows a refusal");
    }
    assert_eq!(whole.load(Ordering::Relaxed), 0, "no upstream ever saw a whole request");
    let counters = counted(&handle, |counters| counters.we.refused.values().sum::<u64>() == cases.len() as u64);
    assert_eq!((counters.source.reads.requests, counters.source.writes.requests), (0, 0));
    counted(&handle, |counters| counters.source.in_flight == 0 && counters.source.connections_open == 0);
}

/// Proves that odd requests that are sound pass: the list of those is as important as that of the refused.
#[test]
fn what_is_odd_but_sound_passes() {
    let source = upstream(|mut peer| {
        while let Some(request) = peer.request() {
            let body = request.head.lines().next().unwrap().to_owned();
            peer.send(ok(&body));
        }
    });
    let handle = proxy_for(source);
    for request in [
        "\r\nGET /after-an-empty-line HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http://x/absolute?q HTTP/1.1\r\nHost: x\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        "get /lower HTTP/1.1\r\nHost: x\r\n\r\n",
        "M-SEARCH /token HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /empty-host HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /v6 HTTP/1.1\r\nHost: [::1]:9200\r\n\r\n",
        "GET /tabs HTTP/1.1\r\nHost:\tx\t\r\nX:\t \r\n\r\n",
        "GET /bytes HTTP/1.1\r\nHost: x\r\nX: \u{e9}\r\n\r\n",
        "GET /minor HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "GET /body HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        "POST /none HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /ext HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n00002;a=\"b;c\"\r\nhi\r\n000\r\n\r\n",
        "GET /zeros HTTP/1.1\r\nHost: x\r\nContent-Length: 0000\r\n\r\n",
    ] {
        let request = request.replace("Chunked", "chunked");
        assert_eq!(client(&handle).ask(&request).status(), 200, "{request:?}");
    }
}

/// Proves that an upstream that sends more than its answer cannot reach the next request: neither the same client's nor
/// another's.
#[test]
fn extra_bytes_after_an_answer_reach_nobody() {
    for delay in [0, 50] {
        let source = upstream(move |mut peer| {
            while peer.request().is_some() {
                if delay == 0 {
                    peer.send(ok("mine") + &ok("POISON"));
                } else {
                    peer.send(ok("mine"));
                    std::thread::sleep(Duration::from_millis(delay));
                    drop(std::io::Write::write_all(&mut peer.stream, ok("POISON").as_bytes()));
                }
            }
        });
        let handle = proxy_for(source);
        let (mut one, mut other) = (client(&handle), client(&handle));
        for _ in 0..10 {
            assert_eq!(one.ask(get("/")).text(), "mine");
            // What comes after the next request was sent can be told from its answer by nobody.
            std::thread::sleep(Duration::from_millis(delay * 2));
            assert_eq!(other.ask(get("/")).text(), "mine");
            std::thread::sleep(Duration::from_millis(delay * 2));
        }
    }
}

/// Proves that an answer that is not sound HTTP is a 502 and the side's failure, and that nothing of it is relayed.
#[test]
fn an_unsound_answer_is_a_bad_gateway() {
    let flood = "HTTP/1.1 102 Processing\r\n\r\n".repeat(200);
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 Odd\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\0\0\0\0",
    ] {
        let source = upstream(move |mut peer| {
            peer.request();
            peer.send(answer);
            drop(peer.rest());
        });
        let handle = proxy_for(source);
        let mut client = client(&handle);
        assert_eq!(client.ask(get("/")).status(), 502, "{answer:?}");
        assert_eq!(handle.counters().source.failed_protocol, 1, "{answer:?}");
    }
    // A flood of interim responses is cut off after the limit; those before it were relayed.
    let source = upstream(move |mut peer| {
        peer.request();
        drop(std::io::Write::write_all(&mut peer.stream, flood.as_bytes()));
        drop(peer.rest());
    });
    let handle = proxy_for(source);
    let mut client = client(&handle);
    client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let said = String::from_utf8(client.rest().0).unwrap();
    assert!(said.matches("HTTP/1.1 102").count() <= 100 && !said.contains("HTTP/1.1 200"));
    counted(&handle, |counters| counters.source.failed_protocol == 1);
}

/// Proves that a response head larger than its limit is a 502 and is not buffered without end.
#[test]
fn a_response_head_without_end_is_cut_off() {
    let source = upstream(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n");
        while std::io::Write::write_all(&mut peer.stream, b"X-More: and more and more\r\n").is_ok() {}
    });
    let handle = proxy_with(source, None, |_| ());
    assert_eq!(client(&handle).ask(get("/")).status(), 502);
}
