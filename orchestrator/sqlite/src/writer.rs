//! One writer at a time: whatever waits goes into one transaction, and one sync of the disk serves all of it.
//!
//! A thread of its own writes whatever is handed in. A commit that finds nobody writing and nothing waiting is carried
//! out on its caller's thread instead, while the disk is quick: that saves two changes of thread, which cost more than
//! the write.
//!
//! A transaction is synced when one of its jobs asks for it. One that is not survives the death of the process (it is
//! with the operating system), and is synced with the next that is.

mod job;
#[cfg(test)]
mod tests;
mod writing;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use stepladder_engine::ports::{StoreError, StoreResult};
use tokio::sync::oneshot;

pub(crate) use job::{Job, Sync};

use crate::fault::Fault;
use crate::held::Held;
use job::Task;
use writing::Writing;

/// Where jobs are handed in.
pub(crate) struct Writer {
    inbox: Arc<Inbox>,
    writing: Arc<Mutex<Writing>>,
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
        let writing = Arc::new(Mutex::new(Writing::new(db, held)));
        let (theirs, shared) = (inbox.clone(), writing.clone());
        let write = move || {
            let _close = CloseAtEnd(&theirs);
            while theirs.wait() {
                // taken under the lock: nobody who finds nothing waiting overtakes what was handed in before
                let mut writing = lock(&shared);
                writing.write_all(theirs.take());
            }
        };
        let thread = std::thread::Builder::new().name("sqlite-writer".into()).spawn(write)?;
        Ok(Self { inbox, writing, thread: Some(thread) })
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
        answered(answer).await
    }

    /// As [`run`](Self::run), on this thread when nobody writes, nothing waits, and the disk has been quick. For small
    /// work only: the thread does nothing else meanwhile.
    pub(crate) async fn run_here<T: Send + 'static>(
        &self,
        sync: Sync,
        work: impl FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
        after: impl FnOnce(&T, &Held) + Send + 'static,
    ) -> StoreResult<T> {
        let (reply, answer) = oneshot::channel();
        if let Some(job) = self.write_here(Box::new(Task::new(sync, work, after, reply))) {
            self.hand_in(job);
        }
        answered(answer).await
    }

    /// Gives the job back when it has to wait.
    fn write_here(&self, job: Box<dyn Job>) -> Option<Box<dyn Job>> {
        let mut writing = match self.writing.try_lock() {
            Ok(writing) => writing,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Some(job),
        };
        if !writing.is_quick(job.sync()) || !self.inbox.is_idle() {
            return Some(job);
        }
        writing.write_all(vec![job]);
        None
    }

    /// Hands in a job that nobody waits for. It is carried out before any that is handed in later, and tried again
    /// with every later transaction until it succeeds.
    pub(crate) fn owe(&self, work: impl FnMut(&Connection) -> Result<(), Fault> + Send + 'static) {
        self.hand_in(Box::new(job::Owed::new(work)));
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

async fn answered<T>(answer: oneshot::Receiver<StoreResult<T>>) -> StoreResult<T> {
    answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the data file is being closed".into())))
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

    /// Waits for jobs; false once closed and empty.
    fn wait(&self) -> bool {
        let mut waiting = self.lock();
        while waiting.jobs.is_empty() && !waiting.closed {
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        !waiting.jobs.is_empty()
    }

    fn take(&self) -> Vec<Box<dyn Job>> {
        std::mem::take(&mut self.lock().jobs)
    }

    fn is_idle(&self) -> bool {
        let waiting = self.lock();
        waiting.jobs.is_empty() && !waiting.closed
    }
}

fn lock(writing: &Mutex<Writing>) -> MutexGuard<'_, Writing> {
    writing.lock().unwrap_or_else(PoisonError::into_inner)
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
