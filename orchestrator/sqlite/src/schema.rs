//! The tables, and the migration of files from earlier versions. SQLite's `user_version` contains
//! the number of migration steps that were applied.
//!
//! - An id is stored as its 16 bytes, which sort by time.
//! - A time is stored as milliseconds since 1970.
//! - Other values are stored as JSON text.

use rusqlite::Connection;

use crate::identity::APPLICATION_ID;

/// The migration steps. A released step must never change; append a new step instead.
const STEPS: &[&str] = &[
    "
    -- one row per write; rows are appended, and found by the index, so that many runs
    -- change few pages
    CREATE TABLE journal (
        id      INTEGER PRIMARY KEY,
        run     BLOB NOT NULL,
        seq     INTEGER NOT NULL,   -- number of the first entry
        next    INTEGER NOT NULL,   -- number after the last entry
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
        status     TEXT             -- how the run ended; NULL while it lives
    ) WITHOUT ROWID;
    CREATE INDEX runs_by_event ON runs (event, run);
    CREATE INDEX runs_by_function ON runs (function, run);
    CREATE INDEX runs_by_status ON runs (status, run);

    -- wakes that were sent and not acknowledged; deliveries to workers are known in memory only
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

    -- the cursor of the sweep, in one row
    CREATE TABLE cursor (
        n      INTEGER PRIMARY KEY CHECK (n = 1),
        cursor TEXT NOT NULL
    );

    -- tickets in wait queues; slots of steps are known in memory only
    CREATE TABLE places (
        key   TEXT NOT NULL,
        run   BLOB NOT NULL,
        step  TEXT NOT NULL,
        slots INTEGER NOT NULL,     -- slots of the limit when the ticket was written
        place TEXT NOT NULL,
        PRIMARY KEY (key, run, step)
    ) WITHOUT ROWID;
",
    "
    -- runs that wait for events, by the value of a field; path and value are empty for those
    -- that are checked one by one
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

    -- inboxes: events that arrived while their run registered its subscription
    CREATE TABLE offers (
        run   BLOB NOT NULL,
        event BLOB NOT NULL,
        PRIMARY KEY (run, event)
    ) WITHOUT ROWID;
",
    "
    -- flow state, which flow control keeps between starts
    CREATE TABLE notes (
        key   TEXT PRIMARY KEY,
        text  TEXT NOT NULL,
        until INTEGER NOT NULL     -- from this time on it may be deleted
    ) WITHOUT ROWID;
    CREATE INDEX notes_by_until ON notes (until);

    -- events that led to a run that another event created
    CREATE TABLE links (
        event BLOB NOT NULL,
        run   BLOB NOT NULL,
        PRIMARY KEY (event, run)
    ) WITHOUT ROWID;
    CREATE INDEX links_by_run ON links (run);

    -- runs that hold a slot until their end; slots of steps are known in memory only
    CREATE TABLE holders (
        key TEXT NOT NULL,
        run BLOB NOT NULL,
        PRIMARY KEY (key, run)
    ) WITHOUT ROWID;
",
    "
    -- apps that registered their functions at run time
    CREATE TABLE apps (
        app       TEXT PRIMARY KEY,
        address   TEXT NOT NULL,
        functions TEXT NOT NULL    -- the configs, as an array of JSON texts
    ) WITHOUT ROWID;

    -- how often the apps have changed, in one row
    CREATE TABLE registrations (
        n       INTEGER PRIMARY KEY CHECK (n = 1),
        version INTEGER NOT NULL
    );
    INSERT INTO registrations (n, version) VALUES (1, 0);
",
    "
    -- labels of runs
    CREATE TABLE labels (
        key   TEXT NOT NULL,
        value TEXT NOT NULL,
        run   BLOB NOT NULL,
        PRIMARY KEY (key, value, run)
    ) WITHOUT ROWID;
    CREATE INDEX labels_by_run ON labels (run);
",
    "
    -- events that ended a wait of a run
    CREATE TABLE deliveries (
        event BLOB NOT NULL,
        run   BLOB NOT NULL,
        PRIMARY KEY (event, run)
    ) WITHOUT ROWID;
    CREATE INDEX deliveries_by_run ON deliveries (run);

    -- how many runs were created, started and ended in five minutes, and how long they took
    CREATE TABLE trends (
        slot     INTEGER NOT NULL,  -- five minutes since 1970
        function TEXT NOT NULL,
        kind     INTEGER NOT NULL,  -- number of the TrendKind
        bin      INTEGER NOT NULL,  -- number of the DurationBin, or 0
        n        INTEGER NOT NULL,
        PRIMARY KEY (slot, function, kind, bin)
    ) WITHOUT ROWID;

    -- when the first step of a run started
    ALTER TABLE runs ADD COLUMN started_at INTEGER;
    UPDATE runs SET started_at = created_at
        WHERE status IS NULL AND EXISTS (SELECT 1 FROM journal WHERE journal.run = runs.run AND seq > 0);
    CREATE INDEX runs_unstarted ON runs (function) WHERE status IS NULL AND started_at IS NULL;
",
    "
    -- what describes an app, as JSON
    ALTER TABLE apps ADD COLUMN about TEXT;
",
    "
    -- what the runs that ended in an hour would cost on AWS, without concurrency limits
    CREATE TABLE run_costs (
        slot             INTEGER NOT NULL,  -- hours since 1970
        function         TEXT NOT NULL,
        runs             INTEGER NOT NULL,
        write_units      INTEGER NOT NULL,
        read_units       INTEGER NOT NULL,
        sqs_requests     INTEGER NOT NULL,
        invocations      INTEGER NOT NULL,
        attempts         INTEGER NOT NULL,
        executed_ms      INTEGER NOT NULL,
        saved_steps      INTEGER NOT NULL,
        saved_ms         INTEGER NOT NULL,
        saved_tokens     INTEGER NOT NULL,
        input_tokens     INTEGER NOT NULL,
        output_tokens    INTEGER NOT NULL,
        ai_micro_dollars INTEGER NOT NULL,
        unpriced         INTEGER NOT NULL,  -- number of runs with a model whose price is not known
        PRIMARY KEY (slot, function)
    ) WITHOUT ROWID;
",
];

/// The version of the files that this code writes: the number of migration steps.
pub(crate) const VERSION: usize = STEPS.len();

/// Returns the version of a file. An empty file has the version 0.
pub(crate) fn version(db: &Connection) -> rusqlite::Result<usize> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

/// Writes the application id into a file that has none.
pub(crate) fn write_application_id(db: &Connection) -> rusqlite::Result<()> {
    let id: i32 = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if id == APPLICATION_ID { Ok(()) } else { db.pragma_update(None, "application_id", APPLICATION_ID) }
}

/// Migrates a file from `version` to [`VERSION`]. Each step is a transaction.
pub(crate) fn migrate(db: &mut Connection, version: usize) -> rusqlite::Result<()> {
    for (i, step) in STEPS.iter().enumerate().skip(version) {
        let transaction = db.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", i64::try_from(i + 1).unwrap_or(i64::MAX))?;
        transaction.commit()?;
    }
    Ok(())
}
