//! A real topic of the Java proxy, and what its client really sent and got.

use std::collections::BTreeMap;

use prost::Message as _;
use proxy::capture::Lengths;
use proxy::capture::read::{Chunk, Exchange, Outcome, What};
use proxy::wire::{Limits, RequestReader, Span};

use crate::reference::{TrafficStream, assert_same};
use crate::support::{lines, read, unbase64};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[derive(serde::Deserialize)]
struct Client {
    name: String,
    category: String,
    sent: String,
    received: String,
    requests: Vec<Asked>,
}

#[derive(serde::Deserialize)]
struct Asked {
    complete: bool,
}

fn topic() -> Vec<Vec<u8>> {
    lines("java-topic.b64.gz").iter().map(|line| unbase64(line)).collect()
}

/// Proves that out of the topic come 181 requests, 179 complete and 178 answered, each byte as the client sent and got
/// it, connection by connection, with nothing that would break the Replayer.
#[test]
fn the_topic_gives_what_its_client_sent_and_got() {
    let topic = topic();
    assert_eq!(topic.len(), 120);
    let outcomes = read(topic.iter().map(Vec::as_slice));
    let mut connections: BTreeMap<&str, Vec<&Exchange>> = BTreeMap::new();
    let mut interim = 0;
    for outcome in &outcomes {
        match outcome {
            Outcome::Exchange(exchange) => connections.entry(&exchange.connection).or_default().push(exchange),
            Outcome::Closed(_) => {}
            Outcome::Ignored(ignored) => {
                // The Java proxy records `100 Continue` where no reader has a place for it.
                assert!(ignored.early && ignored.bytes == CONTINUE.len(), "{ignored:?}");
                interim += 1;
            }
            Outcome::Breaks(breaks) => panic!("{breaks}"),
        }
    }
    let all = || connections.values().flatten();
    assert_eq!(all().count(), 181);
    assert_eq!(all().filter(|exchange| exchange.complete).count(), 179);
    assert_eq!(all().filter(|exchange| exchange.response.as_ref().is_some_and(|bytes| !bytes.is_empty())).count(), 178);

    let mut of: BTreeMap<Vec<u8>, (Vec<u8>, Vec<bool>)> = connections
        .values()
        .map(|exchanges| {
            let sent = exchanges.iter().flat_map(|one| one.request.clone()).collect();
            let got = exchanges.iter().flat_map(|one| one.response.clone().unwrap_or_default()).collect();
            (sent, (got, exchanges.iter().map(|one| one.complete).collect()))
        })
        .collect();
    let mut removed = 0;
    for line in lines("java-client.jsonl.gz") {
        let client: Client = serde_json::from_str(&line).unwrap();
        let sent = unbase64(&client.sent);
        if sent.is_empty() {
            continue;
        }
        let (got, complete) = of.remove(&sent).unwrap_or_else(|| panic!("nothing was sent like {}", client.name));
        let mut received = unbase64(&client.received);
        if client.category == "expect-100" {
            while let Some(place) = received.windows(CONTINUE.len()).position(|bytes| bytes == CONTINUE) {
                received.drain(place..place + CONTINUE.len());
                removed += 1;
            }
        }
        assert!(got == received, "{} got other bytes", client.name);
        assert_eq!(complete, client.requests.iter().map(|asked| asked.complete).collect::<Vec<_>>(), "{}", client.name);
    }
    assert!(of.is_empty(), "connections that no client had");
    assert_eq!(interim, removed);
}

/// Proves that each record says the same to our reader and to the reference, and each end of message the lengths that our
/// own reading of the request's head gives.
#[test]
fn the_topic_reads_the_same_for_the_reference_and_its_lengths_are_ours() {
    let topic = topic();
    let mut heads: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut compared = 0;
    for record in &topic {
        let chunk = Chunk::decode(record).unwrap();
        assert_same(&chunk, &TrafficStream::decode(record.as_slice()).unwrap());
        let request = heads.entry(chunk.connection.to_owned()).or_default();
        for observation in chunk.observations() {
            match observation.what.unwrap() {
                What::Read(data) | What::ReadSegment(data) => request.extend_from_slice(data),
                What::EndOfMessage { first_line, headers } => {
                    let mut reader = RequestReader::new(Limits::DEFAULT);
                    let span = reader.next(request);
                    assert!(matches!(span, Ok(Span::Head(_))), "{span:?}: {}", String::from_utf8_lossy(request));
                    let ours = Lengths::of(reader.head());
                    assert_eq!((Some(ours.first_line), Some(ours.headers)), (first_line, headers));
                    request.clear();
                    compared += 1;
                }
                _ => {}
            }
        }
    }
    assert_eq!(compared, 179);
}
