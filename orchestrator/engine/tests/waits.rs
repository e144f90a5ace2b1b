//! Waiting for events (rules 17 and 18): each event enters a run once, at once, and none is lost in
//! the moment of registering.

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use stepladder_core::decide::Operation;
use stepladder_core::journal::Fact;
use stepladder_core::waiting::{EventMatch, EventWait, Field};
use stepladder_core::{EventId, NewEvent, RunId, Status, WakeCause, json};
use stepladder_engine::Engine;
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Backend, Commit, Commits, EarlyWrite, Queue, StoreResult, SubscriptionIndex};
use stepladder_testkit::intercept::{Call, Intercept, Intercepted};
use stepladder_testkit::memory::Memory;
use support::script::Script;
use support::{World, count, only_run};

const HOUR: Duration = Duration::from_secs(3_600);

fn wait_for(event: &str, matching: EventMatch) -> Operation {
    Operation::WaitForEvent { wait: Arc::new(EventWait { events: vec![event.into()], matching }), timeout: HOUR }
}

fn any(event: &str) -> Operation {
    wait_for(event, EventMatch::Any)
}

fn by(path: &str, value: serde_json::Value) -> EventMatch {
    EventMatch::Field(Field::new(path, &value).unwrap())
}

fn event(name: &str, data: serde_json::Value) -> NewEvent {
    NewEvent::new(name, json::to_json(&data).unwrap())
}

/// An event that is the same one when it is sent again.
fn named(name: &str, id: &str) -> NewEvent {
    NewEvent { id: Some(id.into()), ..event(name, serde_json::json!({})) }
}

async fn send(engine: &Engine, event: NewEvent) -> EventId {
    engine.intake().ingest(vec![event], None).await.expect("accepted")[0]
}

/// Everything that can be done without moving the clock.
async fn work(world: &World, engine: &Arc<Engine>) {
    world.settle_within(engine, Duration::ZERO).await;
}

async fn status(engine: &Engine, run: RunId) -> Status {
    engine.query().run(run).await.unwrap().summary.status
}

/// How many events entered a run.
async fn entered(world: &World, engine: &Engine, run: RunId) -> usize {
    count(&world.journal(engine, run).await, |fact| matches!(fact, Fact::EventDelivered { .. }))
}

#[tokio::test]
async fn an_event_wakes_the_run_that_waits_for_it_at_once() {
    let script = Script::new("f").ask("w", &[], any("approved")).step("a", &["w"]);
    let mut world = World::new(vec![script.program()]);
    let engine = world.engine();
    world.go(&engine).await;
    work(&world, &engine).await;
    let run = only_run(&engine).await;
    let waiting = engine.query().run(run).await.unwrap().waiting.expect("it waits");
    assert!(waiting.starts_with("waits in `w` for event `approved` until "), "{waiting}");
    send(&engine, named("approved", "x")).await;
    assert_eq!(world.memory.next_due(), Some(world.clock.now()), "its wake is due now");
    assert_eq!(world.memory.waiting(), 0, "the index has forgotten it");
    work(&world, &engine).await;
    assert_eq!(status(&engine, run).await, Status::Completed);
}

#[tokio::test]
async fn a_wait_that_nothing_comes_for_ends_at_its_time() {
    let script = Script::new("f").ask("w", &[], any("approved")).step("a", &["w"]);
    let mut world = World::new(vec![script.program()]);
    let engine = world.engine();
    world.go(&engine).await;
    work(&world, &engine).await;
    let begun = world.clock.now();
    world.settle(&engine).await;
    let run = only_run(&engine).await;
    let journal = world.journal(&engine, run).await;
    let expired = journal.iter().find(|e| matches!(e.fact, Fact::WaitExpired { .. })).expect("it expired");
    assert_eq!(expired.at, begun + HOUR);
    assert_eq!(world.memory.waiting(), 0);
    assert_eq!(status(&engine, run).await, Status::Completed);
    send(&engine, named("approved", "late")).await;
    assert_eq!(entered(&world, &engine, run).await, 0);
}

#[tokio::test]
async fn rule_17_an_event_enters_once_for_all_open_waits_and_fulfils_no_later_one() {
    let script = Script::new("f").ask("one", &[], any("approved")).ask("two", &[], any("approved")).ask(
        "later",
        &["one", "two"],
        any("approved"),
    );
    let mut world = World::new(vec![script.program()]);
    let engine = world.engine();
    world.go(&engine).await;
    work(&world, &engine).await;
    let run = only_run(&engine).await;
    let first = send(&engine, named("approved", "x")).await;
    work(&world, &engine).await;
    assert_eq!(entered(&world, &engine, run).await, 1);
    assert_eq!(engine.query().run(run).await.unwrap().steps.len(), 3, "`later` is waited for");
    // redelivered, it is no second event
    assert_eq!(send(&engine, named("approved", "x")).await, first);
    work(&world, &engine).await;
    assert_eq!((entered(&world, &engine, run).await, status(&engine, run).await), (1, Status::Running));
    send(&engine, named("approved", "y")).await;
    work(&world, &engine).await;
    assert_eq!((entered(&world, &engine, run).await, status(&engine, run).await), (2, Status::Completed));
}

#[tokio::test]
async fn rule_17_the_event_that_started_a_run_does_not_fulfil_its_wait() {
    let script = Script::new("f").ask("w", &[], any("go"));
    let mut world = World::new(vec![script.program()]);
    let engine = world.engine();
    let trigger = send(&engine, named("go", "x")).await;
    work(&world, &engine).await;
    let run = world.runs(&engine, trigger).await[0].summary.run;
    send(&engine, named("go", "x")).await;
    work(&world, &engine).await;
    assert_eq!((entered(&world, &engine, run).await, status(&engine, run).await), (0, Status::Running));
    send(&engine, named("go", "y")).await;
    work(&world, &engine).await;
    assert_eq!((entered(&world, &engine, run).await, status(&engine, run).await), (1, Status::Completed));
}

#[tokio::test]
async fn rule_15_a_repeated_event_sends_the_wake_that_the_first_did_not_get_to() {
    let script = Script::new("f").ask("w", &[], any("approved")).step("a", &["w"]);
    let mut world = World::new(vec![script.program()]);
    let engine = world.engine();
    world.go(&engine).await;
    work(&world, &engine).await;
    let dying = world.engine_on(support::slow::only_journal(world.memory.clone(), |fact| {
        matches!(fact, Fact::EventDelivered { .. })
    }));
    let ingest = tokio::spawn(async move { send(&dying, named("approved", "x")).await });
    let run = only_run(&engine).await;
    while entered(&world, &engine, run).await == 0 {
        tokio::task::yield_now().await;
    }
    ingest.abort();
    work(&world, &engine).await;
    assert_eq!(status(&engine, run).await, Status::Running, "nobody has woken it");
    send(&engine, named("approved", "x")).await;
    work(&world, &engine).await;
    assert_eq!((entered(&world, &engine, run).await, status(&engine, run).await), (1, Status::Completed));
}

#[tokio::test]
async fn rule_18_the_index_is_there_before_the_entry() {
    let script = Script::new("f").ask("w", &[], any("approved"));
    let mut world = World::new(vec![script.program()]);
    let is_wait = |fact: &Fact| matches!(fact, Fact::EventAwaited { .. });
    let dying = world.engine_on(support::slow::only_before(world.memory.clone(), is_wait));
    world.go(&dying).await;
    let hop = support::spawn_hop(&world, &dying);
    while world.memory.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    hop.abort();
    let run = only_run(&dying).await;
    let engine = world.engine();
    assert_eq!(count(&world.journal(&engine, run).await, is_wait), 0);
    assert_eq!(world.memory.timers(), 2, "the watchdog, and the end of the wait");
}

/// Lets something happen in the middle of a commit: after what goes before the journal, before the
/// journal.
struct Between<F, I> {
    memory: Arc<Memory>,
    is: F,
    interlude: I,
}

#[async_trait]
impl<F, I> Intercept for Between<F, I>
where
    F: Fn(&Commit) -> bool + Send + Sync,
    I: Fn() -> BoxFuture<'static, ()> + Send + Sync,
{
    fn backend(&self) -> &dyn Backend {
        &*self.memory
    }

    async fn around<'a, T: std::fmt::Debug + Send>(
        &'a self,
        call: Call<'a>,
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

fn registers(commit: &Commit) -> bool {
    let entries = commit.append.iter().flat_map(|append| &append.record.entries);
    entries.into_iter().any(|entry| matches!(entry.fact, Fact::EventAwaited { .. }))
}

fn offers(commit: &Commit) -> bool {
    commit.before.iter().any(|before| matches!(before, EarlyWrite::PutInInbox { .. }))
}

#[tokio::test]
async fn rule_18_an_event_between_the_index_and_the_entry_is_not_lost() {
    let script = Script::new("f").ask("w", &[], any("approved")).step("a", &["w"]);
    let mut world = World::new(vec![script.program()]);
    let sender = world.engine();
    let sends = move || -> BoxFuture<'static, ()> {
        let sender = sender.clone();
        Box::pin(async move {
            send(&sender, named("approved", "x")).await;
        })
    };
    let between = Between { memory: world.memory.clone(), is: registers, interlude: sends };
    let engine = world.engine_on(Arc::new(Intercepted(between)));
    world.go(&engine).await;
    world.hop_once(&engine).await;
    let run = only_run(&engine).await;
    assert_eq!(world.memory.inbox(run).await.unwrap().len(), 1, "the journal did not know of the wait yet");
    world.settle_within(&engine, Duration::from_secs(1)).await;
    assert_eq!((entered(&world, &engine, run).await, status(&engine, run).await), (1, Status::Completed));
    assert!(world.memory.inbox(run).await.unwrap().is_empty(), "nothing is left in the inbox");
}

#[tokio::test]
async fn rule_18_the_wake_of_an_offer_that_comes_before_the_entry_writes_the_wait_down() {
    let script = Script::new("f").ask("w", &[], any("approved")).step("a", &["w"]);
    let mut world = World::new(vec![script.program()]);
    let is_wait = |fact: &Fact| matches!(fact, Fact::EventAwaited { .. });
    let dying = world.engine_on(support::slow::only_before(world.memory.clone(), is_wait));
    world.go(&dying).await;
    let hop = support::spawn_hop(&world, &dying);
    while world.memory.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    hop.abort(); // with its wake, which comes again much later
    let engine = world.engine();
    send(&engine, named("approved", "x")).await;
    work(&world, &engine).await;
    let run = only_run(&engine).await;
    assert_eq!((entered(&world, &engine, run).await, status(&engine, run).await), (1, Status::Completed));
}

#[tokio::test]
async fn rule_18_an_event_that_is_offered_after_the_entry_is_found_by_its_wake() {
    let script = Script::new("f").ask("w", &[], any("approved")).step("a", &["w"]);
    let mut world = World::new(vec![script.program()]);
    // the index is there, the entry is not: its hop has died
    let dying = world
        .engine_on(support::slow::only_before(world.memory.clone(), |fact| matches!(fact, Fact::EventAwaited { .. })));
    world.go(&dying).await;
    let hop = support::spawn_hop(&world, &dying);
    while world.memory.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    hop.abort();
    // while the event is on its way to the inbox, another hop writes the entry
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
    let between = Between { memory: world.memory.clone(), is: offers, interlude: hops };
    let sender = world.engine_on(Arc::new(Intercepted(between)));
    send(&sender, named("approved", "x")).await;
    let engine = world.engine();
    let run = only_run(&engine).await;
    assert_eq!(count(&world.journal(&engine, run).await, |f| matches!(f, Fact::EventAwaited { .. })), 1);
    assert_eq!(entered(&world, &engine, run).await, 0, "it is on its way still");
    world.settle_within(&engine, Duration::from_secs(1)).await;
    assert_eq!((entered(&world, &engine, run).await, status(&engine, run).await), (1, Status::Completed));
}

#[tokio::test]
async fn the_wake_of_an_offer_comes_again_as_what_it_is() {
    let script = Script::new("f").ask("w", &[], any("approved")).step("a", &["w"]);
    let mut world = World::new(vec![script.program()]);
    let engine = world.engine();
    world.go(&engine).await;
    work(&world, &engine).await;
    let run = only_run(&engine).await;
    let wake = stepladder_core::Wake { run, cause: WakeCause::Offered, group: "f".into() };
    world.memory.commit(Commit { wakes: vec![wake], ..Commit::default() }).await.unwrap();
    // rule 13: the storage fails, the wake is sent again
    let unlucky = world.engine_on(support::slow::refuse_reads(world.memory.clone()));
    world.hop_once(&unlucky).await;
    world.clock.advance(Duration::from_secs(10));
    let deliveries = world.memory.receive(9, HOUR).await.unwrap();
    assert!(deliveries.iter().any(|delivery| delivery.wake.cause == WakeCause::Offered), "{deliveries:?}");
}

#[tokio::test]
async fn an_offer_that_no_wait_is_for_is_dropped() {
    let script = Script::new("f").ask("w", &[], any("approved")).step("a", &["w"]);
    let mut world = World::new(vec![script.program()]);
    let engine = world.engine();
    world.go(&engine).await;
    work(&world, &engine).await;
    let run = only_run(&engine).await;
    let accepted = world.engine().intake().ingest(vec![named("other", "x")], None).await.unwrap()[0];
    assert_eq!(entered(&world, &engine, run).await, 0);
    let before = vec![EarlyWrite::PutInInbox { run, event: accepted }];
    let wake = stepladder_core::Wake { run, cause: WakeCause::Offered, group: "f".into() };
    world.memory.commit(Commit { before, wakes: vec![wake], ..Commit::default() }).await.unwrap();
    work(&world, &engine).await;
    assert!(world.memory.inbox(run).await.unwrap().is_empty());
    assert_eq!((entered(&world, &engine, run).await, status(&engine, run).await), (0, Status::Running));
}

#[tokio::test]
async fn only_the_runs_with_the_value_in_the_field_get_an_event() {
    let wait = |n: i64| Script::new(&format!("f{n}")).ask("w", &[], wait_for("approved", by("brief.n", n.into())));
    let mut world = World::new((0..5).map(|n| wait(n).program()).collect());
    let engine = world.engine();
    let go = world.go(&engine).await;
    work(&world, &engine).await;
    send(&engine, event("approved", serde_json::json!({"brief": {"n": 3.0}}))).await;
    work(&world, &engine).await;
    for run in world.runs(&engine, go).await {
        let wanted = if &*run.summary.function == "f3" { Status::Completed } else { Status::Running };
        assert_eq!(run.summary.status, wanted, "{}", run.summary.function);
    }
}

#[tokio::test]
async fn an_expression_sees_what_started_the_run() {
    let when = EventMatch::When("async.data.id == event.data.id && async.data.score > 7".into());
    let script = Script::new("f").ask("w", &[], wait_for("scored", when));
    let mut world = World::new(vec![script.program()]);
    let engine = world.engine();
    let (one, two) = (
        send(&engine, event("go", serde_json::json!({"id": "one"}))).await,
        send(&engine, event("go", serde_json::json!({"id": "two"}))).await,
    );
    work(&world, &engine).await;
    for data in [serde_json::json!({}), serde_json::json!({"id": "one", "score": 7})] {
        send(&engine, event("scored", data)).await;
    }
    send(&engine, event("scored", serde_json::json!({"id": "two", "score": 8}))).await;
    work(&world, &engine).await;
    assert_eq!(world.status(&engine, one).await, Status::Running);
    assert_eq!(world.status(&engine, two).await, Status::Completed);
}

#[tokio::test]
async fn an_expression_that_is_none_fails_the_run_and_says_so() {
    let script = Script::new("f").ask("w", &[], wait_for("scored", EventMatch::When("async.data.".into())));
    let mut world = World::new(vec![script.program()]);
    let engine = world.engine();
    world.go(&engine).await;
    work(&world, &engine).await;
    let detail = engine.query().run(only_run(&engine).await).await.unwrap();
    let error = detail.summary.error.expect("it failed").message;
    assert!(error.starts_with("step `w` cannot wait: expression `async.data.`"), "{error}");
}

#[tokio::test]
async fn one_event_is_given_to_hundreds_that_wait() {
    let script = Script::new("f").ask("w", &[], any("approved"));
    let mut world = World::new(vec![script.program()]);
    let engine = world.engine();
    let events = (0..250).map(|n| named("go", &format!("e{n}"))).collect();
    engine.intake().ingest(events, None).await.unwrap();
    work(&world, &engine).await;
    assert_eq!(world.memory.waiting(), 250);
    send(&engine, named("approved", "x")).await;
    assert_eq!(world.memory.waiting(), 0);
    work(&world, &engine).await;
    let filter = stepladder_engine::RunFilter { limit: Some(500), ..Default::default() };
    let runs = engine.query().runs(filter).await.unwrap().runs;
    assert_eq!(runs.iter().filter(|run| run.status == Status::Completed).count(), 250);
}

#[tokio::test]
async fn what_is_stale_in_the_index_is_met_and_forgotten() {
    let script = Script::new("f").ask("w", &[], any("approved"));
    let mut world = World::new(vec![script.program()]);
    let engine = world.engine();
    world.go(&engine).await;
    work(&world, &engine).await;
    let run = only_run(&engine).await;
    engine.control().cancel(run, "enough").await.unwrap();
    work(&world, &engine).await;
    assert_eq!(world.memory.waiting(), 1, "a cancelled run leaves it");
    send(&engine, named("approved", "x")).await;
    assert_eq!(world.memory.waiting(), 0);
    assert_eq!(entered(&world, &engine, run).await, 0);
}

#[tokio::test]
async fn rule_12_an_event_whose_wake_was_lost_is_found_beside_a_sleep_that_goes_on() {
    let nap = Operation::SleepFor(Duration::from_secs(10 * 86_400));
    let wait = Arc::new(EventWait { events: vec!["approved".into()], matching: EventMatch::Any });
    // its own end is not near, either
    let wait = Operation::WaitForEvent { wait, timeout: Duration::from_secs(7 * 86_400) };
    let script = Script::new("f").ask("w", &[], wait).ask("nap", &[], nap).step("a", &["w"]);
    let executed = script.executed();
    let mut world = World::new(vec![script.program()]);
    let engine = world.engine();
    world.go(&engine).await;
    work(&world, &engine).await;
    send(&engine, named("approved", "x")).await;
    world.memory.lose_wakes();
    for _minute in 0..150 {
        world.clock.advance(Duration::from_secs(60));
        engine.sweep().await.unwrap();
        work(&world, &engine).await;
    }
    assert_eq!(executed.of("a"), 1);
}

#[tokio::test]
async fn a_run_that_waits_is_looked_after_once_a_day_and_woken_at_the_end_of_its_wait() {
    let week = Duration::from_secs(7 * 86_400);
    let wait = Arc::new(EventWait { events: vec!["approved".into()], matching: EventMatch::Any });
    let script = Script::new("f").ask("w", &[], Operation::WaitForEvent { wait, timeout: week });
    let mut world = World::new(vec![script.program()]);
    let engine = world.engine();
    world.go(&engine).await;
    work(&world, &engine).await;
    let run = only_run(&engine).await;
    let begun = world.clock.now();
    while status(&engine, run).await == Status::Running && world.clock.now() < begun + 2 * week {
        world.clock.advance(Duration::from_secs(60));
        engine.sweep().await.unwrap();
        work(&world, &engine).await;
    }
    assert_eq!(status(&engine, run).await, Status::Completed);
    assert_eq!(world.clock.now().since(begun).as_secs() / 60, week.as_secs() / 60);
    let sends = world.memory.counts().sends;
    assert!(sends < 12, "{sends} wakes for a week of waiting");
}
