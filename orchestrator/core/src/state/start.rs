//! When a run may start, and whether it has started.

use crate::Timestamp;
use crate::journal::RunOrigin;
use crate::state::RunState;

impl RunState {
    /// Returns the earliest start of a run that is delayed by its event's `ts`, by a throttle or by
    /// collecting events. Returns `None` once the run has started.
    pub fn begins_at(&self) -> Option<Timestamp> {
        if self.has_started() {
            return None;
        }
        self.delayed_until.max(self.due_at())
    }

    /// Returns the start time that the event requests (`ts`), if there is one.
    pub fn due_at(&self) -> Option<Timestamp> {
        let by_event = self.created.origin == RunOrigin::Event && !self.created.collects;
        self.created.event.starts_not_before().filter(|_| by_event)
    }

    /// Returns whether the run has started: the journal has an entry that only a started run
    /// writes.
    pub fn has_started(&self) -> bool {
        self.first_run_at.is_some() || self.started_at.is_some() || !self.steps.is_empty() || self.handler_failures > 0
    }

    /// Returns when the run became ready to start. This time determines the position of the run's
    /// ticket in a wait queue.
    pub fn ready_at(&self) -> Timestamp {
        let by_event = self.created.event.starts_not_before().filter(|_| !self.created.collects);
        self.created_at.max(by_event.max(self.delayed_until).unwrap_or(self.created_at))
    }
}
