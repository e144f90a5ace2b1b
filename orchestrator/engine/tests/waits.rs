//! Waits for events (rule 17): which event ends which wait, and when a wait ends without an event.

mod support;

use std::time::Duration;

use stepladder_core::Status;
use stepladder_core::decide::Operation;
use stepladder_core::journal::Fact;
use stepladder_core::waiting::{EventField, EventMatch};
use stepladder_engine::Pace;
use stepladder_engine::clock::Clock;
use support::EngineFixture;
use support::script::ScriptedFunction;
use support::waiting::{
    HOUR, count_deliveries, event, event_named, send, status, wait_at_most, wait_for, wait_for_any, waiting_run, work,
};

fn match_field(path: &str, value: serde_json::Value) -> EventMatch {
    EventMatch::Field(EventField::new(path, &value).unwrap())
}

#[tokio::test]
async fn an_event_wakes_the_run_that_waits_for_it_at_once() {
    let script = ScriptedFunction::new("f").request("w", &[], wait_for_any("approved")).step("a", &["w"]);
    let (world, engine, run) = waiting_run(script).await;
    let waiting = engine.query().run(run).await.unwrap().waiting.expect("it waits");
    assert!(waiting.starts_with("waits in `w` for event `approved` until "), "{waiting}");
    send(&engine, event_named("approved", "x")).await;
    assert_eq!(world.memory.next_due(), Some(world.clock.now()), "its wake is due now");
    assert_eq!(world.memory.waiting(), 0, "the index has forgotten it");
    work(&world, &engine).await;
    assert_eq!(status(&engine, run).await, Status::Completed);
}

#[tokio::test]
async fn a_wait_without_an_event_ends_at_its_timeout() {
    let script = ScriptedFunction::new("f").request("w", &[], wait_for_any("approved")).step("a", &["w"]);
    let (world, engine, run) = waiting_run(script).await;
    let begun = world.clock.now();
    world.settle(&engine).await;
    let journal = world.journal(&engine, run).await;
    let expired = journal.iter().find(|e| matches!(e.fact, Fact::WaitExpired { .. })).expect("it expired");
    assert_eq!(expired.at, begun + HOUR);
    assert_eq!(world.memory.waiting(), 0);
    assert_eq!(status(&engine, run).await, Status::Completed);
    send(&engine, event_named("approved", "late")).await;
    assert_eq!(count_deliveries(&world, &engine, run).await, 0);
}

#[tokio::test]
async fn rule_17_an_event_is_delivered_once_to_all_open_waits_and_to_no_later_wait() {
    let script = ScriptedFunction::new("f")
        .request("one", &[], wait_for_any("approved"))
        .request("two", &[], wait_for_any("approved"))
        .request("later", &["one", "two"], wait_for_any("approved"));
    let (world, engine, run) = waiting_run(script).await;
    let first = send(&engine, event_named("approved", "x")).await;
    work(&world, &engine).await;
    assert_eq!(count_deliveries(&world, &engine, run).await, 1);
    assert_eq!(engine.query().run(run).await.unwrap().steps.len(), 3, "`later` is waited for");
    // the same event, delivered again, is not a second event
    assert_eq!(send(&engine, event_named("approved", "x")).await, first);
    work(&world, &engine).await;
    assert_eq!((count_deliveries(&world, &engine, run).await, status(&engine, run).await), (1, Status::Running));
    send(&engine, event_named("approved", "y")).await;
    work(&world, &engine).await;
    assert_eq!((count_deliveries(&world, &engine, run).await, status(&engine, run).await), (2, Status::Completed));
}

#[tokio::test]
async fn rule_18_an_event_that_the_same_poll_sends_fulfils_the_wait() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let sent = || Operation::Send(vec![event_named("approved", "x")]);
        let script =
            ScriptedFunction::new("f").request("send", &[], sent()).request("w", &[], wait_for_any("approved"));
        let mut world = EngineFixture::new(vec![script.function()]).pace(pace);
        let engine = world.engine();
        let trigger = world.send_event(&engine).await;
        work(&world, &engine).await;
        let run = world.runs(&engine, trigger).await[0].summary.run;
        assert_eq!(status(&engine, run).await, Status::Completed, "{pace:?}");
        assert_eq!(count_deliveries(&world, &engine, run).await, 1);
    }
}

#[tokio::test]
async fn rule_17_the_event_that_started_a_run_does_not_fulfil_its_wait() {
    let script = ScriptedFunction::new("f").request("w", &[], wait_for_any("go"));
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    let trigger = send(&engine, event_named("go", "x")).await;
    work(&world, &engine).await;
    let run = world.runs(&engine, trigger).await[0].summary.run;
    send(&engine, event_named("go", "x")).await;
    work(&world, &engine).await;
    assert_eq!((count_deliveries(&world, &engine, run).await, status(&engine, run).await), (0, Status::Running));
    send(&engine, event_named("go", "y")).await;
    work(&world, &engine).await;
    assert_eq!((count_deliveries(&world, &engine, run).await, status(&engine, run).await), (1, Status::Completed));
}

#[tokio::test]
async fn only_the_runs_with_the_value_in_the_field_get_an_event() {
    let wait = |n: i64| {
        ScriptedFunction::new(&format!("f{n}")).request(
            "w",
            &[],
            wait_for("approved", match_field("brief.n", n.into())),
        )
    };
    let mut world = EngineFixture::new((0..5).map(|n| wait(n).function()).collect());
    let engine = world.engine();
    let go = world.send_event(&engine).await;
    work(&world, &engine).await;
    send(&engine, event("approved", serde_json::json!({"brief": {"n": 3.0}}))).await;
    work(&world, &engine).await;
    for run in world.runs(&engine, go).await {
        let wanted = if &*run.summary.function == "f3" { Status::Completed } else { Status::Running };
        assert_eq!(run.summary.status, wanted, "{}", run.summary.function);
    }
}

#[tokio::test]
async fn an_expression_sees_what_started_the_run() {
    let when = EventMatch::When("async.data.id == event.data.id && async.data.score > 7".into());
    let script = ScriptedFunction::new("f").request("w", &[], wait_for("scored", when));
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    let (one, two) = (
        send(&engine, event("go", serde_json::json!({"id": "one"}))).await,
        send(&engine, event("go", serde_json::json!({"id": "two"}))).await,
    );
    work(&world, &engine).await;
    for data in [serde_json::json!({}), serde_json::json!({"id": "one", "score": 7})] {
        send(&engine, event("scored", data)).await;
    }
    send(&engine, event("scored", serde_json::json!({"id": "two", "score": 8}))).await;
    work(&world, &engine).await;
    assert_eq!(world.status(&engine, one).await, Status::Running);
    assert_eq!(world.status(&engine, two).await, Status::Completed);
}

#[tokio::test]
async fn an_invalid_expression_fails_the_run_with_the_reason() {
    let script =
        ScriptedFunction::new("f").request("w", &[], wait_for("scored", EventMatch::When("async.data.".into())));
    let (_, engine, run) = waiting_run(script).await;
    let detail = engine.query().run(run).await.unwrap();
    let error = detail.summary.error.expect("it failed").message;
    assert!(error.starts_with("step `w` cannot wait: expression `async.data.`"), "{error}");
}

#[tokio::test]
async fn one_event_is_delivered_to_hundreds_of_waiting_runs() {
    let script = ScriptedFunction::new("f").request("w", &[], wait_for_any("approved"));
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    let events = (0..250).map(|n| event_named("go", &format!("e{n}"))).collect();
    engine.intake().ingest(events, None).await.unwrap();
    work(&world, &engine).await;
    assert_eq!(world.memory.waiting(), 250);
    send(&engine, event_named("approved", "x")).await;
    assert_eq!(world.memory.waiting(), 0);
    work(&world, &engine).await;
    let filter = stepladder_engine::RunFilter { limit: Some(500), ..Default::default() };
    let runs = engine.query().runs(filter).await.unwrap().runs;
    assert_eq!(runs.iter().filter(|run| run.status == Status::Completed).count(), 250);
}

#[tokio::test]
async fn stale_subscriptions_are_removed_when_an_event_meets_them() {
    let script = ScriptedFunction::new("f").request("w", &[], wait_for_any("approved"));
    let (world, engine, run) = waiting_run(script).await;
    engine.control().cancel(run, "enough").await.unwrap();
    work(&world, &engine).await;
    assert_eq!(world.memory.waiting(), 1, "a cancelled run leaves it");
    send(&engine, event_named("approved", "x")).await;
    assert_eq!(world.memory.waiting(), 0);
    assert_eq!(count_deliveries(&world, &engine, run).await, 0);
}

#[tokio::test]
async fn rule_12_an_event_whose_wake_was_lost_is_found_while_another_step_sleeps() {
    let nap = Operation::SleepFor(Duration::from_secs(10 * 86_400));
    // the wait's own timeout is far away as well
    let wait = wait_at_most(Duration::from_secs(7 * 86_400), "approved", EventMatch::Any);
    let script = ScriptedFunction::new("f").request("w", &[], wait).request("nap", &[], nap).step("a", &["w"]);
    let executed = script.executed();
    let (world, engine, _) = waiting_run(script).await;
    send(&engine, event_named("approved", "x")).await;
    world.memory.lose_wakes();
    for _minute in 0..150 {
        world.clock.advance(Duration::from_secs(60));
        engine.sweep().await.unwrap();
        work(&world, &engine).await;
    }
    assert_eq!(executed.count_of("a"), 1);
}

#[tokio::test]
async fn a_waiting_run_is_visited_once_a_day_and_woken_at_its_timeout() {
    let week = Duration::from_secs(7 * 86_400);
    let script = ScriptedFunction::new("f").request("w", &[], wait_at_most(week, "approved", EventMatch::Any));
    let (world, engine, run) = waiting_run(script).await;
    let begun = world.clock.now();
    while status(&engine, run).await == Status::Running && world.clock.now() < begun + 2 * week {
        world.clock.advance(Duration::from_secs(60));
        engine.sweep().await.unwrap();
        work(&world, &engine).await;
    }
    assert_eq!(status(&engine, run).await, Status::Completed);
    assert_eq!(world.clock.now().since(begun).as_secs() / 60, week.as_secs() / 60);
    let sends = world.memory.counts().sends;
    assert!(sends < 12, "{sends} wakes for a week of waiting");
}
