//! Standstills of hours: a function is paused, all workers are down, the queue delivers nothing, or
//! the store refuses the writes of one worker. Overdue work must not start all at once afterwards
//! (rule 32).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use stepladder_core::Timestamp;
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::Timers;
use stepladder_testkit::clock::VirtualClock;

use super::Simulation;
use super::invariants::at_once;

/// The longest pause of a function that does not count as a standstill.
pub(super) const PAUSE: Duration = Duration::from_secs(30);
/// The shortest standstill. The longest is twice as long.
const HOUR: Duration = Duration::from_secs(3_600);

/// A request to pause a function for `time`. The time starts when the request is dropped: after its
/// response, or when its worker dies.
struct PauseRequest {
    time: Duration,
    paused: Rc<Cell<Option<Timestamp>>>,
    clock: Arc<VirtualClock>,
}

impl Drop for PauseRequest {
    fn drop(&mut self) {
        self.paused.set(Some(self.clock.now() + self.time));
    }
}

impl Simulation {
    /// Pauses the function that may be paused, for this long.
    pub(super) fn pause_random_function(&mut self, time: Duration) {
        let (at, function) = (self.random_worker(), self.pausable);
        self.add_to_story(format!("`{function}` is paused at worker {at} for {time:?}"));
        self.pauses.set(self.pauses.get() + 1);
        // The function is not resumed before the request has a response or its worker dies.
        self.paused.set(Some(Timestamp::MAX));
        self.mishaps.stood += time;
        let asked = PauseRequest { paused: self.paused.clone(), clock: self.clock.clone(), time };
        let engine = self.processes[at].engine.clone();
        self.scheduler.spawn(at, async move {
            drop(engine.functions().pause(function).await);
            drop(asked);
        });
    }

    /// Requests that the paused function be resumed. Without a response, the request is repeated
    /// after a second.
    pub(super) fn resume_paused_function(&mut self) {
        let (at, now, function) = (self.random_worker(), self.clock.now(), self.pausable);
        // A frozen worker gets no requests: when it continues, it would respond to thousands of
        // them at once.
        let until = self.processes[at].frozen_until;
        if until > now {
            self.paused.set(Some(until));
            return;
        }
        self.paused.set(Some(now + Duration::from_secs(1)));
        self.add_to_story(format!("`{function}` is resumed at worker {at}"));
        let (engine, paused, pauses) = (self.processes[at].engine.clone(), self.paused.clone(), self.pauses.clone());
        let which = pauses.get();
        self.scheduler.spawn(at, async move {
            let resumed = engine.functions().paused_since(function).await.is_ok()
                && engine.functions().resume(function).await.is_ok();
            // A late response does not apply to a newer pause.
            if resumed && pauses.get() == which {
                paused.set(None);
            }
        });
    }

    /// Starts a standstill of one of three kinds. Does nothing before the first sweep has stored
    /// its cursor, because a real server sweeps when it starts.
    pub(super) fn stop_all_workers_for_hours(&mut self) {
        if at_once(self.memory.cursor()).is_none() {
            return;
        }
        self.knobs.standstills -= 1;
        let time = HOUR + Duration::from_secs(self.dice.below(HOUR.as_secs()));
        let until = self.clock.now() + time;
        match self.dice.below(3) {
            0 if self.paused.get().is_none() && !self.afterwards => self.pause_random_function(time),
            0 | 1 => {
                let dies = self.dice.one_in(2);
                self.add_to_story(format!("all workers are down until {until}; their bodies go on: {}", !dies));
                if dies {
                    self.processes.iter().for_each(|process| process.wire.0.kill());
                    self.replace_dead_workers();
                }
                self.processes.iter_mut().for_each(|process| process.frozen_until = until);
                self.mishaps.freezes += u32::from(!dies);
                self.mishaps.standstills += 1;
                self.mishaps.stood += time;
            }
            _ => {
                self.add_to_story(format!("the queue gives nothing out until {until}"));
                self.queue_until = until;
                self.mishaps.standstills += 1;
                self.mishaps.stood += time;
            }
        }
    }

    /// Refuses all writes of the first worker for a long time. Does nothing before the first sweep
    /// has stored its cursor.
    pub(super) fn deny_storage_to_worker(&mut self) {
        if at_once(self.memory.cursor()).is_none() {
            return;
        }
        self.knobs.denials -= 1;
        let time = HOUR / 2 + Duration::from_secs(self.dice.below(HOUR.as_secs()));
        let until = self.clock.now() + time;
        self.add_to_story(format!("the storage takes nothing from worker 0 until {until}"));
        self.shared.denied_until.store(until.as_millis(), SeqCst);
        self.mishaps.standstills += 1;
        self.mishaps.stood += time;
    }
}
