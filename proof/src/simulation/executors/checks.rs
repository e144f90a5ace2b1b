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
        for run in self.executors.calls().into_iter().filter(|run| !seen.insert(*run)) {
            let leases = journal(&self.memory, run).into_iter().filter_map(|entry| match entry.fact {
                Fact::CallStarted { lease_until, .. } => Some(lease_until),
                _ => None,
            });
            let mut leases: Vec<Timestamp> = leases.collect();
            // Only the latest call may still have a live lease.
            leases.pop();
            let skew = std::time::Duration::from_millis(2 * self.allowed.skew);
            if leases.last().is_none_or(|before| *before > now + skew) {
                return Err(format!(
                    "the executor of {run} is called twice at once, at {now}; leases before: {leases:?}"
                ));
            }
        }
        Ok(())
    }
}
