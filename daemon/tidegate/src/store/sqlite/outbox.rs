//! The outbox as a table: what is due, what became of it, and what is forgotten.

use cutover::Timestamp;
use rusqlite::{Connection, params};

use super::unusable;
use crate::alert::Message;
use crate::store::{Fate, Outgoing, StoreError};

/// How many messages that were sent or given up are kept in the outbox, the newest ones.
const OUTBOX_MAX: i64 = 10_000;

/// Messages that are due, oldest first.
pub(super) fn due(connection: &Connection, now: Timestamp, limit: usize) -> Result<Vec<Outgoing>, StoreError> {
    let failed = unusable("read");
    let mut statement = connection
        .prepare("SELECT body, attempts FROM outbox WHERE due <= ? ORDER BY number LIMIT ?")
        .map_err(failed)?;
    let rows = statement
        .query_map(params![now.0, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?))
        })
        .map_err(failed)?;
    rows.map(|row| {
        let (body, attempts) = row.map_err(failed)?;
        let message = serde_json::from_str(&body).map_err(|error| StoreError::Unusable {
            doing: "read",
            why: format!("a message in the outbox is of a form that this version does not know: {error}"),
        })?;
        Ok(Outgoing { message, attempts })
    })
    .collect()
}

/// What became of a message.
pub(super) fn settle(connection: &Connection, id: &str, fate: &Fate) -> Result<(), StoreError> {
    let (due, sent, error) = match fate {
        Fate::Sent { at } => (None, Some(at.0), None),
        Fate::Postponed { until, error } => (Some(until.0), None, Some(error)),
        Fate::GivenUp { error } => (None, None, Some(error)),
    };
    connection
        .execute(
            "UPDATE outbox SET due = ?, sent = ?, error = ?, attempts = attempts + 1 WHERE id = ?",
            params![due, sent, error, id],
        )
        .map_err(unusable("save to"))?;
    Ok(())
}

/// Takes messages out of the delivery that this version cannot read, lest they stand before every other, and forgets the
/// oldest of those that are over.
pub(super) fn tidy(connection: &Connection) -> rusqlite::Result<()> {
    let waiting: Vec<(i64, String)> = connection
        .prepare("SELECT number, body FROM outbox WHERE due IS NOT NULL")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (number, body) in waiting {
        if let Err(error) = serde_json::from_str::<Message>(&body) {
            tracing::error!(number, %error, "an alert of another version cannot be read and is given up");
            let error = format!("of a form that this version does not know: {error}");
            connection.execute("UPDATE outbox SET due = NULL, error = ? WHERE number = ?", params![error, number])?;
        }
    }
    connection.execute(
        "DELETE FROM outbox WHERE due IS NULL AND number <= (SELECT max(number) FROM outbox) - ?",
        [OUTBOX_MAX],
    )?;
    Ok(())
}
