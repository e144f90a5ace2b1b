//! Which tickets of wait queues this process has promoted since the storage refused something for
//! good.
//!
//! A wake that meets a permanent error fails, and the queue delivers it again (rule 34). Each
//! delivery releases what the hop held and promotes the first ticket (rule 22), and its wake fails
//! the same way. Without a memory, the wakes would multiply with every delivery. While errors pass,
//! nothing is remembered and every promotion is sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stepladder_core::slot::Ticket;
use stepladder_core::{RunId, StepId, Timestamp};

/// How long a permanent error counts, and how long a promoted ticket is not promoted again.
const MEMORY: Duration = Duration::from_secs(15 * 60);
/// More tickets are not remembered: the oldest promotions are forgotten then.
const KEPT: usize = 10_000;

/// A ticket: the limit's key, the run and the step.
type TicketKey = (Arc<str>, RunId, StepId);

#[derive(Default)]
pub(crate) struct Promotions(Mutex<State>);

#[derive(Default)]
struct State {
    /// Until when the last permanent error counts.
    until: Option<Timestamp>,
    /// Until when each ticket is not promoted again.
    promoted: HashMap<TicketKey, Timestamp>,
}

impl Promotions {
    /// Notes a permanent error.
    pub(crate) fn note(&self, now: Timestamp) {
        self.lock().until = Some(now + MEMORY);
    }

    /// Whether to promote this ticket: always, unless this process has promoted it since a
    /// permanent error.
    pub(crate) fn may_promote(&self, key: &Arc<str>, place: &Ticket, now: Timestamp) -> bool {
        let mut state = self.lock();
        if state.until.is_none_or(|until| until <= now) {
            state.promoted.clear();
            return true;
        }
        if state.promoted.len() >= KEPT {
            state.promoted.retain(|_, until| *until > now);
        }
        if state.promoted.len() >= KEPT {
            state.promoted.clear();
        }
        let ticket = (key.clone(), place.run, place.step.clone());
        let again_at = state.promoted.insert(ticket.clone(), now + MEMORY);
        match again_at.filter(|at| *at > now) {
            Some(at) => {
                state.promoted.insert(ticket, at);
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
        let place = |n: u128| {
            let (event, run) = (EventId::new(at(0), n), RunId::new(at(0), n));
            Ticket { queued_at: at(0), event, run, step: "a".into() }
        };
        let (refused, key): (_, Arc<str>) = (Promotions::default(), "f/0".into());
        assert!(refused.may_promote(&key, &place(1), at(0)) && refused.may_promote(&key, &place(1), at(0)));
        refused.note(at(0));
        assert!(refused.may_promote(&key, &place(1), at(1)));
        assert!(!refused.may_promote(&key, &place(1), at(2)));
        assert!(refused.may_promote(&key, &place(2), at(2)), "another ticket");
        assert!(refused.may_promote(&"f/1".into(), &place(1), at(2)), "another limit");
        refused.note(at(14));
        assert!(!refused.may_promote(&key, &place(1), at(15)));
        assert!(refused.may_promote(&key, &place(1), at(16)), "15 minutes after the first promotion");
        assert!(!refused.may_promote(&key, &place(1), at(17)));
        assert!(refused.may_promote(&key, &place(1), at(29)), "the error is 15 minutes old");
        assert!(refused.may_promote(&key, &place(1), at(29)));
    }
}
