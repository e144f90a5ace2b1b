//! Steps can be combined like any other futures.

use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use stepladder_sdk::{Context, Event, Function, Result};

use crate::driver::{ReplayedRun, StartEvent, end, step_ids, wanted_steps};

async fn measure_length(text: &str) -> Result<usize> {
    tokio::task::yield_now().await;
    Ok(text.len())
}

async fn double_length(ctx: &Context, text: &str) -> Result<usize> {
    let n = ctx.step("length", || measure_length(text)).await?;
    ctx.step("double", async || Ok(n * 2)).await
}

#[tokio::test]
async fn helpers_loops_and_joins_mix() {
    async fn mixed_handler(ctx: Context, event: Event<StartEvent>) -> Result<Vec<usize>> {
        let items = vec!["a".to_owned(), "bb".into(), "ccc".into()];
        let helpers = try_join_all(items.iter().map(|item| double_length(&ctx, item))).await?;
        let mut steps = Vec::new();
        for item in &items {
            steps.push(ctx.step(format!("length of {item}"), || measure_length(item)));
        }
        let looped = try_join_all(steps).await?;
        let (id, four) = tokio::join!(
            ctx.step("id", async || Ok(event.data.id.clone())).retries(9),
            ctx.step("four", async || Ok(4))
        );
        let (p, q) = tokio::try_join!(double_length(&ctx, "dddd"), ctx.step("q", || measure_length("eeeee")))?;
        let bodies = vec![ctx.step("x", || measure_length("x")), ctx.step("y", async || Ok(3)).retries(2)];
        let mixed = try_join_all(bodies).await?;
        let buffered: Vec<_> = items.iter().map(|item| ctx.step("buffered", || measure_length(item))).collect();
        let buffered: Vec<usize> = stream::iter(buffered).buffered(2).try_collect().await?;
        Ok([helpers, looped, vec![id?.len(), four?, p, q], mixed, buffered].concat())
    }
    for a_session_each in [true, false] {
        let mut run = ReplayedRun::for_function(Function::new("f", mixed_handler));
        assert_eq!(run.run(a_session_each).await, Ok("[2,4,6,1,2,3,3,4,8,5,1,3,1,2,3]".into()));
        assert_eq!(run.hops, if a_session_each { 20 } else { 1 });
    }
}

#[tokio::test]
async fn a_repeated_name_has_an_outcome_for_each_use() {
    async fn repeating_handler(ctx: Context, _: Event<StartEvent>) -> Result<Vec<u32>> {
        let mut seen = Vec::new();
        for i in 0..3 {
            seen.push(ctx.step("page", async || Ok(i * 10)).await?);
        }
        Ok(seen)
    }
    let mut run = ReplayedRun::for_function(Function::new("f", repeating_handler));
    assert_eq!(run.run(true).await, Ok("[0,10,20]".into()));
    assert_eq!(run.recorded_steps(), ["page", "page:1", "page:2"]);
    let replayed = ReplayedRun::for_function(Function::new("f", repeating_handler))
        .with_recorded_step("page", 7)
        .with_recorded_step("page:1", 8)
        .with_recorded_step("page:2", 9);
    assert_eq!(end(replayed.open().as_mut()).await, Ok("[7,8,9]".into()));
}

#[tokio::test]
async fn names_are_numbered_when_steps_are_made_not_when_they_are_polled() {
    async fn handler_polling_in_reverse(ctx: Context, _: Event<StartEvent>) -> Result<Vec<u32>> {
        let first = ctx.step("n", async || Ok(1));
        let second = ctx.step("n", async || Ok(2));
        let second = second.await?;
        Ok(vec![first.await?, second])
    }
    let mut run = ReplayedRun::for_function(Function::new("f", handler_polling_in_reverse));
    assert_eq!(run.run(true).await, Ok("[1,2]".into()));
    assert_eq!(run.recorded_steps(), ["n:1", "n"]);
}

#[tokio::test]
async fn a_map_has_at_most_its_limit_of_active_steps() {
    async fn mapping_handler(ctx: Context, _: Event<StartEvent>) -> Result<Vec<u32>> {
        let items: Vec<u32> = (0..5).collect();
        ctx.map("item", &items, async |i: &u32| Ok(i * 2)).limit(2).retries(1).await
    }
    let mut run = ReplayedRun::for_function(Function::new("f", mapping_handler));
    assert_eq!(step_ids(&wanted_steps(run.open().as_mut()).await), ["item", "item:1"]);
    assert_eq!(run.run(true).await, Ok("[0,2,4,6,8]".into()));
    assert_eq!(run.recorded_steps().len(), 5);
    // when an item has ended, the next item starts at once and does not wait for the others
    let run = ReplayedRun::for_function(Function::new("f", mapping_handler)).with_recorded_step("item:1", 2);
    assert_eq!(step_ids(&wanted_steps(run.open().as_mut()).await), ["item", "item:2"]);
    let run = run.with_recorded_step("item:2", 4).with_recorded_step("item:3", 6).with_recorded_step("item:4", 8);
    assert_eq!(step_ids(&wanted_steps(run.open().as_mut()).await), ["item"]);
    assert_eq!(end(run.with_recorded_step("item", 0).open().as_mut()).await, Ok("[0,2,4,6,8]".into()));
}

#[tokio::test]
async fn a_map_of_no_items_completes() {
    async fn handler_mapping_nothing(ctx: Context, _: Event<StartEvent>) -> Result<Vec<u32>> {
        ctx.map("item", Vec::<u32>::new(), async |i| Ok(i)).limit(0).await
    }
    assert_eq!(
        end(ReplayedRun::for_function(Function::new("f", handler_mapping_nothing)).open().as_mut()).await,
        Ok("[]".into())
    );
}

#[tokio::test]
async fn rule_8_the_next_step_is_wanted_before_the_siblings_of_its_predecessor_end() {
    async fn handler_with_two_flows(ctx: Context, _: Event<StartEvent>) -> Result<()> {
        let chain = async {
            ctx.step("a", async || Ok(())).await?;
            ctx.step("c", async || Ok(())).await
        };
        tokio::try_join!(chain, ctx.step("b", async || Ok(()))).map(drop)
    }
    let run = ReplayedRun::for_function(Function::new("f", handler_with_two_flows)).with_recorded_step("a", ());
    assert_eq!(step_ids(&wanted_steps(run.open().as_mut()).await), ["b", "c"]);
}

#[tokio::test]
async fn a_join_of_a_thousand_steps_is_listed_in_the_order_of_polling() {
    async fn handler_with_a_thousand_steps(ctx: Context, _: Event<StartEvent>) -> Result<u64> {
        Ok(try_join_all((0..1_000_u64).map(|i| ctx.step("n", async move || Ok(i)))).await?.iter().sum())
    }
    let mut run = ReplayedRun::for_function(Function::new("f", handler_with_a_thousand_steps));
    let wants = wanted_steps(run.open().as_mut()).await;
    assert_eq!((wants.len(), &*wants[0].step, &*wants[999].step), (1_000, "n", "n:999"));
    assert_eq!(run.run(false).await, Ok("499500".into()));
}
