//! Ingest: events in, runs out.
//!
//! Every write is idempotent and nothing is skipped because it was seen before (rule 15): a request that is repeated
//! after a crash redoes whatever the first one did not get to.

use stepladder_core::journal::{Created, Entry, Fact, Origin, Record};
use stepladder_core::planted::{self, Plant};
use stepladder_core::slot::{ARRIVAL, Place};
use stepladder_core::spec::LazyScope;
use stepladder_core::wake::Purpose;
use stepladder_core::{Cause, Event, EventId, NewEvent, RunId, RunRow, Status, Timer, Timestamp, Wake};

use super::{Engine, EngineError};
use crate::ports::{Start, StoreError};

/// How long after its creation a run is looked after for the first time (rule 12).
pub(super) const WATCH: std::time::Duration = std::time::Duration::from_secs(3_600);

/// Where a sender's own event ids begin: a request that is sent again with the same seed gives the same events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdSeed {
    /// The time within the ids.
    pub at: Timestamp,
    /// Their random part; counted up by one for each event.
    pub random: u128,
}

impl Engine {
    /// Accepts events and starts the runs that they trigger. The ids come in the order of the events; a repeated event
    /// has its first one's.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when an event cannot be accepted: then none is. [`EngineError::Store`]: then some may
    /// be; sending the same again (with ids or a seed) harms nothing.
    pub async fn ingest(&self, events: Vec<NewEvent>, seed: Option<IdSeed>) -> Result<Vec<EventId>, EngineError> {
        for (i, event) in events.iter().enumerate() {
            if let Some(fault) = event.fault() {
                return Err(EngineError::Invalid(format!("event {i}: {fault}")));
            }
        }
        let now = self.now();
        let mut id = match seed {
            Some(seed) => EventId::new(seed.at, seed.random),
            None => self.event_ids(now, events.len()),
        };
        let accepted = events.into_iter().map(|event| {
            let this = id;
            id = id.next();
            event.accept(this, now)
        });
        Ok(self.accept(accepted.collect(), now).await?)
    }

    /// Stores events under the ids that they have, starts their runs, and gives them to the runs that wait for them.
    pub(super) async fn accept(&self, events: Vec<Event>, now: Timestamp) -> Result<Vec<EventId>, StoreError> {
        let events = self.backend.accept(events, now).await?;
        let mut runs = Vec::new();
        let is_new = |event: &&Event| event.received_at == now || !planted::is(Plant::RepeatedEventIsSkipped);
        for event in events.iter().filter(is_new) {
            self.triggered(event, now, &mut runs);
        }
        if !runs.is_empty() {
            self.start_runs(runs).await?;
        }
        self.give_to_waiters(&events).await?;
        Ok(events.iter().map(|event| event.id).collect())
    }

    /// The first of `n` ids in a row that sort after all that this process gave out before: events keep the order in
    /// which they came.
    fn event_ids(&self, now: Timestamp, n: usize) -> EventId {
        let mut latest = self.latest_event.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let first = match *latest {
            Some(latest) if latest.time() >= now => latest.next(),
            _ => EventId::new(now, self.entropy.bits()),
        };
        *latest = Some((1..n).fold(first, |id, _| id.next()));
        first
    }

    fn triggered(&self, event: &Event, now: Timestamp, runs: &mut Vec<(RunId, Created, Vec<Entry>)>) {
        let mut scope = LazyScope::new(event);
        for spec in self.specs() {
            let end = match spec.matches(event, &mut scope) {
                Ok(false) => continue,
                Ok(true) => Vec::new(),
                Err(bad) => vec![Fact::RunSkipped { reason: format!("the trigger's {bad}").into() }.at(now)],
            };
            let created = Created { function: spec.id.clone(), event: event.clone(), origin: Origin::Event };
            runs.push((RunId::started_by(event.id, &spec.id), created, end));
        }
    }

    /// Creates runs with their first entries. Those that exist are left as they are.
    pub(super) async fn start_runs(&self, runs: Vec<(RunId, Created, Vec<Entry>)>) -> Result<Vec<bool>, StoreError> {
        let now = self.now();
        self.backend
            .start(runs.into_iter().map(|(run, created, more)| self.start(run, created, more, now)).collect())
            .await
    }

    fn start(&self, run: RunId, created: Created, more: Vec<Entry>, now: Timestamp) -> Start {
        let function = created.function.clone();
        let event = created.event.id;
        let ended = more.iter().any(|entry| entry.fact.is_end());
        let places = if ended { Vec::new() } else { self.arrivals(run, &created, now) };
        let mut entries = vec![Fact::RunCreated(Box::new(created)).at(now)];
        entries.extend(more);
        Start {
            row: RunRow {
                run,
                function: function.clone(),
                event,
                created_at: now,
                ended: ended.then_some((now, Status::Skipped)),
            },
            record: Record { seq: 0, token: self.entropy.bits(), code: self.config.code.clone(), entries },
            watchdog: Timer { due: now + WATCH, run, group: function.clone(), purpose: Purpose::Watchdog },
            wake: Wake { run, cause: Cause::Created, group: function },
            places,
        }
    }

    /// The places that a run takes on arrival. A key that cannot be evaluated gives none: the run fails in its first
    /// hop, and says why.
    fn arrivals(&self, run: RunId, created: &Created, now: Timestamp) -> Vec<(stepladder_core::slot::Limit, Place)> {
        let Some(program) = self.program(&created.function) else { return Vec::new() };
        // who begins later joins the line then
        if created.origin == Origin::Event && created.event.begins_at().is_some() {
            return Vec::new();
        }
        let limits = program.spec().limits(&mut LazyScope::new(&created.event)).unwrap_or_default();
        limits
            .into_iter()
            .map(|limit| (limit, Place { asked: now, event: created.event.id, run, step: ARRIVAL.into() }))
            .collect()
    }
}
