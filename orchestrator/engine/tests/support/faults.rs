//! A memory adapter that fails on purpose, at one chosen call and in one chosen way.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use stepladder_core::journal::{Record, Seq};
use stepladder_core::slot::{HeldSlot, Holder, Limit, QueueKey, Ticket};
use stepladder_core::waiting::{SubscribedFields, Subscription, SubscriptionKey};
use stepladder_core::{Event, EventId, RunId, RunOrStep, RunRow, StepId, Timer, Timestamp};
use stepladder_engine::clock::Entropy;
use stepladder_engine::ports::*;
use stepladder_testkit::clock::SeededEntropy;
use stepladder_testkit::memory::Memory;
use tokio::sync::Notify;

/// An injected fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedFault {
    /// The process dies before the call does anything.
    DieBefore,
    /// The process dies after the call is carried out.
    DieAfter,
    /// The call is carried out, and its reply is lost.
    LoseReply,
    /// The call fails without any effect.
    Refuse,
    /// The process dies within a commit, after this many of the commit's five parts, as on a store
    /// without transactions. Any other call fails without any effect.
    Tear(u8),
}

/// All faults.
pub const FAULTS: [InjectedFault; 8] = [
    InjectedFault::DieBefore,
    InjectedFault::DieAfter,
    InjectedFault::LoseReply,
    InjectedFault::Refuse,
    InjectedFault::Tear(1),
    InjectedFault::Tear(2),
    InjectedFault::Tear(3),
    InjectedFault::Tear(4),
];

/// A memory adapter with injected faults.
pub struct FaultyBackend {
    inner: Arc<Memory>,
    /// The number of the call that gets the fault, counted from 1; 0 for no fault.
    at: AtomicU32,
    fault: Mutex<InjectedFault>,
    /// The source of further random faults, and the average number of calls between two of them.
    chance: Option<(Arc<SeededEntropy>, u32)>,
    /// The maximum number of further faults.
    left: Arc<AtomicU32>,
    calls: AtomicU32,
    died: AtomicBool,
    pub death: Notify,
}

impl FaultyBackend {
    pub fn new(inner: Arc<Memory>, fault: InjectedFault, at: u32) -> Arc<Self> {
        Arc::new(Self::build(inner, fault, at, None))
    }

    /// Injects random faults, one per `every` calls on average, until the process has died or
    /// `left` is zero.
    pub fn with_random_faults(
        inner: Arc<Memory>,
        chance: Arc<SeededEntropy>,
        every: u32,
        left: Arc<AtomicU32>,
    ) -> Arc<Self> {
        let faulty = Self { left, ..Self::build(inner, InjectedFault::Refuse, 0, Some((chance, every))) };
        faulty.arm();
        Arc::new(faulty)
    }

    fn build(inner: Arc<Memory>, fault: InjectedFault, at: u32, chance: Option<(Arc<SeededEntropy>, u32)>) -> Self {
        let left = Arc::default();
        let (calls, died) = (AtomicU32::new(0), AtomicBool::new(false));
        let (at, fault) = (AtomicU32::new(at), Mutex::new(fault));
        Self { inner, at, fault, chance, left, calls, died, death: Notify::new() }
    }

    fn arm(&self) {
        let Some((chance, every)) = &self.chance else { return };
        if self.left.load(SeqCst) == 0 {
            return;
        }
        self.left.fetch_sub(1, SeqCst);
        let bits = chance.bits();
        *self.fault.lock().unwrap() = FAULTS[(bits >> 64) as usize % FAULTS.len()];
        self.at.store(self.calls.load(SeqCst) + 1 + bits as u32 % (2 * every), SeqCst);
    }

    /// Returns whether the fault has happened.
    pub fn has_happened(&self) -> bool {
        self.calls.load(SeqCst) >= self.at.load(SeqCst)
    }

    /// Returns whether the process has died.
    pub fn has_died(&self) -> bool {
        self.died.load(SeqCst)
    }

    async fn die<T>(&self) -> T {
        self.died.store(true, SeqCst);
        self.death.notify_one();
        std::future::pending().await
    }

    async fn call<T>(&self, call: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
        if self.died.load(SeqCst) {
            return self.die().await;
        }
        if self.calls.fetch_add(1, SeqCst) + 1 != self.at.load(SeqCst) {
            return call.await;
        }
        let fault = *self.fault.lock().unwrap();
        self.arm();
        match fault {
            InjectedFault::DieBefore => self.die().await,
            InjectedFault::DieAfter => {
                call.await.ok();
                self.die().await
            }
            InjectedFault::LoseReply => {
                call.await.ok();
                Err(StoreError::Unavailable("the reply was lost".into()))
            }
            InjectedFault::Tear(_) => self.die().await,
            InjectedFault::Refuse => Err(StoreError::Unavailable("throttled".into())),
        }
    }
}

macro_rules! pass_through {
    ($port:ident { $($name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)* }) => {
        #[async_trait]
        impl $port for FaultyBackend {
            $(async fn $name(&self, $($arg: $ty),*) -> StoreResult<$out> {
                self.call(self.inner.$name($($arg),*)).await
            })*
        }
    };
}

pass_through!(Journals { read(run: RunId, from: Seq) -> Vec<Record>; });

#[async_trait]
impl Retention for FaultyBackend {}

#[async_trait]
impl Commits for FaultyBackend {
    fn is_exclusive(&self) -> bool {
        self.inner.is_exclusive()
    }

    async fn commit(&self, commit: Commit) -> StoreResult<CommitResult> {
        let fault = *self.fault.lock().unwrap();
        if let InjectedFault::Tear(parts) = fault
            && self.calls.load(SeqCst) + 1 == self.at.load(SeqCst)
            && !self.died.load(SeqCst)
        {
            let Commit { before, append, after, wakes, acks } = commit.clone();
            let torn = Commit {
                before,
                append: append.filter(|_| parts > 1),
                after: if parts > 2 { after } else { Vec::new() },
                wakes: if parts > 3 { wakes } else { Vec::new() },
                acks: if parts > 4 { acks } else { Vec::new() },
            };
            self.inner.commit(torn).await?;
        }
        self.call(self.inner.commit(commit)).await
    }
}
pass_through!(Events {
    accept(events: Vec<Event>, now: Timestamp) -> Vec<Event>;
    event(id: EventId) -> Option<Event>;
    resolve(external_id: &str) -> Option<EventId>;
});
#[async_trait]
impl Intake for FaultyBackend {}
pass_through!(RunCreation { create_runs(starts: Vec<RunStart>) -> Vec<StartResult>; });
pass_through!(FlowStates {
    read_flow_state(keys: Vec<Arc<str>>) -> Vec<Option<Arc<str>>>;
    change_flow_state(changes: Vec<FlowStateChange>) -> Vec<bool>;
});
pass_through!(Listings {
    runs(query: RunQuery) -> Vec<RunRow>;
    runs_of(event: EventId) -> Vec<RunRow>;
    row(run: RunId) -> Option<RunRow>;
    events(before: Option<EventId>, limit: usize) -> Vec<Event>;
});
pass_through!(SlotOperations {
    try_acquire(limits: &[Limit], holder: &Holder, lease_until: Timestamp, now: Timestamp) -> Vec<Refusal>;
    release_slot(limit: &Limit, holder: &Holder) -> ();
    holders(queue: &QueueKey) -> Vec<HeldSlot>;
    enqueue(limit: &Limit, ticket: Ticket) -> bool;
    enqueue_without_slots(queue: &QueueKey, ticket: Ticket) -> ();
    dequeue(limit: &Limit, ticket: &Ticket) -> ();
    first_tickets(queue: &QueueKey, n: usize) -> Vec<Ticket>;
    ticket(queue: &QueueKey, run: RunId, of: Option<&RunOrStep>) -> Option<Ticket>;
    count_before(queue: &QueueKey, ticket: &Ticket) -> usize;
});
pass_through!(Timers {
    bucket(minute: i64, limit: usize) -> Vec<StoreResult<Timer>>;
    oldest() -> Option<i64>;
    set(timers: Vec<Timer>) -> ();
    cursor() -> Option<Cursor>;
    advance(expected: Option<Cursor>, next: Cursor) -> bool;
});
pass_through!(SubscriptionIndex {
    subscribed_fields(event: &str) -> SubscribedFields;
    subscriptions(event: &str, bucket: &SubscriptionKey, after: Option<(RunId, StepId)>, limit: usize) -> Vec<Subscription>;
    inbox(run: RunId) -> Vec<EventId>;
});

#[async_trait]
impl Queue for FaultyBackend {
    async fn receive(&self, max: usize, visibility: Duration) -> StoreResult<Vec<Delivery>> {
        self.call(self.inner.receive(max, visibility)).await
    }

    fn max_delay(&self) -> Duration {
        self.inner.max_delay()
    }
}

#[async_trait]
impl Registrations for FaultyBackend {
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
