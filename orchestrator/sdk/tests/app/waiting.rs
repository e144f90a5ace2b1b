//! Runs that wait for events and signals, alone or in a race.

use std::time::Duration;

use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestRunDetail;
use stepladder_sdk::testing::{Fact, Pace, Status, TestApp, TestRun};

use super::running::{OrderEvent, order_event};

const DAY: Duration = Duration::from_secs(86_400);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApprovedEvent {
    client_id: String,
    score: u32,
}

impl EventData for ApprovedEvent {
    const NAME: &'static str = "brief/approved";
}

fn approved_event(client_id: &str, score: u32) -> ApprovedEvent {
    ApprovedEvent { client_id: client_id.into(), score }
}

async fn approval_handler(ctx: Context, event: Event<OrderEvent>) -> Result<Option<u32>> {
    let id = &event.data.client_id;
    let approved = ctx.wait_for_event::<ApprovedEvent>("approval").matching("clientId", id).timeout(30 * DAY).await?;
    ctx.step("write", async || Ok(())).await?;
    Ok(approved.map(|event| event.data.score))
}

#[tokio::test]
async fn only_the_matching_event_is_delivered() {
    let mut app = TestApp::new().function(Function::new("f", approval_handler));
    let run = app.start(&order_event()).await.remove(0);
    assert_eq!(run.status(), Status::Running);
    app.start(&approved_event("other", 1)).await;
    assert_eq!(app.runs().await[0].status(), Status::Running);
    app.advance(29 * DAY).await;
    app.send(&approved_event("acme", 7)).await;
    let run = app.runs().await.remove(0);
    assert_eq!(run.output::<Option<u32>>(), Some(7));
    assert_eq!(run.steps(), ["approval", "write"]);
}

#[tokio::test]
async fn a_wait_returns_none_at_its_timeout() {
    let mut app = TestApp::new().function(Function::new("f", approval_handler));
    let begun = app.now();
    let run = app.send(&order_event()).await.remove(0);
    assert_eq!(run.output::<Option<u32>>(), None);
    assert_eq!(app.now().since(begun), 30 * DAY);
}

#[tokio::test]
async fn a_wait_and_a_signal_without_a_timeout_last_a_week() {
    async fn waiting_handler(ctx: Context, _: Event<OrderEvent>) -> Result<bool> {
        let (event, signal) =
            tokio::join!(ctx.wait_for_event::<ApprovedEvent>("event"), ctx.wait_for_signal::<u32>("signal"));
        Ok(event?.is_none() && signal?.is_none())
    }
    let mut app = TestApp::new().function(Function::new("f", waiting_handler));
    let begun = app.now();
    assert!(app.send(&order_event()).await[0].output::<bool>());
    assert_eq!(app.now().since(begun), 7 * DAY);
}

#[tokio::test]
async fn an_expression_sees_both_events() {
    async fn waiting_handler(ctx: Context, _: Event<OrderEvent>) -> Result<Option<u32>> {
        let when = "async.data.clientId == event.data.clientId && async.data.score > 5";
        Ok(ctx.wait_for_event::<ApprovedEvent>("good").filter(when).await?.map(|event| event.data.score))
    }
    let mut app = TestApp::new().function(Function::new("f", waiting_handler));
    app.start(&order_event()).await;
    app.start(&approved_event("acme", 5)).await;
    app.start(&approved_event("other", 9)).await;
    app.send(&approved_event("acme", 6)).await;
    assert_eq!(app.runs().await[0].output::<Option<u32>>(), Some(6));
}

#[tokio::test]
async fn an_event_sent_by_another_function_is_like_any_other() {
    async fn sending_handler(ctx: Context, _: Event<TellEvent>) -> Result<()> {
        ctx.send_event("approve", approved_event("acme", 3)).await.map(drop)
    }
    #[derive(Serialize, Deserialize)]
    struct TellEvent {}
    impl EventData for TellEvent {
        const NAME: &'static str = "test/tell";
    }
    let mut app =
        TestApp::new().function(Function::new("f", approval_handler)).function(Function::new("g", sending_handler));
    app.start(&order_event()).await;
    app.send(&TellEvent {}).await;
    assert_eq!(app.runs_of_function("f").await[0].output::<Option<u32>>(), Some(3));
}

#[tokio::test]
async fn a_run_that_sends_what_it_waits_for_gets_it() {
    async fn sending_and_waiting_handler(ctx: Context, _: Event<OrderEvent>) -> Result<Option<u32>> {
        let (came, sent) = tokio::join!(ctx.wait_for_event::<ApprovedEvent>("approval"), async {
            ctx.sleep("a day", DAY).await?;
            ctx.send_event("approve", approved_event("acme", 4)).await
        });
        sent?;
        Ok(came?.map(|event| event.data.score))
    }
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let mut app = TestApp::new().function(Function::new("f", sending_and_waiting_handler)).pace(pace);
        let run = app.send(&order_event()).await.remove(0);
        assert_eq!(run.output::<Option<u32>>(), Some(4));
        let sent = run.journal().iter().filter(|entry| matches!(entry.fact, Fact::EventsSent { .. })).count();
        let entered = run.journal().iter().filter(|entry| matches!(entry.fact, Fact::EventDelivered { .. })).count();
        assert_eq!((sent, entered), (1, 1));
    }
}

#[derive(Serialize, Deserialize)]
struct PaidEvent {
    cents: u64,
}

async fn payment_handler(ctx: Context, _: Event<OrderEvent>) -> Result<Option<u64>> {
    let payment = ctx.wait_for_signal::<PaidEvent>("payment").timeout(DAY);
    ctx.step("ask", async || Ok(payment.token().to_owned())).await?;
    Ok(payment.await?.map(|paid| paid.cents))
}

#[tokio::test]
async fn data_posted_to_a_token_reaches_the_run() {
    let mut app = TestApp::new().function(Function::new("f", payment_handler));
    let run = app.start(&order_event()).await.remove(0);
    let handed_out = run.detail().steps[0].output.clone().expect("a token");
    let token: String = serde_json::from_str(handed_out.get()).unwrap();
    assert_eq!(token, app.token(&run, "payment").await);
    app.signal(&token, &PaidEvent { cents: 995 }).await;
    assert_eq!(app.runs().await[0].output::<Option<u64>>(), Some(995));
}

async fn caught_payment_handler(ctx: Context, _: Event<OrderEvent>) -> Result<serde_json::Value> {
    let error = match ctx.wait_for_signal::<PaidEvent>("payment").timeout(DAY).await {
        Ok(paid) => return Ok(json!(paid.map(|paid| paid.cents))),
        Err(error) => error,
    };
    ctx.step("after", async || Ok(())).await?; // replays the failed wait
    Ok(json!([error.to_string(), error.name(), error.code(), error.data::<serde_json::Value>(), error.is_terminal()]))
}

fn declined() -> Error {
    Error::new("no funds").with_name("CardDeclined").with_code("declined").with_data(json!({"left": 3}))
}

#[tokio::test]
async fn a_failure_posted_to_a_token_is_the_error_of_the_wait() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let mut app = TestApp::new().function(Function::new("f", caught_payment_handler)).pace(pace);
        let run = app.start(&order_event()).await.remove(0);
        let token = app.token(&run, "payment").await;
        app.fail_signal(&token, declined()).await;
        let output = app.runs().await[0].output::<serde_json::Value>();
        assert_eq!(output, json!(["no funds", "CardDeclined", "declined", {"left": 3}, true]));
    }
}

#[tokio::test]
async fn a_run_that_does_not_catch_the_failure_of_its_signal_fails_without_a_retry() {
    let mut app = TestApp::new().function(Function::new("f", payment_handler).retries(3));
    let run = app.start(&order_event()).await.remove(0);
    let token = app.token(&run, "payment").await;
    app.fail_signal(&token, declined()).await;
    let run = app.runs().await.remove(0);
    let error = run.error().expect("it failed");
    assert_eq!((run.status(), error.code(), &*error.message), (Status::Failed, Some("declined"), "no funds"));
    assert!(!run.journal().iter().any(|entry| matches!(entry.fact, Fact::HandlerFailed { .. })));
    // a rerun from a later step keeps the failure, as it keeps any outcome
    assert_eq!(app.rerun_from(&run, "payment").await.status(), Status::Completed, "it waits again, and times out");
}

#[tokio::test]
async fn each_run_and_each_use_of_a_name_has_a_token_of_its_own() {
    async fn handler_with_a_repeated_signal(ctx: Context, _: Event<OrderEvent>) -> Result<(String, String)> {
        let (one, two) = (ctx.wait_for_signal::<()>("s"), ctx.wait_for_signal::<()>("s"));
        Ok((one.token().to_owned(), two.token().to_owned()))
    }
    let mut app = TestApp::new().function(Function::new("f", handler_with_a_repeated_signal));
    let mut tokens = std::collections::HashSet::new();
    for _ in 0..2 {
        let (one, two) = app.send(&order_event()).await[0].output::<(String, String)>();
        tokens.extend([one, two]);
    }
    assert_eq!(tokens.len(), 4);
}

#[tokio::test]
async fn a_signal_of_null_is_a_signal() {
    async fn waiting_handler(ctx: Context, _: Event<OrderEvent>) -> Result<bool> {
        Ok(ctx.wait_for_signal::<()>("s").await?.is_some())
    }
    let mut app = TestApp::new().function(Function::new("f", waiting_handler));
    let run = app.start(&order_event()).await.remove(0);
    let token = app.token(&run, "s").await;
    app.signal(&token, &()).await;
    assert!(app.runs().await[0].output::<bool>());
}

/// Races a step, a sleep, waits for an event and a signal, and a call. The first outcome in the
/// journal wins, in the first execution and in every replay.
async fn racing_handler(ctx: Context, event: Event<OrderEvent>) -> Result<&'static str> {
    let id = &event.data.client_id;
    let winner = tokio::select! {
        out = ctx.step("step", std::future::pending::<Result<()>>) => out.map(|()| "step"),
        out = ctx.sleep("sleep", 2 * DAY) => out.map(|()| "sleep"),
        out = ctx.wait_for_event::<ApprovedEvent>("event").matching("clientId", id) => out.map(|_| "event"),
        out = ctx.wait_for_signal::<()>("signal") => out.map(|_| "signal"),
        out = ctx.invoke::<()>("invoke", "naps", &json!({})) => out.map(|()| "invoke"),
    }?;
    // these steps replay the race, which must end the same way
    ctx.step("after", async || Ok(())).await?;
    ctx.sleep("a while", DAY).await?;
    ctx.step("last", async || Ok(winner.to_owned())).await?;
    Ok(winner)
}

#[derive(Serialize, Deserialize)]
struct NapEvent {}

impl EventData for NapEvent {
    const NAME: &'static str = "test/nap";
}

async fn racing_app(naps: Duration, step: bool) -> TestApp {
    let nap = move |ctx: Context, _: Event<NapEvent>| async move { ctx.sleep("nap", naps).await };
    let app = TestApp::new().function(Function::new("race", racing_handler)).function(Function::new("naps", nap));
    if step {
        app.mock("step", ())
    } else {
        app.fail("step", 1, Error::retry_after(Duration::from_secs(86_400 * 9), "later"))
    }
}

#[tokio::test]
async fn the_first_outcome_wins_a_race() {
    for wins in ["step", "sleep", "event", "signal", "invoke"] {
        let naps = if wins == "invoke" { DAY } else { 5 * DAY };
        let mut app = racing_app(naps, wins == "step").await;
        let run = app.start(&order_event()).await.remove(0);
        match wins {
            "event" => drop(app.start(&approved_event("acme", 1)).await),
            "signal" => {
                let token = app.token(&run, "signal").await;
                app.signal(&token, &()).await;
            }
            _ => {}
        }
        app.finish().await;
        let run = app.runs_of_function("race").await.remove(0);
        assert_eq!(run.output::<String>(), wins);
        assert_eq!((run.executions("after"), run.executions("last")), (1, 1));
    }
}

#[tokio::test]
async fn a_late_outcome_of_a_lost_race_changes_nothing() {
    async fn first_of_two(ctx: Context, _: Event<OrderEvent>) -> Result<(bool, Option<u32>)> {
        let slept = tokio::select! {
            out = ctx.sleep("sleep", DAY) => out.map(|()| true),
            out = ctx.wait_for_event::<ApprovedEvent>("lost") => out.map(|_| false),
        }?;
        ctx.sleep("on", DAY).await?;
        let second = ctx.wait_for_event::<ApprovedEvent>("second").await?;
        Ok((slept, second.map(|event| event.data.score)))
    }
    let mut app = TestApp::new().function(Function::new("f", first_of_two));
    app.start(&order_event()).await;
    app.advance(DAY).await;
    // the losing wait is still open in the journal, so it receives this event; the handler never
    // asks for the event
    app.start(&approved_event("acme", 1)).await;
    app.advance(DAY).await;
    app.send(&approved_event("acme", 2)).await;
    assert_eq!(app.runs().await[0].output::<(bool, Option<u32>)>(), (true, Some(2)));
}

#[tokio::test]
async fn an_impossible_wait_fails_with_the_reason() {
    async fn handler_waiting_for_a_list(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        ctx.wait_for_event::<ApprovedEvent>("w").matching("clientId", &[1, 2]).await.map(drop)
    }
    async fn handler_with_misspelt_field(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        ctx.wait_for_event::<ApprovedEvent>("w").filter("asnyc.data.score > 1").await.map(drop)
    }
    async fn handler_with_invalid_cel(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        ctx.wait_for_event::<ApprovedEvent>("w").filter("async.data.").await.map(drop)
    }
    for (function, says) in [
        (
            Function::new("f", handler_waiting_for_a_list),
            "cannot wait: an event is matched by a text, a number, a boolean or null",
        ),
        (
            Function::new("f", handler_with_misspelt_field),
            "names `asnyc`, which there is not, at character 1; did you mean `async`?",
        ),
        (Function::new("f", handler_with_invalid_cel), "cannot wait: expression `async.data.`"),
    ] {
        let mut app = TestApp::new().function(function);
        let run = app.send(&order_event()).await.remove(0);
        let error = run.error().expect("it failed");
        assert!(error.message.contains(says), "{}", error.message);
    }
}

#[tokio::test]
async fn an_event_that_does_not_fit_its_type_fails_the_wait_and_names_it() {
    async fn waiting_handler(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
        ctx.wait_for_event::<ApprovedEvent>("w").await.map(drop)
    }
    let mut app = TestApp::new().function(Function::new("f", waiting_handler));
    app.start(&order_event()).await;
    let data = stepladder_core::json::to_json(&json!({"clientId": 7})).unwrap();
    app.send(&stepladder_core::NewEvent::new("brief/approved", data)).await;
    let run = app.runs().await.remove(0);
    let error = run.error().expect("it failed");
    assert_eq!(error.code(), Some("undecodable-memo"));
    assert!(error.message.contains("`w`") && error.message.contains("`brief/approved`"), "{}", error.message);
}

#[tokio::test]
async fn a_call_fails_at_its_timeout_and_the_called_run_goes_on() {
    async fn calling_handler(ctx: Context, _: Event<OrderEvent>) -> Result<(u64, String)> {
        let in_time = ctx.invoke("in time", "sleeper", &json!({ "days": 2 })).timeout(3 * DAY).await?;
        let late = ctx.invoke::<u64>("late", "sleeper", &json!({ "days": 9 })).timeout(3 * DAY).await.unwrap_err();
        assert!(
            late.has_code(stepladder_sdk::ErrorCode::InvokeTimeout) && late.to_string().contains("`late`"),
            "{late}"
        );
        ctx.step("after", async || Ok(())).await?;
        Ok((in_time, late.code().unwrap_or_default().into()))
    }
    #[derive(Deserialize)]
    struct Days {
        days: u32,
    }
    impl EventData for Days {
        const NAME: &'static str = "never/sent";
        const NAMES: &'static [&'static str] = &[];
    }
    async fn sleeping_handler(ctx: Context, event: Event<Days>) -> Result<u32> {
        ctx.sleep("days", event.data.days * DAY).await?;
        Ok(event.data.days)
    }
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let mut app = TestApp::new()
            .function(Function::new("calls", calling_handler))
            .function(Function::new("sleeper", sleeping_handler))
            .pace(pace);
        let run = app.start(&order_event()).await.remove(0);
        app.advance(4 * DAY).await;
        let caller = app.runs_of_function("calls").await.remove(0);
        assert_eq!(caller.status(), Status::Running, "the second call has a day left");
        app.advance(DAY + Duration::from_secs(1)).await;
        let caller = app.runs_of_function("calls").await.remove(0);
        assert_eq!((caller.id(), caller.output::<(u64, String)>()), (run.id(), (2, "invoke-timeout".into())));
        let ends = |runs: Vec<TestRun>| runs.iter().map(|run| run.status()).collect::<Vec<_>>();
        assert!(ends(app.runs_of_function("sleeper").await).contains(&Status::Running), "the called run goes on");
        app.finish().await;
        assert_eq!(ends(app.runs_of_function("sleeper").await), [Status::Completed, Status::Completed]);
    }
}
