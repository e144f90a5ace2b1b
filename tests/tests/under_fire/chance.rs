//! Random numbers with a seed that is printed (SplitMix64).

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::setting;

/// A sequence of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct SeededRandom(u64);

impl SeededRandom {
    /// Creates a sequence with the seed in `STEPLADDER_FIRE_SEED` or a new seed, and prints the
    /// seed.
    pub(crate) fn of_this_run() -> Self {
        let seed = setting("STEPLADDER_FIRE_SEED", RandomState::new().hash_one(0) % 1_000_000);
        println!("STEPLADDER_FIRE_SEED={seed}");
        Self(seed)
    }

    /// Returns a new sequence that is independent of this one.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number less than `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Returns a random duration that is shorter than `most`, in whole microseconds.
    pub(crate) fn shorter_than(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(most.as_micros()).unwrap_or(u64::MAX)))
    }
}
