//! Storing events and creating runs, together under one lock.

use std::collections::BTreeSet;

use async_trait::async_trait;
use stepladder_core::limits::DEDUPLICATION_MS;
use stepladder_core::{Event, Fact, Timestamp};
use stepladder_engine::ports::{
    AcceptedEvents, AppliedWrites, Decide, EarlyWrite, EventWrites, Intake, RunStart, StartResult, StoreResult,
};

use super::{Memory, MemoryTables};

#[async_trait]
impl Intake for Memory {
    async fn accept_with_runs(
        &self,
        events: Vec<Event>,
        now: Timestamp,
        decide: Decide<'_>,
    ) -> StoreResult<AcceptedEvents> {
        let EventWrites { before, starts } = decide(&events);
        let mut inner = self.lock();
        let (events, are_new) = inner.accept(events, now);
        if !are_new {
            return Ok(AcceptedEvents { events, applied: None });
        }
        before.into_iter().for_each(|early| inner.write_early(early));
        let starts = inner.create_runs(starts, self.now());
        let names: BTreeSet<_> = events.iter().map(|event| event.name.clone()).collect();
        let subscribed =
            names.into_iter().map(|name| (name.clone(), inner.subscriptions.subscribed_fields(&name))).collect();
        drop(inner);
        self.arrivals.notify_waiters();
        Ok(AcceptedEvents { events, applied: Some(AppliedWrites { starts, subscribed }) })
    }
}

impl MemoryTables {
    /// Stores events. Returns them as stored, and whether all of them are new.
    pub(super) fn accept(&mut self, events: Vec<Event>, now: Timestamp) -> (Vec<Event>, bool) {
        let mut are_new = true;
        let mut stored = Vec::with_capacity(events.len());
        for event in events {
            let external = event.external_id.as_ref().and_then(|id| self.external.get(id));
            let first = external.or(Some(&event.id)).and_then(|id| self.events.get(id));
            let is_repeated = |first: &&Event| {
                first.id == event.id || now.as_millis() - first.received_at.as_millis() < DEDUPLICATION_MS
            };
            if let Some(first) = first.filter(is_repeated) {
                stored.push(first.clone());
                are_new = false;
                continue;
            }
            if let Some(id) = &event.external_id {
                self.external.insert(id.clone(), event.id);
            }
            // An event may have a known id but a different external id: then the id decides, and
            // the known event is returned.
            are_new &= !self.events.contains_key(&event.id);
            let known = self.events.entry(event.id).or_insert(event);
            stored.push(known.clone());
        }
        (stored, are_new)
    }

    pub(super) fn write_early(&mut self, early: EarlyWrite) {
        match early {
            EarlyWrite::Wake { wake, due } => self.send(wake, due),
            EarlyWrite::Timer(timer) => self.set_timer(timer),
            EarlyWrite::Subscribe(subscription) => self.subscriptions.subscribe(subscription),
            EarlyWrite::PutInInbox { run, event } => self.subscriptions.put_in_inbox(run, event),
            EarlyWrite::LinkEvent { run, event } => self.link_event(run, event),
            EarlyWrite::NoteDelivery { run, event } => {
                self.delivered.insert((event, run));
            }
            EarlyWrite::AddLabel { run, label } => {
                self.labels.insert((run, label));
            }
        }
    }

    pub(super) fn create_runs(&mut self, starts: Vec<RunStart>, now: Timestamp) -> Vec<StartResult> {
        starts.into_iter().map(|start| self.create_run(start, now)).collect()
    }

    fn create_run(&mut self, start: RunStart, now: Timestamp) -> StartResult {
        let RunStart { row, record, watchdog, wake, tickets, flow_state } = start;
        let run = row.run;
        if self.journals.contains_key(&run) {
            return StartResult::Known;
        }
        if !flow_state.iter().all(|change| self.flow_state.is_as_seen(change, now)) {
            return StartResult::Overtaken;
        }
        flow_state.into_iter().for_each(|change| self.flow_state.apply(change));
        if let Some(Fact::RunCreated(created)) = record.entries.first().map(|entry| &entry.fact) {
            self.labels.extend(created.labels.iter().map(|label| (run, label.clone())));
        }
        self.journals.insert(run, vec![record]);
        self.link_event(run, row.event);
        self.created.push(run);
        self.rows.insert(run, row);
        self.set_timer(watchdog);
        for (limit, ticket) in tickets {
            self.wait_queues.change(&limit.key, |queue| queue.enqueue(ticket));
        }
        self.send(wake, now);
        StartResult::New
    }
}
