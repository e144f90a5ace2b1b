//! Delivers events to waiting runs: each accepted event is delivered once to each matching
//! subscription (rule 17), and the runs are woken at once.
//!
//! Subscriptions are read from an index, which may be stale or ahead of the journal: the journal
//! decides. If only the index has a subscription yet, the event goes into the run's inbox
//! (`hop/inbox.rs`). If the journal no longer has it, it leaves the index. A repeated event repeats
//! all of this and wakes the run again: the first delivery may have died before it sent the wake.

mod callbacks;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use stepladder_core::expr::ExprCache;
use stepladder_core::journal::{Entry, Fact};
use stepladder_core::state::{RunState, StepState, WaitTarget};
use stepladder_core::waiting::{ArrivingEvent, EventWait, SubscribedFields, Subscription, SubscriptionKey};
use stepladder_core::{Event, RunId, StepId, Timestamp, WakeCause, flow};

use crate::EngineError;
pub use callbacks::SignalReceipt;

use crate::ports::{Commit, EarlyWrite, LateWrite, StoreError};
use crate::runs::Runs;
use crate::runtime::Runtime;

/// The number of subscriptions read at a time.
const PAGE: usize = 100;
/// How late a timely event may be here: expired subscriptions stay in the index for this long.
const LATE: Duration = Duration::from_secs(60);
/// The number of runs that an event is delivered to at a time.
const AT_ONCE: usize = 16;

/// The waits of runs, and what arrives for them.
pub struct Subscriptions {
    runtime: Arc<Runtime>,
    runs: Arc<Runs>,
    /// Expressions that waits came with.
    pub(crate) exprs: ExprCache,
}

impl Subscriptions {
    pub(crate) fn new(runtime: Arc<Runtime>, runs: Arc<Runs>) -> Self {
        Self { runtime, runs, exprs: ExprCache::default() }
    }

    /// Delivers events to the runs that wait for them.
    pub(crate) async fn deliver(&self, events: &[Event]) -> Result<(), StoreError> {
        let mut known: HashMap<Arc<str>, SubscribedFields> = HashMap::new();
        for event in events {
            let waited = match known.get(&event.name) {
                Some(waited) => waited.clone(),
                None => {
                    let waited = self.runtime.backend.subscribed_fields(&event.name).await?;
                    known.insert(event.name.clone(), waited.clone());
                    waited
                }
            };
            if waited.is_empty() {
                continue;
            }
            let arriving = ArrivingEvent::new(event);
            for bucket in arriving.keys(&waited) {
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
            after = page.last().map(|waiter| (waiter.run, waiter.step.clone()));
            let mut of_runs: BTreeMap<RunId, Vec<Subscription>> = BTreeMap::new();
            page.into_iter().for_each(|waiter| of_runs.entry(waiter.run).or_default().push(waiter));
            let gifts = of_runs.into_iter().map(|(run, waiters)| self.deliver_to_run(run, waiters, arriving));
            stream::iter(gifts).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
            if !more {
                return Ok(());
            }
        }
    }

    async fn deliver_to_run(
        &self,
        run: RunId,
        waiters: Vec<Subscription>,
        arriving: &ArrivingEvent<'_>,
    ) -> Result<(), StoreError> {
        let event = arriving.event.id;
        let (mut stale, waiters): (Vec<_>, Vec<_>) =
            waiters.into_iter().partition(|waiter| flow::is_cancel_step(&waiter.step));
        if !stale.is_empty() && !self.cancelled_by(run, arriving).await? {
            stale.clear(); // it is about to begin, or lives on
        }
        if !waiters.is_empty()
            && let Some(state) = self.runs.take_state(run).await?
        {
            let mut state = Arc::unwrap_or_clone(state);
            while state.end.is_none() {
                let Some(entry) = self.delivery_entry(&state, arriving) else {
                    self.resend_wake(&state, &waiters, arriving).await?;
                    break;
                };
                // the wake goes out before the index forgets: should this be cut short, a repeat
                // finds the run again
                let wakes = vec![self.runtime.wake_of(&state, WakeCause::Arrived)];
                let mut commit = Commit { wakes, ..Commit::default() };
                if self.runs.append(&mut state, vec![entry], &mut commit).await?.is_done() {
                    tracing::debug!(%run, %event, "an event entered");
                    break;
                }
            }
            stale.extend(waiters.into_iter().filter(|waiter| self.is_stale(&state, waiter)));
            self.runs.cache.put(Arc::new(state));
        } else {
            stale.extend(waiters);
        }
        if !stale.is_empty() {
            let after = stale.into_iter().map(LateWrite::Unsubscribe).collect();
            self.runtime.carry_out(Commit { after, ..Commit::default() }).await?;
        }
        Ok(())
    }

    /// Whether a run has ended: perhaps because this event cancels it.
    async fn cancelled_by(&self, run: RunId, arriving: &ArrivingEvent<'_>) -> Result<bool, StoreError> {
        let Some(state) = self.runs.state(run).await? else { return Ok(false) };
        let Some(spec) = self.runtime.spec_of(&state.created) else { return Ok(state.end.is_some()) };
        let (trigger, event) = (&state.created.event, arriving.event);
        // one that came before the run's own event is not about the run, however often it is
        // repeated
        let is_later = state.is_created_before(event) && event.id != trigger.id;
        let mut waits = spec.flow.cancel_waits(trigger, state.created_at).into_iter();
        let is_meant = |(_, wait, until): (StepId, EventWait, Timestamp)| {
            event.received_at <= until && wait.is_fulfilled_by(arriving, trigger, &self.exprs)
        };
        if state.end.is_some() || !is_later || !waits.any(is_meant) {
            return Ok(state.end.is_some());
        }
        match self.runs.cancel(run, &format!("event `{}` ({}) cancels it", event.name, event.id)).await {
            Ok(status) => Ok(status.is_end()),
            Err(EngineError::Store(error)) => Err(error),
            Err(EngineError::NotFound(_) | EngineError::Invalid(_) | EngineError::TooLate(_)) => Ok(false),
        }
    }

    /// The entry that lets an event into a run, if an open wait of the run is for it and it has not
    /// been there before.
    pub(crate) fn delivery_entry(&self, state: &RunState, arriving: &ArrivingEvent<'_>) -> Option<Entry> {
        let steps = state.fulfilled_by(arriving, &self.exprs);
        if steps.is_empty() {
            return None;
        }
        // one for which the run has no room fails these steps where it is written
        let fact = Fact::EventDelivered { event: Box::new(arriving.event.clone()), steps };
        Some(fact.at(self.runtime.now())).filter(|entry| state.admits(entry).is_ok())
    }

    /// An event that no open wait is for. It may have come in the moment of registering: it is left
    /// in the run's inbox then. Or it entered before, and the wake was lost: the run is woken again
    /// (rule 15).
    async fn resend_wake(
        &self,
        state: &RunState,
        waiters: &[Subscription],
        arriving: &ArrivingEvent<'_>,
    ) -> Result<(), StoreError> {
        let event = arriving.event;
        let mut commit = Commit::default();
        if state.delivered.contains(&event.id) {
            commit.wakes.push(self.runtime.wake_of(state, WakeCause::Arrived));
        } else if !state.has_seen(event.id)
            && state.is_created_before(event)
            && waiters.iter().any(|waiter| self.is_registering(state, waiter))
        {
            commit.before.push(EarlyWrite::PutInInbox { run: state.run, event: event.id });
            commit.wakes.push(self.runtime.wake_of(state, WakeCause::Offered));
        } else {
            return Ok(());
        }
        self.runtime.carry_out(commit).await.map(drop)
    }

    /// Whether the index knows of a wait that the journal does not know of yet.
    fn is_registering(&self, state: &RunState, waiter: &Subscription) -> bool {
        !state.steps.contains_key(&waiter.step) && waiter.until >= self.runtime.now()
    }

    /// Whether the index knows of a wait that is over, or was never written down as it says.
    fn is_stale(&self, state: &RunState, waiter: &Subscription) -> bool {
        if state.end.is_some() {
            return true;
        }
        match state.steps.get(&waiter.step).map(|step| &step.state) {
            None => !self.is_registering(state, waiter),
            Some(StepState::Awaiting { what: WaitTarget::Event(wait), until }) => {
                let is_over = *until + LATE < self.runtime.now();
                is_over || wait.bucket() != waiter.key || !wait.events.contains(&waiter.event)
            }
            Some(_) => true,
        }
    }
}
