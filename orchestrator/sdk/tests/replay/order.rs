//! Rule 7: outcomes are revealed one at a time, in the order of the journal, and the handler is
//! polled to quiescence after each.

use std::task::Poll;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use stepladder_sdk::{Context, Event, Function, Result};

use crate::driver::{ReplayedRun, StartEvent, end};

const REPLAYS: usize = 1_000;

async fn racing_handler(ctx: Context, _: Event<StartEvent>) -> Result<String> {
    tokio::select! {
        r = ctx.step("slow", async || Ok("step".to_owned())) => r,
        r = ctx.sleep("limit", Duration::from_secs(60)) => {
            r?;
            ctx.step("after-limit", async || Ok("sleep".to_owned())).await
        }
    }
}

async fn biased_racing_handler(ctx: Context, _: Event<StartEvent>) -> Result<String> {
    tokio::select! {
        biased;
        r = ctx.step("slow", async || Ok("step".to_owned())) => r,
        r = ctx.sleep("limit", Duration::from_secs(60)) => {
            r?;
            ctx.step("after-limit", async || Ok("sleep".to_owned())).await
        }
    }
}

/// Replays the run many times. Every replay must end with this result.
async fn assert_outcome_of_every_replay(run: &ReplayedRun, expected: &str) {
    for _ in 0..REPLAYS {
        let mut session = run.open();
        assert_eq!(end(session.as_mut()).await, Ok(expected.to_owned()));
        assert!(session.orphans().is_empty(), "{:?}", session.orphans());
    }
}

#[tokio::test]
async fn rule_7_select_replays_the_winner_that_was_recorded_first() {
    let run = ReplayedRun::for_function(Function::new("f", racing_handler))
        .with_recorded_sleep("limit")
        .with_recorded_step("slow", "step")
        .with_recorded_step("after-limit", "sleep");
    assert_outcome_of_every_replay(&run, r#""sleep""#).await;
    let run = ReplayedRun::for_function(Function::new("f", racing_handler))
        .with_recorded_step("slow", "step")
        .with_recorded_sleep("limit");
    assert_outcome_of_every_replay(&run, r#""step""#).await;
}

#[tokio::test]
async fn rule_7_a_biased_select_does_not_prefer_its_first_arm_over_the_record() {
    let run = ReplayedRun::for_function(Function::new("f", biased_racing_handler));
    let run =
        run.with_recorded_sleep("limit").with_recorded_step("slow", "step").with_recorded_step("after-limit", "sleep");
    assert_outcome_of_every_replay(&run, r#""sleep""#).await;
}

#[tokio::test]
async fn rule_7_unordered_steps_come_in_the_order_of_the_journal() {
    async fn unordered_handler(ctx: Context, _: Event<StartEvent>) -> Result<String> {
        let mut steps: FuturesUnordered<_> = (0..5).map(|i| ctx.step("u", async move || Ok(i))).collect();
        let mut seen = String::new();
        while let Some(value) = steps.next().await {
            seen += &value?.to_string();
        }
        Ok(seen)
    }
    let run = ReplayedRun::for_function(Function::new("f", unordered_handler));
    let run = run
        .with_recorded_step("u:3", 3)
        .with_recorded_step("u:1", 1)
        .with_recorded_step("u", 0)
        .with_recorded_step("u:4", 4)
        .with_recorded_step("u:2", 2);
    assert_outcome_of_every_replay(&run, r#""31042""#).await;
}

#[tokio::test]
async fn rule_7_a_handler_sees_only_outcomes_recorded_before() {
    async fn peeking_handler(ctx: Context, _: Event<StartEvent>) -> Result<String> {
        let mut b = ctx.step("b", async || Ok("b".to_owned()));
        let _ = futures::poll!(&mut b);
        let a = ctx.step("a", async || Ok("a".to_owned())).await?;
        Ok(match futures::poll!(&mut b) {
            Poll::Ready(b) => format!("both {a}{}", b?),
            Poll::Pending => format!("only {a}"),
        })
    }
    let run = ReplayedRun::for_function(Function::new("f", peeking_handler))
        .with_recorded_step("a", "a")
        .with_recorded_step("b", "b");
    assert_outcome_of_every_replay(&run, r#""only a""#).await;
    let run = ReplayedRun::for_function(Function::new("f", peeking_handler))
        .with_recorded_step("b", "b")
        .with_recorded_step("a", "a");
    assert_outcome_of_every_replay(&run, r#""both ab""#).await;
}

#[tokio::test]
async fn rule_7_two_branches_that_share_a_name_keep_their_own_outcomes() {
    async fn run_two_steps(ctx: &Context, text: &str) -> Result<String> {
        let first: String = ctx.step("n", async || Ok(text.to_owned())).await?;
        let second: String = ctx.step("n", async || Ok(text.to_owned())).await?;
        Ok(first + &second)
    }
    async fn handler_with_two_flows(ctx: Context, _: Event<StartEvent>) -> Result<String> {
        let (x, y) = tokio::join!(run_two_steps(&ctx, "x"), run_two_steps(&ctx, "y"));
        Ok(x? + &y?)
    }
    let run = ReplayedRun::for_function(Function::new("f", handler_with_two_flows));
    let run = run
        .with_recorded_step("n:1", "y")
        .with_recorded_step("n:2", "y2")
        .with_recorded_step("n", "x")
        .with_recorded_step("n:3", "x2");
    assert_outcome_of_every_replay(&run, r#""xx2yy2""#).await;
}
