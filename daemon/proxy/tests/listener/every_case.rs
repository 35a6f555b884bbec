//! Every case of the table of hostile and odd messages, sent to a listening proxy.

use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use proxy::wire::{Asked, Limits, RequestReader, ResponseReader, Span};

use crate::{
    cases::{self, requests, responses},
    support::{Peer, client, counted, proxy_for, upstream},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Answers every whole request on a connection, and counts them. Roomier than the proxy: a head at its limit has grown.
fn answer_whole_requests(mut peer: Peer, whole: &AtomicUsize) {
    let mut reader =
        RequestReader::new(Limits { head_bytes_max: 1 << 20, target_bytes_max: 1 << 20, ..Limits::DEFAULT });
    let (mut input, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        match reader.next(&input) {
            Ok(Span::More) => match peer.stream.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(count) => input.extend_from_slice(&piece[..count]),
            },
            Ok(Span::End) => {
                whole.fetch_add(1, Ordering::SeqCst);
                if peer.stream.write_all(OK.as_bytes()).is_err() {
                    return;
                }
            }
            Ok(span) => drop(input.drain(..span.len())),
            Err(refusal) => panic!("the proxy sent what it must not: {refusal}"),
        }
    }
}

/// Reads until `wanted` answers came, or until the end when a refusal must follow them.
fn answers(client: &mut Peer, wanted: usize, refused: bool) -> String {
    let (mut said, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let text = String::from_utf8_lossy(&said).into_owned();
        if !refused && text.matches("HTTP/1.1 200").count() == wanted {
            return text;
        }
        match client.stream.read(&mut piece) {
            Ok(0) => return text,
            Ok(count) => said.extend_from_slice(&piece[..count]),
            Err(error) => panic!("after {text:?}: {error}"),
        }
    }
}

/// Proves that each request of the table is answered or refused as it says, and that exactly the whole ones reach the
/// upstream.
#[test]
fn every_request_of_the_table_is_answered_or_refused_as_it_says() {
    let whole = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&whole);
    let handle = proxy_for(upstream(move |peer| answer_whole_requests(peer, &count)));
    let mut expected = 0;
    for case in requests() {
        let (passes, refused) = (case.outcome.matches('.').count(), case.refused());
        let mut client = client(&handle);
        // A refusal may come, and close, before all is sent.
        let sent = client.stream.write_all(&case.bytes);
        assert!(sent.is_ok() || refused.is_some(), "{}: {sent:?}", case.name);
        let said = answers(&mut client, passes, refused.is_some());
        let statuses: Vec<&str> = said.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        let refusal = refused.map(|status| status.to_string());
        let mut wanted = vec!["200"; passes];
        wanted.extend(refusal.as_deref());
        assert_eq!(statuses, wanted, "{}: {said}", case.name);
        assert!(refused.is_none() || said.contains("Connection: close"), "{}: {said}", case.name);
        expected += passes;
        assert_eq!(whole.load(Ordering::SeqCst), expected, "{}", case.name);
    }
}

/// The final status that a client sees, and whether the message was whole, in all that came until the connection ended.
fn seen(said: &[u8]) -> (u16, bool) {
    let mut reader =
        ResponseReader::new(Limits { response_head_bytes_max: 1 << 20, field_lines_max: 512, ..Limits::DEFAULT });
    reader.expect(Asked::Plain);
    let mut rest = said;
    loop {
        match reader.next(rest) {
            Ok(Span::End) => return (reader.head().status, true),
            Ok(Span::More) => return (reader.head().status, reader.end_of_input() == Ok(Span::End)),
            Ok(span) => rest = &rest[span.len()..],
            Err(refusal) => panic!("the proxy relayed what it must not: {refusal}: {}", said.escape_ascii()),
        }
    }
}

/// Proves that a client sees a whole answer where the table says so; otherwise 502, or an answer that is cut.
#[test]
fn every_response_of_the_table_is_relayed_or_failed_as_it_says() {
    // The client asks GET; the rest of the table answers something else.
    for case in responses().into_iter().filter(|case| case.asked == cases::Asked::Get) {
        if !case.outcome.contains(['.', '!']) {
            // Nothing is wrong yet: more is awaited.
            continue;
        }
        let bytes = case.bytes.clone();
        let handle = proxy_for(upstream(move |mut peer| {
            if peer.request().is_some() {
                // The proxy may have seen enough before all is sent.
                drop(peer.stream.write_all(&bytes));
                if !case.closes {
                    drop(peer.rest());
                }
            }
        }));
        let mut client = client(&handle);
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let (said, _) = client.rest();
        let (status, whole) = seen(&said);
        if case.outcome.contains('.') {
            assert!(status != 502 && whole, "{}: {}", case.name, said.escape_ascii());
        } else {
            assert!(status == 502 || !whole, "{}: {}", case.name, said.escape_ascii());
            assert!(case.outcome.contains('H') || status == 502, "{}: {}", case.name, said.escape_ascii());
            let failed = counted(&handle, |counters| counters.source.reads.requests == 1).source.reads.failed;
            assert_eq!(failed, 1, "{}", case.name);
        }
    }
}
