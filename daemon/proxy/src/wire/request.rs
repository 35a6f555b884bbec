//! The state machine for requests.

use super::body::BodyReader;
use super::fields::{self, Framing, Known};
use super::head::{Body, Method, Part, TargetForm, Version};
use super::scan::{Found, Scan, Sender, field};
use super::{Limits, Refusal, RequestHead, Span, target};

/// Where in a connection we are.
#[derive(Clone, Debug)]
enum State {
    /// Before a request line; so many empty lines came already.
    Start(usize),
    /// In a head.
    Head(HeadScan),
    /// In a body.
    Body(BodyReader),
    /// Nothing after this can be trusted.
    Refused(Refusal),
}

/// Where in a head we are.
#[derive(Clone, Copy, Debug, Default)]
struct HeadScan {
    scan: Scan,
    /// Whether the request line is behind us.
    begun: bool,
    /// Where the request target begins, once the method is behind us.
    target_from: Option<usize>,
    /// Where it ends.
    target_to: Option<usize>,
    /// How much of the request line was searched for them.
    searched: usize,
}

/// Reads the requests of one connection, one after the other.
#[derive(Clone, Debug)]
pub struct RequestReader {
    limits: Limits,
    state: State,
    head: RequestHead,
}

impl RequestReader {
    /// A reader at the beginning of a connection.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: State::Start(0), head: RequestHead::default() }
    }

    /// What the first bytes of `input` are. Drop as many as the span covers, then ask again with the rest.
    ///
    /// # Errors
    ///
    /// Why the request is refused. The connection is lost then: every later call says the same.
    pub fn next(&mut self, input: &[u8]) -> Result<Span, Refusal> {
        let span = self.step(input);
        if let Err(refusal) = span {
            self.state = State::Refused(refusal);
        }
        span
    }

    /// What is in the head: from its [`Span::Head`] until the next one begins.
    pub fn head(&self) -> &RequestHead {
        &self.head
    }

    /// Whether we are between two requests, with nothing of the next one seen but empty lines.
    pub fn idle(&self) -> bool {
        matches!(self.state, State::Start(_))
    }

    /// Whether a head was seen and the end of its message was not said yet.
    pub fn in_body(&self) -> bool {
        matches!(self.state, State::Body(_))
    }

    /// Whether the last-chunk line of a chunked body was seen, and what follows it is still to come.
    pub fn in_trailers(&self) -> bool {
        matches!(&self.state, State::Body(body) if body.in_trailers())
    }

    fn step(&mut self, input: &[u8]) -> Result<Span, Refusal> {
        match &mut self.state {
            State::Refused(refusal) => Err(*refusal),
            State::Body(body) => {
                let span = body.next(input, &self.limits)?;
                if span == Span::End {
                    self.state = State::Start(0);
                }
                Ok(span)
            }
            State::Head(_) => self.lines(input),
            State::Start(empty_lines) => match input {
                [] | [b'\r'] => Ok(Span::More),
                [b'\r', b'\n', ..] => {
                    *empty_lines += 1;
                    if *empty_lines > self.limits.empty_lines_max {
                        Err(Refusal::EmptyLines)
                    } else {
                        Ok(Span::Skip(2))
                    }
                }
                [b'\r', ..] => Err(Refusal::BareCr),
                [b'\n', ..] => Err(Refusal::BareLf),
                _ => {
                    self.state = State::Head(HeadScan::default());
                    self.head.fields.clear();
                    self.lines(input)
                }
            },
        }
    }

    fn lines(&mut self, input: &[u8]) -> Result<Span, Refusal> {
        let State::Head(head) = &mut self.state else { unreachable!("only called within a head") };
        loop {
            let found = head.scan.line(input, self.limits.head_bytes_max);
            if !head.begun {
                // Before anything that stands behind the target is complained of: a target that is too long is told
                // so however its bytes were cut.
                head.search_target(input, self.limits.target_bytes_max)?;
            }
            match found? {
                Found::More => return Ok(Span::More),
                Found::Line { to, .. } if !head.begun => {
                    head.begun = true;
                    request_line(&mut self.head, input, to, head.target_from, head.target_to)?;
                }
                Found::Line { from, to } if from == to => {
                    let length = head.scan.consumed();
                    self.finish(&input[..length])?;
                    self.state = State::Body(BodyReader::new(self.head.body, Sender::Client));
                    return Ok(Span::Head(length));
                }
                Found::Line { from, to } => {
                    if self.head.fields.len() == self.limits.field_lines_max {
                        return Err(Refusal::TooManyFields);
                    }
                    self.head.fields.push(field(input, from, to, Sender::Client)?);
                }
            }
        }
    }

    /// What the fields say together.
    fn finish(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let Self { head, limits, .. } = self;
        let http10 = head.version == Version::Http10;
        host(head, bytes)?;
        let framing = fields::framing(bytes, &head.fields, http10)?;
        head.body = match framing {
            Framing::Unsaid => Body::None,
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked,
        };
        let says = fields::hops(bytes, &head.fields, limits.field_lines_max, &mut head.dropped)?;
        head.keep_alive = !says.close && (!http10 || says.keep_alive);
        let has = |wanted: Known, element: &[u8]| {
            head.fields.iter().any(|field| {
                field.known == Some(wanted)
                    && fields::elements(field.value.of(bytes)).any(|one| one.eq_ignore_ascii_case(element))
            })
        };
        let expects_continue = has(Known::Expect, b"100-continue");
        let websocket = says.upgrade
            && !http10
            && head.method == Method::Get
            && matches!(head.body, Body::None | Body::Length(0))
            && has(Known::Upgrade, b"websocket");
        // RFC 9110 10.1.1: a server must ignore the expectation of a client of HTTP/1.0.
        head.expect_continue = expects_continue && !http10;
        if expects_continue && http10 {
            drop_all(head, Known::Expect);
        }
        head.websocket = websocket;
        head.max_forwards = matches!(head.method, Method::Options | Method::Trace)
            .then(|| head.fields.iter().find(|field| field.known == Some(Known::MaxForwards)))
            .flatten()
            .and_then(|field| fields::decimal(field.value.of(bytes)));
        Ok(())
    }
}

impl HeadScan {
    /// Finds where the target begins and ends, as far as the scan has come, and refuses one that is too long at once.
    fn search_target(&mut self, input: &[u8], bytes_max: usize) -> Result<(), Refusal> {
        let looked = self.scan.looked().min(input.len());
        while self.searched < looked && self.target_to.is_none() {
            let byte = input[self.searched];
            match self.target_from {
                None if byte == b' ' => self.target_from = Some(self.searched + 1),
                Some(_) if matches!(byte, b' ' | b'\r') => self.target_to = Some(self.searched),
                Some(from) if self.searched - from >= bytes_max => return Err(Refusal::TargetTooLong),
                // A line without a space has no target, and is refused when it is complete.
                _ => {}
            }
            self.searched += 1;
        }
        Ok(())
    }
}

/// `METHOD SP TARGET SP HTTP/D.D`, with exactly one space between: RFC 9112 3 allows to be lenient and says what comes of it.
fn request_line(
    head: &mut RequestHead,
    input: &[u8],
    to: usize,
    target_from: Option<usize>,
    target_to: Option<usize>,
) -> Result<(), Refusal> {
    let (Some(from), Some(end)) = (target_from, target_to) else { return Err(Refusal::RequestLine) };
    let method = &input[..from - 1];
    if !fields::is_token(method) || end >= to || end == from {
        return Err(Refusal::RequestLine);
    }
    head.version = match &input[end + 1..to] {
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            if *major != b'1' {
                return Err(Refusal::Version);
            }
            Version::Http11
        }
        _ => return Err(Refusal::RequestLine),
    };
    head.line = Part::new(0, to);
    head.method_part = Part::new(0, from - 1);
    head.target = Part::new(from, end);
    head.method = match method {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"POST" => Method::Post,
        b"PUT" => Method::Put,
        b"DELETE" => Method::Delete,
        b"OPTIONS" => Method::Options,
        b"TRACE" => Method::Trace,
        b"CONNECT" => Method::Connect,
        _ => Method::Other,
    };
    head.form = target::form(head.method, &input[from..end], from)?;
    Ok(())
}

/// RFC 9112 3.2: no Host in HTTP/1.1, more than one, or an invalid one, must be answered with 400, in absolute-form too.
fn host(head: &mut RequestHead, bytes: &[u8]) -> Result<(), Refusal> {
    let mut hosts = head.fields.iter().filter(|field| field.known == Some(Known::Host));
    let host = hosts.next().map(|field| field.value);
    if hosts.next().is_some() {
        return Err(Refusal::HostDuplicate);
    }
    match host {
        None if head.version == Version::Http11 => return Err(Refusal::HostMissing),
        Some(value) if !target::is_host(value.of(bytes)) => return Err(Refusal::HostInvalid),
        _ => {}
    }
    head.host = match head.form {
        TargetForm::Absolute { authority, .. } => Some(authority),
        _ => host,
    };
    Ok(())
}

fn drop_all(head: &mut RequestHead, which: Known) {
    let fields = head.fields.iter().enumerate();
    head.dropped.extend(fields.filter(|(_, field)| field.known == Some(which)).map(|(place, _)| place as u16));
    head.dropped.sort_unstable();
    head.dropped.dedup();
}
