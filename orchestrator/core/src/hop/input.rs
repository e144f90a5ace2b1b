//! Inputs: what the shell of a hop answers, and what time it is.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::Want;
use crate::journal::{Failure, Outcome, Record, Seq};
use crate::report::{AttemptReport, HandlerLogLine};
use crate::retry::RetryAdvice;
use crate::slot::{Holder, Limit};
use crate::state::RunState;
use crate::{Event, EventId, Json, StepId, Timestamp};

/// An answer to the hop's last question.
#[derive(Clone, Debug)]
pub enum Input {
    /// The run as of now, and the time of a worker of its function; `None` if there is no such run.
    Loaded(Option<Box<LoadedRun>>),
    /// The effect was carried out.
    Done,
    /// The write was carried out, or another writer was faster.
    Written(WriteResult),
    /// The entries that others have written since.
    Entries(Vec<Record>),
    /// Whether the function is paused.
    Paused(bool),
    /// When flow control lets the run start; `None` for now.
    Admission(Option<Timestamp>),
    /// The run; `None` if there is none.
    Found(Option<FoundRun>),
    /// The limits whose queues have the ticket.
    Tickets(Vec<Limit>),
    /// The slots that attempts of the run hold.
    Holders(Vec<(Limit, Holder)>),
    /// Whether the slots were acquired.
    Slots(SlotAnswer),
    /// The events of the inbox. An event that has outlived its retention is `None`.
    Inbox(Vec<(EventId, Option<Event>)>),
    /// Whether the function takes the run's event.
    Opened(Result<(), Failure>),
    /// What the function wants, or how it ended.
    Polled(Polled),
    /// The ids of the accepted events.
    Sent(Vec<EventId>),
    /// Attempts that ended.
    Finished(Finished),
    /// The time has come.
    TimeIs,
    /// Whether the queue delivers the wake again.
    PutBack(bool),
    /// The storage failed.
    StoreFailed(StoreFault),
    /// The executor cannot be reached. That is no failure of the code, and uses no retry.
    Unreachable(Unreachable),
}

/// The moment of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time.
    pub now: Timestamp,
    /// Whether the process is about to stop: a hop hands over at its next step.
    pub is_stopping: bool,
}

/// A run, and what its worker has time for.
#[derive(Clone, Debug)]
pub struct LoadedRun {
    /// The run.
    pub run: RunState,
    /// How long one invocation of a worker of the run's function may take.
    pub worker_timeout: Duration,
    /// The longest step that fits into a worker's time.
    pub longest_step: Duration,
}

/// The result of a write.
#[derive(Clone, Debug)]
pub enum WriteResult {
    /// Everything was carried out. The record has the written entries, if there were any.
    Done(Option<Record>),
    /// Another writer has taken the number (rule 2). These are the entries since.
    Conflict(Vec<Record>),
}

/// What one run needs to know of another.
#[derive(Clone, Debug)]
pub struct FoundRun {
    /// The number of its next entry.
    pub next: Seq,
    /// How it ended, if it did.
    pub end: Option<Outcome>,
}

/// The answer to a request for slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotAnswer {
    /// The step has a slot of each limit.
    Acquired,
    /// The step waits in a queue, and has no slot.
    Queued {
        /// The key of the queue's limit.
        key: Arc<str>,
        /// Whether it was enqueued just now; it may have had a ticket already.
        joined: bool,
        /// Whether its ticket is new.
        is_new: bool,
    },
}

/// The answer of a poll.
#[derive(Clone, Debug)]
pub struct Polled {
    /// What the function wants, or how it ended.
    pub result: PollResult,
    /// Attempts that the function has dropped while they executed, with their reports. If the
    /// function has ended, these are all of its attempts.
    pub dropped: Vec<(StepId, AttemptReport)>,
    /// What the function has logged since the last poll.
    pub lines: Vec<HandlerLogLine>,
    /// Recorded outcomes that the function has not asked for, if it has ended.
    pub orphans: Vec<StepId>,
    /// Steps that were executed during the poll ([`FunctionVersion::executes_in_poll`]), in the order
    /// in which they ended. The function sees their outcomes at the next poll.
    ///
    /// [`FunctionVersion::executes_in_poll`]: super::FunctionVersion::executes_in_poll
    pub executed: Vec<ExecutedStep>,
}

/// A step that was executed during a poll.
#[derive(Clone, Debug)]
pub struct ExecutedStep {
    /// The step, as the function requested it.
    pub want: Want,
    /// Its value or its failure.
    pub result: Result<Json, AdvisedFailure>,
    /// Its log lines and usage.
    pub report: AttemptReport,
}

impl From<PollResult> for Polled {
    /// Creates an answer without dropped attempts, log lines and orphans.
    fn from(result: PollResult) -> Self {
        Self { result, dropped: Vec::new(), lines: Vec::new(), orphans: Vec::new(), executed: Vec::new() }
    }
}

/// What a function wants, or how it ended.
#[derive(Clone, Debug)]
pub enum PollResult {
    /// It waits for all of these, in the order in which it first asked. Executing attempts are not
    /// among them.
    Wanted(Vec<Want>),
    /// It returned.
    Ended(Result<Json, AdvisedFailure>),
}

/// Attempts that ended while the hop waited.
#[derive(Clone, Debug, Default)]
pub struct Finished {
    /// Attempts with a result. Without any, the function has moved on for another reason.
    pub results: Vec<StepResult>,
    /// Attempts that the function has dropped, with their reports.
    pub dropped: Vec<(StepId, AttemptReport)>,
}

/// An attempt that ended.
#[derive(Clone, Debug)]
pub struct StepResult {
    /// The step.
    pub step: StepId,
    /// The value or the failure.
    pub result: Result<Json, AttemptError>,
    /// The log lines and the usage of the body.
    pub report: AttemptReport,
}

/// Why an attempt has no value.
#[derive(Clone, Debug)]
pub enum AttemptError {
    /// The code failed.
    Failed(AdvisedFailure),
    /// The executor could not be reached, so the code has not executed.
    Unreachable(Unreachable),
}

impl From<AdvisedFailure> for AttemptError {
    fn from(failure: AdvisedFailure) -> Self {
        Self::Failed(failure)
    }
}

/// An executor cannot be reached. That is no failure of the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// Why, in a sentence without a final dot.
    pub why: String,
}

/// A failure, and its advice on retrying.
#[derive(Clone, Debug)]
pub struct AdvisedFailure {
    /// What is recorded.
    pub failure: Failure,
    /// Whether a retry makes sense.
    pub retry: RetryAdvice,
}

/// A failure of the storage or the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// A later retry may help.
    Unavailable(String),
    /// The stored data cannot be read. A retry does not help.
    Unreadable(String),
    /// The call is refused for a lasting reason.
    Refused(String),
}

impl StoreFault {
    /// Returns whether retries are useless until a person has changed something (rule 34).
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Unavailable(_) => false,
            Self::Unreadable(_) | Self::Refused(_) => true,
        }
    }
}
