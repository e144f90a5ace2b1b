//! Moments as a caller may have them.

use std::time::{SystemTime, UNIX_EPOCH};

use stepladder_core::Timestamp;

/// A point in time that [`Context::sleep_until`](crate::Context::sleep_until) takes.
pub trait Moment {
    /// The same, in milliseconds since 1970. What lies before 1970 is 1970.
    fn timestamp(self) -> Timestamp;
}

impl Moment for Timestamp {
    fn timestamp(self) -> Timestamp {
        self
    }
}

impl Moment for SystemTime {
    fn timestamp(self) -> Timestamp {
        Timestamp::from_millis(0) + self.duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}
