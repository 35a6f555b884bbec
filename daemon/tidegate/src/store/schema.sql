-- The journal, layout 1. Anyone can check the chain with sqlite3 and sha256sum: the hash of an entry is SHA-256 over
-- the previous hash and id, service, cutover, at and body, each on a line of its own.
CREATE TABLE entry (
    id      INTEGER PRIMARY KEY,          -- from 1, without gaps
    service TEXT    NOT NULL,
    cutover TEXT    NOT NULL,
    at      INTEGER NOT NULL,             -- milliseconds since 1970
    body    TEXT    NOT NULL,             -- event, next, commands, reason and version, as JSON
    hash    TEXT    NOT NULL              -- hexadecimal
) STRICT;
CREATE INDEX entry_service ON entry (service, id);
CREATE INDEX entry_cutover ON entry (cutover, id);

CREATE TRIGGER entry_is_never_changed BEFORE UPDATE ON entry
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER entry_is_never_removed BEFORE DELETE ON entry
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

-- Where the chain ends: without it, entries cut off at the end would not show.
CREATE TABLE head (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    id   INTEGER NOT NULL,
    hash TEXT    NOT NULL
) STRICT;
INSERT INTO head VALUES (1, 0, '');

-- What changes without a decision; overwrites itself. Older than the service's last entry it means nothing.
CREATE TABLE state (
    service TEXT    PRIMARY KEY,
    entry   INTEGER NOT NULL,
    body    TEXT    NOT NULL
) STRICT;

-- One row for each counted interval, so that charts and numbers can be computed again. Not part of the chain.
CREATE TABLE sample (
    cutover TEXT    NOT NULL,
    at      INTEGER NOT NULL,             -- the interval's end, milliseconds since 1970
    body    TEXT    NOT NULL,             -- counts, shares and verdicts, as JSON
    PRIMARY KEY (cutover, at)
) STRICT, WITHOUT ROWID;

CREATE TABLE lease (
    service TEXT    PRIMARY KEY,
    token   INTEGER NOT NULL,
    holder  TEXT    NOT NULL,
    since   INTEGER NOT NULL
) STRICT;

CREATE TABLE outbox (
    number   INTEGER PRIMARY KEY,
    id       TEXT    NOT NULL UNIQUE,
    body     TEXT    NOT NULL,
    due      INTEGER,                      -- NULL once it was sent or given up
    attempts INTEGER NOT NULL DEFAULT 0,
    sent     INTEGER,
    error    TEXT
) STRICT;
CREATE INDEX outbox_due ON outbox (due) WHERE due IS NOT NULL;
