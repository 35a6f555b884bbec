//! The journal. The port, and in files of their own the adapters: [`sqlite`].
//!
//! The journal is the truth and a cutover's state is its last entry. A decision is appended before its commands are
//! carried out. What changes with every interval (the judge's evidence) is saved beside the journal and overwrites
//! itself. Entries form one chain: each holds the hash of the one before it, so that an edited or missing entry shows.
//!
//! Who writes holds a [`Lease`] on the service, with a fencing token that grows each time the lease changes hands: a
//! writer that lost its lease without noticing is refused by the store itself. On one machine an operating system lock
//! keeps a second daemon out altogether; an engine shared by several daemons needs the token.

pub mod sample;
pub mod sqlite;

pub use sample::Sample;

use cutover::{Command, Cutover, Event, Reason, Timestamp};
use serde::{Deserialize, Serialize};

use crate::alert::Message;
use crate::port::Answer;

/// The right to write for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Which service.
    pub service: String,
    /// Grows each time the lease is taken; the store refuses a lower one than the last it gave out.
    pub token: u64,
}

/// A decision that is not in the journal yet.
#[derive(Clone, Debug)]
pub struct Draft {
    /// When it was decided.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
    /// The cutover from then on.
    pub next: Cutover,
    /// What was asked for.
    pub commands: Vec<Command>,
    /// Why.
    pub reason: Reason,
    /// Alerts among the commands, one message for each receiver; they reach the outbox with the entry or not at all.
    pub messages: Vec<Message>,
}

/// One line of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its number in the journal, from 1, without gaps.
    pub id: u64,
    /// Which service it is about.
    pub service: String,
    /// Which cutover it is about.
    pub cutover: String,
    /// When it was decided.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
    /// The cutover from then on, whole.
    pub next: Cutover,
    /// What was asked for.
    pub commands: Vec<Command>,
    /// Why.
    pub reason: Reason,
    /// The version of the program that decided.
    pub version: String,
    /// SHA-256 over the previous entry's hash and this entry, in hexadecimal.
    pub hash: String,
}

/// Which entries are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Only of this service.
    pub service: Option<String>,
    /// Only of this cutover.
    pub cutover: Option<String>,
    /// Only those after this entry.
    pub after: u64,
    /// At most so many; the store answers at most [`ENTRIES_MAX`].
    pub limit: usize,
    /// Which of them, where there are more than `limit`.
    pub end: End,
}

/// The end of the journal that is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// The first ones.
    #[default]
    Oldest,
    /// The last ones; they too are answered oldest first.
    Newest,
}

/// The most entries in one answer.
pub const ENTRIES_MAX: usize = 1000;

/// A message in the outbox with its fate so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The message.
    pub message: Message,
    /// How often it was tried.
    pub attempts: u32,
}

/// A place where decisions are kept.
pub trait Store: Send + Sync {
    /// Takes the lease on a service; who held it before is fenced off.
    ///
    /// # Errors
    /// When the store cannot be written, or somebody alive holds the lease.
    fn lease<'a>(&'a self, service: &'a str, holder: &'a str, now: Timestamp) -> Answer<'a, Lease>;

    /// Appends a decision; when it returns, the entry is on disk. The answer is the entry's number.
    ///
    /// # Errors
    /// When it is not known to be on disk, and when the lease was lost ([`StoreError::Fenced`], never to be retried).
    fn append<'a>(&'a self, lease: &'a Lease, draft: Draft) -> Answer<'a, u64>;

    /// Overwrites the state of a cutover beside its last entry: what changed without a decision.
    ///
    /// # Errors
    /// As for `append`.
    fn save<'a>(&'a self, lease: &'a Lease, state: &'a Cutover) -> Answer<'a, ()>;

    /// Keeps one counted interval beside the journal, for charts and for whoever computes the numbers again. The newest
    /// [`sample::SAMPLES_MAX`] of a cutover are kept.
    ///
    /// # Errors
    /// As for `append`.
    fn keep<'a>(&'a self, lease: &'a Lease, cutover: &'a str, sample: &'a Sample) -> Answer<'a, ()>;

    /// The kept intervals of a cutover, oldest first.
    ///
    /// # Errors
    /// As for `load`.
    fn samples<'a>(&'a self, cutover: &'a str) -> Answer<'a, Vec<Sample>>;

    /// The latest state of each service's last cutover.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what this version cannot read.
    fn load(&self) -> Answer<'_, Vec<Cutover>>;

    /// Entries, oldest first.
    ///
    /// # Errors
    /// As for `load`.
    fn history(&self, query: Query) -> Answer<'_, Vec<Entry>>;

    /// Messages that are due, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn due(&self, now: Timestamp, limit: usize) -> Answer<'_, Vec<Outgoing>>;

    /// What became of a message.
    ///
    /// # Errors
    /// When the store cannot be written: the message will be sent again.
    fn settle<'a>(&'a self, id: &'a str, fate: Fate) -> Answer<'a, ()>;
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The receiver has it.
    Sent {
        /// When.
        at: Timestamp,
    },
    /// It is tried again.
    Postponed {
        /// Not before then.
        until: Timestamp,
        /// What went wrong.
        error: String,
    },
    /// It is not tried again.
    GivenUp {
        /// What went wrong last.
        error: String,
    },
}

/// What can be wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another daemon works on it.
    #[error("the journal `{path}` is in use by another tidegate; stop that one, or give this one its own `state_dir`")]
    Locked {
        /// The journal's path.
        path: String,
    },
    /// It cannot be opened.
    #[error("cannot open the journal `{path}`: {why}")]
    Open {
        /// The journal's path.
        path: String,
        /// What the system said.
        why: String,
    },
    /// It was written by a version with another layout.
    #[error(
        "the journal `{path}` has layout {found}, and this tidegate reads layout {ours}; run the version that wrote it, \
         or move the file away to start with an empty journal once every cutover in it has ended"
    )]
    Version {
        /// The journal's path.
        path: String,
        /// Its layout.
        found: i64,
        /// The layout of this version.
        ours: i64,
    },
    /// An entry was changed or is missing.
    #[error(
        "the journal `{path}` is broken at entry {entry}: {what}; someone edited it or the disk is failing. Nothing \
         runs on it: read the weights of the balancer yourself, keep the file as evidence, restore it from a backup, or \
         move it away to start with an empty one"
    )]
    Broken {
        /// The journal's path.
        path: String,
        /// The first entry that does not fit.
        entry: u64,
        /// What is wrong with it.
        what: String,
    },
    /// Someone else has taken over.
    #[error(
        "the lease on `{service}` was taken over (our token {ours}, the journal's {theirs}); this daemon must not write"
    )]
    Fenced {
        /// The service.
        service: String,
        /// Our token.
        ours: u64,
        /// The token in force.
        theirs: u64,
    },
    /// It cannot be written or read now.
    #[error("cannot {doing} the journal: {why}")]
    Unusable {
        /// What was being done: `append to`, `save to`, `read`.
        doing: &'static str,
        /// What the engine said.
        why: String,
    },
}
