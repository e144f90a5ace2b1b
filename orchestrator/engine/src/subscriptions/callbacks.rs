//! Receives callbacks: a third party posts data to a callback token once (`wait_for_signal`).
//!
//! The data is written to the journal immediately, even if the run does not wait for it yet. No
//! index is needed, because the token contains its run and step, and is sealed with the run's
//! secret.

use std::sync::Arc;

use stepladder_core::journal::{Fact, Outcome};
use stepladder_core::limits::{RUN_BYTES, SIGNAL_BYTES};
use stepladder_core::signal::CallbackToken;
use stepladder_core::state::{RevealedOutcome, RunState, StepState};
use stepladder_core::{Json, RunId, StepId, StepKind, WakeCause, json};

use crate::EngineError;
use crate::ports::Commit;
use crate::subscriptions::Subscriptions;

/// What an accepted post to a callback token did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalReceipt {
    /// The run of the token.
    pub run: RunId,
    /// The step that waits for the callback, or will wait for it.
    pub step: StepId,
    /// Whether the same data had already been posted. Then this call has changed nothing.
    pub before: bool,
}

impl Subscriptions {
    /// Posts data to a callback token, which completes the wait. Only the first post counts. Data
    /// that is posted before the run waits is kept until then. Posting the same data again succeeds
    /// and changes nothing.
    ///
    /// # Errors
    /// - [`EngineError::NotFound`] for a token that no run has issued.
    /// - [`EngineError::TooLate`] if other data was posted before, the wait has timed out, or the
    ///   run has ended.
    /// - [`EngineError::Invalid`] if the data is larger than [`SIGNAL_BYTES`] or is not acceptable
    ///   JSON (see [`json::check`]).
    /// - [`EngineError::Store`].
    pub async fn signal(&self, token: &str, data: Json) -> Result<SignalReceipt, EngineError> {
        let unknown = || EngineError::NotFound("no run gave out this token; use it as the function gave it out".into());
        if data.get().len() > SIGNAL_BYTES {
            let bytes = data.get().len();
            let sentence =
                format!("the signal has {bytes} bytes; at most {SIGNAL_BYTES} are allowed, post a reference");
            return Err(EngineError::Invalid(sentence));
        }
        if let Err(unfit) = json::check(data.get()) {
            return Err(EngineError::Invalid(format!("the signal {unfit}")));
        }
        let token: CallbackToken = token.parse().map_err(|_| unknown())?;
        let (run, step) = (token.run, token.step.clone());
        let state = self.runs.take_state(run).await?.ok_or_else(unknown)?;
        let mut state = Arc::unwrap_or_clone(state);
        if !token.is_sealed_with(state.secret) {
            self.runs.keep_state(Arc::new(state));
            return Err(unknown());
        }
        let answer = loop {
            // the process of the first post may have died before it sent the wake, so this call
            // sends it
            let wakes = vec![self.runtime.wake_of(&state, WakeCause::Arrived)];
            let mut commit = Commit { wakes, ..Commit::default() };
            match earlier_post(&state, &step) {
                Some(earlier) if has_same_data(earlier, &data) => {
                    self.runtime.carry_out(commit).await?;
                    break Ok(SignalReceipt { run, step, before: true });
                }
                Some(earlier) => {
                    let at = earlier.at;
                    break Err(EngineError::TooLate(format!(
                        "the signal of step `{step}` was completed already, at {at}"
                    )));
                }
                None => {}
            }
            if let Some(sentence) = refusal_reason(&state, &step, &data) {
                break Err(EngineError::TooLate(sentence));
            }
            let received =
                Fact::SignalReceived { step: step.clone(), data: data.clone() }.into_entry(self.runtime.now());
            if self.runs.append(&mut state, vec![received], &mut commit).await?.is_done() {
                tracing::debug!(%run, %step, "a signal was completed");
                break Ok(SignalReceipt { run, step, before: false });
            }
        };
        self.runs.keep_state(Arc::new(state));
        answer
    }

    /// Returns the callback token of a step.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown run; [`EngineError::Store`].
    pub async fn callback_token(&self, run: RunId, step: &str) -> Result<String, EngineError> {
        let state = self.runs.state(run).await?.ok_or_else(|| crate::engine::no_such_run(run))?;
        Ok(CallbackToken::new(run, state.secret, &step.into()).to_string())
    }
}

/// Returns the outcome that an earlier post to this step recorded, if there is one.
fn earlier_post<'a>(state: &'a RunState, step: &StepId) -> Option<&'a RevealedOutcome> {
    let is_callback = |revealed: &&RevealedOutcome| match &revealed.outcome {
        Outcome::Value(value) => revealed.kind == StepKind::Signal && json::is_object(value),
        Outcome::Failed(_) => false,
    };
    state.outcomes.iter().filter(|revealed| revealed.step == *step).find(is_callback)
}

fn has_same_data(earlier: &RevealedOutcome, data: &Json) -> bool {
    #[derive(serde::Deserialize)]
    struct EventDataField<'a> {
        #[serde(borrow)]
        data: &'a serde_json::value::RawValue,
    }
    let Outcome::Value(value) = &earlier.outcome else { return false };
    serde_json::from_str::<EventDataField<'_>>(value.get()).is_ok_and(|arrived| json::is_same(arrived.data, data))
}

/// Returns why nothing can be posted to this step any more; `None` if a post is possible.
fn refusal_reason(state: &RunState, step: &StepId, data: &Json) -> Option<String> {
    if let Some(end) = &state.end {
        let status = end.how.status();
        return Some(format!("the run that waited for this signal has ended, {status} at {}", end.at));
    }
    if let Some(known) = state.steps.get(step) {
        if known.kind != StepKind::Signal {
            return Some(format!("step `{step}` of the run is no wait for a signal"));
        }
        if matches!(known.state, StepState::Done | StepState::Abandoned) {
            return Some(format!("step `{step}` waits no more: its time is over"));
        }
    }
    (state.bytes + data.get().len() > RUN_BYTES)
        .then(|| format!("the run would keep more than {RUN_BYTES} bytes with this signal; post a reference"))
}
