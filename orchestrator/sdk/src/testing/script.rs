//! What steps do instead of executing their bodies, and how often each step was executed.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use stepladder_core::{Json, RunId, StepId};
use stepladder_engine::executor::AdvisedFailure;

/// The behaviour of all steps in a test.
#[derive(Default)]
pub(super) struct StepScripts {
    steps: HashMap<String, StepMock>,
    executed: Mutex<ExecutionCounts>,
}

/// The behaviour of one step in a test.
#[derive(Clone, Default)]
pub(super) struct StepMock {
    pub(super) value: Option<Json>,
    /// The number of attempts that fail, and the error of these attempts.
    pub(super) failures: Option<(u32, AdvisedFailure)>,
    pub(super) hangs: bool,
    /// The number of attempts in which the worker dies while the body executes.
    pub(super) crashes: Option<u32>,
    /// The number of attempts, after those, in which the worker dies before it records the result.
    pub(super) lost_results: Option<u32>,
}

/// What an attempt of a step does.
pub(super) enum MockedAttempt {
    /// Execute the body.
    Run,
    /// End immediately with this result.
    End(Result<Json, AdvisedFailure>),
    /// Hang: never end.
    Hang,
    /// The worker dies.
    Crash,
}

/// The start of an attempt: what it does, and whether the worker dies before it records the result.
pub(super) struct MockedStart {
    pub(super) attempt: MockedAttempt,
    pub(super) loses_result: bool,
}

#[derive(Default)]
struct ExecutionCounts {
    counts: HashMap<(RunId, StepId), u32>,
    /// The bodies that are running.
    active: HashSet<(RunId, StepId)>,
    /// The number of handlers that are running.
    handlers: usize,
    /// Whether the worker of the hop that is being polled has died.
    is_dead: bool,
}

impl StepScripts {
    pub(super) fn mock_of_step(&mut self, step: &str) -> &mut StepMock {
        self.steps.entry(step.to_owned()).or_default()
    }

    fn executed(&self) -> MutexGuard<'_, ExecutionCounts> {
        self.executed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an attempt, and returns what the attempt does.
    pub(super) fn start(&self, run: RunId, step: &StepId) -> MockedStart {
        let mut executed = self.executed();
        let count = executed.counts.entry((run, step.clone())).or_default();
        *count += 1;
        let attempt = *count;
        let mock = self.steps.get(&**step).or_else(|| self.steps.get(step_name(step)));
        let (crashes, lost) = mock.map_or((0, 0), |mock| (mock.crashes.unwrap_or(0), mock.lost_results.unwrap_or(0)));
        let loses_result = attempt > crashes && attempt <= crashes.saturating_add(lost);
        let attempt = match mock {
            Some(_) if attempt <= crashes => MockedAttempt::Crash,
            Some(StepMock { failures: Some((times, fault)), .. }) if attempt <= *times => {
                MockedAttempt::End(Err(fault.clone()))
            }
            Some(StepMock { hangs: true, .. }) => MockedAttempt::Hang,
            Some(StepMock { value: Some(value), .. }) => MockedAttempt::End(Ok(value.clone())),
            Some(StepMock { .. }) | None => {
                executed.active.insert((run, step.clone()));
                MockedAttempt::Run
            }
        };
        MockedStart { attempt, loses_result }
    }

    /// Lets the worker of the hop die that is being polled.
    pub(super) fn kill_worker(&self) {
        self.executed().is_dead = true;
    }

    /// Returns whether the worker of the hop that was just polled has died.
    pub(super) fn take_death(&self) -> bool {
        std::mem::take(&mut self.executed().is_dead)
    }

    /// Records that a body has ended.
    pub(super) fn end(&self, run: RunId, step: &StepId) {
        self.executed().active.remove(&(run, step.clone()));
    }

    /// Records that a handler is running, until the returned guard is dropped.
    pub(super) fn start_handler(&self) -> HandlerGuard<'_> {
        self.executed().handlers += 1;
        HandlerGuard(self)
    }

    /// Returns whether a handler or a body is running.
    pub(super) fn is_active(&self) -> bool {
        let executed = self.executed();
        executed.handlers > 0 || !executed.active.is_empty()
    }

    /// Returns the steps that execute their bodies now.
    pub(super) fn active_bodies(&self) -> Vec<String> {
        let mut steps: Vec<_> = self.executed().active.iter().map(|(_, step)| step.to_string()).collect();
        steps.sort();
        steps
    }

    /// Returns how often each step of a run was executed.
    pub(super) fn executions(&self, run: RunId) -> HashMap<String, u32> {
        let executed = self.executed();
        let of_run = executed.counts.iter().filter(|((of, _), _)| *of == run);
        of_run.map(|((_, step), count)| (step.to_string(), *count)).collect()
    }
}

pub(super) struct HandlerGuard<'s>(&'s StepScripts);

impl Drop for HandlerGuard<'_> {
    fn drop(&mut self) {
        self.0.executed().handlers -= 1;
    }
}

/// Returns the name of a step: its id without the number of a repeated name.
fn step_name(id: &str) -> &str {
    match id.rsplit_once(':') {
        Some((name, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => id,
    }
}
