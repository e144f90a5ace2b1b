//! Delivers events to waiting runs. Each accepted event is delivered once to each matching
//! subscription (rule 17), and wakes the run.
//!
//! Subscriptions are read from an index. The index may be behind or ahead of the journal; the
//! journal decides:
//!
//! - If the journal does not contain the wait yet, the event is put into the run's inbox. A hop
//!   empties the inbox after it has written the wait (`Input::Inbox` of the hop).
//! - If the wait in the journal is over, the subscription is removed from the index.
//!
//! If an event is repeated, all this is repeated, and the run is woken again: the process that
//! handled the event first may have died before it sent the wake.

mod callbacks;
mod named;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use stepladder_core::expr::ExprCache;
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::state::{RunState, StepState, WaitTarget};
use stepladder_core::waiting::{ArrivingEvent, EventWait, SubscribedFields, Subscription, SubscriptionKey};
use stepladder_core::{Event, RunId, StepId, Timestamp, WakeCause};

use crate::EngineError;
pub use callbacks::{HeartbeatEffect, HeartbeatReceipt, SignalReceipt};

use crate::ports::{Commit, EarlyWrite, LateWrite, StoreError};
use crate::runs::Runs;
use crate::runtime::Runtime;

/// The number of subscriptions that are read in one request.
const PAGE: usize = 100;
/// How long expired subscriptions stay in the index. An event that was accepted in time may be
/// delivered later than the end of the wait by this time.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);
/// The number of runs to which an event is delivered concurrently.
const PARALLEL_RUNS: usize = 16;

/// Delivers events and callbacks to waiting runs.
pub struct Subscriptions {
    runtime: Arc<Runtime>,
    runs: Arc<Runs>,
    /// The compiled expressions of waits.
    pub(crate) exprs: Arc<ExprCache>,
}

impl Subscriptions {
    pub(crate) fn new(runtime: Arc<Runtime>, runs: Arc<Runs>) -> Self {
        Self { runtime, runs, exprs: Arc::default() }
    }

    /// Delivers events to the runs that wait for them. If an event name is not in `known`, looks up
    /// the fields by which runs subscribe to it.
    pub(crate) async fn deliver(
        &self,
        events: &[Event],
        mut by_name: HashMap<Arc<str>, SubscribedFields>,
    ) -> Result<(), StoreError> {
        for event in events {
            let fields = match by_name.get(&event.name) {
                Some(fields) => fields.clone(),
                None => {
                    let fields = self.runtime.backend.subscribed_fields(&event.name).await?;
                    by_name.insert(event.name.clone(), fields.clone());
                    fields
                }
            };
            if fields.is_empty() {
                continue;
            }
            let arriving = ArrivingEvent::new(event);
            for bucket in arriving.subscription_keys(&fields) {
                self.deliver_to_key(&arriving, &bucket).await?;
            }
        }
        Ok(())
    }

    async fn deliver_to_key(&self, arriving: &ArrivingEvent<'_>, bucket: &SubscriptionKey) -> Result<(), StoreError> {
        let mut after: Option<(RunId, StepId)> = None;
        loop {
            let page = self.runtime.backend.subscriptions(&arriving.event.name, bucket, after.take(), PAGE).await?;
            let more = page.len() == PAGE;
            after = page.last().map(|subscription| (subscription.run, subscription.step.clone()));
            let mut of_runs: BTreeMap<RunId, Vec<Subscription>> = BTreeMap::new();
            page.into_iter().for_each(|subscription| of_runs.entry(subscription.run).or_default().push(subscription));
            let deliveries =
                of_runs.into_iter().map(|(run, subscriptions)| self.deliver_to_run(run, subscriptions, arriving));
            stream::iter(deliveries).buffer_unordered(PARALLEL_RUNS).try_collect::<Vec<()>>().await?;
            if !more {
                return Ok(());
            }
        }
    }

    async fn deliver_to_run(
        &self,
        run: RunId,
        subscriptions: Vec<Subscription>,
        arriving: &ArrivingEvent<'_>,
    ) -> Result<(), StoreError> {
        let event = arriving.event.id;
        let (mut stale, subscriptions): (Vec<_>, Vec<_>) =
            subscriptions.into_iter().partition(|subscription| subscription.cancels_run());
        if !stale.is_empty() && !self.cancel_if_matching(run, arriving).await? {
            stale.clear(); // the run lives, so its cancel subscriptions stay
        }
        if !subscriptions.is_empty()
            && let Some(state) = self.runs.take_state(run).await?
        {
            let mut state = Arc::unwrap_or_clone(state);
            while state.end.is_none() {
                let Some(entry) = self.delivery_entry(&state, arriving) else {
                    self.handle_unmatched(&state, &subscriptions, arriving).await?;
                    break;
                };
                // the wake is sent before the subscription is removed from the index: if this
                // process dies in between, a repeated event finds the run again
                let wakes = vec![self.runtime.wake_of(&state, WakeCause::Arrived)];
                let before = vec![EarlyWrite::NoteDelivery { run, event }];
                let mut commit = Commit { before, wakes, ..Commit::default() };
                if self.runs.append(&mut state, vec![entry], &mut commit).await?.is_done() {
                    tracing::debug!(%run, %event, "an event was delivered");
                    break;
                }
            }
            stale.extend(subscriptions.into_iter().filter(|subscription| self.is_stale(&state, subscription)));
            self.runs.keep_state(Arc::new(state));
        } else {
            stale.extend(subscriptions);
        }
        if !stale.is_empty() {
            let after = stale.into_iter().map(LateWrite::Unsubscribe).collect();
            self.runtime.carry_out(Commit { after, ..Commit::default() }).await?;
        }
        Ok(())
    }

    /// Cancels a run if its `cancel_on` matches this event. Returns whether the run has ended,
    /// because of this call or before it.
    async fn cancel_if_matching(&self, run: RunId, arriving: &ArrivingEvent<'_>) -> Result<bool, StoreError> {
        let Some(state) = self.runs.state(run).await? else { return Ok(false) };
        let catalog = self.runtime.snapshot();
        let Some(spec) = catalog.spec(&state.created.function) else { return Ok(state.end.is_some()) };
        let (trigger, event) = (&state.created.event, arriving.event);
        // an event that came before the run's own event does not concern the run, even if it is
        // repeated later
        let is_later = state.is_created_before(event) && event.id != trigger.id;
        let mut waits = spec.flow.cancel_waits(trigger, state.created_at).into_iter();
        let matches = |(_, wait, until): (StepId, EventWait, Timestamp)| {
            event.received_at <= until && wait.is_fulfilled_by(arriving, trigger, &self.exprs)
        };
        if state.end.is_some() || !is_later || !waits.any(matches) {
            return Ok(state.end.is_some());
        }
        match self.runs.cancel(run, &format!("event `{}` ({}) cancels it", event.name, event.id)).await {
            Ok(cancelled) => Ok(cancelled.status.is_end()),
            Err(EngineError::Store(error)) => Err(error),
            Err(EngineError::NotFound(_) | EngineError::Invalid(_) | EngineError::TooLate(_)) => Ok(false),
        }
    }

    /// Returns the entry that delivers an event to a run. Returns `None` if no open wait of the run
    /// matches the event, or if the run has already received it.
    pub(crate) fn delivery_entry(&self, state: &RunState, arriving: &ArrivingEvent<'_>) -> Option<Entry> {
        let steps = state.fulfilled_by(arriving, &self.exprs);
        if steps.is_empty() {
            return None;
        }
        // if the event is too large for the run, the append replaces it with a failure of these
        // steps
        let fact = Fact::EventDelivered { event: Box::new(arriving.event.clone()), steps };
        Some(fact.into_entry(self.runtime.now())).filter(|entry| state.admits(entry).is_ok())
    }

    /// Handles an event that matches no open wait of the run. If the run is just registering its
    /// subscription, the event is put into the run's inbox. If the run has already received the
    /// event, its wake may have been lost, so the run is woken again (rule 15).
    async fn handle_unmatched(
        &self,
        state: &RunState,
        subscriptions: &[Subscription],
        arriving: &ArrivingEvent<'_>,
    ) -> Result<(), StoreError> {
        let event = arriving.event;
        let mut commit = Commit::default();
        if state.delivered.contains(&event.id) {
            commit.wakes.push(self.runtime.wake_of(state, WakeCause::Arrived));
        } else if !state.has_seen(event.id)
            && state.is_created_before(event)
            && subscriptions.iter().any(|subscription| self.is_registering(state, subscription))
        {
            commit.before.push(EarlyWrite::PutInInbox { run: state.run, event: event.id });
            commit.wakes.push(self.runtime.wake_of(state, WakeCause::Offered));
        } else {
            return Ok(());
        }
        self.runtime.carry_out(commit).await.map(drop)
    }

    /// Returns whether the journal does not contain the wait of this subscription yet.
    fn is_registering(&self, state: &RunState, subscription: &Subscription) -> bool {
        !state.steps.contains_key(&subscription.step) && subscription.until >= self.runtime.now()
    }

    /// Returns whether this subscription can be removed from the index, because its wait is over or
    /// is another one.
    fn is_stale(&self, state: &RunState, subscription: &Subscription) -> bool {
        if state.end.is_some() {
            return true;
        }
        match state.steps.get(&subscription.step).map(|step| &step.state) {
            None => !self.is_registering(state, subscription),
            Some(StepState::Awaiting { what: WaitTarget::Event(wait), until }) => {
                let is_over = *until + EXPIRY_MARGIN < self.runtime.now();
                is_over || wait.bucket() != subscription.key || !wait.events.contains(&subscription.event)
            }
            Some(_) => true,
        }
    }
}
