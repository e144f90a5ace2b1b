//! Reruns from a step. Every earlier outcome is carried over, so that the run takes the same path.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::{TestEngine, TestRunDetail};
use stepladder_sdk::testing::{Fact, Pace, Status, TestApp, TestRun};
use stepladder_sdk::{NewEvent, Rate};

use super::running::{OrderEvent, order_event};

const HOUR: Duration = Duration::from_secs(3_600);
const PACES: [Pace; 2] = [Pace::StepPerInvocation, Pace::WithinBudget];

#[derive(Serialize, Deserialize)]
struct PaidEvent {
    cents: u32,
}

impl EventData for PaidEvent {
    const NAME: &'static str = "order/paid";
}

/// Counts how often something was done, by any run.
#[derive(Clone, Default)]
struct CallCounter(Arc<AtomicU32>);

impl CallCounter {
    fn increment(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    fn current(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

fn app<H, Fut, O>(pace: Pace, handler: H) -> TestApp
where
    H: Fn(Context, Event<OrderEvent>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O>> + Send + 'static,
    O: Serialize,
{
    TestApp::new().pace(pace).function(Function::new("f", handler).retries(0))
}

/// Returns the steps with outcomes that a rerun carried over.
fn carried_over_steps(run: &TestRun) -> Vec<&str> {
    let carried = run.journal().iter().filter_map(|entry| match &entry.fact {
        Fact::StepCarriedOver { step, .. } => Some(&**step),
        _ => None,
    });
    carried.collect()
}

#[tokio::test]
async fn a_handled_failure_is_kept_and_the_rerun_takes_the_same_path() {
    for pace in PACES {
        let charges = CallCounter::default();
        let count = charges.clone();
        let mut app = app(pace, move |ctx: Context, _| {
            let count = count.clone();
            async move {
                let charge = async || match count.increment() {
                    0 => Err(Error::terminal("declined").with_code("declined")),
                    n => Ok(n),
                };
                let how = match ctx.step("charge", charge).await {
                    Ok(_) => "charged",
                    Err(declined) if declined.code() == Some("declined") => {
                        ctx.step("send invoice", async || Ok(())).await?;
                        "invoice"
                    }
                    Err(other) => return Err(other),
                };
                ctx.step("mail", async || Ok(())).await?;
                Ok(how)
            }
        });
        let first = app.send(&order_event()).await.remove(0);
        assert_eq!(first.output::<String>(), "invoice");
        let again = app.rerun_from(&first, "mail").await;
        assert_eq!((again.output::<String>().as_str(), charges.current()), ("invoice", 1), "{pace:?}");
        assert_eq!(carried_over_steps(&again), ["charge", "send invoice"]);
        let shown = again.detail().steps.iter().find(|step| &*step.id == "charge").unwrap().clone();
        assert_eq!((shown.status.as_str(), shown.error.unwrap().message.as_str()), ("Failed", "declined"));
        // a rerun from the failed step executes that step again
        let from_charge = app.rerun_from(&first, "charge").await;
        assert_eq!((from_charge.output::<String>().as_str(), charges.current()), ("charged", 2), "{pace:?}");
    }
}

#[tokio::test]
async fn waits_and_checks_that_timed_out_are_not_repeated() {
    for pace in PACES {
        let mut app = app(pace, |ctx: Context, _| async move {
            let paid = ctx.wait_for_event::<PaidEvent>("paid").timeout(HOUR).await?;
            let called = ctx.wait_for_signal::<u32>("called").timeout(HOUR).await?;
            let checked = ctx.poll_until("checked", async || Ok(None::<u32>)).timeout(HOUR).await;
            let late = checked.err().and_then(|late| late.code().map(str::to_owned));
            ctx.step("mail", async || Ok(())).await?;
            Ok((paid.is_some(), called.is_some(), late))
        });
        let first = app.send(&order_event()).await.remove(0);
        let outcome = (false, false, Some("poll-timeout".to_owned()));
        assert_eq!(first.output::<(bool, bool, Option<String>)>(), outcome);
        let before = app.now();
        let again = app.rerun_from(&first, "mail").await;
        assert_eq!(again.output::<(bool, bool, Option<String>)>(), outcome);
        assert_eq!((app.now(), carried_over_steps(&again)), (before, vec!["paid", "called", "checked"]), "{pace:?}");
    }
}

#[tokio::test]
async fn calls_that_failed_or_were_cancelled_or_skipped_are_not_repeated() {
    async fn child_handler(ctx: Context, event: Event<OrderEvent>) -> Result<()> {
        if event.data.client_id == "fails" {
            return Err(Error::terminal("no such client"));
        }
        ctx.sleep("a while", HOUR).await
    }
    for pace in PACES {
        let mut app = app(pace, |ctx: Context, _| async move {
            let mut codes = Vec::new();
            for id in ["fails", "is-cancelled"] {
                let ended: Result<()> = ctx.invoke(id, "child", &json!({ "clientId": id })).await;
                codes.push(ended.err().and_then(|error| error.code().map(str::to_owned)));
            }
            // the run's own event has used up the rate limit, so this call fails
            for n in 0..2 {
                let ended: Result<()> = ctx.invoke("rare", "rare", &json!({ "clientId": n.to_string() })).await;
                codes.push(ended.err().and_then(|error| error.code().map(str::to_owned)));
            }
            let unknown: Result<()> = ctx.invoke("unknown", "nowhere", &json!({})).await;
            codes.push(unknown.err().and_then(|error| error.code().map(str::to_owned)));
            ctx.step("mail", async || Ok(())).await?;
            Ok(codes)
        });
        app = app.function(Function::new("child", child_handler).retries(0));
        app = app.function(Function::new("rare", child_handler).rate_limit(Rate::new(1, 24 * HOUR)));
        app.start(&order_event()).await;
        let called = app.runs_of_function("child").await.pop().unwrap();
        assert_eq!(app.cancel(&called).await.status(), Status::Cancelled);
        app.finish().await;
        let first = app.runs_of_function("f").await.remove(0);
        let codes: Vec<Option<String>> =
            [None, Some("cancelled"), Some("skipped"), Some("skipped"), Some("unknown-function")]
                .map(|c| c.map(str::to_owned))
                .into();
        assert_eq!(first.output::<Vec<Option<String>>>(), codes);
        let runs = app.runs().await.len();
        let again = app.rerun_from(&first, "mail").await;
        assert_eq!(again.output::<Vec<Option<String>>>(), codes, "{pace:?}");
        assert_eq!(app.runs().await.len(), runs + 1, "{pace:?}");
    }
}

#[tokio::test]
async fn a_rerun_from_the_loser_of_a_race_repeats_the_race() {
    for pace in PACES {
        let mut app = app(pace, |ctx: Context, _| async move {
            ctx.step("before", async || Ok(())).await?;
            let first = tokio::select! {
                fast = ctx.sleep("fast", HOUR) => { fast?; "fast" }
                slow = ctx.sleep("slow", 2 * HOUR) => { slow?; "slow" }
            };
            ctx.step("after", async || Ok(())).await?;
            Ok(first)
        });
        let first = app.send(&order_event()).await.remove(0);
        let again = app.rerun_from(&first, "slow").await;
        assert_eq!(again.output::<String>(), "fast");
        assert_eq!((carried_over_steps(&again), again.executions("after")), (vec!["before"], 1), "{pace:?}");
    }
}

#[tokio::test]
async fn a_rerun_from_a_step_with_a_failed_sibling_repeats_both() {
    for pace in PACES {
        let tries = CallCounter::default();
        let count = tries.clone();
        let mut app = app(pace, move |ctx: Context, _| {
            let count = count.clone();
            async move {
                let fails_once = ctx.step("fails once", async || match count.increment() {
                    0 => Err(Error::terminal("not yet there")),
                    _ => Ok(()),
                });
                futures::try_join!(fails_once, ctx.sleep("beside it", HOUR))?;
                Ok(())
            }
        });
        let first = app.send(&order_event()).await.remove(0);
        assert_eq!(first.status(), Status::Failed);
        let again = app.rerun_from(&first, "beside it").await;
        assert_eq!((again.status(), tries.current()), (Status::Completed, 2), "{pace:?}");
    }
}

#[tokio::test]
async fn outcomes_beside_a_cancelled_step_are_kept() {
    let dones = CallCounter::default();
    let count = dones.clone();
    let mut app = app(Pace::StepPerInvocation, move |ctx: Context, _| {
        let count = count.clone();
        async move {
            let done = ctx.step("done", async || Ok(count.increment()));
            futures::try_join!(done, ctx.sleep("long", HOUR)).map(drop)
        }
    });
    let run = app.start(&order_event()).await.remove(0);
    let cancelled = app.cancel(&run).await;
    let again = app.rerun_from(&cancelled, "long").await;
    assert_eq!((again.status(), dones.current(), carried_over_steps(&again)), (Status::Completed, 1, vec!["done"]));
}

#[tokio::test]
async fn an_event_delivered_to_a_run_is_not_delivered_to_its_rerun() {
    let mut app = app(Pace::StepPerInvocation, |ctx: Context, _| async move {
        let first = ctx.wait_for_event::<PaidEvent>("first").timeout(HOUR).await?;
        let second = ctx.wait_for_event::<PaidEvent>("second").timeout(HOUR).await?;
        Ok((first.is_some(), second.is_some()))
    });
    let paid =
        NewEvent::new("order/paid", stepladder_core::json::to_json(&json!({"cents": 7})).unwrap()).with_id("payment-7");
    app.start(&order_event()).await;
    app.start(&paid).await;
    app.finish().await;
    let first = app.runs().await.remove(0);
    assert_eq!(first.output::<(bool, bool)>(), (true, false));
    let how = stepladder_engine::RerunOptions { from_step: Some("second".into()), input: None };
    let again = app.engine().control().rerun(first.id(), how).await.unwrap();
    app.advance(Duration::from_secs(1)).await;
    app.start(&paid).await; // the sender repeats its event
    app.finish().await;
    let again = app.runs().await.into_iter().find(|run| run.id() == again).unwrap();
    assert_eq!(again.output::<(bool, bool)>(), (true, false));
}

#[tokio::test]
async fn a_rerun_takes_other_data_and_refuses_an_unknown_step() {
    let mut app = app(Pace::StepPerInvocation, |ctx: Context, event: Event<OrderEvent>| async move {
        ctx.step("greet", async || Ok(event.data.client_id)).await
    });
    let first = app.send(&order_event()).await.remove(0);
    let again = app.rerun_with(&first, &json!({ "clientId": "other" })).await;
    assert_eq!(
        (again.output::<String>().as_str(), app.rerun(&first).await.output::<String>().as_str()),
        ("other", "acme")
    );
    let engine = app.engine();
    let rerun = async |from_step: Option<&str>, input: Option<serde_json::Value>| {
        let input = input.map(|input| stepladder_core::json::to_json(&input).unwrap());
        let how = stepladder_engine::RerunOptions { from_step: from_step.map(Into::into), input };
        engine.control().rerun(first.id(), how).await.unwrap_err().to_string()
    };
    assert!(rerun(Some("greed"), None).await.contains("no step `greed`; it has: greet"));
    assert!(rerun(None, Some(json!([1]))).await.contains("`input` must be a JSON object"));
    let large = json!({ "text": "x".repeat(3 << 20) });
    assert!(rerun(None, Some(large)).await.contains("`input` has 3145739 bytes"));
    assert!(rerun(None, Some(json!({ "nul": "\0" }))).await.contains("NUL"));
    assert_eq!(app.runs().await.len(), 3);
}
