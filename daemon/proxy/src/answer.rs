//! Answers of our own: refusals, failures of a side, and our health. They name nothing of what is behind us.

/// What becomes of the client's connection after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It may carry another request.
    Continue,
    /// It is closed, and the answer says so.
    Close,
}

/// Whether the body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// It is.
    Sent,
    /// It was asked for with HEAD, and only its length is told.
    Withheld,
}

/// Appends a whole answer: one line of text.
pub(crate) fn compose(out: &mut Vec<u8>, status: u16, text: &str, then: Then, body: Body) {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("");
    let close = if then == Then::Close { "Connection: close\r\n" } else { "" };
    let length = text.len() + 1;
    out.extend_from_slice(
        format!("HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n{close}\r\n")
            .as_bytes(),
    );
    if body == Body::Sent {
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
    }
}

/// What a client is told when a side failed its request.
pub(crate) fn failure_text(status: u16) -> &'static str {
    match status {
        503 => "service unavailable",
        504 => "gateway timeout",
        _ => "bad gateway",
    }
}
