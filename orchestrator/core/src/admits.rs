//! May this fact still be added? The one question on which everything else rests: whatever races for a run, the
//! history stays one line, because each fact is judged against the entries before it.

use crate::journal::{Entry, Fact, Kind};
use crate::planted::{self, Plant};
use crate::state::{RunState, Step, StepState};
use crate::{StepId, Timestamp};

/// Why a fact may not be added. Not an error of anyone: the one who is refused decides again from the journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum Refusal {
    /// The run is over.
    #[error("the run has ended")]
    Ended,
    /// Entry 0 is there already.
    #[error("the run exists")]
    Exists,
    /// The step has its outcome, or was dropped.
    #[error("step `{0}` is settled")]
    Settled(StepId),
    /// Another attempt's lease is alive.
    #[error("step `{step}` is running elsewhere until {lease_until}")]
    Leased { step: StepId, lease_until: Timestamp },
    /// The outcome is of an attempt that the journal does not show as running (rule 3).
    #[error("attempt {attempt} of step `{step}` is not the running one")]
    Fenced { step: StepId, attempt: u32 },
    /// The attempt's number is not the next.
    #[error("attempt {attempt} of step `{step}` is not the next")]
    NotNext { step: StepId, attempt: u32 },
    /// The id belongs to a step of another kind.
    #[error("step `{0}` is of another kind")]
    OtherKind(StepId),
    /// The timer has not run out.
    #[error("step `{0}` sleeps on")]
    NotDue(StepId),
    /// The step waits for nothing of that kind.
    #[error("step `{0}` does not wait for this")]
    NotWaiting(StepId),
    /// The failure of a handler's attempt that is not the current one.
    #[error("the handler has moved on")]
    HandlerMovedOn,
}

impl RunState {
    /// Whether this fact may be added now, judged at the entry's own time.
    ///
    /// # Errors
    /// The [`Refusal`] that says why not.
    pub fn admits(&self, entry: &Entry) -> Result<(), Refusal> {
        judge(
            &Sight { base: self, touched: Vec::new(), ended: self.end.is_some(), handler: self.handler_failures },
            entry,
        )
    }
}

/// Judges entries one after the other, each as if those before it had been added.
pub(crate) fn all(state: &RunState, entries: &[Entry]) -> Result<(), Refusal> {
    let mut sight =
        Sight { base: state, touched: Vec::new(), ended: state.end.is_some(), handler: state.handler_failures };
    for entry in entries {
        judge(&sight, entry)?;
        sight.add(entry);
    }
    Ok(())
}

/// A run's state with a few entries on top, without copying the state.
struct Sight<'a> {
    base: &'a RunState,
    touched: Vec<(StepId, Step)>,
    ended: bool,
    handler: u32,
}

impl Sight<'_> {
    fn step(&self, id: &StepId) -> Option<&Step> {
        self.touched
            .iter()
            .rev()
            .find(|(touched, _)| touched == id)
            .map(|(_, step)| step)
            .or_else(|| self.base.steps.get(id))
    }

    fn add(&mut self, entry: &Entry) {
        self.ended |= entry.fact.is_end();
        if let Fact::HandlerFailed { attempt, .. } = entry.fact {
            self.handler = attempt;
        }
        if let Fact::StepsWoken { steps } = &entry.fact {
            for id in steps.iter().filter(|id| self.step(id).is_none()).cloned().collect::<Vec<_>>() {
                self.touched.push((id, Step::new(Kind::Run, StepState::Wanted)));
            }
        }
        if let Some(id) = entry.fact.step()
            && let Some(step) = Step::after(self.step(id), entry)
        {
            self.touched.push((id.clone(), step));
        }
    }
}

fn judge(run: &Sight<'_>, entry: &Entry) -> Result<(), Refusal> {
    if run.ended {
        return Err(Refusal::Ended);
    }
    match &entry.fact {
        Fact::RunCreated(_) => Err(Refusal::Exists),
        Fact::StepStarted { step, attempt, .. } => starts(run, step, *attempt, entry.at),
        Fact::StepSucceeded { step, attempt, .. }
        | Fact::StepFailed { step, attempt, .. }
        | Fact::AttemptInterrupted { step, attempt }
        | Fact::StepAbandoned { step, attempt } => is_running(run, step, *attempt),
        Fact::StepRefused { step, .. } => match run.step(step).map(|s| &s.state) {
            None | Some(StepState::Wanted | StepState::Waiting { .. }) => Ok(()),
            Some(StepState::Running { lease_until, .. }) if entry.at < *lease_until => {
                Err(Refusal::Leased { step: step.clone(), lease_until: *lease_until })
            }
            Some(StepState::Running { .. }) => Ok(()),
            Some(StepState::Done | StepState::Abandoned) => Err(Refusal::Settled(step.clone())),
            Some(StepState::Sleeping { .. } | StepState::Invoking { .. }) => Err(Refusal::OtherKind(step.clone())),
        },
        Fact::StepCarried { step, kind, .. } => is_new(run, step, *kind),
        Fact::SleepStarted { step, .. } => is_new(run, step, Kind::Sleep),
        Fact::EventsSent { step, .. } => is_new(run, step, Kind::Send),
        Fact::InvokeStarted { step, .. } => is_new(run, step, Kind::Invoke),
        Fact::SleepEnded { step } => match run.step(step).map(|s| &s.state) {
            Some(StepState::Sleeping { until }) if *until <= entry.at => Ok(()),
            Some(StepState::Sleeping { .. }) => Err(Refusal::NotDue(step.clone())),
            Some(StepState::Done) => Err(Refusal::Settled(step.clone())),
            _ => Err(Refusal::NotWaiting(step.clone())),
        },
        Fact::InvokeEnded { step, .. } => match run.step(step).map(|s| &s.state) {
            Some(StepState::Invoking { .. }) => Ok(()),
            Some(StepState::Done) => Err(Refusal::Settled(step.clone())),
            _ => Err(Refusal::NotWaiting(step.clone())),
        },
        Fact::HandlerFailed { attempt, .. } if Some(*attempt) != run.handler.checked_add(1) => {
            Err(Refusal::HandlerMovedOn)
        }
        Fact::HandlerFailed { .. }
        | Fact::StepsWoken { .. }
        | Fact::RunCompleted { .. }
        | Fact::RunFailed { .. }
        | Fact::RunCancelled { .. }
        | Fact::RunSkipped { .. } => Ok(()),
    }
}

fn starts(run: &Sight<'_>, id: &StepId, attempt: u32, at: Timestamp) -> Result<(), Refusal> {
    let latest = match run.step(id) {
        None => 0,
        Some(step) if step.kind != Kind::Run => return Err(Refusal::OtherKind(id.clone())),
        Some(step) => match &step.state {
            StepState::Running { lease_until, .. } if at < *lease_until => {
                return Err(Refusal::Leased { step: id.clone(), lease_until: *lease_until });
            }
            StepState::Done | StepState::Abandoned => return Err(Refusal::Settled(id.clone())),
            StepState::Wanted
            | StepState::Running { .. }
            | StepState::Waiting { .. }
            | StepState::Sleeping { .. }
            | StepState::Invoking { .. } => step.attempt,
        },
    };
    if Some(attempt) == latest.checked_add(1) { Ok(()) } else { Err(Refusal::NotNext { step: id.clone(), attempt }) }
}

/// Outcomes are fenced by attempt, not by time: one that comes late but unchallenged is as good as any.
fn is_running(run: &Sight<'_>, id: &StepId, attempt: u32) -> Result<(), Refusal> {
    match run.step(id) {
        Some(Step { state: StepState::Running { .. }, attempt: running, .. })
            if *running == attempt || planted::is(Plant::OutcomesAreNotFenced) =>
        {
            Ok(())
        }
        Some(Step { state: StepState::Done | StepState::Abandoned, .. }) => Err(Refusal::Settled(id.clone())),
        _ => Err(Refusal::Fenced { step: id.clone(), attempt }),
    }
}

fn is_new(run: &Sight<'_>, id: &StepId, kind: Kind) -> Result<(), Refusal> {
    match run.step(id) {
        None => Ok(()),
        Some(step) if step.kind == kind => Err(Refusal::Settled(id.clone())),
        Some(_) => Err(Refusal::OtherKind(id.clone())),
    }
}
