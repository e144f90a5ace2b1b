//! The steps of a run that have no outcome yet. They are kept up to date with each entry, because a
//! run may have thousands of ended steps.

use hashbrown::HashSet;

use crate::StepId;
use crate::state::{RunState, Step};

/// The ids of the steps that are not settled.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenSteps(HashSet<StepId>);

impl OpenSteps {
    /// Adds or removes a step after a change of its state.
    pub(super) fn update(&mut self, id: &StepId, step: &Step) {
        if step.state.is_settled() {
            self.0.remove(id);
        } else if !self.0.contains(id) {
            self.0.insert(id.clone());
        }
    }
}

impl RunState {
    /// Returns the steps that have an entry and are not settled, in no particular order.
    pub fn open_steps(&self) -> impl Iterator<Item = (&StepId, &Step)> {
        self.open.0.iter().filter_map(|id| self.steps.get_key_value(id))
    }
}
