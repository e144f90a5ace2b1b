//! A backend that lets a test observe and change every call: to count calls, delay them or let them
//! fail.
//!
//! An [`Intercept`] decides what happens to a call. [`InterceptedBackend`] turns it into a backend.

mod slots;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use stepladder_core::journal::{Record, Seq};
use stepladder_core::waiting::{SubscribedFields, Subscription, SubscriptionKey};
use stepladder_core::{Event, EventId, Label, RunId, RunRow, Status, StepId, Timer, Timestamp};

use stepladder_engine::ports::*;

/// A call that is about to be passed to the backend.
#[derive(Clone, Copy, Debug)]
pub struct StorageCall<'a> {
    /// The name of the port's method.
    pub name: &'static str,
    /// The method's arguments, to log the call.
    pub arguments: &'a (dyn Debug + Sync),
    /// The commit, if the method is `commit`; otherwise `None`.
    pub commit: Option<&'a Commit>,
    /// The request for slots, if the method is `acquire`; otherwise `None`.
    pub acquire: Option<&'a AcquireRequest>,
}

impl<'a> StorageCall<'a> {
    /// Creates a call of a method, without a commit and without a request for slots.
    pub fn new(name: &'static str, arguments: &'a (dyn Debug + Sync)) -> Self {
        Self { name, arguments, commit: None, acquire: None }
    }
}

/// Decides what happens to each call of an [`InterceptedBackend`] backend.
#[async_trait]
pub trait Intercept: Send + Sync {
    /// Returns the backend that executes the calls.
    fn backend(&self) -> &dyn Backend;

    /// Returns whether the backend repeats failed requests itself.
    fn repeats_requests(&self) -> bool {
        self.backend().repeats_requests()
    }

    /// Returns whether no other process can use the backend.
    fn is_exclusive(&self) -> bool {
        self.backend().is_exclusive()
    }

    /// Returns the operations of which the backend's calls about slots consist. Each is then a call
    /// of its own; `None` if the backend does them together.
    fn slot_operations(&self) -> Option<&dyn SlotOperations> {
        None
    }

    /// Returns the longest delay of the backend's queue.
    fn max_delay(&self) -> Duration {
        self.backend().max_delay()
    }

    /// Returns whether one call stores events together with their runs. Otherwise each write is a
    /// separate call.
    fn accepts_at_once(&self) -> bool {
        false
    }

    /// Returns the backend for listings, which may be an older copy of the data.
    fn listings(&self) -> &dyn Listings {
        self.backend()
    }

    /// Changes a commit before it is executed. By default, returns it unchanged.
    fn amend(&self, commit: Commit) -> Commit {
        commit
    }

    /// Returns the result of a call, either by awaiting `reply` or in another way. The call is
    /// executed only when `reply` is awaited.
    async fn around<'a, T: Debug + Send>(
        &'a self,
        call: StorageCall<'a>,
        reply: BoxFuture<'a, StoreResult<T>>,
    ) -> StoreResult<T>;
}

/// A backend that passes each call to an [`Intercept`].
#[derive(Clone, Debug)]
pub struct InterceptedBackend<I>(pub I);

macro_rules! intercept {
    ($($port:ident of $from:ident { $($name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)* })*) => {$(
        #[async_trait]
        impl<I: Intercept> $port for InterceptedBackend<I> {
            $(async fn $name(&self, $($arg: $ty),*) -> StoreResult<$out> {
                let arguments = ($($arg.to_owned(),)*);
                let call = StorageCall::new(stringify!($name), &arguments);
                self.0.around(call, self.0.$from().$name($($arg),*)).await
            })*
        }
    )*};
}

intercept! {
    Events of backend {
        accept(events: Vec<Event>, now: Timestamp) -> Vec<Event>;
        event(id: EventId) -> Option<Event>;
        resolve(external_id: &str) -> Option<EventId>;
    }
    RunCreation of backend {
        create_runs(starts: Vec<RunStart>) -> Vec<StartResult>;
    }
    FlowStates of backend {
        read_flow_state(keys: Vec<Arc<str>>) -> Vec<Option<Arc<str>>>;
        change_flow_state(changes: Vec<FlowStateChange>) -> Vec<bool>;
    }
    Listings of listings {
        runs(query: RunQuery) -> Vec<RunRow>;
        events(before: Option<EventId>, limit: usize) -> Vec<Event>;
        runs_of(event: EventId) -> Vec<RunRow>;
        row(run: RunId) -> Option<RunRow>;
        count_runs(query: RunQuery) -> Option<Vec<(Option<Status>, usize)>>;
        first_records(runs: Vec<RunId>) -> Option<Vec<(RunId, Record)>>;
        resumed_by(event: EventId) -> Vec<RunRow>;
        labels_of(runs: Vec<RunId>) -> Option<Vec<(RunId, Label)>>;
        trends(query: TrendQuery) -> Option<TrendCounts>;
        costs(query: CostQuery) -> Option<Vec<CostSum>>;
    }
    Journals of backend {
        read(run: RunId, from: Seq) -> Vec<Record>;
    }
    Retention of backend {
        renew_retention(run: RunId, event: EventId, now: Timestamp) -> ();
        prune(older_than: Timestamp) -> PruneResult;
    }
    SubscriptionIndex of backend {
        subscribed_fields(event: &str) -> SubscribedFields;
        subscriptions(event: &str, bucket: &SubscriptionKey, after: Option<(RunId, StepId)>, limit: usize) -> Vec<Subscription>;
        inbox(run: RunId) -> Vec<EventId>;
    }
    Registrations of backend {
        registrations_version() -> u64;
        registrations() -> StoredRegistrations;
        put_registration(seen: u64, registration: Registration) -> bool;
        remove_registration(seen: u64, app: &str) -> bool;
    }
    Timers of backend {
        bucket(minute: i64, limit: usize) -> Vec<StoreResult<Timer>>;
        oldest() -> Option<i64>;
        set(timers: Vec<Timer>) -> ();
        cursor() -> Option<Cursor>;
        advance(expected: Option<Cursor>, next: Cursor) -> bool;
    }
}

#[async_trait]
impl<I: Intercept> Queue for InterceptedBackend<I> {
    async fn receive(&self, max: usize, visibility: Duration) -> StoreResult<Vec<Delivery>> {
        let arguments = (max, visibility);
        let call = StorageCall::new("receive", &arguments);
        self.0.around(call, self.0.backend().receive(max, visibility)).await
    }

    fn max_delay(&self) -> Duration {
        self.0.max_delay()
    }

    async fn postpone(&self, events: Vec<EventId>) -> StoreResult<bool> {
        let arguments = events.clone();
        let call = StorageCall::new("postpone", &arguments);
        self.0.around(call, self.0.backend().postpone(events)).await
    }
}

#[async_trait]
impl<I: Intercept> Commits for InterceptedBackend<I> {
    async fn commit(&self, commit: Commit) -> StoreResult<CommitResult> {
        let commit = self.0.amend(commit);
        let arguments = commit.clone();
        let call = StorageCall { commit: Some(&arguments), ..StorageCall::new("commit", &arguments) };
        self.0.around(call, self.0.backend().commit(commit)).await
    }

    fn repeats_requests(&self) -> bool {
        self.0.repeats_requests()
    }

    fn is_exclusive(&self) -> bool {
        self.0.is_exclusive()
    }
}

#[async_trait]
impl<I: Intercept> Intake for InterceptedBackend<I> {
    async fn accept_with_runs(
        &self,
        events: Vec<Event>,
        now: Timestamp,
        decide: Decide<'_>,
    ) -> StoreResult<AcceptedEvents> {
        if !self.0.accepts_at_once() {
            return Ok(AcceptedEvents { events: self.accept(events, now).await?, applied: None });
        }
        let arguments = (events.clone(), now);
        let call = StorageCall::new("accept_with_runs", &arguments);
        self.0.around(call, self.0.backend().accept_with_runs(events, now, decide)).await
    }
}
