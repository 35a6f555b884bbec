//! The capture log in local files: for one machine, for tests, and for a fleet whose volumes are shipped elsewhere.
//!
//! One thread writes. While it waits for the disk, records gather; the next write and flush are of all of them, and
//! each serving thread is woken once for the batch: no serving thread ever waits for a disk. A second thread rewrites
//! full segments as archives, so that compressing costs no write its latency.
//!
//! A disk that is full or fails loses the batch, and says so: what was half written is cut off, or the segment is left
//! behind if even that fails. After a flush that failed nothing more goes to that file, since the system may have
//! dropped the pages it could not write and will report the next flush as good.
//!
//! How records look on disk is `frame`'s; names, recovery, sealing and retention are `segments`'.

mod frame;
mod read;
mod segments;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

pub use frame::Kept;
pub use read::{Reader, export, read};
pub use segments::Retention;

use super::sink::{Batch, Keeps, Lost, Parcel, Sink, Verdict, Why};
use crate::clock;

/// Frames are gathered up to so many bytes for one write.
const WRITE_BYTES: usize = 1024 * 1024;

/// Segments that wait to be sealed; more are sealed at the next start. One a minute is usual.
const SEALING_MAX: usize = 1024;

/// When records are flushed to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Each batch, before any of it counts as safe: survives a loss of power.
    #[default]
    Batch,
    /// Each so often: a loss of power may lose what came since; a killed process loses nothing.
    Every(Duration),
    /// When the system sees fit.
    Never,
}

/// How the file log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The folder; made if it is not there. One process at a time writes to it.
    pub dir: PathBuf,
    /// When records are flushed.
    pub sync: Sync,
    /// A segment that has grown to so many bytes is sealed.
    pub segment_bytes_max: u64,
    /// A segment that is so old is sealed, if it has records.
    pub segment_age_max: Duration,
    /// What of the sealed archives is kept. By default all: what was captured is deleted by nobody unasked.
    pub retention: Retention,
}

impl Options {
    /// Segments of 256 MiB or ten minutes, each batch flushed, everything kept.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            sync: Sync::Batch,
            segment_bytes_max: 256 * 1024 * 1024,
            segment_age_max: Duration::from_mins(10),
            retention: Retention::default(),
        }
    }
}

/// What was found in the folder at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Segments that an earlier process left open; they were mended and are sealed now.
    pub left_open: u64,
    /// Bytes behind their last whole records, which were cut off: records that nobody was told are safe.
    pub torn_bytes: u64,
}

/// See the module.
pub struct Files {
    shared: Arc<Shared>,
    dir: PathBuf,
    keeps: Keeps,
    found: Found,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    written: AtomicU64,
    flushes: Arc<AtomicU64>,
}

/// Bounded by the byte budget.
#[derive(Default)]
struct Queue {
    parcels: Vec<Parcel>,
    ending: bool,
}

impl Files {
    /// Opens the folder, mends what a crash left, and starts the threads.
    ///
    /// # Errors
    /// The folder cannot be made, read or written; another process writes to it; a file in it is of another version.
    pub fn start(options: &Options) -> io::Result<Self> {
        let dir = &options.dir;
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("cannot capture to {}: {error}", dir.display()));
        fs::create_dir_all(dir).map_err(named)?;
        let lock = lock(dir).map_err(named)?;
        segments::tidy(dir).map_err(named)?;
        let mut found = Found::default();
        let mut next = 0;
        let (seal, sealing) = mpsc::sync_channel(SEALING_MAX);
        for segment in segments::list(dir).map_err(named)? {
            next = segment.number + 1;
            if segment.sealed {
                continue;
            }
            let whole = segments::mend(&segment.path).map_err(named)?;
            if whole.torn_bytes > 0 {
                let (path, bytes) = (segment.path.display(), whole.torn_bytes);
                tracing::warn!(%path, bytes, records = whole.records, "cut a torn tail off a segment of the capture log");
            }
            found.left_open += 1;
            found.torn_bytes += whole.torn_bytes;
            if seal.try_send(segment.number).is_err() {
                tracing::warn!(number = segment.number, "a segment of the capture log is sealed at the next start");
            }
        }
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            written: AtomicU64::new(0),
            flushes: Arc::default(),
        });
        let mut writer = Writer {
            options: options.clone(),
            open: None,
            next,
            seal,
            flushed_at: clock::now(),
            flushes: Arc::clone(&shared.flushes),
            frames: Vec::new(),
            _lock: lock,
        };
        // A folder that cannot be written is told at start, not by the first request.
        writer.open().map_err(named)?;
        let theirs = Arc::clone(&shared);
        let write =
            std::thread::Builder::new().name("capture-file".to_owned()).spawn(move || theirs.write(&mut writer))?;
        let keeps = Keeps { time: options.retention.age_max, bytes: options.retention.bytes_max };
        let (place, dir, retention) = (dir.clone(), dir.clone(), options.retention);
        let archive = std::thread::Builder::new()
            .name("capture-seal".to_owned())
            .spawn(move || archive(&dir, retention, &sealing))?;
        Ok(Self { shared, dir: place, keeps, found, threads: Mutex::new(vec![write, archive]) })
    }

    /// What the folder held at start.
    pub fn found(&self) -> Found {
        self.found
    }

    /// Records written, and how often what was written was flushed to the disk.
    pub fn written(&self) -> (u64, u64) {
        (self.shared.written.load(Ordering::Relaxed), self.shared.flushes.load(Ordering::Relaxed))
    }
}

/// An advisory lock, free again at `kill -9`.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would leave it to a child process that is being started just now and still has our descriptors.
        drop(self.0.unlock());
    }
}

fn lock(dir: &Path) -> io::Result<Lock> {
    let file = File::options().create(true).append(true).open(dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(fs::TryLockError::WouldBlock) => {
            Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process captures to it: give each its own folder"))
        }
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

impl Sink for Files {
    fn name(&self) -> &'static str {
        "file"
    }

    fn place(&self) -> String {
        self.dir.display().to_string()
    }

    fn keeps(&self) -> Option<Keeps> {
        Some(self.keeps)
    }

    fn take(&self, parcel: Parcel) -> Option<Vec<u8>> {
        let mut queue = self.shared.queue();
        // After the end the parcel is dropped, and answers "lost" by itself.
        if !queue.ending {
            queue.parcels.push(parcel);
        }
        None
    }

    fn dispatch(&self, _done: &mut dyn FnMut(Vec<u8>)) {
        self.shared.filled.notify_one();
    }

    fn end(&self, _deadline: Instant) {
        self.shared.queue().ending = true;
        self.shared.filled.notify_one();
        let threads = std::mem::take(&mut *self.threads.lock().expect("nobody panics while holding it"));
        for thread in threads {
            // A disk that hangs holds the writer, and then the process's end: the system gives up on it, not we.
            drop(thread.join());
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.end(clock::now());
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nobody panics while holding it")
    }

    /// Waits for parcels, at most until `wake_at`; `None` when it is over.
    fn next(&self, wake_at: Option<Instant>) -> Option<Vec<Parcel>> {
        let mut queue = self.queue();
        while queue.parcels.is_empty() && !queue.ending {
            let Some(at) = wake_at else {
                queue = self.filled.wait(queue).expect("nobody panics while holding it");
                continue;
            };
            let left = at.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Some(Vec::new());
            }
            queue = self.filled.wait_timeout(queue, left).expect("nobody panics while holding it").0;
        }
        let parcels = std::mem::take(&mut queue.parcels);
        (!parcels.is_empty() || !queue.ending).then_some(parcels)
    }

    fn write(&self, writer: &mut Writer) {
        let mut batch = Batch::default();
        while let Some(mut parcels) = self.next(writer.wake_at()) {
            let now = clock::now();
            if parcels.is_empty() {
                writer.idle(now);
                continue;
            }
            let verdict = match writer.write(&parcels, now) {
                Ok(()) => Verdict::Safe,
                Err(lost) => Verdict::Lost(lost),
            };
            if verdict == Verdict::Safe {
                self.written.fetch_add(parcels.len() as u64, Ordering::Relaxed);
            }
            for Parcel { value, receipt, .. } in parcels.drain(..) {
                batch.add(receipt, verdict.clone(), Some(value));
            }
            batch.deliver();
            writer.idle(now);
        }
        writer.close();
    }
}

/// The segment being written.
struct Open {
    number: u64,
    file: File,
    bytes: u64,
    opened: Instant,
    records: u64,
    unflushed: bool,
    flushes: Arc<AtomicU64>,
}

impl Open {
    /// Has the disk take everything that was written.
    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.unflushed = false;
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

struct Writer {
    options: Options,
    open: Option<Open>,
    next: u64,
    seal: mpsc::SyncSender<u64>,
    flushed_at: Instant,
    flushes: Arc<AtomicU64>,
    frames: Vec<u8>,
    /// Held for as long as we write.
    _lock: Lock,
}

impl Writer {
    fn open(&mut self) -> io::Result<&mut Open> {
        if self.open.is_none() {
            let (file, _) = segments::create(&self.options.dir, self.next)?;
            let bytes = frame::MAGIC.len() as u64;
            let opened = clock::now();
            let flushes = Arc::clone(&self.flushes);
            self.open = Some(Open { number: self.next, file, bytes, opened, records: 0, unflushed: false, flushes });
            self.next += 1;
        }
        Ok(self.open.as_mut().expect("it was opened above"))
    }

    /// Writes a batch; all of it is kept, or nothing of it is.
    fn write(&mut self, parcels: &[Parcel], now: Instant) -> Result<(), Lost> {
        let batch_bytes: u64 = parcels.iter().map(|parcel| frame::bytes(&parcel.key, &parcel.value)).sum();
        if self.open.as_ref().is_some_and(|open| open.bytes + batch_bytes > self.options.segment_bytes_max) {
            self.roll();
        }
        let (dir, sync) = (self.options.dir.clone(), self.options.sync);
        let lost = |what: &str, error: io::Error| {
            Lost::new(Why::Storage, format!("cannot {what} the capture log in {}: {error}", dir.display()))
        };
        let mut frames = std::mem::take(&mut self.frames);
        let open = self.open().map_err(|error| lost("open a segment of", error))?;
        let before = open.bytes;
        let written = append(&mut open.file, parcels, &mut frames);
        let flushed = match (&written, sync) {
            (Ok(()), Sync::Batch) => open.flush(),
            _ => Ok(()),
        };
        frames.clear();
        frames.shrink_to(2 * WRITE_BYTES);
        open.bytes += batch_bytes;
        open.records += parcels.len() as u64;
        open.unflushed = sync != Sync::Batch;
        let failed = match (written, flushed) {
            (Ok(()), Ok(())) => None,
            (Err(error), _) => Some(lost("write", error)),
            (Ok(()), Err(error)) => Some(lost("flush", error)),
        };
        self.frames = frames;
        let Some(mut lost) = failed else {
            self.flushed_at = if sync == Sync::Batch { now } else { self.flushed_at };
            return Ok(());
        };
        // What was acknowledged before stays; the rest goes. If it cannot, a reader may find records of this batch.
        let open = self.open.as_mut().expect("it was written to above");
        let mended = open.file.set_len(before).and_then(|()| open.file.seek(SeekFrom::Start(before)));
        open.bytes = before;
        open.records -= parcels.len() as u64;
        lost.perhaps_there = mended.is_err();
        self.roll();
        Err(lost)
    }

    /// When something is due though no record comes.
    fn wake_at(&self) -> Option<Instant> {
        let open = self.open.as_ref()?;
        let age = (open.records > 0).then(|| open.opened + self.options.segment_age_max);
        let flush = match self.options.sync {
            Sync::Every(interval) if open.unflushed => Some(self.flushed_at + interval),
            _ => None,
        };
        age.into_iter().chain(flush).min()
    }

    /// Does what is due at `now`.
    fn idle(&mut self, now: Instant) {
        let (interval, age_max) = (self.options.sync, self.options.segment_age_max);
        let flushed_at = self.flushed_at;
        let Some(open) = &mut self.open else { return };
        if let Sync::Every(interval) = interval
            && open.unflushed
            && flushed_at + interval <= now
        {
            if let Err(error) = open.flush() {
                tracing::error!(%error, "cannot flush the capture log; what was written since the last flush may be lost");
                self.roll();
                return;
            }
            self.flushed_at = now;
        }
        let Some(open) = &self.open else { return };
        if open.records > 0 && open.opened + age_max <= now {
            self.roll();
        }
    }

    /// Closes the segment and has it sealed. A segment that nobody seals now is sealed at the next start.
    fn roll(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        if open.unflushed
            && let Err(error) = open.flush()
        {
            tracing::error!(%error, "cannot flush a segment of the capture log; its last records may be lost");
        }
        drop(open.file);
        if self.seal.try_send(open.number).is_err() {
            tracing::warn!(number = open.number, "a segment of the capture log is sealed at the next start");
        }
    }

    fn close(&mut self) {
        self.roll();
    }
}

/// Writes the frames of a batch.
fn append(file: &mut File, parcels: &[Parcel], frames: &mut Vec<u8>) -> io::Result<()> {
    for parcel in parcels {
        frame::append(frames, &parcel.key, &parcel.value);
        if frames.len() >= WRITE_BYTES {
            file.write_all(frames)?;
            frames.clear();
        }
    }
    file.write_all(frames)
}

/// Seals segments, and deletes what is beyond the retention.
fn archive(dir: &Path, retention: Retention, sealing: &mpsc::Receiver<u64>) {
    while let Ok(number) = sealing.recv() {
        match segments::seal(dir, number) {
            Ok(Some(path)) => tracing::debug!(path = %path.display(), "sealed a segment of the capture log"),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(number, %error, "cannot seal a segment of the capture log; it is kept as it is");
            }
        }
        match segments::retain(dir, retention, clock::wall()) {
            Ok(deleted) if deleted.is_empty() => {}
            Ok(deleted) => {
                let (count, oldest) = (deleted.len(), deleted.last().map(|path| path.display().to_string()));
                tracing::info!(count, oldest, "deleted archives beyond the retention of the capture log");
            }
            Err(error) => tracing::warn!(%error, "cannot delete archives beyond the retention of the capture log"),
        }
    }
}
