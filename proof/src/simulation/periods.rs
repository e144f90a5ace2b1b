//! Checks of what flow control promises per period (rule 32), after all runs have ended. The
//! promises apply to the real start times of runs, even after a standstill.

use std::time::Duration;

use stepladder_core::Timestamp;
use stepladder_core::journal::{Fact, Origin};
use stepladder_sdk::MissedTicks;

use super::Simulation;
use super::controls::{CONTROLLED, Control, EVERY, PERIOD};
use super::invariants::{Broken, journal, rows};

/// How late a run may start.
const TOLERANCE: Duration = Duration::from_secs(5);
/// How late a tick may start before it counts as missed.
const MISSED_AFTER: Duration = Duration::from_secs(60);

impl Simulation {
    /// Checks the start times, if each process could record its starts at once.
    pub(super) fn starts_keep_their_periods(&self) -> Result<(), Broken> {
        if self.used_faults() + self.mishaps.freezes + self.mishaps.brown_outs > 0 {
            return Ok(());
        }
        match self.controlled.control() {
            Some(Control::Throttle | Control::Rate) => self.starts_are_spaced(),
            Some(Control::Cron(policy)) => self.missed_ticks_follow(policy),
            _ => Ok(()),
        }
    }

    /// Returns the largest difference of two clocks.
    fn clocks(&self) -> Duration {
        Duration::from_millis(2 * self.allowed.skew)
    }

    /// Checks that a throttle starts at most one run per period, with a tolerance for late wakes
    /// and different clocks.
    fn starts_are_spaced(&self) -> Result<(), Broken> {
        let started: Vec<Timestamp> = self.controlled.started();
        let slack = 3 * TOLERANCE + self.clocks();
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

    /// Checks that missed ticks follow their policy. Skipped ticks start no run. If one run stands
    /// for all missed ticks, an earlier tick starts none once a later tick is due.
    fn missed_ticks_follow(&self, policy: MissedTicks) -> Result<(), Broken> {
        let most = match policy {
            MissedTicks::Skip => MISSED_AFTER,
            MissedTicks::RunOnce => MISSED_AFTER.max(Duration::from_secs(60 * EVERY.unsigned_abs())),
            MissedTicks::RunAll => return Ok(()),
            other => return Err(format!("the simulation does not check the policy {other:?}")),
        };
        for row in rows(&self.memory).into_iter().filter(|row| *row.function == *CONTROLLED) {
            let entries = journal(&self.memory, row.run);
            let Some(Fact::RunCreated(created)) = entries.first().map(|entry| &entry.fact) else { continue };
            // A run counts as started when it is admitted, even if its worker died right after
            // that.
            let starts = |fact: &Fact| matches!(fact, Fact::RunAdmitted) || fact.is_requested_by_handler();
            let Some(start) = entries.iter().find(|entry| starts(&entry.fact)) else { continue };
            if created.origin == Origin::Cron && start.at.since(created.event.ts) > most + self.clocks() {
                let tick = created.event.ts;
                return Err(format!("the tick of {tick} was missed, and started at {} under {policy:?}", start.at));
            }
        }
        Ok(())
    }
}
