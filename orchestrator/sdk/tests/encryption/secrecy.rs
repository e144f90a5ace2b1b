//! What a journal shows of encrypted values, and what functions see.

use std::sync::{Arc, Mutex};

use stepladder_sdk::prelude::*;
use stepladder_sdk::testing::{Pace, Status, TestApp, TestRun};
use stepladder_sdk::{Check, Encryption, FunctionFailed, ToEvent};

use crate::vault::{OrderEvent, SECRET, card_function, current, set_keys, sleeping_run};

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct CardEvent {
    tenant: String,
    card: String,
}

impl EventData for CardEvent {
    const NAME: &'static str = "shop/card.read";
}

fn card(tenant: &str) -> CardEvent {
    CardEvent { tenant: tenant.into(), card: SECRET.into() }
}

/// What functions have seen.
type Seen = Arc<Mutex<Vec<String>>>;

fn see(ctx: &Context, what: &str, value: &str) -> Result<()> {
    ctx.data::<Seen>()?.lock().unwrap().push(format!("{what}: {value}"));
    Ok(())
}

/// Uses each kind of value that is encrypted, and fails.
async fn all_kinds(ctx: Context, _: Event<OrderEvent>) -> Result<()> {
    let read = ctx.step("read", async || Ok(SECRET.to_owned())).undo({
        let seen = ctx.data::<Seen>()?.clone();
        move |read: String| async move {
            seen.lock().unwrap().push(format!("undone: {read}"));
            Ok(())
        }
    });
    let read = read.await?;
    let wait = ctx.wait_for_event::<CardEvent>("card").matching("tenant", "t1").timeout(60 * MINUTE).start();
    ctx.send_event("announce", card("t1")).await?;
    ctx.send_events("announce more", [card("t2"), card("t3")]).await?;
    let waited = wait.await?.expect("the event").data.card;
    let called: String = ctx.invoke("call", "echo", &card("t1")).await?;
    let check = async |state: String| match state.is_empty() {
        true => Ok(Check::NotYet(SECRET.to_owned())),
        false => Ok(Check::Ready(state)),
    };
    let polled: String = ctx.poll_with_state("poll", String::new(), check).await?;
    let failed = ctx.step("fail", async || Err::<(), _>(declined())).await.expect_err("it fails");
    let data: String = failed.data().expect("the data");
    ctx.step("see", async || {
        [("read", &read), ("waited", &waited), ("called", &called), ("polled", &polled), ("failed", &data)]
            .into_iter()
            .try_for_each(|(what, value)| see(&ctx, what, value))
    })
    .await?;
    Err(declined())
}

fn declined() -> Error {
    Error::terminal("declined").with_data(json!(SECRET))
}

async fn echo(ctx: Context, event: Event<CardEvent>) -> Result<String> {
    ctx.step("echo", async || Ok(event.data.card)).await
}

async fn failed(ctx: Context, event: Event<FunctionFailed>) -> Result<()> {
    let data = event.data.error.data.map(|data| data.get().to_owned()).unwrap_or_default();
    ctx.step("see", async || see(&ctx, "handled", &data)).await
}

fn app(encryption: Encryption, seen: &Seen) -> TestApp {
    let triggered = Function::new("echo", echo).filter("event.data.tenant == 't2'");
    TestApp::new()
        .payload_codec(encryption)
        .data(seen.clone())
        .function(Function::new("all-kinds", all_kinds).on_failure(failed))
        .function(triggered)
}

/// Returns everything that is stored of all runs.
fn stored(runs: &[TestRun]) -> String {
    let entries = runs.iter().flat_map(|run| run.journal());
    entries.map(|entry| serde_json::to_string(entry).unwrap() + "\n").collect()
}

#[tokio::test]
async fn no_journal_contains_clear_text_and_functions_see_it() {
    set_keys(&["SECRECY_KEY"]);
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let seen = Seen::default();
        let mut app = app(Encryption::with_keys(["SECRECY_KEY"]).readable("tenant"), &seen).pace(pace);
        let run = app.send(&OrderEvent {}).await.remove(0);
        assert_eq!(run.error().expect("it fails").message, "declined", "{run:?}");
        let runs = app.runs().await;
        let stored = stored(&runs);
        assert!(!stored.contains(SECRET), "{stored}");
        assert!(stored.contains("SECRECY_KEY") && stored.contains("\"tenant\":\"t2\""), "{stored}");
        let mut all = seen.lock().unwrap().clone();
        all.dedup();
        let expected =
            ["read", "waited", "called", "polled", "failed", "undone"].map(|what| format!("{what}: {SECRET}"));
        assert_eq!(all[..6], expected);
        assert_eq!(all[6..], [format!("handled: \"{SECRET}\"")]);
        // one of the three events has the tenant of the filter; the invoked run is the other one
        let echoes = app.runs_of_function("echo").await;
        assert_eq!(echoes.iter().map(TestRun::output::<String>).collect::<Vec<_>>(), [SECRET, SECRET]);
    }
}

#[tokio::test]
async fn without_a_codec_the_journal_contains_clear_text() {
    let mut app = TestApp::new().function(card_function());
    let runs = app.send(&OrderEvent {}).await;
    assert!(stored(&runs).contains(SECRET));
}

#[tokio::test]
async fn a_rerun_decrypts_the_outcomes_of_the_original_run() {
    set_keys(&["RERUN_KEY"]);
    let mut app = TestApp::new().payload_codec(Encryption::with_keys(["RERUN_KEY"])).function(card_function());
    let run = app.send(&OrderEvent {}).await.remove(0);
    let rerun = app.rerun_from(&run, "use").await;
    let again = app.rerun_from(&rerun, "use").await;
    for rerun in [rerun, again] {
        assert_eq!((rerun.output::<String>(), rerun.executions("read")), (format!("paid with {SECRET}"), 0));
    }
}

#[tokio::test]
async fn an_encrypted_event_of_a_sender_is_decrypted_and_can_be_examined() {
    set_keys(&["SENDER_KEY"]);
    let sender = Encryption::with_keys(["SENDER_KEY"]).readable("tenant");
    let event = sender.encrypt_event(&card("t2")).await.unwrap();
    assert!(!event.data.get().contains(SECRET) && event.data.get().contains("t2"), "{}", event.data);
    let examined = sender.decrypt(&event.data).await.unwrap();
    assert_eq!(serde_json::from_str::<CardEvent>(examined.get()).unwrap(), card("t2"));

    let mut app = app(Encryption::with_keys(["SENDER_KEY"]), &Seen::default());
    let run = app.send(&event).await.remove(0);
    assert_eq!((run.status(), run.output::<String>()), (Status::Completed, SECRET.to_owned()));
    let stored = stored(&[run]);
    assert!(!stored.contains(SECRET), "{stored}");

    // a copy in clear text must not be changed alone
    let changed = event.data.get().replace("\"t2\"", "\"t3\"");
    let changed = stepladder_sdk::NewEvent::new(CardEvent::NAME, serde_json::from_str(&changed).unwrap());
    let problem = sender.decrypt(&changed.data).await.unwrap_err().to_string();
    assert!(problem.contains("its field `tenant` differs from the encrypted one"), "{problem}");
    // nor is the data of one event accepted under another name
    let mut moved = TestApp::new().payload_codec(Encryption::with_keys(["SENDER_KEY"])).function(card_function());
    let mut renamed = OrderEvent {}.to_event().unwrap();
    renamed.data = event.data;
    let run = moved.start(&renamed).await.remove(0);
    assert!(run.waiting().unwrap().contains("it was encrypted for another place and moved here"), "{run:?}");
}

#[tokio::test]
async fn an_app_without_a_codec_does_not_lose_a_run_that_needs_one() {
    set_keys(&["FORGOTTEN_KEY"]);
    let event = Encryption::with_keys(["FORGOTTEN_KEY"]).encrypt_event(&card("t2")).await.unwrap();
    let mut app = TestApp::new().function(Function::new("echo", echo));
    let run = app.start(&event).await.remove(0);
    let waiting = run.waiting().unwrap_or_default();
    assert!(
        waiting.contains("encrypted with key FORGOTTEN_KEY, and the app has no payload codec"),
        "{:?} {waiting}",
        run.error()
    );
    app.advance(60 * MINUTE).await;
    assert!(!current(&mut app, &run).await.status().is_end());
}

#[tokio::test]
async fn values_that_were_recorded_in_clear_text_can_still_be_read() {
    set_keys(&["LATER_KEY"]);
    // a mocked step is recorded as the script says: in clear text
    let mut app = TestApp::new().payload_codec(Encryption::with_keys(["LATER_KEY"])).function(card_function());
    app = app.mock("read", "7899");
    let run = sleeping_run(&mut app).await;
    app.finish().await;
    assert_eq!(current(&mut app, &run).await.output::<String>(), "paid with 7899");
}
