//! The effects on the open execution of a function.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use stepladder_core::hop::{Attempt, Finished, Hop, Input, Opening, PollResult, Polled, StepResult, StoreFault};
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{AttemptReport, StepId, Timestamp};

use crate::executor::{FinishedStep, RunHistory, Session};
use crate::hop::Shell;
use crate::hop::supervise::BodyWatch;

/// An open execution of a function, and its attempts. Dropping it drops their bodies.
pub(super) struct Execution {
    session: Box<dyn Session>,
    deadline: Timestamp,
    /// Keeps each executing body in the supervisor's list.
    watched: HashMap<StepId, BodyWatch>,
}

impl Execution {
    /// Takes the report of an attempt that is over.
    fn report_of(&mut self, step: StepId) -> (StepId, AttemptReport) {
        self.watched.remove(&step);
        let report = self.session.take_report(&step);
        (step, report)
    }

    /// Takes the attempts that the function has dropped.
    fn take_dropped(&mut self) -> Vec<(StepId, AttemptReport)> {
        let dropped = self.session.take_dropped();
        dropped.into_iter().map(|step| self.report_of(step)).collect()
    }
}

impl Shell<'_> {
    pub(super) fn close(&mut self) -> Option<Input> {
        self.execution = None;
        None
    }

    pub(super) fn open(&mut self, hop: &Hop, opening: Opening) -> Input {
        let Opening { function, version, attempt, memo } = opening;
        let found = self.storage.catalog.exact(&function, version.as_deref());
        let (Some(run), Some(found)) = (hop.run(), found) else {
            return Input::StoreFailed(StoreFault::Unavailable(format!("function `{function}` is gone")));
        };
        let opened = found.executor.open(RunHistory {
            run: run.run,
            secret: run.secret,
            attempt,
            event: Arc::new(run.created.event.clone()),
            joined: run.joined.clone(),
            created_at: run.created_at,
            outcomes: memo,
        });
        let deadline = hop.deadline().unwrap_or(Timestamp::MAX);
        Input::Opened(opened.map(|session| {
            self.execution = Some(Execution { session, deadline, watched: HashMap::new() });
        }))
    }

    pub(super) async fn poll(&mut self, revealed: Vec<RevealedOutcome>) -> Input {
        let Some(execution) = &mut self.execution else { return closed() };
        revealed.into_iter().for_each(|outcome| execution.session.reveal(outcome));
        let result = execution.session.advance().await;
        if let PollResult::Wanted(wants) = &result {
            self.newer = self.storage.find_called(wants).await;
        }
        let lines = execution.session.take_log_lines();
        let mut dropped = execution.take_dropped();
        let mut orphans = Vec::new();
        if matches!(result, PollResult::Ended(_)) {
            let rest: Vec<StepId> = execution.watched.keys().cloned().collect();
            dropped.extend(rest.into_iter().map(|step| execution.report_of(step)));
            orphans = execution.session.orphans();
        }
        Input::Polled(Polled { result, dropped, lines, orphans })
    }

    pub(super) fn run(&mut self, attempts: Vec<Attempt>) -> Option<Input> {
        let execution = self.execution.as_mut()?;
        let mut steps = Vec::with_capacity(attempts.len());
        for Attempt { ready, holder, expires } in attempts {
            let watch = self.storage.hops.watch(&ready, holder, (expires, execution.deadline));
            execution.watched.insert(ready.step.clone(), watch);
            steps.push(ready.step);
        }
        execution.session.start_bodies(&steps);
        None
    }

    pub(super) fn stop(&mut self, step: &StepId, timeout: Duration) -> Option<Input> {
        self.execution.as_mut()?.session.stop_timed_out(step, timeout);
        None
    }

    pub(super) async fn await_attempts(&mut self, until: Timestamp) -> Input {
        let Some(execution) = &mut self.execution else { return closed() };
        let finished = tokio::select! {
            biased;
            finished = execution.session.wait_finished() => finished,
            () = self.storage.hops.runtime.clock.sleep_until(until) => return Input::TimeIs,
        };
        let of = |FinishedStep { step, result }| {
            let (step, report) = execution.report_of(step);
            StepResult { step, result, report }
        };
        let results = finished.into_iter().map(of).collect();
        Input::Finished(Finished { results, dropped: execution.take_dropped() })
    }
}

fn closed() -> Input {
    Input::StoreFailed(StoreFault::Unavailable("no execution of the function is open".into()))
}
