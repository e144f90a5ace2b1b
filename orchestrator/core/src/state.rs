//! The state of a run, computed from the entries of its journal.

mod corrupt;
mod ending;
mod executor;
mod logs;
mod open;
mod revealed;
mod start;
mod step;
mod waits;

use std::collections::HashSet;
use std::sync::Arc;

use hashbrown::HashMap;

use self::open::OpenSteps;
use self::revealed::id_of_copied_event;
use crate::admits::Refusal;
use crate::bounds::kept_bytes;
use crate::journal::{Entry, Fact, NewRun, Record, RunOrigin, Seq, StepKind};
use crate::{Event, EventId, Label, RunId, Status, StepId, Timestamp};

pub use corrupt::CorruptJournal;
pub use ending::{RunEnd, RunOutcome};
pub use executor::{ExecutorCall, ExecutorOutage};
pub use logs::RecordedLogs;
pub use revealed::{RevealedOutcome, invoke_timeout};
pub use step::{Step, StepState, WaitTarget};

/// The state of a run according to its journal.
#[derive(Clone, Debug)]
pub struct RunState {
    /// The id of the run.
    pub run: RunId,
    /// The number of the next journal entry.
    pub next: Seq,
    /// The data of entry 0: what the run was created from.
    pub created: Arc<NewRun>,
    /// When entry 0 was written.
    pub created_at: Timestamp,
    /// When the latest entry was written.
    pub last_at: Timestamp,
    /// All steps with an entry in the journal.
    pub steps: HashMap<StepId, Step>,
    open: OpenSteps,
    /// The outcomes of steps in journal order, which is the order in which a replay reveals them
    /// (rule 7).
    pub outcomes: Vec<RevealedOutcome>,
    /// The number of bytes of all values that the run keeps: see [`kept_bytes`].
    pub bytes: usize,
    /// How often the handler returned an error outside a step.
    pub handler_failures: u32,
    /// The time of the handler's next attempt, if it returned an error.
    pub handler_retry_at: Option<Timestamp>,
    /// Whether the run collects events, so that further events may join it.
    pub collecting: bool,
    /// The events that joined the first one, in order, if the run collects several events.
    pub joined: Vec<Event>,
    /// The earliest start of the run, if something delayed it.
    delayed_until: Option<Timestamp>,
    /// Whether flow control has admitted the run.
    pub admitted: bool,
    /// When the handler was first executed: the time of its first request or its first error.
    pub first_run_at: Option<Timestamp>,
    /// When the first attempt of any step started.
    pub started_at: Option<Timestamp>,
    /// The events that were delivered to the run. The event that created the run is not included.
    pub delivered: HashSet<EventId>,
    /// Whether the latest entry is a delivered event or callback, so that no hop has written since.
    pub arrived: bool,
    /// The log lines that the run has written.
    pub logs: RecordedLogs,
    /// The labels of the run: those of its function, and then those that its handler added.
    pub labels: Vec<Label>,
    /// The version of the function that the run uses, if the function has versions and the run has
    /// started.
    pub version: Option<Arc<str>>,
    /// Since when and why the executor of the function cannot be reached; `None` if it is
    /// reachable.
    pub unreachable: Option<ExecutorOutage>,
    /// The call of the executor that is in progress, if the executor executes steps while it is
    /// polled.
    pub call: Option<ExecutorCall>,
    /// The number of the latest call.
    pub calls: u32,
    /// The number of consecutive calls that were interrupted because the worker died.
    pub call_interruptions: u32,
    /// The secret of the run's callback tokens: the random token of the run's first record. It is
    /// never shown to users.
    pub secret: u128,
    /// How the run ended; `None` while it is live.
    pub end: Option<RunEnd>,
}

impl RunState {
    /// Computes the state of a run from its records, starting at entry 0.
    ///
    /// # Errors
    /// [`CorruptJournal`] if the records do not start at entry 0 or leave a gap.
    pub fn fold<'a>(run: RunId, records: impl IntoIterator<Item = &'a Record>) -> Result<Self, CorruptJournal> {
        let mut records = records.into_iter();
        let first = records.next().ok_or(CorruptJournal::NoBeginning(run))?;
        let Some(Entry { at, fact: Fact::RunCreated(created) }) = first.entries.first() else {
            return Err(CorruptJournal::NoBeginning(run));
        };
        if first.seq != 0 {
            return Err(CorruptJournal::Gap { run, expected: 0, found: first.seq });
        }
        let mut state = Self {
            run,
            next: 1,
            created: Arc::new((**created).clone()),
            created_at: *at,
            last_at: *at,
            steps: HashMap::new(),
            open: OpenSteps::default(),
            outcomes: Vec::new(),
            bytes: 0,
            handler_failures: 0,
            handler_retry_at: None,
            collecting: created.collects,
            joined: Vec::new(),
            delayed_until: created.begins_at,
            admitted: false,
            first_run_at: None,
            started_at: None,
            delivered: HashSet::new(),
            arrived: false,
            logs: RecordedLogs::default(),
            labels: created.labels.clone(),
            version: None,
            unreachable: None,
            call: None,
            calls: 0,
            call_interruptions: 0,
            secret: first.token,
            end: None,
        };
        first.entries[1..].iter().for_each(|entry| state.apply(entry));
        for record in records {
            state.extend(record)?;
        }
        Ok(state)
    }

    /// Applies the next record of the journal.
    ///
    /// # Errors
    /// [`CorruptJournal`] if the record's number is not the next one.
    pub fn extend(&mut self, record: &Record) -> Result<(), CorruptJournal> {
        if record.seq != self.next {
            return Err(CorruptJournal::Gap { run: self.run, expected: self.next, found: record.seq });
        }
        record.entries.iter().for_each(|entry| self.apply(entry));
        Ok(())
    }

    /// Applies one entry, without checking it: [`admits`](Self::admits) checked it before it was
    /// written.
    fn apply(&mut self, entry: &Entry) {
        self.next += 1;
        self.last_at = entry.at;
        self.bytes += kept_bytes(&entry.fact);
        self.logs.add(entry);
        self.arrived = entry.fact.leaves_arrival(self.arrived);
        if entry.fact.is_requested_by_handler() {
            // the entry proves that the handler has run again since its error, whatever the clock
            // of another host says
            self.handler_retry_at = None;
            self.first_run_at.get_or_insert(entry.at);
        }
        match &entry.fact {
            Fact::StepsWoken { steps, together } => {
                let first = steps.first().filter(|_| *together);
                for id in steps {
                    let wanted = || Step::new(StepKind::Run, StepState::Wanted, entry.at);
                    let step = self.steps.entry(id.clone()).or_insert_with(wanted);
                    (step.woken, step.woken_with) = (true, first.cloned());
                    if let StepState::Wanted = step.state {
                        step.since = entry.at;
                    }
                    self.open.update(id, step);
                }
            }
            Fact::HandlerFailed { attempt, retry_at, .. } => {
                self.handler_failures = *attempt;
                self.handler_retry_at = Some(*retry_at);
                self.first_run_at.get_or_insert(entry.at);
                for (id, step) in &mut self.steps {
                    step.reset_for_next_attempt();
                    self.open.update(id, step);
                }
            }
            Fact::RunCompleted { .. }
            | Fact::RunFailed { .. }
            | Fact::RunCancelled { .. }
            | Fact::RunSkipped { .. } => {
                self.end = self.end.take().or_else(|| RunEnd::from(entry));
            }
            Fact::WaitSkipped { step: None } => self.handler_retry_at = Some(entry.at),
            Fact::RunCreated(_) | Fact::LogWritten { .. } => {}
            Fact::LabelsAdded { labels } => self.labels.extend(labels.iter().cloned()),
            Fact::VersionChosen { version } => self.version = Some(version.clone()),
            Fact::EventJoined { event, replaces, begins_at, closes } => {
                self.join_event(event, *replaces);
                self.delayed_until = begins_at.or(self.delayed_until);
                self.collecting &= !closes;
            }
            Fact::CollectingEnded => {
                self.collecting = false;
                self.delayed_until = Some(entry.at);
            }
            Fact::RunDelayed { begins_at } => self.delayed_until = Some(*begins_at),
            Fact::RunAdmitted => self.admitted = true,
            Fact::ExecutorUnreachable { why } => {
                self.unreachable.get_or_insert_with(|| ExecutorOutage { since: entry.at, why: why.clone() });
            }
            Fact::ExecutorReached => (self.unreachable, self.call_interruptions) = (None, 0),
            Fact::CallStarted { call, lease_until, worker } => {
                self.calls = *call;
                self.call = Some(ExecutorCall {
                    number: *call,
                    began: entry.at,
                    lease_until: *lease_until,
                    worker: worker.clone(),
                    outcomes: self.outcomes.len(),
                });
            }
            Fact::CallEnded { interrupted, .. } => {
                self.call = None;
                if *interrupted {
                    self.call_interruptions = self.call_interruptions.saturating_add(1);
                } else if self.unreachable.is_none() {
                    // while the executor is unreachable, a call that was not sent proves nothing
                    self.call_interruptions = 0;
                }
            }
            Fact::EventDelivered { event, steps } => {
                self.delivered.insert(event.id);
                for id in steps {
                    self.change_step(id, entry);
                }
                self.outcomes.extend(RevealedOutcome::from_entry(entry));
            }
            Fact::StepCarriedOver { kind, outcome, .. } => {
                // an event that was delivered to the original run is never delivered to its rerun,
                // even if the event is sent again
                self.delivered.extend(id_of_copied_event(*kind, outcome));
                self.apply_to_step(entry);
            }
            Fact::StepStarted { .. } => {
                self.started_at.get_or_insert(entry.at);
                if self.call.is_some() {
                    // a checkpoint: the call makes progress
                    self.call_interruptions = 0;
                }
                self.apply_to_step(entry);
            }
            Fact::StepSucceeded { .. }
            | Fact::StepFailed { .. }
            | Fact::AttemptInterrupted { .. }
            | Fact::AttemptUnreachable { .. }
            | Fact::StepAbandoned { .. }
            | Fact::StepRefused { .. }
            | Fact::SleepStarted { .. }
            | Fact::SleepEnded { .. }
            | Fact::EventsSent { .. }
            | Fact::InvokeStarted { .. }
            | Fact::InvokeEnded { .. }
            | Fact::EventAwaited { .. }
            | Fact::SignalAwaited { .. }
            | Fact::SignalReceived { .. }
            | Fact::SignalFailed { .. }
            | Fact::HeartbeatReceived { .. }
            | Fact::HeartbeatMissed { .. }
            | Fact::WaitSkipped { step: Some(_) }
            | Fact::WaitExpired { .. } => self.apply_to_step(entry),
        }
    }

    /// Adds an event to a run that still collects events.
    fn join_event(&mut self, event: &Event, replaces: bool) {
        self.delivered.insert(event.id);
        if replaces {
            let created = Arc::make_mut(&mut self.created);
            let before = std::mem::replace(&mut created.event, event.clone());
            self.delivered.insert(before.id);
        } else {
            self.joined.push(event.clone());
        }
    }

    fn apply_to_step(&mut self, entry: &Entry) {
        let Some(id) = entry.fact.step() else { return };
        let kind = self.change_step(id, entry);
        if let Some(revealed) = RevealedOutcome::from(entry) {
            let kind = kind.unwrap_or(revealed.kind);
            self.outcomes.push(revealed.with_kind(kind, &entry.fact));
        }
    }

    /// Changes a step as an entry requires. Returns the kind of the step, if the run has the step.
    fn change_step(&mut self, id: &StepId, entry: &Entry) -> Option<StepKind> {
        let call = self.call.as_ref().map(|call| call.number);
        if let Some(step) = self.steps.get_mut(id) {
            step.change(entry);
            step.note_call(entry, call);
            self.open.update(id, step);
            return Some(step.kind);
        }
        let mut step = Step::after_entry(None, entry)?;
        step.note_call(entry, call);
        let kind = step.kind;
        self.open.update(id, &step);
        self.steps.insert(id.clone(), step);
        Some(kind)
    }

    /// Returns whether the event was already delivered to the run, or created it (rule 17).
    pub fn has_seen(&self, event: EventId) -> bool {
        self.created.event.id == event || self.delivered.contains(&event)
    }

    /// Returns whether the run was created before the event arrived (rule 31). Only then may the
    /// event be delivered to the run or cancel it. An older event may arrive late, because it is
    /// sent again or is part of the same request.
    pub fn is_created_before(&self, event: &Event) -> bool {
        match self.created.origin {
            // if several events were collected, the last one created the run
            RunOrigin::Event => !event.came_before(self.joined.last().unwrap_or(&self.created.event)),
            RunOrigin::Rerun { .. } | RunOrigin::Invoke { .. } | RunOrigin::Cron | RunOrigin::Failure { .. } => {
                event.received_at >= self.created_at
            }
        }
    }

    /// Returns the called runs that are cancelled with this run and have not ended.
    pub fn bound_children(&self) -> impl Iterator<Item = RunId> {
        self.steps.values().filter_map(|step| match &step.state {
            StepState::Invoking { child, bound: true, .. } => Some(*child),
            _ => None,
        })
    }

    /// Returns the status of the run. A live run is `Running` as soon as one of its steps has an
    /// entry.
    pub fn status(&self) -> Status {
        match &self.end {
            Some(end) => end.how.status(),
            None if self.started_at.is_some() || !self.steps.is_empty() => Status::Running,
            None => Status::Scheduled,
        }
    }

    /// Returns whether a handler has made a request in this run. If so, the run belongs to that
    /// handler's version of the function.
    pub fn has_requested(&self) -> bool {
        let is_requested = |step: &Step| !matches!(step.state, StepState::Done);
        // a copied outcome or an early callback does not prove that a handler made a request
        let is_requested_outcome = |revealed: &RevealedOutcome| !revealed.carried && revealed.kind != StepKind::Signal;
        self.version.is_some()
            || self.started_at.is_some()
            || self.handler_failures > 0
            || self.steps.values().any(is_requested)
            || self.outcomes.iter().any(is_requested_outcome)
    }

    /// Returns the number of the handler's current attempt, counted from 1.
    pub fn handler_attempt(&self) -> u32 {
        self.handler_failures.saturating_add(1)
    }

    /// Checks whether all these entries may be added, in this order, as one record.
    ///
    /// # Errors
    /// The first refusal.
    pub fn admits_all(&self, entries: &[Entry]) -> Result<(), Refusal> {
        crate::admits::check_all(self, entries)
    }
}
