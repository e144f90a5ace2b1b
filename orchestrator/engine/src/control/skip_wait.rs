//! Skips a wait: a sleep ends now, or a retry starts now.
//!
//! Sending a wake is not enough, because a hop compares the current time with the due time in the
//! journal. Therefore a `WaitSkipped` entry first sets the due time to now; then a wake is sent.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::journal::Fact;
use stepladder_core::state::{RunState, StepState};
use stepladder_core::{RunId, Status, StepId, Timestamp, WakeCause};

use crate::control::RunControl;
use crate::engine::{EngineError, no_such_run};
use crate::ports::{Commit, EarlyWrite};

/// The delay of the copy of the wake. The copy continues the run if the process dies before it
/// sends the first wake (rule 11).
const COPY_DELAY: Duration = Duration::from_secs(5);

impl RunControl {
    /// Lets a step that sleeps or waits for a retry continue now. If the wait is already over, only
    /// the wake of the step is sent again.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown run; [`EngineError::TooLate`] if the run has ended;
    /// [`EngineError::Invalid`] for a step that neither sleeps nor waits for a retry;
    /// [`EngineError::Store`].
    pub async fn skip_wait(&self, run: RunId, step: &str) -> Result<Status, EngineError> {
        let none = || format!("step `{step}` of run {run} neither sleeps nor waits for a retry");
        self.skip_matching_wait(run, |state| skippable_step(state, step), none).await
    }

    /// Lets a function that failed outside its steps and waits for its retry continue now.
    ///
    /// # Errors
    /// The same as those of [`skip_wait`](Self::skip_wait).
    pub async fn skip_handler_wait(&self, run: RunId) -> Result<Status, EngineError> {
        let waits =
            |state: &RunState| Some(SkippableWait { step: None, due: state.handler_retry_at?, cause: WakeCause::Due });
        self.skip_matching_wait(run, waits, || format!("the function of run {run} does not wait for a retry")).await
    }

    async fn skip_matching_wait(
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
            // if this process dies after the entry was written and before the wake is sent, the
            // delayed copy of the wake continues the run (rule 11)
            let copy = EarlyWrite::Wake { wake: wake.clone(), due: now + COPY_DELAY };
            let mut commit = Commit { before: vec![copy], wakes: vec![wake], ..Commit::default() };
            let entries = if now < due { vec![Fact::WaitSkipped { step }.into_entry(now)] } else { Vec::new() };
            if self.runs.append(&mut state, entries, &mut commit).await?.is_done() {
                return Ok(state.status());
            }
        }
    }
}

/// A wait that ends at a known time.
struct SkippableWait {
    /// The waiting step; `None` for the function itself.
    step: Option<StepId>,
    due: Timestamp,
    /// The cause of the wake that ends the wait.
    cause: WakeCause,
}

fn skippable_step(state: &RunState, step: &str) -> Option<SkippableWait> {
    let (id, step) = state.steps.get_key_value(step)?;
    match &step.state {
        StepState::Sleeping { until: due } | StepState::Retrying { retry_at: due, .. } => {
            // a step for which a separate wake was sent is started only by such a wake
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
