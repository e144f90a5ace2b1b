//! Admission: how a throttle and a rate limit decide about a run that is about to start (rule 32).
//!
//! An arriving event books a time for its run (`flow_control.rs`), which spaces the wakes. After an
//! outage, many of these times have passed at once. So a run is counted again when it really
//! starts, in a flow state that all starts of its key compare and change one after another. A run
//! that finds no room gets the next free time, records it, and starts then. A run that dies before
//! its first entry loses its time and gets another. At no point do too many runs start.

use std::time::Duration;

use stepladder_core::spec::LazyScope;
use stepladder_core::state::RunState;
use stepladder_core::{Spec, Timestamp};

use crate::intake::Intake;
use crate::intake::flow_control::value_of;
use crate::intake::starts::{bypasses_flow_control, note_key};
use crate::ports::{FlowStateChange, StoreError};

/// How often an admission is decided again after a conflict, before the wake is delayed. Each
/// conflict means that another run was admitted.
const ROUNDS: u32 = 20;

impl Intake {
    /// Returns when the run may start; `None` if it may start now.
    pub(crate) async fn admission(&self, spec: &Spec, state: &RunState) -> Result<Option<Timestamp>, StoreError> {
        if bypasses_flow_control(&state.created.origin) {
            return Ok(None);
        }
        let rates = [("throttled", &spec.flow.throttle), ("rated", &spec.flow.rate_limit)];
        let scope = &mut LazyScope::new(&state.created.event);
        let planned = state.begins_at().unwrap_or(state.created_at);
        for (kind, rate) in rates {
            let Some(rate) = rate else { continue };
            // the event had a key when it was accepted: without one now, the code has changed, and
            // the run is not counted
            let Ok(value) = value_of(rate.key.as_ref(), scope) else { continue };
            let key = note_key(kind, &spec.id, &value);
            let mut rounds = 0..ROUNDS;
            let admission = loop {
                if rounds.next().is_none() {
                    return Err(StoreError::Unavailable("other runs of the same key start without end".into()));
                }
                let seen = self.runtime.backend.read_flow_state(vec![key.clone()]).await?.pop().flatten();
                let admission = rate.admit(seen.as_deref(), planned, self.runtime.now(), self.tolerance());
                // two runs may ask at the same time and for the same time. The token makes their
                // flow states differ: a store accepts a state that is already there as the caller's
                // own
                let kept = format!("{} {:x}", admission.kept, self.runtime.entropy.bits());
                let (becomes, until) = (Some(kept.into()), admission.until);
                let note = FlowStateChange { key: key.clone(), seen, becomes, until };
                if self.runtime.backend.change_flow_state(vec![note]).await?[..] == [true] {
                    break admission;
                }
            };
            if admission.later.is_some() {
                return Ok(admission.later);
            }
        }
        Ok(None)
    }

    /// How late a wake may come and still count as in time. SQS delays messages by whole seconds,
    /// and an invocation may start cold. On one machine both take milliseconds.
    fn tolerance(&self) -> Duration {
        if self.runtime.config.is_only_process { Duration::from_secs(1) } else { Duration::from_secs(5) }
    }
}
