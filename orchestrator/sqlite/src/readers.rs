//! The connections for reading. If all are in use, another one is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use stepladder_engine::ports::{StoreError, StoreResult};

use crate::error::SqliteError;
use crate::open::cache_statements;

/// The maximum number of idle connections that are kept open.
const MAX_IDLE: usize = 16;

pub(crate) struct ReadConnections {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl ReadConnections {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Mutex::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Executes a query on this thread. Use this for a look-up of a few rows, which takes
    /// microseconds.
    pub(crate) fn read<T>(&self, query: impl FnOnce(&Connection) -> Result<T, SqliteError>) -> StoreResult<T> {
        let idle = self.idle.lock().pop();
        let db = match idle {
            Some(db) => db,
            None => self.connect().map_err(|error| SqliteError::from(error).into_store_error())?,
        };
        let result = query(&db).map_err(SqliteError::into_store_error);
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.push(db);
        }
        result
    }

    /// Executes a query on a thread for blocking work. Use this for queries that may visit many
    /// rows.
    pub(crate) async fn list<T: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&Connection) -> Result<T, SqliteError> + Send + 'static,
    ) -> StoreResult<T> {
        let readers = self.clone();
        let result = tokio::task::spawn_blocking(move || readers.read(query)).await;
        result.unwrap_or_else(|error| Err(StoreError::Unavailable(format!("a query was interrupted: {error}").into())))
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&self.path, flags)?;
        cache_statements(&db)?;
        db.pragma_update(None, "query_only", true)?;
        Ok(db)
    }
}
