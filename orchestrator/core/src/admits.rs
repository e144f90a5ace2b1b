//! Decides whether a fact may be added to a journal. Several writers may race for one run. Its
//! history stays consistent, because each fact is checked against all entries before it.

use std::collections::{BTreeMap, BTreeSet};

use crate::journal::{Entry, Fact, StepKind, is_executed};
use crate::state::{RunState, Step, StepState, WaitTarget};
use crate::{Event, EventId, OwnStep, StepId, Timestamp};

/// Why a fact may not be added to a journal. A refusal is not an error: the writer reads the
/// journal again and decides anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum Refusal {
    /// The run has ended.
    #[error("the run has ended")]
    Ended,
    /// The run already has entry 0.
    #[error("the run exists")]
    RunExists,
    /// The step already has an outcome, or was abandoned.
    #[error("step `{0}` is settled")]
    AlreadySettled(StepId),
    /// The lease of the step's running attempt has not expired.
    #[error("step `{step}` is running elsewhere until {lease_until}")]
    Leased { step: StepId, lease_until: Timestamp },
    /// The outcome belongs to an attempt that is no longer the running one (rule 3).
    #[error("attempt {attempt} of step `{step}` is not the running one")]
    Fenced { step: StepId, attempt: u32 },
    /// The step starts at most once, and an earlier attempt left no outcome.
    #[error("step `{0}` starts at most once")]
    StartsOnce(StepId),
    /// The number of the attempt does not follow that of the attempt before.
    #[error("attempt {attempt} of step `{step}` is not the next")]
    NotNext { step: StepId, attempt: u32 },
    /// The id already belongs to a step of another kind.
    #[error("step `{0}` is of another kind")]
    OtherKind(StepId),
    /// The timer of the step is not due yet.
    #[error("step `{0}` sleeps on")]
    NotDue(StepId),
    /// A heartbeat of the step was recorded just before, so that another one need not be.
    #[error("a heartbeat of step `{0}` was recorded just before")]
    RecentHeartbeat(StepId),
    /// The step is not waiting for what the fact reports.
    #[error("step `{0}` does not wait for this")]
    NotWaiting(StepId),
    /// The handler is not waiting for a retry.
    #[error("the function does not wait to be run again")]
    HandlerNotRetrying,
    /// The event was already delivered to the run, or it created the run (rule 17).
    #[error("event {0} has entered the run before")]
    AlreadyDelivered(EventId),
    /// The event arrived before the event that created the run (rule 31).
    #[error("event {0} came before the run")]
    OlderThanRun(EventId),
    /// The run no longer collects events: it has started, or it never collected any.
    #[error("the run takes no further event")]
    NoLongerCollecting,
    /// The run still collects events, so it may not start.
    #[error("the run still collects events")]
    Collecting,
    /// Flow control has already admitted the run.
    #[error("the run was let go already")]
    AlreadyAdmitted,
    /// The journal already records the version of the function for this run.
    #[error("the run has a version")]
    HasVersion,
    /// The failure belongs to an earlier attempt of the handler.
    #[error("the handler has moved on")]
    HandlerMovedOn,
}

impl RunState {
    /// Checks whether this fact may be added at the time of the entry.
    ///
    /// # Errors
    /// The [`Refusal`] that says why the fact may not be added.
    pub fn admits(&self, entry: &Entry) -> Result<(), Refusal> {
        check(&JournalView::of(self), entry, &[])
    }
}

/// Checks entries in order, each as if the entries before it had been added.
pub(crate) fn check_all(state: &RunState, entries: &[Entry]) -> Result<(), Refusal> {
    let mut view = JournalView::of(state);
    let mut rest = entries;
    while let Some((entry, after)) = rest.split_first() {
        check(&view, entry, after)?;
        if !after.is_empty() {
            view.add(entry);
        }
        rest = after;
    }
    Ok(())
}

/// A view of a run's state with a few more entries applied. It does not copy the state.
struct JournalView<'a> {
    base: &'a RunState,
    touched: BTreeMap<StepId, Box<Step>>,
    ended: bool,
    handler: u32,
    handler_retry_at: Option<Timestamp>,
    delivered: Vec<EventId>,
    collecting: bool,
    has_version: bool,
    admitted: bool,
    /// The number and the lease of the executor call in progress.
    call: Option<(u32, Timestamp)>,
    calls: u32,
}

impl<'a> JournalView<'a> {
    fn of(base: &'a RunState) -> Self {
        let (ended, handler, handler_retry_at) = (base.end.is_some(), base.handler_failures, base.handler_retry_at);
        let (collecting, has_version) = (base.collecting, base.version.is_some());
        let (touched, delivered) = (BTreeMap::new(), Vec::new());
        let admitted = base.admitted || base.first_run_at.is_some();
        let (call, calls) = (base.call.as_ref().map(|call| (call.number, call.lease_until)), base.calls);
        Self {
            base,
            touched,
            ended,
            handler,
            handler_retry_at,
            delivered,
            collecting,
            has_version,
            admitted,
            call,
            calls,
        }
    }

    fn has_seen(&self, event: EventId) -> bool {
        self.base.has_seen(event) || self.delivered.contains(&event)
    }

    fn step(&self, id: &StepId) -> Option<&Step> {
        self.touched.get(id).map(|step| &**step).or_else(|| self.base.steps.get(id))
    }

    fn add(&mut self, entry: &Entry) {
        self.ended |= entry.fact.is_end();
        self.has_version |= matches!(entry.fact, Fact::VersionChosen { .. });
        self.collecting &= !matches!(entry.fact, Fact::CollectingEnded | Fact::EventJoined { closes: true, .. });
        if let Fact::EventJoined { event, .. } = &entry.fact {
            self.delivered.push(event.id);
        }
        self.admitted |= matches!(entry.fact, Fact::RunAdmitted) || entry.fact.is_requested_by_handler();
        if entry.fact.is_requested_by_handler() {
            self.handler_retry_at = None;
        }
        if let Fact::WaitSkipped { step: None } = entry.fact {
            self.handler_retry_at = Some(entry.at);
        }
        if let Fact::HandlerFailed { attempt, retry_at, .. } = entry.fact {
            (self.handler, self.handler_retry_at) = (attempt, Some(retry_at));
            let ids: BTreeSet<StepId> = self.base.steps.keys().chain(self.touched.keys()).cloned().collect();
            for id in ids {
                if let Some(mut step) = self.step(&id).cloned() {
                    step.reset_for_next_attempt();
                    self.touched.insert(id, Box::new(step));
                }
            }
        }
        match entry.fact {
            Fact::CallStarted { call, lease_until, .. } => (self.calls, self.call) = (call, Some((call, lease_until))),
            Fact::CallEnded { .. } => self.call = None,
            _ => {}
        }
        if let Fact::StepsWoken { steps, .. } = &entry.fact {
            for id in steps.iter().filter(|id| self.step(id).is_none()).cloned().collect::<Vec<_>>() {
                self.touched.insert(id, Box::new(Step::new(StepKind::Run, StepState::Wanted, entry.at)));
            }
        }
        if let Fact::EventDelivered { event, steps } = &entry.fact {
            self.delivered.push(event.id);
            for id in steps {
                let after = Step::after_entry(self.step(id), entry);
                self.touched.extend(after.map(|step| (id.clone(), Box::new(step))));
            }
        }
        if let Some(id) = entry.fact.step()
            && let Some(step) = Step::after_entry(self.step(id), entry)
        {
            self.touched.insert(id.clone(), Box::new(step));
        }
    }
}

/// Checks an entry. `after` contains the entries that follow it in the same record.
fn check(run: &JournalView<'_>, entry: &Entry, after: &[Entry]) -> Result<(), Refusal> {
    if run.ended {
        return Err(Refusal::Ended);
    }
    match &entry.fact {
        Fact::EventJoined { .. } | Fact::CollectingEnded if !run.collecting => return Err(Refusal::NoLongerCollecting),
        Fact::EventJoined { event, .. } if run.has_seen(event.id) => return Err(Refusal::AlreadyDelivered(event.id)),
        fact if run.collecting && !fact.may_precede_start() => return Err(Refusal::Collecting),
        _ => {}
    }
    match &entry.fact {
        Fact::RunCreated(_) => Err(Refusal::RunExists),
        Fact::StepStarted { step, attempt, at_most_once, .. } => match run.call {
            // a checkpoint of the call has the outcome as well, so nothing starts (rule 36)
            Some((_, lease_until)) if entry.at < lease_until && !is_executed(entry, after) => {
                Err(leased_call(lease_until))
            }
            _ if *at_most_once && run.step(step).is_some_and(Step::may_have_taken_effect) => {
                Err(Refusal::StartsOnce(step.clone()))
            }
            Some(_) | None => check_start(run, step, *attempt, entry.at),
        },
        Fact::CallStarted { call, .. } => match run.call {
            Some((_, lease_until)) => Err(leased_call(lease_until)),
            None if Some(*call) == run.calls.checked_add(1) => Ok(()),
            None => Err(Refusal::NotNext { step: OwnStep::Call.id(), attempt: *call }),
        },
        Fact::CallEnded { call, .. } => match run.call {
            Some((number, _)) if number == *call => Ok(()),
            Some(_) | None => Err(Refusal::Fenced { step: OwnStep::Call.id(), attempt: *call }),
        },
        Fact::StepSucceeded { step, attempt, .. }
        | Fact::StepFailed { step, attempt, .. }
        | Fact::AttemptInterrupted { step, attempt }
        | Fact::AttemptUnreachable { step, attempt, .. }
        | Fact::StepAbandoned { step, attempt, .. } => check_running(run, step, *attempt),
        Fact::StepRefused { step, .. } => match run.step(step).map(|s| &s.state) {
            None | Some(StepState::Wanted | StepState::Retrying { .. } | StepState::Awaiting { .. }) => Ok(()),
            Some(StepState::Running { lease_until, .. }) if entry.at < *lease_until => {
                Err(Refusal::Leased { step: step.clone(), lease_until: *lease_until })
            }
            Some(StepState::Running { .. }) => Ok(()),
            Some(StepState::Done | StepState::Abandoned) => Err(Refusal::AlreadySettled(step.clone())),
            Some(StepState::Sleeping { .. } | StepState::Invoking { .. }) => Err(Refusal::OtherKind(step.clone())),
        },
        Fact::StepCarriedOver { step, kind, .. } => check_new(run, step, *kind),
        Fact::SleepStarted { step, .. } => check_new(run, step, StepKind::Sleep),
        Fact::EventsSent { step, .. } => check_new(run, step, StepKind::Send),
        Fact::InvokeStarted { step, .. } => check_new(run, step, StepKind::Invoke),
        Fact::EventAwaited { step, .. } => check_new(run, step, StepKind::Event),
        Fact::SignalAwaited { step, .. } => check_new(run, step, StepKind::Signal),
        Fact::EventDelivered { event, steps } => check_delivery(run, event, steps),
        // a callback may arrive before the run waits for it
        Fact::SignalReceived { step, .. } | Fact::SignalFailed { step, .. } => match run.step(step).map(|s| &s.state) {
            None | Some(StepState::Awaiting { what: WaitTarget::Signal(_), .. }) => Ok(()),
            Some(_) => check_new(run, step, StepKind::Signal),
        },
        Fact::WaitSkipped { step: None } => match run.handler_retry_at {
            Some(due) if entry.at < due => Ok(()),
            _ => Err(Refusal::HandlerNotRetrying),
        },
        Fact::WaitSkipped { step: Some(step) } => match run.step(step).map(|s| &s.state) {
            Some(StepState::Sleeping { until: due } | StepState::Retrying { retry_at: due, .. }) if entry.at < *due => Ok(()),
            Some(StepState::Done | StepState::Abandoned) => Err(Refusal::AlreadySettled(step.clone())),
            _ => Err(Refusal::NotWaiting(step.clone())),
        },
        Fact::WaitExpired { step } | Fact::HeartbeatMissed { step, .. } => check_end_of_wait(run, step, entry),
        Fact::HeartbeatReceived { step } => check_heartbeat(run, step, entry.at),
        Fact::SleepEnded { step } => match run.step(step).map(|s| &s.state) {
            Some(StepState::Sleeping { until }) if *until <= entry.at => Ok(()),
            Some(StepState::Sleeping { .. }) => Err(Refusal::NotDue(step.clone())),
            Some(StepState::Done) => Err(Refusal::AlreadySettled(step.clone())),
            _ => Err(Refusal::NotWaiting(step.clone())),
        },
        Fact::InvokeEnded { step, .. } => match run.step(step).map(|s| &s.state) {
            Some(StepState::Invoking { .. }) => Ok(()),
            Some(StepState::Done) => Err(Refusal::AlreadySettled(step.clone())),
            _ => Err(Refusal::NotWaiting(step.clone())),
        },
        Fact::RunDelayed { .. } | Fact::RunAdmitted if run.admitted => Err(Refusal::AlreadyAdmitted),
        Fact::VersionChosen { .. } if run.has_version => Err(Refusal::HasVersion),
        Fact::HandlerFailed { attempt, .. } if Some(*attempt) != run.handler.checked_add(1) => {
            Err(Refusal::HandlerMovedOn)
        }
        Fact::EventJoined { .. }
        | Fact::CollectingEnded
        | Fact::RunDelayed { .. }
        | Fact::RunAdmitted
        | Fact::HandlerFailed { .. }
        // the writer has read every earlier log line
        | Fact::LogWritten { .. }
        | Fact::LabelsAdded { .. }
        | Fact::VersionChosen { .. }
        | Fact::StepsWoken { .. }
        | Fact::ExecutorUnreachable { .. }
        | Fact::ExecutorReached
        | Fact::RunCompleted { .. }
        | Fact::RunFailed { .. }
        | Fact::RunCancelled { .. }
        | Fact::RunSkipped { .. } => Ok(()),
    }
}

/// Checks that a wait ends for the reason whose time came first: its timeout or a missed heartbeat.
fn check_end_of_wait(run: &JournalView<'_>, id: &StepId, entry: &Entry) -> Result<(), Refusal> {
    match run.step(id).map(|step| &step.state) {
        Some(state @ StepState::Awaiting { until, .. }) => {
            let missed = state.heartbeat_due();
            let due = match entry.fact {
                Fact::HeartbeatMissed { .. } => missed.ok_or_else(|| Refusal::NotWaiting(id.clone()))?,
                _ if missed.is_some_and(|missed| missed <= entry.at) => return Err(Refusal::NotWaiting(id.clone())),
                _ => *until,
            };
            if due <= entry.at { Ok(()) } else { Err(Refusal::NotDue(id.clone())) }
        }
        Some(StepState::Invoking { until: Some(until), .. }) if matches!(entry.fact, Fact::WaitExpired { .. }) => {
            if *until <= entry.at {
                Ok(())
            } else {
                Err(Refusal::NotDue(id.clone()))
            }
        }
        Some(StepState::Done) => Err(Refusal::AlreadySettled(id.clone())),
        _ => Err(Refusal::NotWaiting(id.clone())),
    }
}

/// Checks that a heartbeat came in time, and that none was recorded just before: the number of
/// recorded heartbeats is bounded.
fn check_heartbeat(run: &JournalView<'_>, id: &StepId, at: Timestamp) -> Result<(), Refusal> {
    match run.step(id).map(|step| &step.state) {
        Some(state @ StepState::Awaiting { what: WaitTarget::Signal(Some(heartbeats)), until }) => {
            if state.heartbeat_due().unwrap_or(*until) <= at {
                return Err(Refusal::NotWaiting(id.clone()));
            }
            if heartbeats.is_recent(at) { Err(Refusal::RecentHeartbeat(id.clone())) } else { Ok(()) }
        }
        Some(StepState::Done) => Err(Refusal::AlreadySettled(id.clone())),
        _ => Err(Refusal::NotWaiting(id.clone())),
    }
}

fn leased_call(lease_until: Timestamp) -> Refusal {
    Refusal::Leased { step: OwnStep::Call.id(), lease_until }
}

fn check_start(run: &JournalView<'_>, id: &StepId, attempt: u32, at: Timestamp) -> Result<(), Refusal> {
    let latest = match run.step(id) {
        None => 0,
        Some(step) if step.kind != StepKind::Run => return Err(Refusal::OtherKind(id.clone())),
        Some(step) => match &step.state {
            StepState::Running { lease_until, .. } if at < *lease_until => {
                return Err(Refusal::Leased { step: id.clone(), lease_until: *lease_until });
            }
            StepState::Done | StepState::Abandoned => return Err(Refusal::AlreadySettled(id.clone())),
            StepState::Wanted
            | StepState::Running { .. }
            | StepState::Retrying { .. }
            | StepState::Sleeping { .. }
            | StepState::Invoking { .. }
            | StepState::Awaiting { .. } => step.attempt,
        },
    };
    if Some(attempt) == latest.checked_add(1) { Ok(()) } else { Err(Refusal::NotNext { step: id.clone(), attempt }) }
}

/// Checks rule 17: an event is delivered to a run once, to all open waits. An event older than the
/// one that created the run is never delivered (rule 31). The event must have been received before
/// the wait's timeout, but it may be delivered later.
fn check_delivery(run: &JournalView<'_>, event: &Event, steps: &[StepId]) -> Result<(), Refusal> {
    if run.has_seen(event.id) {
        return Err(Refusal::AlreadyDelivered(event.id));
    }
    if !run.base.is_created_before(event) {
        return Err(Refusal::OlderThanRun(event.id));
    }
    for (i, id) in steps.iter().enumerate() {
        match run.step(id).map(|step| &step.state) {
            Some(StepState::Awaiting { what: WaitTarget::Event(wait), until })
                if event.received_at <= *until && wait.events.contains(&event.name) && !steps[..i].contains(id) => {}
            Some(StepState::Done) => return Err(Refusal::AlreadySettled(id.clone())),
            _ => return Err(Refusal::NotWaiting(id.clone())),
        }
    }
    Ok(())
}

/// Checks that an outcome belongs to the running attempt. Time does not matter: a late outcome
/// counts while no other attempt has started.
fn check_running(run: &JournalView<'_>, id: &StepId, attempt: u32) -> Result<(), Refusal> {
    match run.step(id) {
        Some(Step { state: StepState::Running { .. }, attempt: running, .. }) if *running == attempt => Ok(()),
        Some(Step { state: StepState::Done | StepState::Abandoned, .. }) => Err(Refusal::AlreadySettled(id.clone())),
        _ => Err(Refusal::Fenced { step: id.clone(), attempt }),
    }
}

fn check_new(run: &JournalView<'_>, id: &StepId, kind: StepKind) -> Result<(), Refusal> {
    match run.step(id) {
        None => Ok(()),
        Some(step) if step.kind == kind => Err(Refusal::AlreadySettled(id.clone())),
        Some(_) => Err(Refusal::OtherKind(id.clone())),
    }
}
