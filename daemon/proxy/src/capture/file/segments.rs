//! The files in a capture folder: their names, how one is opened after a crash, sealed into an archive, and deleted.
//!
//! `00000000000000000007.open` is the segment being written, framed by `frame`. Sealed, it is rewritten as
//! `00000000000000000007.proto.gz`: gzip of one `key|base64` a line, the form in which the reference Replayer's S3 source
//! reads archives. The archive is written beside it, flushed and renamed before the segment is deleted, so whatever a
//! crash leaves, a number has its whole content under one of both names; where both are there the archive is whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};

use super::frame::{self, Kept, MAGIC};

const OPEN: &str = "open";
const SEALED: &str = "proto.gz";
const MAKING: &str = "proto.gz.making";

/// The longest line of an archive that is believed: the base64 of a full record, its key, and room.
const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A file of a capture folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) sealed: bool,
    pub(crate) path: PathBuf,
}

impl Segment {
    fn at(dir: &Path, number: u64, suffix: &str) -> PathBuf {
        dir.join(format!("{number:020}.{suffix}"))
    }
}

/// The segments of a folder, oldest first; of a number with both names, the archive.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some((number, suffix)) = name.split_once('.') else { continue };
        let sealed = match suffix {
            OPEN => false,
            SEALED => true,
            _ => continue,
        };
        if let Ok(number) = number.parse() {
            found.push(Segment { number, sealed, path });
        }
    }
    // The archive of a number sorts after its open segment.
    found.sort_unstable();
    found.reverse();
    found.dedup_by_key(|segment| segment.number);
    found.reverse();
    Ok(found)
}

/// Makes a new open segment; it is on the disk under its name when this returns.
pub(crate) fn create(dir: &Path, number: u64) -> io::Result<(File, PathBuf)> {
    let path = Segment::at(dir, number, OPEN);
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let made = file.write_all(&MAGIC).and_then(|()| file.sync_all()).and_then(|()| File::open(dir)?.sync_all());
    if let Err(error) = made {
        // An empty file would be in the way of the next try under this number.
        drop(fs::remove_file(&path));
        return Err(error);
    }
    Ok((file, path))
}

/// What is left of a segment after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// Records in it.
    pub(crate) records: u64,
    /// Bytes behind the last whole record, which were cut off.
    pub(crate) torn_bytes: u64,
}

/// Cuts off what is behind the last whole record.
pub(crate) fn mend(path: &Path) -> io::Result<Whole> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let bytes = file.metadata()?.len();
    let mut whole = Whole { records: 0, torn_bytes: 0 };
    let mut good = 0;
    let mut reader = BufReader::new(&file);
    let mut magic = [0; MAGIC.len()];
    if bytes >= MAGIC.len() as u64 {
        reader.read_exact(&mut magic)?;
        if magic != MAGIC {
            let why = format!("{} is no segment of this version: move it away", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        good = MAGIC.len() as u64;
        while let Some((_, taken)) = frame::read(&mut reader)? {
            good += taken;
            whole.records += 1;
        }
    }
    drop(reader);
    whole.torn_bytes = bytes - good;
    if whole.torn_bytes > 0 {
        file.set_len(good)?;
        file.seek(SeekFrom::Start(0))?;
        file.sync_all()?;
    }
    Ok(whole)
}

/// Rewrites an open segment as an archive; without a record in it, it is only deleted. Answers the archive.
pub(crate) fn seal(dir: &Path, number: u64) -> io::Result<Option<PathBuf>> {
    let sealed = rewrite(dir, number);
    if sealed.is_err() {
        // Half an archive would only take the room that records need; that it may not be there is fine.
        drop(fs::remove_file(Segment::at(dir, number, MAKING)));
    }
    sealed
}

fn rewrite(dir: &Path, number: u64) -> io::Result<Option<PathBuf>> {
    let open = Segment::at(dir, number, OPEN);
    let making = Segment::at(dir, number, MAKING);
    let sealed = Segment::at(dir, number, SEALED);
    let mut records = Records::open(&open)?;
    let mut lines = GzEncoder::new(BufWriter::new(File::create(&making)?), Compression::fast());
    let mut any = false;
    let mut line = String::new();
    while let Some(kept) = records.next_kept()? {
        any = true;
        line.clear();
        line.push_str(&kept.key);
        line.push('|');
        STANDARD.encode_string(&kept.value, &mut line);
        line.push('\n');
        lines.write_all(line.as_bytes())?;
    }
    let file = lines.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    if !any {
        fs::remove_file(&making)?;
        fs::remove_file(&open)?;
        return Ok(None);
    }
    file.sync_all()?;
    fs::rename(&making, &sealed)?;
    File::open(dir)?.sync_all()?;
    fs::remove_file(&open)?;
    Ok(Some(sealed))
}

/// Removes what a crash while sealing left beside what it belongs to.
pub(crate) fn tidy(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((number, suffix)) = name.split_once('.') else { continue };
        let doubled = suffix == OPEN && dir.join(format!("{number}.{SEALED}")).exists();
        if suffix == MAKING || doubled {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// What of the sealed archives is kept; `None` keeps all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Archives beyond so many bytes together are deleted, oldest first.
    pub bytes_max: Option<u64>,
    /// Archives older than this are deleted.
    pub age_max: Option<Duration>,
}

/// Deletes archives that are beyond the retention at `now`; answers their paths. The open segment is never touched.
pub(crate) fn retain(dir: &Path, retention: Retention, now: SystemTime) -> io::Result<Vec<PathBuf>> {
    let mut sealed: Vec<Segment> = list(dir)?;
    sealed.retain(|segment| segment.sealed);
    let mut bytes = 0;
    let mut deleted = Vec::new();
    for segment in sealed.iter().rev() {
        let about = fs::metadata(&segment.path)?;
        bytes += about.len();
        let age = now.duration_since(about.modified()?).unwrap_or_default();
        if retention.bytes_max.is_some_and(|max| bytes > max) || retention.age_max.is_some_and(|max| age > max) {
            fs::remove_file(&segment.path)?;
            deleted.push(segment.path.clone());
        }
    }
    Ok(deleted)
}

/// The records of one file, open or sealed.
pub(crate) enum Records {
    /// A segment.
    Open(BufReader<File>),
    /// An archive, and the number of the last line.
    Sealed(Box<BufReader<MultiGzDecoder<BufReader<File>>>>, u64),
}

impl Records {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut reader = BufReader::new(File::open(path)?);
        if path.to_string_lossy().ends_with(SEALED) {
            return Ok(Self::Sealed(Box::new(BufReader::new(MultiGzDecoder::new(reader))), 0));
        }
        let mut magic = [0; MAGIC.len()];
        // A segment may be seen between its creation and its first bytes: it has no records then.
        match reader.read_exact(&mut magic) {
            Ok(()) if magic != MAGIC => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "no segment of this version: its first bytes are others",
            )),
            Ok(()) => Ok(Self::Open(reader)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Self::Open(reader)),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn next_kept(&mut self) -> io::Result<Option<Kept>> {
        match self {
            Self::Open(reader) => Ok(frame::read(reader)?.map(|(kept, _)| kept)),
            Self::Sealed(reader, number) => {
                let mut line = String::new();
                *number += 1;
                if reader.as_mut().take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
                    return Ok(None);
                }
                let parsed = line.trim_end().split_once('|');
                let kept = parsed
                    .and_then(|(key, value)| Some(Kept { key: key.to_owned(), value: STANDARD.decode(value).ok()? }));
                let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("line {number} is not `key|base64`"));
                kept.map(Some).ok_or_else(bad)
            }
        }
    }
}
