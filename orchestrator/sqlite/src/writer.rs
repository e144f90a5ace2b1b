//! The one thread that writes: whatever waits goes into one transaction, and one sync of the disk serves all of it.
//!
//! A transaction is synced when one of its jobs asks for it. One that is not survives the death of the process (it is
//! with the operating system), and is synced with the next that is.

mod job;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use stepladder_engine::ports::{StoreError, StoreResult};
use tokio::sync::oneshot;

pub(crate) use job::{Job, Sync};

use crate::fault::Fault;
use crate::held::Held;
use job::Task;

/// Jobs in one transaction, at most: those that come meanwhile are not kept waiting for ever.
const GROUP: usize = 1_024;

/// Where jobs are handed in.
pub(crate) struct Writer {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Box<dyn Job>>,
    closed: bool,
}

impl Writer {
    pub(crate) fn start(db: Connection, held: Arc<Held>) -> std::io::Result<Self> {
        let inbox = Arc::new(Inbox::default());
        let theirs = inbox.clone();
        let write = move || {
            let _close = CloseAtEnd(&theirs);
            Writing { db, held, synced: None, owed: Vec::new() }.run(&theirs);
        };
        let thread = std::thread::Builder::new().name("sqlite-writer".into()).spawn(write)?;
        Ok(Self { inbox, thread: Some(thread) })
    }

    /// Carries out `work` in a transaction, then, when that is committed, `after`, and answers.
    ///
    /// `work` may be called again: when another job's failure undid the transaction.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        sync: Sync,
        work: impl FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
        after: impl FnOnce(&T, &Held) + Send + 'static,
    ) -> StoreResult<T> {
        let (reply, answer) = oneshot::channel();
        self.hand_in(Box::new(Task::new(sync, work, after, reply)));
        answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the data file is being closed".into())))
    }

    /// Hands in a job that nobody waits for. It is carried out before any that is handed in later, and tried again
    /// with every later transaction until it succeeds.
    pub(crate) fn owe(&self, work: impl FnMut(&Connection) -> Result<(), Fault> + Send + 'static) {
        self.hand_in(Box::new(job::Owed(work)));
    }

    fn hand_in(&self, job: Box<dyn Job>) {
        let mut waiting = self.inbox.lock();
        if waiting.closed {
            // nobody will take it: dropping it tells whoever waits for its answer
            return;
        }
        waiting.jobs.push(job);
        let first = waiting.jobs.len() == 1;
        drop(waiting);
        if first {
            self.inbox.arrived.notify_one();
        }
    }
}

impl Drop for Writer {
    /// Waits for what was handed in.
    fn drop(&mut self) {
        self.inbox.lock().closed = true;
        self.inbox.arrived.notify_one();
        if let Some(thread) = self.thread.take() {
            // a writer that panicked has said so; there is nothing left to wait for
            let _ = thread.join();
        }
    }
}

impl Inbox {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for jobs and takes them; none once closed and empty.
    fn take(&self) -> Vec<Box<dyn Job>> {
        let mut waiting = self.lock();
        while waiting.jobs.is_empty() && !waiting.closed {
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::take(&mut waiting.jobs)
    }
}

/// However the thread ends: nobody waits for answers that will not come.
struct CloseAtEnd<'a>(&'a Inbox);

impl Drop for CloseAtEnd<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.closed = true;
        waiting.jobs.clear();
    }
}

/// The writing thread's own.
struct Writing {
    db: Connection,
    held: Arc<Held>,
    /// What `PRAGMA synchronous` was last set for.
    synced: Option<Sync>,
    /// Jobs that failed and that nobody else will try again.
    owed: Vec<Box<dyn Job>>,
}

impl Writing {
    fn run(mut self, inbox: &Inbox) {
        loop {
            let mut jobs = inbox.take();
            if jobs.is_empty() {
                return;
            }
            while !jobs.is_empty() {
                let rest = jobs.split_off(jobs.len().min(GROUP));
                let mut group = std::mem::take(&mut self.owed);
                group.append(&mut jobs);
                self.write(group);
                jobs = rest;
            }
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
                self.owed.extend(group.into_iter().filter_map(|job| job.failed(same(&fault))));
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
        self.db.prepare_cached("COMMIT")?.execute([])?;
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

/// The same failure, for another who waits.
fn same(fault: &StoreError) -> StoreError {
    match fault {
        StoreError::Unavailable(why) => StoreError::Unavailable(why.clone()),
        StoreError::Unreadable(what) => StoreError::Unreadable(what.clone()),
    }
}
