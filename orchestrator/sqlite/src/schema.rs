//! The tables, and how a file of an earlier version becomes one of this version. `user_version` counts the steps.
//!
//! Ids are their 16 bytes, which sort by time; times are milliseconds since 1970; values are JSON text.

use rusqlite::Connection;

use crate::identity::APPLICATION;

/// One step each; what has been released is never changed, only followed by another.
const STEPS: &[&str] = &[
    "
    -- one row a write; appended to at the end, and found through its index, so that many runs at once dirty few pages
    CREATE TABLE journal (
        id      INTEGER PRIMARY KEY,
        run     BLOB NOT NULL,
        seq     INTEGER NOT NULL,   -- of the first entry
        next    INTEGER NOT NULL,   -- after the last entry
        token   BLOB NOT NULL,
        code    TEXT NOT NULL,
        entries TEXT NOT NULL
    );
    CREATE UNIQUE INDEX journal_by_run ON journal (run, seq, next);

    CREATE TABLE events (
        n           INTEGER PRIMARY KEY,
        id          BLOB NOT NULL UNIQUE,
        external_id TEXT,
        received_at INTEGER NOT NULL,
        event       TEXT NOT NULL
    );
    CREATE INDEX events_by_external_id ON events (external_id) WHERE external_id IS NOT NULL;

    CREATE TABLE runs (
        run        BLOB PRIMARY KEY,
        function   TEXT NOT NULL,
        event      BLOB NOT NULL,
        created_at INTEGER NOT NULL,
        ended_at   INTEGER,
        status     TEXT             -- of the end; NULL while the run lives
    ) WITHOUT ROWID;
    CREATE INDEX runs_by_event ON runs (event, run);
    CREATE INDEX runs_by_function ON runs (function, run);
    CREATE INDEX runs_by_status ON runs (status, run);

    -- what has been sent and not acknowledged; which of it is out with a worker is known in memory only
    CREATE TABLE wakes (
        n    INTEGER PRIMARY KEY,
        due  INTEGER NOT NULL,
        wake TEXT NOT NULL
    );

    CREATE TABLE timers (
        minute  INTEGER NOT NULL,
        due     INTEGER NOT NULL,
        run     BLOB NOT NULL,
        purpose TEXT NOT NULL,
        timer   TEXT NOT NULL,
        PRIMARY KEY (minute, due, run, purpose)
    ) WITHOUT ROWID;

    -- the one cursor of the sweep
    CREATE TABLE cursor (
        n      INTEGER PRIMARY KEY CHECK (n = 1),
        cursor TEXT NOT NULL
    );

    -- places in waiting lines; those who hold slots are known in memory only
    CREATE TABLE places (
        key   TEXT NOT NULL,
        run   BLOB NOT NULL,
        step  TEXT NOT NULL,
        slots INTEGER NOT NULL,     -- how many the limit had when the place was taken
        place TEXT NOT NULL,
        PRIMARY KEY (key, run, step)
    ) WITHOUT ROWID;
",
    "
    -- who waits for events: under the value of a field, or (both empty) among those who are looked at one by one
    CREATE TABLE waiters (
        event   TEXT NOT NULL,
        path    TEXT NOT NULL,
        value   TEXT NOT NULL,
        run     BLOB NOT NULL,
        step    TEXT NOT NULL,
        until   INTEGER NOT NULL,
        PRIMARY KEY (event, path, value, run, step)
    ) WITHOUT ROWID;
    CREATE INDEX waiters_by_run ON waiters (run);

    -- inboxes: events that met a run while it registered
    CREATE TABLE offers (
        run   BLOB NOT NULL,
        event BLOB NOT NULL,
        PRIMARY KEY (run, event)
    ) WITHOUT ROWID;
",
    "
    -- what flow control keeps between starts
    CREATE TABLE notes (
        key   TEXT PRIMARY KEY,
        text  TEXT NOT NULL,
        until INTEGER NOT NULL     -- from then on it may be deleted
    ) WITHOUT ROWID;
    CREATE INDEX notes_by_until ON notes (until);

    -- events that led to a run that another one created
    CREATE TABLE links (
        event BLOB NOT NULL,
        run   BLOB NOT NULL,
        PRIMARY KEY (event, run)
    ) WITHOUT ROWID;
    CREATE INDEX links_by_run ON links (run);

    -- runs that hold a slot for as long as they live; what steps hold is known in memory only
    CREATE TABLE holders (
        key TEXT NOT NULL,
        run BLOB NOT NULL,
        PRIMARY KEY (key, run)
    ) WITHOUT ROWID;
",
];

/// The version that this code writes.
pub(crate) const VERSION: usize = STEPS.len();

/// The version of a file; 0 for an empty one.
pub(crate) fn version(db: &Connection) -> rusqlite::Result<usize> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

/// Writes into a file that it is ours, where that is missing.
pub(crate) fn sign(db: &Connection) -> rusqlite::Result<()> {
    let id: i32 = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if id == APPLICATION { Ok(()) } else { db.pragma_update(None, "application_id", APPLICATION) }
}

/// Brings a file from `version` to this version. Each step is a transaction.
pub(crate) fn migrate(db: &mut Connection, version: usize) -> rusqlite::Result<()> {
    for (i, step) in STEPS.iter().enumerate().skip(version) {
        let transaction = db.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", i64::try_from(i + 1).unwrap_or(i64::MAX))?;
        transaction.commit()?;
    }
    Ok(())
}
