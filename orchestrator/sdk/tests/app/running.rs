//! Runs that complete: with sleeps, events, calls, fan-outs and races.

use std::time::Duration;

use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestEngine;
use stepladder_sdk::testing::{Fact, Pace, Status, TestApp};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderEvent {
    pub(crate) client_id: String,
}

impl EventData for OrderEvent {
    const NAME: &'static str = "shop/order.placed";
}

pub(crate) fn order_event() -> OrderEvent {
    OrderEvent { client_id: "acme".into() }
}

const MONTH: Duration = Duration::from_secs(30 * 86_400);

async fn two_month_handler(ctx: Context, event: Event<OrderEvent>) -> Result<String> {
    let first = ctx.step("first", async || Ok(event.data.client_id.clone())).await?;
    ctx.sleep("a month", MONTH).await?;
    ctx.sleep_until("another", event.ts + 2 * MONTH).await?;
    ctx.step("last", async || Ok(first + "!")).await
}

#[tokio::test]
async fn months_of_sleep_pass_at_once_and_every_body_runs_once() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let mut app = TestApp::new().function(Function::new("f", two_month_handler)).pace(pace);
        let begun = app.now();
        let run = app.send(&order_event()).await.remove(0);
        assert_eq!((run.status(), run.output::<String>()), (Status::Completed, "acme!".into()));
        assert_eq!(app.now().since(begun), 2 * MONTH);
        assert_eq!(run.steps(), ["first", "a month", "another", "last"]);
        assert_eq!((run.executions("first"), run.executions("last"), run.attempts("last")), (1, 1, 1));
        assert!(matches!(run.journal()[0].fact, Fact::RunCreated(_)));
        assert!(matches!(run.journal().last().unwrap().fact, Fact::RunCompleted { .. }));
    }
}

#[tokio::test]
async fn a_test_can_inspect_a_live_run() {
    let mut app = TestApp::new().function(Function::new("f", two_month_handler));
    let run = app.start(&order_event()).await.remove(0);
    assert_eq!((run.status(), run.executions("first")), (Status::Running, 1));
    app.advance(MONTH - Duration::from_secs(1)).await;
    assert_eq!(app.runs().await[0].steps(), ["first", "a month"]);
    app.advance(Duration::from_secs(1)).await;
    assert_eq!(app.runs().await[0].steps(), ["first", "a month", "another"]);
    app.advance(MONTH).await;
    assert_eq!(app.runs().await[0].status(), Status::Completed);
}

#[tokio::test]
async fn an_event_that_a_function_sends_starts_others() {
    #[derive(Serialize, Deserialize)]
    struct ShippedEvent {
        parcel: u32,
    }
    impl EventData for ShippedEvent {
        const NAME: &'static str = "shop/shipped";
    }
    async fn shipping_handler(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        ctx.send_event("tell", ShippedEvent { parcel: 7 }).await.map(drop)
    }
    async fn thanking_handler(_: Context, event: Event<ShippedEvent>) -> Result<u32> {
        Ok(event.data.parcel)
    }
    let mut app = TestApp::new()
        .function(Function::new("ship", shipping_handler))
        .function(Function::new("thank", thanking_handler));
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!(run.status(), Status::Completed);
    assert_eq!(app.runs_of_function("thank").await[0].output::<u32>(), 7);
}

#[tokio::test]
async fn an_invoked_function_returns_its_value_or_its_failure() {
    #[derive(Serialize, Deserialize)]
    struct NumbersEvent {
        numbers: Vec<u32>,
    }
    impl EventData for NumbersEvent {
        const NAME: &'static str = "math/numbers";
    }
    async fn sum_handler(ctx: Context, event: Event<NumbersEvent>) -> Result<u32> {
        if event.data.numbers.is_empty() {
            return Err(Error::terminal("nothing to add").with_code("empty"));
        }
        ctx.step("add", async || Ok(event.data.numbers.iter().sum())).await
    }
    async fn parent_handler(ctx: Context, _: Event<OrderEvent>) -> Result<(u32, String)> {
        let total = ctx.invoke("total", "sum", &json!({"numbers": [1, 2, 3]})).await?;
        let failed = ctx.invoke::<u32>("nothing", "sum", &NumbersEvent { numbers: Vec::new() }).await.unwrap_err();
        assert_eq!(failed.code(), Some("empty"));
        Ok((total, failed.to_string()))
    }
    let mut app =
        TestApp::new().function(Function::new("parent", parent_handler)).function(Function::new("sum", sum_handler));
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!(run.output::<(u32, String)>(), (6, "nothing to add".into()));
    assert_eq!(app.runs_of_function("sum").await.len(), 2);
}

#[tokio::test]
async fn a_fan_out_of_fifty_runs_every_body_once() {
    async fn fan_out_handler(ctx: Context, _: Event<OrderEvent>) -> Result<u32> {
        let values = ctx.map("item", 0..50_u32, async |i| Ok(i)).await?;
        ctx.step("sum", async || Ok(values.iter().sum())).await
    }
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let mut app = TestApp::new().function(Function::new("fan", fan_out_handler)).pace(pace);
        let run = app.send(&order_event()).await.remove(0);
        assert_eq!(run.output::<u32>(), 1_225);
        assert_eq!((run.steps().len(), run.executions("item"), run.executions("item:49")), (51, 1, 1));
    }
}

#[tokio::test]
async fn a_sleep_that_wins_a_race_abandons_the_body() {
    async fn racing_handler(ctx: Context, _: Event<OrderEvent>) -> Result<&'static str> {
        tokio::select! {
            r = ctx.step("slow", async || Ok(())) => r.map(|()| "step"),
            r = ctx.sleep("limit", Duration::from_secs(5)) => r.map(|()| "sleep"),
        }
    }
    let mut app = TestApp::new().function(Function::new("raced", racing_handler)).hang("slow");
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!(run.output::<String>(), "sleep");
    assert!(run.journal().iter().any(|e| matches!(&e.fact, Fact::StepAbandoned { step, .. } if &**step == "slow")));
    let mut app = TestApp::new().function(Function::new("raced", racing_handler));
    assert_eq!(app.send(&order_event()).await.remove(0).output::<String>(), "step");
}

#[tokio::test]
async fn bodies_may_take_real_time_while_the_clock_stands_still() {
    async fn reading_handler(ctx: Context, _: Event<OrderEvent>) -> Result<usize> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        ctx.step("read", || stepladder_sdk::blocking(move || Ok(std::fs::read(path)?.len()))).await
    }
    let mut app = TestApp::new().function(Function::new("reads", reading_handler));
    let begun = app.now();
    assert!(app.send(&order_event()).await.remove(0).output::<usize>() > 100);
    assert_eq!(app.now(), begun);
}

#[tokio::test]
async fn an_invoked_run_is_cancelled_with_its_caller_if_the_call_says_so() {
    #[derive(Deserialize)]
    struct CalledInput {
        bound: bool,
    }
    impl EventData for CalledInput {
        const NAME: &'static str = "never/sent";
        const NAMES: &'static [&'static str] = &[];
    }
    async fn calling_handler(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        let bound = ctx.invoke::<()>("bound", "sleeper", &json!({"bound": true})).cancelled_with_run();
        let free = ctx.invoke::<()>("free", "sleeper", &json!({"bound": false}));
        futures::try_join!(bound, free).map(drop)
    }
    async fn sleeping_handler(ctx: Context, event: Event<CalledInput>) -> Result<bool> {
        ctx.sleep("a month", MONTH).await?;
        Ok(event.data.bound)
    }
    let mut app = TestApp::new()
        .function(Function::new("calls", calling_handler))
        .function(Function::new("sleeper", sleeping_handler));
    let run = app.start(&order_event()).await.remove(0);
    app.advance(Duration::from_secs(1)).await;
    app.engine().control().cancel(run.id(), "by hand").await.unwrap();
    app.finish().await;
    let called = app.runs_of_function("sleeper").await;
    let mut ends: Vec<Status> = called.iter().map(|run| run.status()).collect();
    ends.sort_by_key(|status| status.to_string());
    assert_eq!(ends, [Status::Cancelled, Status::Completed]);
    let cancelled = called.iter().find(|run| run.status() == Status::Cancelled).unwrap();
    assert!(cancelled.error().unwrap().message.contains(&run.id().to_string()), "{:?}", cancelled.error());
}
