//! The slots and lines of all keys, and how many wait in them together.

use std::collections::HashMap;
use std::sync::Arc;

use stepladder_core::Timestamp;
use stepladder_core::slot::{Holder, Limit, Ticket};

use super::WaitQueue;
use crate::ports::AcquireResult;

/// Places that were left, with the keys of their lines.
pub type LeftTickets = Vec<(Arc<str>, Ticket)>;

/// A [`Line`] for each key that somebody holds a slot of, or waits for.
#[derive(Debug, Default)]
pub struct WaitQueues {
    lines: HashMap<Arc<str>, WaitQueue>,
    /// Kept beside them: who asks how many wait must not have to visit every key.
    waiting: usize,
}

impl WaitQueues {
    /// The line of a key, if anybody is in it.
    pub fn get(&self, key: &str) -> Option<&WaitQueue> {
        self.lines.get(key)
    }

    /// Lets a key's line change. It is made when it is not there, and forgotten once nobody is in
    /// it.
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

    /// Takes a slot of each limit, or of none. Gives the places that were left, with their keys; or
    /// the limits that refuse, and what each says.
    pub fn acquire_all(
        &mut self,
        limits: &[Limit],
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<LeftTickets, Vec<(usize, AcquireResult)>> {
        let nobody = WaitQueue::default();
        let says = |limit: &Limit| self.get(&limit.key).unwrap_or(&nobody).peek(limit.slots, holder, now);
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

    /// How many places there are, in all lines.
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}
