//! Events that arrive while a wait is being registered (rules 15 and 18). None may be lost, and
//! none may be delivered twice.

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use stepladder_core::journal::Fact;
use stepladder_core::{Status, WakeCause};
use stepladder_engine::ports::{Backend, Commit, Commits, EarlyWrite, Queue, StoreResult, SubscriptionIndex};
use stepladder_testkit::intercept::{Intercept, InterceptedBackend, StorageCall};
use stepladder_testkit::memory::Memory;
use support::script::ScriptedFunction;
use support::waiting::{HOUR, count_deliveries, event_named, send, status, wait_for_any, waiting_run, work};
use support::{EngineFixture, count_facts, only_run};

#[tokio::test]
async fn rule_15_a_repeated_event_sends_the_wake_that_the_first_did_not_get_to() {
    let script = ScriptedFunction::new("f").request("w", &[], wait_for_any("approved")).step("a", &["w"]);
    let (mut world, engine, run) = waiting_run(script).await;
    let dying = world.engine_on(support::slow::only_journal(world.memory.clone(), |fact| {
        matches!(fact, Fact::EventDelivered { .. })
    }));
    let ingest = tokio::spawn(async move { send(&dying, event_named("approved", "x")).await });
    while count_deliveries(&world, &engine, run).await == 0 {
        tokio::task::yield_now().await;
    }
    ingest.abort();
    work(&world, &engine).await;
    assert_eq!(status(&engine, run).await, Status::Running, "no wake was sent");
    send(&engine, event_named("approved", "x")).await;
    work(&world, &engine).await;
    assert_eq!((count_deliveries(&world, &engine, run).await, status(&engine, run).await), (1, Status::Completed));
}

#[tokio::test]
async fn rule_18_a_subscription_is_written_before_its_entry() {
    let script = ScriptedFunction::new("f").request("w", &[], wait_for_any("approved"));
    let mut world = EngineFixture::new(vec![script.function()]);
    let is_wait = |fact: &Fact| matches!(fact, Fact::EventAwaited { .. });
    let dying = world.engine_on(support::slow::only_before(world.memory.clone(), is_wait));
    world.send_event(&dying).await;
    let hop = support::spawn_hop(&world, &dying);
    while world.memory.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    hop.abort();
    let run = only_run(&dying).await;
    let engine = world.engine();
    assert_eq!(count_facts(&world.journal(&engine, run).await, is_wait), 0);
    assert_eq!(world.memory.timers(), 2, "the watchdog, and the end of the wait");
}

/// Runs `interlude` in the middle of a commit: after the writes that precede the journal, and
/// before the journal.
struct MidCommitHook<F, I> {
    memory: Arc<Memory>,
    is: F,
    interlude: I,
}

#[async_trait]
impl<F, I> Intercept for MidCommitHook<F, I>
where
    F: Fn(&Commit) -> bool + Send + Sync,
    I: Fn() -> BoxFuture<'static, ()> + Send + Sync,
{
    fn backend(&self) -> &dyn Backend {
        &*self.memory
    }

    async fn around<'a, T: std::fmt::Debug + Send>(
        &'a self,
        call: StorageCall<'a>,
        reply: BoxFuture<'a, StoreResult<T>>,
    ) -> StoreResult<T> {
        if let Some(commit) = call.commit.filter(|commit| (self.is)(commit)) {
            if commit.append.is_some() {
                let before = commit.before.clone();
                self.memory.commit(Commit { before, ..Commit::default() }).await?;
            }
            (self.interlude)().await;
        }
        reply.await
    }
}

fn is_registration(commit: &Commit) -> bool {
    let entries = commit.append.iter().flat_map(|append| &append.record.entries);
    entries.into_iter().any(|entry| matches!(entry.fact, Fact::EventAwaited { .. }))
}

fn is_offer(commit: &Commit) -> bool {
    commit.before.iter().any(|before| matches!(before, EarlyWrite::PutInInbox { .. }))
}

#[tokio::test]
async fn rule_18_an_event_between_the_index_and_the_entry_is_not_lost() {
    let script = ScriptedFunction::new("f").request("w", &[], wait_for_any("approved")).step("a", &["w"]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let sender = world.engine();
    let sends = move || -> BoxFuture<'static, ()> {
        let sender = sender.clone();
        Box::pin(async move {
            send(&sender, event_named("approved", "x")).await;
        })
    };
    let between = MidCommitHook { memory: world.memory.clone(), is: is_registration, interlude: sends };
    let engine = world.engine_on(Arc::new(InterceptedBackend(between)));
    world.send_event(&engine).await;
    world.hop_once(&engine).await;
    let run = only_run(&engine).await;
    assert_eq!(world.memory.inbox(run).await.unwrap().len(), 1, "the journal did not know of the wait yet");
    world.settle_within(&engine, Duration::from_secs(1)).await;
    assert_eq!((count_deliveries(&world, &engine, run).await, status(&engine, run).await), (1, Status::Completed));
    assert!(world.memory.inbox(run).await.unwrap().is_empty(), "nothing is left in the inbox");
}

#[tokio::test]
async fn rule_18_the_wake_of_an_offer_that_comes_before_the_entry_writes_the_wait_down() {
    let script = ScriptedFunction::new("f").request("w", &[], wait_for_any("approved")).step("a", &["w"]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let is_wait = |fact: &Fact| matches!(fact, Fact::EventAwaited { .. });
    let dying = world.engine_on(support::slow::only_before(world.memory.clone(), is_wait));
    world.send_event(&dying).await;
    let hop = support::spawn_hop(&world, &dying);
    while world.memory.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    hop.abort(); // the hop's wake is delivered again much later
    let engine = world.engine();
    send(&engine, event_named("approved", "x")).await;
    work(&world, &engine).await;
    let run = only_run(&engine).await;
    assert_eq!((count_deliveries(&world, &engine, run).await, status(&engine, run).await), (1, Status::Completed));
}

#[tokio::test]
async fn rule_18_an_event_that_is_offered_after_the_entry_is_found_by_its_wake() {
    let script = ScriptedFunction::new("f").request("w", &[], wait_for_any("approved")).step("a", &["w"]);
    let mut world = EngineFixture::new(vec![script.function()]);
    // The subscription is in the index, but the journal has no `EventAwaited`: the hop stopped
    // between the two writes.
    let dying = world
        .engine_on(support::slow::only_before(world.memory.clone(), |fact| matches!(fact, Fact::EventAwaited { .. })));
    world.send_event(&dying).await;
    let hop = support::spawn_hop(&world, &dying);
    while world.memory.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    hop.abort();
    // another hop writes the entry while the event is being put into the inbox
    let (memory, other) = (world.memory.clone(), world.engine());
    let hops = move || -> BoxFuture<'static, ()> {
        let (memory, other) = (memory.clone(), other.clone());
        Box::pin(async move {
            memory.redeliver();
            for delivery in memory.receive(9, HOUR).await.unwrap() {
                other.hop(delivery).await.unwrap();
            }
        })
    };
    let between = MidCommitHook { memory: world.memory.clone(), is: is_offer, interlude: hops };
    let sender = world.engine_on(Arc::new(InterceptedBackend(between)));
    send(&sender, event_named("approved", "x")).await;
    let engine = world.engine();
    let run = only_run(&engine).await;
    assert_eq!(count_facts(&world.journal(&engine, run).await, |f| matches!(f, Fact::EventAwaited { .. })), 1);
    assert_eq!(count_deliveries(&world, &engine, run).await, 0, "it is on its way still");
    world.settle_within(&engine, Duration::from_secs(1)).await;
    assert_eq!((count_deliveries(&world, &engine, run).await, status(&engine, run).await), (1, Status::Completed));
}

#[tokio::test]
async fn the_wake_of_an_offer_keeps_its_cause_when_it_is_repeated() {
    let script = ScriptedFunction::new("f").request("w", &[], wait_for_any("approved")).step("a", &["w"]);
    let (mut world, _, run) = waiting_run(script).await;
    let wake = stepladder_core::Wake { run, cause: WakeCause::Offered, group: "f".into() };
    world.memory.commit(Commit { wakes: vec![wake], ..Commit::default() }).await.unwrap();
    // a read fails, so the wake is sent again (rule 13)
    let unlucky = world.engine_on(support::slow::refuse_reads(world.memory.clone()));
    world.hop_once(&unlucky).await;
    world.clock.advance(Duration::from_secs(10));
    let deliveries = world.memory.receive(9, HOUR).await.unwrap();
    assert!(deliveries.iter().any(|delivery| delivery.wake.cause == WakeCause::Offered), "{deliveries:?}");
}

#[tokio::test]
async fn an_offer_without_a_wait_is_dropped() {
    let script = ScriptedFunction::new("f").request("w", &[], wait_for_any("approved")).step("a", &["w"]);
    let (mut world, engine, run) = waiting_run(script).await;
    let accepted = world.engine().intake().ingest(vec![event_named("other", "x")], None).await.unwrap()[0];
    assert_eq!(count_deliveries(&world, &engine, run).await, 0);
    let before = vec![EarlyWrite::PutInInbox { run, event: accepted }];
    let wake = stepladder_core::Wake { run, cause: WakeCause::Offered, group: "f".into() };
    world.memory.commit(Commit { before, wakes: vec![wake], ..Commit::default() }).await.unwrap();
    work(&world, &engine).await;
    assert!(world.memory.inbox(run).await.unwrap().is_empty());
    assert_eq!((count_deliveries(&world, &engine, run).await, status(&engine, run).await), (0, Status::Running));
}
