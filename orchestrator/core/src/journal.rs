//! The journal: the append-only list of a run's entries. The journal is the only source of truth
//! about a run.
//!
//! Entries are numbered 0, 1, 2… and are written in [`Record`]s. A record is one conditional write
//! of one or more entries. The write succeeds only if the number of the first entry is still free.
//!
//! Adapters store the JSON form of these types. Enums are externally tagged, so outcomes stay text
//! and are never parsed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

pub use crate::failure::Failure;
use crate::report::{AttemptReport, HandlerLogLine};
use crate::waiting::EventWait;
use crate::{Event, EventId, Json, Label, RunId, StepId, Timestamp};

mod new_run;
mod outcome;
mod predicates;
mod token;
mod visitor;

pub use new_run::{NewRun, RunOrigin};
pub use outcome::{Outcome, StepKind};
pub(crate) use predicates::is_executed;
pub use visitor::{AttemptEnd, DirectOutcome, FactVisitor, StartChange, Wait, WaitEnd};

/// The number of an entry within its run, from 0.
pub type Seq = u64;

/// One write to a journal: the entries with the numbers `seq`, `seq + 1`, ….
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The number of the first entry.
    pub seq: Seq,
    /// A random token. A writer that finds its own token in the stored record knows that its write
    /// succeeded (rule 1).
    #[serde(with = "token")]
    pub token: u128,
    /// The version of the code that wrote the record.
    pub code: Arc<str>,
    /// What happened, in order.
    pub entries: Vec<Entry>,
}

impl Record {
    /// Returns the number that follows the last entry.
    pub fn next(&self) -> Seq {
        self.seq.saturating_add(self.entries.len() as Seq)
    }
}

/// One fact and the time at which it was written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The time of the entry, by the writer's clock.
    pub at: Timestamp,
    /// What happened.
    pub fact: Fact,
}

/// What a journal entry records. Attempts are counted from 1.
#[derive(Clone, Debug, IntoStaticStr, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum Fact {
    /// The run was created. This is entry 0 of every run.
    RunCreated(Box<NewRun>),
    /// A further event joined a run that collects events and has not started. The event replaces
    /// the previous one (`replaces`) or is added to the events collected so far. `begins_at` is the
    /// run's new start time, if it changed. With `closes`, this is the last event that the run
    /// collects.
    EventJoined {
        event: Box<Event>,
        #[serde(default, skip_serializing_if = "is_false")]
        replaces: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        begins_at: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "is_false")]
        closes: bool,
    },
    /// The run stopped collecting events: no further event may join it.
    #[serde(alias = "RunBegun")]
    CollectingEnded,
    /// The run missed its planned start. Its throttle or rate limit has room again at `begins_at`.
    RunDelayed { begins_at: Timestamp },
    /// Flow control admitted the run; only concurrency limits may delay it from now on. This entry
    /// is written in one record with the entries that follow.
    RunAdmitted,
    /// An attempt is about to execute the body of the step, at most until `lease_until`.
    /// With `at_most_once`, no further attempt follows if this one leaves no outcome.
    StepStarted {
        step: StepId,
        attempt: u32,
        lease_until: Timestamp,
        worker: Arc<str>,
        #[serde(default, skip_serializing_if = "is_false")]
        at_most_once: bool,
    },
    /// The attempt returned a value, which is memoized.
    StepSucceeded {
        step: StepId,
        attempt: u32,
        output: Json,
        #[serde(default, skip_serializing_if = "AttemptReport::is_empty")]
        report: AttemptReport,
    },
    /// The attempt failed. The step is retried at `retry_at`; if that is `None`, the failure is
    /// memoized.
    StepFailed {
        step: StepId,
        attempt: u32,
        error: Failure,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "AttemptReport::is_empty")]
        report: AttemptReport,
    },
    /// The worker of the attempt died. This does not count as a failure and uses no retry.
    AttemptInterrupted { step: StepId, attempt: u32 },
    /// The executor could not be reached to execute the attempt. This is not a failure of the code,
    /// and uses no retry. The next attempt, at `retry_at`, has the same number. `hop` is the number
    /// of the hop that took the attempt back, which is part of the holder of its slots. The attempt
    /// is `broken` if the connection broke while the executor had it.
    AttemptUnreachable {
        step: StepId,
        attempt: u32,
        why: Arc<str>,
        retry_at: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hop: Option<u64>,
        #[serde(default, skip_serializing_if = "is_false")]
        broken: bool,
    },
    /// The handler dropped the step while its body was running (`select!`).
    StepAbandoned {
        step: StepId,
        attempt: u32,
        #[serde(default, skip_serializing_if = "AttemptReport::is_empty")]
        report: AttemptReport,
    },
    /// The step failed without another attempt: its timeout exceeds its worker's time limit, or it
    /// was interrupted too often.
    StepRefused {
        step: StepId,
        error: Failure,
        /// The kind of the step, if no earlier entry records the kind. `None` means a step with a
        /// body.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<StepKind>,
    },
    /// The outcome of a step was copied from the original run into this rerun.
    #[serde(alias = "StepCarried")]
    StepCarriedOver { step: StepId, kind: StepKind, outcome: Outcome },
    /// Wakes were sent for these steps: one for each step, or one for all of them.
    StepsWoken {
        steps: Vec<StepId>,
        /// Whether the steps share one wake, which names the first of them.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        together: bool,
    },
    /// A sleep started.
    SleepStarted { step: StepId, until: Timestamp },
    /// A sleep ended.
    SleepEnded { step: StepId },
    /// Events were accepted. Their ids are fixed, so that accepting them again has no effect.
    EventsSent { step: StepId, ids: Vec<EventId> },
    /// A run of another function was called.
    InvokeStarted {
        step: StepId,
        function: Arc<str>,
        child: RunId,
        input: Json,
        /// Whether the called run is cancelled if this run ends first.
        #[serde(default, skip_serializing_if = "is_false")]
        bound: bool,
        /// When the call ends without an outcome. The called run goes on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// The `user` of the called run's event; `None` means that of this run's event.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<Json>,
    },
    /// The called run ended.
    InvokeEnded { step: StepId, outcome: Outcome },
    /// The run waits for an event until `until`.
    EventAwaited { step: StepId, wait: Arc<EventWait>, until: Timestamp },
    /// An event was delivered to the run: once, to all open waits that it matches (rule 17).
    #[serde(alias = "EventEntered")]
    EventDelivered { event: Box<Event>, steps: Vec<StepId> },
    /// The run waits for a callback until `until`, and for heartbeats at least this often.
    SignalAwaited {
        step: StepId,
        until: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        heartbeat_ms: Option<u64>,
    },
    /// The holder of the callback token posted a heartbeat. Not each heartbeat is recorded.
    HeartbeatReceived { step: StepId },
    /// The wait ended with this error, because no heartbeat came in time.
    HeartbeatMissed { step: StepId, error: Failure },
    /// A callback arrived. It may arrive before the run waits for it.
    SignalReceived { step: StepId, data: Json },
    /// The holder of the callback token reported a failure instead of data. It may arrive before
    /// the run waits for it.
    SignalFailed { step: StepId, error: Failure },
    /// The wait ended without an event, a callback or the end of a called run.
    WaitExpired { step: StepId },
    /// The run uses this version of its function until it ends. This entry is written in one record
    /// with the handler's first request.
    #[serde(alias = "VersionTaken")]
    VersionChosen { version: Arc<str> },
    /// The handler wrote log lines in this attempt. This entry is written in one record with the
    /// entries that follow.
    #[serde(alias = "Logged")]
    LogWritten { attempt: u32, lines: Vec<HandlerLogLine> },
    /// The handler added these labels to the run. This entry is written in one record with the
    /// entries that follow. A replay adds them again, which has no effect.
    LabelsAdded { labels: Vec<Label> },
    /// A user skipped a wait: the sleep or the retry of the step is due now. Without a step, the
    /// retry of the handler is due now.
    #[serde(alias = "Hastened")]
    WaitSkipped {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
    },
    /// The handler returned an error outside a step. The handler runs again at `retry_at`.
    HandlerFailed { attempt: u32, error: Failure, retry_at: Timestamp },
    /// An executor that executes steps while it is polled is being called, at most until
    /// `lease_until`. No step starts until the call ends. Calls are counted from 1.
    CallStarted { call: u32, lease_until: Timestamp, worker: Arc<str> },
    /// The call ended. The starts and the outcomes of its steps follow in the same record. The call
    /// is `interrupted` if its worker died, or if the connection to the executor broke.
    CallEnded {
        call: u32,
        #[serde(default, skip_serializing_if = "is_false")]
        interrupted: bool,
    },
    /// The executor of the function cannot be reached to replay the function. This is written once;
    /// the next entry of this kind follows only after [`ExecutorReached`](Self::ExecutorReached).
    ExecutorUnreachable { why: Arc<str> },
    /// The executor of the function is reachable again.
    ExecutorReached,
    /// The handler returned a value. This ends the run.
    RunCompleted { output: Json },
    /// The handler returned an error. This ends the run.
    RunFailed { error: Failure },
    /// A user, an event or a limit cancelled the run. This ends the run.
    RunCancelled { reason: Arc<str> },
    /// The run ended before it started, because flow control skipped it.
    RunSkipped { reason: Arc<str> },
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Fact {
    /// Returns the name of this kind of fact, such as `StepStarted`.
    pub fn name(&self) -> &'static str {
        self.into()
    }

    /// Returns the step that the fact is about; `None` if it is about the run or about several
    /// steps.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::StepStarted { step, .. }
            | Self::StepSucceeded { step, .. }
            | Self::StepFailed { step, .. }
            | Self::AttemptInterrupted { step, .. }
            | Self::AttemptUnreachable { step, .. }
            | Self::StepAbandoned { step, .. }
            | Self::StepRefused { step, .. }
            | Self::StepCarriedOver { step, .. }
            | Self::SleepStarted { step, .. }
            | Self::SleepEnded { step }
            | Self::EventsSent { step, .. }
            | Self::InvokeStarted { step, .. }
            | Self::InvokeEnded { step, .. }
            | Self::EventAwaited { step, .. }
            | Self::SignalAwaited { step, .. }
            | Self::SignalReceived { step, .. }
            | Self::SignalFailed { step, .. }
            | Self::HeartbeatReceived { step }
            | Self::HeartbeatMissed { step, .. }
            | Self::WaitExpired { step } => Some(step),
            Self::WaitSkipped { step } => step.as_ref(),
            Self::RunCreated(_)
            | Self::EventJoined { .. }
            | Self::CollectingEnded
            | Self::RunDelayed { .. }
            | Self::RunAdmitted
            | Self::StepsWoken { .. }
            | Self::EventDelivered { .. }
            | Self::VersionChosen { .. }
            | Self::LogWritten { .. }
            | Self::LabelsAdded { .. }
            | Self::HandlerFailed { .. }
            | Self::ExecutorUnreachable { .. }
            | Self::ExecutorReached
            | Self::CallStarted { .. }
            | Self::CallEnded { .. }
            | Self::RunCompleted { .. }
            | Self::RunFailed { .. }
            | Self::RunCancelled { .. }
            | Self::RunSkipped { .. } => None,
        }
    }

    /// Returns the report of the attempt that the fact ends; `None` for every other fact.
    pub fn report(&self) -> Option<&AttemptReport> {
        let (Self::StepSucceeded { report, .. } | Self::StepFailed { report, .. } | Self::StepAbandoned { report, .. }) =
            self
        else {
            return None;
        };
        Some(report)
    }

    /// Returns the report of the attempt that the fact ends, so that it can be changed before it is
    /// written.
    pub fn report_mut(&mut self) -> Option<&mut AttemptReport> {
        let (Self::StepSucceeded { report, .. } | Self::StepFailed { report, .. } | Self::StepAbandoned { report, .. }) =
            self
        else {
            return None;
        };
        Some(report)
    }

    /// Creates a journal entry with this fact and this time.
    pub fn into_entry(self, at: Timestamp) -> Entry {
        Entry { at, fact: self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn outcomes_keep_their_text() {
        let at = Timestamp::from_millis(7);
        let output = json::to_json(&serde_json::json!({"b": 1.0, "a": [1, 2]})).unwrap();
        let fact = Fact::StepSucceeded { step: "load".into(), attempt: 1, output, report: AttemptReport::default() };
        let record = Record { seq: 3, token: u128::MAX, code: "1".into(), entries: vec![fact.into_entry(at)] };
        let text = serde_json::to_string(&record).unwrap();
        let back: Record = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
        assert_eq!((back.next(), back.token), (4, u128::MAX));
    }
}
