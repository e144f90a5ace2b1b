//! The seam for front ends: how the engine sees a function.
//!
//! A [`Program`] opens a [`Session`] over a run's history. The session runs the handler up to where
//! it waits, says what it waits for, executes bodies and is shown outcomes. The engine knows
//! nothing of how: the Rust SDK polls a future; another front end may speak HTTP.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::decide::Want;
use stepladder_core::journal::Failure;
use stepladder_core::report::{HandlerLogLine, Report};
use stepladder_core::retry::RetryAdvice;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{Event, Json, RunId, Spec, StepId, Timestamp};

/// A function.
pub trait Program: Send + Sync {
    /// Its description.
    fn spec(&self) -> &Spec;

    /// Its version, if it has one: several may be registered side by side.
    fn version(&self) -> Option<&str> {
        None
    }

    /// Opens a run of it. Nothing of the history has been revealed yet.
    ///
    /// # Errors
    /// When the event is not what the function takes; such a run fails without a retry.
    fn open(&self, history: RunHistory) -> Result<Box<dyn Session>, Failure>;
}

/// What a session begins with.
#[derive(Clone, Debug)]
pub struct RunHistory {
    /// Which run.
    pub run: RunId,
    /// What the tokens of its signals are sealed with
    /// ([`CallbackToken::new`](stepladder_core::signal::CallbackToken::new)).
    pub secret: u128,
    /// The handler's attempt, from 1.
    pub attempt: u32,
    /// The event that started it.
    pub event: Arc<Event>,
    /// The events that joined that one before the run began, where the function collects them.
    pub joined: Vec<Event>,
    /// When the run was created.
    pub created_at: Timestamp,
    /// Recorded outcomes in journal order. [`Session::advance`] reveals them one at a time (rule
    /// 7).
    pub outcomes: Vec<RevealedOutcome>,
}

/// A handler over a journal. Dropping it suspends the run.
#[async_trait]
pub trait Session: Send {
    /// Runs the handler until it waits and no recorded outcome is left to reveal. Each outcome is
    /// revealed by itself, in journal order, the handler polled to quiescence in between.
    async fn advance(&mut self) -> PollResult;

    /// Lets these bodies run. They make progress while [`wait_finished`](Self::wait_finished) is awaited.
    fn start_bodies(&mut self, steps: &[StepId]);

    /// Waits until a running body has ended, and gives all that have. Empty when the handler moved
    /// on for another reason: [`advance`](Self::advance) says how. Cancelling the wait loses
    /// nothing.
    async fn wait_finished(&mut self) -> Vec<FinishedStep>;

    /// Stops a running body that has used up its time-out; it is then finished, with an error that
    /// says so.
    fn stop_timed_out(&mut self, step: &StepId, timeout: Duration);

    /// Adds an outcome that has been recorded; the next [`advance`](Self::advance) reveals it.
    fn reveal(&mut self, outcome: RevealedOutcome);

    /// Bodies that were running and that the handler has dropped since the last call (`select!`).
    fn take_dropped(&mut self) -> Vec<StepId>;

    /// Recorded outcomes that the handler has not asked for (rule 6).
    fn orphans(&self) -> Vec<StepId>;

    /// What a body has reported that has ended, was stopped or was dropped; once.
    fn take_report(&mut self, _step: &StepId) -> Report {
        Report::default()
    }

    /// What the handler has said since the last call. A replay says everything again, at the same
    /// places.
    fn take_log_lines(&mut self) -> Vec<HandlerLogLine> {
        Vec::new()
    }
}

/// Where a handler stands.
#[derive(Debug)]
pub enum PollResult {
    /// It waits for these, all of them, in the order in which it first asked. Running bodies are
    /// not among them.
    Wanted(Vec<Want>),
    /// It returned.
    Ended(Result<Json, AdvisedFailure>),
}

/// A body that ended.
#[derive(Debug)]
pub struct FinishedStep {
    /// Whose.
    pub step: StepId,
    /// With what.
    pub result: Result<Json, AdvisedFailure>,
}

/// An error, and what it says of trying again.
#[derive(Clone, Debug)]
pub struct AdvisedFailure {
    /// What is recorded.
    pub failure: Failure,
    /// Whether trying again makes sense.
    pub retry: RetryAdvice,
}
