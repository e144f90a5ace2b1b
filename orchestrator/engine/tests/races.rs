//! Races between two calls: a batch starts before an event has joined it; a caller ends before the
//! called run is created; a limit on runs is removed while a run still holds its slot.

mod support;

use std::time::Duration;

use stepladder_core::decide::Operation;
use stepladder_core::flow::Batch;
use stepladder_core::journal::Fact;
use stepladder_core::spec::{Concurrency, CountedUnit};
use stepladder_core::{NewEvent, RunId, Status, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::{Engine, RunFilter};
use support::around::{self, HookFuture};
use support::script::ScriptedFunction;
use support::{EngineFixture, count_facts};

const MINUTE: Duration = Duration::from_secs(60);

async fn send(engine: &Engine, id: &str) {
    let event = NewEvent::new("go", json::empty_object()).with_id(id);
    engine.intake().ingest(vec![event], None).await.expect("accepted");
}

async fn runs(engine: &Engine) -> Vec<(RunId, Status)> {
    let mut runs = engine.query().runs(RunFilter::default()).await.expect("listed").runs;
    runs.sort_by_key(|run| run.event);
    runs.into_iter().map(|run| (run.run, run.status)).collect()
}

#[tokio::test]
async fn rule_17_an_event_too_late_for_its_batch_starts_the_next() {
    let batch = Batch { size: 9, timeout: MINUTE, key: None };
    let script = ScriptedFunction::new("f").spec(|spec| spec.flow.batch = Some(batch)).step("a", &[]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let other = world.engine();
    send(&other, "one").await;
    let (clock, memory, worker) = (world.clock.clone(), world.memory.clone(), other.clone());
    let begins: HookFuture = Box::pin(async move {
        clock.advance(MINUTE);
        support::hop_all(&memory, &worker).await;
        assert_eq!(runs(&worker).await[0].1, Status::Completed, "the batch has started before the event joins it");
    });
    // the event is assigned to the batch, and then the batch starts without it
    let late = world.engine_on(around::with_hook_after(&world.memory, "change_flow_state", begins));
    send(&late, "two").await;
    world.settle(&other).await;
    let runs = runs(&other).await;
    assert_eq!(runs.iter().map(|(_, status)| *status).collect::<Vec<_>>(), [Status::Completed; 2]);
    for (run, _) in runs {
        let joined = count_facts(&world.journal(&other, run).await, |fact| matches!(fact, Fact::EventJoined { .. }));
        assert_eq!(joined, 0, "each run has only its own event");
    }
}

#[tokio::test]
async fn rule_31_events_of_an_interrupted_request_join_a_batch_in_order() {
    // the batch with the first attempt's events has either started already or is still open
    for is_over in [true, false] {
        let batch = Batch { size: 9, timeout: MINUTE, key: None };
        let script = ScriptedFunction::new("f").spec(|spec| spec.flow.batch = Some(batch)).step("a", &[]);
        let mut world = EngineFixture::new(vec![script.function()]);
        let other = world.engine();
        send(&other, "zero").await;
        let request = |ids: &[&str]| {
            let event = |id: &&str| NewEvent::new("go", json::empty_object()).with_id(*id);
            ids.iter().map(event).collect::<Vec<_>>()
        };
        let dies = world.engine_on(around::with_hook_after(
            &world.memory,
            "change_flow_state",
            Box::pin(std::future::pending()),
        ));
        let mut dying = Box::pin(dies.intake().ingest(request(&["one", "two"]), None));
        assert!(futures::poll!(&mut dying).is_pending());
        drop(dying);
        if is_over {
            world.clock.advance(MINUTE);
            support::hop_all(&world.memory, &other).await;
            send(&other, "zero again").await;
        }
        other.intake().ingest(request(&["one", "two", "three"]), None).await.expect("accepted");
        let (run, _) = *runs(&other).await.last().expect("a batch");
        let joined = world.journal(&other, run).await.into_iter().filter_map(|entry| match entry.fact {
            Fact::EventJoined { event, .. } => event.external_id,
            _ => None,
        });
        let joined: Vec<String> = joined.map(|id| id.to_string()).collect();
        assert_eq!(joined, ["one", "two", "three"], "the first batch is over: {is_over}");
    }
}

#[tokio::test]
async fn a_bound_run_that_is_created_after_its_callers_end_does_nothing() {
    let call = Operation::Invoke {
        function: "called".into(),
        input: json::empty_object(),
        bound: true,
        timeout: None,
        user: None,
    };
    let called = ScriptedFunction::new("called").spec(|spec| spec.triggers.clear()).step("a", &[]);
    let executed = called.executed();
    let mut world =
        EngineFixture::new(vec![ScriptedFunction::new("f").request("call", &[], call).function(), called.function()]);
    let other = world.engine();
    send(&other, "one").await;
    let (memory, canceller) = (world.memory.clone(), other.clone());
    let cancels: HookFuture = Box::pin(async move {
        let (caller, _) = runs(&canceller).await[0];
        canceller.control().cancel(caller, "by hand").await.expect("cancelled");
        support::hop_all(&memory, &canceller).await;
    });
    // the journal of the caller contains the call, but the called run does not exist yet
    let caller = world.engine_on(around::with_hook_before(&world.memory, "create_runs", cancels));
    support::hop_all(&world.memory, &caller).await;
    world.settle(&other).await;
    let runs = runs(&other).await;
    assert_eq!(runs.iter().map(|(_, status)| *status).collect::<Vec<_>>(), [Status::Cancelled; 2], "{runs:?}");
    assert_eq!(executed.count_of("a"), 0);
}

#[tokio::test]
async fn rule_22_a_waiting_run_finds_the_slot_of_a_run_that_ended_after_its_limit_was_removed() {
    let script = |limited: bool| {
        let limit = Concurrency { of: CountedUnit::Runs, ..Concurrency::steps(1) };
        let limits = if limited { vec![limit] } else { Vec::new() };
        let sleep = Operation::SleepFor(MINUTE);
        ScriptedFunction::new("f")
            .spec(|spec| spec.concurrency = limits)
            .request("s", &[], sleep)
            .step("a", &["s"])
            .function()
    };
    let mut world = EngineFixture::new(vec![script(true)]);
    let limited = world.engine();
    send(&limited, "one").await;
    support::hop_all(&world.memory, &limited).await;
    world.functions = vec![script(false)];
    let free = world.engine();
    world.settle(&free).await;
    assert_eq!(runs(&free).await[0].1, Status::Completed);
    world.functions = vec![script(true)];
    let limited = world.engine();
    send(&limited, "two").await;
    let sent = world.clock.now();
    world.settle(&limited).await;
    assert_eq!(runs(&limited).await[1].1, Status::Completed);
    assert!(world.clock.now().since(sent) < 80 * MINUTE, "its watchdog has found it");
}
