//! The record on disk: one file a service below the state directory, whole or as it was, and one program at a time.
//!
//! A write is on disk before it returns (`fsync` of the file, `rename`, `fsync` of the directory). The lock is the
//! system's, on a file of its own, so it ends with whoever holds it, however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::record::{LAYOUT, Record};

/// Where the files are, below the state directory.
pub const DIRECTORY: &str = "reroute";

/// Who may read a file: its owner. It names accounts and listeners.
const FILE_MODE: u32 = 0o600;

/// Why a record cannot be had or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The system refused.
    #[error("cannot {doing} `{path}`: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Another program has it.
    #[error("another `tidegate reroute` works on `{0}`; wait for it, or end it")]
    Held(String),
    /// It is not ours, or of another version.
    #[error("`{path}` cannot be read: {why}; it was written by another version, or by somebody else")]
    Unreadable {
        /// Which file.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// The file of a service, which nobody else writes while this value lives.
#[derive(Debug)]
pub struct Keep {
    path: PathBuf,
    _lock: File,
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> KeepError {
    let path = path.display().to_string();
    move |source| KeepError::Io { doing, path, source }
}

/// The file of a service. A service's name is letters, digits, `-`, `_` and `.`, so it is a file's.
fn place(state: &Path, service: &str) -> PathBuf {
    state.join(DIRECTORY).join(format!("{service}.json"))
}

/// What is on record of a service, without taking it; `None` if nothing is.
///
/// # Errors
/// When there is a file that cannot be read.
pub fn look(state: &Path, service: &str) -> Result<Option<Record>, KeepError> {
    read(&place(state, service))
}

fn read(path: &Path) -> Result<Option<Record>, KeepError> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(io("read", path))?,
    };
    let unreadable = |why: String| KeepError::Unreadable { path: path.display().to_string(), why };
    let record: Record = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    if record.layout != LAYOUT {
        return Err(unreadable(format!("its layout is {}, and this version knows {LAYOUT}", record.layout)));
    }
    Ok(Some(record))
}

impl Keep {
    /// Takes the file of a service.
    ///
    /// # Errors
    /// When another program has it, or the directory cannot be written.
    pub fn take(state: &Path, service: &str) -> Result<Self, KeepError> {
        let path = place(state, service);
        let directory = state.join(DIRECTORY);
        std::fs::create_dir_all(&directory).map_err(io("make the directory", &directory))?;
        let lock = directory.join(format!("{service}.lock"));
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(FILE_MODE).open(&lock);
        let file = file.map_err(io("open", &lock))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, _lock: file }),
            Err(TryLockError::WouldBlock) => Err(KeepError::Held(service.to_owned())),
            Err(TryLockError::Error(error)) => Err(io("lock", &lock)(error)),
        }
    }

    /// What is on record; `None` if nothing is.
    ///
    /// # Errors
    /// When there is a file that cannot be read.
    pub fn read(&self) -> Result<Option<Record>, KeepError> {
        read(&self.path)
    }

    /// Puts a record in place of the one before.
    ///
    /// # Errors
    /// When it is not known to be on disk.
    pub fn write(&self, record: &Record) -> Result<(), KeepError> {
        let new = self.path.with_extension("new");
        // One that a crash left half written must not lend its mode to this one.
        drop(std::fs::remove_file(&new));
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&new).map_err(io("make", &new))?;
        let text = serde_json::to_vec_pretty(record).unwrap_or_default();
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(io("write", &new))?;
        std::fs::rename(&new, &self.path).map_err(io("replace", &self.path))?;
        let directory = self.path.parent().unwrap_or(&self.path);
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(io("write", directory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reroute::testing::record;

    /// Proves that a record comes back as it was written, that a second program is turned away while the first lives, and
    /// that a file of another layout is not taken for ours.
    #[test]
    fn a_record_is_whole_and_one_programs() {
        let folder = tempfile::TempDir::new().unwrap();
        assert_eq!(look(folder.path(), "search").unwrap(), None);
        let keep = Keep::take(folder.path(), "search").unwrap();
        let mut written = record();
        keep.write(&written).unwrap();
        written.tell(cutover::Timestamp(5), "again");
        keep.write(&written).unwrap();
        assert_eq!(keep.read().unwrap(), Some(written.clone()));
        assert!(matches!(Keep::take(folder.path(), "search"), Err(KeepError::Held(_))));
        drop(keep);
        assert!(Keep::take(folder.path(), "search").is_ok());
        assert_eq!(look(folder.path(), "search").unwrap(), Some(written));
        let file = place(folder.path(), "search");
        let text = std::fs::read_to_string(&file).unwrap().replace("\"layout\": 1", "\"layout\": 9");
        std::fs::write(&file, text).unwrap();
        assert!(look(folder.path(), "search").unwrap_err().to_string().contains("its layout is 9"));
    }
}
