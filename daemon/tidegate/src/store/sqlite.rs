//! The journal in a file of its own, by SQLite: the default, for one machine.
//!
//! A decision is on disk when `append` returns (write-ahead log, `synchronous = FULL`). SQLite blocks, so the connection
//! lives on a thread of its own and is handed closures. What is read goes over a second connection on a second thread:
//! who asks for a long history must not be in the way of a revert. The chain is checked whole when the journal is opened; a lock
//! file that the system frees when its holder dies keeps a second daemon out.
//!
//! It does not watch the clock and does not know what a decision means.

mod outbox;

use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use cutover::{Command, Cutover, Event, Reason, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::sample::SAMPLES_MAX;
use super::{Draft, ENTRIES_MAX, End, Entry, Fate, Lease, Outgoing, Query, Sample, Store, StoreError};
use crate::port::{Answer, PortError};

/// The layout this version reads and writes, kept in SQLite's `user_version`.
const LAYOUT: i64 = 1;

/// Marks the file as ours (`tide` in ASCII), kept in SQLite's `application_id`.
const APPLICATION: i64 = 0x7469_6465;

/// How many calls may wait for the thread; more are refused, so that a hanging disk is noticed and not queued up for.
const CALLS_WAITING_MAX: usize = 256;

/// Who may read the journal: its owner and, for `tidegate history` and `report`, its group. It holds whole policies, and
/// a policy may name headers and addresses that are nobody else's business.
const FILE_MODE: u32 = 0o640;

/// The same for the directory.
const DIRECTORY_MODE: u32 = 0o750;

/// The journal's name in the state directory.
pub const FILE: &str = "journal.sqlite";

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A journal in a directory.
pub struct Sqlite {
    writes: Option<SyncSender<Job>>,
    reads: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
    /// Held as long as the journal is open; the system lets go of it when the process dies.
    _lock: Option<File>,
}

/// What a verification of the chain found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// How many entries there are.
    pub entries: u64,
    /// The hash of the last one, in hexadecimal; empty when there is none.
    pub hash: String,
}

/// The part of an entry that is kept as JSON.
#[derive(Serialize, Deserialize)]
struct Body {
    event: Event,
    next: Cutover,
    commands: Vec<Command>,
    reason: Reason,
    version: String,
}

impl Sqlite {
    /// Opens the journal in `dir`, making it when there is none, and checks its whole chain.
    ///
    /// # Errors
    /// When another process works on it, it has another layout, its chain is broken, or the system refuses.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let shown = path.display().to_string();
        let refused = |why: &dyn std::fmt::Display| StoreError::Open { path: shown.clone(), why: why.to_string() };
        fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(dir).map_err(|error| refused(&error))?;
        let lock = lock(&dir.join("journal.lock"), &shown)?;
        // SQLite gives the files beside it the same permissions.
        drop(File::options().create(true).append(true).mode(FILE_MODE).open(&path).map_err(|error| refused(&error))?);
        let mut connection = Connection::open(&path).map_err(|error| refused(&error))?;
        prepare(&mut connection, &shown)?;
        verify_connection(&connection, &shown)?;
        outbox::tidy(&connection).map_err(|error| refused(&error))?;
        let reader = Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
            .map_err(|error| refused(&error))?;
        let start = |name: &str, connection: Connection| {
            let (jobs, work) = sync_channel::<Job>(CALLS_WAITING_MAX);
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || serve(connection, &work));
            thread.map(|thread| (jobs, thread)).map_err(|error| refused(&error))
        };
        let (writes, writing) = start("journal", connection)?;
        let (reads, reading) = start("journal-reads", reader)?;
        Ok(Self { writes: Some(writes), reads: Some(reads), threads: vec![reading, writing], _lock: Some(lock) })
    }

    /// Runs `work` on the thread that writes.
    fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'_, T> {
        Self::call(self.writes.as_ref(), doing, work)
    }

    /// Runs `work` on the thread that only reads.
    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'_, T> {
        Self::call(self.reads.as_ref(), "read", work)
    }

    fn call<'a, T: Send + 'static>(
        jobs: Option<&SyncSender<Job>>,
        doing: &'static str,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'a, T> {
        let unusable = move |why: &str| PortError::later("store", StoreError::Unusable { doing, why: why.to_owned() });
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| drop(reply.send(work(connection))));
        let jobs = jobs.expect("the senders live until the journal is dropped");
        let queued = jobs.try_send(job);
        Box::pin(async move {
            match queued {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    return Err(unusable(&format!("{CALLS_WAITING_MAX} calls wait for the disk already")));
                }
                Err(TrySendError::Disconnected(_)) => return Err(unusable("its thread has ended")),
            }
            match answer.await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(error @ StoreError::Fenced { .. })) => Err(PortError::never("store", error)),
                Ok(Err(error)) => Err(PortError::later("store", error)),
                Err(_) => Err(unusable("its thread has ended")),
            }
        })
    }
}

impl Drop for Sqlite {
    /// Waits for the calls that were handed over, so that the file is closed before the lock is free.
    fn drop(&mut self) {
        (self.writes, self.reads) = (None, None);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the journal panicked");
            }
        }
    }
}

/// Checks the chain of the journal in `dir` without taking its lock and without changing it.
///
/// # Errors
/// As for [`Sqlite::open`], less the lock; a directory without a journal is an error too.
pub fn verify(dir: &Path) -> Result<Chain, StoreError> {
    let path = dir.join(FILE);
    let shown = path.display().to_string();
    let refused = |error: rusqlite::Error| StoreError::Open { path: shown.clone(), why: error.to_string() };
    let connection = Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(refused)?;
    check_layout(&connection, &shown)?;
    verify_connection(&connection, &shown)
}

fn serve(mut connection: Connection, work: &Receiver<Job>) {
    while let Ok(job) = work.recv() {
        job(&mut connection);
    }
}

fn lock(path: &PathBuf, journal: &str) -> Result<File, StoreError> {
    let refused = |error: std::io::Error| StoreError::Open {
        path: journal.to_owned(),
        why: format!("its lock `{}`: {error}", path.display()),
    };
    let file = File::options().create(true).truncate(false).write(true).mode(FILE_MODE).open(path).map_err(refused)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: journal.to_owned() }),
        Err(TryLockError::Error(error)) => Err(refused(error)),
    }
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
}

fn check_layout(connection: &Connection, path: &str) -> Result<(), StoreError> {
    let open = |why: String| StoreError::Open { path: path.to_owned(), why };
    let application = pragma(connection, "application_id").map_err(|error| open(error.to_string()))?;
    if application != APPLICATION {
        return Err(open("it is not a journal of tidegate".to_owned()));
    }
    match pragma(connection, "user_version").map_err(|error| open(error.to_string()))? {
        LAYOUT => Ok(()),
        found => Err(StoreError::Version { path: path.to_owned(), found, ours: LAYOUT }),
    }
}

fn prepare(connection: &mut Connection, path: &str) -> Result<(), StoreError> {
    let open = |error: rusqlite::Error| StoreError::Open { path: path.to_owned(), why: error.to_string() };
    connection.pragma_update(None, "journal_mode", "wal").map_err(open)?;
    connection.pragma_update(None, "synchronous", "full").map_err(open)?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(open)?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(open)?;
    if tables > 0 {
        return check_layout(connection, path);
    }
    let transaction = connection.transaction().map_err(open)?;
    transaction.execute_batch(include_str!("schema.sql")).map_err(open)?;
    transaction.pragma_update(None, "application_id", APPLICATION).map_err(open)?;
    transaction.pragma_update(None, "user_version", LAYOUT).map_err(open)?;
    transaction.commit().map_err(open)
}

/// One row of the journal as it is hashed.
struct Row {
    id: u64,
    service: String,
    cutover: String,
    at: i64,
    body: String,
    hash: String,
}

impl Row {
    const COLUMNS: &str = "id, service, cutover, at, body, hash";

    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get::<_, i64>(0)?.cast_unsigned(),
            service: row.get(1)?,
            cutover: row.get(2)?,
            at: row.get(3)?,
            body: row.get(4)?,
            hash: row.get(5)?,
        })
    }

    fn chained(&self, previous: &str) -> String {
        let mut hasher = Sha256::new();
        for part in [previous, &self.id.to_string(), &self.service, &self.cutover, &self.at.to_string(), &self.body] {
            hasher.update(part.as_bytes());
            hasher.update(b"\n");
        }
        hasher.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("writing to a string does not fail");
            hex
        })
    }

    fn entry(self) -> Result<Entry, StoreError> {
        let body: Body = serde_json::from_str(&self.body).map_err(|error| StoreError::Unusable {
            doing: "read",
            why: format!("entry {} is of a form that this version does not know: {error}", self.id),
        })?;
        Ok(Entry {
            id: self.id,
            service: self.service,
            cutover: self.cutover,
            at: Timestamp(self.at),
            event: body.event,
            next: body.next,
            commands: body.commands,
            reason: body.reason,
            version: body.version,
            hash: self.hash,
        })
    }
}

fn verify_connection(connection: &Connection, path: &str) -> Result<Chain, StoreError> {
    let broken = |entry: u64, what: String| StoreError::Broken { path: path.to_owned(), entry, what };
    let mut chain = Chain { entries: 0, hash: String::new() };
    let mut read = || -> rusqlite::Result<Result<(), StoreError>> {
        let sql = format!("SELECT {} FROM entry ORDER BY id", Row::COLUMNS);
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let row = Row::read(row)?;
            let expected = chain.entries + 1;
            if row.id != expected {
                return Ok(Err(broken(expected, format!("it is missing; the next one is {}", row.id))));
            }
            if row.chained(&chain.hash) != row.hash {
                return Ok(Err(broken(expected, "its content does not match its hash".to_owned())));
            }
            chain = Chain { entries: row.id, hash: row.hash };
        }
        let (id, hash): (i64, String) =
            connection.query_row("SELECT id, hash FROM head", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if id.cast_unsigned() != chain.entries || hash != chain.hash {
            return Ok(Err(broken(
                chain.entries + 1,
                format!("the journal ends at {}, and its head says {id}: entries were cut off or added", chain.entries),
            )));
        }
        Ok(Ok(()))
    };
    match read() {
        Ok(Ok(())) => Ok(chain),
        Ok(Err(broken)) => Err(broken),
        // What the engine cannot read is as broken as what does not match: its pages, or their types, were changed.
        Err(error) => Err(broken(chain.entries + 1, error.to_string())),
    }
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a state is plain values with text for keys")
}

/// Refuses to write under a lease that is not in force any more.
fn check_lease(transaction: &rusqlite::Transaction<'_>, lease: &Lease, doing: &'static str) -> Result<(), StoreError> {
    let token: Option<i64> = transaction
        .query_row("SELECT token FROM lease WHERE service = ?", [&lease.service], |row| row.get(0))
        .optional()
        .map_err(unusable(doing))?;
    let theirs = token.unwrap_or_default().cast_unsigned();
    if theirs == lease.token {
        Ok(())
    } else {
        Err(StoreError::Fenced { service: lease.service.clone(), ours: lease.token, theirs })
    }
}

fn unusable(doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError + Copy {
    move |error| StoreError::Unusable { doing, why: error.to_string() }
}

fn append(connection: &mut Connection, lease: &Lease, draft: Draft) -> Result<u64, StoreError> {
    let failed = unusable("append to");
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    check_lease(&transaction, lease, "append to")?;
    let (last, previous): (i64, String) =
        transaction.query_row("SELECT id, hash FROM head", [], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed)?;
    let Draft { at, event, next, commands, reason, messages } = draft;
    let cutover = next.id.clone();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let mut row = Row {
        id: last.cast_unsigned() + 1,
        service: lease.service.clone(),
        cutover,
        at: at.0,
        body: to_json(&Body { event, next, commands, reason, version }),
        hash: String::new(),
    };
    row.hash = row.chained(&previous);
    transaction
        .execute(
            "INSERT INTO entry (id, service, cutover, at, body, hash) VALUES (?, ?, ?, ?, ?, ?)",
            params![row.id.cast_signed(), row.service, row.cutover, row.at, row.body, row.hash],
        )
        .map_err(failed)?;
    transaction.execute("UPDATE head SET id = ?, hash = ?", params![row.id.cast_signed(), row.hash]).map_err(failed)?;
    for message in messages {
        transaction
            .execute(
                "INSERT OR IGNORE INTO outbox (id, body, due) VALUES (?, ?, ?)",
                params![message.id, to_json(&message), at.0],
            )
            .map_err(failed)?;
    }
    transaction.commit().map_err(failed)?;
    Ok(row.id)
}

fn save(connection: &mut Connection, lease: &Lease, body: &str) -> Result<(), StoreError> {
    let failed = unusable("save to");
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    check_lease(&transaction, lease, "save to")?;
    transaction
        .execute(
            "INSERT INTO state (service, entry, body)
             VALUES (?1, (SELECT coalesce(max(id), 0) FROM entry WHERE service = ?1), ?2)
             ON CONFLICT (service) DO UPDATE SET entry = excluded.entry, body = excluded.body",
            params![lease.service, body],
        )
        .map_err(failed)?;
    transaction.commit().map_err(failed)
}

fn keep(
    connection: &mut Connection,
    lease: &Lease,
    cutover: &str,
    at: Timestamp,
    body: &str,
) -> Result<(), StoreError> {
    let failed = unusable("save to");
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    check_lease(&transaction, lease, "save to")?;
    // An interval that is counted again after a restart replaces the first count.
    transaction
        .execute("INSERT OR REPLACE INTO sample (cutover, at, body) VALUES (?, ?, ?)", params![cutover, at.0, body])
        .map_err(failed)?;
    transaction
        .execute(
            "DELETE FROM sample WHERE cutover = ?1 AND at <=
                 (SELECT at FROM sample WHERE cutover = ?1 ORDER BY at DESC LIMIT 1 OFFSET ?2)",
            params![cutover, SAMPLES_MAX],
        )
        .map_err(failed)?;
    transaction.commit().map_err(failed)
}

fn samples(connection: &Connection, cutover: &str) -> Result<Vec<Sample>, StoreError> {
    let failed = unusable("read");
    let mut statement = connection.prepare("SELECT body FROM sample WHERE cutover = ? ORDER BY at").map_err(failed)?;
    let rows = statement.query_map([cutover], |row| row.get::<_, String>(0)).map_err(failed)?;
    rows.map(|row| {
        serde_json::from_str(&row.map_err(failed)?).map_err(|error| StoreError::Unusable {
            doing: "read",
            why: format!("a kept interval of `{cutover}` is of a form that this version does not know: {error}"),
        })
    })
    .collect()
}

/// A whole cutover as the journal in a directory has it: its entries and its kept intervals, oldest first. Takes no
/// lock and changes nothing, so that it works beside a running daemon and without one. `cutover` is an id or a
/// service, whose last cutover is meant then.
///
/// # Errors
/// As for [`verify`]; and when there is no such cutover.
pub fn read(dir: &Path, cutover: &str) -> Result<(Vec<Entry>, Vec<Sample>), StoreError> {
    let path = dir.join(FILE);
    let shown = path.display().to_string();
    let refused = |error: rusqlite::Error| StoreError::Open { path: shown.clone(), why: error.to_string() };
    let connection = Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(refused)?;
    check_layout(&connection, &shown)?;
    verify_connection(&connection, &shown)?;
    let id: Option<String> = connection
        .query_row(
            "SELECT cutover FROM entry WHERE cutover = ?1 OR service = ?1 ORDER BY id DESC LIMIT 1",
            [cutover],
            |row| row.get(0),
        )
        .optional()
        .map_err(unusable("read"))?;
    let Some(id) = id else {
        return Err(StoreError::Unusable {
            doing: "read",
            why: format!("it has no cutover or service `{cutover}`; `tidegate history` lists what it has"),
        });
    };
    let mut entries = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry: &Entry| entry.id);
        let query = Query { cutover: Some(id.clone()), after, limit: ENTRIES_MAX, ..Query::default() };
        let more = history(&connection, &query)?;
        if more.is_empty() {
            break;
        }
        entries.extend(more);
    }
    let samples = samples(&connection, &id)?;
    Ok((entries, samples))
}

fn load(connection: &Connection) -> Result<Vec<Cutover>, StoreError> {
    let failed = unusable("read");
    let sql = format!(
        "SELECT {}, (SELECT state.body FROM state WHERE state.service = entry.service AND state.entry = entry.id)
         FROM entry WHERE id IN (SELECT max(id) FROM entry GROUP BY service) ORDER BY service",
        Row::COLUMNS
    );
    let mut statement = connection.prepare(&sql).map_err(failed)?;
    let rows =
        statement.query_map([], |row| Ok((Row::read(row)?, row.get::<_, Option<String>>(6)?))).map_err(failed)?;
    let mut cutovers = Vec::new();
    for row in rows {
        let (row, state) = row.map_err(failed)?;
        let service = row.service.clone();
        let entry = row.entry()?;
        cutovers.push(match state {
            None => entry.next,
            Some(state) => serde_json::from_str(&state).map_err(|error| StoreError::Unusable {
                doing: "read",
                why: format!("the state of `{service}` is of a form that this version does not know: {error}"),
            })?,
        });
    }
    Ok(cutovers)
}

fn history(connection: &Connection, query: &Query) -> Result<Vec<Entry>, StoreError> {
    let failed = unusable("read");
    let sql = format!(
        "SELECT {} FROM entry WHERE id > ?1 AND (?2 IS NULL OR service = ?2) AND (?3 IS NULL OR cutover = ?3)
         ORDER BY id {} LIMIT ?4",
        Row::COLUMNS,
        match query.end {
            End::Oldest => "ASC",
            End::Newest => "DESC",
        }
    );
    let mut statement = connection.prepare(&sql).map_err(failed)?;
    let limit = query.limit.min(ENTRIES_MAX);
    let rows = statement
        .query_map(
            params![query.after.cast_signed(), query.service, query.cutover, i64::try_from(limit).unwrap_or(i64::MAX)],
            Row::read,
        )
        .map_err(failed)?;
    let mut entries: Vec<Entry> = rows.map(|row| row.map_err(failed)?.entry()).collect::<Result<_, _>>()?;
    entries.sort_by_key(|entry| entry.id);
    Ok(entries)
}

impl Store for Sqlite {
    fn lease<'a>(&'a self, service: &'a str, holder: &'a str, now: Timestamp) -> Answer<'a, Lease> {
        let (service, holder) = (service.to_owned(), holder.to_owned());
        self.write("save to", move |connection| {
            let token: i64 = connection
                .query_row(
                    "INSERT INTO lease (service, token, holder, since) VALUES (?, 1, ?, ?)
                     ON CONFLICT (service) DO UPDATE
                     SET token = token + 1, holder = excluded.holder, since = excluded.since
                     RETURNING token",
                    params![service, holder, now.0],
                    |row| row.get(0),
                )
                .map_err(unusable("save to"))?;
            Ok(Lease { service, token: token.cast_unsigned() })
        })
    }

    fn append<'a>(&'a self, lease: &'a Lease, draft: Draft) -> Answer<'a, u64> {
        let lease = lease.clone();
        self.write("append to", move |connection| append(connection, &lease, draft))
    }

    fn save<'a>(&'a self, lease: &'a Lease, state: &'a Cutover) -> Answer<'a, ()> {
        let (lease, body) = (lease.clone(), to_json(state));
        self.write("save to", move |connection| save(connection, &lease, &body))
    }

    fn keep<'a>(&'a self, lease: &'a Lease, cutover: &'a str, sample: &'a Sample) -> Answer<'a, ()> {
        let (lease, cutover, at, body) = (lease.clone(), cutover.to_owned(), sample.at(), to_json(sample));
        self.write("save to", move |connection| keep(connection, &lease, &cutover, at, &body))
    }

    fn samples<'a>(&'a self, cutover: &'a str) -> Answer<'a, Vec<Sample>> {
        let cutover = cutover.to_owned();
        self.read(move |connection| samples(connection, &cutover))
    }

    fn load(&self) -> Answer<'_, Vec<Cutover>> {
        self.read(|connection| load(connection))
    }

    fn history(&self, query: Query) -> Answer<'_, Vec<Entry>> {
        self.read(move |connection| history(connection, &query))
    }

    fn due(&self, now: Timestamp, limit: usize) -> Answer<'_, Vec<Outgoing>> {
        self.read(move |connection| outbox::due(connection, now, limit))
    }

    fn settle<'a>(&'a self, id: &'a str, fate: Fate) -> Answer<'a, ()> {
        let id = id.to_owned();
        self.write("save to", move |connection| outbox::settle(connection, &id, &fate))
    }
}

#[cfg(test)]
mod tests;
