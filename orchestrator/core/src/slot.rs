//! Slots: the units of a concurrency limit, the steps that hold them, and the line of those that wait.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{RunId, StepId, Timestamp};

/// A limit as it applies to one run: which slots, and how many there are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Limit {
    /// Names the set of slots: the function, and the key's value where the limit has a key.
    pub key: Arc<str>,
    /// How many steps may hold one at a time.
    pub slots: u32,
}

/// Who holds a slot: run, step, attempt and hop (rule 20), so that nobody ever gives back another's. Two hops may be
/// about to start the same attempt; each takes a slot, and who comes second gives back its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// Which run.
    pub run: RunId,
    /// Which step.
    pub step: StepId,
    /// Which attempt.
    pub attempt: u32,
    /// Which hop: a random number, the same for all that one hop asks.
    pub hop: u64,
}

impl Holder {
    /// A run as a whole, from its first step to its end: it holds for as long as it lives
    /// ([`Timestamp::MAX`](crate::Timestamp::MAX) is its lease).
    pub fn of_run(run: RunId) -> Self {
        Self { run, step: ARRIVAL.into(), attempt: 0, hop: 0 }
    }
}

/// A held slot, and until when at the latest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSlot {
    /// Who.
    pub holder: Holder,
    /// Past it, the holder is certainly dead and whoever asks next reaps the slot.
    pub lease_until: Timestamp,
}

/// A place in a waiting line. Sorts as the line is served: by time asked, then by arrival.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket {
    /// When it first asked; kept however often it asks again.
    #[serde(rename = "asked")]
    pub queued_at: Timestamp,
    /// Its run's event: events of one millisecond keep their order.
    pub event: crate::EventId,
    /// Which run.
    pub run: RunId,
    /// Which step; empty for the place that a run gets when it is created, before its first step is known.
    pub step: StepId,
}

/// The step id of the place that a run holds from its creation until its first step takes a slot.
pub const ARRIVAL: &str = "";

/// Whether someone may take a slot (rule 25): whoever's place in line is below the number of free slots, and anyone
/// when the line is empty.
///
/// `ahead` is the number of places before the asker's own; `None` when the asker has no place, then `waiting` says how
/// many wait.
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
    fn rule_25_a_place_below_the_free_slots_may_take() {
        assert!(may_acquire(2, Some(1), 5));
        assert!(!may_acquire(2, Some(2), 5));
        assert!(!may_acquire(0, Some(0), 5));
    }

    #[test]
    fn rule_25_a_newcomer_may_take_only_when_nobody_waits() {
        assert!(may_acquire(1, None, 0));
        assert!(!may_acquire(1, None, 1));
        assert!(!may_acquire(0, None, 0));
    }
}
