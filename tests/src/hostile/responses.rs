//! What upstreams answer.

use super::{Asked, ResponseCase};

/// Every case. Those with large heads are made, the others spelled out.
pub fn responses() -> Vec<ResponseCase> {
    let spelled = TABLE.iter().map(|&(name, asked, bytes, closes, outcome)| ResponseCase {
        name,
        asked,
        bytes: bytes.to_vec(),
        closes,
        outcome,
    });
    spelled.chain(large()).collect()
}

/// At the limits that hold by default, and one past each.
fn large() -> Vec<ResponseCase> {
    const KIB: usize = 1024;
    const END: &str = "Content-Length: 0\r\n\r\n";
    let with = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}{END}").into_bytes();
    let padded_to = |bytes: usize| with(&format!("X: {}\r\n", "x".repeat(bytes - with("X: \r\n").len())));
    let interim = |times: usize| [b"HTTP/1.1 100 Continue\r\n\r\n".repeat(times), with("")].concat();
    let case = |name, bytes, outcome| ResponseCase { name, asked: Asked::Get, bytes, closes: false, outcome };
    vec![
        case("the longest head", padded_to(64 * KIB), "H ."),
        case("a head one byte too long", padded_to(64 * KIB + 1), "!"),
        case("a status line without end", vec![b'x'; 70 * KIB], "!"),
        case("as many fields as there may be", with(&"a: b\r\n".repeat(255)), "H ."),
        case("one field too many", with(&"a: b\r\n".repeat(256)), "!"),
        case("as many interim responses as there may be", interim(100), MANY),
        case("a flood of interim responses", interim(5000), FLOOD),
    ]
}

/// A hundred interim heads and the final one.
const MANY: &str = "H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H .";
/// A hundred interim heads and no more.
const FLOOD: &str = "H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H H !";

/// Name, what it answers, bytes, whether the upstream closes behind them, outcome.
#[rustfmt::skip]
const TABLE: &[(&str, Asked, &[u8], bool, &str)] = &[
    // Sound, however odd.
    ("plain", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "H D5 ."),
    ("empty", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, "H ."),
    ("until close", Asked::Get, b"HTTP/1.1 200 OK\r\n\r\nhello", true, "H D5 ."),
    ("until close and empty", Asked::Get, b"HTTP/1.1 200 OK\r\n\r\n", true, "H ."),
    ("until close, still open", Asked::Get, b"HTTP/1.1 200 OK\r\n\r\nhello", false, "H D5"),
    ("until close, HTTP/1.0", Asked::Get, b"HTTP/1.0 200 OK\r\n\r\nhello", true, "H D5 ."),
    ("HTTP/1.0 with length", Asked::Get, b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "H D5 ."),
    ("a higher minor version", Asked::Get, b"HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "H D5 ."),
    ("chunked", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", false, "H L3 C5 E2 L3 T2 ."),
    ("chunked in another case", Asked::Get, b"HTTP/1.1 200 OK\r\ntransfer-encoding:CHUNKED\r\n\r\n0\r\n\r\n", false, "H L3 T2 ."),
    ("chunked with extension and trailer", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=\"b\"\r\nx\r\n0\r\nX: y\r\n\r\n", false, "H L9 C1 E2 L3 T8 ."),
    ("no reason", Asked::Get, b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", false, "H D5 ."),
    ("no space behind the status", Asked::Get, b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", false, "H D5 ."),
    ("a long reason of odd bytes", Asked::Get, b"HTTP/1.1 200 It's \xe9 \t: fine\r\nContent-Length: 5\r\n\r\nhello", false, "H D5 ."),
    ("status 299", Asked::Get, b"HTTP/1.1 299 X\r\nContent-Length: 5\r\n\r\nhello", false, "H D5 ."),
    ("status 599", Asked::Get, b"HTTP/1.1 599 X\r\nContent-Length: 5\r\n\r\nhello", false, "H D5 ."),
    ("status 999", Asked::Get, b"HTTP/1.1 999 X\r\nContent-Length: 5\r\n\r\nhello", false, "H D5 ."),
    ("a space before a colon", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", false, "H D5 ."),
    ("a tab before a colon", Asked::Get, b"HTTP/1.1 200 OK\r\nX\t: a\r\nContent-Length: 5\r\n\r\nhello", false, "H D5 ."),
    ("204", Asked::Get, b"HTTP/1.1 204 No Content\r\n\r\n", false, "H ."),
    ("204 with a length", Asked::Get, b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", false, "H ."),
    ("204 with a length of 5", Asked::Get, b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false, "H ."),
    ("204 with chunked", Asked::Get, b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false, "H ."),
    ("205 with length 0", Asked::Get, b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", false, "H ."),
    ("304", Asked::Get, b"HTTP/1.1 304 Not Modified\r\n\r\n", false, "H ."),
    ("304 with a length", Asked::Get, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, "H ."),
    ("head with a length", Asked::Head, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, "H ."),
    ("head with chunked", Asked::Head, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, "H ."),
    ("head without a length", Asked::Head, b"HTTP/1.1 200 OK\r\n\r\n", false, "H ."),
    ("head with an error", Asked::Head, b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n", false, "H ."),
    ("continue", Asked::Get, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "H H D5 ."),
    ("early hints and continue", Asked::Get, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "H H H D5 ."),
    ("continue with a length", Asked::Get, b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "H H D5 ."),
    ("an unknown interim", Asked::Get, b"HTTP/1.1 199 X\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "H H D5 ."),
    ("continue to head", Asked::Head, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, "H H ."),
    ("continue alone", Asked::Get, b"HTTP/1.1 100 Continue\r\n\r\n", false, "H"),
    ("switching as asked", Asked::Upgrade, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x05hello\x00\n", false, "H D9"),
    ("switching as asked, closed", Asked::Upgrade, b"HTTP/1.1 101 Switching Protocols\r\n\r\nhello", true, "H D5 ."),
    ("an upgrade not taken", Asked::Upgrade, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "H D5 ."),
    ("connect that is one", Asked::Connect, b"HTTP/1.1 200 OK\r\n\r\nhello", false, "H D5"),
    ("connect that is none", Asked::Connect, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nhello", false, "H D5 ."),
    ("connect with a length", Asked::Connect, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!", false, "H D6"),
    ("obs-text in a value", Asked::Get, b"HTTP/1.1 200 OK\r\nX: \xe9\xff\r\nContent-Length: 5\r\n\r\nhello", false, "H D5 ."),
    ("many cookies", Asked::Get, b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 5\r\n\r\nhello", false, "H D5 ."),
    ("an empty value", Asked::Get, b"HTTP/1.1 200 OK\r\nX:\r\nContent-Length: 5\r\n\r\nhello", false, "H D5 ."),
    ("close behind a length", Asked::Get, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", true, "H D5 ."),
    ("a body of CRLF", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\r\n\r\n", false, "H D4 ."),
    ("a head that is not whole", Asked::Get, b"HTTP/1.1 200 OK\r\n", false, ""),
    // Refused.
    ("bytes behind the end", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!", false, "H D5 . !"),
    ("a second response", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "H D5 . !"),
    ("CRLF behind the end", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\r\n", false, "H D5 . !"),
    ("bytes behind 204", Asked::Get, b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", false, "H . !"),
    ("bytes behind 304", Asked::Get, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", false, "H . !"),
    ("bytes behind head", Asked::Head, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "H . !"),
    ("bytes behind chunks", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX", false, "H L3 T2 . !"),
    ("length and encoding", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, "!"),
    ("encoding and length", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", false, "!"),
    ("two equal lengths", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("two lengths", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", false, "!"),
    ("a list of lengths", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", false, "!"),
    ("a negative length", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", false, "!"),
    ("an empty length", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello", false, "!"),
    ("a length too great", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nhello", false, "!"),
    ("a length of letters", Asked::Head, b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", false, "!"),
    ("encoding gzip", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", true, "!"),
    ("encoding gzip, chunked", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", false, "!"),
    ("encoding chunked twice", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", false, "!"),
    ("encoding identity", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello", true, "!"),
    ("encoding empty", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\nhello", true, "!"),
    ("encoding in HTTP/1.0", Asked::Get, b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, "!"),
    ("bare LF in the status line", Asked::Get, b"HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("bare LF behind a field", Asked::Get, b"HTTP/1.1 200 OK\r\nX: a\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("bare LF as the end of the head", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nhello", false, "!"),
    ("bare CR in a value", Asked::Get, b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("NUL in a value", Asked::Get, b"HTTP/1.1 200 OK\r\nX: a\x00\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("NUL in the reason", Asked::Get, b"HTTP/1.1 200 O\x00K\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("DEL in a value", Asked::Get, b"HTTP/1.1 200 OK\r\nX: \x7f\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("obs-fold", Asked::Get, b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("white space before the first field", Asked::Get, b"HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("a field without colon", Asked::Get, b"HTTP/1.1 200 OK\r\nX\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("a field without name", Asked::Get, b"HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("a space in a name", Asked::Get, b"HTTP/1.1 200 OK\r\nX a: b\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("an empty line first", Asked::Get, b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("status line with two spaces", Asked::Get, b"HTTP/1.1  200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("status line with a tab", Asked::Get, b"HTTP/1.1\t200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("status line with two digits", Asked::Get, b"HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("status line with four digits", Asked::Get, b"HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("status line with letters", Asked::Get, b"HTTP/1.1 2xx OK\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("status line with status 099", Asked::Get, b"HTTP/1.1 099 OK\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("status line with status 000", Asked::Get, b"HTTP/1.1 000 OK\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("status line with a negative status", Asked::Get, b"HTTP/1.1 -20 OK\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("status line with no status", Asked::Get, b"HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("status line with lower case", Asked::Get, b"http/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("status line with another name", Asked::Get, b"HTTQ/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("status line with a comma", Asked::Get, b"HTTP/1,1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("status line with two minor digits", Asked::Get, b"HTTP/1.10 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("status line with HTTP/2.0", Asked::Get, b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("status line with HTTP/0.9", Asked::Get, b"HTTP/0.9 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("status line with ICY", Asked::Get, b"ICY 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("status line with a space before", Asked::Get, b" HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("status line with a request line", Asked::Get, b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", false, "!"),
    ("no HTTP at all", Asked::Get, b"hello\r\n", false, "!"),
    ("another protocol", Asked::Get, b"SSH-2.0-OpenSSH_9.6\r\n", false, "!"),
    ("an alert of TLS", Asked::Get, b"\x15\x03\x01\x00\x02\x02\x50", false, "!"),
    ("unasked switching", Asked::Get, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello", false, "!"),
    ("unasked switching to head", Asked::Head, b"HTTP/1.1 101 Switching Protocols\r\n\r\n", false, "!"),
    ("chunks with no hex", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", false, "H !"),
    ("chunks with a space behind the size", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n", false, "H !"),
    ("chunks with a size too great", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n", false, "H !"),
    ("chunks with bare LF", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n", false, "H !"),
    ("chunks with nothing behind the data", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n", false, "H L3 C5 !"),
    ("chunks with a bad extension", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;=\r\nhello\r\n", false, "H !"),
    ("chunks with a length trailer", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n", false, "H L3 !"),
    ("chunks with a folded trailer", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\r\n b\r\n\r\n", false, "H L3 !"),
    // Cut short.
    ("nothing at all", Asked::Get, b"", true, "!"),
    ("a cut status line", Asked::Get, b"HTTP/1.1 20", true, "!"),
    ("a cut head", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", true, "!"),
    ("a cut body", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", true, "H D4 !"),
    ("no body", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, "H !"),
    ("a cut chunk", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", true, "H L3 C3 !"),
    ("a cut chunk line", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5", true, "H !"),
    ("no last chunk", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true, "H L3 C5 E2 !"),
    ("a cut last chunk", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", true, "H L3 !"),
    ("a cut trailer", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n", true, "H L3 !"),
    ("only continue", Asked::Get, b"HTTP/1.1 100 Continue\r\n\r\n", true, "H !"),
];
