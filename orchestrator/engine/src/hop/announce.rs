//! Sends the events that report the end of a run, for functions that listen to them:
//! `stepladder/function.failed` and Inngest's `inngest/function.failed`, `.finished` and
//! `.cancelled`.
//!
//! Sending these events is part of the work after the end of a run, which every later wake of the
//! run repeats. The ids of the events are derived from the run and the event name, so a repetition
//! sends nothing twice. If no function listens, nothing is read or written.
//!
//! Some ends are not reported: those of runs that such an event created, of runs that were called
//! by them, and of failure handlers. Otherwise a failing listener would start itself without end.

use stepladder_core::hop::{EndListeners, end_data};
use stepladder_core::journal::RunOrigin;
use stepladder_core::state::{RunEnd, RunState};
use stepladder_core::system::is_run_end_event;
use stepladder_core::{Event, EventId, id};

use crate::hop::Hops;
use crate::ports::StoreError;

/// The maximum number of callers that are checked, from a called run upwards, to find one that was
/// created by an event of this kind.
const CALLERS: usize = 100;
impl Hops {
    /// Sends the events about the end of a run to which a function listens.
    pub(crate) async fn send_end_events(
        &self,
        listeners: EndListeners,
        state: &RunState,
        end: &RunEnd,
    ) -> Result<(), StoreError> {
        if !listeners.has_listener(end) || self.is_caused_by_end_event(state).await? {
            return Ok(());
        }
        let event = |name: &'static str| Event {
            id: EventId::new(end.at, id::hash(&[b"end", &state.run.to_bytes(), name.as_bytes()])),
            name: name.into(),
            data: end_data(name, state, end),
            ts: end.at,
            user: None,
            external_id: None,
            received_at: end.at,
            trace: None,
        };
        let events: Vec<Event> = listeners.names(&end.how).map(event).collect();
        self.intake.accept(events, end.at).await.map(drop)
    }

    /// Returns whether an event about the end of a run created this run or one of its callers.
    async fn is_caused_by_end_event(&self, state: &RunState) -> Result<bool, StoreError> {
        let mut created = state.created.clone();
        for _ in 0..CALLERS {
            if is_run_end_event(&created.event.name) {
                return Ok(true);
            }
            let RunOrigin::Invoke { parent, .. } = created.origin else { return Ok(false) };
            let Some(parent) = self.runs.state(parent).await? else { return Ok(false) };
            created = parent.created.clone();
        }
        Ok(true)
    }
}
