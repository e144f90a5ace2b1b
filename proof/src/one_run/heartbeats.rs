//! Invariants of the heartbeats of one wait, as a holder of the token relies on them:
//!
//! - The wait ends for a missed heartbeat only if none was recorded for an interval.
//! - Heartbeats are recorded at most twice in an interval, and none after the wait should have
//!   ended.

use stepladder_core::Timestamp;
use stepladder_core::journal::{Entry, Fact};

/// The heartbeats of a wait, according to the entries read so far.
pub(super) struct HeartbeatProgress {
    every: i64,
    until: Timestamp,
    /// The time of the latest recorded heartbeat, or of the start of the wait.
    last: Timestamp,
    /// How long the wait stays open after `last` without another heartbeat.
    open: i64,
    /// The shortest time between two recorded heartbeats.
    apart: i64,
    has_come: bool,
}

impl HeartbeatProgress {
    /// Returns the heartbeats of the wait that this entry starts, if it asks for them.
    pub(super) fn new(entry: &Entry) -> Option<Self> {
        let Fact::SignalAwaited { until, heartbeat_ms: Some(every), .. } = &entry.fact else { return None };
        let every = i64::try_from(*every).unwrap_or(i64::MAX / 4);
        let length = until.as_millis() - entry.at.as_millis();
        let apart = (every / 2).max(length / 10_000);
        Some(Self { every, until: *until, last: entry.at, open: every, apart, has_come: false })
    }

    pub(super) fn receive(&mut self, entry: &Entry) -> Result<(), &'static str> {
        let gap = entry.at.as_millis() - self.last.as_millis();
        if entry.at >= self.until || gap > self.open {
            return Err("a heartbeat came after the end of the wait");
        }
        // a fraction of a millisecond is lost in these figures
        if self.has_come && gap + 1 < self.apart {
            return Err("two heartbeats were recorded close to each other");
        }
        (self.last, self.open, self.has_come) = (self.last.max(entry.at), self.every + self.apart + 1, true);
        Ok(())
    }

    pub(super) fn miss(&self, entry: &Entry) -> Result<(), &'static str> {
        match entry.at.as_millis() - self.last.as_millis() < self.every {
            true => Err("a wait ended for a missed heartbeat before the interval was over"),
            false if self.last.as_millis() + self.every > self.until.as_millis() => {
                Err("a wait ended for a missed heartbeat that its timeout came before")
            }
            false => Ok(()),
        }
    }

    /// Returns whether the wait should have ended for a missed heartbeat before its timeout.
    pub(super) fn is_over(&self) -> bool {
        self.until.as_millis() - self.last.as_millis() > self.open + 1
    }
}
