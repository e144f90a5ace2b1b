//! Checks of what flow control guarantees per period (rule 32), after all runs have ended. The
//! guarantees apply to the real start times of runs, even after a standstill.

use std::time::Duration;

use stepladder_core::Timestamp;
use stepladder_core::journal::{Fact, RunOrigin};
use stepladder_sdk::MissedTicks;

use super::Simulation;
use super::controls::{CONTROLLED, EVERY, FlowControlKind, PERIOD};
use super::invariants::{Violation, journal, rows};

/// The tolerated delay between the moment at which a run may start and its start.
const TOLERANCE: Duration = Duration::from_secs(5);
/// How late a tick's run may start before the tick counts as missed.
const MISSED_AFTER: Duration = Duration::from_secs(60);

impl Simulation {
    /// Checks the start times of runs. Skipped after faults, because then a process may have
    /// recorded a start late.
    pub(super) fn check_periods(&self) -> Result<(), Violation> {
        if self.used_faults() + self.mishaps.freezes + self.mishaps.brown_outs > 0 {
            return Ok(());
        }
        match self.controlled.control() {
            Some(FlowControlKind::Throttle | FlowControlKind::Rate) => self.check_spacing(),
            Some(FlowControlKind::Cron(policy)) => self.check_missed_ticks(policy),
            _ => Ok(()),
        }
    }

    /// Returns the largest difference of two clocks.
    fn clock_tolerance(&self) -> Duration {
        Duration::from_millis(2 * self.allowed.skew)
    }

    /// Checks that a throttle starts at most one run per period, with a tolerance for late wakes
    /// and different clocks.
    fn check_spacing(&self) -> Result<(), Violation> {
        let started: Vec<Timestamp> = self.controlled.started();
        let slack = 3 * TOLERANCE + self.clock_tolerance();
        for (n, first) in started.iter().enumerate() {
            for (more, last) in (1..).zip(&started[n + 1..]) {
                let took = last.since(*first);
                if took + slack < PERIOD * more {
                    let which = self.controlled.control();
                    return Err(format!("{} runs started within {took:?}, at {first}, under {which:?}", more + 1));
                }
            }
        }
        Ok(())
    }

    /// Checks that missed ticks follow their policy. A tick that the policy skips must start no
    /// run. If one run stands for all missed ticks, an earlier tick must start none once a later
    /// tick is due.
    fn check_missed_ticks(&self, policy: MissedTicks) -> Result<(), Violation> {
        let most = match policy {
            MissedTicks::Skip => MISSED_AFTER,
            MissedTicks::RunOnce => MISSED_AFTER.max(Duration::from_secs(60 * EVERY.unsigned_abs())),
            MissedTicks::RunAll => return Ok(()),
            other => return Err(format!("the simulation does not check the policy {other:?}")),
        };
        for row in rows(&self.memory).into_iter().filter(|row| *row.function == *CONTROLLED) {
            let entries = journal(&self.memory, row.run);
            let Some(Fact::RunCreated(created)) = entries.first().map(|entry| &entry.fact) else { continue };
            // An admitted run counts as started, even if its worker died right after the admission.
            let starts = |fact: &Fact| matches!(fact, Fact::RunAdmitted) || fact.is_requested_by_handler();
            let Some(start) = entries.iter().find(|entry| starts(&entry.fact)) else { continue };
            if created.origin == RunOrigin::Cron && start.at.since(created.event.ts) > most + self.clock_tolerance() {
                let tick = created.event.ts;
                return Err(format!("the tick of {tick} was missed, and started at {} under {policy:?}", start.at));
            }
        }
        Ok(())
    }
}
