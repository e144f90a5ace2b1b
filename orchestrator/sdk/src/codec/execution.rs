//! An execution between the engine, which sees encoded values, and the function, which sees clear
//! ones.

use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::journal::Outcome;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{AttemptReport, Json, StepId, StepKind};
use stepladder_engine::executor::{
    AdvisedFailure, Attempt, AttemptError, Execution, Finished, PollResult, Polled, StepResult, Unreachable,
};

use super::{Expected, RunPayloads};
use crate::execution::RustExecution;
use crate::{Error, Result};

pub(crate) struct CodecExecution {
    inner: RustExecution,
    payloads: RunPayloads,
    /// The outcomes that the function has not seen, because they could not be decoded so far.
    unread: Vec<RevealedOutcome>,
    /// The attempts that could not start.
    refused: Vec<StepResult>,
}

impl CodecExecution {
    pub(crate) fn new(inner: RustExecution, payloads: RunPayloads) -> Self {
        Self { inner, payloads, unread: Vec::new(), refused: Vec::new() }
    }

    /// Decodes a recorded outcome. An outcome in clear text is left alone: it was recorded before
    /// the app had a codec, or comes from outside.
    fn open(&self, outcome: &RevealedOutcome) -> Result<RevealedOutcome, Unreachable> {
        let mut opened = outcome.clone();
        let (id, payloads) = (&outcome.step, &self.payloads);
        let what = || format!("the outcome of step `{id}`");
        match &mut opened.outcome {
            Outcome::Value(value) => match outcome.kind {
                StepKind::Run => {
                    *value = payloads.open(value, &Expected::Step { id, is_carried: outcome.carried }, what)?;
                }
                StepKind::Invoke => *value = payloads.open(value, &Expected::Output, what)?,
                StepKind::Event => *value = payloads.open_within(value, what)?,
                StepKind::Sleep | StepKind::Send | StepKind::Signal => {}
            },
            Outcome::Failed(failure) => {
                if let Some(data) = &mut failure.data {
                    *data = payloads.open(data, &Expected::Error, what)?;
                }
            }
        }
        Ok(opened)
    }

    /// Decodes the state that the last check of a poll passed on.
    fn open_state(&self, attempt: &mut Attempt) -> Result<(), Unreachable> {
        if let Some(state) = &mut attempt.poll_state {
            let step = &attempt.step;
            *state = self.payloads.open(state, &Expected::Error, || format!("the state of the poll `{step}`"))?;
        }
        Ok(())
    }

    fn seal_failure(&self, mut failed: AdvisedFailure) -> AdvisedFailure {
        match self.payloads.seal_failure(&mut failed.failure) {
            Ok(()) => failed,
            Err(error) => error.into_fault(),
        }
    }

    fn seal_result(&self, result: StepResult) -> StepResult {
        let StepResult { step, result, report } = result;
        let result = match result {
            Ok(output) => self.payloads.seal_output(&step, &output).map_err(|error| error.into_fault().into()),
            Err(AttemptError::Failed(failed)) => Err(AttemptError::Failed(self.seal_failure(failed))),
            Err(error @ (AttemptError::Unreachable(_) | AttemptError::Lost(_))) => Err(error),
        };
        StepResult { step, result, report }
    }

    fn seal_end(&self, end: Result<Json, AdvisedFailure>) -> Result<Json, AdvisedFailure> {
        let place = stepladder_core::encrypted::PayloadPlace::Output;
        match end {
            Ok(output) => self.payloads.seal(place, None, &output).map_err(Error::into_fault),
            Err(failed) => Err(self.seal_failure(failed)),
        }
    }
}

#[async_trait]
impl Execution for CodecExecution {
    async fn poll(&mut self, memo: Vec<RevealedOutcome>) -> Result<Polled, Unreachable> {
        self.unread.extend(memo);
        self.payloads.prepare().await?;
        let opened = self.unread.iter().map(|outcome| self.open(outcome)).collect::<Result<Vec<_>, _>>()?;
        self.unread.clear();
        let polled = self.inner.poll(opened).await?;
        let result = match polled.result {
            PollResult::Ended(end) => PollResult::Ended(self.seal_end(end)),
            PollResult::Wanted(wants) => PollResult::Wanted(wants),
        };
        Ok(Polled { result, ..polled })
    }

    fn run(&mut self, attempts: Vec<Attempt>) {
        let mut ready = Vec::with_capacity(attempts.len());
        for mut attempt in attempts {
            match self.open_state(&mut attempt) {
                Ok(()) => ready.push(attempt),
                Err(unreachable) => self.refused.push(StepResult {
                    step: attempt.step,
                    result: Err(AttemptError::Unreachable(unreachable)),
                    report: AttemptReport::default(),
                }),
            }
        }
        self.inner.run(ready);
    }

    async fn wait(&mut self) -> Finished {
        if !self.refused.is_empty() {
            return Finished { results: std::mem::take(&mut self.refused), dropped: Vec::new() };
        }
        let Finished { results, dropped } = self.inner.wait().await;
        Finished { results: results.into_iter().map(|result| self.seal_result(result)).collect(), dropped }
    }

    fn stop(&mut self, step: &StepId, timeout: Duration) {
        self.inner.stop(step, timeout);
    }

    fn bytes_to_keep(&self) -> Option<usize> {
        let is_idle = self.unread.is_empty() && self.refused.is_empty();
        self.inner.bytes_to_keep().filter(|_| is_idle)
    }
}
