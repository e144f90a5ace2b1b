//! What the writing thread is handed.

use rusqlite::Connection;
use stepladder_engine::ports::{StoreError, StoreResult};
use tokio::sync::oneshot;

use crate::fault::Fault;
use crate::held::Held;

/// When a job's changes have to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// Before it is answered.
    Synced,
    /// With the next that is synced.
    WithTheNext,
}

pub(crate) trait Job: Send {
    fn sync(&self) -> Sync;

    /// Within a transaction; again in another one, when that was rolled back.
    fn work(&mut self, db: &Connection) -> Result<(), Fault>;

    /// After the commit.
    fn done(self: Box<Self>, held: &Held);

    /// After a failure in a transaction of its own. A job that is given back is tried again.
    fn failed(self: Box<Self>, fault: StoreError) -> Option<Box<dyn Job>>;
}

/// A job that somebody waits for.
pub(super) struct Task<T, W, A> {
    sync: Sync,
    work: W,
    after: A,
    result: Option<T>,
    reply: oneshot::Sender<StoreResult<T>>,
}

impl<T, W, A> Task<T, W, A> {
    pub(super) fn new(sync: Sync, work: W, after: A, reply: oneshot::Sender<StoreResult<T>>) -> Self {
        Self { sync, work, after, result: None, reply }
    }
}

impl<T, W, A> Job for Task<T, W, A>
where
    T: Send + 'static,
    W: FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    A: FnOnce(&T, &Held) + Send + 'static,
{
    fn sync(&self) -> Sync {
        self.sync
    }

    fn work(&mut self, db: &Connection) -> Result<(), Fault> {
        self.result = Some((self.work)(db)?);
        Ok(())
    }

    fn done(self: Box<Self>, held: &Held) {
        let Some(result) = self.result else { return };
        (self.after)(&result, held);
        // whoever asked may have been dropped meanwhile
        let _ = self.reply.send(Ok(result));
    }

    fn failed(self: Box<Self>, fault: StoreError) -> Option<Box<dyn Job>> {
        let _ = self.reply.send(Err(fault));
        None
    }
}

/// A job that nobody waits for.
pub(super) struct Owed<W> {
    work: W,
    /// Whether it was said that it failed: a full disk makes it fail with every transaction.
    told: bool,
}

impl<W> Owed<W> {
    pub(super) fn new(work: W) -> Self {
        Self { work, told: false }
    }
}

impl<W> Job for Owed<W>
where
    W: FnMut(&Connection) -> Result<(), Fault> + Send + 'static,
{
    fn sync(&self) -> Sync {
        Sync::WithTheNext
    }

    fn work(&mut self, db: &Connection) -> Result<(), Fault> {
        (self.work)(db)
    }

    fn done(self: Box<Self>, _: &Held) {}

    fn failed(mut self: Box<Self>, fault: StoreError) -> Option<Box<dyn Job>> {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(%fault, "a place in a line could not be written down; it is tried again");
        }
        Some(self)
    }
}
