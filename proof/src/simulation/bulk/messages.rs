//! The events queue, and the role that receives its messages on AWS. Shortly before its deadline,
//! the role sends the rest of a message as a new message. If a delivery could apply nothing, the
//! next delivery applies the events one by one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};
use stepladder_core::{EventId, NewEvent, Timestamp};
use stepladder_engine::clock::Clock;
use stepladder_engine::{Engine, IdSeed, PIECE, PieceLimits, RequestProgress};
use stepladder_testkit::intercept::{Intercept, InterceptedBackend, StorageCall};

use super::{DeliveryResult, RESERVE};
use crate::dice::SeededDice;
use crate::simulation::wire::FaultyStore;
use crate::simulation::{DELIVERIES, Simulation};

/// The time after which a received message becomes visible again unless it is deleted.
const VISIBILITY: Duration = Duration::from_secs(90);
/// After an error, how long the message with the rest of the work is delayed.
const PAUSE: Duration = Duration::from_secs(10);
/// Maximum number of messages that a process handles at the same time.
const SIDE_BY_SIDE: usize = 2;

/// The content of a message.
#[derive(Clone, Debug)]
pub(super) enum MessageContent {
    /// Events as they were sent, or the rest of them. `first` is the id of the first event in the
    /// list.
    Events { first: EventId, received_at: Timestamp, events: Vec<NewEvent> },
    /// Ids of events that are stored but not yet applied.
    Stored(Vec<EventId>),
}

#[derive(Clone, Debug)]
struct QueuedMessage {
    number: u64,
    content: MessageContent,
    /// When the message becomes visible to receivers.
    due: Timestamp,
    receives: u32,
}

/// The events queue.
#[derive(Debug, Default)]
pub(super) struct EventsQueue {
    sent: u64,
    all: Vec<QueuedMessage>,
}

impl EventsQueue {
    pub(super) fn send(&mut self, content: MessageContent, due: Timestamp) {
        self.sent += 1;
        self.all.push(QueuedMessage { number: self.sent, content, due, receives: 0 });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.all.iter().map(|message| message.due).min()
    }

    /// Receives a random visible message.
    fn receive(&mut self, now: Timestamp, dice: &SeededDice) -> Option<QueuedMessage> {
        let mut visible: Vec<&mut QueuedMessage> = self.all.iter_mut().filter(|message| message.due <= now).collect();
        if visible.is_empty() {
            return None;
        }
        let message = visible.swap_remove(dice.below(visible.len() as u64) as usize);
        (message.due, message.receives) = (now + VISIBILITY, message.receives + 1);
        Some(message.clone())
    }

    fn delete(&mut self, number: u64) {
        self.all.retain(|message| message.number != number);
    }

    /// Makes all received messages visible at once.
    pub(super) fn redeliver(&mut self, now: Timestamp) {
        self.all.iter_mut().filter(|message| message.receives > 0).for_each(|message| message.due = now);
    }

    /// Moves a dead letter back to the queue.
    fn redrive(&mut self, number: u64, due: Timestamp) {
        let letter = self.all.iter_mut().find(|message| message.number == number);
        letter.into_iter().for_each(|letter| (letter.due, letter.receives) = (due, 0));
    }
}

impl Simulation {
    /// Delivers a visible message to a process. Returns whether there was one.
    pub(super) fn deliver_events(&mut self) -> bool {
        let now = self.clock.now();
        let free: Vec<usize> = (self.workers()..self.processes.len())
            .filter(|n| self.processes[*n].frozen_until <= now && self.scheduler.tasks_of(*n) < SIDE_BY_SIDE)
            .collect();
        if free.is_empty() {
            return false;
        }
        let queue = self.bulk.borrow().queue.clone();
        let Some(message) = queue.lock().expect("no panic").receive(now, &self.dice) else { return false };
        let QueuedMessage { number, content, receives, .. } = message;
        if receives > DELIVERIES {
            if !self.has_an_excuse_for_dead_letters() && self.mishaps.brown_outs == 0 {
                self.broken = Some(format!("message {number} of events was delivered {DELIVERIES} times in vain"));
            }
            self.add_to_story(format!("message {number} of events is a dead letter, and is moved back later"));
            queue.lock().expect("no panic").redrive(number, now + VISIBILITY);
            return true;
        }
        let at = free[self.dice.below(free.len() as u64) as usize];
        let piece = if receives > 1 { 1 } else { PIECE };
        let process = &self.processes[at];
        let (engine, wire, clock) = (process.engine.clone(), process.wire.clone(), process.clock.clone());
        let deadline = clock.now() + Duration::from_millis(4_000 + self.dice.below(12_000));
        self.add_to_story(format!(
            "worker {at} takes message {number} of events, for the {receives}. time, until {deadline}"
        ));
        let (bulk, mishaps) = (self.bulk.clone(), self.disturbances_if_undisturbed());
        bulk.borrow_mut().deliveries += 1;
        self.scheduler.spawn(at, async move {
            let taken = take(&engine, &wire, &queue, content, PieceLimits { deadline, piece });
            let applied = match select(std::pin::pin!(taken), clock.sleep_until(deadline + RESERVE)).await {
                Either::Left((applied, _)) => applied,
                Either::Right(_) => return bulk.borrow_mut().overran.push(mishaps),
            };
            bulk.borrow_mut().ended.push(DeliveryResult {
                applied: applied.unwrap_or(0),
                again: receives > 1,
                mishaps,
            });
            // the process may die after its work and before the message is deleted
            tokio::task::yield_now().await;
            if applied.is_some() {
                queue.lock().expect("no panic").delete(number);
            }
        });
        true
    }
}

/// Applies the events of a message and sends the rest. Returns the number of applied events.
/// Returns `None` after an error: the message will be delivered again.
async fn take(
    engine: &Engine,
    wire: &InterceptedBackend<FaultyStore>,
    queue: &Arc<Mutex<EventsQueue>>,
    content: MessageContent,
    within: PieceLimits,
) -> Option<usize> {
    let (progress, rest) = match content {
        MessageContent::Stored(events) => {
            let progress = engine.intake().apply_pieces(&events, within).await;
            let rest = events[progress.applied..].to_vec();
            (progress, (!rest.is_empty()).then_some(MessageContent::Stored(rest)))
        }
        MessageContent::Events { first, received_at, mut events } => {
            let seed = IdSeed { at: first.time(), random: first.random() };
            let progress = engine.intake().ingest_pieces(events.clone(), seed, Some(received_at), within).await.ok()?;
            let events = events.split_off(progress.applied);
            let first = (0..progress.applied).fold(first, |id, _| id.next());
            (progress, (!events.is_empty()).then_some(MessageContent::Events { first, received_at, events }))
        }
    };
    let RequestProgress { applied, error } = progress;
    let Some(rest) = rest else { return Some(applied) };
    if applied == 0 {
        return None;
    }
    let due = engine.now() + if error.is_some() { PAUSE } else { Duration::ZERO };
    let (arguments, queue) = (rest.clone(), queue.clone());
    let sent = async move {
        queue.lock().expect("no panic").send(rest, due);
        Ok(())
    };
    let call = StorageCall::new("send", &arguments);
    wire.0.around(call, sent.boxed()).await.ok()?;
    Some(applied)
}
