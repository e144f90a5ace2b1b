//! What holds at every moment, looked at after every action, and what holds at the end.

use std::collections::HashMap;
use std::time::Duration;

use futures::FutureExt;
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::slot::Limit;
use stepladder_core::{RunId, RunRow, StepId, Timestamp};
use stepladder_engine::memory::Memory;
use stepladder_engine::ports::{Journals, Listings, RunQuery, Shown, Slots};

use crate::support::script::Executed;

/// What must not be, in a sentence.
pub(crate) type Broken = String;

/// Looks at the storage itself, and at the bodies.
pub(crate) struct Invariants {
    /// How much a lease may be shorter than it says, because clocks differ.
    pub(crate) skew: Duration,
    pub(crate) limit: Option<Limit>,
    pub(crate) executed: Vec<Executed>,
    /// How often a body had been executed when its outcome was written.
    memoized: HashMap<(RunId, StepId), u32>,
    appends: u64,
}

/// The journal of a run, as it is.
pub(crate) fn journal(memory: &Memory, run: RunId) -> Vec<Entry> {
    let records = memory.read(run, 0).now_or_never().expect("memory answers at once").expect("memory answers");
    records.into_iter().flat_map(|record| record.entries).collect()
}

/// All runs.
pub(crate) fn rows(memory: &Memory) -> Vec<RunRow> {
    let query = RunQuery { function: None, shown: Shown::All, before: None, limit: usize::MAX };
    memory.runs(query).now_or_never().expect("memory answers at once").expect("memory answers")
}

impl Invariants {
    pub(crate) fn new(limit: Option<Limit>, executed: Vec<Executed>, skew: Duration) -> Self {
        Self { skew, limit, executed, memoized: HashMap::new(), appends: 0 }
    }

    /// After an action, at the true time.
    pub(crate) fn check(&mut self, memory: &Memory, now: Timestamp) -> Result<(), Broken> {
        self.no_more_holders_than_slots(memory)?;
        self.no_body_under_two_live_leases(memory, now)?;
        let appends = memory.counts().appends;
        if appends != self.appends {
            self.appends = appends;
            self.one_outcome_a_step(memory)?;
            self.no_execution_without_a_start(memory)?;
        }
        self.nothing_memoized_is_executed()
    }

    fn no_more_holders_than_slots(&self, memory: &Memory) -> Result<(), Broken> {
        let Some(limit) = &self.limit else { return Ok(()) };
        let holders = memory.holders(limit).now_or_never().expect("memory answers at once").expect("memory answers");
        match holders.len() <= limit.slots as usize {
            true => Ok(()),
            false => Err(format!("{} hold one of {} slots: {holders:?}", holders.len(), limit.slots)),
        }
    }

    fn no_body_under_two_live_leases(&self, memory: &Memory, now: Timestamp) -> Result<(), Broken> {
        for executed in &self.executed {
            let mut bodies = executed.now();
            bodies.sort();
            for two in bodies.windows(2).filter(|two| two[0] == two[1]) {
                let (run, step) = &two[0];
                let mut leases: Vec<Timestamp> = Vec::new();
                for entry in journal(memory, *run) {
                    if let Fact::StepStarted { step: started, lease_until, .. } = entry.fact
                        && started == *step
                    {
                        leases.push(lease_until);
                    }
                }
                // of all but the latest attempt; its own is alive, as it should be
                leases.pop();
                if leases.last().is_none_or(|before| *before > now + self.skew) {
                    return Err(format!(
                        "{step} of {run} is executed twice at once, at {now}; leases before: {leases:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn one_outcome_a_step(&mut self, memory: &Memory) -> Result<(), Broken> {
        for row in rows(memory) {
            let mut outcomes: HashMap<StepId, u32> = HashMap::new();
            for entry in journal(memory, row.run) {
                if let Fact::StepSucceeded { step, .. } | Fact::StepFailed { step, retry_at: None, .. } = entry.fact {
                    let executions = self.executions(row.run, &step);
                    self.memoized.entry((row.run, step.clone())).or_insert(executions);
                    *outcomes.entry(step).or_default() += 1;
                }
            }
            if let Some((step, n)) = outcomes.iter().find(|(_, n)| **n > 1) {
                return Err(format!("{step} of {} has {n} outcomes", row.run));
            }
        }
        Ok(())
    }

    fn no_execution_without_a_start(&self, memory: &Memory) -> Result<(), Broken> {
        for row in rows(memory) {
            let mut starts: HashMap<StepId, u32> = HashMap::new();
            for entry in journal(memory, row.run) {
                if let Fact::StepStarted { step, .. } = entry.fact {
                    *starts.entry(step).or_default() += 1;
                }
            }
            for executed in &self.executed {
                for ((run, step), n) in executed.by_run() {
                    if run == row.run && n > starts.get(&step).copied().unwrap_or(0) {
                        return Err(format!("{step} of {run} was executed {n} times, more often than it was started"));
                    }
                }
            }
        }
        Ok(())
    }

    fn nothing_memoized_is_executed(&self) -> Result<(), Broken> {
        for ((run, step), before) in &self.memoized {
            let now = self.executions(*run, step);
            if now > *before {
                return Err(format!("{step} of {run} was executed again after its outcome was written"));
            }
        }
        Ok(())
    }

    fn executions(&self, run: RunId, step: &StepId) -> u32 {
        let key = (run, step.clone());
        self.executed.iter().filter_map(|executed| executed.by_run().get(&key).copied()).sum()
    }
}
