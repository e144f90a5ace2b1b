//! Invariants of a run's executor:
//!
//! - At most one call is open at a time, and calls are numbered.
//! - No step starts while a call is open, but the call may record steps that it has executed.
//! - The journal says once that the executor cannot be reached, and once that it can be again.

use stepladder_core::journal::{Entry, Fact};
use stepladder_core::{StepId, Timestamp};

/// The state of a run's executor, according to the entries read so far.
#[derive(Default)]
pub(super) struct ExecutorProgress {
    /// The number of the latest call.
    calls: u32,
    /// The end of the open call's lease; `None` if no call is open.
    open: Option<Timestamp>,
    /// When the latest call ended with an answer.
    answered_at: Option<Timestamp>,
    is_unreachable: bool,
}

impl ExecutorProgress {
    /// Returns whether a start is part of the answer of a call: the call has executed the step.
    pub(super) fn is_answer(&self, entry: &Entry) -> bool {
        self.open.is_none() && self.answered_at == Some(entry.at)
    }

    /// Applies one entry. `next` is the entry that follows it.
    pub(super) fn apply(&mut self, entry: &Entry, next: Option<&Entry>) -> Result<(), &'static str> {
        match &entry.fact {
            Fact::CallStarted { call, lease_until, .. } => {
                if self.open.is_some() {
                    return Err("the executor was called during a call");
                }
                if *call != self.calls + 1 {
                    return Err("the call is not the next one");
                }
                (self.calls, self.open) = (*call, Some(*lease_until));
            }
            Fact::CallEnded { call, interrupted } => {
                self.answered_at = (!interrupted).then_some(entry.at);
                if self.open.take().is_none() || *call != self.calls {
                    return Err("this call was not open");
                }
            }
            // A checkpoint contains the outcome of a step as well, so nothing starts.
            Fact::StepStarted { step, attempt, .. }
                if self.open.is_some_and(|lease| entry.at < lease) && !has_succeeded(step, *attempt, next) =>
            {
                return Err("a step started during a call");
            }
            Fact::ExecutorUnreachable { .. } if self.is_unreachable => {
                return Err("the executor could not be reached already");
            }
            Fact::ExecutorUnreachable { .. } => self.is_unreachable = true,
            Fact::ExecutorReached if !self.is_unreachable => return Err("the executor could be reached already"),
            Fact::ExecutorReached => self.is_unreachable = false,
            _ => {}
        }
        Ok(())
    }
}

fn has_succeeded(started: &StepId, number: u32, next: Option<&Entry>) -> bool {
    next.is_some_and(|next| match &next.fact {
        Fact::StepSucceeded { step, attempt, .. } => step == started && *attempt == number,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn started(call: u32) -> Fact {
        Fact::CallStarted { call, lease_until: at(100), worker: "w".into() }
    }

    fn ended(call: u32) -> Fact {
        Fact::CallEnded { call, interrupted: false }
    }

    fn step() -> Fact {
        Fact::StepStarted {
            step: "a".into(),
            attempt: 1,
            lease_until: at(100),
            worker: "w".into(),
            at_most_once: false,
        }
    }

    fn succeeded() -> Fact {
        Fact::StepSucceeded {
            step: "a".into(),
            attempt: 1,
            output: stepladder_core::json::null(),
            report: Default::default(),
        }
    }

    fn unreachable() -> Fact {
        Fact::ExecutorUnreachable { why: "out".into() }
    }

    fn first_violation(facts: Vec<(Fact, i64)>) -> Option<&'static str> {
        let mut executor = ExecutorProgress::default();
        let entries: Vec<Entry> = facts.into_iter().map(|(fact, ms)| fact.into_entry(at(ms))).collect();
        (0..entries.len()).find_map(|n| executor.apply(&entries[n], entries.get(n + 1)).err())
    }

    #[test]
    fn calls_one_after_the_other_and_an_outage_are_valid() {
        let calls = vec![(started(1), 1), (ended(1), 2), (step(), 2), (started(2), 2), (step(), 100), (ended(2), 101)];
        assert_eq!(first_violation(calls), None);
        let checkpoint = vec![(started(1), 1), (step(), 2), (succeeded(), 2), (ended(1), 3)];
        assert_eq!(first_violation(checkpoint), None);
        let outages = vec![unreachable(), Fact::ExecutorReached, unreachable()];
        assert_eq!(first_violation(outages.into_iter().map(|fact| (fact, 1)).collect()), None);
    }

    #[test]
    fn each_broken_rule_is_reported() {
        let cases = [
            (vec![(started(1), 1), (started(2), 101)], "the executor was called during a call"),
            (vec![(started(2), 1)], "the call is not the next one"),
            (vec![(ended(1), 1)], "this call was not open"),
            (vec![(started(1), 1), (ended(1), 2), (ended(1), 3)], "this call was not open"),
            (vec![(started(1), 1), (step(), 99)], "a step started during a call"),
            (vec![(unreachable(), 1), (unreachable(), 2)], "the executor could not be reached already"),
            (vec![(Fact::ExecutorReached, 1)], "the executor could be reached already"),
        ];
        for (facts, what) in cases {
            assert_eq!(first_violation(facts), Some(what));
        }
    }
}
