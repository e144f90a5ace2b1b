//! The jobs that the writer executes.

use rusqlite::Connection;
use stepladder_engine::ports::{StoreError, StoreResult};
use tokio::sync::oneshot;

use crate::error::SqliteError;
use crate::memory::MemoryState;

/// The time by which the changes of a job must be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Before the job is answered.
    Synced,
    /// With the next transaction that is synced.
    NextSync,
}

pub(crate) trait Job: Send {
    fn durability(&self) -> Durability;

    /// Executes the job within a transaction. The job is executed again after a rollback.
    fn work(&mut self, db: &Connection) -> Result<(), SqliteError>;

    /// Handles the commit.
    fn succeed(self: Box<Self>, memory: &MemoryState);

    /// Handles a failure in a transaction of its own. A returned job is retried later.
    fn fail(self: Box<Self>, error: StoreError) -> Option<Box<dyn Job>>;
}

/// A job with a caller that waits for the result.
pub(super) struct Task<T, W, A> {
    durability: Durability,
    work: W,
    after: A,
    result: Option<T>,
    reply: oneshot::Sender<StoreResult<T>>,
}

impl<T, W, A> Task<T, W, A> {
    pub(super) fn new(durability: Durability, work: W, after: A, reply: oneshot::Sender<StoreResult<T>>) -> Self {
        Self { durability, work, after, result: None, reply }
    }
}

impl<T, W, A> Job for Task<T, W, A>
where
    T: Send + 'static,
    W: FnMut(&Connection) -> Result<T, SqliteError> + Send + 'static,
    A: FnOnce(&T, &MemoryState) + Send + 'static,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn work(&mut self, db: &Connection) -> Result<(), SqliteError> {
        self.result = Some((self.work)(db)?);
        Ok(())
    }

    fn succeed(self: Box<Self>, memory: &MemoryState) {
        let Some(result) = self.result else { return };
        (self.after)(&result, memory);
        // the caller may have been dropped
        let _ = self.reply.send(Ok(result));
    }

    fn fail(self: Box<Self>, error: StoreError) -> Option<Box<dyn Job>> {
        let _ = self.reply.send(Err(error));
        None
    }
}

/// A job without a waiting caller. It is retried until it succeeds.
pub(super) struct BackgroundJob<W> {
    work: W,
    /// Whether a failure was logged. A full disk makes it fail with each transaction.
    is_logged: bool,
}

impl<W> BackgroundJob<W> {
    pub(super) fn new(work: W) -> Self {
        Self { work, is_logged: false }
    }
}

impl<W> Job for BackgroundJob<W>
where
    W: FnMut(&Connection) -> Result<(), SqliteError> + Send + 'static,
{
    fn durability(&self) -> Durability {
        Durability::NextSync
    }

    fn work(&mut self, db: &Connection) -> Result<(), SqliteError> {
        (self.work)(db)
    }

    fn succeed(self: Box<Self>, _: &MemoryState) {}

    fn fail(mut self: Box<Self>, error: StoreError) -> Option<Box<dyn Job>> {
        if !std::mem::replace(&mut self.is_logged, true) {
            tracing::warn!(%error, "a change of a wait queue could not be written; it is retried");
        }
        Some(self)
    }
}
