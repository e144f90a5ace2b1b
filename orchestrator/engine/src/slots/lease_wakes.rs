//! Remembers the lease wakes that this process has sent for the first tickets of wait queues (rule
//! 23). One wake is enough for a ticket. Otherwise each start beside a queue, and each refusal of
//! the first ticket, would send another. They would all come back at once and multiply.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stepladder_core::slot::Ticket;
use stepladder_core::{RunId, StepId, Timestamp};

/// The maximum number of queues remembered. The first ticket of a forgotten queue is woken once
/// more.
const KEPT: usize = 1_024;

/// Lease wakes by the key of the limit.
#[derive(Default)]
pub(crate) struct LeaseWakes(Mutex<HashMap<Arc<str>, OwnedWake>>);

/// The ticket that owns a wake, and the wake's due time.
struct OwnedWake {
    run: RunId,
    step: StepId,
    due: Timestamp,
}

impl LeaseWakes {
    /// Returns whether this first ticket owns a wake that is still to come, by `due` at the latest.
    pub(crate) fn owns(&self, key: &str, head: &Ticket, due: Timestamp, now: Timestamp) -> bool {
        let heads = self.lock();
        heads.get(key).is_some_and(|o| o.run == head.run && o.step == head.step && o.due > now && o.due <= due)
    }

    /// Remembers a wake that was sent.
    pub(crate) fn note(&self, key: &Arc<str>, head: &Ticket, due: Timestamp, now: Timestamp) {
        let mut heads = self.lock();
        if heads.len() >= KEPT {
            heads.retain(|_, owned| owned.due > now);
        }
        if heads.len() >= KEPT {
            heads.clear();
        }
        heads.insert(key.clone(), OwnedWake { run: head.run, step: head.step.clone(), due });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, OwnedWake>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use stepladder_core::EventId;

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn place(n: u128) -> Ticket {
        Ticket { queued_at: at(0), event: EventId::new(at(0), n), run: RunId::new(at(0), n), step: "a".into() }
    }

    #[test]
    fn a_head_owns_a_wake_until_it_comes() {
        let (heads, key) = (LeaseWakes::default(), Arc::from("f/0"));
        heads.note(&key, &place(1), at(100), at(0));
        assert!(heads.owns("f/0", &place(1), at(100), at(99)));
        assert!(heads.owns("f/0", &place(1), at(200), at(99)), "it comes sooner, and is sent again then");
        assert!(!heads.owns("f/0", &place(1), at(99), at(0)), "that would be too late");
        assert!(!heads.owns("f/0", &place(1), at(200), at(100)), "it has come");
        assert!(!heads.owns("f/0", &place(2), at(100), at(0)), "another is the head");
        assert!(!heads.owns("f/1", &place(1), at(100), at(0)));
    }

    #[test]
    fn no_more_lines_are_remembered_than_there_is_room_for() {
        let heads = LeaseWakes::default();
        for n in 0..3 * KEPT {
            heads.note(&Arc::from(format!("f/0/{n}")), &place(1), at(n as i64 + 1), at(0));
            assert!(heads.lock().len() <= KEPT);
        }
    }
}
