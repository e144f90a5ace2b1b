//! The connection that writes, and its transactions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{Durability, Job};
use crate::error::SqliteError;
use crate::memory::MemoryState;

/// The maximum number of jobs in one transaction, so that later jobs do not wait forever.
const MAX_GROUP: usize = 1_024;

/// The maximum average time of a sync up to which callers write on their own threads.
const QUICK_SYNC: Duration = Duration::from_micros(500);

pub(super) struct WriteConnection {
    db: Connection,
    memory: Arc<MemoryState>,
    /// The durability for which `PRAGMA synchronous` was last set.
    durability: Option<Durability>,
    /// The running average of the time that a synced commit takes.
    pub(super) sync_time: Duration,
    /// Failed background jobs. They are retried with the next transaction.
    retries: Vec<Box<dyn Job>>,
}

impl WriteConnection {
    pub(super) fn new(db: Connection, memory: Arc<MemoryState>) -> Self {
        Self { db, memory, durability: None, sync_time: Duration::ZERO, retries: Vec::new() }
    }

    /// Returns whether a thread that has other work can wait for a transaction of this durability.
    pub(super) fn is_quick(&self, durability: Durability) -> bool {
        durability == Durability::NextSync || self.sync_time < QUICK_SYNC
    }

    /// Executes jobs, in groups.
    pub(super) fn write_all(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        while !jobs.is_empty() {
            let rest = jobs.split_off(jobs.len().min(MAX_GROUP));
            let mut group = std::mem::take(&mut self.retries);
            group.append(&mut jobs);
            self.write(group);
            jobs = rest;
        }
    }

    /// Executes a group. If one job fails, each job gets a transaction of its own, so that no job
    /// fails because of another. If the transaction itself fails, it fails for all jobs.
    fn write(&mut self, mut group: Vec<Box<dyn Job>>) {
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

    fn transact(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), TransactionError> {
        let result = self.attempt(group);
        // SQLite rolls back automatically only after some errors
        if result.is_err()
            && !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a failed transaction could not be rolled back");
        }
        result
    }

    fn attempt(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), TransactionError> {
        let is_synced = group.iter().any(|job| job.durability() == Durability::Synced);
        self.set_durability(if is_synced { Durability::Synced } else { Durability::NextSync })?;
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for job in group {
            job.work(&self.db).map_err(TransactionError::Job)?;
        }
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
        // takes effect when it is compiled, so it cannot be a cached statement
        self.db.execute_batch(match durability {
            Durability::Synced => "PRAGMA synchronous = FULL",
            Durability::NextSync => "PRAGMA synchronous = NORMAL",
        })?;
        self.durability = Some(durability);
        Ok(())
    }
}

/// The reason why a transaction was rolled back.
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
