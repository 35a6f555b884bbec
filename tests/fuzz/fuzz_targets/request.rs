//! Requests: how they are cut never matters, another parser agrees on every accepted head, and what is sent upstream is
//! the same message to a second reader. The first byte says how the others are cut.
#![no_main]

mod spans;

use libfuzzer_sys::fuzz_target;
use proxy::wire::{Forwarded, Limits, Overrides, RequestHead, RequestReader, RequestRewrite, Span, upstream_head};

fuzz_target!(|data: &[u8]| {
    let Some((&seed, bytes)) = data.split_first() else { return };
    let mut reader = RequestReader::new(Limits::DEFAULT);
    let whole = spans::feed([bytes], |input| reader.next(input));
    let mut reader = RequestReader::new(Limits::DEFAULT);
    let cut = spans::feed(spans::pieces(bytes, seed), |input| {
        let span = reader.next(input);
        if let Ok(Span::Head(length)) = span {
            agrees(&input[..length], reader.head());
            goes_on(&input[..length], reader.head());
        }
        span
    });
    assert_eq!(whole, cut);
});

/// A parser that nobody here wrote splits the head in the same way. It knows no minor version above 1.
fn agrees(bytes: &[u8], head: &RequestHead) {
    if !matches!(bytes[head.line.range()].last(), Some(b'0' | b'1')) {
        return;
    }
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut theirs = httparse::Request::new(&mut fields);
    assert_eq!(theirs.parse(bytes), Ok(httparse::Status::Complete(bytes.len())));
    assert_eq!(theirs.method.expect("complete").as_bytes(), head.method_part.of(bytes));
    assert_eq!(theirs.path.expect("complete").as_bytes(), head.target.of(bytes));
    assert_eq!(theirs.headers.len(), head.fields.len());
    for (their, our) in theirs.headers.iter().zip(&head.fields) {
        assert_eq!(their.name.as_bytes(), our.name.of(bytes));
        assert_eq!(their.value, our.value.of(bytes));
    }
}

fn goes_on(bytes: &[u8], head: &RequestHead) {
    let how = RequestRewrite { overrides: &Overrides::default(), forwarded: Forwarded::Untouched, host: "up:9200" };
    let mut sent = Vec::new();
    upstream_head(bytes, head, &how, &mut sent);
    let roomy = Limits { head_bytes_max: 1 << 20, target_bytes_max: 1 << 20, field_lines_max: 1024, ..Limits::DEFAULT };
    let mut second = RequestReader::new(roomy);
    assert_eq!(second.next(&sent), Ok(Span::Head(sent.len())), "{}", sent.escape_ascii());
    let theirs = second.head();
    assert_eq!(theirs.method_part.of(&sent), head.method_part.of(bytes));
    assert_eq!(theirs.path(&sent), head.path(bytes));
    assert_eq!(theirs.body, head.body);
    assert_eq!(theirs.host.map(|host| host.of(&sent)), Some(head.host.map_or(&b"up:9200"[..], |host| host.of(bytes))));
}
