//! Requests that a deadline or an error interrupts. Each attempt makes progress by whole pieces,
//! and the next attempt continues with the same events.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use stepladder_core::{NewEvent, Timestamp, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Backend, Listings, StoreError, StoreResult};
use stepladder_engine::{Engine, EngineError, PIECE, PieceLimits, RunFilter};
use stepladder_testkit::clock::VirtualClock;
use stepladder_testkit::intercept::{Intercept, InterceptedBackend, StorageCall};
use stepladder_testkit::memory::Memory;
use support::EngineFixture;
use support::script::ScriptedFunction;

const SECOND: Duration = Duration::from_secs(1);
const MANY: usize = 3 * PIECE;

/// What goes wrong with the calls that store events, create runs or change flow state.
#[derive(Clone, Copy, Debug)]
enum CallFault {
    /// Each call that creates runs takes a second.
    Slowly,
    /// The call with this number never returns, and the clock advances by an hour.
    NeverFrom(usize),
    /// The call with this number never returns, and the process dies.
    DiesAt(usize),
    /// All calls from this number on fail.
    FailsFrom(usize),
    /// The call that stores the events never returns.
    NotEvenStored,
    /// All calls succeed, but the reply to the change of flow state with this number is lost.
    NoteIsUnanswered(usize),
}

struct FaultyStorage {
    memory: Arc<Memory>,
    clock: Arc<VirtualClock>,
    fault: CallFault,
    calls: AtomicUsize,
}

#[async_trait]
impl Intercept for FaultyStorage {
    fn backend(&self) -> &dyn Backend {
        &*self.memory
    }

    async fn around<'a, T: std::fmt::Debug + Send>(
        &'a self,
        call: StorageCall<'a>,
        reply: BoxFuture<'a, StoreResult<T>>,
    ) -> StoreResult<T> {
        if matches!((self.fault, call.name), (CallFault::NotEvenStored, "accept")) {
            self.clock.advance(3_600 * SECOND);
            std::future::pending::<()>().await;
        }
        if let (CallFault::NoteIsUnanswered(at), "change_flow_state") = (self.fault, call.name)
            && self.calls.fetch_add(1, Ordering::Relaxed) == at
        {
            return reply.await.and(Err(StoreError::Unavailable("the reply is lost".into())));
        }
        if call.name != "create_runs" {
            return reply.await;
        }
        if let CallFault::NoteIsUnanswered(_) = self.fault {
            return reply.await;
        }
        let n = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            CallFault::Slowly => self.clock.advance(SECOND),
            CallFault::NeverFrom(from) if n >= from => {
                // the change took place although the reply is lost
                drop(reply.await);
                self.clock.advance(3_600 * SECOND);
                return std::future::pending().await;
            }
            CallFault::DiesAt(at) if n == at => {
                drop(reply.await);
                return std::future::pending().await;
            }
            CallFault::FailsFrom(from) if n >= from => return Err(StoreError::Unavailable("throttled".into())),
            CallFault::NeverFrom(_)
            | CallFault::DiesAt(_)
            | CallFault::FailsFrom(_)
            | CallFault::NotEvenStored
            | CallFault::NoteIsUnanswered(_) => {}
        }
        reply.await
    }
}

fn fixture_with_fault(fault: CallFault) -> (EngineFixture, Arc<Engine>) {
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    let (memory, clock) = (world.memory.clone(), world.clock.clone());
    let storage = FaultyStorage { memory, clock, fault, calls: AtomicUsize::new(0) };
    let engine = world.engine_on(Arc::new(InterceptedBackend(storage)));
    (world, engine)
}

fn events() -> Vec<NewEvent> {
    (0..MANY).map(|_| NewEvent::new("go", json::empty_object())).collect()
}

async fn runs(engine: &Engine) -> usize {
    let filter = RunFilter { limit: Some(500), ..RunFilter::default() };
    engine.query().runs(filter).await.expect("listed").runs.len()
}

fn limit_from_now(world: &EngineFixture, time: Duration) -> PieceLimits {
    PieceLimits { deadline: world.clock.now() + time, piece: PIECE }
}

#[tokio::test]
async fn each_delivery_of_a_message_makes_progress_and_every_run_has_its_wake() {
    let (world, engine) = fixture_with_fault(CallFault::Slowly);
    let seed = engine.intake().seed(MANY);
    let mut deliveries = 0;
    let mut done = 0;
    while done < MANY {
        deliveries += 1;
        // as the invocation does, the rest of the message is sent with the ids that follow
        let rest = events().split_off(done);
        let first = (0..done).fold(stepladder_core::EventId::new(seed.at, seed.random), |id, _| id.next());
        let seed = stepladder_engine::IdSeed { at: first.time(), random: first.random() };
        let within = limit_from_now(&world, SECOND);
        let progress = engine.intake().ingest_pieces(rest, seed, None, within).await.expect("they can be accepted");
        assert!(progress.error.is_none());
        done += progress.applied;
        assert_eq!((runs(&engine).await, world.memory.wakes()), (done, done));
    }
    assert_eq!(deliveries, 3);
}

#[tokio::test]
async fn a_request_interrupted_in_the_middle_has_the_same_events_the_next_time() {
    let (mut world, engine) = fixture_with_fault(CallFault::NeverFrom(1));
    let seed = engine.intake().seed(MANY);
    let cut =
        engine.intake().ingest_pieces(events(), seed, None, limit_from_now(&world, SECOND)).await.expect("accepted");
    assert_eq!((cut.applied, runs(&engine).await), (PIECE, 2 * PIECE), "the second piece was not answered");
    let other = world.engine();
    let all =
        other.intake().ingest_pieces(events(), seed, None, limit_from_now(&world, SECOND)).await.expect("accepted");
    assert_eq!((all.applied, runs(&other).await), (MANY, MANY));
}

#[tokio::test]
async fn an_event_of_a_message_has_the_messages_time_of_receipt() {
    let (mut world, _) = fixture_with_fault(CallFault::Slowly);
    let engine = world.engine();
    let (now, seed) = (world.clock.now(), engine.intake().seed(MANY));
    let received = |at: Timestamp| {
        let engine = engine.clone();
        let within = limit_from_now(&world, SECOND);
        async move {
            let seed = stepladder_engine::IdSeed { random: at.as_millis() as u128 * 100_000, ..seed };
            engine.intake().ingest_pieces(events(), seed, Some(at), within).await.expect("accepted");
            let id = stepladder_core::EventId::new(seed.at, seed.random).to_string();
            engine.query().event(&id).await.expect("stored").received_at
        }
    };
    assert_eq!(received(now - SECOND).await, now - SECOND);
    assert_eq!(received(now + SECOND).await, now, "by a clock that is ahead");
}

#[tokio::test]
async fn a_request_leaves_the_rest_to_the_queue_at_its_deadline() {
    for fault in [CallFault::Slowly, CallFault::NeverFrom(1), CallFault::FailsFrom(1)] {
        let (mut world, engine) = fixture_with_fault(fault);
        let deadline = world.clock.now() + SECOND;
        let seed = engine.intake().seed(MANY);
        let ids = engine.intake().ingest_by(events(), seed, None, deadline).await.expect("they are accepted");
        assert_eq!(ids.len(), MANY);
        let left = world.memory.take_postponed();
        assert_eq!(left, ids[PIECE..], "{fault:?}");
        let other = world.engine();
        let progress = other.intake().apply_pieces(&left, limit_from_now(&world, SECOND)).await;
        assert_eq!((progress.applied, runs(&other).await), (left.len(), MANY), "{fault:?}");
        for id in ids {
            assert_eq!(world.runs(&other, id).await.len(), 1, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_request_without_time_creates_no_run_itself() {
    let (world, engine) = self::fixture_with_fault(CallFault::Slowly);
    let seed = engine.intake().seed(MANY);
    let ids = engine.intake().ingest_by(events(), seed, None, world.clock.now()).await.expect("they are stored");
    assert_eq!((runs(&engine).await, world.memory.take_postponed()), (0, ids));

    let (world, engine) = self::fixture_with_fault(CallFault::NotEvenStored);
    let refused =
        engine.intake().ingest_by(events(), engine.intake().seed(MANY), None, world.clock.now() + SECOND).await;
    assert!(matches!(refused, Err(EngineError::Store(_))), "{refused:?}");
    assert_eq!((runs(&engine).await, world.memory.take_postponed().len()), (0, 0));
}

/// Sends a request with the same body, and with a deadline in an hour. Returns the ids of the
/// events.
async fn send_request(world: &EngineFixture, engine: &Engine) -> Vec<stepladder_core::EventId> {
    let deadline = world.clock.now() + 3_600 * SECOND;
    engine.intake().ingest_by(events(), engine.intake().seed(MANY), Some(7), deadline).await.expect("accepted")
}

#[tokio::test]
async fn a_repeated_request_is_recognized_by_its_body_after_its_process_died() {
    let (mut world, dies) = fixture_with_fault(CallFault::DiesAt(1));
    let mut dying = Box::pin(send_request(&world, &dies));
    assert!(futures::poll!(&mut dying).is_pending());
    drop(dying);
    let other = world.engine();
    assert_eq!(runs(&other).await, 2 * PIECE);
    // another process may still be handling the first request, so the same body counts as a
    // separate request
    let others = send_request(&world, &other).await;
    assert_eq!(runs(&other).await, 2 * PIECE + MANY);
    world.clock.advance(3_600 * SECOND);
    let again = send_request(&world, &other).await;
    assert_eq!(runs(&other).await, 2 * MANY, "no run is created twice");
    // the request has succeeded, so the same body counts as a new request
    let next = send_request(&world, &other).await;
    assert_eq!(runs(&other).await, 3 * MANY);
    let ids: std::collections::HashSet<_> = [others, again, next].concat().into_iter().collect();
    assert_eq!(ids.len(), 3 * MANY);
}

#[tokio::test]
async fn a_repeated_request_is_new_long_after_its_process_died() {
    let (mut world, dies) = fixture_with_fault(CallFault::DiesAt(1));
    let mut dying = Box::pin(send_request(&world, &dies));
    assert!(futures::poll!(&mut dying).is_pending());
    drop(dying);
    let other = world.engine();
    world.clock.advance(3_600 * SECOND + 120 * SECOND);
    send_request(&world, &other).await;
    assert_eq!(runs(&other).await, 2 * PIECE + MANY);
}

#[tokio::test]
async fn a_request_is_accepted_although_the_last_reply_is_lost_and_the_next_is_new() {
    // the first change records the attempt, and the second one its end: the reply to the second is
    // lost
    let (mut world, engine) = fixture_with_fault(CallFault::NoteIsUnanswered(1));
    let first = send_request(&world, &engine).await;
    let other = world.engine();
    assert_eq!(runs(&other).await, MANY);
    let next = send_request(&world, &other).await;
    assert_eq!(runs(&other).await, 2 * MANY);
    assert!(next.iter().all(|id| !first.contains(id)));
}

#[tokio::test]
async fn a_failed_request_may_come_again_to_a_process_whose_clock_is_behind() {
    let (mut world, _) = fixture_with_fault(CallFault::Slowly);
    let fails = world.engine_on(support::around::with_lost_reply(&world.memory, "accept"));
    let deadline = world.clock.now() + 3_600 * SECOND;
    let failed = fails.intake().ingest_by(events(), fails.intake().seed(MANY), Some(7), deadline).await;
    assert!(matches!(failed, Err(EngineError::Store(_))), "{failed:?}");
    let behind = VirtualClock::new(world.clock.now() - SECOND);
    let other = world.engine_at(world.memory.clone(), Arc::new(behind));
    let ids = send_request(&world, &other).await;
    let stored = world.memory.events(None, 10 * MANY).await.expect("listed");
    assert_eq!((runs(&other).await, stored.len()), (MANY, MANY), "the events are stored once");
    assert!(stored.iter().all(|event| ids.contains(&event.id)));
}
