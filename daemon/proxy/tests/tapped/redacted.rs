//! Values of named fields are in no record, wherever the fields stand and however the bytes came; clients and clusters get
//! them as they were sent.

use std::{sync::Arc, thread, time::Duration};

use proxy::{capture::Sink, config::Retry};

use crate::{
    kept::Kept,
    rig::{Rig, Setup, Source},
    support::{Peer, get, plain_with, upstream, weigh},
};

const SECRET: &str = "POST /i HTTP/1.1\r\nHost: x\r\nauthorization:  Basic c2VjcmV0\r\nX-Key: k\r\nCookie: a\r\n\
    Cookie: bb\r\nContent-Length: 6\r\n\r\nsecret";

/// A request with the field in its head and its trailers, and with lines like it in its body.
const REQUEST: &str = "POST /i/_search HTTP/1.1\r\nHost: x\r\nX-Token: first\r\nTransfer-Encoding: chunked\r\n\r\n\
    11\r\nX-Token: a body\r\n\r\n0\r\nX-Sum: 1\r\nx-TOKEN:\t second \r\nX-Token:\r\nX-Token: third\r\n\r\n";

/// The same for a response.
const RESPONSE: &str = "HTTP/1.1 200 X-Token: reason\r\nX-Token: first\r\nSet-Cookie: a=b; Secure\r\nTransfer-Encoding: chunked\r\n\r\n\
    11\r\nX-Token: a body\r\n\r\n0\r\nX-Sum: 1\r\nset-cookie:c \r\nX-Token: second\r\n\r\n";

/// Answers that are in no record.
const INTERIM: &str = "HTTP/1.1 103 Early Hints\r\nSet-Cookie: early\r\n\r\n";

/// How long one piece is on its way alone.
const APART: Duration = Duration::from_millis(2);

fn setup() -> Setup {
    Setup { redact: vec!["x-token".to_owned(), "set-cookie".to_owned()], ..Setup::default() }
}

/// How a message is recorded.
fn stars(message: &str) -> String {
    [" first", " second", " third", " a=b; Secure", ":c"].iter().fold(message.to_owned(), |message, value| {
        message.replace(value, &[&value[..1], &"*".repeat(value.len() - 1)].concat())
    })
}

/// Each request with its response, as text.
fn recorded(log: &Kept) -> Vec<(String, String)> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    log.exchanges()
        .into_iter()
        .map(|exchange| {
            assert!(exchange.complete, "{exchange:?}");
            (text(exchange.request), exchange.response.map(text).unwrap_or_default())
        })
        .collect()
}

/// The next final answer, as it came.
fn answer(client: &mut Peer) -> String {
    loop {
        let message = client.response();
        if message.status() >= 200 {
            return message.head + std::str::from_utf8(&message.body).unwrap();
        }
    }
}

/// Proves that the values of named fields are in no record, however the client spelled their names and wherever its bytes
/// were cut, while the source gets them and all lengths stay true.
#[test]
fn named_fields_are_redacted() {
    let source = Source::ok();
    let redact = vec!["authorization".to_owned(), "cookie".to_owned()];
    let rig = Rig::with(source.address, Setup { redact, ..Setup::default() }, |_| ());
    let mut client = rig.client();
    for cut in [0, 40, 60, SECRET.len() - 3] {
        client.send(&SECRET[..cut]);
        client.send(&SECRET[cut..]);
        assert_eq!(client.response().status(), 200);
    }
    drop(client);
    rig.log.wait_closed(1);
    let wanted = SECRET.replace("Basic c2VjcmV0", "**************").replace(": a\r", ": *\r").replace(": bb", ": **");
    let exchanges = rig.log.exchanges();
    assert_eq!(exchanges.len(), 4);
    for exchange in exchanges {
        assert_eq!(String::from_utf8(exchange.request).unwrap(), wanted);
    }
    assert_eq!(source.text(), SECRET.repeat(4));
}

/// Proves that the fields are redacted in heads and trailers of requests that are cut at each byte, and of their responses,
/// and nowhere else; and that interim answers are in no record.
#[test]
fn requests_cut_anywhere_are_redacted() {
    let source = Source::new(|_| [INTERIM, RESPONSE].concat().into_bytes());
    let rig = Rig::with(source.address, setup(), |_| ());
    let mut client = rig.client();
    for cut in 0..REQUEST.len() {
        client.send(&REQUEST[..cut]);
        thread::sleep(APART);
        client.send(&REQUEST[cut..]);
        assert_eq!(answer(&mut client), RESPONSE);
    }
    drop(client);
    rig.log.wait_closed(1);
    let wanted = (stars(REQUEST), stars(RESPONSE));
    assert!(wanted.0.contains("x-TOKEN:\t ****** \r\n") && wanted.1.contains("\r\nSet-Cookie: ***********\r\n"));
    let recorded = recorded(&rig.log);
    assert_eq!(recorded.len(), REQUEST.len());
    for (cut, exchange) in recorded.iter().enumerate() {
        assert_eq!(*exchange, wanted, "cut at {cut}");
    }
    assert_eq!(source.text(), REQUEST.repeat(REQUEST.len()));
}

/// Proves the same of a request and a response that come byte by byte.
#[test]
fn responses_in_bytes_are_redacted() {
    let source = upstream(|mut peer| {
        while peer.request().is_some() {
            for byte in [INTERIM, RESPONSE].concat().into_bytes() {
                peer.send([byte]);
                thread::sleep(APART);
            }
        }
    });
    let rig = Rig::with(source, setup(), |_| ());
    let mut client = rig.client();
    for byte in REQUEST.bytes() {
        client.send([byte]);
        thread::sleep(APART);
    }
    assert_eq!(answer(&mut client), RESPONSE);
    drop(client);
    rig.log.wait_closed(1);
    assert_eq!(recorded(&rig.log), [(stars(REQUEST), stars(RESPONSE))]);
}

/// Proves it of requests that were sent all at once, between others that have nothing to redact.
#[test]
fn pipelined_requests_are_redacted() {
    let source = Source::new(|_| RESPONSE.into());
    let rig = Rig::with(source.address, setup(), |_| ());
    let mut client = rig.client();
    let requests: Vec<String> =
        (0..30).map(|number| if number % 3 == 1 { get("/first") } else { REQUEST.to_owned() }).collect();
    client.send(requests.concat());
    for _ in &requests {
        assert_eq!(answer(&mut client), RESPONSE);
    }
    drop(client);
    rig.log.wait_closed(1);
    let wanted = |request: &String| {
        let request = if request == REQUEST { stars(request) } else { request.clone() };
        (request, stars(RESPONSE))
    };
    assert_eq!(recorded(&rig.log), requests.iter().map(wanted).collect::<Vec<_>>());
    assert_eq!(source.text(), requests.concat());
}

/// Proves that a read that is sent once more, to the other side, is redacted in both records.
#[test]
fn a_retried_read_is_redacted_on_both_sides() {
    let source = Source::new(|_| RESPONSE.into());
    let target = upstream(|mut peer| drop(peer.request()));
    let logs = [Arc::new(Kept::default()), Arc::new(Kept::default())];
    let handle = plain_with(source.address, Some(target), |config| {
        config.retry = Retry::Reads;
        for (side, log) in [Some(&mut config.source), config.target.as_mut()].into_iter().flatten().zip(&logs) {
            side.capture = Some(setup().captured(Arc::clone(log) as Arc<dyn Sink>).0);
        }
    });
    weigh(&handle, 1000, 1);
    let mut client = Peer::connect(handle.local_addr());
    client.send(REQUEST);
    assert_eq!(answer(&mut client), RESPONSE);
    drop(client);
    for (log, response) in logs.iter().zip([stars(RESPONSE), String::new()]) {
        log.wait_closed(1);
        assert_eq!(recorded(log), [(stars(REQUEST), response)]);
    }
    assert_eq!(source.text(), REQUEST);
}
