//! Bulk requests of up to some hundred events. The roles of a deployment receive them as messages
//! of the events queue or over HTTP.
//!
//! Each storage call takes time here, and a deadline interrupts the work. The rest is sent as a new
//! message.

mod checks;
mod messages;
mod posts;

use std::collections::HashMap;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stepladder_core::{EventId, NewEvent, Timestamp, id, json};
use stepladder_engine::IdSeed;
use stepladder_engine::clock::Clock;
use stepladder_sdk::prelude::*;

use super::Simulation;
use super::controls::FlowControlKind;
use super::functions::AwaitedEvent;
use super::invariants::Violation;
use super::knobs::SimulationSettings;
use crate::dice::SeededDice;
use messages::{EventsQueue, MessageContent};

/// The name of the events of a bulk request.
pub(crate) const BULK: &str = "sim/bulk";
/// The function without flow control that each event starts.
pub(crate) const EACH: &str = "each";
/// The time that an invocation reserves before its deadline for sending the rest of its work.
const RESERVE: Duration = Duration::from_secs(3);
/// Maximum duration of each storage call that a role makes, in milliseconds.
const LATENCY: u64 = 120;

/// The data of an event, which contains its request and its position in it.
#[derive(Serialize, Deserialize)]
pub(crate) struct NumberedEvent {
    /// The key for flow control. No two requests share a key.
    pub(crate) k: u64,
    /// The number of the request.
    pub(crate) request: usize,
    /// The position of the event in the request.
    pub(crate) n: usize,
}

impl EventData for NumberedEvent {
    const NAME: &'static str = BULK;
}

/// The state of all bulk requests.
pub(super) struct BulkRequests {
    to_send: u64,
    /// Maximum number of events of a request.
    size: u64,
    requests: Vec<BulkRequest>,
    queue: Arc<Mutex<EventsQueue>>,
    /// The seeds of attempts that did not succeed, by process and hash of the body. A server
    /// process remembers the same seeds.
    unanswered: HashMap<(usize, u128), (Timestamp, IdSeed)>,
    deliveries: u32,
    /// Deliveries that have ended since the last check.
    ended: Vec<DeliveryResult>,
    /// Invocations that exceeded their deadline since the last check. Each item is the number of
    /// disturbances when the invocation started.
    overran: Vec<Option<u64>>,
    refused: Option<String>,
}

/// The result of a delivery.
struct DeliveryResult {
    applied: usize,
    /// Whether the message had been delivered before; then its events are applied one by one.
    again: bool,
    /// The number of disturbances when the delivery started; `None` if a disturbance was going on.
    mishaps: Option<u64>,
}

struct BulkRequest {
    events: Vec<NewEvent>,
    way: SendMethod,
    state: RequestState,
    /// The deadline of the first attempt, by the true time.
    first_end: Option<Timestamp>,
    attempts: u32,
    body: u128,
}

/// How a request is sent, and how a repetition is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendMethod {
    /// The request is a message of the events queue. The message's id identifies a repetition.
    Message,
    /// The request is sent over HTTP. The ids of its events identify a repetition.
    Ids,
    /// The request is sent over HTTP. A seed identifies a repetition.
    Seed(IdSeed),
    /// The request is sent over HTTP. The body identifies a repetition.
    Body,
}

/// The state of a request, as its sender knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestState {
    /// The request must be sent, or sent again, at this time.
    Unsent(Timestamp),
    /// A process is handling attempt `attempt`. The sender waits for the response until `until`.
    Sent {
        attempt: u32,
        process: usize,
        until: Timestamp,
    },
    Accepted,
    /// The sender could not repeat the request in time. Events that are stored must still be stored
    /// only once.
    GivenUp,
}

impl BulkRequests {
    pub(super) fn new(knobs: &SimulationSettings) -> Self {
        Self {
            to_send: if knobs.bulk > 0 { knobs.bulks } else { 0 },
            size: knobs.bulk,
            requests: Vec::new(),
            queue: Arc::default(),
            unanswered: HashMap::new(),
            deliveries: 0,
            ended: Vec::new(),
            overran: Vec::new(),
            refused: None,
        }
    }

    /// Returns whether all requests are applied, as far as the senders and the queue know.
    pub(super) fn is_done(&self) -> bool {
        let is_over = |request: &BulkRequest| matches!(request.state, RequestState::Accepted | RequestState::GivenUp);
        self.to_send == 0 && self.requests.iter().all(is_over) && self.queue.lock().expect("no panic").is_empty()
    }

    /// Returns when the next request or message is due; `None` if there is none.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        let times = self.requests.iter().filter_map(|request| match request.state {
            RequestState::Unsent(at) | RequestState::Sent { until: at, .. } => Some(at),
            RequestState::Accepted | RequestState::GivenUp => None,
        });
        times.chain(self.queue.lock().expect("no panic").next_at()).min()
    }

    /// Makes the messages that are being handled visible again, so that they are delivered twice.
    pub(super) fn redeliver(&self, now: Timestamp) {
        self.queue.lock().expect("no panic").redeliver(now);
    }

    /// Removes what a dead process kept in memory. The senders of its requests get no response.
    pub(super) fn forget_process(&mut self, process: usize) {
        self.unanswered.retain(|(at, _), _| *at != process);
    }
}

impl Simulation {
    /// Picks the number of processes that receive bulk requests. They follow the workers in the
    /// list.
    pub(super) fn intakes(knobs: &SimulationSettings, dice: &SeededDice) -> usize {
        if knobs.bulk == 0 { 0 } else { 1 + dice.below(2) as usize }
    }

    /// Returns the maximum duration of a process's storage calls, in milliseconds.
    pub(super) fn latency_of(&self, process: usize) -> u64 {
        if process < self.workers() { 0 } else { LATENCY }
    }

    /// Takes one step with bulk requests: creates, sends or repeats a request, or delivers a
    /// message. Returns whether there was anything to do.
    pub(super) fn advance_bulk_requests(&mut self) -> bool {
        if self.bulk.borrow().to_send > 0 {
            self.bulk.borrow_mut().to_send -= 1;
            let request = self.bulk_request();
            self.bulk.borrow_mut().requests.push(request);
            return true;
        }
        self.post_due_requests() || self.deliver_events()
    }

    /// Creates a request. Some of its events cancel runs, if the flow control reacts to such
    /// events.
    fn bulk_request(&mut self) -> BulkRequest {
        let (number, size) = (self.bulk.borrow().requests.len(), self.bulk.borrow().size);
        let way = match self.dice.below(6) {
            0..3 => SendMethod::Message,
            3 => SendMethod::Ids,
            4 => SendMethod::Seed(IdSeed { at: self.clock.now(), random: u128::from(self.dice.below(u64::MAX)) << 16 }),
            _ => SendMethod::Body,
        };
        let stops = matches!(self.controlled.control(), Some(FlowControlKind::CancelOn | FlowControlKind::StopOne));
        // Only a request of more than one piece is identified by its body.
        let least = stepladder_engine::PIECE as u64 + 1;
        let events = least.max(size / 2 + self.dice.below(1 + size / 2)) as usize;
        let with_ids = way == SendMethod::Ids || (way == SendMethod::Message && self.dice.one_in(2));
        let event = |n: usize| {
            let k = 100 * (number as u64 + 1) + self.dice.below(2);
            let name = if stops && self.dice.one_in(8) { AwaitedEvent::NAME } else { BULK };
            let event = NewEvent::new(name, json::to_json(&NumberedEvent { k, request: number, n }).expect("JSON"));
            if with_ids { event.with_id(format!("bulk-{number}-{n}")) } else { event }
        };
        let events: Vec<NewEvent> = (0..events).map(event).collect();
        let now = self.clock.now();
        self.add_to_story(format!("request {number} of {} events comes: {way:?}", events.len()));
        let mut state = RequestState::Unsent(now);
        if way == SendMethod::Message {
            let random = id::hash(&[b"message", &number.to_be_bytes(), &self.seed.to_be_bytes()]) & !0xFFFF;
            let first = EventId::new(now, random);
            let ids = std::iter::successors(Some(first), |id| Some(id.next())).take(events.len()).collect();
            self.requests.borrow_mut().accept_bulk(ids, &events);
            let content = MessageContent::Events { first, received_at: now, events: events.clone() };
            self.bulk.borrow().queue.lock().expect("no panic").send(content, now);
            state = RequestState::Accepted;
        }
        let body = id::hash(&[b"request", &number.to_be_bytes()]);
        BulkRequest { events, way, state, first_end: None, attempts: 0, body }
    }

    /// Returns the number of disturbances so far. It only grows.
    fn count_disturbances(&self) -> u64 {
        let m = self.mishaps;
        let all = m.deaths + m.freezes + m.brown_outs + m.redeliveries + m.standstills;
        u64::from(all) + self.shared.faulty.load(SeqCst) + m.drift.as_millis() as u64
    }

    /// Returns the number of disturbances so far; `None` if a disturbance is going on.
    fn disturbances_if_undisturbed(&self) -> Option<u64> {
        let is_refusing = self.clock.now().as_millis() < self.shared.brown_out_until.load(SeqCst);
        (!is_refusing).then(|| self.count_disturbances())
    }

    /// Checks that each undisturbed delivery makes progress, and that there are not too many
    /// deliveries.
    pub(super) fn check_bulk_progress(&mut self) -> Result<(), Violation> {
        let postponed = self.memory.take_postponed();
        let now = self.clock.now();
        if !postponed.is_empty() {
            self.add_to_story(format!("{} stored events are left to the events queue", postponed.len()));
            self.bulk.borrow().queue.lock().expect("no panic").send(MessageContent::Stored(postponed), now);
        }
        let (ended, refused) = {
            let mut bulk = self.bulk.borrow_mut();
            (std::mem::take(&mut bulk.ended), bulk.refused.take())
        };
        let mishaps = self.count_disturbances();
        if ended.iter().any(|ended| ended.again && ended.applied == 0 && ended.mishaps == Some(mishaps)) {
            return Err("a repeated message got nowhere, though nothing went wrong".into());
        }
        let overran = std::mem::take(&mut self.bulk.borrow_mut().overran);
        if overran.contains(&Some(mishaps)) {
            return Err("an invocation ran past its time, though nothing went wrong".into());
        }
        self.mishaps.deaths += overran.len() as u32;
        if let Some(why) = refused.filter(|_| self.is_calm()) {
            return Err(format!("a bulk request was refused, though nothing went wrong: {why}"));
        }
        let bulk = self.bulk.borrow();
        let events: usize = bulk.requests.iter().map(|request| request.events.len()).sum();
        let most = 2 * events as u64 + 10 * mishaps;
        if self.mishaps.brown_outs == 0 && u64::from(bulk.deliveries) > most {
            return Err(format!("{} deliveries for {events} events; at most {most}", bulk.deliveries));
        }
        Ok(())
    }
}
