//! The order of the events of a request (rule 31) when something happens between two calls of the
//! storage.

mod support;

use std::sync::Arc;
use std::time::Duration;

use stepladder_core::decide::Operation;
use stepladder_core::expr::Expr;
use stepladder_core::flow::{CancelMatch, CancelOn, Debounce, Rate, Singleton, SingletonMode};
use stepladder_core::waiting::{EventMatch, EventWait};
use stepladder_core::{EventId, Fact, NewEvent, RunId, Spec, Status, Timestamp, json};
use stepladder_engine::ports::{Events, FlowStateChange, FlowStates};
use stepladder_engine::{Engine, RunFilter};
use support::EngineFixture;
use support::around::{self, HookFuture};
use support::script::ScriptedFunction;

const MINUTE: Duration = Duration::from_secs(60);

fn event(name: &str, id: &str) -> NewEvent {
    NewEvent::new(name, json::empty_object()).with_id(id)
}

async fn statuses(engine: &Engine) -> Vec<Status> {
    let mut runs = engine.query().runs(RunFilter::default()).await.expect("listed").runs;
    runs.sort_by_key(|run| run.event);
    runs.into_iter().map(|run| run.status).collect()
}

/// Returns a world with a function that waits for `word`, and two engines. With the first one, the
/// run starts to wait before the other events of its request are delivered.
fn waits_at_once() -> (EngineFixture, Arc<Engine>, Arc<Engine>) {
    let wait = EventWait { events: vec!["word".into()], matching: EventMatch::Any };
    let ask = Operation::WaitForEvent { wait: Arc::new(wait), timeout: MINUTE };
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").request("w", &[], ask).function()]);
    let other = world.engine();
    let (memory, worker) = (world.memory.clone(), other.clone());
    let hops: HookFuture = Box::pin(async move { support::hop_all(&memory, &worker).await });
    let engine = world.engine_on(around::with_hook_after(&world.memory, "create_runs", hops));
    (world, engine, other)
}

#[tokio::test]
async fn rule_31_an_event_is_not_delivered_to_a_run_that_a_later_event_of_its_request_created() {
    for (request, received) in [(["word", "go"], false), (["go", "word"], true)] {
        let (world, engine, other) = waits_at_once();
        let events = request.iter().map(|name| event(name, name)).collect();
        engine.intake().ingest(events, None).await.expect("accepted");
        // the event is delivered once, even if it is sent again
        engine.intake().ingest(vec![event("word", "word")], None).await.expect("accepted");
        let run = support::only_run(&other).await;
        world.settle(&other).await;
        let entered = support::count_facts(&world.journal(&other, run).await, |fact| {
            matches!(fact, stepladder_core::Fact::EventDelivered { .. })
        });
        assert_eq!(entered, usize::from(received), "{request:?}");
    }
}

/// Sends a request of two events with one key, while another process starts a run with that key.
async fn request_with_conflict(spec: impl FnOnce(&mut Spec)) -> (EngineFixture, Arc<Engine>, [String; 2]) {
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").spec(spec).step("a", &[]).function()]);
    let other = world.engine();
    let faster = other.clone();
    let interlude: HookFuture = Box::pin(async move {
        faster.intake().ingest(vec![event("go", "zero")], None).await.expect("accepted");
    });
    let engine = world.engine_on(around::with_hook_before(&world.memory, "create_runs", interlude));
    let ids = engine.intake().ingest(vec![event("go", "one"), event("go", "two")], None).await.expect("accepted");
    (world, other, [ids[0].to_string(), ids[1].to_string()])
}

#[tokio::test]
async fn an_event_is_decided_again_if_the_start_that_it_relies_on_meets_a_conflict() {
    let (_world, engine, ids) =
        request_with_conflict(|spec| spec.flow.idempotency = Some(Expr::compile("'k'").unwrap())).await;
    let first = support::only_run(&engine).await;
    for id in ids {
        let runs = engine.query().runs_of_event(&id).await.expect("listed");
        assert_eq!(runs.iter().map(|run| run.run).collect::<Vec<_>>(), [first]);
    }
}

#[tokio::test]
async fn a_skipped_run_names_the_live_run_after_a_conflict() {
    let singleton = Singleton { key: None, mode: SingletonMode::Skip };
    let (_world, engine, ids) = request_with_conflict(|spec| spec.flow.singleton = Some(singleton)).await;
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
async fn after_a_conflict_all_runs_of_a_call_are_created_and_none_starts_early() {
    let rate = Rate { limit: 1, period: MINUTE, burst: 1, key: None };
    let (world, engine, _) = request_with_conflict(|spec| spec.flow.throttle = Some(rate)).await;
    world.settle(&engine).await;
    assert_eq!(statuses(&engine).await, [Status::Completed; 3]);
}

#[tokio::test]
async fn rule_31_a_throttle_keeps_the_order_of_a_request_after_a_conflict() {
    let rate = Rate { limit: 1, period: MINUTE, burst: 1, key: None };
    let (world, engine, ids) = request_with_conflict(|spec| spec.flow.throttle = Some(rate)).await;
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

/// Returns the stored id of the event that was sent with the id `id`.
async fn stored_event_id(engine: &Engine, id: &str) -> EventId {
    let events = engine.query().events(None, 10).await.expect("listed");
    let found = events.into_iter().find(|event| event.event.external_id.as_deref() == Some(id));
    found.expect("stored").event.id
}

#[tokio::test]
async fn rule_31_an_event_that_a_parallel_attempt_assigned_to_the_run_joins_it_in_its_order() {
    let debounce = Debounce { period: MINUTE, longest: None, key: None };
    let mut world = EngineFixture::new(vec![
        ScriptedFunction::new("f").spec(|spec| spec.flow.debounce = Some(debounce)).step("a", &[]).function(),
    ]);
    let other = world.engine();
    other.intake().ingest(vec![event("go", "zero")], None).await.expect("accepted");
    world.settle(&other).await;
    let ended = support::only_run(&other).await;
    // a first attempt of the request dies after it has opened the run
    let request = || vec![event("go", "one"), event("go", "two"), event("go", "three")];
    let dying = world.engine_on(around::with_lost_request(&world.memory, "change_flow_state"));
    dying.intake().ingest(request(), None).await.expect_err("the storage fails");
    let run = RunId::started_by(stored_event_id(&other, "one").await, "f");
    // an earlier attempt had assigned the third event to a run that started without it
    let key: Arc<str> = format!("met/f/{}", stored_event_id(&other, "three").await).into();
    let text = |run: RunId| -> Option<Arc<str>> { Some(run.to_string().into()) };
    let assign = move |seen, becomes| FlowStateChange { key: key.clone(), seen, becomes, until: Timestamp::MAX };
    world.memory.change_flow_state(vec![assign(None, text(ended))]).await.expect("written");
    // a parallel attempt assigns that event to the open run, while this attempt has only reached
    // the second event
    let memory = world.memory.clone();
    let interlude: HookFuture = Box::pin(async move {
        memory.change_flow_state(vec![assign(text(ended), text(run))]).await.expect("written");
    });
    let engine = world.engine_on(around::with_hook_after(&world.memory, "change_flow_state", interlude));
    engine.intake().ingest(request(), None).await.expect("accepted");
    let joined = world.journal(&other, run).await.into_iter().filter_map(|entry| match entry.fact {
        Fact::EventJoined { event, .. } => event.external_id.clone(),
        _ => None,
    });
    assert_eq!(joined.map(|id| id.to_string()).collect::<Vec<_>>(), ["two", "three"]);
}

/// Returns a world with a function that each `stop` cancels. Its store accepts events and runs with
/// one call.
fn stoppable_function(spec: impl FnOnce(&mut Spec)) -> EngineFixture {
    let stop = CancelOn { event: "stop".into(), matching: CancelMatch::Any, within: None };
    let script = ScriptedFunction::new("f").spec(spec).spec(|spec| spec.flow.cancel_on.push(stop)).step("a", &[]);
    EngineFixture::new(vec![script.function()])
}

#[tokio::test]
async fn an_event_cancels_the_runs_that_are_created_with_it() {
    let mut world = stoppable_function(|_| {});
    let engine = world.engine();
    engine.intake().ingest(vec![event("go", "go"), event("stop", "stop")], None).await.expect("accepted");
    assert_eq!(statuses(&engine).await, [Status::Cancelled]);
}

#[tokio::test]
async fn an_event_cancels_the_runs_that_flow_control_admits_after_it_is_stored() {
    let rate = Rate { limit: 9, period: MINUTE, burst: 9, key: None };
    let mut world = stoppable_function(|spec| spec.flow.rate_limit = Some(rate));
    let engine = world.engine();
    engine.intake().ingest(vec![event("go", "go"), event("stop", "stop")], None).await.expect("accepted");
    assert_eq!(statuses(&engine).await, [Status::Cancelled]);
}

#[tokio::test]
async fn rule_15_an_event_that_was_stored_without_its_run_creates_it_when_it_comes_again() {
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    let engine = world.engine();
    let now = engine.now();
    // a process stored this event and died before it created the run
    let stored = event("go", "once").accept(EventId::new(now, 1), now);
    world.memory.accept(vec![stored.clone()], now).await.expect("stored");
    let ids = engine.intake().ingest(vec![event("go", "once"), event("go", "other")], None).await.expect("accepted");
    assert_eq!(ids[0], stored.id);
    world.settle(&engine).await;
    assert_eq!(statuses(&engine).await, [Status::Completed; 2]);
}
