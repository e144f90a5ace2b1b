//! Client requests of several events. A client repeats a request until it is accepted.
//!
//! A request's events must be applied in the order of the request, and its repetition must not
//! start anything twice (rule 31).

use std::collections::HashSet;
use std::time::Duration;

use futures::future::{Either, select};
use stepladder_core::journal::{Entry, Fact, NewRun, RunOrigin};
use stepladder_core::{EventId, NewEvent, RunId, Timestamp, json};
use stepladder_engine::IdSeed;
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::Events;
use stepladder_sdk::EventData;

use super::bulk::BULK;
use super::controls::{CONTROLLED, FlowControlKind};
use super::functions::{AwaitedEvent, CROWD, CrowdEvent, GoEvent, MAIN, OTHER};
use super::invariants::{Violation, at_once, journal, rows};
use super::knobs::SimulationSettings;
use super::{DisturbanceCounts, Simulation};

/// The state of all clients.
pub(super) struct ClientRequests {
    /// The request that is being sent; `None` between requests.
    open: Option<(Vec<NewEvent>, Option<IdSeed>)>,
    /// Number of events that start runs in the next request; 0 if all requests are accepted.
    jobs_to_send: u64,
    crowd: u64,
    stops: bool,
    afterwards: bool,
    pub(super) sending: bool,
    /// When a refused request is sent again.
    again_at: Timestamp,
    /// The accepted events that start [`MAIN`] and [`OTHER`].
    jobs: Vec<EventId>,
    /// The accepted events that start only the controlled function.
    crowded: Vec<EventId>,
    /// The accepted events of bulk requests.
    in_bulk: Vec<EventId>,
    /// The events of each accepted request, in order.
    together: Vec<Vec<EventId>>,
    /// Requests that were accepted since the last check.
    fresh: Vec<AcceptedEvents>,
    /// The latest refusal since the last check.
    refused: Option<String>,
}

/// The events of an accepted request.
pub(super) struct AcceptedEvents {
    pub(super) events: Vec<(EventId, NewEvent)>,
    /// The runs of the controlled function that were live when the events were sent.
    pub(super) live: Vec<RunId>,
}

impl ClientRequests {
    pub(super) fn new(knobs: &SimulationSettings) -> Self {
        Self {
            open: None,
            jobs_to_send: knobs.events,
            crowd: knobs.crowd,
            stops: knobs.stops > 0,
            afterwards: false,
            sending: false,
            again_at: Timestamp::from_millis(0),
            jobs: Vec::new(),
            crowded: Vec::new(),
            in_bulk: Vec::new(),
            together: Vec::new(),
            fresh: Vec::new(),
            refused: None,
        }
    }

    /// Starts the second round, with two more events.
    pub(super) fn start_closing_phase(&mut self) {
        (self.jobs_to_send, self.crowd, self.stops, self.afterwards) = (2, 0, false, true);
    }

    /// Returns whether all requests are accepted.
    pub(super) fn are_accepted(&self) -> bool {
        self.jobs_to_send == 0
    }

    /// Returns when the next request is due; `None` if there is none.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        (!self.are_accepted() && !self.sending).then_some(self.again_at)
    }

    /// Returns the accepted events that start [`MAIN`] and [`OTHER`].
    pub(super) fn jobs(&self) -> &[EventId] {
        &self.jobs
    }

    /// Returns the accepted events that start the controlled function.
    pub(super) fn events_of_controlled(&self) -> Vec<EventId> {
        self.jobs.iter().chain(&self.crowded).chain(&self.in_bulk).copied().collect()
    }

    /// Records that a bulk request was accepted, with the ids of its events.
    pub(super) fn accept_bulk(&mut self, ids: Vec<EventId>, events: &[NewEvent]) {
        let starts = ids.iter().zip(events).filter(|(_, event)| *event.name == *BULK);
        self.in_bulk.extend(starts.map(|(id, _)| *id));
        self.together.push(ids);
    }

    pub(super) fn accept(&mut self, accepted: AcceptedEvents) {
        for (id, event) in &accepted.events {
            match &*event.name {
                GoEvent::NAME => self.jobs.push(*id),
                CROWD => self.crowded.push(*id),
                _ => {}
            }
        }
        self.together.push(accepted.events.iter().map(|(id, _)| *id).collect());
        self.fresh.push(accepted);
    }
}

impl Simulation {
    /// Sends the current request. After each refusal, the same request is sent again one second
    /// later.
    pub(super) fn send(&mut self) {
        let at = self.random_worker();
        let open = self.requests.borrow().open.clone();
        let (events, seed) = open.unwrap_or_else(|| self.compose_request());
        self.add_to_story(format!("{} events are sent to worker {at}", events.len()));
        let live = self.live_controlled_runs();
        let (engine, requests, clock) = (self.processes[at].engine.clone(), self.requests.clone(), self.clock.clone());
        let turns = (self.knobs.cuts > 0).then(|| self.dice.below(20 * events.len() as u64));
        self.knobs.cuts = self.knobs.cuts.saturating_sub(1);
        let cut = self.cut.clone();
        requests.borrow_mut().sending = true;
        requests.borrow_mut().open = Some((events.clone(), seed));
        self.scheduler.spawn(at, async move {
            let ingest = std::pin::pin!(engine.intake().ingest(events.clone(), seed));
            let answer = match select(ingest, std::pin::pin!(end_after_polls(turns))).await {
                Either::Left((answer, _)) => Some(answer),
                Either::Right(_) => None,
            };
            let mut requests = requests.borrow_mut();
            requests.sending = false;
            requests.again_at = clock.now() + Duration::from_secs(1);
            match answer {
                // The deadline interrupted the invocation, so the client gets no response.
                None => cut.set(cut.get() + 1),
                Some(Ok(ids)) => {
                    (requests.open, requests.jobs_to_send) = (None, 0);
                    requests.accept(AcceptedEvents { events: ids.into_iter().zip(events).collect(), live });
                }
                Some(Err(error)) => requests.refused = Some(error.to_string()),
            }
        });
    }

    /// Creates a request: events that start runs, some events that cancel runs, and then a crowd of
    /// events of one kind. The crowd's events have no ids; a seed identifies a repetition of the
    /// request.
    fn compose_request(&mut self) -> (Vec<NewEvent>, Option<IdSeed>) {
        let (jobs, crowd, stops, when) = {
            let requests = self.requests.borrow();
            (requests.jobs_to_send, requests.crowd, requests.stops, if requests.afterwards { "late" } else { "e" })
        };
        let mut events = Vec::new();
        for n in 0..jobs {
            self.add_stops(stops, &mut events);
            let data = json::to_json(&GoEvent { k: n % 2 }).expect("JSON");
            events.push(NewEvent::new(GoEvent::NAME, data).with_id(format!("{when}{n}")));
        }
        self.add_stops(stops, &mut events);
        let of_crowd = || NewEvent::new(CROWD, json::to_json(&CrowdEvent { k: 0 }).expect("JSON"));
        events.extend((0..crowd).map(|_| of_crowd()));
        let random = u128::from(self.dice.below(u64::MAX));
        let seed = (crowd > 0).then(|| IdSeed { at: self.clock.now(), random });
        (events, seed)
    }

    fn add_stops(&self, stops: bool, events: &mut Vec<NewEvent>) {
        while stops && self.dice.one_in(2) {
            let data = json::to_json(&AwaitedEvent { k: self.dice.below(2) }).expect("JSON");
            let id = format!("stop-{}", events.len());
            events.push(NewEvent::new(AwaitedEvent::NAME, data).with_id(id));
        }
    }

    /// Returns the live runs of the controlled function.
    pub(super) fn live_controlled_runs(&self) -> Vec<RunId> {
        if self.controlled.control() != Some(FlowControlKind::CancelOn) {
            return Vec::new();
        }
        let live = rows(&self.memory).into_iter().filter(|row| *row.function == *CONTROLLED && row.ended.is_none());
        live.map(|row| row.run).collect()
    }

    /// Checks that an accepted event that cancels runs has ended all runs of earlier events, of its
    /// own request and of others. Also checks that no request was refused unless something went
    /// wrong.
    pub(super) fn check_requests_in_order(&mut self) -> Result<(), Violation> {
        let (fresh, refused) = {
            let mut requests = self.requests.borrow_mut();
            (std::mem::take(&mut requests.fresh), requests.refused.take())
        };
        let DisturbanceCounts { deaths, freezes, brown_outs, .. } = self.mishaps;
        let failed =
            deaths + freezes + brown_outs + self.used_faults() > 0 || self.knobs.denials < self.allowed.denials;
        if let Some(why) = refused.filter(|_| !failed) {
            return Err(format!("a request was refused, though nothing went wrong: {why}"));
        }
        for accepted in fresh {
            let stops = |(_, event): &&(EventId, NewEvent)| *event.name == *AwaitedEvent::NAME;
            if accepted.events.len() > 1 {
                self.words
                    .borrow_mut()
                    .add_unanswered_events(accepted.events.iter().filter(stops).map(|(_, event)| event.clone()));
            }
            if self.controlled.control() != Some(FlowControlKind::CancelOn) {
                continue;
            }
            for (n, (stop, event)) in accepted.events.iter().enumerate().filter(|(_, one)| stops(one)) {
                let jobs = accepted.events[..n].iter().filter(|(_, event)| *event.name == *GoEvent::NAME);
                let begun = jobs.map(|(id, _)| RunId::started_by(*id, CONTROLLED));
                for run in begun.chain(accepted.live.iter().copied()) {
                    self.check_cancelled(run, *stop, event)?;
                }
            }
        }
        Ok(())
    }

    fn check_cancelled(&self, run: RunId, stop: EventId, event: &NewEvent) -> Result<(), Violation> {
        let entries = journal(&self.memory, run);
        // A rerun has an old event but started later, so it is ignored here.
        let of_event = creation_entry(&entries).filter(|created| created.origin == RunOrigin::Event);
        let Some(created) = of_event else { return Ok(()) };
        let is_meant = created.event.data.get() == event.data.get() && created.event.id < stop;
        match is_meant && !entries.iter().any(|entry| entry.fact.is_end()) {
            true => Err(format!("{stop} came after what started {run}, was accepted, and has not cancelled it")),
            false => Ok(()),
        }
    }

    /// Returns whether an event certainly came before another: earlier in the same request, or both
    /// its id and its time of receipt are earlier. One of the two is not enough, because clocks
    /// differ.
    fn came_before(&self, event: EventId, other: EventId) -> bool {
        let requests = self.requests.borrow();
        let both = requests.together.iter().find(|ids| ids.contains(&event) && ids.contains(&other));
        if let Some(ids) = both {
            let position = |id: EventId| ids.iter().position(|of| *of == id);
            return position(event) < position(other);
        }
        let received = |id: EventId| at_once(self.memory.event(id)).map(|event| event.received_at);
        event < other && received(event) < received(other)
    }

    /// Checks that each run was started by an event that a client has sent, and that no earlier
    /// event was delivered to it or cancelled it.
    pub(super) fn check_runs_have_sent_events(&self) -> Result<(), Violation> {
        let known: HashSet<EventId> =
            self.requests.borrow().events_of_controlled().into_iter().chain(self.events_given_up_in_bulk()).collect();
        for row in rows(&self.memory).iter().filter(|row| [MAIN, OTHER, CONTROLLED].contains(&&*row.function)) {
            let entries = journal(&self.memory, row.run);
            let Some(created) = creation_entry(&entries).filter(|created| created.origin == RunOrigin::Event) else {
                continue;
            };
            let trigger = created.event.id;
            if !known.contains(&trigger) {
                return Err(format!("{} is of event {trigger}, of which no client knows", row.run));
            }
            let met = entries.iter().filter_map(|entry| delivered_or_cancelling_event(&entry.fact));
            if let Some(event) = met.into_iter().find(|event| self.came_before(*event, trigger)) {
                return Err(format!("{} of event {trigger} met event {event}, which came before", row.run));
            }
        }
        Ok(())
    }
}

/// Completes after this many polls. With `None`, never completes.
async fn end_after_polls(turns: Option<u64>) {
    let Some(turns) = turns else { return std::future::pending().await };
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

fn creation_entry(entries: &[Entry]) -> Option<&NewRun> {
    match &entries.first()?.fact {
        Fact::RunCreated(created) => Some(created),
        _ => None,
    }
}

/// Returns the event that an entry delivered to a run, or the event that cancelled the run. The
/// reason of a cancellation contains the event's id.
fn delivered_or_cancelling_event(fact: &Fact) -> Option<EventId> {
    match fact {
        Fact::EventDelivered { event, .. } => Some(event.id),
        Fact::RunCancelled { reason } => {
            let (_, rest) = reason.strip_prefix("event `")?.split_once("` (")?;
            rest.split_once(')')?.0.parse().ok()
        }
        _ => None,
    }
}
