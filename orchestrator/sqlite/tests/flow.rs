//! Flow control on a data file that is closed and reopened after each hop. Flow state, collected
//! events, slots and tickets must survive.

use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use stepladder_core::{NewEvent, Status, Timestamp, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::Queue;
use stepladder_engine::view::RunSummary;
use stepladder_engine::{Config, Engine, RunFilter};
use stepladder_sdk::prelude::*;
use stepladder_sdk::runtime::{SharedData, compile};
use stepladder_sqlite::{Sqlite, SqliteOptions};
use stepladder_testkit::clock::{SeededEntropy, VirtualClock};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

#[derive(Serialize, Deserialize)]
struct JobEvent {
    n: u32,
}

impl EventData for JobEvent {
    const NAME: &'static str = "job/asked";
}

/// A handler with two steps and a sleep between them.
async fn working_handler(ctx: Context, event: Event<JobEvent>) -> Result<u32> {
    ctx.step("first", async || Ok(())).await?;
    ctx.sleep("a while", 40 * SECOND).await?;
    ctx.step("last", async || Ok(event.data.n)).await
}

async fn collecting_handler(ctx: Context, events: Vec<Event<JobEvent>>) -> Result<Vec<u32>> {
    ctx.step("gather", async || Ok(events.iter().map(|event| event.data.n).collect())).await
}

fn process(path: &Path, clock: &Arc<VirtualClock>, function: Function) -> (Engine, Arc<Sqlite>) {
    let sqlite = Arc::new(Sqlite::open(path, SqliteOptions { clock: clock.clone() }).expect("a data file"));
    let compiled = compile(function, &SharedData::default()).expect("a function");
    let config = Config::default();
    let entropy = Arc::new(SeededEntropy::new(clock.now().as_millis() as u64));
    let engine = Engine::with_ports(sqlite.clone(), clock.clone(), entropy, compiled, config).expect("an engine");
    (engine, sqlite)
}

/// Sends events five seconds apart, then executes hops until all runs have ended. Each event and
/// each hop has a process of its own. Returns the runs in the order of their events, and the
/// highest number of runs that were live at the same time.
async fn run_across_restarts(function: fn() -> Function, events: u32) -> (Vec<RunSummary>, usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dev.db");
    let clock = Arc::new(VirtualClock::new(NOW));
    for n in 0..events {
        send(&path, &clock, function(), &JobEvent { n }).await;
    }
    settle(&path, &clock, function).await
}

/// Opens the data file in a new process, sends an event there, and advances the clock by five
/// seconds.
async fn send<T: EventData + Serialize>(path: &Path, clock: &Arc<VirtualClock>, function: Function, data: &T) {
    let (engine, _sqlite) = process(path, clock, function);
    let event = NewEvent::new(T::NAME, json::to_json(data).expect("JSON"));
    engine.intake().ingest(vec![event], None).await.expect("accepted");
    clock.advance(5 * SECOND);
}

async fn settle(path: &Path, clock: &Arc<VirtualClock>, function: fn() -> Function) -> (Vec<RunSummary>, usize) {
    let mut most = 0;
    for _ in 0..500 {
        let (engine, sqlite) = process(path, clock, function());
        let mut runs = engine.query().runs(RunFilter::default()).await.expect("a listing").runs;
        most = most.max(runs.iter().filter(|run| run.status == Status::Running).count());
        if runs.iter().all(|run| run.status.is_end()) {
            runs.sort_by_key(|run| run.event);
            let mut full = Vec::new();
            for run in runs {
                full.push(engine.query().run(run.run).await.expect("a run").summary);
            }
            return (full, most);
        }
        engine.sweep().await.expect("a sweep");
        let receive = sqlite.receive(1, Duration::from_secs(150));
        futures::pin_mut!(receive);
        match futures::poll!(receive) {
            Poll::Ready(received) => {
                let delivery = received.expect("a queue").pop().expect("a wake");
                engine.hop(delivery).await.expect("a hop");
            }
            Poll::Pending => clock.advance(5 * SECOND),
        }
    }
    panic!("the runs do not end");
}

/// Returns the output of each run, or the run's status if it has no output.
fn outputs(runs: &[RunSummary]) -> Vec<String> {
    let output =
        |run: &RunSummary| run.output.as_ref().map_or_else(|| format!("{:?}", run.status), |o| o.get().to_owned());
    runs.iter().map(output).collect()
}

#[tokio::test]
async fn a_limit_on_runs_survives_restarts() {
    let (runs, most) =
        run_across_restarts(|| Function::new("f", working_handler).concurrency(Concurrency::runs(2)), 5).await;
    assert_eq!((outputs(&runs), most), (["0", "1", "2", "3", "4"].map(String::from).to_vec(), 2));
    let (_, most) = run_across_restarts(|| Function::new("f", working_handler), 5).await;
    assert!(most > 2, "without a limit only {most} runs ran at once, so this test shows nothing");
}

#[tokio::test]
async fn a_throttle_and_a_rate_limit_survive_restarts() {
    let (runs, _) =
        run_across_restarts(|| Function::new("f", working_handler).throttle(Rate::new(1, 60 * SECOND)), 3).await;
    assert!(are_spaced(&runs, 60 * SECOND), "also after a late first run");
    let (runs, _) =
        run_across_restarts(|| Function::new("f", working_handler).rate_limit(Rate::new(1, 60 * SECOND)), 3).await;
    assert_eq!(outputs(&runs), ["0", "Skipped", "Skipped"]);
}

#[tokio::test]
async fn a_batch_and_a_debounce_survive_restarts() {
    let (runs, _) =
        run_across_restarts(|| Function::batch("f", Batch::new(3, 60 * SECOND), collecting_handler), 4).await;
    assert_eq!(outputs(&runs), ["[0,1,2]", "[3]"]);
    let (runs, _) =
        run_across_restarts(|| Function::new("f", working_handler).debounce(Debounce::new(8 * SECOND)), 4).await;
    assert_eq!(outputs(&runs), ["3"]);
}

#[tokio::test]
async fn a_singleton_and_an_idempotency_key_survive_restarts() {
    let (runs, _) = run_across_restarts(|| Function::new("f", working_handler).singleton(Singleton::skip()), 3).await;
    assert_eq!(outputs(&runs), ["0", "Skipped", "Skipped"]);
    let (runs, _) =
        run_across_restarts(|| Function::new("f", working_handler).singleton(Singleton::replace()), 3).await;
    assert_eq!(outputs(&runs), ["Cancelled", "Cancelled", "2"]);
    let (runs, _) = run_across_restarts(|| Function::new("f", working_handler).idempotency("'one'"), 3).await;
    assert_eq!(outputs(&runs), ["0"]);
}

#[tokio::test]
async fn a_deadline_to_finish_survives_restarts() {
    let (runs, _) =
        run_across_restarts(|| Function::new("f", working_handler).timeouts(Timeouts::new().finish(20 * SECOND)), 1)
            .await;
    assert_eq!(outputs(&runs), ["Cancelled"]);
    assert!(runs[0].error.as_ref().expect("a reason").message.contains("had not ended"), "{:?}", runs[0].error);
}

#[tokio::test]
async fn an_event_cancels_a_run_of_an_earlier_process() {
    #[derive(Serialize, Deserialize)]
    struct StopEvent {
        n: u32,
    }
    impl EventData for StopEvent {
        const NAME: &'static str = "job/stopped";
    }
    let function = || Function::new("f", working_handler).cancel_on(CancelOn::event::<StopEvent>().matching("n"));
    let folder = tempfile::tempdir().expect("a folder");
    let (path, clock) = (folder.path().join("dev.db"), Arc::new(VirtualClock::new(NOW)));
    for n in 0..3 {
        send(&path, &clock, function(), &JobEvent { n }).await;
    }
    send(&path, &clock, function(), &StopEvent { n: 1 }).await;
    let (runs, _) = settle(&path, &clock, function).await;
    assert_eq!(outputs(&runs), ["0", "Cancelled", "2"]);
}

#[tokio::test]
async fn the_events_of_a_request_are_applied_in_order() {
    #[derive(Serialize, Deserialize)]
    struct StopEvent {
        n: u32,
    }
    impl EventData for StopEvent {
        const NAME: &'static str = "job/stopped";
    }
    let event = |name: &str, n: u32| NewEvent::new(name, json::to_json(&JobEvent { n }).expect("JSON"));
    let functions = [
        Function::new("f", working_handler).throttle(Rate::new(25, SECOND)),
        Function::new("f", working_handler).singleton(Singleton::replace()).cancel_on(CancelOn::event::<StopEvent>()),
    ];
    for (function, statuses) in functions.into_iter().zip([[150, 0], [1, 149]]) {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, clock) = (folder.path().join("dev.db"), Arc::new(VirtualClock::new(NOW)));
        let (engine, _sqlite) = process(&path, &clock, function);
        let mut events: Vec<_> = (0..150).map(|n| event(JobEvent::NAME, n)).collect();
        // the 149th event cancels the runs of all events before it, but not the run of the last
        // event
        events.insert(149, event(StopEvent::NAME, 0));
        engine.intake().ingest(events, None).await.expect("accepted");
        let filter = RunFilter { limit: Some(500), ..RunFilter::default() };
        let runs = engine.query().runs(filter).await.expect("a listing").runs;
        let count = |status| runs.iter().filter(|run| run.status == status).count();
        assert_eq!([count(Status::Scheduled), count(Status::Cancelled)], statuses);
    }
}

#[tokio::test]
async fn a_start_at_a_later_time_survives_restarts() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, clock) = (folder.path().join("dev.db"), Arc::new(VirtualClock::new(NOW)));
    let data = json::to_json(&JobEvent { n: 1 }).expect("JSON");
    let event = NewEvent::new(JobEvent::NAME, data).with_ts(NOW + 1_800 * SECOND);
    process(&path, &clock, Function::new("f", working_handler))
        .0
        .intake()
        .ingest(vec![event], None)
        .await
        .expect("accepted");
    let (runs, _) = settle(&path, &clock, || Function::new("f", working_handler)).await;
    assert_eq!((outputs(&runs), runs[0].started_at.expect("a start").since(NOW)), (vec!["1".into()], 1_800 * SECOND));
}

#[tokio::test]
async fn each_tick_starts_one_run_across_restarts() {
    async fn tick_handler(ctx: Context, _: Event<Tick>) -> Result<()> {
        ctx.step("work", async || Ok(())).await
    }
    let function = || Function::new("f", tick_handler).cron("*/5 * * * *");
    let folder = tempfile::tempdir().expect("a folder");
    let (path, clock) = (folder.path().join("dev.db"), Arc::new(VirtualClock::new(NOW)));
    // 20 minutes from 22:13:20 on, in steps of five seconds
    for _ in 0..240 {
        let (engine, sqlite) = process(&path, &clock, function());
        engine.sweep().await.expect("a sweep");
        let receive = sqlite.receive(1, Duration::from_secs(150));
        futures::pin_mut!(receive);
        if let Poll::Ready(received) = futures::poll!(receive) {
            engine.hop(received.expect("a queue").pop().expect("a wake")).await.expect("a hop");
        }
        clock.advance(5 * SECOND);
    }
    let runs = process(&path, &clock, function()).0.query().runs(RunFilter::default()).await.expect("a listing").runs;
    let mut created: Vec<i64> = runs.iter().map(|run| run.created_at.as_millis() / 1_000 % 3_600).collect();
    created.sort_unstable();
    assert_eq!(created, [15 * 60, 20 * 60, 25 * 60, 30 * 60]);
    assert!(runs.iter().all(|run| run.status == Status::Completed));
}

#[tokio::test]
async fn a_run_with_priority_starts_before_earlier_runs() {
    // each event arrives five seconds after the previous one, and has ten seconds more priority
    let function =
        || Function::new("f", working_handler).concurrency(Concurrency::runs(1)).priority("event.data.n * 10");
    let (runs, most) = run_across_restarts(function, 4).await;
    let mut order: Vec<_> = runs.iter().map(|run| (run.started_at, run.event)).collect();
    order.sort_unstable();
    let positions: Vec<usize> =
        order.iter().filter_map(|(_, event)| runs.iter().position(|run| run.event == *event)).collect();
    // all events arrive before the first hop
    assert_eq!((positions, most), (vec![3, 2, 1, 0], 1));
}

#[tokio::test]
async fn a_pause_survives_restarts() {
    let function = || Function::new("f", working_handler);
    let folder = tempfile::tempdir().expect("a folder");
    let (path, clock) = (folder.path().join("dev.db"), Arc::new(VirtualClock::new(NOW)));
    let paused = process(&path, &clock, function()).0.functions().pause("f").await.expect("paused");
    send(&path, &clock, function(), &JobEvent { n: 7 }).await;
    for _ in 0..3 {
        let (engine, sqlite) = process(&path, &clock, function());
        let receive = sqlite.receive(1, Duration::from_secs(150));
        futures::pin_mut!(receive);
        if let Poll::Ready(received) = futures::poll!(receive) {
            engine.hop(received.expect("a queue").pop().expect("a wake")).await.expect("a hop");
        }
        clock.advance(60 * SECOND);
    }
    let (engine, sqlite) = process(&path, &clock, function());
    let waits = engine.query().runs(RunFilter::default()).await.expect("a listing").runs;
    assert_eq!((paused, waits[0].status), (true, Status::Scheduled));
    assert_eq!(engine.functions().resume("f").await.expect("resumed"), 1);
    drop((engine, sqlite));
    let (runs, _) = settle(&path, &clock, function).await;
    assert_eq!(outputs(&runs), ["7"]);
}

/// Returns whether any two starts are at least `period` apart.
fn are_spaced(runs: &[RunSummary], period: Duration) -> bool {
    let mut started: Vec<Timestamp> = runs.iter().map(|run| run.started_at.expect("a start")).collect();
    started.sort_unstable();
    started.windows(2).all(|pair| pair[1].since(pair[0]) >= period)
}

#[tokio::test]
async fn rule_32_a_throttle_holds_after_downtime() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dev.db");
    let clock = Arc::new(VirtualClock::new(NOW));
    let function = || Function::new("f", working_handler).throttle(Rate::new(1, 60 * SECOND));
    for n in 0..4 {
        send(&path, &clock, function(), &JobEvent { n }).await;
    }
    clock.advance(3_600 * SECOND);
    let (runs, _) = settle(&path, &clock, function).await;
    assert_eq!(outputs(&runs), ["0", "1", "2", "3"]);
    assert!(are_spaced(&runs, 60 * SECOND));
    assert!(runs[3].started_at.expect("a start").since(NOW) < (3_600 + 300) * SECOND, "and no run waits longer");
}
