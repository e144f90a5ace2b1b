//! Skips a wait: a sleep ends now, or a retry starts now.
//!
//! A wake alone is not enough, because a hop compares the clock with the due time in the journal.
//! An entry therefore moves the due time to now. Everything after it happens as usual.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::journal::Fact;
use stepladder_core::state::{RunState, StepState};
use stepladder_core::{RunId, Status, StepId, Timestamp, WakeCause};

use crate::control::Control;
use crate::engine::{EngineError, no_such_run};
use crate::ports::{Commit, EarlyWrite};

/// When a copy of the wake comes.
const MOMENT: Duration = Duration::from_secs(5);

impl Control {
    /// Lets a step that sleeps, or waits to be tried again, go on now. One whose time has come
    /// already only gets its wake again.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown run; [`EngineError::TooLate`] when it has ended;
    /// [`EngineError::Invalid`] for a step that waits for no time; [`EngineError::Store`].
    pub async fn skip_wait(&self, run: RunId, step: &str) -> Result<Status, EngineError> {
        let none = || format!("step `{step}` of run {run} neither sleeps nor waits to be tried again");
        self.go_on(run, |state| step_that_waits(state, step), none).await
    }

    /// The same for the function itself, which waits to be run again after an error outside its
    /// steps.
    ///
    /// # Errors
    /// As [`skip_wait`](Self::skip_wait).
    pub async fn skip_handler_wait(&self, run: RunId) -> Result<Status, EngineError> {
        let waits =
            |state: &RunState| Some(SkippableWait { step: None, due: state.handler_retry_at?, cause: WakeCause::Due });
        self.go_on(run, waits, || format!("the function of run {run} does not wait to be run again")).await
    }

    async fn go_on(
        &self,
        run: RunId,
        waits: impl Fn(&RunState) -> Option<SkippableWait> + Send,
        none: impl Fn() -> String + Send,
    ) -> Result<Status, EngineError> {
        let state = self.runs.state(run).await?.ok_or_else(|| no_such_run(run))?;
        let mut state = Arc::unwrap_or_clone(state);
        loop {
            if state.end.is_some() {
                return Err(EngineError::TooLate(format!("run {run} has ended")));
            }
            let now = self.runtime.now();
            let SkippableWait { step, due, cause } = waits(&state).ok_or_else(|| EngineError::Invalid(none()))?;
            let wake = self.runtime.wake_of(&state, cause);
            // should this end between the entry and its wake, that one's copy comes a moment later
            // (rule 11)
            let copy = EarlyWrite::Wake { wake: wake.clone(), due: now + MOMENT };
            let mut commit = Commit { before: vec![copy], wakes: vec![wake], ..Commit::default() };
            let entries = if now < due { vec![Fact::WaitSkipped { step }.at(now)] } else { Vec::new() };
            if self.runs.append(&mut state, entries, &mut commit).await?.is_done() {
                return Ok(state.status());
            }
        }
    }
}

/// What waits for a time.
struct SkippableWait {
    /// The step; the function itself where there is none.
    step: Option<StepId>,
    due: Timestamp,
    /// Of the wake by which it goes on.
    cause: WakeCause,
}

fn step_that_waits(state: &RunState, step: &str) -> Option<SkippableWait> {
    let (id, step) = state.steps.get_key_value(step)?;
    match &step.state {
        StepState::Sleeping { until: due } | StepState::Retrying { retry_at: due, .. } => {
            // a step that has wakes of its own starts by them alone
            let cause = if step.woken { WakeCause::Step(id.clone()) } else { WakeCause::Due };
            Some(SkippableWait { step: Some(id.clone()), due: *due, cause })
        }
        StepState::Wanted
        | StepState::Running { .. }
        | StepState::Invoking { .. }
        | StepState::Awaiting { .. }
        | StepState::Done
        | StepState::Abandoned => None,
    }
}
