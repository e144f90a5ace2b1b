//! Injects a fault into each call of a run, one after the other: the request is lost, the reply is
//! lost, or the process dies. The run must end as it does without the fault.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use stepladder::Pace;
use stepladder_core::Status;
use stepladder_tests::aws_faults::AwsFault;

use crate::functions::{ExecutionLog, everything_once, functions_with_every_step, go_event, retrying_function};
use crate::stage::{AwsStage, SdkRetryMode};

/// Executes one run with a fault at call number `at`, or without a fault if `at` is `usize::MAX`.
/// Returns the number of calls.
pub(crate) async fn run_with_fault(stage: &AwsStage, n: u32, at: usize, fault: AwsFault) -> usize {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    stage.wire.plan(move |call| {
        if call.is_of_a_run() && counted.fetch_add(1, Ordering::SeqCst) == at { fault.clone() } else { AwsFault::Pass }
    });
    let engine = stage.engine();
    stage.send(&engine, &go_event(n)).await;
    stage.settle(|| engine.clone()).await;
    calls.load(Ordering::SeqCst)
}

/// Returns the facts of the run that event `go-n` started. Panics unless the run has completed.
async fn facts_of_run(stage: &AwsStage, n: u32) -> Vec<String> {
    let runs = stage.observing_engine().query().runs_of_event(&format!("go-{n}")).await.expect("listed");
    assert_eq!(runs.len(), 1, "{n}");
    let facts = stage.facts(runs[0].run).await;
    assert_eq!(runs[0].status, Status::Completed, "{n}: {facts:#?}");
    facts
}

/// Executes a run for each call, with a fault at that call. The facts of each run must be those of
/// a run without faults.
async fn at_each_call(stage: &AwsStage, fault: AwsFault, check: impl Fn(u32)) -> usize {
    let calls = run_with_fault(stage, 0, usize::MAX, AwsFault::Pass).await;
    let clean = facts_of_run(stage, 0).await;
    for at in 0..calls {
        let n = at as u32 + 1;
        run_with_fault(stage, n, at, fault.clone()).await;
        assert_eq!(facts_of_run(stage, n).await, clean, "{fault:?} at call {at} of {calls}");
        check(n);
    }
    stage.assert_journals().await;
    stage.assert_within_limits();
    calls
}

async fn everything_at_each_call(sdk: SdkRetryMode, pace: Pace, fault: AwsFault) {
    let account = ExecutionLog::default();
    let mut stage = AwsStage::new(sdk, functions_with_every_step(&account)).await;
    stage.config.pace = pace;
    let calls = at_each_call(&stage, fault.clone(), |n| {
        assert_eq!(account.counts_of_run(n), everything_once(), "{fault:?} at call {}", n - 1);
    });
    assert!(calls.await > 20);
}

#[tokio::test]
async fn a_lost_reply_at_any_call_changes_nothing_with_retries_of_the_sdk() {
    everything_at_each_call(SdkRetryMode::Retries, Pace::WithinBudget, AwsFault::LoseReply).await;
}

#[tokio::test]
async fn a_lost_reply_at_any_call_changes_nothing_with_retries_of_the_engine() {
    everything_at_each_call(SdkRetryMode::Tells, Pace::StepPerInvocation, AwsFault::LoseReply).await;
}

#[tokio::test]
async fn a_lost_request_at_any_call_changes_nothing() {
    everything_at_each_call(SdkRetryMode::Tells, Pace::StepPerInvocation, AwsFault::LoseRequest).await;
}

#[tokio::test]
async fn timers_and_sweeps_survive_lost_replies() {
    let account = ExecutionLog::default();
    let stage =
        AwsStage::new(SdkRetryMode::Retries, vec![retrying_function(&account, Duration::from_secs(1_800))]).await;
    at_each_call(&stage, AwsFault::LoseReply, |n| assert_eq!(account.counts_of_run(n).values().sum::<u32>(), 1)).await;
}

/// Executes run number `n`. The process dies at call number `at`, before or after the call takes
/// effect, and another process continues.
pub(crate) async fn run_with_death(stage: &AwsStage, n: u32, at: usize) {
    let dead = Arc::new(AtomicBool::new(false));
    let (count, dying) = (Cell::new(0), dead.clone());
    stage.wire.plan(move |call| {
        if dying.load(Ordering::SeqCst) {
            return AwsFault::LoseRequest;
        }
        if !call.is_of_a_run() || count.replace(count.get() + 1) != at {
            return AwsFault::Pass;
        }
        dying.store(true, Ordering::SeqCst);
        if at.is_multiple_of(2) { AwsFault::LoseReply } else { AwsFault::LoseRequest }
    });
    let mut engine = stage.engine();
    let mut living = || {
        if dead.swap(false, Ordering::SeqCst) {
            stage.wire.clear();
            engine = stage.engine();
        }
        engine.clone()
    };
    while living().intake().ingest(vec![go_event(n)], None).await.is_err() {}
    stage.settle(living).await;
}

/// The process dies at a call, before or after the call takes effect. The message is delivered
/// again, to another process.
#[tokio::test]
async fn a_run_completes_although_its_process_dies_at_any_call() {
    let account = ExecutionLog::default();
    let stage = AwsStage::new(SdkRetryMode::Tells, functions_with_every_step(&account)).await;
    let calls = run_with_fault(&stage, 0, usize::MAX, AwsFault::Pass).await;
    for at in 0..calls {
        let n = at as u32 + 1;
        run_with_death(&stage, n, at).await;
        let facts = facts_of_run(&stage, n).await;
        for (step, executed) in account.counts_of_run(n) {
            let of = |what: &str| facts.iter().filter(|fact| fact.starts_with(&format!("{step} {what}"))).count();
            if step != "told" {
                assert_eq!(of("succeeded"), 1, "dead at {at}: {facts:#?}");
                assert!(executed as usize <= of("started"), "dead at {at}: {step} {executed} times: {facts:#?}");
            }
        }
        assert!(account.counts_of_run(n)["told"] <= 2, "dead at {at}");
    }
    stage.assert_journals().await;
    stage.assert_within_limits();
}
