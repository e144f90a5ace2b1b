//! Requests with events that got no successful response. If the next request has the same body, it
//! counts as a repetition: its events get the same ids, so that nothing is started twice (rule 31).
//!
//! This is for clients that send neither ids nor a seed. The first attempt of such a client may
//! have stored events and started runs before the store failed or the client disconnected. A
//! request is not a repetition if the one before it was successful.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use stepladder_core::id;
use stepladder_engine::IdSeed;
use tokio::time::Instant;

/// How long a request is remembered. After this time, a request with the same body counts as new.
const MEMORY: Duration = Duration::from_secs(120);
/// The maximum number of remembered requests. Each takes about 100 bytes.
const MAX_REQUESTS: usize = 10_000;

/// The requests without a successful response, by the hash of the body.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnansweredRequests(Arc<Mutex<HashMap<u128, (Instant, IdSeed)>>>);

/// An attempt of a request. If this value is dropped before [`mark_answered`](Self::mark_answered),
/// the seed is kept for a repetition of the request.
#[derive(Debug)]
pub(crate) struct RequestAttempt {
    unanswered: UnansweredRequests,
    body: u128,
    seed: IdSeed,
    is_answered: bool,
}

impl UnansweredRequests {
    /// Starts an attempt. It gets the seed of the attempt that it repeats, or a new seed.
    pub(crate) fn start(&self, body: &[u8], new: impl FnOnce() -> IdSeed) -> RequestAttempt {
        let body = id::hash(&[b"request", body]);
        let before = self.lock().remove(&body).filter(|(since, _)| since.elapsed() < MEMORY);
        let seed = before.map_or_else(new, |(_, seed)| seed);
        RequestAttempt { unanswered: self.clone(), body, seed, is_answered: false }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, (Instant, IdSeed)>> {
        self.0.lock()
    }
}

impl RequestAttempt {
    /// Returns the seed for the ids of the request's events.
    pub(crate) fn seed(&self) -> IdSeed {
        self.seed
    }

    /// Returns the hash of the request's body.
    pub(crate) fn body_hash(&self) -> u128 {
        self.body
    }

    /// Forgets the attempt, because the client got a response that says what was stored.
    pub(crate) fn mark_answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for RequestAttempt {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let mut unanswered = self.unanswered.lock();
        if unanswered.len() >= MAX_REQUESTS {
            unanswered.retain(|_, (since, _)| since.elapsed() < MEMORY);
        }
        if unanswered.len() < MAX_REQUESTS {
            unanswered.insert(self.body, (Instant::now(), self.seed));
        }
    }
}

#[cfg(test)]
mod tests {
    use stepladder_core::Timestamp;

    use super::*;

    fn seed(n: u128) -> IdSeed {
        IdSeed { at: Timestamp::from_millis(1), random: n }
    }

    fn attempt(unanswered: &UnansweredRequests, n: u128) -> RequestAttempt {
        unanswered.start(b"[]", || seed(n))
    }

    #[tokio::test(start_paused = true)]
    async fn a_repetition_gets_the_seed_of_the_unanswered_attempt_once() {
        let unanswered = UnansweredRequests::default();
        drop(attempt(&unanswered, 1));
        let again = attempt(&unanswered, 2);
        assert_eq!(again.seed(), seed(1));
        // in the meantime, another client sends the same body
        let other = attempt(&unanswered, 3);
        assert_eq!(other.seed(), seed(3));
        other.mark_answered();
        drop(again);
        let again = attempt(&unanswered, 4);
        assert_eq!(again.seed(), seed(1));
        again.mark_answered();
        assert_eq!(attempt(&unanswered, 5).seed(), seed(5));
        assert_eq!(unanswered.start(b"[ ]", || seed(6)).seed(), seed(6));
        tokio::time::advance(MEMORY).await;
        assert_eq!(attempt(&unanswered, 7).seed(), seed(7), "it comes too late to be a repetition");
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_of_requests_is_bounded() {
        let unanswered = UnansweredRequests::default();
        (0..MAX_REQUESTS + 9).for_each(|n| drop(unanswered.start(&n.to_be_bytes(), || seed(1))));
        assert_eq!(unanswered.lock().len(), MAX_REQUESTS);
        tokio::time::advance(MEMORY).await;
        drop(attempt(&unanswered, 1));
        assert_eq!(unanswered.lock().len(), 1);
    }
}
