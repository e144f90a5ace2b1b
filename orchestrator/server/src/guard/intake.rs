//! How much is taken in: event requests at a time, and work that waits. Past a bound a client is told to come again, and
//! when, before anything of its request is stored.
//!
//! What waits is the queue's to say ([`Engine::backlog`]). Where the queue is a service of its own it says nothing, and
//! only the number of requests is bounded here.

mod pace;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use stepladder_engine::Engine;
use stepladder_engine::ports::Backlog;

use crate::error::Problem;
use pace::Pace;

/// How much a server takes in. 0 is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Wakes that are due and not served. A request that comes while there are fewer is taken whole.
    pub backlog: usize,
    /// What else takes up memory: runs that sleep for less than 15 minutes, and places in the lines of limits.
    pub waiting: usize,
    /// Requests with events that are worked on at a time.
    pub requests: usize,
}

/// Decides whether a request is taken in.
#[derive(Debug)]
pub(crate) struct Intake {
    bounds: Bounds,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    /// Requests that are worked on.
    requests: usize,
    /// Their events, whose runs are not in the backlog yet.
    events: usize,
    pace: Pace,
}

/// A request that is taken in, until it is dropped.
pub(crate) struct Admitted {
    intake: Arc<Intake>,
    engine: Arc<Engine>,
    events: usize,
}

impl Default for Bounds {
    /// Room for a burst of 20 full requests, and for ten times as much that only waits for its time.
    fn default() -> Self {
        Self { backlog: 100_000, waiting: 1_000_000, requests: 1_024 }
    }
}

impl Intake {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, now: Mutex::default() }
    }

    /// Takes a request in, whose events are not known yet.
    ///
    /// # Errors
    /// 429 past a bound, with the time after which there may be room.
    pub(crate) fn admit(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<Admitted, Problem> {
        let mut now = self.lock();
        if past(now.requests, self.bounds.requests) {
            let sentence = format!("the server works on {} requests with events; send this again", now.requests);
            return Err(Problem::pushed_back(sentence, 1));
        }
        self.room(&mut now, engine.query().backlog())?;
        now.requests += 1;
        Ok(Admitted { intake: self.clone(), engine: engine.clone(), events: 0 })
    }

    fn room(&self, now: &mut Now, backlog: Option<Backlog>) -> Result<(), Problem> {
        let Some(Backlog { due, waiting, served }) = backlog else { return Ok(()) };
        let at = Instant::now();
        now.pace.look(at, served);
        let coming = due + now.events;
        if past(coming, self.bounds.backlog) {
            // by then half of it is served: not everybody comes back for the first free place
            let seconds = now.pace.seconds_for(coming - self.bounds.backlog / 2, at, served);
            let sentence = format!("{coming} wakes are due and not served yet; send this again in {seconds} s");
            return Err(Problem::pushed_back(sentence, seconds));
        }
        if past(waiting, self.bounds.waiting) {
            let sentence = format!("{waiting} runs wait for a slot or for their time; send this again later");
            return Err(Problem::pushed_back(sentence, pace::MOST_SECONDS));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// Reserves the room that events take, as one run each. A request is never too large for an empty server.
    ///
    /// # Errors
    /// As [`Intake::admit`]: others may have come in between.
    pub(crate) fn reserve(&mut self, events: usize) -> Result<(), Problem> {
        let mut now = self.intake.lock();
        self.intake.room(&mut now, self.engine.query().backlog())?;
        now.events += events;
        self.events += events;
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut now = self.intake.lock();
        now.requests -= 1;
        now.events -= self.events;
    }
}

fn past(there: usize, bound: usize) -> bool {
    bound > 0 && there >= bound
}

#[cfg(test)]
mod tests {
    use stepladder_core::Timestamp;
    use stepladder_engine::Config;
    use stepladder_testkit::clock::{SeededEntropy, VirtualClock};
    use stepladder_testkit::memory::Memory;

    use super::*;

    #[test]
    fn of_requests_that_came_while_there_was_room_the_second_is_pushed_back_when_the_first_takes_it() {
        let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(0)));
        let memory = Arc::new(Memory::new(clock.clone()));
        let entropy = Arc::new(SeededEntropy::new(1));
        let engine = Engine::with_ports(memory, clock, entropy, Vec::new(), Config::default()).unwrap();
        let (engine, bounds) = (Arc::new(engine), Bounds { backlog: 2, waiting: 0, requests: 0 });
        let intake = Arc::new(Intake::new(bounds));
        let (mut first, mut second) = (intake.admit(&engine).unwrap(), intake.admit(&engine).unwrap());
        first.reserve(5).unwrap();
        assert_eq!(second.reserve(1).unwrap_err().status.as_u16(), 429);
        drop(first);
        second.reserve(1).unwrap();
    }
}
