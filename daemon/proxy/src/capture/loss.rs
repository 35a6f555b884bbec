//! The loss log: every request that reached a cluster without being captured, on disk before anyone may rely on it.
//!
//! One JSON object a line, in a file that is only appended to, each batch of lines flushed to the disk together by a
//! thread of its own. The lines carry a running number, so that the count of losses since capture began survives a
//! restart: it is the number of the last whole line. A torn last line (the process was killed while writing it) is cut
//! off at start.
//!
//! A file that has grown to [`FILE_BYTES_MAX`] is put aside under the number of its first line, and the oldest beyond
//! [`ASIDE_MAX`] are deleted: the count stays true, the list is of the newest.
//!
//! Who decides that something is a loss, and who is alerted, is not known here.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::clock;

/// A file that has grown to so many bytes is put aside: some three million losses.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Files put aside that are kept.
const ASIDE_MAX: usize = 7;

/// Losses that wait for the disk. What comes while it is full is counted, and not listed.
const QUEUED_MAX: usize = 100_000;

/// The longest request target that a line holds, in bytes; a longer one is cut.
const TARGET_BYTES_MAX: usize = 4096;

/// One request that was lost to capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// When, in milliseconds since 1970.
    pub at_millis: i64,
    /// The connection id under which it would have been.
    pub connection: String,
    /// Which request of the connection, from 0.
    pub request: u64,
    /// Its method.
    pub method: String,
    /// Its target as sent; bytes that are not UTF-8 are replaced, and a very long one is cut.
    pub target: String,
    /// How many bytes of it were sent, as far as is known.
    pub bytes: u64,
    /// Why, as [`Why::word`](super::Why::word) has it.
    pub why: String,
    /// Whether it was forwarded all the same; else it was refused.
    pub forwarded: bool,
    /// Whether the log may have it: a refused one of these is a phantom that a replay would send.
    pub perhaps_there: bool,
    /// How many records that were safe are gone with their topic; such a line is of the log, and of no request. 0 for a
    /// request.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub records: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A loss as it is in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// How many losses there were with this one, since capture began.
    pub number: u64,
    /// The loss.
    #[serde(flatten)]
    pub loss: Loss,
}

/// What was found in the file at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Losses since capture began.
    pub losses: u64,
    /// Bytes of a torn last line that were cut off.
    pub torn_bytes: u64,
}

/// See the module. Dropped, it writes what is queued and ends its thread.
pub struct LossLog {
    shared: Arc<Shared>,
    path: PathBuf,
    began: Began,
    found: Found,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    emptied: Condvar,
    losses: AtomicU64,
    unlisted: AtomicU64,
}

#[derive(Default)]
struct Queue {
    losses: Vec<(Loss, oneshot::Sender<Result<(), String>>)>,
    /// Whether some are on their way to the disk.
    writing: bool,
    ending: bool,
}

impl LossLog {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, FILE_BYTES_MAX)
    }

    fn open_with(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let (file, found) = recover(path)?;
        let began = began(path)?;
        if found.torn_bytes > 0 {
            tracing::warn!(path = %path.display(), bytes = found.torn_bytes, "cut a torn line off the loss log");
        }
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            losses: AtomicU64::new(found.losses),
            unlisted: AtomicU64::new(0),
        });
        let mut writer = Writer { path: path.to_owned(), file, bytes_max, number: found.losses };
        let theirs = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("capture-loss".to_owned()).spawn(move || theirs.write(&mut writer))?;
        Ok(Self { shared, path: path.to_owned(), began, found, thread: Some(thread) })
    }

    /// Where the list is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// When capture began, in milliseconds since 1970: with the first process that had this list.
    pub fn began_millis(&self) -> i64 {
        self.began.millis
    }

    /// Which list this is: the same for as long as it is there, whichever process has it.
    pub fn id(&self) -> &str {
        &self.began.id
    }

    /// What the file held at start.
    pub fn found(&self) -> Found {
        self.found
    }

    /// Losses since capture began, those of earlier processes included.
    pub fn losses(&self) -> u64 {
        self.shared.losses.load(Ordering::Relaxed)
    }

    /// Losses of this process that are counted but could not be listed: the disk was full, or slower than they came.
    pub fn unlisted(&self) -> u64 {
        self.shared.unlisted.load(Ordering::Relaxed)
    }

    /// Counts a loss and queues it for the disk; never blocks. What comes back is ready once the line is on the disk, and
    /// says what went wrong if it never will be.
    pub fn note(&self, mut loss: Loss) -> oneshot::Receiver<Result<(), String>> {
        let cut = loss.target.floor_char_boundary(TARGET_BYTES_MAX);
        loss.target.truncate(cut);
        let (told, listed) = oneshot::channel();
        self.shared.losses.fetch_add(1, Ordering::Relaxed);
        let mut queue = self.shared.queue.lock().expect("nobody panics while holding it");
        if queue.losses.len() < QUEUED_MAX {
            queue.losses.push((loss, told));
            drop(queue);
            self.shared.filled.notify_one();
        } else {
            drop(queue);
            self.shared.unlisted.fetch_add(1, Ordering::Relaxed);
            drop(told.send(Err(format!("{QUEUED_MAX} losses wait for the disk already"))));
        }
        listed
    }

    /// Blocks until all that was noted is on the disk, or is known never to be, at the latest until `deadline`; whether it is.
    pub fn wait_written(&self, deadline: Instant) -> bool {
        let mut queue = self.shared.queue.lock().expect("nobody panics while holding it");
        while queue.writing || !queue.losses.is_empty() {
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return false;
            }
            queue = self.shared.emptied.wait_timeout(queue, left).expect("nobody panics while holding it").0;
        }
        true
    }
}

impl Drop for LossLog {
    fn drop(&mut self) {
        self.shared.queue.lock().expect("nobody panics while holding it").ending = true;
        self.shared.filled.notify_one();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn write(&self, writer: &mut Writer) {
        loop {
            let mut queue = self.queue.lock().expect("nobody panics while holding it");
            while queue.losses.is_empty() && !queue.ending {
                queue = self.filled.wait(queue).expect("nobody panics while holding it");
            }
            let batch = std::mem::take(&mut queue.losses);
            queue.writing = !batch.is_empty();
            drop(queue);
            if batch.is_empty() {
                return;
            }
            let (losses, told): (Vec<Loss>, Vec<_>) = batch.into_iter().unzip();
            let written = writer.append(losses).map_err(|error| {
                let why = format!("cannot write {}: {error}", writer.path.display());
                tracing::error!(losses = told.len(), why, "losses are counted but not listed");
                self.unlisted.fetch_add(told.len() as u64, Ordering::Relaxed);
                why
            });
            for told in told {
                drop(told.send(written.clone()));
            }
            self.queue.lock().expect("nobody panics while holding it").writing = false;
            self.emptied.notify_all();
        }
    }
}

/// Opens the file with everything after its last whole line cut off.
fn recover(path: &Path) -> io::Result<(File, Found)> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let bytes = file.metadata()?.len();
    let (mut whole, mut losses) = (0, 0);
    let mut lines = BufReader::new(&file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = lines.read_until(b'\n', &mut line)?;
        if read == 0 || line.last() != Some(&b'\n') {
            break;
        }
        whole += read as u64;
        // A line that someone wrote by hand is no reason to forget the count.
        if let Ok(listed) = serde_json::from_slice::<Listed>(&line) {
            losses = losses.max(listed.number);
        }
    }
    if whole < bytes {
        file.set_len(whole)?;
        file.sync_all()?;
    }
    file.seek(SeekFrom::End(0))?;
    if whole == 0 {
        losses = aside(path)?.last().map_or(0, |(_, path)| last_number(path).unwrap_or(0));
    }
    sync_parent(path)?;
    Ok((file, Found { losses, torn_bytes: bytes - whole }))
}

/// When capture began with a list, and which list that is.
struct Began {
    millis: i64,
    id: String,
}

/// When capture began, which is written down at the first start, beside the list. A list that is older than that file says
/// it by its first loss.
fn began(path: &Path) -> io::Result<Began> {
    let mut name = path.to_owned().into_os_string();
    name.push(".began");
    let known: Option<i64> = match fs::read_to_string(&name) {
        Ok(text) => {
            let mut words = text.split_whitespace();
            let millis = words.next().and_then(|millis| millis.parse().ok());
            match (millis, words.next()) {
                (Some(millis), Some(id)) => return Ok(Began { millis, id: id.to_owned() }),
                (Some(_), None) => {}
                (None, _) => tracing::warn!(
                    path = %Path::new(&name).display(),
                    "the time when capture began is not readable, so it is now"
                ),
            }
            millis
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let now = clock::unix_millis();
    let mut first = Vec::new();
    BufReader::new(File::open(path)?).read_until(b'\n', &mut first)?;
    let first = || serde_json::from_slice::<Listed>(&first).map_or(now, |first| first.loss.at_millis.min(now));
    let began = Began { millis: known.unwrap_or_else(first), id: format!("{:016x}", fastrand::u64(..)) };
    // Whole or not there: half a number would be another time.
    let mut fresh = name.clone();
    fresh.push(".new");
    let mut file = File::create(&fresh)?;
    writeln!(file, "{} {}", began.millis, began.id)?;
    file.sync_all()?;
    fs::rename(&fresh, &name)?;
    sync_parent(path)?;
    Ok(began)
}

/// The number of the last whole line of a file that was put aside.
fn last_number(path: &Path) -> io::Result<u64> {
    let mut text = Vec::new();
    let mut file = File::open(path)?;
    // No line is longer: what it holds of the client is cut, and the rest is short.
    let tail = (8 * TARGET_BYTES_MAX) as u64;
    let bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(tail)))?;
    file.read_to_end(&mut text)?;
    let last = text.split(|byte| *byte == b'\n').rev().find_map(|line| serde_json::from_slice::<Listed>(line).ok());
    Ok(last.map_or(0, |listed| listed.number))
}

/// The files put aside, with the number of their first line, oldest first.
fn aside(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in fs::read_dir(parent(path))? {
        let entry = entry?;
        let other = entry.file_name().to_string_lossy().into_owned();
        if let Some(first) = other.strip_prefix(&name).and_then(|rest| rest.strip_prefix('.')?.parse().ok()) {
            found.push((first, entry.path()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A new or renamed file is on the disk only when its folder is.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

struct Writer {
    path: PathBuf,
    file: File,
    bytes_max: u64,
    number: u64,
}

impl Writer {
    /// Appends a batch and flushes it; either all of it is on the disk or nothing of it is in the file.
    fn append(&mut self, losses: Vec<Loss>) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let mut lines = Vec::new();
        for loss in losses {
            // The number counts a loss even if its line never gets there.
            self.number += 1;
            serde_json::to_writer(&mut lines, &Listed { number: self.number, loss })?;
            lines.push(b'\n');
        }
        if before > 0 && before + lines.len() as u64 > self.bytes_max {
            self.put_aside()?;
            return self.append_lines(&lines, 0);
        }
        self.append_lines(&lines, before)
    }

    fn append_lines(&mut self, lines: &[u8], before: u64) -> io::Result<()> {
        let written = self.file.write_all(lines).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Half a line would make the next one unreadable; if this fails too, the next start cuts it off.
            drop(self.file.set_len(before));
        }
        written
    }

    fn put_aside(&mut self) -> io::Result<()> {
        let mut first = Vec::new();
        BufReader::new(File::open(&self.path)?).read_until(b'\n', &mut first)?;
        let first = serde_json::from_slice::<Listed>(&first).map_or(0, |listed| listed.number);
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{first}"));
        fs::rename(&self.path, &name)?;
        self.file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        let old = aside(&self.path)?;
        for (_, path) in old.iter().take(old.len().saturating_sub(ASIDE_MAX)) {
            tracing::warn!(path = %path.display(), "deleted the oldest list of losses; their count stays");
            fs::remove_file(path)?;
        }
        sync_parent(&self.path)
    }
}

/// The losses in a file, oldest first; a torn last line is left out.
///
/// # Errors
/// The file cannot be read, or a whole line is no loss.
pub fn read(path: &Path) -> io::Result<Vec<Listed>> {
    let text = fs::read_to_string(path)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(request: u64) -> Loss {
        Loss {
            at_millis: 1_790_000_000_000,
            connection: "c-1".to_owned(),
            request,
            method: "PUT".to_owned(),
            target: "/orders/_doc/7".to_owned(),
            bytes: 1200,
            why: "timed-out".to_owned(),
            forwarded: true,
            perhaps_there: true,
            records: 0,
        }
    }

    fn note(log: &LossLog, request: u64) {
        log.note(loss(request)).blocking_recv().unwrap().unwrap();
    }

    /// Proves that a loss which was answered for is in the file, and that the count goes on after a restart.
    #[test]
    fn the_count_of_losses_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("losses.jsonl");
        let log = LossLog::open(&path).unwrap();
        note(&log, 0);
        note(&log, 1);
        assert_eq!(read(&path).unwrap().len(), 2);
        let (began, id) = (log.began_millis(), log.id().to_owned());
        assert!((clock::unix_millis() - began).abs() < 60_000);
        drop(log);
        let log = LossLog::open(&path).unwrap();
        assert_eq!(log.found(), Found { losses: 2, torn_bytes: 0 });
        assert_eq!((log.began_millis(), log.id()), (began, &*id));
        note(&log, 2);
        assert_eq!(log.losses(), 3);
        assert_eq!(read(&path).unwrap()[2], Listed { number: 3, loss: loss(2) });
        drop(log);
        // A file of the time before lists had an id keeps its time, and another list has another id.
        fs::write(dir.path().join("losses.jsonl.began"), format!("{began}\n")).unwrap();
        let log = LossLog::open(&path).unwrap();
        assert_eq!((log.began_millis(), log.losses()), (began, 3));
        assert_ne!(log.id(), LossLog::open(&dir.path().join("other.jsonl")).unwrap().id());
    }

    /// Proves that whoever waits finds all that was noted in the file, and that nobody waits for nothing.
    #[test]
    fn what_was_noted_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("losses.jsonl");
        let log = LossLog::open(&path).unwrap();
        let soon = || clock::now() + std::time::Duration::from_mins(1);
        assert!(log.wait_written(soon()));
        for count in [1, 10, 1000] {
            let before = read(&path).unwrap().len();
            for request in 0..count {
                drop(log.note(loss(request)));
            }
            assert!(log.wait_written(soon()));
            assert_eq!(read(&path).unwrap().len(), before + count as usize);
        }
    }

    /// Proves that a torn last line, of any length, costs only itself.
    #[test]
    fn a_torn_line_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("losses.jsonl");
        let log = LossLog::open(&path).unwrap();
        note(&log, 0);
        note(&log, 1);
        drop(log);
        let whole = fs::read(&path).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for cut in first..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let log = LossLog::open(&path).unwrap();
            assert_eq!(log.found(), Found { losses: 1, torn_bytes: (cut - first) as u64 }, "cut at {cut}");
            note(&log, 5);
            assert_eq!(log.losses(), 2);
            assert_eq!(read(&path).unwrap().len(), 2);
        }
    }

    /// Proves that full files are put aside, that only so many are kept, and that the count does not depend on them.
    #[test]
    fn full_lists_are_put_aside_and_the_count_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("losses.jsonl");
        let log = LossLog::open_with(&path, 600).unwrap();
        for request in 0..60 {
            note(&log, request);
        }
        drop(log);
        assert_eq!(aside(&path).unwrap().len(), ASIDE_MAX);
        fs::remove_file(&path).unwrap();
        fs::remove_file(dir.path().join("losses.jsonl.began")).unwrap();
        let log = LossLog::open(&path).unwrap();
        assert!(log.losses() >= 57, "the lines of one file are gone with it, the count of the others is not");
    }

    /// Proves that a disk that takes nothing is an error of the whole batch, and that the number goes on: the losses happened.
    #[test]
    fn a_full_disk_is_told_and_counted() {
        let path = PathBuf::from("/dev/full");
        let file = OpenOptions::new().append(true).open(&path).unwrap();
        let mut writer = Writer { path, file, bytes_max: u64::MAX, number: 6 };
        let error = writer.append(vec![loss(0), loss(1)]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(writer.number, 8);
    }
}
