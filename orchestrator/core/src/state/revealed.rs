//! Outcomes as they are shown to a handler.

use crate::journal::{Entry, Fact, Kind, Outcome};
use crate::{Json, StepId, Timestamp, json};

/// One outcome as it is shown to a handler.
#[derive(Clone, Debug)]
pub struct Revealed {
    /// Whose.
    pub step: StepId,
    /// Of which kind of step.
    pub kind: Kind,
    /// The outcome.
    pub outcome: Outcome,
    /// When it was written; `ctx.now()` once it is revealed.
    pub at: Timestamp,
    /// Whether it was taken over from the run that this one repeats.
    pub carried: bool,
}

impl Revealed {
    /// The outcomes that an entry records: those of an event that enters, or the one of its step.
    pub fn each(entry: &Entry) -> Vec<Self> {
        let Fact::EventEntered { event, steps } = &entry.fact else { return Self::from(entry).into_iter().collect() };
        let event = json::of(event).unwrap_or_else(|_| json::null());
        let of = |step: &StepId| Self {
            step: step.clone(),
            kind: Kind::Event,
            outcome: Outcome::Value(event.clone()),
            at: entry.at,
            carried: false,
        };
        steps.iter().map(of).collect()
    }

    /// The outcome that an entry records of its one step, if it records one.
    pub fn from(entry: &Entry) -> Option<Self> {
        let (step, kind, outcome) = match &entry.fact {
            Fact::StepSucceeded { step, output, .. } => (step, Kind::Run, Outcome::Value(output.clone())),
            Fact::StepFailed { step, error, retry_at: None, .. } => (step, Kind::Run, Outcome::Failed(error.clone())),
            Fact::StepRefused { step, error, kind } => {
                (step, kind.unwrap_or(Kind::Run), Outcome::Failed(error.clone()))
            }
            Fact::StepCarried { step, kind, outcome } => (step, *kind, outcome.clone()),
            Fact::SleepEnded { step } => (step, Kind::Sleep, Outcome::Value(json::null())),
            Fact::EventsSent { step, ids } => {
                (step, Kind::Send, Outcome::Value(json::of(ids).unwrap_or_else(|_| json::null())))
            }
            Fact::InvokeEnded { step, outcome } => (step, Kind::Invoke, outcome.clone()),
            Fact::SignalReceived { step, data } => (step, Kind::Signal, Outcome::Value(arrived(data))),
            Fact::WaitExpired { step } => (step, Kind::Event, Outcome::Value(json::null())),
            Fact::RunCreated(_)
            | Fact::EventAwaited { .. }
            | Fact::EventEntered { .. }
            | Fact::SignalAwaited { .. }
            | Fact::StepStarted { .. }
            | Fact::StepFailed { retry_at: Some(_), .. }
            | Fact::AttemptInterrupted { .. }
            | Fact::StepAbandoned { .. }
            | Fact::StepsWoken { .. }
            | Fact::EventJoined { .. }
            | Fact::RunBegun
            | Fact::RunDelayed { .. }
            | Fact::RunAdmitted
            | Fact::Hastened { .. }
            | Fact::SleepStarted { .. }
            | Fact::InvokeStarted { .. }
            | Fact::VersionTaken { .. }
            | Fact::Logged { .. }
            | Fact::HandlerFailed { .. }
            | Fact::RunCompleted { .. }
            | Fact::RunFailed { .. }
            | Fact::RunCancelled { .. }
            | Fact::RunSkipped { .. } => return None,
        };
        let carried = matches!(entry.fact, Fact::StepCarried { .. });
        Some(Self { step: step.clone(), kind, outcome, at: entry.at, carried })
    }
}

/// What a signal brought, told apart from nothing having come: it may have brought `null`.
fn arrived(data: &Json) -> Json {
    let fields = std::collections::BTreeMap::from([("data", data)]);
    json::of(&fields).unwrap_or_else(|_| json::empty_object())
}
