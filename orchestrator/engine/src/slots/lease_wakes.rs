//! Remembers the lease wakes that this process has sent for the first tickets of wait queues (rule
//! 23). One wake per ticket is enough. Without this memory, each acquired slot, and each refusal of
//! the first ticket, would send another wake. All these wakes would arrive at the same time, and
//! each would send more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stepladder_core::slot::Ticket;
use stepladder_core::{RunId, RunOrStep, Timestamp};

/// The maximum number of remembered queues. If a queue is forgotten, its first ticket may get one
/// more wake.
const MAX_REMEMBERED: usize = 1_024;

/// The lease wakes, by the key of the limit.
#[derive(Default)]
pub(crate) struct LeaseWakes(Mutex<HashMap<Arc<str>, LeaseWake>>);

/// The ticket for which a wake was sent, and the due time of the wake.
struct LeaseWake {
    run: RunId,
    of: RunOrStep,
    due: Timestamp,
}

impl LeaseWakes {
    /// Returns whether a wake for this first ticket is still to come, at `due` or earlier.
    pub(crate) fn has_wake(&self, key: &str, first: &Ticket, due: Timestamp, now: Timestamp) -> bool {
        let wakes = self.lock();
        wakes
            .get(key)
            .is_some_and(|wake| wake.run == first.run && wake.of == first.of && wake.due > now && wake.due <= due)
    }

    /// Remembers a wake that was sent.
    pub(crate) fn remember(&self, key: &Arc<str>, first: &Ticket, due: Timestamp, now: Timestamp) {
        let mut wakes = self.lock();
        if wakes.len() >= MAX_REMEMBERED {
            wakes.retain(|_, owned| owned.due > now);
        }
        if wakes.len() >= MAX_REMEMBERED {
            wakes.clear();
        }
        wakes.insert(key.clone(), LeaseWake { run: first.run, of: first.of.clone(), due });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, LeaseWake>> {
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

    fn ticket(n: u128) -> Ticket {
        Ticket {
            queued_at: at(0),
            event: EventId::new(at(0), n),
            run: RunId::new(at(0), n),
            of: RunOrStep::Step("a".into()),
        }
    }

    #[test]
    fn a_first_ticket_owns_a_wake_until_it_comes() {
        let (wakes, key) = (LeaseWakes::default(), Arc::from("f/0"));
        wakes.remember(&key, &ticket(1), at(100), at(0));
        assert!(wakes.has_wake("f/0", &ticket(1), at(100), at(99)));
        assert!(wakes.has_wake("f/0", &ticket(1), at(200), at(99)), "the wake comes sooner, and sends the next");
        assert!(!wakes.has_wake("f/0", &ticket(1), at(99), at(0)), "the wake comes too late");
        assert!(!wakes.has_wake("f/0", &ticket(1), at(200), at(100)), "the wake has come");
        assert!(!wakes.has_wake("f/0", &ticket(2), at(100), at(0)), "another ticket is first");
        assert!(!wakes.has_wake("f/1", &ticket(1), at(100), at(0)));
    }

    #[test]
    fn the_number_of_remembered_queues_is_limited() {
        let wakes = LeaseWakes::default();
        for n in 0..3 * MAX_REMEMBERED {
            wakes.remember(&Arc::from(format!("f/0/{n}")), &ticket(1), at(n as i64 + 1), at(0));
            assert!(wakes.lock().len() <= MAX_REMEMBERED);
        }
    }
}
