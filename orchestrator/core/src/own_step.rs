//! The steps that Stepladder records beside those of a function.
//!
//! Journals and the subscription index store them under step ids with a reserved prefix. Only this
//! file knows the prefix.

use crate::StepId;

/// The prefix of the ids. No step of a function may begin with it.
const PREFIX: &str = "stepladder/";
/// The id of [`OwnStep::Compensation`].
pub(crate) const COMPENSATION: &str = "stepladder/undo";
/// The prefix of the ids of [`OwnStep::CancelOn`]; the number follows.
const CANCEL_ON: &str = "stepladder/cancel-on:";

/// A step that Stepladder itself records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnStep {
    /// The run has failed for good and compensates. Its outcome is the failure.
    Compensation,
    /// The wait for an event that cancels the run: the number of its `cancel_on`. Only the
    /// subscription index has such steps.
    CancelOn(usize),
}

impl OwnStep {
    /// Returns the step that has this id; `None` for a step of a function.
    pub fn of(step: &str) -> Option<Self> {
        if step == COMPENSATION {
            return Some(Self::Compensation);
        }
        step.strip_prefix(CANCEL_ON)?.parse().ok().map(Self::CancelOn)
    }

    /// Returns the id under which the step is stored.
    pub fn id(self) -> StepId {
        match self {
            Self::Compensation => COMPENSATION.into(),
            Self::CancelOn(number) => format!("{CANCEL_ON}{number}").into(),
        }
    }

    /// Returns whether a step's name is reserved, and the prefix that makes it so.
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
            assert_eq!((&*own.id(), OwnStep::of(id)), (id, Some(own)));
            assert!(OwnStep::reserved_prefix(id).is_some());
        }
        assert_eq!((OwnStep::of("undo"), OwnStep::of("stepladder/cancel-on:x")), (None, None));
    }
}
