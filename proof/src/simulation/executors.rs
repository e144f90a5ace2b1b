//! The executors of the functions, as a front end in another process would be: some cannot be
//! reached for a while, some execute steps while they are polled, and some send requests to an app.
//!
//! They wrap the SDK's executor, so the functions are the same random trees.

mod app;
mod checks;
mod immediate;
mod outages;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::RegisteredFunction;
use stepladder_engine::executor::Executor;
use stepladder_testkit::clock::VirtualClock;
use stepladder_testkit::memory::Memory;

use super::account::ExecutionLog;
use super::functions::{HELPER, MAIN, OTHER};
use super::invariants::Violation;
use super::knobs::SimulationSettings;
use crate::dice::SeededDice;
use app::{AppExecutor, PostedCheckpoint};
use immediate::ImmediateExecutor;
use outages::{Outages, UnreliableExecutor};

pub(crate) use outages::OUT_OF_REACH;

/// The functions that may have such an executor.
const WRAPPED: [&str; 3] = [MAIN, OTHER, HELPER];
/// The scheduler's number of the process with the executors. No worker has this number.
pub(super) const SERVER: usize = usize::MAX;

/// Work in the process of the executors: a request to an app, or a call whose worker has died.
pub(super) type ExecutorTask = BoxFuture<'static, ()>;

/// How a function is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExecutorKind {
    /// By the SDK, in the worker.
    Local,
    /// While it is polled, in the worker.
    Immediate,
    /// By an app, in another process.
    App,
}

/// What the executors of all workers share.
#[derive(Clone)]
pub(super) struct SimulatedExecutors {
    shared: Arc<Shared>,
    /// How each function of [`WRAPPED`] is executed.
    kinds: [ExecutorKind; 3],
}

struct Shared {
    memory: Arc<Memory>,
    clock: Arc<VirtualClock>,
    /// A stream of its own, so that the other choices of a seed stay the same.
    dice: SeededDice,
    outages: Outages,
    /// The runs with a call in progress. A run with two calls is listed twice.
    calls: Mutex<Vec<RunId>>,
    /// Whether a call continues after its worker died.
    outlives_workers: bool,
    /// The work that the executors' process has not begun yet.
    tasks: Mutex<Vec<ExecutorTask>>,
    /// The log of executed bodies, which knows the requests to apps.
    account: ExecutionLog,
    /// The checkpoints of apps on their way to a worker.
    checkpoints: Mutex<Vec<PostedCheckpoint>>,
    /// What happened, for the story.
    told: Mutex<Vec<String>>,
    /// How many more answers may be lost.
    lost_answers_left: Mutex<u64>,
    excuses: Mutex<ExecutorExcuses>,
    violation: Mutex<Option<Violation>>,
}

/// How much of the executors' behaviour excuses delays and wakes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ExecutorExcuses {
    /// By how much the executors may have delayed a run.
    pub(super) delay: Duration,
    /// How often an executor could not be reached.
    pub(super) unreachable: u64,
}

impl SimulatedExecutors {
    pub(super) fn new(
        (memory, clock, account): (Arc<Memory>, Arc<VirtualClock>, ExecutionLog),
        dice: SeededDice,
        knobs: &SimulationSettings,
        outlives_workers: bool,
    ) -> Self {
        let chosen = 1 + dice.below(7);
        let kinds = [0, 1, 2].map(|n| match chosen & (1 << n) != 0 {
            true if knobs.apps > 0 => ExecutorKind::App,
            true if knobs.immediate > 0 => ExecutorKind::Immediate,
            _ => ExecutorKind::Local,
        });
        let shared = Shared {
            outages: Outages::new(knobs.outages, &dice),
            memory,
            clock,
            dice,
            calls: Mutex::default(),
            outlives_workers,
            tasks: Mutex::default(),
            account,
            checkpoints: Mutex::default(),
            told: Mutex::default(),
            lost_answers_left: Mutex::new(knobs.lost_answers),
            excuses: Mutex::default(),
            violation: Mutex::default(),
        };
        Self { shared: Arc::new(shared), kinds }
    }

    /// Returns the function with the executor that this simulation uses for it.
    pub(super) fn wrap(&self, function: &RegisteredFunction) -> RegisteredFunction {
        let Some(n) = WRAPPED.iter().position(|id| *function.spec().id == **id) else { return function.clone() };
        let (spec, version) = (function.spec().clone(), function.version().map(Into::into));
        let shared = self.shared.clone();
        let inner: Arc<dyn Executor> = match self.kinds[n] {
            ExecutorKind::Local => function.executor.clone(),
            ExecutorKind::Immediate => {
                Arc::new(ImmediateExecutor::new(function.executor.clone(), shared.clone(), spec.timeout))
            }
            ExecutorKind::App => Arc::new(AppExecutor::new(function.executor.clone(), shared.clone(), spec.timeout)),
        };
        RegisteredFunction::new(spec, version, Arc::new(UnreliableExecutor::new(inner, shared)))
    }

    /// Returns whether an app executes a function.
    pub(super) fn is_of_app(&self, function: &str) -> bool {
        WRAPPED.iter().position(|id| *id == function).is_some_and(|n| self.kinds[n] == ExecutorKind::App)
    }

    /// Returns the runs with a call in progress. A run with two calls is listed twice.
    pub(super) fn calls(&self, now: Timestamp) -> Vec<RunId> {
        let mut calls = self.shared.calls.lock().expect("no panic").clone();
        calls.extend(self.shared.account.live_calls(now));
        calls
    }

    /// Returns the work that the executors' process begins now.
    pub(super) fn take_tasks(&self) -> Vec<ExecutorTask> {
        std::mem::take(&mut *self.shared.tasks.lock().expect("no panic"))
    }

    /// Returns what happened since the previous call of this function.
    pub(super) fn take_told(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.told.lock().expect("no panic"))
    }

    /// Returns the checkpoints that reach a worker now.
    fn take_checkpoints(&self) -> Vec<PostedCheckpoint> {
        std::mem::take(&mut *self.shared.checkpoints.lock().expect("no panic"))
    }

    /// Returns what the executors did so far that excuses delays.
    pub(super) fn excuses(&self) -> ExecutorExcuses {
        *self.shared.excuses.lock().expect("no panic")
    }

    /// Returns a violation that an executor noticed.
    pub(super) fn take_violation(&self) -> Option<Violation> {
        self.shared.violation.lock().expect("no panic").take()
    }

    /// Ends the outages and loses no further answer.
    pub(super) fn behave(&self) {
        self.shared.outages.end();
        *self.shared.lost_answers_left.lock().expect("no panic") = 0;
    }
}

impl Shared {
    fn excuse(&self, delay: Duration) {
        self.excuses.lock().expect("no panic").delay += delay;
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        self.told.lock().expect("no panic").push(what());
    }

    fn report(&self, violation: Violation) {
        self.violation.lock().expect("no panic").get_or_insert(violation);
    }

    fn now(&self) -> Timestamp {
        stepladder_engine::clock::Clock::now(&*self.clock)
    }
}
