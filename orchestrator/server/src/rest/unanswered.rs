//! Requests with events whose sender got no good answer. The next request with the same body is a repetition of one: it
//! gets the same ids, so that it starts nothing a second time (rule 31).
//!
//! Such a sender gives neither ids nor a seed. Its first attempt may have stored events and started runs before the store
//! failed, or before the sender hung up. Of two requests with the same body that are both answered, none is a repetition.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stepladder_core::id;
use stepladder_engine::IdSeed;
use tokio::time::Instant;

/// For so long a sender may take to repeat a request. Later, the same body is another request.
const WITHIN: Duration = Duration::from_secs(120);
/// So many are remembered at most; 100 bytes each.
const MOST: usize = 10_000;

/// What is remembered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unanswered(Arc<Mutex<HashMap<u128, (Instant, IdSeed)>>>);

/// An attempt at a request. Dropped before it is [answered](Self::answered), it is remembered.
#[derive(Debug)]
pub(crate) struct Attempt {
    unanswered: Unanswered,
    body: u128,
    seed: IdSeed,
    is_answered: bool,
}

impl Unanswered {
    /// The seed of the attempt that this one repeats, or a new one.
    pub(crate) fn attempt(&self, body: &[u8], new: impl FnOnce() -> IdSeed) -> Attempt {
        let body = id::hash(&[b"request", body]);
        let before = self.lock().remove(&body).filter(|(since, _)| since.elapsed() < WITHIN);
        let seed = before.map_or_else(new, |(_, seed)| seed);
        Attempt { unanswered: self.clone(), body, seed, is_answered: false }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, (Instant, IdSeed)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// What its events are named by.
    pub(crate) fn seed(&self) -> IdSeed {
        self.seed
    }

    /// The hash of its body.
    pub(crate) fn body(&self) -> u128 {
        self.body
    }

    /// Its sender knows what became of it: nothing, or all of it.
    pub(crate) fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let mut unanswered = self.unanswered.lock();
        if unanswered.len() >= MOST {
            unanswered.retain(|_, (since, _)| since.elapsed() < WITHIN);
        }
        if unanswered.len() < MOST {
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

    fn attempt(unanswered: &Unanswered, n: u128) -> Attempt {
        unanswered.attempt(b"[]", || seed(n))
    }

    #[tokio::test(start_paused = true)]
    async fn a_repetition_has_the_seed_of_the_attempt_without_an_answer_once() {
        let unanswered = Unanswered::default();
        drop(attempt(&unanswered, 1));
        let again = attempt(&unanswered, 2);
        assert_eq!(again.seed(), seed(1));
        // meanwhile somebody else sends the same
        let other = attempt(&unanswered, 3);
        assert_eq!(other.seed(), seed(3));
        other.answered();
        drop(again);
        let again = attempt(&unanswered, 4);
        assert_eq!(again.seed(), seed(1));
        again.answered();
        assert_eq!(attempt(&unanswered, 5).seed(), seed(5));
        assert_eq!(unanswered.attempt(b"[ ]", || seed(6)).seed(), seed(6));
        tokio::time::advance(WITHIN).await;
        assert_eq!(attempt(&unanswered, 7).seed(), seed(7), "it comes too late to be a repetition");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let unanswered = Unanswered::default();
        (0..MOST + 9).for_each(|n| drop(unanswered.attempt(&n.to_be_bytes(), || seed(1))));
        assert_eq!(unanswered.lock().len(), MOST);
        tokio::time::advance(WITHIN).await;
        drop(attempt(&unanswered, 1));
        assert_eq!(unanswered.lock().len(), 1);
    }
}
