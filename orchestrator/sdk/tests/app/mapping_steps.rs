//! Maps with several steps for each item: ids, limits, completion, and what depends on an item.

use std::time::Duration;

use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestEngine;
use stepladder_sdk::testing::{Fact, Pace, Status, TestApp, TestRun};
use stepladder_sdk::{ItemResult, ItemResults};

use crate::running::{OrderEvent, order_event};

const PACES: [Pace; 2] = [Pace::StepPerInvocation, Pace::WithinBudget];

fn app<H, Fut, O>(handler: H) -> TestApp
where
    H: Fn(Context, Event<OrderEvent>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O>> + Send + 'static,
    O: Serialize,
{
    TestApp::new().function(Function::new("f", handler))
}

async fn run_with<H, Fut, O>(pace: Pace, handler: H) -> TestRun
where
    H: Fn(Context, Event<OrderEvent>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O>> + Send + 'static,
    O: Serialize,
{
    app(handler).pace(pace).send(&order_event()).await.remove(0)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Two steps with a sleep between them; odd items are refused after the sleep.
async fn refuse_odd(ctx: Context, n: u64) -> Result<u64> {
    let doubled = ctx.step("double", async || Ok(2 * n)).await?;
    ctx.sleep("rest", seconds(n)).await?;
    if n % 2 == 1 {
        return Err(Error::terminal(format!("{n} is odd")).with_code("odd"));
    }
    ctx.step("add one", async || Ok(doubled + 1)).await
}

/// Describes how the items of a map ended, as one string per item.
fn describe<T: std::fmt::Debug>(results: ItemResults<T>) -> Vec<String> {
    let of = |result: ItemResult<T>| match result {
        ItemResult::Succeeded(value) => format!("{value:?}"),
        ItemResult::Failed(error) => error.to_string(),
        ItemResult::Abandoned => "abandoned".into(),
        ItemResult::NotStarted => "not started".into(),
    };
    results.into_iter().map(|item| format!("{}: {}", item.name, of(item.result))).collect()
}

/// Returns the highest number of items between their first and their last step at the same time.
fn most_at_once(run: &TestRun) -> i32 {
    let (mut active, mut most) = (0, 0);
    for entry in run.journal() {
        match &entry.fact {
            Fact::StepStarted { step, .. } if step.ends_with("/double") => active += 1,
            Fact::StepSucceeded { step, .. } if step.ends_with("/add one") => active -= 1,
            _ => {}
        }
        most = most.max(active);
    }
    most
}

#[tokio::test]
async fn items_of_several_steps_run_within_the_limit_and_return_values_in_order() {
    for pace in PACES {
        let run = run_with(pace, async |ctx: Context, _| {
            // earlier items take longer
            ctx.map_steps("item", (0..40).map(|n| 80 - 2 * n), refuse_odd).limit(7).await
        })
        .await;
        let expected: Vec<u64> = (0..40).map(|n| 2 * (80 - 2 * n) + 1).collect();
        assert_eq!(run.output::<Vec<u64>>(), expected, "{pace:?}");
        assert_eq!((most_at_once(&run), run.steps().len()), (7, 120), "{pace:?}");
        assert_eq!((run.executions("item/39/double"), run.executions("item/39/add one")), (1, 1));
    }
}

#[tokio::test]
async fn ids_consist_of_the_names_of_map_item_and_step_whatever_the_order_of_items() {
    async fn handler(ctx: Context, _: Event<OrderEvent>) -> Result<Vec<u32>> {
        let mut all = Vec::new();
        for _ in 0..2 {
            let map = ctx.map_steps("shop", ["b", "a"], async |ctx: Context, shop: &str| {
                ctx.sleep("wait", seconds(if shop == "b" { 9 } else { 1 })).await?;
                let pages = ctx.map_steps("page", 0..2, async |ctx: Context, n: u32| {
                    ctx.step("read", async || Ok(n)).await?;
                    ctx.step("read", async || Ok(n)).await
                });
                Ok(pages.await?.len() as u32 + ctx.map("sum", [1, 2], async |n| Ok(n)).await?.len() as u32)
            });
            all.extend(map.named(|shop| *shop).await?);
        }
        Ok(all)
    }
    for pace in PACES {
        let run = run_with(pace, handler).await;
        assert_eq!(run.output::<Vec<u32>>(), [4, 4, 4, 4]);
        let mut expected = Vec::new();
        for map in ["shop", "shop:1"] {
            for shop in ["a", "b"] {
                let steps = ["page/0/read", "page/0/read:1", "page/1/read", "page/1/read:1", "sum", "sum:1", "wait"];
                expected.extend(steps.map(|step| format!("{map}/{shop}/{step}")));
            }
        }
        let mut steps = run.steps();
        steps.sort_unstable();
        expected.sort_unstable();
        assert_eq!(steps, expected, "{pace:?}");
    }
}

#[tokio::test]
async fn the_first_failure_fails_the_map_and_ends_the_other_items() {
    for pace in PACES {
        let run = run_with(pace, async |ctx: Context, _| {
            let error = ctx.map_steps("item", [4, 1, 6, 2], refuse_odd).limit(3).await.unwrap_err();
            ctx.sleep("live on", seconds(60)).await?;
            Ok((error.to_string(), error.code().map(str::to_owned)))
        })
        .await;
        assert_eq!(run.output::<(String, Option<String>)>(), ("1 is odd".into(), Some("odd".into())), "{pace:?}");
        assert_eq!(run.executions("item/3/double"), 0, "the fourth item does not start");
        assert_eq!((run.executions("item/0/add one"), run.executions("item/2/add one")), (0, 0), "{pace:?}");
    }
}

#[tokio::test]
async fn results_say_how_each_item_ended() {
    for pace in PACES {
        let run = run_with(pace, async |ctx: Context, _| {
            let map = || ctx.map_steps("item", [8, 1, 2, 3, 4, 6], refuse_odd).named(|n| format!("n{n}")).limit(4);
            let all = map().results().await?;
            let unfinished: Vec<String> = all.unfinished().map(str::to_owned).collect();
            let failed: Vec<String> = all.failures().map(|(name, _)| name.to_owned()).collect();
            let counts = (all.is_met(), all.len(), unfinished.len(), failed.join(" "));
            let enough = map().min_successful(1).results().await?;
            let tolerant = map().tolerated_failures(1).results().await?;
            let met = (enough.is_met(), tolerant.is_met());
            Ok((describe(all), counts, describe(enough), describe(tolerant), met))
        })
        .await;
        type Output = (Vec<String>, (bool, usize, usize, String), Vec<String>, Vec<String>, (bool, bool));
        let (all, counts, enough, tolerant, met) = run.output::<Output>();
        assert_eq!(all, ["n8: 17", "n1: 1 is odd", "n2: 5", "n3: 3 is odd", "n4: 9", "n6: 13"], "{pace:?}");
        assert_eq!(counts, (true, 6, 0, "n1 n3".into()));
        let expected = ["n8: abandoned", "n1: 1 is odd", "n2: 5", "n3: abandoned", "n4: abandoned", "n6: not started"];
        assert_eq!(enough, expected, "{pace:?}");
        let expected = ["n8: abandoned", "n1: 1 is odd", "n2: 5", "n3: 3 is odd", "n4: abandoned", "n6: abandoned"];
        assert_eq!(tolerant, expected, "{pace:?}");
        assert_eq!(met, (true, false));
    }
}

#[tokio::test]
async fn conditions_complete_a_map_early_or_fail_it() {
    for pace in PACES {
        let run = run_with(pace, async |ctx: Context, _| {
            let map = |items: &[u64]| ctx.map_steps("item", items.to_vec(), refuse_odd);
            let code = |error: Error| error.code().map(str::to_owned);
            Ok((
                map(&[8, 1, 4, 2]).min_successful(2).await.map_err(code),
                map(&[1, 2, 3]).min_successful(2).await.map_err(code),
                map(&[1, 2, 3]).tolerated_failures(2).await.map_err(code),
                map(&[4, 2, 1]).first_success().await.map_err(code),
                map(&[1, 3]).first_success().await.map_err(code),
                map(&[1, 2]).min_successful(0).await.map_err(code),
            ))
        })
        .await;
        type Values = std::result::Result<Vec<u64>, Option<String>>;
        type First = std::result::Result<u64, Option<String>>;
        let odd = || Some("odd".to_owned());
        let expected = (Ok(vec![9, 5]), Err(odd()), Ok(vec![5]), Ok(5), Err(odd()), Ok(vec![]));
        assert_eq!(run.output::<(Values, Values, Values, First, First, Values)>(), expected, "{pace:?}");
    }
}

#[tokio::test]
async fn an_empty_map_completes_at_once_and_cannot_meet_a_minimum() {
    for pace in PACES {
        let run = run_with(pace, async |ctx: Context, _| {
            let none = || ctx.map_steps("none", Vec::<u64>::new(), refuse_odd).limit(0);
            let results = none().results().await?;
            let counts = (none().await?.len(), results.is_met(), results.is_empty());
            let first = none().first_success().await.unwrap_err();
            let least = none().min_successful(2).await.unwrap_err();
            let unmet = none().min_successful(2).results().await?.is_met();
            assert!(first.is_terminal() && least.is_terminal());
            Ok((counts, first.to_string(), least.to_string(), least.code().map(str::to_owned), unmet))
        })
        .await;
        type Output = ((usize, bool, bool), String, String, Option<String>, bool);
        let (counts, first, least, code, unmet) = run.output::<Output>();
        assert_eq!((counts, unmet, code.as_deref()), ((0, true, true), false, Some("bad-map")));
        assert!(first.starts_with("map `none:2` (") && first.ends_with("has 0 items, so 1 cannot succeed"), "{first}");
        assert!(least.starts_with("map `none:3` (") && least.ends_with("has 0 items, so 2 cannot succeed"), "{least}");
    }
}

#[tokio::test]
async fn names_that_cannot_be_used_are_refused_before_any_item_starts() {
    let run = run_with(Pace::StepPerInvocation, async |ctx: Context, _| {
        let map = |map: &str, items: &[&str]| {
            let items: Vec<String> = items.iter().map(|name| (*name).to_owned()).collect();
            let made = ctx.map_steps(map, items, async |ctx: Context, _| ctx.step("s", async || Ok(())).await);
            made.named(|item| item.clone())
        };
        let long = "x".repeat(250);
        let refused = [
            map("twice", &["a", "b", "a"]).await.unwrap_err(),
            map("empty", &["a", ""]).results().await.unwrap_err(),
            map("control", &["a\n"]).first_success().await.unwrap_err(),
            map("numbered:1", &["a"]).await.unwrap_err(),
            map("stepladder/own", &["a"]).await.unwrap_err(),
            map("", &["a"]).await.unwrap_err(),
            map("stepladder", &["a"]).await.unwrap_err(),
            map("long", &[&long]).await.unwrap_err(),
            map("set twice", &["a"]).limit(1).limit(2).await.unwrap_err(),
            map("both", &["a"]).min_successful(1).first_success().await.unwrap_err(),
        ];
        assert!(refused.iter().all(Error::is_terminal));
        Ok(refused.map(|error| format!("{}: {error}", error.code().unwrap_or_default())))
    })
    .await;
    assert!(run.steps().is_empty(), "{:?}", run.steps());
    let expected = [
        ("bad-map: map `twice` (", "has the name `a` for the items 0 and 2; give each item its own name"),
        ("bad-map: map `empty` (", "names item 1 ``, which is empty"),
        ("bad-map: map `control` (", "which contains a control character"),
        ("bad-step-name: map `numbered:1` (", "has a name that ends in `:` and digits"),
        ("bad-step-name: map `stepladder/own` (", "has a name that begins with `stepladder/`"),
        ("bad-step-name: map `` (", "has a name that is empty"),
        ("bad-step-name: the step name `stepladder/a/s` (", "begins with `stepladder/`"),
        ("bad-step-name: the step name `long/xxx", "has 257 characters; at most 255 are allowed"),
        ("bad-step: map `set twice` (", "calls `.limit` twice; call it once"),
        ("bad-step: map `both` (", "calls `.min_successful` and `.first_success`; call one of them"),
    ];
    for (says, (starts, contains)) in run.output::<Vec<String>>().iter().zip(expected) {
        assert!(says.starts_with(starts) && says.contains(contains), "{says}");
    }
}

#[derive(Serialize, Deserialize, Clone)]
struct ApprovedEvent {
    shop: String,
}

impl EventData for ApprovedEvent {
    const NAME: &'static str = "shop/approved";
}

#[tokio::test]
async fn items_wait_for_their_events_in_any_order() {
    async fn handler(ctx: Context, _: Event<OrderEvent>) -> Result<Vec<Option<String>>> {
        let shops = ["a", "b", "c"].map(str::to_owned);
        let map = ctx.map_steps("shop", shops, async |ctx: Context, shop: String| {
            ctx.step("ask", async || Ok(())).await?;
            let wait = ctx.wait_for_event::<ApprovedEvent>("approval").matching("shop", &shop);
            let Some(event) = wait.timeout(seconds(600)).await? else { return Ok(None) };
            ctx.step("open", async || Ok(Some(event.data.shop.clone()))).await
        });
        map.named(|shop| shop.clone()).await
    }
    for pace in PACES {
        let mut app = app(handler).pace(pace);
        app.start(&order_event()).await;
        for shop in ["c", "a"] {
            app.start(&ApprovedEvent { shop: shop.into() }).await;
        }
        assert_eq!(app.runs().await[0].executions("shop/c/open"), 1, "{pace:?}");
        app.finish().await;
        let run = app.runs().await.remove(0);
        assert_eq!(run.output::<Vec<Option<String>>>(), [Some("a".into()), None, Some("c".into())], "{pace:?}");
    }
}

#[tokio::test]
async fn items_call_functions_and_receive_signals() {
    async fn handler(ctx: Context, _: Event<OrderEvent>) -> Result<Vec<(u32, Option<u32>)>> {
        let map = ctx.map_steps("item", 1..4_u32, async |ctx: Context, n| {
            let signal = ctx.wait_for_signal::<u32>("answer").timeout(seconds(60));
            ctx.step("ask", async || Ok(signal.token().to_owned())).await?;
            let doubled: u32 = ctx.invoke("double", "double", &json!({ "n": n })).await?;
            Ok((doubled, signal.await?))
        });
        map.await
    }
    #[derive(Serialize, Deserialize)]
    struct NumberEvent {
        n: u32,
    }
    impl EventData for NumberEvent {
        const NAME: &'static str = "test/number";
    }
    for pace in PACES {
        let double = Function::new("double", async |_: Context, event: Event<NumberEvent>| Ok(2 * event.data.n));
        let mut app = app(handler).function(double).pace(pace);
        let run = app.start(&order_event()).await.remove(0);
        let token = run.journal().iter().find_map(|entry| match &entry.fact {
            Fact::StepSucceeded { step, output, .. } if &**step == "item/1/ask" => Some(output.get().to_owned()),
            _ => None,
        });
        let token: String = serde_json::from_str(&token.expect("a token")).unwrap();
        app.signal(&token, &7).await;
        app.finish().await;
        let run = app.runs_of_function("f").await.remove(0);
        assert_eq!(run.output::<Vec<(u32, Option<u32>)>>(), [(2, None), (4, Some(7)), (6, None)], "{pace:?}");
    }
}

#[tokio::test]
async fn random_values_and_compensations_belong_to_the_item_and_logs_are_written_once() {
    /// Returns random values of each item. The items end in the order of `rests`.
    async fn draws(pace: Pace, rests: [u64; 3]) -> TestRun {
        let handler = move |ctx: Context, _: Event<OrderEvent>| async move {
            let map = ctx.map_steps("item", [0, 1, 2], async |ctx: Context, i: usize| {
                let first = ctx.random();
                ctx.undo("first", async || Ok(()));
                ctx.sleep("rest", seconds(rests[i])).await?;
                let in_body = ctx.step("draw", async || Ok(ctx.random())).await?;
                ctx.log(format!("item {i} has rested"));
                Ok((first, in_body, ctx.random(), ctx.uuid()))
            });
            let drawn = map.await?;
            let own = ctx.random();
            ctx.step("keep", async || Ok((drawn, own))).await?;
            Err::<(), _>(Error::terminal("refused"))
        };
        let mut app = TestApp::new().function(Function::new("f", handler)).pace(pace);
        app.send(&order_event()).await.remove(0)
    }
    let kept = |run: &TestRun| {
        let mut facts = run.journal().iter().map(|entry| &entry.fact);
        facts.find_map(|fact| match fact {
            Fact::StepSucceeded { step, output, .. } if &**step == "keep" => Some(output.get().to_owned()),
            _ => None,
        })
    };
    for pace in PACES {
        let runs = [draws(pace, [1, 2, 3]).await, draws(pace, [3, 1, 2]).await];
        let drawn = kept(&runs[0]).expect("a recorded step");
        assert_eq!(Some(&drawn), kept(&runs[1]).as_ref(), "{pace:?}");
        let (items, own): (Vec<(u64, u64, u64, String)>, u64) = serde_json::from_str(&drawn).unwrap();
        let mut all: Vec<String> = items.iter().map(|(.., uuid)| uuid.clone()).collect();
        all.extend(items.iter().flat_map(|(a, b, c, _)| [a, b, c]).chain([&own]).map(u64::to_string));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 13, "no value is drawn twice");
        assert_eq!(runs[1].logs(), ["item 1 has rested", "item 2 has rested", "item 0 has rested"], "{pace:?}");
        let undone = ["undo item/2/first", "undo item/1/first", "undo item/0/first"];
        assert_eq!((runs[0].status(), &runs[0].steps()[8..]), (Status::Failed, &undone[..]), "{pace:?}");
    }
}

#[tokio::test]
async fn ten_thousand_items_are_polled_a_bounded_number_of_times_each() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    const ITEMS: u64 = 10_000;
    let polls: Arc<AtomicU64> = Arc::default();
    let count = polls.clone();
    let handler = move |ctx: Context, _: Event<OrderEvent>| {
        let count = count.clone();
        async move {
            let map = ctx.map_steps("item", 0..ITEMS, |ctx: Context, n| {
                let mut item = Box::pin(async move {
                    ctx.step("a", async || Ok(n)).await?;
                    ctx.step("b", async || Ok(n)).await
                });
                let count = &count;
                std::future::poll_fn(move |cx| {
                    count.fetch_add(1, Ordering::Relaxed);
                    item.as_mut().poll(cx)
                })
            });
            let values = map.limit(50).await?;
            Ok(values.into_iter().eq(0..ITEMS))
        }
    };
    let app = app(handler).config(|config| {
        (config.worker_timeout, config.side_by_side) = (seconds(86_400), 64); // one hop executes all steps
    });
    let mut app = app.pace(Pace::WithinBudget);
    assert!(app.send(&order_event()).await.remove(0).output::<bool>());
    let polls = polls.load(Ordering::Relaxed);
    // an item is polled when it starts, and when a body starts or an outcome is revealed
    assert!(polls <= 6 * ITEMS, "{polls}");
}
