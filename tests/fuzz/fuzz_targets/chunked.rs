//! Chunked bodies: what is accepted decodes to the same bytes as with a decoder that knows nothing but the grammar.
#![no_main]

mod spans;

use libfuzzer_sys::fuzz_target;
use proxy::wire::{Limits, RequestReader, Span};

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

fuzz_target!(|data: &[u8]| {
    let Some((&seed, body)) = data.split_first() else { return };
    let read = |pieces: Vec<&[u8]>| {
        let mut reader = RequestReader::new(Limits::DEFAULT);
        assert_eq!(reader.next(HEAD), Ok(Span::Head(HEAD.len())));
        let mut decoded = Vec::new();
        let mut whole = None;
        let mut seen = 0;
        let said = spans::feed(pieces, |input| {
            if whole.is_some() {
                return Ok(Span::More);
            }
            let span = reader.next(input);
            match span {
                Ok(Span::ChunkData(length)) => decoded.extend_from_slice(&input[..length]),
                Ok(Span::End) => whole = Some(seen),
                _ => {}
            }
            seen += span.map_or(0, Span::len);
            span
        });
        (said, decoded, whole)
    };
    let (said, decoded, whole) = read(vec![body]);
    assert_eq!((said, decoded.clone(), whole), read(spans::pieces(body, seed)));
    if let Some(length) = whole {
        assert_eq!(plain(&body[..length]), decoded);
    }
});

/// Decodes a whole chunked body that is known to be sound.
fn plain(mut body: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").expect("a chunk line has an end");
        let digits = body.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let text = std::str::from_utf8(&body[..digits]).expect("digits are ASCII").trim_start_matches('0');
        let size = if text.is_empty() { 0 } else { usize::from_str_radix(text, 16).expect("a size that fits") };
        if size == 0 {
            assert!(body.ends_with(b"\r\n\r\n") || body[end..] == *b"\r\n\r\n");
            return decoded;
        }
        decoded.extend_from_slice(&body[end + 2..end + 2 + size]);
        assert_eq!(body[end + 2 + size..][..2], *b"\r\n");
        body = &body[end + 4 + size..];
    }
}
