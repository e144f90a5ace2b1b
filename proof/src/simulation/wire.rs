//! The store as one process sees it. Other tasks run before each call, listings may be stale, calls
//! fail, and the process may die before, during or after a call.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use stepladder_core::{RunId, Timestamp};
use stepladder_engine::clock::Clock;
use stepladder_engine::ports::{
    AcquireRequest, Backend, Commit, Commits, EarlyWrite, Listings, SlotOperations, StoreError, StoreResult,
};
use stepladder_testkit::clock::VirtualClock;
use stepladder_testkit::intercept::{Intercept, StorageCall};
use stepladder_testkit::memory::Memory;

use super::coverage::Coverage;
use super::injected_fault::{DEATHS, FAULTS, GENTLE, InjectedFault, torn_commit};
use super::knobs::SimulationSettings;
use super::listings::LaggingListings;
use super::places::{CallSite, CallSites};
use crate::dice::SeededDice;

/// Replies of slow calls arrive at multiples of this many milliseconds.
const TICK: i64 = 40;

/// The methods of ports that write.
const WRITES: &[&str] = &[
    "accept",
    "accept_with_runs",
    "create_runs",
    "commit",
    "change_flow_state",
    "enqueue",
    "enqueue_paused",
    "acquire",
    "release",
    "try_acquire",
    "release_slot",
    "dequeue",
    "set",
    "advance",
    "renew_retention",
];

/// Calls of the queue of events.
const QUEUE: &[&str] = &["postpone", "send"];

/// The state that all processes share, such as the faults that are left and the log of calls.
#[derive(Default)]
pub(crate) struct SharedFaults {
    pub(crate) faults_left: AtomicU32,
    /// How many faults have occurred. A fault leaves `faults_left` when it is planned, which is
    /// long before it occurs.
    pub(crate) faults_met: AtomicU32,
    /// Whether faults never kill a process.
    gentle: bool,
    /// Whether one call stores events together with their runs.
    accepts_at_once: bool,
    /// The longest delay of a wake in the queue.
    max_delay: Duration,
    /// Whether one call acquires slots or enqueues a ticket. Otherwise each operation is a call of
    /// its own, as on a store without transactions.
    acquires_at_once: bool,
    /// The places at which an additional process will die.
    aims: Mutex<Vec<&'static CallSite>>,
    /// Every call is refused until this time, in milliseconds since 1970.
    pub(crate) brown_out_until: AtomicI64,
    /// Writes of the first worker are refused until this time, in milliseconds since 1970.
    pub(crate) denied_until: AtomicI64,
    /// Number of calls so far.
    pub(crate) calls: AtomicU64,
    /// Number of calls with a fault.
    pub(crate) faulty: AtomicU64,
    /// The runs with new journal entries since the last check.
    touched: Mutex<Vec<RunId>>,
    /// The requests for slots since the last check, if one call has the whole request.
    requests: Mutex<Vec<AcquireRequest>>,
    /// The calls in the order of their replies; `None` if no story is recorded.
    log: Option<Mutex<Vec<String>>>,
    pub(crate) coverage: Option<Arc<Coverage>>,
}

impl SharedFaults {
    pub(crate) fn new(
        knobs: &SimulationSettings,
        max_delay: Duration,
        loud: bool,
        coverage: Option<Arc<Coverage>>,
    ) -> Arc<Self> {
        let log = loud.then(Mutex::default);
        let faults_left = AtomicU32::new(u32::try_from(knobs.faults).unwrap_or(u32::MAX));
        let aims = Mutex::new(knobs.aim.into_iter().chain(knobs.aim_too).collect());
        Arc::new(Self {
            faults_left,
            gentle: knobs.gentle > 0,
            accepts_at_once: knobs.accepts_at_once > 0,
            max_delay,
            acquires_at_once: knobs.acquires_at_once > 0,
            aims,
            log,
            coverage,
            ..Self::default()
        })
    }

    /// Cancels the deaths at the places in `aims`.
    pub(crate) fn aim_at_nothing(&self) {
        self.aims.lock().expect("no panic").clear();
    }

    /// Returns the runs with new journal entries since the previous call.
    pub(crate) fn take_touched(&self) -> Vec<RunId> {
        std::mem::take(&mut *self.touched.lock().expect("no panic"))
    }

    /// Returns the requests for slots since the previous call.
    pub(crate) fn take_requests(&self) -> Vec<AcquireRequest> {
        std::mem::take(&mut *self.requests.lock().expect("no panic"))
    }

    /// Returns the descriptions of the calls since the previous call of this function.
    pub(crate) fn take_log(&self) -> Vec<String> {
        self.log.as_ref().map_or_else(Vec::new, |log| std::mem::take(&mut *log.lock().expect("no panic")))
    }
}

/// One process's access to the store. Faults are injected into its calls.
pub(crate) struct FaultyStore {
    memory: Arc<Memory>,
    listings: Arc<LaggingListings>,
    clock: Arc<VirtualClock>,
    shared: Arc<SharedFaults>,
    /// Picks the task that continues, the calls that fail, and their faults.
    dice: SeededDice,
    fate: SeededDice,
    /// The mean number of calls between two faults.
    every: u64,
    /// The number of calls until the next fault; `None` if there is no further fault.
    countdown: Mutex<Option<u64>>,
    died: AtomicBool,
    /// How far the process's clock is ahead, in milliseconds.
    ahead: i64,
    /// Whether the process is the first worker.
    is_first: bool,
    /// Maximum duration of a call, in milliseconds.
    latency: u64,
}

/// The settings of the store of one process. See [`FaultyStore`] for the fields.
pub(crate) struct FaultyStoreSettings {
    pub(crate) memory: Arc<Memory>,
    pub(crate) listings: Arc<LaggingListings>,
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) shared: Arc<SharedFaults>,
    pub(crate) dice: SeededDice,
    pub(crate) fate: SeededDice,
    pub(crate) every: u64,
    pub(crate) ahead: i64,
    pub(crate) is_first: bool,
    pub(crate) latency: u64,
}

impl FaultyStore {
    pub(crate) fn new(settings: FaultyStoreSettings) -> Self {
        let FaultyStoreSettings { memory, listings, clock, shared, dice, fate, every, ahead, is_first, latency } =
            settings;
        let (countdown, died) = (Mutex::default(), AtomicBool::new(false));
        let wire =
            Self { memory, listings, clock, shared, dice, fate, every, countdown, died, ahead, is_first, latency };
        wire.arm();
        wire
    }

    /// Kills the process.
    pub(crate) fn kill(&self) {
        self.died.store(true, SeqCst);
    }

    /// Returns whether the process is dead.
    pub(crate) fn has_died(&self) -> bool {
        self.died.load(SeqCst)
    }

    /// Stops injecting faults.
    pub(crate) fn disarm(&self) {
        *self.countdown.lock().expect("no panic") = None;
    }

    fn arm(&self) {
        let left = &self.shared.faults_left;
        let armed = left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        *self.countdown.lock().expect("no panic") = armed.then(|| 1 + self.fate.below(2 * self.every));
    }

    /// Returns whether a process must die at this call, and removes the place from `aims`.
    fn is_aimed_at(&self, method: &str) -> bool {
        let mut aims = self.shared.aims.lock().expect("no panic");
        let is_here =
            |(function, of): &CallSite| *of == method && CallSites::all_sites().caller().as_ref() == Some(function);
        let here = aims.iter().position(|site| is_here(site));
        here.map(|here| aims.remove(here)).is_some()
    }

    /// Returns the fault to inject into this call, if any.
    fn fault(&self, call: &StorageCall<'_>) -> Option<InjectedFault> {
        // A brown-out affects the table, but not the queue.
        let only_queue = call.commit.is_some_and(|commit| commit.append.is_none() && commit.after.is_empty())
            || QUEUE.contains(&call.name);
        if self.clock.now().as_millis() < self.shared.brown_out_until.load(SeqCst) && !only_queue {
            return Some(InjectedFault::Refuse);
        }
        let is_denied = self.is_first && self.clock.now().as_millis() < self.shared.denied_until.load(SeqCst);
        if is_denied && !only_queue && WRITES.contains(&call.name) {
            return Some(InjectedFault::Deny);
        }
        if self.is_aimed_at(call.name) {
            return Some(DEATHS[self.shared.calls.load(SeqCst) as usize % DEATHS.len()]);
        }
        let comes = {
            let mut countdown = self.countdown.lock().expect("no panic");
            let left = countdown.as_mut()?;
            *left -= 1;
            *left == 0
        };
        comes.then(|| {
            self.shared.faults_met.fetch_add(1, SeqCst);
            self.arm();
            let faults = if self.shared.gentle { GENTLE } else { FAULTS };
            match faults[self.fate.below(faults.len() as u64) as usize] {
                InjectedFault::DelayRequest(most) => InjectedFault::DelayRequest(self.fate.below(most)),
                InjectedFault::DelayReply(most) => InjectedFault::DelayReply(self.fate.below(most)),
                fault => fault,
            }
        })
    }

    async fn die<T>(&self) -> T {
        self.died.store(true, SeqCst);
        std::future::pending().await
    }

    async fn apply_fault<T>(
        &self,
        call: StorageCall<'_>,
        fault: Option<InjectedFault>,
        reply: BoxFuture<'_, StoreResult<T>>,
    ) -> StoreResult<T> {
        match (fault, call.commit) {
            (None, _) => reply.await,
            (Some(InjectedFault::Tear(parts)), Some(commit)) => {
                self.memory.commit(torn_commit(commit.clone(), parts)).await.ok();
                self.die().await
            }
            (Some(InjectedFault::DieBefore | InjectedFault::Tear(_)), _) => self.die().await,
            (Some(InjectedFault::DieAfter), _) => {
                reply.await.ok();
                self.die().await
            }
            (Some(InjectedFault::LoseReply), _) => {
                reply.await.ok();
                Err(StoreError::Unavailable("the reply was lost".into()))
            }
            (Some(InjectedFault::DelayRequest(late)), commit) => {
                if let Some(commit) = commit {
                    self.memory.commit(torn_commit(commit.clone(), 1)).await.ok();
                }
                self.clock.sleep_until(self.clock.now() + Duration::from_millis(late)).await;
                reply.await
            }
            (Some(InjectedFault::DelayReply(late)), _) => {
                let reply = reply.await;
                self.clock.sleep_until(self.clock.now() + Duration::from_millis(late)).await;
                reply
            }
            (Some(InjectedFault::Refuse), _) => Err(StoreError::Unavailable("throttled".into())),
            (Some(InjectedFault::Deny), _) => Err(StoreError::Refused("the worker has lost its rights".into())),
        }
    }
}

#[async_trait]
impl Intercept for FaultyStore {
    fn backend(&self) -> &dyn Backend {
        &*self.memory
    }

    fn listings(&self) -> &dyn Listings {
        &*self.listings
    }

    fn max_delay(&self) -> Duration {
        self.shared.max_delay
    }

    fn slot_operations(&self) -> Option<&dyn SlotOperations> {
        (!self.shared.acquires_at_once).then_some(&*self.memory as &dyn SlotOperations)
    }

    fn accepts_at_once(&self) -> bool {
        self.shared.accepts_at_once
    }

    /// Corrects the due times of delayed wakes: the sender computes each delay by its own clock,
    /// which may be wrong.
    fn amend(&self, mut commit: Commit) -> Commit {
        for later in &mut commit.before {
            if let EarlyWrite::Wake { due, .. } = later {
                *due = Timestamp::from_millis(due.as_millis() - self.ahead);
                let delay = due.since(self.clock.now());
                assert!(delay <= self.shared.max_delay, "a wake is delayed for {delay:?}");
            }
        }
        commit
    }

    async fn around<'a, T: Debug + Send>(
        &'a self,
        call: StorageCall<'a>,
        reply: BoxFuture<'a, StoreResult<T>>,
    ) -> StoreResult<T> {
        tokio::task::yield_now().await;
        if self.latency > 0 {
            // Replies arrive in groups, because every task is polled at each time at which the
            // clock stops.
            let due = self.clock.now().as_millis() + self.dice.below(self.latency) as i64;
            let due = Timestamp::from_millis(due - due % TICK);
            self.clock.sleep_until(due).await;
        }
        if self.has_died() {
            return self.die().await;
        }
        self.shared.calls.fetch_add(1, SeqCst);
        if let Some(append) = call.commit.and_then(|commit| commit.append.as_ref()) {
            self.shared.touched.lock().expect("no panic").push(append.run);
        }
        if let Some(request) = call.acquire {
            self.shared.requests.lock().expect("no panic").push(request.clone());
        }
        let fault = self.fault(&call);
        self.shared.faulty.fetch_add(u64::from(fault.is_some()), SeqCst);
        if let Some(coverage) = &self.shared.coverage {
            coverage.note(call.name, fault);
        }
        if let (Some(log), Some(fault)) = (&self.shared.log, fault) {
            log.lock().expect("no panic").push(format!("    {fault:?} at {}", call.name));
        }
        let reply = self.apply_fault(call, fault, reply).await;
        if let Some(log) = &self.shared.log {
            let arguments = format!("{:?}", call.arguments);
            log.lock().expect("no panic").push(format!(
                "    {} {arguments:.300} -> {:.100}",
                call.name,
                format!("{reply:?}")
            ));
        }
        if self.dice.one_in(2) {
            tokio::task::yield_now().await;
        }
        reply
    }
}
