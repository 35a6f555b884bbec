//! The heads that are sent on, made of the bytes that came: only what belongs to one hop goes.
//!
//! What differs from the original, and why:
//! - the version is ours, 1.1 (RFC 9110 2.5);
//! - hop-by-hop fields go; Transfer-Encoding stays, since the chunks stay as they came, but in the one plain spelling, so
//!   that nobody behind us can read it another way (it is a field of the hop, so that is ours to do);
//! - absolute-form becomes origin-form, and its authority becomes Host, whatever Host was (RFC 9112 3.2.1, 3.2.2);
//! - a request of HTTP/1.0 without Host gets the upstream's own (RFC 9112 3.2);
//! - Max-Forwards of OPTIONS and TRACE counts down (RFC 9110 7.6.2);
//! - a client of HTTP/1.0 gets no chunks and no interim responses (RFC 9112 6.1, RFC 9110 15.2);
//! - white space before a colon in a response goes (RFC 9112 5.1), and a status line without reason gets its space;
//! - what the operator set.

use super::fields::{Known, is_token};
use super::head::{Body, Field, Method, Part, RequestHead, ResponseHead, TargetForm, Version};

/// Header fields that a side gets instead of the client's own: credentials, Host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    fields: Vec<(String, String)>,
}

impl Overrides {
    /// Fields to set, each in place of all that the client sent of that name (any case).
    ///
    /// # Errors
    ///
    /// Which name or value cannot be a field, or must not be set because it frames the message or belongs to one hop.
    pub fn new(fields: impl IntoIterator<Item = (String, String)>) -> Result<Self, String> {
        let fields: Vec<_> = fields.into_iter().collect();
        for (place, (name, value)) in fields.iter().enumerate() {
            let known = Known::of(name.as_bytes());
            let framing = matches!(known, Some(Known::ContentLength | Known::TransferEncoding | Known::Trailer));
            if !is_token(name.as_bytes()) {
                return Err(format!("cannot set header field `{name}`: it is no field name"));
            }
            if framing || known.is_some_and(Known::hop_by_hop) {
                return Err(format!(
                    "cannot set header field `{name}`: it belongs to the connection, not to the request"
                ));
            }
            if value.bytes().any(|byte| byte.is_ascii_control()) || value.trim() != value {
                return Err(format!(
                    "cannot set header field `{name}`: its value has control characters or outer spaces"
                ));
            }
            if known == Some(Known::Host) && !super::target::is_host(value.as_bytes()) {
                return Err(format!("cannot set header field `{name}` to `{value}`: it is not `host` or `host:port`"));
            }
            if fields[..place].iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(name)) {
                return Err(format!("cannot set header field `{name}` twice"));
            }
        }
        Ok(Self { fields })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    fn sets(&self, name: &[u8]) -> bool {
        self.fields.iter().any(|(set, _)| name.eq_ignore_ascii_case(set.as_bytes()))
    }
}

/// What X-Forwarded-For, -Proto and -Host are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded<'a> {
    /// Nothing is added or taken away.
    Untouched,
    /// The client's address is added behind what the client sent; scheme and host only where the client sent none.
    Append {
        /// The client's address.
        client: &'a str,
        /// `http` or `https`.
        scheme: &'a str,
    },
    /// Ours stand in place of what the client sent.
    Replace {
        /// The client's address.
        client: &'a str,
        /// `http` or `https`.
        scheme: &'a str,
    },
}

const FORWARDED_FOR: &str = "X-Forwarded-For";
const FORWARDED_PROTO: &str = "X-Forwarded-Proto";
const FORWARDED_HOST: &str = "X-Forwarded-Host";

/// How a request's head is sent on.
#[derive(Clone, Copy, Debug)]
pub struct RequestRewrite<'a> {
    /// The side's own fields.
    pub overrides: &'a Overrides,
    /// What becomes of X-Forwarded-*.
    pub forwarded: Forwarded<'a>,
    /// Host for a request of HTTP/1.0 without one: the upstream's own authority.
    pub host: &'a str,
}

/// How a response's head is sent on.
#[derive(Clone, Copy, Debug)]
pub struct ResponseRewrite<'a> {
    /// The head of the request it answers: its version decides on chunks and on what `Connection` says.
    pub request: &'a RequestHead,
    /// Whether the client's connection is closed after it, for whatever reason of ours.
    pub close: bool,
}

/// Appends to `out` the head to be sent upstream; the body's own bytes follow it as they came. `bytes` are those of the
/// head.
pub fn upstream_head(bytes: &[u8], head: &RequestHead, how: &RequestRewrite<'_>, out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 64);
    let mut as_it_came = Run::default();
    let stays = matches!(head.form, TargetForm::Origin | TargetForm::Asterisk);
    if stays && head.line.of(bytes).ends_with(b" HTTP/1.1") {
        as_it_came.add(head.line.with_crlf(), bytes, out);
    } else {
        request_line(bytes, head, out);
    }
    let host: &[u8] = head.host.map_or(how.host.as_bytes(), |host| host.of(bytes));
    if !head.fields.iter().any(|field| field.known == Some(Known::Host)) && !how.overrides.sets(b"host") {
        as_it_came.end(bytes, out);
        line(out, b"Host", host);
    }
    let mut encoding_is_due = head.body == Body::Chunked;
    for field in sent_on(&head.fields, &head.dropped) {
        let name = field.name.of(bytes);
        if !how.overrides.is_empty() && how.overrides.sets(name) {
            continue;
        }
        match field.known {
            Some(Known::Host) if matches!(head.form, TargetForm::Absolute { .. }) => {
                as_it_came.end(bytes, out);
                line(out, name, host);
            }
            Some(Known::TransferEncoding) => {
                if std::mem::take(&mut encoding_is_due) {
                    as_it_came.end(bytes, out);
                    transfer_encoding(out, field.line.of(bytes));
                }
            }
            Some(Known::MaxForwards) if head.max_forwards.is_some() => {
                let left = head.max_forwards.unwrap_or(0).saturating_sub(1);
                as_it_came.end(bytes, out);
                line(out, name, left.to_string().as_bytes());
            }
            None if matches!(how.forwarded, Forwarded::Replace { .. }) && is_forwarded(name) => {}
            _ => as_it_came.add(field.line, bytes, out),
        }
    }
    as_it_came.end(bytes, out);
    for (name, value) in &how.overrides.fields {
        line(out, name.as_bytes(), value.as_bytes());
    }
    forwarded(bytes, head, how, out);
    if head.websocket {
        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

fn request_line(bytes: &[u8], head: &RequestHead, out: &mut Vec<u8>) {
    out.extend_from_slice(head.method_part.of(bytes));
    out.push(b' ');
    match head.form {
        TargetForm::Origin | TargetForm::Asterisk => out.extend_from_slice(head.target.of(bytes)),
        TargetForm::Absolute { path, .. } => {
            let path = path.of(bytes);
            match path {
                // RFC 9112 3.2.4: what asked about the whole server does so still.
                [] if head.method == Method::Options => out.push(b'*'),
                [b'/', ..] => {}
                _ => out.push(b'/'),
            }
            out.extend_from_slice(path);
        }
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// The field as it came when it is the plain one, else the plain one.
fn transfer_encoding(out: &mut Vec<u8>, came: &[u8]) {
    let plain = b"Transfer-Encoding: chunked\r\n";
    out.extend_from_slice(if came.eq_ignore_ascii_case(plain) { came } else { plain });
}

fn forwarded(bytes: &[u8], head: &RequestHead, how: &RequestRewrite<'_>, out: &mut Vec<u8>) {
    let (client, scheme, replaces) = match how.forwarded {
        Forwarded::Untouched => return,
        Forwarded::Append { client, scheme } => (client, scheme, false),
        Forwarded::Replace { client, scheme } => (client, scheme, true),
    };
    let host = head.host.map(|host| host.of(bytes));
    let ours =
        [(FORWARDED_FOR, Some(client.as_bytes())), (FORWARDED_PROTO, Some(scheme.as_bytes())), (FORWARDED_HOST, host)];
    for (name, value) in ours {
        // Several lines of one name are one list (RFC 9110 5.3), so appending is a line of its own.
        let adds = replaces || name == FORWARDED_FOR || !has(bytes, &head.fields, name);
        if let (Some(value), true, false) = (value, adds, how.overrides.sets(name.as_bytes())) {
            line(out, name.as_bytes(), value);
        }
    }
}

fn is_forwarded(name: &[u8]) -> bool {
    [FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_HOST].iter().any(|ours| name.eq_ignore_ascii_case(ours.as_bytes()))
}

/// How the spans after a response's head go to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientBody {
    /// Only `Data` and `ChunkData` are sent, without the lines and trailers around them: the client is of HTTP/1.0 and
    /// knows no chunks.
    pub unchunk: bool,
    /// The client's connection must be closed after the last byte.
    pub close: bool,
    /// Send nothing of this response: an interim one, to a client of HTTP/1.0 (RFC 9110 15.2). `out` is untouched.
    pub suppress: bool,
}

/// Appends to `out` the head to be sent to the client. `bytes` are those of the head. Answers how the body is sent.
pub fn client_head(bytes: &[u8], head: &ResponseHead, how: &ResponseRewrite<'_>, out: &mut Vec<u8>) -> ClientBody {
    let http10 = how.request.version == Version::Http10;
    let interim = head.interim();
    let unchunk = http10 && head.body == Body::Chunked;
    let close =
        !interim && !head.tunnel && (how.close || unchunk || !how.request.keep_alive || head.body == Body::UntilClose);
    let sent = ClientBody { unchunk, close, suppress: interim && http10 };
    if sent.suppress {
        return sent;
    }
    out.reserve(bytes.len() + 32);
    let mut as_it_came = Run::default();
    // A line of 13 bytes and more has the space behind its status.
    if bytes.starts_with(b"HTTP/1.1 ") && head.line.len() >= 13 {
        as_it_came.add(head.line.with_crlf(), bytes, out);
    } else {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(&bytes[9..12]);
        out.push(b' ');
        out.extend_from_slice(head.reason.of(bytes));
        out.extend_from_slice(b"\r\n");
    }
    let mut encoding_is_due = true;
    for field in sent_on(&head.fields, &head.dropped) {
        match field.known {
            // A response to HEAD may name it too.
            Some(Known::TransferEncoding) => {
                if !http10 && std::mem::take(&mut encoding_is_due) {
                    as_it_came.end(bytes, out);
                    transfer_encoding(out, field.line.of(bytes));
                }
            }
            Some(Known::Trailer) if http10 => {}
            _ if bytes[field.name.range().end] == b':' => as_it_came.add(field.line, bytes, out),
            _ => {
                as_it_came.end(bytes, out);
                out.extend_from_slice(field.name.of(bytes));
                out.extend_from_slice(field.line.of(bytes)[field.name.len()..].trim_ascii_start());
            }
        }
    }
    as_it_came.end(bytes, out);
    if head.tunnel {
        if head.status == 101 {
            out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
        }
    } else if close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
    sent
}

/// Lines that follow one another and are sent on as they came: most are, and are copied together.
#[derive(Default)]
struct Run(Part);

impl Run {
    /// Adds a line, after what was added before.
    fn add(&mut self, line: Part, bytes: &[u8], out: &mut Vec<u8>) {
        if self.0.to != line.from {
            self.end(bytes, out);
            self.0.from = line.from;
        }
        self.0.to = line.to;
    }

    /// Copies what was added; due before anything else is put behind it.
    fn end(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.of(bytes));
        self.0.from = self.0.to;
    }
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

fn has(bytes: &[u8], fields: &[Field], name: &str) -> bool {
    fields.iter().any(|field| field.name.of(bytes).eq_ignore_ascii_case(name.as_bytes()))
}

/// The fields that are not dropped; `dropped` is ascending.
fn sent_on<'a>(fields: &'a [Field], dropped: &'a [u16]) -> impl Iterator<Item = &'a Field> {
    let mut dropped = dropped.iter().peekable();
    fields.iter().enumerate().filter_map(move |(place, field)| {
        if dropped.next_if(|&&next| usize::from(next) == place).is_some() { None } else { Some(field) }
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::wire::{Asked, Limits, RequestReader, ResponseReader, Span};

    const UNTOUCHED: Forwarded<'static> = Forwarded::Untouched;
    const APPEND: Forwarded<'static> = Forwarded::Append { client: "192.0.2.7", scheme: "https" };
    const REPLACE: Forwarded<'static> = Forwarded::Replace { client: "192.0.2.7", scheme: "https" };

    fn read(text: &str) -> (Vec<u8>, RequestHead) {
        let bytes = text.replace('\n', "\r\n").into_bytes();
        let mut reader = RequestReader::new(Limits::DEFAULT);
        assert_eq!(reader.next(&bytes), Ok(Span::Head(bytes.len())), "{text}");
        (bytes, reader.head().clone())
    }

    #[expect(clippy::needless_pass_by_value, reason = "an expectation is used once")]
    fn check(text: &str, set: &[(&str, &str)], forwarded: Forwarded<'_>, upstream: Expect) {
        let (bytes, head) = read(text);
        let set = set.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let overrides = Overrides::new(set).expect("sound overrides");
        let mut out = Vec::new();
        let how = RequestRewrite { overrides: &overrides, forwarded, host: "up:9200" };
        upstream_head(&bytes, &head, &how, &mut out);
        upstream.assert_eq(&out.escape_ascii().to_string().replace("\\r\\n", "\n"));
    }

    /// Only what belongs to the hop goes; the rest keeps its bytes, order, spelling and repetitions.
    #[test]
    fn end_to_end_fields_pass_byte_for_byte() {
        check(
            "POST /a%2f/../b?c HTTP/1.1\nx-B:  1 \nHOST: a\nConnection: close, x-hop\nX-Hop: 1\nX-b: \nx-B: 2\nKeep-Alive: 5\nTE: trailers\nProxy-Connection: a\nUpgrade: h2c\nHTTP2-Settings: a\ncontent-length: 003\n\n",
            &[],
            UNTOUCHED,
            expect![[r"
                POST /a%2f/../b?c HTTP/1.1
                x-B:  1 
                HOST: a
                X-b: 
                x-B: 2
                content-length: 003

            "]],
        );
    }

    /// A Connection header cannot take away what the message needs.
    #[test]
    fn connection_cannot_drop_end_to_end_fields() {
        check(
            "POST / HTTP/1.1\nHost: a\nConnection: host, authorization, content-length, content-type, X-Forwarded-For\nAuthorization: b\nContent-Length: 1\nContent-Type: c\nX-Forwarded-For: d\n\n",
            &[],
            UNTOUCHED,
            expect![[r"
                POST / HTTP/1.1
                Host: a
                Authorization: b
                Content-Length: 1
                Content-Type: c
                X-Forwarded-For: d

            "]],
        );
    }

    /// The authority of an absolute-form is Host, and the target becomes origin-form.
    #[test]
    fn absolute_form_becomes_origin_form() {
        check(
            "GET HTTP://b:81?c HTTP/1.1\nX: 1\nhost: a\n\n",
            &[],
            UNTOUCHED,
            expect![[r"
            GET /?c HTTP/1.1
            X: 1
            host: b:81

        "]],
        );
        check(
            "OPTIONS http://b HTTP/1.1\nHost: a\n\n",
            &[],
            UNTOUCHED,
            expect![[r"
            OPTIONS * HTTP/1.1
            Host: b

        "]],
        );
    }

    /// What came as HTTP/1.0 is sent on as 1.1, with a Host and without the expectation it cannot have.
    #[test]
    fn http10_is_sent_on_as_http11() {
        check(
            "PUT /a HTTP/1.0\nExpect: 100-continue\nContent-Length: 1\n\n",
            &[],
            UNTOUCHED,
            expect![[r"
            PUT /a HTTP/1.1
            Host: up:9200
            Content-Length: 1

        "]],
        );
    }

    /// Odd but sound spellings of chunked are sent on in the plain one, a plain one as it came.
    #[test]
    fn chunked_is_sent_on_plainly() {
        for (came, sent) in [
            ("tRansfer-encoding: Chunked", "tRansfer-encoding: Chunked"),
            ("Transfer-Encoding:\t,chunked ,", "Transfer-Encoding: chunked"),
        ] {
            let (bytes, head) = read(&format!("POST / HTTP/1.1\nHost: a\n{came}\n\n"));
            let mut out = Vec::new();
            let how = RequestRewrite { overrides: &Overrides::default(), forwarded: UNTOUCHED, host: "up" };
            upstream_head(&bytes, &head, &how, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), format!("POST / HTTP/1.1\r\nHost: a\r\n{sent}\r\n\r\n"));
        }
    }

    /// What the operator set stands in place of all that the client sent.
    #[test]
    fn overrides_replace_every_field_of_their_name() {
        check(
            "GET / HTTP/1.1\nauthorization: a\nHost: a\nAuthorization: b\n\n",
            &[("Authorization", "Basic eDp5"), ("Host", "c")],
            UNTOUCHED,
            expect![[r"
                GET / HTTP/1.1
                Authorization: Basic eDp5
                Host: c

            "]],
        );
        for (name, value) in
            [("Content-Length", "1"), ("connection", "x"), ("a b", "c"), ("a", "b\r\nc"), ("Host", "a b"), ("a", " b")]
        {
            assert!(Overrides::new([(name.to_owned(), value.to_owned())]).is_err(), "{name}: {value:?}");
        }
    }

    /// X-Forwarded-* are added or replaced when asked for.
    #[test]
    fn forwarded_fields_are_appended_or_replaced() {
        let text = "GET / HTTP/1.1\nHost: a\nX-Forwarded-For: 1\nx-forwarded-proto: http\n\n";
        check(
            text,
            &[],
            APPEND,
            expect![[r"
            GET / HTTP/1.1
            Host: a
            X-Forwarded-For: 1
            x-forwarded-proto: http
            X-Forwarded-For: 192.0.2.7
            X-Forwarded-Host: a

        "]],
        );
        check(
            text,
            &[],
            REPLACE,
            expect![[r"
            GET / HTTP/1.1
            Host: a
            X-Forwarded-For: 192.0.2.7
            X-Forwarded-Proto: https
            X-Forwarded-Host: a

        "]],
        );
    }

    /// Only WebSocket is passed on, and Max-Forwards counts down where it means something.
    #[test]
    fn websocket_and_max_forwards() {
        check(
            "GET / HTTP/1.1\nHost: a\nUpgrade: h2c, WebSocket\nConnection: Upgrade, x\nX: 1\nMax-Forwards: 7\n\n",
            &[],
            UNTOUCHED,
            expect![[r"
            GET / HTTP/1.1
            Host: a
            Max-Forwards: 7
            Connection: Upgrade
            Upgrade: websocket

        "]],
        );
        check(
            "OPTIONS / HTTP/1.1\nHost: a\nMax-Forwards: 7\n\n",
            &[],
            UNTOUCHED,
            expect![[r"
            OPTIONS / HTTP/1.1
            Host: a
            Max-Forwards: 6

        "]],
        );
    }

    fn answer(request: &str, response: &str, asked: Asked, close: bool) -> (String, ClientBody) {
        let (_, request) = read(request);
        let bytes = response.replace('\n', "\r\n").into_bytes();
        let mut reader = ResponseReader::new(Limits::DEFAULT);
        reader.expect(asked);
        assert_eq!(reader.next(&bytes), Ok(Span::Head(bytes.len())), "{response}");
        let mut out = Vec::new();
        let body = client_head(&bytes, reader.head(), &ResponseRewrite { request: &request, close }, &mut out);
        (out.escape_ascii().to_string().replace("\\r\\n", "\n"), body)
    }

    const HTTP11: &str = "GET / HTTP/1.1\nHost: a\n\n";
    const GOES_ON: ClientBody = ClientBody { unchunk: false, close: false, suppress: false };

    /// Fields of the response pass byte for byte but for the hop's own and the repairs of the RFC.
    #[test]
    fn responses_pass_byte_for_byte() {
        let response =
            "HTTP/1.1 200\nset-Cookie: a\nConnection: x\nX: 1\nKeep-Alive: 1\nSet-Cookie:  b\nContent-Length : 3\n\n";
        let sent = "HTTP/1.1 200 \nset-Cookie: a\nSet-Cookie:  b\nContent-Length: 3\n\n";
        assert_eq!(answer(HTTP11, response, Asked::Plain, false), (sent.to_owned(), GOES_ON));
        let no_content = "HTTP/1.1 204 It's fine\nContent-Length: 3\n\n";
        let sent = "HTTP/1.1 204 It's fine\n\n".replace('\'', "\\'");
        assert_eq!(answer(HTTP11, no_content, Asked::Plain, false), (sent, GOES_ON));
        let head = "HTTP/1.1 200 OK\nContent-Length: 3\n\n";
        assert_eq!(answer(HTTP11, head, Asked::Head, false), (head.to_owned(), GOES_ON));
    }

    /// The client is told that its connection ends when it does.
    #[test]
    fn a_connection_that_ends_is_said_to() {
        let closed = ClientBody { close: true, ..GOES_ON };
        let until_close = "HTTP/1.0 200 OK\n\n";
        let sent = "HTTP/1.1 200 OK\nConnection: close\n\n".to_owned();
        assert_eq!(answer(HTTP11, until_close, Asked::Plain, false), (sent.clone(), closed));
        assert_eq!(answer("GET / HTTP/1.0\n\n", "HTTP/1.1 200 OK\n\n", Asked::Head, false), (sent.clone(), closed));
        assert_eq!(answer(HTTP11, "HTTP/1.1 200 OK\n\n", Asked::Head, true), (sent, closed));
        let kept = "HTTP/1.1 200 OK\nConnection: keep-alive\n\n".to_owned();
        let keep = "GET / HTTP/1.0\nConnection: keep-alive\n\n";
        assert_eq!(answer(keep, "HTTP/1.1 200 OK\n\n", Asked::Head, false), (kept, GOES_ON));
    }

    /// A client of HTTP/1.0 gets neither chunks nor interim responses.
    #[test]
    fn a_client_of_http10_gets_no_chunks() {
        let http10 = "GET / HTTP/1.0\nConnection: keep-alive\n\n";
        let chunked = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nTrailer: X\nX: y\n\n";
        let sent = "HTTP/1.1 200 OK\nX: y\nConnection: close\n\n".to_owned();
        let unchunk = ClientBody { unchunk: true, close: true, suppress: false };
        assert_eq!(answer(http10, chunked, Asked::Plain, false), (sent, unchunk));
        let nothing = (String::new(), ClientBody { suppress: true, ..GOES_ON });
        assert_eq!(answer(http10, "HTTP/1.1 100 Continue\n\n", Asked::Plain, false), nothing);
    }

    /// A switch of protocols that was asked for says so to the client too.
    #[test]
    fn a_switch_is_passed_on() {
        let asks = "GET / HTTP/1.1\nHost: a\nConnection: upgrade\nUpgrade: websocket\n\n";
        let switches = "HTTP/1.1 101 S\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Accept: x\n\n";
        let sent = "HTTP/1.1 101 S\nSec-WebSocket-Accept: x\nConnection: Upgrade\nUpgrade: websocket\n\n".to_owned();
        assert_eq!(answer(asks, switches, Asked::Upgrade, false), (sent, GOES_ON));
    }
}
