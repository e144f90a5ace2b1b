//! Applies the model of `infra/COST.md` to a journal.

use std::collections::HashMap;
use std::ops::AddAssign;
use std::time::Duration;

use stepladder_core::journal::{AttemptEnd, DirectOutcome, FactVisitor, StartChange, Wait, WaitEnd};
use stepladder_core::state::RunEnd;
use stepladder_core::{Entry, Event, Failure, StepId, Timestamp, Usage};

use crate::prices::{GB_SECOND, INVOCATION, READ_UNIT, SQS_REQUEST, WRITE_UNIT};

/// The memory of a worker for which compute is priced, in MB, as in the examples of
/// `infra/COST.md`.
const MEMORY_MB: u64 = 250;
/// The longest sleep for which the queue delays the wake. A longer sleep needs a timer.
const MAX_QUEUE_DELAY: Duration = Duration::from_secs(900);
/// The number of bytes in a write request unit.
const WRITE_UNIT_BYTES: usize = 1_024;

/// The cost of one or more runs: what they requested and executed, and what was saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCost {
    /// The number of DynamoDB write request units.
    pub write_units: u64,
    /// The number of DynamoDB read request units.
    pub read_units: u64,
    /// The number of SQS requests.
    pub sqs_requests: u64,
    /// The number of Lambda invocations.
    pub invocations: u64,
    /// The number of attempts that started.
    pub attempts: u64,
    /// The execution time of all bodies, including failed attempts.
    pub executed: Duration,
    /// The number of steps that were not repeated when a later part of their run was retried,
    /// because they had already succeeded. A step counts once for each such retry.
    pub saved_steps: u64,
    /// The execution time that was saved because these steps were not repeated.
    pub saved_time: Duration,
    /// The number of tokens that were saved because these steps were not repeated.
    pub saved_tokens: u64,
    /// The number of tokens that models read.
    pub input_tokens: u64,
    /// The number of tokens that models wrote.
    pub output_tokens: u64,
    /// The known part of the price of the models, in millionths of a dollar.
    pub ai_microdollars: u64,
    /// Whether the run used a model with an unknown price.
    pub unpriced: bool,
}

impl AddAssign for RunCost {
    fn add_assign(&mut self, other: Self) {
        self.write_units += other.write_units;
        self.read_units += other.read_units;
        self.sqs_requests += other.sqs_requests;
        self.invocations += other.invocations;
        self.attempts += other.attempts;
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
    /// Computes the cost of a run from its journal. `limits` is the number of concurrency limits of
    /// the run's function.
    pub fn of_journal<'a>(entries: impl IntoIterator<Item = &'a Entry>, limits: usize) -> Self {
        let mut count = RunCostCounter::default();
        entries.into_iter().for_each(|entry| count.add(entry));
        count.cost().with_limits(1, limits)
    }

    /// Adds what concurrency limits cost: the tickets of these runs, and the slots of their
    /// attempts. `limits` is the number of concurrency limits of the function.
    pub fn with_limits(mut self, runs: u64, limits: usize) -> Self {
        let limits = limits as u64;
        self.write_units += limits * (7 * runs + 2 * self.attempts);
        self.read_units += limits * (2 * runs + 5 * self.attempts);
        self
    }

    /// Adds the usage of models, and returns the number of tokens used.
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

    /// Adds a hop: its invocation, the three requests of its wake, and the read of the journal.
    fn add_hop(&mut self) {
        self.invocations += 1;
        self.sqs_requests += 3;
        self.read_units += 1;
    }

    /// Returns the price of all requests and invocations, in billionths of a dollar.
    pub fn requests_nanodollars(&self) -> u64 {
        WRITE_UNIT.nanodollars(self.write_units)
            + READ_UNIT.nanodollars(self.read_units)
            + SQS_REQUEST.nanodollars(self.sqs_requests)
            + INVOCATION.nanodollars(self.invocations)
    }

    /// Returns the price of the compute time of all bodies, in billionths of a dollar.
    pub fn compute_nanodollars(&self) -> u64 {
        // a GB has 1,000 MB here, and a second has 1,000 ms
        let mb_millis = u64::try_from(self.executed.as_millis()).unwrap_or(u64::MAX).saturating_mul(MEMORY_MB);
        GB_SECOND.nanodollars(mb_millis) / 1_000_000
    }
}

/// The cost of a run while its journal is read, with the state that is needed to count the rest.
/// Concurrency limits are not included.
#[derive(Clone, Debug)]
pub struct RunCostCounter {
    cost: RunCost,
    /// The start of each attempt that has not ended yet.
    started: HashMap<StepId, Timestamp>,
    /// The number of steps that have succeeded.
    succeeded: u64,
    /// The execution time of the steps that have succeeded.
    succeeded_time: Duration,
    /// The number of tokens that the steps that have succeeded used.
    succeeded_tokens: u64,
}

impl Default for RunCostCounter {
    /// Creates the count for a new run: its creation, and the requests that its event needs on the
    /// events queue.
    fn default() -> Self {
        let cost = RunCost { write_units: 4, sqs_requests: 3, invocations: 1, ..RunCost::default() };
        let (succeeded, succeeded_time, succeeded_tokens) = (0, Duration::ZERO, 0);
        Self { cost, started: HashMap::new(), succeeded, succeeded_time, succeeded_tokens }
    }
}

impl RunCostCounter {
    /// Adds the next entry of the journal.
    pub fn add(&mut self, entry: &Entry) {
        entry.visit(self);
    }

    /// Returns the cost of the entries so far.
    pub fn cost(&self) -> RunCost {
        self.cost
    }

    /// Adds the savings of a retry: the steps that have already succeeded are not repeated.
    fn add_retry(&mut self) {
        self.cost.saved_steps += self.succeeded;
        self.cost.saved_time += self.succeeded_time;
        self.cost.saved_tokens = self.cost.saved_tokens.saturating_add(self.succeeded_tokens);
    }
}

impl FactVisitor for RunCostCounter {
    fn start_changed(&mut self, _: Timestamp, change: StartChange<'_>) {
        self.cost.write_units += match change {
            StartChange::EventJoined { .. } | StartChange::Delayed { .. } => 1,
            // these facts are written together with the run's creation or its first request
            StartChange::CollectingEnded | StartChange::Admitted | StartChange::VersionChosen { .. } => 0,
        };
    }

    fn run_ended(&mut self, _: &RunEnd) {
        self.cost.write_units += 2;
    }

    fn handler_failed(&mut self, _: Timestamp, _: u32, _: &Failure, _: Timestamp) {
        self.cost.write_units += 1;
        self.add_retry();
    }

    fn attempt_started(&mut self, at: Timestamp, step: &StepId, attempt: u32, _: Timestamp) {
        self.cost.add_hop();
        self.cost.write_units += 1;
        self.cost.attempts += 1;
        self.started.insert(step.clone(), at);
        if attempt > 1 {
            self.add_retry();
        }
    }

    fn attempt_ended(&mut self, at: Timestamp, step: &StepId, _: u32, end: AttemptEnd<'_>) {
        let tokens = end.report().map_or(0, |report| self.cost.add_usage(&report.usage));
        let took = self.started.remove(step).map_or(Duration::ZERO, |started| at.since(started));
        self.cost.executed += took;
        self.cost.write_units += match end {
            AttemptEnd::Succeeded { output, .. } => {
                self.succeeded += 1;
                self.succeeded_time += took;
                self.succeeded_tokens = self.succeeded_tokens.saturating_add(tokens);
                write_units(output.get().len())
            }
            AttemptEnd::Failed { error, .. } => write_units(error.bytes()),
            AttemptEnd::Interrupted | AttemptEnd::Unreachable { .. } | AttemptEnd::Abandoned { .. } => 1,
        };
    }

    fn steps_woken(&mut self, _: Timestamp, _: &[StepId]) {
        self.cost.write_units += 1;
    }

    fn step_settled(&mut self, _: Timestamp, _: &StepId, outcome: DirectOutcome<'_>) {
        self.cost.write_units += match outcome {
            DirectOutcome::Refused(..) | DirectOutcome::EventsSent(_) => 1,
            DirectOutcome::CarriedOver(..) => 0,
        };
    }

    fn wait_started(&mut self, at: Timestamp, _: &StepId, wait: Wait<'_>) {
        self.cost.write_units += match wait {
            Wait::Sleep { until } if until.since(at) > MAX_QUEUE_DELAY => 2,
            Wait::Sleep { .. } | Wait::Run { .. } => 1,
            Wait::Signal { heartbeat: None, .. } => 2,
            Wait::Signal { heartbeat: Some(_), .. } => 3,
            Wait::Event { .. } => 4,
        };
    }

    fn wait_skipped(&mut self, _: Timestamp, _: Option<&StepId>) {
        self.cost.write_units += 1;
    }

    /// A recorded heartbeat costs its entry, and the timer of the next one, whose wake is a hop.
    fn wait_kept_open(&mut self, _: Timestamp, _: &StepId) {
        self.cost.add_hop();
        self.cost.write_units += 2;
    }

    fn wait_ended(&mut self, _: Timestamp, _: &StepId, _: WaitEnd<'_>) {
        self.cost.add_hop();
        self.cost.write_units += 1;
    }

    fn event_delivered(&mut self, _: Timestamp, _: &Event, _: &[StepId]) {
        self.cost.add_hop();
        self.cost.write_units += 1;
    }
}

/// Returns the number of write request units for an uncompressed value.
fn write_units(bytes: usize) -> u64 {
    bytes.div_ceil(WRITE_UNIT_BYTES).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_runs_of_ten_plain_steps_cost_what_the_page_says() {
        // the example in infra/COST.md: 26 WRU, 10 RRU, 33 SQS, 11 invocations, $32.90
        let cost = RunCost { write_units: 26, read_units: 10, sqs_requests: 33, invocations: 11, ..RunCost::default() };
        assert_eq!(cost.requests_nanodollars(), 32_900);
    }

    #[test]
    fn a_million_invocations_of_two_seconds_cost_what_the_page_says() {
        // the same example with 256 MB of memory: $6.67
        let cost = RunCost { executed: Duration::from_secs(2), ..RunCost::default() };
        assert_eq!(cost.compute_nanodollars(), 6_666);
    }

    #[test]
    fn a_value_takes_a_unit_for_each_kilobyte() {
        assert_eq!([0, 1_024, 1_025, 4_096].map(write_units), [1, 1, 2, 4]);
    }
}
