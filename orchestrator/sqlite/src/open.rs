//! Opens a data file: acquires the lock, creates or migrates the tables, and loads the state that
//! the previous process left behind.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use stepladder_core::slot::{Holder, Ticket};
use stepladder_core::{RunId, Timestamp, Wake, WakeCause};
use stepladder_engine::clock::{Clock, SystemClock};
use stepladder_engine::local::{QueueMessages, WaitQueues};

use crate::error::SqliteError;
use crate::lock::DataFileLock;
use crate::memory::MemoryState;
use crate::readers::ReadConnections;
use crate::wal::BackgroundWalGrowth;
use crate::writer::JobWriter;
use crate::{Sqlite, rows, schema, wal};

/// Settings of the adapter.
#[derive(Clone)]
pub struct SqliteOptions {
    /// The clock for the delays of wakes.
    pub clock: Arc<dyn Clock>,
}

impl Default for SqliteOptions {
    /// Uses the system clock.
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock) }
    }
}

/// The reason why a data file cannot be opened. The message is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the file open.
    #[error("the data file `{}` is in use by another process; stop that process, or name another file with --db", db.display())]
    InUse {
        /// The data file.
        db: PathBuf,
    },
    /// The lock file cannot be created or locked.
    #[error("the lock `{}` cannot be acquired: {source}; check the rights and the free space of its folder, or name another file with --db", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A later version of this program wrote the file.
    #[error(
        "the data file `{}` has version {found}, but this program reads versions up to {known}; use the program that wrote it, or a newer one",
        db.display(),
        known = schema::VERSION
    )]
    Newer {
        /// The data file.
        db: PathBuf,
        /// The version of its tables.
        found: usize,
    },
    /// The file is a SQLite file of another program. It was not changed.
    #[error("`{}` is a SQLite file of another program and was not changed; name another file with --db", db.display())]
    Foreign {
        /// The path of the file.
        db: PathBuf,
    },
    /// The file is not a data file, is damaged, or cannot be read or written.
    #[error("the data file `{}` cannot be opened: {reason}", db.display())]
    Unusable {
        /// The data file.
        db: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
        /// The error that caused this one, if any.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl OpenError {
    pub(crate) fn unusable(db: &Path, reason: impl Into<String>) -> Self {
        Self::Unusable { db: db.to_owned(), reason: reason.into(), source: None }
    }

    pub(crate) fn unusable_by_io(db: &Path, reason: impl Into<String>, source: std::io::Error) -> Self {
        Self::Unusable { db: db.to_owned(), reason: reason.into(), source: Some(source.into()) }
    }
}

impl Sqlite {
    /// Opens a data file, and locks it under all of its names until the adapter is dropped.
    ///
    /// A missing file is created so that only its owner can read it. The folder of the file must
    /// exist.
    ///
    /// Wakes that the previous process received but did not acknowledge are delivered again. The
    /// slots of the previous process's steps are free, and the first tickets in the wait queues of
    /// these slots are woken.
    ///
    /// # Errors
    /// An [`OpenError`] if the file is in use, is not a data file, or cannot be written.
    pub fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let lock = DataFileLock::acquire(path)?;
        let unusable = |error: SqliteError| {
            let store_error = error.into_store_error();
            let reason = store_error.reason().to_owned();
            OpenError::Unusable { db: path.to_owned(), reason, source: Some(store_error.into()) }
        };
        let mut db = connect(lock.path()).map_err(|error| unusable(error.into()))?;
        let found = schema::version(&db).map_err(|error| unusable(error.into()))?;
        if found > schema::VERSION {
            return Err(OpenError::Newer { db: path.to_owned(), found });
        }
        schema::migrate(&mut db, found).map_err(|error| unusable(error.into()))?;
        check_writable(&mut db).map_err(|error| unusable(error.into()))?;
        let (messages, latest) = load_queue(&mut db, options.clock.now()).map_err(unusable)?;
        let wait_queues = load_wait_queues(&db).map_err(unusable)?;
        let memory = Arc::new(MemoryState::new(messages, wait_queues));
        let writer = JobWriter::start(db, memory.clone()).map_err(|error| {
            OpenError::unusable_by_io(path, format!("its writer cannot be started: {error}"), error)
        })?;
        let readers = Arc::new(ReadConnections::new(lock.path()));
        Ok(Self {
            clock: options.clock,
            readers,
            writer,
            memory,
            latest_wake: AtomicI64::new(latest),
            _log_growth: BackgroundWalGrowth::start_growth(lock.path()),
            _lock: lock,
        })
    }
}

/// Checks that the data file can be written, so that a problem is found at startup and not at the
/// first event. A full disk does not prevent the start, because there may be space soon.
fn check_writable(db: &mut Connection) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let result = transaction.pragma_update(None, "user_version", version).and_then(|()| transaction.commit());
    match result {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
            tracing::warn!("the disk is full; free some space, then work continues without a restart");
            Ok(())
        }
        result => result,
    }
}

/// Opens the connection for writing.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    cache_statements(&db)?;
    // this comes before the write-ahead log exists, so that the id is in the file itself, where
    // other programs can read it
    schema::write_application_id(&db)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "full")?;
    db.pragma_update(None, "temp_store", "memory")?;
    db.pragma_update(None, "wal_autocheckpoint", wal::CHECKPOINT_PAGES)?;
    Ok(db)
}

/// Makes SQLite compile each statement only once. Without the "stability guarantee" of the query
/// planner, a build with STAT4 compiles a statement again if a bound value may change its plan
/// (<https://sqlite.org/queryplanner-ng.html#qpstab>).
pub(crate) fn cache_statements(db: &Connection) -> rusqlite::Result<()> {
    db.set_prepared_statement_cache_capacity(64);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Loads the queue that the previous process left behind, and adds a wake for each ticket that may
/// get a slot now. Also returns the number of the latest wake.
fn load_queue(db: &mut Connection, now: Timestamp) -> Result<(QueueMessages, i64), SqliteError> {
    let promoted = promotable_tickets(db)?;
    let mut messages = QueueMessages::default();
    let mut latest = 0;
    {
        let mut query = db.prepare("SELECT n, due, wake FROM wakes ORDER BY n")?;
        let mut found = query.query([])?;
        while let Some(row) = found.next()? {
            latest = row.get(0)?;
            messages.send(latest, rows::from_json(row, 2)?, Timestamp::from_millis(row.get(1)?));
        }
    }
    let transaction = db.transaction()?;
    for wake in promoted {
        latest += 1;
        let text = serde_json::to_string(&wake)?;
        transaction.execute("INSERT INTO wakes (n, due, wake) VALUES (?1, ?2, ?3)", (latest, now.as_millis(), text))?;
        messages.send(latest, wake, now);
    }
    transaction.commit()?;
    Ok((messages, latest))
}

/// Returns a wake for each ticket that may get a slot now. All slots are free, except those that a
/// run holds until its end.
fn promotable_tickets(db: &Connection) -> Result<Vec<Wake>, SqliteError> {
    let mut waiting: HashMap<Arc<str>, (usize, Vec<Ticket>)> = HashMap::new();
    let mut held: HashMap<Arc<str>, usize> = HashMap::new();
    load_holders(db)?.into_iter().for_each(|(key, _)| *held.entry(key).or_default() += 1);
    let mut query = db.prepare("SELECT key, slots, place FROM places")?;
    let mut found = query.query([])?;
    while let Some(row) = found.next()? {
        let (slots, tickets) = waiting.entry(row.get(0)?).or_default();
        *slots = (*slots).max(row.get::<_, u32>(1)? as usize);
        tickets.push(rows::from_json(row, 2)?);
    }
    let mut wakes = Vec::new();
    for (key, (slots, mut tickets)) in waiting {
        tickets.sort_unstable();
        let free = slots.saturating_sub(held.get(&key).copied().unwrap_or(0));
        for Ticket { run, of, .. } in tickets.into_iter().take(free) {
            wakes.push(Wake { run, cause: WakeCause::of_ticket(of), group: key.clone() });
        }
    }
    Ok(wakes)
}

/// Returns the runs that hold a slot until they end, each with the key of the limit.
fn load_holders(db: &Connection) -> Result<Vec<(Arc<str>, RunId)>, SqliteError> {
    let mut query = db.prepare("SELECT key, run FROM holders")?;
    let found = query.query_map([], |row| Ok((row.get(0)?, RunId::from_bytes(row.get(1)?))))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn load_wait_queues(db: &Connection) -> Result<WaitQueues, SqliteError> {
    let mut queues = WaitQueues::default();
    for (key, run) in load_holders(db)? {
        queues
            .change(&key, |queue| queue.acquire(u32::MAX, &Holder::Run(run), Timestamp::MAX, Timestamp::default()))
            // the slot is always acquired, because there is a free one
            .ok();
    }
    let mut query = db.prepare("SELECT key, place FROM places")?;
    let mut found = query.query([])?;
    while let Some(row) = found.next()? {
        let (key, ticket) = (row.get(0)?, rows::from_json(row, 1)?);
        queues.change(&key, |queue| queue.enqueue(ticket));
    }
    Ok(queues)
}
