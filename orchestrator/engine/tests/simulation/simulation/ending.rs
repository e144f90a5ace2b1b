//! What must hold once every run has ended.

use std::time::Duration;

use futures::FutureExt;
use stepladder_core::journal::Fact;
use stepladder_core::{NewEvent, Status, json};
use stepladder_engine::ports::Slots;

use super::Simulation;
use crate::invariants::{Broken, journal, rows};

impl Simulation {
    /// How long it may take: what nobody can shorten, some for retries, and for each fault and each freeze the longest that
    /// a lost wake or slot takes. A run that only its watchdog brought back comes an hour later.
    fn patience(&self) -> Duration {
        let slept = rows(&self.world.memory).into_iter().map(|row| {
            let sleeps = journal(&self.world.memory, row.run).into_iter().filter_map(|entry| match entry.fact {
                Fact::SleepStarted { until, .. } => Some(until.since(entry.at)),
                _ => None,
            });
            sleeps.sum::<Duration>()
        });
        let once = Duration::from_secs(310);
        let faults =
            self.allowed.faults as u32 * once + self.allowed.freezes as u32 * (once + Duration::from_secs(400));
        slept.max().unwrap_or_default() + Duration::from_secs(700) + faults
    }

    /// Attempts that were given up for lost.
    fn interruptions(&self) -> usize {
        let of = |run| journal(&self.world.memory, run).into_iter();
        let entries = rows(&self.world.memory).into_iter().flat_map(|row| of(row.run));
        entries.filter(|entry| matches!(entry.fact, Fact::AttemptInterrupted { .. })).count()
    }

    /// What must hold once every run has ended.
    pub(super) fn at_the_end(&mut self) -> Result<(), Broken> {
        let memory = self.world.memory.clone();
        let (took, patience) = (self.now().since(self.begun), self.patience());
        if took > patience {
            return Err(format!("it took {took:?}, and should have taken at most {patience:?}"));
        }
        if self.deaths + self.allowed.freezes == 0 && self.interruptions() > 0 {
            return Err("an attempt lost its worker, though none died or stood still".into());
        }
        let onlooker = self.world.engine_on(memory.clone());
        let runs = rows(&memory);
        let of_main = runs.iter().filter(|row| &*row.function == "main").count() as u64;
        if of_main != self.knobs.events {
            return Err(format!("{} events started {of_main} runs", self.knobs.events));
        }
        for row in &runs {
            let run = now(onlooker.run(row.run)).map_err(|e| e.to_string())?;
            let called = run.summary.error.as_ref().is_some_and(|error| error.code.as_deref() == Some("cancelled"));
            match run.summary.status {
                Status::Completed | Status::Cancelled => {}
                _ if called => {}
                other => return Err(format!("{} ended as {other:?}: {:?}", row.run, run.summary.error)),
            }
        }
        // once the dead have been buried, whoever comes gets through, and leaves an empty line
        self.world.clock.advance(Duration::from_secs(7_200));
        let last = NewEvent::new("go", json::empty_object());
        let event = block_on(onlooker.ingest(vec![last], None)).map_err(|e| e.to_string())?[0];
        block_on(self.world.settle_within(&onlooker, self.patience() + Duration::from_secs(3_600)));
        let status = block_on(self.world.status(&onlooker, event));
        match now(memory.line(&self.limit, 9)) {
            _ if status != Status::Completed => Err(format!("who came last is {status:?}")),
            Ok(line) if line.is_empty() => Ok(()),
            other => Err(format!("they wait for ever: {other:?}")),
        }
    }
}

/// A future that nothing holds up.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().unwrap_or_else(|| panic!("it waits for something"))
}

/// A future that waits for nothing but its own turn.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(future)
}
