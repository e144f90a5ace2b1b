//! Writing itself: groups of jobs, each a transaction.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{Job, Sync};
use crate::fault::Fault;
use crate::held::Held;

/// Jobs in one transaction, at most: those that come meanwhile are not kept waiting for ever.
const GROUP: usize = 1_024;
/// A disk whose syncs take longer than this on average is waited for by the writing thread only: nobody else has time
/// for it.
const QUICK: Duration = Duration::from_micros(500);

/// The connection that writes, and what goes with it.
pub(super) struct Writing {
    db: Connection,
    held: Arc<Held>,
    /// What `PRAGMA synchronous` was last set for.
    synced: Option<Sync>,
    /// How long a synced transaction takes, as a running average.
    pub(super) takes: Duration,
    /// Jobs that failed and that nobody else will try again.
    owed: Vec<Box<dyn Job>>,
}

impl Writing {
    pub(super) fn new(db: Connection, held: Arc<Held>) -> Self {
        Self { db, held, synced: None, takes: Duration::ZERO, owed: Vec::new() }
    }

    /// Whether a transaction with this sync can be waited for by someone who has other things to do.
    pub(super) fn is_quick(&self, sync: Sync) -> bool {
        sync == Sync::WithTheNext || self.takes < QUICK
    }

    /// Carries out jobs, in groups.
    pub(super) fn write_all(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        while !jobs.is_empty() {
            let rest = jobs.split_off(jobs.len().min(GROUP));
            let mut group = std::mem::take(&mut self.owed);
            group.append(&mut jobs);
            self.write(group);
            jobs = rest;
        }
    }

    /// Carries out a group. When one job fails, each gets a transaction of its own: nobody fails for another's fault.
    /// When the transaction itself fails, it fails for all.
    fn write(&mut self, mut group: Vec<Box<dyn Job>>) {
        match self.transact(&mut group) {
            Ok(()) => group.into_iter().for_each(|job| job.done(&self.held)),
            Err(Undone { of_a_job: true, .. }) if group.len() > 1 => {
                group.into_iter().for_each(|job| self.write(vec![job]));
            }
            Err(Undone { fault, .. }) => {
                let fault = fault.into_store_error();
                self.owed.extend(group.into_iter().filter_map(|job| job.failed(fault.clone())));
            }
        }
    }

    fn transact(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Undone> {
        let result = self.attempt(group);
        // some failures roll back by themselves; after the others it is done here
        if result.is_err()
            && !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a failed transaction could not be rolled back");
        }
        result
    }

    fn attempt(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Undone> {
        let sync = if group.iter().any(|job| job.sync() == Sync::Synced) { Sync::Synced } else { Sync::WithTheNext };
        if Some(sync) != self.synced {
            // takes effect when it is compiled, so it cannot be a cached statement
            self.db.execute_batch(match sync {
                Sync::Synced => "PRAGMA synchronous = FULL",
                Sync::WithTheNext => "PRAGMA synchronous = NORMAL",
            })?;
            self.synced = Some(sync);
        }
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for job in group {
            job.work(&self.db).map_err(|fault| Undone { fault, of_a_job: true })?;
        }
        let begun = Instant::now();
        self.db.prepare_cached("COMMIT")?.execute([])?;
        if sync == Sync::Synced {
            self.takes = (self.takes * 7 + begun.elapsed()) / 8;
        }
        Ok(())
    }
}

/// Why a transaction came to nothing.
struct Undone {
    fault: Fault,
    /// Whether it was one of its jobs that failed.
    of_a_job: bool,
}

impl From<rusqlite::Error> for Undone {
    fn from(error: rusqlite::Error) -> Self {
        Self { fault: error.into(), of_a_job: false }
    }
}
