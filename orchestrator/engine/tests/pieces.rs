//! Requests that are cut by a deadline or by an error: each attempt gets further, what is done is done whole, and the rest
//! is about the same events.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use stepladder_core::{NewEvent, Timestamp, json};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Backend, StoreError, StoreResult};
use stepladder_engine::{Engine, EngineError, PIECE, RunFilter, TimeLimit};
use stepladder_testkit::clock::VirtualClock;
use stepladder_testkit::intercept::{Call, Intercept, Intercepted};
use stepladder_testkit::memory::Memory;
use support::World;
use support::script::Script;

const SECOND: Duration = Duration::from_secs(1);
const MANY: usize = 3 * PIECE;

/// What becomes of the calls that begin runs.
#[derive(Clone, Copy, Debug)]
enum Begins {
    /// Each takes a second.
    Slowly,
    /// This one never answers, and an hour goes by.
    NeverFrom(usize),
    /// This one never answers, and the process dies over it.
    DiesAt(usize),
    /// From this one on they fail.
    FailsFrom(usize),
    /// There are none: the call that stores the events never answers.
    NotEvenStored,
    /// Soon; but of the notes about requests, the reply to this one is lost.
    NoteIsUnanswered(usize),
}

struct Storage {
    memory: Arc<Memory>,
    clock: Arc<VirtualClock>,
    begins: Begins,
    calls: AtomicUsize,
}

#[async_trait]
impl Intercept for Storage {
    fn backend(&self) -> &dyn Backend {
        &*self.memory
    }

    async fn around<'a, T: std::fmt::Debug + Send>(
        &'a self,
        call: Call<'a>,
        reply: BoxFuture<'a, StoreResult<T>>,
    ) -> StoreResult<T> {
        if matches!((self.begins, call.name), (Begins::NotEvenStored, "accept")) {
            self.clock.advance(3_600 * SECOND);
            std::future::pending::<()>().await;
        }
        if let (Begins::NoteIsUnanswered(at), "change_flow_state") = (self.begins, call.name)
            && self.calls.fetch_add(1, Ordering::Relaxed) == at
        {
            return reply.await.and(Err(StoreError::Unavailable("the reply is lost".into())));
        }
        if call.name != "create_runs" {
            return reply.await;
        }
        if let Begins::NoteIsUnanswered(_) = self.begins {
            return reply.await;
        }
        let n = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.begins {
            Begins::Slowly => self.clock.advance(SECOND),
            Begins::NeverFrom(from) if n >= from => {
                // it may well have happened
                drop(reply.await);
                self.clock.advance(3_600 * SECOND);
                return std::future::pending().await;
            }
            Begins::DiesAt(at) if n == at => {
                drop(reply.await);
                return std::future::pending().await;
            }
            Begins::FailsFrom(from) if n >= from => return Err(StoreError::Unavailable("throttled".into())),
            Begins::NeverFrom(_)
            | Begins::DiesAt(_)
            | Begins::FailsFrom(_)
            | Begins::NotEvenStored
            | Begins::NoteIsUnanswered(_) => {}
        }
        reply.await
    }
}

fn world(begins: Begins) -> (World, Arc<Engine>) {
    let mut world = World::new(vec![Script::new("f").step("a", &[]).program()]);
    let (memory, clock) = (world.memory.clone(), world.clock.clone());
    let storage = Storage { memory, clock, begins, calls: AtomicUsize::new(0) };
    let engine = world.engine_on(Arc::new(Intercepted(storage)));
    (world, engine)
}

fn events() -> Vec<NewEvent> {
    (0..MANY).map(|_| NewEvent::new("go", json::empty_object())).collect()
}

async fn runs(engine: &Engine) -> usize {
    let filter = RunFilter { limit: Some(500), ..RunFilter::default() };
    engine.query().runs(filter).await.expect("listed").runs.len()
}

fn within(world: &World, time: Duration) -> TimeLimit {
    TimeLimit { deadline: world.clock.now() + time, piece: PIECE }
}

#[tokio::test]
async fn a_message_gets_further_with_each_delivery_and_every_run_has_its_wake() {
    let (world, engine) = world(Begins::Slowly);
    let seed = engine.intake().seed(MANY);
    let mut deliveries = 0;
    let mut done = 0;
    while done < MANY {
        deliveries += 1;
        // the rest of the message, under the ids that follow
        let rest = events().split_off(done);
        let first = (0..done).fold(stepladder_core::EventId::new(seed.at, seed.random), |id, _| id.next());
        let seed = stepladder_engine::IdSeed { at: first.time(), random: first.random() };
        let within = within(&world, SECOND);
        let progress = engine.intake().ingest_pieces(rest, seed, None, within).await.expect("they can be accepted");
        assert!(progress.error.is_none());
        done += progress.applied;
        assert_eq!((runs(&engine).await, world.memory.wakes()), (done, done));
    }
    assert_eq!(deliveries, 3);
}

#[tokio::test]
async fn what_is_cut_in_the_middle_is_the_same_events_the_next_time() {
    let (mut world, engine) = world(Begins::NeverFrom(1));
    let seed = engine.intake().seed(MANY);
    let cut = engine.intake().ingest_pieces(events(), seed, None, within(&world, SECOND)).await.expect("accepted");
    assert_eq!((cut.applied, runs(&engine).await), (PIECE, 2 * PIECE), "the second piece was not answered");
    let other = world.engine();
    let all = other.intake().ingest_pieces(events(), seed, None, within(&world, SECOND)).await.expect("accepted");
    assert_eq!((all.applied, runs(&other).await), (MANY, MANY));
}

#[tokio::test]
async fn an_event_of_a_message_was_received_when_the_message_was() {
    let (mut world, _) = world(Begins::Slowly);
    let engine = world.engine();
    let (now, seed) = (world.clock.now(), engine.intake().seed(MANY));
    let received = |at: Timestamp| {
        let engine = engine.clone();
        let within = within(&world, SECOND);
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
async fn a_request_leaves_to_the_queue_what_it_has_no_time_for() {
    for begins in [Begins::Slowly, Begins::NeverFrom(1), Begins::FailsFrom(1)] {
        let (mut world, engine) = world(begins);
        let deadline = world.clock.now() + SECOND;
        let seed = engine.intake().seed(MANY);
        let ids = engine.intake().ingest_by(events(), seed, None, deadline).await.expect("they are accepted");
        assert_eq!(ids.len(), MANY);
        let left = world.memory.take_postponed();
        assert_eq!(left, ids[PIECE..], "{begins:?}");
        let other = world.engine();
        let progress = other.intake().apply_pieces(&left, within(&world, SECOND)).await;
        assert_eq!((progress.applied, runs(&other).await), (left.len(), MANY), "{begins:?}");
        for id in ids {
            assert_eq!(world.runs(&other, id).await.len(), 1, "{begins:?}");
        }
    }
}

#[tokio::test]
async fn a_request_without_time_starts_nothing_itself() {
    let (world, engine) = self::world(Begins::Slowly);
    let seed = engine.intake().seed(MANY);
    let ids = engine.intake().ingest_by(events(), seed, None, world.clock.now()).await.expect("they are stored");
    assert_eq!((runs(&engine).await, world.memory.take_postponed()), (0, ids));

    let (world, engine) = self::world(Begins::NotEvenStored);
    let refused =
        engine.intake().ingest_by(events(), engine.intake().seed(MANY), None, world.clock.now() + SECOND).await;
    assert!(matches!(refused, Err(EngineError::Store(_))), "{refused:?}");
    assert_eq!((runs(&engine).await, world.memory.take_postponed().len()), (0, 0));
}

/// An attempt at the request with this body, by a process that has an hour; the ids.
async fn attempt(world: &World, engine: &Engine) -> Vec<stepladder_core::EventId> {
    let deadline = world.clock.now() + 3_600 * SECOND;
    engine.intake().ingest_by(events(), engine.intake().seed(MANY), Some(7), deadline).await.expect("accepted")
}

#[tokio::test]
async fn a_request_whose_process_died_is_known_by_its_body_when_it_comes_again() {
    let (mut world, dies) = world(Begins::DiesAt(1));
    let mut dying = Box::pin(attempt(&world, &dies));
    assert!(futures::poll!(&mut dying).is_pending());
    drop(dying);
    let other = world.engine();
    assert_eq!(runs(&other).await, 2 * PIECE);
    // while it may still be alive, the same body is somebody else's request
    let others = attempt(&world, &other).await;
    assert_eq!(runs(&other).await, 2 * PIECE + MANY);
    world.clock.advance(3_600 * SECOND);
    let again = attempt(&world, &other).await;
    assert_eq!(runs(&other).await, 2 * MANY, "what had begun does not begin a second time");
    // it is answered: from now on, the same body is another request
    let next = attempt(&world, &other).await;
    assert_eq!(runs(&other).await, 3 * MANY);
    let ids: std::collections::HashSet<_> = [others, again, next].concat().into_iter().collect();
    assert_eq!(ids.len(), 3 * MANY);
}

#[tokio::test]
async fn a_request_whose_process_died_long_ago_is_another_one() {
    let (mut world, dies) = world(Begins::DiesAt(1));
    let mut dying = Box::pin(attempt(&world, &dies));
    assert!(futures::poll!(&mut dying).is_pending());
    drop(dying);
    let other = world.engine();
    world.clock.advance(3_600 * SECOND + 120 * SECOND);
    attempt(&world, &other).await;
    assert_eq!(runs(&other).await, 2 * PIECE + MANY);
}

#[tokio::test]
async fn a_request_whose_last_note_is_not_answered_is_accepted_and_the_next_one_is_another() {
    // the first note says that an attempt has begun, the second that it is over
    let (mut world, engine) = world(Begins::NoteIsUnanswered(1));
    let first = attempt(&world, &engine).await;
    let other = world.engine();
    assert_eq!(runs(&other).await, MANY);
    let next = attempt(&world, &other).await;
    assert_eq!(runs(&other).await, 2 * MANY);
    assert!(next.iter().all(|id| !first.contains(id)));
}
