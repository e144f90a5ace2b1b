//! Measures how fast wakes are served. From this pace, the server computes when a client may try
//! again.

use std::time::{Duration, Instant};

/// The minimum number of seconds after which a client is asked to try again.
const MIN_SECONDS: u64 = 1;
/// The maximum number of seconds after which a client is asked to try again.
pub(super) const MAX_SECONDS: u64 = 60;
/// The length of a measurement span. The pace is measured over the last one or two spans.
const SPAN: Duration = Duration::from_secs(5);
/// The minimum time over which a pace can be measured.
const MIN_ELAPSED: Duration = Duration::from_millis(100);

/// Two samples of the number of served wakes. The later sample is at most a span old.
#[derive(Debug, Default)]
pub(super) struct ServingRate {
    earlier: Option<(Instant, u64)>,
    later: Option<(Instant, u64)>,
}

impl ServingRate {
    /// Records the number of wakes that were served so far.
    pub(super) fn record(&mut self, now: Instant, served: u64) {
        let age = self.later.map(|(at, _)| now.saturating_duration_since(at));
        match age {
            Some(age) if age < SPAN => {}
            Some(age) if age < 2 * SPAN => {
                self.earlier = self.later;
                self.later = Some((now, served));
            }
            // the server may have been idle between requests, so an old sample says nothing about
            // the pace
            Some(_) | None => {
                self.earlier = None;
                self.later = Some((now, served));
            }
        }
    }

    /// Returns after how many whole seconds `wakes` more wakes will have been served at the current
    /// pace.
    pub(super) fn seconds_for(&self, wakes: usize, now: Instant, served: u64) -> u64 {
        let Some((since, before)) = self.earlier.or(self.later) else { return MIN_SECONDS };
        let elapsed = now.saturating_duration_since(since);
        if elapsed < MIN_ELAPSED {
            return MIN_SECONDS;
        }
        let pace = served.saturating_sub(before) as f64 / elapsed.as_secs_f64();
        // with a pace of 0 this is infinite, so the maximum is used
        let seconds = (wakes as f64 / pace).ceil().min(MAX_SECONDS as f64);
        (seconds as u64).max(MIN_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant_after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn the_wait_follows_the_pace_between_a_second_and_a_minute() {
        let (start, mut pace) = (Instant::now(), ServingRate::default());
        assert_eq!(pace.seconds_for(1_000, start, 7), 1, "nothing is known");
        pace.record(start, 1_000);
        assert_eq!(pace.seconds_for(1_000, instant_after(start, 50), 1_000), 1, "too soon to say");
        let now = instant_after(start, 2_000);
        pace.record(now, 1_200);
        // the measured pace is 100 wakes per second
        assert_eq!(pace.seconds_for(1_000, now, 1_200), 10);
        assert_eq!(pace.seconds_for(1_001, now, 1_200), 11);
        assert_eq!(pace.seconds_for(3, now, 1_200), 1);
        assert_eq!(pace.seconds_for(0, now, 1_200), 1);
        assert_eq!(pace.seconds_for(100_000, now, 1_200), 60);
        assert_eq!(pace.seconds_for(1, now, 1_000), 60, "nothing is served");
    }

    #[test]
    fn the_pace_is_that_of_the_last_seconds() {
        let (start, mut pace) = (Instant::now(), ServingRate::default());
        let mut served = 0;
        // 1,000 wakes per second for 30 seconds, then 10 per second for 15 seconds
        for second in 0..45 {
            served += if second < 30 { 1_000 } else { 10 };
            pace.record(instant_after(start, second * 1_000), served);
        }
        assert_eq!(pace.seconds_for(100, instant_after(start, 44_000), served), 10);
    }

    #[test]
    fn an_idle_time_does_not_count() {
        let (start, mut pace) = (Instant::now(), ServingRate::default());
        pace.record(start, 0);
        pace.record(instant_after(start, 6_000), 10);
        // the next sample is an hour later
        pace.record(instant_after(start, 3_600_000), 20);
        let now = instant_after(start, 3_601_000);
        pace.record(now, 120);
        assert_eq!(pace.seconds_for(1_000, now, 120), 10);
    }
}
