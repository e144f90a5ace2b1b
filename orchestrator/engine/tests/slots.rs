//! Limits: there are never more holders than slots, no ticket waits while a slot is free, and
//! tickets are promoted in order.

mod support;

use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use stepladder_core::decide::Operation;
use stepladder_core::expr::Expr;
use stepladder_core::journal::Fact;
use stepladder_core::slot::{Holder, Limit};
use stepladder_core::spec::Concurrency;
use stepladder_core::{EventId, NewEvent, RunId, Status, Timestamp, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Commit, Commits, LateWrite, Queue, SlotOperations};
use stepladder_engine::{Engine, Pace, RunFilter};
use support::EngineFixture;
use support::script::ScriptedFunction;
use tokio::sync::{Notify, Semaphore};

fn with_limit(script: ScriptedFunction, limit: u32) -> ScriptedFunction {
    script.spec(|spec| spec.concurrency.push(Concurrency::steps(limit)))
}

fn limit(slots: u32) -> Limit {
    Limit { key: "f/0".into(), slots }
}

async fn send_events(engine: &Engine, n: usize) -> Vec<EventId> {
    engine.intake().ingest(vec![NewEvent::new("go", json::empty_object()); n], None).await.unwrap()
}

/// Works with several workers at the same time until nothing is left that is due now.
async fn work(world: &EngineFixture, engines: &[Arc<Engine>]) {
    while world.memory.next_due().is_some_and(|due| due <= world.clock.now()) {
        let deliveries = world.memory.receive(8, Duration::from_secs(150)).await.unwrap();
        let hops = deliveries.into_iter().enumerate().map(|(i, delivery)| {
            let engine = engines[i % engines.len()].clone();
            tokio::spawn(async move { engine.hop(delivery).await.unwrap() })
        });
        for hop in hops.collect::<Vec<_>>() {
            hop.await.unwrap();
        }
    }
}

/// Returns the times at which the runs started this step, earliest first, each with the number of
/// the run's event.
async fn start_times(engine: &Engine, events: &[EventId], of: &str) -> Vec<(Timestamp, usize)> {
    let mut order = Vec::new();
    for run in engine.query().runs(RunFilter { limit: Some(500), ..RunFilter::default() }).await.unwrap().runs {
        let journal = engine.query().journal(run.run, 0, 100).await.unwrap().entries;
        let is_start = |fact: &Fact| matches!(fact, Fact::StepStarted { step, .. } if **step == *of);
        let (_, started) = journal.iter().find(|(_, entry)| is_start(&entry.fact)).unwrap();
        order.push((started.at, events.iter().position(|id| *id == run.event).unwrap()));
    }
    order.sort();
    order
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_runs_share_three_slots_in_the_order_of_their_creation() {
    for pace in [Pace::StepPerInvocation, Pace::WithinBudget] {
        let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (n, m) = (now.clone(), most.clone());
        let clocks: Arc<std::sync::OnceLock<Arc<stepladder_testkit::clock::VirtualClock>>> = Arc::default();
        let clock = clocks.clone();
        let body = move |_| {
            let (n, m, clock) = (n.clone(), m.clone(), clock.clone());
            async move {
                m.fetch_max(n.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::task::yield_now().await;
                // advances the clock so that no two bodies start in the same millisecond, and the
                // journals show their order
                clock.get().unwrap().advance(Duration::from_millis(1));
                n.fetch_sub(1, SeqCst);
                Ok(())
            }
        };
        let script = with_limit(ScriptedFunction::new("f"), 3).body("a", &[], body.clone()).body("b", &["a"], body);
        let mut world = EngineFixture::new(vec![script.function()]).pace(pace);
        clocks.set(world.clock.clone()).ok();
        let engines = [world.engine(), world.engine(), world.engine()];
        let events = send_events(&engines[0], 50).await;
        work(&world, &engines).await;
        let sends = world.memory.counts().sends;
        assert!(sends < 50 * 2 * 8, "{pace:?}: {sends} wakes for 100 steps");
        let runs = engines[0].query().runs(RunFilter { limit: Some(500), ..RunFilter::default() }).await.unwrap().runs;
        assert_eq!(runs.iter().filter(|run| run.status == Status::Completed).count(), 50, "{pace:?}");
        assert!((1..=3).contains(&most.load(SeqCst)), "{pace:?}: {} at once", most.load(SeqCst));
        // with three slots, a run may overtake only the two that hold the other slots
        let first_steps = start_times(&engines[0], &events, "a").await;
        for (place, (_, event)) in first_steps.iter().enumerate() {
            assert!(*event < place + 3, "{pace:?}: event {event} was admitted as number {place}");
        }
        // a run that releases its slot enqueues its next step behind all runs that wait for their
        // first step
        let (earliest, _) = start_times(&engines[0], &events, "b").await[0];
        let before = first_steps.iter().filter(|(at, _)| *at <= earliest).count();
        assert!(before >= 50 - 3, "{pace:?}: {before} first steps had started when a second step did");
        assert!(world.memory.holders(&limit(3).key).await.unwrap().is_empty(), "{pace:?}");
        assert!(world.memory.first_tickets(&limit(3).key, 1).await.unwrap().is_empty(), "{pace:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_value_of_a_key_has_separate_slots() {
    let gate = Arc::new(Semaphore::new(0));
    let open = gate.clone();
    let key = Some(Expr::compile("event.data.client").unwrap());
    let script = ScriptedFunction::new("f")
        .spec(|spec| spec.concurrency.push(Concurrency { key, ..Concurrency::steps(1) }))
        .body("a", &[], move |_| {
            let open = open.clone();
            async move {
                open.acquire().await.unwrap().forget();
                Ok(())
            }
        });
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    let of = |client: &str| NewEvent::new("go", json::to_json(&serde_json::json!({ "client": client })).unwrap());
    engine.intake().ingest(vec![of("x"), of("x"), of("y"), of("y")], None).await.unwrap();
    let hops: Vec<_> = world.memory.receive(4, Duration::from_secs(150)).await.unwrap();
    let hops: Vec<_> = hops
        .into_iter()
        .map(|delivery| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.hop(delivery).await.unwrap() })
        })
        .collect();
    // one run of each client holds the client's slot, and the other run waits in the client's queue
    for client in ["x", "y"] {
        let limit = Limit { key: format!("f/0/{client}").into(), slots: 1 };
        while world.memory.holders(&limit.key).await.unwrap().len() != 1
            || world.memory.first_tickets(&limit.key, 9).await.unwrap().len() != 1
        {
            tokio::task::yield_now().await;
        }
    }
    gate.add_permits(4);
    for hop in hops {
        hop.await.unwrap();
    }
    work(&world, from_ref(&engine)).await;
    let runs = engine.query().runs(RunFilter::default()).await.unwrap().runs;
    assert!(runs.iter().all(|run| run.status == Status::Completed));
}

#[tokio::test]
async fn a_key_that_cannot_be_evaluated_fails_the_run_with_the_reason() {
    let key = Some(Expr::compile("event.data.missing").unwrap());
    let script = ScriptedFunction::new("f")
        .spec(|spec| spec.concurrency.push(Concurrency { key, ..Concurrency::steps(1) }))
        .step("a", &[]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    send_events(&engine, 1).await;
    work(&world, from_ref(&engine)).await;
    let run = engine.query().runs(RunFilter::default()).await.unwrap().runs.remove(0);
    assert_eq!(run.status, Status::Failed);
    assert!(run.error.unwrap().message.contains("`event.data.missing`"));
}

/// Returns a function with a body that notifies the test when it starts. The body then waits for a
/// permit to end.
fn gated_function(limit: u32) -> (ScriptedFunction, Arc<Notify>, Arc<Semaphore>) {
    let (begun, open) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (b, o) = (begun.clone(), open.clone());
    let script = with_limit(ScriptedFunction::new("f"), limit).body("a", &[], move |_| {
        let (b, o) = (b.clone(), o.clone());
        async move {
            b.notify_one();
            o.acquire().await.unwrap().forget();
            Ok(())
        }
    });
    (script, begun, open)
}

#[tokio::test]
async fn rule_20_a_hop_with_a_conflict_does_not_release_the_winners_slot() {
    // a wake is delivered twice: both hops acquire a slot, and both write the start at the same
    // time
    let (script, begun, open) = gated_function(2);
    let mut world = EngineFixture::new(vec![script.function()]);
    let same_time = support::slow::together(world.memory.clone(), |fact| matches!(fact, Fact::StepStarted { .. }));
    let engines = [world.engine_on(same_time.clone()), world.engine_on(same_time)];
    send_events(&engines[0], 1).await;
    let delivery = world.memory.receive(1, Duration::from_secs(150)).await.unwrap().remove(0);
    let hops = engines.map(|engine| {
        let delivery = delivery.clone();
        tokio::spawn(async move { engine.hop(delivery).await.unwrap() })
    });
    begun.notified().await;
    while hops.iter().all(|hop| !hop.is_finished()) {
        tokio::task::yield_now().await; // yields until one of the hops has ended
    }
    assert_eq!(world.memory.holders(&limit(2).key).await.unwrap().len(), 1, "the winner's alone");
    open.add_permits(1);
    for hop in hops {
        hop.await.unwrap();
    }
    assert!(world.memory.holders(&limit(2).key).await.unwrap().is_empty());
}

#[tokio::test]
async fn rule_20_the_slot_of_a_start_that_was_not_written_is_released() {
    // the run is cancelled after the hop acquired the slot and before it wrote the start
    let (script, _begun, _open) = gated_function(1);
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    send_events(&engine, 1).await;
    let run = engine.query().runs(RunFilter::default()).await.unwrap().runs[0].run;
    let onlooker = world.engine();
    let cancels = support::slow::SlowBackend::new(world.memory.clone(), world.clock.clone(), |_| None);
    let hopping = world.engine_on(cancels);
    onlooker.control().cancel(run, "enough").await.unwrap();
    let holder = Holder::Attempt { run, step: "a".into(), attempt: 1, hop: 0 };
    let lease = world.clock.now() + Duration::from_secs(125);
    world.memory.try_acquire(&[limit(1)], &holder, lease, world.clock.now()).await.unwrap();
    work(&world, &[hopping]).await;
    assert!(world.memory.holders(&limit(1).key).await.unwrap().is_empty());
}

#[tokio::test]
async fn rule_21_a_refused_step_is_enqueued_and_then_tries_once_more() {
    // a hop is refused. Before it enqueues the step, another hop releases the slot and finds the
    // queue empty
    let script = with_limit(ScriptedFunction::new("f"), 1).step("a", &[]).step("b", &["a"]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    let events = send_events(&engine, 1).await;
    world.hop_once(&engine).await;
    let other = Holder::Attempt { run: RunId::new(world.clock.now(), 9), step: "x".into(), attempt: 1, hop: 0 };
    let lease = world.clock.now() + Duration::from_secs(100);
    world.memory.try_acquire(&[limit(1)], &other, lease, world.clock.now()).await.unwrap();
    let memory = world.memory.clone();
    let freed = move || {
        let after = vec![LateWrite::Release { limit: limit(1), holder: other.clone() }];
        let (memory, freed) = (memory.clone(), Commit { after, ..Commit::default() });
        async move { memory.commit(freed).await.map(drop).unwrap() }
    };
    let unlucky = world.engine_on(support::slow::before_park(world.memory.clone(), freed));
    work(&world, &[unlucky]).await;
    assert_eq!(world.status(&engine, events[0]).await, Status::Completed);
}

#[tokio::test]
async fn rule_22_a_redelivered_wake_repeats_the_release_and_the_promotion() {
    // the worker dies after it wrote the outcome and before it released the slot. Its run sleeps,
    // and another run waits for the slot
    let script = with_limit(ScriptedFunction::new("f"), 1).step("a", &[]).request(
        "nap",
        &["a"],
        Operation::SleepFor(Duration::from_secs(60)),
    );
    let mut world = EngineFixture::new(vec![script.function()]);
    let torn = support::slow::only_journal(world.memory.clone(), |fact| matches!(fact, Fact::StepSucceeded { .. }));
    let (dying, engine) = (world.engine_on(torn), world.engine());
    send_events(&engine, 2).await;
    let delivery = world.memory.receive(1, Duration::from_secs(150)).await.unwrap().remove(0);
    let hop = tokio::spawn(async move { dying.hop(delivery).await });
    let onlooker = world.engine();
    loop {
        let started = world.memory.counts().appends;
        tokio::task::yield_now().await;
        let runs = onlooker.query().runs(RunFilter::default()).await.unwrap().runs;
        let mut written = 0;
        for run in &runs {
            let journal = world.journal(&onlooker, run.run).await;
            written += support::count_facts(&journal, |f| matches!(f, Fact::StepSucceeded { .. }));
        }
        if written == 1 && started > 0 {
            break;
        }
    }
    hop.abort();
    let _ = hop.await;
    assert_eq!(world.memory.holders(&limit(1).key).await.unwrap().len(), 1, "the slot is not released");
    work(&world, from_ref(&engine)).await; // the other run is refused and enqueued
    world.memory.redeliver();
    work(&world, from_ref(&engine)).await;
    let runs = engine.query().runs(RunFilter::default()).await.unwrap().runs;
    for run in runs {
        let journal = world.journal(&engine, run.run).await;
        assert_eq!(support::count_facts(&journal, |f| matches!(f, Fact::StepSucceeded { .. })), 1, "{journal:#?}");
    }
}

#[tokio::test]
async fn rule_22_the_worker_of_a_cancelled_run_still_releases_its_slot() {
    let (script, begun, open) = gated_function(1);
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    let events = send_events(&engine, 2).await;
    let delivery = world.memory.receive(1, Duration::from_secs(150)).await.unwrap().remove(0);
    let hopping = engine.clone();
    let hop = tokio::spawn(async move { hopping.hop(delivery).await.unwrap() });
    begun.notified().await;
    let run = engine.query().runs_of_event(&events[0].to_string()).await.unwrap()[0].run;
    engine.control().cancel(run, "enough").await.unwrap();
    assert_eq!(world.memory.holders(&limit(1).key).await.unwrap().len(), 1, "the body still executes");
    open.add_permits(1);
    hop.await.unwrap();
    open.add_permits(1);
    work(&world, from_ref(&engine)).await;
    assert_eq!(engine.query().run(run).await.unwrap().summary.status, Status::Cancelled);
    assert_eq!(world.status(&engine, events[1]).await, Status::Completed, "the next ticket got the slot");
}

#[tokio::test]
async fn rule_23_the_first_ticket_tries_again_at_the_end_of_a_dead_holders_lease() {
    let (script, begun, open) = gated_function(1);
    let mut world = EngineFixture::new(vec![script.function()]);
    let (dies, lives) = (world.engine(), world.engine());
    let events = send_events(&dies, 3).await;
    let delivery = world.memory.receive(1, Duration::from_secs(150)).await.unwrap().remove(0);
    let hop = tokio::spawn(async move { dies.hop(delivery).await.unwrap() });
    begun.notified().await;
    work(&world, from_ref(&lives)).await; // the other runs are refused and enqueued
    let dead = lives.query().runs_of_event(&events[0].to_string()).await.unwrap()[0].run;
    hop.abort();
    let _ = hop.await;
    lives.control().cancel(dead, "its worker is dead").await.unwrap();
    work(&world, from_ref(&lives)).await;
    assert_eq!(world.memory.holders(&limit(1).key).await.unwrap().len(), 1, "the slot is not released");
    // the dead worker sent no wake, so the next wake comes when the lease expires
    let lease = world.memory.holders(&limit(1).key).await.unwrap()[0].lease_until;
    world.clock.set(lease + Duration::from_millis(200));
    open.add_permits(2);
    work(&world, from_ref(&lives)).await;
    assert_eq!(world.status(&lives, events[1]).await, Status::Completed);
}

#[tokio::test]
async fn rule_24_a_woken_run_that_cannot_use_the_slot_promotes_the_next_ticket() {
    // the run with the first ticket is cancelled while it waits. The cancelled run's wake must
    // promote the next ticket
    let (script, begun, open) = gated_function(1);
    let mut world = EngineFixture::new(vec![script.function()]);
    let engine = world.engine();
    let events = send_events(&engine, 3).await;
    let delivery = world.memory.receive(1, Duration::from_secs(150)).await.unwrap().remove(0);
    let hopping = engine.clone();
    let hop = tokio::spawn(async move { hopping.hop(delivery).await.unwrap() });
    begun.notified().await;
    work(&world, from_ref(&engine)).await;
    open.add_permits(1);
    hop.await.unwrap(); // the hop releases the slot and wakes the second run
    let second = engine.query().runs_of_event(&events[1].to_string()).await.unwrap()[0].run;
    engine.control().cancel(second, "no longer").await.unwrap();
    open.add_permits(1);
    work(&world, from_ref(&engine)).await;
    assert_eq!(world.status(&engine, events[1]).await, Status::Cancelled);
    assert_eq!(world.status(&engine, events[2]).await, Status::Completed);
}

#[tokio::test]
async fn rule_25_a_run_that_needs_no_slot_does_not_block_the_queue() {
    // a run that starts with a sleep removes the ticket that it got at its creation
    let sleeper = with_limit(ScriptedFunction::new("f"), 1)
        .request("nap", &[], Operation::SleepFor(Duration::from_secs(3_000)))
        .step("a", &["nap"]);
    let mut world = EngineFixture::new(vec![sleeper.function()]);
    let engine = world.engine();
    send_events(&engine, 2).await;
    work(&world, from_ref(&engine)).await;
    assert!(world.memory.first_tickets(&limit(1).key, 9).await.unwrap().is_empty());
    world.settle(&engine).await;
    let runs = engine.query().runs(RunFilter::default()).await.unwrap().runs;
    assert!(runs.iter().all(|run| run.status == Status::Completed));
}
