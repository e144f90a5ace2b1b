//! Maps with large results, nulls among the results, and waits inside.

use std::time::Duration;

use stepladder_sdk::prelude::*;
use stepladder_sdk::testing::{Pace, Status, TestApp, TestRun};

use crate::running::{OrderEvent, order_event};

const MIB: usize = 1024 * 1024;
const PACES: [Pace; 2] = [Pace::StepPerInvocation, Pace::WithinBudget];

async fn run_with<H, Fut, O>(pace: Pace, handler: H) -> TestRun
where
    H: Fn(Context, Event<OrderEvent>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O>> + Send + 'static,
    O: Serialize,
{
    let part = Function::new("part", async |_: Context, event: Event<PartEvent>| Ok(value_of(event.data.n, MIB)));
    let mut app = TestApp::new().function(Function::new("f", handler)).function(part).pace(pace);
    app.send(&order_event()).await.remove(0)
}

#[derive(Serialize, Deserialize)]
struct PartEvent {
    n: usize,
}

impl EventData for PartEvent {
    const NAME: &'static str = "order/part";
}

/// Returns a value with JSON of this many bytes, or null for each third item.
fn value_of(n: usize, bytes: usize) -> Option<String> {
    (n % 3 != 2).then(|| "x".repeat(bytes - 2))
}

#[tokio::test]
async fn results_of_more_than_4_mib_with_nulls_return_in_order_from_every_map() {
    for pace in PACES {
        let run = run_with(pace, async |ctx: Context, _| {
            let parts = || (0..8).map(|n| PartEvent { n });
            let of_steps = ctx.map_steps("steps", 0..8, async |ctx: Context, n| {
                ctx.sleep("a while", Duration::from_secs(8 - n as u64)).await?;
                ctx.step("value", async || Ok(value_of(n, MIB))).await
            });
            let all: [Vec<Option<String>>; 3] = [
                ctx.map("map", 0..8, async |n| Ok(value_of(n, MIB))).limit(3).await?,
                of_steps.limit(3).await?,
                ctx.map_runs("runs", "part", parts()).limit(3).await?,
            ];
            Ok(all.map(|values| values.into_iter().map(|value| value.map(|value| value.len())).collect::<Vec<_>>()))
        })
        .await;
        let n = Some(MIB - 2);
        let expected = vec![n, n, None, n, n, None, n, n];
        assert_eq!(run.output::<[Vec<Option<usize>>; 3]>(), [expected.clone(), expected.clone(), expected], "{pace:?}");
    }
}

#[tokio::test]
async fn a_map_returned_as_output_may_have_4_mib_and_says_so_beyond() {
    for pace in PACES {
        let run = run_with(pace, async |ctx: Context, _| {
            ctx.map_steps("item", 0..8, async |ctx: Context, n| ctx.step("value", async || Ok(value_of(n, MIB))).await)
                .await
        })
        .await;
        let error = run.error().expect("a failure");
        assert_eq!((run.status(), error.code()), (Status::Failed, Some("too-large")), "{pace:?}");
        assert!(error.message.contains("the function returned 6291473 bytes; at most 4194304"), "{}", error.message);
    }
}

#[tokio::test]
async fn an_item_past_4_mib_fails_and_the_error_names_its_step() {
    for pace in PACES {
        let run = run_with(pace, async |ctx: Context, _| {
            let map = ctx.map_steps("item", [1, 4, 5], async |ctx: Context, mib| {
                ctx.step("value", async || Ok("x".repeat(mib * MIB))).await
            });
            let results = map.named(|mib| format!("{mib} MiB")).results().await?;
            Ok(results.failures().map(|(name, error)| (name.to_owned(), error.to_string())).collect::<Vec<_>>())
        })
        .await;
        let failures = run.output::<Vec<(String, String)>>();
        let names: Vec<&str> = failures.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["4 MiB", "5 MiB"], "{pace:?}");
        let (_, error) = &failures[0];
        assert!(error.starts_with("step `item/4 MiB/value` returned 4194306 bytes; at most 4194304"), "{error}");
    }
}

#[tokio::test]
async fn a_map_past_32_mib_fails_with_the_item_that_did_not_fit() {
    for pace in PACES {
        for in_order in [true, false] {
            let run = run_with(pace, move |ctx: Context, _| async move {
                let map = ctx.map_steps("item", 0..12, async |ctx: Context, n| {
                    ctx.step("value", async || Ok(value_of(0, 4 * MIB).map(|value| value.len() + n))).await?;
                    ctx.step("large", async || Ok(value_of(0, 4 * MIB))).await
                });
                let map = if in_order { map.limit(1) } else { map };
                map.await.map(|values| values.len())
            })
            .await;
            let error = run.error().expect("a failure");
            assert_eq!((run.status(), error.code()), (Status::Failed, Some("too-large")), "{pace:?}");
            let of = if in_order { "step `item/7/large` returned 4194304 bytes" } else { "step `item/" };
            assert!(error.message.starts_with(of), "{}", error.message);
            assert!(error.message.contains("the run would keep more than 33554432"), "{}", error.message);
        }
    }
}
