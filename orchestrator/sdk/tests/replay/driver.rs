//! A small driver of the interface between engine and SDK. It keeps a journal of outcomes, and
//! opens a session for each hop. It has no storage and no queue.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use stepladder_core::decide::{Operation, Want};
use stepladder_core::retry::RetryAdvice;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{Event, EventId, Failure, Outcome, RunId, StepId, StepKind, Timestamp, json};
use stepladder_engine::RegisteredFunction;
use stepladder_engine::executor::{
    AdvisedFailure, Attempt, AttemptError, Execution, Finished, OpenError, PollResult, RunView,
};
use stepladder_sdk::runtime::{SharedData, compile};
use stepladder_sdk::{EventData, Function};

/// The time at which every run is created.
pub(crate) const CREATED: Timestamp = Timestamp::from_millis(1_700_000_000_000);

#[derive(Serialize, Deserialize)]
pub(crate) struct StartEvent {
    pub(crate) id: String,
}

impl EventData for StartEvent {
    const NAME: &'static str = "test/start";
}

/// An open execution, step by step.
pub(crate) struct Session {
    execution: Box<dyn Execution>,
    /// Outcomes for the next poll.
    memo: Vec<RevealedOutcome>,
    orphans: Vec<StepId>,
    dropped: Vec<StepId>,
}

/// A step with a body that has ended.
#[derive(Debug)]
pub(crate) struct FinishedStep {
    pub(crate) step: StepId,
    pub(crate) result: Result<stepladder_core::Json, AdvisedFailure>,
}

impl Session {
    fn new(execution: Box<dyn Execution>, memo: Vec<RevealedOutcome>) -> Self {
        Self { execution, memo, orphans: Vec::new(), dropped: Vec::new() }
    }

    pub(crate) fn as_mut(&mut self) -> &mut Self {
        self
    }

    pub(crate) fn advance(&mut self) -> BoxFuture<'_, PollResult> {
        Box::pin(self.poll())
    }

    async fn poll(&mut self) -> PollResult {
        let polled = self.execution.poll(std::mem::take(&mut self.memo)).await.expect("a function of this process");
        self.dropped.extend(polled.dropped.into_iter().map(|(step, _)| step));
        self.orphans = polled.orphans;
        polled.result
    }

    pub(crate) fn start_bodies(&mut self, steps: &[StepId]) {
        let attempt = |step: &StepId| Attempt {
            step: step.clone(),
            number: 1,
            failures: 0,
            max_failures: 1,
            deadline: Timestamp::MAX,
            poll_state: None,
            trace: None,
        };
        self.execution.run(steps.iter().map(attempt).collect());
    }

    pub(crate) fn wait_finished(&mut self) -> BoxFuture<'_, Vec<FinishedStep>> {
        Box::pin(self.wait())
    }

    async fn wait(&mut self) -> Vec<FinishedStep> {
        let Finished { results, dropped } = self.execution.wait().await;
        self.dropped.extend(dropped.into_iter().map(|(step, _)| step));
        let of = |result: stepladder_engine::executor::StepResult| FinishedStep {
            step: result.step,
            result: result.result.map_err(|error| match error {
                AttemptError::Failed(failure) => failure,
                AttemptError::Unreachable(why) | AttemptError::Lost(why) => panic!("{why:?}"),
            }),
        };
        results.into_iter().map(of).collect()
    }

    pub(crate) fn stop_timed_out(&mut self, step: &StepId, timeout: Duration) {
        self.execution.stop(step, timeout);
    }

    pub(crate) fn reveal(&mut self, outcome: RevealedOutcome) {
        self.memo.push(outcome);
    }

    pub(crate) fn take_dropped(&mut self) -> Vec<StepId> {
        std::mem::take(&mut self.dropped)
    }

    pub(crate) fn orphans(&self) -> &[StepId] {
        &self.orphans
    }
}

/// A run: its function, and the outcomes recorded so far.
pub(crate) struct ReplayedRun {
    pub(crate) function: RegisteredFunction,
    pub(crate) journal: Vec<RevealedOutcome>,
    /// The failures of attempts, in order.
    pub(crate) failures: Vec<(StepId, Failure)>,
    pub(crate) hops: u32,
}

pub(crate) type RunOutcome = Result<String, Failure>;

impl ReplayedRun {
    pub(crate) fn for_function(function: Function) -> Self {
        Self::with_data(function, &SharedData::default())
    }

    pub(crate) fn with_data(function: Function, data: &SharedData) -> Self {
        let function = compile(function, data).expect("a good function").swap_remove(0);
        Self { function, journal: Vec::new(), failures: Vec::new(), hops: 0 }
    }

    /// Records a value as the outcome of a step with a body.
    pub(crate) fn with_recorded_step(mut self, step: &str, value: impl Serialize) -> Self {
        self.record(step.into(), StepKind::Run, Outcome::Value(json::to_json(&value).unwrap()));
        self
    }

    /// Records that a sleep has ended.
    pub(crate) fn with_recorded_sleep(mut self, step: &str) -> Self {
        self.record(step.into(), StepKind::Sleep, Outcome::Value(json::null()));
        self
    }

    /// Records a failure as the outcome of a step with a body.
    pub(crate) fn with_recorded_failure(mut self, step: &str, failure: Failure) -> Self {
        self.record(step.into(), StepKind::Run, Outcome::Failed(failure));
        self
    }

    pub(crate) fn record(&mut self, step: StepId, kind: StepKind, outcome: Outcome) -> RevealedOutcome {
        let at = CREATED + Duration::from_secs(1 + self.journal.len() as u64);
        let revealed = RevealedOutcome { step, kind, outcome, at, carried: false };
        self.journal.push(revealed.clone());
        revealed
    }

    pub(crate) fn open(&self) -> Session {
        self.try_open().expect("an event that fits")
    }

    pub(crate) fn try_open(&self) -> Result<Session, Failure> {
        let event = Event {
            id: EventId::new(CREATED, 1),
            name: "test/start".into(),
            data: json::to_json(&serde_json::json!({"id": "abc"})).unwrap(),
            ts: CREATED,
            user: None,
            external_id: None,
            received_at: CREATED,
            trace: None,
        };
        let view = RunView {
            run: RunId::new(CREATED, 7),
            secret: 1,
            attempt: 1,
            event: Arc::new(event),
            joined: Vec::new(),
            created_at: CREATED,
            labels: Vec::new(),
            trace: None,
        };
        let opened = self.function.executor.open(view, Timestamp::MAX).now_or_never().expect("it opens at once");
        match opened {
            Ok(execution) => Ok(Session::new(execution, self.journal.clone())),
            Err(OpenError::Refused(failure)) => Err(failure),
            Err(OpenError::Unreachable(unreachable)) => panic!("{unreachable:?}"),
        }
    }

    /// Executes the run to its end, one body or sleep at a time. With `a_session_each`, each gets a
    /// new session; otherwise one session continues.
    pub(crate) async fn run(&mut self, a_session_each: bool) -> RunOutcome {
        loop {
            self.hops += 1;
            let mut session = self.open();
            loop {
                let wants = match session.advance().await {
                    PollResult::Ended(result) => return to_run_outcome(result),
                    PollResult::Wanted(wants) => wants,
                };
                assert!(!wants.is_empty(), "nothing is wanted, nothing runs");
                let retried = self.carry_out(session.as_mut(), &wants).await;
                if a_session_each || retried {
                    break;
                }
            }
        }
    }

    /// Executes the first wanted body. If no body is wanted, ends the first wanted sleep. Returns
    /// whether the body will be retried.
    async fn carry_out(&mut self, session: &mut Session, wants: &[Want]) -> bool {
        let Some(want) = wants.iter().find(|want| want.operation.kind() == StepKind::Run) else {
            let want = &wants[0];
            let outcome = self.record(want.step.clone(), want.operation.kind(), Outcome::Value(json::null()));
            session.reveal(outcome);
            return false;
        };
        session.start_bodies(std::slice::from_ref(&want.step));
        let finished = session.wait_finished().await;
        assert!(!finished.is_empty(), "a body was to end");
        let mut retried = false;
        for FinishedStep { step, result } in finished {
            let outcome = match result {
                Ok(value) => Outcome::Value(value),
                Err(AdvisedFailure { failure, retry }) => {
                    self.failures.push((step.clone(), failure.clone()));
                    let tried = self.failures.iter().filter(|(of, _)| *of == step).count();
                    let retries = match &want.operation {
                        Operation::Run(options) => options.policy(self.function.spec()).retries,
                        Operation::SleepFor(_)
                        | Operation::SleepUntil(_)
                        | Operation::Send(_)
                        | Operation::Invoke { .. }
                        | Operation::WaitForEvent { .. }
                        | Operation::WaitForSignal { .. } => 0,
                    };
                    if retry != RetryAdvice::Never && tried <= retries as usize {
                        retried = true;
                        continue;
                    }
                    Outcome::Failed(failure)
                }
            };
            let outcome = self.record(step, StepKind::Run, outcome);
            session.reveal(outcome);
        }
        retried
    }

    /// Returns the steps that have an outcome, in the order of the journal.
    pub(crate) fn recorded_steps(&self) -> Vec<&str> {
        self.journal.iter().map(|revealed| &*revealed.step).collect()
    }
}

/// Returns the result of a session that must end without further outcomes.
pub(crate) async fn end(session: &mut Session) -> RunOutcome {
    match session.advance().await {
        PollResult::Ended(result) => to_run_outcome(result),
        PollResult::Wanted(wants) => panic!("it waits for {:?}", step_ids(&wants)),
    }
}

/// Returns the steps that a session wants. The session must not end.
pub(crate) async fn wanted_steps(session: &mut Session) -> Vec<Want> {
    match session.advance().await {
        PollResult::Wanted(wants) => wants,
        PollResult::Ended(result) => panic!("it ended: {result:?}"),
    }
}

pub(crate) fn step_ids(wants: &[Want]) -> Vec<&str> {
    wants.iter().map(|want| &*want.step).collect()
}

pub(crate) fn to_run_outcome(result: Result<stepladder_core::Json, AdvisedFailure>) -> RunOutcome {
    result.map(|json| json.get().to_owned()).map_err(|fault| fault.failure)
}

/// A future that never completes.
pub(crate) async fn fail_if_reached() {
    std::future::pending::<()>().await;
}
