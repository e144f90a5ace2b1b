//! Inputs: the shell's answers to the questions of a hop, with the current time.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::Want;
use crate::journal::{Failure, Outcome, Record, Seq};
use crate::report::{AttemptReport, HandlerLogLine};
use crate::retry::RetryAdvice;
use crate::slot::{Holder, Limit};
use crate::state::RunState;
use crate::{Event, EventId, Json, Label, StepId, Timestamp};

/// The shell's answer to the hop's last question.
#[derive(Clone, Debug)]
pub enum Input {
    /// The run as it is now, with the time limits of a worker of its function; `None` if the run
    /// does not exist.
    Loaded(Option<Box<LoadedRun>>),
    /// The effect was carried out.
    Done,
    /// The write was carried out, or another writer was faster.
    Written(WriteResult),
    /// The entries that other writers have written since the run was last read.
    Entries(Vec<Record>),
    /// Whether the function is paused.
    Paused(bool),
    /// When flow control lets the run start; `None` if it may start now.
    Admission(Option<Timestamp>),
    /// The run that was searched; `None` if it does not exist.
    Found(Option<FoundRun>),
    /// The limits with the ticket in their queues.
    Tickets(Vec<Limit>),
    /// The slots that attempts of the run hold.
    Holders(Vec<(Limit, Holder)>),
    /// Whether the slots were acquired.
    Slots(SlotAnswer),
    /// The events in the inbox. An event is `None` after the end of its retention.
    Inbox(Vec<(EventId, Option<Event>)>),
    /// The number of outcomes that the open execution has already seen: 0 for a new one. The
    /// failure says that the function cannot decode the run's event.
    Opened(Result<usize, Box<Failure>>),
    /// What the function requests, or how it ended.
    Polled(Box<Polled>),
    /// The ids of the accepted events.
    Sent(Vec<EventId>),
    /// The attempts that ended.
    Finished(Finished),
    /// The time for which the hop waited has come.
    TimeIs,
    /// Whether the queue will deliver the wake again.
    PutBack(bool),
    /// The storage failed.
    StoreFailed(StoreFault),
    /// The executor of the function cannot be reached. This is not a failure of the code, and uses
    /// no retry.
    Unreachable(Unreachable),
}

/// The time of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The current time.
    pub now: Timestamp,
    /// Whether the process is about to stop. Then a hop hands over at its next step.
    pub is_stopping: bool,
}

/// A loaded run, with the time limits of its worker.
#[derive(Clone, Debug)]
pub struct LoadedRun {
    /// The run.
    pub run: RunState,
    /// The maximum time of one invocation of a worker for the run's function.
    pub worker_timeout: Duration,
    /// The maximum timeout of a step that fits into an invocation of the worker.
    pub longest_step: Duration,
}

/// The result of a write.
#[derive(Clone, Debug)]
pub enum WriteResult {
    /// Everything was written. Contains the record with the written entries, if there were any.
    Done(Option<Record>),
    /// Another writer has taken the number of the record (rule 2). Contains the entries of other
    /// writers since then.
    Conflict(Vec<Record>),
}

/// What a run needs to know about another run.
#[derive(Clone, Debug)]
pub struct FoundRun {
    /// The number of the next journal entry of the run.
    pub next: Seq,
    /// How the run ended; `None` if it is live.
    pub end: Option<Outcome>,
}

/// The result of a request for slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotAnswer {
    /// The step has acquired a slot of each limit.
    Acquired,
    /// The step has a ticket in a wait queue, and no slot.
    Queued {
        /// The key of the limit with the ticket in its queue.
        key: Arc<str>,
        /// Whether the step was enqueued by this request. Otherwise it already had a ticket.
        joined: bool,
        /// Whether the ticket is new.
        is_new: bool,
    },
}

/// The result of polling a function.
#[derive(Clone, Debug)]
pub struct Polled {
    /// What the function requests, or how it ended.
    pub result: PollResult,
    /// The attempts that the function dropped while they were executing, with their reports. If the
    /// function has ended, these are all of its attempts.
    pub dropped: Vec<(StepId, AttemptReport)>,
    /// The lines that the function has logged since the last poll.
    pub lines: Vec<HandlerLogLine>,
    /// The labels that the function has added since the last poll.
    pub labels: Vec<Label>,
    /// If the function has ended: the recorded outcomes that it never requested.
    pub orphans: Vec<StepId>,
    /// The steps that were executed during the poll ([`FunctionVersion::executes_in_poll`]), in the
    /// order in which they ended. Each step is listed once. The function sees their outcomes in the
    /// next poll.
    ///
    /// [`FunctionVersion::executes_in_poll`]: super::FunctionVersion::executes_in_poll
    pub executed: Vec<ExecutedStep>,
    /// Whether the executor may have recorded outcomes in the journal while it was polled
    /// ([`record_checkpoint`](super::record_checkpoint)). The hop then reads them.
    pub has_checkpoints: bool,
}

/// A step that was executed during a poll.
#[derive(Clone, Debug)]
pub struct ExecutedStep {
    /// The step, as the function requested it.
    pub want: Want,
    /// The value or the failure of the step.
    pub result: Result<Json, AdvisedFailure>,
    /// The log lines and the model usage of the step.
    pub report: AttemptReport,
}

impl From<PollResult> for Polled {
    /// Creates an input with this result, without dropped attempts, log lines and orphans.
    fn from(result: PollResult) -> Self {
        Self {
            result,
            dropped: Vec::new(),
            lines: Vec::new(),
            labels: Vec::new(),
            orphans: Vec::new(),
            executed: Vec::new(),
            has_checkpoints: false,
        }
    }
}

/// What a function requests, or how it ended.
#[derive(Clone, Debug)]
pub enum PollResult {
    /// The handler waits for all of these steps, in the order in which it first requested them.
    /// Steps with an executing attempt are not included.
    Wanted(Vec<Want>),
    /// The handler has returned.
    Ended(Result<Json, AdvisedFailure>),
}

/// Attempts that ended while the hop waited.
#[derive(Clone, Debug, Default)]
pub struct Finished {
    /// The attempts with a result. If there are none, the function has made progress for another
    /// reason.
    pub results: Vec<StepResult>,
    /// The attempts that the function has dropped, with their reports.
    pub dropped: Vec<(StepId, AttemptReport)>,
}

/// An attempt that ended.
#[derive(Clone, Debug)]
pub struct StepResult {
    /// The step.
    pub step: StepId,
    /// The value that the body returned, or its failure.
    pub result: Result<Json, AttemptError>,
    /// The log lines and the model usage of the body.
    pub report: AttemptReport,
}

/// Why an attempt returned no value.
#[derive(Clone, Debug)]
pub enum AttemptError {
    /// The code failed.
    Failed(AdvisedFailure),
    /// The executor could not be reached, so the code was not executed.
    Unreachable(Unreachable),
    /// The connection to the executor was lost after the attempt was sent, so the code may have
    /// been executed. The attempt is repeated like an unreachable one, unless the step starts at
    /// most once: then the step fails.
    Lost(Unreachable),
}

impl From<AdvisedFailure> for AttemptError {
    fn from(failure: AdvisedFailure) -> Self {
        Self::Failed(failure)
    }
}

/// The error of an executor that cannot be reached. It is not a failure of the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// The reason, as a sentence without a final dot.
    pub why: String,
    /// Whether the connection broke while the executor had the request. Its code may end its
    /// process each time, so this is repeated only some times in a row.
    pub is_broken: bool,
}

/// A failure, with advice on whether to retry.
#[derive(Clone, Debug)]
pub struct AdvisedFailure {
    /// The failure to record.
    pub failure: Failure,
    /// Whether a retry makes sense, and when.
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
