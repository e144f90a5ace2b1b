//! The slots and wait queues of all keys, and the number of all tickets.

use std::collections::HashMap;
use std::sync::Arc;

use stepladder_core::Timestamp;
use stepladder_core::slot::{Holder, Limit, Ticket};

use super::WaitQueue;
use crate::ports::AcquireResult;

/// Removed tickets, with the keys of their wait queues.
pub type LeftTickets = Vec<(Arc<str>, Ticket)>;

/// A [`WaitQueue`] for each key with a holder or a ticket.
#[derive(Debug, Default)]
pub struct WaitQueues {
    lines: HashMap<Arc<str>, WaitQueue>,
    /// The number of all tickets, so that a query need not visit every key.
    waiting: usize,
}

impl WaitQueues {
    /// Returns the wait queue of a key, if it has a holder or a ticket.
    pub fn get(&self, key: &str) -> Option<&WaitQueue> {
        self.lines.get(key)
    }

    /// Changes a key's wait queue. It is created if it is missing, and dropped once it is idle.
    pub fn change<T>(&mut self, key: &Arc<str>, change: impl FnOnce(&mut WaitQueue) -> T) -> T {
        let line = self.lines.entry(key.clone()).or_default();
        let before = line.len();
        let changed = change(line);
        self.waiting = self.waiting - before + line.len();
        if line.is_idle() {
            self.lines.remove(key);
        }
        changed
    }

    /// Acquires a slot of each limit, or none. Returns the removed tickets with their keys, or the
    /// refusing limits with their answers.
    pub fn acquire_all(
        &mut self,
        limits: &[Limit],
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<LeftTickets, Vec<(usize, AcquireResult)>> {
        let empty = WaitQueue::default();
        let says = |limit: &Limit| self.get(&limit.key).unwrap_or(&empty).peek(limit.slots, holder, now);
        let refused: Vec<_> =
            limits.iter().map(says).enumerate().filter(|(_, said)| *said != AcquireResult::Acquired).collect();
        if !refused.is_empty() {
            return Err(refused);
        }
        let mut left = Vec::new();
        for limit in limits {
            let place = self.change(&limit.key, |line| line.acquire(limit.slots, holder, lease_until, now)).1;
            left.extend(place.map(|place| (limit.key.clone(), place)));
        }
        Ok(left)
    }

    /// Returns the number of tickets in all wait queues.
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}
