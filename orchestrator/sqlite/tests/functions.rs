//! Functions on a data file that is closed and reopened after each hop. Compensations, polling,
//! maps of runs and races must continue after each reopening.

mod processes;

use std::sync::Arc;
use std::time::Duration;

use processes::{ActionLog, NOW, RequestedEvent, TestProcess, run, run_with, settle};
use stepladder_core::{RunId, Status};
use stepladder_engine::{Engine, Pace};
use stepladder_sdk::prelude::*;
use stepladder_sdk::{Usage, record_usage};
use stepladder_testkit::clock::VirtualClock;
fn trip() -> Vec<Function> {
    async fn trip(ctx: Context, _: Event<RequestedEvent>) -> Result<()> {
        let ledger = ctx.data::<ActionLog>()?.clone();
        for item in ["flight", "hotel"] {
            let (booked, cancelled) = (ledger.clone(), ledger.clone());
            ctx.step(item, async move || {
                booked.lock().unwrap().push(format!("book {item}"));
                Ok(())
            })
            .undo(async move |()| {
                cancelled.lock().unwrap().push(format!("cancel {item}"));
                Ok(())
            })
            .await?;
        }
        ctx.step("pay", async || -> Result<()> { Err(Error::terminal("refused")) }).await
    }
    vec![Function::new("trip", trip)]
}

#[tokio::test]
async fn a_failed_run_is_compensated_once_across_processes() {
    let ledger = ActionLog::default();
    let (status, error, processes) = run(trip, &ledger).await;
    assert_eq!((status, error.as_deref()), (Status::Failed, Some("refused")));
    assert!(processes > 6, "{processes}: a hop for each of the three steps and each compensation");
    assert_eq!(*ledger.lock().unwrap(), ["book flight", "book hotel", "cancel hotel", "cancel flight"]);
}

fn pays() -> Vec<Function> {
    async fn pays(ctx: Context, _: Event<RequestedEvent>) -> Result<String> {
        let ledger = ctx.data::<ActionLog>()?;
        let pay = async || -> Result<()> {
            ledger.lock().unwrap().push("pay".into());
            std::future::pending().await
        };
        let paid = ctx.step("pay", pay).at_most_once().await;
        Ok(paid.err().and_then(|error| error.code().map(str::to_owned)).unwrap_or_default())
    }
    vec![Function::new("pays", pays)]
}

#[tokio::test]
async fn a_step_that_starts_at_most_once_is_not_repeated_by_the_next_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, clock, ledger) = (folder.path().join("dev.db"), Arc::new(VirtualClock::new(NOW)), ActionLog::default());
    let first = TestProcess::start(&path, &clock, (pays, &ledger), Pace::StepPerInvocation);
    let run = first.start_run().await;
    let delivery = first.receive_due().await.pop().expect("a wake");
    let begun = async {
        while ledger.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = first.engine.hop(delivery) => panic!("the body does not end"),
        () = begun => {}
    }
    drop(first);
    clock.advance(Duration::from_secs(1));
    let (run, _, processes) = settle(&path, &clock, run, (pays, &ledger), async |_, _, _| ()).await;
    assert_eq!(run.summary.output.as_ref().map(|output| output.get()), Some("\"outcome-unknown\""));
    assert_eq!((ledger.lock().unwrap().len(), processes), (1, 2), "at once, because no other process can live");
}

fn waits() -> Vec<Function> {
    async fn waits(ctx: Context, _: Event<RequestedEvent>) -> Result<usize> {
        let ledger = ctx.data::<ActionLog>()?;
        let check = async || {
            let mut checks = ledger.lock().unwrap();
            checks.push("check".into());
            Ok(Some(checks.len()).filter(|checks| *checks == 20))
        };
        ctx.poll_until("ready", check).every(Duration::from_secs(60)).timeout(Duration::from_secs(3_600)).await
    }
    vec![Function::new("waits", waits)]
}

#[tokio::test]
async fn polling_continues_across_processes() {
    let ledger = ActionLog::default();
    let (status, error, processes) = run(waits, &ledger).await;
    assert_eq!((status, error), (Status::Completed, None));
    assert!(processes > 20, "{processes}");
    assert_eq!(ledger.lock().unwrap().len(), 20);
}

fn reads() -> Vec<Function> {
    async fn reads(ctx: Context, _: Event<RequestedEvent>) -> Result<u32> {
        let ledger = ctx.data::<ActionLog>()?;
        let check = async |page: u32| {
            ledger.lock().unwrap().push(format!("page {page}"));
            Ok(if page == 5 { Check::Ready(page) } else { Check::NotYet(page + 1) })
        };
        ctx.poll_with_state("log", 1, check).every(Duration::from_secs(60)).await
    }
    vec![Function::new("reads", reads)]
}

#[tokio::test]
async fn the_state_of_a_poll_is_passed_on_across_processes() {
    let ledger = ActionLog::default();
    let (status, error, processes) = run(reads, &ledger).await;
    assert_eq!((status, error), (Status::Completed, None));
    assert!(processes > 5, "{processes}");
    assert_eq!(*ledger.lock().unwrap(), [1, 2, 3, 4, 5].map(|page| format!("page {page}")));
}

#[derive(Serialize, Deserialize)]
struct ItemEvent {
    n: usize,
}

impl EventData for ItemEvent {
    const NAME: &'static str = "test/item";
}

fn maps() -> Vec<Function> {
    async fn maps(ctx: Context, _: Event<RequestedEvent>) -> Result<()> {
        let ledger = ctx.data::<ActionLog>()?;
        let items = (0..12).map(|n| ItemEvent { n });
        let results = ctx.map_runs::<usize, _>("item", "double", items).named(|item| item.n).limit(3).results().await?;
        let values = results.into_iter().map(|item| item.result.into_value());
        let texts: Vec<String> = values.map(|value| value.map_or("refused".into(), |n| n.to_string())).collect();
        ctx.step("report", async || {
            ledger.lock().unwrap().push(texts.join(" "));
            Ok(())
        })
        .await
    }
    async fn double(ctx: Context, event: Event<ItemEvent>) -> Result<usize> {
        let (ledger, n) = (ctx.data::<ActionLog>()?, event.data.n);
        ctx.sleep("a while", Duration::from_secs(60 * (12 - n as u64))).await?;
        ctx.step("double", async || {
            ledger.lock().unwrap().push(format!("double {n}"));
            if n % 5 == 4 { Err(Error::terminal("refused")) } else { Ok(2 * n) }
        })
        .await
    }
    vec![Function::new("maps", maps), Function::new("double", double)]
}

#[tokio::test]
async fn a_map_of_runs_returns_each_result_across_processes() {
    let ledger = ActionLog::default();
    let (status, error, processes) = run(maps, &ledger).await;
    assert_eq!((status, error), (Status::Completed, None));
    assert!(processes > 36, "{processes}: three hops for each item");
    let mut done = ledger.lock().unwrap().clone();
    assert_eq!(done.pop().as_deref(), Some("0 2 4 6 refused 10 12 14 16 refused 20 22"));
    assert_eq!((done.len(), done.iter().collect::<std::collections::HashSet<_>>().len()), (12, 12), "each once");
}

fn starts() -> Vec<Function> {
    async fn starts(ctx: Context, _: Event<RequestedEvent>) -> Result<(usize, bool, usize)> {
        let called = ctx.invoke::<usize>("call", "sleeper", &ItemEvent { n: 3 }).start();
        let item = ctx.wait_for_event::<ItemEvent>("item").timeout(Duration::from_secs(60)).start();
        let sleep = ctx.sleep("a while", Duration::from_secs(300)).start();
        let sent = ctx.send_event("send", ItemEvent { n: 4 }).start();
        for name in ["a", "b"] {
            ctx.step(name, async || Ok(())).await?;
            ctx.sleep(format!("after {name}"), Duration::from_secs(200)).await?;
        }
        sleep.await?;
        let (n, id) = (called.await?, sent.await?);
        let item = item.await?;
        Ok((n, item.as_ref().is_some_and(|item| item.id == id), item.map_or(0, |item| item.data.n)))
    }
    let sleeper = calls().pop().expect("the invoked function");
    vec![Function::new("starts", starts), sleeper]
}

#[tokio::test]
async fn started_steps_keep_their_outcomes_across_processes() {
    let (run, _, processes) = run_with(starts, &ActionLog::default(), async |_, _, _| ()).await;
    assert_eq!(run.summary.output.as_ref().map(|output| output.get()), Some("[3,true,4]"), "{:?}", run.summary.error);
    assert!(processes > 6, "{processes}");
}

fn calls() -> Vec<Function> {
    async fn calls(ctx: Context, _: Event<RequestedEvent>) -> Result<()> {
        let bound = ctx.invoke::<usize>("bound", "sleeper", &ItemEvent { n: 1 }).cancelled_with_run();
        let free = ctx.invoke::<usize>("free", "sleeper", &ItemEvent { n: 2 });
        futures::try_join!(bound, free).map(drop)
    }
    async fn sleeps(ctx: Context, event: Event<ItemEvent>) -> Result<usize> {
        ctx.sleep("a while", Duration::from_secs(600)).await?;
        Ok(event.data.n)
    }
    vec![Function::new("calls", calls), Function::new("sleeper", sleeps)]
}

#[tokio::test]
async fn an_invoked_run_is_cancelled_with_its_parent_across_processes() {
    let cancels = async |engine: &Engine, run: RunId, process: u32| {
        if process == 8 {
            engine.control().cancel(run, "by hand").await.expect("cancelled");
        }
    };
    let (run, invoked, processes) = run_with(calls, &ActionLog::default(), cancels).await;
    assert_eq!(run.summary.status, Status::Cancelled);
    assert_eq!(invoked, [Status::Cancelled, Status::Completed]);
    assert!(processes > 12, "{processes}");
}

fn logs() -> Vec<Function> {
    async fn logs(ctx: Context, _: Event<RequestedEvent>) -> Result<()> {
        ctx.log("begun");
        for step in ["ask", "ask again"] {
            ctx.step(step, async || {
                ctx.log(step);
                record_usage(Usage::new("m").input_tokens(3).output_tokens(4));
                Ok(())
            })
            .await?;
        }
        ctx.sleep("a while", Duration::from_secs(60)).await?;
        ctx.log("done");
        Ok(())
    }
    vec![Function::new("logs", logs)]
}

#[tokio::test]
async fn each_log_line_is_written_once_across_processes() {
    let (run, _, processes) = run_with(logs, &ActionLog::default(), async |_, _, _| ()).await;
    assert!(processes > 4, "{processes}");
    let lines: Vec<_> = run.logs.iter().map(|log| &*log.line.message).collect();
    assert_eq!(lines, ["begun", "ask", "ask again", "done"]);
    let used: Vec<_> = run.steps.iter().flat_map(|step| &step.usage).map(|usage| usage.input_tokens).collect();
    assert_eq!(used, [3, 3]);
}

fn races() -> Vec<Function> {
    async fn races(ctx: Context, _: Event<RequestedEvent>) -> Result<&'static str> {
        let first = tokio::select! {
            out = ctx.sleep("short", Duration::from_secs(60)) => out.map(|()| "short"),
            out = ctx.sleep("long", Duration::from_secs(90)) => out.map(|()| "long"),
            out = ctx.wait_for_event::<ItemEvent>("event") => out.map(|_| "event"),
            out = ctx.invoke::<usize>("call", "sleeper", &ItemEvent { n: 1 }) => out.map(|_| "call"),
        }?;
        // sleeps long enough for the losing branches to end
        ctx.sleep("on", Duration::from_secs(900)).await?;
        ctx.step("report", async || Ok(())).await.map(|()| first)
    }
    let sleeper = calls().pop().expect("the invoked function");
    vec![Function::new("races", races), sleeper]
}

#[tokio::test]
async fn a_race_has_the_same_winner_in_each_process() {
    let (run, invoked, processes) = run_with(races, &ActionLog::default(), async |_, _, _| ()).await;
    assert_eq!(run.summary.output.as_ref().map(|output| output.get()), Some("\"short\""));
    assert_eq!(invoked, [Status::Completed], "the invoked run that lost goes on");
    assert!(processes > 8, "{processes}");
}

fn rendering() -> Vec<Function> {
    async fn render(ctx: Context, _: Event<RequestedEvent>) -> Result<Option<String>> {
        let video = ctx.wait_for_signal::<u32>("video").heartbeat(Duration::from_secs(60));
        Ok(video.await.err().and_then(|error| error.code().map(str::to_owned)))
    }
    vec![Function::new("render", render)]
}

#[tokio::test]
async fn heartbeats_keep_a_wait_open_across_processes_until_they_stop() {
    let posted = std::sync::atomic::AtomicU32::new(0);
    let (detail, _, processes) = run_with(rendering, &ActionLog::default(), async |engine, run, process| {
        // each process after the start moves the clock by 15 s, or executes a hop
        let token = engine.subscriptions().callback_token(run, "video").await.expect("a token");
        if (2..60).contains(&process) {
            engine.subscriptions().heartbeat(&token).await.expect("the wait is open");
            posted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    })
    .await;
    assert_eq!(detail.summary.output.expect("an output").get(), "\"heartbeat-timeout\"");
    assert_eq!((posted.into_inner(), processes > 60), (58, true));
    let took = detail.summary.ended_at.expect("it ended").since(NOW);
    assert!(took > Duration::from_secs(300), "{took:?}");
}
