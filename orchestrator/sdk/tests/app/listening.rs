//! Functions that are triggered by the ends of other runs.

use std::time::Duration;

use stepladder_engine::ports::Listings;
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::{SharedData, TestEngine, compile};
use stepladder_sdk::testing::{Pace, Status, TestApp};

use super::running::{OrderEvent, order_event};

const HOUR: Duration = Duration::from_secs(3_600);
const PACES: [Pace; 2] = [Pace::StepPerInvocation, Pace::WithinBudget];

/// Defines event types with the names that Inngest gives to the ends of runs.
macro_rules! told {
    ($($type:ident: $name:literal),*) => {$(
        #[derive(Serialize, Deserialize)]
        #[serde(transparent)]
        struct $type(serde_json::Value);

        impl EventData for $type {
            const NAME: &'static str = $name;
        }
    )*};
}
told!(Failed: "inngest/function.failed", Finished: "inngest/function.finished", Cancelled: "inngest/function.cancelled");

async fn failing_handler(_: Context, _: Event<OrderEvent>) -> Result<()> {
    Err(Error::terminal("boom").with_code("boom"))
}

async fn completing_handler(_: Context, _: Event<OrderEvent>) -> Result<u32> {
    Ok(7)
}

async fn sleeping_handler(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
    ctx.sleep("an hour", HOUR).await
}

async fn failed_function(_: Context, event: Event<FunctionFailed>) -> Result<String> {
    Ok(event.data.function_id)
}

fn function_returning<T: EventData>(
    value: impl Fn(T) -> serde_json::Value + Send + Sync + Copy + 'static,
    id: &'static str,
) -> Function {
    Function::new(id, move |_: Context, event: Event<T>| async move { Ok(value(event.data)) })
}

#[tokio::test]
async fn a_function_receives_every_failure_or_those_of_one_function() {
    for pace in PACES {
        let mut app = TestApp::new()
            .pace(pace)
            .function(Function::new("f", failing_handler))
            .function(Function::new("g", failing_handler))
            .function(Function::new("well", completing_handler))
            .function(Function::new("all", failed_function))
            .function(Function::new("of-g", failed_function).filter("event.data.functionId == 'g'"));
        app.send(&order_event()).await;
        let all = app.runs_of_function("all").await;
        assert_eq!(all.iter().map(|run| run.output::<String>()).collect::<Vec<_>>(), ["f", "g"], "{pace:?}");
        let of_g = app.runs_of_function("of-g").await;
        assert_eq!(of_g.iter().map(|run| run.output::<String>()).collect::<Vec<_>>(), ["g"], "{pace:?}");
    }
}

#[tokio::test]
async fn ends_are_announced_in_inngests_form() {
    for pace in PACES {
        let mut app = TestApp::new()
            .pace(pace)
            .function(Function::new("f", failing_handler))
            .function(Function::new("well", completing_handler))
            .function(Function::new("slow", sleeping_handler))
            .function(function_returning::<Failed>(|failed| failed.0, "on-failed"))
            .function(function_returning::<Finished>(|finished| finished.0, "on-finished"))
            .function(function_returning::<Cancelled>(|cancelled| cancelled.0, "on-cancelled"));
        let started = app.start(&order_event()).await;
        let slow = started.iter().find(|run| run.function() == "slow").unwrap();
        app.cancel(slow).await;
        app.finish().await;

        let told = |run: &stepladder_sdk::testing::TestRun| run.output::<serde_json::Value>();
        let failed = app.runs_of_function("on-failed").await;
        assert_eq!(failed.len(), 1, "{pace:?}");
        let failed = told(&failed[0]);
        assert_eq!((&failed["function_id"], &failed["error"]["message"]), (&json!("f"), &json!("boom")));
        assert_eq!((&failed["error"]["name"], &failed["error"]["code"]), (&json!("Error"), &json!("boom")));
        assert_eq!(failed["event"]["name"], "shop/order.placed");
        assert_eq!(failed["events"][0]["data"], json!({"clientId": "acme"}));
        assert_eq!(failed["run_id"], json!(started[0].id()));

        let cancelled = app.runs_of_function("on-cancelled").await;
        assert_eq!(cancelled.len(), 1, "{pace:?}");
        let cancelled = told(&cancelled[0]);
        assert_eq!(
            (&cancelled["function_id"], &cancelled["error"]["message"]),
            (&json!("slow"), &json!("function cancelled"))
        );
        assert_eq!(cancelled["reason"], "the test asked for it");

        let finished: Vec<_> = app.runs_of_function("on-finished").await.iter().map(told).collect();
        let of = |function: &str| finished.iter().find(|told| told["function_id"] == function).unwrap();
        assert_eq!((finished.len(), &of("well")["result"], &of("well")["error"]), (3, &json!(7), &json!(null)));
        assert_eq!(of("f")["error"]["message"], "boom");
        assert_eq!(of("slow")["error"]["message"], "function cancelled");
    }
}

#[tokio::test]
async fn the_ends_of_listeners_are_not_announced() {
    async fn listening_handler(ctx: Context, event: Event<FunctionFailed>) -> Result<()> {
        ctx.invoke::<()>("call", "fails-too", &json!({ "clientId": event.data.function_id })).await
    }
    for pace in PACES {
        let mut app = TestApp::new()
            .pace(pace)
            .function(Function::new("f", failing_handler).on_failure(async |_: Context, _: Event<FunctionFailed>| {
                Err::<(), _>(Error::terminal("fails as well"))
            }))
            .function(Function::new("fails-too", failing_handler).filter("event.data.clientId == 'f'"))
            .function(Function::new("one", listening_handler))
            .function(Function::new("other", listening_handler))
            .function(function_returning::<Finished>(|finished| finished.0["function_id"].clone(), "on-finished"));
        app.send(&order_event()).await;
        let runs = app.runs().await;
        let count = |function: &str| runs.iter().filter(|run| run.function() == function).count();
        let counts = ["f", "f/on-failure", "one", "other", "fails-too", "on-finished"].map(count);
        assert_eq!((counts, runs.len()), ([1, 1, 1, 1, 2, 1], 7), "{pace:?}");
        // a rerun of a listener counts as a listener too, so its end is not announced
        let one = runs.iter().find(|run| run.function() == "one").unwrap();
        assert_eq!(app.rerun(one).await.status(), Status::Failed);
        assert_eq!(app.runs().await.len(), 9);
    }
}

#[tokio::test]
async fn an_end_that_is_redone_sends_one_event() {
    let mut app = TestApp::new()
        .function(Function::new("slow", sleeping_handler))
        .function(function_returning::<Cancelled>(|_| json!(null), "on-cancelled"))
        .function(function_returning::<Finished>(|_| json!(null), "on-finished"));
    let slow = app.start(&order_event()).await.remove(0);
    for _ in 0..3 {
        app.cancel(&slow).await;
        app.advance(HOUR).await;
    }
    app.finish().await;
    let counts = [app.runs_of_function("on-cancelled").await.len(), app.runs_of_function("on-finished").await.len()];
    assert_eq!((counts, app.memory().events(None, 10).await.unwrap().len()), ([1, 1], 3));
}

#[tokio::test]
async fn an_end_without_a_listener_sends_no_event_and_writes_nothing() {
    let mut counts = Vec::new();
    for listens in [false, true] {
        let mut app = TestApp::new()
            .function(Function::new("well", completing_handler))
            .function(Function::new("f", failing_handler));
        if listens {
            // this listener receives only cancelled runs, and no run here is cancelled
            app = app.function(function_returning::<Cancelled>(|_| json!(null), "on-cancelled"));
        }
        app.send(&order_event()).await;
        assert_eq!(app.memory().events(None, 10).await.unwrap().len(), 1);
        counts.push(app.memory().counts());
    }
    assert_eq!(counts[0], counts[1]);
}

#[tokio::test]
async fn a_failure_can_cancel_and_be_collected() {
    let cancel = CancelOn::named("inngest/function.failed").filter("async.data.function_id == 'f'");
    let mut app = TestApp::new()
        .function(Function::new("slow", sleeping_handler).cancel_on(cancel))
        .function(Function::new("f", failing_handler))
        .function(Function::new("g", failing_handler))
        .function(Function::batch(
            "digest",
            Batch::new(10, HOUR),
            async |_: Context, events: Vec<Event<FunctionFailed>>| Ok(events.len()),
        ));
    let runs = app.send(&order_event()).await;
    assert_eq!(
        runs.iter().map(|run| run.status()).collect::<Vec<_>>(),
        [Status::Cancelled, Status::Failed, Status::Failed]
    );
    let digest = app.runs_of_function("digest").await;
    assert_eq!((digest.len(), digest[0].output::<usize>()), (1, 2));
}

#[tokio::test]
async fn fields_past_the_event_limit_are_omitted_and_named() {
    async fn handler_with_large_output(_: Context, _: Event<OrderEvent>) -> Result<String> {
        Ok("x".repeat(3 << 20))
    }
    let mut app =
        TestApp::new().function(Function::new("large", handler_with_large_output)).function(function_returning::<
            Finished,
        >(
            |told| json!([told.0["result"], told.0["omitted"], told.0["event"]["data"]]),
            "on-finished",
        ));
    app.send(&order_event()).await;
    let heard = app.runs_of_function("on-finished").await.remove(0);
    let expected = json!([null, ["events", "result"], {"clientId": "acme"}]);
    assert_eq!(heard.output::<serde_json::Value>(), expected);
}

#[tokio::test]
async fn a_wait_for_the_end_of_a_run_is_refused() {
    async fn waiting_handler(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        ctx.wait_for_event::<Failed>("failed").await.map(drop)
    }
    let mut app = TestApp::new().function(Function::new("waits", waiting_handler));
    let run = app.send(&order_event()).await.remove(0);
    let error = run.error().unwrap();
    assert!(
        error.message.contains("`inngest/function.failed`") && error.message.contains("trigger a function"),
        "{error:?}"
    );
}

/// Returns the reason why an app with this function does not start.
fn refusal_sentence(function: Function) -> String {
    compile(function, &SharedData::default()).err().unwrap_or_default()
}

#[test]
fn a_reserved_trigger_that_is_never_sent_is_refused() {
    told!(Misspelt: "inngest/function.faild");
    let sentence = refusal_sentence(function_returning::<Misspelt>(|_| json!(null), "listens"));
    let expected = "the trigger `inngest/function.faild` of function `listens` begins with `inngest/`";
    assert!(sentence.contains(expected), "{sentence}");
}

#[test]
fn a_reserved_event_that_is_never_sent_is_refused_as_a_cancelling_event() {
    let sentence = refusal_sentence(Function::new("slow", sleeping_handler).cancel_on(CancelOn::named("stepladder/x")));
    let expected = "the event `stepladder/x` that cancels function `slow` begins with `stepladder/`";
    assert!(sentence.contains(expected), "{sentence}");
}
