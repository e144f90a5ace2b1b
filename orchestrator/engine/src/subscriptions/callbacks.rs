//! Receives callbacks: a third party posts data or a failure to a callback token, once
//! (`wait_for_signal`).
//!
//! A post is written to the journal immediately, even if the run does not wait for it yet. No
//! index is needed, because the token contains its run and step, and is sealed with the run's
//! secret.

use std::sync::Arc;

use stepladder_core::journal::{Fact, Outcome};
use stepladder_core::limits::{RUN_BYTES, SIGNAL_BYTES};
use stepladder_core::signal::CallbackToken;
use stepladder_core::state::{RevealedOutcome, RunState, StepState, WaitTarget};
use stepladder_core::{Failure, Json, RunId, StepId, StepKind, Timestamp, WakeCause, json};

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
    /// Whether the same data or failure had already been posted. Then this call has changed
    /// nothing.
    pub before: bool,
}

/// What a third party posts to a callback token.
pub(super) enum CallbackPost {
    Data(Json),
    Failure(Failure),
}

/// What an accepted heartbeat did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatReceipt {
    /// The run of the token.
    pub run: RunId,
    /// The step that waits for the callback, or will wait for it.
    pub step: StepId,
    /// What the heartbeat changed.
    pub effect: HeartbeatEffect,
}

/// What a heartbeat changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatEffect {
    /// The heartbeat was recorded. The next one must be posted before this time.
    Recorded(Timestamp),
    /// A heartbeat was recorded just before, so nothing was written. The next one must be posted
    /// before this time.
    Recent(Timestamp),
    /// The run does not wait yet. Heartbeats count from the start of the wait on.
    Early,
    /// The wait asks for no heartbeats.
    Unneeded,
}

impl HeartbeatEffect {
    /// Returns the time before which the next heartbeat must be posted; `None` if none is needed
    /// now.
    pub fn next_before(self) -> Option<Timestamp> {
        match self {
            Self::Recorded(before) | Self::Recent(before) => Some(before),
            Self::Early | Self::Unneeded => None,
        }
    }
}

impl Subscriptions {
    /// Posts a heartbeat to a callback token. It keeps a wait open that asks for heartbeats. A
    /// heartbeat is recorded only if the latest recorded one is older than half of the interval.
    ///
    /// # Errors
    /// - [`EngineError::NotFound`] for a token that no run has issued.
    /// - [`EngineError::TooLate`] if the signal was completed, the wait or the run has ended, or
    ///   the heartbeat was due before.
    /// - [`EngineError::Store`].
    pub async fn heartbeat(&self, token: &str) -> Result<HeartbeatReceipt, EngineError> {
        let (mut state, step) = self.run_of_token(token).await?;
        let run = state.run;
        let answer = loop {
            let posted = earlier_post(&state, &step).map(|earlier| completed_before(&step, earlier.at));
            if let Some(sentence) = posted.or_else(|| refusal_reason(&state, &step)) {
                break Err(EngineError::TooLate(sentence));
            }
            let now = self.runtime.now();
            let (heartbeats, until, due) = match state.steps.get(&step).map(|step| &step.state) {
                Some(waiting @ StepState::Awaiting { what: WaitTarget::Signal(Some(heartbeats)), until }) => {
                    (*heartbeats, *until, waiting.heartbeat_due())
                }
                Some(_) => break Ok(HeartbeatEffect::Unneeded),
                None => break Ok(HeartbeatEffect::Early),
            };
            if let Some(end) = Some(due.unwrap_or(until)).filter(|end| *end <= now) {
                // the run was not woken at that time, or is being woken now
                let wakes = vec![self.runtime.wake_of(&state, WakeCause::Arrived)];
                self.runtime.carry_out(Commit { wakes, ..Commit::default() }).await?;
                break Err(EngineError::TooLate(format!("step `{step}` waits no more: its wait was over at {end}")));
            }
            let next = now + heartbeats.every;
            if heartbeats.is_recent(now) {
                break Ok(HeartbeatEffect::Recent(next));
            }
            let mut commit = Commit::default();
            if let Some(due) = Some(heartbeats.recorded(now).due()).filter(|due| *due < until) {
                let wake = self.runtime.wake_of(&state, WakeCause::Heartbeat { step: step.clone(), due });
                commit.before.push(self.runtime.later(wake, due));
            }
            let received = Fact::HeartbeatReceived { step: step.clone() }.into_entry(now);
            if self.runs.append(&mut state, vec![received], &mut commit).await?.is_done() {
                break Ok(HeartbeatEffect::Recorded(next));
            }
        };
        self.runs.keep_state(Arc::new(state));
        answer.map(|effect| HeartbeatReceipt { run, step, effect })
    }

    /// Posts data to a callback token, which completes the wait. Only the first post counts. Data
    /// that is posted before the run waits is kept until then. Posting the same data again succeeds
    /// and changes nothing.
    ///
    /// # Errors
    /// - [`EngineError::NotFound`] for a token that no run has issued.
    /// - [`EngineError::TooLate`] if other data or a failure was posted before, the wait has timed
    ///   out, or the run has ended.
    /// - [`EngineError::Invalid`] if the data is larger than [`SIGNAL_BYTES`] or is not acceptable
    ///   JSON (see [`json::check`]).
    /// - [`EngineError::Store`].
    pub async fn signal(&self, token: &str, data: Json) -> Result<SignalReceipt, EngineError> {
        self.post(token, CallbackPost::Data(data)).await
    }

    /// Posts a failure to a callback token: the wait ends with this error, and is not retried. Like
    /// data, a failure may be posted before the run waits, and only the first post counts. Posting
    /// the same failure again succeeds and changes nothing.
    ///
    /// # Errors
    /// As [`signal`](Self::signal). [`EngineError::Invalid`] names the field of the failure that
    /// cannot be posted (see [`Failure::problem_if_posted`]).
    pub async fn fail_signal(&self, token: &str, failure: Failure) -> Result<SignalReceipt, EngineError> {
        self.post(token, CallbackPost::Failure(failure)).await
    }

    async fn post(&self, token: &str, post: CallbackPost) -> Result<SignalReceipt, EngineError> {
        if let Some(problem) = post.problem() {
            return Err(EngineError::Invalid(problem));
        }
        let (state, step) = self.run_of_token(token).await?;
        self.post_to(state, step, &post).await
    }

    /// Posts data or a failure to a step of a run.
    pub(super) async fn post_to(
        &self,
        mut state: RunState,
        step: StepId,
        post: &CallbackPost,
    ) -> Result<SignalReceipt, EngineError> {
        let run = state.run;
        let answer = loop {
            // the process of the first post may have died before it sent the wake, so this call
            // sends it
            let wakes = vec![self.runtime.wake_of(&state, WakeCause::Arrived)];
            let mut commit = Commit { wakes, ..Commit::default() };
            match earlier_post(&state, &step) {
                Some(earlier) if post.is_same_as(&earlier.outcome) => {
                    self.runtime.carry_out(commit).await?;
                    break Ok(SignalReceipt { run, step, before: true });
                }
                Some(earlier) => {
                    break Err(EngineError::TooLate(completed_before(&step, earlier.at)));
                }
                None => {}
            }
            let refusal = refusal_reason(&state, &step).or_else(|| {
                (state.bytes + post.bytes() > RUN_BYTES).then(|| {
                    format!("the run would keep more than {RUN_BYTES} bytes with this signal; post a reference")
                })
            });
            if let Some(sentence) = refusal {
                break Err(EngineError::TooLate(sentence));
            }
            let posted = post.to_fact(step.clone()).into_entry(self.runtime.now());
            if self.runs.append(&mut state, vec![posted], &mut commit).await?.is_done() {
                tracing::debug!(%run, %step, "a signal was completed");
                break Ok(SignalReceipt { run, step, before: false });
            }
        };
        self.runs.keep_state(Arc::new(state));
        answer
    }

    /// Verifies a callback token. Returns the current state of its run, and its step.
    async fn run_of_token(&self, token: &str) -> Result<(RunState, StepId), EngineError> {
        let unknown = || EngineError::NotFound("no run gave out this token; use it as the function gave it out".into());
        let token: CallbackToken = token.parse().map_err(|_| unknown())?;
        let state = self.runs.take_state(token.run).await?.ok_or_else(unknown)?;
        if !token.is_sealed_with(state.secret) {
            self.runs.keep_state(state);
            return Err(unknown());
        }
        Ok((Arc::unwrap_or_clone(state), token.step))
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

impl CallbackPost {
    /// Returns why this cannot be posted to any token.
    pub(super) fn problem(&self) -> Option<String> {
        match self {
            Self::Failure(failure) => failure.problem_if_posted(),
            Self::Data(data) if data.get().len() > SIGNAL_BYTES => {
                let bytes = data.get().len();
                Some(format!("the signal has {bytes} bytes; at most {SIGNAL_BYTES} are allowed, post a reference"))
            }
            Self::Data(data) => json::check(data.get()).err().map(|unfit| format!("the signal {unfit}")),
        }
    }

    /// Returns the number of bytes that the post adds to its run.
    fn bytes(&self) -> usize {
        match self {
            Self::Data(data) => data.get().len(),
            Self::Failure(failure) => failure.bytes(),
        }
    }

    fn to_fact(&self, step: StepId) -> Fact {
        match self {
            Self::Data(data) => Fact::SignalReceived { step, data: data.clone() },
            Self::Failure(error) => Fact::SignalFailed { step, error: error.clone() },
        }
    }

    fn is_same_as(&self, earlier: &Outcome) -> bool {
        #[derive(serde::Deserialize)]
        struct EventDataField<'a> {
            #[serde(borrow)]
            data: &'a serde_json::value::RawValue,
        }
        match (self, earlier) {
            (Self::Failure(failure), Outcome::Failed(earlier)) => failure == earlier,
            (Self::Data(data), Outcome::Value(value)) => serde_json::from_str::<EventDataField<'_>>(value.get())
                .is_ok_and(|arrived| json::is_same(arrived.data, data)),
            (Self::Data(_), Outcome::Failed(_)) | (Self::Failure(_), Outcome::Value(_)) => false,
        }
    }
}

/// Returns the outcome that an earlier post to this step recorded, if there is one.
fn earlier_post<'a>(state: &'a RunState, step: &StepId) -> Option<&'a RevealedOutcome> {
    let is_posted = |revealed: &&RevealedOutcome| match &revealed.outcome {
        // a wait that timed out has the value `null`
        Outcome::Value(value) => revealed.kind == StepKind::Signal && json::is_object(value),
        // a failure with a code of Stepladder cannot be posted
        Outcome::Failed(failure) => {
            revealed.kind == StepKind::Signal && failure.code.as_ref().is_none_or(|code| !code.is_own())
        }
    };
    state.outcomes.iter().filter(|revealed| revealed.step == *step).find(is_posted)
}

fn completed_before(step: &StepId, at: Timestamp) -> String {
    format!("the signal of step `{step}` was completed already, at {at}")
}

/// Returns why nothing can be posted to this step any more; `None` if a post is possible.
fn refusal_reason(state: &RunState, step: &StepId) -> Option<String> {
    if let Some(end) = &state.end {
        let status = end.how.status();
        return Some(format!("the run that waited for this signal has ended, {status} at {}", end.at));
    }
    let known = state.steps.get(step)?;
    if known.kind != StepKind::Signal {
        return Some(format!("step `{step}` of the run is no wait for a signal"));
    }
    matches!(known.state, StepState::Done | StepState::Abandoned)
        .then(|| format!("step `{step}` waits no more: its time is over"))
}
