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
        let results = ctx.map_runs::<u32, _>("item", "double", items).limit(5).results().await?;
        let results = results.into_iter().map(|item| item.result.into_result().unwrap());
        Ok(results.map(|result| result.map_err(|e| e.code().unwrap().to_owned())).collect::<Vec<_>>())
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
        let results = ctx.map("half", 0..10, half).limit(3).retries(1).results().await?;
        Ok(results.into_iter().map(|item| item.result.into_value()).collect::<Vec<_>>())
    });
    let run = app.send(&order_event()).await.remove(0);
    let expected: Vec<_> = (0..10).map(|n| (n % 2 == 0).then_some(n / 2)).collect();
    assert_eq!(run.output::<Vec<Option<u32>>>(), expected);
    assert_eq!((run.attempts("half:2"), run.attempts("half:3")), (1, 2));
}

#[tokio::test]
async fn every_map_has_names_and_conditions() {
    let mut app = app(async |ctx: Context, _: Event<OrderEvent>| {
        let code = |error: Error| error.code().map(str::to_owned);
        let half = async |n: u32| match n.is_multiple_of(2) {
            true => Ok(n / 2),
            false => Err(Error::terminal("odd").with_code("odd")),
        };
        let steps = |items: std::ops::Range<u32>| ctx.map("half", items, half).named(|n| format!("n{n}"));
        // 7, 14 and so on are refused
        let runs = |items: std::ops::Range<u32>| {
            let items = items.map(|n| ItemEvent { n });
            ctx.map_runs::<u32, _>("item", "double", items).named(|item| format!("n{}", item.n))
        };
        let runs = (
            runs(6..9).tolerated_failure_percentage(33.0).await.map_err(code),
            runs(6..9).tolerated_failure_percentage(34.0).await.map_err(code),
            runs(7..10).first_success().await.map_err(code),
        );
        let failed = steps(0..3).results().await?.failures().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        Ok((
            steps(0..3).limit(1).tolerated_failures(1).await.map_err(code),
            steps(0..8).tolerated_failure_percentage(49.9).await.map_err(code),
            steps(1..9).min_successful(2).limit(1).await.map_err(code),
            steps(1..9).tolerated_failure_percentage(101.0).await.map_err(code),
            steps(1..9).named(|_| "same").await.map_err(code),
            ctx.map("half", 0..4, half).first_success().await.map_err(code),
            (failed, runs),
        ))
    });
    let run = app.send(&order_event()).await.remove(0);
    type Values = std::result::Result<Vec<u32>, Option<String>>;
    type First = std::result::Result<u32, Option<String>>;
    let error = |code: &str| Err(Some(code.to_owned()));
    let output =
        run.output::<(Values, Values, Values, Values, Values, First, (Vec<String>, (Values, Values, First)))>();
    let runs = (error("refused"), Ok(vec![12, 16]), Ok(18));
    let expected = (
        Ok(vec![0, 1]),
        error("odd"),
        Ok(vec![1, 2]),
        error("bad-map"),
        error("bad-step"),
        Ok(0),
        (vec!["n1".to_owned()], runs),
    );
    assert_eq!(output, expected);
    let steps: Vec<&str> = run.steps();
    // the first map of this name has no number; steps without names do not count as maps
    for step in ["half/n0", "half/n2", "half:1/n2", "half:2/n0", "half:3/n4", "half", "half:3", "item/n7", "item:2/n9"]
    {
        assert!(steps.contains(&step), "{step}: {steps:?}");
    }
}

#[tokio::test]
async fn a_map_of_no_items_returns_no_values() {
    let mut app = app(async |ctx: Context, _: Event<OrderEvent>| {
        let none = ctx.map_runs::<u32, ItemEvent>("item", "double", []).await?;
        let results = ctx.map("none", Vec::<u32>::new(), async |n| Ok(n)).results().await?;
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
