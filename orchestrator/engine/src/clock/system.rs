//! The system clock, for a process that runs for a long time. The wall clock may be changed while
//! the process waits.
//!
//! - If the wall clock is set forward, waits notice this within [`POLL_INTERVAL`].
//! - If the wall clock is set back by at most [`MAX_SMOOTHED_STEP`], this clock does not go back.
//!   It runs at half speed until the wall clock has caught up, so waits take at most twice as long.
//! - If the wall clock is set back by more, this clock follows immediately.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use stepladder_core::Timestamp;

use super::Clock;

/// How often a wait reads the wall clock.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// The largest step back of the wall clock that this clock compensates by running slowly.
const MAX_SMOOTHED_STEP: Duration = Duration::from_secs(600);

/// The latest time that a clock of this process returned (in nanoseconds since 1970), and the
/// instant at which it was returned. The value is global, so that all clocks of the process agree.
static LATEST_READING: Mutex<Option<(Instant, i64)>> = Mutex::new(None);

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let wall = nanoseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let mut shown = LATEST_READING.lock();
        let moment = Instant::now();
        let now = shown.map_or(wall, |(at, before)| smooth_time(before, moment.duration_since(at), wall));
        *shown = Some((moment, now));
        Timestamp::from_millis(now / 1_000_000)
    }

    fn sleep_until(&self, due: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(wait_until(due, || self.now(), tokio::time::sleep))
    }
}

/// Waits until `now` returns `due` or a later time. Calls `now` every [`POLL_INTERVAL`].
async fn wait_until<F: Future<Output = ()> + Send>(
    due: Timestamp,
    now: impl Fn() -> Timestamp + Send,
    sleep: impl Fn(Duration) -> F + Send,
) {
    loop {
        let left = due.since(now());
        if left.is_zero() {
            return;
        }
        sleep(left.min(POLL_INTERVAL)).await;
    }
}

/// Returns the time of this clock, in nanoseconds since 1970. `shown` is the time that the clock
/// returned last, `elapsed` is the time since then, and `wall` is the current time of the wall
/// clock.
fn smooth_time(shown: i64, elapsed: Duration, wall: i64) -> i64 {
    let least = shown.saturating_add(nanoseconds(elapsed) / 2);
    if wall >= least || least - wall > nanoseconds(MAX_SMOOTHED_STEP) { wall } else { least }
}

/// Returns a duration in nanoseconds. They count up to the year 2262.
fn nanoseconds(of: Duration) -> i64 {
    i64::try_from(of.as_secs())
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000_000)
        .saturating_add(of.subsec_nanos().into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_wait_notices_within_seconds_that_the_wall_clock_was_set_forward() {
        let (wall, slept) = (AtomicI64::new(0), AtomicI64::new(0));
        let now = || Timestamp::from_millis(wall.load(Ordering::Relaxed));
        let sleep = |time: Duration| {
            let before = slept.fetch_add(time.as_millis() as i64, Ordering::Relaxed);
            // the wall clock is set forward by an hour after five seconds, and otherwise does not
            // move
            if before >= 5_000 {
                wall.store(3_600_000, Ordering::Relaxed);
            }
            std::future::ready(())
        };
        futures::executor::block_on(wait_until(Timestamp::from_millis(3_600_000), now, sleep));
        let slept = slept.load(Ordering::Relaxed);
        assert!(slept <= 10_000, "{slept} ms");
    }

    #[test]
    fn a_wait_of_a_second_takes_two_when_the_wall_clock_is_set_back_meanwhile() {
        let start = 1_000_000 * SECOND;
        // the wall clock is set back by 154 s, and this clock is read every millisecond
        let (mut shown, mut took) = (start, 0);
        while shown < start + SECOND {
            took += 1;
            shown = smooth_time(shown, Duration::from_millis(1), start - 154 * SECOND + took * SECOND / 1_000);
        }
        assert_eq!(took, 2_000);
        // after twice the length of the step back, this clock agrees with the wall clock again
        let later = smooth_time(shown, Duration::from_secs(310), start + 158 * SECOND);
        assert_eq!(later, start + 158 * SECOND);
    }

    #[test]
    fn the_clock_follows_a_wall_clock_that_advances_or_is_set_far_back() {
        let start = 1_000_000 * SECOND;
        assert_eq!(smooth_time(start, Duration::from_secs(1), start + SECOND), start + SECOND);
        assert_eq!(smooth_time(start, Duration::from_secs(1), start + 3_600 * SECOND), start + 3_600 * SECOND);
        assert_eq!(smooth_time(start, Duration::from_secs(1), start - 601 * SECOND), start - 601 * SECOND);
    }
}
