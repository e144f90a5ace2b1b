//! Steps that start at most once, as a function sees them.

use std::time::Duration;

use stepladder_sdk::ErrorCode;
use stepladder_sdk::prelude::*;
use stepladder_sdk::testing::{Fact, Status, TestApp};

use crate::running::{OrderEvent, order_event};

fn busy() -> Error {
    Error::new("busy").with_code("busy")
}

/// Returns the code of the step's error, or that it has none.
fn code_of<T>(result: Result<T>) -> String {
    result.err().and_then(|error| error.code().map(str::to_owned)).unwrap_or_default()
}

#[tokio::test]
async fn an_error_of_the_body_is_final_unless_the_step_has_retries() {
    async fn plain(ctx: Context, _: Event<OrderEvent>) -> Result<String> {
        Ok(code_of(ctx.step("charge", async || Ok(5)).at_most_once().await))
    }
    async fn retried(ctx: Context, _: Event<OrderEvent>) -> Result<String> {
        Ok(code_of(ctx.step("charge", async || Ok(5)).at_most_once().retries(1).await))
    }
    let mut app = TestApp::new().function(Function::new("f", plain).retries(9)).fail("charge", 9, busy());
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!((run.output::<String>().as_str(), run.executions("charge")), ("busy", 1));
    for (failures, code, executions) in [(1, "", 2), (9, "busy", 2)] {
        let mut app = TestApp::new().function(Function::new("f", retried)).fail("charge", failures, busy());
        let run = app.send(&order_event()).await.remove(0);
        assert_eq!((run.output::<String>().as_str(), run.executions("charge")), (code, executions));
    }
}

#[tokio::test]
async fn a_panic_is_an_error_of_the_body() {
    async fn handler(ctx: Context, _: Event<OrderEvent>) -> Result<String> {
        let charge = ctx.step("charge", async || -> Result<()> { panic!("a bug") });
        Ok(code_of(charge.at_most_once().await))
    }
    let run = TestApp::new().function(Function::new("f", handler)).send(&order_event()).await.remove(0);
    assert_eq!((run.output::<String>().as_str(), run.attempts("charge")), ("panic", 1));
}

#[tokio::test]
async fn a_time_out_leaves_the_outcome_unknown_and_is_never_retried() {
    async fn handler(ctx: Context, _: Event<OrderEvent>) -> Result<String> {
        let charge = ctx.step("charge", async || Ok(5));
        let charged = charge.at_most_once().retries(3).timeout(Duration::from_secs(10)).await;
        assert!(charged.as_ref().is_err_and(|error| error.has_code(ErrorCode::OutcomeUnknown) && error.is_terminal()));
        Ok(code_of(charged))
    }
    let mut app = TestApp::new().function(Function::new("f", handler)).hang("charge");
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!((run.output::<String>().as_str(), run.attempts("charge")), ("outcome-unknown", 1));
}

#[tokio::test]
async fn a_dropped_attempt_is_not_repeated_by_the_next_attempt_of_the_function() {
    async fn handler(ctx: Context, _: Event<OrderEvent>) -> Result<String> {
        let charge = ctx.step("charge", std::future::pending::<Result<()>>).at_most_once();
        if ctx.attempt() == 2 {
            return Ok(code_of(charge.await));
        }
        let refused = ctx.step("check", async || Err::<(), _>(Error::terminal("no stock")));
        let (charged, refused) = tokio::select! {
            charged = charge => (Some(charged), None),
            refused = refused => (None, Some(refused)),
        };
        assert!(charged.is_none());
        // an error that is not terminal makes the function start again
        refused.expect("refused").map_err(|error| Error::new(error.to_string()))?;
        Ok("not here".into())
    }
    let mut app = TestApp::new().function(Function::new("f", handler).retries(2));
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!(run.output::<String>(), "outcome-unknown");
    assert_eq!((run.status(), run.attempts("charge")), (Status::Completed, 1));
    let is_start = |fact: &Fact| matches!(fact, Fact::StepStarted { at_most_once: true, .. });
    assert_eq!(run.journal().iter().filter(|entry| is_start(&entry.fact)).count(), 1);
}

#[tokio::test]
async fn each_item_of_a_map_starts_at_most_once() {
    async fn handler(ctx: Context, _: Event<OrderEvent>) -> Result<Vec<String>> {
        let charge = |order: u32| async move { if order == 2 { std::future::pending().await } else { Ok(order) } };
        let charged = ctx.map("charge", 1..=3, charge).at_most_once().timeout(Duration::from_secs(5)).results().await?;
        Ok(charged.into_iter().map(|item| code_of(item.result.into_result().unwrap())).collect())
    }
    let mut app = TestApp::new().function(Function::new("f", handler)).hang("charge:1");
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!(run.output::<Vec<String>>(), ["", "outcome-unknown", ""]);
    assert_eq!(["charge", "charge:1", "charge:2"].map(|step| run.attempts(step)), [1, 1, 1]);
}

#[tokio::test]
async fn a_second_call_of_the_method_fails_the_step() {
    async fn handler(ctx: Context, _: Event<OrderEvent>) -> Result<String> {
        Ok(code_of(ctx.step("charge", async || Ok(5)).at_most_once().at_most_once().await))
    }
    let run = TestApp::new().function(Function::new("f", handler)).send(&order_event()).await.remove(0);
    assert_eq!((run.output::<String>().as_str(), run.attempts("charge")), ("bad-step", 0));
}
