//! Describes in a sentence what a live run is waiting for.

use stepladder_core::hop::is_own_worker;
use stepladder_core::slot::Limit;
use stepladder_core::spec::{LazyExprScope, Spec};
use stepladder_core::state::{ExecutorOutage, RunState, Step, StepState, WaitTarget};
use stepladder_core::{StepId, Timestamp};

use crate::engine::EngineError;
use crate::ports::SnapshotParts;
use crate::query::Query;
use crate::query::view::RunWait;

impl Query {
    /// Describes what a run is waiting for. Returns `None` if the run is executing or has ended.
    pub(crate) async fn describe_wait(&self, state: &RunState) -> Result<Option<RunWait>, EngineError> {
        let of_run = |sentence: String| Ok(Some(RunWait { sentence, is_in_step: false }));
        if state.end.is_some() {
            return Ok(None);
        }
        if leases_of(state).next().is_some() {
            return Ok(self.lease_of_dead_process(state).map(|until| RunWait {
                sentence: format!("waits until {until}: its server has ended, and its app may still execute a step"),
                is_in_step: false,
            }));
        }
        let function = &state.created.function;
        let catalog = self.runtime.snapshot();
        let Some(spec) = catalog.spec(function) else {
            return of_run(format!("waits for the function `{function}` to be registered"));
        };
        if let Some(at) = state.begins_at().filter(|at| *at > self.runtime.now()) {
            return of_run(delayed_start(state, at));
        }
        if state.first_run_at.is_none() && self.functions.paused_since(function).await?.is_some() {
            return of_run(format!("waits to start: function `{function}` is paused"));
        }
        if let Some(queue) = self.wait_queue(state, spec).await? {
            return of_run(queue);
        }
        if let Some(due) = state.handler_retry_at.filter(|due| *due > self.runtime.now()) {
            return of_run(format!("retries the function at {due}"));
        }
        if let Some(ExecutorOutage { since, why }) = &state.unreachable {
            return of_run(format!("waits for its executor, which cannot be reached since {since}: {why}"));
        }
        let waits = state.steps.iter().filter_map(|(id, step)| step_wait(id, step));
        Ok(waits.min().map(|(_, sentence)| RunWait { sentence, is_in_step: true }))
    }

    /// Returns until when a run waits for what its app may still execute for a local server that
    /// has ended. Returns `None` if this process executes the run, or will take it over at once.
    fn lease_of_dead_process(&self, state: &RunState) -> Option<Timestamp> {
        let catalog = self.runtime.snapshot();
        let is_of_app = catalog.descriptions().for_run(state)?.function.executes_in_poll;
        let is_dead = |worker: &str| *worker != *self.runtime.worker && !is_own_worker(worker);
        let waits =
            is_of_app && self.runtime.backend.is_exclusive() && leases_of(state).all(|(worker, _)| is_dead(worker));
        leases_of(state).map(|(_, lease)| lease).max().filter(|lease| waits && self.runtime.now() < *lease)
    }

    /// Describes the wait queue in which a run has a ticket; `None` if it has no ticket.
    async fn wait_queue(&self, state: &RunState, spec: &Spec) -> Result<Option<String>, EngineError> {
        let scope = &mut LazyExprScope::new(&state.created.event);
        let (of_runs, of_steps) = (spec.run_limits(scope), spec.limits(scope));
        for limit in of_runs.into_iter().chain(of_steps).flatten() {
            let snapshot = self.runtime.backend.snapshot(&limit.key, SnapshotParts::position(state.run)).await?;
            if let Some(ahead) = snapshot.position {
                let Limit { key, slots } = limit;
                let place = ordinal(ahead + 1);
                return Ok(Some(format!("is {place} in the wait queue of `{key}` (concurrency limit {slots})")));
            }
        }
        Ok(None)
    }
}

/// Returns the leases of the call and of the attempts that are in progress according to the
/// journal, with their workers.
fn leases_of(state: &RunState) -> impl Iterator<Item = (&str, Timestamp)> {
    let of_call = state.call.iter().map(|call| (&*call.worker, call.lease_until));
    let of_steps = state.steps.values().filter_map(|step| match &step.state {
        StepState::Running { lease_until, worker } => Some((&**worker, *lease_until)),
        StepState::Wanted
        | StepState::Retrying { .. }
        | StepState::Sleeping { .. }
        | StepState::Invoking { .. }
        | StepState::Awaiting { .. }
        | StepState::Done
        | StepState::Abandoned => None,
    });
    of_call.chain(of_steps)
}

fn delayed_start(state: &RunState, at: Timestamp) -> String {
    if state.collecting {
        format!("collects events until {at}; it has {}", state.next)
    } else if state.created.event.starts_not_before() == Some(at) {
        format!("starts at {at}, the `ts` of its event")
    } else {
        format!("starts at {at}, when its throttle or rate limit has room")
    }
}

/// Describes what a step is waiting for, and returns the latest time at which the wait ends.
fn step_wait(id: &StepId, step: &Step) -> Option<(Timestamp, String)> {
    match &step.state {
        StepState::Retrying { retry_at, .. } if step.unreachable > 0 => {
            Some((*retry_at, format!("tries step `{id}` again at {retry_at}: its executor cannot be reached")))
        }
        StepState::Sleeping { until } => Some((*until, format!("sleeps in `{id}` until {until}"))),
        StepState::Retrying { retry_at, .. } => {
            let next = step.attempt.saturating_add(1);
            Some((*retry_at, format!("retries step `{id}` at {retry_at} (attempt {next})")))
        }
        StepState::Invoking { child, function, until, .. } => {
            let end = until.map(|until| format!(" until {until}")).unwrap_or_default();
            Some((until.unwrap_or(Timestamp::MAX), format!("waits in `{id}` for run {child} of `{function}`{end}")))
        }
        StepState::Awaiting { what: WaitTarget::Event(wait), until } => {
            Some((*until, format!("waits in `{id}` for {wait} until {until}")))
        }
        StepState::Awaiting { what: WaitTarget::Signal(_), until } => match step.state.heartbeat_due() {
            Some(due) => {
                Some((due, format!("waits in `{id}` for a signal until {until}, and for a heartbeat by {due}")))
            }
            None => Some((*until, format!("waits in `{id}` for a signal until {until}"))),
        },
        StepState::Wanted | StepState::Running { .. } | StepState::Done | StepState::Abandoned => None,
    }
}

/// Formats a position: `1st`, `2nd`, `11th`.
pub fn ordinal(n: usize) -> String {
    let suffix = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_words() {
        let all = [1, 2, 3, 4, 11, 12, 13, 21, 102, 111].map(ordinal).join(" ");
        assert_eq!(all, "1st 2nd 3rd 4th 11th 12th 13th 21st 102nd 111th");
    }
}
