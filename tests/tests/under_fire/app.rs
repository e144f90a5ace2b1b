//! The app under test. Its functions have sequential and parallel steps, failures with and without
//! retries, a sleep, a call, an event, a limit, and a handler for failures.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

use futures::try_join;
use stepladder::App;
use stepladder::prelude::*;

use crate::ledger::BodyLedger;

/// The maximum number of bodies of `order` that may execute at the same time.
pub(crate) const LIMIT: usize = 4;
/// One in this many orders fails for good.
const DOOMED: u64 = 7;

/// The event that starts an order.
#[derive(Serialize, Deserialize)]
pub(crate) struct OrderEvent {
    n: u64,
}

impl EventData for OrderEvent {
    const NAME: &'static str = "fire/order";
}

/// The data of an order's call of another function.
#[derive(Serialize, Deserialize)]
struct PartInput {
    n: u64,
}

impl EventData for PartInput {
    const NAME: &'static str = "fire/part.asked";
}

/// The event that an order sends.
#[derive(Serialize, Deserialize)]
struct OrderSentEvent {
    n: u64,
}

impl EventData for OrderSentEvent {
    const NAME: &'static str = "fire/told";
}

/// The event that starts a short run of two steps. There are many such runs.
#[derive(Serialize, Deserialize)]
struct ItemEvent {
    n: u64,
    shelf: u64,
}

impl EventData for ItemEvent {
    const NAME: &'static str = "fire/item";
}

/// Returns whether this order fails for good.
pub(crate) fn is_doomed(n: u64) -> bool {
    n.is_multiple_of(DOOMED)
}

/// Returns the result of an order that does not fail.
pub(crate) fn expected_total(n: u64) -> u64 {
    (n + 1) + (n + 2) + (n + 3) + n * 2
}

/// Returns the app with all functions.
pub(crate) fn app() -> App {
    ledger().record_server_start();
    App::new()
        .function(
            Function::new("order", order_handler)
                // attempts fail after each restart of the server, and there are many restarts
                .retries(50)
                .concurrency(Concurrency::limit(u32::try_from(LIMIT).unwrap_or(u32::MAX)))
                .on_failure(failure_handler),
        )
        .function(Function::new("part", part_handler))
        .function(Function::new("told", told_handler))
        .function(Function::new("item", item_handler).concurrency(Concurrency::limit(2).key("event.data.shelf")))
}

async fn order_handler(ctx: Context, event: Event<OrderEvent>) -> Result<u64> {
    let (ctx, n) = (&ctx, event.data.n);
    let reserved = ctx.step("reserve", || run_body(ctx, "reserve", n + 1)).await?;
    let (charged, labelled) = try_join!(
        ctx.step("charge", || run_shaky_body(ctx, "charge", n + 2)),
        ctx.step("label", || run_body(ctx, "label", n + 3))
    )?;
    ctx.sleep("pause", Duration::from_millis(20)).await?;
    let part: u64 = ctx.invoke("part", "part", &PartInput { n }).await?;
    ctx.send_event("tell", OrderSentEvent { n }).await?;
    if is_doomed(n) {
        ctx.step("doomed", async || Err::<(), _>(Error::terminal("the order is doomed"))).await?;
    }
    ctx.step("close", || run_body(ctx, "close", reserved + charged + labelled + part)).await
}

async fn part_handler(ctx: Context, event: Event<PartInput>) -> Result<u64> {
    ctx.step("double", || run_body(&ctx, "double", event.data.n * 2)).await
}

async fn told_handler(ctx: Context, event: Event<OrderSentEvent>) -> Result<u64> {
    ctx.step("hear", || run_body(&ctx, "hear", event.data.n)).await
}

async fn failure_handler(ctx: Context, failed: Event<FunctionFailed>) -> Result<String> {
    ctx.step("apologise", || run_body(&ctx, "apologise", failed.data.error.message.clone())).await
}

async fn item_handler(ctx: Context, event: Event<ItemEvent>) -> Result<u64> {
    let ctx = &ctx;
    let weight = ctx.step("weigh", || at_once(ctx, "weigh", event.data.n % 100)).await?;
    ctx.step("pack", || at_once(ctx, "pack", weight + 1)).await
}

/// Executes a body that takes up to 8 ms, so that some kills of the server interrupt it.
async fn run_body<T>(ctx: &Context, step: &str, value: T) -> Result<T> {
    ledger().record_body_start(ctx.run_id(), step);
    tokio::time::sleep(Duration::from_millis(ctx.random() % 8)).await;
    ledger().record_body_end(ctx.run_id(), step);
    Ok(value)
}

/// Executes a body that fails the first time in each process.
async fn run_shaky_body(ctx: &Context, step: &str, value: u64) -> Result<u64> {
    static FAILED: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
    let run = ctx.run_id().to_string();
    let value = run_body(ctx, step, value).await?;
    let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    if !failed.remove(&run) {
        failed.insert(run);
        return Err(Error::new("not this time"));
    }
    Ok(value)
}

async fn at_once(ctx: &Context, step: &str, value: u64) -> Result<u64> {
    ledger().record_body_start(ctx.run_id(), step);
    ledger().record_body_end(ctx.run_id(), step);
    Ok(value)
}

fn ledger() -> &'static BodyLedger {
    static LEDGER: LazyLock<BodyLedger> = LazyLock::new(BodyLedger::of_this_process);
    &LEDGER
}
