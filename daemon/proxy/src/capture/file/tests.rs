//! The file log against its folder: what a crash, a full disk and a second process leave.

use super::{super::testing::Bench, *};

fn kept(dir: &Path) -> Vec<(String, Vec<u8>)> {
    read(dir).unwrap().map(|kept| kept.unwrap()).map(|kept| (kept.key, kept.value)).collect()
}

fn bench(options: &Options) -> Bench {
    Bench::new(Arc::new(Files::start(options).unwrap()), super::super::Reopen::AfterPause)
}

/// Proves that segments are sealed by size into archives of `key|base64` lines, and that nothing is missing or doubled
/// over all files, in order.
#[test]
fn full_segments_become_archives() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes_max: 4096, ..Options::new(dir.path()) };
    let mut bench = bench(&options);
    for number in 0..200_u32 {
        bench.safe("connection", number.to_string().into_bytes().repeat(20));
    }
    bench.flush();
    let archives: Vec<_> = segments::list(dir.path()).unwrap();
    assert!(archives.len() > 3 && archives.iter().all(|segment| segment.sealed), "{archives:?}");
    let wanted: Vec<_> =
        (0..200_u32).map(|n| ("connection".to_owned(), n.to_string().into_bytes().repeat(20))).collect();
    assert_eq!(kept(dir.path()), wanted);
    let mut exported = Vec::new();
    assert_eq!(export(dir.path(), &mut exported).unwrap(), 200);
    assert_eq!(String::from_utf8(exported).unwrap().lines().count(), 200);
}

/// Proves that a segment cut anywhere, as by a kill, keeps every whole record, and that the next process goes on.
#[test]
fn a_torn_tail_costs_only_what_was_torn() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path());
    let whole = {
        let scratch = tempfile::tempdir().unwrap();
        let mut bench = bench(&Options::new(scratch.path()));
        bench.safe("a", b"first".to_vec());
        bench.safe("b", b"second".to_vec());
        fs::read(scratch.path().join(format!("{:020}.open", 0))).unwrap()
    };
    let first = frame::MAGIC.len() + frame::bytes("a", b"first") as usize;
    for cut in [0, 3, frame::MAGIC.len(), first - 1, first, first + 1, whole.len() - 1, whole.len()] {
        fs::remove_dir_all(dir.path()).unwrap();
        fs::create_dir(dir.path()).unwrap();
        fs::write(dir.path().join(format!("{:020}.open", 4)), &whole[..cut]).unwrap();
        let files = Files::start(&options).unwrap();
        assert_eq!(files.found().left_open, 1);
        let mut bench = Bench::new(Arc::new(files), super::super::Reopen::AfterPause);
        bench.safe("c", b"third".to_vec());
        bench.flush();
        let mut wanted = Vec::new();
        if cut >= first {
            wanted.push(("a".to_owned(), b"first".to_vec()));
        }
        if cut == whole.len() {
            wanted.push(("b".to_owned(), b"second".to_vec()));
        }
        wanted.push(("c".to_owned(), b"third".to_vec()));
        assert_eq!(kept(dir.path()), wanted, "cut at {cut}");
    }
}

/// Proves that a crash at any point of sealing leaves each record once.
#[test]
fn a_crash_while_sealing_neither_loses_nor_doubles() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench1 = bench(&Options::new(dir.path()));
    bench1.safe("a", b"one".to_vec());
    let open = dir.path().join(format!("{:020}.open", 0));
    let text = fs::read(&open).unwrap();
    bench1.flush();
    drop(bench1);
    let sealed = dir.path().join(format!("{:020}.proto.gz", 0));
    // Killed between the renaming and the deleting: both are there.
    fs::write(&open, &text).unwrap();
    assert_eq!(kept(dir.path()).len(), 1, "a reader sees it once even before the mending");
    Files::start(&Options::new(dir.path())).unwrap();
    assert_eq!(kept(dir.path()).len(), 1);
    // Killed while the archive was being made.
    fs::remove_file(&sealed).unwrap();
    fs::write(&open, &text).unwrap();
    fs::write(dir.path().join(format!("{:020}.proto.gz.making", 0)), b"half").unwrap();
    Files::start(&Options::new(dir.path())).unwrap();
    assert_eq!(kept(dir.path()), vec![("a".to_owned(), b"one".to_vec())]);
}

/// Proves that archives beyond the bytes or the age are deleted, oldest first, and the newest stays.
#[test]
fn retention_deletes_the_oldest_archives() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..5 {
        fs::write(dir.path().join(format!("{number:020}.proto.gz")), vec![0; 100]).unwrap();
    }
    let now = clock::wall();
    let by_bytes = Retention { bytes_max: Some(250), age_max: None };
    assert_eq!(segments::retain(dir.path(), by_bytes, now).unwrap().len(), 3);
    let left: Vec<u64> = segments::list(dir.path()).unwrap().iter().map(|segment| segment.number).collect();
    assert_eq!(left, [3, 4]);
    let by_age = Retention { bytes_max: None, age_max: Some(Duration::from_mins(1)) };
    assert!(segments::retain(dir.path(), by_age, now).unwrap().is_empty());
    assert_eq!(segments::retain(dir.path(), by_age, now + Duration::from_mins(2)).unwrap().len(), 2);
}

/// Proves that two processes never write to one folder.
#[test]
fn a_folder_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Files::start(&Options::new(dir.path())).unwrap();
    let error = Files::start(&Options::new(dir.path())).err().unwrap();
    assert!(error.to_string().contains("another process captures to it"), "{error}");
}

/// Proves that a segment of another version stops the start with words, before anything is deleted.
#[test]
fn a_foreign_segment_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(format!("{:020}.open", 0));
    fs::write(&path, b"SOMETHING ELSE").unwrap();
    let error = Files::start(&Options::new(dir.path())).err().unwrap();
    assert!(error.to_string().contains("is no segment of this version"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"SOMETHING ELSE");
}

/// A disk of so many megabytes, gone with the value.
struct Small(PathBuf);

impl Small {
    /// `None` where we may not mount.
    fn mount(folder: &Path, megabytes: u32) -> Option<Self> {
        let size = format!("size={megabytes}m");
        let mounted =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &size, "small"]).arg(folder).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then(|| Self(folder.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}

/// Proves that a full disk loses records with its own words and opens the breaker, that nothing half written is met by a
/// reader, that what was safe before still is, and that records are taken again once there is room. Needs root for the
/// small disk; without, it says so and proves nothing.
#[test]
fn a_full_disk_loses_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(dir.path(), 4) else {
        println!("not root: no small disk can be mounted");
        return;
    };
    let filler = small.0.join("filler");
    fs::write(&filler, vec![0; 2 * 1024 * 1024]).unwrap();
    let mut bench = bench(&Options::new(small.0.join("capture")));
    let mut safe = Vec::new();
    let lost = loop {
        let key = format!("stream-{}", safe.len());
        bench.send(&key, vec![b'.'; 100_000]).unwrap();
        match bench.next_outcomes(1).remove(0).verdict {
            Verdict::Safe => safe.push(key),
            Verdict::Lost(lost) => break lost,
        }
    };
    assert_eq!((lost.why, lost.perhaps_there), (Why::Storage, false));
    assert!(lost.detail.contains("No space left on device"), "{}", lost.detail);
    assert!(safe.len() > 10, "{}", safe.len());
    assert_eq!(bench.send("refused", vec![0]), Err(super::super::Refused::BreakerOpen));
    assert_eq!(kept(&small.0.join("capture")).into_iter().map(|(key, _)| key).collect::<Vec<_>>(), safe);
    fs::remove_file(&filler).unwrap();
    bench.breaker.ready();
    bench.safe("again", vec![1; 100_000]);
    bench.flush();
    safe.push("again".to_owned());
    assert_eq!(kept(&small.0.join("capture")).into_iter().map(|(key, _)| key).collect::<Vec<_>>(), safe);
}
