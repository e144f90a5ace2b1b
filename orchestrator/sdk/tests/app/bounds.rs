//! Limits on the size of a run: they apply to every kind of value, and a step beyond the limit does
//! not start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::TestRunDetail;
use stepladder_sdk::testing::{Fact, Pace, Status, TestApp, TestRun};

use super::running::{OrderEvent, order_event};

const MIB: usize = 1024 * 1024;
/// The limits as the documentation states them.
const RUN: usize = 32 * MIB;
const FAILURE: usize = 16 * 1024;
const PACES: [Pace; 2] = [Pace::StepPerInvocation, Pace::WithinBudget];

#[derive(Serialize, Deserialize)]
struct TextData {
    #[serde(default)]
    text: String,
}

impl EventData for TextData {
    const NAME: &'static str = "order/part";
}

/// Returns a string with JSON of this many bytes.
fn json_of(bytes: usize) -> String {
    "x".repeat(bytes - 2)
}

fn app<H, Fut, O>(pace: Pace, handler: H) -> TestApp
where
    H: Fn(Context, Event<OrderEvent>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O>> + Send + 'static,
    O: Serialize,
{
    TestApp::new().pace(pace).function(Function::new("f", handler))
}

/// Returns the size in bytes of the values in a run's journal, and of its failures.
fn kept_sizes(run: &TestRun) -> (usize, usize) {
    use stepladder_sdk::testing::Outcome;
    let (mut values, mut failures) = (0, 0);
    for entry in run.journal() {
        match &entry.fact {
            Fact::StepSucceeded { output: value, .. }
            | Fact::InvokeEnded { outcome: Outcome::Value(value), .. }
            | Fact::SignalReceived { data: value, .. }
            | Fact::InvokeStarted { input: value, .. } => values += value.get().len(),
            Fact::EventDelivered { event, .. } => values += event.data.get().len(),
            Fact::StepFailed { error, .. }
            | Fact::StepRefused { error, .. }
            | Fact::HandlerFailed { error, .. }
            | Fact::InvokeEnded { outcome: Outcome::Failed(error), .. }
            | Fact::RunFailed { error } => failures = failures.max(error.message.len()),
            _ => {}
        }
    }
    (values, failures)
}

#[tokio::test]
async fn outcomes_of_one_record_count_together() {
    for pace in PACES {
        let mut app = app(pace, async |ctx: Context, _: Event<OrderEvent>| {
            let results = ctx.map("large", 0..16, async |_| Ok(json_of(4 * MIB))).results().await?;
            let codes = results.failures().filter_map(|(_, error)| error.code().map(str::to_owned));
            Ok(codes.collect::<Vec<_>>())
        });
        let run = app.send(&order_event()).await.remove(0);
        assert_eq!(
            (kept_sizes(&run).0, run.output::<Vec<String>>()),
            (RUN, vec!["too-large".to_owned(); 8]),
            "{pace:?}"
        );
    }
}

#[tokio::test]
async fn outputs_of_calls_count_and_executed_steps_are_kept() {
    for pace in PACES {
        let mut app = app(pace, async |ctx: Context, _: Event<OrderEvent>| {
            let parts = ctx.map_runs::<String, _>("part", "part", (0..12).map(|_| json!({}))).results().await?;
            let lost = parts.failures().filter(|(_, error)| error.code() == Some("too-large"));
            let lost = lost.count();
            Ok((lost, ctx.step("charge", async || Ok("paid".to_owned())).await?))
        });
        app = app.function(Function::new("part", async |_: Context, _: Event<TextData>| Ok(json_of(3 * MIB))));
        let run = app.send(&order_event()).await.remove(0);
        assert_eq!(
            (run.output::<(usize, String)>(), kept_sizes(&run).0 <= RUN),
            ((2, "paid".into()), true),
            "{pace:?}"
        );
    }
}

#[tokio::test]
async fn inputs_of_calls_count_and_a_call_past_the_limit_creates_no_run() {
    for pace in [Pace::WithinBudget] {
        let mut app = app(pace, async |ctx: Context, _: Event<OrderEvent>| {
            let items = (0..14).map(|_| TextData { text: json_of(5 * MIB / 2) });
            let parts = ctx.map_runs::<(), _>("part", "part", items).results().await?;
            let lost = parts.failures().filter(|(_, error)| error.code() == Some("too-large"));
            Ok(lost.count())
        });
        app = app.function(Function::new("part", async |_: Context, _: Event<TextData>| Ok(())));
        let run = app.send(&order_event()).await.remove(0);
        let begun = app.runs_of_function("part").await.len();
        assert_eq!((run.output::<usize>(), begun, kept_sizes(&run).0 <= RUN), (2, 12, true), "{pace:?}");
    }
}

#[tokio::test]
async fn a_run_at_its_size_limit_executes_no_further_body_and_is_compensated() {
    for pace in [Pace::WithinBudget] {
        let executed: Arc<AtomicU32> = Arc::default();
        let undone: Arc<AtomicU32> = Arc::default();
        let (count, undo) = (executed.clone(), undone.clone());
        let mut app = app(pace, move |ctx: Context, _| {
            let (count, undo) = (count.clone(), undo.clone());
            async move {
                for n in 0..8 {
                    let undo = undo.clone();
                    let name = format!("large {n}");
                    ctx.step(name, async || Ok(json_of(4 * MIB)))
                        .undo(async move |_| {
                            undo.fetch_add(1, Ordering::Relaxed);
                            Ok(())
                        })
                        .await?;
                }
                ctx.step("charge", async || Ok(count.fetch_add(1, Ordering::Relaxed))).await?;
                Ok(())
            }
        });
        let run = app.send(&order_event()).await.remove(0);
        let error = run.error().unwrap();
        assert_eq!((run.status(), error.code()), (Status::Failed, Some("too-large")));
        assert!(error.message.starts_with("step `charge` was not begun: the run keeps 33554432 bytes"), "{error:?}");
        assert_eq!((executed.load(Ordering::Relaxed), undone.load(Ordering::Relaxed)), (0, 8), "{pace:?}");
        assert_eq!(run.steps().iter().filter(|step| step.starts_with("undo ")).count(), 8);
    }
}

#[tokio::test]
async fn an_event_past_the_size_limit_fails_every_wait_that_it_completes() {
    for pace in [Pace::WithinBudget] {
        let mut app = app(pace, async |ctx: Context, _: Event<OrderEvent>| {
            ctx.map("large", 0..8, async |_| Ok(json_of(4 * MIB - 64 * 1024))).limit(1).await?;
            let wait = |name: &str| ctx.wait_for_event::<TextData>(name.to_owned()).timeout(Duration::from_secs(60));
            let (one, other) = futures::join!(wait("one"), wait("other"));
            let code = |result: Result<Option<Event<TextData>>>| result.err().and_then(|e| e.code().map(str::to_owned));
            Ok((code(one), code(other)))
        });
        app.start(&order_event()).await;
        let begun = app.now();
        app.start(&TextData { text: json_of(MIB) }).await;
        app.finish().await;
        let run = app.runs_of_function("f").await.remove(0);
        let too_large = Some("too-large".to_owned());
        assert_eq!(run.output::<(Option<String>, Option<String>)>(), (too_large.clone(), too_large));
        assert_eq!((app.now(), kept_sizes(&run).0 <= RUN), (begun, true), "{pace:?}");
    }
}

#[tokio::test]
async fn a_long_failure_is_cut_in_every_record() {
    async fn asking_handler(ctx: Context, _: Event<OrderEvent>) -> Result<String> {
        let answer = async || Err::<(), _>(Error::new(format!("not JSON: \0{}", "é".repeat(20 * MIB))));
        let failed = ctx.step("ask", answer).retries(2).await.unwrap_err().to_string();
        assert!(failed.starts_with("not JSON: \u{fffd}é") && failed.ends_with('…'), "{}", &failed[..40]);
        let called: Result<()> = ctx.invoke("call", "fails", &json!({})).await;
        assert!(called.unwrap_err().to_string().len() <= FAILURE);
        ctx.step("charge", async || Ok("paid".to_owned())).await
    }
    async fn failing_handler(_: Context, _: Event<TextData>) -> Result<()> {
        Err(Error::new("x".repeat(20 * MIB)).with_code("c".repeat(MIB)))
    }
    async fn failure_handler(_: Context, event: Event<FunctionFailed>) -> Result<(usize, Option<usize>)> {
        Ok((event.data.error.message.len(), event.data.error.code().map(str::len)))
    }
    for pace in PACES {
        let mut app = app(pace, asking_handler)
            .function(Function::new("fails", failing_handler).retries(1).on_failure(failure_handler));
        let run = app.send(&order_event()).await.remove(0);
        assert_eq!(run.output::<String>(), "paid", "{pace:?}");
        let failed = app.runs_of_function("fails").await.remove(0);
        for run in [&run, &failed] {
            let (_, longest) = kept_sizes(run);
            assert!(longest <= FAILURE && longest > FAILURE / 2, "{longest} bytes");
        }
        let handled = app.runs_of_function("fails/on-failure").await.remove(0);
        assert!(handled.detail().event.data.get().len() < 2 * FAILURE);
        assert_eq!(handled.output::<(usize, Option<usize>)>(), (FAILURE, Some(255)));
    }
}

#[tokio::test]
async fn a_failed_compensation_is_named_beside_a_long_failure() {
    let mut app = app(Pace::StepPerInvocation, async |ctx: Context, _: Event<OrderEvent>| {
        let undo = async |()| Err::<(), _>(Error::terminal("gone"));
        ctx.step("book", async || Ok(())).undo(undo).await?;
        Err::<(), _>(Error::terminal("x".repeat(MIB)))
    });
    let run = app.send(&order_event()).await.remove(0);
    let message = &run.error().unwrap().message;
    assert!(message.ends_with("; `book` could not be undone: gone") && message.len() <= FAILURE, "{}", message.len());
}

#[tokio::test]
async fn the_event_of_a_failure_respects_the_event_limit_and_names_omitted_fields() {
    async fn failing_handler(_: Context, _: Event<TextData>) -> Result<()> {
        Err(Error::terminal("refused"))
    }
    async fn failure_handler(_: Context, event: Event<FunctionFailed>) -> Result<(String, Vec<String>, bool)> {
        let FunctionFailed { error, omitted, event, .. } = event.data;
        Ok((error.message, omitted, event["data"]["text"].is_string()))
    }
    let mut app = TestApp::new().function(Function::new("fails", failing_handler).on_failure(failure_handler));
    for (bytes, omitted) in [(MIB, vec![]), (3 * MIB - 64, vec!["event.data".to_owned()])] {
        app.send(&TextData { text: json_of(bytes) }).await;
        let handled = app.runs_of_function("fails/on-failure").await.pop().unwrap();
        assert!(handled.detail().event.data.get().len() <= 3 * MIB);
        let there = omitted.is_empty();
        assert_eq!(handled.output::<(String, Vec<String>, bool)>(), ("refused".into(), omitted, there));
    }
}
