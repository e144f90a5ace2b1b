//! The kinds of steps on DynamoDB and SQS, while a request or a reply is lost at each call. A run
//! must end as it does without the fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stepladder::prelude::*;
use stepladder::{Usage, record_usage};
use stepladder_core::journal::Fact;
use stepladder_core::{NewEvent, Status};
use stepladder_engine::view::RunDetail;
use stepladder_tests::aws_faults::AwsFault;

use crate::functions::{ExecutionLog, GoEvent, ShopEvent, go_event};
use crate::stage::{AwsStage, SdkRetryMode};
use crate::wire::AwsCall;

const BOTH: [AwsFault; 2] = [AwsFault::LoseReply, AwsFault::LoseRequest];
const MINUTE: Duration = Duration::from_secs(60);

/// Sends these events one by one and lets their runs end, with a fault at call number `at`. Returns
/// the number of calls.
pub(crate) async fn run_with_fault(stage: &AwsStage, events: &[NewEvent], at: usize, fault: &AwsFault) -> usize {
    let calls = set_fault(stage, at, fault);
    let engine = stage.engine();
    for event in events {
        stage.send(&engine, event).await;
    }
    stage.settle(|| engine.clone()).await;
    calls.load(Ordering::SeqCst)
}

/// Injects the fault into call number `at` from now on. Returns the counter of the calls.
pub(crate) fn set_fault(stage: &AwsStage, at: usize, fault: &AwsFault) -> Arc<AtomicUsize> {
    plan_of(stage, |_| true, at, fault)
}

/// Like [`plan`], but counts only the calls for which `counts` returns true.
pub(crate) fn plan_of(
    stage: &AwsStage,
    of: impl Fn(&AwsCall<'_>) -> bool + Send + 'static,
    at: usize,
    fault: &AwsFault,
) -> Arc<AtomicUsize> {
    let calls = Arc::new(AtomicUsize::new(0));
    let (counted, fault) = (calls.clone(), fault.clone());
    stage.wire.plan(move |call| match of(call) && counted.fetch_add(1, Ordering::SeqCst) == at {
        true => fault.clone(),
        false => AwsFault::Pass,
    });
    calls
}

/// For each fault and each call, executes a run of these functions with the fault at that call.
/// Passes the run and a description of the fault to `check`.
async fn at_each_call(stage: &AwsStage, faults: &[AwsFault], check: impl AsyncFn(RunDetail, &str)) {
    let calls = run_with_fault(stage, &[go_event(0)], usize::MAX, &AwsFault::Pass).await;
    assert!(calls > 8, "{calls}");
    let mut n = 0;
    check(run_of(stage, n).await, "a good day").await;
    for fault in faults {
        for at in 0..calls {
            n += 1;
            run_with_fault(stage, &[go_event(n)], at, fault).await;
            check(run_of(stage, n).await, &format!("{fault:?} at call {at} of {calls}")).await;
        }
    }
    stage.assert_journals().await;
    stage.assert_within_limits();
}

async fn run_of(stage: &AwsStage, n: u32) -> RunDetail {
    let runs = stage.observing_engine().query().runs_of_event(&format!("go-{n}")).await.expect("listed");
    assert_eq!(runs.len(), 1, "{n}");
    stage.observing_engine().query().run(runs[0].run).await.expect("a run")
}

fn number_of(run: &RunDetail) -> u32 {
    run.event.external_id.as_deref().and_then(|id| id.strip_prefix("go-")?.parse().ok()).expect("go-N")
}

#[tokio::test]
async fn a_poll_repeats_its_check_until_it_has_a_value_under_any_loss() {
    let account = ExecutionLog::default();
    let mine = account.clone();
    let function = Function::new("polls", move |ctx: Context, event: Event<GoEvent>| {
        let account = mine.clone();
        async move {
            let check = async || Ok(Some(account.body(event.data.n, "check").await).filter(|checks| *checks == 4));
            ctx.poll_until("ready", check).every(MINUTE).timeout(10 * MINUTE).await
        }
    });
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![function]).await;
    at_each_call(&stage, &BOTH, async |run, what| {
        assert_eq!(run.summary.status, Status::Completed, "{what}");
        assert_eq!(run.summary.output.as_ref().map(|output| output.get()), Some("4"), "{what}");
        assert_eq!(account.counts_of_run(number_of(&run))["check"], 4, "{what}");
    })
    .await;
}

#[tokio::test]
async fn each_step_is_compensated_once_under_any_loss() {
    let account = ExecutionLog::default();
    let mine = account.clone();
    let function = Function::new("trip", move |ctx: Context, event: Event<GoEvent>| {
        let account = mine.clone();
        async move {
            let n = event.data.n;
            for (book, cancel) in [("flight", "no flight"), ("hotel", "no hotel")] {
                let undoes = account.clone();
                ctx.step(book, async || Ok(account.body(n, book).await))
                    .undo(async move |_| {
                        undoes.body(n, cancel).await;
                        Ok(())
                    })
                    .await?;
            }
            ctx.step("pay", async || -> Result<()> { Err(Error::terminal("refused")) }).await
        }
    });
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![function]).await;
    at_each_call(&stage, &BOTH, async |run, what| {
        let said = run.summary.error.as_ref().map(|error| &*error.message);
        assert_eq!((run.summary.status, said), (Status::Failed, Some("refused")), "{what}");
        let of = account.counts_of_run(number_of(&run));
        assert!(of.len() == 4 && of.values().all(|times| *times == 1), "{what}: {of:?}");
    })
    .await;
}

#[derive(Serialize, Deserialize)]
struct ItemEvent {
    n: u32,
    of: u32,
}

impl EventData for ItemEvent {
    const NAME: &'static str = "shop/item";
    const NAMES: &'static [&'static str] = &[];
}

#[tokio::test]
async fn each_item_of_a_map_executes_its_steps_once_under_any_loss() {
    let account = ExecutionLog::default();
    let mine = account.clone();
    let function = Function::new("maps", move |ctx: Context, event: Event<GoEvent>| {
        let account = mine.clone();
        async move {
            let of = event.data.n;
            let map = ctx.map_steps("item", 0..3_u64, async |ctx: Context, n| {
                let name = format!("item {n}");
                ctx.step("read", async || Ok(account.body(of, &name).await)).await?;
                ctx.sleep("a while", Duration::from_secs(60 - 10 * n)).await?;
                if n == 1 { Err(Error::terminal("refused")) } else { Ok(n) }
            });
            map.named(|n| format!("n{n}")).limit(2).tolerated_failure_percentage(34.0).await
        }
    });
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![function]).await;
    at_each_call(&stage, &BOTH, async |run, what| {
        assert_eq!(run.summary.output.as_ref().map(|output| output.get()), Some("[0,2]"), "{what}");
        let of = account.counts_of_run(number_of(&run));
        assert!(of.len() == 3 && of.values().all(|times| *times == 1), "{what}: {of:?}");
    })
    .await;
}

#[tokio::test]
async fn a_map_of_32_mib_with_nulls_keeps_what_fits() {
    const MIB: usize = 1024 * 1024;
    let function = Function::new("maps", async |ctx: Context, _: Event<GoEvent>| {
        let map = ctx.map_steps("item", 0..14, async |ctx: Context, n| {
            let value = || (n % 3 != 2).then(|| "x".repeat(4 * MIB - 2));
            ctx.step("value", async || Ok(value())).await.map(|value| value.map(|value| value.len()))
        });
        let results = map.limit(1).results().await?;
        let refused = results.failures().filter(|(_, error)| error.code() == Some("too-large")).count();
        Ok((refused, results.into_values()))
    });
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![function]).await;
    run_with_fault(&stage, &[go_event(0)], usize::MAX, &AwsFault::Pass).await;
    let run = run_of(&stage, 0).await;
    let n = 4 * MIB - 2;
    // with the nulls, an eighth value of 4 MiB does not fit
    let expected = format!("[3,[{n},{n},null,{n},{n},null,{n},{n},null,{n},null]]");
    assert_eq!(run.summary.output.as_ref().map(|output| output.get()), Some(&*expected), "{:?}", run.summary.error);
}

#[tokio::test]
async fn started_steps_keep_their_outcomes_under_any_loss() {
    let function = Function::new("starts", async |ctx: Context, _: Event<GoEvent>| {
        let never = ctx.wait_for_event::<ShopEvent>("never").timeout(MINUTE).start();
        let sleep = ctx.sleep("a while", 2 * MINUTE).start();
        ctx.step("own", async || Ok(())).await?;
        ctx.sleep("longer", 3 * MINUTE).await?;
        sleep.await?;
        Ok(never.await?.is_none())
    });
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![function]).await;
    at_each_call(&stage, &BOTH, async |run, what| {
        assert_eq!(run.summary.output.as_ref().map(|output| output.get()), Some("true"), "{what}");
        assert_eq!(run.steps.len(), 4, "{what}");
    })
    .await;
}

#[tokio::test]
async fn a_map_of_runs_returns_the_results_in_order_under_any_lost_reply() {
    let account = ExecutionLog::default();
    let theirs = account.clone();
    let maps = Function::new("maps", async |ctx: Context, event: Event<GoEvent>| {
        let items = (0..3).map(|n| ItemEvent { n, of: event.data.n });
        let results = ctx.map_runs::<u32, _>("item", "double", items).named(|item| item.n).limit(2).results().await?;
        Ok(results.into_iter().map(|item| item.result.into_value().unwrap_or(99)).collect::<Vec<_>>())
    });
    let double = Function::new("double", move |ctx: Context, event: Event<ItemEvent>| {
        let account = theirs.clone();
        async move {
            let ItemEvent { n, of } = event.data;
            ctx.step("double", async || {
                account.body(of, &format!("item {n}")).await;
                if n == 1 { Err(Error::terminal("refused")) } else { Ok(2 * n) }
            })
            .await
        }
    });
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![maps, double]).await;
    at_each_call(&stage, &[AwsFault::LoseReply], async |run, what| {
        let output = run.summary.output.as_ref().map(|output| output.get());
        let facts = stage.facts(run.summary.run).await;
        assert_eq!(output, Some("[0,99,4]"), "{what}: {:?} {facts:#?}", run.waiting);
        let of = account.counts_of_run(number_of(&run));
        assert!(of.len() == 3 && of.values().all(|times| *times == 1), "{what}: {of:?}");
    })
    .await;
}

#[tokio::test]
async fn a_log_line_and_usage_are_recorded_once_under_any_loss() {
    let function = Function::new("says", async |ctx: Context, _: Event<GoEvent>| {
        ctx.log("begun");
        ctx.step("ask", async || {
            ctx.log("asks");
            record_usage(Usage::new("m").input_tokens(3).output_tokens(4));
            Ok(())
        })
        .await?;
        ctx.sleep("a minute", MINUTE).await?;
        ctx.log("done");
        Ok(())
    });
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![function]).await;
    at_each_call(&stage, &BOTH, async |run, what| {
        let lines: Vec<_> = run.logs.iter().map(|log| &*log.line.message).collect();
        assert_eq!(lines, ["begun", "asks", "done"], "{what}");
        let used: Vec<_> = run.steps[0].usage.iter().map(|usage| (usage.input_tokens, usage.output_tokens)).collect();
        assert_eq!(used, [(3, 4)], "{what}");
    })
    .await;
}

#[tokio::test]
async fn the_winner_of_a_race_stays_the_winner_under_any_loss() {
    let function = Function::new("races", async |ctx: Context, _: Event<GoEvent>| {
        let first = tokio::select! {
            out = ctx.sleep("short", MINUTE) => out.map(|()| "short"),
            out = ctx.sleep("long", 5 * MINUTE) => out.map(|()| "long"),
            out = ctx.wait_for_event::<ShopEvent>("event").timeout(10 * MINUTE) => out.map(|_| "event"),
        }?;
        // sleeps long enough for the other events to arrive
        ctx.sleep("on", 14 * MINUTE).await?;
        Ok(first)
    });
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![function]).await;
    at_each_call(&stage, &BOTH, async |run, what| {
        assert_eq!(run.summary.output.as_ref().map(|output| output.get()), Some("\"short\""), "{what}");
    })
    .await;
}

/// One called run is cancelled with its caller, and the other is not. The caller is cancelled while
/// both are sleeping.
#[tokio::test]
async fn a_called_run_is_cancelled_with_its_caller_under_any_lost_reply() {
    let input = |n: u32| serde_json::json!({"n": n, "of": 0});
    let calls = Function::new("calls", move |ctx: Context, _: Event<GoEvent>| async move {
        let bound = ctx.invoke::<u32>("bound", "sleeper", &input(1)).cancelled_with_run();
        let free = ctx.invoke::<u32>("free", "sleeper", &input(2));
        futures::try_join!(bound, free).map(drop)
    });
    let sleeper = Function::new("sleeper", async |ctx: Context, event: Event<ItemEvent>| {
        ctx.sleep("a while", 10 * MINUTE).await?;
        Ok(event.data.n)
    });
    let stage = AwsStage::new(SdkRetryMode::Tells, vec![calls, sleeper]).await;
    let cancelled = async |n: u32, at: usize, fault: &AwsFault| {
        let engine = stage.engine();
        stage.send(&engine, &go_event(n)).await;
        for _ in 0..3 {
            for delivery in stage.receive_now().await {
                assert!(stage.invoke(&engine, delivery).await);
            }
        }
        let (run, calls) = (run_of(&stage, n).await.summary.run, set_fault(&stage, at, fault));
        // without a response, the caller repeats the request
        while engine.control().cancel(run, "by hand").await.is_err() {}
        stage.settle(|| engine.clone()).await;
        let what = format!("{fault:?} at call {at}");
        assert_eq!(run_of(&stage, n).await.summary.status, Status::Cancelled, "{what}");
        let mut ends = Vec::new();
        for (_, entry) in stage.observing_engine().query().journal(run, 0, 100).await.expect("a journal").entries {
            if let Fact::InvokeStarted { child, .. } = entry.fact {
                ends.push(stage.observing_engine().query().run(child).await.expect("a called run").summary.status);
            }
        }
        assert_eq!(ends, [Status::Cancelled, Status::Completed], "{what}");
        calls.load(Ordering::SeqCst)
    };
    let calls = cancelled(0, usize::MAX, &AwsFault::Pass).await;
    assert!(calls > 8, "{calls}");
    for at in 0..calls {
        cancelled(at as u32 + 1, at, &AwsFault::LoseReply).await;
    }
    stage.assert_journals().await;
    stage.assert_within_limits();
}
