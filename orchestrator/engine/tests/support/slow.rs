//! Memory adapters that are slow, or that fail in one particular way.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use stepladder_core::journal::{Fact, Record, Seq};
use stepladder_core::slot::{HeldSlot, Holder, Limit, QueueKey, Ticket};
use stepladder_core::waiting::{SubscribedFields, Subscription, SubscriptionKey};
use stepladder_core::{Event, EventId, RunId, RunOrStep, RunRow, StepId, Timer, Timestamp};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::*;
use stepladder_testkit::clock::VirtualClock;
use stepladder_testkit::memory::Memory;

type DelayHook = Box<dyn Fn(&Fact) -> Option<Duration> + Send + Sync>;
type CommitHook = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// A memory adapter with commits that take time or are carried out only in part.
pub struct SlowBackend {
    inner: Arc<Memory>,
    clock: Option<Arc<VirtualClock>>,
    hook: DelayHook,
    reads: bool,
    cursor: bool,
    /// The minute with an unreadable timer.
    unreadable: Option<i64>,
    /// While this flag is true, all writes to the store fail. `put_back` still works, because the
    /// queue is in memory.
    full: Option<Arc<AtomicBool>>,
    /// Whether failed writes fail with a permanent error.
    refuses: bool,
    /// Two commits with a matching fact wait for each other here.
    together: Option<Arc<tokio::sync::Barrier>>,
    /// Creates a future that is awaited just before a ticket is enqueued.
    before_park: Option<CommitHook>,
    /// Creates a future that is awaited just before the tickets of a queue are read.
    before_line: Option<CommitHook>,
    /// The runs for which retention was extended (rule 27), once per call.
    kept: Mutex<Vec<RunId>>,
}

impl SlowBackend {
    /// Creates an adapter without delays or failures.
    fn of(inner: Arc<Memory>) -> Self {
        Self {
            inner,
            clock: None,
            hook: Box::new(|_| None),
            reads: true,
            cursor: true,
            unreadable: None,
            full: None,
            refuses: false,
            together: None,
            before_park: None,
            before_line: None,
            kept: Mutex::default(),
        }
    }

    /// Advances the clock after each commit with a matching fact, by the time that the closure
    /// returns.
    pub fn new(
        inner: Arc<Memory>,
        clock: Arc<VirtualClock>,
        hook: impl Fn(&Fact) -> Option<Duration> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { clock: Some(clock), hook: Box::new(hook), ..Self::of(inner) })
    }

    pub fn renewed_runs(&self) -> Vec<RunId> {
        self.kept.lock().unwrap().clone()
    }
}

/// Carries out only the parts of a commit that precede the journal, if the commit has a matching
/// fact. Then the process hangs.
pub fn only_before(inner: Arc<Memory>, is: impl Fn(&Fact) -> bool + Send + Sync + 'static) -> Arc<SlowBackend> {
    let hook: DelayHook = Box::new(move |fact| is(fact).then_some(Duration::ZERO));
    Arc::new(SlowBackend { hook, ..SlowBackend::of(inner) })
}

/// Writes only the entries of a commit that has a matching fact. Then the process hangs.
pub fn only_journal(inner: Arc<Memory>, is: impl Fn(&Fact) -> bool + Send + Sync + 'static) -> Arc<SlowBackend> {
    let hook: DelayHook = Box::new(move |fact| is(fact).then_some(Duration::MAX));
    Arc::new(SlowBackend { hook, ..SlowBackend::of(inner) })
}

/// Fails all reads of journals.
pub fn refuse_reads(inner: Arc<Memory>) -> Arc<SlowBackend> {
    Arc::new(SlowBackend { reads: false, ..SlowBackend::of(inner) })
}

/// Fails all writes while `full` is true.
pub fn on_disk(inner: Arc<Memory>, full: Arc<AtomicBool>) -> Arc<SlowBackend> {
    Arc::new(SlowBackend { full: Some(full), ..SlowBackend::of(inner) })
}

/// Fails all writes with a permanent error while `full` is true.
pub fn on_refusing_disk(inner: Arc<Memory>, full: Arc<AtomicBool>) -> Arc<SlowBackend> {
    Arc::new(SlowBackend { full: Some(full), refuses: true, ..SlowBackend::of(inner) })
}

/// Fails all writes of the sweep's cursor.
pub fn without_cursor(inner: Arc<Memory>) -> Arc<SlowBackend> {
    Arc::new(SlowBackend { cursor: false, ..SlowBackend::of(inner) })
}

/// Returns the oldest timer's time rounded to the hour, as some stores do.
pub fn without_timers_beyond(inner: Arc<Memory>) -> Arc<SlowBackend> {
    Arc::new(SlowBackend::of(inner))
}

/// Adds an unreadable timer to the timers of this minute.
pub fn unreadable_timer(inner: Arc<Memory>, minute: i64) -> Arc<SlowBackend> {
    Arc::new(SlowBackend { unreadable: Some(minute), ..SlowBackend::of(inner) })
}

/// Makes two commits with a matching fact happen at the same time.
pub fn together(inner: Arc<Memory>, is: impl Fn(&Fact) -> bool + Send + Sync + 'static) -> Arc<SlowBackend> {
    let hook: DelayHook = Box::new(move |fact| is(fact).then_some(Duration::ZERO));
    let together = Some(Arc::new(tokio::sync::Barrier::new(2)));
    let clock = Some(Arc::new(VirtualClock::new(Timestamp::from_millis(0))));
    Arc::new(SlowBackend { clock, hook, together, ..SlowBackend::of(inner) })
}

/// Runs `interlude` after an acquisition was refused, just before the ticket is enqueued.
pub fn before_park<F>(inner: Arc<Memory>, interlude: impl Fn() -> F + Send + Sync + 'static) -> Arc<SlowBackend>
where
    F: Future<Output = ()> + Send + 'static,
{
    let before_park: Option<CommitHook> = Some(Box::new(move || Box::pin(interlude())));
    Arc::new(SlowBackend { before_park, ..SlowBackend::of(inner) })
}

/// Runs `interlude` just before the tickets of a queue are read.
pub fn before_line<F>(inner: Arc<Memory>, interlude: impl Fn() -> F + Send + Sync + 'static) -> Arc<SlowBackend>
where
    F: Future<Output = ()> + Send + 'static,
{
    let before_line: Option<CommitHook> = Some(Box::new(move || Box::pin(interlude())));
    Arc::new(SlowBackend { before_line, ..SlowBackend::of(inner) })
}

#[async_trait]
impl Journals for SlowBackend {
    async fn read(&self, run: RunId, from: Seq) -> StoreResult<Vec<Record>> {
        if self.reads { self.inner.read(run, from).await } else { Err(StoreError::Unavailable("brown-out".into())) }
    }
}

#[async_trait]
impl Retention for SlowBackend {
    async fn renew_retention(&self, run: RunId, _: EventId, _: Timestamp) -> StoreResult<()> {
        self.kept.lock().unwrap().push(run);
        Ok(())
    }
}

#[async_trait]
impl Intake for SlowBackend {}

#[async_trait]
impl Commits for SlowBackend {
    fn is_exclusive(&self) -> bool {
        self.inner.is_exclusive()
    }

    async fn commit(&self, commit: Commit) -> StoreResult<CommitResult> {
        if self.full.as_ref().is_some_and(|full| full.load(SeqCst)) {
            let (full, refused) = ("the disk is full", "the file is read-only");
            return Err(match self.refuses {
                false => StoreError::Unavailable(full.into()),
                true => StoreError::Refused(refused.into()),
            });
        }
        let facts = commit.append.iter().flat_map(|append| &append.record.entries);
        let hit = facts.into_iter().find_map(|entry| (self.hook)(&entry.fact));
        if let (Some(_), Some(together)) = (hit, &self.together) {
            together.wait().await;
        }
        match (hit, &self.clock) {
            (Some(part), None) => {
                let append = commit.append.filter(|_| part == Duration::MAX);
                self.inner.commit(Commit { before: commit.before, append, ..Commit::default() }).await?;
                std::future::pending().await
            }
            (hit, clock) => {
                let committed = self.inner.commit(commit).await;
                if let (Some(wait), Some(clock)) = (hit, clock) {
                    clock.set(clock.now() + wait);
                }
                committed
            }
        }
    }
}

macro_rules! pass_on {
    ($port:ident { $($name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)* }) => {
        #[async_trait]
        impl $port for SlowBackend {
            $(async fn $name(&self, $($arg: $ty),*) -> StoreResult<$out> {
                self.inner.$name($($arg),*).await
            })*
        }
    };
}

pass_on!(Events {
    accept(events: Vec<Event>, now: Timestamp) -> Vec<Event>;
    event(id: EventId) -> Option<Event>;
    resolve(external_id: &str) -> Option<EventId>;
});
pass_on!(RunCreation { create_runs(starts: Vec<RunStart>) -> Vec<StartResult>; });
pass_on!(FlowStates {
    read_flow_state(keys: Vec<Arc<str>>) -> Vec<Option<Arc<str>>>;
    change_flow_state(changes: Vec<FlowStateChange>) -> Vec<bool>;
});
pass_on!(Listings {
    runs(query: RunQuery) -> Vec<RunRow>;
    runs_of(event: EventId) -> Vec<RunRow>;
    row(run: RunId) -> Option<RunRow>;
    events(before: Option<EventId>, limit: usize) -> Vec<Event>;
});
pass_on!(SubscriptionIndex {
    subscribed_fields(event: &str) -> SubscribedFields;
    subscriptions(event: &str, bucket: &SubscriptionKey, after: Option<(RunId, StepId)>, limit: usize) -> Vec<Subscription>;
    inbox(run: RunId) -> Vec<EventId>;
});
#[async_trait]
impl SlotOperations for SlowBackend {
    async fn try_acquire(
        &self,
        limits: &[Limit],
        holder: &Holder,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Vec<Refusal>> {
        self.inner.try_acquire(limits, holder, lease_until, now).await
    }
    async fn release_slot(&self, limit: &Limit, holder: &Holder) -> StoreResult<()> {
        self.inner.release_slot(limit, holder).await
    }
    async fn holders(&self, queue: &QueueKey) -> StoreResult<Vec<HeldSlot>> {
        self.inner.holders(queue).await
    }
    async fn enqueue(&self, limit: &Limit, ticket: Ticket) -> StoreResult<bool> {
        if let Some(interlude) = &self.before_park {
            interlude().await;
        }
        self.inner.enqueue(limit, ticket).await
    }
    async fn enqueue_without_slots(&self, queue: &QueueKey, ticket: Ticket) -> StoreResult<()> {
        if let Some(interlude) = &self.before_park {
            interlude().await;
        }
        self.inner.enqueue_without_slots(queue, ticket).await
    }
    async fn dequeue(&self, limit: &Limit, ticket: &Ticket) -> StoreResult<()> {
        self.inner.dequeue(limit, ticket).await
    }
    async fn first_tickets(&self, queue: &QueueKey, n: usize) -> StoreResult<Vec<Ticket>> {
        if let Some(interlude) = &self.before_line {
            interlude().await;
        }
        self.inner.first_tickets(queue, n).await
    }
    async fn ticket(&self, queue: &QueueKey, run: RunId, of: Option<&RunOrStep>) -> StoreResult<Option<Ticket>> {
        self.inner.ticket(queue, run, of).await
    }
    async fn count_before(&self, queue: &QueueKey, ticket: &Ticket) -> StoreResult<usize> {
        self.inner.count_before(queue, ticket).await
    }
}
#[async_trait]
impl Timers for SlowBackend {
    async fn bucket(&self, minute: i64, limit: usize) -> StoreResult<Vec<StoreResult<Timer>>> {
        let mut timers = self.inner.bucket(minute, limit).await?;
        if self.unreadable == Some(minute) {
            timers.insert(0, Err(StoreError::Unreadable("a timer without a run".into())));
        }
        Ok(timers)
    }
    async fn oldest(&self) -> StoreResult<Option<i64>> {
        Ok(self.inner.oldest().await?.map(|minute| (minute - 60) / 60 * 60))
    }
    async fn set(&self, timers: Vec<Timer>) -> StoreResult<()> {
        self.inner.set(timers).await
    }
    async fn cursor(&self) -> StoreResult<Option<Cursor>> {
        self.inner.cursor().await
    }
    async fn advance(&self, expected: Option<Cursor>, next: Cursor) -> StoreResult<bool> {
        if self.cursor {
            self.inner.advance(expected, next).await
        } else {
            Err(StoreError::Unavailable("throttled".into()))
        }
    }
}
#[async_trait]
impl Queue for SlowBackend {
    fn max_delay(&self) -> Duration {
        self.inner.max_delay()
    }
    async fn receive(&self, max: usize, visibility: Duration) -> StoreResult<Vec<Delivery>> {
        self.inner.receive(max, visibility).await
    }
    async fn put_back(&self, receipt: &Receipt, due: Timestamp) -> StoreResult<bool> {
        if self.full.is_some() { self.inner.put_back(receipt, due).await } else { Ok(false) }
    }
}

#[async_trait]
impl Registrations for SlowBackend {
    async fn registrations_version(&self) -> StoreResult<u64> {
        self.inner.registrations_version().await
    }
    async fn registrations(&self) -> StoreResult<StoredRegistrations> {
        self.inner.registrations().await
    }
    async fn put_registration(&self, seen: u64, registration: Registration) -> StoreResult<bool> {
        self.inner.put_registration(seen, registration).await
    }
    async fn remove_registration(&self, seen: u64, app: &str) -> StoreResult<bool> {
        self.inner.remove_registration(seen, app).await
    }
}
