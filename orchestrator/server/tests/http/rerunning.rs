//! Reruns from a step, over REST and from the dashboard. They keep every outcome before that step.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use stepladder_core::decide::{Operation, Want};
use stepladder_core::journal::{Failure, Outcome};
use stepladder_core::retry::RetryAdvice;
use stepladder_core::spec::Trigger;
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{AttemptReport, Spec, StepId, Timestamp, json as core_json};
use stepladder_engine::RegisteredFunction;
use stepladder_engine::executor::{
    AdvisedFailure, Attempt, Execution, Executor, Finished, OpenError, PollResult, Polled, RunView, StepResult,
    Unreachable,
};

use crate::world::ServerFixture;

/// The function `order`, which is triggered by `test/order`. Its step `charge` fails in the first
/// run; its step `mail` follows. The function returns both results.
struct OrderProgram {
    charges: Arc<AtomicU32>,
}

impl OrderProgram {
    fn function(charges: &Arc<AtomicU32>) -> RegisteredFunction {
        let mut spec = Spec::new("order");
        spec.triggers.push(Trigger { event: "test/order".into(), condition: None });
        RegisteredFunction::new(spec, None, Arc::new(Self { charges: charges.clone() }))
    }
}

#[async_trait]
impl Executor for OrderProgram {
    async fn open(&self, _: RunView, _: Timestamp) -> Result<Box<dyn Execution>, OpenError> {
        Ok(Box::new(OrderSession { outcomes: HashMap::new(), running: None, charges: self.charges.clone() }))
    }
}

struct OrderSession {
    outcomes: HashMap<StepId, Outcome>,
    running: Option<StepId>,
    charges: Arc<AtomicU32>,
}

#[async_trait]
impl Execution for OrderSession {
    async fn poll(&mut self, memo: Vec<RevealedOutcome>) -> Result<Polled, Unreachable> {
        self.outcomes.extend(memo.into_iter().map(|revealed| (revealed.step, revealed.outcome)));
        let next = ["charge", "mail"].into_iter().find(|step| !self.outcomes.contains_key(*step));
        let result = match next {
            _ if self.running.is_some() => PollResult::Wanted(Vec::new()),
            Some(step) => {
                let at = Some(std::panic::Location::caller().into());
                PollResult::Wanted(vec![Want { step: step.into(), operation: Operation::Run(Default::default()), at }])
            }
            None => {
                let declined = matches!(self.outcomes.get("charge"), Some(Outcome::Failed(_)));
                PollResult::Ended(Ok(core_json::to_json(if declined { "invoice" } else { "charged" }).unwrap()))
            }
        };
        Ok(result.into())
    }

    fn run(&mut self, attempts: Vec<Attempt>) {
        self.running = attempts.into_iter().map(|attempt| attempt.step).next();
    }

    async fn wait(&mut self) -> Finished {
        let Some(step) = self.running.take() else { return std::future::pending().await };
        let declined = *step == *"charge" && self.charges.fetch_add(1, Ordering::Relaxed) == 0;
        let result = match declined {
            true => Err(AdvisedFailure { failure: Failure::new("declined"), retry: RetryAdvice::Never }.into()),
            false => Ok(core_json::null()),
        };
        Finished { results: vec![StepResult { step, result, report: AttemptReport::default() }], dropped: Vec::new() }
    }

    fn stop(&mut self, _: &StepId, _: Duration) {}
}

#[tokio::test]
async fn a_failure_that_was_handled_is_kept_by_every_way_to_run_it_again() {
    let charges = Arc::default();
    let world = ServerFixture::with_programs(vec![OrderProgram::function(&charges)]);
    let run = world.run(json!({"name": "test/order"})).await;
    assert_eq!(world.get(&format!("/v1/runs/{run}")).await.data()["output"], "invoice");

    let mut again = Vec::new();
    let rest = world.post(&format!("/v1/runs/{run}/rerun"), r#"{"from_step":"mail"}"#).await;
    again.push(rest.data()["run_id"].as_str().unwrap().to_owned());
    let page = world.post_form(&format!("/runs/{run}/rerun"), "from_step=mail&input=").await;
    again.push(page.header("location").strip_prefix("/runs/").unwrap().to_owned());
    let many = world.post("/v1/runs/rerun?function=order&status=Completed", r#"{"from_step":"mail"}"#).await;
    let many = many.data();
    assert_eq!(many.as_array().unwrap().len(), 1, "the others have not ended: {many}");
    again.push(many[0]["run_id"].as_str().unwrap().to_owned());
    world.settle().await;
    for again in again {
        let data = world.get(&format!("/v1/runs/{again}")).await.data();
        assert_eq!((&data["status"], &data["output"]), (&json!("Completed"), &json!("invoice")), "{data}");
        let charge = &data["steps"][0];
        assert_eq!((&charge["id"], &charge["status"]), (&json!("charge"), &json!("Failed")), "{data}");
        assert_eq!((&charge["error"]["message"], &data["steps"][1]["id"]), (&json!("declined"), &json!("mail")));
        let page = world.get(&format!("/runs/{again}")).await.text;
        assert!(page.contains("kept from the run that this one reruns: declined"), "{page}");
    }
    assert_eq!(charges.load(Ordering::Relaxed), 1);
    world.assert_no_error_logged();
}
