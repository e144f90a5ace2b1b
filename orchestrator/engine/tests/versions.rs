//! Workers with two versions of the code at the same time, as during a deployment.

mod support;

use std::time::Duration;

use stepladder_core::decide::Operation;
use stepladder_core::journal::Fact;
use stepladder_core::{Status, json};
use stepladder_engine::Pace;
use support::EngineFixture;
use support::script::ScriptedFunction;

#[tokio::test]
async fn an_older_version_leaves_the_call_of_an_unknown_function_to_other_workers() {
    let call = Operation::Invoke {
        function: "new".into(),
        input: json::empty_object(),
        bound: false,
        timeout: None,
        user: None,
    };
    let caller = ScriptedFunction::new("f").request("call", &[], call).function();
    let called = ScriptedFunction::new("new").step("a", &[]).spec(|spec| spec.triggers.clear()).function();
    let mut world = EngineFixture::new(vec![caller.clone(), called]);
    let engine = world.engine();
    let mut older = EngineFixture::new(vec![caller]);
    (older.memory, older.clock) = (world.memory.clone(), world.clock.clone());
    let older = older.engine();
    // the newer worker dies after it wrote the entry of the call and before it created the called
    // run
    let dying = world.engine_on(support::slow::only_journal(world.memory.clone(), |fact| {
        matches!(fact, Fact::InvokeStarted { .. })
    }));
    let event = world.send_event(&engine).await;
    let hop = support::spawn_hop(&world, &dying);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    hop.abort();
    world.memory.redeliver();
    world.hop_once(&older).await;
    world.settle(&engine).await;
    assert_eq!(world.status(&engine, event).await, Status::Completed);
}

/// A function that sleeps for a night between two steps.
fn nightly_function(name: &str) -> ScriptedFunction {
    let night = Operation::SleepFor(Duration::from_secs(86_400));
    ScriptedFunction::new("f").step("first", &[]).request("night", &["first"], night).step(name, &["night"])
}

/// Starts a run under the versions `begun` and ends it under `ended`. Returns the run's steps and
/// version.
async fn ends_under(begun: Vec<ScriptedFunction>, ended: Vec<ScriptedFunction>) -> (Vec<String>, Option<String>) {
    let mut world = EngineFixture::new(begun.into_iter().map(ScriptedFunction::function).collect());
    let engine = world.engine();
    world.send_event(&engine).await;
    world.settle_within(&engine, Duration::from_secs(60)).await;
    let run = support::only_run(&engine).await;
    assert_eq!(engine.query().run(run).await.unwrap().steps.len(), 2, "it sleeps");
    world.functions = ended.into_iter().map(ScriptedFunction::function).collect();
    let engine = world.engine();
    world.settle(&engine).await;
    let run = engine.query().run(run).await.unwrap();
    assert_eq!(run.summary.status, Status::Completed);
    (run.steps.iter().map(|step| step.id.to_string()).collect(), run.version.map(|version| version.to_string()))
}

#[tokio::test]
async fn a_run_continues_under_its_own_version_while_that_is_registered() {
    let (one, two) = (nightly_function("one").version("1"), nightly_function("two").version("2"));
    let (steps, version) = ends_under(vec![one.clone()], vec![two.clone(), one.clone()]).await;
    assert_eq!((steps.join(" "), version.as_deref()), ("first night one".into(), Some("1")));
    // a run that started when the function had no versions continues without a version
    let (steps, version) = ends_under(vec![nightly_function("none")], vec![nightly_function("none"), one]).await;
    assert_eq!((steps.join(" "), version), ("first night none".into(), None));
}

#[tokio::test]
async fn a_run_whose_version_is_not_registered_continues_under_the_newest() {
    let (one, two) = (nightly_function("one").version("1"), nightly_function("two").version("2"));
    let (steps, version) = ends_under(vec![one], vec![two.clone()]).await;
    assert_eq!((steps.join(" "), version.as_deref()), ("first night two".into(), Some("1")));
    let (steps, version) = ends_under(vec![nightly_function("none")], vec![two]).await;
    assert_eq!((steps.join(" "), version), ("first night two".into(), None), "it did not begin under one");
}

#[tokio::test]
async fn the_version_is_written_with_the_first_entries_and_costs_no_write() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let mut counts = Vec::new();
        for script in [nightly_function("a"), nightly_function("a").version("1")] {
            let mut world = EngineFixture::new(vec![script.function()]).pace(pace);
            let engine = world.engine();
            world.send_event(&engine).await;
            world.settle(&engine).await;
            counts.push(world.memory.counts().appends);
        }
        assert_eq!(counts[0], counts[1], "{pace:?}");
    }
}

/// Executes the hops of one run in turn with two builds. Returns the ids of the run's steps, in the
/// order in which they started.
async fn steps_in_turn(old: ScriptedFunction, new: ScriptedFunction) -> Vec<String> {
    let mut world = EngineFixture::new(vec![old.function()]);
    let old = world.engine();
    let event = world.send_event(&old).await;
    world.functions = vec![new.function()];
    let new = world.engine();
    for hop in 0.. {
        assert!(hop < 20, "the run does not end");
        world.hop_once(if hop % 2 == 0 { &old } else { &new }).await;
        if world.status(&old, event).await == Status::Completed {
            break;
        }
    }
    let run = support::only_run(&old).await;
    old.query().run(run).await.unwrap().steps.iter().map(|step| step.id.to_string()).collect()
}

#[tokio::test]
async fn hops_under_two_builds_run_each_step_once() {
    let old = ScriptedFunction::new("f").step("a", &[]).step("b", &["a"]).step("c", &["b"]).step("d", &["c"]);
    let new = ScriptedFunction::new("f").step("a", &[]).step("b", &["a"]).step("added", &["b"]).step("c", &["added"]);
    let new = new.step("d", &["c"]);
    assert_eq!(steps_in_turn(old, new).await, ["a", "b", "c", "added", "d"]);
}

#[tokio::test]
async fn a_renamed_step_may_run_under_both_names_while_two_builds_work() {
    let old = ScriptedFunction::new("f").step("a", &[]).step("b", &["a"]).step("c", &["b"]);
    let new = ScriptedFunction::new("f").step("a", &[]).step("renamed", &["a"]).step("c", &["renamed"]);
    let steps = steps_in_turn(old, new).await;
    assert!(["b", "renamed"].iter().all(|step| steps.iter().any(|id| id == step)), "{steps:?}");
}
