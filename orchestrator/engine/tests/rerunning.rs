//! What a rerun copies besides outcomes, and which runs cannot be rerun.

mod support;

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::decide::Operation;
use stepladder_core::flow::Batch;
use stepladder_core::journal::Fact;
use stepladder_core::waiting::{EventMatch, EventWait};
use stepladder_core::{NewEvent, RunId, Status, json};
use stepladder_engine::{Engine, RerunOptions};
use support::script::ScriptedFunction;
use support::{EngineFixture, count_facts, only_run};

const HOUR: Duration = Duration::from_secs(3_600);

async fn rerun(engine: &Engine, run: RunId, from_step: Option<&str>) -> Result<RunId, String> {
    let how = RerunOptions { from_step: from_step.map(Into::into), input: None };
    engine.control().rerun(run, how).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_run_of_an_unregistered_function_is_not_rerun() {
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.settle(&engine).await;
    let run = only_run(&engine).await;
    world.functions.clear();
    let without = world.engine();
    let refused = rerun(&without, run, None).await.expect_err("its function is not there");
    assert!(refused.contains("belongs to function `f`, which is not registered"), "{refused}");
    assert_eq!(only_run(&without).await, run, "no run was created");
}

#[tokio::test]
async fn a_rerun_of_a_batch_has_all_of_its_events() {
    let batch = Batch { size: 3, timeout: HOUR, key: None };
    let mut world = EngineFixture::new(vec![
        ScriptedFunction::new("f").spec(|spec| spec.flow.batch = Some(batch)).step("a", &[]).function(),
    ]);
    let engine = world.engine();
    let events = (0..3).map(|_| NewEvent::new("go", json::empty_object())).collect();
    engine.intake().ingest(events, None).await.expect("accepted");
    world.settle(&engine).await;
    let run = only_run(&engine).await;
    let again = rerun(&engine, run, None).await.expect("a run");
    world.settle(&engine).await;
    assert_eq!(engine.query().run(again).await.expect("a run").summary.status, Status::Completed);
    for run in [run, again] {
        let joined = count_facts(&world.journal(&engine, run).await, |fact| matches!(fact, Fact::EventJoined { .. }));
        assert_eq!(joined, 2, "its own event, and two more");
    }
}

/// A journal contains an event only once, even if the event fulfilled several waits. A rerun copies
/// the event once per wait.
#[tokio::test]
async fn outcomes_larger_than_a_run_may_keep_are_not_copied() {
    let wait = || {
        let wait = EventWait { events: vec!["word".into()], matching: EventMatch::Any };
        Operation::WaitForEvent { wait: Arc::new(wait), timeout: HOUR }
    };
    let names: Vec<String> = (0..12).map(|n| format!("w{n}")).collect();
    let waits = names.iter().fold(ScriptedFunction::new("f"), |script, name| script.request(name, &[], wait()));
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    let mut world = EngineFixture::new(vec![waits.step("last", &names).function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.hop_once(&engine).await;
    let data = json::to_json(&serde_json::json!({ "text": "x".repeat(3_000_000) })).expect("JSON");
    engine.intake().ingest(vec![NewEvent::new("word", data)], None).await.expect("accepted");
    world.settle(&engine).await;
    let run = only_run(&engine).await;
    assert_eq!(engine.query().run(run).await.expect("a run").summary.status, Status::Completed);
    let refused = rerun(&engine, run, Some("last")).await.expect_err("there is no room");
    assert!(refused.contains("a run keeps at most") && refused.contains("start from an earlier step"), "{refused}");
    assert!(rerun(&engine, run, Some("w3")).await.is_ok());
}
