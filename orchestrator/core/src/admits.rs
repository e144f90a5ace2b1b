//! May this fact still be added? The one question on which everything else rests: whatever races for a run, the
//! history stays one line, because each fact is judged against the entries before it.

use std::collections::BTreeSet;

use crate::journal::{Entry, Fact, Kind};
use crate::state::{Awaited, RunState, Step, StepState};
use crate::{Event, EventId, StepId, Timestamp};

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
    /// The handler does not wait to be run again.
    #[error("the function does not wait to be run again")]
    NotRunAgain,
    /// The event has entered the run before, or started it (rule 17).
    #[error("event {0} has entered the run before")]
    EnteredBefore(EventId),
    /// The event came before the one that created the run (rule 31).
    #[error("event {0} came before the run")]
    CameBefore(EventId),
    /// The run has begun, or never took a further event.
    #[error("the run takes no further event")]
    Closed,
    /// The run collects events and has not begun.
    #[error("the run still collects events")]
    Collecting,
    /// Flow control has let the run go.
    #[error("the run was let go already")]
    Admitted,
    /// The run goes on under a version of its function already.
    #[error("the run has a version")]
    HasVersion,
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
        judge(&Sight::of(self), entry)
    }
}

/// Judges entries one after the other, each as if those before it had been added.
pub(crate) fn all(state: &RunState, entries: &[Entry]) -> Result<(), Refusal> {
    let mut sight = Sight::of(state);
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
    handler_retry_at: Option<Timestamp>,
    entered: Vec<EventId>,
    collecting: bool,
    has_version: bool,
    admitted: bool,
}

impl<'a> Sight<'a> {
    fn of(base: &'a RunState) -> Self {
        let (ended, handler, handler_retry_at) = (base.end.is_some(), base.handler_failures, base.handler_retry_at);
        let (collecting, has_version) = (base.collecting, base.version.is_some());
        let (touched, entered) = (Vec::new(), Vec::new());
        let admitted = base.admitted || base.begun_at.is_some();
        Self { base, touched, ended, handler, handler_retry_at, entered, collecting, has_version, admitted }
    }

    fn has_met(&self, event: EventId) -> bool {
        self.base.has_met(event) || self.entered.contains(&event)
    }

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
        self.has_version |= matches!(entry.fact, Fact::VersionTaken { .. });
        self.collecting &= !matches!(entry.fact, Fact::RunBegun | Fact::EventJoined { closes: true, .. });
        if let Fact::EventJoined { event, .. } = &entry.fact {
            self.entered.push(event.id);
        }
        self.admitted |= matches!(entry.fact, Fact::RunAdmitted) || entry.fact.is_of_a_handler();
        if entry.fact.is_of_a_handler() {
            self.handler_retry_at = None;
        }
        if let Fact::Hastened { step: None } = entry.fact {
            self.handler_retry_at = Some(entry.at);
        }
        if let Fact::HandlerFailed { attempt, retry_at, .. } = entry.fact {
            (self.handler, self.handler_retry_at) = (attempt, Some(retry_at));
            let ids: BTreeSet<StepId> =
                self.base.steps.keys().chain(self.touched.iter().map(|(id, _)| id)).cloned().collect();
            for id in ids {
                if let Some(mut step) = self.step(&id).cloned() {
                    step.leave_to_the_next_attempt();
                    self.touched.push((id, step));
                }
            }
        }
        if let Fact::StepsWoken { steps } = &entry.fact {
            for id in steps.iter().filter(|id| self.step(id).is_none()).cloned().collect::<Vec<_>>() {
                self.touched.push((id, Step::new(Kind::Run, StepState::Wanted)));
            }
        }
        if let Fact::EventEntered { event, steps } = &entry.fact {
            self.entered.push(event.id);
            for id in steps {
                let after = Step::after(self.step(id), entry);
                self.touched.extend(after.map(|step| (id.clone(), step)));
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
        Fact::EventJoined { .. } | Fact::RunBegun if !run.collecting => return Err(Refusal::Closed),
        Fact::EventJoined { event, .. } if run.has_met(event.id) => return Err(Refusal::EnteredBefore(event.id)),
        fact if run.collecting && !fact.is_before_the_beginning() => return Err(Refusal::Collecting),
        _ => {}
    }
    match &entry.fact {
        Fact::RunCreated(_) => Err(Refusal::Exists),
        Fact::StepStarted { step, attempt, .. } => starts(run, step, *attempt, entry.at),
        Fact::StepSucceeded { step, attempt, .. }
        | Fact::StepFailed { step, attempt, .. }
        | Fact::AttemptInterrupted { step, attempt }
        | Fact::StepAbandoned { step, attempt, .. } => is_running(run, step, *attempt),
        Fact::StepRefused { step, .. } => match run.step(step).map(|s| &s.state) {
            None | Some(StepState::Wanted | StepState::Waiting { .. } | StepState::Awaiting { .. }) => Ok(()),
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
        Fact::EventAwaited { step, .. } => is_new(run, step, Kind::Event),
        Fact::SignalAwaited { step, .. } => is_new(run, step, Kind::Signal),
        Fact::EventEntered { event, steps } => enters(run, event, steps),
        // it may come before it is waited for; it is then there when it is
        Fact::SignalReceived { step, .. } => match run.step(step).map(|s| &s.state) {
            None | Some(StepState::Awaiting { what: Awaited::Signal, .. }) => Ok(()),
            Some(_) => is_new(run, step, Kind::Signal),
        },
        Fact::Hastened { step: None } => match run.handler_retry_at {
            Some(due) if entry.at < due => Ok(()),
            _ => Err(Refusal::NotRunAgain),
        },
        Fact::Hastened { step: Some(step) } => match run.step(step).map(|s| &s.state) {
            Some(StepState::Sleeping { until: due } | StepState::Waiting { retry_at: due, .. }) if entry.at < *due => Ok(()),
            Some(StepState::Done | StepState::Abandoned) => Err(Refusal::Settled(step.clone())),
            _ => Err(Refusal::NotWaiting(step.clone())),
        },
        Fact::WaitExpired { step } => match run.step(step).map(|s| &s.state) {
            Some(StepState::Awaiting { until, .. }) if *until <= entry.at => Ok(()),
            Some(StepState::Awaiting { .. }) => Err(Refusal::NotDue(step.clone())),
            Some(StepState::Done) => Err(Refusal::Settled(step.clone())),
            _ => Err(Refusal::NotWaiting(step.clone())),
        },
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
        Fact::RunDelayed { .. } | Fact::RunAdmitted if run.admitted => Err(Refusal::Admitted),
        Fact::VersionTaken { .. } if run.has_version => Err(Refusal::HasVersion),
        Fact::HandlerFailed { attempt, .. } if Some(*attempt) != run.handler.checked_add(1) => {
            Err(Refusal::HandlerMovedOn)
        }
        Fact::EventJoined { .. }
        | Fact::RunBegun
        | Fact::RunDelayed { .. }
        | Fact::RunAdmitted
        | Fact::HandlerFailed { .. }
        // whoever writes it has read every line before it
        | Fact::Logged { .. }
        | Fact::VersionTaken { .. }
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
            | StepState::Invoking { .. }
            | StepState::Awaiting { .. } => step.attempt,
        },
    };
    if Some(attempt) == latest.checked_add(1) { Ok(()) } else { Err(Refusal::NotNext { step: id.clone(), attempt }) }
}

/// Rule 17: an event enters a run once, for all waits then open, and never one that a later event created (rule 31). One
/// that came when a wait's time was up fulfils it no more; one that came in time does, however late it gets here.
fn enters(run: &Sight<'_>, event: &Event, steps: &[StepId]) -> Result<(), Refusal> {
    if run.has_met(event.id) {
        return Err(Refusal::EnteredBefore(event.id));
    }
    if !run.base.is_created_before(event) {
        return Err(Refusal::CameBefore(event.id));
    }
    for (i, id) in steps.iter().enumerate() {
        match run.step(id).map(|step| &step.state) {
            Some(StepState::Awaiting { what: Awaited::Event(wait), until })
                if event.received_at <= *until && wait.events.contains(&event.name) && !steps[..i].contains(id) => {}
            Some(StepState::Done) => return Err(Refusal::Settled(id.clone())),
            _ => return Err(Refusal::NotWaiting(id.clone())),
        }
    }
    Ok(())
}

/// Outcomes are fenced by attempt, not by time: one that comes late but unchallenged is as good as any.
fn is_running(run: &Sight<'_>, id: &StepId, attempt: u32) -> Result<(), Refusal> {
    match run.step(id) {
        Some(Step { state: StepState::Running { .. }, attempt: running, .. }) if *running == attempt => Ok(()),
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
