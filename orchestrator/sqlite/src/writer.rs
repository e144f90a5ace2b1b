//! Writes the data file, one transaction at a time. Jobs that wait go into one transaction, so that
//! one sync of the disk serves all of them.
//!
//! A thread of its own executes submitted jobs. If that thread is idle and the disk is quick, a
//! commit is executed on its caller's thread instead. That saves two thread switches, which cost
//! more than the write.
//!
//! A transaction is synced if one of its jobs requires it. Other transactions survive the death of
//! the process, because the operating system has them. The next sync puts them on disk.

mod connection;
mod job;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;
use stepladder_engine::ports::{StoreError, StoreResult};
use tokio::sync::oneshot;

pub(crate) use job::{Durability, Job};

use crate::error::SqliteError;
use crate::memory::MemoryState;
use connection::WriteConnection;
use job::Task;

/// The entry point for jobs.
pub(crate) struct Writer {
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
    jobs: Vec<Box<dyn Job>>,
    closed: bool,
}

impl Writer {
    pub(crate) fn start(db: Connection, memory: Arc<MemoryState>) -> std::io::Result<Self> {
        let queue = Arc::new(JobQueue::default());
        let connection = Arc::new(Mutex::new(WriteConnection::new(db, memory)));
        let (jobs, shared) = (queue.clone(), connection.clone());
        let write = move || {
            let _close = CloseOnExit(&jobs);
            while jobs.wait() {
                // the lock comes first: a caller that finds the queue empty must not overtake these
                // jobs
                let mut connection = shared.lock();
                connection.write_all(jobs.take());
            }
        };
        let thread = std::thread::Builder::new().name("sqlite-writer".into()).spawn(write)?;
        Ok(Self { queue, connection, thread: Some(thread) })
    }

    /// Executes `work` in a transaction, then `after` once that is committed, and returns the
    /// result.
    ///
    /// `work` may be called several times: the failure of another job rolls the transaction back.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnMut(&Connection) -> Result<T, SqliteError> + Send + 'static,
        after: impl FnOnce(&T, &MemoryState) + Send + 'static,
    ) -> StoreResult<T> {
        let (reply, answer) = oneshot::channel();
        self.submit(Box::new(Task::new(durability, work, after, reply)));
        receive_answer(answer).await
    }

    /// Does the same as [`run`](Self::run), on this thread if the writer is idle and the disk is
    /// quick. Use it for small work only, because it blocks the thread.
    pub(crate) async fn run_here<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnMut(&Connection) -> Result<T, SqliteError> + Send + 'static,
        after: impl FnOnce(&T, &MemoryState) + Send + 'static,
    ) -> StoreResult<T> {
        let (reply, answer) = oneshot::channel();
        if let Some(job) = self.try_write_here(Box::new(Task::new(durability, work, after, reply))) {
            self.submit(job);
        }
        receive_answer(answer).await
    }

    /// Executes a job on this thread. Returns the job if it has to wait.
    fn try_write_here(&self, job: Box<dyn Job>) -> Option<Box<dyn Job>> {
        let Some(mut connection) = self.connection.try_lock() else { return Some(job) };
        if !connection.is_quick(job.durability()) || !self.queue.is_idle() {
            return Some(job);
        }
        connection.write_all(vec![job]);
        None
    }

    /// Submits a job without waiting for its result. The job is executed before any job that is
    /// submitted later. A failed job is retried with each later transaction until it succeeds.
    pub(crate) fn run_in_background(&self, work: impl FnMut(&Connection) -> Result<(), SqliteError> + Send + 'static) {
        self.submit(Box::new(job::BackgroundJob::new(work)));
    }

    fn submit(&self, job: Box<dyn Job>) {
        let mut state = self.queue.state.lock();
        if state.closed {
            // dropping the job closes the channel of its answer, which reports this to the caller
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

impl Drop for Writer {
    /// Waits until all submitted jobs are executed.
    fn drop(&mut self) {
        self.queue.state.lock().closed = true;
        self.queue.submitted.notify_one();
        if let Some(thread) = self.thread.take() {
            // a panic of the writer was reported by its thread
            let _ = thread.join();
        }
    }
}

impl JobQueue {
    /// Waits for jobs. Returns false if the queue is closed and empty.
    fn wait(&self) -> bool {
        let mut state = self.state.lock();
        while state.jobs.is_empty() && !state.closed {
            self.submitted.wait(&mut state);
        }
        !state.jobs.is_empty()
    }

    fn take(&self) -> Vec<Box<dyn Job>> {
        std::mem::take(&mut self.state.lock().jobs)
    }

    fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.jobs.is_empty() && !state.closed
    }
}

/// Closes the queue when the writer's thread ends, also by a panic, so that no caller waits
/// forever.
struct CloseOnExit<'a>(&'a JobQueue);

impl Drop for CloseOnExit<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        state.jobs.clear();
    }
}
