//! The engine's internal steps, which are recorded beside the steps of a function.
//!
//! Journals and the subscription index store internal steps under ids with a reserved prefix. Only
//! this file knows the prefix.

use crate::StepId;

/// The prefix of the ids of internal steps. No step of a function may have a name with this prefix.
const PREFIX: &str = "stepladder/";
/// The id of [`OwnStep::Compensation`].
pub(crate) const COMPENSATION: &str = "stepladder/undo";
/// The id of [`OwnStep::Call`].
const CALL: &str = "stepladder/call";
/// The prefix of the ids of [`OwnStep::CancelOn`]; a number follows.
const CANCEL_ON: &str = "stepladder/cancel-on:";

/// An internal step, which the engine records itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnStep {
    /// The run has failed permanently and is compensating. The outcome of this step is the run's
    /// failure.
    Compensation,
    /// The wait for an event that cancels the run, with the index of its `cancel_on` setting. Only
    /// the subscription index contains such steps.
    CancelOn(usize),
    /// The call of an executor that executes steps while it is polled. Only the holders of the
    /// call's slots use this step.
    Call,
}

impl OwnStep {
    /// Returns the internal step with this id; `None` for a step of a function.
    pub fn from_id(step: &str) -> Option<Self> {
        if step == COMPENSATION {
            return Some(Self::Compensation);
        }
        if step == CALL {
            return Some(Self::Call);
        }
        step.strip_prefix(CANCEL_ON)?.parse().ok().map(Self::CancelOn)
    }

    /// Returns the id under which the internal step is stored.
    pub fn id(self) -> StepId {
        match self {
            Self::Compensation => COMPENSATION.into(),
            Self::Call => CALL.into(),
            Self::CancelOn(number) => format!("{CANCEL_ON}{number}").into(),
        }
    }

    /// Returns the reserved prefix that a step's name starts with; `None` if the name is not
    /// reserved.
    pub(crate) fn reserved_prefix(name: &str) -> Option<&'static str> {
        name.starts_with(PREFIX).then_some(PREFIX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_are_those_that_version_0_2_0_wrote() {
        for (own, id) in
            [(OwnStep::Compensation, "stepladder/undo"), (OwnStep::CancelOn(12), "stepladder/cancel-on:12")]
        {
            assert_eq!((&*own.id(), OwnStep::from_id(id)), (id, Some(own)));
            assert!(OwnStep::reserved_prefix(id).is_some());
        }
        assert_eq!((OwnStep::from_id("undo"), OwnStep::from_id("stepladder/cancel-on:x")), (None, None));
    }
}
