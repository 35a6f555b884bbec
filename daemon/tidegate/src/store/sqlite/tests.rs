//! The journal in a temporary directory: what it keeps, and what it refuses.

use cutover::command::Severity;
use cutover::policy::AlertPolicy;
use cutover::{Alert, Episode};
use tempfile::TempDir;

use super::*;
use crate::alert::Message;
use crate::port::Retry;
use crate::testing::{START, cutover};

fn draft(service: &str, text: &str) -> Draft {
    Draft {
        at: START,
        event: Event::Tick,
        next: cutover(service),
        commands: vec![Command::Read, Command::WakeAt(START)],
        reason: Reason::new("test", text),
        messages: Vec::new(),
    }
}

async fn with_entries(dir: &TempDir, count: usize) {
    let store = Sqlite::open(dir.path()).unwrap();
    let lease = store.lease("search", "test", START).await.unwrap();
    for number in 1..=count {
        let id = store.append(&lease, draft("search", &format!("entry {number}"))).await.unwrap();
        assert_eq!(id, number as u64);
    }
}

fn tampered(dir: &TempDir, sql: &str) -> String {
    let connection = Connection::open(dir.path().join(FILE)).unwrap();
    connection.execute_batch(sql).unwrap();
    drop(connection);
    let Err(error) = Sqlite::open(dir.path()) else { panic!("`{sql}` was not noticed") };
    error.to_string()
}

const WITHOUT_TRIGGERS: &str = "DROP TRIGGER entry_is_never_changed; DROP TRIGGER entry_is_never_removed;";

/// Proves that what was appended is there after the journal was closed and opened, in order and whole.
#[tokio::test]
async fn entries_survive_a_restart() {
    let dir = TempDir::new().unwrap();
    with_entries(&dir, 3).await;
    let store = Sqlite::open(dir.path()).unwrap();
    let entries = store.history(Query { limit: 10, ..Query::default() }).await.unwrap();
    let texts: Vec<&str> = entries.iter().map(|entry| entry.reason.text.as_str()).collect();
    assert_eq!(texts, ["entry 1", "entry 2", "entry 3"]);
    assert_eq!(entries[0].version, env!("CARGO_PKG_VERSION"));
    assert_eq!(store.load().await.unwrap().len(), 1);
    assert_eq!(verify(dir.path()).unwrap().entries, 3);
}

/// Proves that a changed entry is found when the journal is opened, and named.
#[tokio::test]
async fn an_edited_entry_is_named() {
    let dir = TempDir::new().unwrap();
    with_entries(&dir, 3).await;
    let edit = "UPDATE entry SET body = replace(body, 'entry 2', 'entry X') WHERE id = 2;";
    let error = tampered(&dir, &format!("{WITHOUT_TRIGGERS}{edit}"));
    assert!(error.contains("broken at entry 2: its content does not match its hash"), "{error}");
}

/// Proves that an entry taken out of the middle is found and named.
#[tokio::test]
async fn a_missing_entry_is_named() {
    let dir = TempDir::new().unwrap();
    with_entries(&dir, 3).await;
    let error = tampered(&dir, &format!("{WITHOUT_TRIGGERS}DELETE FROM entry WHERE id = 2;"));
    assert!(error.contains("broken at entry 2: it is missing"), "{error}");
}

/// Proves that entries cut off at the end are found: the head says how many there were.
#[tokio::test]
async fn a_cut_off_end_is_found() {
    let dir = TempDir::new().unwrap();
    with_entries(&dir, 3).await;
    let error = tampered(&dir, &format!("{WITHOUT_TRIGGERS}DELETE FROM entry WHERE id = 3;"));
    assert!(error.contains("broken at entry 3"), "{error}");
    assert!(error.contains("entries were cut off"), "{error}");
}

/// Proves that a file whose bytes are gone is an error that names the journal, not a panic and not an empty journal.
#[tokio::test]
async fn a_truncated_file_is_refused() {
    let dir = TempDir::new().unwrap();
    with_entries(&dir, 40).await;
    // Everything is moved from the write-ahead log into the file first, so that the cut hits the entries.
    Connection::open(dir.path().join(FILE)).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
    let file = File::options().write(true).open(dir.path().join(FILE)).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length / 2 / 4096 * 4096).unwrap();
    let Err(error) = Sqlite::open(dir.path()) else { panic!("half a journal was accepted") };
    assert!(error.to_string().contains("journal.sqlite"), "{error}");
}

/// Proves that the engine itself refuses to change or remove an entry while its triggers are there.
#[tokio::test]
async fn entries_cannot_be_changed_by_accident() {
    let dir = TempDir::new().unwrap();
    with_entries(&dir, 1).await;
    let connection = Connection::open(dir.path().join(FILE)).unwrap();
    for sql in ["UPDATE entry SET at = 0", "DELETE FROM entry"] {
        let error = connection.execute_batch(sql).unwrap_err().to_string();
        assert!(error.contains("append-only"), "{error}");
    }
}

/// Proves that a journal of another layout, and a database that is none, are refused with what to do.
#[tokio::test]
async fn another_layout_is_refused() {
    let dir = TempDir::new().unwrap();
    with_entries(&dir, 1).await;
    let error = tampered(&dir, "PRAGMA user_version = 7;");
    assert!(error.contains("has layout 7, and this tidegate reads layout 1"), "{error}");
    let error = tampered(&dir, "PRAGMA application_id = 1;");
    assert!(error.contains("not a journal of tidegate"), "{error}");
}

/// Proves that a second opener is refused while the first lives, and let in when it is gone.
#[tokio::test]
async fn a_second_daemon_is_refused() {
    let dir = TempDir::new().unwrap();
    let first = Sqlite::open(dir.path()).unwrap();
    let Err(error) = Sqlite::open(dir.path()) else { panic!("two daemons on one journal") };
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    drop(first);
    assert!(Sqlite::open(dir.path()).is_ok());
}

/// Proves that who lost the lease without noticing cannot write any more.
#[tokio::test]
async fn a_fenced_writer_is_refused() {
    let dir = TempDir::new().unwrap();
    let store = Sqlite::open(dir.path()).unwrap();
    let old = store.lease("search", "one", START).await.unwrap();
    let new = store.lease("search", "two", START).await.unwrap();
    assert!(new.token > old.token);
    let error = store.append(&old, draft("search", "late")).await.unwrap_err();
    assert_eq!(error.retry, Retry::Never);
    assert!(error.to_string().contains("taken over"), "{error}");
    let error = store.save(&old, &cutover("search")).await.unwrap_err();
    assert_eq!(error.retry, Retry::Never);
    assert_eq!(store.append(&new, draft("search", "in time")).await.unwrap(), 1);
}

/// Proves that a full disk is an error that may pass, that nothing is half written, and that it goes on afterwards.
#[tokio::test]
async fn a_full_disk_is_survived() {
    let dir = TempDir::new().unwrap();
    let store = Sqlite::open(dir.path()).unwrap();
    let lease = store.lease("search", "test", START).await.unwrap();
    store.append(&lease, draft("search", "entry 1")).await.unwrap();
    store
        .write("save to", |connection| {
            let pages = pragma(connection, "page_count").map_err(unusable("read"))?;
            connection.pragma_update(None, "max_page_count", pages).map_err(unusable("read"))
        })
        .await
        .unwrap();
    let big = "x".repeat(100_000);
    let error = store.append(&lease, draft("search", &big)).await.unwrap_err();
    assert_eq!(error.retry, Retry::Later);
    assert!(error.to_string().contains("full"), "{error}");
    store
        .write("save to", |connection| {
            connection.pragma_update(None, "max_page_count", 1_000_000).map_err(unusable("read"))
        })
        .await
        .unwrap();
    assert_eq!(store.append(&lease, draft("search", &big)).await.unwrap(), 2);
    drop(store);
    assert_eq!(verify(dir.path()).unwrap().entries, 2);
}

/// Proves that state saved beside the journal is what a restart finds, and that a later entry takes its place.
#[tokio::test]
async fn saved_state_is_found_until_the_next_entry() {
    let dir = TempDir::new().unwrap();
    let store = Sqlite::open(dir.path()).unwrap();
    let lease = store.lease("search", "test", START).await.unwrap();
    store.append(&lease, draft("search", "entry 1")).await.unwrap();
    let mut saved = cutover("search");
    saved.outlook = "saved".to_owned();
    store.save(&lease, &saved).await.unwrap();
    assert_eq!(store.load().await.unwrap()[0].outlook, "saved");
    store.append(&lease, draft("search", "entry 2")).await.unwrap();
    assert_eq!(store.load().await.unwrap()[0].outlook, cutover("search").outlook);
}

/// Proves that messages reach the outbox with their entry, once, and leave it by their fate.
#[tokio::test]
async fn the_outbox_keeps_what_was_not_sent() {
    let dir = TempDir::new().unwrap();
    let store = Sqlite::open(dir.path()).unwrap();
    let lease = store.lease("search", "test", START).await.unwrap();
    let message = |id: &str| Message {
        id: id.to_owned(),
        cutover: "search-1".to_owned(),
        service: "search".to_owned(),
        at: START,
        to: AlertPolicy::Command { argv: vec!["true".to_owned()] },
        alert: Alert {
            episode: "search-1/revert/1".to_owned(),
            change: Episode::Opened,
            severity: Severity::Critical,
            title: "reverting".to_owned(),
            text: "the target fails".to_owned(),
        },
    };
    let messages = vec![message("a"), message("b"), message("c")];
    store.append(&lease, Draft { messages, ..draft("search", "alert") }).await.unwrap();
    let ids = async |now| {
        let due = store.due(now, 10).await.unwrap();
        due.into_iter().map(|outgoing| (outgoing.message.id, outgoing.attempts)).collect::<Vec<_>>()
    };
    assert_eq!(ids(START).await, [("a".to_owned(), 0), ("b".to_owned(), 0), ("c".to_owned(), 0)]);
    let later = Timestamp(START.0 + 1000);
    store.settle("a", Fate::Sent { at: START }).await.unwrap();
    store.settle("b", Fate::Postponed { until: later, error: "refused".to_owned() }).await.unwrap();
    store.settle("c", Fate::GivenUp { error: "gone".to_owned() }).await.unwrap();
    assert_eq!(ids(START).await, []);
    assert_eq!(ids(later).await, [("b".to_owned(), 1)]);
}

fn sample(second: i64, requests: u64) -> Sample {
    let counts = |requests| judge::Counts { requests, status_2xx: requests, ..judge::Counts::default() };
    let window =
        cutover::Window { from: Timestamp(START.0 + (second - 1) * 1000), to: Timestamp(START.0 + second * 1000) };
    let reads = judge::Block { millis: 1000, source: counts(requests), target: counts(1) };
    let observation = cutover::Observation { window, reads, writes: judge::Block::default() };
    Sample::new(observation, &cutover("search"))
}

/// Proves that counted intervals come back in order beside their cutover's entries, that one counted again replaces
/// the first count, and that reading takes no lock.
#[tokio::test]
async fn intervals_are_kept_beside_the_journal() {
    let dir = TempDir::new().unwrap();
    let store = Sqlite::open(dir.path()).unwrap();
    let lease = store.lease("search", "test", START).await.unwrap();
    store.append(&lease, draft("search", "begun")).await.unwrap();
    for (second, requests) in [(2, 20), (1, 10), (2, 22)] {
        store.keep(&lease, "search-1", &sample(second, requests)).await.unwrap();
    }
    let expected = vec![sample(1, 10), sample(2, 22)];
    assert_eq!(store.samples("search-1").await.unwrap(), expected);
    let (entries, samples) = read(dir.path(), "search").unwrap();
    assert_eq!((entries.len(), samples), (1, expected));
    assert!(read(dir.path(), "other").unwrap_err().to_string().contains("no cutover or service `other`"));
}

/// Proves that a writer whose lease was taken over cannot keep an interval.
#[tokio::test]
async fn a_fenced_writer_keeps_nothing() {
    let dir = TempDir::new().unwrap();
    let store = Sqlite::open(dir.path()).unwrap();
    let old = store.lease("search", "old", START).await.unwrap();
    store.lease("search", "new", START).await.unwrap();
    let error = store.keep(&old, "search-1", &sample(1, 10)).await.unwrap_err();
    assert!(error.to_string().contains("taken over"), "{error}");
    assert_eq!(store.samples("search-1").await.unwrap(), Vec::new());
}

/// Proves that who reads, however long, is not in the way of a decision.
#[tokio::test]
async fn a_long_read_does_not_hold_up_an_entry() {
    let dir = TempDir::new().unwrap();
    let store = Sqlite::open(dir.path()).unwrap();
    let lease = store.lease("search", "test", START).await.unwrap();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let reading = store.read(move |connection| {
        ended.recv().expect("the test ends it");
        load(connection)
    });
    let append = store.append(&lease, draft("search", "meanwhile"));
    tokio::time::timeout(std::time::Duration::from_secs(20), append).await.expect("it does not wait").unwrap();
    end.send(()).unwrap();
    assert_eq!(reading.await.unwrap().len(), 1, "what was written is read");
}

/// Proves that nobody but owner and group can read the journal and what lies beside it.
#[tokio::test]
async fn the_journal_is_not_for_everybody() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = TempDir::new().unwrap();
    let state = dir.path().join("state");
    let store = Sqlite::open(&state).unwrap();
    let lease = store.lease("search", "test", START).await.unwrap();
    store.append(&lease, draft("search", "one")).await.unwrap();
    let mut seen = vec![state.clone()];
    seen.extend(fs::read_dir(&state).unwrap().map(|found| found.unwrap().path()));
    assert!(seen.len() >= 4, "{seen:?}");
    for path in seen {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o027, 0, "{} has {mode:o}", path.display());
    }
}

/// Proves that a message of another version does not stand before all others for ever.
#[tokio::test]
async fn an_unreadable_message_is_given_up_at_the_start() {
    let dir = TempDir::new().unwrap();
    with_entries(&dir, 1).await;
    let connection = Connection::open(dir.path().join(FILE)).unwrap();
    connection.execute_batch("INSERT INTO outbox (id, body, due) VALUES ('old', '{\"form\": 0}', 1)").unwrap();
    drop(connection);
    let store = Sqlite::open(dir.path()).unwrap();
    assert_eq!(store.due(START, 16).await.unwrap(), []);
}
