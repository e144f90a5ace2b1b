//! The machine's clock, for a process that lives long: its wall clock may be set while the process
//! waits.
//!
//! Set forward, what is due then is due within [`LOOK`]. Set back by a few minutes, waits that have
//! begun do not get that much longer: this clock goes on at half speed until the wall clock has
//! caught up, and never goes back. A larger step is taken at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use stepladder_core::Timestamp;

use super::Clock;

/// How often one who waits looks at the wall clock again.
const LOOK: Duration = Duration::from_secs(2);
/// By how much the wall clock may be set back without this one following at once.
const SET_BACK: Duration = Duration::from_secs(600);

/// What was shown last, in nanoseconds since 1970, and when that was. One for the process: all its
/// clocks agree.
static SHOWN: Mutex<Option<(Instant, i128)>> = Mutex::new(None);

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as i128;
        let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let moment = Instant::now();
        let now = shown.map_or(wall, |(at, before)| steady(before, moment.duration_since(at), wall));
        *shown = Some((moment, now));
        Timestamp::from_millis(i64::try_from(now / 1_000_000).unwrap_or(i64::MAX))
    }

    fn sleep_until(&self, due: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(wait(due, || self.now(), tokio::time::sleep))
    }
}

/// Waits until `now` says that the moment has come; it is asked every [`LOOK`].
async fn wait<F: Future<Output = ()> + Send>(
    due: Timestamp,
    now: impl Fn() -> Timestamp + Send,
    sleep: impl Fn(Duration) -> F + Send,
) {
    loop {
        let left = due.since(now());
        if left.is_zero() {
            return;
        }
        sleep(left.min(LOOK)).await;
    }
}

/// What is shown so long after this was shown, where the wall clock says `wall`: all in
/// nanoseconds.
fn steady(shown: i128, elapsed: Duration, wall: i128) -> i128 {
    let least = shown + elapsed.as_nanos() as i128 / 2;
    if wall >= least || least - wall > SET_BACK.as_nanos() as i128 { wall } else { least }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    const SECOND: i128 = 1_000_000_000;

    #[test]
    fn who_waits_sees_within_seconds_that_the_wall_clock_was_set_forward() {
        let (wall, slept) = (AtomicI64::new(0), AtomicI64::new(0));
        let now = || Timestamp::from_millis(wall.load(Ordering::Relaxed));
        let sleep = |time: Duration| {
            let before = slept.fetch_add(time.as_millis() as i64, Ordering::Relaxed);
            // set forward by an hour after five seconds; it stands still otherwise
            if before >= 5_000 {
                wall.store(3_600_000, Ordering::Relaxed);
            }
            std::future::ready(())
        };
        futures::executor::block_on(wait(Timestamp::from_millis(3_600_000), now, sleep));
        let slept = slept.load(Ordering::Relaxed);
        assert!(slept <= 10_000, "{slept} ms");
    }

    #[test]
    fn a_wait_of_a_second_takes_two_when_the_wall_clock_is_set_back_meanwhile() {
        let start = 1_000_000 * SECOND;
        // set back by 154 s at once; asked every millisecond
        let (mut shown, mut took) = (start, 0);
        while shown < start + SECOND {
            took += 1;
            shown = steady(shown, Duration::from_millis(1), start - 154 * SECOND + took * SECOND / 1_000);
        }
        assert_eq!(took, 2_000);
        // after twice the step it agrees with the wall clock again
        let later = steady(shown, Duration::from_secs(310), start + 158 * SECOND);
        assert_eq!(later, start + 158 * SECOND);
    }

    #[test]
    fn a_wall_clock_that_goes_on_or_is_set_far_back_is_followed() {
        let start = 1_000_000 * SECOND;
        assert_eq!(steady(start, Duration::from_secs(1), start + SECOND), start + SECOND);
        assert_eq!(steady(start, Duration::from_secs(1), start + 3_600 * SECOND), start + 3_600 * SECOND);
        assert_eq!(steady(start, Duration::from_secs(1), start - 601 * SECOND), start - 601 * SECOND);
    }
}
