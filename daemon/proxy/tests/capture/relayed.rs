//! A stream among the readers it is made for: a client that sends what it likes, cut as it likes, and a relay that frames it.

use proptest::prelude::*;
use proxy::capture::read::Outcome;
use proxy::capture::{Ending, Lengths, Record, Stream};
use proxy::class::{Class, ReadList};
use proxy::wire::{Limits, RequestReader, Span};

use crate::strict::assert_strict;
use crate::support::{at, read, recorder};

const REQUESTS: [&str; 4] = [
    "GET /i/_search?q=a HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /i/_doc HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world",
    "PUT /i/_doc/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nWiki\r\n5\r\npedia\r\n0\r\nT: 1\r\n\r\n",
    "DELETE /i HTTP/1.1\r\nHost: a\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n",
];

/// A request and its response.
type Told = (Vec<u8>, Vec<u8>);

/// Relays what a client sent in these cuts, all of it there before the first answer; what a relay does, without sockets.
fn relay(sent: &[u8], cuts: &[usize], chunk_bytes_max: usize) -> (Vec<Record>, Vec<Told>) {
    let recorder = recorder(chunk_bytes_max);
    let reads = ReadList::default();
    let mut stream = Stream::new(&recorder, at(0));
    let mut reader = RequestReader::new(Limits::DEFAULT);
    let (mut out, mut exchanges) = (Vec::new(), Vec::new());
    let (mut start, mut filled, mut begun, mut millis) = (0, 0, false, 0);
    let mut request = Vec::new();
    for cut in cuts.iter().copied().chain([sent.len()]) {
        filled = filled.max(cut);
        millis += 1;
        loop {
            let span = reader.next(&sent[start..filled]).unwrap();
            let bytes = &sent[start..start + span.len()];
            start += span.len();
            request.extend_from_slice(bytes);
            match span {
                Span::More => break,
                Span::Head(_) => {
                    let head = reader.head();
                    let class = reads.class(head.method_part.of(bytes), head.target.of(bytes));
                    stream.begin(&recorder, at(millis), class, [bytes, b""], &mut out);
                    begun = true;
                }
                Span::End => {
                    assert!(begun, "an end has a beginning");
                    let write = !request.starts_with(b"GET");
                    let ending = stream.end(&recorder, Lengths::of(reader.head()), &mut out);
                    assert_eq!(ending, if write { Ending::Held } else { Ending::Free });
                    // The response, before anything of the next request is shown.
                    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}", exchanges.len() % 10);
                    millis += 1;
                    stream.write(
                        &recorder,
                        at(millis),
                        [&response.as_bytes()[..20], &response.as_bytes()[20..]],
                        &mut out,
                    );
                    exchanges.push((std::mem::take(&mut request), response.into_bytes()));
                    begun = false;
                }
                _ => stream.read(&recorder, at(millis), [bytes, b""], &mut out),
            }
        }
    }
    millis += 1;
    stream.close(&recorder, at(millis), None, &mut out);
    (out, exchanges)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Requests that are sent without waiting for answers are recorded one after the other, each with its own response, as
    /// the client's own bytes, however they were cut on their way.
    #[test]
    fn pipelined_requests_have_their_own_responses(
        which in proptest::collection::vec(0..REQUESTS.len(), 1..12),
        places in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        chunk_bytes_max in prop_oneof![200..500usize, Just(1_048_076)],
    ) {
        let sent = which.iter().map(|&one| REQUESTS[one]).collect::<String>().into_bytes();
        let mut cuts: Vec<usize> = places.iter().map(|place| place.index(sent.len())).collect();
        cuts.sort_unstable();
        let (records, exchanges) = relay(&sent, &cuts, chunk_bytes_max);
        prop_assert!(assert_strict(&records.iter().collect::<Vec<_>>(), chunk_bytes_max));
        let mut found = Vec::new();
        for outcome in read(records.iter().map(Record::bytes)) {
            match outcome {
                Outcome::Exchange(one) => {
                    prop_assert!(one.complete);
                    prop_assert_eq!(usize::try_from(one.number), Ok(found.len()));
                    found.push((one.request, one.response.unwrap()));
                }
                Outcome::Closed(_) => {}
                odd => prop_assert!(false, "{odd:?}"),
            }
        }
        prop_assert_eq!(exchanges.len(), which.len());
        prop_assert_eq!(found, exchanges);
    }
}

/// Proves what `contracts` asks of odd exchanges: an early final response drops the request, whose end is then not recorded;
/// a request without an end is reads and a close; after an upgrade only the end is recorded.
#[test]
fn odd_exchanges_are_recorded_as_the_contract_says() {
    let recorder = recorder(1_048_076);
    let lengths = Lengths { first_line: 15, headers: 17 };
    let mut out = Vec::new();

    let mut early = Stream::new(&recorder, at(0));
    early.begin(&recorder, at(1), Class::Write, [b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", b"abc"], &mut out);
    early.write(&recorder, at(2), [b"HTTP/1.1 413 Content Too Large\r\n\r\n", b""], &mut out);
    early.read(&recorder, at(3), [b"defghi", b""], &mut out);
    assert_eq!(early.end(&recorder, lengths, &mut out), Ending::Unrecorded);
    early.close(&recorder, at(4), None, &mut out);

    let mut unfinished = Stream::new(&recorder, at(0));
    unfinished.begin(&recorder, at(1), Class::Write, [b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", b""], &mut out);
    unfinished.flush(&mut out);
    unfinished.flush(&mut out);
    unfinished.read(&recorder, at(2), [b"abc", b""], &mut out);
    unfinished.close(&recorder, at(3), Some("connection reset by peer"), &mut out);

    let mut upgraded = Stream::new(&recorder, at(0));
    upgraded.begin(&recorder, at(1), Class::Read, [b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", b""], &mut out);
    assert_eq!(upgraded.end(&recorder, lengths, &mut out), Ending::Free);
    upgraded.upgraded();
    upgraded.write(&recorder, at(2), [b"no longer HTTP", b""], &mut out);
    upgraded.close(&recorder, at(3), None, &mut out);

    let said: Vec<String> = read(out.iter().map(Record::bytes))
        .into_iter()
        .filter_map(|outcome| match outcome {
            Outcome::Exchange(one) => Some(format!(
                "{} bytes, {}, {:?}, {:?}",
                one.request.len(),
                if one.complete { "complete" } else { "incomplete" },
                one.response.map(|response| response.len()),
                one.end,
            )),
            Outcome::Closed(_) => None,
            odd => panic!("{odd:?}"),
        })
        .collect();
    assert_eq!(
        said,
        [
            "41 bytes, incomplete, None, Dropped",
            "41 bytes, incomplete, None, Exception",
            "38 bytes, complete, None, Close",
        ]
    );
}

/// Proves that a name of which a record was lost says nothing more, not even its end, and that the next request begins a
/// fresh one with index 1; the rest of the exchange under way is in none.
#[test]
fn a_lost_record_ends_its_name() {
    let recorder = recorder(1_048_076);
    let lengths = Lengths { first_line: 14, headers: 0 };
    let mut out = Vec::new();
    let mut stream = Stream::new(&recorder, at(0));
    let get: [&[u8]; 2] = [b"GET / HTTP/1.1\r\n\r\n", b""];
    stream.begin(&recorder, at(1), Class::Write, get, &mut out);
    assert_eq!(stream.end(&recorder, lengths, &mut out), Ending::Held);
    let first = *stream.connection();
    stream.write(&recorder, at(2), [b"HTTP/1.1 200 OK", b""], &mut out);
    stream.lost();
    assert_eq!(stream.held_bytes(), 0);
    stream.write(&recorder, at(3), [b"\r\n\r\n", b""], &mut out);
    stream.flush(&mut out);
    stream.close(&recorder, at(4), None, &mut out);
    assert_eq!(out.len(), 1, "only what was handed out before");
    stream.begin(&recorder, at(5), Class::Write, get, &mut out);
    assert_eq!(stream.end(&recorder, lengths, &mut out), Ending::Held);
    assert_ne!(*stream.connection(), first);
    assert_eq!((out[1].index(), out[1].connection()), (1, *stream.connection()));
}
