//! What a process reads of journals, and how its hops behave under conflicts: what keeps the cost
//! of a run linear, counted in calls of the store.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use stepladder_core::Status;
use stepladder_core::journal::{Fact, Record};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{Backend, Commit, Commits, JournalAppend, StoreResult};
use stepladder_engine::retries::StorageRetries;
use stepladder_engine::{Engine, Pace};
use stepladder_testkit::intercept::{Intercept, InterceptedBackend, StorageCall};
use stepladder_testkit::memory::Memory;
use support::script::ScriptedFunction;
use support::{EngineFixture, only_run, spawn_hop, with_gated_step};
use tokio::sync::Notify;

/// A store that counts the reads of whole journals, holds a commit, and lets another writer be
/// faster.
struct CountingStore {
    memory: Arc<Memory>,
    /// The number of journals that were read from their beginning.
    whole_reads: AtomicUsize,
    /// How many more commits with entries find that another writer was faster.
    rivals: AtomicU32,
    /// Whether the next commit with which a hop leaves its run is held before it returns.
    holds: AtomicU32,
    held: Notify,
    released: Notify,
}

impl CountingStore {
    fn new(memory: &Arc<Memory>) -> Self {
        Self {
            memory: memory.clone(),
            whole_reads: AtomicUsize::new(0),
            rivals: AtomicU32::new(0),
            holds: AtomicU32::new(0),
            held: Notify::new(),
            released: Notify::new(),
        }
    }

    fn whole_reads(&self) -> usize {
        self.whole_reads.load(SeqCst)
    }

    /// Writes a harmless record in the place of this one.
    async fn overtake(&self, append: &JournalAppend) {
        let Record { seq, .. } = append.record;
        let entries = vec![Fact::StepsWoken { steps: vec![], together: false }.into_entry(append.record.entries[0].at)];
        let record = Record { seq, token: 99 + u128::from(seq), code: "other".into(), entries };
        let append = Some(Arc::new(JournalAppend { run: append.run, record }));
        self.memory.commit(Commit { append, ..Commit::default() }).await.expect("written");
    }
}

/// The store, shared by the test and the engine.
struct Shared(Arc<CountingStore>);

#[async_trait]
impl Intercept for Shared {
    fn backend(&self) -> &dyn Backend {
        &*self.0.memory
    }

    async fn around<'a, T: std::fmt::Debug + Send>(
        &'a self,
        call: StorageCall<'a>,
        reply: BoxFuture<'a, StoreResult<T>>,
    ) -> StoreResult<T> {
        let store = &*self.0;
        if call.name == "read" && format!("{:?}", call.arguments).ends_with(", 0)") {
            store.whole_reads.fetch_add(1, SeqCst);
        }
        let Some(commit) = call.commit else { return reply.await };
        if let Some(append) = &commit.append
            && store.rivals.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
        {
            store.overtake(append).await;
        }
        let leaves = !commit.acks.is_empty() && !commit.wakes.is_empty();
        let is_held = leaves && store.holds.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        let reply = reply.await;
        if is_held {
            store.held.notify_one();
            store.released.notified().await;
        }
        reply
    }
}

fn engine_on(world: &mut EngineFixture) -> (Arc<CountingStore>, Arc<Engine>) {
    let store = Arc::new(CountingStore::new(&world.memory));
    let engine = world.engine_on(Arc::new(InterceptedBackend(Shared(store.clone()))));
    (store, engine)
}

/// Lets every task go on until it waits.
async fn yield_to_all() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Two hops of one run: the first one has sent the wake of the second, and has not returned yet.
async fn overlapping_hops(release_first: bool) -> usize {
    let script = ScriptedFunction::new("f").step("a", &[]).step("b", &["a"]);
    let mut world = EngineFixture::new(vec![script.function()]).pace(Pace::StepPerInvocation);
    let (store, engine) = engine_on(&mut world);
    world.send_event(&engine).await;
    store.holds.store(1, SeqCst);
    let first = spawn_hop(&world, &engine);
    store.held.notified().await;
    let second = spawn_hop(&world, &engine);
    yield_to_all().await;
    assert_eq!(store.whole_reads(), 1, "the second hop waits for the first");
    match release_first {
        true => store.released.notify_one(),
        false => world.clock.advance(Duration::from_secs(1)),
    }
    second.await.expect("a hop");
    store.released.notify_one();
    first.await.expect("a hop");
    let reads = store.whole_reads();
    world.settle(&engine).await;
    assert_eq!(status_of_only_run(&engine).await, Status::Completed);
    reads
}

async fn status_of_only_run(engine: &Engine) -> Status {
    engine.query().run(only_run(engine).await).await.expect("a run").summary.status
}

#[tokio::test]
async fn a_hop_waits_for_the_hop_before_it_instead_of_reading_the_whole_journal() {
    assert_eq!(overlapping_hops(true).await, 1);
}

#[tokio::test]
async fn a_hop_that_does_not_leave_delays_the_next_one_by_a_second() {
    assert_eq!(overlapping_hops(false).await, 2);
}

#[tokio::test]
async fn readers_of_a_run_that_a_hop_has_read_the_whole_journal_once() {
    let (script, begun, open) = with_gated_step(ScriptedFunction::new("f"), "a", &[]);
    let mut world = EngineFixture::new(vec![script.function()]);
    let (store, engine) = engine_on(&mut world);
    world.send_event(&engine).await;
    // another process, which has caches of its own
    let run = only_run(&world.engine()).await;
    let hop = spawn_hop(&world, &engine);
    begun.notified().await;
    let before = store.whole_reads();
    for _ in 0..5 {
        engine.subscriptions().callback_token(run, "paid").await.expect("a token");
    }
    assert_eq!(store.whole_reads() - before, 1, "the later ones read only what is new");
    open.notify_one();
    hop.await.expect("a hop");
}

#[tokio::test]
async fn a_writer_pauses_after_its_second_conflict_in_a_row() {
    let mut world = EngineFixture::new(vec![ScriptedFunction::new("f").step("a", &[]).function()]);
    let longest = Duration::from_secs(30);
    world.config.storage_retries = StorageRetries { first: longest, longest, ..StorageRetries::default() };
    let (store, engine) = engine_on(&mut world);
    world.send_event(&engine).await;
    let before = world.memory.counts().conflicts;
    let conflicts = |world: &EngineFixture| world.memory.counts().conflicts - before;
    store.rivals.store(4, SeqCst);
    let hop = spawn_hop(&world, &engine);
    // the clock stands still: after the first conflict the hop decides again at once, and then it
    // waits
    for expected in [2, 3, 4] {
        yield_to_all().await;
        assert_eq!(conflicts(&world), expected);
        let due = world.clock.pending().expect("the hop pauses");
        assert!(due.since(world.clock.now()) <= longest, "{due}");
        world.clock.set(due);
    }
    hop.await.expect("a hop");
    assert_eq!(conflicts(&world), 4);
    world.settle(&engine).await;
    assert_eq!(status_of_only_run(&engine).await, Status::Completed);
}
