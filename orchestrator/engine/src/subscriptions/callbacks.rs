//! Signals: a third party posts to a token, once. The journal holds what it posted, whether the run
//! waits for it already or not yet; no index is needed, for a token names its run and is sealed
//! with the run's secret.

use std::sync::Arc;

use stepladder_core::journal::{Fact, Outcome};
use stepladder_core::limits::{RUN_BYTES, SIGNAL_BYTES};
use stepladder_core::signal::CallbackToken;
use stepladder_core::state::{RevealedOutcome, RunState, StepState};
use stepladder_core::{Json, RunId, StepId, StepKind, WakeCause, json};

use crate::EngineError;
use crate::ports::Commit;
use crate::subscriptions::Subscriptions;

/// What became of a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalReceipt {
    /// The run that it is for.
    pub run: RunId,
    /// The step that waits for it, or will.
    pub step: StepId,
    /// Whether the same had been posted before: the answer may have been lost.
    pub before: bool,
}

impl Subscriptions {
    /// Completes a signal, once. What is posted before the run waits for it is kept for when it
    /// does. The same post again is answered as the first was.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for a token that no run gave out; [`EngineError::TooLate`] when
    /// something else was posted before, the time of the wait is over, or the run is;
    /// [`EngineError::Invalid`] past [`SIGNAL_BYTES`] and for what JSON from outside may not hold;
    /// [`EngineError::Store`].
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
            self.runs.cache.put(Arc::new(state));
            return Err(unknown());
        }
        let answer = loop {
            // should the post before have died before its wake, this one sends it
            let wakes = vec![self.runtime.wake_of(&state, WakeCause::Arrived)];
            let mut commit = Commit { wakes, ..Commit::default() };
            match earlier_post(&state, &step) {
                Some(before) if is_same(before, &data) => {
                    self.runtime.carry_out(commit).await?;
                    break Ok(SignalReceipt { run, step, before: true });
                }
                Some(before) => {
                    let at = before.at;
                    break Err(EngineError::TooLate(format!(
                        "the signal of step `{step}` was completed already, at {at}"
                    )));
                }
                None => {}
            }
            if let Some(sentence) = too_late(&state, &step, &data) {
                break Err(EngineError::TooLate(sentence));
            }
            let received = Fact::SignalReceived { step: step.clone(), data: data.clone() }.at(self.runtime.now());
            if self.runs.append(&mut state, vec![received], &mut commit).await?.is_done() {
                tracing::debug!(%run, %step, "a signal was completed");
                break Ok(SignalReceipt { run, step, before: false });
            }
        };
        self.runs.cache.put(Arc::new(state));
        answer
    }

    /// The token of a step's signal, as the function gives it out.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown run; [`EngineError::Store`].
    pub async fn callback_token(&self, run: RunId, step: &str) -> Result<String, EngineError> {
        let state = self.runs.state(run).await?.ok_or_else(|| crate::engine::no_such_run(run))?;
        Ok(CallbackToken::new(run, state.secret, &step.into()).to_string())
    }
}

/// What was posted to a step before.
fn earlier_post<'a>(state: &'a RunState, step: &StepId) -> Option<&'a RevealedOutcome> {
    let came = |revealed: &&RevealedOutcome| match &revealed.outcome {
        Outcome::Value(value) => revealed.kind == StepKind::Signal && json::is_object(value),
        Outcome::Failed(_) => false,
    };
    state.outcomes.iter().filter(|revealed| revealed.step == *step).find(came)
}

fn is_same(before: &RevealedOutcome, data: &Json) -> bool {
    #[derive(serde::Deserialize)]
    struct Arrived<'a> {
        #[serde(borrow)]
        data: &'a serde_json::value::RawValue,
    }
    let Outcome::Value(value) = &before.outcome else { return false };
    serde_json::from_str::<Arrived<'_>>(value.get()).is_ok_and(|arrived| json::is_same(arrived.data, data))
}

/// Why nothing can be posted to a step any more.
fn too_late(state: &RunState, step: &StepId, data: &Json) -> Option<String> {
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
