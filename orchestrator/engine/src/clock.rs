//! Time and chance, as ports: every test can move the one and seed the other.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stepladder_core::Timestamp;

/// The clock.
pub trait Clock: Send + Sync {
    /// The time.
    fn now(&self) -> Timestamp;

    /// Completes when the time has come.
    fn sleep_until(&self, due: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn sleep_until(&self, due: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // tokio's timer ends at about two years; whoever waits longer asks again
        let wait = due.since(self.now()).min(Duration::from_secs(86_400 * 365));
        Box::pin(tokio::time::sleep(wait))
    }
}

/// Chance: tokens, event ids, jitter.
pub trait Entropy: Send + Sync {
    /// 128 random bits.
    fn bits(&self) -> u128;
}

/// The machine's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn bits(&self) -> u128 {
        let mut bytes = [0; 16];
        match getrandom::fill(&mut bytes) {
            Ok(()) => u128::from_le_bytes(bytes),
            Err(e) => panic!("the operating system gives no random bytes: {e}"),
        }
    }
}

/// Chance that repeats: the same seed, the same bits (SplitMix64).
#[derive(Debug, Default)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    fn half(&self) -> u64 {
        let mut z = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl Entropy for SeededEntropy {
    fn bits(&self) -> u128 {
        u128::from(self.half()) << 64 | u128::from(self.half())
    }
}

/// A clock that stands still until it is moved: months of sleep in milliseconds.
#[derive(Debug)]
pub struct VirtualClock {
    now: std::sync::atomic::AtomicI64,
    moved: tokio::sync::watch::Sender<i64>,
}

impl VirtualClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        let now = std::sync::atomic::AtomicI64::new(start.as_millis());
        Self { now, moved: tokio::sync::watch::Sender::new(start.as_millis()) }
    }

    /// Moves it to a moment; never back.
    pub fn set(&self, now: Timestamp) {
        let now = now.as_millis();
        let before = self.now.fetch_max(now, Ordering::SeqCst);
        self.moved.send_replace(now.max(before));
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        self.set(self.now() + by);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, due: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut moved = self.moved.subscribe();
        Box::pin(async move {
            // the sender lives as long as the clock, which outlives this borrow
            let _ = moved.wait_for(|now| *now >= due.as_millis()).await;
        })
    }
}
