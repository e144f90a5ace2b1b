//! Writes the data file, one transaction at a time. All waiting jobs go into one transaction, so
//! that they need only one sync of the disk.
//!
//! A separate thread executes submitted jobs. If that thread is idle and the disk is fast, a commit
//! is executed on the thread of its caller instead. That saves two thread switches, which cost more
//! than the write.
//!
//! A transaction is synced if one of its jobs requires it. A transaction without a sync survives
//! the death of the process, because the operating system has it, and the next sync writes it to
//! the disk.

mod connection;
mod job;
#[cfg(test)]
mod tests;
mod transaction;

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;
use stepladder_engine::ports::{StoreError, StoreResult};
use tokio::sync::oneshot;

pub(crate) use job::{Durability, WriteJob};
pub(crate) use transaction::WriteTransaction;

use crate::error::SqliteError;
use crate::memory::MemoryState;
use connection::WriteConnection;
use job::AwaitedJob;

/// Accepts jobs for the data file.
pub(crate) struct JobWriter {
    queue: Arc<JobQueue>,
    connection: Arc<Mutex<WriteConnection>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct JobQueue {
    state: Mutex<QueueState>,
    submitted: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: Vec<Box<dyn WriteJob>>,
    closed: bool,
}

impl JobWriter {
    pub(crate) fn start(db: Connection, memory: Arc<MemoryState>) -> std::io::Result<Self> {
        let queue = Arc::new(JobQueue::default());
        let connection = Arc::new(Mutex::new(WriteConnection::new(db, memory)));
        let (jobs, shared) = (queue.clone(), connection.clone());
        let write = move || {
            let _close = CloseOnExit(&jobs);
            while jobs.wait_for_jobs() {
                // the connection is locked before the queue is emptied, so that a caller that finds
                // the queue empty cannot execute its job before these
                let mut connection = shared.lock();
                connection.write_all(jobs.take_jobs());
            }
        };
        let thread = std::thread::Builder::new().name("sqlite-writer".into()).spawn(write)?;
        Ok(Self { queue, connection, thread: Some(thread) })
    }

    /// Executes `work` in a transaction, then executes `after` once the transaction is committed,
    /// and returns the result.
    ///
    /// `work` may be called several times, because the failure of another job rolls back the
    /// transaction.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnMut(&WriteTransaction<'_>) -> Result<T, SqliteError> + Send + 'static,
        after: impl FnOnce(&T, &MemoryState) + Send + 'static,
    ) -> StoreResult<T> {
        let (reply, answer) = oneshot::channel();
        self.submit(Box::new(AwaitedJob::new(durability, work, after, reply)));
        receive_answer(answer).await
    }

    /// Does the same as [`run`](Self::run), but on this thread if the writer is idle and the disk
    /// is fast. Use this only for small work, because it blocks the thread.
    pub(crate) async fn run_here<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnMut(&WriteTransaction<'_>) -> Result<T, SqliteError> + Send + 'static,
        after: impl FnOnce(&T, &MemoryState) + Send + 'static,
    ) -> StoreResult<T> {
        let (reply, answer) = oneshot::channel();
        if let Some(job) = self.try_write_here(Box::new(AwaitedJob::new(durability, work, after, reply))) {
            self.submit(job);
        }
        receive_answer(answer).await
    }

    /// Executes a job on this thread. If the job has to wait, returns it instead.
    fn try_write_here(&self, job: Box<dyn WriteJob>) -> Option<Box<dyn WriteJob>> {
        let Some(mut connection) = self.connection.try_lock() else { return Some(job) };
        if !connection.is_quick(job.durability()) || !self.queue.is_idle() {
            return Some(job);
        }
        connection.write_all(vec![job]);
        None
    }

    /// Submits a job without waiting for its result. The job is executed before any job that is
    /// submitted later. A failed job is retried in each later transaction until it succeeds.
    pub(crate) fn run_in_background(
        &self,
        work: impl FnMut(&WriteTransaction<'_>) -> Result<(), SqliteError> + Send + 'static,
    ) {
        self.submit(Box::new(job::BackgroundJob::new(work)));
    }

    fn submit(&self, job: Box<dyn WriteJob>) {
        let mut state = self.queue.state.lock();
        if state.closed {
            // the job is dropped, which closes its result channel and so tells the caller
            return;
        }
        state.jobs.push(job);
        let is_first = state.jobs.len() == 1;
        drop(state);
        if is_first {
            self.queue.submitted.notify_one();
        }
    }
}

async fn receive_answer<T>(answer: oneshot::Receiver<StoreResult<T>>) -> StoreResult<T> {
    answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the data file is being closed".into())))
}

impl Drop for JobWriter {
    /// Waits until all submitted jobs have been executed.
    fn drop(&mut self) {
        self.queue.state.lock().closed = true;
        self.queue.submitted.notify_one();
        if let Some(thread) = self.thread.take() {
            // the thread has already reported its panic
            let _ = thread.join();
        }
    }
}

impl JobQueue {
    /// Waits for jobs. Returns false if the queue is closed and empty.
    fn wait_for_jobs(&self) -> bool {
        let mut state = self.state.lock();
        while state.jobs.is_empty() && !state.closed {
            self.submitted.wait(&mut state);
        }
        !state.jobs.is_empty()
    }

    fn take_jobs(&self) -> Vec<Box<dyn WriteJob>> {
        std::mem::take(&mut self.state.lock().jobs)
    }

    fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.jobs.is_empty() && !state.closed
    }
}

/// Closes the queue when the writer's thread ends, even because of a panic, so that no caller waits
/// forever.
struct CloseOnExit<'a>(&'a JobQueue);

impl Drop for CloseOnExit<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        state.jobs.clear();
    }
}
