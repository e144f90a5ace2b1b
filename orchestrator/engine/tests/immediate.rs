//! An executor that executes steps while it is polled. Each poll is a call under a lease.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::decide::{Operation, Want};
use stepladder_core::hop::Checkpoint;
use stepladder_core::journal::Fact;
use stepladder_core::spec::{Concurrency, Trigger};
use stepladder_core::state::RevealedOutcome;
use stepladder_core::{AttemptReport, Spec, Status, StepId, Timestamp, json};
use stepladder_engine::executor::{
    Attempt, ExecutedStep, Execution, Executor, Finished, OpenError, PollResult, Polled, RunView, StepResult,
    Unreachable,
};
use stepladder_engine::ports::Journals;
use stepladder_engine::{Pace, RegisteredFunction};
use support::EngineFixture;
use tokio::sync::Notify;

/// The steps of the function, in order.
const STEPS: [&str; 3] = ["a", "b", "c"];

/// Executes one step at each poll.
#[derive(Clone, Default)]
struct Immediate {
    /// The number of executed steps.
    executed: Arc<AtomicU32>,
    /// The calls that are under way.
    calls: Arc<AtomicU32>,
    /// Whether a call began while another one was under way.
    overlaps: Arc<AtomicU32>,
    /// If set, the first call waits for this.
    gate: Option<Arc<Notify>>,
}

struct ImmediateExecution {
    executor: Immediate,
    /// The number of outcomes that it has seen.
    seen: usize,
}

#[async_trait]
impl Executor for Immediate {
    async fn open(&self, _: RunView, _: Timestamp) -> Result<Box<dyn Execution>, OpenError> {
        Ok(Box::new(ImmediateExecution { executor: self.clone(), seen: 0 }))
    }

    fn executes_in_poll(&self) -> bool {
        true
    }
}

#[async_trait]
impl Execution for ImmediateExecution {
    async fn poll(&mut self, memo: Vec<RevealedOutcome>) -> Result<Polled, Unreachable> {
        let Immediate { executed, calls, overlaps, gate } = &self.executor;
        self.seen += memo.len();
        if calls.fetch_add(1, Ordering::Relaxed) > 0 {
            overlaps.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(gate) = gate.as_ref().filter(|_| self.seen == 0) {
            gate.notified().await;
        }
        calls.fetch_sub(1, Ordering::Relaxed);
        let Some(step) = STEPS.get(self.seen) else { return Ok(PollResult::Ended(Ok(json::null())).into()) };
        executed.fetch_add(1, Ordering::Relaxed);
        let want = Want { step: (*step).into(), operation: Operation::Run(Default::default()), at: None };
        let executed = ExecutedStep { want, result: Ok(json::null()), report: AttemptReport::default() };
        Ok(Polled { executed: vec![executed], ..PollResult::Wanted(Vec::new()).into() })
    }

    fn run(&mut self, _: Vec<Attempt>) {}

    async fn wait(&mut self) -> Finished {
        std::future::pending().await
    }

    fn stop(&mut self, _: &StepId, _: Duration) {}
}

impl Immediate {
    fn function(&self, limits: Vec<Concurrency>) -> RegisteredFunction {
        let mut spec = Spec::new("f");
        spec.triggers.push(Trigger { event: "go".into(), condition: None });
        spec.concurrency = limits;
        RegisteredFunction::new(spec, None, Arc::new(self.clone()))
    }
}

#[tokio::test]
async fn each_executed_step_is_one_record_under_the_lease_of_its_call() {
    let executor = Immediate::default();
    let mut world = EngineFixture::new(vec![executor.function(Vec::new())]).pace(Pace::WithinBudget);
    let engine = world.engine();
    let event = world.send_event(&engine).await;
    world.settle(&engine).await;
    let detail = &world.runs(&engine, event).await[0];
    assert_eq!(detail.summary.status, Status::Completed);
    assert_eq!(executor.executed.load(Ordering::Relaxed), 3);
    let records = world.memory.read(detail.summary.run, 0).await.unwrap();
    let has = |wanted: fn(&Fact) -> bool| records.iter().filter(|r| r.entries.iter().any(|e| wanted(&e.fact))).count();
    assert_eq!(has(|fact| matches!(fact, Fact::CallStarted { .. })), 4, "a call for each step, and one for the end");
    assert_eq!(records.len(), 6, "creation, the first call, one record for each step, the end: {records:#?}");
}

#[tokio::test]
async fn no_second_hop_calls_the_executor_for_the_run_meanwhile() {
    let gate = Arc::new(Notify::new());
    let executor = Immediate { gate: Some(gate.clone()), ..Immediate::default() };
    let mut world = EngineFixture::new(vec![executor.function(vec![Concurrency::steps(1)])]);
    let (engine, other) = (world.engine(), world.engine());
    let event = world.send_event(&engine).await;
    let hop = support::spawn_hop(&world, &engine);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(executor.calls.load(Ordering::Relaxed), 1, "the first call is under way");
    world.memory.redeliver();
    world.hop_once(&other).await;
    assert_eq!(executor.overlaps.load(Ordering::Relaxed), 0);
    gate.notify_waiters();
    hop.await.expect("no panic");
    world.settle(&other).await;
    assert_eq!(world.status(&other, event).await, Status::Completed);
    assert_eq!((executor.overlaps.load(Ordering::Relaxed), executor.executed.load(Ordering::Relaxed)), (0, 3));
}

#[tokio::test]
async fn rule_36_a_server_that_restarts_alone_waits_for_what_its_app_may_still_execute() {
    let executor = Immediate { gate: Some(Arc::new(Notify::new())), ..Immediate::default() };
    let mut world = EngineFixture::new(vec![executor.function(Vec::new())]);
    world.memory.set_exclusive();
    let engine = world.engine();
    let event = world.send_event(&engine).await;
    let hop = support::spawn_hop(&world, &engine);
    while executor.calls.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let waiting = world.runs(&engine, event).await[0].waiting.clone();
    assert_eq!(waiting, None, "it executes");
    hop.abort();
    hop.await.expect_err("aborted");
    drop(engine);
    let next = world.engine();
    let lease = world.runs(&next, event).await[0].waiting.clone().expect("it waits for the lease");
    assert!(lease.contains("its app may still execute a step"), "{lease}");
    executor.gate.as_ref().expect("a gate").notify_one();
    world.memory.redeliver();
    while world.hop_visible(&next).await {}
    assert_eq!(executor.executed.load(Ordering::Relaxed), 0, "the call of the dead process may go on");
    world.settle(&next).await;
    assert_eq!(world.status(&next, event).await, Status::Completed);
}

#[tokio::test]
async fn rule_36_a_checkpoint_is_acknowledged_only_after_its_write() {
    let executor = Immediate { gate: Some(Arc::new(Notify::new())), ..Immediate::default() };
    let mut world = EngineFixture::new(vec![executor.function(Vec::new())]);
    let is_full = Arc::new(AtomicBool::new(false));
    let disk = support::slow::on_disk(world.memory.clone(), is_full.clone());
    let engine = world.engine_on(disk);
    let event = world.send_event(&engine).await;
    let hop = support::spawn_hop(&world, &engine);
    while executor.calls.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let run = world.runs(&engine, event).await[0].summary.run;
    let checkpoint = Checkpoint { call: 1, steps: vec![("x".into(), json::null())] };
    is_full.store(true, Ordering::Relaxed);
    assert!(engine.checkpoint(run, &checkpoint).await.is_err(), "its write fails");
    is_full.store(false, Ordering::Relaxed);
    // an app repeats a checkpoint without an acknowledgement
    for _ in 0..2 {
        engine.checkpoint(run, &checkpoint).await.expect("recorded");
    }
    let journal = world.journal(&engine, run).await;
    let recorded = support::count_facts(&journal, |fact| matches!(fact, Fact::StepSucceeded { .. }));
    assert_eq!(recorded, 1, "{journal:#?}");
    hop.abort();
}

/// Lists two steps, and executes each as an attempt of its own.
struct Listing;

#[derive(Default)]
struct ListingExecution {
    /// The steps that have an outcome.
    seen: Vec<StepId>,
    executing: Vec<StepId>,
}

#[async_trait]
impl Executor for Listing {
    async fn open(&self, _: RunView, _: Timestamp) -> Result<Box<dyn Execution>, OpenError> {
        Ok(Box::new(ListingExecution::default()))
    }

    fn executes_in_poll(&self) -> bool {
        true
    }
}

#[async_trait]
impl Execution for ListingExecution {
    async fn poll(&mut self, memo: Vec<RevealedOutcome>) -> Result<Polled, Unreachable> {
        self.seen.extend(memo.into_iter().map(|outcome| outcome.step));
        let is_open = |step: &StepId| !self.seen.contains(step) && !self.executing.contains(step);
        let open = ["a", "b"].map(StepId::from).into_iter().filter(is_open);
        let want = |step| Want { step, operation: Operation::Run(Default::default()), at: None };
        Ok(match self.seen.len() {
            2 => PollResult::Ended(Ok(json::null())).into(),
            _ => PollResult::Wanted(open.map(want).collect()).into(),
        })
    }

    fn run(&mut self, attempts: Vec<Attempt>) {
        self.executing.extend(attempts.into_iter().map(|attempt| attempt.step));
    }

    async fn wait(&mut self) -> Finished {
        let Some(step) = self.executing.pop() else { return std::future::pending().await };
        let result = StepResult { step, result: Ok(json::null()), report: AttemptReport::default() };
        Finished { results: vec![result], dropped: Vec::new() }
    }

    fn stop(&mut self, _: &StepId, _: Duration) {}
}

#[tokio::test]
async fn steps_that_a_call_lists_end_although_they_exceed_the_limit() {
    for pace in [Pace::WithinBudget, Pace::StepPerInvocation] {
        let mut spec = Spec::new("f");
        spec.triggers.push(Trigger { event: "go".into(), condition: None });
        spec.concurrency = vec![Concurrency::steps(1)];
        let mut world = EngineFixture::new(vec![RegisteredFunction::new(spec, None, Arc::new(Listing))]).pace(pace);
        let engine = world.engine();
        let event = world.send_event(&engine).await;
        world.settle(&engine).await;
        assert_eq!(world.status(&engine, event).await, Status::Completed, "{pace:?}");
    }
}
