//! Time and randomness that a test controls.

use std::collections::BTreeSet;
use std::future::Future;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stepladder_core::Timestamp;
use stepladder_engine::clock::{Clock, Entropy};

/// Pseudorandom bits (SplitMix64). The same seed gives the same bits.
#[derive(Debug, Default)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// Creates a source of bits with this seed.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    fn next_u64(&self) -> u64 {
        let mut z = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl Entropy for SeededEntropy {
    fn bits(&self) -> u128 {
        u128::from(self.next_u64()) << 64 | u128::from(self.next_u64())
    }
}

/// A clock that stands still until a test moves it. A sleep of months takes no time.
#[derive(Debug)]
pub struct VirtualClock {
    now: AtomicI64,
    moved: tokio::sync::watch::Sender<i64>,
    /// The sleeping futures: the due time and the number of each.
    sleepers: Mutex<BTreeSet<(Timestamp, u64)>>,
    next_sleeper: AtomicU64,
}

impl VirtualClock {
    /// Creates a clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        let moved = tokio::sync::watch::Sender::new(start.as_millis());
        Self {
            now: AtomicI64::new(start.as_millis()),
            moved,
            sleepers: Mutex::default(),
            next_sleeper: AtomicU64::new(0),
        }
    }

    /// Sets the clock to a time. Does nothing if that time is earlier than the clock's.
    pub fn set(&self, now: Timestamp) {
        let now = now.as_millis();
        let before = self.now.fetch_max(now, Ordering::SeqCst);
        self.moved.send_replace(now.max(before));
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now() + by);
    }

    /// Returns when the next sleeping future is due; `None` if no future sleeps.
    pub fn pending(&self) -> Option<Timestamp> {
        self.sleepers().first().map(|(due, _)| *due)
    }

    /// Returns when the next future sleeping beyond `now` is due. A future that is due by `now` is
    /// ignored, because it may not have been polled yet.
    pub fn pending_after(&self, now: Timestamp) -> Option<Timestamp> {
        let later = (Bound::Excluded((now, u64::MAX)), Bound::Unbounded);
        self.sleepers().range(later).next().map(|(due, _)| *due)
    }

    fn sleepers(&self) -> MutexGuard<'_, BTreeSet<(Timestamp, u64)>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The registration of a sleeping future. Dropping it removes the future from the clock.
struct SleeperGuard<'a> {
    clock: &'a VirtualClock,
    place: (Timestamp, u64),
}

impl Drop for SleeperGuard<'_> {
    fn drop(&mut self) {
        self.clock.sleepers().remove(&self.place);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, due: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut moved = self.moved.subscribe();
        let sleeper = SleeperGuard { clock: self, place: (due, self.next_sleeper.fetch_add(1, Ordering::Relaxed)) };
        self.sleepers().insert(sleeper.place);
        Box::pin(async move {
            let _sleeper = sleeper;
            // never an error: the clock owns the sender and outlives this borrow
            let _ = moved.wait_for(|now| *now >= due.as_millis()).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_second(n: i64) -> Timestamp {
        Timestamp::from_millis(n * 1_000)
    }

    #[tokio::test]
    async fn a_virtual_clock_wakes_sleeping_futures_when_they_are_due() {
        let clock = VirtualClock::new(at_second(0));
        assert_eq!(clock.pending(), None);
        let (mut late, mut early) = (clock.sleep_until(at_second(9)), clock.sleep_until(at_second(5)));
        assert_eq!(clock.pending(), Some(at_second(5)));
        assert!(futures::poll!(&mut early).is_pending());
        clock.advance(Duration::from_secs(5));
        assert_eq!((clock.pending(), clock.pending_after(at_second(5))), (Some(at_second(5)), Some(at_second(9))));
        assert!(futures::poll!(&mut early).is_ready());
        assert!(futures::poll!(&mut late).is_pending());
        drop(early);
        assert_eq!(clock.pending(), Some(at_second(9)));
        drop(late);
        assert_eq!(clock.pending(), None);
    }

    #[test]
    fn a_virtual_clock_never_goes_back() {
        let clock = VirtualClock::new(at_second(7));
        clock.set(at_second(3));
        assert_eq!(clock.now(), at_second(7));
    }

    #[test]
    fn the_same_seed_gives_the_same_bits() {
        let (one, same, other) = (SeededEntropy::new(1), SeededEntropy::new(1), SeededEntropy::new(2));
        let bits = |entropy: &SeededEntropy| [entropy.bits(), entropy.bits()];
        let first = bits(&one);
        assert_eq!(first, bits(&same));
        assert_ne!(first, bits(&other));
        assert_ne!(first[0], first[1]);
    }
}
