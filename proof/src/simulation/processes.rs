//! The processes. Each has its own engine, clock and connection to the store. A dead process is
//! restarted.

use std::pin::Pin;
use std::sync::Arc;

use stepladder_core::Timestamp;
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::Backend;
use stepladder_engine::{Engine, RegisteredFunction};
use stepladder_testkit::clock::{SeededEntropy, VirtualClock};
use stepladder_testkit::intercept::InterceptedBackend;

use super::wire::{FaultyStore, FaultyStoreSettings};
use super::{Simulation, functions};

/// A worker's clock. It differs from the true time by some milliseconds.
pub(super) struct SkewedClock {
    pub(super) clock: Arc<VirtualClock>,
    pub(super) by: i64,
}

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.now().as_millis() + self.by)
    }

    fn sleep_until(&self, due: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.clock.sleep_until(Timestamp::from_millis(due.as_millis() - self.by))
    }
}

pub(super) struct SimulatedProcess {
    pub(super) wire: Arc<InterceptedBackend<FaultyStore>>,
    pub(super) engine: Arc<Engine>,
    pub(super) clock: Arc<SkewedClock>,
    pub(super) frozen_until: Timestamp,
}

impl Simulation {
    pub(super) fn process(&mut self, n: usize, clock: Arc<SkewedClock>) -> SimulatedProcess {
        let wire = FaultyStore::new(FaultyStoreSettings {
            memory: self.memory.clone(),
            listings: self.listings.clone(),
            clock: self.clock.clone(),
            shared: self.shared.clone(),
            dice: self.dice.clone(),
            fate: self.fate.clone(),
            every: self.every,
            ahead: clock.by,
            is_first: n == 0,
            latency: self.latency_of(n),
        });
        let wire = Arc::new(InterceptedBackend(wire));
        // The first worker may have an older version of the code.
        let is_old = self.knobs.old > 0 && self.processes.is_empty() && self.knobs.processes > 1;
        let engine = self.engine(wire.clone(), clock.clone(), is_old);
        SimulatedProcess { wire, engine, clock, frozen_until: self.begun }
    }

    fn engine(&mut self, backend: Arc<dyn Backend>, clock: Arc<dyn Clock>, is_old: bool) -> Arc<Engine> {
        self.engines += 1;
        let mut registered: Vec<_> = self.registered.iter().map(|function| self.executors.wrap(function)).collect();
        if is_old {
            let older = |function: &RegisteredFunction| {
                self.older.as_ref().is_some_and(|older| older.spec().id == function.spec().id)
            };
            registered.retain(|function| *function.spec().id != *functions::HELPER && !older(function));
            registered.extend(self.older.clone());
        }
        let entropy = Arc::new(SeededEntropy::new((self.seed << 8).wrapping_add(self.engines)));
        let engine = Engine::with_ports(backend, clock, entropy, registered, self.config.clone());
        Arc::new(engine.expect("functions that can work"))
    }

    /// Runs the supervisor of a process after a freeze, because bodies may have timed out during
    /// the freeze.
    pub(super) fn supervise(&mut self) {
        let now = self.clock.now();
        for n in 0..self.processes.len() {
            if self.processes[n].frozen_until > self.begun && self.processes[n].frozen_until <= now {
                self.processes[n].frozen_until = self.begun;
                let engine = self.processes[n].engine.clone();
                self.scheduler.spawn(n, async move { drop(engine.expel_overdue().await) });
            }
        }
    }

    /// Restarts dead processes with an empty memory.
    pub(super) fn replace_dead_workers(&mut self) {
        for n in 0..self.processes.len() {
            if self.processes[n].wire.0.has_died() {
                self.add_to_story(format!("worker {n} dies"));
                self.mishaps.deaths += 1;
                self.scheduler.kill(n);
                if n < self.workers() {
                    self.requests.borrow_mut().sending = false;
                }
                self.words.borrow_mut().forget_worker(n);
                self.callbacks.borrow_mut().forget_worker(n);
                self.bulk.borrow_mut().forget_process(n);
                let clock = self.processes[n].clock.clone();
                self.processes[n] = self.process(n, clock);
            }
        }
    }
}
