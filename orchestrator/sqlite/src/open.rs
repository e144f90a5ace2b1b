//! Opening a data file: the lock, the tables, and the estate of the process that had it before.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use stepladder_core::slot::{Holder, Ticket};
use stepladder_core::{RunId, Timestamp, Wake, WakeCause};
use stepladder_engine::clock::{Clock, SystemClock};
use stepladder_engine::local::{Messages, WaitQueues};

use crate::fault::Fault;
use crate::held::Held;
use crate::lock::Lock;
use crate::readers::Readers;
use crate::wal::Stretching;
use crate::writer::Writer;
use crate::{Sqlite, rows, schema, wal};

/// How the adapter works.
#[derive(Clone)]
pub struct Options {
    /// What the queue's delays are measured with.
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    /// The machine's clock.
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock) }
    }
}

/// Why a data file cannot be opened. Each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum OpenError {
    /// Another process has it.
    #[error("the data file `{}` is in use by another process; stop that one, or name another file with --db", db.display())]
    InUse { db: PathBuf },
    /// The lock's file cannot be made or locked.
    #[error("the lock `{}` cannot be taken: {error}; check the folder's rights and its free space, or name another file with --db", path.display())]
    Lock { path: PathBuf, error: std::io::Error },
    /// It was written by a later version of this program.
    #[error(
        "the data file `{}` has version {found}, this program knows {known}; use the program that wrote it, or a newer one",
        db.display(),
        known = schema::VERSION
    )]
    Newer { db: PathBuf, found: usize },
    /// It is a SQLite file of another program. It is left as it is.
    #[error("`{}` is a SQLite file of another program, and is left as it is; name another file with --db", db.display())]
    Foreign { db: PathBuf },
    /// It is no data file, is damaged, or cannot be read or written.
    #[error("the data file `{}` cannot be opened: {why}", db.display())]
    Unusable { db: PathBuf, why: String },
}

impl Sqlite {
    /// Opens a data file, or makes it, for its owner alone; its folder must exist. Locks it for as long as the adapter
    /// lives, under all of its names.
    ///
    /// Whatever the process before had received and not acknowledged is delivered again, the slots that it held are
    /// free, and those who are first in line for them are woken.
    ///
    /// # Errors
    /// [`OpenError`], in one line.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let lock = Lock::take(path)?;
        let unusable = |fault: Fault| OpenError::Unusable {
            db: path.to_owned(),
            why: fault.into_store_error().reason().to_owned(),
        };
        let mut db = connect(lock.path()).map_err(|error| unusable(error.into()))?;
        let found = schema::version(&db).map_err(|error| unusable(error.into()))?;
        if found > schema::VERSION {
            return Err(OpenError::Newer { db: path.to_owned(), found });
        }
        schema::migrate(&mut db, found).map_err(|error| unusable(error.into()))?;
        try_to_write(&mut db).map_err(|error| unusable(error.into()))?;
        let (messages, latest) = queued(&mut db, options.clock.now()).map_err(unusable)?;
        let lines = lines(&db).map_err(unusable)?;
        let held = Arc::new(Held::new(messages, lines));
        let writer = Writer::start(db, held.clone())
            .map_err(|error| OpenError::Unusable { db: path.to_owned(), why: error.to_string() })?;
        let readers = Arc::new(Readers::new(lock.path()));
        Ok(Self {
            clock: options.clock,
            readers,
            writer,
            held,
            wakes: AtomicI64::new(latest),
            _stretching: Stretching::start(lock.path()),
            _lock: lock,
        })
    }
}

/// Finds out at the start, and not with the first event, that the data file or its folder cannot be written. A full disk
/// is no reason not to start: there may be room soon.
fn try_to_write(db: &mut Connection) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let written = transaction.pragma_update(None, "user_version", version).and_then(|()| transaction.commit());
    match written {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
            tracing::warn!("the disk is full; free some space, the work goes on by itself");
            Ok(())
        }
        written => written,
    }
}

/// The connection that writes.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    keep_statements(&db)?;
    // in the file itself before there is a log: it tells the file from those of other programs
    schema::sign(&db)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "full")?;
    db.pragma_update(None, "temp_store", "memory")?;
    db.pragma_update(None, "wal_autocheckpoint", wal::PAGES)?;
    Ok(db)
}

/// Statements are compiled once. Without the planner's "stability guarantee", a build with STAT4 compiles a statement
/// again whenever a value is bound that may sway its plan (<https://sqlite.org/queryplanner-ng.html#qpstab>).
pub(crate) fn keep_statements(db: &Connection) -> rusqlite::Result<()> {
    db.set_prepared_statement_cache_capacity(64);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// The queue as the process before left it, plus a wake for each that may have a slot now; and the latest number.
fn queued(db: &mut Connection, now: Timestamp) -> Result<(Messages, i64), Fault> {
    let heads = heads(db)?;
    let mut messages = Messages::default();
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
    for wake in heads {
        latest += 1;
        let text = serde_json::to_string(&wake)?;
        transaction.execute("INSERT INTO wakes (n, due, wake) VALUES (?1, ?2, ?3)", (latest, now.as_millis(), text))?;
        messages.send(latest, wake, now);
    }
    transaction.commit()?;
    Ok((messages, latest))
}

/// As many of each line as its limit has slots: all are free that no run holds for as long as it lives.
fn heads(db: &Connection) -> Result<Vec<Wake>, Fault> {
    let mut waiting: HashMap<Arc<str>, (usize, Vec<Ticket>)> = HashMap::new();
    let mut held: HashMap<Arc<str>, usize> = HashMap::new();
    holders(db)?.into_iter().for_each(|(key, _)| *held.entry(key).or_default() += 1);
    let mut query = db.prepare("SELECT key, slots, place FROM places")?;
    let mut found = query.query([])?;
    while let Some(row) = found.next()? {
        let (slots, places) = waiting.entry(row.get(0)?).or_default();
        *slots = (*slots).max(row.get::<_, u32>(1)? as usize);
        places.push(rows::from_json(row, 2)?);
    }
    let mut wakes = Vec::new();
    for (key, (slots, mut places)) in waiting {
        places.sort_unstable();
        let free = slots.saturating_sub(held.get(&key).copied().unwrap_or(0));
        for Ticket { run, step, .. } in places.into_iter().take(free) {
            let cause = if step.is_empty() { WakeCause::Slot } else { WakeCause::Step(step) };
            wakes.push(Wake { run, cause, group: key.clone() });
        }
    }
    Ok(wakes)
}

/// The runs that hold a slot for as long as they live, and of which limit.
fn holders(db: &Connection) -> Result<Vec<(Arc<str>, RunId)>, Fault> {
    let mut query = db.prepare("SELECT key, run FROM holders")?;
    let found = query.query_map([], |row| Ok((row.get(0)?, RunId::from_bytes(row.get(1)?))))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn lines(db: &Connection) -> Result<WaitQueues, Fault> {
    let mut lines = WaitQueues::default();
    for (key, run) in holders(db)? {
        lines.change(&key, |line| line.acquire(u32::MAX, &Holder::of_run(run), Timestamp::MAX, Timestamp::default()));
    }
    let mut query = db.prepare("SELECT key, place FROM places")?;
    let mut found = query.query([])?;
    while let Some(row) = found.next()? {
        let (key, place) = (row.get(0)?, rows::from_json(row, 1)?);
        lines.change(&key, |line| line.enqueue(place));
    }
    Ok(lines)
}
