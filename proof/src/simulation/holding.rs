//! Compares the holders of slots with the bodies that execute, according to the bodies' own log and
//! to the journal.

use std::collections::HashMap;
use std::sync::Arc;

use stepladder_core::slot::{Holder, Limit};
use stepladder_core::spec::LazyExprScope;
use stepladder_core::state::{RunState, StepState};
use stepladder_core::{OwnStep, RunId, StepId, Timestamp};
use stepladder_engine::RegisteredFunction;
use stepladder_engine::ports::{Journals, Listings, SlotOperations};
use stepladder_testkit::memory::Memory;

use super::account::ExecutionLog;
use super::invariants::{Violation, at_once};

/// The checks of slots and their holders.
pub(crate) struct SlotChecks {
    memory: Arc<Memory>,
    registered: Vec<RegisteredFunction>,
    /// The limits of each known run.
    limits: HashMap<RunId, Vec<Limit>>,
    /// Slots of a holder without an executing body, and the time since when.
    unused: HashMap<(Arc<str>, Holder), Timestamp>,
}

impl SlotChecks {
    pub(crate) fn new(memory: Arc<Memory>, registered: Vec<RegisteredFunction>) -> Self {
        Self { memory, registered, limits: HashMap::new(), unused: HashMap::new() }
    }

    /// Checks that each body with a live lease holds a slot of each of its limits (rule 20). Called
    /// after each action.
    ///
    /// `now` is the true time. `skew` is the largest difference between two clocks: a live lease
    /// may have expired by a fast clock.
    pub(crate) fn check(
        &mut self,
        account: &ExecutionLog,
        limits: &[Limit],
        now: Timestamp,
        skew: std::time::Duration,
    ) -> Result<(), Violation> {
        for (run, step) in account.executing() {
            for limit in self.limits_of(run) {
                let held = at_once(self.memory.holders(&limit.key));
                // A body of a call uses the call's slot.
                let call = OwnStep::Call.id();
                let is_its = |holder: &Holder| holder.is_of_step(run, &step) || holder.is_of_step(run, &call);
                if held.iter().any(|holding| is_its(&holding.holder)) {
                    continue;
                }
                if let Some((attempt, lease)) =
                    self.running_attempt(run, &step).filter(|(_, lease)| *lease > now + skew)
                {
                    return Err(format!(
                        "attempt {attempt} of `{step}` of {run} executes until {lease} at the latest, at {now}, without a \
                         slot of `{}`: {held:?}",
                        limit.key
                    ));
                }
            }
        }
        self.note_unused(account, limits, now);
        Ok(())
    }

    /// Returns the slot that has been held for the longest time without an executing body.
    pub(crate) fn longest_unused(&self, now: Timestamp) -> Option<(std::time::Duration, &Arc<str>, &Holder)> {
        let unused = self.unused.iter().map(|((key, holder), since)| (now.since(*since), key, holder));
        unused.max_by_key(|(time, _, _)| *time)
    }

    /// Records the unused slots. A slot is unused if its body is not executing, and its attempt is
    /// not running or its run has ended.
    fn note_unused(&mut self, account: &ExecutionLog, limits: &[Limit], now: Timestamp) {
        let mut unused = HashMap::new();
        for limit in limits {
            for holding in at_once(self.memory.holders(&limit.key)) {
                let Holder::Attempt { run, step, attempt, .. } = &holding.holder else { continue };
                let is_over = holding.lease_until <= now;
                if is_over || account.executes(*run, step) || self.is_running(*run, step, *attempt) {
                    continue;
                }
                let key = (limit.key.clone(), holding.holder);
                let since = self.unused.get(&key).copied().unwrap_or(now);
                unused.insert(key, since);
            }
        }
        self.unused = unused;
    }

    fn is_running(&self, run: RunId, step: &StepId, attempt: u32) -> bool {
        let has_ended = RunState::fold(run, &at_once(self.memory.read(run, 0))).is_ok_and(|state| state.end.is_some());
        !has_ended && self.running_attempt(run, step).is_some_and(|(running, _)| running == attempt)
    }

    /// Returns the running attempt of a step according to the journal, and its lease. During a
    /// call, this is the call.
    fn running_attempt(&self, run: RunId, step: &StepId) -> Option<(u32, Timestamp)> {
        let state = RunState::fold(run, &at_once(self.memory.read(run, 0))).ok()?;
        if let Some(call) = &state.call {
            return Some((call.number, call.lease_until));
        }
        let step = state.steps.get(step)?;
        match step.state {
            StepState::Running { lease_until, .. } => Some((step.attempt, lease_until)),
            _ => None,
        }
    }

    fn limits_of(&mut self, run: RunId) -> Vec<Limit> {
        if let Some(known) = self.limits.get(&run) {
            return known.clone();
        }
        let limits = self.find_limits(run).unwrap_or_default();
        self.limits.insert(run, limits.clone());
        limits
    }

    fn find_limits(&self, run: RunId) -> Option<Vec<Limit>> {
        let row = at_once(self.memory.row(run))?;
        let function = self.registered.iter().find(|function| *function.spec().id == *row.function)?;
        let state = RunState::fold(run, &at_once(self.memory.read(run, 0))).ok()?;
        function.spec().limits(&mut LazyExprScope::new(&state.created.event)).ok()
    }
}
