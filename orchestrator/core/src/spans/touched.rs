//! The states of steps between the entries of a record.
//!
//! A short record is read again for each question, so that nothing is allocated. A long one, such
//! as that of a wide fan-out, keeps the states of its steps.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::StepId;
use crate::journal::{Entry, Fact, StepKind};
use crate::state::{RunState, Step, StepState};

/// The number of entries of a record that is read again for each question.
const SHORT: usize = 16;

/// The steps of a run, before an entry of a record.
pub(super) struct TouchedSteps<'a> {
    before: &'a RunState,
    entries: &'a [Entry],
    /// The number of entries that count.
    read: usize,
    /// The steps that the counted entries of a long record have changed.
    kept: Option<HashMap<&'a StepId, Step>>,
}

impl<'a> TouchedSteps<'a> {
    pub(super) fn new(before: &'a RunState, entries: &'a [Entry]) -> Self {
        let kept = (entries.len() > SHORT).then(HashMap::new);
        Self { before, entries, read: 0, kept }
    }

    /// Returns the step before the current entry; `None` if no entry has named it yet.
    pub(super) fn get(&self, id: &StepId) -> Option<Cow<'_, Step>> {
        let before = || self.before.steps.get(id).map(Cow::Borrowed);
        if let Some(kept) = &self.kept {
            return kept.get(id).map(Cow::Borrowed).or_else(before);
        }
        let mut step = before();
        for entry in &self.entries[..self.read] {
            if let Some(changed) = changed_step(step.as_deref(), id, entry) {
                step = Some(Cow::Owned(changed));
            }
        }
        step
    }

    /// Counts one more entry.
    pub(super) fn advance(&mut self) {
        let entry = &self.entries[self.read];
        self.read += 1;
        let (Some(kept), before) = (&mut self.kept, self.before) else { return };
        let mut change = |id: &'a StepId| {
            if let Some(changed) = changed_step(kept.get(id).or_else(|| before.steps.get(id)), id, entry) {
                kept.insert(id, changed);
            }
        };
        match &entry.fact {
            Fact::StepsWoken { steps, .. } | Fact::EventDelivered { steps, .. } => steps.iter().for_each(change),
            fact => fact.step().into_iter().for_each(&mut change),
        }
    }
}

/// Returns the step as it is after an entry; `None` if the entry does not change it.
fn changed_step(step: Option<&Step>, id: &StepId, entry: &Entry) -> Option<Step> {
    match &entry.fact {
        Fact::StepsWoken { steps, .. } if steps.contains(id) => {
            let mut step = step.cloned().unwrap_or_else(|| Step::new(StepKind::Run, StepState::Wanted, entry.at));
            if let StepState::Wanted = step.state {
                (step.woken, step.since) = (true, entry.at);
            }
            Some(step)
        }
        Fact::EventDelivered { steps, .. } if steps.contains(id) => Step::after_entry(step, entry),
        fact if fact.step() == Some(id) => Step::after_entry(step, entry),
        _ => None,
    }
}
