//! Tickets in wait queues: races between two hops over a ticket, and the single lease wake of the
//! first ticket.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use stepladder_core::decide::StepOptions;
use stepladder_core::retry::Backoff;
use stepladder_core::slot::{Holder, Limit, Ticket};
use stepladder_core::spec::Concurrency;
use stepladder_core::{EventId, RunId, RunOrStep, Status, Timestamp, Wake, WakeCause};
use stepladder_engine::Engine;
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Commit, Commits, Delivery, LateWrite, Queue, SlotOperations};
use stepladder_testkit::clock::VirtualClock;
use stepladder_testkit::memory::Memory;
use support::script::{ScriptedFunction, retryable_failure};
use support::{EngineFixture, hop_all, only_run, slow, with_gated_step};

const RETRY: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(125);

fn limit() -> Limit {
    Limit { key: "f/0".into(), slots: 2 }
}

/// Returns a holder that belongs to a run of another function.
fn other_holder(n: u128) -> Holder {
    Holder::Attempt { run: RunId::new(Timestamp::from_millis(0), n), step: "other".into(), attempt: 1, hop: 0 }
}

/// Another holder acquires the slot, another ticket is enqueued, and the retry becomes due. Another
/// hop handles the wake of the retry: it enqueues the step and ends.
async fn enqueue_the_retry(memory: Arc<Memory>, clock: Arc<VirtualClock>, other: Arc<Engine>) {
    let (now, of) = (clock.now(), other_holder(2));
    memory.try_acquire(&[limit()], &other_holder(1), now + LEASE, now).await.unwrap();
    let event = EventId::new(now, 2);
    memory.enqueue(&limit(), Ticket { queued_at: now, event, run: of.run(), of: of.run_or_step() }).await.unwrap();
    clock.advance(RETRY);
    let retry = memory.receive(1, LEASE).await.unwrap().remove(0);
    assert_eq!(retry.wake.cause, WakeCause::Due);
    other.hop(retry).await.unwrap();
    assert_eq!(memory.first_tickets(&limit().key, 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_retry_that_was_enqueued_meanwhile_keeps_its_ticket() {
    let retried = StepOptions { backoff: Some(Backoff::Fixed(RETRY)), ..StepOptions::default() };
    let fails_once = |n| async move { if n == 1 { Err(retryable_failure("not this time")) } else { Ok(()) } };
    let (script, begun, open) =
        with_gated_step(ScriptedFunction::new("f").body_with("a", &[], retried, fails_once), "b", &[]);
    let script = script.spec(|spec| spec.concurrency.push(Concurrency::steps(2)));
    let mut world = EngineFixture::new(vec![script.function()]);
    let other = world.engine();
    let (memory, clock, first) = (world.memory.clone(), world.clock.clone(), AtomicBool::new(false));
    let armed = Arc::new(AtomicBool::new(false));
    let (is_armed, hopping) = (armed.clone(), other.clone());
    let watched = slow::before_line(world.memory.clone(), move || {
        let now = is_armed.load(SeqCst) && !first.swap(true, SeqCst);
        let (memory, clock, other) = (memory.clone(), clock.clone(), hopping.clone());
        async move {
            if now {
                enqueue_the_retry(memory, clock, other).await;
            }
        }
    });
    let engine = world.engine_on(watched);
    world.send_event(&engine).await;
    let run = only_run(&engine).await;

    // in the hop for the wake of `a`, `a` fails, `b` ends a moment later, and `a` waits for its
    // retry
    let created = world.memory.receive(1, LEASE).await.unwrap().remove(0);
    let wake = Wake { cause: WakeCause::Step("a".into()), ..created.wake };
    let delivery = Delivery { wake, ..created };
    let hop = tokio::spawn({
        let engine = engine.clone();
        async move { engine.hop(delivery).await.unwrap() }
    });
    begun.notified().await;
    while world.memory.next_due().is_none_or(|due| due > world.clock.now() + RETRY) {
        tokio::task::yield_now().await;
    }
    armed.store(true, SeqCst);
    open.notify_one();
    hop.await.unwrap();

    // removes the other holder and the other ticket, without a wake for the run
    let release = LateWrite::Release { limit: limit(), holder: other_holder(1) };
    let leave = LateWrite::Dequeue { limit: limit(), run: other_holder(2).run(), of: None };
    world.memory.commit(Commit { after: vec![release, leave], ..Commit::default() }).await.unwrap();
    world.settle_within(&engine, Duration::from_secs(10)).await;
    assert_eq!(engine.query().run(run).await.unwrap().summary.status, Status::Completed);
}

#[tokio::test]
async fn rule_23_the_first_ticket_owns_one_wake_even_after_many_refusals() {
    let script = ScriptedFunction::new("f").step("a", &[]).step("b", &[]);
    let script = script.spec(|spec| spec.concurrency.push(Concurrency::steps(2)));
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    let now = world.clock.now();
    for n in [1, 2] {
        world.memory.try_acquire(&[limit()], &other_holder(n), now + LEASE, now).await.unwrap();
    }
    world.send_event(&engine).await;
    world.hop_once(&engine).await;
    // both steps are refused, and are refused again whenever a lease expires
    for _ in 0..8 {
        assert_eq!(world.memory.wakes(), 1);
        let now = world.memory.next_due().unwrap();
        world.clock.set(now);
        for n in [1, 2] {
            world.memory.try_acquire(&[limit()], &other_holder(n), now + LEASE, now).await.unwrap();
        }
        world.hop_once(&engine).await;
    }
}

/// A step without a ticket comes after all tickets, even if the step was executed before.
#[tokio::test]
async fn a_due_retry_does_not_overtake_waiting_tickets() {
    let retried = StepOptions { backoff: Some(Backoff::Fixed(RETRY)), ..StepOptions::default() };
    let fails_once = |n| async move { if n == 1 { Err(retryable_failure("not this time")) } else { Ok(()) } };
    let script = ScriptedFunction::new("f").body_with("a", &[], retried, fails_once);
    let script = script.spec(|spec| spec.concurrency.push(Concurrency::steps(2)));
    let mut world = EngineFixture::new(vec![script.function()]);
    let (engine, memory) = (world.engine(), world.memory.clone());
    world.send_event(&engine).await;
    world.hop_once(&engine).await;
    let run = only_run(&engine).await;
    let (now, waits) = (world.clock.now(), other_holder(2));
    memory.try_acquire(&[limit()], &other_holder(1), now + LEASE, now).await.unwrap();
    let event = EventId::new(now, 2);
    memory
        .enqueue(&limit(), Ticket { queued_at: now, event, run: waits.run(), of: waits.run_or_step() })
        .await
        .unwrap();

    // one slot is free, and the first ticket has not used it yet
    world.clock.advance(RETRY);
    world.hop_once(&engine).await;
    let line = memory.first_tickets(&limit().key, 9).await.unwrap();
    assert_eq!(line.iter().map(|place| place.run).collect::<Vec<_>>(), [waits.run(), run]);
    let held = memory.holders(&limit().key).await.unwrap();
    assert_eq!(held.iter().map(|holding| holding.holder.run()).collect::<Vec<_>>(), [other_holder(1).run()]);

    // the first ticket is removed, and the retry is next
    let leave = LateWrite::Dequeue { limit: limit(), run: waits.run(), of: None };
    let wake = Wake { run, cause: WakeCause::Slot, group: limit().key };
    memory.commit(Commit { after: vec![leave], wakes: vec![wake], ..Commit::default() }).await.unwrap();
    world.settle_within(&engine, Duration::from_secs(1)).await;
    assert_eq!(engine.query().run(run).await.unwrap().summary.status, Status::Completed);
}

fn one_slot() -> Limit {
    Limit { key: "f/0".into(), slots: 1 }
}

fn with_limit(script: ScriptedFunction) -> ScriptedFunction {
    script.spec(|spec| spec.concurrency.push(Concurrency::steps(1)))
}

#[tokio::test]
async fn rule_24_a_ticket_that_no_step_will_use_is_removed_when_another_waits_behind_it() {
    let mut world = EngineFixture::new(vec![with_limit(ScriptedFunction::new("f").step("a", &[])).function()]);
    let engine = world.engine();
    let event = world.send_event(&engine).await;
    world.settle(&engine).await;
    let run = world.runs(&engine, event).await[0].summary.run;
    // a worker stalls after the slot was refused; later it enqueues the step, although the run has
    // ended, and dies
    let place = Ticket { queued_at: world.clock.now(), event, run, of: RunOrStep::Step("a".into()) };
    world.memory.enqueue(&one_slot(), place).await.unwrap();
    world.clock.advance(Duration::from_secs(60));
    let next = world.send_event(&engine).await;
    world.settle_within(&engine, Duration::from_secs(1)).await;
    assert_eq!(world.status(&engine, next).await, Status::Completed);
    assert_eq!(world.memory.first_tickets(&one_slot().key, 9).await.unwrap(), []);
}

#[tokio::test]
async fn rule_21_a_step_enqueued_after_it_was_done_is_dequeued() {
    // a wake is delivered twice. The first hop is refused. Before it enqueues the step, the second
    // hop executes the step and ends the run, and another holder acquires the slot
    let script = with_limit(ScriptedFunction::new("f").step("a", &[]).step("b", &["a"]));
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    let event = world.send_event(&engine).await;
    world.hop_once(&engine).await;
    let delivery = world.memory.receive(1, Duration::from_secs(150)).await.unwrap().remove(0);
    let (start, lease) = (world.clock.now(), world.clock.now() + Duration::from_secs(100));
    let holder = move |n| Holder::Attempt { run: RunId::new(start, n), step: "x".into(), attempt: 1, hop: 0 };
    world.memory.try_acquire(&[one_slot()], &holder(1), lease, start).await.unwrap();
    let (memory, fast, twin) = (world.memory.clone(), engine.clone(), delivery.clone());
    let interlude = move || {
        let (memory, fast, twin) = (memory.clone(), fast.clone(), twin.clone());
        async move {
            let after = vec![LateWrite::Release { limit: one_slot(), holder: holder(1) }];
            memory.commit(Commit { after, ..Commit::default() }).await.unwrap();
            fast.hop(twin).await.unwrap();
            memory.try_acquire(&[one_slot()], &holder(2), lease, start).await.unwrap();
        }
    };
    let slow = world.engine_on(slow::before_park(world.memory.clone(), interlude));
    slow.hop(delivery).await.unwrap();
    assert_eq!(world.memory.first_tickets(&one_slot().key, 9).await.unwrap(), []);
    hop_all(&world.memory, &engine).await;
    assert_eq!(world.status(&engine, event).await, Status::Completed);
}
