//! The file log against its folder: what a crash, a full disk and a second process leave.

use super::{
    super::{
        sink::{Answer, Budget, Receipt},
        testing::{Bench, PATIENCE},
    },
    *,
};

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

/// Proves when a record counts as safe: behind a flush of its own with `batch`; otherwise once it is in the file, where a reader
/// finds it though the process may be killed. The end flushes what is left.
#[test]
fn a_record_is_safe_behind_a_flush_or_in_the_file() {
    for (sync, flushes) in
        [(Sync::Batch, [3, 3]), (Sync::Every(Duration::from_hours(1)), [0, 1]), (Sync::Never, [0, 1])]
    {
        let dir = tempfile::tempdir().unwrap();
        let files = Arc::new(Files::start(&Options { sync, ..Options::new(dir.path()) }).unwrap());
        let mut bench = Bench::new(Arc::clone(&files) as Arc<dyn Sink>, super::super::Reopen::AfterPause);
        let mut safe = Vec::new();
        for number in 0..3 {
            bench.safe("connection", vec![number]);
            safe.push(("connection".to_owned(), vec![number]));
            assert_eq!(kept(dir.path()), safe, "{sync:?}");
        }
        assert_eq!(files.written(), (3, flushes[0]), "{sync:?}");
        bench.flush();
        assert_eq!(files.written(), (3, flushes[1]), "{sync:?}");
    }
}

/// Proves that with `Every` the thread flushes although no further record comes, not before its time, and only what is new.
#[test]
fn what_was_written_is_flushed_so_often() {
    const INTERVAL: Duration = Duration::from_millis(200);
    let dir = tempfile::tempdir().unwrap();
    let began = clock::now();
    let files = Arc::new(Files::start(&Options { sync: Sync::Every(INTERVAL), ..Options::new(dir.path()) }).unwrap());
    let mut bench = Bench::new(Arc::clone(&files) as Arc<dyn Sink>, super::super::Reopen::AfterPause);
    for round in 1..=3 {
        bench.safe("connection", vec![0]);
        while files.written().1 < u64::from(round) {
            assert!(clock::now() - began < PATIENCE, "nothing was flushed");
            std::thread::yield_now();
        }
        let after = clock::now() - began;
        assert!(after >= INTERVAL * round, "flush {round} came after {after:?}");
    }
    std::thread::sleep(2 * INTERVAL);
    assert_eq!(files.written(), (3, 3), "nothing is left to flush");
}

/// A record of which nobody awaits the answer.
fn parcel() -> Parcel {
    let charge = Budget::new(1024).charge(1).unwrap();
    let verdict = super::super::sink::unanswered();
    let answer = Answer { key: "a".into(), tag: 0, life: 0, generation: 0, charge, verdict, space: None };
    Parcel { key: "a".into(), value: vec![0], receipt: Receipt::new(Arc::default(), answer) }
}

/// Proves that with `Every` no record waits longer for its flush than it says: one that comes in between goes with the flush
/// that is due, one that comes after a pause with a flush at once.
#[test]
fn no_record_waits_longer_for_its_flush() {
    const INTERVAL: Duration = Duration::from_secs(5);
    let dir = tempfile::tempdir().unwrap();
    let (seal, _sealing) = mpsc::sync_channel(1);
    let began = clock::now();
    let mut writer = Writer {
        options: Options {
            sync: Sync::Every(INTERVAL),
            segment_age_max: Duration::from_hours(1),
            ..Options::new(dir.path())
        },
        open: None,
        next: 0,
        seal,
        flushed_at: began,
        flushes: Arc::default(),
        frames: Vec::new(),
        _lock: lock(dir.path()).unwrap(),
    };
    let flushes = Arc::clone(&writer.flushes);
    let mut flushed_by = |comes: Duration, flush: Duration, count: u64| {
        writer.write(&[parcel()], began + comes).unwrap();
        writer.idle(began + comes);
        if comes < flush {
            assert_eq!(writer.wake_at(), Some(began + flush));
            writer.idle(began + flush.saturating_sub(Duration::from_nanos(1)));
            assert_eq!(flushes.load(Ordering::Relaxed), count - 1);
            writer.idle(began + flush);
        }
        assert_eq!(flushes.load(Ordering::Relaxed), count);
        assert!(writer.wake_at().unwrap() > began + Duration::from_mins(30), "only the segment's age is due");
    };
    let at = |tenths: u32| INTERVAL * tenths / 10;
    flushed_by(at(0), at(10), 1);
    flushed_by(at(19), at(20), 2);
    flushed_by(at(57), at(57), 3);
    flushed_by(at(58), at(67), 4);
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
