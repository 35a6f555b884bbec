//! What capture is told about one side: into which log, what happens to a write that the log did not take, and which
//! requests and header values are kept out of it.

use std::{fmt, ops::Range, sync::Arc};

use regex::bytes::{Regex, RegexBuilder};

use super::{Capture, Pieces, loss::LossLog};
use crate::{
    api::{CaptureStatus, Keeping},
    count::SideName,
    wire::{RequestHead, field_lines},
};

/// What happens to a write that could not be captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is forwarded, and the loss is listed and counted: clients first.
    #[default]
    Forward,
    /// It is refused with 503, and nothing complete of it reaches the cluster.
    Refuse,
}

impl OnFailure {
    /// The word for it in flags and status.
    pub fn word(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Refuse => "refuse",
        }
    }
}

/// How the traffic of one side is captured.
#[derive(Clone)]
pub struct Captured {
    /// Where its records go.
    pub log: Capture,
    /// What becomes of writes that the log did not take.
    pub on_failure: OnFailure,
    /// The list of those.
    pub losses: Arc<LossLog>,
    /// Requests that are not captured at all.
    pub suppress: Suppress,
    /// The largest record, in bytes, within the limits of [`Recorder::with_chunk_bytes_max`](super::Recorder); `None` is a
    /// full Kafka record.
    pub record_bytes_max: Option<usize>,
    /// Header fields whose values are written as asterisks, in heads and trailers both ways; in lower case.
    pub redact: Vec<String>,
}

impl fmt::Debug for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Captured")
            .field("sink", &self.log.figures().sink)
            .field("on_failure", &self.on_failure)
            .field("suppress", &self.suppress)
            .field("redact", &self.redact)
            .finish_non_exhaustive()
    }
}

impl Captured {
    /// How it goes.
    pub(crate) fn status(&self, side: SideName) -> CaptureStatus {
        let figures = self.log.figures();
        CaptureStatus {
            side: side.word().to_owned(),
            sink: figures.sink.to_owned(),
            on_failure: self.on_failure.word().to_owned(),
            works: figures.works,
            failed_why: figures.opened_why.map(|why| why.to_string()),
            failed_times: figures.opened_times,
            safe: figures.safe,
            lost: figures.lost,
            perhaps_there: figures.perhaps_there,
            not_given: figures.refused_budget + figures.refused_breaker,
            under_way_bytes: figures.under_way_bytes as u64,
            life: figures.life,
            losses: self.losses.losses(),
            losses_unlisted: self.losses.unlisted(),
            losses_unlisted_before: self.losses.found().counts.unlisted,
            phantoms: self.losses.phantoms(),
            place: figures.place,
            began_millis: self.losses.began_millis(),
            loss_log: self.losses.path().display().to_string(),
            loss_log_id: self.losses.id().to_owned(),
            oldest_millis: figures.oldest.map_or(0, |oldest| oldest.as_millis() as u64),
            keeps: figures.keeps.map(|keeps| Keeping {
                millis: keeps.time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
                bytes: keeps.bytes,
            }),
        }
    }

    /// What is recorded of a part of a message that begins with so many bytes of a head, within the first piece, and ends
    /// with so many bytes of trailers; 0 where it has none of them. The values of redacted fields are asterisks, as many as
    /// there were bytes, so that the lengths that a record says stay true. `None` where nothing is redacted.
    pub(crate) fn redacted(&self, pieces: Pieces<'_>, head_bytes: usize, trailer_bytes: usize) -> Option<Vec<u8>> {
        if self.redact.is_empty() || head_bytes + trailer_bytes == 0 {
            return None;
        }
        redacted(&self.redact, pieces, head_bytes, trailer_bytes)
    }
}

fn redacted(names: &[String], pieces: Pieces<'_>, head_bytes: usize, trailer_bytes: usize) -> Option<Vec<u8>> {
    let mut values = values_of(names, &pieces[0][..head_bytes], 0);
    if trailer_bytes > 0 {
        let from = pieces[0].len() + pieces[1].len() - trailer_bytes;
        // What is sent once more may have some of its trailers in either.
        let cut = from.min(pieces[0].len());
        let trailers = [&pieces[0][cut..], &pieces[1][from - cut..]].concat();
        values.append(&mut values_of(names, &trailers, from));
    }
    let mut copy = (!values.is_empty()).then(|| pieces.concat())?;
    for value in values {
        copy[value].fill(b'*');
    }
    Some(copy)
}

/// Where the values of the fields of these names are, in lines that begin at `from`.
fn values_of(names: &[String], lines: &[u8], from: usize) -> Vec<Range<usize>> {
    field_lines(lines)
        .filter(|field| names.iter().any(|name| field.name.of(lines).eq_ignore_ascii_case(name.as_bytes())))
        .map(|field| field.value.range())
        .map(|value| from + value.start..from + value.end)
        .collect()
}

/// Requests that are not captured: neither recorded nor held back. The rules are the Java proxy's: a pattern must match
/// the whole text, and one rule that matches is enough.
#[derive(Clone, Debug, Default)]
pub struct Suppress {
    /// A header field's name and a pattern for its first value.
    headers: Vec<(String, Regex)>,
    /// Patterns for the method.
    methods: Vec<Regex>,
    /// Patterns for the request target, query and all.
    targets: Vec<Regex>,
    /// Patterns for `METHOD target`.
    methods_and_targets: Vec<Regex>,
}

/// A pattern that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is no regular expression: {why}")]
pub struct PatternError {
    /// What was given.
    pub pattern: String,
    /// What is wrong with it, and where.
    pub why: String,
}

/// A pattern that must match the whole of a text of bytes.
fn whole(pattern: &str) -> Result<Regex, PatternError> {
    let anchored = format!("^(?:{pattern})$");
    RegexBuilder::new(&anchored).unicode(false).dot_matches_new_line(true).build().map_err(|error| PatternError {
        pattern: pattern.to_owned(),
        why: error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    })
}

impl Suppress {
    /// Leaves out requests whose first field of that name has a value that matches.
    ///
    /// # Errors
    /// The pattern is no regular expression.
    pub fn header(&mut self, name: &str, pattern: &str) -> Result<(), PatternError> {
        self.headers.push((name.to_owned(), whole(pattern)?));
        Ok(())
    }

    /// Leaves out requests with a method that matches.
    ///
    /// # Errors
    /// The pattern is no regular expression.
    pub fn method(&mut self, pattern: &str) -> Result<(), PatternError> {
        self.methods.push(whole(pattern)?);
        Ok(())
    }

    /// Leaves out requests with a target, query included, that matches.
    ///
    /// # Errors
    /// The pattern is no regular expression.
    pub fn target(&mut self, pattern: &str) -> Result<(), PatternError> {
        self.targets.push(whole(pattern)?);
        Ok(())
    }

    /// Leaves out requests of which `METHOD target` matches.
    ///
    /// # Errors
    /// The pattern is no regular expression.
    pub fn method_and_target(&mut self, pattern: &str) -> Result<(), PatternError> {
        self.methods_and_targets.push(whole(pattern)?);
        Ok(())
    }

    /// Whether a request with this head is left out.
    pub(crate) fn matches(&self, head: &RequestHead, bytes: &[u8]) -> bool {
        let any = |patterns: &[Regex], text: &[u8]| patterns.iter().any(|pattern| pattern.is_match(text));
        let (method, target) = (head.method_part.of(bytes), head.target.of(bytes));
        any(&self.methods, method)
            || any(&self.targets, target)
            || self
                .headers
                .iter()
                .any(|(name, pattern)| head.field(bytes, name).is_some_and(|value| pattern.is_match(value)))
            || !self.methods_and_targets.is_empty() && any(&self.methods_and_targets, &[method, b" ", target].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Limits, RequestReader, Span};

    fn head_of(text: &[u8]) -> RequestHead {
        let mut reader = RequestReader::new(Limits::DEFAULT);
        assert_eq!(reader.next(text), Ok(Span::Head(text.len())));
        reader.head().clone()
    }

    /// Proves that head and trailers are redacted wherever the message is cut in two behind its head, a line of the body that
    /// looks like a field is not, and that nothing is copied where no field has the name.
    #[test]
    fn a_message_in_two_pieces_is_redacted() {
        let head = "POST /a:b HTTP/1.1\r\nHost: h\r\nCookie:\ta b \r\ncookie:\r\n\r\n";
        let body = "b\r\nCookie: no\r\n\r\n0\r\n";
        let trailers = "X-Cookie: no\r\nCOOKIE:secret\r\n\r\n";
        let whole = [head, body, trailers].concat();
        let wanted = whole.replace("a b", "***").replace("secret", "******");
        for cut in head.len()..=whole.len() {
            let (first, second) = whole.as_bytes().split_at(cut);
            let of = |name: &str| redacted(&[name.to_owned()], [first, second], head.len(), trailers.len());
            assert_eq!(of("cookie").map(|copy| String::from_utf8(copy).unwrap()).as_ref(), Some(&wanted), "{cut}");
            assert_eq!((of("cook"), of("post")), (None, None));
        }
    }

    /// Proves each of the four rules, that a pattern is held against the whole text, and that one match is enough.
    #[test]
    fn rules_match_whole_texts() {
        let text = b"POST /a/_bulk?x=1 HTTP/1.1\r\nHost: h\r\nX-Probe: yes\r\nx-probe: no\r\n\r\n";
        let head = head_of(text);
        let with = |rule: fn(&mut Suppress, &str) -> Result<(), PatternError>, pattern: &str| {
            let mut suppress = Suppress::default();
            rule(&mut suppress, "nothing like it").unwrap();
            rule(&mut suppress, pattern).unwrap();
            suppress.matches(&head, text)
        };
        assert!(!Suppress::default().matches(&head, text));
        for (pattern, matches) in [("POST", true), ("PO", false), ("GET|POST", true), (".*", true), ("post", false)] {
            assert_eq!(with(Suppress::method, pattern), matches, "{pattern}");
        }
        for (pattern, matches) in [("/a/_bulk", false), (r"/\w/_bulk\?x=\d", true), ("/a/.*", true)] {
            assert_eq!(with(Suppress::target, pattern), matches, "{pattern}");
        }
        for (pattern, matches) in [("POST /a/.*", true), ("POST", false), ("POST  .*", false)] {
            assert_eq!(with(Suppress::method_and_target, pattern), matches, "{pattern}");
        }
        for (pattern, matches) in [("yes", true), ("no", false), ("y|n", false)] {
            assert_eq!(with(|suppress, pattern| suppress.header("x-PROBE", pattern), pattern), matches, "{pattern}");
        }
        let error = Suppress::default().method("a(").unwrap_err();
        assert!(error.to_string().starts_with("`a(` is no regular expression: "), "{error}");
    }
}
