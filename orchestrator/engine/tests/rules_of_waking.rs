//! Tests of the rules about wakes, events and ends (10 to 19, 28, 29). Each test fails if the code
//! of its rule is removed.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use stepladder_core::decide::{Operation, StepOptions};
use stepladder_core::journal::Fact;
use stepladder_core::retry::Backoff;
use stepladder_core::{NewEvent, Status, WakeCause, json};
use stepladder_engine::EngineError;
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::Queue;
use support::faults::{FaultyBackend, InjectedFault};
use support::script::{ScriptedFunction, terminal_failure};
use support::{EngineFixture, count_facts, only_run, spawn_hop, with_gated_step};

fn fixed_retries(secs: u64) -> StepOptions {
    StepOptions { backoff: Some(Backoff::Fixed(Duration::from_secs(secs))), ..StepOptions::default() }
}

#[tokio::test]
async fn rule_10_a_hop_that_meets_a_live_lease_leaves_a_wake_for_its_end() {
    let (script, begun, _open) = with_gated_step(ScriptedFunction::new("f"), "a", &[]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let (dies, lives) = (world.engine(), world.engine());
    world.send_event(&dies).await;
    let hop = spawn_hop(&world, &dies);
    begun.notified().await;
    hop.abort(); // the worker dies while it executes the body
    let _ = hop.await;
    world.memory.redeliver(); // the wake is delivered again before the lease expires
    world.hop_once(&lives).await;
    let lease = world.clock.now() + lives.config().worker_timeout + lives.config().lease_margin;
    let run = only_run(&lives).await;
    assert_eq!(world.memory.next_due(), Some(lease + Duration::from_millis(1)), "exactly one copy, at the lease's end");
    world.clock.set(lease + Duration::from_millis(1));
    let takeover = spawn_hop(&world, &lives);
    begun.notified().await;
    takeover.abort();
    let journal = world.journal(&lives, run).await;
    assert_eq!(count_facts(&journal, |f| matches!(f, Fact::StepStarted { attempt: 2, .. })), 1);
}

#[tokio::test]
async fn rule_11_a_delayed_wake_is_written_before_its_entry() {
    // the process dies after it wrote the delayed wakes and before it wrote the entry. The next hop
    // decides on the sleep again, and the sleep ends once
    let script = ScriptedFunction::new("f")
        .request("nap", &[], Operation::SleepFor(Duration::from_secs(3_600)))
        .step("a", &["nap"]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let torn = support::slow::only_before(world.memory.clone(), |fact| matches!(fact, Fact::SleepStarted { .. }));
    let dying = world.engine_on(torn);
    world.send_event(&dying).await;
    let hop = spawn_hop(&world, &dying);
    while world.memory.counts().appends == 0 && world.memory.timers() < 2 {
        tokio::task::yield_now().await;
    }
    hop.abort();
    let run = only_run(&dying).await;
    let engine = world.engine();
    assert_eq!(count_facts(&world.journal(&engine, run).await, |f| matches!(f, Fact::SleepStarted { .. })), 0);
    assert_eq!(world.memory.timers(), 2, "the watchdog, and the sleep's timer without its entry");
}

#[tokio::test]
async fn rule_12_a_run_whose_wakes_were_lost_is_woken_by_its_watchdog() {
    for nap in [None, Some(Duration::from_secs(40 * 86_400))] {
        let script = ScriptedFunction::new("f");
        let script = match nap {
            None => script.step("a", &[]),
            Some(nap) => script.request("nap", &[], Operation::SleepFor(nap)).step("a", &["nap"]),
        };
        let mut world = EngineFixture::new(vec![script.function()]);
        let engine = world.engine();
        world.send_event(&engine).await;
        if nap.is_some() {
            world.hop_once(&engine).await;
        }
        // the watchdog's wake is lost as well, so the watchdog is set again and sends another wake
        for _ in 0..2 {
            world.memory.lose_wakes();
            for _minute in 0..2 * 24 * 60 {
                world.clock.advance(Duration::from_secs(60));
                engine.sweep().await.unwrap();
                if world.memory.wakes() > 0 || nap.is_some() {
                    break;
                }
            }
            assert!(world.memory.wakes() > 0 || nap.is_some(), "two days, and no visit");
        }
        world.settle(&engine).await;
        assert_eq!(
            engine.query().run(only_run(&engine).await).await.unwrap().summary.status,
            Status::Completed,
            "{nap:?}"
        );
    }
}

#[tokio::test]
async fn rule_12_the_watchdog_wakes_a_step_although_another_step_sleeps() {
    let nap = Operation::SleepFor(Duration::from_secs(40 * 86_400));
    let script = ScriptedFunction::new("f").request("nap", &[], nap).step("a", &[]).step("b", &[]);
    let mut world = EngineFixture::new(vec![script.function()]).config(|config| config.side_by_side = 1);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.hop_once(&engine).await; // sends a separate wake for each of the two steps
    world.memory.lose_wakes();
    for _minute in 0..130 {
        world.clock.advance(Duration::from_secs(60));
        engine.sweep().await.unwrap();
    }
    world.settle_within(&engine, Duration::from_secs(60)).await;
    let journal = world.journal(&engine, only_run(&engine).await).await;
    assert_eq!(support::count_facts(&journal, |fact| matches!(fact, Fact::StepSucceeded { .. })), 2, "{journal:#?}");
}

#[tokio::test]
async fn rule_13_a_storage_error_delays_the_wake_and_acknowledges_it() {
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    let brown_out = support::slow::refuse_reads(world.memory.clone());
    let unlucky = world.engine_on(brown_out);
    world.hop_once(&unlucky).await;
    let due = world.memory.next_due().unwrap();
    assert_eq!(due, world.clock.now() + Duration::from_secs(10));
    world.clock.set(due);
    let delivery = world.memory.receive(1, Duration::from_secs(1)).await.unwrap().remove(0);
    assert_eq!((delivery.receives, delivery.wake.cause), (1, WakeCause::Again), "a fresh message, not a redelivery");
}

#[tokio::test]
async fn rule_14_ten_interruptions_fail_a_step_and_the_queue_never_counts_to_three() {
    let (script, begun, _open) = with_gated_step(ScriptedFunction::new("f"), "a", &[]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let mut most = 0;
    let engine = world.engine();
    world.send_event(&engine).await;
    for _ in 0..200 {
        let Some(due) = world.memory.next_due() else { break };
        world.clock.set(due.max(world.clock.now()));
        let engine = world.engine();
        engine.sweep().await.unwrap();
        if world.memory.next_due().is_none_or(|due| due > world.clock.now()) {
            continue;
        }
        let delivery = world.memory.receive(1, engine.config().visibility()).await.unwrap().remove(0);
        most = most.max(delivery.receives);
        let hop = tokio::spawn(async move { engine.hop(delivery).await });
        tokio::select! {
            () = begun.notified() => {}
            () = async { while !hop.is_finished() { tokio::task::yield_now().await } } => continue,
        }
        hop.abort(); // the worker dies each time while it executes the body
    }
    let detail = engine.query().run(only_run(&engine).await).await.unwrap();
    let error = detail.summary.error.expect("it failed");
    assert_eq!(detail.summary.status, Status::Failed);
    assert_eq!(error.code(), Some("interrupted"), "{}", error.message);
    assert!(error.message.contains("`a` was interrupted 10 times"), "{}", error.message);
    assert!(most <= 2, "a message was delivered {most} times");
}

#[tokio::test]
async fn rule_15_a_repeated_event_finishes_what_the_first_left_undone() {
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    // call 1 stores the event; call 2, which creates the run, kills the process
    let faulty = FaultyBackend::new(world.memory.clone(), InjectedFault::DieBefore, 2);
    let dying = world.engine_on(faulty.clone());
    let event = NewEvent::new("go", json::empty_object()).with_id("once");
    tokio::select! {
        _ = dying.intake().ingest(vec![event.clone()], None) => panic!("it should have died"),
        () = faulty.death.notified() => {}
    }
    let engine = world.engine();
    assert_eq!(engine.query().runs_of_event("once").await.unwrap().len(), 0);
    let first = engine.query().event("once").await.unwrap().id;
    assert_eq!(engine.intake().ingest(vec![event], None).await.unwrap(), [first]);
    assert_eq!(engine.query().runs_of_event("once").await.unwrap().len(), 1);
}

#[tokio::test]
async fn rule_18_subscriptions_are_written_before_any_step_of_the_same_poll_starts() {
    let script =
        ScriptedFunction::new("f").step("a", &[]).request("nap", &[], Operation::SleepFor(Duration::from_secs(5)));
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.settle(&engine).await;
    let journal = world.journal(&engine, only_run(&engine).await).await;
    let place = |is: fn(&Fact) -> bool| journal.iter().position(|entry| is(&entry.fact)).unwrap();
    assert!(place(|f| matches!(f, Fact::SleepStarted { .. })) < place(|f| matches!(f, Fact::StepStarted { .. })));
}

#[tokio::test]
async fn rule_19_every_end_of_a_called_run_reaches_its_caller() {
    let ask = Operation::Invoke {
        function: "child".into(),
        input: json::empty_object(),
        bound: false,
        timeout: None,
        user: None,
    };
    for (name, child, cancel) in [
        ("completed", ScriptedFunction::new("child").step("x", &[]), false),
        ("failed", ScriptedFunction::new("child").body("x", &[], |_| async { Err(terminal_failure("no")) }), false),
        (
            "cancelled",
            ScriptedFunction::new("child").request("x", &[], Operation::SleepFor(Duration::from_secs(9))),
            true,
        ),
        ("unknown", ScriptedFunction::new("other").step("x", &[]), false),
    ] {
        let child = child.spec(|spec| spec.triggers.clear());
        let parent = ScriptedFunction::new("parent").request("call", &[], ask.clone());
        let mut world = EngineFixture::new(vec![parent.function(), child.function()]);
        let engine = world.engine();
        let event = world.send_event(&engine).await;
        if cancel {
            world.hop_once(&engine).await;
            world.hop_once(&engine).await;
            let parent = &world.runs(&engine, event).await[0];
            engine.control().cancel(parent.steps[0].child.unwrap(), "enough").await.unwrap();
        }
        world.settle_within(&engine, Duration::ZERO).await;
        let parent = &world.runs(&engine, event).await[0];
        let wanted = if name == "completed" { Status::Completed } else { Status::Failed };
        assert_eq!(parent.summary.status, wanted, "{name}: {:?}", parent.summary.error);
    }
}

#[tokio::test]
async fn rule_28_cancelling_a_finished_run_repeats_its_finishing_work() {
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    world.settle(&engine).await;
    let run = only_run(&engine).await;
    let before = world.memory.counts();
    let late = engine.control().cancel(run, "late").await.unwrap();
    assert_eq!((late.status, late.is_new), (Status::Completed, false));
    assert_eq!(world.memory.counts().sends, before.sends + 1);
    world.hop_once(&engine).await;
    assert_eq!(engine.query().run(run).await.unwrap().summary.status, Status::Completed);
    let nowhere = stepladder_core::RunId::new(world.clock.now(), 1);
    assert!(matches!(engine.control().cancel(nowhere, "x").await, Err(EngineError::NotFound(_))));
}

#[tokio::test]
async fn rule_29_the_supervisor_fails_a_body_that_blocks_its_thread() {
    let released = Arc::new(AtomicBool::new(false));
    let blocked = released.clone();
    let options = StepOptions { timeout: Some(Duration::from_secs(5)), ..fixed_retries(1) };
    let (begun, began) = std::sync::mpsc::channel();
    let script = ScriptedFunction::new("f").body_with("a", &[], options, move |n| {
        let (blocked, begun) = (blocked.clone(), begun.clone());
        async move {
            begun.send(()).unwrap();
            while n == 1 && !blocked.load(SeqCst) {
                std::thread::yield_now(); // the thread is blocked, so the body's timer never fires
            }
            Ok(())
        }
    });
    let executed = script.executed();
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    world.send_event(&engine).await;
    let (memory, stuck) = (world.memory.clone(), engine.clone());
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let delivery = memory.receive(1, stuck.config().visibility()).await.unwrap().remove(0);
            stuck.hop(delivery).await.unwrap();
        });
    });
    began.recv().unwrap();
    world.clock.advance(Duration::from_secs(8));
    assert_eq!(engine.expel_overdue().await.unwrap().len(), 1);
    assert_eq!(engine.expel_overdue().await.unwrap().len(), 0, "once");
    world.settle(&engine).await;
    let run = only_run(&engine).await;
    let journal = world.journal(&engine, run).await;
    assert_eq!(engine.query().run(run).await.unwrap().summary.status, Status::Completed, "{journal:#?}");
    released.store(true, SeqCst);
    thread.join().unwrap();
    assert_eq!(executed.count_of("a"), 2);
    assert_eq!(count_facts(&world.journal(&engine, run).await, |f| matches!(f, Fact::StepSucceeded { .. })), 1,);
}
