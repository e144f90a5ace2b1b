//! The interface between the engine and front ends such as the SDK.
//!
//! An [`Executor`] executes functions. For a run, it opens an [`Execution`] of the run's function.
//! The execution replays the function with the recorded outcomes, returns what the function
//! requests next, and executes attempts of steps. How it does this is up to the front end: the Rust
//! SDK polls a future, and another front end may use HTTP.
//!
//! Which steps start, when they are retried, and what is written is deliberately not decided here,
//! but by the engine.
//!
//! # Requirements for an implementation
//!
//! - **A replay is deterministic.** The same outcomes in the same order lead to the same requests.
//!   `stepladder_core::replay` contains the bookkeeping of a replay.
//! - **Outcomes are revealed one at a time**, in journal order. Between two of them, the function
//!   runs until it makes no more progress (rule 7).
//! - **Each started attempt ends once**: with a result of [`Execution::wait`], or as dropped. Only
//!   if the execution itself is dropped do its attempts end without either.
//! - **Dropping an execution cancels its attempts**, as far as that is possible.
//! - **An executor that cannot be reached says so** ([`Unreachable`]). It must not report this as a
//!   failure of the code, because that would use a retry. An attempt that was sent, but has no
//!   answer, is [lost](AttemptError::Lost): its code may have been executed.
//! - **A step that starts at most once** (`StepOptions::at_most_once`) executes only as an attempt,
//!   and never while the executor is polled.
//! - **Compensations are steps.** If a function fails permanently and has something to undo, it
//!   requests the step `OwnStep::Compensation`. The value of this step is the failure as JSON. Then
//!   it requests one step for each compensation, and ends with the recorded failure. The engine
//!   needs to know nothing else.
//! - **An execution may outlive a hop.** It receives each outcome once, and must remember it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::journal::Failure;
use stepladder_core::state::{RevealedOutcome, RunState, StepState};
use stepladder_core::trace::TraceContext;
use stepladder_core::{Event, Json, Label, RunId, StepId, StepKind, Timestamp};

use crate::telemetry::AttemptTrace;
pub use stepladder_core::hop::{
    AdvisedFailure, AttemptError, ExecutedStep, Finished, PollResult, Polled, StepResult, Unreachable,
};

/// Executes one function, or all functions of a front end.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Opens an execution of a run's function. At first no outcome is revealed; the first
    /// [`Execution::poll`] passes the recorded ones. The worker is killed at `deadline`.
    ///
    /// # Errors
    /// [`OpenError::Refused`] if the function cannot decode the event. The run then fails without a
    /// retry. [`OpenError::Unreachable`] if the executor cannot be reached. It is then tried again
    /// later, without end. This also happens if it does not answer until 2 s before `deadline`.
    async fn open(&self, run: RunView, deadline: Timestamp) -> Result<Box<dyn Execution>, OpenError>;

    /// Returns whether an execution executes steps while it is polled ([`Polled::executed`]). Then
    /// each poll is a call with a lease, and with slots of the function's step limits. Meanwhile no
    /// other hop calls the executor for the run. A poll that takes longer than the function's step
    /// timeout is dropped, and the handler's attempt fails.
    ///
    /// A step that failed is retried at its own time: until a new outcome is there, the execution
    /// is not polled. It must report a step as executed only once in a call, and never after the
    /// step has its outcome; otherwise the run fails with the code `nondeterminism`. A step that a
    /// poll returns as wanted may execute in another hop, so no later poll must execute it.
    fn executes_in_poll(&self) -> bool {
        false
    }
}

/// The part of a run that an execution sees.
#[derive(Clone, Debug)]
pub struct RunView {
    /// The run.
    pub run: RunId,
    /// The secret that seals the callback tokens of the run
    /// ([`CallbackToken::new`](stepladder_core::signal::CallbackToken::new)).
    pub secret: u128,
    /// The number of the handler's attempt, from 1.
    pub attempt: u32,
    /// The event that created the run.
    pub event: Arc<Event>,
    /// The further events of a batch, in order. The list is empty if the function does not collect
    /// events.
    pub joined: Vec<Event>,
    /// When the run was created.
    pub created_at: Timestamp,
    /// The labels that the run has.
    pub labels: Vec<Label>,
    /// The span of the run, to send it with a request; `None` if runs are not traced.
    pub trace: Option<TraceContext>,
}

impl RunView {
    /// Returns what an execution sees of a run in the handler's current attempt.
    pub fn of(run: &RunState) -> Self {
        Self {
            run: run.run,
            secret: run.secret,
            attempt: run.handler_attempt(),
            event: Arc::new(run.created.event.clone()),
            joined: run.joined.clone(),
            created_at: run.created_at,
            labels: run.labels.clone(),
            trace: None,
        }
    }
}

/// Why an execution could not be opened.
#[derive(Clone, Debug)]
pub enum OpenError {
    /// The function cannot decode the event.
    Refused(Failure),
    /// The executor cannot be reached.
    Unreachable(Unreachable),
}

impl From<Unreachable> for OpenError {
    fn from(unreachable: Unreachable) -> Self {
        Self::Unreachable(unreachable)
    }
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

/// A function that is replayed with the outcomes of a run. Dropping the execution suspends the run.
#[async_trait]
pub trait Execution: Send {
    /// Reveals these outcomes, and runs the function until it waits. The first call passes all
    /// recorded outcomes, and each further call only new ones. The result contains all steps that
    /// the function requests, except those with an executing attempt. Without new outcomes, the
    /// result is the same as before, unless the function made progress by itself.
    ///
    /// # Errors
    /// [`Unreachable`] if the executor cannot be reached. The outcomes then count as passed. This
    /// is also assumed if the executor does not answer until 2 s before the deadline: then the
    /// returned future is dropped, and the execution may be polled again.
    async fn poll(&mut self, memo: Vec<RevealedOutcome>) -> Result<Polled, Unreachable>;

    /// Prepares the next poll of an executor that [executes steps in
    /// polls](Executor::executes_in_poll). Others do not need it: the default does nothing.
    fn prepare_call(&mut self, call: PreparedCall) {
        let _ = call;
    }

    /// Reveals outcomes that the last poll has recorded by itself. The function requested the
    /// attempts that start next after it saw them. The next poll reveals them again. Only an
    /// executor that [executes steps in polls](Executor::executes_in_poll) and replays the function
    /// for each attempt needs it: the default does nothing.
    fn reveal_recorded(&mut self, recorded: Vec<RevealedOutcome>) {
        let _ = recorded;
    }

    /// Starts these attempts of steps that the function requested in the last poll. The attempts
    /// make progress while [`wait`](Self::wait) is awaited.
    fn run(&mut self, attempts: Vec<Attempt>);

    /// Waits until an attempt has ended, and returns all attempts that have ended, with their
    /// reports. Returns without a result if the function made progress for another reason; then the
    /// engine polls. Dropping the returned future loses nothing.
    async fn wait(&mut self) -> Finished;

    /// Stops an attempt at its timeout. The attempt then counts as ended, with a failure that names
    /// the timeout.
    fn stop(&mut self, step: &StepId, timeout: Duration);

    /// Returns the approximate memory of the execution in bytes, if the next hop may continue it.
    /// Then a hop of a long run does not replay all outcomes. The engine drops the execution when
    /// memory is short, so nothing may depend on it.
    ///
    /// Returns `None` if the next hop must replay the run: the function has ended, or an attempt
    /// has ended without an outcome that the function has seen. This is the default.
    fn bytes_to_keep(&self) -> Option<usize> {
        None
    }
}

/// What an executor needs to know before it is called to execute steps in a poll.
#[derive(Clone, Debug, Default)]
pub struct PreparedCall {
    /// The number of the call. While the call goes on, steps that it has executed may be recorded
    /// under this number ([`Engine::checkpoint`](crate::Engine::checkpoint)).
    pub number: u32,
    /// Whether a step with a body was started or listed, and has no outcome yet. Then another hop
    /// may be executing it.
    pub has_open_bodies: bool,
    /// The steps of all kinds that have an entry in the journal, and no outcome yet.
    pub open: Vec<StepId>,
    /// When the first of the open steps is due: the end of a sleep or of a wait, or a retry.
    pub due: Option<Timestamp>,
}

impl PreparedCall {
    /// Describes the call that is in progress according to the journal.
    pub(crate) fn of(run: &RunState) -> Self {
        let mut call = Self { number: run.calls, ..Self::default() };
        for (id, step) in run.open_steps() {
            call.has_open_bodies |= step.kind == StepKind::Run;
            call.open.push(id.clone());
            let due = match &step.state {
                StepState::Sleeping { until: due }
                | StepState::Awaiting { until: due, .. }
                | StepState::Retrying { retry_at: due, .. } => Some(*due),
                StepState::Wanted
                | StepState::Running { .. }
                | StepState::Invoking { .. }
                | StepState::Done
                | StepState::Abandoned => None,
            };
            call.due = call.due.into_iter().chain(due).min();
        }
        call
    }
}

/// An attempt to execute.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The step.
    pub step: StepId,
    /// The number of the attempt, from 1. Interrupted attempts are counted too.
    pub number: u32,
    /// The number of attempts that failed before.
    pub failures: u32,
    /// The number of attempts that may fail. If `failures + 1` reaches it, this attempt is the last
    /// one.
    pub max_failures: u32,
    /// When the attempt's time-out ends.
    pub deadline: Timestamp,
    /// For a poll: the state that the last check without an error passed on
    /// ([`Failure::not_yet_with`]); `None` for the first check.
    pub poll_state: Option<Json>,
    /// The span of the attempt; `None` if runs are not traced.
    pub trace: Option<AttemptTrace>,
}

impl Attempt {
    /// Returns whether a failure of this attempt would be final.
    pub fn is_last(&self) -> bool {
        self.failures.saturating_add(1) >= self.max_failures
    }
}
