//! Workers that die while they execute steps, and how many hops a run uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stepladder_sdk::prelude::*;
use stepladder_sdk::testing::{Fact, Pace, Status, TestApp, TestRun};

use super::running::{OrderEvent, order_event};

type BodyCount = Arc<AtomicU32>;

async fn counting_handler(ctx: Context, _: Event<OrderEvent>) -> Result<u32> {
    let bodies = ctx.data::<BodyCount>()?.clone();
    ctx.step("first", async || Ok(())).await?;
    let counted = ctx.step("charge", async move || Ok(bodies.fetch_add(1, Ordering::SeqCst) + 1)).await?;
    ctx.step("last", async || Ok(())).await?;
    Ok(counted)
}

fn counting_app(pace: Pace) -> (TestApp, BodyCount) {
    let bodies = BodyCount::default();
    let function = Function::new("f", counting_handler).retries(0);
    (TestApp::new().function(function).data(bodies.clone()).pace(pace), bodies)
}

const PACES: [Pace; 2] = [Pace::StepPerInvocation, Pace::WithinBudget];

fn failures(run: &TestRun) -> usize {
    run.journal().iter().filter(|entry| matches!(entry.fact, Fact::StepFailed { .. })).count()
}

#[tokio::test]
async fn a_step_whose_worker_dies_starts_again_without_using_a_retry() {
    for pace in PACES {
        let (app, bodies) = counting_app(pace);
        let mut app = app.crash("charge", 3);
        let begun = app.now();
        let run = app.send(&order_event()).await.remove(0);
        assert_eq!((run.output::<u32>(), run.attempts("charge"), run.executions("charge")), (1, 4, 4));
        assert_eq!((bodies.load(Ordering::SeqCst), failures(&run)), (1, 0), "a worker that dies executes no body");
        assert_eq!((run.attempts("first"), run.attempts("last")), (1, 1), "recorded steps are not repeated");
        assert!(app.now().since(begun) > Duration::from_secs(3 * 120), "each attempt's lease must end first");
    }
}

#[tokio::test]
async fn a_body_whose_result_is_lost_is_executed_again() {
    for pace in PACES {
        let (app, bodies) = counting_app(pace);
        let mut app = app.crash("charge", 1).crash_after("charge", 2);
        let run = app.send(&order_event()).await.remove(0);
        assert_eq!((run.output::<u32>(), run.attempts("charge"), bodies.load(Ordering::SeqCst)), (3, 4, 3));
        let mut mocked = counting_app(pace).0.mock("charge", 9).crash_after("charge", 1);
        let run = mocked.send(&order_event()).await.remove(0);
        assert_eq!((run.output::<u32>(), run.attempts("charge")), (9, 2));
    }
}

#[tokio::test]
async fn a_step_fails_after_ten_interruptions_in_a_row() {
    let mut app = counting_app(Pace::StepPerInvocation).0.crash("charge", u32::MAX);
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!((run.status(), run.attempts("charge")), (Status::Failed, 10));
    assert_eq!(run.error().and_then(|error| error.code()), Some("interrupted"));
}

#[tokio::test]
async fn siblings_in_the_same_invocation_die_with_the_worker() {
    async fn parallel_handler(ctx: Context, _: Event<OrderEvent>) -> Result<u32> {
        let bodies = ctx.data::<BodyCount>()?.clone();
        let sibling = ctx.step("sibling", async move || Ok(bodies.fetch_add(1, Ordering::SeqCst)));
        let (crashed, _) = tokio::try_join!(ctx.step("crashed", async || Ok(7)), sibling)?;
        Ok(crashed)
    }
    let bodies = BodyCount::default();
    let function = Function::new("f", parallel_handler);
    let app = TestApp::new().function(function).data(bodies.clone()).pace(Pace::WithinBudget);
    let run = app.crash("crashed", 1).send(&order_event()).await.remove(0);
    assert_eq!((run.output::<u32>(), run.attempts("crashed")), (7, 2));
    assert_eq!(run.attempts("sibling"), 2, "it was started, and its worker died");
}

#[tokio::test]
async fn hops_are_counted_with_those_that_die() {
    let counts = async |pace, crashes| {
        let mut app = counting_app(pace).0.crash("charge", crashes);
        app.send(&order_event()).await.remove(0).hops()
    };
    let plain = counts(Pace::StepPerInvocation, 0).await;
    assert_eq!(plain, 3, "the end is written with the last step");
    assert_eq!(counts(Pace::WithinBudget, 0).await, 1);
    // the redelivered wake only sends a new one, so that the journal counts the interruptions (rule
    // 14)
    assert_eq!(counts(Pace::WithinBudget, 1).await, 3);
}
