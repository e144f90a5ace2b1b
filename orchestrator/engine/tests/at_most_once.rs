//! A step that starts at most once: whatever fails, its body does not run twice, and the run goes
//! on with its result or with the error that its outcome is unknown.

mod support;

use std::time::Duration;

use stepladder_core::decide::StepOptions;
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::spec::Concurrency;
use stepladder_core::{ErrorCode, Status};
use stepladder_engine::clock::Clock;
use stepladder_engine::{Engine, Pace};
use support::execution_log::ExecutionLog;
use support::faults::{FAULTS, FaultyBackend, InjectedFault};
use support::script::{ScriptedFunction, retryable_failure};
use support::{EngineFixture, have_ended, only_run, spawn_hop};

fn once() -> StepOptions {
    StepOptions { at_most_once: true, ..StepOptions::default() }
}

/// Returns a function with a payment between two other steps, beside a step that fails once.
fn paying(limited: bool) -> ScriptedFunction {
    ScriptedFunction::new("f")
        .spec(|spec| spec.concurrency.extend(limited.then(|| Concurrency::steps(1))))
        .step("cart", &[])
        .body_with("pay", &["cart"], once(), |_| async { Ok(()) })
        .body("mail", &["cart"], |n| async move { if n == 1 { Err(retryable_failure("once")) } else { Ok(()) } })
        .step("ship", &["pay", "mail"])
}

/// Works until the run has ended. If the fault kills the process, another process continues.
/// Returns whether the fault occurred.
async fn pays_once(pace: Pace, limited: bool, fault: InjectedFault, at: u32) -> bool {
    let script = paying(limited);
    let executed = script.executed();
    let mut world = EngineFixture::new(vec![script.function()]).pace(pace);
    let onlooker = world.engine();
    world.send_event(&onlooker).await;
    let faulty = FaultyBackend::new(world.memory.clone(), fault, at);
    let mut engine = world.engine_on(faulty.clone());
    let mut swept = world.clock.now();
    for _ in 0..400 {
        let life = async {
            if world.clock.now() >= swept + Duration::from_secs(60) {
                swept = world.clock.now();
                engine.sweep().await.ok();
            }
            world.hop_visible(&engine).await
        };
        let alive = tokio::select! {
            biased;
            () = faulty.death.notified() => None,
            more = life => Some(more),
        };
        match alive {
            None => engine = world.engine(), // the process died; the next process has no fault
            Some(true) => {}
            Some(false) if have_ended(&onlooker).await => break,
            Some(false) => {
                let minute = world.clock.now() + Duration::from_secs(60);
                world.clock.set(world.memory.next_due().unwrap_or(minute).clamp(world.clock.now(), minute));
            }
        }
    }
    let place = format!("{pace:?}, limited {limited}, {fault:?} at call {at}");
    let (status, failed) = end_of(&onlooker).await;
    let paid = executed.count_of("pay");
    match status {
        Status::Completed => assert_eq!((paid, failed), (1, None), "{place}"),
        Status::Failed => assert!(paid <= 1 && failed == Some(ErrorCode::OutcomeUnknown), "{place}: {failed:?}"),
        other => panic!("{place}: {other:?}"),
    }
    check_starts(&world.journal(&onlooker, only_run(&onlooker).await).await, &executed, &place);
    faulty.has_happened()
}

/// Returns the status of the only run, and the code of its failure.
async fn end_of(engine: &Engine) -> (Status, Option<ErrorCode>) {
    let detail = engine.query().run(only_run(engine).await).await.expect("a run");
    (detail.summary.status, detail.summary.error.and_then(|error| error.code))
}

/// Checks that the body did not run without a start in the journal.
fn check_starts(journal: &[Entry], executed: &ExecutionLog, place: &str) {
    let is_start = |fact: &Fact| matches!(fact, Fact::StepStarted { step, at_most_once: true, .. } if **step == *"pay");
    let starts = support::count_facts(journal, is_start);
    assert!(executed.count_of("pay") as usize <= starts, "{place}: {journal:#?}");
}

#[tokio::test]
async fn no_fault_at_any_call_makes_the_body_run_twice() {
    for (pace, limited) in
        [(Pace::StepPerInvocation, false), (Pace::WithinBudget, false), (Pace::StepPerInvocation, true)]
    {
        for fault in FAULTS {
            let mut at = 1;
            while pays_once(pace, limited, fault, at).await {
                at += 1;
            }
            assert!(at > 10, "only {at} calls: the fault happened too rarely");
        }
    }
}

/// Kills a process whose worker executes the payment, and lets another process continue.
async fn killed_during_the_payment(is_alone: bool) -> (Status, Option<ErrorCode>, u32, Duration) {
    let script = ScriptedFunction::new("f").body_with("pay", &[], once(), |_| std::future::pending());
    let executed = script.executed();
    let mut world = EngineFixture::new(vec![script.function()]);
    if is_alone {
        world.memory.set_exclusive();
    }
    let engine = world.engine();
    world.send_event(&engine).await;
    let hop = spawn_hop(&world, &engine);
    while executed.count_of("pay") == 0 {
        tokio::task::yield_now().await;
    }
    hop.abort();
    hop.await.expect_err("aborted");
    drop(engine);
    let began = world.clock.now();
    let next = world.engine();
    world.settle(&next).await;
    let took = world.clock.now().since(began);
    let (status, code) = end_of(&next).await;
    (status, code, executed.count_of("pay"), took)
}

#[tokio::test]
async fn a_worker_that_dies_during_the_body_fails_the_step_after_its_lease() {
    let (status, code, paid, took) = killed_during_the_payment(false).await;
    assert_eq!((status, code, paid), (Status::Failed, Some(ErrorCode::OutcomeUnknown), 1));
    assert!(took > Duration::from_secs(60), "the worker might live: {took:?}");
}

#[tokio::test]
async fn a_server_that_restarts_alone_fails_the_step_before_its_lease_ends() {
    let (status, code, paid, took) = killed_during_the_payment(true).await;
    assert_eq!((status, code, paid), (Status::Failed, Some(ErrorCode::OutcomeUnknown), 1));
    // the wake was received, and becomes visible again after its time
    let lease = stepladder_engine::Config::default().visibility() + Duration::from_secs(5);
    assert!(took <= lease, "{took:?}");
}
