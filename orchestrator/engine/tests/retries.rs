//! How calls to a storage that is unavailable are repeated.

mod support;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use stepladder_core::Timestamp;
use stepladder_core::journal::{Entry, Fact};
use stepladder_engine::Pace;
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Backend, Queue, StoreError, StoreResult};
use stepladder_engine::retries::{StorageRetries, run_within, time_left};
use stepladder_testkit::clock::VirtualClock;
use stepladder_testkit::intercept::{Intercept, InterceptedBackend, StorageCall};
use stepladder_testkit::memory::Memory;
use support::EngineFixture;
use support::script::ScriptedFunction;

const RETRIES: StorageRetries =
    StorageRetries { attempts: 5, first: Duration::from_millis(50), longest: Duration::from_millis(200) };

#[test]
fn waits_double_up_to_the_longest_and_may_be_none() {
    let longest = |failed| (0..1_000).map(|random| RETRIES.wait_after(failed, random)).max().unwrap().as_millis();
    assert_eq!([1, 2, 3, 4, 99].map(longest), [50, 100, 200, 200, 200]);
    assert_eq!((1..9).map(|failed| RETRIES.wait_after(failed, 0)).max(), Some(Duration::ZERO));
    assert_eq!((0..1_000).map(|random| StorageRetries::at_once().wait_after(3, random)).max(), Some(Duration::ZERO));
}

/// Repeats a call that always fails. Returns the number of attempts, and the total time.
async fn repeat_failing_call(clock: &Arc<VirtualClock>) -> (u32, Duration) {
    let (began, mut failed) = (clock.now(), 1);
    loop {
        let pause = RETRIES.pause_before_retry(&**clock, failed, 50);
        futures::pin_mut!(pause);
        // sets the clock to the time for which the loop sleeps, and no further
        let mut paused = futures::poll!(&mut pause);
        if let (std::task::Poll::Pending, Some(due)) = (&paused, clock.pending()) {
            clock.set(due);
            paused = futures::poll!(&mut pause);
        }
        match paused {
            std::task::Poll::Ready(true) => failed += 1,
            std::task::Poll::Ready(false) => return (failed, clock.now().since(began)),
            std::task::Poll::Pending => panic!("it waits for longer than it says"),
        }
    }
}

#[tokio::test]
async fn a_call_is_made_five_times() {
    let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(0)));
    assert_eq!(repeat_failing_call(&clock).await, (5, Duration::from_millis(200)), "four waits of 50 ms");
}

#[tokio::test]
async fn no_wait_reaches_the_deadline() {
    let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(0)));
    let at = |millis| Timestamp::from_millis(millis);
    let (times, took) = run_within(clock.clone(), at(120), repeat_failing_call(&clock)).await;
    assert_eq!((times, took), (3, Duration::from_millis(100)));
    assert_eq!(
        run_within(clock.clone(), at(100), repeat_failing_call(&clock)).await,
        (1, Duration::ZERO),
        "it is over"
    );
    assert_eq!(run_within(clock.clone(), at(1_000), async { time_left() }).await, Some(Duration::from_millis(900)));
    assert_eq!(time_left(), None);
}

/// A store that refuses a number of commits that contain a step's result.
struct BrownOutStorage {
    memory: Arc<Memory>,
    clock: Arc<VirtualClock>,
    /// The time at which the first of these commits fails.
    answers_at: Timestamp,
    /// How many of these commits to refuse.
    refuses: AtomicU32,
    /// How many of these commits were received.
    asked: AtomicU32,
    /// Whether the store claims to repeat requests by itself.
    repeats: bool,
}

#[async_trait]
impl Intercept for BrownOutStorage {
    fn backend(&self) -> &dyn Backend {
        &*self.memory
    }

    fn repeats_requests(&self) -> bool {
        self.repeats
    }

    async fn around<'a, T: std::fmt::Debug + Send>(
        &'a self,
        call: StorageCall<'a>,
        reply: BoxFuture<'a, StoreResult<T>>,
    ) -> StoreResult<T> {
        let append = call.commit.and_then(|commit| commit.append.as_ref());
        let is_result = |entry: &Entry| matches!(entry.fact, Fact::StepSucceeded { .. });
        if append.is_none_or(|append| !append.record.entries.iter().any(is_result)) {
            return reply.await;
        }
        if self.asked.fetch_add(1, SeqCst) == 0 {
            self.clock.set(self.answers_at);
        }
        match self.refuses.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Err(StoreError::Unavailable("throttled".into())),
            Err(_) => reply.await,
        }
    }
}

/// The time between the start and the deadline of a hop.
const HOP: Duration = Duration::from_secs(120);

/// What happened in a hop of one step on a `BrownOutStorage`.
struct BrownOutResult {
    /// How often the step's result was sent to the store.
    asked: u32,
    /// The time from the first refusal to the end of the hop.
    took: Duration,
    /// How often the body was executed before the run ended.
    executed: u32,
}

/// Executes a hop of a run with one step `a`. When the store first refuses the step's result, the
/// hop has the time `left` until its deadline. From then on, the clock moves only when the hop
/// sleeps.
async fn brown_hop(refuses: u32, repeats: bool, left: Duration) -> BrownOutResult {
    let script = ScriptedFunction::new("f").step("a", &[]);
    let executed = script.executed();
    let mut world = EngineFixture::new(vec![script.function()])
        .pace(Pace::StepPerInvocation)
        .config(|config| config.storage_retries = StorageRetries::default());
    let (clock, deadline) = (world.clock.clone(), world.clock.now() + HOP);
    let (memory, asked) = (world.memory.clone(), AtomicU32::new(0));
    let answers_at = deadline - left;
    let storage = BrownOutStorage { memory, clock, answers_at, refuses: refuses.into(), asked, repeats };
    let storage = Arc::new(InterceptedBackend(storage));
    let engine = world.engine_on(storage.clone());
    world.send_event(&engine).await;
    let delivery = world.memory.receive(1, engine.config().visibility()).await.unwrap().remove(0);
    let hop = engine.hop_until(delivery, deadline);
    futures::pin_mut!(hop);
    loop {
        if let std::task::Poll::Ready(moved) = futures::poll!(&mut hop) {
            moved.expect("the wake is acknowledged or sent again");
            break;
        }
        // a timer that is due much later is the body's timeout, and must not fire
        let soon = world.clock.now() + Duration::from_secs(1);
        match world.clock.pending().filter(|due| *due <= soon) {
            Some(due) => world.clock.set(due),
            None => tokio::task::yield_now().await,
        }
    }
    let (asked, took) = (storage.0.asked.load(SeqCst), world.clock.now().since(deadline - left));
    storage.0.refuses.store(0, SeqCst);
    let engine = world.engine();
    world.settle(&engine).await;
    BrownOutResult { asked, took, executed: executed.count_of("a") }
}

#[tokio::test]
async fn a_result_that_meets_a_brown_out_is_sent_until_it_is_written() {
    let BrownOutResult { asked, took, executed } = brown_hop(4, false, Duration::from_secs(60)).await;
    assert_eq!((asked, executed), (5, 1));
    assert!(took > Duration::ZERO && took <= Duration::from_millis(750), "it waits {took:?} between attempts");
}

#[tokio::test]
async fn a_result_is_given_up_before_the_hops_deadline() {
    let left = Duration::from_millis(60);
    let BrownOutResult { asked, took, executed } = brown_hop(u32::MAX, false, left).await;
    assert!((1..5).contains(&asked), "{asked} attempts do not fit into {left:?}");
    assert!(took < left, "the hop took {took:?} of {left:?}");
    assert!(executed > 1, "the body runs again, for its result was not written");
}

#[tokio::test]
async fn the_engine_repeats_nothing_that_the_adapter_repeats() {
    let BrownOutResult { asked, .. } = brown_hop(u32::MAX, true, Duration::from_secs(60)).await;
    assert_eq!(asked, 1);
}
