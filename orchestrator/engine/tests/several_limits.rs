//! Two limits at once: one per key, and one for all runs. A step that is refused waits in one queue
//! only, and is woken only when a slot may be free. The number of wakes per step does not grow with
//! the number of waiting runs.

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use stepladder_core::expr::Expr;
use stepladder_core::slot::{Holder, Limit, Ticket};
use stepladder_core::spec::Concurrency;
use stepladder_core::{EventId, NewEvent, RunId, Status, Timestamp, Wake, WakeCause, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Commit, Commits, LateWrite, Queue, SlotOperations};
use stepladder_engine::{Engine, Pace, RunFilter};
use stepladder_testkit::clock::VirtualClock;
use support::around::{self, HookFuture};
use support::script::ScriptedFunction;
use support::{EngineFixture, only_run};

const STEPS: usize = 3;
const USERS: usize = 8;
const TAKES: Duration = Duration::from_secs(5);
const LEASE: Duration = Duration::from_secs(125);

/// Handles all due wakes at the same time. Advances the clock only when there is nothing to do.
async fn work_in_parallel(world: &EngineFixture, engine: &Engine) {
    let mut hops = FuturesUnordered::new();
    loop {
        let mut calls = None;
        while calls != Some(world.memory.counts()) {
            calls = Some(world.memory.counts());
            assert!(world.memory.counts().sends < 10_000, "the wakes do not end");
            while world.memory.next_due().is_some_and(|due| due <= world.clock.now()) {
                for delivery in world.memory.receive(1, engine.config().visibility()).await.expect("messages") {
                    hops.push(engine.hop(delivery));
                }
            }
            // polls the hops several times, because a task yields after some polls
            for _ in 0..hops.len() {
                tokio::task::yield_now().await;
                while let Some(Some(done)) = hops.next().now_or_never() {
                    done.expect("hopped");
                }
            }
        }
        match [world.clock.pending(), world.memory.next_due()].into_iter().flatten().min() {
            Some(next) => world.clock.set(next.max(world.clock.now())),
            None => return,
        }
    }
}

fn limits(for_each: u32, for_all: u32) -> impl FnOnce(&mut stepladder_core::Spec) {
    move |spec| {
        let key = Some(Expr::compile("event.data.user").expect("an expression"));
        spec.concurrency.push(Concurrency { key, ..Concurrency::steps(for_each) });
        spec.concurrency.push(Concurrency::steps(for_all));
    }
}

/// A function with steps of five seconds, sequential or parallel.
fn script(clock: &Arc<VirtualClock>, parallel: bool) -> ScriptedFunction {
    (0..STEPS).fold(ScriptedFunction::new("f"), |script, n| {
        let clock = clock.clone();
        let body = move |_| {
            let clock = clock.clone();
            async move {
                clock.sleep_until(clock.now() + TAKES).await;
                Ok(())
            }
        };
        let before = format!("s{}", n.wrapping_sub(1));
        let after: &[&str] = if n == 0 || parallel { &[] } else { &[&before] };
        script.body(&format!("s{n}"), after, body)
    })
}

fn of_user(user: usize) -> NewEvent {
    NewEvent::new("go", json::to_json(&serde_json::json!({ "user": user })).expect("JSON"))
}

/// Returns the number of wakes per step, with `runs` runs spread over eight users.
async fn wakes_a_step(runs: usize, (for_each, for_all): (u32, u32), parallel: bool) -> f64 {
    let mut world = EngineFixture::new(Vec::new()).pace(Pace::StepPerInvocation);
    world.functions.push(script(&world.clock, parallel).spec(limits(for_each, for_all)).function());
    let engine = world.engine();
    engine.intake().ingest((0..runs).map(|n| of_user(n % USERS)).collect(), None).await.expect("accepted");
    work_in_parallel(&world, &engine).await;
    let all =
        engine.query().runs(RunFilter { limit: Some(2 * runs), ..RunFilter::default() }).await.expect("listed").runs;
    assert_eq!(all.len(), runs);
    assert!(all.iter().all(|run| run.status == Status::Completed));
    // the runs took little longer than with all slots in use, so no step waited beside a free slot
    let at_a_time = for_all.min(for_each * USERS as u32);
    let shortest = TAKES * (runs * STEPS) as u32 / at_a_time;
    let took = all.iter().filter_map(|run| run.ended_at).max().expect("ends").since(all[0].created_at);
    assert!(took <= shortest * 3 / 2, "{took:?}, where {shortest:?} would do");
    world.memory.counts().sends as f64 / (runs * STEPS) as f64
}

#[tokio::test]
async fn the_wakes_of_a_step_do_not_grow_with_the_number_of_waiting_runs() {
    for (parallel, limits) in [(false, (1, 4)), (true, (1, 2)), (true, (2, 4)), (true, (1, 1_000))] {
        let few = wakes_a_step(24, limits, parallel).await;
        let many = wakes_a_step(96, limits, parallel).await;
        assert!(
            many < few + 1.0 && many < 8.0,
            "{limits:?}, parallel {parallel}: {few:.2}, then {many:.2} wakes a step"
        );
    }
}

fn key_limit() -> Limit {
    Limit { key: "f/0/0".into(), slots: 1 }
}

fn shared_limit() -> Limit {
    Limit { key: "f/1".into(), slots: 1 }
}

/// Returns a holder that belongs to a run of another function.
fn other_holder(n: u128) -> Holder {
    Holder::Attempt { run: RunId::new(Timestamp::from_millis(0), n), step: "other".into(), attempt: 1, hop: 0 }
}

/// Two hops of the same step are refused at different limits. Each hop removes the ticket that the
/// other hop relies on.
#[tokio::test]
async fn a_step_that_moves_between_queues_ends_with_one_ticket() {
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).spec(limits(1, 1)).function()]);
    let (memory, clock) = (world.memory.clone(), world.clock.clone());
    let plain = world.engine();
    let now = clock.now();
    memory.try_acquire(&[shared_limit()], &other_holder(1), now + LEASE, now).await.expect("taken");
    plain.intake().ingest(vec![of_user(0)], None).await.expect("accepted");
    let run = only_run(&plain).await;
    assert!(
        memory.ticket(&key_limit().key, run, None).await.expect("read").is_some(),
        "it has a ticket at its first limit"
    );
    let leaves: HookFuture = {
        let memory = memory.clone();
        Box::pin(async move {
            let leave = LateWrite::Dequeue { limit: shared_limit(), run, of: None };
            memory.commit(Commit { after: vec![leave], ..Commit::default() }).await.expect("left");
        })
    };
    // this hop first removes its ticket from the queue of the limit per key
    let engine = world.engine_on(around::with_hook_before(&memory, "dequeue", leaves));
    world.hop_once(&engine).await;
    assert!(memory.ticket(&shared_limit().key, run, None).await.expect("read").is_some());
    assert!(memory.ticket(&key_limit().key, run, None).await.expect("read").is_none());
}

/// A run has the first ticket in the queue of its first limit. The run has no ticket at the second
/// limit, so it comes after all tickets there.
#[tokio::test]
async fn a_run_new_at_the_second_limit_does_not_overtake_waiting_tickets() {
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).spec(limits(1, 1)).function()]);
    let (memory, clock) = (world.memory.clone(), world.clock.clone());
    let engine = world.engine();
    let (now, waits) = (clock.now(), other_holder(3));
    let place = Ticket { queued_at: now, event: EventId::new(now, 3), run: waits.run(), of: waits.run_or_step() };
    memory.enqueue(&shared_limit(), place).await.expect("parked");
    clock.advance(Duration::from_secs(1));
    engine.intake().ingest(vec![of_user(0)], None).await.expect("accepted");
    let run = only_run(&engine).await;
    world.hop_once(&engine).await;
    for limit in [key_limit(), shared_limit()] {
        assert_eq!(memory.holders(&limit.key).await.expect("holders"), [], "{}", limit.key);
    }
    let line = memory.first_tickets(&shared_limit().key, 9).await.expect("a line");
    assert_eq!(line.iter().map(|place| place.run).collect::<Vec<_>>(), [waits.run(), run]);
}

/// A step that moves to another queue keeps the time of its ticket, so that the step need not be
/// the last in that queue.
#[tokio::test]
async fn a_ticket_keeps_its_time_in_another_queue() {
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).spec(limits(1, 1)).function()]);
    let (memory, clock) = (world.memory.clone(), world.clock.clone());
    let engine = world.engine();
    let arrived = clock.now();
    memory.try_acquire(&[shared_limit()], &other_holder(1), arrived + LEASE, arrived).await.expect("taken");
    memory.try_acquire(&[key_limit()], &other_holder(2), arrived + LEASE, arrived).await.expect("taken");
    engine.intake().ingest(vec![of_user(0)], None).await.expect("accepted");
    let run = only_run(&engine).await;
    world.hop_once(&engine).await;
    clock.advance(Duration::from_secs(60));
    let now = clock.now();
    let later = other_holder(3);
    let place = Ticket { queued_at: now, event: EventId::new(now, 3), run: later.run(), of: later.run_or_step() };
    memory.enqueue(&shared_limit(), place).await.expect("parked");
    let release = LateWrite::Release { limit: key_limit(), holder: other_holder(2) };
    let wake = Wake { run, cause: WakeCause::Slot, group: key_limit().key };
    memory.commit(Commit { after: vec![release], wakes: vec![wake], ..Commit::default() }).await.expect("released");
    world.hop_once(&engine).await;
    let line = memory.first_tickets(&shared_limit().key, 9).await.expect("a line");
    assert_eq!(line.iter().map(|place| place.run).collect::<Vec<_>>(), [run, later.run()]);
}

/// Either the reply to the acquisition is lost, or the next call fails, which reads the tickets.
/// The slot must then be released, so that no step has to wait until the lease expires.
#[tokio::test]
async fn a_slot_acquired_with_a_lost_reply_is_released() {
    for (asked, has_two_limits) in [("acquire", false), ("acquire", true), ("snapshot", false)] {
        let for_all = ScriptedFunction::new("f").step("a", &[]).spec(|spec| match has_two_limits {
            true => limits(1, 1)(spec),
            false => spec.concurrency.push(Concurrency::steps(1)),
        });
        let mut world = EngineFixture::new(vec![for_all.function()]);
        let engine = world.engine_on(around::with_lost_reply(&world.memory, asked));
        engine.intake().ingest(vec![of_user(0), of_user(0)], None).await.expect("accepted");
        world.settle_within(&engine, Duration::from_secs(60)).await;
        let runs = engine.query().runs(RunFilter::default()).await.expect("listed").runs;
        assert!(runs.iter().all(|run| run.status == Status::Completed), "{asked}");
    }
}
