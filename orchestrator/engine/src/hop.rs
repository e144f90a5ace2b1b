//! The shell of a hop: a loop around the state machine in [`stepladder_core::hop`].
//!
//! The state machine makes all decisions. The shell carries out the effects in their order, and
//! answers the last one if it is a question. Decisions about a run are deliberately not made here.

mod announce;
mod execution;
mod report;
mod storage;
mod supervise;
mod suspended;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stepladder_core::Timestamp;
use stepladder_core::hop::{Effect, Hop, Input, Invocation, Moment, StoreFault, Worker};

use crate::functions::{Catalog, FunctionControl};
use crate::intake::Intake;
use crate::ports::{Delivery, StoreError};
use crate::retries;
use crate::runs::Runs;
use crate::runtime::Runtime;
use crate::slots::Slots;
use execution::OpenExecution;
use storage::Storage;

pub(crate) use report::{log_attempt, log_end, log_skipped};
pub(crate) use supervise::RunningBodies;
pub use supervise::RunningBody;
pub(crate) use suspended::SuspendedExecutions;

/// Executes one hop for each delivered wake.
pub(crate) struct Hops {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) functions: Arc<FunctionControl>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) intake: Arc<Intake>,
    pub(crate) worker: Arc<Worker>,
    /// The bodies that are executing in this process.
    pub(crate) bodies: RunningBodies,
    /// The executions that earlier hops left open.
    pub(crate) suspended: SuspendedExecutions,
    /// Whether hops hand over at their next step instead of continuing in the same invocation.
    pub(crate) stopping: AtomicBool,
}

/// What the shell needs to carry out the effects of one hop.
struct Shell<'h> {
    storage: Storage<'h>,
    /// The run that log lines are about; `None` before it is loaded.
    subject: Option<report::Subject>,
    /// The open execution of the function.
    execution: Option<OpenExecution>,
    /// The functions that were read again, if the hop searched for one that was registered after it
    /// started.
    newer: Option<Arc<Catalog>>,
}

impl Hops {
    /// Executes the hop for a delivered wake, and acknowledges the wake. Without a deadline, the
    /// time limit of a worker of the run's function applies.
    pub(crate) async fn hop(&self, delivery: Delivery, deadline: Option<Timestamp>) -> Result<(), StoreError> {
        self.slots.release_pending().await;
        let Delivery { wake, receipt, receives } = delivery;
        let group = wake.group.clone();
        let until = deadline.unwrap_or_else(|| self.runtime.now() + self.runtime.config.worker_timeout_of(&wake.group));
        let (began, hop) = (self.runtime.now(), self.runtime.entropy.bits() as u64);
        let invocation = Invocation { wake, receives, began, deadline, hop, worker: self.worker.clone() };
        let catalog = self.runtime.current_for(&group).await;
        let (hop, effects) = Hop::begin_with(invocation, catalog.descriptions().clone());
        let storage = Storage { hops: self, catalog, receipt, conflicts: 0.into(), leaving: Default::default() };
        let shell = Shell { storage, subject: None, execution: None, newer: None };
        // calls of the store are repeated within the time of the invocation
        retries::run_within(self.runtime.clock.clone(), until, self.drive(shell, hop, effects)).await
    }

    /// Lets the state machine and the shell answer each other until the hop is over.
    async fn drive(&self, mut shell: Shell<'_>, mut hop: Hop, mut effects: Vec<Effect>) -> Result<(), StoreError> {
        while let Some(input) = shell.perform(&hop, effects).await {
            if let Some(newer) = shell.newer.take() {
                hop.learn(newer.descriptions().clone());
                shell.storage.catalog = newer;
            }
            (hop, effects) = hop.on(self.moment(), input);
        }
        let end = hop.into_end();
        if let Some(run) = end.run {
            let id = run.run;
            self.runs.keep_state(Arc::new(*run));
            shell.suspend(id, end.seen);
        }
        // from here on, the next hop of the run may begin
        drop(shell);
        end.fault.map_or(Ok(()), |fault| Err(fault.into()))
    }

    fn moment(&self) -> Moment {
        Moment { now: self.runtime.now(), is_stopping: self.stopping.load(Ordering::Relaxed) }
    }
}

impl Shell<'_> {
    /// Carries out effects in their order. If the last one is a question, returns the answer.
    async fn perform(&mut self, hop: &Hop, effects: Vec<Effect>) -> Option<Input> {
        let mut answer = None;
        for effect in effects {
            answer = match effect {
                Effect::Log(event) => self.log(hop, event),
                Effect::Defer { releases, promote } => self.storage.defer(releases, &promote),
                Effect::Close => self.close(),
                Effect::Open(opening) => Some(self.open(hop, opening).await),
                Effect::Poll(revealed) => Some(self.poll(hop, revealed).await),
                Effect::RevealRecorded(recorded) => self.reveal_recorded(recorded),
                Effect::Run(attempts) => self.run(hop, attempts),
                Effect::Stop { step, timeout } => self.stop(&step, timeout),
                Effect::AwaitAttempts(until) => Some(self.await_attempts(until).await),
                of_storage => Some(self.storage.answer(hop, of_storage).await),
            };
        }
        if let Some(Input::Loaded(Some(loaded))) = &answer {
            self.subject = Some(report::Subject::of(&self.storage.hops.runtime.config, &loaded.run));
        }
        answer
    }
}

impl From<StoreError> for StoreFault {
    fn from(error: StoreError) -> Self {
        let why = error.reason_with_causes();
        match error {
            StoreError::Unavailable(_) => Self::Unavailable(why),
            StoreError::Unreadable(_) => Self::Unreadable(why),
            StoreError::Refused(_) => Self::Refused(why),
        }
    }
}

impl From<StoreFault> for StoreError {
    fn from(fault: StoreFault) -> Self {
        match fault {
            StoreFault::Unavailable(why) => Self::Unavailable(why.into()),
            StoreFault::Unreadable(why) => Self::Unreadable(why.into()),
            StoreFault::Refused(why) => Self::Refused(why.into()),
        }
    }
}
