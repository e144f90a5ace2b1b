//! Outcomes as a replay reveals them to a handler.

use crate::journal::{Entry, Fact, Outcome, StepKind};
use crate::{ErrorCode, EventId, Failure, Json, StepId, Timestamp, json};

/// The outcome of a step, as a replay reveals it to a handler.
#[derive(Clone, Debug)]
pub struct RevealedOutcome {
    /// The step.
    pub step: StepId,
    /// The kind of the step.
    pub kind: StepKind,
    /// The outcome.
    pub outcome: Outcome,
    /// When the outcome was written. After a replay has revealed the outcome, `ctx.now()` returns
    /// this time.
    pub at: Timestamp,
    /// Whether the outcome was copied from the original run into this rerun.
    pub carried: bool,
}

impl RevealedOutcome {
    /// Returns the size of the recorded value or failure, in bytes.
    pub fn bytes(&self) -> usize {
        match &self.outcome {
            Outcome::Value(value) => value.get().len(),
            Outcome::Failed(failure) => failure.message.len(),
        }
    }

    /// Returns the outcome of a step of this kind. Facts that refuse or expire a step do not record
    /// its kind. A call that expires fails; any other wait ends with `null`.
    #[must_use]
    pub(super) fn with_kind(mut self, kind: StepKind, fact: &Fact) -> Self {
        if let (StepKind::Invoke, Fact::WaitExpired { step }) = (kind, fact) {
            self.outcome = Outcome::Failed(invoke_timeout(step));
        }
        Self { kind, ..self }
    }

    /// Returns all outcomes that an entry records. A delivered event has one for each step that
    /// waited for it; any other entry has at most one.
    pub fn from_entry(entry: &Entry) -> Vec<Self> {
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

    /// Returns the outcome of the single step that an entry is about; `None` if the entry records
    /// no outcome.
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
            Fact::SignalFailed { step, error } | Fact::HeartbeatMissed { step, error } => {
                (step, StepKind::Signal, Outcome::Failed(error.clone()))
            }
            Fact::WaitExpired { step } => (step, StepKind::Event, Outcome::Value(json::null())),
            Fact::RunCreated(_)
            | Fact::EventAwaited { .. }
            | Fact::EventDelivered { .. }
            | Fact::SignalAwaited { .. }
            | Fact::HeartbeatReceived { .. }
            | Fact::StepStarted { .. }
            | Fact::StepFailed { retry_at: Some(_), .. }
            | Fact::AttemptInterrupted { .. }
            | Fact::AttemptUnreachable { .. }
            | Fact::ExecutorUnreachable { .. }
            | Fact::ExecutorReached
            | Fact::CallStarted { .. }
            | Fact::CallEnded { .. }
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
            | Fact::LabelsAdded { .. }
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

/// Returns the failure of a call whose run has not ended in time.
pub fn invoke_timeout(step: &StepId) -> Failure {
    let message = format!("the run that step `{step}` called has not ended within the step's timeout; it goes on");
    Failure::with_code(message, ErrorCode::InvokeTimeout)
}

/// Wraps the data of a callback. Otherwise data that is `null` would look like a wait that ended
/// without a callback.
fn wrap_callback_data(data: &Json) -> Json {
    let fields = std::collections::BTreeMap::from([("data", data)]);
    json::to_json(&fields).unwrap_or_else(|_| json::empty_object())
}

/// Returns the id of the event that a copied outcome contains, if there is one.
pub(super) fn id_of_copied_event(kind: StepKind, outcome: &Outcome) -> Option<EventId> {
    #[derive(serde::Deserialize)]
    struct EventIdField {
        id: EventId,
    }
    let Outcome::Value(event) = outcome else { return None };
    if kind != StepKind::Event {
        return None;
    }
    serde_json::from_str::<Option<EventIdField>>(event.get()).ok().flatten().map(|copied| copied.id)
}
