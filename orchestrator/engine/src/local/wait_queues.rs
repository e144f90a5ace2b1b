//! The slots and wait queues of all keys, and the total number of tickets.

use std::collections::HashMap;
use std::sync::Arc;

use stepladder_core::Timestamp;
use stepladder_core::slot::{Holder, Limit, Ticket};

use super::WaitQueue;
use crate::ports::Refusal;

/// Tickets that were removed, each with the key of its wait queue.
pub type RemovedTickets = Vec<(Arc<str>, Ticket)>;

/// A [`WaitQueue`] for each key that has a holder or a ticket.
#[derive(Debug, Default)]
pub struct WaitQueues {
    queues: HashMap<Arc<str>, WaitQueue>,
    /// The total number of tickets. It is kept here, so that reading it does not need to visit
    /// every key.
    ticket_count: usize,
}

impl WaitQueues {
    /// Returns the wait queue of a key; `None` if the key has neither a holder nor a ticket.
    pub fn get(&self, key: &str) -> Option<&WaitQueue> {
        self.queues.get(key)
    }

    /// Changes the wait queue of a key. Creates the queue if it is missing, and drops it once it is
    /// idle.
    pub fn change<T>(&mut self, key: &Arc<str>, change: impl FnOnce(&mut WaitQueue) -> T) -> T {
        let queue = self.queues.entry(key.clone()).or_default();
        let before = queue.len();
        let changed = change(queue);
        self.ticket_count = self.ticket_count - before + queue.len();
        if queue.is_idle() {
            self.queues.remove(key);
        }
        changed
    }

    /// Acquires a slot of each limit, or no slot at all. Returns the tickets that were removed.
    ///
    /// # Errors
    /// The limits that refused a slot.
    pub fn acquire_all(
        &mut self,
        limits: &[Limit],
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<RemovedTickets, Vec<Refusal>> {
        let empty = WaitQueue::default();
        let refusal = |(at, limit): (usize, &Limit)| {
            let reason = self.get(&limit.key).unwrap_or(&empty).refusal(limit.slots, holder, now)?;
            Some(Refusal { limit: at, reason })
        };
        let refused: Vec<_> = limits.iter().enumerate().filter_map(refusal).collect();
        if !refused.is_empty() {
            return Err(refused);
        }
        let mut removed = Vec::new();
        for limit in limits {
            let used = self.change(&limit.key, |queue| queue.acquire(limit.slots, holder, lease_until, now));
            removed.extend(used.ok().flatten().map(|ticket| (limit.key.clone(), ticket)));
        }
        Ok(removed)
    }

    /// Returns the first `n` tickets of a wait queue.
    pub fn first_tickets(&self, key: &str, n: usize) -> Vec<Ticket> {
        self.get(key).map_or_else(Vec::new, |queue| queue.tickets().take(n).cloned().collect())
    }

    /// Returns the number of tickets in all wait queues.
    pub fn ticket_count(&self) -> usize {
        self.ticket_count
    }
}
