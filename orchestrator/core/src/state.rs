//! The state of a run: what its entries say, folded together.

mod ending;
mod logs;
mod revealed;
mod step;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::admits::Refusal;
use crate::bounds::kept_bytes;
use crate::expr::ExprCache;
use crate::journal::{Entry, Fact, NewRun, Origin, Outcome, Record, Seq, StepKind};
use crate::waiting::ArrivingEvent;
use crate::{Event, EventId, RunId, Status, StepId, Timestamp};

pub use ending::{RunEnd, RunOutcome};
pub use logs::RecordedLogs;
pub use revealed::RevealedOutcome;
pub use step::{Step, StepState, WaitTarget};

/// A run as its journal tells it.
#[derive(Clone, Debug)]
pub struct RunState {
    /// Which run.
    pub run: RunId,
    /// The number of the next entry.
    pub next: Seq,
    /// What it started from.
    pub created: Arc<NewRun>,
    /// When entry 0 was written.
    pub created_at: Timestamp,
    /// When the latest entry was written.
    pub last_at: Timestamp,
    /// Every step with an entry.
    pub steps: HashMap<StepId, Step>,
    /// Outcomes in journal order: the order in which a replay reveals them (rule 7).
    pub outcomes: Vec<RevealedOutcome>,
    /// Bytes of all values that it keeps: see [`kept`].
    pub bytes: usize,
    /// Times that the handler returned an error outside a step.
    pub handler_failures: u32,
    /// Until when the handler is not run again.
    pub handler_retry_at: Option<Timestamp>,
    /// Whether it collects events and has not begun: further ones may join it.
    pub collecting: bool,
    /// The events that joined the one that created it, in their order, where it begins with several.
    pub joined: Vec<Event>,
    /// From when on it may begin, where something put that off.
    delayed_until: Option<Timestamp>,
    /// Whether flow control has let it go.
    pub admitted: bool,
    /// When its handler was first run: something was written that only a handler asks for, or its error.
    pub first_run_at: Option<Timestamp>,
    /// When the first attempt of any step started.
    pub started_at: Option<Timestamp>,
    /// Events that entered it while it waited; what started it is not among them.
    pub delivered: HashSet<EventId>,
    /// Whether the latest entry is something that arrived: no hop has written since.
    pub arrived: bool,
    /// What it has said.
    pub logs: RecordedLogs,
    /// The version of its function that it goes on under, if that has one and it has begun.
    pub version: Option<Arc<str>>,
    /// What its signals' tokens are sealed with: the random token of its first record. Not for anybody's eyes.
    pub secret: u128,
    /// How it ended, if it did.
    pub end: Option<RunEnd>,
}

/// A journal that no engine of ours can have written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the variants are explained; their fields are named by what they hold")]
pub enum CorruptJournal {
    /// There is no entry 0, or it is not `RunCreated`.
    #[error("the journal of run {0} does not begin with RunCreated")]
    NoBeginning(RunId),
    /// A number is missing or comes twice.
    #[error("the journal of run {run} has entry {found} where entry {expected} belongs")]
    Gap { run: RunId, expected: Seq, found: Seq },
}

impl RunState {
    /// The state that these records, from entry 0 on, add up to.
    ///
    /// # Errors
    /// [`Corrupt`] when they are not a journal from its beginning.
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
            version: None,
            secret: first.token,
            end: None,
        };
        first.entries[1..].iter().for_each(|entry| state.apply(entry));
        for record in records {
            state.extend(record)?;
        }
        Ok(state)
    }

    /// Adds the record that follows.
    ///
    /// # Errors
    /// [`Corrupt`] when its number is not the next.
    pub fn extend(&mut self, record: &Record) -> Result<(), CorruptJournal> {
        if record.seq != self.next {
            return Err(CorruptJournal::Gap { run: self.run, expected: self.next, found: record.seq });
        }
        record.entries.iter().for_each(|entry| self.apply(entry));
        Ok(())
    }

    /// Adds one entry. Whether it may be added was [`admits`](Self::admits)' question, when it was written.
    fn apply(&mut self, entry: &Entry) {
        self.next += 1;
        self.last_at = entry.at;
        self.bytes += kept_bytes(&entry.fact);
        self.logs.add(entry);
        self.arrived = matches!(entry.fact, Fact::EventDelivered { .. } | Fact::SignalReceived { .. });
        if entry.fact.is_requested_by_handler() {
            // it has been run again since its error, whatever another host's clock says
            self.handler_retry_at = None;
            self.first_run_at.get_or_insert(entry.at);
        }
        match &entry.fact {
            Fact::StepsWoken { steps } => {
                for id in steps {
                    self.steps.entry(id.clone()).or_insert_with(|| Step::new(StepKind::Run, StepState::Wanted)).woken =
                        true;
                }
            }
            Fact::HandlerFailed { attempt, retry_at, .. } => {
                self.handler_failures = *attempt;
                self.handler_retry_at = Some(*retry_at);
                self.first_run_at.get_or_insert(entry.at);
                self.steps.values_mut().for_each(Step::reset_for_next_attempt);
            }
            Fact::RunCompleted { .. }
            | Fact::RunFailed { .. }
            | Fact::RunCancelled { .. }
            | Fact::RunSkipped { .. } => {
                self.end = self.end.take().or_else(|| RunEnd::from(entry));
            }
            Fact::WaitSkipped { step: None } => self.handler_retry_at = Some(entry.at),
            Fact::RunCreated(_) | Fact::LogWritten { .. } => {}
            Fact::VersionChosen { version } => self.version = Some(version.clone()),
            Fact::EventJoined { event, replaces, begins_at, closes } => {
                self.join(event, *replaces);
                self.delayed_until = begins_at.or(self.delayed_until);
                self.collecting &= !closes;
            }
            Fact::CollectingEnded => {
                self.collecting = false;
                self.delayed_until = Some(entry.at);
            }
            Fact::RunDelayed { begins_at } => self.delayed_until = Some(*begins_at),
            Fact::RunAdmitted => self.admitted = true,
            Fact::EventDelivered { event, steps } => {
                self.delivered.insert(event.id);
                steps.iter().for_each(|id| self.change(id, entry));
                self.outcomes.extend(RevealedOutcome::each(entry));
            }
            Fact::StepCarriedOver { kind, outcome, .. } => {
                // an event that the run before has met enters its rerun no more, however often it is repeated
                self.delivered.extend(met(*kind, outcome));
                self.apply_to_step(entry);
            }
            Fact::StepStarted { .. } => {
                self.started_at.get_or_insert(entry.at);
                self.apply_to_step(entry);
            }
            Fact::StepSucceeded { .. }
            | Fact::StepFailed { .. }
            | Fact::AttemptInterrupted { .. }
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
            | Fact::WaitSkipped { step: Some(_) }
            | Fact::WaitExpired { .. } => self.apply_to_step(entry),
        }
    }

    /// A further event for a run that has not begun.
    fn join(&mut self, event: &Event, replaces: bool) {
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
        self.change(id, entry);
        if let Some(mut revealed) = RevealedOutcome::from(entry) {
            // a refusal and an expiry do not say of which kind the step is
            if let Some(step) = self.steps.get(id) {
                revealed.kind = step.kind;
            }
            self.outcomes.push(revealed);
        }
    }

    fn change(&mut self, id: &StepId, entry: &Entry) {
        if let Some(step) = Step::after(self.steps.get(id), entry) {
            self.steps.insert(id.clone(), step);
        }
    }

    /// Whether the event has entered the run before, or started it (rule 17).
    pub fn has_seen(&self, event: EventId) -> bool {
        self.created.event.id == event || self.delivered.contains(&event)
    }

    /// Whether an event came after what created the run (rule 31): only such an event may enter the run or cancel it. An
    /// earlier one may arrive late, because it is repeated or stands in the same request.
    pub fn is_created_before(&self, event: &Event) -> bool {
        match self.created.origin {
            // a run of several events is created by the last of them
            Origin::Event => !event.came_before(self.joined.last().unwrap_or(&self.created.event)),
            Origin::Rerun { .. } | Origin::Invoke { .. } | Origin::Cron | Origin::Failure { .. } => {
                event.received_at >= self.created_at
            }
        }
    }

    /// The runs that it called, that are cancelled with its end, and have not told of their own.
    pub fn bound_children(&self) -> impl Iterator<Item = RunId> {
        self.steps.values().filter_map(|step| match &step.state {
            StepState::Invoking { child, bound: true, .. } => Some(*child),
            _ => None,
        })
    }

    /// Whether it waits for any event.
    pub fn awaits_events(&self) -> bool {
        let for_event = |step: &Step| matches!(&step.state, StepState::Awaiting { what: WaitTarget::Event(_), .. });
        self.end.is_none() && self.steps.values().any(for_event)
    }

    /// The open waits that an event fulfils, by their steps' ids.
    pub fn fulfilled_by(&self, arriving: &ArrivingEvent<'_>, exprs: &ExprCache) -> Vec<StepId> {
        let trigger = &self.created.event;
        if !self.is_created_before(arriving.event) {
            return Vec::new();
        }
        let is_fulfilled = |step: &Step| match &step.state {
            StepState::Awaiting { what: WaitTarget::Event(wait), until } => {
                arriving.event.received_at <= *until && wait.is_fulfilled_by(arriving, trigger, exprs)
            }
            StepState::Wanted
            | StepState::Running { .. }
            | StepState::Retrying { .. }
            | StepState::Sleeping { .. }
            | StepState::Invoking { .. }
            | StepState::Awaiting { what: WaitTarget::Signal, .. }
            | StepState::Done
            | StepState::Abandoned => false,
        };
        let mut steps: Vec<StepId> =
            self.steps.iter().filter(|(_, step)| is_fulfilled(step)).map(|(id, _)| id.clone()).collect();
        steps.sort_unstable();
        steps
    }

    /// The status word: a run is `Running` from the first attempt of its first step on.
    pub fn status(&self) -> Status {
        match &self.end {
            Some(end) => end.how.status(),
            None if self.started_at.is_some() || !self.steps.is_empty() => Status::Running,
            None => Status::Scheduled,
        }
    }

    /// When the run may begin, if something puts that off: its event's `ts`, a throttle, events that are collected. Nothing
    /// once it has begun.
    pub fn begins_at(&self) -> Option<Timestamp> {
        if self.has_started() {
            return None;
        }
        self.delayed_until.max(self.due_at())
    }

    /// The time that its event asks for, where that lies ahead (`ts`).
    pub fn due_at(&self) -> Option<Timestamp> {
        let by_event = self.created.origin == Origin::Event && !self.created.collects;
        self.created.event.starts_not_before().filter(|_| by_event)
    }

    /// Whether anything was written that only a run writes which has begun.
    pub fn has_started(&self) -> bool {
        self.first_run_at.is_some() || self.started_at.is_some() || !self.steps.is_empty() || self.handler_failures > 0
    }

    /// From when on the run was ready to begin: its place in lines.
    pub fn ready_at(&self) -> Timestamp {
        let by_event = self.created.event.starts_not_before().filter(|_| !self.created.collects);
        self.created_at.max(by_event.max(self.delayed_until).unwrap_or(self.created_at))
    }

    /// Whether a handler has asked for anything: the run is one of the version of its function that did.
    pub fn has_requested(&self) -> bool {
        let is_asked_for = |step: &Step| !matches!(step.state, StepState::Done);
        // what was taken over, and a signal that came early, nobody has asked for
        let is_answer = |revealed: &RevealedOutcome| !revealed.carried && revealed.kind != StepKind::Signal;
        self.version.is_some()
            || self.started_at.is_some()
            || self.handler_failures > 0
            || self.steps.values().any(is_asked_for)
            || self.outcomes.iter().any(is_answer)
    }

    /// The number of the handler's current attempt, from 1.
    pub fn handler_attempt(&self) -> u32 {
        self.handler_failures.saturating_add(1)
    }

    /// Checks that all these may be added, in this order, as one record.
    ///
    /// # Errors
    /// The first refusal.
    pub fn admits_all(&self, entries: &[Entry]) -> Result<(), Refusal> {
        crate::admits::all(self, entries)
    }
}

/// The event that an outcome which was taken over holds, if it holds one.
fn met(kind: StepKind, outcome: &Outcome) -> Option<EventId> {
    #[derive(serde::Deserialize)]
    struct Met {
        id: EventId,
    }
    let Outcome::Value(event) = outcome else { return None };
    if kind != StepKind::Event {
        return None;
    }
    serde_json::from_str::<Option<Met>>(event.get()).ok().flatten().map(|met| met.id)
}
