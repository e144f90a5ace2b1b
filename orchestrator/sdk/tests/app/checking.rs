//! Recorded runs under changed code: what `stepladder check` reports, and what it must not report.

use std::time::Duration;

use stepladder_engine::check::{Divergence, divergence};
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::{SharedData, compile};
use stepladder_sdk::testing::{Status, TestApp, TestRun};

use crate::running::{OrderEvent, order_event};

const DAY: Duration = Duration::from_secs(86_400);

/// Checks whether `function` can replay the run's journal. Returns the reported divergence, if
/// there is one.
async fn check_function(run: &TestRun, function: Function) -> Option<String> {
    let compiled = compile(function, &SharedData::default()).expect("a function that can work");
    let found = divergence(&compiled, run.id(), run.journal()).await.expect("a journal");
    found.map(|Divergence { at, why }| match at {
        Some(at) => format!("{at}: {why}"),
        None => why,
    })
}

/// The deployed code: two steps, and a sleep between them.
async fn deployed_handler(ctx: Context, _: Event<OrderEvent>) -> Result<u32> {
    let a = ctx.step("a", async || Ok(1_u32)).await?;
    ctx.sleep("night", DAY).await?;
    let b = ctx.step("b", async || Ok(2_u32)).await?;
    Ok(a + b)
}

/// Returns a run of `deployed` that is sleeping, and one that has ended.
async fn live_and_ended() -> [TestRun; 2] {
    let mut app = TestApp::new().function(Function::new("f", deployed_handler));
    let live = app.start(&order_event()).await.remove(0);
    app.advance(2 * DAY).await;
    let over = app.runs().await.remove(0);
    assert_eq!((live.status(), over.status()), (Status::Running, Status::Completed));
    [live, over]
}

#[tokio::test]
async fn the_code_that_a_run_was_recorded_by_never_diverges() {
    #[derive(Serialize, Deserialize)]
    struct ApprovedEvent {}
    impl EventData for ApprovedEvent {
        const NAME: &'static str = "shop/approved";
    }
    async fn handler_with_every_step(ctx: Context, _: Event<OrderEvent>) -> Result<u32> {
        ctx.log("begun");
        let first = tokio::select! {
            one = ctx.step("slow", async || Err::<u32, _>(Error::new("no"))) => one.unwrap_or(1),
            () = async { ctx.sleep("patience", DAY).await.unwrap_or(()) } => 2,
        };
        let many = ctx.map("many", 0..20_u32, |n| async move { Ok(n) }).limit(3).await?;
        if ctx.attempt() == 1 {
            return Err(Error::new("the function is tried again"));
        }
        let (approved, sent) = futures::join!(
            ctx.wait_for_event::<ApprovedEvent>("approval").timeout(DAY),
            ctx.send_event("tell", ApprovedEvent {})
        );
        sent?;
        let checked = ctx.poll_until("ready", async || Ok(Some(approved.is_ok()))).await?;
        ctx.step("undone", async || Ok(())).undo(async |()| Ok(())).await?;
        let called: Result<u32> = ctx.invoke("call", "unknown", &json!({})).await;
        if called.is_err() && checked { Err(Error::terminal("in the end")) } else { Ok(first + many[0]) }
    }
    let mut app = TestApp::new().function(Function::new("f", handler_with_every_step));
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!((run.status(), run.attempts("undo undone")), (Status::Failed, 1), "{:?}", run.error());
    // truncates the journal after each entry, as if the run were still live there
    for end in 1..=run.journal().len() {
        let compiled = compile(Function::new("f", handler_with_every_step), &SharedData::default()).unwrap();
        let found = divergence(&compiled, run.id(), &run.journal()[..end]).await.unwrap();
        assert_eq!(found, None, "cut at {end}");
    }
}

#[tokio::test]
async fn a_step_added_after_the_current_one_does_not_diverge() {
    async fn handler_with_added_step(ctx: Context, event: Event<OrderEvent>) -> Result<u32> {
        let sum = deployed_steps(&ctx, &event).await?;
        ctx.step("c", async || Ok(sum)).await
    }
    async fn deployed_steps(ctx: &Context, _: &Event<OrderEvent>) -> Result<u32> {
        let a = ctx.step("a", async || Ok(1_u32)).await?;
        ctx.sleep("night", DAY).await?;
        ctx.step("b", async || Ok(a)).await
    }
    let [live, over] = live_and_ended().await;
    assert_eq!(check_function(&live, Function::new("f", handler_with_added_step)).await, None);
    let found = check_function(&over, Function::new("f", handler_with_added_step)).await.unwrap();
    assert!(found.contains("the run has completed here; the code goes on and asks for `c`"), "{found}");
}

#[tokio::test]
async fn a_step_changed_before_the_current_one_diverges() {
    async fn handler_with_inserted_step(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        ctx.step("a", async || Ok(1_u32)).await?;
        ctx.step("new", async || Ok(())).await?;
        ctx.sleep("night", DAY).await
    }
    async fn handler_with_removed_step(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        ctx.sleep("night", DAY).await
    }
    async fn handler_with_renamed_step(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        ctx.step("a, as it is called now", async || Ok(1_u32)).await?;
        ctx.sleep("night", DAY).await
    }
    async fn handler_with_moved_step(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        ctx.sleep("night", DAY).await?;
        ctx.step("a", async || Ok(1_u32)).await.map(drop)
    }
    async fn handler_without_steps(_: Context, _: Event<OrderEvent>) -> Result<()> {
        Ok(())
    }
    let [live, _] = live_and_ended().await;
    for (function, at, asks) in [
        (
            Function::new("f", handler_with_inserted_step),
            "3: the journal goes on with a sleep `night`",
            "asks for `new`",
        ),
        (
            Function::new("f", handler_with_removed_step),
            "1: the journal goes on with a step with a body `a`",
            "asks for `night`",
        ),
        (Function::new("f", handler_with_renamed_step), "1: the journal goes on", "asks for `a, as it is called now`"),
        (Function::new("f", handler_with_moved_step), "1: the journal goes on", "asks for `night`"),
        (Function::new("f", handler_without_steps), "1: the journal goes on", "returns before it"),
    ] {
        let found = check_function(&live, function).await.unwrap();
        assert!(found.starts_with(at) && found.contains(asks), "{found}");
    }
}

#[tokio::test]
async fn another_kind_another_type_and_another_event_are_found() {
    async fn handler_with_another_kind(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        ctx.step("a", async || Ok(1_u32)).await?;
        ctx.step("night", async || Ok(())).await
    }
    async fn handler_with_another_type(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        ctx.step("a", async || Ok(String::new())).await?;
        ctx.sleep("night", DAY).await
    }
    #[derive(Deserialize)]
    struct MismatchedOutput {
        #[serde(rename = "noSuchField")]
        _field: String,
    }
    impl EventData for MismatchedOutput {
        const NAME: &'static str = "shop/order.placed";
    }
    async fn handler_with_another_event(_: Context, _: Event<MismatchedOutput>) -> Result<()> {
        Ok(())
    }
    let [live, _] = live_and_ended().await;
    for (function, says) in [
        (Function::new("f", handler_with_another_kind), "the journal holds a sleep under `night`, the code at "),
        (Function::new("f", handler_with_another_type), "the recorded outcome of step `a`"),
        (Function::new("f", handler_with_another_event), "the event does not fit"),
    ] {
        let found = check_function(&live, function).await.unwrap();
        assert!(found.contains(says), "{found}");
    }
}

#[tokio::test]
async fn a_removed_function_is_reported_for_live_runs() {
    let [live, over] = live_and_ended().await;
    let found = check_function(&live, Function::new("g", deployed_handler)).await.unwrap();
    assert!(found.contains("function `f` is not in this build"), "{found}");
    assert_eq!(check_function(&over, Function::new("g", deployed_handler)).await, None);
}

#[tokio::test]
async fn an_unclaimed_outcome_is_reported_at_the_end() {
    async fn lazy_handler(ctx: Context, _: Event<OrderEvent>) -> Result<u32> {
        let a = ctx.step("a", async || Ok(1_u32));
        let b = ctx.step("b", async || Ok(2_u32));
        futures::join!(a, b).0
    }
    async fn handler_that_ends_halfway(ctx: Context, _: Event<OrderEvent>) -> Result<u32> {
        ctx.step("a", async || Ok(1_u32)).await
    }
    let mut app = TestApp::new().function(Function::new("f", lazy_handler));
    let over = app.send(&order_event()).await.remove(0);
    let again = check_function(&over, Function::new("f", handler_that_ends_halfway)).await.unwrap();
    assert!(again.contains("`b`"), "{again}");
}
