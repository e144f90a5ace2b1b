//! A randomized scheduler. It polls tasks on one thread in random order, so that port calls can
//! interleave in any order.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Wake, Waker};

use crate::dice::SeededDice;

/// The tasks of all processes.
#[derive(Default)]
pub(crate) struct TaskScheduler {
    tasks: Vec<ProcessTask>,
    /// Set by a body that kills its own invocation.
    pub(crate) dying: Arc<AtomicBool>,
}

struct ProcessTask {
    /// The process that the task belongs to.
    process: usize,
    future: Pin<Box<dyn Future<Output = ()>>>,
    woken: Arc<WokenFlag>,
}

struct WokenFlag(AtomicBool);

impl Wake for WokenFlag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

impl TaskScheduler {
    /// Adds a task to a process.
    pub(crate) fn spawn(&mut self, process: usize, future: impl Future<Output = ()> + 'static) {
        let woken = Arc::new(WokenFlag(AtomicBool::new(true)));
        self.tasks.push(ProcessTask { process, future: Box::pin(future), woken });
    }

    /// Polls a random task that is ready, unless its process is frozen. Returns whether the task
    /// killed its invocation; `None` if no task was ready.
    pub(crate) fn poll_one(&mut self, dice: &SeededDice, is_frozen: impl Fn(usize) -> bool) -> Option<bool> {
        let ready = |task: &ProcessTask| task.woken.0.load(SeqCst) && !is_frozen(task.process);
        let ready: Vec<usize> = (0..self.tasks.len()).filter(|n| ready(&self.tasks[*n])).collect();
        if ready.is_empty() {
            return None;
        }
        let at = ready[dice.below(ready.len() as u64) as usize];
        let task = &mut self.tasks[at];
        task.woken.0.store(false, SeqCst);
        let waker = Waker::from(task.woken.clone());
        let is_ready = task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let dies = self.dying.swap(false, SeqCst);
        if is_ready || dies {
            drop(self.tasks.swap_remove(at));
        }
        Some(dies)
    }

    /// Returns the number of tasks of a process.
    pub(crate) fn tasks_of(&self, process: usize) -> usize {
        self.tasks.iter().filter(|task| task.process == process).count()
    }

    /// Drops all tasks of a process.
    pub(crate) fn kill(&mut self, process: usize) {
        self.tasks.retain(|task| task.process != process);
    }
}
