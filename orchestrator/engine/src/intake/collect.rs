//! Collects events before a run starts, for debounce and batch.
//!
//! The first event creates the run, and the run starts at a later time. Until then the run is open:
//! further events join it, as entries of its journal. There are two kinds of flow state:
//!
//! - For each key, a flow state names the open run of the key.
//! - For each event, a flow state names the run of the event. So a repeated event finds its run and
//!   joins no second run (rules 15 to 17).
//!
//! A run that has started accepts no further event. The start is an entry of the journal, so either
//! the event or the start is written first, and the other one sees it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use stepladder_core::flow::FlowControl;
use stepladder_core::journal::{Entry, Fact, NewRun, RunOrigin};
use stepladder_core::limits::{COLLECTED, COLLECTED_BYTES, FLOW_STATE_RETENTION};
use stepladder_core::spec::LazyExprScope;
use stepladder_core::state::RunState;
use stepladder_core::{Event, EventId, RunId, Spec, Timestamp, WakeCause};

use crate::functions::Catalog;
use crate::intake::Intake;
use crate::intake::flow_control::evaluate_key;
use crate::intake::starts::{RunDraft, flow_state_key};
use crate::ports::{Commit, EarlyWrite, FlowStateChange, StartResult, StoreError};

/// The maximum number of consecutive rounds in which no event joins a run because another process
/// was faster each time. A call with many events may need more rounds in total.
const MAX_IDLE_ROUNDS: u32 = 1_000;

impl Intake {
    /// Adds events to runs of a function that collects them, in the order of the events.
    pub(crate) async fn collect(&self, catalog: &Catalog, spec: &Spec, events: Vec<Event>) -> Result<(), StoreError> {
        let mut by_key: BTreeMap<String, Vec<Event>> = BTreeMap::new();
        let mut separate = Vec::new();
        for event in events {
            let of_batch = spec.flow.batch.as_ref().and_then(|batch| batch.key.as_ref());
            let key = of_batch.or(spec.flow.debounce.as_ref().and_then(|debounce| debounce.key.as_ref()));
            match evaluate_key(key, &mut LazyExprScope::new(&event)) {
                // an event with a future `ts` gets a run of its own: in a common run it would delay
                // the other events, or start too early
                Ok(_) if event.starts_not_before().is_some() => {
                    separate.push(self.draft_separate(spec, event, Vec::new()))
                }
                Ok(value) => by_key.entry(value).or_default().push(event),
                Err(bad) => {
                    let reason = format!("the key by which its events are collected: {bad}").into();
                    separate.push(self.draft_separate(
                        spec,
                        event,
                        vec![Fact::RunSkipped { reason }.into_entry(self.runtime.now())],
                    ));
                }
            }
        }
        if !separate.is_empty() {
            let starts = separate.into_iter().map(|draft| self.prepare_start(catalog, draft, Vec::new())).collect();
            self.commit_starts(catalog, starts, Vec::new()).await?;
        }
        for (value, events) in by_key {
            self.collect_for_key(catalog, spec, &value, events).await?;
        }
        Ok(())
    }

    /// Prepares a separate run for an event that does not join other events.
    fn draft_separate(&self, spec: &Spec, event: Event, more: Vec<Entry>) -> RunDraft {
        let run = RunId::started_by(event.id, &spec.id);
        (run, NewRun::new(spec.id.clone(), event, RunOrigin::Event), more)
    }

    async fn collect_for_key(
        &self,
        catalog: &Catalog,
        spec: &Spec,
        value: &str,
        events: Vec<Event>,
    ) -> Result<(), StoreError> {
        let open = flow_state_key("open", &spec.id, value);
        let order = positions_by_id(&events);
        let mut left = VecDeque::from(events);
        let mut idle_rounds = 0;
        while let Some(first) = left.front() {
            if idle_rounds == MAX_IDLE_ROUNDS {
                return Err(StoreError::Unavailable(
                    "too many processes collect events of the same key at once".into(),
                ));
            }
            let before = left.len();
            let pointer = self.read_one_flow_state(&open).await?;
            let state = match pointer.as_deref().and_then(|run| run.parse::<RunId>().ok()) {
                Some(run) => self.runs.state(run).await?,
                None => None,
            };
            // the events that did not join a run in this round
            let mut back = match state.filter(|state| state.collecting && state.end.is_none()) {
                Some(state) => {
                    let (fits, _) = count_fitting(&spec.flow, &state, left.make_contiguous());
                    self.join_open(spec, &state, left.drain(..fits).collect()).await?
                }
                None if self.open_run(catalog, spec, (&open, pointer), first).await? => {
                    left.pop_front();
                    Vec::new()
                }
                // either another process opened a run in the meantime, or the event is already in a
                // run
                None => self.find_undelivered(spec, None, left.pop_front().into_iter().collect()).await?,
            };
            // these events go before the events that were not tried yet, so that the order is kept
            back.sort_by_key(|event| order.get(&event.id));
            back.into_iter().rev().for_each(|event| left.push_front(event));
            idle_rounds = if left.len() < before { 0 } else { idle_rounds + 1 };
        }
        Ok(())
    }

    /// Adds events to the open run of their key. Returns the events that the run does not accept.
    async fn join_open(&self, spec: &Spec, state: &RunState, events: Vec<Event>) -> Result<Vec<Event>, StoreError> {
        let order = positions_by_id(&events);
        // rule 15: an event may be in the run although no wake was sent for it, because the process
        // died in between
        let (met, joining) = events.into_iter().partition(|event| state.has_seen(event.id));
        let (mut ours, mut elsewhere) = self.assign_to_run(spec, state.run, joining).await?;
        elsewhere.extend::<Vec<_>>(met);
        // rule 31: an earlier attempt may have assigned some events to a run; they are handled
        // before the other events, in this run or in another
        let mut back = self.find_undelivered(spec, Some(state.run), elsewhere).await?;
        if !back.is_empty() {
            let (more, others) = self.assign_to_run(spec, state.run, back).await?;
            ours.extend(more);
            ours.sort_by_key(|event| order.get(&event.id));
            back = others;
        }
        let late = self.join_run(spec, state.run, ours).await?;
        for event in &late {
            self.unassign(spec, state.run, event).await?;
        }
        back.extend(late);
        Ok(back)
    }

    /// Returns the events that are not in a run yet. This includes an event if its flow state names
    /// a run that started without the event. It also includes events that are assigned to the run
    /// `joining`: they join this run together with other events, in their order.
    async fn find_undelivered(
        &self,
        spec: &Spec,
        joining: Option<RunId>,
        events: Vec<Event>,
    ) -> Result<Vec<Event>, StoreError> {
        let mut undelivered = Vec::new();
        for event in events {
            if !self.ensure_delivered(spec, joining, &event).await? {
                undelivered.push(event);
            }
        }
        Ok(undelivered)
    }

    async fn read_one_flow_state(&self, key: &Arc<str>) -> Result<Option<Arc<str>>, StoreError> {
        Ok(self.runtime.backend.read_flow_state(vec![key.clone()]).await?.pop().flatten())
    }

    /// Makes sure that an event is in the run that its flow state names. Returns `false` if there
    /// is no such flow state, or if the run has started without the event. Also returns `false` if
    /// the run is `joining` and does not contain the event yet.
    async fn ensure_delivered(&self, spec: &Spec, joining: Option<RunId>, event: &Event) -> Result<bool, StoreError> {
        let noted = self.read_one_flow_state(&destination_key(spec, event)).await?;
        let Some(run) = noted.as_deref().and_then(|run| run.parse::<RunId>().ok()) else { return Ok(false) };
        // the run that the flow state names existed once; if it is missing now, it has ended and
        // its retention is over
        let Some(state) = self.runs.state(run).await? else { return Ok(true) };
        if state.has_seen(event.id) {
            if state.first_run_at.is_none() && state.end.is_none() {
                // the process that added the event may have died before it sent the wake
                let wakes = vec![self.runtime.wake_of(&state, WakeCause::Arrived)];
                self.runtime.carry_out(Commit { wakes, ..Commit::default() }).await?;
            }
            return Ok(true);
        }
        // rule 31: a parallel attempt of the same request has assigned the event to this run; if
        // the event were added alone, it would overtake the events before it
        if joining == Some(run) {
            return Ok(false);
        }
        if self.join_run(spec, run, vec![event.clone()]).await?.is_empty() {
            return Ok(true);
        }
        self.unassign(spec, run, event).await?;
        Ok(false)
    }

    /// Assigns events to this run, each by a flow state. Returns the events that were assigned now,
    /// and the events that were already assigned to another run.
    async fn assign_to_run(
        &self,
        spec: &Spec,
        run: RunId,
        events: Vec<Event>,
    ) -> Result<(Vec<Event>, Vec<Event>), StoreError> {
        let until = self.runtime.now() + FLOW_STATE_RETENTION;
        let becomes: Arc<str> = run.to_string().into();
        let note = |event: &Event| FlowStateChange {
            key: destination_key(spec, event),
            seen: None,
            becomes: Some(becomes.clone()),
            until,
        };
        let noted = self.runtime.backend.change_flow_state(events.iter().map(note).collect()).await?;
        let (mut ours, mut elsewhere) = (Vec::new(), Vec::new());
        for (event, noted) in events.into_iter().zip(noted) {
            if noted { &mut ours } else { &mut elsewhere }.push(event);
        }
        Ok((ours, elsewhere))
    }

    /// Removes the flow state that assigns an event to a run, because the run has started without
    /// the event and no longer accepts it.
    async fn unassign(&self, spec: &Spec, run: RunId, event: &Event) -> Result<(), StoreError> {
        let seen = Some(run.to_string().into());
        let note =
            FlowStateChange { key: destination_key(spec, event), seen, becomes: None, until: self.runtime.now() };
        self.runtime.backend.change_flow_state(vec![note]).await.map(drop)
    }

    /// Creates a run that further events may join. Returns `false` if another process has opened a
    /// run for the key in the meantime.
    async fn open_run(
        &self,
        catalog: &Catalog,
        spec: &Spec,
        (open, pointer): (&Arc<str>, Option<Arc<str>>),
        event: &Event,
    ) -> Result<bool, StoreError> {
        let (run, now) = (RunId::started_by(event.id, &spec.id), self.runtime.now());
        let (text, until): (Arc<str>, _) = (run.to_string().into(), now + FLOW_STATE_RETENTION);
        let notes = vec![
            FlowStateChange { key: open.clone(), seen: pointer, becomes: Some(text.clone()), until },
            FlowStateChange { key: destination_key(spec, event), seen: None, becomes: Some(text), until },
        ];
        let mut created = NewRun::new(spec.id.clone(), event.clone(), RunOrigin::Event);
        if max_events(&spec.flow) > 1 && event.bytes() < COLLECTED_BYTES {
            created.collects = true;
            created.begins_at = Some(start_time(&spec.flow, now, now));
        }
        let start = self.prepare_start(catalog, (run, created, Vec::new()), notes);
        Ok(self.commit_starts(catalog, vec![start], Vec::new()).await? != [StartResult::Overtaken])
    }

    /// Adds events to a run. Returns the events that the run no longer accepts.
    async fn join_run(&self, spec: &Spec, run: RunId, mut events: Vec<Event>) -> Result<Vec<Event>, StoreError> {
        let Some(state) = self.runs.take_state(run).await? else { return Ok(events) };
        let mut state = Arc::unwrap_or_clone(state);
        loop {
            events.retain(|event| !state.has_seen(event.id));
            if !state.collecting || state.end.is_some() || events.is_empty() {
                break;
            }
            let (fits, closes) = count_fitting(&spec.flow, &state, &events);
            let late = events.split_off(fits);
            let entries = self.joining_entries(spec, &state, &events, closes);
            let before = events.iter().map(|event| EarlyWrite::LinkEvent { run, event: event.id }).collect();
            let wakes = closes.then(|| self.runtime.wake_of(&state, WakeCause::Arrived)).into_iter().collect();
            let mut commit = Commit { before, wakes, ..Commit::default() };
            // the next round sees that the run is closed, and returns the events that did not fit
            let done = self.runs.append(&mut state, entries, &mut commit).await?.is_done();
            match done {
                true => events = late,
                false => events.extend(late),
            }
        }
        self.runs.keep_state(Arc::new(state));
        Ok(events)
    }

    /// Returns the journal entries that add these events to a run.
    fn joining_entries(&self, spec: &Spec, state: &RunState, events: &[Event], closes: bool) -> Vec<Entry> {
        let (now, last) = (self.runtime.now(), events.len().saturating_sub(1));
        let replaces = spec.flow.debounce.is_some();
        let entry = |(i, event): (usize, &Event)| {
            let begins_at = match i == last {
                true if closes => Some(now),
                // while the function is paused, an event may join even after the start time; then
                // the run starts after another quiet period
                true if replaces => Some(start_time(&spec.flow, state.created_at, now)),
                _ => None,
            };
            let closes = closes && i == last;
            Fact::EventJoined { event: Box::new(event.clone()), replaces, begins_at, closes }.into_entry(now)
        };
        events.iter().enumerate().map(entry).collect()
    }
}

fn positions_by_id(events: &[Event]) -> HashMap<EventId, usize> {
    events.iter().enumerate().map(|(n, event)| (event.id, n)).collect()
}

/// Returns when a run starts. Its first event arrived at `first`, and its latest event at `now`.
fn start_time(flow: &FlowControl, first: Timestamp, now: Timestamp) -> Timestamp {
    match (&flow.batch, &flow.debounce) {
        (Some(batch), _) => first + batch.timeout,
        (None, Some(debounce)) => debounce.begins_at(first, now),
        (None, None) => now,
    }
}

/// Returns the maximum number of events in one run.
fn max_events(flow: &FlowControl) -> u32 {
    flow.batch.as_ref().map_or(COLLECTED, |batch| batch.size)
}

/// Returns how many of these events a run accepts (at least one), and whether the run is full
/// afterwards.
fn count_fitting(flow: &FlowControl, state: &RunState, events: &[Event]) -> (usize, bool) {
    // a run that has not started has exactly one entry per event, so `next` is the number of its
    // events
    let room = u64::from(max_events(flow)).saturating_sub(state.next).max(1);
    let mut bytes = state.created.event.bytes() + state.bytes;
    for (i, event) in events.iter().enumerate() {
        bytes += event.bytes();
        if i as u64 + 1 == room || bytes >= COLLECTED_BYTES {
            return (i + 1, true);
        }
    }
    (events.len(), false)
}

/// Returns the key of the flow state that names the run of an event.
fn destination_key(spec: &Spec, event: &Event) -> Arc<str> {
    flow_state_key("met", &spec.id, &event.id.to_string())
}
