//! Admission: what a throttle and a rate limit say to a run that is about to start (rule 32).
//!
//! When an event comes, its run books a moment (`gates.rs`), which spaces the wakes. After a standstill many moments are
//! over at once. So a run is counted once more when it really starts, in a note that all starts of its key compare and
//! change one after the other. A run that finds no room is given the next place, writes that down, and starts then. One
//! that dies between the note and its first entry loses its place and takes another: never too many start.

use crate::intake::Intake;
use std::time::Duration;

use stepladder_core::spec::LazyScope;
use stepladder_core::state::RunState;
use stepladder_core::{Spec, Timestamp};

use crate::intake::flow_control::value_of;
use crate::intake::starts::{bypasses_flow_control, note_key};
use crate::ports::{FlowStateChange, StoreError};

/// How often an admission that was overtaken is decided anew, before the wake is put off. Each time, another run got
/// through.
const ROUNDS: u32 = 20;

impl Intake {
    /// When the run may start instead of now; `None` when it may start now.
    pub(crate) async fn admission(&self, spec: &Spec, state: &RunState) -> Result<Option<Timestamp>, StoreError> {
        if bypasses_flow_control(&state.created.origin) {
            return Ok(None);
        }
        let rates = [("throttled", &spec.flow.throttle), ("rated", &spec.flow.rate_limit)];
        let scope = &mut LazyScope::new(&state.created.event);
        let planned = state.begins_at().unwrap_or(state.created_at);
        for (kind, rate) in rates {
            let Some(rate) = rate else { continue };
            // the event was let in, so it had a key then; without one now, the code has changed, and the run is not counted
            let Ok(value) = value_of(rate.key.as_ref(), scope) else { continue };
            let key = note_key(kind, &spec.id, &value);
            let mut rounds = 0..ROUNDS;
            let admission = loop {
                if rounds.next().is_none() {
                    return Err(StoreError::Unavailable("other runs of the same key start without end".into()));
                }
                let seen = self.runtime.backend.read_flow_state(vec![key.clone()]).await?.pop().flatten();
                let admission = rate.admit(seen.as_deref(), planned, self.runtime.now(), self.tolerance());
                // two runs may ask at the same time and for the same place: the token tells their notes apart, for a
                // store takes a note that is there already for the caller's own
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

    /// How late a wake may come and count as in time. SQS delays messages by whole seconds, and an invocation may start
    /// cold; on one machine both are a matter of milliseconds.
    fn tolerance(&self) -> Duration {
        if self.runtime.config.is_only_process { Duration::from_secs(1) } else { Duration::from_secs(5) }
    }
}
