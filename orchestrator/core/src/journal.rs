//! The journal: the append-only list of a run's entries, the only truth about it.
//!
//! Entries are numbered 0, 1, 2… and are written in [`Record`]s: one conditional write, of one or several entries,
//! that succeeds only while the number of its first entry is free. The JSON form of these types is what adapters
//! store; it is externally tagged throughout, so that outcomes are kept as text and never taken apart.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::{FAILURE_BYTES, NAME_CHARS};
use crate::report::{HandlerLogLine, Report};
use crate::sentence::truncated;
use crate::waiting::EventWait;
use crate::{Event, EventId, Json, RunId, StepId, Timestamp};

/// The number of an entry within its run, from 0.
pub type Seq = u64;

/// One write: entries `seq`, `seq + 1`, ….
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The number of the first entry.
    pub seq: Seq,
    /// Random: finding one's own token at a number means that one's write succeeded (rule 1).
    #[serde(with = "token")]
    pub token: u128,
    /// The version of the code that wrote it.
    pub code: Arc<str>,
    /// What happened, in order.
    pub entries: Vec<Entry>,
}

impl Record {
    /// The number after the last entry.
    pub fn next(&self) -> Seq {
        self.seq.saturating_add(self.entries.len() as Seq)
    }
}

/// One fact, and when it was written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// By the clock of the one who wrote it.
    pub at: Timestamp,
    /// What happened.
    pub fact: Fact,
}

/// What an entry says. Attempts count from 1.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum Fact {
    /// Entry 0 of every run.
    RunCreated(Box<NewRun>),
    /// A further event for a run that collects events and has not begun. It takes the place of the one before
    /// (`replaces`), or joins those that there are; and says when the run begins now, where that has changed. With
    /// `closes` it is the last.
    EventJoined {
        event: Box<Event>,
        #[serde(default, skip_serializing_if = "is_false")]
        replaces: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        begins_at: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "is_false")]
        closes: bool,
    },
    /// A run that collects events begins: none joins it any more.
    #[serde(alias = "RunBegun")]
    CollectingEnded,
    /// The run missed its moment; its throttle or rate limit has room for it then.
    RunDelayed { begins_at: Timestamp },
    /// Flow control lets the run go: what holds it up from now on is a concurrency limit. It travels with what is written
    /// next.
    RunAdmitted,
    /// An attempt's body is about to run, until `lease_until` at the latest.
    StepStarted { step: StepId, attempt: u32, lease_until: Timestamp, worker: Arc<str> },
    /// The attempt's value, memoized.
    StepSucceeded {
        step: StepId,
        attempt: u32,
        output: Json,
        #[serde(default, skip_serializing_if = "Report::is_empty")]
        report: Report,
    },
    /// The attempt failed; it is tried again at `retry_at`, or, without one, the failure is memoized.
    StepFailed {
        step: StepId,
        attempt: u32,
        error: Failure,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "Report::is_empty")]
        report: Report,
    },
    /// The attempt's worker is gone; this was no failure of the code and uses no retry.
    AttemptInterrupted { step: StepId, attempt: u32 },
    /// The handler dropped the body while it ran (`select!`).
    StepAbandoned {
        step: StepId,
        attempt: u32,
        #[serde(default, skip_serializing_if = "Report::is_empty")]
        report: Report,
    },
    /// The step fails for good without another attempt: its time-out cannot fit a worker, or it was interrupted too
    /// often.
    StepRefused {
        step: StepId,
        error: Failure,
        /// What the step is, where no entry before says so. Without it: a step with a body.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<StepKind>,
    },
    /// An outcome taken over from the run that this one repeats.
    #[serde(alias = "StepCarried")]
    StepCarriedOver { step: StepId, kind: StepKind, outcome: Outcome },
    /// Each of these steps has been sent its own wake.
    StepsWoken { steps: Vec<StepId> },
    /// A timer was set.
    SleepStarted { step: StepId, until: Timestamp },
    /// The timer's time has come.
    SleepEnded { step: StepId },
    /// Events were accepted, under ids that make a repetition harmless.
    EventsSent { step: StepId, ids: Vec<EventId> },
    /// Another function's run was asked for.
    InvokeStarted {
        step: StepId,
        function: Arc<str>,
        child: RunId,
        input: Json,
        /// It is cancelled when this run ends before it.
        #[serde(default, skip_serializing_if = "is_false")]
        bound: bool,
    },
    /// That run ended.
    InvokeEnded { step: StepId, outcome: Outcome },
    /// The run waits for an event, until then.
    EventAwaited { step: StepId, wait: Arc<EventWait>, until: Timestamp },
    /// An event entered the run: once, for all waits that were open then and that it fulfils (rule 17).
    #[serde(alias = "EventEntered")]
    EventDelivered { event: Box<Event>, steps: Vec<StepId> },
    /// The run waits for a signal, until then.
    SignalAwaited { step: StepId, until: Timestamp },
    /// A signal was completed. It may come before it is waited for.
    SignalReceived { step: StepId, data: Json },
    /// What was waited for did not come in time.
    WaitExpired { step: StepId },
    /// The run goes on under this version of its function, to its end. It travels with what a handler first asks for.
    #[serde(alias = "VersionTaken")]
    VersionChosen { version: Arc<str> },
    /// The handler said something, in this attempt of it. It travels with whatever is written next.
    #[serde(alias = "Logged")]
    LogWritten { attempt: u32, lines: Vec<HandlerLogLine> },
    /// Somebody wants what the step waits for now: its timer's time, or that of its next attempt, has come. Without a step:
    /// the time at which the handler is run again.
    #[serde(alias = "Hastened")]
    WaitSkipped {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
    },
    /// The handler returned an error outside a step; it is run again at `retry_at`.
    HandlerFailed { attempt: u32, error: Failure, retry_at: Timestamp },
    /// The handler's value. The end.
    RunCompleted { output: Json },
    /// The handler's error. The end.
    RunFailed { error: Failure },
    /// Somebody asked for it. The end.
    RunCancelled { reason: Arc<str> },
    /// It never began. The end.
    RunSkipped { reason: Arc<str> },
}

/// What a run starts from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewRun {
    /// The function's id.
    pub function: Arc<str>,
    /// The event, in full: a run needs no second read.
    pub event: Event,
    /// What started it.
    pub origin: Origin,
    /// From when on it may begin, where something puts that off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins_at: Option<Timestamp>,
    /// Whether further events may join it until it begins.
    #[serde(default, skip_serializing_if = "is_false")]
    pub collects: bool,
    /// The run whose place it takes: it cancels that one before it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<RunId>,
    /// Whether it is cancelled when the run ends that called it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bound: bool,
}

impl NewRun {
    /// A run of this function with this event, to begin at once.
    pub fn new(function: Arc<str>, event: Event, origin: Origin) -> Self {
        Self { function, event, origin, begins_at: None, collects: false, replaces: None, bound: false }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// What started a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum Origin {
    /// An event that the function's trigger matches.
    Event,
    /// A step of another run, which waits for this one's end.
    Invoke { parent: RunId, step: StepId },
    /// The failure of another run.
    Failure { of: RunId },
    /// A user's wish to run another run again.
    Rerun { of: RunId },
    /// The function's cron line.
    Cron,
}

/// What a handler waits for. A recorded outcome of one kind is never served to a step of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StepKind {
    /// A body to execute.
    Run,
    /// A timer.
    Sleep,
    /// Events to send.
    Send,
    /// Another function's result.
    Invoke,
    /// An event that arrives while the run waits for it.
    Event,
    /// What a third party posts back to.
    Signal,
}

/// How a step ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// With this value.
    Value(Json),
    /// With this failure, for good.
    Failed(Failure),
}

/// An error as it is kept: what a person reads, and what code branches on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A sentence; causes follow after colons. At most [`FAILURE_BYTES`] in a journal.
    pub message: String,
    /// A short word to branch on: error types do not survive the journal, this does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// The code of what is no failure: a check that was made and found that it is not time yet. It uses no retry.
const NOT_YET: &str = "stepladder/not-yet";

impl Failure {
    /// What a check says that is to be made again.
    pub fn not_yet() -> Self {
        Self { message: "not yet".into(), code: Some(NOT_YET.into()) }
    }

    /// The same within the limits of a journal: a long message is cut and ends in `…`, a long code is cut, and NUL
    /// characters, which databases cannot store, are replaced.
    #[must_use]
    pub fn bounded(self) -> Self {
        let Self { mut message, mut code } = self;
        if message.len() > FAILURE_BYTES {
            message = truncated(&message, FAILURE_BYTES - '…'.len_utf8());
        }
        if message.contains('\0') {
            message = truncated(message.replace('\0', "\u{fffd}"), FAILURE_BYTES - '…'.len_utf8());
        }
        if let Some(long) = code.as_mut().filter(|code| code.contains('\0') || code.chars().nth(NAME_CHARS).is_some()) {
            *long = long.chars().take(NAME_CHARS).map(|c| if c == '\0' { '\u{fffd}' } else { c }).collect();
        }
        Self { message, code }
    }

    /// Whether it is [`Failure::not_yet`].
    pub fn is_not_yet(&self) -> bool {
        self.code.as_deref() == Some(NOT_YET)
    }

    /// A failure without a code.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: None }
    }
}

impl Fact {
    /// The step that the fact is about, if it is about one. An event that enters may be about several.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::StepStarted { step, .. }
            | Self::StepSucceeded { step, .. }
            | Self::StepFailed { step, .. }
            | Self::AttemptInterrupted { step, .. }
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
            | Self::HandlerFailed { .. }
            | Self::RunCompleted { .. }
            | Self::RunFailed { .. }
            | Self::RunCancelled { .. }
            | Self::RunSkipped { .. } => None,
        }
    }

    /// What the body of an attempt that is over reported; `None` for every other fact.
    pub fn report(&self) -> Option<&Report> {
        let (Self::StepSucceeded { report, .. } | Self::StepFailed { report, .. } | Self::StepAbandoned { report, .. }) =
            self
        else {
            return None;
        };
        Some(report)
    }

    /// The same, to be changed before it is written.
    pub fn report_mut(&mut self) -> Option<&mut Report> {
        let (Self::StepSucceeded { report, .. } | Self::StepFailed { report, .. } | Self::StepAbandoned { report, .. }) =
            self
        else {
            return None;
        };
        Some(report)
    }

    /// Whether it says that the handler was running when it was written: something began that only a handler asks for.
    /// Outcomes may come while it waits.
    pub fn is_requested_by_handler(&self) -> bool {
        matches!(
            self,
            Self::StepStarted { .. }
                | Self::StepsWoken { .. }
                | Self::SleepStarted { .. }
                | Self::EventsSent { .. }
                | Self::InvokeStarted { .. }
                | Self::EventAwaited { .. }
                | Self::SignalAwaited { .. }
        )
    }

    /// Whether it may come while a run collects events: the events, its beginning, or an end that nobody's handler gave it.
    pub fn may_precede_start(&self) -> bool {
        matches!(
            self,
            Self::EventJoined { .. }
                | Self::CollectingEnded
                | Self::RunFailed { .. }
                | Self::RunCancelled { .. }
                | Self::RunSkipped { .. }
        )
    }

    /// Whether the run is over with this.
    pub fn is_end(&self) -> bool {
        matches!(
            self,
            Self::RunCompleted { .. } | Self::RunFailed { .. } | Self::RunCancelled { .. } | Self::RunSkipped { .. }
        )
    }

    /// Whether losing this entry in a crash would lose only bookkeeping, no outcome (a line that is lost is said again by
    /// the next replay). A write of such facts alone need
    /// not be synced by itself on one machine: whatever follows it syncs it too.
    pub fn is_bookkeeping(&self) -> bool {
        matches!(
            self,
            Self::StepStarted { .. }
                | Self::AttemptInterrupted { .. }
                | Self::RunAdmitted
                | Self::LogWritten { .. }
                | Self::VersionChosen { .. }
        )
    }

    /// The fact at a moment.
    pub fn at(self, at: Timestamp) -> Entry {
        Entry { at, fact: self }
    }
}

mod token {
    //! Tokens as hexadecimal text: JSON numbers stop at 64 bits.
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(token: &u128, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{token:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u128, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        u128::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
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
        let fact = Fact::StepSucceeded { step: "load".into(), attempt: 1, output, report: Report::default() };
        let record = Record { seq: 3, token: u128::MAX, code: "1".into(), entries: vec![fact.at(at)] };
        let text = serde_json::to_string(&record).unwrap();
        let back: Record = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
        assert_eq!((back.next(), back.token), (4, u128::MAX));
    }
}
