//! The baseline document: a record of a source with who made it, of what and when, as text that can be kept and read
//! again, by this version and by others.
//!
//! The text is one JSON object of three: `layout` (a number that grows when older versions could not read the rest),
//! `checksum` (SHA-256, in hexadecimal, of `baseline` written without white space) and `baseline` (a [`Document`]).
//! Reading refuses what was edited, cut off, or written in another layout: a baseline that nobody can vouch for is none.
//!
//! A cutover that stands on a baseline takes what it needs of it along ([`Given`]); before it starts, the source as it is
//! now is held against it ([`drift()`]). Nothing here opens files: the text is an argument. [`file`](mod@file) reads what others
//! have counted (CSV, JSON).

mod drift;
pub mod file;
mod given;

use std::fmt::{self, Write as _};

use judge::record::Record;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::policy::Writes;
use crate::units::Timestamp;

pub use drift::{DRIFT_CHECK, LOOK, LOOK_MIN, drift};
pub use given::Given;

/// The layout that this version writes and reads.
pub const LAYOUT: u64 = 1;

/// The longest text that is read: a week of hours with two full histograms each is half of it.
pub const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where the numbers came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The counters of our own proxies, read while they counted.
    Proxies,
    /// What a daemon's source of numbers still knew.
    Daemon,
    /// A file that somebody else wrote.
    File,
}

/// Which requests were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Reads and writes together.
    All,
    /// Reads alone.
    Reads,
}

/// A record of a source, with what one must know to use it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The service that it is a record of.
    pub service: String,
    /// What was counted, so that a person can tell one source from another: the proxies, the file.
    pub source: String,
    /// Where the numbers came from.
    pub origin: Origin,
    /// The version of the program that wrote it.
    pub tool: String,
    /// When it was written.
    pub written: Timestamp,
    /// Which requests `record` counts.
    pub class: Class,
    /// The record itself.
    pub record: Record,
    /// The same of the reads alone, where they could be told apart and `record` counts all; `None` where not.
    pub reads: Option<Record>,
}

impl Document {
    /// The record of the requests that a policy judges: reads alone where writes come last, since these are then never
    /// split; everything where both are split.
    ///
    /// # Errors
    /// In one sentence, when the document does not count those.
    pub fn record_for(&self, writes: Writes) -> Result<&Record, String> {
        match (writes, self.class, &self.reads) {
            (Writes::Last, Class::All, Some(reads)) => Ok(reads),
            (Writes::Last, Class::Reads, _) | (Writes::Split, Class::All, _) => Ok(&self.record),
            (Writes::Last, Class::All, None) => Err(
                "it counts reads and writes together, and with `writes = \"last\"` only reads are judged: record it from \
                 the proxies, or import reads alone with `--class reads`"
                    .to_owned(),
            ),
            (Writes::Split, Class::Reads, _) => Err(
                "it counts reads alone, and with `writes = \"split\"` writes are judged with them: record it anew with all \
                 requests"
                    .to_owned(),
            ),
        }
    }
}

/// A baseline document in full, with the digest that names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// What it says.
    pub document: Document,
    /// SHA-256 of the document, in hexadecimal: equal for two texts that say the same.
    pub digest: String,
}

/// Why a text is no baseline, with where and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// The file, and the line where there is one: `NAME` or `NAME:LINE`.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: String,
}

/// As `PLACE: what (hint: …)`, on one line.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (hint: {})", self.place, self.what, self.hint)
    }
}

/// What lies beside the layout.
#[derive(Deserialize)]
struct Envelope {
    checksum: String,
    baseline: serde_json::Value,
}

/// Writes a document; the same document gives the same text.
pub fn write(document: &Document) -> String {
    let body = serde_json::to_string(document).expect("a document has no map with keys that are no text");
    format!("{{\"layout\":{LAYOUT},\"checksum\":\"{}\",\n\"baseline\":{body}}}\n", digest(&body))
}

/// Reads a document. `name` is how refusals call the file.
///
/// # Errors
/// When the text is no baseline, was edited or cut off, or has another layout.
pub fn read(text: &str, name: &str) -> Result<Read, Refusal> {
    let refuse = |what: String, hint: &str| Refusal { place: name.to_owned(), what, hint: hint.to_owned() };
    let again = "take it from a copy, or record it again with `tidegate baseline record`";
    if text.len() > TEXT_BYTES_MAX {
        let what = format!("{} bytes are more than a baseline can have ({TEXT_BYTES_MAX})", text.len());
        return Err(refuse(what, "is this the right file?"));
    }
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| Refusal {
        place: format!("{name}:{}", error.line().max(1)),
        what: format!("this is no baseline: {error}"),
        hint: "`tidegate baseline import` makes one of a CSV or JSON file of counts".to_owned(),
    })?;
    // The layout before everything else: of another one nobody knows what the rest means.
    match value.get("layout").and_then(serde_json::Value::as_u64) {
        Some(LAYOUT) => {}
        Some(other) => {
            let what = format!("the baseline has layout {other}, and this tidegate reads layout {LAYOUT}");
            return Err(refuse(what, "use the version that wrote it, or record it again"));
        }
        None => {
            let what = "this is no baseline: it says no `layout`".to_owned();
            return Err(refuse(what, "`tidegate baseline import` makes one of a CSV or JSON file of counts"));
        }
    }
    let Envelope { checksum, baseline } =
        serde_json::from_value(value).map_err(|error| refuse(format!("the baseline is incomplete: {error}"), again))?;
    let digest = digest(&baseline.to_string());
    if digest != checksum {
        let what = format!("the baseline was changed after it was written: its checksum is {digest}, not {checksum}");
        return Err(refuse(what, again));
    }
    let document: Document = serde_json::from_value(baseline)
        .map_err(|error| refuse(format!("the baseline cannot be understood: {error}"), again))?;
    Ok(Read { document, digest })
}

fn digest(body: &str) -> String {
    Sha256::digest(body.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("text takes what is written");
        hex
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use judge::Counts;
    use judge::record::Row;

    use super::*;

    /// Monday, 2026-01-05T00:00:00Z.
    pub(crate) const MONDAY: i64 = 1_767_571_200_000;

    /// So many minutes of a hundred requests each, one of them failed.
    pub(crate) fn document(minutes: i64) -> Document {
        let row = |at| {
            let mut counts = Counts { requests: 100, status_2xx: 99, status_5xx: 1, ..Counts::default() };
            counts.latency.record(20_000, 100);
            Row { from: MONDAY + at * 60_000, millis: 60_000, counts }
        };
        Document {
            service: "search".to_owned(),
            source: "the proxy at 127.0.0.1:9901".to_owned(),
            origin: Origin::Proxies,
            tool: "0.1.0".to_owned(),
            written: Timestamp(MONDAY + minutes * 60_000),
            class: Class::All,
            reads: None,
            record: Record::of(&(0..minutes).map(row).collect::<Vec<_>>()).expect("the rows are sound"),
        }
    }

    #[test]
    fn a_document_comes_back_and_is_named_by_its_digest() {
        // Proves: what is written is what is read, and white space does not matter.
        let document = document(90);
        let text = write(&document);
        let back = read(&text, "b.json").expect("it is ours");
        assert_eq!(back.document, document);
        let pretty = serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(&text).expect("JSON"));
        assert_eq!(read(&pretty.expect("JSON"), "b.json").expect("it is ours"), back);
        assert_eq!(back.digest.len(), 64);
    }

    #[test]
    fn what_is_no_baseline_of_ours_is_refused() {
        // Proves: each refusal names the file, what is wrong and what to do.
        let text = write(&document(60));
        let said = |text: &str| read(text, "b.json").expect_err("it is refused").to_string();
        let edited = said(&text.replace("\"requests\":100,", "\"requests\":101,").replacen("6000", "6001", 1));
        assert!(
            edited.starts_with("b.json: the baseline was changed after it was written: its checksum is "),
            "{edited}"
        );
        let other = said(&text.replace("\"layout\":1", "\"layout\":2"));
        assert_eq!(
            other,
            "b.json: the baseline has layout 2, and this tidegate reads layout 1 (hint: use the version that wrote it, or record it again)"
        );
        let cut = said(&text[..text.len() / 2]);
        assert!(cut.starts_with("b.json:2: this is no baseline: "), "{cut}");
        assert!(said("time,requests\n").starts_with("b.json:1: this is no baseline: "));
        assert!(said("{}").contains("it says no `layout`"));
        assert!(said("{\"layout\":1}").contains("incomplete"));
        assert!(said(&" ".repeat(TEXT_BYTES_MAX + 1)).contains("more than a baseline can have"));
    }
}
