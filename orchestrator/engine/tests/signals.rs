//! Callbacks. Each is accepted once, before or while the run waits for it.

mod support;

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use stepladder_core::decide::Operation;
use stepladder_core::journal::Fact;
use stepladder_core::limits::{RUN_BYTES, SIGNAL_BYTES};
use stepladder_core::state::RunState;
use stepladder_core::{Failure, Json, Refusal, RunId, Status, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::Journals;
use stepladder_engine::view::StepStatus;
use stepladder_engine::{Engine, EngineError};
use support::script::ScriptedFunction;
use support::{EngineFixture, count_facts, only_run};

const HOUR: Duration = Duration::from_secs(3_600);

/// A function that executes a step and then waits for a callback.
fn paying_function() -> ScriptedFunction {
    let wait = Operation::WaitForSignal { timeout: HOUR, heartbeat: None, name: None };
    ScriptedFunction::new("f").step("ask", &[]).request("payment", &["ask"], wait).step("ship", &["payment"])
}

fn json_data(value: serde_json::Value) -> Json {
    json::to_json(&value).unwrap()
}

async fn work(world: &EngineFixture, engine: &Arc<Engine>) {
    world.settle_within(engine, Duration::ZERO).await;
}

async fn status(engine: &Engine, run: RunId) -> Status {
    engine.query().run(run).await.unwrap().summary.status
}

async fn start_waiting_run(world: &mut EngineFixture) -> (Arc<Engine>, RunId, String) {
    let engine = world.engine();
    world.send_event(&engine).await;
    let run = only_run(&engine).await;
    let token = engine.subscriptions().callback_token(run, "payment").await.unwrap();
    (engine, run, token)
}

#[tokio::test]
async fn a_callback_wakes_the_waiting_run_at_once() {
    let mut world = EngineFixture::new(vec![paying_function().function()]);
    let (engine, run, token) = start_waiting_run(&mut world).await;
    work(&world, &engine).await;
    let detail = engine.query().run(run).await.unwrap();
    let waiting = detail.waiting.expect("it waits");
    assert!(waiting.starts_with("waits in `payment` for a signal until "), "{waiting}");
    assert_eq!(detail.steps.iter().find_map(|step| step.token.clone()), Some(token.clone()));
    let signalled = engine.subscriptions().signal(&token, json_data(serde_json::json!({"paid": 7}))).await.unwrap();
    assert_eq!((signalled.run, &*signalled.step, signalled.before), (run, "payment", false));
    assert_eq!(world.memory.next_due(), Some(world.clock.now()), "its wake is due now");
    work(&world, &engine).await;
    assert_eq!(status(&engine, run).await, Status::Completed);
    let steps = engine.query().run(run).await.unwrap().steps;
    let output = steps.iter().find(|step| &*step.id == "payment").unwrap().output.clone().unwrap();
    assert_eq!(output.get(), r#"{"paid":7}"#);
}

#[tokio::test]
async fn an_early_callback_is_kept_until_the_run_waits() {
    let mut world = EngineFixture::new(vec![paying_function().function()]);
    let (engine, run, token) = start_waiting_run(&mut world).await;
    // the callback is posted before the run's first hop
    engine.subscriptions().signal(&token, json::null()).await.unwrap();
    work(&world, &engine).await;
    assert_eq!(status(&engine, run).await, Status::Completed);
    let journal = world.journal(&engine, run).await;
    assert_eq!(count_facts(&journal, |f| matches!(f, Fact::SignalAwaited { .. })), 0, "the callback is there already");
}

fn declined() -> Failure {
    Failure {
        name: Some("CardDeclined".into()),
        data: Some(json_data(serde_json::json!({"balance": 3}))),
        ..Failure::with_code("no funds", "declined")
    }
}

#[tokio::test]
async fn a_posted_failure_ends_the_wait_at_once_and_is_not_retried() {
    let mut world = EngineFixture::new(vec![paying_function().function()]);
    let (engine, run, token) = start_waiting_run(&mut world).await;
    work(&world, &engine).await;
    let failed = engine.subscriptions().fail_signal(&token, declined()).await.unwrap();
    assert_eq!((failed.run, &*failed.step, failed.before), (run, "payment", false));
    assert_eq!(world.memory.next_due(), Some(world.clock.now()), "its wake is due now");
    work(&world, &engine).await;
    let steps = engine.query().run(run).await.unwrap().steps;
    let payment = steps.iter().find(|step| &*step.id == "payment").unwrap();
    assert_eq!((payment.status, &payment.error, payment.due), (StepStatus::Failed, &Some(declined()), None));
    assert!(payment.token.is_none(), "there is nothing left to complete");
    let ended = engine.query().run(run).await.unwrap().summary;
    assert_eq!((ended.status, ended.error), (Status::Failed, Some(declined())), "the function returns the error");
    let journal = world.journal(&engine, run).await;
    assert_eq!(count_facts(&journal, |f| matches!(f, Fact::HandlerFailed { .. })), 0);
}

#[tokio::test]
async fn an_early_failure_is_kept_until_the_run_waits() {
    let mut world = EngineFixture::new(vec![paying_function().function()]);
    let (engine, run, token) = start_waiting_run(&mut world).await;
    engine.subscriptions().fail_signal(&token, declined()).await.unwrap();
    work(&world, &engine).await;
    let journal = world.journal(&engine, run).await;
    assert_eq!(count_facts(&journal, |f| matches!(f, Fact::SignalAwaited { .. })), 0, "the failure is there already");
    let steps = engine.query().run(run).await.unwrap().steps;
    assert_eq!(steps.iter().find(|step| &*step.id == "payment").unwrap().error, Some(declined()));
    assert_eq!(status(&engine, run).await, Status::Failed);
}

#[tokio::test]
async fn a_signal_gets_data_or_a_failure_whichever_comes_first() {
    for fails_first in [false, true] {
        let mut world = EngineFixture::new(vec![paying_function().function()]);
        let (engine, run, token) = start_waiting_run(&mut world).await;
        work(&world, &engine).await;
        let signals = engine.subscriptions();
        let (first, second) = match fails_first {
            true => {
                let first = signals.fail_signal(&token, declined()).await;
                assert!(signals.fail_signal(&token, declined()).await.unwrap().before, "the same failure again");
                (first, signals.signal(&token, json::null()).await)
            }
            false => {
                let first = signals.signal(&token, json::null()).await;
                assert!(signals.signal(&token, json::null()).await.unwrap().before, "the same data again");
                (first, signals.fail_signal(&token, declined()).await)
            }
        };
        assert!(!first.unwrap().before);
        let Err(EngineError::TooLate(sentence)) = second else { panic!("{second:?}") };
        assert!(sentence.contains("was completed already, at 2023-"), "{sentence}");
        let other = signals.fail_signal(&token, Failure::new("no funds")).await;
        assert!(matches!(other, Err(EngineError::TooLate(_))), "{other:?}");
        let journal = world.journal(&engine, run).await;
        let posts = |f: &Fact| matches!(f, Fact::SignalReceived { .. } | Fact::SignalFailed { .. });
        assert_eq!(count_facts(&journal, posts), 1);
    }
}

#[tokio::test]
async fn a_failure_that_a_journal_would_change_is_refused_with_its_field() {
    let mut world = EngineFixture::new(vec![paying_function().function()]);
    let (engine, run, token) = start_waiting_run(&mut world).await;
    for (failure, field) in [
        (Failure::new(""), "`message`"),
        (Failure::with_code("no", "timeout"), "`code`"),
        (Failure { name: Some("x".repeat(256).into()), ..declined() }, "`name`"),
        (Failure { data: Some(json_data("x".repeat(16_384).into())), ..declined() }, "`data`"),
    ] {
        let refused = engine.subscriptions().fail_signal(&token, failure).await;
        let Err(EngineError::Invalid(sentence)) = refused else { panic!("{field}: {refused:?}") };
        assert!(sentence.starts_with(field), "{sentence}");
    }
    assert_eq!(world.journal(&engine, run).await.len(), 1);
}

#[tokio::test]
async fn a_failure_for_a_run_without_room_is_refused() {
    let mut world = EngineFixture::new(vec![paying_function().function()]);
    let (engine, run, token) = start_waiting_run(&mut world).await;
    work(&world, &engine).await;
    for n in 0..RUN_BYTES / SIGNAL_BYTES {
        let other = engine.subscriptions().callback_token(run, &format!("other-{n}")).await.unwrap();
        // 32 times 100 bytes stay free
        let data = json_data("x".repeat(SIGNAL_BYTES - 100).into());
        engine.subscriptions().signal(&other, data).await.unwrap();
    }
    let large = Failure::new("x".repeat(4_000));
    let Err(EngineError::TooLate(sentence)) = engine.subscriptions().fail_signal(&token, large).await else {
        panic!("accepted")
    };
    assert!(sentence.contains("would keep more than 33554432 bytes"), "{sentence}");
}

#[tokio::test]
async fn a_callback_is_completed_once() {
    let mut world = EngineFixture::new(vec![paying_function().function()]);
    let (engine, run, token) = start_waiting_run(&mut world).await;
    work(&world, &engine).await;
    engine.subscriptions().signal(&token, json_data(serde_json::json!({"a": 1, "b": 2}))).await.unwrap();
    let again = engine.subscriptions().signal(&token, json_data(serde_json::json!({"b": 2, "a": 1}))).await.unwrap();
    assert!(again.before, "the same data is accepted again");
    let other = engine.subscriptions().signal(&token, json_data(serde_json::json!({"a": 9}))).await;
    let Err(EngineError::TooLate(sentence)) = other else { panic!("{other:?}") };
    assert!(sentence.contains("was completed already, at 2023-"), "{sentence}");
    work(&world, &engine).await;
    let journal = world.journal(&engine, run).await;
    assert_eq!(count_facts(&journal, |f| matches!(f, Fact::SignalReceived { .. })), 1);
    // a repeated post is accepted after the run has ended, too
    assert!(
        engine.subscriptions().signal(&token, json_data(serde_json::json!({"a": 1, "b": 2}))).await.unwrap().before
    );
}

/// The engine looks for an earlier post before it appends one. The journal refuses a second post
/// even without that check.
#[tokio::test]
async fn the_journal_refuses_a_second_post_whether_the_run_waits_or_not() {
    for waits in [false, true] {
        let mut world = EngineFixture::new(vec![paying_function().function()]);
        let (engine, run, token) = start_waiting_run(&mut world).await;
        if waits {
            work(&world, &engine).await;
        }
        engine.subscriptions().signal(&token, json::null()).await.unwrap();
        let state = RunState::fold(run, &world.memory.read(run, 0).await.unwrap()).unwrap();
        let step = || "payment".into();
        for second in [
            Fact::SignalReceived { step: step(), data: json::null() },
            Fact::SignalFailed { step: step(), error: declined() },
        ] {
            let second = second.into_entry(world.clock.now());
            assert_eq!(state.admits(&second), Err(Refusal::AlreadySettled(step())), "the run waits: {waits}");
        }
    }
}

#[tokio::test]
async fn a_repeated_post_is_compared_by_all_digits() {
    let mut world = EngineFixture::new(vec![paying_function().function()]);
    let (engine, _, token) = start_waiting_run(&mut world).await;
    work(&world, &engine).await;
    let sim = |digits: &str| Json::from(RawValue::from_string(format!(r#"{{"sim":{digits}}}"#)).unwrap());
    engine.subscriptions().signal(&token, sim("89014103211118510720")).await.unwrap();
    assert!(engine.subscriptions().signal(&token, sim("89014103211118510720.0")).await.unwrap().before);
    let other = engine.subscriptions().signal(&token, sim("89014103211118510721")).await;
    assert!(matches!(other, Err(EngineError::TooLate(_))), "{other:?}");
}

#[tokio::test]
async fn one_of_many_simultaneous_posts_is_received() {
    let mut world = EngineFixture::new(vec![paying_function().function()]);
    let (engine, run, token) = start_waiting_run(&mut world).await;
    let slow = support::slow::together(world.memory.clone(), |f| matches!(f, Fact::SignalReceived { .. }));
    let (one, two) = (world.engine_on(slow.clone()), world.engine_on(slow));
    let post = |engine: Arc<Engine>, n: i32| {
        let token = token.clone();
        async move { engine.subscriptions().signal(&token, json_data(n.into())).await }
    };
    let (one, two) = tokio::join!(post(one, 1), post(two, 2));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    let journal = world.journal(&engine, run).await;
    assert_eq!(count_facts(&journal, |f| matches!(f, Fact::SignalReceived { .. })), 1);
}

#[tokio::test]
async fn a_repeated_post_sends_the_wake_that_the_first_did_not_send() {
    let mut world = EngineFixture::new(vec![paying_function().function()]);
    let (engine, run, token) = start_waiting_run(&mut world).await;
    work(&world, &engine).await;
    let received = |fact: &Fact| matches!(fact, Fact::SignalReceived { .. });
    let dying = world.engine_on(support::slow::only_journal(world.memory.clone(), received));
    let posted = token.clone();
    let post = tokio::spawn(async move { dying.subscriptions().signal(&posted, json::null()).await.map(drop) });
    while count_facts(&world.journal(&engine, run).await, received) == 0 {
        tokio::task::yield_now().await;
    }
    post.abort();
    work(&world, &engine).await;
    assert_eq!(status(&engine, run).await, Status::Running, "no wake was sent");
    assert!(engine.subscriptions().signal(&token, json::null()).await.unwrap().before);
    work(&world, &engine).await;
    assert_eq!(status(&engine, run).await, Status::Completed);
}

#[tokio::test]
async fn a_callback_that_does_not_come_times_out() {
    let mut world = EngineFixture::new(vec![paying_function().function()]);
    let (engine, run, token) = start_waiting_run(&mut world).await;
    let start = world.clock.now();
    world.settle(&engine).await;
    assert_eq!((status(&engine, run).await, world.clock.now().since(start)), (Status::Completed, HOUR));
    let late = engine.subscriptions().signal(&token, json::null()).await;
    assert!(matches!(late, Err(EngineError::TooLate(_))), "{late:?}");
}

#[tokio::test]
async fn a_callback_for_a_cancelled_run_is_too_late() {
    let mut world = EngineFixture::new(vec![paying_function().function()]);
    let (engine, run, token) = start_waiting_run(&mut world).await;
    work(&world, &engine).await;
    engine.control().cancel(run, "enough").await.unwrap();
    let Err(EngineError::TooLate(sentence)) = engine.subscriptions().signal(&token, json::null()).await else {
        panic!("accepted")
    };
    assert!(sentence.contains("has ended, Cancelled at"), "{sentence}");
}

#[tokio::test]
async fn tokens_that_no_run_has_issued_are_unknown() {
    let mut world = EngineFixture::new(vec![paying_function().function()]);
    let (engine, run, token) = start_waiting_run(&mut world).await;
    let other = stepladder_core::signal::CallbackToken::new(run, 0, &"payment".into()).to_string();
    let nowhere = RunId::new(world.clock.now(), 1);
    let of_nowhere = stepladder_core::signal::CallbackToken::new(nowhere, 0, &"payment".into()).to_string();
    for forged in ["x", &other, &of_nowhere, &token[1..]] {
        let refused = engine.subscriptions().signal(forged, json::null()).await;
        assert!(matches!(refused, Err(EngineError::NotFound(_))), "{forged}: {refused:?}");
    }
    let large = json_data("x".repeat(SIGNAL_BYTES).into());
    assert!(matches!(engine.subscriptions().signal(&token, large).await, Err(EngineError::Invalid(_))));
    assert_eq!(world.journal(&engine, run).await.len(), 1);
}
