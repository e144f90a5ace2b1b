//! Traits for time and randomness, so that tests can move the clock and choose the random numbers.

mod system;

use std::future::Future;
use std::pin::Pin;

use stepladder_core::Timestamp;

pub use system::SystemClock;

/// A clock that returns the current time and waits.
pub trait Clock: Send + Sync {
    /// Returns the current time.
    fn now(&self) -> Timestamp;

    /// Waits until `due`.
    fn sleep_until(&self, due: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A source of randomness for tokens, event ids and jitter.
pub trait Entropy: Send + Sync {
    /// Returns 128 random bits.
    fn bits(&self) -> u128;
}

/// The random numbers of the operating system.
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
