//! The end of a handler: its compensations, and how it is aborted.

use stepladder_core::{OwnStep, StepId};

use super::{ReplayLedger, Scope};
use crate::Error;
use crate::compensation::Compensation;

/// The state of the handler's end.
pub(super) enum HandlerEnd {
    Open,
    /// The execution has aborted the handler with this error, which the next poll takes.
    Aborted(Error),
    Ended,
}

impl ReplayLedger {
    /// Adds a compensation. A call within a body is ignored, because a replay does not run the
    /// body.
    pub(crate) fn add_compensation(&self, compensation: Compensation) {
        let mut inner = self.lock();
        match inner.scope {
            Scope::Body(..) => {
                let (run, name, at) = (self.run, compensation.name, compensation.at);
                tracing::error!(%run, %at, "ctx.undo(\"{name}\") has no effect inside a step's body; call it from the function");
            }
            Scope::Outside | Scope::Handler(_) => inner.compensations.push(compensation),
        }
    }

    /// Takes the compensations, in the order in which they were added.
    pub(crate) fn take_compensations(&self) -> Vec<Compensation> {
        std::mem::take(&mut self.lock().compensations)
    }

    pub(crate) fn has_compensations(&self) -> bool {
        !self.lock().compensations.is_empty()
    }

    /// Returns whether the journal records that the run has failed permanently.
    pub(crate) fn has_failed(&self) -> bool {
        self.lock().replay.has_unclaimed(&OwnStep::Compensation.id())
    }

    /// Extends an id until no step of the handler has the same id.
    pub(crate) fn unused_id(&self, mut id: String) -> StepId {
        let inner = self.lock();
        while inner.replay.index_of(&id).is_some() {
            id.push('\'');
        }
        id.into()
    }

    /// Aborts the handler. Returns false if it has ended or was already aborted.
    pub(crate) fn abort(&self, error: Error) -> bool {
        let mut inner = self.lock();
        let is_open = matches!(inner.end, HandlerEnd::Open);
        if is_open {
            inner.end = HandlerEnd::Aborted(error);
        }
        is_open
    }

    /// Takes the error with which the handler is aborted.
    pub(crate) fn take_abort(&self) -> Option<Error> {
        let mut inner = self.lock();
        match std::mem::replace(&mut inner.end, HandlerEnd::Open) {
            HandlerEnd::Aborted(error) => {
                inner.end = HandlerEnd::Ended;
                Some(error)
            }
            before => {
                inner.end = before;
                None
            }
        }
    }

    /// Records that the handler has returned.
    pub(crate) fn mark_ended(&self) {
        self.lock().end = HandlerEnd::Ended;
    }
}
