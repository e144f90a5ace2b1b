//! Reruns a run as a new run, from the beginning or from a step.
//!
//! A rerun from a step copies the original run's outcomes before that step, in their order.
//! Failures are copied as well as values, because the function may have handled a failure and would
//! otherwise take another path.

use stepladder_core::event::data_problem;
use stepladder_core::journal::{Fact, NewRun, Record, RunOrigin};
use stepladder_core::limits::RUN_BYTES;
use stepladder_core::state::{RevealedOutcome, RunOutcome, RunState, StepState};
use stepladder_core::{Json, RunId, bounds};

use crate::control::RunControl;
use crate::engine::{EngineError, no_such_run};
use crate::ports::StoreError;

/// The options of a rerun.
#[derive(Clone, Debug, Default)]
pub struct RerunOptions {
    /// The first step that is executed again; the outcomes before it are copied. With `None`, all
    /// steps are executed again.
    pub from_step: Option<String>,
    /// New `data` for the event, if it must be replaced.
    pub input: Option<Json>,
}

impl RunControl {
    /// Reruns a run as a new run, and returns the id of the new run.
    ///
    /// With [`RerunOptions::from_step`], the new run gets all outcomes that the original run
    /// recorded before the outcome of that step. This includes failures, waits that timed out, and
    /// calls that failed, were cancelled or were skipped. If the function dropped the step
    /// (`select!`), the step has no outcome. Then the new run gets the outcomes before the first
    /// entry of the step.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown run; [`EngineError::Invalid`] for an unknown step
    /// or for an input that is not valid as event data; [`EngineError::Store`].
    pub async fn rerun(&self, run: RunId, options: RerunOptions) -> Result<RunId, EngineError> {
        let records = self.runtime.backend.read(run, 0).await?;
        if records.is_empty() {
            return Err(no_such_run(run));
        }
        let state = RunState::fold(run, &records).map_err(StoreError::unreadable)?;
        if self.runtime.current_for(&state.created.function).await.newest(&state.created.function).is_none() {
            return Err(EngineError::Invalid(format!(
                "run {run} belongs to function `{}`, which is not registered",
                state.created.function
            )));
        }
        let mut event = state.created.event.clone();
        if let Some(input) = options.input {
            if let Some(problem) = data_problem(&input) {
                return Err(EngineError::Invalid(format!("`input` {problem}")));
            }
            event.data = input;
        }
        let joined = state.joined.iter().map(|event| Fact::EventJoined {
            event: Box::new(event.clone()),
            replaces: false,
            begins_at: None,
            closes: false,
        });
        let copied = match &options.from_step {
            None => Vec::new(),
            Some(step) => outcomes_to_copy(&state, &records, step)?,
        };
        let first: Vec<Fact> = joined.chain(copied).collect();
        let bytes: usize = first.iter().map(bounds::kept_bytes).sum();
        // an event that ended several waits is copied once for each of them
        if bytes > RUN_BYTES.max(state.bytes) {
            return Err(EngineError::Invalid(format!(
                "the outcomes before that step have {bytes} bytes; a run keeps at most {RUN_BYTES}, start from an earlier step"
            )));
        }
        let now = self.runtime.now();
        let new_run = run.rerun_of(now, self.runtime.entropy.bits());
        let created = NewRun::new(state.created.function.clone(), event, RunOrigin::Rerun { of: run });
        self.intake
            .start_runs(vec![(new_run, created, first.into_iter().map(|fact| fact.into_entry(now)).collect())])
            .await?;
        Ok(new_run)
    }
}

/// Returns the outcomes that a rerun from `step` copies, in their order.
fn outcomes_to_copy(state: &RunState, records: &[Record], step: &str) -> Result<Vec<Fact>, EngineError> {
    let Some(known) = state.steps.get(step) else {
        let mut steps: Vec<&str> = state.steps.keys().map(|id| &**id).collect();
        steps.sort_unstable();
        return Err(EngineError::Invalid(format!(
            "run {} has no step `{step}`; it has: {}",
            state.run,
            if steps.is_empty() { "none".into() } else { steps.join(", ") }
        )));
    };
    if state.is_compensating() {
        return Err(EngineError::Invalid(format!(
            "run {} has compensated its steps, so their outcomes are no longer valid; rerun it from the beginning",
            state.run
        )));
    }
    let ended_by_handler = |how: &RunOutcome| matches!(how, RunOutcome::Completed(_) | RunOutcome::Failed(_));
    let is_dropped =
        matches!(known.state, StepState::Abandoned) || state.end.as_ref().is_some_and(|end| ended_by_handler(&end.how));
    let before = match state.outcomes.iter().position(|revealed| &*revealed.step == step) {
        Some(at) => at,
        // The step was dropped because another branch of the `select!` ended first or failed. The
        // outcome of that branch came after the first entry of the step, and must not be copied.
        None if is_dropped => count_outcomes_before_first_entry(records, step),
        None => state.outcomes.len(),
    };
    let copy = |of: &RevealedOutcome| Fact::StepCarriedOver {
        step: of.step.clone(),
        kind: of.kind,
        outcome: of.outcome.clone(),
    };
    Ok(state.outcomes[..before].iter().map(copy).collect())
}

/// Returns the number of outcomes in the journal before the first entry about a step.
fn count_outcomes_before_first_entry(records: &[Record], step: &str) -> usize {
    let is_about_step = |fact: &Fact| match fact {
        Fact::StepsWoken { steps, .. } => steps.iter().any(|id| **id == *step),
        other => other.step().is_some_and(|id| **id == *step),
    };
    let entries = records.iter().flat_map(|record| &record.entries);
    entries.take_while(|entry| !is_about_step(&entry.fact)).map(|entry| RevealedOutcome::from_entry(entry).len()).sum()
}
