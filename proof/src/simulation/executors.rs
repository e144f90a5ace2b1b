//! The executors of the functions, as a front end in another process would be: some cannot be
//! reached for a while, and some execute steps while they are polled.
//!
//! They wrap the SDK's executor, so the functions are the same random trees.

mod checks;
mod immediate;
mod outages;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::RegisteredFunction;
use stepladder_testkit::clock::VirtualClock;
use stepladder_testkit::memory::Memory;

use super::functions::{HELPER, MAIN, OTHER};
use super::invariants::Violation;
use super::knobs::SimulationSettings;
use crate::dice::SeededDice;
use immediate::ImmediateExecutor;
use outages::{Outages, UnreliableExecutor};

pub(crate) use outages::OUT_OF_REACH;

/// The functions that may have such an executor.
const WRAPPED: [&str; 3] = [MAIN, OTHER, HELPER];
/// The scheduler's number of the process with the executors. No worker has this number.
pub(super) const SERVER: usize = usize::MAX;

/// A call that continues in the executor's process after its worker died.
pub(super) type OrphanedCall = BoxFuture<'static, ()>;

/// What the executors of all workers share.
#[derive(Clone)]
pub(super) struct SimulatedExecutors {
    shared: Arc<Shared>,
    /// For each function of [`WRAPPED`], whether its executor executes steps while it is polled.
    is_immediate: [bool; 3],
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
    orphans: Mutex<Vec<OrphanedCall>>,
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
        (memory, clock): (Arc<Memory>, Arc<VirtualClock>),
        dice: SeededDice,
        knobs: &SimulationSettings,
        outlives_workers: bool,
    ) -> Self {
        let chosen = 1 + dice.below(7);
        let is_immediate = [0, 1, 2].map(|n| knobs.immediate > 0 && chosen & (1 << n) != 0);
        let shared = Shared {
            outages: Outages::new(knobs.outages, &dice),
            memory,
            clock,
            dice,
            calls: Mutex::default(),
            outlives_workers,
            orphans: Mutex::default(),
            lost_answers_left: Mutex::new(knobs.lost_answers),
            excuses: Mutex::default(),
            violation: Mutex::default(),
        };
        Self { shared: Arc::new(shared), is_immediate }
    }

    /// Returns the function with the executor that this simulation uses for it.
    pub(super) fn wrap(&self, function: &RegisteredFunction) -> RegisteredFunction {
        let Some(n) = WRAPPED.iter().position(|id| *function.spec().id == **id) else { return function.clone() };
        let (spec, version) = (function.spec().clone(), function.version().map(Into::into));
        let shared = self.shared.clone();
        match self.is_immediate[n] {
            true => {
                let inner = ImmediateExecutor::new(function.executor.clone(), shared.clone(), spec.timeout);
                RegisteredFunction::new(spec, version, Arc::new(UnreliableExecutor::new(Arc::new(inner), shared)))
            }
            false => {
                let inner = function.executor.clone();
                RegisteredFunction::new(spec, version, Arc::new(UnreliableExecutor::new(inner, shared)))
            }
        }
    }

    /// Returns the runs with a call in progress. A run with two calls is listed twice.
    pub(super) fn calls(&self) -> Vec<RunId> {
        self.shared.calls.lock().expect("no panic").clone()
    }

    /// Returns the calls whose worker died since the previous call of this function.
    pub(super) fn take_orphans(&self) -> Vec<OrphanedCall> {
        std::mem::take(&mut *self.shared.orphans.lock().expect("no panic"))
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

    fn report(&self, violation: Violation) {
        self.violation.lock().expect("no panic").get_or_insert(violation);
    }

    fn now(&self) -> Timestamp {
        stepladder_engine::clock::Clock::now(&*self.clock)
    }
}
