//! What the list of losses says after restarts, full files, full queues and full disks.

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

fn phantom(request: u64) -> Loss {
    Loss { forwarded: false, ..loss(request) }
}

fn counts(losses: u64, phantoms: u64, unlisted: u64) -> Counts {
    Counts { losses, phantoms, unlisted }
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
    assert_eq!(log.found(), Found { counts: counts(2, 0, 0), torn_bytes: 0 });
    assert_eq!((log.began_millis(), log.id()), (began, &*id));
    note(&log, 2);
    assert_eq!(log.losses(), 3);
    assert_eq!(read(&path).unwrap()[2], Listed { number: 3, phantoms: Some(0), unlisted: 0, loss: loss(2) });
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
    let soon = || clock::now() + Duration::from_mins(1);
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
        assert_eq!(log.found(), Found { counts: counts(1, 0, 0), torn_bytes: (cut - first) as u64 }, "cut at {cut}");
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
    for request in 0..40 {
        note(&log, request);
    }
    for request in 0..20 {
        log.note(phantom(request)).blocking_recv().unwrap().unwrap();
    }
    drop(log);
    assert_eq!(aside(&path).unwrap().len(), ASIDE_MAX);
    fs::remove_file(&path).unwrap();
    fs::remove_file(dir.path().join("losses.jsonl.began")).unwrap();
    let log = LossLog::open(&path).unwrap();
    let lines = log.losses() + log.phantoms();
    assert!(lines >= 57, "the lines of one file are gone with it, the count of the others is not");
    assert_eq!(log.losses(), 40);
}

/// Proves that refused requests are counted apart from losses, by the process and by the one after it.
#[test]
fn phantoms_are_counted_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("losses.jsonl");
    let log = LossLog::open(&path).unwrap();
    note(&log, 0);
    for request in 1..4 {
        log.note(phantom(request)).blocking_recv().unwrap().unwrap();
    }
    note(&log, 4);
    assert_eq!((log.losses(), log.phantoms()), (2, 3));
    drop(log);
    let log = LossLog::open(&path).unwrap();
    assert_eq!(log.found().counts, counts(2, 3, 0));
    assert_eq!((log.losses(), log.phantoms(), log.unlisted()), (2, 3, 0));
    let numbers: Vec<_> = read(&path).unwrap().iter().map(|line| (line.number, line.phantoms)).collect();
    assert_eq!(numbers, [(1, Some(0)), (2, Some(1)), (3, Some(2)), (4, Some(3)), (5, Some(3))]);
}

/// Proves that a list of a version that counted phantoms as losses is read by what its lines are, and goes on.
#[test]
fn a_list_from_before_is_counted_by_its_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("losses.jsonl");
    let line = |number: u64, forwarded: bool| {
        format!(
            r#"{{"number":{number},"at_millis":1790000000000,"connection":"c-1","request":0,"method":"PUT","target":"/","bytes":9,"why":"timed-out","forwarded":{forwarded},"perhaps_there":true}}"#
        ) + "\n"
    };
    fs::write(&path, line(8, true) + &line(9, false) + &line(10, false) + &line(11, true)).unwrap();
    let log = LossLog::open(&path).unwrap();
    assert_eq!(log.found().counts, counts(9, 2, 0));
    log.note(phantom(0)).blocking_recv().unwrap().unwrap();
    drop(log);
    assert_eq!(LossLog::open(&path).unwrap().found().counts, counts(9, 3, 0));
}

/// Proves that what came while too much waited for the disk is counted, is refused to who waits for its line, and is known
/// after a restart, though nothing more is lost.
#[test]
fn what_finds_no_room_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("losses.jsonl");
    let (file, found) = recover(&path).unwrap();
    let shared = Arc::new(Shared {
        queue: Mutex::default(),
        filled: Condvar::new(),
        emptied: Condvar::new(),
        losses: AtomicU64::default(),
        phantoms: AtomicU64::default(),
        unlisted: AtomicU64::default(),
    });
    let began = began(&path).unwrap();
    let log = LossLog { shared: Arc::clone(&shared), path: path.clone(), began, found, thread: None };
    let mut told: Vec<_> = (0..QUEUED_MAX as u64).map(|request| log.note(loss(request))).collect();
    let mut refused = [log.note(loss(0)), log.note(phantom(1)), log.note(loss(2))];
    let all = (log.losses(), log.phantoms(), log.unlisted());
    assert_eq!(all, (QUEUED_MAX as u64 + 2, 1, 2));
    assert!(refused.iter_mut().all(|told| told.try_recv().unwrap().is_err()));
    drop(log);
    let mut writer = Writer { path: path.clone(), file, bytes_max: u64::MAX, counts: found.counts, owes: false };
    shared.write(&mut writer);
    assert!(told.iter_mut().all(|told| told.try_recv().unwrap().is_ok()));
    let lines = read(&path).unwrap();
    assert_eq!(lines.len(), QUEUED_MAX + 1);
    assert_eq!(lines.last().unwrap().loss.why, UNLISTED);
    let log = LossLog::open(&path).unwrap();
    assert_eq!(log.found().counts, counts(QUEUED_MAX as u64 + 2, 1, 2));
    assert_eq!((log.losses(), log.unlisted()), (QUEUED_MAX as u64 + 2, 0), "they were another process's");
}

/// Proves that a disk that takes nothing is an error of the whole batch, that the counts go on, since the losses happened, and
/// that the file has them once the disk takes a line: one that comes, or one of no request.
#[test]
fn a_full_disk_is_told_counted_and_remembered() {
    for another in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("losses.jsonl");
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let before = counts(6, 2, 0);
        let mut writer = Writer { path: path.clone(), file: full, bytes_max: u64::MAX, counts: before, owes: false };
        for unlisted in [2, 4] {
            let error = writer.append(vec![loss(0), phantom(1), loss(2)], Counts::default()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            assert!(writer.owes);
            assert_eq!(writer.counts.unlisted, unlisted);
        }
        writer.append(Vec::new(), Counts::default()).unwrap_err();
        assert_eq!(writer.counts, counts(10, 4, 4));
        writer.file = recover(&path).unwrap().0;
        writer.append(if another { vec![loss(9)] } else { Vec::new() }, Counts::default()).unwrap();
        assert!(!writer.owes);
        let lines = read(&path).unwrap();
        let whys: Vec<&str> = lines.iter().map(|line| line.loss.why.as_str()).collect();
        assert_eq!(whys, [if another { "timed-out" } else { UNLISTED }]);
        assert_eq!(recover(&path).unwrap().1.counts, counts(10 + u64::from(another), 4, 4));
    }
}

/// Proves that a count which the disk did not take is there soon after it takes lines again, though nothing more is lost; and
/// that a disk which stays full keeps no thread from its end.
#[test]
fn what_is_owed_to_the_list_is_written_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("losses.jsonl");
    for path in [real.clone(), PathBuf::from("/dev/full")] {
        let file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        let mut writer = Writer { path, file, bytes_max: u64::MAX, counts: counts(3, 1, 2), owes: true };
        let shared = Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            losses: AtomicU64::default(),
            phantoms: AtomicU64::default(),
            unlisted: AtomicU64::default(),
        };
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| shared.write(&mut writer));
            while !real.exists() || read(&real).unwrap().is_empty() {
                std::thread::yield_now();
            }
            shared.queue.lock().unwrap().ending = true;
            shared.filled.notify_one();
            thread.join().unwrap();
        });
        assert_eq!(writer.counts, counts(3, 1, 2));
    }
    assert_eq!(recover(&real).unwrap().1.counts, counts(3, 1, 2));
    assert_eq!(read(&real).unwrap().len(), 1);
}
