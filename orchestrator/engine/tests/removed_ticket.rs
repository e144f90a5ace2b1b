//! A ticket that one hop removes while another hop relies on it.

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use stepladder_core::retry::Backoff;
use stepladder_core::slot::{Holder, Limit, Ticket};
use stepladder_core::spec::Concurrency;
use stepladder_core::{EventId, RunId, Status, Wake, WakeCause};
use stepladder_engine::Pace;
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Backend, Commit, Commits, LateWrite, SlotOperations, StoreResult};
use stepladder_testkit::intercept::{Intercept, InterceptedBackend, StorageCall};
use stepladder_testkit::memory::Memory;
use support::EngineFixture;
use support::around::HookFuture;
use support::script::{ScriptedFunction, retryable_failure};
use tokio::sync::{Mutex, Notify};

const SECOND: Duration = Duration::from_secs(1);

/// A memory adapter that runs a future after the first attempt to acquire a slot, and another one
/// before the first removal of a ticket.
struct HookedStorage {
    memory: Arc<Memory>,
    after_acquire: Mutex<Option<HookFuture>>,
    before_dequeue: Mutex<Option<HookFuture>>,
}

#[async_trait]
impl Intercept for HookedStorage {
    fn backend(&self) -> &dyn Backend {
        &*self.memory
    }

    fn slot_operations(&self) -> Option<&dyn SlotOperations> {
        Some(&*self.memory)
    }

    async fn around<'a, T: std::fmt::Debug + Send>(
        &'a self,
        call: StorageCall<'a>,
        reply: BoxFuture<'a, StoreResult<T>>,
    ) -> StoreResult<T> {
        let is_dequeue = |after: &LateWrite| matches!(after, LateWrite::Dequeue { .. });
        if call.commit.is_some_and(|commit| commit.after.iter().any(is_dequeue))
            && let Some(interlude) = self.before_dequeue.lock().await.take()
        {
            interlude.await;
        }
        let reply = reply.await;
        if call.name == "try_acquire"
            && let Some(interlude) = self.after_acquire.lock().await.take()
        {
            interlude.await;
        }
        reply
    }
}

/// Two wakes of a step meet at a full limit. The second hop enqueues the step. The first hop starts
/// the step. The second hop finds the step started and removes the ticket. Before the removal takes
/// effect, the step fails, and the hop of its retry finds the ticket and relies on it.
#[tokio::test]
async fn a_step_whose_retry_relied_on_a_removed_ticket_is_woken() {
    let (started, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (s, o) = (started.clone(), open.clone());
    let script = ScriptedFunction::new("f").step("first", &[]).body("a", &["first"], move |n| {
        let (s, o) = (s.clone(), o.clone());
        async move {
            if n > 1 {
                return Ok(());
            }
            s.notify_one();
            o.notified().await;
            Err(retryable_failure("not this time"))
        }
    });
    let script = script.spec(|spec| {
        spec.concurrency.push(Concurrency::steps(1));
        spec.retry.backoff = Backoff::Fixed(SECOND);
    });
    let mut world = EngineFixture::new(vec![script.function()]).pace(Pace::StepPerInvocation);
    let (memory, clock, other) = (world.memory.clone(), world.clock.clone(), world.engine());
    let event = world.send_event(&other).await;
    world.hop_once(&other).await;
    let run = world.runs(&other, event).await[0].summary.run;

    // another run holds the only slot
    let limit = Limit { key: "f/0".into(), slots: 1 };
    let holder =
        |n: u128| Holder::Attempt { run: RunId::new(clock.now(), n), step: "x".into(), attempt: 1, hop: n as u64 };
    let (first, second) = (holder(1), holder(2));
    let lease_until = clock.now() + 3_600 * SECOND;
    memory.try_acquire(std::slice::from_ref(&limit), &first, lease_until, clock.now()).await.expect("acquired");

    let release = |holder: &Holder| Commit {
        after: vec![LateWrite::Release { limit: limit.clone(), holder: holder.clone() }],
        ..Commit::default()
    };
    let free_first = release(&first);
    let (m, worker, at, starts) = (memory.clone(), other.clone(), clock.clone(), started.clone());
    let ticket =
        Ticket { queued_at: at.now(), event: EventId::new(at.now(), 2), run: second.run(), of: second.run_or_step() };
    let (limit_of_ticket, twin) = (limit.clone(), Wake { run, cause: WakeCause::Next, group: "f".into() });
    let after_acquire: HookFuture = Box::pin(async move {
        m.commit(free_first).await.expect("released");
        m.commit(Commit { wakes: vec![twin], ..Commit::default() }).await.expect("sent");
        let memory = m.clone();
        tokio::spawn(async move { support::hop_all(&memory, &worker).await });
        starts.notified().await;
        // the ticket of a third run comes first in the queue
        m.enqueue(&limit_of_ticket, ticket).await.expect("enqueued");
    });
    let (m, worker, at, limit_again, next) =
        (memory.clone(), other.clone(), clock.clone(), limit.clone(), second.clone());
    let before_dequeue: HookFuture = Box::pin(async move {
        open.notify_one();
        while m.holders(&limit_again.key).await.expect("read").iter().any(|held| held.holder.run() == run) {
            tokio::task::yield_now().await;
        }
        m.try_acquire(std::slice::from_ref(&limit_again), &next, lease_until, at.now()).await.expect("acquired");
        at.advance(SECOND);
        support::hop_all(&m, &worker).await;
    });
    let interludes = HookedStorage {
        memory: memory.clone(),
        after_acquire: Mutex::new(Some(after_acquire)),
        before_dequeue: Mutex::new(Some(before_dequeue)),
    };
    let engine = world.engine_on(Arc::new(InterceptedBackend(interludes)));
    world.hop_once(&engine).await;
    assert_eq!(world.status(&other, event).await, Status::Running);
    memory.commit(release(&second)).await.expect("released");
    world.settle_within(&other, 60 * SECOND).await;
    assert_eq!(world.status(&other, event).await, Status::Completed, "{:#?}", world.journal(&other, run).await);
}

/// A paused run gives up its ticket. Before the removal takes effect, the function is resumed, and
/// the hop of the resumption finds the ticket and relies on it.
#[tokio::test]
async fn a_resumed_run_that_relied_on_a_removed_ticket_is_woken() {
    let script = ScriptedFunction::new("f").spec(|spec| spec.concurrency.push(Concurrency::steps(1))).step("a", &[]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let (memory, clock, other) = (world.memory.clone(), world.clock.clone(), world.engine());
    let limit = Limit { key: "f/0".into(), slots: 1 };
    let first = Holder::Attempt { run: RunId::new(clock.now(), 1), step: "x".into(), attempt: 1, hop: 1 };
    memory
        .try_acquire(std::slice::from_ref(&limit), &first, clock.now() + 3_600 * SECOND, clock.now())
        .await
        .expect("acquired");
    let event = world.send_event(&other).await;
    // the run is enqueued, and its first lease wake is an hour ahead
    world.hop_once(&other).await;
    let run = world.runs(&other, event).await[0].summary.run;
    assert!(memory.ticket(&limit.key, run, None).await.expect("read").is_some());
    assert!(other.functions().pause("f").await.expect("paused"));
    let wakes = vec![Wake { run, cause: WakeCause::Slot, group: "f".into() }];
    memory.commit(Commit { wakes, ..Commit::default() }).await.expect("sent");
    let (m, worker) = (memory.clone(), other.clone());
    let before_dequeue: HookFuture = Box::pin(async move {
        worker.functions().resume("f").await.expect("resumed");
        support::hop_all(&m, &worker).await;
    });
    let interludes = HookedStorage {
        memory: memory.clone(),
        after_acquire: Mutex::new(None),
        before_dequeue: Mutex::new(Some(before_dequeue)),
    };
    let engine = world.engine_on(Arc::new(InterceptedBackend(interludes)));
    world.hop_once(&engine).await;
    let after = vec![LateWrite::Release { limit: limit.clone(), holder: first }];
    memory.commit(Commit { after, ..Commit::default() }).await.expect("released");
    world.settle_within(&other, 60 * SECOND).await;
    assert_eq!(world.status(&other, event).await, Status::Completed, "{:#?}", world.journal(&other, run).await);
}
