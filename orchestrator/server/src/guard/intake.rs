//! Back-pressure: limits on the number of concurrent requests and on the amount of waiting work. If
//! a limit is exceeded, a client gets the status 429 and `Retry-After`, before anything of its
//! request is stored.
//!
//! The queue reports how much work is waiting ([`Engine::backlog`]). A queue that is a separate
//! service does not report this; then only the number of requests is limited.

mod pace;

use std::sync::Arc;
use std::time::Instant;

use pace::ServingRate;
use parking_lot::{Mutex, MutexGuard};
use stepladder_engine::Engine;
use stepladder_engine::ports::Backlog;

use crate::error::HttpProblem;

/// The limits on what a server accepts. 0 means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntakeBounds {
    /// The maximum number of wakes that are due but not served yet. If the backlog is below this
    /// limit, the next request is accepted as a whole.
    pub backlog: usize,
    /// The maximum number of runs that wait in memory: runs that sleep for less than 15 minutes,
    /// and tickets in wait queues.
    pub waiting: usize,
    /// The maximum number of requests with events that are processed at the same time.
    pub requests: usize,
}

/// Decides whether the server accepts a request with events.
#[derive(Debug)]
pub(crate) struct IntakeGuard {
    bounds: IntakeBounds,
    load: Mutex<IntakeLoad>,
}

/// The current load of the server.
#[derive(Debug, Default)]
struct IntakeLoad {
    /// The number of requests in progress.
    requests: usize,
    /// The number of events in these requests. Their runs are not part of the backlog yet.
    events: usize,
    pace: ServingRate,
}

/// An accepted request. It counts as load until this value is dropped.
pub(crate) struct AdmittedRequest {
    intake: Arc<IntakeGuard>,
    engine: Arc<Engine>,
    events: usize,
}

impl Default for IntakeBounds {
    /// Allows a burst of 20 full requests, and ten times as much work that only waits for its time.
    fn default() -> Self {
        Self { backlog: 100_000, waiting: 1_000_000, requests: 1_024 }
    }
}

impl IntakeGuard {
    pub(crate) fn new(bounds: IntakeBounds) -> Self {
        Self { bounds, load: Mutex::default() }
    }

    /// Accepts a request before its events are known.
    ///
    /// # Errors
    /// 429 if a limit is exceeded, with the time after which the client may try again.
    pub(crate) fn admit(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<AdmittedRequest, HttpProblem> {
        let mut load = self.lock();
        if is_reached(self.bounds.requests, load.requests) {
            let sentence = format!("the server processes {} requests with events; send this again", load.requests);
            return Err(HttpProblem::too_many_requests(sentence, 1));
        }
        self.check_room(&mut load, engine.query().backlog())?;
        load.requests += 1;
        Ok(AdmittedRequest { intake: self.clone(), engine: engine.clone(), events: 0 })
    }

    fn check_room(&self, load: &mut IntakeLoad, backlog: Option<Backlog>) -> Result<(), HttpProblem> {
        let Some(Backlog { due, waiting, served }) = backlog else { return Ok(()) };
        let now = Instant::now();
        load.pace.record(now, served);
        let coming = due + load.events;
        if is_reached(self.bounds.backlog, coming) {
            // the wait is long enough to serve half of the backlog, so that not all clients return
            // for the first free place
            let seconds = load.pace.seconds_for(coming - self.bounds.backlog / 2, now, served);
            let sentence = format!("{coming} wakes are due and not served yet; send this again in {seconds} s");
            return Err(HttpProblem::too_many_requests(sentence, seconds));
        }
        if is_reached(self.bounds.waiting, waiting) {
            let sentence = format!("{waiting} runs wait for a slot or for their time; send this again later");
            return Err(HttpProblem::too_many_requests(sentence, pace::MAX_SECONDS));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, IntakeLoad> {
        self.load.lock()
    }
}

impl AdmittedRequest {
    /// Reserves room for events, each counted as one run. An idle server accepts a request of any
    /// size.
    ///
    /// # Errors
    /// The same as those of [`IntakeGuard::admit`], because other requests may have been accepted
    /// in between.
    pub(crate) fn reserve(&mut self, events: usize) -> Result<(), HttpProblem> {
        let mut load = self.intake.lock();
        self.intake.check_room(&mut load, self.engine.query().backlog())?;
        load.events += events;
        self.events += events;
        Ok(())
    }
}

impl Drop for AdmittedRequest {
    fn drop(&mut self) {
        let mut load = self.intake.lock();
        load.requests -= 1;
        load.events -= self.events;
    }
}

/// Returns whether a limit is reached; 0 means no limit.
fn is_reached(limit: usize, count: usize) -> bool {
    limit > 0 && count >= limit
}

#[cfg(test)]
mod tests {
    use stepladder_core::Timestamp;
    use stepladder_engine::Config;
    use stepladder_testkit::clock::{SeededEntropy, VirtualClock};
    use stepladder_testkit::memory::Memory;

    use super::*;

    #[test]
    fn of_two_accepted_requests_the_second_gets_429_when_the_first_takes_the_room() {
        let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(0)));
        let memory = Arc::new(Memory::new(clock.clone()));
        let entropy = Arc::new(SeededEntropy::new(1));
        let engine = Engine::with_ports(memory, clock, entropy, Vec::new(), Config::default()).unwrap();
        let (engine, bounds) = (Arc::new(engine), IntakeBounds { backlog: 2, waiting: 0, requests: 0 });
        let intake = Arc::new(IntakeGuard::new(bounds));
        let (mut first, mut second) = (intake.admit(&engine).unwrap(), intake.admit(&engine).unwrap());
        first.reserve(5).unwrap();
        assert_eq!(second.reserve(1).unwrap_err().status.as_u16(), 429);
        drop(first);
        second.reserve(1).unwrap();
    }
}
