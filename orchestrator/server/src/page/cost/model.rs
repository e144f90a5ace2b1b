//! The model of `infra/COST.md`, applied to a journal.

use std::collections::HashMap;
use std::ops::AddAssign;
use std::time::Duration;

use stepladder_core::journal::Fact;
use stepladder_core::{StepId, Timestamp, Usage};
use stepladder_engine::RunLook;

/// List prices of us-east-1, in nanodollars: see `infra/COST.md` for what they are of and from when.
const WRU: u64 = 625;
const RRU: u64 = 125;
const SQS: u64 = 400;
const INVOCATION: u64 = 200;
/// Of a GB-second on arm64, in thousandths of a nanodollar.
const GB_SECOND: u128 = 13_333_400;
/// The memory that compute is priced with, in thousandths of a GB: a quarter, as in the examples there.
const MEMORY: u128 = 250;
/// A sleep of up to so long goes through the queue, a longer one through a timer.
const QUEUE_DELAY: Duration = Duration::from_secs(900);
/// Bytes of a write unit.
const UNIT: usize = 1_024;

/// Requests, execution, and what was saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::page) struct Cost {
    pub(in crate::page) wru: u64,
    pub(in crate::page) rru: u64,
    pub(in crate::page) sqs: u64,
    pub(in crate::page) invocations: u64,
    /// What bodies took, failed attempts included.
    pub(in crate::page) executed: Duration,
    /// Finished steps that a further attempt of anything in the run did not repeat; each counts at each such attempt.
    pub(in crate::page) saved_steps: u64,
    /// What those took when they ran.
    pub(in crate::page) saved_time: Duration,
    /// Tokens of models that they did not use again.
    pub(in crate::page) saved_tokens: u64,
    pub(in crate::page) input_tokens: u64,
    pub(in crate::page) output_tokens: u64,
    /// Millionths of a dollar, of what has a price.
    pub(in crate::page) ai_microdollars: u64,
    /// Whether something was used whose price is not known.
    pub(in crate::page) unpriced: bool,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.wru += other.wru;
        self.rru += other.rru;
        self.sqs += other.sqs;
        self.invocations += other.invocations;
        self.executed += other.executed;
        self.saved_steps += other.saved_steps;
        self.saved_time += other.saved_time;
        self.saved_tokens = self.saved_tokens.saturating_add(other.saved_tokens);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.ai_microdollars = self.ai_microdollars.saturating_add(other.ai_microdollars);
        self.unpriced |= other.unpriced;
    }
}

impl Cost {
    /// Of a run, whose function has so many limits.
    pub(in crate::page) fn of(look: &RunLook, limits: usize) -> Self {
        let limits = limits as u64;
        // a run's start, and its event's way through the events queue
        let mut cost = Self { wru: 11, sqs: 3, invocations: 1, ..Self::default() };
        // its places on arrival, and leaving them
        cost.wru += 7 * limits;
        cost.rru += 2 * limits;
        let mut started: HashMap<StepId, Timestamp> = HashMap::new();
        let mut finished: Duration = Duration::ZERO;
        let (mut steps, mut finished_tokens) = (0, 0_u64);
        for (_, entry) in &look.entries {
            let mut again = false;
            let used = entry.fact.report().map_or(0, |report| cost.pay(&report.usage));
            if matches!(entry.fact, Fact::StepSucceeded { .. }) {
                finished_tokens = finished_tokens.saturating_add(used);
            }
            match &entry.fact {
                Fact::StepStarted { step, attempt, .. } => {
                    cost.hop();
                    cost.wru += 1 + 2 * limits;
                    cost.rru += 5 * limits;
                    started.insert(step.clone(), entry.at);
                    again = *attempt > 1;
                }
                Fact::StepSucceeded { step, output, .. } => {
                    cost.wru += units(output.get().len());
                    let took = started.remove(step).map_or(Duration::ZERO, |at| entry.at.since(at));
                    cost.executed += took;
                    finished += took;
                    steps += 1;
                }
                Fact::StepFailed { step, error, .. } => {
                    cost.wru += units(error.message.len());
                    cost.executed += started.remove(step).map_or(Duration::ZERO, |at| entry.at.since(at));
                }
                Fact::AttemptInterrupted { step, .. } | Fact::StepAbandoned { step, .. } => {
                    cost.wru += 1;
                    cost.executed += started.remove(step).map_or(Duration::ZERO, |at| entry.at.since(at));
                }
                Fact::HandlerFailed { .. } => {
                    cost.wru += 1;
                    again = true;
                }
                Fact::SleepStarted { until, .. } => {
                    cost.wru += if until.since(entry.at) > QUEUE_DELAY { 2 } else { 1 };
                }
                Fact::EventAwaited { .. } => cost.wru += 4,
                Fact::SignalAwaited { .. } => cost.wru += 2,
                Fact::SleepEnded { .. }
                | Fact::WaitExpired { .. }
                | Fact::EventEntered { .. }
                | Fact::SignalReceived { .. }
                | Fact::InvokeEnded { .. } => {
                    cost.hop();
                    cost.wru += 1;
                }
                Fact::StepRefused { .. }
                | Fact::StepsWoken { .. }
                | Fact::EventsSent { .. }
                | Fact::EventJoined { .. }
                | Fact::RunDelayed { .. }
                | Fact::Hastened { .. }
                | Fact::InvokeStarted { .. } => cost.wru += 1,
                Fact::StepCarried { .. }
                | Fact::RunCreated(_)
                | Fact::RunBegun
                | Fact::RunAdmitted
                | Fact::VersionTaken { .. }
                | Fact::Logged { .. } => {}
                Fact::RunCompleted { .. }
                | Fact::RunFailed { .. }
                | Fact::RunCancelled { .. }
                | Fact::RunSkipped { .. } => cost.wru += 3,
            }
            if again {
                cost.saved_steps += steps;
                cost.saved_time += finished;
                cost.saved_tokens = cost.saved_tokens.saturating_add(finished_tokens);
            }
        }
        cost
    }

    /// What was used of models; how many tokens that were.
    fn pay(&mut self, usage: &[Usage]) -> u64 {
        let mut tokens = 0_u64;
        for used in usage {
            self.input_tokens = self.input_tokens.saturating_add(used.input_tokens);
            self.output_tokens = self.output_tokens.saturating_add(used.output_tokens);
            self.ai_microdollars = self.ai_microdollars.saturating_add(used.micro_dollars.unwrap_or(0));
            self.unpriced |= used.micro_dollars.is_none();
            tokens = tokens.saturating_add(used.input_tokens).saturating_add(used.output_tokens);
        }
        tokens
    }

    /// An invocation, the three requests of its wake, and its look at the journal.
    fn hop(&mut self) {
        self.invocations += 1;
        self.sqs += 3;
        self.rru += 1;
    }

    pub(in crate::page) fn requests_nanodollars(&self) -> u64 {
        self.wru * WRU + self.rru * RRU + self.sqs * SQS + self.invocations * INVOCATION
    }

    pub(in crate::page) fn compute_nanodollars(&self) -> u64 {
        let thousandths = self.executed.as_millis() * GB_SECOND * MEMORY / 1_000 / 1_000;
        u64::try_from(thousandths / 1_000).unwrap_or(u64::MAX)
    }
}

/// Write units of a value, uncompressed: the most that it takes.
fn units(bytes: usize) -> u64 {
    bytes.div_ceil(UNIT).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_runs_of_ten_plain_steps_cost_what_the_page_says() {
        // infra/COST.md: 34 WRU, 10 RRU, 33 SQS, 11 invocations, $37.90
        let cost = Cost { wru: 34, rru: 10, sqs: 33, invocations: 11, ..Cost::default() };
        assert_eq!(cost.requests_nanodollars(), 37_900);
    }

    #[test]
    fn a_million_invocations_of_two_seconds_cost_what_the_page_says() {
        // there with 256 MB: $6.67
        let cost = Cost { executed: Duration::from_secs(2), ..Cost::default() };
        assert_eq!(cost.compute_nanodollars(), 6_666);
    }

    #[test]
    fn a_value_takes_a_unit_for_each_kilobyte() {
        assert_eq!([units(0), units(1_024), units(1_025), units(4_096)], [1, 1, 2, 4]);
    }
}
