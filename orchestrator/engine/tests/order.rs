//! The order of the events of a request (rule 31), where something happens between two calls of the storage.

mod support;

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::decide::Operation;
use stepladder_core::expr::Expr;
use stepladder_core::flow::{Rate, Singleton, SingletonMode};
use stepladder_core::waiting::{EventMatch, EventWait};
use stepladder_core::{NewEvent, Spec, Status, json};
use stepladder_engine::{Engine, RunFilter};
use support::World;
use support::around::{self, Interlude};
use support::script::Script;

const MINUTE: Duration = Duration::from_secs(60);

fn event(name: &str, id: &str) -> NewEvent {
    NewEvent { id: Some(id.into()), ..NewEvent::new(name, json::empty_object()) }
}

async fn statuses(engine: &Engine) -> Vec<Status> {
    let mut runs = engine.query().runs(RunFilter::default()).await.expect("listed").runs;
    runs.sort_by_key(|run| run.event);
    runs.into_iter().map(|run| run.status).collect()
}

/// A world whose function waits for `word`, and an engine on which the run of an event waits before the events of its
/// request are given to those who wait.
fn waits_at_once() -> (World, Arc<Engine>, Arc<Engine>) {
    let wait = EventWait { events: vec!["word".into()], matching: EventMatch::Any };
    let ask = Operation::WaitForEvent { wait: Arc::new(wait), timeout: MINUTE };
    let mut world = World::new(vec![Script::new("f").ask("w", &[], ask).program()]);
    let other = world.engine();
    let (memory, worker) = (world.memory.clone(), other.clone());
    let hops: Interlude = Box::pin(async move { support::hop_all(&memory, &worker).await });
    let engine = world.engine_on(around::after(&world.memory, "create_runs", hops));
    (world, engine, other)
}

#[tokio::test]
async fn rule_31_an_event_does_not_enter_a_run_that_a_later_one_of_its_request_began() {
    for (request, received) in [(["word", "go"], false), (["go", "word"], true)] {
        let (world, engine, other) = waits_at_once();
        let events = request.iter().map(|name| event(name, name)).collect();
        engine.intake().ingest(events, None).await.expect("accepted");
        // nor when it is repeated
        engine.intake().ingest(vec![event("word", "word")], None).await.expect("accepted");
        let run = support::only_run(&other).await;
        world.settle(&other).await;
        let entered = support::count(&world.journal(&other, run).await, |fact| {
            matches!(fact, stepladder_core::Fact::EventDelivered { .. })
        });
        assert_eq!(entered, usize::from(received), "{request:?}");
    }
}

/// A request of two events under one key, while another process starts a run under that key in between.
async fn overtaken(spec: impl FnOnce(&mut Spec)) -> (World, Arc<Engine>, [String; 2]) {
    let mut world = World::new(vec![Script::new("f").spec(spec).step("a", &[]).program()]);
    let other = world.engine();
    let faster = other.clone();
    let interlude: Interlude = Box::pin(async move {
        faster.intake().ingest(vec![event("go", "zero")], None).await.expect("accepted");
    });
    let engine = world.engine_on(around::before(&world.memory, "create_runs", interlude));
    let ids = engine.intake().ingest(vec![event("go", "one"), event("go", "two")], None).await.expect("accepted");
    (world, other, [ids[0].to_string(), ids[1].to_string()])
}

#[tokio::test]
async fn an_event_that_leads_to_an_overtaken_start_of_its_call_is_decided_again() {
    let (_world, engine, ids) = overtaken(|spec| spec.flow.idempotency = Some(Expr::compile("'k'").unwrap())).await;
    let first = support::only_run(&engine).await;
    for id in ids {
        let runs = engine.query().runs_of_event(&id).await.expect("listed");
        assert_eq!(runs.iter().map(|run| run.run).collect::<Vec<_>>(), [first]);
    }
}

#[tokio::test]
async fn an_event_that_was_skipped_for_an_overtaken_start_says_which_run_is_live() {
    let singleton = Singleton { key: None, mode: SingletonMode::Skip };
    let (_world, engine, ids) = overtaken(|spec| spec.flow.singleton = Some(singleton)).await;
    let runs = engine.query().runs(RunFilter::default()).await.expect("listed").runs;
    let live: Vec<_> = runs.iter().filter(|run| !run.status.is_end()).map(|run| run.run.to_string()).collect();
    assert_eq!(live.len(), 1);
    for id in ids {
        let run = engine.query().runs_of_event(&id).await.expect("listed")[0].run;
        let reason = engine.query().run(run).await.expect("there").summary.error.expect("it is skipped").message;
        assert!(reason.contains(&live[0]), "{reason}");
    }
}

#[tokio::test]
async fn of_a_call_that_is_overtaken_all_starts_are_made_and_none_too_early() {
    let rate = Rate { limit: 1, period: MINUTE, burst: 1, key: None };
    let (world, engine, _) = overtaken(|spec| spec.flow.throttle = Some(rate)).await;
    world.settle(&engine).await;
    assert_eq!(statuses(&engine).await, [Status::Completed; 3]);
}

#[tokio::test]
async fn rule_31_a_throttle_keeps_the_order_of_a_request_that_was_overtaken() {
    let rate = Rate { limit: 1, period: MINUTE, burst: 1, key: None };
    let (world, engine, ids) = overtaken(|spec| spec.flow.throttle = Some(rate)).await;
    let mut begins = Vec::new();
    for id in ids {
        let run = engine.query().runs_of_event(&id).await.expect("listed")[0].run;
        let stepladder_core::Fact::RunCreated(created) = &world.journal(&engine, run).await[0].fact else {
            panic!("the run of {id} does not begin with its creation");
        };
        begins.push(created.begins_at.expect("another run has the first place"));
    }
    assert_eq!(begins[1].since(begins[0]), MINUTE, "{begins:?}");
}
