//! The heartbeats of a wait for a callback: the holder of the token must show that it still works.
//!
//! Not every heartbeat is recorded, so that a wait adds a bounded number of journal entries. After
//! each recorded heartbeat, the next ones are not recorded for a while, the *pause*. The wait must
//! therefore last one interval and one pause after the latest recorded heartbeat: a heartbeat that
//! was not recorded counts as if it had come at the end of the pause. The first heartbeat is always
//! recorded, so a holder that never starts is noticed after exactly one interval.

use std::time::Duration;

use crate::limits::HEARTBEATS;
use crate::{ErrorCode, Failure, StepId, Timestamp};

/// The heartbeats of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeats {
    /// The holder of the token must post a heartbeat at least this often.
    pub every: Duration,
    /// When the wait started.
    pub since: Timestamp,
    /// The latest recorded heartbeat; `None` if there was none.
    pub last: Option<Timestamp>,
    /// How long no further heartbeat is recorded after one.
    pause: Duration,
}

impl Heartbeats {
    /// Creates the heartbeats of a wait that starts now and ends at the latest at `until`.
    pub fn new(every: Duration, since: Timestamp, until: Timestamp) -> Self {
        let pause = (every / 2).max(until.since(since) / HEARTBEATS);
        Self { every, since, last: None, pause }
    }

    /// Returns when the wait ends, unless a further heartbeat is recorded before.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use stepladder_core::Timestamp;
    /// use stepladder_core::heartbeat::Heartbeats;
    ///
    /// let minutes = |n: u64| Duration::from_secs(n * 60);
    /// let start = Timestamp::from_millis(0);
    /// let heartbeats = Heartbeats::new(minutes(10), start, start + minutes(600));
    /// assert_eq!(heartbeats.due(), start + minutes(10));
    /// // the next five minutes may bring a heartbeat that is not recorded
    /// assert_eq!(heartbeats.recorded(start + minutes(4)).due(), start + minutes(4 + 10 + 5));
    /// ```
    pub fn due(&self) -> Timestamp {
        match self.last {
            None => self.since + self.every,
            Some(last) => last + self.every + self.pause,
        }
    }

    /// Returns whether a heartbeat was recorded so recently that another one need not be.
    pub fn is_recent(&self, now: Timestamp) -> bool {
        self.last.is_some_and(|last| now.since(last) < self.pause)
    }

    /// Returns the heartbeats after another one was recorded.
    #[must_use]
    pub fn recorded(self, at: Timestamp) -> Self {
        Self { last: self.last.max(Some(at)), ..self }
    }

    /// Returns the failure of a wait that ends because no heartbeat came in time.
    pub fn missed(&self, step: &StepId) -> Failure {
        let before = match self.last {
            None => "no heartbeat came since the wait started".to_owned(),
            Some(last) => format!("the latest recorded heartbeat came at {last}"),
        };
        let message = format!("step `{step}` waits for a heartbeat every {:?}, and {before}", self.every);
        Failure::with_code(message, ErrorCode::HeartbeatTimeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_holder_that_posts_in_time_keeps_the_wait_open_whichever_heartbeats_are_recorded() {
        for gap in [1, 7, 30, 59, 60] {
            let mut heartbeats = Heartbeats::new(seconds(60), at(0), at(100_000));
            for posted in (1..1_000).map(|n| at(n * gap - 1)) {
                assert!(posted < heartbeats.due(), "every {gap} s, at {posted}");
                if !heartbeats.is_recent(posted) {
                    heartbeats = heartbeats.recorded(posted);
                }
            }
        }
    }

    #[test]
    fn a_wait_ends_at_the_latest_one_and_a_half_intervals_after_the_last_heartbeat() {
        let first = Heartbeats::new(seconds(60), at(0), at(100_000)).recorded(at(10));
        assert_eq!((first.is_recent(at(39)), first.is_recent(at(40))), (true, false));
        assert_eq!(first.due(), at(100));
    }

    #[test]
    fn the_number_of_recorded_heartbeats_is_bounded_by_the_length_of_the_wait() {
        let year = 365 * 86_400;
        let long = Heartbeats::new(seconds(60), at(0), at(year)).recorded(at(0));
        let pause = year / i64::from(HEARTBEATS);
        assert!(pause > 60 && long.is_recent(at(pause - 1)) && !long.is_recent(at(pause + 1)));
        assert_eq!(long.due().as_millis() / 1_000, 60 + pause);
    }

    #[test]
    fn a_clock_that_is_behind_moves_no_heartbeat_back() {
        let heartbeats = Heartbeats::new(seconds(60), at(0), at(600)).recorded(at(50));
        assert!(heartbeats.is_recent(at(49)));
        assert_eq!(heartbeats.recorded(at(49)), heartbeats);
    }
}
