//! Going on now: a sleep that is cut short, a retry that is not waited for.
//!
//! A wake alone would not do it: timers and retries are judged by their time, which the journal has. So the journal says
//! that somebody moved it, and everything else is as if the time had come.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::journal::Fact;
use stepladder_core::state::StepState;
use stepladder_core::{Cause, RunId, Status, Timestamp};

use super::{Engine, EngineError, no_such_run};
use crate::ports::{Commit, Later};

/// When a copy of the wake comes.
const MOMENT: Duration = Duration::from_secs(5);

impl Engine {
    /// Lets a step that sleeps, or waits to be tried again, go on now. One whose time has come already only gets its wake
    /// again.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown run; [`EngineError::TooLate`] when it has ended; [`EngineError::Invalid`]
    /// for a step that waits for no time; [`EngineError::Store`].
    pub async fn hasten(&self, run: RunId, step: &str) -> Result<Status, EngineError> {
        let state = self.state(run).await?.ok_or_else(|| no_such_run(run))?;
        let mut state = Arc::unwrap_or_clone(state);
        loop {
            if state.end.is_some() {
                return Err(EngineError::TooLate(format!("run {run} has ended")));
            }
            let now = self.now();
            let Some((id, due, woken)) = waits_for_time(&state, step) else {
                let sentence = format!("step `{step}` of run {run} neither sleeps nor waits to be tried again");
                return Err(EngineError::Invalid(sentence));
            };
            // a step that has wakes of its own starts by them alone
            let cause = if woken { Cause::Step(id.clone()) } else { Cause::Due };
            let wake = self.wake_of(&state, cause);
            // should this end between the entry and its wake, that one's copy comes a moment later (rule 11)
            let copy = Later::Wake { wake: wake.clone(), due: now + MOMENT };
            let mut commit = Commit { before: vec![copy], wakes: vec![wake], ..Commit::default() };
            let entries = if now < due { vec![Fact::Hastened { step: id }.at(now)] } else { Vec::new() };
            if self.append(&mut state, entries, &mut commit).await?.is_done() {
                return Ok(state.status());
            }
        }
    }
}

/// The step, when it goes on, and whether it has wakes of its own.
fn waits_for_time(
    state: &stepladder_core::state::RunState,
    step: &str,
) -> Option<(stepladder_core::StepId, Timestamp, bool)> {
    let (id, step) = state.steps.get_key_value(step)?;
    match &step.state {
        StepState::Sleeping { until: due } | StepState::Waiting { retry_at: due, .. } => {
            Some((id.clone(), *due, step.woken))
        }
        StepState::Wanted
        | StepState::Running { .. }
        | StepState::Invoking { .. }
        | StepState::Awaiting { .. }
        | StepState::Done
        | StepState::Abandoned => None,
    }
}
