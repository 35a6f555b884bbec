//! What is in a head, as places in its bytes: nothing is copied out of them.
//!
//! A [`Part`] counts from the first byte of the head, so it is good for as long as the caller has those bytes.

use std::ops::Range;

use super::fields::Known;

/// A stretch of the head's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its first byte.
    pub from: u32,
    /// The byte after its last.
    pub to: u32,
}

impl Part {
    pub(crate) fn new(from: usize, to: usize) -> Self {
        Self { from: from as u32, to: to as u32 }
    }

    /// As an index into the head's bytes.
    pub const fn range(self) -> Range<usize> {
        self.from as usize..self.to as usize
    }

    /// The bytes, out of the bytes of the head it belongs to.
    pub fn of(self, head: &[u8]) -> &[u8] {
        &head[self.range()]
    }

    /// A line together with the CRLF behind it.
    pub(super) const fn with_crlf(self) -> Self {
        Self { from: self.from, to: self.to + 2 }
    }

    /// How many bytes it has.
    pub const fn len(self) -> usize {
        (self.to - self.from) as usize
    }

    /// Whether it has none.
    pub const fn is_empty(self) -> bool {
        self.from == self.to
    }
}

/// One field line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name as it was spelled.
    pub name: Part,
    /// The value without the white space around it.
    pub value: Part,
    /// The whole line with its CRLF.
    pub line: Part,
    /// Which one it is, if framing or forwarding looks at it.
    pub(super) known: Option<Known>,
}

/// The methods somebody here asks about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// GET
    #[default]
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
    /// TRACE
    Trace,
    /// CONNECT; never accepted: it is refused with 501.
    Connect,
    /// Any other token.
    Other,
}

/// The versions that are understood. A higher minor number counts as 1.1 (RFC 9110 2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// In which form the request target came (RFC 9112 3.2). Authority-form belongs to CONNECT, which is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path?query`
    Absolute {
        /// `host[:port]`; what counts as Host, whatever the field says.
        authority: Part,
        /// `/path?query`; empty, or beginning with `?`, when there is no path.
        path: Part,
    },
    /// `*`
    Asterisk,
}

/// How long the body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    #[default]
    None,
    /// So many bytes, which may be 0.
    Length(u64),
    /// As many as its chunks have.
    Chunked,
    /// As many as come before the connection is closed. Responses only.
    UntilClose,
}

/// A request's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// The request line without its CRLF.
    pub line: Part,
    /// The method as it was spelled.
    pub method_part: Part,
    /// The method.
    pub method: Method,
    /// The request target as it came.
    pub target: Part,
    /// Its form.
    pub form: TargetForm,
    /// The version.
    pub version: Version,
    /// The field lines, in order.
    pub fields: Vec<Field>,
    /// Places in `fields` of those that are not sent on: hop-by-hop ones and those that Connection lists. Ascending.
    pub dropped: Vec<u16>,
    /// The value of Host; `None` in an HTTP/1.0 request without one.
    pub host: Option<Part>,
    /// How long the body is; never `UntilClose`.
    pub body: Body,
    /// Whether the client wants the connection to go on after this exchange.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body. Never in HTTP/1.0.
    pub expect_continue: bool,
    /// Whether the client asks for WebSocket (GET, HTTP/1.1, no body, both fields). No other upgrade is passed on.
    pub websocket: bool,
    /// The number in Max-Forwards of an OPTIONS or TRACE request. At 0 we are the last recipient and must answer
    /// (RFC 9110 7.6.2); above it, one less is sent on.
    pub max_forwards: Option<u64>,
}

impl RequestHead {
    /// The path of the target without its query, out of the head's bytes; `*` for the asterisk-form and for OPTIONS of an
    /// absolute-form without a path, which is the same (RFC 9112 3.2.4), `/` for others without a path.
    pub fn path<'h>(&self, head: &'h [u8]) -> &'h [u8] {
        let whole = match self.form {
            TargetForm::Origin | TargetForm::Asterisk => self.target.of(head),
            TargetForm::Absolute { path, .. } => path.of(head),
        };
        if whole.is_empty() && self.method == Method::Options {
            return b"*";
        }
        let path = whole.split(|&b| b == b'?').next().unwrap_or(whole);
        if path.is_empty() { b"/" } else { path }
    }

    /// The value of the first field of that name (any case), out of the head's bytes.
    pub fn field<'h>(&self, head: &'h [u8], name: &str) -> Option<&'h [u8]> {
        field(&self.fields, head, name)
    }

    /// The value of the first User-Agent, out of the head's bytes: asked of every request, so it is known without
    /// looking for its name.
    pub fn user_agent<'h>(&self, head: &'h [u8]) -> Option<&'h [u8]> {
        self.fields.iter().find(|field| field.known == Some(Known::UserAgent)).map(|field| field.value.of(head))
    }
}

/// A response's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status line without its CRLF.
    pub line: Part,
    /// The status, 100 to 999.
    pub status: u16,
    /// The reason, which may be empty.
    pub reason: Part,
    /// The version.
    pub version: Version,
    /// The field lines, in order.
    pub fields: Vec<Field>,
    /// Places in `fields` of those that are not sent on. Ascending.
    pub dropped: Vec<u16>,
    /// How long the body is.
    pub body: Body,
    /// Whether the upstream connection can carry another request after this response.
    pub keep_alive: bool,
    /// Whether the connection is no longer HTTP after this head: 101 that was asked for, or 2xx to CONNECT. All that
    /// follows is `Data`, and there is no end but that of the input.
    pub tunnel: bool,
}

impl ResponseHead {
    /// Whether it is an interim response (1xx but 101): another head follows.
    pub fn interim(&self) -> bool {
        self.status < 200 && !self.tunnel
    }

    /// The value of the first field of that name (any case), out of the head's bytes.
    pub fn field<'h>(&self, head: &'h [u8], name: &str) -> Option<&'h [u8]> {
        field(&self.fields, head, name)
    }
}

fn field<'h>(fields: &[Field], head: &'h [u8], name: &str) -> Option<&'h [u8]> {
    fields.iter().find(|f| f.name.of(head).eq_ignore_ascii_case(name.as_bytes())).map(|f| f.value.of(head))
}
