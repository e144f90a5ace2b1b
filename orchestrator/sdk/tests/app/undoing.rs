//! Compensations of a run that fails for good: when, in which order and how often they run, even
//! after interruptions.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestEngine;
use stepladder_sdk::testing::{Pace, Status, TestApp};

use crate::running::{OrderEvent, order_event};

/// A record of the effects and their compensations, in order.
#[derive(Clone, Default)]
struct EffectLog(Arc<Mutex<Vec<String>>>);

impl EffectLog {
    fn record(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn recorded(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Books two things and then fails to pay.
async fn trip_handler(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
    let ledger: EffectLog = ctx.data::<EffectLog>()?.clone();
    for what in ["flight", "hotel"] {
        let undone = ledger.clone();
        ctx.step(format!("book {what}"), async || {
            ledger.record(format!("book {what}"));
            Ok(format!("{what} 7"))
        })
        .undo(move |booking: String| async move {
            undone.record(format!("cancel {booking}"));
            Ok(())
        })
        .await?;
    }
    ctx.step("pay", async || Ok(())).await
}

fn app(ledger: &EffectLog) -> TestApp {
    TestApp::new().data(ledger.clone()).function(Function::new("trip", trip_handler))
}

fn refusal_error() -> Error {
    Error::terminal("the card was refused").with_code("refused")
}

#[tokio::test]
async fn a_failed_run_undoes_its_steps_once_in_reverse_order() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let ledger = EffectLog::default();
        let run = app(&ledger).pace(pace).fail("pay", 9, refusal_error()).send(&order_event()).await.remove(0);
        assert_eq!(ledger.recorded(), ["book flight", "book hotel", "cancel hotel 7", "cancel flight 7"]);
        assert_eq!(run.status(), Status::Failed);
        let error = run.error().unwrap();
        assert_eq!((error.message.as_str(), error.code()), ("the card was refused", Some("refused")));
        let undone = ["stepladder/undo", "undo book hotel", "undo book flight"];
        assert_eq!(run.steps()[3..], undone);
    }
}

#[tokio::test]
async fn a_completed_run_and_a_retried_step_are_not_compensated() {
    let ledger = EffectLog::default();
    let run = app(&ledger).fail("pay", 4, Error::new("busy")).send(&order_event()).await.remove(0);
    assert_eq!((run.status(), run.attempts("pay")), (Status::Completed, 5));
    assert_eq!(ledger.recorded(), ["book flight", "book hotel"]);
}

/// Panics outside its steps this many times.
async fn handler_that_fails_once(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
    let (ledger, fails) = (ctx.data::<EffectLog>()?.clone(), *ctx.data::<u32>()?);
    let undone = ledger.clone();
    ctx.undo("it", async move || {
        undone.record("undone");
        Ok(())
    });
    ctx.step("do", async || {
        ledger.record("done");
        Ok(())
    })
    .await?;
    assert!(ctx.attempt() > fails, "not in the mood");
    Ok(())
}

#[tokio::test]
async fn a_retried_handler_is_compensated_only_after_its_last_attempt() {
    let run = async |fails: u32| {
        let ledger = EffectLog::default();
        let function = Function::new("moody", handler_that_fails_once).retries(2);
        let run =
            TestApp::new().data(ledger.clone()).data(fails).function(function).send(&order_event()).await.remove(0);
        (run, ledger.recorded())
    };
    let (run_that_ends_well, lines) = run(2).await;
    assert_eq!((run_that_ends_well.status(), lines), (Status::Completed, vec!["done".to_owned()]));
    let (run_that_fails, lines) = run(3).await;
    assert_eq!((run_that_fails.status(), lines), (Status::Failed, vec!["done".to_owned(), "undone".to_owned()]));
    assert_eq!(run_that_fails.error().unwrap().code(), Some("panic"));
}

#[tokio::test]
async fn compensations_are_retried_and_a_failed_one_does_not_stop_the_others() {
    let ledger = EffectLog::default();
    let app = app(&ledger).fail("pay", 9, refusal_error());
    let mut app = app.fail("undo book flight", 4, Error::new("away")).fail("undo book hotel", 9, Error::new("gone"));
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!((run.attempts("undo book hotel"), run.attempts("undo book flight")), (5, 5));
    assert_eq!(ledger.recorded(), ["book flight", "book hotel", "cancel flight 7"]);
    let error = run.error().unwrap();
    assert_eq!(error.message, "the card was refused; `book hotel` could not be undone: gone");
    assert_eq!(error.code(), Some("refused"));
}

#[tokio::test]
async fn compensations_have_at_least_four_retries() {
    let ledger = EffectLog::default();
    let app = TestApp::new().data(ledger.clone()).function(Function::new("trip", trip_handler).retries(0));
    let mut app = app.fail("pay", 9, Error::new("busy")).fail("undo book hotel", 4, Error::new("away"));
    assert_eq!(app.send(&order_event()).await.remove(0).attempts("undo book hotel"), 5);
    assert_eq!(ledger.recorded().len(), 4);
}

static WELL: AtomicBool = AtomicBool::new(false);

#[tokio::test]
async fn a_recorded_failure_holds_even_if_a_later_replay_ends_differently() {
    async fn handler_with_changing_end(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        let ledger = ctx.data::<EffectLog>()?.clone();
        for what in ["a", "b"] {
            let ledger = ledger.clone();
            ctx.step(what, async || Ok(()))
                .undo(async move |()| {
                    // from now on the handler would succeed, but the run must still fail
                    WELL.store(true, Ordering::Relaxed);
                    ledger.record(what);
                    Ok(())
                })
                .await?;
        }
        if WELL.load(Ordering::Relaxed) { Ok(()) } else { Err(refusal_error()) }
    }
    let ledger = EffectLog::default();
    let run = TestApp::new()
        .data(ledger.clone())
        .function(Function::new("fickle", handler_with_changing_end))
        .send(&order_event())
        .await
        .remove(0);
    assert!(WELL.load(Ordering::Relaxed));
    assert_eq!(ledger.recorded(), ["b", "a"]);
    assert_eq!((run.status(), run.error().unwrap().message.as_str()), (Status::Failed, "the card was refused"));
}

#[tokio::test(start_paused = true)]
async fn an_aborted_handler_is_compensated() {
    async fn aborted_handler(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        let ledger = ctx.data::<EffectLog>()?.clone();
        ctx.step("do", async || Ok(()))
            .undo(async move |()| {
                ledger.record("undone");
                Ok(())
            })
            .await?;
        std::future::pending().await
    }
    let ledger = EffectLog::default();
    let run = TestApp::new()
        .data(ledger.clone())
        .function(Function::new("stuck", aborted_handler))
        .send(&order_event())
        .await
        .remove(0);
    assert_eq!(run.error().unwrap().code(), Some("not-a-step"));
    assert_eq!(ledger.recorded(), ["undone"]);
}

#[tokio::test]
async fn an_output_past_the_limit_fails_the_run_and_is_compensated() {
    async fn handler_with_large_output(ctx: Context, _: Event<OrderEvent>) -> Result<String> {
        let ledger = ctx.data::<EffectLog>()?.clone();
        ctx.step("do", async || Ok(()))
            .undo(async move |()| {
                ledger.record("undone");
                Ok(())
            })
            .await?;
        Ok("x".repeat(5 << 20))
    }
    let ledger = EffectLog::default();
    let run = TestApp::new()
        .data(ledger.clone())
        .function(Function::new("large", handler_with_large_output))
        .send(&order_event())
        .await
        .remove(0);
    assert_eq!(run.error().unwrap().code(), Some("too-large"));
    assert_eq!(ledger.recorded(), ["undone"]);
}

#[tokio::test]
async fn a_cancelled_run_ends_where_it_is() {
    let ledger = EffectLog::default();
    let mut app = app(&ledger).fail("pay", 3, Error::new("busy"));
    let run = app.start(&order_event()).await.remove(0);
    app.engine().control().cancel(run.id(), "not wanted").await.unwrap();
    app.finish().await;
    assert_eq!(app.runs().await[0].status(), Status::Cancelled);
    assert_eq!(ledger.recorded(), ["book flight", "book hotel"]);
}

#[tokio::test]
async fn a_compensated_run_is_rerun_from_its_beginning_only() {
    let ledger = EffectLog::default();
    let mut app = app(&ledger).fail("pay", 1, refusal_error());
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!(run.status(), Status::Failed);
    let from_pay = stepladder_engine::RerunOptions { from_step: Some("pay".into()), ..Default::default() };
    let refused = app.engine().control().rerun(run.id(), from_pay).await.unwrap_err().to_string();
    assert!(refused.contains("rerun it from the beginning"), "{refused}");
    app.engine().control().rerun(run.id(), Default::default()).await.unwrap();
    app.finish().await;
    assert_eq!(ledger.recorded()[4..], ["book flight", "book hotel", "cancel hotel 7", "cancel flight 7"]);
}

#[tokio::test]
async fn a_rerun_compensates_its_own_steps_only() {
    async fn handler_with_two_steps(ctx: Context, event: Event<OrderEvent>) -> Result<()> {
        let ledger = ctx.data::<EffectLog>()?.clone();
        for what in ["a", "b"] {
            let ledger = ledger.clone();
            ctx.step(what, async || Ok(()))
                .undo(async move |()| {
                    ledger.record(what);
                    Ok(())
                })
                .await?;
        }
        if event.data.client_id == "acme" { Ok(()) } else { Err(refusal_error()) }
    }
    let ledger = EffectLog::default();
    let mut app = TestApp::new().data(ledger.clone()).function(Function::new("two", handler_with_two_steps));
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!(run.status(), Status::Completed);
    let input = stepladder_core::json::to_json(&OrderEvent { client_id: "other".into() }).unwrap();
    let from_b = stepladder_engine::RerunOptions { from_step: Some("b".into()), input: Some(input) };
    app.engine().control().rerun(run.id(), from_b).await.unwrap();
    app.finish().await;
    assert_eq!(ledger.recorded(), ["b"]);
}

static DRAWN: AtomicU32 = AtomicU32::new(0);

#[tokio::test]
async fn undo_within_a_body_has_no_effect() {
    async fn handler_with_undo_in_body(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        ctx.step("a", async || {
            ctx.undo("a", async || {
                DRAWN.fetch_add(1, Ordering::Relaxed);
                Ok(())
            });
            Ok(())
        })
        .await?;
        Err(refusal_error())
    }
    let mut app = TestApp::new().function(Function::new("within", handler_with_undo_in_body)).pace(Pace::WithinBudget);
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!((run.status(), run.steps(), DRAWN.load(Ordering::Relaxed)), (Status::Failed, vec!["a"], 0));
}

#[tokio::test]
async fn items_of_a_map_are_undone_one_by_one() {
    async fn mapping_handler(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        let ledger = ctx.data::<EffectLog>()?.clone();
        ctx.map("item", 0..3_u8, async |i| Ok(i))
            .limit(1)
            .undo(async move |i| {
                ledger.record(format!("{i}"));
                Ok(())
            })
            .await?;
        ctx.sleep("a while", Duration::from_secs(60)).await?;
        Err(refusal_error())
    }
    let ledger = EffectLog::default();
    let run = TestApp::new()
        .data(ledger.clone())
        .function(Function::new("all", mapping_handler))
        .send(&order_event())
        .await
        .remove(0);
    assert_eq!(run.steps()[5..], ["undo item:2", "undo item:1", "undo item"]);
    assert_eq!(ledger.recorded(), ["2", "1", "0"]);
}
