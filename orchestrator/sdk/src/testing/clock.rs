//! A virtual clock that also knows the times until which something sleeps.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use stepladder_core::Timestamp;
use stepladder_engine::clock::Clock;
use stepladder_testkit::clock::VirtualClock;

pub(super) struct TestClock {
    clock: VirtualClock,
    /// For each time, the number of sleeps that end at it.
    alarms: Mutex<BTreeMap<Timestamp, usize>>,
}

impl TestClock {
    pub(super) fn new(start: Timestamp) -> Self {
        Self { clock: VirtualClock::new(start), alarms: Mutex::default() }
    }

    pub(super) fn set(&self, now: Timestamp) {
        self.clock.set(now);
    }

    /// Returns the next time at which a sleep ends.
    pub(super) fn next_alarm(&self) -> Option<Timestamp> {
        let now = self.now();
        self.lock_alarms().keys().copied().find(|due| *due > now && *due < Timestamp::MAX)
    }

    fn lock_alarms(&self) -> MutexGuard<'_, BTreeMap<Timestamp, usize>> {
        self.alarms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn sleep_until(&self, due: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let alarm = TestSleep::set(self, due);
        Box::pin(async move {
            self.clock.sleep_until(due).await;
            drop(alarm);
        })
    }
}

/// A sleep until a certain time. Dropping it removes the sleep from the clock.
struct TestSleep<'c> {
    clock: &'c TestClock,
    due: Timestamp,
}

impl<'c> TestSleep<'c> {
    fn set(clock: &'c TestClock, due: Timestamp) -> Self {
        *clock.lock_alarms().entry(due).or_default() += 1;
        Self { clock, due }
    }
}

impl Drop for TestSleep<'_> {
    fn drop(&mut self) {
        let mut alarms = self.clock.lock_alarms();
        if let Some(sleeps) = alarms.get_mut(&self.due) {
            *sleeps -= 1;
            if *sleeps == 0 {
                alarms.remove(&self.due);
            }
        }
    }
}
