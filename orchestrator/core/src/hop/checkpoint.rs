//! Checkpoints: outcomes that an executor records while it is polled, before the call has ended.
//!
//! A checkpoint contains the starts and the outcomes of steps that the call has executed. It is
//! written by the process that receives it, and not by the hop that makes the call. The hop reads
//! it when the call has ended. A checkpoint counts only while its call is the one in progress, so a
//! call that was given up or taken over records nothing more.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::{self, Operation, PlanContext, ReadyStep, StepOptions, Want};
use crate::hop::active::{ActiveHop, ActivePhase, Turn};
use crate::hop::effect::Effect;
use crate::hop::input::{AdvisedFailure, PollResult, Polled};
use crate::hop::keeping::KeepReason;
use crate::hop::writing::Draft;
use crate::journal::{Entry, Fact, Failure, Record};
use crate::report::AttemptReport;
use crate::state::{ExecutorCall, RevealedOutcome, RunState};
use crate::{ErrorCode, Json, Spec, StepId, Timestamp};

/// Steps that a call has executed, with their values.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The number of the call.
    pub call: u32,
    /// The steps in the order in which they ended, with their values.
    pub steps: Vec<(StepId, Json)>,
}

/// Why a checkpoint is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointFault {
    /// The run has ended.
    #[error("the run has ended")]
    Ended,
    /// The call is not in progress: it has ended, or another worker has continued the run.
    #[error("call {0} is no longer in progress")]
    NotInProgress(u32),
    /// The journal contradicts the checkpoint.
    #[error("step `{0}` has another state in the journal, so this call cannot have executed it")]
    Contradiction(StepId),
}

/// Returns the entries of a checkpoint: the start and the outcome of each step. Steps that the call
/// has already recorded are left out, because an executor repeats a checkpoint without an answer.
///
/// # Errors
/// [`CheckpointFault`].
pub fn record_checkpoint(
    run: &RunState,
    checkpoint: &Checkpoint,
    spec: &Spec,
    now: Timestamp,
) -> Result<Vec<Entry>, CheckpointFault> {
    if run.end.is_some() {
        return Err(CheckpointFault::Ended);
    }
    let call = run.call.as_ref().filter(|call| call.number == checkpoint.call);
    let ExecutorCall { number, lease_until, worker, .. } =
        call.ok_or(CheckpointFault::NotInProgress(checkpoint.call))?;
    let mut entries: Vec<Entry> = Vec::new();
    for (step, output) in &checkpoint.steps {
        if is_recorded(run, step, *number) {
            continue;
        }
        let ready = match admit_executed(run, step, &entries, ExecutedIn { worker, spec, now })? {
            Ok(ready) => ready,
            Err(error) => {
                entries.push(Fact::StepRefused { step: step.clone(), error, kind: None }.into_entry(now));
                continue;
            }
        };
        let attempt = ready.attempt;
        let (lease_until, worker) = (*lease_until, worker.clone());
        let start = Fact::StepStarted { step: step.clone(), attempt, lease_until, worker, at_most_once: false };
        let (step, output, report) = (step.clone(), output.clone(), AttemptReport::default());
        entries.push(start.into_entry(now));
        entries.push(Fact::StepSucceeded { step, attempt, output, report }.into_entry(now));
    }
    Ok(entries)
}

/// The call in which a step was executed, and the time of its report.
#[derive(Clone, Copy)]
pub(super) struct ExecutedIn<'a> {
    pub(super) worker: &'a Arc<str>,
    pub(super) spec: &'a Spec,
    pub(super) now: Timestamp,
}

/// Returns the attempt as which a step was executed, or the failure of a step for which the run has
/// no room. `entries` precede the entries of the step.
pub(super) fn admit_executed(
    run: &RunState,
    step: &StepId,
    entries: &[Entry],
    ExecutedIn { worker, spec, now }: ExecutedIn<'_>,
) -> Result<Result<ReadyStep, Failure>, CheckpointFault> {
    let want = Want { step: step.clone(), operation: Operation::Run(StepOptions::default()), at: None };
    let pending = entries.iter().map(|entry| crate::bounds::kept_bytes(&entry.fact)).sum();
    // a step that was executed may start again: its value is there
    let context = PlanContext { now, worker, alone: false, longest: Duration::MAX, spec, pending };
    let plan = decide::plan(run, std::slice::from_ref(&want), context);
    if let Some((_, error)) = plan.refused.into_iter().find(|(_, error)| error.code == Some(ErrorCode::TooLarge)) {
        return Ok(Err(error));
    }
    let is_repeated = entries.iter().any(|entry| entry.fact.step() == Some(step));
    let ready = plan.ready.into_iter().next().filter(|_| !is_repeated);
    ready.map(Ok).ok_or_else(|| CheckpointFault::Contradiction(step.clone()))
}

/// Returns whether this call has recorded the outcome of a step.
pub(super) fn is_recorded(run: &RunState, step: &StepId, call: u32) -> bool {
    run.steps.get(step).is_some_and(|step| step.state.is_settled() && step.checkpointed_in == Some(call))
}

impl ActiveHop {
    /// Reads what the call has recorded, before its result is handled.
    pub(super) fn read_checkpoints(&mut self, polled: Polled, ahead: Draft, turn: &mut Turn<'_>) -> ActivePhase {
        turn.emit(Effect::ReadOn);
        ActivePhase::ReadingCheckpoints(Box::new((polled, ahead)))
    }

    /// Handles the result of a call that may have recorded outcomes.
    pub(super) fn on_checkpoints(
        &mut self,
        (mut polled, mut ahead): (Polled, Draft),
        records: &[Record],
        turn: &mut Turn<'_>,
    ) -> ActivePhase {
        if let Err(fault) = self.read_on(records) {
            return self.keep(ahead, KeepReason::Failure(fault), turn);
        }
        let open = self.run.call.as_ref().map(|call| call.number);
        if self.run.end.is_some() || open != self.execution.call.map(|call| call.number()) {
            // another hop has continued the run, or the run has ended
            self.end_call(&mut ahead, turn);
            return self.keep(ahead, KeepReason::Overtaken, turn);
        }
        let has_recorded = self.has_unseen_outcomes();
        self.progress.has_executed |= has_recorded;
        let is_empty = matches!(&polled.result, PollResult::Wanted(wants) if wants.is_empty());
        if is_empty && polled.executed.is_empty() && !has_recorded {
            // another poll would end in the same way, without end
            let failure = Failure::new("the call of the function ended without a result and without a step");
            polled.result = PollResult::Ended(Err(AdvisedFailure { failure, retry: Default::default() }));
        }
        self.on_polled(polled, ahead, turn)
    }

    /// Returns whether the journal has outcomes that the open execution has not seen.
    pub(super) fn has_unseen_outcomes(&self) -> bool {
        self.run.outcomes.len() > self.execution.shown
    }

    /// Returns the outcomes that the last call has recorded. The function has requested its steps
    /// after them, but the execution does not know them yet. Without them, an attempt would replay
    /// the function to an earlier point, and not find its step.
    pub(super) fn recorded_in_call(&self) -> Vec<RevealedOutcome> {
        if !self.function.executes_in_poll {
            return Vec::new();
        }
        let unseen = self.run.outcomes.get(self.execution.shown..).unwrap_or_default();
        unseen.iter().filter(|outcome| is_recorded(&self.run, &outcome.step, self.run.calls)).cloned().collect()
    }

    /// Returns whether the function may request something else in another call. The steps that the
    /// last call has recorded are no news: the function has requested `wants` after them. But a
    /// call that requests nothing was stopped before its end.
    pub(super) fn has_news(&self, wants: &[Want]) -> bool {
        let unseen = self.run.outcomes.get(self.execution.shown..).unwrap_or_default();
        let is_known = |step: &StepId| is_recorded(&self.run, step, self.run.calls);
        unseen.iter().any(|outcome| wants.is_empty() || !is_known(&outcome.step))
    }
}
