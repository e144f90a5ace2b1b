//! Checks of calls: those that execute steps while an executor is polled.

use std::collections::HashSet;

use stepladder_core::Timestamp;
use stepladder_core::journal::Fact;

use crate::simulation::Simulation;
use crate::simulation::invariants::{Violation, journal};

impl Simulation {
    /// Checks that no two calls of a run are live at the same time. Called after each action.
    pub(in crate::simulation) fn check_executors(&self, now: Timestamp) -> Result<(), Violation> {
        if let Some(violation) = self.executors.take_violation() {
            return Err(violation);
        }
        let mut seen = HashSet::new();
        for run in self.executors.calls(now).into_iter().filter(|run| !seen.insert(*run)) {
            // A call that has ended in the journal is over. The others were interrupted, or are
            // live.
            let mut unfinished: Vec<(u32, Timestamp)> = Vec::new();
            for entry in journal(&self.memory, run) {
                match entry.fact {
                    Fact::CallStarted { call, lease_until, .. } => unfinished.push((call, lease_until)),
                    Fact::CallEnded { call, interrupted: false } => unfinished.retain(|(number, _)| *number != call),
                    _ => {}
                }
            }
            // Only the latest of them may still have a live lease. A frozen worker may not have
            // noticed the end of its own.
            unfinished.pop();
            let skew = std::time::Duration::from_millis(2 * self.allowed.skew);
            if unfinished.is_empty() || unfinished.iter().any(|(_, lease_until)| *lease_until > now + skew) {
                return Err(format!(
                    "the executor of {run} is called twice at once, at {now}; unfinished calls: {unfinished:?}"
                ));
            }
        }
        Ok(())
    }
}
