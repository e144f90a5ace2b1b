//! Maps: what happens to the other items when one fails, and maps with a run for each item.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestEngine;
use stepladder_sdk::testing::{Fact, Pace, Status, TestApp};

use crate::running::{OrderEvent, order_event};

#[derive(Serialize, Deserialize)]
struct ItemEvent {
    n: u32,
}

impl EventData for ItemEvent {
    const NAME: &'static str = "test/item";
}

/// Doubles an item. Earlier items take longer, and multiples of 7 fail.
async fn doubling_handler(ctx: Context, event: Event<ItemEvent>) -> Result<u32> {
    let n = event.data.n;
    ctx.sleep("a while", Duration::from_secs(u64::from(1_000 - n))).await?;
    if n.is_multiple_of(7) {
        return Err(Error::terminal(format!("{n} is refused")).with_code("refused"));
    }
    Ok(2 * n)
}

fn app<H, Fut, O>(handler: H) -> TestApp
where
    H: Fn(Context, Event<OrderEvent>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O>> + Send + 'static,
    O: Serialize,
{
    TestApp::new().function(Function::new("all", handler)).function(Function::new("double", doubling_handler))
}

/// Returns the highest number of items in progress at the same time, according to the journal.
fn most_at_once(journal: &[stepladder_sdk::testing::Entry]) -> i32 {
    let change = |fact: &Fact| {
        i32::from(matches!(fact, Fact::InvokeStarted { .. })) - i32::from(matches!(fact, Fact::InvokeEnded { .. }))
    };
    let under_way = journal.iter().scan(0, |sum, entry| {
        *sum += change(&entry.fact);
        Some(*sum)
    });
    under_way.max().unwrap_or_default()
}

#[tokio::test]
async fn each_item_is_a_run_of_its_own_within_the_limit_and_in_order() {
    let mut app = app(async |ctx: Context, _: Event<OrderEvent>| {
        let items = (1..300_u32).filter(|n| n % 7 != 0).map(|n| ItemEvent { n });
        ctx.map_runs::<u32, _>("item", "double", items).limit(20).await
    });
    let run = app.send(&order_event()).await.remove(0);
    let expected: Vec<u32> = (1..300).filter(|n| n % 7 != 0).map(|n| 2 * n).collect();
    assert_eq!(run.output::<Vec<u32>>(), expected);
    assert_eq!(most_at_once(run.journal()), 20);
    assert_eq!(app.runs_of_function("double").await.len(), expected.len());
}

#[tokio::test]
async fn a_run_that_fails_fails_the_map_and_no_further_item_starts() {
    let mut app = app(async |ctx: Context, _: Event<OrderEvent>| {
        ctx.map_runs::<u32, _>("item", "double", (1..50).map(|n| ItemEvent { n })).limit(5).await
    });
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!((run.status(), run.error().unwrap().code()), (Status::Failed, Some("refused")));
    let begun = app.runs_of_function("double").await;
    assert!((7..15).contains(&begun.len()), "{} were begun", begun.len());
    assert_eq!(begun.iter().filter(|run| run.status() == Status::Failed).count(), 1);
}

#[tokio::test]
async fn results_contain_every_item_in_order() {
    let mut app = app(async |ctx: Context, _: Event<OrderEvent>| {
        let items = (1..30).map(|n| ItemEvent { n });
        let results = ctx.map_runs::<u32, _>("item", "double", items).limit(5).results().await;
        Ok(results.into_iter().map(|result| result.map_err(|e| e.code().unwrap().to_owned())).collect::<Vec<_>>())
    });
    let run = app.send(&order_event()).await.remove(0);
    let refused = Err("refused".to_owned());
    let expected: Vec<_> = (1..30_u32).map(|n| if n.is_multiple_of(7) { refused.clone() } else { Ok(2 * n) }).collect();
    assert_eq!(run.output::<Vec<std::result::Result<u32, String>>>(), expected);
    assert_eq!(most_at_once(run.journal()), 5);
}

#[tokio::test]
async fn each_item_is_retried_separately_and_keeps_its_result() {
    let mut app = app(async |ctx: Context, _: Event<OrderEvent>| {
        let half = async |n: u32| if n.is_multiple_of(2) { Ok(n / 2) } else { Err(Error::new("odd")) };
        let results = ctx.map("half", 0..10, half).limit(3).retries(1).results().await;
        Ok(results.into_iter().map(|result| result.ok()).collect::<Vec<_>>())
    });
    let run = app.send(&order_event()).await.remove(0);
    let expected: Vec<_> = (0..10).map(|n| (n % 2 == 0).then_some(n / 2)).collect();
    assert_eq!(run.output::<Vec<Option<u32>>>(), expected);
    assert_eq!((run.attempts("half:2"), run.attempts("half:3")), (1, 2));
}

#[tokio::test]
async fn a_map_of_no_items_returns_no_values() {
    let mut app = app(async |ctx: Context, _: Event<OrderEvent>| {
        let none = ctx.map_runs::<u32, ItemEvent>("item", "double", []).await?;
        let results = ctx.map("none", Vec::<u32>::new(), async |n| Ok(n)).results().await;
        Ok(none.len() + results.len())
    });
    assert_eq!(app.send(&order_event()).await.remove(0).output::<usize>(), 0);
}

#[tokio::test]
async fn ten_thousand_items_complete_with_the_limit_held_throughout() {
    const ITEMS: u32 = 10_000;
    let mut app = app(async |ctx: Context, _: Event<OrderEvent>| {
        let (now, most) = (AtomicU32::new(0), AtomicU32::new(0));
        let body = async |n: u32| {
            let under_way = now.fetch_add(1, Ordering::Relaxed) + 1;
            most.fetch_max(under_way, Ordering::Relaxed);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::Relaxed);
            Ok(n)
        };
        let values = ctx.map("item", 0..ITEMS, body).limit(10).await?;
        let in_order = values.into_iter().eq(0..ITEMS);
        Ok((in_order, most.load(Ordering::Relaxed)))
    })
    .config(|config| config.worker_timeout = Duration::from_secs(86_400))
    .pace(Pace::WithinBudget);
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!(run.output::<(bool, u32)>(), (true, 10));
    let (mut running, mut most) = (0, 0);
    for entry in run.journal() {
        running += i32::from(matches!(entry.fact, Fact::StepStarted { .. }));
        most = most.max(running);
        running -= i32::from(matches!(entry.fact, Fact::StepSucceeded { .. }));
    }
    assert_eq!((most, running), (10, 0));
    assert_eq!(run.journal().iter().filter(|e| matches!(e.fact, Fact::StepSucceeded { .. })).count(), ITEMS as usize);
}

#[tokio::test]
async fn bodies_of_a_failed_map_run_to_their_end_in_other_invocations() {
    // one invocation executes 16 items at the same time, and another one the rest
    const ITEMS: usize = 20;
    const ELSEWHERE: usize = 4;
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let (done, all): (Arc<AtomicU32>, _) = (Arc::default(), Arc::new(tokio::sync::Barrier::new(ITEMS)));
        let count = done.clone();
        let mut app = app(move |ctx: Context, _: Event<OrderEvent>| {
            let (count, all) = (count.clone(), all.clone());
            async move {
                let body = async |n: usize| {
                    all.wait().await;
                    if n == 0 {
                        return Err(Error::terminal("the first is refused"));
                    }
                    for _ in 0..100 {
                        tokio::task::yield_now().await;
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                    Ok(n)
                };
                let failed = ctx.map("item", 0..ITEMS, body).await.unwrap_err();
                ctx.sleep("live on", Duration::from_secs(60)).await?;
                Ok(failed.to_string())
            }
        })
        .pace(pace);
        let run = app.send(&order_event()).await.remove(0);
        assert_eq!(run.output::<String>(), "the first is refused");
        let recorded = |fact: &Fact| matches!(fact, Fact::StepSucceeded { .. });
        let recorded = run.journal().iter().filter(|entry| recorded(&entry.fact)).count();
        assert_eq!((done.load(Ordering::Relaxed) as usize, recorded), (ELSEWHERE, ELSEWHERE), "{pace:?}");
    }
}
