//! Events about a run's end, for functions that listen to them: `stepladder/function.failed` and
//! Inngest's `inngest/function.failed`, `.finished` and `.cancelled`.
//!
//! They are part of the finishing work, which every later wake of the run repeats. Their ids derive
//! from the run and the name, so a repetition sends nothing twice. Without a listening function,
//! nothing is read or written for them.
//!
//! Some ends are not announced: those of runs that such an event created, of runs that they called,
//! and of failure handlers. Otherwise a failing listener would start itself without end.

use stepladder_core::hop::{EndListeners, end_data};
use stepladder_core::journal::RunOrigin;
use stepladder_core::state::{RunEnd, RunState};
use stepladder_core::system::is_run_end_event;
use stepladder_core::{Event, EventId, id};

use crate::hop::Hops;
use crate::ports::StoreError;

/// The maximum number of callers checked, from a called run upwards, for one that an end event
/// created.
const CALLERS: usize = 100;
impl Hops {
    /// Sends those events of a run's end that some function listens to.
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
        };
        let events: Vec<Event> = listeners.names(&end.how).map(event).collect();
        self.intake.accept(events, end.at).await.map(drop)
    }

    /// Returns whether an end event created the run, or one of its callers.
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
