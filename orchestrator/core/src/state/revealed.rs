//! Outcomes as a replay reveals them to a handler.

use crate::journal::{Entry, Fact, Outcome, StepKind};
use crate::{Json, StepId, Timestamp, json};

/// One outcome as a replay reveals it to a handler.
#[derive(Clone, Debug)]
pub struct RevealedOutcome {
    /// The step.
    pub step: StepId,
    /// The kind of the step.
    pub kind: StepKind,
    /// The outcome.
    pub outcome: Outcome,
    /// When it was written; `ctx.now()` returns it after the outcome is revealed.
    pub at: Timestamp,
    /// Whether it was copied from the run that this run reruns.
    pub carried: bool,
}

impl RevealedOutcome {
    /// Returns the outcomes that an entry records: one for each step of a delivered event, or that
    /// of its step.
    pub fn each(entry: &Entry) -> Vec<Self> {
        let Fact::EventDelivered { event, steps } = &entry.fact else { return Self::from(entry).into_iter().collect() };
        let event = json::to_json(event).unwrap_or_else(|_| json::null());
        let of = |step: &StepId| Self {
            step: step.clone(),
            kind: StepKind::Event,
            outcome: Outcome::Value(event.clone()),
            at: entry.at,
            carried: false,
        };
        steps.iter().map(of).collect()
    }

    /// Returns the outcome that an entry records for its one step; `None` if it records none.
    pub fn from(entry: &Entry) -> Option<Self> {
        let (step, kind, outcome) = match &entry.fact {
            Fact::StepSucceeded { step, output, .. } => (step, StepKind::Run, Outcome::Value(output.clone())),
            Fact::StepFailed { step, error, retry_at: None, .. } => {
                (step, StepKind::Run, Outcome::Failed(error.clone()))
            }
            Fact::StepRefused { step, error, kind } => {
                (step, kind.unwrap_or(StepKind::Run), Outcome::Failed(error.clone()))
            }
            Fact::StepCarriedOver { step, kind, outcome } => (step, *kind, outcome.clone()),
            Fact::SleepEnded { step } => (step, StepKind::Sleep, Outcome::Value(json::null())),
            Fact::EventsSent { step, ids } => {
                (step, StepKind::Send, Outcome::Value(json::to_json(ids).unwrap_or_else(|_| json::null())))
            }
            Fact::InvokeEnded { step, outcome } => (step, StepKind::Invoke, outcome.clone()),
            Fact::SignalReceived { step, data } => (step, StepKind::Signal, Outcome::Value(wrap_callback_data(data))),
            Fact::WaitExpired { step } => (step, StepKind::Event, Outcome::Value(json::null())),
            Fact::RunCreated(_)
            | Fact::EventAwaited { .. }
            | Fact::EventDelivered { .. }
            | Fact::SignalAwaited { .. }
            | Fact::StepStarted { .. }
            | Fact::StepFailed { retry_at: Some(_), .. }
            | Fact::AttemptInterrupted { .. }
            | Fact::StepAbandoned { .. }
            | Fact::StepsWoken { .. }
            | Fact::EventJoined { .. }
            | Fact::CollectingEnded
            | Fact::RunDelayed { .. }
            | Fact::RunAdmitted
            | Fact::WaitSkipped { .. }
            | Fact::SleepStarted { .. }
            | Fact::InvokeStarted { .. }
            | Fact::VersionChosen { .. }
            | Fact::LogWritten { .. }
            | Fact::HandlerFailed { .. }
            | Fact::RunCompleted { .. }
            | Fact::RunFailed { .. }
            | Fact::RunCancelled { .. }
            | Fact::RunSkipped { .. } => return None,
        };
        let carried = matches!(entry.fact, Fact::StepCarriedOver { .. });
        Some(Self { step: step.clone(), kind, outcome, at: entry.at, carried })
    }
}

/// Wraps a callback's data, because the data may be `null` and a wait without a callback also
/// returns `null`.
fn wrap_callback_data(data: &Json) -> Json {
    let fields = std::collections::BTreeMap::from([("data", data)]);
    json::to_json(&fields).unwrap_or_else(|_| json::empty_object())
}
