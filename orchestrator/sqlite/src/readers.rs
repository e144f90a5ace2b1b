//! Connections that read. One is opened whenever all are in use, so there are as many as threads that read at once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};
use stepladder_engine::ports::{StoreError, StoreResult};

use crate::fault::Fault;
use crate::open::keep_statements;

/// Connections that are kept for later.
const IDLE: usize = 16;

pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Mutex::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads on this thread: for what is a look-up and a few rows, and takes microseconds.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Connection) -> Result<T, Fault>) -> StoreResult<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let db = match idle {
            Some(db) => db,
            None => self.connect().map_err(|error| Fault::from(error).into_store_error())?,
        };
        let result = look(&db).map_err(Fault::into_store_error);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(db);
        }
        result
    }

    /// Reads on a thread for blocking work: for what may look at many rows.
    pub(crate) async fn list<T: Send + 'static>(
        self: &Arc<Self>,
        look: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> StoreResult<T> {
        let readers = self.clone();
        let listed = tokio::task::spawn_blocking(move || readers.read(look)).await;
        listed.unwrap_or_else(|error| Err(StoreError::Unavailable(format!("a listing was cut short: {error}"))))
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&self.path, flags)?;
        keep_statements(&db)?;
        db.pragma_update(None, "query_only", true)?;
        Ok(db)
    }
}
