//! What a hop does if the storage fails to write: it saves outcomes, and releases slots of attempts
//! that did not start.

use crate::OwnStep;
use crate::hop::active::{ActiveHop, ActivePhase, Turn};
use crate::hop::effect::LogEvent;
use crate::hop::facts::is_outcome;
use crate::hop::input::StoreFault;
use crate::hop::keeping::KeepReason;
use crate::hop::writing::{Next, Writing};

impl ActiveHop {
    /// Continues after the storage failed to write.
    pub(super) fn on_write_failed(
        &mut self,
        mut writing: Writing,
        fault: StoreFault,
        turn: &mut Turn<'_>,
    ) -> ActivePhase {
        self.owe_releases(std::mem::take(&mut writing.draft.after));
        match writing.next {
            // outcomes must not be lost because a start failed, so they are written alone
            Next::Start(_) if writing.draft.entries.iter().any(is_outcome) => {
                turn.log(LogEvent::StartsFailed(fault));
                self.keep(writing.draft, KeepReason::Overtaken, turn)
            }
            Next::Start(starts) => {
                self.owe_starts(&starts);
                self.fail(fault, turn)
            }
            Next::Call(call) if writing.draft.entries.iter().any(is_outcome) => {
                turn.log(LogEvent::StartsFailed(fault));
                self.owe_slots(&OwnStep::Call.id(), call);
                self.keep(writing.draft, KeepReason::Overtaken, turn)
            }
            Next::Call(call) => {
                self.owe_slots(&OwnStep::Call.id(), call);
                self.fail(fault, turn)
            }
            Next::Kept(KeepReason::Failure(first)) => {
                turn.log(LogEvent::OutcomesLost(fault));
                self.fail(first, turn)
            }
            Next::Kept(KeepReason::Saving(first)) => {
                turn.log(LogEvent::OutcomesLost(fault));
                self.give_up(first, turn)
            }
            Next::Deadline
            | Next::Admit
            | Next::Prepare
            | Next::LeaveOrAdmit
            | Next::LeaveOrRound
            | Next::LeaveOrKeep
            | Next::Round
            | Next::RoundOrKeep
            | Next::Inbox { .. }
            | Next::Show
            | Next::Decide(_)
            | Next::FanOut(_)
            | Next::Await
            | Next::Outcomes(_)
            | Next::Kept(KeepReason::Overtaken | KeepReason::Unreachable(_)) => self.fail(fault, turn),
        }
    }
}
