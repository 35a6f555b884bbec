//! Responses: how they are cut never matters, and what is sent to the client is the same message to a second reader. The
//! first byte says what was asked, and how the others are cut.
#![no_main]

mod spans;

use libfuzzer_sys::fuzz_target;
use proxy::wire::{Asked, Limits, RequestReader, ResponseHead, ResponseReader, ResponseRewrite, Span, client_head};

fuzz_target!(|data: &[u8]| {
    let Some((&seed, bytes)) = data.split_first() else { return };
    let asked = [Asked::Plain, Asked::Head, Asked::Upgrade, Asked::Connect][usize::from(seed & 3)];
    let mut reader = ResponseReader::new(Limits::DEFAULT);
    reader.expect(asked);
    let whole = spans::feed([bytes], |input| reader.next(input));
    let whole_end = reader.end_of_input();
    let mut reader = ResponseReader::new(Limits::DEFAULT);
    reader.expect(asked);
    let cut = spans::feed(spans::pieces(bytes, seed >> 2), |input| {
        let span = reader.next(input);
        if let Ok(Span::Head(length)) = span {
            goes_on(&input[..length], reader.head(), asked);
        }
        span
    });
    assert_eq!(whole, cut);
    assert_eq!(whole_end, reader.end_of_input());
});

fn goes_on(bytes: &[u8], head: &ResponseHead, asked: Asked) {
    let mut request = RequestReader::new(Limits::DEFAULT);
    request.next(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("a sound request");
    let mut sent = Vec::new();
    let body = client_head(bytes, head, &ResponseRewrite { request: request.head(), close: false }, &mut sent);
    assert!(!body.unchunk && !body.suppress);
    let roomy = Limits { response_head_bytes_max: 1 << 20, field_lines_max: 1024, ..Limits::DEFAULT };
    let mut second = ResponseReader::new(roomy);
    second.expect(asked);
    assert_eq!(second.next(&sent), Ok(Span::Head(sent.len())), "{}", sent.escape_ascii());
    assert_eq!(second.head().status, head.status);
    assert_eq!(second.head().reason.of(&sent), head.reason.of(bytes));
    assert_eq!(second.head().body, head.body);
}
