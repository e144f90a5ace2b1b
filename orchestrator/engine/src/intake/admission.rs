//! Admission: how a throttle and a rate limit decide about a run that is about to start (rule 32).
//!
//! When an event arrives, its run gets a start time (`flow_control.rs`), so that starts are spaced.
//! After an outage, many of these times may have passed at once. Therefore a run is counted again
//! when it really starts. The count is a flow state of the key, which each start reads and changes
//! with a compare-and-set. If the limit is reached, the run gets the next free time, records it,
//! and starts then. If its worker dies before the first entry of the run is written, this time is
//! lost and the run gets another. The limit is respected in every case.

use std::time::Duration;

use stepladder_core::spec::LazyExprScope;
use stepladder_core::state::RunState;
use stepladder_core::{Spec, Timestamp};

use crate::intake::Intake;
use crate::intake::flow_control::evaluate_key;
use crate::intake::starts::{bypasses_flow_control, flow_state_key};
use crate::ports::{FlowStateChange, StoreError};

/// The maximum number of attempts to change the flow state before the wake is delayed. Each
/// conflict means that another run of the same key was admitted.
const MAX_ATTEMPTS: u32 = 20;

impl Intake {
    /// Returns when the run may start; `None` if it may start now.
    pub(crate) async fn admission(&self, spec: &Spec, state: &RunState) -> Result<Option<Timestamp>, StoreError> {
        if bypasses_flow_control(&state.created.origin) {
            return Ok(None);
        }
        let rates = [("throttled", &spec.flow.throttle), ("rated", &spec.flow.rate_limit)];
        let scope = &mut LazyExprScope::new(&state.created.event);
        let planned = state.begins_at().unwrap_or(state.created_at);
        for (kind, rate) in rates {
            let Some(rate) = rate else { continue };
            // the key could be evaluated when the event was accepted; if this fails now, the code
            // has changed, and the run is not counted
            let Ok(value) = evaluate_key(rate.key.as_ref(), scope) else { continue };
            let key = flow_state_key(kind, &spec.id, &value);
            let mut attempts = 0..MAX_ATTEMPTS;
            let admission = loop {
                if attempts.next().is_none() {
                    return Err(StoreError::Unavailable("too many runs of the same key start at the same time".into()));
                }
                let seen = self.runtime.backend.read_flow_state(vec![key.clone()]).await?.pop().flatten();
                let admission = rate.admit(seen.as_deref(), planned, self.runtime.now(), self.tolerance());
                // Two runs may get the same time at the same moment, and would write the same flow
                // state. A store reports success if it finds the wanted value, so both would
                // succeed. The random token makes the values differ.
                let kept = format!("{} {:x}", admission.kept, self.runtime.entropy.bits());
                let (becomes, until) = (Some(kept.into()), admission.until);
                let change = FlowStateChange { key: key.clone(), seen, becomes, until };
                if self.runtime.backend.change_flow_state(vec![change]).await?[..] == [true] {
                    break admission;
                }
            };
            if admission.later.is_some() {
                return Ok(admission.later);
            }
        }
        Ok(None)
    }

    /// Returns how late a wake may arrive and still count as in time. SQS delays messages by whole
    /// seconds, and an invocation may be a cold start. On one machine both take milliseconds.
    fn tolerance(&self) -> Duration {
        if self.runtime.backend.is_exclusive() { Duration::from_secs(1) } else { Duration::from_secs(5) }
    }
}
