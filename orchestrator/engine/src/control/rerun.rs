//! Running a run again, as a new run: from its beginning, or from a step with the outcomes before
//! it.
//!
//! The new run takes over a prefix of the old run's outcomes, in their order. It takes failures as
//! well as values: the function may have handled a failure, and would otherwise take another path.

use stepladder_core::event::data_problem;
use stepladder_core::journal::{Fact, NewRun, Origin, Record};
use stepladder_core::limits::{RUN_BYTES, UNDO};
use stepladder_core::state::{RevealedOutcome, RunOutcome, RunState, StepState};
use stepladder_core::{Json, RunId, bounds};

use crate::control::Control;
use crate::engine::{EngineError, no_such_run};
use crate::ports::StoreError;

/// How to run a run again.
#[derive(Clone, Debug, Default)]
pub struct Rerun {
    /// Take over the outcomes of the steps before this one; run from it on. Without it, everything
    /// runs again.
    pub from_step: Option<String>,
    /// Another `data` for the event.
    pub input: Option<Json>,
}

impl Control {
    /// Runs a run again, as a new run.
    ///
    /// With [`Rerun::from_step`], the new run takes over every outcome that the old run had before
    /// that step's outcome: values, failures, waits that timed out, calls that failed, were
    /// cancelled or were skipped. A step that the function dropped has no outcome: then the new run
    /// takes over what the old run had when that step first appeared.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for an unknown run; [`EngineError::Invalid`] for an unknown step
    /// or an input that no event can have; [`EngineError::Store`].
    pub async fn rerun(&self, run: RunId, how: Rerun) -> Result<RunId, EngineError> {
        let records = self.runtime.backend.read(run, 0).await?;
        if records.is_empty() {
            return Err(no_such_run(run));
        }
        let state = RunState::fold(run, &records).map_err(|e| StoreError::Unreadable(e.to_string()))?;
        if self.runtime.program(&state.created.function).is_none() {
            return Err(EngineError::Invalid(format!(
                "run {run} is of function `{}`, which is not registered",
                state.created.function
            )));
        }
        let mut event = state.created.event.clone();
        if let Some(input) = how.input {
            if let Some(fault) = data_problem(&input) {
                return Err(EngineError::Invalid(format!("`input` {fault}")));
            }
            event.data = input;
        }
        let joined = state.joined.iter().map(|event| Fact::EventJoined {
            event: Box::new(event.clone()),
            replaces: false,
            begins_at: None,
            closes: false,
        });
        let carried = match &how.from_step {
            None => Vec::new(),
            Some(step) => carried(&state, &records, step)?,
        };
        let first: Vec<Fact> = joined.chain(carried).collect();
        let bytes: usize = first.iter().map(bounds::kept_bytes).sum();
        // an event that fulfilled several waits is taken over once for each
        if bytes > RUN_BYTES.max(state.bytes) {
            return Err(EngineError::Invalid(format!(
                "the outcomes before that step have {bytes} bytes; a run keeps at most {RUN_BYTES}, start from an earlier step"
            )));
        }
        let now = self.runtime.now();
        let again = run.rerun_of(now, self.runtime.entropy.bits());
        let created = NewRun::new(state.created.function.clone(), event, Origin::Rerun { of: run });
        self.intake.start_runs(vec![(again, created, first.into_iter().map(|fact| fact.at(now)).collect())]).await?;
        Ok(again)
    }
}

/// The outcomes that a rerun from `step` takes over, in their order.
fn carried(state: &RunState, records: &[Record], step: &str) -> Result<Vec<Fact>, EngineError> {
    let Some(known) = state.steps.get(step) else {
        let mut steps: Vec<&str> = state.steps.keys().map(|id| &**id).collect();
        steps.sort_unstable();
        return Err(EngineError::Invalid(format!(
            "run {} has no step `{step}`; it has: {}",
            state.run,
            if steps.is_empty() { "none".into() } else { steps.join(", ") }
        )));
    };
    if state.steps.contains_key(UNDO) {
        return Err(EngineError::Invalid(format!(
            "run {} has undone what its steps did, so their outcomes do not hold any more; run it again from the beginning",
            state.run
        )));
    }
    let ended_by_handler = |how: &RunOutcome| matches!(how, RunOutcome::Completed(_) | RunOutcome::Failed(_));
    let is_dropped =
        matches!(known.state, StepState::Abandoned) || state.end.as_ref().is_some_and(|end| ended_by_handler(&end.how));
    let before = match state.outcomes.iter().position(|revealed| &*revealed.step == step) {
        Some(at) => at,
        // the winner of its race is no outcome before it, nor is the failure that ended its
        // siblings
        None if is_dropped => outcomes_before_mention(records, step),
        None => state.outcomes.len(),
    };
    let carry = |of: &RevealedOutcome| Fact::StepCarriedOver {
        step: of.step.clone(),
        kind: of.kind,
        outcome: of.outcome.clone(),
    };
    Ok(state.outcomes[..before].iter().map(carry).collect())
}

/// How many outcomes the journal has before its first entry about a step.
fn outcomes_before_mention(records: &[Record], step: &str) -> usize {
    let mentions = |fact: &Fact| match fact {
        Fact::StepsWoken { steps } => steps.iter().any(|id| **id == *step),
        other => other.step().is_some_and(|id| **id == *step),
    };
    let entries = records.iter().flat_map(|record| &record.entries);
    entries.take_while(|entry| !mentions(&entry.fact)).map(|entry| RevealedOutcome::each(entry).len()).sum()
}
