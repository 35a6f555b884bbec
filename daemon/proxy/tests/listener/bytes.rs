//! What goes in comes out: heads, bodies, interim responses and upgrades, byte for byte.

use std::{io::Write, net::Shutdown, sync::mpsc};

use crate::support::{client, get, ok, post, proxy_for, proxy_with, upstream};

/// Proves that end-to-end fields pass in order, spelling, duplicates and odd white space, and that only what belongs to
/// one hop goes.
#[test]
fn heads_pass_unaltered_but_for_the_hop() {
    let (seen, requests) = mpsc::channel();
    let source = upstream(move |mut peer| {
        while let Some(request) = peer.request() {
            seen.send(request.head).unwrap();
            peer.send(
                "HTTP/1.1 299 Quite  odd\r\nX-b: 2\r\nx-A:1\r\nX-b:  3 \r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
                 Set-Cookie: a\r\nSet-Cookie: b\r\ncontent-length: 2\r\n\r\nok",
            );
        }
    });
    let handle = proxy_for(source);
    let mut client = client(&handle);
    let answer = client.ask(
        "GET /a%2Fb?q=%zz&&{} HTTP/1.1\r\nhOST: x\r\nX-Two: 2\r\nx-one:1\r\nX-Two:  again\r\nConnection: X-Hop\r\n\
         X-Hop: 1\r\nTE: trailers\r\nKeep-Alive: 5\r\nVia: 1.0 other\r\nAccept: */*\r\n\r\n",
    );
    let seen = requests.recv().unwrap();
    assert_eq!(
        seen,
        "GET /a%2Fb?q=%zz&&{} HTTP/1.1\r\nhOST: x\r\nX-Two: 2\r\nx-one:1\r\nX-Two:  again\r\nVia: 1.0 other\r\n\
         Accept: */*\r\n\r\n"
    );
    assert_eq!(
        answer.head,
        "HTTP/1.1 299 Quite  odd\r\nX-b: 2\r\nx-A:1\r\nX-b:  3 \r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\
         content-length: 2\r\n\r\n"
    );
}

/// Proves that chunks, their extensions and trailers pass as they were framed, both ways.
#[test]
fn chunks_and_trailers_pass_both_ways() {
    let body = "5;name=value\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\nx-other: 2\r\n\r\n";
    let (seen, requests) = mpsc::channel();
    let source = upstream(move |mut peer| {
        while let Some(request) = peer.request() {
            seen.send(request.body).unwrap();
            peer.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        }
    });
    let handle = proxy_for(source);
    let mut client = client(&handle);
    for _ in 0..2 {
        let answer = client.ask(format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        assert_eq!(String::from_utf8(requests.recv().unwrap()).unwrap(), body);
        assert_eq!(answer.text(), body);
    }
}

/// Proves that a message comes out the same however its bytes were cut on the way in.
#[test]
fn cuts_on_the_way_change_nothing() {
    let source = upstream(|mut peer| {
        while let Some(request) = peer.request() {
            let answer = format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
                request.body.len(),
                String::from_utf8(request.body).unwrap()
            );
            for byte in answer.as_bytes() {
                peer.send([*byte]);
            }
        }
    });
    let handle = proxy_for(source);
    let mut client = client(&handle);
    let request = "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for byte in request.as_bytes() {
        client.send([*byte]);
    }
    let answer = client.response();
    let body = "3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(answer.text(), format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()));
}

/// Proves that responses without a body end where they should, so that the next one is found.
#[test]
fn bodiless_responses_end_with_their_head() {
    let source = upstream(|mut peer| {
        while let Some(request) = peer.request() {
            let answer = match request.line() {
                line if line.starts_with("HEAD") => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_owned(),
                "GET /204 HTTP/1.1" => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
                "GET /304 HTTP/1.1" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n".to_owned(),
                _ => ok("body"),
            };
            peer.send(answer);
        }
    });
    let handle = proxy_for(source);
    let mut client = client(&handle);
    client.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response_to_head().field("content-length"), Some("1000"));
    assert_eq!(client.ask(get("/204")).status(), 204);
    assert_eq!(client.ask(get("/304")).status(), 304);
    assert_eq!(client.ask(get("/")).text(), "body");
}

/// Proves that `Expect` goes upstream at once, that its 100 and other interim responses come back, and that the body
/// follows.
#[test]
fn expectations_and_interim_responses_pass() {
    let source = upstream(|mut peer| {
        while let Some(head) = peer.head() {
            assert_eq!(head.field("expect"), Some("100-continue"));
            peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
            let mut body = [0; 5];
            std::io::Read::read_exact(&mut peer.stream, &mut body).unwrap();
            peer.send(ok(std::str::from_utf8(&body).unwrap()));
        }
    });
    let handle = proxy_for(source);
    let mut client = client(&handle);
    for _ in 0..2 {
        client.send("PUT /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
        assert_eq!(client.response().head, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        assert_eq!(client.response().head, "HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(client.ask("hello").text(), "hello");
    }
}

/// Proves that a final answer to `Expect` ends the connection, since nobody can tell whether the body will come.
#[test]
fn a_refused_expectation_closes_the_connection() {
    let source = upstream(|mut peer| {
        peer.head();
        peer.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
        drop(peer.rest());
    });
    let handle = proxy_for(source);
    let mut client = client(&handle);
    let answer = client.ask("PUT /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!((answer.status(), answer.field("connection")), (401, Some("close")));
    assert!(client.rest().0.is_empty());
}

/// Proves that pipelined requests are answered one after the other, each by its own answer, even when the client has
/// already said that it sends no more.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let source = crate::support::echo("source");
    let handle = proxy_for(source);
    let mut client = client(&handle);
    let requests: String =
        (0..50).map(|n| if n % 3 == 0 { post(&format!("/{n}"), "body") } else { get(&format!("/{n}")) }).collect();
    client.send(requests);
    client.stream.shutdown(Shutdown::Write).unwrap();
    for n in 0..50 {
        let method = if n % 3 == 0 { "POST" } else { "GET" };
        assert_eq!(client.response().text(), format!("source {method} /{n} HTTP/1.1"));
    }
    assert!(client.rest().0.is_empty());
}

/// Proves that a WebSocket is let through both ways after its 101, that bytes sent with the handshake are not lost, and
/// that another upgrade is not passed on.
#[test]
fn websockets_pass_and_other_upgrades_do_not() {
    let source = upstream(|mut peer| {
        let head = peer.head().unwrap();
        if head.field("upgrade").is_none() {
            peer.send(ok("no upgrade"));
            return;
        }
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfrom upstream;",
        );
        let (all, _) = peer.rest();
        peer.stream.write_all(&all).unwrap();
    });
    let handle = proxy_for(source);
    let upgrade = |protocol: &str| {
        format!(
            "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
    };
    let mut socket = client(&handle);
    socket.send(upgrade("websocket"));
    let answer = socket.head().unwrap();
    assert_eq!((answer.status(), answer.field("upgrade")), (101, Some("websocket")));
    socket.send("one, two");
    socket.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(socket.rest().0, b"from upstream;one, two");
    assert_eq!(handle.counters().source.upgraded, 1);

    assert_eq!(client(&handle).ask(upgrade("h2c")).text(), "no upgrade");
}

/// Proves that a client of HTTP/1.0 gets a body it can read, without chunks, and a connection that ends with it.
#[test]
fn an_old_client_gets_no_chunks() {
    let source = upstream(|mut peer| {
        let request = peer.request().unwrap();
        assert_eq!(request.line(), "GET /old HTTP/1.1");
        assert!(request.field("host").is_some());
        peer.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: 1\r\n\r\n",
        );
    });
    let handle = proxy_for(source);
    let mut client = client(&handle);
    client.send("GET /old HTTP/1.0\r\n\r\n");
    let (all, end) = client.rest();
    let all = String::from_utf8(all).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK") && !head.to_lowercase().contains("chunked"), "{head}");
    assert_eq!(body, "abcdefg");
    end.unwrap();
}

/// Proves that a body that ends with the upstream's connection ends with the client's.
#[test]
fn a_body_until_close_ends_with_the_connection() {
    let source = upstream(|mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    });
    let handle = proxy_for(source);
    let mut client = client(&handle);
    client.send(get("/"));
    let answer = client.head().unwrap();
    assert_eq!(answer.field("connection"), Some("close"));
    let (body, end) = client.rest();
    assert_eq!(body, b"until the end");
    end.unwrap();
}

/// Proves that a side's own header fields replace the client's, and that X-Forwarded-* is added only when asked for.
#[test]
fn header_overrides_and_forwarded_fields() {
    let source = upstream(|mut peer| {
        while let Some(request) = peer.request() {
            peer.send(ok(&request.head.replace("\r\n", "|")));
        }
    });
    let handle = proxy_with(source, None, |config| {
        config.source.set_headers = vec![("Authorization".to_owned(), "Basic c2lkZQ==".to_owned())];
        config.forwarded = proxy::config::Forwarded::Append;
    });
    let answer =
        client(&handle).ask("GET / HTTP/1.1\r\nHost: x\r\nauthorization: mine\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n");
    let head = answer.text();
    assert!(head.contains("Basic c2lkZQ==") && !head.contains("mine"), "{head}");
    assert!(head.contains("10.0.0.1") && head.contains("127.0.0.1"), "{head}");
}
