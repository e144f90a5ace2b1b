//! How calls to an unavailable storage are repeated.

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::Timestamp;
use stepladder_engine::clock::Clock;
use stepladder_engine::retries::{Retries, time_left, within};
use stepladder_testkit::clock::VirtualClock;

const RETRIES: Retries = Retries { attempts: 5, first: Duration::from_millis(50), longest: Duration::from_millis(200) };

#[test]
fn waits_double_up_to_the_longest_and_may_be_none() {
    let longest = |failed| (0..1_000).map(|random| RETRIES.wait(failed, random)).max().unwrap().as_millis();
    assert_eq!([1, 2, 3, 4, 99].map(longest), [50, 100, 200, 200, 200]);
    assert_eq!((1..9).map(|failed| RETRIES.wait(failed, 0)).max(), Some(Duration::ZERO));
    assert_eq!((0..1_000).map(|random| Retries::at_once().wait(3, random)).max(), Some(Duration::ZERO));
}

/// Repeats a call that always fails. Returns the number of attempts and the time that they took.
async fn repeat(clock: &Arc<VirtualClock>) -> (u32, Duration) {
    let (began, mut failed) = (clock.now(), 1);
    loop {
        let pause = RETRIES.pause(&**clock, failed, 50);
        futures::pin_mut!(pause);
        // the clock moves to the requested time, and no further
        let mut paused = futures::poll!(&mut pause);
        if let (std::task::Poll::Pending, Some(due)) = (&paused, clock.pending()) {
            clock.set(due);
            paused = futures::poll!(&mut pause);
        }
        match paused {
            std::task::Poll::Ready(true) => failed += 1,
            std::task::Poll::Ready(false) => return (failed, clock.now().since(began)),
            std::task::Poll::Pending => panic!("it waits for longer than it says"),
        }
    }
}

#[tokio::test]
async fn a_call_is_made_five_times() {
    let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(0)));
    assert_eq!(repeat(&clock).await, (5, Duration::from_millis(200)), "four waits of 50 ms");
}

#[tokio::test]
async fn no_wait_reaches_the_deadline() {
    let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(0)));
    let at = |millis| Timestamp::from_millis(millis);
    let (times, took) = within(clock.clone(), at(120), repeat(&clock)).await;
    assert_eq!((times, took), (3, Duration::from_millis(100)));
    assert_eq!(within(clock.clone(), at(100), repeat(&clock)).await, (1, Duration::ZERO), "it is over");
    assert_eq!(within(clock.clone(), at(1_000), async { time_left() }).await, Some(Duration::from_millis(900)));
    assert_eq!(time_left(), None);
}
