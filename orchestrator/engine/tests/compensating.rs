//! Compensations of an executor that is not the Rust SDK. They are ordinary steps that it requests
//! after its failure.

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::decide::{Operation, Want};
use stepladder_core::journal::{Failure, Outcome};
use stepladder_core::retry::RetryAdvice;
use stepladder_core::spec::Trigger;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{AttemptReport, Json, OwnStep, Spec, Status, StepId, Timestamp, json};
use stepladder_engine::RegisteredFunction;
use stepladder_engine::executor::{
    AdvisedFailure, Attempt, Execution, Executor, Finished, OpenError, PollResult, Polled, RunView, StepResult,
    Unreachable,
};
use support::EngineFixture;

/// Charges a card, fails to ship, and gives the money back at the second attempt.
#[derive(Clone, Default)]
struct Order {
    /// The number of attempts to give the money back.
    refunds: Arc<AtomicU32>,
}

struct OrderExecution {
    order: Order,
    outcomes: HashMap<StepId, Outcome>,
    running: Option<StepId>,
}

#[async_trait]
impl Executor for Order {
    async fn open(&self, _: RunView, _: Timestamp) -> Result<Box<dyn Execution>, OpenError> {
        Ok(Box::new(OrderExecution { order: self.clone(), outcomes: HashMap::new(), running: None }))
    }
}

impl OrderExecution {
    fn body(&self, step: &str) -> Result<Json, AdvisedFailure> {
        let no = |message: &str, retry| Err(AdvisedFailure { failure: Failure::new(message), retry });
        match step {
            "ship" => no("out of stock", RetryAdvice::Never),
            "undo charge" if self.order.refunds.fetch_add(1, Ordering::Relaxed) == 0 => {
                no("busy", RetryAdvice::Default)
            }
            step if OwnStep::from_id(step) == Some(OwnStep::Compensation) => match self.outcomes.get("ship") {
                Some(Outcome::Failed(failure)) => Ok(json::to_json(failure).unwrap()),
                other => panic!("it compensates after {other:?}"),
            },
            _ => Ok(json::null()),
        }
    }
}

#[async_trait]
impl Execution for OrderExecution {
    async fn poll(&mut self, memo: Vec<RevealedOutcome>) -> Result<Polled, Unreachable> {
        self.outcomes.extend(memo.into_iter().map(|revealed| (revealed.step, revealed.outcome)));
        let steps = ["charge".into(), "ship".into(), OwnStep::Compensation.id(), "undo charge".into()];
        let next = steps.into_iter().find(|step: &StepId| !self.outcomes.contains_key(step));
        let result = match next {
            _ if self.running.is_some() => PollResult::Wanted(Vec::new()),
            Some(step) => {
                PollResult::Wanted(vec![Want { step, operation: Operation::Run(Default::default()), at: None }])
            }
            None => match self.outcomes.get(&OwnStep::Compensation.id()) {
                Some(Outcome::Value(failure)) => {
                    let failure = serde_json::from_str(failure.get()).unwrap();
                    PollResult::Ended(Err(AdvisedFailure { failure, retry: RetryAdvice::Never }))
                }
                other => panic!("the failure is recorded as {other:?}"),
            },
        };
        Ok(result.into())
    }

    fn run(&mut self, attempts: Vec<Attempt>) {
        self.running = attempts.into_iter().map(|attempt| attempt.step).next();
    }

    async fn wait(&mut self) -> Finished {
        let Some(step) = self.running.take() else { return std::future::pending().await };
        let result = self.body(&step).map_err(Into::into);
        Finished { results: vec![StepResult { step, result, report: AttemptReport::default() }], dropped: Vec::new() }
    }

    fn stop(&mut self, _: &StepId, _: Duration) {}
}

#[tokio::test]
async fn an_executor_compensates_with_steps_that_are_recorded_and_retried() {
    let order = Order::default();
    let mut spec = Spec::new("f");
    spec.triggers.push(Trigger { event: "go".into(), condition: None });
    let mut world = EngineFixture::new(vec![RegisteredFunction::new(spec, None, Arc::new(order.clone()))]);
    let engine = world.engine();
    let event = world.send_event(&engine).await;
    world.settle(&engine).await;
    let detail = &world.runs(&engine, event).await[0];
    assert_eq!(detail.summary.status, Status::Failed);
    let undo = detail.steps.iter().find(|step| &*step.id == "undo charge").expect("compensated");
    assert_eq!(undo.attempts.len(), 2, "a compensation is retried like any step");
    assert_eq!(order.refunds.load(Ordering::Relaxed), 2);
    let error = format!("{detail:?}");
    assert!(error.contains("out of stock"), "the run fails with its first failure");
}
