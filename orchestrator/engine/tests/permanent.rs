//! Permanent errors (rule 34). They are reported, and the wake becomes a dead letter. Metrics count
//! each fact once, even if its wake is repeated.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use stepladder_core::expr::Expr;
use stepladder_core::flow::{Batch, Rate};
use stepladder_core::journal::Fact;
use stepladder_core::spec::Concurrency;
use stepladder_core::{RunId, Status};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{LateWrite, StoreError};
use stepladder_engine::{Engine, RunFilter, Workers};
use stepladder_testkit::intercept::StorageCall;
use support::logged::LogCollector;
use support::refusing::{deliver_times, denied_error, refusing, tearing};
use support::script::{ScriptedFunction, terminal_failure};
use support::{EngineFixture, only_run, spawn_hop, with_gated_step};

/// The number of deliveries after which the queue turns a wake into a dead letter.
const DELIVERIES: usize = 5;

fn is_append(call: &stepladder_testkit::intercept::StorageCall<'_>) -> bool {
    call.commit.is_some_and(|commit| commit.append.is_some())
}

#[tokio::test]
async fn rule_34_a_wake_fails_if_its_workers_writes_are_denied() {
    let errors = LogCollector::for_target("stepladder::permanent");
    let _guard = tracing::subscriber::set_default(errors.clone());
    let script = ScriptedFunction::new("f").step("a", &[]);
    let executed = script.executed();
    let mut world = EngineFixture::new(vec![script.function()]);
    let (backend, refuses) = refusing(&world.memory, |call| is_append(call).then(denied_error));
    let engine = world.engine_on(backend);
    engine.sweep().await.unwrap();
    world.send_event(&engine).await;
    let sends = world.memory.counts().sends;
    assert_eq!(deliver_times(&world, &engine, DELIVERIES).await, [false; DELIVERIES], "each delivery fails");
    assert_eq!(world.memory.counts().sends, sends, "no wake is sent beside the one that fails");
    assert_eq!(errors.count("permanent error doing=\"move a run\""), DELIVERIES, "{:?}", errors.lines());
    assert!(errors.lines()[0].contains("AccessDeniedException"), "{:?}", errors.lines());
    assert_eq!(executed.count_of("a"), 0, "no body is executed if its outcome cannot be written");

    // the error is fixed and the wake has become a dead letter; the watchdog continues the run
    refuses.store(false, SeqCst);
    world.memory.lose_wakes();
    world.clock.advance(Duration::from_secs(2 * 3_600));
    world.settle(&engine).await;
    assert_eq!(engine.query().run(only_run(&engine).await).await.unwrap().summary.status, Status::Completed);
}

#[tokio::test]
async fn rule_34_a_permanent_error_while_sending_a_wake_is_reported() {
    let errors = LogCollector::for_target("stepladder::permanent");
    let _guard = tracing::subscriber::set_default(errors.clone());
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    // reads fail as if the table were throttled, and commits fail as if the queue were deleted
    let (backend, _) = refusing(&world.memory, |call| match call.name {
        "read" => Some(StoreError::Unavailable("throttled".into())),
        "commit" => Some(StoreError::Refused("SendMessage: QueueDoesNotExist".into())),
        _ => None,
    });
    let engine = world.engine();
    world.send_event(&engine).await;
    let engine = world.engine_on(backend);
    assert_eq!(deliver_times(&world, &engine, 1).await, [false]);
    assert_eq!(errors.count("permanent error doing=\"send a wake\""), 1, "{:?}", errors.lines());
}

#[tokio::test]
async fn rule_34_an_unreadable_journal_fails_its_wake_and_no_other() {
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    let broken = only_run(&engine).await;
    let (backend, _) = refusing(&world.memory, move |call| refuse_reads_of(call, broken));
    let engine = world.engine_on(backend);
    assert_eq!(deliver_times(&world, &engine, DELIVERIES).await, [false; DELIVERIES]);
    world.memory.lose_wakes();
    let other = world.send_event(&engine).await;
    world.settle_within(&engine, Duration::from_secs(60)).await;
    assert_eq!(world.status(&engine, other).await, Status::Completed);
}

fn refuse_reads_of(call: &stepladder_testkit::intercept::StorageCall<'_>, run: RunId) -> Option<StoreError> {
    let is_it = call.name == "read" && format!("{:?}", call.arguments).contains(&format!("{run:?}"));
    is_it.then(|| StoreError::Unreadable("record 0: unknown variant `FactOfTomorrow`".into()))
}

#[tokio::test]
async fn rule_34_an_unreadable_run_does_not_stop_the_sweep() {
    let errors = LogCollector::for_target("stepladder::permanent");
    let _guard = tracing::subscriber::set_default(errors.clone());
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    let engine = world.engine();
    engine.sweep().await.unwrap();
    world.send_event(&engine).await;
    let broken = only_run(&engine).await;
    world.clock.advance(Duration::from_secs(600));
    let other = world.send_event(&engine).await;
    world.memory.lose_wakes();
    let (backend, refuses) = refusing(&world.memory, move |call| refuse_reads_of(call, broken));
    let engine = world.engine_on(backend);
    // neither run has had a wake for hours, and the watchdog of the unreadable run is due first
    world.clock.advance(Duration::from_secs(3 * 3_600));
    engine.sweep().await.unwrap();
    assert_eq!(errors.count("permanent error doing=\"visit a run\""), 1, "{:?}", errors.lines());
    support::hop_all(&world.memory, &engine).await;
    assert_eq!(world.status(&engine, other).await, Status::Completed);
    engine.sweep().await.unwrap();
    assert_eq!(errors.count("permanent error"), 1, "the sweep has gone on");

    // the watchdog of the broken run is kept, so the run continues once its journal can be read
    refuses.store(false, SeqCst);
    world.clock.advance(Duration::from_secs(2 * 3_600));
    engine.sweep().await.unwrap();
    support::hop_all(&world.memory, &engine).await;
    assert_eq!(engine.query().run(broken).await.unwrap().summary.status, Status::Completed);
}

/// A queue in this process has no dead letters. Instead, the wake is delayed longer after each
/// failure.
#[tokio::test]
async fn rule_34_a_local_wake_that_meets_a_permanent_error_backs_off() {
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    let full = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let refused = support::slow::on_refusing_disk(world.memory.clone(), full.clone());
    let engine = world.engine_on(refused);
    let healthy = world.engine();
    world.send_event(&healthy).await;
    let mut waits = Vec::new();
    for _ in 0..9 {
        assert_eq!(deliver_times(&world, &engine, 1).await, [true], "the queue delivers it later");
        waits.push(world.memory.next_due().unwrap().since(world.clock.now()).as_secs());
    }
    // the longest delay is the visibility timeout of a delivery
    assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 150, 150]);
    full.store(false, SeqCst);
    world.settle_within(&engine, Duration::from_secs(200)).await;
    assert_eq!(engine.query().run(only_run(&engine).await).await.unwrap().summary.status, Status::Completed);
}

/// A worker must not call a deleted queue every second forever.
#[tokio::test]
async fn rule_34_a_worker_backs_off_from_a_queue_that_refuses() {
    let errors = LogCollector::for_target("stepladder::permanent");
    let _guard = tracing::subscriber::set_default(errors.clone());
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    let (backend, _) = refusing(&world.memory, |call| {
        (call.name == "receive").then(|| StoreError::Refused("ReceiveMessage: QueueDoesNotExist".into()))
    });
    let engine = world.engine_on(backend);
    let workers = Workers::start(engine, 1);
    for _ in 0..600 {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        world.clock.advance(Duration::from_secs(1));
    }
    let asked = errors.count("permanent error doing=\"receive wakes\"");
    workers.stop(Duration::ZERO).await;
    // the worker calls again after 2, 4, 8, 16 and 32 seconds, and then once a minute
    assert!((10..=16).contains(&asked), "asked {asked} times in ten minutes");
}

#[tokio::test]
async fn a_run_is_counted_as_started_once_however_often_its_writes_fail() {
    let logged = LogCollector::for_target("stepladder::run");
    let _guard = tracing::subscriber::set_default(logged.clone());
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    let (backend, refuses) = refusing(&world.memory, |call| is_append(call).then(denied_error));
    let engine = world.engine_on(backend);
    world.send_event(&engine).await;
    deliver_times(&world, &engine, 4).await;
    assert_eq!(logged.lines(), [] as [String; 0], "nothing was written, so nothing has happened");
    refuses.store(false, SeqCst);
    world.settle(&engine).await;
    let counts = ["run started", "step started", "step succeeded", "run ended"].map(|of| logged.count(of));
    assert_eq!(counts, [1, 1, 1, 1], "{:?}", logged.lines());
}

#[tokio::test]
async fn an_outcome_is_counted_once_when_it_is_written() {
    let logged = LogCollector::for_target("stepladder::run");
    let _guard = tracing::subscriber::set_default(logged.clone());
    let script = ScriptedFunction::new("f").step("a", &[]);
    let executed = script.executed();
    let mut world = EngineFixture::new(vec![script.function()]);
    let outcome = |call: &stepladder_testkit::intercept::StorageCall<'_>| {
        let entries = call.commit?.append.as_ref()?.record.entries.iter();
        entries.into_iter().any(|e| matches!(e.fact, Fact::StepSucceeded { .. })).then(denied_error)
    };
    let (backend, refuses) = refusing(&world.memory, outcome);
    let engine = world.engine_on(backend);
    world.send_event(&engine).await;
    assert_eq!(deliver_times(&world, &engine, 1).await, [false]);
    assert_eq!((executed.count_of("a"), logged.count("step succeeded")), (1, 0), "{:?}", logged.lines());
    refuses.store(false, SeqCst);
    world.settle(&engine).await;
    assert_eq!((executed.count_of("a"), logged.count("step succeeded")), (2, 1), "{:?}", logged.lines());
    assert_eq!((logged.count("run started"), logged.count("step interrupted")), (1, 1));
}

#[tokio::test]
async fn a_run_that_collects_events_is_counted_as_started() {
    let logged = LogCollector::for_target("stepladder::run");
    let _guard = tracing::subscriber::set_default(logged.clone());
    let batch = Batch { size: 2, timeout: Duration::from_secs(60), key: None };
    let script = ScriptedFunction::new("f").spec(|spec| spec.flow.batch = Some(batch)).step("a", &[]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.send_event(&engine).await;
    world.settle(&engine).await;
    assert_eq!((logged.count("run started"), logged.count("run ended")), (1, 1), "{:?}", logged.lines());
}

/// Every end of a run is counted, even if the handler never ran.
#[tokio::test]
async fn a_run_that_fails_before_its_handler_and_a_skipped_run_are_counted() {
    let logged = LogCollector::for_target("stepladder::run");
    let _guard = tracing::subscriber::set_default(logged.clone());
    let key = || Some(Expr::compile("event.data.missing").unwrap());
    let fails = ScriptedFunction::new("f")
        .spec(|spec| spec.concurrency.push(Concurrency { key: key(), ..Concurrency::steps(1) }));
    let mut world = EngineFixture::new(vec![fails.step("a", &[]).function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.settle(&engine).await;
    assert_eq!(engine.query().run(only_run(&engine).await).await.unwrap().summary.status, Status::Failed);
    assert_eq!(logged.count("run ended function=f status=Failed"), 1, "{:?}", logged.lines());

    let once = Rate { limit: 1, period: Duration::from_secs(3_600), burst: 1, key: None };
    let limited = ScriptedFunction::new("g").spec(|spec| spec.flow.rate_limit = Some(once)).step("a", &[]);
    let mut world = EngineFixture::new(vec![limited.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.send_event(&engine).await;
    world.settle(&engine).await;
    let counts = ["Completed", "Skipped"].map(|end| logged.count(&format!("run ended function=g status={end}")));
    assert_eq!(counts, [1, 1], "{:?}", logged.lines());
}

/// Each failed delivery promotes the first ticket of the wait queue (rule 22), and the wake of that
/// ticket fails as well.
#[tokio::test]
async fn rule_34_wakes_of_a_wait_queue_do_not_multiply_while_writes_are_denied() {
    let script = ScriptedFunction::new("f").spec(|spec| spec.concurrency.push(Concurrency::steps(1)));
    let (script, begun, finish) = with_gated_step(script, "a", &[]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let healthy = world.engine();
    world.send_event(&healthy).await;
    let first = spawn_hop(&world, &healthy);
    begun.notified().await;
    for _ in 0..3 {
        world.send_event(&healthy).await;
        world.hop_once(&healthy).await;
    }
    finish.notify_one();
    first.await.unwrap();
    // the slot is free and three tickets wait; from here on, the store refuses every write
    let writes = |call: &stepladder_testkit::intercept::StorageCall<'_>| {
        is_append(call) || matches!(call.name, "acquire" | "release")
    };
    let (backend, refuses) = refusing(&world.memory, move |call| writes(call).then(denied_error));
    let denied_engine = world.engine_on(backend);
    let sends = world.memory.counts().sends;
    deliver_times(&world, &denied_engine, 100).await;
    let sent = world.memory.counts().sends - sends;
    assert!(sent <= 12, "{sent} wakes were sent by 100 deliveries");

    refuses.store(false, SeqCst);
    let release = tokio::spawn(async move {
        loop {
            begun.notified().await;
            finish.notify_one();
        }
    });
    world.settle_within(&healthy, Duration::from_secs(3 * 3_600)).await;
    release.abort();
    let runs = healthy.query().runs(stepladder_engine::RunFilter::default()).await.unwrap().runs;
    assert!(runs.iter().all(|run| run.status == Status::Completed), "{runs:?}");
}

/// Lets every delivery of the run's wake fail until the queue gives the wake up. By then the run
/// has ended, but is still listed as live. Then the watchdog visits the run twice: first while the
/// error lasts, then without the error.
async fn finishing_is_denied(
    script: ScriptedFunction,
    denies: fn(&StorageCall<'_>) -> bool,
) -> (EngineFixture, Arc<Engine>) {
    let handler = ScriptedFunction::new("handler").spec(|spec| spec.triggers.clear()).step("b", &[]);
    let mut world = EngineFixture::new(vec![script.function(), handler.function()]);
    let (backend, refuses) = tearing(&world.memory, move |call| denies(call).then(denied_error));
    let engine = world.engine_on(backend);
    engine.sweep().await.unwrap();
    world.send_event(&engine).await;
    let run = only_run(&engine).await;
    assert_eq!(deliver_times(&world, &engine, DELIVERIES).await, [false; DELIVERIES]);
    world.memory.lose_wakes();
    let journal = world.journal(&engine, run).await;
    assert!(journal.last().is_some_and(|entry| entry.fact.is_end()), "{journal:?}");
    let live = RunFilter { live: true, ..RunFilter::default() };
    assert_eq!(engine.query().runs(live.clone()).await.unwrap().runs.len(), 1);
    world.clock.advance(Duration::from_secs(3_700));
    engine.sweep().await.unwrap();
    assert_eq!(deliver_times(&world, &engine, DELIVERIES).await, [false; DELIVERIES]);
    world.memory.lose_wakes();
    assert_eq!(engine.query().runs(live.clone()).await.unwrap().runs.len(), 1);
    refuses.store(false, SeqCst);
    world.clock.advance(Duration::from_secs(3_700));
    engine.sweep().await.unwrap();
    support::hop_all(&world.memory, &engine).await;
    assert_eq!(engine.query().runs(live).await.unwrap().runs.len(), 0, "the watchdog has finished its work");
    world.clock.advance(Duration::from_secs(3 * 3_600));
    assert_ne!(engine.sweep().await.unwrap().watched, 0, "the watchdog is due once more");
    assert_eq!(world.memory.wakes(), 0, "and does nothing");
    (world, engine)
}

/// On a store without transactions, the last entry is written but the run's row is not updated.
#[tokio::test]
async fn the_watchdog_marks_the_row_of_an_ended_run() {
    let ends_a_row = |call: &StorageCall<'_>| {
        let after = call.commit.map_or(&[][..], |commit| &commit.after);
        after.iter().any(|after| matches!(after, LateWrite::MarkEnded { .. }))
    };
    finishing_is_denied(ScriptedFunction::new("f").step("a", &[]), ends_a_row).await;
}

#[tokio::test]
async fn the_watchdog_starts_the_on_failure_handler_of_a_failed_run() {
    let script = ScriptedFunction::new("f").spec(|spec| spec.on_failure = Some("handler".into()));
    let script = script.body("a", &[], async |_| Err(terminal_failure("broken")));
    let starts_a_handler =
        |call: &StorageCall<'_>| call.name == "create_runs" && format!("{:?}", call.arguments).contains("Failure {");
    let (_, engine) = finishing_is_denied(script, starts_a_handler).await;
    let runs = engine.query().runs(RunFilter::default()).await.unwrap().runs;
    let ends: Vec<_> = runs.iter().map(|run| (&*run.function, run.status)).collect();
    assert_eq!(ends.len(), 2, "{ends:?}");
    assert!(ends.contains(&("f", Status::Failed)) && ends.contains(&("handler", Status::Completed)), "{ends:?}");
}
