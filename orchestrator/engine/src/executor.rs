//! The interface between the engine and front ends such as the SDK.
//!
//! An [`Executor`] executes functions. For each hop, it opens a [`Session`] over the run's history.
//! The session runs the handler until it waits, returns what it waits for, and executes bodies. The
//! engine reveals recorded outcomes to it. How a session does this is up to the front end: the Rust
//! SDK polls a future, and another front end may use HTTP.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::journal::Failure;
use stepladder_core::report::{AttemptReport, HandlerLogLine};
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{Event, Json, RunId, StepId, Timestamp};

pub use stepladder_core::hop::{AdvisedFailure, PollResult};

/// Executes functions: one, or all of a front end.
pub trait Executor: Send + Sync {
    /// Opens a session for a run. No outcome is revealed yet.
    ///
    /// # Errors
    /// [`Failure`] if the function cannot decode the event. The run then fails without a retry.
    fn open(&self, history: RunHistory) -> Result<Box<dyn Session>, Failure>;
}

/// The recorded history of a run, from which a session replays it.
#[derive(Clone, Debug)]
pub struct RunHistory {
    /// The run.
    pub run: RunId,
    /// The secret that seals its callback tokens
    /// ([`CallbackToken::new`](stepladder_core::signal::CallbackToken::new)).
    pub secret: u128,
    /// The handler's attempt, counted from 1.
    pub attempt: u32,
    /// The event that created the run.
    pub event: Arc<Event>,
    /// The further events of a batch, in their order. Empty for a function that does not collect
    /// events.
    pub joined: Vec<Event>,
    /// When the run was created.
    pub created_at: Timestamp,
    /// Recorded outcomes in journal order. [`Session::advance`] reveals them one at a time (rule
    /// 7).
    pub outcomes: Vec<RevealedOutcome>,
}

/// A handler that replays a journal. Dropping the session suspends the run.
#[async_trait]
pub trait Session: Send {
    /// Runs the handler until it waits and all recorded outcomes are revealed. Outcomes are
    /// revealed one at a time, in journal order. Between two of them, the handler runs until it
    /// makes no more progress (rule 7).
    async fn advance(&mut self) -> PollResult;

    /// Starts these bodies. They make progress while [`wait_finished`](Self::wait_finished) is
    /// awaited.
    fn start_bodies(&mut self, steps: &[StepId]);

    /// Waits until a body has ended, and returns all that have. Returns an empty list if the
    /// handler made progress for another reason; call [`advance`](Self::advance) then. Dropping the
    /// returned future loses nothing.
    async fn wait_finished(&mut self) -> Vec<FinishedStep>;

    /// Stops a running body at its timeout. The body then counts as finished, with an error that
    /// names the timeout.
    fn stop_timed_out(&mut self, step: &StepId, timeout: Duration);

    /// Adds a recorded outcome. The next [`advance`](Self::advance) reveals it.
    fn reveal(&mut self, outcome: RevealedOutcome);

    /// Returns the running bodies that the handler has dropped since the last call (`select!`).
    fn take_dropped(&mut self) -> Vec<StepId>;

    /// Returns the steps with recorded outcomes that the handler has not requested (rule 6).
    fn orphans(&self) -> Vec<StepId>;

    /// Takes what a body reported, such as log lines and usage. Call it after the body has ended,
    /// was stopped or was dropped. A second call returns an empty report.
    fn take_report(&mut self, _step: &StepId) -> AttemptReport {
        AttemptReport::default()
    }

    /// Takes the log lines that the handler has written since the last call. A replay writes all of
    /// them again, at the same points.
    fn take_log_lines(&mut self) -> Vec<HandlerLogLine> {
        Vec::new()
    }
}

/// A step with a body that has ended.
#[derive(Debug)]
pub struct FinishedStep {
    /// The step.
    pub step: StepId,
    /// The body's value or error.
    pub result: Result<Json, AdvisedFailure>,
}
