//! The loss log: every request that reached a cluster without being captured, on disk before anyone may rely on it. Beside
//! these losses it lists phantoms, which are the opposite: requests that were refused and that the log may have all the
//! same. The two are counted apart.
//!
//! One JSON object a line, in a file that is only appended to, each batch of lines flushed to the disk together by a
//! thread of its own. The lines carry running counts, so that what was lost since capture began survives a restart: the
//! last whole line has it. A torn last line (the process was killed while writing it) is cut off at start.
//!
//! What could not be listed, since too much waited for the disk or the disk did not take it, is in the counts of the next
//! line. Where no other comes, a line of its own carries them as soon as the disk takes one.
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
    time::{Duration, Instant},
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

/// How often the disk is asked to take the count of what it did not take.
const OWED_EVERY: Duration = Duration::from_secs(1);

/// What a line says for a reason that is of no request and only carries the counts.
const UNLISTED: &str = "unlisted";

/// One request that was lost to capture, or that the log has and no cluster does.
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
    /// Whether it was forwarded all the same, which is a loss; else it was refused, which is a phantom.
    pub forwarded: bool,
    /// Whether the log may have it: a replay would send a phantom, which the source never had.
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

impl Loss {
    /// Whether it was refused, and is here because the log may have it.
    pub fn is_phantom(&self) -> bool {
        !self.forwarded
    }

    /// One of no request.
    fn unlisted() -> Self {
        Self {
            at_millis: clock::unix_millis(),
            connection: String::new(),
            request: 0,
            method: String::new(),
            target: String::new(),
            bytes: 0,
            why: UNLISTED.to_owned(),
            forwarded: true,
            perhaps_there: false,
            records: 0,
        }
    }
}

/// A loss as it is in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// How many losses and phantoms there were with this one, since capture began, those that are not listed included. It
    /// is higher in each line.
    pub number: u64,
    /// How many of them were phantoms; `None` from a version that did not count them apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phantoms: Option<u64>,
    /// How many of them were losses that could not be listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unlisted: u64,
    /// The loss.
    #[serde(flatten)]
    pub loss: Loss,
}

/// What was lost since capture began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were forwarded uncaptured, and times that the log lost what it had.
    pub losses: u64,
    /// Requests that were refused and that the log may have.
    pub phantoms: u64,
    /// How many of the losses could not be listed.
    pub unlisted: u64,
}

impl Counts {
    fn add(&mut self, loss: &Loss) {
        if loss.is_phantom() {
            self.phantoms += 1;
        } else {
            self.losses += 1;
        }
    }

    fn line(self, loss: Loss) -> Listed {
        let Self { losses, phantoms, unlisted } = self;
        Listed { number: losses + phantoms, phantoms: Some(phantoms), unlisted, loss }
    }

    /// Takes what a line says, and what it is where that says too little. A line that is out of order takes nothing away.
    fn read(&mut self, line: &Listed) {
        let phantoms = line.phantoms.unwrap_or(self.phantoms + u64::from(line.loss.is_phantom()));
        let number = line.number.max(self.losses + self.phantoms);
        self.phantoms = self.phantoms.max(phantoms.min(number));
        self.losses = number - self.phantoms;
        self.unlisted = self.unlisted.max(line.unlisted);
    }
}

/// What was found in the file at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What earlier processes had lost.
    pub counts: Counts,
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
    phantoms: AtomicU64,
    unlisted: AtomicU64,
}

#[derive(Default)]
struct Queue {
    losses: Vec<(Loss, oneshot::Sender<Result<(), String>>)>,
    /// Whether some are on their way to the disk.
    writing: bool,
    /// What came while it was full.
    skipped: Counts,
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
            losses: AtomicU64::new(found.counts.losses),
            phantoms: AtomicU64::new(found.counts.phantoms),
            unlisted: AtomicU64::new(0),
        });
        let mut writer = Writer { path: path.to_owned(), file, bytes_max, counts: found.counts, owes: false };
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

    /// Requests since capture began that were refused and that the log may have, those of earlier processes included.
    pub fn phantoms(&self) -> u64 {
        self.shared.phantoms.load(Ordering::Relaxed)
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
        let phantom = loss.is_phantom();
        let count = if phantom { &self.shared.phantoms } else { &self.shared.losses };
        count.fetch_add(1, Ordering::Relaxed);
        let mut queue = self.shared.queue.lock().expect("nobody panics while holding it");
        if queue.losses.len() < QUEUED_MAX {
            queue.losses.push((loss, told));
            drop(queue);
            self.shared.filled.notify_one();
        } else {
            queue.skipped.add(&loss);
            drop(queue);
            self.shared.unlisted.fetch_add(u64::from(!phantom), Ordering::Relaxed);
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
                if writer.owes {
                    let (woken, waited) =
                        self.filled.wait_timeout(queue, OWED_EVERY).expect("nobody panics while holding it");
                    queue = woken;
                    if waited.timed_out() {
                        break;
                    }
                } else {
                    queue = self.filled.wait(queue).expect("nobody panics while holding it");
                }
            }
            let batch = std::mem::take(&mut queue.losses);
            queue.writing = !batch.is_empty();
            let skipped = std::mem::take(&mut queue.skipped);
            let ending = queue.ending;
            drop(queue);
            if batch.is_empty() && !writer.owes {
                return;
            }
            let (losses, told): (Vec<Loss>, Vec<_>) = batch.into_iter().unzip();
            let before = writer.counts.unlisted + skipped.losses;
            let written = writer.append(losses, skipped).map_err(|error| {
                let why = format!("cannot write {}: {error}", writer.path.display());
                if !told.is_empty() {
                    tracing::error!(lines = told.len(), why, "losses and phantoms are counted but not listed");
                }
                self.unlisted.fetch_add(writer.counts.unlisted - before, Ordering::Relaxed);
                why
            });
            // The last look at a disk that takes nothing.
            if told.is_empty() && ending {
                return;
            }
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
    let (mut whole, mut counts) = (0, Counts::default());
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
            counts.read(&listed);
        }
    }
    if whole < bytes {
        file.set_len(whole)?;
        file.sync_all()?;
    }
    file.seek(SeekFrom::End(0))?;
    if whole == 0 {
        counts = aside(path)?.last().map_or_else(Counts::default, |(_, path)| last_counts(path).unwrap_or_default());
    }
    sync_parent(path)?;
    Ok((file, Found { counts, torn_bytes: bytes - whole }))
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

/// What the last whole line of a file says that was put aside.
fn last_counts(path: &Path) -> io::Result<Counts> {
    let mut text = Vec::new();
    let mut file = File::open(path)?;
    // No line is longer: what it holds of the client is cut, and the rest is short.
    let tail = (8 * TARGET_BYTES_MAX) as u64;
    let bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(tail)))?;
    file.read_to_end(&mut text)?;
    let last = text.split(|byte| *byte == b'\n').rev().find_map(|line| serde_json::from_slice::<Listed>(line).ok());
    let mut counts = Counts::default();
    if let Some(last) = last {
        counts.read(&last);
    }
    Ok(counts)
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
    /// All that happened, whether the file has it or not.
    counts: Counts,
    /// Whether the last line in the file says less.
    owes: bool,
}

impl Writer {
    /// Appends a batch and the count of what was skipped after it, and flushes both; either all of it is on the disk or
    /// nothing of it is in the file. With neither, it appends what it owes.
    fn append(&mut self, losses: Vec<Loss>, skipped: Counts) -> io::Result<()> {
        let mut lines = Vec::new();
        let mut line = |listed: &Listed| {
            serde_json::to_writer(&mut lines, listed).expect("a loss is JSON, and a Vec takes everything");
            lines.push(b'\n');
        };
        let before = self.counts;
        let bare = losses.is_empty();
        for loss in losses {
            self.counts.add(&loss);
            line(&self.counts.line(loss));
        }
        let batch = self.counts.losses - before.losses;
        self.counts.losses += skipped.losses;
        self.counts.phantoms += skipped.phantoms;
        self.counts.unlisted += skipped.losses;
        if bare || skipped != Counts::default() {
            line(&self.counts.line(Loss::unlisted()));
        }
        let written = self.put(&lines);
        self.owes = written.is_err();
        if self.owes {
            self.counts.unlisted += batch;
        }
        written
    }

    fn put(&mut self, lines: &[u8]) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        if before > 0 && before + lines.len() as u64 > self.bytes_max {
            self.put_aside()?;
            return self.append_lines(lines, 0);
        }
        self.append_lines(lines, before)
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
mod tests;
