//! The app's side: it replays a function for each request, and executes steps.
//!
//! In a call of the function, it executes a single step that the function requests and goes on. It
//! saves what it has executed with checkpoints, or returns it with its answer. It lists several
//! steps; each of these executes in a request of its own.

use std::sync::Arc;

use stepladder_core::decide::{Operation, Want};
use stepladder_core::hop::AdvisedFailure;
use stepladder_core::journal::{Outcome, StepKind};
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{AttemptReport, Failure, Timestamp};
use stepladder_engine::executor::{
    Attempt, AttemptError, ExecutedStep, Execution, Executor, PollResult, Polled, RunView, StepResult,
};

use super::super::Shared;
use super::checkpoints::Posted;

/// An app that serves a request of a run.
#[derive(Clone)]
pub(super) struct SimulatedApp {
    /// Replays the functions, in the app's process.
    pub(super) functions: Arc<dyn Executor>,
    pub(super) shared: Arc<Shared>,
    pub(super) run: RunView,
    /// The outcomes that the request passes.
    pub(super) memo: Vec<RevealedOutcome>,
}

impl SimulatedApp {
    /// Adds outcomes to those that requests pass, unless they are already among them.
    pub(super) fn pass(&mut self, outcomes: Vec<RevealedOutcome>) {
        for outcome in outcomes {
            if self.memo.iter().all(|passed| passed.step != outcome.step) {
                self.memo.push(outcome);
            }
        }
    }

    /// Replays the function.
    async fn replay(&self) -> (Box<dyn Execution>, PollResult) {
        let opened = self.functions.open(self.run.clone(), Timestamp::MAX).await;
        let mut execution = opened.expect("the app knows the event");
        let polled = execution.poll(self.memo.clone()).await.expect("the function is in the app");
        (execution, polled.result)
    }

    /// Answers a call of the function.
    pub(super) async fn answer_call(self, call: u32, executes: bool) -> Polled {
        let dice = &self.shared.dice;
        let (mut execution, mut result) = self.replay().await;
        // Some apps save nothing during a call, and the others save a few steps at once.
        let saves = executes && !dice.one_in(4);
        let at_once = 1 + dice.below(3) as usize;
        let mut unsaved: Vec<ExecutedStep> = Vec::new();
        loop {
            let want = match &result {
                PollResult::Wanted(wants) => single_step(wants).filter(|_| executes).cloned(),
                PollResult::Ended(_) => None,
            };
            let Some(want) = want else {
                if !unsaved.is_empty() && dice.one_in(2) {
                    match self.post(call, &unsaved).await {
                        Posted::Saved { .. } => unsaved.clear(),
                        Posted::Refused => return stopped(),
                        Posted::Unknown => {}
                    }
                }
                let is_returned = matches!(result, PollResult::Ended(Ok(_))) && unsaved.is_empty() && dice.one_in(2);
                // An error of the function comes without the steps.
                if matches!(result, PollResult::Ended(Err(_))) && !unsaved.is_empty() {
                    self.shared.account.note_unreported(self.run.run);
                    unsaved.clear();
                }
                return Polled { executed: unsaved, has_checkpoints: executes && !is_returned, ..result.into() };
            };
            let attempt = attempt_of(&want);
            let done = match execute(&mut execution, attempt).await {
                Ok(done) => done,
                Err(ended) => {
                    result = ended;
                    continue;
                }
            };
            let (done, is_value) = executed(want, done);
            if !saves || !is_value {
                if !unsaved.is_empty() && dice.one_in(2) {
                    match self.post(call, &unsaved).await {
                        Posted::Saved { .. } => unsaved.clear(),
                        Posted::Refused => return stopped(),
                        Posted::Unknown => {}
                    }
                }
                unsaved.push(done);
                let has_checkpoints = unsaved.len() > 1;
                return Polled { executed: unsaved, has_checkpoints, ..PollResult::Wanted(Vec::new()).into() };
            }
            let revealed = revealed(&done, self.shared.now());
            unsaved.push(done);
            if unsaved.len() >= at_once {
                match self.post(call, &unsaved).await {
                    Posted::Saved { ends_call } => {
                        unsaved.clear();
                        if ends_call {
                            return stopped();
                        }
                    }
                    Posted::Refused => return stopped(),
                    // It returns them with its answer.
                    Posted::Unknown => {
                        let has_checkpoints = unsaved.len() > 1;
                        return Polled { executed: unsaved, has_checkpoints, ..PollResult::Wanted(Vec::new()).into() };
                    }
                }
            }
            result = execution.poll(vec![revealed]).await.expect("the function is in the app").result;
        }
    }

    /// Answers a request for one step.
    pub(super) async fn answer_step(self, attempt: Attempt) -> StepResult {
        let (mut execution, result) = self.replay().await;
        let step = attempt.step.clone();
        let is_wanted =
            matches!(&result, PollResult::Wanted(wants) if wants.iter().any(|want| want.step == attempt.step));
        if is_wanted && let Ok(done) = execute(&mut execution, attempt).await {
            return done;
        }
        self.shared.report(format!("the app does not find `{step}` of {}: {result:?}", self.run.run));
        let failure = AdvisedFailure { failure: Failure::new("not found"), retry: Default::default() };
        StepResult { step, result: Err(failure.into()), report: AttemptReport::default() }
    }
}

/// Returns the step if the function requests no other one, and if a call may execute it.
fn single_step(wants: &[Want]) -> Option<&Want> {
    let [want] = wants else { return None };
    match &want.operation {
        Operation::Run(options) if !options.at_most_once && options.poll.is_none() => Some(want),
        _ => None,
    }
}

fn attempt_of(want: &Want) -> Attempt {
    Attempt {
        step: want.step.clone(),
        number: 1,
        failures: 0,
        max_failures: 1,
        deadline: Timestamp::MAX,
        poll_state: None,
        trace: None,
    }
}

/// Executes an attempt. Returns the end of the function if it ends by itself meanwhile.
async fn execute(execution: &mut Box<dyn Execution>, attempt: Attempt) -> Result<StepResult, PollResult> {
    let step = attempt.step.clone();
    execution.run(vec![attempt]);
    loop {
        let results = execution.wait().await.results;
        if let Some(done) = results.into_iter().find(|done| done.step == step) {
            return Ok(done);
        }
        let polled = execution.poll(Vec::new()).await.expect("the function is in the app");
        if let PollResult::Ended(_) = polled.result {
            return Err(polled.result);
        }
    }
}

/// Returns the step as executed, and whether it has a value.
fn executed(want: Want, done: StepResult) -> (ExecutedStep, bool) {
    let result = done.result.map_err(|error| match error {
        AttemptError::Failed(failure) => failure,
        AttemptError::Unreachable(why) | AttemptError::Lost(why) => panic!("the function is in the app: {why:?}"),
    });
    let is_value = result.is_ok();
    (ExecutedStep { want, result, report: done.report }, is_value)
}

fn revealed(done: &ExecutedStep, at: Timestamp) -> RevealedOutcome {
    let outcome = match &done.result {
        Ok(value) => Outcome::Value(value.clone()),
        Err(failed) => Outcome::Failed(failed.failure.clone()),
    };
    RevealedOutcome { step: done.want.step.clone(), kind: StepKind::Run, outcome, at, carried: false }
}

/// Returns the answer of an app that executes nothing more in this call.
fn stopped() -> Polled {
    Polled { has_checkpoints: true, ..PollResult::Wanted(Vec::new()).into() }
}
