//! What a function promises for each period of time (rule 32), looked at when all has ended: it holds of the times at which
//! runs really started, whatever stood still before.

use std::time::Duration;

use stepladder_core::Timestamp;
use stepladder_core::journal::{Fact, Origin};
use stepladder_sdk::MissedTicks;

use super::Simulation;
use super::controls::{CONTROLLED, Control, EVERY, PERIOD};
use super::invariants::{Broken, journal, rows};

/// A run counts as started in time this long after its moment.
const TOLERANCE: Duration = Duration::from_secs(5);
/// A tick that has not started this long after its time is missed.
const MISSED_AFTER: Duration = Duration::from_secs(60);

impl Simulation {
    /// Looked at where each process that let a run go could write its start down at once.
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

    /// By how much the clocks of two processes differ at most.
    fn clocks(&self) -> Duration {
        Duration::from_millis(2 * self.allowed.skew)
    }

    /// Of a throttle of one a period, no more start in a time than fit into it: but for how late a wake may be, by clocks
    /// that differ.
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

    /// What was missed starts no run where missed ticks are skipped; where one run stands for them, it starts none when the
    /// time of a later one has come.
    fn missed_ticks_follow(&self, policy: MissedTicks) -> Result<(), Broken> {
        let most = match policy {
            MissedTicks::Skip => MISSED_AFTER,
            MissedTicks::RunOnce => MISSED_AFTER.max(Duration::from_secs(60 * EVERY.unsigned_abs())),
            MissedTicks::RunAll => return Ok(()),
        };
        for row in rows(&self.memory).into_iter().filter(|row| *row.function == *CONTROLLED) {
            let entries = journal(&self.memory, row.run);
            let Some(Fact::RunCreated(created)) = entries.first().map(|entry| &entry.fact) else { continue };
            // one that was let go just before its worker died is counted as started then
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
