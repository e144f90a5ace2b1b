//! Checks of bulk requests after all runs have ended: each event is stored once and starts its runs
//! once, and the runs follow the order of the events in the request (rules 15 and 31).

use std::collections::HashMap;

use stepladder_core::journal::{Entry, Fact, NewRun, RunOrigin};
use stepladder_core::{EventId, RunId};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::Listings;
use stepladder_sdk::EventData;

use super::{BULK, BulkRequest, EACH, NumberedEvent, RequestState};
use crate::simulation::Simulation;
use crate::simulation::controls::{CONTROLLED, FlowControlKind};
use crate::simulation::functions::AwaitedEvent;
use crate::simulation::invariants::{Violation, at_once, journal};

/// The id and the key of each stored event, by request and position.
type StoredEventKeys = HashMap<(usize, usize), (EventId, u64)>;

impl Simulation {
    /// Checks all requests.
    pub(in crate::simulation) fn check_bulk_requests(&self) -> Result<(), Violation> {
        if self.allowed.bulk == 0 {
            return Ok(());
        }
        let stored = self.stored_in_bulk()?;
        let bulk = self.bulk.borrow();
        for (number, request) in bulk.requests.iter().enumerate() {
            self.check_applied_once(number, request, &stored)?;
            self.check_applied_in_order(number, request, &stored)?;
        }
        Ok(())
    }

    /// Returns the stored events of requests that were given up.
    pub(in crate::simulation) fn events_given_up_in_bulk(&self) -> Vec<EventId> {
        if self.allowed.bulk == 0 {
            return Vec::new();
        }
        let bulk = self.bulk.borrow();
        let is_given_up = |number: usize| bulk.requests[number].state == RequestState::GivenUp;
        let stored = self.stored_in_bulk().unwrap_or_default();
        stored.into_iter().filter(|((number, _), _)| is_given_up(*number)).map(|(_, (id, _))| id).collect()
    }

    /// Returns whether any event of a request is stored.
    pub(super) fn has_stored(&self, number: usize) -> bool {
        let stored = self.stored_in_bulk().unwrap_or_default();
        stored.keys().any(|(of, _)| *of == number)
    }

    /// Returns all stored events, and checks that none is stored under two ids.
    fn stored_in_bulk(&self) -> Result<StoredEventKeys, Violation> {
        let mut stored = StoredEventKeys::new();
        let all = at_once(self.memory.events(None, usize::MAX));
        for event in all.into_iter().filter(|event| [BULK, AwaitedEvent::NAME].contains(&&*event.name)) {
            let Ok(NumberedEvent { k, request, n }) = serde_json::from_str(event.data.get()) else { continue };
            if let Some((first, _)) = stored.insert((request, n), (event.id, k)) {
                return Err(format!("event {n} of request {request} is stored twice: {first}, {}", event.id));
            }
        }
        Ok(stored)
    }

    fn check_applied_once(
        &self,
        number: usize,
        request: &BulkRequest,
        stored: &StoredEventKeys,
    ) -> Result<(), Violation> {
        for (n, event) in request.events.iter().enumerate() {
            let Some((id, _)) = stored.get(&(number, n)) else {
                match request.state {
                    RequestState::GivenUp => continue,
                    state => return Err(format!("event {n} of request {number} is lost: {:?} {state:?}", request.way)),
                }
            };
            if *event.name != *BULK {
                continue;
            }
            let runs = at_once(self.memory.runs_of(*id));
            let each = runs.iter().filter(|row| *row.function == *EACH && self.created_by_event(row.run).is_some());
            match (each.count(), request.state) {
                (1, _) | (0, RequestState::GivenUp) => {}
                (count, _) => return Err(format!("event {n} of request {number} led to {count} runs of `{EACH}`")),
            }
        }
        Ok(())
    }

    fn check_applied_in_order(
        &self,
        number: usize,
        request: &BulkRequest,
        stored: &StoredEventKeys,
    ) -> Result<(), Violation> {
        let place: HashMap<RunId, usize> =
            self.memory.created_runs().into_iter().enumerate().map(|(at, run)| (run, at)).collect();
        let events = (0..request.events.len()).filter_map(|n| Some((n, stored.get(&(number, n))?)));
        let mut latest: HashMap<(&str, Option<u64>), (usize, usize)> = HashMap::new();
        let collects = matches!(self.controlled.control(), Some(FlowControlKind::Batch(_) | FlowControlKind::Debounce));
        // Flow control with a key decides for each key separately. An event that waits for a run of
        // its own key may start after a later event of another key.
        let has_key = matches!(self.controlled.control(), Some(FlowControlKind::StopOne | FlowControlKind::Once));
        for (n, (id, k)) in events {
            for function in [EACH, CONTROLLED].into_iter().filter(|function| *function == EACH || !collects) {
                let run = RunId::started_by(*id, function);
                let key = (function, (has_key && function == CONTROLLED).then_some(*k));
                let Some(at) = place.get(&run).filter(|_| !is_skipped(&journal(&self.memory, run))) else { continue };
                if let Some((before, _)) = latest.get(&key).filter(|(_, before)| before > at) {
                    return Err(format!(
                        "event {n} of request {number} started its run of `{function}` before event {before}, under {:?}",
                        self.controlled.control()
                    ));
                }
                latest.insert(key, (n, *at));
            }
        }
        match self.controlled.control() {
            Some(FlowControlKind::Batch(_) | FlowControlKind::Debounce) => {
                self.check_joins_in_order(number, request, stored)
            }
            Some(FlowControlKind::Throttle) => self.check_starts_in_order(number, request, stored),
            Some(FlowControlKind::Once) => self.check_first_event_decides(number, request, stored),
            Some(FlowControlKind::Replace) => self.check_later_replace_earlier(number, request, stored),
            Some(FlowControlKind::StopOne) => self.check_stops_make_room(number, request, stored),
            _ => Ok(()),
        }
    }

    /// Returns the runs of the controlled function that a request started: the event's position,
    /// its key, the run and its journal.
    fn controlled_runs<'a>(
        &'a self,
        number: usize,
        request: &'a BulkRequest,
        stored: &'a StoredEventKeys,
    ) -> impl Iterator<Item = (usize, u64, RunId, Vec<Entry>)> {
        (0..request.events.len()).filter_map(move |n| {
            let (id, k) = stored.get(&(number, n))?;
            let run = RunId::started_by(*id, CONTROLLED);
            let entries = journal(&self.memory, run);
            (!entries.is_empty()).then_some((n, *k, run, entries))
        })
    }

    /// Checks that a run that collects events has those of a request in the request's order. A
    /// debounced run must start with the last one.
    fn check_joins_in_order(
        &self,
        number: usize,
        request: &BulkRequest,
        stored: &StoredEventKeys,
    ) -> Result<(), Violation> {
        let places: HashMap<EventId, usize> =
            stored.iter().filter(|((of, _), _)| *of == number).map(|((_, n), (id, _))| (*id, *n)).collect();
        for (_, _, run, entries) in self.controlled_runs(number, request, stored) {
            let events = entries.iter().filter_map(|entry| match &entry.fact {
                Fact::RunCreated(created) => Some(created.event.id),
                Fact::EventJoined { event, .. } => Some(event.id),
                _ => None,
            });
            let order: Vec<usize> = events.filter_map(|id| places.get(&id).copied()).collect();
            if !order.is_sorted() {
                return Err(format!("the events of request {number} entered {run} in the order {order:?}"));
            }
        }
        Ok(())
    }

    /// Checks that a throttle admits runs in the order of their events.
    fn check_starts_in_order(
        &self,
        number: usize,
        request: &BulkRequest,
        stored: &StoredEventKeys,
    ) -> Result<(), Violation> {
        let mut before = None;
        for (n, _, _, entries) in self.controlled_runs(number, request, stored) {
            let Some(created) = creation_entry(&entries) else { continue };
            let begins = created.begins_at.unwrap_or(entries[0].at);
            if let Some((earlier, _)) = before.filter(|(_, at)| *at > begins) {
                return Err(format!("event {n} of request {number} begins at {begins}, before event {earlier}"));
            }
            before = Some((n, begins));
        }
        Ok(())
    }

    /// Checks that of the events with the same idempotency key, only the first starts a run.
    fn check_first_event_decides(
        &self,
        number: usize,
        request: &BulkRequest,
        stored: &StoredEventKeys,
    ) -> Result<(), Violation> {
        let mut first: HashMap<u64, usize> = HashMap::new();
        for n in 0..request.events.len() {
            let Some((_, k)) = stored.get(&(number, n)) else { continue };
            first.entry(*k).or_insert(n);
        }
        for (n, k, run, _) in self.controlled_runs(number, request, stored) {
            if first.get(&k) != Some(&n) && self.clock.now().since(self.begun) < std::time::Duration::from_secs(86_000)
            {
                return Err(format!("event {n} of request {number} started {run}, though an earlier one has its key"));
            }
        }
        Ok(())
    }

    /// Checks that the run of a singleton is only replaced by the run of a later event.
    fn check_later_replace_earlier(
        &self,
        number: usize,
        request: &BulkRequest,
        stored: &StoredEventKeys,
    ) -> Result<(), Violation> {
        let places: HashMap<RunId, usize> =
            self.controlled_runs(number, request, stored).map(|(n, _, run, _)| (run, n)).collect();
        for (n, _, run, entries) in self.controlled_runs(number, request, stored) {
            let replaced = creation_entry(&entries).and_then(|created| places.get(&created.replaces?));
            if let Some(later) = replaced.filter(|later| **later > n) {
                return Err(format!("{run} of event {n} of request {number} replaces that of event {later}"));
            }
        }
        Ok(())
    }

    /// Checks that the first event after one that cancels the singleton's run starts a new run.
    fn check_stops_make_room(
        &self,
        number: usize,
        request: &BulkRequest,
        stored: &StoredEventKeys,
    ) -> Result<(), Violation> {
        let is_stop = |n: usize| *request.events[n].name == *AwaitedEvent::NAME;
        let key = |n: usize| stored.get(&(number, n)).map(|(_, k)| *k);
        for (n, k, run, entries) in self.controlled_runs(number, request, stored) {
            let before = (0..n).rev().find(|before| key(*before) == Some(k));
            if is_skipped(&entries) && before.is_none_or(is_stop) {
                return Err(format!(
                    "{run} of event {n} of request {number} is skipped, though event {before:?} made room"
                ));
            }
        }
        Ok(())
    }

    fn created_by_event(&self, run: RunId) -> Option<RunId> {
        creation_entry(&journal(&self.memory, run)).filter(|created| created.origin == RunOrigin::Event).map(|_| run)
    }
}

fn is_skipped(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| matches!(entry.fact, Fact::RunSkipped { .. }))
}

fn creation_entry(entries: &[Entry]) -> Option<&NewRun> {
    match &entries.first()?.fact {
        Fact::RunCreated(created) => Some(created),
        _ => None,
    }
}
