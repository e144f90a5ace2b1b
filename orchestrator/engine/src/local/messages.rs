//! A queue of wakes in memory. A wake becomes visible when it is due. A delivered wake is invisible
//! for a while; if it is not acknowledged by then, it becomes visible again.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use stepladder_core::{Timestamp, Wake};

use crate::ports::{Delivery, Receipt};

/// The longest delay of a message. Later wakes are timers in the store, so the memory in use does
/// not grow with the number of sleeping runs.
pub const MAX_DELAY: Duration = Duration::from_secs(900);

/// The receipt of a delivery: its number.
struct DeliveryNumber(i64);

/// All messages in a queue. The storage adapter gives each message a number.
#[derive(Debug, Default)]
pub struct QueueMessages {
    messages: HashMap<i64, QueueMessage>,
    /// The visible messages, sorted by due time and then by number.
    due: BTreeSet<(Timestamp, i64)>,
    /// The invisible messages, sorted by the time at which they become visible.
    later: BTreeSet<(Timestamp, i64)>,
    /// The number of messages that were acknowledged and removed so far.
    served: u64,
    /// For each delivered message, the number of its latest delivery. Receipts of earlier
    /// deliveries are no longer valid.
    delivered: HashMap<i64, i64>,
    deliveries: i64,
}

#[derive(Debug)]
struct QueueMessage {
    wake: Wake,
    visible_at: Timestamp,
    receives: u32,
    delivery: Option<i64>,
}

impl QueueMessages {
    /// Adds a message with a number that no other message has.
    pub fn send(&mut self, number: i64, wake: Wake, due: Timestamp) {
        self.messages.insert(number, QueueMessage { wake, visible_at: due, receives: 0, delivery: None });
        self.later.insert((due, number));
    }

    /// Delivers at most `max` messages that are visible at `now`, those with the earliest due time
    /// first. Each delivered message becomes invisible for `visibility`.
    pub fn receive(&mut self, now: Timestamp, max: usize, visibility: Duration) -> Vec<Delivery> {
        self.make_due_visible(now);
        let mut received = Vec::new();
        while received.len() < max {
            let Some((_, number)) = self.due.pop_first() else { break };
            let Some(message) = self.messages.get_mut(&number) else { continue };
            self.deliveries += 1;
            if let Some(earlier) = message.delivery.replace(self.deliveries) {
                self.delivered.remove(&earlier);
            }
            self.delivered.insert(self.deliveries, number);
            message.receives += 1;
            message.visible_at = now + visibility;
            self.later.insert((message.visible_at, number));
            received.push(Delivery {
                wake: message.wake.clone(),
                receipt: Receipt::new(DeliveryNumber(self.deliveries)),
                receives: message.receives,
            });
        }
        received
    }

    /// Returns the number of the message that this receipt acknowledges; `None` if the receipt is
    /// no longer valid.
    pub fn number_of_receipt(&self, receipt: &Receipt) -> Option<i64> {
        let DeliveryNumber(delivery) = receipt.value()?;
        self.delivered.get(delivery).copied()
    }

    /// Removes a message.
    pub fn remove(&mut self, number: i64) {
        if let Some(message) = self.messages.remove(&number) {
            let key = (message.visible_at, number);
            if !self.later.remove(&key) {
                self.due.remove(&key);
            }
            if let Some(delivery) = message.delivery {
                self.delivered.remove(&delivery);
            }
            self.served += 1;
        }
    }

    /// Makes a delivered message visible at `due`, if it would otherwise become visible later. Does
    /// nothing if the receipt is no longer valid.
    pub fn put_back(&mut self, receipt: &Receipt, due: Timestamp) {
        let Some(number) = self.number_of_receipt(receipt) else { return };
        if let Some(message) = self.messages.get_mut(&number).filter(|message| message.visible_at > due) {
            let key = (message.visible_at, number);
            let set = if self.later.remove(&key) { &mut self.later } else { &mut self.due };
            set.remove(&key);
            message.visible_at = due;
            set.insert((due, number));
        }
    }

    /// Returns when the next message becomes visible; `None` if there is no message.
    pub fn next_due(&self) -> Option<Timestamp> {
        let first = |set: &BTreeSet<(Timestamp, i64)>| set.first().map(|(visible_at, _)| *visible_at);
        first(&self.due).into_iter().chain(first(&self.later)).min()
    }

    /// Returns the number of visible messages. This is cheap to call often, because each message is
    /// moved to the visible messages only once.
    pub fn due_count(&mut self, now: Timestamp) -> usize {
        self.make_due_visible(now);
        self.due.len()
    }

    /// Returns the number of messages that were acknowledged so far.
    pub fn served_count(&self) -> u64 {
        self.served
    }

    fn make_due_visible(&mut self, now: Timestamp) {
        while let Some(first) = self.later.first().copied().filter(|(visible_at, _)| *visible_at <= now) {
            self.later.remove(&first);
            self.due.insert(first);
        }
    }

    /// Makes all delivered messages that were not acknowledged visible again, as a restart does.
    pub fn redeliver(&mut self, now: Timestamp) {
        for (number, message) in &mut self.messages {
            if message.delivery.is_some() && message.visible_at > now {
                self.later.remove(&(message.visible_at, *number));
                message.visible_at = now;
                self.later.insert((now, *number));
            }
        }
    }

    /// Returns the number of messages, visible or not.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Returns whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}
