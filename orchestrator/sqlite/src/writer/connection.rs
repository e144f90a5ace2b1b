//! The connection for writing, and its transactions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{Durability, WriteJob, WriteTransaction};
use crate::error::SqliteError;
use crate::memory::MemoryState;

/// The maximum number of jobs in one transaction. It ensures that later jobs do not wait forever.
const MAX_GROUP: usize = 1_024;

/// The disk counts as fast up to this average time of a sync. Then callers write on their own
/// threads.
const QUICK_SYNC: Duration = Duration::from_micros(500);

pub(super) struct WriteConnection {
    db: Connection,
    memory: Arc<MemoryState>,
    /// The durability for which `PRAGMA synchronous` is set at the moment.
    durability: Option<Durability>,
    /// The running average of the time that a synced commit takes.
    pub(super) sync_time: Duration,
    /// Failed background jobs, which are retried in the next transaction.
    retries: Vec<Box<dyn WriteJob>>,
}

impl WriteConnection {
    pub(super) fn new(db: Connection, memory: Arc<MemoryState>) -> Self {
        Self { db, memory, durability: None, sync_time: Duration::ZERO, retries: Vec::new() }
    }

    /// Returns whether a transaction of this durability is so fast that any thread can wait for it.
    pub(super) fn is_quick(&self, durability: Durability) -> bool {
        durability == Durability::NextSync || self.sync_time < QUICK_SYNC
    }

    /// Executes jobs, in groups of one transaction each.
    pub(super) fn write_all(&mut self, mut jobs: Vec<Box<dyn WriteJob>>) {
        while !jobs.is_empty() {
            let rest = jobs.split_off(jobs.len().min(MAX_GROUP));
            let mut group = std::mem::take(&mut self.retries);
            group.append(&mut jobs);
            self.write(group);
            jobs = rest;
        }
    }

    /// Executes a group of jobs in one transaction. If a job fails, each job is executed again in
    /// its own transaction, so that no job fails because of another. If the transaction itself
    /// fails, all jobs fail.
    fn write(&mut self, mut group: Vec<Box<dyn WriteJob>>) {
        match self.transact(&mut group) {
            Ok(()) => group.into_iter().for_each(|job| job.succeed(&self.memory)),
            Err(TransactionError::Job(_)) if group.len() > 1 => {
                group.into_iter().for_each(|job| self.write(vec![job]));
            }
            Err(TransactionError::Job(error) | TransactionError::Transaction(error)) => {
                let error = error.into_store_error();
                self.retries.extend(group.into_iter().filter_map(|job| job.fail(error.clone())));
            }
        }
    }

    fn transact(&mut self, group: &mut [Box<dyn WriteJob>]) -> Result<(), TransactionError> {
        let result = self.attempt_transaction(group);
        // after some errors SQLite has already rolled back
        if result.is_err()
            && !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a failed transaction could not be rolled back");
        }
        result
    }

    fn attempt_transaction(&mut self, group: &mut [Box<dyn WriteJob>]) -> Result<(), TransactionError> {
        let is_synced = group.iter().any(|job| job.durability() == Durability::Synced);
        self.set_durability(if is_synced { Durability::Synced } else { Durability::NextSync })?;
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let transaction = WriteTransaction::new(&self.db, &self.memory);
        group.iter_mut().try_for_each(|job| job.work(&transaction)).map_err(TransactionError::Job)?;
        drop(transaction);
        let start = Instant::now();
        self.db.prepare_cached("COMMIT")?.execute([])?;
        if is_synced {
            self.sync_time = (self.sync_time * 7 + start.elapsed()) / 8;
        }
        Ok(())
    }

    fn set_durability(&mut self, durability: Durability) -> rusqlite::Result<()> {
        if self.durability == Some(durability) {
            return Ok(());
        }
        // this pragma takes effect when it is compiled, so it cannot be a cached statement
        self.db.execute_batch(match durability {
            Durability::Synced => "PRAGMA synchronous = FULL",
            Durability::NextSync => "PRAGMA synchronous = NORMAL",
        })?;
        self.durability = Some(durability);
        Ok(())
    }
}

/// Why a transaction was rolled back.
enum TransactionError {
    /// One of the jobs failed.
    Job(SqliteError),
    /// The transaction itself failed.
    Transaction(SqliteError),
}

impl From<rusqlite::Error> for TransactionError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Transaction(error.into())
    }
}
