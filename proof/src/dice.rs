//! Random numbers from a seed.

use std::sync::Arc;

use stepladder_engine::clock::Entropy;
use stepladder_testkit::clock::SeededEntropy;

/// A stream of random numbers, the same for the same seed.
#[derive(Clone)]
pub(crate) struct SeededDice(Arc<SeededEntropy>);

impl SeededDice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(SeededEntropy::new(seed)))
    }

    /// Creates stream number `n` of a seed. The streams are independent: drawing one more number
    /// from a stream does not change the others.
    pub(crate) fn stream(seed: u64, n: u64) -> Self {
        Self::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(n << 48))
    }

    pub(crate) fn below(&self, n: u64) -> u64 {
        self.0.bits() as u64 % n
    }

    pub(crate) fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }
}
