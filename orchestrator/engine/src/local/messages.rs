//! Wakes. Each is visible when it is due, invisible once delivered, and visible again if it is not
//! acknowledged.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use stepladder_core::{Timestamp, Wake};

use crate::ports::{Delivery, Receipt};

/// All messages of a queue. Each has a number that its adapter gives it.
#[derive(Debug, Default)]
pub struct Messages {
    messages: HashMap<i64, Message>,
    /// Due wakes that were not received yet, by due time and then by number.
    due: BTreeSet<(Timestamp, i64)>,
    /// The others, by when they are visible.
    later: BTreeSet<(Timestamp, i64)>,
    /// How many were removed so far.
    served: u64,
    /// The latest delivery of each message that was delivered. An earlier one's receipt stands for
    /// nothing any more.
    delivered: HashMap<i64, i64>,
    deliveries: i64,
}

#[derive(Debug)]
struct Message {
    wake: Wake,
    visible_at: Timestamp,
    receives: u32,
    delivery: Option<i64>,
}

impl Messages {
    /// Adds a message under a number that no other message has.
    pub fn send(&mut self, number: i64, wake: Wake, due: Timestamp) {
        self.messages.insert(number, Message { wake, visible_at: due, receives: 0, delivery: None });
        self.later.insert((due, number));
    }

    /// Delivers up to `max` messages that are visible at `now`, the longest due first.
    pub fn take(&mut self, now: Timestamp, max: usize, visibility: Duration) -> Vec<Delivery> {
        self.come_due(now);
        let mut taken = Vec::new();
        while taken.len() < max {
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
            taken.push(Delivery {
                wake: message.wake.clone(),
                receipt: Receipt::Row(self.deliveries),
                receives: message.receives,
            });
        }
        taken
    }

    /// The number of the message whose latest delivery this receipt stands for.
    pub fn number(&self, receipt: &Receipt) -> Option<i64> {
        match receipt {
            Receipt::Row(delivery) => self.delivered.get(delivery).copied(),
            Receipt::Handle(_) | Receipt::Invocation => None,
        }
    }

    /// Removes a message.
    pub fn remove(&mut self, number: i64) {
        if let Some(message) = self.messages.remove(&number) {
            let place = (message.visible_at, number);
            if !self.later.remove(&place) {
                self.due.remove(&place);
            }
            if let Some(delivery) = message.delivery {
                self.delivered.remove(&delivery);
            }
            self.served += 1;
        }
    }

    /// Makes a message visible at `due`, if it would be later. Nothing happens when the receipt
    /// stands for nothing.
    pub fn put_back(&mut self, receipt: &Receipt, due: Timestamp) {
        let Some(number) = self.number(receipt) else { return };
        if let Some(message) = self.messages.get_mut(&number).filter(|message| message.visible_at > due) {
            let place = (message.visible_at, number);
            let set = if self.later.remove(&place) { &mut self.later } else { &mut self.due };
            set.remove(&place);
            message.visible_at = due;
            set.insert((due, number));
        }
    }

    /// When the next message is visible.
    pub fn next_due(&self) -> Option<Timestamp> {
        let first = |set: &BTreeSet<(Timestamp, i64)>| set.first().map(|(visible_at, _)| *visible_at);
        first(&self.due).into_iter().chain(first(&self.later)).min()
    }

    /// Returns how many wakes are due at `now` and were not received. Each message is moved once,
    /// however often this is called.
    pub fn due(&mut self, now: Timestamp) -> usize {
        self.come_due(now);
        self.due.len()
    }

    /// How many were removed so far: done with.
    pub fn served(&self) -> u64 {
        self.served
    }

    fn come_due(&mut self, now: Timestamp) {
        while let Some(first) = self.later.first().copied().filter(|(visible_at, _)| *visible_at <= now) {
            self.later.remove(&first);
            self.due.insert(first);
        }
    }

    /// Makes what was delivered and not acknowledged visible again, as a restart does.
    pub fn redeliver(&mut self, now: Timestamp) {
        for (number, message) in &mut self.messages {
            if message.delivery.is_some() && message.visible_at > now {
                self.later.remove(&(message.visible_at, *number));
                message.visible_at = now;
                self.later.insert((now, *number));
            }
        }
    }

    /// How many messages there are, visible or not.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}
