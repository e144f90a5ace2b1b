//! Mistakes that functions must not make, and the errors that report them.

use std::time::Duration;

use stepladder_core::retry::RetryAdvice;
use stepladder_core::{Json, NewEvent, json};
use stepladder_engine::executor::PollResult;
use stepladder_sdk::{Context, Event, Function, Result};

use crate::driver::{ReplayedRun, StartEvent, end, fail_if_reached, step_ids, wanted_steps};

#[tokio::test]
async fn a_step_within_a_step_fails_with_the_reason() {
    async fn handler_with_nested_step(ctx: Context, _: Event<StartEvent>) -> Result<u8> {
        ctx.step("outer", async || ctx.step("inner", async || Ok(1_u8)).await).await
    }
    let mut run = ReplayedRun::for_function(Function::new("f", handler_with_nested_step));
    let failure = run.run(true).await.unwrap_err();
    assert_eq!(failure.code(), Some("misplaced-step"));
    assert!(failure.message.contains("step `inner`"), "{failure:?}");
    assert!(failure.message.contains("inside the body of step `outer`; steps do not nest"), "{failure:?}");
    assert_eq!(run.failures.len(), 1, "terminal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_on_another_task_fails_with_the_reason() {
    async fn handler_with_spawned_step(ctx: Context, _: Event<StartEvent>) -> Result<u8> {
        tokio::spawn(async move { ctx.step("in-task", async || Ok(1_u8)).await }).await?
    }
    let failure = ReplayedRun::for_function(Function::new("f", handler_with_spawned_step)).run(true).await.unwrap_err();
    assert_eq!(failure.code(), Some("misplaced-step"));
    assert!(failure.message.contains("step `in-task`"), "{failure:?}");
    assert!(failure.message.contains("tokio::spawn"), "{failure:?}");
}

#[tokio::test]
async fn a_bad_step_name_fails_terminally_with_its_source_location() {
    async fn handler_with_numbered_name(ctx: Context, _: Event<StartEvent>) -> Result<u8> {
        ctx.step("load:1", async || Ok(1_u8)).await
    }
    let mut session = ReplayedRun::for_function(Function::new("f", handler_with_numbered_name)).open();
    let PollResult::Ended(Err(fault)) = session.advance().await else { panic!("an error") };
    assert_eq!((fault.failure.code(), fault.retry), (Some("bad-step-name"), RetryAdvice::Never));
    assert!(fault.failure.message.contains("misuse.rs:"), "{fault:?}");
    assert!(fault.failure.message.contains("ends in `:` and digits"), "{fault:?}");
}

#[tokio::test(start_paused = true)]
async fn waiting_briefly_for_something_that_is_not_a_step_is_allowed() {
    async fn briefly_waiting_handler(ctx: Context, _: Event<StartEvent>) -> Result<u8> {
        tokio::time::sleep(Duration::from_secs(5)).await;
        tokio::task::yield_now().await;
        ctx.step("a", async || Ok(1_u8)).await
    }
    assert_eq!(ReplayedRun::for_function(Function::new("f", briefly_waiting_handler)).run(true).await, Ok("1".into()));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_ever_for_something_that_is_not_a_step_fails_with_the_reason() {
    async fn stuck_handler(ctx: Context, _: Event<StartEvent>) -> Result<u8> {
        fail_if_reached().await;
        ctx.step("a", async || Ok(1_u8)).await
    }
    let begun = tokio::time::Instant::now();
    let mut session = ReplayedRun::for_function(Function::new("f", stuck_handler)).open();
    let PollResult::Ended(Err(fault)) = session.advance().await else { panic!("an error") };
    assert_eq!(fault.failure.message, "the function awaits something that is not a step; wrap it in ctx.step");
    assert_eq!((fault.failure.code(), fault.retry), (Some("not-a-step"), RetryAdvice::Never));
    assert_eq!(begun.elapsed(), Duration::from_secs(10));
}

#[tokio::test]
async fn a_channel_between_two_branches_does_not_abort_the_handler() {
    async fn handler_with_a_channel(ctx: Context, _: Event<StartEvent>) -> Result<u8> {
        let (tx, rx) = tokio::sync::oneshot::channel();
        let first = async {
            let value = ctx.step("a", async || Ok(1_u8)).await;
            tx.send(5_u8).unwrap();
            value
        };
        let (a, b) = tokio::join!(first, rx);
        Ok(a? + b?)
    }
    for a_session_each in [true, false] {
        assert_eq!(
            ReplayedRun::for_function(Function::new("f", handler_with_a_channel)).run(a_session_each).await,
            Ok("6".into())
        );
    }
}

#[tokio::test]
async fn a_handler_that_continues_without_a_step_is_not_aborted() {
    async fn handler_continuing_without_a_step(ctx: Context, _: Event<StartEvent>) -> Result<u8> {
        tokio::select! {
            r = ctx.step("slow", async || { fail_if_reached().await; Ok(1_u8) }) => r,
            r = async { tokio::time::sleep(Duration::from_secs(1)).await; ctx.step("b", async || Ok(2_u8)).await } => r,
        }
    }
    tokio::time::pause();
    let mut session = ReplayedRun::for_function(Function::new("f", handler_continuing_without_a_step)).open();
    assert_eq!(step_ids(&wanted_steps(session.as_mut()).await), ["slow"]);
    session.start_bodies(&["slow".into()]);
    assert!(session.wait_finished().await.is_empty());
    assert_eq!(step_ids(&wanted_steps(session.as_mut()).await), ["b"]);
}

#[tokio::test]
async fn a_handler_that_wakes_itself_for_ever_yields_its_thread() {
    async fn busy_handler(_: Context, _: Event<StartEvent>) -> Result<()> {
        std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            std::task::Poll::<()>::Pending
        })
        .await;
        Ok(())
    }
    let mut session = ReplayedRun::for_function(Function::new("f", busy_handler)).open();
    assert!(futures::poll!(session.advance()).is_pending());
}

#[tokio::test]
async fn an_event_that_does_not_fit_fails_the_run_when_it_opens() {
    #[derive(serde::Deserialize)]
    #[allow(dead_code, reason = "the event does not have it, so the test never reads it")]
    struct MismatchedData {
        missing: u8,
    }
    impl stepladder_sdk::EventData for MismatchedData {
        const NAME: &'static str = "test/start";
    }
    async fn handler(_: Context, _: Event<MismatchedData>) -> Result<()> {
        Ok(())
    }
    let failure = ReplayedRun::for_function(Function::new("f", handler)).try_open().err().expect("refused");
    assert_eq!(failure.code(), Some("bad-event"));
    let sentence = "invalid data of event `test/start`: missing field `missing` (expected MismatchedData)";
    assert_eq!(failure.message, sentence);
}

#[tokio::test]
async fn events_and_inputs_that_cannot_be_sent_fail_their_step() {
    async fn handler_sending_invalid_events(ctx: Context, _: Event<StartEvent>) -> Result<Vec<String>> {
        let text: Json = json::to_json("text").unwrap();
        let reserved = ctx.send_event("a", NewEvent::new("inngest/x", json::empty_object())).await.unwrap_err();
        let shape = ctx.send_events("b", [NewEvent::new("x", text)]).await.unwrap_err();
        let input = ctx.invoke::<()>("c", "g", &5).await.unwrap_err();
        Ok([reserved, shape, input].iter().map(ToString::to_string).collect())
    }
    let said = end(ReplayedRun::for_function(Function::new("f", handler_sending_invalid_events)).open().as_mut())
        .await
        .unwrap();
    for part in ["step `a`", "reserved", "step `b`", "must be a JSON object", "step `c`: its input"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
