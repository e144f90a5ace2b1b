//! A small function with one step, so that the tests have runs to show.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::decide::{Operation, Want};
use stepladder_core::expr::Expr;
use stepladder_core::journal::{Failure, Outcome};
use stepladder_core::label::LabelSpec;
use stepladder_core::retry::RetryAdvice;
use stepladder_core::spec::{Concurrency, Trigger};
use stepladder_core::state::RevealedOutcome;
use stepladder_core::waiting::{EventMatch, EventWait};
use stepladder_core::{AttemptReport, Event, NewEvent, Spec, StepId, Timestamp, json};
use stepladder_engine::RegisteredFunction;
use stepladder_engine::executor::{
    AdvisedFailure, Attempt, Execution, Executor, Finished, OpenError, PollResult, Polled, RunView, StepResult,
    Unreachable,
};

/// A function with a step that returns the event's data. The strings in the data control it: `fail`
/// makes the step fail for good, `again` makes each attempt fail, and `fall` makes the handler fail
/// once.
pub(crate) struct ScriptedProgram {
    step: StepId,
    ask: Operation,
}

impl ScriptedProgram {
    /// Returns the function of this description. `pay` has a version.
    fn register(self, spec: Spec) -> RegisteredFunction {
        let version = (&*spec.id == "pay").then(|| "7<b>".into());
        RegisteredFunction::new(spec, version, Arc::new(self))
    }

    /// Returns the function `echo`, which is triggered by `test/echo`.
    pub(crate) fn echo_program() -> RegisteredFunction {
        let mut spec = Spec::new("echo");
        spec.triggers.push(Trigger { event: "test/echo".into(), condition: None });
        spec.concurrency.push(Concurrency { key: Some(Expr::compile("event.name").unwrap()), ..Concurrency::steps(2) });
        spec.labels.push(LabelSpec { key: "client".into(), value: Expr::compile("event.data.client").unwrap() });
        Self { step: "say".into(), ask: Operation::Run(Default::default()) }.register(spec)
    }

    /// Returns the function `nap`, which is triggered by `test/nap` if `data.long` is true, and
    /// sleeps for an hour.
    pub(crate) fn nap_program() -> RegisteredFunction {
        let mut spec = Spec::new("nap");
        let condition = Some(Expr::compile("event.data.long == true").unwrap());
        spec.triggers.push(Trigger { event: "test/nap".into(), condition });
        spec.on_failure = Some("echo".into());
        spec.retry.non_retryable = ["CardDeclined".into(), "<Error>".into()].into();
        Self { step: "rest".into(), ask: Operation::SleepFor(Duration::from_secs(3_600)) }.register(spec)
    }

    /// Returns the function `pay`, which is triggered by `test/pay`. Its step `payment` waits for a
    /// signal, and the function returns the signal's data.
    pub(crate) fn paying_program() -> RegisteredFunction {
        let mut spec = Spec::new("pay");
        spec.triggers.push(Trigger { event: "test/pay".into(), condition: None });
        spec.example = Some(NewEvent::new("test/pay", json::to_json(&serde_json::json!({"amount": "<7>"})).unwrap()));
        let ask = Operation::WaitForSignal { timeout: Duration::from_secs(3_600), heartbeat: None, name: None };
        Self { step: "payment".into(), ask }.register(spec)
    }

    /// Returns the function `render`, which is triggered by `test/render`. Its step `video` waits
    /// for a signal, with a heartbeat every minute.
    pub(crate) fn rendering_program() -> RegisteredFunction {
        let mut spec = Spec::new("render");
        spec.triggers.push(Trigger { event: "test/render".into(), condition: None });
        let heartbeat = Some(Duration::from_secs(60));
        let ask = Operation::WaitForSignal { timeout: Duration::from_secs(3_600), heartbeat, name: None };
        Self { step: "video".into(), ask }.register(spec)
    }

    /// Returns the function `listen`, which is triggered by `test/listen`. Its step `word` waits
    /// for the event `test/<b>word</b>`.
    pub(crate) fn listening_program() -> RegisteredFunction {
        let mut spec = Spec::new("listen");
        spec.triggers.push(Trigger { event: "test/listen".into(), condition: None });
        let wait = Arc::new(EventWait { events: vec!["test/<b>word</b>".into()], matching: EventMatch::Any });
        let ask = Operation::WaitForEvent { wait, timeout: Duration::from_secs(3_600) };
        Self { step: "word".into(), ask }.register(spec)
    }

    /// Returns a function with HTML in its names. It is triggered by `<i>markup</i>`.
    pub(crate) fn markup_program() -> RegisteredFunction {
        let mut spec = Spec::new("<b>bold</b>");
        spec.triggers.push(Trigger { event: "<i>markup</i>".into(), condition: None });
        Self { step: "<u>step</u>".into(), ask: Operation::Run(Default::default()) }.register(spec)
    }
}

#[async_trait]
impl Executor for ScriptedProgram {
    async fn open(&self, run: RunView, _: Timestamp) -> Result<Box<dyn Execution>, OpenError> {
        Ok(Box::new(ScriptedExecution {
            step: self.step.clone(),
            ask: self.ask.clone(),
            fall: (run.attempt == 1).then(|| text_field(&run.event, "fall")).flatten(),
            event: run.event,
            running: false,
            outcome: None,
        }))
    }
}

/// Returns the string of this name in an event's data, if there is one.
fn text_field(event: &Event, name: &str) -> Option<String> {
    let data: serde_json::Value = serde_json::from_str(event.data.get()).unwrap();
    data[name].as_str().map(str::to_owned)
}

struct ScriptedExecution {
    step: StepId,
    ask: Operation,
    event: Arc<Event>,
    /// The error with which the handler fails.
    fall: Option<String>,
    running: bool,
    outcome: Option<RevealedOutcome>,
}

impl ScriptedExecution {
    fn advance(&self) -> PollResult {
        if let Some(why) = &self.fall {
            return PollResult::Ended(Err(AdvisedFailure { failure: Failure::new(why), retry: RetryAdvice::Default }));
        }
        match &self.outcome {
            Some(RevealedOutcome { outcome: Outcome::Value(value), .. }) => PollResult::Ended(Ok(value.clone())),
            Some(RevealedOutcome { outcome: Outcome::Failed(failure), .. }) => {
                PollResult::Ended(Err(AdvisedFailure { failure: failure.clone(), retry: RetryAdvice::Never }))
            }
            None if self.running => PollResult::Wanted(Vec::new()),
            None => PollResult::Wanted(vec![Want {
                step: self.step.clone(),
                operation: self.ask.clone(),
                at: Some(std::panic::Location::caller().into()),
            }]),
        }
    }
}

#[async_trait]
impl Execution for ScriptedExecution {
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
        let stack = text_field(&self.event, "stack").map(Into::into);
        let (name, data) = match stack {
            Some(_) => (Some("TypeError".into()), Some(self.event.data.clone())),
            None => (None, None),
        };
        let fault = |why: String, retry| {
            let failure = Failure { name, stack, data, ..Failure::with_code(why, "asked") };
            Err(AdvisedFailure { failure, retry }.into())
        };
        let result = match (text_field(&self.event, "fail"), text_field(&self.event, "again")) {
            (Some(why), _) => fault(why, RetryAdvice::Never),
            (None, Some(why)) => fault(why, RetryAdvice::Default),
            (None, None) => Ok(self.event.data.clone()),
        };
        let result = StepResult { step: self.step.clone(), result, report: AttemptReport::default() };
        Finished { results: vec![result], dropped: Vec::new() }
    }

    fn stop(&mut self, _step: &StepId, _timeout: Duration) {
        self.running = false;
    }
}
