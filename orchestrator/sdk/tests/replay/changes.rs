//! Rule 6: a run that older code has recorded is replayed by changed code.

use std::time::Duration;

use stepladder_core::{Failure, Json, Outcome, StepKind, json};
use stepladder_sdk::{Context, Event, Function, Result};

use crate::driver::{ReplayedRun, StartEvent, end, step_ids, wanted_steps};

fn two_recorded(function: Function) -> ReplayedRun {
    ReplayedRun::for_function(function).with_recorded_step("a", 1).with_recorded_step("b", 2)
}

#[tokio::test]
async fn an_inserted_step_runs_and_the_others_keep_their_outcomes() {
    async fn handler_with_inserted_step(ctx: Context, _: Event<StartEvent>) -> Result<u8> {
        let a = ctx.step("a", async || Ok(90_u8)).await?;
        let new = ctx.step("new", async || Ok(40_u8)).await?;
        Ok(a + new + ctx.step("b", async || Ok(90_u8)).await?)
    }
    let mut run = two_recorded(Function::new("f", handler_with_inserted_step));
    assert_eq!(step_ids(&wanted_steps(run.open().as_mut()).await), ["new"]);
    assert_eq!(run.run(true).await, Ok("43".into()));
    assert_eq!(run.recorded_steps(), ["a", "b", "new"]);
}

#[tokio::test]
async fn rule_6_the_outcome_of_a_removed_step_is_ignored_and_reported() {
    async fn handler_with_removed_step(ctx: Context, _: Event<StartEvent>) -> Result<u8> {
        ctx.step("b", async || Ok(90_u8)).await
    }
    let run = two_recorded(Function::new("f", handler_with_removed_step));
    let mut session = run.open();
    assert_eq!(end(session.as_mut()).await, Ok("2".into()));
    assert_eq!(session.orphans(), ["a".into()]);
}

#[tokio::test]
async fn rule_6_outcomes_after_the_end_are_reported_too() {
    async fn handler_without_steps(_: Context, _: Event<StartEvent>) -> Result<u8> {
        Ok(0)
    }
    let run = two_recorded(Function::new("f", handler_without_steps));
    let mut session = run.open();
    assert_eq!(end(session.as_mut()).await, Ok("0".into()));
    assert_eq!(session.orphans(), ["a".into(), "b".into()]);
}

#[tokio::test]
async fn rule_6_the_loser_of_a_select_is_no_orphan() {
    async fn racing_handler(ctx: Context, _: Event<StartEvent>) -> Result<u8> {
        tokio::select! {
            r = ctx.step("a", async || Ok(1_u8)) => r,
            r = ctx.step("b", async || Ok(2_u8)) => r,
        }
    }
    let run = two_recorded(Function::new("f", racing_handler));
    let mut session = run.open();
    assert_eq!(end(session.as_mut()).await, Ok("1".into()));
    assert!(session.orphans().is_empty());
}

#[tokio::test]
async fn swapped_steps_keep_their_outcomes() {
    async fn handler_with_swapped_steps(ctx: Context, _: Event<StartEvent>) -> Result<Vec<u8>> {
        let b = ctx.step("b", async || Ok(90_u8)).await?;
        Ok(vec![ctx.step("a", async || Ok(90_u8)).await?, b])
    }
    let run = two_recorded(Function::new("f", handler_with_swapped_steps));
    let mut session = run.open();
    assert_eq!(end(session.as_mut()).await, Ok("[1,2]".into()));
    assert!(session.orphans().is_empty());
}

#[tokio::test]
async fn another_kind_of_step_under_a_recorded_id_is_nondeterminism_with_its_place() {
    async fn sleeping_handler(ctx: Context, _: Event<StartEvent>) -> Result<()> {
        ctx.sleep("a", Duration::from_secs(1)).await
    }
    let failure = end(two_recorded(Function::new("f", sleeping_handler)).open().as_mut()).await.unwrap_err();
    assert_eq!(failure.code(), Some("nondeterminism"));
    assert!(failure.message.contains("holds a step with a body under `a`"), "{failure:?}");
    assert!(failure.message.contains("changes.rs:"), "{failure:?}");
}

#[tokio::test]
async fn a_failure_of_another_kind_of_step_is_nondeterminism() {
    async fn handler_with_another_kind(ctx: Context, _: Event<StartEvent>) -> Result<u8> {
        ctx.step("a", async || Ok(1_u8)).await
    }
    let mut run = ReplayedRun::for_function(Function::new("f", handler_with_another_kind));
    run.record("a".into(), StepKind::Invoke, Outcome::Failed(Failure::new("the other one failed")));
    let failure = end(run.open().as_mut()).await.unwrap_err();
    assert_eq!(failure.code(), Some("nondeterminism"));
}

#[tokio::test]
async fn an_outcome_that_no_longer_decodes_names_step_type_and_reason() {
    async fn handler_with_typed_steps(ctx: Context, _: Event<StartEvent>) -> Result<Vec<String>> {
        ctx.step("a", async || Ok(vec![String::new()])).await
    }
    let failure = end(two_recorded(Function::new("f", handler_with_typed_steps)).open().as_mut()).await.unwrap_err();
    assert_eq!(failure.code(), Some("undecodable-memo"));
    for part in ["step `a`", "changes.rs:", "Vec<alloc::string::String>", "invalid type: integer `1`"] {
        assert!(failure.message.contains(part), "{part}: {failure:?}");
    }
}

#[tokio::test]
async fn a_type_that_does_not_round_trip_fails_in_its_first_run() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct LossyValue {
        #[serde(skip_serializing)]
        secret: u8,
    }
    async fn handler_with_lossy_value(ctx: Context, _: Event<StartEvent>) -> Result<u8> {
        Ok(ctx.step("a", async || Ok(LossyValue { secret: 1 })).await?.secret)
    }
    let failure = ReplayedRun::for_function(Function::new("f", handler_with_lossy_value)).run(false).await.unwrap_err();
    assert_eq!(failure.code(), Some("undecodable-memo"));
}

#[tokio::test]
async fn a_sleep_ignores_its_recorded_value() {
    async fn sleeping_handler(ctx: Context, _: Event<StartEvent>) -> Result<()> {
        ctx.sleep("s", Duration::from_secs(1)).await
    }
    let mut run = ReplayedRun::for_function(Function::new("f", sleeping_handler));
    let something: Json = json::to_json(&5).unwrap();
    run.record("s".into(), StepKind::Sleep, Outcome::Value(something));
    assert_eq!(end(run.open().as_mut()).await, Ok("null".into()));
}

#[tokio::test]
async fn a_renamed_step_runs_again_under_its_new_name() {
    async fn handler_with_renamed_step(ctx: Context, _: Event<StartEvent>) -> Result<u8> {
        let a = ctx.step("a, renamed", async || Ok(40_u8)).await?;
        Ok(a + ctx.step("b", async || Ok(90_u8)).await?)
    }
    let mut run = two_recorded(Function::new("f", handler_with_renamed_step));
    assert_eq!(run.run(true).await, Ok("42".into()));
    assert_eq!(run.recorded_steps(), ["a", "b", "a, renamed"]);
}

#[tokio::test]
async fn a_repeated_name_takes_the_outcome_of_the_use_before() {
    async fn handler_with_repeated_name(ctx: Context, _: Event<StartEvent>) -> Result<Vec<u8>> {
        let new = ctx.step("a", async || Ok(90_u8)).await?;
        let old = ctx.step("a", async || Ok(40_u8)).await?;
        Ok(vec![new, old, ctx.step("b", async || Ok(90_u8)).await?])
    }
    let mut run = two_recorded(Function::new("f", handler_with_repeated_name));
    assert_eq!(run.run(true).await, Ok("[1,40,2]".into()));
    assert_eq!(run.recorded_steps(), ["a", "b", "a:1"]);
}
