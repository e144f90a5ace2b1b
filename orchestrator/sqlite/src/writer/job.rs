//! The jobs that the writer executes.

use stepladder_engine::ports::{StoreError, StoreResult};
use tokio::sync::oneshot;

use super::WriteTransaction;
use crate::error::SqliteError;
use crate::memory::MemoryState;

/// When the changes of a job must be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Before the caller gets the result of the job.
    Synced,
    /// When the next synced transaction is committed.
    NextSync,
}

pub(crate) trait WriteJob: Send {
    fn durability(&self) -> Durability;

    /// Executes the job within a transaction. If the transaction is rolled back, the job is
    /// executed again.
    fn work(&mut self, db: &WriteTransaction<'_>) -> Result<(), SqliteError>;

    /// Reports the success of the job, after its transaction was committed.
    fn succeed(self: Box<Self>, memory: &MemoryState);

    /// Reports that the job failed in its own transaction. If the job is returned, it is retried
    /// later.
    fn fail(self: Box<Self>, error: StoreError) -> Option<Box<dyn WriteJob>>;
}

/// A job with a caller that waits for the result.
pub(super) struct AwaitedJob<T, W, A> {
    durability: Durability,
    work: W,
    after: A,
    result: Option<T>,
    reply: oneshot::Sender<StoreResult<T>>,
}

impl<T, W, A> AwaitedJob<T, W, A> {
    pub(super) fn new(durability: Durability, work: W, after: A, reply: oneshot::Sender<StoreResult<T>>) -> Self {
        Self { durability, work, after, result: None, reply }
    }
}

impl<T, W, A> WriteJob for AwaitedJob<T, W, A>
where
    T: Send + 'static,
    W: FnMut(&WriteTransaction<'_>) -> Result<T, SqliteError> + Send + 'static,
    A: FnOnce(&T, &MemoryState) + Send + 'static,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn work(&mut self, db: &WriteTransaction<'_>) -> Result<(), SqliteError> {
        self.result = Some((self.work)(db)?);
        Ok(())
    }

    fn succeed(self: Box<Self>, memory: &MemoryState) {
        let Some(result) = self.result else { return };
        (self.after)(&result, memory);
        // the caller may have been dropped
        let _ = self.reply.send(Ok(result));
    }

    fn fail(self: Box<Self>, error: StoreError) -> Option<Box<dyn WriteJob>> {
        let _ = self.reply.send(Err(error));
        None
    }
}

/// A job without a waiting caller. It is retried until it succeeds.
pub(super) struct BackgroundJob<W> {
    work: W,
    /// Whether a failure of this job was already logged. On a full disk, the job fails in each
    /// transaction.
    is_logged: bool,
}

impl<W> BackgroundJob<W> {
    pub(super) fn new(work: W) -> Self {
        Self { work, is_logged: false }
    }
}

impl<W> WriteJob for BackgroundJob<W>
where
    W: FnMut(&WriteTransaction<'_>) -> Result<(), SqliteError> + Send + 'static,
{
    fn durability(&self) -> Durability {
        Durability::NextSync
    }

    fn work(&mut self, db: &WriteTransaction<'_>) -> Result<(), SqliteError> {
        (self.work)(db)
    }

    fn succeed(self: Box<Self>, _: &MemoryState) {}

    fn fail(mut self: Box<Self>, error: StoreError) -> Option<Box<dyn WriteJob>> {
        if !std::mem::replace(&mut self.is_logged, true) {
            tracing::warn!(%error, "a change of a wait queue could not be written; it is retried");
        }
        Some(self)
    }
}
