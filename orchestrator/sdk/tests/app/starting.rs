//! Steps that are started and awaited later: they are recorded before the function awaits them, and
//! keep their outcome until then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stepladder_sdk::prelude::*;
use stepladder_sdk::testing::{Fact, Pace, Status, TestApp, TestRun};

use crate::running::{OrderEvent, order_event};

const PACES: [Pace; 2] = [Pace::StepPerInvocation, Pace::WithinBudget];
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
struct PaidEvent {
    cents: u32,
}

impl EventData for PaidEvent {
    const NAME: &'static str = "shop/paid";
}

fn app<H, Fut, O>(pace: Pace, handler: H) -> TestApp
where
    H: Fn(Context, Event<OrderEvent>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O>> + Send + 'static,
    O: Serialize,
{
    TestApp::new().function(Function::new("f", handler)).pace(pace)
}

/// Returns how long a run took on the virtual clock.
fn duration_of(run: &TestRun) -> Duration {
    run.journal().last().unwrap().at.since(run.journal()[0].at)
}

#[tokio::test]
async fn a_started_sleep_passes_while_the_function_does_something_else() {
    for pace in PACES {
        let mut app = app(pace, async |ctx: Context, _| {
            let long = ctx.sleep("long", 60 * MINUTE).start();
            let short = ctx.sleep("short", MINUTE).start();
            for name in ["a", "b"] {
                ctx.step(name, async || Ok(())).await?;
                ctx.sleep(format!("after {name}"), 20 * MINUTE).await?;
            }
            short.await?; // ended long ago
            let slept = ctx.now();
            long.await?;
            Ok(ctx.now().since(slept))
        });
        let run = app.send(&order_event()).await.remove(0);
        assert_eq!((run.output::<Duration>(), duration_of(&run)), (20 * MINUTE, 60 * MINUTE), "{pace:?}");
        assert_eq!(run.steps(), ["long", "short", "a", "after a", "b", "after b"], "{pace:?}");
        assert_eq!((run.executions("a"), run.executions("b")), (1, 1));
    }
}

#[tokio::test]
async fn a_started_wait_receives_the_event_that_a_later_step_causes() {
    for pace in PACES {
        for is_started in [true, false] {
            let mut app = app(pace, move |ctx: Context, _: Event<OrderEvent>| async move {
                let wait = || ctx.wait_for_event::<PaidEvent>("paid").timeout(MINUTE);
                let paid = is_started.then(|| wait().start());
                ctx.send_event("pay", PaidEvent { cents: 7 }).await?;
                let paid = match paid {
                    Some(paid) => paid.await?,
                    None => wait().await?,
                };
                Ok(paid.map(|event| event.data.cents))
            });
            let run = app.send(&order_event()).await.remove(0);
            assert_eq!(run.output::<Option<u32>>(), is_started.then_some(7), "{pace:?}");
        }
    }
}

#[tokio::test]
async fn a_started_call_runs_beside_the_steps_of_its_caller() {
    for pace in PACES {
        let mut app = app(pace, async |ctx: Context, _| {
            let called = ctx.invoke::<u32>("call", "slow", &json!({ "cents": 3 })).start();
            ctx.sleep("meanwhile", 30 * MINUTE).await?;
            ctx.step("own", async || Ok(())).await?;
            called.await
        });
        app = app.function(Function::new("slow", async |ctx: Context, event: Event<PaidEvent>| {
            ctx.sleep("a while", 40 * MINUTE).await?;
            Ok(event.data.cents)
        }));
        let run = app.send(&order_event()).await.remove(0);
        assert_eq!((run.output::<u32>(), duration_of(&run)), (3, 40 * MINUTE), "{pace:?}");
        let position = |is: fn(&Fact) -> bool| run.journal().iter().position(|entry| is(&entry.fact));
        let called = position(|fact| matches!(fact, Fact::InvokeStarted { .. }));
        assert!(called < position(|fact| matches!(fact, Fact::StepStarted { .. })), "{pace:?}");
    }
}

#[tokio::test]
async fn a_started_send_sends_its_events_once_and_returns_their_ids_later() {
    for pace in PACES {
        let mut app = app(pace, async |ctx: Context, _| {
            let one = ctx.send_event("one", PaidEvent { cents: 1 }).start();
            let two = ctx.send_events("two", [2, 3].map(|cents| PaidEvent { cents })).start();
            ctx.step("own", async || Ok(())).await?;
            ctx.sleep("a while", MINUTE).await?;
            Ok((one.await?.to_string(), two.await?.len()))
        });
        app = app.function(Function::new("paid", async |_: Context, event: Event<PaidEvent>| Ok(event.data.cents)));
        let run = app.send(&order_event()).await.remove(0);
        let (id, others) = run.output::<(String, usize)>();
        let sent = run.journal().iter().filter_map(|entry| match &entry.fact {
            Fact::EventsSent { ids, .. } => Some(ids.iter().map(ToString::to_string).collect::<Vec<_>>()),
            _ => None,
        });
        let sent: Vec<_> = sent.collect();
        assert!(sent.len() == 2 && sent.contains(&vec![id]) && others == 2, "{pace:?}: {sent:?}");
        let mut paid: Vec<u32> = app.runs_of_function("paid").await.iter().map(|run| run.output()).collect();
        paid.sort_unstable();
        assert_eq!(paid, [1, 2, 3], "{pace:?}");
    }
}

#[tokio::test]
async fn the_timeout_of_a_started_signal_counts_from_its_start() {
    for pace in PACES {
        let mut app = app(pace, async |ctx: Context, _| {
            let kept = ctx.wait_for_signal::<u32>("kept").timeout(MINUTE).start();
            let late = ctx.wait_for_signal::<u32>("late").timeout(MINUTE).start();
            ctx.step("tell", async || Ok(kept.token().to_owned())).await?;
            ctx.sleep("longer", 2 * MINUTE).await?;
            Ok((kept.await?, late.await?))
        });
        let run = app.start(&order_event()).await.remove(0);
        let token = app.token(&run, "kept").await;
        app.signal(&token, &7).await;
        app.finish().await;
        let run = app.runs().await.remove(0);
        assert_eq!(run.output::<(Option<u32>, Option<u32>)>(), (Some(7), None), "{pace:?}");
        assert_eq!(duration_of(&run), 2 * MINUTE, "{pace:?}");
    }
}

#[tokio::test]
async fn a_deadline_holds_across_the_rounds_of_a_loop() {
    for pace in PACES {
        let mut app = app(pace, async |ctx: Context, _| {
            let mut deadline = ctx.sleep("deadline", 10 * MINUTE).start();
            for round in 0.. {
                let rest = async {
                    ctx.step("try", async || Ok(())).await?;
                    ctx.sleep("rest", 3 * MINUTE).await
                };
                tokio::select! {
                    biased;
                    ended = &mut deadline => return ended.map(|()| round),
                    rested = rest => rested?,
                }
            }
            Ok(0)
        });
        let run = app.send(&order_event()).await.remove(0);
        assert_eq!((run.output::<u32>(), duration_of(&run)), (3, 10 * MINUTE), "{pace:?}");
    }
}

#[tokio::test]
async fn a_started_step_that_is_dropped_is_ignored_or_never_happens() {
    for pace in PACES {
        let mut app = app(pace, async |ctx: Context, _| {
            drop(ctx.send_event("never sent", PaidEvent { cents: 1 }).start());
            let sleep = ctx.sleep("ignored", 600 * MINUTE).start();
            let call = ctx.invoke::<u32>("bound", "slow", &json!({})).cancelled_with_run().start();
            ctx.step("a", async || Ok(())).await?;
            drop((sleep, call));
            ctx.step("b", async || Ok(())).await
        });
        app = app.function(Function::new("slow", async |ctx: Context, _: Event<PaidEvent>| {
            ctx.sleep("a while", 600 * MINUTE).await
        }));
        app = app.function(Function::new("paid", async |_: Context, event: Event<PaidEvent>| Ok(event.data.cents)));
        let run = app.send(&order_event()).await.remove(0);
        assert_eq!((run.status(), duration_of(&run)), (Status::Completed, Duration::ZERO), "{pace:?}");
        assert!(!run.steps().contains(&"never sent") && run.steps().contains(&"ignored"), "{:?}", run.steps());
        assert!(app.runs_of_function("paid").await.is_empty());
    }
}

#[tokio::test]
async fn a_step_that_cannot_start_returns_the_reason_when_it_is_awaited() {
    for pace in PACES {
        let mut app = app(pace, async |ctx: Context, _| {
            let bad = ctx.sleep("bad:1", MINUTE).start();
            let inner = ctx.step("outer", async || {
                let inner = ctx.sleep("inner", MINUTE).start();
                Ok(inner.await.unwrap_err().to_string())
            });
            let inner = inner.await?;
            Ok((inner, bad.await.unwrap_err().to_string()))
        });
        let run = app.send(&order_event()).await.remove(0);
        let (inner, bad) = run.output::<(String, String)>();
        assert!(inner.contains("inside the body of step `outer`; steps do not nest"), "{inner}");
        assert!(bad.contains("`bad:1`") && bad.contains("ends in `:` and digits"), "{bad}");
        assert_eq!(run.steps(), ["outer"]);
    }
}

#[tokio::test]
async fn a_failed_call_that_was_started_fails_when_it_is_awaited_and_a_completed_one_is_undone() {
    for pace in PACES {
        let undone: Arc<AtomicBool> = Arc::default();
        let mark = undone.clone();
        let mut app = app(pace, move |ctx: Context, _: Event<OrderEvent>| {
            let mark = mark.clone();
            async move {
                let undo = async move |_| {
                    mark.store(true, Ordering::Relaxed);
                    Ok(())
                };
                let good = ctx.invoke::<u32>("good", "check", &json!({ "cents": 1 })).undo(undo).start();
                let bad = ctx.invoke::<u32>("bad", "check", &json!({ "cents": 0 })).start();
                ctx.sleep("a while", MINUTE).await?;
                good.await?;
                ctx.step("reached", async || Ok(())).await?;
                bad.await
            }
        });
        app = app.function(Function::new("check", async |_: Context, event: Event<PaidEvent>| {
            if event.data.cents == 0 { Err(Error::terminal("nothing was paid")) } else { Ok(event.data.cents) }
        }));
        let run = app.send(&order_event()).await.remove(0);
        assert_eq!((run.status(), run.executions("reached")), (Status::Failed, 1), "{pace:?}");
        assert!(run.error().unwrap().message.contains("nothing was paid"));
        assert!(undone.load(Ordering::Relaxed), "{pace:?}");
    }
}
