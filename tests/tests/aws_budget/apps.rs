//! The cost of the steps of an Inngest app, with a call for each step and with checkpoints.
//!
//! The app is a stub that answers as the packages do. With checkpoints, it records each step at
//! another process, which is the HTTP role.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use stepladder_core::hop::Checkpoint;
use stepladder_core::{FunctionConfig, NewEvent, RunId, Status, StepId, json as values};
use stepladder_engine::{Engine, StoredFunctions};
use stepladder_inngest::AppConnector;
use stepladder_testkit::clock::SeededEntropy;
use stepladder_tests::stub_server::{HttpRequest, StubResponse, serve};

use crate::document;
use crate::price::{BilledUnits, HTTP_API, dollars};
use crate::stage::{AwsStage, SdkRetryMode};
use crate::steps::{END, START};
use crate::wire::RequestTally;

/// How the app executes its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AppKind {
    CallForEachStep,
    Checkpoints,
}

/// What the app needs, once it is there: the HTTP role.
type HttpRole = Arc<Mutex<Option<Arc<Engine>>>>;

/// The number of steps of a run.
const STEPS: usize = 10;

/// Creates an engine with its own cache, as a separate process has, that knows registered apps.
fn process(stage: &AwsStage, seed: u64) -> (Arc<Engine>, Arc<StoredFunctions>) {
    let (clock, config) = (stage.clock.clone(), stage.config.clone());
    let connector = AppConnector::new(None, clock.clone()).expect("a client");
    let functions =
        StoredFunctions::new(stage.aws.clone(), clock.clone(), Vec::new(), config.clone(), Box::new(connector));
    let functions = Arc::new(functions.expect("no function, no fault"));
    let entropy = Arc::new(SeededEntropy::new(seed << 40));
    (Arc::new(Engine::with_functions(stage.aws.clone(), clock, entropy, functions.clone(), config)), functions)
}

/// Answers a call as an app does.
async fn answer(kind: AppKind, http: HttpRole, asked: HttpRequest) -> StubResponse {
    let call = asked.json();
    let known = call["steps"].as_object().map_or(0, serde_json::Map::len);
    let value = || Value::from("x".repeat(198));
    let id = |n: usize| format!("{n:040x}");
    let (status, body) = match kind {
        AppKind::CallForEachStep if known < STEPS => {
            (206, json!([{"op": "StepRun", "id": id(known), "data": value()}]))
        }
        AppKind::CallForEachStep => (200, json!("done")),
        AppKind::Checkpoints => {
            let run: RunId = call["ctx"]["run_id"].as_str().expect("a run").parse().expect("an id");
            let number = call["ctx"]["qi_id"].as_str().expect("a call").parse().expect("checkpoints are on");
            let engine = http.lock().expect("no panic").clone().expect("the role is there");
            for n in known..STEPS {
                let steps = vec![(StepId::from(id(n)), values::to_json(&value()).expect("JSON"))];
                engine.checkpoint(run, &Checkpoint { call: number, steps }).await.expect("it is recorded");
            }
            (200, json!("done"))
        }
    };
    let StubResponse::Reply(mut reply) = StubResponse::json(status, &body) else { unreachable!("made here") };
    reply.headers_mut().insert("x-inngest-sdk", "js:v4".parse().expect("a header"));
    StubResponse::Reply(reply)
}

/// Measures a run of an app that a warm worker executes. Returns the requests after its start, and
/// the number of invocations of the worker.
async fn measure(kind: AppKind) -> (RequestTally, u64) {
    let stage = AwsStage::new(SdkRetryMode::Tells, Vec::new()).await;
    let http = HttpRole::default();
    let role = http.clone();
    let address = serve(move |asked| answer(kind, role.clone(), asked)).await;
    let (worker, functions) = process(&stage, 1);
    *http.lock().expect("no panic") = Some(process(&stage, 2).0);
    let url = format!("http://{address}/api/inngest");
    let config = json!({"id": "shop-go", "version": "1", "triggers": [{"event": "shop/go"}], "timeout": "60s"});
    let config = FunctionConfig::decode(&config.to_string()).expect("a config");
    functions.register("shop", &url, &[config]).await.expect("it is registered");
    let mut measured = (RequestTally::default(), 0);
    // the first run makes the requests that a process makes only once
    for n in 0..2 {
        worker.functions().paused().await.expect("the table answers");
        let event = NewEvent::new("shop/go", values::to_json(&json!({"n": n})).expect("JSON"));
        stage.wire.take_tally();
        let event = stage.send(&worker, &event).await;
        let start = stage.wire.take_tally();
        let invocations = stage.settle(|| worker.clone()).await as u64;
        measured = (stage.wire.take_tally(), invocations);
        assert!(n == 0 || start.writes == START, "a run of an app starts like any other: {start:?}");
        assert_eq!(stage.runs(event).await[0].summary.status, Status::Completed);
    }
    stage.assert_within_limits();
    measured
}

/// Returns the bill of a step, without the end of the run.
fn of_step(tally: &RequestTally, invocations: u64) -> BilledUnits {
    let mut bill = BilledUnits::from_tally(tally, invocations);
    bill.writes -= END;
    // the first wake is sent with the start of the run
    bill.sqs += 1.0;
    bill.divided_by(STEPS as f64)
}

#[tokio::test]
async fn a_step_of_an_app_costs_what_the_document_says() {
    let (tally, invocations) = measure(AppKind::CallForEachStep).await;
    println!("a call for each step: {:?}, {invocations} invocations, {tally:?}", tally.requests);
    let calls = of_step(&tally, invocations);
    let (tally, invocations) = measure(AppKind::Checkpoints).await;
    println!("checkpoints: {:?}, {invocations} invocations, {tally:?}", tally.requests);
    let checkpoints = of_step(&tally, invocations);
    document::assert_has_rows(&[
        calls.table_row("a step of an app, a call for each step"),
        checkpoints.table_row("a step of an app with checkpoints, 10 a call"),
        format!(
            "| the checkpoint's request: API Gateway and an invocation of the HTTP role | {} |",
            dollars(HTTP_API + BilledUnits { invocations: 1.0, ..BilledUnits::default() }.dollars())
        ),
    ]);
}
