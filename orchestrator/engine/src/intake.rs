//! Intake: accepts events and creates runs.
//!
//! Every write is idempotent, and no work is skipped because an event was seen before (rule 15). If
//! a request is repeated after a crash, the repetition also does what the first attempt did not
//! reach.

mod admission;
mod collect;
mod flow_control;
mod noted;
mod pieces;
mod repeats;
mod starts;
mod ticks;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock};

use stepladder_core::journal::{Fact, NewRun, RunOrigin};
use stepladder_core::spec::LazyExprScope;
use stepladder_core::state::RunState;
use stepladder_core::waiting::SubscribedFields;
use stepladder_core::{Event, EventId, NewEvent, RunId, Timestamp};

use crate::EngineError;
use crate::functions::Catalog;
use crate::intake::noted::NotedRun;
use crate::intake::starts::RunDraft;
pub use pieces::{PIECE, PieceLimits, RequestProgress};
pub(crate) use starts::WATCHDOG_INTERVAL;
pub(crate) use ticks::Tick;

use crate::ports::{AcceptedEvents, EventWrites, RunStart, StoreError};
use crate::runs::Runs;
use crate::runtime::Runtime;
use crate::slots::Slots;
use crate::subscriptions::Subscriptions;

/// Accepts events and creates the runs that they trigger.
pub struct Intake {
    runtime: Arc<Runtime>,
    runs: Arc<Runs>,
    slots: Arc<Slots>,
    subscriptions: Arc<Subscriptions>,
    /// The last event id that this process has assigned.
    latest_event: Mutex<Option<EventId>>,
}

/// The start of the event ids of a request. If a request is repeated with the same seed, its events
/// get the same ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdSeed {
    /// The time that the ids contain.
    pub at: Timestamp,
    /// The random part of the first id. It is incremented by one for each further event.
    pub random: u128,
}

impl Intake {
    pub(crate) fn new(
        runtime: Arc<Runtime>,
        runs: Arc<Runs>,
        slots: Arc<Slots>,
        subscriptions: Arc<Subscriptions>,
    ) -> Self {
        Self { runtime, runs, slots, subscriptions, latest_event: Mutex::default() }
    }

    /// Accepts events and creates the runs that they trigger. Returns the ids in the order of the
    /// events. For a repeated event, this is the id of the original event.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] if an event is invalid; then no event is accepted. After
    /// [`EngineError::Store`], some events may be accepted. Sending the same events again (with ids
    /// or a seed) is harmless.
    pub async fn ingest(&self, events: Vec<NewEvent>, seed: Option<IdSeed>) -> Result<Vec<EventId>, EngineError> {
        let now = self.runtime.now();
        let accepted = self.assign_ids(events, seed, now)?;
        Ok(self.accept(accepted, now).await?)
    }

    /// Returns a new seed for a request with this many events. If the events are sent again, the
    /// same seed identifies them.
    pub fn seed(&self, events: usize) -> IdSeed {
        let first = self.reserve_event_ids(self.runtime.now(), events);
        IdSeed { at: first.time(), random: first.random() }
    }

    /// Returns the events as they will be stored, with their ids.
    pub(crate) fn assign_ids(
        &self,
        events: Vec<NewEvent>,
        seed: Option<IdSeed>,
        received_at: Timestamp,
    ) -> Result<Vec<Event>, EngineError> {
        for (i, event) in events.iter().enumerate() {
            if let Some(problem) = event.problem() {
                return Err(EngineError::Invalid(format!("event {i}: {problem}")));
            }
        }
        let mut id = match seed {
            Some(seed) => EventId::new(seed.at, seed.random),
            None => self.reserve_event_ids(received_at, events.len()),
        };
        let accepted = events.into_iter().map(|event| {
            let this = id;
            id = id.next();
            event.accept(this, received_at)
        });
        Ok(accepted.collect())
    }

    /// Stores events that have ids, creates their runs, and delivers the events to subscriptions.
    pub(crate) async fn accept(&self, events: Vec<Event>, now: Timestamp) -> Result<Vec<EventId>, StoreError> {
        let names: Vec<Arc<str>> = events.iter().map(|event| event.name.clone()).collect();
        let catalog = self.current_for(&events).await;
        let (events, accepted) = self.accept_with_runs(&catalog, events, now).await?;
        for (name, first) in names.iter().zip(&events).filter(|(name, first)| **name != first.name) {
            let (id, first) = (first.external_id.as_deref(), &first.name);
            tracing::warn!(id, %name, %first, "an event has the id of another event and counts as its repetition");
        }
        match accepted {
            None => self.apply_under(&catalog, &events, now).await?,
            Some(accepted) => self.finish(&catalog, &events, accepted).await?,
        }
        Ok(events.iter().map(|event| event.id).collect())
    }

    /// Stores events. If the store supports it and all events are new, the same call creates the
    /// runs that flow control need not decide on. Returns `None` if only the events were stored.
    async fn accept_with_runs(
        &self,
        catalog: &Catalog,
        events: Vec<Event>,
        now: Timestamp,
    ) -> Result<(Vec<Event>, Option<AcceptedRuns>), StoreError> {
        // the parts of such a request must be applied one after another (rule 31)
        if split_at_cancellations(catalog, &events).nth(1).is_some() {
            return Ok((self.runtime.backend.accept(events, now).await?, None));
        }
        let decided: OnceLock<DecidedRuns> = OnceLock::new();
        let decide = |events: &[Event]| {
            let mut triggered = TriggeredRuns::default();
            events.iter().for_each(|event| add_triggered(catalog, event, now, &mut triggered));
            let (plain, controlled) = starts::split_by_flow_control(catalog, triggered.runs);
            let starts: Vec<RunStart> =
                plain.into_iter().map(|draft| self.prepare_start(catalog, draft, Vec::new())).collect();
            let noted = self.noted_runs(&starts);
            // `set` fails at a second call, which would decide the same
            let (collected, states) = (triggered.collected, self.runs.states_of(&starts));
            let _ = decided.set(DecidedRuns { controlled, collected, noted, states });
            EventWrites { before: self.early_writes(catalog, &starts), starts }
        };
        let AcceptedEvents { events, applied } = self.runtime.backend.accept_with_runs(events, now, &decide).await?;
        let accepted = applied.zip(decided.into_inner()).map(|(applied, decided)| {
            let DecidedRuns { controlled, collected, noted, states } = decided;
            self.report_created(noted, &applied.starts);
            self.runs.keep_created(states, &applied.starts);
            AcceptedRuns { controlled, collected, subscribed: applied.subscribed }
        });
        Ok((events, accepted))
    }

    /// Creates the runs that flow control must decide on, and delivers the events to subscriptions.
    /// The other runs of these events already exist.
    async fn finish(&self, catalog: &Catalog, events: &[Event], accepted: AcceptedRuns) -> Result<(), StoreError> {
        let AcceptedRuns { controlled, collected, subscribed } = accepted;
        if controlled.is_empty() && collected.is_empty() {
            return self.subscriptions.deliver(events, subscribed.into_iter().collect()).await;
        }
        self.start_with_flow_control(catalog, controlled).await?;
        self.collect_all(catalog, collected).await?;
        // another event of the same request may cancel these runs, so the subscriptions are looked
        // up again
        self.subscriptions.deliver(events, HashMap::new()).await
    }

    async fn collect_all(
        &self,
        catalog: &Catalog,
        collected: BTreeMap<Arc<str>, Vec<Event>>,
    ) -> Result<(), StoreError> {
        for (function, events) in collected {
            let Some(spec) = catalog.spec(&function) else { continue };
            self.collect(catalog, spec, events).await?;
        }
        Ok(())
    }

    /// Applies stored events in their order (rule 31). For each part of the events, creates all
    /// runs and then delivers the events. Nevertheless a run gets no event that came before its own
    /// event: event ids are in the order of arrival, and the delivery compares them.
    pub(crate) async fn apply(&self, events: &[Event], now: Timestamp) -> Result<(), StoreError> {
        let catalog = self.current_for(events).await;
        self.apply_under(&catalog, events, now).await
    }

    /// Returns the current functions. If one of the events starts none of them, looks for functions
    /// that were registered a moment ago.
    async fn current_for(&self, events: &[Event]) -> Arc<Catalog> {
        let starts_one = |catalog: &Catalog, event: &Event| {
            catalog.specs().any(|spec| spec.triggers.iter().any(|trigger| trigger.event == event.name))
        };
        self.runtime.current_with(|catalog| events.iter().all(|event| starts_one(catalog, event))).await
    }

    async fn apply_under(&self, catalog: &Catalog, events: &[Event], now: Timestamp) -> Result<(), StoreError> {
        for part in split_at_cancellations(catalog, events) {
            let mut triggered = TriggeredRuns::default();
            for event in part {
                add_triggered(catalog, event, now, &mut triggered);
            }
            if !triggered.runs.is_empty() {
                self.start_runs_under(catalog, triggered.runs).await?;
            }
            self.collect_all(catalog, triggered.collected).await?;
            self.subscriptions.deliver(part, HashMap::new()).await?;
        }
        Ok(())
    }

    /// Reserves `n` consecutive ids and returns the first. They sort after all ids that this
    /// process has assigned before, so events keep their order.
    fn reserve_event_ids(&self, now: Timestamp, n: usize) -> EventId {
        let mut latest = self.latest_event.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let first = match *latest {
            Some(latest) if latest.time() >= now => latest.next(),
            _ => EventId::new(now, self.runtime.entropy.bits()),
        };
        *latest = Some((1..n).fold(first, |id, _| id.next()));
        first
    }
}

/// Splits events into parts that can each be applied in one go. Each event that may cancel runs
/// of a singleton ends a part, because a later event creates a run only if the singleton's run
/// has ended.
fn split_at_cancellations<'a>(catalog: &Catalog, events: &'a [Event]) -> impl Iterator<Item = &'a [Event]> + use<'a> {
    let singletons = catalog.specs().filter(|spec| spec.flow.singleton.is_some());
    let cancel: HashSet<Arc<str>> =
        singletons.flat_map(|spec| spec.flow.cancel_on.iter().map(|cancel| cancel.event.clone())).collect();
    events.split_inclusive(move |event| cancel.contains(&event.name))
}

/// Adds the runs that an event triggers to `triggered`.
fn add_triggered(catalog: &Catalog, event: &Event, now: Timestamp, triggered: &mut TriggeredRuns) {
    let mut scope = LazyExprScope::new(event);
    for spec in catalog.specs() {
        let end = match spec.matches(event, &mut scope) {
            Ok(false) => continue,
            Ok(true) if spec.flow.collects_events() => {
                triggered.collected.entry(spec.id.clone()).or_default().push(event.clone());
                continue;
            }
            Ok(true) => Vec::new(),
            Err(bad) => vec![Fact::RunSkipped { reason: format!("the trigger's {bad}").into() }.into_entry(now)],
        };
        let created = NewRun::new(spec.id.clone(), event.clone(), RunOrigin::Event);
        triggered.runs.push((RunId::started_by(event.id, &spec.id), created, end));
    }
}

/// The runs that a list of events triggers.
#[derive(Default)]
struct TriggeredRuns {
    runs: Vec<RunDraft>,
    /// The events that each function collects.
    collected: BTreeMap<Arc<str>, Vec<Event>>,
}

/// Decisions that are made while events are stored, for runs that are not created at the same time.
struct DecidedRuns {
    controlled: Vec<RunDraft>,
    collected: BTreeMap<Arc<str>, Vec<Event>>,
    noted: Vec<NotedRun>,
    /// The states of the other runs, for their first hops.
    states: Vec<Option<RunState>>,
}

/// What remains to be done with stored events after some of their runs were created.
struct AcceptedRuns {
    /// The runs that flow control must decide on.
    controlled: Vec<RunDraft>,
    /// The events that each function collects.
    collected: BTreeMap<Arc<str>, Vec<Event>>,
    /// For each event name, the fields by which runs subscribe to it, read after the runs were
    /// created.
    subscribed: Vec<(Arc<str>, SubscribedFields)>,
}
