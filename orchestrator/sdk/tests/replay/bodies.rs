//! Bodies of steps that start, are stopped or dropped, panic, or return too large a result.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stepladder_core::Failure;
use stepladder_core::limits::OUTCOME_BYTES;
use stepladder_core::retry::RetryAdvice;
use stepladder_sdk::runtime::SharedData;
use stepladder_sdk::{Context, Error, Event, Function, Result, blocking};

use crate::driver::{ReplayedRun, StartEvent, end, fail_if_reached, step_ids, wanted_steps};

/// Counts how often a guard is dropped.
struct DropCounter(Arc<AtomicU32>);

impl Drop for DropCounter {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn with_drop_counter(function: Function) -> (ReplayedRun, Arc<AtomicU32>) {
    let drops = Arc::new(AtomicU32::new(0));
    let mut data = SharedData::default();
    data.insert(drops.clone());
    (ReplayedRun::with_data(function, &data), drops)
}

async fn racing_handler(ctx: Context, _: Event<StartEvent>) -> Result<&'static str> {
    let drops = ctx.data::<Arc<AtomicU32>>()?;
    tokio::select! {
        biased; // biased, so that the order of the wanted steps is fixed
        r = ctx.step("slow", async || { let _guard = DropCounter(drops.clone()); fail_if_reached().await; Ok(()) }) => r.map(|()| "step"),
        r = ctx.sleep("limit", Duration::from_secs(1)) => r.map(|()| "sleep"),
    }
}

#[tokio::test]
async fn a_dropped_body_is_reported_once() {
    let (mut run, drops) = with_drop_counter(Function::new("f", racing_handler));
    let mut session = run.open();
    assert_eq!(step_ids(&wanted_steps(session.as_mut()).await), ["slow", "limit"]);
    session.start_bodies(&["slow".into()]);
    assert!(futures::poll!(session.wait_finished()).is_pending());
    assert_eq!(step_ids(&wanted_steps(session.as_mut()).await), ["limit"], "running bodies are not listed");
    assert!(session.take_dropped().is_empty());
    session.reveal(run.record("limit".into(), stepladder_core::StepKind::Sleep, recorded_value("null")));
    assert_eq!(end(session.as_mut()).await, Ok(r#""sleep""#.into()));
    assert_eq!(session.take_dropped(), ["slow".into()]);
    assert!(session.take_dropped().is_empty());
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_step_that_never_ran_is_not_reported_as_a_dropped_body() {
    let (run, _) = with_drop_counter(Function::new("f", racing_handler));
    let run = run.with_recorded_sleep("limit");
    let mut session = run.open();
    assert_eq!(end(session.as_mut()).await, Ok(r#""sleep""#.into()));
    assert!(session.take_dropped().is_empty());
}

#[tokio::test]
async fn dropping_the_session_drops_its_bodies() {
    let (run, drops) = with_drop_counter(Function::new("f", racing_handler));
    let mut session = run.open();
    wanted_steps(session.as_mut()).await;
    session.start_bodies(&["slow".into()]);
    assert!(futures::poll!(session.wait_finished()).is_pending());
    drop(session);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_body_past_its_timeout_is_stopped_and_fails() {
    let (run, drops) = with_drop_counter(Function::new("f", racing_handler));
    let mut session = run.open();
    wanted_steps(session.as_mut()).await;
    session.start_bodies(&["slow".into()]);
    assert!(futures::poll!(session.wait_finished()).is_pending());
    session.stop_timed_out(&"slow".into(), Duration::from_secs(30));
    let mut finished = session.wait_finished().await;
    let fault = finished.remove(0).result.unwrap_err();
    assert_eq!(fault.failure.message, "step `slow` ran past its timeout of 30s");
    assert_eq!((fault.failure.code(), fault.retry), (Some("timeout"), RetryAdvice::Default));
    assert_eq!(drops.load(Ordering::Relaxed), 1, "its body is gone");
    assert_eq!(step_ids(&wanted_steps(session.as_mut()).await), ["limit"], "another attempt is another session's");
    session.stop_timed_out(&"slow".into(), Duration::from_secs(30));
    assert!(futures::poll!(session.wait_finished()).is_pending(), "it has failed once");
}

#[tokio::test]
async fn bodies_run_in_parallel_and_a_cancelled_wait_loses_nothing() {
    async fn handler_with_three_steps(ctx: Context, _: Event<StartEvent>) -> Result<Vec<u64>> {
        futures::future::try_join_all((1..=3_u64).map(|i| {
            ctx.step("w", async move || {
                tokio::time::sleep(Duration::from_secs(i)).await;
                Ok(i)
            })
        }))
        .await
    }
    tokio::time::pause();
    let run = ReplayedRun::for_function(Function::new("f", handler_with_three_steps));
    let mut session = run.open();
    let wants = wanted_steps(session.as_mut()).await;
    assert_eq!(step_ids(&wants), ["w", "w:1", "w:2"]);
    let steps: Vec<_> = wants.into_iter().map(|want| want.step).collect();
    let begun = tokio::time::Instant::now();
    session.start_bodies(&steps);
    assert!(tokio::time::timeout(Duration::from_millis(10), session.wait_finished()).await.is_err());
    let mut ended = Vec::new();
    while ended.len() < 3 {
        ended.extend(session.wait_finished().await.into_iter().map(|finished| finished.step));
    }
    assert_eq!(ended, steps);
    assert_eq!(begun.elapsed().as_secs(), 3);
}

#[tokio::test]
async fn panics_are_failures_that_are_retried() {
    async fn panicking_handler(ctx: Context, _: Event<StartEvent>) -> Result<u8> {
        let list: Vec<u8> = Vec::new();
        let failed = ctx.step("boom", async || Ok(list[3])).retries(1).await.unwrap_err();
        assert!(failed.to_string().starts_with("panicked: index out of bounds"), "{failed}");
        panic!("in the handler, {}", ctx.run_id())
    }
    let mut run = ReplayedRun::for_function(Function::new("f", panicking_handler));
    let failure = run.run(true).await.unwrap_err();
    assert!(failure.message.starts_with("panicked: in the handler, 01"), "{failure:?}");
    assert_eq!(run.failures.len(), 2);
}

#[tokio::test]
async fn a_guard_that_panics_when_dropped_does_not_stop_the_engine() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    async fn handler_with_a_guard(ctx: Context, _: Event<StartEvent>) -> Result<u8> {
        let _bomb = Bomb;
        ctx.step("a", async || Ok(1_u8)).await
    }
    let mut session = ReplayedRun::for_function(Function::new("f", handler_with_a_guard)).open();
    wanted_steps(session.as_mut()).await;
    drop(session);
}

#[tokio::test]
async fn a_terminal_error_is_not_retried_and_its_code_reaches_the_handler() {
    async fn catching_handler(ctx: Context, _: Event<StartEvent>) -> Result<String> {
        let created = ctx.step("create", async || -> Result<u8> {
            Err(Error::terminal("this address is taken").with_code("email-taken"))
        });
        match created.await {
            Err(error) if error.code() == Some("email-taken") => Ok(error.to_string()),
            other => Ok(format!("{other:?}")),
        }
    }
    let mut run = ReplayedRun::for_function(Function::new("f", catching_handler));
    assert_eq!(run.run(false).await, Ok(r#""this address is taken""#.into()));
    assert_eq!(run.failures.len(), 1);
}

#[tokio::test]
async fn a_recorded_failure_is_terminal_for_the_handler() {
    async fn handler_passing_a_failure_on(ctx: Context, _: Event<StartEvent>) -> Result<u8> {
        ctx.step("a", async || Ok(1_u8)).await
    }
    let failure = Failure::with_code("HTTP 503", "http-503");
    let run = ReplayedRun::for_function(Function::new("f", handler_passing_a_failure_on))
        .with_recorded_failure("a", failure.clone());
    let mut session = run.open();
    let stepladder_engine::executor::PollResult::Ended(Err(fault)) = session.advance().await else {
        panic!("an error")
    };
    assert_eq!((fault.failure, fault.retry), (failure, RetryAdvice::Never));
}

#[tokio::test]
async fn an_outcome_past_the_limit_names_step_and_size() {
    async fn handler_with_large_output(ctx: Context, _: Event<StartEvent>) -> Result<()> {
        ctx.step("export", async || Ok("x".repeat(OUTCOME_BYTES))).await.map(drop)
    }
    let mut run = ReplayedRun::for_function(Function::new("f", handler_with_large_output));
    let failure = run.run(false).await.unwrap_err();
    assert_eq!(failure.code(), Some("too-large"));
    assert!(failure.message.contains("step `export` returned 4194306 bytes"), "{failure:?}");
    assert_eq!(run.failures.len(), 1, "it would be as large the next time");
}

#[tokio::test]
async fn blocking_code_returns_its_value_its_error_or_its_panic() {
    assert_eq!(blocking(|| Ok(5)).await.unwrap(), 5);
    assert!(blocking(|| -> Result<u8> { Err(Error::terminal("no")) }).await.unwrap_err().is_terminal());
    let panicked = blocking(|| -> Result<u8> { panic!("deep down") }).await.unwrap_err();
    assert_eq!(panicked.to_string(), "panicked: deep down");
}

fn recorded_value(json: &str) -> stepladder_core::Outcome {
    stepladder_core::Outcome::Value(serde_json::from_str(json).unwrap())
}
