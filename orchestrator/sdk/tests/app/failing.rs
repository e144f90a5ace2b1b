//! Runs that fail: retries, the delays between them, timeouts, functions for failures, mocks.

use std::time::Duration;

use stepladder_sdk::prelude::*;
use stepladder_sdk::testing::{Fact, Status, TestApp};

use crate::running::{OrderEvent, order_event};

async fn charging_handler(ctx: Context, _: Event<OrderEvent>) -> Result<u32> {
    ctx.step("charge", async || Ok(5)).await
}

#[tokio::test]
async fn failures_are_retried_after_their_waits() {
    let backoff = Backoff::Fixed(Duration::from_secs(7));
    let function = Function::new("charge", charging_handler).backoff(backoff);
    let mut app = TestApp::new().function(function).fail("charge", 2, Error::new("busy"));
    let begun = app.now();
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!((run.output::<u32>(), run.attempts("charge"), run.executions("charge")), (5, 3, 3));
    assert_eq!(app.now().since(begun), Duration::from_secs(14));
}

#[tokio::test]
async fn an_error_may_set_its_retry_delay() {
    let busy = Error::retry_after(Duration::from_secs(90), "slow down");
    let mut app = TestApp::new().function(Function::new("charge", charging_handler)).fail("charge", 1, busy);
    let begun = app.now();
    assert_eq!(app.send(&order_event()).await.remove(0).status(), Status::Completed);
    assert_eq!(app.now().since(begun), Duration::from_secs(90));
}

#[tokio::test]
async fn a_step_that_fails_for_good_fails_its_run_with_its_code() {
    let refused = || Error::terminal("the card was refused").with_code("refused");
    let function = Function::new("charge", charging_handler);
    let mut app = TestApp::new().function(function).fail("charge", 9, refused());
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!((run.status(), run.attempts("charge")), (Status::Failed, 1));
    let error = run.error().unwrap();
    assert_eq!((error.message.as_str(), error.code()), ("the card was refused", Some("refused")));
    let function = Function::new("charge", charging_handler).retries(2);
    let mut app = TestApp::new().function(function).fail("charge", 9, Error::new("busy"));
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!((run.status(), run.attempts("charge")), (Status::Failed, 3));
}

#[tokio::test]
async fn an_error_with_a_listed_name_is_not_retried_and_the_handler_sees_the_name() {
    async fn handler(ctx: Context, _: Event<OrderEvent>) -> Result<String> {
        let error = ctx.step("charge", async || Ok(5)).await.unwrap_err();
        assert!(error.is_terminal() && error.code() == Some("declined"));
        ctx.step("tell", async || Ok(())).await?;
        Ok(error.name().unwrap_or("none").to_owned())
    }
    let declined = || Error::new("no cover").with_name("CardDeclined").with_code("declined");
    for (names, attempts) in [(vec!["CardDeclined"], 1), (vec!["Other"], 5), (vec![], 5)] {
        let function = Function::new("charge", handler).non_retryable(names);
        let mut app = TestApp::new().function(function).fail("charge", 9, declined());
        let run = app.send(&order_event()).await.remove(0);
        assert_eq!((run.output::<String>().as_str(), run.attempts("charge")), ("CardDeclined", attempts));
    }
}

#[tokio::test]
async fn a_handler_that_returns_an_error_with_a_listed_name_is_compensated_at_once() {
    async fn handler(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        ctx.step("book", async || Ok(7)).undo(async |_| Ok(())).await?;
        Err(Error::new("no cover").with_name("CardDeclined"))
    }
    let mut app = TestApp::new().function(Function::new("charge", handler).non_retryable(["CardDeclined"]));
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!((run.status(), run.attempts("undo book")), (Status::Failed, 1));
    let error = run.error().unwrap();
    assert_eq!((error.name.as_deref(), error.message.as_str()), (Some("CardDeclined"), "no cover"));
    let failures = run.journal().iter().filter(|e| matches!(e.fact, Fact::HandlerFailed { .. })).count();
    assert_eq!(failures, 0);
}

#[tokio::test]
async fn a_body_that_hangs_is_timed_out() {
    let function = Function::new("charge", charging_handler).timeout(Duration::from_secs(30)).retries(0);
    let mut app = TestApp::new().function(function).hang("charge");
    let begun = app.now();
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!(run.error().unwrap().message, "step `charge` ran past its timeout of 30s");
    assert_eq!(app.now().since(begun), Duration::from_secs(30));
}

#[tokio::test]
async fn a_handler_that_fails_outside_its_steps_is_retried() {
    async fn flaky_handler(ctx: Context, _: Event<OrderEvent>) -> Result<u32> {
        ctx.step("once", async || Ok(())).await?;
        match ctx.attempt() {
            3 => Ok(ctx.attempt()),
            n => Err(Error::new(format!("attempt {n}"))),
        }
    }
    let mut app = TestApp::new().function(Function::new("flaky", flaky_handler));
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!((run.output::<u32>(), run.executions("once")), (3, 1));
    let failures = run.journal().iter().filter(|e| matches!(e.fact, Fact::HandlerFailed { .. })).count();
    assert_eq!(failures, 2);
}

#[tokio::test]
async fn a_failed_run_starts_its_on_failure_function() {
    async fn apologising_handler(ctx: Context, event: Event<FunctionFailed>) -> Result<String> {
        let FunctionFailed { function_id, error, event, .. } = event.data;
        ctx.step("mail", async || Ok(format!("{function_id}: {} for {}", error.message, event["data"]["clientId"])))
            .await
    }
    let function = Function::new("charge", charging_handler).on_failure(apologising_handler);
    let mut app = TestApp::new().function(function).fail("charge", 1, Error::terminal("refused"));
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!(run.status(), Status::Failed);
    let after = app.runs_of_function("charge/on-failure").await.remove(0);
    assert_eq!(after.output::<String>(), r#"charge: refused for "acme""#);
}

#[tokio::test]
async fn mocks_replace_steps_by_name_and_by_id() {
    async fn handler_with_three_steps(ctx: Context, _: Event<OrderEvent>) -> Result<Vec<u32>> {
        let mut seen = Vec::new();
        for i in 0..3 {
            seen.push(ctx.step("n", async || Ok(i)).await?);
        }
        Ok(seen)
    }
    let app = || TestApp::new().function(Function::new("thrice", handler_with_three_steps));
    assert_eq!(app().mock("n", 9).send(&order_event()).await.remove(0).output::<Vec<u32>>(), [9, 9, 9]);
    assert_eq!(app().mock("n:1", 9).send(&order_event()).await.remove(0).output::<Vec<u32>>(), [0, 9, 2]);
    let wrong = app().mock("n", "text").send(&order_event()).await.remove(0);
    assert_eq!(wrong.error().unwrap().code(), Some("undecodable-memo"));
}

#[tokio::test]
async fn data_is_shared_with_functions() {
    async fn handler_with_shared_data(ctx: Context, _: Event<OrderEvent>) -> Result<u32> {
        ctx.data::<u32>().copied()
    }
    let mut app = TestApp::new().function(Function::new("uses", handler_with_shared_data)).data(4_u32);
    assert_eq!(app.send(&order_event()).await.remove(0).output::<u32>(), 4);
}
