//! Time and chance, as ports: every test can move the one and seed the other.

mod system;

use std::future::Future;
use std::pin::Pin;

use stepladder_core::Timestamp;

pub use system::SystemClock;

/// The clock.
pub trait Clock: Send + Sync {
    /// The time.
    fn now(&self) -> Timestamp;

    /// Completes when the time has come.
    fn sleep_until(&self, due: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
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
