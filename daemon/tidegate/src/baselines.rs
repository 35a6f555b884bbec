//! Baseline documents on disk: read, written whole or not at all, found by name, and kept beside the journal for as long
//! as it stands, under the digest by which a cutover names the one it was judged by.
//!
//! What a document means is [`cutover::baseline`]'s business; this only opens files.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use cutover::Policy;
use cutover::baseline::{self, Document, Given, Read, TEXT_BYTES_MAX};
use cutover::policy::RecordedBaseline;
use serde::{Deserialize, Serialize};

/// The folder in the state directory that holds baselines by name.
pub const FOLDER: &str = "baselines";

/// The folder in that one with the baselines of cutovers, by digest.
const KEPT: &str = "kept";

/// Why a baseline cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// Its file cannot be read.
    #[error("cannot read the baseline `{file}`: {why}; record one with `tidegate baseline record`, or name another")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        why: String,
    },
    /// Its file cannot be written.
    #[error("cannot write the baseline `{file}`: {why}")]
    Unwritable {
        /// The file.
        file: String,
        /// What the system said.
        why: String,
    },
    /// It is none of ours, or was changed.
    #[error(transparent)]
    Refused(#[from] baseline::Refusal),
    /// It does not fit the policy.
    #[error("{0}")]
    Unfit(String),
}

/// A baseline that comes with an order instead of being named by the policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// What its file is called where it came from.
    pub name: String,
    /// The whole file.
    pub document: serde_json::Value,
}

/// Reads a baseline.
///
/// # Errors
/// When the file cannot be read, or holds no baseline of ours.
pub fn read(file: &Path) -> Result<Read, BaselineError> {
    let name = file.display().to_string();
    let text = text(file, TEXT_BYTES_MAX)
        .map_err(|error| BaselineError::Unreadable { file: name.clone(), why: error.to_string() })?;
    Ok(baseline::read(&text, &name)?)
}

/// The text of a file, if it has no more than `bytes_max` bytes: a device or a pipe says no length before it is read, and
/// may have no end.
///
/// # Errors
/// When it cannot be read, is longer, or is no UTF-8.
pub fn text(file: &Path, bytes_max: usize) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(file)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::other(format!(
            "it has more than the {bytes_max} bytes that are read; is this the right file?"
        )));
    }
    String::from_utf8(bytes).map_err(|error| io::Error::other(format!("it is no text: {error}")))
}

/// Writes a baseline; who reads the file sees the old one or the new one, never a part.
///
/// # Errors
/// When it cannot be written.
pub fn save(file: &Path, document: &Document) -> Result<(), BaselineError> {
    replace(file, &baseline::write(document))
}

fn replace(file: &Path, text: &str) -> Result<(), BaselineError> {
    let written = || -> io::Result<()> {
        let mut beside = file.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let mut open = fs::File::create(&beside)?;
        open.write_all(text.as_bytes())?;
        open.sync_all()?;
        fs::rename(&beside, file)
    };
    written().map_err(|error| BaselineError::Unwritable { file: file.display().to_string(), why: error.to_string() })
}

/// The baseline that a cutover by `policy` starts with: the one that was sent with the order, or else the one that the
/// policy names; `None` where neither is. It is kept below `state_dir` before anything stands on it.
///
/// # Errors
/// When there is one and it cannot be used, or not be kept.
pub fn given(state_dir: &Path, policy: &Policy, sent: Option<&Sent>) -> Result<Option<Given>, BaselineError> {
    let folder = state_dir.join(FOLDER);
    let (read, name) = match (sent, &policy.baseline.recorded) {
        (Some(sent), _) => (baseline::read(&sent.document.to_string(), &sent.name)?, sent.name.clone()),
        (None, Some(RecordedBaseline::File(file))) => (read(Path::new(file))?, file.clone()),
        (None, Some(RecordedBaseline::Name(name))) => (read(&folder.join(format!("{name}.json")))?, name.clone()),
        (None, None) => return Ok(None),
    };
    let given = Given::of(&read, &name, policy).map_err(BaselineError::Unfit)?;
    keep(&folder.join(KEPT), &read)?;
    Ok(Some(given))
}

fn keep(folder: &Path, read: &Read) -> Result<(), BaselineError> {
    let file = folder.join(format!("{}.json", read.digest));
    if file.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder)
        .map_err(|error| BaselineError::Unwritable { file: folder.display().to_string(), why: error.to_string() })?;
    save(&file, &read.document)
}

#[cfg(test)]
pub(crate) mod tests {
    use cutover::Timestamp;
    use cutover::baseline::{Class, Origin};
    use judge::Counts;
    use judge::record::{Record, Row};

    use super::*;
    use crate::testing::policy;

    /// Two hours of `search`, sixty requests a minute.
    pub(crate) fn document() -> Document {
        let row = |at: i64| {
            let mut counts = Counts { requests: 60, status_2xx: 60, ..Counts::default() };
            counts.latency.record(5_000, 60);
            Row { from: 1_767_571_200_000 + at * 60_000, millis: 60_000, counts }
        };
        Document {
            service: "search".to_owned(),
            source: "a test".to_owned(),
            origin: Origin::File,
            tool: "0.1.0".to_owned(),
            written: Timestamp(1_767_600_000_000),
            class: Class::All,
            record: Record::of(&(0..120).map(row).collect::<Vec<_>>()).unwrap(),
            reads: None,
        }
    }

    #[test]
    fn a_policy_finds_its_baseline_by_file_and_by_name() {
        // Proves: both ways give the same record, and what a cutover stands on is kept under its digest.
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join(FOLDER);
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("usual.json");
        save(&file, &document()).unwrap();
        let mut policy = policy("search");
        assert_eq!(given(directory.path(), &policy, None).unwrap(), None);
        policy.baseline.recorded = Some(RecordedBaseline::Name("usual".to_owned()));
        let named = given(directory.path(), &policy, None).unwrap().unwrap();
        policy.baseline.recorded = Some(RecordedBaseline::File(file.display().to_string()));
        let filed = given(directory.path(), &policy, None).unwrap().unwrap();
        assert_eq!((&named.digest, &named.baseline), (&filed.digest, &filed.baseline));
        let kept = read(&folder.join(KEPT).join(format!("{}.json", named.digest))).unwrap();
        assert_eq!((kept.document, kept.digest), (document(), named.digest));
    }

    #[test]
    fn what_has_no_end_is_refused() {
        // Proves: a device that says no length is read no further than a baseline can be long.
        let endless = read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(endless.contains("`/dev/zero`: it has more than the"), "{endless}");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bytes.json");
        fs::write(&file, [0xff, 0xfe]).unwrap();
        let bytes = read(&file).unwrap_err().to_string();
        assert!(bytes.contains("it is no text"), "{bytes}");
    }

    #[test]
    fn what_was_sent_goes_before_what_the_policy_names() {
        // Proves: `start --baseline` wins, and the same document has the same digest however it came.
        let directory = tempfile::tempdir().unwrap();
        let mut policy = policy("search");
        policy.baseline.recorded = Some(RecordedBaseline::Name("missing".to_owned()));
        let missing = given(directory.path(), &policy, None).unwrap_err().to_string();
        assert!(missing.contains("baselines/missing.json") && missing.contains("No such file"), "{missing}");
        let text = baseline::write(&document());
        let sent = Sent { name: "mine.json".to_owned(), document: serde_json::from_str(&text).unwrap() };
        let given = given(directory.path(), &policy, Some(&sent)).unwrap().unwrap();
        assert_eq!(given.digest, baseline::read(&text, "mine.json").unwrap().digest);
    }

    #[test]
    fn a_baseline_of_another_service_is_not_kept() {
        // Proves: what is refused leaves nothing behind.
        let directory = tempfile::tempdir().unwrap();
        let text = baseline::write(&document());
        let sent = Sent { name: "mine.json".to_owned(), document: serde_json::from_str(&text).unwrap() };
        let error = given(directory.path(), &policy("orders"), Some(&sent)).unwrap_err().to_string();
        assert!(error.contains("is a record of `search`, and this is `orders`"), "{error}");
        assert!(!directory.path().join(FOLDER).exists());
    }
}
