//! What the board keeps for the end of a run that fails for good: what is to be undone, and why its handler was given up.

use stepladder_core::StepId;
use stepladder_core::limits::UNDO;

use super::{Board, Place};
use crate::Error;
use crate::undo::Undo;

/// Whether the handler is given up.
pub(super) enum GivenUp {
    No,
    /// For this, which nobody has taken yet.
    For(Error),
    /// It is over, one way or another.
    Over,
}

impl Board {
    /// Something was done that has to be undone if the run fails for good. Not from a body: a replay does not run it, and
    /// would not know.
    pub(crate) fn register(&self, undo: Undo) {
        let mut inner = self.lock();
        match inner.place {
            Place::Body(..) => {
                let (run, what, at) = (self.run, undo.what, undo.at);
                tracing::error!(%run, %at, "ctx.undo(\"{what}\") was called inside a step's body, where it has no effect; call it from the function");
            }
            Place::Outside | Place::Handler(_) => inner.undos.push(undo),
        }
    }

    /// What is to be undone, in the order in which it was done.
    pub(crate) fn take_undos(&self) -> Vec<Undo> {
        std::mem::take(&mut self.lock().undos)
    }

    /// Whether there is anything to undo.
    pub(crate) fn has_undos(&self) -> bool {
        !self.lock().undos.is_empty()
    }

    /// Whether the journal says that the run has failed for good.
    pub(crate) fn has_failed(&self) -> bool {
        let inner = self.lock();
        inner.aside.contains_key(UNDO) || inner.queue.iter().any(|revealed| &*revealed.step == UNDO)
    }

    /// An id that no step of the handler has.
    pub(crate) fn free_id(&self, mut id: String) -> StepId {
        let inner = self.lock();
        while inner.index.contains_key(&*id) {
            id.push('\'');
        }
        id.into()
    }

    /// Gives up the handler; false when it is over already.
    pub(crate) fn give_up(&self, why: Error) -> bool {
        let mut inner = self.lock();
        let goes_on = matches!(inner.given_up, GivenUp::No);
        if goes_on {
            inner.given_up = GivenUp::For(why);
        }
        goes_on
    }

    /// Why the handler was given up; once.
    pub(crate) fn given_up(&self) -> Option<Error> {
        let mut inner = self.lock();
        match std::mem::replace(&mut inner.given_up, GivenUp::No) {
            GivenUp::For(why) => {
                inner.given_up = GivenUp::Over;
                Some(why)
            }
            before => {
                inner.given_up = before;
                None
            }
        }
    }

    /// The handler has returned: it cannot be given up any more.
    pub(crate) fn is_over(&self) {
        self.lock().given_up = GivenUp::Over;
    }
}
