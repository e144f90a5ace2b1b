//! Rule 7: outcomes are revealed one at a time, in the order of the journal, and the handler is
//! polled to quiescence after each.

use std::task::Poll;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use stepladder_sdk::{Context, Event, Function, Result};

use crate::driver::{ReplayedRun, StartEvent, end};

const REPLAYS: usize = 1_000;

async fn raced(ctx: Context, _: Event<StartEvent>) -> Result<String> {
    tokio::select! {
        r = ctx.step("slow", async || Ok("step".to_owned())) => r,
        r = ctx.sleep("limit", Duration::from_secs(60)) => {
            r?;
            ctx.step("after-limit", async || Ok("sleep".to_owned())).await
        }
    }
}

async fn raced_biased(ctx: Context, _: Event<StartEvent>) -> Result<String> {
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
async fn always(run: &ReplayedRun, expected: &str) {
    for _ in 0..REPLAYS {
        let mut session = run.open();
        assert_eq!(end(session.as_mut()).await, Ok(expected.to_owned()));
        assert!(session.orphans().is_empty(), "{:?}", session.orphans());
    }
}

#[tokio::test]
async fn rule_7_select_replays_the_winner_that_was_recorded_first() {
    let run = ReplayedRun::of(Function::new("f", raced))
        .slept("limit")
        .recorded("slow", "step")
        .recorded("after-limit", "sleep");
    always(&run, r#""sleep""#).await;
    let run = ReplayedRun::of(Function::new("f", raced)).recorded("slow", "step").slept("limit");
    always(&run, r#""step""#).await;
}

#[tokio::test]
async fn rule_7_a_biased_select_does_not_prefer_its_first_arm_over_the_record() {
    let run = ReplayedRun::of(Function::new("f", raced_biased));
    let run = run.slept("limit").recorded("slow", "step").recorded("after-limit", "sleep");
    always(&run, r#""sleep""#).await;
}

#[tokio::test]
async fn rule_7_unordered_steps_come_in_the_order_of_the_journal() {
    async fn unordered(ctx: Context, _: Event<StartEvent>) -> Result<String> {
        let mut steps: FuturesUnordered<_> = (0..5).map(|i| ctx.step("u", async move || Ok(i))).collect();
        let mut seen = String::new();
        while let Some(value) = steps.next().await {
            seen += &value?.to_string();
        }
        Ok(seen)
    }
    let run = ReplayedRun::of(Function::new("f", unordered));
    let run = run.recorded("u:3", 3).recorded("u:1", 1).recorded("u", 0).recorded("u:4", 4).recorded("u:2", 2);
    always(&run, r#""31042""#).await;
}

#[tokio::test]
async fn rule_7_a_handler_sees_only_outcomes_recorded_before() {
    async fn peek(ctx: Context, _: Event<StartEvent>) -> Result<String> {
        let mut b = ctx.step("b", async || Ok("b".to_owned()));
        let _ = futures::poll!(&mut b);
        let a = ctx.step("a", async || Ok("a".to_owned())).await?;
        Ok(match futures::poll!(&mut b) {
            Poll::Ready(b) => format!("both {a}{}", b?),
            Poll::Pending => format!("only {a}"),
        })
    }
    let run = ReplayedRun::of(Function::new("f", peek)).recorded("a", "a").recorded("b", "b");
    always(&run, r#""only a""#).await;
    let run = ReplayedRun::of(Function::new("f", peek)).recorded("b", "b").recorded("a", "a");
    always(&run, r#""both ab""#).await;
}

#[tokio::test]
async fn rule_7_two_branches_that_share_a_name_keep_their_own_outcomes() {
    async fn two(ctx: &Context, text: &str) -> Result<String> {
        let first: String = ctx.step("n", async || Ok(text.to_owned())).await?;
        let second: String = ctx.step("n", async || Ok(text.to_owned())).await?;
        Ok(first + &second)
    }
    async fn flows(ctx: Context, _: Event<StartEvent>) -> Result<String> {
        let (x, y) = tokio::join!(two(&ctx, "x"), two(&ctx, "y"));
        Ok(x? + &y?)
    }
    let run = ReplayedRun::of(Function::new("f", flows));
    let run = run.recorded("n:1", "y").recorded("n:2", "y2").recorded("n", "x").recorded("n:3", "x2");
    always(&run, r#""xx2yy2""#).await;
}
