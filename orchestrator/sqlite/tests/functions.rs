//! Functions on a data file that is closed and reopened after each hop. Compensations, polling,
//! maps of runs and races must continue after each reopening.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use stepladder_core::{NewEvent, RunId, Status, Timestamp, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Delivery, Queue};
use stepladder_engine::view::RunDetail;
use stepladder_engine::{Config, Engine, RunFilter};
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::{SharedData, compile};
use stepladder_sdk::{Usage, record_usage};
use stepladder_sqlite::{Sqlite, SqliteOptions};
use stepladder_testkit::clock::{SeededEntropy, VirtualClock};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

#[derive(Serialize, Deserialize)]
struct RequestedEvent {}

impl EventData for RequestedEvent {
    const NAME: &'static str = "test/asked";
}

/// A record of what the bodies did, in order.
type ActionLog = Arc<Mutex<Vec<String>>>;

/// A process that opens the data file and executes at most one hop.
struct TestProcess {
    engine: Engine,
    sqlite: Arc<Sqlite>,
}

impl TestProcess {
    fn start(path: &Path, clock: &Arc<VirtualClock>, functions: Vec<Function>, ledger: &ActionLog) -> Self {
        let sqlite = Arc::new(Sqlite::open(path, SqliteOptions { clock: clock.clone() }).expect("a data file"));
        let mut data = SharedData::default();
        data.insert(ledger.clone());
        let compiled = functions.into_iter().flat_map(|f| compile(f, &data).expect("a function")).collect();
        let config = Config::default();
        let entropy = Arc::new(SeededEntropy::new(clock.now().as_millis() as u64));
        let engine = Engine::with_ports(sqlite.clone(), clock.clone(), entropy, compiled, config).expect("an engine");
        Self { engine, sqlite }
    }

    /// Sends the event of the functions, and returns the run that it creates.
    async fn start_run(&self) -> RunId {
        let event = NewEvent::new(RequestedEvent::NAME, json::to_json(&RequestedEvent {}).expect("JSON"));
        let id = self.engine.intake().ingest(vec![event], None).await.expect("accepted")[0];
        self.engine.query().runs_of_event(&id.to_string()).await.expect("a run")[0].run
    }

    async fn receive_due(&self) -> Vec<Delivery> {
        let receive = self.sqlite.receive(1, Duration::from_secs(150));
        futures::pin_mut!(receive);
        match futures::poll!(receive) {
            Poll::Ready(received) => received.expect("a queue"),
            Poll::Pending => Vec::new(),
        }
    }
}

/// Runs a function to its end, with a new process for each hop. Returns the run's status and error,
/// and the number of processes.
async fn run(functions: fn() -> Vec<Function>, ledger: &ActionLog) -> (Status, Option<String>, u32) {
    let (detail, _, processes) = run_with(functions, ledger, async |_, _, _| ()).await;
    (detail.summary.status, detail.summary.error.map(|error| error.message), processes)
}

/// Runs a function to its end, with a new process for each hop. Calls `before_hop` with the number
/// of the process before each hop. Returns the run, the statuses of all other runs, and the number
/// of processes until all runs have ended.
async fn run_with(
    functions: fn() -> Vec<Function>,
    ledger: &ActionLog,
    before_hop: impl AsyncFn(&Engine, RunId, u32),
) -> (RunDetail, Vec<Status>, u32) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dev.db");
    let clock = Arc::new(VirtualClock::new(NOW));
    let first = TestProcess::start(&path, &clock, functions(), ledger);
    let run = first.start_run().await;
    drop(first);
    settle(&path, &clock, run, (functions, ledger), before_hop).await
}

/// Like `run_with`, for a run that has been created.
async fn settle(
    path: &Path,
    clock: &Arc<VirtualClock>,
    run: RunId,
    (functions, ledger): (fn() -> Vec<Function>, &ActionLog),
    before_hop: impl AsyncFn(&Engine, RunId, u32),
) -> (RunDetail, Vec<Status>, u32) {
    for processes in 1..500 {
        let process = TestProcess::start(path, clock, functions(), ledger);
        before_hop(&process.engine, run, processes).await;
        let all = process.engine.query().runs(RunFilter::default()).await.expect("a listing").runs;
        if all.iter().all(|run| run.status.is_end()) {
            let mut others: Vec<_> = all.iter().filter(|one| one.run != run).map(|run| run.status).collect();
            others.sort_by_key(Status::to_string);
            return (process.engine.query().run(run).await.expect("the run"), others, processes);
        }
        process.engine.sweep().await.expect("a sweep");
        match process.receive_due().await.pop() {
            Some(delivery) => process.engine.hop(delivery).await.expect("a hop"),
            None => clock.advance(Duration::from_secs(15)),
        }
    }
    panic!("the runs do not end");
}

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
    let first = TestProcess::start(&path, &clock, pays(), &ledger);
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
        let results = ctx.map_runs::<usize, _>("item", "double", items).limit(3).results().await;
        let texts: Vec<String> =
            results.iter().map(|r| r.as_ref().map_or("refused".into(), ToString::to_string)).collect();
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

fn multi_step_maps() -> Vec<Function> {
    async fn maps(ctx: Context, _: Event<RequestedEvent>) -> Result<Vec<usize>> {
        let ledger = ctx.data::<ActionLog>()?;
        let map = ctx.map_steps("item", 0..8, async |ctx: Context, n: usize| {
            let log = async |what: &str| {
                ledger.lock().unwrap().push(format!("{what} {n}"));
                Ok(())
            };
            ctx.step("read", || log("read")).await?;
            ctx.sleep("a while", Duration::from_secs(60 * (8 - n as u64))).await?;
            ctx.step("write", || log("write")).await?;
            if n % 4 == 3 { Err(Error::terminal("refused")) } else { Ok(2 * n) }
        });
        map.named(|n| format!("n{n}")).limit(3).tolerated_failures(2).await
    }
    vec![Function::new("maps", maps)]
}

#[tokio::test]
async fn a_map_of_several_steps_continues_across_processes() {
    let ledger = ActionLog::default();
    let (run, _, processes) = run_with(multi_step_maps, &ledger, async |_, _, _| ()).await;
    assert_eq!(run.summary.output.as_ref().map(|output| output.get()), Some("[0,2,4,8,10,12]"));
    assert!(processes > 24, "{processes}: three hops for each item");
    let done = ledger.lock().unwrap().clone();
    assert_eq!((done.len(), done.iter().collect::<std::collections::HashSet<_>>().len()), (16, 16), "each once");
    assert_eq!(done[0], "read 0");
    assert!(run.steps.iter().any(|step| &*step.id == "item/n7/a while"));
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
