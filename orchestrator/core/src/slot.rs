//! Slots of a concurrency limit, the steps that hold them, and the tickets in its wait queue.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{RunId, StepId, Timestamp};

/// A concurrency limit as it applies to one run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Limit {
    /// Names the set of slots: the function, and the value of the limit's key if there is one.
    pub key: Arc<str>,
    /// How many slots there are: the maximum number of holders at the same time.
    pub slots: u32,
}

/// The holder of a slot: run, step, attempt and hop (rule 20). A hop releases only its own slots.
/// Two hops may try to start the same attempt: each acquires a slot, and the second releases its
/// own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepId,
    /// The attempt.
    pub attempt: u32,
    /// The hop: a random number that all requests of one hop share.
    pub hop: u64,
}

impl Holder {
    /// Returns the holder for a whole run, from its first step to its end. Its lease does not
    /// expire ([`Timestamp::MAX`](crate::Timestamp::MAX)).
    pub fn of_run(run: RunId) -> Self {
        Self { run, step: ARRIVAL.into(), attempt: 0, hop: 0 }
    }
}

/// A held slot with its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSlot {
    /// The holder.
    pub holder: Holder,
    /// The end of the lease. After it, the holder is dead, and the next process that acquires
    /// removes it.
    pub lease_until: Timestamp,
}

/// A position in a wait queue. Tickets sort in the order in which they are served: by time queued,
/// then by event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket {
    /// When the ticket was first enqueued. A repeated request keeps this time.
    #[serde(rename = "asked")]
    pub queued_at: Timestamp,
    /// The run's event: it orders runs whose events arrived in the same millisecond.
    pub event: crate::EventId,
    /// The run.
    pub run: RunId,
    /// The step. Empty for the ticket that a run gets when it is created, before its first step is
    /// known.
    pub step: StepId,
}

/// The step id of the ticket that a run has from its creation until its first step acquires a slot.
pub const ARRIVAL: &str = "";

/// Returns whether a slot may be acquired (rule 25). A ticket may acquire if fewer tickets are
/// ahead of it than slots are free. A request without a ticket may acquire only if the wait queue
/// is empty.
///
/// `ahead` is the number of tickets before the requester's own, `None` without a ticket. `waiting`
/// is the length of the wait queue.
pub fn may_acquire(free: u32, ahead: Option<usize>, waiting: usize) -> bool {
    match ahead {
        Some(ahead) => ahead < free as usize,
        None => free > 0 && waiting == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_25_a_ticket_below_the_free_slots_may_acquire() {
        assert!(may_acquire(2, Some(1), 5));
        assert!(!may_acquire(2, Some(2), 5));
        assert!(!may_acquire(0, Some(0), 5));
    }

    #[test]
    fn rule_25_without_a_ticket_a_slot_is_acquired_only_if_the_queue_is_empty() {
        assert!(may_acquire(1, None, 0));
        assert!(!may_acquire(1, None, 1));
        assert!(!may_acquire(0, None, 0));
    }
}
