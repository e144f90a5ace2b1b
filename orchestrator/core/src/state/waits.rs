//! The open waits of a run, and which of them an event ends.

use super::{RunState, Step, StepState, WaitTarget};
use crate::StepId;
use crate::expr::ExprCache;
use crate::waiting::ArrivingEvent;

impl RunState {
    /// Returns whether a step of the run waits for an event.
    pub fn awaits_events(&self) -> bool {
        let for_event = |step: &Step| matches!(&step.state, StepState::Awaiting { what: WaitTarget::Event(_), .. });
        self.end.is_none() && self.steps.values().any(for_event)
    }

    /// Returns the steps with an open wait that matches this event, sorted by id.
    pub fn fulfilled_by(&self, arriving: &ArrivingEvent<'_>, exprs: &ExprCache) -> Vec<StepId> {
        let trigger = &self.created.event;
        if !self.is_created_before(arriving.event) {
            return Vec::new();
        }
        let is_fulfilled = |step: &Step| match &step.state {
            StepState::Awaiting { what: WaitTarget::Event(wait), until } => {
                arriving.event.received_at <= *until && wait.is_fulfilled_by(arriving, trigger, exprs)
            }
            StepState::Wanted
            | StepState::Running { .. }
            | StepState::Retrying { .. }
            | StepState::Sleeping { .. }
            | StepState::Invoking { .. }
            | StepState::Awaiting { what: WaitTarget::Signal(_), .. }
            | StepState::Done
            | StepState::Abandoned => false,
        };
        let mut steps: Vec<StepId> =
            self.steps.iter().filter(|(_, step)| is_fulfilled(step)).map(|(id, _)| id.clone()).collect();
        steps.sort_unstable();
        steps
    }
}
