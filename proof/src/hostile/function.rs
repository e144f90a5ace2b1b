//! Functions with one step each. Their events start runs that wait in queues, sleep or fail.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::decide::{Operation, Want};
use stepladder_core::expr::Expr;
use stepladder_core::journal::{Failure, Outcome};
use stepladder_core::retry::RetryAdvice;
use stepladder_core::spec::{Concurrency, Trigger};
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{AttemptReport, Event, Spec, StepId, Timestamp};
use stepladder_engine::RegisteredFunction;
use stepladder_engine::executor::{
    AdvisedFailure, Attempt, Execution, Executor, Finished, OpenError, PollResult, Polled, RunView, StepResult,
    Unreachable,
};

/// Returns all functions:
///
/// - `echo` returns the event's data.
/// - `keyed` does the same, with one run at a time per client.
/// - `nap` sleeps for an hour if the event's data says so.
/// - `<b>markup</b>` has names that contain HTML.
///
/// With `event.data.fail`, the step fails.
pub(super) fn all_programs() -> Vec<RegisteredFunction> {
    let of = |id: &str, event: &str, ask: Operation| {
        let mut spec = Spec::new(id);
        spec.triggers.push(Trigger { event: event.into(), condition: None });
        (spec, OneStepFunction { step: "<u>step</u>".into(), ask })
    };
    let expr = |source: &str| Expr::compile(source).expect("a good expression");
    let echo = of("echo", "test/echo", Operation::Run(Default::default()));
    let mut keyed = of("keyed", "test/keyed", Operation::Run(Default::default()));
    keyed.0.concurrency.push(Concurrency { key: Some(expr("event.data.client")), ..Concurrency::steps(1) });
    keyed.0.on_failure = Some("echo".into());
    let mut nap = of("nap", "test/nap", Operation::SleepFor(Duration::from_secs(3_600)));
    nap.0.triggers[0].condition = Some(expr("event.data.long == true && size(event.data.tags) < 10"));
    let markup = of("<b>markup</b>", "<i>markup</i>", Operation::Run(Default::default()));
    [echo, keyed, nap, markup].map(|(spec, one)| RegisteredFunction::new(spec, None, Arc::new(one))).into()
}

struct OneStepFunction {
    step: StepId,
    ask: Operation,
}

#[async_trait]
impl Executor for OneStepFunction {
    async fn open(&self, run: RunView, _: Timestamp) -> Result<Box<dyn Execution>, OpenError> {
        let (step, ask) = (self.step.clone(), self.ask.clone());
        Ok(Box::new(OneStepExecution { step, ask, event: run.event, running: false, outcome: None }))
    }
}

struct OneStepExecution {
    step: StepId,
    ask: Operation,
    event: Arc<Event>,
    running: bool,
    outcome: Option<RevealedOutcome>,
}

impl OneStepExecution {
    fn body(&self) -> Result<stepladder_core::Json, AdvisedFailure> {
        let data: serde_json::Value = serde_json::from_str(self.event.data.get()).unwrap_or_default();
        match data["fail"].as_str() {
            None => Ok(self.event.data.clone()),
            Some(why) => Err(AdvisedFailure {
                failure: Failure::with_code(why, "asked"),
                retry: if why.len() % 2 == 0 { RetryAdvice::Never } else { RetryAdvice::Default },
            }),
        }
    }
}

impl OneStepExecution {
    fn advance(&self) -> PollResult {
        match &self.outcome {
            Some(RevealedOutcome { outcome: Outcome::Value(value), .. }) => PollResult::Ended(Ok(value.clone())),
            Some(RevealedOutcome { outcome: Outcome::Failed(failure), .. }) => {
                PollResult::Ended(Err(AdvisedFailure { failure: failure.clone(), retry: RetryAdvice::Never }))
            }
            None if self.running => PollResult::Wanted(Vec::new()),
            None => {
                let at = Some(std::panic::Location::caller().into());
                PollResult::Wanted(vec![Want { step: self.step.clone(), operation: self.ask.clone(), at }])
            }
        }
    }
}

#[async_trait]
impl Execution for OneStepExecution {
    async fn poll(&mut self, memo: Vec<RevealedOutcome>) -> Result<Polled, Unreachable> {
        self.outcome = memo.into_iter().find(|revealed| revealed.step == self.step).or(self.outcome.take());
        Ok(self.advance().into())
    }

    fn run(&mut self, _attempts: Vec<Attempt>) {
        self.running = true;
    }

    async fn wait(&mut self) -> Finished {
        if !std::mem::take(&mut self.running) {
            std::future::pending::<()>().await;
        }
        let result = self.body().map_err(Into::into);
        let result = StepResult { step: self.step.clone(), result, report: AttemptReport::default() };
        Finished { results: vec![result], dropped: Vec::new() }
    }

    fn stop(&mut self, _step: &StepId, _timeout: Duration) {
        self.running = false;
    }
}
