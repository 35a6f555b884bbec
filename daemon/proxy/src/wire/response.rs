//! The state machine for responses.

use super::body::BodyReader;
use super::fields::{self, Framing, Known};
use super::head::{Body, Field, Part, Version};
use super::scan::{Found, Scan, Sender, field};
use super::{Limits, Refusal, ResponseHead, Span};

/// What a response answers: its framing depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// Any request that is none of the others.
    #[default]
    Plain,
    /// HEAD: no body, whatever the head says.
    Head,
    /// CONNECT: 2xx makes it a tunnel. Never asked by the relay.
    Connect,
    /// An upgrade: 101 makes it something else.
    Upgrade,
}

/// Where in a connection we are.
#[derive(Clone, Debug)]
enum State {
    /// No response is due.
    Idle,
    /// In a head, interim or final.
    Head { scan: Scan, begun: bool },
    /// In a body.
    Body(BodyReader),
    /// No longer HTTP.
    Tunnel,
    /// Nothing after this can be trusted.
    Refused(Refusal),
}

/// Reads the responses of one upstream connection, one after the other.
#[derive(Clone, Debug)]
pub struct ResponseReader {
    limits: Limits,
    state: State,
    asked: Asked,
    interim: usize,
    head: ResponseHead,
}

impl ResponseReader {
    /// A reader at the beginning of a connection: nothing was asked yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: State::Idle, asked: Asked::Plain, interim: 0, head: ResponseHead::default() }
    }

    /// A request was sent, or is about to be: the next response answers it.
    ///
    /// # Panics
    ///
    /// When a response is still due, the connection is no longer HTTP, or a response was refused on it.
    pub fn expect(&mut self, asked: Asked) {
        assert!(matches!(self.state, State::Idle), "a connection carries one response at a time");
        self.asked = asked;
        self.interim = 0;
        self.begin_head();
    }

    /// What the first bytes of `input` are. Drop as many as the span covers, then ask again with the rest. An interim
    /// response is a `Head` without `End`. When no response is due, any byte is refused.
    ///
    /// # Errors
    ///
    /// Why it is no response of ours. The connection is lost then: every later call says the same.
    pub fn next(&mut self, input: &[u8]) -> Result<Span, Refusal> {
        let span = self.step(input);
        if let Err(refusal) = span {
            self.state = State::Refused(refusal);
        }
        span
    }

    /// The upstream closed its end, and all input before it was consumed: [`Span::End`] when the response ends with it (a
    /// body until close, a tunnel), [`Span::More`] when none is due.
    ///
    /// # Errors
    ///
    /// [`Refusal::Cut`] when a response was due and is not whole.
    pub fn end_of_input(&mut self) -> Result<Span, Refusal> {
        match &self.state {
            State::Idle => Ok(Span::More),
            State::Tunnel => Ok(self.over()),
            State::Body(body) if body.ends_with_input() => Ok(self.over()),
            State::Refused(refusal) => Err(*refusal),
            State::Head { .. } | State::Body(_) => {
                self.state = State::Refused(Refusal::Cut);
                Err(Refusal::Cut)
            }
        }
    }

    /// What is in the head: from its [`Span::Head`] until the next one begins.
    pub fn head(&self) -> &ResponseHead {
        &self.head
    }

    fn over(&mut self) -> Span {
        self.state = State::Idle;
        Span::End
    }

    fn begin_head(&mut self) {
        self.state = State::Head { scan: Scan::default(), begun: false };
        self.head.fields.clear();
    }

    fn step(&mut self, input: &[u8]) -> Result<Span, Refusal> {
        match &mut self.state {
            State::Refused(refusal) => Err(*refusal),
            State::Idle if input.is_empty() => Ok(Span::More),
            State::Idle => Err(Refusal::UnaskedBytes),
            State::Tunnel if input.is_empty() => Ok(Span::More),
            State::Tunnel => Ok(Span::Data(input.len())),
            State::Body(body) => {
                let span = body.next(input, &self.limits)?;
                if span == Span::End {
                    self.state = State::Idle;
                }
                Ok(span)
            }
            State::Head { begun, .. } => {
                // After an interim response its fields stay readable until bytes of the next head are there.
                if input.is_empty() {
                    return Ok(Span::More);
                }
                if !*begun && !self.head.fields.is_empty() {
                    self.begin_head();
                }
                self.lines(input)
            }
        }
    }

    fn lines(&mut self, input: &[u8]) -> Result<Span, Refusal> {
        let State::Head { scan, begun } = &mut self.state else { unreachable!("only called within a head") };
        loop {
            match scan.line(input, self.limits.response_head_bytes_max)? {
                Found::More => return Ok(Span::More),
                Found::Line { to, .. } if !*begun => {
                    *begun = true;
                    status_line(&mut self.head, input, to)?;
                }
                Found::Line { from, to } if from == to => {
                    let length = scan.consumed();
                    self.finish(&input[..length])?;
                    return Ok(Span::Head(length));
                }
                Found::Line { from, to } => {
                    if self.head.fields.len() == self.limits.field_lines_max {
                        return Err(Refusal::TooManyFields);
                    }
                    self.head.fields.push(field(input, from, to, Sender::Upstream)?);
                }
            }
        }
    }

    /// What the fields say together (RFC 9112 6.3), and what comes next.
    fn finish(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let Self { head, limits, .. } = self;
        let http10 = head.version == Version::Http10;
        let says = fields::hops(bytes, &head.fields, limits.field_lines_max, &mut head.dropped)?;
        let framing = fields::framing(bytes, &head.fields, http10)?;
        head.tunnel = match (head.status, self.asked) {
            (101, Asked::Upgrade) => true,
            (101, _) => return Err(Refusal::UnaskedUpgrade),
            (200..300, Asked::Connect) => true,
            _ => false,
        };
        let no_content = head.status < 200 || head.status == 204;
        if no_content || head.tunnel {
            // RFC 9112 6.1, RFC 9110 8.6: neither field may be sent with these, so neither is sent on.
            let fields = head.fields.iter().enumerate();
            let framing = |field: &Field| matches!(field.known, Some(Known::ContentLength | Known::TransferEncoding));
            head.dropped.extend(fields.filter(|(_, field)| framing(field)).map(|(place, _)| place as u16));
            head.dropped.sort_unstable();
            head.dropped.dedup();
        }
        head.body = match framing {
            _ if head.tunnel => Body::UntilClose,
            _ if no_content || head.status == 304 || self.asked == Asked::Head => Body::None,
            Framing::Chunked => Body::Chunked,
            Framing::Length(length) => Body::Length(length),
            Framing::Unsaid => Body::UntilClose,
        };
        head.keep_alive = !says.close && (!http10 || says.keep_alive) && head.body != Body::UntilClose;
        if head.interim() {
            self.interim += 1;
            if self.interim > limits.interim_responses_max {
                return Err(Refusal::TooManyInterim);
            }
            self.state = State::Head { scan: Scan::default(), begun: false };
        } else if head.tunnel {
            self.state = State::Tunnel;
        } else {
            self.state = State::Body(BodyReader::new(head.body, Sender::Upstream));
        }
        Ok(())
    }
}

/// `HTTP/D.D SP DDD [SP REASON]`. The space behind the status is part of the line even without a reason; that one is
/// mended, since so many servers leave it out.
fn status_line(head: &mut ResponseHead, input: &[u8], to: usize) -> Result<(), Refusal> {
    let line = &input[..to];
    let Some((start, rest)) = line.split_at_checked(12) else { return Err(Refusal::StatusLine) };
    let [b'H', b'T', b'T', b'P', b'/', major, b'.', minor, b' ', status @ ..] = start else {
        return Err(Refusal::StatusLine);
    };
    if !major.is_ascii_digit() || !minor.is_ascii_digit() || !status.iter().all(u8::is_ascii_digit) || status[0] == b'0'
    {
        return Err(Refusal::StatusLine);
    }
    if *major != b'1' {
        return Err(Refusal::Version);
    }
    head.reason = match rest {
        [] => Part::new(to, to),
        [b' ', ..] => Part::new(13, to),
        _ => return Err(Refusal::StatusLine),
    };
    head.version = if *minor == b'0' { Version::Http10 } else { Version::Http11 };
    head.status = status.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    head.line = Part::new(0, to);
    Ok(())
}
