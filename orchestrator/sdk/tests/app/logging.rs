//! Log lines written with `ctx.log`, and the usage that bodies record.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestRunDetail;
use stepladder_sdk::testing::{Fact, Pace, Status, TestApp, TestRun};
use stepladder_sdk::{Usage, record_usage};

use crate::running::{OrderEvent, order_event};

const DAY: Duration = Duration::from_secs(86_400);

fn app(function: Function) -> TestApp {
    TestApp::new().function(function.backoff(Backoff::Fixed(Duration::from_secs(1))))
}

async fn logging_handler(ctx: Context, event: Event<OrderEvent>) -> Result<u32> {
    ctx.log(format!("for {}", event.data.client_id));
    let n = ctx.step("count", async || Ok(7_u32)).await?;
    ctx.log(Log::warn("few").with("rows", n));
    ctx.log("more");
    ctx.sleep("night", DAY).await?;
    ctx.step("end", async || Ok(())).await?;
    ctx.log("done");
    Ok(n)
}

#[tokio::test]
async fn each_log_line_is_recorded_once_and_the_last_with_the_end() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let run = app(Function::new("f", logging_handler)).pace(pace).send(&order_event()).await.remove(0);
        assert_eq!(run.logs(), ["for acme", "few", "more", "done"]);
        let few = &run.detail().logs[1].line;
        assert_eq!((few.level.as_str(), few.fields.as_ref().map(|f| f.get())), ("warn", Some(r#"{"rows":7}"#)));
        let last = &run.journal()[run.journal().len() - 2..];
        assert!(matches!(last, [l, e] if matches!(l.fact, Fact::LogWritten { .. }) && e.fact.is_end()), "{last:?}");
    }
}

#[tokio::test]
async fn the_log_of_a_function_without_steps_is_kept() {
    async fn handler_that_only_logs(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        ctx.log("nothing to do");
        Ok(())
    }
    let run = app(Function::new("f", handler_that_only_logs)).send(&order_event()).await.remove(0);
    assert_eq!((run.status(), run.logs()), (Status::Completed, vec!["nothing to do"]));
}

#[tokio::test]
async fn a_body_logs_in_each_attempt_and_not_in_a_replay() {
    async fn handler_with_logging_attempts(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        let tried = ctx.data::<AtomicU32>()?;
        ctx.step("try", async || {
            let n = tried.fetch_add(1, Ordering::Relaxed) + 1;
            ctx.log(format!("try {n}"));
            if n < 3 { Err(Error::new("no")) } else { Ok(()) }
        })
        .await?;
        ctx.sleep("night", DAY).await
    }
    let run = app(Function::new("f", handler_with_logging_attempts))
        .data(AtomicU32::new(0))
        .send(&order_event())
        .await
        .remove(0);
    assert_eq!(run.logs(), ["try 1", "try 2", "try 3"]);
    let of: Vec<_> = run.detail().logs.iter().map(|log| (log.step.as_deref(), log.attempt)).collect();
    assert_eq!(of, [(Some("try"), 1), (Some("try"), 2), (Some("try"), 3)]);
}

#[tokio::test]
async fn a_later_attempt_of_the_function_logs_separate_lines() {
    async fn handler_that_fails_once(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        ctx.log("begun");
        ctx.step("a", async || Ok(())).await?;
        ctx.log(format!("attempt {}", ctx.attempt()));
        if ctx.attempt() < 3 { Err(Error::new("again")) } else { Ok(()) }
    }
    let run = app(Function::new("f", handler_that_fails_once)).send(&order_event()).await.remove(0);
    assert_eq!(run.logs(), ["begun", "attempt 1", "attempt 2", "attempt 3"]);
}

#[tokio::test]
async fn a_run_keeps_a_thousand_log_lines_and_a_last_one_says_so() {
    async fn handler_with_many_lines(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        for n in 0..1_500 {
            ctx.log(format!("{n}"));
        }
        ctx.step("a", async || {
            (0..10).for_each(|n| ctx.log(format!("body {n}")));
            Ok(())
        })
        .await?;
        ctx.log("after");
        Ok(())
    }
    let run = app(Function::new("f", handler_with_many_lines)).send(&order_event()).await.remove(0);
    let logs = run.logs();
    assert_eq!((logs.len(), logs[999]), (1_001, "999"));
    assert!(logs[1_000].contains("further lines are not recorded"), "{}", logs[1_000]);
}

fn usage_of(model: &str, tokens: u64) -> Usage {
    Usage::new(model).input_tokens(tokens).output_tokens(2 * tokens).micro_dollars(10 * tokens)
}

/// Returns the recorded usage of a step: models, input tokens and costs.
fn recorded_usage(run: &TestRun, step: &str) -> Vec<(String, u64, Option<u64>)> {
    let step = run.detail().steps.iter().find(|view| *view.id == *step).expect("a step");
    step.usage.iter().map(|u| (u.model.to_string(), u.input_tokens, u.micro_dollars)).collect()
}

#[tokio::test]
async fn usage_is_recorded_with_the_attempt_also_when_it_fails() {
    async fn asking_handler(ctx: Context, _: Event<OrderEvent>) -> Result<u32> {
        let tried = ctx.data::<AtomicU32>()?;
        ctx.step("ask", async || {
            record_usage(usage_of("m", 1));
            tokio::task::yield_now().await;
            record_usage(usage_of("m", 1));
            match tried.fetch_add(1, Ordering::Relaxed) {
                0 => Err(Error::new("does not fit the schema")),
                n => Ok(n),
            }
        })
        .await
    }
    let run = app(Function::new("f", asking_handler)).data(AtomicU32::new(0)).send(&order_event()).await.remove(0);
    assert_eq!(recorded_usage(&run, "ask"), [("m".to_owned(), 4, Some(40))]);
    let each: Vec<_> = run.detail().steps[0].attempts.iter().map(|attempt| attempt.usage[0].input_tokens).collect();
    assert_eq!(each, [2, 2]);
}

#[tokio::test]
async fn parallel_bodies_report_separately() {
    async fn asking_handler(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        let ask = |name: &'static str, tokens| {
            ctx.step(name, async move || {
                for _ in 0..3 {
                    record_usage(usage_of(name, tokens));
                    tokio::task::yield_now().await;
                }
                Ok(())
            })
        };
        let (a, b) = futures::join!(ask("a", 1), ask("b", 100));
        a.and(b)
    }
    let run = app(Function::new("f", asking_handler)).send(&order_event()).await.remove(0);
    assert_eq!(
        (recorded_usage(&run, "a"), recorded_usage(&run, "b")),
        (vec![("a".into(), 3, Some(30))], vec![("b".into(), 300, Some(3_000))])
    );
}

#[tokio::test]
async fn the_usage_of_a_dropped_body_is_recorded() {
    async fn racing_handler(ctx: Context, _: Event<OrderEvent>) -> Result<u8> {
        let slow = ctx.step("slow", async || {
            record_usage(usage_of("m", 5));
            std::future::pending::<Result<u8>>().await
        });
        let quick = ctx.step("quick", async || Ok(1_u8));
        tokio::select! { biased; r = slow => r, r = quick => r }
    }
    let run = app(Function::new("f", racing_handler)).send(&order_event()).await.remove(0);
    assert_eq!(recorded_usage(&run, "slow"), [("m".to_owned(), 5, Some(50))]);
}

#[test]
fn usage_outside_a_body_has_no_effect() {
    record_usage(usage_of("m", 1));
}
