//! The records of a capture folder, oldest first, from archives and from the segment that is being written.
//!
//! It may be read while a proxy writes to it: the last segment ends at its last whole record, and what a sealing renames
//! meanwhile is found under its new name. What the records mean is the reader's of streams, not this one's.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    frame::Kept,
    segments::{self, Records},
};

/// Reads a capture folder.
///
/// # Errors
/// The folder cannot be read.
pub fn read(dir: &Path) -> io::Result<Reader> {
    Ok(Reader { dir: dir.to_owned(), next: 0, now: None })
}

/// The records of a folder; see [`read()`].
pub struct Reader {
    dir: PathBuf,
    /// The number that the next segment has at least.
    next: u64,
    now: Option<(PathBuf, Records)>,
}

impl Reader {
    fn advance(&mut self) -> io::Result<Option<Kept>> {
        loop {
            if let Some((path, records)) = &mut self.now {
                let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                if let Some(kept) = records.next_kept().map_err(named)? {
                    return Ok(Some(kept));
                }
                self.now = None;
            }
            // The list is made anew for each segment, since one may have been sealed since.
            let Some(segment) = segments::list(&self.dir)?.into_iter().find(|segment| segment.number >= self.next)
            else {
                return Ok(None);
            };
            match Records::open(&segment.path) {
                Ok(records) => {
                    self.next = segment.number + 1;
                    self.now = Some((segment.path, records));
                }
                // Sealed between the list and the opening: look again.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.next = segment.number + 1;
                    return Err(io::Error::new(error.kind(), format!("{}: {error}", segment.path.display())));
                }
            }
        }
    }
}

impl Iterator for Reader {
    type Item = io::Result<Kept>;

    fn next(&mut self) -> Option<Self::Item> {
        let advanced = self.advance().transpose();
        if matches!(advanced, Some(Err(_))) {
            // An unreadable segment is said once; what follows it is still read.
            self.now = None;
        }
        advanced
    }
}

/// Writes a folder's records as the reference dump tools read them: one base64 record a line, without keys. Answers how
/// many.
///
/// # Errors
/// The folder cannot be read, a file in it is damaged, or `out` takes nothing more.
pub fn export(dir: &Path, out: &mut impl Write) -> io::Result<u64> {
    let mut records = 0;
    let mut line = String::new();
    for kept in read(dir)? {
        line.clear();
        STANDARD.encode_string(&kept?.value, &mut line);
        line.push('\n');
        out.write_all(line.as_bytes())?;
        records += 1;
    }
    out.flush()?;
    Ok(records)
}
