//! The queue of wakes: visible at their time, invisible once delivered, visible again when nobody acknowledges.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::{Timestamp, Wake};

use super::Memory;
use crate::ports::{Delivery, Queue, Receipt, StoreResult};

/// All messages, by when they become visible and in which order they came.
#[derive(Default)]
pub(super) struct Messages {
    visible: BTreeMap<(Timestamp, i64), Message>,
    next: i64,
}

struct Message {
    wake: Wake,
    receives: u32,
}

impl Messages {
    pub(super) fn send(&mut self, wake: Wake, due: Timestamp) {
        self.next += 1;
        self.visible.insert((due, self.next), Message { wake, receives: 0 });
    }

    /// A receipt is the message's number: a delivery that came again is acknowledged by either of its receipts.
    pub(super) fn ack(&mut self, receipt: &Receipt) {
        let Receipt::Row(number) = receipt else { return };
        let key = self.visible.keys().find(|(_, n)| n == number).copied();
        if let Some(key) = key {
            self.visible.remove(&key);
        }
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.visible.first_key_value().map(|((due, _), _)| *due)
    }

    pub(super) fn redeliver(&mut self, now: Timestamp) {
        for ((due, number), message) in std::mem::take(&mut self.visible) {
            let due = if message.receives > 0 { due.min(now) } else { due };
            self.visible.insert((due, number), message);
        }
    }

    fn take(&mut self, now: Timestamp, max: usize, visibility: Duration) -> Vec<Delivery> {
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some(entry) = self.visible.first_entry() else { break };
            if entry.key().0 > now {
                break;
            }
            let ((_, number), mut message) = entry.remove_entry();
            message.receives += 1;
            let receives = message.receives;
            taken.push(Delivery { wake: message.wake.clone(), receipt: Receipt::Row(number), receives });
            self.visible.insert((now + visibility, number), message);
        }
        taken
    }
}

#[async_trait]
impl Queue for Memory {
    async fn receive(&self, max: usize, visibility: Duration) -> StoreResult<Vec<Delivery>> {
        loop {
            let arrival = self.arrivals.notified();
            tokio::pin!(arrival);
            arrival.as_mut().enable();
            let due = {
                let mut inner = self.lock();
                let taken = inner.queue.take(self.now(), max, visibility);
                if !taken.is_empty() {
                    inner.counts.receives += taken.len() as u64;
                    return Ok(taken);
                }
                inner.queue.next_due().unwrap_or(Timestamp::MAX)
            };
            tokio::select! {
                () = arrival => {}
                () = self.clock.sleep_until(due) => {}
            }
        }
    }
}
