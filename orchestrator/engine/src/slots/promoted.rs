//! Limits promotions after a permanent error of the storage. Then this process promotes each ticket
//! only once within [`MEMORY`].
//!
//! If a hop has a permanent error, it fails, and the queue delivers its wake again (rule 34). Each
//! delivery releases the hop's slots and promotes the first ticket (rule 22), and the wake of that
//! ticket fails the same way. Without this limit, the number of wakes would grow with each
//! delivery. As long as there is no permanent error, promotions are not limited.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stepladder_core::slot::Ticket;
use stepladder_core::{RunId, RunOrStep, Timestamp};

/// How long promotions are limited after a permanent error, and how long a promoted ticket is not
/// promoted again.
const MEMORY: Duration = Duration::from_secs(15 * 60);
/// The maximum number of remembered tickets. If there are more, all are forgotten.
const MAX_REMEMBERED: usize = 10_000;

/// Identifies a ticket: the key of the limit, the run, and the owner of the ticket.
type TicketKey = (Arc<str>, RunId, RunOrStep);

#[derive(Default)]
pub(crate) struct Promotions(Mutex<State>);

#[derive(Default)]
struct State {
    /// Until when promotions are limited because of the latest permanent error.
    until: Option<Timestamp>,
    /// For each ticket, the time before which the ticket is not promoted again.
    promoted: HashMap<TicketKey, Timestamp>,
}

impl Promotions {
    /// Limits promotions from now on, because of a permanent error.
    pub(crate) fn note(&self, now: Timestamp) {
        self.lock().until = Some(now + MEMORY);
    }

    /// Returns whether this ticket may be promoted. Returns `false` if promotions are limited and
    /// this process has already promoted the ticket within [`MEMORY`].
    pub(crate) fn may_promote(&self, key: &Arc<str>, ticket: &Ticket, now: Timestamp) -> bool {
        let mut state = self.lock();
        if state.until.is_none_or(|until| until <= now) {
            state.promoted.clear();
            return true;
        }
        if state.promoted.len() >= MAX_REMEMBERED {
            state.promoted.retain(|_, until| *until > now);
        }
        if state.promoted.len() >= MAX_REMEMBERED {
            state.promoted.clear();
        }
        let ticket = (key.clone(), ticket.run, ticket.of.clone());
        let earlier = state.promoted.insert(ticket.clone(), now + MEMORY);
        match earlier.filter(|until| *until > now) {
            Some(until) => {
                state.promoted.insert(ticket, until);
                false
            }
            None => true,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use stepladder_core::EventId;

    use super::*;

    #[test]
    fn a_ticket_is_promoted_once_in_fifteen_minutes_after_a_permanent_error() {
        let at = |minutes: u64| Timestamp::from_millis(0) + Duration::from_secs(60 * minutes);
        let ticket = |n: u128| {
            let (event, run) = (EventId::new(at(0), n), RunId::new(at(0), n));
            Ticket { queued_at: at(0), event, run, of: RunOrStep::Step("a".into()) }
        };
        let (promotions, key): (_, Arc<str>) = (Promotions::default(), "f/0".into());
        assert!(promotions.may_promote(&key, &ticket(1), at(0)) && promotions.may_promote(&key, &ticket(1), at(0)));
        promotions.note(at(0));
        assert!(promotions.may_promote(&key, &ticket(1), at(1)));
        assert!(!promotions.may_promote(&key, &ticket(1), at(2)));
        assert!(promotions.may_promote(&key, &ticket(2), at(2)), "another ticket");
        assert!(promotions.may_promote(&"f/1".into(), &ticket(1), at(2)), "another limit");
        promotions.note(at(14));
        assert!(!promotions.may_promote(&key, &ticket(1), at(15)));
        assert!(promotions.may_promote(&key, &ticket(1), at(16)), "15 minutes after the first promotion");
        assert!(!promotions.may_promote(&key, &ticket(1), at(17)));
        assert!(promotions.may_promote(&key, &ticket(1), at(29)), "the error is 15 minutes old");
        assert!(promotions.may_promote(&key, &ticket(1), at(29)));
    }
}
