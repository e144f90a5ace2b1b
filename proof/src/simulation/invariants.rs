//! Invariants that are checked after every action.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::slot::{HeldSlot, Limit, Ticket};
use stepladder_core::{RunId, RunRow, StepId, Timestamp};
use stepladder_engine::RegisteredFunction;
use stepladder_engine::ports::{Journals, Listings, RunQuery, SlotOperations};
use stepladder_testkit::memory::Memory;

use super::account::{BodyId, ExecutionLog};
use super::holding::SlotChecks;

/// A violation, as a sentence.
pub(crate) type Violation = String;

/// The checks of the invariants, against the store and the log of executed bodies.
pub(crate) struct InvariantChecks {
    memory: Arc<Memory>,
    account: ExecutionLog,
    /// The largest difference between two clocks. A lease may expire earlier by this time.
    skew: Duration,
    lines: Vec<LimitSnapshot>,
    pub(crate) holdings: SlotChecks,
    /// How often each body had been executed when its outcome was recorded.
    memoized: HashMap<BodyId, u32>,
}

/// The slots and tickets of a limit at the last check.
struct LimitSnapshot {
    limit: Limit,
    places: Vec<Ticket>,
    held: Vec<HeldSlot>,
    /// The time since when a slot has been free although a ticket could use it.
    idle_since: Option<Timestamp>,
}

/// Reads the journal of a run.
pub(crate) fn journal(memory: &Memory, run: RunId) -> Vec<Entry> {
    let records = at_once(memory.read(run, 0));
    records.into_iter().flat_map(|record| record.entries).collect()
}

/// Reads the rows of all runs.
pub(crate) fn rows(memory: &Memory) -> Vec<RunRow> {
    at_once(memory.runs(RunQuery { limit: usize::MAX, ..RunQuery::default() }))
}

/// Returns the result of a call of the store in memory, which completes at its first poll.
pub(crate) fn at_once<T, E: std::fmt::Debug>(answer: impl Future<Output = Result<T, E>>) -> T {
    answer.now_or_never().expect("memory answers at once").expect("memory answers")
}

impl InvariantChecks {
    pub(crate) fn new(
        memory: Arc<Memory>,
        account: ExecutionLog,
        limits: &[Limit],
        registered: &[RegisteredFunction],
        skew: Duration,
    ) -> Self {
        let holdings = SlotChecks::new(memory.clone(), registered.to_vec());
        let line =
            |limit: &Limit| LimitSnapshot { limit: limit.clone(), places: vec![], held: vec![], idle_since: None };
        Self { memory, account, skew, lines: limits.iter().map(line).collect(), holdings, memoized: HashMap::new() }
    }

    /// Checks all invariants. `now` is the true time, without any worker's clock skew. `touched`
    /// lists the runs with new entries.
    pub(crate) fn check(&mut self, now: Timestamp, touched: Vec<RunId>) -> Result<(), Violation> {
        for run in touched.into_iter().collect::<HashSet<_>>() {
            self.check_run(run)?;
        }
        self.check_leases(now)?;
        let limits: Vec<Limit> = self.limits().cloned().collect();
        self.holdings.check(&self.account, &limits, now, self.skew)?;
        let (memory, skew) = (self.memory.clone(), self.skew);
        self.lines.iter_mut().try_for_each(|line| line.observe(&memory, now, skew))?;
        self.note_idle(now);
        Ok(())
    }

    /// Records idle slots. A slot is idle if it is free and a ticket could acquire it: the ticket
    /// is among the first, and no other limit stops its run.
    fn note_idle(&mut self, now: Timestamp) {
        let free = |line: &LimitSnapshot| {
            let alive = line.held.iter().filter(|holding| holding.lease_until > now).count();
            (line.limit.slots as usize).saturating_sub(alive)
        };
        let may_take = |run: RunId| {
            self.lines.iter().all(|line| match line.places.iter().position(|place| place.run == run) {
                Some(ahead) => ahead < free(line),
                // The run has no ticket at this limit, so the limit does not stop it.
                None => true,
            })
        };
        let is_idle = |line: &LimitSnapshot| line.places.iter().take(free(line)).any(|place| may_take(place.run));
        let idle: Vec<bool> = self.lines.iter().map(is_idle).collect();
        for (line, is_idle) in self.lines.iter_mut().zip(idle) {
            line.idle_since = line.idle_since.or(Some(now)).filter(|_| is_idle);
        }
    }

    /// Resets the times of idle slots, because the clock was moved while no run waited.
    pub(crate) fn forget_idle(&mut self) {
        self.lines.iter_mut().for_each(|line| line.idle_since = None);
    }

    /// Returns the limit with the slot that has been idle for the longest time, and that time.
    pub(crate) fn longest_idle(&self, now: Timestamp) -> Option<(Duration, &Limit)> {
        let idle = self.lines.iter().filter_map(|line| Some((now.since(line.idle_since?), &line.limit)));
        idle.max_by_key(|(time, _)| *time)
    }

    /// Returns how often a body was executed.
    pub(crate) fn executions(&self, body: &BodyId) -> u32 {
        self.account.executions(body)
    }

    /// Returns all limits.
    pub(crate) fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.lines.iter().map(|line| &line.limit)
    }

    /// Checks a run: each step has at most one outcome, no body executes before its start is
    /// recorded, and none executes after its outcome is recorded.
    fn check_run(&mut self, run: RunId) -> Result<(), Violation> {
        let mut outcomes: HashMap<StepId, u32> = HashMap::new();
        let mut starts: HashMap<StepId, u32> = HashMap::new();
        for entry in journal(&self.memory, run) {
            match entry.fact {
                Fact::StepSucceeded { step, .. } | Fact::StepFailed { step, retry_at: None, .. } => {
                    let body = (run, step.clone());
                    let executions = self.account.executions(&body);
                    self.memoized.entry(body).or_insert(executions);
                    *outcomes.entry(step).or_default() += 1;
                }
                Fact::StepStarted { step, .. } => *starts.entry(step).or_default() += 1,
                _ => {}
            }
        }
        if let Some((step, n)) = outcomes.iter().find(|(_, n)| **n > 1) {
            return Err(format!("`{step}` of {run} has {n} outcomes"));
        }
        for (step, executions) in self.account.of_run(run) {
            if executions > starts.get(&step).copied().unwrap_or(0) {
                return Err(format!(
                    "`{step}` of {run} was executed {executions} times, more often than it was started"
                ));
            }
            let memoized = self.memoized.get(&(run, step.clone()));
            if memoized.is_some_and(|before| executions > *before) {
                return Err(format!("`{step}` of {run} was executed again after its outcome was written"));
            }
        }
        Ok(())
    }

    fn check_leases(&self, now: Timestamp) -> Result<(), Violation> {
        for (run, step) in self.account.executing_twice() {
            let leases = journal(&self.memory, run).into_iter().filter_map(|entry| match entry.fact {
                Fact::StepStarted { step: started, lease_until, .. } if started == step => Some(lease_until),
                _ => None,
            });
            let mut leases: Vec<Timestamp> = leases.collect();
            // Only the latest attempt may still have a live lease.
            leases.pop();
            if leases.last().is_none_or(|before| *before > now + self.skew) {
                return Err(format!(
                    "`{step}` of {run} is executed twice at once, at {now}; leases before: {leases:?}"
                ));
            }
        }
        Ok(())
    }
}

impl LimitSnapshot {
    fn observe(&mut self, memory: &Memory, now: Timestamp, skew: Duration) -> Result<(), Violation> {
        let held = at_once(memory.holders(&self.limit.key));
        let places = at_once(memory.first_tickets(&self.limit.key, usize::MAX));
        let slots = self.limit.slots as usize;
        if held.len() > slots {
            return Err(format!("{} hold one of {slots} slots of `{}`: {held:?}", held.len(), self.limit.key));
        }
        self.in_order(&held, now, skew)?;
        (self.held, self.places) = (held, places);
        Ok(())
    }

    /// Checks that each new holder had one of the first tickets, or that no ticket was waiting.
    fn in_order(&self, held: &[HeldSlot], now: Timestamp, skew: Duration) -> Result<(), Violation> {
        // A lease that is live by the true time may have expired by a fast clock.
        let alive = self.held.iter().filter(|before| before.lease_until > now + skew).count();
        let free = (self.limit.slots as usize).saturating_sub(alive);
        for new in held.iter().filter(|new| self.held.iter().all(|before| before.holder != new.holder)) {
            let own = self.places.iter().position(|ticket| new.holder.may_use(ticket));
            let ahead = own.unwrap_or(self.places.len());
            if ahead >= free && !self.places.is_empty() {
                return Err(format!(
                    "{:?} took one of {free} free slots of `{}`, {ahead} stood before it in {:?}",
                    new.holder, self.limit.key, self.places
                ));
            }
        }
        Ok(())
    }
}
