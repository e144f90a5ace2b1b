//! The model of `infra/COST.md`, applied to a journal.

use std::collections::HashMap;
use std::ops::AddAssign;
use std::time::Duration;

use stepladder_core::{Entry, Fact, StepId, Timestamp, Usage};

use crate::prices::{GB_SECOND, INVOCATION, READ_UNIT, SQS_REQUEST, WRITE_UNIT};

/// The memory of a worker that compute is priced with, in MB, as in the examples of
/// `infra/COST.md`.
const MEMORY_MB: u64 = 250;
/// The longest sleep that goes through the queue; a longer one goes through a timer.
const MAX_QUEUE_DELAY: Duration = Duration::from_secs(900);
/// Bytes of a write request unit.
const WRITE_UNIT_BYTES: usize = 1_024;

/// What one run, or several, requested and executed, and what was saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCost {
    /// Write request units of DynamoDB.
    pub write_units: u64,
    /// Read request units of DynamoDB.
    pub read_units: u64,
    /// Requests of SQS.
    pub sqs_requests: u64,
    /// Invocations of Lambda.
    pub invocations: u64,
    /// How long bodies executed, including failed attempts.
    pub executed: Duration,
    /// Steps that had succeeded and were not repeated when something later in their run was
    /// retried. Each step counts once for each such retry.
    pub saved_steps: u64,
    /// How long those steps had executed.
    pub saved_time: Duration,
    /// Tokens that those steps had used.
    pub saved_tokens: u64,
    /// Tokens that models read.
    pub input_tokens: u64,
    /// Tokens that models wrote.
    pub output_tokens: u64,
    /// The price of the models, in millionths of a dollar, as far as it is known.
    pub ai_microdollars: u64,
    /// Whether a model was used whose price is not known.
    pub unpriced: bool,
}

impl AddAssign for RunCost {
    fn add_assign(&mut self, other: Self) {
        self.write_units += other.write_units;
        self.read_units += other.read_units;
        self.sqs_requests += other.sqs_requests;
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

impl RunCost {
    /// Counts the cost of a run from its journal. `limits` is the number of concurrency limits of
    /// its function.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>, limits: usize) -> Self {
        let limits = limits as u64;
        // a run's start, and its event's way through the events queue
        let mut cost = Self { write_units: 11, sqs_requests: 3, invocations: 1, ..Self::default() };
        // its tickets on arrival, and dequeuing them
        cost.write_units += 7 * limits;
        cost.read_units += 2 * limits;
        let mut started: HashMap<StepId, Timestamp> = HashMap::new();
        let mut finished: Duration = Duration::ZERO;
        let (mut steps, mut finished_tokens) = (0, 0_u64);
        for entry in entries {
            let mut again = false;
            let used = entry.fact.report().map_or(0, |report| cost.add_usage(&report.usage));
            if matches!(entry.fact, Fact::StepSucceeded { .. }) {
                finished_tokens = finished_tokens.saturating_add(used);
            }
            match &entry.fact {
                Fact::StepStarted { step, attempt, .. } => {
                    cost.add_hop();
                    cost.write_units += 1 + 2 * limits;
                    cost.read_units += 5 * limits;
                    started.insert(step.clone(), entry.at);
                    again = *attempt > 1;
                }
                Fact::StepSucceeded { step, output, .. } => {
                    cost.write_units += write_units(output.get().len());
                    let took = started.remove(step).map_or(Duration::ZERO, |at| entry.at.since(at));
                    cost.executed += took;
                    finished += took;
                    steps += 1;
                }
                Fact::StepFailed { step, error, .. } => {
                    cost.write_units += write_units(error.message.len());
                    cost.executed += started.remove(step).map_or(Duration::ZERO, |at| entry.at.since(at));
                }
                Fact::AttemptInterrupted { step, .. } | Fact::StepAbandoned { step, .. } => {
                    cost.write_units += 1;
                    cost.executed += started.remove(step).map_or(Duration::ZERO, |at| entry.at.since(at));
                }
                Fact::HandlerFailed { .. } => {
                    cost.write_units += 1;
                    again = true;
                }
                Fact::SleepStarted { until, .. } => {
                    cost.write_units += if until.since(entry.at) > MAX_QUEUE_DELAY { 2 } else { 1 };
                }
                Fact::EventAwaited { .. } => cost.write_units += 4,
                Fact::SignalAwaited { .. } => cost.write_units += 2,
                Fact::SleepEnded { .. }
                | Fact::WaitExpired { .. }
                | Fact::EventDelivered { .. }
                | Fact::SignalReceived { .. }
                | Fact::InvokeEnded { .. } => {
                    cost.add_hop();
                    cost.write_units += 1;
                }
                Fact::StepRefused { .. }
                | Fact::StepsWoken { .. }
                | Fact::EventsSent { .. }
                | Fact::EventJoined { .. }
                | Fact::RunDelayed { .. }
                | Fact::WaitSkipped { .. }
                | Fact::InvokeStarted { .. } => cost.write_units += 1,
                Fact::StepCarriedOver { .. }
                | Fact::RunCreated(_)
                | Fact::CollectingEnded
                | Fact::RunAdmitted
                | Fact::VersionChosen { .. }
                | Fact::LogWritten { .. } => {}
                Fact::RunCompleted { .. }
                | Fact::RunFailed { .. }
                | Fact::RunCancelled { .. }
                | Fact::RunSkipped { .. } => cost.write_units += 3,
            }
            if again {
                cost.saved_steps += steps;
                cost.saved_time += finished;
                cost.saved_tokens = cost.saved_tokens.saturating_add(finished_tokens);
            }
        }
        cost
    }

    /// Adds the usage of models, and returns its tokens.
    fn add_usage(&mut self, usage: &[Usage]) -> u64 {
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

    /// Adds a hop: its invocation, the three requests of its wake, and its read of the journal.
    fn add_hop(&mut self) {
        self.invocations += 1;
        self.sqs_requests += 3;
        self.read_units += 1;
    }

    /// The price of all requests and invocations, in billionths of a dollar.
    pub fn requests_nanodollars(&self) -> u64 {
        WRITE_UNIT.nanodollars(self.write_units)
            + READ_UNIT.nanodollars(self.read_units)
            + SQS_REQUEST.nanodollars(self.sqs_requests)
            + INVOCATION.nanodollars(self.invocations)
    }

    /// The price of what bodies executed, in billionths of a dollar.
    pub fn compute_nanodollars(&self) -> u64 {
        // 1,000 MB make a GB and 1,000 ms a second
        let mb_millis = u64::try_from(self.executed.as_millis()).unwrap_or(u64::MAX).saturating_mul(MEMORY_MB);
        GB_SECOND.nanodollars(mb_millis) / 1_000_000
    }
}

/// Counts the write request units of an uncompressed value.
fn write_units(bytes: usize) -> u64 {
    bytes.div_ceil(WRITE_UNIT_BYTES).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_runs_of_ten_plain_steps_cost_what_the_page_says() {
        // infra/COST.md: 34 WRU, 10 RRU, 33 SQS, 11 invocations, $37.90
        let cost = RunCost { write_units: 34, read_units: 10, sqs_requests: 33, invocations: 11, ..RunCost::default() };
        assert_eq!(cost.requests_nanodollars(), 37_900);
    }

    #[test]
    fn a_million_invocations_of_two_seconds_cost_what_the_page_says() {
        // there with 256 MB: $6.67
        let cost = RunCost { executed: Duration::from_secs(2), ..RunCost::default() };
        assert_eq!(cost.compute_nanodollars(), 6_666);
    }

    #[test]
    fn a_value_takes_a_unit_for_each_kilobyte() {
        assert_eq!([0, 1_024, 1_025, 4_096].map(write_units), [1, 1, 2, 4]);
    }
}
