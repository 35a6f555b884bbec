//! The framing against the tables of hostile and odd messages, whole and cut at every place.

#[path = "../../../tests/src/hostile/mod.rs"]
#[expect(unreachable_pub, reason = "shared with the package of the end-to-end tests, where it is reachable")]
mod hostile;

use std::fmt::Write as _;

use hostile::{requests, responses};
use proptest::prelude::*;
use proxy::wire::{
    Asked, Forwarded, Limits, Overrides, Refusal, RequestReader, RequestRewrite, ResponseReader, ResponseRewrite, Span,
    client_head, upstream_head,
};

/// What a reader said, as the tables spell it.
#[derive(Debug, Default)]
struct Said {
    text: String,
    /// The kind and length of the last data span, which the next one of the kind is added to.
    open: Option<(char, usize)>,
}

impl Said {
    fn span(&mut self, span: Span) {
        let (letter, joins) = match span {
            Span::More => return,
            Span::Skip(_) => ('S', false),
            Span::Head(_) => ('H', false),
            Span::Data(_) => ('D', true),
            Span::ChunkLine(_) => ('L', false),
            Span::ChunkData(_) => ('C', true),
            Span::ChunkEnd(_) => ('E', false),
            Span::Trailers(_) => ('T', false),
            Span::End => ('.', false),
        };
        match &mut self.open {
            Some((open, length)) if joins && *open == letter => *length += span.len(),
            _ => {
                self.close();
                self.open = Some((letter, span.len()));
            }
        }
    }

    fn close(&mut self) {
        if let Some((letter, length)) = self.open.take() {
            let space = if self.text.is_empty() { "" } else { " " };
            let length = if matches!(letter, 'H' | '.') { String::new() } else { length.to_string() };
            write!(self.text, "{space}{letter}{length}").expect("a String takes all");
        }
    }

    fn refusal(&mut self, text: &str) {
        self.close();
        let space = if self.text.is_empty() { "" } else { " " };
        write!(self.text, "{space}!{text}").expect("a String takes all");
    }
}

/// Feeds `pieces` one after the other, keeping what is not consumed, as a caller does. Answers whether it was refused.
fn feed<'p>(
    pieces: impl IntoIterator<Item = &'p [u8]>,
    mut next: impl FnMut(&[u8]) -> Result<Span, Refusal>,
    said: &mut Said,
) -> Option<Refusal> {
    let mut input = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match next(&input) {
                Ok(Span::More) => break,
                Ok(span) => {
                    assert!(span.len() <= input.len(), "{span:?} is longer than its input");
                    input.drain(..span.len());
                    said.span(span);
                }
                Err(refusal) => {
                    assert_eq!(next(&input), Err(refusal), "a refusal is final");
                    return Some(refusal);
                }
            }
        }
    }
    None
}

fn read_requests<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (String, Option<Refusal>) {
    let mut reader = RequestReader::new(Limits::DEFAULT);
    let mut said = Said::default();
    let refused = feed(pieces, |input| reader.next(input), &mut said);
    if let Some(refusal) = refused {
        said.refusal(&refusal.status().to_string());
    }
    said.close();
    (said.text, refused)
}

fn read_response<'p>(
    pieces: impl IntoIterator<Item = &'p [u8]>,
    asked: hostile::Asked,
    closes: bool,
) -> (String, Option<Refusal>) {
    let mut reader = ResponseReader::new(Limits::DEFAULT);
    reader.expect(match asked {
        hostile::Asked::Get => Asked::Plain,
        hostile::Asked::Head => Asked::Head,
        hostile::Asked::Upgrade => Asked::Upgrade,
        hostile::Asked::Connect => Asked::Connect,
    });
    let mut said = Said::default();
    let mut refused = feed(pieces, |input| reader.next(input), &mut said);
    if refused.is_none() && closes {
        match reader.end_of_input() {
            Ok(span) => said.span(span),
            Err(refusal) => refused = Some(refusal),
        }
    }
    if refused.is_some() {
        said.refusal("");
    }
    said.close();
    (said.text, refused)
}

/// Cuts into two at `at`.
fn cut(bytes: &[u8], at: usize) -> [&[u8]; 2] {
    let (before, after) = bytes.split_at(at);
    [before, after]
}

/// Where to cut: everywhere, but only around the edges and here and there in the cases that are made large.
fn cuts(length: usize) -> impl Iterator<Item = usize> {
    let sparse = length > 4096;
    (0..=length).filter(move |at| !sparse || *at < 64 || at + 64 > length || at % 997 == 0)
}

/// Every request of the table comes out as it says, however it is cut in two.
#[test]
fn requests_come_out_as_the_table_says_wherever_they_are_cut() {
    let table = requests();
    for case in &table {
        let whole = read_requests([&case.bytes[..]]);
        assert_eq!(whole.0, case.outcome, "{}: {:?}", case.name, whole.1);
        for at in cuts(case.bytes.len()) {
            assert_eq!(read_requests(cut(&case.bytes, at)), whole, "{} cut at {at}", case.name);
        }
    }
    let refused = table.iter().filter(|case| case.refused().is_some()).count();
    assert!(refused >= 184, "{refused} cases are refused");
    assert!(table.len() - refused >= 100, "{} cases pass", table.len() - refused);
}

/// Every response of the table comes out as it says, however it is cut in two.
#[test]
fn responses_come_out_as_the_table_says_wherever_they_are_cut() {
    let table = responses();
    for case in &table {
        let whole = read_response([&case.bytes[..]], case.asked, case.closes);
        assert_eq!(whole.0, case.outcome, "{}: {:?}", case.name, whole.1);
        for at in cuts(case.bytes.len()) {
            let cut = cut(&case.bytes, at);
            assert_eq!(read_response(cut, case.asked, case.closes), whole, "{} cut at {at}", case.name);
        }
    }
    assert!(table.len() >= 100, "{} responses", table.len());
}

/// Bytes that come one at a time say the same as bytes that come at once.
#[test]
fn a_byte_at_a_time_says_the_same() {
    for case in requests() {
        assert_eq!(read_requests(case.bytes.chunks(1)).0, case.outcome, "{}", case.name);
    }
    for case in responses() {
        assert_eq!(read_response(case.bytes.chunks(1), case.asked, case.closes).0, case.outcome, "{}", case.name);
    }
}

/// Every name in the tables is there once, so that a failure names its case.
#[test]
fn the_names_of_the_cases_are_unique() {
    let requests: std::collections::BTreeSet<_> = requests().iter().map(|case| case.name).collect();
    assert_eq!(requests.len(), hostile::requests().len());
    let responses: std::collections::BTreeSet<_> = responses().iter().map(|case| case.name).collect();
    assert_eq!(responses.len(), hostile::responses().len());
}

/// Another parser, which nobody here wrote, splits every head that is accepted in the same way.
#[test]
fn httparse_splits_every_accepted_head_in_the_same_way() {
    let mut seen = 0;
    for case in requests() {
        let mut reader = RequestReader::new(Limits::DEFAULT);
        let mut rest = &case.bytes[..];
        while let Ok(span) = reader.next(rest) {
            if span == Span::More {
                break;
            }
            let (bytes, after) = rest.split_at(span.len());
            rest = after;
            if !matches!(span, Span::Head(_))
                || bytes.windows(8).any(|eight| matches!(eight, b"HTTP/1.2" | b"HTTP/1.9"))
            {
                continue;
            }
            let head = reader.head();
            let mut fields = [httparse::EMPTY_HEADER; 256];
            let mut theirs = httparse::Request::new(&mut fields);
            assert_eq!(theirs.parse(bytes), Ok(httparse::Status::Complete(bytes.len())), "{}", case.name);
            assert_eq!(theirs.method.unwrap().as_bytes(), head.method_part.of(bytes), "{}", case.name);
            assert_eq!(theirs.path.unwrap().as_bytes(), head.target.of(bytes), "{}", case.name);
            assert_eq!(theirs.headers.len(), head.fields.len(), "{}", case.name);
            for (their, our) in theirs.headers.iter().zip(&head.fields) {
                assert_eq!(their.name.as_bytes(), our.name.of(bytes), "{}", case.name);
                assert_eq!(their.value, our.value.of(bytes), "{}", case.name);
            }
            seen += 1;
        }
    }
    assert!(seen >= 100, "{seen} heads compared");
}

/// What is sent upstream is the same message to a second reader: same method and body, nothing refused, and sending it on
/// once more changes nothing.
#[test]
fn what_is_sent_upstream_is_the_same_message() {
    let overrides = Overrides::default();
    let how = RequestRewrite { overrides: &overrides, forwarded: Forwarded::Untouched, host: "upstream:9200" };
    for case in requests() {
        let mut reader = RequestReader::new(Limits::DEFAULT);
        let mut rest = &case.bytes[..];
        while let Ok(span @ (Span::Skip(_) | Span::Head(_) | Span::Data(_) | Span::End)) = reader.next(rest) {
            let (bytes, after) = rest.split_at(span.len());
            rest = after;
            if !matches!(span, Span::Head(_)) {
                continue;
            }
            let mut sent = Vec::new();
            upstream_head(bytes, reader.head(), &how, &mut sent);
            // What is added (Host for HTTP/1.0) may take a head at its limit past it.
            let roomy = Limits { head_bytes_max: 1 << 20, ..Limits::DEFAULT };
            let mut second = RequestReader::new(roomy);
            assert_eq!(second.next(&sent), Ok(Span::Head(sent.len())), "{}: {}", case.name, sent.escape_ascii());
            let (first, second) = (reader.head(), second.head());
            assert_eq!(first.method_part.of(bytes), second.method_part.of(&sent), "{}", case.name);
            assert_eq!(first.path(bytes), second.path(&sent), "{}", case.name);
            assert_eq!(first.body, second.body, "{}", case.name);
            assert_eq!(first.websocket, second.websocket, "{}", case.name);
            let mut again = Vec::new();
            upstream_head(&sent, second, &how, &mut again);
            if first.max_forwards.is_none() && !first.websocket {
                assert_eq!(sent.escape_ascii().to_string(), again.escape_ascii().to_string(), "{}", case.name);
            }
        }
    }
}

/// What is sent to the client is the same message to a second reader.
#[test]
fn what_is_sent_to_the_client_is_the_same_message() {
    let mut client = RequestReader::new(Limits::DEFAULT);
    client.next(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    for case in responses() {
        let asked = match case.asked {
            hostile::Asked::Get => Asked::Plain,
            hostile::Asked::Head => Asked::Head,
            hostile::Asked::Upgrade => Asked::Upgrade,
            hostile::Asked::Connect => Asked::Connect,
        };
        let mut reader = ResponseReader::new(Limits::DEFAULT);
        reader.expect(asked);
        let Ok(Span::Head(length)) = reader.next(&case.bytes) else { continue };
        let (bytes, head) = (&case.bytes[..length], reader.head());
        let mut sent = Vec::new();
        let body = client_head(bytes, head, &ResponseRewrite { request: client.head(), close: false }, &mut sent);
        assert!(!body.unchunk && !body.suppress, "{}", case.name);
        let mut second = ResponseReader::new(Limits { response_head_bytes_max: 1 << 20, ..Limits::DEFAULT });
        second.expect(asked);
        assert_eq!(second.next(&sent), Ok(Span::Head(sent.len())), "{}: {}", case.name, sent.escape_ascii());
        assert_eq!(second.head().status, head.status, "{}", case.name);
        assert_eq!(second.head().reason.of(&sent), head.reason.of(bytes), "{}", case.name);
        assert_eq!(second.head().body, head.body, "{}", case.name);
        assert_eq!(
            second.head().keep_alive || head.interim(),
            !body.close && !head.tunnel || head.interim(),
            "{}",
            case.name
        );
    }
}

/// Pieces of messages, sound and not, in any order: close to what a parser takes for sound.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"GET / HTTP/1.1\r\n",
        b"POST /a HTTP/1.1\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"Host: a\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close, X\r\n",
        b"X: y\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b" ",
        b"\t",
        b":",
        b"\0",
        b"5\r\n",
        b"hello",
        b"0\r\n",
        b"0\r\n\r\n",
        b"5;a=\"b\"\r\nhello\r\n",
        b"\xff",
        b",",
        b"GET http://a/ HTTP/1.0\r\n",
        b"fff",
        b"\r\n\r\n",
    ];
    proptest::collection::vec(proptest::sample::select(words), 0..24).prop_map(|words| words.concat())
}

/// The pieces between some places of `bytes`.
fn pieces<'b>(bytes: &'b [u8], places: &[proptest::sample::Index]) -> Vec<&'b [u8]> {
    let mut at: Vec<_> = places.iter().map(|place| place.index(bytes.len() + 1)).collect();
    at.sort_unstable();
    at.insert(0, 0);
    at.push(bytes.len());
    at.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Cutting bytes never changes what they are, whatever they are.
    #[test]
    fn cutting_never_changes_the_outcome(bytes in soup(), places in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8)) {
        prop_assert_eq!(read_requests(pieces(&bytes, &places)), read_requests([&bytes[..]]));
        for asked in [hostile::Asked::Get, hostile::Asked::Head] {
            let whole = read_response([&bytes[..]], asked, true);
            prop_assert_eq!(read_response(pieces(&bytes, &places), asked, true), whole);
        }
    }
}
